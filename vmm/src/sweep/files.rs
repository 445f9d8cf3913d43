//! What a sweep writes while it runs, and at its end.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use stallbox_output::OutputError;
use stallbox_sweep::{Header, Run, Sweep};

use crate::cli::SweepFilesArgs;
use crate::fork_server::Done;
use crate::output::{OutputFile, OutputFolder};

/// Options with a value that are not about the runs: shards of one sweep differ in them.
const BESIDE: &[&str] = &[
    "--shard",
    "--json",
    "--junit",
    "--name",
    "--out",
    "--jobs",
    "--boot-timeout",
];
/// The same without a value.
const BESIDE_ALONE: &[&str] = &["--quiet", "--unconfined"];

/// The command line without what differs from one part of a sweep to the other.
pub(super) fn arguments(all: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut left = all.iter();
    while let Some(argument) = left.next() {
        if argument == "--" {
            kept.push(argument.clone());
            kept.extend(left.cloned());
            break;
        }
        let name = argument
            .split_once('=')
            .map_or(argument.as_str(), |it| it.0);
        if BESIDE.contains(&name) {
            if name == argument {
                left.next();
            }
        } else if !BESIDE_ALONE.contains(&name) {
            kept.push(argument.clone());
        }
    }
    kept
}

/// Where results go.
pub(super) struct Files {
    json: Option<OutputFile>,
    junit: Option<OutputFile>,
    /// Of the sweep, in JUnit.
    name: String,
    /// Bundles.
    out: OutputFolder,
}

impl Files {
    /// Opens all of them.
    pub(super) fn open(args: &SweepFilesArgs) -> Result<Files> {
        Ok(Files {
            out: OutputFolder::open(args.out.as_ref())?,
            json: OutputFile::open_named(args.json.as_ref(), "--json", || false)?,
            junit: OutputFile::open_named(args.junit.as_ref(), "--junit", || false)?,
            name: args.name.clone(),
        })
    }

    /// From here on what was in them is gone.
    pub(super) fn begin(&mut self) -> Result<(), OutputError> {
        let mut files = [&mut self.json, &mut self.junit];
        let mut files = files.iter_mut().filter_map(|file| file.as_mut());
        files.try_for_each(OutputFile::begin)
    }

    pub(super) fn header(&self, header: &Header) {
        self.line(header);
    }

    pub(super) fn run(&self, run: &Run) {
        self.line(run);
    }

    /// All of a sweep.
    pub(super) fn whole(&self, sweep: &Sweep) {
        self.header(&sweep.header);
        sweep.runs.iter().for_each(|run| self.run(run));
        self.junit(sweep);
    }

    fn line(&self, value: &impl Serialize) {
        if let Some(file) = &self.json {
            file.json_line(value);
        }
    }

    pub(super) fn junit(&self, sweep: &Sweep) {
        let _ = self.junit.as_ref().map(|file| {
            file.fill(|out| sweep.junit(&self.name, out).map_err(std::io::Error::other))
        });
    }

    /// Writes the bundle of the first run that failed in this way: its name.
    pub(super) fn bundle(&mut self, signature: &str, number: u64, done: &Done) -> Option<String> {
        if done.bundle.is_empty() {
            return None;
        }
        let name = format!("{signature}-{number}.sbx");
        self.out.write(&name, &done.bundle)?;
        Some(name)
    }

    /// Copies the bundle that lies beside the results of a shard.
    pub(super) fn copy_bundle(&mut self, results: &Path, name: &str) -> Result<()> {
        if self.out.path(name).is_none() {
            return Ok(());
        }
        let path = results.with_file_name(name);
        let bundle = fs::read(&path).with_context(|| {
            let path = path.display();
            format!(
                "cannot read {path} (with --out, bundles must lie beside their shard's results)"
            )
        })?;
        self.out.write(name, &bundle);
        Ok(())
    }

    /// For a person, who wants to know where bundles are.
    pub(super) fn with_paths(&self, sweep: &Sweep) -> Sweep {
        let mut sweep = sweep.clone();
        for name in sweep.runs.iter_mut().filter_map(|run| run.bundle.as_mut()) {
            if let Some(path) = self.out.path(name) {
                *name = path.display().to_string();
            }
        }
        sweep
    }

    /// What could not be written is an error.
    pub(super) fn finish(mut self) -> Result<()> {
        for file in [&self.json, &self.junit].into_iter().flatten() {
            file.finish()?;
        }
        self.out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_sweep_have_one_command_line() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let part = "sweep --shard 1/2 --seeds 0..9 --json=a --quiet --jobs 3 -- echo --quiet";
        assert_eq!(
            arguments(&words(part)),
            words("sweep --seeds 0..9 -- echo --quiet")
        );
    }
}

//! What a sweep writes while it runs, and at its end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use stallbox_output::{OutputError, tell};
use stallbox_sweep::{Header, Run, Sweep};

use crate::cli::RunsArgs;
use crate::fork_server::Done;
use crate::output::OutputFile;

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
pub fn arguments(all: &[String]) -> Vec<String> {
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
pub struct Files {
    json: Option<OutputFile>,
    junit: Option<OutputFile>,
    /// Of the sweep, in JUnit.
    name: String,
    out: Option<PathBuf>,
    /// Bundles that could not be written.
    lost: Option<anyhow::Error>,
}

impl Files {
    /// Opens all of them.
    pub fn open(args: &RunsArgs) -> Result<Files> {
        if let Some(out) = &args.out {
            fs::create_dir_all(out)
                .with_context(|| format!("cannot make the folder {} (--out)", out.display()))?;
        }
        Ok(Files {
            json: open(args.json.as_deref(), "--json")?,
            junit: open(args.junit.as_deref(), "--junit")?,
            name: args.name.clone(),
            out: args.out.clone(),
            lost: None,
        })
    }

    /// From here on what was in them is gone.
    pub fn begin(&mut self) -> Result<(), OutputError> {
        let mut files = [&mut self.json, &mut self.junit];
        let mut files = files.iter_mut().filter_map(|file| file.as_mut());
        files.try_for_each(OutputFile::begin)
    }

    pub fn header(&self, header: &Header) {
        self.line(header);
    }

    pub fn run(&self, run: &Run) {
        self.line(run);
    }

    /// The file keeps why it cannot be written.
    fn line(&self, value: &impl Serialize) {
        let _ = self.json.as_ref().map(|file| {
            file.fill(|out| {
                serde_json::to_writer(&mut *out, value)?;
                out.write_all(b"\n")
            })
        });
    }

    pub fn junit(&self, sweep: &Sweep) {
        let _ = self.junit.as_ref().map(|file| {
            file.fill(|out| sweep.junit(&self.name, out).map_err(std::io::Error::other))
        });
    }

    /// Writes the bundle of the first run that failed in this way: its name.
    pub fn bundle(&mut self, signature: &str, number: u64, done: &Done) -> Option<String> {
        let folder = self.out.as_ref().filter(|_| !done.bundle.is_empty())?;
        let name = format!("{signature}-{number}.sbx");
        let path = folder.join(&name);
        let written = fs::write(&path, &done.bundle)
            .with_context(|| format!("cannot write {} (--out)", path.display()));
        match written {
            Ok(()) => Some(name),
            Err(error) => {
                tell!("stallbox: {error:#}");
                self.lost.get_or_insert(error);
                None
            }
        }
    }

    /// For a person, who wants to know where bundles are.
    pub fn with_paths(&self, sweep: &Sweep) -> Sweep {
        let mut sweep = sweep.clone();
        if let Some(out) = &self.out {
            let bundles = sweep.runs.iter_mut().filter_map(|run| run.bundle.as_mut());
            bundles.for_each(|name| *name = out.join(&name).display().to_string());
        }
        sweep
    }

    /// What could not be written is an error.
    pub fn finish(self) -> Result<()> {
        for file in [&self.json, &self.junit].into_iter().flatten() {
            file.finish()?;
        }
        self.lost.map_or(Ok(()), Err)
    }
}

fn open(path: Option<&Path>, option: &str) -> Result<Option<OutputFile>> {
    path.map(|path| OutputFile::open(path, option, || false))
        .transpose()
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

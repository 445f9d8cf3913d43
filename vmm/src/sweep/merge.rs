//! `stallbox sweep merge`: the parts of a sweep in one.

use std::fs::File;
use std::io::BufReader;

use anyhow::{Context, Result};
use stallbox_machine::outcome::Outcome;
use stallbox_output::print;
use stallbox_sweep::{Run, Sweep};

use super::FAILED;
use crate::cli::MergeArgs;
use crate::output::OutputFile;

/// Joins them, and gives Stallbox's exit status: what a sweep in one piece would have given.
pub(super) fn merge(args: &MergeArgs) -> Result<u8> {
    let mut parts = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        parts.push((name.clone(), Sweep::read(BufReader::new(file), &name)?));
    }
    let sweep = Sweep::merge(parts)?.sweep;
    type Fill<'a> = &'a dyn Fn(&mut dyn std::io::Write) -> std::io::Result<()>;
    let json: Fill<'_> = &|out| sweep.write(out);
    let junit: Fill<'_> = &|out| sweep.junit(&args.name, out).map_err(std::io::Error::other);
    for (path, option, fill) in [
        (&args.json, "--json", json),
        (&args.junit, "--junit", junit),
    ] {
        if let Some(path) = path {
            let mut file = OutputFile::open(path, option, || false)?;
            file.begin()?;
            file.fill(fill)?;
            file.finish()?;
        }
    }
    print(sweep.summary())?;
    Ok(match sweep.runs.iter().all(Run::passed) {
        _ if !sweep.missing().is_empty() => Outcome::NO_STATUS,
        true => 0,
        false => FAILED,
    })
}

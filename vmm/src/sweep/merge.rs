//! `stallbox sweep merge`: the parts of a sweep in one.

use std::fs::File;
use std::io::BufReader;

use anyhow::{Context, Result};
use stallbox_output::print;
use stallbox_sweep::Sweep;

use super::files::Files;
use super::status;
use crate::cli::MergeArgs;

/// Joins them, and gives Stallbox's exit status: what a sweep in one piece would have given.
pub(super) fn merge(args: &MergeArgs) -> Result<u8> {
    let mut parts = Vec::new();
    for path in &args.shards {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        parts.push((name.clone(), Sweep::read(BufReader::new(file), &name)?));
    }
    let merged = Sweep::merge(parts)?;
    let mut files = Files::open(&args.files)?;
    for (part, name) in &merged.bundles {
        files.copy_bundle(&args.shards[*part], name)?;
    }
    files.begin()?;
    let sweep = merged.sweep;
    files.whole(&sweep);
    print(files.with_paths(&sweep).summary())?;
    files.finish()?;
    Ok(status(&sweep))
}

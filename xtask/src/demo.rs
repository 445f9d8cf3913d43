//! `cargo xtask demo`: what an IO page fault costs, from nothing to a table.

mod measure;
mod report;
mod table;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, value_parser};
use stallbox_output::{print, tell};

use crate::{cargo, image};
use report::Report;

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Writes the figures as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Operations on each kind and size of memory.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=100_000))]
    ops: u32,
}

/// Sets up, boots, measures and prints. An error if the counts of faults disagree.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    image::ensure()?;
    tell!("Stallbox: building it in release");
    let stallbox = cargo::build_stallbox()?;
    let measured = measure::measure(&stallbox, args.ops)?;
    let report = Report::new(&measured)?;
    print(format_args!("{}\n", table::render(&report, &measured)))?;
    if let Some(path) = &args.json {
        let mut text = serde_json::to_string_pretty(&report)?;
        text.push('\n');
        fs::write(path, text)
            .with_context(|| format!("cannot write {} (--json)", path.display()))?;
    }
    // Last, so that the figures are there to look at.
    report.faults.check()
}

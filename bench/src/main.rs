//! How fast Stallbox is: each figure beside a peer's, measured in turn in the same run.
//!
//! Nothing is asserted about the figures. They depend on the machine and on what else it does; the
//! ratios, taken pair by pair, depend on that less.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod deflate;
mod emulator;
mod footprint;
mod guest;
mod plans;
mod replay;
mod report;
mod series;
mod smmu_rig;
mod speed;
mod translations;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use stallbox_output::{CLOSED, is_closed, tell};

use emulator::Programs;
use guest::Guest;
use report::{Figure, print_head};

/// How fast Stallbox is, beside its peers.
#[derive(Debug, Parser)]
#[command(name = "stallbox-bench", about)]
struct Args {
    /// Benchmarks to run; all without any.
    #[arg(value_enum)]
    names: Vec<Benchmark>,
    /// Measurements of each figure.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The stallbox command to measure, instead of building it.
    #[arg(long, value_name = "FILE")]
    stallbox: Option<std::path::PathBuf>,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// What benchmarks of whole emulators need.
struct Lab {
    programs: Programs,
    guest: Guest,
}

impl Lab {
    fn new(args: &Args) -> Result<Lab> {
        // The guest first: what it lacks is told before anything is built.
        let guest = Guest::build()?;
        Ok(Lab {
            programs: Programs::find(args.stallbox.as_deref())?,
            guest,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// SMMU translations: hit, walk, fault.
    Smmu,
    /// Guest instructions a second, beside QEMU.
    Speed,
    /// Time to the guest's first program, beside QEMU.
    Boot,
    /// Deflate through the device, beside the library.
    Deflate,
    /// Resident memory beyond the guest's, beside QEMU.
    Memory,
    /// Runs from one place, repetitions and traces, beside runs without.
    Replay,
}

impl Benchmark {
    fn run(self, args: &Args) -> Result<Vec<Figure>> {
        match self {
            Benchmark::Smmu => translations::run(args.rounds),
            Benchmark::Speed => speed::loops(&Lab::new(args)?, args.rounds),
            Benchmark::Boot => speed::boot(&Lab::new(args)?, args.rounds),
            Benchmark::Deflate => deflate::run(&Lab::new(args)?, args.rounds),
            Benchmark::Replay => replay::run(
                &Programs::find_stallbox(args.stallbox.as_deref())?,
                args.rounds,
            ),
            Benchmark::Memory => footprint::run(&Lab::new(args)?, args.rounds),
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed(error.as_ref()) => ExitCode::from(CLOSED),
        Err(error) => {
            tell!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let names = match args.names.as_slice() {
        [] => Benchmark::value_variants(),
        names => names,
    };
    let mut figures = Vec::new();
    for benchmark in names {
        let of_this = benchmark.run(args)?;
        print_head(&format!("{benchmark:?}"))?;
        of_this.iter().try_for_each(Figure::print)?;
        figures.extend(of_this);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {} (--json)", path.display()))?;
    }
    Ok(())
}

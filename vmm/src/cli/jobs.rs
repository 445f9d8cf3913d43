//! `--jobs`.

use std::thread::available_parallelism;

use clap::Args;

/// How many runs go on at a time. They do not depend on it.
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Runs at a time [default: as many as the host has CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), allow_negative_numbers = true)]
    pub jobs: Option<u16>,
}

impl JobsArgs {
    /// The number: what is asked for, or else the host's CPUs.
    pub fn count(&self) -> usize {
        let cpus = || available_parallelism().map_or(1, usize::from);
        self.jobs.map_or_else(cpus, usize::from)
    }
}

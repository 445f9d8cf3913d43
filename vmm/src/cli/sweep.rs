//! Options of `stallbox sweep`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use stallbox_sweep::BeginAt;

use super::guest::parse_bytes;
use super::jobs::JobsArgs;
use super::machine::MachineArgs;
use super::run::parse_seconds;

/// Options of `stallbox sweep`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SweepArgs {
    /// Something else than to run.
    #[command(subcommand)]
    pub action: Option<SweepAction>,
    /// Which runs.
    #[command(flatten)]
    pub runs: RunsArgs,
    /// Which machine, and what it runs.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Which runs, and what becomes of their results.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// A run for each of these seeds: 0..1000 is 0 to 999; several, separated by commas.
    #[arg(
        long,
        value_name = "SEEDS",
        required_unless_present = "place",
        conflicts_with = "place"
    )]
    pub seeds: Option<String>,
    /// A run for each match of this rule of the plan: it takes that one and no other.
    #[arg(long, value_name = "RULE", requires = "plan")]
    pub place: Option<String>,
    /// Where runs begin: start (before the first instruction), ready (init is about to start the
    /// command), or marker:NAME (the guest writes "marker NAME" to /dev/ttyS1). All up to there is run once.
    #[arg(long, value_name = "PLACE", default_value = "ready", value_parser = BeginAt::from_str)]
    pub from: BeginAt,
    /// How many at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// Begins no more runs once so many have failed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    pub until_failures: Option<u64>,
    /// The K-th of N parts of the sweep; `stallbox sweep merge` joins their --json files.
    #[arg(long, value_name = "K/N")]
    pub shard: Option<String>,
    /// Where results go.
    #[command(flatten)]
    pub files: SweepFilesArgs,
    /// Ends a run after so many seconds of the host's time. Better is --stop-at: the guest's own time
    /// is the same on each host.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
    /// Gives up if the guest has not come to --from after so many seconds of the host's time.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub boot_timeout: Duration,
    /// As much memory as a run may take beside the guest's RAM: a number with K, M or G.
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_memory_limit, allow_negative_numbers = true)]
    pub memory_limit: u64,
    /// Does not confine the processes (seccomp, Landlock).
    #[arg(long)]
    pub unconfined: bool,
    /// Shows no progress, and tells of failures at the end only.
    #[arg(long)]
    pub quiet: bool,
}

/// Where the results of a sweep go.
#[derive(Debug, Args)]
pub struct SweepFilesArgs {
    /// Writes the results, a JSON object a line (docs/sweep-results.md).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// What the sweep is called there, to tell it from others of the same job.
    #[arg(long, value_name = "NAME", default_value = "sweep")]
    pub name: String,
    /// A folder for bundles: one for each distinct failure.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What else there is to do with sweeps.
#[derive(Debug, Subcommand)]
pub enum SweepAction {
    /// Joins the results of shards: what one machine would have written.
    Merge(MergeArgs),
}

/// Options of `stallbox sweep merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Results: the --json files of all shards. What is in their --out is looked for beside them.
    #[arg(value_name = "FILE", required = true)]
    pub shards: Vec<PathBuf>,
    /// Where the whole goes. Bundles are looked for beside the results of their shard.
    #[command(flatten)]
    pub files: SweepFilesArgs,
}

fn parse_memory_limit(text: &str) -> Result<u64> {
    const MIN: u64 = 8 << 20;
    match parse_bytes(text)? {
        bytes if bytes < MIN => bail!("write 8M or more: Stallbox itself needs as much"),
        bytes => Ok(bytes),
    }
}

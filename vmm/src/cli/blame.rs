//! Options of `stallbox blame`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::bundle::FilesArgs;
use super::jobs::JobsArgs;
use super::run::parse_seconds;

/// Options of `stallbox blame`.
#[derive(Debug, Args)]
pub struct BlameArgs {
    /// The bundle of a run that fails: of `stallbox run --record` or `stallbox sweep --out`.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Runs that go on from each point, each with draws of its own.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..=10000), allow_negative_numbers = true)]
    pub runs: u64,
    /// Points at which to look in a window, which is then narrowed down to the space between two of them.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..=1000), allow_negative_numbers = true)]
    pub points: u64,
    /// Ends when the window is not longer than this, in nanoseconds.
    #[arg(long, value_name = "NS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    pub window: u64,
    /// Writes the curve as a picture.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// How many at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// Ends a run after so many seconds of the host's time.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub timeout: Duration,
    /// What the run booted.
    #[command(flatten)]
    pub files: FilesArgs,
    /// Does not confine the processes (seccomp, Landlock).
    #[arg(long)]
    pub unconfined: bool,
    /// Shows no progress.
    #[arg(long)]
    pub quiet: bool,
}

//! Options of `stallbox shrink`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::bundle::FilesArgs;
use super::run::parse_seconds;

/// Options of `stallbox shrink`.
#[derive(Debug, Args)]
pub struct ShrinkArgs {
    /// The bundle of a run that fails: of `stallbox run --record` or `stallbox sweep --out`.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Writes the smaller bundle [default: BUNDLE with -small in its name].
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Tries no more candidates than this.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub tries: u32,
    /// Ends a candidate's run after so many seconds of the host's time.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub timeout: Duration,
    /// What the run booted.
    #[command(flatten)]
    pub files: FilesArgs,
    /// Does not confine the processes (seccomp, Landlock).
    #[arg(long)]
    pub unconfined: bool,
    /// Tells the end only, and not what was tried.
    #[arg(long)]
    pub quiet: bool,
}

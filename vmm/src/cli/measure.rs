//! Options of `stallbox measure`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::accel::{Accelerator, parse_accelerator};
use super::guest::GuestArgs;
use super::jobs::JobsArgs;
use super::run::parse_seconds;

/// Options of `stallbox measure`.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Fewer operations in each cell: seconds instead of a minute.
    #[arg(long)]
    pub quick: bool,
    /// Only these ways of preparing memory (comma-separated; without it, all).
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Only under these activities of the kernel (comma-separated; without it, all).
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Writes everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a line for each cell.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Writes a page with plots; it needs nothing else to be read.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Which guest.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Accelerator: zip, with its options (docs/accelerators.md).
    #[arg(long, value_name = "DEVICE[,OPTION]...", default_value = "zip,rev=0x30", value_parser = parse_accelerator)]
    pub accel: Accelerator,
    /// Seed of every random draw.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    pub seed: u64,
    /// How many guests at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// Does not confine the host process (seccomp, Landlock), for debuggers and profilers.
    #[arg(long)]
    pub unconfined: bool,
    /// Gives up on a guest after so many seconds of the host's time; the others go on.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub timeout: Duration,
}

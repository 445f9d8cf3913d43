//! Options of `stallbox replay` and `stallbox bundle`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::run::parse_seconds;

/// Options of `stallbox replay`: which run, and what to see of it.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The bundle, of `stallbox run --record`.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// What it booted.
    #[command(flatten)]
    pub files: FilesArgs,
    /// Live control, as for `run`; requests that change the machine are refused.
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,
    /// Waits, before the first instruction, until `stallbox inspect SOCKET resume`.
    #[arg(long, requires = "control")]
    pub paused: bool,
    /// More checkers, as for `run`.
    #[arg(long, value_name = "NAME[=US],...")]
    pub check: Vec<String>,
    /// Symbols of the guest's kernel, as for `run`.
    #[arg(long, value_name = "FILE")]
    pub symbols: Option<PathBuf>,
    /// Writes the trace, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Writes counts, latencies and the trace's hash as JSON.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Writes what guest programs reported with --result, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Ends it after so many seconds of the host's time.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
    /// Does not confine the host process (seccomp, Landlock), for debuggers and profilers.
    #[arg(long)]
    pub unconfined: bool,
    /// Does not show the guest's console.
    #[arg(long)]
    pub quiet: bool,
}

/// Where a recorded run's files are now.
#[derive(Clone, Debug, Default, Args)]
pub struct FilesArgs {
    /// The kernel, if it is not in the bundle, and not where it was.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// The same of the initial RAM disk.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
}

/// What to do with bundles.
#[derive(Debug, Subcommand)]
pub enum BundleAction {
    /// Tells in words what is in a bundle.
    Show(BundleShowArgs),
}

/// Options of `stallbox bundle show`.
#[derive(Debug, Args)]
pub struct BundleShowArgs {
    /// The bundle.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
}

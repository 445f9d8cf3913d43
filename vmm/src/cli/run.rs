//! Options of `stallbox run`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser};

use super::machine::MachineArgs;
use super::{Action, Cli};
use crate::config::EngineKind;

/// Options of `stallbox run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which machine, and what it runs.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// What runs guest instructions.
    #[arg(long, value_enum, value_name = "ENGINE", default_value = "soft")]
    pub engine: EngineKind,
    /// Live control: a Unix socket at this path, for `stallbox inspect` (docs/inspect.md).
    #[arg(long, value_name = "SOCKET")]
    pub control: Option<PathBuf>,
    /// Waits, before the first instruction, until `stallbox inspect SOCKET resume`.
    #[arg(long, requires = "control")]
    pub paused: bool,
    /// Writes the trace, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Writes counts, latencies and the trace's hash as JSON.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Writes what guest programs reported with --result, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Writes a bundle: the run in one file, which `stallbox replay` repeats on any host
    /// (docs/bundles.md). Only --engine soft repeats runs.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Puts kernel and initial RAM disks into the bundle.
    #[arg(long, requires = "record")]
    pub embed: bool,
    /// Ends the run after so many seconds of the host's time.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
    /// Does not confine the host process (seccomp, Landlock), for debuggers and profilers.
    #[arg(long)]
    pub unconfined: bool,
    /// Does not show the guest's console.
    #[arg(long)]
    pub quiet: bool,
}

impl RunArgs {
    /// The options of a run of this machine with nothing else asked for.
    ///
    /// # Panics
    /// If `run` had an option that must be given.
    pub fn of(machine: MachineArgs) -> RunArgs {
        let cli = Cli::try_parse_from(["stallbox", "run"]).expect("run needs no options");
        let Action::Run(run) = cli.action else {
            unreachable!("run is run");
        };
        RunArgs { machine, ..*run }
    }
}

/// A time limit: a year, and as short as somebody may mean it.
pub(super) fn parse_seconds(text: &str) -> Result<Duration> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=31_536_000.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => bail!("write a number of seconds from 0.001 to 31536000 (a year)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_limits() {
        assert_eq!(parse_seconds("1.5").unwrap(), Duration::from_millis(1500));
        let bad = [
            "0",
            "-1",
            "1e-300",
            "1e300",
            "NaN",
            "inf",
            "18446744073709551615",
            "",
            "3s",
        ];
        for bad in bad {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}

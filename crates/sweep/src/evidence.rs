//! What one run tells, and the verdict on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a run tells when it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// How the run ended, by its name in the summary: `command`, `panic`, `stop-at` and so on
    /// (`docs/hangs.md`).
    pub outcome: String,
    /// Stallbox's exit status for it, if the process came that far.
    pub status: Option<u8>,
    /// Whether a command was asked for: without one, a guest that switches itself off has done all that
    /// it should.
    pub command: bool,
    /// What the kernel reported, of the kinds of which the run fails.
    pub kernel_reports: Vec<KernelReport>,
    /// What checkers reported.
    pub check_reports: Vec<CheckReport>,
    /// What a run that hangs had under way, a few words for each thing.
    pub under_way: Vec<String>,
    /// The console's last lines.
    pub console: Vec<String>,
    /// How the process that ran it died, if it did.
    pub death: Option<Death>,
}

/// A report of the kernel on its console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelReport {
    /// Its name for `--fail-on`: `oops`, `kasan` and so on.
    pub kind: String,
    /// The time of its first line.
    pub time_ns: u64,
    /// Its lines, without what the kernel puts before each. With the call trace in them the signature has
    /// frames.
    pub lines: Vec<String>,
}

/// A report of a checker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The checker: `tlb`, `stall` and so on.
    pub checker: String,
    /// When it was made.
    pub time_ns: u64,
    /// What, in a few words.
    pub title: String,
    /// What else it says.
    pub lines: Vec<String>,
}

/// How the process that ran a run died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// A signal ended it.
    Signal(i32),
    /// It had reached the limit of its memory.
    MemoryLimit,
    /// It ended with this exit status before it had told of its run.
    Exit(i32),
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Death::MemoryLimit => write!(f, "memory limit"),
            Death::Exit(status) => write!(f, "exit status {status} without a result"),
        }
    }
}

/// Names of the signals that end processes (signal(7), those that are the same on all of Linux's machines).
pub(crate) fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// What became of a run. If more than one fits, the last of them here is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All went well.
    Passed,
    /// The exit status is not 0, or there is none.
    Failed,
    /// A checker or the kernel reported something.
    Reported,
    /// It did not come to an end: asleep for ever, or a limit of time was reached.
    Hung,
    /// The kernel panicked.
    Panicked,
    /// Nothing is known of its end: the process that ran it died or could not go on.
    Lost,
}

impl Verdict {
    /// All of them, the gravest last.
    pub const ALL: [Verdict; 6] = [
        Verdict::Passed,
        Verdict::Failed,
        Verdict::Reported,
        Verdict::Hung,
        Verdict::Panicked,
        Verdict::Lost,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Reported => "reported",
            Verdict::Hung => "hung",
            Verdict::Panicked => "panicked",
            Verdict::Lost => "lost",
        }
    }

    /// The verdict on a run.
    pub fn of(evidence: &Evidence) -> Verdict {
        let reported = !evidence.kernel_reports.is_empty() || !evidence.check_reports.is_empty();
        if evidence.death.is_some() {
            return Verdict::Lost;
        }
        match evidence.outcome.as_str() {
            "panic" => Verdict::Panicked,
            "asleep" | "end-of-time" | "timeout" | "stop-at" => Verdict::Hung,
            // The user left, the repetition differs, the output broke, the engine failed.
            "quit" | "diverged" | "unheard" | "error" => Verdict::Lost,
            _ if reported => Verdict::Reported,
            "power-off" if !evidence.command => Verdict::Passed,
            "command" if evidence.status == Some(0) => Verdict::Passed,
            _ => Verdict::Failed,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: &str, status: u8) -> Evidence {
        Evidence {
            outcome: outcome.into(),
            status: Some(status),
            command: true,
            ..Evidence::default()
        }
    }

    #[test]
    fn the_outcome_and_the_status_decide() {
        for (outcome, status, verdict) in [
            ("command", 0, Verdict::Passed),
            ("command", 1, Verdict::Failed),
            ("power-off", 122, Verdict::Failed),
            ("reset", 122, Verdict::Failed),
            ("panic", 121, Verdict::Panicked),
            ("asleep", 122, Verdict::Hung),
            ("end-of-time", 122, Verdict::Hung),
            ("timeout", 124, Verdict::Hung),
            ("stop-at", 124, Verdict::Hung),
            ("quit", 122, Verdict::Lost),
            ("error", 125, Verdict::Lost),
            ("diverged", 125, Verdict::Lost),
        ] {
            assert_eq!(Verdict::of(&ended(outcome, status)), verdict, "{outcome}");
        }
        let shell = Evidence {
            command: false,
            ..ended("power-off", 0)
        };
        assert_eq!(Verdict::of(&shell), Verdict::Passed);
    }

    #[test]
    fn the_gravest_counts() {
        let report = CheckReport {
            checker: "tlb".into(),
            time_ns: 1,
            title: "stale".into(),
            lines: Vec::new(),
        };
        for (outcome, status, verdict) in [
            ("command", 0, Verdict::Reported),
            ("command", 1, Verdict::Reported),
            ("stop-at", 124, Verdict::Hung),
            ("panic", 121, Verdict::Panicked),
        ] {
            let mut evidence = ended(outcome, status);
            evidence.check_reports.push(report.clone());
            assert_eq!(Verdict::of(&evidence), verdict, "{outcome}");
            evidence.death = Some(Death::Signal(9));
            assert_eq!(Verdict::of(&evidence), Verdict::Lost);
        }
    }

    #[test]
    fn names_are_those_of_the_file() {
        for verdict in Verdict::ALL {
            let json = serde_json::to_string(&verdict).unwrap();
            assert_eq!(json, format!("\"{}\"", verdict.name()));
        }
        assert!(Verdict::ALL.is_sorted());
    }
}

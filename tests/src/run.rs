//! What a guest left behind.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::script::{self, Said};
use crate::trace::Record;

/// Console lines that a failure shows.
const LAST_LINES: usize = 40;

/// A run that has ended. Its `Display` is what to show when something is not as expected.
pub struct Run {
    folder: TempDir,
    line: String,
    status: ExitStatus,
    console: String,
    errors: String,
    took: Duration,
    said: Said,
}

/// What `--summary` wrote.
#[derive(Clone, Debug, Deserialize)]
#[allow(
    missing_docs,
    reason = "the names are those of stallbox_trace::Summary and `Report`"
)]
pub struct Summary {
    pub engine: String,
    pub repeatable: bool,
    pub trace_hash: String,
    /// Of the soft engine only.
    pub instructions: Option<u64>,
    pub events: u64,
    pub device_faults: u64,
    pub smmu_stall_records: u64,
    pub resumes_retry: u64,
    pub resumes_abort: u64,
    pub event_records_lost: u64,
    pub jobs: u64,
    pub job_errors: u64,
    pub virtual_ns: u64,
    pub boot_ns: Option<u64>,
    pub guest_status: Option<u8>,
    pub kernel_reports: Value,
}

impl Run {
    pub(crate) const SUMMARY: &str = "summary.json";
    pub(crate) const RESULTS: &str = "results.jsonl";
    pub(crate) const TRACE: &str = "trace.jsonl";

    pub(crate) fn new(
        folder: TempDir,
        line: String,
        status: ExitStatus,
        console: String,
        errors: String,
        took: Duration,
    ) -> Run {
        let said = script::parse(&console);
        Run {
            folder,
            line,
            status,
            console,
            errors,
            took,
            said,
        }
    }

    /// The run, if it ended with status 0.
    #[track_caller]
    pub fn success(self) -> Run {
        self.status(0)
    }

    /// The run, if it ended with this status.
    #[track_caller]
    pub fn status(self, expected: i32) -> Run {
        assert_eq!(
            self.status.code(),
            Some(expected),
            "the exit status is another one\n{self}"
        );
        self
    }

    /// All of standard output: the guest's console.
    pub fn console(&self) -> &str {
        &self.console
    }

    /// All of standard error.
    pub fn errors(&self) -> &str {
        &self.errors
    }

    /// What the script printed.
    pub fn output(&self) -> &str {
        &self.said.output
    }

    /// A file that the script gave.
    #[track_caller]
    pub fn file(&self, name: &str) -> &[u8] {
        match self.said.files.get(name) {
            Some(content) => content,
            None => panic!("the guest did not give {name}\n{self}"),
        }
    }

    /// The summary.
    #[track_caller]
    pub fn summary(&self) -> Summary {
        serde_json::from_str(&self.read(Run::SUMMARY))
            .unwrap_or_else(|error| panic!("the summary is not understood: {error}\n{self}"))
    }

    /// All of the summary.
    #[track_caller]
    pub fn whole_summary(&self) -> Value {
        serde_json::from_str(&self.read(Run::SUMMARY))
            .unwrap_or_else(|error| panic!("the summary is not understood: {error}\n{self}"))
    }

    /// What guest programs reported with `--result`.
    #[track_caller]
    pub fn results(&self) -> Vec<Value> {
        self.read(Run::RESULTS)
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{error} in the result {line}\n{self}"))
            })
            .collect()
    }

    /// The trace of a guest that was [traced](crate::Guest::traced).
    #[track_caller]
    pub fn trace(&self) -> Vec<Record> {
        let trace = crate::trace::read(&self.read(Run::TRACE));
        trace.unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    #[track_caller]
    fn read(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("stallbox left no {name}: {error}\n{self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}", self.line)?;
        writeln!(
            f,
            "ended: {} after {:.1} s",
            self.status,
            self.took.as_secs_f64()
        )?;
        writeln!(f, "standard error:\n{}", self.errors.trim_end())?;
        let console = script::without_files(&self.console);
        let lines: Vec<&str> = console.lines().collect();
        let first = lines.len().saturating_sub(LAST_LINES);
        writeln!(f, "the console's last lines, of {}:", lines.len())?;
        lines[first..]
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

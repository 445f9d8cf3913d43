//! Steps that run one after the other, and how long each took.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use stallbox_output::tell;

/// The steps so far.
pub(crate) struct Stages {
    started: Instant,
    rows: Vec<Row>,
    skipped: Vec<String>,
}

struct Row {
    name: &'static str,
    took: Duration,
    remark: &'static str,
}

impl Stages {
    /// No step yet.
    pub(crate) fn new() -> Stages {
        Stages {
            started: Instant::now(),
            rows: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Runs a step.
    pub(crate) fn run<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        tell!("\n== {name}");
        let started = Instant::now();
        let result = step();
        let remark = if result.is_ok() { "" } else { "FAILED" };
        self.rows.push(Row {
            name,
            took: started.elapsed(),
            remark,
        });
        result
    }

    /// Notes a step that is left out, and why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &'static str) {
        tell!("\n== {name}: skipped, {why}");
        self.rows.push(Row {
            name,
            took: Duration::ZERO,
            remark: why,
        });
    }

    /// Notes tests that were skipped.
    pub(crate) fn note_skipped(&mut self, tests: &[String]) {
        self.skipped.extend_from_slice(tests);
    }

    /// A line for each step, and the sum; then a line for each test that was skipped.
    pub(crate) fn summary(&self) -> String {
        let mut text = summary(&self.rows, self.started.elapsed());
        if !self.skipped.is_empty() {
            text.push_str(&format!("\n{} skipped:", count(self.skipped.len())));
            for test in &self.skipped {
                text.push_str("\n  ");
                text.push_str(test);
            }
        }
        text
    }
}

/// How many tests, in words.
pub(crate) fn count(tests: usize) -> String {
    match tests {
        1 => "1 test was".to_owned(),
        tests => format!("{tests} tests were"),
    }
}

fn summary(rows: &[Row], total: Duration) -> String {
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max("total".len());
    let mut text = String::new();
    for row in rows {
        let line = format!(
            "{:<width$} {:>7}  {}",
            row.name,
            clock(row.took),
            row.remark
        );
        writeln!(text, "{}", line.trim_end()).expect("strings take all");
    }
    writeln!(text, "{:<width$} {:>7}", "total", clock(total)).expect("strings take all");
    text
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_a_line_for_each_step_and_the_sum() {
        let row = |name, seconds, remark| Row {
            name,
            took: Duration::from_secs(seconds),
            remark,
        };
        let rows = [
            row("guest image", 185, ""),
            row("deny", 0, "cargo-deny is not installed"),
        ];
        assert_eq!(
            summary(&rows, Duration::from_secs(3605)),
            "guest image    3:05\n\
             deny           0:00  cargo-deny is not installed\n\
             total         60:05\n"
        );
    }

    #[test]
    fn a_failed_step_is_marked_and_its_error_kept() {
        let mut stages = Stages::new();
        let result: Result<()> = stages.run("tests", || anyhow::bail!("no"));
        assert_eq!(result.unwrap_err().to_string(), "no");
        assert!(stages.summary().contains("FAILED"));
    }
}

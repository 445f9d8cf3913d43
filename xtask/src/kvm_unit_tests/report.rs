//! What a test printed.

use super::list::Expected;

/// Status of a program whose `main` returned 0: `EXIT: STATUS=` has the code shifted by one, and a 1.
const ALL_WELL: u32 = 1;
/// Status that says "skipped".
const SKIPPED: u32 = 77;

/// What a test printed, and what that comes to.
pub(super) struct Report {
    /// All of it.
    pub output: String,
    /// Checks that passed.
    pub passes: usize,
    failures: Vec<String>,
    skips: usize,
    status: Option<u32>,
}

impl Report {
    /// Reads what a test printed.
    pub(super) fn new(output: String) -> Report {
        let (mut passes, mut failures, mut skips, mut status) = (0, Vec::new(), 0, None);
        for line in output.lines().map(str::trim) {
            match line.split_once(": ") {
                Some(("PASS" | "XFAIL" | "KFAIL", _)) => passes += 1,
                Some(("FAIL" | "XPASS" | "ABORT", _)) => failures.push(line.to_owned()),
                Some(("SKIP", _)) => skips += 1,
                Some(("EXIT", rest)) => {
                    status = rest.strip_prefix("STATUS=").and_then(|it| it.parse().ok());
                }
                _ => {}
            }
        }
        Report {
            output,
            passes,
            failures,
            skips,
            status,
        }
    }

    /// What to say of it; an error if that is not what was expected.
    pub(super) fn verdict(&self, expected: &Expected) -> Result<String, String> {
        let Some(status) = self.status else {
            return Err("it did not come to its end".to_owned());
        };
        if let Some(first) = self.failures.first() {
            return Err(format!("{} checks failed: {first}", self.failures.len()));
        }
        match *expected {
            Expected::Absent if status == SKIPPED => Ok("absent, and said to be".to_owned()),
            Expected::Absent => Err(format!("not skipped, but status {status}")),
            Expected::Passes(_) if status != ALL_WELL => Err(format!("status {status}")),
            Expected::Passes(_) if self.skips > 0 => Err(format!("{} checks skipped", self.skips)),
            Expected::Passes(least) if self.passes < least => {
                Err(format!("{} checks passed, not {least}", self.passes))
            }
            Expected::Passes(0) => Ok("came to its end".to_owned()),
            Expected::Passes(_) => Ok(format!("{} passed", self.passes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(output: &str, expected: Expected) -> Result<String, String> {
        Report::new(output.to_owned()).verdict(&expected)
    }

    #[test]
    fn passes_are_counted_and_nothing_else_is_taken_for_one() {
        let good =
            "PASS: psci: cpu-on\r\nPASS: psci: cpu-off\r\nSUMMARY: 2 tests\n\nEXIT: STATUS=1\n";
        assert_eq!(verdict(good, Expected::Passes(2)).unwrap(), "2 passed");
        assert!(
            verdict(good, Expected::Passes(3))
                .unwrap_err()
                .contains("not 3")
        );
        let skipped = format!("SKIP: psci: x\n{good}");
        assert!(
            verdict(&skipped, Expected::Passes(2))
                .unwrap_err()
                .contains("skipped")
        );
        assert!(
            verdict(good, Expected::Absent)
                .unwrap_err()
                .contains("status 1")
        );
    }

    #[test]
    fn failures_and_ends_that_do_not_come_are_errors() {
        for bad in [
            "PASS: a\n",
            "PASS: a\nFAIL: b\nEXIT: STATUS=3\n",
            "PASS: a\nXPASS: b\nEXIT: STATUS=1\n",
            "ABORT: a\nEXIT: STATUS=127\n",
            "PASS: a\nEXIT: STATUS=3\n",
        ] {
            assert!(verdict(bad, Expected::Passes(1)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_absent_must_be_said_to_be() {
        let absent = "SKIP: No MTE support, skip...\nEXIT: STATUS=77\n";
        assert!(verdict(absent, Expected::Absent).is_ok());
        assert!(verdict(absent, Expected::Passes(0)).is_err());
    }
}

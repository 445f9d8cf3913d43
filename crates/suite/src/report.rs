//! What came of the runs of a suite, for people and for continuous integration.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All is as it must be.
    Passed,
    /// Something is not.
    Failed,
    /// There was no run, or nothing is known of its end.
    Error,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Passed => "PASS",
            Verdict::Failed => "FAIL",
            Verdict::Error => "ERROR",
        })
    }
}

/// A run of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// The scenario's file.
    pub scenario: String,
    /// Which of its runs: case, kernel, plan and seed, as far as there are several.
    pub name: String,
    /// The kernel, as the scenario calls it.
    pub kernel: String,
    /// The seed, if the scenario names any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What became of it.
    pub verdict: Verdict,
    /// What was not as it must be, or why there was no run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misses: Vec<String>,
    /// How the run ended, by its name in a summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Stallbox's exit status for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
    /// The devices' time at its end.
    pub time_ns: u64,
    /// SHA-256 of its trace, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_hash: Option<String>,
    /// The console's last lines, if it did not pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// The bundle that repeats it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

impl fmt::Display for Case {
    /// A line, and one more for each miss.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{:<5} {}: {}", self.verdict, self.scenario, self.name);
        for miss in &self.misses {
            for line in miss.lines() {
                text.push_str("\n      ");
                text.push_str(line);
            }
        }
        if let Some(bundle) = &self.bundle {
            text.push_str(&format!("\n      bundle: {bundle}"));
        }
        // Consoles and files have no say over the terminal.
        f.write_str(&text.replace(|it: char| it.is_control() && it != '\n', "?"))
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of files and cases.
    pub cases: Vec<Case>,
}

/// The report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the JUnit report")]
pub struct JunitError(#[source] Box<dyn Error + Send + Sync>);

impl Report {
    /// How many have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let cases = self.cases.iter();
        cases.filter(|case| case.verdict == verdict).count()
    }

    /// In a line.
    pub fn summary(&self) -> String {
        let [passed, failed, errors] =
            [Verdict::Passed, Verdict::Failed, Verdict::Error].map(|it| self.count(it));
        let errors = match errors {
            0 => String::new(),
            1 => ", 1 error".to_owned(),
            errors => format!(", {errors} errors"),
        };
        format!("{passed} passed, {failed} failed{errors}\n")
    }

    /// Writes JUnit XML, as `stallbox sweep` does: a suite for each scenario. Times are the guest's.
    pub fn junit(&self, mut to: impl Write) -> Result<(), JunitError> {
        let mut report = quick_junit::Report::new("stallbox test");
        let mut cases = self.cases.as_slice();
        let mut total = Duration::ZERO;
        while let Some(first) = cases.first() {
            let same = cases.iter().take_while(|it| it.scenario == first.scenario);
            let (these, others) = cases.split_at(same.count());
            cases = others;
            let stem = first.scenario.trim_end_matches(".toml");
            let name = format!("stallbox.{}", stem.replace('/', "."));
            let mut suite = TestSuite::new(&name);
            let mut time = Duration::ZERO;
            for case in these {
                time += Duration::from_nanos(case.time_ns);
                suite.add_test_case(test_case(case, &name));
            }
            suite.set_time(time);
            total += time;
            report.add_test_suite(suite);
        }
        report.set_time(total);
        let text = report
            .to_string()
            .map_err(|error| JunitError(error.into()))?;
        // No schema of Jenkins' xUnit plugin, which checks, has this attribute for the root.
        let text = text.replacen(" skipped=\"0\"", "", 1);
        to.write_all(text.as_bytes())
            .and_then(|()| to.flush())
            .map_err(|error| JunitError(error.into()))
    }
}

fn test_case(case: &Case, class: &str) -> TestCase {
    let kind = match case.verdict {
        Verdict::Passed => None,
        Verdict::Failed => Some((NonSuccessKind::Failure, "failed")),
        Verdict::Error => Some((NonSuccessKind::Error, "error")),
    };
    let status = match kind {
        None => TestCaseStatus::success(),
        Some((kind, name)) => {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_type(name);
            if let Some(first) = case.misses.first() {
                status.set_message(first);
            }
            let bundle = case.bundle.iter().map(|it| format!("bundle: {it}"));
            let lines: Vec<String> = case.misses.iter().cloned().chain(bundle).collect();
            status.set_description(lines.join("\n"));
            status
        }
    };
    let mut test_case = TestCase::new(&case.name, status);
    test_case.set_classname(class);
    test_case.set_time(Duration::from_nanos(case.time_ns));
    if !case.console.is_empty() {
        test_case.set_system_out(case.console.join("\n"));
    }
    test_case
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn case(scenario: &str, name: &str, verdict: Verdict) -> Case {
        let passed = verdict == Verdict::Passed;
        Case {
            scenario: scenario.to_owned(),
            name: name.to_owned(),
            kernel: "stock".to_owned(),
            seed: None,
            verdict,
            misses: Vec::from_iter((!passed).then(|| "status: 0 expected, 1".to_owned())),
            outcome: Some("command".to_owned()),
            status: Some(1),
            time_ns: 1_500_000_000,
            trace_hash: None,
            console: Vec::from_iter((!passed).then(|| "\u{1b}[2J<x>".to_owned())),
            bundle: (!passed).then(|| "out/a.sbx".to_owned()),
        }
    }

    fn report() -> Report {
        Report {
            cases: vec![
                case("a.toml", "run", Verdict::Passed),
                case("a.toml", "seed 2", Verdict::Failed),
                case("b.toml", "run", Verdict::Error),
            ],
        }
    }

    #[test]
    fn people_read_lines() {
        let report = report();
        assert_eq!(report.summary(), "1 passed, 1 failed, 1 error\n");
        assert_eq!(report.cases[0].to_string(), "PASS  a.toml: run");
        assert_eq!(
            report.cases[1].to_string(),
            "FAIL  a.toml: seed 2\n      status: 0 expected, 1\n      bundle: out/a.sbx"
        );
        let mut rude = case("a.toml", "run", Verdict::Failed);
        rude.misses = vec!["console: \u{1b}[2J".to_owned()];
        assert!(rude.to_string().contains("console: ?[2J"));
    }

    #[test]
    fn forges_read_a_suite_for_each_scenario() {
        let mut xml = Vec::new();
        report().junit(&mut xml).unwrap();
        let xml = String::from_utf8(xml).unwrap();
        let document = Document::parse(&xml).unwrap();
        let nodes = |name: &'static str| {
            document
                .descendants()
                .filter(move |it| it.has_tag_name(name))
        };
        let suites: Vec<_> = nodes("testsuite")
            .map(|it| it.attribute("name").unwrap())
            .collect();
        assert_eq!(suites, ["stallbox.a", "stallbox.b"]);
        let suite = nodes("testsuite").next().unwrap();
        assert_eq!(suite.attribute("tests"), Some("2"));
        assert_eq!(suite.attribute("failures"), Some("1"));
        let failure = nodes("failure").next().unwrap();
        assert_eq!(failure.attribute("message"), Some("status: 0 expected, 1"));
        assert!(failure.text().unwrap().contains("bundle: out/a.sbx"));
        assert_eq!(nodes("error").count(), 1);
        assert_eq!(
            nodes("testcase").nth(1).unwrap().attribute("time"),
            Some("1.500")
        );
    }
}

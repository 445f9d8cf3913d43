//! Results for continuous integration: JUnit XML.
//!
//! There is no standard. What is written is what Jenkins (junit-plugin, `SuiteResult` and `CaseResult`)
//! and GitLab (*Unit test reports*) read: `testsuite` and `testcase` with `name`, `classname` and `time`,
//! `failure` or `error` with `message` and `type`, `system-out`. A case is known again from one report to
//! the next by `classname` and `name`, so these are the same each time. `time` is the guest's: the same
//! sweep makes the same file.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{Run, Sweep, Verdict};

/// The report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the JUnit report")]
pub struct JunitError(#[source] Box<dyn Error + Send + Sync>);

impl Sweep {
    /// Writes JUnit XML. `name` tells this sweep from others of the same job, as `nightly.zipabuse`:
    /// cases are `stallbox.NAME`'s.
    pub fn junit(&self, name: &str, mut to: impl Write) -> Result<(), JunitError> {
        let mut suite = TestSuite::new(format!("stallbox.{name}"));
        let header = &self.header;
        let command = header.arguments.join(" ");
        suite.add_property(Property::new("stallbox version", &header.version));
        suite.add_property(Property::new("stallbox arguments", &command));
        for (what, sha256) in &header.inputs {
            suite.add_property(Property::new(format!("sha256 of {what}"), sha256));
        }
        let mut total = Duration::ZERO;
        for run in &self.runs {
            let time = Duration::from_nanos(run.time_ns.saturating_sub(header.begin.time_ns));
            total += time;
            let mut case = TestCase::new(header.varied.name(run.number), status(run));
            case.set_classname(format!("stallbox.{name}"));
            case.set_time(time);
            if !run.console.is_empty() {
                case.set_system_out(run.console.join("\n"));
            }
            suite.add_test_case(case);
        }
        suite.set_time(total);
        let mut report = Report::new("stallbox sweep");
        report.set_time(total);
        report.add_test_suite(suite);
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

fn status(run: &Run) -> TestCaseStatus {
    // An error is a test that could not be done, a failure one that was done and failed.
    let kind = match run.verdict {
        Verdict::Passed => return TestCaseStatus::success(),
        Verdict::Lost => NonSuccessKind::Error,
        _ => NonSuccessKind::Failure,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(run.verdict.name());
    let mut lines = Vec::new();
    if let Some(signature) = &run.signature {
        status.set_message(signature.title());
        lines.push(format!(
            "signature {}: {}",
            signature.id(),
            signature.title()
        ));
        lines.extend(signature.frames().iter().map(|frame| format!("  {frame}")));
    }
    lines.extend(run.message.clone());
    lines.push(match run.status {
        Some(status) => format!("outcome {}, exit status {status}", run.outcome),
        None if run.outcome.is_empty() => "no outcome".to_owned(),
        None => format!("outcome {}", run.outcome),
    });
    if let Some(place) = &run.place {
        lines.push(format!("place: {} ns, {}", place.time_ns, place.what));
    }
    if let Some(bundle) = &run.bundle {
        lines.push(format!("bundle: {bundle}"));
    }
    status.set_description(lines.join("\n"));
    status
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;
    use crate::results::tests::{header, hung, passed, warned};
    use crate::{Death, Evidence};

    fn xml(sweep: &Sweep) -> String {
        let mut bytes = Vec::new();
        sweep.junit("nightly", &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn sweep() -> Sweep {
        let lost = Evidence {
            death: Some(Death::Signal(9)),
            ..Evidence::default()
        };
        let runs = vec![passed(0), warned(1, "f"), hung(2), Run::new(3, &lost)];
        Sweep::new(header("0..4"), runs)
    }

    type Names = &'static [&'static str];

    /// Attributes and children that the schema of Jenkins' xUnit plugin (junit-10.xsd, which is that of
    /// Maven's Surefire and what both forges read) knows, the required ones first.
    const SCHEMA: [(&str, Names, Names, Names); 8] = [
        (
            "testsuites",
            &[],
            &["name", "time", "tests", "failures", "errors"],
            &["testsuite"],
        ),
        (
            "testsuite",
            &["name", "tests", "failures", "errors"],
            &["time", "skipped"],
            &["properties", "testcase"],
        ),
        ("properties", &[], &[], &["property"]),
        ("property", &["name", "value"], &[], &[]),
        (
            "testcase",
            &["name"],
            &["time", "classname"],
            &["skipped", "error", "failure", "system-out", "system-err"],
        ),
        ("failure", &[], &["type", "message"], &[]),
        ("error", &[], &["type", "message"], &[]),
        ("system-out", &[], &[], &[]),
    ];

    fn check(node: Node) {
        let name = node.tag_name().name();
        let (_, required, optional, children) = SCHEMA
            .iter()
            .find(|(known, ..)| *known == name)
            .unwrap_or_else(|| panic!("no element {name}"));
        for attribute in node.attributes() {
            let attribute = attribute.name();
            assert!(
                required.contains(&attribute) || optional.contains(&attribute),
                "{name} {attribute}"
            );
        }
        for attribute in *required {
            assert!(node.has_attribute(*attribute), "{name} has no {attribute}");
        }
        for child in node.children().filter(Node::is_element) {
            assert!(
                children.contains(&child.tag_name().name()),
                "{name} {child:?}"
            );
            check(child);
        }
    }

    #[test]
    fn it_is_what_forges_read() {
        let xml = xml(&sweep());
        let document = Document::parse(&xml).unwrap();
        check(document.root_element());
        let suite = document
            .descendants()
            .find(|it| it.has_tag_name("testsuite"))
            .unwrap();
        let attribute = |name: &str| suite.attribute(name).unwrap().to_owned();
        assert_eq!(
            ["tests", "failures", "errors"].map(attribute),
            ["4", "2", "1"]
        );
        let cases: Vec<Node> = suite
            .children()
            .filter(|it| it.has_tag_name("testcase"))
            .collect();
        assert_eq!(cases[1].attribute("name"), Some("seed 1"));
        assert_eq!(cases[1].attribute("classname"), Some("stallbox.nightly"));
        assert_eq!(cases[1].attribute("time"), Some("0.055"));
        let failure = cases[1].first_element_child().unwrap();
        assert_eq!(failure.attribute("message"), Some("WARNING in f"));
        assert_eq!(failure.attribute("type"), Some("reported"));
        assert!(failure.text().unwrap().contains("bundle: f-1.sbx"), "{xml}");
        assert!(cases[0].first_element_child().is_none());
        assert!(
            cases[3]
                .first_element_child()
                .unwrap()
                .has_tag_name("error")
        );
        // What a terminal obeys is no XML, and is left out.
        let console = cases[2].last_element_child().unwrap();
        assert_eq!(console.text(), Some("<waits> & \"hangs\" "));
    }

    #[test]
    fn the_same_sweep_makes_the_same_file() {
        assert_eq!(xml(&sweep()), xml(&sweep()));
        assert!(!xml(&sweep()).contains("timestamp"));
    }
}

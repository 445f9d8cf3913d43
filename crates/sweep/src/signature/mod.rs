//! Signatures: by what a failure is known again.
//!
//! Which of several reports a signature is made of: the first. What follows is often a consequence: an
//! oops of a use after free, a panic of an oops, warnings of locks that were never given back. syzkaller,
//! whose titles of bugs kernel engineers know, does the same (pkg/report/linux.go, `findFirstOops`), and
//! the titles here are close to its own.

mod kernel;
mod stack;
mod words;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::evidence::signal_name;
use crate::{CheckReport, Evidence, KernelReport, Verdict};

/// Frames of a signature, at most.
pub const FRAMES_MAX: usize = 3;
/// Characters of a title, at most.
const TITLE_MAX: usize = 160;

/// What failures that are one bug have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Signature {
    id: String,
    title: String,
    frames: Vec<String>,
}

/// As it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    title: String,
    frames: Vec<String>,
}

impl TryFrom<Written> for Signature {
    type Error = String;

    fn try_from(written: Written) -> Result<Signature, String> {
        let signature = Signature::new(written.title, written.frames);
        if signature.id != written.id {
            return Err(format!(
                "signature {} has another title or other frames than when it was made",
                written.id
            ));
        }
        Ok(signature)
    }
}

/// What one report comes to.
struct Described {
    title: String,
    frames: Vec<String>,
}

/// The report that decides.
enum First<'a> {
    Kernel(&'a KernelReport),
    Check(&'a CheckReport),
}

impl Signature {
    fn new(title: String, frames: Vec<String>) -> Signature {
        let text: String = [&title]
            .into_iter()
            .chain(&frames)
            .flat_map(|line| [line.as_str(), "\n"])
            .collect();
        let digest = Sha256::digest(text);
        let id = digest[..4].iter().map(|byte| format!("{byte:02x}"));
        Signature {
            id: id.collect(),
            title,
            frames,
        }
    }

    /// The signature of a run; none if it passed.
    pub fn of(evidence: &Evidence) -> Option<Signature> {
        let verdict = Verdict::of(evidence);
        let described = match (verdict, first(evidence)) {
            (Verdict::Passed, _) => return None,
            (Verdict::Lost, _) => plain(lost(evidence)),
            (_, Some(First::Kernel(report))) => kernel::describe(report),
            (_, Some(First::Check(report))) => check(report),
            (Verdict::Panicked, None) => plain("kernel panic"),
            (Verdict::Hung, None) => plain(hung(evidence)),
            (Verdict::Failed | Verdict::Reported, None) => plain(failed(evidence)),
        };
        let mut frames = described.frames;
        frames.truncate(FRAMES_MAX);
        Some(Signature::new(
            words::cut(&described.title, TITLE_MAX),
            frames,
        ))
    }

    /// Eight hexadecimal digits, the same wherever and whenever it is made: for names of files.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// In a line.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The top of the stack, innermost first; empty if nothing is known of it.
    pub fn frames(&self) -> &[String] {
        &self.frames
    }
}

/// The first report. Of one time the checker's comes first: it sees what is done to memory, and the
/// kernel what became of it.
fn first(evidence: &Evidence) -> Option<First<'_>> {
    let kernel = evidence.kernel_reports.iter().min_by_key(|it| it.time_ns);
    let check = evidence.check_reports.iter().min_by_key(|it| it.time_ns);
    match (kernel, check) {
        (Some(kernel), Some(check)) if kernel.time_ns < check.time_ns => {
            Some(First::Kernel(kernel))
        }
        (_, Some(check)) => Some(First::Check(check)),
        (kernel, None) => kernel.map(First::Kernel),
    }
}

/// What a run says of itself in a line, with its own numbers.
pub(crate) fn message(evidence: &Evidence) -> Option<String> {
    let verdict = Verdict::of(evidence);
    Some(match (verdict, first(evidence)) {
        (Verdict::Passed, _) => return None,
        (Verdict::Lost, _) => lost(evidence),
        (_, Some(First::Kernel(report))) => {
            words::printable(report.lines.first().map_or("", |line| line))
        }
        (_, Some(First::Check(report))) => {
            words::printable(&format!("check {}: {}", report.checker, report.title))
        }
        (Verdict::Panicked, None) => "kernel panic".to_owned(),
        (Verdict::Hung, None) => hung(evidence),
        (Verdict::Failed | Verdict::Reported, None) => failed(evidence),
    })
}

fn plain(title: impl Into<String>) -> Described {
    Described {
        title: title.into(),
        frames: Vec::new(),
    }
}

fn check(report: &CheckReport) -> Described {
    let title = words::settled(&report.title);
    Described {
        title: format!("check {}: {title}", report.checker),
        frames: stack::of_checker(&report.lines),
    }
}

fn lost(evidence: &Evidence) -> String {
    match (&evidence.death, evidence.outcome.as_str()) {
        (Some(death), _) => format!("lost: {death}"),
        (None, outcome) => format!("lost: {outcome}"),
    }
}

fn hung(evidence: &Evidence) -> String {
    let how = match evidence.outcome.as_str() {
        "asleep" => "all CPUs sleep",
        "end-of-time" => "waits for the end of virtual time",
        "timeout" => "time limit (--timeout)",
        _ => "time limit (--stop-at)",
    };
    let mut things: Vec<String> = evidence
        .under_way
        .iter()
        .map(|thing| words::settled(thing))
        .collect();
    things.sort();
    things.dedup();
    match things.is_empty() {
        true => format!("hung: {how}"),
        false => format!("hung: {how}: {}", things.join("; ")),
    }
}

fn failed(evidence: &Evidence) -> String {
    match (evidence.outcome.as_str(), evidence.status) {
        ("command", Some(status)) => {
            // What a shell says of a command that a signal ended.
            let signal = i32::from(status).checked_sub(128).and_then(signal_name);
            match signal {
                Some(name) => format!("exit status {status} ({name})"),
                None => format!("exit status {status}"),
            }
        }
        ("reset", _) => "the guest asked for a reset".to_owned(),
        ("power-off", _) => "the guest switched off before the command had ended".to_owned(),
        (outcome, Some(status)) => format!("{outcome}, exit status {status}"),
        (outcome, None) => outcome.to_owned(),
    }
}

#[cfg(test)]
mod tests;

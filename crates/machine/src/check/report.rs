//! What a report says, and how it looks.

use std::fmt::Write as _;

use stallbox_smmu::Transaction;
use stallbox_timeline::{Span, Time};
use stallbox_trace::{Check, FindingKind};

use super::changes::By;
use super::{Checkers, Space};

/// What a report says, before it is a block of text.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub check: Check,
    pub kind: FindingKind,
    /// In a few words.
    pub what: String,
    pub space: Space,
    pub address: Option<u64>,
    pub output: Option<u64>,
    /// Lines about how it came to be.
    pub lines: Vec<String>,
    /// Who did what, as far as that is known: a few words, and the way there.
    pub traces: Vec<(String, By)>,
    /// The page's history as it was then, if the report is about an earlier time.
    pub history: Option<Vec<(Time, String)>>,
    /// What is to stand there beside what the SMMU did.
    pub events: Vec<(Time, String)>,
}

impl Finding {
    pub(super) fn new(
        (check, kind): (Check, FindingKind),
        what: impl Into<String>,
        space: Space,
    ) -> Finding {
        Finding {
            check,
            kind,
            what: what.into(),
            space,
            address: None,
            output: None,
            lines: Vec::new(),
            traces: Vec::new(),
            history: None,
            events: Vec::new(),
        }
    }

    pub(super) fn at(mut self, address: u64, output: Option<u64>) -> Finding {
        self.address = Some(address);
        self.output = output;
        self
    }

    pub(super) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Tells who did `what`, if that is known.
    pub(super) fn trace(&mut self, what: impl Into<String>, by: Option<By>) {
        self.traces.extend(by.map(|by| (what.into(), by)));
    }

    pub(super) fn event(&mut self, by: &By, what: &str) {
        self.events
            .push((by.time, format!("vCPU {}: {what}", by.who.cpu)));
    }
}

/// An address space in words.
pub(super) fn named((stream, pasid): Space) -> String {
    match pasid {
        Some(pasid) => format!("StreamID {stream:#x}, PASID {pasid}"),
        None => format!("StreamID {stream:#x}, no PASID"),
    }
}

/// "a write" or "a read".
pub(super) fn access(transaction: &Transaction) -> &'static str {
    if transaction.access.write {
        "a write"
    } else {
        "a read"
    }
}

const RULE: &str = "=================================================================";

/// The block on standard error.
pub(super) fn block(checkers: &Checkers, finding: &Finding) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = render(&mut text, checkers, finding);
    text
}

/// The vCPU was stopped behind the block with the store. If that ended in a call, the innermost frame
/// is the first instruction of a function that has done nothing yet.
fn frames(text: &mut String, checkers: &Checkers, by: &By) -> std::fmt::Result {
    let names = checkers.names();
    let name = |index, address| {
        let name = names.map(|it| match index {
            0 => it.name(address),
            _ => it.name_of_caller(address),
        });
        name.flatten().unwrap_or_default()
    };
    let named = by.who.frames.iter().enumerate();
    let named = named.map(|(index, &address)| (address, name(index, address)));
    let shown = named.skip_while(|(address, name)| {
        by.who.frames.len() > 1 && *address == by.who.frames[0] && name.ends_with("+0x0")
    });
    for (index, (address, name)) in shown.enumerate() {
        writeln!(text, "    #{index} {address:#x} {name}")?;
    }
    Ok(())
}

fn render(text: &mut String, checkers: &Checkers, finding: &Finding) -> std::fmt::Result {
    let (stream, pasid) = finding.space;
    writeln!(text, "{RULE}")?;
    writeln!(
        text,
        "stallbox: check {}: {}",
        finding.check.name(),
        finding.what
    )?;
    write!(
        text,
        "  at {} ns, StreamID {stream:#x}",
        checkers.now().as_ns()
    )?;
    if let Some(pasid) = pasid {
        write!(text, ", PASID {pasid}")?;
    }
    if let Some(address) = finding.address {
        write!(text, ", VA {address:#x}")?;
    }
    if let Some(output) = finding.output {
        write!(text, ", PA {output:#x}")?;
    }
    writeln!(text)?;
    for line in &finding.lines {
        writeln!(text, "  {line}")?;
    }
    for (what, by) in &finding.traces {
        let process = by.who.process.as_deref();
        let process = process.map_or_else(String::new, |it| format!(" for {it}"));
        writeln!(
            text,
            "  {what} by vCPU {}{process} at {} ns:",
            by.who.cpu,
            by.time.as_ns()
        )?;
        frames(text, checkers, by)?;
    }
    if checkers.symbols.is_none() && !finding.traces.is_empty() {
        writeln!(text, "  (--symbols VMLINUX names these addresses)")?;
    }
    if let Some(address) = finding.address {
        let so_far = || checkers.history.borrow().of(finding.space, address);
        let mut events = finding.history.clone().unwrap_or_else(so_far);
        events.extend(finding.events.iter().cloned());
        // A stable sort: what happened at one time stays in order.
        events.sort_by_key(|(time, _)| *time);
        if !events.is_empty() {
            writeln!(text, "  this page so far:")?;
        }
        for (time, what) in events {
            writeln!(text, "    {} ns  {what}", time.as_ns())?;
        }
    }
    writeln!(text, "{RULE}")
}

/// In milliseconds, or in microseconds if it is no whole number of them.
pub(super) fn in_ms(span: Span) -> String {
    let us = span.as_ns() / 1000;
    if us.is_multiple_of(1000) {
        format!("{} ms", us / 1000)
    } else {
        format!("{us} us")
    }
}

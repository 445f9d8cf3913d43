//! The results of a sweep: what was run, and a line about each run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::signature::{self, Signature};
use crate::{Evidence, FORMAT, Seeds, Shard, Verdict};

/// Lines of the console that are kept of a run that did not pass.
pub const CONSOLE_LINES: usize = 20;

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The format's number.
    #[serde(rename = "stallbox-sweep")]
    pub format: u32,
    /// The version of Stallbox, and so of its models.
    pub version: String,
    /// The command line behind `stallbox`, without what is not the same for each shard and each host:
    /// `--shard`, `--jobs` and the files that are written.
    pub arguments: Vec<String>,
    /// SHA-256 of each file that decides the runs, by what it is: `kernel`, `initramfs`, `plan` and so on.
    pub inputs: BTreeMap<String, String>,
    /// Where the runs part from the one that they have in common.
    pub begin: Begin,
    /// In what they differ.
    pub varied: Varied,
    /// The sweep ends with so many runs that did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_failures: Option<u64>,
    /// The part of the sweep that this is, if it was split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// Where runs begin to differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// What the guest said there: `ready`, or a marker; `start`, if nothing.
    pub at: String,
    /// The devices' time there.
    pub time_ns: u64,
}

/// In what the runs of a sweep differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Varied {
    /// In the seed of everything that is drawn: their numbers are the seeds.
    Seeds(Seeds),
    /// In the place at which a rule acts: the first that it matches, the second, and so on. Their numbers
    /// count the places from 1.
    Places {
        /// The rule's name.
        rule: String,
        /// How many places there are.
        count: u64,
    },
}

impl Varied {
    /// The numbers of all runs.
    pub fn numbers(&self) -> Seeds {
        match self {
            Varied::Seeds(seeds) => seeds.clone(),
            Varied::Places { count, .. } => Seeds::run(1, *count),
        }
    }

    /// One run, in words.
    pub fn name(&self, number: u64) -> String {
        match self {
            Varied::Seeds(_) => format!("seed {number}"),
            Varied::Places { rule, .. } => format!("rule {rule}, place {number}"),
        }
    }
}

/// A place at which a rule acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceInfo {
    /// The devices' time.
    pub time_ns: u64,
    /// What the rule matched there.
    pub what: String,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its seed, or the number of its place.
    pub number: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// How it ended, as in the summary of a run; empty if the process died.
    pub outcome: String,
    /// The exit status, if it came that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
    /// Why it did not pass, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// By what the failure is known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The devices' time at its end, counted from power-on.
    pub time_ns: u64,
    /// Events of its trace.
    pub events: u64,
    /// SHA-256 of its trace, in hexadecimal; none if it was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_hash: Option<String>,
    /// Where the rule acted, in a sweep over the places of a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlaceInfo>,
    /// The console's last lines, if it did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// The bundle that repeats it, if it is the first of its kind: the name of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

impl Run {
    /// What `evidence` says of run `number`. Time, events, trace, place and bundle are for the caller to
    /// fill in.
    pub fn new(number: u64, evidence: &Evidence) -> Run {
        let verdict = Verdict::of(evidence);
        let passed = verdict == Verdict::Passed;
        let lines = if passed { &[] } else { &evidence.console[..] };
        let last = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
        Run {
            number,
            verdict,
            outcome: evidence.outcome.clone(),
            status: evidence.status,
            message: signature::message(evidence),
            signature: Signature::of(evidence),
            time_ns: 0,
            events: 0,
            trace_hash: None,
            place: None,
            console: last.to_vec(),
            bundle: None,
        }
    }

    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }
}

/// A sweep, or a shard of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// What was run.
    pub header: Header,
    /// Each run, in ascending order of their numbers.
    pub runs: Vec<Run>,
}

impl Header {
    /// The numbers of the runs of this sweep or shard, in ascending order.
    pub fn numbers(&self) -> Seeds {
        let all = self.varied.numbers();
        match self.shard {
            Some(shard) => shard.numbers(&all).collect(),
            None => all,
        }
    }

    /// A header of this format.
    pub fn new(version: &str, begin: Begin, varied: Varied) -> Header {
        Header {
            format: FORMAT,
            version: version.to_owned(),
            arguments: Vec::new(),
            inputs: BTreeMap::new(),
            begin,
            varied,
            until_failures: None,
            shard: None,
        }
    }
}

impl Sweep {
    /// A sweep of runs that may come in any order. What one after the other would not have run is left
    /// out (behind the last failure of `until_failures`), and so are the names of bundles that are not
    /// needed, because a run of the same kind with a lower number has one: the same runs make the same
    /// sweep, however many were under way at a time.
    pub fn new(header: Header, runs: Vec<Run>) -> Sweep {
        let mut sweep = Sweep { header, runs };
        sweep.runs.sort_by_key(|run| run.number);
        if let Some(last) = sweep.last_number() {
            sweep.runs.retain(|run| run.number <= last);
        }
        let needed = sweep.needed_bundles();
        for run in &mut sweep.runs {
            if !needed.contains(&run.number) {
                run.bundle = None;
            }
        }
        sweep
    }

    /// The number with which a sweep is over before its end, because so many runs did not pass.
    fn last_number(&self) -> Option<u64> {
        let failures_max = self.header.until_failures?;
        let at = usize::try_from(failures_max.max(1) - 1).ok()?;
        let mut failures = self.runs.iter().filter(|run| !run.passed());
        failures.nth(at).map(|run| run.number)
    }

    /// The numbers of the runs whose bundles stand for their kind: the lowest that have one.
    fn needed_bundles(&self) -> BTreeSet<u64> {
        let mut first = BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.bundle.is_some()) {
            if let Some(signature) = &run.signature {
                first.entry(signature.id()).or_insert(run.number);
            }
        }
        first.into_values().collect()
    }

    /// The numbers of the runs that should be there and are not: the sweep was cut short.
    pub fn missing(&self) -> Seeds {
        let there: BTreeSet<u64> = self.runs.iter().map(|run| run.number).collect();
        let last = self.last_number().unwrap_or(u64::MAX);
        let numbers = self.header.numbers();
        let missing = numbers
            .iter()
            .filter(|number| *number <= last && !there.contains(number));
        missing.collect()
    }

    /// How many runs there were of each verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.runs
            .iter()
            .filter(|run| run.verdict == verdict)
            .count()
    }

    /// How many different runs there were, by their traces.
    pub fn distinct_runs(&self) -> usize {
        let hashes: BTreeSet<&String> = self
            .runs
            .iter()
            .filter_map(|run| run.trace_hash.as_ref())
            .collect();
        hashes.len()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{CheckReport, KernelReport};

    /// A header of a sweep of these seeds.
    pub(crate) fn header(seeds: &str) -> Header {
        let begin = Begin {
            at: "ready".into(),
            time_ns: 44_671_000,
        };
        let mut header = Header::new("0.1.0", begin, Varied::Seeds(seeds.parse().unwrap()));
        header.arguments = ["sweep", "--seeds", seeds, "--", "zipabuse", "all"]
            .map(String::from)
            .into();
        header.inputs.insert("kernel".into(), "4e".repeat(32));
        header
    }

    /// A run that passed.
    pub(crate) fn passed(number: u64) -> Run {
        let evidence = Evidence {
            outcome: "command".into(),
            status: Some(0),
            command: true,
            ..Evidence::default()
        };
        finished(Run::new(number, &evidence))
    }

    /// A run whose kernel warned in `function`.
    pub(crate) fn warned(number: u64, function: &str) -> Run {
        let head = format!("WARNING: CPU: 0 PID: {number} at a.c:1 {function}+0x1/0x2");
        let evidence = Evidence {
            outcome: "command".into(),
            status: Some(120),
            command: true,
            kernel_reports: vec![KernelReport {
                kind: "warn".into(),
                time_ns: 50_000_000 + number,
                lines: vec![head.clone()],
            }],
            console: vec!["# zipabuse all".into(), head],
            ..Evidence::default()
        };
        let mut run = finished(Run::new(number, &evidence));
        run.bundle = Some(format!("{function}-{number}.sbx"));
        run
    }

    /// A run that hangs.
    pub(crate) fn hung(number: u64) -> Run {
        let evidence = Evidence {
            outcome: "stop-at".into(),
            status: Some(124),
            command: true,
            check_reports: vec![CheckReport {
                checker: "stall".into(),
                time_ns: 90_000_000,
                title: "no answer to a stall".into(),
                lines: Vec::new(),
            }],
            console: vec!["<waits> & \"hangs\" \u{1b}[1m".into()],
            ..Evidence::default()
        };
        finished(Run::new(number, &evidence))
    }

    fn finished(mut run: Run) -> Run {
        run.time_ns = 100_000_000 + run.number;
        run.events = 1000 + run.number;
        run.trace_hash = Some(format!("{:064x}", run.number));
        run
    }

    #[test]
    fn the_order_in_which_runs_end_is_of_no_account() {
        let runs = vec![
            warned(4, "f"),
            passed(3),
            warned(1, "g"),
            warned(0, "f"),
            passed(2),
        ];
        let sweep = Sweep::new(header("0..5"), runs.clone());
        let mut backwards = runs.clone();
        backwards.reverse();
        assert_eq!(Sweep::new(header("0..5"), backwards), sweep);
        assert!(sweep.runs.iter().map(|run| run.number).eq(0..5));
        let bundles: Vec<_> = sweep
            .runs
            .iter()
            .filter_map(|run| run.bundle.as_deref())
            .collect();
        assert_eq!(bundles, ["f-0.sbx", "g-1.sbx"]);
        assert!(sweep.missing().is_empty());
    }

    #[test]
    fn a_sweep_until_failures_ends_with_the_last_of_them() {
        let mut until = header("0..1000");
        until.until_failures = Some(2);
        // Seed 5 failed too, and its bundle is there, because it was under way when seed 3 failed.
        let runs = vec![
            warned(5, "h"),
            warned(1, "f"),
            passed(0),
            passed(2),
            warned(3, "f"),
        ];
        let sweep = Sweep::new(until.clone(), runs.clone());
        assert!(sweep.runs.iter().map(|run| run.number).eq(0..4));
        assert!(sweep.missing().is_empty());
        let cut = Sweep::new(until, vec![passed(0), warned(3, "f")]);
        assert_eq!(cut.missing().to_string(), "1..3,4..1000");
    }

    #[test]
    fn only_the_console_of_what_did_not_pass_is_kept() {
        let mut evidence = Evidence {
            outcome: "command".into(),
            status: Some(0),
            command: true,
            console: (0..50).map(|line| line.to_string()).collect(),
            ..Evidence::default()
        };
        assert!(Run::new(1, &evidence).console.is_empty());
        evidence.status = Some(1);
        let run = Run::new(1, &evidence);
        assert_eq!(run.console.len(), CONSOLE_LINES);
        assert_eq!(run.console.last().unwrap(), "49");
        assert_eq!(run.message.as_deref(), Some("exit status 1"));
    }
}

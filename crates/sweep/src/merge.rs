//! Shards put together.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Header, Run, Seeds, Shard, Sweep};

/// Ranges that an error shows.
const RANGES_MAX: usize = 8;

/// Why sweeps cannot be put together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is none.
    #[error("there are no results to merge: name the results file of each shard")]
    Nothing,
    /// They are not of one sweep.
    #[error("{file} and {other} are results of different sweeps: they differ in {what}")]
    Different {
        /// The first of all.
        file: String,
        /// The one that differs.
        other: String,
        /// In what: a key of the header, and both values.
        what: String,
    },
    /// A shard is not among them.
    #[error(
        "shard {} of {file} {} missing: run the sweep with --shard {} and name its results too",
        list(shards),
        if shards.len() == 1 { "is" } else { "are" },
        shards[0]
    )]
    Missing {
        /// One that is there.
        file: String,
        /// Those that are not.
        shards: Vec<Shard>,
    },
    /// A shard has not run to its end.
    #[error("{file} was cut short: runs {missing} are missing; run {what} again")]
    Cut {
        /// Which file.
        file: String,
        /// Its runs that are not there, shortened.
        missing: String,
        /// The shard, or the sweep.
        what: String,
    },
    /// One run has two results.
    #[error("run {number} of {file} and of {other} differ in {what}: one of them did not repeat")]
    Doubled {
        /// Which run.
        number: u64,
        /// Where it is.
        file: String,
        /// Where it is too.
        other: String,
        /// The first thing in which they differ.
        what: String,
    },
}

fn list(shards: &[Shard]) -> String {
    let shown: Vec<String> = shards
        .iter()
        .take(RANGES_MAX)
        .map(Shard::to_string)
        .collect();
    let more = match shards.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

/// What shards come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The whole sweep, as one machine would have run it.
    pub sweep: Sweep,
    /// Its bundles: of which of the given results each is, and its name.
    pub bundles: Vec<(usize, String)>,
}

impl Sweep {
    /// Puts the shards of a sweep together. Each comes with the name that errors call it.
    pub fn merge(sweeps: Vec<(String, Sweep)>) -> Result<Merged, MergeError> {
        let (file, one) = sweeps.first().ok_or(MergeError::Nothing)?;
        for (other, sweep) in &sweeps[1..] {
            if let Some(what) = difference(&one.header, &sweep.header) {
                let [file, other] = [file, other].map(Clone::clone);
                return Err(MergeError::Different { file, other, what });
            }
        }
        all_shards(&sweeps)?;
        for (file, sweep) in &sweeps {
            not_cut(file, sweep)?;
        }
        let mut header = one.header.clone();
        header.shard = None;
        let (runs, origin) = joined(&sweeps)?;
        let sweep = Sweep::new(header, runs);
        let bundles = sweep.runs.iter().filter_map(|run| {
            let bundle = run.bundle.clone()?;
            Some((origin[&run.number], bundle))
        });
        let bundles = bundles.collect();
        Ok(Merged { sweep, bundles })
    }
}

/// All runs, and in which of the sweeps each is.
fn joined(sweeps: &[(String, Sweep)]) -> Result<(Vec<Run>, BTreeMap<u64, usize>), MergeError> {
    let mut runs: BTreeMap<u64, (usize, &Run)> = BTreeMap::new();
    for (index, (file, sweep)) in sweeps.iter().enumerate() {
        for run in &sweep.runs {
            match runs.get(&run.number) {
                Some((at, known)) => {
                    if let Some(what) = run_difference(known, run) {
                        return Err(MergeError::Doubled {
                            number: run.number,
                            file: sweeps[*at].0.clone(),
                            other: file.clone(),
                            what: what.into(),
                        });
                    }
                }
                None => drop(runs.insert(run.number, (index, run))),
            }
        }
    }
    let origin = runs.iter().map(|(number, (index, _))| (*number, *index));
    let origin = origin.collect();
    let runs = runs.into_values().map(|(_, run)| run.clone()).collect();
    Ok((runs, origin))
}

/// The first thing in which the headers of two shards must not differ, and do.
fn difference(one: &Header, other: &Header) -> Option<String> {
    let of = |shard: Option<Shard>| shard.map(|shard| shard.of.get());
    let pairs = [
        ("version", shown(&one.version), shown(&other.version)),
        ("arguments", shown(&one.arguments), shown(&other.arguments)),
        ("inputs", shown(&one.inputs), shown(&other.inputs)),
        ("begin", shown(&one.begin), shown(&other.begin)),
        ("varied", shown(&one.varied), shown(&other.varied)),
        (
            "until_failures",
            shown(&one.until_failures),
            shown(&other.until_failures),
        ),
        (
            "number of shards",
            shown(&of(one.shard)),
            shown(&of(other.shard)),
        ),
    ];
    let (what, one, other) = pairs.into_iter().find(|(_, one, other)| one != other)?;
    Some(format!("{what}: {one} and {other}"))
}

fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn all_shards(sweeps: &[(String, Sweep)]) -> Result<(), MergeError> {
    let there: BTreeSet<Shard> = sweeps
        .iter()
        .filter_map(|(_, sweep)| sweep.header.shard)
        .collect();
    let Some(of) = there.first().map(|shard| shard.of) else {
        return Ok(());
    };
    let all = (1..=of.get()).filter_map(|index| {
        Some(Shard {
            index: index.try_into().ok()?,
            of,
        })
    });
    // There can be more shards than a list has place for; who named none of them hears of the first.
    let shards: Vec<Shard> = all
        .filter(|shard| !there.contains(shard))
        .take(1000)
        .collect();
    if shards.is_empty() {
        return Ok(());
    }
    let file = sweeps[0].0.clone();
    Err(MergeError::Missing { file, shards })
}

fn not_cut(file: &str, sweep: &Sweep) -> Result<(), MergeError> {
    let missing: Seeds = sweep.missing();
    if missing.is_empty() {
        return Ok(());
    }
    let what = match sweep.header.shard {
        Some(shard) => format!("shard {shard}"),
        None => "the sweep".to_owned(),
    };
    Err(MergeError::Cut {
        file: file.into(),
        missing: missing.shortened(RANGES_MAX),
        what,
    })
}

/// In what two results of one run differ. Only one of them may have a bundle.
fn run_difference(one: &Run, other: &Run) -> Option<&'static str> {
    let differs = [
        ("verdict", one.verdict != other.verdict),
        ("signature", one.signature != other.signature),
        ("trace_hash", one.trace_hash != other.trace_hash),
        ("events", one.events != other.events),
        ("time_ns", one.time_ns != other.time_ns),
        ("outcome", one.outcome != other.outcome),
        ("status", one.status != other.status),
        ("message", one.message != other.message),
        ("place", one.place != other.place),
        ("console", one.console != other.console),
    ];
    differs
        .into_iter()
        .find(|(_, differs)| *differs)
        .map(|(what, _)| what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::results::tests::{header, hung, passed, warned};

    /// What runs of `seeds` come to, whoever runs them.
    fn run(number: u64) -> Run {
        match number % 7 {
            3 => warned(number, "f"),
            5 => warned(number, "g"),
            6 => hung(number),
            _ => passed(number),
        }
    }

    fn whole(seeds: &str, until_failures: Option<u64>) -> Sweep {
        let mut header = header(seeds);
        header.until_failures = until_failures;
        let runs = header.numbers().iter().map(run).collect();
        Sweep::new(header, runs)
    }

    fn shard(seeds: &str, until_failures: Option<u64>, shard: &str) -> (String, Sweep) {
        let mut header = header(seeds);
        header.until_failures = until_failures;
        header.shard = Some(shard.parse().unwrap());
        let runs = header.numbers().iter().map(run).collect();
        (
            format!("{}.jsonl", shard.replace('/', "-")),
            Sweep::new(header, runs),
        )
    }

    fn why(sweeps: Vec<(String, Sweep)>) -> String {
        Sweep::merge(sweeps).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let shards = || {
            vec![
                shard("0..20", None, "1/3"),
                shard("0..20", None, "2/3"),
                shard("0..20", None, "3/3"),
            ]
        };
        assert!(why(Vec::new()).contains("no results to merge"));
        let mut other = shards();
        other[2]
            .1
            .header
            .inputs
            .insert("kernel".into(), "00".into());
        assert!(why(other).contains("1-3.jsonl and 3-3.jsonl are results of different sweeps: they differ in inputs: {\"kernel\":\"4e4e"));
        let other = vec![shard("0..20", None, "1/3"), shard("0..20", None, "2/2")];
        assert!(why(other).contains("number of shards: 3 and 2"));
        let other = vec![shard("0..20", None, "1/2"), shard("0..21", None, "2/2")];
        assert!(why(other).contains("differ in arguments"));
        let mut missing = shards();
        missing.remove(1);
        assert_eq!(
            why(missing),
            "shard 2/3 of 1-3.jsonl is missing: run the sweep with --shard 2/3 and name its results too"
        );
        assert!(
            why(vec![shard("0..20", None, "2/3")])
                .starts_with("shard 1/3, 3/3 of 2-3.jsonl are missing")
        );
        let mut cut = shards();
        cut[1].1.runs.truncate(2);
        assert_eq!(
            why(cut),
            "2-3.jsonl was cut short: runs 7,10,13,16,19 are missing; run shard 2/3 again"
        );
    }

    #[test]
    fn a_run_that_is_there_twice_must_have_come_out_the_same() {
        let shards = || {
            vec![
                shard("0..20", None, "1/2"),
                shard("0..20", None, "2/2"),
                shard("0..20", None, "2/2"),
            ]
        };
        assert_eq!(Sweep::merge(shards()).unwrap().sweep, whole("0..20", None));
        let mut other = shards();
        other[2].0 = "again.jsonl".into();
        other[2].1.runs[0].trace_hash = Some("11".repeat(32));
        assert_eq!(
            why(other),
            "run 1 of 2-2.jsonl and of again.jsonl differ in trace_hash: one of them did not repeat"
        );
    }

    #[test]
    fn bundles_are_found_beside_the_results_of_their_shards() {
        let merged = Sweep::merge(vec![
            shard("0..20", None, "2/2"),
            shard("0..20", None, "1/2"),
        ])
        .unwrap();
        assert_eq!(
            merged.bundles,
            [(0, "f-3.sbx".into()), (0, "g-5.sbx".into())]
        );
        let merged = Sweep::merge(vec![
            shard("0..20", None, "1/3"),
            shard("0..20", None, "2/3"),
            shard("0..20", None, "3/3"),
        ])
        .unwrap();
        assert_eq!(
            merged.bundles,
            [(0, "f-3.sbx".into()), (2, "g-5.sbx".into())]
        );
    }

    proptest! {
        #[test]
        fn shards_come_to_what_one_machine_would_have_written(
            end in 1..60_u64,
            of in 1..6_u64,
            until_failures in prop::option::of(1..8_u64),
            backwards in any::<bool>(),
        ) {
            let seeds = format!("0..{end}");
            let mut shards: Vec<_> = (1..=of)
                .map(|index| shard(&seeds, until_failures, &format!("{index}/{of}")))
                .collect();
            if backwards {
                shards.reverse();
            }
            let mut merged = Vec::new();
            Sweep::merge(shards).unwrap().sweep.write(&mut merged).unwrap();
            let mut one = Vec::new();
            whole(&seeds, until_failures).write(&mut one).unwrap();
            prop_assert_eq!(String::from_utf8(merged).unwrap(), String::from_utf8(one).unwrap());
        }
    }
}

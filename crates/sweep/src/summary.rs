//! What came of a sweep, for a terminal.

use std::fmt::Write as _;

use crate::progress::counted;
use crate::{Group, Run, Sweep, Varied, Verdict};

/// Ranges of numbers that are shown of a group.
const RANGES_MAX: usize = 8;
/// Groups that are shown.
const GROUPS_MAX: usize = 50;

impl Sweep {
    /// What came of it. Numbers are written as `--seeds` takes them.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.summarise(&mut text);
        // Names and messages may come from a file: none of them commands the terminal.
        text.replace(|it: char| it.is_control() && it != '\n', "?")
    }

    fn summarise(&self, text: &mut String) -> std::fmt::Result {
        let begin = &self.header.begin;
        let verdicts = Verdict::ALL
            .into_iter()
            .map(|verdict| (verdict, self.count(verdict)));
        let verdicts =
            verdicts.filter(|(verdict, count)| *verdict == Verdict::Passed || *count > 0);
        let verdicts: Vec<String> = verdicts
            .map(|(verdict, count)| format!("{count} {verdict}"))
            .collect();
        if let Some(shard) = self.header.shard {
            write!(text, "shard {shard}: ")?;
        }
        writeln!(
            text,
            "{} from \"{}\" at {} ns: {}",
            counted(self.runs.len() as u64, "run"),
            begin.at,
            begin.time_ns,
            verdicts.join(", ")
        )?;
        let missing = self.missing();
        if !missing.is_empty() {
            writeln!(
                text,
                "{} of {} have no result: {}",
                missing.len(),
                self.header.numbers().len(),
                missing.shortened(RANGES_MAX)
            )?;
        }
        self.tell_distinct(text)?;
        let groups = self.groups();
        if let Varied::Places { rule, .. } = &self.header.varied {
            let matter: u64 = groups.iter().map(Group::count).sum();
            let places = counted(self.runs.len() as u64, "place");
            writeln!(
                text,
                "rule {rule} was tried at {places}; it matters at {matter} of them"
            )?;
        }
        if groups.is_empty() {
            return Ok(());
        }
        writeln!(text, "{}:", counted(groups.len() as u64, "signature"))?;
        for group in groups.iter().take(GROUPS_MAX) {
            self.tell_group(text, group)?;
        }
        if let Some(more) = groups.get(GROUPS_MAX..).filter(|more| !more.is_empty()) {
            let runs = more.iter().map(Group::count).sum();
            writeln!(
                text,
                "  and {} more, of {}",
                more.len(),
                counted(runs, "run")
            )?;
        }
        Ok(())
    }

    fn tell_distinct(&self, text: &mut String) -> std::fmt::Result {
        let traced = self
            .runs
            .iter()
            .filter(|run| run.trace_hash.is_some())
            .count();
        let (distinct, varied) = (self.distinct_runs(), &self.header.varied);
        match (distinct, varied) {
            _ if traced < 2 => Ok(()),
            (1, Varied::Seeds(_)) => writeln!(
                text,
                "all of them are the same run: nothing in it is drawn from the seed; vary latencies (--latency) or faults \
                 (--plan)"
            ),
            (1, Varied::Places { .. }) => writeln!(
                text,
                "all of them are the same run: what the rule does changes nothing"
            ),
            _ if distinct == traced => writeln!(text, "no two of them are the same run"),
            _ => writeln!(text, "{distinct} of them are different runs"),
        }
    }

    fn tell_group(&self, text: &mut String, group: &Group) -> std::fmt::Result {
        let signature = &group.signature;
        writeln!(text, "  {}  {}", signature.id(), signature.title())?;
        if signature.frames().len() > 1 {
            writeln!(
                text,
                "            stack: {}",
                signature.frames().join(" < ")
            )?;
        }
        match self.header.varied {
            Varied::Seeds(_) => writeln!(
                text,
                "            {}: {}",
                counted(group.count(), "run"),
                group.numbers.shortened(RANGES_MAX)
            )?,
            Varied::Places { .. } => {
                writeln!(text, "            {}:", counted(group.count(), "place"))?;
                for (first, last) in group.numbers.ranges().take(RANGES_MAX) {
                    writeln!(text, "              {}", self.places(first, last))?;
                }
                let more = group
                    .numbers
                    .ranges()
                    .skip(RANGES_MAX)
                    .map(|(first, last)| last - first + 1);
                match more.sum::<u64>() {
                    0 => {}
                    more => writeln!(text, "              and {more} more")?,
                }
            }
        }
        if let Some(message) = group
            .message
            .as_deref()
            .filter(|it| *it != signature.title())
        {
            writeln!(
                text,
                "            {}: {message}",
                self.header.varied.name(group.lowest())
            )?;
        }
        if let Some(bundle) = &group.bundle {
            writeln!(text, "            bundle: {bundle}")?;
        }
        Ok(())
    }

    fn run(&self, number: u64) -> Option<&Run> {
        let at = self.runs.binary_search_by_key(&number, |run| run.number);
        at.ok().map(|at| &self.runs[at])
    }

    /// Places without a gap: their numbers, times, and what the rule matched there.
    fn places(&self, first: u64, last: u64) -> String {
        let place = |number| self.run(number).and_then(|run| run.place.as_ref());
        match (place(first), place(last)) {
            (Some(place), _) if first == last => {
                format!("{first} at {} ns: {}", place.time_ns, place.what)
            }
            (Some(from), Some(to)) => {
                let what = match from.what == to.what {
                    true => from.what.clone(),
                    false => format!("{} to {}", from.what, to.what),
                };
                format!(
                    "{first} to {last}, {} to {} ns: {what}",
                    from.time_ns, to.time_ns
                )
            }
            _ if first == last => first.to_string(),
            _ => format!("{first} to {last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PlaceInfo;
    use crate::results::tests::{header, hung, passed, warned};

    #[test]
    fn verdicts_and_signatures_are_told() {
        let runs = vec![
            passed(0),
            warned(1, "f"),
            hung(2),
            warned(3, "f"),
            warned(4, "f"),
            passed(5),
        ];
        let mut sweep = Sweep::new(header("0..8"), runs);
        sweep.runs[5].trace_hash = sweep.runs[0].trace_hash.clone();
        assert_eq!(
            sweep.summary(),
            "6 runs from \"ready\" at 44671000 ns: 2 passed, 3 reported, 1 hung\n\
             2 of 8 have no result: 6..8\n\
             5 of them are different runs\n\
             2 signatures:\n  \
               a071f1cf  WARNING in f\n            \
                         3 runs: 1,3..5\n            \
                         seed 1: WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n            \
                         bundle: f-1.sbx\n  \
               2acbb827  check stall: no answer to a stall\n            \
                         1 run: 2\n"
        );
    }

    #[test]
    fn the_documentation_shows_what_is_written() {
        let page = include_str!("../../../docs/sweep-results.md");
        let block = |mark: &str| {
            let (_, rest) = page.split_once(&format!("```{mark}\n")).unwrap();
            rest.split_once("```").unwrap().0
        };
        let sweep = Sweep::read(block("jsonl").as_bytes(), "docs/sweep-results.md").unwrap();
        let mut written = Vec::new();
        sweep.write(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), block("jsonl"));
        assert_eq!(sweep.summary(), block("text"));
    }

    #[test]
    fn a_sweep_in_which_nothing_is_drawn_says_so() {
        let mut sweep = Sweep::new(header("0..3"), (0..3).map(passed).collect());
        assert!(sweep.summary().contains("no two of them are the same run"));
        for run in &mut sweep.runs {
            run.trace_hash = Some("00".into());
        }
        let summary = sweep.summary();
        assert!(
            summary.contains("all of them are the same run: nothing in it is drawn"),
            "{summary}"
        );
    }

    #[test]
    fn a_shard_says_so_and_nothing_commands_the_terminal() {
        let mut shard = header("0..4");
        shard.shard = Some("2/2".parse().unwrap());
        let mut failed = warned(1, "f");
        failed.message = Some("\u{1b}]0;title\u{7}".into());
        let summary = Sweep::new(shard, vec![failed, passed(3)]).summary();
        assert!(
            summary.starts_with("shard 2/2: 2 runs from \"ready\""),
            "{summary}"
        );
        assert!(summary.contains("seed 1: ?]0;title?\n"), "{summary}");
        assert!(!summary.contains("no result"), "{summary}");
    }

    #[test]
    fn places_that_matter_are_told_as_ranges() {
        let mut places = header("0..1");
        places.varied = Varied::Places {
            rule: "late".into(),
            count: 40,
        };
        let run = |number| {
            let mut run = match number {
                3..=5 | 9 => hung(number),
                number if number >= 20 && number % 2 == 0 => warned(number, "f"),
                _ => passed(number),
            };
            run.bundle = None;
            run.place = Some(PlaceInfo {
                time_ns: 1000 * number,
                what: if number < 5 { "CMD_RESUME" } else { "CMD_SYNC" }.into(),
            });
            run
        };
        let summary = Sweep::new(places, (1..=40).map(run).collect()).summary();
        for line in [
            "rule late was tried at 40 places; it matters at 15 of them",
            "            4 places:",
            "              3 to 5, 3000 to 5000 ns: CMD_RESUME to CMD_SYNC",
            "              9 at 9000 ns: CMD_SYNC",
            "              34 at 34000 ns: CMD_SYNC",
            "              and 3 more",
        ] {
            assert!(summary.lines().any(|it| it == line), "{line}\n{summary}");
        }
    }
}

//! Making what fails smaller: delta debugging, which asks for candidates and is told what came of them.
//!
//! Lists (rules of a plan, words of a command, scheduling points) are reduced by ddmin (Zeller and
//! Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, IEEE Transactions on Software
//! Engineering 28(2), 2002), numbers (vCPUs, memory) by trying lower ones, the lowest first. One after
//! the other, and again, until nothing of it makes a difference: what is left then is *1-minimal*:
//! without any one item, or with any lower value, it fails in another way or not at all. It need not be
//! the smallest that there is.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::progress::counted;

/// Something that can be made smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Items, any of which may be left out. Their order stays.
    List {
        /// What they are, for people: `rules`.
        name: String,
        /// Each of them, for people.
        items: Vec<String>,
    },
    /// A number that may be lower.
    Number {
        /// What it is, for people: `CPUs`.
        name: String,
        /// What it may be. It is the highest of these at first.
        values: Vec<u64>,
    },
}

impl Dimension {
    fn name(&self) -> &str {
        match self {
            Dimension::List { name, .. } | Dimension::Number { name, .. } => name,
        }
    }
}

/// What may be a smaller failure: a part for each dimension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Kept(Vec<usize>),
    Value(u64),
}

impl Candidate {
    /// Which items of the list with this index among the dimensions are there, in ascending order.
    ///
    /// # Panics
    ///
    /// If that is no list.
    pub fn kept(&self, dimension: usize) -> &[usize] {
        match &self.0[dimension] {
            Part::Kept(kept) => kept,
            Part::Value(_) => panic!("dimension {dimension} is a number"),
        }
    }

    /// The number with this index among the dimensions.
    ///
    /// # Panics
    ///
    /// If that is a list.
    pub fn value(&self, dimension: usize) -> u64 {
        match self.0[dimension] {
            Part::Value(value) => value,
            Part::Kept(_) => panic!("dimension {dimension} is a list"),
        }
    }

    fn with(&self, dimension: usize, part: Part) -> Candidate {
        let mut parts = self.0.clone();
        parts[dimension] = part;
        Candidate(parts)
    }
}

/// A candidate that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What it was.
    pub candidate: Candidate,
    /// In which it differed from the smallest so far, in words.
    pub change: String,
    /// Whether it failed in the same way.
    pub same: bool,
    /// What came of it, in words.
    pub came: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.same { "smaller" } else { "no" };
        write!(f, "{mark}: {}: {}", self.change, self.came)
    }
}

/// What is being tried of the present dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing of a list.
    Nothing,
    /// A list is in `n` chunks; one of them alone, or all but one.
    Chunk { n: usize, at: usize, alone: bool },
    /// The value of a number with this index.
    Value(usize),
}

/// A failure that is being made smaller. Ask for the [`Shrink::next_candidate`], run it, [`Shrink::tell`]
/// what came of it, until there is none.
#[derive(Clone, Debug)]
pub struct Shrink {
    dimensions: Vec<Dimension>,
    best: Candidate,
    /// What is known of candidates; none is tried twice.
    known: BTreeMap<Candidate, bool>,
    log: Vec<Tried>,
    tries_max: usize,
    pending: Option<Candidate>,
    dimension: usize,
    step: Step,
    /// Something became smaller since the first dimension was looked at.
    changed: bool,
    done: bool,
}

impl Shrink {
    /// A failure that has all of this. What comes first among the dimensions is made smaller first, and
    /// that counts: put there what says most, or makes the runs short. No more than `tries_max`
    /// candidates are tried.
    pub fn new(mut dimensions: Vec<Dimension>, tries_max: usize) -> Shrink {
        let part = |dimension: &mut Dimension| match dimension {
            Dimension::List { items, .. } => Part::Kept((0..items.len()).collect()),
            Dimension::Number { values, .. } => {
                values.sort_unstable();
                Part::Value(values.last().copied().unwrap_or_default())
            }
        };
        let best = Candidate(dimensions.iter_mut().map(part).collect());
        let mut shrink = Shrink {
            done: dimensions.is_empty(),
            dimensions,
            known: BTreeMap::from([(best.clone(), true)]),
            best,
            log: Vec::new(),
            tries_max,
            pending: None,
            dimension: 0,
            step: Step::Nothing,
            changed: false,
        };
        shrink.step = shrink.first_step();
        shrink
    }

    /// What to try next; the same again until it is told what came of it. None if there is nothing more
    /// to try.
    pub fn next_candidate(&mut self) -> Option<&Candidate> {
        while self.pending.is_none() && !self.done {
            match self.propose() {
                None => self.next_dimension(),
                Some(candidate) => match self.known.get(&candidate) {
                    Some(&same) => self.learn(candidate, same),
                    None if self.log.len() >= self.tries_max => return None,
                    None => self.pending = Some(candidate),
                },
            }
        }
        self.pending.as_ref()
    }

    /// What came of the candidate: whether it failed in the same way, and what happened, in words.
    ///
    /// # Panics
    ///
    /// If there is no candidate that was asked for.
    pub fn tell(&mut self, same: bool, came: impl Into<String>) {
        let candidate = self.pending.take().expect("a candidate was asked for");
        self.log.push(Tried {
            change: self.change(&candidate),
            candidate: candidate.clone(),
            same,
            came: came.into(),
        });
        self.known.insert(candidate.clone(), same);
        self.learn(candidate, same);
    }

    /// The smallest that fails in the same way, so far.
    pub fn best(&self) -> &Candidate {
        &self.best
    }

    /// All that was tried, in order.
    pub fn log(&self) -> &[Tried] {
        &self.log
    }

    /// Whether nothing of it can be left out any more. False as long as there is something to try, and if the
    /// number of tries was not enough.
    pub fn is_minimal(&self) -> bool {
        self.done
    }

    /// What is left, for people.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.summarise(&mut text);
        text
    }

    fn summarise(&self, text: &mut String) -> fmt::Result {
        let same = self.log.iter().filter(|tried| tried.same).count();
        let tried = counted(self.log.len() as u64, "candidate");
        writeln!(
            text,
            "{tried} tried, {same} of them smaller and failing in the same way"
        )?;
        if !self.done {
            writeln!(
                text,
                "not all was tried: what is left may have parts that do not matter"
            )?;
        }
        for (dimension, part) in self.dimensions.iter().zip(&self.best.0) {
            let name = dimension.name();
            match (dimension, part) {
                (Dimension::List { items, .. }, Part::Kept(kept)) => {
                    write!(text, "{name}: {} of {}", kept.len(), items.len())?;
                    let names = quoted(items, kept);
                    writeln!(text, "{}{names}", if kept.is_empty() { "" } else { ": " })?;
                }
                (Dimension::Number { values, .. }, Part::Value(value)) => match values.last() {
                    Some(first) if first != value => {
                        writeln!(text, "{name}: {value}, was {first}")?
                    }
                    _ => writeln!(text, "{name}: {value}")?,
                },
                _ => unreachable!("parts are made of their dimensions"),
            }
        }
        Ok(())
    }

    fn first_step(&self) -> Step {
        match self.dimensions.get(self.dimension) {
            Some(Dimension::Number { .. }) => Step::Value(0),
            _ => Step::Nothing,
        }
    }

    fn next_dimension(&mut self) {
        self.dimension += 1;
        if self.dimension == self.dimensions.len() {
            self.done = !self.changed;
            self.changed = false;
            self.dimension = 0;
        }
        self.step = self.first_step();
    }

    /// What the present step would try; none if the dimension is through.
    fn propose(&self) -> Option<Candidate> {
        let part = match (&self.dimensions[self.dimension], self.step) {
            (Dimension::Number { values, .. }, Step::Value(at)) => {
                let value = *values.get(at)?;
                (value < self.best.value(self.dimension)).then_some(Part::Value(value))?
            }
            (_, Step::Nothing) => {
                let kept = self.best.kept(self.dimension);
                (!kept.is_empty()).then_some(Part::Kept(Vec::new()))?
            }
            (_, Step::Chunk { n, at, alone }) => {
                let kept = self.best.kept(self.dimension);
                if kept.len() < 2 {
                    return None;
                }
                let [from, to] = [at, at + 1].map(|at| at * kept.len() / n);
                Part::Kept(match alone {
                    true => kept[from..to].to_vec(),
                    false => [&kept[..from], &kept[to..]].concat(),
                })
            }
            (Dimension::List { .. }, Step::Value(_)) => unreachable!("a list has no values"),
        };
        Some(self.best.with(self.dimension, part))
    }

    /// Goes on from what came of the present step.
    fn learn(&mut self, candidate: Candidate, same: bool) {
        if same {
            self.best = candidate;
            self.changed = true;
        }
        let length = match &self.best.0[self.dimension] {
            Part::Kept(kept) => kept.len(),
            Part::Value(_) => 0,
        };
        let chunk = |n, at, alone| Step::Chunk { n, at, alone };
        self.step = match self.step {
            // The lowest of all is found.
            Step::Value(at) => Step::Value(if same { usize::MAX } else { at + 1 }),
            Step::Nothing => chunk(2, 0, true),
            Step::Chunk { alone: true, .. } if same => chunk(2, 0, true),
            Step::Chunk { n, .. } if same => chunk((n - 1).max(2), 0, false),
            Step::Chunk { n, at, alone } if at + 1 < n => chunk(n, at + 1, alone),
            // Of two chunks each is what is left without the other.
            Step::Chunk { n, alone: true, .. } if n > 2 => chunk(n, 0, false),
            Step::Chunk { n, .. } if n < length => chunk((2 * n).min(length), 0, true),
            Step::Chunk { .. } => return self.next_dimension(),
        };
    }

    /// In what a candidate differs from the smallest so far.
    fn change(&self, candidate: &Candidate) -> String {
        let mut changes = Vec::new();
        let parts = self.best.0.iter().zip(&candidate.0);
        for (dimension, parts) in self.dimensions.iter().zip(parts) {
            let name = dimension.name();
            match (dimension, parts) {
                (Dimension::List { items, .. }, (Part::Kept(before), Part::Kept(now)))
                    if before != now =>
                {
                    let gone: Vec<usize> = before
                        .iter()
                        .filter(|at| !now.contains(at))
                        .copied()
                        .collect();
                    changes.push(format!("{name} without {}", quoted(items, &gone)));
                }
                (_, (Part::Value(before), Part::Value(now))) if before != now => {
                    changes.push(format!("{name} {now} for {before}"));
                }
                _ => {}
            }
        }
        changes.join(", ")
    }
}

/// Items that are named one by one.
const SHOWN_MAX: usize = 6;

fn quoted(items: &[String], which: &[usize]) -> String {
    let shown = which
        .iter()
        .take(SHOWN_MAX)
        .map(|&at| format!("{:?}", items[at]));
    let mut shown: Vec<String> = shown.collect();
    if which.len() > SHOWN_MAX {
        shown.push(format!("{} more", which.len() - SHOWN_MAX));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{DefaultHasher, Hash, Hasher};

    use proptest::prelude::*;

    use super::*;

    fn list(name: &str, length: usize) -> Dimension {
        Dimension::List {
            name: name.into(),
            items: (0..length).map(|item| format!("{name}{item}")).collect(),
        }
    }

    fn number(name: &str, values: &[u64]) -> Dimension {
        Dimension::Number {
            name: name.into(),
            values: values.into(),
        }
    }

    /// Shrinks what fails for as long as `fails`.
    fn shrunk(
        dimensions: Vec<Dimension>,
        tries_max: usize,
        fails: impl Fn(&Candidate) -> bool,
    ) -> Shrink {
        let mut shrink = Shrink::new(dimensions, tries_max);
        while let Some(candidate) = shrink.next_candidate() {
            let same = fails(candidate);
            shrink.tell(same, if same { "hung" } else { "passed" });
        }
        shrink
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let dimensions = vec![
            list("rule", 5),
            number("CPUs", &[8, 4, 1, 2]),
            number("MiB", &[512]),
        ];
        let shrink = shrunk(dimensions, 100, |it| {
            it.kept(0).contains(&3) && it.value(1) >= 2
        });
        assert_eq!(
            (shrink.best().kept(0), shrink.best().value(1)),
            (&[3][..], 2)
        );
        assert!(shrink.is_minimal());
        let log: Vec<String> = shrink.log().iter().map(Tried::to_string).collect();
        assert_eq!(
            log,
            [
                r#"no: rule without "rule0", "rule1", "rule2", "rule3", "rule4": passed"#,
                r#"no: rule without "rule2", "rule3", "rule4": passed"#,
                r#"smaller: rule without "rule0", "rule1": hung"#,
                r#"no: rule without "rule3", "rule4": passed"#,
                r#"smaller: rule without "rule2": hung"#,
                r#"smaller: rule without "rule4": hung"#,
                "no: CPUs 1 for 8: passed",
                "smaller: CPUs 2 for 8: hung",
                r#"no: rule without "rule3": passed"#,
            ]
        );
        assert_eq!(
            shrink.summary(),
            "9 candidates tried, 4 of them smaller and failing in the same way\n\
             rule: 1 of 5: \"rule3\"\n\
             CPUs: 2, was 8\n\
             MiB: 512\n"
        );
    }

    #[test]
    fn what_fails_without_anything_is_left_with_nothing() {
        let shrink = shrunk(vec![list("rule", 9), number("CPUs", &[1, 2])], 100, |_| {
            true
        });
        assert_eq!(
            (shrink.best().kept(0), shrink.best().value(1)),
            (&[][..], 1)
        );
        assert_eq!(shrink.log().len(), 2);
        assert!(shrunk(Vec::new(), 100, |_| true).is_minimal());
        assert!(shrunk(vec![list("rule", 0), number("CPUs", &[])], 100, |_| true).is_minimal());
    }

    #[test]
    fn dimensions_that_depend_on_each_other_are_looked_at_again() {
        // With one CPU fewer rules will do.
        let fails =
            |it: &Candidate| it.value(1) == 1 && it.kept(0).contains(&0) || it.kept(0).len() == 4;
        let shrink = shrunk(vec![list("rule", 4), number("CPUs", &[1, 2])], 100, fails);
        assert_eq!(
            (shrink.best().kept(0), shrink.best().value(1)),
            (&[0][..], 1)
        );
        assert!(shrink.is_minimal());
    }

    #[test]
    fn a_limit_of_tries_is_kept_and_told() {
        let shrink = shrunk(vec![list("word", 64)], 5, |it| it.kept(0).contains(&63));
        assert_eq!(shrink.log().len(), 5);
        assert!(!shrink.is_minimal());
        assert!(shrink.best().kept(0).contains(&63));
        assert!(
            shrink.summary().contains("not all was tried"),
            "{}",
            shrink.summary()
        );
        let all = &shrink.log()[0].change;
        assert!(all.ends_with("\"word5\", 58 more"), "{all}");
    }

    /// Nothing that is asked for fails less than what is known to.
    fn is_one_minimal(
        shrink: &Shrink,
        lengths: [usize; 2],
        values: &[u64],
        fails: impl Fn(&Candidate) -> bool,
    ) {
        let best = shrink.best();
        assert!(fails(best), "{best:?}");
        for (dimension, _) in lengths.iter().enumerate() {
            let kept = best.kept(dimension);
            for at in 0..kept.len() {
                let fewer = [&kept[..at], &kept[at + 1..]].concat();
                let smaller = best.with(dimension, Part::Kept(fewer));
                assert!(!fails(&smaller), "{best:?}, {smaller:?}");
            }
        }
        for &value in values.iter().filter(|value| **value < best.value(2)) {
            assert!(
                !fails(&best.with(2, Part::Value(value))),
                "{best:?}, {value}"
            );
        }
    }

    fn hash(value: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn what_a_failure_needs_is_all_that_is_left(
            length in 1..60_usize,
            needed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            least in 1..9_u64,
        ) {
            let needed: BTreeSet<usize> = needed.iter().map(|it| it.index(length)).collect();
            let fails = |it: &Candidate| {
                needed.iter().all(|at| it.kept(0).contains(at)) && it.value(1) >= least
            };
            let values: Vec<u64> = (1..9).collect();
            let shrink = shrunk(vec![list("rule", length), number("CPUs", &values)], usize::MAX, fails);
            let needed: Vec<usize> = needed.iter().copied().collect();
            prop_assert_eq!(shrink.best().kept(0), &needed[..]);
            prop_assert_eq!(shrink.best().value(1), least);
            prop_assert!(shrink.is_minimal());
            // What is needed decides, and how often the list can be halved; not its length.
            let halvings = (usize::BITS - length.leading_zeros()) as usize;
            let most = 28 + 3 * needed.len() * needed.len() + 8 * (needed.len() + 1) * halvings;
            let tries = shrink.log().len();
            prop_assert!(tries <= most, "{tries} for {needed:?} of {length}");
        }

        /// Failures that come and go, as races do: still none is tried twice, and no one item can be left
        /// out at the end.
        #[test]
        fn whatever_fails_is_made_minimal(lengths in [0..12_usize, 0..6_usize], salt in any::<u64>(), share in 1..8_u64) {
            let values = [1, 2, 4];
            let [a, b] = lengths;
            let dimensions = vec![list("a", a), list("b", b), number("n", &values)];
            let whole = Shrink::new(dimensions.clone(), 0).best().clone();
            let key = |it: &Candidate| (it.kept(0).to_vec(), it.kept(1).to_vec(), it.value(2), salt);
            let fails = |it: &Candidate| *it == whole || hash(key(it)) % 8 < share;
            let shrink = shrunk(dimensions, usize::MAX, fails);
            prop_assert!(shrink.is_minimal());
            is_one_minimal(&shrink, lengths, &values, fails);
            let tried: BTreeSet<&Candidate> = shrink.log().iter().map(|it| &it.candidate).collect();
            prop_assert_eq!(tried.len(), shrink.log().len());
        }
    }
}

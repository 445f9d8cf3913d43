//! Numbers of runs: seeds, or places of a rule; and the part of them that a shard has.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Runs that a sweep may have.
pub const RUNS_MAX: u64 = 10_000_000;

/// A set of numbers, as `0..10000`, `5` or `1,7,9..12`; the end of a range is not part of it, as in Rust.
/// `9..=12` has its end, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Seeds(Vec<Piece>);

/// Numbers without a gap. Pieces are in order, and none touches the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    first: u64,
    last: u64,
}

/// No set of seeds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeedsError {
    /// A word that is neither number nor range.
    #[error(
        "\"{0}\" is no seed and no range of seeds: write numbers below 2^64 and ranges with commas between \
         them, as in 0..10000 or 1,7,9..12"
    )]
    Word(String),
    /// A range with nothing in it.
    #[error(
        "the range {0} has nothing in it: its end is not part of it and must be greater than its beginning"
    )]
    Empty(String),
    /// More than [`RUNS_MAX`].
    #[error("{0} are more than the {RUNS_MAX} runs that a sweep may have: give it fewer seeds")]
    TooMany(u128),
}

impl Seeds {
    /// Those from `first` on, `count` of them.
    pub fn run(first: u64, count: u64) -> Seeds {
        let piece = count.checked_sub(1).map(|more| Piece {
            first,
            last: first.saturating_add(more),
        });
        Seeds(piece.into_iter().collect())
    }

    /// Each of them, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|piece| piece.first..=piece.last)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        let counts = self.0.iter().map(|piece| piece.last - piece.first + 1);
        counts.sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest.
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|piece| piece.first)
    }

    /// Whether `number` is one of them.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|piece| piece.last < number);
        self.0.get(at).is_some_and(|piece| piece.first <= number)
    }

    /// How many are below `number`, which is one of them.
    pub fn position(&self, number: u64) -> Option<u64> {
        let mut before = 0;
        for piece in &self.0 {
            if (piece.first..=piece.last).contains(&number) {
                return Some(before + (number - piece.first));
            }
            before += piece.last - piece.first + 1;
        }
        None
    }

    /// The ranges without gaps, first and last of each.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|piece| (piece.first, piece.last))
    }

    /// As it is written, but cut after `ranges_max` ranges: `1,7,9..12 and 5 more`.
    pub fn shortened(&self, ranges_max: usize) -> String {
        let shown = Seeds(self.0.iter().take(ranges_max).copied().collect());
        match self.len() - shown.len() {
            0 => shown.to_string(),
            more => format!("{shown} and {more} more"),
        }
    }

    fn of_pieces(mut pieces: Vec<Piece>) -> Seeds {
        pieces.sort_by_key(|piece| piece.first);
        let mut joined: Vec<Piece> = Vec::new();
        for piece in pieces {
            match joined.last_mut() {
                Some(before) if piece.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(piece.last);
                }
                _ => joined.push(piece),
            }
        }
        Seeds(joined)
    }
}

impl FromIterator<u64> for Seeds {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Seeds {
        let pieces = numbers.into_iter().map(|number| Piece {
            first: number,
            last: number,
        });
        Seeds::of_pieces(pieces.collect())
    }
}

impl FromStr for Seeds {
    type Err = SeedsError;

    fn from_str(text: &str) -> Result<Seeds, SeedsError> {
        let pieces = text.split(',').map(|word| piece(word.trim()));
        let seeds = Seeds::of_pieces(pieces.collect::<Result<_, _>>()?);
        let counts = seeds.0.iter();
        let count: u128 = counts
            .map(|piece| u128::from(piece.last - piece.first) + 1)
            .sum();
        if count > u128::from(RUNS_MAX) {
            return Err(SeedsError::TooMany(count));
        }
        Ok(seeds)
    }
}

fn piece(word: &str) -> Result<Piece, SeedsError> {
    let number = |text: &str| {
        // `parse` takes a sign, which nobody means.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse::<u64>().ok()).flatten();
        number.ok_or_else(|| SeedsError::Word(word.to_owned()))
    };
    let (first, last) = if let Some((first, last)) = word.split_once("..=") {
        (number(first)?, Some(number(last)?))
    } else if let Some((first, end)) = word.split_once("..") {
        (number(first)?, number(end)?.checked_sub(1))
    } else {
        let number = number(word)?;
        (number, Some(number))
    };
    match last {
        Some(last) if first <= last => Ok(Piece { first, last }),
        _ => Err(SeedsError::Empty(word.to_owned())),
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Piece { first, last }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match last.checked_add(1) {
                _ if first == last => write!(f, "{comma}{first}")?,
                Some(end) => write!(f, "{comma}{first}..{end}")?,
                None => write!(f, "{comma}{first}..={last}")?,
            }
        }
        Ok(())
    }
}

impl From<Seeds> for String {
    fn from(seeds: Seeds) -> String {
        seeds.to_string()
    }
}

impl TryFrom<String> for Seeds {
    type Error = SeedsError;

    fn try_from(text: String) -> Result<Seeds, SeedsError> {
        text.parse()
    }
}

/// A part of a sweep: `K/N`, the K-th of N. Its runs are every N-th, so that the parts take equally long
/// even if runs get longer along the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Shard {
    /// Which part, from 1.
    pub index: NonZeroU64,
    /// How many there are.
    pub of: NonZeroU64,
}

/// No shard.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no shard: write K/N, the K-th of N, with K from 1 to N, as in 3/8")]
pub struct ShardError(String);

impl Shard {
    /// Those of `seeds` that are its own, in ascending order.
    pub fn numbers(self, seeds: &Seeds) -> impl Iterator<Item = u64> + '_ {
        let step = usize::try_from(self.of.get()).unwrap_or(usize::MAX);
        let before = usize::try_from(self.index.get() - 1).unwrap_or(usize::MAX);
        seeds.iter().skip(before).step_by(step)
    }

    /// Whether the number at this position among all is its own.
    pub fn has(self, position: u64) -> bool {
        position % self.of == self.index.get() - 1
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Shard, ShardError> {
        let parts = text.split_once('/').and_then(|(index, of)| {
            let [index, of] = [index, of].map(|word| word.parse().ok());
            Some(Shard {
                index: index?,
                of: of?,
            })
        });
        parts
            .filter(|shard| shard.index <= shard.of)
            .ok_or_else(|| ShardError(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

impl TryFrom<String> for Shard {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Shard, ShardError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn seeds(text: &str) -> Seeds {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_and_numbers_make_one_set_in_order() {
        let set = seeds("9..12, 1,7,10..=12,5..5000");
        assert_eq!(set.to_string(), "1,5..5000");
        assert_eq!(set.len(), 4996);
        assert_eq!(seeds("7,8").to_string(), "7..9");
        assert_eq!(seeds("0..3").iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(set.position(6), Some(2));
        assert_eq!(set.position(2), None);
    }

    #[test]
    fn the_last_of_all_numbers_is_one() {
        let last = format!("{}..={}", u64::MAX - 1, u64::MAX);
        assert_eq!(seeds(&last).to_string(), last);
        assert_eq!(seeds(&last).len(), 2);
        assert_eq!(seeds(&last).iter().last(), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_set_is_refused_with_the_cure() {
        let why = |text: &str| text.parse::<Seeds>().unwrap_err().to_string();
        for text in ["", "1,", "x", "-1", "+1", "1...3", "1..2..3", "0x10", "1 2"] {
            assert!(why(text).contains("write numbers"), "{text}: {}", why(text));
        }
        assert!(why("18446744073709551616").contains("below 2^64"));
        assert!(why("3,9..9").contains("the range 9..9 has nothing in it"));
        assert!(why("0..0").contains("has nothing in it"));
        assert!(why("0..10000001").contains("10000001 are more than the 10000000"));
        assert!(why("0..=18446744073709551615").contains("18446744073709551616 are more"));
    }

    #[test]
    fn a_long_set_is_cut_after_some_ranges() {
        let set = seeds("1,3,5..9,11,13");
        assert_eq!(set.shortened(3), "1,3,5..9 and 2 more");
        assert_eq!(set.shortened(5), "1,3,5..9,11,13");
    }

    #[test]
    fn shards_are_checked() {
        assert_eq!("3/8".parse::<Shard>().unwrap().to_string(), "3/8");
        for text in ["", "3", "0/8", "9/8", "1/0", "-1/2", "1/2/3", "a/b"] {
            let why = text.parse::<Shard>().unwrap_err().to_string();
            assert!(why.contains("from 1 to N"), "{why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(numbers in prop::collection::btree_set(0..200_u64, 1..40)) {
            let set: Seeds = numbers.iter().copied().collect();
            prop_assert_eq!(set.len(), numbers.len() as u64);
            prop_assert!(set.iter().eq(numbers.iter().copied()));
            prop_assert_eq!(&seeds(&set.to_string()), &set);
            for number in 0..200 {
                prop_assert_eq!(set.contains(number), numbers.contains(&number));
            }
        }

        #[test]
        fn shards_part_a_set_evenly(
            numbers in prop::collection::btree_set(any::<u64>(), 1..60),
            of in 1..9_u64,
        ) {
            let set: Seeds = numbers.iter().copied().collect();
            let mut all = BTreeSet::new();
            for index in 1..=of {
                let shard: Shard = format!("{index}/{of}").parse().unwrap();
                let own: Vec<u64> = shard.numbers(&set).collect();
                let even = set.len() / of;
                prop_assert!((even..=even + 1).contains(&(own.len() as u64)));
                for &number in &own {
                    prop_assert!(shard.has(set.position(number).unwrap()));
                }
                let before = all.len();
                all.extend(own.iter().copied());
                prop_assert_eq!(all.len(), before + own.len());
            }
            prop_assert_eq!(all, numbers);
        }

        #[test]
        fn nothing_that_is_parsed_panics(text in "[0-9.,= ]{0,30}") {
            let _ = text.parse::<Seeds>();
            let _ = text.replace(',', "/").parse::<Shard>();
        }
    }
}

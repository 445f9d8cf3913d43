//! A sweep that ends with so many failures, though runs end in any order.

use std::collections::BTreeMap;

/// Tells when enough runs have failed. Runs are given by their positions among the runs of the sweep or
/// shard (0, 1, 2...); that they are begun in this order is all that is asked of the caller.
#[derive(Clone, Debug)]
pub struct UntilFailures {
    failures_max: u64,
    /// All before this one have ended.
    next: u64,
    /// How many of those before `next` failed.
    failures: u64,
    /// Those that ended before one that was begun earlier, and whether they failed.
    ahead: BTreeMap<u64, bool>,
}

impl UntilFailures {
    /// Ends with this many failures, at least one.
    pub fn new(failures_max: u64) -> UntilFailures {
        UntilFailures {
            failures_max: failures_max.max(1),
            next: 0,
            failures: 0,
            ahead: BTreeMap::new(),
        }
    }

    /// A run has ended.
    pub fn ended(&mut self, position: u64, failed: bool) {
        self.ahead.insert(position, failed);
        while let Some(failed) = self.ahead.remove(&self.next) {
            self.next += 1;
            self.failures += u64::from(failed);
        }
    }

    /// Whether the sweep is over: of the runs without a gap from the first on, enough have failed. What
    /// is still under way is not needed.
    pub fn is_over(&self) -> bool {
        self.failures >= self.failures_max
    }

    /// Whether another run is of use: not, if enough have failed already and only earlier ones have to
    /// end yet.
    pub fn wants_more(&self) -> bool {
        let ahead = self.ahead.values().filter(|failed| **failed).count() as u64;
        self.failures + ahead < self.failures_max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_over_when_all_before_the_last_failure_have_ended() {
        let mut until = UntilFailures::new(2);
        for (position, failed) in [(0, false), (3, true), (2, true)] {
            until.ended(position, failed);
            assert!(!until.is_over());
        }
        assert!(!until.wants_more());
        until.ended(1, false);
        assert!(until.is_over());
    }

    proptest! {
        #[test]
        fn the_order_in_which_runs_end_is_of_no_account(
            failed in prop::collection::vec(any::<bool>(), 1..30),
            failures_max in 1..5_u64,
            shuffle in prop::collection::vec(any::<u32>(), 30),
        ) {
            let mut order: Vec<usize> = (0..failed.len()).collect();
            order.sort_by_key(|&at| shuffle[at]);
            let mut until = UntilFailures::new(failures_max);
            for at in order {
                until.ended(at as u64, failed[at]);
            }
            let enough = failed.iter().filter(|it| **it).count() as u64 >= failures_max;
            prop_assert_eq!(until.is_over(), enough);
            prop_assert_eq!(until.wants_more(), !enough);
        }
    }
}

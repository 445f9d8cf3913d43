//! Measurements of one thing, taken again and again.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What repeated measurements gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// The middle one, or the mean of the two in the middle.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        }
    }

    /// The smallest.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest.
    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Pair by pair: what is disturbed for long disturbs both of a pair, and cancels out.
    pub(crate) fn over(&self, other: &Series) -> Series {
        debug_assert_eq!(self.0.len(), other.0.len());
        Series(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Series {
        Series(values.into_iter().collect())
    }
}

/// Measures two things in turn, `rounds` times each. Which of them comes first alternates, so that
/// a machine that is slowing down or warming up favours neither.
pub(crate) fn pairs<T, E>(
    rounds: u32,
    mut a: impl FnMut() -> Result<T, E>,
    mut b: impl FnMut() -> Result<T, E>,
) -> Result<(Vec<T>, Vec<T>), E> {
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            of_a.push(a()?);
            of_b.push(b()?);
        } else {
            of_b.push(b()?);
            of_a.push(a()?);
        }
    }
    Ok((of_a, of_b))
}

/// The processor time that `work` takes on this thread: what else the machine does counts as little
/// as it can.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let started = thread_time();
    let result = work();
    (thread_time().saturating_sub(started), result)
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series(values.to_vec())
    }

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(series(&[9.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(series(&[4.0, 1.0, 2.0, 9.0]).median(), 3.0);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let ratio = series(&[2.0, 40.0]).over(&series(&[1.0, 10.0]));
        assert_eq!((ratio.min(), ratio.max(), ratio.median()), (2.0, 4.0, 3.0));
    }

    #[test]
    fn the_order_within_a_pair_alternates() {
        let order = std::cell::RefCell::new(String::new());
        let note = |name| {
            order.borrow_mut().push(name);
            Ok::<_, ()>(1.0)
        };
        pairs(3, || note('a'), || note('b')).unwrap();
        assert_eq!(*order.borrow(), "abbaab");
    }
}

//! The host's clock as the timeline shows it.

use std::time::{Duration, Instant};

use stallbox_timeline::Time;

/// Counts from the start, and stands still while the VM is paused.
pub(super) struct Clock {
    zero: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            zero: Instant::now(),
        }
    }

    /// Now, as far as a timeline reaches: 213 days.
    pub(super) fn now(&self) -> Time {
        let ns = self.zero.elapsed().as_nanos();
        Time::from_ps(u64::try_from(ns * 1000).unwrap_or(u64::MAX))
    }

    /// When the host's clock will show `time`; `None` if never.
    pub(super) fn instant(&self, time: Time) -> Option<Instant> {
        // Rounded up, so that the event is due when a timer has slept until then.
        let ns = time.as_ps().div_ceil(1000);
        self.zero.checked_add(Duration::from_nanos(ns))
    }

    /// Leaves out a pause.
    pub(super) fn skip(&mut self, pause: Duration) {
        self.zero += pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_left_out() {
        let mut clock = Clock::start();
        let before = clock.instant(Time::ZERO).unwrap();
        clock.skip(Duration::from_secs(3));
        let after = clock.instant(Time::ZERO).unwrap();
        assert_eq!(after - before, Duration::from_secs(3));
        assert_eq!(clock.now(), Time::ZERO);
    }

    #[test]
    fn a_fraction_of_a_nanosecond_is_waited_for() {
        let clock = Clock::start();
        let at = |ps| clock.instant(Time::from_ps(ps)).unwrap();
        assert_eq!(at(1), at(1000));
        assert!(at(1001) > at(1000));
    }
}

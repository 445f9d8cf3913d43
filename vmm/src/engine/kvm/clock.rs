//! The host's clock as the timeline shows it.

use std::time::{Duration, Instant};

use stallbox_timeline::{Progress, Time, Timeline};

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

/// Moves the timeline to `to`, unless what is due on the way takes longer than `limit` of the host's
/// time, or its driver is needed elsewhere: then it is left where it came to, which is told by false,
/// and catches up later.
pub(super) fn catch_up(timeline: &Timeline, to: Time, limit: Duration) -> bool {
    // What can go on now may have something to do on the way.
    if timeline.try_run_ready() == Progress::Interrupted {
        return false;
    }
    let mut since = None;
    while let Some(event) = timeline.next_event().filter(|event| *event <= to) {
        let since = *since.get_or_insert_with(Instant::now);
        let progress = timeline.try_advance_to(event);
        if progress == Progress::Interrupted || since.elapsed() >= limit {
            return false;
        }
    }
    timeline.try_advance_to(to) == Progress::Done
}

#[cfg(test)]
mod tests {
    use stallbox_timeline::Span;

    use super::*;

    #[test]
    fn a_timeline_with_more_to_do_than_time_is_late() {
        let timeline = Timeline::new();
        let busy = timeline.clone();
        timeline.spawn(async move {
            loop {
                busy.sleep(Span::from_ps(1)).await;
            }
        });
        let (limit, to) = (Duration::from_millis(1), Time::from_ns(1_000_000_000));
        assert!(!catch_up(&timeline, to, limit));
        let late = timeline.now();
        assert!(Time::ZERO < late && late < to);
        assert!(!catch_up(&timeline, to, limit));
        assert!(late < timeline.now() && timeline.now() < to);
    }

    #[test]
    fn a_timeline_with_time_enough_is_not_late() {
        let timeline = Timeline::new();
        timeline.at(Time::from_ns(5), || {});
        for to in [7, 9].map(Time::from_ns) {
            assert!(catch_up(&timeline, to, Duration::from_secs(60)));
            assert_eq!(timeline.now(), to);
        }
    }

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

//! How long the host was not looked at: statistics of the host's time, which no part of the world sees.

use std::time::{Duration, Instant};

/// The longest time between two looks. Time limit, signals, keys and the control socket wait as long
/// at most.
#[derive(Debug, Default)]
pub(super) struct Gap {
    /// When the last look ended; none while there is nothing but looks.
    since: Option<Instant>,
    longest: Duration,
}

impl Gap {
    /// The engine turns to the machine.
    pub(super) fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    /// It looks, or waits for what there may be to look at.
    pub(super) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.longest = self.longest.max(since.elapsed());
        }
    }

    /// The longest so far.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }
}

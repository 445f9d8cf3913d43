//! A chain of hashes along a trace.

use serde::{Deserialize, Serialize};

/// As many links are kept: with twice as many events, every second one goes.
const LINKS_MAX: usize = 8192;

/// The first two bytes of the trace's running hash after an event.
pub type Link = u16;

/// The running hash after every so many events. A short run has a link for each event; a longer one, for
/// every 2nd, 4th and so on, so that a bundle stays small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Events from one link to the next, a power of two.
    interval: u64,
    links: Vec<Link>,
}

impl Default for Chain {
    fn default() -> Chain {
        Chain {
            interval: 1,
            links: Vec::new(),
        }
    }
}

impl Chain {
    /// Whether there is, or is to be, a link after `events` events.
    pub fn has(&self, events: u64) -> bool {
        events > 0 && events.is_multiple_of(self.interval)
    }

    /// Adds the link after `events` events, which [`Chain::has`] asked for.
    pub fn add(&mut self, link: Link) {
        self.links.push(link);
        if self.links.len() > LINKS_MAX {
            let mut odd = false;
            self.links.retain(|_| {
                odd = !odd;
                !odd
            });
            self.interval *= 2;
        }
    }

    /// The link after `events` events, if there is one.
    pub fn link(&self, events: u64) -> Option<Link> {
        if !self.has(events) {
            return None;
        }
        let index = usize::try_from(events / self.interval).ok()?;
        self.links.get(index - 1).copied()
    }

    /// Events from one link to the next.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// Whether it is as one that was recorded.
    pub(crate) fn is_sound(&self) -> bool {
        self.interval.is_power_of_two() && self.links.len() <= LINKS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_chain_has_links_at_the_right_events() {
        let mut chain = Chain::default();
        let link = |events: u64| (events * 7 % 65521) as Link;
        for events in 1..=100_000 {
            if chain.has(events) {
                chain.add(link(events));
            }
        }
        assert_eq!(chain.interval(), 16);
        assert!(chain.links.len() <= LINKS_MAX);
        for events in 0..=100_000 {
            let expected = (events > 0 && events % 16 == 0).then(|| link(events));
            assert_eq!(chain.link(events), expected, "{events}");
        }
        assert_eq!(chain.link(100_016), None);
    }

    #[test]
    fn a_short_chain_has_a_link_for_each_event() {
        let mut chain = Chain::default();
        (1..=5).for_each(|link| chain.add(link));
        assert_eq!(chain.interval(), 1);
        assert_eq!(chain.link(5), Some(5));
        assert_eq!(chain.link(6), None);
    }
}

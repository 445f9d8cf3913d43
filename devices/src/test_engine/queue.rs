//! One queue: what its registers say, and its two rings while it is enabled.
//!
//! Indices count from the queue's start, modulo 2^32; a slot is an index modulo the ring's entries.
//! Both rings have the same number of entries, and no descriptor is fetched without a slot for its
//! completion, so a completion ring cannot overflow.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use stallbox_timeline::{Notify, Time};

use super::master::{Counters, Pace, Requester};
use super::spec::{self, COMPLETION_BYTES, DESCRIPTOR_BYTES, Failure, Geometry, queue};
use crate::dma::Pasid;
use crate::lease::Lease;
use crate::state::RingState;

/// What the driver programmed. Takes effect when the queue is enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) pasid: u32,
    pub(super) geometry: u32,
    pub(super) sq_base: u64,
    pub(super) cq_base: u64,
    pub(super) interval_ns: u32,
    pub(super) rate: u32,
}

/// A queue of the function.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) settings: Settings,
    pub(super) rings: Option<Rings>,
    /// As STATUS tells it.
    pub(super) failure: Option<u8>,
    pub(super) lease: Lease,
    pub(super) counters: Rc<RefCell<Counters>>,
    /// Page requests of its address space when it was enabled.
    pub(super) page_requests_before: u64,
    /// How many there had been when it was disabled.
    pub(super) page_requests_at_end: u64,
    /// Tasks that have not ended, those of revoked leases included.
    pub(super) tasks: Rc<Cell<u32>>,
    /// A descriptor ended, or the lease was revoked.
    pub(super) progress: Notify,
}

impl Queue {
    /// Starts with empty rings and counters; false if the registers describe nothing possible.
    pub(super) fn enable(&mut self) -> bool {
        let Some(rings) = Rings::new(&self.settings) else {
            self.failure = Some(Failure::BadConfiguration as u8);
            return false;
        };
        self.failure = None;
        self.counters = Rc::default();
        self.rings = Some(rings);
        true
    }

    /// Stops: tasks end as soon as the access that they wait for has come back. The address space
    /// that it used, if it was enabled and had one.
    pub(super) fn disable(&mut self) -> Option<Pasid> {
        std::mem::take(&mut self.lease).revoke();
        let rings = self.rings.take();
        self.progress.notify_all();
        rings?.pasid
    }

    /// Back to the state after power-on.
    pub(super) fn reset(&mut self) -> Option<Pasid> {
        let pasid = self.disable();
        self.settings = Settings::default();
        self.failure = None;
        self.counters = Rc::default();
        self.page_requests_at_end = 0;
        pasid
    }

    /// The STATUS register.
    pub(super) fn status(&self) -> u32 {
        let enabled = self.rings.as_ref().map_or(0, |_| queue::STATUS_ENABLED);
        let busy = if self.tasks.get() > 0 {
            queue::STATUS_BUSY
        } else {
            0
        };
        let failure = self.failure.map_or(0, |failure| {
            queue::STATUS_FAILED | u32::from(failure) << queue::STATUS_FAILURE_SHIFT
        });
        enabled | busy | failure
    }
}

/// The rings of an enabled queue.
pub(super) struct Rings {
    pub(super) geometry: Geometry,
    pub(super) pasid: Option<Pasid>,
    pub(super) interval_ns: u32,
    pace: Rc<Pace>,
    sq_base: u64,
    cq_base: u64,
    /// Below: submitted.
    pub(super) sq_tail: u32,
    /// Below: fetched.
    pub(super) sq_head: u32,
    /// Below: given to a descriptor that has ended.
    cq_reserved: u32,
    /// How many completions are in memory.
    pub(super) cq_tail: u32,
    /// Below: taken by software.
    pub(super) cq_head: u32,
    /// Descriptors under execution.
    pub(super) executing: u32,
    /// A task is serving the submission ring.
    pub(super) serving: bool,
    /// The next descriptor does not start before this.
    pub(super) next_start: Time,
}

/// A descriptor to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) slot: u16,
    pub(super) address: u64,
}

/// A completion to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: u64,
    pub(super) phase: bool,
}

impl Rings {
    fn new(settings: &Settings) -> Option<Rings> {
        let geometry = Geometry::parse(settings.geometry)?;
        let fits = |base: u64, entry: usize| {
            let bytes = u64::from(geometry.entries()) * entry as u64;
            base.is_multiple_of(entry as u64) && base.checked_add(bytes - 1).is_some()
        };
        let possible = fits(settings.sq_base, DESCRIPTOR_BYTES)
            && fits(settings.cq_base, COMPLETION_BYTES)
            && settings.pasid & !(queue::PASID_VALID | queue::PASID_MASK) == 0;
        possible.then(|| Rings {
            geometry,
            pasid: spec::pasid(settings.pasid),
            interval_ns: settings.interval_ns,
            pace: Rc::new(Pace::new(settings.rate)),
            sq_base: settings.sq_base,
            cq_base: settings.cq_base,
            sq_tail: 0,
            sq_head: 0,
            cq_reserved: 0,
            cq_tail: 0,
            cq_head: 0,
            executing: 0,
            serving: false,
            next_start: Time::ZERO,
        })
    }

    pub(super) fn requester(
        &self,
        queue: u16,
        lease: &Lease,
        counters: &Rc<RefCell<Counters>>,
    ) -> Requester {
        Requester {
            lease: lease.clone(),
            queue,
            pasid: self.pasid,
            access_log2: self.geometry.access_log2,
            counters: counters.clone(),
            pace: self.pace.clone(),
        }
    }

    /// A new tail; false if it went backwards, or further than the ring is long.
    pub(super) fn submit(&mut self, tail: u32) -> bool {
        let ahead = tail.wrapping_sub(self.sq_head);
        let accepted =
            ahead <= self.geometry.entries() && ahead >= self.sq_tail.wrapping_sub(self.sq_head);
        if accepted {
            self.sq_tail = tail;
        }
        accepted
    }

    /// A new head of the completion ring; false if it went backwards, or past what there is.
    pub(super) fn take(&mut self, head: u32) -> bool {
        let ahead = head.wrapping_sub(self.cq_head);
        let accepted = ahead <= self.cq_reserved.wrapping_sub(self.cq_head);
        if accepted {
            self.cq_head = head;
        }
        accepted
    }

    /// The submission ring, to be shown: what is not fetched.
    pub(super) fn submission(&self) -> RingState {
        self.state(self.sq_head, self.sq_tail)
    }

    /// The completion ring, to be shown.
    pub(super) fn completion(&self) -> RingState {
        self.state(self.cq_head, self.cq_tail)
    }

    fn state(&self, head: u32, tail: u32) -> RingState {
        let entries = self.geometry.entries();
        RingState {
            head: head % entries,
            tail: tail % entries,
            entries,
            queued: tail.wrapping_sub(head).into(),
        }
    }

    /// The next descriptor, if one was submitted and its completion will have a slot.
    pub(super) fn next_fetch(&self) -> Option<Fetch> {
        let room = self.sq_head.wrapping_sub(self.cq_head) < self.geometry.entries();
        (room && self.sq_head != self.sq_tail).then(|| {
            let slot = self.sq_head % self.geometry.entries();
            Fetch {
                slot: slot as u16,
                address: self.sq_base + u64::from(slot) * DESCRIPTOR_BYTES as u64,
            }
        })
    }

    /// The descriptor from [`Rings::next_fetch`] is being executed.
    pub(super) fn fetched(&mut self) {
        self.sq_head = self.sq_head.wrapping_add(1);
        self.executing += 1;
    }

    /// The place for the next completion.
    pub(super) fn reserve(&mut self) -> Place {
        let index = self.cq_reserved;
        self.cq_reserved = index.wrapping_add(1);
        let slot = index % self.geometry.entries();
        Place {
            address: self.cq_base + u64::from(slot) * COMPLETION_BYTES as u64,
            // 1 in the first pass: a ring of zeros has no completion.
            phase: index >> self.geometry.ring_log2 & 1 == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings() -> Rings {
        let settings = Settings {
            // 4 entries, depth 1, accesses of 64 bytes.
            geometry: 0x06_01_02,
            sq_base: 0x1000,
            cq_base: 0x2000,
            ..Settings::default()
        };
        Rings::new(&settings).unwrap()
    }

    #[test]
    fn a_tail_may_not_outrun_the_ring_or_go_back() {
        let mut rings = rings();
        assert!(!rings.submit(5));
        assert!(rings.submit(3));
        assert!(!rings.submit(2));
        assert!(rings.submit(4));
        assert_eq!(rings.next_fetch().unwrap().slot, 0);
    }

    #[test]
    fn nothing_is_fetched_without_a_place_for_its_completion() {
        let mut rings = rings();
        rings.submit(4);
        for _ in 0..4 {
            assert!(rings.next_fetch().is_some());
            rings.fetched();
            rings.reserve();
        }
        assert!(rings.submit(5));
        assert_eq!(rings.next_fetch(), None);
        assert!(rings.take(1));
        assert_eq!(rings.next_fetch().unwrap().slot, 0);
    }

    #[test]
    fn the_phase_toggles_with_each_pass() {
        let mut rings = rings();
        let phases: Vec<bool> = (0..9).map(|_| rings.reserve().phase).collect();
        let expected = [true, true, true, true, false, false, false, false, true];
        assert_eq!(phases, expected);
    }

    #[test]
    fn completions_are_taken_once_and_only_those_there_are() {
        let mut rings = rings();
        rings.reserve();
        assert!(!rings.take(2));
        assert!(rings.take(1));
        assert!(!rings.take(0));
    }

    #[test]
    fn indices_survive_their_wrap() {
        let mut rings = rings();
        rings.sq_head = u32::MAX;
        rings.sq_tail = u32::MAX;
        rings.cq_head = u32::MAX;
        rings.cq_reserved = u32::MAX;
        assert!(rings.submit(1));
        assert_eq!(rings.next_fetch().unwrap().slot, 3);
        rings.fetched();
        assert_eq!(rings.next_fetch().unwrap().slot, 0);
    }

    #[test]
    fn rings_that_wrap_around_the_address_space_are_refused() {
        let settings = |sq_base, cq_base, geometry| Settings {
            geometry,
            sq_base,
            cq_base,
            ..Settings::default()
        };
        let good = 0x06_01_02;
        assert!(Rings::new(&settings(0, 0, good)).is_some());
        assert!(Rings::new(&settings(u64::MAX - 255, 0, good)).is_some());
        assert!(Rings::new(&settings(u64::MAX - 191, 0, good)).is_none());
        assert!(Rings::new(&settings(0x20, 0, good)).is_none());
        assert!(Rings::new(&settings(0, 0x10, good)).is_none());
        for bad in [
            0x06_01_00, 0x06_01_0d, 0x06_00_02, 0x06_41_02, 0x05_01_02, 0x0f_01_02,
        ] {
            assert!(Rings::new(&settings(0, 0, bad)).is_none(), "{bad:#x}");
        }
    }
}

//! Page request groups: their indices, their credits, and the accesses that wait for them.
//!
//! PCI Express Base Specification, *Page Request Services*. A group is one or more page requests
//! with the same index, of which the last is answered. As many requests may be outstanding as
//! software allocated; a group that finds no credits waits its turn.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use stallbox_timeline::Time;

use crate::dma::{PageResponse, PageResponseCode, Pasid};
use crate::pcie::pri::PriState;

/// Page Request Group Index has 9 bits.
const INDICES: u16 = 512;

/// What an access that waits is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Translate again.
    Retry,
    /// Give up.
    Abort,
}

/// An access that is at fault, from the moment that it wants pages.
pub(super) struct Waiter {
    pub(super) pasid: Option<Pasid>,
    verdict: Cell<Option<Verdict>>,
}

impl Waiter {
    pub(super) fn new(pasid: Option<Pasid>) -> Rc<Waiter> {
        Rc::new(Waiter {
            pasid,
            verdict: Cell::new(None),
        })
    }

    fn tell(&self, verdict: Verdict) {
        // The first word counts.
        self.verdict.set(self.verdict.get().or(Some(verdict)));
    }
}

/// An outstanding group.
struct Group {
    pasid: Option<Pasid>,
    pages: u32,
    sent: Time,
    waiter: Rc<Waiter>,
}

/// A group that was answered.
pub(super) struct Answered {
    pub(super) pasid: Option<Pasid>,
    pub(super) sent: Time,
}

/// The page request interface of a function.
pub(super) struct Groups {
    pub(super) state: PriState,
    outstanding: RefCell<BTreeMap<u16, Group>>,
    next_index: Cell<u16>,
    /// Accesses that wait for credits, in order.
    queue: RefCell<VecDeque<Rc<Waiter>>>,
    /// What [`PriState::epoch`] was when `outstanding` was right.
    epoch: Cell<u64>,
}

impl Groups {
    pub(super) fn new(state: PriState) -> Groups {
        Groups {
            outstanding: RefCell::default(),
            next_index: Cell::new(0),
            queue: RefCell::default(),
            epoch: Cell::new(state.epoch()),
            state,
        }
    }

    /// Notices that software, or a reset, made everything pending void.
    fn refresh(&self) {
        if self.epoch.replace(self.state.epoch()) != self.state.epoch() {
            self.abandon_all();
        }
    }

    fn abandon_all(&self) {
        for group in self.outstanding.take().into_values() {
            group.waiter.tell(Verdict::Abort);
        }
    }

    /// Takes an index and credits for up to `pages` page requests, in turn: the index, and how many
    /// it got. `None` if the interface may send none, or the waiter was told to give up.
    pub(super) async fn take(
        &self,
        waiter: &Rc<Waiter>,
        pages: u32,
        now: impl Fn() -> Time,
    ) -> Option<(u16, u32)> {
        let _turn = Turn::new(self, waiter);
        loop {
            self.refresh();
            let limit = self.state.limit();
            if !self.state.may_request() || limit == 0 || waiter.verdict.get().is_some() {
                return None;
            }
            let pages = pages.min(limit);
            let first = self.is_first(waiter);
            if first
                && self.state.outstanding().saturating_add(pages) <= limit
                && let Some(index) = self.free_index()
            {
                let group = Group {
                    pasid: waiter.pasid,
                    pages,
                    sent: now(),
                    waiter: waiter.clone(),
                };
                self.outstanding.borrow_mut().insert(index, group);
                self.state.set_outstanding(self.state.outstanding() + pages);
                return Some((index, pages));
            }
            self.state.changed().notified().await;
        }
    }

    /// Waits until `waiter` is told what to do.
    pub(super) async fn verdict(&self, waiter: &Waiter) -> Verdict {
        loop {
            self.refresh();
            if let Some(verdict) = waiter.verdict.get() {
                return verdict;
            }
            // Whoever tells it, or makes everything pending void, says so here.
            self.state.changed().notified().await;
        }
    }

    fn is_first(&self, waiter: &Rc<Waiter>) -> bool {
        let queue = self.queue.borrow();
        queue.front().is_some_and(|first| Rc::ptr_eq(first, waiter))
    }

    /// They come round in turn, so that a late answer to one is not soon another's.
    fn free_index(&self) -> Option<u16> {
        let outstanding = self.outstanding.borrow();
        let next = self.next_index.get();
        let index = (0..INDICES)
            .map(|step| (next + step) % INDICES)
            .find(|index| !outstanding.contains_key(index))?;
        self.next_index.set((index + 1) % INDICES);
        Some(index)
    }

    /// A PRG Response Message; `None` if it answers no group.
    pub(super) fn answer(&self, response: &PageResponse) -> Option<Answered> {
        self.refresh();
        if self.state.failed() {
            // *Page Request Status*, Response Failure: any further responses are ignored.
            return None;
        }
        let failure = response.code == PageResponseCode::Failure;
        let matches = |group: &Group| {
            // A Response Failure is the interface's, whatever PASID it has.
            failure || !self.state.pasid_required() || group.pasid == response.pasid
        };
        let known = self
            .outstanding
            .borrow()
            .get(&response.index)
            .is_some_and(matches);
        if !known {
            self.state.set_unexpected_index();
            return None;
        }
        let group = self.outstanding.borrow_mut().remove(&response.index)?;
        group.waiter.tell(match response.code {
            PageResponseCode::Success => Verdict::Retry,
            PageResponseCode::InvalidRequest | PageResponseCode::Failure => Verdict::Abort,
        });
        if failure {
            // No further answers are expected, and no further requests are made.
            self.abandon_all();
            self.state.set_response_failure();
            self.state.set_outstanding(0);
        } else {
            let left = self.state.outstanding().saturating_sub(group.pages);
            self.state.set_outstanding(left);
        }
        Some(Answered {
            pasid: group.pasid,
            sent: group.sent,
        })
    }

    /// Makes the accesses of `pasid` give up. Their groups stay outstanding until they are answered.
    pub(super) fn stop(&self, pasid: Pasid) {
        let whose = |waiter: &Waiter| waiter.pasid == Some(pasid);
        for group in self.outstanding.borrow().values() {
            if whose(&group.waiter) {
                group.waiter.tell(Verdict::Abort);
            }
        }
        for waiter in self.queue.borrow().iter() {
            if whose(waiter) {
                waiter.tell(Verdict::Abort);
            }
        }
        // Those that wait for credits wait for this.
        self.state.changed().notify_all();
    }

    /// Page request groups of `pasid` that have not been answered.
    pub(super) fn outstanding_of(&self, pasid: Pasid) -> usize {
        self.refresh();
        let outstanding = self.outstanding.borrow();
        outstanding
            .values()
            .filter(|group| group.pasid == Some(pasid))
            .count()
    }
}

/// A place in the queue for credits, given up when it is dropped.
struct Turn<'a> {
    groups: &'a Groups,
    waiter: &'a Rc<Waiter>,
}

impl<'a> Turn<'a> {
    fn new(groups: &'a Groups, waiter: &'a Rc<Waiter>) -> Turn<'a> {
        groups.queue.borrow_mut().push_back(waiter.clone());
        Turn { groups, waiter }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.groups
            .queue
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, self.waiter));
        self.groups.state.changed().notify_all();
    }
}

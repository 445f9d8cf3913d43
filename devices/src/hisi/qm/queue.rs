//! Submission and completion rings: what a doorbell may do to them, and what a dump shows.

use super::ring::{self, Position};
use super::spec::{CQE_BYTES, Context, Doorbell, SQE_BYTES};
use crate::hisi::master::Lease;
use crate::state::RingState;

/// Whether a submission ring is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    Yes,
    /// After STOP_QP or FLUSH_QM: what was fetched is finished, nothing more is fetched.
    Stopped,
    /// A ring access failed.
    Failed,
}

pub(super) struct SubmissionRing {
    pub(super) context: Context,
    depth: u32,
    pub(super) serving: Serving,
    head: Position,
    tail: Position,
    /// A task is serving the ring.
    pub(super) active: bool,
}

/// An entry to fetch.
#[derive(Clone, Copy)]
pub(super) struct Fetch {
    pub(super) slot: u16,
    pub(super) address: u64,
    pub(super) context: Context,
}

impl SubmissionRing {
    /// `None` if the context describes something that this device does not have.
    pub(super) fn new(context: Context) -> Option<SubmissionRing> {
        let depth = context.depth();
        let (head, tail) = (u64::from(context.head()), u64::from(context.tail()));
        let valid = 1u64 << context.entry_log2() == SQE_BYTES as u64
            && head < u64::from(depth)
            && tail < u64::from(depth);
        let tail = if tail < head {
            tail + u64::from(depth)
        } else {
            tail
        };
        valid.then_some(SubmissionRing {
            context,
            depth,
            serving: Serving::Yes,
            head: Position(head),
            tail: Position(tail),
            active: false,
        })
    }

    /// A doorbell with a new tail; false if it is not for this ring as it stands. At most depth - 1
    /// entries are outstanding, so an index that would make more is one that went backwards.
    pub(super) fn doorbell(&mut self, doorbell: Doorbell) -> bool {
        if self.serving != Serving::Yes || doorbell.tag() != self.context.tag() {
            return false;
        }
        let limit = Position(self.head.0 + u64::from(self.depth) - 1);
        let Some(tail) = self.tail.advance_to(doorbell.index(), self.depth, limit) else {
            return false;
        };
        self.tail = tail;
        true
    }

    /// Whether a task is to be started.
    pub(super) fn start_serving(&mut self) -> bool {
        let due = self.serving == Serving::Yes && self.head < self.tail && !self.active;
        self.active |= due;
        due
    }

    /// The next entry to serve; the serving task ends if there is none.
    pub(super) fn next_fetch(&mut self) -> Option<Fetch> {
        if self.serving != Serving::Yes || self.head >= self.tail {
            self.active = false;
            return None;
        }
        let slot = self.head.slot(self.depth);
        let address = self
            .context
            .base()
            .wrapping_add(u64::from(slot) * SQE_BYTES as u64);
        Some(Fetch {
            slot,
            address,
            context: self.context,
        })
    }

    /// The entry from [`SubmissionRing::next_fetch`] is complete.
    pub(super) fn completed(&mut self) {
        self.head = self.head.next();
    }

    pub(super) fn dump(&self) -> Context {
        let mut context = self.context;
        context.set_head(self.head.slot(self.depth));
        context.set_tail(self.tail.slot(self.depth));
        context.set_wrap(self.tail.wrap(self.depth));
        context
    }

    pub(super) fn state(&self) -> RingState {
        ring::state(self.head, self.tail, self.depth)
    }
}

pub(super) struct CompletionRing {
    context: Context,
    depth: u32,
    phase_flipped: bool,
    head: Position,
    /// Positions below are given out.
    reserved: Position,
    /// How many are in memory.
    tail: Position,
    /// c_flag
    pub(super) armed: bool,
    pub(super) lease: Lease,
}

/// A completion to write.
pub(super) struct Completion {
    pub(super) address: u64,
    pub(super) phase: bool,
}

impl CompletionRing {
    pub(super) fn new(context: Context) -> Option<CompletionRing> {
        let depth = context.depth();
        let valid = 1u64 << context.entry_log2() == CQE_BYTES as u64
            && u32::from(context.tail()) < depth
            && u32::from(context.head()) < depth;
        let (head, tail) = (u64::from(context.head()), u64::from(context.tail()));
        let tail = if tail < head {
            tail + u64::from(depth)
        } else {
            tail
        };
        valid.then_some(CompletionRing {
            context,
            depth,
            phase_flipped: !context.phase(),
            head: Position(head),
            reserved: Position(tail),
            tail: Position(tail),
            armed: context.armed(),
            lease: Lease::default(),
        })
    }

    /// The place for the next completion; `None` if the guest left no room.
    pub(super) fn reserve(&mut self) -> Option<Completion> {
        if self.reserved.since(self.head) >= u64::from(self.depth) {
            return None;
        }
        let position = self.reserved;
        self.reserved = position.next();
        let offset = u64::from(position.slot(self.depth)) * CQE_BYTES as u64;
        Some(Completion {
            address: self.context.base().wrapping_add(offset),
            phase: !position.wrap(self.depth) ^ self.phase_flipped,
        })
    }

    /// A reserved completion is in memory.
    pub(super) fn wrote(&mut self) {
        self.tail = self.tail.next();
    }

    /// A doorbell with the new head; with priority 1 it arms the ring. False if the ring cannot
    /// have it.
    pub(super) fn doorbell(&mut self, doorbell: Doorbell) -> bool {
        if doorbell.tag() != self.context.tag() {
            return false;
        }
        let Some(head) = self
            .head
            .advance_to(doorbell.index(), self.depth, self.tail)
        else {
            return false;
        };
        self.head = head;
        if doorbell.priority() & 1 != 0 {
            self.armed = true;
        }
        true
    }

    /// Completions that the guest has not taken.
    pub(super) fn has_news(&self) -> bool {
        self.tail > self.head
    }

    pub(super) fn dump(&self) -> Context {
        let mut context = self.context;
        context.set_head(self.head.slot(self.depth));
        context.set_tail(self.tail.slot(self.depth));
        context.set_wrap(self.tail.wrap(self.depth));
        context.set_phase(!self.tail.wrap(self.depth) ^ self.phase_flipped);
        context.set_armed(self.armed);
        context
    }

    pub(super) fn state(&self) -> RingState {
        ring::state(self.head, self.tail, self.depth)
    }
}

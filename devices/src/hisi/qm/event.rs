//! EQ and AEQ: rings of events, each with an interrupt that waits for the driver's doorbell before
//! it fires again (Linux 6.12, qm.c: `qm_get_complete_eqe_num`, `qm_aeq_thread`).

use std::collections::VecDeque;

use super::ring::{self, Position};
use super::spec::{Context, Event};
use crate::hisi::master::Lease;
use crate::state::EventRingState;

/// One event ring.
pub(super) struct EventRing {
    /// MSI vector (`qm_basic_info`: EQ 0, AEQ 1).
    pub(super) vector: u8,
    /// Interrupt mask register bit 0.
    pub(super) masked: bool,
    pub(super) lease: Lease,
    context: Option<Context>,
    base: u64,
    depth: u32,
    /// The first position's phase is 1 unless the context says otherwise.
    phase_flipped: bool,
    head: Position,
    /// Positions below are in memory.
    written: Position,
    /// Positions below are given out.
    tail: Position,
    waiting: VecDeque<Event>,
    /// The queues that the entries from the head to the tail name.
    queues: VecDeque<u16>,
    writing: bool,
    /// An interrupt was sent and no doorbell came since.
    interrupted: bool,
}

/// An entry to write.
pub(super) struct EventWrite {
    pub(super) address: u64,
    pub(super) entry: [u8; 4],
}

impl EventRing {
    pub(super) fn new(vector: u8) -> EventRing {
        EventRing {
            vector,
            masked: true,
            lease: Lease::default(),
            context: None,
            base: 0,
            depth: 1,
            phase_flipped: false,
            head: Position(0),
            written: Position(0),
            tail: Position(0),
            waiting: VecDeque::new(),
            queues: VecDeque::new(),
            writing: false,
            interrupted: false,
        }
    }

    /// A new context, or none.
    pub(super) fn install(&mut self, context: Option<Context>) {
        self.lease.revoke();
        let masked = self.masked;
        *self = EventRing {
            masked,
            ..EventRing::new(self.vector)
        };
        let Some(context) = context else { return };
        self.base = context.base();
        self.depth = context.event_depth();
        self.phase_flipped = !context.event_phase();
        let start = Position(u64::from(context.tail()) % u64::from(self.depth));
        (self.head, self.written, self.tail) = (start, start, start);
        self.context = Some(context);
    }

    /// The context as it stands.
    pub(super) fn dump(&self) -> Context {
        let Some(mut context) = self.context else {
            return Context::default();
        };
        context.set_head(self.head.slot(self.depth));
        context.set_tail(self.written.slot(self.depth));
        context.set_event_phase(self.phase(self.written));
        context
    }

    /// The ring as it stands, if there is one.
    pub(super) fn state(&self) -> Option<EventRingState> {
        self.context.as_ref()?;
        Some(EventRingState {
            ring: ring::state(self.head, self.written, self.depth),
            unwritten: self.waiting.len(),
            masked: self.masked,
            interrupted: self.interrupted,
        })
    }

    pub(super) fn head(&self) -> Position {
        self.head
    }

    fn phase(&self, position: Position) -> bool {
        !position.wrap(self.depth) ^ self.phase_flipped
    }

    /// Takes an event in, if there is a ring and room in it. Answers its position; the caller sees
    /// to it that a task writes it.
    pub(super) fn push(&mut self, event: Event) -> Option<Position> {
        // One slot stays free: a full ring would look like an empty one to a doorbell.
        let full = self.tail.since(self.head) + 1 >= u64::from(self.depth);
        if self.context.is_none() || full {
            return None;
        }
        let position = self.tail;
        self.tail = position.next();
        self.waiting.push_back(event);
        self.queues.push_back(event.queue());
        Some(position)
    }

    /// Whether a writer is to be started.
    pub(super) fn start_writing(&mut self) -> bool {
        !self.waiting.is_empty() && !std::mem::replace(&mut self.writing, true)
    }

    /// The next entry to write; the writer ends if there is none.
    pub(super) fn next_write(&mut self) -> Option<EventWrite> {
        let Some(event) = self.waiting.pop_front() else {
            self.writing = false;
            return None;
        };
        let entry = event.with_phase(self.phase(self.written));
        let offset = u64::from(self.written.slot(self.depth)) * super::spec::EQE_BYTES as u64;
        Some(EventWrite {
            address: self.base.wrapping_add(offset),
            entry: u32::from(entry).to_le_bytes(),
        })
    }

    /// The entry from [`EventRing::next_write`] is in memory.
    pub(super) fn wrote(&mut self) {
        self.written = self.written.next();
    }

    /// A doorbell with the driver's new head: false if the ring cannot have it.
    pub(super) fn doorbell(&mut self, index: u16) -> bool {
        if self.context.is_none() {
            return false;
        }
        let Some(head) = self.head.advance_to(index, self.depth, self.written) else {
            return false;
        };
        self.queues.drain(..head.since(self.head) as usize);
        self.head = head;
        self.interrupted = false;
        true
    }

    /// Whether there is a ring.
    pub(super) fn is_there(&self) -> bool {
        self.context.is_some()
    }

    /// The queue that the first event names that no doorbell has taken.
    pub(super) fn first_queue(&self) -> Option<u16> {
        self.queues.front().copied()
    }

    /// Whether an event is in memory that no doorbell has taken.
    pub(super) fn is_pending(&self) -> bool {
        self.written > self.head
    }

    /// Whether to send the interrupt now; if so it counts as sent.
    pub(super) fn take_interrupt(&mut self) -> bool {
        let due = !self.masked && !self.interrupted && self.is_pending();
        self.interrupted |= due;
        due
    }
}

//! The table of invalidations that endpoints have not completed, and when the command queue waits for
//! them.
//!
//! IHI 0070, *CMD_ATC_INV*; PCI Express Base Specification, *Address Translation Services*.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use stallbox_timeline::EventId;

use crate::transaction::StreamId;

/// Outstanding invalidations of one function, which has 32 tags for them (ITag).
const TAGS: usize = 32;
/// Outstanding invalidations of all.
const OUTSTANDING_MAX: usize = 1024;

/// Invalidations under way.
#[derive(Default)]
pub(crate) struct AtcInvalidations {
    outstanding: RefCell<BTreeMap<u64, Outstanding>>,
    next: Cell<u64>,
    /// One was given up, and no CMD_SYNC has said so.
    timed_out: Cell<bool>,
    /// The command at the head of the queue waits.
    held: Cell<bool>,
}

/// An invalidation that was not completed.
pub(crate) struct Outstanding {
    stream: StreamId,
    /// When it is given up.
    pub(crate) timeout: Option<EventId>,
}

impl AtcInvalidations {
    /// A number for the next invalidation.
    pub(crate) fn take_id(&self) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        id
    }

    pub(crate) fn begin(&self, id: u64, stream: StreamId, timeout: Option<EventId>) {
        let outstanding = Outstanding { stream, timeout };
        self.outstanding.borrow_mut().insert(id, outstanding);
    }

    /// An invalidation was completed; `None` if it has been given up.
    pub(crate) fn complete(&self, id: u64) -> Option<Outstanding> {
        self.outstanding.borrow_mut().remove(&id)
    }

    /// Gives an invalidation up; false if it has been completed.
    pub(crate) fn give_up(&self, id: u64) -> bool {
        let given_up = self.outstanding.borrow_mut().remove(&id).is_some();
        if given_up {
            self.timed_out.set(true);
        }
        given_up
    }

    /// Holds the queue at a CMD_SYNC while it has something to wait for.
    pub(crate) fn holds_sync(&self) -> bool {
        let waits = !self.timed_out.get() && !self.outstanding.borrow().is_empty();
        self.held.set(waits);
        waits
    }

    /// Whether an invalidation was given up that no CMD_SYNC has told of. This one does.
    pub(crate) fn take_timeout(&self) -> bool {
        self.timed_out.take()
    }

    /// Holds the queue at a CMD_ATC_INV for `stream` while that has no tag for it.
    pub(crate) fn has_no_room(&self, stream: StreamId) -> bool {
        let outstanding = self.outstanding.borrow();
        let own = outstanding.values().filter(|one| one.stream == stream);
        let waits = outstanding.len() >= OUTSTANDING_MAX || own.count() >= TAGS;
        self.held.set(waits);
        waits
    }

    pub(crate) fn holds_commands(&self) -> bool {
        self.held.get()
    }

    /// Says whether they were held.
    pub(crate) fn let_commands_go(&self) -> bool {
        self.held.take()
    }
}

//! How tasks learn that what they work for was reset.

use std::cell::Cell;
use std::rc::Rc;

/// The right to go on. A task that serves a queue holds a clone of the queue's lease and looks at
/// it after every wait; a reset revokes the lease and gives the queue a new one.
#[derive(Clone, Default)]
pub(crate) struct Lease(Rc<Cell<bool>>);

impl Lease {
    pub(crate) fn revoke(&self) {
        self.0.set(true);
    }

    pub(crate) fn check(&self) -> Result<(), Revoked> {
        if self.0.get() { Err(Revoked) } else { Ok(()) }
    }
}

/// What the task worked for was reset: it ends and leaves no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Revoked;

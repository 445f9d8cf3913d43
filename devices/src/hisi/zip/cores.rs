//! The engine's cores: how many jobs of a kind run at once. Others wait in the order in which they
//! came. A job holds its core also while its data waits for a page fault.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use stallbox_timeline::Notify;

use crate::hisi::master::{Lease, Revoked};

#[derive(Clone)]
pub(super) struct Cores(Rc<Inner>);

struct Inner {
    free: Cell<u32>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    granted: Cell<bool>,
    notify: Notify,
}

/// A core in use.
pub(super) struct Core(Rc<Inner>);

impl Drop for Core {
    fn drop(&mut self) {
        match self.0.waiting.borrow_mut().pop_front() {
            Some(next) => {
                next.granted.set(true);
                next.notify.notify_all();
            }
            None => self.0.free.set(self.0.free.get() + 1),
        }
    }
}

impl Cores {
    pub(super) fn new(count: u32) -> Cores {
        Cores(Rc::new(Inner {
            free: Cell::new(count),
            waiting: RefCell::default(),
        }))
    }

    pub(super) async fn acquire(&self, lease: &Lease) -> Result<Core, Revoked> {
        lease.check()?;
        let inner = &self.0;
        if inner.free.get() > 0 && inner.waiting.borrow().is_empty() {
            inner.free.set(inner.free.get() - 1);
            return Ok(Core(inner.clone()));
        }
        let waiter = Rc::new(Waiter {
            granted: Cell::new(false),
            notify: Notify::new(),
        });
        inner.waiting.borrow_mut().push_back(waiter.clone());
        loop {
            waiter.notify.notified().await;
            if waiter.granted.get() {
                let core = Core(inner.clone());
                lease.check()?;
                return Ok(core);
            }
            if let Err(revoked) = lease.check() {
                inner
                    .waiting
                    .borrow_mut()
                    .retain(|other| !Rc::ptr_eq(other, &waiter));
                return Err(revoked);
            }
        }
    }

    /// Those who wait look at their leases.
    pub(super) fn recheck(&self) {
        for waiter in self.0.waiting.borrow().iter() {
            waiter.notify.notify_all();
        }
    }
}

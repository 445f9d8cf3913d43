//! The engine's cores: how many jobs of a kind run at once. Others wait in the order in which they
//! came. A job holds its core also while its data waits for a page fault.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use stallbox_timeline::Notify;

use crate::hisi::counters::{CoreKind, CoreName, Counters};
use crate::hisi::master::{Lease, Revoked};

#[derive(Clone)]
pub(super) struct Cores(Rc<Inner>);

struct Inner {
    kind: CoreKind,
    counters: Rc<Counters>,
    free: RefCell<BTreeSet<usize>>,
    count: usize,
    /// After a reset these cores are others.
    retired: Cell<bool>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    granted: Cell<Option<usize>>,
    notify: Notify,
}

/// A core in use.
pub(super) struct Core {
    inner: Rc<Inner>,
    index: usize,
}

impl Core {
    fn new(inner: &Rc<Inner>, index: usize) -> Core {
        let core = Core {
            inner: inner.clone(),
            index,
        };
        inner.counters.started(core.name());
        core
    }

    pub(super) fn name(&self) -> CoreName {
        self.inner.name(self.index)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let inner = &self.inner;
        if !inner.retired.get() {
            inner.counters.freed(self.name());
        }
        match inner.waiting.borrow_mut().pop_front() {
            Some(next) => {
                next.granted.set(Some(self.index));
                next.notify.notify_all();
            }
            None => _ = inner.free.borrow_mut().insert(self.index),
        }
    }
}

impl Inner {
    fn name(&self, index: usize) -> CoreName {
        CoreName {
            kind: self.kind,
            index,
        }
    }
}

impl Cores {
    pub(super) fn new(kind: CoreKind, count: usize, counters: &Rc<Counters>) -> Cores {
        Cores(Rc::new(Inner {
            kind,
            counters: counters.clone(),
            free: RefCell::new((0..count).collect()),
            count,
            retired: Cell::new(false),
            waiting: RefCell::default(),
        }))
    }

    /// The core of the lowest number that is free, as soon as there is one.
    pub(super) async fn acquire(&self, lease: &Lease) -> Result<Core, Revoked> {
        lease.check()?;
        let inner = &self.0;
        if inner.waiting.borrow().is_empty() {
            let free = inner.free.borrow_mut().pop_first();
            if let Some(index) = free {
                return Ok(Core::new(inner, index));
            }
        }
        let waiter = Rc::new(Waiter {
            granted: Cell::new(None),
            notify: Notify::new(),
        });
        inner.waiting.borrow_mut().push_back(waiter.clone());
        loop {
            waiter.notify.notified().await;
            if let Some(index) = waiter.granted.take() {
                let core = Core::new(inner, index);
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

    /// A reset: who still has one of these cores keeps none of those that there are from now on.
    pub(super) fn retire(&self) {
        self.0.retired.set(true);
        let free = self.0.free.borrow();
        for index in (0..self.0.count).filter(|index| !free.contains(index)) {
            self.0.counters.freed(self.0.name(index));
        }
    }
}

//! Whether vCPUs run: what their threads look at before each KVM_RUN.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// What vCPU threads are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// Run the guest.
    Run,
    /// Stand still.
    Pause,
    /// The first vCPU sets the virtual counter to where it was; the others still stand.
    Restore,
    /// End.
    Stop,
}

/// One order for all vCPUs. Who gives a new one also kicks the threads.
pub(super) struct Gate {
    order: Mutex<Order>,
    /// `order`, for a look that costs nothing.
    shown: AtomicU8,
    changed: Condvar,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate {
            order: Mutex::new(Order::Run),
            shown: AtomicU8::new(Order::Run as u8),
            changed: Condvar::new(),
        }
    }

    pub(super) fn set(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
        self.shown.store(order as u8, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Whether to run the guest.
    pub(super) fn is_open(&self) -> bool {
        self.shown.load(Ordering::SeqCst) == Order::Run as u8
    }

    /// Waits for an order other than these, and gives it.
    pub(super) fn wait_while(&self, these: &[Order]) -> Order {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .changed
            .wait_while(order, |order| these.contains(order))
            .unwrap_or_else(PoisonError::into_inner)
    }
}

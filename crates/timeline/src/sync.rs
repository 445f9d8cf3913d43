//! Waiting for something other than a time.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A condition that tasks wait for: every [`Notify::notify_all`] releases all that wait, in the
/// order in which they began to. What is waited for is state elsewhere; check it, wait, check again.
#[derive(Clone, Default)]
pub struct Notify(Rc<State>);

#[derive(Default)]
struct State {
    generation: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// A condition that nobody waits for.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Releases every waiting task.
    pub fn notify_all(&self) {
        self.0.generation.set(self.0.generation.get() + 1);
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }

    /// Done after the next [`Notify::notify_all`]; one between this call and the first poll counts.
    pub fn notified(&self) -> Notified {
        Notified {
            state: self.0.clone(),
            generation: self.0.generation.get(),
        }
    }
}

/// See [`Notify::notified`].
pub struct Notified {
    state: Rc<State>,
    generation: u64,
}

impl Future for Notified {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.state.generation.get() != self.generation {
            return Poll::Ready(());
        }
        self.state
            .waiting
            .borrow_mut()
            .push(context.waker().clone());
        Poll::Pending
    }
}

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

/// A door that tasks stand at until it is opened. Clones are the same door; it does not close.
#[derive(Clone, Default)]
pub struct Gate {
    open: Rc<Cell<bool>>,
    opened: Notify,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        if !self.open.replace(true) {
            self.opened.notify_all();
        }
    }

    /// Whether it has been opened.
    pub fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Done once the gate is open.
    pub async fn passed(&self) {
        while !self.open.get() {
            self.opened.notified().await;
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_open() { "open" } else { "closed" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timeline;

    #[test]
    fn a_gate_holds_until_it_is_opened_and_nobody_after() {
        let (timeline, gate, passed) = (Timeline::new(), Gate::new(), Rc::new(Cell::new(0)));
        let come = || {
            let (gate, passed) = (gate.clone(), passed.clone());
            timeline.spawn(async move {
                gate.passed().await;
                passed.set(passed.get() + 1);
            });
            timeline.run_ready();
        };
        come();
        come();
        assert_eq!(passed.get(), 0);
        gate.open();
        timeline.run_ready();
        assert_eq!(passed.get(), 2);
        come();
        assert_eq!(passed.get(), 3);
    }
}

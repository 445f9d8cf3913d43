//! Whether the machine stands still, for somebody to look at it.

use std::cell::{Cell, RefCell};

use stallbox_timeline::Time;

/// The world's; a fault plan and the control socket ask for it, an engine obeys.
#[derive(Debug, Default)]
pub struct Pause {
    paused: Cell<bool>,
    /// When it is to stand still.
    at: Cell<Option<Time>>,
    /// When the run is to end.
    stop_at: Cell<Option<Time>>,
    /// The marker of the guest's at which it is to stand still.
    marker: RefCell<Option<String>>,
    possible: Cell<bool>,
}

impl Pause {
    /// The run is to stand still until somebody lets it go on.
    pub fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Stops the run, or lets it go on.
    pub fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        self.at.set(None);
    }

    /// Lets the run go on until all of the machine is at `until`.
    pub fn run_until(&self, until: Time) {
        self.paused.set(false);
        self.at.set(Some(until));
    }

    /// Stops the run where the guest next tells this marker (`ready` is init's): at the same instruction
    /// in each run.
    pub fn stop_at_marker(&self, name: &str) {
        *self.marker.borrow_mut() = Some(name.to_owned());
    }

    /// The guest tells a marker. True if the run is to stop for it, at once.
    pub(crate) fn marker(&self, name: &str) -> bool {
        let awaited = self.marker.borrow_mut().take_if(|it| it == name).is_some();
        if awaited {
            self.set_paused(true);
        }
        awaited
    }

    /// When an engine that can stand still is to do so.
    pub fn is_due_at(&self) -> Option<Time> {
        [self.at.get(), self.stop_at.get()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the run is to end, if the guest does not end before.
    pub fn stop_at(&self) -> Option<Time> {
        self.stop_at.get()
    }

    /// See [`Pause::stop_at`].
    pub fn set_stop_at(&self, stop_at: Option<Time>) {
        self.stop_at.set(stop_at);
    }

    /// Whether the engine can stand still.
    pub fn is_possible(&self) -> bool {
        self.possible.get()
    }

    /// See [`Pause::is_possible`].
    pub fn set_possible(&self, possible: bool) {
        self.possible.set(possible);
    }
}

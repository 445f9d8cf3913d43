//! Whether the machine stands still, for somebody to look at it.

use std::cell::Cell;

/// The world's; a fault plan and the control socket ask for it, an engine obeys.
#[derive(Debug, Default)]
pub struct Pause {
    paused: Cell<bool>,
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

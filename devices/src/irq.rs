//! Interrupt lines, as a device sees them.

/// A wired interrupt, going to an interrupt controller.
pub trait IrqLine {
    /// Drives the line: asserted or not.
    fn set(&self, asserted: bool);

    /// One edge, for edge-triggered lines.
    fn pulse(&self) {
        self.set(true);
        self.set(false);
    }
}

/// A line that goes nowhere.
pub struct Unconnected;

impl IrqLine for Unconnected {
    fn set(&self, _asserted: bool) {}
}

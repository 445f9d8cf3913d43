//! What a machine asks of any accelerator.

use crate::atc::AtcEntry;
use crate::state::AcceleratorState;

/// An accelerator, as whoever looks at a machine or interferes with it sees it. Looking changes
/// nothing.
pub trait Accelerator {
    /// As it is named on a command line and in reports.
    fn name(&self) -> &'static str;

    /// What it has under way.
    fn state(&self) -> AcceleratorState;

    /// What its translation cache holds, by address space and address; `None` if it has none.
    fn cached_translations(&self) -> Option<Vec<AtcEntry>> {
        None
    }

    /// What firmware has to say of it in the device tree, if the kernel does not know it all by itself.
    fn firmware(&self) -> Option<FirmwareNode> {
        None
    }

    /// Does what nothing in the device gave cause for; no verdict is asked for.
    ///
    /// # Errors
    /// Says why it cannot, or what became of it.
    fn inject(&self, what: Injection) -> Result<(), InjectionError>;
}

/// A function's node in the device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareNode {
    /// Vendor ID.
    pub vendor_id: u16,
    /// Device ID.
    pub device_id: u16,
    /// `dma-can-stall`: its transactions may wait in the SMMU.
    pub can_stall: bool,
}

/// Something that happens in an accelerator because somebody wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// An interrupt is raised.
    Interrupt {
        /// Its vector.
        vector: u16,
    },
    /// The function is reset, as a function level reset does.
    Reset,
    /// Entries are written to a ring of events. A ring that is too short for them overflows.
    Events {
        /// To the ring of failures, not to that of completions.
        failures: bool,
        /// The queue that the entries name.
        queue: u16,
        /// Their kind, as the ring has it.
        kind: u8,
        /// How many, all alike.
        count: u32,
    },
    /// Bits of the error status registers are set, as if the hardware had found the errors.
    Errors {
        /// Of the queue manager.
        qm: u32,
        /// Of the ZIP engine.
        zip: u32,
    },
    /// A queue fails.
    QueueFailure {
        /// Which.
        queue: u16,
        /// The number that its status register gives as the reason.
        failure: u8,
    },
}

/// Why what was asked of an accelerator did not happen, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectionError {
    /// There is no such interrupt vector.
    #[error("the device has no such vector")]
    NoVector,
    /// The ring is not set up.
    #[error("there is no such ring now")]
    NoRing,
    /// The ring overflowed.
    #[error("the ring had room for {taken}, and overflowed: the others are lost")]
    Overflow {
        /// How many entries it had room for.
        taken: u32,
    },
    /// The queue is not enabled.
    #[error("the queue is not enabled")]
    NoQueue,
    /// This device has nothing of the kind. The sentence says what it has.
    #[error("{0}")]
    Unsupported(&'static str),
}

//! Where latencies, the trace and fault plans attach to the engine.

use stallbox_timeline::Span;

use crate::dma::Pasid;
use crate::verdict::{DeviceVerdict, DmaAccess, DoorbellWrite, StepVerdict};

/// A step of the device's own work that takes time. What memory and translation take is spent by
/// the [DMA port](crate::dma), not here; moving data takes what the queue's RATE register says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineStep {
    /// From a doorbell's arrival until an idle queue begins to fetch.
    Doorbell,
    /// Scheduling the fetch of one descriptor.
    DescriptorFetch,
    /// Scheduling the write of a completion.
    CompletionWrite,
}

/// Something that happened in the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineNote {
    /// A queue was enabled.
    QueueEnabled {
        /// The queue.
        queue: u16,
        /// The address space of its rings and data.
        pasid: Option<Pasid>,
    },
    /// A queue was disabled.
    QueueDisabled {
        /// The queue.
        queue: u16,
    },
    /// A queue stopped by itself; the code is that of its STATUS register.
    QueueFailed {
        /// The queue.
        queue: u16,
        /// Why.
        failure: u8,
    },
    /// A submission doorbell was accepted.
    Doorbell {
        /// The queue.
        queue: u16,
        /// Its new tail, counted from the queue's start.
        tail: u32,
    },
    /// A doorbell had no effect: the queue is not enabled, or its rings cannot have that index.
    DoorbellIgnored {
        /// The queue.
        queue: u16,
        /// The index as written.
        index: u32,
    },
    /// A descriptor was fetched, and its execution begins.
    Started {
        /// The queue.
        queue: u16,
        /// The address space.
        pasid: Option<Pasid>,
        /// Opcode field.
        opcode: u8,
        /// The submitter's tag.
        tag: u64,
        /// Bytes of data, if the descriptor makes sense.
        bytes: u32,
    },
    /// A descriptor has its result; the completion is yet to be written.
    Done {
        /// The queue.
        queue: u16,
        /// The submitter's tag.
        tag: u64,
        /// Status of the completion.
        status: u8,
        /// Bytes read from memory.
        read_bytes: u32,
        /// Bytes written to memory.
        written_bytes: u32,
    },
    /// A descriptor ended unfinished because its queue was disabled, failed or was reset.
    Dropped {
        /// The queue.
        queue: u16,
    },
    /// A completion is visible to the guest.
    Completed {
        /// The queue.
        queue: u16,
        /// The submitter's tag.
        tag: u64,
    },
    /// An access was refused.
    DmaAborted {
        /// The queue on whose behalf it was made.
        queue: u16,
        /// Its address space.
        pasid: Option<Pasid>,
        /// First address that was not transferred.
        address: u64,
        /// Direction.
        write: bool,
    },
    /// An interrupt was raised (it may yet be masked in configuration space).
    Msi {
        /// Its vector.
        vector: u16,
    },
    /// Function level reset, or CONTROL.RESET.
    Reset,
}

/// Called at the named points. Without side effects on the device, and never from inside a borrow
/// of it.
pub trait EngineProbe {
    /// How long `step` takes, this time.
    fn spend(&self, step: EngineStep) -> Span;
    /// `step` of this queue is about to begin.
    fn on_step(&self, _step: EngineStep, _queue: u16) -> StepVerdict {
        StepVerdict::default()
    }
    /// Told what happened.
    fn note(&self, note: &EngineNote);

    /// An access to memory is about to be issued.
    fn on_dma(&self, _access: &DmaAccess) -> DeviceVerdict {
        DeviceVerdict::default()
    }
    /// It is over, whatever came of it.
    fn dma_ended(&self, _access: &DmaAccess) {}
    /// An interrupt is about to be raised, that of this queue or of its failure.
    fn on_msi(&self, _vector: u16, _queue: u16) -> DeviceVerdict {
        DeviceVerdict::default()
    }
    /// The guest rings a doorbell, which is about to arrive.
    fn on_doorbell(&self, _doorbell: &DoorbellWrite) -> DeviceVerdict {
        DeviceVerdict::default()
    }
    /// The guest writes a register of BAR0: offset, value. A verdict cannot wait here.
    fn on_register_write(&self, _register: u32, _value: u32) -> DeviceVerdict {
        DeviceVerdict::default()
    }
}

/// Takes no time and keeps no record.
pub struct NoProbe;

impl EngineProbe for NoProbe {
    fn spend(&self, _step: EngineStep) -> Span {
        Span::ZERO
    }

    fn note(&self, _note: &EngineNote) {}
}

//! Where latencies, the trace and fault plans attach to an accelerator.

use stallbox_timeline::Span;

use crate::dma::Pasid;
use crate::verdict::{DeviceVerdict, DmaAccess, DoorbellWrite, StepVerdict};

/// A step of the device's own work that takes time. What memory and translation take is spent by
/// the [DMA port](crate::dma), not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceStep {
    /// From a doorbell's arrival until an idle queue begins to fetch.
    Doorbell,
    /// Scheduling the fetch of one submission entry.
    DescriptorFetch,
    /// The engine's work on `bytes` of data: input or output, whichever is more. Called for each
    /// piece of a job, so a cost for each byte adds up to that of the job. A device whose speed
    /// is set in its registers has no such step.
    Compute {
        /// Bytes in this piece.
        bytes: u64,
    },
    /// Scheduling the write-back of an entry and its completion.
    CompletionWrite,
}

impl DeviceStep {
    /// The step's name in configuration files and traces.
    pub fn name(&self) -> &'static str {
        match self {
            DeviceStep::Doorbell => "doorbell",
            DeviceStep::DescriptorFetch => "descriptor_fetch",
            DeviceStep::Compute { .. } => "compute",
            DeviceStep::CompletionWrite => "completion_write",
        }
    }
}

/// Something that happened in the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNote {
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
    /// A queue stopped by itself: one of its rings could not be accessed, or cannot be as software
    /// has set it up, or its completion ring overflowed.
    QueueFailed {
        /// The queue.
        queue: u16,
        /// The code that the device gives as the reason, if it gives one.
        failure: Option<u8>,
    },
    /// A submission doorbell was accepted.
    Doorbell {
        /// The queue.
        queue: u16,
        /// Its new tail, as the device counts.
        tail: u32,
    },
    /// A doorbell had no effect: unknown or stopped queue, wrong tag, or an index that the ring
    /// cannot have.
    DoorbellIgnored {
        /// The queue field as written.
        queue: u16,
        /// The index field as written.
        index: u32,
    },
    /// A mailbox command was finished.
    Mailbox {
        /// Its number.
        command: u8,
        /// The queue that it named.
        queue: u16,
        /// 0, or the failure that the driver sees.
        status: u8,
    },
    /// A job was fetched and understood, and its execution begins.
    JobStarted {
        /// The queue.
        queue: u16,
        /// The address space of its data.
        pasid: Option<Pasid>,
        /// The submitter's tag.
        tag: u64,
        /// Bytes of input, if the job makes sense.
        input: u32,
    },
    /// A job has its result; the completion is yet to be written.
    JobDone {
        /// The queue.
        queue: u16,
        /// The submitter's tag, if the queue can have several jobs at a time.
        tag: Option<u64>,
        /// Status of the completion.
        status: u8,
        /// Bytes of input used, or read from memory.
        consumed: u32,
        /// Bytes of output made, or written to memory.
        produced: u32,
    },
    /// A job or ring access ended unfinished because its queue was disabled, failed or was reset.
    JobDropped {
        /// The queue.
        queue: u16,
    },
    /// A completion is visible to the guest.
    Completed {
        /// The queue.
        queue: u16,
        /// Slot of its entry in the submission ring, if the device tells it.
        slot: Option<u16>,
        /// The submitter's tag, if the queue can have several jobs at a time.
        tag: Option<u64>,
    },
    /// A transaction was terminated.
    DmaAborted {
        /// The queue on whose behalf it was made; `None` for the function's own.
        queue: Option<u16>,
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
    /// The function was reset.
    Reset,
}

/// Called at the named points. Without side effects on the device, and never from inside a borrow
/// of it.
pub trait DeviceProbe {
    /// How long `step` takes, this time.
    fn spend(&self, step: DeviceStep) -> Span;
    /// `step` of this queue is about to begin.
    fn on_step(&self, _step: DeviceStep, _queue: u16) -> StepVerdict {
        StepVerdict::default()
    }
    /// Told what happened.
    fn note(&self, note: &DeviceNote);

    /// An access to memory is about to be issued.
    fn on_dma(&self, _access: &DmaAccess) -> DeviceVerdict {
        DeviceVerdict::default()
    }
    /// It is over, whatever came of it.
    fn dma_ended(&self, _access: &DmaAccess) {}
    /// A mailbox command is about to be performed.
    fn on_mailbox(&self, _command: u8, _queue: u16) -> DeviceVerdict {
        DeviceVerdict::default()
    }
    /// An interrupt is about to be raised. `queue` is that of the first entry of its ring that the driver
    /// has not taken; errors are of no queue.
    fn on_msi(&self, _vector: u16, _queue: Option<u16>) -> DeviceVerdict {
        DeviceVerdict::default()
    }
    /// The guest rings a doorbell, which is about to arrive.
    fn on_doorbell(&self, _doorbell: &DoorbellWrite) -> DeviceVerdict {
        DeviceVerdict::default()
    }
    /// The guest writes a register: offset in its BAR, value. A verdict cannot wait here.
    fn on_register_write(&self, _register: u32, _value: u32) -> DeviceVerdict {
        DeviceVerdict::default()
    }
}

/// Takes no time and keeps no record.
pub struct NoProbe;

impl DeviceProbe for NoProbe {
    fn spend(&self, _step: DeviceStep) -> Span {
        Span::ZERO
    }

    fn note(&self, _note: &DeviceNote) {}
}

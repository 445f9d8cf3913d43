//! Where latencies, the trace, the fault plan and checkers attach to accelerators.

use std::rc::Rc;

use stallbox_devices::dma::Pasid;
use stallbox_devices::function::{DeviceNote, DeviceProbe, DeviceStep};
use stallbox_devices::pcie::RequesterId;
use stallbox_devices::verdict::{DeviceVerdict, DmaAccess, DoorbellWrite, StepVerdict};
use stallbox_faultplan::Point;
use stallbox_timeline::Span;
use stallbox_trace::{Event, Hex, Tracer};

use crate::check::Checkers;
use crate::faults::Faults;
use crate::jobs::JobNote;
use crate::latency::{Latency, Part};

pub(super) struct AcceleratorProbe {
    stream: u32,
    latency: Rc<Latency>,
    tracer: Tracer,
    faults: Rc<Faults>,
    checkers: Rc<Checkers>,
}

impl AcceleratorProbe {
    /// For the accelerator at `requester`.
    pub(super) fn new(
        requester: RequesterId,
        latency: Rc<Latency>,
        tracer: Tracer,
        faults: Rc<Faults>,
        checkers: Rc<Checkers>,
    ) -> AcceleratorProbe {
        AcceleratorProbe {
            stream: requester.0.into(),
            latency,
            tracer,
            faults,
            checkers,
        }
    }
}

impl DeviceProbe for AcceleratorProbe {
    fn spend(&self, step: DeviceStep) -> Span {
        match step {
            DeviceStep::Doorbell => self.latency.draw(Part::Doorbell),
            DeviceStep::DescriptorFetch => self.latency.draw(Part::DescriptorFetch),
            DeviceStep::CompletionWrite => self.latency.draw(Part::CompletionWrite),
            DeviceStep::Compute { bytes } => {
                let kib = self.latency.draw(Part::ComputePerKib).as_ps();
                // A job is at most 8 MiB and a part at most an hour: no overflow in 128 bits.
                let ps = u128::from(kib) * u128::from(bytes) / 1024;
                Span::from_ps(u64::try_from(ps).unwrap_or(u64::MAX))
            }
        }
    }

    fn on_step(&self, step: DeviceStep, queue: u16) -> StepVerdict {
        let point = match step {
            DeviceStep::Doorbell => Point::Doorbell,
            DeviceStep::DescriptorFetch => Point::DescriptorFetch,
            DeviceStep::Compute { .. } => Point::Compute,
            DeviceStep::CompletionWrite => Point::CompletionWrite,
        };
        self.faults.on_device_step(self.stream, point, queue)
    }

    fn on_dma(&self, access: &DmaAccess) -> DeviceVerdict {
        self.faults.on_dma(self.stream, access)
    }

    fn dma_ended(&self, access: &DmaAccess) {
        self.faults.dma_ended(self.stream, access);
    }

    fn on_mailbox(&self, command: u8, queue: u16) -> DeviceVerdict {
        self.faults.on_mailbox(self.stream, command, queue)
    }

    fn on_doorbell(&self, doorbell: &DoorbellWrite) -> DeviceVerdict {
        self.faults.on_doorbell(self.stream, doorbell)
    }

    fn on_msi(&self, vector: u16, queue: Option<u16>) -> DeviceVerdict {
        self.faults.on_msi(self.stream, vector, queue)
    }

    fn on_register_write(&self, register: u32, value: u32) -> DeviceVerdict {
        self.faults.on_register_write(self.stream, register, value)
    }

    fn note(&self, note: &DeviceNote) {
        let stream = self.stream;
        if let Some(job) = JobNote::of(note) {
            self.faults.ledger().job(stream, &job);
            self.checkers.job(stream, &job);
        }
        self.tracer.emit(event(stream, note));
    }
}

/// What the trace says of a note.
fn event(stream: u32, note: &DeviceNote) -> Event {
    let number = |pasid: Option<Pasid>| pasid.map(|pasid| pasid.0);
    match *note {
        DeviceNote::QueueEnabled { queue, pasid } => Event::QueueEnabled {
            stream,
            queue,
            pasid: number(pasid),
        },
        DeviceNote::QueueDisabled { queue } => Event::QueueDisabled { stream, queue },
        DeviceNote::QueueFailed { queue, failure } => Event::QueueFailed {
            stream,
            queue,
            failure,
        },
        DeviceNote::Doorbell { queue, tail } => Event::Doorbell {
            stream,
            queue,
            tail,
        },
        DeviceNote::DoorbellIgnored { queue, index } => Event::DoorbellIgnored {
            stream,
            queue,
            tail: index,
        },
        DeviceNote::Mailbox {
            command,
            queue,
            status,
        } => Event::Mailbox {
            stream,
            command,
            queue,
            status,
        },
        DeviceNote::JobStarted {
            queue,
            pasid,
            tag,
            input,
        } => Event::JobStarted {
            stream,
            queue,
            pasid: number(pasid),
            tag: Hex(tag),
            input_bytes: input,
        },
        DeviceNote::JobDone {
            queue,
            tag,
            status,
            consumed,
            produced,
        } => Event::JobDone {
            stream,
            queue,
            tag: tag.map(Hex),
            status,
            consumed_bytes: consumed,
            produced_bytes: produced,
        },
        DeviceNote::JobDropped { queue } => Event::JobDropped { stream, queue },
        DeviceNote::Completed { queue, slot, tag } => Event::JobCompleted {
            stream,
            queue,
            slot,
            tag: tag.map(Hex),
        },
        DeviceNote::DmaAborted {
            queue,
            pasid,
            address,
            write,
        } => Event::DmaAborted {
            stream,
            queue,
            pasid: number(pasid),
            address: Hex(address),
            write,
        },
        DeviceNote::Msi { vector } => Event::Interrupt { stream, vector },
        DeviceNote::Reset => Event::DeviceReset { stream },
    }
}

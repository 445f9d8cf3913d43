//! Where latencies, the trace, the fault plan and checkers attach to accelerators.

use std::rc::Rc;

use stallbox_devices::function::{DeviceNote, DeviceProbe, DeviceStep};
use stallbox_devices::pcie::RequesterId;
use stallbox_devices::verdict::{DeviceVerdict, DmaAccess, DoorbellWrite, StepVerdict};
use stallbox_faultplan::Point;
use stallbox_timeline::Span;
use stallbox_trace::{Event, Tracer};

use crate::check::Checkers;
use crate::faults::Faults;
use crate::jobs::JobNote;
use crate::latency::{Latency, Part};

/// What the trace says of a note that has no event of its own. The words are part of the trace's
/// hash.
pub(super) type Words = fn(&DeviceNote) -> String;

/// The words of the ZIP.
pub(super) fn zip_words(note: &DeviceNote) -> String {
    match note {
        DeviceNote::Completed {
            queue,
            slot: Some(slot),
            ..
        } => format!("Completed {{ queue: {queue}, slot: {slot} }}"),
        DeviceNote::QueueFailed { queue, .. } => format!("QueueFailed {{ queue: {queue} }}"),
        other => format!("{other:?}"),
    }
}

/// The words of the test engine, where everything is of a queue and jobs have tags.
pub(super) fn test_engine_words(note: &DeviceNote) -> String {
    match note {
        DeviceNote::Completed {
            queue,
            tag: Some(tag),
            ..
        } => format!("Completed {{ queue: {queue}, tag: {tag} }}"),
        DeviceNote::QueueFailed {
            queue,
            failure: Some(failure),
        } => format!("QueueFailed {{ queue: {queue}, failure: {failure} }}"),
        DeviceNote::JobDropped { queue } => format!("Dropped {{ queue: {queue} }}"),
        DeviceNote::DmaAborted {
            queue: Some(queue),
            pasid,
            address,
            write,
        } => format!(
            "DmaAborted {{ queue: {queue}, pasid: {pasid:?}, address: {address}, write: {write} }}"
        ),
        other => format!("{other:?}"),
    }
}

pub(super) struct AcceleratorProbe {
    stream: u32,
    words: Words,
    latency: Rc<Latency>,
    tracer: Tracer,
    faults: Rc<Faults>,
    checkers: Rc<Checkers>,
}

impl AcceleratorProbe {
    /// For the accelerator at `requester`, of which the trace speaks in these words.
    pub(super) fn new(
        requester: RequesterId,
        words: Words,
        latency: Rc<Latency>,
        tracer: Tracer,
        faults: Rc<Faults>,
        checkers: Rc<Checkers>,
    ) -> AcceleratorProbe {
        AcceleratorProbe {
            stream: requester.0.into(),
            words,
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
        self.tracer.emit(match *note {
            DeviceNote::Doorbell { queue, tail } => Event::Doorbell {
                stream,
                queue,
                tail,
            },
            DeviceNote::JobStarted {
                queue,
                pasid,
                input,
                ..
            } => Event::JobStarted {
                stream,
                queue,
                pasid: pasid.map(|pasid| pasid.0),
                input_bytes: input,
            },
            DeviceNote::JobDone {
                queue,
                status,
                consumed,
                produced,
                ..
            } => Event::JobDone {
                stream,
                queue,
                status,
                consumed_bytes: consumed,
                produced_bytes: produced,
            },
            _ => Event::Device {
                stream,
                what: (self.words)(note),
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use stallbox_devices::dma::Pasid;

    use super::*;

    const ABORTED: DeviceNote = DeviceNote::DmaAborted {
        queue: Some(3),
        pasid: Some(Pasid(7)),
        address: 4096,
        write: true,
    };

    #[test]
    fn the_words_of_the_zip_are_those_of_all_its_traces() {
        let words = [
            (
                DeviceNote::Completed {
                    queue: 3,
                    slot: Some(9),
                    tag: None,
                },
                "Completed { queue: 3, slot: 9 }",
            ),
            (
                DeviceNote::QueueFailed {
                    queue: 3,
                    failure: None,
                },
                "QueueFailed { queue: 3 }",
            ),
            (
                DeviceNote::JobDropped { queue: 3 },
                "JobDropped { queue: 3 }",
            ),
            (
                DeviceNote::DoorbellIgnored { queue: 3, index: 5 },
                "DoorbellIgnored { queue: 3, index: 5 }",
            ),
            (
                ABORTED,
                "DmaAborted { queue: Some(3), pasid: Some(Pasid(7)), address: 4096, write: true }",
            ),
            (DeviceNote::Msi { vector: 2 }, "Msi { vector: 2 }"),
            (DeviceNote::Reset, "Reset"),
        ];
        for (note, expected) in words {
            assert_eq!(zip_words(&note), expected);
        }
    }

    #[test]
    fn the_words_of_the_test_engine_are_those_of_all_its_traces() {
        let words = [
            (
                DeviceNote::Completed {
                    queue: 3,
                    slot: None,
                    tag: Some(9),
                },
                "Completed { queue: 3, tag: 9 }",
            ),
            (
                DeviceNote::QueueFailed {
                    queue: 3,
                    failure: Some(2),
                },
                "QueueFailed { queue: 3, failure: 2 }",
            ),
            (DeviceNote::JobDropped { queue: 3 }, "Dropped { queue: 3 }"),
            (
                ABORTED,
                "DmaAborted { queue: 3, pasid: Some(Pasid(7)), address: 4096, write: true }",
            ),
            (
                DeviceNote::QueueEnabled {
                    queue: 3,
                    pasid: None,
                },
                "QueueEnabled { queue: 3, pasid: None }",
            ),
        ];
        for (note, expected) in words {
            assert_eq!(test_engine_words(&note), expected);
        }
    }
}

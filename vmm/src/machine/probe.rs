//! Where latencies and the trace attach to the models.

use std::rc::Rc;

use stallbox_devices::hisi::{DeviceNote, DeviceProbe, DeviceStep};
use stallbox_smmu::{EventType, Note, Probe, Response, Step, Transaction};
use stallbox_timeline::Span;
use stallbox_trace::{Event, FaultKind, Tracer};

use crate::latency::{Latency, Part};

pub(super) struct SmmuProbe {
    latency: Rc<Latency>,
    tracer: Tracer,
}

impl SmmuProbe {
    pub(super) fn new(latency: Rc<Latency>, tracer: Tracer) -> SmmuProbe {
        SmmuProbe { latency, tracer }
    }
}

impl Probe for SmmuProbe {
    fn spend(&self, step: Step, _transaction: Option<&Transaction>) -> Span {
        let part = match step {
            Step::TlbHit => Part::TlbHit,
            Step::WalkStep => Part::WalkStep,
            Step::ConfigFetch => Part::ConfigFetch,
            Step::FaultReport => Part::FaultReport,
            Step::ResumeToRetry => Part::ResumeToRetry,
            Step::Command => Part::Command,
            _ => return Span::ZERO,
        };
        self.latency.draw(part)
    }

    fn note(&self, note: &Note) {
        self.tracer.emit(match note {
            Note::Walk {
                transaction,
                steps,
                found,
            } => Event::Walk {
                stream: transaction.stream.0,
                address: transaction.address,
                steps: *steps,
                found: *found,
            },
            Note::Fault {
                transaction,
                event,
                stalls,
                ..
            } => Event::SmmuFault {
                stream: transaction.stream.0,
                substream: transaction.substream.map(|substream| substream.0),
                address: transaction.address,
                write: transaction.access.write,
                kind: kind(*event),
                stalls: *stalls,
            },
            Note::Stalled { transaction, stag } => Event::Stalled {
                stream: transaction.stream.0,
                substream: transaction.substream.map(|substream| substream.0),
                address: transaction.address,
                stag: *stag,
            },
            Note::EventWritten { words } => Event::EventRecord { words: *words },
            Note::EventDropped { words } => Event::EventDropped { words: *words },
            Note::Resumed {
                stream,
                stag,
                response,
                matched,
            } => Event::Resume {
                stream: stream.0,
                stag: *stag,
                retry: *response == Response::Retry,
                matched: *matched,
            },
            Note::Command { words } => Event::Command { words: *words },
            other => Event::Smmu {
                what: format!("{other:?}"),
            },
        });
    }
}

fn kind(event: Option<EventType>) -> FaultKind {
    match event {
        Some(EventType::Translation) => FaultKind::Translation,
        Some(EventType::AddressSize) => FaultKind::AddressSize,
        Some(EventType::Access) => FaultKind::Access,
        Some(EventType::Permission) => FaultKind::Permission,
        _ => FaultKind::Other,
    }
}

pub(super) struct AcceleratorProbe {
    latency: Rc<Latency>,
    tracer: Tracer,
}

impl AcceleratorProbe {
    pub(super) fn new(latency: Rc<Latency>, tracer: Tracer) -> AcceleratorProbe {
        AcceleratorProbe { latency, tracer }
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

    fn note(&self, note: &DeviceNote) {
        self.tracer.emit(match *note {
            DeviceNote::Doorbell { queue, tail } => Event::Doorbell { queue, tail },
            DeviceNote::JobStarted {
                queue,
                pasid,
                input,
                ..
            } => Event::JobStarted {
                queue,
                pasid: pasid.map(|pasid| pasid.0),
                input_bytes: input,
            },
            DeviceNote::JobDone {
                queue,
                status,
                consumed,
                produced,
            } => Event::JobDone {
                queue,
                status,
                consumed_bytes: consumed,
                produced_bytes: produced,
            },
            ref other => Event::Device {
                what: format!("{other:?}"),
            },
        });
    }
}

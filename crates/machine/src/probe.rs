//! Where latencies, the trace and the fault plan attach to the models.

use std::rc::Rc;

use stallbox_devices::hisi::{DeviceNote, DeviceProbe, DeviceStep};
use stallbox_devices::pcie::RequesterId;
use stallbox_devices::verdict::{DeviceVerdict, DmaAccess, DoorbellWrite, StepVerdict};
use stallbox_faultplan::Point;
use stallbox_smmu::{
    DescriptorRead, EventType, Line, Note, OnCommand, OnInterrupt, OnPageRequest, OnRecord,
    OnTranslation, PageRequest, Probe, Response, Step, StreamId, Transaction, Translation, Verdict,
};
use stallbox_timeline::Span;
use stallbox_trace::{AtcInvalidateStage, Event, FaultKind, Tracer};

use crate::ats;
use crate::check::Checkers;
use crate::faults::Faults;
use crate::jobs::JobNote;
use crate::latency::{Latency, Part};

pub(super) struct SmmuProbe {
    latency: Rc<Latency>,
    tracer: Tracer,
    faults: Rc<Faults>,
    checkers: Rc<Checkers>,
}

impl SmmuProbe {
    pub(super) fn new(
        latency: Rc<Latency>,
        tracer: Tracer,
        faults: Rc<Faults>,
        checkers: Rc<Checkers>,
    ) -> SmmuProbe {
        SmmuProbe {
            latency,
            tracer,
            faults,
            checkers,
        }
    }
}

impl Probe for SmmuProbe {
    fn spend(&self, step: Step, transaction: Option<&Transaction>) -> Span {
        let part = match step {
            Step::TlbHit => Part::TlbHit,
            Step::WalkStep => Part::WalkStep,
            Step::ConfigFetch => Part::ConfigFetch,
            Step::FaultReport => Part::FaultReport,
            Step::ResumeToRetry => Part::ResumeToRetry,
            Step::Command => Part::Command,
            Step::PageRequest => Part::PageRequest,
            Step::PageResponse => Part::PageResponse,
            Step::AtcInvalidate => Part::AtcInvalidate,
            Step::AtcTimeout => Part::AtcTimeout,
            _ => return Span::ZERO,
        };
        self.latency.draw(part) + self.faults.on_step(step, transaction)
    }

    fn on_translation(&self, transaction: &Transaction, stalls: u32) -> Verdict<OnTranslation> {
        self.faults.on_translation(transaction, stalls)
    }

    fn on_record(&self, words: &[u64; 4], stalled: bool) -> Verdict<OnRecord> {
        self.faults.on_record(words, stalled)
    }

    fn on_command(&self, words: &[u64; 2]) -> Verdict<OnCommand> {
        let (verdict, rule) = self.faults.on_command(words);
        let rule = rule.as_ref().map(|rule| rule.name.as_str());
        self.checkers.command_fetched(words, rule, &verdict);
        verdict
    }

    fn on_interrupt(&self, line: Line, stream: Option<StreamId>) -> Verdict<OnInterrupt> {
        self.faults.on_interrupt(line, stream)
    }

    fn descriptor_read(&self, transaction: &Transaction, descriptor: &DescriptorRead) {
        self.checkers.descriptor_read(transaction, descriptor);
    }

    fn translated(&self, transaction: &Transaction, translation: &Translation) {
        self.checkers.translated(transaction, translation);
    }

    fn on_page_request(&self, request: &PageRequest) -> Verdict<OnPageRequest> {
        self.faults.on_page_request(request)
    }

    fn note(&self, note: &Note) {
        self.checkers.noted(note);
        self.faults.ledger().noted(note);
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
            Note::AtsTranslated {
                request,
                completion,
            } => ats::translation_event(request, completion),
            Note::PageRequestQueued { words, .. } => Event::PageRequest { words: *words },
            Note::PageRequestDropped { request, overflow } => Event::PageRequestLost {
                stream: request.stream.0,
                substream: request.substream.map(|substream| substream.0),
                address: request.address,
                index: request.index,
                last: request.last,
                overflow: *overflow,
            },
            Note::PageResponded {
                stream,
                response,
                automatic,
            } => ats::response_event(*stream, response, *automatic),
            Note::AtcInvalidateSent { stream, request } => {
                ats::invalidation_event(*stream, request, AtcInvalidateStage::Sent)
            }
            Note::AtcInvalidateDone {
                stream,
                request,
                late: false,
            } => ats::invalidation_event(*stream, request, AtcInvalidateStage::Done),
            Note::AtcInvalidateDone {
                stream,
                request,
                late: true,
            } => ats::invalidation_event(*stream, request, AtcInvalidateStage::Late),
            Note::AtcTimedOut { stream, request } => {
                ats::invalidation_event(*stream, request, AtcInvalidateStage::TimedOut)
            }
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

    fn on_msi(&self, vector: u8, queue: Option<u16>) -> DeviceVerdict {
        self.faults.on_msi(self.stream, vector.into(), queue)
    }

    fn on_register_write(&self, register: u32, value: u32) -> DeviceVerdict {
        self.faults.on_register_write(self.stream, register, value)
    }

    fn note(&self, note: &DeviceNote) {
        let stream = self.stream;
        if let Some(job) = JobNote::of_zip(note) {
            self.faults.ledger().job(stream, &job);
            self.checkers.job(stream, &job);
        }
        self.tracer.emit(match *note {
            DeviceNote::Doorbell { queue, tail } => Event::Doorbell {
                stream,
                queue,
                tail: tail.into(),
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
            } => Event::JobDone {
                stream,
                queue,
                status,
                consumed_bytes: consumed,
                produced_bytes: produced,
            },
            ref other => Event::Device {
                stream,
                what: format!("{other:?}"),
            },
        });
    }
}

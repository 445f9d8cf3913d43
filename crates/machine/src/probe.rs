//! Where latencies, the trace and the fault plan attach to the SMMU.

use std::rc::Rc;

use stallbox_smmu::{
    DescriptorRead, Line, Note, OnCommand, OnInterrupt, OnPageRequest, OnRecord, OnTranslation,
    PageRequest, Probe, Step, StreamId, SubstreamId, Transaction, Translation, Verdict,
};
use stallbox_timeline::Span;
use stallbox_trace::{AtcInvalidateStage, Event, Hex, Name, Tracer, Word};

use crate::ats;
use crate::check::Checkers;
use crate::faults::Faults;
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
        self.tracer.emit(event(note));
    }
}

fn number(substream: Option<SubstreamId>) -> Option<u32> {
    substream.map(|substream| substream.0)
}

/// What the trace says of a note.
fn event(note: &Note) -> Event {
    match *note {
        Note::Walk {
            transaction,
            steps,
            found,
        } => Event::Walk {
            stream: transaction.stream.0,
            substream: number(transaction.substream),
            address: Hex(transaction.address),
            steps,
            found,
        },
        Note::Fault {
            transaction,
            event,
            stage,
            stalls,
        } => Event::SmmuFault {
            stream: transaction.stream.0,
            substream: number(transaction.substream),
            address: Hex(transaction.address),
            write: transaction.access.write,
            record: event.map(Name),
            fault_stage: stage,
            stalled: stalls,
        },
        Note::StallHeld { transaction } => Event::StallHeld {
            stream: transaction.stream.0,
            substream: number(transaction.substream),
            address: Hex(transaction.address),
            write: transaction.access.write,
        },
        Note::Stalled { transaction, stag } => Event::Stalled {
            stream: transaction.stream.0,
            substream: number(transaction.substream),
            address: Hex(transaction.address),
            stag,
        },
        Note::EventWritten { words } => Event::EventRecord {
            words: words.map(Word),
        },
        Note::EventDropped { words } => Event::EventDropped {
            words: words.map(Word),
        },
        Note::Resumed {
            stream,
            stag,
            response,
            matched,
        } => Event::Resume {
            stream: stream.0,
            stag,
            response: Name(response),
            matched,
        },
        Note::Retried { transaction } => Event::StallRetried {
            stream: transaction.stream.0,
            substream: number(transaction.substream),
            address: Hex(transaction.address),
            write: transaction.access.write,
        },
        Note::Terminated { transaction } => Event::Terminated {
            stream: transaction.stream.0,
            substream: number(transaction.substream),
            address: Hex(transaction.address),
            write: transaction.access.write,
        },
        Note::Command { words } => Event::Command {
            words: words.map(Word),
        },
        Note::CommandError { code } => Event::CommandError { error: code },
        Note::TlbInvalidated { entries } => Event::TlbInvalidated {
            entries: entries.into(),
        },
        Note::ConfigInvalidated { entries } => Event::ConfigInvalidated {
            entries: entries.into(),
        },
        Note::AtsTranslated {
            ref request,
            ref completion,
        } => ats::translation_event(request, completion),
        Note::PageRequestQueued { words, .. } => Event::PageRequest {
            words: words.map(Word),
        },
        Note::PageRequestDropped { request, overflow } => Event::PageRequestLost {
            stream: request.stream.0,
            substream: number(request.substream),
            address: Hex(request.address),
            index: request.index,
            last: request.last,
            overflow,
        },
        Note::PageResponded {
            stream,
            ref response,
            automatic,
        } => ats::response_event(stream, response, automatic),
        Note::AtcInvalidateSent {
            stream,
            ref request,
        } => ats::invalidation_event(stream, request, AtcInvalidateStage::Sent),
        Note::AtcInvalidateDone {
            stream,
            ref request,
            late: false,
        } => ats::invalidation_event(stream, request, AtcInvalidateStage::Done),
        Note::AtcInvalidateDone {
            stream,
            ref request,
            late: true,
        } => ats::invalidation_event(stream, request, AtcInvalidateStage::Late),
        Note::AtcTimedOut {
            stream,
            ref request,
        } => ats::invalidation_event(stream, request, AtcInvalidateStage::TimedOut),
        Note::GlobalError { bits } => Event::GlobalError {
            bits: Hex(bits.into()),
        },
    }
}

//! The SMMU's points.

use std::rc::Rc;

use stallbox_faultplan::{Access, Act, Point, Rule, Stag, Subject};
use stallbox_smmu::{
    Line, OnCommand, OnInterrupt, OnPageRequest, OnRecord, OnTranslation, PageRequest, Step,
    StreamId, Transaction, Verdict,
};
use stallbox_timeline::Span;
use stallbox_trace::{Event, Hex};

use super::{Faults, words};

pub(crate) fn subject(point: Point, transaction: &Transaction) -> Subject<'static> {
    let access = match (transaction.access.write, transaction.access.instruction) {
        (true, _) => Access::Write,
        (false, true) => Access::Execute,
        (false, false) => Access::Read,
    };
    Subject {
        stream: Some(transaction.stream.0),
        pasid: transaction.substream.map(|substream| substream.0),
        address: Some((transaction.address, transaction.address)),
        access: Some(access),
        ..Subject::at(point)
    }
}

impl Faults {
    /// How much longer a step takes.
    pub(crate) fn on_step(self: &Rc<Self>, step: Step, transaction: Option<&Transaction>) -> Span {
        let point = match step {
            Step::TlbHit => Point::TlbHit,
            Step::WalkStep => Point::WalkStep,
            Step::ConfigFetch => Point::ConfigFetch,
            Step::FaultReport => Point::FaultReport,
            Step::ResumeToRetry => Point::ResumeToRetry,
            Step::PageResponse => Point::PageResponse,
            Step::AtcInvalidate => Point::AtcInvalidate,
            // A page request has a point of its own too.
            // A command has a point of its own, where it is known which.
            _ => return Span::ZERO,
        };
        match transaction {
            Some(transaction) => self.delay(&subject(point, transaction)),
            None => Span::ZERO,
        }
    }

    pub(crate) fn on_translation(
        self: &Rc<Self>,
        transaction: &Transaction,
        stalls: u32,
    ) -> Verdict<OnTranslation> {
        self.watch_for_loop(transaction, stalls);
        let (queue, ring) = self.purpose(transaction);
        let subject = Subject {
            stalls,
            queue,
            ring,
            ..subject(Point::Translation, transaction)
        };
        let Some(taken) = self.ask(&subject) else {
            return Verdict::default();
        };
        let act = match taken.rule.act {
            Act::Fault(fault) => OnTranslation::Fault(fault),
            Act::Abort => OnTranslation::Abort,
            Act::Evict => OnTranslation::Evict,
            _ => OnTranslation::Go,
        };
        Verdict {
            wait: self.wait(&taken),
            act,
        }
    }

    pub(crate) fn on_record(
        self: &Rc<Self>,
        record: &[u64; 4],
        stalled: bool,
    ) -> Verdict<OnRecord> {
        let Some(taken) = self.ask(&words::record(record, stalled)) else {
            return Verdict::default();
        };
        let act = match &taken.rule.act {
            Act::Drop => OnRecord::Drop,
            Act::Duplicate(more) => OnRecord::Repeat(*more),
            Act::OvertakenBy(others) => OnRecord::After(*others),
            Act::Overflow => OnRecord::Overflow,
            Act::Replace(words) => {
                <[u64; 4]>::try_from(words.as_slice()).map_or(OnRecord::Go, OnRecord::Instead)
            }
            _ => OnRecord::Go,
        };
        Verdict {
            wait: self.wait(&taken),
            act,
        }
    }

    /// What becomes of a command, and the rule that says so.
    pub(crate) fn on_command(
        self: &Rc<Self>,
        command: &[u64; 2],
    ) -> (Verdict<OnCommand>, Option<Rc<Rule>>) {
        let taken = self.ask(&words::command(command));
        let stale = self.follow_resume(command);
        let Some(taken) = taken else {
            return (Verdict::default(), None);
        };
        let act = match &taken.rule.act {
            Act::Drop => OnCommand::Skip,
            Act::Replace(words) => {
                <[u64; 2]>::try_from(words.as_slice()).map_or(OnCommand::Go, OnCommand::Instead)
            }
            Act::Error(code) => OnCommand::Error(*code),
            Act::Resume { stag, retry } => {
                let tag = match stag {
                    None => words::resume_tag(command),
                    Some(Stag::Fixed(tag)) => *tag,
                    Some(Stag::Next) => words::resume_tag(command).wrapping_add(1),
                    // The first answer of a stream has none before it; its own is no longer stale
                    // than that.
                    Some(Stag::Stale) => stale.unwrap_or(words::resume_tag(command)),
                };
                OnCommand::Instead(words::resume(command, tag, *retry))
            }
            _ => OnCommand::Go,
        };
        let verdict = Verdict {
            wait: self.wait(&taken),
            act,
        };
        (verdict, Some(taken.rule))
    }

    /// Keeps the tag of a CMD_RESUME; that of the one before it, of the same stream.
    fn follow_resume(&self, command: &[u64; 2]) -> Option<u16> {
        if command[0] & 0xff != words::CMD_RESUME {
            return None;
        }
        let stream = StreamId((command[0] >> 32) as u32);
        let tag = words::resume_tag(command);
        let mut last = self.last_resume.borrow_mut();
        // A guest can name any stream; a table for all of them is not worth having.
        if last.len() >= 4096 && !last.contains_key(&stream) {
            return None;
        }
        last.insert(stream, tag)
    }

    pub(crate) fn on_interrupt(
        self: &Rc<Self>,
        line: Line,
        stream: Option<StreamId>,
    ) -> Verdict<OnInterrupt> {
        let subject = Subject {
            stream: stream.map(|stream| stream.0),
            code: Some(match line {
                Line::EventQueue => 0,
                Line::PageRequestQueue => 1,
                Line::CommandSync => 2,
                Line::GlobalError => 3,
            }),
            ..Subject::at(Point::Interrupt)
        };
        let Some(taken) = self.ask(&subject) else {
            return Verdict::default();
        };
        let act = match taken.rule.act {
            Act::Drop => OnInterrupt::Drop,
            _ => OnInterrupt::Go,
        };
        Verdict {
            wait: self.wait(&taken),
            act,
        }
    }

    pub(crate) fn on_page_request(
        self: &Rc<Self>,
        request: &PageRequest,
    ) -> Verdict<OnPageRequest> {
        let page = request.address & !0xfff;
        let taken = self.ask(&Subject {
            stream: Some(request.stream.0),
            pasid: request.substream.map(|substream| substream.0),
            address: Some((page, page | 0xfff)),
            access: Some(match (request.write, request.execute) {
                (true, _) => Access::Write,
                (false, true) => Access::Execute,
                (false, false) => Access::Read,
            }),
            ..Subject::at(Point::PageRequest)
        });
        let Some(taken) = taken else {
            return Verdict::default();
        };
        let act = match taken.rule.act {
            Act::Drop => OnPageRequest::Lose,
            Act::Overflow => OnPageRequest::Overflow,
            Act::Answer(answer) => OnPageRequest::Answer(answer),
            _ => OnPageRequest::Go,
        };
        Verdict {
            wait: self.wait(&taken),
            act,
        }
    }

    /// Names a transaction that stalls without end.
    fn watch_for_loop(&self, transaction: &Transaction, stalls: u32) {
        if self.fault_loop != Some(stalls.into()) {
            return;
        }
        self.loops.set(self.loops.get() + 1);
        self.tracer.emit(Event::FaultLoop {
            stream: transaction.stream.0,
            pasid: transaction.substream.map(|substream| substream.0),
            address: Hex(transaction.address),
            stalls,
        });
    }
}

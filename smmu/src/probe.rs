//! The named points at which the model can be slowed down, watched and told otherwise.

use std::cell::RefCell;
use std::rc::Rc;

use stallbox_timeline::Span;

use crate::messages::{
    AtsCompletion, InvalidateRequest, PageRequest, PageResponse, TranslationRequest,
};
use crate::spec::event::EventType;
use crate::spec::pte::Descriptor;
use crate::system::Line;
use crate::transaction::{StreamId, Transaction, Translation};
use crate::verdict::{OnCommand, OnInterrupt, OnPageRequest, OnRecord, OnTranslation, Verdict};

/// A part of the SMMU's work that can be given a latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// A translation found in the TLB.
    TlbHit,
    /// One access to a translation table.
    WalkStep,
    /// One access to a stream table or a context descriptor table.
    ConfigFetch,
    /// From the detection of a fault to its record in the event queue.
    FaultReport,
    /// From the consumption of a RESUME that asks for a retry to that retry.
    ResumeToRetry,
    /// The fetch and execution of one command.
    Command,
    /// From the arrival of a page request to its entry in the queue.
    PageRequest,
    /// From the consumption of a CMD_PRI_RESP, or from an automatic response, to its arrival at the
    /// endpoint.
    PageResponse,
    /// From the consumption of a CMD_ATC_INV to its arrival at the endpoint.
    AtcInvalidate,
    /// How long the completion of an invalidation may take, from the consumption of its command.
    /// Zero is for ever.
    AtcTimeout,
}

impl Step {
    /// All steps, in the order of their declaration.
    pub const ALL: [Step; 10] = [
        Step::TlbHit,
        Step::WalkStep,
        Step::ConfigFetch,
        Step::FaultReport,
        Step::ResumeToRetry,
        Step::Command,
        Step::PageRequest,
        Step::PageResponse,
        Step::AtcInvalidate,
        Step::AtcTimeout,
    ];

    /// The name by which configuration and traces know the step.
    pub const fn name(self) -> &'static str {
        match self {
            Step::TlbHit => "tlb_hit",
            Step::WalkStep => "walk_step",
            Step::ConfigFetch => "config_fetch",
            Step::FaultReport => "fault_report",
            Step::ResumeToRetry => "resume_to_retry",
            Step::Command => "command",
            Step::PageRequest => "page_request",
            Step::PageResponse => "page_response",
            Step::AtcInvalidate => "atc_invalidate",
            Step::AtcTimeout => "atc_timeout",
        }
    }
}

/// Software's answer to a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Response {
    /// Translate again, as if the transaction had just arrived.
    Retry,
    /// Abort the transaction.
    Abort,
    /// End the transaction as if it had been done: a write is ignored, a read gives zeros.
    RazWi,
}

impl Response {
    /// All of them.
    pub const ALL: [Response; 3] = [Response::Retry, Response::Abort, Response::RazWi];

    /// The name by which traces know it.
    pub const fn name(self) -> &'static str {
        match self {
            Response::Retry => "retry",
            Response::Abort => "abort",
            Response::RazWi => "raz_wi",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A translation table walk ended; `steps` descriptors were read.
    Walk {
        /// For which transaction.
        transaction: Transaction,
        /// Descriptors read.
        steps: u32,
        /// Whether it found a translation that permits the access.
        found: bool,
    },
    /// A transaction cannot be translated.
    Fault {
        /// Which transaction.
        transaction: Transaction,
        /// How it failed; `None` for an abort that has no event.
        event: Option<EventType>,
        /// The translation stage at fault: 1, or 0 for configuration.
        stage: u8,
        /// Whether it waits for software.
        stalls: bool,
    },
    /// A stalled transaction has to wait with its report: the event queue takes no record now, or
    /// as many stalls as can be are unanswered.
    StallHeld {
        /// Which transaction.
        transaction: Transaction,
    },
    /// A stalled transaction was given a tag, and its record follows.
    Stalled {
        /// Which transaction.
        transaction: Transaction,
        /// The tag by which software answers.
        stag: u16,
    },
    /// A record was written to the event queue.
    EventWritten {
        /// The record.
        words: [u64; 4],
    },
    /// A record was lost: the queue is disabled or full, or refused the write.
    EventDropped {
        /// The record.
        words: [u64; 4],
    },
    /// A RESUME was consumed.
    Resumed {
        /// The stream it names.
        stream: StreamId,
        /// The tag it names.
        stag: u16,
        /// What it asks for.
        response: Response,
        /// Whether such a stall was waiting.
        matched: bool,
    },
    /// A stalled transaction is about to be translated again.
    Retried {
        /// Which transaction.
        transaction: Transaction,
    },
    /// A transaction was aborted.
    Terminated {
        /// Which transaction.
        transaction: Transaction,
    },
    /// A command is about to be executed.
    Command {
        /// The command.
        words: [u64; 2],
    },
    /// The command queue stopped at a command.
    CommandError {
        /// CMDQ_CONS.ERR.
        code: u8,
    },
    /// Translations were invalidated.
    TlbInvalidated {
        /// How many the TLB held.
        entries: u32,
    },
    /// Configuration was invalidated.
    ConfigInvalidated {
        /// How many structures were cached.
        entries: u32,
    },
    /// An ATS translation request was answered.
    AtsTranslated {
        /// What was asked.
        request: TranslationRequest,
        /// The answer.
        completion: AtsCompletion,
    },
    /// A page request was written to its queue.
    PageRequestQueued {
        /// The request.
        request: PageRequest,
        /// The entry.
        words: [u64; 2],
    },
    /// A page request did not get into its queue; if it gets an automatic response, that follows.
    PageRequestDropped {
        /// The request.
        request: PageRequest,
        /// The queue is full or its overflow is not acknowledged; otherwise it is disabled or broken.
        overflow: bool,
    },
    /// A response to page requests was sent.
    PageResponded {
        /// To whom.
        stream: StreamId,
        /// The response.
        response: PageResponse,
        /// Not by software.
        automatic: bool,
    },
    /// An invalidation was sent to an endpoint's address translation cache.
    AtcInvalidateSent {
        /// To whom.
        stream: StreamId,
        /// Of what.
        request: InvalidateRequest,
    },
    /// An endpoint completed an invalidation.
    AtcInvalidateDone {
        /// Who.
        stream: StreamId,
        /// Of what.
        request: InvalidateRequest,
        /// It took too long: CMD_SYNC no longer waits for it.
        late: bool,
    },
    /// An invalidation was not completed in time.
    AtcTimedOut {
        /// By whom.
        stream: StreamId,
        /// Of what.
        request: InvalidateRequest,
    },
    /// Errors became active in GERROR.
    GlobalError {
        /// Their bits.
        bits: u32,
    },
}

/// A descriptor of a translation table, as a walk read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorRead {
    /// Whose tables it is in: 1 or 2.
    pub stage: u8,
    /// -1 to 3.
    pub level: i32,
    /// Its physical address.
    pub at: u64,
    /// What it says.
    pub raw: u64,
}

impl DescriptorRead {
    /// Whether it is a page's or a block's, if it is valid; else, or if not, another table's.
    pub const fn is_leaf(&self) -> bool {
        self.level == 3 || !Descriptor(self.raw).table_or_page()
    }
}

/// What latencies, traces and checkers attach to.
pub trait Probe {
    /// The virtual time that `step` takes. [`Span::ZERO`] costs nothing, not even a wait.
    fn spend(&self, step: Step, transaction: Option<&Transaction>) -> Span;

    /// Something happened. A translation that succeeds in the TLB is not noted.
    fn note(&self, note: &Note);

    /// An attempt at a translation begins: the first, or one after a stall was answered with a
    /// retry; `stalls` says after how many. Asked where [`Points::TRANSLATION`] is watched.
    ///
    /// [`Points::TRANSLATION`]: crate::Points::TRANSLATION
    fn on_translation(&self, _transaction: &Transaction, _stalls: u32) -> Verdict<OnTranslation> {
        Verdict::default()
    }

    /// An event record is about to be written; `stalled` if a transaction waits for its answer.
    /// Not asked again for what a verdict made of a record. Asked where
    /// [`Points::RECORD`](crate::Points::RECORD) is watched.
    fn on_record(&self, _words: &[u64; 4], _stalled: bool) -> Verdict<OnRecord> {
        Verdict::default()
    }

    /// A command was fetched and is about to be executed. Asked where
    /// [`Points::COMMAND`](crate::Points::COMMAND) is watched.
    fn on_command(&self, _words: &[u64; 2]) -> Verdict<OnCommand> {
        Verdict::default()
    }

    /// An interrupt is about to be sent; `stream` is that of the record or page request that it tells
    /// of, if it is of one. Asked where [`Points::INTERRUPT`](crate::Points::INTERRUPT) is watched.
    fn on_interrupt(&self, _line: Line, _stream: Option<StreamId>) -> Verdict<OnInterrupt> {
        Verdict::default()
    }

    /// A page request arrived, before the time that its way into the queue takes. Asked where
    /// [`Points::PAGE_REQUEST`](crate::Points::PAGE_REQUEST) is watched.
    fn on_page_request(&self, _request: &PageRequest) -> Verdict<OnPageRequest> {
        Verdict::default()
    }

    /// A walk for `transaction` read a descriptor, of either stage. Told where
    /// [`Points::DESCRIPTOR`](crate::Points::DESCRIPTOR) is watched.
    fn descriptor_read(&self, _transaction: &Transaction, _descriptor: &DescriptorRead) {}

    /// Whoever asked gets this translation, and uses it at once. Told where
    /// [`Points::TRANSLATED`](crate::Points::TRANSLATED) is watched.
    fn translated(&self, _transaction: &Transaction, _translation: &Translation) {}
}

/// No latency, nobody watching.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn spend(&self, _step: Step, _transaction: Option<&Transaction>) -> Span {
        Span::ZERO
    }

    fn note(&self, _note: &Note) {}
}

/// Two probes may want to listen: a reference to one is one.
impl<P: Probe + ?Sized> Probe for Rc<P> {
    fn spend(&self, step: Step, transaction: Option<&Transaction>) -> Span {
        (**self).spend(step, transaction)
    }

    fn note(&self, note: &Note) {
        (**self).note(note);
    }

    fn on_translation(&self, transaction: &Transaction, stalls: u32) -> Verdict<OnTranslation> {
        (**self).on_translation(transaction, stalls)
    }

    fn on_record(&self, words: &[u64; 4], stalled: bool) -> Verdict<OnRecord> {
        (**self).on_record(words, stalled)
    }

    fn on_command(&self, words: &[u64; 2]) -> Verdict<OnCommand> {
        (**self).on_command(words)
    }

    fn on_interrupt(&self, line: Line, stream: Option<StreamId>) -> Verdict<OnInterrupt> {
        (**self).on_interrupt(line, stream)
    }

    fn on_page_request(&self, request: &PageRequest) -> Verdict<OnPageRequest> {
        (**self).on_page_request(request)
    }

    fn descriptor_read(&self, transaction: &Transaction, descriptor: &DescriptorRead) {
        (**self).descriptor_read(transaction, descriptor);
    }

    fn translated(&self, transaction: &Transaction, translation: &Translation) {
        (**self).translated(transaction, translation);
    }
}

/// A list of notes is a probe without latency.
impl Probe for RefCell<Vec<Note>> {
    fn spend(&self, _step: Step, _transaction: Option<&Transaction>) -> Span {
        Span::ZERO
    }

    fn note(&self, note: &Note) {
        self.borrow_mut().push(note.clone());
    }
}

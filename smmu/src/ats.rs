//! Address Translation Services: what endpoints ask for and present translated, and the
//! invalidation of what they keep.
//!
//! IHI 0070, *PCIe ATS*, *ATS Translation Requests*, *ATS Translated transactions*, *CMD_ATC_INV*;
//! PCI Express Base Specification, *Address Translation Services*.
//!
//! A translation request never stalls and, configuration errors apart, is never recorded: a page
//! that is not there is the answer that it permits nothing. One request asks for one translation.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use stallbox_timeline::{EventId, Span};

use crate::config::Stream;
use crate::features::Config;
use crate::pri::{PageRequest, PageResponse};
use crate::probe::{Note, Step};
use crate::smmu::{Inner, Smmu, bump};
use crate::spec::command::Raw;
use crate::spec::event::{self, Class, EventType, Fault, FaultType, Place};
use crate::spec::low_mask;
use crate::spec::regs::{cr0, cr2};
use crate::spec::ste::Ste;
use crate::transaction::{Aborted, Access, StreamId, SubstreamId, Transaction, Translation};
use crate::translate::{Asked, Attempt, PAGE_LOG2, RESTARTS_MAX, Refusal};

/// What the SMMU sends to endpoints. The root complex routes it by StreamID.
///
/// No state of the SMMU is borrowed during a call.
pub trait Endpoints {
    /// An Invalidate Request. Whoever gets it calls [`InvalidateCompletion::done`] when nothing
    /// uses the translations any more; for a stream that no endpoint has, at once.
    fn invalidate(
        &self,
        stream: StreamId,
        request: InvalidateRequest,
        completion: InvalidateCompletion,
    );
    /// A PRG Response Message.
    fn page_response(&self, stream: StreamId, response: PageResponse);
}

/// A translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslationRequest {
    /// Who asks.
    pub stream: StreamId,
    /// For which address space (the PASID prefix).
    pub substream: Option<SubstreamId>,
    /// An address in the page.
    pub address: u64,
    /// Write permission is asked for, and may mark the page dirty. False is the No Write flag.
    pub write: bool,
    /// Execute Requested. Nothing without a SubstreamID.
    pub execute: bool,
    /// Privileged Mode Requested. Nothing without a SubstreamID.
    pub privileged: bool,
}

/// A range of addresses that an endpoint may access untranslated by the SMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtsRange {
    /// The physical address of the request's page, or where nothing is permitted, 0. It is that of
    /// the address in the request, not of the start of the range.
    pub address: u64,
    /// Size of the range, as a power of two of bytes: it is the naturally aligned one that the
    /// address in the request is in.
    pub size_log2: u8,
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
    /// Execution is permitted; only if it was asked for.
    pub execute: bool,
    /// The permissions are for privileged accesses: as in the request.
    pub privileged: bool,
    /// The translation holds in every address space. Never set here.
    pub global: bool,
    /// Accesses must be untranslated. Never set here.
    pub untranslated_only: bool,
}

/// The answer to a translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtsCompletion {
    /// A translation, perhaps one that permits nothing: then a page request may help.
    Success(AtsRange),
    /// Unsupported Request: ATS is off for the stream.
    UnsupportedRequest,
    /// Completer Abort: the stream's configuration is at fault, or memory.
    CompleterAbort,
}

/// An Invalidate Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidateRequest {
    /// Of which address space; `None` is what was asked for without a PASID.
    pub substream: Option<SubstreamId>,
    /// First address, aligned to the size.
    pub address: u64,
    /// Size of the range as a power of two of bytes, 12 to 64; 64 is everything.
    pub size_log2: u8,
    /// Of every address space, whatever `substream` says.
    pub global: bool,
}

impl InvalidateRequest {
    /// A CMD_ATC_INV; `None` if its Size is a reserved one.
    pub(crate) fn parse(raw: &Raw) -> Option<InvalidateRequest> {
        let size = raw.atc_size();
        if size > 52 {
            return None;
        }
        let size_log2 = 12 + size;
        Some(InvalidateRequest {
            substream: raw.ssv().then(|| SubstreamId(raw.ssid())),
            address: raw.atc_address() & !low_mask(size_log2),
            size_log2: size_log2 as u8,
            global: raw.ssv() && raw.atc_global(),
        })
    }

    /// Whether any of the `size` bytes at `address` is in the range.
    pub fn covers(&self, address: u64, size: u64) -> bool {
        let last = address.saturating_add(size.max(1) - 1);
        address <= self.address | low_mask(self.size_log2.into()) && last >= self.address
    }
}

/// The way in which an endpoint tells that an invalidation is complete. Dropped, it never is.
#[must_use = "CMD_SYNC waits for the completion"]
pub struct InvalidateCompletion {
    smmu: Weak<Inner>,
    id: u64,
    stream: StreamId,
    request: InvalidateRequest,
}

impl InvalidateCompletion {
    /// No access will use what was invalidated.
    pub fn done(self) {
        if let Some(inner) = self.smmu.upgrade() {
            Smmu(inner).atc_invalidated(self.id, self.stream, self.request);
        }
    }
}

/// What a stream table entry says about ATS and PRI, whatever else it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PcieRules {
    /// EATS: translation requests and translated transactions are accepted, and are full ones.
    pub(crate) ats: bool,
    /// PPAR: automatic page responses carry a PASID.
    pub(crate) pasid_on_response: bool,
}

impl PcieRules {
    pub(crate) fn parse(ste: &Ste) -> PcieRules {
        PcieRules {
            // 3 needs DPT, which is not there, and acts as 0; 2 is illegal without stage 2.
            ats: ste.eats() == 1,
            pasid_on_response: ste.ppar(),
        }
    }
}

/// Whether EATS makes an entry that translates illegal: *Validity of STE*. Split-stage ATS needs
/// nested translation, and SMMU_IDR0.NS1ATS says that it is not there.
pub(crate) fn is_illegal(ste: &Ste, stage2: bool, features: &Config) -> bool {
    features.ats
        && match ste.eats() {
            0 => false,
            2 => true,
            // A page request takes the place of a stall.
            _ => stage2 && ste.s2_s(),
        }
}

/// Outstanding invalidations of one function, which has 32 tags for them (ITag).
const TAGS: usize = 32;
/// Outstanding invalidations of all.
const OUTSTANDING_MAX: usize = 1024;

/// Invalidations under way.
#[derive(Default)]
pub(crate) struct Ats {
    outstanding: RefCell<BTreeMap<u64, Outstanding>>,
    next: Cell<u64>,
    /// One was given up, and no CMD_SYNC has said so.
    timed_out: Cell<bool>,
    /// The command at the head of the queue waits.
    held: Cell<bool>,
}

struct Outstanding {
    stream: StreamId,
    timeout: Option<EventId>,
}

impl Ats {
    /// Holds the queue at a CMD_SYNC while it has something to wait for.
    pub(crate) fn holds_sync(&self) -> bool {
        let waits = !self.timed_out.get() && !self.outstanding.borrow().is_empty();
        self.held.set(waits);
        waits
    }

    /// Whether an invalidation was given up that no CMD_SYNC has told of. This one does.
    pub(crate) fn take_timeout(&self) -> bool {
        self.timed_out.take()
    }

    /// Holds the queue at a CMD_ATC_INV for `stream` while that has no tag for it.
    pub(crate) fn has_no_room(&self, stream: StreamId) -> bool {
        let outstanding = self.outstanding.borrow();
        let own = outstanding.values().filter(|one| one.stream == stream);
        let waits = outstanding.len() >= OUTSTANDING_MAX || own.count() >= TAGS;
        self.held.set(waits);
        waits
    }

    pub(crate) fn holds_commands(&self) -> bool {
        self.held.get()
    }

    /// Says whether they were held.
    pub(crate) fn let_commands_go(&self) -> bool {
        self.held.take()
    }
}

impl Smmu {
    /// Says where invalidations and page responses go. Without endpoints invalidations are complete
    /// at once, and responses are lost.
    pub fn connect(&self, endpoints: Rc<dyn Endpoints>) {
        *self.0.endpoints.borrow_mut() = Some(endpoints);
    }

    /// Answers a translation request. It takes the time of configuration fetches and table walks,
    /// and never waits for software.
    pub async fn translation_request(&self, request: TranslationRequest) -> AtsCompletion {
        let inner = &*self.0;
        bump(&inner.counts.ats_requests);
        let completion = inner.translation_request(&request).await;
        if !matches!(completion, AtsCompletion::Success(_)) {
            bump(&inner.counts.ats_refused);
        }
        inner.note(&Note::AtsTranslated {
            request,
            completion,
        });
        completion
    }

    /// Checks a translated transaction, the address of which is physical: CR0.ATSCHK.
    pub async fn translated(&self, transaction: Transaction) -> Result<Translation, Aborted> {
        let inner = &*self.0;
        let outcome = inner.translated(&transaction).await;
        if outcome.is_err() {
            bump(&inner.counts.aborts);
            inner.note(&Note::Terminated { transaction });
        }
        outcome
    }

    fn atc_invalidated(&self, id: u64, stream: StreamId, request: InvalidateRequest) {
        let inner = &self.0;
        let outstanding = inner.ats.outstanding.borrow_mut().remove(&id);
        let late = outstanding.is_none();
        if let Some(timeout) = outstanding.and_then(|outstanding| outstanding.timeout) {
            inner.timeline.cancel(timeout);
        }
        inner.note(&Note::AtcInvalidateDone {
            stream,
            request,
            late,
        });
        if inner.ats.let_commands_go() {
            self.run_commands();
        }
    }

    fn atc_timed_out(&self, id: u64, stream: StreamId, request: InvalidateRequest) {
        let inner = &self.0;
        if inner.ats.outstanding.borrow_mut().remove(&id).is_none() {
            return;
        }
        bump(&inner.counts.atc_timeouts);
        inner.ats.timed_out.set(true);
        inner.note(&Note::AtcTimedOut { stream, request });
        if inner.ats.let_commands_go() {
            self.run_commands();
        }
    }
}

/// Why a translation request or translated transaction fails before any translation.
enum Unfit {
    /// ATS is off, or everything is aborted.
    Forbidden { recorded: bool },
    /// The configuration is at fault.
    Bad(Refusal),
}

impl Inner {
    /// CMD_ATC_INV.
    pub(crate) fn invalidate_atc(&self, stream: StreamId, request: InvalidateRequest) {
        // *CMD_ATC_INV* is ignored while the SMMU is disabled.
        if !self.regs.enabled(cr0::SMMUEN) {
            return;
        }
        bump(&self.counts.atc_invalidations);
        self.note(&Note::AtcInvalidateSent { stream, request });
        let Some(endpoints) = self.endpoints.borrow().clone() else {
            return;
        };
        let id = self.ats.next.get();
        self.ats.next.set(id + 1);
        let timeout = match self.probe.spend(Step::AtcTimeout, None) {
            Span::ZERO => None,
            span => {
                let smmu = Smmu(self.owned());
                let give_up = move || smmu.atc_timed_out(id, stream, request);
                Some(self.timeline.after(span, give_up))
            }
        };
        let outstanding = Outstanding { stream, timeout };
        self.ats.outstanding.borrow_mut().insert(id, outstanding);
        let completion = InvalidateCompletion {
            smmu: Rc::downgrade(&self.owned()),
            id,
            stream,
            request,
        };
        let named = Transaction {
            stream,
            substream: request.substream,
            address: request.address,
            access: Access::READ,
        };
        match self.probe.spend(Step::AtcInvalidate, Some(&named)) {
            Span::ZERO => endpoints.invalidate(stream, request, completion),
            span => {
                self.timeline.after(span, move || {
                    endpoints.invalidate(stream, request, completion);
                });
            }
        }
    }

    fn records_ats(&self) -> bool {
        self.regs.cr2.get() & cr2::REC_CFG_ATS != 0
    }

    /// The transaction's stream and what it says about ATS, from the caches or from memory.
    async fn fetch_rules(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
        epoch: u64,
    ) -> Result<(Rc<Stream>, PcieRules), Refusal> {
        let sid = transaction.stream.0;
        let cached = || {
            let config = &self.caches.borrow().config;
            Some((config.stream(sid)?.clone(), config.pcie(sid)?))
        };
        if let Some(cached) = cached() {
            return Ok(cached);
        }
        let steps = Cell::new(0);
        let asked = Asked {
            attempt,
            epoch,
            steps: &steps,
        };
        let stream = self.fetch_stream(transaction, asked).await?;
        // It was kept, unless something was invalidated meanwhile; then the caller starts over.
        let rules = cached().map_or(
            PcieRules {
                ats: false,
                pasid_on_response: false,
            },
            |(_, rules)| rules,
        );
        Ok((stream, rules))
    }

    /// Whether the stream takes part in ATS: the table of *ATS Translation Requests*.
    async fn check_ats(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
        epoch: u64,
    ) -> Result<Rc<Stream>, Unfit> {
        if !self.features.ats {
            // The events that would tell of it come with ATS.
            return Err(Unfit::Forbidden { recorded: false });
        }
        if !self.regs.enabled(cr0::SMMUEN) {
            return Err(Unfit::Forbidden { recorded: true });
        }
        let rules = self.fetch_rules(transaction, attempt, epoch).await;
        let (stream, rules) = rules.map_err(Unfit::Bad)?;
        match &*stream {
            Stream::Bad => Err(Unfit::Bad(Refusal::identity(
                EventType::BadSte,
                transaction,
            ))),
            Stream::Abort => Err(Unfit::Forbidden { recorded: false }),
            // EATS does not count where nothing is translated.
            Stream::Bypass(_) => Err(Unfit::Forbidden { recorded: true }),
            Stream::Translate(_) if !rules.ats => Err(Unfit::Forbidden { recorded: true }),
            Stream::Translate(_) => Ok(stream),
        }
    }

    async fn translation_request(&self, request: &TranslationRequest) -> AtsCompletion {
        let with_pasid = request.substream.is_some();
        let mut transaction = Transaction {
            stream: request.stream,
            substream: request.substream,
            address: request.address & !low_mask(PAGE_LOG2.into()),
            access: Access {
                write: request.write,
                privileged: request.privileged && with_pasid,
                instruction: request.execute && with_pasid,
            },
        };
        let asked = transaction.access;
        let Ok(told) = self.asked(&transaction, Attempt::default(), 0).await else {
            return AtsCompletion::CompleterAbort;
        };
        let mut restarts = 0;
        loop {
            let epoch = self.epoch.get();
            let attempt = told.with(Attempt::AT_ONCE, restarts >= RESTARTS_MAX);
            transaction.access = asked;
            let answer = self
                .answer_translation(&mut transaction, attempt, epoch)
                .await;
            if self.epoch.get() != epoch {
                restarts += 1;
                continue;
            }
            transaction.access = asked;
            return match answer {
                Ok(range) => AtsCompletion::Success(range),
                Err(Unfit::Forbidden { recorded }) => {
                    if recorded {
                        self.write_event(event::bad_translation_request(&transaction, 1));
                    }
                    AtsCompletion::UnsupportedRequest
                }
                Err(Unfit::Bad(refusal)) => {
                    if let Refusal::Recorded(_, words) = refusal
                        && self.records_ats()
                    {
                        self.write_event(words);
                    }
                    AtsCompletion::CompleterAbort
                }
            };
        }
    }

    /// One attempt at a translation request.
    async fn answer_translation(
        &self,
        transaction: &mut Transaction,
        attempt: Attempt,
        epoch: u64,
    ) -> Result<AtsRange, Unfit> {
        self.check_ats(transaction, attempt, epoch).await?;
        let asked = transaction.access;
        let mut range = AtsRange {
            address: 0,
            size_log2: PAGE_LOG2,
            read: false,
            write: false,
            execute: false,
            privileged: asked.privileged,
            global: false,
            untranslated_only: false,
        };
        // The first costs time; what the others need is in the TLB then. Writing comes first, since
        // a page that may be written may mostly be read, and for execution it must be.
        let mut attempt = attempt;
        for (wanted, write, instruction) in [
            (asked.write, true, false),
            (true, false, false),
            (asked.instruction, false, true),
        ] {
            if !wanted || (instruction && !range.read) {
                continue;
            }
            transaction.access = Access {
                write,
                instruction,
                ..asked
            };
            match self.attempt(transaction, attempt).await {
                Ok(found) => {
                    range.address = found.address;
                    range.size_log2 = found.size_log2;
                    match (write, instruction) {
                        (true, _) => range.write = true,
                        (_, true) => range.execute = true,
                        _ => range.read = true,
                    }
                }
                // The page itself, as the last stage has it, and not something on the way to it.
                Err(Refusal::Fault {
                    fault:
                        Fault {
                            kind: FaultType::Permission,
                            place:
                                Place::Stage1
                                | Place::Stage2 {
                                    class: Class::Input,
                                    ..
                                },
                            ..
                        },
                    ..
                }) => {}
                // Nothing is there, for any access.
                Err(Refusal::Fault { .. }) => break,
                Err(Refusal::Recorded(EventType::AddressSize, _)) => break,
                Err(refusal) => return Err(Unfit::Bad(refusal)),
            }
            attempt = attempt
                .with(Attempt::AT_ONCE, true)
                .with(Attempt::FRESH, false);
        }
        Ok(range)
    }

    async fn translated(&self, transaction: &Transaction) -> Result<Translation, Aborted> {
        let aborted = Aborted::after(0);
        if self.regs.enabled(cr0::SMMUEN) && !self.regs.enabled(cr0::ATSCHK) && self.features.ats {
            return self.pass(transaction.address).ok_or(aborted);
        }
        // SMMU_IDR3.PASIDTT is 0: a PASID on it counts for nothing.
        let unmarked = Transaction {
            substream: None,
            access: Access {
                write: transaction.access.write,
                ..Access::READ
            },
            ..*transaction
        };
        let mut restarts = 0;
        loop {
            let epoch = self.epoch.get();
            let attempt = Attempt::after(restarts);
            let checked = self.check_translated(&unmarked, attempt, epoch).await;
            if self.epoch.get() != epoch {
                restarts += 1;
                continue;
            }
            return match checked {
                Ok(()) => self.pass(unmarked.address).ok_or(aborted),
                Err(Unfit::Forbidden { recorded }) => {
                    if recorded {
                        self.write_event(event::translated_forbidden(&unmarked));
                    }
                    Err(aborted)
                }
                Err(Unfit::Bad(refusal)) => {
                    // CR2.RECINVSID has no say in it.
                    let words = match refusal {
                        Refusal::Recorded(_, words) => Some(words),
                        Refusal::Silent(Some(kind)) => Some(event::identity(kind, &unmarked)),
                        _ => None,
                    };
                    if let Some(words) = words
                        && self.records_ats()
                    {
                        self.write_event(words);
                    }
                    Err(aborted)
                }
            };
        }
    }

    async fn check_translated(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
        epoch: u64,
    ) -> Result<(), Unfit> {
        let stream = self.check_ats(transaction, attempt, epoch).await?;
        if let Stream::Translate(stages) = &*stream {
            stages.admits(transaction).map_err(Unfit::Bad)?;
        }
        Ok(())
    }

    /// STE.PPAR of the stream that `request` is of; `None` if it cannot be had.
    pub(crate) async fn pasid_on_response(&self, request: &PageRequest) -> Option<bool> {
        let transaction = Transaction {
            stream: request.stream,
            substream: request.substream,
            address: request.address,
            access: Access::READ,
        };
        let mut restarts = 0;
        loop {
            let epoch = self.epoch.get();
            let attempt = Attempt::after(restarts);
            let rules = self.fetch_rules(&transaction, attempt, epoch).await;
            if self.epoch.get() != epoch {
                restarts += 1;
                continue;
            }
            let refusal = match rules {
                Ok((stream, _)) if matches!(*stream, Stream::Bad) => {
                    Refusal::identity(EventType::BadSte, &transaction)
                }
                Ok((_, rules)) => return Some(rules.pasid_on_response),
                Err(refusal) => refusal,
            };
            if let Refusal::Recorded(_, words) = refusal
                && self.records_ats()
            {
                self.write_event(words);
            }
            return None;
        }
    }
}

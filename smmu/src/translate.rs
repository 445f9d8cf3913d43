//! The way of a transaction through the SMMU, in order.
//!
//! IHI 0070, *Translation procedure*, *Fault and event priorities*.
//!
//! Whatever takes virtual time happens before the access it stands for, never between that and the
//! use of what it gave. And whatever was read before an invalidation is not used after it: a
//! translation that notices one in its midst starts over. Together these are what software is
//! promised when CMD_SYNC completes.

use stallbox_timeline::{Sleep, Span};

use crate::config::{Context, Contexts, SteAt, Stream, StreamTable, Unmarked};
use crate::fault::Turn;
use crate::probe::{Note, Response, Step};
use crate::smmu::{Inner, Smmu, bump};
use crate::spec::cd::{CD_BYTES, Cd, L1CD_BYTES, L1Cd};
use crate::spec::event::{self, EventType, FaultType};
use crate::spec::regs::{cr0, cr2};
use crate::spec::ste::{L1Std, Ste};
use crate::spec::{low_mask, words};
use crate::tlb::Tlb;
use crate::verdict::{OnTranslation, Points};
use crate::walker::{Leaf, Walk, WalkFault};
use crate::{Aborted, Transaction, Translation};

/// A translation that invalidations keep interrupting gives up being interruptible: it spends no
/// more time on its steps. Software could otherwise hold it up for ever.
const RESTARTS_MAX: u32 = 16;

/// Why a transaction may not go ahead.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// Abort, and tell nobody.
    Silent(Option<EventType>),
    /// Abort, with a record of something that is not a stage 1 fault.
    Recorded(EventType, [u64; 4]),
    /// A fault that the context's fault model decides about.
    Fault {
        fault: FaultType,
        stalls: bool,
        records: bool,
    },
}

impl Refusal {
    /// A record that names the transaction only.
    fn identity(kind: EventType, transaction: &Transaction) -> Refusal {
        Refusal::Recorded(kind, event::identity(kind, transaction))
    }

    /// Stage 1 is off or bypassed for the stream, and the address is too large. The fault model
    /// has no say in it.
    fn out_of_range(transaction: &Transaction) -> Refusal {
        let words = event::fault(FaultType::AddressSize, transaction, None);
        Refusal::Recorded(EventType::AddressSize, words)
    }
}

/// How one attempt is made.
#[derive(Clone, Copy, Debug, Default)]
struct Attempt {
    /// The TLB is not to be trusted: the last answer was a retry.
    fresh: bool,
    /// The TLB was asked just now, and had nothing.
    missed: bool,
    /// No time is spent.
    at_once: bool,
    /// A verdict: how it faults, whatever the tables say.
    fault: Option<FaultType>,
}

/// An answer from caches alone.
enum Hit {
    /// No translation was needed.
    Bypass(Translation),
    /// It was in the TLB.
    Tlb(Translation),
    /// The configuration was cached, but the TLB had nothing that permits the access.
    Miss,
}

/// Where a transaction's context descriptor is, or that it needs none.
enum Selected {
    Bypass,
    Context(u32),
}

impl Smmu {
    /// Translates `transaction`, if that takes no waiting: the SMMU is disabled or the stream
    /// bypasses it, or configuration and translation are cached and permit the access. It changes
    /// nothing (counters apart), and spends no time. `None` says only that
    /// [`Smmu::translate`] has to be asked.
    #[inline]
    pub fn try_translate(&self, transaction: &Transaction) -> Option<Translation> {
        match self.0.hit(transaction)? {
            Hit::Bypass(translation) | Hit::Tlb(translation) => Some(translation),
            Hit::Miss => None,
        }
    }

    /// Translates `transaction`: at once, after the time that the probe says, after software has
    /// answered a stall, or never, which is [`Aborted`].
    ///
    /// Use what it gives before letting virtual time pass. Dropping the future gives the
    /// transaction up; a stall that was reported stays outstanding until software answers it.
    pub async fn translate(&self, transaction: Transaction) -> Result<Translation, Aborted> {
        let smmu = &*self.0;
        // Most transactions need no more than this, and the rest of the way is a large future.
        let (shutdowns, epoch) = (smmu.shutdowns.get(), smmu.epoch.get());
        let mut attempt = Attempt::default();
        match smmu.unwatched_hit(&transaction) {
            Some(Hit::Bypass(translation)) => return Ok(translation),
            Some(Hit::Tlb(translation)) => match smmu.pause(Step::TlbHit, &transaction) {
                None => return Ok(translation),
                Some(sleep) => {
                    sleep.await;
                    if smmu.epoch.get() == epoch {
                        return Ok(translation);
                    }
                }
            },
            Some(Hit::Miss) => attempt.missed = true,
            None => {}
        }
        let outcome = smmu.translate(&transaction, attempt, shutdowns).await;
        if outcome.is_err() {
            bump(&smmu.counts.aborts);
            smmu.note(&Note::Terminated { transaction });
        }
        outcome
    }
}

impl Inner {
    /// `shutdowns` is what their counter was when the transaction arrived.
    async fn translate(
        &self,
        transaction: &Transaction,
        mut attempt: Attempt,
        shutdowns: u64,
    ) -> Result<Translation, Aborted> {
        let (mut restarts, mut stalls) = (0, 0_u32);
        attempt = self.asked(transaction, attempt, stalls).await?;
        // The time that the report of this fault takes has passed, or passes now.
        let mut report_spent = false;
        let mut place = None;
        loop {
            if self.shutdowns.get() != shutdowns {
                // Begun while the SMMU was enabled, and not done when it was disabled. It must not
                // turn into one that bypasses, so it ends as stalled ones do.
                return Err(Aborted { stalls });
            }
            let epoch = self.epoch.get();
            let result = self.attempt(transaction, attempt).await;
            attempt.missed = false;
            if self.epoch.get() != epoch {
                restarts += 1;
                attempt.at_once = restarts >= RESTARTS_MAX;
                continue;
            }
            let refusal = match result {
                Ok(translation) => {
                    return Ok(Translation {
                        stalls,
                        ..translation
                    });
                }
                Err(refusal) => refusal,
            };
            if !report_spent {
                self.note_refusal(transaction, &refusal);
                if refusal.is_reported() {
                    report_spent = true;
                    if let Some(sleep) = self.pause(Step::FaultReport, transaction) {
                        sleep.await;
                        if self.epoch.get() != epoch {
                            // What was found is out of date, and must not be reported.
                            continue;
                        }
                    }
                }
            }
            let fault = match refusal {
                Refusal::Silent(_) => return Err(Aborted { stalls }),
                Refusal::Recorded(_, words) => {
                    self.write_event(words);
                    return Err(Aborted { stalls });
                }
                Refusal::Fault {
                    fault,
                    stalls: true,
                    ..
                } => fault,
                Refusal::Fault { fault, records, .. } => {
                    if records {
                        self.write_event(event::fault(fault, transaction, None));
                    }
                    return Err(Aborted { stalls });
                }
            };
            if !self.may_report(place.as_ref()) {
                let place = place.get_or_insert_with(|| self.hold(transaction));
                match place.turn().await {
                    Turn::Come => continue,
                    Turn::Terminated => return Err(Aborted { stalls }),
                }
            }
            let stall = self.report_stall(fault, transaction);
            stalls = stalls.saturating_add(1);
            // The next of those held back may come forward.
            place = None;
            match stall.answer().await {
                Response::Abort => return Err(Aborted { stalls }),
                Response::Retry => {}
            }
            if let Some(sleep) = self.pause(Step::ResumeToRetry, transaction) {
                sleep.await;
            }
            self.note(&Note::Retried {
                transaction: *transaction,
            });
            attempt = Attempt {
                fresh: true,
                ..Attempt::default()
            };
            attempt = self.asked(transaction, attempt, stalls).await?;
            restarts = 0;
            report_spent = false;
        }
    }

    /// [`Inner::hit`], unless the probe has to be asked first.
    #[inline(always)]
    fn unwatched_hit(&self, transaction: &Transaction) -> Option<Hit> {
        if self.watches(Points::TRANSLATION) {
            return None;
        }
        self.hit(transaction)
    }

    /// The attempt as the probe's verdict has it.
    async fn asked(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
        stalls: u32,
    ) -> Result<Attempt, Aborted> {
        if !self.watches(Points::TRANSLATION) {
            return Ok(attempt);
        }
        let verdict = self.probe.on_translation(transaction, stalls);
        if let Some(gate) = verdict.wait {
            gate.passed().await;
        }
        match verdict.act {
            OnTranslation::Go => Ok(attempt),
            OnTranslation::Evict => Ok(Attempt {
                fresh: true,
                ..attempt
            }),
            OnTranslation::Fault(fault) => Ok(Attempt {
                fault: Some(fault),
                ..attempt
            }),
            OnTranslation::Abort => Err(Aborted { stalls }),
        }
    }

    /// A sleep for as long as `step` takes, if it takes any time.
    #[inline]
    fn pause(&self, step: Step, transaction: &Transaction) -> Option<Sleep> {
        let span = self.probe.spend(step, Some(transaction));
        (span != Span::ZERO).then(|| self.timeline.sleep(span))
    }

    #[inline]
    fn pause_in(&self, attempt: Attempt, step: Step, transaction: &Transaction) -> Option<Sleep> {
        if attempt.at_once {
            None
        } else {
            self.pause(step, transaction)
        }
    }

    fn note_refusal(&self, transaction: &Transaction, refusal: &Refusal) {
        let transaction = *transaction;
        let (event, stage, stalls) = match *refusal {
            Refusal::Silent(event) => (event, 0, false),
            Refusal::Recorded(event @ (EventType::WalkEabt | EventType::AddressSize), _) => {
                (Some(event), 1, false)
            }
            Refusal::Recorded(event, _) => (Some(event), 0, false),
            Refusal::Fault { fault, stalls, .. } => (Some(fault.event()), 1, stalls),
        };
        self.note(&Note::Fault {
            transaction,
            event,
            stage,
            stalls,
        });
    }

    /// What can be answered from caches alone.
    #[inline(always)]
    fn hit(&self, transaction: &Transaction) -> Option<Hit> {
        if !self.regs.enabled(cr0::SMMUEN) {
            return self.disabled(transaction).ok().map(Hit::Bypass);
        }
        let sid = transaction.stream.0;
        let caches = self.caches.borrow();
        let table = match caches.streams.get(sid, 0)? {
            Stream::Translate(table) => table,
            Stream::Bypass if transaction.substream.is_none() => {
                return self.pass(transaction.address).map(Hit::Bypass);
            }
            _ => return None,
        };
        let index = match table.select(transaction) {
            Ok(Selected::Context(index)) => index,
            Ok(Selected::Bypass) => return self.pass(transaction.address).map(Hit::Bypass),
            Err(_) => return None,
        };
        let context = caches.contexts.get(sid, index)?.as_ref()?;
        if context.stalls && table.stall_forbidden {
            return None;
        }
        let cached = self.cached(transaction, context, &caches.tlb);
        Some(cached.map_or(Hit::Miss, Hit::Tlb))
    }

    /// What the TLB has for `transaction`, if that permits it.
    #[inline(always)]
    fn cached(
        &self,
        transaction: &Transaction,
        context: &Context,
        tlb: &Tlb,
    ) -> Option<Translation> {
        let regime = &context.regime;
        regime.half(transaction.address)?;
        let entry = tlb.lookup(transaction.address, context.tag)?;
        let permissions = entry.permissions;
        if !permissions.allow(transaction.access, regime.wxn, regime.pan) {
            // The entry may be out of date; only a walk may say no.
            return None;
        }
        bump(&self.counts.tlb_hits);
        let (address, remaining) = entry.output(transaction.address);
        Some(Translation {
            address,
            remaining,
            stalls: 0,
        })
    }

    /// Lets an address pass as it is, if it is one.
    fn pass(&self, address: u64) -> Option<Translation> {
        let last = low_mask(self.features.oas_bits.into());
        (address <= last).then(|| Translation {
            stalls: 0,
            address,
            remaining: last - address + 1,
        })
    }

    /// The SMMU is disabled: *Global bypass attributes*.
    fn disabled(&self, transaction: &Transaction) -> Result<Translation, Refusal> {
        if self.regs.gbpa_abort.get() {
            return Err(Refusal::Silent(None));
        }
        self.pass(transaction.address).ok_or(Refusal::Silent(None))
    }

    /// One attempt at the whole procedure. The caller sees to it that nothing was invalidated
    /// meanwhile.
    async fn attempt(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
    ) -> Result<Translation, Refusal> {
        if !self.regs.enabled(cr0::SMMUEN) {
            return self.disabled(transaction);
        }
        let epoch = self.epoch.get();

        // The stream.
        let cached = self
            .caches
            .borrow()
            .streams
            .get(transaction.stream.0, 0)
            .copied();
        let stream = match cached {
            Some(stream) => stream,
            None => self.fetch_stream(transaction, attempt, epoch).await?,
        };
        let table = match stream {
            Stream::Bad => return Err(Refusal::identity(EventType::BadSte, transaction)),
            Stream::Abort => return Err(Refusal::Silent(None)),
            Stream::Bypass if transaction.substream.is_some() => {
                return Err(bad_substream(transaction));
            }
            Stream::Bypass => {
                return self
                    .pass(transaction.address)
                    .ok_or_else(|| Refusal::out_of_range(transaction));
            }
            Stream::Translate(table) => table,
        };

        // The substream, and its context.
        let index = match table.select(transaction) {
            Ok(Selected::Context(index)) => index,
            Ok(Selected::Bypass) => {
                return self
                    .pass(transaction.address)
                    .ok_or_else(|| Refusal::out_of_range(transaction));
            }
            Err(Unselected::BadSubstream) => return Err(bad_substream(transaction)),
            Err(Unselected::StreamDisabled) => {
                let words = event::stream_disabled(transaction);
                return Err(Refusal::Recorded(EventType::StreamDisabled, words));
            }
        };
        let cached = self
            .caches
            .borrow()
            .contexts
            .get(transaction.stream.0, index)
            .copied();
        let context = match cached {
            Some(context) => context,
            None => {
                self.fetch_context(transaction, &table, index, attempt, epoch)
                    .await?
            }
        };
        let context = context
            .filter(|context| !(context.stalls && table.stall_forbidden))
            .ok_or_else(|| Refusal::identity(EventType::BadCd, transaction))?;

        // The translation.
        if let Some(fault) = attempt.fault {
            return Err(context.refusal(fault));
        }
        if !attempt.fresh && !attempt.missed {
            let cached = self.cached(transaction, &context, &self.caches.borrow().tlb);
            if let Some(translation) = cached {
                return self
                    .spend_hit(transaction, attempt, epoch, translation)
                    .await;
            }
        }
        bump(&self.counts.tlb_misses);
        if attempt.fresh {
            self.caches
                .borrow_mut()
                .tlb
                .forget(transaction.address, context.tag);
        }
        let leaf = self.walk(transaction, &context, attempt).await?;
        let fault = if !leaf.accessed && !context.regime.ignores_access_flag {
            Some(FaultType::Access)
        } else if !self.permitted(transaction, &context, &leaf) {
            Some(FaultType::Permission)
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(context.refusal(fault));
        }
        // An entry with a clear access flag must not be kept: software sets the flag without
        // telling.
        if leaf.accessed && self.epoch.get() == epoch {
            self.caches
                .borrow_mut()
                .tlb
                .insert(transaction.address, context.tag, &leaf);
        }
        let mask = low_mask(leaf.size_bits);
        Ok(Translation {
            stalls: 0,
            address: leaf.output | transaction.address & mask,
            remaining: mask + 1 - (transaction.address & mask),
        })
    }

    /// Spends the time of a TLB hit. If the entry was invalidated meanwhile, what it said does not
    /// count; the caller of the attempt sees that too, and starts over.
    async fn spend_hit(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
        epoch: u64,
        translation: Translation,
    ) -> Result<Translation, Refusal> {
        if let Some(sleep) = self.pause_in(attempt, Step::TlbHit, transaction) {
            sleep.await;
        }
        if self.epoch.get() == epoch {
            Ok(translation)
        } else {
            Err(Refusal::Silent(None))
        }
    }

    fn permitted(&self, transaction: &Transaction, context: &Context, leaf: &Leaf) -> bool {
        let regime = &context.regime;
        leaf.permissions
            .allow(transaction.access, regime.wxn, regime.pan)
    }

    /// What the transaction's stream table entry asks for, read from memory.
    async fn fetch_stream(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
        epoch: u64,
    ) -> Result<Stream, Refusal> {
        let sid = transaction.stream.0;
        let (base, cfg) = (self.regs.strtab_base.get(), self.regs.strtab_base_cfg.get());
        let table = StreamTable::new(base, cfg, &self.features);
        let bad_stream = |_| {
            if self.regs.cr2.get() & cr2::RECINVSID != 0 {
                Refusal::identity(EventType::BadStreamId, transaction)
            } else {
                Refusal::Silent(Some(EventType::BadStreamId))
            }
        };
        let aborted = |at| {
            Refusal::Recorded(
                EventType::SteFetch,
                event::fetch(EventType::SteFetch, transaction, at),
            )
        };
        let at = match table.find(sid).map_err(bad_stream)? {
            SteAt::Entry(at) => at,
            SteAt::Descriptor(at) => {
                let raw = self
                    .fetch::<1>(transaction, attempt, at)
                    .await
                    .map_err(aborted)?;
                table.find_below(sid, L1Std(raw[0])).map_err(bad_stream)?
            }
        };
        let raw = self
            .fetch::<8>(transaction, attempt, at)
            .await
            .map_err(aborted)?;
        bump(&self.counts.config_fetches);
        let stream = Stream::parse(&Ste(raw), &self.features);
        if self.epoch.get() == epoch {
            self.caches.borrow_mut().streams.insert(sid, 0, stream);
        }
        Ok(stream)
    }

    /// What context descriptor `index` of the transaction's stream asks for, read from memory;
    /// `None` if it is illegal.
    async fn fetch_context(
        &self,
        transaction: &Transaction,
        table: &Contexts,
        index: u32,
        attempt: Attempt,
        epoch: u64,
    ) -> Result<Option<Context>, Refusal> {
        let sid = transaction.stream.0;
        let aborted = |at| {
            Refusal::Recorded(
                EventType::CdFetch,
                event::fetch(EventType::CdFetch, transaction, at),
            )
        };
        let at = match table.leaf_log2 {
            None => table.table + u64::from(index) * CD_BYTES,
            Some(leaf_log2) => {
                let l1_index = u64::from(index >> leaf_log2);
                let l1_at = table.table + l1_index * L1CD_BYTES;
                let raw = self
                    .fetch::<1>(transaction, attempt, l1_at)
                    .await
                    .map_err(aborted)?;
                let l1 = L1Cd(raw[0]);
                let out_of_range = l1.l2_ptr() & !low_mask(self.features.oas_bits.into()) != 0;
                if !l1.v() || out_of_range {
                    return Err(bad_substream(transaction));
                }
                // A leaf of 1024 contexts is 64 KiB, and aligned to that.
                let leaf = l1.l2_ptr() & !low_mask(leaf_log2 + 6);
                leaf + (u64::from(index) & low_mask(leaf_log2)) * CD_BYTES
            }
        };
        let raw = self
            .fetch::<8>(transaction, attempt, at)
            .await
            .map_err(aborted)?;
        bump(&self.counts.config_fetches);
        let context = Context::parse(&Cd(raw), &self.features);
        if self.epoch.get() == epoch {
            self.caches
                .borrow_mut()
                .contexts
                .insert(sid, index, context);
        }
        Ok(context)
    }

    /// Reads words of a configuration structure; the error is where it aborted.
    async fn fetch<const N: usize>(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
        at: u64,
    ) -> Result<[u64; N], u64> {
        if let Some(sleep) = self.pause_in(attempt, Step::ConfigFetch, transaction) {
            sleep.await;
        }
        // A stream table entry is the largest.
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..8 * N];
        self.read_memory(at, bytes).map_err(|_| at)?;
        Ok(words(bytes))
    }

    /// Walks the translation tables: a leaf, which may not permit the access.
    async fn walk(
        &self,
        transaction: &Transaction,
        context: &Context,
        attempt: Attempt,
    ) -> Result<Leaf, Refusal> {
        let mut steps = 0;
        let mut walk = Walk::start(&context.regime, transaction.address);
        let result = loop {
            let going = match &mut walk {
                Ok(going) => going,
                Err(WalkFault::Translation) => break Err(context.refusal(FaultType::Translation)),
                Err(WalkFault::AddressSize) => break Err(context.refusal(FaultType::AddressSize)),
            };
            if let Some(sleep) = self.pause_in(attempt, Step::WalkStep, transaction) {
                sleep.await;
            }
            let at = going.descriptor_address();
            let mut raw = [0; 8];
            if self.read_memory(at, &mut raw).is_err() {
                let words = event::walk_abort(transaction, at);
                break Err(Refusal::Recorded(EventType::WalkEabt, words));
            }
            steps += 1;
            if self.watches(Points::DESCRIPTOR) {
                self.probe
                    .descriptor_read(transaction, at, u64::from_le_bytes(raw));
            }
            match going.step(u64::from_le_bytes(raw)) {
                Ok(Some(leaf)) => break Ok(leaf),
                Ok(None) => {}
                Err(fault) => walk = Err(fault),
            }
        };
        let walked = &self.counts.walk_steps;
        walked.set(walked.get() + u64::from(steps));
        let found = result
            .as_ref()
            .is_ok_and(|leaf| self.permitted(transaction, context, leaf));
        self.note(&Note::Walk {
            transaction: *transaction,
            steps,
            found,
        });
        result
    }
}

impl Refusal {
    /// Whether a record is meant to be written.
    fn is_reported(&self) -> bool {
        match *self {
            Refusal::Silent(_) => false,
            Refusal::Recorded(..) => true,
            Refusal::Fault {
                stalls, records, ..
            } => stalls || records,
        }
    }
}

impl Context {
    /// *Fault configuration (A, R, S bits)*: A is always 1 here.
    fn refusal(&self, fault: FaultType) -> Refusal {
        Refusal::Fault {
            fault,
            stalls: self.stalls,
            records: self.records,
        }
    }
}

/// Why a transaction gets no context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unselected {
    BadSubstream,
    StreamDisabled,
}

impl Contexts {
    /// The context that a transaction uses: *Substreams*.
    #[inline]
    fn select(&self, transaction: &Transaction) -> Result<Selected, Unselected> {
        match transaction.substream {
            None if self.count_log2 == 0 => Ok(Selected::Context(0)),
            None => match self.unmarked {
                Unmarked::Context0 => Ok(Selected::Context(0)),
                Unmarked::Bypass => Ok(Selected::Bypass),
                Unmarked::Terminate => Err(Unselected::StreamDisabled),
            },
            Some(substream) => {
                if self.count_log2 == 0 || u64::from(substream.0) >> self.count_log2 != 0 {
                    Err(Unselected::BadSubstream)
                } else if substream.0 == 0 && self.unmarked == Unmarked::Context0 {
                    Err(Unselected::StreamDisabled)
                } else {
                    Ok(Selected::Context(substream.0))
                }
            }
        }
    }
}

fn bad_substream(transaction: &Transaction) -> Refusal {
    Refusal::Recorded(EventType::BadSubstreamId, event::bad_substream(transaction))
}

//! The way of a transaction through the SMMU, in order.
//!
//! IHI 0070, *Translation procedure*, *Fault and event priorities*.
//!
//! Whatever takes virtual time happens before the access it stands for, never between that and the
//! use of what it gave. And whatever was read before an invalidation is not used after it: a
//! translation that notices one in its midst starts over. Together these are what software is
//! promised when CMD_SYNC completes.

use std::cell::Cell;

use stallbox_timeline::Sleep;

use crate::attempt::{Asked, Attempt, PAGE_LOG2, RESTARTS_MAX, Refusal};
use crate::config::{Context, Overrides, Second};
use crate::config_cache::Unresolved;
use crate::counters::bump;
use crate::probe::{Note, Response, Step};
use crate::route::Route;
use crate::smmu::{Inner, Smmu};
use crate::spec::event::{self, EventType};
use crate::spec::low_mask;
use crate::spec::regs::cr0;
use crate::stages::Purpose;
use crate::stalls::Turn;
use crate::tlb::{Tag, Tlb};
use crate::transaction::{Aborted, Transaction, Translation};
use crate::verdict::{OnTranslation, Points};
use crate::walker::{Leaf, Permissions};

/// Why there is no answer from the TLB alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoHit {
    /// The configuration is cached, but the TLB has nothing that permits the access.
    Miss,
    /// It has to be looked up first what the configuration comes to.
    Unresolved,
}

impl Smmu {
    /// Translates `transaction`, if that takes no waiting: the SMMU is disabled or the stream
    /// bypasses it, or configuration and translation are cached and permit the access. It changes
    /// nothing (counters apart), and spends no time. `None` says only that
    /// [`Smmu::translate`] has to be asked.
    #[inline]
    pub fn try_translate(&self, transaction: &Transaction) -> Option<Translation> {
        loop {
            match self.0.hit(transaction) {
                Ok(translation) => return Some(translation),
                Err(NoHit::Miss) => return None,
                Err(NoHit::Unresolved) => match self.0.resolve(transaction) {
                    Err(Unresolved::Unknown) => return None,
                    Err(Unresolved::Bypass) => return self.0.pass(transaction.address),
                    // Once: then it is resolved.
                    Ok(()) => {}
                },
            }
        }
    }

    /// Translates `transaction`: at once, after the time that the probe says, after software has
    /// answered a stall, or never, which is [`Aborted`].
    ///
    /// Use what it gives before letting virtual time pass. Dropping the future gives the
    /// transaction up; a stall that was reported stays outstanding until software answers it.
    // No async fn, whose first act it would be to move the transaction.
    #[expect(clippy::manual_async_fn)]
    pub fn translate(
        &self,
        transaction: Transaction,
    ) -> impl Future<Output = Result<Translation, Aborted>> + '_ {
        async move {
            let smmu = &*self.0;
            // Most transactions need no more than this, and the rest of the way is a large future.
            let (shutdowns, epoch) = (smmu.shutdowns.get(), smmu.epoch.get());
            let mut attempt = Attempt::default();
            loop {
                if smmu.watches_any(Points::TRANSLATION | Points::TRANSLATED) {
                    break;
                }
                match smmu.hit(&transaction) {
                    Ok(translation) => {
                        let Some(sleep) = smmu.pause(Step::TlbHit, &transaction) else {
                            return Ok(translation);
                        };
                        if let Some(translation) = smmu.still(translation, epoch, sleep).await {
                            return Ok(translation);
                        }
                    }
                    Err(NoHit::Miss) => attempt = Attempt::MISSED,
                    Err(NoHit::Unresolved) => match smmu.resolve(&transaction) {
                        Err(Unresolved::Unknown) => {}
                        Err(Unresolved::Bypass) => {
                            if let Some(translation) = smmu.pass(transaction.address) {
                                return Ok(translation);
                            }
                        }
                        // Once: then it is resolved.
                        Ok(()) => continue,
                    },
                }
                break;
            }
            let outcome = smmu.translate(&transaction, attempt, shutdowns).await;
            match &outcome {
                Ok(translation) if smmu.watches(Points::TRANSLATED) => {
                    smmu.probe.translated(&transaction, translation);
                }
                Ok(_) => {}
                Err(_) => {
                    bump(&smmu.counts.aborts);
                    smmu.note(&Note::Terminated { transaction });
                }
            }
            outcome
        }
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
        if self.watches(Points::TRANSLATION) {
            attempt = Box::pin(self.asked(transaction, attempt, stalls)).await?;
        }
        // The time that the report of this fault takes has passed, or passes now.
        let mut report_spent = false;
        let mut place = None;
        loop {
            if self.shutdowns.get() != shutdowns {
                // Begun while the SMMU was enabled, and not done when it was disabled. It must not
                // turn into one that bypasses, so it ends as stalled ones do.
                return Err(Aborted::after(stalls));
            }
            let epoch = self.epoch.get();
            let result = self.attempt(transaction, attempt).await;
            attempt = attempt.with(Attempt::MISSED, false);
            if self.epoch.get() != epoch {
                restarts += 1;
                attempt = attempt.with(Attempt::AT_ONCE, restarts >= RESTARTS_MAX);
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
                Refusal::Silent(_) => return Err(Aborted::after(stalls)),
                Refusal::Recorded(_, words) => {
                    self.write_event(words);
                    return Err(Aborted::after(stalls));
                }
                Refusal::Fault {
                    fault,
                    stalls: true,
                    ..
                } => fault,
                Refusal::Fault {
                    fault,
                    records,
                    raz_wi,
                    ..
                } => {
                    if records {
                        self.write_event(event::fault(&fault, transaction, None));
                    }
                    return Err(Aborted { stalls, raz_wi });
                }
            };
            if !self.may_report(place.as_ref()) {
                let place = place.get_or_insert_with(|| self.hold(transaction));
                match place.turn().await {
                    Turn::Come => continue,
                    Turn::Terminated => return Err(Aborted::after(stalls)),
                }
            }
            let stall = self.report_stall(&fault, transaction);
            stalls = stalls.saturating_add(1);
            // The next of those held back may come forward.
            place = None;
            match stall.answer().await {
                Response::Abort => return Err(Aborted::after(stalls)),
                Response::RazWi => {
                    return Err(Aborted {
                        stalls,
                        raz_wi: true,
                    });
                }
                Response::Retry => {}
            }
            if let Some(sleep) = self.pause(Step::ResumeToRetry, transaction) {
                sleep.await;
            }
            self.note(&Note::Retried {
                transaction: *transaction,
            });
            attempt = Attempt::FRESH;
            if self.watches(Points::TRANSLATION) {
                attempt = Box::pin(self.asked(transaction, attempt, stalls)).await?;
            }
            restarts = 0;
            report_spent = false;
        }
    }

    /// The attempt as the probe's verdict has it.
    pub(crate) async fn asked(
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
            OnTranslation::Evict => Ok(attempt.with(Attempt::FRESH, true)),
            OnTranslation::Fault(fault) => Ok(attempt.faulting(fault)),
            OnTranslation::Abort => Err(Aborted::after(stalls)),
        }
    }

    fn note_refusal(&self, transaction: &Transaction, refusal: &Refusal) {
        let transaction = *transaction;
        let (event, stage, stalls) = match *refusal {
            Refusal::Silent(event) => (event, 0, false),
            Refusal::Recorded(event @ (EventType::WalkEabt | EventType::AddressSize), words) => {
                (Some(event), event::stage(&words), false)
            }
            Refusal::Recorded(event, _) => (Some(event), 0, false),
            Refusal::Fault { fault, stalls, .. } => {
                (Some(fault.kind.event()), fault.place.stage(), stalls)
            }
        };
        self.note(&Note::Fault {
            transaction,
            event,
            stage,
            stalls,
        });
    }

    /// What the TLB has for a transaction that was resolved.
    #[inline(always)]
    fn hit(&self, transaction: &Transaction) -> Result<Translation, NoHit> {
        if !self.regs.enabled(cr0::SMMUEN) {
            return Err(NoHit::Unresolved);
        }
        let caches = &*self.caches.borrow();
        let resolved = caches.config.resolved(transaction);
        let resolved = resolved.ok_or(NoHit::Unresolved)?;
        // Addresses that no walk would begin for are not looked up.
        let needs = resolved.needs(transaction).ok_or(NoHit::Miss)?;
        let cached = self.cached(transaction.address, needs, &resolved.tag, &caches.tlb);
        cached.ok_or(NoHit::Miss)
    }

    /// Finds out what a transaction comes to, as far as configuration is cached. If it is to be
    /// translated, that is kept for the next of its stream and substream.
    #[cold]
    fn resolve(&self, transaction: &Transaction) -> Result<(), Unresolved> {
        if !self.regs.enabled(cr0::SMMUEN) {
            return Err(match self.regs.gbpa_abort.get() {
                true => Unresolved::Unknown,
                false => Unresolved::Bypass,
            });
        }
        let config = &mut self.caches.borrow_mut().config;
        let resolved = config.resolve(transaction)?;
        config.keep_resolved(transaction, resolved);
        Ok(())
    }

    /// What the TLB has for `address`, if that permits what is needed.
    #[inline(always)]
    fn cached(
        &self,
        address: u64,
        needs: Permissions,
        tag: &Tag,
        tlb: &Tlb,
    ) -> Option<Translation> {
        let entry = tlb.lookup(address, tag)?;
        if !entry.permissions.include(needs) {
            // The entry may be out of date; only a walk may say no.
            return None;
        }
        bump(&self.counts.tlb_hits);
        let (address, remaining) = entry.output(address);
        Some(Translation {
            address,
            remaining,
            size_log2: entry.size_log2(),
            stalls: 0,
        })
    }

    /// A hit after the time that it takes, unless something was invalidated meanwhile.
    async fn still(
        &self,
        translation: Translation,
        epoch: u64,
        sleep: Sleep,
    ) -> Option<Translation> {
        sleep.await;
        (self.epoch.get() == epoch).then_some(translation)
    }

    /// Lets an address pass as it is, if it is one.
    pub(crate) fn pass(&self, address: u64) -> Option<Translation> {
        let last = low_mask(self.features.oas_bits.into());
        (address <= last).then(|| Translation {
            stalls: 0,
            address,
            remaining: last - address + 1,
            size_log2: PAGE_LOG2,
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
    pub(crate) async fn attempt(
        &self,
        transaction: &Transaction,
        attempt: Attempt,
    ) -> Result<Translation, Refusal> {
        if !self.regs.enabled(cr0::SMMUEN) {
            return self.disabled(transaction);
        }
        let steps = Cell::new(0);
        let asked = Asked {
            attempt,
            epoch: self.epoch.get(),
            steps: &steps,
        };

        // The stream.
        let sid = transaction.stream.0;
        let cached = self.caches.borrow().config.stream(sid).cloned();
        // Fetches are rare, and the futures of them large.
        let stream = match cached {
            Some(stream) => stream,
            None => Box::pin(self.fetch_stream(transaction, asked)).await?,
        };
        let overridden;
        let overrides = stream.overrides();
        let transaction = if overrides == Overrides::default() {
            transaction
        } else {
            overridden = overrides.of(transaction);
            &overridden
        };

        // The substream, and its context.
        let in_range = || {
            let passed = self.pass(transaction.address);
            passed.ok_or_else(|| Refusal::out_of_range(transaction))
        };
        let first = match stream.route(transaction) {
            Err(none) => return Err(none.refusal(transaction)),
            Ok(Route::Bypass) => return in_range(),
            Ok(Route::Stage2(..)) if attempt.is(Attempt::CONFIG_ONLY) => {
                return Err(Refusal::Silent(None));
            }
            Ok(Route::Stage2(_, second)) => {
                in_range()?;
                return Box::pin(self.translate_second(transaction, &second, asked)).await;
            }
            Ok(Route::Stage1(first)) => first,
        };
        let cached = self
            .caches
            .borrow()
            .config
            .context(sid, first.index)
            .cloned();
        let context = match cached {
            Some(context) => context,
            None => Box::pin(self.fetch_context(transaction, &first, asked)).await?,
        };
        let Some(context) = first.admit(&context) else {
            return Err(Refusal::identity(EventType::BadCd, transaction));
        };

        if attempt.is(Attempt::CONFIG_ONLY) {
            return Err(Refusal::Silent(None));
        }

        // The translation.
        if let Some(fault) = attempt.fault() {
            return Err(context.refusal(fault, transaction));
        }
        let tag = first.stages.tag(context);
        if let Some(translation) = self.look_up(transaction, context, tag, attempt) {
            return self.spend_hit(transaction, asked, translation).await;
        }
        let leaf = match &first.stages.second() {
            None => self.walk(transaction, context, asked).await?,
            // Transactions that have no stage 2 do not carry the future of both.
            Some(second) => Box::pin(self.walk_both(transaction, context, second, asked)).await?,
        };
        Ok(self.keep(transaction, tag, &leaf, asked))
    }

    /// What the TLB has for a transaction, unless it has been asked or is not to be.
    fn look_up(
        &self,
        transaction: &Transaction,
        context: &Context,
        tag: Tag,
        attempt: Attempt,
    ) -> Option<Translation> {
        let (address, access) = (transaction.address, transaction.access);
        let distrusted = attempt.is(Attempt::FRESH) || attempt.is(Attempt::MISSED);
        if !distrusted && context.regime.half(address, access).is_some() {
            let needs = Permissions::needed(access);
            let found = self.cached(address, needs, &tag, &self.caches.borrow().tlb);
            if found.is_some() {
                return found;
            }
        }
        bump(&self.counts.tlb_misses);
        if attempt.is(Attempt::FRESH) {
            self.caches.borrow_mut().tlb.forget(address, &tag);
        }
        None
    }

    /// Answers a transaction from `leaf`, and keeps that for the next.
    fn keep(
        &self,
        transaction: &Transaction,
        tag: Tag,
        leaf: &Leaf,
        asked: Asked<'_>,
    ) -> Translation {
        let address = transaction.address;
        // An entry with a clear access flag must not be kept: software sets the flag without
        // telling.
        if leaf.accessed && self.epoch.get() == asked.epoch {
            self.caches.borrow_mut().tlb.insert(address, &tag, leaf);
        }
        let mask = leaf.mask();
        Translation {
            stalls: 0,
            address: leaf.at(address),
            remaining: mask + 1 - (address & mask),
            size_log2: leaf.size_bits,
        }
    }

    /// A transaction of which only stage 2 makes something.
    async fn translate_second(
        &self,
        transaction: &Transaction,
        second: &Second<'_>,
        asked: Asked<'_>,
    ) -> Result<Translation, Refusal> {
        let address = transaction.address;
        if let Some(fault) = asked.attempt.fault() {
            let place = Purpose::Input.place(address);
            return Err(second.stage2.refusal(fault, place, transaction));
        }
        let needs = Permissions::needed(transaction.access);
        if !asked.attempt.is(Attempt::MISSED)
            && let Some(leaf) = self.second_cached(second, address, needs, asked)
        {
            bump(&self.counts.tlb_hits);
            let mask = leaf.mask();
            let translation = Translation {
                stalls: 0,
                address: leaf.at(address),
                remaining: mask + 1 - (address & mask),
                size_log2: leaf.size_bits,
            };
            return self.spend_hit(transaction, asked, translation).await;
        }
        bump(&self.counts.tlb_misses);
        let leaf = self
            .walk_second(transaction, second, address, Purpose::Input, asked)
            .await;
        self.note(&Note::Walk {
            transaction: *transaction,
            steps: asked.steps.get(),
            found: leaf.is_ok(),
        });
        let leaf = leaf?;
        Ok(self.keep(transaction, Tag::stage2(second.vmid), &leaf, asked))
    }

    /// Spends the time of a TLB hit. If the entry was invalidated meanwhile, what it said does not
    /// count; the caller of the attempt sees that too, and starts over.
    async fn spend_hit(
        &self,
        transaction: &Transaction,
        asked: Asked<'_>,
        translation: Translation,
    ) -> Result<Translation, Refusal> {
        if let Some(sleep) = self.pause_in(asked.attempt, Step::TlbHit, transaction) {
            sleep.await;
        }
        if self.epoch.get() == asked.epoch {
            Ok(translation)
        } else {
            Err(Refusal::Silent(None))
        }
    }
}

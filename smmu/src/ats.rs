//! Address Translation Services: what endpoints ask for and present translated.
//!
//! IHI 0070, *PCIe ATS*, *ATS Translation Requests*, *ATS Translated transactions*;
//! PCI Express Base Specification, *Address Translation Services*.
//!
//! A translation request never stalls and, configuration errors apart, is never recorded: a page
//! that is not there is the answer that it permits nothing. One request asks for one translation.

use std::cell::Cell;
use std::rc::Rc;

use crate::attempt::{Asked, Attempt, PAGE_LOG2, RESTARTS_MAX, Refusal};
use crate::config::Stream;
use crate::counters::bump;
use crate::messages::{AtsCompletion, AtsRange, PageRequest, TranslationRequest};
use crate::pcie_rules::PcieRules;
use crate::probe::Note;
use crate::smmu::{Inner, Smmu};
use crate::spec::event::{self, Class, EventType, Fault, FaultType, Place};
use crate::spec::low_mask;
use crate::spec::regs::{cr0, cr2};
use crate::transaction::{Aborted, Access, Transaction, Translation};

impl Smmu {
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
}

/// Why a translation request or translated transaction fails before any translation.
enum Unfit {
    /// ATS is off, or everything is aborted.
    Forbidden { recorded: bool },
    /// The configuration is at fault.
    Bad(Refusal),
}

impl Inner {
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
            let route = stages.route(transaction);
            route.map_err(|none| Unfit::Bad(none.refusal(transaction)))?;
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

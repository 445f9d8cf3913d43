//! The fetches of configuration: stream table entries and context descriptors.
//!
//! IHI 0070, *Stream table lookup*, *Substreams*, *Translation procedure*.

use std::rc::Rc;

use crate::attempt::{Asked, Attempt, Refusal};
use crate::config::{CdAt, Context, Stages, SteAt, Stream, StreamTable};
use crate::counters::bump;
use crate::pcie_rules::PcieRules;
use crate::probe::Step;
use crate::route::FirstStage;
use crate::smmu::Inner;
use crate::spec::cd::{Cd, L1Cd};
use crate::spec::event::{self, EventType};
use crate::spec::regs::cr2;
use crate::spec::ste::{L1Std, Ste};
use crate::spec::words;
use crate::stages::Purpose;
use crate::transaction::Transaction;

impl Inner {
    /// What the transaction's stream table entry asks for, read from memory.
    pub(crate) async fn fetch_stream(
        &self,
        transaction: &Transaction,
        asked: Asked<'_>,
    ) -> Result<Rc<Stream>, Refusal> {
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
                    .fetch::<1>(transaction, asked.attempt, at)
                    .await
                    .map_err(aborted)?;
                table.find_below(sid, L1Std(raw[0])).map_err(bad_stream)?
            }
        };
        let raw = self
            .fetch::<8>(transaction, asked.attempt, at)
            .await
            .map_err(aborted)?;
        bump(&self.counts.config_fetches);
        let e2h = self.regs.cr2.get() & cr2::E2H != 0;
        let stream = Rc::new(Stream::parse(&Ste(raw), &self.features, e2h));
        if self.epoch.get() == asked.epoch {
            let config = &mut self.caches.borrow_mut().config;
            config.keep_stream(sid, stream.clone(), PcieRules::parse(&Ste(raw)));
        }
        Ok(stream)
    }

    /// What the context descriptor of the transaction asks for, read from memory; `None` if it is
    /// illegal.
    pub(crate) async fn fetch_context(
        &self,
        transaction: &Transaction,
        first: &FirstStage<'_>,
        asked: Asked<'_>,
    ) -> Result<Option<Rc<Context>>, Refusal> {
        let &FirstStage {
            stages,
            contexts,
            index,
        } = first;
        let at = match contexts.find(index) {
            CdAt::Entry(at) => at,
            CdAt::Descriptor(l1_at) => {
                let raw = self
                    .fetch_through::<1>(transaction, stages, l1_at, asked)
                    .await?;
                let below = contexts.find_below(index, L1Cd(raw[0]), &self.features);
                below.ok_or_else(|| Refusal::bad_substream(transaction))?
            }
        };
        let raw = self
            .fetch_through::<8>(transaction, stages, at, asked)
            .await?;
        bump(&self.counts.config_fetches);
        let context = Context::parse(&Cd(raw), contexts.world, &self.features).map(Rc::new);
        if self.epoch.get() == asked.epoch {
            let config = &mut self.caches.borrow_mut().config;
            config.keep_context(transaction.stream.0, index, context.clone());
        }
        Ok(context)
    }

    /// Reads words on the way to a context descriptor, whose address stage 2 translates if the
    /// stream has one.
    async fn fetch_through<const N: usize>(
        &self,
        transaction: &Transaction,
        stages: &Stages,
        at: u64,
        asked: Asked<'_>,
    ) -> Result<[u64; N], Refusal> {
        let at = match &stages.second() {
            None => at,
            Some(second) => {
                let leaf = self
                    .second(transaction, second, at, Purpose::Context, asked)
                    .await?;
                leaf.at(at)
            }
        };
        self.fetch::<N>(transaction, asked.attempt, at)
            .await
            .map_err(|at| {
                let words = event::fetch(EventType::CdFetch, transaction, at);
                Refusal::Recorded(EventType::CdFetch, words)
            })
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
}

//! The caches of stream table entries and context descriptors.
//!
//! IHI 0070, *Configuration structures and caching*. Whatever was fetched is kept, invalid entries
//! included, until a CFGI command names it: software that forgets one sees its old configuration, as
//! it may on real hardware. Level 1 descriptors are read each time, which the architecture allows
//! too.

use std::rc::Rc;

use crate::config::{Context, Stream};
use crate::features::Config;
use crate::pcie_rules::PcieRules;
use crate::resolved::{Resolved, ResolvedCache};
use crate::route::Route;
use crate::transaction::Transaction;

/// Why the configuration that is kept tells of no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// Not all is here that is needed, or it is no way to a translation.
    Unknown,
    /// No translation is needed: the address passes if it is one.
    Bypass,
}

/// What is kept of configuration.
pub(crate) struct ConfigCaches {
    streams: Cache<Rc<Stream>>,
    /// What the same entries say about ATS and PRI: present when they are.
    pcie: Cache<PcieRules>,
    /// `None` is a context descriptor that is illegal.
    contexts: Cache<Option<Rc<Context>>>,
    /// What is kept here of both, put together.
    resolved: ResolvedCache,
}

impl ConfigCaches {
    pub(crate) fn new(features: &Config) -> ConfigCaches {
        ConfigCaches {
            streams: Cache::new(features.ste_cache_entries),
            pcie: Cache::new(features.ste_cache_entries),
            contexts: Cache::new(features.cd_cache_entries),
            resolved: ResolvedCache::new(),
        }
    }

    /// What stream `sid` asks for.
    #[inline(always)]
    pub(crate) fn stream(&self, sid: u32) -> Option<&Rc<Stream>> {
        self.streams.get(sid, 0)
    }

    /// What stream `sid` says about ATS and PRI.
    pub(crate) fn pcie(&self, sid: u32) -> Option<PcieRules> {
        self.pcie.get(sid, 0).copied()
    }

    /// What context `index` of stream `sid` asks for; `Some(None)` if it is illegal.
    #[inline(always)]
    pub(crate) fn context(&self, sid: u32, index: u32) -> Option<&Option<Rc<Context>>> {
        self.contexts.get(sid, index)
    }

    /// What the two come to for the stream and the substream of `transaction`, if
    /// [`ConfigCaches::keep_resolved`] was told and both are as they were then.
    #[inline(always)]
    pub(crate) fn resolved(&self, transaction: &Transaction) -> Option<&Resolved> {
        self.resolved.get(transaction)
    }

    /// What the configuration of `transaction` comes to, as far as it is kept.
    pub(crate) fn resolve(&self, transaction: &Transaction) -> Result<Resolved, Unresolved> {
        let sid = transaction.stream.0;
        let stream = self.stream(sid).ok_or(Unresolved::Unknown)?;
        match stream.route(transaction) {
            Ok(Route::Stage1(first)) => self
                .context(sid, first.index)
                .and_then(|context| first.admit(context))
                .map(|context| Resolved::stage1(first.stages, context))
                .ok_or(Unresolved::Unknown),
            Ok(Route::Stage2(stages, second)) => Ok(Resolved::stage2(stages, &second)),
            Ok(Route::Bypass) => Err(Unresolved::Bypass),
            Err(_) => Err(Unresolved::Unknown),
        }
    }

    pub(crate) fn keep_stream(&mut self, sid: u32, stream: Rc<Stream>, rules: PcieRules) {
        self.streams.insert(sid, 0, stream);
        self.pcie.insert(sid, 0, rules);
        self.resolved.forget_all();
    }

    pub(crate) fn keep_context(&mut self, sid: u32, index: u32, context: Option<Rc<Context>>) {
        self.contexts.insert(sid, index, context);
        self.resolved.forget_all();
    }

    pub(crate) fn keep_resolved(&mut self, transaction: &Transaction, resolved: Resolved) {
        self.resolved.insert(transaction, resolved);
    }

    /// Forgets the context descriptors that `doomed` names by stream and context, and the stream
    /// table entries too if `streams` says so. How many structures that were.
    pub(crate) fn invalidate(&mut self, streams: bool, doomed: impl Fn(u32, u32) -> bool) -> u32 {
        let mut entries = self.contexts.invalidate(&doomed);
        if streams {
            entries += self.streams.invalidate(&doomed);
            self.pcie.invalidate(&doomed);
        }
        self.resolved.forget_all();
        entries
    }
}

/// A direct-mapped cache of configuration structures.
struct Cache<T> {
    slots: Vec<(u64, Option<T>)>,
}

/// The key of a structure of stream `sid`, context `index`.
#[inline]
fn key(sid: u32, index: u32) -> u64 {
    u64::from(sid) << 32 | u64::from(index)
}

impl<T: Clone> Cache<T> {
    fn new(entries: u32) -> Cache<T> {
        Cache {
            slots: vec![(0, None); entries as usize],
        }
    }

    #[inline]
    fn slot(&self, sid: u32, index: u32) -> usize {
        // Neighbouring contexts of a stream, and neighbouring streams, do not displace each other.
        (sid.wrapping_mul(0x9e37_79b1).rotate_left(16) ^ sid ^ index) as usize
            & (self.slots.len() - 1)
    }

    /// The structure of stream `sid`, context `index`.
    #[inline(always)]
    fn get(&self, sid: u32, index: u32) -> Option<&T> {
        let (at, value) = &self.slots[self.slot(sid, index)];
        if *at == key(sid, index) {
            value.as_ref()
        } else {
            None
        }
    }

    fn insert(&mut self, sid: u32, index: u32, value: T) {
        let slot = self.slot(sid, index);
        self.slots[slot] = (key(sid, index), Some(value));
    }

    /// Forgets the structures that `doomed` says yes to, and says how many there were.
    fn invalidate(&mut self, doomed: &impl Fn(u32, u32) -> bool) -> u32 {
        let mut dropped = 0;
        for (at, value) in &mut self.slots {
            if value.is_some() && doomed((*at >> 32) as u32, *at as u32) {
                *value = None;
                dropped += 1;
            }
        }
        dropped
    }
}

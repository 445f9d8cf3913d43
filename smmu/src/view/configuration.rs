//! Configuration in memory beside what the SMMU has cached of it, and the way there.

use super::View;
use crate::config::{CdAt, Context, SteAt, Stream};
use crate::route::Route;
use crate::spec::cd::L1Cd;
use crate::spec::low_mask;
use crate::spec::regs::cr2;
use crate::spec::ste::L1Std;
use crate::transaction::Transaction;

/// A structure of a stream's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// The level 1 descriptor of the stream table.
    StreamLevel1,
    /// The stream table entry.
    Stream,
    /// The level 1 descriptor of these context descriptors, from the first to the last.
    ContextLevel1(u32, u32),
    /// A context descriptor.
    Context(u32),
}

impl Structure {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Structure::StreamLevel1 => "level 1 stream table descriptor",
            Structure::Stream => "stream table entry",
            Structure::ContextLevel1(..) => "level 1 context descriptor",
            Structure::Context(_) => "context descriptor",
        }
    }

    /// Its size in memory.
    pub const fn bytes(self) -> u64 {
        match self {
            Structure::StreamLevel1 | Structure::ContextLevel1(..) => 8,
            Structure::Stream | Structure::Context(_) => 64,
        }
    }

    /// The command by which software tells that it has changed.
    pub const fn invalidation(self) -> &'static str {
        match self {
            Structure::StreamLevel1 => "CMD_CFGI_STE with Leaf 0",
            Structure::Stream => "CMD_CFGI_STE",
            Structure::ContextLevel1(..) => "CMD_CFGI_CD with Leaf 0",
            Structure::Context(_) => "CMD_CFGI_CD",
        }
    }
}

/// Cached configuration that no longer says what memory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Where the structure is.
    pub at: u64,
    /// Which one it is.
    pub structure: Structure,
}

/// A level 1 descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level1 {
    /// Where it is.
    pub at: u64,
    /// Of which table.
    pub structure: Structure,
    /// What it says: Span or V, and L2Ptr. The rest is software's.
    pub says: u64,
}

impl View<'_> {
    /// The configuration by which the SMMU translates `transaction` from its caches, if memory says
    /// another thing by now. What no transaction can tell apart is the same.
    pub fn stale(&self, transaction: &Transaction) -> Option<Stale> {
        let sid = transaction.stream.0;
        let caches = self.smmu.0.caches.borrow();
        let cached = caches.config.stream(sid)?;
        let ste = self.ste(sid).ok()?;
        let e2h = self.smmu.0.regs.cr2.get() & cr2::E2H != 0;
        if **cached != Stream::parse(&ste.it, self.smmu.config(), e2h) {
            return Some(Stale {
                at: ste.at,
                structure: Structure::Stream,
            });
        }
        let Stream::Translate(stages) = &**cached else {
            return None;
        };
        let Ok(Route::Stage1(first)) = stages.route(transaction) else {
            return None;
        };
        let (contexts, index) = (first.contexts, first.index);
        let cached = caches.config.context(sid, index)?;
        let cd = self.cd_of(stages, contexts, index).ok()?;
        let now = Context::parse(&cd.it, contexts.world, self.smmu.config());
        (cached.as_deref() != now.as_ref()).then_some(Stale {
            at: cd.at,
            structure: Structure::Context(index),
        })
    }

    /// The level 1 descriptors on the way to the configuration of `transaction`: that of the stream
    /// table, and that of the context descriptor table, where there are two levels.
    pub fn level1(&self, transaction: &Transaction) -> Vec<Level1> {
        let mut found = Vec::new();
        let sid = transaction.stream.0;
        if let Ok(SteAt::Descriptor(at)) = self.stream_table().find(sid)
            && let Ok(raw) = self.word(at)
        {
            let l1 = L1Std(raw);
            found.push(Level1 {
                at,
                structure: Structure::StreamLevel1,
                says: l1.l2_ptr() | u64::from(l1.span()),
            });
        }
        let caches = self.smmu.0.caches.borrow();
        let cached = caches.config.stream(sid).map(|stream| match &**stream {
            Stream::Translate(stages) => Some(*stages),
            _ => None,
        });
        let Some(stages) = cached.unwrap_or_else(|| self.stages(sid).ok()) else {
            return found;
        };
        if let Ok(Route::Stage1(first)) = stages.route(transaction)
            && let CdAt::Descriptor(at) = first.contexts.find(first.index)
            && let Ok(at) = self.through(&stages, at)
            && let Ok(raw) = self.word(at)
        {
            let (l1, index) = (L1Cd(raw), first.index);
            let rest = low_mask(first.contexts.leaf_log2.unwrap_or(0).into()) as u32;
            found.push(Level1 {
                at,
                structure: Structure::ContextLevel1(index & !rest, index | rest),
                says: l1.l2_ptr() | u64::from(l1.v()),
            });
        }
        found
    }
}

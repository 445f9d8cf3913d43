//! What software says will soon be used: CMD_PREFETCH_CONFIG and CMD_PREFETCH_ADDR.
//!
//! IHI 0070, *Prefetch*, *Speculative accesses*. A prefetch is made at once and takes no time. It
//! fills caches as an unprivileged read would, may set access flags as one would, and whatever
//! stands in its way it keeps to itself: no event, no stall.

use std::pin::pin;
use std::task::{Context, Waker};

use crate::attempt::Attempt;
use crate::smmu::Inner;
use crate::spec::regs::cr0;
use crate::transaction::{Access, StreamId, SubstreamId, Transaction};

/// A prefetch of configuration, and of translations if there are addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefetch {
    pub(crate) stream: StreamId,
    pub(crate) substream: Option<SubstreamId>,
    pub(crate) span: Option<Addresses>,
}

/// Addresses at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) first: u64,
    pub(crate) stride_log2: u32,
    pub(crate) count_log2: u32,
}

/// No more than this is done for one command, however much it asks for.
const TRANSLATIONS_MAX: u64 = 256;

impl Inner {
    pub(crate) fn prefetch(&self, prefetch: Prefetch) {
        if !self.regs.enabled(cr0::SMMUEN) {
            return;
        }
        let mut transaction = Transaction {
            stream: prefetch.stream,
            substream: prefetch.substream,
            address: 0,
            access: Access::READ,
        };
        // More than the TLB holds would push out what was just put in.
        let most = TRANSLATIONS_MAX.min(self.features.tlb_entries.into());
        let attempt = Attempt::AT_ONCE.with(Attempt::CONFIG_ONLY, prefetch.span.is_none());
        let span = prefetch.span.unwrap_or(Addresses {
            first: 0,
            stride_log2: 0,
            count_log2: 0,
        });
        for index in 0..(1 << span.count_log2).min(most) {
            transaction.address = span.first.wrapping_add(index << span.stride_log2);
            // Whatever it comes to: what there is to keep has been kept.
            run_now(self.attempt(&transaction, attempt));
        }
    }
}

/// Runs a future that has nothing to wait for.
fn run_now(future: impl Future) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    debug_assert!(polled.is_ready(), "a prefetch spends no time");
}

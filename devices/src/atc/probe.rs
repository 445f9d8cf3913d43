//! Where latencies, the trace and fault plans attach to a translation cache.

use stallbox_timeline::Span;

use crate::dma::{InvalidateRequest, PageRequest, PageResponseCode, Pasid};
use crate::verdict::DeviceVerdict;

/// A step of the cache's own work that takes time. What the way to the root complex and translation
/// take is spent by the [port](crate::dma::AtsPort).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtcStep {
    /// A translation found in the cache.
    Hit,
    /// From the arrival of an Invalidate Request until the cache has forgotten.
    Invalidate,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtcNote {
    /// The cache had nothing that permits an access, and a Translation Request is sent.
    Miss {
        /// Of which address space.
        pasid: Option<Pasid>,
        /// The address.
        address: u64,
        /// Whether write permission is asked for.
        write: bool,
    },
    /// A Page Request Message is sent.
    PageRequested {
        /// The message.
        request: PageRequest,
    },
    /// A page request group was answered.
    PageResponded {
        /// Its address space.
        pasid: Option<Pasid>,
        /// Its index.
        index: u16,
        /// The answer.
        code: PageResponseCode,
        /// From its last request to the answer.
        latency: Span,
    },
    /// A PRG Response Message fits no outstanding group, and is ignored.
    UnexpectedResponse {
        /// Its index.
        index: u16,
    },
    /// An access that had to ask for pages has its answer: one IO page fault as the device sees it.
    Faulted {
        /// Its address space.
        pasid: Option<Pasid>,
        /// The address at fault.
        address: u64,
        /// Whether it is a write.
        write: bool,
        /// How many page request groups it took.
        groups: u32,
        /// From the first translation that did not permit the access to the answer.
        latency: Span,
        /// Whether the access is aborted.
        aborted: bool,
    },
    /// An Invalidate Request was obeyed; its completion is sent once no transaction uses what it
    /// named.
    Invalidated {
        /// The request.
        request: InvalidateRequest,
        /// How many translations the cache had.
        entries: usize,
        /// How many transactions under way are waited for.
        in_use: usize,
    },
    /// The completion of an Invalidate Request is lost: the probe wanted it so.
    InvalidateLost {
        /// The request.
        request: InvalidateRequest,
    },
}

/// Called at the named points. Without side effects on the device, and never from inside a borrow
/// of it.
pub trait AtcProbe {
    /// How long `step` takes, this time.
    fn spend(&self, step: AtcStep) -> Span;
    /// Told what happened.
    fn note(&self, note: &AtcNote);
    /// The completion of `request` is about to be sent.
    fn on_completion(&self, _request: &InvalidateRequest) -> DeviceVerdict {
        DeviceVerdict::default()
    }
}

/// Takes no time and keeps no record.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAtcProbe;

impl AtcProbe for NoAtcProbe {
    fn spend(&self, _step: AtcStep) -> Span {
        Span::ZERO
    }

    fn note(&self, _note: &AtcNote) {}
}

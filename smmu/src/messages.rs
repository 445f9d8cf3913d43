//! What passes between the SMMU and the endpoints: translation requests, invalidations, page requests,
//! and their answers.
//!
//! PCI Express Base Specification, *Address Translation Services*, *Page Request Services*.

use crate::spec::low_mask;
use crate::transaction::{Access, StreamId, SubstreamId, Transaction};

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
    /// Whether any of the `size` bytes at `address` is in the range.
    pub fn covers(&self, address: u64, size: u64) -> bool {
        let last = address.saturating_add(size.max(1) - 1);
        address <= self.address | low_mask(self.size_log2.into()) && last >= self.address
    }
}

/// The way in which an endpoint tells that an invalidation is complete. Dropped, it never is.
#[must_use = "CMD_SYNC waits for the completion"]
pub struct InvalidateCompletion(Box<dyn FnOnce()>);

impl InvalidateCompletion {
    pub(crate) fn new(done: impl FnOnce() + 'static) -> InvalidateCompletion {
        InvalidateCompletion(Box::new(done))
    }

    /// No access will use what was invalidated.
    pub fn done(self) {
        (self.0)();
    }
}

/// A Page Request Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Who asks.
    pub stream: StreamId,
    /// For which address space (the PASID prefix).
    pub substream: Option<SubstreamId>,
    /// An address in the page; the low 12 bits are not part of the message.
    pub address: u64,
    /// The page is to be readable.
    pub read: bool,
    /// The page is to be writable.
    pub write: bool,
    /// The page is to be executable. Nothing without a SubstreamID.
    pub execute: bool,
    /// By privileged accesses. Nothing without a SubstreamID.
    pub privileged: bool,
    /// The last request of its group: the one that is answered.
    pub last: bool,
    /// Page Request Group Index, 9 bits.
    pub index: u16,
}

impl PageRequest {
    /// The message that follows the last page request of `substream` when the endpoint stops using
    /// it. It is not answered.
    pub const fn stop_marker(stream: StreamId, substream: SubstreamId) -> PageRequest {
        PageRequest {
            stream,
            substream: Some(substream),
            address: 0,
            read: false,
            write: false,
            execute: false,
            privileged: false,
            last: true,
            index: 0,
        }
    }

    /// The access that the page is for.
    pub(crate) fn transaction(&self) -> Transaction {
        Transaction {
            stream: self.stream,
            substream: self.substream,
            address: self.address,
            access: Access {
                write: self.write,
                privileged: self.privileged,
                instruction: self.execute && !self.write,
            },
        }
    }

    /// Whether it is a stop marker. The same bits without a SubstreamID ask for a page.
    pub const fn is_stop_marker(&self) -> bool {
        self.substream.is_some() && self.last && !self.read && !self.write
    }
}

/// What became of a page request group: the Response Code of a PRG Response Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageResponseCode {
    /// 0000: all pages of the group were handled, so translating again is worth while.
    Success,
    /// 0001: a page of the group does not exist, or does not permit what was asked.
    InvalidRequest,
    /// 1111: page requests cannot be served; the endpoint is to send no more.
    Failure,
}

impl PageResponseCode {
    /// All of them.
    pub const ALL: [PageResponseCode; 3] = [
        PageResponseCode::Success,
        PageResponseCode::InvalidRequest,
        PageResponseCode::Failure,
    ];

    /// The name by which traces know it.
    pub const fn name(self) -> &'static str {
        match self {
            PageResponseCode::Success => "success",
            PageResponseCode::InvalidRequest => "invalid_request",
            PageResponseCode::Failure => "failure",
        }
    }
}

/// A PRG Response Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageResponse {
    /// The PASID prefix.
    pub substream: Option<SubstreamId>,
    /// Page Request Group Index, 9 bits.
    pub index: u16,
    /// What became of the group.
    pub code: PageResponseCode,
}

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

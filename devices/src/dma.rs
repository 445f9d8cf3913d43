//! A device's way to guest memory.
//!
//! A transaction may be translated at once, be refused, or wait for as long as the guest's kernel
//! takes to resolve a page fault; so every access is awaited. A transaction that crosses pages can
//! wait at each of them.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Weak;

/// A process address space identifier, 20 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pasid(pub u32);

/// What a transaction carries besides its address: the PASID prefix and its attributes.
/// The requester id is the port's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DmaAttrs {
    /// The PASID, if the transaction has one.
    pub pasid: Option<Pasid>,
    /// Privileged Mode Requested.
    pub privileged: bool,
    /// Execute Requested (reads only).
    pub execute: bool,
}

impl DmaAttrs {
    /// A transaction with the requester id alone.
    pub const REQUESTER: DmaAttrs = DmaAttrs {
        pasid: None,
        privileged: false,
        execute: false,
    };

    /// An unprivileged data access of the address space `pasid`.
    pub const fn of(pasid: Pasid) -> DmaAttrs {
        DmaAttrs {
            pasid: Some(pasid),
            privileged: false,
            execute: false,
        }
    }
}

/// The transaction was terminated: the device gets an abort instead of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transaction aborted at address {address:#x}")]
pub struct DmaAbort {
    /// First address that was not transferred.
    pub address: u64,
}

/// The outcome of a transaction, once there is one.
pub type DmaFuture<'a> = Pin<Box<dyn Future<Output = Result<(), DmaAbort>> + 'a>>;

/// What an access does to memory.
#[derive(Debug)]
pub enum Op<'a> {
    /// Reads as many bytes as there is room for. On an abort the buffer holds what came before it.
    Read(&'a mut [u8]),
    /// Writes these bytes. What came before an abort stays written.
    Write(&'a [u8]),
    /// FetchAdd (PCI Express Base Specification, *Atomic Operations (AtomicOps)*): adds a number to
    /// one in memory, in one step. A completer without AtomicOp support refuses it.
    FetchAdd {
        /// What is added: a little-endian number of 4 or 8 bytes. The address is aligned to its
        /// size.
        operand: &'a [u8],
        /// Gets what was there before; as long as the operand.
        before: &'a mut [u8],
    },
}

impl Op<'_> {
    /// Bytes of memory that it concerns.
    pub fn bytes(&self) -> usize {
        match self {
            Op::Read(buffer) => buffer.len(),
            Op::Write(buffer) => buffer.len(),
            Op::FetchAdd { operand, .. } => operand.len(),
        }
    }

    /// Whether it needs permission to write, and is reported as a write. Who may write may also
    /// read, so that is all that FetchAdd needs.
    pub fn is_write(&self) -> bool {
        !matches!(self, Op::Read(_))
    }

    /// The part of it that concerns these of its bytes. `None` if it would be split and is atomic.
    ///
    /// # Panics
    /// If it has fewer bytes.
    pub fn part(&mut self, bytes: Range<usize>) -> Option<Op<'_>> {
        match self {
            Op::Read(buffer) => Some(Op::Read(&mut buffer[bytes])),
            Op::Write(buffer) => Some(Op::Write(&buffer[bytes])),
            Op::FetchAdd { operand, before } => {
                (bytes == (0..operand.len())).then_some(Op::FetchAdd { operand, before })
            }
        }
    }
}

/// One function's port to memory.
pub trait DmaPort {
    /// Accesses memory from `address` on.
    fn access<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a>;

    /// The same function's way to address translation and page requests, if the root complex offers
    /// them.
    fn ats(&self) -> Option<&dyn AtsPort> {
        None
    }
}

/// What FetchAdd leaves in memory: the sum of two little-endian numbers of the same width, modulo
/// that width.
///
/// # Panics
/// If the widths differ, or are above 8 bytes.
pub fn fetch_add_result(before: &[u8], operand: &[u8]) -> Vec<u8> {
    assert_eq!(before.len(), operand.len(), "FetchAdd of unequal widths");
    let number = |bytes: &[u8]| {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(wide)
    };
    let sum = number(before).wrapping_add(number(operand));
    sum.to_le_bytes()[..before.len()].to_vec()
}

/// Address Translation Services and Page Request Services, as a function sees them: what it asks
/// of the root complex (PCI Express Base Specification, *Address Translation Services*, *Page
/// Request Services*). [`Atc`](crate::atc::Atc) is a cache on top of it that is a [`DmaPort`]
/// itself, which is what most devices want.
pub trait AtsPort {
    /// Translation Request for the page that `address` is in. `write` false is the No Write flag.
    fn translate(&self, attrs: DmaAttrs, address: u64, write: bool) -> TranslationFuture<'_>;

    /// Virtual time of putting an access of `bytes` on the link. The translated transactions of
    /// that access then take no more of it: they are pipelined.
    fn issue(&self, bytes: usize) -> Pin<Box<dyn Future<Output = ()> + '_>>;

    /// A translated access: `address` is one that a translation gave. It is within the range of that
    /// translation.
    fn access_translated<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a>;

    /// Page Request Message. The answer, if one is due, comes to
    /// [`AtsFunction::page_response`]. Messages keep their order.
    fn page_request(&self, request: PageRequest);

    /// Says who gets invalidations and page responses.
    fn connect(&self, function: Weak<dyn AtsFunction>);
}

/// A function that keeps translations: what the root complex asks of it.
pub trait AtsFunction {
    /// Invalidate Request: forget these translations, and call `done` when no transaction uses them
    /// any more. A `done` that is dropped is an Invalidate Completion that never comes.
    fn invalidate(&self, request: InvalidateRequest, done: Box<dyn FnOnce()>);
    /// PRG Response Message.
    fn page_response(&self, response: PageResponse);
}

/// The answer to a Translation Request, once there is one.
pub type TranslationFuture<'a> = Pin<Box<dyn Future<Output = TranslationAnswer> + 'a>>;

/// The answer to a Translation Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationAnswer {
    /// Success. A translation that permits nothing is one of these.
    Translated(TranslatedRange),
    /// Unsupported Request: ATS is off for this function.
    Unsupported,
    /// Completer Abort.
    Aborted,
}

/// A Translation Completion Data Entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslatedRange {
    /// The translation of the requested address.
    pub address: u64,
    /// Size of the naturally aligned range that it is in, as a power of two of bytes.
    pub size_log2: u8,
    /// R.
    pub read: bool,
    /// W.
    pub write: bool,
    /// Exe.
    pub execute: bool,
    /// U: this range must be accessed untranslated.
    pub untranslated_only: bool,
}

/// An Invalidate Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidateRequest {
    /// Of which address space; `None` is what was translated without a PASID.
    pub pasid: Option<Pasid>,
    /// First address, aligned to the size.
    pub address: u64,
    /// Size of the range as a power of two of bytes, 12 to 64; 64 is everything.
    pub size_log2: u8,
    /// Global Invalidate: of every PASID.
    pub global: bool,
}

/// A Page Request Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// For which address space.
    pub pasid: Option<Pasid>,
    /// An address in the page.
    pub address: u64,
    /// R: the page is to be readable.
    pub read: bool,
    /// W: the page is to be writable.
    pub write: bool,
    /// Execute Requested.
    pub execute: bool,
    /// Privileged Mode Requested.
    pub privileged: bool,
    /// L: the last request of its group. With a PASID and neither R nor W it is a Stop Marker.
    pub last: bool,
    /// Page Request Group Index, 9 bits.
    pub index: u16,
}

/// Response Code of a PRG Response Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageResponseCode {
    /// 0000: translating again is worth while.
    Success,
    /// 0001 Invalid Request: a page does not exist or does not permit what was asked.
    InvalidRequest,
    /// 1111 Response Failure: no more page requests.
    Failure,
}

/// A PRG Response Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageResponse {
    /// The PASID prefix.
    pub pasid: Option<Pasid>,
    /// Page Request Group Index.
    pub index: u16,
    /// What became of the group.
    pub code: PageResponseCode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_atomic_operation_is_never_split() {
        assert_eq!(Op::Write(&[0; 8]).part(4..8).map(|op| op.bytes()), Some(4));
        assert_eq!(
            Op::Read(&mut [0; 8]).part(2..5).map(|op| op.bytes()),
            Some(3)
        );
        let mut add = Op::FetchAdd {
            operand: &[0; 8],
            before: &mut [0; 8],
        };
        assert!(add.part(0..4).is_none(), "half of it");
        assert!(add.part(4..8).is_none(), "its other half");
        assert_eq!(add.part(0..8).map(|op| op.bytes()), Some(8));
    }
}

//! A device's way to guest memory.
//!
//! A transaction may be translated at once, be refused, or wait for as long as the guest's kernel
//! takes to resolve a page fault; so every access is awaited. A transaction that crosses pages can
//! wait at each of them.

use std::future::Future;
use std::pin::Pin;

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

/// One function's port to memory.
pub trait DmaPort {
    /// Reads `buffer.len()` bytes from `address`. On an abort `buffer` holds what came before it.
    fn read<'a>(&'a self, attrs: DmaAttrs, address: u64, buffer: &'a mut [u8]) -> DmaFuture<'a>;
    /// Writes `buffer` to `address`. What came before an abort stays written.
    fn write<'a>(&'a self, attrs: DmaAttrs, address: u64, buffer: &'a [u8]) -> DmaFuture<'a>;
    /// FetchAdd (PCI Express Base Specification, *Atomic Operations (AtomicOps)*): adds the
    /// little-endian number in `operand`, 4 or 8 bytes, to that at `address`, which is aligned to
    /// its size, in one step; `before` gets what was there. Without AtomicOp support in the
    /// completer, as here, the request is refused.
    fn fetch_add<'a>(
        &'a self,
        attrs: DmaAttrs,
        address: u64,
        operand: &'a [u8],
        before: &'a mut [u8],
    ) -> DmaFuture<'a> {
        let _ = (attrs, operand, before);
        Box::pin(async move { Err(DmaAbort { address }) })
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

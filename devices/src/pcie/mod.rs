//! PCI Express: the host bridge's ECAM window, configuration space and its capabilities.
//!
//! Section titles are those of the PCI Express Base Specification. What is here: type 0 functions
//! on the buses that the bridge decodes, memory BARs, MSI, MSI-X, PASID, ATS, PRI, function level
//! reset and D0/D3hot. What is not: bridges and root ports (an integrated endpoint needs none), I/O
//! space, legacy interrupts, expansion ROMs, AER, ACS and SR-IOV.

pub mod ats;
pub mod bar;
pub mod capability;
pub mod config;
pub mod express;
pub mod host;
pub mod message;
pub mod msi;
pub mod msix;
pub mod pasid;
pub mod power;
pub mod pri;

#[cfg(test)]
mod tests;

use crate::dma::DmaPort;
use std::rc::Rc;

/// Bus, device and function: `bus << 8 | device << 3 | function`. Also the StreamID without PASID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequesterId(pub u16);

/// A PCIe function, as the host bridge sees it. An access answers with the first register that it met and
/// that the function does not model (see [`Unmodelled`](crate::mmio::Unmodelled)).
pub trait PciFunction {
    /// Reads configuration space. `offset` is below 4096; 1, 2 or 4 bytes, naturally aligned.
    fn config_read(&self, offset: u16, data: &mut [u8]) -> Option<u64>;
    /// Writes configuration space; same limits.
    fn config_write(&self, offset: u16, data: &[u8]) -> Option<u64>;
    /// The memory BARs that decode now (Memory Space Enable is set), as (BAR number, address, size).
    fn decoded_bars(&self) -> Vec<(u8, u64, u64)>;
    /// Reads registers behind a BAR.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> Option<u64>;
    /// Writes registers behind a BAR.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> Option<u64>;
}

/// What a function is given when it is plugged in.
#[derive(Clone)]
pub struct Slot {
    /// Where it sits.
    pub requester: RequesterId,
    /// Its way to memory. MSIs are 4-byte writes through it with
    /// [`DmaAttrs::REQUESTER`](crate::dma::DmaAttrs::REQUESTER).
    pub dma: Rc<dyn DmaPort>,
}

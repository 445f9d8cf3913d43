//! Registers that the CPU reaches by address.

use crate::pcie::RequesterId;

/// A block of registers. `offset` counts from the start of the block.
///
/// Accesses are 1, 2, 4, 8 or 16 bytes, little-endian and naturally aligned, except 16 bytes, which
/// are a pair of 8 (`LDP`, `STP`) presented as one access. A block answers every access: what it
/// does not implement reads as zero and ignores writes, as its specification has it, and it says so.
pub trait MmioDevice {
    /// Fills `data` with what the registers at `offset` read.
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled>;
    /// Writes `data` to the registers at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled>;
}

/// The first register that an access met and that the device does not model. A register that the
/// specification has as zero for a device with these features is modelled: it does what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmodelled {
    /// In which part of the block.
    pub part: Part,
    /// From the start of that part.
    pub offset: u64,
}

/// A part of a block of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The block itself.
    Block,
    /// The configuration space of a PCIe function, or of one that is not there.
    Config(RequesterId),
    /// A BAR of a PCIe function.
    Bar(RequesterId, u8),
}

impl Unmodelled {
    /// In the block itself.
    pub(crate) fn in_block(offset: u64) -> Unmodelled {
        Unmodelled {
            part: Part::Block,
            offset,
        }
    }
}

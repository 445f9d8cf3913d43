//! Registers that the CPU reaches by address.

/// A block of registers. `offset` counts from the start of the block.
///
/// Accesses are 1, 2, 4, 8 or 16 bytes, little-endian and naturally aligned, except 16 bytes, which
/// are a pair of 8 (`LDP`, `STP`) presented as one access. A block answers every access: what it
/// does not implement reads as zero and ignores writes, as its specification has it.
pub trait MmioDevice {
    /// Fills `data` with what the registers at `offset` read.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Writes `data` to the registers at `offset`.
    fn write(&self, offset: u64, data: &[u8]);
}

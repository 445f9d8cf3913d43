//! The system around the SMMU: physical memory, and where interrupts go.

/// Physical memory refused an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("external abort")]
pub struct ExternalAbort;

/// Physical memory as the SMMU sees it: tables and queues, and by writes, interrupt doorbells.
pub trait Memory {
    /// Reads `data.len()` bytes at `address`.
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort>;
    /// Writes `data` at `address`. Message-signalled interrupts come this way too.
    fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort>;

    /// Replaces the 64-bit little-endian word at `address`, a multiple of 8, by `new` if it is
    /// `current`, and says what it was. This is how the access flag and dirty state are kept in
    /// translation tables.
    ///
    /// What is provided reads and then writes. Memory that others write at the same time, which
    /// is so wherever CPUs have threads of their own, has to do both in one.
    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, ExternalAbort> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        let was = u64::from_le_bytes(bytes);
        if was == current {
            self.write(address, &new.to_le_bytes())?;
        }
        Ok(was)
    }
}

/// The SMMU's wired interrupts. All are edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// The event queue is no longer empty.
    EventQueue,
    /// The page request queue has something for software.
    PageRequestQueue,
    /// A CMD_SYNC that asked for an interrupt is complete.
    CommandSync,
    /// An error in GERROR became active.
    GlobalError,
}

/// Where interrupts go.
pub trait Interrupts {
    /// One edge on `line`.
    fn pulse(&self, line: Line);

    /// The event that ends a processor's WFE: a CMD_SYNC asked for it, or a command queue that was
    /// full has room.
    fn send_event(&self) {}
}

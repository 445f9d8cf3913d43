//! Circular queues: positions with a wrap bit above the index.
//!
//! IHI 0070, *SMMU circular queues*.

use crate::spec::{field, low_mask};

/// The geometry of a queue in memory, as its base register describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    base: u64,
    log2: u32,
    entry_bytes: u64,
}

impl Ring {
    /// The queue that `register` (a `*Q_BASE`) describes. LOG2SIZE counts only up to the
    /// implemented size, and the address only in multiples of the queue's own.
    pub(crate) fn new(register: u64, log2_max: u8, entry_bytes: u64) -> Ring {
        let log2 = ((register & 0x1f) as u32).min(log2_max.into());
        let align = (entry_bytes << log2).max(32);
        Ring {
            base: field(register, 51, 5) & !(align - 1),
            log2,
            entry_bytes,
        }
    }

    /// `position` without the bits that the queue's size does not use.
    pub(crate) fn position(&self, register: u32) -> u32 {
        register & low_mask(self.log2 + 1) as u32
    }

    /// The position after `position`.
    pub(crate) fn next(&self, position: u32) -> u32 {
        self.position(position.wrapping_add(1))
    }

    /// Whether nothing is queued.
    pub(crate) fn is_empty(&self, prod: u32, cons: u32) -> bool {
        self.position(prod) == self.position(cons)
    }

    /// Whether there is no room: same index, other wrap.
    pub(crate) fn is_full(&self, prod: u32, cons: u32) -> bool {
        self.position(prod) ^ self.position(cons) == 1 << self.log2
    }

    /// Where the entry at `position` is in memory.
    pub(crate) fn address(&self, position: u32) -> u64 {
        let index = u64::from(position) & low_mask(self.log2);
        self.base + index * self.entry_bytes
    }

    /// How many entries are queued; software can write indices that no queue has.
    pub(crate) fn queued(&self, prod: u32, cons: u32) -> u32 {
        self.position(prod.wrapping_sub(cons)).min(self.entries())
    }

    /// The memory that it is in.
    pub(crate) fn memory(&self) -> std::ops::Range<u64> {
        self.base..self.base + (self.entry_bytes << self.log2)
    }

    /// How many entries fit.
    pub(crate) fn entries(&self) -> u32 {
        1 << self.log2
    }
}

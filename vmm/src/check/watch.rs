//! Which pages of RAM hold translation tables that the SMMU has read, and what CPUs wrote there.

use std::cell::{Cell, RefCell};

/// Pages of RAM, a bit each. Looked at on every store of a vCPU, so it is flat.
pub struct PageWatch {
    base: u64,
    bits: RefCell<Vec<u64>>,
    stores: RefCell<Vec<Store>>,
    pending: Cell<bool>,
}

/// A store to a watched page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// When, in picoseconds.
    pub time_ps: u64,
    /// The descriptor's address.
    pub at: u64,
    /// What it was.
    pub old: u64,
    /// What it is.
    pub new: u64,
}

impl PageWatch {
    pub(super) fn new(base: u64, bytes: u64) -> PageWatch {
        PageWatch {
            base,
            bits: RefCell::new(vec![0; (bytes >> 12).div_ceil(64) as usize]),
            stores: RefCell::default(),
            pending: Cell::new(false),
        }
    }

    pub(super) fn watch(&self, address: u64) {
        let page = address.wrapping_sub(self.base) >> 12;
        if let Some(word) = self.bits.borrow_mut().get_mut((page / 64) as usize) {
            *word |= 1 << (page % 64);
        }
    }

    /// Whether the page at this offset in RAM is watched.
    #[inline]
    pub fn watches(&self, offset: usize) -> bool {
        let page = offset >> 12;
        let bits = self.bits.borrow();
        bits.get(page / 64)
            .is_some_and(|word| word & 1 << (page % 64) != 0)
    }

    /// A vCPU stored there.
    pub fn stored(&self, store: Store) {
        if store.old != store.new {
            self.stores.borrow_mut().push(store);
            self.pending.set(true);
        }
    }

    /// Whether there are stores that were not taken yet.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.pending.get()
    }

    pub(super) fn take(&self) -> Vec<Store> {
        self.pending.set(false);
        self.stores.take()
    }
}

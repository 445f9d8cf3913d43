//! Which memory is watched for the stores of vCPUs: translation tables that the SMMU has read, context
//! descriptors, the command queue, the reference counts of pages.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;

/// Pages of RAM, a bit each. Looked at on every store of a vCPU, so it is flat.
pub struct PageWatch {
    base: u64,
    bits: RefCell<Vec<u64>>,
    /// Of those, the ones of which only some words count: they are busy for other reasons.
    partly: RefCell<BTreeSet<u64>>,
    words: RefCell<BTreeSet<u64>>,
    /// Here it counts too if what is stored is there already.
    always: RefCell<Range<u64>>,
    stores: RefCell<Vec<Store>>,
    pending: Cell<bool>,
}

/// A store to a watched page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// When, in picoseconds.
    pub time_ps: u64,
    /// The address of the word of 8 bytes.
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
            partly: RefCell::default(),
            words: RefCell::default(),
            always: RefCell::default(),
            stores: RefCell::default(),
            pending: Cell::new(false),
        }
    }

    /// Watches the page of `address`.
    pub(super) fn watch(&self, address: u64) {
        self.partly.borrow_mut().remove(&(address >> 12));
        self.set(address);
    }

    /// Watches the word at `address`, but not the rest of its page.
    pub(super) fn watch_word(&self, address: u64) {
        if !self.is_watched(address) {
            self.partly.borrow_mut().insert(address >> 12);
            self.set(address);
        }
        self.words.borrow_mut().insert(address & !7);
    }

    /// Watches a range of which each store counts. There is one.
    pub(super) fn watch_always(&self, range: Range<u64>) {
        // Not more than a queue of the SMMU can have.
        for page in range.clone().step_by(4096) {
            self.watch(page);
        }
        *self.always.borrow_mut() = range;
    }

    fn set(&self, address: u64) {
        let page = address.wrapping_sub(self.base) >> 12;
        if let Some(word) = self.bits.borrow_mut().get_mut((page / 64) as usize) {
            *word |= 1 << (page % 64);
        }
    }

    fn is_watched(&self, address: u64) -> bool {
        let offset = usize::try_from(address.wrapping_sub(self.base));
        offset.is_ok_and(|offset| self.watches(offset))
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
        let partly = !self.partly.borrow().is_empty()
            && self.partly.borrow().contains(&(store.at >> 12))
            && !self.words.borrow().contains(&store.at);
        let counts = store.old != store.new || self.always.borrow().contains(&store.at);
        if counts && !partly {
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

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x4000_0000;

    fn seen(watch: &PageWatch, at: u64, old: u64, new: u64) -> bool {
        if watch.watches((at - BASE) as usize) {
            watch.stored(Store {
                time_ps: 0,
                at,
                old,
                new,
            });
        }
        !watch.take().is_empty()
    }

    #[test]
    fn pages_words_and_queues_are_watched_each_in_their_way() {
        let watch = PageWatch::new(BASE, 1 << 20);
        watch.watch(BASE + 0x1008);
        assert!(seen(&watch, BASE + 0x1ff8, 1, 2), "the whole page");
        assert!(!seen(&watch, BASE + 0x1ff8, 2, 2), "no change");
        assert!(!seen(&watch, BASE + 0x2000, 1, 2), "another page");

        watch.watch_word(BASE + 0x3034);
        assert!(seen(&watch, BASE + 0x3030, 1, 2), "the word");
        assert!(!seen(&watch, BASE + 0x3038, 1, 2), "the rest of its page");
        watch.watch(BASE + 0x3000);
        assert!(seen(&watch, BASE + 0x3038, 1, 2), "a table as well by now");
        watch.watch_word(BASE + 0x1000);
        assert!(seen(&watch, BASE + 0x1ff8, 1, 2), "a table before");

        watch.watch_always(BASE + 0x4000..BASE + 0x5000);
        assert!(seen(&watch, BASE + 0x4010, 2, 2), "the same command again");
        watch.watch(BASE + (1 << 20));
        watch.watch_always(0..0x1000);
    }
}

//! Things that happen to an SMMU from outside the architecture: what a fault plan or a person makes
//! of it, beyond the [verdicts](crate::Verdict) at its own points, and what it keeps, to be shown.

use crate::smmu::Smmu;
use crate::tlb::{CachedTranslation, Scope, Whose};
use crate::transaction::Transaction;

pub use crate::tlb::TlbEntry;

impl Smmu {
    /// Writes an event record, as if the SMMU had found a reason to: it is lost if the queue is
    /// disabled or full, as any other.
    pub fn inject_event(&self, words: [u64; 4]) {
        self.0.inject_event(words);
    }

    /// Executes a command that no software queued; false if it is illegal here. CMDQ_CONS does not
    /// move.
    pub fn inject_command(&self, words: [u64; 2]) -> bool {
        self.0.execute_injected(words)
    }

    /// Lets the TLB forget what it has for `address` in any address space, or everything, as if it
    /// had been evicted; says how many entries that were. Translations under way do not notice: an
    /// eviction is no invalidation.
    pub fn evict(&self, address: Option<u64>) -> u32 {
        let tlb = &mut self.0.caches.borrow_mut().tlb;
        tlb.invalidate(Whose::Anyone, address.map(Scope::address))
    }

    /// What the TLB has for `transaction`, as far as its configuration is cached too.
    pub fn cached(&self, transaction: &Transaction) -> Option<CachedTranslation> {
        let caches = self.0.caches.borrow();
        let tag = caches.config.resolve(transaction).ok()?.tag;
        let entry = caches.tlb.lookup(transaction.address, &tag)?;
        Some(CachedTranslation(*entry))
    }

    /// What the TLB would have for `transaction` by its configuration, as far as that is cached: a page
    /// or block of so many bytes, as a power of two.
    pub fn expected(&self, transaction: &Transaction, size_log2: u8) -> Option<CachedTranslation> {
        let caches = self.0.caches.borrow();
        let resolved = caches.config.resolve(transaction).ok()?;
        let address = transaction.address;
        let granule = resolved.granule(address);
        Some(CachedTranslation::tagged(
            &resolved.tag,
            granule,
            size_log2,
            address,
        ))
    }

    /// What the TLB holds, in the order of input addresses.
    pub fn tlb(&self) -> Vec<TlbEntry> {
        let mut entries = self.0.caches.borrow().tlb.list();
        entries.sort_by_key(|entry| (entry.asid, entry.address, entry.bytes));
        entries
    }
}

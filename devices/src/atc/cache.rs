//! The entries of an address translation cache.

use std::collections::BTreeMap;

use crate::dma::{DmaAttrs, InvalidateRequest, Pasid, TranslatedRange};

/// Whose translation it is: with a PASID or without, for privileged accesses or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Space {
    pasid: Option<Pasid>,
    privileged: bool,
}

impl Space {
    fn of(attrs: DmaAttrs) -> Space {
        Space {
            pasid: attrs.pasid,
            privileged: attrs.privileged,
        }
    }
}

/// One cached translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtcEntry {
    /// Of which address space.
    pub pasid: Option<Pasid>,
    /// For privileged accesses.
    pub privileged: bool,
    /// First untranslated address, aligned to the size.
    pub first: u64,
    /// Translation of the first address.
    pub output: u64,
    /// Size as a power of two of bytes.
    pub size_log2: u8,
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
    /// Execution is permitted.
    pub execute: bool,
}

impl AtcEntry {
    pub(super) fn new(attrs: DmaAttrs, address: u64, range: &TranslatedRange) -> AtcEntry {
        let inside = low_mask(range.size_log2);
        AtcEntry {
            pasid: attrs.pasid,
            privileged: attrs.privileged,
            first: address & !inside,
            output: range.address & !inside,
            size_log2: range.size_log2,
            read: range.read,
            write: range.write,
            execute: range.execute,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.first | low_mask(self.size_log2)
    }

    /// Whether it permits an access.
    pub(super) fn permits(&self, attrs: DmaAttrs, write: bool) -> bool {
        if write {
            self.write
        } else {
            self.read && (self.execute || !attrs.execute)
        }
    }

    /// The translation of `address`, and how far it reaches from there.
    pub(super) fn output(&self, address: u64) -> (u64, u64) {
        let inside = address & low_mask(self.size_log2);
        let remaining = (low_mask(self.size_log2) - inside).saturating_add(1);
        (self.output | inside, remaining)
    }
}

pub(super) fn low_mask(bits: u8) -> u64 {
    match bits {
        64.. => u64::MAX,
        bits => (1 << bits) - 1,
    }
}

impl InvalidateRequest {
    /// The last address of the range.
    pub(super) fn last(&self) -> u64 {
        self.address | low_mask(self.size_log2)
    }

    /// Whether it concerns an address space and any address from `first` to `last`.
    pub(super) fn concerns(&self, pasid: Option<Pasid>, first: u64, last: u64) -> bool {
        (self.global || self.pasid == pasid) && first <= self.last() && last >= self.address
    }
}

/// Translations by address space and address. Ranges of an address space do not overlap.
pub(super) struct Cache {
    entries: BTreeMap<(Space, u64), (u64, AtcEntry)>,
    /// In order of insertion, which is that of replacement.
    order: BTreeMap<u64, (Space, u64)>,
    next: u64,
    capacity: usize,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Cache {
        Cache {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
            capacity,
        }
    }

    pub(super) fn lookup(&self, attrs: DmaAttrs, address: u64) -> Option<&AtcEntry> {
        let space = Space::of(attrs);
        let below = self.entries.range((space, 0)..=(space, address));
        let (_, (_, entry)) = below.last()?;
        (entry.last() >= address).then_some(entry)
    }

    /// Keeps `entry` in place of whatever overlaps it, and of the oldest if there is no room.
    pub(super) fn insert(&mut self, attrs: DmaAttrs, entry: AtcEntry) {
        let space = Space::of(attrs);
        let mut overlapped: Vec<_> = self
            .entries
            .range((space, entry.first)..=(space, entry.last()))
            .map(|(key, _)| *key)
            .collect();
        let before = self.entries.range((space, 0)..(space, entry.first)).last();
        if let Some((key, (_, old))) = before
            && old.last() >= entry.first
        {
            overlapped.push(*key);
        }
        for key in overlapped {
            self.remove(key);
        }
        while self.entries.len() >= self.capacity
            && let Some((_, &oldest)) = self.order.first_key_value()
        {
            self.remove(oldest);
        }
        let key = (space, entry.first);
        self.order.insert(self.next, key);
        self.entries.insert(key, (self.next, entry));
        self.next += 1;
    }

    fn remove(&mut self, key: (Space, u64)) {
        if let Some((stamp, _)) = self.entries.remove(&key) {
            self.order.remove(&stamp);
        }
    }

    /// Forgets what `request` names, and says how many entries that were.
    pub(super) fn invalidate(&mut self, request: &InvalidateRequest) -> usize {
        let doomed: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, (_, entry))| request.concerns(entry.pasid, entry.first, entry.last()))
            .map(|(key, _)| *key)
            .collect();
        for key in &doomed {
            self.remove(*key);
        }
        doomed.len()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    pub(super) fn entries(&self) -> Vec<AtcEntry> {
        self.entries.values().map(|(_, entry)| *entry).collect()
    }
}

//! The TLB: a real cache, which forgets only what it is told to forget or has no room for.
//!
//! IHI 0070, *Caching*, *TLB tagging*, *TLB invalidation commands*.
//!
//! One StreamWorld (NS-EL1) and one VMID (0, stage 2 being absent) exist, so an entry is tagged by
//! ASID, or as global, and by address. Set-associative, replaced in turn. Blocks are kept whole and
//! the contiguous bit is ignored, so an entry is exactly what one leaf descriptor said. Entries are
//! made only from walks that permitted the access, with the access flag set.

use crate::spec::low_mask;
use crate::walker::{ADDRESS_BITS, Granule, Leaf, Permissions};

const WAYS: usize = 4;

/// Every size that a leaf can have, as a power of two; an entry's class is its place here.
const SIZES: [u32; 7] = [12, 14, 16, 21, 25, 29, 30];

/// The tag of a context's translations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) asid: u16,
    /// The ASID set: entries that are global are so within one set.
    pub(crate) aset: bool,
}

/// One cached leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// First input address, 56 bits wide, and below it the kind of the entry; 0 if there is none.
    key: u64,
    /// Whose it is: see [`owner`].
    owner: u32,
    size_bits: u8,
    level: u8,
    granule: Granule,
    pub(crate) permissions: Permissions,
    output: u64,
}

const EMPTY: Entry = Entry {
    key: 0,
    owner: 0,
    size_bits: 12,
    level: 3,
    granule: Granule::K4,
    permissions: Permissions {
        unprivileged: false,
        read_only: false,
        uxn: false,
        pxn: false,
    },
    output: 0,
};

/// Set in every key, so that an empty entry matches none.
const VALID: u64 = 1 << 11;
/// The kind of an entry is twice its class, one more if it is global.
const KIND: u64 = 0x1f;

#[inline]
fn key(first: u64, kind: u32) -> u64 {
    first | VALID | u64::from(kind)
}

/// A number for whoever may use an entry: the ASID, or for a global one, the ASID set.
#[inline]
fn owner(global: bool, tag: Tag) -> u32 {
    if global {
        1 << 16 | u32::from(tag.aset)
    } else {
        tag.asid.into()
    }
}

impl Entry {
    fn is_valid(&self) -> bool {
        self.key != 0
    }

    fn kind(&self) -> usize {
        (self.key & KIND) as usize
    }

    fn is_global(&self) -> bool {
        self.key & 1 != 0
    }

    fn first(&self) -> u64 {
        self.key & !0xfff
    }

    fn last(&self) -> u64 {
        self.first() | low_mask(self.size_bits.into())
    }

    /// The output for `address`, and how far the leaf reaches from there.
    pub(crate) fn output(&self, address: u64) -> (u64, u64) {
        let mask = low_mask(self.size_bits.into());
        (self.output | address & mask, mask + 1 - (address & mask))
    }
}

/// Addresses that an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// First address, 56 bits wide.
    pub(crate) first: u64,
    /// Last address, inclusive.
    pub(crate) last: u64,
    /// Only entries of this granule, if given.
    pub(crate) granule: Option<Granule>,
    /// Only entries from this level, if given.
    pub(crate) level: Option<u8>,
}

impl Scope {
    /// Whatever covers `address`.
    pub(crate) fn address(address: u64) -> Scope {
        let address = address & low_mask(ADDRESS_BITS);
        Scope {
            first: address,
            last: address,
            granule: None,
            level: None,
        }
    }

    fn covers(&self, entry: &Entry) -> bool {
        entry.first() <= self.last
            && entry.last() >= self.first
            && self.granule.is_none_or(|granule| granule == entry.granule)
            && self.level.is_none_or(|level| level == entry.level)
    }
}

/// The TLB of one SMMU.
pub(crate) struct Tlb {
    entries: Vec<Entry>,
    /// For each set, the way that is replaced next.
    turn: Vec<u8>,
    set_mask: usize,
    /// How many entries there are of each kind (twice the class, one more if global), so that a
    /// lookup tries only what exists.
    held: [u32; 2 * SIZES.len()],
    /// Bit k is set when there are entries of kind k.
    present: u32,
}

impl Tlb {
    pub(crate) fn new(entries: u32) -> Tlb {
        let sets = (entries as usize / WAYS).max(1);
        Tlb {
            entries: vec![EMPTY; sets * WAYS],
            turn: vec![0; sets],
            set_mask: sets - 1,
            held: [0; 2 * SIZES.len()],
            present: 0,
        }
    }

    /// The first entry of the set in which an entry is kept.
    #[inline(always)]
    fn set(&self, first: u64, size_bits: u32, owner: u32) -> usize {
        let mixed = ((first >> size_bits) ^ u64::from(owner) << 44)
            .wrapping_add(u64::from(size_bits) << 38)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The upper half is the better mixed one; there are at most 2^14 sets.
        ((mixed >> 40) as usize & self.set_mask) * WAYS
    }

    #[inline(always)]
    fn find(&self, address: u64, kind: u32, tag: Tag) -> Option<usize> {
        let size_bits = SIZES[(kind / 2) as usize];
        let first = address & !low_mask(size_bits);
        let (key, owner) = (key(first, kind), owner(kind % 2 == 1, tag));
        let set = self.set(first, size_bits, owner);
        let ways = &self.entries[set..set + WAYS];
        let way = ways
            .iter()
            .position(|entry| entry.key == key && entry.owner == owner)?;
        Some(set + way)
    }

    #[inline(always)]
    fn find_any(&self, address: u64, tag: Tag) -> Option<usize> {
        let address = address & low_mask(ADDRESS_BITS);
        let mut present = self.present;
        while present != 0 {
            let found = self.find(address, present.trailing_zeros(), tag);
            if found.is_some() {
                return found;
            }
            present &= present - 1;
        }
        None
    }

    /// The entry for `address`; the one of the smallest leaf, if software let several come to be.
    #[inline(always)]
    pub(crate) fn lookup(&self, address: u64, tag: Tag) -> Option<&Entry> {
        self.find_any(address, tag).map(|at| &self.entries[at])
    }

    /// Forgets whatever [`Tlb::lookup`] could find for `address`.
    pub(crate) fn forget(&mut self, address: u64, tag: Tag) {
        while let Some(at) = self.find_any(address, tag) {
            self.drop_at(at);
        }
    }

    /// Keeps `leaf`, found for `address`. It takes the place of whatever there was for `address`,
    /// which did not permit the access, or was not to be trusted.
    pub(crate) fn insert(&mut self, address: u64, tag: Tag, leaf: &Leaf) {
        let Some(class) = SIZES.iter().position(|&size| size == leaf.size_bits) else {
            // No leaf has another size; were there one, not keeping it would do no harm.
            return;
        };
        let address = address & low_mask(ADDRESS_BITS);
        let kind = 2 * class as u32 + u32::from(leaf.global);
        let first = address & !low_mask(leaf.size_bits);
        let entry = Entry {
            key: key(first, kind),
            owner: owner(leaf.global, tag),
            size_bits: leaf.size_bits as u8,
            level: leaf.level as u8,
            granule: leaf.granule,
            permissions: leaf.permissions,
            output: leaf.output,
        };
        self.forget(address, tag);
        let set = self.set(first, leaf.size_bits, entry.owner);
        let at = set + self.way_to_fill(set);
        self.drop_at(at);
        self.held[kind as usize] += 1;
        self.present |= 1 << kind;
        self.entries[at] = entry;
    }

    /// A free way of the set that begins at `set`, else the one whose turn it is.
    fn way_to_fill(&mut self, set: usize) -> usize {
        let free = self.entries[set..set + WAYS]
            .iter()
            .position(|old| !old.is_valid());
        free.unwrap_or_else(|| {
            let turn = &mut self.turn[set / WAYS];
            let way = usize::from(*turn);
            *turn = (*turn + 1) % WAYS as u8;
            way
        })
    }

    fn drop_at(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        if entry.is_valid() {
            let kind = entry.kind();
            entry.key = 0;
            self.held[kind] -= 1;
            if self.held[kind] == 0 {
                self.present &= !(1 << kind);
            }
        }
    }

    fn drop_where(&mut self, doomed: impl Fn(&Entry) -> bool) -> u32 {
        let mut dropped = 0;
        if self.present == 0 {
            return dropped;
        }
        for at in 0..self.entries.len() {
            if self.entries[at].is_valid() && doomed(&self.entries[at]) {
                self.drop_at(at);
                dropped += 1;
            }
        }
        dropped
    }

    /// Forgets everything; as all of these do, says how many entries that were.
    pub(crate) fn invalidate_all(&mut self) -> u32 {
        self.drop_where(|_| true)
    }

    /// Forgets the translations of `asid`, but no global ones.
    pub(crate) fn invalidate_asid(&mut self, asid: u16) -> u32 {
        self.drop_where(|entry| entry.owner == u32::from(asid))
    }

    /// Forgets translations of addresses in `scope`: those of `asid` and global ones, or those of
    /// any ASID.
    pub(crate) fn invalidate_addresses(&mut self, asid: Option<u16>, scope: Scope) -> u32 {
        self.drop_where(|entry| {
            let whose = asid.is_none_or(|asid| entry.is_global() || entry.owner == u32::from(asid));
            whose && scope.covers(entry)
        })
    }
}

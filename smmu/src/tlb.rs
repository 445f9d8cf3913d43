//! The TLB: a real cache, which forgets only what it is told to forget or has no room for.
//!
//! IHI 0070, *Caching*, *TLB tagging*, *TLB invalidation*.
//!
//! Two kinds of translation are kept. Of stage 1, from virtual addresses, with stage 2 behind it
//! folded in if there is one: tagged by StreamWorld, VMID and ASID, or as global. And of stage 2
//! alone, from intermediate addresses, tagged by VMID: those of streams that have no stage 1, and
//! those of stage 1's tables and of context descriptors. A walk whose page is kept with both stages
//! folded in keeps no translation of stage 2 alone for that page.
//!
//! Set-associative, replaced in turn. Blocks are kept whole and the contiguous bit is ignored, so an
//! entry is exactly what one leaf descriptor of each stage said. Entries are made only from walks
//! that permitted the access, with the access flag set.

use crate::spec::low_mask;
use crate::walker::{ADDRESS_BITS, Granule, Leaf, Permissions, World};

const WAYS: usize = 4;

/// Every size that a leaf can have, as a power of two; an entry's class is its place here.
const SIZES: [u8; 10] = [12, 14, 16, 21, 25, 29, 30, 36, 39, 42];

/// Which translations an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Stage 1 of a StreamWorld, with stage 2 if there is one.
    Stage1(World),
    /// Stage 2 alone.
    Stage2,
}

impl Space {
    #[inline(always)]
    const fn number(self) -> u64 {
        match self {
            Space::Stage1(World::El1) => 0,
            Space::Stage1(World::El2) => 1,
            Space::Stage1(World::El2E2h) => 2,
            Space::Stage2 => 3,
        }
    }
}

/// The tag of a context's translations, or of stage 2's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) space: Space,
    pub(crate) vmid: u16,
    pub(crate) asid: u16,
    /// The ASID set: entries that are global are so within one set.
    pub(crate) aset: bool,
}

impl Tag {
    /// The tag of stage 2's translations.
    #[inline]
    pub(crate) const fn stage2(vmid: u16) -> Tag {
        Tag {
            space: Space::Stage2,
            vmid,
            asid: 0,
            aset: false,
        }
    }
}

/// One cached leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// First input address, 56 bits wide, and below it the kind of the entry; 0 if there is none.
    key: u64,
    output: u64,
    /// Whose it is: see [`owner`].
    owner: u32,
    size_bits: u8,
    /// The size of the leaf that an invalidation by address means: see [`Leaf::reach_bits`].
    reach_bits: u8,
    level: i8,
    granule: Granule,
    pub(crate) permissions: Permissions,
}

const EMPTY: Entry = Entry {
    key: 0,
    output: 0,
    owner: 0,
    size_bits: 12,
    reach_bits: 12,
    level: 3,
    granule: Granule::K4,
    permissions: Permissions::NONE,
};

/// Set in every key, so that an empty entry matches none.
const VALID: u64 = 1 << 11;
/// The space of an entry.
const SPACE_SHIFT: u32 = 5;
const SPACE: u64 = 3 << SPACE_SHIFT;
/// The kind of an entry is twice its class, one more if it is global.
const KIND: u64 = 0x1f;

#[inline(always)]
fn key(first: u64, kind: u32, space: Space) -> u64 {
    first | VALID | space.number() << SPACE_SHIFT | u64::from(kind)
}

/// A number for whoever may use an entry: the VMID, and below it the ASID, or for a global one, the
/// ASID set.
#[inline(always)]
fn owner(global: bool, tag: Tag) -> u32 {
    let within = if global { tag.aset.into() } else { tag.asid };
    u32::from(tag.vmid) << 16 | u32::from(within)
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

    fn is_of(&self, space: Space) -> bool {
        self.key & SPACE == space.number() << SPACE_SHIFT
    }

    fn vmid(&self) -> u16 {
        (self.owner >> 16) as u16
    }

    fn asid(&self) -> u16 {
        self.owner as u16
    }

    fn first(&self) -> u64 {
        self.key & !0xfff
    }

    /// The input addresses that an invalidation of any of them takes the entry with.
    fn reach(&self) -> (u64, u64) {
        let mask = low_mask(self.reach_bits.into());
        (self.first() & !mask, self.first() | mask)
    }

    pub(crate) fn size_log2(&self) -> u8 {
        self.size_bits
    }

    /// The output for `address`, and how far the leaf reaches from there.
    #[inline(always)]
    pub(crate) fn output(&self, address: u64) -> (u64, u64) {
        let mask = low_mask(self.size_bits.into());
        (self.output | address & mask, mask + 1 - (address & mask))
    }

    /// What it was made from.
    pub(crate) fn leaf(&self) -> Leaf {
        Leaf {
            output: self.output,
            size_bits: self.size_bits,
            reach_bits: self.reach_bits,
            level: self.level,
            granule: self.granule,
            permissions: self.permissions,
            accessed: true,
            global: self.is_global(),
        }
    }
}

/// One cached leaf, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlbEntry {
    /// Whether it is one of stage 2: then its input is an intermediate address.
    pub stage2: bool,
    /// Whose it is.
    pub vmid: u16,
    /// Whose it is; `None` for a global one, and for one of stage 2.
    pub asid: Option<u16>,
    /// First input address.
    pub address: u64,
    /// How many bytes it covers.
    pub bytes: u64,
    /// Where they are.
    pub output: u64,
    /// The level at which the leaf was found.
    pub level: i8,
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
    pub(crate) level: Option<i32>,
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
        let (first, last) = entry.reach();
        first <= self.last
            && last >= self.first
            && self.granule.is_none_or(|granule| granule == entry.granule)
            && self.level.is_none_or(|level| level == entry.level.into())
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
        // All bits of the owner are low enough to tell in those that are used.
        let mixed = (first >> size_bits)
            .wrapping_add(u64::from(owner) << 20)
            .wrapping_add(u64::from(size_bits) << 38)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The upper half is the better mixed one; there are at most 2^14 sets.
        ((mixed >> 40) as usize & self.set_mask) * WAYS
    }

    #[inline(always)]
    fn find(&self, address: u64, kind: u32, tag: Tag) -> Option<usize> {
        let size_bits = u32::from(SIZES[(kind / 2) as usize]);
        let first = address & !low_mask(size_bits);
        let (key, owner) = (key(first, kind, tag.space), owner(kind % 2 == 1, tag));
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
        let size_bits = u32::from(leaf.size_bits);
        let first = address & !low_mask(size_bits);
        let entry = Entry {
            key: key(first, kind, tag.space),
            output: leaf.output,
            owner: owner(leaf.global, tag),
            size_bits: leaf.size_bits,
            reach_bits: leaf.reach_bits,
            level: leaf.level,
            granule: leaf.granule,
            permissions: leaf.permissions,
        };
        self.forget(address, tag);
        let set = self.set(first, size_bits, entry.owner);
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

    /// All entries.
    pub(crate) fn list(&self) -> Vec<TlbEntry> {
        let valid = self.entries.iter().filter(|entry| entry.is_valid());
        valid
            .map(|entry| TlbEntry {
                stage2: entry.is_of(Space::Stage2),
                vmid: (entry.owner >> 16) as u16,
                asid: (!entry.is_global() && !entry.is_of(Space::Stage2)).then_some(entry.asid()),
                address: entry.first(),
                bytes: low_mask(entry.size_bits.into()) + 1,
                output: entry.output,
                level: entry.level,
            })
            .collect()
    }

    /// Forgets what `whose` names, of any address or of those in `scope`; says how many entries
    /// that were.
    pub(crate) fn invalidate(&mut self, whose: Whose, scope: Option<Scope>) -> u32 {
        self.drop_where(|entry| {
            whose.owns(entry) && scope.as_ref().is_none_or(|scope| scope.covers(entry))
        })
    }
}

/// Which ASIDs an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asids {
    Any,
    /// Entries that are not global.
    Only(u16),
    /// Those of this one, and global ones.
    WithGlobal(u16),
}

/// Whose translations an invalidation names: *TLB invalidation*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Whoever's; no command says that.
    Anyone,
    /// All that is not EL2's, of both stages.
    NotEl2,
    /// All of a VMID, of both stages.
    Vmid(u16),
    /// Stage 2 alone, of a VMID. What has stage 1 in front of it stays.
    Stage2(u16),
    /// Stage 1 of a StreamWorld and, in NS-EL1, a VMID.
    Stage1 {
        world: World,
        vmid: u16,
        asids: Asids,
    },
    /// EL2's, with E2H or without.
    El2,
}

impl Whose {
    fn owns(self, entry: &Entry) -> bool {
        let el2 = entry.is_of(Space::Stage1(World::El2));
        let el2 = el2 || entry.is_of(Space::Stage1(World::El2E2h));
        match self {
            Whose::Anyone => true,
            Whose::NotEl2 => !el2,
            Whose::El2 => el2,
            Whose::Vmid(vmid) => !el2 && entry.vmid() == vmid,
            Whose::Stage2(vmid) => entry.is_of(Space::Stage2) && entry.vmid() == vmid,
            Whose::Stage1 { world, vmid, asids } => {
                let asid_matches = match asids {
                    Asids::Any => true,
                    Asids::Only(asid) => !entry.is_global() && entry.asid() == asid,
                    Asids::WithGlobal(asid) => entry.is_global() || entry.asid() == asid,
                };
                entry.is_of(Space::Stage1(world)) && entry.vmid() == vmid && asid_matches
            }
        }
    }
}

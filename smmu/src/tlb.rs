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

use crate::granule::Granule;
use crate::spec::low_mask;
use crate::walker::{ADDRESS_BITS, Leaf, Permissions, World};

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
    /// Its part of a key.
    #[inline(always)]
    const fn key(self) -> u64 {
        let number = match self {
            Space::Stage1(World::El1) => 0,
            Space::Stage1(World::El2) => 1,
            Space::Stage1(World::El2E2h) => 2,
            Space::Stage2 => 3,
        };
        number << SPACE_SHIFT
    }
}

/// The tag of a context's translations, or of stage 2's: what the keys and owners of their entries
/// are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The part of the space, and what is in every key.
    key: u64,
    /// A number for whoever may use an entry, the VMID above, and below it the ASID, or in that of
    /// global ones, the ASID set: those are global within one set.
    owners: [u32; 2],
}

impl Tag {
    /// The tag of stage 1's translations in `world`; `aset` is the ASID set.
    #[inline]
    pub(crate) fn stage1(world: World, vmid: u16, asid: u16, aset: bool) -> Tag {
        let vmid = u32::from(vmid) << 16;
        Tag {
            key: VALID | Space::Stage1(world).key(),
            owners: [vmid | u32::from(asid), vmid | u32::from(aset)],
        }
    }

    /// The tag of stage 2's translations.
    #[inline]
    pub(crate) const fn stage2(vmid: u16) -> Tag {
        Tag {
            key: VALID | Space::Stage2.key(),
            owners: [(vmid as u32) << 16; 2],
        }
    }
}

/// One cached leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// First input address, 56 bits wide, and below it the kind of the entry; 0 if there is none.
    key: u64,
    output: u64,
    /// Whose it is: see [`Tag`].
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
        self.key & SPACE == space.key()
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

    /// What keeps `entry` from being named; `None` if it is named.
    #[inline]
    pub(crate) fn misses(&self, entry: &Entry) -> Option<NearMiss> {
        let (first, last) = entry.reach();
        if first > self.last || last < self.first {
            return Some(NearMiss::Addresses {
                first: self.first,
                last: self.last,
            });
        }
        if let Some(named) = self.granule.filter(|granule| *granule != entry.granule) {
            let cached = entry.granule;
            return Some(NearMiss::Granule { named, cached });
        }
        let level = self.level.filter(|level| *level != entry.level.into())?;
        Some(NearMiss::Level {
            named: level,
            cached: entry.level.into(),
        })
    }
}

/// One cached translation, to be held against invalidations: see [`Invalidation::misses`].
///
/// [`Invalidation::misses`]: crate::Invalidation::misses
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedTranslation(pub(crate) Entry);

impl CachedTranslation {
    /// One of stage 1 in NS-EL1, not global: the page or block of so many bytes, as a power of two,
    /// that `address` is in.
    pub fn stage1(
        granule: Granule,
        size_log2: u8,
        vmid: u16,
        asid: u16,
        address: u64,
    ) -> CachedTranslation {
        let tag = Tag::stage1(World::El1, vmid, asid, false);
        CachedTranslation::tagged(&tag, granule, size_log2, address)
    }

    /// One that is not global.
    pub(crate) fn tagged(
        tag: &Tag,
        granule: Granule,
        size_log2: u8,
        address: u64,
    ) -> CachedTranslation {
        let first = address & low_mask(ADDRESS_BITS) & !low_mask(size_log2.into());
        let above = u32::from(size_log2).saturating_sub(granule.bits());
        CachedTranslation(Entry {
            key: first | tag.key,
            owner: tag.owners[0],
            size_bits: size_log2,
            reach_bits: size_log2,
            level: 3 - (above / granule.stride()) as i8,
            granule,
            ..EMPTY
        })
    }

    /// Its granule.
    pub fn granule(&self) -> Granule {
        self.0.granule
    }

    /// The level of its leaf; of stage 1, if there is one.
    pub fn level(&self) -> i8 {
        self.0.level
    }

    /// Whose it is.
    pub fn vmid(&self) -> u16 {
        self.0.vmid()
    }

    /// Whose it is; `None` for a global one, and for one of stage 2.
    pub fn asid(&self) -> Option<u16> {
        (!self.0.is_global() && !self.0.is_of(Space::Stage2)).then_some(self.0.asid())
    }

    /// Whether it is one of stage 2 alone: then its input is an intermediate address.
    pub fn stage2(&self) -> bool {
        self.0.is_of(Space::Stage2)
    }
}

/// Why an invalidation leaves a cached translation where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NearMiss {
    /// It is for the translations of another exception level.
    #[error("is for another exception level's translations")]
    World,
    /// It is for those of stage 2 alone, or of stage 1.
    #[error("is for translations of another stage")]
    Stage,
    /// VMID.
    #[error("is for VMID {named}; this translation has VMID {cached}")]
    Vmid {
        /// The VMID of the invalidation.
        named: u16,
        /// That of the translation.
        cached: u16,
    },
    /// ASID.
    #[error("is for ASID {named}; this address space has ASID {cached}")]
    Asid {
        /// The ASID of the invalidation.
        named: u16,
        /// That of the translation.
        cached: u16,
    },
    /// The translation is global, and stays where one ASID is named.
    #[error("is for ASID {named}; this translation is global (nG is 0)")]
    Global {
        /// The ASID of the invalidation.
        named: u16,
    },
    /// Other addresses: the range of TG, NUM and SCALE, or one address.
    #[error("covers {first:#x} to {last:#x} ({} pages), and not this address", pages(*first, *last))]
    Addresses {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// TG.
    #[error("is for the {} KiB granule (TG); this translation has {} KiB", kib(*named), kib(*cached))]
    Granule {
        /// The granule of the invalidation.
        named: Granule,
        /// That of the translation.
        cached: Granule,
    },
    /// TTL.
    #[error("is for leaves at level {named} (TTL); this one is at level {cached}")]
    Level {
        /// The level of the invalidation.
        named: i32,
        /// That of the translation.
        cached: i32,
    },
}

fn pages(first: u64, last: u64) -> u64 {
    ((last - first) >> 12) + 1
}

fn kib(granule: Granule) -> u32 {
    1 << (granule.bits() - 10)
}

/// The TLB of one SMMU.
pub(crate) struct Tlb {
    sets: Vec<[Entry; WAYS]>,
    /// For each set, the way that is replaced next.
    turn: Vec<u8>,
    /// How many entries there are of each kind (twice the class, one more if global), so that a
    /// lookup tries only what exists.
    held: [u32; 2 * SIZES.len()],
    /// Bit k is set when there are entries of kind k.
    present: u32,
}

/// What an entry of some kind would be, if there is one for an address.
struct Sought {
    set: usize,
    key: u64,
    owner: u32,
}

impl Sought {
    #[inline(always)]
    fn is(&self, entry: &Entry) -> bool {
        entry.key == self.key && entry.owner == self.owner
    }
}

impl Tlb {
    pub(crate) fn new(entries: u32) -> Tlb {
        let sets = (entries as usize / WAYS).max(1);
        Tlb {
            sets: vec![[EMPTY; WAYS]; sets],
            turn: vec![0; sets],
            held: [0; 2 * SIZES.len()],
            present: 0,
        }
    }

    /// What to look for: an entry of `kind` for `address`, 56 bits wide.
    #[inline(always)]
    fn sought(&self, address: u64, kind: u32, tag: &Tag) -> Sought {
        let size_bits = SIZES[(kind / 2) as usize];
        let number = address >> size_bits;
        let owner = tag.owners[(kind % 2) as usize];
        // All bits of the owner are low enough to tell in those that are used.
        let mixed = number
            .wrapping_add(u64::from(owner) << 20)
            .wrapping_add(u64::from(size_bits) << 38)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Sought {
            // The upper half is the better mixed one; there are at most 2^14 sets.
            set: (mixed >> 40) as usize & (self.sets.len() - 1),
            key: number << size_bits | tag.key | u64::from(kind),
            owner,
        }
    }

    /// The kinds of which there are entries, smallest leaves first.
    #[inline(always)]
    fn kinds(&self) -> impl Iterator<Item = u32> + use<> {
        let mut present = self.present;
        std::iter::from_fn(move || {
            let kind = (present != 0).then(|| present.trailing_zeros())?;
            present &= present - 1;
            Some(kind)
        })
    }

    /// The entry for `address`; the one of the smallest leaf, if software let several come to be.
    #[inline(always)]
    pub(crate) fn lookup(&self, address: u64, tag: &Tag) -> Option<&Entry> {
        let address = address & low_mask(ADDRESS_BITS);
        self.kinds().find_map(|kind| {
            let sought = self.sought(address, kind, tag);
            let ways = &self.sets[sought.set];
            ways.iter().find(|entry| sought.is(entry))
        })
    }

    /// Forgets whatever [`Tlb::lookup`] could find for `address`.
    pub(crate) fn forget(&mut self, address: u64, tag: &Tag) {
        let address = address & low_mask(ADDRESS_BITS);
        for kind in self.kinds() {
            let sought = self.sought(address, kind, tag);
            let ways = &self.sets[sought.set];
            // There is never more than one: the next would take its place.
            if let Some(way) = ways.iter().position(|entry| sought.is(entry)) {
                self.drop_at(sought.set, way);
            }
        }
    }

    /// Keeps `leaf`, found for `address`. It takes the place of whatever there was for `address`,
    /// which did not permit the access, or was not to be trusted.
    pub(crate) fn insert(&mut self, address: u64, tag: &Tag, leaf: &Leaf) {
        let Some(class) = SIZES.iter().position(|&size| size == leaf.size_bits) else {
            // No leaf has another size; were there one, not keeping it would do no harm.
            return;
        };
        self.forget(address, tag);
        let kind = 2 * class as u32 + u32::from(leaf.global);
        let sought = self.sought(address & low_mask(ADDRESS_BITS), kind, tag);
        let way = self.way_to_fill(sought.set);
        self.drop_at(sought.set, way);
        self.held[kind as usize] += 1;
        self.present |= 1 << kind;
        self.sets[sought.set][way] = Entry {
            key: sought.key,
            output: leaf.output,
            owner: sought.owner,
            size_bits: leaf.size_bits,
            reach_bits: leaf.reach_bits,
            level: leaf.level,
            granule: leaf.granule,
            permissions: leaf.permissions,
        };
    }

    /// A free way of `set`, else the one whose turn it is.
    fn way_to_fill(&mut self, set: usize) -> usize {
        let free = self.sets[set].iter().position(|old| !old.is_valid());
        free.unwrap_or_else(|| {
            let turn = &mut self.turn[set];
            let way = usize::from(*turn);
            *turn = (*turn + 1) % WAYS as u8;
            way
        })
    }

    fn drop_at(&mut self, set: usize, way: usize) {
        let entry = &mut self.sets[set][way];
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
        for set in 0..self.sets.len() {
            for way in 0..WAYS {
                let entry = &self.sets[set][way];
                if entry.is_valid() && doomed(entry) {
                    self.drop_at(set, way);
                    dropped += 1;
                }
            }
        }
        dropped
    }

    /// All entries.
    pub(crate) fn list(&self) -> Vec<TlbEntry> {
        let entries = self.sets.as_flattened();
        let valid = entries.iter().filter(|entry| entry.is_valid());
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
            let misses = |scope: &Scope| scope.misses(entry).is_some();
            whose.misses(entry).is_none() && !scope.as_ref().is_some_and(misses)
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
    /// What keeps `entry` from being of those that are named; `None` if it is one.
    #[inline]
    pub(crate) fn misses(self, entry: &Entry) -> Option<NearMiss> {
        let el2 = entry.is_of(Space::Stage1(World::El2));
        let el2 = el2 || entry.is_of(Space::Stage1(World::El2E2h));
        let unless = |good: bool, miss| if good { None } else { Some(miss) };
        let vmid = |named| {
            let cached = entry.vmid();
            unless(named == cached, NearMiss::Vmid { named, cached })
        };
        match self {
            Whose::Anyone => None,
            Whose::NotEl2 => unless(!el2, NearMiss::World),
            Whose::El2 => unless(el2, NearMiss::World),
            Whose::Vmid(_) if el2 => Some(NearMiss::World),
            Whose::Vmid(named) => vmid(named),
            Whose::Stage2(_) if !entry.is_of(Space::Stage2) => Some(NearMiss::Stage),
            Whose::Stage2(named) => vmid(named),
            Whose::Stage1 { .. } if entry.is_of(Space::Stage2) => Some(NearMiss::Stage),
            Whose::Stage1 { world, .. } if !entry.is_of(Space::Stage1(world)) => {
                Some(NearMiss::World)
            }
            Whose::Stage1 {
                vmid: of, asids, ..
            } => vmid(of).or_else(|| {
                let cached = entry.asid();
                match asids {
                    Asids::Any => None,
                    Asids::Only(named) if entry.is_global() => Some(NearMiss::Global { named }),
                    Asids::WithGlobal(_) if entry.is_global() => None,
                    Asids::Only(named) | Asids::WithGlobal(named) => {
                        unless(named == cached, NearMiss::Asid { named, cached })
                    }
                }
            }),
        }
    }
}

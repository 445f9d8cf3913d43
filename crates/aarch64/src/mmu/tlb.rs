//! The software TLB: direct-mapped arrays of 4 KiB translations, one for each kind of access and
//! exception level, so that a hit needs no permission check.
//!
//! DDI 0487: *Translation Lookaside Buffers*, *TLB maintenance*.
//!
//! **Key.** An entry's tag is the page of the virtual address, top byte included, and in the low
//! bits a *slot*, a small number that stands for an ASID. Flushing an ASID gives it a new slot and
//! leaves its entries to rot: nothing can match them until the slots run out, and then everything
//! is flushed. A global entry has a *limit* of all ones over the slot bits: `tag ^ key <= limit`
//! accepts any slot, and with a limit of zero only its own. One compare serves both.
//!
//! **Slow entries.** Whatever is not plain RAM (device registers; RAM mapped as Device) carries
//! `SLOW` in its tag, which no fast lookup asks for. A fast hit is therefore RAM of Normal type.
//!
//! **Blocks.** A mapping larger than 4 KiB is entered in fragments. For each size of mapping a
//! filter remembers, by hash, which ranges have had fragments. A TLBI by address looks into the
//! filter of each size and drops all fragments of the ranges it finds; a hash collision drops too
//! much, which the architecture always allows, and never too little.

use super::walk::{Access, Translation};

/// Entries in each array.
const SETS: usize = 1024;
const PAGE_BITS: u32 = 12;
const PAGE_MASK: u64 = !0xfff;
/// Bits of tag and page that hold slot and limit.
const SLOT_MASK: u64 = 0x7ff;
/// In the tag: not for fast lookups. In the page of such an entry: [`Hit::device`].
const SLOW: u64 = 0x800;
/// In the page of a slow entry: not RAM.
const NOT_RAM: u64 = 1 << 63;
/// No virtual address translates with bits 54 to 48 unlike bit 55, and slot 0 is never used.
const NO_TAG: u64 = 0x007f_0000_0000_0000;
/// Bits of a virtual address that TLB maintenance compares: all but top byte and offset.
const VA_COMPARED: u64 = 0x00ff_ffff_ffff_f000;

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    page: u64,
}

const EMPTY: Entry = Entry {
    tag: NO_TAG,
    page: 0,
};

impl Entry {
    #[inline(always)]
    fn matches(self, key: u64) -> bool {
        self.tag ^ key <= self.page & SLOT_MASK
    }

    fn is_global(self) -> bool {
        self.page & SLOT_MASK == SLOT_MASK
    }
}

/// Arrays for EL0 and EL1.
type Arrays = Box<[[Entry; SETS]; 2]>;

fn empty_arrays() -> Arrays {
    Box::new([[EMPTY; SETS]; 2])
}

#[inline(always)]
const fn set_of(va: u64) -> usize {
    (va >> PAGE_BITS) as usize & (SETS - 1)
}

/// A translation found or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Physical address.
    pub pa: u64,
    /// Device memory type: accesses must be aligned.
    pub device: bool,
    /// The address is RAM.
    pub ram: bool,
}

/// A set of small numbers that only grows: which pages or ranges have been seen, by hash.
struct Filter([u64; 64]);

impl Filter {
    fn place(number: u64) -> (usize, u64) {
        let hash = (number ^ number >> 12 ^ number >> 24) & 4095;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    fn insert(&mut self, number: u64) {
        let (word, bit) = Self::place(number);
        self.0[word] |= bit;
    }

    fn contains(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.0[word] & bit != 0
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// log2 of the mappings larger than 4 KiB, over all granules.
const LARGE_SIZES: [u32; 6] = [14, 16, 21, 25, 29, 30];

/// The TLB of one CPU.
pub struct Tlb {
    read: Arrays,
    write: Arrays,
    fetch: Arrays,
    /// Slot of the current ASID.
    slot: u64,
    /// Slot of each ASID, 0 for none.
    slots: Box<[u16]>,
    last_slot: u16,
    large: [Filter; LARGE_SIZES.len()],
    /// Pages that instructions came from.
    fetched: Filter,
    fetch_generation: u64,
}

impl Tlb {
    /// An empty TLB; the ASID is 0.
    pub fn new() -> Self {
        let mut tlb = Self {
            read: empty_arrays(),
            write: empty_arrays(),
            fetch: empty_arrays(),
            slot: 0,
            slots: vec![0; 1 << 16].into_boxed_slice(),
            last_slot: 0,
            large: std::array::from_fn(|_| Filter([0; 64])),
            fetched: Filter([0; 64]),
            fetch_generation: 0,
        };
        tlb.set_asid(0);
        tlb
    }

    /// RAM of Normal type that this exception level may read at `va`.
    #[inline(always)]
    pub fn fast_read(&self, el: u8, va: u64) -> Option<u64> {
        Self::fast(&self.read, self.slot, el, va)
    }

    /// RAM of Normal type that this exception level may write at `va`.
    #[inline(always)]
    pub fn fast_write(&self, el: u8, va: u64) -> Option<u64> {
        Self::fast(&self.write, self.slot, el, va)
    }

    /// RAM of Normal type that this exception level may execute at `va`.
    #[inline(always)]
    pub fn fast_fetch(&self, el: u8, va: u64) -> Option<u64> {
        Self::fast(&self.fetch, self.slot, el, va)
    }

    #[inline(always)]
    fn fast(arrays: &Arrays, slot: u64, el: u8, va: u64) -> Option<u64> {
        let entry = arrays[usize::from(el & 1)][set_of(va)];
        if entry.matches(va & PAGE_MASK | slot) {
            Some(entry.page & PAGE_MASK | va & !PAGE_MASK)
        } else {
            None
        }
    }

    /// What the TLB knows about `va`, slow entries included.
    pub fn lookup(&self, access: Access, el: u8, va: u64) -> Option<Hit> {
        let arrays = match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
            Access::Execute => &self.fetch,
        };
        let entry = arrays[usize::from(el & 1)][set_of(va)];
        let key = va & PAGE_MASK | self.slot;
        if entry.matches(key) {
            let pa = entry.page & PAGE_MASK | va & !PAGE_MASK;
            Some(Hit {
                pa,
                device: false,
                ram: true,
            })
        } else if entry.matches(key | SLOW) {
            let pa = entry.page & PAGE_MASK & !NOT_RAM | va & !PAGE_MASK;
            Some(Hit {
                pa,
                device: entry.page & SLOW != 0,
                ram: entry.page & NOT_RAM == 0,
            })
        } else {
            None
        }
    }

    /// Enters the 4 KiB around `va`, which the exception level may access so.
    pub fn insert(
        &mut self,
        access: Access,
        el: u8,
        va: u64,
        translation: &Translation,
        ram: bool,
    ) {
        if translation.size_log2 > PAGE_BITS {
            for (filter, size) in self.large.iter_mut().zip(LARGE_SIZES) {
                if size == translation.size_log2 {
                    filter.insert((va & VA_COMPARED) >> size);
                }
            }
        }
        let device = translation.is_device();
        let fast = ram && !device;
        let mut tag = va & PAGE_MASK | self.slot;
        let mut page = translation.pa & PAGE_MASK;
        if translation.global {
            page |= SLOT_MASK;
        }
        if !fast {
            tag |= SLOW;
            page |= if device { SLOW } else { 0 } | if ram { 0 } else { NOT_RAM };
        }
        if access == Access::Execute {
            self.fetched.insert((va & VA_COMPARED) >> PAGE_BITS);
        }
        let arrays = match access {
            Access::Read => &mut self.read,
            Access::Write => &mut self.write,
            Access::Execute => &mut self.fetch,
        };
        arrays[usize::from(el & 1)][set_of(va)] = Entry { tag, page };
    }

    /// Changes the current ASID; nothing is dropped.
    pub fn set_asid(&mut self, asid: u16) {
        let slot = &mut self.slots[usize::from(asid)];
        if *slot == 0 {
            if u64::from(self.last_slot) == SLOT_MASK {
                self.flush_all();
                self.slots.fill(0);
                self.last_slot = 0;
            }
            self.last_slot += 1;
            self.slots[usize::from(asid)] = self.last_slot;
        }
        self.slot = u64::from(self.slots[usize::from(asid)]);
    }

    /// Drops everything.
    pub fn flush_all(&mut self) {
        for arrays in [&mut self.read, &mut self.write, &mut self.fetch] {
            for array in arrays.iter_mut() {
                array.fill(EMPTY);
            }
        }
        for filter in &mut self.large {
            filter.clear();
        }
        self.fetched.clear();
        self.fetch_generation += 1;
    }

    /// Drops what belongs to an ASID; `current` is the current one.
    pub fn flush_asid(&mut self, asid: u16, current: u16) {
        self.slots[usize::from(asid)] = 0;
        if asid == current {
            self.set_asid(current);
        }
    }

    /// Drops what translates `va`, all ASIDs' or one's and the global.
    pub fn flush_va(&mut self, va: u64, asid: Option<u16>) {
        self.flush_range(va, PAGE_BITS, asid);
        for (i, size) in LARGE_SIZES.into_iter().enumerate() {
            if self.large[i].contains((va & VA_COMPARED) >> size) {
                self.flush_range(va, size, asid);
            }
        }
    }

    fn flush_range(&mut self, va: u64, size_log2: u32, asid: Option<u16>) {
        let compared = VA_COMPARED & (u64::MAX << size_log2);
        let base = va & compared;
        let count = (1_usize << (size_log2 - PAGE_BITS)).min(SETS);
        // An ASID without a slot has no entries: slot 0 matches none of them.
        let slot = asid.map(|asid| u64::from(self.slots[usize::from(asid)]));
        for arrays in [&mut self.read, &mut self.write, &mut self.fetch] {
            for array in arrays.iter_mut() {
                for i in 0..count {
                    let entry = &mut array[(set_of(base) + i) & (SETS - 1)];
                    let ours = slot.is_none_or(|s| entry.is_global() || entry.tag & SLOT_MASK == s);
                    if ours && entry.tag & compared == base {
                        *entry = EMPTY;
                    }
                }
            }
        }
        if count > 1 || self.fetched.contains(base >> PAGE_BITS) {
            self.fetch_generation += 1;
        }
    }

    /// A number that stands for the translations of instruction addresses at this exception level.
    pub fn fetch_generation(&self, el: u8) -> u64 {
        self.fetch_generation << 12 | self.slot << 1 | u64::from(el & 1)
    }
}

impl Default for Tlb {
    fn default() -> Self {
        Self::new()
    }
}

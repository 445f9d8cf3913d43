//! Stage 2, and stage 1 on top of it, against maps from pages to pages.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::testing::{CONTEXT_TABLE, Driver, FakeMemory, SID, process_transaction, ste_nested};
use crate::{Access, Transaction};

/// What an access comes to: its address, or the fault's number, stage and CLASS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Address(u64),
    Fault(u64, u64, u64),
}

/// Pages of one size: where each is, and whether it may be written.
#[derive(Clone, Debug)]
struct Map {
    page_bits: u32,
    pages: BTreeMap<u64, (u64, bool)>,
}

impl Map {
    fn at(&self, address: u64) -> Option<(u64, bool)> {
        let (page, writable) = self.pages.get(&(address >> self.page_bits))?;
        let offset = address & ((1 << self.page_bits) - 1);
        Some((page << self.page_bits | offset, *writable))
    }
}

/// Tables in memory for a [`Map`].
struct Tables<'a> {
    memory: &'a FakeMemory,
    /// Where tables are to the one who walks them, and the map that says where that is.
    place: &'a dyn Fn(u64) -> u64,
    page_bits: u32,
    root: u64,
    /// The first level, and the width of its index.
    level: u32,
    next: u64,
    /// A leaf without its address.
    leaf: fn(bool) -> u64,
}

impl Tables<'_> {
    fn build(&mut self, map: &Map) {
        for (&page, &(to, writable)) in &map.pages {
            let (stride, mut table) = (self.page_bits - 3, self.root);
            for level in self.level..=3 {
                let mut index = page >> ((3 - level) * stride);
                if level != self.level {
                    index &= (1 << stride) - 1;
                }
                let at = (self.place)(table + 8 * index);
                if level == 3 {
                    let leaf = to << self.page_bits | (self.leaf)(writable);
                    self.memory.store(at, &[leaf]);
                } else if self.memory.load(at) == 0 {
                    self.memory.store(at, &[self.next | 3]);
                    table = self.next;
                    self.next += TABLE;
                } else {
                    table = self.memory.load(at) & 0x0000_ffff_ffff_f000;
                }
            }
        }
    }
}

/// Room for a table of any granule.
const TABLE: u64 = 0x1_0000;
/// Stage 2's tables; aligned for 16 of the largest in a row.
const SECOND: u64 = 0x60_0000_0000;
/// Stage 1's tables, in intermediate addresses.
const FIRST: u64 = 0x10_0000;
const FIRST_TABLES: u64 = 24;
/// What the device reads and writes, in intermediate addresses.
const DATA: u64 = 0x40_0000;

fn second_leaf(writable: bool) -> u64 {
    // AF, inner shareable, S2AP, write-back, page.
    0x77f | if writable { 0x80 } else { 0 }
}

fn first_leaf(writable: bool) -> u64 {
    // nG, AF, inner shareable, AP[1], page; AP[2].
    0xf43 | if writable { 0 } else { 0x80 }
}

/// A stage 2 of a granule, its first level, and the width of its addresses.
fn stage2() -> impl Strategy<Value = (u32, u32, u32)> {
    let granule = prop::sample::select(vec![12_u32, 14, 16]);
    (granule, 0..4_u32, any::<u32>()).prop_map(|(page_bits, level, width)| {
        // Without 52-bit addresses: 4 KiB from level 0, 1 or 2; the others from 1, 2 or 3.
        let level = if page_bits == 12 {
            level % 3
        } else {
            1 + level % 3
        };
        let least = page_bits + (3 - level) * (page_bits - 3);
        // Up to 16 tables in a row; all that is used here is below 2^28.
        let (low, high) = ((least + 1).max(28), (least + page_bits - 3 + 4).min(48));
        (page_bits, level, low + width % (high + 1 - low))
    })
}

fn stage2_ste(shape: (u32, u32, u32)) -> [u64; 8] {
    let (page_bits, level, width) = shape;
    let (tg, sl0) = match page_bits {
        12 => (0, 2 - level),
        14 => (2, 3 - level),
        _ => (1, 3 - level),
    };
    let vtcr = u64::from(64 - width) | u64::from(sl0) << 6 | tg << 14 | 5 << 16;
    let mut ste = ste_nested(CONTEXT_TABLE, 3, 7, SECOND);
    // S2AA64, S2R.
    ste[2] = 7 | vtcr << 32 | 1 << 51 | 1 << 58;
    ste
}

/// Where stage 2 puts `count` pages from `first`: scattered, some nowhere, some read-only.
fn scatter(page_bits: u32, first: u64, last: u64, seed: u64, holes: bool) -> Map {
    let mut pages = BTreeMap::new();
    let mut state = seed | 1;
    for page in first >> page_bits..=last >> page_bits {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let dice = state >> 60;
        if holes && dice < 4 {
            continue;
        }
        let frame = (0x8_0000_0000 >> page_bits) + (page ^ (seed & 0xf));
        pages.insert(page, (frame, !holes || dice < 12));
    }
    Map { page_bits, pages }
}

fn seen(driver: &Driver, transaction: Transaction) -> Expected {
    let pending = driver.begin(transaction);
    match pending.outcome() {
        Some(Ok(translation)) => Expected::Address(translation.address),
        _ => {
            let event = driver.events()[0];
            let stage = 1 + (event[1] >> 39 & 1);
            Expected::Fault(event[0] & 0xff, stage, event[1] >> 40 & 3)
        }
    }
}

fn access(write: bool) -> Access {
    if write { Access::WRITE } else { Access::READ }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn stage_2_agrees_with_a_map(
        shape in stage2(),
        seed in any::<u64>(),
        accesses in prop::collection::vec((0..0x18_0000_u64, any::<bool>()), 40),
    ) {
        let map = scatter(shape.0, DATA, DATA + 0xf_ffff, seed, true);
        let driver = Driver::ready();
        let mut ste = stage2_ste(shape);
        ste[0] = 0xd;
        driver.set_ste(SID, ste);
        Tables {
            memory: &driver.memory,
            place: &|at| at,
            page_bits: shape.0,
            root: SECOND,
            level: shape.1,
            next: SECOND + 64 * TABLE,
            leaf: second_leaf,
        }
        .build(&map);

        for (offset, write) in accesses {
            let address = DATA - 0x4_0000 + offset;
            let mut transaction = process_transaction(address, access(write));
            transaction.substream = None;
            let expected = match map.at(address) {
                Some((to, writable)) if writable || !write => Expected::Address(to),
                Some(_) => Expected::Fault(0x13, 2, 2),
                None => Expected::Fault(0x10, 2, 2),
            };
            prop_assert_eq!(seen(&driver, transaction), expected, "{:#x}", address);
        }
    }

    #[test]
    fn both_stages_agree_with_two_maps(
        second in stage2(),
        page_bits in prop::sample::select(vec![12_u32, 14, 16]),
        upper in any::<bool>(),
        seed in any::<u64>(),
        pages in prop::collection::vec((0..64_u64, 0..16_u64, any::<bool>()), 1..12),
        accesses in prop::collection::vec((0..12_usize, any::<u16>(), any::<bool>()), 40),
    ) {
        let data = scatter(second.0, DATA, DATA + 0xf_ffff, seed, true);
        // What stage 1 is made of is all there.
        let own = scatter(second.0, FIRST, FIRST + FIRST_TABLES * TABLE - 1, seed, false);
        let context = scatter(second.0, CONTEXT_TABLE, CONTEXT_TABLE, 0, false);
        let driver = Driver::ready();
        // The context descriptors are below 2^28 too.
        let low = 0x8_0000;
        let mut ste = stage2_ste(second);
        ste[0] = 0xf | low | 3 << 59;
        driver.set_ste(SID, ste);
        let mut whole = Map { page_bits: second.0, pages: BTreeMap::new() };
        whole.pages.extend(data.pages.iter().chain(&own.pages));
        let frame = context.pages[&(CONTEXT_TABLE >> second.0)];
        whole.pages.insert(low >> second.0, frame);
        Tables {
            memory: &driver.memory,
            place: &|at| at,
            page_bits: second.0,
            root: SECOND,
            level: second.1,
            next: SECOND + 64 * TABLE,
            leaf: second_leaf,
        }
        .build(&whole);

        // Stage 1: 48 bits, one half of them.
        let mut first = Map { page_bits, pages: BTreeMap::new() };
        for &(page, to, writable) in &pages {
            // Pages near each other, and far from each other.
            let page = page & 7 | (page >> 3) << (34 - page_bits);
            let frame = (DATA >> page_bits) + to % (0x10_0000 >> page_bits);
            first.pages.insert(page, (frame, writable));
        }
        let level = if page_bits == 16 { 1 } else { 0 };
        Tables {
            memory: &driver.memory,
            place: &|at| own.at(at).unwrap().0,
            page_bits,
            root: FIRST,
            level,
            next: FIRST + TABLE,
            leaf: first_leaf,
        }
        .build(&first);
        let (tg0, tg1) = match page_bits {
            12 => (0, 2),
            14 => (2, 1),
            _ => (1, 3),
        };
        let half = if upper {
            (16 | tg1 << 6) << 16 | 1 << 14
        } else {
            16 | tg0 << 6 | 1 << 30
        };
        let mut cd = [half | 1 << 31 | 5 << 32 | 1 << 41 | 3 << 45 | 1 << 48, 0, 0, 0, 0, 0, 0, 0];
        cd[if upper { 2 } else { 1 }] = FIRST;
        driver.memory.store(whole.at(low).unwrap().0 + 64, &cd);

        let known: Vec<u64> = first.pages.keys().copied().collect();
        for (index, offset, write) in accesses {
            // A page that is there, or its neighbour.
            let page = known[index % known.len()] ^ u64::from(offset >> 15);
            let mut address = page << page_bits | u64::from(offset) & ((1 << page_bits) - 1);
            let expected = match first.at(address) {
                None => Expected::Fault(0x10, 1, 2),
                Some((_, false)) if write => Expected::Fault(0x13, 1, 2),
                Some((ipa, _)) => match data.at(ipa) {
                    None => Expected::Fault(0x10, 2, 2),
                    Some((_, false)) if write => Expected::Fault(0x13, 2, 2),
                    Some((to, _)) => Expected::Address(to),
                },
            };
            if upper {
                address |= 0xffff << 48;
            }
            let transaction = process_transaction(address, access(write));
            prop_assert_eq!(seen(&driver, transaction), expected, "{:#x}", address);
        }
    }
}

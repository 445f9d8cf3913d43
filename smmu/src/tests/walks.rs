//! Walks: every granule, level and attribute against a second walker that is written to be plain.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::testing::{CONTEXT_TABLE, Driver, SID, USER_RO, USER_RW, cd_sva, ste_stage1};
use crate::{Access, Config};

/// What a plain walker makes of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Address(u64),
    /// The event's number.
    Fault(u64),
}

/// One way to set up an address space.
#[derive(Clone, Copy, Debug)]
struct Space {
    /// 12, 14 or 16.
    page_bits: u32,
    /// Width of the input address.
    width: u32,
    /// TTB1 instead of TTB0.
    upper: bool,
    output_bits: u32,
    had: bool,
    tbi: bool,
    wxn: bool,
    pan: bool,
    affd: bool,
    /// 52-bit addresses are there (VAX, OAS); for the smaller granules, CD.DS.
    wide: bool,
}

/// The table of the first level, aligned for whatever size it has.
const ROOT: u64 = 0x8000_0000;

impl Space {
    /// Page numbers of each level down to the leaf: (level, lowest bit, bits).
    fn levels(&self) -> Vec<(i32, u32, u32)> {
        // From the last level up, as many as the width needs.
        let per_level = self.page_bits - 3;
        let mut levels = Vec::new();
        let (mut low, mut level) = (self.page_bits, 3);
        loop {
            let bits = per_level.min(self.width - low);
            levels.insert(0, (level, low, bits));
            if low + bits >= self.width {
                return levels;
            }
            low += per_level;
            level -= 1;
        }
    }

    fn cd(&self, stall: bool) -> [u64; 8] {
        let t_sz = u64::from(64 - self.width);
        let ips = match self.output_bits {
            32 => 0,
            36 => 1,
            40 => 2,
            48 => 5,
            _ => 6,
        };
        // TG0 is 0, 2, 1 for 4, 16, 64 KiB; TG1 is 2, 1, 3.
        let (tg0, tg1) = match self.page_bits {
            12 => (0, 2),
            14 => (2, 1),
            _ => (1, 3),
        };
        let half = if self.upper {
            (t_sz | tg1 << 6) << 16 | 1 << 14
        } else {
            t_sz | tg0 << 6 | 1 << 30
        };
        let tbi = u64::from(self.tbi) << if self.upper { 39 } else { 38 };
        let word0 = half
            | 1 << 31
            | ips << 32
            | u64::from(self.affd) << 35
            | u64::from(self.wxn) << 36
            | tbi
            | u64::from(self.pan) << 40
            | 1 << 41
            | u64::from(stall) << 44
            | 3 << 45
            | 1 << 48;
        let table = ROOT | u64::from(self.had) << 1;
        let mut cd = [word0, 0, 0, 0, 0, 0, 0, 0];
        cd[if self.upper { 2 } else { 1 }] = table;
        // DS, which says nothing about the 64 KiB granule.
        cd[2] |= u64::from(self.wide) << 58;
        cd
    }

    /// The second walker: bit by bit, after the words of the architecture.
    fn translate(&self, memory: &BTreeMap<u64, u64>, address: u64, access: Access) -> Expected {
        let bit = |word: u64, at: u32| word >> at & 1 == 1;
        let top = if self.tbi { 56 } else { 64 };
        if bit(address, 55) != self.upper {
            return Expected::Fault(0x10);
        }
        for at in self.width..top {
            if bit(address, at) != self.upper {
                return Expected::Fault(0x10);
            }
        }
        let mut table = ROOT;
        let (mut no_user, mut no_write, mut uxn, mut pxn) = (false, false, false, false);
        for (level, low, bits) in self.levels() {
            let index = address >> low & ((1 << bits) - 1);
            let descriptor = memory.get(&(table + 8 * index)).copied().unwrap_or(0);
            let block = match self.page_bits {
                12 => level == 1 || level == 2 || level == 0 && self.wide,
                _ => level == 2 || level == 1 && self.wide,
            };
            let is_table = match descriptor & 3 {
                3 => level < 3,
                1 if block => false,
                _ => return Expected::Fault(0x10),
            };
            let output_low = if is_table { self.page_bits } else { low };
            let top = if self.wide && self.page_bits != 16 {
                50
            } else {
                48
            };
            let mut output = descriptor & ((1 << top) - 1) >> output_low << output_low;
            if self.page_bits == 16 {
                output |= (descriptor >> 12 & 0xf) << 48;
            } else if self.wide {
                output |= (descriptor >> 8 & 3) << 50;
            }
            if output >> self.output_bits != 0 {
                return Expected::Fault(0x11);
            }
            if is_table {
                table = output;
                if !self.had {
                    no_user |= bit(descriptor, 61);
                    no_write |= bit(descriptor, 62);
                    uxn |= bit(descriptor, 60);
                    pxn |= bit(descriptor, 59);
                }
                continue;
            }
            if !bit(descriptor, 10) && !self.affd {
                return Expected::Fault(0x12);
            }
            let user = bit(descriptor, 6) && !no_user;
            let write = !bit(descriptor, 7) && !no_write;
            uxn |= bit(descriptor, 54) || self.wxn && user && write;
            pxn |= bit(descriptor, 53) || self.wxn && write || user && write;
            let good = match (access.write, access.instruction, access.privileged) {
                (true, _, false) => user && write,
                (true, _, true) => write && !(self.pan && user),
                (false, false, false) => user,
                (false, false, true) => !(self.pan && user),
                (false, true, false) => !uxn,
                (false, true, true) => !pxn,
            };
            if !good {
                return Expected::Fault(0x13);
            }
            return Expected::Address(output | address & ((1 << low) - 1));
        }
        Expected::Fault(0)
    }
}

/// What the SMMU makes of it, and how long that stays true (asked again, from the TLB).
fn translate(driver: &Driver, address: u64, access: Access) -> Expected {
    let pending = driver.access(address, access);
    match pending.outcome() {
        Some(Ok(translation)) => Expected::Address(translation.address),
        _ => Expected::Fault(driver.events()[0][0] & 0xff),
    }
}

fn space() -> impl Strategy<Value = Space> {
    let sizes = (prop::sample::select(vec![12_u32, 14, 16]), 25..=52_u32);
    let outputs = prop::sample::select(vec![32_u32, 36, 40, 48, 52]);
    (sizes, outputs, any::<[bool; 7]>()).prop_map(
        |((page_bits, width), output_bits, [upper, had, tbi, wxn, pan, affd, wide])| Space {
            page_bits,
            width: if wide { width } else { width.min(48) },
            upper,
            output_bits: if wide {
                output_bits
            } else {
                output_bits.min(48)
            },
            had,
            tbi,
            wxn,
            pan,
            affd,
            wide,
        },
    )
}

/// The SMMU with the address sizes that the space takes.
fn driver(space: &Space) -> Driver {
    let driver = Driver::started(if space.wide {
        Config {
            va_52: true,
            ds: true,
            oas_bits: 52,
            ..Config::default()
        }
    } else {
        Config::default()
    });
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
    driver
}

/// Which descriptor goes to a level, attributes and address as they fall.
fn descriptor() -> impl Strategy<Value = (u64, u8)> {
    // Attribute bits that matter, and some that must not.
    (
        any::<u64>(),
        prop_oneof![8 => Just(3_u8), 3 => Just(1), 1 => Just(0), 1 => Just(2)],
    )
}

fn access() -> impl Strategy<Value = Access> {
    any::<[bool; 3]>().prop_map(|[write, privileged, instruction]| Access {
        write,
        privileged,
        instruction,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn walks_agree_with_a_plain_walker(
        space in space(),
        descriptors in prop::collection::vec(descriptor(), 4),
        page in any::<u64>(),
        odd in prop::option::weighted(0.1, 0..64_u32),
        accesses in prop::collection::vec(access(), 6),
    ) {
        // An address in the space, with one bit wrong now and then.
        let inside = page & ((1 << space.width) - 1);
        let mut address = if space.upper { inside | u64::MAX << space.width } else { inside };
        if space.tbi {
            address = address & ((1 << 56) - 1) | page & 0xff << 56;
        }
        if let Some(odd) = odd {
            address ^= 1 << odd;
        }

        let driver = driver(&space);
        driver.set_cd(1, space.cd(false));
        let mut memory = BTreeMap::new();
        let mut table = ROOT;
        for ((_, low, bits), (word, kind)) in space.levels().into_iter().zip(descriptors) {
            // Most tables are where they can be reached, some are not.
            let keep = match word & 15 {
                0 => 0x000f_ffff_ffff_f000,
                1..4 => 0x0000_ffff_ffff_f000,
                _ => 0xffff_f000,
            };
            let output = word & keep & !((1 << space.page_bits) - 1);
            // Where the top of it goes depends on the granule.
            let spelt = match (space.page_bits, space.wide) {
                (16, _) => output & 0x0000_ffff_ffff_ffff | (output >> 48 & 0xf) << 12,
                (_, true) => output & 0x0003_ffff_ffff_ffff | (output >> 50 & 3) << 8,
                _ => output & 0x0000_ffff_ffff_ffff,
            };
            let mut attributes = word & (0xfff0 << 48 | 0xffc);
            if space.wide && space.page_bits != 16 {
                attributes &= !(3 << 8);
            }
            let value = spelt | attributes | u64::from(kind);
            let at = table + 8 * (address >> low & ((1 << bits) - 1));
            memory.entry(at).or_insert(value);
            driver.memory.store(at, &[memory[&at]]);
            table = output;
        }

        for access in accesses {
            let expected = space.translate(&memory, address, access);
            let seen = translate(&driver, address, access);
            prop_assert_eq!(seen, expected, "{:#x} {:?}", address, access);
        }
    }
}

#[test]
fn walks_have_as_many_levels_as_the_address_needs() {
    // DDI 0487's tables of initial lookup levels, by granule and T0SZ.
    for (page_bits, width, steps) in [
        (12, 52, 5),
        (12, 49, 5),
        (14, 52, 4),
        (16, 52, 3),
        (12, 48, 4),
        (12, 40, 4),
        (12, 39, 3),
        (12, 31, 3),
        (12, 30, 2),
        (12, 25, 2),
        (14, 48, 4),
        (14, 47, 3),
        (14, 37, 3),
        (14, 36, 2),
        (14, 26, 2),
        (14, 25, 1),
        (16, 48, 3),
        (16, 43, 3),
        (16, 42, 2),
        (16, 30, 2),
        (16, 29, 1),
        (16, 25, 1),
    ] {
        let space = Space {
            page_bits,
            width,
            upper: false,
            output_bits: 48,
            had: false,
            tbi: false,
            wxn: false,
            pan: false,
            affd: false,
            wide: width > 48,
        };
        let driver = driver(&space);
        driver.set_cd(1, space.cd(false));
        // Every table is the next, and the last maps a page.
        let (root, address) = (ROOT, 0);
        let mut table = root;
        for step in 1..=steps {
            let next = ROOT + 0x10_0000 * step;
            let leaf = if step == steps {
                // Bits 9:8 may be the address's.
                0x7777_0000 | USER_RW & !0x300
            } else {
                next | 3
            };
            driver.memory.store(table, &[leaf]);
            table = next;
        }

        assert_eq!(driver.access(address, Access::READ).address(), 0x7777_0000);
        assert_eq!(
            driver.smmu.counters().walk_steps,
            steps,
            "{page_bits} {width}"
        );
        assert_eq!(space.levels().len() as u64, steps);
    }
}

#[test]
fn both_halves_of_the_address_space_translate() {
    // As Linux's context for DMA would, had it a use for TTB1.
    let driver = Driver::ready();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] = cd[0] & !(1 << 30 | 1 << 44) | 16 << 16 | 2 << 22;
    cd[2] = Driver::root(2);
    driver.set_cd(1, cd);
    driver.map_at(Driver::root(1), 3, 0xffff_ffff_f000, 0x1000_0000 | USER_RW);
    driver.map_at(Driver::root(2), 3, 0xffff_ffff_f000, 0x2000_0000 | USER_RW);
    driver.map_at(Driver::root(2), 3, 0, 0x3000_0000 | USER_RW);

    // The whole 48 bits of each are usable.
    assert_eq!(
        driver.access(0x0000_ffff_ffff_f000, Access::READ).address(),
        0x1000_0000
    );
    assert_eq!(
        driver.access(0xffff_ffff_ffff_f000, Access::READ).address(),
        0x2000_0000
    );
    assert_eq!(
        driver.access(0xffff_0000_0000_0000, Access::READ).address(),
        0x3000_0000
    );
    assert!(
        driver
            .access(0x0001_0000_0000_0000, Access::READ)
            .is_aborted()
    );
    assert!(
        driver
            .access(0xfffe_ffff_ffff_f000, Access::READ)
            .is_aborted()
    );
    let event = driver.events()[0];
    assert_eq!(
        event,
        [0x105_0000_1810, 0x0208_0000_0000, 0x0001_0000_0000_0000, 0]
    );
}

#[test]
fn linux_leaves_have_linux_permissions() {
    // PAGE_SHARED, PAGE_READONLY, PAGE_READONLY_EXEC, PAGE_EXECONLY, PAGE_KERNEL,
    // PAGE_KERNEL_ROX of arch/arm64/include/asm/pgtable-prot.h, memory types left out.
    let (read, write, fetch) = (Access::READ, Access::WRITE, Access::EXECUTE);
    let all = [
        read,
        write,
        fetch,
        read.privileged(),
        write.privileged(),
        fetch.privileged(),
    ];
    for (leaf, allowed) in [
        (USER_RW, [true, true, false, true, true, false]),
        (USER_RO, [true, false, false, true, false, false]),
        (
            USER_RO & !(1 << 54),
            [true, false, true, true, false, false],
        ),
        (
            USER_RO & !(1 << 54 | 1 << 6),
            [false, false, true, true, false, false],
        ),
        (
            USER_RW & !(1 << 6),
            [false, false, false, true, true, false],
        ),
        (
            USER_RO & !(1 << 6 | 1 << 53),
            [false, false, false, true, false, true],
        ),
    ] {
        let driver = Driver::ready();
        let mut cd = cd_sva(1, Driver::root(1));
        cd[0] &= !(1 << 44);
        driver.set_cd(1, cd);
        driver.map(0x1000, 0x7777_0000 | leaf);
        // Twice, so that what one access caches does not help another.
        for _ in 0..2 {
            for (access, allowed) in all.into_iter().zip(allowed) {
                let pending = driver.access(0x1000, access);
                assert_eq!(pending.is_aborted(), !allowed, "{leaf:#x} {access:?}");
            }
        }
    }
}

#[test]
fn a_clean_page_faults_on_a_write() {
    // DBM set, read-only: no hardware update of dirty state.
    let driver = Driver::ready();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] &= !(1 << 44);
    driver.set_cd(1, cd);
    let leaf = 0x7777_0000 | USER_RO | 1 << 51;
    let at = driver.map(0x1000, leaf);

    assert!(driver.access(0x1000, Access::WRITE).is_aborted());

    assert_eq!(driver.events()[0][0] & 0xff, 0x13);
    assert_eq!(driver.memory.load(at), leaf);
}

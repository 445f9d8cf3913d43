//! 52-bit addresses, small address spaces, and the fields that ask for them where they are not.

use crate::testing::{
    CONTEXT_TABLE, Driver, Pending, SID, STAGE2_RW, USER_RW, cd_sva, ste_stage1, ste_stage2,
};
use crate::{Access, Config, StreamId, Transaction};

/// Where tables are: beyond 48 bits.
const FAR: u64 = 0x000a_0000_0000_0000;

fn wide() -> Config {
    Config {
        va_52: true,
        ds: true,
        oas_bits: 52,
        ..Config::default()
    }
}

/// A process with TTB0 only: T0SZ, TG0, IPS, and DS.
fn context(t0sz: u64, tg0: u64, ips: u64, ds: bool, table: u64) -> [u64; 8] {
    let mut cd = cd_sva(1, table);
    cd[0] = cd[0] & !(0xff | 7 << 32 | 1 << 44) | t0sz | tg0 << 6 | ips << 32;
    cd[2] = u64::from(ds) << 58;
    cd
}

fn with_context(config: Config, cd: [u64; 8]) -> Driver {
    let driver = Driver::started(config);
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
    driver.set_cd(1, cd);
    driver
}

/// Stage 2 only: S2T0SZ, S2SL0 (three bits), S2TG, S2PS and S2DS.
fn second(fields: [u64; 5], table: u64) -> [u64; 8] {
    let [t0sz, sl0, tg, ps, ds] = fields;
    let mut ste = ste_stage2(7, table | ds << 3 | (sl0 >> 2) << 2);
    ste[2] = 7 | (t0sz | (sl0 & 3) << 6 | tg << 14 | ps << 16) << 32 | 1 << 51 | 1 << 58;
    ste
}

fn with_stage2(config: Config, ste: [u64; 8]) -> Driver {
    let driver = Driver::started(config);
    driver.set_ste(SID, ste);
    driver
}

fn access(driver: &Driver, address: u64) -> Pending {
    driver.begin(Transaction {
        stream: StreamId(SID),
        substream: None,
        address,
        access: Access::READ,
    })
}

/// An address as a descriptor of a granule spells it.
fn spell(page_bits: u32, address: u64) -> u64 {
    match page_bits {
        16 => address & 0x0000_ffff_ffff_0000 | (address >> 48 & 0xf) << 12,
        _ => address & 0x0003_ffff_ffff_f000 | (address >> 50 & 3) << 8,
    }
}

#[test]
fn tables_and_pages_can_be_beyond_48_bits() {
    // (granule bits, TG0, levels): LPA for 64 KiB, LPA2 for the others.
    for (page_bits, tg0, levels) in [(12_u32, 0, 5), (14, 2, 4), (16, 1, 3)] {
        let driver = with_context(wide(), context(12, tg0, 6, true, FAR));
        let address = 0x000f_ffff_ffff_0000_u64;
        let (mut table, stride) = (FAR, page_bits - 3);
        for step in 1..=levels {
            let low = page_bits + (levels - step) * stride;
            let index = address >> low & ((1 << stride.min(52 - low)) - 1);
            let next = FAR + 0x1_0000_0000 * u64::from(step);
            let raw = if step == levels {
                // Bits 9:8 are the address's.
                spell(page_bits, 0x000f_7777_0000_0000) | USER_RW & !0x300
            } else {
                spell(page_bits, next) | 3
            };
            driver.memory.store(table + 8 * index, &[raw]);
            table = next;
        }

        let pending = driver.access(address | 8, Access::WRITE);

        assert_eq!(pending.address(), 0x000f_7777_0000_0008, "{page_bits}");
        assert_eq!(driver.smmu.counters().walk_steps, u64::from(levels));
    }
}

#[test]
fn the_largest_blocks_come_with_52_bit_addresses() {
    // (TG0, T0SZ, levels above, size): 512 GiB at level 0, 64 GiB at level 1, 4 TiB at level 1.
    for (tg0, t0sz, above, size_bits) in [(0, 12_u64, 1, 39_u32), (2, 17, 0, 36), (1, 12, 0, 42)] {
        for there in [true, false] {
            // Without IDR5.DS, CD.DS is RES0; and 64 KiB's takes 52 bits of output.
            let config = Config {
                ds: there,
                oas_bits: if there { 52 } else { 48 },
                ..wide()
            };
            let t0sz = if there || tg0 == 1 {
                t0sz
            } else {
                t0sz.max(16)
            };
            let above = if there { above } else { 0 };
            let driver = with_context(config, context(t0sz, tg0, 5, true, 0x8_0000_0000));
            let address = 1_u64 << size_bits;
            let mut table = 0x8_0000_0000_u64;
            if above == 1 {
                driver.memory.store(table, &[0x9_0000_0003]);
                table = 0x9_0000_0000;
            }
            let block = 3_u64 << size_bits;
            driver.memory.store(table + 8, &[block | USER_RW & !0x302]);

            let pending = driver.access(address | 0x1234, Access::READ);

            if there {
                let translation = pending.outcome().unwrap().unwrap();
                assert_eq!(translation.address, block | 0x1234);
                assert_eq!(translation.remaining, (1 << size_bits) - 0x1234);
                driver.access(address | 0x5678, Access::READ).address();
                assert_eq!(driver.smmu.counters().tlb_hits, 1, "it is kept whole");
            } else {
                assert!(pending.is_aborted());
                assert_eq!(driver.events()[0][0] & 0xff, 0x10, "TG0 = {tg0}");
            }
        }
    }
}

#[test]
fn input_sizes_that_are_not_there_make_the_context_illegal() {
    let plain = Config::default();
    let va = Config {
        va_52: true,
        ..Config::default()
    };
    let stt = Config {
        stt: true,
        ..Config::default()
    };
    // (configuration, T0SZ, TG0, CD.DS, legal)
    for (config, t0sz, tg0, ds, legal) in [
        (&plain, 16, 0, false, true),
        (&plain, 15, 0, true, false),
        (&plain, 15, 1, false, false),
        (&plain, 39, 0, false, true),
        (&plain, 40, 0, false, false),
        (&va, 12, 1, false, true),
        (&va, 11, 1, false, false),
        (&va, 15, 0, true, false),
        (&wide(), 12, 0, true, true),
        (&wide(), 15, 0, false, false),
        (&wide(), 12, 2, true, true),
        (&wide(), 11, 2, true, false),
        (&stt, 48, 0, false, true),
        (&stt, 49, 0, false, false),
        (&stt, 48, 2, false, true),
        (&stt, 47, 1, false, true),
        (&stt, 48, 1, false, false),
    ] {
        let driver = with_context(config.clone(), context(t0sz, tg0, 5, ds, 0x8_0000_0000));

        assert!(driver.access(0, Access::READ).is_aborted());

        let event = driver.events()[0][0] & 0xff;
        assert_eq!(event, if legal { 0x10 } else { 0x0a }, "{t0sz} {tg0} {ds}");
    }
}

#[test]
fn table_addresses_that_are_out_of_reach_make_the_context_illegal() {
    // (TG0, DS, IPS, TTB0, legal)
    for (tg0, ds, ips, ttb0, legal) in [
        (1, false, 6, FAR, true),
        (1, false, 5, FAR, false),
        (0, true, 6, FAR, true),
        (0, false, 6, FAR, false),
        (2, false, 6, FAR, false),
        // 7 is as 6, and OAS bounds both.
        (1, false, 7, FAR, true),
    ] {
        let driver = with_context(wide(), context(16, tg0, ips, ds, ttb0));

        assert!(driver.access(0, Access::READ).is_aborted());

        let event = driver.events()[0][0] & 0xff;
        assert_eq!(event, if legal { 0x10 } else { 0x0a }, "{tg0} {ds} {ips}");
    }
}

#[test]
fn tables_are_aligned_to_their_size_and_with_52_bits_to_64_bytes() {
    // T0SZ = 33, 4 KiB: the first table has two entries at level 1.
    for (ips, aligned) in [(5, 0x8_0000_0070_u64), (6, 0x8_0000_0040)] {
        let driver = with_context(wide(), context(33, 0, ips, false, 0x8_0000_0070));
        driver.memory.store(aligned, &[0x4000_0000 | USER_RW & !2]);

        assert_eq!(driver.access(0x1000, Access::READ).address(), 0x4000_1000);
    }
    // T0SZ = 25: all of a page.
    let driver = with_context(wide(), context(25, 0, 5, false, 0x8_0000_0ff0));
    driver
        .memory
        .store(0x8_0000_0000, &[0x4000_0000 | USER_RW & !2]);
    assert_eq!(driver.access(0x1000, Access::READ).address(), 0x4000_1000);
}

#[test]
fn the_smallest_address_spaces_are_one_table_of_the_last_level() {
    let config = Config {
        stt: true,
        ..Config::default()
    };
    for (t0sz, tg0) in [(48, 0), (48, 2), (47, 1)] {
        let driver = with_context(config.clone(), context(t0sz, tg0, 5, false, 0x8_0000_0000));
        driver.memory.store(0x8_0000_0000, &[0x4000_0000 | USER_RW]);

        assert_eq!(driver.access(0x8, Access::READ).address(), 0x4000_0008);
        assert_eq!(driver.smmu.counters().walk_steps, 1);
    }
    // Stage 2 from level 3 of the 4 KiB granule.
    let driver = with_stage2(config, second([44, 3, 0, 5, 0], 0x8_0000_0000));
    driver
        .memory
        .store(0x8_0000_0000 + 8 * 0xff, &[0x4000_0000 | STAGE2_RW]);
    assert_eq!(access(&driver, 0xff008).address(), 0x4000_0008);
}

#[test]
fn stage_2_has_52_bit_addresses_too() {
    // (granule bits, S2TG, S2SL0, start level, S2T0SZ)
    for (page_bits, tg, sl0, level, t0sz) in [
        (12_u32, 0, 4, -1_i32, 12_u64),
        (12, 0, 2, 0, 13),
        (14, 2, 3, 0, 12),
        (14, 2, 2, 1, 14),
        (16, 1, 2, 1, 12),
    ] {
        let driver = with_stage2(wide(), second([t0sz, sl0, tg, 6, 1], FAR));
        let address = (1_u64 << (64 - t0sz)) - (1 << page_bits);
        let (mut table, stride) = (FAR, page_bits - 3);
        for at in level..=3 {
            let mut index = address >> (page_bits + (3 - at) as u32 * stride);
            if at != level {
                index &= (1 << stride) - 1;
            }
            let next = FAR + 0x1_0000_0000 * (at + 2) as u64;
            let raw = if at == 3 {
                spell(page_bits, 0x000f_7777_0000_0000) | STAGE2_RW & !0x300
            } else {
                spell(page_bits, next) | 3
            };
            driver.memory.store(table + 8 * index, &[raw]);
            table = next;
        }

        let pending = access(&driver, address | 8);

        assert_eq!(
            pending.address(),
            0x000f_7777_0000_0008,
            "{page_bits} {level}"
        );
    }
}

#[test]
fn stage_2_that_is_too_wide_makes_the_entry_bad() {
    // Legal but for one thing: (S2T0SZ, S2SL0, S2TG, S2PS, S2DS).
    for (why, config, fields, table) in [
        ("S2DS = 0", wide(), [12, 4, 0, 6, 0], FAR & 0xffff_ffff_ffff),
        ("below 12", wide(), [11, 4, 0, 6, 1], FAR),
        ("level -1 of 48 bits", wide(), [16, 4, 0, 6, 1], FAR),
        ("S2SL0_2 reserved", wide(), [16, 5, 0, 6, 1], FAR),
        ("S2SL0_2 reserved", wide(), [16, 6, 0, 6, 1], FAR),
        ("S2TTB beyond S2PS", wide(), [16, 2, 1, 5, 0], FAR),
        ("S2TTB of 4 KiB", wide(), [16, 2, 0, 6, 0], FAR),
        (
            "no IDR5.DS",
            Config {
                oas_bits: 52,
                ..Config::default()
            },
            [12, 4, 0, 6, 1],
            0,
        ),
        (
            "64 - S2T0SZ above IAS",
            Config::default(),
            [15, 2, 1, 5, 0],
            0,
        ),
    ] {
        let driver = with_stage2(config, second(fields, table));

        assert!(access(&driver, 0).is_aborted());

        assert_eq!(driver.events(), [[0x105_0000_0004, 0, 0, 0]], "{why}");
    }
}

#[test]
fn levels_of_the_largest_blocks_can_be_invalidated() {
    // A block of 64 GiB at level 1 of the 16 KiB granule: TTL = 1 means it with IDR5.DS, and is
    // a scope of one page without NUM and SCALE.
    let driver = with_context(wide(), context(17, 2, 5, true, 0x8_0000_0000));
    let block = |at: u64| at << 36 | USER_RW & !0x302;
    driver.memory.store(0x8_0000_0008, &[block(3)]);
    let read = || driver.access(1 << 36, Access::READ).address() >> 36;
    assert_eq!(read(), 3);
    driver.memory.store(0x8_0000_0008, &[block(5)]);

    driver.command([0x12 | 1 << 48, 1 << 36 | 2 << 10 | 2 << 8]);
    assert_eq!(read(), 3);
    driver.command([0x12 | 1 << 48, 1 << 36 | 2 << 10 | 1 << 8]);
    assert_eq!(read(), 5);
}

#[test]
fn ranges_scale_further_with_52_bit_addresses() {
    for (ds, goes) in [(true, true), (false, false)] {
        let config = Config { ds, ..wide() };
        let driver = with_context(config, context(16, 0, 5, false, Driver::root(1)));
        let far = 1_u64 << 47;
        driver.map(far, 0x10_0000 | USER_RW);
        assert_eq!(driver.access(far, Access::READ).address(), 0x10_0000);
        driver.map(far, 0x20_0000 | USER_RW);

        // SCALE = 0b100011: 2^35 pages from 0, or 2^3 of them.
        driver.command([0x12 | 1 << 48 | 1 << 12 | 0b10_0011 << 20, 1 << 10]);

        let seen = driver.access(far, Access::READ).address();
        assert_eq!(seen == 0x20_0000, goes);
    }
}

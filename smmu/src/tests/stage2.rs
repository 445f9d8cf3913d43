//! Stage 2 alone, and stage 1 on top of it. Records are golden: S2 is bit 39 of the second word,
//! CLASS bits 41:40 (0 CD, 1 TT, 2 IN), TTRnW bit 44; the IPA is the fourth word.

use stallbox_timeline::Span;

use crate::testing::{
    CONTEXT_TABLE, Driver, Pending, SID, STAGE2_RO, STAGE2_ROOT, STAGE2_RW, USER_RO, USER_RW,
    cd_sva, ste_nested, ste_stage2,
};
use crate::{Access, Config, Granules, StallModel, Step, StreamId, SubstreamId, Transaction};

/// A stream with stage 2 only.
fn stage2() -> Driver {
    let driver = Driver::ready();
    driver.set_ste(SID, ste_stage2(7, STAGE2_ROOT));
    driver
}

/// An access of the device itself, without a SubstreamID.
fn access(driver: &Driver, address: u64, access: Access) -> Pending {
    driver.begin(Transaction {
        stream: StreamId(SID),
        substream: None,
        address,
        access,
    })
}

type Spoil = fn(&mut Config);

/// The only record of an access that was aborted.
#[track_caller]
fn record(driver: &Driver, pending: &Pending) -> [u64; 4] {
    assert!(pending.is_aborted());
    let events = driver.events();
    assert_eq!(events.len(), 1, "{events:#x?}");
    events[0]
}

/// A virtual machine whose process's faults abort at stage 1 too.
fn terminating() -> Driver {
    let driver = Driver::virtual_machine();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] &= !(1 << 44);
    driver.set_cd(1, cd);
    driver
}

#[test]
fn stage_2_translates_what_the_device_says() {
    let driver = stage2();
    driver.map_stage2(0x1000, 0x10_0000 | STAGE2_RW);
    driver.map_at(STAGE2_ROOT, 2, 0x20_0000, 0x4000_0000 | STAGE2_RW & !2);
    driver.map_at(STAGE2_ROOT, 1, 0x4000_0000, 0x8000_0000 | STAGE2_RW & !2);

    for (address, output, remaining) in [
        (0x1ff0, 0x10_0ff0, 0x10),
        (0x20_1000, 0x4000_1000, 0x1f_f000),
        (0x7fff_ffff, 0xbfff_ffff, 1),
    ] {
        for _ in 0..2 {
            let translation = access(&driver, address, Access::WRITE).outcome();
            let translation = translation.unwrap().unwrap();
            assert_eq!(
                (translation.address, translation.remaining),
                (output, remaining)
            );
        }
    }
    assert_eq!(driver.smmu.counters().tlb_hits, 3, "and keeps it");
}

#[test]
fn stage_2_only_is_answered_from_the_tlb_without_waiting() {
    let driver = stage2();
    driver.map_stage2(0x1000, 0x10_0000 | STAGE2_RO);
    let ask = |access| {
        driver.smmu.try_translate(&Transaction {
            stream: StreamId(SID),
            substream: None,
            address: 0x1008,
            access,
        })
    };

    assert_eq!(ask(Access::READ), None);
    access(&driver, 0x1000, Access::READ);
    assert_eq!(ask(Access::READ).unwrap().address, 0x10_0008);
    assert_eq!(ask(Access::WRITE), None, "only a walk may say no");
}

#[test]
fn stage_2_only_takes_no_substreams() {
    let driver = stage2();
    driver.map_stage2(0x1000, 0x10_0000 | STAGE2_RW);

    let pending = driver.access(0x1000, Access::READ);

    assert_eq!(record(&driver, &pending), [0x105_0000_1008, 0, 0, 0]);
}

#[test]
fn faults_of_stage_2_say_so_with_the_address_as_ipa() {
    let driver = stage2();
    let unmapped = access(&driver, 0x1_2345, Access::WRITE);
    assert_eq!(
        record(&driver, &unmapped),
        [0x105_0000_0010, 0x280_0000_0000, 0x1_2345, 0x1_2000]
    );

    driver.map_stage2(0x2000, (0x10_0000 | STAGE2_RW) & !0x400);
    let clear = access(&driver, 0x2008, Access::READ);
    assert_eq!(
        record(&driver, &clear),
        [0x105_0000_0012, 0x288_0000_0000, 0x2008, 0x2000]
    );

    driver.map_stage2(0x3000, 0x10_0000 | STAGE2_RO);
    let write = access(&driver, 0x3008, Access::WRITE);
    assert_eq!(
        record(&driver, &write),
        [0x105_0000_0013, 0x280_0000_0000, 0x3008, 0x3000]
    );

    // S2PS = 32 bits; the table has to be below that too.
    let mut ste = ste_stage2(7, STAGE2_ROOT & 0xffff_ffff);
    ste[2] &= !(7 << 48);
    driver.set_ste(SID, ste);
    driver.command([0x28 | 7 << 32, 0]);
    driver
        .memory
        .store(STAGE2_ROOT & 0xffff_ffff, &[0x1_0000_0000 | 3]);
    let far = access(&driver, 0x4008, Access::READ);
    assert_eq!(
        record(&driver, &far),
        [0x105_0000_0011, 0x288_0000_0000, 0x4008, 0x4000]
    );
}

#[test]
fn an_abort_on_a_stage_2_descriptor_is_recorded_as_stage_2s() {
    let driver = stage2();
    let at = driver.map_stage2(0x1000, 0x10_0000 | STAGE2_RW);
    driver.memory.abort_at(at);

    let pending = access(&driver, 0x1008, Access::READ);

    assert_eq!(
        record(&driver, &pending),
        [0x105_0000_000b, 0x288_0000_0000, 0x1008, at]
    );
}

#[test]
fn an_input_beyond_the_implementation_is_a_fault_of_stage_1() {
    let driver = stage2();
    let pending = access(&driver, 1 << 48, Access::READ);
    assert_eq!(
        record(&driver, &pending),
        [0x105_0000_0011, 0x208_0000_0000, 1 << 48, 0]
    );

    // Within the implementation and beyond S2T0SZ it is one of stage 2: 40 bits from level 1, two
    // tables in a row.
    let mut ste = ste_stage2(7, STAGE2_ROOT);
    ste[2] = ste[2] & !(0xff << 32) | (24 | 1 << 6) << 32;
    driver.set_ste(SID, ste);
    let pending = access(&driver, 1 << 40, Access::READ);
    assert_eq!(
        record(&driver, &pending),
        [0x105_0000_0010, 0x288_0000_0000, 1 << 40, 1 << 40]
    );
}

#[test]
fn stage_2_permissions_are_by_privilege_for_execution_only() {
    let (read, write, fetch) = (Access::READ, Access::WRITE, Access::EXECUTE);
    let all = [
        read,
        write,
        fetch,
        read.privileged(),
        write.privileged(),
        fetch.privileged(),
    ];
    let none = STAGE2_RW & !0xc0;
    for (leaf, allowed) in [
        (none, [false, false, true, false, false, true]),
        (none | 0x40, [true, false, true, true, false, true]),
        (none | 0x80, [false, true, true, false, true, true]),
        // XN[1:0] in bits 54:53 (FEAT_XNX).
        (STAGE2_RW | 1 << 53, [true, true, true, true, true, false]),
        (STAGE2_RW | 2 << 53, [true, true, false, true, true, false]),
        (STAGE2_RW | 3 << 53, [true, true, false, true, true, true]),
    ] {
        let driver = stage2();
        driver.map_stage2(0x1000, 0x7777_0000 | leaf);
        for _ in 0..2 {
            for (kind, allowed) in all.into_iter().zip(allowed) {
                let pending = access(&driver, 0x1000, kind);
                assert_eq!(pending.is_aborted(), !allowed, "{leaf:#x} {kind:?}");
            }
        }
    }
}

#[test]
fn s2affd_makes_a_clear_access_flag_no_fault_and_not_kept() {
    let driver = stage2();
    let mut ste = ste_stage2(7, STAGE2_ROOT);
    ste[2] |= 1 << 53;
    driver.set_ste(SID, ste);
    let at = driver.map_stage2(0x1000, (0x10_0000 | STAGE2_RW) & !0x400);
    assert_eq!(access(&driver, 0x1000, Access::READ).address(), 0x10_0000);

    driver.memory.store(at, &[0x20_0000 | STAGE2_RW]);

    assert_eq!(access(&driver, 0x1000, Access::READ).address(), 0x20_0000);
}

#[test]
fn what_both_stages_say_is_kept_only_with_both_access_flags() {
    let driver = Driver::virtual_machine();
    let mut ste = ste_nested(CONTEXT_TABLE + 0x10_0000_0000, 3, 7, STAGE2_ROOT);
    ste[2] |= 1 << 53;
    driver.set_ste(SID, ste);
    driver.map(0x1000, 0x7000_0000 | USER_RW);
    let at = driver.map_stage2(0x7000_0000, (0x10_0000 | STAGE2_RW) & !0x400);
    let read = || driver.access(0x1000, Access::READ).address();
    assert_eq!(read(), 0x10_0000);

    driver.memory.store(at, &[0x20_0000 | STAGE2_RW]);

    assert_eq!(read(), 0x20_0000);
    driver.memory.store(at, &[0x30_0000 | STAGE2_RW]);
    assert_eq!(read(), 0x20_0000, "now it is kept");
}

#[test]
fn without_s2r_a_fault_of_stage_2_is_not_recorded() {
    let driver = stage2();
    let mut ste = ste_stage2(7, STAGE2_ROOT);
    ste[2] &= !(1 << 58);
    driver.set_ste(SID, ste);

    assert!(access(&driver, 0x1000, Access::READ).is_aborted());

    assert!(driver.events().is_empty());
}

#[test]
fn with_s2s_a_fault_of_stage_2_stalls_and_is_resumed() {
    let driver = stage2();
    let mut ste = ste_stage2(7, STAGE2_ROOT);
    ste[2] |= 1 << 57;
    driver.set_ste(SID, ste);

    let pending = access(&driver, 0x1008, Access::WRITE);

    assert!(pending.is_waiting());
    assert_eq!(
        driver.events(),
        [[0x105_0000_0010, 0x280_8000_0000, 0x1008, 0x1000]]
    );
    driver.map_stage2(0x1000, 0x10_0000 | STAGE2_RW);
    driver.resume(0, 1);
    assert_eq!(pending.address(), 0x10_0008);
}

#[test]
fn walks_of_stage_2_begin_where_they_are_told_to() {
    // (S2TG, granule bits, S2T0SZ, S2SL0, start level, tables in a row); DDI 0487's tables of
    // concatenation at stage 2.
    for (tg, bits, t0sz, sl0, level, tables) in [
        (0_u64, 12_u32, 16_u32, 2_u64, 0_u32, 1_u64),
        (0, 12, 20, 2, 0, 1),
        (0, 12, 24, 2, 0, 1),
        (0, 12, 21, 1, 1, 16),
        (0, 12, 24, 1, 1, 2),
        (0, 12, 25, 1, 1, 1),
        (0, 12, 33, 1, 1, 1),
        (0, 12, 30, 0, 2, 16),
        (0, 12, 34, 0, 2, 1),
        (0, 12, 39, 0, 2, 1),
        (2, 14, 16, 2, 1, 2),
        (2, 14, 17, 2, 1, 1),
        (2, 14, 24, 1, 2, 16),
        (2, 14, 28, 1, 2, 1),
        (2, 14, 38, 1, 2, 1),
        (2, 14, 39, 0, 3, 1),
        (1, 16, 16, 2, 1, 1),
        (1, 16, 21, 2, 1, 1),
        (1, 16, 18, 1, 2, 16),
        (1, 16, 22, 1, 2, 1),
        (1, 16, 34, 1, 2, 1),
        (1, 16, 35, 0, 3, 1),
        (1, 16, 39, 0, 3, 1),
    ] {
        let what = format!("S2TG {tg} S2T0SZ {t0sz} S2SL0 {sl0}");
        let driver = Driver::ready();
        // S2SL0_2 and S2DS are RES0 here.
        let root = 0x40_0000_0000_u64;
        let mut ste = ste_stage2(7, root | 0xc);
        let vtcr = u64::from(t0sz) | sl0 << 6 | tg << 14 | 5 << 16;
        ste[2] = 7 | vtcr << 32 | 1 << 51 | 1 << 58;
        driver.set_ste(SID, ste);
        // The last page there is.
        let address = (1_u64 << (64 - t0sz)) - (1 << bits);
        let stride = bits - 3;
        let mut table = root;
        for at_level in level..=3 {
            let next = root + 0x1000_0000 * u64::from(at_level + 1);
            let (index, raw) = (
                address >> (bits + (3 - at_level) * stride),
                if at_level == 3 {
                    0x7770_0000 | STAGE2_RW
                } else {
                    next | 3
                },
            );
            // Only the first level has more than one table.
            let index = if at_level == level {
                assert_eq!((index >> stride) + 1, tables, "{what}");
                index
            } else {
                index & ((1 << stride) - 1)
            };
            driver.memory.store(table + 8 * index, &[raw]);
            table = next;
        }

        let pending = access(&driver, address | 8, Access::READ);

        assert!(!pending.is_aborted(), "{what} {:x?}", driver.events());
        assert_eq!(pending.address(), 0x7770_0008, "{what}");
        let steps = driver.smmu.counters().walk_steps;
        assert_eq!(steps, u64::from(4 - level), "{what}");
    }
}

#[test]
fn stage_2_that_is_illegal_makes_the_entry_bad() {
    let vtcr = |t0sz: u64, sl0: u64, tg: u64| (t0sz | sl0 << 6 | tg << 14 | 5 << 16) << 32;
    let rest = 7 | 1 << 51 | 1 << 58;
    let good = vtcr(16, 2, 0) | rest;
    for (why, word2, word3) in [
        ("S2AA64 = 0: VMSAv8-32", good & !(1 << 51), STAGE2_ROOT),
        ("S2ENDI: big-endian", good | 1 << 52, STAGE2_ROOT),
        ("S2TG = 3: reserved", good | 3 << 46, STAGE2_ROOT),
        ("S2HA without HTTU", good | 1 << 56, STAGE2_ROOT),
        ("S2HD without HTTU", good | 1 << 55, STAGE2_ROOT),
        ("S2T0SZ below 16", vtcr(15, 2, 0) | rest, STAGE2_ROOT),
        ("S2T0SZ above 39", vtcr(40, 0, 0) | rest, STAGE2_ROOT),
        ("level 3 without STT", vtcr(39, 3, 0) | rest, STAGE2_ROOT),
        ("level 0 for 39 bits", vtcr(25, 2, 0) | rest, STAGE2_ROOT),
        ("32 tables of level 1", vtcr(20, 1, 0) | rest, STAGE2_ROOT),
        ("level 0 of 16 KiB", vtcr(16, 3, 2) | rest, STAGE2_ROOT),
        ("S2SL0 = 3 of 64 KiB", vtcr(16, 3, 1) | rest, STAGE2_ROOT),
        ("S2TTB beyond S2PS", good & !(7 << 48), STAGE2_ROOT),
        ("S2TTB beyond 48 bits", good | 6 << 48, 1 << 48),
    ] {
        let driver = stage2();
        let mut ste = ste_stage2(7, word3);
        ste[2] = word2;
        driver.set_ste(SID, ste);
        let pending = access(&driver, 0x1000, Access::READ);
        assert_eq!(
            record(&driver, &pending),
            [0x105_0000_0004, 0, 0, 0],
            "{why}"
        );

        // Where stage 2 is off it does not matter.
        let mut ste = crate::testing::ste_stage1(CONTEXT_TABLE, 3);
        ste[2] = word2;
        ste[3] = word3;
        driver.set_ste(SID, ste);
        let pending = driver.access(0x1000, Access::READ);
        let bad_cd = record(&driver, &pending)[0] & 0xff;
        assert_eq!(bad_cd, 0x0a, "{why}");
    }
}

#[test]
fn stage_2_that_the_implementation_lacks_makes_the_entry_bad() {
    let cases: [(&str, Spoil); 5] = [
        ("no stage 2", |config| config.stage2 = false),
        ("S2TG", |config| {
            config.granules = Granules {
                k4: false,
                k16: true,
                k64: true,
            }
        }),
        ("S2T0SZ for more than OAS", |config| config.oas_bits = 44),
        ("VMID of 8 bits", |config| config.vmid16 = false),
        ("S2S = 0 where all stalls", |config| {
            config.stall_model = StallModel::Stall
        }),
    ];
    for (why, lack) in cases {
        let mut config = Config::default();
        lack(&mut config);
        let driver = Driver::started(config);
        driver.set_ste(SID, ste_stage2(0x107, STAGE2_ROOT));
        let pending = access(&driver, 0x1000, Access::READ);
        assert_eq!(
            record(&driver, &pending),
            [0x105_0000_0004, 0, 0, 0],
            "{why}"
        );
    }

    let driver = Driver::started(Config {
        stall_model: StallModel::Terminate,
        stall_max: 0,
        ..Config::default()
    });
    let mut ste = ste_stage2(7, STAGE2_ROOT);
    ste[2] |= 1 << 57;
    driver.set_ste(SID, ste);
    let pending = access(&driver, 0x1000, Access::READ);
    assert_eq!(record(&driver, &pending), [0x105_0000_0004, 0, 0, 0], "S2S");
}

#[test]
fn both_stages_translate_one_after_the_other() {
    let driver = terminating();
    driver.map(0x1000, 0x30_0000 | USER_RW);
    driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);

    for _ in 0..2 {
        assert_eq!(driver.access(0x1008, Access::WRITE).address(), 0x70_0008);
    }

    let counters = driver.smmu.counters();
    assert_eq!(counters.tlb_hits, 1, "the TLB has them as one");
    // Stage 1 has four levels, in tables that one block of 1 GiB and a cached one map: two steps
    // for each of the two blocks, one of them for the context before; four for the page.
    assert_eq!(counters.walk_steps, 2 + 4 + 2 + 2 + 4);
}

#[test]
fn the_smaller_of_two_pages_bounds_the_translation() {
    let driver = terminating();
    // A block on pages, and a page on a block.
    driver.map_at(Driver::root(1), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);
    driver.map_stage2(0x4000_5000, 0x9000_0000 | STAGE2_RW);
    driver.map(0x1000, 0x8000_3000 | USER_RW);
    driver.map_at(STAGE2_ROOT, 2, 0x8000_0000, 0xa000_0000 | STAGE2_RW & !2);
    // A block on a larger one.
    driver.map_at(Driver::root(1), 2, 0x40_0000, 0xc040_0000 | USER_RW & !2);
    driver.map_at(STAGE2_ROOT, 1, 0xc000_0000, 0x1_0000_0000 | STAGE2_RW & !2);

    for (address, output, remaining) in [
        (0x20_5010, 0x9000_0010, 0xff0),
        (0x1010, 0xa000_3010, 0xff0),
        (0x40_5010, 0x1_0040_5010, 0x1f_aff0),
    ] {
        for _ in 0..2 {
            let translation = driver.access(address, Access::READ).outcome();
            let translation = translation.unwrap().unwrap();
            assert_eq!(
                (translation.address, translation.remaining),
                (output, remaining)
            );
        }
    }
}

#[test]
fn either_stage_can_take_a_permission_away() {
    let both = (USER_RW, STAGE2_RW);
    for ((first, second), stage) in [
        (both, 0),
        ((USER_RO, STAGE2_RW), 1),
        ((USER_RW, STAGE2_RO), 2),
        // Stage 1 is asked first.
        ((USER_RO, STAGE2_RO), 1),
    ] {
        let driver = terminating();
        driver.map(0x1000, 0x30_0000 | first);
        driver.map_stage2(0x30_0000, 0x70_0000 | second);
        // What a read leaves in the TLB lets no write through.
        assert_eq!(driver.access(0x1000, Access::READ).address(), 0x70_0000);

        let write = driver.access(0x1008, Access::WRITE);

        let expected = match stage {
            0 => {
                assert_eq!(write.address(), 0x70_0008);
                continue;
            }
            1 => [0x105_0000_1813, 0x200_0000_0000, 0x1008, 0],
            _ => [0x105_0000_1813, 0x280_0000_0000, 0x1008, 0x30_0000],
        };
        assert_eq!(record(&driver, &write), expected);
    }
}

#[test]
fn faults_of_stage_2_tell_what_it_translated() {
    // The page: CLASS = IN.
    let driver = terminating();
    driver.map(0x1000, 0x30_0000 | USER_RW);
    let page = driver.access(0x1008, Access::READ);
    assert_eq!(
        record(&driver, &page),
        [0x105_0000_1810, 0x288_0000_0000, 0x1008, 0x30_0000]
    );

    // A table of stage 1: CLASS = TT, and the IPA is the descriptor's.
    let driver = terminating();
    driver.memory.store(Driver::root(1), &[0x50_0000 | 3]);
    let table = driver.access(0x40_0000_1008, Access::WRITE);
    assert_eq!(
        record(&driver, &table),
        [0x105_0000_1810, 0x180_0000_0000, 0x40_0000_1008, 0x50_0000],
    );

    // The context descriptor: CLASS = CD.
    let driver = Driver::ready();
    driver.set_ste(SID, ste_nested(0x60_0000, 3, 7, STAGE2_ROOT));
    let context = driver.access(0x1008, Access::WRITE);
    assert_eq!(
        record(&driver, &context),
        [0x105_0000_1810, 0x080_0000_0000, 0x1008, 0x60_0000]
    );
}

#[test]
fn a_table_that_stage_2_lets_nobody_read_is_a_permission_fault_of_a_read() {
    let driver = terminating();
    driver.memory.store(Driver::root(1), &[0x50_0000 | 3]);
    driver.map_stage2(0x50_0000, 0x60_0000 | STAGE2_RW & !0x40);

    let write = driver.access(0x1008, Access::WRITE);

    // TTRnW, though RnW says that the device was to write.
    assert_eq!(
        record(&driver, &write),
        [0x105_0000_1813, 0x1180_0000_0000, 0x1008, 0x50_0000]
    );
}

#[test]
fn tables_in_device_memory_are_a_fault_with_s2ptw_only() {
    for ptw in [true, false] {
        // MemAttr = 0b0001, Device-nGnRE.
        let device = STAGE2_RW & !0x3c | 1 << 2;
        let driver = terminating();
        let mut ste = ste_nested(CONTEXT_TABLE + 0x10_0000_0000, 3, 7, STAGE2_ROOT);
        if !ptw {
            ste[2] &= !(1 << 54);
        }
        driver.set_ste(SID, ste);
        driver.memory.store(Driver::root(1), &[0x50_0000 | 3]);
        driver.map_stage2(0x50_0000, 0x60_0000 | device);

        let pending = driver.access(0x1008, Access::READ);

        let expected = if ptw {
            [0x105_0000_1813, 0x1188_0000_0000, 0x1008, 0x50_0000]
        } else {
            // The table is empty.
            [0x105_0000_1810, 0x208_0000_0000, 0x1008, 0]
        };
        assert_eq!(record(&driver, &pending), expected);

        // The device's own accesses are not meant.
        driver.memory.store(Driver::root(1), &[0]);
        driver.map(0x2000, 0x50_0000 | USER_RW);
        assert_eq!(driver.access(0x2000, Access::READ).address(), 0x60_0000);
    }
}

#[test]
fn context_descriptors_in_device_memory_are_a_fault_with_s2ptw() {
    let driver = Driver::ready();
    driver.set_ste(SID, ste_nested(0x60_0000, 3, 7, STAGE2_ROOT));
    driver.map_stage2(0x60_0000, CONTEXT_TABLE | STAGE2_RW & !0x3c);

    let pending = driver.access(0x1008, Access::READ);

    // TTRnW is said of tables only.
    assert_eq!(
        record(&driver, &pending),
        [0x105_0000_1813, 0x088_0000_0000, 0x1008, 0x60_0000]
    );
}

#[test]
fn aborts_of_both_stages_are_told_apart() {
    // On stage 1's descriptor, at the address that stage 2 gave it.
    let driver = terminating();
    let at = driver.map(0x1000, 0x30_0000 | USER_RW);
    driver.memory.abort_at(at);
    let first = driver.access(0x1008, Access::READ);
    assert_eq!(
        record(&driver, &first),
        [0x105_0000_180b, 0x108_0000_0000, 0x1008, at]
    );
    driver.memory.heal();

    // On stage 2's, for the page; for a table; for the context descriptor.
    let at = driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);
    driver.memory.abort_at(at);
    let page = driver.access(0x1008, Access::READ);
    assert_eq!(
        record(&driver, &page),
        [0x105_0000_180b, 0x288_0000_0000, 0x1008, at]
    );
    driver.memory.heal();
    driver.command([0x28 | 7 << 32, 0]);
    driver.memory.abort_at(STAGE2_ROOT);
    let table = driver.access(0x1008, Access::READ);
    assert_eq!(
        record(&driver, &table),
        [0x105_0000_180b, 0x188_0000_0000, 0x1008, STAGE2_ROOT]
    );
    driver.command([0x06 | u64::from(SID) << 32, 0]);
    let context = driver.access(0x1008, Access::READ);
    assert_eq!(
        record(&driver, &context),
        [0x105_0000_180b, 0x088_0000_0000, 0x1008, STAGE2_ROOT]
    );
    driver.memory.heal();

    // On the context descriptor itself, at its physical address.
    driver.memory.abort_at(CONTEXT_TABLE + 64);
    let context = driver.access(0x1008, Access::READ);
    assert_eq!(
        record(&driver, &context),
        [0x105_0000_1809, 0, 0, CONTEXT_TABLE + 64]
    );
}

#[test]
fn each_stage_stalls_by_its_own_setting() {
    let nested = |s2s: bool, s: bool| {
        let driver = Driver::virtual_machine();
        let mut ste = ste_nested(CONTEXT_TABLE + 0x10_0000_0000, 3, 7, STAGE2_ROOT);
        let mut cd = cd_sva(1, Driver::root(1));
        ste[2] |= u64::from(s2s) << 57;
        if !s {
            cd[0] &= !(1 << 44);
        }
        driver.set_ste(SID, ste);
        driver.set_cd(1, cd);
        driver
    };
    for (s2s, s) in [(false, true), (true, false)] {
        let driver = nested(s2s, s);
        let first = driver.access(0x1008, Access::READ);
        assert_eq!(first.is_waiting(), s, "stage 1");
        if s {
            driver.resume(0, 2);
        }
        driver.map(0x1000, 0x30_0000 | USER_RW);
        let second = driver.access(0x1008, Access::READ);
        assert_eq!(second.is_waiting(), s2s, "stage 2");
    }
}

#[test]
fn a_stall_of_a_context_fetch_is_retried_from_the_start() {
    let driver = Driver::ready();
    let mut ste = ste_nested(0x60_0000, 3, 7, STAGE2_ROOT);
    ste[2] |= 1 << 57;
    driver.set_ste(SID, ste);
    driver
        .memory
        .store(CONTEXT_TABLE + 64, &cd_sva(1, 0x50_0000));

    // First the context descriptor, then the table, then the page.
    let pending = driver.access(0x1008, Access::READ);
    assert_eq!(
        driver.events(),
        [[0x105_0000_1810, 0x088_8000_0000, 0x1008, 0x60_0000]]
    );
    driver.map_stage2(0x60_0000, CONTEXT_TABLE | STAGE2_RW);
    driver.resume(0, 1);
    assert_eq!(
        driver.events(),
        [[0x105_0000_1810, 0x188_8000_0001, 0x1008, 0x50_0000]]
    );
    driver.map_stage2(0x50_0000, 0x5000_0000 | STAGE2_RW);
    for page in 0x51..0x54 {
        driver.map_stage2(page << 16, 0x5000_0000 | page << 16 | STAGE2_RW);
        driver
            .memory
            .store(0x5000_0000 | (page - 1) << 16, &[page << 16 | 3]);
    }
    driver.memory.store(0x5000_0000, &[0x51_0000 | 3]);
    driver
        .memory
        .store(0x5000_0000 | 0x53 << 16 | 8, &[0x30_0000 | USER_RW]);
    driver.resume(1, 1);
    assert_eq!(
        driver.events(),
        [[0x105_0000_1810, 0x288_8000_0002, 0x1008, 0x30_0000]]
    );
    driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);
    driver.resume(2, 1);

    assert_eq!(pending.address(), 0x70_0008);
    assert_eq!(pending.outcome().unwrap().unwrap().stalls, 3);
}

#[test]
fn a_retry_of_both_stages_believes_nothing_of_the_tlb() {
    let driver = Driver::virtual_machine();
    driver.map(0x1000, 0x30_0000 | USER_RO);
    let page = driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);
    assert_eq!(driver.access(0x1000, Access::READ).address(), 0x70_0000);
    let write = driver.access(0x1000, Access::WRITE);
    assert!(write.is_waiting());

    // Both change, and nothing is invalidated.
    driver.map(0x1000, 0x30_0000 | USER_RW);
    driver.memory.store(page, &[0x90_0000 | STAGE2_RW]);
    driver.resume(0, 1);

    assert_eq!(write.address(), 0x90_0000);
}

#[test]
fn traffic_that_bypasses_stage_1_still_has_stage_2() {
    let driver = Driver::virtual_machine();
    let mut ste = ste_nested(CONTEXT_TABLE + 0x10_0000_0000, 3, 7, STAGE2_ROOT);
    // S1DSS = 1.
    ste[1] = ste[1] & !3 | 1;
    driver.set_ste(SID, ste);
    driver.map(0x1000, 0x30_0000 | USER_RW);
    driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);
    driver.map_stage2(0x1000, 0x80_0000 | STAGE2_RW);

    for _ in 0..2 {
        assert_eq!(driver.access(0x1000, Access::READ).address(), 0x70_0000);
        assert_eq!(access(&driver, 0x1000, Access::READ).address(), 0x80_0000);
    }
    let far = access(&driver, 1 << 48, Access::READ);
    assert_eq!(record(&driver, &far)[0], 0x105_0000_0011);
}

#[test]
fn level_1_context_descriptors_are_fetched_through_stage_2() {
    let driver = Driver::virtual_machine();
    // S1Fmt = 1: leaves of 64 contexts; S1CDMax = 7.
    let mut ste = ste_nested(CONTEXT_TABLE + 0x10_0000_0000, 7, 7, STAGE2_ROOT);
    ste[0] |= 1 << 4;
    driver.set_ste(SID, ste);
    driver.memory.store(CONTEXT_TABLE + 8, &[0x60_0000 | 1]);
    let mut transaction = crate::testing::process_transaction(0x1008, Access::READ);
    transaction.substream = Some(SubstreamId(0x42));

    let pending = driver.begin(transaction);
    assert_eq!(
        record(&driver, &pending),
        [0x105_0004_2810, 0x088_0000_0000, 0x1008, 0x60_0000]
    );
    driver.map_stage2(0x60_0000, 0x6000_0000 | STAGE2_RW);
    driver
        .memory
        .store(0x6000_0000 + 64 * 2, &cd_sva(1, Driver::root(1)));
    driver.map(0x1000, 0x30_0000 | USER_RW);
    driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);
    driver.command([0x06 | u64::from(SID) << 32, 0]);
    driver.sync();

    assert_eq!(driver.begin(transaction).address(), 0x70_0008);
}

#[test]
fn a_walk_of_stage_2_that_an_invalidation_overtook_is_not_kept() {
    let driver = Driver::virtual_machine();
    driver.map(0x1000, 0x7000_0000 | USER_RW);
    driver.map(0x2000, 0x7000_1000 | USER_RW);
    driver.map_stage2(0x7000_0000, 0x10_0000 | STAGE2_RW);
    driver.map_stage2(0x7000_1000, 0x10_1000 | STAGE2_RW);
    // Another tree, for the same page.
    let other = STAGE2_ROOT - 0x10_0000;
    driver.map_at(other, 3, 0x7000_0000, 0x20_0000 | STAGE2_RW);
    // Stage 2 of stage 1's tables is in the TLB now.
    assert_eq!(driver.access(0x2000, Access::READ).address(), 0x10_1000);
    driver.probe.set(Step::WalkStep, Span::from_ns(100));

    // Four steps of stage 1, and one of stage 2 for the page.
    let read = driver.access(0x1000, Access::READ);
    driver.wait_ns(550);
    let first = driver.memory.load(other);
    driver.memory.store(STAGE2_ROOT, &[first]);
    driver.command([0x2a | 7 << 32, 0x7000_0000]);
    driver.sync();
    driver.wait_ns(2000);

    assert_eq!(read.address(), 0x20_0000);
}

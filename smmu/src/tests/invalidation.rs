use crate::testing::{CONTEXT_TABLE, Driver, SID, USER_RO, USER_RW, cd_sva, ste_stage1};
use crate::{Access, Config, Granule, SubstreamId};

/// A leaf of the same kind, but for all ASIDs.
const GLOBAL: u64 = USER_RW & !0x800;
const MOVED: u64 = 0x1_0000_0000;

/// Context `ssid` has ASID `ssid`; faults abort.
fn driver() -> Driver {
    let driver = Driver::ready();
    for ssid in 1..4_u16 {
        let mut cd = cd_sva(ssid, Driver::root(ssid));
        cd[0] &= !(1 << 44);
        driver.set_cd(ssid.into(), cd);
    }
    driver
}

fn read(driver: &Driver, ssid: u32, address: u64) -> u64 {
    let mut transaction = crate::testing::process_transaction(address, Access::READ);
    transaction.substream = Some(SubstreamId(ssid));
    driver.begin(transaction).address()
}

/// What is cached, of a set of leaves that are all in the TLB: maps them, reads them, moves them
/// in memory, invalidates with `command`, and tells which still end at the old place.
fn survivors(leaves: &[(u16, u32, u64, u64)], command: [u64; 2]) -> Vec<bool> {
    let driver = driver();
    let map = |base: u64| {
        for &(asid, level, address, leaf) in leaves {
            let leaf = if level == 3 { leaf } else { leaf & !2 };
            driver.map_at(Driver::root(asid), level, address, base | leaf);
        }
    };
    map(0);
    for &(asid, _, address, _) in leaves {
        assert!(read(&driver, asid.into(), address) < MOVED);
    }
    map(MOVED);
    driver.command(command);
    driver.sync();
    leaves
        .iter()
        .map(|&(asid, _, address, _)| read(&driver, asid.into(), address) < MOVED)
        .collect()
}

const PAGES: [(u16, u32, u64, u64); 6] = [
    (1, 3, 0x1000, USER_RW),
    (1, 3, 0x2000, USER_RW),
    (2, 3, 0x1000, USER_RW),
    (1, 3, 0x5000, GLOBAL),
    (1, 2, 0x20_0000, USER_RW),
    (1, 1, 0x4000_0000, USER_RW),
];

#[test]
fn a_translation_is_kept_until_it_is_invalidated() {
    assert_eq!(survivors(&PAGES, [0x46, 0]), [true; 6]);
    // Configuration is something else.
    assert_eq!(survivors(&PAGES, [0x04, 31]), [true; 6]);
}

#[test]
fn all_translations_can_be_invalidated() {
    assert_eq!(survivors(&PAGES, [0x10, 0]), [false; 6]);
    assert_eq!(survivors(&PAGES, [0x30, 0]), [false; 6]);
}

#[test]
fn an_asid_is_invalidated_without_global_translations() {
    let kept = survivors(&PAGES, [0x11 | 1 << 48, 0]);
    assert_eq!(kept, [false, false, true, true, false, false]);
}

#[test]
fn the_vmid_is_looked_at_where_there_is_stage_2() {
    let kept = survivors(&PAGES, [0x11 | 1 << 48 | 0xabc << 32, 0]);
    assert_eq!(kept, [true; 6]);
}

#[test]
fn the_vmid_is_not_looked_at_without_stage_2() {
    let driver = Driver::started(Config {
        stage2: false,
        ..Config::default()
    });
    // The entry's S2VMID is not there either.
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[2] = 5;
    driver.set_ste(SID, ste);
    driver.set_cd(1, cd_sva(1, Driver::root(1)));
    driver.map(0x1000, 0x10_0000 | USER_RW);
    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
    driver.map(0x1000, MOVED | USER_RW);

    driver.command([0x11 | 1 << 48 | 0xabc << 32, 0]);

    assert_eq!(read(&driver, 1, 0x1000), MOVED);
}

#[test]
fn an_address_is_invalidated_for_its_asid() {
    let kept = survivors(&PAGES, [0x12 | 1 << 48, 0x1000]);
    assert_eq!(kept, [false, true, true, true, true, true]);
    let leaf_only = survivors(&PAGES, [0x12 | 1 << 48, 0x1001]);
    assert_eq!(leaf_only, kept);
}

#[test]
fn an_address_is_invalidated_for_all_asids() {
    let kept = survivors(&PAGES, [0x13, 0x1000]);
    assert_eq!(kept, [false, true, false, true, true, true]);
}

#[test]
fn a_global_translation_goes_with_its_address_whatever_the_asid() {
    let kept = survivors(&PAGES, [0x12 | 3 << 48, 0x5000]);
    assert_eq!(kept, [true, true, true, false, true, true]);
}

#[test]
fn an_address_inside_a_block_takes_all_of_it() {
    let kept = survivors(&PAGES, [0x12 | 1 << 48, 0x2f_f000]);
    assert_eq!(kept, [true, true, true, true, false, true]);
    let kept = survivors(&PAGES, [0x12 | 1 << 48, 0x7fff_f000]);
    assert_eq!(kept, [true, true, true, true, true, false]);
}

#[test]
fn a_range_takes_what_it_touches() {
    // TG = 4 KiB; NUM = 1: two pages from 0x1000.
    let kept = survivors(&PAGES, [0x12 | 1 << 48 | 1 << 12, 0x1000 | 1 << 10]);
    assert_eq!(kept, [false, false, true, true, true, true]);
    // SCALE = 9: one page times 512, which reaches into the block at 2 MiB.
    let kept = survivors(&PAGES, [0x12 | 1 << 48 | 9 << 20, 0x5000 | 1 << 10]);
    assert_eq!(kept, [true, true, true, false, false, true]);
    // One page by TTL = 3.
    let kept = survivors(&PAGES, [0x12 | 1 << 48, 0x2000 | 1 << 10 | 3 << 8]);
    assert_eq!(kept, [true, false, true, true, true, true]);
    // The largest range does not wrap to what is below it.
    let kept = survivors(&PAGES, [0x13 | 31 << 12 | 31 << 20, 0x2000 | 1 << 10]);
    assert_eq!(kept, [true, false, true, false, false, false]);
}

#[test]
fn a_range_takes_only_the_level_it_names() {
    let all = 0x13 | 31 << 12 | 31 << 20;
    assert_eq!(
        survivors(&PAGES, [all, 1 << 10 | 3 << 8]),
        [false, false, false, false, true, true]
    );
    assert_eq!(
        survivors(&PAGES, [all, 1 << 10 | 2 << 8]),
        [true, true, true, true, false, true]
    );
    assert_eq!(
        survivors(&PAGES, [all, 1 << 10 | 1 << 8]),
        [true, true, true, true, true, false]
    );
}

#[test]
fn a_range_takes_only_the_granule_it_names() {
    let all = 0x13 | 31 << 12 | 31 << 20;
    assert_eq!(survivors(&PAGES, [all, 2 << 10]), [true; 6]);
    assert_eq!(survivors(&PAGES, [all, 3 << 10]), [true; 6]);
}

#[test]
fn an_invalidation_by_address_ignores_its_top_byte() {
    let kept = survivors(&PAGES, [0x12 | 1 << 48, 0xa500_0000_0000_1000]);
    assert_eq!(kept, [false, true, true, true, true, true]);
}

#[test]
fn asids_do_not_see_each_others_translations() {
    let driver = driver();
    driver.map_at(Driver::root(1), 3, 0x1000, 0x10_0000 | USER_RW);
    driver.map_at(Driver::root(2), 3, 0x1000, 0x20_0000 | USER_RW);

    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
    assert_eq!(read(&driver, 2, 0x1000), 0x20_0000);
    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
    assert_eq!(driver.smmu.counters().tlb_hits, 1);
}

#[test]
fn contexts_with_one_asid_share_their_translations() {
    let driver = driver();
    driver.set_cd(2, driver_cd(1, 2));
    driver.map_at(Driver::root(1), 3, 0x1000, 0x10_0000 | USER_RW);
    driver.map_at(Driver::root(2), 3, 0x1000, 0x20_0000 | USER_RW);

    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
    assert_eq!(read(&driver, 2, 0x1000), 0x10_0000);
}

fn driver_cd(asid: u16, root: u16) -> [u64; 8] {
    let mut cd = cd_sva(asid, Driver::root(root));
    cd[0] &= !(1 << 44);
    cd
}

#[test]
fn global_translations_are_shared_within_an_asid_set() {
    let driver = driver();
    driver.map_at(Driver::root(1), 3, 0x1000, 0x10_0000 | GLOBAL);
    driver.map_at(Driver::root(2), 3, 0x1000, 0x20_0000 | GLOBAL);
    driver.map_at(Driver::root(3), 3, 0x1000, 0x30_0000 | GLOBAL);
    let mut other_set = driver_cd(3, 3);
    other_set[0] &= !(1 << 47);
    driver.set_cd(3, other_set);

    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
    assert_eq!(read(&driver, 2, 0x1000), 0x10_0000);
    assert_eq!(read(&driver, 3, 0x1000), 0x30_0000);
}

#[test]
fn a_fault_is_not_kept() {
    let driver = driver();
    assert!(driver.access(0x1000, Access::READ).is_aborted());
    let leaf = driver.map(0x1000, 0x10_0000 | USER_RW & !0x400);
    assert!(driver.access(0x1000, Access::READ).is_aborted());

    // Linux says nothing when an invalid entry becomes valid, or its access flag is set.
    driver.memory.store(leaf, &[0x10_0000 | USER_RW]);

    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
}

#[test]
fn a_clear_access_flag_is_not_kept_where_it_is_no_fault() {
    let driver = driver();
    let mut cd = driver_cd(1, 1);
    cd[0] |= 1 << 35;
    driver.set_cd(1, cd);
    let leaf = driver.map(0x1000, 0x10_0000 | USER_RW & !0x400);
    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);

    driver.memory.store(leaf, &[0x20_0000 | USER_RW]);

    assert_eq!(read(&driver, 1, 0x1000), 0x20_0000);
}

#[test]
fn a_permission_fault_is_not_reported_from_the_tlb() {
    // The page becomes writable without an invalidation, as after a CPU set it dirty by itself.
    let driver = driver();
    let leaf = driver.map(0x1000, 0x10_0000 | USER_RO);
    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
    assert!(driver.access(0x1000, Access::WRITE).is_aborted());

    driver.memory.store(leaf, &[0x10_0000 | USER_RW]);

    assert_eq!(driver.access(0x1000, Access::WRITE).address(), 0x10_0000);
    assert_eq!(driver.access(0x1000, Access::WRITE).address(), 0x10_0000);
    assert_eq!(
        driver.smmu.counters().tlb_hits,
        1,
        "the new entry took the old one's place"
    );
}

#[test]
fn a_retry_walks_again_whatever_the_tlb_says() {
    let driver = driver();
    driver.set_cd(1, cd_sva(1, Driver::root(1)));
    let write = driver.access(0x1000, Access::WRITE);
    let leaf = driver.map(0x1000, 0x10_0000 | USER_RW);
    assert_eq!(read(&driver, 1, 0x1000), 0x10_0000);
    driver.memory.store(leaf, &[0x20_0000 | USER_RW]);

    driver.resume(0, 1);

    assert_eq!(write.address(), 0x20_0000);
    assert_eq!(
        read(&driver, 1, 0x1000),
        0x20_0000,
        "and the entry was replaced"
    );
}

#[test]
fn what_the_tlb_gives_reaches_to_the_end_of_the_leaf() {
    let driver = driver();
    driver.map(0x1000, 0x10_0000 | USER_RW);
    driver.map_at(Driver::root(1), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);
    driver.map_at(Driver::root(1), 1, 0x4000_0000, 0x8000_0000 | USER_RW & !2);
    let cases = [
        (0x1ff0, 0x10_0ff0, 0x10),
        (0x20_1000, 0x4000_1000, 0x1f_f000),
        (0x7fff_ffff, 0xbfff_ffff, 1),
    ];
    for (address, output, remaining) in cases {
        for _ in 0..2 {
            let pending = driver.access(address, Access::READ);
            let translation = pending.outcome().unwrap().unwrap();
            assert_eq!(
                (translation.address, translation.remaining),
                (output, remaining)
            );
        }
    }
    assert_eq!(driver.smmu.counters().tlb_hits, 3);
}

#[test]
fn the_tlb_can_be_asked_without_waiting() {
    let driver = driver();
    driver.map(0x1000, 0x10_0000 | USER_RO);
    let ask = |access| {
        let transaction = crate::testing::process_transaction(0x1008, access);
        driver
            .smmu
            .try_translate(&transaction)
            .map(|translation| translation.address)
    };

    assert_eq!(ask(Access::READ), None, "nothing is cached yet");
    read(&driver, 1, 0x1000);
    assert_eq!(ask(Access::READ), Some(0x10_0008));
    assert_eq!(ask(Access::WRITE), None, "only a walk may say no");
    driver.command([0x05 | 1 << 12 | u64::from(SID) << 32, 1]);
    assert_eq!(ask(Access::READ), None, "the context is not cached");
}

#[test]
fn invalidations_are_counted_for_the_probe() {
    let driver = driver();
    for page in 0..3 {
        driver.map(page << 12, 0x10_0000 | USER_RW);
        read(&driver, 1, page << 12);
    }
    driver.probe.take();

    driver.command([0x12 | 1 << 48 | 1 << 12, 1 << 10]);

    let entries = driver.probe.take().iter().find_map(|note| match note {
        crate::Note::TlbInvalidated { entries } => Some(*entries),
        _ => None,
    });
    assert_eq!(entries, Some(2));
}

#[test]
fn granules_have_their_sizes() {
    assert_eq!(
        [Granule::K4, Granule::K16, Granule::K64].map(Granule::bits),
        [12, 14, 16]
    );
    assert_eq!(CONTEXT_TABLE & 0xffff, 0);
}

#[test]
fn a_retry_drops_what_the_tlb_has_of_another_size() {
    // The page becomes part of a block, without an invalidation.
    let driver = driver();
    driver.set_cd(1, cd_sva(1, Driver::root(1)));
    driver.map(0x20_1000, 0x10_0000 | USER_RO);
    assert_eq!(read(&driver, 1, 0x20_1000), 0x10_0000);
    let write = driver.access(0x20_1000, Access::WRITE);
    driver.map_at(Driver::root(1), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);

    driver.resume(0, 1);

    assert_eq!(write.address(), 0x4000_1000);
    assert_eq!(read(&driver, 1, 0x20_1000), 0x4000_1000);
}

#[test]
fn the_level_hint_says_nothing_about_16_kib_at_level_1() {
    for (ttl, kept) in [(0, false), (1, false), (2, true), (3, false)] {
        let driver = Driver::ready();
        // 36 bits of address, so two levels; TG0 = 16 KiB.
        let mut cd = cd_sva(1, 0x7_0000_0000);
        cd[0] = cd[0] & !0x3f | 28 | 2 << 6;
        driver.set_cd(1, cd);
        driver.memory.store(0x7_0000_0000, &[0x7_0001_0003]);
        driver.memory.store(0x7_0001_0000, &[0x10_0000 | USER_RW]);
        assert_eq!(read(&driver, 1, 0x3000), 0x10_3000);
        driver.memory.store(0x7_0001_0000, &[0x20_0000 | USER_RW]);

        driver.command([0x12 | 1 << 48 | 1 << 12, 2 << 10 | ttl << 8]);

        assert_eq!(read(&driver, 1, 0x3000) == 0x10_3000, kept, "TTL {ttl}");
    }
}

#[test]
fn a_walk_replaces_what_the_tlb_has_of_another_size() {
    let driver = driver();
    driver.map(0x20_1000, 0x10_0000 | USER_RO);
    assert_eq!(read(&driver, 1, 0x20_1000), 0x10_0000);
    driver.map_at(Driver::root(1), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);

    for _ in 0..2 {
        assert_eq!(
            driver.access(0x20_1000, Access::WRITE).address(),
            0x4000_1000
        );
    }

    assert_eq!(
        driver.smmu.counters().tlb_hits,
        1,
        "the page does not stand before the block"
    );
    assert_eq!(read(&driver, 1, 0x20_1000), 0x4000_1000);
}

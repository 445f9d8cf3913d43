//! CMD_PREFETCH_CONFIG (0x01) and CMD_PREFETCH_ADDR (0x02): SSV is bit 11, and in the second word
//! Size is bits 4:0, Stride bits 9:5.

use crate::testing::{
    CONTEXT_TABLE, Driver, SID, STAGE2_ROOT, STAGE2_RW, USER_RW, cd_sva, ste_stage1, ste_stage2,
};
use crate::{Access, Config, Httu, StreamId, Transaction};

/// Context 1 of [`SID`].
const PROCESS: u64 = 1 << 11 | 1 << 12 | (SID as u64) << 32;

fn pages(driver: &Driver, count: u64) {
    for page in 0..count {
        driver.map(page << 12, (0x10_0000 + (page << 12)) | USER_RW);
    }
}

#[test]
fn configuration_is_fetched_ahead() {
    let driver = Driver::with_process();
    pages(&driver, 1);
    driver.command([0x01 | PROCESS, 0]);
    let fetched = driver.smmu.counters().config_fetches;
    assert_eq!(fetched, 2, "a stream table entry and a context descriptor");

    driver.access(0, Access::READ).address();

    assert_eq!(driver.smmu.counters().config_fetches, fetched);
    assert_eq!(driver.smmu.counters().walk_steps, 4);
}

#[test]
fn a_configuration_that_is_kept_must_be_invalidated() {
    // As if it had been used: a context that is not valid yet stays so.
    let driver = Driver::ready();
    driver.command([0x01 | PROCESS, 0]);
    driver
        .memory
        .store(CONTEXT_TABLE + 64, &cd_sva(1, Driver::root(1)));

    assert!(driver.access(0, Access::READ).is_aborted());

    assert_eq!(driver.events(), [[0x105_0000_180a, 0, 0, 0]]);
}

#[test]
fn addresses_are_translated_ahead() {
    let driver = Driver::with_process();
    pages(&driver, 8);

    driver.command([0x02 | PROCESS, 2]);

    let asked = |page: u64| {
        let transaction = crate::testing::process_transaction(page << 12, Access::WRITE);
        driver.smmu.try_translate(&transaction)
    };
    for page in 0..4 {
        assert_eq!(asked(page).unwrap().address, 0x10_0000 + (page << 12));
    }
    assert_eq!(asked(4), None);
}

#[test]
fn addresses_can_be_at_a_distance() {
    let driver = Driver::with_process();
    for block in 0..4_u64 {
        let leaf = (0x4000_0000 + (block << 21)) | USER_RW & !2;
        driver.map_at(Driver::root(1), 2, block << 21, leaf);
    }

    // Four of 2^(12+9) bytes.
    driver.command([0x02 | PROCESS, 2 | 9 << 5]);

    assert_eq!(driver.smmu.counters().walk_steps, 12);
    for block in 0..4 {
        driver.access(block << 21 | 0x1234, Access::READ).address();
    }
    assert_eq!(driver.smmu.counters().tlb_hits, 4);
}

#[test]
fn a_prefetch_keeps_its_faults_to_itself() {
    let driver = Driver::with_process();
    for command in [
        // Nothing mapped; a context that is not valid; one out of range; a stream that is not
        // valid; one out of range; addresses out of range.
        [0x02 | PROCESS, 0],
        [0x01 | 1 << 11 | 2 << 12 | u64::from(SID) << 32, 0],
        [0x01 | 1 << 11 | 0xf_ffff << 12 | u64::from(SID) << 32, 0],
        [0x01 | 7 << 32, 0],
        [0x02 | 0xffff_ffff << 32, 0],
        [0x02 | PROCESS, 0xffff_ffff_ffff_f000 | 4 | 31 << 5],
    ] {
        driver.command(command);
    }
    driver.memory.abort_at(Driver::root(1));
    driver.command([0x02 | PROCESS, 0]);
    driver.sync();

    assert!(driver.events().is_empty());
    assert!(driver.smmu.outstanding_stalls().is_empty());
    assert_eq!(driver.smmu.counters().aborts, 0);
}

#[test]
fn a_prefetch_of_everything_is_no_longer_than_is_reasonable() {
    let driver = Driver::with_process();
    pages(&driver, 300);

    // 2^31 pages.
    driver.command([0x02 | PROCESS, 31]);
    driver.sync();

    assert_eq!(driver.smmu.counters().walk_steps, 4 * 256);
}

#[test]
fn a_disabled_smmu_prefetches_nothing() {
    let driver = Driver::with_process();
    pages(&driver, 1);
    driver.write32(0x20, 0xc);
    let before = driver.smmu.counters();

    driver.command([0x01 | PROCESS, 0]);
    driver.command([0x02 | PROCESS, 0]);
    driver.sync();

    let after = driver.smmu.counters();
    assert_eq!(after.config_fetches, before.config_fetches);
    assert_eq!(after.walk_steps, before.walk_steps);
}

#[test]
fn a_prefetch_sets_the_access_flag_as_a_read_would_and_makes_nothing_dirty() {
    let driver = Driver::started(Config {
        httu: Httu::Dirty,
        ..Config::default()
    });
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] |= 3 << 42;
    driver.set_cd(1, cd);
    let clean = (0x10_0000 | USER_RW | 0x80 | 1 << 51) & !0x400;
    let at = driver.map(0, clean);

    driver.command([0x02 | PROCESS, 0]);

    assert_eq!(driver.memory.load(at), clean | 0x400);
}

#[test]
fn stage_2_is_prefetched_too() {
    let driver = Driver::ready();
    driver.set_ste(SID, ste_stage2(7, STAGE2_ROOT));
    driver.map_stage2(0x5000, 0x10_0000 | STAGE2_RW);

    driver.command([0x02 | u64::from(SID) << 32, 0x5000]);

    let transaction = Transaction {
        stream: StreamId(SID),
        substream: None,
        address: 0x5008,
        access: Access::READ,
    };
    let asked = driver.smmu.try_translate(&transaction);
    assert_eq!(asked.unwrap().address, 0x10_0008);
}

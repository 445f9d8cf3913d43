//! Hardware update of the access flag and dirty state (IDR0.HTTU), of both stages. In a leaf AF is
//! bit 10, DBM bit 51; AP[2] (stage 1) and S2AP[1] (stage 2) are bit 7, set for read-only and for
//! writable.

use stallbox_timeline::Span;

use crate::testing::{
    CONTEXT_TABLE, Driver, FakeMemory, SID, STAGE2_RO, STAGE2_ROOT, STAGE2_RW, USER_RO, USER_RW,
    cd_sva, ste_nested, ste_stage1, ste_stage2,
};
use crate::{Access, Config, ExternalAbort, Httu, Memory, Step, StreamId, Transaction};

const AF: u64 = 1 << 10;
const DBM: u64 = 1 << 51;
const BIT7: u64 = 1 << 7;
/// CD.HA and CD.HD.
const CD_HA: u64 = 1 << 43;
const CD_HD: u64 = 1 << 42;
/// STE.S2HA and STE.S2HD.
const S2HA: u64 = 1 << 56;
const S2HD: u64 = 1 << 55;

fn machine(httu: Httu) -> Driver {
    Driver::started(Config {
        httu,
        ..Config::default()
    })
}

/// A process with these bits in its context descriptor, whose faults abort.
fn stage1(httu: Httu, bits: u64) -> Driver {
    let driver = machine(httu);
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
    set_cd(&driver, bits);
    driver
}

fn set_cd(driver: &Driver, bits: u64) {
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] = cd[0] & !(1 << 44) | bits;
    driver.set_cd(1, cd);
}

/// Stage 2 only, with these bits in the stream table entry.
fn stage2(bits: u64) -> Driver {
    let driver = machine(Httu::Dirty);
    let mut ste = ste_stage2(7, STAGE2_ROOT);
    ste[2] |= bits;
    driver.set_ste(SID, ste);
    driver
}

fn second(address: u64, access: Access) -> Transaction {
    Transaction {
        stream: StreamId(SID),
        substream: None,
        address,
        access,
    }
}

/// Both stages; stage 2 maps what stage 1 needs, the descriptors of its pages by `tables`.
fn nested(cd: u64, s2: u64, tables: u64) -> Driver {
    let driver = machine(Httu::Dirty);
    let mut ste = ste_nested(CONTEXT_TABLE, 3, 7, STAGE2_ROOT);
    ste[2] |= s2;
    driver.set_ste(SID, ste);
    for gib in [0x5_0000_0000, 0x4_c000_0000, CONTEXT_TABLE] {
        driver.map_at(STAGE2_ROOT, 1, gib, gib | tables & !2);
    }
    set_cd(&driver, cd);
    driver
}

#[test]
fn the_access_flag_is_set_instead_of_a_fault() {
    for httu in [Httu::AccessFlag, Httu::Dirty] {
        let driver = stage1(httu, CD_HA);
        let leaf = (0x10_0000 | USER_RW) & !AF;
        let at = driver.map(0x1000, leaf);

        assert_eq!(driver.access(0x1008, Access::READ).address(), 0x10_0008);

        assert_eq!(driver.memory.load(at), leaf | AF);
        assert!(driver.events().is_empty());
        driver.access(0x1008, Access::READ);
        assert_eq!(driver.smmu.counters().tlb_hits, 1, "and then it is kept");
    }
}

#[test]
fn the_access_flag_of_a_block_is_set_too() {
    let driver = stage1(Httu::Dirty, CD_HA);
    let leaf = (0x4000_0000 | USER_RW) & !(AF | 2);
    let at = driver.map_at(Driver::root(1), 2, 0x20_0000, leaf);

    driver.access(0x20_5000, Access::READ).address();

    assert_eq!(driver.memory.load(at), leaf | AF);
}

#[test]
fn without_ha_the_access_flag_is_softwares() {
    for bits in [0, CD_HD] {
        let driver = stage1(Httu::Dirty, bits);
        let leaf = (0x10_0000 | USER_RO | DBM) & !AF;
        let at = driver.map(0x1000, leaf);

        assert!(driver.access(0x1000, Access::READ).is_aborted());

        assert_eq!(driver.events()[0][0] & 0xff, 0x12);
        assert_eq!(driver.memory.load(at), leaf);
    }
}

#[test]
fn with_ha_affd_is_not_looked_at() {
    let driver = stage1(Httu::AccessFlag, CD_HA | 1 << 35);
    let leaf = (0x10_0000 | USER_RW) & !AF;
    let at = driver.map(0x1000, leaf);

    driver.access(0x1000, Access::READ).address();

    assert_eq!(driver.memory.load(at), leaf | AF);
}

#[test]
fn a_write_makes_a_clean_page_dirty() {
    let driver = stage1(Httu::Dirty, CD_HA | CD_HD);
    let leaf = (0x10_0000 | USER_RO | DBM) & !AF;
    let at = driver.map(0x1000, leaf);

    // A read does not, and what it leaves in the TLB does not let the write pass by.
    driver.access(0x1000, Access::READ).address();
    assert_eq!(driver.memory.load(at), leaf | AF);
    assert_eq!(driver.access(0x1008, Access::WRITE).address(), 0x10_0008);

    assert_eq!(driver.memory.load(at), (leaf | AF) & !BIT7);
    let walks = driver.smmu.counters().tlb_misses;
    driver.access(0x1008, Access::WRITE).address();
    assert_eq!(driver.smmu.counters().tlb_misses, walks, "dirty is kept");
}

#[test]
fn a_write_to_a_page_never_touched_sets_both_at_once() {
    let driver = stage1(Httu::Dirty, CD_HA | CD_HD);
    let leaf = (0x10_0000 | USER_RO | DBM) & !AF;
    let at = driver.map(0x1000, leaf);

    driver.access(0x1000, Access::WRITE).address();

    assert_eq!(driver.memory.load(at), (leaf | AF) & !BIT7);
}

#[test]
fn what_is_read_only_for_another_reason_does_not_become_dirty() {
    let both = CD_HA | CD_HD;
    // DBM clear; HD clear; privileged page; a table above that forbids writes.
    for (bits, leaf, table) in [
        (both, USER_RO, 0),
        (CD_HA, USER_RO | DBM, 0),
        (both, (USER_RO | DBM) & !(1 << 6), 0),
        (both, USER_RO | DBM, 1 << 62),
    ] {
        let driver = stage1(Httu::Dirty, bits);
        let leaf = 0x10_0000 | leaf;
        let at = driver.map(0x1000, leaf);
        let root = driver.memory.load(Driver::root(1));
        driver.memory.store(Driver::root(1), &[root | table]);

        assert!(driver.access(0x1000, Access::WRITE).is_aborted());

        assert_eq!(driver.events()[0][0] & 0xff, 0x13);
        assert_eq!(driver.memory.load(at), leaf);
    }
}

#[test]
fn updates_that_the_implementation_lacks_make_the_context_illegal() {
    for (httu, bits, legal) in [
        (Httu::None, CD_HA, false),
        (Httu::None, CD_HD, false),
        (Httu::AccessFlag, CD_HA, true),
        (Httu::AccessFlag, CD_HD, false),
        (Httu::AccessFlag, CD_HA | CD_HD, false),
        (Httu::Dirty, CD_HA | CD_HD, true),
        (Httu::Dirty, CD_HD, true),
    ] {
        let driver = stage1(httu, bits);
        driver.map(0x1000, 0x10_0000 | USER_RW);

        let pending = driver.access(0x1000, Access::READ);

        assert_eq!(pending.is_aborted(), !legal, "{httu:?} {bits:#x}");
        if !legal {
            assert_eq!(driver.events(), [[0x105_0000_180a, 0, 0, 0]]);
        }
    }
}

#[test]
fn updates_of_stage_2_that_the_implementation_lacks_make_the_entry_illegal() {
    for (httu, bits, legal) in [
        (Httu::None, S2HA, false),
        (Httu::AccessFlag, S2HA, true),
        (Httu::AccessFlag, S2HA | S2HD, false),
        (Httu::Dirty, S2HA | S2HD, true),
    ] {
        let driver = machine(httu);
        let mut ste = ste_stage2(7, STAGE2_ROOT);
        ste[2] |= bits;
        driver.set_ste(SID, ste);
        driver.map_stage2(0x1000, 0x10_0000 | STAGE2_RW);

        let pending = driver.begin(second(0x1000, Access::READ));

        assert_eq!(pending.is_aborted(), !legal, "{httu:?} {bits:#x}");
        if !legal {
            assert_eq!(driver.events(), [[0x105_0000_0004, 0, 0, 0]]);
        }
    }
}

#[test]
fn stage_2_keeps_its_access_flag_and_dirty_state() {
    let driver = stage2(S2HA | S2HD);
    let leaf = (0x10_0000 | STAGE2_RO | DBM) & !AF;
    let at = driver.map_stage2(0x1000, leaf);

    driver.begin(second(0x1000, Access::READ)).address();
    assert_eq!(driver.memory.load(at), leaf | AF);
    driver.begin(second(0x1000, Access::WRITE)).address();
    assert_eq!(driver.memory.load(at), leaf | AF | BIT7);

    // Without DBM it is read-only.
    let at = driver.map_stage2(0x2000, 0x10_0000 | STAGE2_RO);
    assert!(driver.begin(second(0x2000, Access::WRITE)).is_aborted());
    assert_eq!(driver.memory.load(at), 0x10_0000 | STAGE2_RO);
}

#[test]
fn the_access_flags_of_both_stages_are_set_on_the_way() {
    let driver = nested(CD_HA, S2HA, STAGE2_RW & !AF);
    let leaf = (0x30_0000 | USER_RW) & !AF;
    let first = driver.map(0x1000, leaf);
    let page = driver.map_stage2(0x30_0000, (0x70_0000 | STAGE2_RW) & !AF);

    assert_eq!(driver.access(0x1008, Access::READ).address(), 0x70_0008);

    assert_eq!(driver.memory.load(first), leaf | AF);
    assert_eq!(driver.memory.load(page), 0x70_0000 | STAGE2_RW);
    // Those of stage 1's tables and of the context descriptor, which are blocks.
    let table = driver.memory.load(STAGE2_ROOT) & 0xffff_ffff_f000;
    for gib in [0x5_0000_0000, 0x4_c000_0000, CONTEXT_TABLE] {
        let block = driver.memory.load(table + 8 * (gib >> 30));
        assert_eq!(block, gib | STAGE2_RW & !2, "{gib:#x}");
    }
}

#[test]
fn updates_of_stage_1_are_writes_to_stage_2() {
    // Clean tables become dirty by the update of a descriptor in them, and not by reads.
    let clean = STAGE2_RO | DBM;
    let driver = nested(CD_HA, S2HA | S2HD, clean);
    let table = driver.memory.load(STAGE2_ROOT) & 0xffff_ffff_f000;
    let block = |gib: u64| driver.memory.load(table + 8 * (gib >> 30));
    driver.map(0x1000, 0x30_0000 | USER_RW);
    driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);
    driver.access(0x1000, Access::WRITE).address();
    assert_eq!(block(0x5_0000_0000) & BIT7, 0);
    assert_eq!(block(CONTEXT_TABLE) & BIT7, 0);

    driver.map(0x2000, (0x30_0000 | USER_RW) & !AF);
    driver.access(0x2000, Access::READ).address();

    assert_eq!(block(0x5_0000_0000) & BIT7, BIT7);
    assert_eq!(block(CONTEXT_TABLE) & BIT7, 0);
}

#[test]
fn an_update_that_stage_2_forbids_is_its_permission_fault_of_a_write() {
    let driver = nested(CD_HA, 0, STAGE2_RO);
    let leaf = (0x30_0000 | USER_RW) & !AF;
    let at = driver.map(0x1000, leaf);
    driver.map_stage2(0x30_0000, 0x70_0000 | STAGE2_RW);

    let read = driver.access(0x1008, Access::READ);

    assert!(read.is_aborted());
    // S2, CLASS = TT, RnW of the device's read, TTRnW clear for a write; the descriptor's page.
    assert_eq!(
        driver.events(),
        [[0x105_0000_1813, 0x188_0000_0000, 0x1008, at & !0xfff]]
    );
    assert_eq!(driver.memory.load(at), leaf);
}

#[test]
fn an_abort_of_an_update_is_that_of_a_walk() {
    let driver = stage1(Httu::Dirty, CD_HA);
    let at = driver.map(0x1000, (0x10_0000 | USER_RW) & !AF);
    driver.memory.abort_writes_at(at);

    assert!(driver.access(0x1008, Access::READ).is_aborted());

    let record = [0x105_0000_180b, 0x108_0000_0000, 0x1008, at];
    assert_eq!(driver.events(), [record]);
}

#[test]
fn an_abort_of_an_update_of_stage_2_is_that_of_its_walk() {
    let driver = stage2(S2HA);
    let at = driver.map_stage2(0x1000, (0x10_0000 | STAGE2_RW) & !AF);
    driver.memory.abort_writes_at(at);

    assert!(driver.begin(second(0x1008, Access::READ)).is_aborted());

    let record = [0x105_0000_000b, 0x288_0000_0000, 0x1008, at];
    assert_eq!(driver.events(), [record]);
}

#[test]
fn an_update_that_is_overtaken_begins_again_from_what_there_is() {
    for (change, expected) in [
        // Moved, and still old: it is updated where it is now.
        ((0x20_0000 | USER_RW) & !AF, Ok(0x20_0008)),
        // Set by somebody else.
        (0x20_0000 | USER_RW, Ok(0x20_0008)),
        // Gone.
        (0, Err(0x10)),
        // No longer writable.
        (0x10_0000 | USER_RO, Err(0x13)),
    ] {
        let driver = stage1(Httu::Dirty, CD_HA | CD_HD);
        let at = driver.map(0x1000, (0x10_0000 | USER_RW) & !AF);
        driver.memory.overtake(at, change);

        let pending = driver.access(0x1008, Access::WRITE);

        match expected {
            Ok(address) => {
                assert_eq!(pending.address(), address);
                assert_eq!(driver.memory.load(at), change | AF);
            }
            Err(event) => {
                assert!(pending.is_aborted());
                assert_eq!(driver.events()[0][0] & 0xff, event);
                assert_eq!(driver.memory.load(at), change);
            }
        }
    }
}

#[test]
fn an_update_and_the_read_before_it_are_one_step() {
    let driver = stage1(Httu::Dirty, CD_HA);
    driver.map(0x1000, (0x10_0000 | USER_RW) & !AF);
    driver.access(0x5000, Access::READ);
    driver.probe.set(Step::WalkStep, Span::from_ns(10));

    let pending = driver.access(0x1000, Access::READ);
    driver.wait_ns(100);

    assert_eq!(pending.done_at_ns(), Some(40));
}

#[test]
fn memory_that_provides_no_atomic_update_is_read_and_written() {
    struct Plain(FakeMemory);

    impl Memory for Plain {
        fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
            self.0.read(address, data)
        }

        fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort> {
            self.0.write(address, data)
        }
    }

    let memory = Plain(FakeMemory::default());
    memory.0.store(0x1000, &[5]);

    assert_eq!(memory.compare_exchange(0x1000, 4, 6), Ok(5));
    assert_eq!(memory.0.load(0x1000), 5);
    assert_eq!(memory.compare_exchange(0x1000, 5, 6), Ok(5));
    assert_eq!(memory.0.load(0x1000), 6);
    memory.0.abort_writes_at(0x1000);
    assert_eq!(memory.compare_exchange(0x1000, 6, 7), Err(ExternalAbort));
    assert_eq!(memory.compare_exchange(0x1000, 5, 7), Ok(6));
}

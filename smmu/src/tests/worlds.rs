//! Whose a stream is (STRW), what it makes of attributes (PRIVCFG, INSTCFG), and what a half of the
//! address space is closed to (EPD, E0PD).

use crate::testing::{
    CONTEXT_TABLE, Driver, SID, STAGE2_ROOT, USER_RO, USER_RW, cd_sva, ste_nested, ste_stage1,
};
use crate::{Access, Config, StreamId, SubstreamId, Transaction};

/// STE.STRW.
const EL2: u64 = 2 << 30;
/// The other stream, of NS-EL1, whose context 1 has ASID 1 too.
const OTHER: u32 = 9;
const OTHER_CONTEXTS: u64 = CONTEXT_TABLE + 0x1000;

/// An SMMU with HYP, and [`SID`] with this STRW; E2H is SMMU_CR2's.
fn hyp(strw: u64, e2h: bool) -> Driver {
    let driver = Driver::new(Config {
        hyp: true,
        ..Config::default()
    });
    driver.start();
    driver.write32(0x20, 0xc);
    driver.write32(0x2c, 2 | u32::from(e2h));
    driver.write32(0x20, 0xd);
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= strw;
    driver.set_ste(SID, ste);
    driver.set_ste(OTHER, ste_stage1(OTHER_CONTEXTS, 3));
    driver
        .memory
        .store(OTHER_CONTEXTS + 64, &terminating(1, Driver::root(2)));
    driver
}

/// A context descriptor whose faults abort.
fn terminating(asid: u16, root: u64) -> [u64; 8] {
    let mut cd = cd_sva(asid, root);
    cd[0] &= !(1 << 44);
    cd
}

fn other(driver: &Driver, address: u64) -> u64 {
    let transaction = Transaction {
        stream: StreamId(OTHER),
        substream: Some(SubstreamId(1)),
        address,
        access: Access::READ,
    };
    driver.begin(transaction).address()
}

#[test]
fn cr2_has_e2h_only_with_hyp() {
    let driver = Driver::default();
    driver.write32(0x2c, 0xffff_ffff);
    assert_eq!(driver.read32(0x2c), 2);

    let driver = Driver::new(Config {
        hyp: true,
        ..Config::default()
    });
    driver.write32(0x2c, 0xffff_ffff);
    assert_eq!(driver.read32(0x2c), 3);
}

#[test]
fn reserved_worlds_are_illegal_with_hyp_and_not_looked_at_without() {
    for strw in [1 << 30, 3 << 30] {
        let driver = hyp(strw, false);
        driver.set_cd(1, terminating(1, Driver::root(1)));
        assert!(driver.access(0x1000, Access::READ).is_aborted());
        assert_eq!(driver.events(), [[0x105_0000_1804, 0, 0, 0]]);

        // With stage 2, the world is NS-EL1's.
        let mut ste = ste_nested(CONTEXT_TABLE, 3, 7, STAGE2_ROOT);
        ste[1] |= strw;
        driver.set_ste(SID, ste);
        assert!(driver.access(0x1000, Access::READ).is_aborted());
        assert_eq!(driver.events()[0][0] & 0xff, 0x10);

        let driver = Driver::ready();
        let mut ste = ste_stage1(CONTEXT_TABLE, 3);
        ste[1] |= strw;
        driver.set_ste(SID, ste);
        driver.set_cd(1, terminating(1, Driver::root(1)));
        driver.map(0x1000, 0x10_0000 | USER_RW);
        assert_eq!(driver.access(0x1000, Access::READ).address(), 0x10_0000);
    }
}

#[test]
fn el2_has_one_half_and_no_privilege() {
    let driver = hyp(EL2, false);
    let mut cd = terminating(1, Driver::root(1));
    // EPD0, EPD1 and PAN mean nothing here; TTB1 is not there.
    cd[0] = cd[0] & !(0x3f << 16) | 1 << 14 | 1 << 40 | 16 << 16 | 2 << 22;
    cd[2] = Driver::root(2);
    driver.set_cd(1, cd);
    // A page of nobody's but the kernel's, UXN clear and PXN set.
    let leaf = (USER_RW | 1 << 53) & !(1 << 6 | 1 << 54);
    driver.map(0x1000, 0x10_0000 | leaf);
    driver.map_at(Driver::root(2), 3, 0xffff_ffff_f000, 0x20_0000 | USER_RW);

    for access in [Access::READ, Access::WRITE, Access::EXECUTE] {
        for access in [access, access.privileged()] {
            assert_eq!(driver.access(0x1000, access).address(), 0x10_0000);
        }
    }
    assert!(
        driver
            .access(0xffff_ffff_ffff_f000, Access::READ)
            .is_aborted()
    );
    assert_eq!(driver.events()[0][0] & 0xff, 0x10);
    // Bit 54 is XN, for all.
    driver.map(0x2000, 0x10_0000 | leaf | 1 << 54);
    let fetch = driver.access(0x2000, Access::EXECUTE.privileged());
    assert!(fetch.is_aborted());
}

#[test]
fn el2_with_e2h_is_as_el1() {
    let driver = hyp(EL2, true);
    let mut cd = terminating(1, Driver::root(1));
    cd[0] = cd[0] & !(1 << 30) | 16 << 16 | 2 << 22;
    cd[2] = Driver::root(2);
    driver.set_cd(1, cd);
    driver.map(0x1000, 0x10_0000 | USER_RW & !(1 << 6));
    driver.map_at(Driver::root(2), 3, 0xffff_ffff_f000, 0x20_0000 | USER_RW);

    let upper = driver.access(0xffff_ffff_ffff_f000, Access::READ);
    assert_eq!(upper.address(), 0x20_0000);
    assert!(driver.access(0x1000, Access::READ).is_aborted());
    let privileged = driver.access(0x1000, Access::READ.privileged());
    assert_eq!(privileged.address(), 0x10_0000);
}

#[test]
fn el2_has_no_asids_and_no_vmids() {
    let driver = hyp(EL2, false);
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= EL2;
    // S2VMID is ignored, be it as large as it may.
    ste[2] = 0xffff;
    driver.set_ste(SID, ste);
    driver.set_cd(1, terminating(1, Driver::root(1)));
    driver.set_cd(2, terminating(2, Driver::root(1)));
    driver.map(0x1000, 0x10_0000 | USER_RW);
    driver.access(0x1000, Access::READ).address();

    let mut transaction = crate::testing::process_transaction(0x1000, Access::READ);
    transaction.substream = Some(SubstreamId(2));
    driver.begin(transaction).address();

    assert_eq!(driver.smmu.counters().tlb_hits, 1);
}

/// Whether the page of the EL2 stream, and that of the NS-EL1 stream, survive a command. Both have
/// ASID 1 and, where that means something, are not global.
fn survives(e2h: bool, global: bool, command: [u64; 2]) -> [bool; 2] {
    let driver = hyp(EL2, e2h);
    driver.set_cd(1, terminating(1, Driver::root(1)));
    let leaf = if global { USER_RW & !0x800 } else { USER_RW };
    let map = |base: u64| {
        driver.map_at(Driver::root(1), 3, 0x1000, base | leaf);
        driver.map_at(Driver::root(2), 3, 0x1000, base | leaf);
    };
    let read = || {
        [
            driver.access(0x1000, Access::READ).address(),
            other(&driver, 0x1000),
        ]
    };
    map(0x10_0000);
    read();
    map(0x20_0000);
    driver.command(command);
    driver.sync();
    read().map(|address| address == 0x10_0000)
}

#[test]
fn el2s_translations_go_with_el2s_commands() {
    for e2h in [false, true] {
        for (command, kept) in [
            // TLBI_EL2_ALL
            ([0x20, 0], false),
            // TLBI_EL2_ASID: only E2H has ASIDs.
            ([0x21 | 1 << 48, 0], !e2h),
            ([0x21 | 2 << 48, 0], true),
            // TLBI_EL2_VA
            ([0x22 | 1 << 48, 0x1000], false),
            ([0x22 | 2 << 48, 0x1000], e2h),
            ([0x22 | 1 << 48, 0x2000], true),
            // TLBI_EL2_VAA
            ([0x23, 0x1000], false),
            ([0x23, 0x2000], true),
            ([0x23 | 1 << 12, 1 << 10], false),
        ] {
            let seen = survives(e2h, false, command);
            assert_eq!(seen, [kept, true], "E2H {e2h} {command:#x?}");
        }
        // The others' leave them alone.
        for command in [[0x10, 0], [0x11 | 1 << 48, 0], [0x13, 0x1000], [0x30, 0]] {
            assert_eq!(survives(e2h, false, command), [true, false]);
        }
    }
}

#[test]
fn global_translations_of_e2h_go_by_address_and_not_by_asid() {
    assert_eq!(survives(true, true, [0x21 | 1 << 48, 0]), [true; 2]);
    assert_eq!(
        survives(true, true, [0x22 | 5 << 48, 0x1000]),
        [false, true]
    );
}

#[test]
fn el2s_commands_of_one_mode_leave_the_other_modes_entries() {
    // Made with E2H, named without.
    let driver = hyp(EL2, true);
    driver.set_cd(1, terminating(1, Driver::root(1)));
    driver.map(0x1000, 0x10_0000 | USER_RW);
    driver.access(0x1000, Access::READ).address();
    let e2h = |on: u32| {
        driver.write32(0x20, 0xc);
        driver.write32(0x2c, 2 | on);
        driver.write32(0x20, 0xd);
    };
    driver.map(0x1000, 0x20_0000 | USER_RW);

    e2h(0);
    driver.command([0x22 | 1 << 48, 0x1000]);
    e2h(1);
    assert_eq!(driver.access(0x1000, Access::READ).address(), 0x10_0000);
    e2h(0);
    driver.command([0x20, 0]);
    e2h(1);
    assert_eq!(driver.access(0x1000, Access::READ).address(), 0x20_0000);
}

/// A process's stream with PRIVCFG and INSTCFG, whose faults abort.
fn overriding(config: Config, privcfg: u64, instcfg: u64) -> Driver {
    let driver = Driver::started(config);
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= privcfg << 48 | instcfg << 50;
    driver.set_ste(SID, ste);
    driver.set_cd(1, terminating(1, Driver::root(1)));
    driver
}

#[test]
fn a_stream_overrides_what_its_transactions_say_of_themselves() {
    // What comes in, PRIVCFG, INSTCFG, and PnU, InD and RnW of the record: bits 33, 34 and 35.
    let (read, write, fetch) = (Access::READ, Access::WRITE, Access::EXECUTE);
    for (access, privcfg, instcfg, attributes) in [
        (read, 0, 0, 0b100_u64),
        (read, 1, 1, 0b100),
        (read, 3, 0, 0b101),
        (read, 0, 3, 0b110),
        (read, 3, 3, 0b111),
        (fetch.privileged(), 0, 0, 0b111),
        (fetch.privileged(), 2, 0, 0b110),
        (fetch.privileged(), 0, 2, 0b101),
        (fetch.privileged(), 2, 2, 0b100),
        (write, 3, 3, 0b001),
        (write.privileged(), 2, 3, 0b000),
    ] {
        let driver = overriding(Config::default(), privcfg, instcfg);
        assert!(driver.access(0x1008, access).is_aborted());
        let expected = [0x105_0000_1810, 2 << 40 | attributes << 33, 0x1008, 0];
        assert_eq!(
            driver.events(),
            [expected],
            "{access:?} {privcfg} {instcfg}"
        );
    }
}

#[test]
fn overrides_decide_what_is_permitted() {
    // A page that only privileged accesses read.
    let driver = overriding(Config::default(), 3, 0);
    driver.map(0x1000, 0x10_0000 | USER_RW & !(1 << 6));
    for _ in 0..2 {
        assert_eq!(driver.access(0x1000, Access::READ).address(), 0x10_0000);
    }
    assert_eq!(driver.smmu.counters().tlb_hits, 1, "from the TLB too");
    let driver = overriding(Config::default(), 2, 0);
    driver.map(0x1000, 0x10_0000 | USER_RW & !(1 << 6));
    let read = driver.access(0x1000, Access::READ.privileged());
    assert!(read.is_aborted());
    // Instructions are data: UXN is not asked.
    let driver = overriding(Config::default(), 0, 2);
    driver.map(0x1000, 0x10_0000 | USER_RO);
    assert_eq!(driver.access(0x1000, Access::EXECUTE).address(), 0x10_0000);
}

#[test]
fn overrides_that_are_not_there_are_not_looked_at() {
    let config = Config {
        attr_perms_ovr: false,
        ..Config::default()
    };
    let driver = overriding(config.clone(), 3, 3);
    assert!(driver.access(0x1008, Access::READ).is_aborted());
    assert_eq!(driver.events()[0][1], 0x208_0000_0000);

    // Nor are those of SMMU_GBPA, which otherwise read back.
    let gbpa = |config| {
        let driver = Driver::new(config);
        driver.write32(0x44, 1 << 31 | 0xf << 16);
        driver.read32(0x44)
    };
    assert_eq!(gbpa(config), 0x1000);
    assert_eq!(gbpa(Config::default()), 0xf_1000);
}

#[test]
fn a_half_that_is_disabled_is_a_translation_fault_whatever_is_said_of_it() {
    for (half, address) in [(14, 0x1000_u64), (30, 0xffff_ffff_ffff_f000)] {
        let driver = Driver::ready();
        let mut cd = terminating(1, Driver::root(1));
        // Both halves are there, then one is not, and its T*SZ, TG* and TTB are illegal.
        cd[0] = cd[0] & !(1 << 30) | 16 << 16 | 2 << 22 | 1 << half;
        cd[2] = Driver::root(2);
        let low = if half == 14 { 0 } else { 16 };
        cd[0] = cd[0] & !(0xff << low) | 0xfe << low;
        cd[if half == 14 { 1 } else { 2 }] = 0xf << 48;
        driver.set_cd(1, cd);
        driver.map_at(Driver::root(1), 3, 0x5000, 0x10_0000 | USER_RW);
        driver.map_at(Driver::root(2), 3, 0xffff_ffff_5000, 0x20_0000 | USER_RW);

        assert!(driver.access(address, Access::READ).is_aborted());
        let expected = [0x105_0000_1810, 0x208_0000_0000, address, 0];
        assert_eq!(driver.events(), [expected]);
        let (address, output) = if half == 14 {
            (0xffff_ffff_ffff_5000, 0x20_0000)
        } else {
            (0x5000, 0x10_0000)
        };
        assert_eq!(driver.access(address, Access::READ).address(), output);
    }
}

#[test]
fn e0pd_closes_a_half_to_unprivileged_accesses_and_says_that_nothing_is_there() {
    for e0pd in [true, false] {
        let driver = Driver::started(Config {
            e0pd,
            ..Config::default()
        });
        driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
        let mut cd = terminating(1, Driver::root(1));
        // CD.E0PD0.
        cd[1] |= 1 << 2;
        driver.set_cd(1, cd);
        driver.map(0x1000, 0x10_0000 | USER_RW);
        // A privileged access leaves it in the TLB.
        let privileged = driver.access(0x1000, Access::READ.privileged());
        assert_eq!(privileged.address(), 0x10_0000);

        let read = driver.access(0x1000, Access::READ);

        if e0pd {
            assert!(read.is_aborted());
            assert_eq!(driver.events()[0][0] & 0xff, 0x10);
        } else {
            assert_eq!(read.address(), 0x10_0000);
        }
    }
}

use crate::testing::{
    CONTEXT_TABLE, Driver, SID, STREAM_TABLE, TABLES, USER_RO, USER_RW, cd_sva, ste_stage1,
};
use crate::{Access, Config, StreamId, SubstreamId, Transaction};

/// Begins a transaction that is aborted, and gives the records that it left.
#[track_caller]
fn aborted(driver: &Driver, sid: u32, ssid: Option<u32>, address: u64) -> Vec<[u64; 4]> {
    aborted_access(driver, sid, ssid, address, Access::READ)
}

#[track_caller]
fn aborted_access(
    driver: &Driver,
    sid: u32,
    ssid: Option<u32>,
    address: u64,
    access: Access,
) -> Vec<[u64; 4]> {
    let substream = ssid.map(SubstreamId);
    let pending = driver.begin(Transaction {
        stream: StreamId(sid),
        substream,
        address,
        access,
    });
    assert!(pending.is_aborted());
    driver.events()
}

/// A process whose faults abort and are recorded.
fn terminating() -> Driver {
    let driver = Driver::with_process();
    driver.set_cd(1, terminate(cd_sva(1, Driver::root(1))));
    driver
}

fn terminate(mut cd: [u64; 8]) -> [u64; 8] {
    cd[0] &= !(1 << 44);
    cd
}

/// A two-level stream table of 2^16 streams, split at 8 bits as Linux does.
fn two_level() -> Driver {
    let driver = Driver::ready();
    driver.write32(0x20, 0xc);
    driver.write32(0x88, 1 << 16 | 8 << 6 | 16);
    driver.write32(0x20, 0xd);
    driver.command([0x04, 31]);
    driver.memory.store(STREAM_TABLE + 8, &[0]);
    driver
}

const LEVEL2: u64 = 0x6_0000_0000;

#[test]
fn a_stream_beyond_the_table_is_bad() {
    let driver = Driver::ready();
    assert_eq!(
        aborted(&driver, 0x1_0000, None, 0),
        [[0x1_0000_0000_0002, 0, 0, 0]]
    );
    assert_eq!(
        aborted(&driver, 0x1_0000, Some(3), 0),
        [[0x1_0000_0000_3802, 0, 0, 0]]
    );

    driver.write32(0x20, 0xc);
    driver.write32(0x88, 4);
    driver.write32(0x20, 0xd);
    assert_eq!(aborted(&driver, 0x10, None, 0), [[0x10_0000_0002, 0, 0, 0]]);
    assert_eq!(
        aborted(&driver, 0x0f, None, 0),
        [[0x0f_0000_0004, 0, 0, 0]],
        "C_BAD_STE"
    );
}

#[test]
fn a_bad_stream_is_recorded_only_if_asked_for() {
    let driver = Driver::ready();
    driver.write32(0x20, 0xc);
    driver.write32(0x2c, 0);
    driver.write32(0x20, 0xd);

    assert!(aborted(&driver, 0x1_0000, None, 0).is_empty());
}

#[test]
fn level_1_descriptors_lead_to_streams_within_their_span() {
    let driver = two_level();
    let ste = ste_stage1(CONTEXT_TABLE, 3);
    for span in [9_u64, 4, 1] {
        let count = 1 << (span - 1);
        driver.memory.store(STREAM_TABLE + 8, &[LEVEL2 | span]);
        driver.memory.store(LEVEL2 + 64 * (count - 1), &ste);
        driver.command([0x04, 31]);
        let last = 0x100 + count as u32 - 1;

        // C_BAD_CD: the stream table entry was found.
        assert_eq!(
            aborted(&driver, last, Some(1), 0)[0][0] & 0xff,
            0x0a,
            "span {span}"
        );
        if span != 9 {
            let sid = last + 1;
            let record = [u64::from(sid) << 32 | 0x1802, 0, 0, 0];
            assert_eq!(aborted(&driver, sid, Some(1), 0), [record], "span {span}");
        }
    }
}

#[test]
fn level_1_descriptors_without_a_good_span_lead_nowhere() {
    let driver = two_level();
    // Invalid; more than the split allows; reserved.
    for span in [0_u64, 10, 11, 12, 31] {
        driver.memory.store(STREAM_TABLE + 8, &[LEVEL2 | span]);
        assert_eq!(
            aborted(&driver, SID, None, 0),
            [[0x105_0000_0002, 0, 0, 0]],
            "span {span}"
        );
    }
}

#[test]
fn an_abort_on_the_way_to_a_stream_table_entry_is_recorded_with_its_address() {
    let driver = Driver::ready();
    driver.command([0x04, 31]);
    driver.memory.abort_at(STREAM_TABLE + 64 * 0x105 + 17);
    let record = [0x105_0000_1803, 0, 0, STREAM_TABLE + 64 * 0x105];
    assert_eq!(aborted(&driver, SID, Some(1), 0), [record]);
    driver.memory.heal();
    assert_eq!(
        aborted(&driver, SID, Some(1), 0)[0][0] & 0xff,
        0x0a,
        "it was not cached"
    );

    let driver = two_level();
    driver.memory.abort_at(STREAM_TABLE + 8);
    assert_eq!(
        aborted(&driver, SID, None, 0),
        [[0x105_0000_0003, 0, 0, STREAM_TABLE + 8]]
    );
    driver.memory.heal();
    driver.memory.store(STREAM_TABLE + 8, &[LEVEL2 | 9]);
    driver.memory.abort_at(LEVEL2 + 64 * 5);
    assert_eq!(
        aborted(&driver, SID, None, 0),
        [[0x105_0000_0003, 0, 0, LEVEL2 + 64 * 5]]
    );
}

#[test]
fn illegal_stream_table_entries_are_bad() {
    let good = ste_stage1(CONTEXT_TABLE, 3);
    let bad = [
        ("V = 0", [good[0] & !1, good[1]]),
        ("an empty stage 2", [good[0] & !0xe | 6 << 1, good[1]]),
        (
            "an empty stage 2 behind",
            [good[0] & !0xe | 7 << 1, good[1]],
        ),
        (
            "S1CDMax above SSIDSIZE",
            [good[0] & !(0x1f << 59) | 17 << 59, good[1]],
        ),
        ("S1ContextPtr above OAS", [good[0] | 1 << 48, good[1]]),
    ];
    for (why, [word0, word1]) in bad {
        let driver = Driver::ready();
        driver.set_ste(SID, [word0, word1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            aborted(&driver, SID, None, 0),
            [[0x105_0000_0004, 0, 0, 0]],
            "{why}"
        );
        assert_eq!(
            aborted(&driver, SID, Some(5), 0),
            [[0x105_0000_5804, 0, 0, 0]],
            "{why}"
        );
    }
}

#[test]
fn streams_that_abort_say_nothing_be_they_as_odd_as_they_may() {
    let driver = Driver::ready();
    for config in 0..4 {
        driver.set_ste(
            SID,
            [1 | config << 1 | u64::MAX << 4, u64::MAX, 0, 0, 0, 0, 0, 0],
        );
        assert!(aborted(&driver, SID, None, 0).is_empty());
        assert!(aborted(&driver, SID, Some(1), 0).is_empty());
    }
}

#[test]
fn a_stream_that_bypasses_takes_no_substreams_and_no_addresses_that_are_too_large() {
    let driver = Driver::ready();
    driver.set_ste(SID, [1 | 4 << 1, 0, 0, 0, 0, 0, 0, 0]);
    let address = 0x1_0000_0000_0000;

    let transaction = Transaction {
        stream: StreamId(SID),
        substream: None,
        address: 0x5678,
        access: Access::WRITE,
    };
    assert_eq!(driver.begin(transaction).address(), 0x5678);
    assert_eq!(
        aborted(&driver, SID, Some(0), 0x5678),
        [[0x105_0000_0008, 0, 0, 0]]
    );
    // F_ADDR_SIZE: RnW, CLASS = IN, no stall.
    let record = [0x105_0000_0011, 0x0208_0000_0000, address, 0];
    assert_eq!(aborted(&driver, SID, None, address), [record]);
}

#[test]
fn traffic_without_a_substream_goes_where_s1dss_says() {
    let driver = Driver::ready();
    let ste = ste_stage1(CONTEXT_TABLE, 3);
    driver.set_cd(0, cd_sva(9, Driver::root(1)));
    driver.map(0x3000, 0x7777_0000 | USER_RW);
    let plain = Transaction {
        stream: StreamId(SID),
        substream: None,
        address: 0x3008,
        access: Access::READ,
    };
    let with = |dss: u64| driver.set_ste(SID, [ste[0], ste[1] & !3 | dss, 0, 0, 0, 0, 0, 0]);

    with(2);
    assert_eq!(driver.begin(plain).address(), 0x7777_0008, "context 0");
    with(1);
    assert_eq!(driver.begin(plain).address(), 0x3008, "bypass");
    let record = [0x105_0000_0011, 0x0208_0000_0000, 1 << 50, 0];
    assert_eq!(aborted(&driver, SID, None, 1 << 50), [record]);
    for dss in [0, 3] {
        with(dss);
        assert_eq!(
            aborted(&driver, SID, None, 0x3008),
            [[0x105_0000_0006, 0, 0, 0]]
        );
    }
}

#[test]
fn substream_0_is_a_context_like_others_unless_s1dss_gives_it_away() {
    let driver = Driver::ready();
    let ste = ste_stage1(CONTEXT_TABLE, 3);
    driver.set_cd(0, cd_sva(9, Driver::root(1)));
    driver.map(0x3000, 0x7777_0000 | USER_RW);

    assert_eq!(
        aborted(&driver, SID, Some(0), 0x3000),
        [[0x105_0000_0006, 0, 0, 0]]
    );

    driver.set_ste(SID, [ste[0], ste[1] & !3, 0, 0, 0, 0, 0, 0]);
    let mut transaction = crate::testing::process_transaction(0x3000, Access::READ);
    transaction.substream = Some(SubstreamId(0));
    assert_eq!(driver.begin(transaction).address(), 0x7777_0000);
}

#[test]
fn a_substream_beyond_the_table_is_bad() {
    let driver = Driver::ready();
    // SubstreamID without SSV beside it.
    assert_eq!(
        aborted(&driver, SID, Some(8), 0),
        [[0x105_0000_8008, 0, 0, 0]]
    );
    assert_eq!(
        aborted(&driver, SID, Some(0xf_ffff), 0),
        [[0x105_ffff_f008, 0, 0, 0]]
    );

    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 0));
    assert_eq!(
        aborted(&driver, SID, Some(0), 0),
        [[0x105_0000_0008, 0, 0, 0]],
        "S1CDMax = 0"
    );
}

#[test]
fn without_substreams_the_only_context_is_used() {
    let driver = Driver::new(Config {
        ssid_bits: 0,
        ..Config::default()
    });
    driver.start();
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 20));
    driver.set_cd(0, cd_sva(9, Driver::root(1)));
    driver.map(0x3000, 0x7777_0000 | USER_RW);

    let plain = Transaction {
        stream: StreamId(SID),
        substream: None,
        address: 0x3000,
        access: Access::READ,
    };
    assert_eq!(driver.begin(plain).address(), 0x7777_0000);
    assert_eq!(
        aborted(&driver, SID, Some(0), 0x3000),
        [[0x105_0000_0008, 0, 0, 0]]
    );
}

#[test]
fn two_level_contexts_are_found_and_their_descriptors_may_be_invalid() {
    // S1Fmt 1: leaves of 64 contexts; S1Fmt 2: of 1024.
    for (fmt, leaf_log2) in [(1_u64, 6), (2, 10)] {
        let driver = Driver::ready();
        let mut ste = ste_stage1(CONTEXT_TABLE, 16);
        ste[0] |= fmt << 4;
        driver.set_ste(SID, ste);
        let ssid = 0xabcd_u32;
        let l1 = CONTEXT_TABLE + 8 * u64::from(ssid >> leaf_log2);

        let invalid = [0x105_0abc_d008, 0, 0, 0];
        assert_eq!(aborted(&driver, SID, Some(ssid), 0), [invalid], "V = 0");
        driver.memory.store(l1, &[1 << 48 | 1]);
        assert_eq!(
            aborted(&driver, SID, Some(ssid), 0),
            [invalid],
            "L2Ptr above OAS"
        );

        driver.memory.store(l1, &[LEVEL2 | 1]);
        let at = LEVEL2 + 64 * u64::from(ssid & ((1 << leaf_log2) - 1));
        driver.memory.store(at, &cd_sva(1, Driver::root(1)));
        driver.map(0x3000, 0x7777_0000 | USER_RW);
        let mut transaction = crate::testing::process_transaction(0x3000, Access::READ);
        transaction.substream = Some(SubstreamId(ssid));
        assert_eq!(
            driver.begin(transaction).address(),
            0x7777_0000,
            "S1Fmt {fmt}"
        );

        driver.command([0x04, 31]);
        driver.memory.abort_at(l1 + 7);
        assert_eq!(
            aborted(&driver, SID, Some(ssid), 0),
            [[0x105_0abc_d809, 0, 0, l1]]
        );
        driver.memory.heal();
        driver.memory.abort_at(at + 63);
        assert_eq!(
            aborted(&driver, SID, Some(ssid), 0),
            [[0x105_0abc_d809, 0, 0, at]]
        );
    }
}

#[test]
fn an_abort_of_a_context_descriptor_is_recorded_with_its_address() {
    let driver = Driver::ready();
    driver.memory.abort_at(CONTEXT_TABLE + 64);

    let record = [0x105_0000_1809, 0, 0, CONTEXT_TABLE + 64];
    assert_eq!(aborted(&driver, SID, Some(1), 0x1234), [record]);

    driver.memory.heal();
    driver.memory.abort_at(CONTEXT_TABLE);
    assert_eq!(
        aborted(&driver, SID, None, 0x1234),
        [[0x105_0000_0009, 0, 0, CONTEXT_TABLE]]
    );
}

#[test]
fn illegal_context_descriptors_are_bad() {
    let good = cd_sva(1, Driver::root(1));
    let with = |clear: u64, set: u64| {
        let mut cd = good;
        cd[0] = cd[0] & !clear | set;
        cd
    };
    let mut ttb_above_ips = with(7 << 32, 0);
    ttb_above_ips[1] = 1 << 32;
    let mut ttb_above_oas = with(7 << 32, 6 << 32);
    ttb_above_oas[1] = 1 << 48;
    let second = |t_sz: u64, tg: u64| with(1 << 30 | 0xff << 16, t_sz << 16 | tg << 22);
    let bad = [
        ("V = 0", with(1 << 31, 0)),
        ("AA64 = 0", with(1 << 41, 0)),
        ("ENDI", with(0, 1 << 15)),
        ("HA", with(0, 1 << 43)),
        ("HD", with(0, 1 << 42)),
        ("A = 0 with TERM_MODEL = 1", with(1 << 46, 0)),
        ("T0SZ = 15", with(0x3f, 15)),
        ("T0SZ = 40", with(0x3f, 40)),
        ("TG0 = 3", with(0, 3 << 6)),
        ("TTB0 above IPS", ttb_above_ips),
        ("TTB0 above OAS, whatever IPS says", ttb_above_oas),
        ("T1SZ = 15", second(15, 2)),
        ("T1SZ = 40", second(40, 2)),
        ("TG1 = 0", second(16, 0)),
    ];
    for (why, cd) in bad {
        let driver = Driver::ready();
        driver.set_cd(1, cd);
        assert_eq!(
            aborted(&driver, SID, Some(1), 0x9),
            [[0x105_0000_180a, 0, 0, 0]],
            "{why}"
        );
    }
}

#[test]
fn granules_that_are_not_implemented_make_a_context_bad() {
    let granules = crate::Granules {
        k4: false,
        k16: true,
        k64: true,
    };
    let driver = Driver::new(Config {
        granules,
        ..Config::default()
    });
    driver.start();
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
    driver.set_cd(1, cd_sva(1, Driver::root(1)));

    assert_eq!(
        aborted(&driver, SID, Some(1), 0),
        [[0x105_0000_180a, 0, 0, 0]]
    );
}

#[test]
fn what_a_disabled_table_says_is_not_looked_at() {
    // As Linux leaves the context of a process that is gone (arm_smmu_mm_release), with nonsense
    // wherever nothing may look: no stall, no record, and no C_BAD_CD.
    let driver = Driver::ready();
    let mut cd = cd_sva(1, u64::MAX);
    cd[0] |= 1 << 14 | 0xff | 1 << 15;
    cd[0] &= !(1 << 44 | 1 << 45);
    driver.set_cd(1, cd);

    assert!(aborted(&driver, SID, Some(1), 0x1000).is_empty());
    assert!(aborted(&driver, SID, Some(1), 0xffff_ffff_ffff_f000).is_empty());
}

#[test]
fn a_context_that_stalls_is_bad_where_stalls_are_forbidden() {
    let driver = Driver::with_process();
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= 1 << 27;
    driver.set_ste(SID, ste);
    assert_eq!(
        aborted(&driver, SID, Some(1), 0),
        [[0x105_0000_180a, 0, 0, 0]]
    );

    driver.set_cd(1, terminate(cd_sva(1, Driver::root(1))));
    assert_eq!(aborted(&driver, SID, Some(1), 0)[0][0] & 0xff, 0x10);
}

#[test]
fn an_abort_at_each_level_of_a_walk_is_recorded_with_its_address() {
    let driver = Driver::with_process();
    let address = 0x1234_5678_9abc;
    let page = driver.map(address, 0x7777_0000 | USER_RW);
    let table = |level: u64| TABLES + 0x1000 * (level - 1);
    let descriptors = [
        Driver::root(1) + 8 * (address >> 39),
        table(1) + 8 * (address >> 30 & 0x1ff),
        table(2) + 8 * (address >> 21 & 0x1ff),
        page,
    ];
    for at in descriptors {
        driver.memory.heal();
        driver.memory.abort_at(at);

        // Never a stall, although the context has S = 1. CLASS = TT; RnW as the access has it.
        let record = [0x105_0000_180b, 0x0108_0000_0000, address, at];
        assert_eq!(aborted(&driver, SID, Some(1), address), [record]);
        let record = [0x105_0000_180b, 0x0100_0000_0000, address, at];
        let records = aborted_access(&driver, SID, Some(1), address, Access::WRITE);
        assert_eq!(records, [record]);
    }
}

#[test]
fn faults_are_recorded_with_type_and_attributes() {
    let driver = terminating();
    driver.map(0x1000, 0);
    driver.map(0x2000, 0x1_0000_0000_0000 | USER_RW);
    driver.map(0x3000, 0x7777_0000 | USER_RW & !0x400);
    driver.map(0x4000, 0x7777_0000 | USER_RO);
    let at = |address, access| {
        let records = aborted_access(&driver, SID, Some(1), address, access);
        assert_eq!(records.len(), 1);
        records[0]
    };
    let (read, write, fetch) = (Access::READ, Access::WRITE, Access::EXECUTE);
    let fetch_write = Access {
        write: true,
        ..fetch
    };

    // CLASS = IN (bit 41), RnW bit 35, InD bit 34, PnU bit 33; never STALL.
    assert_eq!(
        at(0x1008, read),
        [0x105_0000_1810, 0x0208_0000_0000, 0x1008, 0]
    );
    assert_eq!(
        at(0x1008, write),
        [0x105_0000_1810, 0x0200_0000_0000, 0x1008, 0]
    );
    assert_eq!(
        at(0x1008, fetch),
        [0x105_0000_1810, 0x020c_0000_0000, 0x1008, 0]
    );
    assert_eq!(
        at(0x1008, fetch_write),
        [0x105_0000_1810, 0x0200_0000_0000, 0x1008, 0]
    );
    assert_eq!(
        at(0x1008, read.privileged()),
        [0x105_0000_1810, 0x020a_0000_0000, 0x1008, 0]
    );
    assert_eq!(
        at(0x3010, read),
        [0x105_0000_1812, 0x0208_0000_0000, 0x3010, 0]
    );
    assert_eq!(
        at(0x4018, write),
        [0x105_0000_1813, 0x0200_0000_0000, 0x4018, 0]
    );
    assert_eq!(
        at(0x4018, fetch),
        [0x105_0000_1813, 0x020c_0000_0000, 0x4018, 0]
    );

    // Bits 51:48 of a 4 KiB descriptor are RES0; an output above IPS needs a smaller IPS.
    let mut cd = terminate(cd_sva(1, Driver::root(1)));
    cd[0] = cd[0] & !(7 << 32) | 4 << 32;
    driver.set_cd(1, cd);
    driver.map(0x2000, 0x1000_0000_0000 | USER_RW);
    assert_eq!(
        at(0x2020, read),
        [0x105_0000_1811, 0x0208_0000_0000, 0x2020, 0]
    );
}

#[test]
fn the_address_is_recorded_with_its_tag() {
    let driver = Driver::ready();
    let mut cd = terminate(cd_sva(1, Driver::root(1)));
    driver.set_cd(1, cd);
    let tagged = 0xa500_0000_0000_1008;
    driver.map(0x1000, 0x7777_0000 | USER_RO);

    // Linux leaves TBI off: a tag makes the address one of neither half.
    let record = [0x105_0000_1810, 0x0208_0000_0000, tagged, 0];
    assert_eq!(aborted(&driver, SID, Some(1), tagged), [record]);

    cd[0] |= 1 << 38;
    driver.set_cd(1, cd);
    assert_eq!(driver.access(tagged, Access::READ).address(), 0x7777_0008);
    let records = aborted_access(&driver, SID, Some(1), tagged, Access::WRITE);
    assert_eq!(records, [[0x105_0000_1813, 0x0200_0000_0000, tagged, 0]]);
}

#[test]
fn faults_that_are_not_to_be_recorded_are_not() {
    let driver = Driver::ready();
    let mut cd = terminate(cd_sva(1, Driver::root(1)));
    cd[0] &= !(1 << 45);
    driver.set_cd(1, cd);
    driver.map(0x1000, 0x7777_0000 | USER_RO);

    assert!(aborted(&driver, SID, Some(1), 0x5000).is_empty());
    assert!(aborted_access(&driver, SID, Some(1), 0x1000, Access::WRITE).is_empty());
    // What the fault model has no say in is recorded all the same.
    driver.memory.abort_at(Driver::root(1));
    assert_eq!(aborted(&driver, SID, Some(1), 0x5000).len(), 1);
}

#[test]
fn the_first_thing_that_is_wrong_is_reported() {
    let driver = terminating();
    // An access flag that is clear before a permission that is not there; an address that is too
    // large before either.
    let leaf = USER_RO & !0x400;
    driver.map(0x1000, 0x7777_0000 | leaf);
    let records = aborted_access(&driver, SID, Some(1), 0x1000, Access::WRITE);
    assert_eq!(records[0][0] & 0xff, 0x12);

    let mut cd = terminate(cd_sva(1, 0x1000));
    cd[0] &= !(7 << 32);
    driver.set_cd(1, cd);
    driver.map_at(0x1000, 1, 0, 0x1_4000_0000 | leaf & !2);
    let records = aborted_access(&driver, SID, Some(1), 0x1000, Access::WRITE);
    assert_eq!(
        records[0][0] & 0xff,
        0x11,
        "the first table is above 32 bits"
    );
}

#[test]
fn faults_take_the_time_of_their_report() {
    let driver = terminating();
    driver.probe.set(
        crate::Step::FaultReport,
        stallbox_timeline::Span::from_us(3),
    );

    let read = driver.access(0x5000, Access::READ);
    driver.wait_ns(2_999);
    assert!(read.is_waiting() && driver.events().is_empty());
    driver.wait_ns(1);
    assert!(read.is_aborted());
    assert_eq!(driver.events().len(), 1);
}

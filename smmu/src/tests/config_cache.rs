use crate::testing::{CONTEXT_TABLE, Driver, SID, STREAM_TABLE, USER_RW, cd_sva, ste_stage1};
use crate::{Access, StreamId, SubstreamId, Transaction};

fn transaction(sid: u32, ssid: u32) -> Transaction {
    let substream = Some(SubstreamId(ssid));
    Transaction {
        stream: StreamId(sid),
        substream,
        address: 0x1000,
        access: Access::READ,
    }
}

/// Where a read of page 1 by `sid`, `ssid` ends; `None` if it is aborted.
fn read(driver: &Driver, sid: u32, ssid: u32) -> Option<u64> {
    let pending = driver.begin(transaction(sid, ssid));
    assert!(!pending.is_waiting());
    pending
        .outcome()?
        .ok()
        .map(|translation| translation.address)
}

/// Context `ssid` of every stream is a process with ASID `ssid` that has a page 1, at `ssid`
/// megabytes; faults abort.
fn driver() -> Driver {
    let driver = Driver::ready();
    for sid in [SID, SID + 1, SID + 2] {
        driver.set_ste(sid, ste_stage1(CONTEXT_TABLE, 3));
    }
    for ssid in 1..8_u16 {
        let mut cd = cd_sva(ssid, Driver::root(ssid));
        cd[0] &= !(1 << 44);
        driver.set_cd(ssid.into(), cd);
        driver.map_at(
            Driver::root(ssid),
            3,
            0x1000,
            u64::from(ssid) << 20 | USER_RW,
        );
    }
    driver
}

fn clear_ste(driver: &Driver, sid: u32) {
    driver
        .memory
        .store(STREAM_TABLE + 64 * u64::from(sid), &[0]);
}

fn clear_cd(driver: &Driver, ssid: u32) {
    driver
        .memory
        .store(CONTEXT_TABLE + 64 * u64::from(ssid), &[0]);
}

#[test]
fn a_stream_table_entry_is_kept_until_it_is_invalidated() {
    let driver = driver();
    assert_eq!(read(&driver, SID, 1), Some(0x10_0000));
    clear_ste(&driver, SID);

    assert_eq!(read(&driver, SID, 1), Some(0x10_0000));
    driver.command([0x03 | u64::from(SID + 1) << 32, 1]);
    driver.command([0x05 | 1 << 12 | u64::from(SID) << 32, 1]);
    driver.command([0x06 | u64::from(SID) << 32, 0]);
    driver.command([0x30, 0]);
    assert_eq!(
        read(&driver, SID, 1),
        Some(0x10_0000),
        "none of these names it"
    );

    driver.command([0x03 | u64::from(SID) << 32, 1]);
    assert_eq!(read(&driver, SID, 1), None);
}

#[test]
fn an_invalid_stream_table_entry_is_kept_too() {
    let driver = driver();
    clear_ste(&driver, SID);
    driver.command([0x03 | u64::from(SID) << 32, 1]);
    assert_eq!(read(&driver, SID, 1), None);

    let ste = ste_stage1(CONTEXT_TABLE, 3);
    driver
        .memory
        .store(STREAM_TABLE + 64 * u64::from(SID), &ste);
    assert_eq!(read(&driver, SID, 1), None);
    driver.command([0x03 | u64::from(SID) << 32, 1]);
    assert_eq!(read(&driver, SID, 1), Some(0x10_0000));
}

#[test]
fn a_context_descriptor_is_kept_until_it_is_invalidated() {
    let driver = driver();
    for ssid in [1, 2] {
        read(&driver, SID, ssid);
        clear_cd(&driver, ssid);
    }

    driver.command([0x05 | 1 << 12 | u64::from(SID) << 32, 1]);

    assert_eq!(read(&driver, SID, 1), None);
    assert_eq!(read(&driver, SID, 2), Some(0x20_0000), "another context");
}

#[test]
fn an_invalid_context_descriptor_is_kept_too() {
    let driver = driver();
    clear_cd(&driver, 1);
    assert_eq!(read(&driver, SID, 1), None);
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] &= !(1 << 44);

    driver.memory.store(CONTEXT_TABLE + 64, &cd);
    assert_eq!(read(&driver, SID, 1), None);
    driver.command([0x05 | 1 << 12 | u64::from(SID) << 32, 0]);
    assert_eq!(read(&driver, SID, 1), Some(0x10_0000));
}

#[test]
fn all_contexts_of_a_stream_can_be_invalidated_at_once() {
    // By CFGI_CD_ALL, or with their stream table entry.
    for command in [0x06, 0x03] {
        let driver = driver();
        for sid in [SID, SID + 1] {
            for ssid in [1, 2] {
                read(&driver, sid, ssid);
            }
        }
        clear_cd(&driver, 1);
        clear_cd(&driver, 2);

        driver.command([command | u64::from(SID) << 32, 0]);

        assert_eq!((read(&driver, SID, 1), read(&driver, SID, 2)), (None, None));
        assert_eq!(
            read(&driver, SID + 1, 1),
            Some(0x10_0000),
            "another stream's"
        );
    }
}

#[test]
fn ranges_of_streams_are_invalidated_by_their_upper_bits() {
    let driver = driver();
    let all = |driver: &Driver| [SID, SID + 1, SID + 2].map(|sid| read(driver, sid, 1).is_some());
    assert_eq!(all(&driver), [true; 3]);
    for sid in [SID, SID + 1, SID + 2] {
        clear_ste(&driver, sid);
    }

    // Two streams, 0x106 and 0x107, named by either.
    driver.command([0x04 | 0x107 << 32, 0]);
    assert_eq!(all(&driver), [true, false, false]);
    // Four streams, 0x104 to 0x107.
    driver.command([0x04 | 0x107 << 32, 1]);
    assert_eq!(all(&driver), [false; 3]);
}

#[test]
fn everything_can_be_invalidated() {
    let driver = driver();
    read(&driver, SID, 1);
    clear_ste(&driver, SID);

    driver.command([0x04, 31]);

    assert_eq!(read(&driver, SID, 1), None);
}

#[test]
fn disabling_the_smmu_invalidates_nothing() {
    let driver = driver();
    read(&driver, SID, 1);
    clear_ste(&driver, SID);
    clear_cd(&driver, 1);

    driver.write32(0x20, 0xc);
    assert_eq!(read(&driver, SID, 1), Some(0x1000), "it bypasses");
    driver.write32(0x20, 0xd);

    assert_eq!(read(&driver, SID, 1), Some(0x10_0000));
}

#[test]
fn a_change_of_the_fault_model_needs_no_tlb_invalidation() {
    // What mm exit does: EPD0 set, S and R cleared, CFGI_CD; the translations are still there.
    let driver = driver();
    assert_eq!(read(&driver, SID, 1), Some(0x10_0000));
    let mut cd = cd_sva(1, 0);
    cd[0] |= 1 << 14;
    cd[0] &= !(1 << 44 | 1 << 45);

    driver.set_cd(1, cd);

    assert_eq!(read(&driver, SID, 1), None);
    assert!(driver.events().is_empty());
}

#[test]
fn a_configuration_fetched_across_an_invalidation_is_not_kept() {
    let driver = driver();
    driver.command([0x04, 31]);
    driver.probe.set(
        crate::Step::ConfigFetch,
        stallbox_timeline::Span::from_ns(100),
    );
    let pending = driver.begin(transaction(SID, 1));
    driver.wait_ns(150);

    // The entry has been read; now it is gone.
    clear_ste(&driver, SID);
    driver.command([0x04, 31]);
    driver.wait_ns(1000);

    assert!(pending.is_aborted());
    assert_eq!(driver.events()[0][0] & 0xff, 0x04);
}

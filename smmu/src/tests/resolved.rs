//! What is kept of a stream and a context together says nothing that the configuration caches no
//! longer say.

use crate::testing::{
    CONTEXT_TABLE, Driver, SID, USER_RW, cd_sva, process_transaction, ste_stage1, ste_stage2,
};
use crate::{Access, Config, StreamId, SubstreamId, Transaction};

fn transaction(sid: u32, ssid: Option<u32>) -> Transaction {
    Transaction {
        stream: StreamId(sid),
        substream: ssid.map(SubstreamId),
        address: 0x1000,
        access: Access::READ,
    }
}

/// Where a hit says that it is; `None` if it takes more than a hit.
fn hit(driver: &Driver, asked: Transaction) -> Option<u64> {
    let translation = driver.smmu.try_translate(&asked)?;
    Some(translation.address)
}

/// Where it is; then it is in the TLB, and was asked for twice.
fn warm(driver: &Driver, asked: Transaction) -> u64 {
    let address = driver.begin(asked).address();
    assert_eq!(hit(driver, asked), Some(address));
    assert_eq!(hit(driver, asked), Some(address), "as it was kept");
    address
}

/// Contexts 1 to 3 have a page 1 each, at as many megabytes.
fn driver(config: Config) -> Driver {
    let driver = Driver::started(config);
    for sid in [SID, SID + 1] {
        driver.set_ste(sid, ste_stage1(CONTEXT_TABLE, 3));
    }
    for ssid in 1..4_u16 {
        driver.set_cd(ssid.into(), cd_sva(ssid, Driver::root(ssid)));
        let leaf = u64::from(ssid) << 20 | USER_RW;
        driver.map_at(Driver::root(ssid), 3, 0x1000, leaf);
    }
    driver
}

#[test]
fn a_hit_notices_that_its_context_was_invalidated() {
    let driver = driver(Config::default());
    let asked = transaction(SID, Some(1));
    assert_eq!(warm(&driver, asked), 0x10_0000);

    // Another process's now. The translations of both are still there.
    warm(&driver, transaction(SID, Some(2)));
    driver.set_cd(1, cd_sva(2, Driver::root(2)));

    assert_eq!(hit(&driver, asked), None, "it has to be fetched");
    assert_eq!(warm(&driver, asked), 0x20_0000);
}

#[test]
fn a_hit_notices_that_its_stream_was_invalidated() {
    let driver = driver(Config::default());
    let asked = transaction(SID, None);
    driver.set_ste(SID, ste_stage2(7, Driver::root(1)));
    driver.map_at(Driver::root(1), 3, 0x1000, 0x40_0000 | 0x7ff);
    assert_eq!(warm(&driver, asked), 0x40_0000);

    // CONFIG: bypass.
    driver.set_ste(SID, [0x9, 0, 0, 0, 0, 0, 0, 0]);

    assert_eq!(hit(&driver, asked), None);
    assert_eq!(driver.begin(asked).address(), 0x1000);
}

#[test]
fn a_hit_notices_that_its_configuration_was_displaced() {
    let driver = driver(Config {
        cd_cache_entries: 1,
        ..Config::default()
    });
    let (one, two) = (transaction(SID, Some(1)), transaction(SID, Some(2)));
    warm(&driver, one);
    warm(&driver, two);

    assert_eq!(hit(&driver, one), None, "its context is no longer cached");
    let fetches = driver.smmu.counters().config_fetches;
    assert_eq!(warm(&driver, one), 0x10_0000);
    assert_eq!(driver.smmu.counters().config_fetches, fetches + 1);
}

#[test]
fn substreams_and_streams_that_share_a_place_are_told_apart() {
    // The place is chosen by what they differ in, modulo a power of two.
    let driver = driver(Config::default());
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 10));
    for ssid in [1 + 128, 1 + 256] {
        let cd = cd_sva(ssid, Driver::root(3));
        driver.set_cd(ssid.into(), cd);
    }
    // Another stream has other processes.
    let table = CONTEXT_TABLE + 0x10_0000;
    driver.set_ste(SID + 128, ste_stage1(table, 3));
    let cd = cd_sva(2, Driver::root(2));
    driver.memory.store(table + 64, &cd);
    let places = [
        (transaction(SID, Some(1)), 0x10_0000),
        (transaction(SID + 128, Some(1)), 0x20_0000),
        (transaction(SID, Some(1 + 128)), 0x30_0000),
        (transaction(SID, Some(1 + 256)), 0x30_0000),
        (transaction(SID + 1, Some(2)), 0x20_0000),
        (transaction(SID, Some(3)), 0x30_0000),
    ];

    for (asked, _) in places {
        driver.begin(asked).address();
    }
    for _ in 0..2 {
        for (asked, address) in places {
            assert_eq!(hit(&driver, asked), Some(address), "{asked:?}");
        }
    }
    // SubstreamID 0 is not a stream without SubstreamIDs.
    assert_eq!(hit(&driver, transaction(SID, None)), None);
    assert_eq!(hit(&driver, transaction(SID, Some(0))), None);
}

#[test]
fn a_hit_asks_for_what_the_access_needs_as_the_stream_overrides_it() {
    let driver = driver(Config::default());
    let asked = process_transaction(0x1000, Access::READ);
    warm(&driver, asked);
    let with = |access| hit(&driver, Transaction { access, ..asked });

    // A user's page may be written by anyone, and executed by nobody.
    assert_eq!(with(Access::WRITE), Some(0x10_0000));
    assert_eq!(with(Access::READ.privileged()), Some(0x10_0000));
    assert_eq!(with(Access::EXECUTE), None);

    // INSTCFG: all are instruction fetches.
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= 3 << 50;
    driver.set_ste(SID, ste);
    driver.begin(process_transaction(0x1000, Access::WRITE));
    assert_eq!(with(Access::READ), None);
    assert_eq!(with(Access::WRITE), Some(0x10_0000), "what writes is data");
}

#[test]
fn a_hit_knows_that_the_top_byte_is_no_part_of_the_address() {
    let driver = driver(Config::default());
    let mut cd = cd_sva(1, Driver::root(1));
    // TBI0.
    cd[0] |= 1 << 38;
    driver.set_cd(1, cd);
    let asked = transaction(SID, Some(1));
    let tagged = Transaction {
        address: 0xab << 56 | asked.address,
        ..asked
    };
    assert_eq!(warm(&driver, tagged), 0x10_0000);
    let beyond = Transaction {
        address: 1 << 50 | asked.address,
        ..asked
    };
    assert_eq!(hit(&driver, beyond), None);

    driver.set_cd(1, cd_sva(1, Driver::root(1)));
    driver.begin(asked).address();
    assert_eq!(hit(&driver, asked), Some(0x10_0000));
    assert_eq!(hit(&driver, tagged), None, "without TBI it is another");
}

#[test]
fn a_hit_knows_that_a_half_is_closed_to_some() {
    let driver = driver(Config {
        e0pd: true,
        ..Config::default()
    });
    let mut cd = cd_sva(1, Driver::root(1));
    // E0PD0: privileged accesses only, whatever the pages permit.
    cd[1] |= 1 << 2;
    driver.set_cd(1, cd);
    let asked = process_transaction(0x1000, Access::READ.privileged());
    warm(&driver, asked);

    let unprivileged = Transaction {
        access: Access::READ,
        ..asked
    };
    assert_eq!(hit(&driver, unprivileged), None);
    assert!(driver.begin(unprivileged).is_waiting(), "it stalls");
}

#[test]
fn a_hit_is_none_where_the_stream_makes_the_context_illegal() {
    let driver = driver(Config::default());
    let asked = transaction(SID, Some(1));
    warm(&driver, asked);
    // S1STALLD: the context stalls, which it must not any more. The translation is still there.
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= 1 << 27;
    driver.set_ste(SID, ste);

    for _ in 0..2 {
        assert!(driver.begin(asked).is_aborted());
        assert_eq!(hit(&driver, asked), None);
        assert_eq!(driver.events()[0][0] & 0xff, 0x0a, "C_BAD_CD");
    }
}

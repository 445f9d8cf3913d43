use crate::testing::{Driver, EVENT_QUEUE, cd_sva, process_transaction};
use crate::{Access, Config, Line, Note};

/// A process whose faults abort and are recorded.
fn driver() -> Driver {
    let driver = Driver::ready();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] &= !(1 << 44);
    driver.set_cd(1, cd);
    driver.interrupts.take();
    driver
}

fn fault(driver: &Driver, page: u64) {
    assert!(driver.access(page << 12, Access::READ).is_aborted());
}

/// The pages of all records in the queue.
fn pages(driver: &Driver) -> Vec<u64> {
    driver.events().iter().map(|words| words[2] >> 12).collect()
}

#[test]
fn the_interrupt_is_for_the_first_record_of_an_empty_queue() {
    let driver = driver();

    fault(&driver, 1);
    fault(&driver, 2);
    assert_eq!(driver.interrupts.take(), [Line::EventQueue]);

    driver.event().unwrap();
    fault(&driver, 3);
    assert!(
        driver.interrupts.take().is_empty(),
        "one record was still there"
    );

    assert_eq!(pages(&driver), [2, 3]);
    fault(&driver, 4);
    assert_eq!(driver.interrupts.take(), [Line::EventQueue]);
}

#[test]
fn a_disabled_interrupt_is_not_raised() {
    let driver = driver();
    driver.write32(0x50, 1);

    fault(&driver, 1);

    assert!(driver.interrupts.take().is_empty());
    assert_eq!(pages(&driver), [1]);
}

#[test]
fn the_interrupt_can_be_a_message() {
    let driver = driver();
    driver.write32(0x50, 0);
    driver.write64(0xb0, 0x9000);
    driver.write32(0xb8, 0x1234);
    driver.write32(0x50, 5);

    fault(&driver, 1);

    assert_eq!(driver.memory.load(0x9000), 0x1234);
    assert!(driver.interrupts.take().is_empty());
}

#[test]
fn a_message_that_aborts_is_a_global_error() {
    let driver = driver();
    driver.write32(0x50, 0);
    driver.write64(0xb0, 0x9000);
    driver.write32(0x50, 5);
    driver.memory.abort_at(0x9000);

    fault(&driver, 1);

    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1 << 5);
    assert_eq!(driver.interrupts.take(), [Line::GlobalError]);
    assert_eq!(pages(&driver), [1], "the record itself is there");
}

#[test]
fn the_error_interrupt_can_be_a_message_whose_abort_raises_none() {
    let driver = driver();
    driver.write32(0x50, 0);
    driver.write64(0x68, 0x9000);
    driver.write32(0x70, 0x55);
    driver.write32(0x50, 5);
    driver.command([0xff, 0]);
    assert_eq!(driver.memory.load(0x9000), 0x55);

    driver.memory.abort_at(0x9000);
    driver.write32(0x64, 1);

    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1 | 1 << 7);
    assert!(driver.interrupts.take().is_empty());
}

#[test]
fn a_disabled_error_interrupt_is_not_raised() {
    let driver = driver();
    driver.write32(0x50, 4);

    driver.command([0xff, 0]);

    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1);
    assert!(driver.interrupts.take().is_empty());
}

#[test]
fn an_error_that_is_active_gives_no_second_interrupt() {
    let driver = driver();
    driver.memory.abort_at(0x9000);
    for _ in 0..2 {
        driver.command([0x46 | 1 << 12, 0x9000]);
    }

    assert_eq!(driver.interrupts.take(), [Line::GlobalError]);
    assert_eq!(driver.read32(0x60), 1 << 4, "toggled once");
}

#[test]
fn the_queue_wraps_without_losing_a_record() {
    let driver = driver();
    for page in 1..50 {
        fault(&driver, page);
        fault(&driver, page + 100);
        assert_eq!(pages(&driver), [page, page + 100]);
    }
    assert_eq!(driver.smmu.counters().events_dropped, 0);
}

#[test]
fn a_full_queue_drops_records_and_says_so_once() {
    let driver = driver();
    for page in 1..=6 {
        fault(&driver, page);
    }

    assert_eq!(
        driver.read32(0x1_00a8),
        0x8000_0004,
        "OVFLG, and the wrap bit"
    );
    assert_eq!(driver.smmu.counters().overflows, 1);
    assert_eq!(driver.smmu.counters().events_dropped, 2);

    // There is room again: records go in before the overflow is acknowledged.
    assert_eq!(pages(&driver), [1, 2, 3, 4]);
    fault(&driver, 7);
    assert_eq!(pages(&driver), [7]);

    // Acknowledged, the next overflow toggles the flag back.
    driver.write32(0x1_00ac, driver.read32(0x1_00ac) | 1 << 31);
    for page in 11..=15 {
        fault(&driver, page);
    }
    assert_eq!(driver.read32(0x1_00a8) >> 31, 0);
    assert_eq!(driver.smmu.counters().overflows, 2);
}

#[test]
fn a_disabled_queue_drops_records_without_overflow() {
    let driver = driver();
    driver.write32(0x20, 0x9);

    for page in 1..=6 {
        fault(&driver, page);
    }

    assert_eq!(driver.read32(0x1_00a8), 0);
    assert_eq!(driver.smmu.counters().events_dropped, 6);
    assert_eq!(driver.smmu.counters().overflows, 0);
}

#[test]
fn a_write_that_aborts_loses_its_record_and_stops_the_queue_until_acknowledged() {
    let driver = driver();
    driver.memory.abort_at(EVENT_QUEUE + 8);

    fault(&driver, 1);
    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1 << 2);
    assert_eq!(driver.interrupts.take(), [Line::GlobalError]);
    assert_eq!(driver.read32(0x1_00a8), 0, "PROD did not move");

    driver.memory.heal();
    fault(&driver, 2);
    assert!(
        pages(&driver).is_empty(),
        "nothing is written while the error is active"
    );

    driver.write32(0x64, driver.read32(0x60));
    fault(&driver, 3);
    assert_eq!(pages(&driver), [3]);
}

#[test]
fn a_queue_larger_than_implemented_has_the_implemented_size() {
    let driver = Driver::new(Config {
        eventq_log2: 1,
        ..Config::default()
    });
    driver.start();

    for sid in 0..3 {
        let mut transaction = process_transaction(0, Access::READ);
        transaction.stream.0 = sid;
        driver.begin(transaction);
    }

    assert_eq!(driver.read32(0x1_00a8), 0x8000_0002);
}

#[test]
fn the_base_is_aligned_to_the_size() {
    let driver = Driver::default();
    driver.start();
    driver.write32(0x20, 0);
    driver.write64(0xa0, EVENT_QUEUE | 0x60 | 2);
    driver.write32(0x20, 0x5);

    driver.access(0, Access::READ);

    assert_eq!(
        driver.memory.load(EVENT_QUEUE) & 0xff,
        0x04,
        "not 0x60 further on"
    );
}

#[test]
fn the_probe_sees_the_words_that_are_written_and_those_that_are_lost() {
    let driver = driver();
    driver.probe.take();
    fault(&driver, 1);
    let written = driver.probe.take().into_iter().find_map(|note| match note {
        Note::EventWritten { words } => Some(words),
        _ => None,
    });
    assert_eq!(written, driver.event());

    driver.write32(0x20, 0x9);
    fault(&driver, 1);
    let lost = driver.probe.take().into_iter().find_map(|note| match note {
        Note::EventDropped { words } => Some(words),
        _ => None,
    });
    assert_eq!(lost, written);
}

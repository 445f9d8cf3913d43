use stallbox_timeline::Span;

use crate::testing::{
    CONTEXT_TABLE, Driver, EVENT_QUEUE, Pending, SID, USER_RO, USER_RW, cd_sva,
    process_transaction, ste_stage1,
};
use crate::{Aborted, Access, Config, Note, Response, Stall, Step, StreamId};

const RETRY: u64 = 1;
const ABORT: u64 = 2;

fn stall(driver: &Driver, page: u64) -> Pending {
    driver.access(page << 12, Access::READ)
}

/// The record of a read of `page` that stalls with `stag`.
fn record(page: u64, stag: u16) -> [u64; 4] {
    [
        0x105_0000_1810,
        0x0208_8000_0000 | u64::from(stag),
        page << 12,
        0,
    ]
}

/// A process with `stall_max` as the implementation's limit.
fn limited(stall_max: u16) -> Driver {
    let driver = Driver::new(Config {
        stall_max,
        ..Config::default()
    });
    driver.start();
    driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
    driver.set_cd(1, cd_sva(1, Driver::root(1)));
    driver
}

#[test]
fn each_of_the_four_faults_stalls() {
    let driver = Driver::with_process();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] = cd[0] & !(7 << 32) | 4 << 32;
    driver.set_cd(1, cd);
    driver.map(0x2000, 0x1000_0000_0000 | USER_RW);
    driver.map(0x3000, 0x7777_0000 | USER_RW & !0x400);
    driver.map(0x4000, 0x7777_0000 | USER_RO);

    for (stag, address, code) in [(0, 0x1000, 0x10), (1, 0x2000, 0x11), (2, 0x3000, 0x12)] {
        assert!(driver.access(address, Access::READ).is_waiting());
        let words = [0x105_0000_1800 | code, 0x0208_8000_0000 | stag, address, 0];
        assert_eq!(driver.events(), [words]);
    }
    assert!(
        driver
            .access(0x4abc, Access::WRITE.privileged())
            .is_waiting()
    );
    assert_eq!(
        driver.events(),
        [[0x105_0000_1813, 0x0202_8000_0003, 0x4abc, 0]]
    );
}

#[test]
fn stalls_are_recorded_whatever_r_says() {
    let driver = Driver::ready();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] &= !(1 << 45);
    driver.set_cd(1, cd);

    stall(&driver, 5);

    assert_eq!(driver.events(), [record(5, 0)]);
}

#[test]
fn traffic_without_a_substream_stalls_without_one_in_its_record() {
    let driver = Driver::ready();
    driver.set_cd(0, cd_sva(1, Driver::root(1)));
    let mut transaction = process_transaction(0x5000, Access::READ);
    transaction.substream = None;

    assert!(driver.begin(transaction).is_waiting());

    assert_eq!(
        driver.events(),
        [[0x105_0000_0010, 0x0208_8000_0000, 0x5000, 0]]
    );
}

#[test]
fn an_abort_ends_one_stall_and_no_other() {
    let driver = Driver::with_process();
    let (first, second) = (stall(&driver, 5), stall(&driver, 5));

    driver.resume(0, ABORT);

    assert!(first.is_aborted() && second.is_waiting());
    driver.resume(1, 0);
    assert!(
        second.is_aborted(),
        "with TERM_MODEL = 1, terminating is aborting"
    );
    let counters = driver.smmu.counters();
    assert_eq!(
        (counters.stalls, counters.resumes_abort, counters.aborts),
        (2, 2, 2)
    );
}

#[test]
fn a_retry_that_asks_for_an_abort_too_is_a_retry() {
    let driver = Driver::with_process();
    let read = stall(&driver, 5);
    driver.map(0x5000, 0x7777_0000 | USER_RW);

    driver.resume(0, RETRY | ABORT);

    assert_eq!(read.address(), 0x7777_0000);
}

#[test]
fn stalls_may_be_answered_in_any_order() {
    let driver = Driver::with_process();
    let reads: Vec<_> = (0..4).map(|page| stall(&driver, page)).collect();
    for page in 0..4 {
        driver.map(page << 12, 0x100_0000 | page << 12 | USER_RW);
    }

    for stag in [2, 0, 3, 1] {
        driver.resume(stag, RETRY);
        assert_eq!(
            reads[usize::from(stag)].address(),
            0x100_0000 + (u64::from(stag) << 12)
        );
    }
}

#[test]
fn a_retry_that_faults_again_is_a_new_stall() {
    let driver = Driver::with_process();
    let read = stall(&driver, 5);
    assert_eq!(driver.events(), [record(5, 0)]);

    driver.resume(0, RETRY);

    assert!(read.is_waiting());
    assert_eq!(driver.events(), [record(5, 1)], "with a tag of its own");
}

#[test]
fn the_answer_tells_how_often_the_transaction_stalled() {
    let driver = Driver::with_process();
    let read = stall(&driver, 5);
    driver.resume(0, RETRY);
    driver.resume(1, ABORT);
    assert_eq!(read.outcome(), Some(Err(Aborted::after(2))));

    driver.map(0x6000, 0x7777_0000 | USER_RW);
    let read = driver.access(0x6000, Access::READ);
    assert_eq!(read.outcome().unwrap().unwrap().stalls, 0);
}

#[test]
fn a_retry_finds_the_configuration_of_its_time() {
    // The context is gone when the answer comes: C_BAD_CD, which does not stall.
    let driver = Driver::with_process();
    let read = stall(&driver, 5);
    driver.events();
    driver.set_cd(1, [0; 8]);

    driver.resume(0, RETRY);

    assert!(read.is_aborted());
    assert_eq!(driver.events(), [[0x105_0000_180a, 0, 0, 0]]);
}

#[test]
fn a_retry_after_mm_exit_aborts_silently() {
    let driver = Driver::with_process();
    let read = stall(&driver, 5);
    driver.events();
    let mut cd = cd_sva(1, 0);
    cd[0] |= 1 << 14;
    cd[0] &= !(1 << 44 | 1 << 45);
    driver.set_cd(1, cd);

    driver.resume(0, RETRY);

    assert!(read.is_aborted() && driver.events().is_empty());
}

#[test]
fn answers_to_nobody_have_no_effect() {
    let driver = Driver::with_process();
    let read = stall(&driver, 5);

    driver.resume(1, RETRY);
    driver.command([0x44 | ABORT << 12 | 0x106 << 32, 0]);
    driver.run();
    assert!(read.is_waiting(), "neither another tag nor another stream");

    driver.resume(0, ABORT);
    driver.resume(0, ABORT);
    assert_eq!(driver.smmu.counters().resumes_unmatched, 3);
    assert_eq!(driver.read32(0x60), 0, "and are no errors");
}

#[test]
fn the_high_half_of_the_tag_operand_is_not_looked_at() {
    let driver = Driver::with_process();
    let read = stall(&driver, 5);

    driver.command([0x44 | ABORT << 12 | u64::from(SID) << 32, 0xffff_0000]);
    driver.run();

    assert!(read.is_aborted());
}

#[test]
fn tags_come_round_only_after_all_others() {
    let driver = Driver::with_process();
    let held = stall(&driver, 9);
    let mut seen = vec![driver.event().unwrap()[1] & 0xffff];
    for _ in 0..0x1_0000 {
        stall(&driver, 5);
        let stag = (driver.event().unwrap()[1] & 0xffff) as u16;
        driver.resume(stag, ABORT);
        seen.push(stag.into());
    }

    assert!(held.is_waiting());
    // 1 to 0xffff, then past the tag that is taken.
    let expected: Vec<u64> = (0..=0xffff).chain([1]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn tags_are_counted_for_each_stream() {
    let driver = Driver::with_process();
    driver.set_ste(SID + 1, ste_stage1(CONTEXT_TABLE, 3));
    stall(&driver, 5);
    let mut transaction = process_transaction(0x5000, Access::READ);
    transaction.stream = StreamId(SID + 1);

    driver.begin(transaction);

    let tags: Vec<_> = driver
        .events()
        .iter()
        .map(|words| words[1] & 0xffff)
        .collect();
    assert_eq!(tags, [0, 0]);
}

#[test]
fn outstanding_stalls_are_listed() {
    let driver = limited(1);
    stall(&driver, 5);
    stall(&driver, 6);

    let transaction = |page: u64| process_transaction(page << 12, Access::READ);
    let expected = [
        Stall {
            transaction: transaction(5),
            stag: Some(0),
        },
        Stall {
            transaction: transaction(6),
            stag: None,
        },
    ];
    assert_eq!(driver.smmu.outstanding_stalls(), expected);
    driver.resume(0, ABORT);
    assert_eq!(
        driver.smmu.outstanding_stalls(),
        [Stall {
            transaction: transaction(6),
            stag: Some(1)
        }]
    );
}

#[test]
fn stalls_beyond_the_limit_wait_unrecorded_in_order() {
    let driver = limited(2);
    let reads: Vec<_> = (0..5).map(|page| stall(&driver, page)).collect();
    assert_eq!(driver.events(), [record(0, 0), record(1, 1)]);

    driver.resume(1, ABORT);
    assert_eq!(driver.events(), [record(2, 2)]);
    driver.resume(0, ABORT);
    driver.resume(2, ABORT);
    assert_eq!(driver.events(), [record(3, 3), record(4, 4)]);
    assert!(reads[..3].iter().all(Pending::is_aborted));
    assert!(reads[3..].iter().all(Pending::is_waiting));
}

#[test]
fn a_full_event_queue_holds_stalls_without_overflow() {
    let driver = Driver::with_process();
    for page in 0..7 {
        stall(&driver, page);
    }
    assert_eq!(driver.read32(0x1_00a8), 4, "full, and OVFLG is clear");
    assert_eq!(driver.smmu.counters().stalls_held, 3);

    let mut events = Vec::new();
    while let Some(event) = driver.event() {
        events.push(event);
        driver.run();
    }

    let expected: Vec<_> = (0..7).map(|page| record(page, page as u16)).collect();
    assert_eq!(events, expected);
    assert_eq!(driver.smmu.counters().overflows, 0);
}

#[test]
fn a_held_stall_has_spent_the_time_of_its_report_once() {
    let driver = limited(1);
    driver.probe.set(Step::FaultReport, Span::from_ns(1_000));
    let first = stall(&driver, 0);
    stall(&driver, 1);
    driver.wait_ns(1_000);
    assert_eq!(driver.events(), [record(0, 0)]);
    driver.probe.take();

    driver.resume(0, ABORT);

    assert!(first.is_aborted());
    assert_eq!(driver.events(), [record(1, 1)], "at once");
    let faults = |note: &Note| matches!(note, Note::Fault { .. });
    assert!(
        !driver.probe.take().iter().any(faults),
        "it was noted when it was found"
    );
}

#[test]
fn a_held_stall_is_written_to_an_emptied_queue_with_an_interrupt() {
    let driver = Driver::with_process();
    for page in 0..5 {
        stall(&driver, page);
    }
    driver.interrupts.take();

    // All of the queue at once, before the SMMU can do anything.
    driver.write32(0x1_00ac, driver.read32(0x1_00a8));
    driver.run();

    assert_eq!(driver.interrupts.take(), [crate::Line::EventQueue]);
    assert_eq!(driver.events(), [record(4, 4)]);
}

#[test]
fn records_that_are_no_stalls_are_dropped_while_stalls_are_held() {
    let driver = Driver::with_process();
    for page in 0..5 {
        stall(&driver, page);
    }
    let mut transaction = process_transaction(0, Access::READ);
    transaction.stream = StreamId(7);

    assert!(driver.begin(transaction).is_aborted());

    assert_eq!(driver.read32(0x1_00a8), 0x8000_0004, "overflow");
    assert_eq!(driver.smmu.counters().events_dropped, 1);
}

#[test]
fn a_disabled_event_queue_holds_stalls() {
    let driver = Driver::with_process();
    driver.write32(0x20, 0x9);
    let read = stall(&driver, 5);
    assert!(read.is_waiting());
    assert_eq!(driver.read32(0x1_00a8), 0);

    driver.write32(0x20, 0xd);
    driver.run();

    assert_eq!(driver.events(), [record(5, 0)]);
}

#[test]
fn a_held_stall_is_translated_again_before_it_is_recorded() {
    let driver = Driver::with_process();
    driver.write32(0x20, 0x9);
    let reads: Vec<_> = (5..8).map(|page| stall(&driver, page)).collect();
    // One is mapped meanwhile, and one has another fault.
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.map(0x6000, 0x7777_0000 | USER_RW & !0x400);

    driver.write32(0x20, 0xd);
    driver.run();

    assert_eq!(reads[0].address(), 0x7777_0000);
    let access_flag = [0x105_0000_1812, 0x0208_8000_0000, 0x6000, 0];
    assert_eq!(driver.events(), [access_flag, record(7, 1)]);
}

#[test]
fn an_active_queue_error_holds_stalls_until_it_is_acknowledged() {
    let driver = Driver::with_process();
    driver.memory.abort_at(EVENT_QUEUE);
    let lost = stall(&driver, 5);
    let held = stall(&driver, 6);
    driver.memory.heal();
    assert!(driver.events().is_empty());

    driver.write32(0x64, driver.read32(0x60));
    driver.run();

    assert_eq!(
        driver.events(),
        [record(6, 1)],
        "the first record is lost for good"
    );
    assert!(lost.is_waiting() && held.is_waiting());
    driver.command([0x45 | u64::from(SID) << 32, 0]);
    driver.run();
    assert!(lost.is_aborted(), "software has to terminate it");
}

#[test]
fn stall_term_ends_all_stalls_of_its_stream() {
    let driver = limited(1);
    driver.set_ste(SID + 1, ste_stage1(CONTEXT_TABLE, 3));
    let (recorded, held) = (stall(&driver, 5), stall(&driver, 6));
    let mut transaction = process_transaction(0x7000, Access::READ);
    transaction.stream = StreamId(SID + 1);
    let other = driver.begin(transaction);
    driver.events();

    driver.command([0x45 | u64::from(SID) << 32, 0]);
    driver.run();

    assert!(recorded.is_aborted() && held.is_aborted() && other.is_waiting());
    let record = [0x106_0000_1810, 0x0208_8000_0000, 0x7000, 0];
    assert_eq!(driver.events(), [record], "the next may be recorded now");
    assert_eq!(driver.smmu.counters().stalls_terminated, 2);
}

#[test]
fn disabling_the_smmu_aborts_all_stalls_and_frees_their_tags() {
    let driver = limited(1);
    let reads = [stall(&driver, 5), stall(&driver, 6), stall(&driver, 7)];

    driver.write32(0x20, 0xc);
    driver.run();

    assert!(reads.iter().all(Pending::is_aborted));
    assert!(driver.smmu.outstanding_stalls().is_empty());
    assert_eq!(driver.smmu.counters().stalls_terminated, 3);
    driver.resume(0, RETRY);
    assert_eq!(driver.smmu.counters().resumes_unmatched, 1);
}

#[test]
fn what_is_under_way_when_the_smmu_is_disabled_does_not_bypass_it() {
    for step in [Step::ConfigFetch, Step::WalkStep, Step::FaultReport] {
        let driver = Driver::with_process();
        driver.probe.set(step, Span::from_ns(100));
        let read = stall(&driver, 5);
        driver.wait_ns(50);

        driver.write32(0x20, 0xc);
        driver.write32(0x20, 0xd);
        driver.wait_ns(1000);

        assert!(read.is_aborted(), "{step:?}");
        assert!(driver.events().is_empty(), "{step:?}");
    }
    let driver = Driver::with_process();
    driver.probe.set(Step::ResumeToRetry, Span::from_ns(100));
    let read = stall(&driver, 5);
    driver.resume(0, RETRY);
    driver.write32(0x20, 0xc);
    driver.wait_ns(1000);
    assert!(read.is_aborted());
}

#[test]
fn steps_take_their_time() {
    let driver = Driver::with_process();
    driver.probe.set(Step::ConfigFetch, Span::from_ns(50));
    driver.probe.set(Step::WalkStep, Span::from_ns(100));
    driver.probe.set(Step::FaultReport, Span::from_ns(1_000));
    driver.probe.set(Step::ResumeToRetry, Span::from_ns(3_000));
    driver.probe.set(Step::TlbHit, Span::from_ns(7));

    // A stream table entry, a context descriptor, one descriptor, the report.
    let read = stall(&driver, 5);
    driver.wait_ns(1_199);
    assert!(driver.events().is_empty());
    driver.wait_ns(1);
    assert_eq!(driver.events(), [record(5, 0)]);

    // The answer, a walk of four levels with all configuration cached.
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.wait_ns(800);
    driver.resume(0, RETRY);
    driver.wait_ns(10_000);
    assert_eq!(read.done_at_ns(), Some(2_000 + 3_000 + 400));

    let hit = stall(&driver, 5);
    driver.wait_ns(10);
    assert_eq!(hit.done_at_ns(), Some(12_000 + 7));
}

#[test]
fn a_fault_that_was_mended_before_its_report_is_not_reported_after_an_invalidation() {
    let driver = Driver::with_process();
    driver.probe.set(Step::FaultReport, Span::from_ns(1_000));
    let read = stall(&driver, 5);
    driver.map(0x5000, 0x7777_0000 | USER_RW);

    driver.command([0x12 | 1 << 48, 0x5000]);
    driver.sync();
    driver.wait_ns(1_000);

    assert_eq!(read.address(), 0x7777_0000);
    assert!(driver.events().is_empty());
}

#[test]
fn a_transaction_that_is_given_up_leaves_its_report_to_be_answered() {
    let driver = limited(1);
    let transaction = process_transaction(0x5000, Access::READ);
    let poll = |future: &mut std::pin::Pin<Box<dyn Future<Output = _>>>| {
        let waker = std::task::Waker::noop();
        assert!(
            future
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
                .is_pending()
        );
    };
    let smmu = driver.smmu.clone();
    let mut recorded: std::pin::Pin<Box<dyn Future<Output = _>>> =
        Box::pin(async move { smmu.translate(transaction).await });
    let smmu = driver.smmu.clone();
    let mut held: std::pin::Pin<Box<dyn Future<Output = _>>> =
        Box::pin(async move { smmu.translate(transaction).await });
    poll(&mut recorded);
    poll(&mut held);
    assert_eq!(driver.smmu.outstanding_stalls().len(), 2);

    drop(held);
    drop(recorded);
    assert_eq!(driver.smmu.outstanding_stalls().len(), 1);

    driver.resume(0, RETRY);
    assert!(driver.smmu.outstanding_stalls().is_empty());
}

#[test]
fn the_probe_is_told_what_happens_in_order() {
    let driver = Driver::with_process();
    let transaction = process_transaction(0x5000, Access::READ);
    driver.probe.take();

    stall(&driver, 5);
    let notes = driver.probe.take();
    let event = Some(crate::EventType::Translation);
    assert_eq!(
        notes,
        [
            Note::Walk {
                transaction,
                steps: 1,
                found: false
            },
            Note::Fault {
                transaction,
                event,
                stage: 1,
                stalls: true
            },
            Note::Stalled {
                transaction,
                stag: 0
            },
            Note::EventWritten {
                words: record(5, 0)
            },
        ]
    );

    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.resume(0, RETRY);
    let notes = driver.probe.take();
    let (stream, response) = (StreamId(SID), Response::Retry);
    assert_eq!(
        notes,
        [
            Note::Command {
                words: [0x44 | 1 << 12 | 0x105 << 32, 0]
            },
            Note::Resumed {
                stream,
                stag: 0,
                response,
                matched: true
            },
            Note::Retried { transaction },
            Note::Walk {
                transaction,
                steps: 4,
                found: true
            },
        ]
    );
}

#[test]
fn nobody_overtakes_a_stall_that_is_about_to_be_recorded() {
    let driver = limited(1);
    let _first = stall(&driver, 1);
    let _second = stall(&driver, 2);
    driver.events();
    driver.probe.set(Step::WalkStep, Span::from_ns(100));

    // The third faults while the second translates again.
    let _third = stall(&driver, 3);
    driver.wait_ns(50);
    driver.resume(0, ABORT);
    driver.wait_ns(1000);

    assert_eq!(driver.events(), [record(2, 1)]);
    driver.resume(1, ABORT);
    driver.wait_ns(1000);
    assert_eq!(driver.events(), [record(3, 2)]);
}

use crate::testing::{
    CONTEXT_TABLE, Driver, EVENT_QUEUE, SID, STAGE2_RW, USER_RW, cd_sva, ste_stage1,
};
use crate::{
    Access, Config, FaultType, Line, Note, OnCommand, OnInterrupt, OnRecord, OnTranslation, Points,
    StallTags,
};

const RETRY: u64 = 1;
/// Everything that can be watched.
fn watched() -> Driver {
    let driver = Driver::with_process();
    driver
        .smmu
        .watch(Points::TRANSLATION | Points::RECORD | Points::COMMAND | Points::INTERRUPT);
    driver
}

/// The record of a read of `page` that stalls with `stag` for `code`.
fn record(code: u64, page: u64, stag: u16) -> [u64; 4] {
    [
        0x105_0000_1800 | code,
        0x0208_8000_0000 | u64::from(stag),
        page << 12,
        0,
    ]
}

#[test]
fn nobody_is_asked_where_nobody_watches() {
    let driver = Driver::with_process();
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.probe.translations.push(OnTranslation::Abort);
    assert_eq!(driver.access(0x5000, Access::READ).address(), 0x7777_0000);
}

#[test]
fn a_mapped_page_faults_as_told_and_is_found_after_the_retry() {
    let driver = watched();
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.access(0x5000, Access::READ).address();
    for (stag, fault, code) in [
        (0, FaultType::Translation, 0x10),
        (1, FaultType::AddressSize, 0x11),
        (2, FaultType::Access, 0x12),
        (3, FaultType::Permission, 0x13),
    ] {
        driver.probe.translations.push(OnTranslation::Fault(fault));
        let read = driver.access(0x5000, Access::READ);
        assert!(read.is_waiting());
        assert_eq!(driver.events(), [record(code, 5, stag)]);
        driver.resume(stag, RETRY);
        assert_eq!(read.address(), 0x7777_0000);
    }
}

#[test]
fn each_retry_is_asked_about_again() {
    let driver = watched();
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    for _ in 0..3 {
        driver
            .probe
            .translations
            .push(OnTranslation::Fault(FaultType::Translation));
    }
    let read = driver.access(0x5000, Access::READ);
    for stag in 0..3 {
        assert_eq!(driver.events(), [record(0x10, 5, stag)]);
        driver.resume(stag, RETRY);
    }
    assert_eq!(read.outcome().unwrap().unwrap().stalls, 3);
}

#[test]
fn an_injected_fault_of_a_context_that_does_not_stall_aborts() {
    let driver = watched();
    let mut cd = cd_sva(1, Driver::root(1));
    cd[0] &= !(1 << 44);
    driver.set_cd(1, cd);
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver
        .probe
        .translations
        .push(OnTranslation::Fault(FaultType::Permission));
    assert!(driver.access(0x5000, Access::READ).is_aborted());
    assert_eq!(
        driver.events(),
        [[0x105_0000_1813, 0x0208_0000_0000, 0x5000, 0]]
    );
}

#[test]
fn an_evicted_entry_is_walked_for_again() {
    let driver = watched();
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.access(0x5000, Access::READ).address();
    driver.map(0x5000, 0x8888_0000 | USER_RW);
    assert_eq!(
        driver.access(0x5000, Access::READ).address(),
        0x7777_0000,
        "cached"
    );
    driver.probe.translations.push(OnTranslation::Evict);
    assert_eq!(driver.access(0x5000, Access::READ).address(), 0x8888_0000);
    driver.map(0x5000, 0x9999_0000 | USER_RW);
    assert_eq!(driver.smmu.evict(Some(0x5fff)), 1);
    assert_eq!(driver.access(0x5000, Access::READ).address(), 0x9999_0000);
}

#[test]
fn a_transaction_waits_at_its_gate() {
    let driver = watched();
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    let gate = driver
        .probe
        .translations
        .push_behind_gate(OnTranslation::Go);
    let first = driver.access(0x5000, Access::READ);
    let second = driver.access(0x5000, Access::READ);
    assert!(first.is_waiting() && !second.is_waiting());
    gate.open();
    driver.run();
    assert_eq!(first.address(), 0x7777_0000);
}

#[test]
fn an_aborted_transaction_leaves_no_record() {
    let driver = watched();
    driver.probe.translations.push(OnTranslation::Abort);
    assert!(driver.access(0x5000, Access::READ).is_aborted());
    assert!(driver.events().is_empty());
}

#[test]
fn a_dropped_record_leaves_its_stall_waiting() {
    let driver = watched();
    driver.probe.records.push(OnRecord::Drop);
    let read = driver.access(0x5000, Access::READ);
    assert!(driver.events().is_empty() && read.is_waiting());
    assert_eq!(driver.smmu.counters().events_dropped, 1);
    driver.resume(0, 2);
    assert!(read.is_aborted());
}

#[test]
fn a_record_is_written_as_often_as_told() {
    let driver = watched();
    driver.probe.records.push(OnRecord::Repeat(2));
    let _read = driver.access(0x5000, Access::READ);
    assert_eq!(driver.events(), [record(0x10, 5, 0); 3]);
}

#[test]
fn records_are_overtaken_by_as_many_as_told() {
    let driver = watched();
    driver.probe.records.push(OnRecord::After(2));
    let _reads = [5, 6, 7].map(|page| driver.access(page << 12, Access::READ));
    assert_eq!(
        driver.events(),
        [record(0x10, 6, 1), record(0x10, 7, 2), record(0x10, 5, 0)]
    );
}

#[test]
fn a_record_at_a_gate_is_not_in_the_queue_yet() {
    let driver = watched();
    let gate = driver.probe.records.push_behind_gate(OnRecord::Go);
    let read = driver.access(0x5000, Access::READ);
    assert!(driver.events().is_empty());
    // Its tag is taken: software that guesses it can answer.
    assert_eq!(driver.smmu.outstanding_stalls()[0].stag, Some(0));
    gate.open();
    driver.run();
    assert_eq!(driver.events(), [record(0x10, 5, 0)]);
    assert!(read.is_waiting());
}

#[test]
fn an_overflow_is_one_that_software_can_see_and_loses_no_stall() {
    let driver = watched();
    driver.probe.records.push(OnRecord::Overflow);
    let read = driver.access(0x5000, Access::READ);
    // OVFLG is bit 31 of EVENTQ_PROD; the queue has four entries.
    assert_eq!(driver.read32(0x1_00a8), 1 << 31 | 4);
    for slot in 0..4 {
        assert_eq!(
            driver.memory.load(EVENT_QUEUE + 32 * slot + 8),
            0x0208_0000_0000
        );
    }
    assert_eq!(driver.event().unwrap()[1], 0x0208_0000_0000);
    let rest = driver.events();
    assert_eq!(rest.len(), 4, "three copies, and the record itself");
    assert_eq!(rest[3], record(0x10, 5, 0));
    assert!(read.is_waiting());
}

#[test]
fn a_late_record_of_a_stall_waits_for_room() {
    let driver = watched();
    let gate = driver.probe.records.push_behind_gate(OnRecord::Go);
    let _reads = [5, 6, 7, 8, 9].map(|page| driver.access(page << 12, Access::READ));
    gate.open();
    driver.run();
    let pages: Vec<u64> = driver.events().iter().map(|words| words[2] >> 12).collect();
    assert_eq!(pages, [6, 7, 8, 9, 5]);
    assert_eq!(driver.smmu.counters().events_dropped, 0);
}

#[test]
fn a_late_record_of_a_stall_that_was_terminated_does_not_come() {
    let driver = watched();
    driver.probe.records.push(OnRecord::After(1));
    let read = driver.access(0x5000, Access::READ);
    driver.command([0x45 | u64::from(SID) << 32, 0]);
    driver.run();
    assert!(read.is_aborted());
    let _other = driver.access(0x6000, Access::READ);
    assert_eq!(driver.events(), [record(0x10, 6, 1)]);
}

#[test]
fn another_record_is_written_in_its_place() {
    let driver = watched();
    driver.probe.records.push(OnRecord::Instead([1, 2, 3, 4]));
    let _read = driver.access(0x5000, Access::READ);
    driver.smmu.inject_event([5, 6, 7, 8]);
    assert_eq!(driver.events(), [[1, 2, 3, 4], [5, 6, 7, 8]]);
}

#[test]
fn a_lost_resume_leaves_its_stall_waiting() {
    let driver = watched();
    let read = driver.access(0x5000, Access::READ);
    driver.probe.commands.push(OnCommand::Skip);
    driver.resume(0, RETRY);
    assert!(read.is_waiting());
    assert_eq!(driver.smmu.outstanding_stalls().len(), 1);
    assert_eq!(driver.read32(0x98), driver.read32(0x9c), "it was consumed");
}

#[test]
fn a_resume_reaches_the_tag_that_it_was_given() {
    let driver = watched();
    let reads = [5, 6].map(|page| driver.access(page << 12, Access::READ));
    // CMD_RESUME, Ab, for tag 1 instead of 0.
    driver
        .probe
        .commands
        .push(OnCommand::Instead([0x2044 | u64::from(SID) << 32, 1]));
    driver.resume(0, 2);
    assert!(reads[0].is_waiting() && reads[1].is_aborted());
}

#[test]
fn a_skipped_invalidation_leaves_a_stale_translation() {
    let driver = watched();
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.access(0x5000, Access::READ).address();
    driver.map(0x5000, 0);
    driver.probe.commands.push(OnCommand::Skip);
    driver.command([0x30, 0]);
    driver.sync();
    assert_eq!(driver.access(0x5000, Access::READ).address(), 0x7777_0000);
}

#[test]
fn a_slow_command_holds_up_those_behind_it() {
    let driver = watched();
    let gate = driver.probe.commands.push_behind_gate(OnCommand::Go);
    driver.command([0x46, 0]);
    driver.command([0x46, 0]);
    driver.run();
    let done = || driver.read32(0x9c) & 0xf;
    let before = done();
    gate.open();
    driver.run();
    assert_eq!(done(), before + 2);
}

#[test]
fn a_command_that_waits_is_called_off_when_the_queue_is_disabled() {
    let driver = watched();
    let gate = driver.probe.commands.push_behind_gate(OnCommand::Go);
    driver.command([0x46, 0]);
    driver.run();
    let cons = driver.read32(0x9c);
    driver.write32(0x20, 0x5);
    gate.open();
    driver.run();
    assert_eq!(driver.read32(0x9c), cons);
    // The queue goes on where it stood.
    driver.write32(0x20, 0xd);
    assert_eq!(driver.read32(0x9c), driver.read32(0x98));
}

#[test]
fn a_command_error_is_one_that_software_can_recover_from() {
    let driver = watched();
    driver.probe.commands.push(OnCommand::Error(1));
    driver.command([0x46, 0]);
    // CMDQ_CONS.ERR, and GERROR.CMDQ_ERR.
    assert_eq!(driver.read32(0x9c) >> 24, 1);
    assert_eq!(driver.read32(0x60) & 1, 1);
    driver.write32(0x64, 1);
    assert_eq!(driver.read32(0x9c) & 0xf_ffff, driver.read32(0x98));
}

#[test]
fn a_dropped_interrupt_does_not_come_and_a_held_one_comes_late() {
    let driver = watched();
    driver.interrupts.take();
    driver.probe.lines.push(OnInterrupt::Drop);
    let _first = driver.access(0x5000, Access::READ);
    assert!(driver.interrupts.take().is_empty());
    driver.events();
    let gate = driver.probe.lines.push_behind_gate(OnInterrupt::Go);
    let _second = driver.access(0x6000, Access::READ);
    assert!(driver.interrupts.take().is_empty());
    gate.open();
    driver.run();
    assert_eq!(driver.interrupts.take(), [Line::EventQueue]);
}

#[test]
fn tags_are_the_lowest_that_are_free_or_come_round_in_turn() {
    for (stall_tags, third) in [(StallTags::InTurn, 2), (StallTags::LowestFree, 0)] {
        let driver = Driver::new(Config {
            stall_tags,
            ..Config::default()
        });
        driver.start();
        driver.set_ste(SID, ste_stage1(CONTEXT_TABLE, 3));
        driver.set_cd(1, cd_sva(1, Driver::root(1)));
        let _reads = [5, 6].map(|page| driver.access(page << 12, Access::READ));
        driver.resume(0, 2);
        let _third = driver.access(0x7000, Access::READ);
        let tags: Vec<_> = driver
            .events()
            .iter()
            .map(|words| words[1] as u16)
            .collect();
        assert_eq!(tags, [0, 1, third], "{stall_tags:?}");
    }
}

#[test]
fn a_command_that_nobody_queued_is_executed() {
    let driver = Driver::with_process();
    let read = driver.access(0x5000, Access::READ);
    let cons = driver.read32(0x9c);
    assert!(
        driver
            .smmu
            .inject_command([0x2044 | u64::from(SID) << 32, 0])
    );
    driver.run();
    assert!(read.is_aborted());
    assert_eq!(driver.read32(0x9c), cons);
    assert!(!driver.smmu.inject_command([0xff, 0]));
}

#[test]
fn the_descriptors_of_a_walk_are_told() {
    let driver = Driver::with_process();
    driver.smmu.watch(Points::DESCRIPTOR);
    let leaf = driver.map(0x5000, 0x7777_0000 | USER_RW);
    driver.access(0x5000, Access::READ).address();
    let read = driver.probe.take_descriptors();
    assert_eq!(read.len(), 4);
    assert_eq!(read[0].at, Driver::root(1));
    assert_eq!((read[3].at, read[3].raw), (leaf, 0x7777_0000 | USER_RW));
    assert!(read.iter().all(|it| it.stage == 1), "{read:x?}");
    let levels: Vec<_> = read.iter().map(|it| (it.level, it.is_leaf())).collect();
    assert_eq!(levels, [(0, false), (1, false), (2, false), (3, true)]);
}

#[test]
fn the_descriptors_of_a_nested_walk_are_told_with_their_stage() {
    let driver = Driver::virtual_machine();
    driver.smmu.watch(Points::DESCRIPTOR);
    driver.map(0x5000, 0x7777_0000 | USER_RW);
    let leaf = driver.map_stage2(0x7777_0000, 0x8888_0000 | STAGE2_RW);
    assert_eq!(driver.access(0x5000, Access::READ).address(), 0x8888_0000);
    let read = driver.probe.take_descriptors();
    // The context descriptor's address in a block of 1 GiB; the tables, in two others; the page.
    let stages: Vec<_> = read.iter().map(|it| (it.stage, it.level)).collect();
    let begins = [(2, 0), (2, 1), (2, 0), (2, 1), (1, 0)];
    assert_eq!(stages[..5], begins, "{stages:?}");
    let ends = [(1, 3), (2, 0), (2, 1), (2, 2), (2, 3)];
    assert_eq!(stages[stages.len() - 5..], ends, "{stages:?}");
    assert!(read[1].is_leaf() && !read[0].is_leaf());
    assert_eq!(read.last().unwrap().at, leaf);
}

#[test]
fn what_a_verdict_did_is_noted_as_it_happened() {
    let driver = watched();
    driver.probe.take();
    driver.probe.commands.push(OnCommand::Skip);
    driver.command([0x30, 0]);
    driver.run();
    let notes = driver.probe.take();
    assert!(
        !notes
            .iter()
            .any(|note| matches!(note, Note::Command { .. })),
        "nothing was executed: {notes:?}"
    );
}

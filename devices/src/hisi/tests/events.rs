//! EQ, AEQ and their interrupts (Linux 6.12, qm.c: `qm_get_complete_eqe_num`, `qm_work_process`).

use stallbox_timeline::Span;

use super::guest::{AEQ, COMPRESS, EQ, MSI_DATA, SOURCE, ZLIB, sq_address};
use super::{Guest, Job, Queue};
use crate::hisi::{InjectedEvents, Revision, ZipConfig};

const ENTRY_PHASE: u32 = 1 << 16;

fn entry(guest: &Guest) -> [u32; 32] {
    Job::new(ZLIB, 100, 500).entry(guest.revision, 0)
}

fn complete(guest: &Guest, queue: &mut Queue) {
    guest.run(queue, &entry(guest));
}

#[test]
fn the_first_completion_of_a_new_queue_makes_an_event() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(33, COMPRESS);
    complete(&guest, &mut queue);
    assert_eq!(guest.msis(), [MSI_DATA]);
    assert_eq!(guest.word(EQ), 33 | ENTRY_PHASE);
    // c_flag is clear now: no further event until it is armed again.
    complete(&guest, &mut queue);
    assert!(guest.msis().is_empty());
    assert_eq!(guest.word(EQ + 4), 0);
}

#[test]
fn an_event_is_in_memory_before_its_interrupt() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    guest.memory.stall(EQ..EQ + 4);
    complete(&guest, &mut queue);
    assert!(guest.msis().is_empty());
    guest.memory.release();
    assert_eq!(guest.msis(), [MSI_DATA]);
}

#[test]
fn an_armed_queue_has_one_event_outstanding_at_most() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(5, COMPRESS);
    complete(&guest, &mut queue);
    assert_eq!(guest.msis(), [MSI_DATA]);
    // Armed again before the driver took the event.
    for _ in 0..3 {
        guest.doorbell(5, 1, queue.head, 1);
        complete(&guest, &mut queue);
    }
    guest.send(&mut queue, &entry(&guest));
    assert!(guest.msis().is_empty());
    assert_eq!(guest.word(EQ + 4), 0, "no second event");
    // Taken: the one that was held back comes, since there is a completion beyond the head.
    guest.event_doorbell(2, 1);
    assert_eq!(guest.msis(), [MSI_DATA]);
    assert_eq!(guest.word(EQ + 4), 5 | ENTRY_PHASE);
    assert_eq!(guest.word(EQ + 8), 0);
}

/// As a device would have it that does not look what is in its ring already.
#[test]
fn without_coalescing_each_completion_of_an_armed_queue_makes_an_event() {
    let guest = Guest::with(ZipConfig {
        coalesce: false,
        ..ZipConfig::new(Revision::V3)
    });
    let mut queue = guest.start_queue(5, COMPRESS);
    complete(&guest, &mut queue);
    assert_eq!(guest.msis(), [MSI_DATA]);
    for _ in 0..3 {
        guest.doorbell(5, 1, queue.head, 1);
        complete(&guest, &mut queue);
    }
    assert!(guest.msis().is_empty(), "one interrupt until the doorbell");
    for slot in 0..4 {
        assert_eq!(guest.word(EQ + 4 * slot), 5 | ENTRY_PHASE);
    }
    guest.event_doorbell(2, 3);
    assert_eq!(guest.msis(), [MSI_DATA], "the fourth is still there");
    guest.event_doorbell(2, 4);
    assert!(guest.msis().is_empty());
}

#[test]
fn arming_with_completions_beyond_the_head_fires_at_once() {
    let guest = Guest::new(Revision::V2);
    let mut queue = guest.start_queue(5, COMPRESS);
    complete(&guest, &mut queue);
    guest.event_doorbell(2, 1);
    guest.msis();
    guest.send(&mut queue, &entry(&guest));
    assert!(guest.msis().is_empty(), "not armed");
    guest.doorbell(5, 1, queue.head, 1);
    assert_eq!(guest.msis(), [MSI_DATA]);
    // Without anything new an arming doorbell only arms.
    guest.receive(&mut queue);
    guest.event_doorbell(2, 2);
    guest.doorbell(5, 1, queue.head, 1);
    assert!(guest.msis().is_empty());
    complete(&guest, &mut queue);
    assert_eq!(guest.msis(), [MSI_DATA]);
}

#[test]
fn the_interrupt_waits_for_the_doorbell_of_its_ring() {
    let guest = Guest::new(Revision::V3);
    let mut queues: Vec<Queue> = (0..3).map(|n| guest.start_queue(n, COMPRESS)).collect();
    for queue in &mut queues {
        complete(&guest, queue);
    }
    assert_eq!(guest.msis(), [MSI_DATA], "one for all three events");
    assert_eq!([0, 4, 8].map(|at| guest.word(EQ + at) & 0xffff), [0, 1, 2]);
    // The handler took one of them: there is more, so the next interrupt comes at once.
    guest.event_doorbell(2, 1);
    assert_eq!(guest.msis(), [MSI_DATA]);
    guest.event_doorbell(2, 3);
    assert!(guest.msis().is_empty());
}

#[test]
fn masked_events_are_written_and_told_when_unmasked() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    guest.write32(0xc, 1);
    assert_eq!(guest.read32(0xc), 1);
    complete(&guest, &mut queue);
    assert!(guest.msis().is_empty());
    assert_eq!(guest.word(EQ), ENTRY_PHASE);
    guest.write32(0xc, 0);
    assert_eq!(guest.msis(), [MSI_DATA]);
}

#[test]
fn the_phase_flips_when_the_event_ring_wraps() {
    let guest = Guest::new(Revision::V3);
    assert_eq!(guest.start_event_ring(2, EQ, 4), 0);
    let mut queue = guest.start_queue(9, COMPRESS);
    for round in 0..10u64 {
        complete(&guest, &mut queue);
        assert_eq!(guest.msis(), [MSI_DATA]);
        let phase = if round / 4 % 2 == 0 { ENTRY_PHASE } else { 0 };
        assert_eq!(guest.word(EQ + round % 4 * 4), 9 | phase, "round {round}");
        guest.event_doorbell(2, ((round + 1) % 4) as u32);
        guest.doorbell(9, 1, queue.head, 1);
    }
    let context = guest.dump(2, 0);
    assert_eq!((context[0] & 0xffff, context[0] >> 16), (2, 2));
}

#[test]
fn a_full_event_ring_holds_events_back() {
    let guest = Guest::new(Revision::V3);
    assert_eq!(guest.start_event_ring(2, EQ, 4), 0);
    let mut queues: Vec<Queue> = (0..6).map(|n| guest.start_queue(n, COMPRESS)).collect();
    for queue in &mut queues {
        guest.send(queue, &entry(&guest));
    }
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.dump(2, 0)[0] >> 16, 3);
    let mut seen: Vec<u32> = (0..3).map(|at| guest.word(EQ + at * 4) & 0xffff).collect();
    guest.event_doorbell(2, 3);
    guest.advance(Span::from_us(50));
    seen.extend([3, 0, 1].map(|at| guest.word(EQ + at * 4) & 0xffff));
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    guest.settle();
}

/// Linux 6.12, `qm_aeq_thread`: QM_EQ_OVERFLOW is type 1, and the driver resets the function.
#[test]
fn more_injected_events_than_there_is_room_for_overflow_the_ring() {
    let guest = Guest::new(Revision::V3);
    assert_eq!(guest.start_event_ring(2, EQ, 4), 0);
    assert_eq!(guest.start_event_ring(3, AEQ, 4), 0);
    let inject = |failure, count| guest.zip.inject_events(failure, 9, 0, count);
    assert_eq!(inject(false, 2), InjectedEvents::Taken);
    assert_eq!(inject(false, 65536), InjectedEvents::Overflow { taken: 1 });
    assert_eq!(guest.msis(), [MSI_DATA, MSI_DATA + 1]);
    let ring = |at: u64| [0, 4, 8, 12].map(|slot| guest.word(at + slot));
    assert_eq!(
        ring(EQ),
        [9 | ENTRY_PHASE, 9 | ENTRY_PHASE, 9 | ENTRY_PHASE, 0]
    );
    assert_eq!(ring(AEQ), [ENTRY_PHASE | 1 << 17, 0, 0, 0]);
    // That of the failures has nobody to tell.
    assert_eq!(inject(true, 65536), InjectedEvents::Overflow { taken: 2 });
    guest.msis();
    assert_eq!(ring(AEQ)[1..], [9 | ENTRY_PHASE, 9 | ENTRY_PHASE, 0]);
    // Once the driver has taken them there is room again.
    guest.event_doorbell(2, 3);
    assert_eq!(inject(false, 3), InjectedEvents::Taken);
}

#[test]
fn an_interrupt_names_the_queue_of_the_first_event_that_was_not_taken() {
    let guest = Guest::new(Revision::V3);
    let mut queues: Vec<Queue> = [4, 7].map(|n| guest.start_queue(n, COMPRESS)).into();
    guest.recorder.interrupts.take();
    for queue in &mut queues {
        complete(&guest, queue);
    }
    assert_eq!(guest.recorder.interrupts.take(), [(0, Some(4))]);
    guest.event_doorbell(2, 1);
    assert_eq!(guest.recorder.interrupts.take(), [(0, Some(7))]);
    guest.event_doorbell(2, 2);
    let injected = guest.zip.inject_events(true, 5, 3, 1);
    assert_eq!(injected, InjectedEvents::Taken);
    guest.settle();
    assert_eq!(guest.recorder.interrupts.take(), [(1, Some(5))]);
    guest.write32(0x10_0004, 0);
    guest.zip.set_errors(1 << 5, 0);
    assert_eq!(guest.recorder.interrupts.take(), [(3, None)]);
}

#[test]
fn a_completion_ring_without_room_stops_its_queue() {
    let guest = Guest::new(Revision::V3);
    let sq = sq_address(3);
    let mut queue = guest.start_queue_at(3, COMPRESS, 4, sq, sq + 0x1000);
    // Five jobs, no completion taken.
    for _ in 0..2 {
        guest.send(&mut queue, &entry(&guest));
        guest.send(&mut queue, &entry(&guest));
        guest.advance(Span::from_us(100));
    }
    guest.msis();
    assert_eq!(guest.word(AEQ), 0);
    guest.send(&mut queue, &entry(&guest));
    // QM_CQ_OVERFLOW, vector 1.
    assert_eq!(guest.msis(), [MSI_DATA + 1]);
    assert_eq!(guest.word(AEQ), 3 | ENTRY_PHASE);
    guest.event_doorbell(3, 1);
    guest.send(&mut queue, &entry(&guest));
    guest.advance(Span::from_us(100));
    assert!(guest.msis().is_empty(), "stopped until it is started anew");
    let mut queue = guest.start_queue_at(3, COMPRESS, 4, sq, sq + 0x1000);
    complete(&guest, &mut queue);
    guest.settle();
}

#[test]
fn an_event_ring_out_of_reach_does_not_hold_up_the_queues() {
    let guest = Guest::new(Revision::V3);
    guest.memory.aborts.borrow_mut().push(EQ..EQ + 0x1000);
    let mut queue = guest.start_queue(0, COMPRESS);
    complete(&guest, &mut queue);
    complete(&guest, &mut queue);
    assert!(guest.msis().is_empty());
    guest.memory.stall(SOURCE..SOURCE);
    guest.settle();
}

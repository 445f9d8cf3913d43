//! Rings, doorbells, pacing, interrupts, failure and reset.

use stallbox_timeline::Span;

use super::guest::*;
use crate::function::DeviceNote;

const INTERRUPT: u8 = 1;
const FENCE: u8 = 2;

#[test]
fn a_completion_has_every_field_in_its_place() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    let fill = Descriptor {
        opcode: 3,
        tag: 0x1122_3344_5566_7788,
        destination: DESTINATION,
        length: 64,
        ..Descriptor::default()
    };
    guest.run(&mut queue, &[nop(1), fill]);
    let latency = 100u8;
    let expected = [
        // tag
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, //
        // result, detail
        64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        // nanoseconds; status, opcode, slot 1 with the phase of the first pass
        latency, 0, 0, 0, 0x00, 0x03, 0x01, 0x80,
    ];
    assert_eq!(guest.bytes(queue.cq + 32, 32), expected);
}

#[test]
fn rings_are_used_round_and_round() {
    let guest = Guest::new();
    let setup = Setup {
        log2: 2,
        depth: 1,
        ..Setup::default()
    };
    let mut queue = guest.start(0, setup);
    let mut tags = Vec::new();
    for round in 0..5u64 {
        let nops: Vec<_> = (0..3).map(|n| nop(round * 3 + n)).collect();
        tags.extend(guest.run(&mut queue, &nops).iter().map(|done| done.tag));
    }
    assert_eq!(tags, (0..15).collect::<Vec<_>>());
}

#[test]
fn a_full_completion_ring_holds_the_submissions_back() {
    let guest = Guest::new();
    let mut queue = guest.start(
        0,
        Setup {
            log2: 1,
            ..Setup::default()
        },
    );
    guest.submit(&mut queue, &[nop(1), nop(2)]);
    guest.advance(Span::from_ms(1));
    guest.submit(&mut queue, &[nop(3)]);
    guest.advance(Span::from_ms(1));
    // SQ_HEAD: the third was not fetched.
    assert_eq!(guest.read(0, block(0) + 0x2c), 2);
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(1));
    guest.release(&queue);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(2));
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(3));
}

#[test]
fn every_access_of_a_queue_carries_its_pasid() {
    let guest = Guest::new();
    let mut queue = guest.start(2, Setup::default());
    guest.run(&mut queue, &[copy(SOURCE, DESTINATION, 10_000)]);
    let log = guest.memory.log.borrow();
    assert!(log.len() > 5);
    assert!(log.iter().all(|it| it.pasid == Some(PASID)), "{log:?}");
}

#[test]
fn a_queue_without_a_pasid_uses_the_requester_id() {
    let guest = Guest::new();
    let setup = Setup {
        pasid: 0,
        ..Setup::default()
    };
    let mut queue = guest.start(0, setup);
    guest.run(&mut queue, &[nop(0)]);
    assert!(
        guest
            .memory
            .log
            .borrow()
            .iter()
            .all(|it| it.pasid.is_none())
    );
}

#[test]
fn depth_is_how_many_run_at_once() {
    for depth in [1, 3, 8] {
        let guest = Guest::new();
        let setup = Setup {
            depth,
            ..Setup::default()
        };
        let mut queue = guest.start(0, setup);
        guest.memory.stall(SOURCE..SOURCE + 0x1_0000);
        let copies: Vec<_> = (0..10)
            .map(|n| copy(SOURCE + n * 4096, DESTINATION, 8))
            .collect();
        guest.submit(&mut queue, &copies);
        guest.advance(Span::from_ms(1));
        assert_eq!(guest.memory.stalled.get(), depth);
        guest.memory.release();
        guest.advance(Span::from_ms(1));
        let done = std::iter::from_fn(|| guest.poll(&mut queue)).count();
        assert_eq!(done, 10);
    }
}

#[test]
fn a_stalled_descriptor_lets_others_pass() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    let mut other = guest.start(1, Setup::default());
    guest.memory.stall(SOURCE..SOURCE + 4096);
    let slow = Descriptor {
        tag: 1,
        ..copy(SOURCE, DESTINATION, 8)
    };
    guest.submit(&mut queue, &[slow, nop(2)]);
    guest.submit(&mut other, &[nop(3)]);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(2));
    assert_eq!(guest.poll(&mut other).map(|done| done.tag), Some(3));
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    let late = guest.poll(&mut queue).expect("the slow one");
    assert_eq!(late.tag, 1);
    assert!(late.latency_ns >= 990_000, "{late:?}");
}

#[test]
fn a_fence_waits_for_all_before_it() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    guest.memory.stall(SOURCE..SOURCE + 4096);
    let fenced = Descriptor {
        flags: FENCE,
        ..nop(2)
    };
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8), fenced]);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue), None);
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(0));
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(2));
}

#[test]
fn the_interval_is_kept_between_starts() {
    let guest = Guest::new();
    let setup = Setup {
        interval_ns: 10_000,
        ..Setup::default()
    };
    let mut queue = guest.start(0, setup);
    guest.run(&mut queue, &[nop(1), nop(2), nop(3)]);
    let log = guest.memory.log.borrow();
    let fetches: Vec<u64> = log
        .iter()
        .filter(|it| it.length == 64)
        .map(|it| it.at_ns)
        .collect();
    assert_eq!(fetches, [100, 10_100, 20_100]);
}

#[test]
fn the_rate_limits_data_of_all_descriptors_together() {
    let guest = Guest::new();
    let setup = Setup {
        rate: 100,
        depth: 4,
        ..Setup::default()
    };
    let mut queue = guest.start(0, setup);
    // 4 x 2 x 25,000 bytes at 100 bytes a microsecond: 2 ms, less the last access.
    let copies = [copy(SOURCE, DESTINATION, 25_000); 4];
    let started = guest.timeline.now();
    let dones = guest.run(&mut queue, &copies);
    let longest = dones.iter().map(|done| done.latency_ns).max();
    assert!(
        (1_950_000..2_010_000).contains(&longest.unwrap()),
        "{longest:?} from {started}"
    );
}

#[test]
fn an_interrupt_comes_for_those_that_ask() {
    let guest = Guest::new();
    let mut queue = guest.start(3, Setup::default());
    guest.run(&mut queue, &[nop(1)]);
    assert!(guest.memory.msis.borrow().is_empty());
    let asking = Descriptor {
        flags: INTERRUPT,
        ..nop(2)
    };
    guest.run(&mut queue, &[asking]);
    assert_eq!(*guest.memory.msis.borrow(), [4]);
}

#[test]
fn a_disabled_queue_is_busy_until_its_accesses_are_back() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    guest.memory.stall(SOURCE..SOURCE + 4096);
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.status(0), 0b11);
    guest.write(0, block(0), 0);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.status(0), 0b10);
    assert_eq!(guest.read(0, 0x14), 0);
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.status(0), 0);
    assert_eq!(guest.read(0, 0x14), 1);
    assert_eq!(guest.poll(&mut queue), None);
    let notes = guest.recorder.0.borrow();
    assert!(
        notes.contains(&DeviceNote::JobDropped { queue: 0 }),
        "{notes:?}"
    );
}

#[test]
fn a_queue_enabled_again_is_not_disturbed_by_what_it_did_before() {
    let guest = Guest::new();
    let mut old = guest.start(0, Setup::default());
    guest.memory.stall(SOURCE..SOURCE + 4096);
    guest.submit(&mut old, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    guest.write(0, block(0), 0);
    let mut queue = guest.start(0, Setup::default());
    assert_eq!(guest.run(&mut queue, &[nop(7)])[0].tag, 7);
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue), None);
    assert_eq!(guest.status(0), 1);
}

#[test]
fn a_submission_ring_that_cannot_be_read_fails_the_queue() {
    let guest = Guest::new();
    let mut queue = guest.start(1, Setup::default());
    guest
        .memory
        .aborts
        .borrow_mut()
        .push(queue.sq..queue.sq + 64);
    guest.submit(&mut queue, &[nop(1)]);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.status(1), 0x204);
    assert_eq!(guest.read(2, window(1) + 8), 0x204);
    assert_eq!(*guest.memory.msis.borrow(), [0]);
    // Off and on again, it works.
    guest.memory.aborts.borrow_mut().clear();
    guest.write(0, block(1), 0);
    assert_eq!(guest.status(1), 0);
    let mut queue = guest.start(1, Setup::default());
    assert_eq!(guest.run(&mut queue, &[nop(2)])[0].tag, 2);
}

#[test]
fn a_completion_ring_that_cannot_be_written_fails_the_queue() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    guest
        .memory
        .aborts
        .borrow_mut()
        .push(queue.cq..queue.cq + 32);
    guest.submit(&mut queue, &[nop(1), copy(SOURCE, DESTINATION, 1 << 20)]);
    guest.advance(Span::from_ms(10));
    assert_eq!(guest.status(0), 0x304);
    // What else was under way was called off.
    let notes = guest.recorder.0.borrow();
    assert!(
        notes.contains(&DeviceNote::JobDropped { queue: 0 }),
        "{notes:?}"
    );
}

#[test]
fn rings_may_wait_for_their_pages() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    guest.memory.stall(queue.sq..queue.cq + 4096);
    guest.submit(&mut queue, &[nop(1)]);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.memory.stalled.get(), 1);
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(1));
}

#[test]
fn counters_and_histogram_count_every_access() {
    let guest = Guest::new();
    guest.memory.latency.set(Span::from_ns(300));
    let mut queue = guest.start(0, Setup::default());
    let bad = Descriptor {
        opcode: 0x77,
        ..nop(0)
    };
    guest.run(&mut queue, &[copy(SOURCE, DESTINATION, 8192), bad]);
    guest.write(2, window(0), 1000);
    let counter = |index: u64| guest.read64(2, window(0) + 0x40 + 8 * index);
    // Descriptors, errors, bytes read and written.
    assert_eq!([0, 1, 2, 3].map(counter), [2, 1, 8192, 8192]);
    // Two fetches, two reads, two writes, two completions; aborts; bad doorbells.
    assert_eq!([4, 5, 7].map(counter), [8, 0, 1]);
    // Access latencies: sum, least, most; then those of descriptors.
    assert_eq!([8, 9, 10].map(counter), [2400, 300, 300]);
    assert_eq!([11, 12, 13].map(counter), [1200, 0, 1200]);
    // 300 ns is in the bucket of 256 to 511.
    let buckets: Vec<u64> = (0..32)
        .map(|i| guest.read64(2, window(0) + 0x100 + 8 * i))
        .collect();
    assert_eq!(buckets[8], 8);
    assert_eq!(buckets.iter().sum::<u64>(), 8);
}

#[test]
fn without_bus_master_or_pasid_enable_nothing_leaves_the_function() {
    for (offset, value) in [(0x04, 0x0002), (0x106, 0)] {
        let guest = Guest::new();
        guest.config16(offset, value);
        let mut queue = guest.start(0, Setup::default());
        guest.submit(&mut queue, &[nop(1)]);
        guest.advance(Span::from_ms(1));
        assert!(
            guest
                .memory
                .log
                .borrow()
                .iter()
                .all(|it| it.pasid.is_none() && it.length == 4)
        );
        assert_eq!(guest.status(0), 0x204);
    }
}

#[test]
fn a_function_level_reset_ends_everything() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    guest.memory.stall(SOURCE..SOURCE + 4096);
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    guest.config16(guest.capability(0x10) + 8, 0x8000);
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue), None);
    assert_eq!(guest.status(0), 0);
    // Settings too.
    assert_eq!(guest.read(0, block(0) + 0x0c), 0);
    assert!(guest.function.is_idle());
    assert_eq!(guest.config32(0x04) & 6, 0);
}

#[test]
fn control_reset_ends_everything_but_configuration_space() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    guest.submit(&mut queue, &[nop(1)]);
    guest.write(0, 0x10, 1);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue), None);
    assert_eq!(guest.config32(0x04) & 6, 6);
    let mut queue = guest.start(0, Setup::default());
    assert_eq!(guest.run(&mut queue, &[nop(2)])[0].tag, 2);
}

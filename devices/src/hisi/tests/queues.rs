//! Doorbells, order, PASIDs, draining, stopping, many queues.

use stallbox_timeline::{Gate, Span};

use super::guest::{
    COMPRESS, CONTEXT, DECOMPRESS, DESTINATION, LISTS, MSI_ADDRESS, PASID, SOURCE, ZLIB,
    sq_address, text,
};
use super::{Guest, Job};
use crate::function::{Accelerator as _, DeviceNote, DeviceStep};
use crate::hisi::{Revision, ZipConfig};
use crate::pcie::PciFunction;
use crate::state::{QueueState, RingState};
use crate::verdict::StepVerdict;

#[test]
fn entries_complete_in_order_across_a_wrap_of_the_rings() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let sq = sq_address(7);
        let mut queue = guest.start_queue_at(7, COMPRESS, 8, sq, sq + 0x1000);
        guest.write(SOURCE, &text(500, 1));
        let mut expected = 0;
        for tag in 0..40 {
            guest.send(&mut queue, &Job::new(ZLIB, 500, 1000).entry(revision, tag));
            // Seven outstanding at most, as the driver keeps it.
            if tag % 7 == 6 {
                guest.advance(Span::from_us(100));
                while let Some(done) = guest.receive(&mut queue) {
                    let tag = if revision == Revision::V2 {
                        done[13]
                    } else {
                        done[26]
                    };
                    assert_eq!((tag, done[3] & 0xff), (expected, 0));
                    expected += 1;
                }
                assert!(guest.is_drained(7));
            }
        }
        assert_eq!(expected, 35);
        guest.settle();
    }
}

#[test]
fn rings_carry_no_pasid_and_data_carries_the_queue_s() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(4, COMPRESS);
        guest.write(SOURCE, &text(5000, 2));
        super::block::write_lists(&guest, LISTS, &[(SOURCE, 5000)], 1);
        super::block::write_lists(&guest, LISTS + 0x100, &[(DESTINATION, 9000)], 1);
        guest.memory.log.take();
        let list = Job {
            list: true,
            source: LISTS,
            destination: LISTS + 0x100,
            ..Job::new(ZLIB, 5000, 9000)
        };
        guest.run(&mut queue, &list.entry(revision, 0));
        let stream = Job {
            context: CONTEXT,
            ..Job::new(ZLIB, 5000, 9000)
        };
        guest.run(&mut queue, &stream.entry(revision, 0));
        guest.settle();
        let log = guest.memory.log.take();
        let user = |address| address >= SOURCE && address != MSI_ADDRESS;
        assert!(log.iter().any(|access| access.address == LISTS));
        assert!(
            log.iter()
                .any(|access| access.address == CONTEXT && access.write)
        );
        for access in log {
            let expected = user(access.address).then_some(u32::from(PASID));
            assert_eq!(access.pasid, expected, "{access:?}");
        }
    }
}

#[test]
fn without_the_enable_bit_data_carries_no_pasid() {
    // V2: SSV of each kind of access by itself.
    let guest = Guest::new(Revision::V2);
    guest.write32(0x30_1134, 0x4000_1070);
    let mut queue = guest.start_queue(4, COMPRESS);
    guest.run(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V2, 0));
    let log = guest.memory.log.take();
    let pasid = |address| {
        log.iter()
            .find(|access| access.address == address)
            .map(|a| a.pasid)
    };
    assert_eq!(pasid(SOURCE), Some(Some(u32::from(PASID))));
    assert_eq!(pasid(DESTINATION), Some(None));

    // V3: a kernel queue, SQC.w11 bit 7 clear.
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(4, COMPRESS);
    let mut context = guest.dump(0, 4);
    context[5] &= 0xffff;
    guest.write_words(super::guest::XQC, &context);
    assert_eq!(guest.mailbox(0, 4, super::guest::XQC, false), 0);
    guest.memory.log.take();
    guest.run(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0));
    assert!(
        guest
            .memory
            .log
            .borrow()
            .iter()
            .all(|access| access.pasid.is_none())
    );
}

/// With PASID Enable off nothing may leave with a prefix, and nothing may leave without it either.
#[test]
fn pasid_disabled_in_configuration_space_aborts_user_data() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(4, COMPRESS);
    guest.zip.config_write(0x106, &0u16.to_le_bytes());
    guest.memory.log.take();
    let done = guest.run(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0));
    assert!(![0x00, 0x0d, 0x13].contains(&(done[3] & 0xff)));
    assert!(
        guest
            .memory
            .log
            .borrow()
            .iter()
            .all(|access| access.address != SOURCE)
    );
}

#[test]
fn the_completion_is_visible_only_after_the_entry() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    guest.memory.log.take();
    guest.run(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0));
    let log = guest.memory.log.take();
    let writes: Vec<u64> = log.iter().filter(|a| a.write).map(|a| a.address).collect();
    let at = |address| {
        writes
            .iter()
            .position(|&write| write == address)
            .expect("written")
    };
    assert!(at(DESTINATION) < at(queue.sq) && at(queue.sq) < at(queue.cq));
    assert!(
        log.iter().any(|a| a.address == queue.cq && a.length == 16),
        "in one go"
    );
}

/// `qm_wait_qp_empty` sees the queue busy for as long as a transaction stalls.
#[test]
fn dumps_show_a_queue_that_is_not_drained() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let sq = sq_address(2);
        let mut queue = guest.start_queue_at(2, COMPRESS, 4, sq, sq + 0x1000);
        assert!(guest.is_drained(2));
        let entry = Job::new(ZLIB, 100, 500).entry(revision, 0);
        // Three times round, so that the wrap bits take part.
        for _ in 0..4 {
            guest.memory.stall(SOURCE..SOURCE + 1);
            for _ in 0..3 {
                guest.send(&mut queue, &entry);
            }
            guest.advance(Span::from_us(500));
            assert_eq!(
                guest.dump(0, 2)[0] >> 16,
                queue.tail,
                "SQC.tail is the last doorbell"
            );
            assert_eq!(
                guest.dump(1, 2)[0] >> 16,
                queue.head,
                "CQC.tail counts completions"
            );
            assert!(!guest.is_drained(2));
            assert!(!guest.zip.is_idle());
            guest.memory.release();
            guest.advance(Span::from_us(500));
            assert!(guest.is_drained(2));
            while guest.receive(&mut queue).is_some() {}
        }
        guest.settle();
        assert!(guest.zip.is_idle());
    }
}

#[test]
fn the_wrap_bits_toggle_with_each_wrap() {
    let guest = Guest::new(Revision::V2);
    let sq = sq_address(2);
    let mut queue = guest.start_queue_at(2, COMPRESS, 4, sq, sq + 0x1000);
    for count in 1..=12 {
        guest.run(&mut queue, &Job::new(ZLIB, 10, 500).entry(Revision::V2, 0));
        let wrap = count / 4 % 2;
        for command in [0, 1] {
            let context = guest.dump(command, 2);
            assert_eq!((context[0] >> 16, context[5] >> 22 & 1), (count % 4, wrap));
        }
    }
}

#[test]
fn other_queues_go_on_while_one_stalls() {
    let guest = Guest::new(Revision::V3);
    let mut stalled = guest.start_queue(0, COMPRESS);
    let mut other = guest.start_queue(1, COMPRESS);
    guest.memory.stall(SOURCE..SOURCE + 0x1000);
    guest.send(
        &mut stalled,
        &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0),
    );
    let elsewhere = SOURCE + 0x10_0000;
    let job = Job {
        source: elsewhere,
        ..Job::new(ZLIB, 100, 500)
    };
    let done = guest.run(&mut other, &job.entry(Revision::V3, 0));
    assert_eq!(done[3] & 0xff, 0);
    assert!(!guest.has_completion(&stalled));
    guest.memory.release();
    guest.advance(Span::from_us(100));
    assert_eq!(
        guest.receive(&mut stalled).map(|done| done[3] & 0xff),
        Some(0)
    );
    guest.settle();
}

/// A job keeps its core while it waits for a fault: with both cores stalled the third waits.
#[test]
fn cores_limit_how_many_jobs_run_at_once() {
    let guest = Guest::new(Revision::V3);
    let mut queues: Vec<_> = (0..4)
        .map(|number| guest.start_queue(number, COMPRESS))
        .collect();
    let mut decompress = guest.start_queue(9, DECOMPRESS);
    guest.memory.stall(SOURCE..SOURCE + 0x1000);
    for queue in &mut queues {
        guest.send(queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0));
    }
    guest.advance(Span::from_us(100));
    assert_eq!(guest.memory.stalled.get(), 2);
    // The other direction has cores of its own.
    let elsewhere = Job {
        source: SOURCE + 0x10_0000,
        ..Job::new(ZLIB, 100, 500)
    };
    guest.run(&mut decompress, &elsewhere.entry(Revision::V3, 0));
    guest.memory.release();
    guest.advance(Span::from_us(100));
    for queue in &mut queues {
        assert!(guest.receive(queue).is_some());
    }
    guest.settle();
}

#[test]
fn stop_qp_waits_for_the_stall_and_fetches_nothing_more() {
    let config = ZipConfig {
        stop_qp: true,
        flush_qm: true,
        ..ZipConfig::new(Revision::V3)
    };
    let guest = Guest::with(config);
    assert_eq!(guest.read32(0x3100), 1 | 1 << 9 | 1 << 10);
    let mut queue = guest.start_queue(6, COMPRESS);
    let entry = Job::new(ZLIB, 100, 500).entry(Revision::V3, 0);
    for command in [8, 9] {
        let mut queue = if command == 8 {
            queue
        } else {
            guest.start_queue(6, COMPRESS)
        };
        guest.memory.stall(SOURCE..SOURCE + 1);
        guest.send(&mut queue, &entry);
        guest.send(&mut queue, &entry);
        guest.advance(Span::from_us(50));
        guest
            .zip
            .bar_write(2, 0x300, &Guest::mailbox_words(command, 6, 0, false));
        assert!(!guest.mailbox_ready(), "busy while a transaction stalls");
        guest.memory.release();
        assert!(guest.mailbox_ready());
        assert_eq!(guest.read32(0x300) >> 9 & 0xf, 0);
        assert!(
            guest.receive(&mut queue).is_some(),
            "what was fetched is finished"
        );
        guest.advance(Span::from_ms(1));
        assert!(
            guest.receive(&mut queue).is_none(),
            "the next entry is not fetched"
        );
    }
    // Starting the queue anew makes it run again.
    queue = guest.start_queue(6, COMPRESS);
    assert_eq!(guest.run(&mut queue, &entry)[3] & 0xff, 0);
    guest.settle();
}

#[test]
fn a_queue_started_anew_forgets_its_old_jobs() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(6, COMPRESS);
    guest.memory.stall(SOURCE..SOURCE + 1);
    guest.send(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 1));
    guest.advance(Span::from_us(50));
    let mut queue = guest.start_queue(6, COMPRESS);
    let other = Job {
        source: SOURCE + 0x10_0000,
        ..Job::new(ZLIB, 100, 500)
    };
    let done = guest.run(&mut queue, &other.entry(Revision::V3, 2));
    assert_eq!(done[26], 2);
    guest.memory.log.take();
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert!(
        guest.memory.log.borrow().iter().all(|access| !access.write),
        "the old job is dropped"
    );
    assert!(guest.receive(&mut queue).is_none());
    assert!(
        guest
            .recorder
            .notes
            .borrow()
            .contains(&DeviceNote::JobDropped { queue: 6 })
    );
    guest.settle();
}

#[test]
fn a_completion_ring_started_anew_counts_from_zero() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(6, COMPRESS);
    guest.memory.stall(queue.cq..queue.cq + 16);
    guest.send(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 1));
    guest.advance(Span::from_us(50));
    let context = guest.dump(1, 6);
    guest.write_words(super::guest::XQC, &context);
    assert_eq!(guest.mailbox(1, 6, super::guest::XQC, false), 0);
    guest.memory.release();
    guest.advance(Span::from_us(50));
    assert_eq!(guest.dump(1, 6)[0], 0);
    guest.settle();
}

#[test]
fn doorbells_that_make_no_sense_are_ignored() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let sq = sq_address(1);
        let queue = guest.start_queue_at(1, COMPRESS, 8, sq, sq + 0x1000);
        guest.recorder.notes.take();
        // Not started; no such queue; beyond the ring; completions that are not there; events.
        guest.doorbell(2, 0, 1, 0);
        guest.doorbell(1023, 0, 1, 0);
        guest.doorbell(1, 0, 8, 0);
        guest.doorbell(1, 1, 3, 1);
        guest.doorbell(1, 2, 0, 0);
        guest.doorbell(1, 15, 0, 0);
        // A wrong tag, a doorbell in halves.
        let window = if revision == Revision::V3 {
            0x1_0000
        } else {
            0
        };
        let bar = if revision == Revision::V3 { 4 } else { 2 };
        let tagged = 1u64 | 1 << 16 | 1 << 32;
        guest
            .zip
            .bar_write(bar, window + 0x1000, &tagged.to_le_bytes());
        guest
            .zip
            .bar_write(bar, window + 0x1000, &1u32.to_le_bytes());
        guest
            .zip
            .bar_write(bar, window + 0x1004, &1u32.to_le_bytes());
        // At another address of the window.
        let untagged = 1u64 | 1 << 32;
        for at in [0, 0xff8, 0x1008, 0x2000] {
            guest
                .zip
                .bar_write(bar, window + at, &untagged.to_le_bytes());
        }
        if revision == Revision::V3 {
            // Another queue's number in this window, and the doorbell page of revision 2.
            guest
                .zip
                .bar_write(4, 0x1000, &(1u64 | 1 << 32).to_le_bytes());
            guest
                .zip
                .bar_write(2, 0x1000, &(1u64 | 1 << 32).to_le_bytes());
        }
        guest.advance(Span::from_ms(1));
        assert!(!guest.has_completion(&queue));
        let notes = guest.recorder.notes.take();
        assert!(
            notes
                .iter()
                .all(|note| matches!(note, DeviceNote::DoorbellIgnored { .. })),
            "{notes:?}"
        );
        assert_eq!(guest.dump(0, 1)[0] >> 16, 0);
        // Backwards: more outstanding than the ring holds.
        guest.memory.stall(SOURCE..SOURCE + 1);
        guest.write_words(sq, &Job::new(ZLIB, 10, 100).entry(revision, 0));
        guest.doorbell(1, 0, 5, 0);
        guest.doorbell(1, 0, 4, 0);
        assert_eq!(guest.dump(0, 1)[0] >> 16, 5);
        guest.settle();
    }
}

#[test]
fn named_steps_are_spent_for_each_job() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    guest.recorder.steps.take();
    guest.recorder.notes.take();
    guest.write(SOURCE, &text(100_000, 3));
    let done = guest.run(
        &mut queue,
        &Job::new(ZLIB, 100_000, 200_000).entry(Revision::V3, 9),
    );
    let steps = guest.recorder.steps.take();
    assert_eq!(
        steps[..2],
        [DeviceStep::Doorbell, DeviceStep::DescriptorFetch]
    );
    assert_eq!(steps.last(), Some(&DeviceStep::CompletionWrite));
    let computed: u64 = steps
        .iter()
        .map(|step| {
            if let DeviceStep::Compute { bytes } = step {
                *bytes
            } else {
                0
            }
        })
        .sum();
    assert!((100_000..110_000).contains(&computed));
    let notes = guest.recorder.notes.take();
    let pasid = Some(crate::dma::Pasid(PASID.into()));
    let tag = 0xffff_8000_0000_0009;
    assert_eq!(
        notes[..3],
        [
            DeviceNote::Doorbell { queue: 0, tail: 1 },
            DeviceNote::JobStarted {
                queue: 0,
                pasid,
                tag,
                input: 100_000,
            },
            DeviceNote::JobDone {
                queue: 0,
                tag: None,
                status: 0,
                consumed: 100_000,
                produced: done[1]
            },
        ]
    );
}

#[test]
fn a_thousand_queues() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        guest.write(SOURCE, &text(300, 4));
        let mut queues: Vec<_> = (0..1024u16)
            .map(|number| {
                let at = 0x40_0000 + u64::from(number) * 0x400;
                guest.start_queue_at(number, number & 1, 4, at, at + 0x200)
            })
            .collect();
        for queue in &mut queues {
            let room = DESTINATION + u64::from(queue.number) * 0x400;
            let job = Job {
                destination: room,
                ..Job::new(ZLIB, 300, 0x400)
            };
            guest.send(queue, &job.entry(revision, queue.number.into()));
        }
        guest.advance(Span::from_ms(20));
        for queue in &mut queues {
            let done = guest.receive(queue).expect("a completion");
            let tag = if revision == Revision::V2 {
                done[13]
            } else {
                done[26]
            };
            assert_eq!(tag, u32::from(queue.number));
            if queue.number & 1 == 0 {
                assert_eq!(done[3] & 0xff, 0);
            }
        }
        guest.settle();
    }
}

#[test]
fn who_looks_sees_what_is_under_way() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(4, COMPRESS);
        guest.write(SOURCE, &text(5000, 1));
        let queued = |state: &QueueState| {
            let queued = |ring: Option<RingState>| ring.map(|ring| ring.queued);
            (queued(state.submission), queued(state.completion))
        };
        let looked = || {
            let state = guest.zip.state();
            let [queue] = state.queues[..] else {
                panic!("{state:?}");
            };
            queue
        };
        let idle = looked();
        assert_eq!(
            (idle.number, idle.pasid, idle.tasks),
            (4, Some(PASID.into()), 0)
        );
        assert_eq!(queued(&idle), (Some(0), Some(0)));
        assert!(!idle.is_busy());

        guest.send(&mut queue, &Job::new(ZLIB, 5000, 9000).entry(revision, 0));
        let busy = looked();
        assert_eq!((queued(&busy), busy.tasks), ((Some(1), Some(0)), 1));
        let ring = busy.submission.unwrap();
        assert_eq!((ring.head, ring.tail, ring.entries), (0, 1, queue.depth));

        guest.advance(Span::from_us(1000));
        // Done, and software has not looked.
        assert_eq!((queued(&looked()), looked().tasks), ((Some(0), Some(1)), 0));
        assert!(looked().is_busy());
        guest.receive(&mut queue).expect("a completion");
        assert!(!looked().is_busy());
        let state = guest.zip.state();
        assert!(state.completion_events.is_some() && state.failures.is_some());
        guest.settle();
    }
}

/// A step that a plan holds, and one that takes longer.
#[test]
fn a_step_of_one_queue_waits_at_a_gate() {
    for step in [
        DeviceStep::Doorbell,
        DeviceStep::DescriptorFetch,
        DeviceStep::CompletionWrite,
    ] {
        let guest = Guest::new(Revision::V3);
        let gate = Gate::new();
        let verdict = StepVerdict {
            wait: Some(gate.clone()),
            more: Span::from_ms(10),
        };
        guest.recorder.verdict.replace(Some((step, 1, verdict)));
        let (mut held, mut other) = (
            guest.start_queue(1, COMPRESS),
            guest.start_queue(2, COMPRESS),
        );
        let entry = Job::new(ZLIB, 100, 500).entry(Revision::V3, 0);
        let completed = |queue| {
            let notes = guest.recorder.notes.borrow();
            let is = |note: &&DeviceNote| matches!(note, DeviceNote::Completed { queue: of, .. } if *of == queue);
            notes.iter().filter(is).count()
        };
        guest.send(&mut held, &entry);
        guest.send(&mut other, &entry);
        guest.advance(Span::from_ms(20));
        assert_eq!((completed(1), completed(2)), (0, 1), "{step:?}");
        // The gate first, and then what it takes longer.
        gate.open();
        guest.advance(Span::from_ms(9));
        assert_eq!(completed(1), 0, "{step:?}");
        guest.advance(Span::from_ms(2));
        assert_eq!(completed(1), 1, "{step:?}");

        // A reset calls it off.
        guest.recorder.notes.take();
        let gate = Gate::new();
        let verdict = StepVerdict {
            wait: Some(gate.clone()),
            more: Span::ZERO,
        };
        guest.recorder.verdict.replace(Some((step, 1, verdict)));
        guest.send(&mut held, &entry);
        guest.advance(Span::from_ms(1));
        guest.zip.inject_reset();
        gate.open();
        guest.advance(Span::from_ms(1));
        assert_eq!(completed(1), 0, "{step:?}");
        assert!(guest.zip.is_idle(), "{step:?}");
    }
}

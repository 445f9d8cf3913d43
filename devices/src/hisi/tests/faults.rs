//! Aborted and stalled transactions, reset, and stopping the bus master.

use stallbox_timeline::Span;

use super::block::{host_compress, write_lists};
use super::guest::{
    AEQ, COMPRESS, CONTEXT, DECOMPRESS, DESTINATION, GZIP, LISTS, MSI_ADDRESS, MSI_DATA, SOURCE,
    XQC, ZLIB, text,
};
use super::{Guest, Job};
use crate::function::DeviceNote;
use crate::hisi::{DmaErrors, Revision, ZipConfig};
use crate::pcie::PciFunction;

const SUCCESS: [u32; 3] = [0x00, 0x0d, 0x13];

/// Linux waits for every job, so one whose data is out of reach is completed, with an error.
#[test]
fn an_abort_on_data_is_an_error_in_the_completion() {
    for revision in [Revision::V2, Revision::V3] {
        for (name, abort, stateful, list) in [
            ("source", SOURCE..SOURCE + 0x1000, false, false),
            (
                "end of source",
                SOURCE + 89_999..SOURCE + 90_000,
                false,
                false,
            ),
            ("destination", DESTINATION..DESTINATION + 1, false, false),
            ("source list", LISTS..LISTS + 1, false, true),
            ("source list's entries", LISTS + 64..LISTS + 65, false, true),
            (
                "destination list",
                LISTS + 0x1000..LISTS + 0x1001,
                false,
                true,
            ),
            ("context", CONTEXT..CONTEXT + 1, true, false),
            ("window", CONTEXT + 512..CONTEXT + 513, true, false),
        ] {
            let guest = Guest::new(revision);
            let mut queue = guest.start_queue(0, COMPRESS);
            guest.write(SOURCE, &text(90_000, 1));
            write_lists(&guest, LISTS, &[(SOURCE, 90_000)], 1);
            write_lists(&guest, LISTS + 0x1000, &[(DESTINATION, 100_000)], 1);
            let mut job = Job::new(GZIP, 90_000, 100_000);
            if list {
                job = Job {
                    list,
                    source: LISTS,
                    destination: LISTS + 0x1000,
                    ..job
                };
            }
            if stateful {
                job.context = CONTEXT;
            }
            let entry = job.entry(revision, 0);
            assert_eq!(
                guest.run(&mut queue, &entry)[3] & 0xff,
                0,
                "{name}: without an abort"
            );
            guest.memory.aborts.borrow_mut().push(abort.clone());
            guest.recorder.notes.take();
            let done = guest.run(&mut queue, &entry);
            assert_eq!(done[3] & 0xff, 0x41, "{name}");
            let aborted = guest.recorder.notes.borrow().iter().any(|note| {
                matches!(note, DeviceNote::DmaAborted { queue: Some(0), pasid: Some(_), address, .. }
                    if *address == abort.start)
            });
            assert!(aborted, "{name}: noted");
            assert_eq!(
                guest.read32(0x10_0008) | guest.read32(0x30_10ac),
                0,
                "no device error that the driver would see"
            );
            // Where the hardware's firmware finds it.
            assert_eq!((guest.read32(0x10_0000), guest.read32(0x30_10a0)), (0, 0xc));
            guest.write32(0x30_10a0, 0xc);
            assert_eq!(guest.read32(0x30_10a0), 0);
            // The queue goes on.
            guest.memory.aborts.borrow_mut().clear();
            assert_eq!(
                guest.run(&mut queue, &entry)[3] & 0xff,
                0,
                "{name}: afterwards"
            );
            guest.settle();
        }
    }
}

#[test]
fn an_abort_on_data_of_a_decompression() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, DECOMPRESS);
    let plain = text(200_000, 2);
    let packed = host_compress(ZLIB, &plain);
    guest.write(SOURCE, &packed);
    for (abort, context) in [
        (SOURCE..SOURCE + 1, 0),
        (DESTINATION + 150_000..DESTINATION + 150_001, 0),
        (DESTINATION + 150_000..DESTINATION + 150_001, CONTEXT),
        (CONTEXT..CONTEXT + 1, CONTEXT),
    ] {
        guest.memory.aborts.replace(vec![abort]);
        let job = Job {
            context,
            ..Job::new(ZLIB, packed.len(), plain.len())
        };
        let done = guest.run(&mut queue, &job.entry(Revision::V3, 0));
        assert!(!SUCCESS.contains(&(done[3] & 0xff)));
        assert_eq!((done[0], done[1]), (0, 0));
    }
    guest.settle();
}

/// A queue whose rings are out of reach stops; QM_CQE_ERROR makes the driver disable it.
#[test]
fn an_abort_on_a_ring_stops_the_queue() {
    for ring in 0..2 {
        let guest = Guest::new(Revision::V3);
        let mut queue = guest.start_queue(8, COMPRESS);
        let mut other = guest.start_queue(9, COMPRESS);
        let at = if ring == 0 { queue.sq } else { queue.cq };
        guest.memory.aborts.borrow_mut().push(at..at + 16);
        let entry = Job::new(ZLIB, 100, 500).entry(Revision::V3, 0);
        guest.send(&mut queue, &entry);
        assert_eq!(guest.msis(), [MSI_DATA + 1]);
        assert_eq!(guest.word(AEQ), 8 | 1 << 16 | 2 << 17);
        assert!(
            guest
                .recorder
                .notes
                .borrow()
                .contains(&DeviceNote::QueueFailed {
                    queue: 8,
                    failure: None
                })
        );
        assert!(!guest.is_drained(8));
        guest.memory.aborts.borrow_mut().clear();
        guest.send(&mut queue, &entry);
        guest.advance(Span::from_ms(1));
        assert!(!guest.has_completion(&queue));
        assert_eq!(guest.run(&mut other, &entry)[3] & 0xff, 0);
        let mut queue = guest.start_queue(8, COMPRESS);
        assert_eq!(guest.run(&mut queue, &entry)[3] & 0xff, 0);
        guest.settle();
    }
}

#[test]
fn each_page_of_the_data_can_stall() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    let plain = text(0x1_8000, 3);
    guest.write(SOURCE, &plain);
    for at in [
        SOURCE,
        SOURCE + 0x1_7000,
        DESTINATION,
        CONTEXT,
        CONTEXT + 0x1000,
    ] {
        guest.memory.stall(at..at + 0x1000);
        let job = Job {
            context: CONTEXT,
            ..Job::new(ZLIB, plain.len(), 0x2_0000)
        };
        guest.send(&mut queue, &job.entry(Revision::V3, 0));
        guest.advance(Span::from_ms(300));
        assert_eq!(guest.memory.stalled.get(), 1, "{at:#x}");
        assert!(!guest.has_completion(&queue));
        guest.memory.release();
        guest.advance(Span::from_ms(1));
        assert_eq!(
            guest.receive(&mut queue).map(|done| done[3] & 0xff),
            Some(0)
        );
    }
    guest.settle();
}

/// Initiate Function Level Reset, Device Control bit 15.
fn flr(guest: &Guest) {
    let express = guest.find_capability(0x10);
    guest
        .zip
        .config_write(express + 8, &0x8000u16.to_le_bytes());
}

#[test]
fn a_function_level_reset_leaves_the_device_ready_to_start() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(0, COMPRESS);
        let entry = Job::new(ZLIB, 100, 500).entry(revision, 0);
        // With a job that stalls, one that waits behind it, and a command under way.
        guest.memory.stall(SOURCE..SOURCE + 1);
        guest.send(&mut queue, &entry);
        guest.send(&mut queue, &entry);
        guest.advance(Span::from_us(50));
        guest
            .zip
            .bar_write(2, 0x300, &Guest::mailbox_words(0, 0, XQC, true));
        guest.write32(0x30_1208, 1);
        guest.write32(0x10_000c, 1);

        flr(&guest);

        assert!(guest.recorder.notes.borrow().contains(&DeviceNote::Reset));
        assert_eq!(guest.zip.decoded_bars(), []);
        assert_eq!(guest.read32(0x300) & 1 << 13, 0, "mailbox idle");
        assert_eq!(guest.read32(0x10_006c) & 1, 1);
        assert_eq!(guest.read32(0x10_0044) & 1, 1);
        assert_eq!(guest.read32(0x10_0000), 0);
        assert_eq!(guest.read32(0x30_1208), 0);
        guest.memory.log.take();
        guest.memory.release();
        guest.advance(Span::from_ms(1));
        assert!(
            guest.memory.log.borrow().is_empty(),
            "the old job is dropped"
        );
        assert_eq!(guest.timeline.live_tasks(), 0);

        // qm_reset_done: memory initialisation is not repeated there.
        guest.enable_pci();
        guest.start(1024);
        let mut queue = guest.start_queue(0, COMPRESS);
        assert_eq!(guest.run(&mut queue, &entry)[3] & 0xff, 0);
        guest.settle();
    }
}

#[test]
fn a_reset_while_a_stall_is_open_does_not_block_the_cores() {
    let guest = Guest::new(Revision::V3);
    let entry = Job::new(ZLIB, 100, 500).entry(Revision::V3, 0);
    guest.memory.stall(SOURCE..SOURCE + 1);
    for number in 0..5 {
        let mut queue = guest.start_queue(number, COMPRESS);
        guest.send(&mut queue, &entry);
    }
    guest.advance(Span::from_us(50));
    flr(&guest);
    guest.enable_pci();
    guest.start(64);
    let mut queue = guest.start_queue(0, COMPRESS);
    let elsewhere = Job {
        source: SOURCE + 0x10_0000,
        ..Job::new(ZLIB, 100, 500)
    };
    assert_eq!(
        guest.run(&mut queue, &elsewhere.entry(Revision::V3, 0))[3] & 0xff,
        0
    );
    guest.settle();
}

#[test]
fn a_reset_takes_back_interrupts_that_were_not_sent() {
    let guest = Guest::new(Revision::V3);
    guest.write32(0x10_0004, 0);
    guest.memory.stall(MSI_ADDRESS..MSI_ADDRESS + 4);
    let mut queue = guest.start_queue(0, COMPRESS);
    guest.run(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0));
    guest.advance(Span::from_us(10));
    guest.zip.set_errors(1, 0);
    flr(&guest);
    guest.memory.release();
    assert_eq!(guest.msis(), [MSI_DATA], "only the one that was on its way");
}

/// Emptying the function's queue range (hisi_qm_stop) takes the queues away.
#[test]
fn an_empty_vft_stops_every_queue() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    let entry = Job::new(ZLIB, 100, 500).entry(Revision::V3, 0);
    guest.memory.stall(SOURCE..SOURCE + 1);
    guest.send(&mut queue, &entry);
    guest.advance(Span::from_us(50));
    guest.set_vft(0, 0, 0);
    guest.set_vft(1, 0, 0);
    assert_ne!(guest.mailbox(0, 0, XQC, true), 0);
    guest.memory.log.take();
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert!(!guest.has_completion(&queue));
    assert!(
        guest.memory.log.borrow().is_empty(),
        "rings may be freed now"
    );
    assert_eq!(guest.timeline.live_tasks(), 0);
}

/// qm_controller_reset: 0x300000 = 1, then 0x300150 = 3 once nothing is in flight.
#[test]
fn stopping_the_master_waits_for_transactions_in_flight() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    assert_eq!(guest.read32(0x30_0150), 0);
    guest.memory.stall(SOURCE..SOURCE + 1);
    guest.send(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0));
    guest.advance(Span::from_us(50));
    guest.write32(0x30_0000, 1);
    guest.advance(Span::from_ms(5));
    assert_eq!(guest.read32(0x30_0150), 0);
    guest.memory.release();
    guest.advance(Span::from_us(10));
    assert_eq!(guest.read32(0x30_0150), 3);
    guest.memory.log.take();
    guest.advance(Span::from_ms(5));
    assert!(
        guest.memory.log.borrow().is_empty(),
        "nothing new is issued"
    );
    assert!(!guest.has_completion(&queue));
    guest.write32(0x30_0000, 0);
    guest.advance(Span::from_us(100));
    assert_eq!(
        guest.receive(&mut queue).map(|done| done[3] & 0xff),
        Some(0)
    );
    guest.settle();
}

#[test]
fn a_reset_frees_jobs_that_wait_for_a_stopped_master() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    guest.write32(0x30_0000, 1);
    guest.send(&mut queue, &Job::new(ZLIB, 100, 500).entry(Revision::V3, 0));
    guest.advance(Span::from_us(50));
    assert_ne!(guest.timeline.live_tasks(), 0);
    flr(&guest);
    guest.advance(Span::from_us(1));
    assert_eq!(guest.timeline.live_tasks(), 0);
}

/// `dma_error=ras`: as the driver would hear of it, were there no firmware (`qm_abnormal_irq`).
#[test]
fn a_refused_access_can_raise_the_abnormal_interrupt() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::with(ZipConfig {
            dma_errors: DmaErrors::Ras,
            ..ZipConfig::new(revision)
        });
        // `hisi_zip_hw_error_enable`, `qm_hw_error_init_v2`
        guest.write32(0x30_10a4, 0);
        guest.write32(0x10_0004, 0);
        let mut queue = guest.start_queue(0, COMPRESS);
        let entry = Job::new(GZIP, 1000, 5000).entry(revision, 0);
        guest.memory.aborts.borrow_mut().push(SOURCE..SOURCE + 1);
        assert_eq!(guest.run(&mut queue, &entry)[3] & 0xff, 0x41);
        assert!(guest.msis().contains(&(MSI_DATA + 3)));
        assert_eq!((guest.read32(0x10_0008), guest.read32(0x30_10ac)), (0, 0xc));
        assert_eq!((guest.read32(0x30_0180), guest.read32(0x30_0184)), (1, 0));
        assert_eq!(guest.read32(0x30_2084), 1, "HZIP_GET_BD_AXI_ERR_NUM");
        // A ring: the queue manager's own error, named after the access.
        guest.write32(0x30_10a0, 0xc);
        let mut aborts = guest.memory.aborts.borrow_mut();
        aborts.clear();
        aborts.push(queue.cq..queue.cq + 0x4000);
        drop(aborts);
        guest.send(&mut queue, &entry);
        guest.advance(Span::from_ms(1));
        assert_eq!((guest.read32(0x10_0008), guest.read32(0x30_10ac)), (2, 0));
        assert_eq!(guest.read32(0x10_40b4), 1, "QM_DFX_CQE_ERR_CNT");
    }
}

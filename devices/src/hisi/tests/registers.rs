//! Registers, mailbox and VFT as the probe of section "hisi_zip_probe" walks through them (Linux
//! 6.12, zip_main.c and qm.c).

use stallbox_timeline::Span;
use vm_memory::{Bytes, GuestAddress};

use super::guest::{COMPRESS, EQ, MSI_DATA, XQC, ZLIB};
use super::{Guest, Job};
use crate::function::DeviceNote;
use crate::hisi::spec::REGISTERS;
use crate::hisi::{Revision, ZipConfig};
use crate::pcie::PciFunction;

fn both() -> [Revision; 2] {
    [Revision::V2, Revision::V3]
}

#[test]
fn identity_and_capabilities() {
    for (revision, id) in [(Revision::V2, 0x21), (Revision::V3, 0x30)] {
        let guest = Guest::bare(ZipConfig::new(revision));
        assert_eq!(guest.config32(0x00), 0xa250_19e5);
        assert_eq!(guest.config32(0x08) & 0xff, id);
        // MSI: 64 bits, per-vector mask, four messages.
        let msi = guest.find_capability(0x05);
        assert_ne!(msi, 0);
        assert_eq!(guest.config32(msi) >> 16, 1 << 8 | 1 << 7 | 2 << 1);
        // PCI Express, Root Complex Integrated Endpoint, FLR.
        let express = guest.find_capability(0x10);
        assert_ne!(express, 0);
        assert_eq!(guest.config32(express) >> 20 & 0xf, 0b1001);
        assert_ne!(guest.config32(express + 4) & 1 << 28, 0);
        // PASID, 16 bits wide.
        assert_eq!(guest.config32(0x100) & 0xffff, 0x1b);
        assert_eq!(guest.config32(0x104) >> 8 & 0x1f, 16);
    }
}

#[test]
fn bars_have_the_sizes_that_the_driver_maps() {
    for (revision, expected) in [
        (Revision::V2, vec![(2, 4 << 20)]),
        (Revision::V3, vec![(2, 4 << 20), (4, 64 << 20)]),
    ] {
        let guest = Guest::bare(ZipConfig::new(revision));
        assert_eq!(guest.zip.decoded_bars(), []);
        guest.zip.config_write(0x04, &6u16.to_le_bytes());
        let bars: Vec<(u8, u64)> = guest
            .zip
            .decoded_bars()
            .into_iter()
            .map(|(bar, _, size)| (bar, size))
            .collect();
        assert_eq!(bars, expected);
    }
}

#[test]
fn capability_registers_of_revision_3() {
    let guest = Guest::bare(ZipConfig::new(Revision::V3));
    for (offset, value) in [
        (0x30, 1),
        (0x210, 0),
        (0x10_0158, 0x0020_0400),
        (0x3100, 1),
        (0x3104, 0x0400_0800),
        (0x3108, 0x0400_0400),
        (0x310c, 0x0001_0000),
        (0x3110, 0x0001_0001),
        (0x3114, 0x0001_0003),
        (0x311c, 0x0004_0003),
        (0x3124, 0x7c77),
        (0x3128, 0x6c77),
        (0x312c, 0x8),
        (0x3130, 0x1ffe),
        (0x3134, 0x7fe),
        (0x3138, 1),
        (0x313c, 0x1205_0203),
        (0x3140, 0x001c_0003),
        (0x3144, 0x30),
        (0x3148, 0x3f),
    ] {
        assert_eq!(guest.read32(offset), value, "{offset:#x}");
        guest.write32(offset, !0);
        assert_eq!(guest.read32(offset), value, "{offset:#x} is read-only");
    }
}

/// Steps 6 to 16 of the probe, register by register.
#[test]
fn the_probe_finds_what_it_polls_for() {
    for revision in both() {
        let guest = Guest::bare(ZipConfig::new(revision));
        guest.enable_pci();
        // hisi_qm_init, qm_dev_mem_reset
        guest.write32(0x10_0074, 0x1f_ffff);
        guest.write32(0x10_0040, 1);
        assert_eq!(guest.read32(0x10_0044) & 1, 1);
        // hisi_zip_set_user_domain_and_cache and its neighbours: kept as written.
        let ssv = u32::from(revision == Revision::V2);
        for (offset, value) in [
            (0x10_0074, 0x1f_ffff),
            (0x10_0088, 0x4000_1070),
            (0x10_0090, 0xffff_fffe),
            (0x10_0098, 0x4000_1070),
            (0x10_00a0, 0xffff_fffe),
            (0x10_00a8, !0),
            (0x10_00ac, 0xffff),
            (0x10_00b0, !0),
            (0x10_00cc, 0x40_1001),
            (0x10_00d0, !0),
            (0x30_1040, !0),
            (0x30_1044, !0),
            (0x30_1060, !0),
            (0x30_1064, !0),
            (0x30_1110, 0x4000_1070),
            (0x30_111c, 0x4000_1070 | ssv),
            (0x30_1128, 0x4000_1070 | ssv),
            (0x30_1134, 0x4000_1070 | ssv),
            (0x30_1140, 0x4000_1070),
            (0x10_0050, 0x0002_0833),
            (0x30_1004, 0x2001_ff1f),
            (0x30_1208, 1),
            (0x30_11a8, 1),
            (0x10_0148, 1 << 9),
            (0x10_00d8, 0x5a5a),
            (0x10_00ec, 8),
            (0x10_00f0, 0),
            (0x10_00f4, 0x7c77),
            (0x10_00f8, 1),
            (0x10_40f8, 0x6c77),
            (0x30_1160, 1),
            (0x30_1164, 0x1ffe),
            (0x30_1168, 0),
            (0x30_100c, 1 << 14),
            (0x30_120c, 0x7fe),
            (0x30_1000, 5),
            (0x10_0118, 1),
            (0x60, 1),
        ] {
            guest.write32(offset, value);
            assert_eq!(guest.read32(offset), value, "{offset:#x}");
        }
        // qm_hw_error_cfg, hisi_zip_hw_error_enable
        guest.write32(0x10_0000, !0);
        guest.write32(0x10_0004, guest.read32(0x10_0004) & !0x7c7f);
        guest.write32(0x30_10a0, !0);
        guest.write32(0x30_10a4, 0);
        // qm_check_dev_error before each mailbox command
        assert_eq!(guest.read32(0x10_0008), 0);
        assert_eq!(guest.read32(0x30_10ac), 0);
        guest.start(64);
        assert!(guest.msis().is_empty());
        // hisi_qm_cache_wb
        guest.write32(0x204, 1);
        assert_eq!(guest.read32(0x208) & 1, 1);
        // hisi_zip_close_sva_prefetch (only with a feature that is off): ready at once.
        assert_eq!(guest.read32(0x30_11c4), 0);
    }
}

#[test]
fn reads_disturb_nothing_and_unknown_registers_are_zero() {
    let guest = Guest::new(Revision::V3);
    let snapshot = || {
        let ranges = [
            0..0x310,
            0x10_0000..0x10_0170,
            0x10_4000..0x10_4190,
            0x30_1000..0x30_1210,
        ];
        let words = ranges.into_iter().flatten().step_by(4);
        words.map(|at| guest.read32(at)).collect::<Vec<u32>>()
    };
    let first = snapshot();
    assert_eq!(snapshot(), first);
    for offset in [
        0x1000, 0x2000, 0x340, 0x200, 0x10_00fc, 0x10_0100, 0x30_0104, 0x30_2000,
    ] {
        guest.write32(offset, !0);
        assert_eq!(guest.read32(offset), 0, "{offset:#x}");
    }
    let mut data = [0xff; 16];
    guest.zip.bar_read(4, 0x3ff_1000, &mut data);
    assert_eq!(data, [0; 16]);
}

#[test]
fn vft_reads_back_by_type_and_function() {
    let guest = Guest::bare(ZipConfig::new(Revision::V3));
    assert_eq!(guest.read32(0x10_006c) & 1, 1, "ready out of reset");
    let entries = [
        (0, 0, 1 << 44 | 63 << 45),
        (0, 1, 64 << 28 | 1 << 44 | 9 << 45),
        (1, 0, 1 << 28),
        (2, 0, 0x12_3456),
        (2, 1 << 6, 0x65_4321u64),
    ];
    for (kind, function, data) in entries {
        guest.set_vft(kind, function, data);
    }
    for (kind, function, data) in entries {
        guest.write32(0x10_0058, 1);
        guest.write32(0x10_005c, kind);
        guest.write32(0x10_0060, function);
        guest.write32(0x10_006c, 0);
        assert_eq!(guest.read32(0x10_006c) & 1, 0);
        guest.write32(0x10_0054, 1);
        assert_eq!(guest.read32(0x10_006c) & 1, 1);
        let low = guest.read32(0x10_0064);
        let high = guest.read32(0x10_0068);
        assert_eq!(u64::from(high) << 32 | u64::from(low), data);
    }
    // qm_get_vft_v2 through the mailbox.
    assert_eq!(guest.mailbox(6, 0, 0, true), 0);
    let answer = u64::from(guest.read32(0x308)) << 32 | u64::from(guest.read32(0x304));
    assert_eq!((answer >> 28 & 0xffff, answer >> 45 & 0x3ff), (0, 63));
}

#[test]
fn a_mailbox_write_split_in_two_starts_with_the_upper_half() {
    for revision in both() {
        let guest = Guest::new(revision);
        let queue = guest.start_queue(3, 0);
        assert_eq!(queue.number, 3);
        let words = Guest::mailbox_words(1, 3, XQC, true);
        guest.write(XQC, &[0xee; 32]);
        guest.zip.bar_write(2, 0x300, &words[..8]);
        guest.advance(Span::from_us(20));
        assert_eq!(
            guest.bytes(XQC, 32),
            [0xee; 32],
            "started on the lower half"
        );
        guest.zip.bar_write(2, 0x308, &words[8..]);
        // Linux 7.3 reads the mailbox as a whole.
        let mut shown = [0; 16];
        guest.zip.bar_read(2, 0x300, &mut shown);
        assert_eq!(shown[..2], 0x6001u16.to_le_bytes());
        assert!(guest.mailbox_ready());
        assert_eq!(guest.word(XQC + 4), queue.cq as u32);
    }
}

#[test]
fn mailbox_failures_have_a_status() {
    let guest = Guest::new(Revision::V2);
    for command in [0x7, 0x8, 0x9, 0xc, 0xd, 0xe, 0xff] {
        assert_ne!(
            guest.mailbox(command, 0, XQC, false),
            0,
            "command {command:#x}"
        );
    }
    // A queue that the function does not have; a context with another entry size; no such memory.
    assert_ne!(guest.mailbox(0, 1024, XQC, true), 0);
    guest.write(XQC, &[0; 32]);
    assert_ne!(guest.mailbox(0, 0, XQC, false), 0);
    assert_ne!(guest.mailbox(1, 0, XQC, false), 0);
    assert_ne!(guest.mailbox(2, 0, 0xffff_ffff_0000_0000, false), 0);
    // Queues beyond the range that the VFT gives.
    guest.set_vft(0, 0, 1 << 44 | 7 << 45);
    assert_eq!(guest.mailbox(0, 7, XQC, true), 0);
    assert_ne!(guest.mailbox(0, 8, XQC, true), 0);
}

#[test]
fn contexts_read_back_as_written() {
    let guest = Guest::new(Revision::V3);
    let queue = guest.start_queue(5, 1);
    let sqc = guest.dump(0, 5);
    assert_eq!(sqc[..4], [0, queue.sq as u32, 0, 1023 | 7 << 12]);
    assert_eq!(sqc[5], 0x2bc | 1 << 23);
    assert_eq!(sqc[6], 5 | 0x110 << 16);
    let cqc = guest.dump(1, 5);
    assert_eq!(cqc[..4], [0, queue.cq as u32, 0, 1023 | 4 << 12]);
    assert_eq!(cqc[6], 3);
    let eqc = guest.dump(2, 0);
    assert_eq!(eqc[..4], [0, EQ as u32, 0, 0]);
    assert_eq!(eqc[6], 2047 | 1 << 16);
    assert_eq!(guest.dump(3, 0)[6], 1023 | 1 << 16);
}

#[test]
fn error_registers_set_mask_and_clear() {
    for (source, mask, status, set, bits) in [
        (0x10_0000, 0x10_0004, 0x10_0008, 0x10_000c, 0x7fff),
        (0x30_10a0, 0x30_10a4, 0x30_10ac, 0x30_10a8, 0x1fff),
    ] {
        let guest = Guest::new(Revision::V3);
        guest.write32(set, 1 << 2);
        assert_eq!(
            (guest.read32(source), guest.read32(status)),
            (1 << 2, 0),
            "masked"
        );
        assert!(guest.msis().is_empty());

        guest.write32(mask, 0);
        assert_eq!(guest.read32(status), 1 << 2);
        assert_eq!(guest.msis(), [MSI_DATA + 3]);

        guest.write32(set, !0);
        assert_eq!(guest.read32(status), bits);
        assert_eq!(guest.msis(), [MSI_DATA + 3]);

        guest.write32(source, !0);
        assert_eq!(guest.read32(status), 0);
        assert!(guest.msis().is_empty());
    }
}

#[test]
fn a_masked_interrupt_becomes_pending_and_comes_when_unmasked() {
    let guest = Guest::new(Revision::V2);
    let msi = guest.find_capability(0x05);
    guest.zip.config_write(msi + 0x10, &8u32.to_le_bytes());
    guest.write32(0x10_0004, 0);
    guest.zip.set_errors(1 << 5, 0);
    assert!(guest.msis().is_empty());
    assert_eq!(guest.config32(msi + 0x14), 8);
    guest.zip.config_write(msi + 0x10, &0u32.to_le_bytes());
    assert_eq!(guest.msis(), [MSI_DATA + 3]);
}

#[test]
fn mailbox_commands_are_noted() {
    let guest = Guest::new(Revision::V3);
    guest.recorder.notes.take();
    guest.dump(3, 0);
    let note = DeviceNote::Mailbox {
        command: 3,
        queue: 0,
        status: 0,
    };
    assert_eq!(*guest.recorder.notes.borrow(), [note]);
}

#[test]
fn no_request_leaves_without_bus_master() {
    let guest = Guest::new(Revision::V3);
    guest.zip.config_write(0x04, &2u16.to_le_bytes());
    guest.memory.log.take();
    assert_ne!(guest.mailbox(0, 0, XQC, true), 0);
    assert!(guest.memory.log.borrow().is_empty());
    let _: u32 = guest.memory.ram.read_obj(GuestAddress(XQC)).expect("RAM");
}

/// What Linux 6.1 does with an interrupt of the EQ: `do_qm_irq` (is it mine?), `qm_get_complete_eqe_num`
/// (take what there is, then the doorbell). Later kernels do not read the source.
#[test]
fn linux_6_1_takes_the_interrupts_of_both_event_rings_for_its_own() {
    for revision in both() {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(0, COMPRESS);
        assert_eq!((guest.read32(0x0), guest.read32(0x8)), (0, 0));
        let entry = Job::new(ZLIB, 100, 500).entry(revision, 0);
        guest.run(&mut queue, &entry);
        assert_eq!(guest.msis(), [MSI_DATA]);
        assert_ne!(guest.read32(0x8), 0, "QM_VF_EQ_INT_SOURCE");
        assert_ne!(guest.read32(0x8), 0, "reading it takes nothing");
        assert_eq!(guest.read32(0x0), 0);
        guest.event_doorbell(2, 1);
        assert_eq!(guest.read32(0x8), 0);
        assert!(guest.msis().is_empty(), "the message does not come again");

        // The AEQ, by `qm_aeq_irq`: a completion ring out of reach.
        guest
            .memory
            .aborts
            .borrow_mut()
            .push(queue.cq..queue.cq + 0x4000);
        guest.send(&mut queue, &entry);
        guest.advance(Span::from_ms(1));
        assert_eq!(guest.msis(), [MSI_DATA + 1]);
        assert_ne!(guest.read32(0x0), 0, "QM_VF_AEQ_INT_SOURCE");
        guest.event_doorbell(3, 1);
        assert_eq!(guest.read32(0x0), 0);
        // One that nothing gave cause for is nobody's.
        assert!(guest.zip.inject_interrupt(0));
        assert_eq!(guest.msis(), [MSI_DATA]);
        assert_eq!(guest.read32(0x8), 0);
    }
}

#[test]
fn counters_count_and_clear_when_they_are_told_to() {
    let guest = Guest::new(Revision::V3);
    let mailbox = guest.read32(0x10_4018);
    let doorbells = guest.read32(0x10_4028);
    let mut queues = [
        guest.start_queue(4, COMPRESS),
        guest.start_queue(5, COMPRESS),
    ];
    assert!(guest.read32(0x10_4018) > mailbox);
    let job = Job::new(ZLIB, 1000, 5000);
    let mut produced = 0;
    for queue in [0, 0, 1] {
        let done = guest.run(&mut queues[queue], &job.entry(Revision::V3, 0));
        produced += done[1];
    }
    // Three of submission rings, three of completion rings.
    assert_eq!(guest.read32(0x10_4028), doorbells + 6);
    // Of which queue: `current_q_write`.
    for (queue, entries) in [(4, 2), (5, 1), (6, 0)] {
        for (select, counter) in [(0x10_4030, 0x10_4038), (0x10_4040, 0x10_4048)] {
            guest.write32(select, queue << 16);
            assert_eq!(guest.read32(counter), entries, "{counter:#x}");
            // Of a virtual function there is nothing.
            guest.write32(select, queue << 16 | 1);
            assert_eq!(guest.read32(counter), 0);
        }
    }
    for (counter, value) in [
        (0x10_4050, 3),
        (0x10_4058, 3),
        (0x10_4060, 3),
        (0x10_40b4, 0),
        (0x30_2000, 3),
        (0x30_2004, 3),
        (0x30_2008, 0),
        (0x30_200c, 3),
        (0x30_2038, 3000),
        (0x30_203c, 0),
        (0x30_2040, produced),
        (0x30_3000, 0),
        (0x30_4000, 0),
    ] {
        assert_eq!(guest.read32(counter), value, "{counter:#x}");
    }
    let (longest, shortest) = (guest.read32(0x30_2020), guest.read32(0x30_2024));
    assert!(0 < shortest && shortest <= guest.read32(0x30_2028));
    assert!(guest.read32(0x30_2028) <= longest);
    let (worked, idle) = (guest.read32(0x30_2010), guest.read32(0x30_2018));
    assert!(3 * u64::from(shortest) <= worked.into() && worked <= 3 * longest);
    assert_eq!(
        u64::from(worked) + u64::from(idle),
        guest.timeline.now().as_ns()
    );

    // An entry that makes no sense.
    let mut bad = job.entry(Revision::V3, 0);
    bad[9] |= 0xff;
    guest.run(&mut queues[0], &bad);
    assert_eq!((guest.read32(0x30_2008), guest.read32(0x30_2088)), (1, 1));

    // `hisi_zip_debug_regs_clear`, `hisi_qm_debug_regs_clear`: read-clear on, read, off.
    guest.write32(0x30_1000, 1);
    assert_eq!(guest.read32(0x30_2000), 4);
    assert_eq!(guest.read32(0x30_2000), 0);
    guest.read32(0x30_2010);
    assert_eq!(guest.read32(0x30_2010), 0);
    guest.write32(0x30_1000, 0);
    assert_eq!(guest.read32(0x30_2004), 3, "not read");
    guest.write32(0x10_0118, 1);
    assert_eq!(guest.read32(0x10_4050), 4);
    assert_eq!(guest.read32(0x10_4050), 0);
    guest.write32(0x10_0118, 0);
    guest.zip.inject_reset();
    guest.enable_pci();
    assert_eq!((guest.read32(0x10_4058), guest.read32(0x30_2004)), (0, 0));
}

/// Jobs that run at once are counted by a core each.
#[test]
fn cores_count_for_themselves() {
    let guest = Guest::new(Revision::V2);
    let mut queues: Vec<_> = (0..3)
        .map(|number| guest.start_queue(number, COMPRESS))
        .collect();
    for queue in &mut queues {
        guest.send(queue, &Job::new(ZLIB, 1000, 5000).entry(Revision::V2, 0));
    }
    guest.advance(Span::from_ms(1));
    let counts = [0x30_2000, 0x30_3000].map(|core| guest.read32(core));
    assert_eq!(counts.iter().sum::<u32>(), 3);
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

/// An access says which register it met that is not there. Those that a kernel names are.
#[test]
fn registers_that_are_not_modelled_are_told_of() {
    for revision in both() {
        let guest = Guest::new(revision);
        let read = |bar, offset| guest.zip.bar_read(bar, offset, &mut [0; 4]);
        let write = |bar, offset| guest.zip.bar_write(bar, offset, &[0; 4]);
        for (offset, name, _) in REGISTERS {
            assert_eq!(read(2, u64::from(*offset)), None, "{name}");
        }
        // 7.x: DAE, of later revisions; the doorbell of the first; what nobody names.
        for offset in [0x33_1c84, 0x340, 0x3f_0000] {
            assert_eq!(read(2, offset), Some(offset), "{offset:#x}");
            assert_eq!(write(2, offset), Some(offset), "{offset:#x}");
        }
        // Copied as a whole, but not to be written.
        assert_eq!(read(2, 0x10), None);
        assert_eq!(write(2, 0x10), Some(0x10));
        assert_eq!(
            guest.zip.bar_read(2, 0x33_1c80, &mut [0; 8]),
            Some(0x33_1c80)
        );
        assert_eq!(guest.zip.config_read(0x800, &mut [0; 4]), Some(0x800));
        assert_eq!(guest.zip.config_read(0x2c, &mut [0; 4]), None);
    }
    let guest = Guest::new(Revision::V3);
    assert_eq!(guest.zip.bar_read(4, 0x5_1000, &mut [0; 8]), None);
    assert_eq!(guest.zip.bar_write(4, 0x5_1008, &[0; 8]), Some(0x5_1008));
    // Cores that this revision does not have.
    assert_eq!(guest.zip.bar_write(2, 0x30_7000, &[0; 4]), Some(0x30_7000));
}

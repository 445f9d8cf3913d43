//! Configuration space and the registers themselves, as the manual has them.

use super::guest::*;
use crate::pcie::PciFunction;

#[test]
fn configuration_space_is_as_documented() {
    let guest = Guest::bare();
    assert_eq!(guest.config32(0x00), 0x7e57_5342);
    assert_eq!(guest.config32(0x08), 0x1200_0001);
    assert_eq!(guest.config32(0x2c), 0x7e57_5342);
    // BAR0 and BAR2 are 64-bit memory of 64 KiB and 4 x 64 KiB.
    for (bar, size) in [(0x10, 0x1_0000u32), (0x18, 0x4_0000)] {
        guest.function.config_write(bar, &[0xff; 4]);
        assert_eq!(guest.config32(bar), !(size - 1) | 4);
    }
    // Root Complex Integrated Endpoint.
    assert_eq!(guest.config32(guest.capability(0x10)) >> 20 & 0xf, 9);
    // MSI-X: 5 vectors, table at 0xa000 and pending bits at 0xc000 of BAR0.
    let msix = guest.capability(0x11);
    assert_eq!(guest.config32(msix) >> 16, 4);
    assert_eq!(guest.config32(msix + 4), 0xa000);
    assert_eq!(guest.config32(msix + 8), 0xc000);
    // PASIDs of 20 bits, neither execute nor privileged.
    assert_eq!(guest.config32(guest.extended(0x1b) + 4), 0x0000_1400);
}

#[test]
fn the_function_says_what_it_is() {
    let guest = Guest::bare();
    let words: Vec<u32> = (0..8).map(|n| guest.read(0, n * 4)).collect();
    let expected = [
        0x5441_5653, // "SVAT"
        0x0001_0001, // 1.1
        4,           // queues
        0x000e_400c, // 16 KiB accesses, depth 64, 4096 entries
        0,
        1, // idle
        64 << 20,
        1 << 20,
    ];
    assert_eq!(words, expected);
}

#[test]
fn settings_are_kept_and_do_not_change_while_the_queue_is_enabled() {
    let guest = Guest::new();
    let at = block(2);
    guest.write64(0, at + 0x10, 0x1122_3344_5566_7740);
    assert_eq!(guest.read64(0, at + 0x10), 0x1122_3344_5566_7740);
    guest.function.bar_write(0, at + 0x14, &[0xaa]);
    assert_eq!(guest.read64(0, at + 0x10), 0x1122_33aa_5566_7740);

    let queue = guest.start(2, Setup::default());
    let before: Vec<u32> = (0..10).map(|n| guest.read(0, at + n * 4)).collect();
    assert_eq!(before[0], 1);
    assert_eq!(before[4], queue.sq as u32);
    for register in 2..10 {
        guest.write(0, at + register * 4, 0xffff_ffff);
    }
    let after: Vec<u32> = (0..10).map(|n| guest.read(0, at + n * 4)).collect();
    assert_eq!(before, after);
}

#[test]
fn settings_that_describe_nothing_possible_fail_the_queue() {
    let impossible = [
        Setup {
            log2: 0,
            ..Setup::default()
        },
        Setup {
            log2: 13,
            ..Setup::default()
        },
        Setup {
            depth: 0,
            ..Setup::default()
        },
        Setup {
            depth: 65,
            ..Setup::default()
        },
        Setup {
            access_log2: 5,
            ..Setup::default()
        },
        Setup {
            access_log2: 15,
            ..Setup::default()
        },
        Setup {
            pasid: 1 << 31 | 1 << 20,
            ..Setup::default()
        },
    ];
    for setup in impossible {
        let guest = Guest::new();
        guest.start(0, setup);
        guest.timeline.run_ready();
        assert_eq!(guest.status(0), 0x104, "{setup:?}");
        guest.write(2, window(0), 1);
        assert_eq!(guest.read64(2, window(0) + 0x40 + 8 * 7), 1);
    }
}

#[test]
fn a_queue_s_page_shows_nothing_of_another_s() {
    let guest = Guest::new();
    let mut queue = guest.start(1, Setup::default());
    guest.run(&mut queue, &[nop(1)]);
    let page = |number: u16| {
        let mut bytes = vec![0; 0x200];
        guest.function.bar_read(2, window(number), &mut bytes);
        bytes
    };
    assert!(page(1)[0x40..].iter().any(|byte| *byte != 0));
    assert!(page(0)[0x40..].iter().all(|byte| *byte == 0));
    // Nor does the driver's part lie in it.
    assert_eq!(guest.read(2, window(1) + 0x18), 0);
}

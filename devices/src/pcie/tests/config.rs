//! The header, BARs and the capabilities without interrupts.

use proptest::prelude::*;

use super::*;

/// `pci_setup_device`.
#[test]
fn the_header_says_what_the_function_is() {
    let config = function();
    assert_eq!(read32(&config, 0x00), 0xa250_19e5);
    assert_eq!(read32(&config, 0x08), 0x1200_0021);
    assert_eq!(read8(&config, 0x0e), 0, "type 0, single function");
    assert_eq!(read32(&config, 0x2c), 0x0001_19e5);
    assert_eq!(read8(&config, 0x3d), 0, "no interrupt pin");
    assert_eq!(read32(&config, 0x30), 0, "no expansion ROM");
    assert_eq!(read8(&function().with_multi_function(), 0x0e), 0x80);
}

#[test]
fn ids_are_read_only() {
    let mut config = function();
    for offset in [0x00, 0x08, 0x2c, 0x34, 0x30, 0x28] {
        let before = read32(&config, offset);
        assert_eq!(write32(&mut config, offset, !before), Effects::default());
        assert_eq!(read32(&config, offset), before, "offset {offset:#x}");
    }
}

#[test]
fn command_keeps_the_bits_that_exist() {
    let mut config = function();
    let effects = write16(&mut config, 0x04, 0xffff);
    assert!(effects.bars_changed && effects.bus_master_changed);
    // No I/O space, special cycles, memory write and invalidate, VGA snoop.
    assert_eq!(read16(&config, 0x04), 0x0546);
    assert_eq!(write16(&mut config, 0x06, 0xffff), Effects::default());
    assert_eq!(read16(&config, 0x06), 0x0010);
    assert_eq!(
        write16(&mut config, 0x04, 0xffff),
        Effects::default(),
        "nothing changed"
    );
}

/// `__pci_read_base`: write all ones, read back, restore; the size is the lowest bit that stuck.
fn size_bar(config: &mut ConfigSpace, at: u16) -> (u32, u64) {
    let (low, high) = (read32(config, at), read32(config, at + 4));
    let _ = write32(config, at, !0);
    let mut size = u64::from(read32(config, at));
    let _ = write32(config, at, low);
    let flags = size as u32 & 0xf;
    size &= !0xf;
    if flags & 0x6 == 0x4 {
        let _ = write32(config, at + 4, !0);
        size |= u64::from(read32(config, at + 4)) << 32;
        let _ = write32(config, at + 4, high);
    } else if size != 0 {
        size |= 0xffff_ffff << 32;
    }
    (
        flags,
        if size == 0 {
            0
        } else {
            size & size.wrapping_neg()
        },
    )
}

#[test]
fn bars_are_sized_by_writing_all_ones() {
    let mut config = function();
    assert_eq!(size_bar(&mut config, 0x10), (0x0, 4 << 10));
    assert_eq!(size_bar(&mut config, 0x14), (0x8, 64 << 10));
    assert_eq!(size_bar(&mut config, 0x18), (0x4, 4 << 20));
    assert_eq!(size_bar(&mut config, 0x20), (0xc, 8 << 30));
    let mut bare = ConfigSpace::new(Identity::default());
    for at in (0x10..0x28).step_by(4) {
        assert_eq!(size_bar(&mut bare, at), (0, 0));
    }
    assert_eq!(read16(&bare, 0x06), 0, "and no capabilities");
    assert_eq!((read8(&bare, 0x34), read32(&bare, 0x100)), (0, 0));
}

#[test]
fn bars_decode_where_they_were_put_once_memory_space_is_enabled() {
    let mut config = function();
    assert_eq!(
        write32(&mut config, 0x18, 0x2345_6789),
        Effects::default(),
        "not decoding yet"
    );
    let _ = write32(&mut config, 0x1c, 0x80);
    assert_eq!(read32(&config, 0x18), 0x2340_0004);
    assert_eq!(config.decoded_bars(), []);
    assert!(write16(&mut config, 0x04, 0x2).bars_changed);
    assert!(
        config
            .decoded_bars()
            .contains(&(2, 0x80_2340_0000, 4 << 20))
    );
    assert!(write32(&mut config, 0x1c, 0x81).bars_changed);
    assert!(
        config
            .decoded_bars()
            .contains(&(2, 0x81_2340_0000, 4 << 20))
    );
    assert!(write16(&mut config, 0x04, 0).bars_changed);
    assert_eq!(config.decoded_bars(), []);
}

#[test]
fn bytes_and_halfwords_reach_their_part_of_a_register() {
    let mut config = function();
    let _ = write32(&mut config, 0x10, 0x1111_1000);
    let _ = config.write(0x13, &[0x22]);
    let _ = write16(&mut config, 0x10, 0xf000);
    assert_eq!(read32(&config, 0x10), 0x2211_f000);
    assert_eq!(
        (read8(&config, 0x11), read16(&config, 0x12)),
        (0xf0, 0x2211)
    );
    let _ = config.write(0x3c, &[0x45, 0xff, 0xff, 0xff]);
    assert_eq!(read32(&config, 0x3c), 0x45);
    let _ = config.write(0x0c, &[0x10, 0xff, 0xff, 0xff]);
    assert_eq!(read32(&config, 0x0c), 0x10);
}

#[test]
fn linux_finds_every_capability() {
    let config = function();
    let express = find_capability(&config, 0x10).unwrap();
    assert_eq!(express, 0x40);
    for id in [0x05, 0x11, 0x01] {
        assert!(
            find_capability(&config, id).unwrap() > express,
            "capability {id:#x}"
        );
    }
    assert_eq!(find_capability(&config, 0x09), None);
    assert_eq!(find_extended(&config, 0x1b), Some(0x100));
    assert_eq!(read32(&config, 0x100), 0x0001_001b);
    assert_eq!(find_extended(&config, 0x01), None);
    assert_eq!(
        config.capability_offset::<Msi>(),
        find_capability(&config, 0x05)
    );
}

#[test]
fn an_integrated_endpoint_has_no_link() {
    let config = function();
    let express = find_capability(&config, 0x10).unwrap();
    // Version 2, type 9 (PCI_EXP_TYPE_RC_END).
    assert_eq!(read16(&config, express + 0x02), 0x0092);
    assert_eq!(
        read32(&config, express + 0x04) & 0x1000_8000,
        0x1000_8000,
        "FLR, RBER"
    );
    for link in [0x0c, 0x10, 0x2c, 0x30] {
        assert_eq!(read32(&config, express + link), 0);
    }
    assert_eq!(
        read32(&config, express + 0x24) & 0x0020_0000,
        0x0020_0000,
        "EE_PREFIX"
    );
}

#[test]
fn an_endpoint_has_one() {
    let mut config = ConfigSpace::new(Identity::default())
        .with_capability(Express::endpoint().without_end_end_prefixes());
    assert_eq!(read16(&config, 0x42), 0x0002);
    // LNKSTA: 16 lanes at 16 GT/s.
    assert_eq!(read16(&config, 0x52), 0x0104);
    let _ = write16(&mut config, 0x50, 0xffff);
    assert_eq!(read16(&config, 0x50), 0x02c3);
    assert_eq!(read16(&config, 0x70), 0x0004);
    assert_eq!(read32(&config, 0x64) & 0x0020_0000, 0);
}

/// `pcie_flr`: PCI_EXP_DEVCTL_BCR_FLR.
#[test]
fn flr_is_asked_for_once_and_reset_restores_the_registers() {
    let mut config = function();
    let express = find_capability(&config, 0x10).unwrap();
    let fresh: Vec<u8> = (0..4096).map(|at| read8(&config, at)).collect();
    for at in (0..0x200).step_by(4).filter(|at| *at != express + 0x08) {
        let _ = write32(&mut config, at, 0x5a5a_5a5a);
    }
    // PCI_EXP_DEVCTL reads 0x2810 at reset; payload size 512.
    assert_eq!(read16(&config, express + 0x08), 0x2810);
    assert!(!write16(&mut config, express + 0x08, 0x2850).flr);
    assert!(write16(&mut config, express + 0x08, 0x2850 | 0x8000).flr);
    assert_eq!(
        read16(&config, express + 0x08),
        0x2850,
        "Initiate FLR reads zero"
    );
    config.reset();
    for (at, fresh) in (0..4096).zip(fresh) {
        // Max_Payload_Size is one of the exceptions of *Function Level Reset*.
        let expected = if at == express + 0x08 { 0x50 } else { fresh };
        assert_eq!(read8(&config, at), expected, "offset {at:#x}");
    }
}

/// `pci_enable_pasid`.
#[test]
fn pasid_is_enabled_through_its_control_register() {
    let mut config = function();
    let pasid = find_extended(&config, 0x1b).unwrap();
    assert_eq!(
        read16(&config, pasid + 0x04),
        0x1000,
        "16 bits, no execute, not privileged"
    );
    let effects = write16(&mut config, pasid + 0x06, 0x0007);
    assert!(effects.pasid_changed);
    assert_eq!(read16(&config, pasid + 0x06), 0x0001);
    let now = config.pasid().unwrap();
    assert_eq!(
        (now.enabled(), now.execute_enabled(), now.width()),
        (true, false, 16)
    );
    assert_eq!(
        write16(&mut config, pasid + 0x06, 0x0001),
        Effects::default()
    );
    assert_eq!(
        write16(&mut config, pasid + 0x04, 0xffff),
        Effects::default()
    );
    config.reset();
    assert!(!config.pasid().unwrap().enabled());

    let mut config = ConfigSpace::new(Identity::default())
        .with_capability(Pasid::new(20).with_execute().with_privileged());
    assert_eq!(read16(&config, 0x104), 0x1406);
    let _ = write16(&mut config, 0x106, 0xffff);
    assert_eq!(read16(&config, 0x106), 0x0007);
    assert!(config.pasid().unwrap().privileged_enabled());
}

#[test]
fn in_d3hot_only_configuration_space_answers() {
    let mut config = function();
    let power = find_capability(&config, 0x01).unwrap();
    let _ = write16(&mut config, 0x04, 0x0006);
    assert!(config.memory_enabled() && config.bus_master());
    let _ = write16(&mut config, power + 0x04, 0x0001);
    assert!(config.memory_enabled(), "D1 is not supported");
    let effects = write16(&mut config, power + 0x04, 0x0003);
    assert!(effects.bars_changed && effects.bus_master_changed);
    assert!(!config.memory_enabled() && !config.bus_master());
    assert_eq!(read16(&config, power + 0x04), 0x000b);
    let _ = write16(&mut config, power + 0x04, 0x0000);
    assert!(
        config.memory_enabled(),
        "No_Soft_Reset: what was set up is still there"
    );
}

#[test]
#[should_panic(expected = "taken")]
fn a_64_bit_bar_takes_two_registers() {
    let _ = ConfigSpace::new(Identity::default())
        .with_bar(0, Bar::memory64(128))
        .with_bar(1, Bar::memory32(128));
}

proptest! {
    #[test]
    fn no_write_panics_or_changes_what_is_read_only(
        writes in prop::collection::vec((any::<u16>(), any::<[u8; 16]>(), 0usize..=16), 0..200),
    ) {
        let mut config = function();
        let before: Vec<u32> = [0x00, 0x08, 0x2c, 0x34].map(|at| read32(&config, at)).into();
        for (offset, data, length) in writes {
            // Half of them where the registers are.
            let offset = if offset & 1 == 0 { offset } else { offset % 0x120 };
            let _ = config.write(offset, &data[..length]);
            let _ = (config.raise_msi(data[0]), config.raise_msix(data[1].into()));
            let mut back = [0; 16];
            config.read(offset, &mut back[..length]);
            for (_, address, size) in config.decoded_bars() {
                prop_assert!(address % size == 0, "{address:#x} is not aligned to {size:#x}");
            }
        }
        let after: Vec<u32> = [0x00, 0x08, 0x2c, 0x34].map(|at| read32(&config, at)).into();
        prop_assert_eq!(before, after);
        prop_assert!(find_capability(&config, 0x05).is_some());
        prop_assert!(find_extended(&config, 0x1b).is_some());
    }
}

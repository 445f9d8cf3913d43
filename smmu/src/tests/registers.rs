use crate::testing::Driver;
use crate::{Access, Config, ConfigError, Granules, Httu, Line, StallModel};

#[test]
fn identification_promises_what_is_there() {
    let driver = Driver::default();

    // S2P, S1P, TTF 2, COHACC, ASID16, MSI, SEV, VMID16, CD2L, TTENDIAN 2, STALL_MODEL 0,
    // TERM_MODEL, ST_LEVEL 1.
    assert_eq!(driver.read32(0x00), 0x0c4c_701b);
    // SIDSIZE 16, SSIDSIZE 16, EVENTQS 12, CMDQS 12, ATTR_PERMS_OVR.
    assert_eq!(driver.read32(0x04), 0x058c_0410);
    assert_eq!(driver.read32(0x08), 0);
    // HAD, XNX, RIL.
    assert_eq!(driver.read32(0x0c), 0x414);
    assert_eq!(driver.read32(0x10), 0);
    // OAS 48 bits, all granules, STALL_MAX 256.
    assert_eq!(driver.read32(0x14), 0x0100_0075);
    // Not an implementation of Arm's, 0x43b.
    assert_ne!(driver.read32(0x18) & 0xfff, 0x43b);
    assert_eq!(driver.read32(0x1c), 1);
}

#[test]
fn identification_follows_the_configuration() {
    let driver = Driver::new(Config {
        sid_bits: 8,
        ssid_bits: 4,
        stall_max: 2,
        oas_bits: 40,
        granules: Granules {
            k4: false,
            k16: false,
            k64: true,
        },
        cmdq_log2: 7,
        eventq_log2: 3,
        ril: false,
        msi: false,
        stage2: false,
        attr_perms_ovr: false,
        ..Config::default()
    });

    assert_eq!(driver.read32(0x00), 0x0c48_501a);
    assert_eq!(driver.read32(0x04), 7 << 21 | 3 << 16 | 4 << 6 | 8);
    assert_eq!(driver.read32(0x0c), 0x4);
    assert_eq!(driver.read32(0x14), 0x0002_0042);
}

#[test]
fn identification_follows_the_configuration_to_the_most_there_is() {
    let driver = Driver::new(Config {
        hyp: true,
        httu: Httu::Dirty,
        raz_wi: true,
        va_52: true,
        ds: true,
        stt: true,
        e0pd: true,
        oas_bits: 52,
        ..Config::default()
    });

    // HTTU 2 and HYP more, TERM_MODEL less.
    assert_eq!(driver.read32(0x00), 0x0848_701b | 1 << 18 | 2 << 6 | 1 << 9);
    // HAD, XNX, STT, RIL, E0PD.
    assert_eq!(driver.read32(0x0c), 0x2614);
    // OAS 52 bits, all granules, DS, VAX 1, STALL_MAX 256.
    assert_eq!(driver.read32(0x14), 0x0100_04f6);
}

#[test]
fn identification_follows_the_stages_and_the_stall_model() {
    let driver = Driver::new(Config {
        stage1: false,
        vmid16: false,
        httu: Httu::AccessFlag,
        stall_model: StallModel::Terminate,
        stall_max: 0,
        ..Config::default()
    });

    assert_eq!(driver.read32(0x00), 0x0d48_7059);
    assert_eq!(driver.read32(0x0c), 0x410);
    assert_eq!(driver.read32(0x14), 0x75);
}

/// Each of the bits that say how software and the SMMU work together, left out alone.
#[test]
fn identification_follows_what_is_left_out() {
    type Lack = fn(&mut Config);
    let all = Driver::new(Config::default()).read32(0x00);
    let lacks: [(u32, Lack); 5] = [
        (1 << 4, |config| config.coherent = false),
        (1 << 12, |config| config.asid16 = false),
        (1 << 14, |config| config.sev = false),
        (1 << 19, |config| config.two_level_contexts = false),
        (1 << 27, |config| {
            (config.two_level_streams, config.sid_bits) = (false, 6)
        }),
    ];
    for (bit, lack) in lacks {
        let mut config = Config::default();
        lack(&mut config);
        assert_eq!(Driver::new(config).read32(0x00), all & !bit);
    }
}

#[test]
fn stream_tables_of_one_level_have_no_format() {
    let driver = Driver::new(Config {
        two_level_streams: false,
        sid_bits: 6,
        ..Config::default()
    });

    // arm_smmu_write_strtab: FMT 2-level, SPLIT 8, LOG2SIZE 6.
    driver.write32(0x88, 1 << 16 | 8 << 6 | 6);

    assert_eq!(driver.read32(0x88), 6);
}

#[test]
fn a_configuration_that_is_no_smmu_is_refused_with_its_field_named() {
    let config = Config {
        oas_bits: 56,
        ..Config::default()
    };

    let error = config.check().unwrap_err();

    let expected = "32, 36, 40, 42, 44, 48 or 52";
    assert_eq!(
        error,
        ConfigError {
            field: "oas_bits",
            value: 56,
            expected
        }
    );
    assert_eq!(
        error.to_string(),
        "oas_bits = 56 is not 32, 36, 40, 42, 44, 48 or 52"
    );
    type Spoil = fn(&mut Config);
    let fields: [(&str, Spoil); 8] = [
        ("stage1", |config| {
            (config.stage1, config.stage2) = (false, false)
        }),
        ("hyp", |config| (config.hyp, config.stage2) = (true, false)),
        ("stall_max", |config| {
            config.stall_model = StallModel::Terminate
        }),
        ("ds", |config| config.ds = true),
        ("ds", |config| {
            (config.ds, config.va_52) = (true, true);
            (config.granules.k4, config.granules.k16) = (false, false);
        }),
        ("va_52", |config| {
            (config.va_52, config.granules.k64) = (true, false)
        }),
        ("cmdq_log2", |config| config.cmdq_log2 = 20),
        ("cd_cache_entries", |config| config.cd_cache_entries = 3),
    ];
    for (field, spoil) in fields {
        let mut config = Config::default();
        spoil(&mut config);
        assert_eq!(config.check().unwrap_err().field, field);
    }
    assert!(
        Config {
            tlb_entries: 48,
            ..Config::default()
        }
        .check()
        .is_err()
    );
    assert!(
        Config {
            stall_max: 0,
            ..Config::default()
        }
        .check()
        .is_err()
    );
}

#[test]
fn enables_are_acknowledged_without_unimplemented_bits() {
    let driver = Driver::default();

    driver.write32(0x20, 0xffff_fff6);

    // EVENTQEN; PRIQEN, ATSCHK, VMW and the rest are not there. CMDQEN would need bit 3.
    assert_eq!(driver.read32(0x20), 0x4);
    assert_eq!(driver.read32(0x24), 0x4);
    driver.write32(0x24, 0);
    assert_eq!(driver.read32(0x24), 0x4, "the acknowledgement is read-only");
}

#[test]
fn interrupt_enables_are_acknowledged_without_the_page_request_queue() {
    let driver = Driver::default();

    driver.write32(0x50, 0xff);

    assert_eq!(driver.read32(0x50), 0x5);
    assert_eq!(driver.read32(0x54), 0x5);
}

#[test]
fn global_bypass_changes_only_through_the_update_handshake() {
    let driver = Driver::default();
    assert_eq!(driver.read32(0x44), 0x1000);

    driver.write32(0x44, 1 << 20);
    assert_eq!(
        driver.read32(0x44),
        0x1000,
        "a write without Update has no effect"
    );
    assert_eq!(driver.access(0x4000, Access::READ).address(), 0x4000);

    driver.write32(0x44, 1 << 31 | 1 << 20);
    assert_eq!(driver.read32(0x44), 0x10_1000, "Update reads 0 again");
    assert!(driver.access(0x4000, Access::READ).is_aborted());
}

#[test]
fn what_bypasses_a_disabled_smmu_must_be_an_address() {
    let driver = Driver::default();

    assert_eq!(
        driver.access(0xffff_ffff_ffff, Access::READ).address(),
        0xffff_ffff_ffff
    );
    assert!(driver.access(0x1_0000_0000_0000, Access::READ).is_aborted());
    assert_eq!(driver.smmu.counters().events_written.len(), 0);
}

#[test]
fn a_64_bit_register_is_reached_by_halves() {
    let driver = Driver::default();

    driver.write32(0x80, 0x1234_5678);
    driver.write32(0x84, 0x4000_0009);

    assert_eq!(
        driver.read64(0x80),
        0x4000_0009_1234_5640,
        "ADDR is bits 51:6, RA is bit 62"
    );
    driver.write64(0xa0, u64::MAX);
    assert_eq!(driver.read32(0xa0), 0xffff_ffff);
    assert_eq!(driver.read32(0xa4), 0x400f_ffff);
}

#[test]
fn accesses_of_the_wrong_kind_read_zero_and_write_nothing() {
    let driver = Driver::default();
    let mut byte = [0xff];
    let mut wide = [0xff; 8];
    let mut wider = [0xff; 16];

    driver.smmu.read(0x00, &mut byte);
    driver.smmu.read(0x04, &mut wide);
    driver.smmu.read(0x00, &mut wider);
    driver.smmu.write(0x20, &[4]);
    driver.smmu.write(0x1_fffe, &[4, 0, 0, 0]);
    driver.smmu.write(u64::MAX, &[4, 0, 0, 0]);
    driver.smmu.read(0x2_0000, &mut wide);

    assert_eq!((byte, wide, wider), ([0], [0; 8], [0; 16]));
    assert_eq!(driver.read32(0x20), 0);
}

#[test]
fn the_event_queue_positions_are_on_both_pages() {
    let driver = Driver::default();

    driver.write32(0x1_00a8, 0x8000_0003);
    driver.write32(0xac, 2);

    assert_eq!(driver.read32(0xa8), 0x8000_0003);
    assert_eq!(driver.read32(0x1_00ac), 2);
    assert_eq!(
        driver.read32(0x1_0000),
        0,
        "page 1 has no identification registers"
    );
}

#[test]
fn guarded_registers_do_not_change_while_their_enable_is_set() {
    let driver = Driver::ready();
    let guarded64 = [0x68, 0x80, 0x90, 0xa0, 0xb0];
    let guarded32 = [0x28, 0x2c, 0x70, 0x74, 0x88, 0x9c, 0xb8, 0xbc, 0x1_00a8];
    let state = || {
        let wide = guarded64.map(|offset| driver.read64(offset));
        (wide, guarded32.map(|offset| driver.read32(offset)))
    };
    let before = state();

    for offset in guarded64 {
        driver.write64(offset, 0x000a_aaaa_aaaa_aa81);
    }
    for offset in guarded32 {
        driver.write32(offset, 0x0001_0281);
    }

    assert_eq!(state(), before);
}

#[test]
fn guarded_registers_change_once_everything_is_disabled() {
    let driver = Driver::ready();
    driver.write32(0x20, 0);
    driver.write32(0x50, 0);

    driver.write32(0x28, 0xffff_ffff);
    driver.write32(0x2c, 0xffff_ffff);
    driver.write32(0x88, 0xffff_ffff);
    driver.write32(0x9c, 0xffff_ffff);
    driver.write32(0x1_00a8, 0xffff_ffff);
    driver.write64(0xb0, u64::MAX);
    driver.write32(0xb8, 0xffff_ffff);
    driver.write32(0xbc, 0xffff_ffff);

    assert_eq!(driver.read32(0x28), 0xfff);
    assert_eq!(driver.read32(0x2c), 0x2, "E2H and PTM are not there");
    assert_eq!(driver.read32(0x88), 0x307ff);
    assert_eq!(driver.read32(0x9c), 0x7f0f_ffff);
    assert_eq!(driver.read32(0x1_00a8), 0x800f_ffff);
    assert_eq!(driver.read64(0xb0), 0x000f_ffff_ffff_fffc);
    assert_eq!(driver.read64(0xb8), 0x0000_003f_ffff_ffff);
}

#[test]
fn without_messages_their_registers_stay_zero() {
    let driver = Driver::new(Config {
        msi: false,
        ..Config::default()
    });

    driver.write64(0x68, 0x1000);
    driver.write32(0x70, 5);
    driver.start();
    driver.command([0x46 | 1 << 12 | 7 << 32, 0x9000]);

    assert_eq!((driver.read64(0x68), driver.read32(0x70)), (0, 0));
    assert_eq!(driver.memory.load(0x9000), 0);
    assert_eq!(driver.interrupts.take(), [Line::CommandSync]);
}

#[test]
fn odd_writes_everywhere_are_survived() {
    // Every register, written with patterns in every order of enables: nothing may panic.
    let driver = Driver::ready();
    for value in [
        0,
        u64::MAX,
        0x5555_5555_5555_5555,
        0xaaaa_aaaa_aaaa_aaaa,
        0x13,
        0x1f,
    ] {
        for enables in [0_u32, 0x4, 0x8, 0xd] {
            driver.write32(0x20, enables);
            for offset in (0x24..0x200)
                .step_by(4)
                .chain((0x1_00a0..0x1_00d0).step_by(4))
            {
                driver.write32(offset, value as u32);
                driver.read32(offset);
            }
            driver.write32(0x20, 0xd);
            driver.access(value, Access::READ);
            driver.run();
        }
    }
}

#[test]
fn secure_registers_are_absent() {
    // *Register overview*: the Secure programming interface begins at 0x8000, and SMMU_S_IDR1.
    // SECURE_IMPL, bit 31 at 0x8004, says whether it is there.
    let driver = Driver::default();
    for offset in (0x8000..0x8200).step_by(4) {
        driver.write32(offset, 0xffff_ffff);
        assert_eq!(driver.read32(offset), 0, "{offset:#x}");
    }
    // And what they would have done was not done to anything else.
    assert_eq!(driver.read32(0x20), 0);
    assert_eq!(driver.read32(0x44), 0x1000);
}

#[test]
fn registers_of_features_that_are_not_there_read_as_zero() {
    let driver = Driver::default();
    // STATUSR, AGBPA; GATOS; MPAM; IDR2, IDR4; VATOS_SEL; IDR6.
    for offset in [
        0x40, 0x48, 0x100, 0x108, 0x110, 0x118, 0x130, 0x138, 0x13c, 0x08, 0x10, 0x180, 0x190,
    ] {
        driver.write32(offset, 0xffff_ffff);
        assert_eq!(driver.read32(offset), 0, "{offset:#x}");
    }
}

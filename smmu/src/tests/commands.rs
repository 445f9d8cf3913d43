use std::cell::RefCell;
use std::rc::Rc;

use stallbox_timeline::{Span, Timeline};

use crate::testing::{COMMAND_QUEUE, COMMANDS_LOG2, Driver, FakeMemory, Pulses, USER_RW};
use crate::{Access, Config, ExternalAbort, Line, Memory, NoProbe, Points, Smmu, StallModel, Step};

/// GERROR.CMDQ_ERR and CMDQ_CONS.ERR.
fn error(driver: &Driver) -> (bool, u32) {
    let active = driver.read32(0x60) ^ driver.read32(0x64);
    (active & 1 != 0, driver.read32(0x9c) >> 24)
}

#[test]
fn commands_that_are_illegal_here_stop_the_queue() {
    let illegal: [([u64; 2], &str); 25] = [
        ([0x00, 0], "reserved"),
        ([0x07, 0], "CFGI_VMS_PIDM needs MPAM"),
        ([0x08, 0], "reserved"),
        ([0x14, 0], "reserved"),
        ([0x18, 0], "TLBI_EL3_ALL"),
        ([0x1a, 0], "TLBI_EL3_VA"),
        ([0x20, 0], "TLBI_EL2_ALL needs HYP"),
        ([0x21, 0], "TLBI_EL2_ASID needs HYP"),
        ([0x22, 0], "TLBI_EL2_VA needs HYP"),
        ([0x23, 0], "TLBI_EL2_VAA needs HYP"),
        ([0x40, 0], "ATC_INV needs ATS"),
        ([0x41, 0], "PRI_RESP needs PRI"),
        ([0x50, 0], "Secure"),
        ([0x60, 0], "Secure"),
        ([0x70, 0], "DPT"),
        ([0x80, 0], "implementation defined"),
        ([0xff, 0], "reserved"),
        ([0x46 | 3 << 12, 0], "SYNC with CS = 3"),
        ([0x03 | 1 << 10, 0], "SSec"),
        ([0x11 | 1 << 10, 0], "SSec"),
        ([0x44 | 1 << 10, 0], "SSec"),
        ([0x12, 1 << 10], "a range of one 4 KiB page without TTL"),
        ([0x12, 2 << 10], "a range of one 16 KiB page without TTL"),
        ([0x13, 3 << 10], "a range of one 64 KiB page without TTL"),
        ([0x2a, 1 << 10], "TLBI_S2_IPA of a page without TTL"),
    ];
    for (words, why) in illegal {
        refused(&Driver::ready(), words, why);
    }
}

#[test]
fn commands_of_a_stage_that_is_not_there_are_illegal() {
    let only = |stage1| {
        Driver::started(Config {
            stage1,
            stage2: !stage1,
            ..Config::default()
        })
    };
    for (stage1, opcodes) in [
        (true, &[0x28, 0x2a][..]),
        (false, &[0x05, 0x06, 0x10, 0x11, 0x12, 0x13]),
    ] {
        for &opcode in opcodes {
            refused(&only(stage1), [opcode, 0], "its stage is not there");
            only(!stage1).command([opcode, 0]);
            assert_eq!(error(&only(!stage1)), (false, 0), "{opcode:#x}");
        }
        // All of either is always legal.
        let driver = only(stage1);
        driver.command([0x30, 0]);
        driver.command([0x04, 31]);
        assert_eq!(error(&driver), (false, 0));
    }
}

#[test]
fn commands_about_stalls_are_illegal_where_nothing_stalls() {
    let driver = || {
        Driver::started(Config {
            stall_model: StallModel::Terminate,
            stall_max: 0,
            ..Config::default()
        })
    };
    refused(&driver(), [0x44 | 1 << 12, 0], "RESUME");
    refused(&driver(), [0x45, 0], "STALL_TERM");
}

#[track_caller]
fn refused(driver: &Driver, words: [u64; 2], why: &str) {
    let cons = driver.read32(0x9c);
    driver.interrupts.take();

    driver.command(words);

    assert_eq!(error(driver), (true, 1), "{why}");
    assert_eq!(
        driver.read32(0x9c) & 0xf_ffff,
        cons,
        "{why}: CONS stays at the command"
    );
    assert_eq!(driver.interrupts.take(), [Line::GlobalError], "{why}");
}

#[test]
fn commands_that_are_legal_here_are_consumed() {
    let legal: [[u64; 2]; 22] = [
        [0x01 | 5 << 32, 0],
        [0x02 | 5 << 32, 0x1000],
        [0x03 | 0xffff_ffff << 32, 1],
        [0x04, 31],
        [0x04 | 5 << 32, 3],
        [0x05 | 0xf_ffff << 12, 0],
        [0x06, 0],
        [0x10, 0],
        [0x11 | 1 << 48, 0],
        [0x12 | 1 << 48, 0x1000],
        [0x12 | 1 << 48, 0x1000 | 1 << 10 | 3 << 8],
        [0x12 | 1 << 48 | 1 << 20, 0x1000 | 1 << 10],
        [0x12 | 31 << 12 | 31 << 20, 0xffff_ffff_ffff_f000 | 3 << 10],
        [0x13, 0x1000],
        [0x28 | 7 << 32, 0],
        [0x2a | 7 << 32, 0x1000],
        [0x30, 0],
        [0x44 | 1 << 12, 7],
        [0x45 | 5 << 32, 0],
        [0x46, 0],
        [0x46 | 1 << 12, 0],
        [0x46 | 2 << 12, 0],
    ];
    let driver = Driver::ready();
    for words in legal {
        driver.command(words);
        assert_eq!(error(&driver), (false, 0), "{words:#x?}");
        assert_eq!(driver.read32(0x98), driver.read32(0x9c), "{words:#x?}");
    }
}

#[test]
fn without_ranges_their_fields_are_not_looked_at() {
    let driver = Driver::new(Config {
        ril: false,
        ..Config::default()
    });
    driver.start();

    driver.command([0x12, 1 << 10]);

    assert_eq!(error(&driver), (false, 0));
}

#[test]
fn an_error_holds_the_queue_until_it_is_acknowledged_and_the_command_is_replaced() {
    let driver = Driver::ready();
    let slot = driver.read32(0x9c);
    driver.command([0xff, 0]);
    driver.command([0x46 | 1 << 12 | 0x77 << 32, 0x9000]);
    assert_eq!(
        driver.memory.load(0x9000),
        0,
        "nothing is executed after an error"
    );

    // Linux makes it a CMD_SYNC and acknowledges by writing GERRORN equal to GERROR.
    let index = u64::from(slot & ((1 << COMMANDS_LOG2) - 1));
    driver.memory.store(COMMAND_QUEUE + 16 * index, &[0x46, 0]);
    driver.write32(0x64, driver.read32(0x60));

    assert_eq!(driver.memory.load(0x9000), 0x77);
    assert_eq!(driver.read32(0x9c) & 0xf_ffff, driver.read32(0x98));
    assert!(!error(&driver).0);
}

#[test]
fn an_error_that_is_acknowledged_but_not_mended_comes_back() {
    let driver = Driver::ready();
    driver.command([0xff, 0]);
    let first = driver.read32(0x60);

    driver.write32(0x64, first);

    assert_eq!(error(&driver), (true, 1));
    assert_ne!(driver.read32(0x60), first, "GERROR toggled again");
}

#[test]
fn an_abort_of_the_fetch_is_its_own_error_and_is_fetched_again() {
    let driver = Driver::ready();
    let index = u64::from(driver.read32(0x98) & 0xf);
    driver.memory.abort_at(COMMAND_QUEUE + 16 * index + 9);

    driver.command([0x46, 0]);
    assert_eq!(error(&driver), (true, 2));

    driver.memory.heal();
    driver.write32(0x64, driver.read32(0x60));
    assert!(!error(&driver).0);
    assert_eq!(driver.read32(0x9c) & 0xf_ffff, driver.read32(0x98));
}

#[test]
fn sync_writes_zero_over_its_own_slot() {
    // What Linux does with a coherent SMMU that has MSIs.
    let driver = Driver::ready();
    let slot = COMMAND_QUEUE + 16 * u64::from(driver.read32(0x98) & 0xf);

    driver.command([0x46 | 1 << 12 | 3 << 22 | 0xf << 24, slot]);

    assert_eq!(
        driver.memory.load(slot),
        0,
        "MSIData is 0, and only 32 bits are written"
    );
    assert_eq!(driver.memory.load(slot + 8), slot);
    assert!(driver.interrupts.take().is_empty());
}

#[test]
fn sync_writes_its_data_as_32_bits() {
    let driver = Driver::ready();
    driver.memory.store(0x9000, &[u64::MAX, u64::MAX]);

    driver.command([0x46 | 1 << 12 | 0x1234_5678 << 32, 0x9004]);

    assert_eq!(driver.memory.load(0x9000), 0x1234_5678_ffff_ffff);
    assert_eq!(driver.memory.load(0x9008), u64::MAX);
}

#[test]
fn sync_without_message_address_pulses_its_line_whatever_is_enabled() {
    let driver = Driver::ready();
    driver.write32(0x50, 0);
    driver.interrupts.take();

    driver.command([0x46 | 1 << 12, 0]);

    assert_eq!(driver.interrupts.take(), [Line::CommandSync]);
}

#[test]
fn sync_wakes_wfe_when_asked() {
    let driver = Driver::ready();
    driver.interrupts.take_events();

    driver.command([0x46 | 2 << 12, 0]);

    assert_eq!(driver.interrupts.take_events(), 1);
    assert!(driver.interrupts.take().is_empty());
}

#[test]
fn a_message_of_sync_that_aborts_is_a_global_error_and_the_queue_goes_on() {
    let driver = Driver::ready();
    driver.interrupts.take();
    driver.memory.abort_at(0x9000);

    driver.command([0x46 | 1 << 12, 0x9000]);
    driver.sync();

    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1 << 4);
    assert_eq!(driver.interrupts.take(), [Line::GlobalError]);
}

#[test]
fn the_queue_wraps() {
    let driver = Driver::ready();
    for round in 1..100_u64 {
        driver.command([0x46 | 1 << 12 | round << 32, 0x9000]);
        assert_eq!(driver.memory.load(0x9000), round);
    }
    assert!(driver.read32(0x9c) < 2 << COMMANDS_LOG2);
}

#[test]
fn a_full_queue_is_executed_whole_and_wakes_wfe_when_it_has_room() {
    let driver = Driver::ready();
    driver.interrupts.take_events();
    for slot in 0..16 {
        driver.memory.store(COMMAND_QUEUE + 16 * slot, &[0x46, 0]);
    }

    // Same index, other wrap: 16 commands.
    driver.write32(0x98, driver.read32(0x9c) ^ 0x10);

    assert_eq!(driver.read32(0x98), driver.read32(0x9c));
    assert_eq!(driver.interrupts.take_events(), 1);
}

#[test]
fn a_queue_larger_than_implemented_has_the_implemented_size() {
    let driver = Driver::new(Config {
        cmdq_log2: 2,
        ..Config::default()
    });
    driver.write64(0x90, COMMAND_QUEUE | 1 << 62 | 0x1f);
    driver.write32(0x20, 0x8);
    for slot in 0..8 {
        driver.memory.store(COMMAND_QUEUE + 16 * slot, &[0x46, 0]);
    }

    driver.write32(0x98, 0xf_fffd);

    assert_eq!(driver.read64(0x90) & 0x1f, 0x1f, "it reads back as written");
    assert_eq!(driver.read32(0x9c), 5, "two bits of index and one of wrap");
}

#[test]
fn nothing_is_executed_while_the_queue_is_disabled() {
    let driver = Driver::ready();
    driver.write32(0x20, 0x5);
    driver.command([0x46 | 1 << 12 | 1 << 32, 0x9000]);
    assert_eq!(driver.memory.load(0x9000), 0);

    driver.write32(0x20, 0xd);

    assert_eq!(driver.memory.load(0x9000), 1);
}

#[test]
fn commands_take_their_time_one_after_the_other() {
    let driver = Driver::ready();
    driver.probe.set(Step::Command, Span::from_ns(100));
    let start = driver.read32(0x9c);

    driver.command([0x46, 0]);
    driver.command([0x46, 0]);
    driver.command([0x46, 0]);

    assert_eq!(driver.read32(0x9c), start);
    driver.wait_ns(99);
    assert_eq!(driver.read32(0x9c), start);
    driver.wait_ns(1);
    assert_eq!(driver.read32(0x9c), start + 1);
    driver.wait_ns(200);
    assert_eq!(driver.read32(0x9c), start + 3);
}

#[test]
fn a_command_under_way_is_not_executed_once_the_queue_is_disabled() {
    let driver = Driver::ready();
    driver.probe.set(Step::Command, Span::from_ns(100));
    driver.command([0x46 | 1 << 12 | 1 << 32, 0x9000]);

    driver.write32(0x20, 0x5);
    driver.wait_ns(1000);
    assert_eq!(driver.memory.load(0x9000), 0);

    driver.write32(0x20, 0xd);
    driver.wait_ns(100);
    assert_eq!(driver.memory.load(0x9000), 1);
}

/// Memory in which the SMMU's own registers are mapped, as in a machine.
#[derive(Default)]
struct Looped {
    ram: FakeMemory,
    smmu: RefCell<Option<Smmu>>,
}

const REGISTERS: u64 = 0x4000_0000;

impl Memory for Looped {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
        self.ram.read(address, data)
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort> {
        match &*self.smmu.borrow() {
            Some(smmu) if (REGISTERS..REGISTERS + 0x2_0000).contains(&address) => {
                smmu.write(address - REGISTERS, data);
                Ok(())
            }
            _ => self.ram.write(address, data),
        }
    }
}

#[test]
fn syncs_that_move_their_own_queue_do_not_hang_the_machine() {
    let (timeline, memory) = (Timeline::new(), Rc::new(Looped::default()));
    let smmu = Smmu::new(
        Config::default(),
        timeline.clone(),
        memory.clone(),
        Rc::new(Pulses::default()),
        Rc::new(NoProbe),
    );
    *memory.smmu.borrow_mut() = Some(smmu.clone());
    let write32 = |offset, value: u32| smmu.write(offset, &value.to_le_bytes());
    smmu.write(0x90, &(COMMAND_QUEUE | 2).to_le_bytes());
    // Four entries. The first and the second queue, each time they are executed, more than can be
    // executed until the other is.
    let queue_to = |prod: u64| [0x46 | 1 << 12 | prod << 32, REGISTERS + 0x98];
    memory.ram.store(COMMAND_QUEUE, &queue_to(4));
    memory.ram.store(COMMAND_QUEUE + 16, &queue_to(0));
    memory.ram.store(COMMAND_QUEUE + 32, &queue_to(2));
    memory.ram.store(COMMAND_QUEUE + 48, &queue_to(6));
    write32(0x20, 0x8);

    write32(0x98, 1);
    let before = smmu.counters().commands;
    timeline.advance_to(timeline.now() + Span::from_us(10));

    // It goes on for ever, but virtual time passes meanwhile.
    assert!(before <= 8);
    assert!(smmu.counters().commands > before + 8);
    write32(0x20, 0);
    memory.smmu.borrow_mut().take();
}

#[test]
fn a_message_may_disable_the_queue_it_comes_from() {
    let (timeline, memory) = (Timeline::new(), Rc::new(Looped::default()));
    let smmu = Smmu::new(
        Config::default(),
        timeline,
        memory.clone(),
        Rc::new(Pulses::default()),
        Rc::new(NoProbe),
    );
    *memory.smmu.borrow_mut() = Some(smmu.clone());
    smmu.write(0x90, &(COMMAND_QUEUE | 2).to_le_bytes());
    memory
        .ram
        .store(COMMAND_QUEUE, &[0x46 | 1 << 12, REGISTERS + 0x20, 0x46, 0]);
    smmu.write(0x20, &8_u32.to_le_bytes());

    smmu.write(0x98, &2_u32.to_le_bytes());

    let mut cons = [0; 4];
    smmu.read(0x9c, &mut cons);
    assert_eq!(u32::from_le_bytes(cons), 1);
    memory.smmu.borrow_mut().take();
}

#[test]
fn an_invalidation_makes_a_walk_under_way_start_over() {
    // The walk reads its first descriptors, then software maps another page there, invalidates and
    // waits for CMD_SYNC: from then on the old page must not be used.
    let driver = Driver::with_process();
    driver.map(0x1000, 0x1111_0000 | crate::testing::USER_RW);
    driver.probe.set(Step::WalkStep, Span::from_ns(100));
    let read = driver.access(0x1000, Access::READ);
    driver.wait_ns(350);

    let leaf = driver.map(0x1000, 0);
    driver.command([0x12 | 1 << 48, 0x1000]);
    driver.sync();
    driver
        .memory
        .store(leaf, &[0x2222_0000 | crate::testing::USER_RW]);
    driver.wait_ns(1000);

    assert_eq!(read.address(), 0x2222_0000);
    assert_eq!(
        read.done_at_ns(),
        Some(800),
        "four steps, thrown away, and four more"
    );
}

#[test]
fn an_invalidation_takes_a_hit_under_way_with_it() {
    for watched in [Points::NONE, Points::TRANSLATION] {
        let driver = Driver::with_process();
        driver.smmu.watch(watched);
        let leaf = driver.map(0x1000, 0x1111_0000 | USER_RW);
        assert_eq!(driver.access(0x1000, Access::READ).address(), 0x1111_0000);
        driver.probe.set(Step::TlbHit, Span::from_ns(100));
        let read = driver.access(0x1000, Access::READ);
        driver.wait_ns(50);

        driver.memory.store(leaf, &[0x2222_0000 | USER_RW]);
        driver.command([0x12 | 1 << 48, 0x1000]);
        driver.sync();
        driver.wait_ns(1000);

        assert_eq!(read.address(), 0x2222_0000, "{watched:?}");
    }
}

#[test]
fn invalidations_without_end_do_not_hold_a_walk_up_without_end() {
    let driver = Driver::with_process();
    driver.map(0x1000, 0x1111_0000 | crate::testing::USER_RW);
    driver.probe.set(Step::WalkStep, Span::from_ns(100));
    let read = driver.access(0x1000, Access::READ);

    for _ in 0..200 {
        driver.wait_ns(50);
        driver.command([0x30, 0]);
    }

    assert_eq!(read.address(), 0x1111_0000);
}

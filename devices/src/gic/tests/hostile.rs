//! Whatever a guest writes, and whatever it leaves in memory, the GIC goes on.

use proptest::prelude::*;

use super::its::Driver;
use super::*;

/// One thing that a guest, or a device in its hands, can do.
#[derive(Clone, Debug)]
enum Act {
    Write {
        device: u8,
        offset: u64,
        data: Vec<u8>,
    },
    Read {
        device: u8,
        offset: u64,
        width: usize,
    },
    Sysreg {
        cpu: usize,
        register: u16,
        value: u64,
    },
    Line {
        intid: u32,
        asserted: bool,
    },
    Message {
        device: u32,
        event: u32,
    },
    Memory {
        address: u64,
        value: u64,
    },
    Command {
        slot: u64,
        words: [u64; 4],
    },
}

fn widths() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1_usize), Just(2), Just(4), Just(8), Just(16), Just(3)]
}

/// Offsets in the populated parts of a region, and anywhere.
fn offsets() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..0x200,
        2 => 0x200_u64..0x1000,
        1 => 0x6000_u64..0x7000,
        2 => 0x1_0000_u64..0x1_1000,
        1 => 0_u64..0x10_0000,
    ]
}

/// Values that look like addresses, sizes and flags more often than chance has it.
fn values() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..0x1_0000,
        (0_u64..0x40_0000).prop_map(|address| address | 1 << 63),
        (0_u64..0x40_0000).prop_map(|address| address | 3 << 62 | 0x2ff),
        Just(u64::MAX),
        Just(0),
    ]
}

fn registers() -> impl Strategy<Value = u16> {
    let known = (0_u16..8, 8_u16..13).prop_map(|(op2, crm)| reg(3, 0, 12, crm, op2));
    prop_oneof![8 => known, 1 => Just(PMR), 1 => any::<u16>()]
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u8..3, offsets(), widths(), values(), values()).prop_map(
            |(device, offset, width, low, high)| {
                let bytes = [low.to_le_bytes(), high.to_le_bytes()].concat();
                Act::Write { device, offset: offset & !3, data: bytes[..width].to_vec() }
            }
        ),
        1 => (0_u8..3, offsets(), widths(), any::<u8>(), any::<[u8; 16]>()).prop_map(
            |(device, offset, width, _, bytes)| {
                Act::Write { device, offset, data: bytes[..width].to_vec() }
            }
        ),
        2 => (0_u8..3, offsets(), widths())
            .prop_map(|(device, offset, width)| Act::Read { device, offset, width }),
        4 => (0_usize..3, registers(), values())
            .prop_map(|(cpu, register, value)| Act::Sysreg { cpu, register, value }),
        2 => (16_u32..288, any::<bool>()).prop_map(|(intid, asserted)| Act::Line { intid, asserted }),
        2 => (prop_oneof![0_u32..16, any::<u32>()], prop_oneof![0_u32..64, any::<u32>()])
            .prop_map(|(device, event)| Act::Message { device, event }),
        2 => (0_u64..RAM_BYTES as u64 / 8, values())
            .prop_map(|(slot, value)| Act::Memory { address: slot * 8, value }),
        4 => (0_u64..8, 0_u64..0x30, prop_oneof![0_u64..16, any::<u64>()], values(), values())
            .prop_map(|(slot, opcode, device, one, two)| {
                let words = [opcode | device << 32, one, two, one ^ two];
                Act::Command { slot, words }
            }),
    ]
}

fn perform(rig: &Rig, act: &Act) {
    let devices = [&rig.dist, &rig.redist, &rig.its];
    match act {
        Act::Write {
            device,
            offset,
            data,
        } => _ = devices[*device as usize].write(*offset, data),
        Act::Read {
            device,
            offset,
            width,
        } => {
            devices[*device as usize].read(*offset, &mut vec![0; *width]);
        }
        Act::Sysreg {
            cpu,
            register,
            value,
        } => {
            let _ = rig.gic.sysreg_write(*cpu, *register, *value);
            let _ = rig.gic.sysreg_read(*cpu, *register);
        }
        Act::Line { intid, asserted } if *intid < 32 => rig.gic.ppi(1, *intid).set(*asserted),
        Act::Line { intid, asserted } => rig.gic.spi(*intid).set(*asserted),
        Act::Message { device, event } => rig.gic.msi(*device, *event),
        Act::Memory { address, value } => rig.store(*address, *value),
        Act::Command { slot, words } => {
            // Into the queue that the driver has set up; run with all that lies before it.
            rig.store(0x1_0000 + slot * 32, *words);
            write32(&rig.its, 0x88, ((slot + 1) * 32) as u32);
        }
    }
}

/// What the CPUs are told is what a look at everything from scratch gives.
fn signals_are_fresh(rig: &Rig) {
    let signals = || [0, 1].map(|cpu| (rig.gic.irq(cpu), rig.gic.fiq(cpu)));
    let told = signals();
    // A write to GICD_STATUSR, which is not implemented, changes nothing but makes it look.
    write32(&rig.dist, 0x10, 0);
    assert_eq!(signals(), told);
}

/// A CPU's signal says what its acknowledge register would give.
fn signals_are_up_to_date(rig: &Rig) {
    for cpu in 0..2 {
        let (irq, fiq) = (rig.gic.irq(cpu), rig.gic.fiq(cpu));
        assert!(!(irq && fiq));
        assert_eq!(rig.get(cpu, IAR1) != SPURIOUS, irq);
        // Taking the one may have let the other through; look only if nothing was taken.
        if !irq {
            assert_eq!(rig.get(cpu, IAR0) != SPURIOUS, fiq);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_guest_action_panics(acts in prop::collection::vec(acts(), 1..200)) {
        let driver = Driver::start(2);
        for act in &acts {
            perform(&driver.rig, act);
            signals_are_fresh(&driver.rig);
        }
        signals_are_up_to_date(&driver.rig);
    }

    #[test]
    fn nothing_is_assumed_about_a_gic_after_reset(acts in prop::collection::vec(acts(), 1..200)) {
        let rig = Rig::reset(2);
        for act in &acts {
            perform(&rig, act);
            signals_are_fresh(&rig);
        }
        signals_are_up_to_date(&rig);
    }
}

#[test]
fn tables_outside_memory_are_survived() {
    let rig = Rig::booted(1);
    for base in [RAM_BYTES as u64 - 0x1000, 0x000f_ffff_ffff_0000] {
        write32(&rig.its, 0, 0);
        for register in [0x80, 0x100, 0x108] {
            write64(&rig.its, register, base | 1 << 63 | 0xff);
        }
        write32(&rig.redist, GICR_CTLR, 0);
        write64(&rig.redist, GICR_PROPBASER, base | 0x1f);
        write64(&rig.redist, GICR_PENDBASER, base);
        write32(&rig.redist, GICR_CTLR, 1);
        write32(&rig.its, 0, 1);
        write32(&rig.its, 0x88, 0xf_ffe0);
        assert_eq!(read32(&rig.its, 0x90), 0xf_ffe0, "every slot was passed");
        rig.gic.msi(0xffff, 0xffff);
        assert!(!rig.gic.irq(0));
    }
}

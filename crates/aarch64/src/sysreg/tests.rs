//! Tests of the register table, the access rules, and what a kernel reads out of the ID registers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::table::Handler;
use super::{NO_ROW, Rule, TABLE, encoding, row_of};
use crate::Exception;
use crate::decode::system::{SystemInsn, decode};
use crate::exec::Flow;
use crate::exec::system::execute;
use crate::leave::Leave;
use crate::mmu::testing::{Machine, RAM};

/// MRS and MSR words of a register, with Rt = X`rt`.
fn mrs(register: u16, rt: u32) -> u32 {
    0xd520_0000
        | u32::from(register & 0x7fff) << 5
        | 1 << 20
        | rt & 31
        | if register >> 14 == 3 { 1 << 19 } else { 0 }
}

fn msr(register: u16, rt: u32) -> u32 {
    mrs(register, rt) & !(1 << 21)
}

impl Machine {
    fn step(&mut self, word: u32) -> Result<Flow, Exception> {
        let insn = decode(word).ok_or_else(Exception::undefined)?;
        execute(&mut self.cpu, &mut self.bus, insn)
    }

    fn read(&mut self, register: u16) -> Result<u64, Exception> {
        self.step(mrs(register, 7)).map(|_| self.cpu.state.x[7])
    }

    fn write(&mut self, register: u16, value: u64) -> Result<(), Exception> {
        self.cpu.state.x[7] = value;
        self.step(msr(register, 7)).map(|_| ())
    }
}

fn named(name: &str) -> u16 {
    TABLE.iter().find(|row| row.name == name).unwrap().encoding
}

#[test]
fn no_two_rows_share_an_encoding_or_a_name() {
    let mut seen = BTreeMap::new();
    for (i, row) in TABLE.iter().enumerate() {
        assert_eq!(seen.insert(row.encoding, row.name), None, "{}", row.name);
        assert_eq!(usize::from(row_of(row.encoding)), i);
        assert_eq!(
            TABLE.iter().filter(|other| other.name == row.name).count(),
            1
        );
        // op0 is 2 for debug and 3 for the rest.
        assert!(row.encoding >> 14 >= 2);
    }
    assert_eq!(row_of(encoding(3, 0, 12, 12, 0)), NO_ROW);
}

#[test]
fn encodings_are_those_that_an_assembler_gives() {
    // From `aarch64-linux-gnu-as`: mrs x0, <name>.
    for (name, word) in [
        ("MIDR_EL1", 0xd538_0000_u32),
        ("MPIDR_EL1", 0xd538_00a0),
        ("ID_AA64PFR0_EL1", 0xd538_0400),
        ("ID_AA64MMFR0_EL1", 0xd538_0700),
        ("SCTLR_EL1", 0xd538_1000),
        ("CPACR_EL1", 0xd538_1040),
        ("TTBR0_EL1", 0xd538_2000),
        ("TTBR1_EL1", 0xd538_2020),
        ("TCR_EL1", 0xd538_2040),
        ("SPSR_EL1", 0xd538_4000),
        ("ELR_EL1", 0xd538_4020),
        ("SP_EL0", 0xd538_4100),
        ("SPSel", 0xd538_4200),
        ("CurrentEL", 0xd538_4240),
        ("ESR_EL1", 0xd538_5200),
        ("FAR_EL1", 0xd538_6000),
        ("PAR_EL1", 0xd538_7400),
        ("MAIR_EL1", 0xd538_a200),
        ("VBAR_EL1", 0xd538_c000),
        ("ISR_EL1", 0xd538_c100),
        ("CONTEXTIDR_EL1", 0xd538_d020),
        ("TPIDR_EL1", 0xd538_d080),
        ("CNTKCTL_EL1", 0xd538_e100),
        ("CLIDR_EL1", 0xd539_0020),
        ("CSSELR_EL1", 0xd53a_0000),
        ("CTR_EL0", 0xd53b_0020),
        ("DCZID_EL0", 0xd53b_00e0),
        ("NZCV", 0xd53b_4200),
        ("DAIF", 0xd53b_4220),
        ("FPCR", 0xd53b_4400),
        ("FPSR", 0xd53b_4420),
        ("TPIDR_EL0", 0xd53b_d040),
        ("TPIDRRO_EL0", 0xd53b_d060),
        ("MDSCR_EL1", 0xd530_0240),
        ("OSLSR_EL1", 0xd530_1180),
        ("OSDLR_EL1", 0xd530_1380),
        ("DBGBVR1_EL1", 0xd530_0180),
        ("DBGWCR0_EL1", 0xd530_00e0),
        ("MDCCSR_EL0", 0xd533_0100),
    ] {
        let register = named(name);
        assert_eq!(mrs(register, 0), word, "{name}");
        let expected = SystemInsn::Mrs { rt: 0, register };
        assert_eq!(decode(word), Some(expected), "{name}");
    }
}

#[test]
fn id_registers_promise_what_linux_looks_for() {
    let mut m = Machine::new();
    let mut field = |name, shift: u32| m.read(named(name)).unwrap() >> shift & 15;

    // Shifts as in Linux's arch/arm64/tools/sysreg.
    assert_eq!(
        [0, 4, 8, 12].map(|s| field("ID_AA64PFR0_EL1", s)),
        [1, 1, 0, 0],
        "EL0 to EL3"
    );
    assert_eq!(
        [16, 20].map(|s| field("ID_AA64PFR0_EL1", s)),
        [0, 0],
        "FP, AdvSIMD"
    );
    assert_eq!(field("ID_AA64PFR0_EL1", 24), 1, "GIC");
    assert_eq!(field("ID_AA64PFR0_EL1", 28), 0, "RAS");
    assert_eq!(
        [56, 60].map(|s| field("ID_AA64PFR0_EL1", s)),
        [3, 1],
        "CSV2, CSV3"
    );
    assert_eq!(
        [16, 20].map(|s| field("ID_AA64ISAR0_EL1", s)),
        [1, 2],
        "CRC32, Atomic"
    );
    for shift in [4, 8, 12, 28, 32, 36, 40, 44, 48, 52, 56, 60] {
        assert_eq!(field("ID_AA64ISAR0_EL1", shift), 0);
    }
    assert_eq!(
        [0, 4].map(|s| field("ID_AA64MMFR0_EL1", s)),
        [5, 2],
        "PARange, ASIDBits"
    );
    assert_eq!(
        [20, 24, 28].map(|s| field("ID_AA64MMFR0_EL1", s)),
        [1, 0, 0],
        "TGran16, 64, 4"
    );
    assert_eq!(field("ID_AA64MMFR0_EL1", 8), 0, "BigEnd");
    assert_eq!(
        [0, 4, 8].map(|s| field("ID_AA64DFR0_EL1", s)),
        [6, 0, 0],
        "debug, trace, PMU"
    );
}

#[test]
fn caches_are_described_as_they_are() {
    let mut m = Machine::new();
    let ctr = m.read(named("CTR_EL0")).unwrap();
    // Lines of 4 << n bytes.
    assert_eq!((4_u64 << (ctr & 15), 4_u64 << (ctr >> 16 & 15)), (64, 64));
    assert_eq!((ctr >> 28 & 1, ctr >> 29 & 1), (1, 0), "IDC, not DIC");
    assert_eq!(4 << (m.read(named("DCZID_EL0")).unwrap() & 15), 64);
    assert_eq!(m.read(named("CLIDR_EL1")), Ok(0));
}

#[test]
fn mpidr_has_the_index_in_aff0() {
    let config = crate::CpuConfig {
        index: 5,
        ..crate::CpuConfig::default()
    };
    assert_eq!(super::SysRegs::new(&config).mpidr, 0x8000_0005);
}

#[test]
fn reset_leaves_the_mmu_off_and_the_os_lock_open() {
    let m = Machine::new();
    let regs = super::SysRegs::new(&crate::CpuConfig::default());
    assert_eq!(regs.sctlr & 0x1005, 0);
    // EE and E0E: little-endian.
    assert_eq!(regs.sctlr >> 24 & 3, 0);
    assert_eq!(m.cpu.state.sys.vbar, 0);
}

#[test]
fn reserved_id_registers_read_as_zero_at_el1_only() {
    let mut m = Machine::new();
    for crm in 1..8 {
        for op2 in 0..8 {
            let register = encoding(3, 0, 0, crm, op2);
            if row_of(register) == NO_ROW {
                assert_eq!(m.read(register), Ok(0));
            }
            assert_eq!(m.write(register, 0), Err(Exception::undefined()));
        }
    }
    let mut m = m.at_el0();
    assert_eq!(m.read(encoding(3, 0, 0, 4, 3)), Err(Exception::undefined()));
    assert_eq!(m.read(named("MIDR_EL1")), Err(Exception::undefined()));
}

#[test]
fn performance_monitors_are_undefined() {
    let mut m = Machine::new();
    // PMCR_EL0, PMUSERENR_EL0, PMCCNTR_EL0, PMINTENSET_EL1.
    for register in [
        encoding(3, 3, 9, 12, 0),
        encoding(3, 3, 9, 14, 0),
        encoding(3, 3, 9, 13, 0),
        encoding(3, 0, 9, 14, 1),
    ] {
        assert_eq!(m.read(register), Err(Exception::undefined()));
        assert_eq!(m.write(register, 0), Err(Exception::undefined()));
    }
}

#[test]
fn el0_reaches_only_what_the_rules_say() {
    for row in TABLE {
        let mut m = Machine::new().at_el0();
        // All traps off, floating point on: only what is forbidden for good is left.
        m.cpu.state.sys.sctlr = m.cpu.state.sys.sctlr & !(1 << 20) | 1 << 9 | 1 << 15;
        m.cpu.state.sys.cpacr = 3 << 20;
        let reads = m.read(row.encoding).is_ok();
        let writes = m.write(row.encoding, 0).is_ok();

        let expected = match row.name {
            "TPIDR_EL0" | "NZCV" | "DAIF" | "FPCR" | "FPSR" | "SCXTNUM_EL0" | "DBGDTR_EL0"
            | "DBGDTRRX_EL0" => (true, true),
            "TPIDRRO_EL0" | "CTR_EL0" | "DCZID_EL0" | "MDCCSR_EL0" => (true, false),
            _ => (false, false),
        };
        assert_eq!((reads, writes), expected, "{}", row.name);
    }
}

#[test]
fn el1_traps_what_el0_may_not_do_for_now() {
    let mut m = Machine::new();
    m.cpu.state.sys.sctlr |= 1 << 20;
    m.cpu.state.sys.mdscr = 1 << 12;
    let mut m = m.at_el0();
    // EC 0x18 and the encoding rearranged: op0 20, op2 17, op1 14, CRn 10, Rt 5, CRm 1, read 0.
    for (name, syndrome) in [
        ("CTR_EL0", 0x6232_c0e1),
        ("DAIF", 0x6232_d0e5),
        ("SCXTNUM_EL0", 0x623e_f4e1),
        ("MDCCSR_EL0", 0x6220_c0e3),
    ] {
        let fault = m.read(named(name)).unwrap_err();
        assert_eq!(fault.syndrome, syndrome, "{name}: {:#x}", fault.syndrome);
    }
    // MRS XZR, CTR_EL0 reports Rt = 31; MSR DAIFSet likewise, and op0 0.
    assert_eq!(
        m.step(mrs(named("CTR_EL0"), 31)).unwrap_err().syndrome,
        0x6232_c3e1
    );
    assert_eq!(m.step(0xd503_43df).unwrap_err().syndrome, 0x620c_d3e6);
}

#[test]
fn floating_point_registers_follow_cpacr() {
    for (fpen, el, allowed) in [
        (0, 1, false),
        (1, 1, true),
        (2, 1, false),
        (3, 1, true),
        (0, 0, false),
        (1, 0, false),
        (2, 0, false),
        (3, 0, true),
    ] {
        let mut m = Machine::new();
        m.write(named("CPACR_EL1"), fpen << 20).unwrap();
        let mut m = if el == 0 { m.at_el0() } else { m };

        match m.read(named("FPCR")) {
            Ok(_) => assert!(allowed),
            Err(fault) => {
                assert!(!allowed);
                assert_eq!(fault.syndrome, 0x1fe0_0000);
            }
        }
    }
}

#[test]
fn counters_and_timers_at_el0_follow_cntkctl() {
    let frequency = encoding(3, 3, 14, 0, 0);
    let counters = [encoding(3, 3, 14, 0, 1), encoding(3, 3, 14, 0, 2)];
    let physical = encoding(3, 3, 14, 2, 1);
    let virtual_timer = encoding(3, 3, 14, 3, 2);
    let icc = encoding(3, 0, 12, 12, 0);
    for (cntkctl, allowed) in [
        (0, [false, false, false, false, false]),
        (1, [true, true, false, false, false]),
        (2, [true, false, true, false, false]),
        (1 << 9, [false, false, false, true, false]),
        (1 << 8, [false, false, false, false, true]),
    ] {
        let mut m = Machine::new();
        let all = [frequency, counters[0], counters[1], physical, virtual_timer];
        m.bus.registers.extend(all.map(|r| (r, 42)));
        m.bus.registers.insert(icc, 1);
        assert_eq!(m.read(icc), Ok(1));
        m.write(named("CNTKCTL_EL1"), cntkctl).unwrap();
        let mut m = m.at_el0();

        for (register, allowed) in all.into_iter().zip(allowed) {
            match m.read(register) {
                Ok(value) => assert!(allowed && value == 42, "{register:#x} under {cntkctl:#x}"),
                Err(fault) => {
                    assert!(!allowed, "{register:#x} under {cntkctl:#x}");
                    assert_eq!(fault.class(), 0x18);
                }
            }
        }
        assert_eq!(m.write(counters[0], 0), Err(Exception::undefined()));
        assert_eq!(m.read(icc), Err(Exception::undefined()));
    }
}

#[test]
fn registers_outside_the_core_are_the_buss_to_know() {
    let mut m = Machine::new();
    let pmr = encoding(3, 0, 4, 6, 0);
    assert_eq!(m.read(pmr), Err(Exception::undefined()));
    m.bus.registers.insert(pmr, 0);

    m.write(pmr, 0xf0).unwrap();

    assert_eq!(m.read(pmr), Ok(0xf0));
    assert_eq!(m.cpu.leave, Leave::Look);
}

#[test]
fn control_bits_that_do_not_exist_do_not_stick() {
    let mut m = Machine::new();
    for row in TABLE {
        if let Handler::Cell {
            writable, reset, ..
        } = row.handler
        {
            m.write(row.encoding, u64::MAX).unwrap();
            let value = m.read(row.encoding).unwrap();
            assert_eq!(value, writable | reset, "{}", row.name);
            m.write(row.encoding, 0).unwrap();
            assert_eq!(
                m.read(row.encoding).unwrap(),
                reset & !writable,
                "{}",
                row.name
            );
        }
    }
    // RES1 of Armv8.0 without AArch32 at EL0: 29, 28, 23, 22, 11, 8, 7.
    assert_eq!(m.read(named("SCTLR_EL1")), Ok(0x30c0_0980));
    assert!(!m.cpu.mmu.regime.enabled);
}

#[test]
fn sp_el0_is_named_only_while_it_is_not_current() {
    let mut m = Machine::new();
    m.write(named("SP_EL0"), 0x1230).unwrap();
    assert_eq!(m.read(named("SP_EL0")), Ok(0x1230));
    m.cpu.state.x[usize::from(crate::registers::SP)] = 0x8880;
    m.write(named("SPSel"), 0).unwrap();

    assert_eq!(m.cpu.state.sp(), 0x1230);
    assert_eq!(m.read(named("SP_EL0")), Err(Exception::undefined()));
    assert_eq!(m.write(named("SP_EL0"), 0), Err(Exception::undefined()));
    m.write(named("SPSel"), 1).unwrap();
    assert_eq!(m.cpu.state.sp(), 0x8880);
}

#[test]
fn os_lock_is_written_and_read_in_different_registers() {
    let mut m = Machine::new();
    assert_eq!(m.read(named("OSLAR_EL1")), Err(Exception::undefined()));
    m.write(named("OSLAR_EL1"), 1).unwrap();
    assert_eq!(m.read(named("OSLSR_EL1")), Ok(0xa));
    m.write(named("OSLAR_EL1"), 0).unwrap();
    assert_eq!(m.read(named("OSLSR_EL1")), Ok(0x8));
    assert_eq!(m.write(named("OSLSR_EL1"), 0), Err(Exception::undefined()));
}

#[test]
fn isr_shows_the_inputs() {
    let mut m = Machine::new();
    m.bus.irq = true;
    assert_eq!(m.read(named("ISR_EL1")), Ok(0x80));
    m.bus.fiq = true;
    assert_eq!(m.read(named("ISR_EL1")), Ok(0xc0));
}

#[test]
fn table_base_write_takes_effect_and_rule_is_el1() {
    let mut m = Machine::new();
    m.write(named("TTBR0_EL1"), (RAM.start + 0x7000) | 3 << 48 | 1)
        .unwrap();

    assert_eq!(m.cpu.mmu.regime.halves[0].table, RAM.start + 0x7000);
    assert_eq!(m.cpu.mmu.regime.asid, 3);
    assert_eq!(
        TABLE[usize::from(row_of(named("TTBR0_EL1")))].rule,
        Rule::El1
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_system_instruction_is_survived(
        low in 0_u32..1 << 22,
        operand in any::<u64>(),
        el in 0_u8..2,
        seed in any::<u64>(),
    ) {
        let mut m = Machine::new();
        m.cpu.state.sys.cpacr = seed & 3 << 20;
        m.cpu.state.sys.sctlr ^= seed & (1 << 9 | 1 << 15 | 1 << 26 | 1 << 14 | 1);
        m.cpu.translation_control_changed();
        m.cpu.state.set_el(el, el != 0);
        let word = 0xd500_0000 | low;
        m.cpu.state.x[(word & 31) as usize] = operand;
        m.cpu.state.x[31] = 0;
        if let Err(exception) = m.step(word) {
            m.cpu.take_synchronous(exception);
        }
        prop_assert_eq!(m.cpu.state.x[31], 0);
        prop_assert!(m.cpu.state.pstate.el <= 1);
    }
}

//! Runs of whole programs: budgets, exceptions, changed code, interrupts.

use super::{BLOCK_INSNS_MAX, INSNS_MAX};
use crate::mmu::testing::{DEVICE, KERNEL_DEVICE, KERNEL_RW, KERNEL_RX, Machine, RAM, TestBus};
use crate::{Bus, BusError, Cpu, CpuConfig, Exit, Size};

const CODE_VA: u64 = 0xffff_8000_0000_0000;
const CODE: u64 = RAM.start + 0x10_0000;
const OTHER_CODE: u64 = RAM.start + 0x11_0000;
const DATA_VA: u64 = 0xffff_8000_0010_0000;
const VECTORS_VA: u64 = 0xffff_8000_0020_0000;
const VECTORS: u64 = RAM.start + 0x12_0000;

const NOP: u32 = 0xd503_201f;
const WFI: u32 = 0xd503_207f;
const ISB: u32 = 0xd503_3fdf;
const IC_IVAU_X1: u32 = 0xd50b_7521;
const TLBI_VMALLE1: u32 = 0xd508_871f;
const RET: u32 = 0xd65f_03c0;
const ERET: u32 = 0xd69f_03e0;
const BR_X0: u32 = 0xd61f_0000;
const BLR_X0: u32 = 0xd63f_0000;
const B_SELF: u32 = 0x1400_0000;
const DAIFCLR_I: u32 = 0xd503_42ff;
const LDR_W0_X1: u32 = 0xb940_0020;
const STR_W0_X1: u32 = 0xb900_0020;

fn mov_w0(immediate: u32) -> u32 {
    0x5280_0000 | immediate << 5
}

fn write(bus: &mut TestBus, at: u64, words: &[u32]) {
    for (address, &word) in (at..).step_by(4).zip(words) {
        bus.write(0, address, Size::Word, word.into())
            .expect("it is RAM");
    }
}

/// The kernel at the start of a page of code, with vectors that wait.
fn kernel(words: &[u32]) -> Machine {
    let mut machine = Machine::new();
    machine.map(CODE_VA, 3, CODE | KERNEL_RX);
    machine.map(VECTORS_VA, 3, VECTORS | KERNEL_RX);
    write(&mut machine.bus, CODE, words);
    for vector in (0..0x800).step_by(0x80) {
        write(&mut machine.bus, VECTORS + vector, &[B_SELF]);
    }
    machine.cpu.state.sys.vbar = VECTORS_VA;
    machine.cpu.state.pc = CODE_VA;
    machine
}

fn run(machine: &mut Machine, budget: u64) -> Exit {
    machine.cpu.run(&mut machine.bus, budget)
}

#[test]
fn what_leaves_the_run_is_done_and_left_behind() {
    const HVC: u32 = 0xd400_0002;
    const SMC: u32 = 0xd400_0003;
    const YIELD: u32 = 0xd503_203f;
    let expected = [
        (HVC, Exit::Call),
        (SMC, Exit::Call),
        (YIELD, Exit::Yield),
        (WFI, Exit::Wfi),
    ];
    let mut machine = kernel(&expected.map(|(word, _)| word));
    for (next, (word, exit)) in (1..).zip(expected) {
        assert_eq!(run(&mut machine, 100), exit, "{word:#x}");
        assert_eq!(machine.cpu.state.pc, CODE_VA + 4 * next);
        assert_eq!(machine.cpu.retired, next);
    }
}

#[test]
fn program_runs_with_the_mmu_off() {
    let mut cpu = Cpu::new(CpuConfig::default());
    let mut bus = TestBus::default();
    let program: [u8; 16] = [
        0x00, 0x00, 0x01, 0x8b, // add x0, x0, x1
        0x21, 0x04, 0x00, 0xd1, // sub x1, x1, #1
        0xc1, 0xff, 0xff, 0xb5, // cbnz x1, .-8
        0x7f, 0x20, 0x03, 0xd5, // wfi
    ];
    for (address, &byte) in (RAM.start..).zip(&program) {
        bus.write(0, address, Size::Byte, byte.into())
            .expect("it is RAM");
    }
    cpu.state.pc = RAM.start;
    cpu.state.x[1] = 100;

    let exit = cpu.run(&mut bus, 1000);

    assert_eq!((exit, cpu.state.x[0], cpu.retired), (Exit::Wfi, 5050, 301));
    assert_eq!(cpu.state.pc, RAM.start + 16);
}

#[test]
fn budget_is_exact_however_it_is_divided() {
    let program = [
        0x8b01_0000, // add x0, x0, x1
        0x9100_0421, // add x1, x1, #1
        0xca00_0442, // eor x2, x2, x0, lsl #1
        0xf100_03ff, // cmp sp, #0
        0x17ff_fffc, // b .-16
    ];
    let outcome = |budgets: &[u64]| {
        let mut machine = kernel(&program);
        for &budget in budgets {
            let before = machine.cpu.retired;
            assert_eq!(run(&mut machine, budget), Exit::Budget);
            assert_eq!(machine.cpu.retired, before + budget);
        }
        (
            machine.cpu.state.pc,
            machine.cpu.state.x,
            machine.cpu.state.nzcv,
        )
    };

    let whole = outcome(&[60]);

    assert_eq!(outcome(&[1; 60]), whole);
    assert_eq!(outcome(&[7, 13, 2, 0, 38]), whole);
}

#[test]
fn code_beyond_the_cache_is_decoded_again() {
    let words: Vec<_> = std::iter::repeat_n(0x9100_0400, 1000)
        .chain([RET])
        .collect();
    assert!(words.len() > INSNS_MAX && words.len() > BLOCK_INSNS_MAX);
    let mut machine = kernel(&words);
    machine.cpu.state.x[30] = CODE_VA;

    assert_eq!(run(&mut machine, 3003), Exit::Budget);

    assert_eq!(
        (machine.cpu.state.pc, machine.cpu.state.x[0]),
        (CODE_VA, 3000)
    );
}

#[test]
fn changed_code_is_seen_after_cache_maintenance() {
    // The code page is mapped a second time, for writing.
    let mut machine = kernel(&[mov_w0(1), RET]);
    machine.map(DATA_VA, 3, CODE | KERNEL_RW);
    machine.map(CODE_VA + 0x1000, 3, OTHER_CODE | KERNEL_RX);
    const MOV_W2_W0: u32 = 0x2a00_03e2;
    const MOV_W0_W3: u32 = 0x2a03_03e0;
    const BLR_X4: u32 = 0xd63f_0080;
    let caller = [
        BLR_X0, MOV_W2_W0, MOV_W0_W3, STR_W0_X1, IC_IVAU_X1, ISB, BLR_X4, WFI,
    ];
    write(&mut machine.bus, OTHER_CODE, &caller);
    machine.cpu.state.pc = CODE_VA + 0x1000;
    machine.cpu.state.x[..5].copy_from_slice(&[CODE_VA, DATA_VA, 0, mov_w0(7).into(), CODE_VA]);

    assert_eq!(run(&mut machine, 100), Exit::Wfi);

    assert_eq!((machine.cpu.state.x[2], machine.cpu.state.x[0]), (1, 7));
}

#[test]
fn remapped_code_is_seen_after_tlb_maintenance() {
    let mut machine = kernel(&[mov_w0(1), RET]);
    write(&mut machine.bus, OTHER_CODE, &[mov_w0(2), RET]);
    machine.map(CODE_VA + 0x1000, 3, (RAM.start + 0x13_0000) | KERNEL_RX);
    // blr x0; tlbi vmalle1; isb; wfi
    write(
        &mut machine.bus,
        RAM.start + 0x13_0000,
        &[BLR_X0, TLBI_VMALLE1, ISB, WFI],
    );
    let call = |machine: &mut Machine| {
        machine.cpu.state.pc = CODE_VA + 0x1000;
        machine.cpu.state.x[0] = CODE_VA;
        assert_eq!(run(machine, 100), Exit::Wfi);
        machine.cpu.state.x[0]
    };

    assert_eq!(call(&mut machine), 1);
    machine.map(CODE_VA, 3, OTHER_CODE | KERNEL_RX);

    assert_eq!(call(&mut machine), 2);
}

#[test]
fn fetch_fault_is_reported_at_the_first_instruction_of_its_page() {
    let mut machine = kernel(&[]);
    write(&mut machine.bus, CODE + 0xff8, &[NOP, NOP]);
    machine.cpu.state.pc = CODE_VA + 0xff8;

    run(&mut machine, 3);

    let sys = &machine.cpu.state.sys;
    assert_eq!((sys.esr, sys.elr), (0x8600_0007, CODE_VA + 0x1000));
    assert_eq!(
        (sys.far, machine.cpu.state.pc),
        (CODE_VA + 0x1000, VECTORS_VA + 0x200)
    );
}

#[test]
fn undefined_instruction_is_an_exception() {
    let mut machine = kernel(&[NOP, 0]);

    run(&mut machine, 2);

    assert_eq!(
        (machine.cpu.state.sys.esr, machine.cpu.state.sys.elr),
        (0x0200_0000, CODE_VA + 4)
    );
    assert_eq!(machine.cpu.state.pc, VECTORS_VA + 0x200);
}

#[test]
fn branch_to_odd_address_faults_at_the_target() {
    let mut machine = kernel(&[BR_X0]);
    machine.cpu.state.x[0] = CODE_VA + 2;

    run(&mut machine, 2);

    let sys = &machine.cpu.state.sys;
    assert_eq!(
        (sys.esr, sys.elr, sys.far),
        (0x8a00_0000, CODE_VA + 2, CODE_VA + 2)
    );
}

#[test]
fn illegal_return_makes_the_next_instruction_fault() {
    let mut machine = kernel(&[ERET, NOP, NOP]);
    machine.cpu.state.sys.spsr = 9; // EL2h
    machine.cpu.state.sys.elr = CODE_VA + 8;

    run(&mut machine, 2);

    let sys = &machine.cpu.state.sys;
    assert_eq!((sys.esr, sys.elr), (0x3a00_0000, CODE_VA + 8));
    assert_eq!(sys.spsr >> 20 & 1, 1);
    assert!(!machine.cpu.state.pstate.il);
}

#[test]
fn endless_faults_spend_the_budget() {
    let mut machine = kernel(&[0]);
    machine.cpu.state.sys.vbar = 0xffff_8000_7000_0000;

    assert_eq!(run(&mut machine, 1000), Exit::Budget);

    assert_eq!(machine.cpu.retired, 1000);
}

#[test]
fn interrupt_is_taken_before_the_first_instruction() {
    let mut machine = kernel(&[NOP]);
    machine.cpu.state.pstate.daif = 0;
    machine.bus.irq = true;

    run(&mut machine, 1);

    assert_eq!(
        (machine.cpu.state.pc, machine.cpu.state.sys.elr),
        (VECTORS_VA + 0x280, CODE_VA)
    );
}

#[test]
fn interrupt_is_taken_right_after_it_is_unmasked() {
    let mut machine = kernel(&[NOP, DAIFCLR_I, NOP, NOP]);
    machine.bus.irq = true;

    run(&mut machine, 3);

    assert_eq!(
        (machine.cpu.state.pc, machine.cpu.state.sys.elr),
        (VECTORS_VA + 0x280, CODE_VA + 8)
    );
}

/// A bus whose device asks for attention when it is written, and notes when it was touched.
struct Attentive {
    inner: TestBus,
    wanted: bool,
    touched: Vec<u64>,
}

impl Bus for Attentive {
    fn read(&mut self, when: u64, address: u64, size: Size) -> Result<u64, BusError> {
        if DEVICE.contains(&address) {
            self.touched.push(when);
        }
        self.inner.read(when, address, size)
    }

    fn write(&mut self, when: u64, address: u64, size: Size, v: u64) -> Result<(), BusError> {
        if DEVICE.contains(&address) {
            self.touched.push(when);
            self.wanted = true;
        }
        self.inner.write(when, address, size, v)
    }

    fn read_pair(&mut self, when: u64, address: u64) -> Result<u128, BusError> {
        self.inner.read_pair(when, address)
    }

    fn write_pair(&mut self, when: u64, address: u64, value: u128) -> Result<(), BusError> {
        self.inner.write_pair(when, address, value)
    }

    fn is_ram(&self, address: u64) -> bool {
        self.inner.is_ram(address)
    }

    fn sysreg_read(&mut self, when: u64, register: u16) -> Option<u64> {
        self.inner.sysreg_read(when, register)
    }

    fn sysreg_write(&mut self, when: u64, register: u16, value: u64) -> Option<()> {
        self.inner.sysreg_write(when, register, value)
    }

    fn irq(&self) -> bool {
        self.inner.irq
    }

    fn fiq(&self) -> bool {
        self.inner.fiq
    }

    fn attention(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }
}

#[test]
fn device_that_wants_attention_stops_the_run_right_after_its_access() {
    let mut machine = kernel(&[
        NOP, LDR_W0_X1, NOP, NOP, STR_W0_X1, NOP, NOP, LDR_W0_X1, B_SELF,
    ]);
    machine.map(DATA_VA, 3, DEVICE.start | KERNEL_DEVICE);
    machine.cpu.state.x[1] = DATA_VA;
    let Machine { mut cpu, bus, .. } = machine;
    let mut bus = Attentive {
        inner: bus,
        wanted: false,
        touched: Vec::new(),
    };

    assert_eq!(cpu.run(&mut bus, 100), Exit::Attention);
    assert_eq!((cpu.state.pc, cpu.retired), (CODE_VA + 20, 5));
    assert_eq!(cpu.run(&mut bus, 100), Exit::Budget);

    // Counted from the beginning of each run.
    assert_eq!(bus.touched, [1, 4, 2]);
}

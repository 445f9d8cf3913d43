//! The CPU under test, made to look like a Linux process: EL0 on page tables, with exceptions told
//! as signals.

use stallbox_aarch64::{Bus, BusError, Cpu, CpuConfig, Exit, Size};

use crate::case::{
    BRK_FILL, CODE_BASE, CODE_BYTES, CROSS, CROSS_BYTES, Case, DATA_BASE, END, END_BYTES, Outcome,
    PAGE, READ_ONLY, SLOT_WORDS, Signal, State, read_only_byte,
};

/// Translation tables, vectors and stubs, out of EL0's reach.
const KERNEL: u64 = CODE_BASE + CODE_BYTES;
const KERNEL_BYTES: u64 = 0x20_0000;
const VECTORS: u64 = KERNEL;
const SETUP: u64 = KERNEL + 0x1000;
const ENTER: u64 = KERNEL + 0x2000;
const TABLES: u64 = KERNEL + 0x1_0000;

const HVC: u32 = 0xd400_0002;
const ISB: u32 = 0xd503_3fdf;

/// X0 to X6 hold VBAR, TTBR0, TCR, MAIR, CPACR, SCTLR and MDSCR.
const SETUP_CODE: [u32; 10] = [
    0xd510_0246, // msr mdscr_el1, x6
    0xd518_c000, // msr vbar_el1, x0
    0xd518_2001, // msr ttbr0_el1, x1
    0xd518_2042, // msr tcr_el1, x2
    0xd518_a203, // msr mair_el1, x3
    0xd518_1044, // msr cpacr_el1, x4
    ISB,
    0xd518_1005, // msr sctlr_el1, x5
    ISB,
    HVC,
];

/// Makes new code visible and sets what is not set directly; the test loads the rest of the state
/// at the HVC.
const ENTER_CODE: [u32; 9] = [
    0xd508_751f, // ic iallu
    0xd503_3f9f, // dsb sy
    ISB,
    0xd51b_d040, // msr tpidr_el0, x0
    0xd518_4021, // msr elr_el1, x1
    0xd518_4002, // msr spsr_el1, x2
    0xd518_4103, // msr sp_el0, x3
    HVC,
    0xd69f_03e0, // eret
];

/// The vector for exceptions from EL0: the test saves the state at the first HVC.
const LEAVE_CODE: [u32; 8] = [
    HVC,
    0xd538_5200, // mrs x0, esr_el1
    0xd538_4021, // mrs x1, elr_el1
    0xd538_6002, // mrs x2, far_el1
    0xd538_4003, // mrs x3, spsr_el1
    0xd53b_d044, // mrs x4, tpidr_el0
    0xd538_4105, // mrs x5, sp_el0
    HVC,
];

struct Memory {
    /// Code area and kernel, from `CODE_BASE` on.
    low: Vec<u8>,
    /// The pages from `DATA_BASE` on.
    data: Vec<u8>,
    /// A store that no instruction should have made.
    stray: Option<u64>,
}

impl Memory {
    fn at(&mut self, address: u64, bytes: usize) -> Option<&mut [u8]> {
        let (base, from) = if address >= DATA_BASE {
            (DATA_BASE, &mut self.data)
        } else {
            (CODE_BASE, &mut self.low)
        };
        let offset = usize::try_from(address.checked_sub(base)?).ok()?;
        from.get_mut(offset..offset.checked_add(bytes)?)
    }

    fn put(&mut self, address: u64, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            let to = self
                .at(address + 4 * i as u64, 4)
                .expect("within the memory");
            to.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn put_entry(&mut self, table: u64, index: u64, entry: u64) {
        self.put(table + 8 * index, &[entry as u32, (entry >> 32) as u32]);
    }

    fn stored(&mut self, address: u64, bytes: u64) {
        let within =
            |base: u64, length: usize| address >= base && address + bytes <= base + length as u64;
        if !within(CROSS, CROSS_BYTES) && !within(END, END_BYTES) {
            self.stray = Some(address);
        }
    }
}

impl Bus for Memory {
    fn read(&mut self, _when: u64, address: u64, size: Size) -> Result<u64, BusError> {
        let bytes = size.bytes() as usize;
        assert_eq!(
            address % size.bytes(),
            0,
            "the bus is promised aligned accesses"
        );
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(self.at(address, bytes).ok_or(BusError)?);
        Ok(u64::from_le_bytes(value))
    }

    fn write(&mut self, _when: u64, address: u64, size: Size, value: u64) -> Result<(), BusError> {
        let bytes = size.bytes() as usize;
        assert_eq!(
            address % size.bytes(),
            0,
            "the bus is promised aligned accesses"
        );
        self.stored(address, size.bytes());
        let to = self.at(address, bytes).ok_or(BusError)?;
        to.copy_from_slice(&value.to_le_bytes()[..bytes]);
        Ok(())
    }

    fn read_pair(&mut self, _when: u64, address: u64) -> Result<u128, BusError> {
        assert_eq!(address % 16, 0, "the bus is promised aligned accesses");
        let from = self.at(address, 16).ok_or(BusError)?;
        Ok(u128::from_le_bytes((&*from).try_into().expect("16 bytes")))
    }

    fn write_pair(&mut self, _when: u64, address: u64, value: u128) -> Result<(), BusError> {
        assert_eq!(address % 16, 0, "the bus is promised aligned accesses");
        self.stored(address, 16);
        self.at(address, 16)
            .ok_or(BusError)?
            .copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn is_ram(&self, address: u64) -> bool {
        (CODE_BASE..KERNEL + KERNEL_BYTES).contains(&address)
            || (DATA_BASE..DATA_BASE + 3 * PAGE).contains(&address)
    }

    fn sysreg_read(&mut self, _when: u64, _register: u16) -> Option<u64> {
        None
    }

    fn sysreg_write(&mut self, _when: u64, _register: u16, _value: u64) -> Option<()> {
        None
    }

    fn irq(&self) -> bool {
        false
    }

    fn fiq(&self) -> bool {
        false
    }

    fn attention(&mut self) -> bool {
        false
    }
}

/// What became of a case here.
pub(crate) struct Ended {
    pub outcome: Outcome,
    /// An address outside the compared memory that was stored to.
    pub stray: Option<u64>,
    /// Instructions executed, without the one that ended the sequence.
    pub executed: u64,
}

pub(crate) struct Ours {
    cpu: Cpu,
    memory: Memory,
}

impl Ours {
    pub(crate) fn new() -> Ours {
        let mut memory = Memory {
            low: vec![0; (CODE_BYTES + KERNEL_BYTES) as usize],
            data: vec![0; 3 * PAGE as usize],
            stray: None,
        };
        for offset in 0..PAGE {
            memory.data[(READ_ONLY - DATA_BASE + offset) as usize] = read_only_byte(offset);
        }
        memory.put(SETUP, &SETUP_CODE);
        memory.put(ENTER, &ENTER_CODE);
        memory.put(VECTORS + 0x400, &LEAVE_CODE);
        build_tables(&mut memory);

        let mut cpu = Cpu::new(CpuConfig::default());
        cpu.state.x[..7].copy_from_slice(&[
            VECTORS,
            TABLES,
            // 48-bit lower range of 4 KiB pages, inner shareable write-back tables, no upper
            // range, 48-bit output, top byte ignored as Linux has it.
            16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 16 << 16 | 2 << 30 | 5 << 32 | 1 << 37,
            0xff,
            3 << 20,
            // RES1 fields, MMU and caches on, all of EL0's permissions that Linux grants. Neither
            // SA nor SA0: qemu-user knows no stack alignment check.
            0x30d0_0800 | 1 | 1 << 2 | 1 << 12 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26,
            // TDCC: EL0 has no access to the Debug Communication Channel.
            1 << 12,
        ]);
        cpu.state.pc = SETUP;
        let mut ours = Ours { cpu, memory };
        ours.until_call();
        ours
    }

    /// Runs the EL1 side to its next HVC, or EL0 to the HVC at the vector.
    fn until_call(&mut self) {
        let exit = self.cpu.run(&mut self.memory, 1000);
        let (pc, esr, elr) = (
            self.cpu.state.pc,
            self.cpu.state.sys.esr,
            self.cpu.state.sys.elr,
        );
        assert_eq!(
            exit,
            Exit::Call,
            "at {pc:#x}; last exception {esr:#x} from {elr:#x}"
        );
        assert_eq!(self.cpu.state.pstate.el, 1);
    }

    pub(crate) fn run(&mut self, case: &Case) -> Ended {
        let mut words = [BRK_FILL; SLOT_WORDS];
        words[..case.words.len()].copy_from_slice(&case.words);
        self.memory.put(case.code_address(), &words);
        let given = &case.state;
        let cross = (CROSS - DATA_BASE) as usize;
        let end = (END - DATA_BASE) as usize;
        self.memory.data[cross..cross + CROSS_BYTES].copy_from_slice(&given.cross);
        self.memory.data[end..end + END_BYTES].copy_from_slice(&given.end);
        self.memory.stray = None;

        let cpu = &mut self.cpu;
        cpu.state.pc = ENTER;
        let spsr = u64::from(given.nzcv) | 0x3c0;
        cpu.state.x[..4].copy_from_slice(&[given.tpidr, case.code_address(), spsr, given.x[31]]);
        self.until_call();
        let cpu = &mut self.cpu;
        cpu.state.x[..31].copy_from_slice(&given.x[..31]);
        cpu.state.v = given.v;
        cpu.state.fpcr = given.fpcr;
        cpu.state.fpsr = given.fpsr;
        let retired = cpu.retired;
        self.until_call();

        let cpu = &mut self.cpu;
        // Neither ERET, nor what raised the exception, nor the HVC at the vector.
        let executed = (cpu.retired - retired).saturating_sub(3);
        let vector = cpu.state.pc.wrapping_sub(4);
        assert_eq!(
            vector,
            VECTORS + 0x400,
            "an exception was taken to another vector"
        );
        assert_eq!(cpu.state.x[31], 0, "XZR has changed");
        let mut state = State::ZERO;
        state.x[..31].copy_from_slice(&cpu.state.x[..31]);
        state.v = cpu.state.v;
        state.fpcr = cpu.state.fpcr;
        state.fpsr = cpu.state.fpsr;
        state
            .cross
            .copy_from_slice(&self.memory.data[cross..cross + CROSS_BYTES]);
        state
            .end
            .copy_from_slice(&self.memory.data[end..end + END_BYTES]);
        self.until_call();
        let [esr, pc, far, spsr, tpidr, sp] = self.cpu.state.x[..6] else {
            unreachable!()
        };
        state.nzcv = spsr as u32 & 0xf000_0000;
        state.tpidr = tpidr;
        state.x[31] = sp;
        let signal = signal(esr);
        let address = match signal {
            Signal::Memory | Signal::Alignment => far & 0x00ff_ffff_ffff_ffff,
            _ => 0,
        };
        let outcome = Outcome {
            signal,
            pc,
            address,
            state,
        };
        Ended {
            outcome,
            stray: self.memory.stray,
            executed,
        }
    }
}

/// What Linux makes of a syndrome.
fn signal(esr: u64) -> Signal {
    let (class, status) = (esr >> 26, esr & 0x3f);
    match class {
        // Unknown reason; trapped system register; illegal state.
        0x00 | 0x18 | 0x0e => Signal::Undefined,
        0x3c => Signal::Breakpoint,
        0x22 => Signal::Alignment,
        0x20 | 0x24 => match status {
            0x21 => Signal::Alignment,
            // Address size, translation, access flag and permission faults.
            0x00..=0x0f => Signal::Memory,
            _ => Signal::Other(esr as u32),
        },
        _ => Signal::Other(esr as u32),
    }
}

/// Identity: code for EL0 to read and execute, the kernel for EL1, the data pages.
fn build_tables(memory: &mut Memory) {
    const TABLE: u64 = 3;
    const BLOCK: u64 = 1;
    const PAGE_ENTRY: u64 = 3;
    // Access flag, inner shareable, attribute 0.
    const NORMAL: u64 = 1 << 10 | 3 << 8;
    const UXN: u64 = 1 << 54;
    const PXN: u64 = 1 << 53;
    const EL0: u64 = 1 << 6;
    const READ: u64 = 1 << 7;
    let [level1, level2, level3] = [TABLES + PAGE, TABLES + 2 * PAGE, TABLES + 3 * PAGE];
    memory.put_entry(TABLES, 0, level1 | TABLE);
    memory.put_entry(level1, CODE_BASE >> 30, level2 | TABLE);
    memory.put_entry(level2, 0, CODE_BASE | BLOCK | NORMAL | EL0 | READ | PXN);
    memory.put_entry(level2, 1, KERNEL | BLOCK | NORMAL | UXN);
    memory.put_entry(level2, (DATA_BASE - CODE_BASE) >> 21, level3 | TABLE);
    let writable = PAGE_ENTRY | NORMAL | EL0 | UXN | PXN;
    memory.put_entry(level3, 0, DATA_BASE | writable);
    memory.put_entry(level3, 1, (DATA_BASE + PAGE) | writable);
    memory.put_entry(level3, 2, READ_ONLY | writable | READ);
}

//! Registers of one processing element.

use crate::block::{BlockCache, CodeInvalidation};
use crate::mmu::Mmu;
use crate::monitor::Monitor;
use crate::sysreg::SysRegs;

/// Index of the register that reads as zero.
pub const XZR: u8 = 31;
/// Index that swallows writes to the zero register.
pub const SINK: u8 = 32;
/// Index of the current stack pointer.
pub const SP: u8 = 33;

/// PSTATE without the condition flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pstate {
    /// Exception level: 0 or 1.
    pub el: u8,
    /// SPSel: at EL1, whether SP is SP_EL1.
    pub sp_sel: bool,
    /// D, A, I, F as bits 3 to 0.
    pub daif: u8,
    /// Illegal Execution state.
    pub il: bool,
    /// Software step.
    pub ss: bool,
}

/// What of translation table descriptors a CPU keeps up to date (FEAT_HAFDBS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hafdbs {
    /// Nothing.
    #[default]
    None,
    /// The access flag.
    AccessFlag,
    /// The access flag and dirty state.
    Dirty,
}

/// What is fixed when a CPU is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuConfig {
    /// Index among the vCPUs: MPIDR_EL1.Aff0.
    pub index: u8,
    /// What it keeps up to date: ID_AA64MMFR1_EL1.HAFDBS.
    pub hafdbs: Hafdbs,
}

/// Why [`Cpu::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The budget is spent.
    Budget,
    /// WFI with nothing pending: nothing to do until an interrupt.
    Wfi,
    /// WFE or YIELD: others may go first.
    Yield,
    /// HVC or SMC: the machine answers by writing X0 to X3 (PSCI). The PC is past the instruction.
    Call,
    /// [`Bus::attention`](crate::Bus::attention) said so.
    Attention,
}

/// Slots of the general-purpose register file: as many as a `u8` can name, so that indexing with
/// one needs no bounds check. Those after [`SP`] are unused.
pub const REGISTER_SLOTS: usize = 256;

/// One processing element.
pub struct Cpu {
    /// X0 to X30; then [`XZR`] (always zero), [`SINK`], and the current stack pointer [`SP`].
    /// The decoder turns register 31 into the index that the instruction means, so that execution
    /// never asks.
    pub x: [u64; REGISTER_SLOTS],
    /// V0 to V31.
    pub v: [u128; 32],
    /// Program counter.
    pub pc: u64,
    /// Condition flags N, Z, C, V as bits 31 to 28 (the rest is zero), as in SPSR_EL1.
    pub nzcv: u32,
    /// The rest of PSTATE.
    pub pstate: Pstate,
    /// The stack pointers that are not current: `[SP_EL0, SP_EL1]`; the current one's slot is stale.
    pub sp_banked: [u64; 2],
    /// System registers of the core.
    pub sys: SysRegs,
    /// FPCR.
    pub fpcr: u32,
    /// FPSR.
    pub fpsr: u32,
    /// Instructions retired since reset. Exact between calls of [`Cpu::run`]; within one it counts
    /// whole blocks, and [`Cpu::when`] is exact. An instruction that takes an exception counts, so
    /// that a guest that faults for ever still spends its budget.
    pub retired: u64,
    /// The MMU and its TLBs.
    pub(crate) mmu: Mmu,
    /// `retired` when the run at work began.
    pub(crate) slice_start_retired: u64,
    /// Address of the first instruction of the block at work: `retired` does not count from it on.
    pub(crate) block_pc: u64,
    /// A load or store has reached something other than RAM. Set by the memory access path; makes
    /// the block end, so that [`Bus::attention`](crate::Bus::attention) is asked soon.
    pub(crate) touched_device: bool,
    /// Interrupts, PSTATE or the translation of code may have changed since the last look.
    pub(crate) resync: bool,
    /// What IC instructions have made stale, until the block at work ends.
    pub(crate) code_invalidation: CodeInvalidation,
    /// The local exclusives monitor.
    pub(crate) monitor: Monitor,
    /// Decoded code. Absent only while `run` is at work, which holds it then.
    pub(crate) blocks: Option<Box<BlockCache>>,
}

impl Cpu {
    /// A processing element as reset leaves it: at EL1 with SP_EL1, interrupts masked, MMU off,
    /// everything else zero. The machine sets the PC and the boot registers.
    pub fn new(config: CpuConfig) -> Self {
        Self {
            x: [0; REGISTER_SLOTS],
            v: [0; 32],
            pc: 0,
            nzcv: 0,
            pstate: Pstate {
                el: 1,
                sp_sel: true,
                daif: 0b1111,
                il: false,
                ss: false,
            },
            sp_banked: [0; 2],
            sys: SysRegs::new(&config),
            fpcr: 0,
            fpsr: 0,
            retired: 0,
            mmu: Mmu::default(),
            slice_start_retired: 0,
            block_pc: 0,
            touched_device: false,
            resync: true,
            code_invalidation: CodeInvalidation::default(),
            monitor: Monitor::default(),
            blocks: Some(Box::default()),
        }
    }

    /// How many instructions the run at work has retired before the one at `pc`: what the
    /// [`Bus`](crate::Bus) is told.
    #[inline]
    pub fn when(&self) -> u64 {
        let in_block = self.pc.wrapping_sub(self.block_pc) / 4;
        (self.retired - self.slice_start_retired).wrapping_add(in_block)
    }

    /// The engine turns to another vCPU: its stores, which this one's monitor does not see, must
    /// make the next store-exclusive here fail.
    pub fn clear_exclusive(&mut self) {
        self.monitor.clear();
    }

    /// A register by index.
    #[inline(always)]
    pub(crate) fn r(&self, register: u8) -> u64 {
        self.x[usize::from(register)]
    }

    /// The low half of a register.
    #[inline(always)]
    pub(crate) fn w(&self, register: u8) -> u32 {
        self.r(register) as u32
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, register: u8, value: u64) {
        self.x[usize::from(register)] = value;
    }

    /// Writes a W register: the upper half becomes zero.
    #[inline(always)]
    pub(crate) fn set_w(&mut self, register: u8, value: u32) {
        self.set(register, u64::from(value));
    }
}

//! One processing element: its state, and what executing needs beside it.

use crate::block::{BlockCache, CodeInvalidation};
use crate::leave::Leave;
use crate::mmu::Mmu;
use crate::state::State;
use crate::sysreg::SysRegs;

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

/// One processing element: its architectural [`State`], and what our executor keeps beside it.
pub struct Cpu {
    /// What instructions read and write.
    pub state: State,
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
    /// Whether execution goes on after the instruction at work.
    pub(crate) leave: Leave,
    /// What IC instructions have made stale, until the next look.
    pub(crate) code_invalidation: CodeInvalidation,
    /// Decoded code. Absent only while `run` is at work, which holds it then.
    pub(crate) blocks: Option<Box<BlockCache>>,
}

impl Cpu {
    /// A processing element as reset leaves it: at EL1 with SP_EL1, interrupts masked, MMU off,
    /// everything else zero. The machine sets the PC and the boot registers.
    pub fn new(config: CpuConfig) -> Self {
        Self {
            state: State::new(SysRegs::new(&config)),
            retired: 0,
            mmu: Mmu::default(),
            slice_start_retired: 0,
            block_pc: 0,
            leave: Leave::No,
            code_invalidation: CodeInvalidation::default(),
            blocks: Some(Box::default()),
        }
    }

    /// How many instructions the run at work has retired before the one at `pc`: what the
    /// [`Bus`](crate::Bus) is told.
    #[inline]
    pub fn when(&self) -> u64 {
        let in_block = self.state.pc.wrapping_sub(self.block_pc) / 4;
        (self.retired - self.slice_start_retired).wrapping_add(in_block)
    }

    /// The engine turns to another vCPU: its stores, which this one's monitor does not see, must
    /// make the next store-exclusive here fail.
    pub fn clear_exclusive(&mut self) {
        self.state.monitor.clear();
    }
}

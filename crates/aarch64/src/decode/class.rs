//! What kind of thing an instruction is, for whoever need not know which one it is.

#[cfg(test)]
mod tests;

use super::simd::SimdInsn;
use super::system::SystemInsn;
use super::{BranchRegisterOp, Insn};

/// The classes of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Unallocated.
    Undefined,
    /// Computes with registers and does nothing else.
    DataProcessing,
    /// Floating point and Advanced SIMD: the same with vector registers too.
    Simd,
    /// Goes on elsewhere, or may.
    Branch,
    /// Moves data between registers and memory, of whichever kind.
    LoadStore,
    /// Exclusives, and what reads memory and writes it at once: they need RAM.
    Atomic,
    /// A prefetch: a hint about memory.
    Prefetch,
    /// Exceptions, hints, barriers, system registers and system instructions.
    System,
}

impl Insn {
    /// The class.
    pub const fn class(&self) -> Class {
        match self {
            Self::Undefined => Class::Undefined,
            Self::Simd(insn) if insn.is_load_or_store() => Class::LoadStore,
            Self::Simd(_) => Class::Simd,
            Self::System(_) => Class::System,
            Self::Adr { .. }
            | Self::AddSubImm { .. }
            | Self::LogicalImm { .. }
            | Self::MoveWide { .. }
            | Self::Bitfield { .. }
            | Self::Extract { .. }
            | Self::LogicalShifted { .. }
            | Self::AddSubShifted { .. }
            | Self::AddSubExtended { .. }
            | Self::AddSubCarry { .. }
            | Self::CondCompareReg { .. }
            | Self::CondCompareImm { .. }
            | Self::CondSel { .. }
            | Self::Divide { .. }
            | Self::ShiftVariable { .. }
            | Self::Crc32 { .. }
            | Self::OneSource { .. }
            | Self::MultiplyAdd { .. }
            | Self::MultiplyAddLong { .. }
            | Self::MultiplyHigh { .. } => Class::DataProcessing,
            Self::Branch { .. }
            | Self::BranchCond { .. }
            | Self::CompareBranch { .. }
            | Self::TestBranch { .. }
            | Self::BranchRegister { .. } => Class::Branch,
            Self::Load { .. }
            | Self::Store { .. }
            | Self::LoadLiteral { .. }
            | Self::LoadPair { .. }
            | Self::StorePair { .. }
            | Self::LoadAcquire { .. }
            | Self::StoreRelease { .. } => Class::LoadStore,
            Self::LoadExclusive { .. }
            | Self::StoreExclusive { .. }
            | Self::LoadExclusivePair { .. }
            | Self::StoreExclusivePair { .. }
            | Self::CompareSwap { .. }
            | Self::CompareSwapPair { .. }
            | Self::Atomic { .. } => Class::Atomic,
            Self::Prefetch { .. } | Self::PrefetchLiteral { .. } => Class::Prefetch,
        }
    }

    /// Whether it moves data between registers and memory, and does nothing else: it works on
    /// device registers too.
    pub const fn is_load_or_store(&self) -> bool {
        matches!(self.class(), Class::LoadStore)
    }

    /// Whether execution does not go on to the next instruction, or may not, whatever the state it
    /// meets. A system instruction that changes what comes next leaves a block when it is executed;
    /// most do not.
    pub const fn ends_block(&self) -> bool {
        matches!(self.class(), Class::Undefined | Class::Branch)
    }

    /// Whether it calls a subroutine: the link register gets the address of the next instruction.
    pub const fn is_call(&self) -> bool {
        matches!(
            self,
            Self::Branch { link: true, .. }
                | Self::BranchRegister {
                    op: BranchRegisterOp::Blr,
                    ..
                }
        )
    }

    /// Whether it may take an exception of its own (not an interrupt, and not by its fetch).
    pub const fn may_trap(&self) -> bool {
        match self.class() {
            // FP and SIMD may be disabled (CPACR_EL1.FPEN).
            Class::Undefined | Class::Simd | Class::LoadStore | Class::Atomic => true,
            Class::DataProcessing | Class::Branch | Class::Prefetch => false,
            Class::System => match self {
                Self::System(insn) => insn.may_trap(),
                _ => true,
            },
        }
    }
}

impl SimdInsn {
    /// Whether it moves data between registers and memory.
    pub const fn is_load_or_store(&self) -> bool {
        matches!(
            self,
            Self::Load { .. }
                | Self::Store { .. }
                | Self::LoadLiteral { .. }
                | Self::LoadPair { .. }
                | Self::StorePair { .. }
                | Self::LoadMultiple(_)
                | Self::StoreMultiple(_)
                | Self::LoadSingle(_)
                | Self::StoreSingle(_)
                | Self::LoadReplicate(_)
        )
    }
}

impl SystemInsn {
    /// Hints that wait can be trapped; other hints and barriers cannot.
    const fn may_trap(&self) -> bool {
        match self {
            Self::Hint(number) => matches!(*number, Self::WFE | Self::WFI),
            Self::Clrex(_) | Self::Dsb(_) | Self::Dmb(_) | Self::Isb(_) => false,
            _ => true,
        }
    }
}

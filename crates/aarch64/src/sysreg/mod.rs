//! System registers of the core: where they are kept, how they are named, who may touch them.
//!
//! DDI 0487: *AArch64 System Register Descriptions* and *AArch64 System Register Encoding*. The
//! registers are rows of [`TABLE`]; what is not there is offered to the [`Bus`](crate::Bus), which
//! has the timers and the interrupt controller, and is UNDEFINED when the bus knows nothing either.
//!
//! Not implemented, and UNDEFINED: the Performance Monitors (ID_AA64DFR0_EL1.PMUVer is 0), trace,
//! RAS, statistical profiling, and everything of EL2 and EL3.

mod access;
pub mod id;
mod table;
#[cfg(test)]
mod tests;

use crate::cpu::CpuConfig;

pub(crate) use access::{read, write};
pub(crate) use table::Effect;
pub use table::{NO_ROW, Row, Rule, TABLE, row_of};

/// Packs a register's encoding as the [`Bus`](crate::Bus) has it.
pub const fn encoding(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> u16 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// Breakpoints, and watchpoints, whose registers exist: the least the architecture allows.
pub const BREAKPOINTS: usize = 2;

/// SCTLR_EL1 fields outside the MMU.
pub(crate) mod sctlr {
    /// SP alignment check at EL1; the bit above it is the one at EL0.
    pub(crate) const SA_SHIFT: u32 = 3;
    /// EL0 may use the DAIF masks.
    pub(crate) const UMA: u64 = 1 << 9;
    /// EL0 may use DC ZVA.
    pub(crate) const DZE: u64 = 1 << 14;
    /// EL0 may read CTR_EL0.
    pub(crate) const UCT: u64 = 1 << 15;
    /// WFI at EL0 is not trapped.
    pub(crate) const NTWI: u64 = 1 << 16;
    /// WFE at EL0 is not trapped.
    pub(crate) const NTWE: u64 = 1 << 18;
    /// SCXTNUM_EL0 at EL0 is trapped.
    pub(crate) const TSCXT: u64 = 1 << 20;
    /// EL0 may use cache maintenance by address.
    pub(crate) const UCI: u64 = 1 << 26;
}

/// MDSCR_EL1.TDCC: the debug communication channel at EL0 is trapped.
const MDSCR_TDCC: u64 = 1 << 12;

/// Registers that hold a value. Each is named as the architecture has it, without its `_EL1`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
#[repr(C)]
pub struct SysRegs {
    pub sctlr: u64,
    pub cpacr: u64,
    pub ttbr0: u64,
    pub ttbr1: u64,
    pub tcr: u64,
    pub mair: u64,
    pub vbar: u64,
    pub esr: u64,
    pub far: u64,
    pub elr: u64,
    pub spsr: u64,
    pub par: u64,
    pub contextidr: u64,
    pub tpidr_el0: u64,
    pub tpidrro_el0: u64,
    pub tpidr: u64,
    pub scxtnum_el0: u64,
    pub scxtnum: u64,
    pub csselr: u64,
    pub cntkctl: u64,
    pub mdscr: u64,
    pub mdccint: u64,
    pub osdlr: u64,
    pub os_lock: u64,
    pub oseccr: u64,
    pub dbgclaim: u64,
    pub dbgbvr: [u64; BREAKPOINTS],
    pub dbgbcr: [u64; BREAKPOINTS],
    pub dbgwvr: [u64; BREAKPOINTS],
    pub dbgwcr: [u64; BREAKPOINTS],
    pub mpidr: u64,
    pub mmfr1: u64,
    /// The Event Register of WFE and SEV.
    pub event_register: bool,
}

impl SysRegs {
    /// As reset leaves them. What the architecture calls UNKNOWN then is zero.
    pub fn new(config: &CpuConfig) -> Self {
        let mut regs = Self {
            mpidr: id::MPIDR_RES1 | u64::from(config.index),
            mmfr1: id::mmfr1(config),
            ..Self::default()
        };
        for row in TABLE {
            row.reset(&mut regs);
        }
        regs
    }

    /// SCTLR_EL1.SA at EL1, SCTLR_EL1.SA0 at EL0.
    #[inline]
    pub(crate) fn sp_alignment_checked(&self, el: u8) -> bool {
        let bit = sctlr::SA_SHIFT + u32::from(el == 0);
        self.sctlr >> bit & 1 != 0
    }
}

//! Address translation and the accesses that need it.
//!
//! Stage 1 of the EL1&0 regime with 4, 16 and 64 KiB granules, 48-bit addresses on both sides and
//! 16-bit ASIDs. DDI 0487: *The AArch64 Virtual Memory System Architecture*.
//!
//! - [`regime`]: the control registers, parsed when they are written.
//! - [`walk`](mod@walk): tables in memory to a [`walk::Translation`].
//! - [`tlb`]: what was found, for next time.
//! - `access`: loads, stores and fetches.
//! - `maintenance`: TLBI, cache maintenance, AT, and their broadcast to other CPUs.

mod access;
mod maintenance;
pub mod regime;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tlb;
pub mod walk;

use crate::cpu::{Cpu, CpuConfig};
use crate::sysreg::SysRegs;

pub use maintenance::{Broadcast, TlbScope};

/// Implemented physical address bits: ID_AA64MMFR0_EL1.PARange.
pub const PHYSICAL_BITS: u32 = 48;

/// Width in bits of a physical address, as ID_AA64MMFR0_EL1.PARange and TCR_EL1.IPS have it.
pub const fn address_bits(field: u64) -> u32 {
    match field {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        6 => 52,
        _ => 56,
    }
}

/// What kind of load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessType {
    /// Plain.
    Normal,
    /// LDTR and STTR: as from EL0.
    Unprivileged,
    /// Exclusives and atomics: always aligned, and only RAM can do it.
    Atomic,
    /// Load-acquire and store-release: always aligned.
    AcquireRelease,
}

/// Why a translation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Address size fault.
    AddressSize,
    /// Translation fault.
    Translation,
    /// Access flag fault.
    AccessFlag,
    /// Permission fault.
    Permission,
    /// Synchronous External abort on a translation table walk.
    ExternalOnWalk,
    /// A descriptor is to be updated that is not in RAM.
    UnsupportedUpdate,
}

/// A failed translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub kind: FaultKind,
    /// The level of the table or descriptor at fault.
    pub level: u8,
}

impl Fault {
    /// The fault status code, ESR_EL1.ISS\[5:0\] of an abort.
    pub fn status_code(self) -> u32 {
        let base = match self.kind {
            // It has no level.
            FaultKind::UnsupportedUpdate => return 0x31,
            FaultKind::AddressSize => 0x00,
            FaultKind::Translation => 0x04,
            FaultKind::AccessFlag => 0x08,
            FaultKind::Permission => 0x0c,
            FaultKind::ExternalOnWalk => 0x14,
        };
        base | u32::from(self.level)
    }
}

/// Fault status codes that are not about translation.
pub(crate) mod status {
    /// Synchronous External abort, not on a walk.
    pub(crate) const EXTERNAL: u32 = 0x10;
    /// Alignment fault.
    pub(crate) const ALIGNMENT: u32 = 0x21;
    /// Unsupported exclusive or atomic access.
    pub(crate) const UNSUPPORTED_ATOMIC: u32 = 0x35;
}

/// What the CPU keeps about translation.
pub struct Mmu {
    pub(crate) tlb: tlb::Tlb,
    /// The control registers, parsed.
    pub(crate) regime: regime::Regime,
    /// Maintenance for other CPUs, oldest first.
    broadcasts: Vec<Broadcast>,
    /// Whether there are other CPUs to tell.
    broadcasting: bool,
}

impl Default for Mmu {
    /// As reset leaves it.
    fn default() -> Self {
        let regime = regime::Regime::parse(&SysRegs::new(&CpuConfig::default()));
        Self {
            tlb: tlb::Tlb::new(),
            regime,
            broadcasts: Vec::new(),
            broadcasting: true,
        }
    }
}

impl Cpu {
    /// To be called when SCTLR_EL1, TCR_EL1 or MAIR_EL1 has changed.
    ///
    /// The architecture lets all three be cached in a TLB, so that software must invalidate after
    /// a change; dropping everything here is stricter than that and keeps the entries simple.
    pub(crate) fn translation_control_changed(&mut self) {
        self.mmu.regime = regime::Regime::parse(&self.state.sys);
        self.mmu.tlb.flush_all();
        self.mmu.tlb.set_asid(self.mmu.regime.asid);
    }

    /// To be called when TTBR0_EL1 or TTBR1_EL1 has changed.
    pub(crate) fn translation_base_changed(&mut self) {
        self.mmu.regime = regime::Regime::parse(&self.state.sys);
        self.mmu.tlb.set_asid(self.mmu.regime.asid);
    }

    /// A number that stands for the translation of instruction addresses as it is now.
    ///
    /// While it has the same value, an address that [`Cpu::fetch_address`] has translated still
    /// translates the same; returning to an earlier value (another ASID, another exception level)
    /// makes the translations made under that value good again. So it is a key, not a clock.
    #[inline]
    pub fn mmu_generation(&self) -> u64 {
        self.mmu.tlb.fetch_generation(self.state.pstate.el)
    }

    /// The PC for a branch to `target`: with Top Byte Ignore, the tag is replaced by copies of bit
    /// 55 (`AArch64.BranchAddr`).
    #[inline(always)]
    pub fn branch_address(&self, target: u64) -> u64 {
        // Untagged addresses, nearly all, need not look at the regime.
        let untagged = ((target << 8) as i64 >> 8) as u64;
        if untagged != target && self.mmu.regime.half(target).top_byte_ignored {
            untagged
        } else {
            target
        }
    }
}

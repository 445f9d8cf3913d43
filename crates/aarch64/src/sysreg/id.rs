//! What the identification registers say, which is what is there and nothing more.
//!
//! | field | value | meaning |
//! |---|---|---|
//! | ID_AA64PFR0_EL1.EL0, EL1 | 1 | AArch64 only |
//! | .EL2, EL3 | 0 | none |
//! | .FP, AdvSIMD | 0 | implemented, without half-precision arithmetic |
//! | .GIC | 1 | system register interface, on the bus |
//! | .CSV2, CSV3 | 3, 1 | nothing is executed speculatively |
//! | ID_AA64ISAR0_EL1.CRC32 | 1 | implemented |
//! | .Atomic | 2 | LSE |
//! | ID_AA64MMFR0_EL1.PARange | 5 | 48 bits |
//! | .ASIDBits | 2 | 16 bits |
//! | .TGran4, TGran64 | 0 | supported, without 52-bit addresses |
//! | .TGran16 | 1 | supported |
//! | ID_AA64MMFR1_EL1.HAFDBS | 0 to 2 | as configured |
//! | ID_AA64DFR0_EL1.DebugVer | 6 | Armv8.0 |
//! | .BRPs, WRPs | 1 | two of each, see below |
//! | .PMUVer, TraceVer | 0 | none |
//!
//! DEVIATION: breakpoint and watchpoint registers can be written and read back but match nothing,
//! and software step does not happen. No value of the ID registers says "none" of these.
//!
//! All other ID registers of the space op0 = 3, op1 = 0, CRn = 0, CRm = 1 to 7, named today or not,
//! read as zero, those of AArch32 among them.

use crate::cpu::{CpuConfig, Hafdbs};

/// MIDR_EL1: implementer 0, which is reserved for software use; architecture 15, which is "by ID
/// registers"; a part number of our own. Kernels find no errata for it.
pub const MIDR: u64 = 0x000f_5b00;

/// MPIDR_EL1 bit 31. U and MT are 0, the CPU's index is Aff0.
pub const MPIDR_RES1: u64 = 1 << 31;

/// CTR_EL0: 64-byte lines of both caches, PIPT, ERG and CWG of 16 words; IDC (no cleaning needed
/// to the point of unification), not DIC (new code needs IC IVAU: decoded code is cached).
pub const CTR: u64 = 1 << 31 | 1 << 28 | 4 << 24 | 4 << 20 | 4 << 16 | 3 << 14 | 4;

/// DCZID_EL0.BS: DC ZVA zeroes 16 words.
pub const DCZID: u64 = 4;
/// DCZID_EL0.DZP: DC ZVA is prohibited here.
pub const DCZID_DZP: u64 = 1 << 4;

/// CLIDR_EL1: no caches to maintain by set and way. Data caches are not modelled, and decoded code
/// has neither sets nor ways.
pub const CLIDR: u64 = 0;

/// ID_AA64PFR0_EL1.
pub const PFR0: u64 = 1 << 60 | 3 << 56 | 1 << 24 | 1 << 4 | 1;
/// ID_AA64DFR0_EL1.
pub const DFR0: u64 = 1 << 20 | 1 << 12 | 6;
/// ID_AA64ISAR0_EL1.
pub const ISAR0: u64 = 2 << 20 | 1 << 16;
/// ID_AA64MMFR0_EL1.
pub const MMFR0: u64 = 1 << 20 | 2 << 4 | 5;

/// ID_AA64MMFR1_EL1.
pub fn mmfr1(config: &CpuConfig) -> u64 {
    match config.hafdbs {
        Hafdbs::None => 0,
        Hafdbs::AccessFlag => 1,
        Hafdbs::Dirty => 2,
    }
}

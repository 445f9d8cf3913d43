//! The EL1&0 translation regime as SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1 and MAIR_EL1 set it,
//! parsed once for each write to one of them rather than at each translation.
//!
//! DDI 0487: *TCR_EL1, Translation Control Register (EL1)*; *The VMSAv8-64 address translation
//! system*; pseudocode `AArch64.TranslationTableWalk`, its part before the first descriptor.

use super::{PHYSICAL_BITS, address_bits};
use crate::sysreg::SysRegs;

/// SCTLR_EL1 fields that the MMU reads.
mod sctlr {
    pub(super) const M: u64 = 1;
    pub(super) const A: u64 = 1 << 1;
    pub(super) const WXN: u64 = 1 << 19;
}

/// TCR_EL1.A1: the ASID is in TTBR1_EL1.
const TCR_A1: u64 = 1 << 22;
/// TCR_EL1.AS: ASIDs have 16 bits.
const TCR_AS: u64 = 1 << 36;

/// TCR_EL1.HA: the MMU sets access flags.
const TCR_HA: u64 = 1 << 39;
/// TCR_EL1.HD: the MMU keeps dirty state, if it sets access flags.
const TCR_HD: u64 = 1 << 40;
/// ID_AA64MMFR1_EL1.HAFDBS.
const MMFR1_HAFDBS: u64 = 0xf;

/// Translation granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl Granule {
    /// Address bits within a page.
    pub const fn page_bits(self) -> u32 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }

    /// Address bits that one level of tables resolves.
    pub const fn stride(self) -> u32 {
        self.page_bits() - 3
    }

    /// Whether a descriptor at this level may be a block.
    pub const fn has_blocks_at(self, level: u8) -> bool {
        match self {
            Self::K4 => level == 1 || level == 2,
            Self::K16 | Self::K64 => level == 2,
        }
    }
}

/// One half of the address space: what TTBR0_EL1 or TTBR1_EL1 translates.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    /// Walks are possible: not EPDn, and TnSZ within what the architecture allows.
    pub walks: bool,
    /// Top Byte Ignore.
    pub top_byte_ignored: bool,
    /// Translation granule.
    pub granule: Granule,
    /// Bits of virtual address, 64 - TnSZ.
    pub input_bits: u32,
    /// Level of the first table.
    pub start_level: u8,
    /// Address of the first table.
    pub table: u64,
}

impl Half {
    fn parse(tcr: u64, ttbr: u64, upper: bool) -> Self {
        let field = tcr >> if upper { 16 } else { 0 };
        let size = (field & 0x3f) as u32;
        let disabled = field >> 7 & 1 != 0;
        // TG0 and TG1 have different encodings; a reserved value is taken as 4 KiB, which the
        // architecture leaves to the implementation.
        let granule = match (upper, tcr >> if upper { 30 } else { 14 } & 3) {
            (false, 1) | (true, 3) => Granule::K64,
            (false, 2) | (true, 1) => Granule::K16,
            _ => Granule::K4,
        };
        let top_byte_ignored = tcr >> if upper { 38 } else { 37 } & 1 != 0;
        // Out of range is a Translation fault here: one of the choices the architecture leaves.
        let in_range = (16..=39).contains(&size);
        let input_bits = if in_range { 64 - size } else { 48 };
        let resolved = input_bits - granule.page_bits();
        let levels = resolved.div_ceil(granule.stride());
        let start_level = 4 - levels as u8;
        let index_bits = resolved - (levels - 1) * granule.stride();
        let align = index_bits + 3;
        let table = ttbr & 0x0000_ffff_ffff_ffff & (u64::MAX << align);
        Self {
            walks: in_range && !disabled,
            top_byte_ignored,
            granule,
            input_bits,
            start_level,
            table,
        }
    }

    /// Whether the bits above the input range are what this half asks for.
    pub fn is_canonical(&self, va: u64) -> bool {
        let top = if self.top_byte_ignored { 56 } else { 64 };
        // Bit 55 chose the half, so it is also what the others must equal.
        let shifted = ((va << (64 - top)) as i64) >> (64 - top);
        let above = shifted >> self.input_bits;
        above == 0 && va >> 55 & 1 == 0 || above == -1 && va >> 55 & 1 != 0
    }
}

/// The parsed regime.
#[derive(Clone, Copy, Debug)]
pub struct Regime {
    /// SCTLR_EL1.M.
    pub enabled: bool,
    /// SCTLR_EL1.WXN: writable is never executable.
    pub write_implies_xn: bool,
    /// SCTLR_EL1.A: every access must be aligned.
    pub strict_alignment: bool,
    /// What TTBR0_EL1 and TTBR1_EL1 translate.
    pub halves: [Half; 2],
    /// TCR_EL1.IPS as a number of bits, no more than are implemented.
    pub output_bits: u32,
    /// MAIR_EL1.
    pub mair: u64,
    /// The current ASID.
    pub asid: u16,
    /// Access flags are set by the MMU: TCR_EL1.HA, if there is that.
    pub sets_access_flag: bool,
    /// Dirty state is kept by the MMU: TCR_EL1.HD, if there is that.
    pub keeps_dirty_state: bool,
    /// Another MMU has checked permissions already.
    pub permissions_granted: bool,
}

impl Regime {
    /// Parses the registers.
    pub fn parse(sys: &SysRegs) -> Self {
        let asid = if sys.tcr & TCR_A1 != 0 {
            sys.ttbr1
        } else {
            sys.ttbr0
        } >> 48;
        let asid = if sys.tcr & TCR_AS != 0 {
            asid
        } else {
            asid & 0xff
        } as u16;
        let hafdbs = sys.mmfr1 & MMFR1_HAFDBS;
        let sets_access_flag = hafdbs >= 1 && sys.tcr & TCR_HA != 0;
        Self {
            enabled: sys.sctlr & sctlr::M != 0,
            write_implies_xn: sys.sctlr & sctlr::WXN != 0,
            strict_alignment: sys.sctlr & sctlr::A != 0,
            halves: [
                Half::parse(sys.tcr, sys.ttbr0, false),
                Half::parse(sys.tcr, sys.ttbr1, true),
            ],
            output_bits: address_bits(sys.tcr >> 32 & 7).min(PHYSICAL_BITS),
            mair: sys.mair,
            asid,
            sets_access_flag,
            keeps_dirty_state: hafdbs >= 2 && sets_access_flag && sys.tcr & TCR_HD != 0,
            permissions_granted: false,
        }
    }

    /// The half that translates this address: bit 55 decides.
    pub fn half(&self, va: u64) -> &Half {
        &self.halves[(va >> 55 & 1) as usize]
    }
}

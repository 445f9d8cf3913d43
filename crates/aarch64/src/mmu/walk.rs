//! Translation table walks.
//!
//! DDI 0487: *The VMSAv8-64 address translation system*, *VMSAv8-64 translation table format
//! descriptors*, *Memory access control*; pseudocode `AArch64.TranslationTableWalk` and
//! `AArch64.CheckPermission`.

use super::regime::{Half, Regime};
use super::{Fault, FaultKind, PHYSICAL_BITS};
use crate::{Bus, Size};

/// Bits of a stage 1 descriptor.
pub mod descriptor {
    /// Not a fault.
    pub const VALID: u64 = 1;
    /// Above level 3: the next level's table; at level 3: a page.
    pub const TABLE_OR_PAGE: u64 = 2;
    /// AP\[1\]: accessible at EL0.
    pub const AP_EL0: u64 = 1 << 6;
    /// AP\[2\]: read-only.
    pub const AP_READ_ONLY: u64 = 1 << 7;
    /// Access flag.
    pub const AF: u64 = 1 << 10;
    /// The mapping belongs to an ASID.
    pub const NON_GLOBAL: u64 = 1 << 11;
    /// DBM: writable, and read-only for as long as it is clean.
    pub const DIRTY_BIT_MODIFIER: u64 = 1 << 51;
    /// Never executed at EL1.
    pub const PXN: u64 = 1 << 53;
    /// Never executed at EL0.
    pub const UXN: u64 = 1 << 54;
    /// Table: PXN for all below.
    pub const PXN_TABLE: u64 = 1 << 59;
    /// Table: UXN for all below.
    pub const UXN_TABLE: u64 = 1 << 60;
    /// Table, APTable\[0\]: nothing below is accessible at EL0.
    pub const AP_TABLE_NO_EL0: u64 = 1 << 61;
    /// Table, APTable\[1\]: nothing below is writable.
    pub const AP_TABLE_READ_ONLY: u64 = 1 << 62;
}

/// What an access is, for the permission check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A data read.
    Read,
    /// A data write.
    Write,
    /// An instruction fetch.
    Execute,
}

/// A virtual address translated, permissions not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The address itself, translated.
    pub pa: u64,
    /// log2 of the bytes that the descriptor maps.
    pub size_log2: u32,
    /// Level of the descriptor.
    pub level: u8,
    /// Memory attributes: the MAIR_EL1 byte.
    pub attributes: u8,
    /// Shareability, as in the descriptor.
    pub shareability: u8,
    /// Valid for all ASIDs.
    pub global: bool,
    /// EL0 may read.
    pub el0: bool,
    /// Nobody may write.
    pub read_only: bool,
    /// EL1 may not execute.
    pub pxn: bool,
    /// EL0 may not execute.
    pub uxn: bool,
    /// The descriptor, where the MMU keeps it up to date.
    pub kept: Option<Kept>,
}

/// A descriptor that the MMU keeps up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub at: u64,
    /// As it was read.
    pub word: u64,
}

impl Kept {
    /// What it must be for an access that is permitted, if it is not.
    pub fn updated(self, access: Access) -> Option<u64> {
        let mut word = self.word | descriptor::AF;
        if access == Access::Write {
            // Nothing but the dirty bit modifier permits a write where this is set.
            word &= !descriptor::AP_READ_ONLY;
        }
        (word != self.word).then_some(word)
    }
}

impl Translation {
    /// Device memory: MAIR attribute with an upper half of zero.
    pub fn is_device(&self) -> bool {
        self.attributes >> 4 == 0
    }

    /// Translation with the MMU off: addresses as they are, data as Device-nGnRnE, everything
    /// permitted.
    fn flat(pa: u64, access: Access) -> Self {
        Self {
            pa,
            size_log2: 12,
            level: 0,
            attributes: if access == Access::Execute { 0xbb } else { 0 },
            shareability: 2,
            global: true,
            el0: true,
            read_only: false,
            pxn: false,
            uxn: false,
            kept: None,
        }
    }

    /// Whether the exception level may do this (`AArch64.CheckPermission`). With the MMU off,
    /// everybody may do everything.
    pub fn permits(&self, access: Access, el: u8, regime: &Regime) -> bool {
        if !regime.enabled || regime.permissions_granted {
            return true;
        }
        let write_implies_xn = regime.write_implies_xn;
        let writable_el0 = self.el0 && !self.read_only;
        let (read, write, never_executed) = if el == 0 {
            (
                self.el0,
                writable_el0,
                self.uxn || write_implies_xn && writable_el0,
            )
        } else {
            // What EL0 may write is never executed at EL1, whatever PXN says.
            let never = self.pxn || writable_el0 || write_implies_xn && !self.read_only;
            (true, !self.read_only, never)
        };
        match access {
            Access::Read => read,
            Access::Write => write,
            Access::Execute => !never_executed,
        }
    }
}

/// Translates an address by the tables in memory.
pub fn walk<B: Bus>(
    bus: &mut B,
    when: u64,
    regime: &Regime,
    va: u64,
    access: Access,
) -> Result<Translation, Fault> {
    let half = regime.half(va);
    if !regime.enabled {
        let top = if half.top_byte_ignored {
            va & (u64::MAX >> 8)
        } else {
            va
        };
        if top >> PHYSICAL_BITS != 0 {
            return Err(Fault {
                kind: FaultKind::AddressSize,
                level: 0,
            });
        }
        return Ok(Translation::flat(top, access));
    }
    if !half.is_canonical(va) || !half.walks {
        return Err(Fault {
            kind: FaultKind::Translation,
            level: 0,
        });
    }
    if half.table >> regime.output_bits != 0 {
        return Err(Fault {
            kind: FaultKind::AddressSize,
            level: 0,
        });
    }
    walk_tables(bus, when, regime, half, va)
}

fn walk_tables<B: Bus>(
    bus: &mut B,
    when: u64,
    regime: &Regime,
    half: &Half,
    va: u64,
) -> Result<Translation, Fault> {
    let granule = half.granule;
    let input = va & (u64::MAX >> (64 - half.input_bits));
    let mut table = half.table;
    // Attributes of the tables passed, gathered at the bits where they stand.
    let mut inherited = 0;
    let mut level = half.start_level;
    loop {
        let shift = granule.page_bits() + u32::from(3 - level) * granule.stride();
        // The first table may be smaller than the others; `input` has no bits above it then.
        let index = input >> shift & ((1 << granule.stride()) - 1);
        let fault = |kind| Fault { kind, level };
        let at = table | index << 3;
        let word = bus
            .read(when, at, Size::Double)
            .map_err(|_| fault(FaultKind::ExternalOnWalk))?;
        if word & descriptor::VALID == 0 {
            return Err(fault(FaultKind::Translation));
        }
        let is_table = level < 3 && word & descriptor::TABLE_OR_PAGE != 0;
        let is_leaf = match level {
            3 => word & descriptor::TABLE_OR_PAGE != 0,
            _ => !is_table && granule.has_blocks_at(level),
        };
        if !is_table && !is_leaf {
            return Err(fault(FaultKind::Translation));
        }
        let address_bits = if is_table { granule.page_bits() } else { shift };
        let address = word & 0x0000_ffff_ffff_ffff & (u64::MAX << address_bits);
        if address >> regime.output_bits != 0 {
            return Err(fault(FaultKind::AddressSize));
        }
        if is_table {
            inherited |= word;
            table = address;
            level += 1;
            continue;
        }
        if word & descriptor::AF == 0 && !regime.sets_access_flag {
            return Err(fault(FaultKind::AccessFlag));
        }
        let mut granted = word;
        if regime.keeps_dirty_state && word & descriptor::DIRTY_BIT_MODIFIER != 0 {
            // If it is read-only it is clean, and a write makes it dirty.
            granted &= !descriptor::AP_READ_ONLY;
        }
        let either = |leaf: u64, table: u64| granted & leaf != 0 || inherited & table != 0;
        return Ok(Translation {
            pa: address | input & ((1 << shift) - 1),
            size_log2: shift,
            level,
            attributes: (regime.mair >> ((word >> 2 & 7) * 8)) as u8,
            shareability: (word >> 8 & 3) as u8,
            global: word & descriptor::NON_GLOBAL == 0,
            el0: word & descriptor::AP_EL0 != 0 && inherited & descriptor::AP_TABLE_NO_EL0 == 0,
            read_only: either(descriptor::AP_READ_ONLY, descriptor::AP_TABLE_READ_ONLY),
            pxn: either(descriptor::PXN, descriptor::PXN_TABLE),
            uxn: either(descriptor::UXN, descriptor::UXN_TABLE),
            kept: regime.sets_access_flag.then_some(Kept { at, word }),
        });
    }
}

//! DDI 0487, *VMSAv8-64 translation table format descriptors*, of both stages.

use super::{bit, bits, field};

/// How a descriptor spells the part of an address that is above or below the plain field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Bits 47 down.
    Plain,
    /// The 64 KiB granule: bits 51:48 are in bits 15:12.
    Wide64,
    /// 52-bit addresses of the smaller granules (DS): bits 51:50 are in bits 9:8, which otherwise
    /// say how memory is shared.
    WideSmall,
}

/// A translation table descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(
    /// The doublewords as they are.
    pub u64,
);

impl Descriptor {
    /// Bit 0: there is something.
    pub const fn valid(self) -> bool {
        bit(self.0, 0)
    }
    /// A table above the last level; a page at it. Clear: a block, or reserved.
    pub const fn table_or_page(self) -> bool {
        bit(self.0, 1)
    }
    /// The address bits from `low` up.
    #[inline(always)]
    pub const fn address(self, layout: Layout, low: u32) -> u64 {
        match layout {
            Layout::Plain => field(self.0, 47, low),
            Layout::Wide64 => field(self.0, 47, low) | field(self.0, 15, 12) << 36,
            Layout::WideSmall => field(self.0, 49, low) | field(self.0, 9, 8) << 42,
        }
    }
    /// AP\[1\]: unprivileged access.
    pub const fn ap1(self) -> bool {
        bit(self.0, 6)
    }
    /// AP\[2\]: read-only.
    pub const fn ap2(self) -> bool {
        bit(self.0, 7)
    }
    /// AF: the access flag.
    pub const fn af(self) -> bool {
        bit(self.0, 10)
    }
    /// nG: of one ASID.
    pub const fn ng(self) -> bool {
        bit(self.0, 11)
    }
    /// DBM: a page that is read-only is so only because it is clean.
    pub const fn dbm(self) -> bool {
        bit(self.0, 51)
    }
    /// PXN: not executable when privileged.
    pub const fn pxn(self) -> bool {
        bit(self.0, 53)
    }
    /// UXN: not executable when unprivileged.
    pub const fn uxn(self) -> bool {
        bit(self.0, 54)
    }
    /// PXNTable: nothing below is executable when privileged.
    pub const fn pxn_table(self) -> bool {
        bit(self.0, 59)
    }
    /// UXNTable: nothing below is executable when unprivileged.
    pub const fn uxn_table(self) -> bool {
        bit(self.0, 60)
    }
    /// APTable\[0\]: no unprivileged access below.
    pub const fn ap_table_privileged(self) -> bool {
        bit(self.0, 61)
    }
    /// APTable\[1\]: no writes below.
    pub const fn ap_table_read_only(self) -> bool {
        bit(self.0, 62)
    }
    /// Stage 2, MemAttr\[3:2\] = 0: memory that is a device.
    pub const fn s2_device(self) -> bool {
        field(self.0, 5, 4) == 0
    }
    /// Stage 2, S2AP\[0\].
    pub const fn s2_read(self) -> bool {
        bit(self.0, 6)
    }
    /// Stage 2, S2AP\[1\].
    pub const fn s2_write(self) -> bool {
        bit(self.0, 7)
    }
    /// Stage 2, XN\[1:0\]: whom it forbids to execute.
    pub const fn s2_xn(self) -> u64 {
        bits(self.0, 54, 53)
    }
}

/// The access flag, in the descriptors of both stages.
pub const AF: u64 = 1 << 10;
/// AP\[2\] of stage 1: set, read-only.
pub const AP2: u64 = 1 << 7;
/// S2AP\[1\] of stage 2: clear, read-only.
pub const S2AP1: u64 = 1 << 7;

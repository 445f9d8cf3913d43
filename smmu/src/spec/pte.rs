//! DDI 0487, *VMSAv8-64 translation table format descriptors*, as far as stage 1 uses them.

use super::{bit, field};

/// A stage 1 translation table descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor(pub(crate) u64);

impl Descriptor {
    pub(crate) const fn valid(self) -> bool {
        bit(self.0, 0)
    }
    /// A table above the last level; a page at it. Clear: a block, or reserved.
    pub(crate) const fn table_or_page(self) -> bool {
        bit(self.0, 1)
    }
    /// The address bits from `low` up, 48 bits wide.
    pub(crate) const fn address48(self, low: u32) -> u64 {
        field(self.0, 47, low)
    }
    /// Bits 51:48 of the address, which the 64 KiB granule keeps in bits 15:12.
    pub(crate) const fn address_top_64k(self) -> u64 {
        field(self.0, 15, 12) << 36
    }
    /// AP\[1\]: unprivileged access.
    pub(crate) const fn ap1(self) -> bool {
        bit(self.0, 6)
    }
    /// AP\[2\]: read-only.
    pub(crate) const fn ap2(self) -> bool {
        bit(self.0, 7)
    }
    pub(crate) const fn af(self) -> bool {
        bit(self.0, 10)
    }
    pub(crate) const fn ng(self) -> bool {
        bit(self.0, 11)
    }
    pub(crate) const fn pxn(self) -> bool {
        bit(self.0, 53)
    }
    pub(crate) const fn uxn(self) -> bool {
        bit(self.0, 54)
    }
    pub(crate) const fn pxn_table(self) -> bool {
        bit(self.0, 59)
    }
    pub(crate) const fn uxn_table(self) -> bool {
        bit(self.0, 60)
    }
    /// APTable\[0\]: no unprivileged access below.
    pub(crate) const fn ap_table_privileged(self) -> bool {
        bit(self.0, 61)
    }
    /// APTable\[1\]: no writes below.
    pub(crate) const fn ap_table_read_only(self) -> bool {
        bit(self.0, 62)
    }
}

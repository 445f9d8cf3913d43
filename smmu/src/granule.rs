//! Translation granules: sizes of pages, tables and blocks.
//!
//! DDI 0487, *The VMSAv8-64 address translation system*.

/// A size of translation tables and of the smallest page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granule {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl Granule {
    /// The page size as a power of two.
    pub const fn bits(self) -> u32 {
        match self {
            Granule::K4 => 12,
            Granule::K16 => 14,
            Granule::K64 => 16,
        }
    }

    /// Address bits that one level resolves.
    pub(crate) const fn stride(self) -> u32 {
        self.bits() - 3
    }

    /// The size of what a leaf at `level` maps, as a power of two.
    pub(crate) const fn leaf_bits(self, level: i32) -> u32 {
        self.bits() + (3 - level) as u32 * self.stride()
    }

    /// Whether a block descriptor may stand at `level`. The largest blocks came with 52-bit
    /// addresses.
    pub(crate) const fn has_block(self, level: i32, wide: bool) -> bool {
        match self {
            Granule::K4 => level == 1 || level == 2 || level == 0 && wide,
            Granule::K16 | Granule::K64 => level == 2 || level == 1 && wide,
        }
    }
}

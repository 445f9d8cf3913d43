//! Stage 1 translation table walks: levels, granules, permissions. It has no memory of its own:
//! whoever walks reads the descriptors, and can take time over it.
//!
//! DDI 0487, *The VMSAv8-64 address translation system*; IHI 0070, *Translation procedure*.

use crate::Access;
use crate::spec::pte::Descriptor;
use crate::spec::{bit, low_mask};

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
    const fn stride(self) -> u32 {
        self.bits() - 3
    }

    /// The size of what a leaf at `level` maps, as a power of two.
    pub(crate) const fn leaf_bits(self, level: u32) -> u32 {
        self.bits() + (3 - level) * self.stride()
    }

    /// Whether a block descriptor may stand at `level`.
    const fn has_block(self, level: u32) -> bool {
        match self {
            Granule::K4 => level == 1 || level == 2,
            Granule::K16 | Granule::K64 => level == 2,
        }
    }
}

/// One of the two halves of the address space: what a context descriptor says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    /// Not EPDx.
    pub(crate) enabled: bool,
    /// 64 - TxSZ.
    pub(crate) input_bits: u32,
    pub(crate) granule: Granule,
    pub(crate) table: u64,
    /// The top byte is not part of the address.
    pub(crate) tbi: bool,
    /// Attributes in table descriptors are ignored.
    pub(crate) had: bool,
}

/// What addresses mean in one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regime {
    pub(crate) halves: [Half; 2],
    /// Effective IPS.
    pub(crate) output_bits: u32,
    /// AFFD: a clear access flag is no fault.
    pub(crate) ignores_access_flag: bool,
    /// WXN: what may be written may not be executed.
    pub(crate) wxn: bool,
    /// PAN: privileged data accesses stay off unprivileged pages.
    pub(crate) pan: bool,
}

/// An input address is a position in 56 bits: bit 55 chooses the half, and the byte above either
/// repeats it or is ignored.
pub(crate) const ADDRESS_BITS: u32 = 56;

impl Regime {
    /// Which half `address` belongs to; none if it is in neither or that half is disabled.
    #[inline]
    pub(crate) fn half(&self, address: u64) -> Option<&Half> {
        let upper = bit(address, 55);
        let half = &self.halves[usize::from(upper)];
        if !half.enabled {
            return None;
        }
        // All bits from the width of the half up to the top must repeat bit 55.
        let spread = if upper { !address } else { address };
        let top = if half.tbi {
            spread & low_mask(ADDRESS_BITS)
        } else {
            spread
        };
        (top >> half.input_bits == 0).then_some(half)
    }
}

/// Who may do what at a leaf, tables above it included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    /// Unprivileged access is allowed at all.
    pub(crate) unprivileged: bool,
    pub(crate) read_only: bool,
    pub(crate) uxn: bool,
    pub(crate) pxn: bool,
}

impl Permissions {
    /// Whether `access` is permitted.
    ///
    /// UWXN needs no code: in VMSAv8-64 what is writable unprivileged never executes privileged.
    #[inline]
    pub(crate) fn allow(self, access: Access, wxn: bool, pan: bool) -> bool {
        let unprivileged_write = self.unprivileged && !self.read_only;
        if access.write {
            if self.read_only {
                return false;
            }
        } else if access.instruction {
            return if access.privileged {
                !(self.pxn || unprivileged_write || wxn && !self.read_only)
            } else {
                !(self.uxn || wxn && unprivileged_write)
            };
        }
        if access.privileged {
            !(pan && self.unprivileged)
        } else {
            self.unprivileged
        }
    }
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Physical address of the page or block.
    pub(crate) output: u64,
    /// Its size as a power of two.
    pub(crate) size_bits: u32,
    pub(crate) level: u32,
    pub(crate) granule: Granule,
    pub(crate) permissions: Permissions,
    pub(crate) accessed: bool,
    pub(crate) global: bool,
}

/// Why a walk ended without a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalkFault {
    /// Nothing is mapped.
    Translation,
    /// A table or the page is beyond the output size.
    AddressSize,
}

/// A walk under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    address: u64,
    table: u64,
    level: u32,
    /// Input bits that the tables from here down resolve.
    input_bits: u32,
    granule: Granule,
    had: bool,
    output_bits: u32,
    // Gathered from table descriptors.
    privileged_only: bool,
    read_only: bool,
    uxn: bool,
    pxn: bool,
}

impl Walk {
    /// Begins the walk for `address`, or finds that there is none to do.
    pub(crate) fn start(regime: &Regime, address: u64) -> Result<Walk, WalkFault> {
        let half = regime.half(address).ok_or(WalkFault::Translation)?;
        let stride = half.granule.stride();
        let level = 4 - (half.input_bits - 4) / stride;
        // The first table is only as large as it must be, and as aligned.
        let entries_log2 = half.input_bits - half.granule.leaf_bits(level);
        let table = half.table & !low_mask(entries_log2 + 3);
        Ok(Walk {
            address,
            table,
            level,
            input_bits: half.input_bits,
            granule: half.granule,
            had: half.had,
            output_bits: regime.output_bits,
            privileged_only: false,
            read_only: false,
            uxn: false,
            pxn: false,
        })
    }

    /// Where the next descriptor is.
    pub(crate) fn descriptor_address(&self) -> u64 {
        let index =
            (self.address & low_mask(self.input_bits)) >> self.granule.leaf_bits(self.level);
        self.table + index * 8
    }

    /// Takes the descriptor at [`Walk::descriptor_address`]: a leaf, or `None` if there is another
    /// to read.
    #[inline(always)]
    pub(crate) fn step(&mut self, raw: u64) -> Result<Option<Leaf>, WalkFault> {
        let descriptor = Descriptor(raw);
        let last = self.level == 3;
        if !descriptor.valid() {
            return Err(WalkFault::Translation);
        }
        if !last && descriptor.table_or_page() {
            self.table = self.output(descriptor, self.granule.bits())?;
            if !self.had {
                self.privileged_only |= descriptor.ap_table_privileged();
                self.read_only |= descriptor.ap_table_read_only();
                self.uxn |= descriptor.uxn_table();
                self.pxn |= descriptor.pxn_table();
            }
            self.input_bits = self.granule.leaf_bits(self.level);
            self.level += 1;
            return Ok(None);
        }
        if last != descriptor.table_or_page() || !(last || self.granule.has_block(self.level)) {
            return Err(WalkFault::Translation);
        }
        let size_bits = self.granule.leaf_bits(self.level);
        Ok(Some(Leaf {
            output: self.output(descriptor, size_bits)?,
            size_bits,
            level: self.level,
            granule: self.granule,
            permissions: Permissions {
                unprivileged: descriptor.ap1() && !self.privileged_only,
                read_only: descriptor.ap2() || self.read_only,
                uxn: descriptor.uxn() || self.uxn,
                pxn: descriptor.pxn() || self.pxn,
            },
            accessed: descriptor.af(),
            global: !descriptor.ng(),
        }))
    }

    /// The address in `descriptor`, from bit `low` up, if it is within the output size.
    fn output(&self, descriptor: Descriptor, low: u32) -> Result<u64, WalkFault> {
        let mut address = descriptor.address48(low);
        if self.granule == Granule::K64 {
            // The address goes on in bits 15:12, 52-bit output or not.
            address |= descriptor.address_top_64k();
        }
        if address & !low_mask(self.output_bits) == 0 {
            Ok(address)
        } else {
            Err(WalkFault::AddressSize)
        }
    }
}

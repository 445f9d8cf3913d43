//! Translation table walks of both stages: levels, granules, permissions, access flag and dirty
//! state. It has no memory of its own: whoever walks reads the descriptors, and can take time over
//! it.
//!
//! DDI 0487, *The VMSAv8-64 address translation system*; IHI 0070, *Translation procedure*,
//! *Translation table access flag and dirty state*.

use crate::granule::Granule;
use crate::spec::pte::{self, Descriptor, Layout};
use crate::spec::{bit, low_mask};
use crate::transaction::Access;

/// A tree of translation tables. It is copied for each walk, and so it is kept small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The first table, aligned; with concatenated tables, the first of those.
    pub(crate) table: u64,
    /// Its level: -1 to 3.
    pub(crate) level: i8,
    /// Width of an input address.
    pub(crate) input_bits: u8,
    /// Width of an output address.
    pub(crate) output_bits: u8,
    pub(crate) granule: Granule,
    pub(crate) layout: Layout,
    /// There are blocks of the sizes that 52-bit addresses brought.
    pub(crate) wide: bool,
}

impl Tree {
    /// `table`, aligned as the architecture aligns it: to the size of what the walk begins in.
    pub(crate) fn align(&self, table: u64) -> u64 {
        let entries_log2 = u32::from(self.input_bits) - self.granule.leaf_bits(self.level.into());
        let least = if self.output_bits == 52 { 6 } else { 0 };
        table & !low_mask((entries_log2 + 3).max(least))
    }
}

/// One of the two halves of the address space: what a context descriptor says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    /// Not EPDx.
    pub(crate) enabled: bool,
    /// The top byte is not part of the address.
    pub(crate) tbi: bool,
    /// Attributes in table descriptors are ignored.
    pub(crate) had: bool,
    /// E0PD: closed to unprivileged accesses.
    pub(crate) privileged_only: bool,
    pub(crate) tree: Tree,
}

/// Which state the SMMU itself keeps in descriptors (HTTU).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Updates {
    /// The access flag.
    pub(crate) accessed: bool,
    /// Dirty state; never without the access flag.
    pub(crate) dirty: bool,
}

/// Whose translation regime a stream's stage 1 is (StreamWorld).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum World {
    /// NS-EL1.
    #[default]
    El1,
    /// Any-EL2: one half, no privilege, no ASID.
    El2,
    /// Any-EL2-E2H.
    El2E2h,
}

/// What addresses mean in one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regime {
    pub(crate) world: World,
    pub(crate) halves: [Half; 2],
    /// AFFD: a clear access flag is no fault.
    pub(crate) ignores_access_flag: bool,
    pub(crate) updates: Updates,
    /// WXN: what may be written may not be executed.
    pub(crate) wxn: bool,
    /// PAN: privileged data accesses stay off unprivileged pages.
    pub(crate) pan: bool,
}

/// An input address is a position in 56 bits: bit 55 chooses the half, and the byte above either
/// repeats it or is ignored.
pub(crate) const ADDRESS_BITS: u32 = 56;

impl Regime {
    /// Which half `address` belongs to; none if it is in neither, or that half is not to be walked
    /// for `access`.
    #[inline(always)]
    pub(crate) fn half(&self, address: u64, access: Access) -> Option<&Half> {
        let upper = bit(address, 55);
        let half = &self.halves[usize::from(upper)];
        if !half.enabled || half.privileged_only && !access.privileged {
            return None;
        }
        // All bits from the width of the half up to the top must repeat bit 55.
        let spread = if upper { !address } else { address };
        let top = if half.tbi {
            spread & low_mask(ADDRESS_BITS)
        } else {
            spread
        };
        (top >> half.tree.input_bits == 0).then_some(half)
    }

    /// What the leaf `found` means for `access`.
    #[inline]
    pub(crate) fn judge(&self, found: &Found, access: Access) -> Verdict {
        let raw = found.raw;
        let stale = !raw.af();
        if stale && !self.updates.accessed && !self.ignores_access_flag {
            return Verdict::Access;
        }
        // Without ASIDs everything is global.
        let global = !raw.ng() || self.world == World::El2;
        let permissions = self.permissions(found, raw.ap2());
        if permissions.allow(access) {
            return Verdict::permitted(found, permissions, global, stale && self.updates.accessed);
        }
        // A clean page is read-only in its own descriptor. One that a table above makes read-only
        // is not clean, but read-only.
        let clean = self.updates.dirty && raw.dbm() && raw.ap2() && access.write;
        if clean {
            let permissions = self.permissions(found, false);
            if permissions.allow(access) {
                return Verdict::Update {
                    raw: raw.0 & !pte::AP2 | pte::AF,
                    leaf: found.leaf(permissions, global, true),
                };
            }
        }
        Verdict::Permission
    }

    /// What the leaf `found` permits, for people.
    pub(crate) fn rights(&self, found: &Found) -> Rights {
        let raw = found.raw;
        let clean = self.updates.dirty && raw.dbm() && raw.ap2();
        Rights {
            now: self.permissions(found, raw.ap2()),
            once_dirty: self.permissions(found, raw.ap2() && !clean),
            accessed: raw.af(),
        }
    }

    /// UWXN needs no code: in VMSAv8-64 what is writable unprivileged never executes privileged.
    #[inline]
    fn permissions(&self, found: &Found, ap2: bool) -> Permissions {
        let above = found.above;
        let (raw, writable) = (found.raw, !ap2 && !above.read_only);
        if self.world == World::El2 {
            // AP[1] counts as set, and whoever asks is privileged: both columns are the same.
            let xn = raw.uxn() || above.uxn || self.wxn && writable;
            let all = Permissions::of(true, writable, !xn);
            return all.unprivileged() | all.privileged();
        }
        let unprivileged = raw.ap1() && !above.privileged_only;
        let pxn = raw.pxn() || above.pxn || self.wxn && writable || unprivileged && writable;
        let xn = raw.uxn() || above.uxn || self.wxn && writable && unprivileged;
        let data = !(self.pan && unprivileged);
        Permissions::of(unprivileged, unprivileged && writable, !xn).unprivileged()
            | Permissions::of(data, data && writable, !pxn).privileged()
    }
}

/// What addresses mean at stage 2, for one VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage2 {
    pub(crate) tree: Tree,
    /// S2AFFD: a clear access flag is no fault.
    pub(crate) ignores_access_flag: bool,
    pub(crate) updates: Updates,
    /// S2PTW: tables and context descriptors may not be in a device.
    pub(crate) protects_tables: bool,
    /// XNX: execution is forbidden to each privilege by itself.
    pub(crate) xnx: bool,
    /// S2S: translation faults stall.
    pub(crate) stalls: bool,
    /// S2R: those that do not stall are recorded.
    pub(crate) records: bool,
}

impl Stage2 {
    /// Whether `ipa` is in the range that is translated.
    #[inline]
    pub(crate) fn covers(&self, ipa: u64) -> bool {
        ipa >> self.tree.input_bits == 0
    }

    /// What the leaf `found` means for an access that `needs` something.
    pub(crate) fn judge(&self, found: &Found, needs: Permissions) -> Verdict {
        let raw = found.raw;
        let stale = !raw.af();
        if stale && !self.updates.accessed && !self.ignores_access_flag {
            return Verdict::Access;
        }
        let permissions = self.permissions(raw, raw.s2_write());
        if permissions.include(needs) {
            return Verdict::permitted(found, permissions, false, stale && self.updates.accessed);
        }
        if self.updates.dirty && raw.dbm() && !raw.s2_write() {
            let permissions = self.permissions(raw, true);
            if permissions.include(needs) {
                return Verdict::Update {
                    raw: raw.0 | pte::S2AP1 | pte::AF,
                    leaf: found.leaf(permissions, false, true),
                };
            }
        }
        Verdict::Permission
    }

    /// What the leaf `found` permits, for people.
    pub(crate) fn rights(&self, found: &Found) -> Rights {
        let raw = found.raw;
        let clean = self.updates.dirty && raw.dbm() && !raw.s2_write();
        Rights {
            now: self.permissions(raw, raw.s2_write()),
            once_dirty: self.permissions(raw, raw.s2_write() || clean),
            accessed: raw.af(),
        }
    }

    fn permissions(&self, raw: Descriptor, write: bool) -> Permissions {
        let xn = raw.s2_xn();
        // Bit 54 forbids, and bit 53 makes it the other privilege that is meant.
        let (uxn, pxn) = match xn {
            _ if !self.xnx => (xn & 2 != 0, xn & 2 != 0),
            0 => (false, false),
            1 => (false, true),
            2 => (true, true),
            _ => (true, false),
        };
        let read = raw.s2_read();
        let tables = !(self.protects_tables && raw.s2_device());
        Permissions::of(read, write, !uxn).unprivileged()
            | Permissions::of(read, write, !pxn).privileged()
            | Permissions::tables(read && tables, write && tables)
    }
}

/// What may be done at a leaf, tables above it and settings of its regime included: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Permissions(u8);

impl Permissions {
    pub(crate) const NONE: Permissions = Permissions(0);
    const READ: u8 = 1 << 0;
    const WRITE: u8 = 1 << 1;
    const EXECUTE: u8 = 1 << 2;
    /// At stage 2: reads of stage 1's tables and of context descriptors.
    pub(crate) const TABLE_READ: Permissions = Permissions(1 << 3);
    /// At stage 2: updates of stage 1's tables.
    pub(crate) const TABLE_WRITE: Permissions = Permissions(1 << 7);
    /// Whatever accesses need.
    pub(crate) const ALL: Permissions = Permissions(0x77);
    /// Whatever privileged accesses need.
    pub(crate) const ALL_PRIVILEGED: Permissions = Permissions(0x70);

    const fn of(read: bool, write: bool, execute: bool) -> Permissions {
        Permissions(
            (if read { Permissions::READ } else { 0 })
                | (if write { Permissions::WRITE } else { 0 })
                | (if execute { Permissions::EXECUTE } else { 0 }),
        )
    }

    fn tables(read: bool, write: bool) -> Permissions {
        let mut tables = Permissions::NONE;
        if read {
            tables = tables | Permissions::TABLE_READ;
        }
        if write {
            tables = tables | Permissions::TABLE_WRITE;
        }
        tables
    }

    /// These, of unprivileged accesses.
    const fn unprivileged(self) -> Permissions {
        self
    }

    /// These, of privileged accesses.
    const fn privileged(self) -> Permissions {
        Permissions(self.0 << 4)
    }

    /// What `access` needs.
    #[inline(always)]
    pub(crate) const fn needed(access: Access) -> Permissions {
        let kind = if access.write {
            Permissions::WRITE
        } else if access.instruction {
            Permissions::EXECUTE
        } else {
            Permissions::READ
        };
        Permissions(kind << if access.privileged { 4 } else { 0 })
    }

    /// Whether all that is in `needs` is here too.
    #[inline]
    pub(crate) const fn include(self, needs: Permissions) -> bool {
        self.0 & needs.0 == needs.0
    }

    /// Whether `access` is permitted.
    #[inline(always)]
    pub(crate) const fn allow(self, access: Access) -> bool {
        self.include(Permissions::needed(access))
    }
}

impl std::ops::BitOr for Permissions {
    type Output = Permissions;

    fn bitor(self, other: Permissions) -> Permissions {
        Permissions(self.0 | other.0)
    }
}

impl std::ops::BitAnd for Permissions {
    type Output = Permissions;

    fn bitand(self, other: Permissions) -> Permissions {
        Permissions(self.0 & other.0)
    }
}

/// A translation: what the TLB keeps, and what a transaction is answered from. Two words, to be
/// handed on in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Physical address of the first byte; at stage 1, an intermediate one if stage 2 is to follow.
    pub(crate) output: u64,
    /// Its size as a power of two.
    pub(crate) size_bits: u8,
    /// The size of the page or block in whose descriptor it was found. With two stages it is that
    /// of stage 1, which an invalidation by address means.
    pub(crate) reach_bits: u8,
    pub(crate) level: i8,
    pub(crate) granule: Granule,
    pub(crate) permissions: Permissions,
    /// Software has set the access flag or had it set: the translation may be kept.
    pub(crate) accessed: bool,
    pub(crate) global: bool,
}

impl Leaf {
    /// The output for `address`, which is in it.
    pub(crate) fn at(&self, address: u64) -> u64 {
        self.output | address & self.mask()
    }

    /// The address bits that it leaves as they are.
    #[inline]
    pub(crate) fn mask(&self) -> u64 {
        low_mask(self.size_bits.into())
    }

    /// This one, of stage 1, followed by `next` of stage 2, for `address`.
    pub(crate) fn then(&self, next: &Leaf, address: u64) -> Leaf {
        let size_bits = self.size_bits.min(next.size_bits);
        Leaf {
            output: next.at(self.at(address)) & !low_mask(size_bits.into()),
            size_bits,
            permissions: self.permissions & next.permissions,
            accessed: self.accessed && next.accessed,
            ..*self
        }
    }
}

/// What a leaf descriptor means for an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Permitted(Leaf),
    /// It is permitted once the descriptor has become `raw`.
    Update {
        raw: u64,
        leaf: Leaf,
    },
    /// The access flag is clear.
    Access,
    /// It is not permitted.
    Permission,
}

impl Verdict {
    #[inline]
    fn permitted(found: &Found, permissions: Permissions, global: bool, stale: bool) -> Verdict {
        if stale {
            Verdict::Update {
                raw: found.raw.0 | pte::AF,
                leaf: found.leaf(permissions, global, true),
            }
        } else {
            Verdict::Permitted(found.leaf(permissions, global, found.raw.af()))
        }
    }
}

/// What a leaf permits, as its tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    now: Permissions,
    /// With the dirty state set that the SMMU would set.
    once_dirty: Permissions,
    accessed: bool,
}

impl Rights {
    /// Whether `access` is permitted, at once or once the SMMU has set dirty state.
    pub fn permit(&self, access: Access) -> bool {
        self.once_dirty.allow(access)
    }

    /// Whether a write of this kind is permitted, but the page is clean: the SMMU would set dirty
    /// state.
    pub fn is_clean(&self, write: Access) -> bool {
        self.permit(write) && !self.now.allow(write)
    }

    /// The access flag is set.
    pub fn accessed(&self) -> bool {
        self.accessed
    }

    /// What both permit.
    pub(crate) fn and(&self, other: &Rights) -> Rights {
        Rights {
            now: self.now & other.now,
            once_dirty: self.once_dirty & other.once_dirty,
            accessed: self.accessed && other.accessed,
        }
    }
}

/// What the tables above a leaf take away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Above {
    privileged_only: bool,
    read_only: bool,
    uxn: bool,
    pxn: bool,
}

/// A leaf descriptor that a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) raw: Descriptor,
    output: u64,
    size_bits: u8,
    level: i8,
    granule: Granule,
    above: Above,
}

impl Found {
    /// The size of the page or block as a power of two.
    pub(crate) fn size_bits(&self) -> u8 {
        self.size_bits
    }

    /// The output for `address`.
    pub(crate) fn at(&self, address: u64) -> u64 {
        self.output | address & low_mask(self.size_bits.into())
    }

    #[inline]
    fn leaf(&self, permissions: Permissions, global: bool, accessed: bool) -> Leaf {
        Leaf {
            output: self.output,
            size_bits: self.size_bits,
            reach_bits: self.size_bits,
            level: self.level,
            granule: self.granule,
            permissions,
            accessed,
            global,
        }
    }
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
    /// Beyond the output size.
    too_far: u64,
    /// Input bits that the tables from here down resolve, and those below them that a leaf here
    /// leaves.
    input_bits: u32,
    leaf_bits: u32,
    level: i32,
    granule: Granule,
    layout: Layout,
    wide: bool,
    /// Attributes in table descriptors are ignored.
    had: bool,
    above: Above,
}

impl Walk {
    /// Begins the walk for `address`, which `tree` covers.
    #[inline(always)]
    pub(crate) fn start(tree: &Tree, had: bool, address: u64) -> Walk {
        let level = tree.level.into();
        Walk {
            address,
            table: tree.table,
            too_far: !low_mask(tree.output_bits.into()),
            input_bits: tree.input_bits.into(),
            leaf_bits: tree.granule.leaf_bits(level),
            level,
            granule: tree.granule,
            layout: tree.layout,
            wide: tree.wide,
            had,
            above: Above::default(),
        }
    }

    /// The level of the next descriptor.
    pub(crate) fn level(&self) -> i32 {
        self.level
    }

    /// Where the next descriptor is.
    #[inline(always)]
    pub(crate) fn descriptor_address(&self) -> u64 {
        self.table + ((self.address & low_mask(self.input_bits)) >> self.leaf_bits) * 8
    }

    /// Takes the descriptor at [`Walk::descriptor_address`]: a leaf, or `None` if there is another
    /// to read. After a leaf the walk is where it was, so that the descriptor can be read again.
    #[inline(always)]
    pub(crate) fn step(&mut self, raw: u64) -> Result<Option<Found>, WalkFault> {
        let descriptor = Descriptor(raw);
        let last = self.level == 3;
        if !descriptor.valid() {
            return Err(WalkFault::Translation);
        }
        if !last && descriptor.table_or_page() {
            self.table = self.output(descriptor, self.granule.bits())?;
            if !self.had {
                let above = &mut self.above;
                above.privileged_only |= descriptor.ap_table_privileged();
                above.read_only |= descriptor.ap_table_read_only();
                above.uxn |= descriptor.uxn_table();
                above.pxn |= descriptor.pxn_table();
            }
            self.input_bits = self.leaf_bits;
            self.leaf_bits -= self.granule.stride();
            self.level += 1;
            return Ok(None);
        }
        if last != descriptor.table_or_page()
            || !(last || self.granule.has_block(self.level, self.wide))
        {
            return Err(WalkFault::Translation);
        }
        Ok(Some(Found {
            raw: descriptor,
            output: self.output(descriptor, self.leaf_bits)?,
            size_bits: self.leaf_bits as u8,
            level: self.level as i8,
            granule: self.granule,
            above: self.above,
        }))
    }

    /// The address in `descriptor`, from bit `low` up, if it is within the output size.
    #[inline(always)]
    fn output(&self, descriptor: Descriptor, low: u32) -> Result<u64, WalkFault> {
        let address = descriptor.address(self.layout, low);
        if address & self.too_far == 0 {
            Ok(address)
        } else {
            Err(WalkFault::AddressSize)
        }
    }
}

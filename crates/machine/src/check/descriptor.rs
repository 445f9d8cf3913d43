//! What a descriptor of a translation table says, and whether another one in its place says the same as
//! far as an access can tell.
//!
//! DDI 0487, *VMSAv8-64 translation table format descriptors*. Software changes the access flag and dirty
//! state without telling, and the contiguous bit leaves the page where it is: these do not count.

use stallbox_smmu::DescriptorRead;

/// Bits of a leaf that say where: output address, valid, and kind.
const LEAF_WHERE: u64 = 0x0000_ffff_ffff_f003;
const AP_USER: u64 = 1 << 6;
const AP_READ_ONLY: u64 = 1 << 7;
/// Of stage 2: MemAttr, and S2AP.
const MEM_ATTR: u64 = 0xf << 2;
const S2AP_READ: u64 = 1 << 6;
const S2AP_WRITE: u64 = 1 << 7;
/// Dirty bit modifier: what is read-only is writable, and only clean.
const DBM: u64 = 1 << 51;

/// A descriptor of a translation table, as the SMMU read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub at: u64,
    pub value: u64,
    /// 1 or 2.
    pub stage: u8,
    /// A page's or a block's.
    pub leaf: bool,
}

impl From<&DescriptorRead> for Descriptor {
    fn from(read: &DescriptorRead) -> Descriptor {
        Descriptor {
            at: read.at,
            value: read.raw,
            stage: read.stage,
            leaf: read.is_leaf(),
        }
    }
}

impl Descriptor {
    /// Whether it leads to where `other` does, and is of the same kind.
    pub(super) fn leads_like(&self, other: u64) -> bool {
        self.value & LEAF_WHERE == other & LEAF_WHERE
    }

    /// Whether `now` still lets an access happen where this did.
    pub(super) fn still_says(&self, now: u64, write: bool) -> bool {
        let then = self.value;
        if !self.leads_like(now) {
            return false;
        }
        if !self.leaf {
            return true;
        }
        if self.stage == 2 {
            let permitted = match write {
                true => now & (S2AP_WRITE | DBM) != 0,
                false => now & S2AP_READ != 0,
            };
            return permitted && then & MEM_ATTR == now & MEM_ATTR;
        }
        let user = then & AP_USER == 0 || now & AP_USER != 0;
        let writable = now & AP_READ_ONLY == 0 || now & DBM != 0;
        user && (!write || writable)
    }

    /// In words.
    pub(super) fn name(&self) -> &'static str {
        match self.stage {
            2 => "stage 2 descriptor",
            _ => "descriptor",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(stage: u8, value: u64) -> Descriptor {
        Descriptor {
            at: 0,
            value,
            stage,
            leaf: true,
        }
    }

    #[test]
    fn only_what_takes_a_permission_or_a_place_away_is_a_change() {
        // A page of a process, as Linux maps it: user, writable, accessed, not dirty.
        let page = 0x0060_0000_7777_0f43 | DBM;
        let same = |now, write| leaf(1, page).still_says(now, write);
        assert!(same(page & !(1 << 10), true), "the access flag");
        assert!(same(page | AP_READ_ONLY, true), "clean, but writable");
        assert!(same((page | AP_READ_ONLY) & !DBM, false), "reads go on");
        assert!(!same((page | AP_READ_ONLY) & !DBM, true), "writes do not");
        assert!(!same(page & !1, false), "invalid");
        assert!(!same(page + 0x1000, false), "elsewhere");
        assert!(!same(page & !AP_USER, false), "privileged");
    }

    #[test]
    fn stage_2_has_other_permissions_and_attributes() {
        // As KVM maps it (KVM_PTE_LEAF_ATTR_LO_S2_*): MemAttr 0xf at 5:2, S2AP_R and S2AP_W at 6 and 7,
        // SH at 9:8, AF at 10.
        let page = 0x7777_07ff;
        let same = |now, write| leaf(2, page).still_says(now, write);
        assert!(same(page, true) && same(page & !(1 << 10), true), "AF");
        assert!(
            same(page | 1 << 52, true),
            "contiguous: it leads to the same place"
        );
        assert!(same(page & !(1 << 7), false) && !same(page & !(1 << 7), true));
        assert!(same(page & !(1 << 7) | DBM, true), "clean, but writable");
        assert!(!same(page & !(1 << 6), false), "not readable");
        assert!(!same(page & !(0xf << 2) | 1 << 2, false), "device memory");
        assert!(!same(page & !1, false) && !same(page + 0x1000, true));
        // What a descriptor of stage 1 has in these places is something else.
        assert!(leaf(1, page).still_says(page & !(1 << 7), true));
    }
}

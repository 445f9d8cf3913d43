//! IHI 0070, *Context Descriptor* and *Level 1 Context Descriptor*.

use super::{bit, bits, field};

/// Size of a context descriptor.
pub const CD_BYTES: u64 = 64;
/// Size of a level 1 context descriptor.
pub const L1CD_BYTES: u64 = 8;

/// A context descriptor. Fields that come in pairs take the number of their translation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cd(
    /// The doublewords as they are.
    pub [u64; 8],
);

impl Cd {
    /// T0SZ and T1SZ: an input address has 64 less this many bits.
    pub const fn t_sz(&self, table: usize) -> u32 {
        let low = 16 * table as u32;
        bits(self.0[0], low + 5, low) as u32
    }
    /// The two fields are in the same place of their halves and do not mean the same.
    pub const fn tg(&self, table: usize) -> u64 {
        let low = 16 * table as u32 + 6;
        bits(self.0[0], low + 1, low)
    }
    /// EPD0 and EPD1: the half has no tables.
    pub const fn epd(&self, table: usize) -> bool {
        bit(self.0[0], 14 + 16 * table as u32)
    }
    /// ENDI: the tables are big-endian.
    pub const fn endi(&self) -> bool {
        bit(self.0[0], 15)
    }
    /// V: the descriptor is valid.
    pub const fn v(&self) -> bool {
        bit(self.0[0], 31)
    }
    /// IPS: the output size, coded as in SMMU_IDR5.OAS.
    pub const fn ips(&self) -> u64 {
        bits(self.0[0], 34, 32)
    }
    /// AFFD: a clear access flag is no fault.
    pub const fn affd(&self) -> bool {
        bit(self.0[0], 35)
    }
    /// WXN: what is writable is not executable.
    pub const fn wxn(&self) -> bool {
        bit(self.0[0], 36)
    }
    /// TBI0 and TBI1: the top byte is ignored.
    pub const fn tbi(&self, table: usize) -> bool {
        bit(self.0[0], 38 + table as u32)
    }
    /// PAN: privileged data accesses do not reach unprivileged pages.
    pub const fn pan(&self) -> bool {
        bit(self.0[0], 40)
    }
    /// AA64: the tables are VMSAv8-64.
    pub const fn aa64(&self) -> bool {
        bit(self.0[0], 41)
    }
    /// HD: the SMMU keeps dirty state.
    pub const fn hd(&self) -> bool {
        bit(self.0[0], 42)
    }
    /// HA: the SMMU sets access flags.
    pub const fn ha(&self) -> bool {
        bit(self.0[0], 43)
    }
    /// S: faults stall.
    pub const fn s(&self) -> bool {
        bit(self.0[0], 44)
    }
    /// R: faults that do not stall are recorded.
    pub const fn r(&self) -> bool {
        bit(self.0[0], 45)
    }
    /// A: what is terminated is aborted; clear, it is RAZ/WI.
    pub const fn a(&self) -> bool {
        bit(self.0[0], 46)
    }
    /// ASET: the ASID is of a set of its own, not one shared with CPUs.
    pub const fn aset(&self) -> bool {
        bit(self.0[0], 47)
    }
    /// ASID: tags the translations of the context.
    pub const fn asid(&self) -> u16 {
        bits(self.0[0], 63, 48) as u16
    }
    /// HAD0 and HAD1: attributes in table descriptors are ignored.
    pub const fn had(&self, table: usize) -> bool {
        bit(self.0[1 + table], 1)
    }
    /// E0PD0 and E0PD1: the half is closed to unprivileged accesses.
    pub const fn e0pd(&self, table: usize) -> bool {
        bit(self.0[1 + table], 2)
    }
    /// DS: 52-bit addresses with the granules below 64 KiB.
    pub const fn ds(&self) -> bool {
        bit(self.0[2], 58)
    }
    /// TTB0 and TTB1: the first table of the half.
    pub const fn ttb(&self, table: usize) -> u64 {
        field(self.0[1 + table], 51, 4)
    }
}

/// A level 1 context descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Cd(
    /// The doublewords as they are.
    pub u64,
);

impl L1Cd {
    /// V: the descriptor is valid.
    pub const fn v(self) -> bool {
        bit(self.0, 0)
    }
    /// L2Ptr: the second level.
    pub const fn l2_ptr(self) -> u64 {
        field(self.0, 55, 12)
    }
}

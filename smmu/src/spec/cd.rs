//! IHI 0070, *Context Descriptor* and *Level 1 Context Descriptor*.

use super::{bit, bits, field};

/// Size of a context descriptor.
pub(crate) const CD_BYTES: u64 = 64;
/// Size of a level 1 context descriptor.
pub(crate) const L1CD_BYTES: u64 = 8;

/// A context descriptor. Fields that come in pairs take the number of their translation table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cd(pub(crate) [u64; 8]);

impl Cd {
    pub(crate) const fn t_sz(&self, table: usize) -> u32 {
        let low = 16 * table as u32;
        bits(self.0[0], low + 5, low) as u32
    }
    /// The two fields are in the same place of their halves and do not mean the same.
    pub(crate) const fn tg(&self, table: usize) -> u64 {
        let low = 16 * table as u32 + 6;
        bits(self.0[0], low + 1, low)
    }
    pub(crate) const fn epd(&self, table: usize) -> bool {
        bit(self.0[0], 14 + 16 * table as u32)
    }
    pub(crate) const fn endi(&self) -> bool {
        bit(self.0[0], 15)
    }
    pub(crate) const fn v(&self) -> bool {
        bit(self.0[0], 31)
    }
    pub(crate) const fn ips(&self) -> u64 {
        bits(self.0[0], 34, 32)
    }
    pub(crate) const fn affd(&self) -> bool {
        bit(self.0[0], 35)
    }
    pub(crate) const fn wxn(&self) -> bool {
        bit(self.0[0], 36)
    }
    pub(crate) const fn tbi(&self, table: usize) -> bool {
        bit(self.0[0], 38 + table as u32)
    }
    pub(crate) const fn pan(&self) -> bool {
        bit(self.0[0], 40)
    }
    pub(crate) const fn aa64(&self) -> bool {
        bit(self.0[0], 41)
    }
    pub(crate) const fn hd(&self) -> bool {
        bit(self.0[0], 42)
    }
    pub(crate) const fn ha(&self) -> bool {
        bit(self.0[0], 43)
    }
    pub(crate) const fn s(&self) -> bool {
        bit(self.0[0], 44)
    }
    pub(crate) const fn r(&self) -> bool {
        bit(self.0[0], 45)
    }
    pub(crate) const fn a(&self) -> bool {
        bit(self.0[0], 46)
    }
    pub(crate) const fn aset(&self) -> bool {
        bit(self.0[0], 47)
    }
    pub(crate) const fn asid(&self) -> u16 {
        bits(self.0[0], 63, 48) as u16
    }
    pub(crate) const fn had(&self, table: usize) -> bool {
        bit(self.0[1 + table], 1)
    }
    pub(crate) const fn e0pd(&self, table: usize) -> bool {
        bit(self.0[1 + table], 2)
    }
    pub(crate) const fn ds(&self) -> bool {
        bit(self.0[2], 58)
    }
    pub(crate) const fn ttb(&self, table: usize) -> u64 {
        field(self.0[1 + table], 51, 4)
    }
}

/// A level 1 context descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct L1Cd(pub(crate) u64);

impl L1Cd {
    pub(crate) const fn v(self) -> bool {
        bit(self.0, 0)
    }
    pub(crate) const fn l2_ptr(self) -> u64 {
        field(self.0, 55, 12)
    }
}

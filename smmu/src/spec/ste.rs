//! IHI 0070, *Stream Table Entry* and *Level 1 Stream Table Descriptor*.

use super::{bit, bits, field};

/// Size of a stream table entry.
pub(crate) const STE_BYTES: u64 = 64;
/// Size of a level 1 descriptor.
pub(crate) const L1STD_BYTES: u64 = 8;

/// STE.Config of a stream whose transactions pass untranslated.
pub(crate) const CONFIG_BYPASS: u64 = 0b100;
/// In STE.Config of a stream that is translated: stage 1.
pub(crate) const CONFIG_STAGE1: u64 = 0b001;
/// In STE.Config of a stream that is translated: stage 2.
pub(crate) const CONFIG_STAGE2: u64 = 0b010;

/// A stream table entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ste(pub(crate) [u64; 8]);

impl Ste {
    pub(crate) const fn v(&self) -> bool {
        bit(self.0[0], 0)
    }
    pub(crate) const fn config(&self) -> u64 {
        bits(self.0[0], 3, 1)
    }
    pub(crate) const fn s1_fmt(&self) -> u64 {
        bits(self.0[0], 5, 4)
    }
    pub(crate) const fn s1_context_ptr(&self) -> u64 {
        field(self.0[0], 55, 6)
    }
    pub(crate) const fn s1_cd_max(&self) -> u32 {
        bits(self.0[0], 63, 59) as u32
    }
    pub(crate) const fn s1_dss(&self) -> u64 {
        bits(self.0[1], 1, 0)
    }
    pub(crate) const fn ppar(&self) -> bool {
        bit(self.0[1], 18)
    }
    pub(crate) const fn eats(&self) -> u64 {
        bits(self.0[1], 29, 28)
    }
    pub(crate) const fn s1_stalld(&self) -> bool {
        bit(self.0[1], 27)
    }
    pub(crate) const fn strw(&self) -> u64 {
        bits(self.0[1], 31, 30)
    }
    pub(crate) const fn priv_cfg(&self) -> u64 {
        bits(self.0[1], 49, 48)
    }
    pub(crate) const fn inst_cfg(&self) -> u64 {
        bits(self.0[1], 51, 50)
    }
    pub(crate) const fn s2_vmid(&self) -> u16 {
        bits(self.0[2], 15, 0) as u16
    }
    pub(crate) const fn s2_t0sz(&self) -> u32 {
        bits(self.0[2], 37, 32) as u32
    }
    /// S2SL0, with S2SL0_2 of the fourth doubleword above it.
    pub(crate) const fn s2_sl0(&self) -> u64 {
        bits(self.0[2], 39, 38) | bits(self.0[3], 2, 2) << 2
    }
    pub(crate) const fn s2_tg(&self) -> u64 {
        bits(self.0[2], 47, 46)
    }
    pub(crate) const fn s2_ps(&self) -> u64 {
        bits(self.0[2], 50, 48)
    }
    pub(crate) const fn s2_aa64(&self) -> bool {
        bit(self.0[2], 51)
    }
    pub(crate) const fn s2_endi(&self) -> bool {
        bit(self.0[2], 52)
    }
    pub(crate) const fn s2_affd(&self) -> bool {
        bit(self.0[2], 53)
    }
    pub(crate) const fn s2_ptw(&self) -> bool {
        bit(self.0[2], 54)
    }
    pub(crate) const fn s2_hd(&self) -> bool {
        bit(self.0[2], 55)
    }
    pub(crate) const fn s2_ha(&self) -> bool {
        bit(self.0[2], 56)
    }
    pub(crate) const fn s2_s(&self) -> bool {
        bit(self.0[2], 57)
    }
    pub(crate) const fn s2_r(&self) -> bool {
        bit(self.0[2], 58)
    }
    pub(crate) const fn s2_ds(&self) -> bool {
        bit(self.0[3], 3)
    }
    pub(crate) const fn s2_ttb(&self) -> u64 {
        field(self.0[3], 51, 4)
    }
}

/// A level 1 stream table descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct L1Std(pub(crate) u64);

impl L1Std {
    pub(crate) const fn span(self) -> u32 {
        bits(self.0, 4, 0) as u32
    }
    pub(crate) const fn l2_ptr(self) -> u64 {
        field(self.0, 55, 6)
    }
}

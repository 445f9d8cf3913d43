//! IHI 0070, *Stream Table Entry* and *Level 1 Stream Table Descriptor*.

use super::{bit, bits, field};

/// Size of a stream table entry.
pub(crate) const STE_BYTES: u64 = 64;
/// Size of a level 1 descriptor.
pub(crate) const L1STD_BYTES: u64 = 8;

/// STE.Config of a stream whose transactions pass untranslated.
pub(crate) const CONFIG_BYPASS: u64 = 0b100;
/// STE.Config of a stream with stage 1 only.
pub(crate) const CONFIG_STAGE1: u64 = 0b101;

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
    pub(crate) const fn s1_stalld(&self) -> bool {
        bit(self.0[1], 27)
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

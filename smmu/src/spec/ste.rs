//! IHI 0070, *Stream Table Entry* and *Level 1 Stream Table Descriptor*.

use super::{bit, bits, field};

/// Size of a stream table entry.
pub const STE_BYTES: u64 = 64;
/// Size of a level 1 descriptor.
pub const L1STD_BYTES: u64 = 8;

/// STE.Config of a stream whose transactions pass untranslated.
pub const CONFIG_BYPASS: u64 = 0b100;
/// In STE.Config of a stream that is translated: stage 1.
pub const CONFIG_STAGE1: u64 = 0b001;
/// In STE.Config of a stream that is translated: stage 2.
pub const CONFIG_STAGE2: u64 = 0b010;

/// A stream table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ste(
    /// The doublewords as they are.
    pub [u64; 8],
);

impl Ste {
    /// V: the entry is valid.
    pub const fn v(&self) -> bool {
        bit(self.0[0], 0)
    }
    /// Config: 0b0xx aborts, 0b100 bypasses, 0b1x1 has stage 1, 0b11x has stage 2.
    pub const fn config(&self) -> u64 {
        bits(self.0[0], 3, 1)
    }
    /// S1Fmt: 0 a linear table of contexts, 1 two levels with 4 KiB leaves, 2 with 64 KiB leaves.
    pub const fn s1_fmt(&self) -> u64 {
        bits(self.0[0], 5, 4)
    }
    /// S1ContextPtr: the context descriptor table, or its first level. An intermediate address with stage 2.
    pub const fn s1_context_ptr(&self) -> u64 {
        field(self.0[0], 55, 6)
    }
    /// S1CDMax: a power of two of context descriptors; 0 is one, and no substreams.
    pub const fn s1_cd_max(&self) -> u32 {
        bits(self.0[0], 63, 59) as u32
    }
    /// S1DSS, for traffic without a SubstreamID: 0 terminates, 1 bypasses stage 1, 2 uses context 0.
    pub const fn s1_dss(&self) -> u64 {
        bits(self.0[1], 1, 0)
    }
    /// PPAR: automatic page responses carry the PASID of their request.
    pub const fn ppar(&self) -> bool {
        bit(self.0[1], 18)
    }
    /// EATS: 0 no ATS, 1 full, 2 split-stage.
    pub const fn eats(&self) -> u64 {
        bits(self.0[1], 29, 28)
    }
    /// S1STALLD: contexts of the stream may not stall.
    pub const fn s1_stalld(&self) -> bool {
        bit(self.0[1], 27)
    }
    /// STRW, the StreamWorld: 0 NS-EL1, 2 EL2.
    pub const fn strw(&self) -> u64 {
        bits(self.0[1], 31, 30)
    }
    /// PRIVCFG: 2 unprivileged, 3 privileged, else as it comes.
    pub const fn priv_cfg(&self) -> u64 {
        bits(self.0[1], 49, 48)
    }
    /// INSTCFG: 2 data, 3 instruction, else as it comes.
    pub const fn inst_cfg(&self) -> u64 {
        bits(self.0[1], 51, 50)
    }
    /// S2VMID: tags the translations of the stream.
    pub const fn s2_vmid(&self) -> u16 {
        bits(self.0[2], 15, 0) as u16
    }
    /// S2T0SZ: an intermediate address has 64 less this many bits.
    pub const fn s2_t0sz(&self) -> u32 {
        bits(self.0[2], 37, 32) as u32
    }
    /// S2SL0, with S2SL0_2 of the fourth doubleword above it.
    pub const fn s2_sl0(&self) -> u64 {
        bits(self.0[2], 39, 38) | bits(self.0[3], 2, 2) << 2
    }
    /// S2TG: 0 is 4 KiB, 1 is 64 KiB, 2 is 16 KiB.
    pub const fn s2_tg(&self) -> u64 {
        bits(self.0[2], 47, 46)
    }
    /// S2PS: the output size, coded as in SMMU_IDR5.OAS.
    pub const fn s2_ps(&self) -> u64 {
        bits(self.0[2], 50, 48)
    }
    /// S2AA64: the tables are VMSAv8-64.
    pub const fn s2_aa64(&self) -> bool {
        bit(self.0[2], 51)
    }
    /// S2ENDI: the tables are big-endian.
    pub const fn s2_endi(&self) -> bool {
        bit(self.0[2], 52)
    }
    /// S2AFFD: a clear access flag is no fault.
    pub const fn s2_affd(&self) -> bool {
        bit(self.0[2], 53)
    }
    /// S2PTW: tables and context descriptors may not be in device memory.
    pub const fn s2_ptw(&self) -> bool {
        bit(self.0[2], 54)
    }
    /// S2HD: the SMMU keeps dirty state.
    pub const fn s2_hd(&self) -> bool {
        bit(self.0[2], 55)
    }
    /// S2HA: the SMMU sets access flags.
    pub const fn s2_ha(&self) -> bool {
        bit(self.0[2], 56)
    }
    /// S2S: faults of stage 2 stall.
    pub const fn s2_s(&self) -> bool {
        bit(self.0[2], 57)
    }
    /// S2R: faults of stage 2 that do not stall are recorded.
    pub const fn s2_r(&self) -> bool {
        bit(self.0[2], 58)
    }
    /// S2DS: 52-bit addresses with the granules below 64 KiB.
    pub const fn s2_ds(&self) -> bool {
        bit(self.0[3], 3)
    }
    /// S2TTB: the first table of stage 2.
    pub const fn s2_ttb(&self) -> u64 {
        field(self.0[3], 51, 4)
    }
}

/// A level 1 stream table descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Std(
    /// The doublewords as they are.
    pub u64,
);

impl L1Std {
    /// Span: 2 to the power of Span - 1 entries at L2Ptr; 0 is none.
    pub const fn span(self) -> u32 {
        bits(self.0, 4, 0) as u32
    }
    /// L2Ptr: the second level.
    pub const fn l2_ptr(self) -> u64 {
        field(self.0, 55, 6)
    }
}

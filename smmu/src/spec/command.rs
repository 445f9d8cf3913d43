//! IHI 0070, *Commands*: the 16-byte entries of the command queue.

use super::{bit, bits, field};

/// Size of a command.
pub(crate) const COMMAND_BYTES: u64 = 16;

/// Opcodes that this implementation executes. All others are illegal here.
pub(crate) mod op {
    pub(crate) const PREFETCH_CONFIG: u8 = 0x01;
    pub(crate) const PREFETCH_ADDR: u8 = 0x02;
    pub(crate) const CFGI_STE: u8 = 0x03;
    pub(crate) const CFGI_STE_RANGE: u8 = 0x04;
    pub(crate) const CFGI_CD: u8 = 0x05;
    pub(crate) const CFGI_CD_ALL: u8 = 0x06;
    pub(crate) const TLBI_NH_ALL: u8 = 0x10;
    pub(crate) const TLBI_NH_ASID: u8 = 0x11;
    pub(crate) const TLBI_NH_VA: u8 = 0x12;
    pub(crate) const TLBI_NH_VAA: u8 = 0x13;
    pub(crate) const TLBI_EL2_ALL: u8 = 0x20;
    pub(crate) const TLBI_EL2_ASID: u8 = 0x21;
    pub(crate) const TLBI_EL2_VA: u8 = 0x22;
    pub(crate) const TLBI_EL2_VAA: u8 = 0x23;
    pub(crate) const TLBI_S12_VMALL: u8 = 0x28;
    pub(crate) const TLBI_S2_IPA: u8 = 0x2a;
    pub(crate) const TLBI_NSNH_ALL: u8 = 0x30;
    pub(crate) const ATC_INV: u8 = 0x40;
    pub(crate) const PRI_RESP: u8 = 0x41;
    pub(crate) const RESUME: u8 = 0x44;
    pub(crate) const STALL_TERM: u8 = 0x45;
    pub(crate) const SYNC: u8 = 0x46;
}

/// A command as it is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw(pub(crate) [u64; 2]);

impl Raw {
    pub(crate) const fn opcode(&self) -> u8 {
        bits(self.0[0], 7, 0) as u8
    }
    pub(crate) const fn atc_global(&self) -> bool {
        bit(self.0[0], 9)
    }
    pub(crate) const fn ssec(&self) -> bool {
        bit(self.0[0], 10)
    }
    pub(crate) const fn ssid(&self) -> u32 {
        bits(self.0[0], 31, 12) as u32
    }
    pub(crate) const fn sid(&self) -> u32 {
        bits(self.0[0], 63, 32) as u32
    }
    pub(crate) const fn ssv(&self) -> bool {
        bit(self.0[0], 11)
    }
    pub(crate) const fn prefetch_size(&self) -> u32 {
        bits(self.0[1], 4, 0) as u32
    }
    pub(crate) const fn prefetch_stride(&self) -> u32 {
        bits(self.0[1], 9, 5) as u32
    }
    pub(crate) const fn prefetch_address(&self) -> u64 {
        field(self.0[1], 63, 12)
    }
    pub(crate) const fn cfgi_range(&self) -> u32 {
        bits(self.0[1], 4, 0) as u32
    }
    pub(crate) const fn tlbi_num(&self) -> u64 {
        bits(self.0[0], 16, 12)
    }
    /// Five bits; the sixth counts only with 52-bit addresses of the smaller granules.
    pub(crate) const fn tlbi_scale(&self, ds: bool) -> u32 {
        bits(self.0[0], if ds { 25 } else { 24 }, 20) as u32
    }
    pub(crate) const fn tlbi_vmid(&self) -> u16 {
        bits(self.0[0], 47, 32) as u16
    }
    pub(crate) const fn tlbi_asid(&self) -> u16 {
        bits(self.0[0], 63, 48) as u16
    }
    pub(crate) const fn tlbi_ttl(&self) -> u8 {
        bits(self.0[1], 9, 8) as u8
    }
    pub(crate) const fn tlbi_tg(&self) -> u64 {
        bits(self.0[1], 11, 10)
    }
    pub(crate) const fn tlbi_address(&self) -> u64 {
        field(self.0[1], 63, 12)
    }
    /// An intermediate address is not as wide as a virtual one.
    pub(crate) const fn tlbi_ipa(&self) -> u64 {
        field(self.0[1], 55, 12)
    }
    pub(crate) const fn atc_size(&self) -> u32 {
        bits(self.0[1], 5, 0) as u32
    }
    pub(crate) const fn atc_address(&self) -> u64 {
        field(self.0[1], 63, 12)
    }
    pub(crate) const fn pri_index(&self) -> u16 {
        bits(self.0[1], 8, 0) as u16
    }
    pub(crate) const fn pri_response(&self) -> u64 {
        bits(self.0[1], 13, 12)
    }
    pub(crate) const fn resume_ac(&self) -> bool {
        bit(self.0[0], 12)
    }
    pub(crate) const fn resume_ab(&self) -> bool {
        bit(self.0[0], 13)
    }
    pub(crate) const fn resume_stag(&self) -> u16 {
        bits(self.0[1], 15, 0) as u16
    }
    pub(crate) const fn sync_cs(&self) -> u64 {
        bits(self.0[0], 13, 12)
    }
    pub(crate) const fn sync_msi_data(&self) -> u32 {
        bits(self.0[0], 63, 32) as u32
    }
    pub(crate) const fn sync_msi_address(&self) -> u64 {
        field(self.0[1], 55, 2)
    }
}

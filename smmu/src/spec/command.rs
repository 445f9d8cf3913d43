//! IHI 0070, *Commands*: the 16-byte entries of the command queue.

use super::{bit, bits, field, low_mask};
use crate::granule::Granule;

/// Size of a command.
pub const COMMAND_BYTES: u64 = 16;

/// CMD_RESUME, Ac: retry.
pub const RESUME_AC: u64 = 1 << 12;
/// CMD_RESUME, Ab: without Ac, abort.
pub const RESUME_AB: u64 = 1 << 13;

/// Opcodes that this implementation executes. All others are illegal here.
pub mod op {
    /// CMD_PREFETCH_CONFIG.
    pub const PREFETCH_CONFIG: u8 = 0x01;
    /// CMD_PREFETCH_ADDR.
    pub const PREFETCH_ADDR: u8 = 0x02;
    /// CMD_CFGI_STE.
    pub const CFGI_STE: u8 = 0x03;
    /// CMD_CFGI_STE_RANGE, and with Range 31 CMD_CFGI_ALL.
    pub const CFGI_STE_RANGE: u8 = 0x04;
    /// CMD_CFGI_CD.
    pub const CFGI_CD: u8 = 0x05;
    /// CMD_CFGI_CD_ALL.
    pub const CFGI_CD_ALL: u8 = 0x06;
    /// CMD_TLBI_NH_ALL.
    pub const TLBI_NH_ALL: u8 = 0x10;
    /// CMD_TLBI_NH_ASID.
    pub const TLBI_NH_ASID: u8 = 0x11;
    /// CMD_TLBI_NH_VA.
    pub const TLBI_NH_VA: u8 = 0x12;
    /// CMD_TLBI_NH_VAA.
    pub const TLBI_NH_VAA: u8 = 0x13;
    /// CMD_TLBI_EL2_ALL.
    pub const TLBI_EL2_ALL: u8 = 0x20;
    /// CMD_TLBI_EL2_ASID.
    pub const TLBI_EL2_ASID: u8 = 0x21;
    /// CMD_TLBI_EL2_VA.
    pub const TLBI_EL2_VA: u8 = 0x22;
    /// CMD_TLBI_EL2_VAA.
    pub const TLBI_EL2_VAA: u8 = 0x23;
    /// CMD_TLBI_S12_VMALL.
    pub const TLBI_S12_VMALL: u8 = 0x28;
    /// CMD_TLBI_S2_IPA.
    pub const TLBI_S2_IPA: u8 = 0x2a;
    /// CMD_TLBI_NSNH_ALL.
    pub const TLBI_NSNH_ALL: u8 = 0x30;
    /// CMD_ATC_INV.
    pub const ATC_INV: u8 = 0x40;
    /// CMD_PRI_RESP.
    pub const PRI_RESP: u8 = 0x41;
    /// CMD_RESUME.
    pub const RESUME: u8 = 0x44;
    /// CMD_STALL_TERM.
    pub const STALL_TERM: u8 = 0x45;
    /// CMD_SYNC.
    pub const SYNC: u8 = 0x46;
}

/// Commands by opcode, those that this implementation does not execute included.
pub const NAMES: &[(&str, u32)] = &[
    ("CMD_PREFETCH_CONFIG", 0x01),
    ("CMD_PREFETCH_ADDR", 0x02),
    ("CMD_CFGI_STE", 0x03),
    ("CMD_CFGI_ALL", 0x04),
    ("CMD_CFGI_STE_RANGE", 0x04),
    ("CMD_CFGI_CD", 0x05),
    ("CMD_CFGI_CD_ALL", 0x06),
    ("CMD_CFGI_VMS_PIDM", 0x07),
    ("CMD_TLBI_NH_ALL", 0x10),
    ("CMD_TLBI_NH_ASID", 0x11),
    ("CMD_TLBI_NH_VA", 0x12),
    ("CMD_TLBI_NH_VAA", 0x13),
    ("CMD_TLBI_EL3_ALL", 0x18),
    ("CMD_TLBI_EL3_VA", 0x1a),
    ("CMD_TLBI_EL2_ALL", 0x20),
    ("CMD_TLBI_EL2_ASID", 0x21),
    ("CMD_TLBI_EL2_VA", 0x22),
    ("CMD_TLBI_EL2_VAA", 0x23),
    ("CMD_TLBI_S12_VMALL", 0x28),
    ("CMD_TLBI_S2_IPA", 0x2a),
    ("CMD_TLBI_NSNH_ALL", 0x30),
    ("CMD_ATC_INV", 0x40),
    ("CMD_PRI_RESP", 0x41),
    ("CMD_RESUME", 0x44),
    ("CMD_STALL_TERM", 0x45),
    ("CMD_SYNC", 0x46),
];

/// The name of a command, or its opcode.
pub fn name(opcode: u8) -> String {
    super::name_in(NAMES, opcode)
}

/// A command as it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw(
    /// The doublewords as they are.
    pub [u64; 2],
);

impl Raw {
    /// Opcode.
    pub const fn opcode(&self) -> u8 {
        bits(self.0[0], 7, 0) as u8
    }
    /// CMD_ATC_INV, G: all PASIDs.
    pub const fn atc_global(&self) -> bool {
        bit(self.0[0], 9)
    }
    /// SSec: the stream is Secure.
    pub const fn ssec(&self) -> bool {
        bit(self.0[0], 10)
    }
    /// SubstreamID.
    pub const fn ssid(&self) -> u32 {
        bits(self.0[0], 31, 12) as u32
    }
    /// StreamID.
    pub const fn sid(&self) -> u32 {
        bits(self.0[0], 63, 32) as u32
    }
    /// SSV: the SubstreamID counts.
    pub const fn ssv(&self) -> bool {
        bit(self.0[0], 11)
    }
    /// CMD_PREFETCH_ADDR, Size: a power of two of addresses.
    pub const fn prefetch_size(&self) -> u32 {
        bits(self.0[1], 4, 0) as u32
    }
    /// CMD_PREFETCH_ADDR, Stride: a power of two of 4 KiB.
    pub const fn prefetch_stride(&self) -> u32 {
        bits(self.0[1], 9, 5) as u32
    }
    /// CMD_PREFETCH_ADDR, Address.
    pub const fn prefetch_address(&self) -> u64 {
        field(self.0[1], 63, 12)
    }
    /// CMD_CFGI_STE and CMD_CFGI_CD, Leaf: what is cached of level 1 descriptors may stay.
    pub const fn cfgi_leaf(&self) -> bool {
        bit(self.0[1], 0)
    }
    /// CMD_CFGI_STE_RANGE, Range: a power of two of StreamIDs, less one; 31 is CMD_CFGI_ALL.
    pub const fn cfgi_range(&self) -> u32 {
        bits(self.0[1], 4, 0) as u32
    }
    /// CMD_TLBI, NUM: how many times 2 to the power of SCALE pages, less one.
    pub const fn tlbi_num(&self) -> u64 {
        bits(self.0[0], 16, 12)
    }
    /// Five bits; the sixth counts only with 52-bit addresses of the smaller granules.
    pub const fn tlbi_scale(&self, ds: bool) -> u32 {
        bits(self.0[0], if ds { 25 } else { 24 }, 20) as u32
    }
    /// CMD_TLBI, VMID.
    pub const fn tlbi_vmid(&self) -> u16 {
        bits(self.0[0], 47, 32) as u16
    }
    /// CMD_TLBI, ASID.
    pub const fn tlbi_asid(&self) -> u16 {
        bits(self.0[0], 63, 48) as u16
    }
    /// CMD_TLBI, TTL: the level of the leaf; 0 is any.
    pub const fn tlbi_ttl(&self) -> u8 {
        bits(self.0[1], 9, 8) as u8
    }
    /// CMD_TLBI, TG: 0 is no range, 1 is 4 KiB, 2 is 16 KiB, 3 is 64 KiB.
    pub const fn tlbi_tg(&self) -> u64 {
        bits(self.0[1], 11, 10)
    }
    /// TG: the granule of the range, and of the entries that are meant; `None` is one address.
    pub const fn tlbi_granule(&self) -> Option<Granule> {
        match self.tlbi_tg() {
            0 => None,
            1 => Some(Granule::K4),
            2 => Some(Granule::K16),
            _ => Some(Granule::K64),
        }
    }
    /// The first and the last address of a range of pages of `granule` that begins at `address`:
    /// *Range-based invalidation and level hint*.
    pub fn tlbi_range(&self, address: u64, granule: Granule, ds: bool) -> (u64, u64) {
        let scale = self.tlbi_scale(ds).min(39);
        let first = address & !low_mask(granule.bits());
        let bytes = u128::from(self.tlbi_num() + 1) << (scale + granule.bits());
        let last = (u128::from(first) + bytes - 1).min(u64::MAX.into());
        (first, last as u64)
    }
    /// Leaf: what is cached of tables above the last level may stay.
    pub const fn tlbi_leaf(&self) -> bool {
        bit(self.0[1], 0)
    }
    /// CMD_TLBI, Address.
    pub const fn tlbi_address(&self) -> u64 {
        field(self.0[1], 63, 12)
    }
    /// An intermediate address is not as wide as a virtual one.
    pub const fn tlbi_ipa(&self) -> u64 {
        field(self.0[1], 55, 12)
    }
    /// CMD_ATC_INV, Size: a power of two of 4 KiB; 52 is everything.
    pub const fn atc_size(&self) -> u32 {
        bits(self.0[1], 5, 0) as u32
    }
    /// CMD_ATC_INV, Address.
    pub const fn atc_address(&self) -> u64 {
        field(self.0[1], 63, 12)
    }
    /// CMD_PRI_RESP, PRGIndex.
    pub const fn pri_index(&self) -> u16 {
        bits(self.0[1], 8, 0) as u16
    }
    /// CMD_PRI_RESP, Resp: 0 failure, 1 invalid request, 2 success.
    pub const fn pri_response(&self) -> u64 {
        bits(self.0[1], 13, 12)
    }
    /// CMD_RESUME, Ac: retry.
    pub const fn resume_ac(&self) -> bool {
        self.0[0] & RESUME_AC != 0
    }
    /// CMD_RESUME, Ab: without Ac, abort; clear, RAZ/WI.
    pub const fn resume_ab(&self) -> bool {
        self.0[0] & RESUME_AB != 0
    }
    /// CMD_RESUME, STAG.
    pub const fn resume_stag(&self) -> u16 {
        bits(self.0[1], 15, 0) as u16
    }
    /// CMD_SYNC, CS: 0 no signal, 1 an interrupt, 2 an event (SEV).
    pub const fn sync_cs(&self) -> u64 {
        bits(self.0[0], 13, 12)
    }
    /// CMD_SYNC, MSIData.
    pub const fn sync_msi_data(&self) -> u32 {
        bits(self.0[0], 63, 32) as u32
    }
    /// CMD_SYNC, MSIAddress; 0 is the wired interrupt.
    pub const fn sync_msi_address(&self) -> u64 {
        field(self.0[1], 55, 2)
    }
}

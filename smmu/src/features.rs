//! What an instance implements, and what its identification registers say about it.
//!
//! IHI 0070, *SMMU_IDR0* to *SMMU_IDR5*, *SMMU_IIDR*, *SMMU_AIDR*.

/// Which translation granules are implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granules {
    /// 4 KiB.
    pub k4: bool,
    /// 16 KiB.
    pub k16: bool,
    /// 64 KiB.
    pub k64: bool,
}

/// Which tag a stall gets, of those that no stall of its stream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StallTags {
    /// The one after the last given: a tag is not soon used again.
    #[default]
    InTurn,
    /// The lowest: an answer that comes twice soon hits another stall.
    LowestFree,
}

/// Which state of translation table descriptors the SMMU keeps up to date (IDR0.HTTU).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Httu {
    /// None.
    None,
    /// The access flag.
    AccessFlag,
    /// The access flag and dirty state.
    Dirty,
}

/// What becomes of transactions at stage 1 or 2 that fault (IDR0.STALL_MODEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallModel {
    /// They stall or are terminated, as software chooses.
    Both,
    /// They are terminated.
    Terminate,
    /// They stall. Not for a system with PCIe.
    Stall,
}

/// The choices that an implementer of the architecture has, and the sizes of the caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether there is stage 1 (IDR0.S1P).
    pub stage1: bool,
    /// Whether there is stage 2 (IDR0.S2P); with stage 1, they can be nested.
    pub stage2: bool,
    /// Whether streams can be EL2's (IDR0.HYP), which takes both stages.
    pub hyp: bool,
    /// Whether VMIDs have 16 bits; otherwise 8.
    pub vmid16: bool,
    /// Whether ASIDs have 16 bits; otherwise 8.
    pub asid16: bool,
    /// Whether tables of context descriptors can have two levels (IDR0.CD2L).
    pub two_level_contexts: bool,
    /// Whether stream tables can have two levels (IDR0.ST_LEVEL). They must, with 7 bits of StreamID
    /// or more.
    pub two_level_streams: bool,
    /// Whether accesses to tables and queues are coherent with the CPUs' caches (IDR0.COHACC). There
    /// are no caches of memory here: this is what software is told.
    pub coherent: bool,
    /// Whether CPUs that wait in WFE are woken (IDR0.SEV).
    pub sev: bool,
    /// What the SMMU writes to descriptors.
    pub httu: Httu,
    /// What becomes of transactions that fault.
    pub stall_model: StallModel,
    /// Whether a faulting transaction can be terminated as if it had been done, with writes ignored
    /// and reads of zeros (IDR0.TERM_MODEL = 0). Otherwise CD.A must be 1.
    pub raz_wi: bool,
    /// Whether STE.PRIVCFG and STE.INSTCFG are obeyed (IDR1.ATTR_PERMS_OVR).
    pub attr_perms_ovr: bool,
    /// Whether virtual addresses can have 52 bits (IDR5.VAX).
    pub va_52: bool,
    /// Whether the 4 and 16 KiB granules can have 52-bit addresses (IDR5.DS).
    pub ds: bool,
    /// Whether address spaces can be as small as one table of the last level (IDR3.STT).
    pub stt: bool,
    /// Whether a half of the address space can be closed to unprivileged accesses (IDR3.E0PD).
    pub e0pd: bool,
    /// Width of a StreamID in bits, 0 to 32.
    pub sid_bits: u8,
    /// Width of a SubstreamID in bits, 0 (none) to 20.
    pub ssid_bits: u8,
    /// Stalled transactions that may be reported and unanswered at a time, 1 to 65535. More wait
    /// unreported. 0 if transactions do not stall.
    pub stall_max: u16,
    /// Which tag a stall gets.
    pub stall_tags: StallTags,
    /// Width of a physical address in bits: 32, 36, 40, 42, 44, 48 or 52.
    pub oas_bits: u8,
    /// Translation granules.
    pub granules: Granules,
    /// Greatest size of the command queue, as a power of two of entries, at most 19.
    pub cmdq_log2: u8,
    /// Greatest size of the event queue, as a power of two of entries, at most 19.
    pub eventq_log2: u8,
    /// Whether there is ATS: translation requests, translated transactions, CMD_ATC_INV.
    pub ats: bool,
    /// Whether there is PRI, the page request queue. It needs `ats`.
    pub pri: bool,
    /// Greatest size of the page request queue, as a power of two of entries, at most 19.
    pub priq_log2: u8,
    /// Whether automatic page responses carry the PASID of their request (SMMU_IDR3.PPS); without
    /// it, STE.PPAR says so for each stream.
    pub pps: bool,
    /// Whether TLB invalidation takes ranges.
    pub ril: bool,
    /// Whether interrupts can be messages.
    pub msi: bool,
    /// Entries of the TLB, a power of two from 4 to 65536.
    pub tlb_entries: u32,
    /// Entries of the cache of stream table entries, a power of two up to 65536.
    pub ste_cache_entries: u32,
    /// Entries of the cache of context descriptors, a power of two up to 65536.
    pub cd_cache_entries: u32,
    /// SMMU_IIDR. Not the number of an implementation that drivers have workarounds for.
    pub iidr: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            stage1: true,
            stage2: true,
            hyp: false,
            vmid16: true,
            asid16: true,
            two_level_contexts: true,
            two_level_streams: true,
            coherent: true,
            sev: true,
            httu: Httu::None,
            stall_model: StallModel::Both,
            raz_wi: false,
            attr_perms_ovr: true,
            va_52: false,
            ds: false,
            stt: false,
            e0pd: false,
            sid_bits: 16,
            ssid_bits: 16,
            stall_max: 256,
            stall_tags: StallTags::InTurn,
            oas_bits: 48,
            granules: Granules {
                k4: true,
                k16: true,
                k64: true,
            },
            cmdq_log2: 12,
            eventq_log2: 12,
            ats: false,
            pri: false,
            priq_log2: 9,
            pps: true,
            ril: true,
            msi: true,
            tlb_entries: 2048,
            ste_cache_entries: 256,
            cd_cache_entries: 1024,
            // Product 0x5ba, implementer 0: no code of JEP106.
            iidr: 0x5ba0_0000,
        }
    }
}

/// Why a [`Config`] describes no SMMU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value} is not {expected}")]
pub struct ConfigError {
    /// The field at fault.
    pub field: &'static str,
    /// What it holds.
    pub value: u64,
    /// What it may hold.
    pub expected: &'static str,
}

impl Config {
    /// Whether the choices fit together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let must = |field, value: u64, good: bool, expected| {
            if good {
                Ok(())
            } else {
                Err(ConfigError {
                    field,
                    value,
                    expected,
                })
            }
        };
        let power =
            |value: u32, least: u32| value.is_power_of_two() && (least..=65536).contains(&value);
        must(
            "sid_bits",
            self.sid_bits.into(),
            self.sid_bits <= 32,
            "at most 32",
        )?;
        must(
            "ssid_bits",
            self.ssid_bits.into(),
            self.ssid_bits <= 20,
            "at most 20",
        )?;
        must(
            "two_level_streams",
            0,
            self.two_level_streams || self.sid_bits <= 6,
            "set, unless sid_bits is at most 6",
        )?;
        let (stage1, stage2) = (self.stage1, self.stage2);
        must("stage1", 0, stage1 || stage2, "set, unless stage2 is")?;
        let nested = stage1 && stage2;
        must(
            "hyp",
            1,
            nested || !self.hyp,
            "0, unless there are both stages",
        )?;
        let stall_max = self.stall_max.into();
        match self.stall_model {
            StallModel::Terminate => must("stall_max", stall_max, stall_max == 0, "0")?,
            _ => must("stall_max", stall_max, stall_max > 0, "above 0")?,
        }
        must(
            "oas_bits",
            self.oas_bits.into(),
            matches!(self.oas_bits, 32 | 36 | 40 | 42 | 44 | 48 | 52),
            "32, 36, 40, 42, 44, 48 or 52",
        )?;
        let Granules { k4, k16, k64 } = self.granules;
        must("granules", 0, k4 || k16 || k64, "at least one")?;
        // *SMMU_IDR5*: each of the two is for granules that have a use for it.
        let small = k4 || k16;
        must(
            "ds",
            1,
            !self.ds || small && self.va_52,
            "0, unless va_52 is set and a granule below 64 KiB",
        )?;
        must(
            "va_52",
            1,
            !self.va_52 || k64 || self.ds,
            "0, unless the 64 KiB granule or ds is set",
        )?;
        must(
            "cmdq_log2",
            self.cmdq_log2.into(),
            self.cmdq_log2 <= 19,
            "at most 19",
        )?;
        must(
            "eventq_log2",
            self.eventq_log2.into(),
            self.eventq_log2 <= 19,
            "at most 19",
        )?;
        must(
            "priq_log2",
            self.priq_log2.into(),
            self.priq_log2 <= 19,
            "at most 19",
        )?;
        must(
            "pri",
            self.pri.into(),
            self.ats || !self.pri,
            "possible without ats",
        )?;
        const POWER: &str = "a power of two up to 65536";
        const POWER_4: &str = "a power of two from 4 to 65536";
        must(
            "tlb_entries",
            self.tlb_entries.into(),
            power(self.tlb_entries, 4),
            POWER_4,
        )?;
        let (ste, cd) = (self.ste_cache_entries, self.cd_cache_entries);
        must("ste_cache_entries", ste.into(), power(ste, 1), POWER)?;
        must("cd_cache_entries", cd.into(), power(cd, 1), POWER)
    }

    pub(crate) fn idr0(&self) -> u32 {
        let mut value = 0;
        value |= u32::from(self.stage2); // S2P
        value |= u32::from(self.stage1) << 1; // S1P
        value |= 2 << 2; // TTF: VMSAv8-64 only
        value |= u32::from(self.coherent) << 4; // COHACC
        value |= (self.httu as u32) << 6; // HTTU
        value |= u32::from(self.hyp) << 9; // HYP
        value |= u32::from(self.ats) << 10; // ATS
        // NS1ATS: split-stage ATS is not supported.
        value |= u32::from(self.ats) << 11;
        value |= u32::from(self.asid16) << 12; // ASID16
        value |= u32::from(self.msi) << 13; // MSI
        value |= u32::from(self.sev) << 14; // SEV
        value |= u32::from(self.pri) << 16; // PRI
        value |= u32::from(self.stage2 && self.vmid16) << 18; // VMID16
        value |= u32::from(self.two_level_contexts) << 19; // CD2L
        value |= 2 << 21; // TTENDIAN: little-endian only
        value |= u32::from(self.ats) << 23; // ATSRECERR
        value |= match self.stall_model {
            StallModel::Both => 0,
            StallModel::Terminate => 1,
            StallModel::Stall => 2,
        } << 24; // STALL_MODEL
        // TERM_MODEL: faults terminate with an abort, never as RAZ/WI.
        value |= u32::from(!self.raz_wi) << 26;
        value |= u32::from(self.two_level_streams) << 27; // ST_LEVEL: 2-level tables too
        value
    }

    pub(crate) fn idr1(&self) -> u32 {
        u32::from(self.sid_bits)
            | u32::from(self.ssid_bits) << 6
            | if self.pri {
                u32::from(self.priq_log2) << 11
            } else {
                0
            }
            | u32::from(self.eventq_log2) << 16
            | u32::from(self.cmdq_log2) << 21
            | u32::from(self.attr_perms_ovr) << 26
    }

    pub(crate) fn idr3(&self) -> u32 {
        // SMMUv3.1 demands HAD of a stage 1 and XNX of a stage 2.
        u32::from(self.stage1) << 2
            | u32::from(self.stage2) << 4
            | u32::from(self.pri && self.pps) << 5
            | u32::from(self.stt) << 9
            | u32::from(self.ril) << 10
            | u32::from(self.e0pd) << 13
    }

    pub(crate) fn idr5(&self) -> u32 {
        let oas = match self.oas_bits {
            32 => 0,
            36 => 1,
            40 => 2,
            42 => 3,
            44 => 4,
            48 => 5,
            _ => 6,
        };
        oas | u32::from(self.granules.k4) << 4
            | u32::from(self.granules.k16) << 5
            | u32::from(self.granules.k64) << 6
            | u32::from(self.ds) << 7
            | u32::from(self.va_52) << 10
            | u32::from(self.stall_max) << 16
    }

    pub(crate) fn aidr(&self) -> u32 {
        // SMMUv3.1. RIL comes from 3.2 and may be had earlier; 3.2 itself demands BBML, which
        // is not there.
        1
    }
}

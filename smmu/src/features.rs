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

/// The choices that an implementer of the architecture has, and the sizes of the caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Width of a StreamID in bits, 0 to 32.
    pub sid_bits: u8,
    /// Width of a SubstreamID in bits, 0 (none) to 20.
    pub ssid_bits: u8,
    /// Stalled transactions that may be reported and unanswered at a time, 1 to 65535. More wait
    /// unreported.
    pub stall_max: u16,
    /// Which tag a stall gets.
    pub stall_tags: StallTags,
    /// Width of a physical address in bits: 32, 36, 40, 42, 44 or 48.
    pub oas_bits: u8,
    /// Translation granules.
    pub granules: Granules,
    /// Greatest size of the command queue, as a power of two of entries, at most 19.
    pub cmdq_log2: u8,
    /// Greatest size of the event queue, as a power of two of entries, at most 19.
    pub eventq_log2: u8,
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
            "stall_max",
            self.stall_max.into(),
            self.stall_max > 0,
            "above 0",
        )?;
        must(
            "oas_bits",
            self.oas_bits.into(),
            matches!(self.oas_bits, 32 | 36 | 40 | 42 | 44 | 48),
            "32, 36, 40, 42, 44 or 48",
        )?;
        let Granules { k4, k16, k64 } = self.granules;
        must("granules", 0, k4 || k16 || k64, "at least one")?;
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
        value |= 1 << 1; // S1P
        value |= 2 << 2; // TTF: VMSAv8-64 only
        value |= 1 << 4; // COHACC
        value |= 1 << 12; // ASID16
        value |= u32::from(self.msi) << 13; // MSI
        value |= 1 << 14; // SEV
        value |= 1 << 19; // CD2L
        value |= 2 << 21; // TTENDIAN: little-endian only
        value |= 1 << 26; // TERM_MODEL: faults terminate with an abort, never as RAZ/WI
        value |= 1 << 27; // ST_LEVEL: 2-level tables too
        value // STALL_MODEL 0: stall and terminate
    }

    pub(crate) fn idr1(&self) -> u32 {
        u32::from(self.sid_bits)
            | u32::from(self.ssid_bits) << 6
            | u32::from(self.eventq_log2) << 16
            | u32::from(self.cmdq_log2) << 21
    }

    pub(crate) fn idr3(&self) -> u32 {
        // HAD, which SMMUv3.1 demands, and RIL.
        1 << 2 | u32::from(self.ril) << 10
    }

    pub(crate) fn idr5(&self) -> u32 {
        let oas = match self.oas_bits {
            32 => 0,
            36 => 1,
            40 => 2,
            42 => 3,
            44 => 4,
            _ => 5,
        };
        oas | u32::from(self.granules.k4) << 4
            | u32::from(self.granules.k16) << 5
            | u32::from(self.granules.k64) << 6
            | u32::from(self.stall_max) << 16
    }

    pub(crate) fn aidr(&self) -> u32 {
        // SMMUv3.1. RIL comes from 3.2 and may be had earlier; 3.2 itself demands BBML, which
        // is not there.
        1
    }
}

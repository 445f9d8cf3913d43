//! The SMMU's tables as a driver would read them: from its registers and the guest's memory, and so
//! whatever the model has cached.
//!
//! IHI 0070, *Stream table*, *Stream Table Entry*, *Context Descriptor*; DDI 0487, *VMSAv8-64
//! translation table format descriptors*. Field positions are those of Linux 6.12, `arm-smmu-v3.h`
//! (`STRTAB_*`, `CTXDESC_*`).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stallbox_devices::GuestRam;
use stallbox_smmu::Smmu;

use crate::stage1::{End, Half, read64};

/// More than this is not listed.
pub(super) const LISTED_MAX: usize = 1024;
/// More than this is not looked at: a stream table can claim to have 2^32 entries.
const LOOKED_AT_MAX: u64 = 1 << 20;

const STRTAB_BASE: u64 = 0x80;
const STRTAB_BASE_CFG: u64 = 0x88;

/// Bits `high` to `low`.
pub(super) fn field(word: u64, high: u32, low: u32) -> u64 {
    (word >> low) & (u64::MAX >> (63 - (high - low)))
}

pub(super) fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// A structure as it is, word by word.
pub(super) fn show_words(words: &[u64]) -> Value {
    words.iter().map(|word| format!("{word:#018x}")).collect()
}

/// A PASID's context descriptor as it is in memory, and where; `None` if there is no table for it.
pub(crate) fn context_descriptor(
    smmu: &Smmu,
    ram: &GuestRam,
    stream: u32,
    pasid: u32,
) -> Option<(u64, [u64; 8])> {
    Tables { smmu, ram }.cd(stream, pasid).ok()
}

pub(super) struct Tables<'a> {
    pub(super) smmu: &'a Smmu,
    pub(super) ram: &'a GuestRam,
}

impl Tables<'_> {
    pub(super) fn register(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.smmu.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    pub(super) fn register64(&self, offset: u64) -> u64 {
        u64::from(self.register(offset)) | u64::from(self.register(offset + 4)) << 32
    }

    pub(super) fn words<const N: usize>(&self, at: u64) -> Result<[u64; N]> {
        let mut words = [0; N];
        for (word, at) in words.iter_mut().zip((at..).step_by(8)) {
            *word = read64(self.ram, at).with_context(|| format!("{at:#x} is not RAM"))?;
        }
        Ok(words)
    }

    /// Where the stream table entry of `sid` is.
    fn ste_at(&self, sid: u32) -> Result<u64> {
        let base = field(self.register64(STRTAB_BASE), 51, 6) << 6;
        let cfg = self.register(STRTAB_BASE_CFG);
        let (format, split, log2) = (cfg >> 16 & 3, cfg >> 6 & 0x1f, cfg & 0x3f);
        if log2 < 32 && sid >> log2 != 0 {
            bail!("StreamID {sid:#x} is beyond the stream table, which has 2^{log2} entries");
        }
        if base == 0 {
            bail!("SMMU_STRTAB_BASE is 0: there is no stream table");
        }
        if format != 1 {
            return Ok(base + 64 * u64::from(sid));
        }
        let [l1] = self.words::<1>(base + 8 * u64::from(sid >> split))?;
        let span = field(l1, 4, 0) as u32;
        let index = sid & ((1 << split) - 1);
        if span == 0 || u64::from(index) >= 1 << (span - 1) {
            bail!("StreamID {sid:#x} has no second-level table (its descriptor is {l1:#x})");
        }
        Ok((field(l1, 51, 6) << 6) + 64 * u64::from(index))
    }

    fn ste(&self, sid: u32) -> Result<(u64, [u64; 8])> {
        let at = self.ste_at(sid)?;
        Ok((at, self.words(at)?))
    }

    /// A stream table entry in words.
    pub(super) fn show_ste(&self, sid: u32) -> Result<Value> {
        let (at, words) = self.ste(sid)?;
        let config = match field(words[0], 3, 1) {
            0..=3 => "abort",
            4 => "bypass",
            5 => "stage 1",
            6 => "stage 2",
            _ => "stage 1 and 2",
        };
        let format = [
            "linear",
            "2-level, 4 KiB leaves",
            "2-level, 64 KiB leaves",
            "reserved",
        ];
        let unmarked = ["terminate", "bypass", "context 0", "reserved"];
        let mut shown = json!({
            "stream": sid,
            "at": hex(at),
            "v": words[0] & 1 != 0,
            "config": config,
            "words": show_words(&words),
        });
        // What does not count is not shown: it may be anything.
        if field(words[0], 3, 1) & 5 == 5 {
            let stage1 = json!({
                "s1_fmt": format[field(words[0], 5, 4) as usize],
                "s1_context_ptr": hex(field(words[0], 51, 6) << 6),
                "s1_cd_max": field(words[0], 63, 59),
                "s1_dss": unmarked[field(words[1], 1, 0) as usize],
                "s1_stalld": field(words[1], 27, 27) != 0,
                "eats": field(words[1], 29, 28),
            });
            for (key, value) in stage1.as_object().into_iter().flatten() {
                shown[key] = value.clone();
            }
        }
        if field(words[0], 3, 1) & 2 != 0 && field(words[0], 3, 1) >= 4 {
            shown["s2_vmid"] = json!(field(words[2], 15, 0));
            shown["s2_ttb"] = json!(hex(field(words[3], 51, 4) << 4));
        }
        Ok(shown)
    }

    /// All stream table entries that are valid and let something through.
    pub(super) fn list_stes(&self) -> Result<Value> {
        let cfg = self.register(STRTAB_BASE_CFG);
        let (format, split, log2) = (cfg >> 16 & 3, cfg >> 6 & 0x1f, (cfg & 0x3f).min(32));
        let mut listed = Vec::new();
        let mut sid = 0_u64;
        let mut looked_at = 0;
        while sid < 1 << log2 && listed.len() < LISTED_MAX && looked_at < LOOKED_AT_MAX {
            looked_at += 1;
            match self.ste(sid as u32) {
                // Linux fills its tables with entries that abort.
                Ok((_, words)) if words[0] & 1 != 0 && field(words[0], 3, 1) >= 4 => {
                    listed.push(self.show_ste(sid as u32)?);
                }
                Ok(_) => {}
                // Nothing of this second-level table is there.
                Err(_) if format == 1 => sid |= (1 << split) - 1,
                Err(error) => return Err(error),
            }
            sid += 1;
        }
        Ok(Value::Array(listed))
    }

    fn cd_at(&self, sid: u32, ssid: u32) -> Result<u64> {
        let (_, ste) = self.ste(sid)?;
        if ste[0] & 1 == 0 {
            bail!("the stream table entry of {sid:#x} is not valid (V is 0)");
        }
        if field(ste[0], 3, 1) & 5 != 5 {
            bail!("stream {sid:#x} has no stage 1, and so no context descriptors");
        }
        let max = field(ste[0], 63, 59);
        if max < 32 && u64::from(ssid) >> max != 0 {
            bail!("PASID {ssid:#x} is beyond the table, which has 2^{max} context descriptors");
        }
        let base = field(ste[0], 51, 6) << 6;
        let leaf_log2 = match field(ste[0], 5, 4) {
            1 => 6,
            2 => 10,
            _ => return Ok(base + 64 * u64::from(ssid)),
        };
        if max == 0 {
            return Ok(base);
        }
        let [l1] = self.words::<1>(base + 8 * u64::from(ssid >> leaf_log2))?;
        if l1 & 1 == 0 {
            bail!("PASID {ssid:#x} has no second-level table");
        }
        let leaf = field(l1, 51, 12) << 12;
        Ok(leaf + 64 * u64::from(ssid & ((1 << leaf_log2) - 1)))
    }

    fn cd(&self, sid: u32, ssid: u32) -> Result<(u64, [u64; 8])> {
        let at = self.cd_at(sid, ssid)?;
        Ok((at, self.words(at)?))
    }

    /// A context descriptor in words.
    pub(super) fn show_cd(&self, sid: u32, ssid: u32) -> Result<Value> {
        let (at, words) = self.cd(sid, ssid)?;
        let bit = |n| field(words[0], n, n) != 0;
        let granules = ["4 KiB", "64 KiB", "16 KiB", "reserved"];
        let granule = granules[field(words[0], 7, 6) as usize];
        Ok(json!({
            "stream": sid,
            "pasid": ssid,
            "at": hex(at),
            "v": bit(31),
            "asid": field(words[0], 63, 48),
            "aset": bit(47),
            "ttb0": hex(field(words[1], 51, 4) << 4),
            "ttb1": hex(field(words[2], 51, 4) << 4),
            "t0sz": field(words[0], 5, 0),
            "tbi0": bit(38),
            "granule": granule,
            "epd0": bit(14),
            "epd1": bit(30),
            "affd": bit(35),
            "ha": bit(43),
            "hd": bit(42),
            "s": bit(44),
            "r": bit(45),
            "a": bit(46),
            "words": show_words(&words),
        }))
    }

    /// All context descriptors of a stream that are valid.
    pub(super) fn list_cds(&self, sid: u32) -> Result<Value> {
        let (_, ste) = self.ste(sid)?;
        let max = field(ste[0], 63, 59).min(20);
        let leaf_log2 = match field(ste[0], 5, 4) {
            1 => 6,
            2 => 10,
            _ => 0,
        };
        let mut listed = Vec::new();
        let mut ssid = 0_u64;
        while ssid < 1 << max && listed.len() < LISTED_MAX {
            match self.cd(sid, ssid as u32) {
                Ok((_, words)) if words[0] & 1 << 31 != 0 => {
                    listed.push(self.show_cd(sid, ssid as u32)?);
                }
                Ok(_) => {}
                Err(_) if leaf_log2 > 0 && ssid > 0 => ssid |= (1 << leaf_log2) - 1,
                Err(error) => return Err(error),
            }
            ssid += 1;
        }
        Ok(Value::Array(listed))
    }

    /// The walk of an address through the stage 1 tables of a context.
    pub(super) fn show_walk(&self, sid: u32, ssid: u32, address: u64) -> Result<Value> {
        let (_, cd) = self.cd(sid, ssid)?;
        let upper = address >> 55 & 1 != 0;
        let mut shown = json!({
            "stream": sid,
            "pasid": ssid,
            "address": hex(address),
            "asid": field(cd[0], 63, 48),
        });
        let ended = |mut shown: Value, text: String, steps: Vec<Value>| {
            shown["steps"] = Value::Array(steps);
            shown["outcome"] = json!(text);
            Ok(shown)
        };
        if cd[0] & 1 << 31 == 0 {
            let text = "the context descriptor is not valid (V is 0)";
            return ended(shown, text.into(), vec![]);
        }
        let Some(half) = Half::of_context(&cd, upper) else {
            return ended(shown, "no tables: EPD is 1".into(), vec![]);
        };
        let input_bits = half.input_bits;
        // The bits above are all alike: those of which a context does not ignore the top byte (TBI).
        let top_byte_ignored = field(cd[0], 38 + u32::from(upper), 38 + u32::from(upper)) != 0;
        let outside = if upper { !address } else { address };
        let significant = if top_byte_ignored {
            u64::MAX >> 8
        } else {
            u64::MAX
        };
        if (outside & significant) >> input_bits != 0 {
            let text = format!("F_TRANSLATION: beyond {input_bits} bits of input address");
            return ended(shown, text, vec![]);
        }
        let walk = half.walk(self.ram, address);
        let steps = walk.steps.iter().map(|step| {
            json!({
                "level": step.level,
                "at": hex(step.at),
                "descriptor": format!("{:#018x}", step.raw),
                "kind": step.kind.name(),
            })
        });
        let text = match walk.end {
            End::Mapped { output, raw } => {
                shown["output"] = json!(hex(output));
                format!("{} ({})", hex(output), rights(&cd, raw))
            }
            End::NotRam { at } => format!("the walk aborts: {at:#x} is not RAM"),
            End::Invalid => {
                let level = walk.steps.last().map_or(0, |step| step.level);
                format!("F_TRANSLATION at level {level}")
            }
        };
        let steps = steps.collect();
        ended(shown, text, steps)
    }
}

/// What a leaf permits in a context, as it is.
fn rights(cd: &[u64; 8], leaf: u64) -> String {
    let bit = |word: u64, n: u32| word >> n & 1 != 0;
    let user = if bit(leaf, 6) { "user" } else { "privileged" };
    // HA, HD; DBM, AP[2].
    let keeps_dirty_state = bit(cd[0], 43) && bit(cd[0], 42) && bit(leaf, 51);
    let write = match (bit(leaf, 7), keeps_dirty_state) {
        (false, _) => "writable",
        (true, true) => "writable, clean",
        (true, false) => "read-only",
    };
    let accessed = if bit(leaf, 10) {
        ""
    } else {
        ", access flag clear"
    };
    format!("{user}, {write}{accessed}")
}

//! The SMMU's tables as a driver would read them: from its registers and the guest's memory, and so
//! whatever the model has cached.

use anyhow::Result;
use serde_json::{Value, json};
use stallbox_devices::GuestRam;
use stallbox_machine::stage1::reader;
use stallbox_smmu::spec::cd::Cd;
use stallbox_smmu::spec::ste::{CONFIG_BYPASS, CONFIG_STAGE1, CONFIG_STAGE2, Ste};
use stallbox_smmu::view::{End, Missing, Placed, Rights, Step, View, Walk};
use stallbox_smmu::{Access, Smmu};

/// More than this is not listed.
pub(super) const LISTED_MAX: usize = 1024;
/// More than this is not looked at: a stream table can claim to have 2^32 entries.
const LOOKED_AT_MAX: u64 = 1 << 20;

pub(super) fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// A structure as it is, word by word.
pub(super) fn show_words(words: &[u64]) -> Value {
    words.iter().map(|word| format!("{word:#018x}")).collect()
}

pub(super) struct Tables<'a> {
    pub(super) smmu: &'a Smmu,
    pub(super) ram: &'a GuestRam,
}

impl Tables<'_> {
    /// What `look` sees.
    pub(super) fn view<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        let memory = reader(self.ram);
        look(View::new(self.smmu, &memory))
    }

    /// A stream table entry in words.
    pub(super) fn show_ste(&self, sid: u32) -> Result<Value> {
        let ste = self.view(|view| view.ste(sid))?;
        Ok(show_ste(sid, &ste))
    }

    /// All stream table entries that are valid and let something through.
    pub(super) fn list_stes(&self) -> Result<Value> {
        // Linux fills its tables with entries that abort.
        let wanted = |ste: &Ste| ste.v() && ste.config() & CONFIG_BYPASS != 0;
        let found = self.view(|view| view.stes(LISTED_MAX, LOOKED_AT_MAX, wanted))?;
        Ok(found.iter().map(|(sid, ste)| show_ste(*sid, ste)).collect())
    }

    /// A context descriptor in words.
    pub(super) fn show_cd(&self, sid: u32, ssid: u32) -> Result<Value> {
        let cd = self.view(|view| view.cd(sid, ssid))?;
        Ok(show_cd(sid, ssid, &cd))
    }

    /// All context descriptors of a stream that are valid.
    pub(super) fn list_cds(&self, sid: u32) -> Result<Value> {
        let found = self.view(|view| view.cds(sid, LISTED_MAX))?;
        let shown = found.iter().map(|(ssid, cd)| show_cd(sid, *ssid, cd));
        Ok(shown.collect())
    }

    /// The walk of an address through the tables of a context, and those of stage 2.
    pub(super) fn show_walk(&self, sid: u32, ssid: u32, address: u64) -> Result<Value> {
        let mut shown = json!({
            "stream": sid,
            "pasid": ssid,
            "address": hex(address),
        });
        // A stream without stage 1 has no context descriptor, and its walk is of stage 2.
        if let Ok(cd) = self.view(|view| view.cd(sid, ssid)) {
            shown["asid"] = json!(cd.it.asid());
        }
        let walk = match self.view(|view| view.walk(sid, ssid, address)) {
            Ok(walk) => walk,
            Err(error @ (Missing::InvalidContext | Missing::BadContext(_))) => {
                shown["steps"] = json!([]);
                shown["outcome"] = json!(error.to_string());
                return Ok(shown);
            }
            Err(error) => return Err(error.into()),
        };
        shown["steps"] = walk.steps.iter().map(show_step).collect();
        if let Some(output) = walk.output() {
            shown["output"] = json!(hex(output));
        }
        shown["outcome"] = json!(outcome(&walk));
        Ok(shown)
    }
}

fn show_ste(sid: u32, Placed { at, it: ste }: &Placed<Ste>) -> Value {
    let config = match ste.config() {
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
        "at": hex(*at),
        "v": ste.v(),
        "config": config,
        "words": show_words(&ste.0),
    });
    // What does not count is not shown: it may be anything.
    let has = |stage| ste.config() & CONFIG_BYPASS != 0 && ste.config() & stage != 0;
    if has(CONFIG_STAGE1) {
        let stage1 = json!({
            "s1_fmt": format[ste.s1_fmt() as usize],
            "s1_context_ptr": hex(ste.s1_context_ptr()),
            "s1_cd_max": ste.s1_cd_max(),
            "s1_dss": unmarked[ste.s1_dss() as usize],
            "s1_stalld": ste.s1_stalld(),
            "eats": ste.eats(),
        });
        for (key, value) in stage1.as_object().into_iter().flatten() {
            shown[key] = value.clone();
        }
    }
    if has(CONFIG_STAGE2) {
        shown["s2_vmid"] = json!(ste.s2_vmid());
        shown["s2_ttb"] = json!(hex(ste.s2_ttb()));
        shown["s2_t0sz"] = json!(ste.s2_t0sz());
    }
    shown
}

fn show_cd(sid: u32, ssid: u32, Placed { at, it: cd }: &Placed<Cd>) -> Value {
    let granules = ["4 KiB", "64 KiB", "16 KiB", "reserved"];
    json!({
        "stream": sid,
        "pasid": ssid,
        "at": hex(*at),
        "v": cd.v(),
        "asid": cd.asid(),
        "aset": cd.aset(),
        "ttb0": hex(cd.ttb(0)),
        "ttb1": hex(cd.ttb(1)),
        "t0sz": cd.t_sz(0),
        "tbi0": cd.tbi(0),
        "granule": granules[cd.tg(0) as usize],
        "epd0": cd.epd(0),
        "epd1": cd.epd(1),
        "affd": cd.affd(),
        "ha": cd.ha(),
        "hd": cd.hd(),
        "s": cd.s(),
        "r": cd.r(),
        "a": cd.a(),
        "words": show_words(&cd.0),
    })
}

fn show_step(step: &Step) -> Value {
    let mut shown = json!({
        "level": step.level,
        "at": hex(step.at),
        "descriptor": format!("{:#018x}", step.raw),
        "kind": step.kind.name(),
    });
    if step.stage == 2 {
        shown["stage"] = json!(2);
    }
    shown
}

/// How a walk ended, in words.
fn outcome(walk: &Walk) -> String {
    let last = walk.steps.last();
    let level = last.map_or(0, |step| step.level);
    let stage = |stage| if stage == 2 { " of stage 2" } else { "" };
    let here = stage(last.map_or(1, |step| step.stage));
    match walk.end {
        End::Mapped { output, rights, .. } => format!("{} ({})", hex(output), show_rights(&rights)),
        End::NoTables => "no tables: EPD is 1".to_owned(),
        End::Beyond {
            stage: at,
            input_bits,
        } => format!(
            "F_TRANSLATION: beyond {input_bits} bits of input address{}",
            stage(at)
        ),
        End::Translation => format!("F_TRANSLATION at level {level}{here}"),
        End::AddressSize => {
            format!("F_ADDR_SIZE at level {level}{here}: it leads beyond the output size")
        }
        End::Memory { stage: of, at } => {
            format!("the walk aborts: {at:#x} is not RAM{}", stage(of))
        }
    }
}

/// What a walk's end permits.
fn show_rights(rights: &Rights) -> String {
    let user = rights.permit(Access::READ) || rights.permit(Access::WRITE);
    let (name, access) = if user {
        ("user", Access::WRITE)
    } else {
        ("privileged", Access::WRITE.privileged())
    };
    let write = match (rights.permit(access), rights.is_clean(access)) {
        (true, true) => "writable, clean",
        (true, false) => "writable",
        (false, _) => "read-only",
    };
    let accessed = if rights.accessed() {
        ""
    } else {
        ", access flag clear"
    };
    format!("{name}, {write}{accessed}")
}

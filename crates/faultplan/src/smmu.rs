//! Properties of the SMMU: the keys of a plan's `[smmu]`, which are those of `--smmu`, too.

use crate::read::{Reader, Table, Value};

/// Which tag a stall gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallTags {
    /// The one after the last given.
    InTurn,
    /// The lowest that is free.
    LowestFree,
}

/// What becomes of transactions that fault (SMMU_IDR0.STALL_MODEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallModel {
    /// They stall or are terminated, as software chooses.
    Both,
    /// They are terminated.
    Terminate,
    /// They stall.
    Force,
}

/// How a terminated transaction may end (SMMU_IDR0.TERM_MODEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TermModel {
    /// With an abort.
    Abort,
    /// With an abort, or with writes ignored and reads of zeros, as software chooses.
    RazWi,
}

/// Stages of translation (SMMU_IDR0.S1P and S2P).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// Both, which can be nested.
    Both,
    /// Stage 1.
    Stage1,
    /// Stage 2.
    Stage2,
}

/// What the SMMU updates in descriptors (SMMU_IDR0.HTTU).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Httu {
    /// Nothing.
    None,
    /// The access flag.
    Access,
    /// The access flag and dirty state.
    Dirty,
}

/// Levels of stream tables (SMMU_IDR0.ST_LEVEL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamTables {
    /// One.
    Linear,
    /// One or two.
    TwoLevel,
}

/// Translation granules (SMMU_IDR5.GRAN4K, GRAN16K and GRAN64K).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granules {
    /// 4 KiB.
    pub k4: bool,
    /// 16 KiB.
    pub k16: bool,
    /// 64 KiB.
    pub k64: bool,
}

const GRANULES: [&str; 7] = [
    "4k",
    "16k",
    "4k+16k",
    "64k",
    "4k+64k",
    "16k+64k",
    "4k+16k+64k",
];

/// Values that a key takes. Each is a number to what sets it: the integer, or the word's place.
pub(crate) enum Values {
    /// Integers from the first to the last.
    Integer(u64, u64),
    /// Powers of two from the first to the last.
    PowerOfTwo(u64, u64),
    /// One of these integers.
    OneOf(&'static [u64]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// True or false.
    Flag,
}

/// A key.
pub(crate) struct Key {
    /// How it is written.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) values: Values,
    set: fn(&mut SmmuSettings, u64),
}

/// Something that the number of a value stands for.
trait Setting {
    fn of(number: u64) -> Self;
}

macro_rules! numbers {
    ($($type:ty),*) => { $(impl Setting for $type {
        fn of(number: u64) -> $type {
            // The key's range is the type's, or within it.
            number as $type
        }
    })* };
}
numbers!(u8, u16, u32);

impl Setting for bool {
    fn of(number: u64) -> bool {
        number != 0
    }
}

macro_rules! words {
    ($($type:ident: $($variant:ident),*;)*) => { $(impl Setting for $type {
        fn of(number: u64) -> $type {
            [$($type::$variant),*][number as usize]
        }
    })* };
}
words! {
    StallTags: InTurn, LowestFree;
    StallModel: Both, Terminate, Force;
    TermModel: Abort, RazWi;
    Stages: Both, Stage1, Stage2;
    Httu: None, Access, Dirty;
    StreamTables: Linear, TwoLevel;
}

impl Setting for Granules {
    fn of(number: u64) -> Granules {
        // The words are in the order of these bits, from 1 on.
        let bits = number + 1;
        Granules {
            k4: bits & 1 != 0,
            k16: bits & 2 != 0,
            k64: bits & 4 != 0,
        }
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $values:expr;)*) => {
        /// Properties of the SMMU. What is not given stays as it is.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct SmmuSettings {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        /// The keys, in the order of the registers that tell of them.
        pub(crate) const KEYS: &[Key] = &[$(Key {
            name: stringify!($field),
            values: $values,
            set: |settings, number| settings.$field = Some(<$type as Setting>::of(number)),
        }),*];

        impl SmmuSettings {
            /// Adds what `more` gives; an error names what both give.
            pub fn add(&mut self, more: SmmuSettings) -> Result<(), &'static str> {
                $(if more.$field.is_some() {
                    if self.$field.is_some() {
                        return Err(stringify!($field));
                    }
                    self.$field = more.$field;
                })*
                Ok(())
            }
        }
    };
}

settings! {
    /// Stages of translation (SMMU_IDR0.S1P, S2P).
    stages: Stages = Values::Word(&["both", "s1", "s2"]);
    /// Coherent accesses to tables and queues (SMMU_IDR0.COHACC).
    cohacc: bool = Values::Flag;
    /// Hardware update of descriptors (SMMU_IDR0.HTTU).
    httu: Httu = Values::Word(&["none", "access", "dirty"]);
    /// Streams of EL2 (SMMU_IDR0.HYP).
    hyp: bool = Values::Flag;
    /// ATS (SMMU_IDR0.ATS).
    ats: bool = Values::Flag;
    /// Page requests (SMMU_IDR0.PRI).
    pri: bool = Values::Flag;
    /// Width of an ASID in bits (SMMU_IDR0.ASID16).
    asid_bits: u8 = Values::OneOf(&[8, 16]);
    /// Width of a VMID in bits (SMMU_IDR0.VMID16).
    vmid_bits: u8 = Values::OneOf(&[8, 16]);
    /// Messages as interrupts, and as the end of CMD_SYNC (SMMU_IDR0.MSI).
    msi: bool = Values::Flag;
    /// Wake-ups of WFE (SMMU_IDR0.SEV).
    sev: bool = Values::Flag;
    /// Tables of context descriptors with two levels (SMMU_IDR0.CD2L).
    cd2l: bool = Values::Flag;
    /// Levels of stream tables (SMMU_IDR0.ST_LEVEL).
    st_level: StreamTables = Values::Word(&["linear", "2-level"]);
    /// What becomes of transactions that fault (SMMU_IDR0.STALL_MODEL).
    stall_model: StallModel = Values::Word(&["both", "terminate", "force"]);
    /// How they end (SMMU_IDR0.TERM_MODEL).
    term_model: TermModel = Values::Word(&["abort", "raz-wi"]);
    /// Width of a StreamID in bits (SMMU_IDR1.SIDSIZE).
    sid_bits: u8 = Values::Integer(0, 32);
    /// Width of a SubstreamID, and so of a PASID (SMMU_IDR1.SSIDSIZE).
    ssid_bits: u8 = Values::Integer(0, 20);
    /// Greatest command queue, as a power of two of entries (SMMU_IDR1.CMDQS).
    command_queue_log2: u8 = Values::Integer(1, 19);
    /// Greatest event queue (SMMU_IDR1.EVENTQS).
    event_queue_log2: u8 = Values::Integer(1, 19);
    /// Greatest page request queue (SMMU_IDR1.PRIQS).
    page_request_queue_log2: u8 = Values::Integer(1, 19);
    /// Whether STE.PRIVCFG and INSTCFG are obeyed (SMMU_IDR1.ATTR_PERMS_OVR).
    attr_perms_ovr: bool = Values::Flag;
    /// PASIDs in automatic page responses (SMMU_IDR3.PPS).
    pps: bool = Values::Flag;
    /// Small translation tables (SMMU_IDR3.STT).
    stt: bool = Values::Flag;
    /// Range invalidation (SMMU_IDR3.RIL).
    ril: bool = Values::Flag;
    /// Halves of the address space closed to unprivileged accesses (SMMU_IDR3.E0PD).
    e0pd: bool = Values::Flag;
    /// Width of a physical address in bits (SMMU_IDR5.OAS).
    oas_bits: u8 = Values::OneOf(&[32, 36, 40, 42, 44, 48, 52]);
    /// Translation granules (SMMU_IDR5.GRAN4K, GRAN16K, GRAN64K).
    granules: Granules = Values::Word(&GRANULES);
    /// 52-bit addresses with granules below 64 KiB (SMMU_IDR5.DS).
    ds: bool = Values::Flag;
    /// Width of a virtual address in bits (SMMU_IDR5.VAX).
    va_bits: u8 = Values::OneOf(&[48, 52]);
    /// Stalls that can be open at a time (SMMU_IDR5.STALL_MAX).
    stall_max: u16 = Values::Integer(1, 65535);
    /// Which tag a stall gets.
    stall_tags: StallTags = Values::Word(&["in-turn", "lowest-free"]);
    /// Implementer, product, variant and revision (SMMU_IIDR).
    iidr: u32 = Values::Integer(0, 0xffff_ffff);
    /// Entries of the TLB.
    tlb_entries: u32 = Values::PowerOfTwo(4, 65536);
    /// Entries of the cache of stream table entries.
    ste_cache_entries: u32 = Values::PowerOfTwo(1, 65536);
    /// Entries of the cache of context descriptors.
    cd_cache_entries: u32 = Values::PowerOfTwo(1, 65536);
}

/// What software can read in identification registers and nobody can change here, and why.
const FIXED: &[(&str, &str)] = &[
    (
        "ttf",
        "translation tables are AArch64's: those of AArch32 are not modelled",
    ),
    (
        "btm",
        "the CPUs do not broadcast TLB invalidations to the SMMU",
    ),
    ("dormhint", "no CPU looks at the dormant hint"),
    ("ns1ats", "split-stage ATS is not modelled"),
    ("atos", "address translation operations are not modelled"),
    ("vatos", "address translation operations are not modelled"),
    ("vmw", "VMID wildcards are not modelled"),
    ("ttendian", "translation tables are little-endian"),
    ("atsrecerr", "it is there with ATS, and only then"),
    (
        "attr_types_ovr",
        "memory types and shareability are not modelled",
    ),
    ("rel", "tables and queues in fixed memory are not modelled"),
    (
        "queues_preset",
        "tables and queues in fixed memory are not modelled",
    ),
    (
        "tables_preset",
        "tables and queues in fixed memory are not modelled",
    ),
    ("ecmdq", "there is one command queue"),
    ("had", "SMMUv3.1 demands it of a stage 1"),
    ("xnx", "SMMUv3.1 demands it of a stage 2"),
    ("fwb", "memory attributes are not modelled"),
    (
        "bbml",
        "a change of block size without break-before-make is not modelled",
    ),
    ("mpam", "memory partitioning is not modelled"),
];

impl SmmuSettings {
    /// Reads `KEY=VALUE,...` as it is given on the command line. An error says what is wrong, and what
    /// would be right.
    pub fn parse_pairs(text: &str) -> Result<SmmuSettings, String> {
        let mut settings = SmmuSettings::default();
        for pair in text.split(',') {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("\"{pair}\" has no value; write KEY=VALUE,..."))?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
            if key.is_empty() || value.is_empty() || !pair.replacen('=', "", 1).chars().all(plain) {
                return Err(format!("\"{pair}\" is no KEY=VALUE"));
            }
            // The one reader of values is the plan's. A string that is a number is one there.
            let toml = match value {
                "true" | "false" => format!("{key} = {value}"),
                _ => format!("{key} = \"{value}\""),
            };
            let one = SmmuSettings::parse_toml(&toml)?;
            settings
                .add(one)
                .map_err(|key| format!("`{key}` is given twice; leave one out"))?;
        }
        Ok(settings)
    }

    fn parse_toml(text: &str) -> Result<SmmuSettings, String> {
        let table = toml::de::DeTable::parse(text).map_err(|error| error.message().to_owned())?;
        let reader = Reader::new(text);
        let settings = read(
            &reader,
            &Table::root(&reader, table.get_ref(), table.span()),
        );
        match reader.into_mistakes().into_iter().next() {
            None => Ok(settings),
            Some(mistake) => Err(match mistake.help {
                Some(help) => format!("{}; {help}", mistake.message),
                None => mistake.message,
            }),
        }
    }
}

/// Reads a table of keys.
pub(crate) fn read<'r, 's>(reader: &'r Reader<'s>, table: &Table<'r, 's>) -> SmmuSettings {
    let mut known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    for (name, why) in FIXED {
        if let Some(value) = table.get(name) {
            let message = format!("`{name}` cannot be chosen: {why}");
            reader.mistake(value.span(), message, None);
            known.push(name);
        }
    }
    table.only(&known);
    let mut settings = SmmuSettings::default();
    for key in KEYS {
        if let Some(value) = table.get(key.name)
            && let Some(number) = number(reader, key, value)
        {
            (key.set)(&mut settings, number);
        }
    }
    settings
}

fn number(reader: &Reader<'_>, key: &Key, value: &Value<'_>) -> Option<u64> {
    let name = key.name;
    match key.values {
        Values::Integer(least, most) => reader.integer(value, name, least..=most),
        Values::PowerOfTwo(least, most) => {
            let number = reader.integer(value, name, least..=most)?;
            if !number.is_power_of_two() {
                reader.mistake(
                    value.span(),
                    format!("`{name}` must be a power of two"),
                    None,
                );
                return None;
            }
            Some(number)
        }
        Values::OneOf(known) => {
            let number = reader.integer(value, name, 0..=u64::MAX)?;
            if !known.contains(&number) {
                let known: Vec<String> = known.iter().map(u64::to_string).collect();
                let message = format!("`{name}` must be one of {}", known.join(", "));
                reader.mistake(value.span(), message, None);
                return None;
            }
            Some(number)
        }
        Values::Word(words) => {
            let word = reader.choice(value, name, words)?;
            words.iter().position(|it| *it == word).map(|at| at as u64)
        }
        Values::Flag => reader.boolean(value, name).map(u64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_a_plan_is() {
        let pairs = "ril=false,ssid_bits=8,stall_model=force,iidr=0x4831043b,granules=4k+64k";
        let settings = SmmuSettings::parse_pairs(pairs).unwrap();
        let toml = "ril = false\nssid_bits = 8\nstall_model = \"force\"\niidr = 0x4831_043b\n\
                    granules = \"4k+64k\"\n";
        assert_eq!(settings, SmmuSettings::parse_toml(toml).unwrap());
        assert_eq!(settings.ssid_bits, Some(8));
        assert_eq!(settings.stall_model, Some(StallModel::Force));
        assert_eq!(settings.iidr, Some(0x4831_043b));
        let granules = settings.granules.unwrap();
        assert_eq!(
            (granules.k4, granules.k16, granules.k64),
            (true, false, true)
        );
        assert_eq!(settings.sev, None);
    }

    #[test]
    fn each_word_of_granules_says_what_it_means() {
        for (number, word) in GRANULES.iter().enumerate() {
            let Granules { k4, k16, k64 } = Granules::of(number as u64);
            let words: Vec<&str> = word.split('+').collect();
            assert_eq!(k4, words.contains(&"4k"), "{word}");
            assert_eq!(k16, words.contains(&"16k"), "{word}");
            assert_eq!(k64, words.contains(&"64k"), "{word}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        for (pairs, wanted) in [
            ("ril", "\"ril\" has no value"),
            ("ril=", "is no KEY=VALUE"),
            ("", "has no value"),
            ("ril=true,ril=false", "`ril` is given twice"),
            ("ril=maybe", "`ril`"),
            (
                "stall_model=stal",
                "\"stal\" is no value of `stall_model`; there are",
            ),
            (
                "oas_bits=47",
                "`oas_bits` must be one of 32, 36, 40, 42, 44, 48, 52",
            ),
            (
                "ssid_bits=21",
                "`ssid_bits` must be an integer from 0 to 20",
            ),
            ("tlb_entries=5", "`tlb_entries` must be a power of two"),
            (
                "ttf=3",
                "`ttf` cannot be chosen: translation tables are AArch64's",
            ),
            ("colour=red", "no key `colour`"),
        ] {
            let error = SmmuSettings::parse_pairs(pairs).unwrap_err();
            assert!(error.contains(wanted), "{pairs}: {error}");
        }
    }

    #[test]
    fn what_two_places_give_is_an_error() {
        let mut settings = SmmuSettings::parse_pairs("sev=false").unwrap();
        let more = SmmuSettings::parse_pairs("msi=true").unwrap();
        assert_eq!(settings.add(more.clone()), Ok(()));
        assert_eq!((settings.sev, settings.msi), (Some(false), Some(true)));
        assert_eq!(settings.add(more), Err("msi"));
    }
}

//! Stream table entries and context descriptors: what they ask for, and whether that is legal.
//!
//! IHI 0070, *Stream Table Entry*, *Context Descriptor*.

use crate::features::{Config, Httu, StallModel};
use crate::granule::Granule;
use crate::pcie_rules;
use crate::spec::cd::{CD_BYTES, Cd, L1CD_BYTES, L1Cd};
use crate::spec::pte::Layout;
use crate::spec::ste::{self, Ste};
use crate::spec::{bits, field, low_mask};
use crate::tlb::Tag;
use crate::transaction::{Access, Transaction};
use crate::walker::{Half, Regime, Stage2, Tree, Updates, World};

/// What a stream table entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The entry is illegal.
    Bad,
    /// Abort everything, without an event.
    Abort,
    /// Let everything pass untranslated.
    Bypass(Overrides),
    /// Translate.
    Translate(Stages),
}

/// The stages of translation of a stream; it has at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stages {
    /// Stage 1.
    pub(crate) contexts: Option<Contexts>,
    pub(crate) stage2: Option<Stage2>,
    /// The VMID of all of the stream's translations, and 0 where there are none.
    pub(crate) vmid: u16,
    pub(crate) overrides: Overrides,
}

/// Stage 2 of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second<'a> {
    pub(crate) stage2: &'a Stage2,
    pub(crate) vmid: u16,
}

/// What a stream makes of the attributes of its transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// PRIVCFG, if it is not to use what comes in.
    privileged: Option<bool>,
    /// INSTCFG, likewise.
    instruction: Option<bool>,
}

impl Overrides {
    fn parse(ste: &Ste, features: &Config) -> Overrides {
        let decode = |field| match field {
            2 if features.attr_perms_ovr => Some(false),
            3 if features.attr_perms_ovr => Some(true),
            _ => None,
        };
        Overrides {
            privileged: decode(ste.priv_cfg()),
            instruction: decode(ste.inst_cfg()),
        }
    }

    /// `transaction`, as it is translated and reported.
    pub(crate) fn of(&self, transaction: &Transaction) -> Transaction {
        Transaction {
            access: self.apply(transaction.access),
            ..*transaction
        }
    }

    /// `access`, as it is translated and reported. What writes is data, and stays so.
    #[inline(always)]
    pub(crate) fn apply(&self, access: Access) -> Access {
        if self.privileged.is_none() && self.instruction.is_none() {
            return access;
        }
        Access {
            write: access.write,
            privileged: self.privileged.unwrap_or(access.privileged),
            instruction: !access.write && self.instruction.unwrap_or(access.instruction),
        }
    }
}

/// Which traffic without a SubstreamID there may be in a stream that has substreams (S1DSS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmarked {
    Terminate,
    /// It bypasses stage 1.
    Bypass,
    /// It uses context 0, which then no SubstreamID may name.
    Context0,
}

/// Where a stream's context descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contexts {
    /// Intermediate if the stream has stage 2.
    pub(crate) table: u64,
    /// A power of two of contexts; 0 means one context and no substreams.
    pub(crate) count_log2: u8,
    /// In a two-level table, a power of two of contexts in a leaf.
    pub(crate) leaf_log2: Option<u8>,
    pub(crate) unmarked: Unmarked,
    /// S1STALLD: contexts that stall are illegal.
    pub(crate) stall_forbidden: bool,
    pub(crate) world: World,
}

impl Stream {
    /// What `ste` asks for: *Validity of STE*. `e2h` is SMMU_CR2.E2H.
    pub(crate) fn parse(ste: &Ste, features: &Config, e2h: bool) -> Stream {
        if !ste.v() {
            return Stream::Bad;
        }
        let config = match ste.config() {
            0..=3 => return Stream::Abort,
            ste::CONFIG_BYPASS => return Stream::Bypass(Overrides::parse(ste, features)),
            config => config,
        };
        Stages::parse(ste, config, features, e2h).map_or(Stream::Bad, Stream::Translate)
    }

    /// What it makes of the attributes of its transactions.
    #[inline]
    pub(crate) fn overrides(&self) -> Overrides {
        match self {
            Stream::Bad | Stream::Abort => Overrides::default(),
            Stream::Bypass(overrides) => *overrides,
            Stream::Translate(stages) => stages.overrides,
        }
    }
}

impl Stages {
    fn parse(ste: &Ste, config: u64, features: &Config, e2h: bool) -> Option<Stages> {
        let wants1 = config & ste::CONFIG_STAGE1 != 0;
        let wants2 = config & ste::CONFIG_STAGE2 != 0;
        if wants1 && !features.stage1 || wants2 && !features.stage2 {
            return None;
        }
        if pcie_rules::is_illegal(ste, wants2, features) {
            return None;
        }
        // StreamWorld is NS-EL1's with stage 2, whatever STRW says.
        let world = if features.hyp && !wants2 {
            match ste.strw() {
                0 => World::El1,
                2 if e2h => World::El2E2h,
                2 => World::El2,
                _ => return None,
            }
        } else {
            World::El1
        };
        let contexts = match wants1 {
            true => Some(Contexts::parse(ste, world, features)?),
            false => None,
        };
        let stage2 = match wants2 {
            true => Some(parse_stage2(ste, features)?),
            false => None,
        };
        // It is stage 2's, but tags what is stage 1's alone too.
        let vmid = if features.stage2 && world == World::El1 {
            ste.s2_vmid()
        } else {
            0
        };
        if !features.vmid16 && vmid > 0xff {
            return None;
        }
        Some(Stages {
            contexts,
            stage2,
            vmid,
            overrides: Overrides::parse(ste, features),
        })
    }

    /// Stage 2, if there is one.
    #[inline]
    pub(crate) fn second(&self) -> Option<Second<'_>> {
        let vmid = self.vmid;
        let of = |stage2| Second { stage2, vmid };
        self.stage2.as_ref().map(of)
    }

    /// The tag of `context`'s translations.
    #[inline(always)]
    pub(crate) fn tag(&self, context: &Context) -> Tag {
        Tag::stage1(context.regime.world, self.vmid, context.asid, context.aset)
    }
}

/// The way to a context descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CdAt {
    /// It is here.
    Entry(u64),
    /// It is where the level 1 descriptor at this address says.
    Descriptor(u64),
}

impl Contexts {
    /// Where to look for context descriptor `index`.
    pub(crate) fn find(&self, index: u32) -> CdAt {
        match self.leaf_log2 {
            None => CdAt::Entry(self.table + u64::from(index) * CD_BYTES),
            Some(leaf_log2) => {
                CdAt::Descriptor(self.table + u64::from(index >> leaf_log2) * L1CD_BYTES)
            }
        }
    }

    /// Where context descriptor `index` is, given its level 1 descriptor; `None` if that has none.
    pub(crate) fn find_below(&self, index: u32, l1: L1Cd, features: &Config) -> Option<u64> {
        let out_of_range = l1.l2_ptr() & !low_mask(features.oas_bits.into()) != 0;
        if !l1.v() || out_of_range {
            return None;
        }
        let leaf_log2 = u32::from(self.leaf_log2.unwrap_or(0));
        // A leaf of 1024 contexts is 64 KiB, and aligned to that.
        let leaf = l1.l2_ptr() & !low_mask(leaf_log2 + 6);
        Some(leaf + (u64::from(index) & low_mask(leaf_log2)) * CD_BYTES)
    }

    fn parse(ste: &Ste, world: World, features: &Config) -> Option<Contexts> {
        let stall_forbidden = ste.s1_stalld();
        if stall_forbidden && features.stall_model != StallModel::Both {
            return None;
        }
        let table = ste.s1_context_ptr();
        if table & !low_mask(features.oas_bits.into()) != 0 {
            return None;
        }
        // Without SubstreamIDs the fields about them mean nothing.
        let count_log2 = if features.ssid_bits == 0 {
            0
        } else {
            ste.s1_cd_max() as u8
        };
        if count_log2 > features.ssid_bits {
            return None;
        }
        let leaf_log2 = match ste.s1_fmt() {
            1 | 2 if count_log2 != 0 && !features.two_level_contexts => return None,
            1 if count_log2 != 0 => Some(6),
            2 if count_log2 != 0 => Some(10),
            _ => None,
        };
        let unmarked = match ste.s1_dss() {
            1 => Unmarked::Bypass,
            2 => Unmarked::Context0,
            _ => Unmarked::Terminate,
        };
        Some(Contexts {
            table,
            count_log2,
            leaf_log2,
            unmarked,
            stall_forbidden,
            world,
        })
    }
}

/// Stage 2 as `ste` describes it, if that is legal.
fn parse_stage2(ste: &Ste, features: &Config) -> Option<Stage2> {
    if !ste.s2_aa64() || ste.s2_endi() || !stalls_as_it_must(ste.s2_s(), features) {
        return None;
    }
    let granule = match ste.s2_tg() {
        0 if features.granules.k4 => Granule::K4,
        1 if features.granules.k64 => Granule::K64,
        2 if features.granules.k16 => Granule::K16,
        _ => return None,
    };
    let ds = features.ds && ste.s2_ds();
    let shape = Shape::new(granule, ds, features);
    let input_bits = 64 - ste.s2_t0sz();
    let widest = shape.widest.min(features.oas_bits.into());
    if input_bits > widest || input_bits < shape.narrowest {
        return None;
    }
    let level = stage2_start(ste.s2_sl0(), granule, ds, features)?;
    // The first table is used in part or in full, or is up to 16 of them in a row.
    let resolved = input_bits.checked_sub(granule.leaf_bits(level))?;
    if resolved == 0 || resolved > granule.stride() + 4 {
        return None;
    }
    let output_bits = output_bits(ste.s2_ps(), features);
    let tree = shape.tree(input_bits, level, output_bits, ste.s2_ttb())?;
    Some(Stage2 {
        tree,
        ignores_access_flag: ste.s2_affd(),
        updates: parse_updates(ste.s2_ha(), ste.s2_hd(), features)?,
        protects_tables: ste.s2_ptw(),
        xnx: true,
        stalls: ste.s2_s(),
        records: ste.s2_r(),
    })
}

/// STE.S2SL0 (with S2SL0_2), decoded as VTCR_EL2.SL0 (with SL2) is.
fn stage2_start(sl0: u64, granule: Granule, ds: bool, features: &Config) -> Option<i32> {
    match (granule, sl0 & 3) {
        (Granule::K4, 0) if ds && sl0 & 4 != 0 => Some(-1),
        (Granule::K4, _) if ds && sl0 & 4 != 0 => None,
        (Granule::K4, 3) => features.stt.then_some(3),
        (Granule::K4, low) => Some(2 - low as i32),
        (Granule::K16, 3) => ds.then_some(0),
        (Granule::K64, 3) => None,
        (_, low) => Some(3 - low as i32),
    }
}

/// Whether faults that stall, or do not, are what the implementation can do.
fn stalls_as_it_must(stalls: bool, features: &Config) -> bool {
    match features.stall_model {
        StallModel::Both => true,
        StallModel::Terminate => !stalls,
        StallModel::Stall => stalls,
    }
}

/// HA and HD of either stage; `None` if they ask for what is not there.
fn parse_updates(ha: bool, hd: bool, features: &Config) -> Option<Updates> {
    let legal = match features.httu {
        Httu::None => !ha && !hd,
        Httu::AccessFlag => !hd,
        Httu::Dirty => true,
    };
    // HD without HA is as if neither were set.
    legal.then_some(Updates {
        accessed: ha,
        dirty: ha && hd,
    })
}

/// What a granule, with or without 52-bit addresses, allows.
struct Shape {
    granule: Granule,
    layout: Layout,
    wide: bool,
    /// The most and the least bits that an input address may have.
    widest: u32,
    narrowest: u32,
    /// Whether tables can be beyond 48 bits.
    far: bool,
}

impl Shape {
    fn new(granule: Granule, ds: bool, features: &Config) -> Shape {
        let large = granule == Granule::K64;
        Shape {
            granule,
            layout: match granule {
                Granule::K64 => Layout::Wide64,
                _ if ds => Layout::WideSmall,
                _ => Layout::Plain,
            },
            wide: if large { features.oas_bits == 52 } else { ds },
            widest: if large || ds { 52 } else { 48 },
            narrowest: match (features.stt, large) {
                (false, _) => 25,
                (true, false) => 16,
                (true, true) => 17,
            },
            far: large || ds,
        }
    }

    /// A tree of this shape; `None` if `table` is out of range.
    fn tree(&self, input_bits: u32, level: i32, output_bits: u32, table: u64) -> Option<Tree> {
        let reach = if self.far {
            output_bits
        } else {
            output_bits.min(48)
        };
        if table & !low_mask(reach) != 0 {
            return None;
        }
        let mut tree = Tree {
            table,
            level: level as i8,
            input_bits: input_bits as u8,
            output_bits: output_bits as u8,
            granule: self.granule,
            layout: self.layout,
            wide: self.wide,
        };
        tree.table = tree.align(table);
        Some(tree)
    }
}

/// What a legal context descriptor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) asid: u16,
    pub(crate) aset: bool,
    pub(crate) regime: Regime,
    /// S: translation faults stall.
    pub(crate) stalls: bool,
    /// R: those that do not stall are recorded.
    pub(crate) records: bool,
    /// A clear: those that do not stall end as if they had been done.
    pub(crate) raz_wi: bool,
}

impl Context {
    /// What `cd` asks for in a stream of `world`, if that is legal: *Validity of CD*. Whether its
    /// stream lets it stall is not asked here, but each time that it is used.
    pub(crate) fn parse(cd: &Cd, world: World, features: &Config) -> Option<Context> {
        // EL2 has one half, which is always there.
        let el2 = world == World::El2;
        let disabled = |table| match (el2, table) {
            (true, 0) => false,
            (true, _) => true,
            (false, table) => cd.epd(table),
        };
        if !cd.v() || !cd.aa64() || (cd.endi() && !(disabled(0) && disabled(1))) {
            return None;
        }
        if !cd.a() && !features.raz_wi || !stalls_as_it_must(cd.s(), features) {
            return None;
        }
        if !features.asid16 && cd.asid() > 0xff {
            return None;
        }
        let half = |table| parse_half(cd, table, disabled(table), features);
        let (mut lower, upper) = (half(0)?, half(1)?);
        lower.privileged_only &= !el2;
        Some(Context {
            asid: if el2 { 0 } else { cd.asid() },
            aset: cd.aset(),
            regime: Regime {
                world,
                halves: [lower, upper],
                ignores_access_flag: cd.affd(),
                updates: parse_updates(cd.ha(), cd.hd(), features)?,
                wxn: cd.wxn(),
                pan: cd.pan() && !el2,
            },
            stalls: cd.s(),
            records: cd.r(),
            raz_wi: !cd.a(),
        })
    }
}

/// The width of an output address that IPS or S2PS asks for, as far as there is one.
fn output_bits(ps: u64, features: &Config) -> u32 {
    let asked = match ps {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    };
    asked.min(features.oas_bits.into())
}

/// One half of the address space; `None` if what is said about it is illegal.
fn parse_half(cd: &Cd, table: usize, disabled: bool, features: &Config) -> Option<Half> {
    let mut half = Half {
        enabled: !disabled,
        tbi: cd.tbi(table),
        had: cd.had(table),
        privileged_only: features.e0pd && cd.e0pd(table),
        tree: Tree {
            table: 0,
            level: 0,
            input_bits: 48,
            output_bits: 48,
            granule: Granule::K4,
            layout: Layout::Plain,
            wide: false,
        },
    };
    if disabled {
        // The rest is ignored then, be it as illegal as it may.
        return Some(half);
    }
    let granule = match (table, cd.tg(table)) {
        (0, 0) | (1, 2) if features.granules.k4 => Granule::K4,
        (0, 2) | (1, 1) if features.granules.k16 => Granule::K16,
        (0, 1) | (1, 3) if features.granules.k64 => Granule::K64,
        _ => return None,
    };
    let shape = Shape::new(granule, features.ds && cd.ds(), features);
    let input_bits = 64 - cd.t_sz(table);
    let widest = if features.va_52 { shape.widest } else { 48 };
    if input_bits > widest || input_bits < shape.narrowest {
        return None;
    }
    let level = 4 - ((input_bits - 4) / granule.stride()) as i32;
    let output_bits = output_bits(cd.ips(), features);
    half.tree = shape.tree(input_bits, level, output_bits, cd.ttb(table))?;
    Some(half)
}

/// Why a StreamID leads to no stream table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadStreamId;

/// The way to a stream table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SteAt {
    /// It is here.
    Entry(u64),
    /// It is where the level 1 descriptor at this address says.
    Descriptor(u64),
}

/// The stream table, as its registers describe it: *Stream table lookup*.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamTable {
    base: u64,
    pub(crate) log2_size: u32,
    /// StreamID bits that the second level resolves, if there is one.
    pub(crate) split: Option<u32>,
}

impl StreamTable {
    pub(crate) fn new(base: u64, cfg: u32, features: &Config) -> StreamTable {
        let cfg = u64::from(cfg);
        let log2_size = (bits(cfg, 5, 0) as u32).min(features.sid_bits.into());
        let split = (bits(cfg, 17, 16) == 1).then(|| match bits(cfg, 10, 6) {
            8 => 8,
            10 => 10,
            _ => 6,
        });
        let entries_log2 = log2_size.saturating_sub(split.unwrap_or(0));
        let entry_log2 = if split.is_some() { 3 } else { 6 };
        let align_log2 = (entries_log2 + entry_log2).max(6);
        let base = field(base, 51, 6) & !low_mask(align_log2);
        StreamTable {
            base,
            log2_size,
            split,
        }
    }

    /// Where to look for the entry of `sid`.
    pub(crate) fn find(&self, sid: u32) -> Result<SteAt, BadStreamId> {
        let sid = u64::from(sid);
        if sid >> self.log2_size != 0 {
            return Err(BadStreamId);
        }
        Ok(match self.split {
            None => SteAt::Entry(self.base + sid * ste::STE_BYTES),
            Some(split) => SteAt::Descriptor(self.base + (sid >> split) * ste::L1STD_BYTES),
        })
    }

    /// Where the entry of `sid` is, given its level 1 descriptor.
    pub(crate) fn find_below(&self, sid: u32, l1: ste::L1Std) -> Result<u64, BadStreamId> {
        let split = self.split.unwrap_or(0);
        let span = l1.span();
        if !(1..=11).contains(&span) || span > split + 1 {
            return Err(BadStreamId);
        }
        let index = u64::from(sid) & low_mask(split);
        if index >> (span - 1) != 0 {
            return Err(BadStreamId);
        }
        // The second level is aligned to its own size.
        let table = l1.l2_ptr() & !low_mask(span - 1 + 6);
        Ok(table + index * ste::STE_BYTES)
    }
}

//! Stream table entries and context descriptors: what they ask for, whether that is legal, and the
//! caches that keep them.
//!
//! IHI 0070, *Stream Table Entry*, *Context Descriptor*, *Configuration structures and caching*.
//! Whatever was fetched is kept, invalid entries included, until a CFGI command names it: software
//! that forgets one sees its old configuration, as it may on real hardware. Level 1 descriptors are
//! read each time, which the architecture allows too.

use crate::features::Config;
use crate::spec::cd::Cd;
use crate::spec::ste::{self, Ste};
use crate::spec::{bits, field, low_mask};
use crate::tlb::Tag;
use crate::walker::{Granule, Half, Regime};

/// What a stream table entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The entry is illegal.
    Bad,
    /// Abort everything, without an event.
    Abort,
    /// Let everything pass untranslated.
    Bypass,
    /// Translate at stage 1.
    Translate(Contexts),
}

/// Which traffic without a SubstreamID there may be in a stream that has substreams (S1DSS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmarked {
    Terminate,
    Bypass,
    /// It uses context 0, which then no SubstreamID may name.
    Context0,
}

/// Where a stream's context descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contexts {
    pub(crate) table: u64,
    /// A power of two of contexts; 0 means one context and no substreams.
    pub(crate) count_log2: u32,
    /// In a two-level table, a power of two of contexts in a leaf.
    pub(crate) leaf_log2: Option<u32>,
    pub(crate) unmarked: Unmarked,
    /// S1STALLD: contexts that stall are illegal.
    pub(crate) stall_forbidden: bool,
}

impl Stream {
    /// What `ste` asks for: *Validity of STE*.
    pub(crate) fn parse(ste: &Ste, features: &Config) -> Stream {
        if !ste.v() {
            return Stream::Bad;
        }
        match ste.config() {
            0..=3 => return Stream::Abort,
            ste::CONFIG_BYPASS => return Stream::Bypass,
            ste::CONFIG_STAGE1 => {}
            // Stage 2 is not implemented.
            _ => return Stream::Bad,
        }
        let table = ste.s1_context_ptr();
        if table & !low_mask(features.oas_bits.into()) != 0 {
            return Stream::Bad;
        }
        // Without SubstreamIDs the fields about them mean nothing.
        let count_log2 = if features.ssid_bits == 0 {
            0
        } else {
            ste.s1_cd_max()
        };
        if count_log2 > features.ssid_bits.into() {
            return Stream::Bad;
        }
        let leaf_log2 = match ste.s1_fmt() {
            1 if count_log2 != 0 => Some(6),
            2 if count_log2 != 0 => Some(10),
            _ => None,
        };
        let unmarked = match ste.s1_dss() {
            1 => Unmarked::Bypass,
            2 => Unmarked::Context0,
            _ => Unmarked::Terminate,
        };
        let stall_forbidden = ste.s1_stalld();
        Stream::Translate(Contexts {
            table,
            count_log2,
            leaf_log2,
            unmarked,
            stall_forbidden,
        })
    }
}

/// What a legal context descriptor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) tag: Tag,
    pub(crate) regime: Regime,
    /// S: translation faults stall.
    pub(crate) stalls: bool,
    /// R: those that do not stall are recorded.
    pub(crate) records: bool,
}

impl Context {
    /// What `cd` asks for, if that is legal: *Validity of CD*. Whether its stream lets it stall is
    /// for the caller to check.
    pub(crate) fn parse(cd: &Cd, features: &Config) -> Option<Context> {
        let both_disabled = cd.epd(0) && cd.epd(1);
        if !cd.v() || !cd.aa64() || cd.ha() || cd.hd() || (cd.endi() && !both_disabled) {
            return None;
        }
        if !cd.a() {
            // TERM_MODEL says that termination is always an abort.
            return None;
        }
        let output_bits = ips_bits(cd.ips()).min(features.oas_bits.into());
        let half = |table| parse_half(cd, table, features, output_bits);
        Some(Context {
            tag: Tag {
                asid: cd.asid(),
                aset: cd.aset(),
            },
            regime: Regime {
                halves: [half(0)?, half(1)?],
                output_bits,
                ignores_access_flag: cd.affd(),
                wxn: cd.wxn(),
                pan: cd.pan(),
            },
            stalls: cd.s(),
            records: cd.r(),
        })
    }
}

fn ips_bits(ips: u64) -> u32 {
    match ips {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        6 => 52,
        _ => 56,
    }
}

/// One half of the address space; `None` if what is said about it is illegal.
fn parse_half(cd: &Cd, table: usize, features: &Config, output_bits: u32) -> Option<Half> {
    let mut half = Half {
        enabled: !cd.epd(table),
        input_bits: 48,
        granule: Granule::K4,
        table: 0,
        tbi: cd.tbi(table),
        had: cd.had(table),
    };
    if !half.enabled {
        // The rest is ignored then, be it as illegal as it may.
        return Some(half);
    }
    half.granule = match (table, cd.tg(table)) {
        (0, 0) | (1, 2) if features.granules.k4 => Granule::K4,
        (0, 2) | (1, 1) if features.granules.k16 => Granule::K16,
        (0, 1) | (1, 3) if features.granules.k64 => Granule::K64,
        _ => return None,
    };
    half.input_bits = match cd.t_sz(table) {
        t_sz @ 16..=39 => 64 - t_sz,
        _ => return None,
    };
    half.table = cd.ttb(table);
    (half.table & !low_mask(output_bits) == 0).then_some(half)
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
    log2_size: u32,
    /// StreamID bits that the second level resolves, if there is one.
    split: Option<u32>,
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

/// A direct-mapped cache of configuration structures.
pub(crate) struct Cache<T> {
    slots: Vec<(u64, Option<T>)>,
}

/// The key of a structure of stream `sid`, context `index`.
#[inline]
fn key(sid: u32, index: u32) -> u64 {
    u64::from(sid) << 32 | u64::from(index)
}

impl<T: Copy> Cache<T> {
    pub(crate) fn new(entries: u32) -> Cache<T> {
        Cache {
            slots: vec![(0, None); entries as usize],
        }
    }

    #[inline]
    fn slot(&self, sid: u32, index: u32) -> usize {
        // Neighbouring contexts of a stream, and neighbouring streams, do not displace each other.
        (sid.wrapping_mul(0x9e37_79b1).rotate_left(16) ^ sid ^ index) as usize
            & (self.slots.len() - 1)
    }

    /// The structure of stream `sid`, context `index`.
    #[inline]
    pub(crate) fn get(&self, sid: u32, index: u32) -> Option<&T> {
        let (at, value) = &self.slots[self.slot(sid, index)];
        if *at == key(sid, index) {
            value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn insert(&mut self, sid: u32, index: u32, value: T) {
        let slot = self.slot(sid, index);
        self.slots[slot] = (key(sid, index), Some(value));
    }

    /// Forgets the structures that `doomed` says yes to, and says how many there were.
    pub(crate) fn invalidate(&mut self, doomed: impl Fn(u32, u32) -> bool) -> u32 {
        let mut dropped = 0;
        for (at, value) in &mut self.slots {
            if value.is_some() && doomed((*at >> 32) as u32, *at as u32) {
                *value = None;
                dropped += 1;
            }
        }
        dropped
    }
}

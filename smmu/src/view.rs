//! Tables and queues as they are in memory, whatever the SMMU has cached of them: what a driver
//! sees, read by the rules that the model itself goes by.
//!
//! Nothing is fetched on the SMMU's behalf, so nothing is counted, noted or cached.
//!
//! IHI 0070, *Stream table lookup*, *Substreams*, *Translation procedure*, *SMMU circular queues*.

mod configuration;

use std::ops::Range;

use crate::config::{CdAt, Context, Contexts, Stages, SteAt, Stream, StreamTable, Unmarked};
use crate::queue::Ring;
use crate::route::{FirstStage, Route};
use crate::smmu::Smmu;
use crate::spec::cd::{Cd, L1Cd};
use crate::spec::command::COMMAND_BYTES;
use crate::spec::event::EVENT_BYTES;
use crate::spec::low_mask;
use crate::spec::pri::PAGE_REQUEST_BYTES;
use crate::spec::pte::Descriptor;
use crate::spec::regs::{cr0, cr2, mask};
use crate::spec::ste::{L1Std, Ste};
use crate::transaction::{Access, Transaction};
use crate::walker::Walk as Walking;
use crate::walker::{Found, Stage2, Tree, WalkFault};

pub use crate::walker::Rights;
pub use configuration::{Level1, Stale, Structure};

/// Why there is nothing to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// C_BAD_STREAMID: the table is not that large.
    #[error("StreamID {sid:#x} is beyond the stream table, which has 2^{log2_size} entries")]
    Stream {
        /// The StreamID.
        sid: u32,
        /// The table's size.
        log2_size: u32,
    },
    /// C_BAD_STREAMID: the level 1 descriptor leads nowhere for it.
    #[error("StreamID {sid:#x} has no second-level table (its descriptor is {descriptor:#x})")]
    SecondLevel {
        /// The StreamID.
        sid: u32,
        /// The level 1 descriptor.
        descriptor: u64,
    },
    /// The next structure is not in memory.
    #[error("{0:#x} is not RAM")]
    Memory(u64),
    /// V is 0.
    #[error("the stream table entry of {0:#x} is not valid (V is 0)")]
    InvalidStream(u32),
    /// C_BAD_STE.
    #[error("the stream table entry of {0:#x} is illegal here (C_BAD_STE)")]
    BadStream(u32),
    /// There is no stage 1.
    #[error("stream {0:#x} has no stage 1, and so no context descriptors")]
    Stage1(u32),
    /// C_BAD_SUBSTREAMID: beyond S1CDMax.
    #[error("PASID {ssid:#x} is beyond the table, which has 2^{log2_size} context descriptors")]
    Substream {
        /// The SubstreamID.
        ssid: u32,
        /// The table's size.
        log2_size: u8,
    },
    /// C_BAD_SUBSTREAMID: the level 1 descriptor is not valid, or beyond the output size.
    #[error("PASID {ssid:#x} has no second-level table (its descriptor is {descriptor:#x})")]
    SecondLevelOfContexts {
        /// The SubstreamID.
        ssid: u32,
        /// The level 1 descriptor.
        descriptor: u64,
    },
    /// Stage 2 does not map the address of a context descriptor.
    #[error("stage 2 does not map {0:#x}, where the context descriptor or its table is")]
    Stage2(u64),
    /// C_BAD_CD.
    #[error("the context descriptor of PASID {0:#x} is illegal here (C_BAD_CD)")]
    BadContext(u32),
    /// V is 0.
    #[error("the context descriptor is not valid (V is 0)")]
    InvalidContext,
}

/// A structure, and its physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// Where it is.
    pub at: u64,
    /// What it says.
    pub it: T,
}

/// Whose translations a context descriptor makes its stream use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSpace {
    /// ASID.
    pub asid: u16,
    /// TTB0, aligned; 0 without tables in the lower half.
    pub ttb0: u64,
}

/// What a descriptor of a translation table is at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bit 0 is clear.
    Invalid,
    /// A block where there can be none.
    Reserved,
    /// A block.
    Block,
    /// A page.
    Page,
    /// Another table's.
    Table,
}

impl Kind {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Reserved => "reserved",
            Kind::Block => "block",
            Kind::Page => "page",
            Kind::Table => "table",
        }
    }
}

/// A descriptor that a walk read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// 1 or 2.
    pub stage: u8,
    /// -1 to 3.
    pub level: i32,
    /// Its physical address.
    pub at: u64,
    /// What it says.
    pub raw: u64,
    /// What it is.
    pub kind: Kind,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a page or block.
    Mapped {
        /// Where the address leads.
        output: u64,
        /// How much goes there in one piece, as a power of two of bytes.
        size_log2: u8,
        /// What is permitted, both stages taken together.
        rights: Rights,
    },
    /// The half of the address space has no tables (EPD0, EPD1).
    NoTables,
    /// F_TRANSLATION: the address has more bits than are translated.
    Beyond {
        /// At which stage.
        stage: u8,
        /// How many there are.
        input_bits: u8,
    },
    /// F_TRANSLATION at the last step: nothing is mapped.
    Translation,
    /// F_ADDR_SIZE at the last step: it leads beyond the output size.
    AddressSize,
    /// F_WALK_EABT: the next descriptor is not in memory.
    Memory {
        /// At which stage.
        stage: u8,
        /// Where it would be.
        at: u64,
    },
}

/// What a walk read, in order, and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The descriptors. Before each of stage 1, those of stage 2 that lead to it, if there are.
    pub steps: Vec<Step>,
    /// How it ended.
    pub end: End,
}

impl Walk {
    /// Where the address leads, if it is mapped.
    pub fn output(&self) -> Option<u64> {
        match self.end {
            End::Mapped { output, .. } => Some(output),
            _ => None,
        }
    }

    /// The descriptors of stage 1.
    pub fn stage1(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.steps.iter().filter(|step| step.stage == 1)
    }
}

/// One of the SMMU's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueName {
    /// The command queue.
    Command,
    /// The event queue.
    Event,
    /// The page request queue.
    PageRequest,
}

/// A queue, as its registers are.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Whether it is enabled in SMMU_CR0.
    pub enabled: bool,
    /// Whether OVFLG is not acknowledged; never so for the command queue.
    pub overflow: bool,
    ring: Ring,
    prod: u32,
    cons: u32,
}

impl Queue {
    /// How many entries fit.
    pub fn entries(&self) -> u32 {
        self.ring.entries()
    }

    /// How many have not been consumed.
    pub fn queued(&self) -> u32 {
        self.ring.queued(self.prod, self.cons)
    }

    /// The memory that it is in.
    pub fn memory(&self) -> Range<u64> {
        self.ring.memory()
    }

    /// The producer's index, and whether its wrap flag is set.
    pub fn prod(&self) -> (u32, bool) {
        self.index(self.prod)
    }

    /// The consumer's.
    pub fn cons(&self) -> (u32, bool) {
        self.index(self.cons)
    }

    /// The index and the address of the entry that is consumed after `ahead` others.
    pub fn entry(&self, ahead: u32) -> (u32, u64) {
        let position = self.ring.position(self.cons.wrapping_add(ahead));
        (self.index(position).0, self.ring.address(position))
    }

    fn index(&self, register: u32) -> (u32, bool) {
        let entries = self.ring.entries();
        (register & (entries - 1), register & entries != 0)
    }
}

/// The tables and queues of an SMMU.
#[derive(Clone, Copy)]
pub struct View<'a> {
    smmu: &'a Smmu,
    memory: &'a dyn Fn(u64) -> Option<u64>,
}

impl<'a> View<'a> {
    /// Of `smmu`; `memory` is the doubleword at a physical address, a multiple of 8, or `None` where
    /// there is no memory.
    pub fn new(smmu: &'a Smmu, memory: &'a dyn Fn(u64) -> Option<u64>) -> View<'a> {
        View { smmu, memory }
    }

    /// The doubleword at `at`. An address beyond the output size is truncated.
    fn word(&self, at: u64) -> Result<u64, Missing> {
        let oas = low_mask(self.smmu.config().oas_bits.into());
        (self.memory)(at & oas).ok_or(Missing::Memory(at))
    }

    /// The doublewords from `at` on.
    pub fn words<const N: usize>(&self, at: u64) -> Result<[u64; N], Missing> {
        let mut words = [0; N];
        for (word, at) in words.iter_mut().zip((at..).step_by(8)) {
            *word = self.word(at)?;
        }
        Ok(words)
    }

    fn stream_table(&self) -> StreamTable {
        let regs = &self.smmu.0.regs;
        let (base, cfg) = (regs.strtab_base.get(), regs.strtab_base_cfg.get());
        StreamTable::new(base, cfg, self.smmu.config())
    }

    /// The stream table entry of `sid`.
    pub fn ste(&self, sid: u32) -> Result<Placed<Ste>, Missing> {
        let table = self.stream_table();
        let beyond = Missing::Stream {
            sid,
            log2_size: table.log2_size,
        };
        let at = match table.find(sid).map_err(|_| beyond)? {
            SteAt::Entry(at) => at,
            SteAt::Descriptor(at) => {
                let descriptor = self.word(at)?;
                let below = table.find_below(sid, L1Std(descriptor));
                below.map_err(|_| Missing::SecondLevel { sid, descriptor })?
            }
        };
        let it = Ste(self.words(at)?);
        Ok(Placed { at, it })
    }

    /// The first `most` stream table entries that are `wanted`, of the first `looked_at` that are in
    /// memory: a table can claim to have 2^32.
    pub fn stes(
        &self,
        most: usize,
        looked_at: u64,
        wanted: impl Fn(&Ste) -> bool,
    ) -> Result<Vec<(u32, Placed<Ste>)>, Missing> {
        let table = self.stream_table();
        let (mut found, mut sid) = (Vec::new(), 0_u64);
        for _ in 0..looked_at {
            if sid >> table.log2_size != 0 || found.len() == most {
                break;
            }
            match (self.ste(sid as u32), table.split) {
                (Ok(ste), _) if wanted(&ste.it) => found.push((sid as u32, ste)),
                (Ok(_), _) => {}
                // Nothing more of this second-level table is there.
                (Err(_), Some(split)) => sid |= low_mask(split),
                (Err(error), None) => return Err(error),
            }
            sid += 1;
        }
        Ok(found)
    }

    /// What the entry of `sid` asks for, if it is legal and translates.
    fn stages(&self, sid: u32) -> Result<Stages, Missing> {
        let ste = self.ste(sid)?.it;
        let e2h = self.smmu.0.regs.cr2.get() & cr2::E2H != 0;
        match Stream::parse(&ste, self.smmu.config(), e2h) {
            _ if !ste.v() => Err(Missing::InvalidStream(sid)),
            Stream::Bad => Err(Missing::BadStream(sid)),
            Stream::Abort | Stream::Bypass(_) => Err(Missing::Stage1(sid)),
            Stream::Translate(stages) => Ok(stages),
        }
    }

    /// Which context descriptor a transaction of stream `sid` uses: its SubstreamID's; without one,
    /// context 0, if S1DSS or S1CDMax says so. `None` if it uses none.
    pub fn context_index(&self, sid: u32, ssid: Option<u32>) -> Option<u32> {
        let contexts = self.stages(sid).ok()?.contexts?;
        match ssid {
            None => {
                (contexts.count_log2 == 0 || contexts.unmarked == Unmarked::Context0).then_some(0)
            }
            Some(_) if contexts.count_log2 == 0 => None,
            ssid => ssid,
        }
    }

    /// Context descriptor `index` of stream `sid`.
    pub fn cd(&self, sid: u32, index: u32) -> Result<Placed<Cd>, Missing> {
        let stages = self.stages(sid)?;
        let contexts = stages.contexts.ok_or(Missing::Stage1(sid))?;
        self.cd_of(&stages, &contexts, index)
    }

    fn cd_of(
        &self,
        stages: &Stages,
        contexts: &Contexts,
        index: u32,
    ) -> Result<Placed<Cd>, Missing> {
        if u64::from(index) >> contexts.count_log2 != 0 {
            return Err(Missing::Substream {
                ssid: index,
                log2_size: contexts.count_log2,
            });
        }
        let through = |at| self.through(stages, at);
        let at = match contexts.find(index) {
            CdAt::Entry(at) => through(at)?,
            CdAt::Descriptor(at) => {
                let descriptor = self.word(through(at)?)?;
                let below = contexts.find_below(index, L1Cd(descriptor), self.smmu.config());
                through(below.ok_or(Missing::SecondLevelOfContexts {
                    ssid: index,
                    descriptor,
                })?)?
            }
        };
        let it = Cd(self.words(at)?);
        Ok(Placed { at, it })
    }

    /// The physical address of what is at `at` for a stream with these stages.
    fn through(&self, stages: &Stages, at: u64) -> Result<u64, Missing> {
        match &stages.stage2 {
            None => Ok(at),
            Some(stage2) => self.stage2(stage2, at).output().ok_or(Missing::Stage2(at)),
        }
    }

    /// Whether stream `sid` has stage 2.
    pub fn has_stage2(&self, sid: u32) -> bool {
        self.stages(sid).is_ok_and(|stages| stages.stage2.is_some())
    }

    /// The address space in which the SMMU translates `transaction`: what it has cached, or else what
    /// is in memory.
    pub fn address_space(&self, transaction: &Transaction) -> Option<AddressSpace> {
        let sid = transaction.stream.0;
        let ssid = transaction.substream.map(|substream| substream.0);
        let index = self.context_index(sid, ssid)?;
        let of = |context: &Context| {
            let half = &context.regime.halves[0];
            AddressSpace {
                asid: context.asid,
                ttb0: if half.enabled { half.tree.table } else { 0 },
            }
        };
        let caches = self.smmu.0.caches.borrow();
        if let Some(Some(context)) = caches.config.context(sid, index) {
            return Some(of(context));
        }
        let stages = self.stages(sid).ok()?;
        let contexts = stages.contexts.as_ref()?;
        let cd = self.cd_of(&stages, contexts, index).ok()?;
        Context::parse(&cd.it, contexts.world, self.smmu.config()).map(|it| of(&it))
    }

    /// The first `most` context descriptors of stream `sid` that are valid, with their indices.
    pub fn cds(&self, sid: u32, most: usize) -> Result<Vec<(u32, Placed<Cd>)>, Missing> {
        let stages = self.stages(sid)?;
        let contexts = stages.contexts.ok_or(Missing::Stage1(sid))?;
        let (mut found, mut index) = (Vec::new(), 0_u64);
        while index >> contexts.count_log2 == 0 && found.len() < most {
            match (
                self.cd_of(&stages, &contexts, index as u32),
                contexts.leaf_log2,
            ) {
                (Ok(cd), _) if cd.it.v() => found.push((index as u32, cd)),
                (Ok(_), _) => {}
                (Err(_), Some(leaf_log2)) if index > 0 => index |= low_mask(leaf_log2.into()),
                (Err(error), _) => return Err(error),
            }
            index += 1;
        }
        Ok(found)
    }

    /// The walk of `address` through context `index` of stream `sid`, and stage 2 if there is one;
    /// through stage 2 alone in a stream that has no stage 1.
    pub fn walk(&self, sid: u32, index: u32, address: u64) -> Result<Walk, Missing> {
        let stages = self.stages(sid)?;
        let Some(contexts) = &stages.contexts else {
            let stage2 = stages.stage2.ok_or(Missing::Stage1(sid))?;
            return Ok(self.stage2(&stage2, address));
        };
        let cd = self.cd_of(&stages, contexts, index)?.it;
        if !cd.v() {
            return Err(Missing::InvalidContext);
        }
        let context = Context::parse(&cd, contexts.world, self.smmu.config());
        let context = context.ok_or(Missing::BadContext(index))?;
        Ok(self.stage1(&context, stages.stage2.as_ref(), address))
    }

    /// The walk of a transaction's address, through the stages that it has.
    pub fn walk_of(&self, transaction: &Transaction) -> Result<Walk, Missing> {
        let (sid, address) = (transaction.stream.0, transaction.address);
        let stages = self.stages(sid)?;
        match stages.route(transaction) {
            Ok(Route::Stage1(FirstStage { index, .. })) => self.walk(sid, index, address),
            Ok(Route::Stage2(_, second)) => Ok(self.stage2(second.stage2, address)),
            Ok(Route::Bypass) | Err(_) => Err(Missing::Stage1(sid)),
        }
    }

    fn stage1(&self, context: &Context, stage2: Option<&Stage2>, address: u64) -> Walk {
        let mut steps = Vec::new();
        let end = |steps, end| Walk { steps, end };
        let regime = &context.regime;
        let half = &regime.halves[usize::from(address >> 55 & 1 != 0)];
        if !half.enabled {
            return end(steps, End::NoTables);
        }
        // Whoever is privileged sees all that there is.
        let access = Access::READ.privileged();
        if regime.half(address, access).is_none() {
            let beyond = End::Beyond {
                stage: 1,
                input_bits: half.tree.input_bits,
            };
            return end(steps, beyond);
        }
        let found = match self.steps(&half.tree, half.had, address, stage2, &mut steps) {
            Ok(found) => found,
            Err(ended) => return end(steps, ended),
        };
        let (output, rights) = (found.at(address), regime.rights(&found));
        let Some(stage2) = stage2 else {
            let size_log2 = found.size_bits();
            return end(
                steps,
                End::Mapped {
                    output,
                    size_log2,
                    rights,
                },
            );
        };
        let second = self.stage2(stage2, output);
        steps.extend(second.steps);
        match second.end {
            End::Mapped {
                output,
                size_log2,
                rights: of_stage2,
            } => end(
                steps,
                End::Mapped {
                    output,
                    size_log2: size_log2.min(found.size_bits()),
                    rights: rights.and(&of_stage2),
                },
            ),
            other => end(steps, other),
        }
    }

    /// The walk of an intermediate address.
    fn stage2(&self, stage2: &Stage2, ipa: u64) -> Walk {
        let mut steps = Vec::new();
        let end = if !stage2.covers(ipa) {
            End::Beyond {
                stage: 2,
                input_bits: stage2.tree.input_bits,
            }
        } else {
            match self.steps_of(2, &stage2.tree, true, ipa, None, &mut steps) {
                Err(end) => end,
                Ok(found) => End::Mapped {
                    output: found.at(ipa),
                    size_log2: found.size_bits(),
                    rights: stage2.rights(&found),
                },
            }
        };
        Walk { steps, end }
    }

    fn steps(
        &self,
        tree: &Tree,
        had: bool,
        address: u64,
        stage2: Option<&Stage2>,
        steps: &mut Vec<Step>,
    ) -> Result<Found, End> {
        self.steps_of(1, tree, had, address, stage2, steps)
    }

    fn steps_of(
        &self,
        stage: u8,
        tree: &Tree,
        had: bool,
        address: u64,
        stage2: Option<&Stage2>,
        steps: &mut Vec<Step>,
    ) -> Result<Found, End> {
        let mut walk = Walking::start(tree, had, address);
        loop {
            let mut at = walk.descriptor_address();
            if let Some(stage2) = stage2 {
                let second = self.stage2(stage2, at);
                steps.extend(&second.steps);
                at = second.output().ok_or(second.end)?;
            }
            let Ok(raw) = self.word(at) else {
                return Err(End::Memory { stage, at });
            };
            let level = walk.level();
            let step = walk.step(raw);
            steps.push(Step {
                stage,
                level,
                at,
                raw,
                kind: kind(raw, level, &step),
            });
            match step {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(found),
                Err(WalkFault::Translation) => return Err(End::Translation),
                Err(WalkFault::AddressSize) => return Err(End::AddressSize),
            }
        }
    }

    /// A queue; `None` if there is none.
    pub fn queue(&self, name: QueueName) -> Option<Queue> {
        let (regs, config) = (&self.smmu.0.regs, self.smmu.config());
        let registers = match name {
            QueueName::Command => &regs.cmdq,
            QueueName::Event => &regs.eventq,
            QueueName::PageRequest => &regs.priq,
        };
        let (log2_max, bytes, enable) = match name {
            QueueName::Command => (config.cmdq_log2, COMMAND_BYTES, cr0::CMDQEN),
            QueueName::Event => (config.eventq_log2, EVENT_BYTES, cr0::EVENTQEN),
            QueueName::PageRequest if !config.pri => return None,
            QueueName::PageRequest => (config.priq_log2, PAGE_REQUEST_BYTES, cr0::PRIQEN),
        };
        let (prod, cons) = (registers.prod.get(), registers.cons.get());
        Some(Queue {
            enabled: regs.enabled(enable),
            overflow: name != QueueName::Command && (prod ^ cons) & mask::QUEUE_OVERFLOW != 0,
            ring: Ring::new(registers.base.get(), log2_max, bytes),
            prod,
            cons,
        })
    }

    /// Whether transactions are translated (SMMU_CR0.SMMUEN).
    pub fn enabled(&self) -> bool {
        self.smmu.0.regs.enabled(cr0::SMMUEN)
    }

    /// SMMU_CMDQ_CONS.ERR: the last error that stopped the command queue.
    pub fn command_error(&self) -> u8 {
        (self.smmu.0.regs.cmdq.cons.get() >> 24) as u8 & 0x7f
    }

    /// The bits of SMMU_GERROR that are active.
    pub fn active_errors(&self) -> u32 {
        self.smmu.0.regs.active_errors()
    }
}

/// What a descriptor is, as the walk took it.
fn kind(raw: u64, level: i32, step: &Result<Option<Found>, WalkFault>) -> Kind {
    let descriptor = Descriptor(raw);
    match (step, level) {
        _ if !descriptor.valid() => Kind::Invalid,
        (Err(WalkFault::Translation), _) => Kind::Reserved,
        (_, 3) => Kind::Page,
        _ if descriptor.table_or_page() => Kind::Table,
        _ => Kind::Block,
    }
}

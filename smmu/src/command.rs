//! The command queue: fetch, parse, execute, stop at an error, go on once it is acknowledged.
//!
//! IHI 0070, *Command queue*, *Commands*, *Command errors*.
//!
//! A command is executed completely before the next is fetched, and an invalidation is in force
//! when its command is. Translations under way notice through [`Inner::epoch`] and start over, so
//! that CMD_SYNC has nothing left to wait for but the endpoints' address translation caches.

mod atc;

use stallbox_timeline::Span;

use crate::counters::bump;
use crate::features::{Config, StallModel};
use crate::granule::Granule;
use crate::messages::{InvalidateRequest, PageResponse, PageResponseCode};
use crate::prefetch::{Addresses, Prefetch};
use crate::probe::{Note, Response, Step};
use crate::queue::Ring;
use crate::smmu::{Inner, Smmu};
use crate::spec::command::{COMMAND_BYTES, Raw, op};
use crate::spec::regs::{cr0, cr2, gerror, mask};
use crate::spec::{low_mask, words};
use crate::system::Line;
use crate::tlb::{Asids, CachedTranslation, NearMiss, Scope, Whose};
use crate::transaction::{StreamId, SubstreamId};
use crate::verdict::{OnCommand, Points, Verdict};
use crate::view::Structure;
use crate::walker::{ADDRESS_BITS, World};

/// CMDQ_CONS.ERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// CERROR_ILL: the command is illegal here.
    Illegal,
    /// CERROR_ABT: its fetch aborted.
    Abort,
    /// CERROR_ATC_INV_SYNC: an invalidation before this CMD_SYNC was not completed in time.
    AtcInvalidation,
    /// A verdict: whatever code it says.
    Told(u8),
}

impl CommandError {
    const fn code(self) -> u8 {
        match self {
            CommandError::Illegal => 1,
            CommandError::Abort => 2,
            CommandError::AtcInvalidation => 3,
            // The field has seven bits.
            CommandError::Told(code) => code & 0x7f,
        }
    }
}

/// How CMD_SYNC tells that it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    None,
    Interrupt { address: u64, data: u32 },
    Event,
}

/// What a CMD_TLBI names: whose translations, and of which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidation {
    whose: Whose,
    scope: Option<Scope>,
}

impl Invalidation {
    /// The first and the last input address that it names, in 56 bits; `None` for all.
    pub fn addresses(&self) -> Option<(u64, u64)> {
        self.scope.map(|scope| (scope.first, scope.last))
    }

    /// What keeps it from taking `entry` out of the TLB; `None` if it does take it out. The TLB
    /// itself goes by this.
    pub fn misses(&self, entry: &CachedTranslation) -> Option<NearMiss> {
        let scope = |scope: Scope| scope.misses(&entry.0);
        let whose = self.whose.misses(&entry.0);
        whose.or_else(|| self.scope.and_then(scope))
    }
}

/// A command that is legal here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// A hint of what will soon be used.
    Prefetch(Prefetch),
    /// The stream table entries, with all that hangs from them, of StreamIDs from the first to the
    /// last.
    ConfigOfStreams {
        first: u32,
        last: u32,
    },
    ConfigOfContext {
        sid: u32,
        ssid: u32,
    },
    ConfigOfContexts {
        sid: u32,
    },
    /// Translations, of any address if there is no scope.
    Tlb {
        whose: Whose,
        scope: Option<Scope>,
    },
    InvalidateAtc {
        stream: StreamId,
        request: InvalidateRequest,
    },
    PageResponse {
        stream: StreamId,
        response: PageResponse,
    },
    Resume {
        stream: StreamId,
        stag: u16,
        response: Response,
    },
    StallTerm(StreamId),
    Sync(Signal),
}

impl Command {
    /// What `raw` asks for. `e2h` is SMMU_CR2.E2H.
    fn parse(raw: &Raw, features: &Config, e2h: bool) -> Result<Command, CommandError> {
        if raw.ssec() {
            // A Secure stream named from the Non-secure queue.
            return Err(CommandError::Illegal);
        }
        let sid = raw.sid();
        let stalls = features.stall_model != StallModel::Terminate;
        Ok(match raw.opcode() {
            op::PREFETCH_CONFIG | op::PREFETCH_ADDR => Command::Prefetch(Prefetch {
                stream: StreamId(sid),
                substream: raw.ssv().then(|| SubstreamId(raw.ssid())),
                span: (raw.opcode() == op::PREFETCH_ADDR).then(|| Addresses {
                    first: raw.prefetch_address(),
                    stride_log2: 12 + raw.prefetch_stride(),
                    count_log2: raw.prefetch_size(),
                }),
            }),
            op::CFGI_STE => Command::ConfigOfStreams {
                first: sid,
                last: sid,
            },
            op::CFGI_STE_RANGE => {
                let span = low_mask(raw.cfgi_range() + 1) as u32;
                Command::ConfigOfStreams {
                    first: sid & !span,
                    last: sid | span,
                }
            }
            op::CFGI_CD if features.stage1 => Command::ConfigOfContext {
                sid,
                ssid: raw.ssid(),
            },
            op::CFGI_CD_ALL if features.stage1 => Command::ConfigOfContexts { sid },
            op::TLBI_NH_ALL
            | op::TLBI_NH_ASID
            | op::TLBI_NH_VA
            | op::TLBI_NH_VAA
            | op::TLBI_EL2_ALL
            | op::TLBI_EL2_ASID
            | op::TLBI_EL2_VA
            | op::TLBI_EL2_VAA
            | op::TLBI_S12_VMALL
            | op::TLBI_S2_IPA
            | op::TLBI_NSNH_ALL => parse_tlbi(raw, features, e2h)?,
            op::ATC_INV if features.ats => Command::InvalidateAtc {
                stream: StreamId(sid),
                request: atc::parse(raw).ok_or(CommandError::Illegal)?,
            },
            op::PRI_RESP if features.pri => Command::PageResponse {
                stream: StreamId(sid),
                response: parse_page_response(raw).ok_or(CommandError::Illegal)?,
            },
            op::RESUME if stalls => Command::Resume {
                stream: StreamId(sid),
                stag: raw.resume_stag(),
                // With Ac clear, Ab tells an abort from RAZ/WI, if there is one.
                response: match (raw.resume_ac(), raw.resume_ab() || !features.raz_wi) {
                    (true, _) => Response::Retry,
                    (false, true) => Response::Abort,
                    (false, false) => Response::RazWi,
                },
            },
            op::STALL_TERM if stalls => Command::StallTerm(StreamId(sid)),
            op::SYNC => Command::Sync(match raw.sync_cs() {
                0 => Signal::None,
                1 => Signal::Interrupt {
                    address: raw.sync_msi_address(),
                    data: raw.sync_msi_data(),
                },
                2 => Signal::Event,
                _ => return Err(CommandError::Illegal),
            }),
            // Reserved, or of a feature that is not implemented: one left out of `features`, EL3,
            // Secure, MPAM.
            _ => return Err(CommandError::Illegal),
        })
    }
}

/// A CMD_PRI_RESP; `None` if its Resp is the reserved one.
fn parse_page_response(raw: &Raw) -> Option<PageResponse> {
    let code = match raw.pri_response() {
        0 => PageResponseCode::Failure,
        1 => PageResponseCode::InvalidRequest,
        2 => PageResponseCode::Success,
        _ => return None,
    };
    Some(PageResponse {
        substream: raw.ssv().then(|| SubstreamId(raw.ssid())),
        index: raw.pri_index(),
        code,
    })
}

/// *TLB invalidation*: whose entries, and at which addresses.
fn parse_tlbi(raw: &Raw, features: &Config, e2h: bool) -> Result<Command, CommandError> {
    let opcode = raw.opcode();
    // With ASIDs or VMIDs of 8 bits the others are RES0.
    let asid = raw.tlbi_asid() & if features.asid16 { 0xffff } else { 0xff };
    let (present, world) = match opcode {
        op::TLBI_EL2_ALL | op::TLBI_EL2_ASID | op::TLBI_EL2_VA | op::TLBI_EL2_VAA => {
            (features.hyp, if e2h { World::El2E2h } else { World::El2 })
        }
        op::TLBI_S12_VMALL | op::TLBI_S2_IPA => (features.stage2, World::El1),
        op::TLBI_NSNH_ALL => (true, World::El1),
        _ => (features.stage1, World::El1),
    };
    if !present {
        return Err(CommandError::Illegal);
    }
    // Without stage 2 nothing has a VMID, and EL2's has none anyway.
    let vmid = if features.stage2 && world == World::El1 {
        raw.tlbi_vmid() & if features.vmid16 { 0xffff } else { 0xff }
    } else {
        0
    };
    let whose = match opcode {
        op::TLBI_NSNH_ALL => Whose::NotEl2,
        op::TLBI_S12_VMALL => Whose::Vmid(vmid),
        op::TLBI_S2_IPA => Whose::Stage2(vmid),
        op::TLBI_EL2_ALL => Whose::El2,
        _ => Whose::Stage1 {
            vmid,
            world: match opcode {
                // Only E2H has ASIDs.
                op::TLBI_EL2_ASID => World::El2E2h,
                _ => world,
            },
            asids: match opcode {
                op::TLBI_NH_ASID | op::TLBI_EL2_ASID => Asids::Only(asid),
                op::TLBI_NH_VA => Asids::WithGlobal(asid),
                op::TLBI_EL2_VA if e2h => Asids::WithGlobal(asid),
                _ => Asids::Any,
            },
        },
    };
    let scope = match opcode {
        op::TLBI_NH_VA | op::TLBI_NH_VAA | op::TLBI_EL2_VA | op::TLBI_EL2_VAA => {
            Some(parse_scope(raw, raw.tlbi_address(), features)?)
        }
        op::TLBI_S2_IPA => Some(parse_scope(raw, raw.tlbi_ipa(), features)?),
        _ => None,
    };
    Ok(Command::Tlb { whose, scope })
}

/// The addresses that a TLBI names: *Range-based invalidation and level hint*.
fn parse_scope(raw: &Raw, address: u64, features: &Config) -> Result<Scope, CommandError> {
    // The range fields are RES0 without RIL.
    let Some(granule) = raw.tlbi_granule().filter(|_| features.ril) else {
        return Ok(Scope::address(address));
    };
    let level = match raw.tlbi_ttl() {
        0 => None,
        // The 16 KiB granule has blocks at level 1 only with 52-bit addresses, and without them
        // the hint says nothing.
        1 if granule == Granule::K16 && !features.ds => None,
        level => Some(level.into()),
    };
    if raw.tlbi_num() == 0 && raw.tlbi_scale(features.ds) == 0 && level.is_none() {
        return Err(CommandError::Illegal);
    }
    let (first, last) = raw.tlbi_range(address & low_mask(ADDRESS_BITS), granule, features.ds);
    // The range does not wrap at the end of the address space.
    let last = last.min(low_mask(ADDRESS_BITS));
    Ok(Scope {
        first,
        last,
        granule: Some(granule),
        level,
    })
}

impl Smmu {
    /// What `words` invalidate, if they are a CMD_TLBI that is legal here.
    pub fn invalidation(&self, words: [u64; 2]) -> Option<Invalidation> {
        match self.0.parse(&Raw(words)) {
            Ok(Command::Tlb { whose, scope }) => Some(Invalidation { whose, scope }),
            _ => None,
        }
    }

    /// Whether `words` are a CMD_CFGI that makes the SMMU forget `structure` of `stream`, whatever an
    /// implementation caches.
    pub fn forgets(&self, words: [u64; 2], stream: StreamId, structure: Structure) -> bool {
        let raw = Raw(words);
        // Of more than one structure there is no leaf.
        let leaf = matches!(raw.opcode(), op::CFGI_STE | op::CFGI_CD) && raw.cfgi_leaf();
        match (self.0.parse(&raw), structure) {
            (Ok(Command::ConfigOfStreams { first, last }), _) => {
                let leaf = leaf && structure == Structure::StreamLevel1;
                (first..=last).contains(&stream.0) && !leaf
            }
            (Ok(Command::ConfigOfContext { sid, ssid }), Structure::Context(index)) => {
                sid == stream.0 && ssid == index
            }
            (Ok(Command::ConfigOfContext { sid, ssid }), Structure::ContextLevel1(first, last)) => {
                sid == stream.0 && (first..=last).contains(&ssid) && !leaf
            }
            (
                Ok(Command::ConfigOfContexts { sid }),
                Structure::Context(_) | Structure::ContextLevel1(..),
            ) => sid == stream.0,
            _ => false,
        }
    }

    /// Executes what is queued. With no latency it is done when this returns, unless the timeline's
    /// driver is needed elsewhere: then it goes on with it before anything else. With a latency, the
    /// timeline goes on with it.
    pub(crate) fn run_commands(&self) {
        let inner = &self.0;
        if inner.commands_busy.replace(true) {
            return;
        }
        // Software can queue no more than the queue holds while this runs, unless it aims the
        // messages of its CMD_SYNCs at CMDQ_PROD. Then the clock must be let move.
        let budget = 2 * inner.command_ring().entries();
        self.execute_queued(budget);
    }

    fn execute_queued(&self, mut budget: u32) {
        let inner = &self.0;
        while inner.commands_pending() {
            let span = match inner.probe.spend(Step::Command, None) {
                Span::ZERO if budget == 0 => Span::from_us(1),
                span => span,
            };
            if span != Span::ZERO {
                let smmu = self.clone();
                let due = inner
                    .timeline
                    .after(span, move || smmu.go_on_with_commands());
                inner.command_due.set(Some(due));
                return;
            }
            budget -= 1;
            if self.take_command() == Taken::Waits {
                return;
            }
            if inner.timeline.should_yield() {
                let smmu = self.clone();
                return inner.timeline.leave(move || smmu.execute_queued(budget));
            }
        }
        inner.commands_busy.set(false);
    }

    fn go_on_with_commands(&self) {
        let inner = &self.0;
        inner.command_due.set(None);
        if inner.commands_pending() && self.take_command() == Taken::Waits {
            return;
        }
        inner.commands_busy.set(false);
        self.run_commands();
    }

    /// Fetches the command at CMDQ_CONS and executes it, now or once a verdict's gate is open.
    fn take_command(&self) -> Taken {
        let inner = &self.0;
        let fetched = inner.fetch_command();
        if let Ok(raw) = fetched
            && let Ok(command) = inner.parse(&raw)
            && inner.waits_for_atc(&command)
        {
            // It is fetched again when there is nothing to wait for.
            return Taken::Done;
        }
        let verdict = match fetched {
            Ok(raw) if inner.watches(Points::COMMAND) => inner.probe.on_command(&raw.0),
            _ => Verdict::default(),
        };
        let Some(gate) = verdict.wait else {
            inner.execute_fetched(fetched, verdict.act);
            return Taken::Done;
        };
        let (smmu, stops) = (self.clone(), inner.command_stops.get());
        inner.command_waits.set(true);
        inner.timeline.spawn(async move {
            gate.passed().await;
            let inner = &smmu.0;
            if inner.command_stops.get() != stops {
                return;
            }
            inner.command_waits.set(false);
            inner.execute_fetched(fetched, verdict.act);
            inner.commands_busy.set(false);
            smmu.run_commands();
        });
        Taken::Waits
    }

    /// CMDQEN was cleared: nothing more is executed, and CONS stands still.
    pub(crate) fn stop_commands(&self) {
        self.0.atc_invalidations.let_commands_go();
        if let Some(due) = self.0.command_due.take() {
            self.0.timeline.cancel(due);
            self.0.commands_busy.set(false);
        }
        if self.0.command_waits.take() {
            // What waits at a gate finds that it is called off.
            bump(&self.0.command_stops);
            self.0.commands_busy.set(false);
        }
    }
}

/// What became of a command that was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Done,
    Waits,
}

impl Inner {
    fn command_ring(&self) -> Ring {
        Ring::new(
            self.regs.cmdq.base.get(),
            self.features.cmdq_log2,
            COMMAND_BYTES,
        )
    }

    fn commands_pending(&self) -> bool {
        let (prod, cons) = (self.regs.cmdq.prod.get(), self.regs.cmdq.cons.get());
        self.regs.enabled(cr0::CMDQEN)
            && self.regs.active_errors() & gerror::CMDQ_ERR == 0
            && !self.command_ring().is_empty(prod, cons)
            && !self.atc_invalidations.holds_commands()
    }

    /// Reads the command at CMDQ_CONS.
    fn fetch_command(&self) -> Result<Raw, CommandError> {
        let ring = self.command_ring();
        let cons = ring.position(self.regs.cmdq.cons.get());
        let mut bytes = [0; COMMAND_BYTES as usize];
        self.read_memory(ring.address(cons), &mut bytes)
            .map_err(|_| CommandError::Abort)?;
        Ok(Raw(words(&bytes)))
    }

    fn parse(&self, raw: &Raw) -> Result<Command, CommandError> {
        let e2h = self.regs.cr2.get() & cr2::E2H != 0;
        Command::parse(raw, &self.features, e2h)
    }

    /// Executes what was read at CMDQ_CONS, as a verdict has it.
    fn execute_fetched(&self, fetched: Result<Raw, CommandError>, act: OnCommand) {
        let parsed = fetched.and_then(|raw| {
            let raw = match act {
                OnCommand::Go => raw,
                OnCommand::Skip => return Ok(None),
                OnCommand::Instead(words) => Raw(words),
                OnCommand::Error(code) => return Err(CommandError::Told(code)),
            };
            let command = self.parse(&raw)?;
            if matches!(command, Command::Sync(_)) && self.atc_invalidations.take_timeout() {
                return Err(CommandError::AtcInvalidation);
            }
            Ok(Some((raw, command)))
        });
        if let Ok(Some((_, command))) = parsed
            && self.waits_for_atc(&command)
        {
            return;
        }
        let ring = self.command_ring();
        let cons = ring.position(self.regs.cmdq.cons.get());
        match parsed {
            Ok(command) => {
                if let Some((raw, command)) = command {
                    bump(&self.counts.commands);
                    self.note(&Note::Command { words: raw.0 });
                    self.execute(command);
                }
                // ERR keeps the last error, for software that looks late.
                let was_full = ring.is_full(self.regs.cmdq.prod.get(), cons);
                let error = self.regs.cmdq.cons.get() & mask::CMDQ_CONS_ERR;
                self.regs.cmdq.cons.set(ring.next(cons) | error);
                if was_full {
                    self.wake();
                }
                if let Some((_, Command::Sync(signal))) = command {
                    self.signal(signal);
                }
            }
            Err(error) => {
                let code = error.code();
                // CONS stays, and says why before GERROR says that.
                self.regs.cmdq.cons.set(cons | u32::from(code) << 24);
                self.note(&Note::CommandError { code });
                log::debug!("smmu: command {fetched:#x?} stops the queue: {error:?}");
                self.raise_error(gerror::CMDQ_ERR);
            }
        }
    }

    /// Executes a command that is in no queue; false if it is illegal.
    pub(crate) fn execute_injected(&self, words: [u64; 2]) -> bool {
        let Ok(command) = self.parse(&Raw(words)) else {
            return false;
        };
        self.note(&Note::Command { words });
        self.execute(command);
        if let Command::Sync(signal) = command {
            self.signal(signal);
        }
        true
    }

    fn execute(&self, command: Command) {
        match command {
            Command::Sync(_) => {}
            Command::Prefetch(prefetch) => self.prefetch(prefetch),
            Command::ConfigOfStreams { first, last } => {
                let within = |sid: u32, _| (first..=last).contains(&sid);
                self.invalidate_config(true, within);
            }
            Command::ConfigOfContext { sid, ssid } => {
                self.invalidate_config(false, |at, index| (at, index) == (sid, ssid));
            }
            Command::ConfigOfContexts { sid } => {
                self.invalidate_config(false, |at, _| at == sid);
            }
            Command::Tlb { whose, scope } => {
                let entries = self.caches.borrow_mut().tlb.invalidate(whose, scope);
                self.translations_invalidated(entries);
            }
            Command::Resume {
                stream,
                stag,
                response,
            } => self.resume(stream, stag, response),
            Command::InvalidateAtc { stream, request } => self.invalidate_atc(stream, request),
            Command::PageResponse { stream, response } => {
                self.answer_page_request(stream, response);
            }
            Command::StallTerm(stream) => self.terminate_stalls(Some(stream)),
        }
    }

    /// Whether `command` has to wait for invalidations of address translation caches: a CMD_SYNC for
    /// all that came before, another invalidation for room. Then the queue is held until one of them
    /// is done or given up.
    fn waits_for_atc(&self, command: &Command) -> bool {
        match command {
            Command::Sync(_) => self.atc_invalidations.holds_sync(),
            Command::InvalidateAtc { stream, .. } => self.atc_invalidations.has_no_room(*stream),
            _ => false,
        }
    }

    /// Forgets cached context descriptors that `doomed` names by stream and context, and stream
    /// table entries too if `streams` says so.
    fn invalidate_config(&self, streams: bool, doomed: impl Fn(u32, u32) -> bool) {
        bump(&self.epoch);
        let mut caches = self.caches.borrow_mut();
        let entries = caches.config.invalidate(streams, doomed);
        drop(caches);
        self.note(&Note::ConfigInvalidated { entries });
    }

    fn translations_invalidated(&self, entries: u32) {
        bump(&self.epoch);
        self.note(&Note::TlbInvalidated { entries });
    }

    /// Wakes CPUs that wait in WFE, if they are woken at all.
    fn wake(&self) {
        if self.features.sev {
            self.interrupts.send_event();
        }
    }

    /// The completion signal of a CMD_SYNC, which has no enable of its own.
    fn signal(&self, signal: Signal) {
        match signal {
            Signal::None => {}
            Signal::Event => self.wake(),
            Signal::Interrupt { address, data } => {
                let on_abort = gerror::MSI_CMDQ_ABT_ERR;
                self.interrupt_by(address, data, Line::CommandSync, None, on_abort);
            }
        }
    }
}

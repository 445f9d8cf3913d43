//! The instance: its parts, its register frame, its interrupts and its counters.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use stallbox_timeline::{EventId, Timeline};

use crate::ats::{Ats, Endpoints};
use crate::config_cache::ConfigCaches;
use crate::fault::{Stall, Stalls};
use crate::features::Config;
use crate::pri::Pri;
use crate::probe::{Note, Probe};
use crate::regs::{Effect, Message, Registers};
use crate::spec::low_mask;
use crate::spec::regs::{FRAME_BYTES, cr0, gerror, irq_ctrl};
use crate::system::{ExternalAbort, Interrupts, Line, Memory};
use crate::tlb::Tlb;
use crate::transaction::StreamId;
use crate::verdict::{OnInterrupt, Points};

/// One SMMU. Cheap to clone; clones are the same SMMU.
#[derive(Clone)]
pub struct Smmu(pub(crate) Rc<Inner>);

pub(crate) struct Inner {
    /// Itself, for what outlives a call.
    me: Weak<Inner>,
    pub(crate) features: Config,
    pub(crate) timeline: Timeline,
    memory: Rc<dyn Memory>,
    pub(crate) interrupts: Rc<dyn Interrupts>,
    pub(crate) probe: Rc<dyn Probe>,
    pub(crate) regs: Registers,
    pub(crate) caches: RefCell<Caches>,
    pub(crate) stalls: Stalls,
    pub(crate) ats: Ats,
    pub(crate) pri: Pri,
    pub(crate) endpoints: RefCell<Option<Rc<dyn Endpoints>>>,
    /// Counts invalidations and changes of SMMUEN: whatever was read before one may be out of date.
    pub(crate) epoch: Cell<u64>,
    /// Counts the times SMMUEN was cleared: transactions from before end with an abort.
    pub(crate) shutdowns: Cell<u64>,
    /// Commands are being executed, further up the call stack or on the timeline.
    pub(crate) commands_busy: Cell<bool>,
    pub(crate) command_due: Cell<Option<EventId>>,
    /// A command waits at a verdict's gate.
    pub(crate) command_waits: Cell<bool>,
    /// Counts the times that such a command was called off.
    pub(crate) command_stops: Cell<u64>,
    /// Where the probe wants to be asked.
    pub(crate) watched: Cell<Points>,
    pub(crate) counts: Counts,
}

/// What is kept of tables in memory. They are borrowed together, since a hit needs all of them.
pub(crate) struct Caches {
    pub(crate) config: ConfigCaches,
    pub(crate) tlb: Tlb,
}

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Event records written, by event number.
    pub events_written: BTreeMap<u8, u64>,
    /// Event records lost.
    pub events_dropped: u64,
    /// Times that the event queue's overflow flag was raised.
    pub overflows: u64,
    /// Stalls that were given a tag and reported.
    pub stalls: u64,
    /// Times that a stall's report had to wait.
    pub stalls_held: u64,
    /// RESUMEs that asked for a retry.
    pub resumes_retry: u64,
    /// RESUMEs that asked for a termination.
    pub resumes_abort: u64,
    /// RESUMEs of either kind for which no stall was waiting.
    pub resumes_unmatched: u64,
    /// Stalls ended by STALL_TERM or by the SMMU being disabled.
    pub stalls_terminated: u64,
    /// Transactions aborted, for whatever reason.
    pub aborts: u64,
    /// Translations found in the TLB.
    pub tlb_hits: u64,
    /// Translations that were not.
    pub tlb_misses: u64,
    /// Translation table descriptors read.
    pub walk_steps: u64,
    /// Stream table entries and context descriptors fetched.
    pub config_fetches: u64,
    /// Commands executed.
    pub commands: u64,
    /// ATS translation requests.
    pub ats_requests: u64,
    /// Of those, the ones that were not answered with Success.
    pub ats_refused: u64,
    /// Page requests that arrived, stop markers included.
    pub page_requests: u64,
    /// Of those, the ones that did not get into the queue.
    pub page_requests_dropped: u64,
    /// Times that the page request queue's overflow flag was raised.
    pub pri_overflows: u64,
    /// Page responses sent, by software or automatically.
    pub page_responses: u64,
    /// Of those, the automatic ones.
    pub page_responses_automatic: u64,
    /// Invalidations sent to address translation caches.
    pub atc_invalidations: u64,
    /// Of those, the ones of which no completion came in time.
    pub atc_timeouts: u64,
}

/// The counters as they are kept. One for each event number, since those are a byte.
pub(crate) struct Counts {
    pub(crate) events_written: [Cell<u64>; 256],
    pub(crate) events_dropped: Cell<u64>,
    pub(crate) overflows: Cell<u64>,
    pub(crate) stalls: Cell<u64>,
    pub(crate) stalls_held: Cell<u64>,
    pub(crate) resumes_retry: Cell<u64>,
    pub(crate) resumes_abort: Cell<u64>,
    pub(crate) resumes_unmatched: Cell<u64>,
    pub(crate) stalls_terminated: Cell<u64>,
    pub(crate) aborts: Cell<u64>,
    pub(crate) tlb_hits: Cell<u64>,
    pub(crate) tlb_misses: Cell<u64>,
    pub(crate) walk_steps: Cell<u64>,
    pub(crate) config_fetches: Cell<u64>,
    pub(crate) commands: Cell<u64>,
    pub(crate) ats_requests: Cell<u64>,
    pub(crate) ats_refused: Cell<u64>,
    pub(crate) page_requests: Cell<u64>,
    pub(crate) page_requests_dropped: Cell<u64>,
    pub(crate) pri_overflows: Cell<u64>,
    pub(crate) page_responses: Cell<u64>,
    pub(crate) page_responses_automatic: Cell<u64>,
    pub(crate) atc_invalidations: Cell<u64>,
    pub(crate) atc_timeouts: Cell<u64>,
}

pub(crate) fn bump(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl Smmu {
    /// An SMMU as it comes out of reset: disabled, letting everything pass.
    ///
    /// # Panics
    ///
    /// If `config` does not pass [`Config::check`].
    pub fn new(
        config: Config,
        timeline: Timeline,
        memory: Rc<dyn Memory>,
        interrupts: Rc<dyn Interrupts>,
        probe: Rc<dyn Probe>,
    ) -> Smmu {
        if let Err(error) = config.check() {
            panic!("SMMU configuration: {error}");
        }
        Smmu(Rc::new_cyclic(|me| Inner {
            me: me.clone(),
            caches: RefCell::new(Caches {
                tlb: Tlb::new(config.tlb_entries),
                config: ConfigCaches::new(&config),
            }),
            features: config,
            timeline,
            memory,
            interrupts,
            probe,
            regs: Registers::default(),
            stalls: Stalls::default(),
            ats: Ats::default(),
            pri: Pri::default(),
            endpoints: RefCell::default(),
            epoch: Cell::new(0),
            shutdowns: Cell::new(0),
            commands_busy: Cell::new(false),
            command_due: Cell::new(None),
            command_waits: Cell::new(false),
            command_stops: Cell::new(0),
            watched: Cell::default(),
            counts: Counts::default(),
        }))
    }

    /// What the SMMU implements.
    pub fn config(&self) -> &Config {
        &self.0.features
    }

    /// Reads `data.len()` bytes of the register frame at `offset`. Reads that are not of 4 or 8
    /// aligned bytes, or are outside the frame, give zeros. So do registers that are not there; the answer
    /// is where the first of them is.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Option<u64> {
        data.fill(0);
        if !access_is_legal(offset, data.len()) {
            log::debug!(
                "smmu: read of {} bytes at {offset:#x} gives zero",
                data.len()
            );
            return Some(offset);
        }
        let mut absent = None;
        for (word, at) in data.chunks_exact_mut(4).zip((offset..).step_by(4)) {
            let register = self.0.regs.read(&self.0.features, at);
            if register.is_none() {
                absent = absent.or(Some(at));
            }
            word.copy_from_slice(&register.unwrap_or(0).to_le_bytes());
        }
        absent
    }

    /// Writes `data` to the register frame at `offset`. Writes that are not of 4 or 8 aligned
    /// bytes, or are outside the frame, are ignored. So are those of registers that are not there; the answer
    /// is where the first of them is.
    pub fn write(&self, offset: u64, data: &[u8]) -> Option<u64> {
        if !access_is_legal(offset, data.len()) {
            log::debug!("smmu: write of {} bytes at {offset:#x} ignored", data.len());
            return Some(offset);
        }
        let mut absent = None;
        for (word, at) in data.chunks_exact(4).zip((offset..).step_by(4)) {
            let mut raw = [0; 4];
            raw.copy_from_slice(word);
            if self.0.regs.read(&self.0.features, at).is_none() {
                absent = absent.or(Some(at));
            }
            let value = u32::from_le_bytes(raw);
            let smmu = self.clone();
            self.0.timeline.afterwards(move || {
                let effect = smmu.0.regs.write(&smmu.0.features, at, value);
                smmu.act_on(effect);
            });
        }
        absent
    }

    /// What a register write sets in motion beside the commands comes after those.
    fn let_report_after_commands(&self) {
        let smmu = self.clone();
        let timeline = &self.0.timeline;
        timeline.afterwards(move || smmu.0.let_next_report());
    }

    fn act_on(&self, effect: Effect) {
        let inner = &self.0;
        match effect {
            Effect::None => {}
            Effect::Enables { before, after } => {
                let (cleared, set) = (before & !after, after & !before);
                if (cleared | set) & cr0::SMMUEN != 0 {
                    bump(&inner.epoch);
                }
                if cleared & cr0::SMMUEN != 0 {
                    bump(&inner.shutdowns);
                    inner.terminate_stalls(None);
                }
                if cleared & cr0::CMDQEN != 0 {
                    self.stop_commands();
                }
                if set & cr0::CMDQEN != 0 {
                    self.run_commands();
                }
                if set & cr0::EVENTQEN != 0 {
                    self.let_report_after_commands();
                }
            }
            Effect::CommandsQueued => self.run_commands(),
            Effect::EventsConsumed => inner.let_next_report(),
            Effect::ErrorsAcknowledged => {
                self.run_commands();
                self.let_report_after_commands();
            }
        }
    }

    /// The transactions that are stalled: those reported, by stream and tag, then those that wait
    /// to be, in the order in which they will.
    pub fn outstanding_stalls(&self) -> Vec<Stall> {
        self.0.stalls.outstanding()
    }

    /// From now on the probe is asked at these points, and at no others. At first it is asked
    /// nowhere.
    pub fn watch(&self, points: Points) {
        self.0.watched.set(points);
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.0.counts.read()
    }
}

/// *Register accesses*: aligned 32 bits, or aligned 64 bits.
fn access_is_legal(offset: u64, length: usize) -> bool {
    (length == 4 || length == 8)
        && offset.is_multiple_of(length as u64)
        && offset <= FRAME_BYTES - length as u64
}

impl Inner {
    /// Physical memory. An address beyond the output size is truncated.
    pub(crate) fn read_memory(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort> {
        self.memory
            .read(address & low_mask(self.features.oas_bits.into()), data)
    }

    pub(crate) fn write_memory(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort> {
        self.memory
            .write(address & low_mask(self.features.oas_bits.into()), data)
    }

    /// Itself, to be kept.
    pub(crate) fn owned(&self) -> Rc<Inner> {
        self.me.upgrade().expect("whoever calls holds it")
    }

    /// Whether the probe wants to be asked there.
    #[inline(always)]
    pub(crate) fn watches(&self, points: Points) -> bool {
        self.watched.get().has(points)
    }

    /// Whether it wants to be asked at any of them.
    #[inline(always)]
    pub(crate) fn watches_any(&self, points: Points) -> bool {
        self.watched.get().has_any(points)
    }

    pub(crate) fn compare_exchange(
        &self,
        address: u64,
        current: u64,
        new: u64,
    ) -> Result<u64, ExternalAbort> {
        let address = address & low_mask(self.features.oas_bits.into());
        self.memory.compare_exchange(address, current, new)
    }

    pub(crate) fn note(&self, note: &Note) {
        self.probe.note(note);
    }

    /// Makes errors active in GERROR: *Global error handling*. One that is active already stays
    /// so, and gives no second interrupt.
    pub(crate) fn raise_error(&self, errors: u32) {
        let bits = errors & !self.regs.active_errors();
        if bits == 0 {
            return;
        }
        self.regs.gerror.set(self.regs.gerror.get() ^ bits);
        log::debug!("smmu: GERROR {bits:#x} is active");
        self.note(&Note::GlobalError { bits });
        if bits != gerror::MSI_GERROR_ABT_ERR && self.regs.irq_ctrl.get() & irq_ctrl::GERROR != 0 {
            self.interrupt(
                &self.regs.gerror_msi,
                Line::GlobalError,
                None,
                gerror::MSI_GERROR_ABT_ERR,
            );
        }
    }

    /// Sends an interrupt whose enable has been checked: as a message if it has an address, else
    /// as an edge on its line.
    /// `stream` did what it tells of.
    pub(crate) fn interrupt(
        &self,
        message: &Message,
        line: Line,
        stream: Option<StreamId>,
        on_abort: u32,
    ) {
        let (address, data) = (message.address.get(), message.data.get());
        self.interrupt_by(address, data, line, stream, on_abort);
    }

    pub(crate) fn interrupt_by(
        &self,
        address: u64,
        data: u32,
        line: Line,
        stream: Option<StreamId>,
        on_abort: u32,
    ) {
        if self.watches(Points::INTERRUPT) {
            let verdict = self.probe.on_interrupt(line, stream);
            if verdict.act == OnInterrupt::Drop {
                return;
            }
            if let Some(gate) = verdict.wait {
                let smmu = self.owned();
                self.timeline.spawn(async move {
                    gate.passed().await;
                    smmu.send_interrupt(address, data, line, on_abort);
                });
                return;
            }
        }
        self.send_interrupt(address, data, line, on_abort);
    }

    fn send_interrupt(&self, address: u64, data: u32, line: Line, on_abort: u32) {
        if self.features.msi && address != 0 {
            if self.write_memory(address, &data.to_le_bytes()).is_err() {
                self.raise_error(on_abort);
            }
        } else {
            self.interrupts.pulse(line);
        }
    }
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            events_written: [const { Cell::new(0) }; 256],
            events_dropped: Cell::default(),
            overflows: Cell::default(),
            stalls: Cell::default(),
            stalls_held: Cell::default(),
            resumes_retry: Cell::default(),
            resumes_abort: Cell::default(),
            resumes_unmatched: Cell::default(),
            stalls_terminated: Cell::default(),
            aborts: Cell::default(),
            tlb_hits: Cell::default(),
            tlb_misses: Cell::default(),
            walk_steps: Cell::default(),
            config_fetches: Cell::default(),
            commands: Cell::default(),
            ats_requests: Cell::default(),
            ats_refused: Cell::default(),
            page_requests: Cell::default(),
            page_requests_dropped: Cell::default(),
            pri_overflows: Cell::default(),
            page_responses: Cell::default(),
            page_responses_automatic: Cell::default(),
            atc_invalidations: Cell::default(),
            atc_timeouts: Cell::default(),
        }
    }
}

impl Counts {
    fn read(&self) -> Counters {
        let by_type = self.events_written.iter().zip(0_u8..=255);
        Counters {
            events_written: by_type
                .filter(|(count, _)| count.get() != 0)
                .map(|(count, number)| (number, count.get()))
                .collect(),
            events_dropped: self.events_dropped.get(),
            overflows: self.overflows.get(),
            stalls: self.stalls.get(),
            stalls_held: self.stalls_held.get(),
            resumes_retry: self.resumes_retry.get(),
            resumes_abort: self.resumes_abort.get(),
            resumes_unmatched: self.resumes_unmatched.get(),
            stalls_terminated: self.stalls_terminated.get(),
            aborts: self.aborts.get(),
            tlb_hits: self.tlb_hits.get(),
            tlb_misses: self.tlb_misses.get(),
            walk_steps: self.walk_steps.get(),
            config_fetches: self.config_fetches.get(),
            commands: self.commands.get(),
            ats_requests: self.ats_requests.get(),
            ats_refused: self.ats_refused.get(),
            page_requests: self.page_requests.get(),
            page_requests_dropped: self.page_requests_dropped.get(),
            pri_overflows: self.pri_overflows.get(),
            page_responses: self.page_responses.get(),
            page_responses_automatic: self.page_responses_automatic.get(),
            atc_invalidations: self.atc_invalidations.get(),
            atc_timeouts: self.atc_timeouts.get(),
        }
    }
}

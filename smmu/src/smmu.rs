//! The instance: its parts, its memory, its errors and interrupts, its counters.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use stallbox_timeline::{EventId, Sleep, Span, Time, Timeline};

use crate::atc_invalidations::AtcInvalidations;
use crate::attempt::Attempt;
use crate::config_cache::ConfigCaches;
use crate::counters::{Counters, Counts};
use crate::features::Config;
use crate::messages::Endpoints;
use crate::probe::{Note, Probe, Step};
use crate::regs::{Message, Registers};
use crate::spec::low_mask;
use crate::spec::regs::{gerror, irq_ctrl};
use crate::stalls::{Stall, Stalls};
use crate::system::{ExternalAbort, Interrupts, Line, Memory};
use crate::tlb::Tlb;
use crate::transaction::{StreamId, Transaction};
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
    pub(crate) atc_invalidations: AtcInvalidations,
    /// When the last page request under way enters the queue: none that came later does so earlier.
    pub(crate) page_requests_until: Cell<Time>,
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
            atc_invalidations: AtcInvalidations::default(),
            page_requests_until: Cell::default(),
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

    /// Says where invalidations and page responses go. Without endpoints invalidations are complete
    /// at once, and responses are lost.
    pub fn connect(&self, endpoints: Rc<dyn Endpoints>) {
        *self.0.endpoints.borrow_mut() = Some(endpoints);
    }

    /// What the SMMU implements.
    pub fn config(&self) -> &Config {
        &self.0.features
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

    /// A sleep for as long as `step` takes, if it takes any time.
    #[inline]
    pub(crate) fn pause(&self, step: Step, transaction: &Transaction) -> Option<Sleep> {
        let span = self.probe.spend(step, Some(transaction));
        (span != Span::ZERO).then(|| self.timeline.sleep(span))
    }

    #[inline]
    pub(crate) fn pause_in(
        &self,
        attempt: Attempt,
        step: Step,
        transaction: &Transaction,
    ) -> Option<Sleep> {
        if attempt.is(Attempt::AT_ONCE) {
            None
        } else {
            self.pause(step, transaction)
        }
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

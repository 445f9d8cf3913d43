//! The PCIe function: configuration space, BARs, interrupts, reset.

use std::rc::Rc;

use stallbox_timeline::Timeline;

use super::engine::Engine;
use super::master::Master;
use super::regs::{self, Doorbell, Identity, Request};
use super::spec::*;
use super::translation::Translator;
use super::{FaultMode, TestEngineConfig};
use crate::atc::{AtcEntry, AtcProbe};
use crate::function::{Accelerator, FirmwareNode, Injection, InjectionError};
use crate::function::{BusMaster, DeviceProbe, Wires};
use crate::pcie::bar::Bar;
use crate::pcie::capability::{read_registers, write_registers};
use crate::pcie::config::{self, ConfigSpace};
use crate::pcie::express::Express;
use crate::pcie::msix::MsiX;
use crate::pcie::pasid::Pasid;
use crate::pcie::{PciFunction, Slot};
use crate::state::AcceleratorState;
use crate::verdict::{DeviceAct, DoorbellWrite, Purpose};

/// The test engine. A Root Complex Integrated Endpoint, as [`Zip`](crate::hisi::Zip) is.
pub struct TestEngine {
    identity: Identity,
    wires: Rc<Wires>,
    master: Rc<Master>,
    engine: Rc<Engine>,
}

impl TestEngine {
    /// A function for `slot`. `atc_probe` is that of its translation cache, if it has one.
    ///
    /// # Panics
    /// If `config.queues` is not within 1 to 256.
    pub fn new(
        config: TestEngineConfig,
        slot: Slot,
        timeline: Timeline,
        probe: Rc<dyn DeviceProbe>,
        atc_probe: Rc<dyn AtcProbe>,
    ) -> Rc<TestEngine> {
        assert!(
            (1..=QUEUES_MAX).contains(&config.queues),
            "{} queues",
            config.queues
        );
        let windows = u64::from(config.queues).next_power_of_two();
        let mut space = ConfigSpace::new(config::Identity {
            vendor: VENDOR_ID,
            device: DEVICE_ID,
            revision: REVISION,
            class: CLASS,
            subsystem_vendor: VENDOR_ID,
            subsystem: DEVICE_ID,
        })
        .with_bar(REGISTER_BAR, Bar::memory64(REGISTER_BAR_BYTES))
        .with_bar(DOORBELL_BAR, Bar::memory64(windows * DOORBELL_WINDOW_BYTES))
        .with_capability(Express::integrated_endpoint().with_atomic_requester())
        .with_capability(MsiX::new(
            config.queues + 1,
            REGISTER_BAR,
            MSIX_TABLE,
            MSIX_PBA,
        ))
        .with_capability(Pasid::new(PASID_WIDTH));

        let mut translator = None;
        if let FaultMode::PageRequest { prefill } = config.fault {
            let (made, ats, pri) = Translator::new(&timeline, slot.dma.clone(), prefill, atc_probe);
            space = space.with_capability(ats).with_capability(pri);
            translator = Some(made);
        }
        let dma = match &translator {
            Some(translator) => translator.atc.clone(),
            None => slot.dma.clone(),
        };
        let bus = Rc::new(BusMaster::new(timeline, probe, dma));
        let wires = Wires::new(space, &slot, &bus);
        let master = Rc::new(Master::new(bus, translator));
        let engine = Engine::new(master.clone(), wires.clone(), config.queues);
        Rc::new(TestEngine {
            identity: Identity {
                queues: config.queues,
                fault: config.fault,
            },
            wires,
            master,
            engine,
        })
    }

    /// Raises an interrupt that nothing in the device gave cause for; no verdict is asked for. False if
    /// there is no such vector.
    pub(crate) fn inject_interrupt(&self, vector: u16) -> bool {
        let exists = vector <= self.identity.queues;
        if exists {
            self.wires.send(vector);
        }
        exists
    }

    /// A queue fails, for no reason of its own, with this number in STATUS: it stops, and vector 0 is
    /// raised. False if the queue is not enabled.
    pub(crate) fn inject_failure(&self, queue: u16, failure: u8) -> bool {
        self.engine.fail_queue(queue, failure)
    }

    /// Resets the function, as a function level reset does.
    pub(crate) fn inject_reset(&self) {
        self.flr();
        self.wires.update_master();
    }

    /// No descriptor is under way and no access in flight.
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }

    /// A doorbell arrives; it reaches its queue as a verdict has it.
    fn ring(&self, doorbell: Doorbell) {
        let (ring, queue, index) = match doorbell {
            Doorbell::Submit { queue, tail } => (Purpose::Submission, queue, tail),
            Doorbell::Take { queue, head } => (Purpose::Completion, queue, head),
        };
        let queue = Some(queue);
        let write = DoorbellWrite { ring, queue, index };
        let verdict = self.master.bus.probe.on_doorbell(&write);
        let engine = self.engine.clone();
        verdict.carry_out_often(&self.master.bus.timeline, move || match doorbell {
            Doorbell::Submit { queue, tail } => engine.submit(queue, tail),
            Doorbell::Take { queue, head } => engine.take(queue, head),
        });
    }

    fn flr(&self) {
        self.wires.reset();
        self.engine.reset();
    }
}

impl Accelerator for TestEngine {
    fn name(&self) -> &'static str {
        "test-engine"
    }

    fn state(&self) -> AcceleratorState {
        self.engine.state()
    }

    fn cached_translations(&self) -> Option<Vec<AtcEntry>> {
        self.master.cached_translations()
    }

    /// No kernel knows it, so it has no quirk of its own that lets it stall.
    fn firmware(&self) -> Option<FirmwareNode> {
        Some(FirmwareNode {
            vendor_id: super::VENDOR_ID,
            device_id: super::DEVICE_ID,
            can_stall: self.identity.fault == FaultMode::Stall,
        })
    }

    fn inject(&self, what: Injection) -> Result<(), InjectionError> {
        let must = |done: bool, error| done.then_some(()).ok_or(error);
        match what {
            Injection::Interrupt { vector } => {
                must(self.inject_interrupt(vector), InjectionError::NoVector)
            }
            Injection::Reset => {
                self.inject_reset();
                Ok(())
            }
            Injection::QueueFailure { queue, failure } => {
                must(self.inject_failure(queue, failure), InjectionError::NoQueue)
            }
            Injection::Events { .. } => Err(InjectionError::Unsupported(
                "the test engine has no rings of events",
            )),
            Injection::Errors { .. } => Err(InjectionError::Unsupported(
                "the test engine's errors are a queue's: queue, failure",
            )),
        }
    }
}

impl PciFunction for TestEngine {
    fn config_read(&self, offset: u16, data: &mut [u8]) -> Option<u64> {
        self.wires.config().read(offset, data)
    }

    fn config_write(&self, offset: u16, data: &[u8]) -> Option<u64> {
        self.wires.config_write(offset, data, || self.flr())
    }

    fn decoded_bars(&self) -> Vec<(u8, u64, u64)> {
        self.wires.config().decoded_bars()
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> Option<u64> {
        if self.wires.config().read_msix(bar, offset, data) {
            return None;
        }
        read_registers(offset, data, |register| match bar {
            REGISTER_BAR => regs::read(self.identity, &self.engine, register),
            DOORBELL_BAR => regs::read_page(self.identity, &self.engine, register),
            _ => None,
        })
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> Option<u64> {
        if bar == DOORBELL_BAR {
            if let Some(doorbell) = regs::write_page(offset, data) {
                self.ring(doorbell);
            }
            return write_registers(offset, data, |register, _, _| {
                regs::read_page(self.identity, &self.engine, register).is_some()
            });
        }
        if self.wires.write_msix(bar, offset, data) {
            return None;
        }
        if bar != REGISTER_BAR {
            return Some(offset & !3);
        }
        write_registers(offset, data, |register, value, enables| {
            let at = register as u32;
            let modelled = regs::read(self.identity, &self.engine, register).is_some();
            if self.master.bus.probe.on_register_write(at, value).act != DeviceAct::Go {
                return modelled;
            }
            match regs::write(&self.engine, register, value, enables) {
                Some(Request::Reset) => self.engine.reset(),
                Some(Request::Enable(queue)) => self.engine.enable(queue),
                Some(Request::Disable(queue)) => self.engine.disable(queue),
                None => {}
            }
            modelled
        })
    }
}

//! The PCIe function: configuration space, BARs, interrupts, reset.

use std::rc::{Rc, Weak};

use stallbox_timeline::Timeline;

use super::counters::Counters;
use super::master::{Alarm, Master};
use super::qm::{Doorbell, EventKind, InjectedEvents, Qm};
use super::regs::{Registers, Request};
use super::spec::*;
use super::zip::ZipEngine;
use super::{Revision, ZipConfig};
use crate::function::{Accelerator, Injection, InjectionError};
use crate::function::{BusMaster, DeviceNote, DeviceProbe, Wires};
use crate::pcie::bar::Bar;
use crate::pcie::capability::{read_registers, write_registers};
use crate::pcie::config::{ConfigSpace, Identity};
use crate::pcie::express::Express;
use crate::pcie::msi::Msi;
use crate::pcie::pasid::Pasid;
use crate::pcie::{PciFunction, Slot};
use crate::state::AcceleratorState;
use crate::verdict::{DeviceAct, Purpose};

/// The accelerator. A Root Complex Integrated Endpoint: on the root bus there is no bridge that
/// would have to vouch for its PASIDs (Linux: `pci_acs_path_enabled`).
pub struct Zip {
    revision: Revision,
    wires: Rc<Wires>,
    master: Rc<Master>,
    registers: Rc<Registers>,
    engine: Rc<ZipEngine>,
    qm: Rc<Qm>,
}

impl Alarm for Zip {
    fn refused(&self, purpose: Purpose, write: bool) {
        if self.registers.dma_refused(purpose == Purpose::Data, write) {
            self.wires.raise(VECTOR_ABNORMAL.into(), None);
        }
    }
}

impl Zip {
    /// A function for `slot`.
    ///
    /// # Panics
    /// If the numbers of queues and cores are not as [`ZipConfig`] has them.
    pub fn new(
        config: ZipConfig,
        slot: Slot,
        timeline: Timeline,
        probe: Rc<dyn DeviceProbe>,
    ) -> Rc<Zip> {
        assert!(
            (2..=1024).contains(&config.queues),
            "{} queues",
            config.queues
        );
        let cores = (config.compress_cores, config.decompress_cores);
        assert!(
            (1..=COMPRESS_CORES_MAX).contains(&cores.0)
                && (1..=DECOMPRESS_CORES_MAX).contains(&cores.1),
            "{cores:?} cores"
        );
        let mut space = ConfigSpace::new(Identity {
            vendor: VENDOR_ID,
            device: DEVICE_ID,
            revision: config.revision.id(),
            class: CLASS,
            subsystem_vendor: VENDOR_ID,
            subsystem: DEVICE_ID,
        })
        .with_bar(REGISTER_BAR, Bar::memory64(REGISTER_BAR_BYTES))
        .with_capability(Express::integrated_endpoint())
        .with_capability(Msi::new(MSI_VECTORS_LOG2))
        .with_capability(Pasid::new(PASID_WIDTH));
        if config.revision == Revision::V3 {
            let bytes = u64::from(config.queues).next_power_of_two() * DOORBELL_WINDOW_BYTES;
            space = space.with_bar(DOORBELL_BAR, Bar::memory64(bytes));
        }

        let counters = Rc::new(Counters::new(&timeline, config.cores()));
        let bus = Rc::new(BusMaster::new(timeline, probe, slot.dma.clone()));
        let wires = Wires::new(space, &slot, &bus);
        let master = Rc::new(Master::new(bus));
        let registers = Rc::new(Registers::new(&config, &counters, config.cores()));
        let engine = Rc::new(ZipEngine::new(
            master.clone(),
            registers.clone(),
            counters.clone(),
            &config,
        ));
        let qm = Qm::new(
            master.clone(),
            counters,
            wires.clone(),
            engine.clone(),
            config.queues,
            config.coalesce,
            // The commands exist wherever the revision has them, announced or not.
            config.revision == Revision::V3,
        );
        let zip = Rc::new(Zip {
            revision: config.revision,
            wires,
            master,
            registers,
            engine,
            qm,
        });
        let alarm: Weak<dyn Alarm> = Rc::<Zip>::downgrade(&zip);
        zip.master.set_alarm(alarm);
        zip
    }

    /// Sets abnormal events, bits as in the status registers 0x100008 and 0x3010ac, as if the
    /// hardware had found them. What the driver unmasked raises vector 3.
    pub(crate) fn set_errors(&self, qm: u32, zip: u32) {
        if self.registers.set_errors(qm, zip) {
            self.wires.raise(VECTOR_ABNORMAL.into(), None);
        }
    }

    /// Raises an interrupt that nothing in the device gave cause for; no verdict is asked for. False if
    /// there is no such vector.
    pub(crate) fn inject_interrupt(&self, vector: u16) -> bool {
        let exists = vector < 1 << MSI_VECTORS_LOG2;
        if exists {
            self.wires.send(vector);
        }
        exists
    }

    /// Writes entries of the ring of completion events or of that of failures, which nothing gave
    /// cause for, `count` alike. A ring that is too short for them overflows.
    pub(crate) fn inject_events(
        &self,
        failure: bool,
        queue: u16,
        kind: u8,
        count: u32,
    ) -> InjectedEvents {
        let ring = if failure {
            EventKind::Async
        } else {
            EventKind::Completion
        };
        self.qm.inject_events(ring, queue, kind, count)
    }

    /// Resets the function, as a function level reset does.
    pub(crate) fn inject_reset(&self) {
        self.reset();
        self.wires.update_master();
    }

    /// No job is under way and no transaction in flight.
    pub fn is_idle(&self) -> bool {
        self.qm.is_idle() && self.master.bus.is_idle()
    }

    fn reset(&self) {
        self.wires.reset();
        self.registers.reset();
        self.engine.reset();
        self.master.set_stopped(false);
        self.qm.reset();
        self.master.bus.note(DeviceNote::Reset);
    }

    /// Whether doorbells are written here.
    fn is_doorbell(&self, bar: u8, offset: u64) -> bool {
        match (bar, self.revision) {
            (REGISTER_BAR, _) if offset == DOORBELL_EQ_AEQ => true,
            (REGISTER_BAR, Revision::V2) => offset == DOORBELL_SQ_CQ,
            (DOORBELL_BAR, Revision::V3) => {
                offset % DOORBELL_WINDOW_BYTES == DOORBELL_SQ_CQ
                    && u16::try_from(offset / DOORBELL_WINDOW_BYTES).is_ok()
            }
            _ => false,
        }
    }

    /// A doorbell arrives; it reaches the queues as a verdict has it.
    fn ring(&self, doorbell: Doorbell, arrives: impl Fn(&Rc<Qm>) + 'static) {
        let Some(write) = doorbell.write() else {
            return arrives(&self.qm);
        };
        let verdict = self.master.bus.probe.on_doorbell(&write);
        let qm = self.qm.clone();
        verdict.carry_out_often(&self.master.bus.timeline, move || arrives(&qm));
    }

    fn register_read(&self, register: u32) -> u32 {
        match register {
            EQ_SOURCE => self.qm.event_pending(EventKind::Completion).into(),
            AEQ_SOURCE => self.qm.event_pending(EventKind::Async).into(),
            EQ_MASK => self.qm.event_masked(EventKind::Completion).into(),
            AEQ_MASK => self.qm.event_masked(EventKind::Async).into(),
            FUNCTIONS_ACTIVE => (!self.qm.is_idle()).into(),
            IDLE_STATUS => self.is_idle().into(),
            MASTER_RETURNED if self.master.is_quiet() => MASTER_RETURNED_ALL,
            MASTER_RETURNED => 0,
            _ if Qm::owns_vft(register) => self.qm.vft_read(register),
            _ => self.registers.read(register),
        }
    }

    fn register_write(&self, register: u32, value: u32, enables: u32) {
        let verdict = self.master.bus.probe.on_register_write(register, value);
        if verdict.act != DeviceAct::Go {
            return;
        }
        match register {
            EQ_MASK if enables & 1 != 0 => {
                self.qm
                    .set_event_masked(EventKind::Completion, value & 1 != 0);
            }
            AEQ_MASK if enables & 1 != 0 => {
                self.qm.set_event_masked(EventKind::Async, value & 1 != 0);
            }
            EQ_MASK | AEQ_MASK => {}
            _ if Qm::owns_vft(register) => {
                let merged = self.qm.vft_read(register) & !enables | value & enables;
                self.qm.vft_write(register, merged);
            }
            _ => match self.registers.write(register, value, enables) {
                Some(Request::RaiseAbnormal) => self.wires.raise(VECTOR_ABNORMAL.into(), None),
                Some(Request::InitializeMemory) => {
                    self.engine.reset();
                    self.qm.reset();
                }
                Some(Request::StopMaster(stopped)) => self.master.set_stopped(stopped),
                None => {}
            },
        }
    }
}

impl Accelerator for Zip {
    fn name(&self) -> &'static str {
        "zip"
    }

    fn state(&self) -> AcceleratorState {
        self.qm
            .state(|enabled| self.engine.reads_with_pasid(enabled))
    }

    fn inject(&self, what: Injection) -> Result<(), InjectionError> {
        match what {
            Injection::Interrupt { vector } if !self.inject_interrupt(vector) => {
                return Err(InjectionError::NoVector);
            }
            Injection::Interrupt { .. } => {}
            Injection::Reset => self.inject_reset(),
            Injection::Events {
                failures,
                queue,
                kind,
                count,
            } => match self.inject_events(failures, queue, kind, count) {
                InjectedEvents::Taken => {}
                InjectedEvents::NoRing => return Err(InjectionError::NoRing),
                InjectedEvents::Overflow { taken } => {
                    return Err(InjectionError::Overflow { taken });
                }
            },
            Injection::Errors { qm, zip } => self.set_errors(qm, zip),
            Injection::QueueFailure { .. } => {
                let has = "the ZIP's errors are bits: qm, zip";
                return Err(InjectionError::Unsupported(has));
            }
        }
        Ok(())
    }
}

impl PciFunction for Zip {
    fn config_read(&self, offset: u16, data: &mut [u8]) -> Option<u64> {
        self.wires.config().read(offset, data)
    }

    fn config_write(&self, offset: u16, data: &[u8]) -> Option<u64> {
        self.wires.config_write(offset, data, || self.reset())
    }

    fn decoded_bars(&self) -> Vec<(u8, u64, u64)> {
        self.wires.config().decoded_bars()
    }

    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]) -> Option<u64> {
        data.fill(0);
        if self.is_doorbell(bar, offset) {
            // Write-only.
            return None;
        }
        if bar != REGISTER_BAR {
            return Some(offset & !3);
        }
        if (MAILBOX..MAILBOX_END).contains(&offset) {
            self.qm.mailbox_read((offset - MAILBOX) as usize, data);
            return None;
        }
        read_registers(offset, data, |register| {
            let register = u32::try_from(register).ok()?;
            self.registers
                .is_modelled(register, false)
                .then(|| self.register_read(register))
        })
    }

    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]) -> Option<u64> {
        if self.is_doorbell(bar, offset) {
            // It is one 64-bit write; anything else at its address is not one.
            if let Ok(raw) = <[u8; 8]>::try_from(data) {
                let doorbell = Doorbell::from(u64::from_le_bytes(raw));
                match (bar, offset) {
                    (REGISTER_BAR, DOORBELL_EQ_AEQ) => {
                        self.ring(doorbell, move |qm| qm.event_doorbell(doorbell));
                    }
                    (REGISTER_BAR, _) => {
                        self.ring(doorbell, move |qm| qm.doorbell(None, doorbell));
                    }
                    _ => {
                        let window = (offset / DOORBELL_WINDOW_BYTES) as u16;
                        self.ring(doorbell, move |qm| qm.doorbell(Some(window), doorbell));
                    }
                }
            }
            return None;
        }
        if bar != REGISTER_BAR {
            return Some(offset & !3);
        }
        if (MAILBOX..MAILBOX_END).contains(&offset) {
            self.qm.mailbox_write((offset - MAILBOX) as usize, data);
            return None;
        }
        write_registers(offset, data, |register, value, enables| {
            let Ok(register) = u32::try_from(register) else {
                return false;
            };
            self.register_write(register, value, enables);
            self.registers.is_modelled(register, true)
        })
    }
}

//! Arm GICv3: distributor, redistributors, CPU interfaces and an ITS.
//!
//! IHI 0069 H.b. What is there: one Security state, affinity routing, SPIs, SGIs and PPIs, LPIs
//! through one ITS with its tables in guest memory, five priority bits, groups 0 (FIQ) and 1 (IRQ).
//! What is deliberately absent: GICv2 compatibility, two Security states, 1-of-N routing, message
//! based SPIs, direct LPIs, extended SPI and PPI ranges, virtualization (GICv4).
//!
//! Everything takes effect at once: commands are done when `GITS_CWRITER` has been written, and
//! the RWP and Busy bits always read zero. DEVIATION: none of it takes time on the timeline.

mod access;
mod bank;
mod cpu_interface;
mod distributor;
mod its;
mod lpi;
mod redistributor;
mod spec;
mod state;
mod view;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use access::Write;
use its::Ran;
use spec::{FIRST_LPI, FIRST_SPI, FRAME_BYTES, INTID_BITS, REDISTRIBUTOR_BYTES};
use stallbox_timeline::Timeline;
use state::{Signals, State};

use crate::GuestRam;
use crate::irq::IrqLine;
use crate::mmio::{MmioDevice, Unmodelled};

pub use spec::{icc, sysreg};
pub use view::{CpuInterrupts, InterruptState};

/// Most CPUs that can be had: the eight of one `Aff0` group that Stallbox runs.
pub const MAX_CPUS: usize = 8;

/// Size of the distributor's registers.
pub const DISTRIBUTOR_BYTES: u64 = FRAME_BYTES;
/// Size of the ITS's registers: control frame and translation frame.
pub const ITS_BYTES: u64 = 2 * FRAME_BYTES;
/// Where a device writes an EventID, from the start of the ITS's registers.
pub const ITS_TRANSLATER: u64 = FRAME_BYTES + 0x40;

/// How big a GIC is.
pub struct GicConfig {
    /// CPUs, 1 to [`MAX_CPUS`]. CPU n has the affinity 0.0.0.n.
    pub cpus: usize,
    /// SPIs, a multiple of 32 up to 960; they are the INTIDs from 32 on.
    pub spis: u32,
    /// Bits of an INTID as far as LPIs go, 14 to 16: LPIs are 8192 to 2^bits - 1.
    pub lpi_id_bits: u32,
    /// Where the LPI and ITS tables live.
    pub ram: GuestRam,
    /// Whose driver may be needed elsewhere while the ITS has many commands to do. They go on before
    /// anything else then.
    pub timeline: Timeline,
}

/// The interrupt controller. Clones share it.
#[derive(Clone)]
pub struct Gic(Rc<Shared>);

/// Called with the number of a CPU whose signals have changed.
type Listener = Rc<dyn Fn(usize)>;

struct Shared {
    state: RefCell<State>,
    /// What the CPUs see, kept up to date with every change: looking must be cheap.
    signals: Vec<Cell<Signals>>,
    on_change: RefCell<Option<Listener>>,
    timeline: Timeline,
}

impl Shared {
    /// Does the ITS's commands, now or before anything else is done.
    fn run_its(self: &Rc<Self>) {
        // CPUs see what all of them come to: a look in between must not be told from none.
        let ran = self.state.borrow_mut().run_its();
        match ran {
            Ran::Nothing => {}
            Ran::All => self.change(|_| ()),
            Ran::Some => {
                let shared = self.clone();
                self.timeline.leave(move || shared.run_its());
            }
        }
    }

    /// Changes the state, brings the CPUs' signals up to date and tells of those that changed. The
    /// listener is called with nothing borrowed: it may come back.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.borrow_mut();
        let result = change(&mut state);
        let mut changed = 0_u32;
        state.refresh(|cpu, signals| {
            if self.signals[cpu].replace(signals) != signals {
                changed |= 1 << cpu;
            }
        });
        drop(state);
        if changed != 0 {
            let listener = self.on_change.borrow().clone();
            if let Some(listener) = listener {
                (0..MAX_CPUS)
                    .filter(|cpu| changed >> cpu & 1 != 0)
                    .for_each(|cpu| listener(cpu));
            }
        }
        result
    }
}

impl Gic {
    /// A GIC as firmware leaves it: after reset, with its redistributors awake.
    ///
    /// # Panics
    ///
    /// If the configuration is outside the limits that [`GicConfig`] names.
    pub fn new(config: GicConfig) -> Gic {
        assert!(
            (1..=MAX_CPUS).contains(&config.cpus),
            "{} CPUs",
            config.cpus
        );
        assert!(
            config.spis <= 960 && config.spis.is_multiple_of(32),
            "{} SPIs",
            config.spis
        );
        assert!(
            config.lpi_id_bits <= INTID_BITS && 1 << config.lpi_id_bits > FIRST_LPI,
            "{} LPI bits",
            config.lpi_id_bits
        );
        Gic(Rc::new(Shared {
            signals: vec![Cell::default(); config.cpus],
            state: RefCell::new(State::new(&config)),
            on_change: RefCell::new(None),
            timeline: config.timeline,
        }))
    }

    /// The distributor's registers, [`DISTRIBUTOR_BYTES`] long.
    pub fn distributor(&self) -> Rc<dyn MmioDevice> {
        Rc::new(DistributorRegisters(self.0.clone()))
    }

    /// All redistributors' registers, one after the other, [`Gic::redistributors_bytes`] long.
    pub fn redistributors(&self) -> Rc<dyn MmioDevice> {
        Rc::new(RedistributorRegisters(self.0.clone()))
    }

    /// Size of the redistributors' registers: 128 KiB a CPU.
    pub fn redistributors_bytes(&self) -> u64 {
        self.0.signals.len() as u64 * REDISTRIBUTOR_BYTES
    }

    /// The ITS's registers, [`ITS_BYTES`] long.
    pub fn its(&self) -> Rc<dyn MmioDevice> {
        Rc::new(ItsRegisters(self.0.clone()))
    }

    /// The wire of a shared interrupt.
    ///
    /// # Panics
    ///
    /// If there is no such SPI.
    pub fn spi(&self, intid: u32) -> Rc<dyn IrqLine> {
        let spis = self.0.state.borrow().distributor.spis.len();
        assert!(
            (FIRST_SPI..FIRST_SPI + spis).contains(&intid),
            "INTID {intid} is not an SPI"
        );
        Rc::new(Spi {
            gic: self.0.clone(),
            intid,
        })
    }

    /// The wire of a private interrupt of one CPU.
    ///
    /// # Panics
    ///
    /// If there is no such CPU or PPI.
    pub fn ppi(&self, cpu: usize, intid: u32) -> Rc<dyn IrqLine> {
        assert!(cpu < self.0.signals.len(), "there is no CPU {cpu}");
        assert!(
            (16..FIRST_SPI).contains(&intid),
            "INTID {intid} is not a PPI"
        );
        Rc::new(Ppi {
            gic: self.0.clone(),
            cpu,
            intid,
        })
    }

    /// A device's write of `event_id` to `GITS_TRANSLATER`; `device_id` is its requester id.
    pub fn msi(&self, device_id: u32, event_id: u32) {
        self.0.change(|state| state.message(device_id, event_id));
    }

    /// Reads a system register of the CPU interface, named by its packed encoding (see
    /// [`sysreg`]). `None`: the access is UNDEFINED.
    pub fn sysreg_read(&self, cpu: usize, register: u16) -> Option<u64> {
        self.0.change(|state| state.sysreg_read(cpu, register))
    }

    /// Writes a system register of the CPU interface. `None`: the access is UNDEFINED.
    pub fn sysreg_write(&self, cpu: usize, register: u16, value: u64) -> Option<()> {
        self.0
            .change(|state| state.sysreg_write(cpu, register, value))
    }

    /// Wakes a CPU's redistributor (`GICR_WAKER`), as firmware does when it switches the CPU on.
    pub fn wake(&self, cpu: usize) {
        self.0.change(|state| state.wake(cpu));
    }

    /// Whether a group 1 interrupt is signalled to `cpu`.
    pub fn irq(&self, cpu: usize) -> bool {
        self.0
            .signals
            .get(cpu)
            .is_some_and(|signals| signals.get().irq)
    }

    /// Whether a group 0 interrupt is signalled to `cpu`.
    pub fn fiq(&self, cpu: usize) -> bool {
        self.0
            .signals
            .get(cpu)
            .is_some_and(|signals| signals.get().fiq)
    }

    /// Calls `listener` with a CPU's number whenever [`Gic::irq`] or [`Gic::fiq`] of it has
    /// changed. There is one listener; a second replaces the first.
    pub fn on_change(&self, listener: Rc<dyn Fn(usize)>) {
        *self.0.on_change.borrow_mut() = Some(listener);
    }
}

struct Spi {
    gic: Rc<Shared>,
    intid: u32,
}

impl IrqLine for Spi {
    fn set(&self, asserted: bool) {
        self.gic.change(|state| state.set_spi(self.intid, asserted));
    }
}

struct Ppi {
    gic: Rc<Shared>,
    cpu: usize,
    intid: u32,
}

impl IrqLine for Ppi {
    fn set(&self, asserted: bool) {
        self.gic
            .change(|state| state.set_ppi(self.cpu, self.intid, asserted));
    }
}

struct DistributorRegisters(Rc<Shared>);

impl MmioDevice for DistributorRegisters {
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        let state = self.0.state.borrow();
        access::read(offset, data, |offset| state.distributor.read(offset))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        self.0.change(|state| {
            access::write(
                offset,
                data,
                |Write {
                     offset,
                     value,
                     mask,
                 }| {
                    state.write_distributor(offset, value, mask);
                    state.distributor.read(offset).is_some()
                },
            )
        })
    }
}

struct RedistributorRegisters(Rc<Shared>);

impl MmioDevice for RedistributorRegisters {
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        let state = self.0.state.borrow();
        access::read(offset, data, |offset| {
            let cpu = (offset / REDISTRIBUTOR_BYTES) as usize;
            let redistributor = state.redistributors.get(cpu);
            redistributor?.read(offset % REDISTRIBUTOR_BYTES)
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        self.0.change(|state| {
            access::write(
                offset,
                data,
                |Write {
                     offset,
                     value,
                     mask,
                 }| { state.write_redistributor(offset, value, mask) },
            )
        })
    }
}

struct ItsRegisters(Rc<Shared>);

impl MmioDevice for ItsRegisters {
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        let state = self.0.state.borrow();
        access::read(offset, data, |offset| state.its.read(offset))
    }

    /// `GITS_TRANSLATER` is not among these registers: a CPU's write carries no DeviceID and is
    /// dropped. Devices use [`Gic::msi`].
    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        access::write(offset, data, |Write { offset, value, .. }| {
            let modelled = self.0.state.borrow().its.read(offset).is_some();
            let shared = self.0.clone();
            self.0.timeline.afterwards(move || {
                let runs = shared.state.borrow_mut().its.write(offset, value);
                if runs {
                    shared.run_its();
                }
            });
            modelled
        })
    }
}

//! Assembly: the world that an engine drives.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;
use std::rc::Rc;

use anyhow::Result;
use stallbox_devices::GuestRam;
use stallbox_devices::hisi;
use stallbox_devices::mmio::MmioDevice;
use stallbox_devices::pcie::host::{HostBridge, HostConfig};
use stallbox_devices::pcie::{RequesterId, Slot};
use stallbox_devices::rtc::Rtc;
use stallbox_devices::serial::Serial;
use stallbox_firmware::layout::{self, Region, spi};
use stallbox_smmu::Smmu;
use stallbox_timeline::{Progress, Time, Timeline};
use stallbox_trace::{Block, Tracer};
use vm_device::bus::{Bus, BusRange, MmioAddress};

use crate::accelerator_probe::AcceleratorProbe;
use crate::check::{Checkers, SymbolSource};
use crate::config::{Ats, MachineConfig};
use crate::latency::Latency;
use crate::outcome::Outcome;
use crate::unmodelled::{Access, UnmodelledRegisters};
use crate::{
    Console, Control, Devices, Faults, InterruptController, Pause, ats, console, control, dma,
    memory, probe, smmu,
};

/// Where the accelerator sits: a Root Complex Integrated Endpoint, alone in its IOMMU group.
pub const ACCELERATOR: RequesterId = RequesterId(1 << 3);
/// Where the test engine sits: like the accelerator, and alone in a group too.
pub const TEST_ENGINE: RequesterId = RequesterId(2 << 3);
/// The SMMU's own DeviceID at the ITS: the last requester ID, where no function sits. One above all of
/// them would be more than a kernel's ITS knows (VITS_TYPER_DEVBITS is 16 in KVM).
pub const SMMU_DEVICE_ID: u32 = 0xffff;
/// SPIs of the interrupt controller, whoever models it.
pub const SPIS: u32 = 64;

/// What an engine brings to a world.
pub struct Platform {
    /// The clock that the engine moves: virtual time, or the host's.
    pub timeline: Timeline,
    /// The guest's RAM, from [`layout::RAM_BASE`] on.
    pub ram: GuestRam,
    /// The interrupt controller that belongs to the engine's CPUs.
    pub interrupts: Rc<dyn InterruptController>,
    /// Width in bits of a physical address of the engine's CPUs (ID_AA64MMFR0_EL1.PARange).
    pub physical_bits: u32,
    /// What the real-time clock shows at the timeline's zero, in seconds since 1970.
    pub epoch_seconds: u32,
}

/// Everything that is neither a CPU nor bound up with one (interrupt controller, timers). It stays
/// on the thread that made it.
///
/// It owns what is in it. What its parts know of each other beyond that they hold as `Weak`, so that
/// nothing outlives it: RAM is the host's again once world and engine are dropped.
pub struct World {
    /// The time that the devices see.
    pub timeline: Timeline,
    /// The guest's RAM, from [`layout::RAM_BASE`] on.
    pub ram: GuestRam,
    /// The trace.
    pub tracer: Tracer,
    /// The SMMU.
    pub smmu: Smmu,
    /// Where devices are found.
    pub devices: Rc<Devices>,
    /// Whether it stands still.
    pub pause: Rc<Pause>,
    /// The fault plan.
    pub faults: Rc<Faults>,
    /// The checkers that are on.
    pub checkers: Rc<Checkers>,
    /// ttyS0.
    pub console: Rc<Console>,
    /// ttyS0's input side.
    pub console_port: Rc<Serial>,
    /// ttyS1: what the guest's init tells.
    pub control: Rc<Control>,
    /// The guest kernel's symbols, for backtraces.
    pub symbols: SymbolSource,
    latency: Rc<Latency>,
    /// The seed of draws from here on, until the engine has taken it.
    reseeded: Cell<Option<u64>>,
    interrupts: Rc<dyn InterruptController>,
    mmio: Bus<MmioAddress, Mapped>,
    unmodelled: UnmodelledRegisters,
    /// How far all vCPUs are.
    present: Cell<Time>,
    /// An access set something going that was interrupted.
    unfinished: Cell<bool>,
    /// Writes that came after it, of the same instruction.
    later: RefCell<VecDeque<LateWrite>>,
    /// Where functions that keep translations are found, if the machine offers ATS.
    functions: Option<Rc<ats::Functions>>,
}

/// A CPU's write that has to wait for what an earlier one set going.
struct LateWrite {
    now: Time,
    address: u64,
    data: Vec<u8>,
}

/// A block of registers on the CPUs' bus.
#[derive(Clone)]
struct Mapped {
    name: Block,
    device: Rc<dyn MmioDevice>,
}

impl World {
    /// Builds the machine on what an engine brings. `console` gets the guest's console output,
    /// `trace` the events.
    pub fn new(
        config: &MachineConfig,
        platform: Platform,
        console: Option<Box<dyn Write>>,
        trace: Option<Box<dyn Write>>,
    ) -> Result<World> {
        let Platform {
            timeline,
            ram,
            interrupts,
            physical_bits,
            epoch_seconds,
        } = platform;
        let tracer = Tracer::new(timeline.clone(), trace);
        let latency = Rc::new(config.latency.sampler(config.seed));
        let pause = Rc::<Pause>::default();
        let faults = Faults::new(&config.plan, config.seed, &timeline, &tracer, &pause);
        let memory = memory::Physical::new(ram.clone(), interrupts.clone(), tracer.clone());
        let checkers = Checkers::new(
            &config.check,
            config.symbols.clone(),
            &timeline,
            &tracer,
            &ram,
        );
        let probe = probe::SmmuProbe::new(
            latency.clone(),
            tracer.clone(),
            faults.clone(),
            checkers.clone(),
        );
        let smmu = smmu::build(
            config,
            physical_bits,
            &timeline,
            &memory,
            &*interrupts,
            probe,
        )?;

        let functions = (config.ats() != Ats::Off).then(Rc::<ats::Functions>::default);
        if let Some(functions) = &functions {
            smmu.connect(functions.clone());
        }

        let console = Console::new(console, tracer.clone());
        let line = interrupts.spi(spi::intid(spi::SERIAL0));
        let mut world = World {
            console_port: Rc::new(Serial::new(line, Box::new(console::Port(console.clone())))),
            console,
            control: Control::new(
                tracer.clone(),
                faults.clone(),
                pause.clone(),
                timeline.yield_request().clone(),
            ),
            faults,
            checkers,
            timeline,
            ram,
            tracer,
            devices: Rc::new(Devices::new(smmu.clone())),
            smmu,
            pause,
            symbols: SymbolSource::default(),
            latency: latency.clone(),
            reseeded: Cell::default(),
            interrupts,
            mmio: Bus::new(),
            unmodelled: UnmodelledRegisters::default(),
            present: Cell::default(),
            unfinished: Cell::default(),
            later: RefCell::default(),
            functions,
        };
        world.plug_board(epoch_seconds);
        world.plug_pcie(config, &memory, &latency);
        Ok(world)
    }

    /// Puts a device on the CPUs' bus, by its name. An engine does so with what it models
    /// itself.
    pub fn map(&mut self, name: Block, region: Region, device: Rc<dyn MmioDevice>) {
        let range = BusRange::new(MmioAddress(region.base), region.bytes)
            .expect("the memory map has no empty or wrapping block");
        self.mmio
            .register(range, Mapped { name, device })
            .expect("the memory map's blocks do not overlap");
    }

    fn plug_board(&mut self, epoch_seconds: u32) {
        let line = |spi| self.interrupts.spi(spi::intid(spi));
        let control = Rc::new(Serial::new(
            line(spi::SERIAL1),
            Box::new(control::Port(self.control.clone())),
        ));
        let rtc = Rc::new(Rtc::new(&self.timeline, line(spi::RTC), epoch_seconds));
        self.map(Block::Serial0, layout::SERIAL0, self.console_port.clone());
        self.map(Block::Serial1, layout::SERIAL1, control);
        self.map(Block::Rtc, layout::RTC, rtc);
        let registers = smmu::Registers(self.smmu.clone());
        self.map(Block::Smmu, layout::SMMU, Rc::new(registers));
    }

    /// The way of the function at `requester` to memory.
    pub(crate) fn port(
        &self,
        requester: RequesterId,
        memory: &Rc<memory::Physical>,
        latency: &Rc<Latency>,
    ) -> Rc<dma::SmmuPort> {
        Rc::new(dma::SmmuPort::new(
            requester,
            self.smmu.clone(),
            memory.clone(),
            self.timeline.clone(),
            latency.clone(),
            self.tracer.clone(),
            self.functions.clone(),
        ))
    }

    fn plug_pcie(
        &mut self,
        config: &MachineConfig,
        memory: &Rc<memory::Physical>,
        latency: &Rc<Latency>,
    ) {
        let window = |region: Region| region.base..=region.end() - 1;
        let bridge = HostBridge::new(HostConfig {
            last_bus: layout::PCI_LAST_BUS,
            windows: vec![window(layout::PCI_MEMORY_32), window(layout::PCI_MEMORY_64)],
        });
        if let Some(accelerator) = config.accelerator {
            let slot = Slot {
                requester: ACCELERATOR,
                dma: self.port(ACCELERATOR, memory, latency),
            };
            let zip = hisi::Zip::new(
                accelerator,
                slot,
                self.timeline.clone(),
                Rc::new(AcceleratorProbe::new(
                    ACCELERATOR,
                    latency.clone(),
                    self.tracer.clone(),
                    self.faults.clone(),
                    self.checkers.clone(),
                )),
            );
            bridge.plug(ACCELERATOR, zip.clone());
            self.devices.plug(ACCELERATOR.0.into(), zip);
        }
        if let Some(engine) = config.test_engine {
            let engine = self.plug_test_engine(engine, &bridge, memory, latency);
            self.devices.plug(TEST_ENGINE.0.into(), engine);
        }
        let points = self.checkers.attach(&self.devices);
        self.faults.attach(&self.devices, points);
        self.map(Block::PcieEcam, layout::PCI_ECAM, bridge.ecam());
        for (range, device) in bridge.windows() {
            let region = Region {
                base: *range.start(),
                bytes: range.end() - range.start() + 1,
            };
            self.map(Block::PcieWindow, region, device);
        }
    }

    /// From now on latencies and the fault plan draw as they do from the beginning with `seed`. The engine
    /// learns of it by [`World::take_reseeded`].
    pub fn reseed(&self, seed: u64) {
        self.latency.reseed(seed);
        self.faults.player().reseed(seed);
        self.reseeded.set(Some(seed));
    }

    /// The seed that the engine's own draws are to go on with, once after each [`World::reseed`].
    pub fn take_reseeded(&self) -> Option<u64> {
        self.reseeded.take()
    }

    /// The machine's present: all vCPUs that run are there, or past it, and so are the devices.
    pub fn now(&self) -> Time {
        self.present.get().max(self.timeline.now())
    }

    /// An engine whose vCPUs have clocks of their own tells how far the last of them is.
    pub fn set_present(&self, present: Time) {
        self.present.set(present);
    }

    /// A CPU's read of device registers at `now`; false if nothing answers there.
    pub fn read_device(&self, now: Time, address: u64, data: &mut [u8]) -> bool {
        let Some((range, block)) = self.mmio.device(MmioAddress(address)) else {
            return false;
        };
        // Reads set nothing going that takes long, and no instruction reads after it has written.
        while self.go_on() == Progress::Interrupted {}
        self.timeline.set_now(now);
        if let Some(register) = block.device.read(address - range.base().0, data) {
            self.unmodelled
                .met(&self.tracer, block.name, register, &Access::Read(data));
        }
        self.settle();
        true
    }

    /// Does what an access set going.
    fn settle(&self) {
        let progress = self.timeline.try_run_ready();
        self.unfinished.set(progress == Progress::Interrupted);
    }

    /// A CPU's write to device registers at `now`; false if nothing answers there. What it sets going
    /// may be interrupted, which [`World::is_unfinished`] tells.
    pub fn write_device(&self, now: Time, address: u64, data: &[u8]) -> bool {
        let Some((range, block)) = self.mmio.device(MmioAddress(address)) else {
            return false;
        };
        if self.unfinished.get() {
            self.later.borrow_mut().push_back(LateWrite {
                now,
                address,
                data: data.to_vec(),
            });
            return true;
        }
        self.timeline.set_now(now);
        if let Some(register) = block.device.write(address - range.base().0, data) {
            self.unmodelled
                .met(&self.tracer, block.name, register, &Access::Write(data));
        }
        self.settle();
        true
    }

    /// Whether what the guest prints, or the trace, cannot be written any more.
    pub fn is_unheard(&self) -> bool {
        self.console.has_failed() || self.tracer.has_failed()
    }

    /// Whether what CPUs' accesses set going was interrupted. Nothing else may happen in the machine
    /// until [`World::go_on`] says that it is done.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.get()
    }

    /// Goes on with what was interrupted, until the next interruption.
    pub fn go_on(&self) -> Progress {
        loop {
            if self.unfinished.get() {
                self.settle();
                if self.unfinished.get() {
                    return Progress::Interrupted;
                }
            }
            let late = self.later.borrow_mut().pop_front();
            let Some(write) = late else {
                return Progress::Done;
            };
            self.write_device(write.now, write.address, &write.data);
        }
    }

    /// How a run ended: what the guest said of its end counts for more than how its vCPUs stopped.
    pub fn concluded(&self, outcome: Outcome) -> Outcome {
        match self.control.exit() {
            Some(status) => Outcome::Command(status),
            None if self.console.panicked() => Outcome::Panic,
            None => outcome,
        }
    }
}

impl Drop for World {
    /// Tasks and callbacks hold devices, and devices the timeline.
    fn drop(&mut self) {
        self.timeline.clear();
    }
}

//! Assembly: the world that an engine drives.

mod console;
mod control;
mod dma;
mod memory;
mod probe;
mod smmu;

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;

use anyhow::{Context, Result};
use stallbox_devices::GuestRam;
use stallbox_devices::gic::{Gic, GicConfig, ITS_BYTES};
use stallbox_devices::hisi;
use stallbox_devices::mmio::MmioDevice;
use stallbox_devices::pcie::host::{HostBridge, HostConfig};
use stallbox_devices::pcie::{RequesterId, Slot};
use stallbox_devices::rtc::Rtc;
use stallbox_devices::serial::Serial;
use stallbox_devices::timer::{TimerLines, Timers};
use stallbox_firmware::layout::{self, Region, spi};
use stallbox_smmu::Smmu;
use stallbox_timeline::{Time, Timeline};
use stallbox_trace::Tracer;
use vm_device::bus::{Bus, BusRange, MmioAddress};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::config::{MachineConfig, Revision};
use crate::latency::Latency;
pub use console::Console;
pub use control::Control;

/// The counter's frequency: a tick a nanosecond, so that the guest can measure what the trace says.
pub const COUNTER_HZ: u32 = 1_000_000_000;
/// Where the accelerator sits: a Root Complex Integrated Endpoint, alone in its IOMMU group.
const ACCELERATOR: RequesterId = RequesterId(1 << 3);
/// The SMMU's own DeviceID at the ITS: above every requester ID.
pub(crate) const SMMU_DEVICE_ID: u32 = 0x1_0000;
/// SPIs of the distributor.
const SPIS: u32 = 64;
/// 2026-01-01T00:00:00Z: when every guest starts.
const EPOCH_SECONDS: u32 = 1_767_225_600;

/// Everything that is not a CPU. It stays on the thread that made it.
pub struct World {
    /// Virtual time.
    pub timeline: Timeline,
    /// The guest's RAM, from [`layout::RAM_BASE`] on.
    pub ram: GuestRam,
    /// The interrupt controller.
    pub gic: Gic,
    /// The CPUs' timers.
    pub timers: Timers,
    /// The trace.
    pub tracer: Tracer,
    /// The SMMU.
    pub smmu: Smmu,
    /// ttyS0.
    pub console: Rc<Console>,
    /// ttyS0's input side.
    pub console_port: Rc<Serial>,
    /// ttyS1: what the guest's init tells.
    pub control: Rc<Control>,
    mmio: Bus<MmioAddress, Rc<dyn MmioDevice>>,
    /// Whether interrupt inputs of a CPU changed since the engine last looked.
    signalled: Rc<Cell<bool>>,
}

impl World {
    /// Builds the machine. `console` gets the guest's console output, `trace` the events.
    pub fn new(
        config: &MachineConfig,
        console: Option<Box<dyn Write>>,
        trace: Option<Box<dyn Write>>,
    ) -> Result<World> {
        let timeline = Timeline::new();
        let tracer = Tracer::new(timeline.clone(), trace);
        let latency = Rc::new(config.latency.sampler(config.seed));
        let ram = allocate(config.memory_bytes)?;
        let gic = Gic::new(GicConfig {
            cpus: config.cpus.into(),
            spis: SPIS,
            lpi_id_bits: 16,
            ram: ram.clone(),
        });
        let lines = (0..usize::from(config.cpus))
            .map(|cpu| TimerLines {
                virtual_timer: gic.ppi(cpu, layout::timer_intid::VIRTUAL),
                physical_timer: gic.ppi(cpu, layout::timer_intid::PHYSICAL),
            })
            .collect();
        let timers = Timers::new(timeline.clone(), COUNTER_HZ, lines);
        let memory = memory::Physical::new(ram.clone(), gic.clone(), tracer.clone());
        let smmu = smmu::build(config, &timeline, &memory, &gic, &latency, &tracer)?;

        let console = Console::new(console, tracer.clone());
        let line = gic.spi(spi::intid(spi::SERIAL0));
        let mut world = World {
            console_port: Rc::new(Serial::new(line, Box::new(console::Port(console.clone())))),
            console,
            control: Control::new(tracer.clone()),
            timeline,
            ram,
            gic,
            timers,
            tracer,
            smmu,
            mmio: Bus::new(),
            signalled: Rc::default(),
        };
        let signalled = world.signalled.clone();
        world
            .gic
            .on_change(Rc::new(move |_cpu| signalled.set(true)));
        world.plug_interrupt_controller();
        world.plug_board();
        world.plug_pcie(config, &memory, &latency);
        Ok(world)
    }

    fn map(&mut self, region: Region, device: Rc<dyn MmioDevice>) {
        let range = BusRange::new(MmioAddress(region.base), region.bytes)
            .expect("the memory map has no empty or wrapping block");
        self.mmio
            .register(range, device)
            .expect("the memory map's blocks do not overlap");
    }

    fn plug_interrupt_controller(&mut self) {
        self.map(layout::GIC_DISTRIBUTOR, self.gic.distributor());
        let bytes = self.gic.redistributors_bytes();
        self.map(
            Region {
                base: layout::GIC_REDISTRIBUTORS_BASE,
                bytes,
            },
            self.gic.redistributors(),
        );
        debug_assert_eq!(layout::GIC_ITS.bytes, ITS_BYTES);
        self.map(layout::GIC_ITS, self.gic.its());
    }

    fn plug_board(&mut self) {
        let line = |spi| self.gic.spi(spi::intid(spi));
        let control = Rc::new(Serial::new(
            line(spi::SERIAL1),
            Box::new(control::Port(self.control.clone())),
        ));
        let rtc = Rc::new(Rtc::new(&self.timeline, line(spi::RTC), EPOCH_SECONDS));
        self.map(layout::SERIAL0, self.console_port.clone());
        self.map(layout::SERIAL1, control);
        self.map(layout::RTC, rtc);
        self.map(layout::SMMU, Rc::new(smmu::Registers(self.smmu.clone())));
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
                dma: Rc::new(dma::SmmuPort::new(
                    ACCELERATOR,
                    self.smmu.clone(),
                    memory.clone(),
                    self.timeline.clone(),
                    latency.clone(),
                    self.tracer.clone(),
                )),
            };
            let zip = hisi::Zip::new(
                hisi::ZipConfig::new(match accelerator.revision {
                    Revision::V2 => hisi::Revision::V2,
                    Revision::V3 => hisi::Revision::V3,
                }),
                slot,
                self.timeline.clone(),
                Rc::new(probe::AcceleratorProbe::new(
                    latency.clone(),
                    self.tracer.clone(),
                )),
            );
            bridge.plug(ACCELERATOR, zip);
        }
        self.map(layout::PCI_ECAM, bridge.ecam());
        for (range, device) in bridge.windows() {
            let region = Region {
                base: *range.start(),
                bytes: range.end() - range.start() + 1,
            };
            self.map(region, device);
        }
    }

    /// A CPU's read of device registers at `now`; false if nothing answers there.
    pub fn read_device(&self, now: Time, address: u64, data: &mut [u8]) -> bool {
        let Some((range, device)) = self.mmio.device(MmioAddress(address)) else {
            return false;
        };
        self.timeline.set_now(now);
        device.read(address - range.base().0, data);
        self.timeline.run_ready();
        true
    }

    /// A CPU's write to device registers at `now`; false if nothing answers there.
    pub fn write_device(&self, now: Time, address: u64, data: &[u8]) -> bool {
        let Some((range, device)) = self.mmio.device(MmioAddress(address)) else {
            return false;
        };
        self.timeline.set_now(now);
        device.write(address - range.base().0, data);
        self.timeline.run_ready();
        true
    }

    /// Whether any CPU's interrupt inputs changed since [`World::clear_signalled`].
    pub fn any_signalled(&self) -> bool {
        self.signalled.get()
    }

    /// The engine has looked at the CPUs' interrupt inputs.
    pub fn clear_signalled(&self) {
        self.signalled.set(false);
    }
}

fn allocate(bytes: u64) -> Result<GuestRam> {
    let size = usize::try_from(bytes).context("--memory is more than this host can address")?;
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(layout::RAM_BASE), size)])
        .with_context(|| format!("cannot map {} MiB of guest RAM (--memory)", bytes >> 20))?;
    Ok(Rc::new(ram))
}

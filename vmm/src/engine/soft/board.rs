//! What the soft engine's CPUs are bound up with: interrupt controller, ITS and timers, all of
//! them our own models on virtual time.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Result, bail};
use stallbox_aarch64::mmu::PHYSICAL_BITS;
use stallbox_aarch64::{CpuConfig, Hafdbs};
use stallbox_devices::GuestRam;
use stallbox_devices::gic::{self, DISTRIBUTOR_BYTES, Gic, GicConfig, ITS_BYTES};
use stallbox_devices::irq::IrqLine;
use stallbox_devices::timer::{TimerLines, Timers};
use stallbox_firmware::boot::EntryState;
use stallbox_firmware::layout::{self, Region};
use stallbox_machine::config::{HardwareUpdate, MachineConfig};
use stallbox_machine::{InterruptController, Platform, SPIS, World};
use stallbox_timeline::Timeline;
use stallbox_trace::Block;

use super::Soft;
use crate::engine::ram::allocate;
use crate::engine::{Engine, Vcpus};

/// The counter's frequency: a tick a nanosecond, so that the guest can measure what the trace says.
const COUNTER_HZ: u32 = 1_000_000_000;
/// 2026-01-01T00:00:00Z: when every guest starts.
const EPOCH_SECONDS: u32 = 1_767_225_600;

/// Interrupt controller and timers of the soft engine's CPUs.
pub struct Board {
    pub(super) gic: Gic,
    pub(super) timers: Timers,
    timeline: Timeline,
    ram: GuestRam,
    /// Whether interrupt inputs of a CPU changed since the engine last looked.
    signalled: Rc<Cell<bool>>,
}

impl Board {
    /// The board of a machine, with its RAM and a clock at zero.
    pub fn new(config: &MachineConfig) -> Result<Rc<Board>> {
        if usize::from(config.cpus) > gic::MAX_CPUS {
            bail!(
                "--cpus {}: the soft engine has {} vCPUs at most (the kvm engine as many as the host \
                 can do)",
                config.cpus,
                gic::MAX_CPUS
            );
        }
        let timeline = Timeline::new();
        let ram = allocate(config)?;
        let gic = Gic::new(GicConfig {
            cpus: config.cpus.into(),
            spis: SPIS,
            lpi_id_bits: 16,
            ram: ram.clone(),
            timeline: timeline.clone(),
        });
        let lines = (0..usize::from(config.cpus))
            .map(|cpu| TimerLines {
                virtual_timer: gic.ppi(cpu, layout::timer_intid::VIRTUAL),
                physical_timer: gic.ppi(cpu, layout::timer_intid::PHYSICAL),
            })
            .collect();
        let timers = Timers::new(timeline.clone(), COUNTER_HZ, lines);
        let signalled: Rc<Cell<bool>> = Rc::default();
        let signal = signalled.clone();
        gic.on_change(Rc::new(move |_cpu| signal.set(true)));
        Ok(Rc::new(Board {
            gic,
            timers,
            timeline,
            ram,
            signalled,
        }))
    }

    /// Whether any CPU's interrupt inputs changed since [`Board::clear_signalled`].
    pub(super) fn any_signalled(&self) -> bool {
        self.signalled.get()
    }

    /// The engine has looked at the CPUs' interrupt inputs.
    pub(super) fn clear_signalled(&self) {
        self.signalled.set(false);
    }
}

impl Engine for Rc<Board> {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn platform(&self) -> Platform {
        Platform {
            timeline: self.timeline.clone(),
            ram: self.ram.clone(),
            interrupts: self.clone(),
            physical_bits: PHYSICAL_BITS,
            epoch_seconds: EPOCH_SECONDS,
        }
    }

    fn plug(&self, world: &mut World) {
        debug_assert_eq!(layout::GIC_DISTRIBUTOR.bytes, DISTRIBUTOR_BYTES);
        world.map(
            Block::GicDistributor,
            layout::GIC_DISTRIBUTOR,
            self.gic.distributor(),
        );
        let redistributors = Region {
            base: layout::GIC_REDISTRIBUTORS_BASE,
            bytes: self.gic.redistributors_bytes(),
        };
        world.map(
            Block::GicRedistributors,
            redistributors,
            self.gic.redistributors(),
        );
        debug_assert_eq!(layout::GIC_ITS.bytes, ITS_BYTES);
        world.map(Block::GicIts, layout::GIC_ITS, self.gic.its());
    }

    fn vcpus<'a>(
        &self,
        world: &'a World,
        machine: &MachineConfig,
        entry: &EntryState,
    ) -> Result<Box<dyn Vcpus + 'a>> {
        let hafdbs = match machine.cpu_hafdbs {
            HardwareUpdate::None => Hafdbs::None,
            HardwareUpdate::Access => Hafdbs::AccessFlag,
            HardwareUpdate::Dirty => Hafdbs::Dirty,
        };
        let cpus = (0..machine.cpus).map(|index| CpuConfig { index, hafdbs });
        let soft = Soft::new(world, self.clone(), cpus, machine, entry);
        Ok(Box::new(soft))
    }
}

impl InterruptController for Board {
    fn spi(&self, intid: u32) -> Rc<dyn IrqLine> {
        self.gic.spi(intid)
    }

    fn msi(&self, device_id: u32, event_id: u32) {
        self.gic.msi(device_id, event_id);
    }
}

//! The SMMU in this machine: its interrupts, its probe, its registers on the bus.

use std::rc::Rc;

use anyhow::{Context, Result};
use stallbox_devices::irq::IrqLine;
use stallbox_devices::mmio::{MmioDevice, Part, Unmodelled};
use stallbox_faultplan::{SmmuSettings, StallTags};
use stallbox_firmware::layout::spi;
use stallbox_smmu::{Config, Httu, Interrupts, Line, Memory, Smmu};
use stallbox_timeline::Timeline;

use super::InterruptController;
use super::memory::Physical;
use super::probe::SmmuProbe;
use crate::config::{Ats, HardwareUpdate, MachineConfig};

/// Linux shares a process's tables with an SMMU only if no address in them can be beyond its own
/// (`arm_smmu_sva_supported`): it has as many bits as the CPUs, and no fewer than here.
const OAS_BITS_MIN: u32 = 48;
/// More than this the architecture does not have (SMMU_IDR5.OAS).
const OAS_BITS_MAX: u32 = 52;

pub(super) fn build(
    config: &MachineConfig,
    physical_bits: u32,
    timeline: &Timeline,
    memory: &Rc<Physical>,
    interrupts: &dyn InterruptController,
    probe: SmmuProbe,
) -> Result<Smmu> {
    let wires = Wires {
        event_queue: interrupts.spi(spi::intid(spi::SMMU_EVENTQ)),
        page_request_queue: interrupts.spi(spi::intid(spi::SMMU_PRIQ)),
        command_sync: interrupts.spi(spi::intid(spi::SMMU_CMDQ_SYNC)),
        global_error: interrupts.spi(spi::intid(spi::SMMU_GERROR)),
    };
    let mut smmu = Config {
        httu: match config.smmu_httu {
            HardwareUpdate::None => Httu::None,
            HardwareUpdate::Access => Httu::AccessFlag,
            HardwareUpdate::Dirty => Httu::Dirty,
        },
        oas_bits: physical_bits.clamp(OAS_BITS_MIN, OAS_BITS_MAX) as u8,
        msi: config.smmu_msi,
        ats: config.ats() >= Ats::Ats,
        pri: config.ats() >= Ats::Pri,
        ..Config::default()
    };
    apply(&config.plan.smmu, &mut smmu);
    smmu.check().context("the SMMU's configuration")?;
    let memory: Rc<dyn Memory> = memory.clone();
    Ok(Smmu::new(
        smmu,
        timeline.clone(),
        memory,
        Rc::new(wires),
        Rc::new(probe),
    ))
}

/// What a fault plan asks of the SMMU.
fn apply(settings: &SmmuSettings, config: &mut Config) {
    config.stall_max = settings.stall_max.unwrap_or(config.stall_max);
    config.eventq_log2 = settings.event_queue_log2.unwrap_or(config.eventq_log2);
    config.cmdq_log2 = settings.command_queue_log2.unwrap_or(config.cmdq_log2);
    config.tlb_entries = settings.tlb_entries.unwrap_or(config.tlb_entries);
    if let Some(tags) = settings.stall_tags {
        config.stall_tags = match tags {
            StallTags::InTurn => stallbox_smmu::StallTags::InTurn,
            StallTags::LowestFree => stallbox_smmu::StallTags::LowestFree,
        };
    }
}

struct Wires {
    event_queue: Rc<dyn IrqLine>,
    page_request_queue: Rc<dyn IrqLine>,
    command_sync: Rc<dyn IrqLine>,
    global_error: Rc<dyn IrqLine>,
}

impl Interrupts for Wires {
    fn pulse(&self, line: Line) {
        match line {
            Line::EventQueue => self.event_queue.pulse(),
            Line::PageRequestQueue => self.page_request_queue.pulse(),
            Line::CommandSync => self.command_sync.pulse(),
            Line::GlobalError => self.global_error.pulse(),
        }
    }
}

/// The register frame on the CPUs' bus.
pub(super) struct Registers(pub(super) Smmu);

impl MmioDevice for Registers {
    fn read(&self, offset: u64, data: &mut [u8]) -> Option<Unmodelled> {
        self.0.read(offset, data).map(unmodelled)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Unmodelled> {
        self.0.write(offset, data).map(unmodelled)
    }
}

fn unmodelled(offset: u64) -> Unmodelled {
    Unmodelled {
        part: Part::Block,
        offset,
    }
}

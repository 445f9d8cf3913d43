//! The SMMU in this machine: its interrupts, its probe, its registers on the bus.

use std::rc::Rc;

use anyhow::{Context, Result, bail};
use stallbox_devices::irq::IrqLine;
use stallbox_devices::mmio::{MmioDevice, Part, Unmodelled};
use stallbox_faultplan::{
    Granules, Httu, SmmuSettings, Stages, StallModel, StallTags, StreamTables, TermModel,
};
use stallbox_firmware::layout::spi;
use stallbox_smmu::{Config, Interrupts, Line, Memory, Smmu};
use stallbox_timeline::Timeline;

use crate::InterruptController;
use crate::config::{Ats, FaultMode, HardwareUpdate, MachineConfig};
use crate::memory::Physical;
use crate::probe::SmmuProbe;

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
    let smmu = configuration(config, physical_bits)?;
    let memory: Rc<dyn Memory> = memory.clone();
    Ok(Smmu::new(
        smmu,
        timeline.clone(),
        memory,
        Rc::new(wires),
        Rc::new(probe),
    ))
}

/// The choices of the implementation: this machine's, and what `--smmu` and a fault plan say.
fn configuration(machine: &MachineConfig, physical_bits: u32) -> Result<Config> {
    let settings = &machine.smmu;
    refuse(machine, settings)?;
    let default = Config::default();
    let (stage1, stage2) = match settings.stages {
        None | Some(Stages::Both) => (true, true),
        Some(Stages::Stage1) => (true, false),
        Some(Stages::Stage2) => (false, true),
    };
    let stall_model = match settings.stall_model {
        None | Some(StallModel::Both) => stallbox_smmu::StallModel::Both,
        Some(StallModel::Terminate) => stallbox_smmu::StallModel::Terminate,
        Some(StallModel::Force) => stallbox_smmu::StallModel::Stall,
    };
    let stall_max = match stall_model {
        // RES0.
        stallbox_smmu::StallModel::Terminate => 0,
        _ => settings.stall_max.unwrap_or(default.stall_max),
    };
    let httu = match (settings.httu, machine.smmu_httu) {
        (Some(Httu::None), _) | (None, HardwareUpdate::None) => stallbox_smmu::Httu::None,
        (Some(Httu::Access), _) | (None, HardwareUpdate::Access) => stallbox_smmu::Httu::AccessFlag,
        (Some(Httu::Dirty), _) | (None, HardwareUpdate::Dirty) => stallbox_smmu::Httu::Dirty,
    };
    let granules = settings.granules.map(|it| stallbox_smmu::Granules {
        k4: it.k4,
        k16: it.k16,
        k64: it.k64,
    });
    let stall_tags = match settings.stall_tags {
        None | Some(StallTags::InTurn) => stallbox_smmu::StallTags::InTurn,
        Some(StallTags::LowestFree) => stallbox_smmu::StallTags::LowestFree,
    };
    let cpu_bits = physical_bits.clamp(OAS_BITS_MIN, OAS_BITS_MAX) as u8;
    let config = Config {
        stage1,
        stage2,
        hyp: settings.hyp.unwrap_or(default.hyp),
        vmid16: settings.vmid_bits.map_or(default.vmid16, |bits| bits == 16),
        asid16: settings.asid_bits.map_or(default.asid16, |bits| bits == 16),
        two_level_contexts: settings.cd2l.unwrap_or(default.two_level_contexts),
        two_level_streams: settings
            .st_level
            .map_or(default.two_level_streams, |it| it == StreamTables::TwoLevel),
        coherent: settings.cohacc.unwrap_or(default.coherent),
        sev: settings.sev.unwrap_or(default.sev),
        httu,
        stall_model,
        raz_wi: settings.term_model == Some(TermModel::RazWi),
        attr_perms_ovr: settings.attr_perms_ovr.unwrap_or(default.attr_perms_ovr),
        va_52: settings.va_bits.map_or(default.va_52, |bits| bits == 52),
        ds: settings.ds.unwrap_or(default.ds),
        stt: settings.stt.unwrap_or(default.stt),
        e0pd: settings.e0pd.unwrap_or(default.e0pd),
        sid_bits: settings.sid_bits.unwrap_or(default.sid_bits),
        // Substreams are stage 1's.
        ssid_bits: if stage1 {
            settings.ssid_bits.unwrap_or(default.ssid_bits)
        } else {
            0
        },
        stall_max,
        stall_tags,
        oas_bits: settings.oas_bits.unwrap_or(cpu_bits),
        granules: granules.unwrap_or(default.granules),
        cmdq_log2: settings.command_queue_log2.unwrap_or(default.cmdq_log2),
        eventq_log2: settings.event_queue_log2.unwrap_or(default.eventq_log2),
        ats: machine.ats() >= Ats::Ats,
        pri: machine.ats() >= Ats::Pri,
        priq_log2: settings
            .page_request_queue_log2
            .unwrap_or(default.priq_log2),
        pps: settings.pps.unwrap_or(default.pps),
        ril: settings.ril.unwrap_or(default.ril),
        msi: settings.msi.unwrap_or(machine.smmu_msi),
        tlb_entries: settings.tlb_entries.unwrap_or(default.tlb_entries),
        ste_cache_entries: settings
            .ste_cache_entries
            .unwrap_or(default.ste_cache_entries),
        cd_cache_entries: settings
            .cd_cache_entries
            .unwrap_or(default.cd_cache_entries),
        iidr: settings.iidr.unwrap_or(default.iidr),
    };
    config.check().context("the SMMU's configuration")?;
    Ok(config)
}

/// Refuses what the architecture forbids and what this machine cannot do, with the cure.
fn refuse(machine: &MachineConfig, settings: &SmmuSettings) -> Result<()> {
    let stages = settings.stages.unwrap_or(Stages::Both);
    let granules = settings.granules;
    let has = |bits: fn(&Granules) -> bool| granules.as_ref().is_none_or(bits);
    let ds = settings.ds == Some(true);
    let va_52 = settings.va_bits == Some(52);
    let by_pages = machine
        .test_engine
        .is_some_and(|it| it.fault == FaultMode::Pri);
    let ats = machine.ats() != Ats::Off;
    let sid_bits = settings.sid_bits.unwrap_or(Config::default().sid_bits);
    let conflicts = [
        (
            settings.hyp == Some(true) && stages != Stages::Both,
            "`hyp` needs both stages (SMMU_IDR0.HYP); leave out `stages`",
        ),
        (
            settings.vmid_bits.is_some() && stages == Stages::Stage1,
            "VMIDs are stage 2's; leave out `vmid_bits`, or choose other `stages`",
        ),
        (
            settings.asid_bits.is_some() && stages == Stages::Stage2,
            "ASIDs are stage 1's; leave out `asid_bits`, or choose other `stages`",
        ),
        (
            settings.ssid_bits.is_some_and(|bits| bits > 0) && stages == Stages::Stage2,
            "SubstreamIDs choose among contexts of stage 1; leave out `ssid_bits`, or choose other `stages`",
        ),
        (
            settings.st_level == Some(StreamTables::Linear) && sid_bits > 6,
            "with 7 bits of StreamID or more, stream tables must have two levels, too \
             (SMMU_IDR0.ST_LEVEL); add `sid_bits=6`, or leave out `st_level`",
        ),
        (
            settings.stall_model == Some(StallModel::Terminate) && settings.stall_max.is_some(),
            "nothing stalls with `stall_model` \"terminate\" (SMMU_IDR5.STALL_MAX is 0); leave out \
             `stall_max`",
        ),
        (
            settings.stall_model == Some(StallModel::Force) && (by_pages || ats),
            "a device that translates addresses itself (ATS) must not be stalled, which `stall_model` \
             \"force\" does; choose another, or leave out `ats` and fault=pri",
        ),
        (
            settings.pri == Some(true) && !ats,
            "page requests need ATS (SMMU_IDR0.PRI); add `ats=true`",
        ),
        (
            by_pages && (settings.ats == Some(false) || settings.pri == Some(false)),
            "--accel test-engine,fault=pri needs ATS and page requests of the SMMU; leave out `ats` and \
             `pri`, or choose fault=stall",
        ),
        (
            settings.page_request_queue_log2.is_some() && machine.ats() != Ats::Pri,
            "without page requests there is no queue of them; add `ats=true,pri=true`, or leave out \
             `page_request_queue_log2`",
        ),
        (
            settings.msi == Some(false) && machine.smmu_msi,
            "--smmu-irq msi needs messages of the SMMU; leave out `msi`, or choose --smmu-irq wired",
        ),
        (
            settings.httu.is_some() && machine.smmu_httu != HardwareUpdate::None,
            "`httu` and --smmu-httu say the same; leave one out",
        ),
        (
            ds && !(va_52 && (has(|it| it.k4) || has(|it| it.k16))),
            "`ds` is for 52-bit addresses with 4 or 16 KiB pages (SMMU_IDR5.DS); add `va_bits=52`, and such \
             `granules`",
        ),
        (
            va_52 && !(has(|it| it.k64) || ds),
            "virtual addresses of 52 bits need 64 KiB pages or `ds` (SMMU_IDR5.VAX); add one of them",
        ),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, why)) => bail!("the SMMU's properties (--smmu, or [smmu] of the plan): {why}"),
        None => Ok(()),
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

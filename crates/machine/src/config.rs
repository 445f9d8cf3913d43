//! What a machine is made of. Types only; the command line and files fill them in.

use std::fmt;
use std::rc::Rc;

use serde::Serialize;
/// The ZIP accelerator, its revisions, and what it says of refused accesses.
pub use stallbox_devices::hisi::{DmaErrors, Revision, ZipConfig as AcceleratorConfig};
use stallbox_faultplan::{Plan, SmmuSettings};
use stallbox_firmware::layout;

use crate::check::{CheckConfig, Symbols};
use crate::latency::LatencyModel;
use crate::schedule::Schedule;

/// Everything that decides a run's course: two runs of equal configuration and files are the same.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// What RAM is made of.
    pub memory_backend: MemoryBackend,
    /// vCPUs, 1 to [`CPUS_MAX`].
    pub cpus: u8,
    /// NUMA nodes over which RAM and vCPUs are spread.
    pub nodes: u8,
    /// The ZIP accelerator, if it is plugged in.
    pub accelerator: Option<AcceleratorConfig>,
    /// The SVA test engine, if it is plugged in.
    pub test_engine: Option<TestEngineConfig>,
    /// What the CPUs update in translation table descriptors (FEAT_HAFDBS). The soft engine's choice.
    pub cpu_hafdbs: HardwareUpdate,
    /// What the SMMU updates in them (IDR0.HTTU).
    pub smmu_httu: HardwareUpdate,
    /// Whether the SMMU's interrupts are MSIs through the ITS; otherwise wired.
    pub smmu_msi: bool,
    /// What else the SMMU is to be like: of `--smmu`, and of the plan.
    pub smmu: SmmuSettings,
    /// Latencies.
    pub latency: LatencyModel,
    /// Seed of every draw.
    pub seed: u64,
    /// In which order vCPUs advance. The soft engine's choice.
    pub schedule: Schedule,
    /// What a kernel that shuffles its addresses begins with (`/chosen/kaslr-seed`).
    pub kaslr_seed: Option<u64>,
    /// What goes wrong.
    pub plan: Plan,
    /// Which checkers are on.
    pub check: CheckConfig,
    /// The guest kernel's symbols.
    pub symbols: Option<Rc<Symbols>>,
}

/// A machine with nothing plugged in, and nothing special about it.
impl Default for MachineConfig {
    fn default() -> MachineConfig {
        MachineConfig {
            memory_bytes: 512 << 20,
            memory_backend: MemoryBackend::Anon,
            cpus: 1,
            nodes: 1,
            accelerator: None,
            test_engine: None,
            cpu_hafdbs: HardwareUpdate::None,
            smmu_httu: HardwareUpdate::None,
            smmu_msi: false,
            smmu: SmmuSettings::default(),
            latency: LatencyModel::built_in(),
            seed: 1,
            schedule: Schedule::default(),
            kaslr_seed: None,
            plan: Plan::default(),
            check: CheckConfig::default(),
            symbols: None,
        }
    }
}

impl MachineConfig {
    /// What SMMU and root complex offer to devices that translate addresses themselves: what those
    /// that are plugged in need, unless the SMMU's properties say otherwise.
    pub fn ats(&self) -> Ats {
        let needed = self.test_engine.map(|engine| engine.fault) == Some(FaultMode::Pri);
        match (
            self.smmu.ats.unwrap_or(needed),
            self.smmu.pri.unwrap_or(needed),
        ) {
            (false, _) => Ats::Off,
            (true, false) => Ats::Ats,
            (true, true) => Ats::Pri,
        }
    }
}

/// What the SMMU and the root complex offer to devices that translate addresses themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ats {
    /// Nothing.
    #[default]
    Off,
    /// Address Translation Services.
    Ats,
    /// The same, and Page Request Services.
    Pri,
}

/// As many vCPUs as have a redistributor in the memory map.
pub const CPUS_MAX: u8 = ((layout::SERIAL0.base - layout::GIC_REDISTRIBUTORS_BASE)
    / layout::GIC_REDISTRIBUTOR_BYTES) as u8;

/// What guest RAM is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum MemoryBackend {
    /// Anonymous memory.
    Anon,
    /// A memfd, which shows in /proc/PID/fd.
    Memfd,
    /// Huge pages of the host's default size, reserved at once.
    Hugetlb,
}

/// What hardware updates in the translation table descriptors that it walks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum HardwareUpdate {
    /// Nothing: software does.
    #[default]
    None,
    /// The access flag.
    Access,
    /// The access flag and dirty state.
    Dirty,
}

impl fmt::Display for HardwareUpdate {
    /// As it is given on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HardwareUpdate::None => "none",
            HardwareUpdate::Access => "access",
            HardwareUpdate::Dirty => "dirty",
        })
    }
}

/// The SVA test engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestEngineConfig {
    /// How many queues, 1 to 256.
    pub queues: u16,
    /// How it waits for a page.
    pub fault: FaultMode,
    /// Whether it asks for the translations of an operation's memory before it starts.
    pub prefill: bool,
}

impl Default for TestEngineConfig {
    fn default() -> TestEngineConfig {
        TestEngineConfig {
            queues: 64,
            fault: FaultMode::Stall,
            prefill: false,
        }
    }
}

/// How an access waits for a page that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMode {
    /// The SMMU stalls it.
    Stall,
    /// The device translates addresses itself (ATS) and asks for the page (PRI).
    Pri,
}

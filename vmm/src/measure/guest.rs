//! One guest that measures: boots it, waits for its end, and takes what it reported.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::faults::{Faults, Sink};
use super::matrix::Device;
use crate::boot;
use crate::check::CheckConfig;
use crate::config::{
    AcceleratorConfig, FaultMode, GuestConfig, HardwareUpdate, MachineConfig, MemoryBackend,
    TestEngineConfig,
};
use crate::engine::{Engine, Watch, soft};
use crate::latency::LatencyModel;
use crate::machine::World;
use crate::outcome::Outcome;

/// What to boot, for all guests of a measurement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// vCPUs.
    pub cpus: u8,
    /// NUMA nodes.
    pub nodes: u8,
    /// The ZIP engine, for the rows that it does.
    pub accelerator: AcceleratorConfig,
    /// What the CPUs update in descriptors.
    pub cpu_hafdbs: HardwareUpdate,
    /// What the SMMU updates in them.
    pub smmu_httu: HardwareUpdate,
    /// What was given as `--latency`.
    pub latency: Vec<String>,
    /// Seed of every draw.
    pub seed: u64,
    /// The kernel.
    pub kernel: PathBuf,
    /// Initial RAM disks, one behind the other.
    pub initrd: Vec<PathBuf>,
    /// Host time after which a guest is given up.
    pub timeout: Duration,
}

impl Plan {
    /// The machine with a row's device. Made where the guest runs: a latency model stays on its thread.
    pub fn machine(&self, device: Device) -> Result<MachineConfig> {
        Ok(MachineConfig {
            memory_bytes: self.memory_bytes,
            memory_backend: MemoryBackend::Anon,
            cpus: self.cpus,
            nodes: self.nodes,
            accelerator: (device == Device::Zip).then_some(self.accelerator),
            test_engine: device.translates().then_some(TestEngineConfig {
                fault: FaultMode::Pri,
                prefill: device == Device::AtsPrefill,
            }),
            cpu_hafdbs: self.cpu_hafdbs,
            smmu_httu: self.smmu_httu,
            smmu_msi: false,
            latency: LatencyModel::with(&self.latency)?,
            seed: self.seed,
            plan: stallbox_faultplan::Plan::default(),
            check: CheckConfig::default(),
            symbols: None,
        })
    }
}

/// What one guest is for.
pub struct Script {
    /// What it has to work with.
    pub device: Device,
    /// Added to the kernel's command line.
    pub append: String,
    /// Run by its shell.
    pub text: String,
}

/// What a guest left.
#[derive(Debug)]
pub struct Ran {
    /// Lines of JSON, in order.
    pub results: Vec<String>,
    /// IO page faults.
    pub faults: Faults,
    /// The trace's hash.
    pub trace_hash: String,
    /// The command's exit status.
    pub status: u8,
}

struct Progress<'a> {
    deadline: Instant,
    seen: usize,
    on_result: &'a dyn Fn(),
}

impl Watch for Progress<'_> {
    fn look(&mut self, world: &World) -> Option<Outcome> {
        let count = world.control.result_count();
        while self.seen < count {
            self.seen += 1;
            (self.on_result)();
        }
        (Instant::now() >= self.deadline).then_some(Outcome::Timeout)
    }
}

/// Runs a script in a guest; `on_result` is called for each result it reports.
pub fn run(plan: &Plan, script: &Script, on_result: &dyn Fn()) -> Result<Ran> {
    let guest = GuestConfig {
        kernel: plan.kernel.clone(),
        initrd: plan.initrd.clone(),
        append: script.append.clone(),
        command: Some(script.text.clone()),
    };
    let machine = plan.machine(script.device)?;
    let sink = Sink::default();
    let engine = soft::Board::new(&machine)?;
    let trace = Some(Box::new(sink.clone()) as Box<dyn Write>);
    let world = engine.world(&machine, None, trace)?;
    let entry = boot::load(&world, &machine, &guest)?;
    let mut vcpus = engine.vcpus(&world, &machine, &entry)?;
    let mut progress = Progress {
        deadline: Instant::now() + plan.timeout,
        seen: 0,
        on_result,
    };
    let outcome = world.concluded(vcpus.run(&mut progress)?);
    world
        .tracer
        .finish()
        .context("the trace is not understood")?;
    let Outcome::Command(status) = outcome else {
        let complaint = outcome
            .complaint(true)
            .unwrap_or("the guest ended without a status");
        let mut message = format!("{complaint}; the console's last lines:");
        for line in world.console.last_lines() {
            message.push_str("\n  ");
            message.push_str(&line);
        }
        bail!(message);
    };
    Ok(Ran {
        results: world.control.results(),
        faults: sink.take(),
        trace_hash: world.tracer.summary().trace_hash,
        status,
    })
}

//! One guest that measures: boots it, waits for its end, and takes what it reported.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stallbox_machine::World;
use stallbox_machine::config::{
    AcceleratorConfig, FaultMode, HardwareUpdate, MachineConfig, TestEngineConfig,
};
use stallbox_machine::latency::LatencyModel;
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_measure::matrix::Device;
use stallbox_measure::{End, Ran, Said, Script, Sink};

use crate::boot;
use crate::engine::{Engine, Watch, soft};

/// What to boot, for all guests of a measurement.
pub(super) struct Plan {
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
    /// Latencies.
    pub latency: LatencyModel,
    /// Seed of every draw.
    pub seed: u64,
    /// What to boot: read once, and before the process confines itself.
    pub files: boot::Files,
    /// Host time after which a guest is given up.
    pub timeout: Duration,
}

impl Plan {
    /// The machine with a row's device.
    fn machine(&self, device: Device) -> MachineConfig {
        MachineConfig {
            memory_bytes: self.memory_bytes,
            cpus: self.cpus,
            nodes: self.nodes,
            accelerator: (device == Device::Zip).then_some(self.accelerator),
            test_engine: device.translates().then_some(TestEngineConfig {
                fault: FaultMode::Pri,
                prefill: device == Device::AtsPrefill,
                ..TestEngineConfig::default()
            }),
            cpu_hafdbs: self.cpu_hafdbs,
            smmu_httu: self.smmu_httu,
            latency: self.latency.clone(),
            seed: self.seed,
            ..MachineConfig::default()
        }
    }
}

struct Progress<'a> {
    deadline: Instant,
    told_to_end: &'a AtomicBool,
    seen: usize,
    on_cell: &'a dyn Fn(),
}

impl Progress<'_> {
    /// Tells of the cells reported since.
    fn count(&mut self, world: &World) {
        if self.seen < world.control.result_count() {
            let results = world.control.results();
            for line in &results[self.seen..] {
                if matches!(Said::parse(line), Ok(Said::Cell(_))) {
                    (self.on_cell)();
                }
            }
            self.seen = results.len();
        }
    }
}

impl Watch for Progress<'_> {
    fn look(&mut self, world: &World, _: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        self.count(world);
        if self.told_to_end.load(Ordering::Relaxed) {
            return Some(Outcome::Quit);
        }
        (Instant::now() >= self.deadline).then_some(Outcome::Timeout)
    }
}

/// Runs a script in a guest; `on_cell` is called for each cell that it reports. Once `told_to_end` is
/// set, the guest ends.
pub(super) fn run(
    plan: &Plan,
    script: &Script,
    told_to_end: &AtomicBool,
    on_cell: &dyn Fn(),
) -> Result<Ran> {
    let machine = plan.machine(script.device);
    let sink = Sink::default();
    let engine = soft::Board::new(&machine)?;
    let trace = Some(Box::new(sink.clone()) as Box<dyn Write>);
    let world = engine.world(&machine, None, trace)?;
    let command = Some(script.text.as_str());
    let entry = boot::place(&world, &machine, &plan.files, &script.append, command)?;
    let mut vcpus = engine.vcpus(&world, &machine, &entry)?;
    let mut progress = Progress {
        deadline: Instant::now() + plan.timeout,
        told_to_end,
        seen: 0,
        on_cell,
    };
    let outcome = world.concluded(vcpus.run(&mut progress)?);
    progress.count(&world);
    world
        .tracer
        .finish()
        .context("the trace is not understood")?;
    let end = match outcome {
        Outcome::Command(status) => match kernel_reported(&world) {
            Some(message) => End::Died(message),
            None => End::Status(status),
        },
        Outcome::Timeout => End::GivenUp,
        Outcome::Quit => End::Interrupted,
        outcome => End::Died(last_words(&outcome, &world)),
    };
    let by_itself = !matches!(end, End::GivenUp | End::Interrupted);
    Ok(Ran {
        results: world.control.results(),
        faults: sink.take(),
        trace_hash: by_itself.then(|| world.tracer.summary().trace_hash),
        end,
    })
}

/// What the kernel reported of its own faults: then what was measured is worth nothing.
fn kernel_reported(world: &World) -> Option<String> {
    let reports = world.console.reports();
    let first = reports.kept().first()?.lines.first()?;
    Some(format!(
        "the guest's kernel reported {reports}; the first: {first}"
    ))
}

fn last_words(outcome: &Outcome, world: &World) -> String {
    let complaint = outcome
        .complaint(true)
        .unwrap_or("the guest ended without a status");
    let mut message = format!("{complaint}; the console's last lines:");
    for line in world.console.last_lines() {
        message.push_str("\n  ");
        message.push_str(&line);
    }
    message
}

//! What the engines cost: a device access, an MSI, a doorbell, an IO page fault, with the kvm engine and,
//! beside it on the same host, with the soft engine; the access also with the smallest loop around
//! KVM_RUN.
//!
//! ```text
//! cargo xtask test-kvm --bench [-- [ROUNDS [ACCESSES]]]
//! ```
//!
//! Host time of each step. The latency model is off (all parts are 0), so that nothing waits for
//! what only a model says. Each round measures all of them in turn and gives the median of what it
//! saw of a step (of accesses the mean); printed are median, least and most of the rounds, and ratios
//! taken round by round. On a host without KVM for arm64 only the soft engine is measured.

mod exits;
mod guest;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stallbox_machine::World;
use stallbox_machine::config::{AcceleratorConfig, MachineConfig, Revision};
use stallbox_machine::latency::{LatencyModel, Part};
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_vmm::config::EngineKind;
use stallbox_vmm::engine::Watch;

/// Whom a figure belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Smallest,
    Kvm,
    Soft,
}

/// A machine without latencies.
fn machine(memory_bytes: u64) -> Result<MachineConfig> {
    let mut latency = LatencyModel::built_in();
    for part in Part::ALL {
        latency.apply(&format!("{}=fixed:0", part.name()))?;
    }
    Ok(MachineConfig {
        memory_bytes,
        accelerator: Some(AcceleratorConfig::new(Revision::V3)),
        // So that each fault brings an MSI.
        smmu_msi: true,
        latency,
        ..MachineConfig::default()
    })
}

/// Lets the guest run until it ends, or for as long as no guest of these takes.
#[derive(Default)]
struct Outside {
    deadline: Option<Instant>,
}

impl Outside {
    fn patient_for(time: Duration) -> Outside {
        Outside {
            deadline: Some(Instant::now() + time),
        }
    }
}

impl Watch for Outside {
    fn look(&mut self, _world: &World, _: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        let late = self.deadline.is_some_and(|at| Instant::now() >= at);
        late.then_some(Outcome::Timeout)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Nanoseconds of each round, by step and by whom, steps in the order of their appearance.
#[derive(Default)]
struct Figures {
    steps: Vec<&'static str>,
    rounds: BTreeMap<(usize, By), Vec<f64>>,
}

impl Figures {
    fn add(&mut self, by: By, measured: Vec<(&'static str, f64)>) {
        for (step, ns) in measured {
            let known = self.steps.iter().position(|it| *it == step);
            let index = known.unwrap_or_else(|| {
                self.steps.push(step);
                self.steps.len() - 1
            });
            self.rounds.entry((index, by)).or_default().push(ns);
        }
    }

    fn print(&self) {
        println!(
            "| host time | us, smallest loop | us, kvm | us, soft | kvm / smallest loop | kvm / soft |"
        );
        println!("|---|---|---|---|---|---|");
        for (index, step) in self.steps.iter().enumerate() {
            let rounds = |by| self.rounds.get(&(index, by));
            let us = |by| {
                rounds(by).map_or_else(String::new, |ns| {
                    spread(ns.iter().map(|ns| ns / 1e3).collect())
                })
            };
            let ratio = |a, b| match (rounds(a), rounds(b)) {
                (Some(a), Some(b)) => spread(a.iter().zip(b).map(|(a, b)| a / b).collect()),
                _ => String::new(),
            };
            println!(
                "| {step} | {} | {} | {} | {} | {} |",
                us(By::Smallest),
                us(By::Kvm),
                us(By::Soft),
                ratio(By::Kvm, By::Smallest),
                ratio(By::Kvm, By::Soft),
            );
        }
    }
}

/// The middle one; of an even number the upper of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: Vec<f64>) -> String {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let [median, min, max] = [median(values), min, max].map(number);
    format!("{median} ({min}..{max})")
}

/// Three digits that count, and no exponent.
fn number(value: f64) -> String {
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn main() -> Result<()> {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|text| {
            text.parse::<u32>()
                .ok()
                .filter(|number| (1..=1_000_000).contains(number))
        })
        .map(|number| number.context("usage: engines [ROUNDS [ACCESSES]], each 1 to 1000000"));
    let rounds = numbers.next().transpose()?.unwrap_or(5);
    let accesses = numbers.next().transpose()?.unwrap_or(5000);
    let all = if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
        &[By::Smallest, By::Kvm, By::Soft][..]
    } else {
        &[By::Soft]
    };
    let mut figures = Figures::default();
    for round in 1..=rounds {
        for &by in all {
            eprintln!("round {round} of {rounds}, {by:?}");
            figures.add(by, exits::measure(by, accesses)?);
            match by {
                By::Smallest => {}
                By::Kvm => figures.add(by, guest::measure(EngineKind::Kvm)?),
                By::Soft => figures.add(by, guest::measure(EngineKind::Soft)?),
            }
        }
    }
    figures.print();
    Ok(())
}

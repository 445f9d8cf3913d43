//! The whole measurement, in the form of `--json`; docs/measuring.md explains it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::claims::Claim;
use super::faults::Fault;
use super::said::{self, Latency, Prepare, Status, Step};

/// Everything. Fields are added at need; what is there keeps its name and meaning.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// What was measured with.
    pub settings: Settings,
    /// Names of the rows, in order.
    pub rows: Vec<&'static str>,
    /// Names of the columns, in order.
    pub columns: Vec<&'static str>,
    /// A cell for each row of each column, column after column.
    pub cells: Vec<Cell>,
    /// What is claimed, and whether it holds.
    pub claims: Vec<Claim>,
    /// The trace's hash of each column's guest.
    pub trace_hashes: BTreeMap<&'static str, String>,
    /// What belongs to the host: the one part that differs between two runs.
    pub host: Host,
}

/// What was measured with.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Whether `--quick` was given.
    pub quick: bool,
    /// Regions of 2 MiB, and steps of each activity.
    pub regions: u32,
    /// Slots in each region; each is a source page and a destination page.
    pub slots: u32,
    /// Rounds over all slots, before the activity and for each step of it.
    pub passes: u32,
    /// vCPUs.
    pub cpus: u8,
    /// NUMA nodes.
    pub nodes: u8,
    /// RAM.
    pub memory_bytes: u64,
    /// Seed of every draw.
    pub seed: u64,
}

/// A cell.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// Name of the row.
    pub row: &'static str,
    /// Name of the column.
    pub column: &'static str,
    /// How it ended.
    pub status: Status,
    /// Why, unless it was measured.
    pub reason: Option<String>,
    /// What was measured.
    #[serde(flatten)]
    pub figures: Option<Figures>,
}

/// What was measured in a cell.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Operations.
    pub ops: u64,
    /// From the first operation's start to the last one's end, all of the program's own work
    /// included.
    pub duration_ns: u64,
    /// Bytes read by the device in each second of that time.
    pub throughput_bytes_per_s: u64,
    /// IO page faults.
    pub faults: FaultCounts,
    /// Latency of one operation.
    pub latency_ns: Latency,
    /// The same at 0, 1, .. 99 percent, then 99.1, .. 99.9 and 100.
    pub quantiles_ns: Vec<u64>,
    /// What preparing cost.
    pub prepare: Prepare,
    /// The activity's steps.
    pub steps: Vec<Step>,
    /// Growth of counters of /proc/vmstat and the like.
    pub counters: BTreeMap<String, i64>,
    /// Each fault.
    pub timeline: Vec<TimelineFault>,
}

/// The same faults, counted in three places, and what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FaultCounts {
    /// Stalls, as the device saw them.
    pub device: u64,
    /// Records of stalls that the SMMU wrote.
    pub smmu: u64,
    /// Reports that reached the kernel.
    pub guest: Option<u64>,
    /// Stalls of a transaction that had stalled before.
    pub retries: u64,
    /// Transactions that were aborted in the end.
    pub aborted: u64,
    /// How long a transaction waited: median, 99th percentile, greatest.
    pub wait_ns: Option<Waits>,
}

/// How long transactions waited for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Greatest.
    pub max: u64,
}

/// A fault on the cell's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineFault {
    /// When it began, from the cell's first operation.
    pub at_ns: u64,
    /// How long the transaction waited.
    pub wait_ns: u64,
    /// Whether it was a write.
    pub write: bool,
}

/// What belongs to the host.
#[derive(Debug, Serialize)]
pub struct Host {
    /// Wall-clock time of all of it.
    pub seconds: f64,
    /// Guests at the same time.
    pub jobs: usize,
}

impl Cell {
    /// A cell as the guest told it, with the faults that fell into its time.
    pub fn new(
        row: &'static str,
        column: &'static str,
        said: said::Cell,
        faults: &super::faults::Faults,
    ) -> Cell {
        Cell {
            row,
            column,
            status: said.status,
            reason: said.reason,
            figures: said.figures.map(|figures| Figures::new(figures, faults)),
        }
    }

    /// Faults as the device saw them, if the cell was measured.
    pub fn device_faults(&self) -> Option<u64> {
        self.measured().map(|figures| figures.faults.device)
    }

    /// The figures, if the cell is good.
    pub fn measured(&self) -> Option<&Figures> {
        self.figures.as_ref().filter(|_| self.status == Status::Ok)
    }
}

impl Figures {
    fn new(said: said::Figures, faults: &super::faults::Faults) -> Figures {
        let time = said.start_ns..=said.end_ns;
        let own: Vec<Fault> = faults
            .device
            .iter()
            .filter(|fault| time.contains(&fault.answered_ns))
            .copied()
            .collect();
        let smmu = faults.smmu_ns.iter().filter(|at| time.contains(at)).count();
        let duration_ns = said.end_ns.saturating_sub(said.start_ns);
        let mut steps = said.steps;
        for step in &mut steps {
            step.start_ns = step.start_ns.saturating_sub(said.start_ns);
            step.end_ns = step.end_ns.saturating_sub(said.start_ns);
        }
        let bytes = u128::from(said.ops) * u128::from(said.op_bytes) * 1_000_000_000;
        Figures {
            ops: said.ops,
            duration_ns,
            throughput_bytes_per_s: u64::try_from(bytes / u128::from(duration_ns.max(1)))
                .unwrap_or(u64::MAX),
            faults: FaultCounts {
                device: own.iter().map(|fault| u64::from(fault.stalls)).sum(),
                smmu: smmu as u64,
                guest: said.faults_guest,
                retries: own
                    .iter()
                    .map(|fault| u64::from(fault.stalls.saturating_sub(1)))
                    .sum(),
                aborted: own.iter().filter(|fault| fault.aborted).count() as u64,
                wait_ns: waits(&own),
            },
            latency_ns: said.latency_ns,
            quantiles_ns: said.quantiles_ns,
            prepare: said.prepare,
            steps,
            counters: said.counters,
            timeline: own
                .iter()
                .map(|fault| TimelineFault {
                    at_ns: (fault.answered_ns - fault.latency_ns).saturating_sub(said.start_ns),
                    wait_ns: fault.latency_ns,
                    write: fault.write,
                })
                .collect(),
        }
    }
}

fn waits(faults: &[Fault]) -> Option<Waits> {
    let mut waits: Vec<u64> = faults.iter().map(|fault| fault.latency_ns).collect();
    waits.sort_unstable();
    // Nearest rank, as in the guest.
    let at = |percent: usize| waits[(waits.len() * percent).div_ceil(100) - 1];
    (!waits.is_empty()).then(|| Waits {
        p50: at(50),
        p99: at(99),
        max: at(100),
    })
}

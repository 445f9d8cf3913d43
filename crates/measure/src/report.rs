//! The whole measurement, in the form of `--json`; docs/measuring.md explains it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use stallbox_machine::config::HardwareUpdate;

use crate::faults::{Fault, FaultKind, Faults};
use crate::matrix::Device;
use crate::said::{self, Latency, Prepare, Ratio, Release, Rules, Status, Step};

/// Version of the form.
pub const SCHEMA: u32 = 1;

/// Everything. Fields are added at need; what is there keeps its name and meaning.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// What it lacks, if it was ended half way.
    pub incomplete: Option<Incomplete>,
    /// The guest's kernel: `uname -r`.
    pub kernel: String,
    /// What was measured with.
    pub settings: Settings,
    /// Names of the rows, in order.
    pub rows: Vec<&'static str>,
    /// Names of the columns, in order.
    pub columns: Vec<&'static str>,
    /// A cell for each row of each column, column after column.
    pub cells: Vec<Cell>,
    /// An IO page fault against a CPU page fault.
    pub page_fault: Option<Ratio>,
    /// What is left of pins when their process is killed.
    pub release: Vec<Release>,
    /// What a child may do with its parent's queue.
    pub rules: Option<Rules>,
    /// What is claimed, and whether it holds.
    pub claims: Vec<Claim>,
    /// The trace's hash of each guest: by column, and for the rows with ATS `/ats` or `/ats_prefill`
    /// behind it.
    pub trace_hashes: BTreeMap<String, String>,
    /// What belongs to the host: the one part that differs between two runs.
    pub host: Host,
}

/// A measurement that was ended half way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incomplete {
    /// Why.
    pub reason: String,
    /// Cells that came to an end.
    pub cells: usize,
    /// All cells that were asked for.
    pub of_cells: usize,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incomplete {
            reason,
            cells,
            of_cells,
        } = self;
        write!(f, "incomplete, {cells} of {of_cells} cells: {reason}")
    }
}

/// A claim and what the matrix says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// What is claimed.
    pub name: String,
    /// Whether it holds; null if the cells that would tell were not measured.
    pub pass: Option<bool>,
    /// The figures behind the answer.
    pub evidence: String,
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
    /// What the CPUs update in descriptors.
    pub cpu_hafdbs: HardwareUpdate,
    /// What the SMMU updates in them.
    pub smmu_httu: HardwareUpdate,
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
    /// What the device's translation cache cost; null if it has none.
    pub ats: Option<Ats>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultCounts {
    /// Stalls and page request groups, as the device saw them.
    pub device: u64,
    /// Of those, page request groups.
    pub page_request_groups: u64,
    /// Records of stalls, and last page requests of a group, that the SMMU wrote.
    pub smmu: u64,
    /// Reports that reached the kernel.
    pub guest: Option<u64>,
    /// Those of a transaction that had faulted before.
    pub retries: u64,
    /// Transactions that were aborted in the end.
    pub aborted: u64,
    /// Which of the four faults of a translation they were, or page requests, which do not say.
    pub kinds: BTreeMap<FaultKind, u64>,
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

/// What a device with a translation cache did, beside the accesses that its operations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ats {
    /// Translations that it asked for.
    pub translation_requests: u64,
    /// Invalidations that the kernel sent to it.
    pub invalidations: u64,
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
    pub fn new(row: &'static str, column: &'static str, said: said::Cell, faults: &Faults) -> Cell {
        Cell {
            row,
            column,
            status: said.status,
            reason: said.reason,
            figures: said
                .figures
                .map(|figures| Figures::new(figures, faults, Device::of(row))),
        }
    }

    /// A cell of which there are no figures.
    pub fn empty(
        row: &'static str,
        column: &'static str,
        status: Status,
        reason: Option<String>,
    ) -> Cell {
        Cell {
            row,
            column,
            status,
            reason,
            figures: None,
        }
    }

    /// Faults as the device saw them, if the cell was measured.
    pub fn device_faults(&self) -> Option<u64> {
        self.measured().map(|figures| figures.faults.device)
    }

    /// Used pages of the prepared memory that steps moved or took away.
    pub fn disturbed_pages(&self) -> Option<u64> {
        let figures = self.measured()?;
        let pages = figures
            .steps
            .iter()
            .map(|step| step.memory.moved + step.memory.gone);
        Some(pages.sum())
    }

    /// The figures, if the cell is good.
    pub fn measured(&self) -> Option<&Figures> {
        self.figures.as_ref().filter(|_| self.status == Status::Ok)
    }
}

impl Figures {
    fn new(said: said::Figures, faults: &Faults, device: Device) -> Figures {
        let time = said.start_ns..=said.end_ns;
        let own: Vec<Fault> = faults
            .device
            .iter()
            .filter(|fault| time.contains(&fault.answered_ns))
            .copied()
            .collect();
        let mut kinds = BTreeMap::new();
        for record in faults.records.iter().filter(|it| time.contains(&it.at_ns)) {
            *kinds.entry(record.kind).or_default() += 1;
        }
        let within = |times: &[u64]| times.iter().filter(|at| time.contains(at)).count() as u64;
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
                device: own.iter().map(|fault| u64::from(fault.times())).sum(),
                page_request_groups: own
                    .iter()
                    .map(|fault| u64::from(fault.page_request_groups))
                    .sum(),
                smmu: kinds.values().sum(),
                guest: said.faults_guest,
                retries: own
                    .iter()
                    .map(|fault| u64::from(fault.times().saturating_sub(1)))
                    .sum(),
                aborted: own.iter().filter(|fault| fault.aborted).count() as u64,
                kinds,
                wait_ns: waits(&own),
            },
            ats: device.translates().then(|| Ats {
                translation_requests: within(&faults.translation_requests),
                invalidations: within(&faults.invalidations),
            }),
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::faults::Record;
    use crate::said::Said;

    /// Two cells as `pinbench` and the trace describe them.
    pub(crate) fn sample() -> Report {
        let lines = [
            r#"{"kind":"cell","row":"none","column":"swap","status":"ok","op_bytes":4096,
                "ops":100,"start_ns":5000,"end_ns":1005000,"faults_guest":3,
                "latency_ns":{"min":3000,"p50":3800,"p99":50000,"p999":60000,"max":60000},
                "quantiles_ns":[3000,3800,60000],
                "prepare":{"ns":4000,"present_pages":0,"locked_pages":0,"pinned_pages":0},
                "steps":[{"start_ns":105000,"end_ns":205000,"refused":null,
                          "memory":{"pages":8,"moved":1,"gone":2},
                          "bystander":{"pages":8,"moved":0,"gone":8}}],
                "counters":{"pswpout":11}}"#,
            r#"{"kind":"cell","row":"mempinfd","column":"swap","status":"unavailable",
                "reason":"this kernel has none"}"#,
        ];
        let fault = |answered_ns, latency_ns, stalls| Fault {
            answered_ns,
            latency_ns,
            stalls,
            page_request_groups: 0,
            write: true,
            aborted: false,
        };
        let faults = Faults {
            // The first belongs to an earlier cell.
            device: vec![
                fault(4000, 20000, 1),
                fault(50000, 20000, 1),
                fault(250_000, 40000, 2),
            ],
            records: [3000, 31000, 211_000, 230_000]
                .map(|at_ns| Record {
                    at_ns,
                    kind: FaultKind::Translation,
                })
                .into(),
            ..Faults::default()
        };
        let cells = lines.map(|line| match Said::parse(line).unwrap() {
            Said::Cell(cell) => {
                let row = if cell.row == "none" {
                    "none"
                } else {
                    "mempinfd"
                };
                Cell::new(row, "swap", *cell, &faults)
            }
            other => panic!("{other:?}"),
        });
        Report {
            schema: SCHEMA,
            incomplete: None,
            kernel: "6.12.107".to_owned(),
            settings: Settings {
                quick: true,
                regions: 1,
                slots: 4,
                passes: 4,
                cpus: 2,
                nodes: 2,
                memory_bytes: 512 << 20,
                cpu_hafdbs: HardwareUpdate::None,
                smmu_httu: HardwareUpdate::None,
                seed: 1,
            },
            rows: vec!["none", "mempinfd"],
            columns: vec!["swap"],
            cells: cells.into(),
            page_fault: Some(Ratio {
                rounds: 200,
                cpu_fault_ns: 850,
                io_fault_ns: 20680,
                ratio: 24.3,
            }),
            release: Vec::new(),
            rules: Some(Rules {
                child: BTreeMap::new(),
                parent_goes_on: true,
            }),
            claims: vec![Claim {
                name: "a < b".to_owned(),
                pass: Some(true),
                evidence: "1 & 2".to_owned(),
            }],
            trace_hashes: BTreeMap::new(),
            host: Host {
                seconds: 1.5,
                jobs: 2,
            },
        }
    }

    #[test]
    fn a_cell_has_the_faults_of_its_own_time() {
        let report = sample();
        let figures = report.cells[0].measured().unwrap();
        assert_eq!(figures.faults.device, 3);
        assert_eq!(figures.faults.smmu, 3);
        assert_eq!(figures.faults.retries, 1);
        let waits = figures.faults.wait_ns.unwrap();
        assert_eq!((waits.p50, waits.max), (20000, 40000));
        assert_eq!(report.cells[0].disturbed_pages(), Some(3));
    }

    #[test]
    fn times_of_a_cell_count_from_its_first_operation() {
        let report = sample();
        let figures = report.cells[0].measured().unwrap();
        assert_eq!(figures.steps[0].start_ns, 100_000);
        let begun: Vec<u64> = figures.timeline.iter().map(|fault| fault.at_ns).collect();
        assert_eq!(begun, [25000, 205_000]);
    }

    #[test]
    fn throughput_is_that_of_the_whole_duration() {
        let report = sample();
        // 100 operations of 4096 bytes in a millisecond.
        let figures = report.cells[0].measured().unwrap();
        assert_eq!(figures.throughput_bytes_per_s, 409_600_000);
    }
}

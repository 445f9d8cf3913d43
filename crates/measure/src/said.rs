//! What the guest's `pinbench` says, a line of JSON each; guest-images/guest/programs/pinbench.c
//! explains the fields.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A line.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Said {
    /// Which kernel it is.
    Guest {
        /// `uname -r`.
        kernel: String,
    },
    /// A cell of the matrix.
    Cell(Box<Cell>),
    /// An IO page fault against a CPU page fault.
    Ratio(Ratio),
    /// Who ends a pin.
    Release(Release),
    /// What a child may do with its parent's queue.
    Rules(Rules),
}

/// An IO page fault against a CPU page fault on the same absent page: medians.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Ratio {
    /// How often each was measured.
    pub rounds: u64,
    /// The CPU's first write.
    pub cpu_fault_ns: u64,
    /// An operation whose destination is absent, less one whose destination is there.
    pub io_fault_ns: u64,
    /// The second by the first.
    pub ratio: f64,
}

/// Pins, before and after the process that holds them is killed while the device uses them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Release {
    /// The row whose interface it is.
    pub row: String,
    /// Why it could not be tried.
    pub reason: Option<String>,
    /// Pages pinned while the process lived.
    pub pinned: Option<i64>,
    /// Growth of nr_foll_pin_acquired over all of it.
    pub acquired: Option<i64>,
    /// Growth of nr_foll_pin_released over all of it.
    pub released: Option<i64>,
}

/// What a child may do with its parent's queue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Rules {
    /// The errno of each attempt, or "allowed".
    pub child: BTreeMap<String, String>,
    /// Whether the parent's queue worked afterwards.
    pub parent_goes_on: bool,
}

/// How a cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was measured.
    Ok,
    /// This kernel cannot do the row or the column, or refuses to.
    Unavailable,
    /// Something went wrong, or the activity did not take place.
    Failed,
    /// The measurement ended before. No guest says so.
    #[serde(skip_deserializing)]
    Missing,
}

/// A cell; without figures unless `status` is ok.
#[derive(Debug, Deserialize)]
pub struct Cell {
    pub row: String,
    pub column: String,
    pub status: Status,
    pub reason: Option<String>,
    #[serde(flatten)]
    pub figures: Option<Figures>,
}

/// What was measured.
#[derive(Debug, Deserialize)]
pub struct Figures {
    pub op_bytes: u64,
    pub ops: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub faults_guest: Option<u64>,
    pub latency_ns: Latency,
    pub quantiles_ns: Vec<u64>,
    pub prepare: Prepare,
    pub steps: Vec<Step>,
    pub counters: BTreeMap<String, i64>,
}

/// Latency of one operation, from the doorbell to the completion, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Latency {
    /// Least.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Greatest.
    pub max: u64,
}

/// What preparing cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Prepare {
    /// Virtual time.
    pub ns: u64,
    /// Pages of 4 KiB that are present after it.
    pub present_pages: u64,
    /// Those that are locked.
    pub locked_pages: u64,
    /// Pages pinned by it.
    pub pinned_pages: u64,
}

/// One step of the activity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Step {
    /// When it began; in the report, from the cell's first operation.
    pub start_ns: u64,
    /// When it was over.
    pub end_ns: u64,
    /// The errno with which the kernel refused to act on the prepared memory.
    pub refused: Option<String>,
    /// What became of the prepared memory.
    pub memory: Moves,
    /// What became of the memory beside it, which the CPU had only touched.
    pub bystander: Moves,
}

/// What became of pages during a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Moves {
    /// Present before it.
    pub pages: u64,
    /// In another frame after it.
    pub moved: u64,
    /// Not present after it.
    pub gone: u64,
}

impl Said {
    /// Understands a line.
    pub fn parse(line: &str) -> Result<Said> {
        serde_json::from_str(line)
            .with_context(|| format!("the guest's report is not understood: {line}"))
    }
}

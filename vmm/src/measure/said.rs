//! What the guest's `pinbench` says, a line of JSON each; guest-images/programs/pinbench.c explains
//! the fields.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A line.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Said {
    /// A cell of the matrix.
    Cell(Box<Cell>),
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

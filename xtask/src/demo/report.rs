//! The figures of the demo, in the form of `--json`.

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::measure::{BenchCell, Measured};

/// The whole report. The names are the file's, and others read them: they do not change.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub cells: Vec<Cell>,
    pub cpu_fault_ns: u64,
    pub iopf_ns: u64,
    pub ratio: f64,
    pub faults: Faults,
    pub trace_hash: String,
    pub guest: Guest,
}

/// One kind and size of memory.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub memory: String,
    pub bytes: u64,
    pub ops: u64,
    pub iopf: u64,
    pub latency_ns: Latency,
}

/// Of one operation, from the doorbell to the completion.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub min: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// The same faults, counted in three places.
#[derive(Debug, Serialize)]
pub(super) struct Faults {
    /// Waits for software in the device's trace.
    pub device: u64,
    /// Records of stalls in the SMMU's event queue.
    pub smmu: u64,
    /// Reports that reached the guest's kernel. `faultbench` counts from before the first queue
    /// is opened to after the last operation, so no stall of the run is left out.
    pub guest: u64,
}

/// What ran.
#[derive(Debug, Serialize)]
pub(super) struct Guest {
    pub kernel: String,
    pub boot_ns: u64,
}

impl Report {
    pub(super) fn new(measured: &Measured) -> Result<Report> {
        let bench = &measured.bench;
        Ok(Report {
            cells: bench.cells.iter().map(Cell::new).collect(),
            cpu_fault_ns: bench.cpu_fault_ns,
            iopf_ns: bench.iopf_ns,
            ratio: bench.ratio,
            faults: Faults {
                device: measured.summary.device_faults,
                smmu: measured.summary.smmu_stall_records,
                guest: bench.faults_guest,
            },
            trace_hash: measured.summary.trace_hash.clone(),
            guest: Guest {
                kernel: bench.kernel.clone(),
                boot_ns: measured
                    .summary
                    .boot_ns
                    .context("the guest's init never was ready")?,
            },
        })
    }
}

impl Cell {
    fn new(cell: &BenchCell) -> Cell {
        let latency = &cell.latency_ns;
        Cell {
            memory: cell.memory.clone(),
            bytes: cell.bytes,
            ops: cell.ops,
            iopf: cell.iopf,
            latency_ns: Latency {
                min: latency.min,
                p50: latency.p50,
                p99: latency.p99,
                max: latency.max,
            },
        }
    }
}

impl Faults {
    /// Whether all three counts are one.
    pub(super) fn agree(&self) -> bool {
        self.device == self.smmu && self.smmu == self.guest
    }

    /// An error if they disagree, or if there was nothing to count.
    pub(super) fn check(&self) -> Result<()> {
        if !self.agree() {
            bail!(
                "the counts of IO page faults disagree: {} in the device's trace, {} in the \
                 SMMU's event queue, {} in the guest; this is a defect of Stallbox or of the guest",
                self.device,
                self.smmu,
                self.guest
            );
        }
        if self.guest == 0 {
            bail!("there was no IO page fault at all: untouched memory should have caused some");
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::measure::{Bench, Summary};
    use super::*;

    /// A run as `faultbench` and `--summary` describe it.
    pub(crate) fn sample() -> Measured {
        let bench: Bench = serde_json::from_str(
            r#"{"cells":[
                {"memory":"untouched","bytes":4096,"ops":100,"iopf":200,
                 "latency_ns":{"min":61234,"p50":63000,"p99":70110,"max":80000},"cpu_ns":1250},
                {"memory":"touched","bytes":1048576,"ops":100,"iopf":0,
                 "latency_ns":{"min":999,"p50":210000,"p99":1234567,"max":12345678},"cpu_ns":0}],
               "cpu_fault_ns":620,"iopf_ns":24100,"ratio":38.87,"faults_guest":26012,
               "kernel":"6.12.107"}"#,
        )
        .unwrap();
        let summary: Summary = serde_json::from_str(
            r#"{"trace_hash":"428ac55b2b676426be2e56ea247adace16d031bf2519a852c994fb5766cd93cd",
                "events":9,"device_faults":26012,"smmu_stall_records":26012,
                "device_fault_latency_ns":{"count":3,"min":1,"p50":20100,"p99":22000,"max":31000},
                "boot_ns":1190000000,"host_ms":5000}"#,
        )
        .unwrap();
        Measured {
            bench,
            summary,
            host_boot: Duration::from_millis(1400),
            host_total: Duration::from_millis(5000),
        }
    }

    #[test]
    fn the_file_has_the_agreed_names_and_no_others() {
        let report = Report::new(&sample()).unwrap();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"cells":[{"memory":"untouched","bytes":4096,"ops":100,"iopf":200,"#,
                r#""latency_ns":{"min":61234,"p50":63000,"p99":70110,"max":80000}},"#,
                r#"{"memory":"touched","bytes":1048576,"ops":100,"iopf":0,"#,
                r#""latency_ns":{"min":999,"p50":210000,"p99":1234567,"max":12345678}}],"#,
                r#""cpu_fault_ns":620,"iopf_ns":24100,"ratio":38.87,"#,
                r#""faults":{"device":26012,"smmu":26012,"guest":26012},"#,
                r#""trace_hash":"428ac55b2b676426be2e56ea247adace16d031bf2519a852c994fb5766cd93cd","#,
                r#""guest":{"kernel":"6.12.107","boot_ns":1190000000}}"#,
            )
        );
    }

    #[test]
    fn counts_that_disagree_are_an_error_that_names_them() {
        let faults = Faults {
            device: 5,
            smmu: 5,
            guest: 4,
        };
        let text = faults.check().unwrap_err().to_string();
        assert!(
            text.contains("5 in the device") && text.contains("4 in the guest"),
            "{text}"
        );
    }

    #[test]
    fn no_fault_at_all_is_an_error() {
        assert!(
            Faults {
                device: 0,
                smmu: 0,
                guest: 0
            }
            .check()
            .is_err()
        );
        assert!(
            Faults {
                device: 1,
                smmu: 1,
                guest: 1
            }
            .check()
            .is_ok()
        );
    }
}

//! Boots a guest that measures, and collects what it and Stallbox have to say.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stallbox_guest_images::Progress;
use stallbox_output::{remark, tell};

use crate::progress::Terminal;

/// The guest says this when its init has begun the command.
const BEGIN: &str = "demo: the measurement begins";

/// Console lines to show when the guest fails.
const LAST_LINES: usize = 25;

/// What `faultbench` reports; the top of guest-images/guest/programs/faultbench.c explains the figures.
#[derive(Debug, Deserialize)]
pub(super) struct Bench {
    pub cells: Vec<BenchCell>,
    pub cpu_fault_ns: u64,
    pub iopf_ns: u64,
    pub ratio: f64,
    pub faults_guest: u64,
    pub kernel: String,
}

/// One kind and size of memory.
#[derive(Debug, Deserialize)]
pub(super) struct BenchCell {
    pub memory: String,
    pub bytes: u64,
    pub ops: u64,
    pub iopf: u64,
    pub latency_ns: BenchLatency,
    /// The CPU's own time for the same pages; 0 where there was nothing to touch.
    pub cpu_ns: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct BenchLatency {
    pub min: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// What `stallbox run --summary` writes, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    pub trace_hash: String,
    pub device_faults: u64,
    pub smmu_stall_records: u64,
    pub boot_ns: Option<u64>,
    pub device_fault_latency_ns: Quantiles,
}

/// How long the device's transactions waited for software.
#[derive(Debug, Deserialize)]
pub(super) struct Quantiles {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// One run.
#[derive(Debug)]
pub(super) struct Measured {
    pub bench: Bench,
    pub summary: Summary,
    /// Host time to the command's first line, and to the end.
    pub host_boot: Duration,
    pub host_total: Duration,
}

/// Runs `faultbench` in a guest.
pub(super) fn measure(stallbox: &Path, ops: u32) -> Result<Measured> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let summary = folder.path().join("summary.json");
    let results = folder.path().join("results.jsonl");
    // Errors go to a file: a pipe that nobody empties would stop the run.
    let mut errors = tempfile::tempfile().context("cannot make a temporary file")?;
    let mut command = Command::new(stallbox);
    command
        .arg("run")
        .arg("--summary")
        .arg(&summary)
        .arg("--results")
        .arg(&results)
        .arg("--timeout")
        .arg((300 + 5 * ops).to_string())
        .arg("--")
        .arg(script(ops))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(
            errors
                .try_clone()
                .context("cannot share a temporary file")?,
        );

    let progress = Terminal::new("guest");
    progress.step("booting Linux", None);
    let started = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", stallbox.display()))?;
    let mut host_boot = None;
    let mut last = VecDeque::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).split(b'\n') {
        let line = line.context("cannot read the guest's console")?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line == BEGIN {
            host_boot = Some(started.elapsed());
            progress.step("measuring page faults", None);
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let status = child.wait().context("cannot wait for stallbox")?;
    let host_total = started.elapsed();
    if !status.success() {
        drop(progress);
        tell!("the console's last lines:");
        last.iter().for_each(|line| tell!("  {line}"));
        remark(text_of(&mut errors));
        bail!("the run of faultbench in the guest failed: stallbox ended with {status}");
    }
    progress.finish();
    Ok(Measured {
        bench: bench(&results)?,
        summary: json(&summary)?,
        host_boot: host_boot.context("the guest's command never began, and yet it ended well")?,
        host_total,
    })
}

/// The kernel's log must not get between the command's lines.
fn script(ops: u32) -> String {
    format!("dmesg -n 1; echo '{BEGIN}'; exec faultbench --ops {ops} --quiet --result")
}

/// faultbench's line among the results.
fn bench(path: &Path) -> Result<Bench> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the results in {}", path.display()))?;
    let line = text
        .lines()
        .next()
        .context("the guest reported no result")?;
    serde_json::from_str(line).with_context(|| format!("faultbench's report is odd: {line}"))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("cannot understand {}", path.display()))
}

fn text_of(file: &mut File) -> String {
    let mut text = Vec::new();
    // Only to show: what cannot be read is left out.
    if file.rewind().is_ok() {
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

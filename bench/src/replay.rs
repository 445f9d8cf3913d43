//! Runs that are repeated, and many runs from one place.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::report::Figure;
use crate::series::{Series, pairs};

/// Runs in a sweep that is measured.
const RUNS: u32 = 100;
/// 10 ms of the guest's time, and IO page faults in it.
const JOB: &str = "zipsva compress --in /init --out /tmp/out && sleep 0.006";
/// A command that takes some time on the host, with a trace that is not short.
const LONG: &str = "faultbench --quiet";

/// Measures.
pub(crate) fn run(stallbox: &Path, rounds: u32) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let time = |words: &[&str]| seconds(stallbox, words);
    let one = |command| move || time(&["run", "--quiet", "--", command]);
    let each = |command: &'static str| {
        move || {
            let seeds = format!("0..{RUNS}");
            let all = time(&[
                "sweep", "--jobs", "1", "--seeds", &seeds, "--quiet", "--", command,
            ])?;
            let first = time(&[
                "sweep", "--jobs", "1", "--seeds", "0..1", "--quiet", "--", command,
            ])?;
            Ok::<f64, anyhow::Error>((all - first) / f64::from(RUNS - 1))
        }
    };
    let mut figures = Vec::new();
    for (command, name, aim) in [
        ("true", "a run of a sweep that does nothing", "< 10 ms"),
        (
            JOB,
            "a run of a sweep, 10 ms of the guest's time",
            "< 50 ms",
        ),
    ] {
        let (ours, peer) = pairs(rounds, each(command), one(command))?;
        let [ours, peer] =
            [ours, peer].map(|it| it.into_iter().map(|s| s * 1e3).collect::<Series>());
        figures.push(
            Figure::new("replay", name, "ms", &ours)
                .beside("a run that boots", &peer, &peer.over(&ours))
                .aim(aim),
        );
    }
    let bundle = path("bundle");
    let (again, recorded) = pairs(
        rounds,
        || {
            // The first is never the repetition of nothing.
            if !Path::new(&bundle).exists() {
                time(&["run", "--quiet", "--record", &bundle, "--", LONG])?;
            }
            time(&["replay", &bundle, "--quiet"])
        },
        || time(&["run", "--quiet", "--record", &bundle, "--", LONG]),
    )?;
    figures.push(compared(
        "replay",
        "a recorded run repeated",
        &again,
        "recording it",
        &recorded,
    ));
    let (recorded, plain) = pairs(
        rounds,
        || time(&["run", "--quiet", "--record", &bundle, "--", LONG]),
        || time(&["run", "--quiet", "--", LONG]),
    )?;
    figures.push(compared(
        "replay",
        "a run that is recorded",
        &recorded,
        "one that is not",
        &plain,
    ));
    let trace = path("trace");
    let (traced, plain) = pairs(
        rounds,
        || time(&["run", "--quiet", "--trace", &trace, "--", LONG]),
        || time(&["run", "--quiet", "--", LONG]),
    )?;
    figures.push(
        compared(
            "replay",
            "a run with its trace written",
            &traced,
            "one without",
            &plain,
        )
        .aim("> 0.95x"),
    );
    let memory = (0..rounds)
        .map(|_| child_mib(stallbox))
        .collect::<Result<Vec<_>>>()?;
    figures.push(Figure::new(
        "replay",
        "memory of a run of a sweep that nobody shares",
        "MiB",
        &memory.into_iter().collect::<Series>(),
    ));
    Ok(figures)
}

fn compared(
    benchmark: &'static str,
    name: &str,
    ours: &[f64],
    peer_name: &str,
    peer: &[f64],
) -> Figure {
    let [ours, peer] = [ours, peer].map(|it| it.iter().copied().collect::<Series>());
    Figure::new(benchmark, name, "s", &ours).beside(peer_name, &peer, &peer.over(&ours))
}

/// How long a command takes.
fn seconds(stallbox: &Path, words: &[&str]) -> Result<f64> {
    let started = Instant::now();
    let output = Command::new(stallbox)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("cannot run stallbox")?;
    let took = started.elapsed();
    ensure!(
        output.status.success(),
        "stallbox {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took.as_secs_f64())
}

/// What a child has for itself after a second of the host's time.
fn child_mib(stallbox: &Path) -> Result<f64> {
    let script = format!("{JOB}; while :; do :; done");
    let mut sweep = Command::new(stallbox)
        .args(["sweep", "--seeds", "0..1", "--quiet", "--", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run stallbox")?;
    let found = grandchild(sweep.id()).and_then(|run| {
        sleep(Duration::from_secs(1));
        private_mib(run)
    });
    // Its children go with it.
    let _ = sweep.kill();
    let _ = sweep.wait();
    found
}

/// The run of a sweep: its fork server's child.
fn grandchild(sweep: u32) -> Result<u32> {
    for _ in 0..600 {
        if let Some(run) = child(sweep).and_then(child) {
            return Ok(run);
        }
        sleep(Duration::from_millis(50));
    }
    anyhow::bail!("there is no run after 30 seconds")
}

fn child(parent: u32) -> Option<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn private_mib(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let dirty = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kib = dirty.and_then(|it| it.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kib.context("smaps_rollup has no Private_Dirty")? / 1024.0)
}

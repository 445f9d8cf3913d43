//! The command line with guests, plans and latencies that keep the machine at work for as long as
//! they can: its time limit, signals and its control socket are served all the same.

#![forbid(unsafe_code)]

#[path = "../src/fuzzing/guest.rs"]
#[allow(missing_docs, reason = "documented where it belongs")]
mod guest;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use guest::Hostile;
use rustix::process::{Pid, Signal, kill_process};
use stallbox_machine::latency::Part;

/// What is promised in 100 ms, with room for a process to start and for a host that is busy.
const PROMPTLY: Duration = Duration::from_secs(3);
const TIMEOUT: i32 = 124;
const NO_STATUS: i32 = 122;

/// `stallbox run` of a guest, without latencies.
fn command(folder: &Path, hostile: Hostile) -> Command {
    let image = folder.join("Image");
    fs::write(&image, hostile.guest().bytes()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stallbox"));
    command.args(["run", "--quiet", "--memory", "128M"]);
    command
        .args(["--accel", "test-engine", "--kernel"])
        .arg(&image);
    for part in Part::ALL {
        command.args(["--latency", &format!("{}=fixed:0", part.name())]);
    }
    if hostile == Hostile::Spin {
        let latency = folder.join("latency.toml");
        fs::write(&latency, "instruction_ps = 1\n").unwrap();
        command.arg("--latency").arg(&latency);
    }
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("still there after {limit:?}");
        }
        sleep(Duration::from_millis(5));
    }
}

/// Ends by its time limit; answers and ends by a signal.
fn is_served(folder: &Path, mut command: impl FnMut() -> Command) {
    let timeout = Duration::from_secs(1);
    let summary = folder.join("summary");
    let mut limited = command();
    limited.arg("--summary").arg(&summary);
    let mut limited = limited
        .args(["--timeout", "1", "--", "true"])
        .spawn()
        .unwrap();
    assert_eq!(wait(&mut limited, timeout + PROMPTLY), Some(TIMEOUT));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
    let gap = Duration::from_micros(summary["longest_gap_us"].as_u64().unwrap());
    eprintln!("longest time between two looks: {gap:?}");
    assert!(gap < PROMPTLY);

    let socket = folder.join("socket");
    let mut run = command();
    run.arg("--control").arg(&socket).args(["--", "true"]);
    let mut run = run.spawn().unwrap();
    let end = Instant::now() + PROMPTLY;
    while !socket.exists() {
        assert!(Instant::now() < end, "it does not start");
        sleep(Duration::from_millis(5));
    }
    // By now it is at it.
    sleep(Duration::from_millis(300));
    let mut inspect = Command::new(env!("CARGO_BIN_EXE_stallbox"));
    let inspect = inspect.arg("inspect").arg(&socket).arg("status");
    let mut inspect = inspect.stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(wait(&mut inspect, PROMPTLY), Some(0));
    let pid = Pid::from_raw(run.id() as i32).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(wait(&mut run, PROMPTLY), Some(NO_STATUS));
}

#[test]
fn the_host_stays_in_control_of_any_guest() {
    for hostile in Hostile::ALL {
        eprintln!("{hostile:?}");
        let folder = tempfile::tempdir().unwrap();
        is_served(folder.path(), || command(folder.path(), hostile));
    }
}

#[test]
fn the_host_stays_in_control_of_any_plan() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "[[rule]]\nat = 'time'\nmatch = { from_ns = 0, period_ns = 1 }\n\
                do = { touch = { stream = 16, address = 0, count = 65536 } }\n";
    fs::write(&plan, text).unwrap();
    is_served(folder.path(), || {
        let mut command = command(folder.path(), Hostile::Spin);
        command.arg("--plan").arg(&plan);
        command
    });
}

/// A guest that touches no device has a present, and runs for as long as it is asked to.
#[test]
fn a_guest_that_spins_runs_for_as_long_as_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut run = command(folder.path(), Hostile::Spin);
    run.args(["--paused", "--control"]).arg(&socket);
    let mut run = run.args(["--", "true"]).spawn().unwrap();
    let status = || -> Option<(u64, bool)> {
        let output = Command::new(env!("CARGO_BIN_EXE_stallbox"))
            .args(["inspect", "--json"])
            .arg(&socket)
            .arg("status")
            .output()
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        Some((
            answer["time_ns"].as_u64()?,
            answer["answer"]["paused"] == true,
        ))
    };
    let until = |time_ns| {
        let end = Instant::now() + PROMPTLY;
        while status() != Some((time_ns, true)) {
            assert!(Instant::now() < end, "{:?} instead of {time_ns}", status());
            sleep(Duration::from_millis(5));
        }
    };
    until(0);
    for time_ns in [5000, 10_000] {
        let mut inspect = Command::new(env!("CARGO_BIN_EXE_stallbox"));
        let inspect = inspect.arg("inspect").arg(&socket).args(["resume", "5000"]);
        let mut inspect = inspect.stdout(Stdio::null()).spawn().unwrap();
        assert_eq!(wait(&mut inspect, PROMPTLY), Some(0));
        until(time_ns);
    }
    let pid = Pid::from_raw(run.id() as i32).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(wait(&mut run, PROMPTLY), Some(NO_STATUS));
}

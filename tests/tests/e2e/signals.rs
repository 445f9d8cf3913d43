//! Signals to a run: the end in order, and a pause.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stallbox_tests::{Guest, skipped};

/// How long a run is stopped.
const PAUSE: Duration = Duration::from_secs(6);

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a PID");
    kill_process(pid, signal).expect("cannot send a signal");
}

/// Waits until the process is stopped (T in proc_pid_stat(5)).
fn until_stopped(pid: u32) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stallbox has ended");
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if after_name.starts_with('T') {
            return;
        }
        assert!(Instant::now() < end, "it was never stopped: {stat}");
        sleep(Duration::from_millis(5));
    }
}

/// What stops a run. Ctrl-Z's SIGTSTP stops no process whose group is orphaned, as in a job of CI
/// (setpgid(2)), unless it is handled, as with kvm.
const STOP: Signal = if cfg!(feature = "kvm") {
    Signal::TSTP
} else {
    Signal::STOP
};

fn pause(pid: u32) {
    send(pid, STOP);
    until_stopped(pid);
    sleep(PAUSE);
    send(pid, Signal::CONT);
}

/// Tells when it began, and at its end how long that took by the guest's clock. It counts for seconds of
/// the host's time, so that the signal finds it at work.
const CLOCKED: &str = "read start rest < /proc/uptime; echo begun; sleep 1; \
    n=0; while [ $n -lt 40000 ]; do n=$((n + 1)); done; \
    zipsva compress --check --in /stallbox/command --out /tmp/out || exit 1; \
    read end rest < /proc/uptime; echo \"took $((${end%.*} - ${start%.*}))\"";

/// The guest's clock and the devices' stand still, and the guest goes on as if nothing had been.
#[test]
fn a_stopped_run_loses_no_time_of_its_own() {
    let started = Instant::now();
    let run = Guest::new().when("begun", pause).run(CLOCKED).success();
    let host = started.elapsed();
    assert!(host >= PAUSE, "{run}");
    let took = run
        .output()
        .lines()
        .find_map(|line| line.strip_prefix("took ")?.parse::<u64>().ok())
        .expect("the guest tells");
    // Whole seconds, so one of them may be the cut's; of the pause nothing else may be in it.
    let without = (host - PAUSE).as_secs() + 2;
    assert!(took <= without, "{took} s of {host:?}\n{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats a run")]
fn a_stopped_run_is_the_same_run() {
    let plain = Guest::new().run(CLOCKED).success().summary();
    let stopped = Guest::new().when("begun", pause).run(CLOCKED).success();
    assert_eq!(plain.trace_hash, stopped.summary().trace_hash, "{stopped}");
}

/// Whether a signal is ignored here, as by nohup or in a shell's background, and so in what is
/// started from here (SigIgn of proc_pid_status(5)).
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.expect("a mask") >> (signal.as_raw() - 1) & 1 == 1
}

/// `kill` of a run: what was asked for is written.
#[test]
fn a_run_that_is_told_to_end_writes_its_summary() {
    for (signal, act) in [
        (Signal::TERM, (|pid| send(pid, Signal::TERM)) as fn(u32)),
        (Signal::INT, |pid| send(pid, Signal::INT)),
        (Signal::HUP, |pid| send(pid, Signal::HUP)),
    ] {
        if is_ignored(signal) {
            skipped(&format!("{signal:?} is ignored here"));
            continue;
        }
        let run = Guest::new()
            .when("begun", act)
            .traced()
            .run("echo begun; while :; do :; done");
        let run = run.status(122);
        assert!(
            run.errors().contains("left before the command ended"),
            "{signal:?}\n{run}"
        );
        assert_eq!(run.trace().len() as u64, run.summary().events, "{run}");
    }
}

/// As with nohup(1), which makes a run outlive the terminal that it was started from.
#[test]
fn an_ignored_signal_stays_ignored() {
    let run = Guest::new()
        .started_by(&["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"])
        .when("begun", |pid| send(pid, Signal::HUP))
        .run("echo begun; sleep 1; exit 7");
    run.status(7);
}

//! The same guest and seed are the same run, on any host and at any time.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use stallbox_tests::{Guest, Summary, stallbox};

/// Short, and yet it has faults, interrupts, several processes and random latencies in it.
const SCRIPT: &str = "zipsva compress --poll epoll --check --in /stallbox/command --out /tmp/out";

/// What must not differ.
fn essence(summary: &Summary) -> (String, u64, u64, u64) {
    (
        summary.trace_hash.clone(),
        summary.events,
        summary.instructions.expect("the soft engine counts"),
        summary.virtual_ns,
    )
}

fn run(guest: &Guest) -> (String, u64, u64, u64) {
    let run = guest.run(SCRIPT).success();
    let summary = run.summary();
    assert!(
        summary.device_faults > 0,
        "nothing of interest happens\n{run}"
    );
    essence(&summary)
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_hundred_runs_have_one_hash() {
    // Two at a time, which is as many as the limit on guests lets through.
    let runs: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| (0..50).map(|_| run(&Guest::new())).collect::<Vec<_>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert_eq!(runs.len(), 100);
    let different: BTreeSet<_> = runs.iter().collect();
    assert_eq!(different.len(), 1, "{different:?}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn several_cpus_are_no_less_deterministic() {
    let script = "zipabuse storm --queues 4 --depth 8 --bytes 16384 & \
                  zipabuse kill-under-dma --rounds 4; wait";
    for updates in ["none", "dirty"] {
        let guest = Guest::new()
            .cpus(4)
            .option("--cpu-hafdbs", updates)
            .option("--smmu-httu", updates);
        let hashes: BTreeSet<_> = (0..4)
            .map(|_| essence(&guest.run(script).success().summary()))
            .collect();
        assert_eq!(hashes.len(), 1, "{updates}: {hashes:?}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn the_host_does_not_show() {
    let expected = run(&Guest::new());
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("another-name");
    fs::copy(stallbox(), &copy).unwrap();
    for (what, guest) in [
        (
            "a lower priority",
            Guest::new().started_by(&["nice", "-n", "19"]),
        ),
        ("another folder", Guest::new().in_folder(folder.path())),
        (
            "another environment",
            Guest::new()
                .environment("LANG", "de_DE.UTF-8")
                .environment("NOISE", "x"),
        ),
        (
            "another time zone",
            Guest::new().environment("TZ", "Asia/Tokyo"),
        ),
        ("bytes on standard input", Guest::new().input(b"noise\n")),
        ("no console", Guest::new().flag("--quiet")),
        ("a trace", Guest::new().traced()),
        ("another program's name", Guest::new().program(&copy)),
        (
            "one host CPU",
            Guest::new().started_by(&["taskset", "-c", "0"]),
        ),
    ] {
        let found = match what {
            // The script's status is all that a quiet run shows.
            "no console" => essence(&guest.run(SCRIPT).success().summary()),
            _ => run(&guest),
        };
        assert_eq!(found, expected, "{what} shows in the trace");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn another_seed_is_another_run() {
    let hashes: BTreeSet<_> = ["1", "2", "3"]
        .map(|seed| run(&Guest::new().option("--seed", seed)).0)
        .into();
    assert_eq!(hashes.len(), 3, "{hashes:?}");
    // 1 is the default.
    assert!(hashes.contains(&run(&Guest::new()).0));
}

#[test]
fn the_hash_is_that_of_the_trace_file() {
    let run = Guest::new().traced().run("true").success();
    assert_eq!(run.trace().len() as u64, run.summary().events, "{run}");
}

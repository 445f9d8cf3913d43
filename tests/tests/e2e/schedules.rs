//! Orders in which vCPUs advance.

use std::fs;
use std::path::Path;

use serde_json::Value;
use stallbox_tests::{Guest, stallbox_in};

const ERROR: i32 = 125;
const ORDERS: [&str; 3] = ["random", "points", "pct:3"];
const STORM: &str = "zipabuse storm --queues 4 --depth 8 --bytes 16384 & \
                     zipabuse kill-under-dma --rounds 2; wait";

fn errors(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Recorded in each order, repeated with checkers beside it.
#[test]
#[cfg_attr(feature = "kvm", ignore = "the host decides when its vCPUs run")]
fn a_run_in_each_order_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bug.sbx");
    for order in ORDERS {
        for cpus in [2, 4] {
            let guest = Guest::new().cpus(cpus).option("--schedule", order);
            let run = guest.option("--record", &bundle).run(STORM).success();
            let inputs = &run.whole_summary()["inputs"];
            let schedule = inputs["schedule"].as_str().unwrap();
            assert!(schedule.starts_with(order), "{inputs}");
            assert!(
                run.whole_summary()["preemptions"].as_u64() > Some(100),
                "{run}"
            );
            let words = ["replay", "bug.sbx", "--check", "tlb,stall,dma"];
            let again = stallbox_in(folder.path(), &words);
            let told = errors(&again);
            assert!(told.contains("this is the recorded run"), "{order}: {told}");
            assert_eq!(again.status.code(), Some(0), "{order}: {told}");
        }
    }
}

fn runs(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("runs")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.skip(1).collect()
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the host decides when its vCPUs run")]
fn linux_boots_and_works_in_each_order_under_several_seeds() {
    let folder = tempfile::tempdir().unwrap();
    for order in ORDERS {
        let schedule = format!("--schedule={order}");
        let mut words = vec!["sweep", "--seeds", "0..3", "--from", "start", "--cpus", "4"];
        words.extend([&schedule, "--json", "runs", "--quiet", "--", STORM]);
        let swept = stallbox_in(folder.path(), &words);
        assert_eq!(swept.status.code(), Some(0), "{order}: {swept:?}");
        let runs = runs(folder.path());
        let hash = |run: &Value| run["trace_hash"].as_str().unwrap().to_owned();
        let hashes: std::collections::BTreeSet<_> = runs.iter().map(hash).collect();
        assert_eq!(hashes.len(), 3, "{order}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn one_vcpu_has_one_order() {
    let hash = |order: &str| {
        let guest = Guest::new().option("--schedule", order);
        let run = guest.run("zipsva compress --in /stallbox/command --out /tmp/out");
        run.success().summary().trace_hash
    };
    let one = hash("round-robin");
    for order in ORDERS {
        assert_eq!(hash(order), one, "{order}");
    }
}

/// What is drawn is a matter of its own seed, if it has one; the rest is not.
#[test]
#[cfg_attr(feature = "kvm", ignore = "the host decides when its vCPUs run")]
fn the_order_has_a_seed_of_its_own() {
    let preemptions = |seeds: &[&str]| {
        let mut guest = Guest::new().cpus(2).option("--schedule", "random");
        for pair in seeds.chunks(2) {
            guest = guest.option(pair[0], pair[1]);
        }
        let summary = guest.run("true").success().whole_summary();
        (
            summary["trace_hash"].clone(),
            summary["preemptions"].clone(),
        )
    };
    let one = preemptions(&["--schedule-seed", "1"]);
    assert_eq!(preemptions(&[]), one, "the run's seed is 1");
    assert_ne!(preemptions(&["--schedule-seed", "2"]).1, one.1);
    assert_eq!(preemptions(&["--preemptions", "7"]).1, 7);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the host decides when its vCPUs run")]
fn preemptions_that_do_not_matter_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let words = "run --record b.sbx --cpus 2 --schedule points --quiet -- false";
    let words: Vec<&str> = words.split(' ').collect();
    assert_eq!(stallbox_in(folder.path(), &words).status.code(), Some(1));
    let shrunk = stallbox_in(folder.path(), &["shrink", "b.sbx", "--quiet"]);
    let text = String::from_utf8_lossy(&shrunk.stdout);
    assert!(text.contains("preemptions: 0, was "), "{text}");
    let again = stallbox_in(folder.path(), &["replay", "b-small.sbx", "--quiet"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

#[test]
fn what_is_no_order_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (order, why) in [
        ("fair", "write round-robin, random, points or pct:DEPTH"),
        ("pct:0", "write a depth from 1 to 32"),
        ("pct:3,steps=0", "a number of instructions from 1"),
    ] {
        let words = ["run", "--schedule", order, "--", "true"];
        let told = errors(&stallbox_in(folder.path(), &words));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
#[cfg_attr(not(feature = "kvm"), ignore = "of the kvm engine")]
fn the_kvm_engine_has_no_choice() {
    let run = Guest::new().option("--schedule", "points").run("true");
    let run = run.status(ERROR);
    assert!(
        run.errors().contains("--schedule points: the host decides"),
        "{run}"
    );
}

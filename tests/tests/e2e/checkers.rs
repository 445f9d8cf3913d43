//! Checkers: nothing in the stock kernel is found, and what fault plans do at the SMMU's side of the
//! interface is: a CMD_TLBI that is consumed without effect, a record that is lost, doubled or late.
//! Kernels with bugs of their own are in `bugs.rs`.

use std::fs;

use stallbox_tests::{Guest, Record, Run, repository};

const JOB: &str = "zipsva compress --poll epoll --check --in /stallbox/command --out /tmp/out";
/// A checker reported something, and the command succeeded.
const REPORTED: i32 = 123;

fn example(guest: Guest, name: &str) -> Guest {
    guest.option(
        "--plan",
        repository(&format!("docs/fault-plans/{name}.toml")),
    )
}

fn reports(run: &Run) -> Vec<Record> {
    let trace = run.trace().into_iter();
    trace.filter(|record| record.event == "report").collect()
}

#[track_caller]
fn complains(run: &Run, text: &str) {
    assert!(run.errors().contains(text), "no \"{text}\"\n{run}");
}

/// Limits are times. With the KVM engine they are the host's, and one that is emulated needs a hundred
/// times as long for the same.
const CHECKS: &str = if cfg!(feature = "kvm") {
    "tlb=1000000,stall=60000000,dma,config=1000000,pasid"
} else {
    "tlb,stall,dma,config,pasid"
};

#[test]
fn the_stock_kernel_gives_no_cause() {
    for (cpus, script) in [
        // Too long, where an exit is dear and the host emulated.
        #[cfg(not(feature = "kvm"))]
        (1, "zipgone all && zipabuse all"),
        #[cfg(feature = "kvm")]
        (1, "zipabuse all"),
        (
            4,
            "zipgone all & zipabuse kill-under-dma --rounds 20 & zipabuse storm --bytes 16384; wait",
        ),
    ] {
        let run = Guest::new()
            .cpus(cpus)
            .option("--check", CHECKS)
            .traced()
            .run(script);
        assert!(run.summary().device_faults > 500, "{run}");
        // Where all is slow, the kernel gives up on a queue that does not drain (hisi_qm waits 0.1 to
        // 0.2 s), and unbinds under the device. It says so, and so may the checker.
        let gave_up = run.console().contains("Failed to drain out data");
        if cfg!(feature = "kvm") && gave_up {
            let unbound = "resume_after_unbind";
            let found = reports(&run);
            let all = found.iter().all(|it| it.text("finding") == Some(unbound));
            assert!(all, "{run}");
            continue;
        }
        assert!(reports(&run).is_empty(), "{run}");
        assert!(!run.errors().contains("check"), "{run}");
        run.success();
    }
}

/// Pages that move, merge, are shared, and become blocks, each time with a table that changes first.
#[test]
#[cfg_attr(feature = "kvm", ignore = "an emulated host takes minutes for it")]
fn the_stock_kernel_gives_no_cause_while_pages_move_under_the_device() {
    let run = Guest::new()
        .cpus(2)
        .option("--nodes", "2")
        .option("--memory", "1G")
        .option("--check", CHECKS)
        .traced()
        .run(
            "for column in collapse migrate ksm fork swap; do
                pinbench --row none --row thp --regions 2 --column $column || exit 1
            done",
        )
        .success();
    assert_eq!(
        run.output().matches("\"status\":\"ok\"").count(),
        10,
        "{run}"
    );
    assert!(reports(&run).is_empty(), "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats a run")]
fn checkers_change_nothing_in_a_guest() {
    for cpus in ["1", "2", "4"] {
        let script = "zipabuse kill-under-dma --rounds 4";
        let guest = || Guest::new().option("--cpus", cpus);
        let plain = guest().run(script).success().summary();
        let checked = guest().option("--check", "tlb,stall,dma,config,pasid");
        let checked = checked.run(script).success().summary();
        assert_eq!(plain.trace_hash, checked.trace_hash, "{cpus} CPUs");
    }
}

/// A process whose unmapped memory stays in the TLB.
fn without_invalidation(check: &str) -> Run {
    let guest = Guest::new().option("--check", check).traced();
    example(guest, "stale-tlb").run(
        "echo marker go > /dev/ttyS1; zipabuse storm --queues 2 --depth 4 --bytes 16384; sleep 0.1",
    )
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn tlb_finds_a_missing_invalidation_and_who_unmapped() {
    let run = without_invalidation("tlb").status(REPORTED);
    complains(&run, "check tlb: DMA through a stale translation");
    complains(&run, "(unmapped)");
    complains(&run, "no invalidation of this address was completed");
    complains(&run, "CMD_TLBI_NH_");
    complains(&run, "sent, dropped by rule no-tlbi");
    assert!(!run.output().contains("was sent since"), "{run}");
    // The program's munmap, by name.
    complains(&run, "__arm64_sys_munmap");
    complains(&run, "this page so far:");
    let found = reports(&run);
    assert!(
        found.iter().all(|it| it.text("check") == Some("tlb")),
        "{run}"
    );
    assert!(found[0].text("output").is_some(), "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn dma_finds_pages_that_were_freed() {
    let run = without_invalidation("dma").status(REPORTED);
    complains(&run, "check dma: DMA to a page that the guest has freed");
    complains(&run, "the page's reference count is 0");
    complains(&run, "__arm64_sys_munmap");
    let found = reports(&run);
    assert!(
        found.iter().all(|it| it.text("check") == Some("dma")),
        "{run}"
    );
}

#[test]
fn tlb_tells_an_invalidation_that_a_rule_holds_from_one_that_was_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held.toml");
    let plan = "[[rule]]\nname='held'\nat='command'\n\
                match={command='CMD_TLBI', after_marker='go'}\ndo={delay=20_000_000}\n";
    fs::write(&path, plan).unwrap();
    let run = Guest::new()
        .option("--plan", &path)
        .option("--check", "tlb")
        .traced()
        .run("echo marker go > /dev/ttyS1; zipgone under-unmap")
        .status(REPORTED);
    complains(&run, "sent, not yet executed (rule held)");
    assert!(!run.output().contains("was sent since"), "{run}");
}

#[test]
fn stall_tells_an_answer_that_a_rule_has_lost() {
    let guest = Guest::new().option("--check", "stall=500000").traced();
    let script = format!("timeout -s KILL 2 {JOB}; echo");
    let run = example(guest, "lost-resume").run(&script).status(REPORTED);
    complains(&run, "CMD_RESUME at");
    complains(&run, "sent, dropped by rule lost-resume");
}

#[test]
fn an_invalidation_that_is_only_late_is_none_of_its_business() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("late.toml");
    let plan = "[[rule]]\nat='command'\nmatch={command='CMD_TLBI', after_marker='go'}\n\
                do={delay=20000}\n";
    fs::write(&path, plan).unwrap();
    let run = Guest::new()
        .option("--plan", &path)
        .option("--check", "tlb,dma")
        .traced()
        .run("echo marker go > /dev/ttyS1; zipabuse storm --queues 2 --depth 4 --bytes 16384")
        .success();
    assert!(reports(&run).is_empty(), "{run}");
}

#[test]
fn stall_finds_one_that_nobody_answers() {
    let guest = Guest::new().option("--check", "stall=500000").traced();
    let script = format!("timeout -s KILL 2 {JOB}; echo");
    let run = example(guest, "lost-record").run(&script).status(REPORTED);
    complains(&run, "a stall has had no answer for 500 ms");
    assert_eq!(reports(&run).len(), 1, "{run}");
}

#[test]
fn stall_finds_an_answer_that_nobody_waits_for() {
    let guest = Guest::new().option("--check", "stall").traced();
    let run = example(guest, "twice").run(JOB).status(REPORTED);
    complains(&run, "a CMD_RESUME for which no stall waits");
    complains(&run, "was answered before");
    assert_eq!(reports(&run).len(), 1, "{run}");
}

#[test]
fn stall_finds_an_answer_after_unbind() {
    let guest = Guest::new().option("--check", "stall=3600000000").traced();
    let script = format!(
        "{JOB} & sleep 1; kill -9 $!; wait $!; sleep 1; echo marker gone > /dev/ttyS1; sleep 1"
    );
    let run = example(guest, "unbind-under-stall").run(&script);
    let run = run.status(REPORTED);
    complains(&run, "a stall was answered after its PASID was unbound");
}

#[test]
fn what_a_checker_needs_is_asked_for() {
    let run = Guest::new().option("--check", "tbl").run_raw(&["true"]);
    complains(
        &run.status(125),
        "there are tlb, stall, dma, config and pasid",
    );
    let run = Guest::new()
        .option("--symbols", "/dev/null")
        .option("--check", "dma")
        .run_raw(&["true"]);
    complains(&run.status(125), "--symbols");
}

//! The SVA test engine: its driver, its operations, and both ways to a page that is not there.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::Value;
use stallbox_tests::{Guest, Run, Stalls};

const STALL: &str = "test-engine,fault=stall";
const PRI: &str = "test-engine,fault=pri";

/// A guest with the engine: a stock kernel, or for page requests the one that handles them.
fn guest(accelerator: &str) -> Guest {
    let image = if accelerator.contains("fault=pri") {
        "pri"
    } else {
        "stock"
    };
    Guest::new()
        .option("--accel", accelerator)
        .option("--image", image)
}

/// The report of the only `svatest` of a run.
fn report(run: &Run) -> Value {
    serde_json::from_str(run.output().trim())
        .unwrap_or_else(|error| panic!("{error} in what svatest said\n{run}"))
}

fn number(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// Pages of 1 MiB.
const PAGES: u64 = 256;

/// Each page of the destination, and of the source, which is in the page cache, some: all of them where
/// the CPU sets access flags itself, for what Linux maps around a fault is old then
/// (`arch_wants_old_prefaulted_pte`), and of no use to the device.
const FAULTS: RangeInclusive<u64> = PAGES..=2 * PAGES;

#[test]
fn memory_never_touched_is_reached_by_stalls() {
    let script = "svatest copy --bytes 1M --memory untouched";
    let run = guest(STALL).traced().run(script).success();
    let report = report(&run);
    let stalls = number(&report, "stalls");
    assert!(FAULTS.contains(&stalls), "{report}");
    assert_eq!(number(&report, "page_requests"), 0, "{report}");
    assert_eq!(report["ok"], true, "{report}");
    Stalls::of(&run.trace()).assert_all_answered();
    assert_eq!(run.summary().smmu_stall_records, stalls, "{run}");
}

#[test]
fn memory_never_touched_is_reached_by_page_requests() {
    let script = "svatest copy --bytes 1M --memory untouched";
    let run = guest(PRI).traced().run(script).success();
    let report = report(&run);
    let requests = number(&report, "page_requests");
    assert!(FAULTS.contains(&requests), "{report}");
    assert_eq!(number(&report, "stalls"), 0, "{report}");
    assert_eq!(report["ok"], true, "{report}");
    let trace = run.trace();
    let sent = trace.iter().filter(|it| it.event == "page_request").count() as u64;
    let answered = trace
        .iter()
        .filter(|it| it.event == "page_response")
        .count() as u64;
    // A Stop Marker is sent too, when the program ends, and not answered.
    assert_eq!((sent, answered), (requests + 1, requests), "{run}");
    assert_eq!(run.summary().smmu_stall_records, 0, "{run}");
}

#[test]
fn memory_touched_before_does_not_fault() {
    for accelerator in [STALL, PRI] {
        let run = guest(accelerator).run("svatest copy --bytes 1M").success();
        let report = report(&run);
        assert_eq!(number(&report, "stalls"), 0, "{report}");
        assert_eq!(number(&report, "page_requests"), 0, "{report}");
        assert_eq!(run.summary().device_faults, 0, "{run}");
    }
}

/// Every operation on memory in every state; `svatest` checks all data itself.
const EVERYTHING: &str = "
    for op in nop copy fill compare crc add chase gather scatter; do
        for memory in untouched touched zero huge unmapped; do
            svatest $op --bytes 256K --ops 3 --memory $memory > /dev/null || exit 1
            echo $op $memory
        done
    done";

#[test]
fn every_operation_does_what_it_should_on_memory_in_every_state() {
    for accelerator in [STALL, PRI, "test-engine,fault=pri,ats=prefill"] {
        let guest = guest(accelerator).option("--memory", "1G");
        let run = guest.run(EVERYTHING).success();
        assert_eq!(run.output().lines().count(), 45, "{run}");
    }
}

#[test]
fn many_queues_add_atomically_to_the_same_counters() {
    for accelerator in [STALL, PRI] {
        let script = "svatest add --bytes 128K --ops 64 --queues 16 --depth 64 --memory untouched";
        let run = guest(accelerator).cpus(4).run(script).success();
        assert_eq!(report(&run)["ok"], true, "{run}");
    }
}

#[test]
fn a_hole_in_memory_ends_the_operation_and_nothing_else() {
    for (accelerator, aborts) in [(STALL, true), (PRI, false)] {
        let run = guest(accelerator)
            .run("svatest copy --memory unmapped > /dev/null && svatest copy > /dev/null")
            .success();
        assert_eq!(run.summary().job_errors, 1, "{run}");
        assert_eq!(run.summary().resumes_abort == 1, aborts, "{run}");
    }
}

#[test]
fn prefill_finds_translations_of_present_pages() {
    let script = "svatest copy --bytes 256K";
    let prefilled = |accelerator| {
        let run = guest(accelerator).run(script).success();
        let report = report(&run);
        let count = number(&report["prefill"], "present");
        (count, number(&report["latency_ns"], "p50"))
    };
    let (none, _) = prefilled(PRI);
    let (all, _) = prefilled("test-engine,fault=pri,ats=prefill");
    // 64 pages of source, 64 of destination.
    assert_eq!((none, all), (0, 128));
}

#[test]
fn an_interrupt_wakes_a_program_that_waits() {
    for accelerator in [STALL, PRI] {
        let script = "svatest chase --bytes 256K --ops 4 --poll epoll";
        let run = guest(accelerator).traced().run(script).success();
        let report = report(&run);
        // Without one, svatest looks again after 100 ms.
        let soon = number(&report, "ns") < 50_000_000;
        assert!(soon || cfg!(feature = "kvm"), "{report}");
        // The engine is 00:02.0.
        let trace = run.trace();
        let mut messages = trace.iter().filter(|it| it.event == "msi");
        assert!(
            messages.any(|it| it.number("device") == Some(2 << 3)),
            "{run}"
        );
    }
}

#[test]
fn processes_killed_under_dma_leave_nothing_behind() {
    // How soon a process is under DMA is the host's matter with kvm.
    let delays = match cfg!(feature = "kvm") {
        true => "4700 9900 30000 100000 300000 600000 1000000",
        false => "3000 4700 6300 8100 9900",
    };
    let script = format!(
        "svatest nop > /dev/null
        for delay in {delays}; do
            svatest fill --bytes 8M --ops 4 --memory untouched --no-count > /dev/null 2>&1 &
            usleep $delay
            kill -9 $!
            wait $!
        done
        # A page fault that is being handled keeps the address space, and so the queue, a bit longer.
        instances=/sys/class/uacce/svatest-0/available_instances
        for round in $(seq 50); do
            [ $(cat $instances) = 64 ] && break
            usleep 50000
        done
        cat $instances
        svatest copy --bytes 256K --memory untouched > /dev/null || exit 1
        dmesg | grep -iE 'warning|oops|unexpected|does not drain' && exit 1
        exit 0"
    );
    for accelerator in [STALL, PRI] {
        for cpus in [1, 4] {
            let run = guest(accelerator)
                .cpus(cpus)
                .traced()
                .run(&script)
                .success();
            assert!(run.output().lines().any(|line| line == "64"), "{run}");
            let trace = run.trace();
            Stalls::of(&trace).assert_all_answered();
            let dropped = trace.iter().filter(|it| it.event == "job_dropped");
            // Operations that were under way, of most of the processes.
            assert!(dropped.count() >= 8, "nobody was killed under DMA\n{run}");
        }
    }
}

#[test]
fn a_kernel_that_handles_no_page_requests_is_told_of() {
    let run = Guest::new()
        .option("--accel", PRI)
        .run("svatest copy 2>&1; echo status $?; dmesg | grep 'page requests'")
        .success();
    let said = |text| assert!(run.output().contains(text), "no \"{text}\"\n{run}");
    said("status 1");
    said("needs Stallbox's patch");
    said("no SVA: this kernel's arm-smmu-v3 does not handle page requests (PRI)");
}

#[test]
fn both_accelerators_work_beside_each_other() {
    let script = "zipsva compress --check --in /bin/busybox --out /tmp/out > /dev/null || exit 1
        svatest copy --memory untouched > /dev/null || exit 1
        for device in 1 2; do
            basename $(readlink /sys/bus/pci/devices/0000:00:0$device.0/iommu_group)
        done";
    for accelerator in [STALL, PRI] {
        let run = guest(accelerator)
            .option("--accel", "zip")
            .run(script)
            .success();
        let groups: BTreeSet<&str> = run.output().lines().collect();
        assert_eq!(groups.len(), 2, "{run}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats a run")]
fn page_requests_repeat_exactly() {
    let hash = || {
        let script = "svatest copy --bytes 256K --ops 4 --queues 2 --memory untouched";
        let run = guest(PRI).cpus(2).run(script).success();
        run.summary().trace_hash
    };
    assert_eq!(hash(), hash());
}

#[test]
fn svatest_says_what_is_missing() {
    let run = Guest::new().run("svatest copy 2>&1");
    let run = run.status(1);
    assert!(run.output().contains("--accel test-engine"), "{run}");
}

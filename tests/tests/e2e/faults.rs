//! Pages that are absent, addresses that are wrong, processes that die: what the device does then.

use stallbox_tests::{Guest, Run, Stalls};

use super::REVISIONS;

/// Runs a case of `zipabuse`, which says itself whether all went well, and checks the books.
fn abuse(guest: Guest, case: &str) -> (Run, Stalls) {
    let run = guest.traced().run(&format!("zipabuse {case}")).success();
    assert!(run.output().contains(": ok "), "{run}");
    let stalls = Stalls::of(&run.trace());
    stalls.assert_all_answered();
    let summary = run.summary();
    assert_eq!(summary.device_faults, stalls.reported, "{run}");
    assert_eq!(summary.smmu_stall_records, stalls.reported, "{run}");
    (run, stalls)
}

#[test]
fn a_storm_of_absent_pages_is_weathered() {
    for revision in REVISIONS {
        let (run, stalls) = abuse(Guest::new().revision(revision), "storm");
        // 128 requests of 16 pages: every second source is anonymous memory, a fault a page (the
        // others are a file's, of which one fault maps 16), and so is every final output.
        assert!(stalls.reported > (64 + 128) * 16, "{stalls:?}\n{run}");
        assert_eq!(run.summary().resumes_abort, 0, "{run}");
        assert_eq!(run.summary().job_errors, 0, "{run}");
    }
}

#[test]
fn a_storm_on_four_cpus_is_weathered() {
    let (run, _) = abuse(
        Guest::new().cpus(4),
        "storm --queues 16 --depth 32 --bytes 16384",
    );
    assert_eq!(run.summary().resumes_abort, 0, "{run}");
}

#[test]
fn a_storm_with_messages_from_the_smmu_is_weathered() {
    abuse(
        Guest::new().option("--smmu-irq", "msi"),
        "storm --bytes 16384",
    );
}

#[test]
fn processes_killed_under_dma_leave_no_stall_pending() {
    for revision in REVISIONS {
        let (run, stalls) = abuse(Guest::new().revision(revision), "kill-under-dma");
        assert!(stalls.reported > 0, "{run}");
    }
}

#[test]
fn processes_killed_under_dma_leave_no_stall_pending_on_four_cpus() {
    abuse(Guest::new().cpus(4), "kill-under-dma --rounds 40");
}

#[test]
fn an_access_to_an_unmapped_address_ends_in_an_error_completion() {
    for revision in REVISIONS {
        let (run, _) = abuse(Guest::new().revision(revision), "unmapped");
        let summary = run.summary();
        assert!(summary.resumes_abort > 0 && summary.job_errors > 0, "{run}");
    }
}

#[test]
fn memory_that_may_only_be_read_is_not_written() {
    for revision in REVISIONS {
        let (run, _) = abuse(Guest::new().revision(revision), "readonly-dst");
        let refused = run
            .trace()
            .iter()
            .filter(|record| record.event == "device_fault")
            .filter(|record| record.is("write") && record.is("aborted"))
            .count();
        assert!(refused >= 2, "{refused}\n{run}");
    }
}

#[test]
fn bad_descriptors_end_in_completions() {
    for revision in REVISIONS {
        abuse(Guest::new().revision(revision), "bad-descriptors");
    }
}

#[test]
fn all_of_it_in_one_boot() {
    let (run, _) = abuse(Guest::new().cpus(2), "all");
    assert_eq!(run.output().matches(": ok ").count(), 6, "{run}");
}

#[test]
fn device_smmu_and_guest_count_the_same_faults() {
    for revision in REVISIONS {
        let script = "faultbench --ops 10 --bytes 4096,65536 --quiet --result";
        let run = Guest::new().revision(revision).run(script).success();
        let results = run.results();
        let guest = results[0]["faults_guest"].as_u64();
        assert_eq!(guest, Some(run.summary().device_faults), "{run}");
        assert_eq!(guest, Some(run.summary().smmu_stall_records), "{run}");
        // Ten operations with a source and a destination page each.
        assert_eq!(results[0]["cells"][0]["iopf"], 20, "{results:?}\n{run}");
        assert_eq!(results[0]["cells"][1]["iopf"], 0, "{results:?}\n{run}");
        // 16 pages of zeros pack into one.
        assert_eq!(results[0]["cells"][2]["iopf"], 170, "{results:?}\n{run}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "compares figures of virtual time")]
fn a_fault_costs_what_is_reported_of_hardware() {
    let script = "faultbench --ops 50 --bytes 4096 --quiet --result";
    let run = Guest::new().run(script).success();
    let result = &run.results()[0];
    // Published figures: 20 microseconds and more, 3 to 80 times a page fault of the CPU.
    assert!(
        result["iopf_ns"].as_u64().unwrap() >= 20_000,
        "{result}\n{run}"
    );
    assert!(
        (3.0..=80.0).contains(&result["ratio"].as_f64().unwrap()),
        "{result}\n{run}"
    );
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "compares figures of virtual time")]
fn a_slower_part_makes_each_fault_slower() {
    let iopf_ns = |latency: &str| {
        let script = "faultbench --ops 10 --bytes 4096 --quiet --result";
        let run = Guest::new()
            .option("--latency", latency)
            .run(script)
            .success();
        run.results()[0]["iopf_ns"].as_f64().unwrap()
    };
    let difference = iopf_ns("fault_report=fixed:101000") - iopf_ns("fault_report=fixed:1000");
    assert!((difference - 100_000.0).abs() < 5_000.0, "{difference}");
}

#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "a difference of times, in which a busy host shows"
)]
fn a_fault_takes_no_less_than_its_latencies() {
    let script = "faultbench --ops 3 --bytes 4096 --quiet --result";
    let run = Guest::new()
        .option("--latency", "fault_report=fixed:20000000")
        .run(script)
        .success();
    let result = &run.results()[0];
    assert!(
        result["iopf_ns"].as_f64().unwrap() >= 20_000_000.0,
        "{result}\n{run}"
    );
}

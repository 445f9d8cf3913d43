//! Processes cannot reach each other's memory through the device.

use std::collections::BTreeSet;

use stallbox_tests::{Guest, Record, Stalls};

use super::REVISIONS;

fn device_faults(trace: &[Record]) -> impl Iterator<Item = &Record> {
    trace.iter().filter(|record| record.event == "device_fault")
}

#[test]
fn the_same_pointer_means_each_process_its_own_memory() {
    for revision in REVISIONS {
        let run = Guest::new()
            .revision(revision)
            .traced()
            .run("zipabuse isolation")
            .success();
        assert!(run.output().contains("isolation: ok"), "{run}");
        let trace = run.trace();
        Stalls::of(&trace).assert_all_answered();
        let pasids: BTreeSet<u64> = device_faults(&trace)
            .filter_map(|fault| fault.number("pasid"))
            .collect();
        assert!(pasids.len() >= 2, "two processes, PASIDs {pasids:?}\n{run}");
        // The tries to use the other's pointer, as source and as destination.
        let refused = device_faults(&trace)
            .filter(|fault| fault.is("aborted"))
            .count();
        assert!(refused >= 2, "{refused}\n{run}");
    }
}

#[test]
fn the_same_pointer_means_each_process_its_own_memory_on_four_cpus() {
    Guest::new().cpus(4).run("zipabuse isolation").success();
}

#[test]
fn every_access_to_data_carries_a_pasid() {
    for revision in REVISIONS {
        let script =
            "head -c 100000 /bin/busybox > /tmp/in; zipsva compress --in /tmp/in --out /tmp/out";
        let run = Guest::new()
            .revision(revision)
            .traced()
            .run(script)
            .success();
        let trace = run.trace();
        assert!(device_faults(&trace).count() > 0, "{run}");
        let bare = device_faults(&trace).find(|fault| fault.number("pasid").is_none());
        assert!(bare.is_none(), "{bare:?}\n{run}");
        let job = trace.iter().find(|record| record.event == "job_started");
        assert!(
            job.is_some_and(|job| job.number("pasid").is_some()),
            "{run}"
        );
    }
}

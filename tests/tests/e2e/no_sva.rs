//! The accelerator without shared virtual addressing (`hisi_zip.uacce_mode=0`): the kernel's crypto
//! API is its only user, and DMA goes through the SMMU with mappings that the kernel makes.

use stallbox_tests::{Guest, Run};

use super::REVISIONS;

fn without_sva(revision: &str) -> Guest {
    Guest::new()
        .revision(revision)
        .option("--append", "hisi_zip.uacce_mode=0 cryptomgr.notests=0")
}

/// The entry of `/proc/crypto` whose driver is `hisi-deflate-acomp`.
const ENTRY: &str = "awk -v RS= '/driver *: hisi-deflate-acomp/' /proc/crypto";

#[track_caller]
fn assert_clean(run: &Run) {
    let summary = run.summary();
    assert_eq!(summary.device_faults, 0, "{run}");
    assert_eq!(summary.smmu_stall_records, 0, "{run}");
    assert_eq!(summary.job_errors, 0, "{run}");
}

#[test]
fn the_kernels_self_tests_pass_through_the_device() {
    let run = without_sva("0x30").run(ENTRY).success();
    assert!(
        run.output()
            .lines()
            .any(|line| line.split_whitespace().eq(["selftest", ":", "passed"])),
        "{run}"
    );
    // crypto/testmgr.h has vectors for both directions, and each goes through the device.
    assert!(run.summary().jobs >= 4, "{run}");
    assert_clean(&run);
}

#[test]
fn self_tests_run_only_when_asked_for() {
    let run = Guest::new()
        .option("--append", "hisi_zip.uacce_mode=0")
        .run("true")
        .success();
    assert_eq!(run.summary().jobs, 0, "{run}");
}

#[test]
fn user_space_has_no_queue() {
    for revision in REVISIONS {
        let script = "ls /sys/class/uacce /dev | grep -c hisi_zip; exit 0";
        let run = without_sva(revision).run(script).success();
        assert_eq!(run.output(), "0\n", "{run}");
        assert_clean(&run);
    }
}

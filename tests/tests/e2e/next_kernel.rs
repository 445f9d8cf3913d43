//! Debian's newer kernel, with page requests: it finds the same hardware, and uses more of it.

use std::collections::BTreeMap;

use serde_json::Value;
use stallbox_tests::{Guest, Run, repository};

use crate::page_requests::clean;

fn guest() -> Guest {
    Guest::new().option("--image", "pri-7.3")
}

/// A CPU that sets access flags. On the kvm engine it is the host's, and has it.
fn with_hafdbs(guest: Guest) -> Guest {
    if cfg!(feature = "kvm") {
        guest
    } else {
        guest.option("--cpu-hafdbs", "dirty")
    }
}

/// Event records by their number (IHI 0070, *Event records*).
fn events(run: &Run) -> BTreeMap<u64, usize> {
    let mut events = BTreeMap::new();
    for record in run.trace() {
        if record.event == "event_record" {
            *events.entry(record.words()[0] & 0xff).or_default() += 1;
        }
    }
    events
}

const F_TRANSLATION: u64 = 0x10;
const F_ACCESS: u64 = 0x12;

/// The source is a file, whose pages Linux maps sixteen at a time, as old where the CPU sets access
/// flags (`arch_wants_old_prefaulted_pte`).
const COPY: &str = "svatest copy --bytes 1M --memory untouched > /dev/null";
/// Pages of each, source and destination.
const PAGES: usize = 256;

#[test]
fn it_compresses_and_counts_its_faults() {
    let script = "uname -r
        zipsva compress --alg gzip --check --in /bin/busybox --out /tmp/busybox.gz > /dev/null || exit 1
        gunzip -c /tmp/busybox.gz | cmp - /bin/busybox";
    let run = guest().cpus(2).traced().run(&clean(script)).success();
    assert!(run.output().starts_with("7."), "{run}");
    let summary = run.summary();
    assert!(summary.device_faults > 0, "{run}");
    assert_eq!(summary.device_faults, summary.smmu_stall_records, "{run}");
}

#[test]
fn it_answers_page_requests_and_survives_an_overflow() {
    let plan = repository("docs/fault-plans/page-requests.toml");
    let script = "svatest copy --bytes 256K --memory untouched > /dev/null || exit 1
        dmesg | grep 'PRIQ overflow' || exit 1
        svatest copy --bytes 2M --memory untouched > /dev/null";
    let guest = guest().option("--accel", "test-engine,fault=pri");
    let run = guest.option("--plan", plan).run(&clean(script)).success();
    assert_eq!(run.summary().smmu_stall_records, 0, "{run}");
}

#[test]
fn it_lets_the_smmu_set_access_flags() {
    let guest = with_hafdbs(guest())
        .option("--accel", "test-engine,fault=stall")
        .traced();
    // The kernel would set them, page after page.
    let events_without = events(&guest.run(COPY).success());
    let accesses = events_without.get(&F_ACCESS).copied().unwrap_or(0);
    assert!(accesses > PAGES * 3 / 4, "{events_without:?}");

    for state in ["access", "dirty"] {
        let events = events(
            &guest
                .clone()
                .option("--smmu-httu", state)
                .run(COPY)
                .success(),
        );
        assert_eq!(events.get(&F_ACCESS), None, "{state}: {events:?}");
        let translations = events[&F_TRANSLATION];
        assert!(
            (PAGES..PAGES + PAGES / 4).contains(&translations),
            "{state}: {events:?}"
        );
    }
}

/// Linux 6.12 leaves CD.HA of a process at 0 (`arm_smmu_make_sva_cd`), whatever the SMMU can do.
#[test]
fn the_kernel_before_it_does_not() {
    let run = with_hafdbs(Guest::new())
        .option("--accel", "test-engine,fault=stall")
        .option("--smmu-httu", "dirty")
        .traced()
        .run(COPY)
        .success();
    assert!(events(&run)[&F_ACCESS] > PAGES * 3 / 4, "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stallbox measure runs the soft engine")]
fn an_smmu_that_sets_access_flags_spares_pinned_memory_reclaims_faults() {
    let measure = |httu| {
        stallbox_tests::measure(&[
            "--quick",
            "--image",
            "pri-7.3",
            "--columns",
            "none,memcg",
            "--cpu-hafdbs",
            "dirty",
            "--smmu-httu",
            httu,
        ])
        .status(0)
    };
    let (without, with) = (measure("none"), measure("dirty"));
    for row in ["uacce_ctrl", "mempinfd"] {
        assert!(without.faults(row, "memcg") > 0, "{without}");
        assert_eq!(with.faults(row, "memcg"), 0, "{with}");
    }
    assert_eq!(with.json["settings"]["smmu_httu"], "dirty");
    assert_eq!(without.json["settings"]["cpu_hafdbs"], Value::from("dirty"));
}

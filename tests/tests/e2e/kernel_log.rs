//! The kernel has nothing to complain about.

use stallbox_tests::{Guest, Run};

use super::REVISIONS;

/// Gives the log with a `<level>` before each line, after some work for the drivers.
const SCRIPT: &str = "head -c 20000 /bin/busybox > /tmp/in && \
                      zipsva compress --in /tmp/in --out /tmp/out --check; dmesg -r > /tmp/log; \
                      give /tmp/log";

/// With KVM a guest's CPUs tell of the caches that KVM makes up (arch/arm64/kvm/sys_regs.c,
/// reset_clidr()), again whenever one is started, and no sizes for a device tree to describe. Linux
/// warns of what is not described (drivers/base/cacheinfo.c). And a vCPU that had to wait for the
/// host's CPU wonders where the time went (kernel/time/hrtimer.c).
const EXCUSED: &[&str] = if cfg!(feature = "kvm") {
    &[
        "cacheinfo: Unable to detect cache hierarchy for CPU",
        "hrtimer: interrupt took",
    ]
} else {
    &[]
};

/// Panics at the first line that should not be there. A stock kernel has nothing to warn of on this
/// machine; what ever must be excused is named above, with the reason.
#[track_caller]
fn assert_clean(run: &Run) {
    let log = String::from_utf8_lossy(run.file("/tmp/log"));
    let mut lines = 0;
    for line in log.lines() {
        // The number before ">" is facility * 8 + level; 0 is the kernel's facility.
        let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let Some((number, text)) = level else {
            continue;
        };
        lines += 1;
        if EXCUSED.iter().any(|excused| text.contains(excused)) {
            continue;
        }
        let severe = number.parse::<u32>().is_ok_and(|number| number % 8 <= 4);
        let words = [
            "WARNING:",
            "BUG:",
            "Oops",
            "Call trace:",
            "timed out",
            "timeout",
        ];
        let odd = words.iter().any(|word| text.contains(word));
        assert!(!severe && !odd, "the kernel complains: {text}\n{run}");
    }
    assert!(
        log.contains("Linux version"),
        "the log has no beginning\n{run}"
    );
    assert!(lines > 100, "only {lines} lines have a level\n{run}");
}

#[test]
#[should_panic(expected = "the kernel complains: [")]
fn a_complaint_is_found() {
    let script = "echo '<4>a warning' > /dev/kmsg; dmesg -r > /tmp/log; give /tmp/log";
    assert_clean(&Guest::new().run(script).success());
}

#[test]
fn it_is_clean_on_one_cpu() {
    for revision in REVISIONS {
        assert_clean(&Guest::new().revision(revision).run(SCRIPT).success());
    }
}

#[test]
fn it_is_clean_on_four_cpus() {
    for revision in REVISIONS {
        assert_clean(
            &Guest::new()
                .cpus(4)
                .revision(revision)
                .run(SCRIPT)
                .success(),
        );
    }
}

#[test]
fn it_is_clean_with_interrupts_of_the_smmu_as_messages() {
    assert_clean(
        &Guest::new()
            .option("--smmu-irq", "msi")
            .run(SCRIPT)
            .success(),
    );
}

#[test]
fn it_is_clean_on_two_nodes() {
    assert_clean(
        &Guest::new()
            .cpus(2)
            .option("--nodes", "2")
            .run(SCRIPT)
            .success(),
    );
}

#[test]
fn it_is_clean_without_an_accelerator() {
    let script = "dmesg -r > /tmp/log; give /tmp/log";
    assert_clean(&Guest::new().option("--accel", "none").run(script).success());
}

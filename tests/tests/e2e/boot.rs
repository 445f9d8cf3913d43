//! The kernel gets to init, on any machine that can be asked for.

use std::fs;

use stallbox_tests::Guest;

#[test]
fn one_cpu_reaches_init() {
    let run = Guest::new().run("nproc; uname -m").success();
    assert_eq!(run.output(), "1\naarch64\n", "{run}");
    assert!(run.summary().boot_ns.is_some_and(|ns| ns > 0), "{run}");
}

#[test]
fn four_cpus_reach_init() {
    let run = Guest::new()
        .cpus(4)
        .run("nproc; grep -c ^processor /proc/cpuinfo")
        .success();
    assert_eq!(run.output(), "4\n4\n", "{run}");
}

#[test]
fn eight_cpus_reach_init() {
    let run = Guest::new().cpus(8).run("nproc").success();
    assert_eq!(run.output(), "8\n", "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the date is the host's")]
fn the_clock_starts_at_the_same_date_in_each_run() {
    let run = Guest::new().run("date -u +%F").success();
    assert_eq!(run.output(), "2026-01-01\n", "{run}");
}

#[test]
fn every_cpu_runs_programs() {
    let script = "for cpu in 0 1 2 3; do taskset -c $cpu awk '{print $39}' /proc/self/stat; done";
    let run = Guest::new().cpus(4).run(script).success();
    // Field 39 of proc(5)'s stat: the CPU last executed on.
    assert_eq!(run.output(), "0\n1\n2\n3\n", "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the CPU is the host's")]
fn cpu_features_are_those_that_are_modelled() {
    let run = Guest::new()
        .run("grep -m1 ^Features /proc/cpuinfo")
        .success();
    let features: Vec<&str> = run.output().split_whitespace().collect();
    for wanted in ["fp", "asimd", "crc32", "atomics"] {
        assert!(features.contains(&wanted), "no {wanted}\n{run}");
    }
    // Promised to nobody: Armv8.0-A with CRC32 and LSE.
    for absent in ["sve", "paca", "bti", "mte", "sme"] {
        assert!(!features.contains(&absent), "{absent}\n{run}");
    }
}

/// `spectre_v4_get_cpu_fw_mitigation_state`: firmware that knows no SMCCC_ARCH_WORKAROUND_2 leaves a CPU
/// "Vulnerable".
#[test]
#[cfg_attr(feature = "kvm", ignore = "with kvm, the host's kernel plays firmware")]
fn firmware_says_that_no_workaround_is_required() {
    let run = Guest::new()
        .run("cd /sys/devices/system/cpu/vulnerabilities && cat spec_store_bypass spectre_v2")
        .success();
    let affected = run
        .output()
        .lines()
        .filter(|line| line.trim() == "Not affected");
    assert_eq!(affected.count(), 2, "{run}");
}

#[test]
fn memory_is_as_asked_for() {
    let script = "awk '/MemTotal/ {print $2}' /proc/meminfo";
    for (option, bytes) in [("64M", 64u64 << 20), ("2G", 2 << 30)] {
        let run = Guest::new()
            .option("--memory", option)
            .run(script)
            .success();
        let total = run.output().trim().parse::<u64>().unwrap() << 10;
        // The kernel itself and its page descriptors take their part.
        assert!(
            total < bytes && total > bytes / 2,
            "{total} of {bytes}\n{run}"
        );
    }
}

#[test]
fn nodes_have_memory_and_cpus() {
    let script = "cd /sys/devices/system/node; cat node0/cpulist node1/cpulist; \
                  awk '/MemTotal/ {print ($4 > 100000)}' node0/meminfo node1/meminfo; \
                  cat node0/distance";
    let run = Guest::new()
        .cpus(4)
        .option("--nodes", "2")
        .run(script)
        .success();
    let lines: Vec<&str> = run.output().lines().collect();
    assert_eq!(lines[..4], ["0-1", "2-3", "1", "1"], "{run}");
    assert!(lines[4].starts_with("10 "), "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "time is the host's and does not jump")]
fn waiting_takes_virtual_time_only() {
    let script = "a=$(cut -d. -f1 /proc/uptime); sleep 1000; b=$(cut -d. -f1 /proc/uptime); \
                  echo $(( b - a >= 1000 && b - a < 1010 ))";
    let run = Guest::new().run(script).success();
    // All CPUs sleep, so time jumps.
    assert_eq!(run.output(), "1\n", "{run}");
    assert!(run.summary().virtual_ns > 1_000_000_000_000, "{run}");
}

#[test]
fn the_summary_names_the_engine_that_ran() {
    let run = Guest::new().run("true").success();
    let summary = run.summary();
    let kvm = cfg!(feature = "kvm");
    assert_eq!(summary.engine, if kvm { "kvm" } else { "soft" }, "{run}");
    assert_eq!(summary.repeatable, !kvm, "{run}");
    // Nobody counts the instructions of a hardware CPU.
    assert_eq!(summary.instructions.is_some(), !kvm, "{run}");
}

#[test]
fn memory_of_a_memfd_is_as_good() {
    let run = Guest::new()
        .option("--memory-backend", "memfd")
        .run("echo up");
    assert_eq!(run.success().output(), "up\n");
}

/// Bytes of huge pages that the host has free (proc_meminfo(5)).
fn free_huge_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").expect("/proc is mounted");
    let value = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    value("HugePages_Free:") * value("Hugepagesize:") * 1024
}

#[test]
fn memory_of_huge_pages_needs_huge_pages() {
    let guest = Guest::new().option("--memory-backend", "hugetlb");
    let run = guest.option("--memory", "256M").run("echo up");
    if free_huge_bytes() >= 256 << 20 {
        assert_eq!(run.success().output(), "up\n");
    } else {
        let run = run.status(125);
        let cure = "vm.nr_hugepages sets how many there are";
        assert!(run.errors().contains(cure), "{run}");
    }
}

use super::*;

/// Consoles of kernels that were made to report something: how is at the top of each file.
const CAPTURED: [&str; 4] = [
    include_str!("captured/6.1.txt"),
    include_str!("captured/6.12.txt"),
    include_str!("captured/6.12-debug.txt"),
    include_str!("captured/7.3.txt"),
];

/// What was done, what the kernel reports of it, and its console.
type Section = (&'static str, Vec<Kind>, Vec<&'static str>);

fn sections(captured: &'static str) -> Vec<Section> {
    let section = |text: &'static str| {
        let (head, console) = text.split_once('\n').unwrap();
        let (how, kinds) = head.split_once(": ").unwrap();
        let kind = |name| Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kinds = kinds.split(", ").map(|name| kind(name).unwrap());
        (how, kinds.collect(), console.lines().collect())
    };
    captured.split("\n== ").skip(1).map(section).collect()
}

#[track_caller]
fn section(captured: &'static str, wanted: &str) -> Vec<&'static str> {
    let mut sections = sections(captured).into_iter();
    sections.find(|(how, ..)| *how == wanted).unwrap().2
}

#[test]
fn what_real_kernels_said_is_known() {
    for (how, expected, console) in CAPTURED.into_iter().flat_map(sections) {
        let reports = read(&console);
        assert_eq!(kinds(&reports), expected, "{how}\n{}", console.join("\n"));
        // A terminal that shows it again, by dmesg.
        let twice = read(&[&console[..], &console[..]].concat());
        assert_eq!(kinds(&twice), expected, "{how}, twice");
    }
}

/// KMSAN is not there for arm64, and a kernel with KASAN has no KCSAN.
#[test]
fn most_kinds_are_captured() {
    let captured = CAPTURED.into_iter().flat_map(sections);
    let captured: BTreeSet<Kind> = captured.flat_map(|(_, kinds, _)| kinds).collect();
    let missing = Kind::ALL
        .into_iter()
        .filter(|kind| !captured.contains(kind));
    assert_eq!(missing.collect::<Vec<_>>(), [Kind::Kmsan, Kind::Kcsan]);
}

/// Heads as the kernel's documentation shows them (Linux 7.3, `Documentation/`), or as its format strings
/// make them where it shows none: nobody saw a kernel print them here.
const WORDS: &[(Kind, &str)] = &[
    // admin-guide/bug-hunting.rst
    (
        Kind::Warn,
        "WARNING: CPU: 1 PID: 28102 at kernel/module.c:1108 module_put+0x57/0x70",
    ),
    // "WARNING: %s:%d at %pS, CPU#%d: %s/%d\n", "WARNING: at %pS, CPU#%d: %s/%d\n" in kernel/panic.c
    (
        Kind::Warn,
        "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x90/0xe0, CPU#0: sh/51",
    ),
    (
        Kind::Warn,
        "WARNING: at refcount_warn_saturate+0x90/0xe0, CPU#0: sh/51",
    ),
    // dev-tools/kasan.rst, kmsan.rst, kfence.rst, kcsan.rst, ubsan.rst
    (
        Kind::Kasan,
        "BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0xa8/0xbc [kasan_test]",
    ),
    (
        Kind::Kmsan,
        "BUG: KMSAN: uninit-value in test_uninit_kmsan_check_memory+0x1be/0x380 [kmsan_test]",
    ),
    (
        Kind::Kfence,
        "BUG: KFENCE: out-of-bounds read in test_out_of_bounds_read+0xa6/0x234",
    ),
    (
        Kind::Kcsan,
        "BUG: KCSAN: data-race in test_kernel_read / test_kernel_write",
    ),
    (
        Kind::Ubsan,
        "UBSAN: Undefined behaviour in ../include/linux/bitops.h:110:33",
    ),
    // RCU/lockdep-splat.rst, locking/lockdep-design.rst
    (Kind::Lockdep, "WARNING: suspicious RCU usage"),
    (
        Kind::Lockdep,
        "WARNING: possible circular locking dependency detected",
    ),
    (
        Kind::Lockdep,
        "WARNING: possible recursive locking detected",
    ),
    (Kind::Lockdep, "WARNING: inconsistent lock state"),
    (
        Kind::Lockdep,
        "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
    ),
    (Kind::Lockdep, "[ BUG: Invalid wait context ]"),
    // RCU/stallwarn.rst; "rcu: " is the prefix of kernel/rcu/tree.c
    (
        Kind::RcuStall,
        "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    ),
    (
        Kind::RcuStall,
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
    ),
    (
        Kind::RcuStall,
        "rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 7-... } 21119 jiffies s: 73 root: 0x2/.",
    ),
    (Kind::RcuStall, "INFO: rcu_tasks detected stalls on tasks:"),
    (
        Kind::RcuStall,
        "INFO: rcu_tasks_trace detected stalls on tasks",
    ),
    // "BUG: soft lockup - CPU#%d stuck for %us! [%s:%d]\n" in kernel/watchdog.c
    (
        Kind::Lockup,
        "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:51]",
    ),
    (
        Kind::Lockup,
        "watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 0",
    ),
    (
        Kind::Lockup,
        "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!",
    ),
    // "INFO: task %s:%d blocked%s for more than %ld seconds.\n" in kernel/hung_task.c
    (
        Kind::HungTask,
        "INFO: task zipsva:61 blocked for more than 120 seconds.",
    ),
    (
        Kind::HungTask,
        "INFO: task zipsva:61 blocked in I/O wait for more than 120 seconds.",
    ),
    // PCI/boot-interrupts.rst
    (
        Kind::Irq,
        "irq 19: nobody cared (try booting with the \"irqpoll\" option)",
    ),
    // "kernel BUG at %s:%u!\n" in lib/bug.c
    (Kind::Bug, "kernel BUG at mm/page_alloc.c:1204!"),
    (
        Kind::Bug,
        "kernel BUG at __free_pages+0x10/0x20 [verbose debug info unavailable]",
    ),
    (Kind::Bug, "BUG: scheduling while atomic: sh/51/0x00000002"),
    (
        Kind::Bug,
        "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:283",
    ),
    (Kind::Bug, "BUG: Bad page state in process sh  pfn:4a2c1"),
    (
        Kind::Bug,
        "BUG: Bad rss-counter state mm:00000000f9c3 type:MM_ANONPAGES val:1 Comm:sh Pid:51",
    ),
    // "Unable to handle kernel %s at virtual address %016lx\n" in arch/arm64/mm/fault.c
    (
        Kind::Oops,
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
    ),
    (
        Kind::Oops,
        "Unable to handle kernel paging request at virtual address dead000000000108",
    ),
    // "Internal error: %s: %016lx [#%d] " in arch/arm64/kernel/traps.c
    (
        Kind::Oops,
        "Internal error: Oops - Undefined instruction: 0000000002000000 [#1] SMP",
    ),
    (
        Kind::Oops,
        "SError Interrupt on CPU0, code 0x00000000be000011 -- SError",
    ),
    (
        Kind::Panic,
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
    ),
];

fn read(lines: &[&str]) -> KernelReports {
    let mut reports = KernelReports::default();
    for (line, at) in lines.iter().zip(1000..) {
        reports.line(line, at);
    }
    reports
}

fn kinds(reports: &KernelReports) -> Vec<Kind> {
    reports.kept().iter().map(|report| report.kind).collect()
}

#[test]
fn each_kind_is_known_whatever_stands_before_its_line() {
    for (kind, text) in WORDS {
        for prefix in [
            "[    3.141592] ",
            "[12345.678901] ",
            "[    3.141592][    T51] ",
            "[    3.141592][     C0] ",
            "<4>[    3.141592] ",
            "\r[    3.141592] ",
            // A program had begun a line.
            "42 of 100 done[    3.141592] ",
            // No times.
            "",
            "<0>",
            "[    T1] ",
        ] {
            let reports = read(&[&format!("{prefix}{text}\r")]);
            assert_eq!(kinds(&reports), [*kind], "{prefix}{text}");
            assert_eq!(reports.kept()[0].lines, [*text], "{prefix}{text}");
        }
    }
}

#[test]
fn every_kind_has_its_words() {
    for kind in Kind::ALL {
        assert!(WORDS.iter().any(|(known, _)| *known == kind), "{kind:?}");
    }
}

/// A boot has such lines and nothing is wrong.
#[test]
fn what_only_looks_similar_is_no_report() {
    let reports = read(&[
        "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd034]",
        "[    0.000000] rcu: Hierarchical RCU implementation.",
        "[    0.000000] rcu: \tRCU event tracing is enabled.",
        "[    0.000000] rcu: INFO: Stall ended before state dump start",
        "[    0.000000] Kernel panic on oops is off",
        "[    0.000000] irq 19: Affinity broken due to vector space exhaustion.",
        "[    0.000000] WARNING: no hardware clock",
        "[    0.000000] KASLR disabled due to lack of seed",
        "[    0.000000] a driver: Internal error: -5",
        "[    0.000000] INFO: task sh:51 is blocked on a mutex, but the owner is not found.",
    ]);
    assert_eq!(kinds(&reports), []);
}

#[test]
fn a_program_s_lines_do_not_count_where_the_kernel_s_have_a_time() {
    let said = "BUG: KASAN: use-after-free in a story";
    let kernel = "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd034]";
    assert_eq!(
        kinds(&read(&[kernel, said, "Kernel panic - not syncing: no"])),
        []
    );
    // Without times nobody can tell.
    assert_eq!(
        kinds(&read(&["Booting Linux on physical CPU 0x0", said])),
        [Kind::Kasan]
    );
}

#[test]
fn a_log_that_is_shown_again_counts_once() {
    let head = "[    3.141592] kernel BUG at mm/page_alloc.c:1204!";
    let reports = read(&[
        head,
        "[    3.141600] Modules linked in:",
        head,
        "[    3.141600] x",
    ]);
    assert_eq!(reports.total(), 1);
    assert_eq!(reports.kept()[0].lines.len(), 2);
    // The same words at another time are another report.
    let later = "[    4.000000] kernel BUG at mm/page_alloc.c:1204!";
    assert_eq!(read(&[head, later]).total(), 2);
}

#[test]
fn an_oops_is_one_report_with_its_first_lines() {
    let mut console = section(CAPTURED[1], "null");
    let head = console
        .iter()
        .position(|line| line.contains("Unable to handle"));
    console.insert(head.unwrap() + 2, "a program goes on");
    let reports = read(&console);
    assert_eq!(kinds(&reports), [Kind::Oops]);
    let report = &reports.kept()[0];
    assert_eq!(report.time_ns, 1000 + head.unwrap() as u64);
    assert_eq!(
        report.lines[..3],
        [
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008",
            "Mem abort info:",
            "  ESR = 0x0000000096000046",
        ]
    );
    let die = |line: &&String| line.starts_with("Internal error: Oops: 0000000096000046 [#1] ");
    assert_eq!(report.lines.iter().filter(die).count(), 1, "{report:?}");
    assert_eq!(reports.to_string(), "1 oops");
}

#[test]
fn a_bug_and_the_oops_that_it_ends_in_are_one_report_and_the_panic_another() {
    // The end of Linux 6.1's, with the panic that panic_on_oops makes of it (kernel/panic.c).
    let mut console = section(CAPTURED[0], "bug");
    let die = console
        .iter()
        .position(|line| line.contains("Internal error: "));
    console.truncate(die.unwrap() + 1);
    console.push("[    9.000000] Kernel panic - not syncing: Oops - BUG: Fatal exception");
    let reports = read(&console);
    assert_eq!(kinds(&reports), [Kind::Bug, Kind::Panic]);
}

#[test]
fn a_report_has_its_call_trace() {
    // The end of Linux 6.12's, as a module called panic().
    let console = [
        "[    0.040454] Kernel panic - not syncing: as asked for",
        "[    0.040457] CPU: 0 UID: 0 PID: 38 Comm: insmod Tainted: G           O       6.12.107 #1 ",
        "[    0.040467] Call trace:",
        "[    0.040486]  panic+0x380/0x394",
        "[    0.040496]  provoke+0x58/0x80 [provoke]",
        "[    0.040540] ---[ end Kernel panic - not syncing: as asked for ]---",
        "[    0.040541] more",
    ];
    let reports = read(&console);
    assert_eq!(kinds(&reports), [Kind::Panic]);
    let lines = &reports.kept()[0].lines;
    assert_eq!(lines[4], " provoke+0x58/0x80 [provoke]");
    assert_eq!(lines.len(), 6);
}

#[test]
fn no_guest_fills_the_host_s_memory() {
    let mut reports = KernelReports::default();
    for index in 0..5000 {
        reports.line(&format!("[ {index}.000000] BUG: number {index}"), index);
        reports.line(&format!("[ {index}.000001] more"), index);
    }
    assert_eq!(reports.total(), 5000);
    assert_eq!(reports.kept().len(), REPORTS_MAX);
    assert!(reports.known.len() <= KNOWN_MAX);
    let mut long = KernelReports::default();
    long.line("[    1.000000] BUG: long", 0);
    for index in 0..100 {
        long.line(&format!("[    1.000001] {index}"), 0);
    }
    let report = &long.kept()[0];
    assert_eq!(report.lines.len(), SPAN);
    let summary = serde_json::to_value(report).unwrap();
    assert_eq!(
        summary["lines"].as_array().unwrap()[..],
        report.lines[..LINES_SHOWN]
    );
    assert!(long.open.is_none());
}

#[test]
fn brackets_and_other_letters_do_no_harm() {
    for line in [
        "[",
        "[]",
        "[.]",
        "[1.]",
        "[ 1.00000é]",
        "é[    1.000000]",
        "[    1.000000]",
        "<>",
        "<4",
    ] {
        assert_eq!(kinds(&read(&[line])), [], "{line}");
    }
}

#[test]
fn what_a_run_fails_of_is_named() {
    let reports = read(&["[    1.000000] WARNING: suspicious RCU usage"]);
    for (text, failed) in [
        ("all", true),
        ("none", false),
        ("lockdep", true),
        ("oops,warn", false),
        ("all,-lockdep", false),
        ("oops,lockdep,-oops", true),
    ] {
        let set = FailOn::parse(text).unwrap();
        assert_eq!(set.is_failed_by(&reports), failed, "{text}");
    }
    for (text, word) in [
        ("warning", "there are panic, oops"),
        ("none,oops", "nothing else"),
        ("", "\"\""),
    ] {
        let error = FailOn::parse(text).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let fine = KernelReports::default();
    assert!(!FailOn::all().is_failed_by(&fine));
}

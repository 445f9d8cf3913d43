use std::collections::BTreeMap;

use proptest::prelude::*;
use stallbox_machine::kernel_reports::KernelReports;

use super::*;
use crate::Death;

/// What kernels said on Stallbox's console, each of what they were asked to do wrong.
const CAPTURED: [(&str, &str); 4] = [
    (
        "6.1",
        include_str!("../../../machine/src/kernel_reports/captured/6.1.txt"),
    ),
    (
        "6.12",
        include_str!("../../../machine/src/kernel_reports/captured/6.12.txt"),
    ),
    (
        "6.12-debug",
        include_str!("../../../machine/src/kernel_reports/captured/6.12-debug.txt"),
    ),
    (
        "7.3",
        include_str!("../../../machine/src/kernel_reports/captured/7.3.txt"),
    ),
];

/// What a run with this console comes to.
fn evidence<'a>(console: impl IntoIterator<Item = &'a str>) -> Evidence {
    let mut reports = KernelReports::default();
    for (time, line) in console.into_iter().enumerate() {
        reports.line(line, time as u64);
    }
    let reports = reports.kept().iter().map(|report| KernelReport {
        kind: report.kind.name().into(),
        time_ns: report.time_ns,
        lines: report.lines.clone(),
    });
    Evidence {
        outcome: "command".into(),
        status: Some(120),
        command: true,
        kernel_reports: reports.collect(),
        ..Evidence::default()
    }
}

fn signature<'a>(console: impl IntoIterator<Item = &'a str>) -> Signature {
    Signature::of(&evidence(console)).unwrap()
}

/// The same with their call traces.
const WHOLE: [(&str, &str); 2] = [
    ("6.12", include_str!("captured/6.12.txt")),
    ("7.3", include_str!("captured/7.3.txt")),
];

/// The signature of each section, by its name.
fn captured(text: &str) -> BTreeMap<&str, Signature> {
    let sections = text.split("\n== ").skip(1).map(|section| {
        let (title, console) = section.split_once('\n').unwrap();
        let name = title.split_once(": ").map_or(title, |(name, _)| name);
        (name, signature(console.lines()))
    });
    sections.collect()
}

#[test]
fn captured_reports_have_titles_that_say_what_and_where() {
    let mut told = String::new();
    for (kernel, text) in CAPTURED {
        for (name, signature) in captured(text) {
            told += &format!("{kernel} {name}: {}\n", signature.title());
        }
    }
    assert_eq!(told, include_str!("captured/titles.txt"));
}

#[test]
fn the_same_bug_is_known_again_in_another_kernel() {
    // In the kernel with sanitizers the module is built in, and a shell sets it off.
    let kernels = ["6.1", "6.12", "7.3"];
    let kernels = CAPTURED
        .iter()
        .filter(|(kernel, _)| kernels.contains(kernel));
    let mut seen: BTreeMap<&str, Signature> = BTreeMap::new();
    let mut again = 0;
    for (kernel, text) in kernels {
        for (name, signature) in captured(text) {
            if let Some(before) = seen.insert(name, signature.clone()) {
                assert_eq!(before, signature, "{name} in {kernel}");
                again += 1;
            }
        }
    }
    assert!(again >= 8, "{again}");
}

#[test]
fn real_call_traces_lead_to_who_did_it() {
    let whole = WHOLE.map(|(_, text)| captured(text));
    for signatures in &whole {
        for (name, signature) in signatures {
            let culprit = match *name {
                "irq" => "not_mine".to_owned(),
                "stack" => "provoke_recursion".to_owned(),
                "rcu_stall" => "spin".to_owned(),
                // The name of who called panic() is lost: it was the last that it did.
                "panic" => "provoke".to_owned(),
                name => format!("provoke_{name}"),
            };
            assert_eq!(
                signature.frames().first(),
                Some(&culprit),
                "{name}: {signature:?}"
            );
            if !["irq", "panic", "stack", "rcu_stall"].contains(name) {
                assert_eq!(
                    signature.frames()[1..],
                    ["provoke", "parse_args"],
                    "{name}: {signature:?}"
                );
            }
        }
    }
    // Both kernels tell the same.
    let [old, new] = &whole;
    assert!(old.len() >= 8, "{old:?}");
    for (name, signature) in old {
        assert_eq!(&new[name], signature);
    }
}

#[test]
fn different_bugs_differ() {
    for (kernel, text) in CAPTURED.into_iter().chain(WHOLE) {
        let mut seen = BTreeMap::new();
        for (name, signature) in captured(text) {
            let same = seen.insert(signature.id().to_owned(), name);
            // Both of these come to a CPU that does not pass its quiescent states.
            let rcu = ["rcu_stall", "rcu_expedited"];
            assert!(
                same.is_none_or(|same| rcu.contains(&same) && rcu.contains(&name)),
                "{kernel}: {name} is {same:?}: {signature:?}"
            );
        }
    }
}

/// Lines of a report, each behind a time as a kernel prints it.
fn report(text: &str) -> Signature {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("[    1.000000] {line}"))
        .collect();
    signature(lines.iter().map(String::as_str))
}

#[track_caller]
fn is(text: &str, title: &str, frames: &[&str]) {
    let signature = report(text);
    assert_eq!(
        (signature.title(), signature.frames()),
        (
            title,
            &frames.iter().map(|it| it.to_string()).collect::<Vec<_>>()[..]
        )
    );
}

// Stacks as arm64 kernels print them (Linux 6.12, arch/arm64/kernel/stacktrace.c and process.c).

#[test]
fn an_oops_is_where_the_program_counter_is() {
    let oops = "\
Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008
Internal error: Oops: 0000000096000046 [#1] SMP
CPU: 0 UID: 0 PID: 34 Comm: insmod Tainted: G           O       6.12.107 #1
pc : provoke_null+0x10/0x20 [provoke]
lr : provoke_init+0x64/0x90 [provoke]
sp : ffff80000a2bbb20
Call trace:
 provoke_null+0x10/0x20 [provoke 0123456789abcdef0123456789abcdef01234567] (P)
 provoke_init+0x64/0x90 [provoke]
 do_one_initcall.part.0+0x60/0x1d8 (L)
 do_init_module+0x50/0x1f0
Code: 00000000 00000000
---[ end trace 0000000000000000 ]---";
    let title = "Oops: kernel NULL pointer dereference in provoke_null";
    let frames = ["provoke_null", "provoke_init", "do_one_initcall"];
    is(oops, title, &frames);
    // A jump to nowhere leaves its caller.
    let nowhere = oops.replace("pc : provoke_null+0x10/0x20 [provoke]", "pc : 0x0");
    let nowhere = nowhere.replace(
        " provoke_null+0x10/0x20 [provoke 0123456789abcdef0123456789abcdef01234567] (P)\n",
        " 0x0\n",
    );
    is(
        &nowhere,
        "Oops: kernel NULL pointer dereference in provoke_init",
        &["provoke_init", "do_one_initcall", "do_init_module"],
    );
    // Of a report that was cut off there are the registers.
    let cut: Vec<&str> = oops.lines().take(5).collect();
    is(&cut.join("\n"), title, &frames[..2]);
}

#[test]
fn what_reports_is_no_part_of_the_stack() {
    is(
        "\
BUG: KASAN: slab-use-after-free in iopf_group_response+0x8c/0x90
Write of size 8 at addr ffff000002a03c08 by task kworker/u8:1/30
CPU: 0 UID: 0 PID: 30 Comm: kworker/u8:1 Not tainted 6.12.117 #1
Hardware name: Stallbox (DT)
Call trace:
 dump_backtrace+0xa4/0xe0
 show_stack+0x1c/0x30
 dump_stack_lvl+0x5c/0x78
 print_report+0x114/0x5d0
 kasan_report+0xa4/0xf0
 __asan_report_store8_noabort+0x20/0x2c
 iopf_group_response+0x8c/0x90
 iommu_sva_handle_iopf+0x10c/0x1c8
 process_one_work+0x178/0x3b4
 worker_thread+0x190/0x350

Allocated by task 22:
 kasan_save_stack+0x3c/0x64
 iommu_report_device_fault+0x1f8/0x4a0",
        "KASAN: slab-use-after-free Write in iopf_group_response",
        &["iopf_group_response", "iommu_sva_handle_iopf"],
    );
    // WARN() in a helper is about who called it.
    is(
        "\
WARNING: CPU: 1 PID: 81 at lib/refcount.c:28 refcount_warn_saturate+0xf4/0x144
pc : refcount_warn_saturate+0xf4/0x144
lr : refcount_warn_saturate+0xf4/0x144
Call trace:
 refcount_warn_saturate+0xf4/0x144
 uacce_put_queue+0x7c/0x90
 uacce_fops_release+0x30/0x40
 __fput+0xd0/0x2d8",
        "WARNING in uacce_put_queue",
        &["uacce_put_queue", "uacce_fops_release", "__fput"],
    );
    is(
        "\
Kernel panic - not syncing: Asynchronous SError Interrupt
Call trace:
 dump_backtrace+0xa4/0xe0
 show_stack+0x1c/0x30
 dump_stack_lvl+0x38/0x90
 dump_stack+0x18/0x28
 panic+0x39c/0x3fc
 nmi_panic+0x8c/0x90
 arm64_serror_panic+0x70/0x80
 do_serror+0x3c/0x70
 el1h_64_error_handler+0x34/0x4c
 el1h_64_error+0x64/0x68
 qm_writel+0x10/0x18 [hisi_qm]
 qm_stop_qp+0x48/0x90 [hisi_qm]",
        "kernel panic: Asynchronous SError Interrupt",
        &["qm_writel", "qm_stop_qp"],
    );
}

#[test]
fn what_an_interrupt_cut_off_is_no_part_of_the_stack() {
    is(
        "\
WARNING: CPU: 0 PID: 30 at kernel/irq/irqdesc.c:689 handle_irq_desc+0x90/0x104
pc : handle_irq_desc+0x90/0x104
Call trace:
 handle_irq_desc+0x90/0x104
 gic_handle_irq+0x54/0x124
 call_on_irq_stack+0x24/0x4c
 do_interrupt_handler+0x84/0x8c
 el1_interrupt+0x34/0x54
 el1h_64_irq_handler+0x18/0x24
 el1h_64_irq+0x6c/0x70
 copy_page+0x10/0xd8",
        "WARNING in handle_irq_desc",
        &["handle_irq_desc", "gic_handle_irq"],
    );
}

#[test]
fn a_cpu_that_makes_no_progress_is_told_by_what_it_was_at() {
    is(
        "\
watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [insmod:81]
pc : __delay+0x84/0xb0
lr : __udelay+0x30/0x40
Call trace:
 __delay+0x84/0xb0
 __const_udelay+0x30/0x40
 spin+0x40/0x68 [provoke]
 provoke_soft_lockup+0x10/0x20 [provoke]",
        "soft lockup in spin",
        &["spin"],
    );
    // RCU finds it from the tick's interrupt.
    is(
        "\
rcu: INFO: rcu_sched self-detected stall on CPU
rcu: \t0-....: (5250 ticks this GP) idle=117c/1/0x4000000000000002 softirq=72/72 fqs=2625
Task dump for CPU 0:
Call trace:
 dump_backtrace+0xa4/0xe0
 sched_show_task+0x1c0/0x1f0
 dump_cpu_task+0x4c/0x60
 rcu_sched_clock_irq+0x7a4/0xb20
 update_process_times+0x6c/0xa0
 el1_interrupt+0x34/0x54
 el1h_64_irq_handler+0x18/0x24
 el1h_64_irq+0x6c/0x70
 queued_spin_lock_slowpath+0x1f4/0x2a0
 _raw_spin_lock+0x48/0x58
 arm_smmu_cmdq_issue_cmdlist+0x2c8/0x7d0",
        "RCU stall in arm_smmu_cmdq_issue_cmdlist",
        &["arm_smmu_cmdq_issue_cmdlist"],
    );
}

#[test]
fn a_task_that_waits_is_told_by_who_waits() {
    is(
        "\
INFO: task zipsva:81 blocked for more than 120 seconds.
      Not tainted 6.12.107 #1
\"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.
task:zipsva          state:D stack:0     pid:81    tgid:81    ppid:79     flags:0x00000004
Call trace:
 __switch_to+0xe4/0x130
 __schedule+0x2a4/0x8f0
 schedule+0x34/0x110
 schedule_timeout+0x1a8/0x1c0
 wait_for_completion+0x7c/0x160
 __flush_work+0x8c/0xd0
 iopf_queue_flush_dev+0x50/0x70
 iopf_queue_remove_device+0x24/0x190",
        "hung task in iopf_queue_flush_dev",
        &["iopf_queue_flush_dev", "iopf_queue_remove_device"],
    );
    is(
        "\
BUG: scheduling while atomic: sh/30/0x00000002
Modules linked in:
Call trace:
 dump_backtrace+0xa4/0xe0
 dump_stack+0x18/0x28
 __schedule_bug+0x84/0xa0
 __schedule+0x7d4/0x8f0
 schedule+0x34/0x110
 schedule_timeout+0x98/0x1c0
 provoke_atomic+0x38/0x58
 provoke+0xa0/0x114",
        "BUG: scheduling while atomic in provoke_atomic",
        &["provoke_atomic", "provoke"],
    );
    is(
        "\
BUG: sleeping function called from invalid context at kernel/locking/mutex.c:585
in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 30, name: sh
Call trace:
 dump_stack+0x18/0x28
 __might_resched+0x164/0x190
 __might_sleep+0x58/0x98
 mutex_lock+0x2c/0x68
 provoke_sleeping+0x30/0x48",
        "BUG: sleeping function called from invalid context in provoke_sleeping",
        &["provoke_sleeping"],
    );
}

#[test]
fn what_other_kinds_say_is_found() {
    let handlers = "\
irq 18: nobody cared (try booting with the \"irqpoll\" option)
Call trace:
 dump_backtrace+0xa4/0xe0
 __report_bad_irq+0x48/0xe0
handlers:
[<00000000e3a1c0f8>] qm_irq [hisi_qm] threaded [<0000000045b8c9a0>] qm_irq_thread [hisi_qm]
Disabling IRQ #18";
    is(
        handlers,
        "interrupt that nobody cared for in qm_irq",
        &["qm_irq"],
    );
    let race = |first: &str, second: &str| {
        report(&format!(
            "BUG: KCSAN: data-race in {first}+0x4/0x10 / {second}+0x8/0x20"
        ))
    };
    assert_eq!(race("alpha", "beta"), race("beta", "alpha"));
    assert_eq!(
        race("alpha", "beta").title(),
        "KCSAN: data-race in alpha / beta"
    );
    assert_ne!(race("alpha", "beta"), race("alpha", "alpha"));
    is(
        "\
WARNING: suspicious RCU usage
6.12.117 #1 Not tainted
-----------------------------
drivers/misc/provoke/provoke.c:353 suspicious rcu_dereference_check() usage!
Call trace:
 dump_backtrace+0xa4/0xe0
 dump_stack+0x18/0x28
 lockdep_rcu_suspicious+0x198/0x1f8
 provoke_rcu_usage+0x70/0x98",
        "lockdep: suspicious rcu_dereference_check() usage in provoke_rcu_usage",
        &["provoke_rcu_usage"],
    );
    is(
        "BUG: Bad rss-counter state mm:00000000f3a1c0f8 type:MM_FILEPAGES val:3",
        "BUG: Bad rss-counter state",
        &[],
    );
    is(
        "BUG: Bad page state in process zipgone  pfn:4123a",
        "BUG: Bad page state",
        &[],
    );
    is(
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
        "kernel panic: Attempted to kill init! exitcode=ADDR",
        &[],
    );
}

#[test]
fn the_first_report_decides() {
    let console = [
        "[    1.000000] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
        "[    1.000001] Unable to handle kernel paging request at virtual address dead000000000108",
        "[    1.000002] Kernel panic - not syncing: Oops: Fatal exception",
    ];
    let mut evidence = evidence(console);
    evidence.outcome = "panic".into();
    let title = |evidence: &Evidence| Signature::of(evidence).unwrap().title().to_owned();
    assert_eq!(title(&evidence), "KASAN: slab-use-after-free in f");
    let check = |time_ns| CheckReport {
        checker: "dma".into(),
        time_ns,
        title: "DMA to a freed page".into(),
        lines: Vec::new(),
    };
    let first = evidence.kernel_reports[0].time_ns;
    evidence.check_reports = vec![check(first + 1)];
    assert_eq!(title(&evidence), "KASAN: slab-use-after-free in f");
    evidence.check_reports.push(check(first));
    assert_eq!(title(&evidence), "check dma: DMA to a freed page");
    assert_eq!(
        message(&evidence).unwrap(),
        "check dma: DMA to a freed page"
    );
    // Of a process that died there is nothing to say of the guest.
    evidence.death = Some(Death::Signal(9));
    assert_eq!(title(&evidence), "lost: signal 9 (SIGKILL)");
}

#[test]
fn a_checkers_report_has_its_first_backtrace() {
    let text = "\
at 54896031 ns, StreamID 0x8, PASID 1, VA 0xffffa5ed8000, PA 0x4072d000
a write of the device at 44896031 ns used what the descriptor at 0x421166c0 had said
unmapped by vCPU 0 at 44877946 ns:
  #0 0xffff800080169784 unmap_page_range+0x6c4
  #1 0xffff800080176da8 __arm64_sys_munmap+0x1c
  #2 0xffff800080025e38 invoke_syscall+0x48
CMD_TLBI_NH_VA written by vCPU 0 at 44879423 ns:
  #0 0xffff8000803d9228 arm_smmu_cmdq_write_entries+0xa0";
    let report = |title: &str| CheckReport {
        checker: "tlb".into(),
        time_ns: 0,
        title: title.into(),
        lines: text.lines().map(String::from).collect(),
    };
    let signature = |title: &str| {
        Signature::of(&Evidence {
            outcome: "command".into(),
            check_reports: vec![report(title)],
            ..Evidence::default()
        })
        .unwrap()
    };
    let stale = signature("DMA through a stale translation");
    assert_eq!(stale.title(), "check tlb: DMA through a stale translation");
    assert_eq!(stale.frames(), ["unmap_page_range", "__arm64_sys_munmap"]);
    assert_eq!(
        signature("a stall had no answer when the run ended, after 955 ms"),
        signature("a stall had no answer when the run ended, after 17 us")
    );
}

#[test]
fn what_has_no_report_is_told_by_its_end() {
    let title = |outcome: &str, status: Option<u8>, death: Option<Death>| {
        let evidence = Evidence {
            outcome: outcome.into(),
            status,
            command: true,
            under_way: vec![
                "read of 0xffffa1c9e000, tag 3".into(),
                "read of 0xffffa1c9f000, tag 1".into(),
            ],
            death,
            ..Evidence::default()
        };
        Signature::of(&evidence).map(|it| it.title().to_owned())
    };
    assert_eq!(title("command", Some(0), None), None);
    for (outcome, status, told) in [
        ("command", 3, "exit status 3"),
        ("command", 139, "exit status 139 (SIGSEGV)"),
        ("command", 255, "exit status 255"),
        (
            "power-off",
            122,
            "the guest switched off before the command had ended",
        ),
        ("reset", 122, "the guest asked for a reset"),
        ("panic", 121, "kernel panic"),
        ("asleep", 122, "hung: all CPUs sleep: read of ADDR, tag NUM"),
        (
            "stop-at",
            124,
            "hung: time limit (--stop-at): read of ADDR, tag NUM",
        ),
        (
            "timeout",
            124,
            "hung: time limit (--timeout): read of ADDR, tag NUM",
        ),
        ("unheard", 125, "lost: unheard"),
    ] {
        assert_eq!(title(outcome, Some(status), None).as_deref(), Some(told));
    }
    let lost = |death| title("", None, Some(death)).unwrap();
    assert_eq!(lost(Death::Signal(64)), "lost: signal 64");
    assert_eq!(lost(Death::MemoryLimit), "lost: memory limit");
    assert_eq!(
        lost(Death::Exit(101)),
        "lost: exit status 101 without a result"
    );
}

#[test]
fn an_id_is_the_same_for_ever() {
    // It is in names of files, and results of shards that other versions wrote are compared by it.
    let signature = report("WARNING: CPU: 0 PID: 81 at a.c:1 f+0x1/0x2");
    assert_eq!(
        (signature.id(), signature.title()),
        ("a071f1cf", "WARNING in f")
    );
    let json = serde_json::to_string(&signature).unwrap();
    assert_eq!(
        json,
        r#"{"id":"a071f1cf","title":"WARNING in f","frames":["f"]}"#
    );
    assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), signature);
    let other = json.replace("\"f\"", "\"g\"");
    let why = serde_json::from_str::<Signature>(&other)
        .unwrap_err()
        .to_string();
    assert!(why.contains("another title or other frames"), "{why}");
}

proptest! {
    /// Where the kernel is in memory, who runs it where and when is of no account.
    #[test]
    fn addresses_processes_cpus_and_times_are_of_no_account(
        kernel in 0..CAPTURED.len() + WHOLE.len(),
        address in 0xffff_8000_0000_0000_u64..=u64::MAX,
        pid in 1..99_999_u32,
        cpu in 0..8_u32,
    ) {
        let regex = |text: &str| regex::Regex::new(text).unwrap();
        let address = format!("{address:016x}");
        let (pid, cpu) = (pid.to_string(), cpu.to_string());
        let changes = [
            (regex(r"\bffff[0-9a-f]{12}\b"), address),
            (regex(r"\+0x[1-9a-f][0-9a-f]*/0x[0-9a-f]+"), "+0x1c/0x4d8".into()),
            (regex(r"(\bPID: |\b(?:insmod|sh|holder)[/:]|pid:)[0-9]+"), format!("${{1}}{pid}")),
            (regex(r"(CPU: |CPU#)[0-9]+"), format!("${{1}}{cpu}")),
        ];
        let all: Vec<_> = CAPTURED.into_iter().chain(WHOLE).collect();
        for section in all[kernel].1.split("\n== ").skip(1) {
            let (name, console) = section.split_once('\n').unwrap();
            let changed: Vec<String> = console.lines().map(|line| {
                changes.iter().fold(line.to_owned(), |line, (what, by)| {
                    what.replace_all(&line, by).into_owned()
                })
            }).collect();
            let lines = changed.iter().map(String::as_str);
            prop_assert_eq!(signature(lines), signature(console.lines()), "{}", name);
        }
    }

    #[test]
    fn nothing_that_a_guest_says_panics(
        kind in 0..16_usize,
        lines in prop::collection::vec(any::<String>(), 0..6),
        cut in 0..200_usize,
    ) {
        let kinds = [
            "panic", "oops", "bug", "kasan", "kmsan", "kfence", "kcsan", "ubsan", "warn", "lockdep",
            "rcu-stall", "lockup", "hung-task", "irq", "other", "",
        ];
        let text: String = CAPTURED[kind % 4].1.chars().skip(cut * 20).take(300).collect();
        let lines = lines.into_iter().chain(text.lines().map(String::from)).collect();
        let evidence = Evidence {
            kernel_reports: vec![KernelReport { kind: kinds[kind].into(), time_ns: 0, lines }],
            ..Evidence::default()
        };
        let signature = Signature::of(&evidence).unwrap();
        prop_assert!(signature.title().chars().count() <= TITLE_MAX + 3);
        prop_assert!(!signature.title().contains(char::is_control));
    }
}

//! A kernel with the very bugs that checkers are for (image `svabugs`, `svabugs=`): each is found, and
//! its report names what, where, when and who. Without them, the same kernel gives no cause.

use std::fs;

use stallbox_tests::{Guest, Record, Run, repository};

/// With one of `include/linux/svabugs.h` of the patch.
fn with(bug: &str) -> Guest {
    Guest::new()
        .option("--image", "svabugs")
        .option("--append", format!("quiet svabugs={bug}"))
        .traced()
}

const RULE: &str = "=================================================================";

/// A block on standard error.
struct Report<'a> {
    what: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Report<'a> {
    fn parse(block: &'a str) -> Option<Report<'a>> {
        let mut lines = block.lines().filter(|line| !line.is_empty());
        Some(Report {
            what: lines.next()?.strip_prefix("stallbox: check ")?,
            lines: lines.collect(),
        })
    }

    fn says(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// The lines behind the one that begins with `title`, as far as they are further in.
    fn section(&self, title: &str) -> Vec<&'a str> {
        let lines = self.lines.iter();
        lines
            .skip_while(|line| !line.trim_start().starts_with(title))
            .skip(1)
            .take_while(|line| line.starts_with("    "))
            .copied()
            .collect()
    }

    /// The functions through which a vCPU came to do `what`, innermost first.
    #[track_caller]
    fn way(&self, what: &str) -> Vec<&'a str> {
        let frames = self.section(&format!("{what} by vCPU "));
        let name = |frame: &&'a str| {
            let name = frame.split_whitespace().nth(2)?;
            Some(name.split_once('+')?.0)
        };
        let names: Option<Vec<_>> = frames.iter().map(name).collect();
        names.unwrap_or_else(|| panic!("a frame without a name: {frames:#?}"))
    }

    /// Whether a vCPU came to do `what` through all of these, innermost first.
    #[track_caller]
    fn came_by(&self, what: &str, functions: &[&str]) {
        let way = self.way(what);
        let mut rest = way.iter();
        for function in functions {
            assert!(
                rest.any(|name| name.starts_with(function)),
                "{what}: no {function}, or not in this order, in {way:#?}"
            );
        }
    }

    /// What happened to the page, in order of time.
    #[track_caller]
    fn history(&self, events: &[&str]) {
        let history = self.section("this page so far:");
        let time = |line: &&str| -> u64 {
            let time = line.split_whitespace().next().unwrap();
            time.parse().unwrap_or_else(|_| panic!("{line}"))
        };
        assert!(history.iter().is_sorted_by_key(time), "{history:#?}");
        let mut rest = history.iter();
        for event in events {
            assert!(
                rest.any(|line| line.contains(event)),
                "no {event}, or not in this order, in {history:#?}"
            );
        }
    }

    /// StreamID, PASID, address and time are those of the event in the trace.
    #[track_caller]
    fn is_at(&self, event: &Record) {
        let mut place = format!(
            "  at {} ns, StreamID {:#x}",
            event.time_ns,
            event.number("stream").unwrap()
        );
        if let Some(pasid) = event.number("pasid") {
            place += &format!(", PASID {pasid}");
        }
        for (name, field) in [("VA", "address"), ("PA", "output")] {
            if let Some(address) = event.text(field) {
                place += &format!(", {name} {address}");
            }
        }
        assert_eq!(self.lines[0], place);
    }
}

/// All reports; there is one at least, and each is in the trace as well.
#[track_caller]
fn reports(run: &Run) -> Vec<Report<'_>> {
    let blocks = run.errors().split(RULE);
    let reports: Vec<Report> = blocks.filter_map(Report::parse).collect();
    let events: Vec<Record> = run
        .trace()
        .into_iter()
        .filter(|record| record.event == "report")
        .collect();
    assert!(!reports.is_empty(), "no report\n{run}");
    for (report, event) in reports.iter().zip(&events) {
        report.is_at(event);
    }
    assert!(reports.len() <= events.len(), "{run}");
    reports
}

/// The first report, which must be this one.
#[track_caller]
fn first<'a>(run: &'a Run, what: &str) -> Report<'a> {
    let report = reports(run).remove(0);
    assert_eq!(report.what, what, "{run}");
    report
}

/// The way from `munmap` to the page table.
const MUNMAP: &[&str] = &[
    "unmap_page_range",
    "unmap_vmas",
    "do_vmi_munmap",
    "__arm64_sys_munmap",
];
/// The way from the page table to the command queue.
const INVALIDATION: &[&str] = &[
    "arm_smmu_cmdq_issue_cmdlist",
    "arm_smmu_tlb_inv_range_asid",
    "arm_smmu_mm_arch_invalidate_secondary_tlbs",
    "unmap_page_range",
    "__arm64_sys_munmap",
];
const STALE: &str = "tlb: DMA through a stale translation";
const UNASKED: &str = "stall: a CMD_RESUME for which no stall waits";
const JOB: &str = "zipsva compress --poll epoll --check --in /stallbox/command --out /tmp/out";

#[test]
#[cfg_attr(feature = "kvm", ignore = "takes long; asked of the stock kernel too")]
fn without_a_bug_the_same_kernel_gives_no_cause() {
    for cpus in [1, 4] {
        let run = with("")
            .cpus(cpus)
            .option("--check", "tlb,stall,dma")
            .run("zipgone all && zipabuse all")
            .success();
        assert!(run.summary().device_faults > 5000, "{run}");
        assert!(!run.errors().contains("check"), "{run}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_does_not_invalidate() {
    let guest = with("no-tlbi").option("--check", "tlb");
    let run = guest.run("zipgone after-unmap").status(1);
    let report = first(&run, STALE);
    assert!(report.says("a write of the device at"), "{run}");
    assert!(report.says("0x0000000000000000 (unmapped)"), "{run}");
    assert!(report.says("no invalidation for this address space was sent since"));
    report.came_by("unmapped", MUNMAP);
    report.history(&[
        "stalled, tag",
        "retried",
        "found",
        "unmapped",
        "used through",
    ]);
    // What is on standard error is part of what repeats.
    let again = guest.run("zipgone after-unmap").status(1);
    assert_eq!(run.errors(), again.errors());
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_invalidates_the_first_page_only() {
    let guest = with("first-page").option("--check", "tlb");
    let run = guest.run("zipgone after-unmap").status(1);
    let report = first(&run, STALE);
    assert!(report.says("(2 pages), and not this address"), "{run}");
    report.came_by("unmapped", MUNMAP);
    report.came_by("CMD_TLBI_NH_VA written", INVALIDATION);
    report.history(&["found", "unmapped", "CMD_TLBI_NH_VA", "used through"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_invalidates_with_the_wrong_asid() {
    let guest = with("wrong-asid").option("--check", "tlb");
    let run = guest.run("zipgone after-unmap").status(1);
    let report = first(&run, STALE);
    assert!(
        report.says("is for ASID 3; this address space has ASID 2"),
        "{run}"
    );
    report.came_by("unmapped", MUNMAP);
    report.came_by("CMD_TLBI_NH_VA written", INVALIDATION);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_sends_no_cmd_sync() {
    let guest = with("no-sync").option("--check", "tlb");
    // The device sees no difference: it is luck that the SMMU is so quick.
    let run = guest.run("zipgone under-unmap").status(123);
    let report = first(&run, STALE);
    assert!(
        report.says("covers it, but no CMD_SYNC has followed"),
        "{run}"
    );
    report.came_by("unmapped", MUNMAP);
    report.came_by("CMD_TLBI_NH_VA written", INVALIDATION);
    report.history(&["unmapped", "used through", "CMD_TLBI_NH_VA"]);
}

/// Each CMD_TLBI takes the SMMU 20 ms.
fn slow_smmu(folder: &tempfile::TempDir, guest: Guest) -> Run {
    let path = folder.path().join("slow.toml");
    let plan = "[[rule]]\nat='command'\nmatch={command='CMD_TLBI', after_marker='go'}\n\
                do={delay=20000}\n";
    fs::write(&path, plan).unwrap();
    guest
        .option("--plan", &path)
        .option("--check", "tlb,dma")
        .run("echo marker go > /dev/ttyS1; zipgone under-unmap --rounds 4")
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_does_not_wait_for_cmd_sync() {
    let folder = tempfile::tempdir().unwrap();
    let run = slow_smmu(&folder, with("")).success();
    assert!(!run.errors().contains("check"), "{run}");

    let run = slow_smmu(&folder, with("no-wait")).status(123);
    let reports = reports(&run);
    let freed = reports
        .iter()
        .find(|report| report.what == "dma: DMA to a page that the guest has freed");
    let freed = freed.unwrap_or_else(|| panic!("{run}"));
    freed.came_by("page freed", &["folios_put_refs", "__arm64_sys_munmap"]);
    freed.came_by("unmapped", MUNMAP);
    freed.history(&["unmapped", "page freed"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_gives_an_asid_to_the_next_process_as_it_is() {
    let guest = with("stale-asid").option("--check", "tlb,dma");
    let run = guest.run("zipgone next-process").status(1);
    let reports = reports(&run);
    let of = |what: &str| {
        let found = reports.iter().find(|report| report.what == what);
        found.unwrap_or_else(|| panic!("{run}"))
    };
    let foreign = of("tlb: DMA through a translation of another address space");
    assert!(foreign.says("that no walk for this PASID has found"));
    assert!(foreign.says("there it was mapped for StreamID 0x8, PASID "));
    assert!(foreign.says("no invalidation for this address space was sent since"));
    foreign.came_by("unmapped", &["unmap_page_range", "exit_mmap", "do_exit"]);
    let freed = of("dma: DMA to a page that the guest has freed");
    freed.came_by("page freed", &["folios_put_refs", "exit_mmap", "do_exit"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_page_that_was_freed_under_the_device() {
    let guest = with("no-tlbi").option("--check", "dma");
    let run = guest.run("zipgone after-unmap").status(1);
    let report = first(&run, "dma: DMA to a page that the guest has freed");
    assert!(report.says("the page's reference count is 0"), "{run}");
    report.came_by("page freed", &["folios_put_refs", "__arm64_sys_munmap"]);
    report.came_by("unmapped", MUNMAP);
    report.history(&["found", "unmapped", "page freed"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_page_that_is_another_process_s_by_now() {
    let guest = with("no-tlbi").option("--check", "dma");
    let run = guest.run("zipgone other-process").status(1);
    let report = first(&run, "dma: DMA to a page of another process");
    // The victim's own address, which the program has chosen.
    assert!(report.says("it is mapped at 0x60000"), "{run}");
    // Which of the two is 1 is up to the scheduler.
    let owner = [1, 2].map(|pasid| report.says(&format!("of StreamID 0x8, PASID {pasid}")));
    let user = [1, 2].map(|pasid| report.lines[0].contains(&format!("PASID {pasid}, VA")));
    assert!(
        owner[0] != owner[1] && owner[0] != user[0] && owner[1] != user[1],
        "{run}"
    );
    report.came_by("unmapped", MUNMAP);
    report.came_by("page freed", &["folios_put_refs", "__arm64_sys_munmap"]);
    // By the page fault of the other process's device.
    report.came_by(
        "page allocated",
        &[
            "get_page_from_freelist",
            "handle_mm_fault",
            "iommu_sva_handle_iopf",
        ],
    );
    report.history(&["unmapped", "page freed", "page allocated"]);
    let victim = "another process's device wrote to this one's memory";
    assert!(run.output().contains(victim), "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_loses_a_fault() {
    let guest = with("lost-fault").option("--check", "stall=100000");
    // It waits busily, so not for longer than it takes.
    let run = guest
        .run("zipabuse unmapped & sleep 0.2; kill -9 $!; wait $!; echo")
        .status(123);
    let report = first(&run, "stall: a stall has had no answer for 100 ms");
    assert!(report.says("no CMD_RESUME has named it"), "{run}");
    assert!(report.says("its record was taken from the event queue"));
    report.history(&["found nothing", "Translation, stalls", "stalled, tag"]);
    assert_eq!(reports(&run).len(), 1, "{run}");
}

/// The way of an answer to the command queue.
const ANSWER: &[&str] = &[
    "arm_smmu_cmdq_issue_cmdlist",
    "arm_smmu_page_response",
    "iopf_group_response",
    "iommu_sva_handle_iopf",
];

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_answers_twice() {
    let run = with("two-answers").option("--check", "stall").run(JOB);
    let run = run.status(123);
    let report = first(&run, UNASKED);
    assert!(report.says("tag 0 was answered before, at"), "{run}");
    assert!(report.says("no stall of this stream waits for an answer"));
    report.came_by("sent", ANSWER);
    report.came_by("answered before", ANSWER);
    report.history(&["stalled, tag 0", "answered: retry"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_answers_the_wrong_tag() {
    let guest = with("wrong-tag").option("--check", "stall=500000");
    let run = guest.run(&format!("timeout -s KILL 2 {JOB}; echo"));
    let run = run.status(123);
    let reports = reports(&run);
    assert_eq!(reports[0].what, UNASKED, "{run}");
    assert!(reports[0].says("tag 1 has never been given"), "{run}");
    assert!(reports[0].says("stalls wait with tag 0"), "{run}");
    reports[0].came_by("sent", ANSWER);
    let overdue = &reports[1];
    assert_eq!(overdue.what, "stall: a stall has had no answer for 500 ms");
    assert!(overdue.says("tag 1, for which no stall waited, was answered since"));
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_unbinds_before_the_queue_has_stopped() {
    let guest = with("early-unbind").option("--check", "stall");
    let run = guest.run("zipgone under-close").status(123);
    let report = first(
        &run,
        "stall: a stall was answered after its PASID was unbound",
    );
    assert!(report.says("is not valid any more"), "{run}");
    report.came_by(
        "answered",
        &[
            "arm_smmu_page_response",
            "iommu_report_device_fault",
            "arm_smmu_evtq_thread",
        ],
    );
    // uacce, which has it in the wrong order.
    report.came_by(
        "made invalid",
        &[
            "arm_smmu_clear_cd",
            "iommu_sva_unbind_device",
            "uacce_fops_release",
        ],
    );
    report.history(&[
        "stalled, tag",
        "context descriptor was made invalid",
        "answered",
    ]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_kernel_that_gives_a_pasid_away_under_a_stall() {
    let guest = |bug, checks| {
        let plan = repository("docs/fault-plans/next-owner.toml");
        with(bug).option("--plan", plan).option("--check", checks)
    };
    // The device is waited for, however late the record is.
    let run = guest("", "pasid,tlb,stall,dma,config").run("zipgone next-owner");
    assert!(!run.success().errors().contains("check"));

    let script = "zipgone next-owner & echo first $!; wait $!";
    let run = guest("early-reuse", "pasid").run(script).status(1);
    let reports = reports(&run);
    let hurt = "another process's device wrote to this one's memory";
    assert!(run.output().contains(hurt), "{run}");
    // The process that the shell started, and the one which that started next.
    let first = run
        .output()
        .lines()
        .find_map(|it| it.strip_prefix("first "));
    let first: u32 = first.expect("the shell says it").trim().parse().unwrap();
    let [first, second] = [first, first + 1].map(|pid| format!("zipgone (pid {pid})"));

    let retried = &reports[0];
    let what = "pasid: a stall was retried in another owner's address space";
    assert_eq!(retried.what, what, "{run}");
    assert_eq!(
        retried.lines[0].split(", ").nth(3),
        Some("VA 0x600000000000")
    );
    let goes_on = &reports[1];
    let what = "goes on in another owner's address space";
    assert!(goes_on.what.starts_with("pasid: a job of queue ") && goes_on.what.ends_with(what));
    for report in [retried, goes_on] {
        let [was, is] = [report.lines[1], report.lines[2]];
        assert!(
            was.contains(" the PASID had ASID ") && was.ends_with(&format!("of {first}")),
            "{run}"
        );
        assert!(
            is.starts_with("  now it has ASID ") && is.ends_with(&format!("of {second}")),
            "{run}"
        );
        // The ASID may be the same: it is free, too.
        let table = |line: &str| {
            let ttb0 = line.split("TTB0 ").last()?;
            Some(ttb0.split(',').next()?.to_owned())
        };
        assert_ne!(table(was), table(is), "{run}");
        assert!(
            report.says(&format!("detached by vCPU 0 for {first} at ")),
            "{run}"
        );
        assert!(
            report.says(&format!("attached by vCPU 0 for {second} at ")),
            "{run}"
        );
        report.came_by(
            "detached",
            &[
                "arm_smmu_clear_cd",
                "iommu_sva_unbind_device",
                "uacce_fops_release",
            ],
        );
        report.came_by(
            "attached",
            &[
                "arm_smmu_set_pasid",
                "iommu_sva_bind_device",
                "uacce_fops_open",
            ],
        );
    }
    retried.history(&[
        "stalled, tag 0",
        "the PASID was detached",
        "the PASID was attached",
        "retried",
    ]);
}

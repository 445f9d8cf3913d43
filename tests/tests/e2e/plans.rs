//! Fault plans, end to end: each of `docs/fault-plans/` does in a guest what it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use stallbox_tests::{Guest, Record, Run, repository};
use tempfile::TempDir;

/// A job with two faults: its source and its destination are absent.
const JOB: &str = "zipsva compress --poll epoll --check --in /stallbox/command --out /tmp/out";

pub(crate) fn example(name: &str) -> PathBuf {
    let path = repository(&format!("docs/fault-plans/{name}.toml"));
    assert!(path.exists(), "{}", path.display());
    path
}

/// Runs a script under an example.
fn under(name: &str, script: &str) -> (Run, Vec<Record>) {
    let guest = Guest::new().option("--plan", example(name)).traced();
    let run = guest.run(script).success();
    let trace = run.trace();
    (run, trace)
}

/// What a rule took.
pub(crate) fn taken<'a>(trace: &'a [Record], rule: &str) -> Vec<&'a Record> {
    trace
        .iter()
        .filter(|record| record.event == "injection" && record.text("rule") == Some(rule))
        .collect()
}

pub(crate) fn count(trace: &[Record], event: &str) -> usize {
    trace.iter().filter(|record| record.event == event).count()
}

#[track_caller]
pub(crate) fn says(run: &Run, text: &str) {
    assert!(run.output().contains(text), "no \"{text}\"\n{run}");
}

/// A plan of its own in a file; the folder is the file's life.
pub(crate) fn plan(text: &str) -> (TempDir, Guest) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    fs::write(&path, text).unwrap();
    let guest = Guest::new().option("--plan", &path);
    (folder, guest)
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats a run")]
fn a_plan_without_rules_is_no_plan() {
    let none = Guest::new().run(JOB).success().summary().trace_hash;
    let (_folder, guest) = plan("# nothing\nseed = 5\n");
    let empty = guest.run(JOB).success().summary().trace_hash;
    assert_eq!(none, empty);
    // One that never matches changes no guest, though the trace tells that there is one.
    let (_folder, guest) = plan("[[rule]]\nat='translation'\nmatch.stream=99\ndo.abort=true\n");
    let idle = guest.run(JOB).success().summary();
    let bare = Guest::new().run(JOB).success().summary();
    assert_eq!(
        (idle.virtual_ns, idle.instructions, idle.events),
        (bare.virtual_ns, bare.instructions, bare.events + 1)
    );
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats a run")]
fn the_same_plan_and_seed_are_the_same_run() {
    let text = "[[rule]]\nat='record'\nmatch.probability=0.5\n\
                do.delay={dist='uniform', min_ns=1000, max_ns=900000}\n\
                [[rule]]\nat='translation'\nmatch={attempt='any', probability=0.3}\ndo.evict=true\n";
    let script = "zipabuse storm --queues 2 --depth 4 --bytes 8192";
    let hash = |seed: &str, cpus| {
        let (_folder, guest) = plan(text);
        let run = guest
            .option("--seed", seed)
            .cpus(cpus)
            .run(script)
            .success();
        run.summary().trace_hash
    };
    let runs: BTreeSet<_> = (0..3).map(|_| hash("1", 2)).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(!runs.contains(&hash("2", 2)));
}

#[test]
fn mapped_pages_fault_as_told() {
    for (fault, code) in [
        ("translation", 0x10),
        ("access", 0x12),
        ("permission", 0x13),
    ] {
        let (_folder, guest) = plan(&format!(
            "[[rule]]\nname='f'\nat='translation'\nmatch={{ring='data', every=3}}\n\
             do.fault='{fault}'\n"
        ));
        let run = guest
            .traced()
            .run("zipabuse storm --queues 2 --depth 4 --bytes 16384")
            .success();
        let trace = run.trace();
        let injected = taken(&trace, "f");
        assert!(injected.len() > 5, "{run}");
        // Each is followed by its record, before the next is injected.
        let records = trace
            .iter()
            .filter(|record| record.event == "event_record" && record.words()[0] & 0xff == code);
        assert!(records.count() >= injected.len(), "{fault}\n{run}");
        assert_eq!(run.summary().job_errors, 0, "{run}");
        assert_eq!(run.summary().resumes_abort, 0, "{run}");
    }
}

#[test]
fn late_answers_are_late() {
    let (run, trace) = under(
        "late-answers",
        "zipabuse storm --queues 2 --depth 4 --bytes 16384",
    );
    let late = taken(&trace, "late-report");
    assert!(late.len() > 3, "{run}");
    for record in late {
        // Log-normal with a median of 200 us and sigma 0.5: 6 sigmas.
        let ns = record.number("delay_ns").unwrap();
        assert!((10_000..4_000_000).contains(&ns), "{ns}");
    }
    assert!(!taken(&trace, "late-retry").is_empty(), "{run}");
    let slowest = trace
        .iter()
        .filter(|record| record.event == "device_fault")
        .filter_map(|record| record.number("latency_ns"))
        .max();
    assert!(slowest.unwrap() > 2_000_000, "{slowest:?}\n{run}");
}

#[test]
fn a_lost_record_hangs_one_process_and_no_other() {
    let script = format!("timeout -s KILL 1 {JOB}; echo ended $?; {JOB} && echo again");
    let (run, trace) = under("lost-record", &script);
    assert_eq!(taken(&trace, "lost-record").len(), 1, "{run}");
    assert_eq!(run.summary().event_records_lost, 1, "{run}");
    says(&run, "ended 137");
    says(&run, "again");
}

#[test]
fn a_record_that_comes_twice_is_answered_twice() {
    let (run, trace) = under("twice", JOB);
    let resumes: Vec<bool> = trace
        .iter()
        .filter(|record| record.event == "resume")
        .map(|record| record.is("matched"))
        .collect();
    assert_eq!(resumes, [true, false, true], "{run}");
}

#[test]
fn a_record_is_overtaken() {
    let (run, trace) = under(
        "out-of-order",
        "zipabuse storm --queues 4 --depth 2 --bytes 4096",
    );
    let stalled = trace.iter().find(|it| it.event == "stalled").unwrap();
    let records: Vec<u64> = trace
        .iter()
        .filter(|record| record.event == "event_record")
        .map(|record| record.words()[1] & 0xffff)
        .collect();
    // The first tag's record is the second.
    assert_eq!(Some(records[1]), stalled.number("stag"), "{run}");
    assert_eq!(run.summary().job_errors, 0, "{run}");
}

#[test]
fn a_record_can_come_later_than_anybody_waits() {
    let script = format!("timeout -s KILL 1 {JOB}; echo ended $?; sleep 3; {JOB} && echo again");
    let (run, trace) = under("impatient", &script);
    assert_eq!(taken(&trace, "late").len(), 1, "{run}");
    says(&run, "ended 137");
    says(&run, "again");
}

#[test]
fn the_event_queue_overflows_and_the_kernel_says_so() {
    let (run, trace) = under("overflow", &format!("{JOB}; dmesg | grep EVTQ"));
    says(&run, "EVTQ overflow detected -- events lost");
    assert_eq!(taken(&trace, "overflow").len(), 1, "{run}");
    assert_eq!(run.summary().event_records_lost, 1, "{run}");
    // The stall whose record found the queue full was not lost.
    assert_eq!(run.summary().job_errors, 0, "{run}");
}

#[test]
fn a_lost_resume_leaves_its_stall() {
    let script = format!("timeout -s KILL 1 {JOB}; echo ended $?; {JOB} && echo again");
    let (run, trace) = under("lost-resume", &script);
    assert_eq!(taken(&trace, "lost-resume").len(), 1, "{run}");
    says(&run, "ended 137");
    says(&run, "again");
    assert_eq!(
        count(&trace, "stalled"),
        count(&trace, "resume") + 1,
        "{run}"
    );
}

#[test]
fn resumes_go_to_stale_and_wrong_tags() {
    let script = format!("timeout -s KILL 1 {JOB}; echo ended $?");
    for name in ["stale-resume", "wrong-resume"] {
        let (run, trace) = under(name, &script);
        assert_eq!(count(&trace, "injection"), 1, "{name}\n{run}");
        let matched: Vec<bool> = trace
            .iter()
            .filter(|record| record.event == "resume")
            .map(|record| record.is("matched"))
            .collect();
        // In the first, tag 0 is both stalls': the stale tag is right by accident of reuse.
        match name {
            "stale-resume" => assert_eq!(matched, [true, true], "{run}"),
            _ => assert_eq!(matched, [false], "{run}"),
        }
    }
}

#[test]
fn a_slow_sync_is_one_that_the_kernel_gives_up_on() {
    let (run, trace) = under(
        "slow-sync",
        &format!("echo marker go > /dev/ttyS1; {JOB}; dmesg | grep SYNC"),
    );
    says(&run, "CMD_SYNC timeout");
    assert_eq!(taken(&trace, "slow-sync").len(), 1, "{run}");
}

#[test]
fn evictions_cost_walks_and_nothing_else() {
    let script = "zipabuse storm --queues 2 --depth 4 --bytes 16384";
    let (run, trace) = under("evictions", script);
    let evicted = taken(&trace, "evict").len();
    let walks = count(&trace, "walk");
    let plain = Guest::new().traced().run(script).success().trace();
    assert!(evicted > 5, "{run}");
    assert!(
        walks > count(&plain, "walk"),
        "{walks} walks with {evicted} evictions\n{run}"
    );
    assert_eq!(run.summary().job_errors, 0, "{run}");
}

#[test]
fn a_gate_holds_a_job_until_the_guest_says_go() {
    let script = format!("{JOB} & sleep 1; echo marker go > /dev/ttyS1; wait $! && echo done");
    let (run, trace) = under("first-dma", &script);
    says(&run, "done");
    let held = taken(&trace, "hold")[0].time_ns;
    let job = trace.iter().find(|it| it.event == "job_done").unwrap();
    assert!(job.time_ns - held > 900_000_000, "{run}");
}

#[test]
fn a_pasid_is_torn_down_under_a_stall() {
    let script = format!(
        "{JOB} & sleep 1; kill -9 $!; wait $!; sleep 1; echo marker gone > /dev/ttyS1; sleep 1; \
         {JOB} && echo again"
    );
    let (run, trace) = under("unbind-under-stall", &script);
    says(&run, "again");
    // Held for more than a second, while its process died.
    let held = taken(&trace, "hold-record")[0].time_ns;
    let released = taken(&trace, "release")[0].time_ns;
    assert!(released - held > 1_000_000_000, "{run}");
    let after = trace
        .iter()
        .filter(|record| record.time_ns >= released && record.event == "resume");
    assert!(after.count() >= 1, "nobody answered it\n{run}");
}

#[test]
fn a_pasid_is_unbound_before_its_record_is_read() {
    let script = format!(
        "{JOB} & sleep 1; kill -9 $!; wait $!; sleep 1; echo marker gone > /dev/ttyS1; sleep 1; \
         {JOB} && echo again"
    );
    let (run, trace) = under("unbind-unread-record", &script);
    says(&run, "again");
    let released = taken(&trace, "release")[0].time_ns;
    // The record was there all the time; its answer is an abort.
    let record = trace.iter().find(|it| it.event == "event_record").unwrap();
    assert!(released - record.time_ns > 1_000_000_000, "{run}");
    let answer = trace.iter().find(|it| it.event == "resume").unwrap();
    assert!(answer.time_ns >= released, "{run}");
    assert!(
        answer.is("matched") && answer.text("response") == Some("abort"),
        "{run}"
    );
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "how far a job is after 0.2 s is the host's")]
fn a_pasid_is_unbound_under_a_device_that_goes_on() {
    let job = "zipsva compress --poll epoll --check --in /init --out /tmp/out";
    let script = format!(
        "{job} & sleep 0.2; kill -9 $!; wait $!; sleep 1; echo marker gone > /dev/ttyS1; \
         sleep 0.1; {job} && echo again; dmesg | grep drain"
    );
    let (run, trace) = under("goes-on", &script);
    says(&run, "again");
    // The driver gave up before the PASID was unbound.
    says(&run, "Failed to drain out data");
    let released = taken(&trace, "release")[0].time_ns;
    // C_BAD_CD: the context descriptor of that PASID is gone.
    let refused: Vec<u64> = trace
        .iter()
        .filter(|it| it.event == "event_record" && it.words()[0] & 0xff == 0x0a)
        .map(|it| it.time_ns)
        .collect();
    assert!(!refused.is_empty(), "{run}");
    assert!(refused.iter().all(|time_ns| *time_ns >= released), "{run}");
}

#[test]
fn two_thousand_stalls_are_open_at_once() {
    let (run, trace) = under("many-stalls", JOB);
    let mut open = 0_i64;
    let mut most = 0;
    for record in &trace {
        match record.event.as_str() {
            "stalled" => open += 1,
            "resume" if record.is("matched") => open -= 1,
            _ => {}
        }
        most = most.max(open);
    }
    assert!(most > 1024, "{most}\n{run}");
    assert_eq!(open, 0, "{run}");
    let tags: BTreeSet<_> = trace
        .iter()
        .filter(|record| record.event == "stalled")
        .map(|record| record.number("stag"))
        .collect();
    // One or the other may find its page there already.
    assert!(tags.len() > 1990, "{}\n{run}", tags.len());
}

#[test]
fn many_fault_on_one_page() {
    let script = "zipabuse storm --queues 4 --depth 2 --bytes 4096";
    let (run, trace) = under("one-page", script);
    assert!(taken(&trace, "together").len() == 4, "{run}");
    let first = taken(&trace, "same-page")[0];
    let page = first.text("address").unwrap();
    let same = trace
        .iter()
        .filter(|record| record.event == "stalled" && record.text("address") == Some(page));
    assert!(same.count() >= 8, "{run}");
    assert_eq!(run.summary().job_errors, 0, "{run}");
}

#[test]
fn a_fault_that_comes_again_and_again_is_named_a_loop() {
    let (run, trace) = under("loop", JOB);
    let named: Vec<_> = trace
        .iter()
        .filter(|record| record.event == "fault_loop")
        .collect();
    assert_eq!(named.len(), 1, "{run}");
    assert_eq!(named[0].number("stalls"), Some(8), "{run}");
    assert_eq!(taken(&trace, "again").len(), 20, "{run}");
}

#[test]
fn rings_fault_too() {
    let script = format!(
        "echo marker go > /dev/ttyS1; timeout -s KILL 1 {JOB}; echo first $?; timeout -s KILL 1 \
         {JOB}; echo second $?; dmesg | grep -c 'event 0x1'"
    );
    let (run, trace) = under("rings", &script);
    assert_eq!(taken(&trace, "sq").len(), 1, "{run}");
    // The kernel's domain does not stall: the queue fails, and the process is told.
    says(&run, "first 1");
    let failed = trace.iter().filter(|it| it.event == "queue_failed");
    assert!(failed.count() >= 1, "{run}");
}

#[test]
fn mailbox_commands_fail_are_late_and_are_never_answered() {
    let script = format!(
        "echo marker go > /dev/ttyS1; for n in 1 2 3 4; do timeout -s KILL 4 {JOB}; echo $n $?; \
         done; dmesg | tail -20"
    );
    let (run, trace) = under("mailbox", &script);
    for rule in ["fails", "late", "never"] {
        assert_eq!(taken(&trace, rule).len(), 1, "{rule}\n{run}");
    }
    says(&run, "1 1");
    says(&run, "QM mailbox");
}

#[test]
fn errors_and_resets_come_in_the_middle_of_a_fault() {
    for (name, rule) in [
        ("device-error", "error-under-fault"),
        ("device-reset", "reset-under-fault"),
    ] {
        let script = format!("timeout -s KILL 1 {JOB}; echo ended $?; dmesg | tail -5");
        let (run, trace) = under(name, &script);
        let at = taken(&trace, rule);
        assert_eq!(at.len(), 1, "{run}");
        let effect = trace.iter().find(|it| it.event == "effect").unwrap();
        assert_eq!(effect.time_ns, at[0].time_ns, "{run}");
        says(&run, "ended ");
    }
}

#[test]
fn interrupts_are_lost_late_held_and_spurious() {
    let script = format!("echo marker go > /dev/ttyS1; timeout -s KILL 2 {JOB}; echo ended $?");
    let (run, trace) = under("interrupts", &script);
    assert_eq!(taken(&trace, "lost-event-irq").len(), 1, "{run}");
    says(&run, "ended ");

    let script = format!("echo marker go > /dev/ttyS1; {JOB} & {JOB}; wait; echo ended");
    let (run, trace) = under("held-interrupt", &script);
    assert_eq!(taken(&trace, "hold").len(), 1, "{run}");
    says(&run, "ended");

    let script = format!("echo marker go > /dev/ttyS1; timeout -s KILL 2 {JOB}; echo ended $?");
    let (run, trace) = under("spurious", &script);
    assert_eq!(
        count(&trace, "injection"),
        count(&trace, "effect") - 1,
        "{run}"
    );
    says(&run, "ended ");
}

#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "a host's guest has not enabled the SMMU by the plan's 60 ms"
)]
fn records_of_ones_choice_are_written() {
    let (run, trace) = under("chosen-records", "sleep 0.1; dmesg | grep -c 'event 0x02'");
    let written: Vec<u64> = trace
        .iter()
        .filter(|record| record.event == "event_record")
        .map(|record| record.words()[0])
        .collect();
    assert_eq!(written.len(), 6, "{run}");
    assert_eq!(written[0], 0x99_0000_0002, "{run}");
    says(&run, "3");
    // The kernel answers the stall that there is not.
    let unmatched = trace
        .iter()
        .filter(|record| record.event == "resume" && !record.is("matched"));
    assert!(unmatched.count() >= 1, "{run}");
}

#[test]
fn a_stale_tlb_shows_what_was_there_before() {
    let script = format!("echo marker go > /dev/ttyS1; {JOB}; echo marker stop > /dev/ttyS1");
    let (run, trace) = under("stale-tlb", &script);
    assert!(!taken(&trace, "no-tlbi").is_empty(), "{run}");
}

#[test]
fn a_plan_with_mistakes_is_refused_before_the_guest_boots() {
    let (_folder, guest) = plan("[[rule]]\nat = \"recrod\"\ndo = { drop = true }\n");
    let run = guest.run_raw(&["true"]).status(125);
    assert!(run.errors().contains("plan.toml:2:6"), "{run}");
    assert!(run.errors().contains("did you mean \"record\"?"), "{run}");
    let (_folder, guest) = plan("[[rule]]\nat = \"record\"\ndo = { pause = true }\n");
    let run = guest.run_raw(&["true"]).status(125);
    assert!(run.errors().contains("--control"), "{run}");
}

#[test]
fn doorbells_come_late_and_twice() {
    let script = format!("echo marker go > /dev/ttyS1; {JOB}");
    let (run, trace) = under("doorbells", &script);
    let late = taken(&trace, "late-doorbell");
    assert!(!late.is_empty(), "{run}");
    for taken in late {
        assert_eq!(taken.text("at"), Some("doorbell_write"), "{run}");
        assert_eq!(taken.number("delay_ns"), Some(20_000), "{run}");
    }
}

#[test]
fn what_follows_a_rule_comes_so_long_after_it() {
    let (run, trace) = under("after-rule", JOB);
    let at = |rule: &str| taken(&trace, rule).first().map(|record| record.time_ns);
    let held = at("held-record").unwrap_or_else(|| panic!("{run}"));
    assert_eq!(at("forget"), Some(held + 20_000), "{run}");
    let written = trace.iter().filter(|record| record.event == "event_record");
    let written: Vec<u64> = written.map(|record| record.time_ns).collect();
    assert!(written.contains(&(held + 50_000)), "{written:?}\n{run}");
}

#[test]
fn entries_of_an_event_queue_can_be_asked_for_in_numbers() {
    let (run, trace) = under("many-events", "echo marker now > /dev/ttyS1; sleep 0.1");
    let mut effects = trace.iter().filter(|it| it.event.starts_with("effect"));
    let effect = effects.next().unwrap();
    assert_eq!(effect.text("effect"), Some("device_events"), "{run}");
    assert_eq!(effect.text("ring"), Some("eq"), "{run}");
    assert_eq!(effect.number("count"), Some(10), "{run}");
    assert_eq!(effects.count(), 0, "{run}");
}

//! Fault plans: gates that open and close, rules that are switched, and what waits where.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use stallbox_tests::{Guest, Record, Run};

use crate::inspect::{ask, inspect, paused_under};
use crate::plans::{example, says, taken};

const JOB: &str = "zipsva compress --poll epoll --check --in /stallbox/command --out /tmp/out";

fn under(name: &str, guest: Guest, script: &str) -> (Run, Vec<Record>) {
    let guest = guest.option("--plan", example(name)).traced();
    let run = guest.run(script).success();
    let trace = run.trace();
    (run, trace)
}

fn times(trace: &[Record], event: &str) -> Vec<u64> {
    let of = trace.iter().filter(|record| record.event == event);
    of.map(|record| record.time_ns).collect()
}

fn wait_until_paused(socket: &Path) {
    let end = Instant::now() + Duration::from_secs(60);
    while inspect(socket, &["status"]).0["answer"]["paused"] != Value::Bool(true) {
        assert!(Instant::now() < end, "it does not come to the next gate");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Stops at each gate of `held-steps.toml`: what waits there is named, and goes on once it is opened.
fn stops_at_each_gate(guest: Guest, script: &str, expected: &[(&str, &str)]) {
    let plan = fs::read_to_string(example("held-steps")).unwrap();
    let plan = plan.replace("gate = ", "pause = true, gate = ");
    let mut left = expected.to_vec();
    let run = paused_under(&plan, guest, script, |socket| {
        while !left.is_empty() {
            wait_until_paused(socket);
            let outstanding = ask(socket, &["outstanding"]);
            let text = outstanding["text"].as_str().unwrap();
            let gates = outstanding["gates"].as_array().unwrap();
            assert!(!gates.is_empty(), "{text}");
            for gate in gates {
                let gate = gate["gate"].as_str().unwrap();
                let at = left.iter().position(|(name, _)| *name == gate);
                let at = at.unwrap_or_else(|| panic!("{gate} again\n{text}"));
                let (_, what) = left.remove(at);
                let place = format!("at gate \"{gate}\"");
                let line = text.lines().find(|line| line.contains(&place));
                let line = line.unwrap_or_else(|| panic!("nothing {place}\n{text}"));
                assert!(line.contains(what), "{line}");
                assert_eq!(
                    ask(socket, &["open", gate]),
                    format!("open {gate}: 1 released")
                );
            }
            // An entry in the ring of failures, so that its doorbell comes too.
            if left.iter().map(|(gate, _)| *gate).eq(["aeq"]) {
                let failure = "device_events = [{ ring = 'aeq', queue = 0, kind = 3 }]";
                ask(socket, &["now", failure]);
            }
            ask(socket, &["resume"]);
        }
    });
    run.success();
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine can be paused")]
fn each_doorbell_and_step_of_the_zip_waits_at_a_gate() {
    let script = format!("echo marker go > /dev/ttyS1; {JOB}");
    let expected = [
        ("sq", "SQ doorbell with index 1 of StreamID 8, queue 0"),
        ("start", "doorbell of StreamID 8, queue 0"),
        ("fetch", "descriptor fetch of StreamID 8, queue 0"),
        ("completion", "completion write of StreamID 8, queue 0"),
        ("irq", "MSI 0 of StreamID 8, queue 0"),
        ("cq", "CQ doorbell with index 1 of StreamID 8, queue 0"),
        ("eq", "EQ doorbell with index 1 of StreamID 8"),
        ("aeq", "AEQ doorbell with index 1 of StreamID 8"),
    ];
    stops_at_each_gate(Guest::new(), &script, &expected);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine can be paused")]
fn each_doorbell_and_step_of_the_test_engine_waits_at_a_gate() {
    let guest = Guest::new().option("--accel", "test-engine");
    let script = "echo marker go > /dev/ttyS1; svatest copy --poll epoll";
    let expected = [
        ("sq", "SQ doorbell with index 1 of StreamID 16, queue 0"),
        ("start", "doorbell of StreamID 16, queue 0"),
        ("fetch", "descriptor fetch of StreamID 16, queue 0"),
        ("completion", "completion write of StreamID 16, queue 0"),
        ("irq", "MSI 1 of StreamID 16, queue 0"),
        ("cq", "CQ doorbell with index 1 of StreamID 16, queue 0"),
    ];
    stops_at_each_gate(guest, script, &expected);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the host's time is not exact to the step")]
fn records_come_in_batches_of_a_gate_that_is_closed_again() {
    let script = "zipabuse storm --queues 2 --depth 4 --bytes 16384";
    let (run, trace) = under("batches", Guest::new(), script);
    let written = times(&trace, "event_record");
    assert!(written.iter().all(|ns| ns % 200_000 == 0), "{written:?}");
    let mut batches = written.clone();
    batches.dedup();
    assert!(batches.len() > 2 && written.len() > batches.len(), "{run}");
    assert_eq!(taken(&trace, "hold").len(), written.len(), "{run}");
    assert_eq!(run.summary().job_errors, 0, "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the host's time is not exact to the step")]
fn an_effect_that_comes_later_opens_the_gate_of_its_own_rule() {
    let (run, trace) = under("own-gate", Guest::new(), JOB);
    let held: Vec<u64> = taken(&trace, "hold").iter().map(|it| it.time_ns).collect();
    assert!(held.len() > 1, "{run}");
    let later: Vec<u64> = held.iter().map(|ns| ns + 70_000).collect();
    assert_eq!(times(&trace, "event_record"), later, "{run}");
    let closed: Vec<u64> = taken(&trace, "close").iter().map(|it| it.time_ns).collect();
    let expected: Vec<u64> = held.iter().map(|ns| ns + 100_000).collect();
    assert_eq!(closed, expected, "{run}");
}

#[test]
fn a_rule_is_switched_on_and_off() {
    let script = format!(
        "{JOB} && echo marker on > /dev/ttyS1; {JOB} && echo marker off > /dev/ttyS1; {JOB} && echo done"
    );
    let (run, trace) = under("switched", Guest::new(), &script);
    says(&run, "done");
    let (on, off) = (taken(&trace, "on")[0], taken(&trace, "off")[0]);
    let forgotten = taken(&trace, "forgetful");
    assert!(!forgotten.is_empty(), "{run}");
    let between = on.time_ns..off.time_ns;
    assert!(
        forgotten.iter().all(|it| between.contains(&it.time_ns)),
        "{run}"
    );
    // There was something to take before and after.
    let jobs = times(&trace, "job_done");
    assert!(jobs.iter().any(|ns| *ns < on.time_ns), "{run}");
    assert!(jobs.iter().any(|ns| *ns > off.time_ns), "{run}");
    let effects = trace.iter().filter(|it| it.event == "effect");
    let effects: Vec<_> = effects
        .map(|it| (it.text("effect"), it.text("rule")))
        .collect();
    let expected = ["enable", "disable"].map(|it| (Some(it), Some("forgetful")));
    assert_eq!(effects, expected, "{run}");
}

#[test]
fn completions_of_atc_invalidations_are_late_or_come_when_nobody_waits() {
    let guest = Guest::new()
        .option("--accel", "test-engine,fault=pri")
        .option("--image", "pri")
        .option("--latency", "atc_timeout=fixed:2000000");
    let script = "echo marker go > /dev/ttyS1; svatest copy && echo one; \
                  echo marker hold > /dev/ttyS1; svatest copy && echo two; \
                  sleep 0.1; echo marker let-go > /dev/ttyS1; sleep 0.1; svatest copy && echo three; \
                  dmesg | grep smmu";
    let (run, trace) = under("late-completions", guest, script);
    for word in ["one", "two", "three", "ATC invalidate timeout"] {
        says(&run, word);
    }
    let after = |from: u64, stage: &str| {
        let mut of = trace
            .iter()
            .filter(|it| it.event == "atc_invalidate" && it.time_ns >= from);
        let found = of.find(|it| it.text("stage") == Some(stage));
        found.unwrap_or_else(|| panic!("no {stage}\n{run}")).time_ns
    };
    let late = taken(&trace, "late")[0];
    if !cfg!(feature = "kvm") {
        assert_eq!(after(late.time_ns, "done"), late.time_ns + 50_000, "{run}");
    }
    // Given up, and heard of when the gate is opened.
    let held = taken(&trace, "hold")[0].time_ns;
    let opened = taken(&trace, "let-go")[0].time_ns;
    assert!((held..opened).contains(&after(held, "timed_out")), "{run}");
    assert!(after(opened, "late") >= opened, "{run}");
    let stages = trace.iter().filter_map(|it| it.text("stage"));
    assert_eq!(stages.filter(|stage| *stage == "late").count(), 1, "{run}");
}

#[test]
fn too_many_entries_overflow_the_event_ring_and_the_driver_resets_the_function() {
    let script = format!(
        "{JOB} && echo marker now > /dev/ttyS1; sleep 1; echo marker over > /dev/ttyS1; \
         {JOB} && echo again; dmesg | grep overflow"
    );
    let (run, trace) = under("event-overflow", Guest::new(), &script);
    let mut effects = trace.iter().filter(|it| it.event.starts_with("effect"));
    for (event, reason) in [("effect", None), ("effect_failed", Some("overflow"))] {
        let effect = effects.next().unwrap();
        assert_eq!(
            (&*effect.event, effect.text("reason")),
            (event, reason),
            "{run}"
        );
        assert_eq!(effect.text("effect"), Some("device_events"), "{run}");
        assert_eq!(effect.number("count"), Some(65536), "{run}");
        let taken = effect.number("taken");
        assert!(taken.is_none_or(|taken| taken < 65536), "{run}");
        assert_eq!(taken.is_some(), reason.is_some(), "{run}");
    }
    says(&run, "eq overflow, reset function");
    says(&run, "again");
}

#[test]
fn an_interrupt_is_chosen_by_the_stream_or_queue_that_it_tells_of() {
    let guest = Guest::new()
        .option("--accel", "zip")
        .option("--accel", "test-engine");
    let script = format!(
        "{JOB} && svatest copy --queues 2 --ops 8 --memory untouched --poll epoll && echo done"
    );
    let (run, trace) = under("one-of-many", guest, &script);
    says(&run, "done");
    for (rule, key, value) in [
        ("late-event", "stream", 16),
        ("late-completion", "queue", 1),
    ] {
        let all = taken(&trace, rule);
        assert!(!all.is_empty(), "{rule}\n{run}");
        assert!(
            all.iter().all(|it| it.number(key) == Some(value)),
            "{rule}\n{run}"
        );
    }
    let completions = taken(&trace, "late-completion");
    assert!(
        completions.iter().all(|it| it.number("code") == Some(2)),
        "{run}"
    );
    // Of the ZIP there were faults too, and of the engine's other queue completions.
    let faults = trace.iter().filter(|it| it.event == "stalled");
    let streams: Vec<_> = faults.filter_map(|it| it.number("stream")).collect();
    assert!(streams.contains(&8) && streams.contains(&16), "{run}");
    let mut interrupts = trace.iter().filter(|it| it.event == "interrupt");
    assert!(interrupts.any(|it| it.number("vector") == Some(1)), "{run}");
}

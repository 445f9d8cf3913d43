//! Fault plans for the test engine, in both of its modes, and for two accelerators at once.

use stallbox_tests::{Guest, Record, Run};

use crate::plans::{count, example, plan, says, taken};

/// What the device does about a page that is not there, and the kernel for it.
const MODES: [(&str, &str); 2] = [
    ("test-engine,fault=stall", "stock"),
    ("test-engine,fault=pri", "pri"),
];

/// Runs a script under an example, in one of the modes.
fn under(name: &str, (accelerator, image): (&str, &str), script: &str) -> (Run, Vec<Record>) {
    let guest = Guest::new()
        .option("--accel", accelerator)
        .option("--image", image)
        .option("--plan", example(name))
        .traced();
    let run = guest.run(script).success();
    let trace = run.trace();
    (run, trace)
}

/// The events of this kind whose fields are these numbers.
fn told<'a>(trace: &'a [Record], event: &str, fields: &[(&str, u64)]) -> Vec<&'a Record> {
    let is_it = |it: &&Record| {
        let mut fields = fields.iter();
        it.event == event && fields.all(|(name, number)| it.number(name) == Some(*number))
    };
    trace.iter().filter(is_it).collect()
}

#[test]
fn the_engine_s_rings_fault_too() {
    for mode in MODES {
        let script = "svatest copy --ops 4 2>&1; echo first $?; svatest copy && echo again";
        let (run, trace) = under("engine-rings", mode, script);
        says(
            &run,
            "has failed: 3 (the completion ring could not be written)",
        );
        says(&run, "first 1");
        says(&run, "again");
        let sq = taken(&trace, "sq")[0];
        let cq = taken(&trace, "cq")[0];
        assert_eq!(
            (sq.number("stream"), sq.number("queue")),
            (Some(16), Some(0))
        );
        // The first is a fault like any other: it is reported, resolved and tried again.
        let answer = match mode.1 {
            "pri" => "page_response",
            _ => "resume",
        };
        let answered = trace.iter().find(|it| it.event == answer).unwrap();
        assert!(
            (sq.time_ns..cq.time_ns).contains(&answered.time_ns),
            "{run}"
        );
        // The other is the end of the queue.
        let failed = told(&trace, "queue_failed", &[("queue", 0), ("failure", 3)]);
        assert_eq!(failed[0].time_ns, cq.time_ns, "{run}");
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the host's time is not exact to the step")]
fn each_step_of_the_engine_can_take_longer() {
    let script = "svatest copy --poll epoll";
    let (run, trace) = under("engine-steps", MODES[0], script);
    let at = |event: &str| trace.iter().find(|it| it.event == event).unwrap().time_ns;
    let rules = ["slow-doorbell", "slow-fetch", "slow-completion", "late-msi"];
    let times: Vec<u64> = rules
        .map(|rule| taken(&trace, rule)[0].time_ns)
        .into_iter()
        .chain([told(&trace, "interrupt", &[("vector", 1)])[0].time_ns])
        .collect();
    assert_eq!(times[0], at("doorbell"), "{run}");
    assert_eq!(times[2], at("job_done"), "{run}");
    for (pair, ns) in times
        .windows(2)
        .zip([1_000_000, 1_000_000, 1_000_000, 5_000_000])
    {
        assert!(pair[1] - pair[0] >= ns, "{times:?}\n{run}");
    }
}

#[test]
fn the_engine_fails_and_is_reset_in_the_middle_of_a_fault() {
    for (mode, rule) in MODES.into_iter().zip(["stall", "page-request"]) {
        let script = "svatest copy --memory untouched 2>&1; echo first $?; svatest copy && echo again; \
                      dmesg | grep reason";
        let (run, trace) = under("engine-error", mode, script);
        let injected = taken(&trace, &format!("error-under-{rule}"))[0];
        let failed = told(&trace, "queue_failed", &[("queue", 0), ("failure", 42)])[0];
        assert_eq!(failed.time_ns, injected.time_ns, "{run}");
        says(&run, "svatest: queue 0 has failed: 42 (unknown)");
        says(&run, "first 1");
        says(&run, "again");
        says(&run, "queue 0 failed, reason 42");

        let script = "timeout -s KILL 5 svatest copy --memory untouched --poll epoll; \
                      echo first $?; sleep 1";
        let (run, trace) = under("engine-reset", mode, script);
        let injected = taken(&trace, &format!("reset-under-{rule}"))[0];
        let reset = told(&trace, "device_reset", &[]);
        assert_eq!(reset.last().unwrap().time_ns, injected.time_ns, "{run}");
        let effect = trace.iter().find(|it| it.event == "effect").unwrap();
        assert_eq!(effect.number("stream"), Some(16), "{run}");
        says(&run, "first 137");
        // What it had asked for was answered, though it waited no longer.
        assert!(
            count(&trace, "resume") + count(&trace, "page_response") > 0,
            "{run}"
        );
    }
}

#[test]
fn an_atc_invalidation_is_never_complete() {
    let script = "echo marker go > /dev/ttyS1; svatest copy && echo done; dmesg | grep smmu";
    let guest = Guest::new()
        .option("--accel", MODES[1].0)
        .option("--image", "pri")
        .option("--latency", "atc_timeout=fixed:2000000")
        .option("--plan", example("atc-timeout"));
    let run = guest.traced().run(script).success();
    let trace = run.trace();
    says(&run, "done");
    let lost = taken(&trace, "no-completion")[0].time_ns;
    let given_up = trace
        .iter()
        .find(|it| it.event == "atc_invalidate" && it.text("stage") == Some("timed_out"))
        .unwrap();
    // Counted from when it was sent.
    let late = given_up.time_ns - lost;
    assert!(
        (1_900_000..2_100_000).contains(&late) || cfg!(feature = "kvm"),
        "{late}\n{run}"
    );
    // CERROR_ATC_INV_SYNC, and the kernel's word for it.
    says(&run, "ATC invalidate timeout");
}

#[test]
fn the_smmu_answers_page_requests_itself() {
    let script = "svatest fill --memory untouched && echo zero; \
                  echo marker invalid > /dev/ttyS1; \
                  svatest copy --memory untouched; echo one $?; \
                  svatest copy --memory untouched && echo two; \
                  echo marker failure > /dev/ttyS1; \
                  svatest copy --memory untouched; echo three $?; \
                  svatest copy; echo four $?";
    let (run, trace) = under("answers", MODES[1], script);
    // A lie is found out, and the page asked for again.
    says(&run, "zero");
    assert_eq!(taken(&trace, "lie").len(), 3, "{run}");
    let automatic: Vec<_> = trace
        .iter()
        .filter(|it| it.event == "page_response" && it.is("automatic"))
        .map(|it| it.text("code").unwrap())
        .collect();
    let expected = [
        "success",
        "success",
        "success",
        "invalid_request",
        "failure",
    ];
    assert_eq!(automatic, expected, "{run}");
    // Of the kernel none of them.
    let seen = trace.iter().filter(|it| it.event == "page_request");
    let answered = count(&trace, "page_response") - automatic.len();
    assert!(seen.count() >= answered, "{run}");
    says(&run, "one 1");
    says(&run, "two");
    // After a Response Failure the function asks for no page, and the driver says so.
    says(&run, "three 1");
    says(&run, "four 1");
    says(&run, "Operation not supported");
}

#[test]
fn of_two_accelerators_one_is_meant() {
    let (_folder, guest) = plan(
        "[[rule]]\nname='engine'\nat='dma'\nmatch={stream=16, ring='data'}\ndo.delay=1000\n\
         [[rule]]\nname='zip'\nat='completion_write'\nmatch={stream=8}\ndo.delay=1000\n\
         [[rule]]\nname='irq'\nat='marker'\nmatch.marker='go'\n\
         do={raise_msi={stream=16, vector=0}}\n\
         [[rule]]\nname='whose'\nat='marker'\nmatch.marker='which'\ndo={raise_msi=0}\n",
    );
    let guest = guest
        .option("--accel", "zip")
        .option("--accel", "test-engine");
    let script = "zipsva compress --in /init --out /tmp/out && svatest copy && \
                  echo marker go > /dev/ttyS1; echo marker which > /dev/ttyS1";
    let run = guest.traced().run(script).success();
    let trace = run.trace();
    let of = |event: &str, stream| {
        trace
            .iter()
            .filter(|it| it.event == event && it.number("stream") == Some(stream))
            .count()
    };
    for event in ["doorbell", "job_started", "job_done"] {
        assert!(of(event, 8) > 0 && of(event, 16) > 0, "{event}\n{run}");
        assert_eq!(of(event, 8) + of(event, 16), count(&trace, event), "{run}");
    }
    for (rule, stream) in [("engine", 16), ("zip", 8)] {
        let all = taken(&trace, rule);
        assert!(!all.is_empty(), "{run}");
        assert!(
            all.iter().all(|it| it.number("stream") == Some(stream)),
            "{run}"
        );
    }
    // One completion each, of the ZIP alone.
    assert_eq!(taken(&trace, "zip").len(), of("job_done", 8), "{run}");
    let go = taken(&trace, "irq")[0].time_ns;
    let sent = told(&trace, "interrupt", &[("vector", 0)]);
    let sent = sent.iter().find(|it| it.time_ns == go).unwrap();
    assert_eq!(sent.number("stream"), Some(16), "{run}");
    // Where nobody is named, nobody is taken at random.
    let unclear = taken(&trace, "whose")[0].time_ns;
    assert!(
        told(&trace, "interrupt", &[])
            .iter()
            .all(|it| it.time_ns != unclear),
        "{run}"
    );
    let failed = told(&trace, "effect_failed", &[("vector", 0)]);
    let why: Vec<_> = failed.iter().map(|it| it.text("reason")).collect();
    assert_eq!(why, [Some("several_accelerators")], "{run}");
}

//! A run that does not end by itself says what it had under way.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stallbox_tests::{Guest, Run, repository};

use super::cli::bare_metal;

/// The first page of the job stalls, and its answer is lost.
fn lost_resume() -> Guest {
    ended_under(&repository("docs/fault-plans/lost-resume.toml"))
}

/// Ended by a signal once the script says that it is stuck.
fn ended_under(plan: &Path) -> Guest {
    Guest::new().option("--plan", plan).when("stuck", |pid| {
        let pid = Pid::from_raw(pid as i32).expect("a PID");
        kill_process(pid, Signal::TERM).expect("cannot send a signal");
    })
}

/// The job hangs in the background while the machine goes on, and is ended from outside then.
const SCRIPT: &str = "zipsva compress --poll epoll --in /bin/busybox --out /tmp/out & sleep 1; \
                      echo stuck; while :; do :; done";

#[track_caller]
fn outstanding(run: &Run) -> Value {
    let summary = run.whole_summary();
    assert!(summary["outstanding"].is_object(), "{run}");
    summary["outstanding"].clone()
}

#[track_caller]
fn says(run: &Run, parts: &[&str]) {
    for part in parts {
        assert!(run.errors().contains(part), "no {part:?}\n{run}");
    }
}

#[test]
fn a_lost_answer_is_named_with_its_stall_and_its_rule() {
    let run = lost_resume().traced().run(SCRIPT).status(122);
    says(
        &run,
        &[
            "1 stall outstanding:\n  zip (StreamID 8), queue 0, PASID 1, read of 0x",
            "(data), tag 0, for ",
            "its event record was read by software; its CMD_RESUME was dropped by rule \
             \"lost-resume\" at ",
            "queue 0, PASID 1, SQ head 0 tail 1 of ",
            "job of queue 0, PASID 1, tag ",
            "SMMU: command queue PROD ",
            "vCPU 0: ",
            "the console's last lines:",
        ],
    );
    let outstanding = outstanding(&run);
    let stall = &outstanding["stalls"]["shown"][0];
    assert_eq!(outstanding["stalls"]["count"], 1, "{run}");
    // What the trace says of it.
    let trace = run.trace();
    let stalled = trace.iter().find(|it| it.event == "stalled").unwrap();
    let injection = trace.iter().find(|it| it.event == "injection").unwrap();
    assert_eq!(stall["address"].as_str(), stalled.text("address"), "{run}");
    assert_eq!(stall["stag"].as_u64(), stalled.number("stag"), "{run}");
    assert_eq!(stall["since_ns"], stalled.time_ns, "{run}");
    assert_eq!(
        stall["age_ns"],
        run.summary().virtual_ns - stalled.time_ns,
        "{run}"
    );
    let answer = &stall["answers"][0];
    assert_eq!(answer["rule"], "lost-resume", "{run}");
    assert_eq!(answer["time_ns"], injection.time_ns, "{run}");
    assert_eq!(stall["record"], "read", "{run}");
    // The interrupted shell is busy; what it has on its stack is its own.
    let vcpu = &outstanding["vcpus"][0];
    assert_eq!(
        vcpu["registers"]["x"].as_array().unwrap().len(),
        31,
        "{run}"
    );
}

#[test]
fn the_summary_is_a_test_case_with_its_inputs() {
    let run = lost_resume().run(SCRIPT).status(122);
    let summary = run.whole_summary();
    let case = &summary["case"];
    assert_eq!(summary["outcome"], "quit", "{run}");
    assert_eq!(summary["status"], 122, "{run}");
    assert_eq!(case["result"], "failed", "{run}");
    assert_eq!(case["message"], "left before the command ended", "{run}");
    assert!(
        case["name"].as_str().unwrap().contains("zipsva compress"),
        "{run}"
    );
    assert!(case["time_s"].as_f64().unwrap() > 0.0, "{run}");
    let output = case["output"].as_array().unwrap();
    assert_eq!(output.last().unwrap(), "stuck", "{run}");
    let inputs = &summary["inputs"];
    let plan = fs::read(repository("docs/fault-plans/lost-resume.toml")).unwrap();
    assert_eq!(inputs["plan"]["sha256"], sha256(&plan), "{run}");
    let kernel = fs::read(inputs["kernel"]["path"].as_str().unwrap()).unwrap();
    assert_eq!(inputs["kernel"]["sha256"], sha256(&kernel), "{run}");
    assert_eq!(inputs["initramfs"].as_array().unwrap().len(), 1, "{run}");
    assert_eq!(inputs["seed"], 1, "{run}");
    assert!(
        inputs["version"].is_string() && inputs["arguments"].is_array(),
        "{run}"
    );

    let fine = Guest::new().run("true").success().whole_summary();
    assert_eq!(fine["outcome"], "command");
    assert_eq!(fine["case"]["result"], "passed");
    assert_eq!(
        (&fine["case"]["message"], &fine["outstanding"]),
        (&Value::Null, &Value::Null)
    );
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A page may take longer than the checker waits, until nobody waits any more.
#[test]
fn the_stall_checker_reports_at_the_end_what_is_open() {
    let run = lost_resume()
        .option("--check", "stall=3600000000")
        .run(SCRIPT)
        .status(122);
    says(
        &run,
        &[
            "check stall: a stall had no answer when the run ended, after ",
            "sent, dropped by rule lost-resume",
            "software knows of the stall",
        ],
    );
}

#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "the kernel's console is quiet there, and its end the host's"
)]
fn a_panic_shows_the_way_into_it() {
    let run = Guest::new().run("echo c > /proc/sysrq-trigger").status(121);
    says(
        &run,
        &[
            "the guest's kernel panicked",
            " panic+0x",
            " sysrq_handle_crash+0x",
        ],
    );
    let outstanding = outstanding(&run);
    let backtrace = outstanding["vcpus"][0]["backtrace"].as_array().unwrap();
    let symbol = |frame: &Value| frame["symbol"].as_str().unwrap_or_default().to_owned();
    let vfs = backtrace
        .iter()
        .map(symbol)
        .any(|name| name.starts_with("vfs_write+0x"));
    assert!(vfs, "{backtrace:?}\n{run}");
    // Linux, arch/arm64/kernel/smccc-call.S, SMCCC: what follows the HVC of the reset.
    let instruction = &outstanding["vcpus"][0]["instruction"];
    assert_eq!(instruction, "ldr x4, [sp]", "{run}");
    says(&run, &[" __arm_smccc_hvc+0x8: ldr x4, [sp]"]);
    assert_eq!(outstanding["stalls"]["count"], 0, "{run}");
}

#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "idle time does not jump there, and a limit is the host's"
)]
fn a_gate_that_nobody_opens_is_named_with_who_waits() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "[[rule]]\nname = 'hold'\nat = 'record'\nmatch = { stalled = true, nth = 1 }\n\
                do = { gate = 'g' }\n";
    fs::write(&plan, text).unwrap();
    let run = ended_under(&plan).run(SCRIPT).status(122);
    says(
        &run,
        &[
            "its event record was taken by rule \"hold\", at gate \"g\"; no command has named its tag",
            "gate \"g\" is closed: 1 waits at it",
            "record F_TRANSLATION of StreamID 8, PASID 1, tag 0, 0x",
        ],
    );
    let outstanding = outstanding(&run);
    assert_eq!(
        outstanding["stalls"]["shown"][0]["record"], "not_written",
        "{run}"
    );
    assert_eq!(outstanding["held"]["shown"][0]["gate"], "g", "{run}");
}

#[test]
fn a_page_request_that_is_lost_is_named_with_its_group_and_its_rule() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "[[rule]]\nname = 'lost-request'\nat = 'page_request'\nmatch = { nth = 1 }\n\
                do = { drop = true }\n";
    fs::write(&plan, text).unwrap();
    let script = "svatest copy --bytes 64K --memory untouched & sleep 1; echo stuck; \
                  while :; do :; done";
    let run = ended_under(&plan)
        .option("--image", "pri")
        .option("--accel", "test-engine,fault=pri")
        .run(script)
        .status(122);
    says(
        &run,
        &[
            "1 page request group without a response:\n  test-engine (StreamID 16), PASID 1, group 0, \
             1 request from 0x",
            ": lost before the queue\n",
            "page request of StreamID 16, PASID 1, 0x",
            " dropped by rule \"lost-request\" at ",
            "page-request queue PROD 0x0 CONS 0x0 (empty)",
        ],
    );
    let outstanding = outstanding(&run);
    assert_eq!(
        outstanding["page_requests"]["shown"][0]["entry"], "lost",
        "{run}"
    );
    assert_eq!(
        outstanding["lost"]["shown"][0]["rule"], "lost-request",
        "{run}"
    );
}

/// A process that hangs, and the accesses of an effect beside it, none of which software hears of.
#[test]
fn of_many_stalls_the_first_are_listed_and_the_rest_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "[[rule]]\nname = 'deaf'\nat = 'record'\nmatch = { stalled = true }\n\
                do = { drop = true }\n\
                [[rule]]\nname = 'more'\nat = 'marker'\nmatch = { marker = 'go' }\n\
                do = { touch = { stream = 8, pasid = 1, address = 0x1000000, count = 39, \
                stride = 4096 } }\n";
    fs::write(&plan, text).unwrap();
    let script = SCRIPT.replace(
        "echo stuck",
        "echo marker go > /dev/ttyS1; sleep 1; echo stuck",
    );
    let run = ended_under(&plan).run(&script).status(122);
    says(
        &run,
        &[
            "40 stalls outstanding:\n",
            "  and 24 more\n",
            "its event record was dropped by rule \"deaf\"; no command has named its tag",
            "dropped by rule \"deaf\" at ",
            ", the last of 40\n",
        ],
    );
    let outstanding = outstanding(&run);
    assert_eq!(outstanding["stalls"]["count"], 40, "{run}");
    let shown = outstanding["stalls"]["shown"].as_array().unwrap();
    assert_eq!(shown.len(), 16, "{run}");
    // The oldest first: the job's, with its queue; an effect's has none.
    assert_eq!(
        (&shown[0]["queue"], &shown[1]["queue"]),
        (&0.into(), &Value::Null),
        "{run}"
    );
    assert_eq!(
        outstanding["lost"]["shown"][0]["last"]
            .as_array()
            .unwrap()
            .len(),
        8,
        "{run}"
    );
}

/// Linux never does: one of its timers is always armed.
#[test]
#[cfg_attr(feature = "kvm", ignore = "the host's time goes on, and may wake it")]
fn a_guest_that_sleeps_for_ever_ends_and_says_where() {
    // Assembled: movz x0, #0x900, lsl #16; mov w1, #'z'; strb w1, [x0]; mov w1, #'\n';
    // strb w1, [x0]; wfi; b . - 4.
    let code = [
        0xd2a1_2000,
        0x5280_0f41,
        0x3900_0001,
        0x5280_0141,
        0x3900_0001,
        0xd503_207f,
        0x17ff_ffff,
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Image");
    fs::write(&path, bare_metal(&code)).unwrap();
    let guest = Guest::new().option("--kernel", &path).cpus(2);
    let run = guest.run_raw(&["true"]).status(122);
    says(
        &run,
        &[
            "all CPUs of the guest sleep, and nothing will wake them",
            "zip (StreamID 8): no queues, no job under way",
            "SMMU: off, command queue PROD 0x0 CONS 0x0 (off)",
            "vCPU 0: waits for an interrupt (WFI) at EL1, DAIF DAIF, PMR 0x0, group 1 disabled\n  #0 0x",
            "vCPU 1: off\n",
            "the console's last lines:\n  z\n",
        ],
    );
    let outstanding = outstanding(&run);
    assert_eq!(run.whole_summary()["outcome"], "asleep", "{run}");
    let power = |vcpu: usize| outstanding["vcpus"][vcpu]["power"].clone();
    assert_eq!(
        (power(0), power(1)),
        ("waiting".into(), "off".into()),
        "{run}"
    );
}

//! Live control: a machine that is stopped at an event, looked at, and let go.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, str};

use serde_json::Value;
use stallbox_tests::{Guest, Run, stallbox};

const JOB: &str = "zipsva compress --poll epoll --check --in /stallbox/command --out /tmp/out";

/// The second stall's record waits at a gate, and the machine stops there.
const PLAN: &str = "[[rule]]\nname = 'hold'\nat = 'record'\nmatch = { stalled = true, nth = 2 }\n\
                    do = { gate = 'g', pause = true }\n";

pub(crate) fn inspect(socket: &Path, words: &[&str]) -> (Value, String, Option<i32>) {
    let output = Command::new(stallbox())
        .arg("inspect")
        .arg("--json")
        .arg(socket)
        .args(words)
        .output()
        .expect("cannot start stallbox inspect");
    let text = str::from_utf8(&output.stdout).unwrap().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
    (answer, errors, output.status.code())
}

#[track_caller]
pub(crate) fn ask(socket: &Path, words: &[&str]) -> Value {
    let (answer, errors, status) = inspect(socket, words);
    assert_eq!(status, Some(0), "{words:?}: {answer} {errors}");
    answer["answer"].clone()
}

/// Runs the job under [`PLAN`]; `look` is called once the machine is paused.
fn paused(look: impl FnOnce(&Path)) -> Run {
    paused_under(PLAN, Guest::new(), JOB, look)
}

pub(crate) fn paused_under(
    plan_text: &str,
    guest: Guest,
    script: &str,
    look: impl FnOnce(&Path),
) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    fs::write(&plan, plan_text).unwrap();
    let socket: PathBuf = folder.path().join("s");
    thread::scope(|scope| {
        let guest = guest
            .option("--plan", &plan)
            .option("--control", &socket)
            .traced();
        let run = scope.spawn(move || guest.run(script));
        let end = Instant::now() + Duration::from_secs(200);
        while inspect(&socket, &["status"]).0["answer"]["paused"] != Value::Bool(true) {
            assert!(
                Instant::now() < end && !run.is_finished(),
                "it never paused"
            );
            thread::sleep(Duration::from_millis(20));
        }
        look(&socket);
        run.join().unwrap()
    })
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine can be paused")]
fn a_paused_machine_is_looked_at_and_let_go() {
    let run = paused(|socket| {
        let stalls = ask(socket, &["stalls"]);
        assert_eq!(stalls.as_array().unwrap().len(), 1);
        let stall = &stalls[0];
        assert_eq!((&stall["stream"], &stall["pasid"]), (&8.into(), &1.into()));
        let address = stall["address"].as_str().unwrap();

        // What the driver wrote: arm_smmu_make_cdtable_ste, arm_smmu_make_sva_cd.
        let ste = ask(socket, &["ste", "8"]);
        assert_eq!(
            (&ste["config"], &ste["v"]),
            (&"stage 1".into(), &true.into())
        );
        assert_eq!(ste["words"][0].as_str().unwrap().len(), 18);
        assert_eq!(ask(socket, &["ste"]).as_array().unwrap().len(), 1);
        let cd = ask(socket, &["cd", "0x8", "1"]);
        assert_eq!((&cd["v"], &cd["s"]), (&true.into(), &true.into()));
        assert_eq!(cd["granule"], "4 KiB");
        assert_eq!(ask(socket, &["cd", "8"]).as_array().unwrap().len(), 2);

        let outstanding = ask(socket, &["outstanding"]);
        let stall = &outstanding["stalls"]["shown"][0];
        assert_eq!(stall["address"], address, "{outstanding}");
        assert_eq!(stall["record_taken"]["rule"], "hold", "{outstanding}");
        assert_eq!(outstanding["gates"][0]["waiting"], 1, "{outstanding}");
        assert_eq!(outstanding["vcpus"].as_array().unwrap().len(), 1);
        assert!(outstanding["vcpus"][0]["registers"].is_object());
        assert!(
            outstanding["text"]
                .as_str()
                .unwrap()
                .starts_with("1 stall outstanding:\n")
        );

        // The page is not mapped, which is why it stalls.
        let walk = ask(socket, &["pt", "8", "1", address]);
        let outcome = walk["outcome"].as_str().unwrap();
        assert!(outcome.starts_with("F_TRANSLATION at level"), "{walk}");
        assert_eq!(walk["asid"], cd["asid"]);

        // The job's first page is in the TLB, where the tables say too.
        let tlb = ask(socket, &["tlb"]);
        let entries = tlb.as_array().unwrap();
        let cached = entries
            .iter()
            .find(|entry| entry["asid"] == cd["asid"])
            .unwrap();
        let walk = ask(
            socket,
            &["pt", "8", "1", cached["address"].as_str().unwrap()],
        );
        assert_eq!(walk["output"], cached["output"], "{walk}");

        let queues = ask(socket, &["queues"]);
        let event = &queues["queues"][1];
        assert_eq!(
            (&event["queue"], &event["queued"]),
            (&"event".into(), &0.into())
        );
        assert_eq!(queues["command_error"], "CERROR_NONE");
        assert!(queues["gerror"].as_array().unwrap().is_empty());
        // The record that waits at the gate is in no queue.
        assert!(
            ask(socket, &["queue", "event"])
                .as_array()
                .unwrap()
                .is_empty()
        );
        let rules = ask(socket, &["rules"]);
        assert_eq!(
            (&rules[0]["matched"], &rules[0]["fired"]),
            (&2.into(), &1.into())
        );
        assert_eq!(ask(socket, &["gates"])[0]["waiting"], 1);

        // Virtual time stands, and moves as far as it is let.
        let at = |socket: &Path| inspect(socket, &["status"]).0["time_ns"].as_u64().unwrap();
        let before = at(socket);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(at(socket), before);
        ask(socket, &["resume", "5000"]);
        let end = Instant::now() + Duration::from_secs(60);
        while ask(socket, &["status"])["paused"] != Value::Bool(true) {
            assert!(Instant::now() < end, "it does not stop again");
        }
        assert!((5000..10_000).contains(&(at(socket) - before)));

        assert_eq!(
            ask(socket, &["now", "evict_tlb = 'all'"])[0],
            format!("evict_tlb all: {} entries", entries.len())
        );
        assert!(ask(socket, &["tlb"]).as_array().unwrap().is_empty());
        ask(
            socket,
            &[
                "inject",
                "[[rule]]\nname='late'\nat='walk_step'\ndo.delay=50",
            ],
        );
        assert_eq!(ask(socket, &["rules"]).as_array().unwrap().len(), 2);
        assert_eq!(ask(socket, &["disable", "hold"]), "disable hold");
        assert_eq!(ask(socket, &["rules"])[0]["on"], false);
        assert_eq!(ask(socket, &["enable", "hold"]), "enable hold");
        assert_eq!(ask(socket, &["open", "g"]), "open g: 1 released");
        assert_eq!(ask(socket, &["close", "g"]), "close g");
        assert_eq!(ask(socket, &["gates"])[0]["open"], false);
        ask(socket, &["open", "g"]);
        ask(socket, &["resume"]);
    });
    let run = run.success();
    let trace = run.trace();
    // What a person did is in the trace; what was looked at is not.
    let effects: Vec<_> = trace
        .iter()
        .filter(|record| record.event == "effect" && record.text("by") == Some("control"))
        .map(|it| (it.text("effect"), it.text("gate").or(it.text("rule"))))
        .collect();
    let expected = [
        (Some("evict_tlb"), None),
        (Some("disable"), Some("hold")),
        (Some("enable"), Some("hold")),
        (Some("open"), Some("g")),
        (Some("close"), Some("g")),
        (Some("open"), Some("g")),
    ];
    assert_eq!(effects, expected, "{run}");
    let late = trace
        .iter()
        .filter(|record| record.event == "injection" && record.text("rule") == Some("late"));
    assert!(late.count() > 0, "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine can be paused")]
fn nonsense_is_refused_with_a_reason() {
    let run = paused(|socket| {
        let refused = |words: &[&str]| {
            let (answer, _, status) = inspect(socket, words);
            assert_eq!(status, Some(1), "{words:?}: {answer}");
            answer["error"].as_str().unwrap().to_owned()
        };
        assert!(refused(&["ste", "0x10000"]).contains("beyond the stream table"));
        assert!(
            refused(&["cd", "9"]).contains("no stage 1") || !refused(&["cd", "9", "1"]).is_empty()
        );
        assert!(refused(&["enable", "nobody"]).contains("no rule \"nobody\""));
        assert!(
            refused(&["inject", "[[rule]]\nat='recrod'\ndo.drop=true"]).contains("did you mean")
        );
        assert!(refused(&["now", "drop = true"]).contains("cannot be done"));
        assert!(refused(&["open", "nobody"]).contains("there are: g"));
        let none = refused(&["now", "device_reset = { stream = 16 }"]);
        assert!(none.contains("no accelerator has StreamID 16"), "{none}");
        assert!(refused(&["atc", "8"]).contains("no translation cache"));
        assert!(refused(&["atc", "9"]).contains("no accelerator has StreamID 9"));
        assert!(refused(&["queue", "page-request"]).contains("SMMU_IDR0.PRI is 0"));
        let (_, errors, status) = inspect(socket, &["pt", "8", "1", "zz"]);
        assert_eq!(status, Some(125), "{errors}");
        assert!(
            errors.contains("'<ADDRESS>': this is no number"),
            "{errors}"
        );
        // Beyond T0SZ, and the context does not ignore the top byte.
        let walk = ask(socket, &["pt", "8", "1", "0x100000000000000"]);
        let outcome = walk["outcome"].as_str().unwrap();
        assert!(outcome.contains("beyond 48 bits"), "{walk}");
        ask(socket, &["open", "g"]);
        ask(socket, &["resume"]);
    });
    run.success();
    let nobody = inspect(Path::new("/no/such/socket"), &["status"]);
    assert_eq!(nobody.2, Some(125));
    assert!(nobody.1.contains("no machine listens"), "{}", nobody.1);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine can be paused")]
fn a_page_request_is_seen_in_its_queue_and_what_came_of_others_in_the_device() {
    let plan = "[[rule]]\nat = 'interrupt'\nmatch = { line = 'page-request-queue', nth = 3 }\n\
                do = { gate = 'irq', pause = true }\n";
    let guest = Guest::new()
        .option("--accel", "test-engine,fault=pri")
        .option("--image", "pri");
    let run = paused_under(plan, guest, "svatest copy --memory untouched", |socket| {
        let queues = ask(socket, &["queues"]);
        assert_eq!(queues["queues"][2]["queue"], "page-request");
        assert_eq!(queues["queues"][2]["queued"], 1);
        let requests = ask(socket, &["queue", "page-request"]);
        let request = &requests[0];
        assert_eq!(
            (&request["stream"], &request["pasid"]),
            (&16.into(), &1.into())
        );
        assert_eq!(
            (&request["prg_index"], &request["last"]),
            (&2.into(), &true.into())
        );
        // What the device asked for before, it has; this it has not.
        let cached = ask(socket, &["atc", "16"]);
        let cached = cached.as_array().unwrap();
        assert!(!cached.is_empty());
        let address = request["address"].as_str().unwrap();
        let permits = |entry: &Value| {
            entry["address"] == address && entry["access"].as_str().unwrap().contains("write")
        };
        assert!(!cached.iter().any(permits), "{cached:?}");
        for entry in cached {
            let walk = ask(
                socket,
                &["pt", "16", "1", entry["address"].as_str().unwrap()],
            );
            assert_eq!(walk["output"], entry["output"], "{walk}");
        }
        ask(socket, &["open", "irq"]);
        ask(socket, &["resume"]);
    });
    run.success();
}

/// Nothing is paused, so this is for every engine: one that sleeps has to wake for the socket.
#[test]
fn a_gate_is_opened_from_outside_while_the_machine_runs() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let held = "[[rule]]\nname = 'hold'\nat = 'record'\nmatch = { stalled = true, nth = 2 }\n\
                do = { gate = 'g' }\n";
    fs::write(&plan, held).unwrap();
    let socket = folder.path().join("s");
    let guest = Guest::new()
        .option("--plan", &plan)
        .option("--control", &socket);
    thread::scope(|scope| {
        // While all CPUs wait, the soft engine's time flies, and the job would give up before
        // anybody has looked.
        let script = format!("while :; do :; done & {JOB}; status=$?; kill $!; exit $status");
        let run = scope.spawn(move || guest.run(&script));
        let end = Instant::now() + Duration::from_secs(200);
        let waits = || inspect(&socket, &["gates"]).0["answer"][0]["waiting"] == 1;
        while !waits() {
            assert!(
                Instant::now() < end && !run.is_finished(),
                "nobody came to the gate"
            );
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(ask(&socket, &["open", "g"]), "open g: 1 released");
        run.join().unwrap().success();
    });
}

/// A machine that waits before its first instruction.
fn waiting(look: impl FnOnce(&Path)) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let socket: PathBuf = folder.path().join("s");
    thread::scope(|scope| {
        let guest = Guest::new().flag("--paused").option("--control", &socket);
        let run = scope.spawn(move || guest.run_raw(&["true"]));
        let end = Instant::now() + Duration::from_secs(200);
        while inspect(&socket, &["status"]).2 != Some(0) {
            assert!(
                Instant::now() < end && !run.is_finished(),
                "it never listened"
            );
            thread::sleep(Duration::from_millis(20));
        }
        look(&socket);
        ask(&socket, &["resume"]);
        run.join().unwrap()
    })
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine can be paused")]
fn a_client_that_floods_is_served_in_portions() {
    let run = waiting(|socket| {
        let floods = ["\n", "{\"do\":\"queues\"}\n", "{\"do\":\"resume\""];
        let floods: Vec<UnixStream> = floods
            .iter()
            .map(|piece| {
                let stream = UnixStream::connect(socket).unwrap();
                let mut sends = stream.try_clone().unwrap();
                let text = piece.repeat((4 << 20) / piece.len());
                // It takes no answer, so it ends when the machine does, or drops it.
                thread::spawn(move || sends.write_all(text.as_bytes()));
                stream
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        for _ in 0..20 {
            ask(socket, &["status"]);
        }
        drop(floods);
    });
    run.success();
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine can be paused")]
fn clients_that_say_nothing_keep_nobody_out() {
    let run = waiting(|socket| {
        let idle: Vec<UnixStream> = (0..20)
            .map(|_| UnixStream::connect(socket).unwrap())
            .collect();
        ask(socket, &["status"]);
        // The first of them had to go, and was told why.
        let mut said = String::new();
        BufReader::new(&idle[0]).read_line(&mut said).unwrap();
        assert!(said.contains("idlest of 8"), "{said}");
    });
    run.success();
}

#[test]
fn a_machine_that_does_not_answer_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let late = || {
        let (_, errors, status) = inspect(&socket, &["--timeout", "0.3", "status"]);
        assert_eq!(status, Some(125), "{errors}");
        assert!(errors.contains("within 0.3 s"), "{errors}");
        assert!(errors.contains("--timeout SECONDS"), "{errors}");
    };
    late();
    // Nor one that accepts nobody, with as many waiting as may wait: one, and those from above.
    rustix::net::listen(&listener, 0).unwrap();
    late();
}

#[test]
fn what_is_no_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes");
    fs::write(&file, "precious").unwrap();
    let run = Guest::new()
        .option("--control", &file)
        .run_raw(&["true"])
        .status(125);
    assert!(run.errors().contains("is no socket"), "{run}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

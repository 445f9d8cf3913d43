//! Bundles: a run is recorded, and repeated from its file.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stallbox_bundle::{Bundle, Input, read, write};
use stallbox_tests::{Guest, Run, image, slot, stallbox};
use tempfile::TempDir;

use crate::inspect::{ask, paused_under};
use crate::terminal::{at_a_terminal, read_to};

const ERROR: i32 = 125;
const SAME: &str = "stallbox: this is the recorded run";
const JOB: &str = "zipsva compress --poll epoll --check --in /stallbox/command --out /tmp/out";

/// A folder with a bundle in it.
struct Recorded(TempDir);

impl Recorded {
    fn new() -> Recorded {
        Recorded(tempfile::tempdir().expect("a folder can be made"))
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("bug.sbx")
    }

    fn bundle(&self) -> Bundle {
        read(&fs::read(self.path()).expect("there is a bundle")).expect("it can be read")
    }

    /// Puts another bundle in its place.
    fn change(&self, change: impl FnOnce(&mut Bundle)) {
        let mut bundle = self.bundle();
        change(&mut bundle);
        let mut bytes = Vec::new();
        write(&bundle, &mut bytes).unwrap();
        fs::write(self.path(), bytes).unwrap();
    }

    fn replay(&self, options: &[&str]) -> Output {
        replay(&self.path(), options)
    }

    /// It is the recorded run, and ends with this status.
    #[track_caller]
    fn replays(&self, options: &[&str], status: i32) {
        let output = self.replay(options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{errors}");
        assert!(errors.contains(SAME), "{errors}");
    }

    /// The repetition is refused, or another run.
    #[track_caller]
    fn fails(&self, options: &[&str], parts: &[&str]) {
        let output = self.replay(options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(ERROR), "{errors}");
        for part in parts {
            assert!(errors.contains(part), "no {part:?} in: {errors}");
        }
    }
}

fn replay(bundle: &Path, options: &[&str]) -> Output {
    let _slot = slot();
    Command::new(stallbox())
        .arg("replay")
        .arg(bundle)
        .args(["--timeout", "240"])
        .args(options)
        .output()
        .expect("stallbox can be started")
}

/// Runs a script, and records it.
fn record(guest: Guest, script: &str) -> (Recorded, Run) {
    let recorded = Recorded::new();
    let run = guest.option("--record", recorded.path()).run(script);
    (recorded, run)
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_run_is_repeated_on_any_number_of_cpus_whoever_looks() {
    let storm = "zipabuse storm --queues 4 --depth 8 --bytes 16384 & \
                 zipabuse kill-under-dma --rounds 4; wait";
    for (cpus, script) in [(1, JOB), (2, storm), (4, storm)] {
        let guest = Guest::new().cpus(cpus).traced();
        let (recorded, run) = record(guest, script);
        let run = run.success();
        let again = recorded.0.path().join("again");
        let options = ["--check", "tlb,stall,dma", "--quiet", "--trace"];
        let options: Vec<&str> = options
            .into_iter()
            .chain([again.to_str().unwrap()])
            .collect();
        let output = recorded.replay(&options);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = fs::read_to_string(&again).unwrap().lines().count();
        assert_eq!(lines as u64, run.summary().events);
        assert_eq!(recorded.bundle().end.trace_hash, run.summary().trace_hash);
        let bytes = fs::metadata(recorded.path()).unwrap().len();
        assert!(bytes < 50_000, "a bundle has {bytes} bytes");
    }
}

/// The plan and the latencies are in the bundle: their files may go.
#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn plan_and_latencies_travel_with_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = "[[rule]]\nname = 'late'\nat = 'record'\ndo = { delay = 20000 }\n";
    fs::write(&plan, text).unwrap();
    let samples = folder.path().join("samples");
    fs::write(&samples, "81.3\n90\n700.25\n").unwrap();
    let guest = Guest::new()
        .option("--plan", &plan)
        .option("--seed", "7")
        .option("--latency", format!("walk_step=file:{}", samples.display()));
    let (recorded, run) = record(guest, JOB);
    let _ = run.success();
    drop(folder);
    recorded.replays(&[], 0);
    recorded.change(|bundle| bundle.plan = Some(text.replace("20000", "20001")));
    recorded.fails(
        &[],
        &["this is not the recorded run: event ", "\"time_ns\":"],
    );
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn what_was_asked_for_over_the_socket_is_done_again() {
    const PLAN: &str = "[[rule]]\nname = 'hold'\nat = 'record'\nmatch = { stalled = true, nth = 2 }\n\
                        do = { gate = 'g', pause = true }\n\
                        [[rule]]\nname = 'off'\nenabled = false\nat = 'command'\ndo = { delay = 5000 }\n";
    let recorded = Recorded::new();
    let guest = Guest::new().cpus(2).option("--record", recorded.path());
    let run = paused_under(PLAN, guest, JOB, |socket| {
        ask(socket, &["enable", "off"]);
        ask(socket, &["seed", "7"]);
        ask(socket, &["only", "off", "3"]);
        ask(socket, &["resume", "2000"]);
        thread::sleep(Duration::from_millis(100));
        ask(socket, &["marker", "here"]);
        ask(socket, &["open", "g"]);
        ask(socket, &["resume"]);
    });
    let run = run.success();
    let bundle = recorded.bundle();
    let requests = bundle
        .turns
        .iter()
        .map(|turn| turn.inputs.len())
        .sum::<usize>();
    assert_eq!(requests, 5, "{:?}\n{run}", bundle.turns);
    recorded.replays(&[], 0);
    // One that comes later makes it another run.
    recorded.change(|bundle| {
        let turn = bundle.turns.last_mut().unwrap();
        turn.place.step += 50;
        turn.place.retired += 100_000;
    });
    recorded.fails(&[], &["this is not the recorded run"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn keys_are_typed_again() {
    let _ = image();
    let recorded = Recorded::new();
    let path = recorded.path();
    {
        let _slot = slot();
        let (mut person, mut child) = at_a_terminal(&["--record".as_ref(), path.as_os_str()]);
        read_to(&mut person, "/ # ");
        person.write_all(b"echo $((6 * 7)) is it\n").unwrap();
        read_to(&mut person, "42 is it");
        thread::sleep(Duration::from_millis(200));
        person
            .write_all(b"zipabuse storm --queues 2 --depth 2; poweroff -f\n")
            .unwrap();
        let reader = thread::spawn(move || {
            use std::io::Read;
            let _ = person.read_to_end(&mut Vec::new());
        });
        assert_eq!(child.wait().unwrap().code(), Some(0));
        reader.join().unwrap();
    }
    let keys: usize = recorded
        .bundle()
        .turns
        .iter()
        .map(|turn| turn.inputs.len())
        .sum();
    assert!(keys > 0, "nothing was typed");
    let output = recorded.replay(&[]);
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(console.contains("42 is it"), "{output:?}");
    recorded.replays(&[], 0);
    recorded.change(|bundle| {
        let inputs = bundle.turns.iter_mut().flat_map(|turn| &mut turn.inputs);
        for input in inputs {
            if let Input::Keys(bytes) = input {
                let text = String::from_utf8_lossy(bytes).replace("storm", "storn");
                *bytes = text.into_bytes();
            }
        }
    });
    recorded.fails(&[], &["this is not the recorded run"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn input_from_a_pipe_is_in_the_bundle() {
    let recorded = typed();
    assert!(!recorded.bundle().turns.is_empty());
    let output = recorded.replay(&[]);
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(console.contains("had 42 for this"), "{output:?}");
    recorded.replays(&["--check", "stall"], 0);
}

/// A shell's input, from a pipe.
fn typed() -> Recorded {
    let recorded = Recorded::new();
    let run = Guest::new()
        .cpus(2)
        .option("--record", recorded.path())
        .typed_at("/ # ", b"echo had $((6 * 7)) for this; poweroff -f\n")
        .run_raw(&[]);
    let run = run.status(0);
    assert!(run.console().contains("had 42 for this"), "{run}");
    recorded
}

/// A run that the host ends is repeated up to there.
#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_run_that_was_ended_from_outside_ends_at_the_same_place() {
    let guest = Guest::new().cpus(2).when("stuck", |pid| {
        let pid = Pid::from_raw(pid as i32).expect("a PID");
        kill_process(pid, Signal::TERM).expect("cannot send a signal");
    });
    let script = "zipabuse storm & echo stuck; while :; do :; done";
    let (recorded, run) = record(guest, script);
    let run = run.status(122);
    let virtual_ns = run.summary().virtual_ns;
    recorded.replays(&[], 122);
    let summary = recorded.0.path().join("summary");
    recorded.replays(&["--summary", summary.to_str().unwrap()], 122);
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
    if recorded.bundle().end.place.is_some() {
        assert_eq!(summary["virtual_ns"], virtual_ns);
        assert_eq!(summary["instructions"], run.summary().instructions.unwrap());
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn files_that_are_missing_or_others_are_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (kernel, initrd) = (folder.path().join("Image"), folder.path().join("initrd"));
    fs::copy(&image().kernel, &kernel).unwrap();
    fs::copy(&image().initrd, &initrd).unwrap();
    let guest = || {
        Guest::new()
            .option("--kernel", &kernel)
            .option("--initrd", &initrd)
    };
    let (recorded, run) = record(guest(), "true");
    let _ = run.success();
    let embedding = Recorded::new();
    let run = guest().flag("--embed").option("--record", embedding.path());
    let _ = run.run("true").success();
    recorded.replays(&[], 0);

    let mut bytes = fs::read(&initrd).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&initrd, bytes).unwrap();
    let initrd_name = initrd.to_str().unwrap().to_owned();
    recorded.fails(
        &[],
        &[
            "the initial RAM disk",
            &initrd_name,
            "its SHA-256 is",
            "--initrd",
        ],
    );
    recorded.replays(&["--initrd", image().initrd.to_str().unwrap()], 0);
    fs::remove_file(&kernel).unwrap();
    recorded.fails(&[], &["the kernel", "is missing", "Image", "--kernel"]);
    recorded.fails(
        &["--kernel", &initrd_name],
        &["the kernel", "is not that of the recorded run"],
    );
    drop(folder);
    embedding.replays(&[], 0);
}

#[test]
fn a_file_that_is_no_whole_bundle_is_refused_with_the_reason() {
    let recorded = Recorded::new();
    let refused = |bytes: &[u8], part: &str| {
        fs::write(recorded.path(), bytes).unwrap();
        recorded.fails(&[], &["bug.sbx", part]);
        let show = Command::new(stallbox())
            .args(["bundle", "show"])
            .arg(recorded.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&show.stderr);
        assert_eq!(show.status.code(), Some(ERROR), "{errors}");
        assert!(errors.contains(part), "no {part:?} in: {errors}");
    };
    refused(b"", "no bundle");
    refused(b"stallbox bundle 99 5 00\nhello", "format 99");
    refused(b"stallbox bundle 1 9 00\nhello", "truncated: 4 of 9 bytes");
    refused(b"stallbox bundle 1 5 00\nhello", "damaged");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_bundle_is_told_in_words() {
    let recorded = typed();
    let shown = Command::new(stallbox())
        .args(["bundle", "show"])
        .arg(recorded.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout);
    for part in [
        "\"--cpus\" \"2\"",
        &recorded.bundle().end.trace_hash,
        "not in the bundle",
        "keys \"echo had",
        "power-off (status 0)",
    ] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
#[cfg_attr(not(feature = "kvm"), ignore = "the soft engine records")]
fn only_the_soft_engine_records() {
    let recorded = Recorded::new();
    let run = Guest::new().option("--record", recorded.path()).run("true");
    let run = run.status(ERROR);
    assert!(
        run.errors().contains("--record: only --engine soft"),
        "{run}"
    );
    assert!(!recorded.path().exists(), "{run}");
}

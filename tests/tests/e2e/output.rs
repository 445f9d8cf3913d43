//! Output that cannot be written, or that nobody reads any more.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use stallbox_tests::{ENGINE, Guest, image, repository, slot, stallbox};

const ERROR: i32 = 125;
/// What a shell tells of a program that SIGPIPE ended.
const CLOSED: i32 = 141;
/// Generous, where 100 ms and a second for the rest are promised: the machine may be busy.
const PROMPTLY: Duration = Duration::from_secs(20);

/// A command that would never end, so that what ends the run is the output.
const ENDLESS: &str = "while :; do echo; done";

fn full() -> File {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("Linux has /dev/full")
}

/// An error with one line, that has this part.
#[track_caller]
fn assert_one_line(output: &Output, part: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(ERROR), "{errors}");
    assert!(errors.contains(part), "no \"{part}\" in: {errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

/// What prints something and ends, with no guest.
fn printing() -> Vec<Vec<String>> {
    let plan = repository("docs/fault-plans/late-answers.toml");
    let plan = plan.to_str().expect("a path of ours");
    let commands: [&[&str]; 9] = [
        &["--help"],
        &["--version"],
        &["run", "--help"],
        &["help", "inspect"],
        &["plan", "check", plan],
        &["plan", "schema"],
        &["trace", "schema"],
        &["image", "list"],
        &["image", "path"],
    ];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    commands.map(words).into()
}

#[test]
fn what_is_printed_to_a_full_disk_is_an_error() {
    let _ = image();
    for words in printing() {
        let output = Command::new(stallbox())
            .args(&words)
            .stdout(full())
            .output();
        assert_one_line(
            &output.unwrap(),
            "cannot write to standard output: No space",
        );
    }
}

#[test]
fn a_reader_that_has_gone_ends_a_command_quietly() {
    let _ = image();
    for words in printing() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(stallbox())
            .args(&words)
            .stdout(writer)
            .output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*errors),
            (Some(CLOSED), ""),
            "{words:?}"
        );
    }
}

#[test]
fn an_error_that_cannot_be_told_has_its_status_all_the_same() {
    let run = |words: &[&str]| {
        let status = Command::new(stallbox()).args(words).stderr(full()).status();
        status.unwrap().code()
    };
    assert_eq!(run(&["run", "--kernel", "/no/such/Image"]), Some(ERROR));
    assert_eq!(run(&["no-such-command"]), Some(ERROR));
    assert_eq!(run(&["plan", "check", "/no/such/plan"]), Some(ERROR));
}

/// `stallbox run` with its standard output there.
fn console_to(stdout: impl Into<Stdio>, options: &[&str], script: &str) -> Output {
    let _ = image();
    let _slot = slot();
    let mut command = Command::new(stallbox());
    command
        .arg("run")
        .args(ENGINE)
        .args(["--timeout", "240"])
        .args(options);
    let output = command.args(["--", script]).stdout(stdout).output();
    output.expect("cannot start stallbox")
}

#[test]
fn a_console_on_a_full_disk_ends_the_run() {
    for options in [&[][..], &["--unconfined"]] {
        let output = console_to(full(), options, ENDLESS);
        assert_one_line(&output, "cannot write to standard output: No space");
    }
}

#[test]
fn a_console_that_nobody_reads_any_more_ends_the_run_quietly() {
    let _ = image();
    let folder = tempfile::tempdir().unwrap();
    let (trace, summary) = (folder.path().join("t"), folder.path().join("s"));
    let _slot = slot();
    let mut child = Command::new(stallbox())
        .arg("run")
        .args(ENGINE)
        .args(["--timeout", "240", "--trace"])
        .arg(&trace)
        .arg("--summary")
        .arg(&summary)
        .args(["--", ENDLESS])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot start stallbox");
    let mut first = String::new();
    let mut console = BufReader::new(child.stdout.take().unwrap());
    console.read_line(&mut first).unwrap();
    drop(console);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*errors), (Some(CLOSED), ""));
    // What there is is whole.
    let lines = fs::read_to_string(&trace).unwrap();
    assert!(lines.ends_with("}\n") && lines.lines().count() > 0);
    let summary = fs::read_to_string(&summary).unwrap();
    assert!(summary.ends_with("}\n"), "{summary}");
}

#[test]
fn a_trace_on_a_full_disk_ends_the_run_at_once() {
    let options = ["--quiet", "--trace", "/dev/full"];
    let output = console_to(Stdio::null(), &options, ENDLESS);
    assert_one_line(&output, "cannot write /dev/full (--trace): No space");
}

#[test]
fn a_summary_or_results_on_a_full_disk_are_an_error() {
    let script = "echo 'result {}' > /dev/ttyS1";
    for option in ["--summary", "--results"] {
        let output = console_to(Stdio::null(), &["--quiet", option, "/dev/full"], script);
        assert_one_line(
            &output,
            &format!("cannot write /dev/full ({option}): No space"),
        );
    }
}

#[test]
fn a_start_that_fails_leaves_nothing_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kept = "what was there before";
    fs::write(path("summary"), kept).unwrap();
    fs::write(path("kernel"), "no kernel").unwrap();
    let fails = |kernel: &Path, socket: &Path| {
        let output = Command::new(stallbox())
            .arg("run")
            .args(ENGINE)
            .arg("--kernel")
            .arg(kernel)
            .arg("--control")
            .arg(socket)
            .args([
                "--trace",
                "trace",
                "--summary",
                "summary",
                "--results",
                "results",
            ])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_one_line(&output, "stallbox: ");
    };
    fails(&path("kernel"), &path("socket"));
    fails(&path("no kernel"), &path("socket"));
    // What is refused after everything was opened.
    fs::write(path("file"), kept).unwrap();
    fails(&image().kernel, &path("file"));
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["file", "kernel", "summary"]);
    for name in ["summary", "file"] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), kept);
    }
}

#[test]
fn a_file_that_was_there_is_replaced_by_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    fs::write(&summary, "x".repeat(1 << 20)).unwrap();
    let run = Guest::new()
        .option("--results", &summary)
        .run_raw(&["true"]);
    // Given twice by the test's own options: refused, and nothing is lost.
    run.status(ERROR);
    assert_eq!(fs::metadata(&summary).unwrap().len(), 1 << 20);
    let options = ["--quiet", "--summary", summary.to_str().unwrap()];
    let output = console_to(Stdio::null(), &options, "true");
    assert_eq!(output.status.code(), Some(0));
    let text = fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with('{') && text.ends_with("}\n"), "{text}");
}

/// A reader that has stopped holds up the guest, not the end of the run.
#[test]
fn a_reader_that_reads_nothing_does_not_hold_up_the_time_limit() {
    let _slot = slot();
    let mut run = Command::new(stallbox())
        .arg("run")
        .args(ENGINE)
        .args(["--timeout", "2", "--", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("stallbox starts");
    // Held, and never read.
    let unread = run.stdout.take();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = run.try_wait().expect("it can be waited for") {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(20) {
            run.kill().expect("it can be ended");
            panic!("the run outlived its time limit");
        }
        sleep(Duration::from_millis(20));
    };
    drop(unread);
    assert_eq!(status.code(), Some(124));
}

/// A FIFO in this folder that is full, with what holds it open: nobody reads it.
fn full_fifo(path: &Path) -> File {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo").success());
    let mut open = OpenOptions::new();
    open.read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32);
    let mut fifo = open.open(path).expect("a FIFO opens for both");
    while fifo.write(&[b'\n'; 4096]).is_ok() {}
    fifo
}

#[track_caller]
fn ends(run: &mut Child, limit: Duration) -> Option<i32> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = run.try_wait().expect("it can be waited for") {
            return status.code();
        }
        if Instant::now() > end {
            run.kill().expect("it can be ended");
            panic!("the run is still there after {limit:?}");
        }
        sleep(Duration::from_millis(20));
    }
}

/// The time limit is served, and what is lost is told.
#[test]
fn files_that_nobody_reads_do_not_hold_up_the_time_limit() {
    let _ = image();
    let folder = tempfile::tempdir().unwrap();
    for option in ["--trace", "--summary", "--results"] {
        let path = folder.path().join(&option[2..]);
        let _held = full_fifo(&path);
        let _slot = slot();
        let mut run = Command::new(stallbox())
            .arg("run")
            .args(ENGINE)
            .args(["--quiet", "--timeout", "5", option])
            .arg(&path)
            .args([
                "--",
                "echo 'result {}' > /dev/ttyS1; while :; do echo; done",
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("stallbox starts");
        assert_eq!(ends(&mut run, PROMPTLY), Some(124), "{option}");
        let output = run.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let told = format!("({option}): nobody has read the last ");
        assert!(errors.contains(&told), "{errors}");
    }
}

#[test]
fn a_fifo_that_nobody_opens_is_told() {
    let _ = image();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    drop(full_fifo(&path));
    let output = Command::new(stallbox())
        .arg("run")
        .args(ENGINE)
        .args(["--timeout", "1", "--trace"])
        .arg(&path)
        .args(["--", "true"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(ERROR), "{errors}");
    assert!(errors.contains("is a FIFO without a reader"), "{errors}");
    assert!(errors.contains("nobody has opened the FIFO"), "{errors}");
}

/// The control socket is served, the guest's time stands still, and a signal ends the run.
#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "so much output takes minutes where an exit is dear"
)]
fn a_reader_that_reads_nothing_does_not_hold_up_the_control_socket() {
    let _ = image();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _slot = slot();
    let mut run = Command::new(stallbox())
        .arg("run")
        .args(ENGINE)
        .args(["--timeout", "120", "--control"])
        .arg(&socket)
        .args(["--", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("stallbox starts");
    let unread = run.stdout.take();
    let time_ns = || -> Option<u64> {
        let mut inspect = Command::new(stallbox());
        inspect.args(["inspect", "--json", "--timeout", "5"]);
        let output = inspect.arg(&socket).arg("status").output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        answer["time_ns"].as_u64()
    };
    let end = Instant::now() + Duration::from_secs(60);
    let mut last = None;
    loop {
        assert!(Instant::now() < end, "the guest is not held");
        let now = time_ns();
        if now.is_some() && now == last {
            break;
        }
        last = now;
        sleep(Duration::from_millis(300));
    }
    let pid = Pid::from_raw(run.id() as i32).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(ends(&mut run, PROMPTLY), Some(122));
    let output = run.wait_with_output().unwrap();
    drop(unread);
    let errors = String::from_utf8_lossy(&output.stderr);
    let told = "cannot write to standard output: nobody has read the last ";
    assert!(errors.contains(told), "{errors}");
}

/// Whoever reads slowly gets all of it, and sees the same run.
#[test]
fn a_slow_reader_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = Command::new("mkfifo").arg(path("fifo")).status();
    assert!(made.expect("mkfifo").success());
    let fifo = path("fifo");
    let slow = std::thread::spawn(move || {
        let mut fifo = File::open(fifo).expect("stallbox opens it, too");
        sleep(Duration::from_secs(2));
        let mut text = Vec::new();
        fifo.read_to_end(&mut text).expect("it can be read");
        text
    });
    let run = |trace: &str| {
        let trace = path(trace);
        let summary = path("summary");
        let options = ["--quiet", "--trace", trace.to_str().unwrap()];
        let options = [&options[..], &["--summary", summary.to_str().unwrap()]].concat();
        let output = console_to(Stdio::null(), &options, "seq 1 5000");
        assert_eq!(output.status.code(), Some(0));
        let summary: serde_json::Value =
            serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
        summary["trace_hash"].clone()
    };
    let (slowly, at_once) = (run("fifo"), run("file"));
    let text = slow.join().unwrap();
    assert!(text.ends_with(b"}\n"));
    if !cfg!(feature = "kvm") {
        assert_eq!(slowly, at_once);
        assert!(text == fs::read(path("file")).unwrap());
    }
}

//! Sweeps: many runs from one place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stallbox_tests::{image, slot, stallbox, stallbox_in};
use tempfile::TempDir;

const ERROR: i32 = 125;
const CUT: i32 = 122;
/// One IO page fault, and little else.
const JOB: &str = "zipsva compress --in /stallbox/command --out /tmp/out";
/// With this, some seeds hang: the answer to a stall is lost.
const LOSSY: &str = "[[rule]]\nname = 'lost'\nat = 'command'\n\
                     match = { command = 'CMD_RESUME', probability = 0.3 }\ndo = { drop = true }\n";
/// Ends those that hang; the guest is ready at 44 ms.
const SOON: &str = "48000000";

/// A folder for a sweep's files.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let _ = image();
        Folder(tempfile::tempdir().expect("a folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The results, without their header.
    fn runs(&self, name: &str) -> Vec<Value> {
        let text = self.text(name);
        let lines = text.lines().skip(1);
        lines
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect()
    }

    fn plan(&self, text: &str) -> PathBuf {
        let path = self.path("plan.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, options: &[&str], script: &str) -> Command {
        let mut command = Command::new(stallbox());
        command
            .current_dir(self.0.path())
            .arg("sweep")
            .args(options)
            .args(["--", script])
            .stdin(Stdio::null());
        command
    }

    fn sweep(&self, options: &[&str], script: &str) -> Swept {
        let _slot = slot();
        Swept(
            self.command(options, script)
                .output()
                .expect("stallbox can be started"),
        )
    }
}

struct Swept(Output);

impl Swept {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    fn errors(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    fn status(self, status: i32) -> Swept {
        let (text, errors) = (self.text(), self.errors());
        assert_eq!(self.0.status.code(), Some(status), "{text}\n{errors}");
        self
    }

    #[track_caller]
    fn says(&self, part: &str) {
        let (text, errors) = (self.text(), self.errors());
        assert!(
            text.contains(part) || errors.contains(part),
            "no {part:?} in: {text}\n{errors}"
        );
    }
}

fn of<'a>(runs: &'a [Value], field: &str) -> Vec<&'a str> {
    runs.iter()
        .map(|run| run[field].as_str().unwrap_or_default())
        .collect()
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn results_are_the_same_with_any_number_of_jobs_and_from_shards() {
    let folder = Folder::new();
    folder.plan(LOSSY);
    let options = ["--seeds", "0..12", "--plan", "plan.toml", "--stop-at", SOON];
    let sweep = |more: &[&str]| {
        let options: Vec<&str> = options.iter().chain(more).copied().collect();
        folder.sweep(&options, JOB)
    };
    let whole = sweep(&["--jobs", "1", "--json", "one", "--junit", "one.xml"]).status(1);
    sweep(&[
        "--jobs", "4", "--json", "four", "--junit", "four.xml", "--quiet",
    ])
    .status(1);
    let runs = folder.runs("one");
    let verdicts = of(&runs, "verdict");
    assert!(
        verdicts.contains(&"passed") && verdicts.contains(&"hung"),
        "{verdicts:?}"
    );
    assert_eq!(folder.text("one"), folder.text("four"));
    assert_eq!(folder.text("one.xml"), folder.text("four.xml"));
    let hashes: std::collections::BTreeSet<&str> = of(&runs, "trace_hash").into_iter().collect();
    assert!(hashes.len() > 6, "{hashes:?}");

    for (shard, file) in [("1/3", "a"), ("2/3", "b"), ("3/3", "c")] {
        sweep(&["--shard", shard, "--json", file]);
    }
    let merge = |files: &[&str]| {
        let output = Command::new(stallbox())
            .current_dir(folder.0.path())
            .args([
                "sweep",
                "merge",
                "--json",
                "merged",
                "--junit",
                "merged.xml",
            ])
            .args(files)
            .output();
        Swept(output.expect("stallbox can be started"))
    };
    let merged = merge(&["c", "a", "b"]).status(1);
    assert_eq!(folder.text("merged"), folder.text("one"));
    assert_eq!(folder.text("merged.xml"), folder.text("one.xml"));
    assert_eq!(merged.text(), whole.text());
    merge(&["c", "a"]).status(ERROR).says("2/3");
}

/// The whole has the bundles that one machine would have written, whichever shard they are of.
#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn bundles_of_shards_come_together() {
    let folder = Folder::new();
    folder.plan(LOSSY);
    for shard in ["1/2", "2/2"] {
        let name = &shard[..1];
        let json = format!("--json={name}/runs");
        let out = format!("--out={name}");
        let options = ["--seeds", "0..8", "--plan", "plan.toml", "--stop-at", SOON];
        let more = ["--shard", shard, &out, &json];
        fs::create_dir_all(folder.path(name)).unwrap();
        let all: Vec<&str> = options.iter().chain(&more).copied().collect();
        folder.sweep(&all, JOB);
    }
    let merge = |out: &str| {
        let words = [
            "sweep", "merge", "2/runs", "1/runs", "--json", "all", "--out", out,
        ];
        Swept(stallbox_in(folder.0.path(), &words))
    };
    let merged = merge("whole").status(1);
    let bundles: Vec<_> = fs::read_dir(folder.path("whole")).unwrap().collect();
    assert_eq!(bundles.len(), 1, "{}", merged.text());
    let bundle = bundles[0].as_ref().unwrap().path();
    merged.says(&format!(
        "bundle: whole/{}",
        bundle.file_name().unwrap().to_str().unwrap()
    ));
    let words = ["replay", bundle.to_str().unwrap(), "--quiet"];
    let again = stallbox_in(folder.0.path(), &words);
    assert_eq!(again.status.code(), Some(124), "{again:?}");

    // A name in a file is one in that folder, and nothing else.
    let name = bundle.file_name().unwrap().to_str().unwrap();
    for shard in ["1/runs", "2/runs"] {
        let text = fs::read_to_string(folder.path(shard)).unwrap();
        fs::write(folder.path(shard), text.replace(name, "../plan.toml")).unwrap();
    }
    let refused = merge("other").status(ERROR);
    refused.says("\"../plan.toml\" is no name of a file");
    for shard in ["1/runs", "2/runs"] {
        let text = fs::read_to_string(folder.path(shard)).unwrap();
        fs::write(folder.path(shard), text.replace("../plan.toml", "gone.sbx")).unwrap();
    }
    merge("other").status(ERROR).says("bundles must lie beside");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn each_distinct_failure_has_a_bundle_that_repeats_it() {
    let folder = Folder::new();
    folder.plan(LOSSY);
    // Two that are told apart: one that hangs, and a status.
    let script = format!("{JOB} && [ $(stat -c %s /tmp/out) -gt 0 ] && exit 3");
    let options = [
        "--seeds",
        "1..9",
        "--cpus",
        "2",
        "--plan",
        "plan.toml",
        "--stop-at",
        SOON,
        "--check",
        "stall=100",
        "--json",
        "json",
        "--out",
        "out",
    ];
    let swept = folder.sweep(&options, &script).status(1);
    swept.says("exit status 3");
    swept.says("a stall has had no answer for");
    let runs = folder.runs("json");
    let with: Vec<&Value> = runs
        .iter()
        .filter(|run| run["bundle"].is_string())
        .collect();
    assert_eq!(with.len(), 2, "{with:?}");
    assert_eq!(fs::read_dir(folder.path("out")).unwrap().count(), 2);
    for run in with {
        let bundle = folder.path("out").join(run["bundle"].as_str().unwrap());
        let output = Command::new(stallbox())
            .args(["replay", "--summary", "again", "--timeout", "60"])
            .arg(&bundle)
            .current_dir(folder.0.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code().map(i64::from),
            run["status"].as_i64(),
            "{errors}"
        );
        assert!(errors.contains("this is the recorded run"), "{errors}");
        let summary: Value = serde_json::from_str(&folder.text("again")).unwrap();
        assert_eq!(summary["trace_hash"], run["trace_hash"]);
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_rule_is_tried_at_each_place_that_it_matches() {
    let folder = Folder::new();
    // The first translations of the job fault and stall; a stall that is terminated fails the job, and a TLB hit is none.
    folder.plan(
        "[[rule]]\nname = 'abort'\nat = 'translation'\nmatch = { stream = 8 }\ndo = { abort = true }\n",
    );
    let options = [
        "--place",
        "abort",
        "--plan",
        "plan.toml",
        "--json",
        "json",
        "--stop-at",
        SOON,
    ];
    let swept = folder.sweep(&options, JOB).status(1);
    let runs = folder.runs("json");
    let numbers: Vec<u64> = runs
        .iter()
        .map(|run| run["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.len() > 2, "{numbers:?}");
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u64),
        "{numbers:?}"
    );
    swept.says(&format!("was tried at {} places", numbers.len()));
    // Each has done it at another time, one after the other.
    let times: Vec<u64> = runs
        .iter()
        .map(|run| run["place"]["time_ns"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[0] >= 44_000_000, "{times:?}");
    let no_rule = ["--place", "aborts", "--plan", "plan.toml"];
    folder
        .sweep(&no_rule, JOB)
        .status(ERROR)
        .says("no rule \"aborts\"");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn runs_begin_where_they_are_told() {
    let folder = Folder::new();
    let script = "date > /tmp/date; echo marker here > /dev/ttyS1; sleep 0.002; true";
    let begins = |from: &str| {
        let options = ["--seeds", "0..2", "--from", from, "--json", "json"];
        folder.sweep(&options, script).status(0);
        let header = folder.text("json").lines().next().unwrap().to_owned();
        let header: Value = serde_json::from_str(&header).unwrap();
        assert_eq!(header["begin"]["at"], from);
        header["begin"]["time_ns"].as_u64().unwrap()
    };
    let ready = begins("ready");
    assert!(begins("marker:here") > ready);
    assert_eq!(begins("start"), 0);
    let nowhere = ["--seeds", "0..2", "--from", "marker:nowhere"];
    let swept = folder.sweep(&nowhere, "echo so far").status(ERROR);
    swept.says("did not come to where the runs begin (--from)");
    swept.says("so far");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_sweep_can_end_with_a_failure() {
    let folder = Folder::new();
    let options = [
        "--seeds",
        "3..1000",
        "--until-failures",
        "2",
        "--json",
        "json",
    ];
    folder.sweep(&options, "exit 1").status(1);
    let numbers: Vec<u64> = folder
        .runs("json")
        .iter()
        .map(|run| run["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [3, 4]);
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("there is /proc");
    let number = |entry: std::io::Result<fs::DirEntry>| -> Option<u32> {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let behind_name = stat.rsplit_once(") ")?.1;
        let its_parent: u32 = behind_name.split(' ').nth(1)?.parse().ok()?;
        (its_parent == parent).then_some(pid)
    };
    processes.filter_map(number).collect()
}

/// The runs of a fork server, which has programs for other work before: they have a file for their report.
fn runs_of(server: u32) -> Vec<u32> {
    let is_run = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| link.to_string_lossy().contains("memfd:stallbox-report"))
    };
    let children = children(server).into_iter();
    children.filter(is_run).collect()
}

fn is_there(pid: u32) -> bool {
    // One that has ended, and that somebody has yet to wait for, holds nothing.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(") ")
            .is_some_and(|(_, state)| state.starts_with('Z'))
    })
}

#[track_caller]
fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = is_so() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not after a minute");
        sleep(Duration::from_millis(5));
    }
}

/// A sweep whose runs last for ever: it, its fork server, and its runs.
fn endless(folder: &Folder) -> (Child, u32, Vec<u32>) {
    let script = "while :; do :; done";
    let options = ["--seeds", "0..100", "--jobs", "3", "--json", "json"];
    let sweep = folder
        .command(&options, script)
        .stderr(Stdio::piped())
        .spawn();
    let sweep = sweep.expect("stallbox can be started");
    let server = until("the fork server", || children(sweep.id()).pop());
    let runs = until("the runs", || {
        Some(runs_of(server)).filter(|it| it.len() == 3)
    });
    (sweep, server, runs)
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a number of a process");
    kill_process(pid, signal).expect("it is there");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn nothing_is_left_when_the_sweep_is_killed_or_told_to_end() {
    let folder = Folder::new();
    let _slot = slot();
    for how in [Signal::KILL, Signal::TERM] {
        let (mut sweep, server, runs) = endless(&folder);
        signal(sweep.id(), how);
        let status = sweep.wait().expect("it can be waited for");
        if how == Signal::TERM {
            assert_eq!(status.code(), Some(CUT));
            assert!(folder.text("json").starts_with("{\"stallbox-sweep\":"));
        }
        for pid in runs.into_iter().chain([server]) {
            until("its end", || (!is_there(pid)).then_some(()));
        }
    }
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn two_hundred_runs_leave_nothing_behind() {
    let folder = Folder::new();
    let _slot = slot();
    let mut command = folder.command(
        &["--seeds", "0..200", "--jobs", "4", "--json", "json"],
        "true",
    );
    let mut sweep = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = until("the fork server", || children(sweep.id()).pop());
    until("its first runs", || {
        (!runs_of(server).is_empty()).then_some(())
    });
    let mut most = 0;
    let mut descriptors = 0;
    while sweep.try_wait().expect("it can be waited for").is_none() {
        most = most.max(children(server).len());
        let open = fs::read_dir(format!("/proc/{server}/fd")).map(Iterator::count);
        descriptors = descriptors.max(open.unwrap_or(0));
    }
    // No zombies gather, and no descriptors: three for each run under way, and a few of its own.
    assert!(most <= 4, "{most}");
    assert!(descriptors < 40, "{descriptors}");
    assert!(!is_there(server));
    assert_eq!(folder.runs("json").len(), 200);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_run_that_is_killed_is_named_and_the_others_go_on() {
    let folder = Folder::new();
    let _slot = slot();
    let options = ["--seeds", "0..2", "--jobs", "1", "--json", "json"];
    let mut command = folder.command(&options, "while :; do :; done");
    let sweep = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let server = until("the fork server", || children(sweep.id()).pop());
    let first = until("its first run", || runs_of(server).pop());
    signal(first, Signal::KILL);
    let second = until("its second run", || {
        runs_of(server).pop().filter(|it| *it != first)
    });
    signal(second, Signal::KILL);
    let swept = Swept(sweep.wait_with_output().unwrap()).status(1);
    assert!(
        swept.errors().contains("seed 0: lost: "),
        "{}",
        swept.errors()
    );
    swept.says("SIGKILL");
    assert_eq!(of(&folder.runs("json"), "verdict"), ["lost", "lost"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_run_that_eats_its_memory_is_named() {
    let folder = Folder::new();
    let options = ["--seeds", "0..2", "--memory-limit", "8M", "--json", "json"];
    // Results are kept until the end, up to a MiB each.
    let script = "stty raw < /dev/ttyS1; s=result\\ 0123456789; i=0; \
                  while [ $i -lt 15 ]; do s=$s$s; i=$((i+1)); done; \
                  while :; do echo \"$s\"; done > /dev/ttyS1";
    let swept = folder.sweep(&options, script).status(1);
    swept.says("memory limit");
    assert_eq!(of(&folder.runs("json"), "verdict"), ["lost", "lost"]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn what_cannot_be_written_is_an_error_and_the_sweep_goes_on() {
    let folder = Folder::new();
    let options = ["--seeds", "0..3", "--json", "/dev/full"];
    let swept = folder.sweep(&options, "true").status(ERROR);
    swept.says("3 passed");
    swept.says("cannot write /dev/full (--json)");
    let file = folder.path("file");
    fs::write(&file, "").unwrap();
    let options = ["--seeds", "0..3", "--out", "file/below"];
    folder
        .sweep(&options, "true")
        .status(ERROR)
        .says("cannot make the folder file/below (--out)");
}

#[test]
fn nonsense_is_refused_before_anything_runs() {
    let folder = Folder::new();
    folder.plan("[[rule]]\nname = 'stop'\nat = 'command'\ndo = { pause = true }\n");
    for (options, why) in [
        (vec!["--seeds", "9..3"], "--seeds"),
        (vec!["--seeds", "x"], "--seeds"),
        (vec!["--seeds", "0..9", "--shard", "3/2"], "--shard"),
        (
            vec!["--seeds", "0..9", "--from", "there"],
            "write start, ready or marker:NAME",
        ),
        (
            vec!["--seeds", "0..9", "--plan", "plan.toml"],
            "rule \"stop\" pauses the run",
        ),
        (vec!["--place", "stop"], "--plan"),
        (
            vec!["--seeds", "0..9", "--memory-limit", "1M"],
            "write 8M or more",
        ),
        (vec![], "--seeds"),
    ] {
        folder.sweep(&options, "true").status(ERROR).says(why);
    }
    let merge = |path: &Path| {
        let output = Command::new(stallbox())
            .args(["sweep", "merge"])
            .arg(path)
            .output();
        Swept(output.unwrap()).status(ERROR)
    };
    merge(&folder.path("none")).says("cannot read");
    merge(&folder.path("plan.toml")).says("these are no results of a sweep");
}

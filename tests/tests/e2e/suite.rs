//! Scenarios: `stallbox test` and `stallbox bisect`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use stallbox_tests::{image, repository, slot, stallbox, stallbox_in};

const FAILED: i32 = 1;
const ERROR: i32 = 125;
const ABORT: i32 = 128;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes a scenario, and tests it.
fn test(folder: &Path, scenario: &str, options: &[&str]) -> Output {
    fs::write(folder.join("s.toml"), scenario).unwrap();
    stallbox_in(folder, &[&["test", "s.toml"], options].concat())
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn one_file_says_what_fails_without_and_with_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let scenario = fs::read_to_string(repository("docs/scenarios/lost-answer.toml")).unwrap();
    let options = ["--jobs", "2", "--junit", "j.xml", "--json", "r.jsonl"];
    let done = test(folder, &scenario, &options);
    let told = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{told}{}", text(&done.stderr));
    assert_eq!(
        told,
        "PASS  s.toml: answered\nPASS  s.toml: lost, seed 2\nPASS  s.toml: lost, seed 3\n3 passed, 0 failed\n"
    );
    let junit = fs::read_to_string(folder.join("j.xml")).unwrap();
    let suite = "<testsuite name=\"stallbox.s\" tests=\"3\"";
    assert!(junit.contains(suite), "{junit}");
    let lines = fs::read_to_string(folder.join("r.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["seed"], 2);
    assert_eq!(lines[2]["outcome"], "stop-at");
    // One run at a time gives the same runs.
    let again = test(folder, &scenario, &["--jobs", "1", "--json", "again.jsonl"]);
    assert_eq!(again.stdout, done.stdout);
    let files = ["r.jsonl", "again.jsonl"].map(|it| fs::read(folder.join(it)).unwrap());
    assert_eq!(files[0], files[1]);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn what_is_not_as_it_must_be_is_told_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let scenario = "title = 't'
        command = 'echo here; exit 3'
        [[case]]
        name = 'wrong'
        expect = { status = 0, console = ['^there$'], no_console = ['^here$'], faults = '1..' }
        [[case]]
        name = 'right'
        expect = { status = '1..=3', console = ['^here$'] }
        [[case]]
        name = 'seeds'
        seeds = 7
        command = 'true'
        expect = { status = 5 }
        ";
    let done = test(folder, scenario, &["--out", "out", "--junit", "j.xml"]);
    let told = text(&done.stdout);
    assert_eq!(
        done.status.code(),
        Some(FAILED),
        "{told}{}",
        text(&done.stderr)
    );
    assert_eq!(
        told,
        "FAIL  s.toml: wrong\n      \
         status: 0 expected, 3: the command ended with status 3\n      \
         console: no line matches /^there$/\n      \
         no_console: a line matches /^here$/: here\n      \
         device_faults: 1 or more expected, 0\n      \
         bundle: out/s-wrong.sbx\n\
         PASS  s.toml: right\n\
         FAIL  s.toml: seeds, seed 7\n      \
         status: 5 expected, 0\n      \
         bundle: out/s-seeds-seed-7.sbx\n\
         1 passed, 2 failed\n"
    );
    let junit = fs::read_to_string(folder.join("j.xml")).unwrap();
    assert!(junit.contains("failures=\"2\""), "{junit}");
    // A bundle is that very run, of a run that ends well, too.
    for (bundle, status) in [("s-wrong", 3), ("s-seeds-seed-7", 0)] {
        let bundle = format!("out/{bundle}.sbx");
        let again = stallbox_in(folder, &["replay", &bundle, "--quiet"]);
        assert_eq!(again.status.code(), Some(status), "{}", text(&again.stderr));
    }
    let one = test(folder, scenario, &["--case", "right"]);
    assert_eq!(
        text(&one.stdout),
        "PASS  s.toml: right\n1 passed, 0 failed\n"
    );
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn an_inline_plan_is_in_its_bundles() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let scenario = "title = 't'
        command = 'zipsva compress --in /stallbox/command --out /tmp/out'
        machine = { stop-at = 48000000 }
        expect = { matches = { lost = '1..' } }
        [[plan.rule]]
        name = 'lost'
        at = 'command'
        match = { command = 'CMD_RESUME' }
        do = { drop = true }";
    let done = test(folder, scenario, &["--out", "out"]);
    assert_eq!(
        text(&done.stdout),
        "FAIL  s.toml: run\n      status: 0 expected, 124: the end of the run in the guest's time (--stop-at) was reached\n      \
         bundle: out/s-run.sbx\n0 passed, 1 failed\n"
    );
    fs::remove_file(folder.join("s.toml")).unwrap();
    let again = stallbox_in(folder, &["replay", "out/s-run.sbx", "--quiet"]);
    assert_eq!(again.status.code(), Some(124), "{}", text(&again.stderr));
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_guest_that_panics_or_is_not_there_is_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let panics = "title = 't'
        machine = { append = 'rdinit=/none root=/dev/none' }
        command = 'true'
        expect = { status = 121, outcome = 'panic', reports = ['panic'] }
        [[case]]
        name = 'one'
        [[case]]
        name = 'several'
        seeds = '0..3'";
    let done = test(folder, panics, &[]);
    let told = text(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{told}{}", text(&done.stderr));
    assert!(told.ends_with("4 passed, 0 failed\n"), "{told}");
    let missing = "title = 't'\nimages = ['stock', 'no-such']\ncommand = 'true'";
    let done = test(folder, missing, &[]);
    let told = text(&done.stdout);
    assert_eq!(done.status.code(), Some(ERROR), "{told}");
    assert!(
        told.starts_with("PASS  s.toml: stock\nERROR s.toml: no-such\n"),
        "{told}"
    );
    assert!(told.contains("no-such\""), "{told}");
    assert!(told.ends_with("1 passed, 0 failed, 1 error\n"), "{told}");
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bad = "title = 't'\n[machine]\ncpus = 2\nsmmus = 'x'\n";
    let refused = test(folder, bad, &["--json", "r.jsonl"]);
    assert_eq!(refused.status.code(), Some(ERROR));
    let errors = text(&refused.stderr);
    assert!(
        errors.contains("s.toml:4:1: a machine has no option `smmus`"),
        "{errors}"
    );
    assert!(!folder.join("r.jsonl").exists());
    let checked = test(folder, "title = 'it boots'\nseeds = '0..9'", &["--check"]);
    assert_eq!(
        text(&checked.stdout),
        "s.toml: it boots\n  run: 9 runs on stock\n"
    );
    let all = repository("docs/scenarios");
    let checked = stallbox_in(folder, &["test", "--check", all.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    for (words, why) in [
        (&["test"][..], "FILE|DIR"),
        (&["test", "s.toml", "--case", "x"], "no case \"x\""),
        (&["test", "none.toml"], "none.toml"),
    ] {
        let refused = stallbox_in(folder, words);
        assert_eq!(refused.status.code(), Some(ERROR), "{words:?}");
        let errors = text(&refused.stderr);
        assert!(errors.contains(why), "{errors}");
    }
}

/// A tree with a history, in which a program of the guest is broken by the commit `broken`; one of those before
/// does not build.
fn history(folder: &Path, commits: u32, broken: u32, unbuildable: u32) {
    git(folder, &["init", "-q"]);
    fs::create_dir(folder.join("files")).unwrap();
    let scenario = "title = 'the program works'
        command = 'sh /program'
        machine = { add = 'tree/files', memory = '128M' }
        expect = { console = ['^all is well$'] }";
    fs::write(folder.parent().unwrap().join("s.toml"), scenario).unwrap();
    for commit in 1..=commits {
        let said = match commit >= broken {
            true => "all is lost",
            false => "all is well",
        };
        fs::write(
            folder.join("files/program"),
            format!("# {commit}\necho {said}\n"),
        )
        .unwrap();
        let build = if commit == unbuildable {
            "exit 1\n"
        } else {
            "exit 0\n"
        };
        fs::write(folder.join("build.sh"), build).unwrap();
        git(folder, &["add", "-A"]);
        git(folder, &["commit", "-q", "-m", &format!("commit {commit}")]);
        git(folder, &["tag", &format!("c{commit}")]);
    }
}

fn git(folder: &Path, words: &[&str]) -> String {
    let who = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
    let output = Command::new("git")
        .current_dir(folder)
        .args(who)
        .args(words)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git can be started");
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "git {words:?}: {told}");
    told
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn git_bisect_finds_the_commit() {
    let _ = image();
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    history(&tree, 8, 6, 4);
    git(&tree, &["bisect", "start", "c8", "c1"]);
    let program = stallbox().to_str().unwrap();
    let _slot = slot();
    let run = [
        "bisect",
        "run",
        program,
        "bisect",
        "../s.toml",
        "--build",
        "sh build.sh",
    ];
    let told = git(&tree, &run);
    let found = git(&tree, &["rev-parse", "c6"]);
    let first = format!("{} is the first bad commit", found.trim());
    assert!(told.contains(&first), "{told}");
    assert!(told.contains("does not build"), "{told}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn what_has_nothing_to_do_with_the_tree_ends_a_bisection() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("s.toml"), "titel = 't'").unwrap();
    for (words, why) in [
        (
            &["bisect", "s.toml", "--build", "true"][..],
            "unknown field `titel`",
        ),
        (&["bisect", "none.toml", "--build", "true"], "none.toml"),
    ] {
        let refused = stallbox_in(folder, words);
        assert_eq!(refused.status.code(), Some(ABORT), "{words:?}");
        let errors = text(&refused.stderr);
        assert!(errors.contains(why), "{errors}");
    }
    let two = "title = 't'\n[[case]]\nname = 'a'\n[[case]]\nname = 'b'";
    fs::write(folder.join("s.toml"), two).unwrap();
    let refused = stallbox_in(folder, &["bisect", "s.toml", "--build", "true"]);
    assert_eq!(refused.status.code(), Some(ABORT));
    assert!(text(&refused.stderr).contains("--case"), "{refused:?}");
    // A tree that is none of a kernel's says nothing about the kernel, either.
    let refused = Command::new(stallbox())
        .current_dir(folder)
        .args(["bisect", "s.toml", "--case", "a", "--kernel-source", "."])
        // What is built is an image of the user's: none of this one's.
        .env("XDG_CACHE_HOME", folder)
        .output()
        .expect("stallbox can be started");
    assert_eq!(refused.status.code(), Some(ABORT), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("is no Linux source"),
        "{refused:?}"
    );
}

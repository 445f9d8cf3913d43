//! What the kvm engine says of a host that lacks something.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use stallbox_tests::{skipped, stallbox};

const ERROR: i32 = 125;
/// Another user than the one that owns `/dev/kvm`.
const NOBODY: u32 = 65534;

/// Runs with `--engine ENGINE` and a kernel that is none, and gives the exit status and the message.
fn run(command: &mut Command, engine: &str) -> (Option<i32>, String) {
    let words = ["run", "--engine", engine, "--kernel", "/none", "--", "true"];
    let output = command.args(words).output().expect("cannot start");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), message)
}

/// Only root can make a host look poorer than it is.
fn is_root() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0);
    if !root {
        skipped("this needs root");
    }
    root
}

/// Without `/dev`, and without anything else.
fn in_empty_root(root: &Path) -> Command {
    fs::copy(stallbox(), root.join("stallbox")).expect("cannot copy stallbox");
    let mut command = Command::new("chroot");
    command.arg(root).arg("/stallbox");
    command
}

#[test]
fn without_dev_kvm_there_is_no_kvm_and_auto_is_soft() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (status, message) = run(&mut in_empty_root(root.path()), "kvm");
    assert_eq!(status, Some(ERROR), "{message}");
    assert!(message.contains("there is no /dev/kvm"), "{message}");
    let (status, message) = run(&mut in_empty_root(root.path()), "auto");
    assert_eq!(status, Some(ERROR), "{message}");
    assert!(
        message.contains("--engine auto: soft, because there is no /dev/kvm"),
        "{message}"
    );
    // It went on to what is next.
    assert!(
        message.contains("cannot read the kernel /none"),
        "{message}"
    );
}

#[test]
fn features_of_the_cpu_are_the_hosts() {
    let mut command = Command::new(stallbox());
    let words = ["run", "--engine", "kvm", "--cpu-hafdbs", "dirty"];
    let output = command.args(words).output().expect("cannot start");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(ERROR), "{message}");
    assert!(
        message.contains("--cpu-hafdbs: the kvm engine's CPUs are the host's"),
        "{message}"
    );
}

#[test]
fn a_user_without_permission_is_told_the_cure() {
    if !is_root() {
        return;
    }
    // Many distributions let everybody use it.
    let open_to_all = fs::metadata("/dev/kvm").is_ok_and(|it| it.mode() & 0o006 == 0o006);
    if open_to_all {
        skipped("everybody may use /dev/kvm here");
        return;
    }
    let (status, message) = run(Command::new(stallbox()).uid(NOBODY), "kvm");
    assert_eq!(status, Some(ERROR), "{message}");
    assert!(
        message.contains("no permission to open /dev/kvm; join the group"),
        "{message}"
    );
}

//! A process that confines itself as `stallbox run` does, and then tries what it must not.
//!
//! Each case runs in a child: this program again, with the test `child` alone and on its main
//! thread, since a violation ends the whole process.

#![forbid(unsafe_code)]

use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::thread;

use stallbox_vmm::confine::{self, FileLock, Role};
use vm_memory::MmapRegion;

const CASE: &str = "STALLBOX_CONFINE_CASE";
/// A case that was refused with an error, and went on.
const REFUSED: &str = "refused: ";
const ERROR: i32 = 125;

const ROLES: [(&str, Role); 5] = [
    ("main", Role::Soft),
    ("guest", Role::Guest),
    ("device", Role::Devices),
    ("vCPU", Role::Vcpu),
    ("ticker", Role::Ticker),
];

/// Runs `case` in a child, as this kind of thread.
fn child_of(role: &str, case: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .arg("--test-threads=1")
        .env(CASE, format!("{role} {case}"))
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The case's system call is trapped: the process ends, and says why.
#[track_caller]
fn assert_ended(case: &str, calls: &[&str]) {
    for (role, _) in ROLES {
        let output = child_of(role, case);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(ERROR), "{role}, {case}: {said}");
        let named = calls.iter().any(|call| {
            said.contains(&format!(
                "confinement: the {role} thread made the system call {call} ("
            ))
        });
        assert!(named, "{role}, {case}: {said}");
        assert!(said.contains("--unconfined"), "{said}");
    }
}

/// The case gets an error, and the process goes on.
#[track_caller]
fn assert_refused(case: &str) {
    for (role, _) in ROLES {
        let output = child_of(role, case);
        let said = said(&output);
        assert!(output.status.success(), "{role}, {case}: {said}");
        assert!(
            said.contains(&format!("{REFUSED}{:?}", ErrorKind::PermissionDenied)),
            "{role}, {case}: {said}"
        );
    }
}

#[test]
fn a_program_does_not_become_another() {
    assert_ended("exec", &["execve"]);
}

#[test]
fn programs_and_threads_are_not_started() {
    assert_refused("start");
    assert_refused("thread");
}

#[test]
fn the_network_is_out_of_reach() {
    assert_ended("tcp", &["socket"]);
    assert_ended("unix", &["socket"]);
}

#[test]
fn memory_does_not_become_executable() {
    assert_ended("executable", &["mmap"]);
}

#[test]
fn files_are_not_removed() {
    assert_ended("remove", &["unlink", "unlinkat"]);
}

#[test]
fn files_are_not_opened() {
    assert_refused("open");
    assert_refused("create");
}

#[test]
fn what_is_open_stays_usable() {
    for (role, _) in ROLES {
        let output = child_of(role, "write");
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// Without any seccomp filter, which would refuse it first.
#[test]
fn landlock_alone_keeps_files_closed() {
    let output = child_of("none", "open");
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    if said.contains("Landlock: None") {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    assert!(
        said.contains(&format!("{REFUSED}{:?}", ErrorKind::PermissionDenied)),
        "{said}"
    );
}

#[test]
fn new_privileges_are_out_of_reach() {
    let output = child_of("none", "status");
    let said = said(&output);
    assert!(said.contains("NoNewPrivs:\t1"), "{said}");
}

/// Not a test of its own: what the others start.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let case = env::var(CASE).expect("run by the other tests");
    let (role, case) = case.split_once(' ').unwrap();
    let role = ROLES.iter().find(|(name, _)| *name == role);

    // Before the process is confined, as a run opens its files.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut file = File::create(&path).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains("NoNewPrivs:\t0"), "the parent is confined");
    let mut own_status = File::open("/proc/thread-self/status").unwrap();

    let lock: FileLock = confine::process().unwrap();
    println!("Landlock: {lock:?}");
    if let Some((_, role)) = role {
        confine::thread(*role).unwrap();
    }
    let result = match case {
        "start" => Command::new("/bin/true").status().map(|_| ()),
        "exec" => {
            use std::os::unix::process::CommandExt;
            Err(Command::new("/bin/true").exec())
        }
        "thread" => thread::Builder::new().spawn(|| ()).map(|_| ()),
        "tcp" => TcpListener::bind("127.0.0.1:0").map(|_| ()),
        "unix" => UnixDatagram::unbound().map(|_| ()),
        "executable" => MmapRegion::<()>::build(
            None,
            4096,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        )
        .map(|_| ())
        .map_err(std::io::Error::other),
        "remove" => fs::remove_file(&path),
        "open" => File::open("/proc/self/status").map(|_| ()),
        "create" => File::create(folder.path().join("other")).map(|_| ()),
        "write" => file.write_all(b"still here"),
        "status" => std::io::copy(&mut own_status, &mut std::io::stdout()).map(|_| ()),
        case => panic!("there is no case {case}"),
    };
    match result {
        Ok(()) => println!("done"),
        Err(error) => println!("{REFUSED}{:?}", error.kind()),
    }
    // Its removal is what a confined process must not do.
    let _ = folder.keep();
}

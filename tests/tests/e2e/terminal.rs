//! A person at a terminal, which is standard input, output and error in one open file.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use stallbox_guest_images::cpio;
use stallbox_tests::{ENGINE, image, slot, stallbox};

/// Both ends of a pseudo-terminal: the person's, and the program's.
fn pair() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("no pseudo-terminal");
    grantpt(&person).expect("grantpt");
    unlockpt(&person).expect("unlockpt");
    let name = ptsname(&person, Vec::new()).expect("ptsname");
    let program = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().expect("a path in /dev"))
        .expect("cannot open the pseudo-terminal");
    (person.into(), program)
}

/// Reads on until this is there.
pub(crate) fn read_to(person: &mut File, prompt: &str) {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(prompt) {
        let length = person.read(&mut piece).expect("stallbox has ended");
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

/// Starts a guest on a terminal; the person's end of it is given.
pub(crate) fn at_a_terminal(options: &[&OsStr]) -> (File, Child) {
    let (person, program) = pair();
    let another = || program.try_clone().expect("cannot share the terminal");
    let child = Command::new(stallbox())
        .arg("run")
        .args(ENGINE)
        .args(["--append", "quiet", "--timeout", "240"])
        .args(options)
        .stdin(another())
        .stdout(another())
        .stderr(another())
        .spawn()
        .expect("cannot start stallbox");
    (person, child)
}

/// An init that is not ours, on the image's busybox; `shell` starts a shell.
fn own_initrd(shell: &str) -> Vec<u8> {
    let mut initrd = fs::read(&image().initrd).expect("the image has an initrd");
    let mut archive = cpio::Archive::new();
    let init = format!("#!/bin/sh\nmount -t devtmpfs dev /dev\n{shell}\n");
    archive.file("init", 0o755, init.as_bytes());
    cpio::append(&mut initrd, archive);
    initrd
}

#[test]
fn the_keys_are_told_and_leave() {
    let _ = image();
    let _slot = slot();
    let (mut person, mut child) = at_a_terminal(&[]);
    read_to(&mut person, "Ctrl-A X leaves, Ctrl-A H tells all keys");
    read_to(&mut person, "/ # ");
    person.write_all(b"\x01h").expect("cannot type");
    read_to(&mut person, "is a Ctrl-A for the guest");
    // Ctrl-A twice is one: the shell's line editor goes to the start of the line.
    person
        .write_all(b"cho $((6 * 7)) is it\x01\x01e\n")
        .expect("cannot type");
    read_to(&mut person, "42 is it");
    person.write_all(b"\x01x").expect("cannot type");
    let status = child.wait().expect("cannot wait for stallbox");
    assert_eq!(status.code(), Some(0));
}

/// Ctrl-C is for the guest, and ends what runs there in a shell that has a controlling terminal. One on
/// /dev/console has none, so the third in a row tells how to leave.
#[test]
fn ctrl_c_with_an_initrd_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let initrd = folder.path().join("initrd");
    let options = ["--initrd".as_ref(), initrd.as_os_str()];
    let _slot = slot();

    let shell = "setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'";
    fs::write(&initrd, own_initrd(shell)).unwrap();
    let (mut person, mut child) = at_a_terminal(&options);
    read_to(&mut person, "~ # ");
    person
        .write_all(b"echo go; sleep 1000\n")
        .expect("cannot type");
    read_to(&mut person, "go\r");
    thread::sleep(Duration::from_millis(500));
    person.write_all(b"\x03").expect("cannot type");
    read_to(&mut person, "~ # ");
    person.write_all(b"\x01x").expect("cannot type");
    assert_eq!(child.wait().expect("cannot wait").code(), Some(0));

    fs::write(&initrd, own_initrd("sh")).unwrap();
    let (mut person, mut child) = at_a_terminal(&options);
    read_to(&mut person, "~ # ");
    person
        .write_all(b"echo go; sleep 1000\n")
        .expect("cannot type");
    read_to(&mut person, "go\r");
    person.write_all(b"\x03\x03\x03").expect("cannot type");
    read_to(&mut person, "Ctrl-C goes to the guest");
    person.write_all(b"\x01x").expect("cannot type");
    assert_eq!(child.wait().expect("cannot wait").code(), Some(0));
}

/// Ctrl-S, a slow line: what waits for the terminal is more than it holds.
#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "so much output takes minutes where an exit is dear"
)]
fn a_terminal_that_stops_for_a_while_loses_nothing() {
    const LINES: usize = 20_000;
    // Found before the slot is taken: it may have to be built.
    let _ = image();
    let _slot = slot();
    let (mut person, mut child) = at_a_terminal(&[]);
    read_to(&mut person, "/ # ");
    writeln!(person, "seq 1 {LINES}; exit 5").expect("cannot type");
    thread::sleep(Duration::from_secs(2));
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    // The end is an error: nobody has the other end open any more.
    while let Ok(length) = person.read(&mut piece)
        && length > 0
    {
        text.extend_from_slice(&piece[..length]);
    }
    let status = child.wait().expect("cannot wait for stallbox");
    let text = String::from_utf8_lossy(&text);
    let numbers: Vec<usize> = text
        .lines()
        .filter_map(|line| line.trim_end().parse().ok())
        .collect();
    assert!(
        numbers.iter().copied().eq(1..=LINES),
        "{} of {LINES} lines arrived",
        numbers.len()
    );
    assert_eq!(status.code(), Some(5), "{text}");
}

/// Nobody reads the terminal: the keys are served all the same.
#[test]
#[cfg_attr(
    feature = "kvm",
    ignore = "so much output takes minutes where an exit is dear"
)]
fn a_terminal_that_has_stopped_serves_the_keys() {
    let _ = image();
    let _slot = slot();
    let (mut person, mut child) = at_a_terminal(&[]);
    read_to(&mut person, "/ # ");
    person.write_all(b"yes\n").expect("cannot type");
    // By then more waits than a terminal holds.
    thread::sleep(Duration::from_secs(3));
    person.write_all(b"\x01h\x01x").expect("cannot type");
    let end = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = child.try_wait().expect("cannot wait for stallbox") {
            break status;
        }
        if Instant::now() > end {
            child.kill().expect("cannot end stallbox");
            panic!("Ctrl-A X is not served");
        }
        thread::sleep(Duration::from_millis(20));
    };
    // What it printed is lost, since nobody read it within a second.
    assert_eq!(status.code(), Some(125));
}

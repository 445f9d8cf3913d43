//! A person at a terminal, which is standard input, output and error in one open file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
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
fn read_to(person: &mut File, prompt: &str) {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(prompt) {
        let length = person.read(&mut piece).expect("stallbox has ended");
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
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
    let (mut person, program) = pair();
    let another = || program.try_clone().expect("cannot share the terminal");
    let mut child = Command::new(stallbox())
        .arg("run")
        .args(ENGINE)
        .args(["--append", "quiet", "--timeout", "240"])
        .stdin(another())
        .stdout(another())
        .stderr(another())
        .spawn()
        .expect("cannot start stallbox");
    drop(program);
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

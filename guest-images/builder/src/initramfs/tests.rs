//! The guest's programs, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::*;
use crate::recipe;

fn root() -> PathBuf {
    recipe::checkout()
}

/// The guest's programs with warnings as errors, which users with a newer compiler are spared.
fn guest_program(folder: &Path) -> PathBuf {
    let program = folder.join("guest");
    compile(&root().join(PROGRAMS), &program, &["-Werror"]).unwrap();
    program
}

#[test]
fn programs_compile_without_warnings_and_reproducibly() {
    let folder = tempfile::tempdir().unwrap();
    let first = read(&guest_program(folder.path())).unwrap();
    let elsewhere = folder.path().join("copy");
    create_dir(&elsewhere).unwrap();
    for path in files(&root().join(PROGRAMS)).unwrap() {
        fs::copy(&path, elsewhere.join(path.file_name().unwrap())).unwrap();
    }
    let second = folder.path().join("second");
    compile(&elsewhere, &second, &[]).unwrap();
    assert!(
        first == read(&second).unwrap(),
        "the folder is in the program"
    );
}

/// A header and its source are one part; parts include each other in one direction.
#[test]
fn no_programs_include_each_other_in_a_circle() {
    let stem = |name: &str| name.rsplit_once('.').unwrap().0.to_owned();
    let mut includes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files(&root().join(PROGRAMS)).unwrap() {
        let part = stem(&path.file_name().unwrap().to_string_lossy());
        let text = read_to_string(&path).unwrap();
        let included = text
            .lines()
            .filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'))
            .map(stem)
            .filter(|other| *other != part);
        includes.entry(part.clone()).or_default().extend(included);
    }
    assert!(includes["pinbench"].contains("pinbench_loop"));
    // What includes nothing that is left goes, until nothing goes any more.
    let mut left = includes;
    loop {
        let parts: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, included| !included.is_disjoint(&parts));
        if left.len() == before {
            break;
        }
    }
    assert_eq!(left, BTreeMap::new());
}

#[test]
fn each_program_explains_itself_and_refuses_nonsense() {
    let folder = tempfile::tempdir().unwrap();
    let guest = guest_program(folder.path());
    let run = |arguments: &[&str]| {
        Command::new("qemu-aarch64")
            .arg(&guest)
            .args(arguments)
            .output()
    };
    if run(&["zipsva", "--help"]).is_err() {
        eprintln!("skipped: no qemu-aarch64 on this machine");
        return;
    }
    for name in LINKS {
        let help = run(&[name, "--help"]).unwrap();
        assert_eq!(help.status.code(), Some(0), "{name}");
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.starts_with(&format!("usage: {name}")), "{text}");
        assert_eq!(run(&[name, "--nonsense"]).unwrap().status.code(), Some(2));
    }
    // Not process 1, so it must not switch anything off.
    assert_eq!(run(&["init"]).unwrap().status.code(), Some(2));
    // No such device here: an error that names it and the cure.
    let missing = run(&["faultbench", "--no-count"]).unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(
        text.contains("/dev/hisi_zip-0") && text.contains("uacce_mode=1"),
        "{text}"
    );
}

/// An option as a line of `--help` has it.
struct Shown {
    name: String,
    argument: Option<String>,
    help: String,
}

/// The options of `--help`; a line that goes on is one with what it goes on to.
fn shown(help: &str) -> Vec<Shown> {
    let mut options: Vec<Shown> = Vec::new();
    for line in help.lines() {
        if let Some(option) = line.strip_prefix("  --") {
            let (left, help) = option.split_once("  ").unwrap();
            let (name, argument) = match left.split_once(' ') {
                Some((name, argument)) => (name, Some(argument.to_owned())),
                None => (left, None),
            };
            options.push(Shown {
                name: name.to_owned(),
                argument,
                help: help.trim_start().to_owned(),
            });
        } else if let Some(last) = options.last_mut()
            && line.starts_with("   ")
        {
            last.help.push('\n');
            last.help.push_str(line.trim_start());
        }
    }
    options
}

impl Shown {
    /// The default, in parentheses at the end of a line.
    fn default(&self) -> Option<&str> {
        let line = self.help.lines().find(|line| line.ends_with(')'))?;
        line.strip_suffix(')')?.rsplit_once('(').map(|(_, it)| it)
    }

    /// The least and the most of a number.
    fn range(&self) -> Option<(u64, Option<u64>)> {
        let (before, _) = self.help.rsplit_once(" (")?;
        let (_, range) = before.rsplit_once(", ")?;
        match (range.strip_prefix("at least "), range.split_once(" to ")) {
            (Some(least), _) => Some((number(least)?, None)),
            (_, Some((least, most))) => Some((number(least)?, Some(number(most)?))),
            _ => None,
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let unit = |letter, shift| {
        let digits = text.strip_suffix(letter)?;
        Some(digits.parse::<u64>().ok()? << shift)
    };
    text.parse().ok().or(unit('K', 10)).or(unit('M', 20))
}

/// What each program is to do in a test of one option: nothing, as there is no device.
const HARMLESS: &[(&str, &[&str])] = &[
    ("faultbench", &["--no-count", "--device", "/nowhere"]),
    ("pinbench", &["list"]),
    ("pintest", &["zero"]),
    ("svatest", &["nop", "--no-count"]),
    ("zipabuse", &["unmapped", "--device", "/nowhere"]),
    ("zipgone", &["after-unmap", "--device", "/nowhere"]),
    (
        "zipsva",
        &["compress", "--in", "/nowhere", "--out", "/nowhere"],
    ),
];

/// All that `--help` promises of options: ranges, defaults, words, arguments.
#[test]
fn options_are_as_their_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let guest = guest_program(folder.path());
    let run = |name: &str, arguments: &[&str]| {
        Command::new("qemu-aarch64")
            .arg(&guest)
            .arg(name)
            .args(arguments)
            .output()
    };
    if run("zipsva", &["--help"]).is_err() {
        eprintln!("skipped: no qemu-aarch64 on this machine");
        return;
    }
    let mut ranges = 0;
    for (name, harmless) in HARMLESS {
        let accepts = |option: &[&str]| {
            let done = run(name, &[harmless, option].concat()).unwrap();
            let said = String::from_utf8(done.stderr).unwrap();
            assert_ne!(done.status.code(), Some(2), "{name} {option:?}: {said}");
        };
        let refuses = |option: &[&str], why: &str| {
            let done = run(name, &[harmless, option].concat()).unwrap();
            let said = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(2), "{name} {option:?}: {said}");
            let first = said.lines().next().unwrap_or_default();
            let begin = format!("{name}: {why}");
            assert!(first.starts_with(&begin), "{name} {option:?}: {first}");
            assert!(said.contains(&format!("\nusage: {name} ")), "{said}");
        };
        accepts(&[]);
        refuses(&["--nonsense"], "--nonsense: there is no such option");
        refuses(&["-x"], "-x: there is no such option");
        refuses(&["one", "two"], "");
        let help = String::from_utf8(run(name, &["--help"]).unwrap().stdout).unwrap();
        let options = shown(&help);
        assert!(!options.is_empty(), "{help}");
        for option in &options {
            let word = format!("--{}", option.name);
            let Some(argument) = &option.argument else {
                accepts(&[&word]);
                refuses(
                    &[&format!("{word}=1")],
                    &format!("{word}: takes no argument"),
                );
                continue;
            };
            refuses(&[&word], &format!("{word}: an argument is missing"));
            if let Some(default) = option.default().filter(|it| !it.contains(';')) {
                accepts(&[&word, default]);
                accepts(&[&format!("{word}={default}")]);
            }
            if argument.contains('|') {
                for choice in argument.split('|') {
                    accepts(&[&word, choice]);
                }
                refuses(&[&word, "x"], &format!("{word} x: not "));
            }
            if let Some((least, most)) = option.range() {
                ranges += 1;
                accepts(&[&word, &least.to_string()]);
                let below = least.wrapping_sub(1).to_string();
                refuses(&[&word, &below], &format!("{word} {below}: "));
                if let Some(most) = most {
                    accepts(&[&word, &most.to_string()]);
                    let above = (most + 1).to_string();
                    refuses(&[&word, &above], &format!("{word} {above}: "));
                }
                for odd in ["", "x", "-1", "1.5", "1x", "99999999999999999999"] {
                    refuses(&[&word, odd], &format!("{word} {odd}: "));
                }
            }
        }
    }
    assert!(ranges >= 19, "{ranges} ranges were understood");
}

#[test]
fn the_key_follows_the_programs() {
    let versions = Versions::load(&root()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let programs = copy.path().join(PROGRAMS);
    create_dir(&programs).unwrap();
    for path in files(&root().join(PROGRAMS)).unwrap() {
        fs::copy(&path, programs.join(path.file_name().unwrap())).unwrap();
    }
    let of = |folder: &Path| key(folder, &versions, "gcc 12", &[]).unwrap();
    assert_eq!(of(&root()), of(copy.path()));
    // An editor's left-overs are no part of the image.
    write(&programs.join("init.c~"), "old").unwrap();
    assert_eq!(of(&root()), of(copy.path()));
    write(&programs.join("more.h"), "").unwrap();
    assert_ne!(of(&root()), of(copy.path()));
}

#[test]
fn links_do_not_collide_with_applets() {
    let applets = read_to_string(&root().join(PROGRAMS).join(APPLETS)).unwrap();
    for name in LINKS {
        assert!(applets.lines().all(|applet| applet != *name), "{name}");
    }
}

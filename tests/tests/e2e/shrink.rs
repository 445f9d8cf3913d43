//! Failures made smaller.

use std::fs;

use stallbox_bundle::{Input, Place, Turn, read, write};
use stallbox_tests::{Guest, stallbox_in};

const ERROR: i32 = 125;
const STOPPED: i32 = 124;
/// The second rule alone makes the run hang.
const PLAN: &str = "[[rule]]\nname = 'late'\nat = 'record'\ndo = { delay = 3000 }\n\
                    [[rule]]\nname = 'lost'\nat = 'command'\n\
                    match = { command = 'CMD_RESUME', probability = 0.5 }\ndo = { drop = true }\n\
                    [[rule]]\nname = 'evict'\nat = 'time'\n\
                    match = { from_ns = 44200000, period_ns = 100000 }\ndo = { evict_tlb = 'all' }\n";

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn what_does_not_matter_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("plan.toml"), PLAN).unwrap();
    let script = "date; zipsva compress --in /stallbox/command --out /tmp/out; date";
    let options = [
        "sweep",
        "--seeds",
        "0..9",
        "--until-failures",
        "1",
        "--cpus",
        "2",
        "--plan",
        "plan.toml",
        "--stop-at",
        "52000000",
        "--out",
        "found",
        "--",
        script,
    ];
    let swept = stallbox_in(folder, &options);
    assert_eq!(swept.status.code(), Some(1), "{swept:?}");
    let found = fs::read_dir(folder.join("found"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let found = found.path();
    let found = found.to_str().unwrap();
    // What it needs is in the bundle.
    fs::remove_file(folder.join("plan.toml")).unwrap();
    let shrunk = stallbox_in(folder, &["shrink", found, "--out", "small.sbx"]);
    let text = String::from_utf8_lossy(&shrunk.stdout);
    let told = String::from_utf8_lossy(&shrunk.stderr);
    assert_eq!(shrunk.status.code(), Some(0), "{text}{told}");
    for part in [
        "rules: 1 of 3: \"lost\"",
        "command: 1 of 3: \"zipsva",
        "vCPUs: 1, was 2",
        "MiB of RAM: 96, was 512",
    ] {
        assert!(text.contains(part), "no {part:?} in: {text}{told}");
    }
    assert!(told.contains("no: command without"), "{told}");
    let small = read(&fs::read(folder.join("small.sbx")).unwrap()).unwrap();
    assert_eq!(
        small.arguments.last().unwrap(),
        "zipsva compress --in /stallbox/command --out /tmp/out;"
    );
    let again = stallbox_in(folder, &["replay", "small.sbx", "--quiet"]);
    assert_eq!(again.status.code(), Some(STOPPED), "{again:?}");
    // It is as small as can be.
    let no_smaller = stallbox_in(folder, &["shrink", "small.sbx", "--out", "smaller.sbx"]);
    let told = String::from_utf8_lossy(&no_smaller.stderr);
    assert!(
        told.contains("there is no smaller one, and none is written"),
        "{no_smaller:?}"
    );
    assert!(!folder.join("smaller.sbx").exists());
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_run_that_does_not_fail_or_was_interfered_with_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sbx");
    Guest::new().option("--record", &path).run("true").success();
    let shrink = |why: &str| {
        let output = stallbox_in(folder.path(), &["shrink", "run.sbx"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(ERROR), "{errors}");
        assert!(errors.contains(why), "{errors}");
    };
    shrink("does not fail");
    let mut bundle = read(&fs::read(&path).unwrap()).unwrap();
    bundle.turns.push(Turn {
        place: Place {
            step: 1,
            retired: 1,
        },
        time_ns: 0,
        devices_ps: 0,
        inputs: vec![Input::Keys(b"x".to_vec())],
    });
    let mut bytes = Vec::new();
    write(&bundle, &mut bytes).unwrap();
    fs::write(&path, bytes).unwrap();
    shrink("keys were typed");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

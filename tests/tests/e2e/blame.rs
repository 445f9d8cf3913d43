//! When a failure became inevitable.

use std::fs;
use std::path::Path;

use stallbox_tests::stallbox_in;

/// Half of all seeds lose the answer to the job's only stall.
const PLAN: &str = "[[rule]]\nname = 'lost'\nat = 'command'\n\
                    match = { command = 'CMD_RESUME', probability = 0.5 }\ndo = { drop = true }\n";

/// Exit status, standard output, standard error.
fn command(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output = stallbox_in(folder, words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A bundle of a run that fails: its name.
fn found(folder: &Path, script: &str) -> String {
    fs::write(folder.join("plan.toml"), PLAN).unwrap();
    found_with(folder, &["--stop-at", "46000000", "--", script])
}

/// The same, with these options and the command.
fn found_with(folder: &Path, more: &[&str]) -> String {
    let mut options = vec!["sweep", "--seeds", "0..20", "--until-failures", "1"];
    options.extend(["--plan", "plan.toml", "--out", "found"]);
    options.extend(more);
    let (status, text, errors) = command(folder, &options);
    assert_eq!(status, Some(1), "{text}{errors}");
    let found = fs::read_dir(folder.join("found"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    found.path().to_str().unwrap().to_owned()
}

/// The numbers in "between A and B ns".
fn window(text: &str) -> (u64, u64) {
    let line = text
        .lines()
        .find(|line| line.starts_with("decided between"))
        .unwrap();
    let numbers: Vec<u64> = line
        .split([' ', ':'])
        .filter_map(|word| word.parse().ok())
        .collect();
    (numbers[0], numbers[1])
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn the_window_holds_what_decided() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The answer is lost long before the run is ended for it.
    let bundle = found(
        folder,
        "zipsva compress --in /stallbox/command --out /tmp/out",
    );
    let blame = |jobs: &str| {
        let options = [
            "blame",
            &bundle,
            "--runs",
            "6",
            "--points",
            "6",
            "--jobs",
            jobs,
            "--svg",
            "curve.svg",
            "--quiet",
        ];
        let (status, text, errors) = command(folder, &options);
        assert_eq!(status, Some(0), "{text}{errors}");
        text
    };
    let text = blame("1");
    let (open, decided) = window(&text);
    assert!(decided - open <= 1000, "{text}");
    let events = text.split("\nevents between").nth(1).unwrap();
    let lost = events
        .lines()
        .find(|line| line.contains("\"rule\":\"lost\""));
    let lost: serde_json::Value =
        serde_json::from_str(lost.unwrap_or_else(|| panic!("{text}"))).unwrap();
    let lost = lost["time_ns"].as_u64().unwrap();
    assert!(open <= lost && lost <= decided, "{lost}: {text}");
    // The vCPU that sent the answer is where it sent it.
    assert!(events.contains("vCPU 0: running at EL1"), "{text}");
    let shares = text
        .lines()
        .filter_map(|line| line.trim().split_once(" ns  "));
    for (at, share) in shares {
        let at: u64 = at.parse().unwrap();
        let all = share.starts_with("1.00");
        assert_eq!(all, at >= decided, "{at}: {text}");
    }
    let picture = fs::read_to_string(folder.join("curve.svg")).unwrap();
    assert!(picture.starts_with("<svg"), "{picture}");
    assert_eq!(blame("3"), text);
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_failure_that_nothing_drawn_decides_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = found(folder.path(), "exit 3");
    let (status, text, errors) = command(
        folder.path(),
        &["blame", &bundle, "--runs", "3", "--points", "3"],
    );
    assert_eq!(status, Some(0), "{text}{errors}");
    assert!(text.contains("nothing that is drawn decides"), "{text}");
}

/// The kernel gives a PASID to the next process under a stall (`svabugs=early-reuse`). The stall is retried 20 ms
/// after its record was held back, and all that was drawn for that is decided where the record is written.
#[test]
#[cfg_attr(feature = "kvm", ignore = "only the soft engine repeats runs")]
fn a_bug_of_the_kernel_is_blamed_milliseconds_before_its_symptom() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plan = "[[rule]]\nname = 'late'\nat = 'record'\n\
                match = { stalled = true, nth = 1, probability = 0.5 }\ndo = { delay = 20_000_000 }\n";
    fs::write(folder.join("plan.toml"), plan).unwrap();
    let bundle = found_with(
        folder,
        &[
            "--image",
            "svabugs",
            "--append",
            "quiet svabugs=early-reuse",
            "--check",
            "pasid",
            "--",
            "zipgone next-owner",
        ],
    );
    let options = ["blame", &bundle, "--runs", "8", "--points", "8"];
    let (status, text, errors) = command(folder, &options);
    assert_eq!(status, Some(0), "{text}{errors}");
    assert!(
        text.starts_with("check pasid: a stall was retried in another owner's address space\n"),
        "{text}"
    );
    let (open, decided) = window(&text);
    assert!(decided - open <= 1000, "{text}");
    let events = text.split("\nevents between").nth(1).unwrap();
    for event in ["\"event\":\"stalled\"", "\"rule\":\"late\""] {
        assert!(events.contains(event), "no {event} in {text}");
    }
    let failed = errors.split_once("it fails at ").unwrap().1;
    let failed: u64 = failed.split(' ').next().unwrap().parse().unwrap();
    assert!(failed - decided > 15_000_000, "{errors}{text}");
}

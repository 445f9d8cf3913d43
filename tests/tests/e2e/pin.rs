//! The two interfaces that pin memory: what they promise, what they refuse, and the faults of the
//! first one as it was posted.

use stallbox_tests::{Guest, Run};

/// The cases of `pintest` that are faults of the first proposal.
const FAULTS: [&str; 5] = ["limit", "duplicate", "partial", "zero", "wrap"];

/// All others.
const EDGES: [&str; 11] = [
    "overlap",
    "kernel",
    "readonly",
    "unknown",
    "calls",
    "two-files",
    "munmap",
    "fork",
    "kill",
    "dma",
    "big",
];

/// The line that `pintest` printed for a case.
#[track_caller]
fn line<'a>(run: &'a Run, case: &str) -> &'a str {
    run.output()
        .lines()
        .find_map(|line| line.strip_prefix(case)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no line of {case}\n{run}"))
}

/// The number before a word, as in "2048 pages are pinned".
#[track_caller]
fn number_before(line: &str, words: &str) -> i64 {
    line.split(words)
        .next()
        .filter(|before| before.len() < line.len())
        .and_then(|before| before.split_whitespace().next_back())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number before \"{words}\": {line}"))
}

/// All cases. Where the device computes in the host's time it may be done before `dma` has unpinned,
/// and the case says so.
fn cases() -> impl Iterator<Item = &'static str> {
    let all = FAULTS.into_iter().chain(EDGES);
    all.filter(|case| !(cfg!(feature = "kvm") && *case == "dma"))
}

#[track_caller]
fn assert_all_pass(run: &Run) {
    for case in cases() {
        assert!(line(run, case).starts_with("ok "), "{case}\n{run}");
    }
}

/// Runs the cases through an interface: `all` of pintest, if all are meant.
fn all(via: &str) -> String {
    let words = match cfg!(feature = "kvm") {
        true => cases().collect::<Vec<_>>().join(" "),
        false => "all".to_owned(),
    };
    format!("for case in {words}; do pintest $case --via {via} || exit 1; done")
}

/// What the kernel says when it finds itself in the wrong.
const COMPLAINTS: &str = "dmesg | grep -E 'WARNING:|BUG:|Oops|Call trace:|page allocation failure'";

#[test]
fn uacce_ctrl_keeps_its_promises() {
    let all = all("uacce_ctrl");
    let script = format!("insmod /lib/modules/uacce_ctrl.ko; ({all}); {COMPLAINTS}; true");
    let run = Guest::new().run(&script).success();
    assert_all_pass(&run);
    let lines = run.output().lines().count();
    assert_eq!(lines, cases().count(), "{run}");
}

#[test]
fn mempinfd_keeps_its_promises() {
    let script = format!("({}); {COMPLAINTS}; true", all("mempinfd"));
    let run = Guest::new().option("--image", "pin").run(&script).success();
    assert_all_pass(&run);
    let lines = run.output().lines().count();
    assert_eq!(lines, cases().count(), "{run}");
}

#[test]
fn both_hold_on_four_cpus() {
    let script = format!(
        "insmod /lib/modules/uacce_ctrl.ko; {}; {}",
        all("uacce_ctrl"),
        all("mempinfd")
    );
    Guest::new()
        .option("--image", "pin")
        .cpus(4)
        .run(&script)
        .success();
}

#[test]
fn uacce_ctrl_as_posted_has_the_faults_that_reviewers_found() {
    let run = Guest::new()
        .run("insmod /lib/modules/uacce_ctrl_as_posted.ko && pintest faults")
        .status(1);

    // No accounting against RLIMIT_MEMLOCK.
    let limit = line(&run, "limit");
    assert!(
        limit.contains("65 pages with a limit of 64: 0 instead of ENOMEM; VmLck 0 pages"),
        "{run}"
    );
    // A second pin at the same start replaces the first, whose pages leak.
    let duplicate = line(&run, "duplicate");
    assert!(
        duplicate.contains("second pin of 4096 pages: 0 (EEXIST is right)"),
        "{run}"
    );
    assert_eq!(number_before(duplicate, " pages are pinned"), 4096, "{run}");
    let lost = number_before(duplicate, " fewer are free");
    assert!((4000..4200).contains(&lost), "{run}");
    // A part of a range leaks its pages, and the result is a positive number.
    let partial = line(&run, "partial");
    assert!(
        partial.contains("hole at the middle of 4096 pages: 2048 (EFAULT is right)"),
        "{run}"
    );
    assert_eq!(number_before(partial, " pages are pinned"), 2048, "{run}");
    // Neither size zero nor a wrap-around is refused for what it is.
    let zero = line(&run, "zero");
    assert!(
        zero.contains("0 bytes inside a page: 0, and 1 pages are pinned"),
        "{run}"
    );
    let wrap = line(&run, "wrap");
    assert!(wrap.contains("instead of EINVAL"), "{run}");
}

#[test]
fn uacce_ctrl_as_posted_is_right_where_no_fault_was_found() {
    let cases = "unknown two-files kill big";
    let script = format!(
        "insmod /lib/modules/uacce_ctrl_as_posted.ko; for case in {cases}; do pintest $case; done"
    );
    let run = Guest::new().run(&script).success();
    for case in cases.split(' ') {
        assert!(line(&run, case).starts_with("ok "), "{run}");
    }
}

#[test]
fn a_gibibyte_is_pinned_in_pages_of_4_kib() {
    let run = Guest::new()
        .option("--memory", "1536M")
        .run("insmod /lib/modules/uacce_ctrl.ko && pintest big --bytes $((1 << 30))")
        .success();
    assert!(line(&run, "big").starts_with("ok 262144 pages"), "{run}");
}

#[test]
fn the_module_stays_while_it_is_open_and_can_be_taken_out_afterwards() {
    let script = "insmod /lib/modules/uacce_ctrl.ko; exec 3<>/dev/uacce_ctrl; \
                  rmmod uacce_ctrl 2>/dev/null; echo $?; exec 3>&-; rmmod uacce_ctrl; echo $?; \
                  test -e /dev/uacce_ctrl; echo $?; \
                  insmod /lib/modules/uacce_ctrl_as_posted.ko; ls /dev/uacce_ctrl";
    let run = Guest::new().run(script).success();
    assert_eq!(run.output(), "1\n0\n1\n/dev/uacce_ctrl\n", "{run}");
}

#[test]
fn without_an_interface_the_message_says_what_to_do() {
    let run = Guest::new()
        .run("pintest zero 2>&1; pintest zero --via mempinfd 2>&1; true")
        .success();
    for cure in [
        "insmod /lib/modules/uacce_ctrl.ko",
        "stallbox run --image pin",
    ] {
        assert!(run.output().contains(cure), "{run}");
    }
}

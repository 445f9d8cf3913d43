//! The command line: exit statuses, errors that help, a guest of one's own.

use std::fs;
use std::process::{Command, Output};

use stallbox_tests::{Guest, Run, image, stallbox};

const PANIC: i32 = 121;
const NO_STATUS: i32 = 122;
const TIMEOUT: i32 = 124;
const ERROR: i32 = 125;

/// Runs `stallbox` with nothing but these words.
fn bare(words: &[&str]) -> Output {
    Command::new(stallbox())
        .args(words)
        .output()
        .expect("cannot start stallbox")
}

/// An error: status 125, and a message with each of these parts.
#[track_caller]
fn assert_error(words: &[&str], parts: &[&str]) {
    let output = bare(words);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(ERROR), "{words:?}: {message}");
    for part in parts {
        assert!(
            message.contains(part),
            "{words:?}: no \"{part}\" in: {message}"
        );
    }
}

#[test]
fn the_commands_status_is_stallboxs() {
    for (command, status) in [
        ("true", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("no-such", 127),
    ] {
        Guest::new().run_raw(&[command]).status(status);
    }
}

#[test]
fn a_command_killed_by_a_signal_has_the_shells_status_for_it() {
    Guest::new().run_raw(&["kill -9 $$"]).status(128 + 9);
}

#[test]
fn several_words_are_a_command_and_its_arguments() {
    let run = Guest::new()
        .run_raw(&["printf", "[%s]\\n", "a  b", "it's", "$HOME"])
        .success();
    for line in ["[a  b]\n", "[it's]\n", "[$HOME]\n"] {
        assert!(run.console().contains(line), "{run}");
    }
}

#[test]
fn a_panic_has_a_status_of_its_own_and_shows_the_last_lines() {
    for guest in [
        Guest::new(),
        Guest::new().flag("--quiet"),
        Guest::new().cpus(4),
    ] {
        let run = guest
            .run_raw(&["echo c > /proc/sysrq-trigger"])
            .status(PANIC);
        assert!(
            run.errors().contains("the guest's kernel panicked"),
            "{run}"
        );
        assert!(run.errors().contains("sysrq triggered crash"), "{run}");
    }
}

#[test]
fn a_guest_that_hangs_meets_the_time_limit() {
    let run = Guest::new()
        .timeout_seconds(10)
        .run_raw(&["while :; do :; done"])
        .status(TIMEOUT);
    assert!(run.errors().contains("--timeout"), "{run}");
}

#[test]
fn a_run_ends_at_a_point_of_its_own_time() {
    const STOP_AT: u64 = 100_000_000;
    let guest = Guest::new()
        .cpus(2)
        .traced()
        .option("--stop-at", STOP_AT.to_string());
    let end = || {
        let run = guest.run("zipabuse storm & while :; do :; done");
        let run = run.status(TIMEOUT);
        assert!(run.errors().contains("--stop-at"), "{run}");
        let summary = run.whole_summary();
        assert_eq!(summary["outcome"], "stop-at", "{run}");
        let now = summary["outstanding"]["time_ns"].as_u64().expect("a time");
        assert!(now >= STOP_AT, "{now}\n{run}");
        run
    };
    let first = end();
    if cfg!(feature = "kvm") {
        return;
    }
    // No device does anything beyond it.
    let trace = first.trace();
    assert!(trace.iter().all(|it| it.time_ns <= STOP_AT), "{first}");
    let second = end();
    let registers = |run: &Run| run.whole_summary()["outstanding"]["vcpus"].clone();
    assert_eq!(registers(&first), registers(&second));
    assert_eq!(first.summary().trace_hash, second.summary().trace_hash);
    assert_eq!(first.summary().instructions, second.summary().instructions);
}

#[test]
fn a_time_that_is_none_is_refused() {
    for text in ["0", "-1", "1e9", "18446744073709552"] {
        let option = format!("--stop-at={text}");
        assert_error(
            &["run", &option],
            &["--stop-at", "from 1 to 18446744073709551"],
        );
    }
}

#[test]
fn a_guest_that_leaves_without_a_status_is_told_of() {
    for (key, text) in [("o", "switched off"), ("b", "reset")] {
        let script = format!("echo {key} > /proc/sysrq-trigger; sleep 10");
        let run = Guest::new().run_raw(&[&script]).status(NO_STATUS);
        assert!(run.errors().contains(text), "{run}");
    }
}

#[test]
fn a_quiet_run_shows_nothing() {
    let run = Guest::new()
        .flag("--quiet")
        .run_raw(&["echo seen"])
        .success();
    assert_eq!((run.console(), run.errors()), ("", ""), "{run}");
}

#[test]
fn appended_arguments_reach_the_kernel() {
    let run = Guest::new()
        .option("--append", "loglevel=3 stallbox.test=1")
        .run("cat /proc/cmdline")
        .success();
    assert!(
        run.output().contains(" loglevel=3 stallbox.test=1"),
        "{run}"
    );
}

#[test]
fn results_are_kept_in_order() {
    let script = "for n in 1 2 3; do echo \"result {\\\"n\\\":$n}\" > /dev/ttyS1; done";
    let run = Guest::new().run(script).success();
    let numbers: Vec<u64> = run
        .results()
        .iter()
        .map(|result| result["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3], "{run}");
}

#[test]
fn without_a_command_there_is_a_shell_to_type_at() {
    let guest = Guest::new().typed_at("/ # ", b"echo $((6 * 7)) is it\nexit 5\n");
    let run = guest.run_raw(&[]).status(5);
    assert!(run.console().contains("42 is it\n"), "{run}");
}

#[test]
fn a_script_on_standard_input_is_run_by_the_shell() {
    let guest = Guest::new().input(b"echo $((6 * 7)) is it\n");
    let run = guest.run_raw(&[]).status(0);
    assert!(run.console().contains("42 is it\n"), "{run}");
}

/// The end of a pipe is there for every reader; a terminal's is for one.
#[test]
fn the_end_of_standard_input_is_told_to_each_that_reads() {
    let guest = Guest::new().input(b"cat > /dev/null; cat > /dev/null; echo $((6 * 7)) is it\n");
    let run = guest.run_raw(&[]).status(0);
    assert!(run.console().contains("42 is it\n"), "{run}");
}

#[test]
fn a_kernel_and_an_initrd_of_ones_own_are_booted() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("vmlinuz");
    fs::copy(&image().kernel, &kernel).unwrap();
    let run = Guest::new()
        .option("--kernel", &kernel)
        .file("hello", b"from an initrd of my own\n")
        .run("cat /in/hello")
        .success();
    assert_eq!(run.output(), "from an initrd of my own\n", "{run}");
}

#[test]
fn a_kernel_without_an_initrd_panics_for_want_of_a_root() {
    let run = Guest::new()
        .option("--kernel", &image().kernel)
        .run_raw(&["true"])
        .status(PANIC);
    assert!(
        run.errors().contains("the guest's kernel panicked"),
        "{run}"
    );
}

#[test]
fn a_missing_file_is_named_with_its_option() {
    assert_error(
        &["run", "--kernel", "/no/such/Image"],
        &["/no/such/Image", "--kernel"],
    );
    assert_error(
        &["run", "--initrd", "/no/such/cpio"],
        &["/no/such/cpio", "--initrd"],
    );
    assert_error(
        &["run", "--trace", "/no/such/folder/t"],
        &["/no/such/folder/t", "--trace"],
    );
    assert_error(&["run", "--latency", "/no/such.toml"], &["/no/such.toml"]);
}

#[test]
fn a_file_that_is_no_kernel_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("text", &b"this is not a kernel\n"[..]),
        ("empty", b""),
        ("elf", b"\x7fELF\x02\x01\x01"),
        ("compressed", b"\x1f\x8b\x08\0\0\0\0\0"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let path = path.to_str().unwrap();
        assert_error(&["run", "--kernel", path], &[path, "arm64 kernel Image"]);
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_a_hint() {
    assert_error(&["run", "--memory", "12Q"], &["--memory", "use K, M or G"]);
    assert_error(&["run", "--memory", "32M"], &["--memory", "at least 64M"]);
    assert_error(&["run", "--cpus", "9"], &["--cpus 9", "8 vCPUs at most"]);
    assert_error(&["run", "--accel", "sec"], &["--accel", "rev=0x21|0x30"]);
    assert_error(&["run", "--smmu-irq", "x"], &["--smmu-irq", "msi"]);
    assert_error(
        &["run", "--latency", "walkstep=fixed:1"],
        &["walkstep", "walk_step"],
    );
    assert_error(&["run", "--latency", "walk_step=fixed"], &["fixed:NS"]);
    for seconds in [
        "0",
        "-1",
        "1e300",
        "NaN",
        "inf",
        "18446744073709551615",
        "1m",
        "",
    ] {
        for command in ["run", "measure"] {
            let words = [command, "--timeout", seconds];
            assert_error(&words, &["--timeout", "from 0.001 to 31536000"]);
        }
        let words = ["inspect", "/no/socket", "--timeout", seconds, "status"];
        assert_error(&words, &["--timeout", "from 0.001 to 31536000"]);
    }
    for size in ["-1", "0", "1e3M", "NaN", "", "M", "1.5G"] {
        assert_error(&["run", "--memory", size], &["--memory"]);
    }
    assert_error(
        &["run", "--memory", "18446744073709551615G"],
        &["--memory", "255G"],
    );
    for (option, number) in [
        ("--cpus", "-1"),
        ("--nodes", "0"),
        ("--seed", "-1"),
        ("--seed", "1e3"),
        ("--kaslr-seed", "0"),
        ("--kaslr-seed", "0x10000000000000000"),
    ] {
        assert_error(&["run", option, number], &[option, "invalid value"]);
    }
    assert_error(
        &["run", "--accel", "zip,rev=0x21,rev=0x30"],
        &["rev is given twice"],
    );
    assert_error(&["run", "--check", "tlb,tlb=5"], &["tlb is given twice"]);
    assert_error(&["run", "--seed", "1", "--seed", "2"], &["--seed"]);
    let twice = [
        "run",
        "--latency",
        "tlb_hit=fixed:1",
        "--latency",
        "tlb_hit=fixed:2",
    ];
    assert_error(&twice, &["tlb_hit is given twice"]);
    assert_error(
        &["run", "--latency", "./a=b.toml"],
        &["./a=b.toml", "No such file"],
    );
    assert_error(
        &["measure", "--rows", "touched,touched"],
        &["touched is given twice"],
    );
    assert_error(&["run", "--no-such-option"], &["--no-such-option"]);
    assert_error(&["no-such-command"], &["no-such-command"]);
}

#[test]
fn a_text_offset_that_no_kernel_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Image");
    let mut kernel = fs::read(&image().kernel).unwrap();
    kernel[8..16].copy_from_slice(&3_u64.to_le_bytes());
    fs::write(&path, kernel).unwrap();
    assert_error(
        &["run", "--kernel", path.to_str().unwrap()],
        &["text_offset is 0x3", "multiple of 4 KiB"],
    );
}

/// A kernel Image of these instructions (Linux, `Documentation/arch/arm64/booting.rst`).
pub(crate) fn bare_metal(instructions: &[u32]) -> Vec<u8> {
    let mut file = vec![0; 64];
    // b #64, image_size, magic.
    file[0..4].copy_from_slice(&0x1400_0010_u32.to_le_bytes());
    file[16..24].copy_from_slice(&0x1_0000_u64.to_le_bytes());
    file[56..60].copy_from_slice(b"ARM\x64");
    file.extend(instructions.iter().flat_map(|it| it.to_le_bytes()));
    file
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "the host's time does not end")]
fn the_end_of_virtual_time_has_words_of_its_own() {
    const WFI: u32 = 0xd503_207f;
    const BACK: u32 = 0x17ff_ffff;
    // Assembled: movn x0, #0; msr CNTV_CVAL_EL0, x0; mov x1, #1; msr CNTV_CTL_EL0, x1.
    let armed = [
        0x9280_0000,
        0xd51b_e340,
        0xd280_0021,
        0xd51b_e321,
        WFI,
        BACK,
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Image");
    for (code, words) in [
        (
            &armed[..],
            "virtual time does not reach: it ends 213 days after power-on",
        ),
        (
            &[WFI, BACK],
            "all CPUs of the guest sleep, and nothing will wake them",
        ),
    ] {
        fs::write(&path, bare_metal(code)).unwrap();
        let guest = Guest::new().option("--kernel", &path).timeout_seconds(30);
        let run = guest.run_raw(&[]).status(NO_STATUS);
        assert!(run.errors().contains(words), "{run}");
    }
}

#[test]
fn memory_that_cannot_hold_the_guest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let initrd = folder.path().join("initrd");
    let file = fs::File::create(&initrd).unwrap();
    file.set_len(80 << 20).unwrap();
    let words = [
        "run",
        "--memory",
        "64M",
        "--initrd",
        initrd.to_str().unwrap(),
    ];
    assert_error(&words, &["64 MiB is too small"]);
}

#[test]
fn help_lists_the_options_and_statuses() {
    let output = bare(&["run", "--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "--kernel",
        "--accel",
        "--latency",
        "--trace",
        "121",
        "124",
        "COMMAND",
    ] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
}

//! `stallbox measure`: each cell says what the kernel really did, and each claim follows from it.

use std::fs;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stallbox_tests::{Browser, Guest, Measured, measure, measure_while};

/// The whole matrix in its quick form, measured once for all tests.
fn whole() -> &'static Measured {
    static WHOLE: OnceLock<Measured> = OnceLock::new();
    // The image that has both pin interfaces and serves page requests.
    WHOLE.get_or_init(|| measure(&["--quick", "--image", "pri"]).status(0))
}

fn names(list: &Value) -> Vec<&str> {
    let names = list.as_array().into_iter().flatten();
    names.filter_map(Value::as_str).collect()
}

/// All rows, those that have their pages before the device comes, and those that pin.
const ROWS: [&str; 12] = [
    "none",
    "touched",
    "populate",
    "mlock",
    "mlockall_onfault",
    "hugetlb",
    "thp",
    "uacce_ctrl",
    "mempinfd",
    "ats_none",
    "ats_touched",
    "ats_prefill",
];
const PRESENT: [&str; 9] = [
    "touched",
    "populate",
    "mlock",
    "hugetlb",
    "thp",
    "uacce_ctrl",
    "mempinfd",
    "ats_touched",
    "ats_prefill",
];
const PINNED: [&str; 2] = ["uacce_ctrl", "mempinfd"];
/// Those whose device has a translation cache, and asks for pages.
const ATS: [&str; 3] = ["ats_none", "ats_touched", "ats_prefill"];
/// Two pages in each of the 2 x 16 slots of --quick.
const USED_PAGES: u64 = 64;

#[test]
fn the_guest_knows_the_rows_and_columns_of_the_matrix() {
    let run = Guest::new().run("pinbench list").success();
    let measured = whole();
    let list = format!(
        "rows: {}\ncolumns: {}\n",
        names(&measured.json["rows"]).join(" "),
        names(&measured.json["columns"]).join(" ")
    );
    assert_eq!(run.output(), list, "{run}");
}

#[test]
fn no_cell_fails() {
    let measured = whole();
    let cells = measured.json["cells"].as_array().unwrap();
    let (rows, columns) = (&measured.json["rows"], &measured.json["columns"]);
    assert_eq!(cells.len(), names(rows).len() * names(columns).len());
    for cell in cells {
        assert_ne!(cell["status"], "failed", "{cell}\n{measured}");
        // What cannot be done is said, and has no figures.
        let unavailable = cell["status"] == "unavailable";
        assert_eq!(cell["reason"].is_string(), unavailable, "{cell}");
        assert_eq!(cell["ops"].is_null(), unavailable, "{cell}");
    }
    // Only these two need huge pages of a file.
    let unavailable: Vec<String> = cells
        .iter()
        .filter(|cell| cell["status"] == "unavailable")
        .map(|cell| format!("{} {}", cell["row"], cell["column"]))
        .collect();
    assert_eq!(
        unavailable,
        ["\"hugetlb\" \"file\"", "\"thp\" \"file\""],
        "{measured}"
    );
}

#[test]
fn every_claim_is_checked_and_holds() {
    let measured = whole();
    let claims = measured.json["claims"].as_array().unwrap();
    assert!(claims.len() > 20, "{measured}");
    for claim in claims {
        assert_eq!(claim["pass"], true, "{claim}\n{measured}");
        assert!(!claim["evidence"].as_str().unwrap().is_empty(), "{claim}");
    }
}

#[test]
fn pinned_memory_keeps_its_frames_and_takes_faults_from_reclaim_only() {
    let measured = whole();
    for row in PINNED {
        for column in names(&measured.json["columns"]) {
            let faults = measured.faults(row, column);
            let steps = measured.cell(row, column)["steps"].as_array().unwrap();
            for step in steps {
                assert_eq!(step["memory"]["moved"], 0, "{row}, {column}\n{measured}");
            }
            match column {
                // Its access flags are cleared, but its pages are there.
                "memcg" => {
                    assert!(faults > 0, "{row}, {column}\n{measured}");
                    let access = measured.number(row, column, "/faults/kinds/access");
                    assert_eq!(access, faults, "{row}, {column}\n{measured}");
                }
                // Unmapped, and found again in the page cache.
                "file" => {
                    let read = "/counters/workingset_refault_file";
                    assert_eq!(measured.number(row, column, read), 0, "{measured}");
                }
                _ => assert_eq!(faults, 0, "{row}, {column}\n{measured}"),
            }
        }
    }
}

#[test]
fn pins_end_with_the_process_that_is_killed() {
    let measured = whole();
    let releases = measured.json["release"].as_array().unwrap();
    assert_eq!(releases.len(), PINNED.len(), "{releases:?}");
    for release in releases {
        // A region of 2 MiB.
        for field in ["pinned", "acquired", "released"] {
            assert_eq!(release[field], 512, "{release}");
        }
    }
}

#[test]
fn what_is_not_there_faults_once_and_what_is_there_does_not() {
    let measured = whole();
    for row in ["none", "mlockall_onfault", "ats_none"] {
        assert_eq!(measured.faults(row, "none"), USED_PAGES, "{measured}");
    }
    for row in PRESENT {
        assert_eq!(measured.faults(row, "none"), 0, "{measured}");
    }
}

#[test]
fn device_smmu_and_kernel_count_the_same_faults() {
    let measured = whole();
    for cell in measured.json["cells"].as_array().unwrap() {
        if cell["status"] != "ok" {
            continue;
        }
        let faults = &cell["faults"];
        assert_eq!(faults["device"], faults["smmu"], "{cell}");
        assert_eq!(faults["device"], faults["guest"], "{cell}");
        // The same once more, by kind, and one by one.
        let kinds = faults["kinds"].as_object().unwrap().values();
        let kinds: u64 = kinds.filter_map(Value::as_u64).sum();
        assert_eq!(faults["device"].as_u64(), Some(kinds), "{cell}");
        let retries = faults["retries"].as_u64().unwrap();
        let begun = cell["timeline"].as_array().unwrap().len() as u64;
        assert_eq!(faults["device"].as_u64(), Some(begun + retries), "{cell}");
    }
}

#[test]
fn a_device_with_ats_asks_for_pages_and_never_stalls() {
    let measured = whole();
    for cell in measured.json["cells"].as_array().unwrap() {
        if cell["status"] != "ok" {
            continue;
        }
        let (faults, ats) = (&cell["faults"], &cell["ats"]);
        if ATS.iter().all(|row| cell["row"] != *row) {
            assert_eq!(faults["page_request_groups"], 0, "{cell}");
            assert!(ats.is_null(), "{cell}");
            continue;
        }
        assert_eq!(faults["page_request_groups"], faults["device"], "{cell}");
        let kinds: Vec<&String> = faults["kinds"].as_object().unwrap().keys().collect();
        assert!(kinds.iter().all(|kind| *kind == "page_request"), "{cell}");
        // Each access that faults has asked at least twice: before the page request and after it.
        let requests = ats["translation_requests"].as_u64().unwrap();
        assert!(requests >= 2 * faults["device"].as_u64().unwrap(), "{cell}");
    }
}

#[test]
fn warm_translations_last_until_the_kernel_invalidates_them() {
    let measured = whole();
    let ats = |column, field| measured.number("ats_prefill", column, &format!("/ats/{field}"));
    // Each page once, and those of the two rings.
    assert_eq!(ats("none", "translation_requests"), USED_PAGES + 2);
    for column in ["migrate", "swap", "memcg"] {
        assert!(ats(column, "invalidations") > USED_PAGES, "{measured}");
        assert!(ats(column, "translation_requests") > USED_PAGES + 2);
        assert!(measured.faults("ats_prefill", column) > 0, "{measured}");
    }
}

#[test]
fn rows_with_ats_say_what_a_kernel_without_page_requests_lacks() {
    let options = ["--quick", "--rows", "ats_touched,ats_prefill", "--columns"];
    let measured = measure(&[&options[..], &["none,migrate"]].concat()).status(0);
    for row in ["ats_touched", "ats_prefill"] {
        for column in ["none", "migrate"] {
            let cell = measured.cell(row, column);
            assert_eq!(cell["status"], "unavailable", "{measured}");
            let reason = cell["reason"].as_str().unwrap();
            assert!(reason.contains("denies page requests"), "{measured}");
            assert!(reason.contains("images pri"), "{measured}");
        }
    }
    // One line for all of it, and no guest that could only say so again.
    let table = measured.table();
    let notes: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("n/a: "))
        .collect();
    assert_eq!(notes.len(), 1, "{table}");
    assert!(notes[0].starts_with("n/a: rows ats_touched, ats_prefill: "));
    assert!(measured.json["trace_hashes"]["migrate/ats"].is_null());
}

#[test]
fn each_activity_leaves_its_traces() {
    let measured = whole();
    for (column, counter) in [
        ("swap", "pswpout"),
        ("migrate", "pgmigrate_success"),
        ("compaction", "pgmigrate_success"),
        ("collapse", "thp_collapse_alloc"),
        ("khugepaged", "thp_collapse_alloc"),
        ("memcg", "pgsteal_anon"),
        ("cma", "cma_alloc_success"),
        ("numa_balancing", "numa_hint_faults"),
    ] {
        for row in ROWS {
            let pointer = format!("/counters/{counter}");
            assert!(
                measured.number(row, column, &pointer) > 0,
                "{row}, {column}\n{measured}"
            );
        }
    }
}

#[test]
fn locked_memory_is_not_swapped_and_yet_moved() {
    let measured = whole();
    assert!(measured.faults("touched", "swap") > 0, "{measured}");
    assert_eq!(measured.faults("mlock", "swap"), 0, "{measured}");
    assert_eq!(measured.number("mlock", "swap", "/steps/0/memory/gone"), 0);
    assert_eq!(
        measured.cell("mlock", "swap")["steps"][0]["refused"],
        "EINVAL"
    );
    // All of a region's used pages, and the device met some on their way.
    assert_eq!(
        measured.number("mlock", "migrate", "/steps/0/memory/moved"),
        USED_PAGES / 2,
        "{measured}"
    );
    assert!(measured.faults("mlock", "migrate") > 0, "{measured}");
}

#[test]
fn preparing_has_its_price() {
    let measured = whole();
    let cost = |row, field| measured.number(row, "none", &format!("/prepare/{field}"));
    // Two regions of 512 pages.
    for row in PRESENT {
        assert_eq!(cost(row, "present_pages"), 1024, "{row}");
        assert!(cost(row, "ns") > 10 * cost("none", "ns"), "{row}");
    }
    assert_eq!(cost("none", "present_pages"), 0);
    assert_eq!(cost("mlock", "locked_pages"), 1024);
    assert_eq!(cost("touched", "locked_pages"), 0);
    for row in ROWS {
        let pinned = if PINNED.contains(&row) { 1024 } else { 0 };
        assert_eq!(cost(row, "pinned_pages"), pinned, "{row}");
    }
}

#[test]
fn a_child_is_refused_its_parents_queue() {
    let measured = whole();
    let child = &measured.json["rules"]["child"];
    // drivers/misc/uacce/uacce.c: uacce_fops_mmap, uacce_start_queue.
    for (attempt, errno) in [
        ("access_to_mapping", "EFAULT"),
        ("mmap_mmio", "EEXIST"),
        ("mmap_dus", "EEXIST"),
        ("start_queue", "EINVAL"),
    ] {
        assert_eq!(child[attempt], errno, "{attempt}");
    }
    assert_eq!(measured.json["rules"]["parent_goes_on"], true);
}

#[test]
fn an_io_page_fault_costs_a_multiple_of_a_cpu_page_fault() {
    let fault = &whole().json["page_fault"];
    let ratio = fault["io_fault_ns"].as_f64().unwrap() / fault["cpu_fault_ns"].as_f64().unwrap();
    assert!((3.0..80.0).contains(&ratio), "{fault}");
    assert!((ratio - fault["ratio"].as_f64().unwrap()).abs() < 0.1);
}

#[test]
fn two_measurements_differ_in_host_times_only() {
    let run = |jobs| {
        measure(&[
            "--quick",
            "--rows",
            "none,mlock,thp",
            "--columns",
            "migrate,collapse,memcg",
            "--jobs",
            jobs,
        ])
        .status(0)
        .essence()
    };
    assert_eq!(run("1"), run("2"));
}

#[test]
fn the_csv_has_a_line_for_each_cell() {
    let measured = whole();
    let lines: Vec<&str> = measured.csv.split_terminator("\r\n").collect();
    let cells = measured.json["cells"].as_array().unwrap();
    assert_eq!(lines.len(), 1 + cells.len());
    assert!(lines[0].starts_with("row,column,status,reason,ops,"));
    for (line, cell) in lines[1..].iter().zip(cells) {
        let begin = format!(
            "{},{},{},",
            cell["row"].as_str().unwrap(),
            cell["column"].as_str().unwrap(),
            cell["status"].as_str().unwrap()
        );
        assert!(line.starts_with(&begin), "{line}");
    }
}

#[test]
fn the_page_reads_on_a_desk_and_on_a_phone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let measured = whole();
    let page = &measured.html;
    for width in [1280, 390] {
        let found = browser.evaluate(
            page,
            width,
            "({width: innerWidth,
               content: document.documentElement.scrollWidth,
               fetched: performance.getEntriesByType('resource').length,
               rows: document.querySelectorAll('table')[0].tBodies[0].rows.length,
               claims: document.querySelectorAll('.claims li').length,
               small: [...document.querySelectorAll('figure svg')]
                   .filter(svg => svg.getBoundingClientRect().width < 300).length,
               plots: document.querySelectorAll('figure svg').length,
               unnamed: document.querySelectorAll('svg:not([aria-label]):not([aria-hidden])').length,
               tiny: [...document.querySelectorAll('p, td, th, li')]
                   .filter(it => parseFloat(getComputedStyle(it).fontSize) < 14).length})",
        );
        assert_eq!(found["width"], width, "{found}");
        // Nothing makes the whole page scroll sideways, and nothing is too small to read.
        assert_eq!(found["content"], width, "{found}");
        assert_eq!(found["small"], 0, "{found}");
        assert_eq!(found["tiny"], 0, "{found}");
        assert_eq!(found["fetched"], 0, "{found}");
        assert_eq!(found["unnamed"], 0, "{found}");
        let rows = names(&measured.json["rows"]).len();
        assert_eq!(found["rows"], rows, "{found}");
        let claims = measured.json["claims"].as_array().unwrap().len();
        assert_eq!(found["claims"], claims, "{found}");
        assert!(found["plots"].as_u64().unwrap() >= 18, "{found}");
        // The page as it is, with its policy, can be drawn.
        let picture = browser.picture(page, width);
        assert!(picture.starts_with(b"\x89PNG"));
        // More than one colour takes.
        assert!(picture.len() > 20_000, "{} bytes", picture.len());
    }
}

#[test]
fn names_that_do_not_exist_are_refused() {
    for (option, name) in [("--rows", "nonsense"), ("--columns", "nonsense")] {
        let measured = measure(&[option, name]).status(125);
        let errors = measured.errors();
        assert!(
            errors.contains(option) && errors.contains("\"nonsense\""),
            "{errors}"
        );
    }
}

/// Two rows in all columns, one guest after the other: long enough to be interrupted.
const LONG: [&str; 5] = ["--quick", "--rows", "none,touched", "--jobs", "1"];

/// What it has is written: the table, JSON, CSV and the page say the same, and that it is not all.
#[track_caller]
fn says_what_is_missing(measured: &Measured, reason: &str) {
    let incomplete = &measured.json["incomplete"];
    let cells = measured.json["cells"].as_array().unwrap();
    let missing = |cell: &&Value| cell["status"] == "missing";
    let missing = cells.iter().filter(missing).count();
    assert_ne!(missing, 0, "{measured}");
    assert_eq!(incomplete["of_cells"], cells.len(), "{measured}");
    assert_eq!(incomplete["cells"], cells.len() - missing, "{measured}");
    let said = format!(
        "incomplete, {} of {} cells: {reason}",
        incomplete["cells"], incomplete["of_cells"]
    );
    assert!(measured.table().contains(&said), "{measured}");
    assert!(measured.errors().contains(&said), "{measured}");
    assert!(measured.html.contains(&said), "{measured}");
    assert_eq!(measured.csv.matches(",missing,").count(), missing);
    for cell in cells.iter().filter(|cell| cell["status"] == "missing") {
        assert!(cell["reason"].as_str().unwrap().contains(reason), "{cell}");
    }
    // What is not known is not claimed.
    let claim = measured.claim("device, SMMU and kernel count");
    assert_eq!(claim["pass"], Value::Null, "{claim}");
}

#[test]
fn an_interrupted_measurement_writes_what_it_has() {
    for (signal, seconds) in [
        (Signal::INT, 4),
        (Signal::TERM, 10),
        (Signal::INT, 25),
        (Signal::TERM, 60),
    ] {
        let measured = measure_while(&LONG, |pid| {
            sleep(Duration::from_secs(seconds));
            let pid = Pid::from_raw(pid as i32).expect("a PID");
            kill_process(pid, signal).expect("it ended by itself");
        })
        .status(122);
        says_what_is_missing(&measured, "the measurement was ended by a signal");
        if measured.json["incomplete"]["cells"] != 0 {
            // A cell is what it is without interruption.
            assert!(measured.faults("none", "none") >= USED_PAGES, "{measured}");
            assert!(!measured.json["trace_hashes"]["none"].is_null());
            return;
        }
        // This machine is slow: later, then.
    }
    panic!("no cell was measured in a minute");
}

#[test]
fn a_guest_that_takes_too_long_is_given_up_and_what_is_there_is_written() {
    let options = ["--quick", "--rows", "none", "--columns", "none"];
    let measured = measure(&[&options[..], &["--timeout", "0.1"]].concat()).status(124);
    says_what_is_missing(&measured, "a guest was given up after 0.1 s (--timeout)");
    assert!(measured.json["page_fault"].is_null(), "{measured}");
    assert!(measured.json["rules"].is_null(), "{measured}");
}

/// A guest that cannot report costs its own cells only.
#[test]
fn a_guest_that_dies_fails_its_cells_and_no_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kernel = stallbox_tests::image().kernel.clone();
    // Without an initramfs the kernel panics.
    let initrd = folder.path().join("empty.cpio");
    fs::write(
        &initrd,
        stallbox_guest_images::cpio::Archive::new().finish(),
    )
    .unwrap();
    let measured = measure(&[
        "--quick",
        "--rows",
        "none",
        "--columns",
        "none",
        "--kernel",
        kernel.to_str().unwrap(),
        "--initrd",
        initrd.to_str().unwrap(),
    ])
    .status(1);
    let cell = measured.cell("none", "none");
    assert_eq!(cell["status"], "failed");
    let reason = cell["reason"].as_str().unwrap();
    assert!(reason.contains("the guest's kernel panicked"), "{reason}");
    assert!(reason.contains("VFS: Unable to mount root"), "{reason}");
    assert!(measured.json["incomplete"].is_null(), "{measured}");
    assert!(measured.errors().contains("the guest beside the matrix"));
}

/// `VmHWM` of proc_pid_status(5) in KiB, as last seen.
fn peak_kib(columns: &str) -> u64 {
    let mut peak = 0;
    let options = ["--quick", "--rows", "none", "--jobs", "1", "--columns"];
    measure_while(&[&options[..], &[columns]].concat(), |pid| {
        let status = format!("/proc/{pid}/status");
        let read = || {
            let text = fs::read_to_string(&status).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse().ok()
        };
        while let Some(kib) = read() {
            peak = kib;
            sleep(Duration::from_millis(20));
        }
    })
    .status(0);
    peak
}

/// Guests that have ended take no memory: six one after the other no more than two, or little.
#[test]
fn a_guest_that_has_ended_gives_its_memory_back() {
    let (two, six) = (peak_kib("none"), peak_kib("none,swap,fork,ksm,file"));
    assert!(two > 20_000, "{two} KiB");
    assert!(six < two + two / 3, "{two} KiB of two guests, {six} of six");
}

/// A line of proc_pid_status(5) of every thread.
fn of_threads(pid: u32, name: &str) -> Vec<String> {
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).ok();
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(status)
        .filter_map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        })
        .collect()
}

#[test]
fn a_measurement_is_confined_like_a_run_in_all_its_threads() {
    for (unconfined, mode) in [(false, "2"), (true, "0")] {
        let mut options = LONG.to_vec();
        options[4] = "2";
        if unconfined {
            options.push("--unconfined");
        }
        measure_while(&options, |pid| {
            // One that leads, two with guests, and the one that keeps the host's time.
            let end = Instant::now() + Duration::from_secs(60);
            let all = |values: &[String]| values.len() == 4 && values.iter().all(|it| it == mode);
            let mut found = of_threads(pid, "Seccomp:");
            while !all(&found) {
                assert!(Instant::now() < end, "{found:?}");
                sleep(Duration::from_millis(20));
                found = of_threads(pid, "Seccomp:");
            }
            let privileges = of_threads(pid, "NoNewPrivs:");
            let expected = if unconfined { "0" } else { "1" };
            assert!(privileges.iter().all(|it| it == expected), "{privileges:?}");
            let pid = Pid::from_raw(pid as i32).expect("a PID");
            kill_process(pid, Signal::INT).expect("it ended by itself");
        })
        .status(122);
    }
}

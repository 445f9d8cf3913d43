//! Page requests (PRI) between the test engine, the SMMU and a kernel that serves them: groups of
//! several pages, indices that come round, overflow of the queue, and each answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use stallbox_tests::{Guest, Record, Run, repository};
use tempfile::TempDir;

/// PRIQ_0_PRG_LAST, PRIQ_0_PERM_WRITE and PRIQ_0_PERM_READ of Linux's arm-smmu-v3.h.
const LAST: u64 = 1 << 62;
const WRITE: u64 = 1 << 61;
const READ: u64 = 1 << 60;

fn guest() -> Guest {
    Guest::new()
        .option("--accel", "test-engine,fault=pri")
        .option("--image", "pri")
        .traced()
}

/// A script, and then nothing in the kernel's log that should not be there.
pub(crate) fn clean(script: &str) -> String {
    format!(
        "{script} || exit 1
        dmesg | grep -iE 'warning:|oops|bug:|unexpected|time-?out|does not drain' && exit 1
        exit 0"
    )
}

/// A plan of its own in a file; the folder is the file's life.
fn plan(text: &str) -> (TempDir, Guest) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    fs::write(&path, text).unwrap();
    let guest = guest().option("--plan", &path);
    (folder, guest)
}

/// An entry of the PRI queue.
struct Entry {
    index: u64,
    page: u64,
    last: bool,
}

/// The entries of a trace, without stop markers.
fn entries(trace: &[Record]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for record in trace.iter().filter(|record| record.event == "page_request") {
        let words = record.words();
        if words[0] & (READ | WRITE) != 0 {
            entries.push(Entry {
                index: words[1] & 0x1ff,
                page: words[1] & !0xfff,
                last: words[0] & LAST != 0,
            });
        }
    }
    entries
}

/// How often each answer was given by software and, with `automatic`, by the SMMU.
fn answers(trace: &[Record], automatic: bool) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for record in trace.iter().filter(|it| it.event == "page_response") {
        if record.is("automatic") == automatic {
            let code = record.text("code").expect("an answer has a code");
            *answers.entry(code.to_owned()).or_default() += 1;
        }
    }
    answers
}

fn count(trace: &[Record], event: &str) -> usize {
    trace.iter().filter(|record| record.event == event).count()
}

#[track_caller]
fn only(run: &Run, answers: &BTreeMap<String, usize>, code: &str, times: usize) {
    assert_eq!(answers.get(code), Some(&times), "{answers:?}\n{run}");
    assert_eq!(answers.len(), 1, "{answers:?}\n{run}");
}

#[test]
fn the_pages_of_a_large_access_are_asked_for_and_answered_once() {
    let script = clean("svatest copy --bytes 1M --memory untouched --access 16K > /dev/null");
    let run = guest().run(&script).success();
    let trace = run.trace();
    let mut groups: Vec<Vec<u64>> = vec![Vec::new()];
    for entry in entries(&trace) {
        let group = groups.last_mut().expect("there is always one");
        group.push(entry.page);
        if entry.last {
            groups.push(Vec::new());
        }
    }
    assert_eq!(groups.pop(), Some(Vec::new()), "a group has no end\n{run}");
    // 64 accesses to a destination of 256 pages, of which none is there.
    let whole = groups.iter().filter(|group| group.len() == 4).count();
    assert!(whole >= 64, "{whole} of {} groups\n{run}", groups.len());
    for group in &groups {
        // Neighbours, within an access.
        assert!(group.windows(2).all(|pair| pair[1] == pair[0] + 0x1000));
        assert_eq!(group[0] >> 14, group[group.len() - 1] >> 14, "{run}");
    }
    only(&run, &answers(&trace, false), "success", groups.len());
    assert!(answers(&trace, true).is_empty(), "{run}");
}

#[test]
fn more_groups_than_indices_are_told_apart() {
    let script = clean("svatest copy --bytes 4M --ops 4 --memory untouched > /dev/null");
    let run = guest().run(&script).success();
    let trace = run.trace();
    let entries = entries(&trace);
    // 4096 pages of destinations, and 512 indices.
    assert!(entries.len() > 4096, "{} requests\n{run}", entries.len());
    let indices: BTreeSet<u64> = entries.iter().map(|entry| entry.index).collect();
    assert_eq!(indices.len(), 512, "{run}");
    only(&run, &answers(&trace, false), "success", entries.len());
}

#[test]
fn an_overflow_of_the_queue_is_acknowledged_and_costs_time_only() {
    let plan = repository("docs/fault-plans/page-requests.toml");
    // The second process asks by every index, that of the requests which filled the queue among them:
    // what was left of its group is gone.
    let script = "svatest copy --bytes 256K --memory untouched > /dev/null || exit 1
        dmesg | grep PRIQ
        svatest copy --bytes 2M --memory untouched > /dev/null";
    let run = guest().option("--plan", plan).run(&clean(script)).success();
    let said = "PRIQ overflow detected -- requests lost";
    assert!(run.output().contains(said), "no \"{said}\"\n{run}");
    let trace = run.trace();
    // The device asks again until the kernel has emptied the queue and acknowledged its overflow.
    let lost = count(&trace, "page_request_lost");
    assert!(
        lost > 0 && (lost < 100 || cfg!(feature = "kvm")),
        "{lost} requests lost\n{run}"
    );
    only(&run, &answers(&trace, true), "success", lost);
    assert_eq!(run.summary().smmu_stall_records, 0, "{run}");
}

#[test]
fn an_overflow_in_the_middle_of_groups_loses_no_page() {
    // The second request of a group of four, again and again: what the kernel has of these groups
    // never ends, and their last request is lost.
    let (_folder, guest) =
        plan("[[rule]]\nname='overflow'\nat='page_request'\nmatch={every=22}\ndo.overflow=true\n");
    let script = clean("svatest copy --bytes 512K --memory untouched --access 16K > /dev/null");
    let run = guest.run(&script).success();
    let trace = run.trace();
    let automatic = answers(&trace, true);
    assert!(automatic.get("success") >= Some(&4), "{automatic:?}\n{run}");
    assert_eq!(automatic.len(), 1, "{automatic:?}\n{run}");
    // Of a group whose last request is lost, others are too.
    let lost = count(&trace, "page_request_lost");
    assert!(lost > automatic["success"], "{lost}, {automatic:?}\n{run}");
    let answered = answers(&trace, false);
    assert_eq!(answered.len(), 1, "{answered:?}\n{run}");
}

#[test]
fn a_page_that_does_not_exist_is_an_invalid_request() {
    let script = clean("svatest copy --memory unmapped > /dev/null && svatest copy > /dev/null");
    let run = guest().run(&script).success();
    let trace = run.trace();
    assert_eq!(
        answers(&trace, false).get("invalid_request"),
        Some(&1),
        "{run}"
    );
    // The access ends, and the interface goes on.
    assert_eq!(run.summary().job_errors, 1, "{run}");
}

#[test]
fn a_response_failure_stops_page_requests_until_the_driver_enables_them_again() {
    // Linux gives no such answer to the requests of a process: the first one's CMD_PRI_RESP
    // becomes one (CMDQ_PRI_0_SSID, CMDQ_0_SSV, CMDQ_PRI_0_SID of 00:02.0; PRI_RESP_DENY is 0).
    let (_folder, guest) = plan(
        "[[rule]]\nname='deny'\nat='command'\nmatch={command='CMD_PRI_RESP', nth=1}\n\
         do.replace=[0x10_0000_1841, 0x0]\n",
    );
    let script = "svatest copy --memory untouched 2>&1 && exit 1
        svatest copy --memory untouched 2>&1 && exit 1
        cd /sys/bus/pci/drivers/svatest
        echo 0000:00:02.0 > unbind || exit 1
        echo 0000:00:02.0 > bind || exit 1
        svatest copy --memory untouched";
    let run = guest.run(&clean(script)).success();
    let last = run.output().lines().last().unwrap_or_default();
    assert!(last.contains("\"ok\":true"), "{run}");
    let trace = run.trace();
    let answered = answers(&trace, false);
    assert_eq!(answered.get("failure"), Some(&1), "{answered:?}\n{run}");
    assert!(answered.get("success") > Some(&8), "{answered:?}\n{run}");
}

/// What the checkers said, as the trace has it.
fn reports(trace: &[Record]) -> Vec<&str> {
    let reports = trace.iter().filter(|record| record.event == "report");
    reports.filter_map(|it| it.text("finding")).collect()
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "limits are times of the host")]
fn a_kernel_that_answers_gives_the_checkers_no_cause() {
    let script = clean(
        "svatest copy --bytes 1M --memory untouched --access 16K > /dev/null &&
        svatest copy --bytes 4M --ops 4 --memory untouched > /dev/null &&
        svatest copy --memory unmapped > /dev/null",
    );
    let run = guest().option("--check", "stall,pasid,config").run(&script);
    let run = run.success();
    assert!(reports(&run.trace()).is_empty(), "{run}");
    assert!(!run.errors().contains("check"), "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_page_response_that_is_lost_is_reported_with_its_rule() {
    let (_folder, guest) = plan(
        "[[rule]]\nname='lost'\nat='command'\nmatch={command='CMD_PRI_RESP', nth=1}\ndo.drop=true\n",
    );
    let script =
        "svatest copy --memory untouched > /dev/null & sleep 0.3; kill -9 $!; wait $!; true";
    let guest = guest.option("--check", "stall=100000");
    let run = guest.run(script).status(123);
    let overdue = "a page request group has had no answer for 100 ms";
    assert_eq!(reports(&run.trace()), ["unanswered_page_request"], "{run}");
    assert!(run.errors().contains(overdue), "{run}");
    assert!(run.errors().contains("CMD_PRI_RESP at "), "{run}");
    assert!(run.errors().contains("sent, dropped by rule lost"), "{run}");
}

#[test]
#[cfg_attr(feature = "kvm", ignore = "stores of a host's vCPUs cannot be watched")]
fn a_page_response_for_which_nobody_waits_is_reported_with_who_sent_it() {
    // The SMMU executes one like it before the kernel's (CMDQ_PRI_0_SSID, CMDQ_0_SSV, CMDQ_PRI_0_SID of
    // 00:02.0; CMDQ_PRI_1_RESP is PRI_RESP_SUCC, and the first group has index 0).
    let (_folder, guest) = plan(
        "[[rule]]\nname='twice'\nat='command'\nmatch={command='CMD_PRI_RESP', nth=1}\n\
         do.run_commands=[[0x10_0000_1841, 0x2000]]\n",
    );
    let script = "svatest copy --memory untouched > /dev/null";
    let run = guest.option("--check", "stall").run(script).status(123);
    let unasked = "a CMD_PRI_RESP for which no page request group waits";
    assert_eq!(reports(&run.trace()), ["unexpected_page_response"], "{run}");
    assert!(run.errors().contains(unasked), "{run}");
    assert!(
        run.errors().contains("group 0 was answered before, at "),
        "{run}"
    );
    for function in ["arm_smmu_page_response", "iopf_group_response"] {
        assert!(run.errors().contains(function), "no {function}\n{run}");
    }
}

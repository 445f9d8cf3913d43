//! What a run's end means for a sweep.

use stallbox_machine::outcome::Outcome;
use stallbox_smmu::spec::command::NAMES as COMMANDS;
use stallbox_sweep::{CheckReport, Death, Evidence, KernelReport, PlaceInfo, Run};

use crate::fork_server::{Died, Done, Report};

/// What is said before a process ends that gets no more memory: by Rust's `alloc::handle_alloc_error`, and by
/// the C library (strerror(3)).
const NO_MEMORY: &[&str] = &["memory allocation of ", "Cannot allocate memory"];
const SIGABRT: i32 = 6;

/// The run's line in the results.
pub(crate) fn judge(number: u64, done: &Done) -> Run {
    let evidence = evidence(done);
    let mut run = Run::new(number, &evidence);
    if let Some(report) = &done.report {
        run.time_ns = report.time_ns;
        run.events = report.events;
        run.trace_hash = Some(report.trace_hash.clone());
        run.place = report.injection.as_deref().and_then(place);
    }
    run
}

fn evidence(done: &Done) -> Evidence {
    let Some(report) = &done.report else {
        return died(done);
    };
    let Report {
        outcome,
        status,
        command,
        kernel_reports,
        check_reports,
        under_way,
        console,
        ..
    } = &**report;
    Evidence {
        outcome: outcome.clone(),
        status: Some(*status),
        command: *command,
        kernel_reports: kernel_reports
            .iter()
            .map(|found| KernelReport {
                kind: found.kind.clone(),
                time_ns: found.time_ns,
                lines: found.lines.clone(),
            })
            .collect(),
        check_reports: check_reports
            .iter()
            .map(|found| CheckReport {
                checker: found.kind.clone(),
                time_ns: found.time_ns,
                title: found.title.clone(),
                lines: found.lines.clone(),
            })
            .collect(),
        under_way: under_way.clone(),
        console: console.clone(),
        death: None,
    }
}

/// Of a run that left no report.
fn died(done: &Done) -> Evidence {
    let remarks = done.remarks.lines().map(str::to_owned).collect();
    let (outcome, death) = match done.died {
        Some(Died::Late) => (Outcome::Timeout.name(), None),
        Some(Died::Signal(SIGABRT)) if NO_MEMORY.iter().any(|it| done.remarks.contains(it)) => {
            ("lost", Some(Death::MemoryLimit))
        }
        Some(Died::Signal(signal)) => ("lost", Some(Death::Signal(signal))),
        Some(Died::Status(status)) => ("lost", Some(Death::Exit(status))),
        None => (Outcome::Quit.name(), None),
    };
    Evidence {
        outcome: outcome.to_owned(),
        command: true,
        console: remarks,
        death,
        ..Evidence::default()
    }
}

/// When, and at what, from the trace's line of an injection.
fn place(line: &str) -> Option<PlaceInfo> {
    let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let time_ns = event.get("time_ns")?.as_u64()?;
    let told = |name: &str| {
        let value = event.get(name).filter(|value| !value.is_null())?;
        let code = value.as_u64().filter(|_| name == "code");
        let named = code.and_then(|code| COMMANDS.iter().find(|it| u64::from(it.1) == code));
        if let Some((command, _)) = named {
            return Some((String::new(), (*command).to_owned()));
        }
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Some((format!("{} ", name.replace('_', " ")), text))
    };
    let at = told("at").map_or_else(String::new, |(_, at)| at);
    let more = ["address", "code", "pasid", "queue", "stream"];
    let more = more.iter().filter_map(|name| told(name));
    let more = more.map(|(name, value)| format!(", {name}{value}"));
    Some(PlaceInfo {
        time_ns,
        what: format!("{at}{}", more.collect::<String>()),
    })
}

#[cfg(test)]
mod tests {
    use stallbox_sweep::Verdict;

    use super::*;

    #[test]
    fn a_process_that_died_is_a_run_that_is_lost() {
        let done = |died, remarks: &str| Done {
            died: Some(died),
            remarks: remarks.to_owned(),
            ..Done::default()
        };
        for (done, verdict, message) in [
            (done(Died::Signal(9), ""), Verdict::Lost, "SIGKILL"),
            (
                done(Died::Signal(6), "memory allocation of 4096 bytes failed\n"),
                Verdict::Lost,
                "memory limit",
            ),
            (
                done(Died::Status(125), "stallbox: why"),
                Verdict::Lost,
                "125",
            ),
            (done(Died::Late, ""), Verdict::Hung, "time limit"),
        ] {
            let run = judge(7, &done);
            assert_eq!(run.verdict, verdict, "{run:?}");
            let told = format!("{:?} {:?}", run.message, run.signature);
            assert!(told.contains(message), "{told}");
        }
    }

    #[test]
    fn a_place_is_told_by_what_the_trace_has_of_it() {
        let line = r#"{"time_ns":44100000,"event":"injection","rule":"r","at":"translation","act":"abort",
                       "delay_ns":0,"stream":8,"pasid":1,"address":"0x1000","command":null}"#;
        let place = place(line).unwrap();
        assert_eq!(place.time_ns, 44_100_000);
        assert_eq!(place.what, "translation, address 0x1000, pasid 1, stream 8");
        let line =
            r#"{"time_ns":1,"event":"injection","rule":"r","at":"command","code":68,"stream":8}"#;
        assert_eq!(
            super::place(line).unwrap().what,
            "command, CMD_RESUME, stream 8"
        );
    }
}

//! What a run leaves: its files, and what the user is told at its end.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use stallbox_output::{OutputError, stdout_error, tell};
use stallbox_trace::{Summary, TraceError};

use crate::cli::RunArgs;
use crate::engine::{Engine, Vcpus};
use crate::kernel_reports::{KernelReport, KernelReports};
use crate::machine::World;
use crate::outcome::Outcome;
use crate::output::{OutputFile, Start};

/// What `--summary` writes.
#[derive(Serialize)]
struct Report {
    /// What ran the guest.
    engine: &'static str,
    /// Whether the same command gives the same trace, and so the same hash, again.
    repeatable: bool,
    #[serde(flatten)]
    trace: Summary,
    /// The machine's time at the end of the run: virtual, or the host's with the kvm engine.
    virtual_ns: u64,
    /// The devices' time at which init was ready.
    boot_ns: Option<u64>,
    /// Instructions retired by all vCPUs, where the engine counts them.
    instructions: Option<u64>,
    /// What the guest's kernel reported of its own faults.
    kernel_reports: Kernel,
    /// Reports of checkers.
    #[serde(skip_serializing_if = "is_zero")]
    check_reports: u32,
    /// The guest command's exit status, if it ended.
    guest_status: Option<u8>,
    /// Host time, for comparison; not part of what a run repeats.
    host_ms: u64,
}

/// What the kernel reported.
#[derive(Serialize)]
struct Kernel {
    /// How many, by kind.
    counts: BTreeMap<&'static str, u64>,
    /// The first of them.
    shown: Vec<KernelReport>,
}

impl Kernel {
    fn of(reports: &KernelReports) -> Kernel {
        let counts = reports.counts();
        Kernel {
            counts: counts.map(|(kind, count)| (kind.name(), count)).collect(),
            shown: reports.kept().to_vec(),
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The files that the user asked for.
pub struct Outputs {
    /// Where the tracer writes.
    pub trace: Option<Box<dyn Write>>,
    trace_start: Option<Start>,
    summary: Option<OutputFile>,
    results: Option<OutputFile>,
}

impl Outputs {
    /// Opens all of them: once the process is confined, it opens no file any more.
    pub fn open(args: &RunArgs) -> Result<Outputs> {
        let trace = open(args.trace.as_deref(), "--trace")?.map(OutputFile::split);
        let (trace, trace_start) = trace.unzip();
        Ok(Outputs {
            trace: trace.map(|file| Box::new(file) as Box<dyn Write>),
            trace_start,
            summary: open(args.summary.as_deref(), "--summary")?,
            results: open(args.results.as_deref(), "--results")?,
        })
    }

    /// The guest is about to start.
    pub fn begin(&mut self) -> Result<(), OutputError> {
        if let Some(trace) = &mut self.trace_start {
            trace.begin()?;
        }
        let mut files = self.summary.iter_mut().chain(&mut self.results);
        files.try_for_each(OutputFile::begin)
    }

    /// Fills all of them. The first that cannot be written is told.
    pub fn finish(
        self,
        engine: &dyn Engine,
        world: &World,
        vcpus: &dyn Vcpus,
        took: Duration,
    ) -> Result<(), OutputError> {
        let report = Report {
            engine: engine.name(),
            repeatable: engine.is_repeatable(),
            trace: world.tracer.summary(),
            virtual_ns: world.now().as_ns(),
            boot_ns: world.control.ready_ns(),
            instructions: vcpus.retired(),
            kernel_reports: Kernel::of(&world.console.reports()),
            check_reports: world.checkers.reports(),
            guest_status: world.control.exit(),
            host_ms: took.as_millis() as u64,
        };
        let console = world.console.finish().map_err(stdout_error);
        let trace = world.tracer.finish().map_err(|TraceError(error)| {
            let start = self.trace_start.as_ref();
            match start {
                Some(start) => start.error(error),
                None => OutputError::new("the trace", error),
            }
        });
        let summary = self.summary.map_or(Ok(()), |file| {
            file.write(|out| {
                serde_json::to_writer_pretty(&mut *out, &report)?;
                out.write_all(b"\n")
            })
        });
        let results = self.results.map_or(Ok(()), |file| {
            let results = world.control.results();
            file.write(|out| results.iter().try_for_each(|line| writeln!(out, "{line}")))
        });
        console.and(trace).and(summary).and(results)
    }
}

fn open(path: Option<&Path>, option: &str) -> Result<Option<OutputFile>> {
    path.map(|path| OutputFile::open(path, option)).transpose()
}

/// Says on standard error what did not go as asked; `command` tells whether one was asked for, and
/// `shown` whether the user has seen the console.
pub fn tell(outcome: &Outcome, command: bool, shown: bool, world: &World, vcpus: &dyn Vcpus) {
    let reports = world.checkers.reports();
    if reports > 0 {
        let unshown = match world.checkers.unshown() {
            0 => String::new(),
            unshown => format!(", {unshown} of them not shown"),
        };
        tell!("stallbox: checkers reported {reports}{unshown}");
    }
    let Some(complaint) = outcome.complaint(command) else {
        return;
    };
    tell!("stallbox: {complaint}");
    if matches!(outcome, Outcome::Timeout | Outcome::Asleep) {
        for position in vcpus.positions() {
            tell!("  {position}");
        }
    }
    if !shown || *outcome == Outcome::Panic {
        tell!("stallbox: the console's last lines:");
        for line in world.console.last_lines() {
            tell!("  {line}");
        }
    }
}

/// Reports of the kernel that are named at the end; the console has shown all of them.
const NAMED_MAX: usize = 8;

/// Says on standard error what the kernel reported, and whether the run `failed` of it.
pub fn tell_kernel_reports(reports: &KernelReports, failed: bool) {
    if reports.total() == 0 {
        return;
    }
    let counts = if failed {
        ""
    } else {
        "; --fail-on leaves them out"
    };
    eprintln!("stallbox: the guest's kernel reported {reports}{counts}:");
    for report in reports.kept().iter().take(NAMED_MAX) {
        let first = report.lines.first().map_or("", String::as_str);
        eprintln!("  {} at {} ns: {first}", report.kind.name(), report.time_ns);
    }
    let named = NAMED_MAX.min(reports.kept().len()) as u64;
    if reports.total() > named {
        eprintln!("  and {} more", reports.total() - named);
    }
}

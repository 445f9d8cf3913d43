//! What a run leaves: its files, and what the user is told at its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use stallbox_bundle::Bundle;
use stallbox_machine::World;
use stallbox_machine::kernel_reports::{KernelReport, KernelReports};
use stallbox_machine::outcome::Outcome;
use stallbox_machine::outstanding::Outstanding;
use stallbox_output::{Outlet, OutputError, stdout_error, tell};
use stallbox_trace::Summary;

use super::inputs::Inputs;
use crate::cli::{MachineArgs, RunArgs};
use crate::engine::{Engine, Vcpus};
use crate::output::OutputFile;

/// What `--summary` writes.
#[derive(Serialize)]
struct Report<'a> {
    /// How it ended: `command`, `power-off`, `reset`, `panic`, `asleep`, `timeout` or `quit`.
    outcome: &'static str,
    /// Stallbox's exit status.
    status: u8,
    /// The run as a test case.
    case: Case,
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
    /// Preemptions made by the schedule since its draws began, where the engine has one.
    preemptions: Option<u64>,
    /// What the guest's kernel reported of its own faults.
    kernel_reports: Kernel,
    /// Reports of checkers.
    #[serde(skip_serializing_if = "is_zero")]
    check_reports: u32,
    /// The guest command's exit status, if it ended.
    guest_status: Option<u8>,
    /// Host time, for comparison; not part of what a run repeats.
    host_ms: u64,
    /// The longest host time for which time limit, signals, keys and socket were not looked at.
    longest_gap_us: u64,
    /// What decided the run.
    inputs: Option<Inputs>,
    /// What was under way, if the guest did not come to an end of its own.
    outstanding: Option<&'a Outstanding>,
}

/// How a run ended.
pub(crate) struct Ended {
    /// How; none if the engine failed.
    pub outcome: Option<Outcome>,
    /// Whether a command was asked for.
    pub command: bool,
    /// It failed of what the kernel reported.
    pub kernel_failed: bool,
    /// Stallbox's exit status.
    pub status: u8,
    /// What was under way, if the guest did not come to an end of its own.
    pub outstanding: Option<Outstanding>,
    /// Host time.
    pub took: Duration,
}

/// What a test report (JUnit) has of a case.
#[derive(Serialize)]
struct Case {
    /// The command, or `shell`.
    name: String,
    /// `passed` or `failed`.
    result: &'static str,
    /// Host time.
    time_s: f64,
    /// Why it failed.
    message: Option<String>,
    /// The console's last lines.
    output: Vec<String>,
}

impl Case {
    fn of(ended: &Ended, world: &World, inputs: Option<&Inputs>) -> Case {
        let name = inputs.and_then(Inputs::command).unwrap_or("shell");
        Case {
            name: name.to_owned(),
            result: if ended.status == 0 {
                "passed"
            } else {
                "failed"
            },
            time_s: ended.took.as_secs_f64(),
            message: ended.message(world),
            output: world.console.last_lines(),
        }
    }
}

impl Ended {
    /// The run is over: the engine has failed, or ended with `outcome`. Checkers say their last.
    pub(crate) fn conclude(
        world: &World,
        vcpus: &dyn Vcpus,
        outcome: Option<Outcome>,
        args: &MachineArgs,
        took: Duration,
    ) -> Ended {
        let command = args.script().is_some();
        let outcome = outcome.map(|outcome| world.concluded(outcome));
        let is_cut_off = outcome.as_ref().is_some_and(Outcome::is_cut_off);
        let outstanding = is_cut_off.then(|| {
            world.checkers.cut_off();
            Outstanding::gather(world, vcpus.states())
        });
        world.checkers.finish();
        let kernel_failed = args.fail_on.is_failed_by(&world.console.reports());
        let status = outcome.as_ref().map(|outcome| outcome.status(command));
        Ended {
            status: match status.unwrap_or(Outcome::ERROR) {
                0 if world.checkers.reports() > 0 => Outcome::REPORTED,
                0 if kernel_failed => Outcome::KERNEL_REPORTED,
                status => status,
            },
            outcome,
            command,
            kernel_failed,
            outstanding,
            took,
        }
    }

    /// Whether somebody, or something, outside the guest has ended the run, and so waits for its end.
    pub(crate) fn is_cut_short(&self) -> bool {
        let by_host = [Outcome::Timeout, Outcome::Quit, Outcome::Unheard];
        self.outcome
            .as_ref()
            .is_none_or(|outcome| by_host.contains(outcome))
    }

    fn complaint(&self) -> Option<&'static str> {
        self.outcome.as_ref()?.complaint(self.command)
    }

    /// Why the status is not 0.
    pub(crate) fn message(&self, world: &World) -> Option<String> {
        if self.status == 0 {
            return None;
        }
        if let Some(complaint) = self.complaint() {
            return Some(complaint.to_owned());
        }
        Some(match self.status {
            Outcome::REPORTED if world.checkers.reports() > 0 => {
                format!("checkers reported {}", world.checkers.reports())
            }
            Outcome::KERNEL_REPORTED if self.kernel_failed => {
                format!("the guest's kernel reported {}", world.console.reports())
            }
            Outcome::ERROR if self.outcome.is_none() => "the engine failed".to_owned(),
            status => format!("the command ended with status {status}"),
        })
    }
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

/// What the user asked to be written.
pub(crate) struct Outputs {
    /// Standard output, if the guest's console is shown.
    pub console: Option<Outlet>,
    trace: Option<OutputFile>,
    summary: Option<OutputFile>,
    results: Option<OutputFile>,
    record: Option<OutputFile>,
}

impl Outputs {
    /// Opens all of them: once the process is confined, it opens no file any more. Readers of FIFOs are
    /// waited for until `is_over`.
    pub(crate) fn open(args: &RunArgs, is_over: impl Fn() -> bool) -> Result<Outputs> {
        let open = |path: &Option<PathBuf>, option| {
            OutputFile::open_named(path.as_ref(), option, &is_over)
        };
        Ok(Outputs {
            console: (!args.quiet).then(stallbox_output::stdout),
            trace: open(&args.trace, "--trace")?,
            summary: open(&args.summary, "--summary")?,
            results: open(&args.results, "--results")?,
            record: open(&args.record, "--record")?,
        })
    }

    /// Where the tracer writes.
    pub(crate) fn trace(&self) -> Option<Outlet> {
        self.trace.as_ref().map(OutputFile::outlet)
    }

    /// The guest is about to start.
    pub(crate) fn begin(&mut self) -> Result<(), OutputError> {
        let mut files = [
            &mut self.trace,
            &mut self.summary,
            &mut self.results,
            &mut self.record,
        ];
        let mut files = files.iter_mut().filter_map(|file| file.as_mut());
        files.try_for_each(OutputFile::begin)
    }

    fn files(&self) -> impl Iterator<Item = &OutputFile> {
        let files = [&self.trace, &self.summary, &self.results, &self.record];
        files.into_iter().flatten()
    }

    /// Where all of it goes.
    pub(crate) fn outlets(&self) -> Vec<Outlet> {
        let files = self.files().map(OutputFile::outlet);
        self.console.iter().cloned().chain(files).collect()
    }

    /// Whether one of them cannot be written any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.outlets().iter().any(Outlet::has_failed)
    }

    /// What could not be written, and why.
    pub(crate) fn failures(&self) -> Vec<OutputError> {
        let console = self.console.as_ref().map(Outlet::finish);
        let console = console.and_then(Result::err).map(stdout_error);
        let files = self.files().filter_map(|file| file.finish().err());
        console.into_iter().chain(files).collect()
    }

    /// Writes the bundle.
    pub(crate) fn record(&self, bundle: &Bundle) {
        // The outlet keeps why it cannot be written.
        let _ = self
            .record
            .as_ref()
            .map(|file| file.fill(|out| stallbox_bundle::write(bundle, out)));
    }

    /// Fills all of them, and writes what is read at once.
    pub(crate) fn fill(
        &self,
        engine: &dyn Engine,
        world: &World,
        vcpus: &dyn Vcpus,
        ended: &Ended,
        inputs: Option<Inputs>,
    ) {
        let report = Report {
            outcome: ended.outcome.as_ref().map_or("error", Outcome::name),
            status: ended.status,
            case: Case::of(ended, world, inputs.as_ref()),
            engine: engine.name(),
            repeatable: engine.is_repeatable(),
            trace: world.tracer.summary(),
            virtual_ns: world.now().as_ns(),
            boot_ns: world.control.ready_ns(),
            instructions: vcpus.retired(),
            preemptions: vcpus.preemptions(),
            kernel_reports: Kernel::of(&world.console.reports()),
            check_reports: world.checkers.reports(),
            guest_status: world.control.exit(),
            host_ms: ended.took.as_millis() as u64,
            longest_gap_us: vcpus.longest_gap().as_micros() as u64,
            inputs,
            outstanding: ended.outstanding.as_ref(),
        };
        // Each outlet keeps why it cannot be written.
        let _ = self.summary.as_ref().map(|file| {
            file.fill(|out| {
                serde_json::to_writer_pretty(&mut *out, &report)?;
                out.write_all(b"\n")
            })
        });
        let _ = self.results.as_ref().map(|file| {
            let results = world.control.results();
            file.fill(|out| results.iter().try_for_each(|line| writeln!(out, "{line}")))
        });
        self.outlets().iter().for_each(Outlet::pump);
    }
}

/// Lines of the console that are shown again, of those that the user has seen.
const SEEN_MAX: usize = 10;

/// Says on standard error what did not go as asked; `shown` tells whether the user has seen the console.
pub(crate) fn tell(ended: &Ended, shown: bool, world: &World) {
    let reports = world.checkers.reports();
    if reports > 0 {
        let unshown = match world.checkers.unshown() {
            0 => String::new(),
            unshown => format!(", {unshown} of them not shown"),
        };
        tell!("stallbox: checkers reported {reports}{unshown}");
    }
    let complaint = ended.complaint();
    if let Some(complaint) = complaint {
        tell!("stallbox: {complaint}");
    }
    if let Some(outstanding) = &ended.outstanding {
        tell!(
            "stallbox: at {} ns of the devices' time:",
            outstanding.time_ns
        );
        for line in outstanding.to_string().lines() {
            tell!("{line}");
        }
    }
    // Who leaves a shell has just read them.
    let left_shell = ended.outcome == Some(Outcome::Quit) && !ended.command;
    if (complaint.is_some() && !shown) || (ended.outstanding.is_some() && !left_shell) {
        let lines = world.console.last_lines();
        let panicked = ended.outcome == Some(Outcome::Panic);
        let skipped = if shown && !panicked {
            lines.len().saturating_sub(SEEN_MAX)
        } else {
            0
        };
        tell!("stallbox: the console's last lines:");
        for line in &lines[skipped..] {
            tell!("  {line}");
        }
    }
    tell_kernel_reports(&world.console.reports(), ended.kernel_failed);
}

/// Reports of the kernel that are named at the end; the console has shown all of them.
const NAMED_MAX: usize = 8;

/// Says on standard error what the kernel reported, and whether the run `failed` of it.
fn tell_kernel_reports(reports: &KernelReports, failed: bool) {
    if reports.total() == 0 {
        return;
    }
    let counts = if failed {
        ""
    } else {
        "; --fail-on leaves them out"
    };
    tell!("stallbox: the guest's kernel reported {reports}{counts}:");
    for report in reports.kept().iter().take(NAMED_MAX) {
        let first = report.lines.first().map_or("", String::as_str);
        tell!("  {} at {} ns: {first}", report.kind.name(), report.time_ns);
    }
    let named = NAMED_MAX.min(reports.kept().len()) as u64;
    if reports.total() > named {
        tell!("  and {} more", reports.total() - named);
    }
}

//! What a run leaves: its files, and what the user is told at its end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use stallbox_trace::Summary;

use crate::cli::RunArgs;
use crate::engine::{Engine, Vcpus};
use crate::machine::World;
use crate::outcome::Outcome;

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
    /// Reports of checkers.
    #[serde(skip_serializing_if = "is_zero")]
    check_reports: u32,
    /// The guest command's exit status, if it ended.
    guest_status: Option<u8>,
    /// Host time, for comparison; not part of what a run repeats.
    host_ms: u64,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

type Output = Option<Box<dyn Write>>;

/// The files that the user asked for.
pub struct Outputs {
    /// Where the tracer writes.
    pub trace: Output,
    summary: Output,
    results: Output,
}

impl Outputs {
    /// Creates all of them: once the process is confined, it opens no file any more.
    pub fn create(args: &RunArgs) -> Result<Outputs> {
        Ok(Outputs {
            trace: output(args.trace.as_deref(), "--trace")?,
            summary: output(args.summary.as_deref(), "--summary")?,
            results: output(args.results.as_deref(), "--results")?,
        })
    }

    /// Fills them.
    pub fn finish(
        self,
        engine: &dyn Engine,
        world: &World,
        vcpus: &dyn Vcpus,
        took: Duration,
    ) -> Result<()> {
        let report = Report {
            engine: engine.name(),
            repeatable: engine.is_repeatable(),
            trace: world.tracer.summary(),
            virtual_ns: world.now().as_ns(),
            boot_ns: world.control.ready_ns(),
            instructions: vcpus.retired(),
            check_reports: world.checkers.reports(),
            guest_status: world.control.exit(),
            host_ms: took.as_millis() as u64,
        };
        world.tracer.finish().context("--trace")?;
        if let Some(mut file) = self.summary {
            serde_json::to_writer_pretty(&mut file, &report).context("cannot write --summary")?;
            file.write_all(b"\n")
                .and_then(|()| file.flush())
                .context("cannot write --summary")?;
        }
        if let Some(mut file) = self.results {
            for result in world.control.results() {
                writeln!(file, "{result}").context("cannot write --results")?;
            }
            file.flush().context("cannot write --results")?;
        }
        Ok(())
    }
}

fn output(path: Option<&Path>, option: &str) -> Result<Output> {
    path.map(|path| create(path, option)).transpose()
}

/// Creates a file that an option names.
pub(crate) fn create(path: &Path, option: &str) -> Result<Box<dyn Write>> {
    let file = File::create(path)
        .with_context(|| format!("cannot create {} ({option})", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
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
        eprintln!("stallbox: checkers reported {reports}{unshown}");
    }
    let Some(complaint) = outcome.complaint(command) else {
        return;
    };
    eprintln!("stallbox: {complaint}");
    if matches!(outcome, Outcome::Timeout | Outcome::Asleep) {
        for position in vcpus.positions() {
            eprintln!("  {position}");
        }
    }
    if !shown || *outcome == Outcome::Panic {
        eprintln!("stallbox: the console's last lines:");
        for line in world.console.last_lines() {
            eprintln!("  {line}");
        }
    }
}

//! `stallbox measure`: options, guests and files of a measurement; [`stallbox_measure`] has the rest.
//!
//! Each column is a guest of its own, so that no setting of the kernel leaks into another, and again
//! for each device that does rows of it; the guest's program `pinbench` goes through the rows, a
//! process for each cell. Guests run side by side on the host's CPUs, which their results do not show.

mod guest;
mod pool;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use stallbox_machine::latency::{LatencyModel, given_twice};
use stallbox_machine::outcome::Outcome;
use stallbox_measure::matrix::{self, COLUMNS, Heading, ROWS};
use stallbox_measure::report::{Cell, Host, Report, Settings};
use stallbox_measure::{Gathered, Status, csv, gather, guests, html, table};
use stallbox_output::{Outlet, OutputError, drain, print_until, tell};

use crate::boot;
use crate::cli::{Accelerator, MeasureArgs};
use crate::config::GuestConfig;
use crate::confine::{self, Role};
use crate::output::OutputFile;
use crate::signals;
use guest::Plan;
use pool::Pool;

const CPUS: u8 = 2;
const NODES: u8 = 2;

/// Exit status if a claim fails or a cell could not be measured.
const FAILED: u8 = 1;

/// Measures, prints, and gives Stallbox's exit status.
pub fn run(args: &MeasureArgs) -> Result<u8> {
    let started = Instant::now();
    let rows = chosen("--rows", ROWS, &args.rows)?;
    let columns = chosen("--columns", COLUMNS, &args.columns)?;
    let settings = settings(args);
    let plan = plan(args)?;
    let guests = guests(&settings, &rows, &columns);
    let jobs = args.jobs.count().min(guests);
    let progress = bar((rows.len() * columns.len()) as u64);
    let told_to_end = signals::flag()?;
    let is_over = || told_to_end.load(Ordering::Relaxed);
    let mut outputs = Outputs::open(args, is_over)?;
    // Once the process is confined it could undo nothing.
    outputs.begin()?;
    if !args.unconfined
        && let Some(remark) = confine::process()?.remark()
    {
        tell!("stallbox: {remark}");
    }
    let gathered = thread::scope(|scope| -> Result<Gathered> {
        let pool = Pool::start(scope, jobs, &plan, &told_to_end, &progress)?;
        confine::thread(Role::Lead)?;
        Ok(gather(&pool, &settings, &rows, &columns, args.timeout))
    })?;
    progress.finish_and_clear();
    let status = status(&gathered);
    let trouble = gathered.trouble.clone();
    let host = Host {
        seconds: started.elapsed().as_secs_f64(),
        jobs,
    };
    let report = gathered.report(settings, &rows, &columns, host);
    outputs.write(&report, is_over)?;
    print_until(table::render(&report), is_over)?;
    if let Some(incomplete) = &report.incomplete {
        tell!("stallbox: {incomplete}");
    } else if let Some(trouble) = &trouble {
        tell!("stallbox: {trouble}");
    }
    let failed = report.claims.iter().any(|claim| claim.pass == Some(false));
    Ok(if status == 0 && failed {
        FAILED
    } else {
        status
    })
}

/// The exit status, claims aside.
fn status(gathered: &Gathered) -> u8 {
    let failed = |cell: &Cell| cell.status == Status::Failed;
    if gathered.interrupted {
        Outcome::NO_STATUS
    } else if gathered.given_up {
        Outcome::TIMEOUT
    } else if gathered.trouble.is_some() || gathered.cells.iter().any(failed) {
        FAILED
    } else {
        0
    }
}

/// The files that the user asked for, opened before minutes are spent on what goes into them.
struct Outputs {
    json: Option<OutputFile>,
    csv: Option<OutputFile>,
    html: Option<OutputFile>,
}

impl Outputs {
    /// Opens all of them: once the process is confined, it opens no file any more.
    fn open(args: &MeasureArgs, is_over: impl Fn() -> bool) -> Result<Outputs> {
        let open = |path: &Option<PathBuf>, option| {
            OutputFile::open_named(path.as_ref(), option, &is_over)
        };
        Ok(Outputs {
            json: open(&args.json, "--json")?,
            csv: open(&args.csv, "--csv")?,
            html: open(&args.html, "--html")?,
        })
    }

    /// The guests are about to start.
    fn begin(&mut self) -> Result<(), OutputError> {
        let files = [&mut self.json, &mut self.csv, &mut self.html];
        files.into_iter().flatten().try_for_each(OutputFile::begin)
    }

    /// Fills all of them, and waits until they are written; once `is_over`, not for long. The first
    /// that cannot be written is told.
    fn write(self, report: &Report, is_over: impl FnMut() -> bool) -> Result<(), OutputError> {
        let json = self.json.as_ref().map_or(Ok(()), |file| {
            file.fill(|out| {
                serde_json::to_writer_pretty(&mut *out, report)?;
                out.write_all(b"\n")
            })
        });
        let csv = self.csv.as_ref().map_or(Ok(()), |file| {
            file.fill(|mut out| csv::write(report, &mut out))
        });
        let html = self.html.as_ref().map_or(Ok(()), |file| {
            file.fill(|out| out.write_all(html::render(report).as_bytes()))
        });
        let files = [&self.json, &self.csv, &self.html].into_iter().flatten();
        let outlets: Vec<Outlet> = files.clone().map(OutputFile::outlet).collect();
        drain(&outlets, is_over);
        let filled = json.and(csv).and(html);
        files.fold(filled, |done, file| done.and_then(|()| file.finish()))
    }
}

fn chosen(
    option: &str,
    all: &'static [Heading],
    names: &[String],
) -> Result<Vec<&'static Heading>> {
    if let Some(name) = given_twice(names.iter().map(String::as_str)) {
        bail!("{option}: {name} is given twice");
    }
    for name in names {
        if matrix::find(all, name).is_none() {
            let known: Vec<&str> = all.iter().map(|heading| heading.name).collect();
            bail!(
                "{option}: there is no \"{name}\"; there are {}",
                known.join(", ")
            );
        }
    }
    Ok(all
        .iter()
        .filter(|heading| names.is_empty() || names.iter().any(|name| name == heading.name))
        .collect())
}

fn settings(args: &MeasureArgs) -> Settings {
    let (regions, slots, passes) = if args.quick { (2, 16, 4) } else { (4, 32, 4) };
    Settings {
        quick: args.quick,
        regions,
        slots,
        passes,
        cpus: CPUS,
        nodes: NODES,
        memory_bytes: args.guest.memory,
        cpu_hafdbs: args.guest.cpu_hafdbs,
        smmu_httu: args.guest.smmu_httu,
        seed: args.seed,
    }
}

fn plan(args: &MeasureArgs) -> Result<Plan> {
    let Accelerator::Zip(accelerator) = args.accel else {
        bail!("--accel: the measurement drives zip, with rev=0x21 or rev=0x30");
    };
    let (kernel, initrd) = args.guest.files()?;
    let guest = GuestConfig {
        kernel,
        initrd,
        added: args.guest.add.clone(),
        bootargs: None,
        append: String::new(),
        command: None,
    };
    let files = boot::Files::read(&guest, args.guest.memory)?;
    Ok(Plan {
        memory_bytes: args.guest.memory,
        cpus: CPUS,
        nodes: NODES,
        accelerator,
        cpu_hafdbs: args.guest.cpu_hafdbs,
        smmu_httu: args.guest.smmu_httu,
        latency: LatencyModel::with(&args.guest.latency)?,
        seed: args.seed,
        files,
        timeout: args.timeout,
    })
}

/// On standard error, and only on a terminal.
fn bar(cells: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("measuring [{bar:20}] {pos} of {len} cells, {eta} to go")
            .expect("a constant template is well-formed");
    ProgressBar::new(cells).with_style(style.progress_chars("=> "))
}

//! `stallbox measure`: what each way of preparing memory is worth, under each thing that the kernel
//! does with pages meanwhile.
//!
//! Each column is a guest of its own, so that no setting of the kernel leaks into another; the
//! guest's program `pinbench` goes through the rows, a process for each cell. Guests run side by
//! side on the host's CPUs, which their results do not show. The faults of a cell are those in the
//! trace between its first and its last operation: guest and trace share one clock.

mod claims;
mod csv;
mod faults;
mod guest;
mod html;
mod matrix;
mod report;
mod said;
mod table;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Accelerator, MeasureArgs};
use crate::run::{create, guest_files};
use claims::Beside;
use guest::{Plan, Ran};
use matrix::{COLUMNS, Heading, ROWS};
use report::{Cell, Host, Report, Settings};
use said::{Ratio, Release, Rules, Said, Status};

const CPUS: u8 = 2;
const NODES: u8 = 2;

/// What the guest is called that measures beside the matrix.
const BESIDE: &str = "beside";

/// Exit status if a claim fails or a cell could not be measured.
const FAILED: u8 = 1;

/// Measures, prints, and gives Stallbox's exit status.
pub fn run(args: &MeasureArgs) -> Result<u8> {
    let started = Instant::now();
    let rows = chosen("--rows", ROWS, &args.rows)?;
    let columns = chosen("--columns", COLUMNS, &args.columns)?;
    let settings = settings(args);
    let plan = plan(args)?;
    let jobs = jobs(args, columns.len() + 1);

    let progress = bar((rows.len() * columns.len()) as u64);
    let scripts = scripts(&settings, &rows, &columns);
    let mut outcomes = measure(&plan, &scripts, jobs, &progress).into_iter();
    progress.finish_and_clear();
    let mut beside = Collected::default();
    let mut cells = Vec::new();
    let mut trace_hashes = BTreeMap::new();
    for (column, outcome) in columns.iter().zip(&mut outcomes) {
        let ran = outcome.with_context(|| format!("the guest of column {}", column.name))?;
        trace_hashes.insert(column.name, ran.trace_hash.clone());
        cells.extend(cells_of(&rows, column, &ran, &mut beside)?);
    }
    let ran = outcomes
        .next()
        .context("nothing was run beside the matrix")?
        .context("the guest beside the matrix")?;
    trace_hashes.insert(BESIDE, ran.trace_hash.clone());
    for line in &ran.results {
        beside.take(Said::parse(line)?);
    }

    let missing = |what: &str| format!("the guest reported no {what}; status {}", ran.status);
    let page_fault = beside.ratio.with_context(|| missing("ratio"))?;
    let rules = beside.rules.with_context(|| missing("rules"))?;
    let claims = claims::check(
        &cells,
        &Beside {
            ratio: &page_fault,
            release: &beside.release,
            rules: &rules,
        },
    );
    let report = Report {
        schema: report::SCHEMA,
        kernel: beside.kernel.unwrap_or_default(),
        settings,
        rows: rows.iter().map(|row| row.name).collect(),
        columns: columns.iter().map(|column| column.name).collect(),
        cells,
        page_fault,
        release: beside.release,
        rules,
        claims,
        trace_hashes,
        host: Host {
            seconds: started.elapsed().as_secs_f64(),
            jobs,
        },
    };
    write_files(args, &report)?;
    // Who reads the first lines only has seen what they wanted.
    let _ = std::io::stdout().write_all(table::render(&report).as_bytes());
    let failed = report.claims.iter().any(|claim| claim.pass == Some(false))
        || report
            .cells
            .iter()
            .any(|cell| cell.status == Status::Failed);
    Ok(if failed { FAILED } else { 0 })
}

fn write_files(args: &MeasureArgs, report: &Report) -> Result<()> {
    if let Some(path) = &args.json {
        let mut file = create(path, "--json")?;
        serde_json::to_writer_pretty(&mut file, report).context("cannot write --json")?;
        file.write_all(b"\n")
            .and_then(|()| file.flush())
            .context("cannot write --json")?;
    }
    if let Some(path) = &args.csv {
        let mut file = create(path, "--csv")?;
        csv::write(report, &mut file)
            .and_then(|()| file.flush())
            .context("cannot write --csv")?;
    }
    if let Some(path) = &args.html {
        let mut file = create(path, "--html")?;
        file.write_all(html::render(report).as_bytes())
            .and_then(|()| file.flush())
            .context("cannot write --html")?;
    }
    Ok(())
}

fn chosen(
    option: &str,
    all: &'static [Heading],
    names: &[String],
) -> Result<Vec<&'static Heading>> {
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
        memory_bytes: args.memory,
        seed: args.seed,
    }
}

fn plan(args: &MeasureArgs) -> Result<Plan> {
    let Accelerator::Zip(accelerator) = args.accel else {
        bail!("--accel: the measurement drives zip, with rev=0x21 or rev=0x30");
    };
    let (kernel, initrd) = guest_files(
        args.image.as_deref(),
        args.kernel.as_deref(),
        args.initrd.as_deref(),
    )?;
    let plan = Plan {
        memory_bytes: args.memory,
        cpus: CPUS,
        nodes: NODES,
        accelerator,
        latency: args.latency.clone(),
        seed: args.seed,
        kernel,
        initrd,
        timeout: Duration::from_secs_f64(args.timeout),
    };
    // Here what is wrong with a latency is said once, and before anything is booted.
    plan.machine()?;
    Ok(plan)
}

fn jobs(args: &MeasureArgs, guests: usize) -> usize {
    let wanted = match args.jobs {
        Some(jobs) => jobs.into(),
        None => thread::available_parallelism().map_or(1, Into::into),
    };
    wanted.min(guests)
}

/// What a guest is booted with.
struct Script {
    /// Added to the kernel's command line.
    append: String,
    /// Run by its shell.
    text: String,
}

/// A guest for each column, and one for what is measured beside them.
fn scripts(settings: &Settings, rows: &[&Heading], columns: &[&'static Heading]) -> Vec<Script> {
    let rows: String = rows
        .iter()
        .map(|row| format!(" --row {}", row.name))
        .collect();
    // The kernel's log must not cost the guest time.
    let quiet = "dmesg -n 1";
    let column = |column: &&Heading| Script {
        append: matrix::command_line(column.name, settings.memory_bytes),
        text: format!(
            "{quiet}; exec pinbench --column {} --regions {} --slots {} --passes {} --result \
             --quiet{rows}",
            column.name, settings.regions, settings.slots, settings.passes
        ),
    };
    let beside = ["ratio", "rules", "release"]
        .map(|command| format!("pinbench {command} --result --quiet"))
        .join(" && ");
    let beside = Script {
        append: String::new(),
        text: format!("{quiet}; {beside}"),
    };
    columns.iter().map(column).chain([beside]).collect()
}

/// The guests, in their order, some at the same time.
fn measure(
    plan: &Plan,
    scripts: &[Script],
    jobs: usize,
    progress: &ProgressBar,
) -> Vec<Result<Ran>> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Result<Ran>>>> =
        scripts.iter().map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(script) = scripts.get(index) else {
                        break;
                    };
                    let ran = guest::run(plan, &script.append, script.text.clone(), &|| {
                        progress.inc(1);
                    });
                    *outcomes[index].lock().expect("nobody panics with it") = Some(ran);
                }
            });
        }
    });
    outcomes
        .into_iter()
        .map(|outcome| {
            let outcome = outcome.into_inner().expect("nobody panics with it");
            outcome.unwrap_or_else(|| Err(anyhow!("it was not run")))
        })
        .collect()
}

/// What guests said that is no cell.
#[derive(Default)]
struct Collected {
    kernel: Option<String>,
    ratio: Option<Ratio>,
    rules: Option<Rules>,
    release: Vec<Release>,
}

impl Collected {
    /// Keeps it, and hands a cell back.
    fn take(&mut self, said: Said) -> Option<said::Cell> {
        match said {
            Said::Guest { kernel } => self.kernel = Some(kernel),
            Said::Cell(cell) => return Some(*cell),
            Said::Ratio(ratio) => self.ratio = Some(ratio),
            Said::Release(release) => self.release.push(release),
            Said::Rules(rules) => self.rules = Some(rules),
        }
        None
    }
}

/// A cell for each row; what the guest left out has failed.
fn cells_of(
    rows: &[&'static Heading],
    column: &'static Heading,
    ran: &Ran,
    beside: &mut Collected,
) -> Result<Vec<Cell>> {
    let mut said = BTreeMap::new();
    for line in &ran.results {
        let Some(cell) = beside.take(Said::parse(line)?) else {
            continue;
        };
        if cell.column != column.name {
            bail!("the guest measured column {} instead", cell.column);
        }
        said.insert(cell.row.clone(), cell);
    }
    Ok(rows
        .iter()
        .map(|row| match said.remove(row.name) {
            Some(cell) => Cell::new(row.name, column.name, cell, &ran.faults),
            None => Cell {
                row: row.name,
                column: column.name,
                status: Status::Failed,
                reason: Some(format!(
                    "the guest reported nothing; pinbench ended with status {}",
                    ran.status
                )),
                figures: None,
            },
        })
        .collect())
}

/// On standard error, and only on a terminal.
fn bar(cells: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("measuring [{bar:20}] {pos} of {len} cells, {eta} to go")
            .expect("a constant template is well-formed");
    let bar = ProgressBar::new(cells).with_style(style.progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

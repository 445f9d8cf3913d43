//! `stallbox measure`: what each way of preparing memory is worth, under each thing that the kernel
//! does with pages meanwhile.
//!
//! Each column is a guest of its own, so that no setting of the kernel leaks into another, and again
//! for each device that does rows of it; the guest's program `pinbench` goes through the rows, a
//! process for each cell. Guests run side by side on the host's CPUs, which their results do not
//! show. The faults of a cell are those in the trace between its first and its last operation:
//! guest and trace share one clock.

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
use crate::config::HardwareUpdate;
use crate::run::create;
use claims::Beside;
use guest::{Plan, Ran, Script};
use matrix::{COLUMNS, Device, Heading, ROWS};
use report::{Cell, Host, Report, Settings};
use said::{Ratio, Release, Rules, Said, Status};

const CPUS: u8 = 2;
const NODES: u8 = 2;

/// What the guest is called that measures beside the matrix.
const BESIDE: &str = "beside";

/// The column without activity.
const IDLE: &str = "none";

/// Exit status if a claim fails or a cell could not be measured.
const FAILED: u8 = 1;

/// Measures, prints, and gives Stallbox's exit status.
pub fn run(args: &MeasureArgs) -> Result<u8> {
    let started = Instant::now();
    let rows = chosen("--rows", ROWS, &args.rows)?;
    let columns = chosen("--columns", COLUMNS, &args.columns)?;
    let settings = settings(args);
    let plan = plan(args)?;
    let parts = parts(&settings, &rows, &columns);
    let jobs = jobs(args, parts.len() + 1);
    let progress = bar((rows.len() * columns.len()) as u64);
    let Gathered {
        beside,
        mut cells,
        trace_hashes,
        status,
    } = gather(&plan, parts, jobs, &progress)?;
    progress.finish_and_clear();
    let place = |all: &[&Heading], name: &str| all.iter().position(|it| it.name == name);
    cells.sort_by_key(|cell| (place(&columns, cell.column), place(&rows, cell.row)));

    let missing = |what: &str| format!("the guest reported no {what}; status {status}");
    let page_fault = beside.ratio.with_context(|| missing("ratio"))?;
    let rules = beside.rules.with_context(|| missing("rules"))?;
    let claims = claims::check(
        &cells,
        &Beside {
            ratio: &page_fault,
            release: &beside.release,
            rules: &rules,
            smmu_may_set_access_flags: settings.smmu_httu != HardwareUpdate::None,
            used_pages: u64::from(settings.regions) * u64::from(settings.slots) * 2,
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
    let plan = Plan {
        memory_bytes: args.guest.memory,
        cpus: CPUS,
        nodes: NODES,
        accelerator,
        cpu_hafdbs: args.guest.cpu_hafdbs,
        smmu_httu: args.guest.smmu_httu,
        latency: args.guest.latency.clone(),
        seed: args.seed,
        kernel,
        initrd,
        timeout: Duration::from_secs_f64(args.timeout),
    };
    // Here what is wrong with a latency is said once, and before anything is booted.
    plan.machine(Device::Zip)?;
    Ok(plan)
}

fn jobs(args: &MeasureArgs, guests: usize) -> usize {
    let wanted = match args.jobs {
        Some(jobs) => jobs.into(),
        None => thread::available_parallelism().map_or(1, Into::into),
    };
    wanted.min(guests)
}

/// Some rows of a column, measured by one guest.
struct Part {
    column: &'static Heading,
    rows: Vec<&'static Heading>,
    script: Script,
}

impl Part {
    /// Whether a part of the column without activity tells that there is no need to try.
    fn may_be_denied(&self) -> bool {
        self.script.device.translates() && self.column.name != IDLE
    }
}

/// The kernel's log must not cost the guest time.
const QUIET: &str = "dmesg -n 1";

/// All guests of the matrix, column after column.
fn parts(
    settings: &Settings,
    rows: &[&'static Heading],
    columns: &[&'static Heading],
) -> Vec<Part> {
    let of_column = |column: &'static Heading| {
        Device::ALL.into_iter().filter_map(move |device| {
            let rows: Vec<&Heading> = rows
                .iter()
                .copied()
                .filter(|row| Device::of(row.name) == device)
                .collect();
            let names: String = rows
                .iter()
                .map(|row| format!(" --row {}", row.name))
                .collect();
            let script = Script {
                device,
                append: matrix::command_line(column.name, settings.memory_bytes),
                text: format!(
                    "{QUIET}; exec pinbench --column {} --regions {} --slots {} --passes {} \
                     --result --quiet{names}",
                    column.name, settings.regions, settings.slots, settings.passes
                ),
            };
            (!rows.is_empty()).then_some(Part {
                column,
                rows,
                script,
            })
        })
    };
    columns.iter().copied().flat_map(of_column).collect()
}

/// The guest of what is measured beside the matrix.
fn beside_script() -> Script {
    let commands = ["ratio", "rules", "release"]
        .map(|command| format!("pinbench {command} --result --quiet"))
        .join(" && ");
    Script {
        device: Device::Zip,
        append: String::new(),
        text: format!("{QUIET}; {commands}"),
    }
}

/// The guests, in their order, some at the same time.
fn measure(
    plan: &Plan,
    scripts: &[&Script],
    jobs: usize,
    progress: &ProgressBar,
) -> Vec<Result<Ran>> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Mutex<Option<Result<Ran>>>> =
        scripts.iter().map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        for _ in 0..jobs.min(scripts.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(script) = scripts.get(index) else {
                        break;
                    };
                    let ran = guest::run(plan, script, &|| progress.inc(1));
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

/// Runs all guests of the matrix, and the one beside it.
fn gather(plan: &Plan, parts: Vec<Part>, jobs: usize, progress: &ProgressBar) -> Result<Gathered> {
    // Whether this kernel serves page requests is known after the first guests that need them.
    let (first, later): (Vec<Part>, Vec<Part>) =
        parts.into_iter().partition(|part| !part.may_be_denied());
    let besides = beside_script();
    let scripts: Vec<&Script> = first
        .iter()
        .map(|part| &part.script)
        .chain([&besides])
        .collect();
    let mut outcomes = measure(plan, &scripts, jobs, progress);
    let mut gathered = Gathered::default();
    gathered.take_beside(outcomes.pop().context("nothing was run")?)?;
    for (part, outcome) in first.iter().zip(outcomes) {
        gathered.take(part, outcome)?;
    }
    let (denied, later): (Vec<Part>, Vec<Part>) = later
        .into_iter()
        .partition(|part| gathered.denied(part.script.device).is_some());
    for part in denied {
        progress.inc(part.rows.len() as u64);
        gathered.deny(&part);
    }
    let scripts: Vec<&Script> = later.iter().map(|part| &part.script).collect();
    let outcomes = measure(plan, &scripts, jobs, progress);
    for (part, outcome) in later.iter().zip(outcomes) {
        gathered.take(part, outcome)?;
    }
    Ok(gathered)
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

/// What the guests said.
#[derive(Default)]
struct Gathered {
    beside: Collected,
    cells: Vec<Cell>,
    trace_hashes: BTreeMap<String, String>,
    /// How the guest beside the matrix ended.
    status: u8,
}

impl Gathered {
    /// What was measured beside the matrix.
    fn take_beside(&mut self, outcome: Result<Ran>) -> Result<()> {
        let ran = outcome.context("the guest beside the matrix")?;
        for line in &ran.results {
            self.beside.take(Said::parse(line)?);
        }
        self.status = ran.status;
        self.trace_hashes.insert(BESIDE.to_owned(), ran.trace_hash);
        Ok(())
    }

    /// A cell for each row of the part; what its guest left out has failed.
    fn take(&mut self, part: &Part, outcome: Result<Ran>) -> Result<()> {
        let guest = format!("{}{}", part.column.name, part.script.device.suffix());
        let ran = outcome.with_context(|| format!("the guest of column {guest}"))?;
        let mut said = BTreeMap::new();
        for line in &ran.results {
            let Some(cell) = self.beside.take(Said::parse(line)?) else {
                continue;
            };
            if cell.column != part.column.name {
                bail!("the guest measured column {} instead", cell.column);
            }
            said.insert(cell.row.clone(), cell);
        }
        for row in &part.rows {
            self.cells.push(match said.remove(row.name) {
                Some(cell) => Cell::new(row.name, part.column.name, cell, &ran.faults),
                None => Cell {
                    row: row.name,
                    column: part.column.name,
                    status: Status::Failed,
                    reason: Some(format!(
                        "the guest reported nothing; pinbench ended with status {}",
                        ran.status
                    )),
                    figures: None,
                },
            });
        }
        self.trace_hashes.insert(guest, ran.trace_hash);
        Ok(())
    }

    /// Why the kernel has nothing for the device, if that is what the column without activity said:
    /// that one has no reason of its own.
    fn denied(&self, device: Device) -> Option<String> {
        let mut cells = self
            .cells
            .iter()
            .filter(|cell| cell.column == IDLE && Device::of(cell.row) == device);
        let first = cells.next()?;
        (first.status == Status::Unavailable).then(|| first.reason.clone())?
    }

    /// Cells of a part that is not tried.
    fn deny(&mut self, part: &Part) {
        let reason = self.denied(part.script.device);
        for row in &part.rows {
            self.cells.push(Cell {
                row: row.name,
                column: part.column.name,
                status: Status::Unavailable,
                reason: reason.clone(),
                figures: None,
            });
        }
    }
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

//! What the guests of a measurement left, put together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use stallbox_machine::config::HardwareUpdate;

use crate::claims::{self, Beside};
use crate::matrix::{Device, Heading};
use crate::parts::{BESIDE, IDLE, Part, Script, beside_script, parts};
use crate::ran::{End, Ran};
use crate::report::{self, Cell, Host, Incomplete, Report, Settings};
use crate::said::{self, Ratio, Release, Rules, Said, Status};

/// What runs guests.
pub trait Guests {
    /// Runs guests, and gives what became of each, in their order.
    fn run(&self, scripts: &[Arc<Script>]) -> Vec<Result<Ran>>;

    /// So many cells need no guest.
    fn skip(&self, cells: usize);
}

/// Runs all guests of the matrix, and the one beside it.
pub fn gather(
    guests: &dyn Guests,
    settings: &Settings,
    rows: &[&'static Heading],
    columns: &[&'static Heading],
    timeout: Duration,
) -> Gathered {
    // Whether this kernel serves page requests is known after the first guests that need them.
    let (first, later): (Vec<Part>, Vec<Part>) = parts(settings, rows, columns)
        .into_iter()
        .partition(|part| !part.may_be_denied());
    let scripts: Vec<Arc<Script>> = first
        .iter()
        .map(|part| part.script.clone())
        .chain([Arc::new(beside_script())])
        .collect();
    let mut outcomes = guests.run(&scripts);
    let mut gathered = Gathered::new(timeout);
    if let Some(beside) = outcomes.pop() {
        gathered.take_beside(beside);
    }
    for (part, outcome) in first.iter().zip(outcomes) {
        gathered.take(part, outcome);
    }
    let (denied, later): (Vec<Part>, Vec<Part>) = later
        .into_iter()
        .partition(|part| gathered.denied(part.script.device).is_some());
    for part in denied {
        guests.skip(part.rows.len());
        gathered.deny(&part);
    }
    let scripts: Vec<Arc<Script>> = later.iter().map(|part| part.script.clone()).collect();
    for (part, outcome) in later.iter().zip(guests.run(&scripts)) {
        gathered.take(part, outcome);
    }
    let place = |all: &[&Heading], name: &str| all.iter().position(|it| it.name == name);
    gathered
        .cells
        .sort_by_key(|cell| (place(columns, cell.column), place(rows, cell.row)));
    gathered
}

/// Why cells are missing that nobody waited for.
const ENDED: &str = "the measurement was ended by a signal";

/// What guests said that is no cell.
#[derive(Default)]
pub struct Collected {
    /// `uname -r`.
    pub kernel: Option<String>,
    /// An IO page fault against a CPU page fault.
    pub ratio: Option<Ratio>,
    /// What a child may do with its parent's queue.
    pub rules: Option<Rules>,
    /// What is left of pins.
    pub release: Vec<Release>,
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

/// What the guests said, and how they ended.
pub struct Gathered {
    /// What is no cell.
    pub beside: Collected,
    /// Why something of it is missing.
    pub trouble: Option<String>,
    /// A cell for each row of each part.
    pub cells: Vec<Cell>,
    /// The trace's hash of each guest that ended by itself.
    pub trace_hashes: BTreeMap<String, String>,
    /// Somebody ended the measurement.
    pub interrupted: bool,
    /// A guest took longer than it may.
    pub given_up: bool,
    timeout: Duration,
}

impl Gathered {
    /// Nothing yet, of guests that may take so long.
    fn new(timeout: Duration) -> Gathered {
        Gathered {
            beside: Collected::default(),
            trouble: None,
            cells: Vec::new(),
            trace_hashes: BTreeMap::new(),
            interrupted: false,
            given_up: false,
            timeout,
        }
    }

    /// What is lacking, if the measurement did not come to its own end.
    pub fn incomplete(&self) -> Option<Incomplete> {
        if !self.interrupted && !self.given_up {
            return None;
        }
        let missing = |cell: &&Cell| cell.status == Status::Missing;
        Some(Incomplete {
            reason: if self.interrupted {
                ENDED.to_owned()
            } else {
                self.given_up_because()
            },
            cells: self.cells.len() - self.cells.iter().filter(missing).count(),
            of_cells: self.cells.len(),
        })
    }

    /// All of it, with the claims that it is held against.
    pub fn report(
        self,
        settings: Settings,
        rows: &[&'static Heading],
        columns: &[&'static Heading],
        host: Host,
    ) -> Report {
        let incomplete = self.incomplete();
        let beside = self.beside;
        let claims = claims::check(
            &self.cells,
            &Beside {
                ratio: beside.ratio.as_ref(),
                release: &beside.release,
                rules: beside.rules.as_ref(),
                smmu_may_set_access_flags: settings.smmu_httu != HardwareUpdate::None,
                used_pages: u64::from(settings.regions) * u64::from(settings.slots) * 2,
            },
        );
        Report {
            schema: report::SCHEMA,
            incomplete,
            kernel: beside.kernel.unwrap_or_default(),
            settings,
            rows: rows.iter().map(|row| row.name).collect(),
            columns: columns.iter().map(|column| column.name).collect(),
            cells: self.cells,
            page_fault: beside.ratio,
            release: beside.release,
            rules: beside.rules,
            claims,
            trace_hashes: self.trace_hashes,
            host,
        }
    }

    fn given_up_because(&self) -> String {
        format!(
            "a guest was given up after {} s (--timeout)",
            self.timeout.as_secs_f64()
        )
    }

    /// Why a guest has not reported all that it was to, and what that makes of its cells.
    fn lack(&mut self, end: &End, program: &str) -> (Status, String) {
        match end {
            End::Status(status) => {
                let reason =
                    format!("the guest reported nothing; {program} ended with status {status}");
                (Status::Failed, reason)
            }
            End::Died(how) => (Status::Failed, how.clone()),
            End::GivenUp => {
                self.given_up = true;
                (Status::Missing, self.given_up_because())
            }
            End::Interrupted => {
                self.interrupted = true;
                (Status::Missing, ENDED.to_owned())
            }
        }
    }

    /// What was measured beside the matrix.
    fn take_beside(&mut self, outcome: Result<Ran>) {
        let ran = match outcome {
            Ok(ran) => ran,
            Err(error) => {
                self.trouble = Some(format!("the guest beside the matrix: {error:#}"));
                return;
            }
        };
        for line in &ran.results {
            match Said::parse(line) {
                Ok(said) => {
                    self.beside.take(said);
                }
                Err(error) => self.trouble = Some(format!("{error:#}")),
            }
        }
        let (_, reason) = self.lack(&ran.end, "pinbench");
        if self.beside.ratio.is_none() || self.beside.rules.is_none() {
            self.trouble
                .get_or_insert(format!("the guest beside the matrix: {reason}"));
        }
        if let Some(hash) = ran.trace_hash {
            self.trace_hashes.insert(BESIDE.to_owned(), hash);
        }
    }

    /// A cell for each row of the part; what its guest left out has failed, or is missing.
    fn take(&mut self, part: &Part, outcome: Result<Ran>) {
        let guest = format!("{}{}", part.column.name, part.script.device.suffix());
        let ran = match outcome {
            Ok(ran) => ran,
            Err(error) => {
                let reason = format!("the guest of column {guest}: {error:#}");
                return self.fill(part, Status::Failed, Some(reason));
            }
        };
        let (status, reason) = self.lack(&ran.end, "pinbench");
        let (mut said, mut reason) = (BTreeMap::new(), Some(reason));
        for line in &ran.results {
            match Said::parse(line).map(|said| self.beside.take(said)) {
                Ok(Some(cell)) if cell.column == part.column.name => {
                    said.insert(cell.row.clone(), cell);
                }
                Ok(Some(cell)) => {
                    reason = Some(format!("the guest measured column {} instead", cell.column));
                }
                Ok(None) => {}
                Err(error) => reason = Some(format!("{error:#}")),
            }
        }
        for row in &part.rows {
            let cell = match said.remove(row.name) {
                Some(cell) => Cell::new(row.name, part.column.name, cell, &ran.faults),
                None => Cell::empty(row.name, part.column.name, status, reason.clone()),
            };
            self.cells.push(cell);
        }
        if let Some(hash) = ran.trace_hash {
            self.trace_hashes.insert(guest, hash);
        }
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
        self.fill(part, Status::Unavailable, reason);
    }

    /// Cells of a part of which nothing was measured.
    fn fill(&mut self, part: &Part, status: Status, reason: Option<String>) {
        for row in &part.rows {
            let cell = Cell::empty(row.name, part.column.name, status, reason.clone());
            self.cells.push(cell);
        }
    }
}

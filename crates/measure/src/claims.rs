//! What is said about pinning, held against the matrix. docs/measuring.md says where each claim comes
//! from, and why it is put the way it is.

use crate::faults::FaultKind;
use crate::report::{Cell, Claim, Figures};
use crate::said::{Ratio, Release, Rules, Status};

/// Rows that pin.
pub(crate) const PINNED: [&str; 2] = ["uacce_ctrl", "mempinfd"];

/// What was measured beside the matrix, as far as it was.
pub(crate) struct Beside<'a> {
    /// IO and CPU page faults.
    pub ratio: Option<&'a Ratio>,
    /// Pins after a kill.
    pub release: &'a [Release],
    /// A child and its parent's queue.
    pub rules: Option<&'a Rules>,
    /// Pages of the memory that operations use.
    pub used_pages: u64,
    /// Whether the SMMU can set access flags. Whether it does is up to the kernel.
    pub smmu_may_set_access_flags: bool,
}

/// All claims.
pub(crate) fn check(cells: &[Cell], beside: &Beside) -> Vec<Claim> {
    let matrix = Matrix(cells);
    let mut claims = vec![
        first_touch(&matrix),
        tail(&matrix, beside.ratio),
        no_swap(&matrix),
    ];
    claims.extend(NOT_KEPT_AWAY.map(|(column, what)| still_faults(&matrix, column, what)));
    for row in PINNED {
        claims.push(stays(&matrix, row));
        claims.push(no_fault(&matrix, row));
        claims.push(only_aged(&matrix, row));
        claims.push(only_unmapped(&matrix, row));
        claims.push(steady(&matrix, row));
        claims.push(released(beside.release, row));
    }
    claims.push(page_requests_like_stalls(&matrix));
    claims.push(warm(&matrix, beside.used_pages));
    claims.push(not_kept_warm(&matrix, beside.smmu_may_set_access_flags));
    claims.push(queue_is_its_own(beside.rules));
    claims.push(counts_agree(&matrix));
    claims
}

/// What mlock(2) does not promise to keep away, and what it is called.
const NOT_KEPT_AWAY: [(&str, &str); 8] = [
    ("migrate", "migration"),
    ("compaction", "compaction"),
    ("collapse", "MADV_COLLAPSE"),
    ("khugepaged", "khugepaged"),
    ("numa_balancing", "NUMA balancing"),
    ("cma", "a CMA allocation"),
    ("ksm", "KSM"),
    ("fork", "fork"),
];

/// A claim's answer and its evidence, or why there is none.
type Answer = Result<(bool, String), String>;

fn claim(name: impl Into<String>, answer: Answer) -> Claim {
    let (pass, evidence) = match answer {
        Ok((pass, evidence)) => (Some(pass), evidence),
        Err(reason) => (None, reason),
    };
    Claim {
        name: name.into(),
        pass,
        evidence,
    }
}

/// Why a claim about what is measured beside the matrix is not checked.
const NO_BESIDE: &str = "the guest beside the matrix did not report it";

struct Matrix<'a>(&'a [Cell]);

impl<'a> Matrix<'a> {
    /// A cell's figures, or why there are none.
    fn figures(&self, row: &str, column: &str) -> Result<&'a Figures, String> {
        let cell = self
            .0
            .iter()
            .find(|cell| cell.row == row && cell.column == column)
            .ok_or_else(|| format!("{row} under {column} was not asked for"))?;
        cell.measured().ok_or_else(|| {
            let reason = cell.reason.as_deref().unwrap_or("no figures");
            format!("{row} under {column}: {reason}")
        })
    }

    /// All cells of a row.
    fn all_of(&self, row: &str) -> impl Iterator<Item = &'a Cell> {
        self.0.iter().filter(move |cell| cell.row == row)
    }

    fn faults(&self, row: &str, column: &str) -> Result<u64, String> {
        Ok(self.figures(row, column)?.faults.device)
    }

    /// The cells of a row that were measured, or why there are none.
    fn row(&self, row: &str) -> Result<Vec<&'a Cell>, String> {
        let all: Vec<&Cell> = self.all_of(row).collect();
        let measured: Vec<&Cell> = all
            .iter()
            .filter(|cell| cell.measured().is_some())
            .copied()
            .collect();
        if measured.is_empty() {
            return Err(match all.first().and_then(|cell| cell.reason.as_deref()) {
                Some(reason) => reason.to_owned(),
                None => format!("row {row} was not asked for"),
            });
        }
        Ok(measured)
    }
}

/// What holds in each of the cells that were measured is not known to hold in all of them.
fn of_all<'a>(answer: Answer, mut all: impl Iterator<Item = &'a Cell>) -> Answer {
    let lacking = |cell: &Cell| matches!(cell.status, Status::Failed | Status::Missing);
    match answer {
        Ok((true, evidence)) => match all.find(|cell| lacking(cell)) {
            Some(cell) => Err(format!(
                "{evidence}, but {} under {} was not measured",
                cell.row, cell.column
            )),
            None => Ok((true, evidence)),
        },
        other => other,
    }
}

/// "swap 3, fork 5" for those with more than none.
fn list(cells: &[&Cell], of: &dyn Fn(&Cell) -> u64) -> String {
    let some: Vec<String> = cells
        .iter()
        .filter(|cell| of(cell) > 0)
        .map(|cell| format!("{} {}", cell.column, of(cell)))
        .collect();
    some.join(", ")
}

fn first_touch(matrix: &Matrix) -> Claim {
    let answer = || {
        let none = matrix.faults("none", "none")?;
        let mut evidence = format!("none {none}");
        let mut others = 0;
        for row in ["touched", "populate", "mlock"] {
            let faults = matrix.faults(row, "none")?;
            others += faults;
            evidence.push_str(&format!(", {row} {faults}"));
        }
        Ok((
            none > 0 && others == 0,
            format!("IO page faults without activity: {evidence}"),
        ))
    };
    claim(
        "the first touch of unprepared memory faults; touched, populated and locked memory does not",
        answer(),
    )
}

fn tail(matrix: &Matrix, ratio: Option<&Ratio>) -> Claim {
    let answer = || {
        let ratio = ratio.ok_or(NO_BESIDE)?;
        let latency = matrix.figures("none", "none")?.latency_ns;
        Ok((
            latency.p99 >= latency.p50 + ratio.io_fault_ns,
            format!(
                "p50 {} ns, p99 {} ns; one fault costs {} ns",
                latency.p50, latency.p99, ratio.io_fault_ns
            ),
        ))
    };
    claim(
        "the tail of unprepared memory is set by the fault",
        answer(),
    )
}

fn no_swap(matrix: &Matrix) -> Claim {
    let answer = || {
        let locked = matrix.figures("mlock", "swap")?;
        let gone: u64 = locked.steps.iter().map(|step| step.memory.gone).sum();
        let touched = matrix.faults("touched", "swap")?;
        Ok((
            locked.faults.device == 0 && gone == 0 && touched > 0,
            format!(
                "mlock: {} IO page faults, {gone} pages taken; touched: {touched} faults",
                locked.faults.device
            ),
        ))
    };
    claim("mlock keeps swap-out away", answer())
}

fn still_faults(matrix: &Matrix, column: &str, what: &str) -> Claim {
    let answer = || {
        let faults = matrix.faults("mlock", column)?;
        Ok((
            faults > 0,
            format!("{faults} IO page faults on locked memory"),
        ))
    };
    claim(
        format!("mlock does not keep {what} away: locked memory faults"),
        answer(),
    )
}

/// Pinned pages of a file are still its cache, which reclaim unmaps before it looks for pins.
const FILE: &str = "file";
/// Reclaim ages pinned pages like others, and leaves them where they are.
const AGED: &str = "memcg";

fn stays(matrix: &Matrix, row: &str) -> Claim {
    let answer = || {
        let cells = matrix.row(row)?;
        let left = |cell: &Cell| {
            let steps = cell.measured().map_or(&[][..], |figures| &figures.steps);
            let moves = steps.iter().map(|step| step.memory);
            // Not present is not gone where it is only unmapped; `only_unmapped` looks at that.
            moves
                .map(|it| it.moved + if cell.column == FILE { 0 } else { it.gone })
                .sum()
        };
        let moved = list(&cells, &left);
        Ok(if moved.is_empty() {
            (true, format!("no page moved in {} columns", cells.len()))
        } else {
            (false, format!("pages moved or taken: {moved}"))
        })
    };
    claim(
        format!("memory pinned by {row} stays where it is in every column"),
        of_all(answer(), matrix.all_of(row)),
    )
}

fn no_fault(matrix: &Matrix, row: &str) -> Claim {
    let answer = || {
        let mut cells = matrix.row(row)?;
        cells.retain(|cell| cell.column != FILE && cell.column != AGED);
        let faults = list(&cells, &|cell| cell.device_faults().unwrap_or(0));
        Ok(if faults.is_empty() {
            (true, format!("no IO page fault in {} columns", cells.len()))
        } else {
            (false, format!("IO page faults: {faults}"))
        })
    };
    claim(
        format!(
            "anonymous memory pinned by {row} takes no IO page fault in any column but that of \
             reclaim"
        ),
        of_all(
            answer(),
            matrix
                .all_of(row)
                .filter(|cell| cell.column != FILE && cell.column != AGED),
        ),
    )
}

fn only_aged(matrix: &Matrix, row: &str) -> Claim {
    let answer = || {
        let faults = &matrix.figures(row, AGED)?.faults;
        let access = faults.kinds.get(&FaultKind::Access).copied().unwrap_or(0);
        Ok((
            faults.device == access,
            match faults.device {
                0 => "no IO page fault".to_owned(),
                all => format!(
                    "{all} IO page faults, {access} of them F_ACCESS: reclaim clears the access flag \
                     of pinned pages too"
                ),
            },
        ))
    };
    claim(
        format!("reclaim makes memory pinned by {row} fault on the access flag only"),
        answer(),
    )
}

fn only_unmapped(matrix: &Matrix, row: &str) -> Claim {
    let answer = || {
        let figures = matrix.figures(row, FILE)?;
        let moved: u64 = figures.steps.iter().map(|step| step.memory.moved).sum();
        let unmapped: u64 = figures.steps.iter().map(|step| step.memory.gone).sum();
        let read = figures.counters.get("workingset_refault_file");
        let read = read.copied().unwrap_or(0);
        Ok((
            moved == 0 && read == 0,
            format!(
                "{unmapped} pages unmapped, {} IO page faults, {moved} moved, {read} read again",
                figures.faults.device
            ),
        ))
    };
    claim(
        format!("pages of a file pinned by {row} are unmapped by reclaim at most, never dropped"),
        answer(),
    )
}

/// Above this, p99/p50 is not close to 1.
const STEADY_PERCENT: u64 = 150;

fn steady(matrix: &Matrix, row: &str) -> Claim {
    let answer = || {
        let latency = matrix.figures(row, "none")?.latency_ns;
        Ok((
            latency.p99 * 100 <= latency.p50 * STEADY_PERCENT,
            format!(
                "p99/p50 = {:.2} ({} ns, {} ns)",
                latency.p99 as f64 / latency.p50 as f64,
                latency.p99,
                latency.p50
            ),
        ))
    };
    claim(
        format!("p99/p50 of memory pinned by {row} is close to 1 (at most 1.5)"),
        answer(),
    )
}

fn released(release: &[Release], row: &str) -> Claim {
    let answer = || {
        let release = release
            .iter()
            .find(|release| release.row == row)
            .ok_or("was not tried")?;
        match (release.pinned, release.acquired, release.released) {
            (Some(pinned), Some(acquired), Some(released)) => Ok((
                pinned > 0 && acquired == released,
                format!("{pinned} pages pinned; acquired {acquired}, released {released}"),
            )),
            _ => Err(release.reason.clone().unwrap_or_default()),
        }
    };
    claim(
        format!("everything pinned by {row} is unpinned after kill -9 under DMA"),
        answer(),
    )
}

fn page_requests_like_stalls(matrix: &Matrix) -> Claim {
    let answer = || {
        let absent = matrix.faults("ats_none", "none")?;
        let touched = matrix.faults("ats_touched", "none")?;
        let prefilled = matrix.faults(PREFILLED, "none")?;
        Ok((
            absent > 0 && touched == 0 && prefilled == 0,
            format!(
                "page requests without activity: ats_none {absent}, ats_touched {touched}, \
                 {PREFILLED} {prefilled}"
            ),
        ))
    };
    claim(
        "a device that asks for pages does so on the first touch; touched and prefilled memory \
         takes no page request",
        answer(),
    )
}

/// The row whose translations are asked for ahead of use.
const PREFILLED: &str = "ats_prefill";
/// Pages of the test engine's two rings.
const RING_PAGES: u64 = 2;

fn warm(matrix: &Matrix, used_pages: u64) -> Claim {
    let answer = || {
        let figures = matrix.figures(PREFILLED, "none")?;
        let ats = figures.ats.ok_or("no translation cache")?;
        Ok((
            (1..=used_pages + RING_PAGES).contains(&ats.translation_requests),
            format!(
                "{} translation requests for {used_pages} pages and {RING_PAGES} of rings in {} \
                 operations",
                ats.translation_requests, figures.ops
            ),
        ))
    };
    claim(
        "prefilled translations stay warm while the kernel does nothing",
        answer(),
    )
}

fn not_kept_warm(matrix: &Matrix, smmu_may_set_access_flags: bool) -> Claim {
    let answer = || {
        let mut cells = matrix.row(PREFILLED)?;
        cells.retain(|cell| cell.column != "none");
        if cells.is_empty() {
            return Err(format!(
                "{PREFILLED} under no activity but none was asked for"
            ));
        }
        let of = |cell: &Cell| {
            let figures = cell.measured()?;
            Some((
                figures.ats?.invalidations,
                figures.faults.page_request_groups,
            ))
        };
        let all = cells.iter().all(|cell| {
            // Of pages in use, reclaim takes no more than the access flag.
            let spared = smmu_may_set_access_flags && cell.column == AGED;
            of(cell)
                .is_some_and(|(invalidations, groups)| invalidations > 0 && (groups > 0 || spared))
        });
        let list: Vec<String> = cells
            .iter()
            .filter_map(|cell| {
                let (invalidations, groups) = of(cell)?;
                Some(format!("{} {invalidations}/{groups}", cell.column))
            })
            .collect();
        Ok((
            all,
            format!("invalidations/page requests: {}", list.join(", ")),
        ))
    };
    claim(
        "warm translations are no pins: under every activity the kernel invalidates some, and the \
         device has to ask for pages",
        of_all(answer(), matrix.all_of(PREFILLED)),
    )
}

fn queue_is_its_own(rules: Option<&Rules>) -> Claim {
    let answer = || {
        let rules = rules.ok_or(NO_BESIDE)?;
        let attempts: Vec<String> = rules
            .child
            .iter()
            .map(|(attempt, outcome)| format!("{attempt}: {outcome}"))
            .collect();
        let refused = !rules.child.is_empty() && rules.child.values().all(|it| it != "allowed");
        Ok((refused && rules.parent_goes_on, attempts.join(", ")))
    };
    claim(
        "a child inherits no mapping of its parent's queue and is refused the use of it",
        answer(),
    )
}

fn counts_agree(matrix: &Matrix) -> Claim {
    let answer = || {
        let measured: Vec<&Cell> = matrix
            .0
            .iter()
            .filter(|cell| cell.status == Status::Ok)
            .collect();
        if measured.is_empty() {
            return Err("no cell was measured".to_owned());
        }
        let differing: Vec<String> = measured
            .iter()
            .filter_map(|cell| {
                let faults = &cell.measured()?.faults;
                let guest = faults.guest.unwrap_or(faults.device);
                (faults.device != faults.smmu || faults.device != guest).then(|| {
                    format!(
                        "{} under {}: {}, {}, {guest}",
                        cell.row, cell.column, faults.device, faults.smmu
                    )
                })
            })
            .collect();
        Ok(if differing.is_empty() {
            (true, format!("in all of {} cells", measured.len()))
        } else {
            (false, differing.join("; "))
        })
    };
    claim(
        "device, SMMU and kernel count the same IO page faults",
        of_all(answer(), matrix.0.iter()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Ats;
    use crate::report::tests::sample;

    /// The sample's measured cell as that of a pin interface in another column.
    fn pinned(column: &'static str) -> Vec<Cell> {
        let mut cells = sample().cells;
        cells.truncate(1);
        cells[0].row = "uacce_ctrl";
        cells[0].column = column;
        cells
    }

    #[test]
    fn a_pinned_page_that_moves_fails_the_claim() {
        let claim = stays(&Matrix(&pinned("swap")), "uacce_ctrl");
        assert_eq!(claim.pass, Some(false));
        // One moved and two taken in the sample.
        assert_eq!(claim.evidence, "pages moved or taken: swap 3");
    }

    #[test]
    fn a_pinned_page_that_faults_fails_the_claim() {
        let claim = no_fault(&Matrix(&pinned("ksm")), "uacce_ctrl");
        assert_eq!(claim.pass, Some(false));
        assert_eq!(claim.evidence, "IO page faults: ksm 3");
    }

    #[test]
    fn faults_of_another_kind_than_ageing_fail_the_claim() {
        let mut cells = pinned(AGED);
        assert_eq!(only_aged(&Matrix(&cells), "uacce_ctrl").pass, Some(false));
        let faults = &mut cells[0].figures.as_mut().unwrap().faults;
        faults.kinds = [(FaultKind::Access, faults.device)].into();
        assert_eq!(only_aged(&Matrix(&cells), "uacce_ctrl").pass, Some(true));
    }

    #[test]
    fn what_was_not_measured_is_not_checked() {
        let cells = sample().cells;
        let claim = no_fault(&Matrix(&cells), "mempinfd");
        assert_eq!(claim.pass, None);
        assert_eq!(claim.evidence, "this kernel has none");
        assert_eq!(steady(&Matrix(&cells), "uacce_ctrl").pass, None);
    }

    #[test]
    fn a_claim_about_every_column_needs_every_column() {
        let mut cells = pinned("swap");
        cells.extend(pinned("ksm"));
        for step in &mut cells[0].figures.as_mut().unwrap().steps {
            step.memory = Default::default();
        }
        (cells[1].status, cells[1].figures) = (Status::Missing, None);
        let claim = stays(&Matrix(&cells), "uacce_ctrl");
        assert_eq!(claim.pass, None);
        assert_eq!(
            claim.evidence,
            "no page moved in 1 columns, but uacce_ctrl under ksm was not measured"
        );
        // What was measured is enough to fail it.
        cells[0] = pinned("swap").remove(0);
        assert_eq!(stays(&Matrix(&cells), "uacce_ctrl").pass, Some(false));
    }

    #[test]
    fn pins_that_stay_after_a_kill_fail_the_claim() {
        let release = |released| Release {
            row: "uacce_ctrl".to_owned(),
            reason: None,
            pinned: Some(512),
            acquired: Some(512),
            released: Some(released),
        };
        assert_eq!(released(&[release(512)], "uacce_ctrl").pass, Some(true));
        assert_eq!(released(&[release(511)], "uacce_ctrl").pass, Some(false));
        assert_eq!(released(&[], "uacce_ctrl").pass, None);
    }

    #[test]
    fn counts_that_differ_fail_the_claim() {
        let mut cells = sample().cells;
        assert_eq!(counts_agree(&Matrix(&cells)).pass, Some(true));
        cells[0].figures.as_mut().unwrap().faults.guest = Some(2);
        let claim = counts_agree(&Matrix(&cells));
        assert_eq!(claim.pass, Some(false));
        assert_eq!(claim.evidence, "none under swap: 3, 3, 2");
    }
    /// The sample's measured cell as that of the row with prefill.
    fn prefilled(column: &'static str, translation_requests: u64, invalidations: u64) -> Vec<Cell> {
        let mut cells = pinned(column);
        cells[0].row = PREFILLED;
        let figures = cells[0].figures.as_mut().unwrap();
        figures.faults.page_request_groups = figures.faults.device;
        figures.ats = Some(Ats {
            translation_requests,
            invalidations,
        });
        cells
    }

    #[test]
    fn translations_asked_for_again_fail_the_claim_that_they_stay_warm() {
        let pass = |requests| warm(&Matrix(&prefilled("none", requests, 0)), 64).pass;
        assert_eq!(pass(66), Some(true));
        assert_eq!(pass(67), Some(false));
        // Somebody has to have asked.
        assert_eq!(pass(0), Some(false));
    }

    #[test]
    fn an_activity_that_invalidates_nothing_fails_the_claim_about_warm_translations() {
        let claim = |cells: &[Cell]| not_kept_warm(&Matrix(cells), false);
        let held = claim(&prefilled("swap", 66, 5));
        assert_eq!(held.pass, Some(true));
        assert_eq!(held.evidence, "invalidations/page requests: swap 5/3");
        assert_eq!(claim(&prefilled("swap", 66, 0)).pass, Some(false));
        // Without an activity there is nothing to say.
        assert_eq!(claim(&prefilled("none", 66, 0)).pass, None);
    }

    #[test]
    fn an_smmu_that_sets_access_flags_may_spare_the_device_reclaim_and_nothing_else() {
        let pass = |column, sets| {
            let mut cells = prefilled(column, 66, 5);
            cells[0]
                .figures
                .as_mut()
                .unwrap()
                .faults
                .page_request_groups = 0;
            not_kept_warm(&Matrix(&cells), sets).pass
        };
        assert_eq!(pass(AGED, true), Some(true));
        assert_eq!(pass(AGED, false), Some(false));
        assert_eq!(pass("swap", true), Some(false));
    }
}

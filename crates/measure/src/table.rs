//! The matrix for people.

use std::fmt::Write;

use crate::matrix::{self, COLUMNS, ROWS};
use crate::report::{Cell, Figures, Report};
use crate::said::Status;

/// The grids, what could not be measured, what preparing costs, the claims.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    if let Some(incomplete) = &report.incomplete {
        writeln!(text, "\nThis measurement is {incomplete}").expect("strings take all");
    }
    text.push_str("\nIO page faults\n\n");
    let show = |of: &dyn Fn(&Figures) -> String| {
        grid(report, &report.rows, &|cell| {
            cell.measured().map_or_else(|| missing(cell), of)
        })
    };
    text.push_str(&show(&|figures| count(figures.faults.device)));
    text.push_str("\nUsed pages of the prepared memory that the activity moved or took away\n\n");
    text.push_str(&grid(report, &report.rows, &|cell| {
        cell.disturbed_pages().map_or_else(|| missing(cell), count)
    }));
    text.push_str("\np99 latency of an operation, µs of virtual time\n\n");
    text.push_str(&show(&|figures| microseconds(figures.latency_ns.p99)));
    text.push_str("\nGreatest latency, µs\n\n");
    text.push_str(&show(&|figures| microseconds(figures.latency_ns.max)));
    let translating = rows_with_ats(report);
    if !translating.is_empty() {
        text.push_str("\nTranslations that the device asked for / invalidations sent to it\n\n");
        text.push_str(&grid(report, &translating, &|cell| {
            let ats = cell.measured().and_then(|figures| figures.ats);
            ats.map_or_else(
                || missing(cell),
                |ats| format!("{}/{}", ats.translation_requests, ats.invalidations),
            )
        }));
    }
    text.push_str(&notes(report));
    text.push_str("\nCost of preparing\n\n");
    text.push_str(&costs(report));
    if let Some(fault) = &report.page_fault {
        writeln!(
            text,
            "\nA page fault on the same absent page: CPU {} µs, IO {} µs, ratio {:.1} (literature: 3 to 80)",
            microseconds(fault.cpu_fault_ns),
            microseconds(fault.io_fault_ns),
            fault.ratio
        )
        .expect("strings take all");
    }
    text.push('\n');
    for claim in &report.claims {
        let mark = match claim.pass {
            Some(true) => "holds      ",
            Some(false) => "FAILS      ",
            None => "not checked",
        };
        writeln!(text, "{mark}  {}", claim.name).expect("strings take all");
        writeln!(text, "             {}", claim.evidence).expect("strings take all");
    }
    text
}

/// From the first column in which a row was measured; preparing is the same in most.
fn costs(report: &Report) -> String {
    let mut lines = vec![
        ["", "time µs", "present", "locked", "pinned pages"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in &report.rows {
        let cells = report.cells.iter().filter(|cell| cell.row == *row);
        let Some(figures) = cells.filter_map(Cell::measured).next() else {
            continue;
        };
        let prepare = figures.prepare;
        lines.push(vec![
            matrix::find(ROWS, row).map_or("", |it| it.title).to_owned(),
            microseconds(prepare.ns),
            count(prepare.present_pages),
            count(prepare.locked_pages),
            count(prepare.pinned_pages),
        ]);
    }
    align(&lines)
}

fn count(number: u64) -> String {
    number.to_string()
}

fn missing(cell: &Cell) -> String {
    mark(cell.status).to_owned()
}

/// What stands for a cell without figures.
fn mark(status: Status) -> &'static str {
    match status {
        Status::Failed => "FAILED",
        Status::Missing => "missing",
        Status::Ok | Status::Unavailable => "n/a",
    }
}

/// Rows whose device has a translation cache, as far as they were measured.
pub fn rows_with_ats(report: &Report) -> Vec<&'static str> {
    let measured = |row: &str| {
        let mut cells = report.cells.iter().filter(|cell| cell.row == row);
        cells.any(|cell| cell.measured().is_some_and(|it| it.ats.is_some()))
    };
    let rows = report.rows.iter().copied();
    rows.filter(|row| measured(row)).collect()
}

fn grid(report: &Report, rows: &[&str], show: &dyn Fn(&Cell) -> String) -> String {
    let title = |headings, name| matrix::find(headings, name).map_or("", |it| it.title);
    let mut lines = vec![
        std::iter::once(String::new())
            .chain(
                report
                    .columns
                    .iter()
                    .map(|name| title(COLUMNS, name).to_owned()),
            )
            .collect::<Vec<_>>(),
    ];
    for row in rows {
        let mut line = vec![title(ROWS, row).to_owned()];
        for column in &report.columns {
            let cell = report
                .cells
                .iter()
                .find(|cell| cell.row == *row && cell.column == *column);
            line.push(cell.map_or_else(String::new, show));
        }
        lines.push(line);
    }
    align(&lines)
}

/// The first column to the left, the others to the right.
fn align(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        write!(text, "{:<1$}", line[0], widths[0]).expect("strings take all");
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            write!(text, "  {cell:>width$}").expect("strings take all");
        }
        text.push('\n');
    }
    text
}

fn notes(report: &Report) -> String {
    let mut text = String::new();
    for (mark, place, reason) in reasons(report) {
        write!(text, "\n{mark}: {place}: {reason}").expect("strings take all");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Each reason for which there are no figures, once: mark, cells that it is about, reason.
pub fn reasons(report: &Report) -> Vec<(&'static str, String, &str)> {
    let mut reasons: Vec<(&str, Vec<&Cell>)> = Vec::new();
    for cell in &report.cells {
        let Some(reason) = cell.reason.as_deref() else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, cells)) => cells.push(cell),
            None => reasons.push((reason, vec![cell])),
        }
    }
    reasons
        .into_iter()
        .map(|(reason, cells)| {
            let failed = cells.iter().any(|cell| cell.status == Status::Failed);
            let status = if failed {
                Status::Failed
            } else {
                cells[0].status
            };
            (mark(status), place(report, &cells), reason)
        })
        .collect()
}

fn place(report: &Report, cells: &[&Cell]) -> String {
    let mut rows: Vec<&str> = cells.iter().map(|cell| cell.row).collect();
    rows.sort_unstable_by_key(|row| report.rows.iter().position(|it| it == row));
    rows.dedup();
    // Whole rows, or a part of one.
    if cells.len() > 1 && (rows.len() == 1 || cells.len() == rows.len() * report.columns.len()) {
        let word = if rows.len() == 1 { "row" } else { "rows" };
        return format!("{word} {}", rows.join(", "));
    }
    let first = cells[0];
    if cells.len() > 1 && cells.iter().all(|cell| cell.column == first.column) {
        return format!("column {}", first.column);
    }
    let names: Vec<String> = cells
        .iter()
        .map(|cell| format!("{} under {}", cell.row, cell.column))
        .collect();
    names.join(", ")
}

/// Three digits.
pub fn microseconds(ns: u64) -> String {
    let us = ns as f64 / 1000.0;
    let decimals = match us {
        us if us < 9.995 => 2,
        us if us < 99.95 => 1,
        _ => 0,
    };
    format!("{us:.decimals$}")
}

//! The measurement as one page: no script, nothing to fetch, readable on a phone and in the dark.

mod plot;

use std::fmt::Write;

use crate::matrix::{self, COLUMNS, Heading, ROWS};
use crate::report::{Ats, Cell, Figures, Report};
use crate::said::Status;
use crate::table::microseconds;

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn render(report: &Report) -> String {
    let mut page = String::new();
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Pinning against IO page faults</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n"
    )
    .expect("strings take all");
    head(report, &mut page);
    heat_maps(report, &mut page);
    claims(report, &mut page);
    curves(report, &mut page);
    timelines(report, &mut page);
    costs(report, &mut page);
    reasons(report, &mut page);
    evidence(report, &mut page);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// For text and for attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

fn heading(headings: &'static [Heading], name: &str) -> &'static Heading {
    matrix::find(headings, name).expect("a report's names are those of the matrix")
}

fn cell<'a>(report: &'a Report, row: &str, column: &str) -> Option<&'a Cell> {
    report
        .cells
        .iter()
        .find(|cell| cell.row == row && cell.column == column)
}

/// Which of the twelve strokes a row has: always the same, whatever was measured.
fn stroke(row: &str) -> usize {
    ROWS.iter().position(|it| it.name == row).unwrap_or(0)
}

macro_rules! put {
    ($page:expr, $($format:tt)*) => {
        write!($page, $($format)*).expect("strings take all")
    };
}
use put;

fn head(report: &Report, page: &mut String) {
    let settings = &report.settings;
    if let Some(incomplete) = &report.incomplete {
        put!(
            page,
            "<p class=\"fails\"><strong>This measurement is {}</strong></p>\n",
            escape(&incomplete.to_string())
        );
    }
    let page_fault = report.page_fault.as_ref().map_or_else(String::new, |fault| {
        format!(
            " A CPU page fault takes {} µs, an IO page fault on the same page {} µs: {:.1} times as \
             long (the literature has 3 to 80).",
            microseconds(fault.cpu_fault_ns),
            microseconds(fault.io_fault_ns),
            fault.ratio
        )
    });
    let count = |pass| report.claims.iter().filter(|it| it.pass == pass).count();
    put!(
        page,
        "<h1>Pinning against IO page faults</h1>\n\
         <p>An accelerator compresses pages of a process through shared virtual addresses. Rows: how \
         the process prepared its memory. Columns: what the kernel did with it meanwhile. In the rows \
         with ATS+PRI another accelerator copies pages: it keeps translations of its own, and asks for \
         absent pages instead of stalling.</p>\n\
         <p class=\"soft\">Linux {}, {} vCPUs, {} NUMA nodes, {} MiB; {} regions of {} slots, {} \
         passes; HAFDBS of the CPUs {}, HTTU of the SMMU {}; seed {}. All times are virtual.{}</p>\n\
         <p>Claims: <strong>{} hold</strong>, <strong>{} fail</strong>, {} not checked.</p>\n",
        escape(&report.kernel),
        settings.cpus,
        settings.nodes,
        settings.memory_bytes >> 20,
        settings.regions,
        settings.slots,
        settings.passes,
        settings.cpu_hafdbs,
        settings.smmu_httu,
        settings.seed,
        page_fault,
        count(Some(true)),
        count(Some(false)),
        count(None),
    );
}

fn heat_maps(report: &Report, page: &mut String) {
    put!(page, "<h2 id=\"faults\">The matrix</h2>\n");
    heat_map(
        report,
        &report.rows,
        page,
        "IO page faults of the device",
        &|cell| cell.device_faults(),
        &|faults| faults.to_string(),
    );
    put!(page, "<p></p>\n");
    heat_map(
        report,
        &report.rows,
        page,
        "99.9th percentile of an operation's latency, in µs",
        &|cell| cell.measured().map(|figures| figures.latency_ns.p999),
        &microseconds,
    );
    put!(page, "<p></p>\n");
    heat_map(
        report,
        &report.rows,
        page,
        "Used pages of the prepared memory that the activity moved or took away",
        &|cell| cell.disturbed_pages(),
        &|pages| pages.to_string(),
    );
    let translating = crate::table::rows_with_ats(report);
    if translating.is_empty() {
        return;
    }
    for (caption, of) in [
        (
            "Invalidations that the kernel sent to the device's translation cache",
            (|ats| ats.invalidations) as fn(Ats) -> u64,
        ),
        ("Translations that the device asked for", |ats| {
            ats.translation_requests
        }),
    ] {
        put!(page, "<p></p>\n");
        heat_map(
            report,
            &translating,
            page,
            caption,
            &|cell| cell.measured()?.ats.map(of),
            &|count| count.to_string(),
        );
    }
}

/// A table whose cells are the darker the larger they are, on a logarithmic scale.
fn heat_map(
    report: &Report,
    rows: &[&str],
    page: &mut String,
    caption: &str,
    of: &dyn Fn(&Cell) -> Option<u64>,
    show: &dyn Fn(u64) -> String,
) {
    let values: Vec<u64> = report.cells.iter().filter_map(of).collect();
    let least = values.iter().copied().min().unwrap_or(0);
    let most = values.iter().copied().max().unwrap_or(0);
    // From the least, if that is not zero: latencies differ by factors.
    let log = |value: u64| (value.max(1) as f64 / least.max(1) as f64).ln();
    let level = |value: u64| match value {
        value if value == least => 0,
        // All that is not zero shows.
        value if least == 0 => (log(value) / log(most).max(1.0) * 6.0)
            .ceil()
            .clamp(1.0, 6.0) as u32,
        value => (log(value) / log(most) * 6.0).round() as u32,
    };
    put!(
        page,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\
         <table>\n<caption><span>{caption}</span></caption>\n<thead><tr><td></td>"
    );
    for column in &report.columns {
        let column = heading(COLUMNS, column);
        put!(
            page,
            "<th scope=\"col\" title=\"{}\">{}</th>",
            escape(column.about),
            escape(column.title)
        );
    }
    put!(page, "</tr></thead>\n<tbody>\n");
    for row in rows {
        let title = heading(ROWS, row);
        put!(
            page,
            "<tr><th scope=\"row\" title=\"{}\">{}</th>",
            escape(title.about),
            escape(title.title)
        );
        for column in &report.columns {
            let Some(cell) = cell(report, row, column) else {
                put!(page, "<td></td>");
                continue;
            };
            match of(cell) {
                Some(value) => put!(page, "<td class=\"h{}\">{}</td>", level(value), show(value)),
                None => put!(
                    page,
                    "<td class=\"na\" title=\"{}\">{}</td>",
                    escape(cell.reason.as_deref().unwrap_or("")),
                    match cell.status {
                        Status::Failed => "failed",
                        Status::Missing => "missing",
                        Status::Ok | Status::Unavailable => "n/a",
                    }
                ),
            }
        }
        put!(page, "</tr>\n");
    }
    put!(page, "</tbody></table></div>\n");
}

fn claims(report: &Report, page: &mut String) {
    put!(
        page,
        "<h2 id=\"claims\">Claims</h2>\n<ul class=\"claims\">\n"
    );
    for claim in &report.claims {
        let (class, mark) = match claim.pass {
            Some(true) => ("holds", "✓ holds"),
            Some(false) => ("fails", "✗ fails"),
            None => ("soft", "– not checked"),
        };
        put!(
            page,
            "<li><span class=\"mark {class}\">{mark}</span> {}<span class=\"soft\">{}</span></li>\n",
            escape(&claim.name),
            escape(&claim.evidence)
        );
    }
    put!(page, "</ul>\n");
}

fn legend(report: &Report, page: &mut String) {
    put!(page, "<ul class=\"legend\">");
    for row in &report.rows {
        put!(
            page,
            "<li><svg viewBox=\"0 0 32 11\" aria-hidden=\"true\"><line x1=\"0\" x2=\"32\" y1=\"6\" \
             y2=\"6\" class=\"r{}\"/></svg>{}</li>",
            stroke(row),
            escape(heading(ROWS, row).title)
        );
    }
    put!(page, "</ul>\n");
}

/// The cells of a column that were measured, with their rows.
fn measured<'a>(report: &'a Report, column: &str) -> Vec<(&'static str, &'a Figures)> {
    report
        .rows
        .iter()
        .filter_map(|row| Some((*row, cell(report, row, column)?.measured()?)))
        .collect()
}

fn curves(report: &Report, page: &mut String) {
    put!(
        page,
        "<h2 id=\"latency\">Latency of an operation</h2>\n<p class=\"soft\">How many operations took \
         at most so long: both scales are logarithmic, so that each further nine of the tail has \
         as much room as the one before.</p>\n"
    );
    legend(report, page);
    put!(page, "<div class=\"panels\">\n");
    let greatest = report
        .cells
        .iter()
        .filter_map(|cell| Some(cell.measured()?.latency_ns.max))
        .max()
        .unwrap_or(0);
    for column in &report.columns {
        let cells = measured(report, column);
        if !cells.is_empty() {
            let title = heading(COLUMNS, column).title;
            put!(
                page,
                "<figure class=\"panel\"><figcaption>{}</figcaption>{}</figure>\n",
                escape(title),
                plot::curves(title, &cells, greatest)
            );
        }
    }
    put!(page, "</div>\n");
}

fn timelines(report: &Report, page: &mut String) {
    put!(
        page,
        "<h2 id=\"timeline\">When the faults came</h2>\n<p class=\"soft\">From the first operation of \
         each cell; the taller a mark, the more faults. Grey: a step of the activity is under way.</p>\n<div class=\"panels\">\n"
    );
    for column in &report.columns {
        let cells = measured(report, column);
        if !cells.is_empty() {
            let title = heading(COLUMNS, column).title;
            put!(
                page,
                "<figure class=\"panel\"><figcaption>{}</figcaption>{}</figure>\n",
                escape(title),
                plot::timeline(title, &cells)
            );
        }
    }
    put!(page, "</div>\n");
}

fn costs(report: &Report, page: &mut String) {
    put!(
        page,
        "<h2 id=\"cost\">Cost of preparing</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"Cost of preparing\"><table>\n<caption><span>From the first column in which a row \
         was measured; pages of 4 KiB</span></caption>\n<thead><tr><td></td><th scope=\"col\">time, \
         µs</th><th scope=\"col\">present</th><th scope=\"col\">locked</th><th \
         scope=\"col\">pinned</th></tr></thead>\n<tbody>\n"
    );
    for row in &report.rows {
        let mut cells = report.cells.iter().filter(|cell| cell.row == *row);
        if let Some(figures) = cells.find_map(Cell::measured) {
            let prepare = figures.prepare;
            put!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                escape(heading(ROWS, row).title),
                microseconds(prepare.ns),
                prepare.present_pages,
                prepare.locked_pages,
                prepare.pinned_pages
            );
        }
    }
    put!(page, "</tbody></table></div>\n");
}

/// Why cells have no figures.
fn reasons(report: &Report, page: &mut String) {
    let reasons = crate::table::reasons(report);
    if reasons.is_empty() {
        return;
    }
    put!(
        page,
        "<h2 id=\"missing\">What was not measured, and why</h2>\n<ul>\n"
    );
    for (mark, place, reason) in reasons {
        put!(
            page,
            "<li>{mark}: {}: {}</li>\n",
            escape(&place),
            escape(reason)
        );
    }
    put!(page, "</ul>\n");
}

/// What each activity did, cell by cell.
fn evidence(report: &Report, page: &mut String) {
    put!(
        page,
        "<details><summary>Evidence that each activity took place</summary>\n<div class=\"scroll\" \
         tabindex=\"0\" role=\"region\" aria-label=\"Evidence\"><table>\n<caption><span>Pages moved and taken \
         of those present before each step, summed; kinds of faults; growth of the kernel's \
         counters</span></caption>\n<thead><tr><td></td><th scope=\"col\">column</th><th \
         scope=\"col\">memory</th><th scope=\"col\">bystander</th><th scope=\"col\">refused</th>\
         <th scope=\"col\">faults</th><th scope=\"col\">counters</th></tr></thead>\n<tbody>\n"
    );
    for cell in &report.cells {
        let Some(figures) = cell.measured() else {
            continue;
        };
        let sum = |of: &dyn Fn(&crate::said::Step) -> crate::said::Moves| {
            let moves = figures.steps.iter().map(of);
            let (pages, left) = moves.fold((0, 0), |(pages, left), moves| {
                (pages + moves.pages, left + moves.moved + moves.gone)
            });
            format!("{left} of {pages}")
        };
        let refused = figures
            .steps
            .iter()
            .find_map(|step| step.refused.as_deref());
        let counters: Vec<String> = figures
            .counters
            .iter()
            .map(|(name, growth)| format!("{name} {growth}"))
            .collect();
        let kinds: Vec<String> = figures
            .faults
            .kinds
            .iter()
            .map(|(kind, count)| format!("{} {count}", kind.name()))
            .collect();
        put!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"text\">{}</td><td class=\"text\">{}</td></tr>\n",
            escape(heading(ROWS, cell.row).title),
            escape(heading(COLUMNS, cell.column).title),
            sum(&|step| step.memory),
            sum(&|step| step.bystander),
            escape(refused.unwrap_or("")),
            escape(&kinds.join(", ")),
            escape(&counters.join(", "))
        );
    }
    put!(page, "</tbody></table></div></details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn nothing_is_fetched_and_nothing_runs() {
        let page = render(&sample());
        for forbidden in ["http://", "https://", "<script", "src=", "url(", "@import"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("name=\"viewport\""));
    }

    #[test]
    fn text_is_escaped() {
        let page = render(&sample());
        assert!(page.contains("a &lt; b") && page.contains("1 &amp; 2"));
        assert!(!page.contains("a < b"));
    }

    #[test]
    fn each_row_and_column_has_its_figure() {
        let page = render(&sample());
        assert!(page.contains("<th scope=\"row\" title=\"mapped, never touched\">nothing</th>"));
        assert!(
            page.contains("title=\"this kernel has none\">n/a</td>"),
            "{page}"
        );
        // The one column has a curve and a timeline.
        assert_eq!(page.matches("<figure").count(), 2);
        assert_eq!(page.matches("</figure>").count(), 2);
    }

    #[test]
    fn elements_are_closed_in_the_order_they_were_opened() {
        let page = render(&sample());
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1) {
            let tag = tag.split('>').next().unwrap();
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{page}");
            } else if !tag.ends_with('/') && !tag.starts_with('!') {
                let name = tag.split([' ', '\n']).next().unwrap();
                if name != "meta" {
                    open.push(name);
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

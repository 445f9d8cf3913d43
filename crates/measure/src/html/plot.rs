//! The plots, as SVG inside the page; colours come from its style sheet.

use std::fmt::Write;

use super::{escape, heading, put, stroke};
use crate::matrix::ROWS;
use crate::report::{Figures, TimelineFault};

/// Width and height of a plot's frame, and what is left and below of it for the axes.
const WIDTH: f64 = 290.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 44.0;
const BELOW: f64 = 32.0;

/// Latencies begin here: no operation is faster.
const LEAST_NS: f64 = 1000.0;

/// Quantiles of the report, as parts of 1000: 0, 10, .. 990, then 991, .. 1000.
fn permille(index: usize) -> f64 {
    if index < 100 {
        index as f64 * 10.0
    } else {
        990.0 + (index - 99) as f64
    }
}

/// How high a quantile stands, from 0 to 3 nines; what is above 99.9 % stays there.
fn nines(permille: f64) -> f64 {
    -(1.0 - permille / 1000.0).max(0.001).log10()
}

fn begin(svg: &mut String, label: &str) {
    put!(
        svg,
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
        LEFT + WIDTH + 8.0,
        HEIGHT + BELOW + 8.0,
        escape(label)
    );
}

/// Distribution functions of the latency of the cells of one column.
pub(super) fn curves(title: &str, cells: &[(&'static str, &Figures)], greatest_ns: u64) -> String {
    let decades = ((greatest_ns as f64 / LEAST_NS).log10().ceil()).max(1.0);
    let x = |ns: f64| LEFT + (ns.max(LEAST_NS) / LEAST_NS).log10() / decades * WIDTH;
    let y = |permille: f64| 8.0 + HEIGHT - nines(permille) / 3.0 * HEIGHT;
    let mut svg = String::new();
    let summary: Vec<String> = cells
        .iter()
        .map(|(row, figures)| {
            let latency = figures.latency_ns;
            format!(
                "{} median {} ns, 99th percentile {} ns",
                heading(ROWS, row).title,
                latency.p50,
                latency.p99
            )
        })
        .collect();
    begin(
        &mut svg,
        &format!("Latency, {title}: {}", summary.join("; ")),
    );
    for (permille, label) in [
        (0.0, "0"),
        (500.0, "50 %"),
        (900.0, "90 %"),
        (990.0, "99 %"),
        (999.0, "99.9 %"),
    ] {
        put!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {y:.1}h{WIDTH}\"/><text x=\"{tx}\" y=\"{ty:.1}\" \
             text-anchor=\"end\">{label}</text>",
            y = y(permille),
            tx = LEFT - 4.0,
            ty = y(permille) + 4.0,
        );
    }
    for decade in 0..=decades as u32 {
        let ns = LEAST_NS * 10f64.powi(decade as i32);
        put!(
            svg,
            "<path class=\"axis\" d=\"M{x:.1} 8v{HEIGHT}\"/><text x=\"{x:.1}\" y=\"{ty}\" \
             text-anchor=\"{anchor}\">{label}</text>",
            x = x(ns),
            ty = HEIGHT + 22.0,
            anchor = if decade == decades as u32 {
                "end"
            } else {
                "middle"
            },
            label = unit(ns)
        );
    }
    for (row, figures) in cells {
        put!(svg, "<path class=\"curve r{}\" d=\"", stroke(row));
        for (index, ns) in figures.quantiles_ns.iter().enumerate() {
            put!(
                svg,
                "{}{:.1} {:.1}",
                if index == 0 { 'M' } else { 'L' },
                x(*ns as f64),
                y(permille(index))
            );
        }
        put!(
            svg,
            "\"><title>{}</title></path>",
            escape(heading(ROWS, row).title)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn unit(ns: f64) -> String {
    match ns {
        ns if ns < 1e6 => format!("{} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{} ms", ns / 1e6),
        ns => format!("{} s", ns / 1e9),
    }
}

/// Marks along the time of a cell; more than these cannot be told apart.
const BINS: usize = 220;
const LANE: f64 = 20.0;
const LABELS: f64 = 108.0;

/// A lane for each cell of one column, with a mark where faults began.
pub(super) fn timeline(title: &str, cells: &[(&'static str, &Figures)]) -> String {
    let longest = cells
        .iter()
        .map(|(_, it)| it.duration_ns)
        .max()
        .unwrap_or(1)
        .max(1);
    let width = LEFT + WIDTH - LABELS;
    let height = cells.len() as f64 * LANE;
    let x = |ns: u64| LABELS + ns.min(longest) as f64 / longest as f64 * width;
    let most = cells
        .iter()
        .flat_map(|(_, figures)| bins(&figures.timeline, longest))
        .max()
        .unwrap_or(0);
    let mut svg = String::new();
    let summary: Vec<String> = cells
        .iter()
        .map(|(row, figures)| format!("{} {}", heading(ROWS, row).title, figures.faults.device))
        .collect();
    put!(
        svg,
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
        LEFT + WIDTH + 8.0,
        height + 26.0,
        escape(&format!(
            "Faults over time, {title}: {}",
            summary.join(", ")
        ))
    );
    for (lane, (row, figures)) in cells.iter().enumerate() {
        let base = (lane + 1) as f64 * LANE;
        for step in &figures.steps {
            put!(
                svg,
                "<rect class=\"band\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                x(step.start_ns),
                base - LANE + 1.0,
                (x(step.end_ns) - x(step.start_ns)).max(0.8),
                LANE - 1.0
            );
        }
        put!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <path class=\"axis\" d=\"M{LABELS} {base:.1}h{:.1}\"/>",
            LABELS - 4.0,
            base - 5.0,
            escape(heading(ROWS, row).title),
            x(figures.duration_ns) - LABELS
        );
        put!(svg, "<path class=\"ticks r{}\" d=\"", stroke(row));
        for (bin, count) in bins(&figures.timeline, longest).into_iter().enumerate() {
            if count > 0 {
                let tall = 0.25 + 0.75 * (count as f64).ln_1p() / (most as f64).ln_1p();
                let at = LABELS + (bin as f64 + 0.5) / BINS as f64 * width;
                put!(svg, "M{at:.1} {base:.1}v{:.1}", -tall * (LANE - 3.0));
            }
        }
        put!(svg, "\"/>");
    }
    for (part, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        put!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{} ms</text>",
            LABELS + part * width,
            height + 16.0,
            (part * longest as f64 / 1e4).round() / 100.0
        );
    }
    svg.push_str("</svg>");
    svg
}

fn bins(faults: &[TimelineFault], longest: u64) -> Vec<u64> {
    let mut bins = vec![0; BINS];
    for fault in faults {
        let bin = u128::from(fault.at_ns) * BINS as u128 / u128::from(longest);
        bins[(bin as usize).min(BINS - 1)] += 1;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stand_by_their_nines() {
        assert_eq!(permille(50), 500.0);
        assert_eq!(permille(99), 990.0);
        assert_eq!(permille(109), 1000.0);
        assert_eq!(nines(0.0), 0.0);
        assert!((nines(900.0) - 1.0).abs() < 1e-9);
        assert!((nines(999.0) - 3.0).abs() < 1e-9);
        assert!((nines(1000.0) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn every_fault_is_in_a_bin() {
        let fault = |at_ns| TimelineFault {
            at_ns,
            wait_ns: 1,
            write: false,
        };
        let bins = bins(&[fault(0), fault(999), fault(1000), fault(5000)], 1000);
        assert_eq!(bins[0], 1);
        assert_eq!(bins[BINS - 1], 3);
    }
}

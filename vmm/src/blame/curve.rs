//! The share of runs that still fail, over the time from which on they go on with draws of their own.

use std::collections::BTreeMap;
use std::fmt;

use plotters::prelude::*;

/// Columns of a bar.
const BAR: u64 = 40;
const WIDTH: u32 = 900;
const HEIGHT: u32 = 320;

/// What came of the runs from one point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub at_ns: u64,
    /// Those that fail in the same way.
    pub same: u64,
    pub runs: u64,
}

impl Point {
    fn share(self) -> f64 {
        self.same as f64 / self.runs as f64
    }
}

/// All points.
#[derive(Debug, Default)]
pub(super) struct Curve {
    by_time: BTreeMap<u64, Point>,
    /// Those that were looked at twice, too.
    points: u64,
}

impl Curve {
    pub(super) fn add(&mut self, point: Point) {
        self.points += 1;
        let known = self.by_time.entry(point.at_ns).or_insert(Point {
            same: 0,
            runs: 0,
            ..point
        });
        known.same += point.same;
        known.runs += point.runs;
    }

    /// How often a point was added.
    pub(super) fn points(&self) -> u64 {
        self.points
    }

    /// A picture, with the window in it.
    pub(super) fn svg(&self, window: (u64, u64)) -> String {
        let mut text = String::new();
        // Drawing to a string cannot fail.
        let _ = self.draw(&mut text, window);
        text
    }

    fn draw(
        &self,
        text: &mut String,
        window: (u64, u64),
    ) -> Result<(), Box<dyn std::error::Error>> {
        let us = |ns: u64| ns as f64 / 1000.0;
        let first = self.by_time.keys().next().copied().unwrap_or_default();
        let last = self
            .by_time
            .keys()
            .next_back()
            .copied()
            .unwrap_or(first)
            .max(window.1);
        let root = SVGBackend::with_string(text, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d(us(first)..us(last.max(first + 1)), 0.0..1.05)?;
        chart
            .configure_mesh()
            .x_desc("the guest's time, microseconds")
            .y_desc("share of runs that fail")
            .light_line_style(WHITE)
            .x_label_formatter(&|us| format!("{us:.0}"))
            .draw()?;
        let (open, decided) = (us(window.0), us(window.1));
        let window = [(open, 0.0), (decided, 1.05)];
        // Its edge is there however narrow it is.
        chart.draw_series([
            Rectangle::new(window, RED.mix(0.25).filled()),
            Rectangle::new(window, RED.stroke_width(1)),
        ])?;
        let points: Vec<(f64, f64)> = self
            .by_time
            .values()
            .map(|point| (us(point.at_ns), point.share()))
            .collect();
        chart.draw_series(LineSeries::new(points.iter().copied(), &BLUE))?;
        chart.draw_series(points.iter().map(|it| Circle::new(*it, 3, BLUE.filled())))?;
        root.present()?;
        drop(chart);
        Ok(())
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for point in self.by_time.values() {
            let bar = "#".repeat((point.same * BAR / point.runs) as usize);
            let line = format!("  {:>14} ns  {:.2}  {bar}", point.at_ns, point.share());
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_and_drawn() {
        let mut curve = Curve::default();
        for (at_ns, same) in [(3000, 4), (1000, 0), (2000, 2), (1000, 2)] {
            curve.add(Point {
                at_ns,
                same,
                runs: 4,
            });
        }
        let text = curve.to_string();
        let shares: Vec<&str> = text
            .lines()
            .map(|line| line.split_whitespace().nth(2).unwrap())
            .collect();
        assert_eq!(shares, ["0.25", "0.50", "1.00"]);
        let svg = curve.svg((2000, 3000));
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<circle").count(), 3);
    }
}

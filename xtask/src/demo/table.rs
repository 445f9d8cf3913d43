//! The figures for people, on 80 columns.

use std::fmt::Write;
use std::time::Duration;

use super::measure::Measured;
use super::report::Report;

const HEADER: [&str; 9] = [
    "memory", "size", "ops", "faults", "min", "p50", "p99", "max", "CPU",
];

/// The table and what belongs below it.
pub(super) fn render(report: &Report, measured: &Measured) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    for (cell, bench) in report.cells.iter().zip(&measured.bench.cells) {
        rows.push([
            cell.memory.clone(),
            bytes(cell.bytes),
            count(cell.ops),
            count(cell.iopf),
            nanoseconds(cell.latency_ns.min),
            nanoseconds(cell.latency_ns.p50),
            nanoseconds(cell.latency_ns.p99),
            nanoseconds(cell.latency_ns.max),
            if bench.cpu_ns == 0 {
                "-".to_owned()
            } else {
                nanoseconds(bench.cpu_ns)
            },
        ]);
    }
    let faults = &report.faults;
    let device = &measured.summary.device_fault_latency_ns;
    let lines = [
        ("CPU page fault", nanoseconds(report.cpu_fault_ns)),
        (
            "IO page fault",
            format!("{}, measured in the guest", nanoseconds(report.iopf_ns)),
        ),
        (
            "",
            format!(
                "p50 {}, p99 {}, max {}, measured at the device",
                nanoseconds(device.p50),
                nanoseconds(device.p99),
                nanoseconds(device.max)
            ),
        ),
        ("ratio", format!("{:.1}", report.ratio)),
        (
            "faults counted",
            format!(
                "device {}, SMMU {}, guest {}: {}",
                count(faults.device),
                count(faults.smmu),
                count(faults.guest),
                if faults.agree() {
                    "they agree"
                } else {
                    "THEY DISAGREE"
                }
            ),
        ),
        ("kernel", format!("Linux {}", report.guest.kernel)),
        (
            "boot to init",
            format!(
                "{} virtual, {} on this host",
                nanoseconds(report.guest.boot_ns),
                duration(measured.host_boot)
            ),
        ),
        (
            "whole run",
            format!("{} on this host", duration(measured.host_total)),
        ),
        ("trace hash", report.trace_hash.clone()),
    ];
    let mut text = String::from(
        "\nCompression by the accelerator, on memory never touched and touched beforehand.\n\
         faults: IO page faults; min to max: latency of one operation; CPU: its own time\n\
         for page faults on the same pages. All times are virtual unless said otherwise.\n\n",
    );
    text.push_str(&align(&rows));
    text.push('\n');
    for (name, value) in lines {
        writeln!(text, "{name:<15} {value}").expect("strings take all");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The first column to the left, the others to the right.
fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        write!(text, "{:<1$}", row[0], widths[0]).expect("strings take all");
        for (cell, width) in row.iter().zip(widths).skip(1) {
            write!(text, "  {cell:>width$}").expect("strings take all");
        }
        text.push('\n');
    }
    text
}

fn duration(time: Duration) -> String {
    nanoseconds(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// Three digits and a unit.
fn nanoseconds(ns: u64) -> String {
    if ns < 1000 {
        return format!("{ns} ns");
    }
    let mut value = ns as f64 / 1000.0;
    let mut unit = "µs";
    for larger in ["ms", "s"] {
        // What rounds to 1000 is 1 of the next unit.
        if value >= 999.5 {
            value /= 1000.0;
            unit = larger;
        }
    }
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

fn bytes(bytes: u64) -> String {
    match bytes {
        bytes if bytes != 0 && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes != 0 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// With a comma before each three digits.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_996, "10.0 µs"),
            (24_100, "24.1 µs"),
            (99_960, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (1_190_000_000, "1.19 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(nanoseconds(ns), text, "{ns}");
        }
    }

    #[test]
    fn sizes_and_counts_are_readable() {
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(1 << 20), "1 MiB");
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!([count(0), count(999), count(1000)], ["0", "999", "1,000"]);
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn the_table_is_aligned_and_fits_a_terminal() {
        let measured = sample();
        let text = render(&Report::new(&measured).unwrap(), &measured);
        let table = "\
memory      size  ops  faults      min      p50      p99      max      CPU
untouched  4 KiB  100     200  61.2 µs  63.0 µs  70.1 µs  80.0 µs  1.25 µs
touched    1 MiB  100       0   999 ns   210 µs  1.23 ms  12.3 ms        -
";
        assert!(text.contains(table), "{text}");
        assert!(
            text.contains("device 26,012, SMMU 26,012, guest 26,012: they agree"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}

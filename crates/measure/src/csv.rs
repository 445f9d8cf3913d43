//! The matrix as comma-separated values (RFC 4180): a line for each cell.

use std::io::{self, Write};

use crate::report::{Cell, Report};
use crate::said::Status;

const HEADER: &str = "row,column,status,reason,ops,duration_ns,throughput_bytes_per_s,\
faults_device,faults_smmu,faults_guest,retries,aborted,wait_p50_ns,wait_max_ns,\
min_ns,p50_ns,p99_ns,p999_ns,max_ns,\
prepare_ns,present_pages,locked_pages,pinned_pages,moved_pages,gone_pages,refused,\
page_request_groups,translation_requests,atc_invalidations";

/// Writes it.
pub fn write(report: &Report, to: &mut dyn Write) -> io::Result<()> {
    write!(to, "{HEADER}\r\n")?;
    for cell in &report.cells {
        write!(to, "{}\r\n", line(cell))?;
    }
    Ok(())
}

fn line(cell: &Cell) -> String {
    let status = match cell.status {
        Status::Ok => "ok",
        Status::Unavailable => "unavailable",
        Status::Failed => "failed",
        Status::Missing => "missing",
    };
    let mut fields = vec![
        cell.row.to_owned(),
        cell.column.to_owned(),
        status.to_owned(),
        quote(cell.reason.as_deref().unwrap_or("")),
    ];
    match &cell.figures {
        None => fields.resize(HEADER.split(',').count(), String::new()),
        Some(figures) => {
            let (faults, latency, prepare) = (&figures.faults, figures.latency_ns, figures.prepare);
            let sum = |of: &dyn Fn(&crate::said::Step) -> u64| figures.steps.iter().map(of).sum();
            let optional = |number: Option<u64>| number.map_or(String::new(), |it| it.to_string());
            let numbers = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>();
            fields.extend(numbers(&[
                figures.ops,
                figures.duration_ns,
                figures.throughput_bytes_per_s,
                faults.device,
                faults.smmu,
            ]));
            fields.push(optional(faults.guest));
            fields.extend(numbers(&[faults.retries, faults.aborted]));
            fields.push(optional(faults.wait_ns.map(|waits| waits.p50)));
            fields.push(optional(faults.wait_ns.map(|waits| waits.max)));
            fields.extend(numbers(&[
                latency.min,
                latency.p50,
                latency.p99,
                latency.p999,
                latency.max,
                prepare.ns,
                prepare.present_pages,
                prepare.locked_pages,
                prepare.pinned_pages,
                sum(&|step| step.memory.moved),
                sum(&|step| step.memory.gone),
            ]));
            let refused = figures.steps.iter().find_map(|step| step.refused.clone());
            fields.push(refused.unwrap_or_default());
            fields.push(faults.page_request_groups.to_string());
            fields.push(optional(figures.ats.map(|ats| ats.translation_requests)));
            fields.push(optional(figures.ats.map(|ats| ats.invalidations)));
        }
    }
    fields.join(",")
}

fn quote(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn each_line_has_a_field_for_each_heading() {
        let mut bytes = Vec::new();
        write(&sample(), &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 1 + sample().cells.len());
        // No field of the sample is quoted.
        for line in &lines {
            assert_eq!(
                line.split(',').count(),
                lines[0].split(',').count(),
                "{line}"
            );
        }
        assert!(
            lines[1].starts_with("none,swap,ok,,100,1000000,409600000,3,3,3,1,0,20000,40000,"),
            "{}",
            lines[1]
        );
        assert!(
            lines[2].starts_with("mempinfd,swap,unavailable,this kernel has none,,,"),
            "{}",
            lines[2]
        );
    }

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(quote("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quote("a b"), "a b");
    }
}

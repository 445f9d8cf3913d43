//! `stallbox inspect`: asks a machine that runs with `--control`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::cli::{InspectArgs, What};

/// Asks, shows the answer, and gives the exit status: 1 if the machine refused.
pub fn inspect(args: &InspectArgs) -> Result<u8> {
    let request = request(&args.what);
    let stream = UnixStream::connect(&args.socket).with_context(|| {
        format!(
            "no machine listens at {} (start one with `stallbox run --control {}`)",
            args.socket.display(),
            args.socket.display()
        )
    })?;
    writeln!(&stream, "{request}").context("cannot ask")?;
    let mut line = String::new();
    BufReader::new(&stream)
        .read_line(&mut line)
        .context("no answer came")?;
    if line.is_empty() {
        bail!("the machine ended without an answer");
    }
    if args.json {
        print!("{line}");
    }
    let answer: Value = serde_json::from_str(&line).context("the answer is not understood")?;
    if answer["ok"] != true {
        if !args.json {
            eprintln!(
                "stallbox: {}",
                answer["error"].as_str().unwrap_or("refused")
            );
        }
        return Ok(1);
    }
    if !args.json {
        println!("at {} ns", answer["time_ns"]);
        print!("{}", show(&answer["answer"]));
    }
    Ok(0)
}

fn request(what: &What) -> Value {
    match what {
        What::Status => json!({ "do": "status" }),
        What::Pause => json!({ "do": "pause" }),
        What::Resume { for_ns: None } => json!({ "do": "resume" }),
        What::Resume { for_ns: Some(ns) } => json!({ "do": "resume", "for_ns": ns }),
        What::Stalls => json!({ "do": "stalls" }),
        What::Ste { stream: None } => json!({ "do": "ste" }),
        What::Ste {
            stream: Some(stream),
        } => json!({ "do": "ste", "stream": stream }),
        What::Cd {
            stream,
            pasid: None,
        } => json!({ "do": "cd", "stream": stream }),
        What::Cd {
            stream,
            pasid: Some(pasid),
        } => json!({ "do": "cd", "stream": stream, "pasid": pasid }),
        What::Pt {
            stream,
            pasid,
            address,
        } => json!({ "do": "pt", "stream": stream, "pasid": pasid, "address": address }),
        What::Tlb => json!({ "do": "tlb" }),
        What::Queues => json!({ "do": "queues" }),
        What::Rules => json!({ "do": "rules" }),
        What::Gates => json!({ "do": "gates" }),
        What::Open { gate } => json!({ "do": "open", "gate": gate }),
        What::Close { gate } => json!({ "do": "close", "gate": gate }),
        What::Marker { name } => json!({ "do": "marker", "name": name }),
        What::Switch { rule, state } => {
            json!({ "do": "switch", "rule": rule, "on": state == "on" })
        }
        What::Inject { plan } => {
            // What cannot be read is refused by the machine as no plan; its text may be given too.
            let text = std::fs::read_to_string(plan).unwrap_or_else(|_| plan.clone());
            json!({ "do": "inject", "plan": text })
        }
        What::Now { effects } => json!({ "do": "now", "effects": effects }),
    }
}

/// Objects as lines, arrays of objects as tables.
fn show(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.iter().all(Value::is_object) && !rows.is_empty() => table(rows),
        Value::Array(rows) if rows.is_empty() => "none\n".to_owned(),
        Value::Array(rows) => rows.iter().map(|row| format!("{}\n", cell(row))).collect(),
        Value::Object(object) => lines(object),
        other => format!("{}\n", cell(other)),
    }
}

fn lines(object: &Map<String, Value>) -> String {
    let width = object.keys().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (key, value) in object {
        match value {
            Value::Array(rows) if rows.iter().any(Value::is_object) => {
                text += &format!("{key}:\n");
                for line in table(rows).lines() {
                    text += &format!("  {line}\n");
                }
            }
            value => text += &format!("{key:width$}  {}\n", cell(value)),
        }
    }
    text
}

fn table(rows: &[Value]) -> String {
    let mut columns: Vec<&String> = Vec::new();
    for row in rows {
        for key in row.as_object().into_iter().flat_map(Map::keys) {
            // The raw words are for one entry, or for --json.
            if !columns.contains(&key) && key != "words" {
                columns.push(key);
            }
        }
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|key| cell(&row[key.as_str()])).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, key)| {
            let longest = cells.iter().map(|row| row[at].chars().count()).max();
            longest.unwrap_or(0).max(key.len())
        })
        .collect();
    let line = |row: Vec<&str>| {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        let text = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", text.trim_end())
    };
    let mut text = line(columns.iter().map(|key| key.as_str()).collect());
    for row in &cells {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_below_their_columns() {
        let rows = json!([{ "stag": 3, "address": "0x1000" }, { "stag": null, "address": "0x2" }]);
        assert_eq!(show(&rows), "address  stag\n0x1000   3\n0x2      -\n");
        assert_eq!(show(&json!([])), "none\n");
        assert_eq!(
            show(&json!({ "v": true, "asid": 1 })),
            "asid  1\nv     yes\n"
        );
    }
}

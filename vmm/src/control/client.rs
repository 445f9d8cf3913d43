//! `stallbox inspect`: asks a machine that runs with `--control`.

use std::collections::BTreeSet;
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
        What::Atc { stream } => json!({ "do": "atc", "stream": stream }),
        What::Queues => json!({ "do": "queues" }),
        What::Queue { queue } => json!({ "do": "queue", "queue": queue }),
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

/// Who, then where, then what: the order in which people look for it. What is not here comes behind,
/// by name.
const ORDER: [&str; 21] = [
    "rule",
    "gate",
    "queue",
    "index",
    "name",
    "stream",
    "pasid",
    "stag",
    "stage",
    "vmid",
    "asid",
    "address",
    "bytes",
    "output",
    "access",
    "level",
    "at",
    "descriptor",
    "v",
    "config",
    "ready",
];

fn ordered<'k>(keys: impl Iterator<Item = &'k String>) -> Vec<&'k String> {
    let mut keys: Vec<&String> = keys.collect();
    let place = |key: &str| match key {
        "steps" | "queues" => ORDER.len() + 1,
        "outcome" => ORDER.len() + 2,
        "words" => ORDER.len() + 3,
        _ => ORDER
            .iter()
            .position(|it| *it == key)
            .unwrap_or(ORDER.len()),
    };
    keys.sort_by_key(|key| place(key));
    keys
}

/// The fields of structures are named as IHI 0070 does.
fn title(key: &str) -> &str {
    const FIELDS: [(&str, &str); 25] = [
        ("v", "V"),
        ("config", "Config"),
        ("eats", "EATS"),
        ("s1_cd_max", "S1CDMax"),
        ("s1_context_ptr", "S1ContextPtr"),
        ("s1_dss", "S1DSS"),
        ("s1_fmt", "S1Fmt"),
        ("s1_stalld", "S1STALLD"),
        ("s2_vmid", "S2VMID"),
        ("s2_ttb", "S2TTB"),
        ("a", "A"),
        ("r", "R"),
        ("s", "S"),
        ("affd", "AFFD"),
        ("aset", "ASET"),
        ("asid", "ASID"),
        ("vmid", "VMID"),
        ("epd0", "EPD0"),
        ("epd1", "EPD1"),
        ("ha", "HA"),
        ("hd", "HD"),
        ("t0sz", "T0SZ"),
        ("tbi0", "TBI0"),
        ("ttb0", "TTB0"),
        ("ttb1", "TTB1"),
    ];
    const REGISTERS: [(&str, &str); 6] = [
        ("granule", "TG0"),
        ("prod", "PROD"),
        ("cons", "CONS"),
        ("overflow", "OVFLG"),
        ("command_error", "CMDQ_CONS.ERR"),
        ("gerror", "GERROR"),
    ];
    let mut known = FIELDS.iter().chain(&REGISTERS);
    let found = known.find(|(it, _)| *it == key);
    found.map_or(key, |(_, title)| title)
}

fn lines(object: &Map<String, Value>) -> String {
    let keys = ordered(object.keys());
    let width = keys.iter().map(|key| title(key).len()).max().unwrap_or(0);
    let mut text = String::new();
    for key in keys {
        let (value, key) = (&object[key], title(key));
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
    // The raw words are for one entry, or for --json.
    let keys = rows.iter().filter_map(Value::as_object);
    let keys: BTreeSet<&String> = keys
        .flat_map(Map::keys)
        .filter(|key| *key != "words")
        .collect();
    let columns = ordered(keys.into_iter());
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|key| cell(&row[key.as_str()])).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, key)| {
            let longest = cells.iter().map(|row| row[at].chars().count()).max();
            longest.unwrap_or(0).max(title(key).len())
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
    let mut text = line(columns.iter().map(|key| title(key)).collect());
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
        Value::Array(values) if values.is_empty() => "none".to_owned(),
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
        assert_eq!(show(&rows), "stag  address\n3     0x1000\n-     0x2\n");
        assert_eq!(show(&json!([])), "none\n");
        assert_eq!(
            show(&json!({ "v": true, "asid": 1 })),
            "ASID  1\nV     yes\n"
        );
    }
}

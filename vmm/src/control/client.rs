//! `stallbox inspect`: asks a machine that runs with `--control`.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use serde_json::{Map, Value, json};
use stallbox_output::{print, tell};

use crate::cli::{InspectArgs, What};

/// Asks, shows the answer, and gives the exit status: 1 if the machine refused.
pub fn inspect(args: &InspectArgs) -> Result<u8> {
    let line = ask(&args.socket, &request(&args.what), args.timeout)?;
    if args.json {
        print(&line)?;
    }
    let answer: Value = serde_json::from_str(&line).context("the answer is not understood")?;
    if answer["ok"] != true {
        if !args.json {
            let error = answer["error"].as_str().unwrap_or("refused");
            tell!("stallbox: {error}");
        }
        return Ok(1);
    }
    if !args.json {
        let time_ns = &answer["time_ns"];
        let shown = match (&args.what, answer["answer"]["text"].as_str()) {
            (What::Outstanding, Some(text)) => text.to_owned(),
            _ => show(&answer["answer"]),
        };
        print(format_args!("at {time_ns} ns\n{shown}"))?;
    }
    Ok(0)
}

/// The line that a machine answers.
fn ask(socket: &Path, request: &Value, timeout: Duration) -> Result<String> {
    let end = Instant::now() + timeout;
    let name = socket.display();
    let late = || {
        anyhow!(
            "the machine at {name} has not answered within {} s: its process is stopped, or is busy with \
             something long (--timeout SECONDS waits longer)",
            timeout.as_secs_f64()
        )
    };
    let stream = connect(socket, timeout).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => late(),
        _ => anyhow!(error).context(format!(
            "no machine listens at {name} (start one with `stallbox run --control {name}`)"
        )),
    })?;
    let (mut to, mut from) = (
        Until {
            stream: &stream,
            end,
        },
        Until {
            stream: &stream,
            end,
        },
    );
    let mut line = Vec::new();
    // An answer may be there before all was asked: that this client has to go.
    let asked = to.write_all(format!("{request}\n").as_bytes());
    let answered = BufReader::new(&mut from).read_until(b'\n', &mut line);
    match answered {
        Ok(_) if line.ends_with(b"\n") => {}
        Err(error) if is_late(&error) => return Err(late()),
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            return Err(error).context("no answer came");
        }
        _ => match asked {
            Err(error) if is_late(&error) => return Err(late()),
            _ => bail!("the machine at {name} ended without an answer"),
        },
    }
    String::from_utf8(line).context("the answer is not understood")
}

/// Connects within `timeout`, after which it is an error of kind `WouldBlock`: a machine whose process is
/// stopped accepts nobody, and the kernel keeps only so many waiting.
fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// A stream that is read and written until `end`.
struct Until<'a> {
    stream: &'a UnixStream,
    end: Instant,
}

impl Until<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Until<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn request(what: &What) -> Value {
    match what {
        What::Status => json!({ "do": "status" }),
        What::Pause => json!({ "do": "pause" }),
        What::Resume { for_ns: None } => json!({ "do": "resume" }),
        What::Resume { for_ns: Some(ns) } => json!({ "do": "resume", "for_ns": ns }),
        What::Stalls => json!({ "do": "stalls" }),
        What::Outstanding => json!({ "do": "outstanding" }),
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
        What::Enable { rule } => json!({ "do": "enable", "rule": rule }),
        What::Disable { rule } => json!({ "do": "disable", "rule": rule }),
        What::Seed { seed } => json!({ "do": "seed", "seed": seed }),
        What::Only { rule, nth } => json!({ "do": "only", "rule": rule, "nth": nth }),
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

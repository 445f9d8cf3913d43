//! What a trace promises: `docs/trace.md`.
//!
//! `SNAPSHOTS=overwrite cargo test -p stallbox-trace` writes the files anew. What then differs decides whether
//! [`VERSION`](stallbox_trace::VERSION) has to rise.

#![forbid(unsafe_code)]

mod samples;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::rc::Rc;

use samples::events;
use serde_json::Value;
use snapbox::assert_data_eq;
use snapbox::data::{Data, DataFormat};
use stallbox_faultplan::{FaultKind, Point};
use stallbox_smmu::{EventType, PageResponseCode, Response};
use stallbox_timeline::{Span, Time, Timeline};
use stallbox_trace::*;

#[derive(Clone, Default)]
struct Lines(Rc<RefCell<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines of a trace with these events, 10 ns apart.
fn lines(events: Vec<Event>) -> String {
    let (lines, timeline) = (Lines::default(), Timeline::new());
    let tracer = Tracer::new(timeline.clone(), Some(Box::new(lines.clone())));
    let mut time = Time::ZERO;
    for event in events {
        time += Span::from_ns(10);
        timeline.advance_to(time);
        tracer.emit(event);
    }
    tracer.finish().unwrap();
    String::from_utf8(lines.0.take()).unwrap()
}

/// A file that shows a change of the contract.
fn golden(path: &str) -> Data {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    Data::read_from(path.as_ref(), Some(DataFormat::Text)).raw()
}

#[test]
fn lines_are_as_they_were() {
    assert_data_eq!(lines(events()), golden("tests/events.jsonl"));
}

#[test]
fn the_schema_is_as_it_was() {
    let schema = format!("{:#}\n", schema());
    assert_data_eq!(schema, golden("../../docs/trace.schema.json"));
}

#[test]
fn lines_follow_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for line in lines(events()).lines() {
        let value = serde_json::from_str(line).unwrap();
        let errors = validator.iter_errors(&value);
        let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
    }
}

#[test]
fn the_schema_refuses_what_is_not_in_it() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for line in [
        r#"{"time_ns":0,"event":"trace"}"#,
        r#"{"time_ns":0,"event":"trace","version":99}"#,
        r#"{"event":"trace","version":1}"#,
        r#"{"time_ns":-1,"event":"trace","version":1}"#,
        r#"{"time_ns":0,"event":"traces","version":1}"#,
        r#"{"time_ns":0,"event":"trace","version":1,"more":1}"#,
        r#"{"time_ns":0,"event":"stalled","stream":8,"substream":1048576,"address":"0x0","stag":7}"#,
        r#"{"time_ns":0,"event":"stalled","stream":8,"address":"0x0","stag":7}"#,
        r#"{"time_ns":0,"event":"stalled","stream":8,"substream":1,"address":4096,"stag":7}"#,
        r#"{"time_ns":0,"event":"stalled","stream":8,"substream":1,"address":"0x00","stag":7}"#,
        r#"{"time_ns":0,"event":"command","words":["0x46","0x0"]}"#,
        r#"{"time_ns":0,"event":"effect","by":"control","effect":"open"}"#,
        r#"{"time_ns":0,"event":"effect","by":"control","effect":"pause","gate":"g"}"#,
        r#"{"time_ns":0,"event":"injection","rule":"r","at":"dma","act":"go"}"#,
    ] {
        let value = serde_json::from_str(line).unwrap();
        assert!(!validator.is_valid(&value), "{line}");
    }
}

/// The fields of what a key of its own tells apart, by that key and its value.
type Kinds = BTreeMap<(String, String), BTreeSet<String>>;

fn kinds(schema: &Value, found: &mut Kinds) {
    match schema {
        Value::Array(of) => of.iter().for_each(|it| kinds(it, found)),
        Value::Object(of) => {
            if let Some(Value::Object(properties)) = of.get("properties") {
                for tag in ["event", "act", "effect"] {
                    let name = properties.get(tag).and_then(|it| it["const"].as_str());
                    if let Some(name) = name {
                        let mut fields: BTreeSet<String> = properties.keys().cloned().collect();
                        fields.remove(tag);
                        found.insert((tag.to_owned(), name.to_owned()), fields);
                    }
                }
            }
            of.values().for_each(|it| kinds(it, found));
        }
        _ => {}
    }
}

#[test]
fn each_kind_with_each_field_is_among_the_golden_lines() {
    let mut wanted = Kinds::new();
    kinds(&schema(), &mut wanted);
    assert!(wanted.len() > 60, "{wanted:?}");
    let lines = lines(events());
    let seen: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for ((tag, name), fields) in wanted {
        let of_kind: Vec<&Value> = seen.iter().filter(|it| it[&tag] == *name).collect();
        assert!(!of_kind.is_empty(), "no {tag} {name}");
        for field in fields {
            let has = of_kind.iter().any(|it| !it[&field].is_null());
            assert!(has, "no {tag} {name} with {field}");
        }
    }
}

/// The row of each event has its fields, and each field a row of its own.
#[test]
fn the_documentation_has_each_event_and_each_field() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/trace.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut wanted = Kinds::new();
    kinds(&schema(), &mut wanted);
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|cells| cells.split('|').map(str::trim).collect())
        .collect();
    let named = |cell: &str| -> BTreeSet<String> {
        let words = cell.split('`').skip(1).step_by(2);
        words.map(str::to_owned).collect()
    };
    let mut fields = BTreeSet::new();
    for ((tag, name), of_kind) in &wanted {
        // An event has a column that says when.
        let columns = if tag == "event" { 3 } else { 2 };
        let known = format!("`{name}`");
        let is_it = |row: &&Vec<&str>| row.len() == columns && row[0] == known;
        let row = rows.iter().find(is_it);
        let row = row.unwrap_or_else(|| panic!("no row of {tag} {name}"));
        let cell = named(row[columns - 1]);
        let missing: Vec<_> = of_kind.difference(&cell).collect();
        assert!(
            missing.is_empty(),
            "{tag} {name} has no {missing:?}: {row:?}"
        );
        fields.extend(of_kind.clone());
    }
    let mut described = rows.iter().filter(|row| row.len() == 4);
    let described: BTreeSet<String> = described.by_ref().flat_map(|row| named(row[0])).collect();
    let missing: Vec<_> = fields.difference(&described).collect();
    assert!(
        missing.is_empty(),
        "not in the table of fields: {missing:?}"
    );
}

#[test]
fn an_enumeration_has_each_name_once() {
    fn unique<T: Named>() {
        let names: BTreeSet<&str> = T::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(names.len(), T::ALL.len(), "{names:?}");
    }
    unique::<EventType>();
    unique::<FaultKind>();
    unique::<PageResponseCode>();
    unique::<Point>();
    unique::<Response>();
    unique::<AtsAnswer>();
    unique::<AtcInvalidateStage>();
    unique::<Check>();
    unique::<FindingKind>();
    unique::<KernelReportKind>();
    unique::<WhyNot>();
    unique::<Block>();
    unique::<EventRing>();
    unique::<OtherTag>();
}

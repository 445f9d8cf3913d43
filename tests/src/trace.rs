//! The trace as its readers see it: JSON, and not the types that wrote it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde::Deserialize;
use serde_json::{Map, Value};

/// So many lines of each kind are held against the schema: a trace can be long.
const HELD_MAX: u32 = 50;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = include_str!("../../docs/trace.schema.json");
    let schema = serde_json::from_str(schema).expect("it is JSON");
    jsonschema::validator_for(&schema).expect("it is a schema")
});

/// Reads a trace. The first lines of each kind are held against the schema.
pub(crate) fn read(text: &str) -> Result<Vec<Record>, String> {
    let mut kinds = BTreeMap::<String, u32>::new();
    let mut read = |line: &str| {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let kind = value["event"].as_str().unwrap_or_default().to_owned();
        let held = kinds.entry(kind).or_default();
        *held += 1;
        if *held <= HELD_MAX {
            SCHEMA.validate(&value).map_err(|error| error.to_string())?;
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    };
    let lines = text.lines();
    lines
        .map(|line| read(line).map_err(|error| format!("{error} in the trace's line {line}")))
        .collect()
}

/// A line of a trace.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// Virtual time.
    pub time_ns: u64,
    /// The kind of event.
    pub event: String,
    /// Its fields.
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Record {
    /// A field that is a number, if it is there and not null.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields.get(field)?.as_u64()
    }

    /// A field that is text, such as an address.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }

    /// A field that is true or false.
    #[track_caller]
    pub fn is(&self, field: &str) -> bool {
        match self.fields.get(field).and_then(Value::as_bool) {
            Some(value) => value,
            None => panic!("{} has no {field} that is true or false", self.event),
        }
    }

    /// The 64-bit words of a record or a command.
    #[track_caller]
    pub fn words(&self) -> Vec<u64> {
        let word = |value: &Value| {
            let digits = value.as_str()?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        };
        self.fields
            .get("words")
            .and_then(Value::as_array)
            .and_then(|words| words.iter().map(word).collect())
            .unwrap_or_else(|| panic!("{} has no words", self.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_held_against_the_schema() {
        let known = r#"{"time_ns":7,"event":"ready"}"#;
        assert_eq!(read(known).unwrap()[0].time_ns, 7);
        let more = r#"{"time_ns":7,"event":"ready","more":1}"#;
        assert!(read(more).unwrap_err().contains("more"));
        assert!(read("{").is_err());
    }

    #[test]
    fn fields_are_found_by_name() {
        let record: Record = serde_json::from_str(
            r#"{"time_ns":7,"event":"x","pasid":null,"stag":3,"matched":true,
                "address":"0xabc","words":["0x0000000000000045","0x0"]}"#,
        )
        .unwrap();
        assert_eq!((record.time_ns, record.event.as_str()), (7, "x"));
        assert_eq!(
            (record.number("stag"), record.number("pasid")),
            (Some(3), None)
        );
        assert!(record.is("matched"));
        assert_eq!(record.text("address"), Some("0xabc"));
        assert_eq!(record.words(), [0x45, 0]);
    }
}

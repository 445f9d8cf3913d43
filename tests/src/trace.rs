//! The trace as its readers see it: JSON, and not the types that wrote it.

use serde::Deserialize;
use serde_json::{Map, Value};

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
    fn fields_are_found_by_name() {
        let record: Record = serde_json::from_str(
            r#"{"time_ns":7,"event":"x","pasid":null,"stag":3,"retry":true,
                "address":"0xabc","words":["0x0000000000000045","0x0"]}"#,
        )
        .unwrap();
        assert_eq!((record.time_ns, record.event.as_str()), (7, "x"));
        assert_eq!(
            (record.number("stag"), record.number("pasid")),
            (Some(3), None)
        );
        assert!(record.is("retry"));
        assert_eq!(record.text("address"), Some("0xabc"));
        assert_eq!(record.words(), [0x45, 0]);
    }
}

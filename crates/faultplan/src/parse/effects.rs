//! `do`: what else happens.

use toml::de::DeValue;

use super::{LONGEST_NS, Parser, VECTOR_MAX};
use crate::point::{Matches, Point};
use crate::read::{Table, Value};
use crate::rule::{DeviceError, DeviceEvent, Effect, Rule, Touch};

pub(crate) const EFFECT_KEYS: [&str; 15] = [
    "write_records",
    "run_commands",
    "evict_tlb",
    "device_events",
    "touch",
    "raise_msi",
    "device_error",
    "device_reset",
    "open",
    "close",
    "enable",
    "disable",
    "marker",
    "pause",
    "effects_after_ns",
];

impl<'r, 's> Parser<'r, 's> {
    pub(super) fn effects(&self, table: &Table<'r, 's>, rule: &mut Rule) {
        let reader = self.reader;
        let mut effects = Vec::new();
        if let Some(value) = table.get("write_records")
            && let Some(records) = reader.array(value, "write_records")
        {
            for record in records.iter() {
                let words = reader.words::<4>(record, "write_records");
                effects.extend(words.map(Effect::WriteRecord));
            }
        }
        if let Some(value) = table.get("run_commands")
            && let Some(commands) = reader.array(value, "run_commands")
        {
            for command in commands.iter() {
                let words = reader.words::<2>(command, "run_commands");
                effects.extend(words.map(Effect::RunCommand));
            }
        }
        if let Some(value) = table.get("evict_tlb") {
            if value.get_ref().as_str() == Some("all") {
                effects.push(Effect::EvictTlb(None));
            } else if let Some(address) = reader.integer(value, "evict_tlb", 0..=u64::MAX) {
                effects.push(Effect::EvictTlb(Some(address)));
            }
        }
        if let Some(value) = table.get("device_events")
            && let Some(events) = reader.array(value, "device_events")
        {
            let parsed = events.iter().filter_map(|event| self.device_event(event));
            effects.extend(parsed.map(Effect::DeviceEvent));
        }
        if let Some(value) = table.get("touch")
            && let Some(touch) = self.touch(value, rule.at)
        {
            effects.push(Effect::Touch(touch));
        }
        if let Some(value) = table.get("raise_msi") {
            effects.extend(self.raise_msi(value));
        }
        if let Some(value) = table.get("device_error")
            && let Some(error) = reader.table(value, "device_error")
        {
            effects.extend(self.device_error(&error, rule.at));
        }
        if let Some(value) = table.get("device_reset") {
            effects.extend(self.device_reset(value));
        }
        if let Some(value) = table.get("pause")
            && reader.boolean(value, "pause") == Some(true)
        {
            effects.push(Effect::Pause);
        }
        effects.extend(table.name_of("open").map(Effect::Open));
        effects.extend(table.name_of("close").map(Effect::Close));
        let (on, off) = (table.name_of("enable"), table.name_of("disable"));
        if let Some(value) = table.get("disable")
            && off.is_some()
            && on == off
        {
            let message = "one rule cannot be enabled and disabled by the same";
            reader.mistake(value.span(), message, None);
        }
        effects.extend(on.map(Effect::Enable));
        effects.extend(off.map(Effect::Disable));
        effects.extend(table.name_of("marker").map(Effect::Marker));
        rule.effects_after_ns = table
            .integer("effects_after_ns", 0..=LONGEST_NS)
            .unwrap_or(0);
        if let Some(value) = table.get("effects_after_ns")
            && effects.is_empty()
        {
            reader.mistake(
                value.span(),
                "`effects_after_ns` delays effects, and there are none",
                Some("what a rule takes is delayed by `delay`".to_owned()),
            );
        }
        rule.effects = effects;
    }

    /// A vector, or `{ stream = 16, vector = 1 }`.
    fn raise_msi(&self, value: &Value<'s>) -> Option<Effect> {
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            let vector = self.reader.integer(value, "raise_msi", 0..=VECTOR_MAX)?;
            return Some(Effect::RaiseMsi {
                stream: None,
                vector: vector as u16,
            });
        }
        let table = self.reader.table(value, "raise_msi")?;
        table.only(&["stream", "vector"]);
        if table.get("vector").is_none() {
            self.reader.mistake(
                value.span(),
                "`vector` is missing",
                Some("write raise_msi = 1, or { stream = 16, vector = 1 }".to_owned()),
            );
        }
        Some(Effect::RaiseMsi {
            stream: self.stream(&table),
            vector: table.integer("vector", 0..=VECTOR_MAX)? as u16,
        })
    }

    /// True, or `{ stream = 16 }`.
    fn device_reset(&self, value: &Value<'s>) -> Option<Effect> {
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            let asked = self.reader.boolean(value, "device_reset")?;
            return asked.then_some(Effect::DeviceReset { stream: None });
        }
        let table = self.reader.table(value, "device_reset")?;
        table.only(&["stream"]);
        Some(Effect::DeviceReset {
            stream: self.stream(&table),
        })
    }

    /// `{ zip = 0x2 }` of the ZIP, `{ queue = 0, failure = 2 }` of the test engine.
    fn device_error(&self, table: &Table<'r, 's>, at: Point) -> Option<Effect> {
        table.only(&["stream", "qm", "zip", "queue", "failure"]);
        let mistake = |message: &str, help: &str| {
            let help = (!help.is_empty()).then(|| help.to_owned());
            self.reader.mistake(table.span.clone(), message, help);
        };
        let given = |keys: [&str; 2]| keys.iter().any(|key| table.get(key).is_some());
        let error = match (given(["qm", "zip"]), given(["queue", "failure"])) {
            (true, true) => {
                let help =
                    "`qm` and `zip` are of the ZIP, `queue` and `failure` of the test engine";
                mistake("`device_error` is of two devices", help);
                return None;
            }
            (_, false) => {
                let bits = |key| table.integer(key, 0..=u64::from(u32::MAX)).unwrap_or(0) as u32;
                let (qm, zip) = (bits("qm"), bits("zip"));
                if qm == 0 && zip == 0 {
                    let help = "give `qm`, `zip` or both: bits of the ZIP's status registers; or \
                                `failure` of a queue of the test engine";
                    mistake("`device_error` sets no bit", help);
                }
                DeviceError::Status { qm, zip }
            }
            (false, true) => {
                if table.get("failure").is_none() {
                    mistake(
                        "`failure` is missing",
                        "it is the number in STATUS, 1 to 255",
                    );
                }
                if table.get("queue").is_none() && !at.matches().has(Matches::QUEUE) {
                    let help = format!("what is at \"{}\" has none to take over", at.name());
                    mistake("`queue` is missing", &help);
                }
                DeviceError::Queue {
                    queue: table.integer("queue", 0..=4095).map(|it| it as u16),
                    failure: table.integer("failure", 1..=255)? as u8,
                }
            }
        };
        let stream = self.stream(table);
        Some(Effect::DeviceError { stream, error })
    }

    /// `{ count = 2000, stride = 4096, access = "write" }`.
    fn touch(&self, value: &Value<'s>, at: Point) -> Option<Touch> {
        let table = self.reader.table(value, "touch")?;
        table.only(&["stream", "pasid", "address", "stride", "count", "access"]);
        for (key, flag) in [("stream", Matches::STREAM), ("address", Matches::ADDRESS)] {
            if table.get(key).is_none() && !at.matches().has(flag) {
                self.reader.mistake(
                    value.span(),
                    format!("`{key}` is missing"),
                    Some(format!(
                        "what is at \"{}\" has none to take over",
                        at.name()
                    )),
                );
            }
        }
        let access = match table.get("access") {
            Some(value) => self.reader.choice(value, "access", &["read", "write"])?,
            None => "read",
        };
        Some(Touch {
            stream: self.stream(&table),
            pasid: table.get("pasid").and_then(|value| self.pasid(value)),
            address: table.integer("address", 0..=u64::MAX),
            stride: match table.get("stride") {
                Some(value) => self.reader.integer(value, "stride", 0..=1 << 48)?,
                None => 4096,
            },
            count: match table.get("count") {
                Some(value) => self.reader.integer(value, "count", 1..=65536)? as u32,
                None => 1,
            },
            write: access == "write",
        })
    }

    /// `{ ring = "aeq", queue = 3, kind = 1, count = 2 }`.
    fn device_event(&self, value: &Value<'s>) -> Option<DeviceEvent> {
        let table = self.reader.table(value, "device_events")?;
        table.only(&["stream", "ring", "queue", "kind", "count"]);
        for key in ["ring", "queue"] {
            if table.get(key).is_none() {
                self.reader.mistake(
                    value.span(),
                    format!("`{key}` is missing"),
                    Some("write { ring = \"aeq\", queue = 0 }".to_owned()),
                );
            }
        }
        let ring = self
            .reader
            .choice(table.get("ring")?, "ring", &["eq", "aeq"])?;
        let failure = ring == "aeq";
        if let (false, Some(kind)) = (failure, table.get("kind")) {
            self.reader.mistake(
                kind.span(),
                "an entry of the ring of completions has no `kind`",
                None,
            );
        }
        Some(DeviceEvent {
            stream: self.stream(&table),
            failure,
            queue: table.integer("queue", 0..=4095)? as u16,
            kind: table.integer("kind", 0..=15).unwrap_or(0) as u8,
            count: match table.get("count") {
                Some(value) => self.reader.integer(value, "count", 1..=65536)? as u32,
                None => 1,
            },
        })
    }
}

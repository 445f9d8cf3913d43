//! `do`: what else happens.

use super::Parser;
use crate::point::{Matches, Point};
use crate::read::{Table, Value};
use crate::rule::{DeviceEvent, Effect, Rule, Touch};

pub(crate) const EFFECT_KEYS: [&str; 11] = [
    "write_records",
    "run_commands",
    "evict_tlb",
    "device_events",
    "touch",
    "raise_msi",
    "device_error",
    "device_reset",
    "open",
    "marker",
    "pause",
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
        if let Some(vector) = table.integer("raise_msi", 0..=31) {
            effects.push(Effect::RaiseMsi(vector as u8));
        }
        if let Some(value) = table.get("device_error")
            && let Some(error) = reader.table(value, "device_error")
        {
            error.only(&["qm", "zip"]);
            let bits = |key| error.integer(key, 0..=u64::from(u32::MAX)).unwrap_or(0) as u32;
            let (qm, zip) = (bits("qm"), bits("zip"));
            if qm == 0 && zip == 0 {
                reader.mistake(
                    value.span(),
                    "`device_error` sets no bit",
                    Some("give `qm`, `zip` or both: bits of the status registers".to_owned()),
                );
            }
            effects.push(Effect::DeviceError { qm, zip });
        }
        for (key, effect) in [
            ("device_reset", Effect::DeviceReset),
            ("pause", Effect::Pause),
        ] {
            if let Some(value) = table.get(key)
                && reader.boolean(value, key) == Some(true)
            {
                effects.push(effect);
            }
        }
        effects.extend(table.name_of("open").map(Effect::Open));
        effects.extend(table.name_of("marker").map(Effect::Marker));
        rule.effects = effects;
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
            stream: table
                .integer("stream", 0..=u64::from(u32::MAX))
                .map(|it| it as u32),
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

    /// `{ ring = "aeq", queue = 3, kind = 1 }`.
    fn device_event(&self, value: &Value<'s>) -> Option<DeviceEvent> {
        let table = self.reader.table(value, "device_events")?;
        table.only(&["ring", "queue", "kind"]);
        for key in ["ring", "queue"] {
            if table.get(key).is_none() {
                self.reader
                    .mistake(value.span(), format!("`{key}` is missing"), None);
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
            failure,
            queue: table.integer("queue", 0..=4095)? as u16,
            kind: table.integer("kind", 0..=15).unwrap_or(0) as u8,
        })
    }
}

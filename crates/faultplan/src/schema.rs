//! The JSON schema of a plan, for editors: made from the same tables as the reader.
//!
//! JSON Schema, draft 2020-12. What it cannot say (that a gate that is opened is one at which something
//! waits, the order of two numbers) only `stallbox plan check` says.

use serde_json::{Map, Value, json};

use crate::names::{COMMANDS, EVENTS, LINES, MAILBOX_COMMANDS, Name};
use crate::parse::{EFFECT_KEYS, LONGEST_NS, RULES_MAX, VECTOR_MAX, WHEN_KEYS};
use crate::point::{Actions, Matches, Point};
use crate::rule::{Access, FaultKind, PAGE_ANSWERS, Ring};
use crate::smmu::{KEYS, Values};

/// The schema.
pub fn schema() -> Value {
    let rules: Vec<Value> = Point::ALL.into_iter().map(rule_at).collect();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stallbox fault plan",
        "description": "docs/fault-plans.md is the reference.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "seed": integer(0, u64::MAX),
            "fault_loop": integer(2, 1_000_000),
            "smmu": {
                "type": "object",
                "additionalProperties": false,
                "properties": smmu(),
            },
            "rule": { "type": "array", "maxItems": RULES_MAX, "items": { "$ref": "#/$defs/rule" } },
        },
        "$defs": {
            "rule": {
                "type": "object",
                "required": ["at", "do"],
                "properties": {
                    "name": name(),
                    "enabled": { "type": "boolean" },
                    "at": { "enum": Point::ALL.map(Point::name) },
                    "match": { "type": "object" },
                    "do": { "type": "object", "minProperties": 1 },
                },
                "additionalProperties": false,
                "allOf": rules,
            },
        },
    });
    for (key, _) in Matches::ALL {
        schema["$defs"][format!("match_{key}")] = match_value(key);
    }
    for key in WHEN_KEYS {
        schema["$defs"][format!("match_{key}")] = match_value(key);
    }
    for key in Actions::ALL.iter().map(|(key, _)| *key).chain(EFFECT_KEYS) {
        schema["$defs"][format!("do_{key}")] = do_value(key);
    }
    schema["$defs"]["do_replace_record"] = words(4);
    schema
}

/// Exactly so many words of 64 bits.
fn words(count: u32) -> Value {
    json!({
        "type": "array", "minItems": count, "maxItems": count, "items": integer(0, u64::MAX),
    })
}

/// What a rule at `point` may hold.
fn rule_at(point: Point) -> Value {
    let mut matches = Map::new();
    for key in point.matches().keys().chain(WHEN_KEYS) {
        let reference = json!({ "$ref": format!("#/$defs/match_{key}") });
        matches.insert(key.to_owned(), reference);
    }
    if point == Point::Time {
        matches.insert("period_ns".to_owned(), integer(1, LONGEST_NS));
        matches.insert("after_ns".to_owned(), integer(1, LONGEST_NS));
        for key in ["nth", "every", "after_marker", "before_marker"] {
            matches.remove(key);
        }
    }
    let mut actions = Map::new();
    for key in point.actions().keys().chain(EFFECT_KEYS) {
        let mut reference = format!("#/$defs/do_{key}");
        if key == "replace" && point == Point::Record {
            reference += "_record";
        }
        actions.insert(key.to_owned(), json!({ "$ref": reference }));
    }
    let mut then = json!({
        "properties": {
            "match": { "additionalProperties": false, "properties": matches },
            "do": { "additionalProperties": false, "properties": actions },
        },
    });
    if point == Point::Time {
        then["required"] = json!(["match"]);
        then["properties"]["match"]["anyOf"] = json!([
            { "required": ["from_ns"] },
            { "required": ["after_rule", "after_ns"] },
        ]);
    }
    json!({ "if": { "properties": { "at": { "const": point.name() } } }, "then": then })
}

fn integer(min: u64, max: u64) -> Value {
    // Above i64::MAX, TOML has only strings.
    json!({
        "oneOf": [
            { "type": "integer", "minimum": min, "maximum": max },
            { "type": "string", "pattern": "^(0[xX][0-9a-fA-F_]+|[0-9_]+)$" },
        ],
    })
}

fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 64 })
}

fn code(names: &[Name], max: u64) -> Value {
    let mut words: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    if words.contains(&"CMD_SYNC") {
        words.push("CMD_TLBI");
    }
    let one = json!({
        "anyOf": [integer(0, max), { "enum": words }],
    });
    json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
}

fn pasid() -> Value {
    json!({ "anyOf": [integer(0, 0xf_ffff), { "const": "none" }] })
}

fn match_value(key: &str) -> Value {
    match key {
        "stream" => integer(0, u32::MAX.into()),
        "pasid" => pasid(),
        "address" => json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9a-fA-FxX_ ]+((\\.\\.|\\+)[0-9a-fA-FxX_ ]+)?$" },
            ],
        }),
        "access" => json!({ "enum": Access::NAMES }),
        "attempt" => json!({ "enum": ["first", "retry", "any"] }),
        "queue" => integer(0, 4095),
        "ring" => json!({ "enum": Ring::NAMES }),
        "event" => code(EVENTS, 0xff),
        "command" => code(COMMANDS, 0xff),
        "line" => code(LINES, 3),
        "mailbox" => code(MAILBOX_COMMANDS, 0xff),
        "vector" => code(&[], VECTOR_MAX),
        "register" => code(&[], u32::MAX.into()),
        "value" => json!({
            "anyOf": [
                integer(0, u32::MAX.into()),
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["value", "mask"],
                    "properties": {
                        "value": integer(0, u32::MAX.into()),
                        "mask": integer(0, u32::MAX.into()),
                    },
                },
            ],
        }),
        "stag" => integer(0, 0xffff),
        "stalled" => json!({ "type": "boolean" }),
        "nth" | "every" | "times" => integer(1, u64::MAX),
        "probability" => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        "after_ns" => integer(0, LONGEST_NS),
        "from_ns" | "until_ns" => integer(0, u64::MAX / 1000),
        _ => name(),
    }
}

fn do_value(key: &str) -> Value {
    let yes = json!({ "const": true });
    let stream = integer(0, u32::MAX.into());
    match key {
        "delay" => delay(),
        "gate" => json!({
            "anyOf": [
                name(),
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["name"],
                    "properties": {
                        "name": name(),
                        "open_at": integer(1, 1_000_000),
                        "timeout_ns": integer(0, LONGEST_NS),
                        "after_rule": name(),
                        "after_ns": integer(0, LONGEST_NS),
                    },
                },
            ],
        }),
        "fault" => json!({ "enum": FaultKind::ALL.map(FaultKind::name) }),
        "duplicate" | "overtaken_by" => integer(1, 65536),
        "replace" => words(2),
        "stag" => json!({ "anyOf": [integer(0, 0xffff), { "enum": ["next", "stale"] }] }),
        "response" => json!({ "enum": ["retry", "abort"] }),
        "error" => json!({
            "anyOf": [
                integer(0, 127),
                { "enum": ["CERROR_ILL", "CERROR_ABT", "CERROR_ATC_INV_SYNC"] },
            ],
        }),
        "fail" => integer(1, 15),
        "answer" => json!({ "enum": PAGE_ANSWERS.map(|(name, _)| name) }),
        "write_records" => json!({ "type": "array", "items": words(4) }),
        "run_commands" => json!({ "type": "array", "items": words(2) }),
        "evict_tlb" => json!({ "anyOf": [integer(0, u64::MAX), { "const": "all" }] }),
        "touch" => json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "stream": integer(0, u32::MAX.into()),
                "pasid": pasid(),
                "address": integer(0, u64::MAX),
                "stride": integer(0, 1 << 48),
                "count": integer(1, 65536),
                "access": { "enum": ["read", "write"] },
            },
        }),
        "device_events" => json!({
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["ring", "queue"],
                "properties": {
                    "stream": stream,
                    "ring": { "enum": ["eq", "aeq"] },
                    "queue": integer(0, 4095),
                    "kind": integer(0, 15),
                    "count": integer(1, 65536),
                },
            },
        }),
        "raise_msi" => json!({
            "anyOf": [
                integer(0, VECTOR_MAX),
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["vector"],
                    "properties": { "stream": stream, "vector": integer(0, VECTOR_MAX) },
                },
            ],
        }),
        "device_error" => json!({
            "anyOf": [
                {
                    "type": "object",
                    "additionalProperties": false,
                    "anyOf": [{ "required": ["qm"] }, { "required": ["zip"] }],
                    "properties": {
                        "stream": stream,
                        "qm": integer(0, u32::MAX.into()),
                        "zip": integer(0, u32::MAX.into()),
                    },
                },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["failure"],
                    "properties": {
                        "stream": stream,
                        "queue": integer(0, 4095),
                        "failure": integer(1, 255),
                    },
                },
            ],
        }),
        "device_reset" => json!({
            "anyOf": [
                { "type": "boolean" },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": { "stream": stream },
                },
            ],
        }),
        "effects_after_ns" => integer(0, LONGEST_NS),
        "pause" => json!({ "type": "boolean" }),
        "open" | "close" | "enable" | "disable" | "marker" => name(),
        _ => yes,
    }
}

fn delay() -> Value {
    let of = |dist: &str, keys: &[&str]| {
        let mut properties = Map::new();
        properties.insert("dist".to_owned(), json!({ "const": dist }));
        for key in keys {
            let number = json!({ "type": "number", "minimum": 0, "maximum": LONGEST_NS });
            properties.insert((*key).to_owned(), number);
        }
        let required: Vec<&str> = std::iter::once("dist")
            .chain(keys.iter().copied())
            .collect();
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": required,
            "properties": properties,
        })
    };
    json!({
        "anyOf": [
            { "type": "number", "minimum": 0, "maximum": LONGEST_NS },
            of("fixed", &["ns"]),
            of("uniform", &["min_ns", "max_ns"]),
            of("normal", &["mean_ns", "stddev_ns"]),
            of("lognormal", &["median_ns", "sigma"]),
            of("pareto", &["min_ns", "alpha", "max_ns"]),
        ],
    })
}

/// The keys of `[smmu]`.
fn smmu() -> Map<String, Value> {
    let value = |values: &Values| match *values {
        Values::Integer(least, most) => integer(least, most),
        Values::PowerOfTwo(least, most) => {
            let powers = (0..64).map(|bit| 1_u64 << bit);
            json!({ "enum": powers.filter(|it| (least..=most).contains(it)).collect::<Vec<_>>() })
        }
        Values::OneOf(known) => json!({ "enum": known }),
        Values::Word(words) => json!({ "enum": words }),
        Values::Flag => json!({ "type": "boolean" }),
    };
    let keys = KEYS.iter();
    keys.map(|key| (key.name.to_owned(), value(&key.values)))
        .collect()
}

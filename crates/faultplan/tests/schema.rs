//! The JSON schema agrees with the reader, and the file in `docs/` with the schema.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The keywords that the schema uses, by JSON Schema, draft 2020-12; others are refused. A library for
/// all of it would be most of what this crate's tests compile.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let all = |schemas: &Value| -> Vec<Result<(), String>> {
        let schemas = schemas.as_array().unwrap().iter();
        schemas.map(|schema| check(root, schema, value)).collect()
    };
    let must = |good: bool, keyword: &str| {
        good.then_some(())
            .ok_or_else(|| format!("{keyword}: {value}"))
    };
    let schema = schema.as_object().unwrap();
    for (keyword, rule) in schema {
        let number = |value: &Value| value.as_f64().unwrap();
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "then" => {}
            "$ref" => {
                let target = rule.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(target).unwrap(), value)?;
            }
            "type" => must(
                match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    other => panic!("type {other}"),
                },
                keyword,
            )?,
            "enum" => must(rule.as_array().unwrap().contains(value), keyword)?,
            "const" => must(rule == value, keyword)?,
            "anyOf" => must(all(rule).iter().any(Result::is_ok), keyword)?,
            "oneOf" => must(
                all(rule).iter().filter(|it| it.is_ok()).count() == 1,
                keyword,
            )?,
            "allOf" => all(rule).into_iter().collect::<Result<(), _>>()?,
            "if" => {
                if check(root, rule, value).is_ok() {
                    check(root, &schema["then"], value)?;
                }
            }
            "required" => {
                let keys = rule.as_array().unwrap().iter();
                let missing = keys.filter(|key| value.get(key.as_str().unwrap()).is_none());
                must(missing.count() == 0, keyword)?;
            }
            "properties" => {
                for (key, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        check(root, schema, value).map_err(|error| format!("{key}: {error}"))?;
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(rule, false);
                let known = schema["properties"].as_object().unwrap();
                let mut keys = value.as_object().into_iter().flat_map(|it| it.keys());
                must(keys.all(|key| known.contains_key(key)), keyword)?;
            }
            "minProperties" => {
                let count = value.as_object().map_or(usize::MAX, |it| it.len());
                must(count >= rule.as_u64().unwrap() as usize, keyword)?;
            }
            "items" => {
                for value in value.as_array().into_iter().flatten() {
                    check(root, rule, value)?;
                }
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" => {
                let length = match value {
                    Value::Array(array) => array.len(),
                    Value::String(text) => text.chars().count(),
                    _ => continue,
                };
                let limit = rule.as_u64().unwrap() as usize;
                let least = keyword.starts_with("min");
                must(
                    if least {
                        length >= limit
                    } else {
                        length <= limit
                    },
                    keyword,
                )?;
            }
            "minimum" if value.is_number() => must(number(value) >= number(rule), keyword)?,
            "maximum" if value.is_number() => must(number(value) <= number(rule), keyword)?,
            "minimum" | "maximum" => {}
            "pattern" => {
                if let Some(text) = value.as_str() {
                    must(fits(rule.as_str().unwrap(), text), keyword)?;
                }
            }
            other => panic!("the schema uses {other}, which is not known here"),
        }
    }
    Ok(())
}

/// The two patterns that there are.
fn fits(pattern: &str, text: &str) -> bool {
    let digits = |text: &str| {
        let text = text.trim();
        let digit = |hex: bool, c: char| {
            c == '_'
                || if hex {
                    c.is_ascii_hexdigit()
                } else {
                    c.is_ascii_digit()
                }
        };
        match text.strip_prefix("0x") {
            Some(hex) => !hex.is_empty() && hex.chars().all(|c| digit(true, c)),
            None => !text.is_empty() && text.chars().all(|c| digit(false, c)),
        }
    };
    if pattern.contains("\\.\\.") {
        text.split("..")
            .flat_map(|part| part.split('+'))
            .all(digits)
    } else {
        digits(text)
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn plans(name: &str) -> Vec<(String, Option<Value>)> {
    let mut paths: Vec<_> = fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let value = toml::from_str::<toml::Value>(&text).ok();
        let json = value.map(|value| serde_json::to_value(value).unwrap());
        (path.file_name().unwrap().to_str().unwrap().to_owned(), json)
    };
    paths.into_iter().map(read).collect()
}

/// What a schema cannot say.
const ONLY_THE_READER: &[&str] = &["gates.toml", "two-decisions.toml"];

#[test]
fn examples_pass_and_refused_files_do_not() {
    let schema = stallbox_faultplan::schema();
    for (name, plan) in plans("../../docs/fault-plans") {
        let plan = plan.expect("an example is TOML");
        assert_eq!(check(&schema, &schema, &plan), Ok(()), "{name}");
    }
    for (name, plan) in plans("tests/refused") {
        // What is no TOML has no schema.
        let Some(plan) = plan else { continue };
        let known = ONLY_THE_READER.contains(&name.as_str());
        assert_eq!(check(&schema, &schema, &plan).is_ok(), known, "{name}");
    }
}

#[test]
fn the_file_in_docs_is_the_schema() {
    let path = folder("../../docs/fault-plan.schema.json");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let file: Value = serde_json::from_str(&text).unwrap_or_default();
    assert_eq!(
        file,
        stallbox_faultplan::schema(),
        "{} is out of date: `stallbox plan schema > docs/fault-plan.schema.json`",
        path.display()
    );
}

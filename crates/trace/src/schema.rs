//! The JSON Schema of a line.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{Record, VERSION};

/// Ranges that are narrower than those of the types: a field has the same meaning in every event.
const MAXIMA: [(&str, u64); 7] = [
    // A requester ID.
    ("device", 0xffff),
    ("pasid", 0xf_ffff),
    ("substream", 0xf_ffff),
    // Page Request Group Index, 9 bits.
    ("index", 0x1ff),
    ("fault_stage", 2),
    ("size_log2", 64),
    // CMDQ_CONS.ERR, 7 bits.
    ("error", 0x7f),
];

/// The schema: JSON Schema, draft 2020-12. It is of what this version of Stallbox writes, so it permits no
/// event, no field and no value that is not there yet.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Record>();
    let mut schema = schema.to_value();
    schema["title"] = json!(format!("Stallbox trace, version {VERSION}: a line"));
    schema["description"] = json!("docs/trace.md is the reference.");
    schema["unevaluatedProperties"] = json!(false);
    narrow(&mut schema);
    schema
}

fn narrow(schema: &mut Value) {
    match schema {
        Value::Array(of) => of.iter_mut().for_each(narrow),
        Value::Object(of) => {
            let required = of.get("required").cloned().unwrap_or_default();
            if let Some(Value::Object(properties)) = of.get_mut("properties") {
                for (name, property) in properties {
                    if let Value::Object(property) = property {
                        let required = required.as_array();
                        let always = required.is_some_and(|it| it.contains(&json!(name)));
                        narrow_property(name, always, property);
                    }
                }
            }
            of.values_mut().for_each(narrow);
        }
        _ => {}
    }
}

fn narrow_property(name: &str, always: bool, property: &mut Map<String, Value>) {
    // What can be left out is never null.
    if !always && let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|it| it != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            property.insert("type".to_owned(), only);
        }
    }
    if !always && let Some(Value::Array(values)) = property.get_mut("enum") {
        values.retain(|it| !it.is_null());
    }
    // Ranges say it for everybody; formats of this kind are schemars' own.
    if let Some(format) = property.remove("format") {
        let maximum = match format.as_str() {
            Some("uint8") => u8::MAX.into(),
            Some("uint16") => u16::MAX.into(),
            Some("uint32") => u32::MAX.into(),
            _ => u64::MAX,
        };
        property.insert("maximum".to_owned(), maximum.into());
    }
    if let Some((_, maximum)) = MAXIMA.iter().find(|(narrow, _)| *narrow == name) {
        property.insert("maximum".to_owned(), (*maximum).into());
    }
    if name == "version" {
        property.insert("const".to_owned(), VERSION.into());
    }
}

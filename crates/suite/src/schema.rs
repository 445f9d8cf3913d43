//! The JSON schema of a scenario, for editors: made from the types that read one.

use serde_json::{Map, Value, json};

use crate::scenario::{Setting, Written};

/// An option of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its long name, without dashes before it.
    pub name: String,
    /// What its help says.
    pub about: String,
    /// Whether it has a value.
    pub has_value: bool,
}

/// The schema. What it cannot say only `stallbox test --check` says.
pub fn schema(options: &[OptionInfo]) -> Value {
    let mut schema = schemars::schema_for!(Written).to_value();
    let properties: Map<String, Value> = options
        .iter()
        .map(|option| {
            let mut value = match option.has_value {
                true => json!({ "$ref": "#/$defs/Setting" }),
                false => json!({ "type": "boolean" }),
            };
            value["description"] = json!(option.about);
            (option.name.clone(), value)
        })
        .collect();
    schema["$defs"]["Setting"] = schemars::schema_for!(Setting).to_value();
    schema["$defs"]["Setting"]
        .as_object_mut()
        .into_iter()
        .for_each(|setting| {
            setting.remove("$schema");
        });
    schema["$defs"]["Machine"] = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    let about = "Options of `stallbox run`, by their long names.";
    let machine = json!({ "$ref": "#/$defs/Machine", "description": about });
    schema["properties"]["machine"] = machine.clone();
    schema["$defs"]["WrittenCase"]["properties"]["machine"] = machine;
    schema
}

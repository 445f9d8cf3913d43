//! The schema of scenarios in the documentation is the one that the command prints, and takes the scenarios
//! that are shown.

use std::fs;
use std::process::Command;

use stallbox_tests::{repository, stallbox};

#[test]
fn the_schema_of_scenarios_is_the_one_that_is_printed() {
    let mut command = Command::new(stallbox());
    let printed = command.args(["test", "--schema"]).output().unwrap();
    let shown = fs::read_to_string(repository("docs/scenario.schema.json")).unwrap();
    assert!(
        String::from_utf8(printed.stdout).unwrap() == shown,
        "stallbox test --schema > docs/scenario.schema.json"
    );
}

#[test]
fn scenarios_that_are_shown_are_what_their_schema_says() {
    let schema = fs::read_to_string(repository("docs/scenario.schema.json")).unwrap();
    let schema = serde_json::from_str(&schema).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let is_valid = |text: &str| {
        let value: toml::Value = toml::from_str(text).unwrap();
        schema.is_valid(&serde_json::to_value(value).unwrap())
    };
    let folder = fs::read_dir(repository("docs/scenarios")).unwrap();
    let files: Vec<_> = folder
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    assert!(files.len() > 1);
    for file in files {
        assert!(is_valid(&fs::read_to_string(&file).unwrap()), "{file:?}");
    }
    assert!(!is_valid("title = 't'\n[machine]\ncpu = 1"));
    assert!(!is_valid("title = 't'\n[expect]\nstate = 1"));
    assert!(!is_valid("seeds = 1"));
}

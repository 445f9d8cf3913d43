//! What is no plan is refused with its place. Each file of `refused/` begins with comments
//! `#! LINE:COLUMN: words`, one for each mistake that must be found, and nothing else may be.

use std::fs;
use std::path::Path;

use stallbox_faultplan::Plan;

fn each(folder: &str, mut check: impl FnMut(&str, &str)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = 0;
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    paths.sort();
    for path in paths {
        found += 1;
        check(
            &path.display().to_string(),
            &fs::read_to_string(&path).unwrap(),
        );
    }
    assert!(found > 0, "{} is empty", folder.display());
}

#[test]
fn mistakes_point_at_their_line_and_column() {
    each("tests/refused", |path, text| {
        let error = Plan::parse(text).expect_err(path);
        let expected: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("#! "))
            .collect();
        let found: Vec<String> = error
            .mistakes
            .iter()
            .map(|it| format!("{}:{}: {}", it.line, it.column, it.message))
            .collect();
        let whole = error.clone().named(path).to_string();
        assert_eq!(found.len(), expected.len(), "{whole}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{expected}\n{whole}");
        }
        // What is shown is the line itself.
        for mistake in &error.mistakes {
            let line = text.lines().nth(mistake.line - 1).unwrap_or("");
            assert_eq!(mistake.text, line, "{whole}");
        }
    });
}

#[test]
fn the_examples_are_plans() {
    each("../../docs/fault-plans", |path, text| {
        let plan = Plan::parse(text).unwrap_or_else(|error| panic!("{}", error.named(path)));
        assert!(!plan.is_empty(), "{path} does nothing");
    });
}

#[test]
fn the_whole_of_a_refusal_reads_well() {
    let text = "[[rule]]\nat = \"translatoin\"\ndo = { fault = \"translation\" }\n";
    let error = Plan::parse(text).unwrap_err().named("late.toml");
    assert_eq!(
        error.to_string(),
        "late.toml:2:6: \"translatoin\" is no value of `at`\n  |\n2 | at = \"translatoin\"\n  |      \
         ^^^^^^^^^^^^^\n  = did you mean \"translation\"?"
    );
}

#[test]
fn a_plan_that_is_too_long_is_refused() {
    let rule = "[[rule]]\nat='marker'\ndo.pause=true\n";
    let error = Plan::parse(&rule.repeat(10_001)).unwrap_err();
    assert!(error.to_string().contains("at most 10000 rules"), "{error}");
    let error = Plan::parse(&" ".repeat((4 << 20) + 1)).unwrap_err();
    assert!(error.to_string().contains("at most 4 MiB"), "{error}");
}

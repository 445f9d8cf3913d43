//! docs/smmu-conformance.md names tests; each of them has to be there.

use std::path::{Path, PathBuf};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of this crate's tests.
fn tests() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let source = read(&entry.unwrap().path());
        let mut lines = source.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line == "#[test]"
                && let Some(name) = lines.next().and_then(|line| line.strip_prefix("fn "))
            {
                names.extend(name.split('(').next().map(str::to_owned));
            }
        }
    }
    names
}

/// What is between backquotes and can only be a test: lower case, with two underscores or more.
fn named(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted
        .filter(|name| {
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            name.bytes().all(|byte| byte == b'_' || is_name(byte)) && name.matches('_').count() >= 2
        })
        .collect()
}

#[test]
fn every_test_that_the_conformance_page_names_exists() {
    let page: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/smmu-conformance.md");
    let (page, tests) = (read(&page), tests());
    let named = named(&page);
    assert!(named.len() > 100, "the page is read: {}", named.len());
    let missing: Vec<&str> = named
        .into_iter()
        .filter(|name| !tests.iter().any(|test| test == name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

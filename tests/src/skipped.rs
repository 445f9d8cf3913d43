//! Tests that cannot run where they are.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

/// Names a file to which each skipped test adds a line; `cargo xtask test` counts them.
pub const LIST: &str = "STALLBOX_SKIPPED";

/// Says that the calling test, or a part of it, is skipped, and why.
///
/// # Panics
/// If the list cannot be written.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
    let Some(path) = env::var_os(LIST) else {
        return;
    };
    let current = thread::current();
    let line = format!("{}: {why}\n", current.name().unwrap_or("a test"));
    // One write: tests of several processes add to it.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut list| list.write_all(line.as_bytes()))
        .unwrap_or_else(|error| panic!("cannot write {} ({LIST}): {error}", path.display()));
}

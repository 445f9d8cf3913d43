//! `cargo xtask prepush`: what continuous integration runs, and nothing else.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::cargo;

/// Runs `.ci/run`, so that the two cannot drift apart.
pub(crate) fn run() -> Result<()> {
    let script = cargo::root().join(".ci/run");
    cargo::run(
        Command::new(script)
            .current_dir(cargo::root())
            .stdin(Stdio::null()),
    )
}

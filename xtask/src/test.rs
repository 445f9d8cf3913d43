//! `cargo xtask test`: everything that proves the project.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Args;
use stallbox_output::tell;

use crate::cargo::{self, cargo};
use crate::stages::{Stages, count};
use crate::{c_format, debian, image, kvm_unit_tests, test_kvm};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// What takes long, too: tests that are ignored elsewhere, and the whole suite on the KVM
    /// engine; an hour.
    #[arg(long)]
    all: bool,
    /// Fails if a test was skipped, because this machine lacks something.
    #[arg(long)]
    complete: bool,
    /// Passed on to `cargo test`: a filter on names, or options after another `--`.
    #[arg(last = true, value_name = "ARGS")]
    pass_on: Vec<String>,
}

/// Runs all stages until one fails, and says at the end how long each took.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let mut stages = Stages::new();
    let result = prove(&mut stages, args);
    tell!("\n{}", stages.summary());
    result
}

/// Tests that were skipped in the course of `run`, a line each.
fn skipped_in(run: impl FnOnce(&Path) -> Result<()>) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let list = folder.path().join("skipped");
    run(&list)?;
    let lines = match fs::read_to_string(&list) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.context("cannot read which tests were skipped")?,
    };
    Ok(lines.lines().map(str::to_owned).collect())
}

/// As `stallbox_tests::SKIPPED` has it, which is not linked here: it would be built before anything else.
const SKIPPED: &str = "STALLBOX_SKIPPED";

fn prove(stages: &mut Stages, args: &TestArgs) -> Result<()> {
    stages.run("Debian packages", || {
        debian::install(&debian::missing_for_tests())
    })?;
    c_format::stage(stages)?;
    stages.run("guest images", image::ensure_for_tests)?;
    // The tests that boot want speed, so they run the release build. Everything else runs with
    // debug assertions and overflow checks, for which the dev profile is optimised enough.
    let stallbox = stages.run("stallbox, release", cargo::build_stallbox)?;
    let skipped = stages.run("tests", || {
        skipped_in(|list| {
            cargo::run(
                cargo()
                    .args(["test", "--workspace", "--no-fail-fast"])
                    .args(&args.pass_on)
                    .env("STALLBOX", &stallbox)
                    .env(SKIPPED, list),
            )
        })
    })?;
    stages.note_skipped(&skipped);
    if args.complete && !skipped.is_empty() {
        bail!("--complete: {} skipped", count(skipped.len()));
    }
    kvm_unit_tests::stage(stages, &stallbox)?;
    if args.all {
        stages.run("Debian packages", || {
            debian::install(&debian::missing_for_long_tests())
        })?;
        stages.run("tests that take long", || {
            cargo::run(
                cargo()
                    .args(["test", "--no-fail-fast"])
                    .args(["--package", "stallbox-aarch64", "--test", "oracle"])
                    .args(["--package", "stallbox-tests", "--test", "e2e"])
                    .args(["--", "--ignored"])
                    .env("STALLBOX", &stallbox),
            )
        })?;
    }
    test_kvm::stage(stages, args.all)?;
    // A workspace of its own, which nothing else would keep in step. What fuzzers need beyond this is
    // a nightly compiler.
    stages.run("fuzz targets", || {
        cargo::run(
            cargo()
                .args(["clippy", "--manifest-path", "fuzz/Cargo.toml"])
                .args(["--", "-D", "warnings"]),
        )
    })?;
    stages.run("documentation", || {
        cargo::run(
            cargo()
                .args(["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })?;
    if deny_is_installed() {
        // Not `advisories`: their database is fetched from a host of its own.
        stages.run("dependencies", || {
            cargo::run(cargo().args(["deny", "check", "bans", "licenses", "sources"]))
        })?;
    } else {
        stages.skip("dependencies", "cargo-deny is not installed");
    }
    Ok(())
}

fn deny_is_installed() -> bool {
    cargo()
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

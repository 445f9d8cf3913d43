//! Programs for arm64 on a machine of another kind: Rust's standard library, and how cargo is
//! told to link.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, cargo};

/// Statically linked, so that the emulated host needs no libraries.
pub(super) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The cross compiler that the guest image is built with, too.
const LINKER: &str = "aarch64-linux-gnu-gcc";

/// Sees to it that this toolchain can build for [`TARGET`].
pub(super) fn ensure() -> Result<()> {
    if has_standard_library()? {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "add", TARGET])
        .current_dir(cargo::root())
        .stdin(Stdio::null());
    let failure = match cargo::run(&mut rustup) {
        Ok(()) if has_standard_library()? => return Ok(()),
        Ok(()) => "rustup added it to another toolchain than the one that runs this".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    bail!(
        "Rust's standard library for {TARGET} is missing ({failure}); install it into the \
         toolchain that `rustc --print sysroot` names, or put another toolchain of the same or a \
         newer version that has it first in PATH"
    )
}

fn has_standard_library() -> Result<bool> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(cargo::root())
        .stdin(Stdio::null())
        .output()
        .context("cannot start rustc")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    // The folder's name is printed whether it exists or not.
    Ok(fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

/// cargo with a subcommand that builds, in release and for [`TARGET`].
pub(super) fn cross(subcommand: &str) -> Command {
    let mut command = cargo();
    command
        .args([subcommand, "--release", "--target", TARGET])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        // Goes before any other source of flags; build scripts and macros do not get it.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        // Only ratios are measured in there; this halves the time of the build.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        // What is loaded into the host's memory had better be small.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    command
}

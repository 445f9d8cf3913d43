//! The Debian packages that the guest image and the tests need.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use stallbox_guest_images as guest_images;
use stallbox_output::tell;

use crate::cargo;

/// Programs that only the tests run, and the packages that bring them.
const FOR_TESTS: &[(&str, &str)] = &[
    ("aarch64-linux-gnu-objdump", "binutils-aarch64-linux-gnu"),
    // libFuzzer is C++.
    ("c++", "g++"),
    ("chromium", "chromium"),
    ("clang-format", "clang-format"),
    // A page shows it.
    ("jq", "jq"),
    ("qemu-aarch64", "qemu-user"),
];

/// Programs that the benchmarks run, as the peer, and the tests on KVM, as the host.
const SYSTEM_EMULATOR: &[(&str, &str)] = &[("qemu-system-aarch64", "qemu-system-arm")];

/// What is missing for building the guest image.
pub(crate) fn missing_for_image() -> Vec<&'static str> {
    guest_images::missing_packages()
}

/// What is missing for `cargo xtask test-kvm` on a machine that has no KVM for arm64.
pub(crate) fn missing_for_kvm_tests() -> Vec<&'static str> {
    missing_with(SYSTEM_EMULATOR)
}

/// What is missing for `cargo xtask test`.
pub(crate) fn missing_for_tests() -> Vec<&'static str> {
    missing_with(FOR_TESTS)
}

/// What is missing for tests that take long.
pub(crate) fn missing_for_long_tests() -> Vec<&'static str> {
    missing_with(&[("slurmctld", "slurm-wlm"), ("munged", "munge")])
}

/// What is missing for `cargo xtask bench`.
pub(crate) fn missing_for_benchmarks() -> Vec<&'static str> {
    missing_with(SYSTEM_EMULATOR)
}

/// What is missing for building the guest image and for running `programs`.
fn missing_with(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let missing = programs
        .iter()
        .filter(|(program, _)| !is_installed(program));
    missing_for_image()
        .into_iter()
        .chain(missing.map(|(_, package)| *package))
        .collect()
}

/// In the search path; another package than ours may have brought it.
fn is_installed(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Installs `packages`, if that is ours to do; otherwise says how, which is an error.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let command = guest_images::install_command(packages);
    if !is_installed("apt-get") {
        bail!(
            "these Debian packages are needed, and there is no apt-get here to install them: {}\n\
             use Debian 12 or 13, or run `stallbox run` with a --kernel and an --initrd of your own",
            packages.join(" ")
        );
    }
    if !is_root()? {
        bail!(
            "Debian packages are missing; install them and run this again:\n\n  \
             sudo apt-get update && sudo {command}\n"
        );
    }
    tell!("Debian packages: installing {}", packages.join(" "));
    apt_get(&["update"])?;
    let unknown = unknown(packages, &policy(packages)?);
    if !unknown.is_empty() {
        bail!(
            "apt knows no package {}: they are in the component main of Debian 12 and 13 for \
             amd64; see /etc/apt/sources.list and /etc/apt/sources.list.d",
            unknown.join(" ")
        );
    }
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    apt_get(&words)
}

fn is_root() -> Result<bool> {
    // /proc/self belongs to the effective user.
    Ok(fs::metadata("/proc/self")
        .context("cannot read /proc/self")?
        .uid()
        == 0)
}

/// apt's output goes to standard error: standard output is for results.
fn apt_get(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(words)
        // Another apt may be at work just after a machine's boot.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(io::stderr());
    cargo::run(&mut command)
}

/// What `apt-cache policy` says: a block for each package that it knows.
fn policy(packages: &[&str]) -> Result<String> {
    let output = Command::new("apt-cache")
        .arg("policy")
        .args(packages)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .context("cannot start apt-cache")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn unknown<'a>(packages: &[&'a str], policy: &str) -> Vec<&'a str> {
    let mut known = Vec::new();
    let mut block = "";
    for line in policy.lines() {
        match line.strip_suffix(':') {
            Some(name) if !line.starts_with(' ') => block = name,
            _ => {
                let candidate = line.trim().strip_prefix("Candidate: ");
                if candidate.is_some_and(|version| version != "(none)") {
                    known.push(block);
                }
            }
        }
    }
    packages
        .iter()
        .copied()
        .filter(|package| !known.contains(package))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_without_a_candidate_are_unknown() {
        // The form of apt 2.6 and 3.0; a package that is not known at all has no block.
        let policy = "flex:\n  Installed: 2.6.4-8.2\n  Candidate: 2.6.4-8.2\n  Version table:\n \
                      *** 2.6.4-8.2 500\nbc:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(unknown(&["flex", "bc", "bison"], policy), ["bc", "bison"]);
    }

    #[test]
    fn nothing_missing_is_nothing_to_do() {
        install(&[]).unwrap();
    }

    #[test]
    fn a_program_is_found_in_the_search_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("stallbox-no-such-program"));
    }
}

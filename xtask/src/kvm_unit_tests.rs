//! `cargo xtask kvm-unit-tests DIR`: tests of interrupt controller, timers, clock and firmware that
//! come from outside, on Stallbox.
//!
//! DIR is a checkout of kvm-unit-tests that its user has built for arm64. Nothing of it is part of
//! this project: its programs are read, given the header of an arm64 kernel Image, and booted.

mod list;
mod report;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use stallbox_output::print;

use crate::cargo;
use crate::stages::Stages;
use list::{NOT_RUN, TESTS, Test};
use report::Report;

/// Names the checkout, for `cargo xtask test`.
pub(crate) const VARIABLE: &str = "STALLBOX_KVM_UNIT_TESTS";
/// The stage of `cargo xtask test`.
const STAGE: &str = "kvm-unit-tests";
/// Long: the machine may be busy.
const TIMEOUT_SECONDS: &str = "300";
/// A clock that is awaited in a busy loop is awaited in few instructions.
const SLOW_CPU: &str = "instruction_ps = 50000\n";
/// The programs ask their environment which defects of old kernels are mended (`errata.txt` there).
/// Here are none of those kernels.
const ENVIRONMENT: &str = "ERRATA_9e3f7a296940=y\nERRATA_7b6b46311a85=y\nERRATA_6c7a5dce22b3=y\n\
                           ERRATA_8c58be34494b=y\n";

/// Options of `cargo xtask kvm-unit-tests`.
#[derive(Args)]
pub(crate) struct KvmUnitTestsArgs {
    /// A checkout of kvm-unit-tests, built for arm64 as its README says.
    #[arg(value_name = "DIR")]
    checkout: PathBuf,
    /// Only tests whose names contain this.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Runs this `stallbox` instead of building one.
    #[arg(long, value_name = "FILE")]
    stallbox: Option<PathBuf>,
}

/// Runs the tests and prints a line for each.
pub(crate) fn run(args: &KvmUnitTestsArgs) -> Result<()> {
    check(&args.checkout)?;
    let stallbox = match &args.stallbox {
        Some(path) => path.clone(),
        None => cargo::build_stallbox()?,
    };
    run_all(&stallbox, &args.checkout, args.name.as_deref())
}

/// The stage of `cargo xtask test`: skipped where there is no checkout.
pub(crate) fn stage(stages: &mut Stages, stallbox: &Path) -> Result<()> {
    match env::var_os(VARIABLE) {
        Some(checkout) => {
            let checkout = PathBuf::from(checkout);
            stages.run(STAGE, || {
                check(&checkout).context(VARIABLE)?;
                run_all(stallbox, &checkout, None)
            })
        }
        None => {
            stages.skip(STAGE, "STALLBOX_KVM_UNIT_TESTS names no checkout");
            Ok(())
        }
    }
}

/// Whether the programs are there.
fn check(checkout: &Path) -> Result<()> {
    for test in TESTS {
        let program = program(checkout, test);
        if !program.is_file() {
            bail!(
                "{} is not there: DIR must be a checkout of kvm-unit-tests, built for arm64 (its \
                 README says how, under \"Cross-compiling\")",
                program.display()
            );
        }
    }
    Ok(())
}

fn program(checkout: &Path, test: &Test) -> PathBuf {
    checkout.join("arm").join(test.file).with_extension("flat")
}

fn run_all(stallbox: &Path, checkout: &Path, name: Option<&str>) -> Result<()> {
    let wanted = |test: &&Test| name.is_none_or(|name| test.name.contains(name));
    let tests: Vec<&Test> = TESTS.iter().filter(wanted).collect();
    if tests.is_empty() {
        let names: Vec<&str> = TESTS.iter().map(|test| test.name).collect();
        bail!("no test has such a name; there are {}", names.join(", "));
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (mut failed, mut passed) = (Vec::new(), 0);
    for test in tests {
        let report = run_one(stallbox, checkout, folder.path(), test)?;
        match report.verdict(&test.expected) {
            Ok(line) => print(format_args!("ok      {:<32} {line}\n", test.name))?,
            Err(why) => {
                print(format_args!(
                    "FAILED  {:<32} {why}\n\n{}\n",
                    test.name, report.output
                ))?;
                failed.push(test.name);
            }
        }
        passed += report.passes;
    }
    if name.is_none() {
        for (name, why) in NOT_RUN {
            print(format_args!("skipped {name:<32} {why}\n"))?;
        }
        print(format_args!(
            "{passed} checks passed; {} tests are skipped\n",
            NOT_RUN.len()
        ))?;
    }
    if !failed.is_empty() {
        bail!("kvm-unit-tests: failed: {}", failed.join(", "));
    }
    Ok(())
}

fn run_one(stallbox: &Path, checkout: &Path, folder: &Path, test: &Test) -> Result<Report> {
    let program = program(checkout, test);
    let flat = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let place = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok(path)
    };
    let kernel = place("kernel", &image(&flat))?;
    let environment = place("environment", ENVIRONMENT.as_bytes())?;
    let mut command = Command::new(stallbox);
    command
        .args(["run", "--accel", "none", "--memory", "256M"])
        .args(["--timeout", TIMEOUT_SECONDS, "--bootargs", test.args])
        .args(["--cpus", &test.cpus.to_string()])
        .arg("--kernel")
        .arg(kernel)
        .arg("--initrd")
        .arg(environment)
        .stdin(Stdio::null());
    if test.waits {
        command
            .arg("--latency")
            .arg(place("slow.toml", SLOW_CPU.as_bytes())?);
    }
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", stallbox.display()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Report::new(text))
}

/// Bytes before the program: it wants to start at a multiple of a page of any size.
const HEADER_BYTES: usize = 64 << 10;
/// Free memory behind it, for what the file does not have: zeroed data and a stack.
const ROOM_BYTES: usize = 2 << 20;

/// A kernel Image that begins with a branch to `flat` (Linux,
/// Documentation/arch/arm64/booting.rst).
fn image(flat: &[u8]) -> Vec<u8> {
    let branch = (0b000101 << 26) | (HEADER_BYTES as u32 / 4);
    let mut image = vec![0; HEADER_BYTES];
    image[0..4].copy_from_slice(&branch.to_le_bytes());
    let bytes = (HEADER_BYTES + flat.len() + ROOM_BYTES) as u64;
    image[16..24].copy_from_slice(&bytes.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image.extend(flat);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_programs_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(folder.path()).unwrap_err().to_string();
        assert!(error.contains(".flat is not there"), "{error}");
        assert!(error.contains("built for arm64"), "{error}");
    }

    #[test]
    fn an_image_branches_over_its_header() {
        let image = image(&[1, 2, 3]);
        // `b 0x10000`, as GNU as has it.
        assert_eq!(image[0..4], [0x00, 0x40, 0x00, 0x14]);
        assert_eq!(image[0x10000..], [1, 2, 3]);
        assert_eq!(image[56..60], *b"ARMd");
    }
}

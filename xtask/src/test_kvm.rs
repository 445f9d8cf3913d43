//! `cargo xtask test-kvm`: the end-to-end tests on the KVM engine.
//!
//! On an arm64 host with `/dev/kvm` they run there. Elsewhere Stallbox and the tests are
//! cross-built, and QEMU emulates an arm64 host that runs them, all in one boot. The benchmarks of
//! the engines run in the same places.

mod host;
mod toolchain;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use stallbox_guest_images::{self as guest_images, GuestImage, HostImage};
use stallbox_output::tell;

use crate::cargo::{self, cargo};
use crate::progress::Terminal;
use crate::stages::Stages;
use crate::{debian, image};
use host::Files;
use toolchain::cross;

/// The stage that all the others prepare.
const TESTS_ON_KVM: &str = "tests on KVM";
/// What takes its place with `--bench`.
const BENCHMARKS_ON_KVM: &str = "benchmarks on KVM";

/// Where the emulated host has what the tests read of the repository.
const REPOSITORY: &str = "/repository";

/// Long: the machine may be busy.
const TIMEOUT_SECONDS: u64 = 3600;

/// What is tested: the whole suite on the engine, and what is built for arm64 only.
const TESTS: [&[&str]; 2] = [
    &["--package", "stallbox", "--lib", "--test", "confine"],
    &[
        "--package",
        "stallbox-tests",
        "--test",
        "e2e",
        "--features",
        "kvm",
    ],
];

/// The benchmarks.
const BENCHMARKS: &[&str] = &["--package", "stallbox", "--example", "engines"];

/// The end-to-end tests of `--quick`: boot, probe, compress, fault, kill a process under DMA, and a
/// confined process.
const QUICK: &[&str] = &[
    "boot::four_cpus_reach_init",
    "boot::the_summary_names_the_engine_that_ran",
    "compress::one_small_file_goes_both_ways",
    "confine::",
    "faults::an_access_to_an_unmapped_address",
    "faults::device_smmu_and_guest_count_the_same_faults",
    "faults::processes_killed_under_dma",
    "isolation::the_same_pointer_means_each_process_its_own_memory_on_four_cpus",
    "probe::messages",
    "probe::msi_has_four_messages",
    "probe::uacce_offers",
    "probe::wired_interrupts",
];

/// Options of `cargo xtask test-kvm`.
#[derive(Args, Default)]
pub(crate) struct TestKvmArgs {
    /// Only what `cargo xtask test` runs of it: boot, probe, compress, fault, kill under DMA.
    #[arg(long)]
    quick: bool,
    /// Runs a shell command in the emulated arm64 host instead of the tests; `stallbox` is there.
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Measures what the engines cost, each beside the other, instead of the tests; ARGS are
    /// numbers of rounds and of accesses.
    #[arg(long, conflicts_with_all = ["quick", "command"])]
    bench: bool,
    /// The emulated host's CPU, as QEMU names it (`-cpu`) [default: neoverse-n1].
    #[arg(long, value_name = "NAME")]
    host_cpu: Option<String>,
    /// Stops the emulated host after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Passed on to the tests: a filter on names, or options such as --nocapture.
    #[arg(last = true, value_name = "ARGS")]
    pass_on: Vec<String>,
}

impl TestKvmArgs {
    /// What a test program is started with.
    fn words(&self, end_to_end: bool) -> impl Iterator<Item = &str> {
        let quick = if self.quick && end_to_end { QUICK } else { &[] };
        let passed_on = self.pass_on.iter().map(String::as_str);
        quick.iter().copied().chain(passed_on)
    }
}

/// Runs all stages until one fails, and says at the end how long each took.
pub(crate) fn run(args: &TestKvmArgs) -> Result<()> {
    let mut stages = Stages::new();
    let result = prove(&mut stages, args);
    tell!("\n{}", stages.summary());
    result
}

/// The stages for `cargo xtask test`: those of `--quick`, or all.
pub(crate) fn stage(stages: &mut Stages, all: bool) -> Result<()> {
    if !kvm_is_here()
        && let Err(error) = toolchain::ensure()
    {
        tell!("{error:#}");
        stages.skip(TESTS_ON_KVM, "no standard library of Rust for arm64");
        return Ok(());
    }
    let args = TestKvmArgs {
        quick: !all,
        ..TestKvmArgs::default()
    };
    prove(stages, &args)
}

fn prove(stages: &mut Stages, args: &TestKvmArgs) -> Result<()> {
    let stage = if args.bench {
        BENCHMARKS_ON_KVM
    } else {
        TESTS_ON_KVM
    };
    if kvm_is_here() && args.command.is_none() {
        return stages.run(stage, || natively(args));
    }
    stages.run("Debian packages for KVM", || {
        debian::install(&debian::missing_for_kvm_tests())
    })?;
    let guests = stages.run("guest images", || guests(args))?;
    let host = stages.run("arm64 host", host_image)?;
    let programs = stages.run("stallbox and tests for arm64", || {
        toolchain::ensure()?;
        Programs::build(args)
    })?;
    stages.run(stage, || emulated(&host, &guests, &programs, args))
}

/// KVM for arm64 guests, and allowed to us.
fn kvm_is_here() -> bool {
    cfg!(target_arch = "aarch64")
        && OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok()
}

fn natively(args: &TestKvmArgs) -> Result<()> {
    debian::install(&debian::missing_for_image())?;
    guests(args)?;
    if args.bench {
        return cargo::run(
            cargo()
                .args(["run", "--release"])
                .args(BENCHMARKS)
                .arg("--")
                .args(&args.pass_on),
        );
    }
    let stallbox = cargo::build_stallbox()?;
    for options in TESTS {
        cargo::run(
            cargo()
                .arg("test")
                .args(options)
                .arg("--")
                .args(args.words(options.contains(&"e2e")))
                .env("STALLBOX", &stallbox),
        )?;
    }
    Ok(())
}

/// The images that guests are booted from, each with the folder that it is in, in the emulated host:
/// all that tests boot, unless it is known that the stock one is enough.
fn guests(args: &TestKvmArgs) -> Result<Vec<(PathBuf, GuestImage)>> {
    let stock = Path::new("/guest");
    let mut guests = vec![(stock.to_owned(), image::ensure()?)];
    if !args.quick && !args.bench {
        let others = image::ensure_others_for_tests()?;
        guests.extend(
            others
                .into_iter()
                .map(|(name, image)| (stock.join(name), image)),
        );
    }
    Ok(guests)
}

fn host_image() -> Result<HostImage> {
    let progress = Terminal::new("arm64 host");
    let image = guest_images::ensure_host(&guest_images::source_root()?, &progress)
        .context("cannot get a kernel for the arm64 host")?;
    progress.finish();
    tell!("{}", image.package);
    Ok(image)
}

/// What is cross-built.
struct Programs {
    stallbox: PathBuf,
    /// Test programs, in the order in which they run.
    tests: Vec<PathBuf>,
    /// With `--bench`.
    benchmarks: Option<PathBuf>,
}

impl Programs {
    fn build(args: &TestKvmArgs) -> Result<Programs> {
        let stallbox =
            cargo::executable(cross("build").args(["--package", "stallbox", "--bin", "stallbox"]))?;
        let mut tests = Vec::new();
        if args.command.is_none() && !args.bench {
            for options in TESTS {
                tests.extend(cargo::executables(
                    cross("test").arg("--no-run").args(options),
                    true,
                )?);
            }
        }
        let benchmarks = args
            .bench
            .then(|| cargo::executable(cross("build").args(BENCHMARKS)))
            .transpose()?;
        Ok(Programs {
            stallbox,
            tests,
            benchmarks,
        })
    }
}

fn emulated(
    host: &HostImage,
    guests: &[(PathBuf, GuestImage)],
    programs: &Programs,
    args: &TestKvmArgs,
) -> Result<()> {
    let mut files = Files::default();
    files.add("/bin/stallbox", &programs.stallbox, 0o755)?;
    for (folder, guest) in guests {
        for (name, path) in guest.ready_files() {
            files.add(folder.join(name), &path, 0o644)?;
        }
    }
    let (root, there) = (cargo::root(), Path::new(REPOSITORY));
    files.add(
        there.join("LICENSE-APACHE"),
        &root.join("LICENSE-APACHE"),
        0o644,
    )?;
    for name in ["guest-images/guest/programs", "docs/fault-plans"] {
        let folder = root.join(name);
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {folder:?}"))? {
            let entry = entry.with_context(|| format!("cannot list {folder:?}"))?;
            let path = there.join(name).join(entry.file_name());
            files.add(path, &entry.path(), 0o644)?;
        }
    }
    let mut script = format!(
        "export STALLBOX=/bin/stallbox STALLBOX_GUEST_IMAGES=/guest\n\
         export STALLBOX_REPOSITORY={REPOSITORY}\n\
         test -c /dev/kvm || {{ echo 'the arm64 host has no /dev/kvm'; exit 1; }}\n",
    );
    match (&args.command, &programs.benchmarks) {
        (Some(command), _) => script.push_str(command),
        (None, Some(program)) => {
            files.add("/bin/engines", program, 0o755)?;
            let words = args.words(false).map(|word| format!(" {}", quote(word)));
            script.push_str(&format!("engines{}", words.collect::<String>()));
        }
        (None, None) => {
            script.push_str("status=0\n");
            for program in &programs.tests {
                let name = program.file_name().context("cargo names programs")?;
                let path = Path::new("/tests").join(name);
                files.add(&path, program, 0o755)?;
                let words: String = args
                    .words(name.to_string_lossy().starts_with("e2e"))
                    .map(|word| format!(" {}", quote(word)))
                    .collect();
                script.push_str(&format!("{}{words} || status=$?\n", path.display()));
            }
            script.push_str("exit $status\n");
        }
    }
    let limit = Duration::from_secs(args.timeout.unwrap_or(TIMEOUT_SECONDS));
    let cpu = args.host_cpu.as_deref().unwrap_or(host::CPU);
    match host::run(host, cpu, files, &script, limit)? {
        0 => Ok(()),
        status if args.command.is_some() => bail!("the command ended with status {status}"),
        status if args.bench => bail!("the benchmarks ended with status {status}"),
        _ => bail!("tests failed on the KVM engine"),
    }
}

/// A word as a shell reads it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

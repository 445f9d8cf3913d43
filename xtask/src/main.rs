//! Developer commands: `cargo xtask COMMAND`.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod c_format;
mod cargo;
mod debian;
mod demo;
mod image;
mod kvm_unit_tests;
mod prepush;
mod progress;
mod stages;
mod test;
mod test_kvm;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stallbox_output::{CLOSED, is_closed, stdout_error, tell};

/// Developer commands of Stallbox.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Sets everything up, boots a guest and shows what its IO page faults cost.
    Demo(demo::DemoArgs),
    /// Builds the guest image, if it is not cached, and says where it is.
    Image(image::ImageArgs),
    /// Runs everything that proves the project, boots included.
    Test(test::TestArgs),
    /// Runs the end-to-end tests on the KVM engine, on a machine without it in an emulated host.
    TestKvm(test_kvm::TestKvmArgs),
    /// Runs kvm-unit-tests, from a checkout that is built for arm64.
    KvmUnitTests(kvm_unit_tests::KvmUnitTestsArgs),
    /// Runs the benchmarks, each beside its peer; the tables of docs/results.md.
    Bench(bench::BenchArgs),
    /// Runs what continuous integration runs.
    Prepush,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return refused(&refusal),
    };
    let done = match cli.action {
        Action::Demo(args) => demo::run(&args),
        Action::Image(args) => image::run(&args),
        Action::Test(args) => test::run(&args),
        Action::TestKvm(args) => test_kvm::run(&args),
        Action::KvmUnitTests(args) => kvm_unit_tests::run(&args),
        Action::Bench(args) => bench::run(&args),
        Action::Prepush => prepush::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// The command line is refused, or asks for help, which is printed here.
fn refused(refusal: &clap::Error) -> ExitCode {
    let printed = refusal.print().and_then(|()| std::io::stdout().flush());
    match printed.map_err(stdout_error) {
        Err(error) if !refusal.use_stderr() => failed(&error.into()),
        _ => ExitCode::from(refusal.exit_code() as u8),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if is_closed(error.as_ref()) {
        return ExitCode::from(CLOSED);
    }
    tell!("error: {error:#}");
    ExitCode::FAILURE
}

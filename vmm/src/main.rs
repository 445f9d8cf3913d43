//! `stallbox`, the command.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use stallbox_machine::outcome::Outcome;
use stallbox_output::{CLOSED, is_closed, stdout_error, tell};
use stallbox_vmm::cli::{Action, BundleAction, Cli, PlanAction, TraceAction};
use stallbox_vmm::{blame, control, image, measure, plan, run, shrink, suite, sweep, trace};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return refused(&refusal),
    };
    let done = match &cli.action {
        Action::Run(args) => run::run(args),
        Action::Replay(args) => run::replay(args),
        Action::Bundle(BundleAction::Show(args)) => run::show(args),
        Action::Sweep(args) => sweep::sweep(args),
        Action::Shrink(args) => shrink::shrink(args),
        Action::Blame(args) => blame::blame(args),
        Action::Test(args) => suite::test(args),
        Action::Bisect(args) => suite::bisect(args),
        Action::Measure(args) => measure::run(args),
        Action::Inspect(args) => control::inspect(args),
        Action::Plan(PlanAction::Check(args)) => plan::check(args),
        Action::Image(args) => image::run(args),
        Action::Plan(PlanAction::Schema) => plan::schema(),
        Action::Trace(TraceAction::Schema) => trace::schema(),
    };
    let status = match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => failed(&error),
    };
    stallbox_output::finish();
    status
}

/// The command line is refused, or asks for help or the version, which are printed here.
fn refused(refusal: &clap::Error) -> ExitCode {
    let printed = refusal.print().and_then(|()| std::io::stdout().flush());
    match printed.map_err(stdout_error) {
        // A closed terminal leaves nowhere to complain to.
        _ if refusal.use_stderr() => ExitCode::from(Outcome::ERROR),
        Err(error) => failed(&error.into()),
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// Who reads the first lines only has seen what they wanted.
fn failed(error: &anyhow::Error) -> ExitCode {
    if is_closed(error.as_ref()) {
        return ExitCode::from(CLOSED);
    }
    tell!("stallbox: {error:#}");
    ExitCode::from(Outcome::ERROR)
}

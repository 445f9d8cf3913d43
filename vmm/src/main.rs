//! `stallbox`, the command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use stallbox_vmm::cli::{Action, Cli, PlanAction};
use stallbox_vmm::outcome::Outcome;
use stallbox_vmm::{control, image, measure, plan, run};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // A closed terminal leaves nowhere to complain to. Help and version come here too.
            let _ = refusal.print();
            let failed = refusal.use_stderr();
            return ExitCode::from(if failed { Outcome::ERROR } else { 0 });
        }
    };
    let done = match &cli.action {
        Action::Run(args) => run::run(args),
        Action::Measure(args) => measure::run(args),
        Action::Inspect(args) => control::inspect(args),
        Action::Plan(PlanAction::Check(args)) => plan::check(args),
        Action::Image(args) => image::run(args),
        Action::Plan(PlanAction::Schema) => plan::schema(),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("stallbox: {error:#}");
            ExitCode::from(Outcome::ERROR)
        }
    }
}

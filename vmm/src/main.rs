//! `stallbox`, the command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use stallbox_vmm::cli::{Action, Cli};
use stallbox_vmm::outcome::Outcome;
use stallbox_vmm::run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.action {
        Action::Run(args) => run::run(args),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("stallbox: {error:#}");
            ExitCode::from(Outcome::ERROR)
        }
    }
}

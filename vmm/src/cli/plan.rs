//! Options of `stallbox plan`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be done with a plan.
#[derive(Debug, Subcommand)]
pub enum PlanAction {
    /// Reads fault plans and says what their rules are; mistakes are shown with their lines.
    Check(PlanCheckArgs),
    /// Prints the JSON schema of fault plans, for editors.
    Schema,
}

/// Options of `stallbox plan check`.
#[derive(Debug, Args)]
pub struct PlanCheckArgs {
    /// Fault plans.
    #[arg(required = true, value_name = "FILE")]
    pub plans: Vec<PathBuf>,
}

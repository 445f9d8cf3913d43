//! Options of `stallbox trace`.

use clap::Subcommand;

/// What can be done about traces.
#[derive(Debug, Subcommand)]
pub enum TraceAction {
    /// Prints the JSON schema of a line of a trace.
    Schema,
}

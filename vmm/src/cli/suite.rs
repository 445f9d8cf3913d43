//! Options of `stallbox test` and `stallbox bisect`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::jobs::JobsArgs;

/// Options of `stallbox test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Scenarios, or folders of them: of a folder, all files that end in .toml.
    #[arg(value_name = "FILE|DIR", required_unless_present = "schema")]
    pub scenarios: Vec<PathBuf>,
    /// Reads scenarios and says what their runs are, and runs nothing; mistakes are shown with their lines.
    #[arg(long)]
    pub check: bool,
    /// Prints the JSON schema of scenarios, for editors.
    #[arg(long, exclusive = true)]
    pub schema: bool,
    /// Only cases of this name (repeatable).
    #[arg(long, value_name = "NAME")]
    pub case: Vec<String>,
    /// Builds images that scenarios name and that have not been built.
    #[arg(long)]
    pub build: bool,
    /// What becomes of the results.
    #[command(flatten)]
    pub results: ResultsArgs,
    /// Writes the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Writes the results, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// How to run, and what to keep.
#[derive(Debug, Args)]
pub struct ResultsArgs {
    /// How many at a time.
    #[command(flatten)]
    pub jobs: JobsArgs,
    /// A folder for bundles: one for each run that failed and can be repeated.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Does not confine the processes (seccomp, Landlock).
    #[arg(long)]
    pub unconfined: bool,
}

/// Options of `stallbox bisect`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(false).args(["kernel_source", "build"]))]
pub struct BisectArgs {
    /// The scenario.
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// The tree: its kernel is built as `stallbox image build` does, and boots in place of the scenario's.
    #[arg(long, value_name = "DIR")]
    pub kernel_source: Option<PathBuf>,
    /// With --kernel-source: lines for the kernel's configuration, or a whole .config.
    #[arg(long, value_name = "FILE", requires = "kernel_source")]
    pub config: Option<PathBuf>,
    /// A command for the host's shell that builds, in place of that. What it makes, the scenario names.
    #[arg(long, value_name = "COMMAND")]
    pub build: Option<String>,
    /// The case that is looked for; needed if the scenario has several.
    #[arg(long, value_name = "NAME")]
    pub case: Option<String>,
    /// How to run, and what to keep.
    #[command(flatten)]
    pub results: ResultsArgs,
}

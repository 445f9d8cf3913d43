//! The command line: a file for each command, and `guest` for what several have in common.

mod accel;
mod blame;
mod bundle;
mod guest;
mod image;
mod inspect;
mod jobs;
mod machine;
mod measure;
mod plan;
mod run;
mod shrink;
mod suite;
mod sweep;
mod trace;

use clap::{Parser, Subcommand};

pub use accel::Accelerator;
pub use blame::BlameArgs;
pub use bundle::{BundleAction, BundleShowArgs, FilesArgs, ReplayArgs};
pub use guest::GuestArgs;
pub use image::{AddArgs, BuildArgs, ImageAction, ImageArgs};
pub use inspect::{InspectArgs, What};
pub use jobs::JobsArgs;
pub use machine::MachineArgs;
pub use measure::MeasureArgs;
pub use plan::{PlanAction, PlanCheckArgs};
pub use run::RunArgs;
pub use shrink::ShrinkArgs;
pub use suite::{BisectArgs, ResultsArgs, TestArgs};
pub use sweep::{MergeArgs, RunsArgs, SweepAction, SweepArgs, SweepFilesArgs};
pub use trace::TraceAction;

/// An arm64 machine for device page faults.
#[derive(Debug, Parser)]
#[command(name = "stallbox", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What Stallbox can do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Boots a guest; its command's exit status becomes Stallbox's.
    ///
    /// Other exit statuses: 120 the command succeeded but the guest's kernel reported a fault of its own
    /// (--fail-on), 121 the guest's kernel panicked, 122 the guest ended without a status,
    /// 123 the command succeeded but a checker reported something,
    /// 124 the time limit was reached, 125 an error of Stallbox or of the command line, or its output
    /// could not be written, 141 nobody reads its output any more.
    Run(Box<RunArgs>),
    /// Repeats a run that was recorded with `stallbox run --record`, and ends with its exit status.
    ///
    /// Exit status: 125 if it is not the same run, and as for `run`.
    Replay(Box<ReplayArgs>),
    /// Bundles: runs in one file.
    ///
    /// Exit status: 0, or 125 for an error.
    #[command(subcommand)]
    Bundle(BundleAction),
    /// Many runs from one place, each with draws of its own.
    ///
    /// Exit status: 0 all have passed, 1 some have failed, 122 a signal ended it half way, 125 an error of
    /// Stallbox or of the command line. With 122, what was done is told and written.
    Sweep(Box<SweepArgs>),
    /// Makes a recorded failure smaller: fewer rules, a shorter command, fewer vCPUs, less memory.
    ///
    /// Exit status: 0, 122 a signal ended it half way (what was found is written), 125 an error of Stallbox or of
    /// the command line, or a run that does not fail.
    Shrink(ShrinkArgs),
    /// Tells when a recorded failure became inevitable, and what happened then.
    ///
    /// Exit status: 0, 122 a signal ended it, 125 an error of Stallbox or of the command line, or a run that
    /// does not fail.
    Blame(BlameArgs),
    /// Runs scenarios: what must come of which run, on which kernels (docs/scenarios.md).
    ///
    /// Exit status: 0 all is as it must be, 1 something is not, 122 a signal ended it half way, 125 an error of
    /// Stallbox, of a scenario or of the command line, or a run that could not be made. With 122, what was done
    /// is told and written.
    Test(TestArgs),
    /// A step of `git bisect run`: builds the kernel of the tree as it is checked out, and runs a scenario on it.
    ///
    /// Exit status: 0 all is as it must be, 1 something is not, 125 the kernel does not build or nothing is known
    /// of a run, 128 (which ends the bisection) an error that has nothing to do with the tree.
    Bisect(BisectArgs),
    /// Measures what each way of preparing memory is worth under what the kernel does with it.
    ///
    /// Exit status: 0 all claims hold, 1 a claim fails or a cell could not be measured, 122 a signal
    /// ended it half way, 124 a guest took longer than --timeout, 125 an error of Stallbox or of the
    /// command line. With 122 and 124, what was measured is printed and written.
    Measure(MeasureArgs),
    /// Fault plans.
    #[command(subcommand)]
    Plan(PlanAction),
    /// Traces, as `run --trace` writes them.
    #[command(subcommand)]
    Trace(TraceAction),
    /// Builds guests, also from kernels, patches, modules and programs of your own.
    ///
    /// Exit status: 0, or 125 for an error.
    Image(ImageArgs),
    /// Looks at a machine that runs with --control, and interferes.
    ///
    /// Exit status: 1 if the machine refused, 125 if there is none or it does not answer.
    Inspect(InspectArgs),
}

//! What is made of the results of many runs: the same bug is recognised again ([`Signature`]), runs are
//! written to a results file and read back ([`Sweep`]), shards are put together, and what came of it is
//! told to people ([`Sweep::summary`]) and to continuous integration ([`Sweep::junit`]). [`Shrink`] makes
//! a failure smaller.
//!
//! There is no host in it: no processes, no clock, no files but what is read and written by traits.
//! `docs/sweep-results.md` is the reference of the file and of signatures.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod begin_at;
mod evidence;
mod file;
mod groups;
mod junit;
mod merge;
mod progress;
mod results;
mod seeds;
mod shrink;
mod signature;
mod summary;

pub use begin_at::{BeginAt, BeginAtError};
pub use evidence::{CheckReport, Death, Evidence, KernelReport, Verdict};
pub use file::{FORMAT, ResultsError};
pub use groups::Group;
pub use junit::JunitError;
pub use merge::{MergeError, Merged};
pub use progress::Progress;
pub use results::{Begin, CONSOLE_LINES, Header, PlaceInfo, Run, Sweep, Varied};
pub use seeds::{RUNS_MAX, Seeds, SeedsError, Shard, ShardError};
pub use shrink::{Candidate, Dimension, Shrink, Tried};
pub use signature::{FRAMES_MAX, Signature};

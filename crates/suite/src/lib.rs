//! Scenarios: a text says what is run, on which guests, and what must come of it. Here are its language
//! ([`Scenario`]), what it means for a run that is over ([`Expect::misses`]), and reports of many ([`Report`]).
//!
//! There is no host in it: no processes, no files, no clock. `docs/scenarios.md` is the reference.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bounds;
mod expect;
mod matrix;
mod report;
mod scenario;
mod schema;

pub use bounds::Bounds;
pub use expect::{Expect, Observed};
pub use matrix::{Group, PlanSource};
pub use report::{Case, Report, Verdict};
pub use scenario::{Guest, Kernel, Scenario, ScenarioError, Setting};
pub use schema::{OptionInfo, schema};

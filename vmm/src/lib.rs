//! The machine that `stallbox` boots: assembly of the parts, engines, command line.
//!
//! Everything that is not a CPU is a [`machine::World`]; an [`engine`] runs guest instructions
//! against it. Devices do not know which engine drives them.
//!
//! Unsafe code is in `host` and `engine::kvm::sys` only.

#![deny(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod boot;
pub mod check;
pub mod cli;
pub mod config;
pub mod confine;
pub mod control;
pub mod engine;
#[cfg(any(test, feature = "test-utils"))]
pub mod fuzzing;
mod host;
pub mod image;
pub mod kernel_reports;
pub mod latency;
pub mod machine;
pub mod measure;
pub mod outcome;
mod output;
pub mod outstanding;
pub mod plan;
pub mod run;
mod signals;
mod stage1;

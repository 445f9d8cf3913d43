//! What `stallbox` is beside its machine: engines, the run, the command line, confinement.
//!
//! Everything that is not a CPU is a [`World`](stallbox_machine::World); an [`engine`] runs guest
//! instructions against it.
//!
//! Unsafe code is in `engine::kvm::sys`, `confine::violation` and `checkpoint` only.

#![deny(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod blame;
pub mod boot;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod confine;
pub mod control;
pub mod engine;
pub mod fork_server;
#[cfg(any(test, feature = "test-utils"))]
pub mod fuzzing;
pub mod image;
pub mod measure;
mod output;
pub mod plan;
pub mod run;
pub mod shrink;
mod signals;
pub mod suite;
pub mod sweep;
pub mod trace;

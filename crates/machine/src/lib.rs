//! The machine: its parts put together, what their work costs, what a fault plan does to it, and the
//! checkers that watch it.
//!
//! Everything that is neither a CPU nor bound up with one is a [`World`]. An engine (in `vmm`) brings
//! a [`Platform`] and runs guest instructions against the world. Devices do not know which engine
//! drives them.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod accelerator_probe;
mod ats;
pub mod check;
pub mod config;
mod console;
mod control;
mod devices;
mod dma;
pub mod faults;
mod interrupts;
mod jobs;
pub mod kernel_reports;
pub mod latency;
pub mod ledger;
mod memory;
pub mod outcome;
pub mod outstanding;
mod pause;
mod probe;
pub mod queues;
pub mod schedule;
mod smmu;
pub mod stage1;
mod test_engine;
mod unmodelled;
pub mod vcpu;
mod world;

pub use ats::AtcProbe;
pub use console::Console;
pub use control::Control;
pub use devices::Devices;
pub use faults::Faults;
pub use interrupts::InterruptController;
pub use pause::Pause;
pub use world::{ACCELERATOR, Platform, SMMU_DEVICE_ID, SPIS, TEST_ENGINE, World};

//! End to end: guests that boot, a topic a file. One program for all, so that guests of different
//! topics run beside each other.

#![forbid(unsafe_code)]

mod add;
mod blame;
mod boot;
mod bugs;
mod checkers;
mod cli;
mod compress;
mod confine;
mod determinism;
mod faults;
mod hangs;
#[cfg(feature = "kvm")]
mod host;
mod image;
mod inspect;
mod isolation;
mod kernel_log;
mod kernel_reports;
mod kernels;
// `stallbox measure` runs the soft engine, whatever the tests run on.
#[cfg(not(feature = "kvm"))]
mod measure;
mod next_kernel;
mod no_sva;
mod output;
mod page_requests;
mod pin;
mod plans;
mod plans_engine;
mod plans_gates;
mod probe;
mod programs;
mod registers;
mod replay;
mod schedules;
mod shrink;
mod signals;
mod slurm;
mod smmu_properties;
mod suite;
mod sweep;
mod terminal;
mod test_engine;
mod uacce;

/// Both revisions of the accelerator.
const REVISIONS: [&str; 2] = ["0x21", "0x30"];

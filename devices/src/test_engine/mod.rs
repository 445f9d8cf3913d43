//! The SVA test engine: a PCIe function of the project's own, made to fault. Queues in a process's
//! memory, operations that touch memory in every pattern that a driver's author worries about, at
//! a rate and a depth that can be set, and counters of how long each access took.
//!
//! Its manual is `docs/test-engine.md`; there is no such hardware. `spec` has the layouts, `regs`
//! what the registers read, `queue` the two rings, `engine` what a queue does over time, `ops` the
//! operations, `master` the way to memory, `translation` what is before it if the device translates
//! addresses itself.
//!
//! One descriptor's way: a doorbell moves the ring's tail; the queue's task fetches the descriptor
//! with the queue's PASID, paces it, and starts it as a task of its own, so that up to the queue's
//! depth run at once; each ends with a completion in the process's completion ring and, if asked
//! for, an interrupt. Rings and data are the process's own pages: each of these accesses can wait
//! for a page fault.

mod engine;
mod function;
mod master;
mod ops;
mod queue;
mod regs;
mod spec;
mod translation;

// Fuzzers need less of it than tests do.
#[cfg(any(test, feature = "test-utils"))]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use function::TestEngine;
pub use spec::{DEVICE_ID, VENDOR_ID};

/// What is configurable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestEngineConfig {
    /// Queues, 1 to 256.
    pub queues: u16,
    /// How it comes to pages that are not there.
    pub fault: FaultMode,
}

/// How the device comes to a page that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMode {
    /// It does nothing: its accesses wait in the IOMMU, or are aborted there.
    Stall,
    /// It translates addresses itself (ATS) and asks for pages (PRI).
    PageRequest {
        /// Whether it asks for the translations of a descriptor's ranges before it starts.
        prefill: bool,
    },
}

impl Default for TestEngineConfig {
    fn default() -> TestEngineConfig {
        TestEngineConfig {
            queues: 64,
            fault: FaultMode::Stall,
        }
    }
}

//! Engines: what runs guest instructions against a [`World`].
//!
//! An engine also brings what cannot be told apart from its CPUs: interrupt controller, timers and
//! the clock that the devices see.

mod psci;
pub mod soft;

use anyhow::Result;
use stallbox_firmware::boot::EntryState;
use stallbox_timeline::Span;

use crate::config::MachineConfig;
use crate::machine::{Platform, World};
use crate::outcome::Outcome;

/// An engine, ready for a world to be built on it.
pub trait Engine {
    /// What a world is built on.
    fn platform(&self) -> Platform;

    /// Puts what the engine models itself on the CPUs' bus.
    fn plug(&self, world: &mut World);

    /// Its vCPUs, for a world that was built on it. The first starts in `entry`, the others are off.
    fn vcpus<'a>(
        &self,
        world: &'a World,
        machine: &MachineConfig,
        entry: &EntryState,
    ) -> Result<Box<dyn Vcpus + 'a>>;
}

/// The vCPUs of a machine.
pub trait Vcpus {
    /// Runs until the guest ends or `watch` says so.
    fn run(&mut self, watch: &mut dyn Watch) -> Result<Outcome>;

    /// Instructions retired by all vCPUs, where they are counted.
    fn retired(&self) -> Option<u64>;

    /// Where each vCPU stands, a line each, for a guest that hangs.
    fn positions(&self) -> Vec<String>;
}

/// Looks in from outside while the guest runs.
pub trait Watch {
    /// Called often; an outcome ends the run.
    fn look(&mut self, world: &World) -> Option<Outcome>;

    /// All vCPUs wait, and time is about to jump by `span`. True if the guest was given something
    /// to do instead.
    fn idle(&mut self, _world: &World, _span: Span) -> bool {
        false
    }
}

//! Engines: what runs guest instructions against a [`World`].
//!
//! An engine also brings what cannot be told apart from its CPUs: interrupt controller, timers and
//! the clock that the devices see.

mod gap;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub mod kvm;
mod psci;
mod ram;
pub mod soft;
pub(crate) mod ticker;

use std::io::Write;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use stallbox_bundle::Place;
use stallbox_firmware::boot::EntryState;
use stallbox_machine::config::MachineConfig;
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_machine::{Platform, World};
use stallbox_output::tell;
use stallbox_timeline::Span;

use crate::config::EngineKind;

/// An engine, ready for a world to be built on it.
pub trait Engine {
    /// Its name, as `--engine` has it.
    fn name(&self) -> &'static str;

    /// Whether two runs of equal inputs are equal, instruction for instruction.
    fn is_repeatable(&self) -> bool;

    /// What a world is built on.
    fn platform(&self) -> Platform;

    /// Puts what the engine models itself on the CPUs' bus.
    fn plug(&self, world: &mut World);

    /// A world built on it.
    fn world(
        &self,
        machine: &MachineConfig,
        console: Option<Box<dyn Write>>,
        trace: Option<Box<dyn Write>>,
    ) -> Result<World> {
        let mut world = World::new(machine, self.platform(), console, trace)?;
        self.plug(&mut world);
        Ok(world)
    }

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

    /// Preemptions that the schedule has made since its draws began, where there is one.
    fn preemptions(&self) -> Option<u64>;

    /// The longest time of the host's for which the engine did not [`look`](Watch::look), or wait for what
    /// there is to look at.
    fn longest_gap(&self) -> Duration;

    /// How each vCPU stands, while none of them runs. Looking changes nothing.
    fn states(&self) -> Vec<VcpuState>;
}

/// Looks in from outside while the guest runs.
pub trait Watch {
    /// Called before each of the following: where the machine stands, if nothing is half done there and the
    /// engine repeats runs. What changes the machine belongs to such a place.
    fn stands_at(&mut self, _place: Option<Place>) {}

    /// The next place at which to [`look`](Watch::look), of a run that is repeated.
    fn next_place(&self) -> Option<Place> {
        None
    }

    /// Whether something waits that belongs to a place where nothing is half done.
    fn wants_place(&self) -> bool {
        false
    }

    /// Called often, at times that are the host's, in the midst of whatever the guest and its devices
    /// do; an outcome ends the run. A run in which nothing was changed by it goes on as if there had
    /// been none. `vcpus` tells how they stand, where the engine knows that while the machine runs.
    fn look(&mut self, world: &World, vcpus: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome>;

    /// Called now and then, at times that are a matter of the guest alone: for input that is the same
    /// in each run.
    fn feed(&mut self, _world: &World) {}

    /// All vCPUs wait, and virtual time is about to jump by `span`. True if it is not to jump yet: the
    /// guest was given something to do, or the host wants a [`look`](Watch::look) first.
    fn idle(&mut self, _world: &World, _span: Span) -> bool {
        false
    }

    /// Whether the guest is to stand still after a [`look`](Watch::look), and to be looked at again, as if
    /// it were paused: somebody has yet to read what it has said.
    fn is_held(&self) -> bool {
        false
    }

    /// Waits a moment of the host's time while it is held.
    fn wait(&mut self) {}

    /// What becomes readable when there is something to [`look`](Watch::look) at; `None` as long
    /// as nothing is wanted.
    fn input(&self, _world: &World) -> Option<RawFd> {
        None
    }

    /// Another such, for all of the run.
    fn control(&self) -> Option<RawFd> {
        None
    }

    /// When to look at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The process is about to be stopped (SIGTSTP): the terminal is the shell's for a while.
    fn pause(&mut self) {}

    /// The process goes on.
    fn resume(&mut self) {}
}

/// Opens the engine that the user chose, and tells on standard error what `auto` came to.
pub fn open(kind: EngineKind, machine: &MachineConfig) -> Result<Box<dyn Engine>> {
    match kind {
        EngineKind::Soft => soft(machine),
        EngineKind::Kvm => kvm(machine),
        EngineKind::Auto => match kvm(machine) {
            Ok(engine) => {
                tell!("stallbox: --engine auto: kvm");
                Ok(engine)
            }
            Err(reason) => {
                tell!("stallbox: --engine auto: soft, because {reason:#}");
                soft(machine)
            }
        },
    }
}

fn soft(machine: &MachineConfig) -> Result<Box<dyn Engine>> {
    Ok(Box::new(soft::Board::new(machine)?))
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn kvm(machine: &MachineConfig) -> Result<Box<dyn Engine>> {
    Ok(Box::new(kvm::Kvm::open(machine)?))
}

#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
fn kvm(_machine: &MachineConfig) -> Result<Box<dyn Engine>> {
    anyhow::bail!(
        "the kvm engine needs an arm64 Linux host, and this Stallbox is built for {} {}",
        std::env::consts::ARCH,
        std::env::consts::OS
    )
}

//! The kvm engine: the vCPUs of an arm64 Linux host (Linux, `Documentation/virt/kvm/api.rst`), in
//! the host's time.
//!
//! ```text
//!   vCPU thread ──┐  calls: device accesses, the end      ┌── terminal, signals, time limit
//!   vCPU thread ──┼─────────────────────────▶ device thread ◀── timerfd: next event, stdin
//!   vCPU thread ──┘ ◀───────────── answers   (owns World) ──▶ lines, MSIs: the kernel's GIC, ITS
//! ```
//!
//! - [`host`]: what the host must be able to do, and what to say if it cannot.
//! - [`vm`]: the VM: memory, vCPUs, the kernel's GICv3 and ITS.
//! - [`vcpu`]: a vCPU's thread. [`emulate`]: accesses that hardware does not describe.
//! - [`desk`]: the device thread, which is the one that made the world.
//! - [`link`](mod@link): between the two. [`sys`]: what is unsafe.
//!
//! **Time.** The timeline shows nanoseconds of CLOCK_MONOTONIC since the start, without the time
//! that the VM was paused. Events that fell due while the device thread was busy or asleep run at
//! their nominal times, one after the other, as soon as it looks.
//!
//! **Order.** vCPUs and devices share RAM for real. A vCPU's stores are seen by the device that its
//! register write sets to work, because the call goes through a channel (release, acquire), and
//! program order before the release includes what the guest did before it trapped. What a device
//! writes is seen before its interrupt, because raising it takes locks of the kernel, and before
//! what it writes later, because `machine/memory.rs` writes with release semantics.

mod clock;
mod desk;
mod emulate;
mod gate;
mod host;
mod interrupts;
mod link;
mod registers;
mod sys;
mod vcpu;
mod vm;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use kvm_ioctls::VcpuFd;
use stallbox_firmware::boot::EntryState;
use stallbox_machine::config::{HardwareUpdate, MachineConfig};
use stallbox_machine::schedule::Order;
use stallbox_machine::{Platform, World};
use stallbox_timeline::Timeline;

use super::{Engine, Vcpus};
use crate::engine::ram::allocate;
use desk::Machine;
use interrupts::KernelGic;
use stallbox_devices::GuestRam;

/// A VM of the host's kernel.
pub struct Kvm {
    timeline: Timeline,
    ram: GuestRam,
    interrupts: KernelGic,
    physical_bits: u32,
    /// Until [`Engine::vcpus`] takes them.
    vcpus: RefCell<Vec<VcpuFd>>,
}

impl Kvm {
    /// Makes the VM, with RAM, vCPUs and interrupt controller. Every capability that the host lacks
    /// is an error of its own.
    pub fn open(machine: &MachineConfig) -> Result<Kvm> {
        if machine.latency.is_instruction_chosen() {
            bail!(
                "the kvm engine's instructions take the time that the host's CPUs take: only the soft \
                 engine has a price for them (instruction_ps in a --latency file)"
            );
        }
        if machine.cpu_hafdbs != HardwareUpdate::None {
            bail!(
                "--cpu-hafdbs: the kvm engine's CPUs are the host's, and update in descriptors what \
                 the host's do; only the soft engine has a choice"
            );
        }
        if machine.schedule.order != Order::RoundRobin {
            bail!(
                "--schedule {}: the host decides when the kvm engine's vCPUs run; only --engine soft \
                 has a choice",
                machine.schedule.order
            );
        }
        let kvm = host::open(machine.cpus)?;
        let ram = allocate(machine)?;
        let vm::Vm { fd, vcpus } = vm::create(&kvm, &ram, machine.cpus)?;
        let first = vcpus.first().context("a machine has a vCPU")?;
        let physical_bits = registers::physical_bits(first).context("ID_AA64MMFR0_EL1")?;
        Ok(Kvm {
            timeline: Timeline::new(),
            ram,
            interrupts: KernelGic::new(fd),
            physical_bits,
            vcpus: RefCell::new(vcpus),
        })
    }
}

impl Engine for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn platform(&self) -> Platform {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Platform {
            timeline: self.timeline.clone(),
            ram: self.ram.clone(),
            interrupts: Rc::new(self.interrupts.clone()),
            physical_bits: self.physical_bits,
            // A PL031 has 32 bits.
            epoch_seconds: since_1970.as_secs() as u32,
        }
    }

    /// The interrupt controller's registers are the kernel's.
    fn plug(&self, _world: &mut World) {}

    fn vcpus<'a>(
        &self,
        world: &'a World,
        _machine: &MachineConfig,
        entry: &EntryState,
    ) -> Result<Box<dyn Vcpus + 'a>> {
        let vcpus = self.vcpus.take();
        let boot = vcpus.first().context("a machine has a vCPU")?;
        registers::enter(boot, entry).context("cannot set the first vCPU's registers")?;
        Ok(Box::new(Machine::new(
            world,
            self.interrupts.clone(),
            vcpus,
        )))
    }
}

//! A vCPU's thread: runs the guest, and carries its device accesses to the device thread.

use std::sync::Arc;

use kvm_bindings::{
    KVM_EXIT_ARM_NISV, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
    kvm_vcpu_events,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use stallbox_machine::vcpu::{Power, VcpuState};
use vm_memory::GuestMemoryMmap;

use super::emulate::{Emulated, Emulator};
use super::gate::{Gate, Order};
use super::link::{Call, End, Gone, Line};
use super::registers::{self, VIRTUAL_COUNT};
use super::sys::{self, Kickable};
use crate::confine;

/// What a vCPU's thread owns.
pub(super) struct Runner {
    index: usize,
    line: Line,
    gate: Arc<Gate>,
    emulator: Emulator,
}

/// What an exit asks for.
enum Next {
    /// Nothing is left to do.
    Run,
    /// The access of this exit had no answer.
    Abort,
    /// Work that needs the vCPU itself.
    Emulate,
    End(End),
}

impl Runner {
    pub(super) fn new(index: usize, line: Line, gate: Arc<Gate>, ram: GuestMemoryMmap) -> Runner {
        Runner {
            index,
            line,
            gate,
            emulator: Emulator::new(ram),
        }
    }

    /// Runs until the order to stop. Tells how the vCPU then stands.
    pub(super) fn run(mut self, vcpu: VcpuFd) -> VcpuState {
        let mut kickable = Kickable::new(vcpu);
        let vcpu = kickable.vcpu();
        let ended = match confine::thread(confine::Role::Vcpu) {
            Ok(()) => self.run_guest(vcpu),
            Err(error) => Ok(End::Failed(format!("{error:#}"))),
        };
        // A line that is gone is an order to stop.
        if let Ok(end) = ended
            && self.line.tell(Call::Ended(end)).is_ok()
        {
            self.gate
                .wait_while(&[Order::Run, Order::Pause, Order::Restore]);
        }
        VcpuState {
            index: self.index,
            power: Power::Unknown,
            core: registers::read_all(vcpu).ok(),
            interrupts: None,
        }
    }

    fn run_guest(&mut self, vcpu: &mut VcpuFd) -> Result<End, Gone> {
        loop {
            if !self.gate.is_open() {
                if let Some(end) = self.park(vcpu)? {
                    return Ok(end);
                }
                continue;
            }
            let next = match vcpu.run() {
                Ok(exit) => self.handle(exit)?,
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                    vcpu.set_kvm_immediate_exit(0);
                    Next::Run
                }
                Err(error) => Next::End(End::Failed(format!("KVM_RUN: {error}"))),
            };
            let done = match next {
                Next::Run => Ok(()),
                Next::Abort => abort(vcpu),
                Next::Emulate => self.emulate(vcpu)?,
                Next::End(end) => return Ok(self.with_position(vcpu, end)),
            };
            if let Err(error) = done {
                let end = End::Failed(format!("a vCPU register: {error}"));
                return Ok(self.with_position(vcpu, end));
            }
        }
    }

    fn handle(&self, exit: VcpuExit) -> Result<Next, Gone> {
        Ok(match exit {
            VcpuExit::MmioRead(address, data) => match self.line.read(address, data.len())? {
                Some(value) => {
                    data.copy_from_slice(&value[..data.len()]);
                    Next::Run
                }
                None => Next::Abort,
            },
            VcpuExit::MmioWrite(address, data) => {
                if self.line.write(address, data)? {
                    Next::Run
                } else {
                    Next::Abort
                }
            }
            VcpuExit::Unsupported(KVM_EXIT_ARM_NISV) => Next::Emulate,
            VcpuExit::Intr => Next::Run,
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _) => Next::End(End::PowerOff),
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _) => Next::End(End::Reset),
            VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, _) => Next::End(End::Failed(
                "the guest reported a crash of the system".into(),
            )),
            exit => Next::End(End::Failed(format!("KVM gave up: {exit:?}"))),
        })
    }

    /// An access that hardware does not describe.
    fn emulate(&mut self, vcpu: &mut VcpuFd) -> Result<vmm_sys_util::errno::Result<()>, Gone> {
        let fault = sys::fault_address(vcpu);
        Ok(match self.emulator.emulate(vcpu, &self.line, fault) {
            Ok(Emulated::Done) => Ok(()),
            Ok(Emulated::Refused) => abort(vcpu),
            Ok(Emulated::Gone) => return Err(Gone),
            Err(error) => Err(error),
        })
    }

    /// Stands still until told otherwise. The first vCPU keeps the virtual counter, which is the
    /// VM's, so that the guest does not see the pause.
    fn park(&self, vcpu: &VcpuFd) -> Result<Option<End>, Gone> {
        let keeper = self.index == 0;
        let count = VIRTUAL_COUNT.get(vcpu);
        self.line.tell(Call::Parked)?;
        let mut order = self.gate.wait_while(&[Order::Pause]);
        if order == Order::Restore {
            if keeper && let Err(error) = count.and_then(|count| VIRTUAL_COUNT.set(vcpu, count)) {
                let error = format!("the virtual counter after a pause: {error}");
                return Ok(Some(End::Failed(error)));
            }
            if keeper {
                self.line.tell(Call::Parked)?;
            }
            order = self.gate.wait_while(&[Order::Restore]);
        }
        match order {
            Order::Stop => Err(Gone),
            Order::Run | Order::Pause | Order::Restore => Ok(None),
        }
    }

    fn with_position(&self, vcpu: &VcpuFd, end: End) -> End {
        match end {
            End::Failed(why) => End::Failed(format!("{why} ({})", self.position(vcpu))),
            end => end,
        }
    }

    fn position(&self, vcpu: &VcpuFd) -> String {
        let value = |register: registers::Register| match register.get(vcpu) {
            Ok(value) => format!("{value:#x}"),
            Err(error) => format!("({error})"),
        };
        let level = registers::PSTATE
            .get(vcpu)
            .map_or(String::new(), |pstate| format!(", EL{}", pstate >> 2 & 3));
        format!(
            "vCPU {}: PC {}, LR {}{level}",
            self.index,
            value(registers::PC),
            value(registers::x(30))
        )
    }
}

/// The guest takes a synchronous external abort for the access of this exit.
fn abort(vcpu: &VcpuFd) -> vmm_sys_util::errno::Result<()> {
    let mut events = kvm_vcpu_events::default();
    events.exception.ext_dabt_pending = 1;
    vcpu.set_vcpu_events(&events)
}

//! Accesses to device registers that hardware does not describe (KVM_EXIT_ARM_NISV): pairs,
//! write-back, SIMD. The accelerator's mailbox is one: 16 bytes by a store pair.
//!
//! The instruction is executed by our own CPU on a copy of the vCPU's registers, with the guest's
//! own tables for its addresses, so that it has the same effect as under the soft engine.

use std::sync::atomic::Ordering;

use kvm_ioctls::VcpuFd;
use stallbox_aarch64::decode::{Insn, decode};
use stallbox_aarch64::registers::{REGISTER_SLOTS, SP};
use stallbox_aarch64::{Bus, BusError, Cpu, CpuConfig, Size, disassemble};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::errno::Result;

use super::link::Line;
use super::registers::{
    self, MAIR_EL1, PC, PSTATE, Register, SCTLR_EL1, SP_EL0, SP_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1,
    x,
};

/// PSTATE.nRW: AArch32.
const PSTATE_AARCH32: u64 = 1 << 4;
/// PSTATE.BTYPE and PSTATE.SS: what an instruction that is done leaves clear.
const PSTATE_DONE: u64 = 3 << 10 | 1 << 21;
/// PSTATE.M: EL1 with SP_EL1.
const MODE_EL1H: u64 = 5;
/// SCTLR_EL1.E0E and EE: big-endian data at EL0 and at EL1.
const SCTLR_E0E: u64 = 1 << 24;
const SCTLR_EE: u64 = 1 << 25;
/// TCR_EL1.DS: descriptors hold addresses of 52 bits in another layout.
const TCR_DS: u64 = 1 << 59;
/// CPACR_EL1.FPEN: hardware has let the instruction pass.
const FP_ALLOWED: u64 = 3 << 20;

/// The number that means the zero register or the stack pointer.
const REGISTER_31: usize = 31;

/// X and V registers.
type Registers = ([u64; REGISTER_SLOTS], [u128; 32]);

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emulated {
    /// It is done, or the guest shall try again.
    Done,
    /// It cannot be done; the guest takes an external abort.
    Refused,
    /// The device thread is gone.
    Gone,
}

/// Executes one instruction at a time for one vCPU.
pub(super) struct Emulator {
    ram: GuestMemoryMmap,
    cpu: Box<Cpu>,
    /// Where the last access failed, by PC and guest physical address.
    failed: Option<(u64, u64)>,
}

impl Emulator {
    pub(super) fn new(ram: GuestMemoryMmap) -> Emulator {
        Emulator {
            ram,
            // Its number is not asked for by loads and stores.
            cpu: Box::new(Cpu::new(CpuConfig::default())),
            failed: None,
        }
    }

    /// Executes the instruction that the vCPU has stopped at because it reached for `fault`.
    pub(super) fn emulate(&mut self, vcpu: &VcpuFd, line: &Line, fault: u64) -> Result<Emulated> {
        let pstate = PSTATE.get(vcpu)?;
        let pc = PC.get(vcpu)?;
        if !load_translation(&mut self.cpu, vcpu, pstate, pc)? {
            log::warn!(
                "access to {fault:#x} at PC {pc:#x}: not in this CPU state (PSTATE {pstate:#x})"
            );
            return Ok(Emulated::Refused);
        }
        let mut bus = DeviceBus {
            ram: &self.ram,
            line,
            gone: false,
        };
        let Ok(word) = self.cpu.fetch_one(&mut bus) else {
            return Ok(self.unfinished(pc, fault));
        };
        let insn = decode(word);
        let named = Named::of(word, &insn, pstate);
        named.load(&mut self.cpu, vcpu)?;
        let before = (self.cpu.state.x, self.cpu.state.v);
        let outcome = self.cpu.execute_one(&mut bus, &insn);
        if bus.gone {
            return Ok(Emulated::Gone);
        }
        if outcome.is_err() {
            let shown = disassemble(word, pc);
            log::warn!("access to {fault:#x} at PC {pc:#x}: {shown} cannot be done");
            return Ok(self.unfinished(pc, fault));
        }
        self.failed = None;
        named.store(&self.cpu, &before, vcpu)?;
        if pstate & PSTATE_DONE != 0 {
            PSTATE.set(vcpu, pstate & !PSTATE_DONE)?;
        }
        PC.set(vcpu, self.cpu.state.pc)?;
        Ok(Emulated::Done)
    }

    /// The guest tries again, since another of its vCPUs may have changed the tables meanwhile; hardware
    /// then says what is wrong. The second time in the same place is the last.
    fn unfinished(&mut self, pc: u64, fault: u64) -> Emulated {
        if self.failed.replace((pc, fault)) == Some((pc, fault)) {
            self.failed = None;
            Emulated::Refused
        } else {
            Emulated::Done
        }
    }
}

/// Loads what translates addresses; false if our CPU does not know that regime.
fn load_translation(cpu: &mut Cpu, vcpu: &VcpuFd, pstate: u64, pc: u64) -> Result<bool> {
    let sys = &mut cpu.state.sys;
    sys.sctlr = SCTLR_EL1.get(vcpu)?;
    sys.tcr = TCR_EL1.get(vcpu)?;
    sys.ttbr0 = TTBR0_EL1.get(vcpu)?;
    sys.ttbr1 = TTBR1_EL1.get(vcpu)?;
    sys.mair = MAIR_EL1.get(vcpu)?;
    sys.cpacr = FP_ALLOWED;
    let el = (pstate >> 2 & 3) as u8;
    let big_endian = sys.sctlr & if el == 0 { SCTLR_E0E } else { SCTLR_EE } != 0;
    let known = pstate & PSTATE_AARCH32 == 0 && el <= 1 && !big_endian && sys.tcr & TCR_DS == 0;
    cpu.state.pstate.el = el;
    cpu.state.pstate.sp_sel = pstate & 1 != 0;
    cpu.state.pc = pc;
    Ok(known)
}

/// The registers that a load or store may name. Each costs a system call.
struct Named {
    /// Fields of five bits at 0, 5, 10 and 16: Rt, Rn, Rt2, Rm. The wrong ones do no harm.
    fields: [usize; 4],
    /// The current stack pointer, if Rn is it.
    stack: Option<Register>,
    /// Whether Rt and Rt2 are vector registers, Rt the first of up to four.
    vectors: bool,
}

impl Named {
    fn of(word: u32, insn: &Insn, pstate: u64) -> Named {
        let fields = [0, 5, 10, 16].map(|low| (word >> low & 31) as usize);
        let current = if pstate & 0xf == MODE_EL1H {
            SP_EL1
        } else {
            SP_EL0
        };
        Named {
            fields,
            stack: (fields[1] == REGISTER_31).then_some(current),
            vectors: matches!(insn, Insn::Simd(_)),
        }
    }

    fn general(&self) -> impl Iterator<Item = usize> {
        self.fields.into_iter().filter(|&index| index < REGISTER_31)
    }

    fn vectors(&self) -> impl Iterator<Item = usize> {
        let [rt, _, rt2, _] = self.fields;
        let all = [rt, rt + 1, rt + 2, rt + 3, rt2].map(|index| index % 32);
        all.into_iter()
            .take(if self.vectors { all.len() } else { 0 })
    }

    fn load(&self, cpu: &mut Cpu, vcpu: &VcpuFd) -> Result<()> {
        for index in self.general() {
            cpu.state.x[index] = x(index).get(vcpu)?;
        }
        if let Some(stack) = self.stack {
            cpu.state.x[usize::from(SP)] = stack.get(vcpu)?;
        }
        for index in self.vectors() {
            cpu.state.v[index] = registers::get_v(vcpu, index)?;
        }
        Ok(())
    }

    /// Gives the vCPU what has changed.
    fn store(&self, cpu: &Cpu, before: &Registers, vcpu: &VcpuFd) -> Result<()> {
        for index in self.general() {
            if cpu.state.x[index] != before.0[index] {
                x(index).set(vcpu, cpu.state.x[index])?;
            }
        }
        let sp = usize::from(SP);
        if let Some(stack) = self.stack
            && cpu.state.x[sp] != before.0[sp]
        {
            stack.set(vcpu, cpu.state.x[sp])?;
        }
        for index in self.vectors() {
            if cpu.state.v[index] != before.1[index] {
                registers::set_v(vcpu, index, cpu.state.v[index])?;
            }
        }
        Ok(())
    }
}

/// RAM, and what the device thread answers for.
struct DeviceBus<'a> {
    ram: &'a GuestMemoryMmap,
    line: &'a Line,
    gone: bool,
}

impl DeviceBus<'_> {
    fn read_device(&mut self, address: u64, bytes: usize) -> std::result::Result<u128, BusError> {
        match self.line.read(address, bytes) {
            Ok(Some(data)) => {
                let unused = 128 - 8 * bytes as u32;
                Ok(u128::from_le_bytes(data) << unused >> unused)
            }
            Ok(None) => Err(BusError),
            Err(_) => {
                self.gone = true;
                Err(BusError)
            }
        }
    }

    fn write_device(&mut self, address: u64, data: &[u8]) -> std::result::Result<(), BusError> {
        match self.line.write(address, data) {
            Ok(true) => Ok(()),
            Ok(false) => Err(BusError),
            Err(_) => {
                self.gone = true;
                Err(BusError)
            }
        }
    }
}

macro_rules! load {
    ($bus:expr, $address:expr, $integer:ty) => {
        $bus.ram
            .load::<$integer>(GuestAddress($address), Ordering::Acquire)
            .map(u64::from)
            .map_err(|_| BusError)
    };
}

macro_rules! store {
    ($bus:expr, $address:expr, $integer:ty, $value:expr) => {
        $bus.ram
            .store(
                $value as $integer,
                GuestAddress($address),
                Ordering::Release,
            )
            .map_err(|_| BusError)
    };
}

impl Bus for DeviceBus<'_> {
    fn read(&mut self, _when: u64, address: u64, size: Size) -> std::result::Result<u64, BusError> {
        if !self.is_ram(address) {
            return Ok(self.read_device(address, size.bytes() as usize)? as u64);
        }
        match size {
            Size::Byte => load!(self, address, u8),
            Size::Half => load!(self, address, u16),
            Size::Word => load!(self, address, u32),
            Size::Double => load!(self, address, u64),
        }
    }

    fn write(
        &mut self,
        _when: u64,
        address: u64,
        size: Size,
        value: u64,
    ) -> std::result::Result<(), BusError> {
        if !self.is_ram(address) {
            return self.write_device(address, &value.to_le_bytes()[..size.bytes() as usize]);
        }
        match size {
            Size::Byte => store!(self, address, u8, value),
            Size::Half => store!(self, address, u16, value),
            Size::Word => store!(self, address, u32, value),
            Size::Double => store!(self, address, u64, value),
        }
    }

    fn read_pair(&mut self, _when: u64, address: u64) -> std::result::Result<u128, BusError> {
        if !self.is_ram(address) {
            return self.read_device(address, 16);
        }
        let low = load!(self, address, u64)?;
        let high = load!(self, address + 8, u64)?;
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    fn write_pair(
        &mut self,
        _when: u64,
        address: u64,
        value: u128,
    ) -> std::result::Result<(), BusError> {
        if !self.is_ram(address) {
            return self.write_device(address, &value.to_le_bytes());
        }
        store!(self, address, u64, value)?;
        store!(self, address + 8, u64, value >> 64)
    }

    fn is_ram(&self, address: u64) -> bool {
        self.ram.address_in_range(GuestAddress(address))
    }

    fn sysreg_read(&mut self, _when: u64, _register: u16) -> Option<u64> {
        None
    }

    fn sysreg_write(&mut self, _when: u64, _register: u16, _value: u64) -> Option<()> {
        None
    }

    fn irq(&self) -> bool {
        false
    }

    fn fiq(&self) -> bool {
        false
    }

    fn attention(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(word: u32) -> Named {
        Named::of(word, &decode(word), MODE_EL1H)
    }

    // Words from GNU as.
    #[test]
    fn every_register_of_the_instruction_is_named() {
        let stp = named(0xa900_0801); // stp x1, x2, [x0]
        assert_eq!(stp.general().collect::<Vec<_>>(), [1, 0, 2, 0]);
        assert_eq!(stp.stack, None);
        assert_eq!(stp.vectors().count(), 0);

        let push = named(0xf81f_0fe2); // str x2, [sp, #-16]!
        assert_eq!(push.stack, Some(SP_EL1));

        let ld4 = named(0x4c40_081e); // ld4 {v30.4s-v1.4s}, [x0]
        assert_eq!(ld4.vectors().take(4).collect::<Vec<_>>(), [30, 31, 0, 1]);
    }
}

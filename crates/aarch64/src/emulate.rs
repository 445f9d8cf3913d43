//! One load or store at a time, for a hypervisor.
//!
//! Hardware describes a guest's access to device registers in ESR_EL2 only for the simplest loads
//! and stores (DDI 0487, *ISS encoding for an exception from a Data Abort*: ISV is 0 for pairs,
//! write-back, SIMD and exclusives). For the others a hypervisor fetches, decodes and executes the
//! instruction itself; [`Cpu::fetch_one`] and [`Cpu::execute_one`] do that on a copy of the
//! vCPU's registers.

use crate::bus::{Bus, BusError, Size};
use crate::cpu::Cpu;
use crate::decode::Insn;
use crate::exception::{AbortCause, Exception};
use crate::exec::{lower, step};
use crate::leave::Leave;
use crate::mmu::status;

impl Cpu {
    /// The instruction at the PC, for [`decode`](crate::decode::decode).
    ///
    /// The caller has set the PC, the exception level and the registers that translate: SCTLR_EL1,
    /// TCR_EL1, TTBR0_EL1, TTBR1_EL1, MAIR_EL1. Until [`Cpu::execute_one`] is done, permissions are
    /// taken as granted: the MMU that the guest runs on has checked them already, perhaps by
    /// extensions that this one does not have.
    pub fn fetch_one<B: Bus>(&mut self, bus: &mut B) -> Result<u32, Exception> {
        self.translation_control_changed();
        self.mmu.regime.permissions_granted = true;
        let address = self.fetch_address(bus, self.state.pc)?;
        let word = bus
            .read(0, address, Size::Word)
            .map_err(|BusError| Exception::instruction_abort(status::EXTERNAL, self.state.pc))?;
        Ok(word as u32)
    }

    /// Executes what [`Cpu::fetch_one`] has found and moves the PC past it. Only loads and stores
    /// that are not atomic are executed; others, which cannot work on device registers, are an
    /// external abort. On an error the PC and the base register have not moved.
    pub fn execute_one<B: Bus>(&mut self, bus: &mut B, insn: &Insn) -> Result<(), Exception> {
        if !insn.is_load_or_store() {
            let cause = AbortCause::Read;
            return Err(Exception::data_abort(
                status::EXTERNAL,
                cause,
                self.state.pc,
            ));
        }
        self.slice_start_retired = self.retired;
        self.block_pc = self.state.pc;
        step(self, bus, &lower(insn))?;
        self.leave = Leave::No;
        self.retired += 1;
        self.state.pc = self.state.pc.wrapping_add(4);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::mmu::testing::{DEVICE, KERNEL_DEVICE, KERNEL_RX, Machine, RAM};

    const CODE: u64 = 0xffff_8000_0000_0000;
    const REGISTERS: u64 = 0xffff_8000_0010_0000;

    /// A guest's vCPU that stopped at `word`, X0 pointing at device registers.
    fn stopped_at(word: u32) -> Machine {
        let mut machine = Machine::new();
        let code = RAM.start + 0x10_0000;
        machine.map(CODE, 3, code | KERNEL_RX);
        machine.map(REGISTERS, 3, DEVICE.start | KERNEL_DEVICE);
        machine.bus.set_word(code, u64::from(word));
        machine.cpu.state.pc = CODE;
        machine.cpu.state.x[..3].copy_from_slice(&[REGISTERS, 0x11, 0x22]);
        machine
    }

    fn run(machine: &mut Machine) -> Result<(), Exception> {
        let word = machine.cpu.fetch_one(&mut machine.bus)?;
        machine.cpu.execute_one(&mut machine.bus, &decode(word))
    }

    // Words from GNU as.
    #[test]
    fn a_pair_is_one_access() {
        let mut machine = stopped_at(0xa900_0801); // stp x1, x2, [x0]
        run(&mut machine).unwrap();
        let [access] = machine.bus.accesses[..] else {
            panic!("{:?}", machine.bus.accesses)
        };
        assert_eq!((access.address, access.bytes), (DEVICE.start, 16));
        assert_eq!(access.written, Some(0x11 | 0x22 << 64));
        assert_eq!(machine.cpu.state.pc, CODE + 4);
    }

    #[test]
    fn write_back_moves_the_base() {
        let mut machine = stopped_at(0xb800_4c01); // str w1, [x0, #4]!
        run(&mut machine).unwrap();
        assert_eq!(machine.bus.accesses[0].address, DEVICE.start + 4);
        assert_eq!(machine.cpu.state.x[0], REGISTERS + 4);
    }

    #[test]
    fn vector_registers_reach_a_device() {
        let mut machine = stopped_at(0x3dc0_0005); // ldr q5, [x0]
        machine.cpu.state.sys.cpacr = 3 << 20;
        run(&mut machine).unwrap();
        assert_eq!(machine.bus.accesses[0].bytes, 16);
        assert_eq!(machine.cpu.state.v[5], u128::from(DEVICE.start));
    }

    #[test]
    fn permissions_are_not_checked_again() {
        let mut machine = stopped_at(0xa900_0801);
        // A clean page of a CPU that manages the dirty state in hardware: read-only, DBM.
        let clean = DEVICE.start | KERNEL_DEVICE | 1 << 7 | 1 << 51;
        machine.map(REGISTERS, 3, clean);
        assert_eq!(run(&mut machine), Ok(()));
    }

    #[test]
    fn what_is_no_plain_load_or_store_is_refused() {
        for word in [0xc85f_7c01, 0xaa02_03e1] {
            let mut machine = stopped_at(word); // ldxr x1, [x0]; mov x1, x2
            assert!(run(&mut machine).is_err());
            assert_eq!((machine.cpu.state.pc, machine.cpu.state.x[1]), (CODE, 0x11));
        }
    }

    #[test]
    fn an_address_where_nothing_answers_changes_nothing() {
        let mut machine = stopped_at(0xa8c1_0801); // ldp x1, x2, [x0], #16
        machine.bus.aborts.insert(DEVICE.start);
        assert!(run(&mut machine).is_err());
        assert_eq!(machine.cpu.state.x[..3], [REGISTERS, 0x11, 0x22]);
    }
}

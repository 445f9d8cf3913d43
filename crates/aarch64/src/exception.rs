//! Exceptions: what went wrong or was asked for, how it is taken to EL1, and the way back.
//!
//! DDI 0487: *ESR_EL1, Exception Syndrome Register (EL1)* for the syndromes; *Exception entry*,
//! *Exception vectors* and *Exception return* (`AArch64.TakeException`, `AArch64.ExceptionReturn`,
//! `GetPSRFromPSTATE`, `IllegalExceptionReturn`) for what happens to the state.
//!
//! DEVIATION: of the debug exceptions there is BRK only. MDSCR_EL1.SS cannot be set, so PSTATE.SS
//! is always clear and software step never happens; breakpoints and watchpoints match nothing.

use crate::Bus;
use crate::cpu::Cpu;
use crate::state::State;

#[cfg(test)]
mod tests;

/// Exception classes, ESR_EL1.EC. Where a class has two values, this is the one for an exception
/// from EL0; the one for EL1 follows it.
pub(crate) mod class {
    pub(crate) const UNKNOWN: u32 = 0x00;
    pub(crate) const WFX: u32 = 0x01;
    pub(crate) const FP_ACCESS: u32 = 0x07;
    pub(crate) const ILLEGAL_STATE: u32 = 0x0e;
    pub(crate) const SVC: u32 = 0x15;
    pub(crate) const SYSTEM_REGISTER: u32 = 0x18;
    pub(crate) const INSTRUCTION_ABORT: u32 = 0x20;
    pub(crate) const PC_ALIGNMENT: u32 = 0x22;
    pub(crate) const DATA_ABORT: u32 = 0x24;
    pub(crate) const SP_ALIGNMENT: u32 = 0x26;
    pub(crate) const BRK: u32 = 0x3c;
}

/// EC is bits 31 to 26.
const EC_SHIFT: u32 = 26;
/// IL: the instruction is 32 bits long, and also what classes without an instruction report.
const IL: u32 = 1 << 25;
/// In a data abort: the fault was in cache maintenance or address translation.
const ISS_CM: u32 = 1 << 8;
/// In a data abort: caused by a write.
const ISS_WNR: u32 = 1 << 6;
/// CV and an always-true condition, as A64 instructions report it.
const ISS_COND_ALWAYS: u32 = 1 << 24 | 0xe << 20;

/// A synchronous exception on its way to EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// What ESR_EL1 will hold, except that the exception class of an abort (0x20 or 0x21, 0x24 or
    /// 0x25) is chosen when it is taken, by the exception level it comes from.
    pub syndrome: u32,
    /// What FAR_EL1 will hold, if the exception sets it.
    pub fault_address: Option<u64>,
}

/// What a data access was for, as far as its abort's syndrome shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortCause {
    /// A load.
    Read,
    /// A store, or DC ZVA.
    Write,
    /// Cache maintenance by address, or address translation.
    Maintenance,
}

impl Exception {
    const fn new(ec: u32, iss: u32) -> Self {
        Self {
            syndrome: ec << EC_SHIFT | IL | iss,
            fault_address: None,
        }
    }

    const fn at(self, va: u64) -> Self {
        Self {
            fault_address: Some(va),
            ..self
        }
    }

    /// The exception class, as it is before the exception is taken.
    pub const fn class(&self) -> u32 {
        self.syndrome >> EC_SHIFT
    }

    /// An unallocated instruction, or one that this exception level may not use.
    #[cold]
    pub const fn undefined() -> Self {
        Self::new(class::UNKNOWN, 0)
    }

    /// WFI or WFE, trapped.
    #[cold]
    pub const fn wfx(wfe: bool) -> Self {
        Self::new(class::WFX, ISS_COND_ALWAYS | wfe as u32)
    }

    /// An Advanced SIMD or floating-point instruction while CPACR_EL1.FPEN forbids them.
    #[cold]
    pub const fn fp_access() -> Self {
        Self::new(class::FP_ACCESS, ISS_COND_ALWAYS)
    }

    /// Execution with PSTATE.IL set.
    #[cold]
    pub const fn illegal_state() -> Self {
        Self::new(class::ILLEGAL_STATE, 0)
    }

    /// SVC. Its preferred return address is the instruction after it.
    pub const fn svc(immediate: u16) -> Self {
        Self::new(class::SVC, immediate as u32)
    }

    /// A trapped MSR, MRS or system instruction. `register` is named as on the [`Bus`]; `rt` is the
    /// register number in the instruction.
    #[cold]
    pub const fn system_register(register: u16, rt: u8, read: bool) -> Self {
        let r = register as u32;
        let (op0, op1, op2) = (r >> 14, r >> 11 & 7, r & 7);
        let (crn, crm) = (r >> 7 & 15, r >> 3 & 15);
        let iss = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | (rt as u32) << 5 | crm << 1;
        Self::new(class::SYSTEM_REGISTER, iss | read as u32)
    }

    /// An instruction abort with the given fault status code.
    #[cold]
    pub const fn instruction_abort(fsc: u32, va: u64) -> Self {
        Self::new(class::INSTRUCTION_ABORT, fsc).at(va)
    }

    /// A branch to an address that is not a multiple of 4.
    #[cold]
    pub const fn pc_alignment(pc: u64) -> Self {
        Self::new(class::PC_ALIGNMENT, 0).at(pc)
    }

    /// A data abort with the given fault status code. ISV is 0: no syndrome for emulation.
    #[cold]
    pub const fn data_abort(fsc: u32, cause: AbortCause, va: u64) -> Self {
        let iss = match cause {
            AbortCause::Read => fsc,
            AbortCause::Write => fsc | ISS_WNR,
            AbortCause::Maintenance => fsc | ISS_CM | ISS_WNR,
        };
        Self::new(class::DATA_ABORT, iss).at(va)
    }

    /// A memory access based on an SP that is not a multiple of 16.
    #[cold]
    pub const fn sp_alignment() -> Self {
        Self::new(class::SP_ALIGNMENT, 0)
    }

    /// BRK.
    #[cold]
    pub const fn brk(immediate: u16) -> Self {
        Self::new(class::BRK, immediate as u32)
    }
}

/// An interrupt that can be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The IRQ input.
    Irq,
    /// The FIQ input.
    Fiq,
}

/// PSTATE.DAIF, as the four bits of [`Pstate::daif`](crate::Pstate::daif).
pub(crate) mod daif {
    pub(crate) const F: u8 = 1;
    pub(crate) const I: u8 = 2;
    pub(crate) const ALL: u8 = 15;
}

/// SPSR_EL1 fields outside NZCV.
mod spsr {
    pub(super) const IL: u64 = 1 << 20;
    pub(super) const DAIF_SHIFT: u32 = 6;
    /// The saved state was AArch32.
    pub(super) const M_NRW: u64 = 1 << 4;
    pub(super) const M_EL0T: u64 = 0;
    pub(super) const M_EL1T: u64 = 4;
    pub(super) const M_EL1H: u64 = 5;
    pub(super) const M: u64 = 15;
    pub(super) const NZCV: u64 = 0xf000_0000;
}

const VECTOR_LOWER_EL: u64 = 0x400;
const VECTOR_CURRENT_SPX: u64 = 0x200;
const VECTOR_IRQ: u64 = 0x80;
const VECTOR_FIQ: u64 = 0x100;

impl State {
    /// PSTATE in the layout of SPSR_EL1.
    pub fn saved_program_status(&self) -> u64 {
        let p = &self.pstate;
        let mode = match (p.el, p.sp_sel) {
            (0, _) => spsr::M_EL0T,
            (_, false) => spsr::M_EL1T,
            (_, true) => spsr::M_EL1H,
        };
        u64::from(self.nzcv)
            | if p.il { spsr::IL } else { 0 }
            | u64::from(p.daif) << spsr::DAIF_SHIFT
            | mode
    }
}

impl Cpu {
    /// Takes an exception to EL1: `AArch64.TakeException` with EL1 as the target.
    fn take(&mut self, return_address: u64, kind_offset: u64) {
        let base = match (self.state.pstate.el, self.state.pstate.sp_sel) {
            (0, _) => VECTOR_LOWER_EL,
            (_, true) => VECTOR_CURRENT_SPX,
            (_, false) => 0,
        };
        self.state.sys.spsr = self.state.saved_program_status();
        self.state.sys.elr = return_address;
        self.state.set_el(1, true);
        self.state.pstate.daif = daif::ALL;
        self.state.pstate.il = false;
        self.state.pc = self.state.sys.vbar.wrapping_add(base + kind_offset);
        self.clear_exclusive();
    }

    /// Takes a synchronous exception. `pc` is that of the instruction at work.
    pub fn take_synchronous(&mut self, exception: Exception) {
        let mut syndrome = exception.syndrome;
        let mut return_address = self.state.pc;
        match exception.class() {
            class::SVC => return_address = self.state.pc.wrapping_add(4),
            class::INSTRUCTION_ABORT | class::DATA_ABORT if self.state.pstate.el != 0 => {
                syndrome |= 1 << EC_SHIFT;
            }
            _ => {}
        }
        self.state.sys.esr = u64::from(syndrome);
        if let Some(va) = exception.fault_address {
            self.state.sys.far = va;
        }
        self.take(return_address, 0);
    }

    /// Takes an IRQ; the instruction at `pc` has not been executed.
    pub fn take_irq(&mut self) {
        self.take(self.state.pc, VECTOR_IRQ);
    }

    /// Takes an FIQ; the instruction at `pc` has not been executed.
    pub fn take_fiq(&mut self) {
        self.take(self.state.pc, VECTOR_FIQ);
    }

    /// Takes the interrupt.
    pub fn take_interrupt(&mut self, interrupt: Interrupt) {
        match interrupt {
            Interrupt::Irq => self.take_irq(),
            Interrupt::Fiq => self.take_fiq(),
        }
    }

    /// The interrupt to take before the next instruction, if one is asserted and not masked.
    #[inline]
    pub fn interrupt_pending<B: Bus>(&self, bus: &B) -> Option<Interrupt> {
        if self.state.pstate.daif & daif::F == 0 && bus.fiq() {
            Some(Interrupt::Fiq)
        } else if self.state.pstate.daif & daif::I == 0 && bus.irq() {
            Some(Interrupt::Irq)
        } else {
            None
        }
    }

    /// ERET at EL1: restores PSTATE from SPSR_EL1 and the PC from ELR_EL1.
    ///
    /// An illegal SPSR_EL1 leaves EL and SPSel alone and sets PSTATE.IL, so that the next
    /// instruction takes [`Exception::illegal_state`].
    pub(crate) fn exception_return(&mut self) {
        let saved = self.state.sys.spsr;
        let target = match saved & (spsr::M | spsr::M_NRW) {
            spsr::M_EL0T => Some((0, false)),
            spsr::M_EL1T => Some((1, false)),
            spsr::M_EL1H => Some((1, true)),
            // AArch32 is not implemented, EL2 and EL3 are neither, and the rest is reserved.
            _ => None,
        };
        match target {
            Some((el, sp_sel)) => {
                self.state.set_el(el, sp_sel);
                self.state.pstate.il = saved & spsr::IL != 0;
            }
            None => self.state.pstate.il = true,
        }
        self.state.nzcv = (saved & spsr::NZCV) as u32;
        self.state.pstate.daif = (saved >> spsr::DAIF_SHIFT) as u8 & daif::ALL;
        // An illegal return keeps the address as it is; the tag is a matter of the new regime.
        self.state.pc = if target.is_some() {
            self.branch_address(self.state.sys.elr)
        } else {
            self.state.sys.elr
        };
        self.clear_exclusive();
        self.state.sys.event_register = true;
    }
}

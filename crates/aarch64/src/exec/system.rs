//! Exception generation, hints, barriers, system instructions and system registers.
//!
//! DDI 0487: the instructions' own pages; *Traps to EL1 of EL0 accesses* for what EL0 may not do.

use super::Flow;
use crate::Bus;
use crate::cpu::{Cpu, Exit};
use crate::decode::system::{SysOp, SystemInsn, TlbiOp};
use crate::exception::{Exception, daif};
use crate::leave::Leave;
use crate::mmu::walk::Access;
use crate::mmu::{Broadcast, TlbScope};
use crate::registers::{XZR, as_destination};
use crate::sysreg::{self, Effect, encoding, row_of, sctlr};

/// Executes one instruction.
#[inline(never)]
pub(crate) fn execute<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    insn: SystemInsn,
) -> Result<Flow, Exception> {
    match insn {
        SystemInsn::Mrs { rt, register } => {
            let value = sysreg::read(cpu, bus, row_of(register), register, rt)?;
            cpu.state.x[usize::from(as_destination(rt))] = value;
            Ok(Flow::Next)
        }
        SystemInsn::Msr { rt, register } => {
            let value = cpu.state.x[usize::from(rt)];
            let effect = sysreg::write(cpu, bus, row_of(register), register, rt, value)?;
            Ok(follow(cpu, bus, effect))
        }
        SystemInsn::Hint(number) => hint(cpu, bus, number),
        SystemInsn::Dsb(_) | SystemInsn::Dmb(_) => Ok(Flow::Next),
        SystemInsn::Isb(_) => Ok(look(cpu)),
        SystemInsn::DaifSet(mask) => {
            check_uma(cpu, encoding(0, 3, 4, mask.into(), 6))?;
            cpu.state.pstate.daif |= mask;
            Ok(Flow::Next)
        }
        SystemInsn::DaifClear(mask) => {
            check_uma(cpu, encoding(0, 3, 4, mask.into(), 7))?;
            cpu.state.pstate.daif &= !mask;
            Ok(follow(cpu, bus, Effect::Interrupts))
        }
        SystemInsn::Svc(immediate) => Err(Exception::svc(immediate)),
        SystemInsn::Eret => {
            require_el1(cpu)?;
            cpu.exception_return();
            cpu.leave = Leave::Look;
            Ok(Flow::Jump)
        }
        SystemInsn::Clrex(_) => {
            cpu.clear_exclusive();
            Ok(Flow::Next)
        }
        SystemInsn::Brk(immediate) => Err(Exception::brk(immediate)),
        // DEVIATION: without EL2 and EL3, HVC and SMC are UNDEFINED. Here the machine answers
        // them in firmware's place, so that PSCI has a conduit without a level that runs code.
        SystemInsn::Hvc(_) | SystemInsn::Smc(_) => {
            require_el1(cpu)?;
            Ok(leave(cpu, Exit::Call))
        }
        SystemInsn::SpSel(immediate) => {
            require_el1(cpu)?;
            cpu.state.set_el(1, immediate & 1 != 0);
            Ok(look(cpu))
        }
        SystemInsn::Sys { op, encoding, rt } => execute_sys(cpu, bus, op, encoding, rt),
    }
}

/// Hints. One that is not named here is a NOP.
fn hint<B: Bus>(cpu: &mut Cpu, bus: &B, number: u8) -> Result<Flow, Exception> {
    match number {
        SystemInsn::YIELD => Ok(leave(cpu, Exit::Yield)),
        SystemInsn::WFI => {
            // Masked or not, a pending interrupt ends WFI, and then nothing is trapped either.
            if bus.irq() || bus.fiq() {
                return Ok(Flow::Next);
            }
            if cpu.state.pstate.el == 0 && cpu.state.sys.sctlr & sctlr::NTWI == 0 {
                return Err(Exception::wfx(false));
            }
            Ok(leave(cpu, Exit::Wfi))
        }
        SystemInsn::WFE => {
            if std::mem::take(&mut cpu.state.sys.event_register) {
                return Ok(Flow::Next);
            }
            if cpu.state.pstate.el == 0 && cpu.state.sys.sctlr & sctlr::NTWE == 0 {
                return Err(Exception::wfx(true));
            }
            // WFE may always return early; here it does, after the others have had a turn.
            Ok(leave(cpu, Exit::Yield))
        }
        SystemInsn::SEV => {
            cpu.state.sys.event_register = true;
            cpu.broadcast(Broadcast::Event);
            Ok(Flow::Next)
        }
        SystemInsn::SEVL => {
            cpu.state.sys.event_register = true;
            Ok(Flow::Next)
        }
        _ => Ok(Flow::Next),
    }
}

fn require_el1(cpu: &Cpu) -> Result<(), Exception> {
    if cpu.state.pstate.el == 0 {
        Err(Exception::undefined())
    } else {
        Ok(())
    }
}

/// EL0 may change DAIF only with SCTLR_EL1.UMA.
fn check_uma(cpu: &Cpu, register: u16) -> Result<(), Exception> {
    if cpu.state.pstate.el == 0 && cpu.state.sys.sctlr & sctlr::UMA == 0 {
        return Err(Exception::system_register(register, XZR, false));
    }
    Ok(())
}

/// Leaves the run with this instruction done.
fn leave(cpu: &mut Cpu, exit: Exit) -> Flow {
    cpu.leave = Leave::Exit(exit);
    Flow::Leave
}

/// Leaves the block, since what it was made under may have changed.
fn look(cpu: &mut Cpu) -> Flow {
    cpu.leave = Leave::Look;
    Flow::Leave
}

/// What a register write asks for.
#[inline]
fn follow<B: Bus>(cpu: &mut Cpu, bus: &B, effect: Effect) -> Flow {
    match effect {
        Effect::None => return Flow::Next,
        // The block goes on unless something is really there to be taken.
        Effect::Interrupts if cpu.interrupt_pending(bus).is_none() => return Flow::Next,
        Effect::Interrupts | Effect::Context => {}
        Effect::Translation => cpu.translation_control_changed(),
        Effect::TableBase => cpu.translation_base_changed(),
    }
    look(cpu)
}

/// DAIF.I and DAIF.F are what [`Cpu::interrupt_pending`] honours.
const _: () = assert!(daif::ALL & (daif::I | daif::F) == daif::I | daif::F);

fn execute_sys<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: SysOp,
    encoding: u16,
    rt: u8,
) -> Result<Flow, Exception> {
    let operand = cpu.state.x[usize::from(rt)];
    if cpu.state.pstate.el == 0 {
        // The three kinds that EL0 may use, and only as SCTLR_EL1 says.
        let bit = match op {
            SysOp::IcVa | SysOp::DcVa => sctlr::UCI,
            SysOp::DcZva => sctlr::DZE,
            _ => return Err(Exception::undefined()),
        };
        if cpu.state.sys.sctlr & bit == 0 {
            return Err(Exception::system_register(encoding, rt, false));
        }
    }
    match op {
        SysOp::DcZva => cpu.zero_block(bus, operand)?,
        // Every data access is coherent: only the translation shows.
        SysOp::DcVa => {
            cpu.maintain_address(bus, operand, Access::Read)?;
        }
        SysOp::DcInvalidateVa => {
            cpu.maintain_address(bus, operand, Access::Write)?;
        }
        SysOp::DcSetWay => {}
        SysOp::At { el, write } => cpu.address_translate(bus, operand, el, write)?,
        SysOp::IcVa => {
            let pa = cpu.maintain_address(bus, operand, Access::Read)?;
            invalidate_code(cpu, Some(pa), true);
            return Ok(look(cpu));
        }
        SysOp::IcAll { shared } => {
            invalidate_code(cpu, None, shared);
            return Ok(look(cpu));
        }
        SysOp::Tlbi { op, shared } => {
            let scope = match op {
                TlbiOp::All => TlbScope::All,
                TlbiOp::Asid => TlbScope::Asid(TlbScope::asid_operand(cpu, operand)),
                TlbiOp::Va => TlbScope::Va {
                    va: TlbScope::va_operand(operand),
                    asid: Some(TlbScope::asid_operand(cpu, operand)),
                },
                TlbiOp::VaAllAsids => TlbScope::Va {
                    va: TlbScope::va_operand(operand),
                    asid: None,
                },
            };
            cpu.invalidate_tlb(scope);
            if shared {
                cpu.broadcast(Broadcast::Tlb(scope));
            }
            // It is looked up anyway.
            bus.agreed();
            return Ok(look(cpu));
        }
    }
    Ok(Flow::Next)
}

fn invalidate_code(cpu: &mut Cpu, pa: Option<u64>, shared: bool) {
    cpu.invalidate_code(pa);
    if shared {
        cpu.broadcast(Broadcast::Code(pa));
    }
}

//! MRS and MSR: the access rules, then the register.

use super::table::{Effect, Handler, NO_ROW, Rule, TABLE};
use super::{MDSCR_TDCC, encoding, sctlr};
use crate::Bus;
use crate::cpu::Cpu;
use crate::exception::Exception;
use crate::leave::Leave;

/// ID_* registers without a row, and room for those to come, read as zero.
fn is_reserved_id(register: u16) -> bool {
    register & !0x3f == encoding(3, 0, 0, 0, 0) && register >> 3 & 7 != 0
}

/// Checks that the current exception level may do this.
fn check(cpu: &Cpu, rule: Rule, register: u16, rt: u8, reads: bool) -> Result<(), Exception> {
    if rule == Rule::Fp {
        return cpu.state.check_fp_access();
    }
    if cpu.state.pstate.el != 0 {
        return Ok(());
    }
    let sys = &cpu.state.sys;
    let trap_unless = |allowed: bool| {
        if allowed {
            Ok(())
        } else {
            Err(Exception::system_register(register, rt, reads))
        }
    };
    match rule {
        Rule::El0 | Rule::Fp => Ok(()),
        Rule::El0Reads if reads => Ok(()),
        Rule::Uct if reads => trap_unless(sys.sctlr & sctlr::UCT != 0),
        Rule::El0Reads | Rule::Uct | Rule::El1 => Err(Exception::undefined()),
        Rule::Uma => trap_unless(sys.sctlr & sctlr::UMA != 0),
        Rule::Tscxt => trap_unless(sys.sctlr & sctlr::TSCXT == 0),
        Rule::Tdcc => trap_unless(sys.mdscr & MDSCR_TDCC == 0),
    }
}

/// Checks an access to a register outside the core. EL0 has only the counters and timers, as far as
/// CNTKCTL_EL1 lets it.
fn check_outside(cpu: &Cpu, register: u16, rt: u8, reads: bool) -> Result<(), Exception> {
    /// CNTKCTL_EL1.EL0PCTEN, EL0VCTEN, EL0VTEN and EL0PTEN.
    mod el0 {
        pub(crate) const PHYSICAL_COUNTER: u64 = 1;
        pub(crate) const VIRTUAL_COUNTER: u64 = 1 << 1;
        pub(crate) const VIRTUAL_TIMER: u64 = 1 << 8;
        pub(crate) const PHYSICAL_TIMER: u64 = 1 << 9;
    }
    if register >> 14 != 3 {
        return Err(Exception::undefined());
    }
    if cpu.state.pstate.el != 0 {
        return Ok(());
    }
    const CNTFRQ: u16 = encoding(3, 3, 14, 0, 0);
    const CNTPCT: u16 = encoding(3, 3, 14, 0, 1);
    const CNTVCT: u16 = encoding(3, 3, 14, 0, 2);
    const CNTP: u16 = encoding(3, 3, 14, 2, 0);
    const CNTV: u16 = encoding(3, 3, 14, 3, 0);
    let enabling = match (register, register & !7) {
        (CNTFRQ, _) if reads => el0::PHYSICAL_COUNTER | el0::VIRTUAL_COUNTER,
        (CNTPCT, _) if reads => el0::PHYSICAL_COUNTER,
        (CNTVCT, _) if reads => el0::VIRTUAL_COUNTER,
        (_, CNTP) if register & 7 < 3 => el0::PHYSICAL_TIMER,
        (_, CNTV) if register & 7 < 3 => el0::VIRTUAL_TIMER,
        _ => return Err(Exception::undefined()),
    };
    if cpu.state.sys.cntkctl & enabling != 0 {
        Ok(())
    } else {
        Err(Exception::system_register(register, rt, reads))
    }
}

/// MRS. `row` is the register's row number, [`NO_ROW`] if it has none; `rt` is what a trap reports.
#[inline]
pub(crate) fn read<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    row: u8,
    register: u16,
    rt: u8,
) -> Result<u64, Exception> {
    let Some(row) = TABLE.get(usize::from(row)) else {
        return read_outside(cpu, bus, register, rt);
    };
    if !row.readable() {
        return Err(Exception::undefined());
    }
    check(cpu, row.rule, register, rt, true)?;
    match row.handler {
        Handler::Cell { cell, .. } => Ok(*cell(&mut cpu.state.sys)),
        Handler::ReadOnly(read) | Handler::Both(read, _) => read(cpu),
        Handler::InterruptStatus => Ok(u64::from(bus.irq()) << 7 | u64::from(bus.fiq()) << 6),
        Handler::WriteOnly(_) => Err(Exception::undefined()),
    }
}

fn read_outside<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    register: u16,
    rt: u8,
) -> Result<u64, Exception> {
    if is_reserved_id(register) && cpu.state.pstate.el != 0 {
        return Ok(0);
    }
    check_outside(cpu, register, rt, true)?;
    let when = cpu.when();
    let value = bus
        .sysreg_read(when, register)
        .ok_or_else(Exception::undefined)?;
    // Reading a counter or timer changes nothing; reading the interrupt controller may.
    if register & !0x387f != encoding(3, 0, 14, 0, 0) {
        cpu.leave = Leave::Look;
    }
    Ok(value)
}

/// MSR (register).
#[inline]
pub(crate) fn write<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    row: u8,
    register: u16,
    rt: u8,
    value: u64,
) -> Result<Effect, Exception> {
    let Some(row) = TABLE.get(usize::from(row)) else {
        check_outside(cpu, register, rt, false)?;
        let when = cpu.when();
        bus.sysreg_write(when, register, value)
            .ok_or_else(Exception::undefined)?;
        cpu.leave = Leave::Look;
        return Ok(Effect::Interrupts);
    };
    if !row.writable() {
        return Err(Exception::undefined());
    }
    check(cpu, row.rule, register, rt, false)?;
    match row.handler {
        Handler::Cell {
            cell,
            writable,
            reset,
            effect,
        } => {
            let cell: &mut u64 = cell(&mut cpu.state.sys);
            let new = value & writable | reset & !writable;
            // Software writes the same value back often; then nothing has changed that a TLB holds.
            let effect = if *cell == new { Effect::None } else { effect };
            *cell = new;
            Ok(effect)
        }
        Handler::WriteOnly(write) | Handler::Both(_, write) => write(cpu, value),
        Handler::ReadOnly(_) | Handler::InterruptStatus => Err(Exception::undefined()),
    }
}

const _: () = assert!(TABLE.len() < NO_ROW as usize);

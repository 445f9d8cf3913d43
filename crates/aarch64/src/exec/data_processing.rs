//! Data processing, for the instructions without a variant of their own.

use super::alu::{
    add_with_carry_w, add_with_carry_x, condition_holds, logical_flags_w, logical_flags_x, shift_w,
    shift_x, subtract_w, subtract_x,
};
use crate::cpu::Cpu;
use crate::decode::{LogicalOp, ShiftKind};

/// The second operand of a shifted-register instruction.
#[inline(always)]
pub(super) fn shift_operand(cpu: &Cpu, wide: bool, rm: u8, kind: ShiftKind, shift: u8) -> u64 {
    if wide {
        shift_x(cpu.r(rm), kind, shift.into())
    } else {
        shift_w(cpu.w(rm), kind, shift.into()).into()
    }
}

/// `AddWithCarry` for the instructions without a variant of their own.
pub(super) fn add_carry(
    cpu: &mut Cpu,
    set_flags: bool,
    wide: bool,
    [rd, rn]: [u8; 2],
    operand: u64,
    carry: bool,
) {
    let (result, nzcv) = if wide {
        add_with_carry_x(cpu.r(rn), operand, carry)
    } else {
        let (result, nzcv) = add_with_carry_w(cpu.w(rn), operand as u32, carry);
        (result.into(), nzcv)
    };
    if set_flags {
        cpu.state.nzcv = nzcv;
    }
    cpu.set(rd, result);
}

#[inline(always)]
pub(super) fn add_sub(
    cpu: &mut Cpu,
    sub: bool,
    set_flags: bool,
    wide: bool,
    registers: [u8; 2],
    operand: u64,
) {
    let operand = if sub { !operand } else { operand };
    add_carry(cpu, set_flags, wide, registers, operand, sub);
}

pub(super) fn conditional_compare(
    cpu: &mut Cpu,
    sub: bool,
    wide: bool,
    nzcv: u8,
    rn: u8,
    operand: u64,
    conditions: u16,
) {
    if !condition_holds(conditions, cpu.state.nzcv) {
        cpu.state.nzcv = u32::from(nzcv) << 28;
        return;
    }
    cpu.state.nzcv = match (sub, wide) {
        (true, true) => subtract_x(cpu.r(rn), operand).1,
        (true, false) => subtract_w(cpu.w(rn), operand as u32).1,
        (false, true) => add_with_carry_x(cpu.r(rn), operand, false).1,
        (false, false) => add_with_carry_w(cpu.w(rn), operand as u32, false).1,
    };
}

/// Logical (shifted register), for the instructions without a variant of their own.
pub(super) fn logical(
    cpu: &mut Cpu,
    op: LogicalOp,
    invert: bool,
    wide: bool,
    [rd, rn, rm]: [u8; 3],
    kind: ShiftKind,
    shift: u8,
) {
    let operand = shift_operand(cpu, wide, rm, kind, shift);
    let operand = if invert { !operand } else { operand };
    let result = match op {
        LogicalOp::And | LogicalOp::Ands => cpu.r(rn) & operand,
        LogicalOp::Orr => cpu.r(rn) | operand,
        LogicalOp::Eor => cpu.r(rn) ^ operand,
    };
    let result = if wide {
        result
    } else {
        u64::from(result as u32)
    };
    if op == LogicalOp::Ands {
        cpu.state.nzcv = if wide {
            logical_flags_x(result)
        } else {
            logical_flags_w(result as u32)
        };
    }
    cpu.set(rd, result);
}

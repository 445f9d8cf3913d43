//! Execution of scalar floating point, Advanced SIMD, and their loads and stores.

mod fp_scalar;
mod fp_vector;
mod integer;
mod lanes;
mod memory;
mod moves;
mod shift;
#[cfg(test)]
mod tests;
mod widening;

use super::alu::condition_holds;
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::decode::simd::{ImmediateOp, SimdInsn};
use crate::exception::Exception;
use crate::fp::{FpEnv, QC};
use crate::registers::as_destination;
use lanes::MASKS;

/// Executes one instruction. The PC is the caller's to advance.
///
/// Not inlined: the integer instructions' loop stays small.
#[inline(never)]
pub(crate) fn execute<B: Bus>(cpu: &mut Cpu, bus: &mut B, insn: SimdInsn) -> Result<(), Exception> {
    cpu.state.check_fp_access()?;
    match insn {
        SimdInsn::Load {
            log2,
            rt,
            rn,
            addressing,
        } => memory::load(cpu, bus, log2, rt, rn, addressing),
        SimdInsn::Store {
            log2,
            rt,
            rn,
            addressing,
        } => memory::store(cpu, bus, log2, rt, rn, addressing),
        SimdInsn::LoadPair {
            log2,
            mode,
            rt,
            rt2,
            rn,
            offset,
        } => memory::load_pair(cpu, bus, log2, mode, (rt, rt2), rn, offset),
        SimdInsn::StorePair {
            log2,
            mode,
            rt,
            rt2,
            rn,
            offset,
        } => memory::store_pair(cpu, bus, log2, mode, (rt, rt2), rn, offset),
        SimdInsn::LoadLiteral { log2, rt, offset } => {
            memory::load_literal(cpu, bus, log2, rt, offset)
        }
        SimdInsn::LoadMultiple(access) => memory::load_multiple(cpu, bus, access),
        SimdInsn::StoreMultiple(access) => memory::store_multiple(cpu, bus, access),
        SimdInsn::LoadSingle(access) => memory::load_single(cpu, bus, access),
        SimdInsn::StoreSingle(access) => memory::store_single(cpu, bus, access),
        SimdInsn::LoadReplicate(access) => memory::load_replicate(cpu, bus, access),
        _ => {
            process(cpu, insn);
            Ok(())
        }
    }
}

/// MOVI, MVNI, FMOV, ORR and BIC of an immediate, expanded.
#[inline(never)]
pub(super) fn immediate(
    cpu: &mut Cpu,
    op: ImmediateOp,
    width: u8,
    rd: u8,
    low: u32,
    high: u32,
) -> Result<(), Exception> {
    cpu.state.check_fp_access()?;
    let value = moves::immediate(op, v(cpu, rd), low, high);
    set(cpu, rd, width, value);
    Ok(())
}

/// Data processing, which cannot fail.
#[inline(never)]
fn process(cpu: &mut Cpu, insn: SimdInsn) {
    match insn {
        SimdInsn::Logical {
            op,
            width,
            rd,
            rn,
            rm,
        } => {
            let value = moves::logical(op, v(cpu, rd), v(cpu, rn), v(cpu, rm));
            set(cpu, rd, width, value);
        }
        SimdInsn::ThreeSame {
            op,
            log2,
            width,
            rd,
            rn,
            rm,
        } => {
            let (d, a, b) = (v(cpu, rd), cut(cpu, rn, width), cut(cpu, rm, width));
            let (value, saturated) = integer::three_same(op, log2, width, d, a, b);
            set_saturating(cpu, rd, width, value, saturated);
        }
        SimdInsn::ByElement {
            op,
            log2,
            width,
            index,
            rd,
            rn,
            rm,
        } => {
            let (d, a) = (v(cpu, rd), cut(cpu, rn, width));
            let b = lanes::broadcast(lanes::element(v(cpu, rm), log2, index), log2);
            let (value, saturated) = integer::three_same(op, log2, width, d, a, b);
            set_saturating(cpu, rd, width, value, saturated);
        }
        SimdInsn::TwoRegister {
            op,
            log2,
            width,
            rd,
            rn,
        } => {
            let (d, a) = (cut(cpu, rd, width), cut(cpu, rn, width));
            let (value, saturated) = integer::two_register(op, log2, d, a);
            set_saturating(cpu, rd, width, value, saturated);
        }
        SimdInsn::Shift {
            op,
            log2,
            width,
            shift,
            rd,
            rn,
        } => {
            let (d, a) = (v(cpu, rd), cut(cpu, rn, width));
            let (value, saturated) = shift::immediate(op, log2, u32::from(shift), d, a);
            set_saturating(cpu, rd, width, value, saturated);
        }
        SimdInsn::Across {
            op,
            log2,
            width,
            rd,
            rn,
        } => {
            let value = widening::across(op, log2, width, v(cpu, rn));
            set(cpu, rd, 4, value);
        }
        SimdInsn::ScalarAddPair { rd, rn } => {
            let a = v(cpu, rn);
            set(cpu, rd, 3, a.wrapping_add(a >> 64));
        }
        SimdInsn::ThreeDifferent {
            op,
            log2,
            high,
            rd,
            rn,
            rm,
        } => {
            let (a, b) = (v(cpu, rn), v(cpu, rm));
            widening::three_different(cpu, op, log2, high, rd, a, b);
        }
        SimdInsn::LongByElement {
            op,
            log2,
            high,
            index,
            rd,
            rn,
            rm,
        } => {
            let a = v(cpu, rn);
            let b = lanes::broadcast(lanes::element(v(cpu, rm), log2, index), log2);
            widening::three_different(cpu, op, log2, high, rd, a, b);
        }
        SimdInsn::ScalarLong {
            op,
            log2,
            index,
            rd,
            rn,
            rm,
        } => {
            let a = cut(cpu, rn, log2);
            let b = u128::from(lanes::element(v(cpu, rm), log2, index.unwrap_or(0)));
            let d = cut(cpu, rd, log2 + 1);
            let (value, saturated) = widening::long(op, log2, d, a as u64, b as u64);
            set_saturating(cpu, rd, log2 + 1, value, saturated);
        }
        SimdInsn::Narrow {
            op,
            log2,
            width,
            high,
            shift,
            rd,
            rn,
        } => {
            widening::narrow(cpu, op, (log2, width, high), u32::from(shift), rd, rn);
        }
        SimdInsn::Widen {
            signed,
            log2,
            high,
            shift,
            rd,
            rn,
        } => {
            let value = widening::widen(signed, log2, u32::from(shift), part(cpu, rn, high));
            set(cpu, rd, 4, value);
        }
        SimdInsn::DupElement {
            log2,
            width,
            index,
            rd,
            rn,
        } => {
            let value = lanes::broadcast(lanes::element(v(cpu, rn), log2, index), log2);
            set(cpu, rd, width, value);
        }
        SimdInsn::DupGeneral {
            log2,
            width,
            rd,
            rn,
        } => {
            let value = lanes::broadcast(cpu.state.x[usize::from(rn)], log2);
            set(cpu, rd, width, value);
        }
        SimdInsn::InsertElement {
            log2,
            to,
            from,
            rd,
            rn,
        } => {
            let new = lanes::element(v(cpu, rn), log2, from);
            let value = lanes::insert(v(cpu, rd), log2, to, new);
            set(cpu, rd, 4, value);
        }
        SimdInsn::InsertGeneral {
            log2,
            index,
            rd,
            rn,
        } => {
            let value = lanes::insert(v(cpu, rd), log2, index, cpu.state.x[usize::from(rn)]);
            set(cpu, rd, 4, value);
        }
        SimdInsn::MoveUnsigned {
            log2,
            index,
            rd,
            rn,
        } => {
            *general(cpu, rd) = lanes::element(v(cpu, rn), log2, index);
        }
        SimdInsn::MoveSigned {
            log2,
            wide,
            index,
            rd,
            rn,
        } => {
            let element = lanes::element(v(cpu, rn), log2, index);
            let value = lanes::sign_extend(element, lanes::bits(log2)) as u64;
            *general(cpu, rd) = if wide { value } else { u64::from(value as u32) };
        }
        SimdInsn::Permute {
            op,
            log2,
            width,
            rd,
            rn,
            rm,
        } => {
            let value = moves::permute(op, log2, width, v(cpu, rn), v(cpu, rm));
            set(cpu, rd, width, value);
        }
        SimdInsn::Extract {
            width,
            position,
            rd,
            rn,
            rm,
        } => {
            let value = moves::extract(width, position, v(cpu, rn), v(cpu, rm));
            set(cpu, rd, width, value);
        }
        SimdInsn::Table {
            keep,
            registers,
            width,
            rd,
            rn,
            rm,
        } => {
            let value = moves::table(cpu, keep, registers, rd, rn, rm);
            set(cpu, rd, width, value);
        }
        _ => process_fp(cpu, insn),
    }
}

/// Floating point: whatever reads FPCR, and the moves of the scalar group.
#[inline(never)]
fn process_fp(cpu: &mut Cpu, insn: SimdInsn) {
    let mut env = FpEnv::new(cpu.state.fpcr, cpu.state.fpsr);
    match insn {
        SimdInsn::FpTwoSource {
            op,
            log2,
            rd,
            rn,
            rm,
        } => {
            let (a, b) = (v(cpu, rn) as u64, v(cpu, rm) as u64);
            let value = fp_vector::binary(op, log2, 0, a, b, &mut env);
            set(cpu, rd, log2, value.into());
        }
        SimdInsn::FpOneSource { op, log2, rd, rn } => {
            let value = fp_vector::unary(op, log2, v(cpu, rn) as u64, &mut env);
            set(cpu, rd, log2, value.into());
        }
        SimdInsn::FpThreeSource {
            negate_product,
            negate_addend,
            log2,
            rd,
            rn,
            rm,
            ra,
        } => {
            let operands = (v(cpu, ra) as u64, v(cpu, rn) as u64, v(cpu, rm) as u64);
            let value = fp_scalar::mul_add(log2, operands, negate_product, negate_addend, &mut env);
            set(cpu, rd, log2, value.into());
        }
        SimdInsn::FpConvert { from, to, rd, rn } => {
            let value = fp_scalar::convert(from, to, v(cpu, rn) as u64, &mut env);
            set(cpu, rd, to, value.into());
        }
        SimdInsn::FpCompare {
            log2,
            signal,
            with_zero,
            rn,
            rm,
        } => {
            let b = if with_zero { 0 } else { v(cpu, rm) as u64 };
            cpu.state.nzcv = fp_scalar::compare(log2, v(cpu, rn) as u64, b, signal, &mut env);
        }
        SimdInsn::FpConditionalCompare {
            log2,
            signal,
            condition,
            nzcv,
            rn,
            rm,
        } => {
            cpu.state.nzcv = if condition_holds(condition.holding(), cpu.state.nzcv) {
                let (a, b) = (v(cpu, rn) as u64, v(cpu, rm) as u64);
                fp_scalar::compare(log2, a, b, signal, &mut env)
            } else {
                u32::from(nzcv) << 28
            };
        }
        SimdInsn::FpSelect {
            log2,
            condition,
            rd,
            rn,
            rm,
        } => {
            let from = if condition_holds(condition.holding(), cpu.state.nzcv) {
                rn
            } else {
                rm
            };
            let value = v(cpu, from);
            set(cpu, rd, log2, value);
        }
        SimdInsn::FpToGeneral {
            op,
            log2,
            wide,
            fraction_bits,
            rd,
            rn,
        } => {
            let (a, width) = (v(cpu, rn) as u64, if wide { 64 } else { 32 });
            *general(cpu, rd) = fp_vector::to_fixed(op, log2, width, fraction_bits, a, &mut env);
        }
        SimdInsn::FpFromGeneral {
            signed,
            log2,
            wide,
            fraction_bits,
            rd,
            rn,
        } => {
            let a = cpu.state.x[usize::from(rn)];
            let width = if wide { 64 } else { 32 };
            let value = fp_vector::from_fixed(signed, log2, width, fraction_bits, a, &mut env);
            set(cpu, rd, log2, value.into());
        }
        SimdInsn::FpMoveToGeneral { log2, rd, rn } => {
            let a = v(cpu, rn);
            *general(cpu, rd) = match log2 {
                2 => u64::from(a as u32),
                3 => a as u64,
                _ => (a >> 64) as u64,
            };
        }
        SimdInsn::FpMoveFromGeneral { log2, rd, rn } => {
            let a = cpu.state.x[usize::from(rn)];
            if log2 == 4 {
                set_high(cpu, rd, a);
            } else {
                set(cpu, rd, log2, a.into());
            }
        }
        _ => fp_vector::process(cpu, &mut env, insn),
    }
    cpu.state.fpsr = env.fpsr;
}

/// A general register as a destination.
#[inline(always)]
fn general(cpu: &mut Cpu, register: u8) -> &mut u64 {
    &mut cpu.state.x[usize::from(as_destination(register))]
}

/// A register.
#[inline(always)]
fn v(cpu: &Cpu, register: u8) -> u128 {
    cpu.state.v[usize::from(register & 31)]
}

/// A register, cut to a width.
#[inline(always)]
fn cut(cpu: &Cpu, register: u8, width: u8) -> u128 {
    v(cpu, register) & MASKS[usize::from(width)]
}

/// Vpart: the upper or lower half of a register.
#[inline(always)]
fn part(cpu: &Cpu, register: u8, high: bool) -> u64 {
    let value = v(cpu, register);
    if high {
        (value >> 64) as u64
    } else {
        value as u64
    }
}

/// Writes a register; what lies above `width` becomes zero.
#[inline(always)]
fn set(cpu: &mut Cpu, register: u8, width: u8, value: u128) {
    cpu.state.v[usize::from(register & 31)] = value & MASKS[usize::from(width)];
}

/// Writes the upper half of a register and keeps the lower.
#[inline(always)]
fn set_high(cpu: &mut Cpu, register: u8, value: u64) {
    let register = &mut cpu.state.v[usize::from(register & 31)];
    *register = *register & MASKS[3] | u128::from(value) << 64;
}

/// Vpart as a destination: the lower half clears the upper, the upper keeps the lower.
#[inline(always)]
fn set_part(cpu: &mut Cpu, register: u8, high: bool, value: u64) {
    if high {
        set_high(cpu, register, value);
    } else {
        set(cpu, register, 3, value.into());
    }
}

#[inline(always)]
fn set_saturating(cpu: &mut Cpu, register: u8, width: u8, value: u128, saturated: bool) {
    if saturated {
        cpu.state.fpsr |= QC;
    }
    set(cpu, register, width, value);
}

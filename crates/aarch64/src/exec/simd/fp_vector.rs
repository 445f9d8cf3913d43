//! Floating-point operations on elements: each is written once for both formats, and serves the
//! vector, the SIMD scalar and the scalar instructions.

use super::lanes::{broadcast, element, evens, insert, mask64, sign_extend, unzip};
use super::{cut, part, set, set_part, v};
use crate::cpu::Cpu;
use crate::decode::simd::{FixedOp, FpThreeSame, FpTwoRegister, SimdInsn};
use crate::fp::{
    Arithmetic, F16, F32, F64, FpEnv, Rounding, fixed_to_fp, fp_add, fp_compare_eq, fp_compare_ge,
    fp_compare_gt, fp_convert, fp_div, fp_max, fp_max_num, fp_min, fp_min_num, fp_mul, fp_mul_add,
    fp_mulx, fp_recip_estimate, fp_recip_step_fused, fp_recpx, fp_round_int, fp_rsqrt_estimate,
    fp_rsqrt_step_fused, fp_sqrt, fp_sub, fp_to_fixed,
};

/// The instructions whose operands are vectors or elements.
pub(super) fn process(cpu: &mut Cpu, env: &mut FpEnv, insn: SimdInsn) {
    match insn {
        SimdInsn::FpThreeSame {
            op,
            log2,
            width,
            rd,
            rn,
            rm,
        } => {
            let (mut a, mut b) = (v(cpu, rn), v(cpu, rm));
            if is_pairwise(op) {
                (a, b) = (
                    unzip(a, b, log2, width, false),
                    unzip(a, b, log2, width, true),
                );
            }
            let value = each(log2, width, v(cpu, rd), a, b, |d, a, b| {
                binary(op, log2, d, a, b, env)
            });
            set(cpu, rd, width, value);
        }
        SimdInsn::FpByElement {
            op,
            log2,
            width,
            index,
            rd,
            rn,
            rm,
        } => {
            let b = broadcast(element(v(cpu, rm), log2, index), log2);
            let value = each(log2, width, v(cpu, rd), v(cpu, rn), b, |d, a, b| {
                binary(op, log2, d, a, b, env)
            });
            set(cpu, rd, width, value);
        }
        SimdInsn::FpTwoRegister {
            op,
            log2,
            width,
            rd,
            rn,
        } => {
            let value = each(log2, width, 0, v(cpu, rn), 0, |_, a, _| {
                unary(op, log2, a, env)
            });
            set(cpu, rd, width, value);
        }
        SimdInsn::FpFixed {
            op,
            log2,
            width,
            fraction_bits,
            rd,
            rn,
        } => {
            let bits = 8 << log2;
            let value = each(log2, width, 0, v(cpu, rn), 0, |_, a, _| match op {
                FixedOp::Scvtf => from_fixed(true, log2, bits, fraction_bits, a, env),
                FixedOp::Ucvtf => from_fixed(false, log2, bits, fraction_bits, a, env),
                _ => to_fixed(op, log2, bits, fraction_bits, a, env),
            });
            set(cpu, rd, width, value);
        }
        SimdInsn::FpAcross { op, rd, rn } => {
            // Reduce: halves first, which decides whose NaN is propagated.
            let a = v(cpu, rn);
            let mut lanes =
                |first, second| binary(op, 2, 0, element(a, 2, first), element(a, 2, second), env);
            let (low, high) = (lanes(0, 1), lanes(2, 3));
            let value = binary(op, 2, 0, low, high, env);
            set(cpu, rd, 2, value.into());
        }
        SimdInsn::FpScalarPairwise { op, log2, rd, rn } => {
            let a = v(cpu, rn);
            let value = binary(op, log2, 0, element(a, log2, 0), element(a, log2, 1), env);
            set(cpu, rd, log2, value.into());
        }
        SimdInsn::FpLengthen { log2, high, rd, rn } => {
            let a = u128::from(part(cpu, rn, high));
            let rounding = env.rounding;
            let value = (0..8u8 >> log2).fold(0, |value, index| {
                let a = element(a, log2, index);
                let wide = match log2 {
                    1 => fp_convert::<F16, F32>(a, rounding, env),
                    _ => fp_convert::<F32, F64>(a, rounding, env),
                };
                insert(value, log2 + 1, index, wide)
            });
            set(cpu, rd, 4, value);
        }
        SimdInsn::FpNarrow {
            odd,
            log2,
            width,
            high,
            rd,
            rn,
        } => {
            let rounding = if odd { Rounding::Odd } else { env.rounding };
            let (wide, span) = (log2 + 1, width + 1);
            let a = cut(cpu, rn, span);
            let lanes = each(wide, span, 0, a, 0, |_, a, _| match log2 {
                1 => fp_convert::<F32, F16>(a, rounding, env),
                _ => fp_convert::<F64, F32>(a, rounding, env),
            });
            let value = evens(lanes, log2);
            if width == 3 {
                set_part(cpu, rd, high, value);
            } else {
                set(cpu, rd, width, value.into());
            }
        }
        _ => debug_assert!(false, "{insn:?} belongs to another group"),
    }
}

/// Applies `f(destination, first, second)` to each element of an operand.
#[inline(always)]
fn each(
    log2: u8,
    width: u8,
    d: u128,
    a: u128,
    b: u128,
    mut f: impl FnMut(u64, u64, u64) -> u64,
) -> u128 {
    (0..1u8 << (width - log2)).fold(0, |value, index| {
        let lane = |operand| element(operand, log2, index);
        insert(value, log2, index, f(lane(d), lane(a), lane(b)))
    })
}

fn is_pairwise(op: FpThreeSame) -> bool {
    use FpThreeSame::{Faddp, Fmaxnmp, Fmaxp, Fminnmp, Fminp};
    matches!(op, Faddp | Fmaxnmp | Fmaxp | Fminnmp | Fminp)
}

/// An operation on two elements (and the destination's, which only FMLA and FMLS read).
pub(super) fn binary(op: FpThreeSame, log2: u8, d: u64, a: u64, b: u64, env: &mut FpEnv) -> u64 {
    if log2 == 2 {
        let low = |value: u64| u64::from(value as u32);
        binary_in::<F32>(op, d, low(a), low(b), env)
    } else {
        binary_in::<F64>(op, d, a, b, env)
    }
}

fn binary_in<F: Arithmetic>(op: FpThreeSame, d: u64, a: u64, b: u64, env: &mut FpEnv) -> u64 {
    use FpThreeSame as Op;
    let all = |condition: bool| u64::from(condition).wrapping_neg();
    let abs = |value: u64| value & !F::SIGN;
    match op {
        Op::Fadd | Op::Faddp => fp_add::<F>(a, b, env),
        Op::Fsub => fp_sub::<F>(a, b, env),
        Op::Fmul => fp_mul::<F>(a, b, env),
        Op::Fnmul => fp_mul::<F>(a, b, env) ^ F::SIGN,
        Op::Fdiv => fp_div::<F>(a, b, env),
        Op::Fmla => fp_mul_add::<F>(d, a, b, env),
        Op::Fmls => fp_mul_add::<F>(d, a ^ F::SIGN, b, env),
        Op::Fmulx => fp_mulx::<F>(a, b, env),
        Op::Fmax | Op::Fmaxp => fp_max::<F>(a, b, env),
        Op::Fmin | Op::Fminp => fp_min::<F>(a, b, env),
        Op::Fmaxnm | Op::Fmaxnmp => fp_max_num::<F>(a, b, env),
        Op::Fminnm | Op::Fminnmp => fp_min_num::<F>(a, b, env),
        Op::Fabd => abs(fp_sub::<F>(a, b, env)),
        Op::Fcmeq => all(fp_compare_eq::<F>(a, b, env)),
        Op::Fcmge => all(fp_compare_ge::<F>(a, b, env)),
        Op::Fcmgt => all(fp_compare_gt::<F>(a, b, env)),
        Op::Facge => all(fp_compare_ge::<F>(abs(a), abs(b), env)),
        Op::Facgt => all(fp_compare_gt::<F>(abs(a), abs(b), env)),
        Op::Frecps => fp_recip_step_fused::<F>(a, b, env),
        Op::Frsqrts => fp_rsqrt_step_fused::<F>(a, b, env),
    }
}

/// An operation on one element.
pub(super) fn unary(op: FpTwoRegister, log2: u8, a: u64, env: &mut FpEnv) -> u64 {
    if log2 == 2 {
        unary_in::<F32>(op, u64::from(a as u32), env)
    } else {
        unary_in::<F64>(op, a, env)
    }
}

fn unary_in<F: Arithmetic>(op: FpTwoRegister, a: u64, env: &mut FpEnv) -> u64 {
    use FpTwoRegister as Op;
    let all = |condition: bool| u64::from(condition).wrapping_neg();
    let current = env.rounding;
    match op {
        Op::Fmov => a,
        Op::Fabs => a & !F::SIGN,
        Op::Fneg => a ^ F::SIGN,
        Op::Fsqrt => fp_sqrt::<F>(a, env),
        Op::Frintn => fp_round_int::<F>(a, Rounding::TieEven, false, env),
        Op::Frintp => fp_round_int::<F>(a, Rounding::PlusInfinity, false, env),
        Op::Frintm => fp_round_int::<F>(a, Rounding::MinusInfinity, false, env),
        Op::Frintz => fp_round_int::<F>(a, Rounding::Zero, false, env),
        Op::Frinta => fp_round_int::<F>(a, Rounding::TieAway, false, env),
        Op::Frintx => fp_round_int::<F>(a, current, true, env),
        Op::Frinti => fp_round_int::<F>(a, current, false, env),
        Op::Fcmgt0 => all(fp_compare_gt::<F>(a, 0, env)),
        Op::Fcmge0 => all(fp_compare_ge::<F>(a, 0, env)),
        Op::Fcmeq0 => all(fp_compare_eq::<F>(a, 0, env)),
        Op::Fcmle0 => all(fp_compare_ge::<F>(0, a, env)),
        Op::Fcmlt0 => all(fp_compare_gt::<F>(0, a, env)),
        Op::Frecpe => fp_recip_estimate::<F>(a, env),
        Op::Frsqrte => fp_rsqrt_estimate::<F>(a, env),
        Op::Frecpx => fp_recpx::<F>(a, env),
    }
}

/// FCVT*: to an integer of `width` bits.
pub(super) fn to_fixed(
    op: FixedOp,
    log2: u8,
    width: u32,
    fraction_bits: u8,
    a: u64,
    env: &mut FpEnv,
) -> u64 {
    let (rounding, unsigned) = match op {
        FixedOp::Fcvtns => (Rounding::TieEven, false),
        FixedOp::Fcvtnu => (Rounding::TieEven, true),
        FixedOp::Fcvtps => (Rounding::PlusInfinity, false),
        FixedOp::Fcvtpu => (Rounding::PlusInfinity, true),
        FixedOp::Fcvtms => (Rounding::MinusInfinity, false),
        FixedOp::Fcvtmu => (Rounding::MinusInfinity, true),
        FixedOp::Fcvtas => (Rounding::TieAway, false),
        FixedOp::Fcvtau => (Rounding::TieAway, true),
        FixedOp::Fcvtzu | FixedOp::Ucvtf => (Rounding::Zero, true),
        FixedOp::Fcvtzs | FixedOp::Scvtf => (Rounding::Zero, false),
    };
    let fraction_bits = u32::from(fraction_bits);
    if log2 == 2 {
        let a = u64::from(a as u32);
        fp_to_fixed::<F32>(a, width, fraction_bits, unsigned, rounding, env)
    } else {
        fp_to_fixed::<F64>(a, width, fraction_bits, unsigned, rounding, env)
    }
}

/// SCVTF and UCVTF: from an integer of `width` bits.
pub(super) fn from_fixed(
    signed: bool,
    log2: u8,
    width: u32,
    fraction_bits: u8,
    a: u64,
    env: &mut FpEnv,
) -> u64 {
    let a = if signed {
        sign_extend(a, width).into()
    } else {
        i128::from(a & mask64(if width == 32 { 2 } else { 3 }))
    };
    if log2 == 2 {
        fixed_to_fp::<F32>(a, fraction_bits.into(), env)
    } else {
        fixed_to_fp::<F64>(a, fraction_bits.into(), env)
    }
}

//! Integer operations on elements of one size.

use super::lanes::{
    add, bits, mask64, non_zero, not_below, not_less, reverse_within, saturate_signed,
    saturate_unsigned, select, sign_extend, signed, signed_wide, sub, unsigned, unsigned_wide,
    unzip,
};
use super::shift;
use crate::decode::simd::{ThreeSame, TwoRegister};
use crate::fp::{unsigned_recip_estimate, unsigned_rsqrt_estimate};

#[inline(always)]
fn multiply(log2: u8, a: u128, b: u128) -> u128 {
    unsigned(log2, a, b, u64::wrapping_mul)
}

/// The result, and whether an element saturated. Operands are cut to their width, so that what lies
/// above cannot saturate.
#[inline]
pub(super) fn three_same(
    op: ThreeSame,
    log2: u8,
    width: u8,
    d: u128,
    a: u128,
    b: u128,
) -> (u128, bool) {
    let value = match op {
        ThreeSame::Add => add(log2, a, b),
        ThreeSame::Sub => sub(log2, a, b),
        ThreeSame::Cmeq => !non_zero(log2, a ^ b),
        ThreeSame::Cmtst => non_zero(log2, a & b),
        ThreeSame::Cmhs => not_below(log2, a, b),
        ThreeSame::Cmhi => !not_below(log2, b, a),
        ThreeSame::Cmge => not_less(log2, a, b),
        ThreeSame::Cmgt => !not_less(log2, b, a),
        ThreeSame::Umax => select(not_below(log2, a, b), a, b),
        ThreeSame::Umin => select(not_below(log2, a, b), b, a),
        ThreeSame::Smax => select(not_less(log2, a, b), a, b),
        ThreeSame::Smin => select(not_less(log2, a, b), b, a),
        ThreeSame::Umaxp
        | ThreeSame::Uminp
        | ThreeSame::Smaxp
        | ThreeSame::Sminp
        | ThreeSame::Addp => pairwise(op, log2, width, a, b),
        ThreeSame::Mul => multiply(log2, a, b),
        ThreeSame::Mla => add(log2, d, multiply(log2, a, b)),
        ThreeSame::Mls => sub(log2, d, multiply(log2, a, b)),
        ThreeSame::Shadd => signed(log2, a, b, |a, b| (a + b) >> 1),
        ThreeSame::Uhadd => unsigned(log2, a, b, |a, b| (a + b) >> 1),
        ThreeSame::Srhadd => signed(log2, a, b, |a, b| (a + b + 1) >> 1),
        ThreeSame::Urhadd => unsigned(log2, a, b, |a, b| (a + b + 1) >> 1),
        ThreeSame::Shsub => signed(log2, a, b, |a, b| (a - b) >> 1),
        ThreeSame::Uhsub => unsigned(log2, a, b, |a, b| a.wrapping_sub(b) >> 1),
        ThreeSame::Sabd => signed(log2, a, b, |a, b| (a - b).abs()),
        ThreeSame::Uabd => unsigned(log2, a, b, u64::abs_diff),
        ThreeSame::Saba => {
            let difference = signed(log2, a, b, |a, b| (a - b).abs());
            add(log2, d, difference)
        }
        ThreeSame::Uaba => {
            let difference = unsigned(log2, a, b, u64::abs_diff);
            add(log2, d, difference)
        }
        ThreeSame::Pmul => unsigned(log2, a, b, polynomial_mul),
        ThreeSame::Sshl => signed(log2, a, b, |a, b| shift::by_register(a.into(), b) as i64),
        ThreeSame::Ushl => unsigned(log2, a, b, |a, b| {
            shift::by_register(a.into(), b as i64) as u64
        }),
        ThreeSame::Srshl => signed(log2, a, b, |a, b| {
            shift::by_register_rounding(a.into(), b) as i64
        }),
        ThreeSame::Urshl => unsigned(log2, a, b, |a, b| {
            shift::by_register_rounding(a.into(), b as i64) as u64
        }),
        _ => return saturating(op, log2, a, b),
    };
    (value, false)
}

/// Operations that may saturate.
fn saturating(op: ThreeSame, log2: u8, a: u128, b: u128) -> (u128, bool) {
    let width = bits(log2);
    let mut qc = false;
    let q = &mut qc;
    let value = match op {
        ThreeSame::Sqadd => signed_wide(log2, a, b, |a, b| saturate_signed(a + b, width, q)),
        ThreeSame::Uqadd => unsigned_wide(log2, a, b, |a, b| saturate_unsigned(a + b, width, q)),
        ThreeSame::Sqsub => signed_wide(log2, a, b, |a, b| saturate_signed(a - b, width, q)),
        ThreeSame::Uqsub => unsigned_wide(log2, a, b, |a, b| saturate_unsigned(a - b, width, q)),
        ThreeSame::Sqdmulh => signed_wide(log2, a, b, |a, b| {
            saturate_signed((2 * a * b) >> width, width, q)
        }),
        ThreeSame::Sqrdmulh => {
            let round = 1 << (width - 1);
            signed_wide(log2, a, b, |a, b| {
                saturate_signed((2 * a * b + round) >> width, width, q)
            })
        }
        ThreeSame::Sqshl => signed_wide(log2, a, b, |a, b| {
            saturate_signed(shift::by_register(a, b as i64), width, q)
        }),
        ThreeSame::Uqshl => unsigned_wide(log2, a, b, |a, b| {
            saturate_unsigned(shift::by_register(a, b as i64), width, q)
        }),
        ThreeSame::Sqrshl => signed_wide(log2, a, b, |a, b| {
            saturate_signed(shift::by_register_rounding(a, b as i64), width, q)
        }),
        _ => unsigned_wide(log2, a, b, |a, b| {
            saturate_unsigned(shift::by_register_rounding(a, b as i64), width, q)
        }),
    };
    (value, qc)
}

#[inline]
fn pairwise(op: ThreeSame, log2: u8, width: u8, a: u128, b: u128) -> u128 {
    let even = unzip(a, b, log2, width, false);
    let odd = unzip(a, b, log2, width, true);
    match op {
        ThreeSame::Addp => add(log2, even, odd),
        ThreeSame::Umaxp => select(not_below(log2, even, odd), even, odd),
        ThreeSame::Uminp => select(not_below(log2, even, odd), odd, even),
        ThreeSame::Smaxp => select(not_less(log2, even, odd), even, odd),
        _ => select(not_less(log2, even, odd), odd, even),
    }
}

/// PolynomialMult of bytes: the carries are left out.
pub(super) fn polynomial_mul(a: u64, b: u64) -> u64 {
    (0..8)
        .filter(|bit| b >> bit & 1 != 0)
        .fold(0, |product, bit| product ^ a << bit)
}

/// The result, and whether an element saturated. Operands are cut to their width, so that what lies
/// above cannot saturate.
pub(super) fn two_register(op: TwoRegister, log2: u8, d: u128, a: u128) -> (u128, bool) {
    let width = bits(log2);
    let mut qc = false;
    let value = match op {
        TwoRegister::Rev64 => reverse_within(a, log2, 3),
        TwoRegister::Rev32 => reverse_within(a, log2, 2),
        TwoRegister::Rev16 => reverse_within(a, log2, 1),
        TwoRegister::Saddlp => add_long_pairs(log2, a, true),
        TwoRegister::Uaddlp => add_long_pairs(log2, a, false),
        TwoRegister::Sadalp => add(log2 + 1, d, add_long_pairs(log2, a, true)),
        TwoRegister::Uadalp => add(log2 + 1, d, add_long_pairs(log2, a, false)),
        TwoRegister::Cls => signed(log2, a, 0, |a, _| {
            i64::from((a ^ (a >> 63)).leading_zeros()) - i64::from(64 - width) - 1
        }),
        TwoRegister::Clz => unsigned(log2, a, 0, |a, _| {
            u64::from(a.leading_zeros() - (64 - width))
        }),
        TwoRegister::Cnt => unsigned(0, a, 0, |a, _| a.count_ones().into()),
        TwoRegister::Not => !a,
        TwoRegister::Rbit => unsigned(0, a, 0, |a, _| (a as u8).reverse_bits().into()),
        TwoRegister::Cmgt0 => !not_less(log2, 0, a),
        TwoRegister::Cmge0 => not_less(log2, a, 0),
        TwoRegister::Cmeq0 => !non_zero(log2, a),
        TwoRegister::Cmle0 => not_less(log2, 0, a),
        TwoRegister::Cmlt0 => !not_less(log2, a, 0),
        TwoRegister::Abs => signed(log2, a, 0, |a, _| a.wrapping_abs()),
        TwoRegister::Neg => sub(log2, 0, a),
        TwoRegister::Urecpe => unsigned(2, a, 0, |a, _| unsigned_recip_estimate(a as u32).into()),
        TwoRegister::Ursqrte => unsigned(2, a, 0, |a, _| unsigned_rsqrt_estimate(a as u32).into()),
        TwoRegister::Sqabs => {
            signed_wide(log2, a, 0, |a, _| saturate_signed(a.abs(), width, &mut qc))
        }
        TwoRegister::Sqneg => signed_wide(log2, a, 0, |a, _| saturate_signed(-a, width, &mut qc)),
        // An unsigned operand is added to a signed accumulator, and the other way about.
        TwoRegister::Suqadd => signed_wide(log2, d, a, |d, a| {
            saturate_signed(d + (a & i128::from(mask64(log2))), width, &mut qc)
        }),
        TwoRegister::Usqadd => unsigned_wide(log2, d, a, |d, a| {
            saturate_unsigned(d + i128::from(sign_extend(a as u64, width)), width, &mut qc)
        }),
    };
    (value, qc)
}

/// Adds neighbours to elements of twice the width.
fn add_long_pairs(log2: u8, a: u128, is_signed: bool) -> u128 {
    let width = bits(log2);
    if is_signed {
        signed(log2 + 1, a, 0, |pair, _| {
            (pair >> width) + sign_extend(pair as u64, width)
        })
    } else {
        unsigned(log2 + 1, a, 0, |pair, _| {
            (pair >> width) + (pair & mask64(log2))
        })
    }
}

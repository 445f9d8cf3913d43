//! Comparisons, maximum and minimum.

use super::{Class, Format, FpEnv, IOC, Unpacked, fp_process_nans, fp_unpack};
use std::cmp::Ordering;

/// NZCV (as bits 31 to 28) of an unordered comparison.
const UNORDERED: u32 = 0b0011 << 28;

/// Orders two operands that are not NaNs; zeros are equal whatever their signs.
fn order(a: &Unpacked, b: &Unpacked) -> Ordering {
    // Signed magnitude as one integer: class, then exponent, then fraction.
    let key = |operand: &Unpacked| {
        let magnitude = match operand.class {
            Class::Zero => 0,
            Class::Infinity => i128::MAX,
            _ => i128::from(operand.exponent + 0x8000) << 64 | i128::from(operand.fraction),
        };
        if operand.sign { -magnitude } else { magnitude }
    };
    key(a).cmp(&key(b))
}

/// FPCompare: the condition flags, as bits 31 to 28.
pub fn fp_compare<F: Format>(a: u64, b: u64, signal_nans: bool, env: &mut FpEnv) -> u32 {
    let ua = fp_unpack::<F>(a, env);
    let ub = fp_unpack::<F>(b, env);
    if ua.is_nan() || ub.is_nan() {
        if signal_nans || ua.class == Class::SignalingNan || ub.class == Class::SignalingNan {
            env.raise(IOC);
        }
        return UNORDERED;
    }
    let flags = match order(&ua, &ub) {
        Ordering::Less => 0b1000,
        Ordering::Equal => 0b0110,
        Ordering::Greater => 0b0010,
    };
    flags << 28
}

/// The order of two operands, `None` if a NaN is among them.
fn compare_values<F: Format>(
    a: u64,
    b: u64,
    signal_nans: bool,
    env: &mut FpEnv,
) -> Option<Ordering> {
    let ua = fp_unpack::<F>(a, env);
    let ub = fp_unpack::<F>(b, env);
    if ua.is_nan() || ub.is_nan() {
        if signal_nans || ua.class == Class::SignalingNan || ub.class == Class::SignalingNan {
            env.raise(IOC);
        }
        return None;
    }
    Some(order(&ua, &ub))
}

/// FPCompareEQ.
pub fn fp_compare_eq<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> bool {
    compare_values::<F>(a, b, false, env) == Some(Ordering::Equal)
}

/// FPCompareGE.
pub fn fp_compare_ge<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> bool {
    matches!(
        compare_values::<F>(a, b, true, env),
        Some(Ordering::Equal | Ordering::Greater)
    )
}

/// FPCompareGT.
pub fn fp_compare_gt<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> bool {
    compare_values::<F>(a, b, true, env) == Some(Ordering::Greater)
}

fn extreme<F: Format>(a: u64, b: u64, wanted: Ordering, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    let ub = fp_unpack::<F>(b, env);
    if let Some(nan) = fp_process_nans::<F, 2>([(a, ua), (b, ub)], env) {
        return nan;
    }
    let (bits, chosen) = if order(&ua, &ub) == wanted {
        (a, ua)
    } else {
        (b, ub)
    };
    if chosen.is_zero() {
        // Of two zeros, the maximum is positive and the minimum negative if either is. (When the
        // other is no zero, it lies on the far side, and its sign does not change the answer.)
        return F::zero(match wanted {
            Ordering::Greater => ua.sign && ub.sign,
            _ => ua.sign || ub.sign,
        });
    }
    bits
}

/// FPMax.
pub fn fp_max<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    extreme::<F>(a, b, Ordering::Greater, env)
}

/// FPMin.
pub fn fp_min<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    extreme::<F>(a, b, Ordering::Less, env)
}

/// Replaces a lone quiet NaN by `neutral`, so that the other operand wins.
fn extreme_num<F: Format>(a: u64, b: u64, neutral: u64, wanted: Ordering, env: &mut FpEnv) -> u64 {
    let quiet_a = fp_unpack::<F>(a, env).class == Class::QuietNan;
    let quiet_b = fp_unpack::<F>(b, env).class == Class::QuietNan;
    let a = if quiet_a && !quiet_b { neutral } else { a };
    let b = if quiet_b && !quiet_a { neutral } else { b };
    extreme::<F>(a, b, wanted, env)
}

/// FPMaxNum.
pub fn fp_max_num<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    extreme_num::<F>(a, b, F::infinity(true), Ordering::Greater, env)
}

/// FPMinNum.
pub fn fp_min_num<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    extreme_num::<F>(a, b, F::infinity(false), Ordering::Less, env)
}

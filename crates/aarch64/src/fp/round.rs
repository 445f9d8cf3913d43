//! Rounding an exact result to a format.

use super::{Format, FpEnv, IOC, IXC, OFC, Rounding, UFC};
use std::cmp::Ordering;

/// What is left of a shifted-out tail, compared with half of the last place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Exact,
    BelowHalf,
    Half,
    AboveHalf,
}

/// Splits `value` at bit `shift` into the integer part and the tail below it.
#[inline]
pub(super) fn split(value: u64, shift: u32) -> (u64, Tail) {
    if shift == 0 {
        return (value, Tail::Exact);
    }
    if shift > 64 {
        return (
            0,
            if value == 0 {
                Tail::Exact
            } else {
                Tail::BelowHalf
            },
        );
    }
    let integer = value.checked_shr(shift).unwrap_or(0);
    let rest = value & (u64::MAX >> (64 - shift));
    let half = 1u64 << (shift - 1);
    let tail = match rest.cmp(&half) {
        _ if rest == 0 => Tail::Exact,
        Ordering::Less => Tail::BelowHalf,
        Ordering::Equal => Tail::Half,
        Ordering::Greater => Tail::AboveHalf,
    };
    (integer, tail)
}

/// Whether a magnitude with this tail is rounded away from zero.
#[inline]
pub(super) fn rounds_up(rounding: Rounding, sign: bool, odd: bool, tail: Tail) -> bool {
    match rounding {
        Rounding::TieEven => tail == Tail::AboveHalf || (tail == Tail::Half && odd),
        Rounding::TieAway => matches!(tail, Tail::Half | Tail::AboveHalf),
        Rounding::PlusInfinity => tail != Tail::Exact && !sign,
        Rounding::MinusInfinity => tail != Tail::Exact && sign,
        Rounding::Zero | Rounding::Odd => false,
    }
}

/// Whether a result too great for the format becomes an infinity.
pub(super) fn overflows_to_infinity(rounding: Rounding, sign: bool) -> bool {
    match rounding {
        Rounding::TieEven | Rounding::TieAway => true,
        Rounding::PlusInfinity => !sign,
        Rounding::MinusInfinity => sign,
        Rounding::Zero | Rounding::Odd => false,
    }
}

/// FPRound (and FPRoundCV for half precision): rounds `fraction * 2^(exponent - 63)`.
///
/// Bit 63 of `fraction` must be set; its bit 0 may stand for all that lies below (a sticky bit).
pub fn fp_round<F: Format>(
    sign: bool,
    exponent: i32,
    fraction: u64,
    rounding: Rounding,
    env: &mut FpEnv,
) -> u64 {
    debug_assert!(fraction >> 63 == 1);
    let minimum = 1 - F::BIAS;
    let dropped = 63 - F::FRAC;
    let tiny = exponent < minimum;
    if tiny && F::BITS != 16 && env.flush_to_zero() {
        env.raise(UFC);
        return F::zero(sign);
    }
    let (mut biased, shift) = if tiny {
        (0, dropped.saturating_add((minimum - exponent) as u32))
    } else {
        ((exponent - minimum) as u64 + 1, dropped)
    };
    let (mut integer, tail) = split(fraction, shift);
    let mut inexact = tail != Tail::Exact;
    if tiny && inexact {
        env.raise(UFC);
    }
    if rounds_up(rounding, sign, integer & 1 != 0, tail) {
        integer += 1;
        if integer == 1 << F::FRAC {
            biased = 1;
        }
        if integer == 2 << F::FRAC {
            biased += 1;
            integer >>= 1;
        }
    }
    if inexact && rounding == Rounding::Odd {
        integer |= 1;
    }
    let result = if F::BITS == 16 && env.alternative_half() {
        if biased > F::EXP_MAX {
            env.raise(IOC);
            return F::zero(sign) | (F::SIGN - 1);
        }
        F::zero(sign) | biased << F::FRAC | integer & F::FRAC_MASK
    } else if biased >= F::EXP_MAX {
        env.raise(OFC);
        inexact = true;
        if overflows_to_infinity(rounding, sign) {
            F::infinity(sign)
        } else {
            F::max_normal(sign)
        }
    } else {
        F::zero(sign) | biased << F::FRAC | integer & F::FRAC_MASK
    };
    if inexact {
        env.raise(IXC);
    }
    result
}

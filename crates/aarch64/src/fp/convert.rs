//! Conversions between formats, to and from integers and fixed point, and rounding to integral
//! values.

use super::round::{Tail, rounds_up, split};
use super::{Class, Format, FpEnv, IOC, IXC, Rounding, fp_process_nan, fp_round, fp_unpack};

/// FPConvert, with the rounding given (FPCR's, or round to odd for FCVTXN).
pub fn fp_convert<From: Format, To: Format>(a: u64, rounding: Rounding, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<From>(a, env);
    let alternative = To::BITS == 16 && env.alternative_half();
    match ua.class {
        Class::QuietNan | Class::SignalingNan => {
            if ua.class == Class::SignalingNan || alternative {
                env.raise(IOC);
            }
            if alternative {
                To::zero(ua.sign)
            } else if env.default_nan() {
                To::DEFAULT_NAN
            } else {
                // FPConvertNaN: the top of the fraction is kept, quiet.
                let fraction = (a & From::FRAC_MASK) << (63 - From::FRAC) >> (63 - To::FRAC);
                To::infinity(ua.sign) | To::QUIET | fraction
            }
        }
        Class::Infinity if alternative => {
            env.raise(IOC);
            To::zero(ua.sign) | (To::SIGN - 1)
        }
        Class::Infinity => To::infinity(ua.sign),
        Class::Zero => To::zero(ua.sign),
        Class::Finite => fp_round::<To>(ua.sign, ua.exponent, ua.fraction, rounding, env),
    }
}

/// FPRoundInt: to an integral value; `exact` reports inexactness.
pub fn fp_round_int<F: Format>(a: u64, rounding: Rounding, exact: bool, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    match ua.class {
        Class::QuietNan | Class::SignalingNan => return fp_process_nan::<F>(a, ua.class, env),
        Class::Infinity => return F::infinity(ua.sign),
        Class::Zero => return F::zero(ua.sign),
        Class::Finite => {}
    }
    if ua.exponent >= F::FRAC as i32 {
        return a;
    }
    // A magnitude below 2^52, so that shifting by 63 - exponent leaves the integer part.
    let (mut integer, tail) = split(ua.fraction, (63 - ua.exponent) as u32);
    if rounds_up(rounding, ua.sign, integer & 1 != 0, tail) {
        integer += 1;
    }
    if exact && tail != Tail::Exact {
        env.raise(IXC);
    }
    if integer == 0 {
        return F::zero(ua.sign);
    }
    let shift = integer.leading_zeros();
    fp_round::<F>(
        ua.sign,
        63 - shift as i32,
        integer << shift,
        Rounding::Zero,
        env,
    )
}

/// FPToFixed: to a saturated integer of `width` bits with `fraction_bits` of fraction.
pub fn fp_to_fixed<F: Format>(
    a: u64,
    width: u32,
    fraction_bits: u32,
    unsigned: bool,
    rounding: Rounding,
    env: &mut FpEnv,
) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    let mask = u64::MAX >> (64 - width);
    let (lowest, highest) = if unsigned {
        (0, i128::from(mask))
    } else {
        (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1)
    };
    let saturated = if ua.sign { lowest } else { highest } as u64 & mask;
    match ua.class {
        Class::QuietNan | Class::SignalingNan => {
            env.raise(IOC);
            return 0;
        }
        Class::Infinity => {
            env.raise(IOC);
            return saturated;
        }
        Class::Zero => return 0,
        Class::Finite => {}
    }
    let exponent = ua.exponent + fraction_bits as i32;
    if exponent > 63 {
        env.raise(IOC);
        return saturated;
    }
    let (integer, tail) = split(ua.fraction, (63 - exponent) as u32);
    let away = rounds_up(rounding, ua.sign, integer & 1 != 0, tail);
    let magnitude = i128::from(integer) + i128::from(away);
    let value = if ua.sign { -magnitude } else { magnitude };
    if value < lowest || value > highest {
        env.raise(IOC);
        return saturated;
    }
    if tail != Tail::Exact {
        env.raise(IXC);
    }
    value as u64 & mask
}

/// FixedToFP: from an integer (already sign- or zero-extended to 128 bits) with `fraction_bits` of
/// fraction.
pub fn fixed_to_fp<F: Format>(value: i128, fraction_bits: u32, env: &mut FpEnv) -> u64 {
    let magnitude = value.unsigned_abs() as u64;
    if magnitude == 0 {
        return 0;
    }
    let shift = magnitude.leading_zeros();
    let exponent = 63 - shift as i32 - fraction_bits as i32;
    fp_round::<F>(value < 0, exponent, magnitude << shift, env.rounding, env)
}

//! Reciprocal and reciprocal square root estimates: 8 bits, exactly the architecture's.

use super::round::overflows_to_infinity;
use super::{Class, DZC, Format, FpEnv, IXC, OFC, UFC, fp_process_nan, fp_unpack, invalid};

/// RecipEstimate: of `a / 512` for `a` in 256..=511, scaled by 256.
fn recip_estimate(a: u64) -> u64 {
    debug_assert!((256..512).contains(&a));
    // The middle of the interval that the nine bits stand for.
    let middle = a * 2 + 1;
    ((1 << 19) / middle).div_ceil(2)
}

/// RecipSqrtEstimate: of `a / 512` for `a` in 128..=511, scaled by 256.
fn recip_sqrt_estimate(a: u64) -> u64 {
    debug_assert!((128..512).contains(&a));
    // Inputs of a half and more carry one bit less.
    let middle = if a < 256 {
        a * 2 + 1
    } else {
        ((a & !1) + 1) * 2
    };
    // The greatest b with middle * b^2 < 2^28, and not below 512.
    let mut b = 512;
    while middle * (b + 1) * (b + 1) < 1 << 28 {
        b += 1;
    }
    b.div_ceil(2)
}

/// FPRecipEstimate.
pub fn fp_recip_estimate<F: Format>(a: u64, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    match ua.class {
        Class::QuietNan | Class::SignalingNan => return fp_process_nan::<F>(a, ua.class, env),
        Class::Infinity => return F::zero(ua.sign),
        Class::Zero => {
            env.raise(DZC);
            return F::infinity(ua.sign);
        }
        Class::Finite => {}
    }
    // Below 2^-128 (or 2^-1024) the reciprocal is too great.
    if ua.exponent < -F::BIAS - 1 {
        env.raise(OFC | IXC);
        return if overflows_to_infinity(env.rounding, ua.sign) {
            F::infinity(ua.sign)
        } else {
            F::max_normal(ua.sign)
        };
    }
    // From 2^126 (or 2^1022) on it may be denormal.
    if env.flush_to_zero() && ua.exponent >= F::BIAS - 1 {
        env.raise(UFC);
        return F::zero(ua.sign);
    }
    let estimate = recip_estimate(ua.fraction >> 55);
    let field = F::BIAS - 1 - ua.exponent;
    // Eight bits of fraction, below a leading one that a denormal result makes explicit.
    let fraction = (estimate & 0xff) << (F::FRAC - 8);
    let (field, fraction) = match field {
        0 => (0, 1 << (F::FRAC - 1) | fraction >> 1),
        -1 => (0, 1 << (F::FRAC - 2) | fraction >> 2),
        _ => (field as u64, fraction),
    };
    F::zero(ua.sign) | field << F::FRAC | fraction
}

/// FPRSqrtEstimate.
pub fn fp_rsqrt_estimate<F: Format>(a: u64, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    match ua.class {
        Class::QuietNan | Class::SignalingNan => return fp_process_nan::<F>(a, ua.class, env),
        Class::Zero => {
            env.raise(DZC);
            return F::infinity(ua.sign);
        }
        _ if ua.sign => return invalid::<F>(env),
        Class::Infinity => return F::zero(false),
        Class::Finite => {}
    }
    // Scaled to [1/4, 1) by an even power of two.
    let odd = (ua.exponent + F::BIAS) & 1 != 0;
    let scaled = ua.fraction >> if odd { 56 } else { 55 };
    let field = (3 * F::BIAS - 1 - (ua.exponent + F::BIAS)).div_euclid(2) as u64;
    field << F::FRAC | (recip_sqrt_estimate(scaled) & 0xff) << (F::FRAC - 8)
}

/// FPRecpX: an exponent to scale by.
pub fn fp_recpx<F: Format>(a: u64, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    if ua.is_nan() {
        return fp_process_nan::<F>(a, ua.class, env);
    }
    let field = F::exponent_field(a);
    let scale = if field == 0 {
        F::EXP_MAX - 1
    } else {
        !field & F::EXP_MAX
    };
    F::zero(ua.sign) | scale << F::FRAC
}

/// UnsignedRecipEstimate.
pub fn unsigned_recip_estimate(a: u32) -> u32 {
    if a >> 31 == 0 {
        u32::MAX
    } else {
        (recip_estimate(u64::from(a >> 23)) as u32) << 23
    }
}

/// UnsignedRSqrtEstimate.
pub fn unsigned_rsqrt_estimate(a: u32) -> u32 {
    if a >> 30 == 0 {
        u32::MAX
    } else {
        (recip_sqrt_estimate(u64::from(a >> 23)) as u32) << 23
    }
}

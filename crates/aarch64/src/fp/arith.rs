//! Addition, multiplication, division, square root, and their fused forms.

use super::{
    Arithmetic, DZC, Format, FpEnv, Unpacked, fp_process_nan, fp_process_nans, fp_round, fp_unpack,
    invalid,
};

/// A signed magnitude wide enough for an exact product: `mantissa * 2^(exponent - 126)`, where the
/// mantissa is zero or has its top bit at 126.
#[derive(Clone, Copy)]
struct Wide {
    sign: bool,
    exponent: i32,
    mantissa: u128,
}

impl Wide {
    fn from_operand(operand: &Unpacked) -> Self {
        if operand.fraction == 0 {
            return Self {
                sign: operand.sign,
                exponent: i32::MIN / 2,
                mantissa: 0,
            };
        }
        Self {
            sign: operand.sign,
            exponent: operand.exponent,
            mantissa: u128::from(operand.fraction) << 63,
        }
    }

    fn product(a: &Unpacked, b: &Unpacked) -> Self {
        let sign = a.sign != b.sign;
        let product = u128::from(a.fraction) * u128::from(b.fraction);
        if product == 0 {
            return Self {
                sign,
                exponent: i32::MIN / 2,
                mantissa: 0,
            };
        }
        // Fractions have at most 53 significant bits, so the lowest bit of a product is zero.
        let carry = (product >> 127) as u32;
        Self {
            sign,
            exponent: a.exponent + b.exponent + carry as i32,
            mantissa: product >> carry,
        }
    }

    /// The exact sum, its mantissa cut to 64 bits with a sticky bit; `None` if it is zero.
    fn add(self, other: Self) -> Option<(bool, i32, u64)> {
        let (high, low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        let aligned = shift_right_jam(low.mantissa, high.exponent.abs_diff(low.exponent));
        let (sign, sum) = if high.sign == low.sign {
            (high.sign, high.mantissa + aligned)
        } else if high.mantissa >= aligned {
            (high.sign, high.mantissa - aligned)
        } else {
            (low.sign, aligned - high.mantissa)
        };
        if sum == 0 {
            return None;
        }
        let shift = sum.leading_zeros();
        Some((sign, high.exponent + 1 - shift as i32, jam(sum << shift)))
    }
}

/// Shifts right; what falls out is kept as a sticky lowest bit.
fn shift_right_jam(value: u128, shift: u32) -> u128 {
    if shift == 0 {
        value
    } else if shift > 127 {
        u128::from(value != 0)
    } else {
        value >> shift | u128::from(value << (128 - shift) != 0)
    }
}

/// The upper half, with a sticky bit for the lower.
#[inline]
fn jam(value: u128) -> u64 {
    (value >> 64) as u64 | u64::from(value as u64 != 0)
}

/// Whether the host computes on this operand as we do: a normal number or a zero.
#[inline]
fn host_operand<F: Format>(bits: u64) -> bool {
    let field = F::exponent_field(bits);
    field.wrapping_sub(1) < F::EXP_MAX - 1 || bits & !F::SIGN == 0
}

/// Whether a host result needs no second look: normal, and not one that may have been tiny before
/// it was rounded.
#[inline]
fn host_result<F: Format>(bits: u64) -> bool {
    F::exponent_field(bits).wrapping_sub(2) < F::EXP_MAX - 2
}

/// FPAdd.
#[inline]
pub fn fp_add<F: Arithmetic>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    if env.host_rounds_alike() && host_operand::<F>(a) && host_operand::<F>(b) {
        let sum = F::host_add(a, b);
        if host_result::<F>(sum) {
            return sum;
        }
    }
    add_soft::<F>(a, b, false, env)
}

/// FPSub.
#[inline]
pub fn fp_sub<F: Arithmetic>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    if env.host_rounds_alike() && host_operand::<F>(a) && host_operand::<F>(b) {
        let sum = F::host_add(a, b ^ F::SIGN);
        if host_result::<F>(sum) {
            return sum;
        }
    }
    add_soft::<F>(a, b, true, env)
}

#[inline(never)]
fn add_soft<F: Format>(a: u64, b: u64, negate: bool, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    let mut ub = fp_unpack::<F>(b, env);
    if let Some(nan) = fp_process_nans::<F, 2>([(a, ua), (b, ub)], env) {
        return nan;
    }
    ub.sign ^= negate;
    match (ua.is_infinity(), ub.is_infinity()) {
        (true, true) if ua.sign != ub.sign => return invalid::<F>(env),
        (true, _) => return F::infinity(ua.sign),
        (_, true) => return F::infinity(ub.sign),
        _ => {}
    }
    if ua.is_zero() && ub.is_zero() && ua.sign == ub.sign {
        return F::zero(ua.sign);
    }
    match Wide::from_operand(&ua).add(Wide::from_operand(&ub)) {
        None => F::zero(env.zero_sum_sign()),
        Some((sign, exponent, fraction)) => {
            fp_round::<F>(sign, exponent, fraction, env.rounding, env)
        }
    }
}

/// FPMul.
#[inline]
pub fn fp_mul<F: Arithmetic>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    if env.host_rounds_alike() && host_operand::<F>(a) && host_operand::<F>(b) {
        let product = F::host_mul(a, b);
        if host_result::<F>(product) {
            return product;
        }
    }
    mul_soft::<F>(a, b, false, env)
}

/// FPMulX: as FPMul, but zero times infinity is two.
pub fn fp_mulx<F: Arithmetic>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    mul_soft::<F>(a, b, true, env)
}

#[inline(never)]
fn mul_soft<F: Format>(a: u64, b: u64, extended: bool, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    let ub = fp_unpack::<F>(b, env);
    if let Some(nan) = fp_process_nans::<F, 2>([(a, ua), (b, ub)], env) {
        return nan;
    }
    let sign = ua.sign != ub.sign;
    let infinite = ua.is_infinity() || ub.is_infinity();
    let zero = ua.is_zero() || ub.is_zero();
    match (infinite, zero) {
        (true, true) if extended => F::power(sign, 1),
        (true, true) => invalid::<F>(env),
        (true, false) => F::infinity(sign),
        (false, true) => F::zero(sign),
        (false, false) => {
            let product = Wide::product(&ua, &ub);
            // The top bit is at 126, and the lowest bits are zero or sticky.
            let fraction = jam(product.mantissa << 1);
            fp_round::<F>(sign, product.exponent, fraction, env.rounding, env)
        }
    }
}

/// FPMulAdd: `addend + a * b`, rounded once.
#[inline(never)]
pub fn fp_mul_add<F: Format>(addend: u64, a: u64, b: u64, env: &mut FpEnv) -> u64 {
    let uc = fp_unpack::<F>(addend, env);
    let ua = fp_unpack::<F>(a, env);
    let ub = fp_unpack::<F>(b, env);
    let no_product = (ua.is_infinity() && ub.is_zero()) || (ua.is_zero() && ub.is_infinity());
    if let Some(nan) = fp_process_nans::<F, 3>([(addend, uc), (a, ua), (b, ub)], env) {
        // A quiet NaN addend does not hide that the product is invalid.
        return if uc.class == super::Class::QuietNan && no_product {
            invalid::<F>(env)
        } else {
            nan
        };
    }
    let sign = ua.sign != ub.sign;
    let infinite = ua.is_infinity() || ub.is_infinity();
    if no_product || (uc.is_infinity() && infinite && uc.sign != sign) {
        return invalid::<F>(env);
    }
    if uc.is_infinity() {
        return F::infinity(uc.sign);
    }
    if infinite {
        return F::infinity(sign);
    }
    if uc.is_zero() && (ua.is_zero() || ub.is_zero()) && uc.sign == sign {
        return F::zero(sign);
    }
    match Wide::from_operand(&uc).add(Wide::product(&ua, &ub)) {
        None => F::zero(env.zero_sum_sign()),
        Some((sign, exponent, fraction)) => {
            fp_round::<F>(sign, exponent, fraction, env.rounding, env)
        }
    }
}

/// FPDiv.
#[inline]
pub fn fp_div<F: Arithmetic>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    if env.host_rounds_alike() && host_operand::<F>(a) && host_operand::<F>(b) {
        let quotient = F::host_div(a, b);
        if host_result::<F>(quotient) {
            return quotient;
        }
    }
    div_soft::<F>(a, b, env)
}

#[inline(never)]
fn div_soft<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    let ub = fp_unpack::<F>(b, env);
    if let Some(nan) = fp_process_nans::<F, 2>([(a, ua), (b, ub)], env) {
        return nan;
    }
    let sign = ua.sign != ub.sign;
    if (ua.is_infinity() && ub.is_infinity()) || (ua.is_zero() && ub.is_zero()) {
        return invalid::<F>(env);
    }
    if ua.is_infinity() || ub.is_zero() {
        if !ua.is_infinity() {
            env.raise(DZC);
        }
        return F::infinity(sign);
    }
    if ua.is_zero() || ub.is_infinity() {
        return F::zero(sign);
    }
    let dividend = u128::from(ua.fraction) << 63;
    let divisor = u128::from(ub.fraction);
    let quotient = (dividend / divisor) as u64;
    let sticky = u64::from(dividend % divisor != 0);
    // Between a half and two: at most one leading zero.
    let shift = quotient.leading_zeros();
    let exponent = ua.exponent - ub.exponent - shift as i32;
    fp_round::<F>(
        sign,
        exponent,
        quotient << shift | sticky,
        env.rounding,
        env,
    )
}

/// FPSqrt.
#[inline]
pub fn fp_sqrt<F: Arithmetic>(a: u64, env: &mut FpEnv) -> u64 {
    if env.host_rounds_alike() && host_operand::<F>(a) && a & F::SIGN == 0 {
        let root = F::host_sqrt(a);
        if host_result::<F>(root) {
            return root;
        }
    }
    sqrt_soft::<F>(a, env)
}

#[inline(never)]
fn sqrt_soft<F: Format>(a: u64, env: &mut FpEnv) -> u64 {
    let ua = fp_unpack::<F>(a, env);
    if ua.is_nan() {
        return fp_process_nan::<F>(a, ua.class, env);
    }
    if ua.is_zero() {
        return F::zero(ua.sign);
    }
    if ua.sign {
        return invalid::<F>(env);
    }
    if ua.is_infinity() {
        return F::infinity(false);
    }
    // fraction * 2^(exponent - 63) = radicand * 2^(2 * half - 126), half the exponent rounded down.
    let half = ua.exponent.div_euclid(2);
    let radicand = u128::from(ua.fraction) << (63 + ua.exponent.rem_euclid(2));
    let root = radicand.isqrt();
    let sticky = u64::from(root * root != radicand);
    // The radicand's top bit is 126 or 127, so the root's is 63.
    fp_round::<F>(false, half, root as u64 | sticky, env.rounding, env)
}

/// FPRecipStepFused: `2 - a * b`, rounded once.
pub fn fp_recip_step_fused<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    step_fused::<F>(a, b, 2, env)
}

/// FPRSqrtStepFused: `(3 - a * b) / 2`, rounded once.
pub fn fp_rsqrt_step_fused<F: Format>(a: u64, b: u64, env: &mut FpEnv) -> u64 {
    step_fused::<F>(a, b, 3, env)
}

#[inline(never)]
fn step_fused<F: Format>(a: u64, b: u64, minuend: u64, env: &mut FpEnv) -> u64 {
    let halve = i32::from(minuend == 3);
    // Negated first of all: a NaN operand is propagated with its sign changed.
    let a = a ^ F::SIGN;
    let ua = fp_unpack::<F>(a, env);
    let ub = fp_unpack::<F>(b, env);
    if let Some(nan) = fp_process_nans::<F, 2>([(a, ua), (b, ub)], env) {
        return nan;
    }
    let infinite = ua.is_infinity() || ub.is_infinity();
    if infinite && (ua.is_zero() || ub.is_zero()) {
        // Two, or one and a half.
        return F::power(false, 1 - halve) | if halve != 0 { F::QUIET } else { 0 };
    }
    if infinite {
        return F::infinity(ua.sign != ub.sign);
    }
    let minuend = Wide {
        sign: false,
        exponent: 1,
        mantissa: u128::from(minuend) << 125,
    };
    match minuend.add(Wide::product(&ua, &ub)) {
        None => F::zero(env.zero_sum_sign()),
        Some((sign, exponent, fraction)) => {
            fp_round::<F>(sign, exponent - halve, fraction, env.rounding, env)
        }
    }
}

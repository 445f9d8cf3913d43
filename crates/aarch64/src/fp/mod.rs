//! Software floating point as Arm specifies it.
//!
//! Values travel as raw bits in the low end of a `u64`; the format is a type parameter. Every
//! function takes an [`FpEnv`]: the controls of FPCR, and FPSR to accumulate exceptions in. Trapped
//! exceptions are not implemented, so FPCR's trap enables have no effect here.
//!
//! DDI 0487, *Shared pseudocode functions*, shared/functions/float: FPUnpack, FPRound,
//! FPProcessNaNs and the functions named after each operation. Two points differ from other
//! architectures: tininess is detected before rounding, and a denormal input is flushed (and
//! reported) before anything else is asked of it.

mod arith;
mod compare;
mod convert;
mod estimate;
mod round;
#[cfg(test)]
mod tests;

pub use arith::{
    fp_add, fp_div, fp_mul, fp_mul_add, fp_mulx, fp_recip_step_fused, fp_rsqrt_step_fused, fp_sqrt,
    fp_sub,
};
pub use compare::{
    fp_compare, fp_compare_eq, fp_compare_ge, fp_compare_gt, fp_max, fp_max_num, fp_min, fp_min_num,
};
pub use convert::{fixed_to_fp, fp_convert, fp_round_int, fp_to_fixed};
pub use estimate::{
    fp_recip_estimate, fp_recpx, fp_rsqrt_estimate, unsigned_recip_estimate,
    unsigned_rsqrt_estimate,
};
pub use round::fp_round;

/// FPSR.IOC: invalid operation.
pub const IOC: u32 = 1 << 0;
/// FPSR.DZC: division by zero.
pub const DZC: u32 = 1 << 1;
/// FPSR.OFC: overflow.
pub const OFC: u32 = 1 << 2;
/// FPSR.UFC: underflow.
pub const UFC: u32 = 1 << 3;
/// FPSR.IXC: inexact.
pub const IXC: u32 = 1 << 4;
/// FPSR.IDC: a denormal input was flushed to zero.
pub const IDC: u32 = 1 << 7;
/// FPSR.QC: an Advanced SIMD integer operation saturated.
pub const QC: u32 = 1 << 27;

const FPCR_FZ: u32 = 1 << 24;
const FPCR_DN: u32 = 1 << 25;
const FPCR_AHP: u32 = 1 << 26;

/// How a result that cannot be represented is rounded (FPRounding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    TieEven,
    /// Towards plus infinity.
    PlusInfinity,
    /// Towards minus infinity.
    MinusInfinity,
    /// Towards zero.
    Zero,
    /// To nearest, ties away from zero: FCVTA* and FRINTA only.
    TieAway,
    /// Towards zero, then the lowest bit set if inexact: FCVTXN only.
    Odd,
}

/// FPCR's controls, and FPSR as exceptions accumulate.
#[derive(Clone, Copy, Debug)]
pub struct FpEnv {
    /// FPCR.RMode.
    pub rounding: Rounding,
    fpcr: u32,
    /// FPSR.
    pub fpsr: u32,
}

impl FpEnv {
    /// The environment for one instruction.
    #[inline]
    pub fn new(fpcr: u32, fpsr: u32) -> Self {
        let rounding = match fpcr >> 22 & 3 {
            0 => Rounding::TieEven,
            1 => Rounding::PlusInfinity,
            2 => Rounding::MinusInfinity,
            _ => Rounding::Zero,
        };
        Self {
            rounding,
            fpcr,
            fpsr,
        }
    }

    #[inline]
    fn flush_to_zero(&self) -> bool {
        self.fpcr & FPCR_FZ != 0
    }

    #[inline]
    fn default_nan(&self) -> bool {
        self.fpcr & FPCR_DN != 0
    }

    #[inline]
    fn alternative_half(&self) -> bool {
        self.fpcr & FPCR_AHP != 0
    }

    #[inline]
    fn raise(&mut self, flags: u32) {
        self.fpsr |= flags;
    }

    /// Whether the host's arithmetic may stand in for a normal result: rounding is the host's, and
    /// IXC is already set, so that nobody needs to know whether the result is exact.
    #[inline]
    fn host_rounds_alike(&self) -> bool {
        self.rounding == Rounding::TieEven && self.fpsr & IXC != 0
    }

    /// The sign of an exact zero sum of values with opposite signs.
    #[inline]
    fn zero_sum_sign(&self) -> bool {
        self.rounding == Rounding::MinusInfinity
    }
}

/// An IEEE 754 binary interchange format.
pub trait Format: Copy {
    /// Total width.
    const BITS: u32;
    /// Width of the fraction field.
    const FRAC: u32;

    /// Exponent bias.
    const BIAS: i32 = (1 << (Self::BITS - Self::FRAC - 2)) - 1;
    /// The exponent field of infinities and NaNs.
    const EXP_MAX: u64 = (1 << (Self::BITS - Self::FRAC - 1)) - 1;
    /// Mask of the fraction field.
    const FRAC_MASK: u64 = (1 << Self::FRAC) - 1;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::BITS - 1);
    /// Positive infinity.
    const INFINITY: u64 = Self::EXP_MAX << Self::FRAC;
    /// The bit that makes a NaN quiet.
    const QUIET: u64 = 1 << (Self::FRAC - 1);
    /// FPDefaultNaN.
    const DEFAULT_NAN: u64 = Self::INFINITY | Self::QUIET;

    /// A zero with a sign.
    #[inline]
    fn zero(sign: bool) -> u64 {
        if sign { Self::SIGN } else { 0 }
    }

    /// An infinity with a sign.
    #[inline]
    fn infinity(sign: bool) -> u64 {
        Self::zero(sign) | Self::INFINITY
    }

    /// The greatest finite magnitude with a sign.
    #[inline]
    fn max_normal(sign: bool) -> u64 {
        Self::zero(sign) | (Self::INFINITY - 1)
    }

    /// A power of two with a sign.
    #[inline]
    fn power(sign: bool, exponent: i32) -> u64 {
        Self::zero(sign) | ((exponent + Self::BIAS) as u64) << Self::FRAC
    }

    /// The exponent field.
    #[inline]
    fn exponent_field(bits: u64) -> u64 {
        bits >> Self::FRAC & Self::EXP_MAX
    }
}

/// A format with arithmetic, which the host has too.
pub trait Arithmetic: Format {
    /// Host addition.
    fn host_add(a: u64, b: u64) -> u64;
    /// Host multiplication.
    fn host_mul(a: u64, b: u64) -> u64;
    /// Host division.
    fn host_div(a: u64, b: u64) -> u64;
    /// Host square root.
    fn host_sqrt(a: u64) -> u64;
}

/// Half precision, for conversions only (FP16 arithmetic is an extension we do not have).
#[derive(Clone, Copy, Debug)]
pub struct F16;
/// Single precision.
#[derive(Clone, Copy, Debug)]
pub struct F32;
/// Double precision.
#[derive(Clone, Copy, Debug)]
pub struct F64;

impl Format for F16 {
    const BITS: u32 = 16;
    const FRAC: u32 = 10;
}

impl Format for F32 {
    const BITS: u32 = 32;
    const FRAC: u32 = 23;
}

impl Format for F64 {
    const BITS: u32 = 64;
    const FRAC: u32 = 52;
}

macro_rules! host_arithmetic {
    ($format:ty, $host:ty, $bits:ty) => {
        impl Arithmetic for $format {
            #[inline]
            fn host_add(a: u64, b: u64) -> u64 {
                (<$host>::from_bits(a as $bits) + <$host>::from_bits(b as $bits)).to_bits() as u64
            }
            #[inline]
            fn host_mul(a: u64, b: u64) -> u64 {
                (<$host>::from_bits(a as $bits) * <$host>::from_bits(b as $bits)).to_bits() as u64
            }
            #[inline]
            fn host_div(a: u64, b: u64) -> u64 {
                (<$host>::from_bits(a as $bits) / <$host>::from_bits(b as $bits)).to_bits() as u64
            }
            #[inline]
            fn host_sqrt(a: u64) -> u64 {
                <$host>::from_bits(a as $bits).sqrt().to_bits() as u64
            }
        }
    };
}

host_arithmetic!(F32, f32, u32);
host_arithmetic!(F64, f64, u64);

/// What kind of value an operand is (FPType). Denormals count as finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Zero,
    Finite,
    Infinity,
    QuietNan,
    SignalingNan,
}

/// An operand taken apart. If finite, its magnitude is `fraction * 2^(exponent - 63)`, with bit 63
/// of `fraction` set; otherwise both are zero.
#[derive(Clone, Copy, Debug)]
struct Unpacked {
    class: Class,
    sign: bool,
    exponent: i32,
    fraction: u64,
}

impl Unpacked {
    #[inline]
    fn is_nan(&self) -> bool {
        matches!(self.class, Class::QuietNan | Class::SignalingNan)
    }

    #[inline]
    fn is_infinity(&self) -> bool {
        self.class == Class::Infinity
    }

    #[inline]
    fn is_zero(&self) -> bool {
        self.class == Class::Zero
    }
}

/// FPUnpack, and FPUnpackCV for half precision (whose denormals FPCR.FZ does not touch).
#[inline]
fn fp_unpack<F: Format>(bits: u64, env: &mut FpEnv) -> Unpacked {
    let sign = bits & F::SIGN != 0;
    let field = F::exponent_field(bits);
    let fraction = bits & F::FRAC_MASK;
    let special = |class| Unpacked {
        class,
        sign,
        exponent: 0,
        fraction: 0,
    };
    if field == 0 {
        if fraction == 0 {
            return special(Class::Zero);
        }
        if F::BITS != 16 && env.flush_to_zero() {
            env.raise(IDC);
            return special(Class::Zero);
        }
        let shift = fraction.leading_zeros();
        return Unpacked {
            class: Class::Finite,
            sign,
            exponent: 64 - F::BIAS - (shift + F::FRAC) as i32,
            fraction: fraction << shift,
        };
    }
    if field == F::EXP_MAX && !(F::BITS == 16 && env.alternative_half()) {
        return special(if fraction == 0 {
            Class::Infinity
        } else if fraction & F::QUIET != 0 {
            Class::QuietNan
        } else {
            Class::SignalingNan
        });
    }
    Unpacked {
        class: Class::Finite,
        sign,
        exponent: field as i32 - F::BIAS,
        fraction: 1 << 63 | fraction << (63 - F::FRAC),
    }
}

/// FPProcessNaN.
fn fp_process_nan<F: Format>(bits: u64, class: Class, env: &mut FpEnv) -> u64 {
    if class == Class::SignalingNan {
        env.raise(IOC);
    }
    if env.default_nan() {
        F::DEFAULT_NAN
    } else {
        bits | F::QUIET
    }
}

/// FPProcessNaNs and FPProcessNaNs3: the first signaling NaN wins, then the first quiet one.
#[inline]
fn fp_process_nans<F: Format, const N: usize>(
    operands: [(u64, Unpacked); N],
    env: &mut FpEnv,
) -> Option<u64> {
    if !operands.iter().any(|(_, operand)| operand.is_nan()) {
        return None;
    }
    let (bits, operand) = operands
        .iter()
        .find(|(_, operand)| operand.class == Class::SignalingNan)
        .or_else(|| operands.iter().find(|(_, operand)| operand.is_nan()))?;
    Some(fp_process_nan::<F>(*bits, operand.class, env))
}

/// The result of an invalid operation.
fn invalid<F: Format>(env: &mut FpEnv) -> u64 {
    env.raise(IOC);
    F::DEFAULT_NAN
}

//! Oracles from outside: the host's IEEE arithmetic for rounding to nearest, `rustc_apfloat` (LLVM's
//! APFloat) for all roundings and for flags, and the reference code for the estimates that the
//! Armv7 manual printed in floating point.
//!
//! APFloat's underflow looks at the rounded result; Arm's looks before rounding, which is the same
//! as at the truncated result: the oracle's answer for rounding towards zero.

use super::*;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustc_apfloat::ieee::{Double, Half, Quad, Single};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

const ROUNDINGS: [(u32, Round); 4] = [
    (0, Round::NearestTiesToEven),
    (1, Round::TowardPositive),
    (2, Round::TowardNegative),
    (3, Round::TowardZero),
];

fn env(rmode: u32) -> FpEnv {
    FpEnv::new(rmode << 22, 0)
}

/// Bit patterns that crowd around the corners of a format.
fn operand<F: Format>(rng: &mut Xoshiro256PlusPlus) -> u64 {
    let one = F::BIAS as u64;
    let exponent = match rng.next_u32() % 12 {
        0 => 0,
        1 => F::EXP_MAX,
        2 => 1 + u64::from(rng.next_u32() % 3),
        3 => F::EXP_MAX - 1 - u64::from(rng.next_u32() % 3),
        4..8 => one - 3 + u64::from(rng.next_u32() % 7),
        8 => one + u64::from(F::FRAC) - 2 + u64::from(rng.next_u32() % 5),
        9 => one / 2 + u64::from(rng.next_u32() % 5),
        _ => rng.next_u64() & F::EXP_MAX,
    };
    let fraction = match rng.next_u32() % 8 {
        0 => 0,
        1 => u64::MAX,
        2 => 1,
        3 => F::QUIET,
        4 => 1 << (rng.next_u32() % F::FRAC),
        5 => rng.next_u64() << (F::FRAC / 2),
        _ => rng.next_u64(),
    };
    F::zero(rng.next_u32() & 1 != 0) | (exponent & F::EXP_MAX) << F::FRAC | fraction & F::FRAC_MASK
}

fn is_nan<F: Format>(bits: u64) -> bool {
    bits & !F::SIGN > F::INFINITY
}

/// An operand other than a NaN.
fn number<F: Format>(rng: &mut Xoshiro256PlusPlus) -> u64 {
    loop {
        let bits = operand::<F>(rng);
        if !is_nan::<F>(bits) {
            return bits;
        }
    }
}

/// FPSR as the oracle has it; `truncated` is the result rounded towards zero.
fn flags<F: Format>(status: Status, truncated: u64) -> u32 {
    let mut flags = 0;
    for (theirs, ours) in [
        (Status::INVALID_OP, IOC),
        (Status::DIV_BY_ZERO, DZC),
        (Status::OVERFLOW, OFC),
        (Status::INEXACT, IXC),
    ] {
        if status.contains(theirs) {
            flags |= ours;
        }
    }
    if flags & (IXC | OFC) == IXC && F::exponent_field(truncated) == 0 {
        flags |= UFC;
    }
    flags
}

/// Checks one of our operations against the oracle's, in all four roundings.
fn check<F: Format, A: Float>(
    what: &str,
    operands: &[u64],
    ours: impl Fn(&mut FpEnv) -> u64,
    oracle: impl Fn(Round) -> StatusAnd<A>,
) {
    let truncated = oracle(Round::TowardZero).value.to_bits() as u64;
    for (rmode, round) in ROUNDINGS {
        let StatusAnd { status, value } = oracle(round);
        let expected_flags = flags::<F>(status, truncated);
        // The second time with IXC set, which lets the host compute.
        for before in [0, IXC] {
            let mut env = FpEnv::new(rmode << 22, before);
            let result = ours(&mut env);
            if value.is_nan() {
                assert_eq!(result, F::DEFAULT_NAN, "{what} {operands:x?} {round:?}");
            } else {
                assert_eq!(
                    result,
                    value.to_bits() as u64,
                    "{what} {operands:x?} {round:?}"
                );
            }
            // An overflow that stops at the greatest number is none to APFloat.
            let known = if result & !F::SIGN == F::max_normal(false) {
                !OFC
            } else {
                !0
            };
            let expected = expected_flags | before;
            assert_eq!(
                env.fpsr & known,
                expected & known,
                "{what} {operands:x?} {round:?}"
            );
        }
    }
}

fn arithmetic_agrees<F: Arithmetic, A: Float>(seed: u64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let apfloat = |bits: u64| A::from_bits(bits.into());
    for _ in 0..100_000 {
        let (a, b, c) = (
            number::<F>(&mut rng),
            number::<F>(&mut rng),
            number::<F>(&mut rng),
        );
        let (x, y, z) = (apfloat(a), apfloat(b), apfloat(c));
        check::<F, A>(
            "add",
            &[a, b],
            |env| fp_add::<F>(a, b, env),
            |r| x.add_r(y, r),
        );
        check::<F, A>(
            "sub",
            &[a, b],
            |env| fp_sub::<F>(a, b, env),
            |r| x.sub_r(y, r),
        );
        check::<F, A>(
            "mul",
            &[a, b],
            |env| fp_mul::<F>(a, b, env),
            |r| x.mul_r(y, r),
        );
        check::<F, A>(
            "div",
            &[a, b],
            |env| fp_div::<F>(a, b, env),
            |r| x.div_r(y, r),
        );
        check::<F, A>(
            "mul_add",
            &[c, a, b],
            |env| fp_mul_add::<F>(c, a, b, env),
            |r| x.mul_add_r(y, z, r),
        );
        // Products that nearly cancel are rare among random operands.
        let near = fp_mul::<F>(a, b, &mut env(0)) ^ F::SIGN ^ u64::from(rng.next_u32() & 1);
        if !is_nan::<F>(near) {
            check::<F, A>(
                "mul_add that cancels",
                &[near, a, b],
                |env| fp_mul_add::<F>(near, a, b, env),
                |r| x.mul_add_r(y, apfloat(near), r),
            );
        }
    }
}

#[test]
fn single_arithmetic_agrees_with_apfloat() {
    arithmetic_agrees::<F32, Single>(1);
}

#[test]
fn double_arithmetic_agrees_with_apfloat() {
    arithmetic_agrees::<F64, Double>(2);
}

#[test]
fn arithmetic_agrees_with_the_host() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
    for _ in 0..100_000 {
        let (a, b) = (number::<F64>(&mut rng), number::<F64>(&mut rng));
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        for (ours, host) in [
            (fp_add::<F64>(a, b, &mut env(0)), x + y),
            (fp_sub::<F64>(a, b, &mut env(0)), x - y),
            (fp_mul::<F64>(a, b, &mut env(0)), x * y),
            (fp_div::<F64>(a, b, &mut env(0)), x / y),
            (fp_sqrt::<F64>(a, &mut env(0)), x.sqrt()),
            (
                fp_round_int::<F64>(a, Rounding::TieEven, false, &mut env(0)),
                x.round_ties_even(),
            ),
            (
                fp_round_int::<F64>(a, Rounding::TieAway, false, &mut env(0)),
                x.round(),
            ),
            (
                fixed_to_fp::<F64>((a as i64).into(), 0, &mut env(0)),
                a as i64 as f64,
            ),
        ] {
            assert!(
                ours == host.to_bits() || host.is_nan(),
                "{a:x} {b:x}: {ours:x} {host}"
            );
        }
        let (a, b) = (number::<F32>(&mut rng), number::<F32>(&mut rng));
        let (x, y) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
        for (ours, host) in [
            (fp_add::<F32>(a, b, &mut env(0)), x + y),
            (fp_mul::<F32>(a, b, &mut env(0)), x * y),
            (fp_div::<F32>(a, b, &mut env(0)), x / y),
            (fp_sqrt::<F32>(a, &mut env(0)), x.sqrt()),
        ] {
            assert!(
                ours == host.to_bits().into() || host.is_nan(),
                "{a:x} {b:x}: {ours:x} {host}"
            );
        }
    }
}

/// The square of a root is exact in quadruple precision, so that rounding can be judged by it.
fn sqrt_is_correctly_rounded<F: Arithmetic, A: Float + FloatConvert<Quad>>(seed: u64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let wide = |bits: u64| -> Quad { A::from_bits(bits.into()).convert(&mut false).value };
    for _ in 0..100_000 {
        let a = number::<F>(&mut rng) & !F::SIGN;
        if a == F::INFINITY || a == 0 {
            continue;
        }
        let mut down = env(3);
        let root = fp_sqrt::<F>(a, &mut down);
        let square = |root: u64| (wide(root) * wide(root)).value;
        assert!(
            square(root) <= wide(a) && wide(a) < square(root + 1),
            "sqrt {a:x}"
        );
        let exact = square(root) == wide(a);
        assert_eq!(down.fpsr, if exact { 0 } else { IXC });
        assert_eq!(fp_sqrt::<F>(a, &mut env(2)), root);
        assert_eq!(fp_sqrt::<F>(a, &mut env(1)), root + u64::from(!exact));
    }
}

#[test]
fn square_roots_are_correctly_rounded() {
    sqrt_is_correctly_rounded::<F32, Single>(4);
    sqrt_is_correctly_rounded::<F64, Double>(5);
}

fn conversion_agrees<F, T, A, B>(seed: u64)
where
    F: Format,
    T: Format,
    A: Float + FloatConvert<B>,
    B: Float,
{
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    for _ in 0..100_000 {
        let a = number::<F>(&mut rng);
        let x = A::from_bits(a.into());
        check::<T, B>(
            "convert",
            &[a],
            |env| fp_convert::<F, T>(a, env.rounding, env),
            |round| x.convert_r(round, &mut false),
        );
        // Round to odd: truncated, and the lowest bit set if that lost something.
        let StatusAnd { status, value } = x.convert_r(Round::TowardZero, &mut false);
        let inexact = status.intersects(Status::INEXACT | Status::OVERFLOW);
        assert_eq!(
            fp_convert::<F, T>(a, Rounding::Odd, &mut env(0)),
            value.to_bits() as u64 | u64::from(inexact)
        );
    }
}

#[test]
fn conversions_between_formats_agree_with_apfloat() {
    conversion_agrees::<F16, F32, Half, Single>(6);
    conversion_agrees::<F16, F64, Half, Double>(7);
    conversion_agrees::<F32, F16, Single, Half>(8);
    conversion_agrees::<F32, F64, Single, Double>(9);
    conversion_agrees::<F64, F16, Double, Half>(10);
    conversion_agrees::<F64, F32, Double, Single>(11);
}

fn integer_conversion_agrees<F: Format, A: Float>(seed: u64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let ways = [
        (Rounding::TieEven, Round::NearestTiesToEven),
        (Rounding::PlusInfinity, Round::TowardPositive),
        (Rounding::MinusInfinity, Round::TowardNegative),
        (Rounding::Zero, Round::TowardZero),
        (Rounding::TieAway, Round::NearestTiesToAway),
    ];
    for _ in 0..50_000 {
        let a = number::<F>(&mut rng);
        let x = A::from_bits(a.into());
        for (rounding, round) in ways {
            for width in [32, 64] {
                let mask = u64::MAX >> (64 - width);
                let mut unsigned = env(0);
                let ours = fp_to_fixed::<F>(a, width, 0, true, rounding, &mut unsigned);
                let oracle = x.to_u128_r(width as usize, round, &mut false);
                assert_eq!(ours, oracle.value as u64 & mask, "{a:x} {round:?} u{width}");
                assert_eq!(unsigned.fpsr, flags::<F>(oracle.status, F::INFINITY));

                let mut signed = env(0);
                let ours = fp_to_fixed::<F>(a, width, 0, false, rounding, &mut signed);
                let oracle = x.to_i128_r(width as usize, round, &mut false);
                assert_eq!(ours, oracle.value as u64 & mask, "{a:x} {round:?} i{width}");
                assert_eq!(signed.fpsr, flags::<F>(oracle.status, F::INFINITY));
            }
            let mut exact = env(0);
            let ours = fp_round_int::<F>(a, rounding, true, &mut exact);
            let oracle = x.round_to_integral(round);
            assert_eq!(ours, oracle.value.to_bits() as u64, "{a:x} {round:?}");
            assert_eq!(exact.fpsr, if ours == a { 0 } else { IXC });
        }
        let integer = rng.next_u64() >> (rng.next_u32() % 64);
        for value in [i128::from(integer), i128::from(integer as i64)] {
            check::<F, A>(
                "from integer",
                &[integer],
                |env| fixed_to_fp::<F>(value, 0, env),
                |round| A::from_i128_r(value, round),
            );
            check::<F, A>(
                "from fixed point",
                &[integer],
                |env| fixed_to_fp::<F>(value, 17, env),
                // Scaling by a power of two is exact, away from the ends of the range.
                |round| A::from_i128_r(value, round).map(|scaled| scaled.scalbn(-17)),
            );
        }
    }
}

#[test]
fn integer_conversions_agree_with_apfloat() {
    integer_conversion_agrees::<F32, Single>(12);
    integer_conversion_agrees::<F64, Double>(13);
}

#[test]
fn fraction_bits_scale_before_rounding() {
    let to_fixed = |a: f64, fraction_bits| {
        fp_to_fixed::<F64>(
            a.to_bits(),
            32,
            fraction_bits,
            false,
            Rounding::Zero,
            &mut env(0),
        )
    };
    assert_eq!(to_fixed(1.75, 1), 3);
    assert_eq!(to_fixed(-1.75, 1), -3i32 as u32 as u64);
    assert_eq!(to_fixed(1.75, 2), 7);
    assert_eq!(to_fixed(0.5, 32), 0x7fff_ffff);
}

fn comparison_agrees<F: Format>(seed: u64, value: impl Fn(u64) -> f64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    for _ in 0..100_000 {
        let (a, b) = (operand::<F>(&mut rng), operand::<F>(&mut rng));
        let b = if rng.next_u32().is_multiple_of(4) {
            a ^ (b & F::SIGN)
        } else {
            b
        };
        let (x, y) = (value(a), value(b));
        let expected = match x.partial_cmp(&y) {
            Some(std::cmp::Ordering::Less) => 0b1000,
            Some(std::cmp::Ordering::Equal) => 0b0110,
            Some(std::cmp::Ordering::Greater) => 0b0010,
            None => 0b0011,
        };
        assert_eq!(
            fp_compare::<F>(a, b, false, &mut env(0)),
            expected << 28,
            "{a:x} {b:x}"
        );
        assert_eq!(fp_compare_eq::<F>(a, b, &mut env(0)), x == y);
        assert_eq!(fp_compare_ge::<F>(a, b, &mut env(0)), x >= y);
        assert_eq!(fp_compare_gt::<F>(a, b, &mut env(0)), x > y);
        if x.is_nan() || y.is_nan() {
            continue;
        }
        let (max, min) = (
            fp_max::<F>(a, b, &mut env(0)),
            fp_min::<F>(a, b, &mut env(0)),
        );
        assert!(value(max) >= x && value(max) >= y && (value(max) == x || value(max) == y));
        assert!(value(min) <= x && value(min) <= y && (value(min) == x || value(min) == y));
        assert_eq!(fp_max_num::<F>(a, b, &mut env(0)), max);
        assert_eq!(fp_min_num::<F>(a, b, &mut env(0)), min);
    }
}

#[test]
fn comparisons_agree_with_the_host() {
    comparison_agrees::<F32>(14, |bits| f32::from_bits(bits as u32).into());
    comparison_agrees::<F64>(15, f64::from_bits);
}

#[test]
fn maximum_and_minimum_tell_zeros_apart() {
    let (plus, minus) = (0, F64::SIGN);
    assert_eq!(fp_max::<F64>(minus, plus, &mut env(0)), plus);
    assert_eq!(fp_max::<F64>(plus, minus, &mut env(0)), plus);
    assert_eq!(fp_max::<F64>(minus, minus, &mut env(0)), minus);
    assert_eq!(fp_min::<F64>(minus, plus, &mut env(0)), minus);
    assert_eq!(fp_min::<F64>(plus, minus, &mut env(0)), minus);
}

const QUIET: u64 = 0x7ff8_0000_0000_0123;
const OTHER_QUIET: u64 = 0xfff8_0000_0000_0456;
const SIGNALING: u64 = 0x7ff0_0000_0000_0789;
const ONE: u64 = 0x3ff0_0000_0000_0000;

#[test]
fn signaling_nans_come_before_quiet_ones() {
    let mut e = env(0);
    assert_eq!(fp_add::<F64>(QUIET, OTHER_QUIET, &mut e), QUIET);
    assert_eq!(fp_add::<F64>(ONE, OTHER_QUIET, &mut e), OTHER_QUIET);
    assert_eq!(e.fpsr, 0);
    assert_eq!(
        fp_add::<F64>(QUIET, SIGNALING, &mut e),
        SIGNALING | F64::QUIET
    );
    assert_eq!(e.fpsr, IOC);
}

#[test]
fn default_nan_replaces_every_nan() {
    let mut e = FpEnv::new(FPCR_DN, 0);
    assert_eq!(fp_mul::<F64>(OTHER_QUIET, ONE, &mut e), F64::DEFAULT_NAN);
    assert_eq!(e.fpsr, 0);
    assert_eq!(fp_mul::<F64>(SIGNALING, ONE, &mut e), F64::DEFAULT_NAN);
    assert_eq!(e.fpsr, IOC);
}

#[test]
fn invalid_product_overrides_a_quiet_addend() {
    let mut e = env(0);
    assert_eq!(
        fp_mul_add::<F64>(QUIET, F64::INFINITY, 0, &mut e),
        F64::DEFAULT_NAN
    );
    assert_eq!(e.fpsr, IOC);
    // A signaling one is propagated.
    let result = fp_mul_add::<F64>(SIGNALING, F64::INFINITY, 0, &mut env(0));
    assert_eq!(result, SIGNALING | F64::QUIET);
    // The addend comes first.
    assert_eq!(
        fp_mul_add::<F64>(QUIET, OTHER_QUIET, ONE, &mut env(0)),
        QUIET
    );
}

#[test]
fn only_a_lone_quiet_nan_loses_against_a_number() {
    assert_eq!(fp_max_num::<F64>(QUIET, ONE, &mut env(0)), ONE);
    assert_eq!(fp_min_num::<F64>(ONE, QUIET, &mut env(0)), ONE);
    assert_eq!(fp_max_num::<F64>(QUIET, OTHER_QUIET, &mut env(0)), QUIET);
    let mut e = env(0);
    assert_eq!(
        fp_max_num::<F64>(SIGNALING, ONE, &mut e),
        SIGNALING | F64::QUIET
    );
    assert_eq!(e.fpsr, IOC);
}

#[test]
fn zero_times_infinity_is_two_for_mulx() {
    let mut e = env(0);
    assert_eq!(
        fp_mulx::<F64>(F64::SIGN, F64::INFINITY, &mut e),
        (-2.0f64).to_bits()
    );
    assert_eq!(
        fp_recip_step_fused::<F64>(0, F64::INFINITY, &mut e),
        2.0f64.to_bits()
    );
    assert_eq!(
        fp_rsqrt_step_fused::<F64>(0, F64::INFINITY, &mut e),
        1.5f64.to_bits()
    );
    assert_eq!(e.fpsr, 0);
}

#[test]
fn step_instructions_round_once() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(16);
    let (two, three) = (
        Single::from_bits(0x4000_0000),
        Single::from_bits(0x4040_0000),
    );
    for _ in 0..100_000 {
        let (a, b) = (number::<F32>(&mut rng), number::<F32>(&mut rng));
        let (x, y) = (Single::from_bits(a.into()), Single::from_bits(b.into()));
        if (x.is_infinite() && y.is_zero()) || (x.is_zero() && y.is_infinite()) {
            continue;
        }
        check::<F32, Single>(
            "recps",
            &[a, b],
            |env| fp_recip_step_fused::<F32>(a, b, env),
            |round| (-x).mul_add_r(y, two, round),
        );
        // Halving is exact unless the difference is denormal or has overflowed.
        let difference = (-x).mul_add(y, three).value;
        if (2..0xfd).contains(&F32::exponent_field(difference.to_bits() as u64)) {
            check::<F32, Single>(
                "rsqrts",
                &[a, b],
                |env| fp_rsqrt_step_fused::<F32>(a, b, env),
                |round| {
                    (-x).mul_add_r(y, three, round)
                        .map(|value| value.scalbn(-1))
                },
            );
        }
    }
}

#[test]
fn denormal_inputs_are_flushed_and_reported() {
    let mut e = FpEnv::new(FPCR_FZ, 0);
    assert_eq!(fp_add::<F32>(1, 0x8000_0001, &mut e), 0);
    assert_eq!(e.fpsr, IDC);
    assert_eq!(fp_compare::<F32>(1, 0, false, &mut e), 0b0110 << 28);
    let mut e = FpEnv::new(FPCR_FZ, IXC);
    assert_eq!(fp_mul::<F64>(1, ONE, &mut e), 0);
    assert_eq!(e.fpsr, IDC | IXC);
    // Half precision is never flushed.
    let mut e = FpEnv::new(FPCR_FZ, 0);
    assert_eq!(
        fp_convert::<F16, F32>(1, Rounding::TieEven, &mut e),
        0x3380_0000
    );
    assert_eq!(e.fpsr, 0);
}

#[test]
fn tiny_results_are_flushed_without_being_inexact() {
    // The smallest normal, halved: exact, but denormal.
    let mut e = FpEnv::new(FPCR_FZ, 0);
    assert_eq!(fp_mul::<F32>(0x8080_0000, 0x3f00_0000, &mut e), 0x8000_0000);
    assert_eq!(e.fpsr, UFC);
    // Tiny before rounding, although it would round up to a normal number.
    let mut e = FpEnv::new(FPCR_FZ, IXC);
    assert_eq!(fp_mul::<F32>(0x00ff_ffff, 0x3f00_0000, &mut e), 0);
    assert_eq!(e.fpsr, UFC | IXC);
    let mut e = env(0);
    assert_eq!(fp_mul::<F32>(0x00ff_ffff, 0x3f00_0000, &mut e), 0x0080_0000);
    assert_eq!(e.fpsr, UFC | IXC);
}

#[test]
fn alternative_half_precision_has_no_infinities() {
    let narrow =
        |a: f32, e: &mut FpEnv| fp_convert::<F32, F16>(a.to_bits().into(), Rounding::TieEven, e);
    let mut e = FpEnv::new(FPCR_AHP, 0);
    assert_eq!(narrow(65536.0, &mut e), 0x7c00);
    assert_eq!(narrow(131_008.0, &mut e), 0x7fff);
    assert_eq!(
        fp_convert::<F16, F64>(0x7fff, Rounding::TieEven, &mut e),
        131_008f64.to_bits()
    );
    assert_eq!(e.fpsr, 0);
    for (a, expected) in [
        (131_072.0, 0x7fff),
        (f32::NEG_INFINITY, 0xffff),
        (f32::NAN, 0),
        (-f32::NAN, 0x8000),
    ] {
        let mut e = FpEnv::new(FPCR_AHP, 0);
        assert_eq!((narrow(a, &mut e), e.fpsr), (expected, IOC), "{a}");
    }
}

/// `recip_estimate` as the Armv7 manual gave it, in floating point.
fn reference_recip(a: f64) -> f64 {
    let quantum = (a * 512.0) as i32;
    let reciprocal = 1.0 / ((f64::from(quantum) + 0.5) / 512.0);
    f64::from((256.0 * reciprocal + 0.5) as i32) / 256.0
}

/// `recip_sqrt_estimate` as the Armv7 manual gave it, in floating point.
fn reference_rsqrt(a: f64) -> f64 {
    let steps = if a < 0.5 { 512.0 } else { 256.0 };
    let quantum = (a * steps) as i32;
    let root = 1.0 / ((f64::from(quantum) + 0.5) / steps).sqrt();
    f64::from((256.0 * root + 0.5) as i32) / 256.0
}

#[test]
fn estimates_agree_with_the_reference_code() {
    for top in 0..512u32 {
        let operand = top << 23 | 0x12_3456;
        let value = f64::from(operand) / 4_294_967_296.0;
        let scaled = |estimate: f64| (estimate * 2_147_483_648.0) as u32;
        let recip = if top < 256 {
            u32::MAX
        } else {
            scaled(reference_recip(value))
        };
        let rsqrt = if top < 128 {
            u32::MAX
        } else {
            scaled(reference_rsqrt(value))
        };
        assert_eq!(unsigned_recip_estimate(operand), recip, "{operand:x}");
        assert_eq!(unsigned_rsqrt_estimate(operand), rsqrt, "{operand:x}");
    }
    for step in 0..1024u32 {
        // Across [1/2, 2) in single precision, and the same in double.
        let single = f32::from_bits(0x3f00_0000 + (step << 14));
        let (bits, double) = (u64::from(single.to_bits()), f64::from(single));
        let mantissa = if single < 1.0 { double } else { double / 2.0 };
        let recip = reference_recip(mantissa) * if single < 1.0 { 1.0 } else { 0.5 };
        let estimate = fp_recip_estimate::<F32>(bits, &mut env(0));
        assert_eq!(estimate, u64::from((recip as f32).to_bits()));
        let estimate = fp_recip_estimate::<F64>(double.to_bits(), &mut env(0));
        assert_eq!(estimate, recip.to_bits());

        let quarter = if single < 1.0 { double } else { double / 4.0 };
        let rsqrt = reference_rsqrt(quarter) * if single < 1.0 { 1.0 } else { 0.5 };
        let estimate = fp_rsqrt_estimate::<F32>(bits, &mut env(0));
        assert_eq!(estimate, u64::from((rsqrt as f32).to_bits()));
        let estimate = fp_rsqrt_estimate::<F64>(double.to_bits(), &mut env(0));
        assert_eq!(estimate, rsqrt.to_bits());
    }
}

#[test]
fn estimates_at_the_ends_of_the_range() {
    let recip = |bits, fpcr| {
        let mut env = FpEnv::new(fpcr, 0);
        (fp_recip_estimate::<F32>(bits, &mut env), env.fpsr)
    };
    // 2^-129 is too small, 2^-128 is not.
    assert_eq!(recip(0x0010_0000, 0), (0x7f80_0000, OFC | IXC));
    assert_eq!(recip(0x8010_0000, 1 << 22), (0xff7f_ffff, OFC | IXC));
    assert_eq!(recip(0x0020_0000, 0), (0x7f7f_8000, 0));
    // 2^127 has a denormal reciprocal.
    assert_eq!(recip(0x7f00_0000, 0), (0x003f_e000, 0));
    assert_eq!(recip(0x7f00_0000, FPCR_FZ), (0, UFC));
    assert_eq!(recip(0, 0), (0x7f80_0000, DZC));
    let mut e = env(0);
    assert_eq!(fp_rsqrt_estimate::<F32>(0x8000_0000, &mut e), 0xff80_0000);
    assert_eq!(fp_rsqrt_estimate::<F32>(0xbf80_0000, &mut e), 0x7fc0_0000);
    assert_eq!(e.fpsr, DZC | IOC);
    // 2^-149 is the smallest denormal: its root's reciprocal is about 2^74.5.
    assert_eq!(fp_rsqrt_estimate::<F32>(1, &mut env(0)), 0x64b4_8000);
    assert_eq!(fp_recpx::<F32>(0x3f80_0000, &mut env(0)), 0x4000_0000);
    assert_eq!(fp_recpx::<F32>(0x8000_0000, &mut env(0)), 0xff00_0000);
}

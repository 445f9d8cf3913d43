//! Operands with a bias towards the corners.

use crate::rng::Rng;

/// An integer register: half of them corner cases of one width or another.
pub(crate) fn integer(rng: &mut Rng) -> u64 {
    match rng.below(10) {
        0 => rng.pick(&[0, 1, u64::MAX, 1 << 63, i64::MAX as u64, 2, u64::MAX - 1]),
        1 => rng.pick(&[
            1 << 31,
            (1 << 31) - 1,
            0xffff_ffff,
            1 << 32,
            !0 << 31,
            !0 << 32,
        ]),
        2 => 1 << rng.below(64),
        3 => (1u64 << rng.below(64)).wrapping_sub(1),
        4 => u64::MAX << rng.below(64),
        5 => rng.below(256),
        6 => rng.below(256).wrapping_neg(),
        7 => rng.next() & 0xffff_ffff,
        _ => rng.next(),
    }
}

/// Widths of the exponent and fraction of a floating-point format.
#[derive(Clone, Copy)]
struct Format {
    exponent: u32,
    fraction: u32,
}

const HALF: Format = Format {
    exponent: 5,
    fraction: 10,
};
const SINGLE: Format = Format {
    exponent: 8,
    fraction: 23,
};
const DOUBLE: Format = Format {
    exponent: 11,
    fraction: 52,
};

fn float(rng: &mut Rng, f: Format) -> u64 {
    let fraction_mask = (1u64 << f.fraction) - 1;
    let exponent_max = (1u64 << f.exponent) - 1;
    let bias = (exponent_max >> 1) as i64;
    let quiet = 1u64 << (f.fraction - 1);
    let sign = rng.bits(1) << (f.exponent + f.fraction);
    let pack = |exponent: i64, fraction: u64| {
        let exponent = (exponent + bias).clamp(0, exponent_max as i64) as u64;
        exponent << f.fraction | fraction & fraction_mask
    };
    let fraction = fraction(rng, f);
    let magnitude = match rng.below(20) {
        0 => 0,
        1 => exponent_max << f.fraction,
        2 => exponent_max << f.fraction | quiet | fraction,
        // A signalling NaN needs a payload: without one it is an infinity.
        3 => exponent_max << f.fraction | (fraction & !quiet).max(1),
        4 => exponent_max << f.fraction | quiet,
        // Denormals, and the least and greatest of denormals and normals.
        5 | 6 => fraction,
        7 => rng.pick(&[
            1,
            fraction_mask,
            1 << f.fraction,
            (1 << f.fraction) + 1,
            (exponent_max << f.fraction) - 1,
            (exponent_max - 1) << f.fraction,
        ]),
        // About one.
        8 => pack(0, 0).wrapping_add(rng.below(5)).wrapping_sub(2),
        // Where conversions to integers saturate: to within a unit in the last place, or by one.
        9 if rng.percent(50) => {
            let edge = rng.pick(&[31, 32, 63, 64, 15, 16, 7, 8]);
            pack(edge, 0).wrapping_add(rng.below(5)).wrapping_sub(2)
        }
        9 => {
            let integer = (1u64 << rng.pick(&[31, 32, 63, 7, 8])) + rng.below(5) - 2;
            let exponent = integer.ilog2();
            let below = integer ^ 1 << exponent;
            let fraction = (u128::from(below) << f.fraction) >> exponent;
            pack(i64::from(exponent), fraction as u64)
        }
        // n + 1/2 and its neighbours, for rounding to integral.
        10 => {
            let exponent = rng.below(u64::from(f.fraction)) as u32;
            let half = 1u64 << (f.fraction - exponent - 1).min(f.fraction - 1);
            let whole = fraction & !(half | (half - 1));
            pack(i64::from(exponent), whole | half)
                .wrapping_add(rng.below(3))
                .wrapping_sub(1)
        }
        11 => pack(rng.below(2 * bias as u64) as i64 - bias, 0),
        // Around the edges of the narrower formats.
        12 => pack(
            -rng.pick(&[14, 15, 24, 25, 26, 126, 127, 149, 150, 151]),
            fraction,
        ),
        13 => pack(rng.pick(&[15, 16, 127, 128]), fraction),
        14..=16 => pack(rng.below(9) as i64 - 4, fraction),
        17 => pack(
            rng.below(2 * u64::from(f.fraction)) as i64 - i64::from(f.fraction),
            fraction,
        ),
        _ => rng.bits(f.exponent + f.fraction),
    };
    sign | magnitude & ((1 << (f.exponent + f.fraction)) - 1)
}

/// Fractions: uniform, sparse at either end, or just at a tie of a narrower format.
fn fraction(rng: &mut Rng, f: Format) -> u64 {
    let mask = (1u64 << f.fraction) - 1;
    let value = match rng.below(6) {
        0 => rng.bits(4),
        1 => rng.bits(4) << (f.fraction - 4),
        2 => mask << rng.below(u64::from(f.fraction)),
        3 if f.fraction > 13 => {
            let dropped = f.fraction
                - if f.fraction == 52 && rng.percent(70) {
                    23
                } else {
                    10
                };
            let kept = rng.next() & !((1 << dropped) - 1);
            kept.wrapping_add(1 << (dropped - 1))
                .wrapping_add(rng.below(3))
                .wrapping_sub(1)
        }
        _ => rng.next(),
    };
    value & mask
}

fn lanes(rng: &mut Rng, bits: u32, mut lane: impl FnMut(&mut Rng) -> u64) -> u128 {
    (0..128 / bits).fold(0, |value, i| value | u128::from(lane(rng)) << (i * bits))
}

/// A lane that stands in some relation to another: equal, opposite or one unit apart, as
/// cancellation and comparison need it; or such that their product or quotient comes to lie at the
/// edge of what is tiny or of what is too great.
fn related(rng: &mut Rng, bits: u32, other: u64) -> u64 {
    let f = match bits {
        16 => HALF,
        32 => SINGLE,
        _ => DOUBLE,
    };
    let mask = u64::MAX >> (64 - bits);
    let changed = match rng.below(6) {
        0 => other ^ 1 << (bits - 1),
        1 => other.wrapping_add(1),
        2 => other.wrapping_sub(1),
        3 => other,
        _ => {
            let exponent_max = (1i64 << f.exponent) - 1;
            let bias = exponent_max >> 1;
            let exponent = (other >> f.fraction) as i64 & exponent_max;
            // Exponent field that the result is to have, or nearly.
            let wanted = rng.pick(&[-1, 0, 1, exponent_max - 1, exponent_max]);
            let own = match rng.below(3) {
                0 => exponent - wanted + bias,
                _ => wanted - exponent + bias,
            };
            let fraction = match rng.below(4) {
                0 => 0,
                1 => u64::MAX,
                2 => rng.below(5).wrapping_sub(2),
                _ => rng.next(),
            };
            let own = own.clamp(0, exponent_max - 1) as u64;
            own << f.fraction | fraction & ((1 << f.fraction) - 1) | rng.bits(1) << (bits - 1)
        }
    };
    changed & mask
}

/// A vector register, given those drawn before it.
pub(crate) fn vector(rng: &mut Rng, before: &[u128]) -> u128 {
    if !before.is_empty() && rng.percent(30) {
        let other = rng.pick(before);
        let bits = rng.pick(&[16, 32, 64, 64]);
        return (0..128 / bits).fold(0, |value, i| {
            let lane = (other >> (i * bits)) as u64 & (u64::MAX >> (64 - bits));
            value | u128::from(related(rng, bits, lane)) << (i * bits)
        });
    }
    match rng.below(11) {
        0 | 1 => lanes(rng, 16, |rng| float(rng, HALF)),
        2 | 3 => lanes(rng, 32, |rng| float(rng, SINGLE)),
        4..=6 => lanes(rng, 64, |rng| float(rng, DOUBLE)),
        7 => lanes(rng, 64, integer),
        8 => {
            let bits = rng.pick(&[8, 16, 32]);
            lanes(rng, bits, |rng| match rng.below(4) {
                0 => rng.pick(&[
                    0,
                    1,
                    (1 << bits) - 1,
                    1 << (bits - 1),
                    (1 << (bits - 1)) - 1,
                ]),
                _ => rng.bits(bits),
            })
        }
        9 => {
            // What shifts by register take: about nothing, a lane's width, or its opposite.
            let bits = rng.pick(&[8, 16, 32, 64]);
            lanes(rng, bits, |rng| {
                let about = rng.pick(&[0, 0, 8, 16, 32, 64, 127]);
                let amount = about + rng.below(5) as i64 - 2;
                let amount = if rng.percent(50) { -amount } else { amount };
                let amount = amount as u64 & (u64::MAX >> (64 - bits));
                // Only the lowest byte counts.
                if rng.percent(30) {
                    amount & 0xff | rng.bits(bits) & !0xff
                } else {
                    amount
                }
            })
        }
        _ => u128::from(rng.next()) << 64 | u128::from(rng.next()),
    }
}

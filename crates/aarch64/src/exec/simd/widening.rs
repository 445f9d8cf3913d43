//! Operations between elements of one width and of twice that width, and reductions.

use super::integer::polynomial_mul;
use super::lanes::{
    bits, element, elements, evens, mask64, odds, saturate_signed, saturate_unsigned, sign_extend,
    signed, signed_wide, spread, spread_signed, unsigned, unsigned_wide,
};
use super::{set, set_part, shift, v};
use crate::cpu::Cpu;
use crate::decode::simd::{Across, Narrow, ThreeDifferent};
use crate::fp::QC;

/// *Three different*, and its form by element: `high` uses the upper halves of what is narrow.
pub(super) fn three_different(
    cpu: &mut Cpu,
    op: ThreeDifferent,
    log2: u8,
    high: bool,
    rd: u8,
    a: u128,
    b: u128,
) {
    use ThreeDifferent::{Addhn, Raddhn, Rsubhn, Saddw, Ssubw, Subhn, Uaddw, Usubw};
    let half = |value: u128| {
        if high {
            (value >> 64) as u64
        } else {
            value as u64
        }
    };
    let wide = log2 + 1;
    let result = match op {
        Addhn | Raddhn | Subhn | Rsubhn => {
            let round = if matches!(op, Raddhn | Rsubhn) {
                1 << (bits(log2) - 1)
            } else {
                0
            };
            let sum = if matches!(op, Addhn | Raddhn) {
                unsigned(wide, a, b, |a, b| a.wrapping_add(b).wrapping_add(round))
            } else {
                unsigned(wide, a, b, |a, b| a.wrapping_sub(b).wrapping_add(round))
            };
            set_part(cpu, rd, high, odds(sum, log2));
            return;
        }
        Saddw => unsigned(wide, a, spread_signed(half(b), log2), u64::wrapping_add),
        Uaddw => unsigned(wide, a, spread(half(b), log2), u64::wrapping_add),
        Ssubw => unsigned(wide, a, spread_signed(half(b), log2), u64::wrapping_sub),
        Usubw => unsigned(wide, a, spread(half(b), log2), u64::wrapping_sub),
        _ => {
            let (value, saturated) = long(op, log2, v(cpu, rd), half(a), half(b));
            if saturated {
                cpu.state.fpsr |= QC;
            }
            value
        }
    };
    set(cpu, rd, 4, result);
}

/// Operations from narrow operands to a wide result; whether an element saturated.
pub(super) fn long(op: ThreeDifferent, log2: u8, d: u128, a: u64, b: u64) -> (u128, bool) {
    use ThreeDifferent::{
        Pmull, Sabal, Sabdl, Saddl, Smlal, Smlsl, Smull, Sqdmlal, Sqdmlsl, Sqdmull, Ssubl, Uabal,
        Uabdl, Uaddl, Umlal, Umlsl, Usubl,
    };
    let wide = log2 + 1;
    let width = bits(wide);
    let is_signed = matches!(
        op,
        Saddl | Ssubl | Sabal | Sabdl | Smlal | Smlsl | Smull | Sqdmlal | Sqdmlsl | Sqdmull
    );
    let (a, b) = if is_signed {
        (spread_signed(a, log2), spread_signed(b, log2))
    } else {
        (spread(a, log2), spread(b, log2))
    };
    let mut qc = false;
    // Extended operands cannot overflow in twice their width, save where saturation is asked for.
    let value = match op {
        Saddl | Uaddl => unsigned(wide, a, b, u64::wrapping_add),
        Ssubl | Usubl => unsigned(wide, a, b, u64::wrapping_sub),
        Sabdl | Uabdl => signed(wide, a, b, |a, b| (a - b).abs()),
        Sabal | Uabal => signed(
            wide,
            d,
            signed(wide, a, b, |a, b| (a - b).abs()),
            i64::wrapping_add,
        ),
        Smlal | Umlal => unsigned(
            wide,
            d,
            unsigned(wide, a, b, u64::wrapping_mul),
            u64::wrapping_add,
        ),
        Smlsl | Umlsl => unsigned(
            wide,
            d,
            unsigned(wide, a, b, u64::wrapping_mul),
            u64::wrapping_sub,
        ),
        Sqdmull | Sqdmlal | Sqdmlsl => {
            let product = signed_wide(wide, a, b, |a, b| {
                saturate_signed(2 * a * b, width, &mut qc)
            });
            match op {
                Sqdmull => product,
                Sqdmlal => signed_wide(wide, d, product, |d, product| {
                    saturate_signed(d + product, width, &mut qc)
                }),
                _ => signed_wide(wide, d, product, |d, product| {
                    saturate_signed(d - product, width, &mut qc)
                }),
            }
        }
        Pmull => unsigned(wide, a, b, polynomial_mul),
        _ => unsigned(wide, a, b, u64::wrapping_mul),
    };
    (value, qc)
}

/// XTN, SHRN and their rounding and saturating relatives.
pub(super) fn narrow(
    cpu: &mut Cpu,
    op: Narrow,
    (log2, width, high): (u8, u8, bool),
    shift: u32,
    rd: u8,
    rn: u8,
) {
    let a = v(cpu, rn);
    let wide = log2 + 1;
    let target = bits(log2);
    let mut qc = false;
    // A scalar is one element: what lies above must not saturate.
    let a = if width == 3 {
        a
    } else {
        element(a, wide, 0).into()
    };
    let shifted = |value: i128| value >> shift;
    let rounded = |value: i128| shift::rounding_right(value, shift);
    let lanes = match op {
        // Neighbours' bits that come in from above end up in what is cut off.
        Narrow::Cut => a >> shift,
        Narrow::RoundCut => {
            let round = 1 << (shift - 1);
            unsigned(wide, a, 0, |a, _| a.wrapping_add(round)) >> shift
        }
        Narrow::Signed => signed_wide(wide, a, 0, |a, _| {
            saturate_signed(shifted(a), target, &mut qc)
        }),
        Narrow::RoundSigned => signed_wide(wide, a, 0, |a, _| {
            saturate_signed(rounded(a), target, &mut qc)
        }),
        Narrow::Unsigned => unsigned_wide(wide, a, 0, |a, _| {
            saturate_unsigned(shifted(a), target, &mut qc)
        }),
        Narrow::RoundUnsigned => unsigned_wide(wide, a, 0, |a, _| {
            saturate_unsigned(rounded(a), target, &mut qc)
        }),
        Narrow::SignedToUnsigned => signed_wide(wide, a, 0, |a, _| {
            saturate_unsigned(shifted(a), target, &mut qc)
        }),
        Narrow::RoundSignedToUnsigned => signed_wide(wide, a, 0, |a, _| {
            saturate_unsigned(rounded(a), target, &mut qc)
        }),
    };
    if qc {
        cpu.state.fpsr |= QC;
    }
    let value = evens(lanes, log2);
    if width == 3 {
        set_part(cpu, rd, high, value);
    } else {
        set(cpu, rd, width, value.into());
    }
}

/// SSHLL, USHLL and SHLL.
pub(super) fn widen(is_signed: bool, log2: u8, shift: u32, a: u64) -> u128 {
    let wide = if is_signed {
        spread_signed(a, log2)
    } else {
        spread(a, log2)
    };
    unsigned(log2 + 1, wide, 0, |a, _| a << shift)
}

/// Reductions of a vector to one element.
pub(super) fn across(op: Across, log2: u8, width: u8, a: u128) -> u128 {
    let all = elements(a, log2, width);
    let all_signed = elements(a, log2, width).map(|lane| sign_extend(lane, bits(log2)));
    let narrow = mask64(log2);
    let value = match op {
        Across::Addv => all.sum::<u64>() & narrow,
        Across::Uaddlv => all.sum(),
        Across::Saddlv => all_signed.sum::<i64>() as u64 & mask64(log2 + 1),
        Across::Umaxv => all.max().unwrap_or(0),
        Across::Uminv => all.min().unwrap_or(0),
        Across::Smaxv => all_signed.max().unwrap_or(0) as u64 & narrow,
        Across::Sminv => all_signed.min().unwrap_or(0) as u64 & narrow,
    };
    value.into()
}

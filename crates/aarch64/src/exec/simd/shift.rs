//! Shifts by register and by immediate.

use super::lanes::{
    bits, mask64, saturate_signed, saturate_unsigned, signed, signed_wide, unsigned, unsigned_wide,
};
use crate::decode::simd::Shift;

/// Shifts by the low byte of `amount`, to the right if it is negative.
///
/// 64 places are enough to lose every bit of an element; to the left, those of 127 stay: no element
/// survives there either, but whether it was zero can be told.
#[inline(always)]
pub(super) fn by_register(value: i128, amount: i64) -> i128 {
    match amount as i8 {
        left @ 0..64 => value << left,
        64.. if value == 0 => 0,
        64.. => saturating_far(value),
        right => value >> (-i32::from(right)).min(64),
    }
}

/// As [`by_register`], rounding to nearest when shifting right.
#[inline(always)]
pub(super) fn by_register_rounding(value: i128, amount: i64) -> i128 {
    match amount as i8 {
        // Half of the last place is more than any element.
        i8::MIN..-64 => 0,
        right @ -64..0 => {
            let right = -i32::from(right);
            (value + (1 << (right - 1))) >> right
        }
        _ => by_register(value, amount),
    }
}

/// A value with the sign of `value` that is beyond any element, and zero in its lower 64 bits.
#[inline(always)]
fn saturating_far(value: i128) -> i128 {
    if value < 0 { -(1 << 100) } else { 1 << 100 }
}

/// Logical shift right, also by the full width.
#[inline(always)]
fn logical_right(value: u64, shift: u32) -> u64 {
    value.checked_shr(shift).unwrap_or(0)
}

/// Arithmetic shift right, also by the full width.
#[inline(always)]
fn arithmetic_right(value: i64, shift: u32) -> i64 {
    value >> shift.min(63)
}

/// Shift right, rounding to nearest.
#[inline(always)]
pub(super) fn rounding_right(value: i128, shift: u32) -> i128 {
    (value + (1 << (shift - 1))) >> shift
}

/// The result, and whether an element saturated.
pub(super) fn immediate(op: Shift, log2: u8, shift: u32, d: u128, a: u128) -> (u128, bool) {
    let width = bits(log2);
    let mut qc = false;
    let value = match op {
        Shift::Sshr => signed(log2, a, 0, |a, _| arithmetic_right(a, shift)),
        Shift::Ushr => unsigned(log2, a, 0, |a, _| logical_right(a, shift)),
        Shift::Ssra => signed(log2, d, a, |d, a| {
            d.wrapping_add(arithmetic_right(a, shift))
        }),
        Shift::Usra => unsigned(log2, d, a, |d, a| d.wrapping_add(logical_right(a, shift))),
        Shift::Srshr => signed_wide(log2, a, 0, |a, _| rounding_right(a, shift)),
        Shift::Urshr => unsigned_wide(log2, a, 0, |a, _| rounding_right(a, shift)),
        Shift::Srsra => signed_wide(log2, d, a, |d, a| d + rounding_right(a, shift)),
        Shift::Ursra => unsigned_wide(log2, d, a, |d, a| d + rounding_right(a, shift)),
        Shift::Sri => {
            let kept = !logical_right(mask64(log2), shift);
            unsigned(log2, d, a, |d, a| d & kept | logical_right(a, shift))
        }
        Shift::Shl => unsigned(log2, a, 0, |a, _| a << shift),
        Shift::Sli => {
            let kept = (1u64 << shift) - 1;
            unsigned(log2, d, a, |d, a| d & kept | a << shift)
        }
        Shift::Sqshlu => signed_wide(log2, a, 0, |a, _| {
            saturate_unsigned(a << shift, width, &mut qc)
        }),
        Shift::Sqshl => signed_wide(log2, a, 0, |a, _| {
            saturate_signed(a << shift, width, &mut qc)
        }),
        Shift::Uqshl => unsigned_wide(log2, a, 0, |a, _| {
            saturate_unsigned(a << shift, width, &mut qc)
        }),
    };
    (value, qc)
}

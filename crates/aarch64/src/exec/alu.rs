//! Arithmetic shared by instructions, named after the manual's pseudocode (DDI 0487, *Shared
//! pseudocode* and *A64 pseudocode*).

use crate::decode::{ExtendKind, ShiftKind};

/// Condition flags from their parts, where [`Cpu::nzcv`](crate::Cpu::nzcv) has them.
#[inline(always)]
fn flags(n: bool, z: bool, c: bool, v: bool) -> u32 {
    u32::from(n) << 31 | u32::from(z) << 30 | u32::from(c) << 29 | u32::from(v) << 28
}

/// Flags of a logical operation: C and V are cleared.
#[inline(always)]
pub(super) fn logical_flags_x(result: u64) -> u32 {
    flags(result >> 63 != 0, result == 0, false, false)
}

#[inline(always)]
pub(super) fn logical_flags_w(result: u32) -> u32 {
    flags(result >> 31 != 0, result == 0, false, false)
}

/// `AddWithCarry` on 64 bits.
#[inline(always)]
pub(super) fn add_with_carry_x(x: u64, y: u64, carry: bool) -> (u64, u32) {
    let (sum, first) = x.overflowing_add(y);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    let overflow = ((x ^ sum) & (y ^ sum)) >> 63 != 0;
    (
        sum,
        flags(sum >> 63 != 0, sum == 0, first | second, overflow),
    )
}

/// `AddWithCarry` on 32 bits.
#[inline(always)]
pub(super) fn add_with_carry_w(x: u32, y: u32, carry: bool) -> (u32, u32) {
    let (sum, first) = x.overflowing_add(y);
    let (sum, second) = sum.overflowing_add(u32::from(carry));
    let overflow = ((x ^ sum) & (y ^ sum)) >> 31 != 0;
    (
        sum,
        flags(sum >> 31 != 0, sum == 0, first | second, overflow),
    )
}

/// `AddWithCarry(x, NOT(y), '1')`: what compares and subtractions ask for, in fewer steps.
#[inline(always)]
pub(super) fn subtract_x(x: u64, y: u64) -> (u64, u32) {
    let (result, overflow) = (x as i64).overflowing_sub(y as i64);
    (
        result as u64,
        flags(result < 0, result == 0, x >= y, overflow),
    )
}

#[inline(always)]
pub(super) fn subtract_w(x: u32, y: u32) -> (u32, u32) {
    let (result, overflow) = (x as i32).overflowing_sub(y as i32);
    (
        result as u32,
        flags(result < 0, result == 0, x >= y, overflow),
    )
}

/// `ConditionHolds`, with the condition as the set of the NZCV that satisfy it.
#[inline(always)]
pub(super) fn condition_holds(conditions: u16, nzcv: u32) -> bool {
    conditions >> (nzcv >> 28) & 1 != 0
}

/// `ShiftReg` on 64 bits, of a value rather than a register. The amount is taken modulo 64.
#[inline(always)]
pub(super) fn shift_x(value: u64, kind: ShiftKind, amount: u32) -> u64 {
    match kind {
        ShiftKind::Lsl => value.wrapping_shl(amount),
        ShiftKind::Lsr => value.wrapping_shr(amount),
        ShiftKind::Asr => (value as i64).wrapping_shr(amount) as u64,
        ShiftKind::Ror => value.rotate_right(amount & 63),
    }
}

/// `ShiftReg` on 32 bits. The amount is taken modulo 32.
#[inline(always)]
pub(super) fn shift_w(value: u32, kind: ShiftKind, amount: u32) -> u32 {
    match kind {
        ShiftKind::Lsl => value.wrapping_shl(amount),
        ShiftKind::Lsr => value.wrapping_shr(amount),
        ShiftKind::Asr => (value as i32).wrapping_shr(amount) as u32,
        ShiftKind::Ror => value.rotate_right(amount & 31),
    }
}

/// `ExtendReg`, of a value rather than a register.
#[inline(always)]
pub(super) fn extend(value: u64, kind: ExtendKind, shift: u8) -> u64 {
    let extended = match kind {
        ExtendKind::Uxtb => u64::from(value as u8),
        ExtendKind::Uxth => u64::from(value as u16),
        ExtendKind::Uxtw => u64::from(value as u32),
        ExtendKind::Uxtx | ExtendKind::Sxtx => value,
        ExtendKind::Sxtb => value as i8 as u64,
        ExtendKind::Sxth => value as i16 as u64,
        ExtendKind::Sxtw => value as i32 as u64,
    };
    extended.wrapping_shl(shift.into())
}

/// `Poly32Mod2` for one byte, for each value of the byte, of a polynomial in reflected bit order.
const fn crc_table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let out = remainder & 1;
            remainder = (remainder >> 1) ^ (polynomial * out);
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// 0x04c11db7, reflected.
static CRC32_TABLE: [u32; 256] = crc_table(0xedb8_8320);
/// 0x1edc6f41, reflected.
static CRC32C_TABLE: [u32; 256] = crc_table(0x82f6_3b78);

/// CRC32 and CRC32C over the low `bytes` of `value`.
pub(super) fn crc32(castagnoli: bool, accumulator: u32, value: u64, bytes: u64) -> u32 {
    let table = if castagnoli {
        &CRC32C_TABLE
    } else {
        &CRC32_TABLE
    };
    value
        .to_le_bytes()
        .iter()
        .take(bytes as usize)
        .fold(accumulator, |crc, byte| {
            (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)]
        })
}

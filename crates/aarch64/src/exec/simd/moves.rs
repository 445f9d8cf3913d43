//! Bitwise operations, immediates, permutations and table lookup.

use super::lanes::{MASKS, transpose, unzip, zip};
use super::v;
use crate::cpu::Cpu;
use crate::decode::simd::{ImmediateOp, Logical, Permute};

#[inline(always)]
pub(super) fn logical(op: Logical, d: u128, a: u128, b: u128) -> u128 {
    match op {
        Logical::And => a & b,
        Logical::Bic => a & !b,
        Logical::Orr => a | b,
        Logical::Orn => a | !b,
        Logical::Eor => a ^ b,
        Logical::Bsl => b ^ ((b ^ a) & d),
        Logical::Bit => d ^ ((d ^ a) & b),
        Logical::Bif => d ^ ((d ^ a) & !b),
    }
}

#[inline]
pub(super) fn immediate(op: ImmediateOp, d: u128, low: u32, high: u32) -> u128 {
    let half = u128::from(high) << 32 | u128::from(low);
    let value = half << 64 | half;
    match op {
        ImmediateOp::Mov => value,
        ImmediateOp::Orr => d | value,
        ImmediateOp::Bic => d & !value,
    }
}

pub(super) fn permute(op: Permute, log2: u8, width: u8, a: u128, b: u128) -> u128 {
    match op {
        Permute::Uzp1 => unzip(a, b, log2, width, false),
        Permute::Uzp2 => unzip(a, b, log2, width, true),
        Permute::Trn1 => transpose(a, b, log2, false),
        Permute::Trn2 => transpose(a, b, log2, true),
        Permute::Zip1 => zip(a, b, log2, width, false),
        Permute::Zip2 => zip(a, b, log2, width, true),
    }
}

/// EXT: bytes from `position` on of the two operands one after the other.
pub(super) fn extract(width: u8, position: u8, a: u128, b: u128) -> u128 {
    let shift = u32::from(position) * 8;
    if width == 3 {
        (a & MASKS[3] | b << 64) >> shift
    } else if shift == 0 {
        a
    } else {
        a >> shift | b << (128 - shift)
    }
}

/// TBL, and TBX, which keeps the destination's byte where the index is out of range.
pub(super) fn table(cpu: &Cpu, keep: bool, registers: u8, rd: u8, rn: u8, rm: u8) -> u128 {
    let mut table = [0; 64];
    for (bytes, register) in table.as_chunks_mut::<16>().0.iter_mut().zip(0..registers) {
        *bytes = v(cpu, rn.wrapping_add(register)).to_le_bytes();
    }
    let mut result = if keep {
        v(cpu, rd).to_le_bytes()
    } else {
        [0; 16]
    };
    for (byte, index) in result.iter_mut().zip(v(cpu, rm).to_le_bytes()) {
        if index < 16 * registers {
            *byte = table[usize::from(index & 63)];
        }
    }
    u128::from_le_bytes(result)
}

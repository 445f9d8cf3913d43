//! Decoding of A64 instructions (DDI 0487, *A64 instruction set encoding*).
//!
//! The encodings of each top-level group are a table in the manual's order, in a file of its own. A
//! row has the fixed bits of one encoding and a function that tells the instructions it covers apart
//! and answers `None` for what is unallocated or reserved. No two rows overlap, so order does not
//! matter; whatever no row claims is UNDEFINED, and so are the extensions after Armv8.0 other than
//! FEAT_LSE and FEAT_CRC32.
//!
//! Where the manual leaves a choice (CONSTRAINED UNPREDICTABLE), Stallbox makes it here, the same
//! for all: a register that is loaded twice, a base register that is also transferred when it is
//! written back, and a status register that is also data or base, are UNDEFINED. Fields that should
//! be all ones or all zeros (shown in parentheses in the manual) are not looked at.

mod branch;
mod class;
mod data_processing_immediate;
mod data_processing_register;
mod insn;
mod loads_stores;
pub mod simd;
pub mod system;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub use class::Class;
pub use insn::{
    Addressing, AtomicOp, BitfieldOp, BranchRegisterOp, CondSelOp, Condition, ExtendKind, Insn,
    LoadKind, LogicalOp, MoveWideOp, OneSourceOp, PairMode, ShiftKind,
};

use crate::bus::Size;
use crate::registers::SP;

/// One encoding.
struct Pattern {
    mask: u32,
    value: u32,
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "names the row when a test fails")
    )]
    name: &'static str,
    make: fn(u32) -> Option<Insn>,
}

/// A row of a table. In `bits`, `0` and `1` are fixed, letters stand for fields, spaces for nothing.
const fn pattern(bits: &'static str, name: &'static str, make: fn(u32) -> Option<Insn>) -> Pattern {
    let bits = bits.as_bytes();
    let (mut mask, mut value) = (0, 0);
    let (mut index, mut count) = (0, 0);
    while index < bits.len() {
        if bits[index] != b' ' {
            let fixed = bits[index] == b'0' || bits[index] == b'1';
            mask = mask << 1 | fixed as u32;
            value = value << 1 | (bits[index] == b'1') as u32;
            count += 1;
        }
        index += 1;
    }
    assert!(count == 32, "a pattern has 32 bits");
    Pattern {
        mask,
        value,
        name,
        make,
    }
}

/// The tables of this module; those of [`simd`] and [`system`] hang off it.
static TABLES: [&[Pattern]; 4] = [
    data_processing_immediate::PATTERNS,
    branch::PATTERNS,
    loads_stores::PATTERNS,
    data_processing_register::PATTERNS,
];

/// The rows that can match, by bits 31 to 21: most encodings differ there.
static INDEX: LazyLock<Vec<Vec<&'static Pattern>>> = LazyLock::new(|| {
    let matching = |top: u32| {
        let fits = |row: &&Pattern| ((top << 21) ^ row.value) & row.mask & !0 << 21 == 0;
        TABLES.into_iter().flatten().filter(fits).collect()
    };
    (0..1 << 11).map(matching).collect()
});

/// Decodes one instruction.
pub fn decode(word: u32) -> Insn {
    // Data processing -- scalar floating-point and Advanced SIMD has a table of its own.
    if field(word, 27, 25) == 0b111 {
        return simd::decode(word).map_or(Insn::Undefined, Insn::Simd);
    }
    let rows = &INDEX[(word >> 21) as usize];
    rows.iter()
        .find(|row| word & row.mask == row.value)
        .and_then(|row| (row.make)(word))
        .unwrap_or(Insn::Undefined)
}

/// Bits `high` to `low` of the instruction.
const fn field(word: u32, high: u32, low: u32) -> u32 {
    word >> low & (u32::MAX >> (31 - (high - low)))
}

const fn bit(word: u32, index: u32) -> bool {
    word >> index & 1 != 0
}

/// The field as a signed number.
const fn signed(word: u32, high: u32, low: u32) -> i64 {
    ((word << (31 - high)) as i32 >> (31 - high + low)) as i64
}

/// A five-bit register number whose 31 is the zero register.
const fn register(word: u32, low: u32) -> u8 {
    field(word, low + 4, low) as u8
}

/// A five-bit register number whose 31 is the stack pointer.
const fn or_sp(word: u32, low: u32) -> u8 {
    let number = register(word, low);
    if number == 31 { SP } else { number }
}

impl LogicalOp {
    /// Bits 30 and 29 of all logical instructions.
    const fn from_opc(opc: u32) -> Self {
        match opc {
            0b00 => Self::And,
            0b01 => Self::Orr,
            0b10 => Self::Eor,
            _ => Self::Ands,
        }
    }
}

impl LoadKind {
    /// What is read.
    #[inline(always)]
    pub const fn size(self) -> Size {
        match self {
            Self::Unsigned(size) | Self::SignedX(size) | Self::SignedW(size) => size,
        }
    }
}

/// The `wmask` of DDI 0487, `DecodeBitMasks`, for a logical immediate. `None` if reserved.
const fn decode_bit_masks(wide: bool, n: u32, imms: u32, immr: u32) -> Option<u64> {
    let pattern = n << 6 | !imms & 0x3f;
    if pattern < 2 || !wide && n != 0 {
        return None;
    }
    let log2 = pattern.ilog2();
    let element_bits = 1 << log2;
    let levels = element_bits - 1;
    let (ones, rotate) = (imms & levels, immr & levels);
    if ones == levels {
        return None;
    }
    let mut element = u64::MAX >> (63 - ones);
    if rotate != 0 {
        element = element >> rotate | element << (element_bits - rotate);
    }
    element &= u64::MAX >> (64 - element_bits);
    let mut filled = element_bits;
    while filled < 64 {
        element |= element << filled;
        filled *= 2;
    }
    Some(if wide { element } else { element & 0xffff_ffff })
}

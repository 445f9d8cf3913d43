//! Decoding of scalar floating point, Advanced SIMD, and their loads and stores.
//!
//! DDI 0487, *A64 instruction set encoding*: *Data processing -- scalar floating-point and Advanced
//! SIMD*, and the rows of *Loads and stores* with V == 1. The tables below hold one pattern for each
//! encoding class, in the manual's order; a class's constructor tells its instructions apart and
//! answers `None` for what is unallocated or reserved.
//!
//! Deliberately absent, and so UNDEFINED: FP16 arithmetic, rounding doubling multiply accumulate,
//! dot product, complex numbers, FJCVTZS, FRINT32/64, and the cryptographic instructions (with the
//! 64-bit form of PMULL).

mod indexed;
mod insn;
mod load_store;
mod scalar_fp;
mod shift;
#[cfg(test)]
mod tests;
mod three_register;
mod two_register;
mod vector;

pub use insn::*;

use super::{Addressing, Condition, PairMode};

/// One encoding class: the fixed bits as `0` and `1`, any other as `.`, from bit 31 down.
pub(crate) struct Pattern {
    mask: u32,
    value: u32,
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "names the class when a test fails")
    )]
    name: &'static str,
    make: fn(u32) -> Option<SimdInsn>,
}

const fn pattern(
    name: &'static str,
    bits: &'static str,
    make: fn(u32) -> Option<SimdInsn>,
) -> Pattern {
    let bits = bits.as_bytes();
    let (mut mask, mut value) = (0, 0);
    let (mut index, mut count) = (0, 0);
    while index < bits.len() {
        if bits[index] != b' ' {
            mask = mask << 1 | (bits[index] != b'.') as u32;
            value = value << 1 | (bits[index] == b'1') as u32;
            count += 1;
        }
        index += 1;
    }
    assert!(count == 32);
    Pattern {
        mask,
        value,
        name,
        make,
    }
}

/// Data processing.
pub(crate) const DATA_PROCESSING: &[Pattern] = &[
    pattern(
        "scalar copy",
        "01 . 11110000 ..... 0 .... 1 ..... .....",
        vector::scalar_copy,
    ),
    pattern(
        "scalar two-register miscellaneous",
        "01 . 11110 .. 10000 ..... 10 ..... .....",
        two_register::scalar_two_register,
    ),
    pattern(
        "scalar pairwise",
        "01 . 11110 .. 11000 ..... 10 ..... .....",
        vector::scalar_pairwise,
    ),
    pattern(
        "scalar three different",
        "01 . 11110 .. 1 ..... .... 00 ..... .....",
        three_register::scalar_three_different,
    ),
    pattern(
        "scalar three same",
        "01 . 11110 .. 1 ..... ..... 1 ..... .....",
        three_register::scalar_three_same,
    ),
    pattern(
        "scalar shift by immediate",
        "01 . 111110 .... ... ..... 1 ..... .....",
        shift::scalar_shift,
    ),
    pattern(
        "scalar x indexed element",
        "01 . 11111 .. . . .... .... . 0 ..... .....",
        indexed::scalar_by_element,
    ),
    pattern(
        "table lookup",
        "0 . 001110 00 0 ..... 0 .. . 00 ..... .....",
        vector::table_lookup,
    ),
    pattern(
        "permute",
        "0 . 001110 .. 0 ..... 0 ... 10 ..... .....",
        vector::permute,
    ),
    pattern(
        "extract",
        "0 . 101110 00 0 ..... 0 .... 0 ..... .....",
        vector::extract,
    ),
    pattern(
        "copy",
        "0 . . 01110000 ..... 0 .... 1 ..... .....",
        vector::copy,
    ),
    pattern(
        "two-register miscellaneous",
        "0 . . 01110 .. 10000 ..... 10 ..... .....",
        two_register::two_register,
    ),
    pattern(
        "across lanes",
        "0 . . 01110 .. 11000 ..... 10 ..... .....",
        vector::across_lanes,
    ),
    pattern(
        "three different",
        "0 . . 01110 .. 1 ..... .... 00 ..... .....",
        three_register::three_different,
    ),
    pattern(
        "three same",
        "0 . . 01110 .. 1 ..... ..... 1 ..... .....",
        three_register::three_same,
    ),
    pattern(
        "modified immediate",
        "0 . . 0111100000 ... .... . 1 ..... .....",
        vector::modified_immediate,
    ),
    // immh == 0000 belongs to modified immediate: four patterns keep the two apart.
    pattern(
        "shift by immediate (64)",
        "0 . . 011110 1... ... ..... 1 ..... .....",
        shift::shift,
    ),
    pattern(
        "shift by immediate (32)",
        "0 . . 011110 01.. ... ..... 1 ..... .....",
        shift::shift,
    ),
    pattern(
        "shift by immediate (16)",
        "0 . . 011110 001. ... ..... 1 ..... .....",
        shift::shift,
    ),
    pattern(
        "shift by immediate (8)",
        "0 . . 011110 0001 ... ..... 1 ..... .....",
        shift::shift,
    ),
    pattern(
        "vector x indexed element",
        "0 . . 01111 .. . . .... .... . 0 ..... .....",
        indexed::by_element,
    ),
    pattern(
        "conversion between floating-point and fixed-point",
        ". 00 11110 .. 0 .. ... ...... ..... .....",
        scalar_fp::fixed_convert,
    ),
    pattern(
        "conversion between floating-point and integer",
        ". 00 11110 .. 1 .. ... 000000 ..... .....",
        scalar_fp::integer_convert,
    ),
    pattern(
        "floating-point data-processing (1 source)",
        "000 11110 .. 1 ...... 10000 ..... .....",
        scalar_fp::one_source,
    ),
    pattern(
        "floating-point compare",
        "000 11110 .. 1 ..... 00 1000 ..... .. 000",
        scalar_fp::compare,
    ),
    pattern(
        "floating-point immediate",
        "000 11110 .. 1 ........ 100 00000 .....",
        scalar_fp::immediate,
    ),
    pattern(
        "floating-point conditional compare",
        "000 11110 .. 1 ..... .... 01 ..... . ....",
        scalar_fp::conditional_compare,
    ),
    pattern(
        "floating-point data-processing (2 source)",
        "000 11110 .. 1 ..... .... 10 ..... .....",
        scalar_fp::two_source,
    ),
    pattern(
        "floating-point conditional select",
        "000 11110 .. 1 ..... .... 11 ..... .....",
        scalar_fp::conditional_select,
    ),
    pattern(
        "floating-point data-processing (3 source)",
        "000 11111 .. . ..... . ..... ..... .....",
        scalar_fp::three_source,
    ),
];

/// Loads and stores.
pub(crate) const LOADS_STORES: &[Pattern] = &[
    pattern(
        "multiple structures",
        "0 . 0011000 . 000000 .... .. ..... .....",
        load_store::multiple_structures,
    ),
    pattern(
        "multiple structures, post-indexed",
        "0 . 0011001 . 0 ..... .... .. ..... .....",
        load_store::multiple_structures,
    ),
    pattern(
        "single structure",
        "0 . 0011010 . . 00000 ... . .. ..... .....",
        load_store::single_structure,
    ),
    pattern(
        "single structure, post-indexed",
        "0 . 0011011 . . ..... ... . .. ..... .....",
        load_store::single_structure,
    ),
    pattern(
        "load literal",
        ".. 011100 ................... .....",
        load_store::literal,
    ),
    pattern(
        "pair, any addressing",
        ".. 10110 .. . ....... ..... ..... .....",
        load_store::pair,
    ),
    pattern(
        "unscaled immediate",
        ".. 111100 .. 0 ......... 00 ..... .....",
        load_store::unscaled,
    ),
    pattern(
        "immediate post-indexed",
        ".. 111100 .. 0 ......... 01 ..... .....",
        load_store::post_indexed,
    ),
    pattern(
        "immediate pre-indexed",
        ".. 111100 .. 0 ......... 11 ..... .....",
        load_store::pre_indexed,
    ),
    pattern(
        "register offset",
        ".. 111100 .. 1 ..... ... . 10 ..... .....",
        load_store::register_offset,
    ),
    pattern(
        "unsigned immediate",
        ".. 111101 .. ............ ..... .....",
        load_store::unsigned_immediate,
    ),
];

fn look_up(table: &[Pattern], word: u32) -> Option<SimdInsn> {
    let class = table
        .iter()
        .find(|pattern| word & pattern.mask == pattern.value)?;
    (class.make)(word)
}

/// Decodes the space of data processing (bits 28 to 25 are x111).
pub fn decode(word: u32) -> Option<SimdInsn> {
    look_up(DATA_PROCESSING, word)
}

/// Decodes the loads and stores of FP and SIMD registers (bits 27 and 25 are 1 and 0, bit 26 is 1).
pub fn decode_load_store(word: u32) -> Option<SimdInsn> {
    look_up(LOADS_STORES, word)
}

/// A field of the instruction word.
#[inline]
fn field(word: u32, low: u32, width: u32) -> u8 {
    (word >> low & ((1 << width) - 1)) as u8
}

/// One bit of the instruction word.
#[inline]
fn bit(word: u32, index: u32) -> bool {
    word >> index & 1 != 0
}

/// Mask and value of every encoding class.
#[cfg(test)]
pub(crate) fn encodings() -> impl Iterator<Item = (u32, u32)> {
    let all = DATA_PROCESSING.iter().chain(LOADS_STORES);
    all.map(|class| (class.mask, class.value))
}

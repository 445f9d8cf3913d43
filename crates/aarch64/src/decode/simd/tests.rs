use crate::decode::Insn;

use super::{
    Addressing, DATA_PROCESSING, LOADS_STORES, PairMode, Pattern, SimdInsn, decode,
    decode_load_store,
};

fn any(word: u32) -> Option<SimdInsn> {
    if word >> 25 & 7 == 7 {
        decode(word)
    } else {
        decode_load_store(word)
    }
}

#[test]
fn the_whole_decoder_reaches_every_class() {
    for pattern in DATA_PROCESSING.iter().chain(LOADS_STORES) {
        for step in 0..2000u32 {
            // A walk over the free bits, in steps that touch all of them.
            let word = pattern.value | step.wrapping_mul(0x9e37_79b1) & !pattern.mask;
            let expected = any(word).map_or(Insn::Undefined, Insn::Simd);
            assert_eq!(
                crate::decode::decode(word),
                expected,
                "{word:08x} {}",
                pattern.name
            );
        }
    }
}

/// An encoding that satisfies both patterns, if there is one.
fn overlap(a: &Pattern, b: &Pattern) -> Option<u32> {
    ((a.value ^ b.value) & a.mask & b.mask == 0).then_some(a.value | b.value)
}

#[test]
fn no_two_patterns_overlap() {
    let all: Vec<_> = DATA_PROCESSING.iter().chain(LOADS_STORES).collect();
    for (index, a) in all.iter().enumerate() {
        assert_eq!(a.value & !a.mask, 0);
        for b in &all[index + 1..] {
            assert_eq!(overlap(a, b), None, "{} and {}", a.name, b.name);
        }
    }
}

#[test]
fn patterns_stay_in_their_part_of_the_encoding_space() {
    for pattern in DATA_PROCESSING {
        assert_eq!(
            (pattern.mask >> 25 & 7, pattern.value >> 25 & 7),
            (7, 7),
            "{}",
            pattern.name
        );
    }
    for pattern in LOADS_STORES {
        assert_eq!(
            (pattern.mask >> 25 & 5, pattern.value >> 25 & 7),
            (5, 6),
            "{}",
            pattern.name
        );
    }
}

#[test]
fn every_encoding_decodes_to_fields_in_range() {
    for high in 0..1u32 << 22 {
        // Bits 31 to 10, with Rn and Rd 5 and 7.
        let word = high << 10 | 5 << 5 | 7;
        if word >> 25 & 5 != 5 && word >> 25 & 7 != 6 {
            continue;
        }
        match any(word) {
            Some(
                SimdInsn::ThreeSame { log2, width, .. }
                | SimdInsn::FpThreeSame { log2, width, .. }
                | SimdInsn::TwoRegister { log2, width, .. }
                | SimdInsn::FpTwoRegister { log2, width, .. }
                | SimdInsn::FpFixed { log2, width, .. }
                | SimdInsn::Across { log2, width, .. }
                | SimdInsn::Permute { log2, width, .. }
                | SimdInsn::DupElement { log2, width, .. },
            ) => {
                assert!(
                    log2 <= 3 && (width == log2 || width == 3 || width == 4),
                    "{word:08x}"
                );
                assert!(
                    !(log2 == 3 && width == 3 && word >> 28 & 1 == 0),
                    "{word:08x}"
                );
            }
            Some(SimdInsn::Shift { log2, shift, .. }) => {
                assert!(u32::from(shift) <= 8 << log2, "{word:08x}");
            }
            Some(SimdInsn::Narrow { log2, shift, .. }) => {
                assert!(log2 < 3 && u32::from(shift) <= 8 << log2, "{word:08x}");
            }
            _ => {}
        }
    }
}

/// Words assembled by GNU as 2.40.
#[test]
fn extensions_that_are_not_there_are_undefined() {
    for (word, text) in [
        (0x0e42_1420, "fadd v0.4h, v1.4h, v2.4h (FP16)"),
        (0x1ee2_2820, "fadd h0, h1, h2 (FP16)"),
        (0x1ee2_2020, "fcmp h1, h2 (FP16)"),
        (0x0f00_fc00, "fmov v0.4h, #2.0 (FP16)"),
        (0x0ef8_f820, "fabs v0.4h, v1.4h (FP16)"),
        (0x2e42_8420, "sqrdmlah v0.4h, v1.4h, v2.4h (RDM)"),
        (0x2f42_d020, "sqrdmlah v0.4h, v1.4h, v2.h[0] (RDM)"),
        (0x0e82_9420, "sdot v0.2s, v1.8b, v2.8b (DotProd)"),
        (0x0f82_e020, "sdot v0.2s, v1.8b, v2.4b[0] (DotProd)"),
        (0x6e82_c420, "fcmla v0.4s, v1.4s, v2.4s, #0 (FCMA)"),
        (0x6e82_e420, "fcadd v0.4s, v1.4s, v2.4s, #90 (FCMA)"),
        (0x4e28_4820, "aese v0.16b, v1.16b (AES)"),
        (0x0ee2_e020, "pmull v0.1q, v1.1d, v2.1d (AES)"),
        (0x5e02_0020, "sha1c q0, s1, v2.4s (SHA1)"),
        (0x5e28_2820, "sha256su0 v0.4s, v1.4s (SHA256)"),
        (0x1e7e_0020, "fjcvtzs w0, d1 (JSCVT)"),
        (0x1e28_4020, "frint32z s0, s1 (FRINTTS)"),
        (0x0e21_e820, "frint32z v0.2s, v1.2s (FRINTTS)"),
        (0x0e22_ec20, "fmlal v0.2s, v1.2h, v2.2h (FHM)"),
        (0xce02_0c20, "eor3 v0.16b, v1.16b, v2.16b, v3.16b (SHA3)"),
    ] {
        assert_eq!(any(word), None, "{word:08x} {text}");
    }
}

#[test]
fn reserved_combinations_are_undefined() {
    for (word, text) in [
        (0x0ee2_8420, "add v0.1d: one doubleword is no vector"),
        (0x0e62_d420, "fadd v0.1d"),
        (0x4ee2_9c20, "mul v0.2d"),
        (0x0ee2_0420, "shadd v0.1d"),
        (0x4e00_0420, "dup with no bit of imm5 set"),
        (0x0e08_0420, "dup v0.1d, v1.d[0]"),
        (0x2e02_4020, "ext v0.8b with a position of 8"),
        (0x2f00_f400, "fmov v0.1d, #2.0"),
        (0x0f40_0420, "sshr v0.1d"),
        (0x0ee1_2820, "xtn from 128-bit elements does not exist"),
        (0x0e30_9820, "across lanes, unallocated opcode"),
        (0x0eb1_b820, "addv of two elements"),
        (0x1e42_0000, "scvtf d, w with 64 bits of fraction"),
        (0x1ea0_0020, "ptype 10"),
        (0x0c40_0c00, "ld4 of one doubleword each"),
        (0x0d40_4400, "ld1 of a half at an odd index"),
        (0xed40_0420, "ldp with opc == 11"),
        (0x7cc0_0020, "128-bit load with size 01"),
        (0x3c62_0820, "register offset with option 000"),
        (0x6d40_0401, "ldp d1, d1"),
    ] {
        assert_eq!(any(word), None, "{word:08x} {text}");
    }
}

#[test]
fn fields_of_loads_and_stores_are_extracted() {
    // Assembled: ldr q0, [sp, #32]; stp q1, q2, [x3, #-64]!; ldp d8, d9, [sp], #16.
    assert_eq!(
        any(0x3dc0_0be0),
        Some(SimdInsn::Load {
            log2: 4,
            rt: 0,
            rn: crate::registers::SP,
            addressing: Addressing::Unsigned(32)
        })
    );
    assert_eq!(
        any(0xadbe_0861),
        Some(SimdInsn::StorePair {
            log2: 4,
            mode: PairMode::PreIndexed,
            rt: 1,
            rt2: 2,
            rn: 3,
            offset: -64
        })
    );
    assert_eq!(
        any(0x6cc1_27e8),
        Some(SimdInsn::LoadPair {
            log2: 3,
            mode: PairMode::PostIndexed,
            rt: 8,
            rt2: 9,
            rn: crate::registers::SP,
            offset: 16
        })
    );
}

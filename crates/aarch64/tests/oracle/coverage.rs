//! That the ordinary run reaches every instruction class often.

use std::collections::BTreeMap;

use crate::generate::{Focus, Generator};
use crate::table::{Encoding, encodings};

/// A name, and the mask and value of the encodings it stands for.
type Class = (&'static str, u32, u32);

/// What [`crate::prepared`] makes, by the manual's classes.
const PREPARED: &[Class] = &[
    ("B", 0xfc00_0000, 0x1400_0000),
    ("BL", 0xfc00_0000, 0x9400_0000),
    ("B.cond", 0xff00_0010, 0x5400_0000),
    ("CBZ, CBNZ", 0x7e00_0000, 0x3400_0000),
    ("TBZ, TBNZ", 0x7e00_0000, 0x3600_0000),
    ("BR", 0xffff_fc1f, 0xd61f_0000),
    ("BLR", 0xffff_fc1f, 0xd63f_0000),
    ("RET", 0xffff_fc1f, 0xd65f_0000),
    ("BRK", 0xffe0_001f, 0xd420_0000),
    ("hints", 0xffff_f01f, 0xd503_201f),
    ("CLREX and barriers", 0xffff_f01f, 0xd503_301f),
    ("MRS NZCV", 0xffff_ffe0, 0xd53b_4200),
    ("MSR NZCV", 0xffff_ffe0, 0xd51b_4200),
    ("MRS FPCR", 0xffff_ffe0, 0xd53b_4400),
    ("MSR FPCR", 0xffff_ffe0, 0xd51b_4400),
    ("MRS FPSR", 0xffff_ffe0, 0xd53b_4420),
    ("MSR FPSR", 0xffff_ffe0, 0xd51b_4420),
    ("MRS TPIDR_EL0", 0xffff_ffe0, 0xd53b_d040),
    ("MSR TPIDR_EL0", 0xffff_ffe0, 0xd51b_d040),
    ("DC ZVA", 0xffff_ffe0, 0xd50b_7420),
    ("IC IVAU", 0xffff_ffe0, 0xd50b_7520),
    ("DC CVAC", 0xffff_ffe0, 0xd50b_7a20),
    ("DC CVAU", 0xffff_ffe0, 0xd50b_7b20),
    ("DC CIVAC", 0xffff_ffe0, 0xd50b_7e20),
    ("LDR (literal)", 0xbf00_0000, 0x1800_0000),
    ("LDRSW (literal)", 0xff00_0000, 0x9800_0000),
    ("PRFM (literal)", 0xff00_0000, 0xd800_0000),
    ("LDR (literal, SIMD&FP)", 0x3f00_0000, 0x1c00_0000),
    ("LDNP, STNP", 0x3f80_0000, 0x2800_0000),
    ("pair, post-indexed", 0x3f80_0000, 0x2880_0000),
    ("pair", 0x3f80_0000, 0x2900_0000),
    ("pair, pre-indexed", 0x3f80_0000, 0x2980_0000),
    ("LDPSW", 0xfe40_0000, 0x6840_0000),
    ("LDNP, STNP (SIMD&FP)", 0x3f80_0000, 0x2c00_0000),
    ("pair, post-indexed (SIMD&FP)", 0x3f80_0000, 0x2c80_0000),
    ("pair (SIMD&FP)", 0x3f80_0000, 0x2d00_0000),
    ("pair, pre-indexed (SIMD&FP)", 0x3f80_0000, 0x2d80_0000),
    ("STXR", 0x3fe0_8000, 0x0800_0000),
    ("STLXR", 0x3fe0_8000, 0x0800_8000),
    ("LDXR", 0x3fe0_8000, 0x0840_0000),
    ("LDAXR", 0x3fe0_8000, 0x0840_8000),
    ("STXP", 0xbfe0_8000, 0x8820_0000),
    ("STLXP", 0xbfe0_8000, 0x8820_8000),
    ("LDXP", 0xbfe0_8000, 0x8860_0000),
    ("LDAXP", 0xbfe0_8000, 0x8860_8000),
    ("STLR", 0x3fe0_8000, 0x0880_8000),
    ("LDAR", 0x3fe0_8000, 0x08c0_8000),
    ("structures", 0xbfbf_0000, 0x0c00_0000),
    ("structures, post-indexed", 0xbfa0_0000, 0x0c80_0000),
    ("one structure", 0xbf80_0000, 0x0d00_0000),
    ("one structure, post-indexed", 0xbf80_0000, 0x0d80_0000),
    ("PRFM", 0xffc0_0000, 0xf980_0000),
    ("PRFUM", 0xffe0_0c00, 0xf880_0000),
    ("PRFM (register)", 0xffe0_0c00, 0xf8a0_0800),
];

/// Single-register loads and stores, for each size and kind, general and SIMD&FP.
const SINGLE: &[Class] = &[
    ("unscaled", 0x3b20_0c00, 0x3800_0000),
    ("post-indexed", 0x3b20_0c00, 0x3800_0400),
    ("unprivileged", 0x3b20_0c00, 0x3800_0800),
    ("pre-indexed", 0x3b20_0c00, 0x3800_0c00),
    ("register offset", 0x3b20_0c00, 0x3820_0800),
    ("unsigned offset", 0x3b00_0000, 0x3900_0000),
];

/// What the atomics' run has besides.
const ATOMICS: &[Class] = &[
    ("CASP", 0xbfa0_7c00, 0x0820_7c00),
    ("CAS", 0x3fa0_7c00, 0x08a0_7c00),
    ("LDADD", 0x3f20_fc00, 0x3820_0000),
    ("LDCLR", 0x3f20_fc00, 0x3820_1000),
    ("LDEOR", 0x3f20_fc00, 0x3820_2000),
    ("LDSET", 0x3f20_fc00, 0x3820_3000),
    ("LDSMAX", 0x3f20_fc00, 0x3820_4000),
    ("LDSMIN", 0x3f20_fc00, 0x3820_5000),
    ("LDUMAX", 0x3f20_fc00, 0x3820_6000),
    ("LDUMIN", 0x3f20_fc00, 0x3820_7000),
    ("SWP", 0x3f20_fc00, 0x3820_8000),
];

/// How often a class must be in that share of the ordinary run which is looked at here.
const OFTEN: u64 = 20;

/// Counts the words of each class in the first cases of a run.
fn count(focus: Focus, cases: u64, classes: &[(String, u32, u32)]) -> BTreeMap<String, u64> {
    let generator = Generator::new(crate::SEED);
    let mut counts: BTreeMap<String, u64> =
        classes.iter().map(|(name, ..)| (name.clone(), 0)).collect();
    for index in 0..cases {
        for word in generator.case(focus, index, 0).words {
            for (name, mask, value) in classes {
                if word & mask == *value {
                    *counts.entry(name.clone()).or_default() += 1;
                }
            }
        }
    }
    counts
}

fn all_often(counts: BTreeMap<String, u64>) {
    let rare: Vec<_> = counts
        .into_iter()
        .filter(|&(_, times)| times < OFTEN)
        .collect();
    assert!(rare.is_empty(), "too rare: {rare:?}");
}

fn named(classes: &[Class]) -> Vec<(String, u32, u32)> {
    let own = |&(name, mask, value): &Class| (name.to_string(), mask, value);
    classes.iter().map(own).collect()
}

#[test]
fn base_run_reaches_every_class() {
    let mut classes = named(PREPARED);
    classes.extend(encodings().iter().map(Encoding::class));
    for (name, mask, value) in SINGLE {
        for size in 0..4 {
            for opc in 0..4 {
                for vector in 0..2 {
                    let name = format!("{name}, size {size} opc {opc} vector {vector}");
                    let more = size << 30 | vector << 26 | opc << 22;
                    classes.push((name, mask | 0xc4c0_0000, value | more));
                }
            }
        }
    }
    // Unallocated: a second load of words, and doublewords have neither sign; larger vectors than
    // 128 bits; unprivileged vectors; prefetches that write back or are unprivileged.
    classes.retain(|(_, mask, value)| {
        let (size, opc, vector) = (value >> 30, value >> 22 & 3, value >> 26 & 1);
        let form = value & 0x0320_0c00;
        let is_single = mask & 0xc4c0_0000 == 0xc4c0_0000 && value & 0x3a00_0000 == 0x3800_0000;
        let unallocated = if vector == 1 {
            opc >= 2 && size != 0 || form == 0x0800
        } else {
            size >= 2 && opc == 3
                || size == 3 && opc == 2 && matches!(form, 0x0400 | 0x0800 | 0x0c00)
        };
        !(is_single && mask & 0x3b00_0000 == 0x3b00_0000 && unallocated)
    });
    all_often(count(Focus::Base, 40_000, &classes));
}

#[test]
fn atomics_run_reaches_every_class() {
    all_often(count(Focus::Lse, 4_000, &named(ATOMICS)));
}

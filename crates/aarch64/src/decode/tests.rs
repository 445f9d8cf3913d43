//! The tables against themselves, and the decoder against LLVM.

use super::{INDEX, Insn, Pattern, TABLES, decode, decode_bit_masks};

/// Bits 28 to 25 of each table's group.
const GROUPS: [&[u32]; 4] = [
    &[0b1000, 0b1001],
    &[0b1010, 0b1011],
    &[0b0100, 0b0110, 0b1100, 0b1110],
    &[0b0101, 0b1101],
];

fn overlap(a: &Pattern, b: &Pattern) -> bool {
    (a.value ^ b.value) & a.mask & b.mask == 0
}

#[test]
fn no_two_patterns_overlap() {
    let rows: Vec<_> = TABLES.into_iter().flatten().collect();
    for (index, a) in rows.iter().enumerate() {
        for b in &rows[index + 1..] {
            assert!(!overlap(a, b), "{} and {}", a.name, b.name);
        }
    }
}

#[test]
fn every_pattern_lies_within_its_group() {
    for (table, groups) in TABLES.into_iter().zip(GROUPS) {
        for row in table {
            for group in (0..16).filter(|group| !groups.contains(group)) {
                let other = Pattern {
                    mask: 0xf << 25,
                    value: group << 25,
                    ..*row
                };
                assert!(
                    !overlap(row, &other),
                    "{} reaches into {group:04b}",
                    row.name
                );
            }
        }
    }
}

#[test]
fn index_finds_every_pattern_wherever_it_matches() {
    for row in TABLES.into_iter().flatten() {
        for (top, rows) in (0_u32..).zip(INDEX.iter()) {
            let reachable = ((top << 21) ^ row.value) & row.mask >> 21 << 21 == 0;
            assert_eq!(
                rows.iter().any(|known| std::ptr::eq(*known, row)),
                reachable
            );
        }
    }
}

/// The words come from each pattern's neighbourhood and from all of the integer space; what they
/// mean is LLVM's opinion (`llvm-mc -disassemble -mattr=+v8a,+lse,+crc`), see the file's head.
#[test]
fn allocates_what_llvm_does() {
    let mut differences = String::new();
    for line in include_str!("tests/allocation.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let (word, meaning) = line.split_once(' ').expect("a word and its meaning");
        let word = u32::from_str_radix(word, 16).expect("hexadecimal");
        let insn = decode(word);
        if (insn == Insn::Undefined) != (meaning == "undefined") {
            differences += &format!("{word:08x} is {meaning}, decoded as {insn:?}\n");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn reserved_operands_are_undefined() {
    for (word, what) in [
        (0x1240_0000, "logical immediate with N on 32 bits"),
        (0x9200_fc00, "logical immediate of all ones"),
        (0x1340_7c00, "SBFM whose N is not sf"),
        (0x5300_8000, "UBFM past bit 31 of 32"),
        (0x1380_8000, "EXTR past bit 31 of 32"),
        (0x52c0_0000, "MOVZ past bit 31 of 32"),
        (0x8b00_1400 | 0b11 << 22, "ADD with ROR"),
        (0x0b00_8000, "ADD W shifted by 32"),
        (0x8b20_1400, "ADD extended and shifted by 5"),
        (0xf820_0800, "STR with a byte as offset"),
        (0x9ac0_4000, "CRC32B with sf"),
        (0x1ac0_4c00, "CRC32X without sf"),
        (0xa8c1_0420, "LDP that loads its base and writes it back"),
        (0xa940_0400 | 1, "LDP that loads one register twice"),
        (0xf840_0421, "LDR that loads its base and writes it back"),
        (0xf800_0421, "STR that stores its base and writes it back"),
        (0xc800_7c20, "STXR whose status is its data"),
        (0xc801_7c20, "STXR whose status is its base"),
        (0xc87f_0000, "LDXP that loads one register twice"),
        (0x4821_7c40, "CASP from an odd register"),
        (0x4820_7c41, "CASP to an odd register"),
    ] {
        assert_eq!(decode(word), Insn::Undefined, "{what}");
    }
}

#[test]
fn extensions_after_lse_and_crc32_are_undefined() {
    for (word, what) in [
        (0xd65f_0bff, "RETAA"),
        (0xf820_0400, "LDRAA"),
        (0xdac1_0000, "PACIA"),
        (0x9ac0_3000, "PACGA"),
        (0xf8bf_c000, "LDAPR"),
        (0xd940_0000, "LDAPUR"),
        (0xba00_0400, "RMIF"),
        (0x3a00_080d, "SETF8"),
        (0x9180_0000, "ADDG"),
        (0x5400_0010, "BC.cond"),
        (0xc8df_7c00, "LDLAR"),
        (0xf83f_d000, "LD64B"),
        (0x9ac0_2000 | 1 << 29, "SUBPS"),
        (0xdac0_2000, "ABS"),
    ] {
        assert_eq!(decode(word), Insn::Undefined, "{what}");
    }
}

/// Immediates as GNU as encodes them.
#[test]
fn logical_immediates_expand() {
    for (wide, n, imms, immr, expected) in [
        (true, 1, 0b000000, 0, 1),
        (true, 0, 0b111100, 0, 0x5555_5555_5555_5555),
        (true, 0, 0b110000, 1, 0x8080_8080_8080_8080),
        (true, 1, 0b000111, 0, 0xff),
        (true, 1, 0b111110, 51, 0xffff_ffff_ffff_efff),
        (false, 0, 0b000111, 8, 0xff00_0000),
        (false, 0, 0b111100, 1, 0xaaaa_aaaa),
    ] {
        assert_eq!(
            decode_bit_masks(wide, n, imms, immr),
            Some(expected),
            "{expected:#x}"
        );
    }
}

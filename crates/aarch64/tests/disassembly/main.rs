//! The disassembler against GNU objdump, word by word: every word that our CPU takes must be the
//! same text. A word that it does not take must be undefined for objdump too, or else be of an
//! extension that the CPU has not; those are counted by their mnemonic. (That the CPU takes all that
//! it should is for `decode`'s own tests and for the oracle to say.)
//!
//! Needs the Debian package binutils-aarch64-linux-gnu; the text is that of 2.40, which Debian 12 has.
//! The kernel's text is compared the same way in
//! `tests/tests/disassembly.rs`.

mod comparison;
mod objdump;

use comparison::Comparison;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Words from everywhere: for each value of the bits that most encodings differ in, some values of
/// the others; and all of the system space.
#[test]
fn all_of_the_encoding_space_is_as_objdump_has_it() {
    /// How many words for each value of bits 31 to 21 and 15 to 10.
    const EACH: u32 = 8;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0x5741_4c4c_424f_5833);
    let mut words = Vec::new();
    for top in 0..1_u32 << 11 {
        for middle in 0..1_u32 << 6 {
            for _ in 0..EACH {
                let others = rng.next_u32() & 0x001f_03ff;
                words.push(top << 21 | middle << 10 | others);
            }
            // Register 31 and equal registers have aliases.
            let registers = [
                (31, 31, 31),
                (1, 31, 1),
                (31, 2, 2),
                (4, 3, 31),
                (30, 31, 30),
            ];
            for (rm, rn, rd) in registers {
                words.push(top << 21 | rm << 16 | middle << 10 | rn << 5 | rd);
            }
        }
    }
    for rest in 0..1 << 17 {
        words.extend([31, 5].map(|rt| 0xd500_0000 | rest << 5 | rt));
    }
    let comparison = Comparison::of(&words);
    comparison.conclude();
    assert!(comparison.same.len() > 600, "{}", comparison.same.len());
}

//! Layouts only: where each field of a register, table entry, command or event record is.
//!
//! IHI 0070, *Memory map and registers*, *Data structure formats*, *Commands*, *Event queue*, *Page
//! request queue*. Nothing here decides anything; whether a value is legal is the business of the modules that read it.

pub(crate) mod cd;
pub(crate) mod command;
pub(crate) mod event;
pub(crate) mod pri;
pub(crate) mod pte;
pub(crate) mod regs;
pub(crate) mod ste;

/// Bits `high` to `low` of `word`, inclusive, moved down to bit 0.
pub(crate) const fn bits(word: u64, high: u32, low: u32) -> u64 {
    (word >> low) & (u64::MAX >> (63 - (high - low)))
}

/// Bits `high` to `low` of `word`, inclusive, where they are: how addresses are stored.
pub(crate) const fn field(word: u64, high: u32, low: u32) -> u64 {
    bits(word, high, low) << low
}

/// Whether bit `at` of `word` is set.
pub(crate) const fn bit(word: u64, at: u32) -> bool {
    (word >> at) & 1 != 0
}

/// A mask of the low `count` bits, `count` up to 64.
pub(crate) const fn low_mask(count: u32) -> u64 {
    match count {
        0 => 0,
        64.. => u64::MAX,
        _ => u64::MAX >> (64 - count),
    }
}

/// The little-endian 64-bit words of `bytes`.
pub(crate) fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut raw = [0; 8];
        raw.copy_from_slice(chunk);
        *word = u64::from_le_bytes(raw);
    }
    words
}

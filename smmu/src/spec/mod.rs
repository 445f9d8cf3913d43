//! Layouts only: where each field of a register, table entry, command or event record is.
//!
//! IHI 0070, *Memory map and registers*, *Data structure formats*, *Commands*, *Event queue*, *Page
//! request queue*. Nothing here decides anything; whether a value is legal is the business of the modules that read it.

pub mod cd;
pub mod command;
pub mod event;
pub mod pri;
pub mod pte;
pub mod regs;
pub mod ste;

/// Bits `high` to `low` of `word`, inclusive, moved down to bit 0.
pub const fn bits(word: u64, high: u32, low: u32) -> u64 {
    (word >> low) & (u64::MAX >> (63 - (high - low)))
}

/// Bits `high` to `low` of `word`, inclusive, where they are: how addresses are stored.
pub const fn field(word: u64, high: u32, low: u32) -> u64 {
    bits(word, high, low) << low
}

/// Whether bit `at` of `word` is set.
pub const fn bit(word: u64, at: u32) -> bool {
    (word >> at) & 1 != 0
}

/// A mask of the low `count` bits, `count` up to 64.
pub const fn low_mask(count: u32) -> u64 {
    match count {
        0 => 0,
        64.. => u64::MAX,
        _ => u64::MAX >> (64 - count),
    }
}

/// The little-endian 64-bit words of `bytes`.
pub fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut raw = [0; 8];
        raw.copy_from_slice(chunk);
        *word = u64::from_le_bytes(raw);
    }
    words
}

/// What `names` calls `number`, or the number.
fn name_in(names: &[(&str, u32)], number: u8) -> String {
    let known = names.iter().find(|(_, it)| *it == number.into());
    known.map_or_else(|| format!("{number:#x}"), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{command, event};

    #[test]
    fn entries_have_the_architecture_s_names() {
        assert_eq!(event::name(0x10), "F_TRANSLATION");
        assert_eq!(command::name(0x44), "CMD_RESUME");
        assert_eq!(command::name(0xff), "0xff");
    }
}

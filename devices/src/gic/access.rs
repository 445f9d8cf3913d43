//! From accesses of any width to 32-bit registers.
//!
//! Every register of the GIC is 32 bits wide, or 64 bits and accessible in halves (IHI 0069, *GIC
//! memory-mapped register access*), so a word is the one width the register files see.
//! Narrower accesses reach only the priority registers; elsewhere they read zero and are ignored.

use super::spec::FRAME_BYTES;
use crate::mmio::Unmodelled;

/// Whether the registers at `offset` take byte accesses: `IPRIORITYR`, at the same place in the
/// distributor's frame and in every `SGI_base` frame. No other frame has a register there.
fn byte_accessible(offset: u64) -> bool {
    (0x400..0x800).contains(&(offset % FRAME_BYTES))
}

/// Reads `data.len()` bytes at `offset` of a register file, in which `word` is `None` where there is no
/// register. The answer is the first word that could not be had.
pub(super) fn read(
    offset: u64,
    data: &mut [u8],
    word: impl Fn(u64) -> Option<u32>,
) -> Option<Unmodelled> {
    let mut absent = None;
    let mut word = |offset| {
        word(offset).unwrap_or_else(|| {
            absent = absent.or(Some(offset));
            0
        })
    };
    data.fill(0);
    match data.len() {
        1 | 2 if byte_accessible(offset) => {
            let bytes = word(offset & !3).to_le_bytes();
            for (index, byte) in data.iter_mut().enumerate() {
                *byte = bytes[(offset as usize + index) % 4];
            }
        }
        4 | 8 | 16 if offset.is_multiple_of(4) => {
            for (index, chunk) in data.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(offset + 4 * index as u64).to_le_bytes());
            }
        }
        _ => absent = Some(offset),
    }
    absent.map(Unmodelled::in_block)
}

/// A write to one word of a register file.
pub(super) struct Write {
    /// Where the word is.
    pub offset: u64,
    /// New bytes, in their places.
    pub value: u32,
    /// Which bytes are written.
    pub mask: u32,
}

/// Splits a write of `data` at `offset` into words, lowest first. `word` says whether there is a register;
/// the answer is the first word where there is none.
pub(super) fn write(
    offset: u64,
    data: &[u8],
    mut word: impl FnMut(Write) -> bool,
) -> Option<Unmodelled> {
    let mut absent = None;
    let mut word = |write: Write| {
        let offset = write.offset;
        if !word(write) {
            absent = absent.or(Some(offset));
        }
    };
    match data.len() {
        1 | 2 if byte_accessible(offset) => {
            let (mut value, mut mask) = (0, 0);
            for (index, byte) in data.iter().enumerate() {
                let shift = (offset as u32 % 4 + index as u32) % 4 * 8;
                value |= u32::from(*byte) << shift;
                mask |= 0xff << shift;
            }
            word(Write {
                offset: offset & !3,
                value,
                mask,
            });
        }
        4 | 8 | 16 if offset.is_multiple_of(4) => {
            for (index, chunk) in data.chunks_exact(4).enumerate() {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(chunk);
                let value = u32::from_le_bytes(bytes);
                word(Write {
                    offset: offset + 4 * index as u64,
                    value,
                    mask: u32::MAX,
                });
            }
        }
        _ => absent = Some(offset),
    }
    absent.map(Unmodelled::in_block)
}

/// The low or high half of a 64-bit register replaced.
pub(super) fn with_half(register: u64, high: bool, half: u32) -> u64 {
    if high {
        register & 0xffff_ffff | u64::from(half) << 32
    } else {
        register & !0xffff_ffff | u64::from(half)
    }
}

/// The low or high half of a 64-bit register.
pub(super) fn half(register: u64, high: bool) -> u32 {
    (if high { register >> 32 } else { register }) as u32
}

//! Loads and stores of general-purpose registers (DDI 0487, *A64 instruction set encoding*). Those
//! of FP and SIMD registers are decoded by [`simd`].

use super::data_processing_register::decode_reg_extend;
use super::{
    Addressing, AtomicOp, ExtendKind, Insn, LoadKind, PairMode, Pattern, bit, field, or_sp,
    pattern, register, signed, simd,
};
use crate::bus::Size;

pub(super) static PATTERNS: &[Pattern] = &[
    pattern(
        "q Q 00 110 o 0 L rmmmmmoooo SS nnnnn ttttt",
        "structures",
        simd_space,
    ),
    pattern(
        "q Q 00 110 o 1 L rmmmmmoooo SS nnnnn ttttt",
        "structures, post-indexed",
        simd_space,
    ),
    // Exclusives: o2 is bit 23, L bit 22, o1 bit 21, o0 bit 15.
    pattern(
        "zz 001000 0 0 0 sssss o uuuuu nnnnn ttttt",
        "STXR, STLXR",
        store_exclusive,
    ),
    pattern(
        "1z 001000 0 0 1 sssss o uuuuu nnnnn ttttt",
        "STXP, STLXP",
        store_exclusive_pair,
    ),
    pattern(
        "0z 001000 0 A 1 sssss o 11111 nnnnn ttttt",
        "CASP",
        compare_and_swap_pair,
    ),
    pattern(
        "zz 001000 0 1 0 sssss o uuuuu nnnnn ttttt",
        "LDXR, LDAXR",
        load_exclusive,
    ),
    pattern(
        "1z 001000 0 1 1 sssss o uuuuu nnnnn ttttt",
        "LDXP, LDAXP",
        load_exclusive_pair,
    ),
    pattern(
        "zz 001000 1 0 0 sssss 1 uuuuu nnnnn ttttt",
        "STLR",
        store_release,
    ),
    pattern(
        "zz 001000 1 1 0 sssss 1 uuuuu nnnnn ttttt",
        "LDAR",
        load_acquire,
    ),
    pattern(
        "zz 001000 1 A 1 sssss o 11111 nnnnn ttttt",
        "CAS",
        compare_and_swap,
    ),
    pattern(
        "oo 011 0 00 iiiiiiiiiiiiiiiiiii ttttt",
        "LDR (literal)",
        literal,
    ),
    pattern(
        "oo 011 1 00 iiiiiiiiiiiiiiiiiii ttttt",
        "LDR (literal, SIMD&FP)",
        simd_space,
    ),
    pattern(
        "oo 101 0 000 L iiiiiii uuuuu nnnnn ttttt",
        "LDNP, STNP",
        pair,
    ),
    pattern(
        "oo 101 0 001 L iiiiiii uuuuu nnnnn ttttt",
        "LDP, STP (post-indexed)",
        pair,
    ),
    pattern(
        "oo 101 0 010 L iiiiiii uuuuu nnnnn ttttt",
        "LDP, STP (offset)",
        pair,
    ),
    pattern(
        "oo 101 0 011 L iiiiiii uuuuu nnnnn ttttt",
        "LDP, STP (pre-indexed)",
        pair,
    ),
    pattern(
        "oo 101 1 0mm L iiiiiii uuuuu nnnnn ttttt",
        "LDP, STP (SIMD&FP)",
        simd_space,
    ),
    pattern(
        "zz 111 0 00 oo 0 iiiiiiiii 00 nnnnn ttttt",
        "LDUR, STUR",
        unscaled,
    ),
    pattern(
        "zz 111 0 00 oo 0 iiiiiiiii 01 nnnnn ttttt",
        "LDR, STR (post-indexed)",
        indexed,
    ),
    pattern(
        "zz 111 0 00 oo 0 iiiiiiiii 10 nnnnn ttttt",
        "LDTR, STTR",
        unprivileged,
    ),
    pattern(
        "zz 111 0 00 oo 0 iiiiiiiii 11 nnnnn ttttt",
        "LDR, STR (pre-indexed)",
        indexed,
    ),
    pattern(
        "zz 111 0 00 AR 1 sssss 0 ooo 00 nnnnn ttttt",
        "LDADD and kin",
        atomic,
    ),
    pattern("zz 111 0 00 AR 1 sssss 1 000 00 nnnnn ttttt", "SWP", atomic),
    pattern(
        "zz 111 0 00 oo 1 mmmmm eee S 10 nnnnn ttttt",
        "LDR, STR (register)",
        register_offset,
    ),
    pattern(
        "zz 111 0 01 oo iiiiiiiiiiii nnnnn ttttt",
        "LDR, STR (immediate)",
        unsigned,
    ),
    pattern(
        "zz 111 1 00 oo x iiiiiiiii mm nnnnn ttttt",
        "LDR, STR (SIMD&FP)",
        simd_space,
    ),
    pattern(
        "zz 111 1 01 oo iiiiiiiiiiii nnnnn ttttt",
        "LDR, STR (unsigned, SIMD&FP)",
        simd_space,
    ),
];

/// The number of the stack pointer as a base, and of the zero register as data.
const R31: u32 = 31;

fn simd_space(word: u32) -> Option<Insn> {
    simd::decode_load_store(word).map(Insn::Simd)
}

fn size(word: u32) -> Size {
    match field(word, 31, 30) {
        0b00 => Size::Byte,
        0b01 => Size::Half,
        0b10 => Size::Word,
        _ => Size::Double,
    }
}

fn rn(word: u32) -> u8 {
    or_sp(word, 5)
}

/// Whether the status register is also data or base.
fn status_overlaps(word: u32) -> bool {
    let (s, n) = (field(word, 20, 16), field(word, 9, 5));
    s == field(word, 4, 0) || s == n && n != R31
}

fn store_exclusive(word: u32) -> Option<Insn> {
    (!status_overlaps(word)).then(|| Insn::StoreExclusive {
        size: size(word),
        release: bit(word, 15),
        rs: register(word, 16),
        rt: register(word, 0),
        rn: rn(word),
    })
}

fn store_exclusive_pair(word: u32) -> Option<Insn> {
    if status_overlaps(word) || field(word, 20, 16) == field(word, 14, 10) {
        return None;
    }
    Some(Insn::StoreExclusivePair {
        wide: bit(word, 30),
        release: bit(word, 15),
        rs: register(word, 16),
        rt: register(word, 0),
        rt2: register(word, 10),
        rn: rn(word),
    })
}

fn load_exclusive(word: u32) -> Option<Insn> {
    Some(Insn::LoadExclusive {
        size: size(word),
        acquire: bit(word, 15),
        rt: register(word, 0),
        rn: rn(word),
    })
}

fn load_exclusive_pair(word: u32) -> Option<Insn> {
    (field(word, 4, 0) != field(word, 14, 10)).then(|| Insn::LoadExclusivePair {
        wide: bit(word, 30),
        acquire: bit(word, 15),
        rt: register(word, 0),
        rt2: register(word, 10),
        rn: rn(word),
    })
}

fn store_release(word: u32) -> Option<Insn> {
    Some(Insn::StoreRelease {
        size: size(word),
        rt: register(word, 0),
        rn: rn(word),
    })
}

fn load_acquire(word: u32) -> Option<Insn> {
    Some(Insn::LoadAcquire {
        size: size(word),
        rt: register(word, 0),
        rn: rn(word),
    })
}

fn compare_and_swap(word: u32) -> Option<Insn> {
    Some(Insn::CompareSwap {
        size: size(word),
        acquire: bit(word, 22),
        release: bit(word, 15),
        rs: register(word, 16),
        rt: register(word, 0),
        rn: rn(word),
    })
}

fn compare_and_swap_pair(word: u32) -> Option<Insn> {
    (!bit(word, 16) && !bit(word, 0)).then(|| Insn::CompareSwapPair {
        wide: bit(word, 30),
        acquire: bit(word, 22),
        release: bit(word, 15),
        rs: register(word, 16),
        rt: register(word, 0),
        rn: rn(word),
    })
}

fn atomic(word: u32) -> Option<Insn> {
    let op = match field(word, 15, 12) {
        0b0000 => AtomicOp::Add,
        0b0001 => AtomicOp::Clr,
        0b0010 => AtomicOp::Eor,
        0b0011 => AtomicOp::Set,
        0b0100 => AtomicOp::Smax,
        0b0101 => AtomicOp::Smin,
        0b0110 => AtomicOp::Umax,
        0b0111 => AtomicOp::Umin,
        _ => AtomicOp::Swp,
    };
    Some(Insn::Atomic {
        op,
        size: size(word),
        acquire: bit(word, 23),
        release: bit(word, 22),
        rs: register(word, 16),
        rt: register(word, 0),
        rn: rn(word),
    })
}

fn literal(word: u32) -> Option<Insn> {
    let (rt, offset) = (register(word, 0), signed(word, 23, 5) * 4);
    let kind = match field(word, 31, 30) {
        0b00 => LoadKind::Unsigned(Size::Word),
        0b01 => LoadKind::Unsigned(Size::Double),
        0b10 => LoadKind::SignedX(Size::Word),
        _ => {
            return Some(Insn::PrefetchLiteral {
                operation: rt,
                offset,
            });
        }
    };
    Some(Insn::LoadLiteral { kind, rt, offset })
}

/// The addressing of a pair, by bits 24 and 23.
pub(super) fn pair_mode(word: u32) -> PairMode {
    match field(word, 24, 23) {
        0b00 => PairMode::NonTemporal,
        0b01 => PairMode::PostIndexed,
        0b10 => PairMode::Offset,
        _ => PairMode::PreIndexed,
    }
}

fn pair(word: u32) -> Option<Insn> {
    let load = bit(word, 22);
    let mode = pair_mode(word);
    let (t, t2, n) = (field(word, 4, 0), field(word, 14, 10), field(word, 9, 5));
    let moves = matches!(mode, PairMode::PreIndexed | PairMode::PostIndexed);
    if moves && (t == n || t2 == n) && n != R31 || load && t == t2 {
        return None;
    }
    let (rt, rt2, rn) = (register(word, 0), register(word, 10), rn(word));
    let kind = match field(word, 31, 30) {
        0b00 => LoadKind::Unsigned(Size::Word),
        // There is no LDPSW without allocation hint.
        0b01 if load && mode != PairMode::NonTemporal => LoadKind::SignedX(Size::Word),
        0b10 => LoadKind::Unsigned(Size::Double),
        _ => return None,
    };
    let size = kind.size();
    let offset = signed(word, 21, 15) as i16 * size.bytes() as i16;
    Some(if load {
        Insn::LoadPair {
            kind,
            mode,
            rt,
            rt2,
            rn,
            offset,
        }
    } else {
        Insn::StorePair {
            size,
            mode,
            rt,
            rt2,
            rn,
            offset,
        }
    })
}

/// A load, store or prefetch of a single register, by `size` and `opc`.
fn single(word: u32, addressing: Addressing) -> Option<Insn> {
    let (size, rt, rn) = (size(word), register(word, 0), rn(word));
    let load = |kind| Insn::Load {
        kind,
        rt,
        rn,
        addressing,
    };
    Some(match (field(word, 23, 22), size) {
        (0b00, _) => Insn::Store {
            size,
            rt,
            rn,
            addressing,
        },
        (0b01, _) => load(LoadKind::Unsigned(size)),
        (0b10, Size::Double) => match addressing {
            Addressing::Unprivileged(_)
            | Addressing::PreIndexed(_)
            | Addressing::PostIndexed(_) => return None,
            _ => Insn::Prefetch {
                operation: rt,
                rn,
                addressing,
            },
        },
        (0b10, _) => load(LoadKind::SignedX(size)),
        (_, Size::Byte | Size::Half) => load(LoadKind::SignedW(size)),
        _ => return None,
    })
}

/// The nine-bit offset.
fn imm9(word: u32) -> i16 {
    signed(word, 20, 12) as i16
}

fn unscaled(word: u32) -> Option<Insn> {
    single(word, Addressing::Unscaled(imm9(word)))
}

fn unsigned(word: u32) -> Option<Insn> {
    let offset = field(word, 21, 10) << field(word, 31, 30);
    single(word, Addressing::Unsigned(offset as u16))
}

fn indexed(word: u32) -> Option<Insn> {
    let (t, n) = (field(word, 4, 0), field(word, 9, 5));
    if t == n && n != R31 {
        return None;
    }
    let offset = imm9(word);
    single(
        word,
        if bit(word, 11) {
            Addressing::PreIndexed(offset)
        } else {
            Addressing::PostIndexed(offset)
        },
    )
}

fn unprivileged(word: u32) -> Option<Insn> {
    single(word, Addressing::Unprivileged(imm9(word)))
}

/// Addressing by a register offset; `None` if the extension is one of bytes or halves.
pub(super) fn register_addressing(word: u32) -> Option<Addressing> {
    let extend = decode_reg_extend(field(word, 15, 13));
    if matches!(
        extend,
        ExtendKind::Uxtb | ExtendKind::Uxth | ExtendKind::Sxtb | ExtendKind::Sxth
    ) {
        return None;
    }
    Some(Addressing::Register {
        rm: register(word, 16),
        extend,
        scaled: bit(word, 12),
    })
}

fn register_offset(word: u32) -> Option<Insn> {
    single(word, register_addressing(word)?)
}

//! Loads and stores of general-purpose registers (DDI 0487, *A64 instruction set encoding*). Those
//! of FP and SIMD registers are decoded by [`simd`].

use super::data_processing_register::decode_reg_extend;
use super::{
    AtomicOp, ExtendKind, IndexMode, Insn, LoadKind, Pair, Pattern, bit, destination, field, or_sp,
    pattern, signed, simd, source,
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
        register,
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
    let (rs, rt) = (destination(word, 16), source(word, 0));
    (!status_overlaps(word)).then(|| Insn::Stxr {
        size: size(word),
        rs,
        rt,
        rn: rn(word),
    })
}

fn store_exclusive_pair(word: u32) -> Option<Insn> {
    if status_overlaps(word) || field(word, 20, 16) == field(word, 14, 10) {
        return None;
    }
    let (rs, rt, rt2) = (destination(word, 16), source(word, 0), source(word, 10));
    Some(Insn::Stxp {
        wide: bit(word, 30),
        rs,
        rt,
        rt2,
        rn: rn(word),
    })
}

fn load_exclusive(word: u32) -> Option<Insn> {
    Some(Insn::Ldxr {
        size: size(word),
        rt: destination(word, 0),
        rn: rn(word),
    })
}

fn load_exclusive_pair(word: u32) -> Option<Insn> {
    if field(word, 4, 0) == field(word, 14, 10) {
        return None;
    }
    let (rt, rt2) = (destination(word, 0), destination(word, 10));
    Some(Insn::Ldxp {
        wide: bit(word, 30),
        rt,
        rt2,
        rn: rn(word),
    })
}

fn store_release(word: u32) -> Option<Insn> {
    Some(Insn::Stlr {
        size: size(word),
        rt: source(word, 0),
        rn: rn(word),
    })
}

fn load_acquire(word: u32) -> Option<Insn> {
    Some(Insn::Ldar {
        size: size(word),
        rt: destination(word, 0),
        rn: rn(word),
    })
}

fn compare_and_swap(word: u32) -> Option<Insn> {
    // Rs is compared and then loaded: as a destination it must not be the zero register, which
    // execution sees to.
    let (rs, rt) = (source(word, 16), source(word, 0));
    Some(Insn::Cas {
        size: size(word),
        rs,
        rt,
        rn: rn(word),
    })
}

fn compare_and_swap_pair(word: u32) -> Option<Insn> {
    if bit(word, 16) || bit(word, 0) {
        return None;
    }
    let (rs, rt) = (source(word, 16), source(word, 0));
    Some(Insn::Casp {
        wide: bit(word, 30),
        rs,
        rt,
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
    let (rs, rt) = (source(word, 16), destination(word, 0));
    Some(Insn::Atomic {
        op,
        size: size(word),
        rs,
        rt,
        rn: rn(word),
    })
}

fn literal(word: u32) -> Option<Insn> {
    let kind = match field(word, 31, 30) {
        0b00 => LoadKind::Unsigned(Size::Word),
        0b01 => LoadKind::Unsigned(Size::Double),
        0b10 => LoadKind::SignedX(Size::Word),
        _ => return Some(Insn::Nop), // PRFM
    };
    Some(Insn::LoadLiteral {
        kind,
        rt: destination(word, 0),
        offset: signed(word, 23, 5) * 4,
    })
}

fn pair(word: u32) -> Option<Insn> {
    let load = bit(word, 22);
    let mode = match field(word, 24, 23) {
        0b01 => IndexMode::Post,
        0b11 => IndexMode::Pre,
        _ => IndexMode::Offset,
    };
    let (t, t2, n) = (field(word, 4, 0), field(word, 14, 10), field(word, 9, 5));
    if mode != IndexMode::Offset && (t == n || t2 == n) && n != R31 || load && t == t2 {
        return None;
    }
    let (rn, offset) = (rn(word), signed(word, 21, 15) as i16);
    if load {
        let (rt, rt2) = (destination(word, 0), destination(word, 10));
        let pair = |scale| Pair {
            mode,
            rt,
            rt2,
            rn,
            offset: offset * scale,
        };
        match field(word, 31, 30) {
            0b00 => Some(Insn::LdpW(pair(4))),
            // There is no LDPSW without allocation hint.
            0b01 if field(word, 24, 23) != 0 => Some(Insn::Ldpsw(pair(4))),
            0b10 => Some(Insn::LdpX(pair(8))),
            _ => None,
        }
    } else {
        let (rt, rt2) = (source(word, 0), source(word, 10));
        let pair = |scale| Pair {
            mode,
            rt,
            rt2,
            rn,
            offset: offset * scale,
        };
        match field(word, 31, 30) {
            0b00 => Some(Insn::StpW(pair(4))),
            0b10 => Some(Insn::StpX(pair(8))),
            _ => None,
        }
    }
}

/// What `size` and `opc` mean for a single register.
enum Single {
    Store(Size),
    Load(LoadKind),
    Prefetch,
}

fn single(word: u32) -> Option<Single> {
    let size = size(word);
    Some(match (field(word, 23, 22), size) {
        (0b00, _) => Single::Store(size),
        (0b01, _) => Single::Load(LoadKind::Unsigned(size)),
        (0b10, Size::Double) => Single::Prefetch,
        (0b10, _) => Single::Load(LoadKind::SignedX(size)),
        (_, Size::Byte | Size::Half) => Single::Load(LoadKind::SignedW(size)),
        _ => return None,
    })
}

fn at_offset(word: u32, offset: i64) -> Option<Insn> {
    let rn = rn(word);
    Some(match single(word)? {
        Single::Store(size) => {
            let rt = source(word, 0);
            match size {
                Size::Byte => Insn::Strb { rt, rn, offset },
                Size::Half => Insn::Strh { rt, rn, offset },
                Size::Word => Insn::StrW { rt, rn, offset },
                Size::Double => Insn::StrX { rt, rn, offset },
            }
        }
        Single::Load(kind) => {
            let rt = destination(word, 0);
            match kind {
                LoadKind::Unsigned(Size::Byte) => Insn::Ldrb { rt, rn, offset },
                LoadKind::Unsigned(Size::Half) => Insn::Ldrh { rt, rn, offset },
                LoadKind::Unsigned(Size::Word) => Insn::LdrW { rt, rn, offset },
                LoadKind::Unsigned(Size::Double) => Insn::LdrX { rt, rn, offset },
                _ => Insn::Load {
                    kind,
                    rt,
                    rn,
                    offset,
                },
            }
        }
        Single::Prefetch => Insn::Nop,
    })
}

fn unscaled(word: u32) -> Option<Insn> {
    at_offset(word, signed(word, 20, 12))
}

fn unsigned(word: u32) -> Option<Insn> {
    at_offset(word, i64::from(field(word, 21, 10)) << field(word, 31, 30))
}

fn indexed(word: u32) -> Option<Insn> {
    let (t, n) = (field(word, 4, 0), field(word, 9, 5));
    if t == n && n != R31 {
        return None;
    }
    let (post, offset, rn) = (!bit(word, 11), signed(word, 20, 12) as i16, rn(word));
    match single(word)? {
        Single::Store(size) => Some(Insn::StoreIndexed {
            size,
            post,
            rt: source(word, 0),
            rn,
            offset,
        }),
        Single::Load(kind) => Some(Insn::LoadIndexed {
            kind,
            post,
            rt: destination(word, 0),
            rn,
            offset,
        }),
        Single::Prefetch => None,
    }
}

fn unprivileged(word: u32) -> Option<Insn> {
    let (offset, rn) = (signed(word, 20, 12) as i16, rn(word));
    match single(word)? {
        Single::Store(size) => Some(Insn::StoreUnprivileged {
            size,
            rt: source(word, 0),
            rn,
            offset,
        }),
        Single::Load(kind) => Some(Insn::LoadUnprivileged {
            kind,
            rt: destination(word, 0),
            rn,
            offset,
        }),
        Single::Prefetch => None,
    }
}

fn register(word: u32) -> Option<Insn> {
    let extend = decode_reg_extend(field(word, 15, 13));
    if matches!(
        extend,
        ExtendKind::Uxtb | ExtendKind::Uxth | ExtendKind::Sxtb | ExtendKind::Sxth
    ) {
        return None;
    }
    let shift = if bit(word, 12) {
        field(word, 31, 30) as u8
    } else {
        0
    };
    let (rn, rm) = (rn(word), source(word, 16));
    let plain = matches!(extend, ExtendKind::Uxtx | ExtendKind::Sxtx);
    Some(match single(word)? {
        Single::Store(Size::Double) if plain => Insn::StrLslX {
            rt: source(word, 0),
            rn,
            rm,
            shift,
        },
        Single::Store(size) => Insn::StoreRegister {
            size,
            rt: source(word, 0),
            rn,
            rm,
            extend,
            shift,
        },
        Single::Load(LoadKind::Unsigned(Size::Double)) if plain => Insn::LdrLslX {
            rt: destination(word, 0),
            rn,
            rm,
            shift,
        },
        Single::Load(kind) => Insn::LoadRegister {
            kind,
            rt: destination(word, 0),
            rn,
            rm,
            extend,
            shift,
        },
        Single::Prefetch => Insn::Nop,
    })
}

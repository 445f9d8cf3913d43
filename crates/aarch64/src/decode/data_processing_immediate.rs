//! Data processing -- immediate (DDI 0487, *A64 instruction set encoding*).

use super::{
    Insn, Pattern, bit, decode_bit_masks, destination, field, or_sp, pattern, signed, source,
};
use crate::registers::XZR;

pub(super) static PATTERNS: &[Pattern] = &[
    pattern("0 ll 10000 iiiiiiiiiiiiiiiiiii ddddd", "ADR", adr),
    pattern("1 ll 10000 iiiiiiiiiiiiiiiiiii ddddd", "ADRP", adr),
    pattern(
        "f 0 0 100010 h iiiiiiiiiiii nnnnn ddddd",
        "ADD (immediate)",
        add_sub,
    ),
    pattern(
        "f 0 1 100010 h iiiiiiiiiiii nnnnn ddddd",
        "ADDS (immediate)",
        add_sub,
    ),
    pattern(
        "f 1 0 100010 h iiiiiiiiiiii nnnnn ddddd",
        "SUB (immediate)",
        add_sub,
    ),
    pattern(
        "f 1 1 100010 h iiiiiiiiiiii nnnnn ddddd",
        "SUBS (immediate)",
        add_sub,
    ),
    pattern(
        "f 00 100100 N rrrrrr ssssss nnnnn ddddd",
        "AND (immediate)",
        logical,
    ),
    pattern(
        "f 01 100100 N rrrrrr ssssss nnnnn ddddd",
        "ORR (immediate)",
        logical,
    ),
    pattern(
        "f 10 100100 N rrrrrr ssssss nnnnn ddddd",
        "EOR (immediate)",
        logical,
    ),
    pattern(
        "f 11 100100 N rrrrrr ssssss nnnnn ddddd",
        "ANDS (immediate)",
        logical,
    ),
    pattern("f 00 100101 hh iiiiiiiiiiiiiiii ddddd", "MOVN", move_wide),
    pattern("f 10 100101 hh iiiiiiiiiiiiiiii ddddd", "MOVZ", move_wide),
    pattern("f 11 100101 hh iiiiiiiiiiiiiiii ddddd", "MOVK", move_wide),
    pattern("f 00 100110 N rrrrrr ssssss nnnnn ddddd", "SBFM", bitfield),
    pattern("f 01 100110 N rrrrrr ssssss nnnnn ddddd", "BFM", bitfield),
    pattern("f 10 100110 N rrrrrr ssssss nnnnn ddddd", "UBFM", bitfield),
    pattern("f 00 100111 N 0 mmmmm ssssss nnnnn ddddd", "EXTR", extract),
];

fn adr(word: u32) -> Option<Insn> {
    let rd = destination(word, 0);
    let offset = signed(word, 23, 5) << 2 | i64::from(field(word, 30, 29));
    Some(if bit(word, 31) {
        Insn::Adrp {
            rd,
            offset: offset << 12,
        }
    } else {
        Insn::Adr { rd, offset }
    })
}

fn add_sub(word: u32) -> Option<Insn> {
    let imm = u64::from(field(word, 21, 10)) << if bit(word, 22) { 12 } else { 0 };
    let rn = or_sp(word, 5);
    let rd = if bit(word, 29) {
        destination(word, 0)
    } else {
        or_sp(word, 0)
    };
    let negated = imm.wrapping_neg();
    // ADDS and SUBS keep apart: the carry of one is not that of the other with -imm when imm is 0.
    Some(match (bit(word, 31), bit(word, 30), bit(word, 29)) {
        (true, false, false) => Insn::AddImmX { rd, rn, imm },
        (true, true, false) => Insn::AddImmX {
            rd,
            rn,
            imm: negated,
        },
        (false, false, false) => Insn::AddImmW { rd, rn, imm },
        (false, true, false) => Insn::AddImmW {
            rd,
            rn,
            imm: negated,
        },
        (true, false, true) => Insn::AddsImmX { rd, rn, imm },
        (true, true, true) => Insn::SubsImmX { rd, rn, imm },
        (false, false, true) => Insn::AddsImmW { rd, rn, imm },
        (false, true, true) => Insn::SubsImmW { rd, rn, imm },
    })
}

fn logical(word: u32) -> Option<Insn> {
    let wide = bit(word, 31);
    let imm = decode_bit_masks(
        wide,
        field(word, 22, 22),
        field(word, 15, 10),
        field(word, 21, 16),
    )?;
    let rn = source(word, 5);
    let op = field(word, 30, 29);
    let rd = if op == 0b11 {
        destination(word, 0)
    } else {
        or_sp(word, 0)
    };
    Some(match (op, wide) {
        (0b00, _) => Insn::AndImm { rd, rn, imm },
        (0b01, _) if rn == XZR => Insn::MovImm { rd, imm },
        (0b01, true) => Insn::OrrImmX { rd, rn, imm },
        (0b01, false) => Insn::OrrImmW { rd, rn, imm },
        (0b10, true) => Insn::EorImmX { rd, rn, imm },
        (0b10, false) => Insn::EorImmW { rd, rn, imm },
        (_, true) => Insn::AndsImmX { rd, rn, imm },
        (_, false) => Insn::AndsImmW { rd, rn, imm },
    })
}

fn move_wide(word: u32) -> Option<Insn> {
    let wide = bit(word, 31);
    let register = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let shift = field(word, 22, 21) as u8 * 16;
    if !wide && shift >= 32 {
        return None;
    }
    let imm = field(word, 20, 5) as u16;
    let placed = u64::from(imm) << shift;
    let rd = destination(word, 0);
    Some(match field(word, 30, 29) {
        0b00 => Insn::MovImm {
            rd,
            imm: !placed & register,
        },
        0b10 => Insn::MovImm { rd, imm: placed },
        _ => Insn::Movk {
            rd,
            shift,
            imm,
            keep: register & !(0xffff << shift),
        },
    })
}

fn bitfield(word: u32) -> Option<Insn> {
    let wide = bit(word, 31);
    let size = if wide { 64 } else { 32 };
    let (r, s) = (field(word, 21, 16), field(word, 15, 10));
    if bit(word, 22) != wide || r >= size || s >= size {
        return None;
    }
    let (rn, rd) = (source(word, 5), destination(word, 0));
    // With s >= r, bits s to r move to the bottom; otherwise bits s to 0 move up to size - r. No bit
    // beyond the register's size takes part in either, so 64-bit shifts serve both sizes.
    let down = s >= r;
    let up_by = (size - r) % size;
    let mask = |width: u32| u64::MAX >> (64 - width);
    Some(match field(word, 30, 29) {
        0b00 => {
            let left = (63 - s) as u8;
            let right = if down { 63 - s + r } else { 63 - s - up_by } as u8;
            if wide {
                Insn::SbfmX {
                    rd,
                    rn,
                    left,
                    right,
                }
            } else {
                Insn::SbfmW {
                    rd,
                    rn,
                    left,
                    right,
                }
            }
        }
        0b01 => {
            let (rotate, mask) = if down {
                (r, mask(s - r + 1))
            } else {
                (64 - up_by, mask(s + 1) << up_by)
            };
            let rotate = rotate as u8;
            if wide {
                Insn::BfmX {
                    rd,
                    rn,
                    rotate,
                    mask,
                }
            } else {
                Insn::BfmW {
                    rd,
                    rn,
                    rotate,
                    mask,
                }
            }
        }
        _ if down && r == 0 => Insn::AndImm {
            rd,
            rn,
            imm: mask(s + 1),
        },
        _ if down => Insn::Ubfx {
            rd,
            rn,
            shift: r as u8,
            mask: mask(s - r + 1),
        },
        _ => Insn::Ubfiz {
            rd,
            rn,
            shift: up_by as u8,
            mask: mask(s + 1),
        },
    })
}

fn extract(word: u32) -> Option<Insn> {
    let wide = bit(word, 31);
    let lsb = field(word, 15, 10) as u8;
    if bit(word, 22) != wide || !wide && lsb >= 32 {
        return None;
    }
    let (rd, rn, rm) = (destination(word, 0), source(word, 5), source(word, 16));
    Some(if wide {
        Insn::ExtrX { rd, rn, rm, lsb }
    } else {
        Insn::ExtrW { rd, rn, rm, lsb }
    })
}

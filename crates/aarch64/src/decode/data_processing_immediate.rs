//! Data processing -- immediate (DDI 0487, *A64 instruction set encoding*).

use super::{
    BitfieldOp, Insn, LogicalOp, MoveWideOp, Pattern, bit, decode_bit_masks, field, or_sp, pattern,
    register, signed,
};

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
    let offset = signed(word, 23, 5) << 2 | i64::from(field(word, 30, 29));
    let page = bit(word, 31);
    Some(Insn::Adr {
        page,
        rd: register(word, 0),
        offset: if page { offset << 12 } else { offset },
    })
}

fn add_sub(word: u32) -> Option<Insn> {
    let set_flags = bit(word, 29);
    Some(Insn::AddSubImm {
        sub: bit(word, 30),
        set_flags,
        wide: bit(word, 31),
        rd: if set_flags {
            register(word, 0)
        } else {
            or_sp(word, 0)
        },
        rn: or_sp(word, 5),
        imm: field(word, 21, 10) as u16,
        shifted: bit(word, 22),
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
    let op = LogicalOp::from_opc(field(word, 30, 29));
    Some(Insn::LogicalImm {
        op,
        wide,
        rd: if op == LogicalOp::Ands {
            register(word, 0)
        } else {
            or_sp(word, 0)
        },
        rn: register(word, 5),
        imm,
    })
}

fn move_wide(word: u32) -> Option<Insn> {
    let (wide, shift) = (bit(word, 31), field(word, 22, 21) as u8 * 16);
    let op = match field(word, 30, 29) {
        0b00 => MoveWideOp::Movn,
        0b10 => MoveWideOp::Movz,
        _ => MoveWideOp::Movk,
    };
    (wide || shift < 32).then(|| Insn::MoveWide {
        op,
        wide,
        rd: register(word, 0),
        imm: field(word, 20, 5) as u16,
        shift,
    })
}

fn bitfield(word: u32) -> Option<Insn> {
    let wide = bit(word, 31);
    let size = if wide { 64 } else { 32 };
    let (immr, imms) = (field(word, 21, 16) as u8, field(word, 15, 10) as u8);
    let op = match field(word, 30, 29) {
        0b00 => BitfieldOp::Sbfm,
        0b01 => BitfieldOp::Bfm,
        _ => BitfieldOp::Ubfm,
    };
    (bit(word, 22) == wide && immr < size && imms < size).then(|| Insn::Bitfield {
        op,
        wide,
        rd: register(word, 0),
        rn: register(word, 5),
        immr,
        imms,
    })
}

fn extract(word: u32) -> Option<Insn> {
    let wide = bit(word, 31);
    let lsb = field(word, 15, 10) as u8;
    (bit(word, 22) == wide && (wide || lsb < 32)).then(|| Insn::Extract {
        wide,
        rd: register(word, 0),
        rn: register(word, 5),
        rm: register(word, 16),
        lsb,
    })
}

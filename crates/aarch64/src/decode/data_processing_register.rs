//! Data processing -- register (DDI 0487, *A64 instruction set encoding*).

use super::{
    ExtendKind, Insn, LogicalOp, Pattern, ShiftKind, bit, conditions, destination, field, or_sp,
    pattern, source,
};
use crate::bus::Size;
use crate::registers::XZR;

pub(super) static PATTERNS: &[Pattern] = &[
    // Two sources.
    pattern("f 0 0 11010110 mmmmm 000010 nnnnn ddddd", "UDIV", divide),
    pattern("f 0 0 11010110 mmmmm 000011 nnnnn ddddd", "SDIV", divide),
    pattern(
        "f 0 0 11010110 mmmmm 001000 nnnnn ddddd",
        "LSLV",
        shift_variable,
    ),
    pattern(
        "f 0 0 11010110 mmmmm 001001 nnnnn ddddd",
        "LSRV",
        shift_variable,
    ),
    pattern(
        "f 0 0 11010110 mmmmm 001010 nnnnn ddddd",
        "ASRV",
        shift_variable,
    ),
    pattern(
        "f 0 0 11010110 mmmmm 001011 nnnnn ddddd",
        "RORV",
        shift_variable,
    ),
    pattern("f 0 0 11010110 mmmmm 0100zz nnnnn ddddd", "CRC32", crc32),
    pattern("f 0 0 11010110 mmmmm 0101zz nnnnn ddddd", "CRC32C", crc32),
    // One source.
    pattern("0 1 0 11010110 00000 000000 nnnnn ddddd", "RBIT (32)", rbit),
    pattern("1 1 0 11010110 00000 000000 nnnnn ddddd", "RBIT (64)", rbit),
    pattern(
        "0 1 0 11010110 00000 000001 nnnnn ddddd",
        "REV16 (32)",
        rev16,
    ),
    pattern(
        "1 1 0 11010110 00000 000001 nnnnn ddddd",
        "REV16 (64)",
        rev16,
    ),
    pattern("0 1 0 11010110 00000 000010 nnnnn ddddd", "REV (32)", rev),
    pattern("1 1 0 11010110 00000 000010 nnnnn ddddd", "REV32", rev32),
    pattern("1 1 0 11010110 00000 000011 nnnnn ddddd", "REV (64)", rev),
    pattern("0 1 0 11010110 00000 000100 nnnnn ddddd", "CLZ (32)", clz),
    pattern("1 1 0 11010110 00000 000100 nnnnn ddddd", "CLZ (64)", clz),
    pattern("0 1 0 11010110 00000 000101 nnnnn ddddd", "CLS (32)", cls),
    pattern("1 1 0 11010110 00000 000101 nnnnn ddddd", "CLS (64)", cls),
    pattern(
        "f 00 01010 kk N mmmmm ssssss nnnnn ddddd",
        "AND, BIC (shifted)",
        logical,
    ),
    pattern(
        "f 01 01010 kk N mmmmm ssssss nnnnn ddddd",
        "ORR, ORN (shifted)",
        logical,
    ),
    pattern(
        "f 10 01010 kk N mmmmm ssssss nnnnn ddddd",
        "EOR, EON (shifted)",
        logical,
    ),
    pattern(
        "f 11 01010 kk N mmmmm ssssss nnnnn ddddd",
        "ANDS, BICS (shifted)",
        logical,
    ),
    pattern(
        "f o S 01011 kk 0 mmmmm ssssss nnnnn ddddd",
        "ADD, SUB (shifted)",
        add_sub_shifted,
    ),
    pattern(
        "f o S 01011 00 1 mmmmm eee sss nnnnn ddddd",
        "ADD, SUB (extended)",
        add_sub_extended,
    ),
    pattern(
        "f o S 11010000 mmmmm 000000 nnnnn ddddd",
        "ADC, SBC",
        add_sub_carry,
    ),
    pattern(
        "f 0 1 11010010 mmmmm cccc 0 0 nnnnn 0 ffff",
        "CCMN (register)",
        compare,
    ),
    pattern(
        "f 1 1 11010010 mmmmm cccc 0 0 nnnnn 0 ffff",
        "CCMP (register)",
        compare,
    ),
    pattern(
        "f 0 1 11010010 iiiii cccc 1 0 nnnnn 0 ffff",
        "CCMN (immediate)",
        compare,
    ),
    pattern(
        "f 1 1 11010010 iiiii cccc 1 0 nnnnn 0 ffff",
        "CCMP (immediate)",
        compare,
    ),
    pattern("f 0 0 11010100 mmmmm cccc 00 nnnnn ddddd", "CSEL", select),
    pattern("f 0 0 11010100 mmmmm cccc 01 nnnnn ddddd", "CSINC", select),
    pattern("f 1 0 11010100 mmmmm cccc 00 nnnnn ddddd", "CSINV", select),
    pattern("f 1 0 11010100 mmmmm cccc 01 nnnnn ddddd", "CSNEG", select),
    pattern("f 00 11011 000 mmmmm 0 aaaaa nnnnn ddddd", "MADD", multiply),
    pattern("f 00 11011 000 mmmmm 1 aaaaa nnnnn ddddd", "MSUB", multiply),
    pattern(
        "1 00 11011 001 mmmmm 0 aaaaa nnnnn ddddd",
        "SMADDL",
        multiply_long,
    ),
    pattern(
        "1 00 11011 001 mmmmm 1 aaaaa nnnnn ddddd",
        "SMSUBL",
        multiply_long,
    ),
    pattern(
        "1 00 11011 010 mmmmm 0 aaaaa nnnnn ddddd",
        "SMULH",
        multiply_high,
    ),
    pattern(
        "1 00 11011 101 mmmmm 0 aaaaa nnnnn ddddd",
        "UMADDL",
        multiply_long,
    ),
    pattern(
        "1 00 11011 101 mmmmm 1 aaaaa nnnnn ddddd",
        "UMSUBL",
        multiply_long,
    ),
    pattern(
        "1 00 11011 110 mmmmm 0 aaaaa nnnnn ddddd",
        "UMULH",
        multiply_high,
    ),
];

fn wide(word: u32) -> bool {
    bit(word, 31)
}

/// `(rd, rn, rm)`, with 31 as the zero register.
fn registers(word: u32) -> (u8, u8, u8) {
    (destination(word, 0), source(word, 5), source(word, 16))
}

fn divide(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    Some(match (wide(word), bit(word, 10)) {
        (true, false) => Insn::UdivX { rd, rn, rm },
        (false, false) => Insn::UdivW { rd, rn, rm },
        (true, true) => Insn::SdivX { rd, rn, rm },
        (false, true) => Insn::SdivW { rd, rn, rm },
    })
}

/// DDI 0487, `DecodeShift`.
fn decode_shift(op: u32) -> ShiftKind {
    match op {
        0b00 => ShiftKind::Lsl,
        0b01 => ShiftKind::Lsr,
        0b10 => ShiftKind::Asr,
        _ => ShiftKind::Ror,
    }
}

/// DDI 0487, `DecodeRegExtend`.
pub(super) fn decode_reg_extend(op: u32) -> ExtendKind {
    match op {
        0b000 => ExtendKind::Uxtb,
        0b001 => ExtendKind::Uxth,
        0b010 => ExtendKind::Uxtw,
        0b011 => ExtendKind::Uxtx,
        0b100 => ExtendKind::Sxtb,
        0b101 => ExtendKind::Sxth,
        0b110 => ExtendKind::Sxtw,
        _ => ExtendKind::Sxtx,
    }
}

fn shift_variable(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    let kind = decode_shift(field(word, 11, 10));
    Some(if wide(word) {
        Insn::ShiftX { kind, rd, rn, rm }
    } else {
        Insn::ShiftW { kind, rd, rn, rm }
    })
}

fn crc32(word: u32) -> Option<Insn> {
    let size = [Size::Byte, Size::Half, Size::Word, Size::Double][field(word, 11, 10) as usize];
    if wide(word) != (size == Size::Double) {
        return None;
    }
    let (rd, rn, rm) = registers(word);
    Some(Insn::Crc32 {
        castagnoli: bit(word, 12),
        size,
        rd,
        rn,
        rm,
    })
}

fn rbit(word: u32) -> Option<Insn> {
    let (rd, rn, _) = registers(word);
    Some(if wide(word) {
        Insn::RbitX { rd, rn }
    } else {
        Insn::RbitW { rd, rn }
    })
}

fn rev16(word: u32) -> Option<Insn> {
    let (rd, rn, _) = registers(word);
    Some(if wide(word) {
        Insn::Rev16X { rd, rn }
    } else {
        Insn::Rev16W { rd, rn }
    })
}

fn rev(word: u32) -> Option<Insn> {
    let (rd, rn, _) = registers(word);
    Some(if wide(word) {
        Insn::RevX { rd, rn }
    } else {
        Insn::RevW { rd, rn }
    })
}

fn rev32(word: u32) -> Option<Insn> {
    let (rd, rn, _) = registers(word);
    Some(Insn::Rev32X { rd, rn })
}

fn clz(word: u32) -> Option<Insn> {
    let (rd, rn, _) = registers(word);
    Some(if wide(word) {
        Insn::ClzX { rd, rn }
    } else {
        Insn::ClzW { rd, rn }
    })
}

fn cls(word: u32) -> Option<Insn> {
    let (rd, rn, _) = registers(word);
    Some(if wide(word) {
        Insn::ClsX { rd, rn }
    } else {
        Insn::ClsW { rd, rn }
    })
}

/// Kind and amount of the shift of Rm. `None` if it exceeds the register.
fn shifted(word: u32) -> Option<(ShiftKind, u8)> {
    let shift = field(word, 15, 10) as u8;
    (wide(word) || shift < 32).then(|| (decode_shift(field(word, 23, 22)), shift))
}

fn logical(word: u32) -> Option<Insn> {
    let (kind, shift) = shifted(word)?;
    let (rd, rn, rm) = registers(word);
    let (wide, invert) = (wide(word), bit(word, 21));
    let op = match field(word, 30, 29) {
        0b00 => LogicalOp::And,
        0b01 => LogicalOp::Orr,
        0b10 => LogicalOp::Eor,
        _ => LogicalOp::Ands,
    };
    let plain = shift == 0;
    Some(match (op, invert, wide) {
        (LogicalOp::And, false, true) if plain => Insn::AndX { rd, rn, rm },
        (LogicalOp::And, false, false) if plain => Insn::AndW { rd, rn, rm },
        (LogicalOp::And, true, true) if plain => Insn::BicX { rd, rn, rm },
        (LogicalOp::Orr, false, true) if plain && rn == XZR => Insn::MovX { rd, rm },
        (LogicalOp::Orr, false, false) if plain && rn == XZR => Insn::MovW { rd, rm },
        (LogicalOp::Orr, false, true) if plain => Insn::OrrX { rd, rn, rm },
        (LogicalOp::Orr, false, false) if plain => Insn::OrrW { rd, rn, rm },
        (LogicalOp::Orr, false, true) if kind == ShiftKind::Lsl => {
            Insn::OrrLslX { rd, rn, rm, shift }
        }
        (LogicalOp::Eor, false, true) if plain => Insn::EorX { rd, rn, rm },
        (LogicalOp::Eor, false, false) if plain => Insn::EorW { rd, rn, rm },
        (LogicalOp::Ands, false, true) if plain => Insn::AndsX { rd, rn, rm },
        (LogicalOp::Ands, false, false) if plain => Insn::AndsW { rd, rn, rm },
        _ => Insn::Logical {
            op,
            invert,
            wide,
            rd,
            rn,
            rm,
            kind,
            shift,
        },
    })
}

fn add_sub_shifted(word: u32) -> Option<Insn> {
    let (kind, shift) = shifted(word)?;
    if kind == ShiftKind::Ror {
        return None;
    }
    let (rd, rn, rm) = registers(word);
    let (wide, sub, set_flags) = (wide(word), bit(word, 30), bit(word, 29));
    Some(if shift == 0 {
        match (sub, set_flags, wide) {
            (false, false, true) => Insn::AddX { rd, rn, rm },
            (false, false, false) => Insn::AddW { rd, rn, rm },
            (true, false, true) => Insn::SubX { rd, rn, rm },
            (true, false, false) => Insn::SubW { rd, rn, rm },
            (false, true, true) => Insn::AddsX { rd, rn, rm },
            (false, true, false) => Insn::AddsW { rd, rn, rm },
            (true, true, true) => Insn::SubsX { rd, rn, rm },
            (true, true, false) => Insn::SubsW { rd, rn, rm },
        }
    } else {
        match (kind, sub, set_flags, wide) {
            (ShiftKind::Lsl, false, false, true) => Insn::AddLslX { rd, rn, rm, shift },
            (ShiftKind::Lsl, true, false, true) => Insn::SubLslX { rd, rn, rm, shift },
            _ => Insn::AddSubShifted {
                sub,
                set_flags,
                wide,
                rd,
                rn,
                rm,
                kind,
                shift,
            },
        }
    })
}

fn add_sub_extended(word: u32) -> Option<Insn> {
    let shift = field(word, 12, 10) as u8;
    if shift > 4 {
        return None;
    }
    let (wide, sub, set_flags) = (wide(word), bit(word, 30), bit(word, 29));
    let (rn, rm) = (or_sp(word, 5), source(word, 16));
    let rd = if set_flags {
        destination(word, 0)
    } else {
        or_sp(word, 0)
    };
    let kind = decode_reg_extend(field(word, 15, 13));
    Some(Insn::AddSubExtended {
        sub,
        set_flags,
        wide,
        rd,
        rn,
        rm,
        kind,
        shift,
    })
}

fn add_sub_carry(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    let (wide, sub, set_flags) = (wide(word), bit(word, 30), bit(word, 29));
    Some(Insn::AddSubCarry {
        sub,
        set_flags,
        wide,
        rd,
        rn,
        rm,
    })
}

fn compare(word: u32) -> Option<Insn> {
    let (wide, sub) = (wide(word), bit(word, 30));
    let nzcv = field(word, 3, 0) as u8;
    let (rn, rm) = (source(word, 5), source(word, 16));
    let conditions = conditions(field(word, 15, 12));
    Some(if bit(word, 11) {
        let imm = field(word, 20, 16) as u8;
        Insn::CcmpImm {
            sub,
            wide,
            nzcv,
            rn,
            imm,
            conditions,
        }
    } else {
        Insn::CcmpReg {
            sub,
            wide,
            nzcv,
            rn,
            rm,
            conditions,
        }
    })
}

fn select(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    let conditions = conditions(field(word, 15, 12));
    Some(match (bit(word, 30), bit(word, 10), wide(word)) {
        (false, false, true) => Insn::CselX {
            rd,
            rn,
            rm,
            conditions,
        },
        (false, false, false) => Insn::CselW {
            rd,
            rn,
            rm,
            conditions,
        },
        (false, true, true) => Insn::CsincX {
            rd,
            rn,
            rm,
            conditions,
        },
        (false, true, false) => Insn::CsincW {
            rd,
            rn,
            rm,
            conditions,
        },
        (true, false, true) => Insn::CsinvX {
            rd,
            rn,
            rm,
            conditions,
        },
        (true, false, false) => Insn::CsinvW {
            rd,
            rn,
            rm,
            conditions,
        },
        (true, true, true) => Insn::CsnegX {
            rd,
            rn,
            rm,
            conditions,
        },
        (true, true, false) => Insn::CsnegW {
            rd,
            rn,
            rm,
            conditions,
        },
    })
}

fn multiply(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    let ra = source(word, 10);
    Some(match (bit(word, 15), wide(word)) {
        (false, true) => Insn::MaddX { rd, rn, rm, ra },
        (false, false) => Insn::MaddW { rd, rn, rm, ra },
        (true, true) => Insn::MsubX { rd, rn, rm, ra },
        (true, false) => Insn::MsubW { rd, rn, rm, ra },
    })
}

fn multiply_long(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    let ra = source(word, 10);
    Some(match (bit(word, 23), bit(word, 15)) {
        (false, false) => Insn::Smaddl { rd, rn, rm, ra },
        (false, true) => Insn::Smsubl { rd, rn, rm, ra },
        (true, false) => Insn::Umaddl { rd, rn, rm, ra },
        (true, true) => Insn::Umsubl { rd, rn, rm, ra },
    })
}

fn multiply_high(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    Some(if bit(word, 23) {
        Insn::Umulh { rd, rn, rm }
    } else {
        Insn::Smulh { rd, rn, rm }
    })
}

//! Data processing -- register (DDI 0487, *A64 instruction set encoding*).

use super::{
    CondSelOp, Condition, ExtendKind, Insn, LogicalOp, OneSourceOp, Pattern, ShiftKind, bit, field,
    or_sp, pattern, register,
};
use crate::bus::Size;

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
    pattern(
        "0 1 0 11010110 00000 000000 nnnnn ddddd",
        "RBIT (32)",
        one_source,
    ),
    pattern(
        "1 1 0 11010110 00000 000000 nnnnn ddddd",
        "RBIT (64)",
        one_source,
    ),
    pattern(
        "0 1 0 11010110 00000 000001 nnnnn ddddd",
        "REV16 (32)",
        one_source,
    ),
    pattern(
        "1 1 0 11010110 00000 000001 nnnnn ddddd",
        "REV16 (64)",
        one_source,
    ),
    pattern(
        "0 1 0 11010110 00000 000010 nnnnn ddddd",
        "REV (32)",
        one_source,
    ),
    pattern(
        "1 1 0 11010110 00000 000010 nnnnn ddddd",
        "REV32",
        one_source,
    ),
    pattern(
        "1 1 0 11010110 00000 000011 nnnnn ddddd",
        "REV (64)",
        one_source,
    ),
    pattern(
        "0 1 0 11010110 00000 000100 nnnnn ddddd",
        "CLZ (32)",
        one_source,
    ),
    pattern(
        "1 1 0 11010110 00000 000100 nnnnn ddddd",
        "CLZ (64)",
        one_source,
    ),
    pattern(
        "0 1 0 11010110 00000 000101 nnnnn ddddd",
        "CLS (32)",
        one_source,
    ),
    pattern(
        "1 1 0 11010110 00000 000101 nnnnn ddddd",
        "CLS (64)",
        one_source,
    ),
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
    (register(word, 0), register(word, 5), register(word, 16))
}

fn divide(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    Some(Insn::Divide {
        signed: bit(word, 10),
        wide: wide(word),
        rd,
        rn,
        rm,
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
    Some(Insn::ShiftVariable {
        kind: decode_shift(field(word, 11, 10)),
        wide: wide(word),
        rd,
        rn,
        rm,
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

fn one_source(word: u32) -> Option<Insn> {
    let (rd, rn, _) = registers(word);
    let op = match field(word, 15, 10) {
        0b000000 => OneSourceOp::Rbit,
        0b000001 => OneSourceOp::Rev16,
        0b000010 => OneSourceOp::Rev32,
        0b000011 => OneSourceOp::Rev64,
        0b000100 => OneSourceOp::Clz,
        _ => OneSourceOp::Cls,
    };
    Some(Insn::OneSource {
        op,
        wide: wide(word),
        rd,
        rn,
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
    Some(Insn::LogicalShifted {
        op: LogicalOp::from_opc(field(word, 30, 29)),
        invert: bit(word, 21),
        wide: wide(word),
        rd,
        rn,
        rm,
        kind,
        shift,
    })
}

fn add_sub_shifted(word: u32) -> Option<Insn> {
    let (kind, shift) = shifted(word)?;
    let (rd, rn, rm) = registers(word);
    (kind != ShiftKind::Ror).then(|| Insn::AddSubShifted {
        sub: bit(word, 30),
        set_flags: bit(word, 29),
        wide: wide(word),
        rd,
        rn,
        rm,
        kind,
        shift,
    })
}

fn add_sub_extended(word: u32) -> Option<Insn> {
    let shift = field(word, 12, 10) as u8;
    let set_flags = bit(word, 29);
    (shift <= 4).then(|| Insn::AddSubExtended {
        sub: bit(word, 30),
        set_flags,
        wide: wide(word),
        rd: if set_flags {
            register(word, 0)
        } else {
            or_sp(word, 0)
        },
        rn: or_sp(word, 5),
        rm: register(word, 16),
        kind: decode_reg_extend(field(word, 15, 13)),
        shift,
    })
}

fn add_sub_carry(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    Some(Insn::AddSubCarry {
        sub: bit(word, 30),
        set_flags: bit(word, 29),
        wide: wide(word),
        rd,
        rn,
        rm,
    })
}

fn compare(word: u32) -> Option<Insn> {
    let (wide, sub) = (wide(word), bit(word, 30));
    let nzcv = field(word, 3, 0) as u8;
    let rn = register(word, 5);
    let condition = Condition::new(field(word, 15, 12));
    Some(if bit(word, 11) {
        let imm = field(word, 20, 16) as u8;
        Insn::CondCompareImm {
            sub,
            wide,
            rn,
            imm,
            nzcv,
            condition,
        }
    } else {
        let rm = register(word, 16);
        Insn::CondCompareReg {
            sub,
            wide,
            rn,
            rm,
            nzcv,
            condition,
        }
    })
}

fn select(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    let op = match (bit(word, 30), bit(word, 10)) {
        (false, false) => CondSelOp::Csel,
        (false, true) => CondSelOp::Csinc,
        (true, false) => CondSelOp::Csinv,
        (true, true) => CondSelOp::Csneg,
    };
    Some(Insn::CondSel {
        op,
        wide: wide(word),
        rd,
        rn,
        rm,
        condition: Condition::new(field(word, 15, 12)),
    })
}

fn multiply(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    Some(Insn::MultiplyAdd {
        sub: bit(word, 15),
        wide: wide(word),
        rd,
        rn,
        rm,
        ra: register(word, 10),
    })
}

fn multiply_long(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    Some(Insn::MultiplyAddLong {
        sub: bit(word, 15),
        signed: !bit(word, 23),
        rd,
        rn,
        rm,
        ra: register(word, 10),
    })
}

fn multiply_high(word: u32) -> Option<Insn> {
    let (rd, rn, rm) = registers(word);
    Some(Insn::MultiplyHigh {
        signed: !bit(word, 23),
        rd,
        rn,
        rm,
    })
}

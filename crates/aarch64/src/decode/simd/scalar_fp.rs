//! *Data processing -- scalar floating-point*.

use super::{Condition, FixedOp, FpThreeSame, FpTwoRegister, SimdInsn, bit, field};
use crate::decode::register;

/// The format of ptype as the logarithm of its bytes: single or double.
fn format(word: u32) -> Option<u8> {
    match field(word, 22, 2) {
        0b00 => Some(2),
        0b01 => Some(3),
        _ => None,
    }
}

fn registers(word: u32) -> (u8, u8, u8) {
    (field(word, 0, 5), field(word, 5, 5), field(word, 16, 5))
}

pub(super) fn fixed_convert(word: u32) -> Option<SimdInsn> {
    let (wide, log2) = (bit(word, 31), format(word)?);
    let scale = field(word, 10, 6);
    if !wide && scale < 32 {
        return None;
    }
    let fraction_bits = 64 - scale;
    let (rd, rn, _) = registers(word);
    match field(word, 16, 5) {
        op @ (0b00_010 | 0b00_011) => {
            let signed = op & 1 == 0;
            Some(SimdInsn::FpFromGeneral {
                signed,
                log2,
                wide,
                fraction_bits,
                rd,
                rn: register(word, 5),
            })
        }
        op @ (0b11_000 | 0b11_001) => {
            let op = if op & 1 == 0 {
                FixedOp::Fcvtzs
            } else {
                FixedOp::Fcvtzu
            };
            let rd = register(word, 0);
            Some(SimdInsn::FpToGeneral {
                op,
                log2,
                wide,
                fraction_bits,
                rd,
                rn,
            })
        }
        _ => None,
    }
}

pub(super) fn integer_convert(word: u32) -> Option<SimdInsn> {
    use FixedOp::{Fcvtas, Fcvtau, Fcvtms, Fcvtmu, Fcvtns, Fcvtnu, Fcvtps, Fcvtpu, Fcvtzs, Fcvtzu};
    let wide = bit(word, 31);
    let (rd, rn, _) = registers(word);
    let (rmode, opcode) = (field(word, 19, 2), field(word, 16, 3));
    if opcode >= 0b110 {
        let log2 = match (wide, field(word, 22, 2), rmode) {
            (false, 0b00, 0) => 2,
            (true, 0b01, 0) => 3,
            (true, 0b10, 1) => 4,
            _ => return None,
        };
        return Some(if opcode == 0b110 {
            SimdInsn::FpMoveToGeneral {
                log2,
                rd: register(word, 0),
                rn,
            }
        } else {
            SimdInsn::FpMoveFromGeneral {
                log2,
                rd,
                rn: register(word, 5),
            }
        });
    }
    let log2 = format(word)?;
    let op = match (rmode, opcode) {
        (0, 0b010 | 0b011) => {
            let signed = opcode & 1 == 0;
            let rn = register(word, 5);
            return Some(SimdInsn::FpFromGeneral {
                signed,
                log2,
                wide,
                fraction_bits: 0,
                rd,
                rn,
            });
        }
        (0, 0b000) => Fcvtns,
        (0, 0b001) => Fcvtnu,
        (1, 0b000) => Fcvtps,
        (1, 0b001) => Fcvtpu,
        (2, 0b000) => Fcvtms,
        (2, 0b001) => Fcvtmu,
        (3, 0b000) => Fcvtzs,
        (3, 0b001) => Fcvtzu,
        (0, 0b100) => Fcvtas,
        (0, 0b101) => Fcvtau,
        _ => return None,
    };
    Some(SimdInsn::FpToGeneral {
        op,
        log2,
        wide,
        fraction_bits: 0,
        rd: register(word, 0),
        rn,
    })
}

pub(super) fn one_source(word: u32) -> Option<SimdInsn> {
    use FpTwoRegister::{
        Fabs, Fmov, Fneg, Frinta, Frinti, Frintm, Frintn, Frintp, Frintx, Frintz, Fsqrt,
    };
    let (rd, rn, _) = registers(word);
    let opcode = field(word, 15, 6);
    if opcode & !3 == 0b000100 {
        // FCVT: single, double, (unallocated), half.
        let log2 = |ptype| match ptype {
            0b00 => Some(2),
            0b01 => Some(3),
            0b11 => Some(1),
            _ => None,
        };
        let (from, to) = (log2(field(word, 22, 2))?, log2(opcode & 3)?);
        return (from != to).then_some(SimdInsn::FpConvert { from, to, rd, rn });
    }
    let log2 = format(word)?;
    let op = match opcode {
        0b000000 => Fmov,
        0b000001 => Fabs,
        0b000010 => Fneg,
        0b000011 => Fsqrt,
        0b001000 => Frintn,
        0b001001 => Frintp,
        0b001010 => Frintm,
        0b001011 => Frintz,
        0b001100 => Frinta,
        0b001110 => Frintx,
        0b001111 => Frinti,
        _ => return None,
    };
    Some(SimdInsn::FpOneSource { op, log2, rd, rn })
}

pub(super) fn compare(word: u32) -> Option<SimdInsn> {
    let (_, rn, rm) = registers(word);
    Some(SimdInsn::FpCompare {
        log2: format(word)?,
        signal: bit(word, 4),
        with_zero: bit(word, 3),
        rn,
        rm,
    })
}

pub(super) fn immediate(word: u32) -> Option<SimdInsn> {
    Some(SimdInsn::FpImmediate {
        log2: format(word)?,
        rd: field(word, 0, 5),
        imm8: field(word, 13, 8),
    })
}

pub(super) fn conditional_compare(word: u32) -> Option<SimdInsn> {
    let (_, rn, rm) = registers(word);
    Some(SimdInsn::FpConditionalCompare {
        log2: format(word)?,
        signal: bit(word, 4),
        condition: Condition::new(field(word, 12, 4).into()),
        nzcv: field(word, 0, 4),
        rn,
        rm,
    })
}

pub(super) fn two_source(word: u32) -> Option<SimdInsn> {
    use FpThreeSame::{Fadd, Fdiv, Fmax, Fmaxnm, Fmin, Fminnm, Fmul, Fnmul, Fsub};
    let (rd, rn, rm) = registers(word);
    let log2 = format(word)?;
    let op = match field(word, 12, 4) {
        0b0000 => Fmul,
        0b0001 => Fdiv,
        0b0010 => Fadd,
        0b0011 => Fsub,
        0b0100 => Fmax,
        0b0101 => Fmin,
        0b0110 => Fmaxnm,
        0b0111 => Fminnm,
        0b1000 => Fnmul,
        _ => return None,
    };
    Some(SimdInsn::FpTwoSource {
        op,
        log2,
        rd,
        rn,
        rm,
    })
}

pub(super) fn conditional_select(word: u32) -> Option<SimdInsn> {
    let (rd, rn, rm) = registers(word);
    Some(SimdInsn::FpSelect {
        log2: format(word)?,
        condition: Condition::new(field(word, 12, 4).into()),
        rd,
        rn,
        rm,
    })
}

pub(super) fn three_source(word: u32) -> Option<SimdInsn> {
    let (rd, rn, rm) = registers(word);
    let (o1, o0) = (bit(word, 21), bit(word, 15));
    Some(SimdInsn::FpThreeSource {
        negate_product: o1 != o0,
        negate_addend: o1,
        log2: format(word)?,
        rd,
        rn,
        rm,
        ra: field(word, 10, 5),
    })
}

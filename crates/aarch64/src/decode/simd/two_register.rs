//! *Two-register miscellaneous*, vector and scalar.

use super::vector::Fields;
use super::{FixedOp, FpTwoRegister, Narrow, SimdInsn, TwoRegister, field};

/// The operations on one operand, before reserved sizes are sorted out.
enum Unary {
    Integer(TwoRegister),
    Narrow(Narrow),
    Fp(FpTwoRegister),
    Fixed(FixedOp),
}

/// The opcodes that the vector and the scalar form have in common.
fn common_two_register(u: bool, size: u8, opcode: u8) -> Option<Unary> {
    use FixedOp::{
        Fcvtas, Fcvtau, Fcvtms, Fcvtmu, Fcvtns, Fcvtnu, Fcvtps, Fcvtpu, Fcvtzs, Fcvtzu, Scvtf,
        Ucvtf,
    };
    use FpTwoRegister::{Fcmeq0, Fcmge0, Fcmgt0, Fcmle0, Fcmlt0, Frecpe, Frsqrte};
    use TwoRegister::{Abs, Cmeq0, Cmge0, Cmgt0, Cmle0, Cmlt0, Neg, Sqabs, Sqneg, Suqadd, Usqadd};
    use Unary::{Fixed, Fp, Integer};
    Some(match (u, opcode, size >= 2) {
        (false, 0b00011, _) => Integer(Suqadd),
        (true, 0b00011, _) => Integer(Usqadd),
        (false, 0b00111, _) => Integer(Sqabs),
        (true, 0b00111, _) => Integer(Sqneg),
        (false, 0b01000, _) => Integer(Cmgt0),
        (true, 0b01000, _) => Integer(Cmge0),
        (false, 0b01001, _) => Integer(Cmeq0),
        (true, 0b01001, _) => Integer(Cmle0),
        (false, 0b01010, _) => Integer(Cmlt0),
        (false, 0b01011, _) => Integer(Abs),
        (true, 0b01011, _) => Integer(Neg),
        (true, 0b10010, _) => Unary::Narrow(Narrow::SignedToUnsigned),
        (false, 0b10100, _) => Unary::Narrow(Narrow::Signed),
        (true, 0b10100, _) => Unary::Narrow(Narrow::Unsigned),
        (false, 0b11010, false) => Fixed(Fcvtns),
        (true, 0b11010, false) => Fixed(Fcvtnu),
        (false, 0b11011, false) => Fixed(Fcvtms),
        (true, 0b11011, false) => Fixed(Fcvtmu),
        (false, 0b11100, false) => Fixed(Fcvtas),
        (true, 0b11100, false) => Fixed(Fcvtau),
        (false, 0b11101, false) => Fixed(Scvtf),
        (true, 0b11101, false) => Fixed(Ucvtf),
        (false, 0b01100, true) => Fp(Fcmgt0),
        (true, 0b01100, true) => Fp(Fcmge0),
        (false, 0b01101, true) => Fp(Fcmeq0),
        (true, 0b01101, true) => Fp(Fcmle0),
        (false, 0b01110, true) => Fp(Fcmlt0),
        (false, 0b11010, true) => Fixed(Fcvtps),
        (true, 0b11010, true) => Fixed(Fcvtpu),
        (false, 0b11011, true) => Fixed(Fcvtzs),
        (true, 0b11011, true) => Fixed(Fcvtzu),
        (false, 0b11101, true) => Fp(Frecpe),
        (true, 0b11101, true) => Fp(Frsqrte),
        _ => return None,
    })
}

pub(super) fn scalar_two_register(word: u32) -> Option<SimdInsn> {
    use TwoRegister::{Sqabs, Sqneg, Suqadd, Usqadd};
    let f = Fields::new(word);
    let (rd, rn) = (f.rd, f.rn);
    let fp = f.fp_log2();
    match (f.u, field(word, 12, 5), f.size) {
        (false, 0b11111, 2 | 3) => {
            let op = FpTwoRegister::Frecpx;
            return Some(SimdInsn::FpTwoRegister {
                op,
                log2: fp,
                width: fp,
                rd,
                rn,
            });
        }
        (true, 0b10110, 1) => {
            return Some(SimdInsn::FpNarrow {
                odd: true,
                log2: 2,
                width: 2,
                high: false,
                rd,
                rn,
            });
        }
        _ => {}
    }
    Some(
        match common_two_register(f.u, f.size, field(word, 12, 5))? {
            Unary::Integer(op) => {
                if f.size != 3 && !matches!(op, Suqadd | Usqadd | Sqabs | Sqneg) {
                    return None;
                }
                SimdInsn::TwoRegister {
                    op,
                    log2: f.size,
                    width: f.size,
                    rd,
                    rn,
                }
            }
            Unary::Narrow(op) => {
                if f.size == 3 {
                    return None;
                }
                SimdInsn::Narrow {
                    op,
                    log2: f.size,
                    width: f.size,
                    high: false,
                    shift: 0,
                    rd,
                    rn,
                }
            }
            Unary::Fp(op) => SimdInsn::FpTwoRegister {
                op,
                log2: fp,
                width: fp,
                rd,
                rn,
            },
            Unary::Fixed(op) => SimdInsn::FpFixed {
                op,
                log2: fp,
                width: fp,
                fraction_bits: 0,
                rd,
                rn,
            },
        },
    )
}

/// The opcodes that only the vector form has.
fn vector_two_register(u: bool, size: u8, opcode: u8) -> Option<Unary> {
    use FpTwoRegister::{
        Fabs, Fneg, Frinta, Frinti, Frintm, Frintn, Frintp, Frintx, Frintz, Fsqrt,
    };
    use TwoRegister::{
        Cls, Clz, Cnt, Not, Rbit, Rev16, Rev32, Rev64, Sadalp, Saddlp, Uadalp, Uaddlp, Urecpe,
        Ursqrte,
    };
    use Unary::{Fp, Integer};
    Some(match (u, opcode, size) {
        (false, 0b00000, 0..=2) => Integer(Rev64),
        (true, 0b00000, 0..=1) => Integer(Rev32),
        (false, 0b00001, 0) => Integer(Rev16),
        (false, 0b00010, 0..=2) => Integer(Saddlp),
        (true, 0b00010, 0..=2) => Integer(Uaddlp),
        (false, 0b00100, 0..=2) => Integer(Cls),
        (true, 0b00100, 0..=2) => Integer(Clz),
        (false, 0b00101, 0) => Integer(Cnt),
        (true, 0b00101, 0) => Integer(Not),
        (true, 0b00101, 1) => Integer(Rbit),
        (false, 0b00110, 0..=2) => Integer(Sadalp),
        (true, 0b00110, 0..=2) => Integer(Uadalp),
        (false, 0b10010, _) => Unary::Narrow(Narrow::Cut),
        (false, 0b11000, 0 | 1) => Fp(Frintn),
        (true, 0b11000, 0 | 1) => Fp(Frinta),
        (false, 0b11001, 0 | 1) => Fp(Frintm),
        (true, 0b11001, 0 | 1) => Fp(Frintx),
        (false, 0b01111, 2 | 3) => Fp(Fabs),
        (true, 0b01111, 2 | 3) => Fp(Fneg),
        (false, 0b11000, 2 | 3) => Fp(Frintp),
        (false, 0b11001, 2 | 3) => Fp(Frintz),
        (true, 0b11001, 2 | 3) => Fp(Frinti),
        (false, 0b11100, 2) => Integer(Urecpe),
        (true, 0b11100, 2) => Integer(Ursqrte),
        (true, 0b11111, 2 | 3) => Fp(Fsqrt),
        _ => return None,
    })
}

pub(super) fn two_register(word: u32) -> Option<SimdInsn> {
    let f = Fields::new(word);
    let (rd, rn, width, high) = (f.rd, f.rn, f.width(), f.q);
    let opcode = field(word, 12, 5);
    match (f.u, opcode, f.size) {
        (true, 0b10011, 0..=2) => {
            let shift = 8 << f.size;
            return Some(SimdInsn::Widen {
                signed: false,
                log2: f.size,
                high,
                shift,
                rd,
                rn,
            });
        }
        (false, 0b10110, 0 | 1) => {
            let log2 = 1 + f.size;
            return Some(SimdInsn::FpNarrow {
                odd: false,
                log2,
                width: 3,
                high,
                rd,
                rn,
            });
        }
        (true, 0b10110, 1) => {
            return Some(SimdInsn::FpNarrow {
                odd: true,
                log2: 2,
                width: 3,
                high,
                rd,
                rn,
            });
        }
        (false, 0b10111, 0 | 1) => {
            return Some(SimdInsn::FpLengthen {
                log2: 1 + f.size,
                high,
                rd,
                rn,
            });
        }
        _ => {}
    }
    let op = common_two_register(f.u, f.size, opcode)
        .or_else(|| vector_two_register(f.u, f.size, opcode))?;
    let fp = f.fp_log2();
    Some(match op {
        Unary::Integer(op) => {
            if f.lone(f.size) {
                return None;
            }
            SimdInsn::TwoRegister {
                op,
                log2: f.size,
                width,
                rd,
                rn,
            }
        }
        Unary::Narrow(op) => {
            if f.size == 3 {
                return None;
            }
            SimdInsn::Narrow {
                op,
                log2: f.size,
                width: 3,
                high,
                shift: 0,
                rd,
                rn,
            }
        }
        Unary::Fp(op) if !f.lone(fp) => SimdInsn::FpTwoRegister {
            op,
            log2: fp,
            width,
            rd,
            rn,
        },
        Unary::Fixed(op) if !f.lone(fp) => SimdInsn::FpFixed {
            op,
            log2: fp,
            width,
            fraction_bits: 0,
            rd,
            rn,
        },
        _ => return None,
    })
}

//! *Three same* and *three different*, vector and scalar.

use super::vector::Fields;
use super::{FpThreeSame, Logical, SimdInsn, ThreeDifferent, ThreeSame, field};

pub(super) fn scalar_three_different(word: u32) -> Option<SimdInsn> {
    use ThreeDifferent::{Sqdmlal, Sqdmlsl, Sqdmull};
    let f = Fields::new(word);
    let op = match (f.u, field(word, 12, 4)) {
        (false, 0b1001) => Sqdmlal,
        (false, 0b1011) => Sqdmlsl,
        (false, 0b1101) => Sqdmull,
        _ => return None,
    };
    if !matches!(f.size, 1 | 2) {
        return None;
    }
    Some(SimdInsn::ScalarLong {
        op,
        log2: f.size,
        index: None,
        rd: f.rd,
        rn: f.rn,
        rm: f.rm,
    })
}

/// Integer opcodes of *three same*.
fn three_same_integer(u: bool, opcode: u8) -> Option<ThreeSame> {
    use ThreeSame::{
        Add, Addp, Cmeq, Cmge, Cmgt, Cmhi, Cmhs, Cmtst, Mla, Mls, Mul, Pmul, Saba, Sabd, Shadd,
        Shsub, Smax, Smaxp, Smin, Sminp, Sqadd, Sqdmulh, Sqrdmulh, Sqrshl, Sqshl, Sqsub, Srhadd,
        Srshl, Sshl, Sub, Uaba, Uabd, Uhadd, Uhsub, Umax, Umaxp, Umin, Uminp, Uqadd, Uqrshl, Uqshl,
        Uqsub, Urhadd, Urshl, Ushl,
    };
    let pair = match opcode {
        0b00000 => [Shadd, Uhadd],
        0b00001 => [Sqadd, Uqadd],
        0b00010 => [Srhadd, Urhadd],
        0b00100 => [Shsub, Uhsub],
        0b00101 => [Sqsub, Uqsub],
        0b00110 => [Cmgt, Cmhi],
        0b00111 => [Cmge, Cmhs],
        0b01000 => [Sshl, Ushl],
        0b01001 => [Sqshl, Uqshl],
        0b01010 => [Srshl, Urshl],
        0b01011 => [Sqrshl, Uqrshl],
        0b01100 => [Smax, Umax],
        0b01101 => [Smin, Umin],
        0b01110 => [Sabd, Uabd],
        0b01111 => [Saba, Uaba],
        0b10000 => [Add, Sub],
        0b10001 => [Cmtst, Cmeq],
        0b10010 => [Mla, Mls],
        0b10011 => [Mul, Pmul],
        0b10100 => [Smaxp, Umaxp],
        0b10101 => [Sminp, Uminp],
        0b10110 => [Sqdmulh, Sqrdmulh],
        0b10111 if !u => [Addp, Addp],
        _ => return None,
    };
    Some(pair[usize::from(u)])
}

/// Floating-point opcodes of *three same*; `high` is the upper bit of size.
fn three_same_fp(u: bool, high: bool, opcode: u8) -> Option<FpThreeSame> {
    use FpThreeSame::{
        Fabd, Facge, Facgt, Fadd, Faddp, Fcmeq, Fcmge, Fcmgt, Fdiv, Fmax, Fmaxnm, Fmaxnmp, Fmaxp,
        Fmin, Fminnm, Fminnmp, Fminp, Fmla, Fmls, Fmul, Fmulx, Frecps, Frsqrts, Fsub,
    };
    Some(match (u, high, opcode) {
        (false, false, 0b11000) => Fmaxnm,
        (false, false, 0b11001) => Fmla,
        (false, false, 0b11010) => Fadd,
        (false, false, 0b11011) => Fmulx,
        (false, false, 0b11100) => Fcmeq,
        (false, false, 0b11110) => Fmax,
        (false, false, 0b11111) => Frecps,
        (false, true, 0b11000) => Fminnm,
        (false, true, 0b11001) => Fmls,
        (false, true, 0b11010) => Fsub,
        (false, true, 0b11110) => Fmin,
        (false, true, 0b11111) => Frsqrts,
        (true, false, 0b11000) => Fmaxnmp,
        (true, false, 0b11010) => Faddp,
        (true, false, 0b11011) => Fmul,
        (true, false, 0b11100) => Fcmge,
        (true, false, 0b11101) => Facge,
        (true, false, 0b11110) => Fmaxp,
        (true, false, 0b11111) => Fdiv,
        (true, true, 0b11000) => Fminnmp,
        (true, true, 0b11010) => Fabd,
        (true, true, 0b11100) => Fcmgt,
        (true, true, 0b11101) => Facgt,
        (true, true, 0b11110) => Fminp,
        _ => return None,
    })
}

pub(super) fn scalar_three_same(word: u32) -> Option<SimdInsn> {
    use FpThreeSame::{Fabd, Facge, Facgt, Fcmeq, Fcmge, Fcmgt, Fmulx, Frecps, Frsqrts};
    use ThreeSame::{
        Add, Cmeq, Cmge, Cmgt, Cmhi, Cmhs, Cmtst, Sqadd, Sqdmulh, Sqrdmulh, Sqrshl, Sqshl, Sqsub,
        Srshl, Sshl, Sub, Uqadd, Uqrshl, Uqshl, Uqsub, Urshl, Ushl,
    };
    let f = Fields::new(word);
    let (rd, rn, rm) = (f.rd, f.rn, f.rm);
    let opcode = field(word, 11, 5);
    if opcode >= 0b11000 {
        let op = three_same_fp(f.u, f.size >= 2, opcode)?;
        let log2 = f.fp_log2();
        return matches!(
            op,
            Fmulx | Fcmeq | Frecps | Frsqrts | Fcmge | Facge | Fabd | Fcmgt | Facgt
        )
        .then_some(SimdInsn::FpThreeSame {
            op,
            log2,
            width: log2,
            rd,
            rn,
            rm,
        });
    }
    let op = three_same_integer(f.u, opcode)?;
    let allowed = match op {
        Sqadd | Uqadd | Sqsub | Uqsub | Sqshl | Uqshl | Sqrshl | Uqrshl => true,
        Cmgt | Cmhi | Cmge | Cmhs | Sshl | Ushl | Srshl | Urshl | Add | Sub | Cmtst | Cmeq => {
            f.size == 3
        }
        Sqdmulh | Sqrdmulh => matches!(f.size, 1 | 2),
        _ => false,
    };
    allowed.then_some(SimdInsn::ThreeSame {
        op,
        log2: f.size,
        width: f.size,
        rd,
        rn,
        rm,
    })
}

pub(super) fn three_same(word: u32) -> Option<SimdInsn> {
    use ThreeSame::{
        Add, Addp, Cmeq, Cmge, Cmgt, Cmhi, Cmhs, Cmtst, Pmul, Sqadd, Sqdmulh, Sqrdmulh, Sqrshl,
        Sqshl, Sqsub, Srshl, Sshl, Sub, Uqadd, Uqrshl, Uqshl, Uqsub, Urshl, Ushl,
    };
    let f = Fields::new(word);
    let (rd, rn, rm, width) = (f.rd, f.rn, f.rm, f.width());
    let opcode = field(word, 11, 5);
    if opcode == 0b00011 {
        use Logical::{And, Bic, Bif, Bit, Bsl, Eor, Orn, Orr};
        let op = match (f.u, f.size) {
            (false, 0) => And,
            (false, 1) => Bic,
            (false, 2) => Orr,
            (false, _) => Orn,
            (true, 0) => Eor,
            (true, 1) => Bsl,
            (true, 2) => Bit,
            (true, _) => Bif,
        };
        return Some(SimdInsn::Logical {
            op,
            width,
            rd,
            rn,
            rm,
        });
    }
    if opcode >= 0b11000 {
        let op = three_same_fp(f.u, f.size >= 2, opcode)?;
        let log2 = f.fp_log2();
        return (!f.lone(log2)).then_some(SimdInsn::FpThreeSame {
            op,
            log2,
            width,
            rd,
            rn,
            rm,
        });
    }
    let op = three_same_integer(f.u, opcode)?;
    let allowed = match op {
        Sqadd | Uqadd | Sqsub | Uqsub | Cmgt | Cmhi | Cmge | Cmhs | Sshl | Ushl | Sqshl | Uqshl
        | Srshl | Urshl | Sqrshl | Uqrshl | Add | Sub | Cmtst | Cmeq | Addp => !f.lone(f.size),
        Sqdmulh | Sqrdmulh => matches!(f.size, 1 | 2),
        Pmul => f.size == 0,
        _ => f.size != 3,
    };
    allowed.then_some(SimdInsn::ThreeSame {
        op,
        log2: f.size,
        width,
        rd,
        rn,
        rm,
    })
}

pub(super) fn three_different(word: u32) -> Option<SimdInsn> {
    use ThreeDifferent::{
        Addhn, Pmull, Raddhn, Rsubhn, Sabal, Sabdl, Saddl, Saddw, Smlal, Smlsl, Smull, Sqdmlal,
        Sqdmlsl, Sqdmull, Ssubl, Ssubw, Subhn, Uabal, Uabdl, Uaddl, Uaddw, Umlal, Umlsl, Umull,
        Usubl, Usubw,
    };
    let f = Fields::new(word);
    let op = match (field(word, 12, 4), f.u) {
        (0b0000, false) => Saddl,
        (0b0000, true) => Uaddl,
        (0b0001, false) => Saddw,
        (0b0001, true) => Uaddw,
        (0b0010, false) => Ssubl,
        (0b0010, true) => Usubl,
        (0b0011, false) => Ssubw,
        (0b0011, true) => Usubw,
        (0b0100, false) => Addhn,
        (0b0100, true) => Raddhn,
        (0b0101, false) => Sabal,
        (0b0101, true) => Uabal,
        (0b0110, false) => Subhn,
        (0b0110, true) => Rsubhn,
        (0b0111, false) => Sabdl,
        (0b0111, true) => Uabdl,
        (0b1000, false) => Smlal,
        (0b1000, true) => Umlal,
        (0b1001, false) => Sqdmlal,
        (0b1010, false) => Smlsl,
        (0b1010, true) => Umlsl,
        (0b1011, false) => Sqdmlsl,
        (0b1100, false) => Smull,
        (0b1100, true) => Umull,
        (0b1101, false) => Sqdmull,
        (0b1110, false) => Pmull,
        _ => return None,
    };
    let allowed = match op {
        Sqdmlal | Sqdmlsl | Sqdmull => matches!(f.size, 1 | 2),
        Pmull => f.size == 0,
        _ => f.size != 3,
    };
    let (rd, rn, rm) = (f.rd, f.rn, f.rm);
    allowed.then_some(SimdInsn::ThreeDifferent {
        op,
        log2: f.size,
        high: f.q,
        rd,
        rn,
        rm,
    })
}

//! *Data processing -- Advanced SIMD*: copies, permutations, reductions and immediates, and the
//! fields that all its classes share.

use super::{Across, FpThreeSame, Immediate, Permute, SimdInsn, bit, field};

use crate::decode::register;

/// The fields that most classes share.
pub(super) struct Fields {
    pub(super) q: bool,
    pub(super) u: bool,
    pub(super) size: u8,
    pub(super) rd: u8,
    pub(super) rn: u8,
    pub(super) rm: u8,
}

impl Fields {
    pub(super) fn new(word: u32) -> Self {
        Self {
            q: bit(word, 30),
            u: bit(word, 29),
            size: field(word, 22, 2),
            rd: field(word, 0, 5),
            rn: field(word, 5, 5),
            rm: field(word, 16, 5),
        }
    }

    /// Width of a vector operand.
    pub(super) fn width(&self) -> u8 {
        3 + u8::from(self.q)
    }

    /// Format of a floating-point class: single or double by the low bit of size.
    pub(super) fn fp_log2(&self) -> u8 {
        2 + (self.size & 1)
    }

    /// Whether doubles or doublewords would stand alone in a vector, which is reserved.
    pub(super) fn lone(&self, log2: u8) -> bool {
        log2 == 3 && !self.q
    }
}

/// Element size and index of imm5: its lowest set bit tells both.
fn element(imm5: u8) -> Option<(u8, u8)> {
    let log2 = imm5.trailing_zeros() as u8;
    (log2 < 4).then(|| (log2, imm5 >> (log2 + 1)))
}

pub(super) fn scalar_copy(word: u32) -> Option<SimdInsn> {
    let f = Fields::new(word);
    if f.u || field(word, 11, 4) != 0 {
        return None;
    }
    let (log2, index) = element(f.rm)?;
    Some(SimdInsn::DupElement {
        log2,
        width: log2,
        index,
        rd: f.rd,
        rn: f.rn,
    })
}

pub(super) fn copy(word: u32) -> Option<SimdInsn> {
    let f = Fields::new(word);
    let (rd, rn, width) = (f.rd, f.rn, f.width());
    let (log2, index) = element(f.rm)?;
    let imm4 = field(word, 11, 4);
    if f.u {
        let from = imm4 >> log2;
        return f.q.then_some(SimdInsn::InsertElement {
            log2,
            to: index,
            from,
            rd,
            rn,
        });
    }
    match imm4 {
        0b0000 if !f.lone(log2) => Some(SimdInsn::DupElement {
            log2,
            width,
            index,
            rd,
            rn,
        }),
        0b0001 if !f.lone(log2) => Some(SimdInsn::DupGeneral {
            log2,
            width,
            rd,
            rn: register(word, 5),
        }),
        0b0011 if f.q => Some(SimdInsn::InsertGeneral {
            log2,
            index,
            rd,
            rn: register(word, 5),
        }),
        0b0101 if log2 < 2 + u8::from(f.q) => Some(SimdInsn::MoveSigned {
            log2,
            wide: f.q,
            index,
            rd: register(word, 0),
            rn,
        }),
        0b0111 if f.q == (log2 == 3) => Some(SimdInsn::MoveUnsigned {
            log2,
            index,
            rd: register(word, 0),
            rn,
        }),
        _ => None,
    }
}

pub(super) fn scalar_pairwise(word: u32) -> Option<SimdInsn> {
    use FpThreeSame::{Faddp, Fmaxnmp, Fmaxp, Fminnmp, Fminp};
    let f = Fields::new(word);
    let (rd, rn) = (f.rd, f.rn);
    let op = match (f.u, field(word, 12, 5), f.size >= 2) {
        (false, 0b11011, _) => {
            return (f.size == 3).then_some(SimdInsn::ScalarAddPair { rd, rn });
        }
        (true, 0b01100, false) => Fmaxnmp,
        (true, 0b01101, false) => Faddp,
        (true, 0b01111, false) => Fmaxp,
        (true, 0b01100, true) => Fminnmp,
        (true, 0b01111, true) => Fminp,
        _ => return None,
    };
    Some(SimdInsn::FpScalarPairwise {
        op,
        log2: f.fp_log2(),
        rd,
        rn,
    })
}

pub(super) fn table_lookup(word: u32) -> Option<SimdInsn> {
    let f = Fields::new(word);
    Some(SimdInsn::Table {
        keep: bit(word, 12),
        registers: field(word, 13, 2) + 1,
        width: f.width(),
        rd: f.rd,
        rn: f.rn,
        rm: f.rm,
    })
}

pub(super) fn permute(word: u32) -> Option<SimdInsn> {
    use Permute::{Trn1, Trn2, Uzp1, Uzp2, Zip1, Zip2};
    let f = Fields::new(word);
    let op = match field(word, 12, 3) {
        0b001 => Uzp1,
        0b010 => Trn1,
        0b011 => Zip1,
        0b101 => Uzp2,
        0b110 => Trn2,
        0b111 => Zip2,
        _ => return None,
    };
    if f.lone(f.size) {
        return None;
    }
    let (rd, rn, rm) = (f.rd, f.rn, f.rm);
    Some(SimdInsn::Permute {
        op,
        log2: f.size,
        width: f.width(),
        rd,
        rn,
        rm,
    })
}

pub(super) fn extract(word: u32) -> Option<SimdInsn> {
    let f = Fields::new(word);
    let position = field(word, 11, 4);
    if position >= 8 && !f.q {
        return None;
    }
    Some(SimdInsn::Extract {
        width: f.width(),
        position,
        rd: f.rd,
        rn: f.rn,
        rm: f.rm,
    })
}

pub(super) fn across_lanes(word: u32) -> Option<SimdInsn> {
    use Across::{Addv, Saddlv, Smaxv, Sminv, Uaddlv, Umaxv, Uminv};
    use FpThreeSame::{Fmax, Fmaxnm, Fmin, Fminnm};
    let f = Fields::new(word);
    let (rd, rn) = (f.rd, f.rn);
    let opcode = field(word, 12, 5);
    let fp = match (opcode, f.size) {
        (0b01100, 0) => Some(Fmaxnm),
        (0b01100, 2) => Some(Fminnm),
        (0b01111, 0) => Some(Fmax),
        (0b01111, 2) => Some(Fmin),
        _ => None,
    };
    if let Some(op) = fp {
        return (f.u && f.q).then_some(SimdInsn::FpAcross { op, rd, rn });
    }
    let op = match (opcode, f.u) {
        (0b00011, false) => Saddlv,
        (0b00011, true) => Uaddlv,
        (0b01010, false) => Smaxv,
        (0b01010, true) => Umaxv,
        (0b11010, false) => Sminv,
        (0b11010, true) => Uminv,
        (0b11011, false) => Addv,
        _ => return None,
    };
    // Fewer than four elements make no reduction.
    if f.size == 3 || (f.size == 2 && !f.q) {
        return None;
    }
    Some(SimdInsn::Across {
        op,
        log2: f.size,
        width: f.width(),
        rd,
        rn,
    })
}

pub(super) fn modified_immediate(word: u32) -> Option<SimdInsn> {
    let (q, op) = (bit(word, 30), bit(word, 29));
    let cmode = field(word, 12, 4);
    let imm8 = field(word, 16, 3) << 5 | field(word, 5, 5);
    // o2: FMOV of half precision.
    if bit(word, 11) || (cmode == 15 && op && !q) {
        return None;
    }
    Some(SimdInsn::Immediate {
        immediate: Immediate { cmode, op, imm8 },
        width: 3 + u8::from(q),
        rd: field(word, 0, 5),
    })
}

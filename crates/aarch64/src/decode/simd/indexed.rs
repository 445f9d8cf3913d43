//! *Vector x indexed element*, and its scalar form.

use super::vector::Fields;
use super::{FpThreeSame, SimdInsn, ThreeDifferent, ThreeSame, field};

/// Both forms of *x indexed element*.
fn indexed(word: u32, scalar: bool) -> Option<SimdInsn> {
    use FpThreeSame::{Fmla, Fmls, Fmul, Fmulx};
    use ThreeDifferent::{Smlal, Smlsl, Smull, Sqdmlal, Sqdmlsl, Sqdmull, Umlal, Umlsl, Umull};
    use ThreeSame::{Mla, Mls, Mul, Sqdmulh, Sqrdmulh};
    let f = Fields::new(word);
    let (rd, rn) = (f.rd, f.rn);
    let (h, l, m) = (field(word, 11, 1), field(word, 21, 1), field(word, 20, 1));
    let opcode = field(word, 12, 4);
    let fp = match (f.u, opcode) {
        (false, 0b0001) => Some(Fmla),
        (false, 0b0101) => Some(Fmls),
        (false, 0b1001) => Some(Fmul),
        (true, 0b1001) => Some(Fmulx),
        _ => None,
    };
    if let Some(op) = fp {
        let log2 = f.fp_log2();
        if f.size < 2 || (log2 == 3 && l != 0) || (!scalar && f.lone(log2)) {
            return None;
        }
        let index = if log2 == 3 { h } else { h << 1 | l };
        let width = if scalar { log2 } else { f.width() };
        return Some(SimdInsn::FpByElement {
            op,
            log2,
            width,
            index,
            rd,
            rn,
            rm: f.rm,
        });
    }
    let log2 = f.size;
    let (index, rm) = match log2 {
        1 => (h << 2 | l << 1 | m, f.rm & 15),
        2 => (h << 1 | l, f.rm),
        _ => return None,
    };
    let same = match (f.u, opcode) {
        (true, 0b0000) => Some(Mla),
        (true, 0b0100) => Some(Mls),
        (false, 0b1000) => Some(Mul),
        (false, 0b1100) => Some(Sqdmulh),
        (false, 0b1101) => Some(Sqrdmulh),
        _ => None,
    };
    if let Some(op) = same {
        if scalar && !matches!(op, Sqdmulh | Sqrdmulh) {
            return None;
        }
        let width = if scalar { log2 } else { f.width() };
        return Some(SimdInsn::ByElement {
            op,
            log2,
            width,
            index,
            rd,
            rn,
            rm,
        });
    }
    let op = match (f.u, opcode) {
        (false, 0b0010) => Smlal,
        (true, 0b0010) => Umlal,
        (false, 0b0011) => Sqdmlal,
        (false, 0b0110) => Smlsl,
        (true, 0b0110) => Umlsl,
        (false, 0b0111) => Sqdmlsl,
        (false, 0b1010) => Smull,
        (true, 0b1010) => Umull,
        (false, 0b1011) => Sqdmull,
        _ => return None,
    };
    if scalar {
        return matches!(op, Sqdmlal | Sqdmlsl | Sqdmull).then_some(SimdInsn::ScalarLong {
            op,
            log2,
            index: Some(index),
            rd,
            rn,
            rm,
        });
    }
    Some(SimdInsn::LongByElement {
        op,
        log2,
        high: f.q,
        index,
        rd,
        rn,
        rm,
    })
}

pub(super) fn scalar_by_element(word: u32) -> Option<SimdInsn> {
    indexed(word, true)
}

pub(super) fn by_element(word: u32) -> Option<SimdInsn> {
    indexed(word, false)
}

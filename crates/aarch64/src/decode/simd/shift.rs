//! *Shift by immediate*, vector and scalar.

use super::vector::Fields;
use super::{FixedOp, Narrow, Shift, SimdInsn, field};

/// Element size and shift operand of immh:immb.
fn shift_fields(word: u32) -> Option<(u8, u8)> {
    let immediate = field(word, 16, 7);
    let log2 = (immediate >> 3).checked_ilog2()? as u8;
    Some((log2, immediate))
}

fn shift_operation(u: bool, opcode: u8) -> Option<Shift> {
    use Shift::{
        Shl, Sli, Sqshl, Sqshlu, Sri, Srshr, Srsra, Sshr, Ssra, Uqshl, Urshr, Ursra, Ushr, Usra,
    };
    Some(match (u, opcode) {
        (false, 0b00000) => Sshr,
        (true, 0b00000) => Ushr,
        (false, 0b00010) => Ssra,
        (true, 0b00010) => Usra,
        (false, 0b00100) => Srshr,
        (true, 0b00100) => Urshr,
        (false, 0b00110) => Srsra,
        (true, 0b00110) => Ursra,
        (true, 0b01000) => Sri,
        (false, 0b01010) => Shl,
        (true, 0b01010) => Sli,
        (true, 0b01100) => Sqshlu,
        (false, 0b01110) => Sqshl,
        (true, 0b01110) => Uqshl,
        _ => return None,
    })
}

fn narrow_operation(u: bool, opcode: u8) -> Option<Narrow> {
    use Narrow::{
        Cut, RoundCut, RoundSigned, RoundSignedToUnsigned, RoundUnsigned, Signed, SignedToUnsigned,
        Unsigned,
    };
    Some(match (u, opcode) {
        (false, 0b10000) => Cut,
        (true, 0b10000) => SignedToUnsigned,
        (false, 0b10001) => RoundCut,
        (true, 0b10001) => RoundSignedToUnsigned,
        (false, 0b10010) => Signed,
        (true, 0b10010) => Unsigned,
        (false, 0b10011) => RoundSigned,
        (true, 0b10011) => RoundUnsigned,
        _ => return None,
    })
}

fn fixed_operation(u: bool, opcode: u8) -> Option<FixedOp> {
    Some(match (u, opcode) {
        (false, 0b11100) => FixedOp::Scvtf,
        (true, 0b11100) => FixedOp::Ucvtf,
        (false, 0b11111) => FixedOp::Fcvtzs,
        (true, 0b11111) => FixedOp::Fcvtzu,
        _ => return None,
    })
}

/// Both forms of *shift by immediate*; `width` of the operand is that of the element if scalar.
fn shift_immediate(word: u32, scalar: bool) -> Option<SimdInsn> {
    use Shift::{Shl, Sli, Sqshl, Sqshlu, Uqshl};
    let f = Fields::new(word);
    let (rd, rn) = (f.rd, f.rn);
    let (log2, immediate) = shift_fields(word)?;
    let opcode = field(word, 11, 5);
    let esize = 8u8 << log2;
    let (left, right) = (
        immediate - esize,
        (2 * u16::from(esize) - u16::from(immediate)) as u8,
    );
    let width = if scalar { log2 } else { f.width() };
    let reserved = !scalar && f.lone(log2);
    if let Some(op) = shift_operation(f.u, opcode) {
        let saturates = matches!(op, Sqshl | Uqshl | Sqshlu);
        if reserved || (scalar && !saturates && log2 != 3) {
            return None;
        }
        let leftward = saturates || matches!(op, Shl | Sli);
        let shift = if leftward { left } else { right };
        return Some(SimdInsn::Shift {
            op,
            log2,
            width,
            shift,
            rd,
            rn,
        });
    }
    if let Some(op) = narrow_operation(f.u, opcode) {
        if log2 == 3 || (scalar && matches!(op, Narrow::Cut | Narrow::RoundCut)) {
            return None;
        }
        let (width, high) = if scalar { (log2, false) } else { (3, f.q) };
        return Some(SimdInsn::Narrow {
            op,
            log2,
            width,
            high,
            shift: right,
            rd,
            rn,
        });
    }
    if let Some(op) = fixed_operation(f.u, opcode) {
        if reserved || log2 < 2 {
            return None;
        }
        return Some(SimdInsn::FpFixed {
            op,
            log2,
            width,
            fraction_bits: right,
            rd,
            rn,
        });
    }
    if opcode == 0b10100 && !scalar && log2 != 3 {
        return Some(SimdInsn::Widen {
            signed: !f.u,
            log2,
            high: f.q,
            shift: left,
            rd,
            rn,
        });
    }
    None
}

pub(super) fn scalar_shift(word: u32) -> Option<SimdInsn> {
    shift_immediate(word, true)
}

pub(super) fn shift(word: u32) -> Option<SimdInsn> {
    shift_immediate(word, false)
}

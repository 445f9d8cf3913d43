//! *Loads and stores* with V == 1.

use super::{Addressing, Multiple, SimdInsn, Single, WriteBack, bit, field};
use crate::decode::loads_stores::{pair_mode, register_addressing};
use crate::decode::or_sp;

/// A sign-extended field.
fn signed(word: u32, low: u32, width: u32) -> i32 {
    (word << (32 - low - width)) as i32 >> (32 - width)
}

/// Rm of a post-indexed structure access: 31 stands for the size of the transfer.
fn write_back(word: u32) -> WriteBack {
    match (bit(word, 23), field(word, 16, 5)) {
        (false, _) => WriteBack::None,
        (true, 31) => WriteBack::Bytes,
        (true, register) => WriteBack::Register(register),
    }
}

pub(super) fn multiple_structures(word: u32) -> Option<SimdInsn> {
    let (registers, interleaved) = match field(word, 12, 4) {
        0b0000 => (4, true),
        0b0010 => (4, false),
        0b0100 => (3, true),
        0b0110 => (3, false),
        0b0111 => (1, false),
        0b1000 => (2, true),
        0b1010 => (2, false),
        _ => return None,
    };
    let (log2, full) = (field(word, 10, 2), bit(word, 30));
    if log2 == 3 && !full && interleaved {
        return None;
    }
    let access = Multiple {
        log2,
        width: 3 + u8::from(full),
        registers,
        interleaved,
        rt: field(word, 0, 5),
        rn: or_sp(word, 5),
        write_back: write_back(word),
    };
    Some(if bit(word, 22) {
        SimdInsn::LoadMultiple(access)
    } else {
        SimdInsn::StoreMultiple(access)
    })
}

pub(super) fn single_structure(word: u32) -> Option<SimdInsn> {
    let (q, s, size) = (field(word, 30, 1), field(word, 12, 1), field(word, 10, 2));
    let mut access = Single {
        log2: field(word, 14, 2),
        width: 3 + q,
        registers: (field(word, 13, 1) << 1 | field(word, 21, 1)) + 1,
        index: q << 3 | s << 2 | size,
        rt: field(word, 0, 5),
        rn: or_sp(word, 5),
        write_back: write_back(word),
    };
    let load = bit(word, 22);
    match access.log2 {
        0 => {}
        1 if size & 1 == 0 => access.index >>= 1,
        2 if size == 0 => access.index >>= 2,
        2 if size == 1 && s == 0 => {
            access.log2 = 3;
            access.index >>= 3;
        }
        3 if load && s == 0 => {
            access.log2 = size;
            return Some(SimdInsn::LoadReplicate(access));
        }
        _ => return None,
    }
    Some(if load {
        SimdInsn::LoadSingle(access)
    } else {
        SimdInsn::StoreSingle(access)
    })
}

pub(super) fn literal(word: u32) -> Option<SimdInsn> {
    let opc = field(word, 30, 2);
    if opc == 3 {
        return None;
    }
    let offset = signed(word, 5, 19) * 4;
    Some(SimdInsn::LoadLiteral {
        log2: 2 + opc,
        rt: field(word, 0, 5),
        offset,
    })
}

pub(super) fn pair(word: u32) -> Option<SimdInsn> {
    let opc = field(word, 30, 2);
    if opc == 3 {
        return None;
    }
    let log2 = 2 + opc;
    let mode = pair_mode(word);
    let offset = (signed(word, 15, 7) << log2) as i16;
    let (rt, rt2, rn) = (field(word, 0, 5), field(word, 10, 5), or_sp(word, 5));
    Some(if bit(word, 22) {
        if rt == rt2 {
            return None;
        }
        SimdInsn::LoadPair {
            log2,
            mode,
            rt,
            rt2,
            rn,
            offset,
        }
    } else {
        SimdInsn::StorePair {
            log2,
            mode,
            rt,
            rt2,
            rn,
            offset,
        }
    })
}

/// The access size of size and opc, and whether it is a load.
fn access(word: u32) -> Option<(u8, bool)> {
    let (size, opc) = (field(word, 30, 2), field(word, 22, 2));
    let log2 = size | (opc & 2) << 1;
    (log2 <= 4).then_some((log2, opc & 1 != 0))
}

fn single(word: u32, addressing: Addressing) -> Option<SimdInsn> {
    let (rt, rn) = (field(word, 0, 5), or_sp(word, 5));
    access(word).map(|(log2, load)| {
        if load {
            SimdInsn::Load {
                log2,
                rt,
                rn,
                addressing,
            }
        } else {
            SimdInsn::Store {
                log2,
                rt,
                rn,
                addressing,
            }
        }
    })
}

/// The nine-bit offset.
fn imm9(word: u32) -> i16 {
    signed(word, 12, 9) as i16
}

pub(super) fn unscaled(word: u32) -> Option<SimdInsn> {
    single(word, Addressing::Unscaled(imm9(word)))
}

pub(super) fn post_indexed(word: u32) -> Option<SimdInsn> {
    single(word, Addressing::PostIndexed(imm9(word)))
}

pub(super) fn pre_indexed(word: u32) -> Option<SimdInsn> {
    single(word, Addressing::PreIndexed(imm9(word)))
}

pub(super) fn unsigned_immediate(word: u32) -> Option<SimdInsn> {
    let (log2, _) = access(word)?;
    let offset = (word >> 10 & 0xfff) << log2;
    single(word, Addressing::Unsigned(offset as u16))
}

pub(super) fn register_offset(word: u32) -> Option<SimdInsn> {
    single(word, register_addressing(word)?)
}

//! Instructions that need prepared operands: branches, loads and stores, system instructions.
//!
//! Encodings that the architecture leaves CONSTRAINED UNPREDICTABLE have no one right outcome and
//! are never made (DDI 0487, K1.2): writeback to a register that is also transferred, a pair
//! loaded into one register twice, a store-exclusive whose status register is also its data or
//! base, an exclusive store that does not match the exclusive load before it, and fields that
//! should be zeros or ones but are not.

use crate::case::{
    CROSS, CROSS_BYTES, DATA_BASE, END, END_BYTES, PAGE, READ_ONLY, SLOT_WORDS, WORDS_MAX,
};
use crate::generate::{Draft, random_fpcr};
use crate::values;

/// Appends one instruction, or an exclusive pair with what is between its halves.
pub(crate) fn instruction(draft: &mut Draft, lse: bool) {
    // An attempt finds no register left now and then; the next may need fewer.
    for _ in 0..8 {
        let kind = draft.rng.below(100);
        let word = match kind {
            _ if lse && kind < 60 => atomic(draft),
            0..=6 if draft.length + 2 <= WORDS_MAX => exclusive_pair(draft),
            7..=29 => single(draft),
            30..=44 => pair(draft),
            45..=49 => acquire_release(draft),
            50..=66 => structures(draft),
            67..=70 => cache(draft),
            71..=86 => branch(draft),
            87.. => system(draft),
            _ => None,
        };
        if let Some(word) = word {
            if kind < 71 || lse {
                draft.settled = draft.position() + 1;
            }
            return draft.push(word);
        }
    }
    draft.push(NOP);
}

const NOP: u32 = 0xd503_201f;
const CLREX: u32 = 0xd503_3f5f;

/// Where an access goes.
#[derive(Clone, Copy)]
enum Access {
    /// Any address will do.
    Plain,
    /// May be made to fault: a single register, so that nothing is half done.
    Single { store: bool },
    /// Must be aligned to its whole size.
    Aligned,
}

/// An address for an access of so many bytes.
fn target(draft: &mut Draft, bytes: u64, access: Access) -> u64 {
    let rng = &mut *draft.rng;
    if let Access::Single { store } = access
        && rng.percent(3)
    {
        return match rng.below(6) {
            // Into the page that cannot be written, or out of it.
            0 if store => READ_ONLY - rng.below(bytes),
            1 => READ_ONLY + PAGE - rng.below(bytes),
            2 => DATA_BASE - 1 - rng.below(bytes),
            // Not an address of the lower range.
            3 => DATA_BASE | 1 << (48 + rng.below(8)),
            4 => rng.next() | 1 << 55,
            _ => rng.below(64),
        };
    }
    let last_cross = CROSS_BYTES as u64 - bytes;
    let address = match rng.below(10) {
        0..=2 => DATA_BASE + PAGE - rng.below(bytes + 1),
        3 => END + rng.below(END_BYTES as u64 - bytes + 1),
        _ => CROSS + rng.below(last_cross + 1),
    };
    let aligned = address & !(bytes.next_power_of_two() - 1);
    match access {
        Access::Aligned if rng.percent(4) => address,
        Access::Aligned => aligned,
        _ if rng.percent(40) => aligned.max(CROSS),
        _ => address,
    }
}

/// A base register that reaches `address` from `offset` before it. The top byte is ignored when
/// translating (Linux sets TCR_EL1.TBI0), and survives writeback.
fn base_for(draft: &mut Draft, address: u64, offset: u64) -> Option<u32> {
    let tag = if draft.rng.percent(15) {
        draft.rng.bits(8) << 56
    } else {
        0
    };
    draft.base((address ^ tag).wrapping_sub(offset))
}

/// LDR, STR and PRFM of all kinds, general and SIMD&FP.
fn single(draft: &mut Draft) -> Option<u32> {
    let vector = draft.rng.percent(40);
    let mut size = draft.rng.below(4) as u32;
    let mut opc = draft.rng.below(4) as u32;
    let scale = if vector {
        if opc >= 2 {
            size = 0;
            4
        } else {
            size
        }
    } else {
        if size >= 2 && opc == 3 || size == 3 && opc == 2 && draft.rng.percent(50) {
            opc = 1;
        }
        size
    };
    let prefetch = !vector && size == 3 && opc == 2;
    let bytes = 1u64 << scale;
    let store = if vector { opc & 1 == 0 } else { opc == 0 };
    let form = draft.rng.below(7) as u32;
    if form == 6 {
        return literal(draft);
    }
    // A 128-bit store that faults may leave one half behind.
    let divided = store && scale == 4;
    let access = if prefetch || divided {
        Access::Plain
    } else {
        Access::Single { store }
    };
    let address = target(draft, bytes, access);
    let head = size << 30 | 0b111 << 27 | u32::from(vector) << 26 | opc << 22;
    let any = draft.source();
    let transfer = if vector || store || prefetch {
        any
    } else {
        draft.destination()
    };
    let imm9 = draft.rng.bits(9);
    let offset9 = ((imm9 << 55) as i64 >> 55) as u64;
    let imm9 = (imm9 as u32) << 12;
    let (rest, base) = match form {
        0 => {
            let imm12 = draft.rng.bits(12);
            (
                1 << 24 | (imm12 as u32) << 10,
                base_for(draft, address, imm12 << scale)?,
            )
        }
        1 => (imm9, base_for(draft, address, offset9)?),
        // Unprivileged forms are for general registers.
        3 if vector || prefetch => return None,
        3 => (imm9 | 2 << 10, base_for(draft, address, offset9)?),
        2 | 4 => {
            let (mode, offset) = if form == 4 { (3, offset9) } else { (1, 0) };
            let base = base_for(draft, address, offset)?;
            // Writeback to the transferred register; there is no prefetch with writeback.
            if prefetch || !vector && base == transfer && base != 31 {
                return None;
            }
            (imm9 | mode << 10, base)
        }
        _ => {
            let option = draft.rng.pick(&[2, 3, 6, 7]);
            let value = values::integer(draft.rng);
            let extended = match option {
                2 => u64::from(value as u32),
                6 => value as i32 as u64,
                _ => value,
            };
            let shifted = draft.rng.bits(1) as u32;
            let offset = extended << (shifted * scale);
            let base = base_for(draft, address, offset)?;
            let index = draft.operand(value)?;
            (
                1 << 21 | index << 16 | option << 13 | shifted << 12 | 2 << 10,
                base,
            )
        }
    };
    // Without writeback, a load may replace its own base.
    let overlap = !matches!(form, 2 | 4) && !vector && base != 31 && draft.rng.percent(10);
    Some(head | rest | base << 5 | if overlap { base } else { transfer })
}

/// Loads from the sequence's own words.
fn literal(draft: &mut Draft) -> Option<u32> {
    let (vector, opc) = (draft.rng.bits(1) as u32, draft.rng.below(4) as u32);
    if vector == 1 && opc == 3 {
        return None;
    }
    let transfer = if vector == 1 || opc == 3 {
        draft.source()
    } else {
        draft.destination()
    };
    let longest = SLOT_WORDS as u64 - 4;
    let offset = draft.rng.below(longest) as i64 - draft.position() as i64;
    let imm19 = offset as u32 & 0x7_ffff;
    Some(opc << 30 | 0b011 << 27 | vector << 26 | imm19 << 5 | transfer)
}

/// LDP, STP, LDPSW, LDNP, STNP.
fn pair(draft: &mut Draft) -> Option<u32> {
    let vector = draft.rng.percent(40);
    let opc = draft.rng.below(3) as u32;
    let mut mode = draft.rng.below(4) as u32;
    let mut load = draft.rng.bits(1) as u32;
    let signed_word = !vector && opc == 1;
    if signed_word {
        load = 1;
        mode = mode.max(1);
    }
    let scale = match (vector, opc) {
        (true, opc) => 2 + opc,
        (false, 2) => 3,
        _ => 2,
    };
    let imm7 = draft.rng.bits(7);
    let offset = (((imm7 << 57) as i64 >> 57) as u64) << scale;
    let address = target(draft, 2 << scale, Access::Plain);
    let base = base_for(draft, address, if mode == 1 { 0 } else { offset })?;
    let written = load == 1 && !vector;
    let mut register = || {
        if written {
            draft.destination()
        } else {
            draft.source()
        }
    };
    let (first, second) = (register(), register());
    let writeback = mode == 1 || mode == 3;
    if load == 1 && first == second
        || !vector && writeback && base != 31 && (base == first || base == second)
    {
        return None;
    }
    let head = opc << 30 | 0b101 << 27 | u32::from(vector) << 26 | mode << 23 | load << 22;
    // Without writeback, a load may replace its own base.
    let overlap = written && !writeback && base != 31 && draft.rng.percent(10);
    let first = if overlap { base } else { first };
    Some(head | (imm7 as u32) << 15 | second << 10 | base << 5 | first)
}

/// LDAR and STLR.
fn acquire_release(draft: &mut Draft) -> Option<u32> {
    let size = draft.rng.below(4) as u32;
    let load = draft.rng.bits(1) as u32;
    let address = target(draft, 1 << size, Access::Aligned);
    let base = base_for(draft, address, 0)?;
    let transfer = if load == 1 {
        draft.destination()
    } else {
        draft.source()
    };
    Some(size << 30 | 0x0880_0000 | load << 22 | 0x1f_fc00 | base << 5 | transfer)
}

/// A load-exclusive and the store-exclusive that belongs to it, at times with CLREX or an
/// instruction without memory between them, at times the store alone.
fn exclusive_pair(draft: &mut Draft) -> Option<u32> {
    let pair = draft.rng.percent(35);
    let size = if pair {
        2 + draft.rng.bits(1) as u32
    } else {
        draft.rng.below(4) as u32
    };
    let bytes = 1 << (size + u32::from(pair));
    let address = target(draft, bytes, Access::Plain) & !(bytes - 1);
    let base = base_for(draft, address.max(CROSS), 0)?;
    let head = size << 30 | 0x0800_0000 | u32::from(pair) << 21 | base << 5;
    let acquire = (draft.rng.bits(1) as u32) << 15;
    let release = (draft.rng.bits(1) as u32) << 15;
    let between = draft.rng.below(20);
    if between != 0 {
        let (first, second) = (draft.destination(), draft.destination());
        if pair && first == second {
            return None;
        }
        let second = if pair { second } else { 31 };
        // A load alone may be misaligned: it faults whatever the monitor says.
        if between == 1 {
            let register = base as usize;
            let moved = draft.rng.below(bytes);
            draft.case.state.x[register] = draft.case.state.x[register].wrapping_add(moved);
        }
        draft.push_extra(head | acquire | 1 << 22 | 31 << 16 | second << 10 | first);
        match between {
            1 => return Some(CLREX),
            2 => draft.push_extra(CLREX),
            3..=8 => {
                // ADD (immediate), 32-bit.
                let (n, d) = (draft.source(), draft.destination());
                draft.push_extra(0x1100_0400 | n << 5 | d);
            }
            _ => {}
        }
    }
    for _ in 0..16 {
        let (status, first, second) = (draft.destination(), draft.source(), draft.source());
        let second = if pair { second } else { 31 };
        if status != first && !(pair && status == second) {
            return Some(head | release | status << 16 | second << 10 | first);
        }
    }
    None
}

/// LDADD and its like, SWP, CAS and CASP.
fn atomic(draft: &mut Draft) -> Option<u32> {
    let size = draft.rng.below(4) as u32;
    let order = draft.rng.bits(2) as u32;
    match draft.rng.below(4) {
        0 => {
            let address = target(draft, 1 << size, Access::Aligned);
            let base = base_for(draft, address, 0)?;
            let (compared, new) = (draft.destination(), draft.source());
            make_equal(draft, address, 1 << size, &[compared]);
            let order = (order >> 1) << 22 | (order & 1) << 15;
            Some(size << 30 | 0x08a0_7c00 | order | compared << 16 | base << 5 | new)
        }
        1 => {
            let size = size & 1;
            let address = target(draft, 8 << size, Access::Aligned);
            let base = base_for(draft, address, 0)?;
            let (compared, new) = (draft.destination() & !1, draft.source() & !1);
            // An odd first register is UNDEFINED; X30 and XZR are a pair like any other.
            if !draft.writable(compared) || !draft.writable(compared + 1) {
                return None;
            }
            make_equal(draft, address, 4 << size, &[compared, compared + 1]);
            let order = (order >> 1) << 22 | (order & 1) << 15;
            Some(size << 30 | 0x0820_7c00 | order | compared << 16 | base << 5 | new)
        }
        _ => {
            let address = target(draft, 1 << size, Access::Aligned);
            let base = base_for(draft, address, 0)?;
            let operation = draft.rng.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 8]) << 12;
            let (operand, transfer) = (draft.source(), draft.destination());
            let head = size << 30 | 0x3820_0000 | order << 22;
            Some(head | operand << 16 | operation | base << 5 | transfer)
        }
    }
}

/// Lets a compare-and-swap find what it compares with, most of the time.
fn make_equal(draft: &mut Draft, address: u64, bytes: usize, registers: &[u32]) {
    if draft.rng.percent(30) {
        return;
    }
    for (i, &register) in registers.iter().enumerate() {
        let state = &mut draft.case.state;
        if register != 31
            && let Some(memory) = state.memory(address + (i * bytes) as u64, bytes)
        {
            let mut value = [0; 8];
            value[..bytes].copy_from_slice(memory);
            // What is above the compared bytes must not matter.
            let above = if bytes == 8 {
                0
            } else {
                draft.rng.next() << (8 * bytes)
            };
            state.x[register as usize] = u64::from_le_bytes(value) | above;
        }
    }
}

/// LD1 to LD4 and ST1 to ST4.
fn structures(draft: &mut Draft) -> Option<u32> {
    let full = draft.rng.bits(1) as u32;
    let load = draft.rng.bits(1) as u32;
    let post = draft.rng.bits(1) as u32;
    let mut size = draft.rng.below(4) as u32;
    let (head, bytes) = if draft.rng.bits(1) == 0 {
        let (opcode, registers) =
            draft
                .rng
                .pick(&[(0, 4), (2, 4), (4, 3), (6, 3), (7, 1), (8, 2), (10, 2)]);
        // Only LD1 and ST1 have a 1D arrangement.
        if full == 0 && size == 3 && matches!(opcode, 0 | 4 | 8) {
            size = 2;
        }
        (
            0x0c00_0000 | opcode << 12 | size << 10,
            registers * (8 << full),
        )
    } else {
        let mut scale = draft.rng.below(4) as u32;
        let (wide, mut s) = (draft.rng.bits(1) as u32, draft.rng.bits(1) as u32);
        let r = draft.rng.bits(1) as u32;
        let bytes = (2 * wide + r + 1) << if scale == 3 { size } else { scale };
        let bytes = match scale {
            0 => bytes,
            1 => {
                size &= 2;
                bytes
            }
            2 if s == 0 && draft.rng.percent(50) => {
                size = 1;
                2 * bytes
            }
            2 => {
                size = 0;
                bytes
            }
            _ => {
                // Replication: LD1R and the like.
                if load == 0 {
                    return None;
                }
                s = 0;
                scale = 3;
                bytes
            }
        };
        (
            0x0d00_0000 | r << 21 | (scale << 1 | wide) << 13 | s << 12 | size << 10,
            u64::from(bytes),
        )
    };
    let address = target(draft, bytes, Access::Plain);
    let base = base_for(draft, address, 0)?;
    let first = draft.source();
    let index = if post == 1 { draft.source() } else { 0 };
    Some(full << 30 | head | post << 23 | load << 22 | index << 16 | base << 5 | first)
}

/// DC ZVA, and maintenance by address that EL0 may do. Cortex-A57's DCZID_EL0 says 64 bytes.
fn cache(draft: &mut Draft) -> Option<u32> {
    const DC_ZVA: u32 = 0xd50b_7420;
    let operation = if draft.rng.percent(70) {
        DC_ZVA
    } else {
        // DC CVAC, DC CVAU, DC CIVAC, IC IVAU.
        draft
            .rng
            .pick(&[0xd50b_7a20, 0xd50b_7b20, 0xd50b_7e20, 0xd50b_7520])
    };
    let address = CROSS + draft.rng.below(CROSS_BYTES as u64);
    // Maintenance takes a register, not SP.
    let tag = if draft.rng.percent(15) {
        draft.rng.bits(8) << 56
    } else {
        0
    };
    Some(operation | draft.operand(address ^ tag)?)
}

/// Branches forward, at most to just behind the sequence.
fn branch(draft: &mut Draft) -> Option<u32> {
    let left = (draft.length - draft.position().min(draft.length - 1)) as u64;
    let distance = 1 + draft.rng.below(left.min(4));
    let words = distance as u32;
    let landing = 1 << (draft.position() as u64 + distance);
    let register = draft.source();
    let random = draft.rng.next() as u32;
    let kind = draft.rng.below(7);
    if kind < 5 {
        draft.landings |= landing;
    }
    Some(match kind {
        0 | 1 => 0x5400_0000 | words << 5 | random & 0xf,
        2 => 0x3400_0000 | random & 0x8100_0000 | words << 5 | register,
        3 => 0x3600_0000 | random & 0x81f8_0000 | words << 5 | register,
        4 => 0x1400_0000 | random & 0x8000_0000 | words,
        _ => {
            let here = draft.case.code_address() + 4 * draft.position() as u64;
            let to = match draft.rng.below(40) {
                0 => here + 4 * distance + 1 + draft.rng.below(3),
                1 => READ_ONLY + draft.rng.below(2) * PAGE,
                2..=6 => (here + 4 * distance) | draft.rng.bits(8) << 56,
                _ => here + 4 * distance,
            };
            let kind = draft.rng.below(3) as u32;
            // By way of X30, which BLR reads before it writes it: ADR, then the branch. Nothing may
            // lead to the branch alone, or it goes to where a BL before came from, for ever.
            let apart = draft.landings >> (draft.position() + 1) & 1 != 0;
            if draft.rng.percent(20) && draft.length < WORDS_MAX && !apart {
                draft.landings |= landing << 1;
                draft.settled = draft.position() + 2;
                draft.push_extra(0x1000_001e | (words + 1) << 5);
                return Some(0xd61f_03c0 | kind << 21);
            }
            let register = draft.operand(to)?;
            draft.landings |= landing;
            0xd61f_0000 | kind << 21 | register << 5
        }
    })
}

/// Ends the sequence by a branch back over what needs no prepared memory operands: up to four
/// rounds in all.
pub(crate) fn close_loop(draft: &mut Draft) {
    let here = draft.position();
    // A branch that led to the CBNZ would leave the counter as it is.
    let skipped = draft.landings >> (here + 1) & 1 != 0;
    if skipped || draft.settled >= here || here + 2 > WORDS_MAX {
        return;
    }
    let rounds = 1 + draft.rng.below(4);
    let to = draft.settled + draft.rng.index(here - draft.settled);
    let Some(counter) = draft.operand(rounds) else {
        return;
    };
    let back = (to as i32 - (here as i32 + 1)) as u32 & 0x7_ffff;
    // SUB (immediate) of one, CBNZ.
    draft.push_extra(0xd100_0400 | counter << 5 | counter);
    draft.push_extra(0xb500_0000 | back << 5 | counter);
}

/// Moves to and from the registers of EL0, hints, barriers.
fn system(draft: &mut Draft) -> Option<u32> {
    const NZCV: u32 = 0x001b_4200;
    const FPCR: u32 = 0x001b_4400;
    const FPSR: u32 = 0x001b_4420;
    const TPIDR_EL0: u32 = 0x001b_d040;
    let (read, write) = (0xd520_0000, 0xd500_0000);
    let random = draft.rng.next() as u32;
    Some(match draft.rng.below(12) {
        0 => read | NZCV | draft.destination(),
        1 => write | NZCV | draft.source(),
        2 => read | FPCR | draft.destination(),
        3 | 4 => {
            let value = u64::from(random_fpcr(draft.rng)) | draft.rng.next() & !0x07ff_0000;
            write | FPCR | draft.operand(value)?
        }
        5 => read | FPSR | draft.destination(),
        6 => {
            // Bits 31 to 28 are AArch32's.
            let value = draft.rng.next() & !0xf000_0000;
            write | FPSR | draft.operand(value)?
        }
        7 => read | TPIDR_EL0 | draft.destination(),
        8 => write | TPIDR_EL0 | draft.source(),
        // DSB, DMB, ISB with any option, CLREX.
        9 => 0xd503_301f | random & 0xf00 | draft.rng.pick(&[2, 4, 5, 6]) << 5,
        10 => {
            // Hints but YIELD, WFE and WFI, which leave the processor for a while.
            let hint = random & 0x7f;
            if (1..=3).contains(&hint) {
                return None;
            }
            0xd503_201f | hint << 5
        }
        // BRK ends the sequence as the one behind it would.
        _ => {
            if draft.rng.percent(90) {
                return None;
            }
            0xd420_0000 | random & 0x1f_ffe0
        }
    })
}

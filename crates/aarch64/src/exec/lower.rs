//! From what the architecture says to what the interpreter does fast: the one place that knows both.

use super::op::{IndexMode, Op, Pair};
use crate::bus::Size;
use crate::decode::simd::{ImmediateOp, SimdInsn, float_immediate};
use crate::decode::{
    Addressing, BitfieldOp, BranchRegisterOp, CondSelOp, Condition, ExtendKind, Insn, LoadKind,
    LogicalOp, MoveWideOp, OneSourceOp, PairMode, ShiftKind,
};
use crate::registers::{XZR, as_destination};

/// The interpreter's form of an instruction.
#[rustfmt::skip] // One instruction a line, as far as they fit.
pub(crate) fn lower(insn: &Insn) -> Op {
    match *insn {
        Insn::Undefined => Op::Undefined,
        Insn::Simd(insn) => simd(insn),
        Insn::System(insn) => Op::System(insn),

        Insn::Adr { page, rd, offset } => {
            let rd = as_destination(rd);
            if page { Op::Adrp { rd, offset } } else { Op::Adr { rd, offset } }
        }
        Insn::AddSubImm { sub, set_flags, wide, rd, rn, imm, shifted } => {
            let imm = u64::from(imm) << if shifted { 12 } else { 0 };
            add_sub_imm(sub, set_flags, wide, as_destination(rd), rn, imm)
        }
        Insn::LogicalImm { op, wide, rd, rn, imm } => {
            logical_imm(op, wide, as_destination(rd), rn, imm)
        }
        Insn::MoveWide { op, wide, rd, imm, shift } => {
            let (rd, register) = (as_destination(rd), ones(wide));
            let placed = u64::from(imm) << shift;
            match op {
                MoveWideOp::Movn => Op::MovImm { rd, imm: !placed & register },
                MoveWideOp::Movz => Op::MovImm { rd, imm: placed },
                MoveWideOp::Movk => Op::Movk { rd, shift, imm, keep: register & !(0xffff << shift) },
            }
        }
        Insn::Bitfield { op, wide, rd, rn, immr, imms } => {
            bitfield(op, wide, as_destination(rd), rn, immr, imms)
        }
        Insn::Extract { wide, rd, rn, rm, lsb } => {
            let rd = as_destination(rd);
            if wide { Op::ExtrX { rd, rn, rm, lsb } } else { Op::ExtrW { rd, rn, rm, lsb } }
        }

        Insn::Branch { link: false, offset } => Op::B { offset },
        Insn::Branch { link: true, offset } => Op::Bl { offset },
        Insn::BranchCond { condition, offset } => {
            Op::BCond { conditions: condition.holding(), offset }
        }
        Insn::CompareBranch { nonzero, wide, rt, offset } => match (wide, nonzero) {
            (true, false) => Op::CbzX { rt, offset },
            (false, false) => Op::CbzW { rt, offset },
            (true, true) => Op::CbnzX { rt, offset },
            (false, true) => Op::CbnzW { rt, offset },
        },
        Insn::TestBranch { nonzero: false, rt, bit, offset } => Op::Tbz { rt, bit, offset },
        Insn::TestBranch { nonzero: true, rt, bit, offset } => Op::Tbnz { rt, bit, offset },
        Insn::BranchRegister { op: BranchRegisterOp::Br | BranchRegisterOp::Ret, rn } => {
            Op::Br { rn }
        }
        Insn::BranchRegister { op: BranchRegisterOp::Blr, rn } => Op::Blr { rn },

        Insn::LogicalShifted { op, invert, wide, rd, rn, rm, kind, shift } => {
            logical_shifted(op, invert, wide, [as_destination(rd), rn, rm], kind, shift)
        }
        Insn::AddSubShifted { sub, set_flags, wide, rd, rn, rm, kind, shift } => {
            add_sub_shifted(sub, set_flags, wide, [as_destination(rd), rn, rm], kind, shift)
        }
        Insn::AddSubExtended { sub, set_flags, wide, rd, rn, rm, kind, shift } => {
            let rd = as_destination(rd);
            Op::AddSubExtended { sub, set_flags, wide, rd, rn, rm, kind, shift }
        }
        Insn::AddSubCarry { sub, set_flags, wide, rd, rn, rm } => {
            Op::AddSubCarry { sub, set_flags, wide, rd: as_destination(rd), rn, rm }
        }
        Insn::CondCompareReg { sub, wide, rn, rm, nzcv, condition } => {
            Op::CcmpReg { sub, wide, nzcv, rn, rm, conditions: condition.holding() }
        }
        Insn::CondCompareImm { sub, wide, rn, imm, nzcv, condition } => {
            Op::CcmpImm { sub, wide, nzcv, rn, imm, conditions: condition.holding() }
        }
        Insn::CondSel { op, wide, rd, rn, rm, condition } => {
            cond_sel(op, wide, [as_destination(rd), rn, rm], condition)
        }
        Insn::Divide { signed, wide, rd, rn, rm } => {
            let rd = as_destination(rd);
            match (signed, wide) {
                (false, true) => Op::UdivX { rd, rn, rm },
                (false, false) => Op::UdivW { rd, rn, rm },
                (true, true) => Op::SdivX { rd, rn, rm },
                (true, false) => Op::SdivW { rd, rn, rm },
            }
        }
        Insn::ShiftVariable { kind, wide, rd, rn, rm } => {
            let rd = as_destination(rd);
            if wide { Op::ShiftX { kind, rd, rn, rm } } else { Op::ShiftW { kind, rd, rn, rm } }
        }
        Insn::Crc32 { castagnoli, size, rd, rn, rm } => {
            Op::Crc32 { castagnoli, size, rd: as_destination(rd), rn, rm }
        }
        Insn::OneSource { op, wide, rd, rn } => one_source(op, wide, as_destination(rd), rn),
        Insn::MultiplyAdd { sub, wide, rd, rn, rm, ra } => {
            let rd = as_destination(rd);
            match (sub, wide) {
                (false, true) => Op::MaddX { rd, rn, rm, ra },
                (false, false) => Op::MaddW { rd, rn, rm, ra },
                (true, true) => Op::MsubX { rd, rn, rm, ra },
                (true, false) => Op::MsubW { rd, rn, rm, ra },
            }
        }
        Insn::MultiplyAddLong { sub, signed, rd, rn, rm, ra } => {
            let rd = as_destination(rd);
            match (signed, sub) {
                (true, false) => Op::Smaddl { rd, rn, rm, ra },
                (true, true) => Op::Smsubl { rd, rn, rm, ra },
                (false, false) => Op::Umaddl { rd, rn, rm, ra },
                (false, true) => Op::Umsubl { rd, rn, rm, ra },
            }
        }
        Insn::MultiplyHigh { signed, rd, rn, rm } => {
            let rd = as_destination(rd);
            if signed { Op::Smulh { rd, rn, rm } } else { Op::Umulh { rd, rn, rm } }
        }

        Insn::Load { kind, rt, rn, addressing } => load(kind, as_destination(rt), rn, addressing),
        Insn::Store { size, rt, rn, addressing } => store(size, rt, rn, addressing),
        Insn::LoadLiteral { kind, rt, offset } => {
            Op::LoadLiteral { kind, rt: as_destination(rt), offset }
        }
        Insn::Prefetch { .. } | Insn::PrefetchLiteral { .. } => Op::Nop,
        Insn::LoadPair { kind, mode, rt, rt2, rn, offset } => {
            let (rt, rt2) = (as_destination(rt), as_destination(rt2));
            let pair = Pair { mode: index_mode(mode), rt, rt2, rn, offset };
            match kind {
                LoadKind::Unsigned(Size::Double) => Op::LdpX(pair),
                LoadKind::Unsigned(_) => Op::LdpW(pair),
                LoadKind::SignedX(_) | LoadKind::SignedW(_) => Op::Ldpsw(pair),
            }
        }
        Insn::StorePair { size, mode, rt, rt2, rn, offset } => {
            let pair = Pair { mode: index_mode(mode), rt, rt2, rn, offset };
            if size == Size::Double { Op::StpX(pair) } else { Op::StpW(pair) }
        }
        // Every access is ordered already: vCPUs run in turn.
        Insn::LoadExclusive { size, acquire: _, rt, rn } => {
            Op::Ldxr { size, rt: as_destination(rt), rn }
        }
        Insn::StoreExclusive { size, release: _, rs, rt, rn } => {
            Op::Stxr { size, rs: as_destination(rs), rt, rn }
        }
        Insn::LoadExclusivePair { wide, acquire: _, rt, rt2, rn } => {
            Op::Ldxp { wide, rt: as_destination(rt), rt2: as_destination(rt2), rn }
        }
        Insn::StoreExclusivePair { wide, release: _, rs, rt, rt2, rn } => {
            Op::Stxp { wide, rs: as_destination(rs), rt, rt2, rn }
        }
        Insn::LoadAcquire { size, rt, rn } => Op::Ldar { size, rt: as_destination(rt), rn },
        Insn::StoreRelease { size, rt, rn } => Op::Stlr { size, rt, rn },
        // Rs is compared and then loaded: execution turns it into a destination.
        Insn::CompareSwap { size, acquire: _, release: _, rs, rt, rn } => {
            Op::Cas { size, rs, rt, rn }
        }
        Insn::CompareSwapPair { wide, acquire: _, release: _, rs, rt, rn } => {
            Op::Casp { wide, rs, rt, rn }
        }
        Insn::Atomic { op, size, acquire: _, release: _, rs, rt, rn } => {
            Op::Atomic { op, size, rs, rt: as_destination(rt), rn }
        }
    }
}

/// A register's worth of ones.
const fn ones(wide: bool) -> u64 {
    if wide { u64::MAX } else { u32::MAX as u64 }
}

fn simd(insn: SimdInsn) -> Op {
    let expanded = |op, width, rd, value: u64| Op::SimdImmediate {
        op,
        width,
        rd,
        low: value as u32,
        high: (value >> 32) as u32,
    };
    match insn {
        SimdInsn::Immediate {
            immediate,
            width,
            rd,
        } => {
            let (op, value) = immediate.expand();
            expanded(op, width, rd, value)
        }
        SimdInsn::FpImmediate { log2, rd, imm8 } => {
            expanded(ImmediateOp::Mov, log2, rd, float_immediate(imm8, log2))
        }
        insn => Op::Simd(insn),
    }
}

fn add_sub_imm(sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, imm: u64) -> Op {
    let negated = imm.wrapping_neg();
    // ADDS and SUBS keep apart: the carry of one is not that of the other with -imm when imm is 0.
    match (wide, sub, set_flags) {
        (true, false, false) => Op::AddImmX { rd, rn, imm },
        (true, true, false) => Op::AddImmX {
            rd,
            rn,
            imm: negated,
        },
        (false, false, false) => Op::AddImmW { rd, rn, imm },
        (false, true, false) => Op::AddImmW {
            rd,
            rn,
            imm: negated,
        },
        (true, false, true) => Op::AddsImmX { rd, rn, imm },
        (true, true, true) => Op::SubsImmX { rd, rn, imm },
        (false, false, true) => Op::AddsImmW { rd, rn, imm },
        (false, true, true) => Op::SubsImmW { rd, rn, imm },
    }
}

fn logical_imm(op: LogicalOp, wide: bool, rd: u8, rn: u8, imm: u64) -> Op {
    match (op, wide) {
        (LogicalOp::And, _) => Op::AndImm { rd, rn, imm },
        (LogicalOp::Orr, _) if rn == XZR => Op::MovImm { rd, imm },
        (LogicalOp::Orr, true) => Op::OrrImmX { rd, rn, imm },
        (LogicalOp::Orr, false) => Op::OrrImmW { rd, rn, imm },
        (LogicalOp::Eor, true) => Op::EorImmX { rd, rn, imm },
        (LogicalOp::Eor, false) => Op::EorImmW { rd, rn, imm },
        (LogicalOp::Ands, true) => Op::AndsImmX { rd, rn, imm },
        (LogicalOp::Ands, false) => Op::AndsImmW { rd, rn, imm },
    }
}

#[rustfmt::skip] // As above.
fn bitfield(op: BitfieldOp, wide: bool, rd: u8, rn: u8, immr: u8, imms: u8) -> Op {
    let size = if wide { 64 } else { 32 };
    let (r, s) = (immr, imms);
    // With s >= r, bits s to r move to the bottom; otherwise bits s to 0 move up to size - r. No bit
    // beyond the register's size takes part in either, so 64-bit shifts serve both sizes.
    let down = s >= r;
    let up_by = (size - r) % size;
    let mask = |width: u8| u64::MAX >> (64 - width);
    match op {
        BitfieldOp::Sbfm => {
            let left = 63 - s;
            let right = if down { 63 - s + r } else { 63 - s - up_by };
            if wide {
                Op::SbfmX { rd, rn, left, right }
            } else {
                Op::SbfmW { rd, rn, left, right }
            }
        }
        BitfieldOp::Bfm => {
            let (rotate, mask) = if down {
                (r, mask(s - r + 1))
            } else {
                (64 - up_by, mask(s + 1) << up_by)
            };
            if wide {
                Op::BfmX { rd, rn, rotate, mask }
            } else {
                Op::BfmW { rd, rn, rotate, mask }
            }
        }
        BitfieldOp::Ubfm if down && r == 0 => Op::AndImm { rd, rn, imm: mask(s + 1) },
        BitfieldOp::Ubfm if down => Op::Ubfx { rd, rn, shift: r, mask: mask(s - r + 1) },
        BitfieldOp::Ubfm => Op::Ubfiz { rd, rn, shift: up_by, mask: mask(s + 1) },
    }
}

#[rustfmt::skip] // As above.
fn logical_shifted(
    op: LogicalOp, invert: bool, wide: bool, [rd, rn, rm]: [u8; 3], kind: ShiftKind, shift: u8,
) -> Op {
    let plain = shift == 0;
    match (op, invert, wide) {
        (LogicalOp::And, false, true) if plain => Op::AndX { rd, rn, rm },
        (LogicalOp::And, false, false) if plain => Op::AndW { rd, rn, rm },
        (LogicalOp::And, true, true) if plain => Op::BicX { rd, rn, rm },
        (LogicalOp::Orr, false, true) if plain && rn == XZR => Op::MovX { rd, rm },
        (LogicalOp::Orr, false, false) if plain && rn == XZR => Op::MovW { rd, rm },
        (LogicalOp::Orr, false, true) if plain => Op::OrrX { rd, rn, rm },
        (LogicalOp::Orr, false, false) if plain => Op::OrrW { rd, rn, rm },
        (LogicalOp::Orr, false, true) if kind == ShiftKind::Lsl => {
            Op::OrrLslX { rd, rn, rm, shift }
        }
        (LogicalOp::Eor, false, true) if plain => Op::EorX { rd, rn, rm },
        (LogicalOp::Eor, false, false) if plain => Op::EorW { rd, rn, rm },
        (LogicalOp::Ands, false, true) if plain => Op::AndsX { rd, rn, rm },
        (LogicalOp::Ands, false, false) if plain => Op::AndsW { rd, rn, rm },
        _ => Op::Logical { op, invert, wide, rd, rn, rm, kind, shift },
    }
}

#[rustfmt::skip] // As above.
fn add_sub_shifted(
    sub: bool, set_flags: bool, wide: bool, [rd, rn, rm]: [u8; 3], kind: ShiftKind, shift: u8,
) -> Op {
    let plain = shift == 0;
    match (sub, set_flags, wide) {
        (false, false, true) if plain => Op::AddX { rd, rn, rm },
        (false, false, false) if plain => Op::AddW { rd, rn, rm },
        (true, false, true) if plain => Op::SubX { rd, rn, rm },
        (true, false, false) if plain => Op::SubW { rd, rn, rm },
        (false, true, true) if plain => Op::AddsX { rd, rn, rm },
        (false, true, false) if plain => Op::AddsW { rd, rn, rm },
        (true, true, true) if plain => Op::SubsX { rd, rn, rm },
        (true, true, false) if plain => Op::SubsW { rd, rn, rm },
        (false, false, true) if kind == ShiftKind::Lsl => Op::AddLslX { rd, rn, rm, shift },
        (true, false, true) if kind == ShiftKind::Lsl => Op::SubLslX { rd, rn, rm, shift },
        _ => Op::AddSubShifted { sub, set_flags, wide, rd, rn, rm, kind, shift },
    }
}

#[rustfmt::skip] // As above.
fn cond_sel(op: CondSelOp, wide: bool, [rd, rn, rm]: [u8; 3], condition: Condition) -> Op {
    let conditions = condition.holding();
    match (op, wide) {
        (CondSelOp::Csel, true) => Op::CselX { rd, rn, rm, conditions },
        (CondSelOp::Csel, false) => Op::CselW { rd, rn, rm, conditions },
        (CondSelOp::Csinc, true) => Op::CsincX { rd, rn, rm, conditions },
        (CondSelOp::Csinc, false) => Op::CsincW { rd, rn, rm, conditions },
        (CondSelOp::Csinv, true) => Op::CsinvX { rd, rn, rm, conditions },
        (CondSelOp::Csinv, false) => Op::CsinvW { rd, rn, rm, conditions },
        (CondSelOp::Csneg, true) => Op::CsnegX { rd, rn, rm, conditions },
        (CondSelOp::Csneg, false) => Op::CsnegW { rd, rn, rm, conditions },
    }
}

fn one_source(op: OneSourceOp, wide: bool, rd: u8, rn: u8) -> Op {
    match (op, wide) {
        (OneSourceOp::Rbit, true) => Op::RbitX { rd, rn },
        (OneSourceOp::Rbit, false) => Op::RbitW { rd, rn },
        (OneSourceOp::Rev16, true) => Op::Rev16X { rd, rn },
        (OneSourceOp::Rev16, false) => Op::Rev16W { rd, rn },
        (OneSourceOp::Rev32, true) => Op::Rev32X { rd, rn },
        (OneSourceOp::Rev32, false) => Op::RevW { rd, rn },
        (OneSourceOp::Rev64, _) => Op::RevX { rd, rn },
        (OneSourceOp::Clz, true) => Op::ClzX { rd, rn },
        (OneSourceOp::Clz, false) => Op::ClzW { rd, rn },
        (OneSourceOp::Cls, true) => Op::ClsX { rd, rn },
        (OneSourceOp::Cls, false) => Op::ClsW { rd, rn },
    }
}

const fn index_mode(mode: PairMode) -> IndexMode {
    match mode {
        PairMode::Offset | PairMode::NonTemporal => IndexMode::Offset,
        PairMode::PreIndexed => IndexMode::Pre,
        PairMode::PostIndexed => IndexMode::Post,
    }
}

/// Log2 of a size, which a scaled register offset is shifted by.
const fn scale(size: Size, scaled: bool) -> u8 {
    if scaled { size as u8 } else { 0 }
}

const fn whole(extend: ExtendKind) -> bool {
    matches!(extend, ExtendKind::Uxtx | ExtendKind::Sxtx)
}

#[rustfmt::skip] // As above.
fn load(kind: LoadKind, rt: u8, rn: u8, addressing: Addressing) -> Op {
    let at = |offset: i64| match kind {
        LoadKind::Unsigned(Size::Byte) => Op::Ldrb { rt, rn, offset },
        LoadKind::Unsigned(Size::Half) => Op::Ldrh { rt, rn, offset },
        LoadKind::Unsigned(Size::Word) => Op::LdrW { rt, rn, offset },
        LoadKind::Unsigned(Size::Double) => Op::LdrX { rt, rn, offset },
        _ => Op::Load { kind, rt, rn, offset },
    };
    match addressing {
        Addressing::Unsigned(offset) => at(offset.into()),
        Addressing::Unscaled(offset) => at(offset.into()),
        Addressing::Unprivileged(offset) => Op::LoadUnprivileged { kind, rt, rn, offset },
        Addressing::PreIndexed(offset) => Op::LoadIndexed { kind, post: false, rt, rn, offset },
        Addressing::PostIndexed(offset) => Op::LoadIndexed { kind, post: true, rt, rn, offset },
        Addressing::Register { rm, extend, scaled } => {
            let shift = scale(kind.size(), scaled);
            if kind == LoadKind::Unsigned(Size::Double) && whole(extend) {
                Op::LdrLslX { rt, rn, rm, shift }
            } else {
                Op::LoadRegister { kind, rt, rn, rm, extend, shift }
            }
        }
    }
}

#[rustfmt::skip] // As above.
fn store(size: Size, rt: u8, rn: u8, addressing: Addressing) -> Op {
    let at = |offset: i64| match size {
        Size::Byte => Op::Strb { rt, rn, offset },
        Size::Half => Op::Strh { rt, rn, offset },
        Size::Word => Op::StrW { rt, rn, offset },
        Size::Double => Op::StrX { rt, rn, offset },
    };
    match addressing {
        Addressing::Unsigned(offset) => at(offset.into()),
        Addressing::Unscaled(offset) => at(offset.into()),
        Addressing::Unprivileged(offset) => Op::StoreUnprivileged { size, rt, rn, offset },
        Addressing::PreIndexed(offset) => Op::StoreIndexed { size, post: false, rt, rn, offset },
        Addressing::PostIndexed(offset) => Op::StoreIndexed { size, post: true, rt, rn, offset },
        Addressing::Register { rm, extend, scaled } => {
            let shift = scale(size, scaled);
            if size == Size::Double && whole(extend) {
                Op::StrLslX { rt, rn, rm, shift }
            } else {
                Op::StoreRegister { size, rt, rn, rm, extend, shift }
            }
        }
    }
}

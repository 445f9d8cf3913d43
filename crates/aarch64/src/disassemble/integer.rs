//! Data processing and branches.

use super::operands::{condition, mnemonic, r, relative, shift, w, x};
use crate::bus::Size;
use crate::decode::{
    BitfieldOp, BranchRegisterOp, CondSelOp, ExtendKind, Insn, LogicalOp, MoveWideOp, OneSourceOp,
    ShiftKind,
};
use crate::registers::{LR, SP, XZR};

/// The text; `None` if the instruction is of another file.
#[rustfmt::skip] // One instruction a line, as far as they fit.
pub(super) fn text(insn: Insn, pc: u64) -> Option<String> {
    Some(match insn {
        Insn::Adr { page: false, rd, offset } => format!("adr {}, {}", x(rd), relative(pc, offset)),
        Insn::Adr { page: true, rd, offset } => {
            format!("adrp {}, {}", x(rd), relative(pc & !0xfff, offset))
        }
        Insn::AddSubImm { sub, set_flags, wide, rd, rn, imm, shifted } => {
            let moves = !sub && !set_flags && imm == 0 && !shifted && (rd == SP || rn == SP);
            if moves {
                return Some(format!("mov {}, {}", r(wide, rd), r(wide, rn)));
            }
            let shift = if shifted { ", lsl #12" } else { "" };
            let operand = format!("#{imm:#x}{shift}");
            add_sub(sub, set_flags, wide, rd, rn, &operand)
        }
        Insn::LogicalImm { op, wide, rd, rn, imm } => logical_imm(op, wide, rd, rn, imm),
        Insn::MoveWide { op, wide, rd, imm, shift } => move_wide(op, wide, rd, imm, shift),
        Insn::Bitfield { op, wide, rd, rn, immr, imms } => bitfield(op, wide, rd, rn, immr, imms),
        Insn::Extract { wide, rd, rn, rm, lsb } if rn == rm => {
            format!("ror {}, {}, #{lsb}", r(wide, rd), r(wide, rn))
        }
        Insn::Extract { wide, rd, rn, rm, lsb } => {
            format!("extr {}, {}, {}, #{lsb}", r(wide, rd), r(wide, rn), r(wide, rm))
        }

        Insn::Branch { link, offset } => {
            format!("{} {}", if link { "bl" } else { "b" }, relative(pc, offset))
        }
        Insn::BranchCond { condition: cond, offset } => {
            format!("b.{} {}", condition(cond), relative(pc, offset))
        }
        Insn::CompareBranch { nonzero, wide, rt, offset } => {
            let name = if nonzero { "cbnz" } else { "cbz" };
            format!("{name} {}, {}", r(wide, rt), relative(pc, offset))
        }
        Insn::TestBranch { nonzero, rt, bit, offset } => {
            let name = if nonzero { "tbnz" } else { "tbz" };
            format!("{name} {}, #{bit}, {}", r(bit >= 32, rt), relative(pc, offset))
        }
        Insn::BranchRegister { op: BranchRegisterOp::Ret, rn: LR } => "ret".to_owned(),
        Insn::BranchRegister { op, rn } => format!("{} {}", mnemonic(op), x(rn)),

        Insn::LogicalShifted { op, invert, wide, rd, rn, rm, kind, shift: amount } => {
            logical_shifted(op, invert, wide, [rd, rn, rm], kind, amount)
        }
        Insn::AddSubShifted { sub, set_flags, wide, rd, rn, rm, kind, shift: amount } => {
            let operand = format!("{}{}", r(wide, rm), shift(kind, amount));
            let compares = set_flags && rd == XZR;
            if sub && rn == XZR && !compares {
                let name = if set_flags { "negs" } else { "neg" };
                return Some(format!("{name} {}, {operand}", r(wide, rd)));
            }
            add_sub(sub, set_flags, wide, rd, rn, &operand)
        }
        Insn::AddSubExtended { sub, set_flags, wide, rd, rn, rm, kind, shift } => {
            let operand = extended(wide, rd, rn, rm, kind, shift);
            add_sub(sub, set_flags, wide, rd, rn, &operand)
        }
        Insn::AddSubCarry { sub, set_flags, wide, rd, rn, rm } => {
            let s = if set_flags { "s" } else { "" };
            if sub && rn == XZR {
                return Some(format!("ngc{s} {}, {}", r(wide, rd), r(wide, rm)));
            }
            let name = if sub { "sbc" } else { "adc" };
            format!("{name}{s} {}, {}, {}", r(wide, rd), r(wide, rn), r(wide, rm))
        }
        Insn::CondCompareReg { sub, wide, rn, rm, nzcv, condition: cond } => {
            let name = if sub { "ccmp" } else { "ccmn" };
            let (rn, rm) = (r(wide, rn), r(wide, rm));
            format!("{name} {rn}, {rm}, #{nzcv:#x}, {}", condition(cond))
        }
        Insn::CondCompareImm { sub, wide, rn, imm, nzcv, condition: cond } => {
            let name = if sub { "ccmp" } else { "ccmn" };
            format!("{name} {}, #{imm:#x}, #{nzcv:#x}, {}", r(wide, rn), condition(cond))
        }
        Insn::CondSel { op, wide, rd, rn, rm, condition: cond } => {
            let same = rn == rm && !cond.is_always();
            let inverted = condition(cond.inverted());
            let rd = r(wide, rd);
            match op {
                CondSelOp::Csinc if same && rn == XZR => format!("cset {rd}, {inverted}"),
                CondSelOp::Csinv if same && rn == XZR => format!("csetm {rd}, {inverted}"),
                CondSelOp::Csinc if same => format!("cinc {rd}, {}, {inverted}", r(wide, rn)),
                CondSelOp::Csinv if same => format!("cinv {rd}, {}, {inverted}", r(wide, rn)),
                CondSelOp::Csneg if same => format!("cneg {rd}, {}, {inverted}", r(wide, rn)),
                _ => {
                    let (rn, rm) = (r(wide, rn), r(wide, rm));
                    format!("{} {rd}, {rn}, {rm}, {}", mnemonic(op), condition(cond))
                }
            }
        }
        Insn::Divide { signed, wide, rd, rn, rm } => {
            let name = if signed { "sdiv" } else { "udiv" };
            format!("{name} {}, {}, {}", r(wide, rd), r(wide, rn), r(wide, rm))
        }
        Insn::ShiftVariable { kind, wide, rd, rn, rm } => {
            format!("{} {}, {}, {}", mnemonic(kind), r(wide, rd), r(wide, rn), r(wide, rm))
        }
        Insn::Crc32 { castagnoli, size, rd, rn, rm } => {
            let c = if castagnoli { "c" } else { "" };
            let letter = ['b', 'h', 'w', 'x'][size as usize];
            let operand = r(size == Size::Double, rm);
            format!("crc32{c}{letter} {}, {}, {operand}", w(rd), w(rn))
        }
        Insn::OneSource { op, wide, rd, rn } => {
            let name = match (op, wide) {
                (OneSourceOp::Rev64, _) | (OneSourceOp::Rev32, false) => "rev".to_owned(),
                _ => mnemonic(op),
            };
            format!("{name} {}, {}", r(wide, rd), r(wide, rn))
        }
        Insn::MultiplyAdd { sub, wide, rd, rn, rm, ra } => {
            let operands = format!("{}, {}, {}", r(wide, rd), r(wide, rn), r(wide, rm));
            match (sub, ra) {
                (false, XZR) => format!("mul {operands}"),
                (true, XZR) => format!("mneg {operands}"),
                (false, _) => format!("madd {operands}, {}", r(wide, ra)),
                (true, _) => format!("msub {operands}, {}", r(wide, ra)),
            }
        }
        Insn::MultiplyAddLong { sub, signed, rd, rn, rm, ra } => {
            let sign = if signed { 's' } else { 'u' };
            let operands = format!("{}, {}, {}", x(rd), w(rn), w(rm));
            match (sub, ra) {
                (false, XZR) => format!("{sign}mull {operands}"),
                (true, XZR) => format!("{sign}mnegl {operands}"),
                (false, _) => format!("{sign}maddl {operands}, {}", x(ra)),
                (true, _) => format!("{sign}msubl {operands}, {}", x(ra)),
            }
        }
        Insn::MultiplyHigh { signed, rd, rn, rm } => {
            let sign = if signed { 's' } else { 'u' };
            format!("{sign}mulh {}, {}, {}", x(rd), x(rn), x(rm))
        }
        _ => return None,
    })
}

/// Additions and subtractions, or the comparisons that they are.
fn add_sub(sub: bool, set_flags: bool, wide: bool, rd: u8, rn: u8, operand: &str) -> String {
    let name = match (sub, set_flags) {
        (false, true) if rd == XZR => "cmn",
        (true, true) if rd == XZR => "cmp",
        (false, false) => "add",
        (false, true) => "adds",
        (true, false) => "sub",
        (true, true) => "subs",
    };
    if set_flags && rd == XZR {
        format!("{name} {}, {operand}", r(wide, rn))
    } else {
        format!("{name} {}, {}, {operand}", r(wide, rd), r(wide, rn))
    }
}

/// An extended register. Beside the stack pointer, the extension that changes nothing is LSL.
fn extended(wide: bool, rd: u8, rn: u8, rm: u8, kind: ExtendKind, shift: u8) -> String {
    let whole = if wide {
        ExtendKind::Uxtx
    } else {
        ExtendKind::Uxtw
    };
    let register = r(
        wide && matches!(kind, ExtendKind::Uxtx | ExtendKind::Sxtx),
        rm,
    );
    let beside_sp = rd == SP || rn == SP;
    match (beside_sp && kind == whole, shift) {
        (true, 0) => register,
        (true, _) => format!("{register}, lsl #{shift}"),
        (false, 0) => format!("{register}, {}", mnemonic(kind)),
        (false, _) => format!("{register}, {} #{shift}", mnemonic(kind)),
    }
}

/// Whether MOVZ or MOVN can make the value, which MOV then means.
fn is_move_wide(wide: bool, imm: u64) -> bool {
    let halves = if wide { 4 } else { 2 };
    let register = if wide { u64::MAX } else { u32::MAX.into() };
    let fits = |value: u64| (0..halves).any(|half| value & !(0xffff << (16 * half)) == 0);
    fits(imm) || fits(!imm & register)
}

fn logical_imm(op: LogicalOp, wide: bool, rd: u8, rn: u8, imm: u64) -> String {
    match op {
        LogicalOp::Ands if rd == XZR => format!("tst {}, #{imm:#x}", r(wide, rn)),
        // MOVZ and MOVN reach no stack pointer.
        LogicalOp::Orr if rn == XZR && (rd == SP || !is_move_wide(wide, imm)) => {
            format!("mov {}, #{imm:#x}", r(wide, rd))
        }
        _ => format!(
            "{} {}, {}, #{imm:#x}",
            mnemonic(op),
            r(wide, rd),
            r(wide, rn)
        ),
    }
}

fn move_wide(op: MoveWideOp, wide: bool, rd: u8, imm: u16, shift: u8) -> String {
    let placed = u64::from(imm) << shift;
    let rd = r(wide, rd);
    let register = if wide { u64::MAX } else { u32::MAX.into() };
    let zero_shifted = imm == 0 && shift != 0;
    match op {
        MoveWideOp::Movz if !zero_shifted => format!("mov {rd}, #{placed:#x}"),
        // All ones of 32 bits, but for a half, are a MOVZ's.
        MoveWideOp::Movn if !zero_shifted && (wide || imm != 0xffff) => {
            format!("mov {rd}, #{:#x}", !placed & register)
        }
        _ if shift == 0 => format!("{} {rd}, #{imm:#x}", mnemonic(op)),
        _ => format!("{} {rd}, #{imm:#x}, lsl #{shift}", mnemonic(op)),
    }
}

fn bitfield(op: BitfieldOp, wide: bool, rd: u8, rn: u8, immr: u8, imms: u8) -> String {
    let top = if wide { 63 } else { 31 };
    let (d, n) = (r(wide, rd), r(wide, rn));
    // Extraction to the bottom, or insertion at a distance from it.
    let down = format!("#{immr}, #{}", i16::from(imms) - i16::from(immr) + 1);
    let up = format!("#{}, #{}", (top + 1 - immr) & top, imms + 1);
    let inserts = imms < immr;
    match op {
        BitfieldOp::Sbfm => match (immr, imms) {
            (_, _) if imms == top => format!("asr {d}, {n}, #{immr}"),
            (0, 7) => format!("sxtb {d}, {}", w(rn)),
            (0, 15) => format!("sxth {d}, {}", w(rn)),
            (0, 31) => format!("sxtw {d}, {}", w(rn)),
            _ if inserts => format!("sbfiz {d}, {n}, {up}"),
            _ => format!("sbfx {d}, {n}, {down}"),
        },
        BitfieldOp::Ubfm => match (immr, imms) {
            (_, _) if imms == top => format!("lsr {d}, {n}, #{immr}"),
            (_, _) if imms + 1 == immr => format!("lsl {d}, {n}, #{}", top - imms),
            (0, 7) if !wide => format!("uxtb {d}, {n}"),
            (0, 15) if !wide => format!("uxth {d}, {n}"),
            _ if inserts => format!("ubfiz {d}, {n}, {up}"),
            _ => format!("ubfx {d}, {n}, {down}"),
        },
        BitfieldOp::Bfm if inserts && rn == XZR => format!("bfc {d}, {up}"),
        BitfieldOp::Bfm if inserts => format!("bfi {d}, {n}, {up}"),
        BitfieldOp::Bfm => format!("bfxil {d}, {n}, {down}"),
    }
}

fn logical_shifted(
    op: LogicalOp,
    invert: bool,
    wide: bool,
    [rd, rn, rm]: [u8; 3],
    kind: ShiftKind,
    amount: u8,
) -> String {
    let operand = format!("{}{}", r(wide, rm), shift(kind, amount));
    let unshifted = kind == ShiftKind::Lsl && amount == 0;
    match (op, invert) {
        (LogicalOp::Orr, false) if rn == XZR && unshifted => {
            format!("mov {}, {operand}", r(wide, rd))
        }
        (LogicalOp::Orr, true) if rn == XZR => format!("mvn {}, {operand}", r(wide, rd)),
        (LogicalOp::Ands, false) if rd == XZR => format!("tst {}, {operand}", r(wide, rn)),
        _ => {
            let name = match (op, invert) {
                (_, false) => mnemonic(op),
                (LogicalOp::And, true) => "bic".to_owned(),
                (LogicalOp::Orr, true) => "orn".to_owned(),
                (LogicalOp::Eor, true) => "eon".to_owned(),
                (LogicalOp::Ands, true) => "bics".to_owned(),
            };
            format!("{name} {}, {}, {operand}", r(wide, rd), r(wide, rn))
        }
    }
}

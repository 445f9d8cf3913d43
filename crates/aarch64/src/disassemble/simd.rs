//! Scalar floating point and Advanced SIMD.

use super::operands::{
    address, condition, mnemonic, pair_address, r, relative, scalar, unscaled, w, x,
};
use crate::decode::PairMode;
use crate::decode::simd::{
    Immediate, Logical, Multiple, Narrow, SimdInsn, Single, ThreeDifferent, TwoRegister, WriteBack,
    float_immediate,
};

/// A vector register with its arrangement: elements of `log2` in `width` (3 or 4).
fn v(log2: u8, width: u8, register: u8) -> String {
    let count = 1 << (width - log2);
    format!("v{register}.{count}{}", letter(log2))
}

/// A vector of `log2` in `width`, or a scalar if they are the same.
fn any(log2: u8, width: u8, register: u8) -> String {
    if width == log2 {
        scalar(log2, register)
    } else {
        v(log2, width, register)
    }
}

fn letter(log2: u8) -> char {
    ['b', 'h', 's', 'd', 'q'][usize::from(log2.min(4))]
}

/// One element.
fn element(log2: u8, register: u8, index: u8) -> String {
    format!("v{register}.{}[{index}]", letter(log2))
}

/// The width of a half of a register, lower or upper.
const fn half(high: bool) -> u8 {
    if high { 4 } else { 3 }
}

/// What tells that the upper half is meant.
const fn two(high: bool) -> &'static str {
    if high { "2" } else { "" }
}

/// Registers one after the other, such as `{v0.16b-v3.16b}`.
fn list(first: u8, count: u8, arrangement: &str) -> String {
    let last = first + count - 1;
    if count > 2 && last < 32 {
        return format!("{{v{first}.{arrangement}-v{last}.{arrangement}}}");
    }
    let each = (first..=last).map(|register| format!("v{}.{arrangement}", register % 32));
    format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
}

/// The base of a structure access, and what is added to it.
fn base(rn: u8, write_back: WriteBack, bytes: u32) -> String {
    match write_back {
        WriteBack::None => format!("[{}]", x(rn)),
        WriteBack::Bytes => format!("[{}], #{bytes}", x(rn)),
        WriteBack::Register(register) => format!("[{}], {}", x(rn), x(register)),
    }
}

/// As C's `%.18e`.
fn float(imm8: u8) -> String {
    let value = f64::from_bits(float_immediate(imm8, 3));
    let text = format!("{value:.18e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("#{mantissa}e{exponent:+03}")
}

/// `, #8` for a fixed-point number, or nothing.
fn fraction(bits: u8) -> String {
    if bits == 0 {
        String::new()
    } else {
        format!(", #{bits}")
    }
}

fn multiple(name: &str, access: Multiple) -> String {
    let structure = if access.interleaved {
        access.registers
    } else {
        1
    };
    let count = 1 << (access.width - access.log2);
    let arrangement = format!("{count}{}", letter(access.log2));
    let registers = list(access.rt, access.registers, &arrangement);
    let bytes = u32::from(access.registers) << access.width;
    let base = base(access.rn, access.write_back, bytes);
    format!("{name}{structure} {registers}, {base}")
}

fn single(name: &str, access: Single) -> String {
    let arrangement = letter(access.log2).to_string();
    let registers = list(access.rt, access.registers, &arrangement);
    let bytes = u32::from(access.registers) << access.log2;
    let base = base(access.rn, access.write_back, bytes);
    format!(
        "{name}{} {registers}[{}], {base}",
        access.registers, access.index
    )
}

fn replicate(access: Single) -> String {
    let count = 1 << (access.width - access.log2);
    let arrangement = format!("{count}{}", letter(access.log2));
    let registers = list(access.rt, access.registers, &arrangement);
    let bytes = u32::from(access.registers) << access.log2;
    let base = base(access.rn, access.write_back, bytes);
    format!("ld{}r {registers}, {base}", access.registers)
}

/// A comparison with zero has it in the variant's name.
fn compared_with_zero(variant: String, zero: &str) -> (String, String) {
    match variant.strip_suffix('0') {
        Some(name) => (name.to_owned(), format!(", {zero}")),
        None => (variant, String::new()),
    }
}

fn immediate(immediate: Immediate, width: u8, rd: u8) -> String {
    let Immediate { cmode, op, imm8 } = immediate;
    let name = match (cmode, op) {
        (0..=11, false) if cmode & 1 != 0 => "orr",
        (0..=11, true) if cmode & 1 != 0 => "bic",
        (0..=13, true) => "mvni",
        (15, _) => "fmov",
        _ => "movi",
    };
    let shifted = |by: u8| {
        if by == 0 {
            String::new()
        } else {
            format!(", lsl #{by}")
        }
    };
    match cmode {
        0..=7 => {
            let shift = shifted(8 * (cmode >> 1));
            format!("{name} {}, #{imm8:#x}{shift}", v(2, width, rd))
        }
        8..=11 => {
            let shift = shifted(8 * (cmode >> 1 & 1));
            format!("{name} {}, #{imm8:#x}{shift}", v(1, width, rd))
        }
        12 => format!("{name} {}, #{imm8:#x}, msl #8", v(2, width, rd)),
        13 => format!("{name} {}, #{imm8:#x}, msl #16", v(2, width, rd)),
        14 if op => {
            let (_, value) = immediate.expand();
            format!("{name} {}, #{value:#x}", any(3, width, rd))
        }
        14 => format!("{name} {}, #{imm8:#x}", v(0, width, rd)),
        _ => format!("{name} {}, {}", v(2 + u8::from(op), width, rd), float(imm8)),
    }
}

/// Where operands are wide: destination, first, second.
fn three_different(op: ThreeDifferent, log2: u8, high: bool) -> [(u8, u8); 3] {
    use ThreeDifferent::{Addhn, Raddhn, Rsubhn, Saddw, Ssubw, Subhn, Uaddw, Usubw};
    let (wide, narrow) = ((log2 + 1, 4), (log2, half(high)));
    match op {
        Addhn | Raddhn | Subhn | Rsubhn => [narrow, wide, wide],
        Saddw | Uaddw | Ssubw | Usubw => [wide, wide, narrow],
        _ => [wide, narrow, narrow],
    }
}

const fn narrow(op: Narrow, shifts: bool) -> &'static str {
    match (op, shifts) {
        (Narrow::Cut, false) => "xtn",
        (Narrow::Cut, true) => "shrn",
        (Narrow::RoundCut, _) => "rshrn",
        (Narrow::Signed, false) => "sqxtn",
        (Narrow::Signed, true) => "sqshrn",
        (Narrow::RoundSigned, _) => "sqrshrn",
        (Narrow::Unsigned, false) => "uqxtn",
        (Narrow::Unsigned, true) => "uqshrn",
        (Narrow::RoundUnsigned, _) => "uqrshrn",
        (Narrow::SignedToUnsigned, false) => "sqxtun",
        (Narrow::SignedToUnsigned, true) => "sqshrun",
        (Narrow::RoundSignedToUnsigned, _) => "sqrshrun",
    }
}

#[rustfmt::skip] // One instruction a line, as far as they fit.
pub(super) fn text(insn: SimdInsn, pc: u64) -> String {
    match insn {
        SimdInsn::Load { log2, rt, rn, addressing } => {
            let address = address(rn, addressing, log2);
            format!("ld{}r {}, {address}", unscaled(addressing), scalar(log2, rt))
        }
        SimdInsn::Store { log2, rt, rn, addressing } => {
            let address = address(rn, addressing, log2);
            format!("st{}r {}, {address}", unscaled(addressing), scalar(log2, rt))
        }
        SimdInsn::LoadLiteral { log2, rt, offset } => {
            format!("ldr {}, {}", scalar(log2, rt), relative(pc, offset.into()))
        }
        SimdInsn::LoadPair { log2, mode, rt, rt2, rn, offset } => {
            pair("ld", log2, mode, rt, rt2, &pair_address(rn, mode, offset))
        }
        SimdInsn::StorePair { log2, mode, rt, rt2, rn, offset } => {
            pair("st", log2, mode, rt, rt2, &pair_address(rn, mode, offset))
        }
        SimdInsn::LoadMultiple(access) => multiple("ld", access),
        SimdInsn::StoreMultiple(access) => multiple("st", access),
        SimdInsn::LoadSingle(access) => single("ld", access),
        SimdInsn::StoreSingle(access) => single("st", access),
        SimdInsn::LoadReplicate(access) => replicate(access),

        SimdInsn::Logical { op: Logical::Orr, width, rd, rn, rm } if rn == rm => {
            format!("mov {}, {}", v(0, width, rd), v(0, width, rn))
        }
        SimdInsn::Logical { op, width, rd, rn, rm } => {
            three(&mnemonic(op), (0, width), rd, rn, rm)
        }
        SimdInsn::ThreeSame { op, log2, width, rd, rn, rm } => {
            three(&mnemonic(op), (log2, width), rd, rn, rm)
        }
        SimdInsn::FpThreeSame { op, log2, width, rd, rn, rm } => {
            three(&mnemonic(op), (log2, width), rd, rn, rm)
        }
        SimdInsn::ThreeDifferent { op, log2, high, rd, rn, rm } => {
            let [d, n, m] = three_different(op, log2, high);
            let name = format!("{}{}", mnemonic(op), two(high));
            format!("{name} {}, {}, {}", v(d.0, d.1, rd), v(n.0, n.1, rn), v(m.0, m.1, rm))
        }
        SimdInsn::ScalarLong { op, log2, index, rd, rn, rm } => {
            let operand = match index {
                Some(index) => element(log2, rm, index),
                None => scalar(log2, rm),
            };
            format!("{} {}, {}, {operand}", mnemonic(op), scalar(log2 + 1, rd), scalar(log2, rn))
        }
        SimdInsn::TwoRegister { op, log2, width, rd, rn } => {
            let n = any(log2, width, rn);
            let d = match op {
                TwoRegister::Saddlp | TwoRegister::Uaddlp
                | TwoRegister::Sadalp | TwoRegister::Uadalp => v(log2 + 1, width, rd),
                _ => any(log2, width, rd),
            };
            if op == TwoRegister::Not {
                return format!("mvn {d}, {n}");
            }
            let (name, zero) = compared_with_zero(mnemonic(op), "#0");
            format!("{name} {d}, {n}{zero}")
        }
        SimdInsn::Narrow { op, log2, width, high, shift, rd, rn } => {
            let (name, by) = (narrow(op, shift != 0), fraction(shift));
            if width == log2 {
                return format!("{name} {}, {}{by}", scalar(log2, rd), scalar(log2 + 1, rn));
            }
            let (d, n) = (v(log2, half(high), rd), v(log2 + 1, 4, rn));
            format!("{name}{} {d}, {n}{by}", two(high))
        }
        SimdInsn::Widen { signed, log2, high, shift, rd, rn } => {
            let (name, by) = match (signed, shift) {
                (_, _) if shift == 8 << log2 => ("shll", format!(", #{shift}")),
                (true, 0) => ("sxtl", String::new()),
                (false, 0) => ("uxtl", String::new()),
                (true, _) => ("sshll", format!(", #{shift}")),
                (false, _) => ("ushll", format!(", #{shift}")),
            };
            format!("{name}{} {}, {}{by}", two(high), v(log2 + 1, 4, rd), v(log2, half(high), rn))
        }
        SimdInsn::FpTwoRegister { op, log2, width, rd, rn } => {
            let (name, zero) = compared_with_zero(mnemonic(op), "#0.0");
            format!("{name} {}, {}{zero}", any(log2, width, rd), any(log2, width, rn))
        }
        SimdInsn::FpLengthen { log2, high, rd, rn } => {
            format!("fcvtl{} {}, {}", two(high), v(log2 + 1, 4, rd), v(log2, half(high), rn))
        }
        SimdInsn::FpNarrow { odd, log2, width, high, rd, rn } => {
            let name = if odd { "fcvtxn" } else { "fcvtn" };
            if width == log2 {
                return format!("{name} {}, {}", scalar(log2, rd), scalar(log2 + 1, rn));
            }
            format!("{name}{} {}, {}", two(high), v(log2, half(high), rd), v(log2 + 1, 4, rn))
        }
        SimdInsn::FpFixed { op, log2, width, fraction_bits, rd, rn } => {
            let (d, n) = (any(log2, width, rd), any(log2, width, rn));
            format!("{} {d}, {n}{}", mnemonic(op), fraction(fraction_bits))
        }
        SimdInsn::Across { op, log2, width, rd, rn } => {
            let name = mnemonic(op);
            let long = u8::from(name.ends_with("lv"));
            format!("{name} {}, {}", scalar(log2 + long, rd), v(log2, width, rn))
        }
        SimdInsn::FpAcross { op, rd, rn } => {
            format!("{}v {}, {}", mnemonic(op), scalar(2, rd), v(2, 4, rn))
        }
        SimdInsn::FpScalarPairwise { op, log2, rd, rn } => {
            format!("{} {}, {}", mnemonic(op), scalar(log2, rd), v(log2, log2 + 1, rn))
        }
        SimdInsn::ScalarAddPair { rd, rn } => format!("addp {}, {}", scalar(3, rd), v(3, 4, rn)),
        SimdInsn::Shift { op, log2, width, shift, rd, rn } => {
            format!("{} {}, {}, #{shift}", mnemonic(op), any(log2, width, rd), any(log2, width, rn))
        }
        SimdInsn::ByElement { op, log2, width, index, rd, rn, rm } => {
            let (d, n) = (any(log2, width, rd), any(log2, width, rn));
            format!("{} {d}, {n}, {}", mnemonic(op), element(log2, rm, index))
        }
        SimdInsn::LongByElement { op, log2, high, index, rd, rn, rm } => {
            let (d, n) = (v(log2 + 1, 4, rd), v(log2, half(high), rn));
            format!("{}{} {d}, {n}, {}", mnemonic(op), two(high), element(log2, rm, index))
        }
        SimdInsn::FpByElement { op, log2, width, index, rd, rn, rm } => {
            let (d, n) = (any(log2, width, rd), any(log2, width, rn));
            format!("{} {d}, {n}, {}", mnemonic(op), element(log2, rm, index))
        }

        SimdInsn::DupElement { log2, width, index, rd, rn } => {
            let name = if width == log2 { "mov" } else { "dup" };
            format!("{name} {}, {}", any(log2, width, rd), element(log2, rn, index))
        }
        SimdInsn::DupGeneral { log2, width, rd, rn } => {
            format!("dup {}, {}", v(log2, width, rd), r(log2 == 3, rn))
        }
        SimdInsn::InsertElement { log2, to, from, rd, rn } => {
            format!("mov {}, {}", element(log2, rd, to), element(log2, rn, from))
        }
        SimdInsn::InsertGeneral { log2, index, rd, rn } => {
            format!("mov {}, {}", element(log2, rd, index), r(log2 == 3, rn))
        }
        SimdInsn::MoveUnsigned { log2, index, rd, rn } => {
            let name = if log2 >= 2 { "mov" } else { "umov" };
            format!("{name} {}, {}", r(log2 == 3, rd), element(log2, rn, index))
        }
        SimdInsn::MoveSigned { log2, wide, index, rd, rn } => {
            format!("smov {}, {}", r(wide, rd), element(log2, rn, index))
        }
        SimdInsn::Immediate { immediate: encoded, width, rd } => immediate(encoded, width, rd),
        SimdInsn::Permute { op, log2, width, rd, rn, rm } => {
            three(&mnemonic(op), (log2, width), rd, rn, rm)
        }
        SimdInsn::Extract { width, position, rd, rn, rm } => {
            let operands = [rd, rn, rm].map(|register| v(0, width, register)).join(", ");
            format!("ext {operands}, #{position}")
        }
        SimdInsn::Table { keep, registers, width, rd, rn, rm } => {
            let name = if keep { "tbx" } else { "tbl" };
            let table = list(rn, registers, "16b");
            format!("{name} {}, {table}, {}", v(0, width, rd), v(0, width, rm))
        }

        SimdInsn::FpOneSource { op, log2, rd, rn } => {
            format!("{} {}, {}", mnemonic(op), scalar(log2, rd), scalar(log2, rn))
        }
        SimdInsn::FpConvert { from, to, rd, rn } => {
            format!("fcvt {}, {}", scalar(to, rd), scalar(from, rn))
        }
        SimdInsn::FpTwoSource { op, log2, rd, rn, rm } => {
            three(&mnemonic(op), (log2, log2), rd, rn, rm)
        }
        SimdInsn::FpThreeSource { negate_product, negate_addend, log2, rd, rn, rm, ra } => {
            let name = match (negate_product, negate_addend) {
                (false, false) => "fmadd",
                (true, false) => "fmsub",
                (true, true) => "fnmadd",
                (false, true) => "fnmsub",
            };
            let operands = [rd, rn, rm, ra].map(|register| scalar(log2, register));
            format!("{name} {}", operands.join(", "))
        }
        SimdInsn::FpCompare { log2, signal, with_zero, rn, rm } => {
            let name = if signal { "fcmpe" } else { "fcmp" };
            let operand = if with_zero { "#0.0".to_owned() } else { scalar(log2, rm) };
            format!("{name} {}, {operand}", scalar(log2, rn))
        }
        SimdInsn::FpConditionalCompare { log2, signal, condition: cond, nzcv, rn, rm } => {
            let name = if signal { "fccmpe" } else { "fccmp" };
            let (n, m) = (scalar(log2, rn), scalar(log2, rm));
            format!("{name} {n}, {m}, #{nzcv:#x}, {}", condition(cond))
        }
        SimdInsn::FpSelect { log2, condition: cond, rd, rn, rm } => {
            let operands = [rd, rn, rm].map(|register| scalar(log2, register)).join(", ");
            format!("fcsel {operands}, {}", condition(cond))
        }
        SimdInsn::FpImmediate { log2, rd, imm8 } => {
            format!("fmov {}, {}", scalar(log2, rd), float(imm8))
        }
        SimdInsn::FpToGeneral { op, log2, wide, fraction_bits, rd, rn } => {
            let (d, n) = (r(wide, rd), scalar(log2, rn));
            format!("{} {d}, {n}{}", mnemonic(op), fraction(fraction_bits))
        }
        SimdInsn::FpFromGeneral { signed, log2, wide, fraction_bits, rd, rn } => {
            let name = if signed { "scvtf" } else { "ucvtf" };
            format!("{name} {}, {}{}", scalar(log2, rd), r(wide, rn), fraction(fraction_bits))
        }
        SimdInsn::FpMoveToGeneral { log2, rd, rn } => match log2 {
            2 => format!("fmov {}, {}", w(rd), scalar(2, rn)),
            3 => format!("fmov {}, {}", x(rd), scalar(3, rn)),
            _ => format!("fmov {}, {}", x(rd), element(3, rn, 1)),
        },
        SimdInsn::FpMoveFromGeneral { log2, rd, rn } => match log2 {
            2 => format!("fmov {}, {}", scalar(2, rd), w(rn)),
            3 => format!("fmov {}, {}", scalar(3, rd), x(rn)),
            _ => format!("fmov {}, {}", element(3, rd, 1), x(rn)),
        },
    }
}

fn pair(name: &str, log2: u8, mode: PairMode, rt: u8, rt2: u8, address: &str) -> String {
    let hint = if mode == PairMode::NonTemporal {
        "n"
    } else {
        ""
    };
    format!(
        "{name}{hint}p {}, {}, {address}",
        scalar(log2, rt),
        scalar(log2, rt2)
    )
}

/// Three operands of one form.
fn three(name: &str, (log2, width): (u8, u8), rd: u8, rn: u8, rm: u8) -> String {
    let operands = [rd, rn, rm].map(|register| any(log2, width, register));
    format!("{name} {}", operands.join(", "))
}

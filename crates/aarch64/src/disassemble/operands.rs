//! Registers, immediates, conditions and addresses.

use std::fmt::Debug;

use crate::decode::{Addressing, Condition, ExtendKind, PairMode, ShiftKind};
use crate::registers::{SP, XZR};

/// A mnemonic, or part of one: the variants are named by it.
pub(super) fn mnemonic(variant: impl Debug) -> String {
    format!("{variant:?}").to_lowercase()
}

/// An X or W register.
pub(super) fn r(wide: bool, register: u8) -> String {
    let letter = if wide { 'x' } else { 'w' };
    match register {
        SP if wide => "sp".to_owned(),
        SP => "wsp".to_owned(),
        XZR => format!("{letter}zr"),
        _ => format!("{letter}{register}"),
    }
}

/// An X register.
pub(super) fn x(register: u8) -> String {
    r(true, register)
}

/// A W register.
pub(super) fn w(register: u8) -> String {
    r(false, register)
}

/// An FP register by log2 of its bytes.
pub(super) fn scalar(log2: u8, register: u8) -> String {
    let letter = ['b', 'h', 's', 'd', 'q'][usize::from(log2.min(4))];
    format!("{letter}{register}")
}

/// The condition codes.
pub(super) fn condition(condition: Condition) -> &'static str {
    const NAMES: [&str; 16] = [
        "eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al",
        "nv",
    ];
    NAMES[usize::from(condition.code())]
}

/// An address, relative to the instruction's.
pub(super) fn relative(pc: u64, offset: i64) -> String {
    format!("{:#x}", pc.wrapping_add(offset as u64))
}

/// `, lsl #3`, or nothing.
pub(super) fn shift(kind: ShiftKind, amount: u8) -> String {
    if kind == ShiftKind::Lsl && amount == 0 {
        String::new()
    } else {
        format!(", {} #{amount}", mnemonic(kind))
    }
}

/// The base register and what is added to it. `scale` is log2 of the access.
pub(super) fn address(rn: u8, addressing: Addressing, scale: u8) -> String {
    let base = x(rn);
    match addressing {
        Addressing::Unsigned(0) | Addressing::Unscaled(0) | Addressing::Unprivileged(0) => {
            format!("[{base}]")
        }
        Addressing::Unsigned(offset) => format!("[{base}, #{offset}]"),
        Addressing::Unscaled(offset) | Addressing::Unprivileged(offset) => {
            format!("[{base}, #{offset}]")
        }
        Addressing::PreIndexed(offset) => format!("[{base}, #{offset}]!"),
        Addressing::PostIndexed(offset) => format!("[{base}], #{offset}"),
        Addressing::Register { rm, extend, scaled } => {
            let wide = matches!(extend, ExtendKind::Uxtx | ExtendKind::Sxtx);
            let index = r(wide, rm);
            match (extend, scaled) {
                (ExtendKind::Uxtx, false) => format!("[{base}, {index}]"),
                (ExtendKind::Uxtx, true) => format!("[{base}, {index}, lsl #{scale}]"),
                (_, false) => format!("[{base}, {index}, {}]", mnemonic(extend)),
                (_, true) => format!("[{base}, {index}, {} #{scale}]", mnemonic(extend)),
            }
        }
    }
}

/// The same of a pair.
pub(super) fn pair_address(rn: u8, mode: PairMode, offset: i16) -> String {
    let base = x(rn);
    match mode {
        PairMode::Offset | PairMode::NonTemporal if offset == 0 => format!("[{base}]"),
        PairMode::Offset | PairMode::NonTemporal => format!("[{base}, #{offset}]"),
        PairMode::PreIndexed => format!("[{base}, #{offset}]!"),
        PairMode::PostIndexed => format!("[{base}], #{offset}"),
    }
}

/// How a mnemonic tells the addressing: LDR, LDUR, LDTR.
pub(super) fn unscaled(addressing: Addressing) -> &'static str {
    match addressing {
        Addressing::Unscaled(_) => "u",
        Addressing::Unprivileged(_) => "t",
        _ => "",
    }
}

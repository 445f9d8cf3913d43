//! Loads and stores of general-purpose registers.

use super::operands::{address, mnemonic, pair_address, r, relative, unscaled, w, x};
use crate::bus::Size;
use crate::decode::{AtomicOp, Insn, LoadKind, PairMode};
use crate::registers::XZR;

/// The text; `None` if the instruction is of another file.
#[rustfmt::skip] // One instruction a line, as far as they fit.
pub(super) fn text(insn: Insn, pc: u64) -> Option<String> {
    Some(match insn {
        Insn::Load { kind, rt, rn, addressing } => {
            let (suffix, wide) = load(kind);
            let address = address(rn, addressing, kind.size() as u8);
            format!("ld{}r{suffix} {}, {address}", unscaled(addressing), r(wide, rt))
        }
        Insn::Store { size, rt, rn, addressing } => {
            let address = address(rn, addressing, size as u8);
            format!("st{}r{} {}, {address}", unscaled(addressing), suffix(size), data(size, rt))
        }
        Insn::LoadLiteral { kind, rt, offset } => {
            let (suffix, wide) = load(kind);
            format!("ldr{suffix} {}, {}", r(wide, rt), relative(pc, offset))
        }
        Insn::Prefetch { operation, rn, addressing } => {
            let address = address(rn, addressing, Size::Double as u8);
            format!("prf{}m {}, {address}", unscaled(addressing), prefetch(operation))
        }
        Insn::PrefetchLiteral { operation, offset } => {
            format!("prfm {}, {}", prefetch(operation), relative(pc, offset))
        }
        Insn::LoadPair { kind, mode, rt, rt2, rn, offset } => {
            let (suffix, wide) = load(kind);
            let (rt, rt2) = (r(wide, rt), r(wide, rt2));
            let address = pair_address(rn, mode, offset);
            format!("ld{}p{suffix} {rt}, {rt2}, {address}", hint(mode))
        }
        Insn::StorePair { size, mode, rt, rt2, rn, offset } => {
            let address = pair_address(rn, mode, offset);
            format!("st{}p {}, {}, {address}", hint(mode), data(size, rt), data(size, rt2))
        }
        Insn::LoadExclusive { size, acquire, rt, rn } => {
            let a = if acquire { "a" } else { "" };
            format!("ld{a}xr{} {}, [{}]", suffix(size), data(size, rt), x(rn))
        }
        Insn::StoreExclusive { size, release, rs, rt, rn } => {
            let l = if release { "l" } else { "" };
            format!("st{l}xr{} {}, {}, [{}]", suffix(size), w(rs), data(size, rt), x(rn))
        }
        Insn::LoadExclusivePair { wide, acquire, rt, rt2, rn } => {
            let a = if acquire { "a" } else { "" };
            format!("ld{a}xp {}, {}, [{}]", r(wide, rt), r(wide, rt2), x(rn))
        }
        Insn::StoreExclusivePair { wide, release, rs, rt, rt2, rn } => {
            let l = if release { "l" } else { "" };
            format!("st{l}xp {}, {}, {}, [{}]", w(rs), r(wide, rt), r(wide, rt2), x(rn))
        }
        Insn::LoadAcquire { size, rt, rn } => {
            format!("ldar{} {}, [{}]", suffix(size), data(size, rt), x(rn))
        }
        Insn::StoreRelease { size, rt, rn } => {
            format!("stlr{} {}, [{}]", suffix(size), data(size, rt), x(rn))
        }
        Insn::CompareSwap { size, acquire, release, rs, rt, rn } => {
            let name = format!("cas{}{}", ordering(acquire, release), suffix(size));
            format!("{name} {}, {}, [{}]", data(size, rs), data(size, rt), x(rn))
        }
        Insn::CompareSwapPair { wide, acquire, release, rs, rt, rn } => {
            let pair = |first: u8| format!("{}, {}", r(wide, first), r(wide, first + 1));
            let ordering = ordering(acquire, release);
            format!("casp{ordering} {}, {}, [{}]", pair(rs), pair(rt), x(rn))
        }
        Insn::Atomic { op, size, acquire, release, rs, rt, rn } => {
            let end = format!("{}{}", ordering(acquire, release), suffix(size));
            let (source, base) = (data(size, rs), x(rn));
            match op {
                AtomicOp::Swp => format!("swp{end} {source}, {}, [{base}]", data(size, rt)),
                // A load to nowhere that orders nothing is a store.
                _ if rt == XZR && !acquire => format!("st{}{end} {source}, [{base}]", mnemonic(op)),
                _ => format!("ld{}{end} {source}, {}, [{base}]", mnemonic(op), data(size, rt)),
            }
        }
        _ => return None,
    })
}

/// The end of the mnemonic, and whether the register is an X register.
const fn load(kind: LoadKind) -> (&'static str, bool) {
    match kind {
        LoadKind::Unsigned(size) => (suffix(size), matches!(size, Size::Double)),
        LoadKind::SignedX(size) => (signed(size), true),
        LoadKind::SignedW(size) => (signed(size), false),
    }
}

const fn suffix(size: Size) -> &'static str {
    match size {
        Size::Byte => "b",
        Size::Half => "h",
        Size::Word | Size::Double => "",
    }
}

const fn signed(size: Size) -> &'static str {
    match size {
        Size::Byte => "sb",
        Size::Half => "sh",
        Size::Word | Size::Double => "sw",
    }
}

/// A register that holds so much.
fn data(size: Size, register: u8) -> String {
    r(size == Size::Double, register)
}

const fn hint(mode: PairMode) -> &'static str {
    match mode {
        PairMode::NonTemporal => "n",
        _ => "",
    }
}

const fn ordering(acquire: bool, release: bool) -> &'static str {
    match (acquire, release) {
        (false, false) => "",
        (true, false) => "a",
        (false, true) => "l",
        (true, true) => "al",
    }
}

/// A prefetch operation: for what, where to, and how.
fn prefetch(operation: u8) -> String {
    let (kind, level) = (operation >> 3, operation >> 1 & 3);
    let policy = if operation & 1 == 0 { "keep" } else { "strm" };
    match (kind, level) {
        (0..=2, 0..=2) => {
            let kind = ["pld", "pli", "pst"][usize::from(kind)];
            format!("{kind}l{}{policy}", level + 1)
        }
        _ => format!("#{operation:#04x}"),
    }
}

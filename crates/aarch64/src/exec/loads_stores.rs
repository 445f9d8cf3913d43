//! Loads and stores of general-purpose registers.

use super::Flow;
use super::alu::extend;
use super::op::{IndexMode, Pair};
use crate::bus::{Bus, Size};
use crate::cpu::Cpu;
use crate::decode::{AtomicOp, ExtendKind, LoadKind};
use crate::exception::{AbortCause, Exception};
use crate::leave::Leave;
use crate::mmu::{AccessType, status};
use crate::registers::{SP, as_destination};

/// The base register, with `CheckSPAlignment`.
#[inline(always)]
pub(super) fn base(cpu: &Cpu, rn: u8) -> Result<u64, Exception> {
    if rn == SP {
        cpu.state.check_sp_alignment()?;
    }
    Ok(cpu.r(rn))
}

/// How to go on after an access, which may have reached a device.
#[inline(always)]
pub(super) fn done(cpu: &Cpu) -> Result<Flow, Exception> {
    Ok(match cpu.leave {
        Leave::No => Flow::Next,
        _ => Flow::Leave,
    })
}

/// How to go on after an access by which CPUs agree.
#[inline(always)]
pub(super) fn agreed<B: Bus>(cpu: &mut Cpu, bus: &mut B) -> Result<Flow, Exception> {
    if bus.agreed() {
        cpu.leave = Leave::Look;
    }
    done(cpu)
}

impl LoadKind {
    pub(super) const BYTE: Self = Self::Unsigned(Size::Byte);
    pub(super) const HALF: Self = Self::Unsigned(Size::Half);
    pub(super) const WORD: Self = Self::Unsigned(Size::Word);
    pub(super) const DOUBLE: Self = Self::Unsigned(Size::Double);

    /// What the register becomes when memory holds `value`.
    #[inline(always)]
    fn fill(self, value: u64) -> u64 {
        let sign_extended = |size: Size| {
            let unused = 64 - 8 * size.bytes() as u32;
            ((value << unused) as i64 >> unused) as u64
        };
        match self {
            Self::Unsigned(_) => value,
            Self::SignedX(size) => sign_extended(size),
            Self::SignedW(size) => u64::from(sign_extended(size) as u32),
        }
    }
}

#[inline(always)]
pub(super) fn load<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    kind: LoadKind,
    rt: u8,
    va: u64,
    access: AccessType,
) -> Result<Flow, Exception> {
    let value = cpu.load(bus, va, kind.size(), access)?;
    cpu.set(rt, kind.fill(value));
    done(cpu)
}

#[inline(always)]
pub(super) fn store<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    size: Size,
    rt: u8,
    va: u64,
    access: AccessType,
) -> Result<Flow, Exception> {
    let value = cpu.r(rt);
    cpu.store(bus, va, size, value, access)?;
    done(cpu)
}

/// Base plus offset.
#[inline(always)]
pub(super) fn at(cpu: &Cpu, rn: u8, offset: i64) -> Result<u64, Exception> {
    Ok(base(cpu, rn)?.wrapping_add(offset as u64))
}

#[inline(always)]
pub(super) fn load_indexed<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    kind: LoadKind,
    post: bool,
    rt: u8,
    rn: u8,
    offset: i16,
) -> Result<Flow, Exception> {
    let start = base(cpu, rn)?;
    let moved = start.wrapping_add(offset as u64);
    let flow = load(
        cpu,
        bus,
        kind,
        rt,
        if post { start } else { moved },
        AccessType::Normal,
    )?;
    cpu.set(rn, moved);
    Ok(flow)
}

#[inline(always)]
pub(super) fn store_indexed<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    size: Size,
    post: bool,
    rt: u8,
    rn: u8,
    offset: i16,
) -> Result<Flow, Exception> {
    let start = base(cpu, rn)?;
    let moved = start.wrapping_add(offset as u64);
    let flow = store(
        cpu,
        bus,
        size,
        rt,
        if post { start } else { moved },
        AccessType::Normal,
    )?;
    cpu.set(rn, moved);
    Ok(flow)
}

/// Address of an access with a register offset.
#[inline(always)]
pub(super) fn register_offset(
    cpu: &Cpu,
    rn: u8,
    rm: u8,
    kind: ExtendKind,
    shift: u8,
) -> Result<u64, Exception> {
    let offset = extend(cpu.r(rm), kind, shift);
    Ok(base(cpu, rn)?.wrapping_add(offset))
}

/// The address of a pair, and what the base register becomes.
#[inline(always)]
fn pair_address(cpu: &Cpu, mode: IndexMode, rn: u8, offset: i16) -> Result<(u64, u64), Exception> {
    let start = base(cpu, rn)?;
    let moved = start.wrapping_add(offset as u64);
    Ok(match mode {
        IndexMode::Offset => (moved, start),
        IndexMode::Pre => (moved, moved),
        IndexMode::Post => (start, moved),
    })
}

#[inline(always)]
pub(super) fn load_pair_x<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    pair: Pair,
) -> Result<Flow, Exception> {
    let (va, moved) = pair_address(cpu, pair.mode, pair.rn, pair.offset)?;
    let value = cpu.load_pair(bus, va)?;
    cpu.set(pair.rn, moved);
    cpu.set(pair.rt, value as u64);
    cpu.set(pair.rt2, (value >> 64) as u64);
    done(cpu)
}

#[inline(always)]
pub(super) fn store_pair_x<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    pair: Pair,
) -> Result<Flow, Exception> {
    let (va, moved) = pair_address(cpu, pair.mode, pair.rn, pair.offset)?;
    let value = u128::from(cpu.r(pair.rt)) | u128::from(cpu.r(pair.rt2)) << 64;
    cpu.store_pair(bus, va, value)?;
    cpu.set(pair.rn, moved);
    done(cpu)
}

/// LDP of words, and LDPSW: two accesses.
#[inline(always)]
pub(super) fn load_pair_w<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    kind: LoadKind,
    pair: Pair,
) -> Result<Flow, Exception> {
    let (va, moved) = pair_address(cpu, pair.mode, pair.rn, pair.offset)?;
    let first = cpu.load(bus, va, Size::Word, AccessType::Normal)?;
    let second = cpu.load(bus, va.wrapping_add(4), Size::Word, AccessType::Normal)?;
    cpu.set(pair.rn, moved);
    cpu.set(pair.rt, kind.fill(first));
    cpu.set(pair.rt2, kind.fill(second));
    done(cpu)
}

#[inline(always)]
pub(super) fn store_pair_w<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    pair: Pair,
) -> Result<Flow, Exception> {
    let (va, moved) = pair_address(cpu, pair.mode, pair.rn, pair.offset)?;
    let (first, second) = (cpu.r(pair.rt), cpu.r(pair.rt2));
    // When the second word's page faults the first is already written: the same instruction writes
    // it again after the fault, and the architecture says no more.
    cpu.store(bus, va, Size::Word, first, AccessType::Normal)?;
    cpu.store(
        bus,
        va.wrapping_add(4),
        Size::Word,
        second,
        AccessType::Normal,
    )?;
    cpu.set(pair.rn, moved);
    done(cpu)
}

/// The alignment check of a store-exclusive, which comes before the monitor is asked.
fn check_alignment(va: u64, bytes: u64) -> Result<(), Exception> {
    if va & (bytes - 1) == 0 {
        Ok(())
    } else {
        Err(Exception::data_abort(
            status::ALIGNMENT,
            AbortCause::Write,
            va,
        ))
    }
}

pub(super) fn load_exclusive<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    size: Size,
    rt: u8,
    rn: u8,
) -> Result<Flow, Exception> {
    let va = base(cpu, rn)?;
    let value = cpu.load(bus, va, size, AccessType::Atomic)?;
    cpu.state.monitor.mark(va, size.bytes() as u8);
    cpu.set(rt, value);
    done(cpu)
}

pub(super) fn store_exclusive<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    size: Size,
    rs: u8,
    rt: u8,
    rn: u8,
) -> Result<Flow, Exception> {
    let va = base(cpu, rn)?;
    check_alignment(va, size.bytes())?;
    let pass = cpu.state.monitor.pass(va, size.bytes() as u8);
    if pass {
        let value = cpu.r(rt);
        cpu.store(bus, va, size, value, AccessType::Atomic)?;
    }
    cpu.set(rs, u64::from(!pass));
    agreed(cpu, bus)
}

/// Both words or both doublewords of a pair as one atomic access.
fn load_both<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    wide: bool,
    va: u64,
) -> Result<(u64, u64), Exception> {
    if wide {
        let value = cpu.load_quad(bus, va, AccessType::Atomic)?;
        Ok((value as u64, (value >> 64) as u64))
    } else {
        let value = cpu.load(bus, va, Size::Double, AccessType::Atomic)?;
        Ok((u64::from(value as u32), value >> 32))
    }
}

fn store_both<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    wide: bool,
    va: u64,
    (first, second): (u64, u64),
) -> Result<(), Exception> {
    if wide {
        let value = u128::from(first) | u128::from(second) << 64;
        cpu.store_quad(bus, va, value, AccessType::Atomic)
    } else {
        let value = u64::from(first as u32) | second << 32;
        cpu.store(bus, va, Size::Double, value, AccessType::Atomic)
    }
}

const fn pair_bytes(wide: bool) -> u8 {
    if wide { 16 } else { 8 }
}

pub(super) fn load_exclusive_pair<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    wide: bool,
    rt: u8,
    rt2: u8,
    rn: u8,
) -> Result<Flow, Exception> {
    let va = base(cpu, rn)?;
    let (first, second) = load_both(cpu, bus, wide, va)?;
    cpu.state.monitor.mark(va, pair_bytes(wide));
    cpu.set(rt, first);
    cpu.set(rt2, second);
    done(cpu)
}

pub(super) fn store_exclusive_pair<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    wide: bool,
    rs: u8,
    rt: u8,
    rt2: u8,
    rn: u8,
) -> Result<Flow, Exception> {
    let va = base(cpu, rn)?;
    let bytes = pair_bytes(wide);
    check_alignment(va, bytes.into())?;
    let pass = cpu.state.monitor.pass(va, bytes);
    if pass {
        let both = (cpu.r(rt), cpu.r(rt2));
        store_both(cpu, bus, wide, va, both)?;
    }
    cpu.set(rs, u64::from(!pass));
    agreed(cpu, bus)
}

pub(super) fn compare_and_swap<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    size: Size,
    rs: u8,
    rt: u8,
    rn: u8,
) -> Result<Flow, Exception> {
    let va = base(cpu, rn)?;
    let mask = u64::MAX >> (64 - 8 * size.bytes());
    let old = cpu.load(bus, va, size, AccessType::Atomic)?;
    // A failed comparison stores the old value, so that write permission is asked for either way.
    let new = if old == cpu.r(rs) & mask {
        cpu.r(rt)
    } else {
        old
    };
    cpu.store(bus, va, size, new, AccessType::Atomic)?;
    cpu.set(as_destination(rs), old);
    agreed(cpu, bus)
}

pub(super) fn compare_and_swap_pair<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    wide: bool,
    rs: u8,
    rt: u8,
    rn: u8,
) -> Result<Flow, Exception> {
    let va = base(cpu, rn)?;
    let mask = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let old = load_both(cpu, bus, wide, va)?;
    let expected = (cpu.r(rs) & mask, cpu.r(rs + 1) & mask);
    let new = if old == expected {
        (cpu.r(rt), cpu.r(rt + 1))
    } else {
        old
    };
    store_both(cpu, bus, wide, va, new)?;
    cpu.set(rs, old.0);
    cpu.set(as_destination(rs + 1), old.1);
    agreed(cpu, bus)
}

/// DDI 0487, `MemAtomic`.
pub(super) fn atomic<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    op: AtomicOp,
    size: Size,
    rs: u8,
    rt: u8,
    rn: u8,
) -> Result<Flow, Exception> {
    let va = base(cpu, rn)?;
    let old = cpu.load(bus, va, size, AccessType::Atomic)?;
    let operand = cpu.r(rs);
    let signed = |value| LoadKind::SignedX(size).fill(value) as i64;
    let unsigned = |value: u64| value & u64::MAX >> (64 - 8 * size.bytes());
    let new = match op {
        AtomicOp::Add => old.wrapping_add(operand),
        AtomicOp::Clr => old & !operand,
        AtomicOp::Eor => old ^ operand,
        AtomicOp::Set => old | operand,
        AtomicOp::Smax => signed(old).max(signed(operand)) as u64,
        AtomicOp::Smin => signed(old).min(signed(operand)) as u64,
        AtomicOp::Umax => unsigned(old).max(unsigned(operand)),
        AtomicOp::Umin => unsigned(old).min(unsigned(operand)),
        AtomicOp::Swp => operand,
    };
    cpu.store(bus, va, size, new, AccessType::Atomic)?;
    cpu.set(rt, old);
    agreed(cpu, bus)
}

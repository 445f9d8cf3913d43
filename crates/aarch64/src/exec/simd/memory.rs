//! Loads and stores of FP and SIMD registers.

use super::lanes::{MASKS, broadcast, element, insert};
use super::{set, v};
use crate::bus::{Bus, Size};
use crate::cpu::Cpu;
use crate::decode::simd::{Multiple, Single, WriteBack};
use crate::decode::{Addressing, ExtendKind, PairMode};
use crate::exception::Exception;
use crate::mmu::AccessType;
use crate::registers::SP;

const SIZES: [Size; 4] = [Size::Byte, Size::Half, Size::Word, Size::Double];

/// The base register, with CheckSPAlignment.
#[inline(always)]
fn base(cpu: &Cpu, rn: u8) -> Result<u64, Exception> {
    if rn == SP {
        cpu.state.check_sp_alignment()?;
    }
    Ok(cpu.state.x[usize::from(rn)])
}

/// The address of an access of one register, and what the base register becomes.
#[inline(always)]
fn address(cpu: &Cpu, rn: u8, addressing: Addressing, log2: u8) -> Result<(u64, u64), Exception> {
    let base = base(cpu, rn)?;
    let at = |offset: i64| base.wrapping_add(offset as u64);
    Ok(match addressing {
        Addressing::Unsigned(offset) => (at(offset.into()), base),
        Addressing::Unscaled(offset) | Addressing::Unprivileged(offset) => {
            (at(offset.into()), base)
        }
        Addressing::PreIndexed(offset) => (at(offset.into()), at(offset.into())),
        Addressing::PostIndexed(offset) => (base, at(offset.into())),
        Addressing::Register { rm, extend, scaled } => {
            let offset = extended(cpu, rm, extend) << if scaled { log2 } else { 0 };
            (base.wrapping_add(offset), base)
        }
    })
}

/// The address of an access of two registers, and what the base register becomes.
#[inline(always)]
fn pair_address(base: u64, mode: PairMode, offset: i16) -> (u64, u64) {
    let moved = base.wrapping_add(offset as u64);
    match mode {
        PairMode::Offset | PairMode::NonTemporal => (moved, base),
        PairMode::PreIndexed => (moved, moved),
        PairMode::PostIndexed => (base, moved),
    }
}

/// ExtendReg for a register offset, which is of words or doublewords.
#[inline(always)]
fn extended(cpu: &Cpu, rm: u8, extend: ExtendKind) -> u64 {
    let value = cpu.state.x[usize::from(rm)];
    match extend {
        ExtendKind::Uxtw => u64::from(value as u32),
        ExtendKind::Sxtw => value as i32 as u64,
        _ => value,
    }
}

#[inline(always)]
fn read<B: Bus>(cpu: &mut Cpu, bus: &mut B, va: u64, log2: u8) -> Result<u128, Exception> {
    if log2 == 4 {
        cpu.load_quad(bus, va, AccessType::Normal)
    } else {
        cpu.load(bus, va, SIZES[usize::from(log2 & 3)], AccessType::Normal)
            .map(u128::from)
    }
}

#[inline(always)]
fn write<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    va: u64,
    log2: u8,
    value: u128,
) -> Result<(), Exception> {
    if log2 == 4 {
        cpu.store_quad(bus, va, value, AccessType::Normal)
    } else {
        let value = value & MASKS[usize::from(log2)];
        cpu.store(
            bus,
            va,
            SIZES[usize::from(log2 & 3)],
            value as u64,
            AccessType::Normal,
        )
    }
}

#[inline]
pub(super) fn load<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    log2: u8,
    rt: u8,
    rn: u8,
    addressing: Addressing,
) -> Result<(), Exception> {
    let (va, moved) = address(cpu, rn, addressing, log2)?;
    let value = read(cpu, bus, va, log2)?;
    set(cpu, rt, 4, value);
    cpu.state.x[usize::from(rn)] = moved;
    Ok(())
}

#[inline]
pub(super) fn store<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    log2: u8,
    rt: u8,
    rn: u8,
    addressing: Addressing,
) -> Result<(), Exception> {
    let (va, moved) = address(cpu, rn, addressing, log2)?;
    write(cpu, bus, va, log2, v(cpu, rt))?;
    cpu.state.x[usize::from(rn)] = moved;
    Ok(())
}

pub(super) fn load_literal<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    log2: u8,
    rt: u8,
    offset: i32,
) -> Result<(), Exception> {
    let value = read(cpu, bus, cpu.state.pc.wrapping_add(offset as u64), log2)?;
    set(cpu, rt, 4, value);
    Ok(())
}

#[inline]
pub(super) fn load_pair<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    log2: u8,
    mode: PairMode,
    (rt, rt2): (u8, u8),
    rn: u8,
    offset: i16,
) -> Result<(), Exception> {
    let (va, moved) = pair_address(base(cpu, rn)?, mode, offset);
    let (first, second) = if log2 == 3 {
        let both = cpu.load_pair(bus, va)?;
        (both & MASKS[3], both >> 64)
    } else {
        (
            read(cpu, bus, va, log2)?,
            read(cpu, bus, va.wrapping_add(1 << log2), log2)?,
        )
    };
    set(cpu, rt, 4, first);
    set(cpu, rt2, 4, second);
    cpu.state.x[usize::from(rn)] = moved;
    Ok(())
}

#[inline]
pub(super) fn store_pair<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    log2: u8,
    mode: PairMode,
    (rt, rt2): (u8, u8),
    rn: u8,
    offset: i16,
) -> Result<(), Exception> {
    let (va, moved) = pair_address(base(cpu, rn)?, mode, offset);
    if log2 == 3 {
        cpu.store_pair(bus, va, v(cpu, rt) & MASKS[3] | v(cpu, rt2) << 64)?;
    } else {
        write(cpu, bus, va, log2, v(cpu, rt))?;
        write(cpu, bus, va.wrapping_add(1 << log2), log2, v(cpu, rt2))?;
    }
    cpu.state.x[usize::from(rn)] = moved;
    Ok(())
}

/// Moves the base past a structure access.
fn finish(cpu: &mut Cpu, rn: u8, write_back: WriteBack, bytes: u64) {
    let step = match write_back {
        WriteBack::None => return,
        WriteBack::Bytes => bytes,
        WriteBack::Register(register) => cpu.state.x[usize::from(register)],
    };
    let base = &mut cpu.state.x[usize::from(rn)];
    *base = base.wrapping_add(step);
}

/// Reads a register's worth of elements that are adjacent in memory.
///
/// The architecture accesses element by element. One wide access is the same where it succeeds;
/// where it does not, the elements are accessed after all, to fault (or, at an address that only
/// the elements are aligned to, not to fault) as they do.
fn read_elements<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    va: u64,
    log2: u8,
    width: u8,
) -> Result<u128, Exception> {
    let at_once = if width == 4 {
        cpu.load_pair(bus, va)
    } else {
        read(cpu, bus, va, width)
    };
    if at_once.is_ok() {
        return at_once;
    }
    let mut value = 0;
    for index in 0..1u8 << (width - log2) {
        let va = va.wrapping_add(u64::from(index) << log2);
        value |= read(cpu, bus, va, log2)? << (u32::from(index) << (3 + log2));
    }
    Ok(value)
}

/// Writes a register's worth of elements that are adjacent in memory; see [`read_elements`].
fn write_elements<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    va: u64,
    log2: u8,
    width: u8,
    value: u128,
) -> Result<(), Exception> {
    let at_once = if width == 4 {
        cpu.store_pair(bus, va, value)
    } else {
        write(cpu, bus, va, width, value)
    };
    if at_once.is_ok() {
        return at_once;
    }
    for index in 0..1u8 << (width - log2) {
        let va = va.wrapping_add(u64::from(index) << log2);
        write(cpu, bus, va, log2, element(value, log2, index).into())?;
    }
    Ok(())
}

/// Where element `index` of register `register` lies in memory: which register-sized chunk, and
/// which element of it.
fn interleaved_place(access: &Multiple, register: u8, index: u8) -> (usize, u8) {
    let position = index * access.registers + register;
    let per_chunk = access.width - access.log2;
    (
        usize::from(position >> per_chunk),
        position & ((1 << per_chunk) - 1),
    )
}

pub(super) fn load_multiple<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    access: Multiple,
) -> Result<(), Exception> {
    let Multiple {
        log2,
        width,
        registers,
        rt,
        rn,
        ..
    } = access;
    let start = base(cpu, rn)?;
    let mut chunks = [0; 4];
    for (chunk, offset) in chunks.iter_mut().zip(0..u64::from(registers)) {
        *chunk = read_elements(cpu, bus, start.wrapping_add(offset << width), log2, width)?;
    }
    for register in 0..registers {
        let value = if access.interleaved {
            (0..1u8 << (width - log2)).fold(0, |value, index| {
                let (chunk, place) = interleaved_place(&access, register, index);
                let shift = u32::from(index) << (3 + log2);
                value | u128::from(element(chunks[chunk], log2, place)) << shift
            })
        } else {
            chunks[usize::from(register)]
        };
        set(cpu, rt + register, width, value);
    }
    finish(cpu, rn, access.write_back, u64::from(registers) << width);
    Ok(())
}

pub(super) fn store_multiple<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    access: Multiple,
) -> Result<(), Exception> {
    let Multiple {
        log2,
        width,
        registers,
        rt,
        rn,
        ..
    } = access;
    let start = base(cpu, rn)?;
    let mut chunks = [0; 4];
    for register in 0..registers {
        let value = v(cpu, rt + register);
        if access.interleaved {
            for index in 0..1u8 << (width - log2) {
                let (chunk, place) = interleaved_place(&access, register, index);
                let shift = u32::from(place) << (3 + log2);
                chunks[chunk] |= u128::from(element(value, log2, index)) << shift;
            }
        } else {
            chunks[usize::from(register)] = value;
        }
    }
    for (&chunk, offset) in chunks.iter().zip(0..u64::from(registers)) {
        write_elements(
            cpu,
            bus,
            start.wrapping_add(offset << width),
            log2,
            width,
            chunk,
        )?;
    }
    finish(cpu, rn, access.write_back, u64::from(registers) << width);
    Ok(())
}

/// Reads one element for each register of the list before any register changes.
fn read_each<B: Bus>(cpu: &mut Cpu, bus: &mut B, access: &Single) -> Result<[u64; 4], Exception> {
    let start = base(cpu, access.rn)?;
    let mut values = [0; 4];
    for (value, offset) in values.iter_mut().zip(0..u64::from(access.registers)) {
        let va = start.wrapping_add(offset << access.log2);
        *value = read(cpu, bus, va, access.log2)? as u64;
    }
    Ok(values)
}

pub(super) fn load_single<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    access: Single,
) -> Result<(), Exception> {
    let values = read_each(cpu, bus, &access)?;
    for (register, &value) in (0..access.registers).zip(&values) {
        let rt = access.rt + register;
        let value = insert(v(cpu, rt), access.log2, access.index, value);
        set(cpu, rt, 4, value);
    }
    finish(
        cpu,
        access.rn,
        access.write_back,
        u64::from(access.registers) << access.log2,
    );
    Ok(())
}

pub(super) fn load_replicate<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    access: Single,
) -> Result<(), Exception> {
    let values = read_each(cpu, bus, &access)?;
    for (register, &value) in (0..access.registers).zip(&values) {
        set(
            cpu,
            access.rt + register,
            access.width,
            broadcast(value, access.log2),
        );
    }
    finish(
        cpu,
        access.rn,
        access.write_back,
        u64::from(access.registers) << access.log2,
    );
    Ok(())
}

pub(super) fn store_single<B: Bus>(
    cpu: &mut Cpu,
    bus: &mut B,
    access: Single,
) -> Result<(), Exception> {
    let start = base(cpu, access.rn)?;
    for register in 0..access.registers {
        let value = element(v(cpu, access.rt + register), access.log2, access.index);
        let va = start.wrapping_add(u64::from(register) << access.log2);
        write(cpu, bus, va, access.log2, value.into())?;
    }
    finish(
        cpu,
        access.rn,
        access.write_back,
        u64::from(access.registers) << access.log2,
    );
    Ok(())
}

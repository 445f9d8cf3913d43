//! Execution of instructions, one match over all of the interpreter's [`Op`]s.
//!
//! The big match is inlined into the loop over a block; what is rare or long is a function in the
//! file of its group. A load writes its register, and any instruction its base register, only once
//! nothing can fault any more.

mod alu;
mod data_processing;
mod loads_stores;
mod lower;
mod op;
pub(crate) mod simd;
pub(crate) mod system;
#[cfg(test)]
mod tests;

use alu::{
    add_with_carry_w, add_with_carry_x, condition_holds, crc32, extend, logical_flags_w,
    logical_flags_x, shift_w, shift_x, subtract_w, subtract_x,
};
use data_processing::{add_carry, add_sub, conditional_compare, logical, shift_operand};
pub(crate) use lower::lower;
pub(crate) use op::Op;

use loads_stores::{
    agreed, at, base, load, load_pair_w, load_pair_x, store, store_pair_w, store_pair_x,
};

use crate::bus::{Bus, Size};
use crate::cpu::Cpu;
use crate::decode::LoadKind;
use crate::exception::Exception;
use crate::mmu::AccessType;
use crate::registers::LR;

/// Where execution goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next instruction.
    Next,
    /// To the PC, which is set already.
    Jump,
    /// Out of the block; [`Cpu::leave`] says why. The next instruction is the one after it.
    Leave,
}

/// The registers, in short: nearly every arm of [`step`] reads and writes them.
impl Cpu {
    #[inline(always)]
    fn r(&self, register: u8) -> u64 {
        self.state.r(register)
    }

    #[inline(always)]
    fn w(&self, register: u8) -> u32 {
        self.state.w(register)
    }

    #[inline(always)]
    fn set(&mut self, register: u8, value: u64) {
        self.state.set(register, value);
    }

    #[inline(always)]
    fn set_w(&mut self, register: u8, value: u32) {
        self.state.set_w(register, value);
    }

    #[inline(always)]
    fn set_flagged_x(&mut self, register: u8, (value, nzcv): (u64, u32)) {
        self.state.nzcv = nzcv;
        self.set(register, value);
    }

    #[inline(always)]
    fn set_flagged_w(&mut self, register: u8, (value, nzcv): (u32, u32)) {
        self.state.nzcv = nzcv;
        self.set_w(register, value);
    }

    #[inline(always)]
    fn branch(&mut self, offset: i64) -> Result<Flow, Exception> {
        self.state.pc = self.state.pc.wrapping_add(offset as u64);
        Ok(Flow::Jump)
    }

    #[inline(always)]
    fn branch_if(&mut self, taken: bool, offset: i64) -> Result<Flow, Exception> {
        self.branch(if taken { offset } else { 4 })
    }
}

/// Executes one operation at the PC, which moves only by a branch.
#[inline(always)]
pub(crate) fn step<B: Bus>(cpu: &mut Cpu, bus: &mut B, op: &Op) -> Result<Flow, Exception> {
    match *op {
        Op::Undefined => return Err(Exception::undefined()),
        Op::Nop => {}
        Op::Simd(insn) => {
            simd::execute(cpu, bus, insn)?;
            return loads_stores::done(cpu);
        }
        Op::SimdImmediate {
            op,
            width,
            rd,
            low,
            high,
        } => simd::immediate(cpu, op, width, rd, low, high)?,
        Op::System(insn) => {
            let flow = system::execute(cpu, bus, insn)?;
            if flow == Flow::Next {
                return loads_stores::done(cpu);
            }
            return Ok(flow);
        }

        Op::Adr { rd, offset } => cpu.set(rd, cpu.state.pc.wrapping_add(offset as u64)),
        Op::Adrp { rd, offset } => cpu.set(rd, (cpu.state.pc & !0xfff).wrapping_add(offset as u64)),
        Op::AddImmX { rd, rn, imm } => cpu.set(rd, cpu.r(rn).wrapping_add(imm)),
        Op::AddImmW { rd, rn, imm } => cpu.set_w(rd, cpu.w(rn).wrapping_add(imm as u32)),
        Op::AddsImmX { rd, rn, imm } => {
            cpu.set_flagged_x(rd, add_with_carry_x(cpu.r(rn), imm, false));
        }
        Op::AddsImmW { rd, rn, imm } => {
            cpu.set_flagged_w(rd, add_with_carry_w(cpu.w(rn), imm as u32, false));
        }
        Op::SubsImmX { rd, rn, imm } => cpu.set_flagged_x(rd, subtract_x(cpu.r(rn), imm)),
        Op::SubsImmW { rd, rn, imm } => {
            cpu.set_flagged_w(rd, subtract_w(cpu.w(rn), imm as u32));
        }
        Op::AndImm { rd, rn, imm } => cpu.set(rd, cpu.r(rn) & imm),
        Op::OrrImmX { rd, rn, imm } => cpu.set(rd, cpu.r(rn) | imm),
        Op::OrrImmW { rd, rn, imm } => cpu.set_w(rd, cpu.w(rn) | imm as u32),
        Op::EorImmX { rd, rn, imm } => cpu.set(rd, cpu.r(rn) ^ imm),
        Op::EorImmW { rd, rn, imm } => cpu.set_w(rd, cpu.w(rn) ^ imm as u32),
        Op::AndsImmX { rd, rn, imm } => {
            let result = cpu.r(rn) & imm;
            cpu.set_flagged_x(rd, (result, logical_flags_x(result)));
        }
        Op::AndsImmW { rd, rn, imm } => {
            let result = cpu.w(rn) & imm as u32;
            cpu.set_flagged_w(rd, (result, logical_flags_w(result)));
        }
        Op::MovImm { rd, imm } => cpu.set(rd, imm),
        Op::Movk {
            rd,
            shift,
            imm,
            keep,
        } => {
            // As a destination, register 31 discards whatever comes out of this.
            cpu.set(
                rd,
                cpu.r(rd) & keep | u64::from(imm).wrapping_shl(shift.into()),
            );
        }
        Op::Ubfx {
            rd,
            rn,
            shift,
            mask,
        } => {
            cpu.set(rd, cpu.r(rn).wrapping_shr(shift.into()) & mask);
        }
        Op::Ubfiz {
            rd,
            rn,
            shift,
            mask,
        } => {
            cpu.set(rd, (cpu.r(rn) & mask).wrapping_shl(shift.into()));
        }
        Op::SbfmX {
            rd,
            rn,
            left,
            right,
        } => {
            let placed = cpu.r(rn).wrapping_shl(left.into()) as i64;
            cpu.set(rd, placed.wrapping_shr(right.into()) as u64);
        }
        Op::SbfmW {
            rd,
            rn,
            left,
            right,
        } => {
            let placed = cpu.r(rn).wrapping_shl(left.into()) as i64;
            cpu.set_w(rd, placed.wrapping_shr(right.into()) as u32);
        }
        Op::BfmX {
            rd,
            rn,
            rotate,
            mask,
        } => {
            let source = cpu.r(rn).rotate_right(rotate.into());
            cpu.set(rd, cpu.r(rd) & !mask | source & mask);
        }
        Op::BfmW {
            rd,
            rn,
            rotate,
            mask,
        } => {
            let source = cpu.r(rn).rotate_right(rotate.into());
            cpu.set_w(rd, (cpu.r(rd) & !mask | source & mask) as u32);
        }
        Op::ExtrX { rd, rn, rm, lsb } => {
            let both = u128::from(cpu.r(rn)) << 64 | u128::from(cpu.r(rm));
            cpu.set(rd, both.wrapping_shr(lsb.into()) as u64);
        }
        Op::ExtrW { rd, rn, rm, lsb } => {
            let both = cpu.r(rn) << 32 | u64::from(cpu.w(rm));
            cpu.set_w(rd, both.wrapping_shr(lsb.into()) as u32);
        }

        Op::B { offset } => return cpu.branch(offset),
        Op::Bl { offset } => {
            cpu.set(LR, cpu.state.pc.wrapping_add(4));
            return cpu.branch(offset);
        }
        Op::BCond { conditions, offset } => {
            return cpu.branch_if(condition_holds(conditions, cpu.state.nzcv), offset);
        }
        Op::CbzX { rt, offset } => return cpu.branch_if(cpu.r(rt) == 0, offset),
        Op::CbzW { rt, offset } => return cpu.branch_if(cpu.w(rt) == 0, offset),
        Op::CbnzX { rt, offset } => return cpu.branch_if(cpu.r(rt) != 0, offset),
        Op::CbnzW { rt, offset } => return cpu.branch_if(cpu.w(rt) != 0, offset),
        Op::Tbz { rt, bit, offset } => {
            let clear = cpu.r(rt).wrapping_shr(bit.into()) & 1 == 0;
            return cpu.branch_if(clear, offset);
        }
        Op::Tbnz { rt, bit, offset } => {
            let set = cpu.r(rt).wrapping_shr(bit.into()) & 1 != 0;
            return cpu.branch_if(set, offset);
        }
        Op::Br { rn } => {
            cpu.state.pc = cpu.branch_address(cpu.r(rn));
            return Ok(Flow::Jump);
        }
        Op::Blr { rn } => {
            let target = cpu.branch_address(cpu.r(rn));
            cpu.set(LR, cpu.state.pc.wrapping_add(4));
            cpu.state.pc = target;
            return Ok(Flow::Jump);
        }

        Op::MovX { rd, rm } => cpu.set(rd, cpu.r(rm)),
        Op::MovW { rd, rm } => cpu.set_w(rd, cpu.w(rm)),
        Op::AndX { rd, rn, rm } => cpu.set(rd, cpu.r(rn) & cpu.r(rm)),
        Op::AndW { rd, rn, rm } => cpu.set_w(rd, cpu.w(rn) & cpu.w(rm)),
        Op::OrrX { rd, rn, rm } => cpu.set(rd, cpu.r(rn) | cpu.r(rm)),
        Op::OrrW { rd, rn, rm } => cpu.set_w(rd, cpu.w(rn) | cpu.w(rm)),
        Op::EorX { rd, rn, rm } => cpu.set(rd, cpu.r(rn) ^ cpu.r(rm)),
        Op::EorW { rd, rn, rm } => cpu.set_w(rd, cpu.w(rn) ^ cpu.w(rm)),
        Op::AndsX { rd, rn, rm } => {
            let result = cpu.r(rn) & cpu.r(rm);
            cpu.set_flagged_x(rd, (result, logical_flags_x(result)));
        }
        Op::AndsW { rd, rn, rm } => {
            let result = cpu.w(rn) & cpu.w(rm);
            cpu.set_flagged_w(rd, (result, logical_flags_w(result)));
        }
        Op::BicX { rd, rn, rm } => cpu.set(rd, cpu.r(rn) & !cpu.r(rm)),
        Op::OrrLslX { rd, rn, rm, shift } => {
            cpu.set(rd, cpu.r(rn) | cpu.r(rm).wrapping_shl(shift.into()));
        }
        Op::Logical {
            op,
            invert,
            wide,
            rd,
            rn,
            rm,
            kind,
            shift,
        } => {
            logical(cpu, op, invert, wide, [rd, rn, rm], kind, shift);
        }
        Op::AddX { rd, rn, rm } => cpu.set(rd, cpu.r(rn).wrapping_add(cpu.r(rm))),
        Op::AddW { rd, rn, rm } => cpu.set_w(rd, cpu.w(rn).wrapping_add(cpu.w(rm))),
        Op::SubX { rd, rn, rm } => cpu.set(rd, cpu.r(rn).wrapping_sub(cpu.r(rm))),
        Op::SubW { rd, rn, rm } => cpu.set_w(rd, cpu.w(rn).wrapping_sub(cpu.w(rm))),
        Op::AddsX { rd, rn, rm } => {
            cpu.set_flagged_x(rd, add_with_carry_x(cpu.r(rn), cpu.r(rm), false));
        }
        Op::AddsW { rd, rn, rm } => {
            cpu.set_flagged_w(rd, add_with_carry_w(cpu.w(rn), cpu.w(rm), false));
        }
        Op::SubsX { rd, rn, rm } => cpu.set_flagged_x(rd, subtract_x(cpu.r(rn), cpu.r(rm))),
        Op::SubsW { rd, rn, rm } => cpu.set_flagged_w(rd, subtract_w(cpu.w(rn), cpu.w(rm))),
        Op::AddLslX { rd, rn, rm, shift } => {
            cpu.set(
                rd,
                cpu.r(rn).wrapping_add(cpu.r(rm).wrapping_shl(shift.into())),
            );
        }
        Op::SubLslX { rd, rn, rm, shift } => {
            cpu.set(
                rd,
                cpu.r(rn).wrapping_sub(cpu.r(rm).wrapping_shl(shift.into())),
            );
        }
        Op::AddSubShifted {
            sub,
            set_flags,
            wide,
            rd,
            rn,
            rm,
            kind,
            shift,
        } => {
            let operand = shift_operand(cpu, wide, rm, kind, shift);
            add_sub(cpu, sub, set_flags, wide, [rd, rn], operand);
        }
        Op::AddSubExtended {
            sub,
            set_flags,
            wide,
            rd,
            rn,
            rm,
            kind,
            shift,
        } => {
            let operand = extend(cpu.r(rm), kind, shift);
            add_sub(cpu, sub, set_flags, wide, [rd, rn], operand);
        }
        Op::AddSubCarry {
            sub,
            set_flags,
            wide,
            rd,
            rn,
            rm,
        } => {
            let operand = if sub { !cpu.r(rm) } else { cpu.r(rm) };
            let carry = cpu.state.nzcv >> 29 & 1 != 0;
            add_carry(cpu, set_flags, wide, [rd, rn], operand, carry);
        }
        Op::CcmpReg {
            sub,
            wide,
            nzcv,
            rn,
            rm,
            conditions,
        } => {
            conditional_compare(cpu, sub, wide, nzcv, rn, cpu.r(rm), conditions);
        }
        Op::CcmpImm {
            sub,
            wide,
            nzcv,
            rn,
            imm,
            conditions,
        } => {
            conditional_compare(cpu, sub, wide, nzcv, rn, imm.into(), conditions);
        }
        Op::CselX {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set(rd, if holds { cpu.r(rn) } else { cpu.r(rm) });
        }
        Op::CselW {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set_w(rd, if holds { cpu.w(rn) } else { cpu.w(rm) });
        }
        Op::CsincX {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set(
                rd,
                if holds {
                    cpu.r(rn)
                } else {
                    cpu.r(rm).wrapping_add(1)
                },
            );
        }
        Op::CsincW {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set_w(
                rd,
                if holds {
                    cpu.w(rn)
                } else {
                    cpu.w(rm).wrapping_add(1)
                },
            );
        }
        Op::CsinvX {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set(rd, if holds { cpu.r(rn) } else { !cpu.r(rm) });
        }
        Op::CsinvW {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set_w(rd, if holds { cpu.w(rn) } else { !cpu.w(rm) });
        }
        Op::CsnegX {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set(
                rd,
                if holds {
                    cpu.r(rn)
                } else {
                    cpu.r(rm).wrapping_neg()
                },
            );
        }
        Op::CsnegW {
            rd,
            rn,
            rm,
            conditions,
        } => {
            let holds = condition_holds(conditions, cpu.state.nzcv);
            cpu.set_w(
                rd,
                if holds {
                    cpu.w(rn)
                } else {
                    cpu.w(rm).wrapping_neg()
                },
            );
        }
        // A division by zero gives 0.
        Op::UdivX { rd, rn, rm } => {
            cpu.set(rd, cpu.r(rn).checked_div(cpu.r(rm)).unwrap_or(0));
        }
        Op::UdivW { rd, rn, rm } => {
            cpu.set_w(rd, cpu.w(rn).checked_div(cpu.w(rm)).unwrap_or(0));
        }
        Op::SdivX { rd, rn, rm } => {
            let (n, m) = (cpu.r(rn) as i64, cpu.r(rm) as i64);
            cpu.set(rd, if m == 0 { 0 } else { n.wrapping_div(m) as u64 });
        }
        Op::SdivW { rd, rn, rm } => {
            let (n, m) = (cpu.w(rn) as i32, cpu.w(rm) as i32);
            cpu.set_w(rd, if m == 0 { 0 } else { n.wrapping_div(m) as u32 });
        }
        Op::ShiftX { kind, rd, rn, rm } => cpu.set(rd, shift_x(cpu.r(rn), kind, cpu.w(rm))),
        Op::ShiftW { kind, rd, rn, rm } => cpu.set_w(rd, shift_w(cpu.w(rn), kind, cpu.w(rm))),
        Op::Crc32 {
            castagnoli,
            size,
            rd,
            rn,
            rm,
        } => {
            cpu.set_w(rd, crc32(castagnoli, cpu.w(rn), cpu.r(rm), size.bytes()));
        }
        Op::RbitX { rd, rn } => cpu.set(rd, cpu.r(rn).reverse_bits()),
        Op::RbitW { rd, rn } => cpu.set_w(rd, cpu.w(rn).reverse_bits()),
        Op::Rev16X { rd, rn } => {
            const LOW: u64 = 0x00ff_00ff_00ff_00ff;
            cpu.set(rd, (cpu.r(rn) & LOW) << 8 | cpu.r(rn) >> 8 & LOW);
        }
        Op::Rev16W { rd, rn } => cpu.set_w(rd, cpu.w(rn).swap_bytes().rotate_left(16)),
        Op::Rev32X { rd, rn } => cpu.set(rd, cpu.r(rn).swap_bytes().rotate_left(32)),
        Op::RevW { rd, rn } => cpu.set_w(rd, cpu.w(rn).swap_bytes()),
        Op::RevX { rd, rn } => cpu.set(rd, cpu.r(rn).swap_bytes()),
        Op::ClzX { rd, rn } => cpu.set(rd, cpu.r(rn).leading_zeros().into()),
        Op::ClzW { rd, rn } => cpu.set_w(rd, cpu.w(rn).leading_zeros()),
        Op::ClsX { rd, rn } => {
            let value = cpu.r(rn) as i64;
            // Bits that equal the one above them; the lowest of the shifted value is always one.
            cpu.set(rd, ((value ^ value << 1) | 1).leading_zeros().into());
        }
        Op::ClsW { rd, rn } => {
            let value = cpu.w(rn) as i32;
            cpu.set_w(rd, ((value ^ value << 1) | 1).leading_zeros());
        }
        Op::MaddX { rd, rn, rm, ra } => {
            cpu.set(
                rd,
                cpu.r(ra).wrapping_add(cpu.r(rn).wrapping_mul(cpu.r(rm))),
            );
        }
        Op::MaddW { rd, rn, rm, ra } => {
            cpu.set_w(
                rd,
                cpu.w(ra).wrapping_add(cpu.w(rn).wrapping_mul(cpu.w(rm))),
            );
        }
        Op::MsubX { rd, rn, rm, ra } => {
            cpu.set(
                rd,
                cpu.r(ra).wrapping_sub(cpu.r(rn).wrapping_mul(cpu.r(rm))),
            );
        }
        Op::MsubW { rd, rn, rm, ra } => {
            cpu.set_w(
                rd,
                cpu.w(ra).wrapping_sub(cpu.w(rn).wrapping_mul(cpu.w(rm))),
            );
        }
        Op::Smaddl { rd, rn, rm, ra } => {
            let product = i64::from(cpu.w(rn) as i32) * i64::from(cpu.w(rm) as i32);
            cpu.set(rd, cpu.r(ra).wrapping_add(product as u64));
        }
        Op::Smsubl { rd, rn, rm, ra } => {
            let product = i64::from(cpu.w(rn) as i32) * i64::from(cpu.w(rm) as i32);
            cpu.set(rd, cpu.r(ra).wrapping_sub(product as u64));
        }
        Op::Umaddl { rd, rn, rm, ra } => {
            let product = u64::from(cpu.w(rn)) * u64::from(cpu.w(rm));
            cpu.set(rd, cpu.r(ra).wrapping_add(product));
        }
        Op::Umsubl { rd, rn, rm, ra } => {
            let product = u64::from(cpu.w(rn)) * u64::from(cpu.w(rm));
            cpu.set(rd, cpu.r(ra).wrapping_sub(product));
        }
        Op::Smulh { rd, rn, rm } => {
            let product = i128::from(cpu.r(rn) as i64) * i128::from(cpu.r(rm) as i64);
            cpu.set(rd, (product >> 64) as u64);
        }
        Op::Umulh { rd, rn, rm } => {
            let product = u128::from(cpu.r(rn)) * u128::from(cpu.r(rm));
            cpu.set(rd, (product >> 64) as u64);
        }

        Op::LdrX { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return load(cpu, bus, LoadKind::DOUBLE, rt, va, AccessType::Normal);
        }
        Op::LdrW { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return load(cpu, bus, LoadKind::WORD, rt, va, AccessType::Normal);
        }
        Op::Ldrh { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return load(cpu, bus, LoadKind::HALF, rt, va, AccessType::Normal);
        }
        Op::Ldrb { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return load(cpu, bus, LoadKind::BYTE, rt, va, AccessType::Normal);
        }
        Op::StrX { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return store(cpu, bus, Size::Double, rt, va, AccessType::Normal);
        }
        Op::StrW { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return store(cpu, bus, Size::Word, rt, va, AccessType::Normal);
        }
        Op::Strh { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return store(cpu, bus, Size::Half, rt, va, AccessType::Normal);
        }
        Op::Strb { rt, rn, offset } => {
            let va = at(cpu, rn, offset)?;
            return store(cpu, bus, Size::Byte, rt, va, AccessType::Normal);
        }
        Op::Load {
            kind,
            rt,
            rn,
            offset,
        } => {
            let va = at(cpu, rn, offset)?;
            return load(cpu, bus, kind, rt, va, AccessType::Normal);
        }
        Op::LoadIndexed {
            kind,
            post,
            rt,
            rn,
            offset,
        } => {
            return loads_stores::load_indexed(cpu, bus, kind, post, rt, rn, offset);
        }
        Op::StoreIndexed {
            size,
            post,
            rt,
            rn,
            offset,
        } => {
            return loads_stores::store_indexed(cpu, bus, size, post, rt, rn, offset);
        }
        Op::LdrLslX { rt, rn, rm, shift } => {
            let offset = cpu.r(rm).wrapping_shl(shift.into());
            let va = base(cpu, rn)?.wrapping_add(offset);
            return load(cpu, bus, LoadKind::DOUBLE, rt, va, AccessType::Normal);
        }
        Op::StrLslX { rt, rn, rm, shift } => {
            let offset = cpu.r(rm).wrapping_shl(shift.into());
            let va = base(cpu, rn)?.wrapping_add(offset);
            return store(cpu, bus, Size::Double, rt, va, AccessType::Normal);
        }
        Op::LoadRegister {
            kind,
            rt,
            rn,
            rm,
            extend,
            shift,
        } => {
            let va = loads_stores::register_offset(cpu, rn, rm, extend, shift)?;
            return load(cpu, bus, kind, rt, va, AccessType::Normal);
        }
        Op::StoreRegister {
            size,
            rt,
            rn,
            rm,
            extend,
            shift,
        } => {
            let va = loads_stores::register_offset(cpu, rn, rm, extend, shift)?;
            return store(cpu, bus, size, rt, va, AccessType::Normal);
        }
        Op::LoadUnprivileged {
            kind,
            rt,
            rn,
            offset,
        } => {
            let va = at(cpu, rn, offset.into())?;
            return load(cpu, bus, kind, rt, va, AccessType::Unprivileged);
        }
        Op::StoreUnprivileged {
            size,
            rt,
            rn,
            offset,
        } => {
            let va = at(cpu, rn, offset.into())?;
            return store(cpu, bus, size, rt, va, AccessType::Unprivileged);
        }
        Op::LoadLiteral { kind, rt, offset } => {
            let va = cpu.state.pc.wrapping_add(offset as u64);
            return load(cpu, bus, kind, rt, va, AccessType::Normal);
        }
        Op::LdpX(pair) => return load_pair_x(cpu, bus, pair),
        Op::LdpW(pair) => return load_pair_w(cpu, bus, LoadKind::WORD, pair),
        Op::Ldpsw(pair) => return load_pair_w(cpu, bus, LoadKind::SignedX(Size::Word), pair),
        Op::StpX(pair) => return store_pair_x(cpu, bus, pair),
        Op::StpW(pair) => return store_pair_w(cpu, bus, pair),
        Op::Ldxr { size, rt, rn } => {
            return loads_stores::load_exclusive(cpu, bus, size, rt, rn);
        }
        Op::Stxr { size, rs, rt, rn } => {
            return loads_stores::store_exclusive(cpu, bus, size, rs, rt, rn);
        }
        Op::Ldxp { wide, rt, rt2, rn } => {
            return loads_stores::load_exclusive_pair(cpu, bus, wide, rt, rt2, rn);
        }
        Op::Stxp {
            wide,
            rs,
            rt,
            rt2,
            rn,
        } => {
            return loads_stores::store_exclusive_pair(cpu, bus, wide, rs, rt, rt2, rn);
        }
        Op::Ldar { size, rt, rn } => {
            let va = base(cpu, rn)?;
            return load(
                cpu,
                bus,
                LoadKind::Unsigned(size),
                rt,
                va,
                AccessType::AcquireRelease,
            );
        }
        Op::Stlr { size, rt, rn } => {
            let va = base(cpu, rn)?;
            store(cpu, bus, size, rt, va, AccessType::AcquireRelease)?;
            return agreed(cpu, bus);
        }
        Op::Cas { size, rs, rt, rn } => {
            return loads_stores::compare_and_swap(cpu, bus, size, rs, rt, rn);
        }
        Op::Casp { wide, rs, rt, rn } => {
            return loads_stores::compare_and_swap_pair(cpu, bus, wide, rs, rt, rn);
        }
        Op::Atomic {
            op,
            size,
            rs,
            rt,
            rn,
        } => {
            return loads_stores::atomic(cpu, bus, op, size, rs, rt, rn);
        }
    }
    Ok(Flow::Next)
}

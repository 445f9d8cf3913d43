//! vCPU registers by KVM_GET_ONE_REG and KVM_SET_ONE_REG (Linux,
//! `arch/arm64/include/uapi/asm/kvm.h`).

use std::mem::offset_of;

use kvm_bindings::{
    KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_ARM64_SYSREG, KVM_REG_SIZE_U64, KVM_REG_SIZE_U128,
    kvm_regs, user_fpsimd_state, user_pt_regs,
};
use kvm_ioctls::VcpuFd;
use stallbox_aarch64::mmu::address_bits;
use stallbox_aarch64::sysreg::encoding;
use stallbox_firmware::boot::EntryState;
use stallbox_machine::vcpu::Core;
use vmm_sys_util::errno::Result;

/// A 64-bit register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register(u64);

/// Core registers are named by their offset in `struct kvm_regs`, in words of 32 bits.
const fn core(offset: usize, size: u64) -> u64 {
    KVM_REG_ARM64 | size | KVM_REG_ARM_CORE as u64 | (offset as u64 / 4)
}

const fn core_u64(offset: usize) -> Register {
    Register(core(offset, KVM_REG_SIZE_U64))
}

const fn system(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> Register {
    let name = encoding(op0, op1, crn, crm, op2) as u64;
    Register(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG as u64 | name)
}

const PT_REGS: usize = offset_of!(kvm_regs, regs);

/// X0 to X30.
pub(super) const fn x(index: usize) -> Register {
    core_u64(PT_REGS + offset_of!(user_pt_regs, regs) + 8 * index)
}

pub(super) const SP_EL0: Register = core_u64(PT_REGS + offset_of!(user_pt_regs, sp));
pub(super) const PC: Register = core_u64(PT_REGS + offset_of!(user_pt_regs, pc));
pub(super) const PSTATE: Register = core_u64(PT_REGS + offset_of!(user_pt_regs, pstate));
pub(super) const SP_EL1: Register = core_u64(offset_of!(kvm_regs, sp_el1));
const ID_AA64MMFR0_EL1: Register = system(3, 0, 0, 7, 0);
pub(super) const SCTLR_EL1: Register = system(3, 0, 1, 0, 0);
pub(super) const TTBR0_EL1: Register = system(3, 0, 2, 0, 0);
pub(super) const TTBR1_EL1: Register = system(3, 0, 2, 0, 1);
pub(super) const TCR_EL1: Register = system(3, 0, 2, 0, 2);
pub(super) const MAIR_EL1: Register = system(3, 0, 10, 2, 0);
/// KVM_REG_ARM_TIMER_CNT: the virtual counter. (KVM has it where CNTV_CVAL_EL0 ought to be, and the
/// other way round.)
pub(super) const VIRTUAL_COUNT: Register = system(3, 3, 14, 3, 2);

impl Register {
    pub(super) fn get(self, vcpu: &VcpuFd) -> Result<u64> {
        let mut data = [0; 8];
        vcpu.get_one_reg(self.0, &mut data)?;
        Ok(u64::from_le_bytes(data))
    }

    pub(super) fn set(self, vcpu: &VcpuFd, value: u64) -> Result<()> {
        vcpu.set_one_reg(self.0, &value.to_le_bytes()).map(drop)
    }
}

/// What is told of a vCPU that stands still.
pub(super) fn read_all(vcpu: &VcpuFd) -> Result<Core> {
    let mut values = [0; 31];
    for (index, value) in values.iter_mut().enumerate() {
        *value = x(index).get(vcpu)?;
    }
    let pstate = PSTATE.get(vcpu)?;
    // M[3:0] is EL1h: the stack pointer is SP_EL1.
    let sp = if pstate & 0xf == 5 { SP_EL1 } else { SP_EL0 };
    Ok(Core {
        pc: PC.get(vcpu)?,
        sp: sp.get(vcpu)?,
        pstate,
        x: values,
        ttbr0: TTBR0_EL1.get(vcpu)?,
        ttbr1: TTBR1_EL1.get(vcpu)?,
        tcr: TCR_EL1.get(vcpu)?,
    })
}

/// Width in bits of a physical address, as the guest sees it.
pub(super) fn physical_bits(vcpu: &VcpuFd) -> Result<u32> {
    ID_AA64MMFR0_EL1.get(vcpu).map(parange_bits)
}

/// ID_AA64MMFR0_EL1.PARange.
const fn parange_bits(mmfr0: u64) -> u32 {
    address_bits(mmfr0 & 0xf)
}

/// V0 to V31.
const fn v(index: usize) -> u64 {
    let offset = offset_of!(kvm_regs, fp_regs) + offset_of!(user_fpsimd_state, vregs);
    core(offset + 16 * index, KVM_REG_SIZE_U128)
}

pub(super) fn get_v(vcpu: &VcpuFd, index: usize) -> Result<u128> {
    let mut data = [0; 16];
    vcpu.get_one_reg(v(index), &mut data)?;
    Ok(u128::from_le_bytes(data))
}

pub(super) fn set_v(vcpu: &VcpuFd, index: usize, value: u128) -> Result<()> {
    vcpu.set_one_reg(v(index), &value.to_le_bytes()).map(drop)
}

/// Sets a vCPU to where the kernel is entered. What KVM_ARM_VCPU_INIT leaves is right otherwise:
/// the MMU is off.
pub(super) fn enter(vcpu: &VcpuFd, entry: &EntryState) -> Result<()> {
    PC.set(vcpu, entry.pc)?;
    PSTATE.set(vcpu, entry.pstate)?;
    for (index, &value) in entry.x.iter().enumerate() {
        x(index).set(vcpu, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Linux's tools/testing/selftests/kvm/arm64/get-reg-list.c prints them.
    #[test]
    fn names_are_those_of_the_kernel() {
        assert_eq!(x(0).0, 0x6030_0000_0010_0000);
        assert_eq!(x(30).0, 0x6030_0000_0010_003c);
        assert_eq!(PC.0, 0x6030_0000_0010_0040);
        assert_eq!(PSTATE.0, 0x6030_0000_0010_0042);
        assert_eq!(SP_EL1.0, 0x6030_0000_0010_0044);
        assert_eq!(v(0), 0x6040_0000_0010_0054);
        assert_eq!(SCTLR_EL1.0, 0x6030_0000_0013_c080);
        assert_eq!(VIRTUAL_COUNT.0, 0x6030_0000_0013_df1a);
        assert_eq!(ID_AA64MMFR0_EL1.0, 0x6030_0000_0013_c038);
    }

    #[test]
    fn physical_addresses_are_as_wide_as_parange_says() {
        // Cortex-A53 and Neoverse N1 by their manuals, and one of 52 bits.
        let bits = [0x0000_1122, 0x0010_1125, 0x0000_0006].map(parange_bits);
        assert_eq!(bits, [40, 48, 52]);
    }
}

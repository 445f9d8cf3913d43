//! A device access: a bare-metal guest reads or writes one register over and over, with each engine,
//! and beside them with the smallest loop around KVM_RUN that can answer.

use std::time::Instant;

use anyhow::{Context, Result};
use stallbox_firmware::boot::EntryState;
use stallbox_firmware::layout;
use stallbox_machine::outcome::Outcome;
use stallbox_vmm::config::EngineKind;
use stallbox_vmm::engine;
use vm_memory::{Bytes, GuestAddress};

use super::{By, Outside, machine};

const CODE: u64 = layout::RAM_BASE + 0x1000;
/// A register of the SMMU that can be read without an effect: SMMU_IDR0. It ignores writes.
const REGISTER: u64 = layout::SMMU.base;

/// Accesses the address in X0 so many times, then switches off (words from GNU as).
const fn program(access: u32, count: u32) -> [u32; 9] {
    [
        0xd280_0001 | (count & 0xffff) << 5, // mov x1, #count, low half
        0xf2a0_0001 | (count >> 16) << 5,    // movk x1, #count, high half
        access,
        0xf100_0421, // subs x1, x1, #1
        0x54ff_ffc1, // b.ne access
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16: SYSTEM_OFF
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ]
}

const STORE_PAIR: &str = "MMIO write, store pair";
/// Accesses to measure, with the address each goes to.
const ACCESSES: [(&str, u32, u64); 3] = [
    ("MMIO read", 0xb940_0004, REGISTER),          // ldr w4, [x0]
    ("MMIO write, posted", 0xb900_0004, REGISTER), // str w4, [x0]
    (STORE_PAIR, 0xa900_1004, layout::PCI_MEMORY_64.base), // stp x4, x4, [x0]
];

fn words(program: &[u32]) -> Vec<u8> {
    program.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Host time of a run with `count` accesses.
fn with_engine(kind: EngineKind, access: u32, address: u64, count: u32) -> Result<f64> {
    let machine = machine(64 << 20)?;
    let engine = engine::open(kind, &machine)?;
    let world = engine.world(&machine, None, None)?;
    world
        .ram
        .write_slice(&words(&program(access, count)), GuestAddress(CODE))
        .context("the program does not fit")?;
    let entry = EntryState {
        pc: CODE,
        x: [address, 0, 0, 0],
        // EL1h, interrupts masked.
        pstate: 0x3c5,
    };
    let mut vcpus = engine.vcpus(&world, &machine, &entry)?;
    let start = Instant::now();
    let outcome = vcpus.run(&mut Outside::default())?;
    let seconds = start.elapsed().as_secs_f64();
    anyhow::ensure!(
        outcome == Outcome::PowerOff,
        "the guest ended as {outcome:?}"
    );
    Ok(seconds)
}

/// The smallest loop around KVM_RUN.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod smallest {
    use std::time::Instant;

    use anyhow::{Context, Result, bail};
    use kvm_bindings::{
        KVM_ARM_VCPU_PSCI_0_2, KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_SIZE_U64,
        kvm_userspace_memory_region, kvm_vcpu_init,
    };
    use kvm_ioctls::{Kvm, VcpuExit};
    use stallbox_firmware::layout;
    use vm_memory::{
        Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
        MemoryRegionAddress,
    };

    /// Host time of a run.
    pub fn run(program: &[u8], address: u64) -> Result<f64> {
        let kvm = Kvm::new().context("/dev/kvm")?;
        let vm = kvm.create_vm_with_ipa_size(40)?;
        let size = 2 << 20;
        let ram: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(layout::RAM_BASE), size)])?;
        let region = ram.iter().next().context("no RAM")?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: layout::RAM_BASE,
            memory_size: size as u64,
            userspace_addr: region.get_host_address(MemoryRegionAddress(0))? as u64,
        };
        // SAFETY: the mapping outlives the VM, which this function drops first.
        unsafe { vm.set_user_memory_region(region)? };
        ram.write_slice(program, GuestAddress(super::CODE))?;
        let mut vcpu = vm.create_vcpu(0)?;
        let mut init = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut init)?;
        init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
        vcpu.vcpu_init(&init)?;
        // X0 and PC, by their offset in struct kvm_regs in words of 32 bits.
        for (word, value) in [(0, address), (64, super::CODE)] {
            let name = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | u64::from(KVM_REG_ARM_CORE) | word;
            vcpu.set_one_reg(name, &value.to_le_bytes())?;
        }
        let start = Instant::now();
        loop {
            match vcpu.run()? {
                VcpuExit::MmioRead(_, data) => data.fill(0),
                VcpuExit::MmioWrite(..) => {}
                VcpuExit::SystemEvent(..) => return Ok(start.elapsed().as_secs_f64()),
                exit => bail!("{exit:?}"),
            }
        }
    }
}

/// Nanoseconds for each access: what `count` of them take beyond none to speak of.
fn each(mut run: impl FnMut(u32) -> Result<f64>, count: u32) -> Result<f64> {
    let few = run(1)?;
    let many = run(1 + count)?;
    Ok((many - few) * 1e9 / f64::from(count))
}

/// One round of `count` accesses of each kind; of ten times as many where they are cheap.
pub(crate) fn measure(by: By, count: u32) -> Result<Vec<(&'static str, f64)>> {
    ACCESSES
        .iter()
        // The smallest loop does not enable what a store pair needs.
        .filter(|(name, ..)| by != By::Smallest || *name != STORE_PAIR)
        .map(|&(name, access, address)| {
            let ns = match by {
                By::Smallest => each(|count| smallest(access, address, count), count),
                By::Kvm => each(
                    |count| with_engine(EngineKind::Kvm, access, address, count),
                    count,
                ),
                By::Soft => each(
                    |count| with_engine(EngineKind::Soft, access, address, count),
                    count * 10,
                ),
            };
            Ok((name, ns?))
        })
        .collect()
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn smallest(access: u32, address: u64, count: u32) -> Result<f64> {
    smallest::run(&words(&program(access, count)), address)
}

#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
fn smallest(_access: u32, _address: u64, _count: u32) -> Result<f64> {
    anyhow::bail!("the loop around KVM_RUN needs an arm64 Linux host")
}

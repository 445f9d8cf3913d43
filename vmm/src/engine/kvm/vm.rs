//! The VM: memory, vCPUs, the kernel's GICv3 and ITS (Linux,
//! `Documentation/virt/kvm/devices/arm-vgic-v3.rst`, `arm-vgic-its.rst`).

use anyhow::{Context, Result, anyhow};
use kvm_bindings::{
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_CAP_ARM_NISV_TO_USER,
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS, KVM_VGIC_ITS_ADDR_TYPE, KVM_VGIC_V3_ADDR_TYPE_DIST,
    KVM_VGIC_V3_ADDR_TYPE_REDIST, kvm_create_device, kvm_device_attr,
    kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_ITS, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
    kvm_enable_cap, kvm_vcpu_init,
};
use kvm_ioctls::{DeviceFd, Kvm, VcpuFd, VmFd};
use stallbox_devices::GuestRam;
use stallbox_firmware::layout;
use stallbox_machine::SPIS;

use super::{host, sys};

/// A VM, ready for its first instruction but for the first vCPU's registers.
pub(super) struct Vm {
    pub fd: VmFd,
    pub vcpus: Vec<VcpuFd>,
}

pub(super) fn create(kvm: &Kvm, ram: &GuestRam, cpus: u8) -> Result<Vm> {
    let fd = kvm
        .create_vm_with_ipa_size(host::IPA_BITS)
        .context("the host's KVM makes no VM (KVM_CREATE_VM)")?;
    let accesses_without_syndrome = kvm_enable_cap {
        cap: KVM_CAP_ARM_NISV_TO_USER,
        ..Default::default()
    };
    fd.enable_cap(&accesses_without_syndrome)
        .context("KVM_ENABLE_CAP of KVM_CAP_ARM_NISV_TO_USER")?;
    sys::map_ram(&fd, ram).context("KVM does not take the guest's RAM")?;

    let vcpus = (0..cpus)
        .map(|index| {
            fd.create_vcpu(index.into())
                .with_context(|| format!("KVM_CREATE_VCPU {index}"))
        })
        .collect::<Result<Vec<_>>>()?;
    // After the vCPUs, which it counts; to be initialised once they are.
    let gic = device(&fd, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3).ok_or_else(|| {
        anyhow!(
            "the host's KVM has no GICv3 (KVM_DEV_TYPE_ARM_VGIC_V3): its hardware has an older GIC"
        )
    })??;
    init_vcpus(&fd, &vcpus)?;
    set_up_gic(&gic).context("the kernel's GICv3")?;
    let its = device(&fd, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_ITS)
        .ok_or_else(|| anyhow!("the host's KVM has no ITS (KVM_DEV_TYPE_ARM_VGIC_ITS)"))??;
    address(&its, KVM_VGIC_ITS_ADDR_TYPE, layout::GIC_ITS.base).context("the kernel's ITS")?;
    init(&its).context("the kernel's ITS")?;
    // The VM keeps its devices; their descriptors are for configuration only.
    Ok(Vm { fd, vcpus })
}

/// A device of the kernel; `None` if it has no such device.
fn device(vm: &VmFd, kind: u32) -> Option<Result<DeviceFd>> {
    let mut request = kvm_create_device {
        type_: kind,
        fd: 0,
        flags: 0,
    };
    match vm.create_device(&mut request) {
        Ok(device) => Some(Ok(device)),
        Err(error) if error.errno() == libc::ENODEV => None,
        Err(error) => Some(Err(error).context("KVM_CREATE_DEVICE")),
    }
}

fn init_vcpus(vm: &VmFd, vcpus: &[VcpuFd]) -> Result<()> {
    let mut target = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut target)
        .context("KVM_ARM_PREFERRED_TARGET")?;
    target.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
    for (index, vcpu) in vcpus.iter().enumerate() {
        let mut init = target;
        if index > 0 {
            init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
        }
        vcpu.vcpu_init(&init)
            .with_context(|| format!("KVM_ARM_VCPU_INIT of vCPU {index}"))?;
    }
    Ok(())
}

fn set_up_gic(gic: &DeviceFd) -> Result<()> {
    address(
        gic,
        KVM_VGIC_V3_ADDR_TYPE_DIST,
        layout::GIC_DISTRIBUTOR.base,
    )?;
    address(
        gic,
        KVM_VGIC_V3_ADDR_TYPE_REDIST,
        layout::GIC_REDISTRIBUTORS_BASE,
    )?;
    // SGIs and PPIs count.
    let intids: u32 = 32 + SPIS;
    gic.set_device_attr(&kvm_device_attr {
        group: KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
        attr: 0,
        addr: &raw const intids as u64,
        flags: 0,
    })
    .context("number of INTIDs")?;
    init(gic)
}

/// Sets a frame's address.
fn address(device: &DeviceFd, frame: u32, address: u64) -> Result<()> {
    device
        .set_device_attr(&kvm_device_attr {
            group: KVM_DEV_ARM_VGIC_GRP_ADDR,
            attr: frame.into(),
            addr: &raw const address as u64,
            flags: 0,
        })
        .with_context(|| format!("its frame at {address:#x}"))
}

fn init(device: &DeviceFd) -> Result<()> {
    device
        .set_device_attr(&kvm_device_attr {
            group: KVM_DEV_ARM_VGIC_GRP_CTRL,
            attr: KVM_DEV_ARM_VGIC_CTRL_INIT.into(),
            addr: 0,
            flags: 0,
        })
        .context("its initialisation")
}

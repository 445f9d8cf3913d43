//! What the host must be able to do: each lack is a sentence that names it and the cure.

use std::io;

use anyhow::{Result, anyhow, bail};
use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_ARM_INJECT_EXT_DABT, KVM_CAP_ARM_NISV_TO_USER,
    KVM_CAP_ARM_VM_IPA_SIZE, KVM_CAP_DEVICE_CTRL, KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_IRQFD,
    KVM_CAP_ONE_REG, KVM_CAP_SIGNAL_MSI, KVM_CAP_VCPU_EVENTS,
};
use kvm_ioctls::Kvm;
use stallbox_output::tell;

/// Bits of guest physical address that the memory map needs: the 64-bit PCI window ends there.
pub(super) const IPA_BITS: u32 = 40;

/// Capabilities without which nothing works, with what they are for.
const NEEDED: [(u32, &str, &str); 8] = [
    (
        KVM_CAP_DEVICE_CTRL,
        "KVM_CAP_DEVICE_CTRL",
        "an interrupt controller in the kernel",
    ),
    (
        KVM_CAP_ONE_REG,
        "KVM_CAP_ONE_REG",
        "access to vCPU registers",
    ),
    (
        KVM_CAP_SIGNAL_MSI,
        "KVM_CAP_SIGNAL_MSI",
        "message-signalled interrupts",
    ),
    (KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "edges of wired interrupts"),
    (
        KVM_CAP_IMMEDIATE_EXIT,
        "KVM_CAP_IMMEDIATE_EXIT",
        "stopping vCPUs",
    ),
    (
        KVM_CAP_VCPU_EVENTS,
        "KVM_CAP_VCPU_EVENTS",
        "external aborts",
    ),
    (
        KVM_CAP_ARM_INJECT_EXT_DABT,
        "KVM_CAP_ARM_INJECT_EXT_DABT",
        "external aborts",
    ),
    (
        KVM_CAP_ARM_NISV_TO_USER,
        "KVM_CAP_ARM_NISV_TO_USER",
        "the accelerator's mailbox (Linux 5.5)",
    ),
];

/// Opens KVM for a machine of `cpus` vCPUs.
pub(super) fn open(cpus: u8) -> Result<Kvm> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => anyhow!(
            "there is no /dev/kvm: the host's kernel has no KVM, or runs at EL1, as most virtual \
             machines do"
        ),
        libc::EACCES | libc::EPERM => {
            anyhow!("no permission to open /dev/kvm; join the group that owns it (often kvm)")
        }
        errno => anyhow!(
            "cannot open /dev/kvm: {}",
            io::Error::from_raw_os_error(errno)
        ),
    })?;
    let version = kvm.get_api_version();
    if version != KVM_API_VERSION as i32 {
        bail!("the host's KVM has API version {version}; Stallbox knows {KVM_API_VERSION}");
    }
    for (capability, name, purpose) in NEEDED {
        if kvm.check_extension_raw(capability.into()) <= 0 {
            bail!("the host's KVM lacks {name}, which is needed for {purpose}");
        }
    }
    let bits = kvm.check_extension_raw(KVM_CAP_ARM_VM_IPA_SIZE.into());
    if bits < IPA_BITS as i32 {
        bail!(
            "the host's CPUs give a guest {bits} bits of physical address, and the memory map needs \
             {IPA_BITS} (KVM_CAP_ARM_VM_IPA_SIZE)"
        );
    }
    let most = kvm.get_max_vcpus();
    if usize::from(cpus) > most {
        bail!("--cpus {cpus}: the host's KVM can do {most} at most (KVM_CAP_MAX_VCPUS)");
    }
    let advised = kvm.get_nr_vcpus();
    if usize::from(cpus) > advised {
        tell!(
            "stallbox: {cpus} vCPUs share {advised} CPUs of the host (KVM_CAP_NR_VCPUS); they will \
             wait for each other"
        );
    }
    Ok(kvm)
}

//! Interrupts: lines and messages to the kernel's GIC and ITS.
//!
//! Lines go by KVM_IRQ_LINE. An irqfd would spare nothing, since the device thread makes one
//! system call either way, and it is neither synchronous nor true to a line's level: the serial
//! ports and the clock hold their lines until the guest has served them, and the SMMU's are edges.

use std::cell::RefCell;
use std::rc::Rc;

use kvm_bindings::{KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_MSI_VALID_DEVID, kvm_msi};
use kvm_ioctls::VmFd;
use stallbox_devices::gic::ITS_TRANSLATER;
use stallbox_devices::irq::IrqLine;
use stallbox_firmware::layout;

use crate::machine::InterruptController;

/// The kernel's GICv3 and ITS. Clones share it.
#[derive(Clone)]
pub(super) struct KernelGic(Rc<Shared>);

struct Shared {
    vm: VmFd,
    /// The first line that the kernel would not take.
    failure: RefCell<Option<String>>,
}

impl KernelGic {
    pub(super) fn new(vm: VmFd) -> KernelGic {
        KernelGic(Rc::new(Shared {
            vm,
            failure: RefCell::default(),
        }))
    }

    /// What went wrong with a line, if anything did. No guest can bring it about.
    pub(super) fn failure(&self) -> Option<String> {
        self.0.failure.borrow().clone()
    }
}

impl InterruptController for KernelGic {
    fn spi(&self, intid: u32) -> Rc<dyn IrqLine> {
        Rc::new(Spi {
            gic: self.0.clone(),
            intid,
        })
    }

    /// A message that the guest's ITS does not know, or that comes while the ITS is off, is lost,
    /// as it is in hardware; the kernel reports both.
    fn msi(&self, device_id: u32, event_id: u32) {
        let translater = layout::GIC_ITS.base + ITS_TRANSLATER;
        let message = kvm_msi {
            address_lo: translater as u32,
            address_hi: (translater >> 32) as u32,
            data: event_id,
            flags: KVM_MSI_VALID_DEVID,
            devid: device_id,
            ..Default::default()
        };
        if let Err(error) = self.0.vm.signal_msi(message) {
            log::debug!("MSI {event_id} of device {device_id:#x} is lost: {error}");
        }
    }
}

struct Spi {
    gic: Rc<Shared>,
    intid: u32,
}

impl IrqLine for Spi {
    fn set(&self, asserted: bool) {
        let intid = self.intid;
        let line = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | intid;
        if let Err(error) = self.gic.vm.set_irq_line(line, asserted) {
            self.gic
                .failure
                .borrow_mut()
                .get_or_insert_with(|| format!("KVM_IRQ_LINE of INTID {intid}: {error}"));
        }
    }
}

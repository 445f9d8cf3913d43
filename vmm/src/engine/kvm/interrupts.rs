//! Interrupts: lines and messages to the kernel's GIC and ITS.
//!
//! An edge goes by the line's irqfd: one write, where KVM_IRQ_LINE would take two calls, one for each
//! level. A level goes by KVM_IRQ_LINE. An irqfd with a resamplefd would raise it, too, but could
//! not drop it: the serial ports and the clock drop their lines when the guest has served them, which
//! is before it ends the interrupt and may be without one.

use std::cell::RefCell;
use std::rc::Rc;

use kvm_bindings::{KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_MSI_VALID_DEVID, kvm_msi};
use kvm_ioctls::VmFd;
use stallbox_devices::gic::ITS_TRANSLATER;
use stallbox_devices::irq::IrqLine;
use stallbox_firmware::layout;
use stallbox_machine::InterruptController;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

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
            edge: self.0.irqfd(intid),
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

impl Shared {
    /// The irqfd of a line. Without routes of their own, GSIs are SPIs in their order (Linux,
    /// `arch/arm64/kvm/vgic/vgic-irqfd.c`, kvm_vgic_setup_default_irq_routing).
    fn irqfd(&self, intid: u32) -> Option<EventFd> {
        let made = EventFd::new(EFD_NONBLOCK).map_err(|error| error.to_string());
        let made = made.and_then(|edge| {
            let registered = self.vm.register_irqfd(&edge, intid - FIRST_SPI);
            registered.map(|()| edge).map_err(|error| error.to_string())
        });
        made.map_err(|error| self.fail(format!("the irqfd of INTID {intid}: {error}")))
            .ok()
    }

    fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
    }
}

/// INTIDs below it are those of each CPU.
const FIRST_SPI: u32 = 32;

struct Spi {
    gic: Rc<Shared>,
    intid: u32,
    /// `None` is a failure that has been told.
    edge: Option<EventFd>,
}

impl IrqLine for Spi {
    fn set(&self, asserted: bool) {
        let intid = self.intid;
        let line = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | intid;
        if let Err(error) = self.gic.vm.set_irq_line(line, asserted) {
            self.gic
                .fail(format!("KVM_IRQ_LINE of INTID {intid}: {error}"));
        }
    }

    fn pulse(&self) {
        // The only error is a counter that is full; then the edges before have not been taken, and
        // one more would make no difference.
        if let Some(edge) = &self.edge {
            let _ = edge.write(1);
        }
    }
}

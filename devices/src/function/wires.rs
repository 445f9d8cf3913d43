//! Configuration space and what goes out because of it: interrupts, and the bus master's enables.

use std::cell::{Ref, RefCell};
use std::rc::{Rc, Weak};

use super::{BusMaster, DeviceNote};
use crate::pcie::Slot;
use crate::pcie::capability::Message;
use crate::pcie::config::ConfigSpace;
use crate::pcie::express::Express;
use crate::pcie::message::MessageSender;
use crate::pcie::msix::MsiX;
use crate::pcie::pasid::Pasid;

pub(crate) struct Wires {
    /// Itself, for an interrupt that waits.
    me: Weak<Wires>,
    config: RefCell<ConfigSpace>,
    messages: MessageSender,
    master: Rc<BusMaster>,
}

impl Wires {
    pub(crate) fn new(config: ConfigSpace, slot: &Slot, master: &Rc<BusMaster>) -> Rc<Wires> {
        Rc::new_cyclic(|me| Wires {
            me: me.clone(),
            config: RefCell::new(config),
            messages: MessageSender::new(&master.timeline, slot),
            master: master.clone(),
        })
    }

    pub(crate) fn config(&self) -> Ref<'_, ConfigSpace> {
        self.config.borrow()
    }

    /// Raises an interrupt, as a verdict has it. `queue` is as in
    /// [`DeviceProbe::on_msi`](super::DeviceProbe::on_msi).
    pub(crate) fn raise(&self, vector: u16, queue: Option<u16>) {
        let verdict = self.master.probe.on_msi(vector, queue);
        // It is there as long as it is called.
        if let Some(wires) = self.me.upgrade() {
            verdict.carry_out(&self.master.timeline, move || wires.send(vector));
        }
    }

    /// Raises an interrupt; no verdict is asked for.
    pub(crate) fn send(&self, vector: u16) {
        let message = self.message(vector);
        self.master.note(DeviceNote::Msi { vector });
        if let Some(message) = message {
            self.messages.send(message);
        }
    }

    /// By MSI-X, if the function has it.
    fn message(&self, vector: u16) -> Option<Message> {
        let mut config = self.config.borrow_mut();
        if config.capability::<MsiX>().is_some() {
            return config.raise_msix(vector);
        }
        config.raise_msi(u8::try_from(vector).ok()?)
    }

    /// The bus master obeys Bus Master, PASID and AtomicOp Requester Enable.
    pub(crate) fn update_master(&self) {
        let config = self.config.borrow();
        self.master.configure(
            config.bus_master(),
            config.pasid().is_some_and(Pasid::enabled),
            config
                .capability::<Express>()
                .is_some_and(Express::atomics_enabled),
        );
    }

    /// Resets configuration space. Interrupts that were not sent are not sent.
    pub(crate) fn reset(&self) {
        self.config.borrow_mut().reset();
        self.messages.discard();
    }

    /// As [`PciFunction::config_write`](crate::pcie::PciFunction::config_write); `reset` is a function
    /// level reset.
    pub(crate) fn config_write(
        &self,
        offset: u16,
        data: &[u8],
        reset: impl FnOnce(),
    ) -> Option<u64> {
        let effects = self.config.borrow_mut().write(offset, data);
        if effects.flr {
            reset();
        }
        self.update_master();
        for message in effects.messages {
            self.messages.send(message);
        }
        effects.absent
    }

    /// Writes the MSI-X table if it is what lies there; false if not.
    pub(crate) fn write_msix(&self, bar: u8, offset: u64, data: &[u8]) -> bool {
        let effects = self.config.borrow_mut().write_msix(bar, offset, data);
        let Some(effects) = effects else {
            return false;
        };
        for message in effects.messages {
            self.messages.send(message);
        }
        true
    }
}

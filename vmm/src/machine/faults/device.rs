//! The accelerator's points.

use std::rc::Rc;

use stallbox_devices::hisi::{DeviceAct, DeviceStep, DeviceVerdict, DmaAccess, Purpose};
use stallbox_faultplan::{Access, Act, Point, Ring, Subject};
use stallbox_smmu::Transaction;
use stallbox_timeline::Span;

use super::{Faults, Taken};

/// An access under way, by which a translation is known to be of a ring or of a queue.
pub(super) type InFlight = DmaAccess;

fn ring(purpose: Purpose) -> Ring {
    match purpose {
        Purpose::Submission => Ring::Submission,
        Purpose::Completion => Ring::Completion,
        Purpose::Event => Ring::Event,
        Purpose::AsyncEvent => Ring::AsyncEvent,
        Purpose::Context => Ring::Context,
        Purpose::Data => Ring::Data,
    }
}

impl Faults {
    /// Of which queue and for what `transaction` is, if a rule asks.
    pub(super) fn purpose(&self, transaction: &Transaction) -> (Option<u16>, Option<Ring>) {
        if !self.follows_in_flight.get() {
            return (None, None);
        }
        let in_flight = self.in_flight.borrow();
        let pasid = transaction.substream.map(|substream| substream.0);
        let found = in_flight.iter().find(|access| {
            access.pasid.map(|pasid| pasid.0) == pasid
                && access.write == transaction.access.write
                && transaction.address.wrapping_sub(access.address) < access.bytes
        });
        match found {
            Some(access) => (access.queue, Some(ring(access.purpose))),
            None => (None, None),
        }
    }

    pub(in crate::machine) fn on_dma(self: &Rc<Self>, access: &DmaAccess) -> DeviceVerdict {
        if self.follows_in_flight.get() {
            self.in_flight.borrow_mut().push(*access);
        }
        if !self.player.wants(Point::Dma) {
            return DeviceVerdict::default();
        }
        let last = access
            .address
            .saturating_add(access.bytes.saturating_sub(1));
        let taken = self.ask(&Subject {
            pasid: access.pasid.map(|pasid| pasid.0),
            address: Some((access.address, last)),
            access: Some(if access.write {
                Access::Write
            } else {
                Access::Read
            }),
            queue: access.queue,
            ring: Some(ring(access.purpose)),
            ..Subject::at(Point::Dma)
        });
        self.device_verdict(taken)
    }

    pub(in crate::machine) fn dma_ended(&self, access: &DmaAccess) {
        let mut in_flight = self.in_flight.borrow_mut();
        if let Some(at) = in_flight.iter().position(|other| other == access) {
            in_flight.remove(at);
        }
    }

    pub(in crate::machine) fn on_mailbox(
        self: &Rc<Self>,
        command: u8,
        queue: u16,
    ) -> DeviceVerdict {
        let taken = self.ask(&Subject {
            queue: Some(queue),
            code: Some(command.into()),
            ..Subject::at(Point::Mailbox)
        });
        self.device_verdict(taken)
    }

    pub(in crate::machine) fn on_msi(self: &Rc<Self>, vector: u8) -> DeviceVerdict {
        let taken = self.ask(&Subject {
            code: Some(vector.into()),
            ..Subject::at(Point::Msi)
        });
        self.device_verdict(taken)
    }

    pub(in crate::machine) fn on_register_write(
        self: &Rc<Self>,
        register: u32,
        value: u32,
    ) -> DeviceVerdict {
        let taken = self.ask(&Subject {
            code: Some(register),
            value: Some(value),
            ..Subject::at(Point::RegisterWrite)
        });
        self.device_verdict(taken)
    }

    pub(in crate::machine) fn on_device_step(
        self: &Rc<Self>,
        step: DeviceStep,
        queue: u16,
    ) -> Span {
        let point = match step {
            DeviceStep::Doorbell => Point::Doorbell,
            DeviceStep::DescriptorFetch => Point::DescriptorFetch,
            DeviceStep::Compute { .. } => Point::Compute,
            DeviceStep::CompletionWrite => Point::CompletionWrite,
        };
        self.delay(&Subject {
            queue: Some(queue),
            ..Subject::at(point)
        })
    }

    fn device_verdict(&self, taken: Option<Taken>) -> DeviceVerdict {
        let Some(taken) = taken else {
            return DeviceVerdict::default();
        };
        let act = match taken.rule.act {
            Act::Drop => DeviceAct::Drop,
            Act::Abort => DeviceAct::Fail(0),
            Act::Fail(status) => DeviceAct::Fail(status),
            _ => DeviceAct::Go,
        };
        DeviceVerdict {
            wait: self.wait(&taken),
            act,
        }
    }
}

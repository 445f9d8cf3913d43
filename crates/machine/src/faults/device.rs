//! The accelerators' points. A device is named by its StreamID.

use std::rc::Rc;

use stallbox_devices::verdict::{
    DeviceAct, DeviceVerdict, DmaAccess, DoorbellWrite, Purpose, StepVerdict,
};
use stallbox_faultplan::{Access, Act, Point, Ring, Subject};
use stallbox_smmu::{InvalidateRequest, Transaction};

use super::{Faults, Taken};

/// An access under way, and whose: by it a translation is known to be of a ring or of a queue.
pub(crate) type InFlight = (u32, DmaAccess);

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
        match self.access_of(transaction) {
            Some(access) => (access.queue, Some(ring(access.purpose))),
            None => (None, None),
        }
    }

    /// The devices' accesses under way.
    pub(crate) fn in_flight(&self) -> Vec<InFlight> {
        self.in_flight.borrow().clone()
    }

    /// The access of a device of which `transaction` is.
    pub(crate) fn access_of(&self, transaction: &Transaction) -> Option<DmaAccess> {
        let in_flight = self.in_flight.borrow();
        let pasid = transaction.substream.map(|substream| substream.0);
        let of_it = |first: u64, last: u64| {
            in_flight.iter().find(|(stream, access)| {
                let end = access.address.saturating_add(access.bytes);
                *stream == transaction.stream.0
                    && access.pasid.map(|pasid| pasid.0) == pasid
                    && access.write == transaction.access.write
                    && access.address <= last
                    && end > first
            })
        };
        let at = transaction.address;
        // An ATS translation request names a page, of which the access is perhaps of the end.
        let of_page = || (at & 0xfff == 0).then(|| of_it(at, at | 0xfff)).flatten();
        let found = of_it(at, at).or_else(of_page);
        found.map(|(_, access)| *access)
    }

    pub(crate) fn on_dma(self: &Rc<Self>, stream: u32, access: &DmaAccess) -> DeviceVerdict {
        self.in_flight.borrow_mut().push((stream, *access));
        if !self.player.wants(Point::Dma) {
            return DeviceVerdict::default();
        }
        let last = access
            .address
            .saturating_add(access.bytes.saturating_sub(1));
        let taken = self.ask(&Subject {
            stream: Some(stream),
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

    pub(crate) fn dma_ended(&self, stream: u32, access: &DmaAccess) {
        let mut in_flight = self.in_flight.borrow_mut();
        let ended = (stream, *access);
        if let Some(at) = in_flight.iter().position(|other| *other == ended) {
            in_flight.remove(at);
        }
    }

    pub(crate) fn on_mailbox(
        self: &Rc<Self>,
        stream: u32,
        command: u8,
        queue: u16,
    ) -> DeviceVerdict {
        let taken = self.ask(&Subject {
            stream: Some(stream),
            queue: Some(queue),
            code: Some(command.into()),
            ..Subject::at(Point::Mailbox)
        });
        self.device_verdict(taken)
    }

    pub(crate) fn on_msi(
        self: &Rc<Self>,
        stream: u32,
        vector: u16,
        queue: Option<u16>,
    ) -> DeviceVerdict {
        let taken = self.ask(&Subject {
            stream: Some(stream),
            queue,
            code: Some(vector.into()),
            ..Subject::at(Point::Msi)
        });
        self.device_verdict(taken)
    }

    pub(crate) fn on_register_write(
        self: &Rc<Self>,
        stream: u32,
        register: u32,
        value: u32,
    ) -> DeviceVerdict {
        let taken = self.ask(&Subject {
            stream: Some(stream),
            code: Some(register),
            value: Some(value),
            ..Subject::at(Point::RegisterWrite)
        });
        self.device_verdict(taken)
    }

    pub(crate) fn on_doorbell(
        self: &Rc<Self>,
        stream: u32,
        doorbell: &DoorbellWrite,
    ) -> DeviceVerdict {
        let taken = self.ask(&Subject {
            stream: Some(stream),
            queue: doorbell.queue,
            ring: Some(ring(doorbell.ring)),
            value: Some(doorbell.index),
            ..Subject::at(Point::DoorbellWrite)
        });
        self.device_verdict(taken)
    }

    pub(crate) fn on_device_step(
        self: &Rc<Self>,
        stream: u32,
        point: Point,
        queue: u16,
    ) -> StepVerdict {
        let subject = Subject {
            stream: Some(stream),
            queue: Some(queue),
            ..Subject::at(point)
        };
        match self.ask(&subject) {
            None => StepVerdict::default(),
            Some(taken) if taken.wait.is_some() => StepVerdict {
                wait: self.wait(&taken),
                ..StepVerdict::default()
            },
            Some(taken) => StepVerdict {
                wait: None,
                more: self.delay_of(&taken),
            },
        }
    }

    pub(crate) fn on_atc_completion(
        self: &Rc<Self>,
        stream: u32,
        request: &InvalidateRequest,
    ) -> DeviceVerdict {
        let last = match request.size_log2 {
            64.. => u64::MAX,
            bits => request.address | ((1 << bits) - 1),
        };
        let taken = self.ask(&Subject {
            stream: Some(stream),
            pasid: request.substream.map(|substream| substream.0),
            address: Some((request.address, last)),
            ..Subject::at(Point::AtcCompletion)
        });
        self.device_verdict(taken)
    }

    fn device_verdict(&self, taken: Option<Taken>) -> DeviceVerdict {
        let Some(taken) = taken else {
            return DeviceVerdict::default();
        };
        let act = match taken.rule.act {
            Act::Drop => DeviceAct::Drop,
            Act::Abort => DeviceAct::Fail(0),
            Act::Fail(status) => DeviceAct::Fail(status),
            Act::Duplicate(more) => DeviceAct::Repeat(more),
            _ => DeviceAct::Go,
        };
        DeviceVerdict {
            wait: self.wait(&taken),
            act,
        }
    }
}

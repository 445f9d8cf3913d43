//! Sending message signaled interrupts: memory writes like any other, in the order in which they
//! were raised.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use stallbox_timeline::Timeline;

use super::Slot;
use super::capability::Message;
use crate::dma::{DmaAttrs, DmaPort, Op};

/// Messages that may wait while an earlier one is held up. Equal ones wait once, so a function does
/// not get here unless the guest keeps rewriting addresses while its IOMMU lets none of them pass.
const WAITING_MAX: usize = 4096;

/// One function's outgoing interrupts. Cheap to clone; clones share the queue.
#[derive(Clone)]
pub struct MessageSender(Rc<Inner>);

struct Inner {
    timeline: Timeline,
    dma: Rc<dyn DmaPort>,
    waiting: RefCell<VecDeque<Message>>,
    sending: Cell<bool>,
    aborted: Cell<u64>,
}

impl MessageSender {
    /// Sends through the port of `slot`.
    pub fn new(timeline: &Timeline, slot: &Slot) -> MessageSender {
        MessageSender(Rc::new(Inner {
            timeline: timeline.clone(),
            dma: slot.dma.clone(),
            waiting: RefCell::default(),
            sending: Cell::new(false),
            aborted: Cell::new(0),
        }))
    }

    /// Sends `message` after all that were sent before. One that is equal to a waiting one is
    /// merged with it: an interrupt that has not been delivered yet covers both causes.
    pub fn send(&self, message: Message) {
        let inner = &self.0;
        {
            let mut waiting = inner.waiting.borrow_mut();
            if waiting.contains(&message) {
                return;
            }
            if waiting.len() >= WAITING_MAX {
                log::warn!(
                    "MSI to {:#x} lost: {WAITING_MAX} are waiting",
                    message.address
                );
                return;
            }
            waiting.push_back(message);
        }
        if !inner.sending.replace(true) {
            let inner = inner.clone();
            self.0.timeline.spawn(async move { inner.run().await });
        }
    }

    /// Function Level Reset: what has not been sent is not sent.
    pub fn discard(&self) {
        self.0.waiting.borrow_mut().clear();
    }

    /// How many messages the memory system refused.
    pub fn aborted(&self) -> u64 {
        self.0.aborted.get()
    }
}

impl Inner {
    async fn run(&self) {
        while let Some(message) = self.next() {
            let data = message.data.to_le_bytes();
            let sent = self
                .dma
                .access(DmaAttrs::REQUESTER, message.address, Op::Write(&data))
                .await;
            if let Err(abort) = sent {
                if self.aborted.get() == 0 {
                    log::warn!("MSI lost: {abort}");
                }
                self.aborted.set(self.aborted.get() + 1);
            }
        }
        self.sending.set(false);
    }

    fn next(&self) -> Option<Message> {
        self.waiting.borrow_mut().pop_front()
    }
}

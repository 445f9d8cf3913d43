//! The queues that the SMMU writes and software reads: events and page requests.
//!
//! IHI 0070, *SMMU circular queues*, *Event queue*, *PRI queue*.
//!
//! What to do about a queue that is full or takes nothing is not decided here: the two differ in it.

use crate::queue::Ring;
use crate::regs::{Message, QueueRegisters};
use crate::smmu::Inner;
use crate::spec::event::EVENT_BYTES;
use crate::spec::pri::PAGE_REQUEST_BYTES;
use crate::spec::regs::{cr0, gerror, irq_ctrl, mask};
use crate::system::{ExternalAbort, Line};
use crate::transaction::StreamId;

/// What is different from queue to queue.
struct Kind {
    /// The bits of CR0 that must be set for entries to be written.
    enables: u32,
    /// The error in GERROR of a write that aborted.
    abort: u32,
    /// The interrupt's bit in IRQ_CTRL.
    interrupt: u32,
    line: Line,
    /// The error in GERROR of an interrupt's message that aborted.
    message_abort: u32,
}

const EVENTS: Kind = Kind {
    enables: cr0::EVENTQEN,
    abort: gerror::EVENTQ_ABT_ERR,
    interrupt: irq_ctrl::EVENTQ,
    line: Line::EventQueue,
    message_abort: gerror::MSI_EVENTQ_ABT_ERR,
};

const PAGE_REQUESTS: Kind = Kind {
    enables: cr0::SMMUEN | cr0::PRIQEN,
    abort: gerror::PRIQ_ABT_ERR,
    interrupt: irq_ctrl::PRIQ,
    line: Line::PageRequestQueue,
    message_abort: gerror::MSI_PRIQ_ABT_ERR,
};

/// A queue that the SMMU writes.
pub(crate) struct OutputQueue<'a> {
    smmu: &'a Inner,
    registers: &'a QueueRegisters,
    message: &'a Message,
    ring: Ring,
    kind: &'static Kind,
}

/// The largest entry: an event record.
const ENTRY_BYTES_MAX: usize = EVENT_BYTES as usize;

impl OutputQueue<'_> {
    /// Whether it is enabled, and no write to it has aborted that software has not acknowledged.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        let (regs, enables) = (&self.smmu.regs, self.kind.enables);
        regs.cr0.get() & enables == enables && regs.active_errors() & self.kind.abort == 0
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let (prod, cons) = (self.registers.prod.get(), self.registers.cons.get());
        self.ring.is_full(prod, cons)
    }

    /// Whether an entry could be written.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.is_open() && !self.is_full()
    }

    /// How many entries fit.
    pub(crate) fn entries(&self) -> u32 {
        self.ring.entries()
    }

    /// Whether there is an overflow that software has not acknowledged.
    pub(crate) fn has_overflowed(&self) -> bool {
        let (prod, cons) = (self.registers.prod.get(), self.registers.cons.get());
        (prod ^ cons) & mask::QUEUE_OVERFLOW != 0
    }

    /// Raises OVFLG; false if it is raised already.
    pub(crate) fn overflow(&self) -> bool {
        let raises = !self.has_overflowed();
        if raises {
            let prod = self.registers.prod.get();
            self.registers.prod.set(prod ^ mask::QUEUE_OVERFLOW);
        }
        raises
    }

    /// Writes an entry, for which there is room, and says whether the queue was empty. An abort is
    /// an error in GERROR.
    pub(crate) fn push<const WORDS: usize>(
        &self,
        words: [u64; WORDS],
    ) -> Result<bool, ExternalAbort> {
        let (prod, cons) = (self.registers.prod.get(), self.registers.cons.get());
        let mut bytes = [0; ENTRY_BYTES_MAX];
        let bytes = &mut bytes[..8 * words.len()];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let position = self.ring.position(prod);
        let written = self.smmu.write_memory(self.ring.address(position), bytes);
        if written.is_err() {
            self.smmu.raise_error(self.kind.abort);
            return Err(ExternalAbort);
        }
        let next = self.ring.next(position) | prod & mask::QUEUE_OVERFLOW;
        self.registers.prod.set(next);
        Ok(self.ring.is_empty(prod, cons))
    }

    /// Sends the queue's interrupt, if that is enabled; `stream` did what it tells of.
    pub(crate) fn interrupt(&self, stream: StreamId) {
        if self.smmu.regs.irq_ctrl.get() & self.kind.interrupt != 0 {
            let (line, on_abort) = (self.kind.line, self.kind.message_abort);
            self.smmu
                .interrupt(self.message, line, Some(stream), on_abort);
        }
    }
}

impl Inner {
    #[inline]
    pub(crate) fn event_queue(&self) -> OutputQueue<'_> {
        let registers = &self.regs.eventq;
        let log2_max = self.features.eventq_log2;
        OutputQueue {
            smmu: self,
            registers,
            message: &self.regs.eventq_msi,
            ring: Ring::new(registers.base.get(), log2_max, EVENT_BYTES),
            kind: &EVENTS,
        }
    }

    #[inline]
    pub(crate) fn page_request_queue(&self) -> OutputQueue<'_> {
        let registers = &self.regs.priq;
        let log2_max = self.features.priq_log2;
        OutputQueue {
            smmu: self,
            registers,
            message: &self.regs.priq_msi,
            ring: Ring::new(registers.base.get(), log2_max, PAGE_REQUEST_BYTES),
            kind: &PAGE_REQUESTS,
        }
    }
}

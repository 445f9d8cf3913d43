//! What becomes of a transaction that faults: its record, its stall, software's answer.
//!
//! IHI 0070, *Fault models, recording and reporting*, *Stall model*, *Event queue overflow*.
//!
//! A stall whose report was held back translates afresh when it may report, since software may have
//! changed everything in between, and only what that gives is reported.
//!
//! **The event queue's interrupt** is raised when a record is written to an *empty* queue, and only
//! then. Software that reads records and moves CONS until it finds the queue empty loses nothing: a
//! record written before its last write of CONS makes PROD differ from that CONS, which it sees
//! when it looks again; one written after finds the queue empty, and raises the interrupt. Software
//! that leaves records in the queue gets no further interrupt until it has emptied it.

use std::rc::Rc;

use crate::probe::{Note, Response};
use crate::queue::Ring;
use crate::smmu::{Inner, bump};
use crate::spec::event::{self, EVENT_BYTES, Fault, Record};
use crate::spec::regs::{cr0, gerror, irq_ctrl, mask};
use crate::stalls::{Held, Reported, Turn};
use crate::system::Line;
use crate::transaction::{StreamId, Transaction};
use crate::verdict::{OnRecord, Points};

/// A place among the held stalls, given up when it is dropped.
pub(crate) struct Place<'a> {
    smmu: &'a Inner,
    held: Rc<Held>,
}

impl Place<'_> {
    pub(crate) async fn turn(&self) -> Turn {
        self.held.turn().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.smmu.stalls.leave(&self.held);
        self.smmu.let_next_report();
    }
}

impl Inner {
    fn event_ring(&self) -> Ring {
        Ring::new(
            self.regs.eventq_base.get(),
            self.features.eventq_log2,
            EVENT_BYTES,
        )
    }

    fn events_accepted(&self) -> bool {
        self.regs.enabled(cr0::EVENTQEN) && self.regs.active_errors() & gerror::EVENTQ_ABT_ERR == 0
    }

    fn event_queue_full(&self) -> bool {
        self.event_ring()
            .is_full(self.regs.eventq_prod.get(), self.regs.eventq_cons.get())
    }

    /// Writes a record, or loses it: *Event queue overflow*. Stalls see to it beforehand that
    /// there is room.
    pub(crate) fn write_event(&self, words: [u64; 4]) {
        if !self.watches(Points::RECORD) {
            return self.put_event(words);
        }
        let verdict = self.probe.on_record(&words, words[1] & event::STALL != 0);
        let Some(gate) = verdict.wait else {
            return self.obey_on_record(words, verdict.act);
        };
        let smmu = self.owned();
        self.timeline.spawn(async move {
            gate.passed().await;
            smmu.obey_on_record(words, verdict.act);
        });
    }

    fn obey_on_record(&self, words: [u64; 4], act: OnRecord) {
        match act {
            OnRecord::Go => self.put_late(words),
            OnRecord::Drop => self.drop_event(words),
            OnRecord::Repeat(more) => {
                self.put_late(words);
                // No more than makes even the largest queue overflow.
                for _ in 0..more.min(1 << 20) {
                    self.put_event(words);
                }
            }
            OnRecord::After(0) => self.put_late(words),
            OnRecord::After(others) => self.stalls.let_overtake(others, words),
            OnRecord::Overflow => {
                let filler = event::without_stall(words);
                // One more than fits.
                for _ in 0..=self.event_ring().entries() {
                    let full = self.event_queue_full();
                    self.put_event(filler);
                    if full {
                        break;
                    }
                }
                self.put_late(words);
            }
            OnRecord::Instead(other) => self.put_late(other),
        }
    }

    /// Writes a record that may come at a time when the queue takes none. That of a stall waits.
    fn put_late(&self, words: [u64; 4]) {
        let room = self.events_accepted() && !self.event_queue_full();
        if words[1] & event::STALL == 0 || room {
            self.put_event(words);
        } else {
            self.stalls.keep_late(words);
        }
    }

    /// Writes what waited for room.
    fn put_waiting(&self) {
        while self.events_accepted() && !self.event_queue_full() {
            let Some(words) = self.stalls.take_late() else {
                return;
            };
            self.put_event(words);
        }
    }

    /// A record was written: those that it overtook are one step nearer.
    fn overtake(&self) {
        for words in self.stalls.overtake() {
            self.put_late(words);
        }
    }

    /// Writes `words` as if the SMMU had found a reason to; no verdict is asked for.
    pub(crate) fn inject_event(&self, words: [u64; 4]) {
        self.put_event(words);
    }

    fn put_event(&self, words: [u64; 4]) {
        if !self.events_accepted() {
            return self.drop_event(words);
        }
        let ring = self.event_ring();
        let (prod, cons) = (self.regs.eventq_prod.get(), self.regs.eventq_cons.get());
        if self.event_queue_full() {
            if (prod ^ cons) & mask::QUEUE_OVERFLOW == 0 {
                bump(&self.counts.overflows);
                self.regs.eventq_prod.set(prod ^ mask::QUEUE_OVERFLOW);
            }
            return self.drop_event(words);
        }
        let mut bytes = [0; EVENT_BYTES as usize];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let position = ring.position(prod);
        if self.write_memory(ring.address(position), &bytes).is_err() {
            self.raise_error(gerror::EVENTQ_ABT_ERR);
            return self.drop_event(words);
        }
        let was_empty = ring.is_empty(prod, cons);
        self.regs
            .eventq_prod
            .set(ring.next(position) | prod & mask::QUEUE_OVERFLOW);
        bump(&self.counts.events_written[usize::from(words[0] as u8)]);
        self.note(&Note::EventWritten { words });
        if was_empty && self.regs.irq_ctrl.get() & irq_ctrl::EVENTQ != 0 {
            self.interrupt(
                &self.regs.eventq_msi,
                Line::EventQueue,
                Some(StreamId(Record(words).sid())),
                gerror::MSI_EVENTQ_ABT_ERR,
            );
        }
        self.overtake();
    }

    fn drop_event(&self, words: [u64; 4]) {
        bump(&self.counts.events_dropped);
        self.note(&Note::EventDropped { words });
    }

    /// Whether a stall's record could be written now.
    fn stalls_accepted(&self) -> bool {
        self.events_accepted()
            && !self.event_queue_full()
            && self.stalls.reported() < self.features.stall_max.into()
    }

    /// Whether the stall that has `place`, or none yet, may be reported now: it is its turn, and
    /// its record has room.
    pub(crate) fn may_report(&self, place: Option<&Place<'_>>) -> bool {
        self.stalls.is_first(place.map(|place| &place.held)) && self.stalls_accepted()
    }

    /// Puts a stall at the end of those whose report is held back.
    pub(crate) fn hold(&self, transaction: &Transaction) -> Place<'_> {
        let held = self.stalls.hold(transaction);
        bump(&self.counts.stalls_held);
        self.note(&Note::StallHeld {
            transaction: *transaction,
        });
        Place { smmu: self, held }
    }

    /// Calls the first held stall, if it could be reported now.
    pub(crate) fn let_next_report(&self) {
        self.put_waiting();
        if self.stalls_accepted() {
            self.stalls.call_first();
        }
    }

    /// Reports a stall: gives it a tag and writes its record.
    pub(crate) fn report_stall(&self, fault: &Fault, transaction: &Transaction) -> Rc<Reported> {
        let (stag, stall) = self.stalls.report(transaction, self.features.stall_tags);
        bump(&self.counts.stalls);
        self.note(&Note::Stalled {
            transaction: *transaction,
            stag,
        });
        self.write_event(event::fault(fault, transaction, Some(stag)));
        stall
    }

    /// CMD_RESUME. One that names no stall has no effect.
    pub(crate) fn resume(&self, stream: StreamId, stag: u16, response: Response) {
        let stall = self.stalls.take(stream, stag);
        let matched = stall.is_some();
        bump(match response {
            _ if !matched => &self.counts.resumes_unmatched,
            Response::Retry => &self.counts.resumes_retry,
            Response::Abort | Response::RazWi => &self.counts.resumes_abort,
        });
        self.note(&Note::Resumed {
            stream,
            stag,
            response,
            matched,
        });
        if let Some(stall) = stall {
            stall.end(response);
            // One stall fewer is unanswered.
            self.let_next_report();
        }
    }

    /// CMD_STALL_TERM for one stream, or SMMUEN cleared for all: their stalls end with an abort,
    /// and their tags are free.
    pub(crate) fn terminate_stalls(&self, stream: Option<StreamId>) {
        let ended = self.stalls.terminate(stream);
        let terminated = &self.counts.stalls_terminated;
        terminated.set(terminated.get() + ended);
        self.let_next_report();
    }
}

//! What becomes of a transaction that faults: its record, its stall, software's answer.
//!
//! IHI 0070, *Fault models, recording and reporting*, *Stall model*, *Event queue overflow*.
//!
//! A stalled transaction is in one of two places. **Reported**: it has a tag, its record was
//! written, and it waits for RESUME. **Held**: its record cannot be written now, because the event
//! queue is full, disabled or broken, or because STALL_MAX stalls are unanswered. Held ones wait in
//! order of arrival; when one may report, it translates afresh first, since software may have
//! changed everything in between, and only what that gives is reported.
//!
//! **The event queue's interrupt** is raised when a record is written to an *empty* queue, and only
//! then. Software that reads records and moves CONS until it finds the queue empty loses nothing: a
//! record written before its last write of CONS makes PROD differ from that CONS, which it sees
//! when it looks again; one written after finds the queue empty, and raises the interrupt. Software
//! that leaves records in the queue gets no further interrupt until it has emptied it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use stallbox_timeline::Notify;

use crate::features::StallTags;
use crate::probe::{Note, Response};
use crate::queue::Ring;
use crate::smmu::{Inner, bump};
use crate::spec::event::{self, EVENT_BYTES, Fault, Record};
use crate::spec::regs::{cr0, gerror, irq_ctrl, mask};
use crate::system::Line;
use crate::transaction::{StreamId, Transaction};
use crate::verdict::{OnRecord, Points};

/// A transaction that waits for software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The transaction.
    pub transaction: Transaction,
    /// By what tag software answers it; `None` while its report is held back.
    pub stag: Option<u16>,
}

/// A stall that software was told of.
pub(crate) struct Reported {
    transaction: Transaction,
    answer: Cell<Option<Response>>,
    answered: Notify,
}

impl Reported {
    pub(crate) async fn answer(&self) -> Response {
        loop {
            if let Some(answer) = self.answer.get() {
                return answer;
            }
            self.answered.notified().await;
        }
    }
}

/// What a held stall is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may try again, and then report.
    Come,
    /// It is terminated.
    Terminated,
}

struct Held {
    transaction: Transaction,
    turn: Cell<Option<Turn>>,
    called: Notify,
}

/// All stalls of an SMMU.
#[derive(Default)]
pub(crate) struct Stalls {
    reported: RefCell<BTreeMap<(StreamId, u16), Rc<Reported>>>,
    held: RefCell<VecDeque<Rc<Held>>>,
    /// For each stream, the tag to try next.
    next_stag: RefCell<BTreeMap<StreamId, u16>>,
    /// Records that a verdict let be overtaken: how many are still to pass.
    overtaken: RefCell<Vec<(u32, [u64; 4])>>,
    /// Records of stalls that came late, when the queue took none: they are not lost.
    late: RefCell<VecDeque<[u64; 4]>>,
}

impl Stalls {
    pub(crate) fn outstanding(&self) -> Vec<Stall> {
        let reported = self.reported.borrow();
        let held = self.held.borrow();
        let with_tag = reported.iter().map(|(&(_, stag), stall)| Stall {
            transaction: stall.transaction,
            stag: Some(stag),
        });
        let without = held.iter().map(|stall| Stall {
            transaction: stall.transaction,
            stag: None,
        });
        with_tag.chain(without).collect()
    }

    /// A tag that none of the stream's reported stalls has. In turn, one that software might answer
    /// twice is not soon another's.
    fn take_stag(&self, stream: StreamId, tags: StallTags) -> u16 {
        let reported = self.reported.borrow();
        let mut next_stag = self.next_stag.borrow_mut();
        let next = next_stag.entry(stream).or_insert(0);
        if tags == StallTags::LowestFree {
            *next = 0;
        }
        // STALL_MAX is less than the number of tags, so one is free.
        while reported.contains_key(&(stream, *next)) {
            *next = next.wrapping_add(1);
        }
        let stag = *next;
        *next = next.wrapping_add(1);
        stag
    }
}

/// A place among the held stalls, given up when it is dropped.
pub(crate) struct Place<'a> {
    smmu: &'a Inner,
    held: Rc<Held>,
}

impl Place<'_> {
    pub(crate) async fn turn(&self) -> Turn {
        loop {
            if let Some(turn) = self.held.turn.take() {
                return turn;
            }
            self.held.called.notified().await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.smmu
            .stalls
            .held
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, &self.held));
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
            OnRecord::After(others) => self.stalls.overtaken.borrow_mut().push((others, words)),
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
            self.stalls.late.borrow_mut().push_back(words);
        }
    }

    /// Writes what waited for room.
    fn put_waiting(&self) {
        while self.events_accepted() && !self.event_queue_full() {
            let Some(words) = self.stalls.late.borrow_mut().pop_front() else {
                return;
            };
            self.put_event(words);
        }
    }

    /// A record was written: those that it overtook are one step nearer.
    fn overtake(&self) {
        if self.stalls.overtaken.borrow().is_empty() {
            return;
        }
        let mut due = Vec::new();
        self.stalls
            .overtaken
            .borrow_mut()
            .retain_mut(|(others, words)| {
                *others -= 1;
                if *others == 0 {
                    due.push(*words);
                }
                *others != 0
            });
        for words in due {
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
            && self.stalls.reported.borrow().len() < self.features.stall_max.into()
    }

    /// Whether the stall that has `place`, or none yet, may be reported now: it is its turn, and
    /// its record has room.
    pub(crate) fn may_report(&self, place: Option<&Place<'_>>) -> bool {
        let first = match (self.stalls.held.borrow().front(), place) {
            (None, _) => true,
            (Some(front), Some(place)) => Rc::ptr_eq(front, &place.held),
            (Some(_), None) => false,
        };
        first && self.stalls_accepted()
    }

    /// Puts a stall at the end of those whose report is held back.
    pub(crate) fn hold(&self, transaction: &Transaction) -> Place<'_> {
        let transaction = *transaction;
        let held = Rc::new(Held {
            transaction,
            turn: Cell::new(None),
            called: Notify::new(),
        });
        self.stalls.held.borrow_mut().push_back(held.clone());
        bump(&self.counts.stalls_held);
        self.note(&Note::StallHeld { transaction });
        Place { smmu: self, held }
    }

    /// Calls the first held stall, if it could be reported now.
    pub(crate) fn let_next_report(&self) {
        self.put_waiting();
        if !self.stalls_accepted() {
            return;
        }
        if let Some(first) = self.stalls.held.borrow().front()
            && first.turn.get().is_none()
        {
            first.turn.set(Some(Turn::Come));
            first.called.notify_all();
        }
    }

    /// Reports a stall: gives it a tag and writes its record.
    pub(crate) fn report_stall(&self, fault: &Fault, transaction: &Transaction) -> Rc<Reported> {
        let stag = self
            .stalls
            .take_stag(transaction.stream, self.features.stall_tags);
        let stall = Rc::new(Reported {
            transaction: *transaction,
            answer: Cell::new(None),
            answered: Notify::new(),
        });
        self.stalls
            .reported
            .borrow_mut()
            .insert((transaction.stream, stag), stall.clone());
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
        let stall = self.stalls.reported.borrow_mut().remove(&(stream, stag));
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
            stall.answer.set(Some(response));
            stall.answered.notify_all();
            // One stall fewer is unanswered.
            self.let_next_report();
        }
    }

    /// CMD_STALL_TERM for one stream, or SMMUEN cleared for all: their stalls end with an abort,
    /// and their tags are free.
    pub(crate) fn terminate_stalls(&self, stream: Option<StreamId>) {
        let meant = |transaction: &Transaction| stream.is_none_or(|id| id == transaction.stream);
        let mut doomed = Vec::new();
        self.stalls.reported.borrow_mut().retain(|_, stall| {
            let meant = meant(&stall.transaction);
            if meant {
                doomed.push(stall.clone());
            }
            !meant
        });
        for stall in doomed {
            bump(&self.counts.stalls_terminated);
            stall.answer.set(Some(Response::Abort));
            stall.answered.notify_all();
        }
        // A report that has not come yet tells of nothing any more.
        let names = |words: &[u64; 4]| stream.is_none_or(|id| u64::from(id.0) == words[0] >> 32);
        self.stalls.late.borrow_mut().retain(|words| !names(words));
        self.stalls
            .overtaken
            .borrow_mut()
            .retain(|(_, words)| !names(words));
        for held in self
            .stalls
            .held
            .borrow()
            .iter()
            .filter(|held| meant(&held.transaction))
        {
            bump(&self.counts.stalls_terminated);
            held.turn.set(Some(Turn::Terminated));
            held.called.notify_all();
        }
        self.let_next_report();
    }
}

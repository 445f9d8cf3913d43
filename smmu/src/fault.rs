//! What becomes of a transaction that stalls: its report, and software's answer.
//!
//! IHI 0070, *Fault models, recording and reporting*, *Stall model*.
//!
//! A stall whose report was held back translates afresh when it may report, since software may have
//! changed everything in between, and only what that gives is reported.

use std::rc::Rc;

use crate::counters::bump;
use crate::probe::{Note, Response};
use crate::smmu::Inner;
use crate::spec::event::{self, Fault};
use crate::stalls::{Held, Reported, Turn};
use crate::transaction::{StreamId, Transaction};

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
    /// Whether a stall's record could be written now.
    fn stalls_accepted(&self) -> bool {
        self.event_queue().has_room() && self.stalls.reported() < self.features.stall_max.into()
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

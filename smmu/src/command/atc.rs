//! CMD_ATC_INV, and how the command queue goes on when endpoints are done.
//!
//! IHI 0070, *CMD_ATC_INV*, *CMD_SYNC*.

use std::rc::Rc;

use stallbox_timeline::Span;

use crate::counters::bump;
use crate::messages::{InvalidateCompletion, InvalidateRequest};
use crate::probe::{Note, Step};
use crate::smmu::{Inner, Smmu};
use crate::spec::command::Raw;
use crate::spec::low_mask;
use crate::spec::regs::cr0;
use crate::transaction::{Access, StreamId, SubstreamId, Transaction};

/// What a CMD_ATC_INV asks for; `None` if its Size is a reserved one.
pub(super) fn parse(raw: &Raw) -> Option<InvalidateRequest> {
    let size = raw.atc_size();
    if size > 52 {
        return None;
    }
    let size_log2 = 12 + size;
    Some(InvalidateRequest {
        substream: raw.ssv().then(|| SubstreamId(raw.ssid())),
        address: raw.atc_address() & !low_mask(size_log2),
        size_log2: size_log2 as u8,
        global: raw.ssv() && raw.atc_global(),
    })
}

impl Smmu {
    fn atc_invalidated(&self, id: u64, stream: StreamId, request: InvalidateRequest) {
        let inner = &self.0;
        let outstanding = inner.atc_invalidations.complete(id);
        let late = outstanding.is_none();
        if let Some(timeout) = outstanding.and_then(|outstanding| outstanding.timeout) {
            inner.timeline.cancel(timeout);
        }
        inner.note(&Note::AtcInvalidateDone {
            stream,
            request,
            late,
        });
        if inner.atc_invalidations.let_commands_go() {
            self.run_commands();
        }
    }

    fn atc_timed_out(&self, id: u64, stream: StreamId, request: InvalidateRequest) {
        let inner = &self.0;
        if !inner.atc_invalidations.give_up(id) {
            return;
        }
        bump(&inner.counts.atc_timeouts);
        inner.note(&Note::AtcTimedOut { stream, request });
        if inner.atc_invalidations.let_commands_go() {
            self.run_commands();
        }
    }
}

impl Inner {
    pub(super) fn invalidate_atc(&self, stream: StreamId, request: InvalidateRequest) {
        // *CMD_ATC_INV* is ignored while the SMMU is disabled.
        if !self.regs.enabled(cr0::SMMUEN) {
            return;
        }
        bump(&self.counts.atc_invalidations);
        self.note(&Note::AtcInvalidateSent { stream, request });
        let Some(endpoints) = self.endpoints.borrow().clone() else {
            return;
        };
        let id = self.atc_invalidations.take_id();
        let timeout = match self.probe.spend(Step::AtcTimeout, None) {
            Span::ZERO => None,
            span => {
                let smmu = Smmu(self.owned());
                let give_up = move || smmu.atc_timed_out(id, stream, request);
                Some(self.timeline.after(span, give_up))
            }
        };
        self.atc_invalidations.begin(id, stream, timeout);
        let smmu = Rc::downgrade(&self.owned());
        let completion = InvalidateCompletion::new(move || {
            if let Some(inner) = smmu.upgrade() {
                Smmu(inner).atc_invalidated(id, stream, request);
            }
        });
        let named = Transaction {
            stream,
            substream: request.substream,
            address: request.address,
            access: Access::READ,
        };
        match self.probe.spend(Step::AtcInvalidate, Some(&named)) {
            Span::ZERO => endpoints.invalidate(stream, request, completion),
            span => {
                self.timeline.after(span, move || {
                    endpoints.invalidate(stream, request, completion);
                });
            }
        }
    }
}

//! Page requests: the queue that they go into, what is answered when they do not, and software's
//! answers.
//!
//! IHI 0070, *Page Request Interface*, *PRI queue overflow*, *CMD_PRI_RESP*; PCI Express Base
//! Specification, *Page Request Services*.
//!
//! A request enters the queue, or the SMMU answers it in software's place so that the endpoint gets
//! its credits back. While an overflow is not acknowledged nothing enters, even if there is room:
//! software has to know that groups may be incomplete. An endpoint's messages keep their order.
//!
//! **The interrupt** is raised when a request enters an empty queue, like the event queue's; with
//! PRIQ_IRQ_CFG2.LO, when the last request of a group enters or is lost.

use stallbox_timeline::Span;

use crate::counters::bump;
use crate::messages::{PageRequest, PageResponse, PageResponseCode};
use crate::probe::{Note, Step};
use crate::smmu::{Inner, Smmu};
use crate::spec::pri::entry;
use crate::spec::regs::{cr0, mask};
use crate::system::ExternalAbort;
use crate::transaction::{Access, StreamId, SubstreamId, Transaction};
use crate::verdict::{OnPageRequest, Points, Verdict};

impl Smmu {
    /// A Page Request Message arrives. What becomes of it is told by a [`PageResponse`], later, to
    /// [`Endpoints`](crate::Endpoints).
    ///
    /// Without PRI nobody hears it, and it is answered with Failure.
    pub fn page_request(&self, request: PageRequest) {
        let inner = &self.0;
        bump(&inner.counts.page_requests);
        let verdict = if inner.watches(Points::PAGE_REQUEST) {
            inner.probe.on_page_request(&request)
        } else {
            Verdict::default()
        };
        if let Some(gate) = verdict.wait {
            let smmu = self.clone();
            inner.timeline.spawn(async move {
                gate.passed().await;
                smmu.send_page_request(request, verdict.act);
            });
        } else {
            self.send_page_request(request, verdict.act);
        }
    }

    /// Lets the request take its time on the way to the queue.
    fn send_page_request(&self, request: PageRequest, act: OnPageRequest) {
        let inner = &self.0;
        let asked = request.transaction();
        let span = inner.probe.spend(Step::PageRequest, Some(&asked));
        let now = inner.timeline.now();
        let due = (now + span).max(inner.page_requests_until.get());
        if due <= now {
            inner.take_page_request(&request, act);
            return;
        }
        inner.page_requests_until.set(due);
        let smmu = self.clone();
        inner
            .timeline
            .at(due, move || smmu.0.take_page_request(&request, act));
    }
}

impl Inner {
    /// *PRI queue*: into the queue with it, or an answer.
    fn take_page_request(&self, request: &PageRequest, act: OnPageRequest) {
        match act {
            OnPageRequest::Go => {}
            OnPageRequest::Overflow => self.fill_page_requests(request),
            OnPageRequest::Lose => return self.lose_page_request(request, false),
            OnPageRequest::Answer(code) => {
                self.lose_page_request(request, false);
                return self.respond_automatically(request, request.substream, code);
            }
        }
        let queue = self.page_request_queue();
        if !queue.is_open() {
            return self.refuse_page_request(request);
        }
        if queue.has_overflowed() || queue.is_full() {
            if queue.overflow() {
                bump(&self.counts.pri_overflows);
            }
            self.lose_page_request(request, true);
            if self.interrupts_on_last() && request.last {
                queue.interrupt(request.stream);
            }
            return self.answer_overflow(request);
        }
        if self.put_page_request(request).is_err() {
            self.refuse_page_request(request);
        }
    }

    /// Makes the queue full for a request that is to overflow. An empty queue cannot overflow: nobody
    /// would be told, and nothing would enter any more.
    fn fill_page_requests(&self, request: &PageRequest) {
        // Nobody answers those, and the last of their group is the one that is lost.
        let filler = PageRequest {
            last: request.is_stop_marker(),
            ..*request
        };
        let queue = self.page_request_queue();
        while queue.has_room() && !queue.has_overflowed() {
            // One that aborts closes the queue.
            let _ = self.put_page_request(&filler);
        }
    }

    /// Writes an entry into a queue that has room for it.
    fn put_page_request(&self, request: &PageRequest) -> Result<(), ExternalAbort> {
        let queue = self.page_request_queue();
        let words = entry(request);
        let was_empty = queue.push(words)?;
        self.note(&Note::PageRequestQueued {
            request: *request,
            words,
        });
        let due = if self.interrupts_on_last() {
            request.last
        } else {
            was_empty
        };
        if due {
            queue.interrupt(request.stream);
        }
        Ok(())
    }

    fn interrupts_on_last(&self) -> bool {
        self.regs.priq_msi.attributes.get() & mask::IRQ_CFG2_LO != 0
    }

    fn lose_page_request(&self, request: &PageRequest, overflow: bool) {
        bump(&self.counts.page_requests_dropped);
        self.note(&Note::PageRequestDropped {
            request: *request,
            overflow,
        });
    }

    /// The queue is disabled or broken: nobody will ever answer, so every request is.
    fn refuse_page_request(&self, request: &PageRequest) {
        self.lose_page_request(request, false);
        if !request.is_stop_marker() {
            self.respond_automatically(request, None, PageResponseCode::Failure);
        }
    }

    /// The queue overflowed: the endpoint is told that its group succeeded, so that it tries again.
    fn answer_overflow(&self, request: &PageRequest) {
        if request.is_stop_marker() || !request.last {
            return;
        }
        if self.features.pps || request.substream.is_none() {
            self.respond_automatically(request, request.substream, PageResponseCode::Success);
            return;
        }
        // STE.PPAR decides, and reading it may take time.
        let (smmu, request) = (Smmu(self.owned()), *request);
        self.timeline.spawn(async move {
            let inner = &*smmu.0;
            match inner.pasid_on_response(&request).await {
                Some(true) => inner.respond_automatically(
                    &request,
                    request.substream,
                    PageResponseCode::Success,
                ),
                Some(false) => {
                    inner.respond_automatically(&request, None, PageResponseCode::Success);
                }
                None => inner.respond_automatically(&request, None, PageResponseCode::Failure),
            }
        });
    }

    fn respond_automatically(
        &self,
        request: &PageRequest,
        substream: Option<SubstreamId>,
        code: PageResponseCode,
    ) {
        bump(&self.counts.page_responses_automatic);
        let response = PageResponse {
            substream,
            index: request.index & 0x1ff,
            code,
        };
        self.respond(request.stream, response, true);
    }

    /// CMD_PRI_RESP.
    pub(crate) fn answer_page_request(&self, stream: StreamId, response: PageResponse) {
        // *CMD_PRI_RESP* is ignored while the SMMU is disabled.
        if self.regs.enabled(cr0::SMMUEN) {
            self.respond(stream, response, false);
        }
    }

    fn respond(&self, stream: StreamId, response: PageResponse, automatic: bool) {
        bump(&self.counts.page_responses);
        self.note(&Note::PageResponded {
            stream,
            response,
            automatic,
        });
        let Some(endpoints) = self.endpoints.borrow().clone() else {
            return;
        };
        // Never from inside the request that it answers, however fast.
        let answered = Transaction {
            stream,
            substream: response.substream,
            address: 0,
            access: Access::READ,
        };
        let span = self.probe.spend(Step::PageResponse, Some(&answered));
        if span == Span::ZERO {
            self.timeline
                .spawn(async move { endpoints.page_response(stream, response) });
        } else {
            self.timeline
                .after(span, move || endpoints.page_response(stream, response));
        }
    }
}

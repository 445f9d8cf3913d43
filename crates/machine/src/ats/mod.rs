//! The root complex's part in ATS and PRI: what the SMMU sends to functions, by StreamID, the
//! translation of one crate's messages into the other's, and what of it goes into the trace.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use stallbox_devices::atc::{self, AtcNote, AtcStep};
use stallbox_devices::dma::{self, AtsFunction, Pasid, TranslatedRange, TranslationAnswer};
use stallbox_devices::pcie::RequesterId;
use stallbox_devices::verdict::DeviceVerdict;
use stallbox_smmu as smmu;
use stallbox_smmu::{
    AtsCompletion, Endpoints, InvalidateCompletion, StreamId, SubstreamId, TranslationRequest,
};
use stallbox_timeline::Span;
use stallbox_trace::{AtcInvalidateStage, AtsAnswer, Event, Hex, Name, Tracer};

use crate::faults::Faults;
use crate::latency::{Latency, Part};

/// Functions that keep translations, by StreamID.
#[derive(Default)]
pub(super) struct Functions(RefCell<BTreeMap<StreamId, Weak<dyn AtsFunction>>>);

impl Functions {
    pub(super) fn connect(&self, stream: StreamId, function: Weak<dyn AtsFunction>) {
        self.0.borrow_mut().insert(stream, function);
    }

    fn find(&self, stream: StreamId) -> Option<Rc<dyn AtsFunction>> {
        self.0.borrow().get(&stream)?.upgrade()
    }
}

impl Endpoints for Functions {
    fn invalidate(
        &self,
        stream: StreamId,
        request: smmu::InvalidateRequest,
        completion: InvalidateCompletion,
    ) {
        let Some(function) = self.find(stream) else {
            // Unsupported Request, which counts as done.
            return completion.done();
        };
        let request = dma::InvalidateRequest {
            pasid: request.substream.map(pasid),
            address: request.address,
            size_log2: request.size_log2,
            global: request.global,
        };
        function.invalidate(request, Box::new(move || completion.done()));
    }

    fn page_response(&self, stream: StreamId, response: smmu::PageResponse) {
        if let Some(function) = self.find(stream) {
            function.page_response(dma::PageResponse {
                pasid: response.substream.map(pasid),
                index: response.index,
                code: match response.code {
                    smmu::PageResponseCode::Success => dma::PageResponseCode::Success,
                    smmu::PageResponseCode::InvalidRequest => dma::PageResponseCode::InvalidRequest,
                    smmu::PageResponseCode::Failure => dma::PageResponseCode::Failure,
                },
            });
        }
    }
}

fn pasid(substream: SubstreamId) -> Pasid {
    Pasid(substream.0)
}

pub(super) fn answer(completion: smmu::AtsCompletion) -> TranslationAnswer {
    match completion {
        smmu::AtsCompletion::Success(range) => TranslationAnswer::Translated(TranslatedRange {
            address: range.address,
            size_log2: range.size_log2,
            read: range.read,
            write: range.write,
            execute: range.execute,
            untranslated_only: range.untranslated_only,
        }),
        smmu::AtsCompletion::UnsupportedRequest => TranslationAnswer::Unsupported,
        smmu::AtsCompletion::CompleterAbort => TranslationAnswer::Aborted,
    }
}

pub(super) fn page_request(stream: StreamId, request: dma::PageRequest) -> smmu::PageRequest {
    smmu::PageRequest {
        stream,
        substream: request.pasid.map(|pasid| SubstreamId(pasid.0)),
        address: request.address,
        read: request.read,
        write: request.write,
        execute: request.execute,
        privileged: request.privileged,
        last: request.last,
        index: request.index,
    }
}

pub(super) fn translation_event(request: &TranslationRequest, completion: &AtsCompletion) -> Event {
    let (answer, range) = match completion {
        AtsCompletion::Success(range) => (AtsAnswer::Success, Some(range)),
        AtsCompletion::UnsupportedRequest => (AtsAnswer::UnsupportedRequest, None),
        AtsCompletion::CompleterAbort => (AtsAnswer::CompleterAbort, None),
    };
    Event::AtsTranslation {
        stream: request.stream.0,
        substream: request.substream.map(|substream| substream.0),
        address: Hex(request.address),
        write: request.write,
        answer,
        readable: range.is_some_and(|range| range.read),
        writable: range.is_some_and(|range| range.write),
        size_log2: range.map_or(0, |range| range.size_log2),
    }
}

pub(super) fn response_event(
    stream: StreamId,
    response: &smmu::PageResponse,
    automatic: bool,
) -> Event {
    Event::PageResponse {
        stream: stream.0,
        substream: response.substream.map(|substream| substream.0),
        index: response.index,
        code: Name(response.code),
        automatic,
    }
}

pub(super) fn invalidation_event(
    stream: StreamId,
    request: &smmu::InvalidateRequest,
    stage: AtcInvalidateStage,
) -> Event {
    Event::AtcInvalidate {
        stream: stream.0,
        substream: request.substream.map(|substream| substream.0),
        address: Hex(request.address),
        size_log2: request.size_log2,
        global: request.global,
        stage,
    }
}

/// Attaches latencies and the trace to a device's translation cache.
pub struct AtcProbe {
    stream: u32,
    latency: Rc<Latency>,
    tracer: Tracer,
    faults: Option<Rc<Faults>>,
}

impl AtcProbe {
    /// For the function at `requester`.
    pub fn new(requester: RequesterId, latency: Rc<Latency>, tracer: Tracer) -> AtcProbe {
        AtcProbe {
            stream: requester.0.into(),
            latency,
            tracer,
            faults: None,
        }
    }

    /// The same, under a fault plan.
    pub fn under(self, faults: &Rc<Faults>) -> AtcProbe {
        AtcProbe {
            faults: Some(faults.clone()),
            ..self
        }
    }
}

impl atc::AtcProbe for AtcProbe {
    fn on_completion(&self, request: &dma::InvalidateRequest) -> DeviceVerdict {
        let Some(faults) = &self.faults else {
            return DeviceVerdict::default();
        };
        let request = smmu::InvalidateRequest {
            substream: request.pasid.map(|pasid| SubstreamId(pasid.0)),
            address: request.address,
            size_log2: request.size_log2,
            global: request.global,
        };
        faults.on_atc_completion(self.stream, &request)
    }

    fn spend(&self, step: AtcStep) -> Span {
        match step {
            AtcStep::Hit => self.latency.draw(Part::AtcHit),
            // Part of what atc_invalidate is.
            AtcStep::Invalidate => Span::ZERO,
        }
    }

    fn note(&self, note: &AtcNote) {
        self.tracer.emit(match *note {
            AtcNote::Miss {
                pasid,
                address,
                write,
            } => Event::AtcMiss {
                stream: self.stream,
                pasid: pasid.map(|pasid| pasid.0),
                address: Hex(address),
                write,
            },
            AtcNote::Faulted {
                pasid,
                address,
                write,
                groups,
                latency,
                aborted,
            } => Event::DeviceFault {
                stream: self.stream,
                pasid: pasid.map(|pasid| pasid.0),
                address: Hex(address),
                write,
                stalls: 0,
                page_request_groups: groups,
                latency_ns: latency.as_ns(),
                aborted,
            },
            // The SMMU tells of the same messages when it gets or sends them.
            AtcNote::PageRequested { .. } | AtcNote::PageResponded { .. } => return,
            AtcNote::UnexpectedResponse { index } => Event::PageResponseUnexpected {
                stream: self.stream,
                index,
            },
            AtcNote::Invalidated {
                request,
                entries,
                in_use,
            } => Event::AtcInvalidated {
                stream: self.stream,
                pasid: request.pasid.map(|pasid| pasid.0),
                address: Hex(request.address),
                size_log2: request.size_log2,
                global: request.global,
                entries: entries as u64,
                in_use: in_use as u64,
            },
            AtcNote::InvalidateLost { request } => Event::AtcCompletionLost {
                stream: self.stream,
                pasid: request.pasid.map(|pasid| pasid.0),
                address: Hex(request.address),
                size_log2: request.size_log2,
                global: request.global,
            },
        });
    }
}

//! Address translation in the device: the translation cache in front of the port, what it counts
//! for each address space, and prefill.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use stallbox_timeline::{Span, Timeline};

use super::spec::{GROUP_PAGES, PAGE_REQUESTS_MAX};
use crate::atc::{Atc, AtcConfig, AtcNote, AtcProbe, AtcStep, Prefill};
use crate::dma::{DmaAttrs, DmaPort, InvalidateRequest, Pasid};
use crate::pcie::ats::Ats;
use crate::pcie::pri::{Pri, PriState};
use crate::verdict::DeviceVerdict;

/// The translation cache of a function that asks for pages itself.
pub(super) struct Translator {
    pub(super) atc: Rc<Atc>,
    pri: PriState,
    counts: Rc<Counts>,
    prefill: bool,
}

/// Counts page requests by address space, and passes all on.
struct Counts {
    page_requests: RefCell<BTreeMap<Pasid, u64>>,
    next: Rc<dyn AtcProbe>,
}

impl AtcProbe for Counts {
    fn spend(&self, step: AtcStep) -> Span {
        self.next.spend(step)
    }

    fn note(&self, note: &AtcNote) {
        if let AtcNote::PageRequested { request } = note
            && let Some(pasid) = request.pasid
            // A Stop Marker asks for nothing.
            && (request.read || request.write)
        {
            *self.page_requests.borrow_mut().entry(pasid).or_default() += 1;
        }
        self.next.note(note);
    }

    fn on_completion(&self, request: &InvalidateRequest) -> DeviceVerdict {
        self.next.on_completion(request)
    }
}

impl Translator {
    /// With the capabilities that software will find.
    pub(super) fn new(
        timeline: &Timeline,
        dma: Rc<dyn DmaPort>,
        prefill: bool,
        probe: Rc<dyn AtcProbe>,
    ) -> (Translator, Ats, Pri) {
        let (ats, pri) = (Ats::new(), Pri::new(PAGE_REQUESTS_MAX, true));
        let pri_state = pri.state();
        let counts = Rc::new(Counts {
            page_requests: RefCell::default(),
            next: probe,
        });
        let atc = Atc::new(
            timeline.clone(),
            dma,
            ats.state(),
            Some(pri_state.clone()),
            AtcConfig {
                group_pages: GROUP_PAGES,
                ..AtcConfig::default()
            },
            counts.clone(),
        );
        let translator = Translator {
            atc,
            pri: pri_state,
            counts,
            prefill,
        };
        (translator, ats, pri)
    }

    /// Software has enabled page requests, and not shut them down since.
    pub(super) fn may_request(&self) -> bool {
        self.pri.may_request()
    }

    /// Page requests of an address space since power-on.
    pub(super) fn page_requests(&self, pasid: Option<Pasid>) -> u64 {
        let counts = self.counts.page_requests.borrow();
        pasid
            .and_then(|pasid| counts.get(&pasid).copied())
            .unwrap_or(0)
    }

    /// No queue uses `pasid` any more: what waits for its pages is given up, and a Stop Marker says
    /// so.
    pub(super) fn stop(&self, pasid: Pasid) {
        self.atc.stop_pasid(pasid);
    }

    /// Asks for the translations of a range, if the device is to do so.
    pub(super) async fn prefill(
        &self,
        attrs: DmaAttrs,
        address: u64,
        bytes: u64,
        write: bool,
    ) -> Prefill {
        if !self.prefill {
            return Prefill::default();
        }
        self.atc.prefill(attrs, address, bytes, write).await
    }
}

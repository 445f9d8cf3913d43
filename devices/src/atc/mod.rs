//! A function's address translation cache (ATC) and page request interface.
//!
//! PCI Express Base Specification, *Address Translation Services*, *Page Request Services*.
//!
//! An [`Atc`] is a [`DmaPort`]: a device that does its accesses through it uses translated
//! transactions once software has enabled ATS, and plain ones before. An access asks for a
//! translation where the cache has none; where the translation does not permit the access it asks
//! for the page, if software has enabled page requests, waits for the answer and asks again.
//!
//! A translation is used only while it is valid: an invalidation takes effect on the cache at once,
//! voids what is being asked for at the time, and is completed when the transactions that use what
//! it named are done. An access never holds a translation while it waits for a page, so software
//! may invalidate while it handles page requests.

mod access;
mod cache;
mod groups;
mod probe;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use stallbox_timeline::{Notify, Timeline};

use crate::dma::{
    AtsFunction, DmaAbort, DmaAttrs, DmaPort, InvalidateRequest, PageRequest, PageResponse, Pasid,
    TranslationAnswer,
};
use crate::pcie::ats::AtsState;
use crate::pcie::pri::PriState;
use crate::verdict::DeviceAct;
use cache::{Cache, low_mask};
use groups::Groups;

pub use cache::AtcEntry;
pub use probe::{AtcNote, AtcProbe, AtcStep, NoAtcProbe};

/// What an implementer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtcConfig {
    /// Translations that are kept, at least 1.
    pub entries: usize,
    /// Pages of one access that are asked for in one page request group, 1 to 512. With more than
    /// one, an access that faults asks for the pages that follow too, as far as it will need them.
    pub group_pages: u32,
    /// Translation requests of a [prefill](Atc::prefill) that are under way at a time, at least 1.
    pub prefill_depth: usize,
}

impl Default for AtcConfig {
    fn default() -> AtcConfig {
        AtcConfig {
            entries: 1024,
            group_pages: 1,
            prefill_depth: 8,
        }
    }
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtcCounters {
    /// Pieces of accesses that the cache had a translation for.
    pub hits: u64,
    /// Translation requests sent.
    pub translation_requests: u64,
    /// Page requests sent, stop markers apart.
    pub page_requests: u64,
    /// Page request groups sent.
    pub page_request_groups: u64,
    /// Groups that were answered with anything but Success.
    pub page_requests_failed: u64,
    /// Stop markers sent.
    pub stop_markers: u64,
    /// Invalidations obeyed.
    pub invalidations: u64,
}

/// What a prefill came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefill {
    /// Pages (of the smallest translation unit) that the cache had nothing for.
    pub requested: u64,
    /// Of those, the ones that are present and permit the access: they are in the cache now.
    pub present: u64,
}

/// A function's translation cache.
pub struct Atc {
    me: Weak<Atc>,
    timeline: Timeline,
    dma: Rc<dyn DmaPort>,
    probe: Rc<dyn AtcProbe>,
    config: AtcConfig,
    ats: AtsState,
    groups: Option<Groups>,
    cache: RefCell<Cache>,
    /// What [`AtsState::epoch`] was when the cache was right.
    epoch: Cell<u64>,
    /// Translation requests under way, and whether what they give is void already.
    asking: RefCell<BTreeMap<u64, Asked>>,
    /// Translated transactions under way.
    using: RefCell<BTreeMap<u64, Used>>,
    released: Notify,
    next_id: Cell<u64>,
    counters: Cell<AtcCounters>,
}

#[derive(Clone, Copy)]
struct Asked {
    pasid: Option<Pasid>,
    /// From the first to the last address that was invalidated since, whatever is between: the
    /// answer may be for a larger range than was asked for.
    void: Option<(u64, u64)>,
}

impl Asked {
    fn invalidate(&mut self, first: u64, last: u64) {
        let (from, to) = self.void.unwrap_or((first, last));
        self.void = Some((from.min(first), to.max(last)));
    }
}

/// The range of the translation, of which the transaction may use less.
#[derive(Clone, Copy)]
struct Used {
    pasid: Option<Pasid>,
    first: u64,
    last: u64,
}

/// A translation request under way.
struct Asking<'a> {
    atc: &'a Atc,
    id: u64,
}

impl Asking<'_> {
    /// Whether something from `first` to `last` was invalidated meanwhile.
    fn is_void(&self, first: u64, last: u64) -> bool {
        let asking = self.atc.asking.borrow();
        let void = asking.get(&self.id).and_then(|asked| asked.void);
        void.is_some_and(|(from, to)| from <= last && to >= first)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.atc.asking.borrow_mut().remove(&self.id);
    }
}

/// What the cache or a translation request says about an address.
enum Found {
    Entry(AtcEntry),
    UntranslatedOnly(u8),
    NotPermitted,
}

impl Atc {
    /// A cache for the function that `dma` is the port of, obeying the function's capabilities.
    ///
    /// # Panics
    /// If a number of `config` is out of its range.
    pub fn new(
        timeline: Timeline,
        dma: Rc<dyn DmaPort>,
        ats: AtsState,
        pri: Option<PriState>,
        config: AtcConfig,
        probe: Rc<dyn AtcProbe>,
    ) -> Rc<Atc> {
        assert!(config.entries > 0, "a cache has an entry");
        assert!(
            (1..=512).contains(&config.group_pages),
            "{} pages in a group",
            config.group_pages
        );
        assert!(config.prefill_depth > 0, "a prefill asks for something");
        let atc = Rc::new_cyclic(|me| Atc {
            me: me.clone(),
            timeline,
            dma,
            probe,
            config,
            epoch: Cell::new(ats.epoch()),
            ats,
            groups: pri.map(Groups::new),
            cache: RefCell::new(Cache::new(config.entries)),
            asking: RefCell::default(),
            using: RefCell::default(),
            released: Notify::new(),
            next_id: Cell::new(0),
            counters: Cell::default(),
        });
        if let Some(port) = atc.dma.ats() {
            let function: Weak<Atc> = Rc::downgrade(&atc);
            port.connect(function);
        }
        atc
    }

    /// What has happened so far.
    pub fn counters(&self) -> AtcCounters {
        self.counters.get()
    }

    /// What is cached, by address space and address.
    pub fn entries(&self) -> Vec<AtcEntry> {
        self.refresh();
        self.cache.borrow().entries()
    }

    /// Page requests that have not been answered.
    pub fn page_requests_outstanding(&self) -> u32 {
        let groups = self.groups.as_ref();
        groups.map_or(0, |groups| groups.state.outstanding())
    }

    /// Asks for the translations of `bytes` from `address` on, ahead of use and without asking for
    /// pages that are not there: as many as the cache can keep. Without ATS it does nothing.
    pub async fn prefill(&self, attrs: DmaAttrs, address: u64, bytes: u64, write: bool) -> Prefill {
        let unit = 1_u64 << self.ats.unit_log2();
        let mut at = address & !(unit - 1);
        let Some(last) = address.checked_add(bytes.max(1) - 1).filter(|_| bytes > 0) else {
            return Prefill::default();
        };
        let sum = Rc::new(Cell::new(Prefill::default()));
        let running = Rc::new(Cell::new(0_usize));
        let ended = Notify::new();
        let mut asked_for = 0;
        while at <= last && asked_for < self.config.entries && self.ats.enabled() {
            let next = match self.cached(attrs, at, write) {
                Some(entry) => entry.last().checked_add(1),
                None => {
                    while running.get() >= self.config.prefill_depth {
                        ended.notified().await;
                    }
                    let Some(atc) = self.me.upgrade() else { break };
                    let (sum, running, ended) = (sum.clone(), running.clone(), ended.clone());
                    running.set(running.get() + 1);
                    asked_for += 1;
                    self.timeline.spawn(async move {
                        let found = atc.ask(attrs, at, write).await;
                        let present = matches!(found, Ok(Found::Entry(_)));
                        let so_far = sum.get();
                        sum.set(Prefill {
                            requested: so_far.requested + 1,
                            present: so_far.present + u64::from(present),
                        });
                        running.set(running.get() - 1);
                        ended.notify_all();
                    });
                    at.checked_add(unit)
                }
            };
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        while running.get() > 0 {
            ended.notified().await;
        }
        sum.get()
    }

    /// The function stops using `pasid` and does not wait for page requests: accesses that wait for
    /// pages are aborted, and a Stop Marker follows the requests. Late answers are expected.
    pub fn stop_pasid(&self, pasid: Pasid) {
        let (Some(groups), Some(port)) = (&self.groups, self.dma.ats()) else {
            return;
        };
        groups.stop(pasid);
        if groups.state.may_request() {
            self.count(|counters| counters.stop_markers += 1);
            let request = PageRequest {
                pasid: Some(pasid),
                address: 0,
                read: false,
                write: false,
                execute: false,
                privileged: false,
                last: true,
                index: 0,
            };
            self.probe.note(&AtcNote::PageRequested { request });
            port.page_request(request);
        }
    }

    /// The other way to stop using a PASID: done when no page request of it is outstanding. The
    /// function has to see to it that no access of it begins meanwhile.
    pub async fn drain_pasid(&self, pasid: Pasid) {
        let Some(groups) = &self.groups else { return };
        while groups.outstanding_of(pasid) > 0 {
            groups.state.changed().notified().await;
        }
    }

    fn count(&self, change: impl FnOnce(&mut AtcCounters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// Notices that software switched ATS on or off, or reset the function.
    fn refresh(&self) {
        if self.epoch.replace(self.ats.epoch()) != self.ats.epoch() {
            self.cache.borrow_mut().clear();
            for asked in self.asking.borrow_mut().values_mut() {
                asked.invalidate(0, u64::MAX);
            }
        }
    }

    fn new_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    /// The cached translation that permits the access.
    fn cached(&self, attrs: DmaAttrs, address: u64, write: bool) -> Option<AtcEntry> {
        self.refresh();
        let cache = self.cache.borrow();
        let entry = cache.lookup(attrs, address)?;
        entry.permits(attrs, write).then_some(*entry)
    }

    /// One translation request, the answer to which is kept if it permits the access. Repeated if
    /// it was invalidated before it came.
    async fn ask(&self, attrs: DmaAttrs, address: u64, write: bool) -> Result<Found, DmaAbort> {
        let aborted = DmaAbort { address };
        let port = self.dma.ats().ok_or(aborted)?;
        loop {
            self.refresh();
            if !self.ats.enabled() {
                return Err(aborted);
            }
            let unit_log2 = self.ats.unit_log2();
            let unit = low_mask(unit_log2);
            let (first, last) = (address & !unit, address | unit);
            let id = self.new_id();
            let asked = Asked {
                pasid: attrs.pasid,
                void: None,
            };
            self.asking.borrow_mut().insert(id, asked);
            let asking = Asking { atc: self, id };
            self.count(|counters| counters.translation_requests += 1);
            self.probe.note(&AtcNote::Miss {
                pasid: attrs.pasid,
                address,
                write,
            });
            let answer = port.translate(attrs, first, write).await;
            self.refresh();
            if asking.is_void(first, last) {
                continue;
            }
            let range = match answer {
                TranslationAnswer::Translated(range) => range,
                TranslationAnswer::Unsupported | TranslationAnswer::Aborted => return Err(aborted),
            };
            let entry = AtcEntry::new(attrs, first, &range);
            if asking.is_void(entry.first, entry.last()) {
                continue;
            }
            if !entry.permits(attrs, write) {
                return Ok(Found::NotPermitted);
            }
            if range.size_log2 < unit_log2 {
                // Software set a unit that its page tables cannot keep.
                log::debug!("atc: a translation of {first:#x} is smaller than the unit");
                return Err(aborted);
            }
            if range.untranslated_only {
                return Ok(Found::UntranslatedOnly(range.size_log2));
            }
            self.cache.borrow_mut().insert(attrs, entry);
            return Ok(Found::Entry(entry));
        }
    }

    /// Completes an invalidation once nothing uses what it named.
    async fn complete(&self, request: InvalidateRequest, done: Box<dyn FnOnce()>) {
        self.timeline
            .sleep(self.probe.spend(AtcStep::Invalidate))
            .await;
        while self.in_use(&request) > 0 {
            self.released.notified().await;
        }
        let verdict = self.probe.on_completion(&request);
        if let Some(gate) = verdict.wait {
            gate.passed().await;
        }
        match verdict.act {
            DeviceAct::Drop => self.probe.note(&AtcNote::InvalidateLost { request }),
            _ => done(),
        }
    }

    fn in_use(&self, request: &InvalidateRequest) -> usize {
        let using = self.using.borrow();
        using
            .values()
            .filter(|used| request.concerns(used.pasid, used.first, used.last))
            .count()
    }
}

impl AtsFunction for Atc {
    fn invalidate(&self, request: InvalidateRequest, done: Box<dyn FnOnce()>) {
        self.refresh();
        self.count(|counters| counters.invalidations += 1);
        let entries = self.cache.borrow_mut().invalidate(&request);
        for asked in self.asking.borrow_mut().values_mut() {
            if request.concerns(asked.pasid, request.address, request.last()) {
                asked.invalidate(request.address, request.last());
            }
        }
        self.probe.note(&AtcNote::Invalidated {
            request,
            entries,
            in_use: self.in_use(&request),
        });
        // The function lives as long as its machine; without it nothing uses a translation.
        let Some(atc) = self.me.upgrade() else {
            done();
            return;
        };
        self.timeline
            .spawn(async move { atc.complete(request, done).await });
    }

    fn page_response(&self, response: PageResponse) {
        let answered = self
            .groups
            .as_ref()
            .and_then(|groups| groups.answer(&response));
        let Some(answered) = answered else {
            self.probe.note(&AtcNote::UnexpectedResponse {
                index: response.index,
            });
            return;
        };
        if response.code != crate::dma::PageResponseCode::Success {
            self.count(|counters| counters.page_requests_failed += 1);
        }
        self.probe.note(&AtcNote::PageResponded {
            pasid: answered.pasid,
            index: response.index,
            code: response.code,
            latency: self.timeline.now().since(answered.sent),
        });
    }
}

//! The cache against a root complex that does as the test says.

mod anything;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};

use stallbox_timeline::{Gate, Span, Time, Timeline};

use super::*;
use crate::dma::{AtsPort, DmaFuture, Op, PageResponseCode, TranslatedRange, TranslationFuture};
use crate::pcie::ats::Ats;
use crate::pcie::capability::Capability;
use crate::pcie::pri::Pri;
use crate::verdict::DeviceVerdict;

const PROCESS: DmaAttrs = DmaAttrs::of(Pasid(5));

/// A root complex: pages by PASID and address, memory by bytes, and what it was sent.
struct Root {
    timeline: Timeline,
    pages: RefCell<BTreeMap<(Option<Pasid>, u64), TranslatedRange>>,
    memory: RefCell<BTreeMap<u64, u8>>,
    /// How long a translation, and then a translated transaction, takes.
    translation: Cell<Span>,
    transaction: Cell<Span>,
    asked: RefCell<Vec<(Option<Pasid>, u64, bool)>>,
    requests: RefCell<Vec<PageRequest>>,
    untranslated: RefCell<Vec<u64>>,
    /// Frames that no translation leads to, since an invalidation completed.
    forgotten: RefCell<BTreeSet<u64>>,
    function: RefCell<Option<Weak<dyn AtsFunction>>>,
}

impl Root {
    /// A translated transaction is done at `address`.
    fn use_translation(&self, address: u64) {
        let forgotten = self.forgotten.borrow();
        assert!(
            !forgotten.contains(&(address >> 12)),
            "{address:#x} was invalidated, and that completed"
        );
    }

    fn copy(&self, address: u64, buffer: &mut [u8]) {
        let memory = self.memory.borrow();
        for (byte, at) in buffer.iter_mut().zip(address..) {
            *byte = memory.get(&at).copied().unwrap_or(0);
        }
    }
}

impl DmaPort for Root {
    fn access<'a>(&'a self, _: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        self.untranslated.borrow_mut().push(address);
        if let Op::Read(buffer) = op {
            self.copy(address, buffer);
        }
        Box::pin(async { Ok(()) })
    }

    fn ats(&self) -> Option<&dyn AtsPort> {
        Some(self)
    }
}

impl AtsPort for Root {
    fn translate(&self, attrs: DmaAttrs, address: u64, write: bool) -> TranslationFuture<'_> {
        self.asked.borrow_mut().push((attrs.pasid, address, write));
        Box::pin(async move {
            let nothing = TranslatedRange {
                address: 0,
                size_log2: 12,
                read: false,
                write: false,
                execute: false,
                untranslated_only: false,
            };
            // What is found is found now, and arrives later.
            let page = self.pages.borrow().get(&(attrs.pasid, address)).copied();
            self.timeline.sleep(self.translation.get()).await;
            TranslationAnswer::Translated(page.unwrap_or(nothing))
        })
    }

    fn issue(&self, _bytes: usize) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async {})
    }

    fn access_translated<'a>(&'a self, _: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        Box::pin(async move {
            self.timeline.sleep(self.transaction.get()).await;
            self.use_translation(address);
            match op {
                Op::Read(buffer) => self.copy(address, buffer),
                Op::Write(buffer) => {
                    let mut memory = self.memory.borrow_mut();
                    memory.extend((address..).zip(buffer.iter().copied()));
                }
                Op::FetchAdd { .. } => return Err(DmaAbort { address }),
            }
            Ok(())
        })
    }

    fn page_request(&self, request: PageRequest) {
        self.requests.borrow_mut().push(request);
    }

    fn connect(&self, function: Weak<dyn AtsFunction>) {
        *self.function.borrow_mut() = Some(function);
    }
}

/// A cache, the registers that it obeys, and its root complex.
struct Rig {
    timeline: Timeline,
    root: Rc<Root>,
    ats: Ats,
    pri: Pri,
    atc: Rc<Atc>,
}

type Outcome = Rc<RefCell<Option<(Time, Result<Vec<u8>, DmaAbort>)>>>;

impl Rig {
    /// With ATS enabled, and page requests with an allocation of 4.
    fn new(config: AtcConfig) -> Rig {
        let mut rig = Rig::off(config);
        // PCI_ATS_CTRL_ENABLE, STU 0.
        let _ = rig.ats.write(4, 0x8000_0000, 0xffff_0000);
        rig.enable_pri(4);
        rig
    }

    fn off(config: AtcConfig) -> Rig {
        let timeline = Timeline::new();
        let root = Rc::new(Root {
            timeline: timeline.clone(),
            pages: RefCell::default(),
            memory: RefCell::default(),
            translation: Cell::new(Span::ZERO),
            transaction: Cell::new(Span::ZERO),
            asked: RefCell::default(),
            requests: RefCell::default(),
            untranslated: RefCell::default(),
            forgotten: RefCell::default(),
            function: RefCell::default(),
        });
        let (ats, pri) = (Ats::new(), Pri::new(16, true));
        let atc = Atc::new(
            timeline.clone(),
            root.clone(),
            ats.state(),
            Some(pri.state()),
            config,
            Rc::new(NoAtcProbe),
        );
        Rig {
            timeline,
            root,
            ats,
            pri,
            atc,
        }
    }

    fn enable_pri(&mut self, allocation: u32) {
        let _ = self.pri.write(0xc, allocation, u32::MAX);
        let _ = self.pri.write(4, 1, 0xffff);
    }

    fn map(&self, address: u64, output: u64, size_log2: u8, write: bool) {
        let size = 1_u64 << size_log2;
        for at in (address..address + size).step_by(0x1000) {
            let range = TranslatedRange {
                address: output + (at - address),
                size_log2,
                read: true,
                write,
                execute: false,
                untranslated_only: false,
            };
            self.root
                .forgotten
                .borrow_mut()
                .remove(&(range.address >> 12));
            self.root
                .pages
                .borrow_mut()
                .insert((PROCESS.pasid, at), range);
        }
    }

    fn unmap(&self, address: u64) {
        self.root
            .pages
            .borrow_mut()
            .remove(&(PROCESS.pasid, address));
    }

    fn read(&self, address: u64, bytes: usize) -> Outcome {
        let outcome = Outcome::default();
        let (atc, timeline, slot) = (self.atc.clone(), self.timeline.clone(), outcome.clone());
        self.timeline.spawn(async move {
            let mut buffer = vec![0; bytes];
            let result = atc.access(PROCESS, address, Op::Read(&mut buffer)).await;
            *slot.borrow_mut() = Some((timeline.now(), result.map(|()| buffer)));
        });
        self.timeline.run_ready();
        outcome
    }

    fn write(&self, address: u64, bytes: &'static [u8]) -> Outcome {
        let outcome = Outcome::default();
        let (atc, timeline, slot) = (self.atc.clone(), self.timeline.clone(), outcome.clone());
        self.timeline.spawn(async move {
            let result = atc.access(PROCESS, address, Op::Write(bytes)).await;
            *slot.borrow_mut() = Some((timeline.now(), result.map(|()| Vec::new())));
        });
        self.timeline.run_ready();
        outcome
    }

    fn respond(&self, index: u16, code: PageResponseCode) {
        self.atc.page_response(PageResponse {
            pasid: PROCESS.pasid,
            index,
            code,
        });
        self.timeline.run_ready();
    }

    fn wait_ns(&self, ns: u64) {
        let to = self.timeline.now() + Span::from_ns(ns);
        self.timeline.advance_to(to);
    }

    /// PCI_PRI_CTRL and PCI_PRI_STATUS.
    fn pri_status(&self) -> u32 {
        self.pri.read(4)
    }
}

fn done(outcome: &Outcome) -> bool {
    outcome.borrow().is_some()
}

fn aborted(outcome: &Outcome) -> bool {
    matches!(*outcome.borrow(), Some((_, Err(_))))
}

#[test]
fn without_ats_enable_accesses_are_untranslated() {
    let rig = Rig::off(AtcConfig::default());
    assert!(done(&rig.read(0x1000, 8)));
    assert_eq!(*rig.root.untranslated.borrow(), [0x1000]);
    assert!(rig.root.asked.borrow().is_empty());
}

#[test]
fn a_translation_is_asked_for_once() {
    let rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, true);
    rig.root.memory.borrow_mut().insert(0x10_0010, 42);

    let first = rig.read(0x1010, 1);
    let second = rig.read(0x1010, 1);

    assert_eq!(first.take().unwrap().1.unwrap(), [42]);
    assert_eq!(second.take().unwrap().1.unwrap(), [42]);
    assert_eq!(*rig.root.asked.borrow(), [(Some(Pasid(5)), 0x1000, false)]);
    assert_eq!(rig.atc.counters().hits, 1);
}

#[test]
fn a_page_that_is_not_there_is_requested_and_translated_again() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.write(0x1ffc, &[1, 2, 3, 4]);
    assert!(!done(&access));
    assert_eq!(
        *rig.root.requests.borrow(),
        [PageRequest {
            pasid: Some(Pasid(5)),
            address: 0x1000,
            read: false,
            write: true,
            execute: false,
            privileged: false,
            last: true,
            index: 0,
        }]
    );

    rig.map(0x1000, 0x10_0000, 12, true);
    rig.respond(0, PageResponseCode::Success);

    assert!(done(&access) && !aborted(&access));
    assert_eq!(rig.root.memory.borrow()[&0x10_0fff], 4);
    assert_eq!(rig.atc.page_requests_outstanding(), 0);
}

fn index(rig: &Rig) -> u16 {
    rig.root.requests.borrow().last().unwrap().index
}

/// Invalidates for the process, and says whether the completion has come.
fn invalidate(rig: &Rig, address: u64, size_log2: u8) -> Rc<Cell<bool>> {
    invalidate_of(rig, PROCESS.pasid, address, size_log2, false)
}

fn invalidate_of(
    rig: &Rig,
    pasid: Option<Pasid>,
    address: u64,
    size_log2: u8,
    global: bool,
) -> Rc<Cell<bool>> {
    let completed = Rc::new(Cell::new(false));
    let flag = completed.clone();
    let request = InvalidateRequest {
        pasid,
        address,
        size_log2,
        global,
    };
    rig.atc
        .invalidate(request, Box::new(move || flag.set(true)));
    rig.timeline.run_ready();
    completed
}

#[test]
fn an_invalid_request_aborts_the_access_and_a_failure_stops_the_interface() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    rig.respond(index(&rig), PageResponseCode::InvalidRequest);
    assert!(aborted(&access));
    assert_eq!(rig.pri_status() & 0x0003_0000, 0);

    let (one, two) = (rig.read(0x1000, 8), rig.read(0x2000, 8));
    rig.respond(index(&rig), PageResponseCode::Failure);
    assert!(aborted(&one) && aborted(&two), "no further answers come");
    // PCI_PRI_STATUS_RF.
    assert_eq!(rig.pri_status() & 0x0003_0000, 0x0001_0000);
    assert_eq!(rig.atc.page_requests_outstanding(), 0);

    let sent = rig.root.requests.borrow().len();
    assert!(aborted(&rig.read(0x3000, 8)), "it may not ask");
    assert_eq!(rig.root.requests.borrow().len(), sent);
}

#[test]
fn a_response_failure_that_software_cleared_is_forgotten() {
    let mut rig = Rig::new(AtcConfig::default());
    rig.read(0x1000, 8);
    rig.respond(0, PageResponseCode::Failure);
    // Written with a one, in PCI_PRI_STATUS alone.
    let _ = rig.pri.write(4, 0x0001_0000, 0xffff_0000);
    assert_eq!(rig.pri_status() & 0x0003_0001, 1);
    assert!(!done(&rig.read(0x1000, 8)), "it asks again");
}

#[test]
fn responses_to_nothing_are_unexpected() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    rig.respond(7, PageResponseCode::Success);
    // PCI_PRI_STATUS_UPRGI.
    assert_eq!(rig.pri_status() & 0x0003_0000, 0x0002_0000);
    assert!(!done(&access));
}

#[test]
fn a_response_has_to_carry_the_pasid_where_the_function_says_so() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    rig.map(0x1000, 0x10_0000, 12, true);
    let without = PageResponse {
        pasid: None,
        index: 0,
        code: PageResponseCode::Success,
    };
    rig.atc.page_response(without);
    rig.timeline.run_ready();
    assert!(!done(&access));
    assert_eq!(rig.pri_status() & 0x0003_0000, 0x0002_0000);
    rig.respond(0, PageResponseCode::Success);
    assert!(done(&access) && !aborted(&access));
}

#[test]
fn a_failure_counts_without_a_pasid() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    rig.atc.page_response(PageResponse {
        pasid: None,
        index: 0,
        code: PageResponseCode::Failure,
    });
    rig.timeline.run_ready();
    assert!(aborted(&access));
}

#[test]
fn as_many_requests_are_outstanding_as_software_allocated() {
    let rig = Rig::new(AtcConfig::default());
    let accesses: Vec<_> = (1..=6).map(|page| rig.read(page << 12, 8)).collect();
    assert_eq!(rig.root.requests.borrow().len(), 4);
    assert_eq!(rig.atc.page_requests_outstanding(), 4);

    rig.respond(2, PageResponseCode::InvalidRequest);
    assert!(aborted(&accesses[2]));
    let fifth = rig.root.requests.borrow()[4];
    assert_eq!((fifth.address, fifth.index), (0x5000, 4));
    assert_eq!(rig.root.requests.borrow().len(), 5);
}

#[test]
fn without_an_allocation_nothing_is_requested() {
    let mut rig = Rig::new(AtcConfig::default());
    rig.enable_pri(0);
    assert!(aborted(&rig.read(0x1000, 8)));
    assert!(rig.root.requests.borrow().is_empty());
}

#[test]
fn a_group_asks_for_the_pages_that_the_access_will_need() {
    let rig = Rig::new(AtcConfig {
        group_pages: 3,
        ..AtcConfig::default()
    });
    rig.map(0x2000, 0x20_0000, 12, true);
    let access = rig.read(0x1800, 0x5000);
    let asked: Vec<_> = rig
        .root
        .requests
        .borrow()
        .iter()
        .map(|request| (request.address, request.index, request.last))
        .collect();
    assert_eq!(
        asked,
        [(0x1000, 0, false), (0x3000, 0, false), (0x4000, 0, true)]
    );
    assert_eq!(rig.atc.page_requests_outstanding(), 3);

    for page in [1, 3, 4, 5, 6] {
        rig.map(page << 12, 0x100_0000 + (page << 12), 12, true);
    }
    rig.respond(0, PageResponseCode::Success);
    assert!(done(&access) && !aborted(&access));
    assert_eq!(rig.atc.page_requests_outstanding(), 0);
}

#[test]
fn disabled_with_answers_to_come_it_has_not_stopped() {
    let mut rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    let _ = rig.pri.write(4, 0, 0xffff);
    // PCI_PRI_STATUS_STOPPED.
    assert_eq!(rig.pri_status() & 0x0100_0000, 0);
    rig.respond(0, PageResponseCode::InvalidRequest);
    assert!(aborted(&access));
    assert_eq!(rig.pri_status() & 0x0100_0000, 0x0100_0000);
}

#[test]
fn a_reset_of_the_interface_drops_what_is_pending() {
    let mut rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    // PCI_PRI_CTRL_RESET has no effect while enabled, and reads as zero.
    let _ = rig.pri.write(4, 3, 0xffff);
    rig.timeline.run_ready();
    assert!(!done(&access));
    assert_eq!(rig.pri_status() & 3, 1);
    let _ = rig.pri.write(4, 2, 0xffff);
    rig.timeline.run_ready();
    assert!(aborted(&access));
    assert_eq!(rig.pri_status() & 0xffff_0003, 0x8100_0000);
}

#[test]
fn a_function_level_reset_forgets_everything() {
    let mut rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, true);
    rig.read(0x1000, 8);
    let waiting = rig.read(0x2000, 8);
    rig.ats.reset();
    rig.pri.reset();
    rig.timeline.run_ready();
    assert!(aborted(&waiting));
    assert_eq!(rig.atc.entries(), []);
    assert_eq!(rig.pri.read(0xc), 0);
}

#[test]
fn a_stop_marker_follows_and_late_answers_are_expected() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    rig.atc.stop_pasid(Pasid(5));
    rig.timeline.run_ready();
    assert!(aborted(&access));
    let marker = *rig.root.requests.borrow().last().unwrap();
    assert_eq!(
        marker,
        PageRequest {
            pasid: Some(Pasid(5)),
            address: 0,
            read: false,
            write: false,
            execute: false,
            privileged: false,
            last: true,
            index: 0,
        }
    );
    assert_eq!(rig.atc.page_requests_outstanding(), 1);
    rig.respond(0, PageResponseCode::Success);
    assert_eq!(rig.atc.page_requests_outstanding(), 0);
    assert_eq!(rig.pri_status() & 0x0003_0000, 0);
}

#[test]
fn stopping_one_pasid_leaves_others_waiting() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    rig.atc.stop_pasid(Pasid(6));
    rig.timeline.run_ready();
    assert!(!done(&access));
}

#[test]
fn a_drained_pasid_has_no_requests_outstanding() {
    let rig = Rig::new(AtcConfig::default());
    rig.read(0x1000, 8);
    let drained = Rc::new(Cell::new(false));
    let (atc, flag) = (rig.atc.clone(), drained.clone());
    rig.timeline.spawn(async move {
        atc.drain_pasid(Pasid(5)).await;
        flag.set(true);
    });
    rig.timeline.run_ready();
    assert!(!drained.get());
    rig.respond(0, PageResponseCode::InvalidRequest);
    assert!(drained.get());
}

#[test]
fn a_page_that_is_said_to_be_there_and_is_not_is_asked_for_again_later() {
    let rig = Rig::new(AtcConfig::default());
    let access = rig.read(0x1000, 8);
    for round in 0..3 {
        assert_eq!(rig.root.requests.borrow().len(), round + 1);
        rig.respond(round as u16, PageResponseCode::Success);
        assert_eq!(rig.root.requests.borrow().len(), round + 1);
        rig.wait_ns(1000);
    }
    assert!(!done(&access));
    assert_eq!(rig.timeline.now().as_ns(), 3000);
}

#[test]
fn an_invalidation_makes_the_next_access_ask() {
    let rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, true);
    rig.map(0x20_0000, 0x40_0000, 21, true);
    rig.read(0x1000, 8);
    rig.read(0x20_5000, 8);
    assert_eq!(rig.atc.entries().len(), 2);

    // Neither another PASID's nor that of accesses without one, nor another range.
    invalidate_of(&rig, Some(Pasid(6)), 0, 64, false);
    invalidate_of(&rig, None, 0, 64, false);
    invalidate(&rig, 0x2000, 13);
    assert_eq!(rig.atc.entries().len(), 2);
    // One page of a large range takes all of it.
    assert!(invalidate(&rig, 0x30_0000, 12).get());
    assert_eq!(rig.atc.entries().len(), 1);
    // Everything of every PASID.
    invalidate_of(&rig, Some(Pasid(6)), 0, 64, true);
    assert_eq!(rig.atc.entries(), []);

    rig.unmap(0x1000);
    assert!(!done(&rig.read(0x1000, 8)));
}

#[test]
fn an_invalidation_waits_for_transactions_that_use_what_it_names() {
    let rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, true);
    rig.read(0x1000, 8);
    rig.root.transaction.set(Span::from_ns(500));
    let access = rig.write(0x1000, &[9]);

    let elsewhere = invalidate(&rig, 0x2000, 12);
    let here = invalidate(&rig, 0x1000, 12);
    assert!(elsewhere.get() && !here.get());
    rig.wait_ns(499);
    assert!(!here.get() && !done(&access));
    rig.wait_ns(1);
    assert!(here.get() && done(&access));
}

#[test]
fn an_invalidation_does_not_wait_for_an_access_that_waits_for_a_page() {
    let rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, true);
    let access = rig.read(0x1000, 0x2000);
    assert_eq!(rig.root.requests.borrow().len(), 1);
    assert!(invalidate(&rig, 0x1000, 12).get());
    assert!(!done(&access));
}

#[test]
fn a_translation_that_was_invalidated_on_its_way_is_not_used() {
    let rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, true);
    rig.root.memory.borrow_mut().insert(0x20_0000, 2);
    rig.root.translation.set(Span::from_ns(100));
    let access = rig.read(0x1000, 1);

    rig.wait_ns(50);
    rig.map(0x1000, 0x20_0000, 12, true);
    assert!(invalidate(&rig, 0x1000, 12).get());
    rig.wait_ns(150);

    assert_eq!(access.take().unwrap().1.unwrap(), [2]);
    assert_eq!(rig.root.asked.borrow().len(), 2);
    assert_eq!(rig.atc.entries()[0].output, 0x20_0000);
}

#[test]
fn a_large_translation_is_void_if_any_page_of_it_was_invalidated_on_its_way() {
    let rig = Rig::new(AtcConfig::default());
    rig.map(0x4000, 0x10_0000, 14, true);
    rig.root.translation.set(Span::from_ns(100));
    let access = rig.read(0x5000, 1);
    rig.wait_ns(50);
    // One page goes, and the others have translations of their own.
    for page in 4..8 {
        rig.unmap(page << 12);
    }
    rig.map(0x5000, 0x20_1000, 12, true);
    assert!(invalidate(&rig, 0x4000, 12).get());
    rig.wait_ns(150);

    assert!(done(&access));
    let entries = rig.atc.entries();
    assert_eq!((entries.len(), entries[0].first), (1, 0x5000));
    assert_eq!(entries[0].output, 0x20_1000);
}

#[test]
fn read_permission_does_not_do_for_a_write() {
    let rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, false);
    rig.read(0x1000, 8);
    let access = rig.write(0x1000, &[1]);
    assert!(!done(&access));
    let request = rig.root.requests.borrow()[0];
    assert!(request.write && !request.read);
    rig.map(0x1000, 0x20_0000, 12, true);
    rig.respond(0, PageResponseCode::Success);
    assert!(done(&access) && !aborted(&access));
    assert_eq!(rig.atc.entries().len(), 1, "the one took the other's place");
}

#[test]
fn the_oldest_translation_makes_room() {
    let rig = Rig::new(AtcConfig {
        entries: 2,
        ..AtcConfig::default()
    });
    for page in 1..=3 {
        rig.map(page << 12, page << 20, 12, true);
        rig.read(page << 12, 8);
    }
    let kept: Vec<_> = rig.atc.entries().iter().map(|entry| entry.first).collect();
    assert_eq!(kept, [0x2000, 0x3000]);
}

#[test]
fn a_prefill_asks_ahead_and_requests_no_page() {
    let rig = Rig::new(AtcConfig {
        prefill_depth: 2,
        ..AtcConfig::default()
    });
    for page in [1, 2, 4] {
        rig.map(page << 12, page << 20, 12, true);
    }
    rig.read(0x2000, 8);
    rig.root.translation.set(Span::from_ns(100));
    let result = Rc::new(Cell::new(None));
    let (atc, slot) = (rig.atc.clone(), result.clone());
    rig.timeline.spawn(async move {
        slot.set(Some(atc.prefill(PROCESS, 0x1800, 0x3000, true).await));
    });
    rig.timeline.run_ready();
    rig.wait_ns(199);
    assert_eq!(result.get(), None);
    rig.wait_ns(1);

    // Pages 1, 3 and 4, two at a time.
    let expected = Prefill {
        requested: 3,
        present: 2,
    };
    assert_eq!(result.get(), Some(expected));
    assert!(rig.root.requests.borrow().is_empty());
    let asked = rig.root.asked.borrow().len();
    assert!(done(&rig.read(0x4000, 8)));
    assert_eq!(rig.root.asked.borrow().len(), asked);
}

#[test]
fn switching_ats_off_voids_the_translations() {
    let mut rig = Rig::new(AtcConfig::default());
    rig.map(0x1000, 0x10_0000, 12, true);
    rig.read(0x1000, 8);
    let _ = rig.ats.write(4, 0, 0xffff_0000);
    assert_eq!(rig.atc.entries(), []);
    rig.read(0x1000, 8);
    assert_eq!(*rig.root.untranslated.borrow(), [0x1000]);
}

#[test]
fn a_unit_that_translations_do_not_reach_aborts() {
    let mut rig = Rig::new(AtcConfig::default());
    rig.map(0x20_0000, 0x10_0000, 12, true);
    // STU 9: 2 MiB.
    let _ = rig.ats.write(4, 0x8009_0000, 0xffff_0000);
    assert!(aborted(&rig.read(0x20_1000, 8)));
    assert_eq!(rig.root.asked.borrow()[0].1, 0x20_0000);
}

/// A probe with a decision about every completion.
struct Decides(DeviceVerdict, RefCell<Vec<AtcNote>>);

impl AtcProbe for Decides {
    fn spend(&self, _: AtcStep) -> Span {
        Span::ZERO
    }

    fn note(&self, note: &AtcNote) {
        self.1.borrow_mut().push(*note);
    }

    fn on_completion(&self, _: &InvalidateRequest) -> DeviceVerdict {
        self.0.clone()
    }
}

fn under(verdict: DeviceVerdict) -> (Rig, Rc<Decides>) {
    let mut rig = Rig::new(AtcConfig::default());
    let probe = Rc::new(Decides(verdict, RefCell::default()));
    rig.atc = Atc::new(
        rig.timeline.clone(),
        rig.root.clone(),
        rig.ats.state(),
        Some(rig.pri.state()),
        AtcConfig::default(),
        probe.clone(),
    );
    (rig, probe)
}

#[test]
fn a_completion_can_be_lost() {
    let (rig, probe) = under(DeviceVerdict {
        wait: None,
        act: DeviceAct::Drop,
    });
    let completed = invalidate(&rig, 0x1000, 12);
    rig.wait_ns(1_000_000);
    assert!(!completed.get());
    let lost = probe.1.borrow();
    assert!(matches!(lost.last(), Some(AtcNote::InvalidateLost { .. })));
}

#[test]
fn a_completion_waits_at_a_gate_and_is_lost_behind_it_if_told() {
    for (act, comes) in [(DeviceAct::Go, true), (DeviceAct::Drop, false)] {
        let gate = Gate::new();
        let wait = Some(gate.clone());
        let (rig, probe) = under(DeviceVerdict { wait, act });
        let completed = invalidate(&rig, 0x1000, 12);
        rig.wait_ns(1_000_000);
        assert!(!completed.get());
        let lost = |probe: &Decides| {
            let notes = probe.1.borrow();
            matches!(notes.last(), Some(AtcNote::InvalidateLost { .. }))
        };
        assert!(!lost(&probe));
        gate.open();
        rig.wait_ns(1);
        assert_eq!((completed.get(), lost(&probe)), (comes, !comes));
    }
}

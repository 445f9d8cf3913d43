//! ATS: translation requests, translated transactions, invalidations of what endpoints keep.
//!
//! Words are put together from the masks of Linux's arm-smmu-v3.h (`CMDQ_ATC_*`, `STRTAB_STE_1_EATS`),
//! those of events 0x05 and 0x07 from the field positions that EDK II's SMMU headers give.

use std::cell::RefCell;
use std::rc::Rc;

use crate::testing::*;
use crate::*;

/// Endpoints that remember what they were sent, and complete invalidations when told to.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) invalidations: RefCell<Vec<(StreamId, InvalidateRequest)>>,
    pub(super) completions: RefCell<Vec<InvalidateCompletion>>,
    pub(super) responses: RefCell<Vec<(StreamId, PageResponse)>>,
}

impl Endpoints for Recorder {
    fn invalidate(
        &self,
        stream: StreamId,
        request: InvalidateRequest,
        completion: InvalidateCompletion,
    ) {
        self.invalidations.borrow_mut().push((stream, request));
        self.completions.borrow_mut().push(completion);
    }

    fn page_response(&self, stream: StreamId, response: PageResponse) {
        self.responses.borrow_mut().push((stream, response));
    }
}

impl Recorder {
    pub(super) fn complete_first(&self) {
        let first = self.completions.borrow_mut().remove(0);
        first.done();
    }
}

/// STE.EATS = 1 in the entry that Linux writes for a device with SVA and ATS.
pub(super) fn ste_ats() -> [u64; 8] {
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= 1 << 28;
    ste
}

/// The context descriptor of a process for a device that does not stall: S is clear.
pub(super) fn cd_no_stall(asid: u16) -> [u64; 8] {
    let mut cd = cd_sva(asid, Driver::root(asid));
    cd[0] &= !(1 << 44);
    cd
}

pub(super) const PAGE_REQUEST_QUEUE: u64 = 0x6_0000_0000;
pub(super) const PAGE_REQUESTS_LOG2: u32 = 2;

/// An SMMU with ATS and PRI as Linux leaves it, with a process in context 1 of [`SID`].
pub(super) fn ready_with(config: Config) -> (Driver, Rc<Recorder>) {
    let driver = Driver::new(Config {
        ats: true,
        pri: true,
        ..config
    });
    let recorder = Rc::new(Recorder::default());
    driver.smmu.connect(recorder.clone());
    driver.start();
    driver.write64(
        0xc0,
        PAGE_REQUEST_QUEUE | 1 << 62 | u64::from(PAGE_REQUESTS_LOG2),
    );
    driver.write32(0x1_00c8, 0);
    driver.write32(0x1_00cc, 0);
    // SMMUEN, PRIQEN, EVENTQEN, CMDQEN, ATSCHK; GERROR, PRIQ, EVENTQ.
    for (control, ack, value) in [(0x20, 0x24, 0x1f), (0x50, 0x54, 0x7)] {
        driver.write32(control, value);
        assert_eq!(driver.read32(ack), value);
    }
    driver.set_ste(SID, ste_ats());
    driver.set_cd(1, cd_no_stall(1));
    (driver, recorder)
}

pub(super) fn ready() -> (Driver, Rc<Recorder>) {
    ready_with(Config::default())
}

/// A translation request of the process, for a write if `write`.
fn request(address: u64, write: bool) -> TranslationRequest {
    TranslationRequest {
        stream: StreamId(SID),
        substream: Some(SubstreamId(1)),
        address,
        write,
        execute: false,
        privileged: false,
    }
}

fn ask(driver: &Driver, request: TranslationRequest) -> AtsCompletion {
    let smmu = driver.smmu.clone();
    let answer = Rc::new(RefCell::new(None));
    let slot = answer.clone();
    driver.timeline.spawn(async move {
        *slot.borrow_mut() = Some(smmu.translation_request(request).await);
    });
    driver.run();
    answer.take().expect("a translation request never waits")
}

fn range(address: u64, size_log2: u8, read: bool, write: bool) -> AtsCompletion {
    AtsCompletion::Success(AtsRange {
        address,
        size_log2,
        read,
        write,
        execute: false,
        privileged: false,
        global: false,
        untranslated_only: false,
    })
}

const NOTHING: AtsCompletion = AtsCompletion::Success(AtsRange {
    address: 0,
    size_log2: 12,
    read: false,
    write: false,
    execute: false,
    privileged: false,
    global: false,
    untranslated_only: false,
});

#[test]
fn a_mapped_page_is_translated_with_its_permissions() {
    let (driver, _) = ready();
    driver.map(0x1000, 0x10_0000 | USER_RW);
    driver.map(0x2000, 0x20_0000 | USER_RO);

    assert_eq!(
        ask(&driver, request(0x1234, true)),
        range(0x10_0000, 12, true, true)
    );
    assert_eq!(
        ask(&driver, request(0x2000, true)),
        range(0x20_0000, 12, true, false)
    );
    // No Write: what could be written is not said.
    assert_eq!(
        ask(&driver, request(0x1000, false)),
        range(0x10_0000, 12, true, false)
    );
    assert_eq!(driver.events(), [] as [[u64; 4]; 0]);
}

#[test]
fn a_page_that_is_not_there_permits_nothing_and_is_no_event() {
    let (driver, _) = ready();
    assert_eq!(ask(&driver, request(0x1000, true)), NOTHING);
    // Without its access flag a page is not there either.
    driver.map(0x3000, 0x10_0000 | USER_RW & !0x400);
    assert_eq!(ask(&driver, request(0x3000, true)), NOTHING);
    assert_eq!(driver.events(), [] as [[u64; 4]; 0]);
    assert!(driver.smmu.outstanding_stalls().is_empty());
}

/// CMDQ_OP_ATC_INV for [`SID`]; `ssid` as CMDQ_0_SSV and CMDQ_ATC_0_SSID, `size` as CMDQ_ATC_1_SIZE.
fn atc_inv(ssid: Option<u64>, address: u64, size: u64) -> [u64; 2] {
    let who = ssid.map_or(0, |ssid| 1 << 11 | ssid << 12);
    [
        0x40 | who | u64::from(SID) << 32,
        address & 0xffff_ffff_ffff_f000 | size,
    ]
}

fn is_stopped(driver: &Driver) -> bool {
    driver.read32(0x98) != driver.read32(0x9c) & 0xf_ffff
}

#[test]
fn cmd_sync_waits_for_the_completion_of_invalidations() {
    let (driver, endpoints) = ready();
    driver.command(atc_inv(Some(1), 0x1000, 0));
    driver.command(atc_inv(Some(1), 0x2000, 0));
    driver.sync_without_waiting();
    assert_eq!(endpoints.invalidations.borrow().len(), 2);
    assert!(is_stopped(&driver));
    endpoints.complete_first();
    assert!(is_stopped(&driver));
    endpoints.complete_first();
    assert!(!is_stopped(&driver));
}

//! ATS: translation requests, translated transactions, invalidations of what endpoints keep.
//!
//! Words are put together from the masks of Linux's arm-smmu-v3.h (`CMDQ_ATC_*`, `STRTAB_STE_1_EATS`),
//! those of events 0x05 and 0x07 from the field positions that EDK II's SMMU headers give.

use std::cell::RefCell;
use std::rc::Rc;

use stallbox_timeline::Span;

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

/// Whether there is a command that was not consumed.
fn is_stopped(driver: &Driver) -> bool {
    driver.read32(0x98) != driver.read32(0x9c) & 0xf_ffff
}

const NO_EVENTS: [[u64; 4]; 0] = [];

/// Sets the STE while REC_CFG_ATS and RECINVSID are set in CR2, which SMMUEN guards.
fn record_all(driver: &Driver) {
    driver.write32(0x20, 0x1e);
    // CR2: PTM is not there, RECINVSID, REC_CFG_ATS.
    driver.write32(0x2c, 0xa);
    driver.write32(0x20, 0x1f);
    assert_eq!(driver.read32(0x2c), 0xa);
}

fn abort_ste() -> [u64; 8] {
    [1, 0, 0, 0, 0, 0, 0, 0]
}

fn bypass_ste() -> [u64; 8] {
    [9, 1 << 28 | 1 << 44, 0, 0, 0, 0, 0, 0]
}

fn ste_eats(eats: u64) -> [u64; 8] {
    let mut ste = ste_stage1(CONTEXT_TABLE, 3);
    ste[1] |= eats << 28;
    ste
}

#[test]
fn ats_and_pri_are_advertised_where_asked_for() {
    let (driver, _) = ready();
    // IDR0: ATS, NS1ATS, PRI, ATSRECERR beside what is always there.
    assert_eq!(driver.read32(0x00), 0x0c4c_701b | 0x0081_0c00);
    // IDR1.PRIQS 9; IDR3.PPS.
    assert_eq!(driver.read32(0x04), 0x058c_0410 | 9 << 11);
    assert_eq!(driver.read32(0x0c), 0x414 | 1 << 5);

    let ats = Driver::new(Config {
        ats: true,
        ..Config::default()
    });
    assert_eq!(ats.read32(0x00), 0x0c4c_701b | 0x0080_0c00);
    assert_eq!(ats.read32(0x04), 0x058c_0410);
    // CR0.ATSCHK without PRIQEN; no IRQ_CTRL.PRIQ.
    ats.write32(0x20, 0x12);
    assert_eq!(ats.read32(0x24), 0x10);
    ats.write32(0x50, 0x7);
    assert_eq!(ats.read32(0x54), 0x5);
}

#[test]
fn page_requests_need_ats() {
    let config = Config {
        pri: true,
        ..Config::default()
    };
    assert!(config.check().unwrap_err().to_string().contains("pri"));
    let config = Config {
        priq_log2: 20,
        ..Config::default()
    };
    assert!(config.check().is_err());
}

#[test]
fn a_block_is_one_translation() {
    let (driver, _) = ready();
    driver.map_at(Driver::root(1), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);
    assert_eq!(
        ask(&driver, request(0x20_5abc, true)),
        range(0x4000_5000, 21, true, true)
    );
    // From the TLB it is the same.
    assert_eq!(
        ask(&driver, request(0x30_0000, true)),
        range(0x4010_0000, 21, true, true)
    );
}

#[test]
fn execution_is_granted_if_asked_for() {
    let (driver, _) = ready();
    // UXN is bit 54.
    driver.map(0x1000, (0x10_0000 | USER_RO) & !(1 << 54));
    driver.map(0x2000, 0x20_0000 | USER_RO);
    let granted = |address, execute| {
        let request = TranslationRequest {
            execute,
            ..request(address, false)
        };
        match ask(&driver, request) {
            AtsCompletion::Success(range) => (range.read, range.execute),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(granted(0x1000, true), (true, true));
    assert_eq!(granted(0x1000, false), (true, false));
    assert_eq!(granted(0x2000, true), (true, false));
}

#[test]
fn privilege_is_echoed_and_counts() {
    let (driver, _) = ready();
    // AP[1], unprivileged access, is bit 6.
    driver.map(0x1000, (0x10_0000 | USER_RW) & !0x40);
    let privileged = TranslationRequest {
        privileged: true,
        ..request(0x1000, true)
    };
    let AtsCompletion::Success(range) = ask(&driver, privileged) else {
        panic!("no success");
    };
    assert!(range.privileged && range.read && range.write);
    assert_eq!(ask(&driver, request(0x1000, true)), NOTHING);
    // Without a PASID there is no privilege: context 0 is the same process now.
    driver.set_cd(0, cd_no_stall(1));
    let without = TranslationRequest {
        substream: None,
        ..privileged
    };
    assert_eq!(ask(&driver, without), NOTHING);
}

#[test]
fn requests_without_a_pasid_go_where_s1dss_says() {
    let (driver, _) = ready();
    driver.set_cd(0, cd_no_stall(1));
    driver.map(0x1000, 0x10_0000 | USER_RW);
    let without = TranslationRequest {
        substream: None,
        ..request(0x1000, true)
    };
    assert_eq!(ask(&driver, without), range(0x10_0000, 12, true, true));

    let mut ste = ste_ats();
    ste[1] = ste[1] & !3 | 1;
    driver.set_ste(SID, ste);
    assert_eq!(ask(&driver, without), range(0x1000, 12, true, true));

    ste[1] &= !3;
    driver.set_ste(SID, ste);
    assert_eq!(ask(&driver, without), AtsCompletion::CompleterAbort);
    assert_eq!(driver.events(), NO_EVENTS);
}

#[test]
fn a_request_that_may_not_be_is_unsupported_and_recorded() {
    // F_BAD_ATS_TREQ: Span 1 at 67:64, W at 94, R at 95.
    let record = [0x105_0000_1805, 0xc000_0001, 0x1000, 0];
    for (ste, why) in [
        (ste_eats(0), "EATS 0"),
        (ste_eats(3), "EATS 3 without DPT"),
        (bypass_ste(), "bypass"),
    ] {
        let (driver, _) = ready();
        driver.set_ste(SID, ste);
        let answer = ask(&driver, request(0x1234, true));
        assert_eq!(answer, AtsCompletion::UnsupportedRequest, "{why}");
        assert_eq!(driver.events(), [record], "{why}");
    }

    let (driver, _) = ready();
    driver.write32(0x20, 0x1e);
    let attributes = TranslationRequest {
        execute: true,
        privileged: true,
        ..request(0x1234, false)
    };
    assert_eq!(ask(&driver, attributes), AtsCompletion::UnsupportedRequest);
    // Priv at 92, Exec at 93.
    assert_eq!(driver.events(), [[0x105_0000_1805, 0xb000_0001, 0x1000, 0]]);
    let without = TranslationRequest {
        substream: None,
        ..request(0x1234, false)
    };
    ask(&driver, without);
    assert_eq!(driver.events(), [[0x105_0000_0005, 0x8000_0001, 0x1000, 0]]);
}

#[test]
fn a_stream_that_aborts_says_nothing() {
    let (driver, _) = ready();
    driver.set_ste(SID, abort_ste());
    assert_eq!(
        ask(&driver, request(0x1000, true)),
        AtsCompletion::UnsupportedRequest
    );
    assert_eq!(driver.events(), NO_EVENTS);
}

#[test]
fn without_ats_every_request_is_unsupported() {
    let driver = Driver::with_process();
    assert_eq!(
        ask(&driver, request(0x1000, true)),
        AtsCompletion::UnsupportedRequest
    );
    assert_eq!(driver.events(), NO_EVENTS);
}

#[test]
fn configuration_errors_abort_the_request_and_are_recorded_only_on_demand() {
    type Break = fn(&Driver);
    let cases: [(Break, [u64; 4], u32); 6] = [
        (
            |driver| driver.set_ste(SID, [0; 8]),
            [0x105_0000_1804, 0, 0, 0],
            1,
        ),
        // EATS 2 without split-stage ATS.
        (
            |driver| driver.set_ste(SID, ste_eats(2)),
            [0x105_0000_1804, 0, 0, 0],
            1,
        ),
        (
            |driver| driver.set_cd(1, [0; 8]),
            [0x105_0000_180a, 0, 0, 0],
            1,
        ),
        (|_| {}, [0x105_0000_8008, 0, 0, 0], 8),
        (
            |driver| driver.memory.abort_at(CONTEXT_TABLE + 64),
            [0x105_0000_1809, 0, 0, CONTEXT_TABLE + 64],
            1,
        ),
        (
            |driver| driver.memory.abort_at(Driver::root(1)),
            // CLASS TT; what RnW says of a request is not defined, and here it is the write's.
            [0x105_0000_180b, 0x0100_0000_0000, 0x1000, Driver::root(1)],
            1,
        ),
    ];
    for (at, (damage, record, ssid)) in cases.into_iter().enumerate() {
        let (driver, _) = ready();
        damage(&driver);
        let request = TranslationRequest {
            substream: Some(SubstreamId(ssid)),
            ..request(0x1000, true)
        };
        assert_eq!(ask(&driver, request), AtsCompletion::CompleterAbort, "{at}");
        assert_eq!(driver.events(), NO_EVENTS, "{at}");

        record_all(&driver);
        assert_eq!(ask(&driver, request), AtsCompletion::CompleterAbort, "{at}");
        assert_eq!(driver.events(), [record], "{at}");
    }
}

#[test]
fn a_stream_that_is_not_in_the_table_needs_both_record_bits() {
    let (driver, _) = ready();
    let outside = TranslationRequest {
        stream: StreamId(0x1_0000),
        ..request(0x1000, true)
    };
    assert_eq!(ask(&driver, outside), AtsCompletion::CompleterAbort);
    assert_eq!(driver.events(), NO_EVENTS);
    record_all(&driver);
    assert_eq!(ask(&driver, outside), AtsCompletion::CompleterAbort);
    assert_eq!(driver.events(), [[0x1_0000_0000_1802, 0, 0, 0]]);
    // REC_CFG_ATS alone.
    driver.write32(0x20, 0x1e);
    driver.write32(0x2c, 0x8);
    driver.write32(0x20, 0x1f);
    assert_eq!(ask(&driver, outside), AtsCompletion::CompleterAbort);
    assert_eq!(driver.events(), NO_EVENTS);
}

#[test]
fn no_write_does_not_make_a_page_dirty() {
    let (driver, _) = ready_with(Config {
        httu: Httu::Dirty,
        ..Config::default()
    });
    let mut cd = cd_no_stall(1);
    // HA and HD.
    cd[0] |= 3 << 42;
    driver.set_cd(1, cd);
    let at = driver.map(0x1000, 0x10_0000 | USER_RO | 1 << 51);

    assert_eq!(
        ask(&driver, request(0x1000, false)),
        range(0x10_0000, 12, true, false)
    );
    assert_eq!(driver.memory.load(at) & 0x80, 0x80);
    assert_eq!(
        ask(&driver, request(0x1000, true)),
        range(0x10_0000, 12, true, true)
    );
    assert_eq!(driver.memory.load(at) & 0x80, 0);
}

#[test]
fn both_stages_make_one_translation() {
    let (driver, _) = ready();
    let mut ste = ste_nested(CONTEXT_TABLE, 3, 7, STAGE2_ROOT);
    ste[1] |= 1 << 28;
    driver.set_ste(SID, ste);
    for gib in [0x5_0000_0000, 0x4_c000_0000, CONTEXT_TABLE] {
        driver.map_at(STAGE2_ROOT, 1, gib, gib | STAGE2_RW & !2);
    }
    // A block of 2 MiB at stage 1, pages at stage 2, one of them read-only, one not there.
    driver.map_at(Driver::root(1), 2, 0x20_0000, 0x4000_0000 | USER_RW & !2);
    driver.map_stage2(0x4000_0000, 0x10_0000 | STAGE2_RW);
    driver.map_stage2(0x4000_1000, 0x30_0000 | STAGE2_RO);

    assert_eq!(
        ask(&driver, request(0x20_0000, true)),
        range(0x10_0000, 12, true, true)
    );
    assert_eq!(
        ask(&driver, request(0x20_1000, true)),
        range(0x30_0000, 12, true, false)
    );
    assert_eq!(ask(&driver, request(0x20_2000, true)), NOTHING);
    // A stage 1 table that stage 2 does not let be read is no translation either.
    driver.map_at(STAGE2_ROOT, 1, 0x4_c000_0000, 0);
    driver.command([0x30, 0]);
    driver.sync();
    assert_eq!(ask(&driver, request(0x20_0000, true)), NOTHING);
    assert_eq!(driver.events(), NO_EVENTS);
}

#[test]
fn ats_and_stalls_of_stage_2_exclude_each_other() {
    let (driver, _) = ready();
    let mut ste = ste_stage2(7, STAGE2_ROOT);
    ste[1] |= 1 << 28;
    // S2S.
    ste[2] |= 1 << 57;
    driver.set_ste(SID, ste);
    let without = TranslationRequest {
        substream: None,
        ..request(0x1000, true)
    };
    assert_eq!(ask(&driver, without), AtsCompletion::CompleterAbort);
}

#[test]
fn an_invalidation_in_its_midst_makes_a_request_start_over() {
    let (driver, _) = ready();
    driver.map(0x1000, 0x10_0000 | USER_RW);
    driver.probe.set(Step::WalkStep, Span::from_ns(100));
    let answer = Rc::new(RefCell::new(None));
    let (smmu, slot) = (driver.smmu.clone(), answer.clone());
    driver.timeline.spawn(async move {
        *slot.borrow_mut() = Some(smmu.translation_request(request(0x1000, true)).await);
    });
    driver.run();
    driver.wait_ns(350);
    driver.map(0x1000, 0x20_0000 | USER_RW);
    driver.command([0x12 | 1 << 48, 0x1000]);
    driver.sync();
    driver.wait_ns(800);
    assert_eq!(answer.take(), Some(range(0x20_0000, 12, true, true)));
}

/// A translated transaction of [`SID`].
fn translated(driver: &Driver, address: u64, write: bool) -> Result<u64, Aborted> {
    let access = if write { Access::WRITE } else { Access::READ };
    let transaction = Transaction {
        stream: StreamId(SID),
        substream: Some(SubstreamId(1)),
        address,
        access,
    };
    let smmu = driver.smmu.clone();
    let answer = Rc::new(RefCell::new(None));
    let slot = answer.clone();
    driver.timeline.spawn(async move {
        *slot.borrow_mut() = Some(smmu.translated(transaction).await);
    });
    driver.run();
    let outcome = answer.take().expect("it never waits");
    outcome.map(|translation| translation.address)
}

#[test]
fn translated_transactions_pass_where_ats_is_on() {
    let (driver, _) = ready();
    assert_eq!(translated(&driver, 0x1234_5678, true), Ok(0x1234_5678));
    // Beyond the output size it is no address.
    assert!(translated(&driver, 1 << 48, false).is_err());
    assert_eq!(driver.events(), NO_EVENTS);
}

#[test]
fn translated_transactions_are_checked_and_recorded() {
    // F_TRANSL_FORBIDDEN: RnW, InputAddr, no SubstreamID.
    let read = [0x105_0000_0007, 0x0008_0000_0000, 0x1234, 0];
    let write = [0x105_0000_0007, 0, 0x1234, 0];
    for ste in [ste_eats(0), bypass_ste()] {
        let (driver, _) = ready();
        driver.set_ste(SID, ste);
        assert!(translated(&driver, 0x1234, false).is_err());
        assert!(translated(&driver, 0x1234, true).is_err());
        assert_eq!(driver.events(), [read, write]);

        // Without ATSCHK nobody looks.
        driver.write32(0x20, 0xf);
        assert_eq!(translated(&driver, 0x1234, true), Ok(0x1234));
        // But for a disabled SMMU.
        driver.write32(0x20, 0xe);
        assert!(translated(&driver, 0x1234, true).is_err());
        assert_eq!(driver.events(), [write]);
    }
    let (driver, _) = ready();
    driver.set_ste(SID, abort_ste());
    assert!(translated(&driver, 0x1234, false).is_err());
    assert_eq!(driver.events(), NO_EVENTS);
}

#[test]
fn configuration_errors_of_translated_transactions_are_recorded_on_demand() {
    let (driver, _) = ready();
    driver.set_ste(SID, ste_eats(2));
    assert!(translated(&driver, 0x1234, false).is_err());
    assert_eq!(driver.events(), NO_EVENTS);
    record_all(&driver);
    assert!(translated(&driver, 0x1234, false).is_err());
    // A PASID on a translated transaction counts for nothing.
    assert_eq!(driver.events(), [[0x105_0000_0004, 0, 0, 0]]);

    // S1DSS 0: no traffic without a SubstreamID, and that is what it is.
    let mut ste = ste_ats();
    ste[1] &= !3;
    driver.set_ste(SID, ste);
    assert!(translated(&driver, 0x1234, false).is_err());
    assert_eq!(driver.events(), [[0x105_0000_0006, 0, 0, 0]]);
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
    // Commands behind it wait too.
    driver.command([0x30, 0]);
    endpoints.complete_first();
    assert!(!is_stopped(&driver));
    driver.sync();
}

#[test]
fn invalidations_say_what_linux_says() {
    let (driver, endpoints) = ready();
    let sent = |command| {
        driver.command(command);
        endpoints.complete_first();
        endpoints.invalidations.borrow_mut().remove(0).1
    };
    let expected = |substream, address, size_log2, global| InvalidateRequest {
        substream,
        address,
        size_log2,
        global,
    };
    let one = Some(SubstreamId(1));
    assert_eq!(
        sent(atc_inv(Some(1), 0xffff_1234_5000, 0)),
        expected(one, 0xffff_1234_5000, 12, false)
    );
    // The address is aligned to the size: 8 pages.
    assert_eq!(
        sent(atc_inv(Some(1), 0x1234_5000, 3)),
        expected(one, 0x1234_0000, 15, false)
    );
    // ATC_INV_SIZE_ALL.
    assert_eq!(
        sent(atc_inv(None, 0x1234_5000, 52)),
        expected(None, 0, 64, false)
    );
    // CMDQ_ATC_0_GLOBAL, which counts with a SubstreamID only.
    let mut global = atc_inv(Some(1), 0, 52);
    global[0] |= 1 << 9;
    assert_eq!(sent(global), expected(one, 0, 64, true));
    let mut without = atc_inv(None, 0, 52);
    without[0] |= 1 << 9;
    assert_eq!(sent(without), expected(None, 0, 64, false));
    driver.sync();
}

#[test]
fn a_reserved_size_is_illegal() {
    let (driver, _) = ready();
    driver.command(atc_inv(Some(1), 0, 53));
    // GERROR.CMDQ_ERR, CERROR_ILL.
    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1);
    assert_eq!(driver.read32(0x9c) >> 24, 1);
}

#[test]
fn invalidations_and_responses_are_ignored_while_disabled() {
    let (driver, endpoints) = ready();
    driver.write32(0x20, 0x1e);
    driver.command(atc_inv(Some(1), 0, 52));
    driver.command([0x41 | u64::from(SID) << 32, 2 << 12]);
    driver.sync();
    driver.run();
    assert!(endpoints.invalidations.borrow().is_empty());
    assert!(endpoints.responses.borrow().is_empty());
}

#[test]
fn an_invalidation_that_takes_too_long_fails_the_sync() {
    let (driver, endpoints) = ready();
    driver.probe.set(Step::AtcTimeout, Span::from_us(50));
    driver.interrupts.take();
    driver.command(atc_inv(Some(1), 0x1000, 0));
    driver.sync_without_waiting();
    let cons = driver.read32(0x9c) & 0xf_ffff;
    driver.wait_ns(49_999);
    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 0);
    driver.wait_ns(1);

    // CERROR_ATC_INV_SYNC, and CONS is still at the CMD_SYNC.
    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1);
    assert_eq!(driver.read32(0x9c), 3 << 24 | cons);
    assert_eq!(driver.interrupts.take(), [Line::GlobalError]);
    assert_eq!(driver.smmu.counters().atc_timeouts, 1);

    // Linux acknowledges, and the CMD_SYNC is tried again.
    driver.write32(0x64, driver.read32(0x60));
    assert!(!is_stopped(&driver));
    // The completion comes late, to nobody.
    endpoints.complete_first();
    driver.sync_without_waiting();
    assert!(!is_stopped(&driver));
    let notes = driver.probe.take();
    assert!(
        notes
            .iter()
            .any(|note| matches!(note, Note::AtcInvalidateDone { late: true, .. }))
    );
}

#[test]
fn a_completion_in_time_stops_the_clock() {
    let (driver, endpoints) = ready();
    driver.probe.set(Step::AtcTimeout, Span::from_us(50));
    driver.probe.set(Step::AtcInvalidate, Span::from_us(10));
    driver.command(atc_inv(Some(1), 0x1000, 0));
    driver.sync_without_waiting();
    driver.wait_ns(9_999);
    assert!(endpoints.invalidations.borrow().is_empty());
    driver.wait_ns(1);
    endpoints.complete_first();
    assert!(!is_stopped(&driver));
    driver.wait_ns(100_000);
    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 0);
}

#[test]
fn a_function_has_32_invalidations_under_way_and_the_queue_waits() {
    let (driver, endpoints) = ready();
    for page in 0..33 {
        driver.command(atc_inv(Some(1), page << 12, 0));
    }
    assert_eq!(endpoints.invalidations.borrow().len(), 32);
    assert!(is_stopped(&driver));
    endpoints.complete_first();
    assert_eq!(endpoints.invalidations.borrow().len(), 33);
    assert!(!is_stopped(&driver));
}

#[test]
fn a_queue_that_is_switched_off_waits_for_nothing() {
    let (driver, endpoints) = ready();
    driver.command(atc_inv(Some(1), 0x1000, 0));
    driver.sync_without_waiting();
    driver.write32(0x20, 0x17);
    endpoints.complete_first();
    assert!(is_stopped(&driver));
    driver.write32(0x20, 0x1f);
    assert!(!is_stopped(&driver));
}

#[test]
fn without_endpoints_invalidations_are_done() {
    let driver = Driver::new(Config {
        ats: true,
        ..Config::default()
    });
    driver.start();
    driver.command(atc_inv(None, 0, 52));
    driver.sync();
    // Nor does it take the SMMU to be there.
    let (driver, endpoints) = ready();
    driver.command(atc_inv(None, 0, 52));
    drop(driver);
    endpoints.complete_first();
}

#[test]
fn a_verdict_makes_a_mapped_page_look_absent() {
    let (driver, _) = ready();
    driver.map(0x1000, 0x10_0000 | USER_RW);
    driver.smmu.watch(Points::TRANSLATION);
    for fault in [FaultType::Translation, FaultType::Permission] {
        let verdicts = &driver.probe.translations;
        verdicts.push(OnTranslation::Fault(fault));
        assert_eq!(ask(&driver, request(0x1000, true)), NOTHING);
    }
    driver.probe.translations.push(OnTranslation::Abort);
    assert_eq!(
        ask(&driver, request(0x1000, true)),
        AtsCompletion::CompleterAbort
    );
    driver.probe.translations.push(OnTranslation::Evict);
    assert_eq!(
        ask(&driver, request(0x1000, true)),
        range(0x10_0000, 12, true, true)
    );
}

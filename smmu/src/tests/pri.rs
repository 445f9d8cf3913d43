//! The page request queue: entries, interrupts, overflow, automatic responses, CMD_PRI_RESP.
//!
//! Words are put together from the masks of Linux's arm-smmu-v3.h: `PRIQ_0_*`, `PRIQ_1_*`,
//! `CMDQ_PRI_*`.

use std::rc::Rc;

use stallbox_timeline::Span;

use super::ats::{PAGE_REQUEST_QUEUE, PAGE_REQUESTS_LOG2, Recorder, ready, ready_with, ste_ats};
use crate::testing::*;
use crate::*;

/// PRIQ_0_SSID_V, PRIQ_0_PRG_LAST, PRIQ_0_PERM_WRITE, PRIQ_0_PERM_READ, PRIQ_0_PERM_EXEC,
/// PRIQ_0_PERM_PRIV.
const SSV: u64 = 1 << 63;
const LAST: u64 = 1 << 62;
const WRITE: u64 = 1 << 61;
const READ: u64 = 1 << 60;
const EXEC: u64 = 1 << 59;
const PRIV: u64 = 1 << 58;
/// PRIQ_0_SID and PRIQ_0_SSID of the process.
const WHO: u64 = SSV | 1 << 32 | SID as u64;

/// A request of the process to write a page, the last of its group.
fn wanted(index: u16) -> PageRequest {
    PageRequest {
        stream: StreamId(SID),
        substream: Some(SubstreamId(1)),
        address: 0x1000 * (u64::from(index) + 1) + 0x234,
        read: false,
        write: true,
        execute: false,
        privileged: false,
        last: true,
        index,
    }
}

fn more(index: u16) -> PageRequest {
    PageRequest {
        last: false,
        ..wanted(index)
    }
}

fn marker() -> PageRequest {
    PageRequest::stop_marker(StreamId(SID), SubstreamId(1))
}

fn send(driver: &Driver, request: PageRequest) {
    driver.smmu.page_request(request);
    driver.run();
}

/// Takes all entries from the queue, as Linux does.
fn entries(driver: &Driver) -> Vec<[u64; 2]> {
    let mask = (2 << PAGE_REQUESTS_LOG2) - 1;
    let mut entries = Vec::new();
    loop {
        let (prod, cons) = (driver.read32(0x1_00c8), driver.read32(0x1_00cc));
        if prod & mask == cons & mask {
            return entries;
        }
        let at = PAGE_REQUEST_QUEUE + 16 * u64::from(cons & (mask >> 1));
        entries.push([driver.memory.load(at), driver.memory.load(at + 8)]);
        driver.write32(0x1_00cc, cons & 1 << 31 | (cons + 1) & mask);
    }
}

fn overflowed(driver: &Driver) -> bool {
    (driver.read32(0x1_00c8) ^ driver.read32(0x1_00cc)) & 1 << 31 != 0
}

/// Linux's queue_sync_cons_ovf: OVACKFLG becomes what OVFLG is.
fn acknowledge(driver: &Driver) {
    let prod = driver.read32(0x1_00c8);
    let cons = driver.read32(0x1_00cc);
    driver.write32(0x1_00cc, prod & 1 << 31 | cons & !(1 << 31));
}

fn responses(recorder: &Recorder) -> Vec<(Option<u32>, u16, PageResponseCode)> {
    let sent = recorder.responses.take();
    sent.into_iter()
        .map(|(stream, response)| {
            assert_eq!(stream, StreamId(SID));
            let substream = response.substream.map(|substream| substream.0);
            (substream, response.index, response.code)
        })
        .collect()
}

/// Fills the queue.
fn fill(driver: &Driver) {
    for index in 0..4 {
        send(driver, wanted(index));
    }
}

#[test]
fn a_request_becomes_an_entry_and_an_interrupt() {
    let (driver, recorder) = ready();
    driver.interrupts.take();
    send(&driver, wanted(5));
    assert_eq!(driver.interrupts.take(), [Line::PageRequestQueue]);
    assert_eq!(entries(&driver), [[WHO | LAST | WRITE, 0x6005]]);
    assert!(recorder.responses.borrow().is_empty());
}

#[test]
fn every_field_has_its_place() {
    let (driver, _) = ready();
    let request = PageRequest {
        substream: Some(SubstreamId(0xf_ffff)),
        address: 0xfedc_ba98_7654_3210,
        read: true,
        write: false,
        execute: true,
        privileged: true,
        last: false,
        index: 0x1ff,
        ..wanted(0)
    };
    send(&driver, request);
    let who = SSV | 0xf_ffff << 32 | u64::from(SID);
    let words = [who | READ | EXEC | PRIV, 0xfedc_ba98_7654_31ff];
    assert_eq!(entries(&driver), [words]);
}

#[test]
fn without_a_pasid_there_is_neither_execute_nor_privileged() {
    let (driver, _) = ready();
    send(
        &driver,
        PageRequest {
            substream: None,
            execute: true,
            privileged: true,
            ..wanted(0)
        },
    );
    assert_eq!(entries(&driver), [[u64::from(SID) | LAST | WRITE, 0x1000]]);
}

#[test]
fn a_stop_marker_is_queued_and_never_answered() {
    let (driver, recorder) = ready();
    assert!(marker().is_stop_marker());
    let without = PageRequest {
        substream: None,
        ..marker()
    };
    assert!(!without.is_stop_marker(), "without a PASID it is a request");
    send(&driver, marker());
    assert_eq!(entries(&driver), [[WHO | LAST, 0]]);
    assert!(recorder.responses.borrow().is_empty());
}

#[test]
fn the_interrupt_comes_when_the_queue_was_empty() {
    let (driver, _) = ready();
    driver.interrupts.take();
    send(&driver, more(0));
    send(&driver, wanted(0));
    assert_eq!(driver.interrupts.take(), [Line::PageRequestQueue]);
    entries(&driver);
    send(&driver, wanted(1));
    assert_eq!(driver.interrupts.take(), [Line::PageRequestQueue]);
    // IRQ_CTRL without PRIQ.
    entries(&driver);
    driver.write32(0x50, 0x5);
    send(&driver, wanted(2));
    assert_eq!(driver.interrupts.take(), []);
}

#[test]
fn with_lo_the_interrupt_comes_with_the_last_of_a_group() {
    let (driver, _) = ready();
    driver.write32(0x50, 0x5);
    driver.write32(0xdc, 1 << 31);
    assert_eq!(driver.read32(0xdc), 1 << 31);
    driver.write32(0x50, 0x7);
    driver.interrupts.take();
    send(&driver, more(0));
    assert_eq!(driver.interrupts.take(), []);
    send(&driver, wanted(0));
    send(&driver, wanted(1));
    assert_eq!(
        driver.interrupts.take(),
        [Line::PageRequestQueue, Line::PageRequestQueue]
    );
    send(&driver, wanted(2));
    driver.interrupts.take();
    // A last one that is lost counts; another does not.
    send(&driver, more(3));
    assert_eq!(driver.interrupts.take(), []);
    send(&driver, wanted(3));
    assert_eq!(driver.interrupts.take(), [Line::PageRequestQueue]);
}

#[test]
fn the_interrupt_can_be_a_message() {
    let (driver, _) = ready();
    driver.write32(0x50, 0x5);
    driver.write64(0xd0, 0x7000_0040);
    driver.write32(0xd8, 0x42);
    driver.write32(0x50, 0x7);
    driver.interrupts.take();
    send(&driver, wanted(0));
    assert_eq!(driver.memory.load(0x7000_0040), 0x42);
    assert_eq!(driver.interrupts.take(), []);

    // Refused, it is GERROR.MSI_PRIQ_ABT_ERR.
    entries(&driver);
    driver.memory.abort_at(0x7000_0040);
    send(&driver, wanted(1));
    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1 << 6);
    driver.write32(0x64, driver.read32(0x60));
    assert_eq!(driver.read32(0x64), 1 << 6);
}

#[test]
fn software_answers_with_each_code() {
    let (driver, recorder) = ready();
    // CMDQ_0_SSV, CMDQ_PRI_0_SSID, CMDQ_PRI_0_SID; CMDQ_PRI_1_GRPID, CMDQ_PRI_1_RESP.
    let answer = |ssid: Option<u64>, index: u64, code: u64| {
        let who = ssid.map_or(0, |ssid| 1 << 11 | ssid << 12);
        driver.command([0x41 | who | u64::from(SID) << 32, index | code << 12]);
        driver.run();
    };
    answer(Some(1), 0x1ff, 2);
    answer(Some(0xf_ffff), 0, 1);
    answer(None, 7, 0);
    assert_eq!(
        responses(&recorder),
        [
            (Some(1), 0x1ff, PageResponseCode::Success),
            (Some(0xf_ffff), 0, PageResponseCode::InvalidRequest),
            (None, 7, PageResponseCode::Failure),
        ]
    );
    answer(None, 7, 3);
    // CERROR_ILL.
    assert_eq!(driver.read32(0x9c) >> 24, 1);
    assert_eq!(responses(&recorder), []);
}

#[test]
fn an_overflow_is_answered_for_software() {
    let (driver, recorder) = ready();
    fill(&driver);
    assert!(!overflowed(&driver));
    send(&driver, more(4));
    assert!(overflowed(&driver));
    send(&driver, wanted(4));
    send(&driver, marker());
    // Success with the PASID: IDR3.PPS. The others are dropped.
    assert_eq!(
        responses(&recorder),
        [(Some(1), 4, PageResponseCode::Success)]
    );
    let counters = driver.smmu.counters();
    assert_eq!(
        (counters.pri_overflows, counters.page_requests_dropped),
        (1, 3)
    );
    assert_eq!(counters.page_responses_automatic, 1);
}

#[test]
fn nothing_enters_while_an_overflow_is_not_acknowledged() {
    let (driver, recorder) = ready();
    fill(&driver);
    send(&driver, wanted(4));
    assert_eq!(entries(&driver).len(), 4);
    send(&driver, wanted(5));
    assert_eq!(entries(&driver), [] as [[u64; 2]; 0]);
    assert_eq!(responses(&recorder).len(), 2);
    acknowledge(&driver);
    driver.interrupts.take();
    send(&driver, wanted(6));
    assert_eq!(entries(&driver), [[WHO | LAST | WRITE, 0x7006]]);
    assert_eq!(driver.interrupts.take(), [Line::PageRequestQueue]);
    assert_eq!(responses(&recorder), []);
    // The flag goes the other way the next time.
    fill(&driver);
    send(&driver, wanted(4));
    assert!(overflowed(&driver));
    assert_eq!(driver.read32(0x1_00c8) >> 31, 0);
}

fn without_pps() -> (Driver, Rc<Recorder>) {
    ready_with(Config {
        pps: false,
        ..Config::default()
    })
}

#[test]
fn without_pps_the_stream_says_whether_a_response_has_a_pasid() {
    let (driver, recorder) = without_pps();
    assert_eq!(driver.read32(0x0c) & 1 << 5, 0);
    fill(&driver);
    send(&driver, wanted(4));
    // STE.PPAR, STRTAB_STE_1_PPAR.
    let mut ste = ste_ats();
    ste[1] |= 1 << 18;
    driver.set_ste(SID, ste);
    send(&driver, wanted(5));
    let without = PageRequest {
        substream: None,
        ..wanted(6)
    };
    send(&driver, without);
    assert_eq!(
        responses(&recorder),
        [
            (None, 4, PageResponseCode::Success),
            (Some(1), 5, PageResponseCode::Success),
            (None, 6, PageResponseCode::Success),
        ]
    );
}

#[test]
fn a_stream_that_cannot_say_so_is_a_failure() {
    let (driver, recorder) = without_pps();
    // CR2.REC_CFG_ATS.
    driver.write32(0x20, 0x1e);
    driver.write32(0x2c, 0x8);
    driver.write32(0x20, 0x1f);
    fill(&driver);
    driver.set_ste(SID, [0; 8]);
    send(&driver, wanted(4));
    driver.command([0x03 | u64::from(SID) << 32, 1]);
    driver.memory.abort_at(STREAM_TABLE + 64 * u64::from(SID));
    send(&driver, wanted(5));
    assert_eq!(
        responses(&recorder),
        [
            (None, 4, PageResponseCode::Failure),
            (None, 5, PageResponseCode::Failure),
        ]
    );
    // C_BAD_STE and F_STE_FETCH tell why.
    let at = STREAM_TABLE + 64 * u64::from(SID);
    assert_eq!(
        driver.events(),
        [[0x105_0000_1804, 0, 0, 0], [0x105_0000_1803, 0, 0, at],]
    );
}

#[test]
fn a_disabled_queue_fails_every_request() {
    // PRIQEN clear; SMMUEN clear.
    for cr0 in [0x1d, 0x1e] {
        let (driver, recorder) = ready();
        driver.write32(0x20, cr0);
        send(&driver, more(0));
        send(&driver, wanted(0));
        send(&driver, marker());
        assert_eq!(
            responses(&recorder),
            [
                (None, 0, PageResponseCode::Failure),
                (None, 0, PageResponseCode::Failure),
            ]
        );
        assert_eq!(entries(&driver), [] as [[u64; 2]; 0]);
        assert!(!overflowed(&driver));
    }
}

#[test]
fn a_queue_that_refuses_a_write_is_broken_until_software_says() {
    let (driver, recorder) = ready();
    driver.interrupts.take();
    driver.memory.abort_at(PAGE_REQUEST_QUEUE);
    send(&driver, wanted(0));
    // GERROR.PRIQ_ABT_ERR.
    assert_eq!(driver.read32(0x60) ^ driver.read32(0x64), 1 << 3);
    assert_eq!(driver.interrupts.take(), [Line::GlobalError]);
    driver.memory.heal();
    send(&driver, wanted(1));
    assert_eq!(
        responses(&recorder),
        [
            (None, 0, PageResponseCode::Failure),
            (None, 1, PageResponseCode::Failure),
        ]
    );
    driver.write32(0x64, driver.read32(0x60));
    send(&driver, wanted(2));
    assert_eq!(entries(&driver).len(), 1);
}

#[test]
fn messages_take_their_time_and_keep_their_order() {
    let (driver, recorder) = ready();
    driver.probe.set(Step::PageRequest, Span::from_us(10));
    driver.smmu.page_request(more(0));
    driver.probe.set(Step::PageRequest, Span::from_us(1));
    driver.smmu.page_request(wanted(0));
    driver.smmu.page_request(marker());
    driver.wait_ns(9_999);
    assert_eq!(entries(&driver), [] as [[u64; 2]; 0]);
    driver.wait_ns(1);
    assert_eq!(
        entries(&driver),
        [
            [WHO | WRITE, 0x1000],
            [WHO | LAST | WRITE, 0x1000],
            [WHO | LAST, 0],
        ]
    );

    driver.probe.set(Step::PageResponse, Span::from_us(3));
    driver.command([0x41 | u64::from(SID) << 32, 2 << 12]);
    driver.wait_ns(2_999);
    assert!(recorder.responses.borrow().is_empty());
    driver.wait_ns(1);
    assert_eq!(recorder.responses.borrow().len(), 1);
}

#[test]
fn the_registers_are_guarded_and_have_aliases() {
    let (driver, _) = ready();
    let base = driver.read64(0xc0);
    assert_eq!(
        base,
        PAGE_REQUEST_QUEUE | 1 << 62 | u64::from(PAGE_REQUESTS_LOG2)
    );
    send(&driver, wanted(0));
    // PRIQEN guards base and PROD; CONS is software's always.
    driver.write64(0xc0, 0);
    driver.write32(0x1_00c8, 0x5);
    driver.write32(0xcc, 0x8000_0003);
    assert_eq!(driver.read64(0xc0), base);
    assert_eq!((driver.read32(0x1_00c8), driver.read32(0xc8)), (1, 1));
    assert_eq!(driver.read32(0x1_00cc), 0x8000_0003);
    // IRQ_CTRL.PRIQ guards the message.
    driver.write64(0xd0, 0x1000);
    driver.write32(0xdc, 1 << 31);
    assert_eq!((driver.read64(0xd0), driver.read32(0xdc)), (0, 0));

    driver.write32(0x20, 0x1d);
    driver.write32(0xc8, 0x8000_0005);
    assert_eq!(driver.read32(0x1_00c8), 0x8000_0005);
    // CR1's queue attributes are guarded by this queue too.
    driver.write32(0x20, 0x2);
    driver.write32(0x28, 0x3f);
    assert_ne!(driver.read32(0x28) & 0x3f, 0x3f);
}

#[test]
fn without_pri_there_is_no_queue() {
    let driver = Driver::with_process();
    for offset in [0xc0, 0xc4, 0xc8, 0xcc, 0xd0, 0xd8, 0xdc, 0x1_00c8, 0x1_00cc] {
        driver.write32(offset, u32::MAX);
        assert_eq!(driver.read32(offset), 0, "{offset:#x}");
    }
    let recorder = Rc::new(Recorder::default());
    driver.smmu.connect(recorder.clone());
    send(&driver, wanted(0));
    assert_eq!(responses(&recorder), [(None, 0, PageResponseCode::Failure)]);
}

#[test]
fn a_verdict_loses_overflows_or_answers_a_request() {
    let (driver, recorder) = ready();
    driver.smmu.watch(Points::PAGE_REQUEST);
    driver.probe.page_requests.push(OnPageRequest::Lose);
    send(&driver, wanted(0));
    assert_eq!(responses(&recorder), []);
    driver
        .probe
        .page_requests
        .push(OnPageRequest::Answer(PageResponseCode::InvalidRequest));
    send(&driver, wanted(1));
    assert_eq!(
        responses(&recorder),
        [(Some(1), 1, PageResponseCode::InvalidRequest)]
    );
    driver.probe.page_requests.push(OnPageRequest::Overflow);
    send(&driver, wanted(2));
    assert!(overflowed(&driver));
    assert_eq!(
        responses(&recorder),
        [(Some(1), 2, PageResponseCode::Success)]
    );
    assert_eq!(entries(&driver), [[WHO | WRITE, 0x3002]; 4]);
    acknowledge(&driver);

    let gate = driver
        .probe
        .page_requests
        .push_behind_gate(OnPageRequest::Go);
    send(&driver, wanted(3));
    assert_eq!(entries(&driver), [] as [[u64; 2]; 0]);
    gate.open();
    driver.run();
    assert_eq!(entries(&driver).len(), 1);
}

#[test]
fn software_hears_of_an_overflow_that_a_verdict_makes() {
    let (driver, recorder) = ready();
    driver.smmu.watch(Points::PAGE_REQUEST);
    driver.interrupts.take();
    driver.probe.page_requests.push(OnPageRequest::Overflow);
    send(&driver, wanted(0));
    assert_eq!(driver.interrupts.take(), [Line::PageRequestQueue]);
    assert_eq!(driver.smmu.counters().pri_overflows, 1);
    // While it is not acknowledged, another is as one that overflows by itself.
    driver.probe.page_requests.push(OnPageRequest::Overflow);
    send(&driver, marker());
    assert_eq!(driver.smmu.counters().pri_overflows, 1);
    assert_eq!(
        responses(&recorder),
        [(Some(1), 0, PageResponseCode::Success)]
    );
    assert_eq!(entries(&driver).len(), 4);
}

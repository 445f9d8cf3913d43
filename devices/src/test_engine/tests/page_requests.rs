//! The device that translates addresses itself: it asks for pages, counts them, stops, and prefills.

use stallbox_timeline::Span;

use super::guest::*;
use crate::dma::{PageResponseCode, Pasid};
use crate::test_engine::FaultMode;

const PAGE_REQUESTS: FaultMode = FaultMode::PageRequest { prefill: false };
const PREFILL: FaultMode = FaultMode::PageRequest { prefill: true };

/// A counter of queue 0's page.
fn counter(guest: &Guest, index: u64) -> u64 {
    guest.read64(2, window(0) + 0x40 + 8 * index)
}

#[test]
fn the_capabilities_are_there_only_if_the_device_has_them() {
    let guest = Guest::powered_on(PAGE_REQUESTS);
    guest.extended(0x0f);
    let pri = guest.extended(0x13);
    // Stopped, and responses need their PASID; 512 requests outstanding.
    assert_eq!(guest.config32(pri + 4) >> 16, 0x8100);
    assert_eq!(guest.config32(pri + 8), 512);
    assert_eq!(guest.read(0, 0x08), 0x1_0004);
    assert_eq!(Guest::powered_on(PREFILL).read(0, 0x08), 0x3_0004);
    assert_eq!(Guest::bare().read(0, 0x08), 4);
    // A driver sees, and so does a program, whether page requests are enabled.
    let enabled = Guest::with(PAGE_REQUESTS);
    assert_eq!(enabled.read(0, 0x08), 0x5_0004);
    assert_eq!(enabled.read(2, window(1) + 0x10), 0x5_0004);
    // PASID is all there is without.
    assert_eq!(Guest::bare().config32(0x100) >> 20, 0);
}

#[test]
fn an_absent_page_is_asked_for_and_the_access_waits_for_the_answer() {
    let guest = Guest::with(PAGE_REQUESTS);
    let mut queue = guest.start(0, Setup::default());
    let absent = DESTINATION..DESTINATION + 4096;
    guest.memory.absent.borrow_mut().push(absent);
    guest.place(SOURCE, &[7; 8]);
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue), None);
    {
        let requests = guest.memory.page_requests.borrow();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].address & !0xfff, DESTINATION);
        assert_eq!(requests[0].pasid, Some(Pasid(PASID)));
        assert!(requests[0].write && requests[0].last);
    }
    guest.memory.answer(0, PageResponseCode::Success);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue).map(|done| done.status), Some(0));
    assert_eq!(guest.bytes(DESTINATION, 8), [7; 8]);
    assert_eq!(counter(&guest, 6), 1);
    // It can be read, as the other counters, when the queue has stopped.
    guest.write(0, block(0), 0);
    assert_eq!(counter(&guest, 6), 1);
}

#[test]
fn the_pages_of_a_large_access_are_one_group() {
    let guest = Guest::with(PAGE_REQUESTS);
    let setup = Setup {
        access_log2: 14,
        ..Setup::default()
    };
    let mut queue = guest.start(0, setup);
    // All but the second page of the destination.
    for page in [0, 2, 3] {
        let at = DESTINATION + page * 4096;
        guest.memory.absent.borrow_mut().push(at..at + 4096);
    }
    guest.place(SOURCE, &[9; 4 * 4096]);
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 4 * 4096)]);
    guest.advance(Span::from_ms(1));
    {
        let requests = guest.memory.page_requests.borrow();
        let asked: Vec<(u64, bool)> = requests
            .iter()
            .map(|it| ((it.address - DESTINATION) / 4096, it.last))
            .collect();
        assert_eq!(asked, [(0, false), (2, false), (3, true)]);
        assert!(requests.iter().all(|it| it.index == requests[0].index));
    }
    // One answer for all of them.
    guest.memory.absent.borrow_mut().clear();
    guest.memory.answer(2, PageResponseCode::Success);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue).map(|done| done.status), Some(0));
    assert_eq!(guest.bytes(DESTINATION, 4 * 4096), [9; 4 * 4096]);
    assert_eq!(counter(&guest, 6), 3);
}

#[test]
fn a_page_that_there_is_not_aborts_the_access() {
    let guest = Guest::with(PAGE_REQUESTS);
    let mut queue = guest.start(0, Setup::default());
    guest.memory.absent.borrow_mut().push(SOURCE..SOURCE + 4096);
    guest.submit(&mut queue, &[copy(SOURCE + 16, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    guest.memory.answer(0, PageResponseCode::InvalidRequest);
    guest.advance(Span::from_ms(1));
    let done = guest.poll(&mut queue).expect("a completion");
    assert_eq!((done.status, done.detail), (0x90, SOURCE + 16));
}

#[test]
fn page_requests_are_counted_from_the_queue_s_start() {
    let guest = Guest::with(PAGE_REQUESTS);
    for round in 0..2 {
        let page = SOURCE + round * 4096;
        guest.memory.absent.borrow_mut().push(page..page + 4096);
        guest.place(0x1_0000, &[0; 0x2000]);
        let mut queue = guest.start(0, Setup::default());
        guest.submit(&mut queue, &[copy(page, DESTINATION, 8)]);
        guest.advance(Span::from_ms(1));
        guest
            .memory
            .answer(round as usize, PageResponseCode::Success);
        guest.advance(Span::from_ms(1));
        assert_eq!(counter(&guest, 6), 1);
        guest.write(0, block(0), 0);
        // The Stop Marker of the last queue of a PASID comes after its requests.
        let last = guest.memory.page_requests.borrow_mut().pop();
        assert!(last.is_some_and(|it| it.last && !it.read && !it.write));
    }
}

#[test]
fn the_last_queue_of_an_address_space_gives_up_its_page_requests() {
    let guest = Guest::with(PAGE_REQUESTS);
    let mut queue = guest.start(0, Setup::default());
    guest.start(1, Setup::default());
    guest.memory.absent.borrow_mut().push(SOURCE..SOURCE + 4096);
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    // Another one goes on with that PASID: the request stays, and so does its access.
    guest.write(0, block(0), 0);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.status(0), 0b10);
    assert_eq!(guest.memory.page_requests.borrow().len(), 1);
    guest.write(0, block(1), 0);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.status(0), 0);
    let marker = guest.memory.page_requests.borrow()[1];
    assert_eq!(marker.pasid, Some(Pasid(PASID)));
    assert!(marker.last && !marker.read && !marker.write);
    // The late answer changes nothing.
    guest.memory.answer(0, PageResponseCode::Success);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue), None);
    assert!(guest.function.is_idle());
}

#[test]
fn prefill_asks_for_translations_but_not_for_pages() {
    for (fault, requested) in [(PAGE_REQUESTS, 0), (PREFILL, 8)] {
        let guest = Guest::with(fault);
        let mut queue = guest.start(0, Setup::default());
        guest
            .memory
            .absent
            .borrow_mut()
            .push(DESTINATION + 4096..DESTINATION + 8192);
        guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 4 * 4096)]);
        guest.advance(Span::from_ms(1));
        // Source and destination, of which one page is absent.
        assert_eq!(counter(&guest, 14), requested);
        assert_eq!(counter(&guest, 15), requested - requested.min(1));
        // That one is asked for when its turn comes.
        assert_eq!(guest.memory.page_requests.borrow().len(), 1);
        guest.memory.answer(0, PageResponseCode::Success);
        guest.advance(Span::from_ms(1));
        assert_eq!(guest.poll(&mut queue).map(|done| done.status), Some(0));
    }
}

#[test]
fn a_device_whose_translations_are_off_does_as_if_it_had_none() {
    let guest = Guest::with(PAGE_REQUESTS);
    guest.config16(guest.extended(0x0f) + 6, 0);
    let mut queue = guest.start(0, Setup::default());
    guest.memory.absent.borrow_mut().push(SOURCE..SOURCE + 4096);
    guest.run(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    assert_eq!(guest.memory.translations.get(), 0);
}

#[test]
fn a_reset_of_the_function_leaves_no_page_request_behind() {
    let guest = Guest::with(PAGE_REQUESTS);
    let mut queue = guest.start(0, Setup::default());
    guest.memory.absent.borrow_mut().push(SOURCE..SOURCE + 4096);
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    guest.config16(guest.capability(0x10) + 8, 0x8000);
    guest.advance(Span::from_ms(1));
    assert!(guest.function.is_idle());
    // Enable of ATS and PRI are off.
    assert_eq!(guest.config32(guest.extended(0x0f) + 4) >> 31, 0);
    assert_eq!(guest.config32(guest.extended(0x13) + 4) & 1, 0);
}

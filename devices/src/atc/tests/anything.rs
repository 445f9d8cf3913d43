//! Nothing that software answers, or writes to the capabilities, may panic, hang or let the cache use
//! what it was told to forget.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Action {
    Map {
        page: u64,
        large: bool,
        write: bool,
    },
    Unmap {
        page: u64,
        size_log2: u8,
    },
    Read {
        page: u64,
        bytes: usize,
    },
    Write {
        page: u64,
    },
    Respond {
        index: u16,
        code: PageResponseCode,
        pasid: bool,
    },
    Stop,
    Prefill {
        page: u64,
    },
    Ats(u32),
    Pri {
        register: u16,
        value: u32,
    },
    Wait(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let page = || 0..8_u64;
    let code = prop::sample::select(vec![
        PageResponseCode::Success,
        PageResponseCode::Success,
        PageResponseCode::InvalidRequest,
        PageResponseCode::Failure,
    ]);
    prop_oneof![
        6 => (page(), any::<bool>(), any::<bool>())
            .prop_map(|(page, large, write)| Action::Map { page, large, write }),
        4 => (page(), 12..16_u8).prop_map(|(page, size_log2)| Action::Unmap { page, size_log2 }),
        8 => (page(), 1..0x3000_usize).prop_map(|(page, bytes)| Action::Read { page, bytes }),
        4 => page().prop_map(|page| Action::Write { page }),
        8 => (0..8_u16, code, any::<bool>())
            .prop_map(|(index, code, pasid)| Action::Respond { index, code, pasid }),
        1 => Just(Action::Stop),
        2 => page().prop_map(|page| Action::Prefill { page }),
        // ENABLE with STU 0 more often than anything.
        1 => prop_oneof![3 => Just(0x8000_0000_u32), 1 => any::<u32>()].prop_map(Action::Ats),
        2 => (prop::sample::select(vec![0x4_u16, 0x4, 0xc]), prop_oneof![0..8_u32, any::<u32>()])
            .prop_map(|(register, value)| Action::Pri { register, value }),
        6 => (0..3_000_u64).prop_map(Action::Wait),
    ]
}

/// Takes pages away, waits for the completion, and then nothing of the range may be cached.
fn unmap(rig: &Rig, first: u64, size_log2: u8) {
    let first = first & !low_mask(size_log2);
    let last = first | low_mask(size_log2);
    let mut gone = Vec::new();
    rig.root.pages.borrow_mut().retain(|(_, at), range| {
        let from = at & !low_mask(range.size_log2);
        let stays = from > last || from | low_mask(range.size_log2) < first;
        if !stays {
            gone.push(range.address >> 12);
        }
        stays
    });
    let completed = invalidate(rig, first, size_log2);
    rig.wait_ns(2_000);
    assert!(completed.get(), "no transaction takes that long");
    for entry in rig.atc.entries() {
        assert!(entry.first > last || entry.last() < first, "{entry:x?}");
    }
    rig.root.forgotten.borrow_mut().extend(gone);
}

fn act(rig: &mut Rig, action: Action) {
    match action {
        Action::Map {
            page,
            large: true,
            write,
        } => {
            // Four pages at once; what was there before is taken away first, as software does.
            let first = page << 12 & !0x3fff;
            unmap(rig, first, 14);
            rig.map(first, 0x100_0000 + first, 14, write);
        }
        Action::Map { page, write, .. } => {
            unmap(rig, page << 12, 12);
            rig.map(page << 12, 0x200_0000 + (page << 12), 12, write);
        }
        Action::Unmap { page, size_log2 } => unmap(rig, page << 12, size_log2),
        Action::Read { page, bytes } => {
            rig.read((page << 12) + 0x123, bytes);
        }
        Action::Write { page } => {
            rig.write((page << 12) + 0xffe, &[1, 2, 3, 4]);
        }
        Action::Respond { index, code, pasid } => {
            rig.atc.page_response(PageResponse {
                pasid: PROCESS.pasid.filter(|_| pasid),
                index,
                code,
            });
            rig.timeline.run_ready();
        }
        Action::Stop => rig.atc.stop_pasid(Pasid(5)),
        Action::Prefill { page } => {
            let atc = rig.atc.clone();
            rig.timeline.spawn(async move {
                atc.prefill(PROCESS, page << 12, 0x4000, true).await;
            });
        }
        Action::Ats(value) => {
            let _ = rig.ats.write(4, value, 0xffff_0000);
        }
        Action::Pri { register, value } => {
            let _ = rig.pri.write(register, value, u32::MAX);
        }
        Action::Wait(ns) => rig.wait_ns(ns),
    }
    rig.timeline.run_ready();
    assert!(rig.atc.page_requests_outstanding() <= 16, "the capacity");
    assert!(rig.atc.entries().len() <= 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_sequence_of_actions_uses_what_was_invalidated(
        actions in prop::collection::vec(action(), 1..60),
        group_pages in 1..4_u32,
        timed in any::<bool>(),
    ) {
        let run = || {
            let mut rig = Rig::new(AtcConfig { entries: 4, group_pages, prefill_depth: 2 });
            if timed {
                rig.root.translation.set(Span::from_ns(300));
                rig.root.transaction.set(Span::from_ns(700));
            }
            for action in &actions {
                act(&mut rig, *action);
            }
            // Function level reset: afterwards nothing is left of what was going on.
            rig.ats.reset();
            rig.pri.reset();
            rig.wait_ns(100_000);
            assert_eq!(rig.timeline.live_tasks(), 0);
            assert_eq!(rig.timeline.next_event(), None);
            assert_eq!(rig.atc.page_requests_outstanding(), 0);
            let requests = rig.root.requests.take();
            (rig.atc.counters(), requests, rig.timeline.now())
        };
        prop_assert_eq!(run(), run());
    }
}

//! Nothing that a guest does may panic, hang or grow without end.

use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;
use stallbox_timeline::Span;

use super::ats::{PAGE_REQUEST_QUEUE, Recorder, ste_ats};
use crate::queue::Ring;
use crate::testing::{
    COMMAND_QUEUE, CONTEXT_TABLE, Driver, SID, STREAM_TABLE, cd_sva, process_transaction,
    ste_stage1,
};
use crate::{Access, Config, PageRequest, Step, StreamId, SubstreamId, TranslationRequest};

#[derive(Clone, Debug)]
enum Action {
    Register {
        offset: u64,
        value: u64,
        wide: bool,
    },
    Command([u64; 2]),
    Ste {
        sid: u32,
        flip: u64,
        word: usize,
    },
    Cd {
        ssid: u32,
        flip: u64,
        word: usize,
    },
    Descriptor {
        level: u32,
        value: u64,
    },
    Access {
        sid: u32,
        ssid: Option<u32>,
        address: u64,
        access: Access,
    },
    /// What an endpoint with a translation cache does.
    Translation {
        sid: u32,
        ssid: Option<u32>,
        address: u64,
        access: Access,
    },
    Translated {
        sid: u32,
        address: u64,
        access: Access,
    },
    PageRequest {
        sid: u32,
        ssid: Option<u32>,
        address: u64,
        flags: [bool; 3],
        index: u16,
    },
    CompleteInvalidation,
    Abort(u64),
    Wait(u64),
}

/// Values that mean something more often than random ones do.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..64_u32).prop_map(|at| 1 << at),
        0..64_u64,
        Just(COMMAND_QUEUE | 3),
        Just(u64::MAX),
    ]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![
            0x20, 0x2c, 0x44, 0x50, 0x64, 0x80, 0x88, 0x90, 0x98, 0x9c, 0xa0, 0xb0, 0xc0, 0xd0,
            0xdc, 0x1_00a8, 0x1_00ac, 0x1_00c8, 0x1_00cc,
        ]),
        (0..0x40_u64).prop_map(|word| word * 4),
        0..0x2_0010_u64,
    ]
}

fn command() -> impl Strategy<Value = [u64; 2]> {
    let opcode = prop::sample::select(vec![
        0x01_u64, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x30, 0x44, 0x45, 0x46, 0x40,
        0x41,
    ]);
    let whom = prop_oneof![Just(u64::from(SID) << 32), any::<u64>()];
    (opcode, whom, prop_oneof![0..8_u64, any::<u64>()]).prop_map(|(opcode, whom, word1)| {
        // Now and then a Secure one, which is illegal.
        let word0 = opcode | whom & !0x4ff | if whom % 16 == 5 { 0x400 } else { 0 };
        [word0, word1]
    })
}

fn access() -> impl Strategy<Value = Access> {
    any::<[bool; 3]>().prop_map(|[write, privileged, instruction]| Access {
        write,
        privileged,
        instruction,
    })
}

fn action() -> impl Strategy<Value = Action> {
    let sid = || prop_oneof![3 => Just(SID), 1 => any::<u32>()];
    let ssid = || prop_oneof![4 => (0..9_u32).prop_map(Some), 1 => Just(None), 1 => any::<u32>().prop_map(Some)];
    let address = || prop_oneof![4 => 0..0x4000_u64, 1 => any::<u64>()];
    prop_oneof![
        4 => (offset(), value(), any::<bool>())
            .prop_map(|(offset, value, wide)| Action::Register { offset, value, wide }),
        6 => command().prop_map(Action::Command),
        1 => (sid(), value(), 0..8_usize)
            .prop_map(|(sid, flip, word)| Action::Ste { sid, flip, word }),
        1 => (0..8_u32, value(), 0..8_usize)
            .prop_map(|(ssid, flip, word)| Action::Cd { ssid, flip, word }),
        2 => (0..4_u32, value()).prop_map(|(level, value)| Action::Descriptor { level, value }),
        8 => (sid(), ssid(), address(), access())
            .prop_map(|(sid, ssid, address, access)| Action::Access { sid, ssid, address, access }),
        3 => (sid(), ssid(), address(), access()).prop_map(|(sid, ssid, address, access)| {
            Action::Translation { sid, ssid, address, access }
        }),
        1 => (sid(), address(), access())
            .prop_map(|(sid, address, access)| Action::Translated { sid, address, access }),
        3 => (sid(), ssid(), address(), any::<[bool; 3]>(), any::<u16>()).prop_map(
            |(sid, ssid, address, flags, index)| {
                Action::PageRequest { sid, ssid, address, flags, index }
            }
        ),
        2 => Just(Action::CompleteInvalidation),
        1 => prop::sample::select(vec![STREAM_TABLE, CONTEXT_TABLE, COMMAND_QUEUE, 0x1000])
            .prop_map(Action::Abort),
        2 => (0..10_000_u64).prop_map(Action::Wait),
    ]
}

fn act(driver: &Driver, endpoints: &Recorder, action: &Action) {
    match *action {
        Action::Register {
            offset,
            value,
            wide: true,
        } => driver.write64(offset & !7, value),
        Action::Register { offset, value, .. } => driver.write32(offset, value as u32),
        Action::Command(words) => driver.command(words),
        Action::Ste { sid, flip, word } => {
            let at = STREAM_TABLE + 64 * u64::from(sid);
            let mut ste = ste_stage1(CONTEXT_TABLE, 3);
            ste[word] ^= flip;
            driver.memory.store(at, &ste);
        }
        Action::Cd { ssid, flip, word } => {
            let mut cd = cd_sva(ssid as u16, Driver::root(1));
            cd[word] ^= flip;
            driver
                .memory
                .store(CONTEXT_TABLE + 64 * u64::from(ssid), &cd);
        }
        Action::Descriptor { level, value } => {
            driver.map_at(Driver::root(1), level, 0x1000, value);
        }
        Action::Access {
            sid,
            ssid,
            address,
            access,
        } => {
            let mut transaction = process_transaction(address, access);
            transaction.stream = StreamId(sid);
            transaction.substream = ssid.map(SubstreamId);
            driver.begin(transaction);
        }
        Action::Translation {
            sid,
            ssid,
            address,
            access,
        } => {
            let smmu = driver.smmu.clone();
            let request = TranslationRequest {
                stream: StreamId(sid),
                substream: ssid.map(SubstreamId),
                address,
                write: access.write,
                execute: access.instruction,
                privileged: access.privileged,
            };
            driver.timeline.spawn(async move {
                smmu.translation_request(request).await;
            });
        }
        Action::Translated {
            sid,
            address,
            access,
        } => {
            let mut transaction = process_transaction(address, access);
            transaction.stream = StreamId(sid);
            let smmu = driver.smmu.clone();
            driver.timeline.spawn(async move {
                let _ = smmu.translated(transaction).await;
            });
        }
        Action::PageRequest {
            sid,
            ssid,
            address,
            flags: [read, write, last],
            index,
        } => driver.smmu.page_request(PageRequest {
            stream: StreamId(sid),
            substream: ssid.map(SubstreamId),
            address,
            read,
            write,
            execute: read && write,
            privileged: last && write,
            last,
            index,
        }),
        Action::CompleteInvalidation => {
            if !endpoints.completions.borrow().is_empty() {
                endpoints.complete_first();
            }
        }
        Action::Abort(address) => driver.memory.abort_at(address),
        Action::Wait(ns) => driver.wait_ns(ns),
    }
    driver.run();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_sequence_of_guest_actions_is_too_much(
        actions in prop::collection::vec(action(), 1..60),
        timed in any::<bool>(),
        ats in any::<bool>(),
        stall_max in 1..4_u16,
    ) {
        let run = || {
            let driver = Driver::new(Config {
                stall_max,
                tlb_entries: 4,
                ats,
                pri: ats,
                priq_log2: 2,
                pps: timed,
                ..Config::default()
            });
            let endpoints = Rc::new(Recorder::default());
            driver.smmu.connect(endpoints.clone());
            driver.start();
            if ats {
                driver.write64(0xc0, PAGE_REQUEST_QUEUE | 2);
                driver.write32(0x20, 0x1f);
            }
            driver.set_ste(SID, ste_ats());
            driver.set_cd(1, cd_sva(1, Driver::root(1)));
            if timed {
                for step in Step::ALL {
                    driver.probe.set(step, Span::from_ns(300));
                }
            }
            for action in &actions {
                act(&driver, &endpoints, action);
            }
            // Software gives up: afterwards nothing may be left of what was going on.
            driver.write32(0x20, 0);
            driver.wait_ns(1_000_000);
            assert!(driver.smmu.outstanding_stalls().is_empty());
            assert_eq!(driver.timeline.live_tasks(), 0);
            assert_eq!(driver.timeline.next_event(), None);
            let counters = driver.smmu.counters();
            assert!(counters.page_responses_automatic <= counters.page_requests_dropped);
            (driver.probe.take(), counters)
        };
        // And the same again is the same again.
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_ring_is_a_queue(
        log2 in 0..5_u64,
        base in any::<u64>(),
        pushes in prop::collection::vec(any::<bool>(), 1..200),
    ) {
        let ring = Ring::new(base & !0x1f | log2, 19, 16);
        let (mut prod, mut cons, mut model) = (0, 0, VecDeque::new());
        let mut next = 0_u64;
        for push in pushes {
            prop_assert_eq!(ring.is_empty(prod, cons), model.is_empty());
            prop_assert_eq!(ring.is_full(prod, cons), model.len() == 1 << log2);
            if push && !ring.is_full(prod, cons) {
                model.push_back(ring.address(prod));
                prop_assert_eq!(ring.address(prod) % (16 << log2), next % (1 << log2) * 16);
                prod = ring.next(prod);
                next += 1;
            } else if !push && !ring.is_empty(prod, cons) {
                prop_assert_eq!(model.pop_front(), Some(ring.address(cons)));
                cons = ring.next(cons);
            }
            prop_assert!(u64::from(prod) < 2 << log2);
        }
    }
}

//! One event of each kind, and of those that can look different another.

use stallbox_faultplan::{self as plan, FaultKind, Point};
use stallbox_smmu::{EventType, PageResponseCode, Response};
use stallbox_trace::*;

const ADDRESS: Hex = Hex(0xffff_b01c_8000);
const RECORD: [u64; 4] = [
    0x0000_0008_0000_1810,
    0x0000_0208_8000_0007,
    0xffff_b01c_8000,
    0,
];

/// All of them.
pub(crate) fn events() -> Vec<Event> {
    [guest(), accelerators(), smmu(), ats(), plans(), checkers()].concat()
}

fn guest() -> Vec<Event> {
    let mut events = vec![
        Event::Ready {},
        Event::Exit { status: Some(0) },
        Event::Exit { status: None },
        Event::Marker {
            name: "go".to_owned(),
        },
        Event::Console {
            line: "a \"line\" \u{1f600} \u{7}".to_owned(),
        },
    ];
    events.extend(KernelReportKind::ALL.map(|kind| Event::KernelReport {
        kind,
        line: "BUG".to_owned(),
    }));
    events.extend(Block::ALL.map(|block| Event::Unmodelled {
        block,
        stream: (block <= Block::Bar5).then_some(8),
        offset: Hex(0x10_0104),
        write: block == Block::Smmu,
        value: Hex(u64::MAX),
    }));
    events
}

fn accelerators() -> Vec<Event> {
    let (stream, queue) = (8, 2);
    let mut events = vec![
        Event::Doorbell {
            stream,
            queue,
            tail: 1,
        },
        Event::DoorbellIgnored {
            stream,
            queue,
            tail: 1024,
        },
        Event::JobDone {
            stream,
            queue,
            tag: None,
            status: 0x13,
            consumed_bytes: 4096,
            produced_bytes: 17,
        },
        Event::JobDone {
            stream: 16,
            queue,
            tag: Some(Hex(u64::MAX)),
            status: 0,
            consumed_bytes: 4096,
            produced_bytes: 4096,
        },
        Event::JobCompleted {
            stream,
            queue,
            slot: Some(3),
            tag: None,
        },
        Event::JobCompleted {
            stream: 16,
            queue,
            slot: None,
            tag: Some(Hex(7)),
        },
        Event::JobDropped { stream, queue },
        Event::QueueDisabled { stream, queue },
        Event::QueueFailed {
            stream,
            queue,
            failure: None,
        },
        Event::QueueFailed {
            stream: 16,
            queue,
            failure: Some(3),
        },
        Event::Mailbox {
            stream,
            command: 4,
            queue,
            status: 0,
        },
        Event::Interrupt { stream, vector: 1 },
        Event::DeviceReset { stream },
        Event::Msi {
            device: 0xffff,
            event_id: 1,
        },
    ];
    for pasid in [Some(1), None] {
        events.extend([
            Event::JobStarted {
                stream,
                queue,
                pasid,
                tag: Hex(7),
                input_bytes: 4096,
            },
            Event::QueueEnabled {
                stream,
                queue,
                pasid,
            },
            Event::DmaAborted {
                stream,
                queue: pasid.map(|_| queue),
                pasid,
                address: ADDRESS,
                write: pasid.is_some(),
            },
            Event::DeviceFault {
                stream,
                pasid,
                address: ADDRESS,
                write: pasid.is_some(),
                stalls: 1,
                page_request_groups: pasid.map_or(0, |_| 2),
                latency_ns: 20_000,
                aborted: pasid.is_none(),
            },
        ]);
    }
    events
}

fn smmu() -> Vec<Event> {
    let (stream, address) = (8, ADDRESS);
    let mut events = vec![
        Event::EventRecord {
            words: RECORD.map(Word),
        },
        Event::EventDropped {
            words: RECORD.map(Word),
        },
        Event::Command {
            words: [0x46, 0].map(Word),
        },
        Event::CommandError { error: 1 },
        Event::TlbInvalidated { entries: 3 },
        Event::ConfigInvalidated { entries: 0 },
        Event::GlobalError { bits: Hex(4) },
    ];
    for substream in [Some(1), None] {
        events.extend([
            Event::Walk {
                stream,
                substream,
                address,
                steps: 4,
                found: false,
            },
            Event::SmmuFault {
                stream,
                substream,
                address,
                write: true,
                record: None,
                fault_stage: 0,
                stalled: false,
            },
            Event::StallHeld {
                stream,
                substream,
                address,
                write: true,
            },
            Event::Stalled {
                stream,
                substream,
                address,
                stag: 7,
            },
            Event::StallRetried {
                stream,
                substream,
                address,
                write: true,
            },
            Event::Terminated {
                stream,
                substream,
                address,
                write: true,
            },
        ]);
    }
    events.extend(EventType::ALL.map(|record| Event::SmmuFault {
        stream,
        substream: Some(1),
        address,
        write: false,
        record: Some(Name(record)),
        fault_stage: 1,
        stalled: true,
    }));
    events.extend(Response::ALL.map(|response| Event::Resume {
        stream,
        stag: 7,
        response: Name(response),
        matched: true,
    }));
    events
}

fn ats() -> Vec<Event> {
    let (stream, address) = (16, ADDRESS);
    let mut events = vec![
        Event::PageRequest {
            words: [0x9000_0001_0000_0010, 0xffff_b01c_8007].map(Word),
        },
        Event::PageResponseUnexpected { stream, index: 1 },
    ];
    for pasid in [Some(1), None] {
        events.extend([
            Event::AtcMiss {
                stream,
                pasid,
                address,
                write: false,
            },
            Event::PageRequestLost {
                stream,
                substream: pasid,
                address,
                index: 0x1ff,
                last: true,
                overflow: true,
            },
            Event::AtcInvalidated {
                stream,
                pasid,
                address,
                size_log2: 12,
                global: false,
                entries: 1,
                in_use: 2,
            },
            Event::AtcCompletionLost {
                stream,
                pasid,
                address: Hex(0),
                size_log2: 64,
                global: true,
            },
        ]);
    }
    events.extend(AtsAnswer::ALL.map(|answer| Event::AtsTranslation {
        stream,
        substream: Some(1),
        address,
        write: true,
        answer,
        readable: answer == AtsAnswer::Success,
        writable: false,
        size_log2: if answer == AtsAnswer::Success { 12 } else { 0 },
    }));
    events.extend(PageResponseCode::ALL.map(|code| Event::PageResponse {
        stream,
        substream: Some(1),
        index: 3,
        code: Name(code),
        automatic: code == PageResponseCode::Failure,
    }));
    events.extend(AtcInvalidateStage::ALL.map(|stage| Event::AtcInvalidate {
        stream,
        substream: Some(1),
        address,
        size_log2: 12,
        global: false,
        stage,
    }));
    events
}

fn acts() -> Vec<plan::Act> {
    let resume = |stag, retry| plan::Act::Resume {
        stag: Some(stag),
        retry,
    };
    let mut acts = vec![
        plan::Act::Go,
        plan::Act::Abort,
        plan::Act::Evict,
        plan::Act::Drop,
        plan::Act::Duplicate(3),
        plan::Act::OvertakenBy(2),
        plan::Act::Overflow,
        plan::Act::Replace(vec![0x46, 0]),
        resume(plan::Stag::Fixed(9), Some(false)),
        resume(plan::Stag::Next, None),
        resume(plan::Stag::Stale, Some(true)),
        plan::Act::Error(1),
        plan::Act::Fail(1),
    ];
    acts.extend(FaultKind::ALL.map(plan::Act::Fault));
    acts.extend(PageResponseCode::ALL.map(plan::Act::Answer));
    acts
}

fn effects() -> Vec<plan::Effect> {
    let device_event = |failure| {
        plan::Effect::DeviceEvent(plan::DeviceEvent {
            stream: Some(8),
            failure,
            queue: 2,
            kind: 1,
            count: 10,
        })
    };
    let device_error = |error| plan::Effect::DeviceError {
        stream: Some(8),
        error,
    };
    let name = || "forgetful".to_owned();
    vec![
        plan::Effect::WriteRecord(RECORD),
        plan::Effect::RunCommand([0x46, 0]),
        plan::Effect::EvictTlb(None),
        plan::Effect::EvictTlb(Some(0x1000)),
        device_event(false),
        device_event(true),
        plan::Effect::Touch(plan::Touch {
            stream: Some(8),
            pasid: Some(Some(1)),
            address: Some(0x1000),
            stride: 4096,
            count: 16,
            write: true,
        }),
        plan::Effect::RaiseMsi {
            stream: None,
            vector: 1,
        },
        device_error(plan::DeviceError::Status { qm: 1, zip: 0 }),
        device_error(plan::DeviceError::Queue {
            queue: Some(2),
            failure: 3,
        }),
        plan::Effect::DeviceReset { stream: None },
        plan::Effect::Open(name()),
        plan::Effect::Close(name()),
        plan::Effect::Enable(name()),
        plan::Effect::Disable(name()),
        plan::Effect::Marker(name()),
        plan::Effect::Pause,
    ]
}

fn plans() -> Vec<Event> {
    let mut events = vec![
        Event::Plan {
            rules: 3,
            seed: u64::MAX,
        },
        Event::EffectLeftOut {
            by: "late".to_owned(),
        },
        Event::FaultLoop {
            stream: 8,
            pasid: Some(1),
            address: ADDRESS,
            stalls: 100,
        },
    ];
    for it in Point::ALL {
        let known = it == Point::Command;
        events.push(Event::Injection {
            rule: "late".to_owned(),
            at: Name(it),
            act: Act::Go {},
            delay_ns: 1_000_000,
            gate: known.then(|| "hold".to_owned()),
            stream: known.then_some(8),
            pasid: known.then_some(1),
            address: known.then_some(ADDRESS),
            queue: known.then_some(2),
            code: known.then_some(0x44),
        });
    }
    events.extend(acts().iter().map(|act| Event::Injection {
        rule: "rule 1".to_owned(),
        at: Name(Point::Record),
        act: act.into(),
        delay_ns: 0,
        gate: None,
        stream: None,
        pasid: None,
        address: None,
        queue: None,
        code: None,
    }));
    for effect in effects() {
        events.push(Event::Effect {
            by: "control".to_owned(),
            stream: Some(8),
            effect: (&effect).into(),
        });
        events.push(Event::EffectFailed {
            by: "rule 1".to_owned(),
            stream: Some(8),
            effect: (&effect).into(),
            reason: WhyNot::NoAccelerator,
            taken: None,
        });
    }
    events.extend(WhyNot::ALL.map(|reason| Event::EffectFailed {
        by: "rule 1".to_owned(),
        stream: None,
        effect: Effect::DeviceReset {},
        reason,
        taken: (reason == WhyNot::Overflow).then_some(1023),
    }));
    events
}

fn checkers() -> Vec<Event> {
    let of = |check, finding, known: bool| Event::Report {
        check,
        finding,
        stream: 8,
        pasid: known.then_some(1),
        address: known.then_some(ADDRESS),
        output: known.then_some(Hex(0x4000_0000)),
    };
    let mut events: Vec<Event> = Check::ALL
        .map(|check| of(check, FindingKind::UnexpectedResume, false))
        .to_vec();
    events.extend(FindingKind::ALL.map(|finding| of(Check::Tlb, finding, true)));
    events
}

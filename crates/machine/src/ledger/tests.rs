use stallbox_faultplan::{Plan, Player};
use stallbox_smmu::{Access, PageResponse, PageResponseCode, Response, SubstreamId};

use super::super::faults::{command_subject, record_subject};
use super::*;

/// A read of 0xffffb01c8000 by PASID 1 that stalls with tag 7, as Linux decodes it
/// (arm-smmu-v3.h, `EVTQ_*`).
const RECORD: [u64; 4] = [
    0x0000_0008_0000_1810,
    0x0000_0208_8000_0007,
    0xffff_b01c_8000,
    0,
];
/// Its CMD_RESUME with a retry (`CMDQ_RESUME_*`).
const RESUME: [u64; 2] = [8 << 32 | 1 << 12 | 0x44, 7];
const STREAM: StreamId = StreamId(8);

fn transaction() -> Transaction {
    Transaction {
        stream: STREAM,
        substream: Some(SubstreamId(1)),
        address: 0xffff_b01c_8000,
        access: Access::READ,
    }
}

fn stalled(ledger: &Ledger) {
    ledger.noted(&Note::Stalled {
        transaction: transaction(),
        stag: 7,
    });
    ledger.noted(&Note::EventWritten { words: RECORD });
}

fn resumed(stag: u16, matched: bool) -> Note {
    Note::Resumed {
        stream: STREAM,
        stag,
        response: Response::Retry,
        matched,
    }
}

/// The rule of a plan, at work on this.
fn take(ledger: &Ledger, rule: &str, subject: &Subject<'_>) -> Took {
    let plan = Plan::parse(&format!("[[rule]]\nname = 'it'\n{rule}")).unwrap();
    let fired = Player::new(&plan, 1).ask(Time::ZERO, subject).unwrap();
    ledger.taken(subject, &fired.rule, fired.delay)
}

fn ledger() -> (Timeline, Rc<Ledger>) {
    let timeline = Timeline::new();
    let ledger = Ledger::new(&timeline);
    (timeline, ledger)
}

#[test]
fn a_stall_has_its_record_and_the_answers_that_rules_took() {
    let (timeline, ledger) = ledger();
    timeline.advance_to(Time::from_ns(500));
    stalled(&ledger);
    let lost = take(
        &ledger,
        "at = 'command'\ndo = { drop = true }",
        &command_subject(&RESUME),
    );
    {
        let entries = ledger.entries();
        let stall = &entries.stalls[&(8, 7)];
        assert_eq!(
            (stall.since, stall.record),
            (Time::from_ns(500), Told::Written(1))
        );
        assert_eq!(stall.answers, std::slice::from_ref(&lost));
        assert_eq!(
            (lost.act.as_str(), lost.stag, lost.time_ns),
            ("drop", Some(7), 500)
        );
        assert_eq!(entries.kept["it"].count, 1);
    }
    ledger.noted(&resumed(7, true));
    assert!(ledger.entries().stalls.is_empty());
    ledger.noted(&resumed(7, false));
    let unasked: Vec<_> = ledger.entries().unasked.iter().copied().collect();
    assert_eq!(unasked, [(Time::from_ns(500), 8, 7)]);
}

#[test]
fn a_stall_whose_record_is_lost_says_by_which_rule() {
    let (_timeline, ledger) = ledger();
    ledger.noted(&Note::Stalled {
        transaction: transaction(),
        stag: 7,
    });
    take(
        &ledger,
        "at = 'record'\ndo = { drop = true }",
        &record_subject(&RECORD, true),
    );
    ledger.noted(&Note::EventDropped { words: RECORD });
    let entries = ledger.entries();
    let stall = &entries.stalls[&(8, 7)];
    assert_eq!(stall.record, Told::Lost);
    assert_eq!(stall.record_taken.as_ref().unwrap().rule, "it");
    assert!(stall.answers.is_empty());
}

#[test]
fn a_stall_that_has_no_tag_is_held_until_it_gets_one_or_ends() {
    let (_timeline, ledger) = ledger();
    let held = Note::StallHeld {
        transaction: transaction(),
    };
    ledger.noted(&held);
    ledger.noted(&held);
    stalled(&ledger);
    assert_eq!(ledger.entries().held.len(), 1);
    ledger.noted(&Note::Terminated {
        transaction: transaction(),
    });
    assert!(ledger.entries().held.is_empty());
}

fn request(index: u16, pasid: u32) -> Note {
    let request = PageRequest {
        stream: STREAM,
        substream: Some(SubstreamId(pasid)),
        address: 0x1000,
        read: true,
        write: false,
        execute: false,
        privileged: false,
        last: true,
        index,
    };
    Note::PageRequestQueued {
        request,
        words: [0; 2],
    }
}

#[test]
fn page_request_groups_are_open_until_their_response() {
    let (_timeline, ledger) = ledger();
    let response = |substream: Option<u32>, index| Note::PageResponded {
        stream: STREAM,
        response: PageResponse {
            substream: substream.map(SubstreamId),
            index,
            code: PageResponseCode::Success,
        },
        automatic: false,
    };
    for note in [request(3, 1), request(3, 1), request(3, 2), request(4, 1)] {
        ledger.noted(&note);
    }
    assert_eq!(ledger.entries().groups[&(8, 3, Some(1))].requests, 2);
    ledger.noted(&response(Some(2), 3));
    assert_eq!(ledger.entries().groups.len(), 2);
    // Without a PASID it is of the group, whatever that has.
    ledger.noted(&response(None, 4));
    let left: Vec<_> = ledger.entries().groups.keys().copied().collect();
    assert_eq!(left, [(8, 3, Some(1))]);
    // A stop marker asks for nothing.
    ledger.noted(&Note::PageRequestQueued {
        request: PageRequest::stop_marker(STREAM, SubstreamId(1)),
        words: [0; 2],
    });
    assert_eq!(ledger.entries().groups.len(), 1);
}

#[test]
fn invalidations_are_open_until_they_are_done_late_or_not() {
    let (_timeline, ledger) = ledger();
    let request = InvalidateRequest {
        substream: Some(SubstreamId(1)),
        address: 0x1000,
        size_log2: 12,
        global: false,
    };
    let stream = STREAM;
    ledger.noted(&Note::AtcInvalidateSent { stream, request });
    ledger.noted(&Note::AtcInvalidateSent { stream, request });
    ledger.noted(&Note::AtcTimedOut { stream, request });
    let timed_out = |ledger: &Ledger| -> Vec<bool> {
        let entries = ledger.entries();
        entries
            .invalidations
            .iter()
            .map(|it| it.timed_out)
            .collect()
    };
    assert_eq!(timed_out(&ledger), [true, false]);
    ledger.noted(&Note::AtcInvalidateDone {
        stream,
        request,
        late: true,
    });
    assert_eq!(timed_out(&ledger), [false]);
}

#[test]
fn what_waits_is_bounded_and_goes_when_it_is_over() {
    let (timeline, ledger) = ledger();
    let subject = command_subject(&RESUME);
    let took = take(&ledger, "at = 'command'\ndo = { gate = 'g' }", &subject);
    assert_eq!(took.gate.as_deref(), Some("g"));
    let gate = Gate::new();
    ledger.waits_at(&took, &gate);
    ledger.waits_for(&took, Span::from_ns(100));
    let open = |ledger: &Ledger| {
        let now = ledger.timeline.now();
        let entries = ledger.entries();
        entries
            .waits
            .iter()
            .filter(|wait| !wait.is_over(now))
            .count()
    };
    assert_eq!(open(&ledger), 2);
    timeline.advance_to(Time::from_ns(100));
    assert_eq!(open(&ledger), 1);
    gate.open();
    assert_eq!(open(&ledger), 0);
    // Those that are over make room for others.
    for _ in 0..4 * WAITS_MAX {
        ledger.waits_at(&took, &gate);
    }
    assert!(ledger.entries().waits.len() < WAITS_MAX);
    let closed = Gate::new();
    for _ in 0..2 * WAITS_MAX {
        ledger.waits_at(&took, &closed);
    }
    assert_eq!(ledger.entries().waits.len(), WAITS_MAX);
}

#[test]
fn jobs_are_followed_by_queue_or_by_tag() {
    let (_timeline, ledger) = ledger();
    let left = |ledger: &Ledger| -> Vec<(u16, u64, bool)> {
        let entries = ledger.entries();
        let jobs = entries.jobs.iter();
        jobs.map(|job| (job.queue, job.tag, job.done)).collect()
    };
    for (queue, tag) in [(0, 1), (0, 2), (1, 1)] {
        let started = JobNote::Started {
            queue,
            tag,
            pasid: Some(1),
            input_bytes: 100,
        };
        ledger.job(8, &started);
    }
    let tag = Some(2);
    ledger.job(8, &JobNote::Done { queue: 0, tag });
    assert_eq!(left(&ledger), [(0, 1, false), (0, 2, true), (1, 1, false)]);
    ledger.job(8, &JobNote::Ended { queue: 0, tag });
    let tag = None;
    ledger.job(8, &JobNote::Ended { queue: 1, tag });
    ledger.job(16, &JobNote::Ended { queue: 0, tag });
    assert_eq!(left(&ledger), [(0, 1, false)]);
    ledger.job(8, &JobNote::Reset);
    assert_eq!(left(&ledger), []);
}

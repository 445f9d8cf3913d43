//! What is open, since when, and what rules did to it: the part of a machine's present that only its past
//! tells. It listens to what the models note and to what rules take, and changes nothing.
//!
//! The models stay the truth about what there is; this says of each thing how it came to be.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde::Serialize;
use stallbox_faultplan::{Act, Point, Ring, Rule, Subject};
use stallbox_smmu::spec::command::op;
use stallbox_smmu::{InvalidateRequest, Note, PageRequest, StreamId, Transaction};
use stallbox_timeline::{Gate, Span, Time, Timeline};

use crate::faults::words;
use crate::jobs::JobNote;

/// CMD_RESUME's opcode, as rules see it.
const CMD_RESUME: u32 = op::RESUME as u32;
/// More stalls, requests or jobs than this are not followed: the SMMU and devices have fewer.
const OPEN_MAX: usize = 1 << 16;
/// Takings kept of each rule, and of each stall.
const TAKEN_MAX: usize = 8;
/// Waits that are followed; of more only the gates' own counts tell.
const WAITS_MAX: usize = 1 << 14;
/// Answers to no stall that are remembered.
const UNASKED_MAX: usize = 8;

/// What a rule took, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Took {
    /// When, by the devices' time.
    pub time_ns: u64,
    /// The rule's name.
    pub rule: String,
    /// The point.
    pub at: &'static str,
    /// What becomes of it.
    pub act: String,
    /// How much longer it takes.
    #[serde(skip_serializing_if = "is_zero")]
    pub delay_ns: u64,
    /// The gate at which it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// StreamID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    /// PASID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pasid: Option<u32>,
    /// Input address.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_hex")]
    pub address: Option<u64>,
    /// The device's ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<&'static str>,
    /// The device's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u16>,
    /// Stall tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stag: Option<u16>,
    /// The event, command, line, mailbox command, vector or register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// The value written to a register or doorbell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<u32>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

pub(crate) fn hex<S: serde::Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

pub(crate) fn maybe_hex<S: serde::Serializer>(
    value: &Option<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => hex(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Where the record of a stall, or the entry of a page request, got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is not in its queue.
    No,
    /// It was written: the so-manieth of all.
    Written(u64),
    /// It was lost.
    Lost,
}

/// What is known of a stall.
#[derive(Clone, Debug)]
pub(crate) struct OpenStall {
    pub transaction: Transaction,
    pub since: Time,
    pub record: Told,
    /// What a rule did to its record.
    pub record_taken: Option<Took>,
    /// Rules that took a CMD_RESUME that named its tag.
    pub answers: VecDeque<Took>,
}

/// A page request group that has no response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenGroup {
    /// Its first request.
    pub request: PageRequest,
    pub requests: u32,
    pub since: Time,
    /// Its last request.
    pub told: Told,
}

/// An invalidation of a device's translation cache that is not complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenInvalidation {
    pub stream: StreamId,
    pub request: InvalidateRequest,
    pub since: Time,
    pub timed_out: bool,
}

/// A job of an accelerator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenJob {
    pub stream: u32,
    pub queue: u16,
    pub tag: u64,
    pub pasid: Option<u32>,
    pub input_bytes: u32,
    pub since: Time,
    /// It has its result, and its completion is not written.
    pub done: bool,
}

/// What a rule keeps from going on.
#[derive(Clone)]
pub(crate) struct Wait {
    pub took: Took,
    until: Until,
}

#[derive(Clone)]
enum Until {
    Opened(Gate),
    Passed(Time),
}

impl Wait {
    pub(crate) fn is_over(&self, now: Time) -> bool {
        match &self.until {
            Until::Opened(gate) => gate.is_open(),
            Until::Passed(time) => *time <= now,
        }
    }
}

/// What one rule has kept from its way: how much, and the last of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub count: u64,
    pub last: VecDeque<Took>,
}

#[derive(Default)]
pub(crate) struct Entries {
    pub stalls: BTreeMap<(u32, u16), OpenStall>,
    /// Stalls that have no tag.
    pub held: VecDeque<(Transaction, Time)>,
    /// Records ever written to the event queue.
    pub records: u64,
    /// Page requests ever written to their queue.
    pub requests: u64,
    pub groups: BTreeMap<(u32, u16, Option<u32>), OpenGroup>,
    pub invalidations: Vec<OpenInvalidation>,
    pub jobs: Vec<OpenJob>,
    pub waits: Vec<Wait>,
    pub kept: BTreeMap<String, Kept>,
    /// Tags of CMD_RESUMEs for which no stall waited, the last ones.
    pub unasked: VecDeque<(Time, u32, u16)>,
}

/// The record of one machine.
pub(crate) struct Ledger {
    timeline: Timeline,
    entries: RefCell<Entries>,
}

fn push_bounded<T>(list: &mut VecDeque<T>, max: usize, entry: T) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(entry);
}

/// Whether what a rule takes does not go its way.
fn keeps(act: &Act) -> bool {
    match act {
        Act::Go | Act::Fault(_) | Act::Evict | Act::Duplicate(_) => false,
        Act::Abort
        | Act::Drop
        | Act::OvertakenBy(_)
        | Act::Overflow
        | Act::Replace(_)
        | Act::Resume { .. }
        | Act::Error(_)
        | Act::Fail(_)
        | Act::Answer(_) => true,
    }
}

impl Ledger {
    pub(crate) fn new(timeline: &Timeline) -> Rc<Ledger> {
        Rc::new(Ledger {
            timeline: timeline.clone(),
            entries: RefCell::default(),
        })
    }

    pub(crate) fn entries(&self) -> Ref<'_, Entries> {
        self.entries.borrow()
    }

    /// Something happened in the SMMU.
    pub(crate) fn noted(&self, note: &Note) {
        let now = self.timeline.now();
        match note {
            Note::StallHeld { transaction } => {
                let held = &mut self.entries.borrow_mut().held;
                push_bounded(held, OPEN_MAX, (*transaction, now));
            }
            Note::Stalled { transaction, stag } => {
                self.entries.borrow_mut().stalled(transaction, *stag, now);
            }
            Note::EventWritten { words } => {
                let mut entries = self.entries.borrow_mut();
                entries.records += 1;
                let told = Told::Written(entries.records);
                entries.record_got(words, told);
            }
            Note::EventDropped { words } => {
                self.entries.borrow_mut().record_got(words, Told::Lost);
            }
            Note::Resumed {
                stream,
                stag,
                matched: true,
                ..
            } => _ = self.entries.borrow_mut().stalls.remove(&(stream.0, *stag)),
            Note::Resumed { stream, stag, .. } => {
                let unasked = &mut self.entries.borrow_mut().unasked;
                push_bounded(unasked, UNASKED_MAX, (now, stream.0, *stag));
            }
            Note::Terminated { transaction } => {
                self.entries.borrow_mut().not_held(transaction);
            }
            Note::PageRequestQueued { request, .. } => {
                let mut entries = self.entries.borrow_mut();
                entries.requests += 1;
                let told = Told::Written(entries.requests);
                entries.requested(request, told, now);
            }
            Note::PageRequestDropped { request, .. } => {
                let mut entries = self.entries.borrow_mut();
                entries.requested(request, Told::Lost, now);
            }
            Note::PageResponded {
                stream, response, ..
            } => {
                let substream = response.substream.map(|substream| substream.0);
                // A response need not repeat the PASID.
                self.entries.borrow_mut().groups.retain(|key, _| {
                    (key.0, key.1) != (stream.0, response.index)
                        || (substream.is_some() && key.2 != substream)
                });
            }
            Note::AtcInvalidateSent { stream, request } => {
                let invalidations = &mut self.entries.borrow_mut().invalidations;
                if invalidations.len() < OPEN_MAX {
                    invalidations.push(OpenInvalidation {
                        stream: *stream,
                        request: *request,
                        since: now,
                        timed_out: false,
                    });
                }
            }
            Note::AtcInvalidateDone {
                stream, request, ..
            } => {
                let invalidations = &mut self.entries.borrow_mut().invalidations;
                let is = |it: &OpenInvalidation| it.stream == *stream && it.request == *request;
                if let Some(at) = invalidations.iter().position(is) {
                    invalidations.remove(at);
                }
            }
            Note::AtcTimedOut { stream, request } => {
                let invalidations = &mut self.entries.borrow_mut().invalidations;
                let is = |it: &&mut OpenInvalidation| {
                    it.stream == *stream && it.request == *request && !it.timed_out
                };
                if let Some(found) = invalidations.iter_mut().find(is) {
                    found.timed_out = true;
                }
            }
            _ => {}
        }
    }

    /// Something became of a job of the accelerator with this StreamID.
    pub(crate) fn job(&self, stream: u32, note: &JobNote) {
        let since = self.timeline.now();
        let jobs = &mut self.entries.borrow_mut().jobs;
        match *note {
            JobNote::Started {
                queue,
                tag,
                pasid,
                input_bytes,
            } if jobs.len() < OPEN_MAX => jobs.push(OpenJob {
                stream,
                queue,
                tag,
                pasid,
                input_bytes,
                since,
                done: false,
            }),
            JobNote::Started { .. } => {}
            JobNote::Done { queue, tag } => {
                if let Some(job) = jobs.iter_mut().find(|job| job.is(stream, queue, tag)) {
                    job.done = true;
                }
            }
            JobNote::Ended { queue, tag } => {
                if let Some(at) = jobs.iter().position(|job| job.is(stream, queue, tag)) {
                    jobs.remove(at);
                }
            }
            JobNote::Reset => jobs.retain(|job| job.stream != stream),
        }
    }

    /// A rule takes something.
    pub(crate) fn taken(&self, subject: &Subject<'_>, rule: &Rule, delay: Span) -> Took {
        let took = Took {
            time_ns: self.timeline.now().as_ns(),
            rule: rule.name.clone(),
            at: subject.point.name(),
            act: words::act(&rule.act),
            delay_ns: delay.as_ns(),
            gate: rule.gate.as_ref().map(|gate| gate.name.clone()),
            stream: subject.stream,
            pasid: subject.pasid,
            address: subject.address.map(|(first, _)| first),
            ring: subject.ring.map(Ring::name),
            queue: subject.queue,
            stag: subject.stag,
            code: subject.code,
            value: subject.value,
        };
        let mut entries = self.entries.borrow_mut();
        if keeps(&rule.act) {
            let kept = entries.kept.entry(rule.name.clone()).or_default();
            kept.count += 1;
            push_bounded(&mut kept.last, TAKEN_MAX, took.clone());
        }
        let stall = subject.stream.zip(subject.stag);
        if let Some(stall) = stall.and_then(|key| entries.stalls.get_mut(&key)) {
            match (subject.point, subject.code) {
                (Point::Record, _) => stall.record_taken = Some(took.clone()),
                (Point::Command, Some(CMD_RESUME)) => {
                    push_bounded(&mut stall.answers, TAKEN_MAX, took.clone());
                }
                _ => {}
            }
        }
        took
    }

    /// It waits at this gate.
    pub(crate) fn waits_at(&self, took: &Took, gate: &Gate) {
        self.waits(took, Until::Opened(gate.clone()));
    }

    /// It goes on after its delay.
    pub(crate) fn waits_for(&self, took: &Took, delay: Span) {
        self.waits(took, Until::Passed(self.timeline.now() + delay));
    }

    fn waits(&self, took: &Took, until: Until) {
        let now = self.timeline.now();
        let waits = &mut self.entries.borrow_mut().waits;
        // Those that are over go when the list has doubled, so that each is looked at a few times only.
        if waits.len() == waits.capacity() {
            waits.retain(|wait| !wait.is_over(now));
            waits.reserve(64.max(waits.len()));
        }
        if waits.len() >= WAITS_MAX {
            return;
        }
        waits.push(Wait {
            took: took.clone(),
            until,
        });
    }
}

impl OpenJob {
    fn is(&self, stream: u32, queue: u16, tag: Option<u64>) -> bool {
        (self.stream, self.queue) == (stream, queue) && tag.is_none_or(|tag| self.tag == tag)
    }
}

impl Entries {
    fn not_held(&mut self, transaction: &Transaction) {
        if let Some(at) = self.held.iter().position(|(held, _)| held == transaction) {
            self.held.remove(at);
        }
    }

    fn stalled(&mut self, transaction: &Transaction, stag: u16, now: Time) {
        self.not_held(transaction);
        // What was terminated stays until its tag is another's.
        if self.stalls.len() >= OPEN_MAX {
            self.stalls.pop_first();
        }
        let stall = OpenStall {
            transaction: *transaction,
            since: now,
            record: Told::No,
            record_taken: None,
            answers: VecDeque::new(),
        };
        self.stalls.insert((transaction.stream.0, stag), stall);
    }

    /// EVTQ_1_STALL, EVTQ_1_STAG, EVTQ_0_SID of Linux 6.12, `arm-smmu-v3.h`.
    fn record_got(&mut self, words: &[u64; 4], told: Told) {
        let key = ((words[0] >> 32) as u32, words[1] as u16);
        if words[1] & 1 << 31 != 0
            && let Some(stall) = self.stalls.get_mut(&key)
        {
            stall.record = told;
        }
    }

    fn requested(&mut self, request: &PageRequest, told: Told, now: Time) {
        if request.is_stop_marker() {
            return;
        }
        let substream = request.substream.map(|substream| substream.0);
        let key = (request.stream.0, request.index, substream);
        if self.groups.len() >= OPEN_MAX {
            self.groups.pop_first();
        }
        let group = self.groups.entry(key).or_insert(OpenGroup {
            request: *request,
            requests: 0,
            since: now,
            told,
        });
        group.requests += 1;
        group.told = told;
    }
}

#[cfg(test)]
mod tests;

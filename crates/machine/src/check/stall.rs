//! `--check stall`: stalls that nobody answers, answers that nobody waits for, answers after the
//! PASID is gone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use stallbox_smmu::spec::command::{Raw, op};
use stallbox_smmu::spec::event::Record;
use stallbox_smmu::view::{QueueName, View};
use stallbox_smmu::{Note, Smmu, Transaction};
use stallbox_timeline::{Span, Time};
use stallbox_trace::{Check, FindingKind};

use super::changes::By;
use super::context::Context;
use super::page_requests::PageRequests;
use super::report::{Finding, access, in_ms};
use super::{CheckConfig, Checkers, Space, space};
use crate::stage1::reader;

/// A stall that waits longer is reported. The kernel's own time for a page from a slow disk is less.
const LIMIT: Span = Span::from_ms(1000);
/// So many times the same fault, without a page, are a loop. Linux retries under memory pressure and
/// while pages migrate, a few times.
const LOOP: u32 = 64;
/// Pages of which faults are counted.
const PAGES_MAX: usize = 1 << 16;
/// Answers that are remembered, to say of a second one that it is.
const ANSWERS_MAX: usize = 4096;

/// A page of an address space, and whether it was to be written.
type Faulting = (Space, u64, bool);

pub(super) struct Stalls {
    limit: Span,
    open: RefCell<BTreeMap<(u32, u16), Open>>,
    answered: RefCell<BTreeMap<(u32, u16), Answer>>,
    /// The last answer to no stall, of each stream.
    unasked: RefCell<BTreeMap<u32, (Time, u16)>>,
    /// Records written to the event queue.
    records: Cell<u64>,
    /// Faults of a page since a walk for it found something.
    again: RefCell<BTreeMap<Faulting, (u32, Time)>>,
    groups: PageRequests,
}

#[derive(Clone, Copy)]
struct Open {
    transaction: Transaction,
    since: Time,
    /// Its record's number, if that got into the event queue.
    record: Option<u64>,
    /// It was reported that nobody answers it.
    reported: bool,
}

#[derive(Clone)]
struct Answer {
    time: Time,
    transaction: Transaction,
    by: Option<By>,
}

impl Stalls {
    pub(super) fn new(config: &CheckConfig) -> Stalls {
        Stalls {
            limit: config.stall_limit.unwrap_or(LIMIT),
            open: RefCell::default(),
            answered: RefCell::default(),
            unasked: RefCell::default(),
            records: Cell::default(),
            again: RefCell::default(),
            groups: PageRequests::default(),
        }
    }

    pub(super) fn groups(&self) -> &PageRequests {
        &self.groups
    }

    pub(super) fn noted(&self, checkers: &Checkers, note: &Note) {
        self.groups.noted(checkers, note, self.limit);
        match note {
            Note::Walk {
                transaction,
                found: true,
                ..
            } => self.found(transaction),
            Note::Stalled { transaction, stag } => {
                self.count(checkers, transaction);
                self.stalled(checkers, transaction, *stag);
            }
            Note::EventWritten { words } => {
                self.records.set(self.records.get() + 1);
                let record = Record(*words);
                let key = (record.sid(), record.stag());
                if record.stalls()
                    && let Some(open) = self.open.borrow_mut().get_mut(&key)
                {
                    open.record = Some(self.records.get());
                }
            }
            Note::Resumed {
                stream,
                stag,
                matched,
                response,
            } => {
                let key = (stream.0, *stag);
                let open = self.open.borrow_mut().remove(&key);
                match open {
                    Some(open) if *matched => {
                        let what = format!("answered: {response:?}").to_lowercase();
                        let at = open.transaction.address;
                        checkers.remember(space(&open.transaction), at, what);
                        self.answered(checkers, key, &open);
                    }
                    _ if !matched => self.unasked(checkers, key),
                    _ => {}
                }
            }
            Note::Terminated { transaction } => {
                // Ended by CMD_STALL_TERM, or with the SMMU: it waits no more.
                let mut open = self.open.borrow_mut();
                let key = open
                    .iter()
                    .find(|(_, open)| open.transaction == *transaction)
                    .map(|(key, _)| *key);
                if let Some(key) = key {
                    open.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// A walk found the page: the next fault there is another one.
    fn found(&self, transaction: &Transaction) {
        let mut again = self.again.borrow_mut();
        let (space, page) = (space(transaction), transaction.address >> 12);
        again.remove(&(space, page, false));
        if transaction.access.write {
            again.remove(&(space, page, true));
        }
    }

    /// The same fault again, though it was answered with a retry, is a loop.
    fn count(&self, checkers: &Checkers, transaction: &Transaction) {
        let (page, write) = (transaction.address >> 12, transaction.access.write);
        let mut again = self.again.borrow_mut();
        if again.len() >= PAGES_MAX {
            again.pop_first();
        }
        let entry = again.entry((space(transaction), page, write));
        let (count, since) = entry.or_insert((0, checkers.now()));
        *count += 1;
        if *count != LOOP {
            return;
        }
        let mut finding = finding(
            FindingKind::RepeatedFault,
            transaction,
            "the same fault again and again",
        );
        finding.line(format!(
            "{} of this page has stalled {LOOP} times since {} ns, and no walk has found the page in \
             between: each answer asked for a retry, and nothing was mapped",
            access(transaction),
            since.as_ns()
        ));
        drop(again);
        let answered = self.answered.borrow();
        let of_page = |it: &&Answer| {
            space(&it.transaction) == finding.space && it.transaction.address >> 12 == page
        };
        let last = answered.values().filter(of_page).max_by_key(|it| it.time);
        let by = last.and_then(|it| it.by.clone());
        drop(answered);
        finding.trace("answered last", by);
        checkers.report(&finding);
    }

    fn stalled(&self, checkers: &Checkers, transaction: &Transaction, stag: u16) {
        let key = (transaction.stream.0, stag);
        let open = Open {
            transaction: *transaction,
            since: checkers.now(),
            record: None,
            reported: false,
        };
        self.open.borrow_mut().insert(key, open);
        // Who makes the context descriptor invalid before the answer is to be known then.
        if let (Some(context), Some(watch)) =
            (checkers.context(space(transaction)), checkers.watch())
        {
            watch.watch(context.at);
        }
        checkers.later(self.limit, move |checkers| {
            if let Some(stalls) = &checkers.stall {
                stalls.overdue(checkers, key, open.since);
            }
        });
    }

    fn answered(&self, checkers: &Checkers, key: (u32, u16), open: &Open) {
        let answer = Answer {
            time: checkers.now(),
            transaction: open.transaction,
            by: checkers.commands.author(),
        };
        self.after_unbind(checkers, key, open, &answer);
        let mut answered = self.answered.borrow_mut();
        if answered.len() >= ANSWERS_MAX && !answered.contains_key(&key) {
            answered.pop_first();
        }
        answered.insert(key, answer);
    }

    fn overdue(&self, checkers: &Checkers, key: (u32, u16), since: Time) {
        // The tag may be another stall's by now.
        let open = self.open.borrow().get(&key).copied();
        let Some(open) = open.filter(|open| open.since == since && !open.reported) else {
            return;
        };
        let what = format!("a stall has had no answer for {}", in_ms(self.limit));
        self.unanswered(checkers, key, &open, &what);
    }

    /// The run is ended: what is open is open for good.
    pub(super) fn cut_off(&self, checkers: &Checkers) {
        self.groups.cut_off(checkers);
        let open: Vec<_> = {
            let open = self.open.borrow();
            let open = open.iter().filter(|(_, open)| !open.reported);
            open.map(|(key, open)| (*key, *open)).collect()
        };
        for (key, open) in open {
            let age = checkers.now().since(open.since);
            let what = format!(
                "a stall had no answer when the run ended, after {}",
                in_ms(age)
            );
            self.unanswered(checkers, key, &open, &what);
        }
    }

    fn unanswered(&self, checkers: &Checkers, key: (u32, u16), open: &Open, what: &str) {
        if let Some(open) = self.open.borrow_mut().get_mut(&key) {
            open.reported = true;
        }
        let mut finding = finding(FindingKind::UnansweredStall, &open.transaction, what);
        // CMDQ_RESUME_0_SID and CMDQ_RESUME_1_STAG.
        let resume = checkers.withheld(open.since, |words| {
            let raw = Raw(*words);
            raw.opcode() == op::RESUME && (raw.sid(), raw.resume_stag()) == key
        });
        let answer = resume.unwrap_or_else(|| "no CMD_RESUME has named it".to_owned());
        finding.line(format!(
            "{} of the device; tag {}, stalled at {} ns; {answer}",
            access(&open.transaction),
            key.1,
            open.since.as_ns()
        ));
        finding.line(match (open.record, checkers.smmu()) {
            // The last records are those that are still there.
            (Some(record), Some(smmu))
                if self.records.get() - record >= queued(checkers, &smmu) =>
            {
                "its record was taken from the event queue (SMMU_EVENTQ_CONS is behind it): \
                 software knows of the stall"
            }
            (Some(_), _) => {
                "its record is still in the event queue (SMMU_EVENTQ_CONS is before it): software \
                 has not looked at it"
            }
            (None, _) => {
                "its record has not got into the event queue: software does not know of it"
            }
        });
        let unasked = self.unasked.borrow().get(&key.0).copied();
        if let Some((time, stag)) = unasked.filter(|(time, _)| *time >= open.since) {
            finding.line(format!(
                "tag {stag}, for which no stall waited, was answered since, at {} ns",
                time.as_ns()
            ));
        }
        checkers.report(&finding);
    }

    fn unasked(&self, checkers: &Checkers, key: (u32, u16)) {
        self.unasked
            .borrow_mut()
            .insert(key.0, (checkers.now(), key.1));
        let before = self.answered.borrow().get(&key).cloned();
        let what = "a CMD_RESUME for which no stall waits";
        let kind = FindingKind::UnexpectedResume;
        let mut finding = match &before {
            Some(answer) => finding(kind, &answer.transaction, what),
            None => Finding::new((Check::Stall, kind), what, (key.0, None)),
        };
        finding.line(match &before {
            Some(answer) => format!(
                "tag {} was answered before, at {} ns",
                key.1,
                answer.time.as_ns()
            ),
            None => format!("tag {} has never been given", key.1),
        });
        let open = self.open.borrow();
        let waiting = open.keys().filter(|(stream, _)| *stream == key.0);
        let waiting: Vec<String> = waiting.take(8).map(|(_, tag)| tag.to_string()).collect();
        finding.line(if waiting.is_empty() {
            "no stall of this stream waits for an answer".to_owned()
        } else {
            format!("stalls wait with tag {}", waiting.join(", "))
        });
        finding.trace("sent", checkers.commands.author());
        finding.trace("answered before", before.and_then(|answer| answer.by));
        checkers.report(&finding);
    }

    fn after_unbind(&self, checkers: &Checkers, key: (u32, u16), open: &Open, answer: &Answer) {
        let space = space(&open.transaction);
        let Some(context) = checkers.context(space).filter(|it| !it.is_valid()) else {
            return;
        };
        let mut finding = finding(
            FindingKind::ResumeAfterUnbind,
            &open.transaction,
            "a stall was answered after its PASID was unbound",
        );
        finding.line(format!(
            "tag {}, stalled at {} ns; the context descriptor of the PASID, at {:#x}, is not valid \
             any more",
            key.1,
            open.since.as_ns(),
            context.at
        ));
        finding.trace("answered", answer.by.clone());
        let changes = checkers.changes.borrow();
        let unbound = changes
            .of(context.at)
            .rev()
            .find(|change| Context::says_valid(change.old) && !Context::says_valid(change.new));
        if let Some(change) = unbound {
            finding.trace("made invalid", Some(change.by.clone()));
            finding.event(&change.by, "the context descriptor was made invalid");
        }
        checkers.report(&finding);
    }
}

fn finding(kind: FindingKind, transaction: &Transaction, what: &str) -> Finding {
    Finding::new((Check::Stall, kind), what, space(transaction)).at(transaction.address, None)
}

/// Records in the event queue.
fn queued(checkers: &Checkers, smmu: &Smmu) -> u64 {
    let memory = reader(&checkers.ram);
    let queue = View::new(smmu, &memory).queue(QueueName::Event);
    queue.map_or(0, |queue| queue.queued().into())
}

//! `--check stall`, for devices that ask for pages themselves: page request groups that nobody
//! answers, and answers to groups that do not wait.

use std::cell::RefCell;
use std::collections::BTreeMap;

use stallbox_smmu::spec::command::{Raw, op};
use stallbox_smmu::{Note, PageRequest};
use stallbox_timeline::{Span, Time};
use stallbox_trace::{Check, FindingKind};

use super::Checkers;
use super::changes::By;
use super::report::{Finding, in_ms};

const UNANSWERED: (Check, FindingKind) = (Check::Stall, FindingKind::UnansweredPageRequest);
const UNEXPECTED: (Check, FindingKind) = (Check::Stall, FindingKind::UnexpectedPageResponse);

/// A stream's group, by its PASID and index.
type Group = (u32, Option<u32>, u16);

/// Answers that are remembered, to say of a second one that it is.
const ANSWERS_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct PageRequests {
    /// Groups whose last request is in the queue or was taken from it.
    open: RefCell<BTreeMap<Group, Asked>>,
    answered: RefCell<BTreeMap<Group, (Time, Option<By>)>>,
}

#[derive(Clone, Copy)]
struct Asked {
    since: Time,
    address: u64,
    /// It was reported that nobody answers it.
    reported: bool,
}

fn group(request: &PageRequest) -> Group {
    let pasid = request.substream.map(|substream| substream.0);
    (request.stream.0, pasid, request.index)
}

impl PageRequests {
    pub(super) fn noted(&self, checkers: &Checkers, note: &Note, limit: Span) {
        match note {
            Note::PageRequestQueued { request, .. }
                if request.last && !request.is_stop_marker() =>
            {
                self.asked(checkers, request, limit);
            }
            Note::PageResponded {
                stream,
                response,
                automatic: true,
            } => {
                let pasid = response.substream.map(|substream| substream.0);
                let mut open = self.open.borrow_mut();
                open.remove(&(stream.0, pasid, response.index));
            }
            Note::Command { words } if Raw(*words).opcode() == op::PRI_RESP => {
                self.answer(checkers, &Raw(*words));
            }
            _ => {}
        }
    }

    fn asked(&self, checkers: &Checkers, request: &PageRequest, limit: Span) {
        let (group, since) = (group(request), checkers.now());
        let asked = Asked {
            since,
            address: request.address,
            reported: false,
        };
        self.open.borrow_mut().insert(group, asked);
        checkers.later(limit, move |checkers| {
            let Some(stall) = &checkers.stall else { return };
            let groups = stall.groups();
            // The index may be another group's by now.
            let open = groups.open.borrow().get(&group).copied();
            if open.is_some_and(|open| open.since == since && !open.reported) {
                let what = format!(
                    "a page request group has had no answer for {}",
                    in_ms(limit)
                );
                groups.unanswered(checkers, group, what);
            }
        });
    }

    /// The run is ended: what is open is open for good.
    pub(super) fn cut_off(&self, checkers: &Checkers) {
        let open: Vec<(Group, Time)> = {
            let open = self.open.borrow();
            let open = open.iter().filter(|(_, asked)| !asked.reported);
            open.map(|(group, asked)| (*group, asked.since)).collect()
        };
        for (group, since) in open {
            let age = in_ms(checkers.now().since(since));
            let what =
                format!("a page request group had no answer when the run ended, after {age}");
            self.unanswered(checkers, group, what);
        }
    }

    fn unanswered(&self, checkers: &Checkers, group: Group, what: String) {
        let mut open = self.open.borrow_mut();
        let Some(asked) = open.get_mut(&group) else {
            return;
        };
        asked.reported = true;
        let Asked { since, address, .. } = *asked;
        drop(open);
        let mut finding = Finding::new(UNANSWERED, what, (group.0, group.1)).at(address, None);
        let response = checkers.withheld(since, |words| {
            let raw = Raw(*words);
            raw.opcode() == op::PRI_RESP && (raw.sid(), raw.pri_index()) == (group.0, group.2)
        });
        let answer = response.unwrap_or_else(|| "no CMD_PRI_RESP has named it".to_owned());
        finding.line(format!(
            "group {}, asked for at {} ns; {answer}",
            group.2,
            since.as_ns()
        ));
        checkers.report(&finding);
    }

    fn answer(&self, checkers: &Checkers, raw: &Raw) {
        let pasid = raw.ssv().then(|| raw.ssid());
        let named: Group = (raw.sid(), pasid, raw.pri_index());
        let mut open = self.open.borrow_mut();
        // A function whose responses carry no PASID has one group of an index.
        let waits = open
            .keys()
            .find(|group| **group == named)
            .or_else(|| {
                let same = |it: &&Group| pasid.is_none() && (it.0, it.2) == (named.0, named.2);
                open.keys().find(same)
            })
            .copied();
        let by = checkers.commands.author();
        let mut answered = self.answered.borrow_mut();
        if let Some(group) = waits {
            open.remove(&group);
            if answered.len() >= ANSWERS_MAX && !answered.contains_key(&named) {
                answered.pop_first();
            }
            answered.insert(named, (checkers.now(), by));
            return;
        }
        let what = "a CMD_PRI_RESP for which no page request group waits";
        let mut finding = Finding::new(UNEXPECTED, what, (named.0, named.1));
        let before = answered.get(&named).cloned();
        finding.line(match &before {
            Some((time, _)) => format!(
                "group {} was answered before, at {} ns",
                named.2,
                time.as_ns()
            ),
            None => format!("group {} has not asked for anything", named.2),
        });
        finding.trace("sent", by);
        finding.trace("answered before", before.and_then(|(_, by)| by));
        drop((open, answered));
        checkers.report(&finding);
    }
}

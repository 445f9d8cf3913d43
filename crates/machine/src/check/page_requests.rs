//! `--check stall`, for devices that ask for pages themselves: page request groups that nobody
//! answers, and answers to groups that do not wait.

use std::cell::RefCell;
use std::collections::BTreeMap;

use stallbox_smmu::spec::command::{Raw, op};
use stallbox_smmu::{Note, PageRequest};
use stallbox_timeline::{Span, Time};

use super::Checkers;
use super::changes::By;
use super::report::{Check, Finding};
use super::stall::in_ms;

/// A stream's group, by its PASID and index.
type Group = (u32, Option<u32>, u16);

/// Answers that are remembered, to say of a second one that it is.
const ANSWERS_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct PageRequests {
    /// Groups whose last request is in the queue or was taken from it.
    open: RefCell<BTreeMap<Group, (Time, u64)>>,
    answered: RefCell<BTreeMap<Group, (Time, Option<By>)>>,
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
        let entry = (since, request.address);
        self.open.borrow_mut().insert(group, entry);
        checkers.later(limit, move |checkers| {
            let Some(stall) = &checkers.stall else { return };
            if stall.groups().open.borrow().get(&group) != Some(&entry) {
                return;
            }
            let what = format!(
                "a page request group has had no answer for {}",
                in_ms(limit)
            );
            let space = (group.0, group.1);
            let mut finding = Finding::new(Check::Stall, what, space).at(entry.1, None);
            finding.line(format!(
                "group {}, asked for at {} ns; no CMD_PRI_RESP has named it",
                group.2,
                since.as_ns()
            ));
            checkers.report(&finding);
        });
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
        let mut finding = Finding::new(Check::Stall, what, (named.0, named.1));
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

//! What happened to a page, for reports about it: the last few events of each page that had any.

use std::collections::{BTreeMap, VecDeque};

use stallbox_smmu::Note;
use stallbox_timeline::Time;

use super::Space;

/// Events kept of one page.
const EVENTS_MAX: usize = 12;
/// Pages kept; then the one with the lowest address gives way.
const PAGES_MAX: usize = 1 << 16;

#[derive(Default)]
pub(super) struct History(BTreeMap<(Space, u64), VecDeque<(Time, String)>>);

impl History {
    pub(super) fn noted(&mut self, now: Time, note: &Note) {
        let (transaction, what) = match note {
            Note::Walk {
                transaction,
                steps,
                found,
            } => {
                let found = if *found { "found" } else { "found nothing" };
                (transaction, format!("walk of {steps} descriptors: {found}"))
            }
            Note::Fault {
                transaction,
                event,
                stalls,
                ..
            } => {
                let stalls = if *stalls { ", stalls" } else { "" };
                let event = event.map_or("no event".to_owned(), |event| format!("{event:?}"));
                (transaction, format!("fault: {event}{stalls}"))
            }
            Note::Stalled { transaction, stag } => (transaction, format!("stalled, tag {stag}")),
            Note::Retried { transaction } => (transaction, "retried".to_owned()),
            Note::Terminated { transaction } => (transaction, "aborted".to_owned()),
            _ => return,
        };
        let space = (
            transaction.stream.0,
            transaction.substream.map(|substream| substream.0),
        );
        let access = if transaction.access.write {
            "write"
        } else {
            "read"
        };
        self.add(space, transaction.address, now, format!("{access}: {what}"));
    }

    pub(super) fn add(&mut self, space: Space, address: u64, now: Time, what: String) {
        let key = (space, address >> 12);
        if self.0.len() >= PAGES_MAX && !self.0.contains_key(&key) {
            self.0.pop_first();
        }
        let events = self.0.entry(key).or_default();
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back((now, what));
    }

    pub(super) fn of(&self, space: Space, address: u64) -> Vec<(Time, String)> {
        let events = self.0.get(&(space, address >> 12));
        events.into_iter().flatten().cloned().collect()
    }
}

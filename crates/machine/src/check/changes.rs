//! What vCPUs stored where somebody watches, and how they came there.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use stallbox_timeline::Time;

use super::Store;

/// Words of which changes are kept; then the lowest gives way.
const WORDS_MAX: usize = 1 << 16;
/// Changes kept of one word.
const CHANGES_MAX: usize = 8;

/// Where a vCPU was.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub cpu: usize,
    /// Return addresses, innermost first.
    pub frames: Rc<[u64]>,
    /// For which process, if that was asked for and is known.
    pub process: Option<Rc<str>>,
}

/// Where a vCPU was, and when.
#[derive(Clone, Debug)]
pub(super) struct By {
    pub time: Time,
    pub who: Who,
}

/// A word became another one.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub by: By,
    pub old: u64,
    pub new: u64,
}

/// The last changes of each word that had any.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<u64, VecDeque<Change>>);

impl Changes {
    pub(super) fn stored(&mut self, store: &Store, who: &Who) {
        if self.0.len() >= WORDS_MAX && !self.0.contains_key(&store.at) {
            self.0.pop_first();
        }
        let of_this = self.0.entry(store.at).or_default();
        if of_this.len() == CHANGES_MAX {
            of_this.pop_front();
        }
        of_this.push_back(Change {
            by: By {
                time: Time::from_ps(store.time_ps),
                who: who.clone(),
            },
            old: store.old,
            new: store.new,
        });
    }

    /// The changes of the word at `at`, oldest first.
    pub(super) fn of(&self, at: u64) -> impl DoubleEndedIterator<Item = &Change> {
        self.0.get(&at).into_iter().flatten()
    }
}

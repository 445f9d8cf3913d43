//! The table of stalls: the transactions that wait for software, and the records of them that wait for
//! their time.
//!
//! IHI 0070, *Stall model*.
//!
//! A stalled transaction is in one of two places. **Reported**: it has a tag, its record was
//! written, and it waits for RESUME. **Held**: its record cannot be written now, because the event
//! queue is full, disabled or broken, or because STALL_MAX stalls are unanswered. Held ones wait in
//! order of arrival.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use stallbox_timeline::Notify;

use crate::features::StallTags;
use crate::probe::Response;
use crate::spec::event::Record;
use crate::transaction::{StreamId, Transaction};

/// A transaction that waits for software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The transaction.
    pub transaction: Transaction,
    /// By what tag software answers it; `None` while its report is held back.
    pub stag: Option<u16>,
}

/// A stall that software was told of.
pub(crate) struct Reported {
    transaction: Transaction,
    answer: Cell<Option<Response>>,
    answered: Notify,
}

impl Reported {
    pub(crate) async fn answer(&self) -> Response {
        loop {
            if let Some(answer) = self.answer.get() {
                return answer;
            }
            self.answered.notified().await;
        }
    }

    /// Software has answered.
    pub(crate) fn end(&self, answer: Response) {
        self.answer.set(Some(answer));
        self.answered.notify_all();
    }
}

/// What a held stall is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may try again, and then report.
    Come,
    /// It is terminated.
    Terminated,
}

/// A stall whose report is held back.
pub(crate) struct Held {
    transaction: Transaction,
    turn: Cell<Option<Turn>>,
    called: Notify,
}

impl Held {
    pub(crate) async fn turn(&self) -> Turn {
        loop {
            if let Some(turn) = self.turn.take() {
                return turn;
            }
            self.called.notified().await;
        }
    }

    fn call(&self, turn: Turn) {
        self.turn.set(Some(turn));
        self.called.notify_all();
    }
}

/// All stalls of an SMMU.
#[derive(Default)]
pub(crate) struct Stalls {
    reported: RefCell<BTreeMap<(StreamId, u16), Rc<Reported>>>,
    held: RefCell<VecDeque<Rc<Held>>>,
    /// For each stream, the tag to try next.
    next_stag: RefCell<BTreeMap<StreamId, u16>>,
    /// Records that a verdict let be overtaken: how many are still to pass.
    overtaken: RefCell<Vec<(u32, [u64; 4])>>,
    /// Records of stalls that came late, when the queue took none: they are not lost.
    late: RefCell<VecDeque<[u64; 4]>>,
}

impl Stalls {
    pub(crate) fn outstanding(&self) -> Vec<Stall> {
        let reported = self.reported.borrow();
        let held = self.held.borrow();
        let with_tag = reported.iter().map(|(&(_, stag), stall)| Stall {
            transaction: stall.transaction,
            stag: Some(stag),
        });
        let without = held.iter().map(|stall| Stall {
            transaction: stall.transaction,
            stag: None,
        });
        with_tag.chain(without).collect()
    }

    /// How many software was told of and has not answered.
    pub(crate) fn reported(&self) -> usize {
        self.reported.borrow().len()
    }

    /// Takes a stall among the reported ones, under a new tag. There is a free one.
    pub(crate) fn report(&self, transaction: &Transaction, tags: StallTags) -> (u16, Rc<Reported>) {
        let stag = self.take_stag(transaction.stream, tags);
        let stall = Rc::new(Reported {
            transaction: *transaction,
            answer: Cell::new(None),
            answered: Notify::new(),
        });
        let mut reported = self.reported.borrow_mut();
        reported.insert((transaction.stream, stag), stall.clone());
        (stag, stall)
    }

    /// A tag that none of the stream's reported stalls has. In turn, one that software might answer
    /// twice is not soon another's.
    fn take_stag(&self, stream: StreamId, tags: StallTags) -> u16 {
        let reported = self.reported.borrow();
        let mut next_stag = self.next_stag.borrow_mut();
        let next = next_stag.entry(stream).or_insert(0);
        if tags == StallTags::LowestFree {
            *next = 0;
        }
        // STALL_MAX is less than the number of tags, so one is free.
        while reported.contains_key(&(stream, *next)) {
            *next = next.wrapping_add(1);
        }
        let stag = *next;
        *next = next.wrapping_add(1);
        stag
    }

    /// Takes out the stall that software answers, if there is one.
    pub(crate) fn take(&self, stream: StreamId, stag: u16) -> Option<Rc<Reported>> {
        self.reported.borrow_mut().remove(&(stream, stag))
    }

    /// Puts a stall at the end of those whose report is held back.
    pub(crate) fn hold(&self, transaction: &Transaction) -> Rc<Held> {
        let held = Rc::new(Held {
            transaction: *transaction,
            turn: Cell::new(None),
            called: Notify::new(),
        });
        self.held.borrow_mut().push_back(held.clone());
        held
    }

    /// Takes a stall out of those that are held back.
    pub(crate) fn leave(&self, held: &Rc<Held>) {
        let mut all = self.held.borrow_mut();
        all.retain(|other| !Rc::ptr_eq(other, held));
    }

    /// Whether no other is before `held`; or, if it is not held, none is at all.
    pub(crate) fn is_first(&self, held: Option<&Rc<Held>>) -> bool {
        match (self.held.borrow().front(), held) {
            (None, _) => true,
            (Some(front), Some(held)) => Rc::ptr_eq(front, held),
            (Some(_), None) => false,
        }
    }

    /// Tells the first that is held back to come, if it has not been told.
    pub(crate) fn call_first(&self) {
        if let Some(first) = self.held.borrow().front()
            && first.turn.get().is_none()
        {
            first.call(Turn::Come);
        }
    }

    /// Ends the stalls of `stream`, or all, with an abort; how many that were. Their tags are free, and
    /// a record of them that has not come yet tells of nothing any more.
    pub(crate) fn terminate(&self, stream: Option<StreamId>) -> u64 {
        let meant = |id: StreamId| stream.is_none_or(|stream| stream == id);
        let mut ended = 0;
        let mut doomed = Vec::new();
        self.reported.borrow_mut().retain(|_, stall| {
            let meant = meant(stall.transaction.stream);
            if meant {
                doomed.push(stall.clone());
            }
            !meant
        });
        for stall in doomed {
            stall.end(Response::Abort);
            ended += 1;
        }
        let names = |words: &[u64; 4]| meant(StreamId(Record(*words).sid()));
        self.late.borrow_mut().retain(|words| !names(words));
        self.overtaken
            .borrow_mut()
            .retain(|(_, words)| !names(words));
        for held in self.held.borrow().iter() {
            if meant(held.transaction.stream) {
                held.call(Turn::Terminated);
                ended += 1;
            }
        }
        ended
    }

    /// Keeps a record until so many others have been written.
    pub(crate) fn let_overtake(&self, others: u32, words: [u64; 4]) {
        self.overtaken.borrow_mut().push((others, words));
    }

    /// A record was written: takes out those that need wait for no other.
    pub(crate) fn overtake(&self) -> Vec<[u64; 4]> {
        let mut due = Vec::new();
        self.overtaken.borrow_mut().retain_mut(|(others, words)| {
            *others -= 1;
            if *others == 0 {
                due.push(*words);
            }
            *others != 0
        });
        due
    }

    /// Keeps a stall's record until the queue takes it.
    pub(crate) fn keep_late(&self, words: [u64; 4]) {
        self.late.borrow_mut().push_back(words);
    }

    /// The first of those.
    pub(crate) fn take_late(&self) -> Option<[u64; 4]> {
        self.late.borrow_mut().pop_front()
    }
}

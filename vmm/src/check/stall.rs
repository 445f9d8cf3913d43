//! `--check stall`: stalls that nobody answers, answers that nobody waits for, answers after the
//! PASID is gone.

use std::cell::RefCell;
use std::collections::BTreeMap;

use stallbox_smmu::{Note, Transaction};
use stallbox_timeline::{Span, Time};

use super::{Check, CheckConfig, Checkers, Finding};
use crate::control::context_is_valid;

/// A stall that waits longer is reported. The kernel's own time for a page from a slow disk is less.
const LIMIT: Span = Span::from_ms(1000);
/// Answers that are remembered, to say of a second one that it is.
const ANSWERS_MAX: usize = 4096;

pub(super) struct Stalls {
    limit: Span,
    open: RefCell<BTreeMap<(u32, u16), Open>>,
    answered: RefCell<BTreeMap<(u32, u16), (Time, Transaction)>>,
}

#[derive(Clone, Copy)]
struct Open {
    transaction: Transaction,
    since: Time,
}

impl Stalls {
    pub(super) fn new(config: &CheckConfig) -> Stalls {
        Stalls {
            limit: config.stall_limit.unwrap_or(LIMIT),
            open: RefCell::default(),
            answered: RefCell::default(),
        }
    }

    pub(super) fn noted(&self, checkers: &Checkers, note: &Note) {
        match note {
            Note::Stalled { transaction, stag } => {
                let key = (transaction.stream.0, *stag);
                let open = Open {
                    transaction: *transaction,
                    since: checkers.now(),
                };
                self.open.borrow_mut().insert(key, open);
                checkers.later(self.limit, move |checkers| {
                    if let Some(stalls) = &checkers.stall {
                        stalls.overdue(checkers, key, open.since);
                    }
                });
            }
            Note::Resumed {
                stream,
                stag,
                matched,
                ..
            } => {
                let key = (stream.0, *stag);
                let open = self.open.borrow_mut().remove(&key);
                match open {
                    Some(open) if *matched => {
                        self.after_unbind(checkers, key, &open);
                        let mut answered = self.answered.borrow_mut();
                        if answered.len() >= ANSWERS_MAX && !answered.contains_key(&key) {
                            answered.pop_first();
                        }
                        answered.insert(key, (checkers.now(), open.transaction));
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

    fn finding(key: (u32, u16), transaction: Option<&Transaction>, what: &str) -> Finding {
        Finding {
            check: Check::Stall,
            what: what.to_owned(),
            stream: key.0,
            pasid: transaction.and_then(|it| it.substream).map(|it| it.0),
            address: transaction.map(|it| it.address),
            output: None,
            lines: Vec::new(),
            backtrace: Vec::new(),
        }
    }

    fn overdue(&self, checkers: &Checkers, key: (u32, u16), since: Time) {
        // The tag may be another stall's by now.
        let open = self.open.borrow().get(&key).copied();
        let Some(open) = open.filter(|open| open.since == since) else {
            return;
        };
        let ms = self.limit.as_ns() / 1_000_000;
        let mut finding = Stalls::finding(
            key,
            Some(&open.transaction),
            &format!("a stall has had no answer for {ms} ms"),
        );
        finding.lines.push(format!(
            "tag {}, stalled at {} ns; no CMD_RESUME has named it",
            key.1,
            since.as_ns()
        ));
        checkers.report(&finding);
    }

    fn unasked(&self, checkers: &Checkers, key: (u32, u16)) {
        let before = self.answered.borrow().get(&key).copied();
        let transaction = before.map(|(_, transaction)| transaction);
        let mut finding = Stalls::finding(
            key,
            transaction.as_ref(),
            "a CMD_RESUME for which no stall waits",
        );
        finding.lines.push(match before {
            Some((at, _)) => format!("tag {} was answered before, at {} ns", key.1, at.as_ns()),
            None => format!("tag {} has never been given", key.1),
        });
        checkers.report(&finding);
    }

    fn after_unbind(&self, checkers: &Checkers, key: (u32, u16), open: &Open) {
        let smmu = checkers.smmu.borrow();
        let (Some(smmu), Some(pasid)) = (smmu.as_ref(), open.transaction.substream) else {
            return;
        };
        if context_is_valid(smmu, &checkers.ram, key.0, pasid.0) {
            return;
        }
        let mut finding = Stalls::finding(
            key,
            Some(&open.transaction),
            "a stall was answered after its PASID was unbound",
        );
        finding.lines.push(format!(
            "tag {}, stalled at {} ns; the context descriptor of the PASID is not valid any more",
            key.1,
            open.since.as_ns()
        ));
        checkers.report(&finding);
    }
}

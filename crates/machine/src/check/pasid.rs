//! `--check pasid`: a PASID that changes hands while the device works in it.
//!
//! A transaction that stalls, and a job that is under way, belong to the address space that their
//! PASID had when they began. If the PASID is detached and attached to another one before the answer
//! comes, the retry, or the rest of the job, lands in the memory of the new owner.

use std::cell::RefCell;
use std::collections::BTreeMap;

use stallbox_devices::hisi::DeviceNote;
use stallbox_smmu::spec::cd::Cd;
use stallbox_smmu::view::{AddressSpace, View};
use stallbox_smmu::{Access, Note, StreamId, SubstreamId, Transaction, Translation};
use stallbox_timeline::Time;

use super::changes::Change;
use super::report::{Check, Finding, access};
use super::{Checkers, Space, space};
use crate::stage1::reader;

/// Stalls and jobs that are followed: more than an SMMU has tags.
const STALLS_MAX: usize = 1 << 16;

#[derive(Clone, Copy)]
struct Begun {
    time: Time,
    owner: AddressSpace,
}

#[derive(Default)]
pub(super) struct Pasids {
    /// Transactions that wait, from their first stall on.
    stalls: RefCell<Vec<(Transaction, Begun)>>,
    /// What each queue of each device works on.
    jobs: RefCell<BTreeMap<(u32, u16), (Space, Begun)>>,
}

impl Pasids {
    pub(super) fn noted(&self, checkers: &Checkers, note: &Note) {
        match note {
            Note::Stalled { transaction, .. } => {
                let mut stalls = self.stalls.borrow_mut();
                let known = stalls.iter().any(|(waits, _)| waits == transaction);
                if known || stalls.len() == STALLS_MAX {
                    return;
                }
                if let Some(begun) = begun(checkers, transaction) {
                    stalls.push((*transaction, begun));
                }
            }
            Note::Terminated { transaction } => {
                self.take(transaction);
            }
            _ => {}
        }
    }

    fn take(&self, transaction: &Transaction) -> Option<Begun> {
        let mut stalls = self.stalls.borrow_mut();
        let at = stalls.iter().position(|(waits, _)| waits == transaction)?;
        Some(stalls.swap_remove(at).1)
    }

    pub(super) fn device(&self, checkers: &Checkers, stream: u32, note: &DeviceNote) {
        match *note {
            DeviceNote::JobStarted { queue, pasid, .. } => {
                let transaction = Transaction {
                    stream: StreamId(stream),
                    substream: pasid.map(|pasid| SubstreamId(pasid.0)),
                    address: 0,
                    access: Access::READ,
                };
                let mut jobs = self.jobs.borrow_mut();
                match begun(checkers, &transaction) {
                    Some(begun) => jobs.insert((stream, queue), (space(&transaction), begun)),
                    None => jobs.remove(&(stream, queue)),
                };
            }
            DeviceNote::JobDone { queue, .. } => {
                self.jobs.borrow_mut().remove(&(stream, queue));
            }
            _ => {}
        }
    }

    pub(super) fn used(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) {
        let space = space(transaction);
        let stalled = match translation.stalls {
            0 => None,
            _ => self.take(transaction),
        };
        let jobs = self.jobs.borrow();
        let works = jobs.values().any(|(of, _)| *of == space);
        drop(jobs);
        if stalled.is_none() && !works {
            return;
        }
        let Some(now) = owner(checkers, transaction) else {
            return;
        };
        if let Some(begun) = stalled
            && changed_hands(checkers, space, &begun, now)
        {
            let what = "a stall was retried in another owner's address space";
            self.tell(checkers, transaction, translation, (&begun, now), what);
        }
        // Once for each job.
        let mut changed = Vec::new();
        self.jobs.borrow_mut().retain(|(_, queue), (of, begun)| {
            let other = *of == space && changed_hands(checkers, space, begun, now);
            if other {
                changed.push((*queue, *begun));
            }
            !other
        });
        for (queue, begun) in changed {
            let what = format!("a job of queue {queue} goes on in another owner's address space");
            self.tell(checkers, transaction, translation, (&begun, now), &what);
        }
    }

    fn tell(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
        (begun, now): (&Begun, AddressSpace),
        what: &str,
    ) {
        let space = space(transaction);
        let mut finding = Finding::new(Check::Pasid, what, space)
            .at(transaction.address, Some(translation.address));
        finding.line(format!(
            "{} of the device; at {} ns the PASID had {}",
            access(transaction),
            begun.time.as_ns(),
            named(begun.owner)
        ));
        finding.line(if begun.owner == now {
            "since then it was detached, and attached to the same address space again".to_owned()
        } else {
            format!("now it has {}", named(now))
        });
        let changes = checkers.changes.borrow();
        let context = checkers.context(space);
        let at = context.map_or(0, |context| context.at);
        let since = |change: &&Change| change.by.time >= begun.time;
        let first: Vec<&Change> = changes.of(at).filter(since).collect();
        let second: Vec<&Change> = changes.of(at + 8).filter(since).collect();
        // V, ASID; TTB0. Who changed the old owner's is who detached, the last one who attached.
        let mut all: Vec<&Change> = first.into_iter().chain(second).collect();
        all.sort_by_key(|change| change.by.time);
        if let (Some(detached), Some(attached)) = (all.first(), all.last()) {
            finding.trace("detached", Some(detached.by.clone()));
            finding.event(&detached.by, "the PASID was detached");
            finding.trace("attached", Some(attached.by.clone()));
            finding.event(&attached.by, "the PASID was attached");
        } else {
            finding.line("its context descriptor changed before it was watched, or not by a vCPU");
        }
        drop(changes);
        checkers.report(&finding);
    }
}

/// Whose the PASID of `transaction` is, from now on watched.
fn begun(checkers: &Checkers, transaction: &Transaction) -> Option<Begun> {
    checkers.watch_configuration(transaction);
    Some(Begun {
        time: checkers.now(),
        owner: owner(checkers, transaction)?,
    })
}

fn owner(checkers: &Checkers, transaction: &Transaction) -> Option<AddressSpace> {
    let smmu = checkers.smmu()?;
    let memory = reader(&checkers.ram);
    View::new(&smmu, &memory).address_space(transaction)
}

/// Whether the PASID has another owner than at the start, or had none in between.
fn changed_hands(checkers: &Checkers, space: Space, begun: &Begun, now: AddressSpace) -> bool {
    if begun.owner != now {
        return true;
    }
    let Some(context) = checkers.context(space) else {
        return false;
    };
    let changes = checkers.changes.borrow();
    let detached = |change: &Change| {
        let valid = |word| Cd([word, 0, 0, 0, 0, 0, 0, 0]).v();
        change.by.time >= begun.time && valid(change.old) && !valid(change.new)
    };
    context.is_valid() && changes.of(context.at).any(detached)
}

fn named(owner: AddressSpace) -> String {
    format!("ASID {}, TTB0 {:#x}", owner.asid, owner.ttb0)
}

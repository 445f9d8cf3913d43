//! `--check pasid`: a PASID that changes hands while the device works in it.
//!
//! A transaction that stalls, and a job that is under way, belong to the address space that their
//! PASID had when they began. If the PASID is detached and attached to another one before the answer
//! comes, the retry, or the rest of the job, lands in the memory of the new owner.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use stallbox_smmu::spec::cd::Cd;
use stallbox_smmu::view::{AddressSpace, View};
use stallbox_smmu::{Access, Note, StreamId, SubstreamId, Transaction, Translation};
use stallbox_timeline::Time;
use stallbox_trace::{Check, FindingKind};

use super::changes::Change;
use super::report::{Finding, access};
use super::tasks::Tasks;
use super::{Caller, Checkers, Space, Symbols, space};
use crate::jobs::JobNote;
use crate::stage1::{Half, reader};

/// Stalls and jobs that are followed: more than an SMMU has tags.
const STALLS_MAX: usize = 1 << 16;

#[derive(Clone)]
struct Begun {
    time: Time,
    owner: AddressSpace,
    /// Whose it was, if that is known.
    process: Option<Rc<str>>,
}

/// A job that is under way.
#[derive(Clone)]
struct Job {
    queue: u16,
    tag: u64,
    begun: Begun,
}

pub(super) struct Pasids {
    /// Transactions that wait, from their first stall on.
    stalls: RefCell<Vec<(Transaction, Begun)>>,
    /// What devices work on.
    jobs: RefCell<BTreeMap<Space, Vec<Job>>>,
    /// Which processes there are, with symbols.
    tasks: Option<Tasks>,
    /// The half of the address space in which they are, once a vCPU was there.
    half: Cell<Option<Half>>,
}

impl Pasids {
    pub(super) fn new(symbols: Option<&Symbols>) -> Pasids {
        Pasids {
            stalls: RefCell::default(),
            jobs: RefCell::default(),
            tasks: symbols.and_then(Tasks::new),
            half: Cell::new(None),
        }
    }

    /// For which process a vCPU works.
    pub(super) fn caller(&self, checkers: &Checkers, caller: &Caller) -> Option<Rc<str>> {
        self.half.set(Some(caller.half));
        let tasks = self.tasks.as_ref()?;
        let process = tasks.process(&checkers.ram, &caller.half, caller.current?)?;
        Some(process.into())
    }

    fn process(&self, checkers: &Checkers, owner: AddressSpace) -> Option<Rc<str>> {
        let process = self
            .tasks
            .as_ref()?
            .owner(&checkers.ram, &self.half.get()?, owner.ttb0)?;
        Some(process.into())
    }

    /// Whose the PASID of `transaction` is, from now on watched.
    fn begun(&self, checkers: &Checkers, transaction: &Transaction) -> Option<Begun> {
        checkers.watch_configuration(transaction);
        let owner = owner(checkers, transaction)?;
        Some(Begun {
            time: checkers.now(),
            owner,
            process: self.process(checkers, owner),
        })
    }

    pub(super) fn noted(&self, checkers: &Checkers, note: &Note) {
        match note {
            Note::Stalled { transaction, .. } => {
                let mut stalls = self.stalls.borrow_mut();
                let known = stalls.iter().any(|(waits, _)| waits == transaction);
                if known || stalls.len() == STALLS_MAX {
                    return;
                }
                if let Some(begun) = self.begun(checkers, transaction) {
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

    /// Something became of a job of the accelerator with this StreamID.
    pub(super) fn job(&self, checkers: &Checkers, stream: u32, note: &JobNote) {
        let mut jobs = self.jobs.borrow_mut();
        match *note {
            JobNote::Started {
                queue, tag, pasid, ..
            } => {
                let transaction = Transaction {
                    stream: StreamId(stream),
                    substream: pasid.map(SubstreamId),
                    address: 0,
                    access: Access::READ,
                };
                if jobs.values().map(Vec::len).sum::<usize>() < STALLS_MAX
                    && let Some(begun) = self.begun(checkers, &transaction)
                {
                    let of_space = jobs.entry(space(&transaction)).or_default();
                    of_space.push(Job { queue, tag, begun });
                }
            }
            JobNote::Done { queue, tag } | JobNote::Ended { queue, tag } => {
                let is_it = |job: &Job| job.queue == queue && tag.is_none_or(|it| job.tag == it);
                let mut of_stream = jobs.range_mut((stream, None)..=(stream, Some(u32::MAX)));
                let found =
                    of_stream.find_map(|(_, jobs)| Some((jobs.iter().position(is_it)?, jobs)));
                if let Some((at, jobs)) = found {
                    jobs.remove(at);
                }
            }
            JobNote::Reset => jobs.retain(|of, _| of.0 != stream),
        }
        jobs.retain(|_, jobs| !jobs.is_empty());
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
        let works = self.jobs.borrow().contains_key(&space);
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
            let what = (FindingKind::StallChangedOwner, what);
            self.tell(checkers, transaction, translation, (&begun, now), what);
        }
        // Once for each job.
        let mut changed = Vec::new();
        if let Some(jobs) = self.jobs.borrow_mut().get_mut(&space) {
            jobs.retain(|job| {
                let other = changed_hands(checkers, space, &job.begun, now);
                if other {
                    changed.push(job.clone());
                }
                !other
            });
        }
        for Job { queue, begun, .. } in changed {
            let what = format!("a job of queue {queue} goes on in another owner's address space");
            let what = (FindingKind::JobChangedOwner, what.as_str());
            self.tell(checkers, transaction, translation, (&begun, now), what);
        }
    }

    fn tell(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
        (begun, now): (&Begun, AddressSpace),
        (kind, what): (FindingKind, &str),
    ) {
        let space = space(transaction);
        let mut finding = Finding::new((Check::Pasid, kind), what, space)
            .at(transaction.address, Some(translation.address));
        finding.line(format!(
            "{} of the device; at {} ns the PASID had {}",
            access(transaction),
            begun.time.as_ns(),
            named(begun.owner, begun.process.as_deref())
        ));
        finding.line(if begun.owner == now {
            "since then it was detached, and attached to the same address space again".to_owned()
        } else {
            let process = self.process(checkers, now);
            format!("now it has {}", named(now, process.as_deref()))
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

fn named(owner: AddressSpace, process: Option<&str>) -> String {
    let of = match process {
        Some(process) => format!("of {process}"),
        None => "process not known".to_owned(),
    };
    format!("ASID {}, TTB0 {:#x}, {of}", owner.asid, owner.ttb0)
}

//! `--check tlb`: DMA through a translation whose table entry has changed without a completed
//! invalidation.
//!
//! Software clears an entry first and invalidates then, so a device may use the old translation in
//! between: that is no mistake. What is used in between is a suspect. An invalidation that covers it,
//! completed by CMD_SYNC within the limit, acquits it; without one it is reported. A change counts if
//! the entry no longer says where the access went, or no longer permits it; access flag and dirty
//! state do not count, since software changes those without telling.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stallbox_smmu::{Note, Transaction, Translation};
use stallbox_timeline::{Span, Time};

use super::kernel::read64;
use super::{Check, CheckConfig, Checkers, Finding, Space, Store};

/// An invalidation that takes longer after the change is missing. Linux needs some microseconds; a
/// preempted one some milliseconds.
const LIMIT: Span = Span::from_ms(10);
/// Pages that are followed; then the lowest gives way, and is not checked.
const PAGES_MAX: usize = 1 << 20;
/// At the end of a run, less is enough.
const LONG_ENOUGH: Span = Span::from_ms(1);
/// Changed descriptors of which is kept who changed them.
const CHANGED_MAX: usize = 1 << 16;
/// Changes kept of one descriptor.
const CHANGES_MAX: usize = 8;

/// Bits of a leaf that say where: output address, valid, and kind.
const LEAF_WHERE: u64 = 0x0000_ffff_ffff_f003;
const AP_USER: u64 = 1 << 6;
const AP_READ_ONLY: u64 = 1 << 7;
/// Dirty bit modifier: what is read-only is writable, and only clean.
const DBM: u64 = 1 << 51;

pub(super) struct Tlb {
    /// Whether it reports; `--check dma` needs only what it knows.
    reports: bool,
    limit: Span,
    /// The tables that a walk has read for a page.
    walking: RefCell<BTreeMap<(Space, u64), Vec<Descriptor>>>,
    walked: RefCell<BTreeMap<(Space, u64), Vec<Descriptor>>>,
    changes: RefCell<BTreeMap<u64, VecDeque<Change>>>,
    suspects: RefCell<BTreeMap<(Space, u64), Suspect>>,
    reported: RefCell<BTreeSet<(Space, u64, u64)>>,
}

#[derive(Clone, Copy, Debug)]
struct Descriptor {
    at: u64,
    value: u64,
}

/// Who changed a descriptor.
#[derive(Clone, Debug)]
struct Change {
    time: Time,
    cpu: usize,
    old: u64,
    new: u64,
    frames: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Suspect {
    descriptor: Descriptor,
    now: u64,
    used: Time,
    transaction: Transaction,
    output: u64,
    /// Who changed the descriptor.
    blame: (Vec<String>, Vec<u64>),
    /// An invalidation covers it, which waits for its CMD_SYNC.
    invalidated: bool,
}

fn space(transaction: &Transaction) -> Space {
    (
        transaction.stream.0,
        transaction.substream.map(|substream| substream.0),
    )
}

/// Whether `now` still lets an access happen where `then` did.
fn still_says(then: u64, now: u64, leaf: bool, write: bool) -> bool {
    if then & LEAF_WHERE != now & LEAF_WHERE {
        return false;
    }
    if !leaf {
        return true;
    }
    let user = then & AP_USER == 0 || now & AP_USER != 0;
    let writable = now & AP_READ_ONLY == 0 || now & DBM != 0;
    user && (!write || writable)
}

impl Tlb {
    pub(super) fn new(config: &CheckConfig) -> Tlb {
        Tlb {
            reports: config.tlb,
            limit: config.tlb_limit.unwrap_or(LIMIT),
            walking: RefCell::default(),
            walked: RefCell::default(),
            changes: RefCell::default(),
            suspects: RefCell::default(),
            reported: RefCell::default(),
        }
    }

    pub(super) fn descriptor_read(&self, transaction: &Transaction, at: u64, value: u64) {
        let key = (space(transaction), transaction.address);
        let mut walking = self.walking.borrow_mut();
        let read = walking.entry(key).or_default();
        // A walk that starts over reads the same again.
        if let Some(descriptor) = read.iter_mut().find(|descriptor| descriptor.at == at) {
            descriptor.value = value;
        } else if read.len() < 16 {
            read.push(Descriptor { at, value });
        }
    }

    pub(super) fn noted(&self, checkers: &Checkers, note: &Note) {
        match note {
            Note::Walk {
                transaction, found, ..
            } => {
                let key = (space(transaction), transaction.address);
                let read = self.walking.borrow_mut().remove(&key);
                if let (true, Some(read)) = (*found, read) {
                    let mut walked = self.walked.borrow_mut();
                    let page = (key.0, key.1 >> 12);
                    if walked.len() >= PAGES_MAX && !walked.contains_key(&page) {
                        walked.pop_first();
                    }
                    walked.insert(page, read);
                }
            }
            Note::Command { words } => self.command(checkers, words),
            _ => {}
        }
    }

    /// A vCPU changed a descriptor.
    pub(super) fn stored(&self, store: &Store, cpu: usize, frames: &[u64]) {
        let mut changes = self.changes.borrow_mut();
        if changes.len() >= CHANGED_MAX && !changes.contains_key(&store.at) {
            changes.pop_first();
        }
        let of_this = changes.entry(store.at).or_default();
        if of_this.len() == CHANGES_MAX {
            of_this.pop_front();
        }
        of_this.push_back(Change {
            time: Time::from_ps(store.time_ps),
            cpu,
            old: store.old,
            new: store.new,
            frames: frames.to_vec(),
        });
    }

    /// Who made the descriptor other than it was: lines of a report, and a backtrace.
    pub(super) fn blame(
        &self,
        checkers: &Checkers,
        at: u64,
        was: Option<u64>,
    ) -> (Vec<String>, Vec<u64>) {
        let changes = self.changes.borrow();
        let changes = changes.get(&at);
        let took_away = |change: &&Change| {
            was.is_some_and(|was| {
                change.old & LEAF_WHERE == was & LEAF_WHERE
                    && !still_says(change.old, change.new, true, true)
            })
        };
        // The last that took away what was there; else, the last of all.
        let change = changes.and_then(|it| it.iter().rev().find(took_away).or_else(|| it.back()));
        let Some(change) = change else {
            let line = format!(
                "the descriptor at {at:#x} changed before it was watched, or not by a vCPU"
            );
            return (vec![line], Vec::new());
        };
        let mut lines = vec![format!(
            "the descriptor at {at:#x} was changed at {} ns by vCPU {}: {:#018x} to {:#018x}{}",
            change.time.as_ns(),
            change.cpu,
            change.old,
            change.new,
            if change.new & 1 == 0 {
                " (unmapped)"
            } else {
                ""
            },
        )];
        // The vCPU was stopped after the block with the store: a function that has just been
        // called did not do it.
        let mut names = change.frames.iter().map(|&pc| checkers.name(pc));
        let by = names.find(|name| !name.is_empty() && !name.ends_with("+0x0"));
        lines.extend(by.map(|name| format!("changed by {name}")));
        (lines, change.frames.clone())
    }

    /// The run is over: what has waited for its invalidation for long enough will not get it.
    pub(super) fn finish(&self, checkers: &Checkers) {
        let enough = self.limit.min(LONG_ENOUGH);
        let now = checkers.now();
        let overdue: Vec<_> = self
            .suspects
            .borrow()
            .iter()
            .filter(|(_, suspect)| now.since(suspect.used) >= enough)
            .map(|(page, _)| *page)
            .collect();
        for page in overdue {
            self.sentence(checkers, page);
        }
    }

    /// The leaf by which a page was last found.
    pub(super) fn leaf(&self, space: Space, address: u64) -> Option<u64> {
        let walked = self.walked.borrow();
        walked
            .get(&(space, address >> 12))?
            .last()
            .map(|leaf| leaf.at)
    }

    /// Whose leaf for another page says `output` too, and is still as it was.
    pub(super) fn owners(&self, checkers: &Checkers, output: u64) -> Vec<(Space, u64)> {
        let walked = self.walked.borrow();
        let owner = |(key, read): (&(Space, u64), &Vec<Descriptor>)| {
            let leaf = read.last()?;
            let now = read64(&checkers.ram, leaf.at)?;
            let here = leaf.value & 3 == 3 && leaf.value & 0xffff_ffff_f000 == output & !0xfff;
            (here && still_says(leaf.value, now, true, false)).then_some(*key)
        };
        walked.iter().filter_map(owner).collect()
    }

    /// Whether the tables still say what they said when the page was last walked for.
    pub(super) fn changed(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
    ) -> Option<(u64, u64, u64)> {
        let walked = self.walked.borrow();
        let read = walked.get(&(space(transaction), transaction.address >> 12))?;
        let last = read.len().checked_sub(1)?;
        read.iter().enumerate().find_map(|(index, descriptor)| {
            let now = read64(&checkers.ram, descriptor.at)?;
            let same = still_says(
                descriptor.value,
                now,
                index == last,
                transaction.access.write,
            );
            (!same).then_some((descriptor.at, descriptor.value, now))
        })
    }

    pub(super) fn used(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) {
        if !self.reports {
            return;
        }
        let Some((at, value, now)) = self.changed(checkers, transaction) else {
            return;
        };
        let page = (space(transaction), transaction.address >> 12);
        if self.suspects.borrow().contains_key(&page)
            || self.reported.borrow().contains(&(page.0, page.1, at))
        {
            return;
        }
        let what = format!(
            "used through the TLB, though the descriptor at {at:#x} has changed to {now:#018x}"
        );
        checkers.remember(page.0, transaction.address, what);
        let suspect = Suspect {
            descriptor: Descriptor { at, value },
            now,
            used: checkers.now(),
            transaction: *transaction,
            output: translation.address,
            blame: self.blame(checkers, at, Some(value)),
            invalidated: false,
        };
        self.suspects.borrow_mut().insert(page, suspect);
        checkers.later(self.limit, move |checkers| {
            if let Some(tlb) = &checkers.tlb {
                tlb.sentence(checkers, page);
            }
        });
    }

    /// The limit has passed: what has not been acquitted is reported.
    fn sentence(&self, checkers: &Checkers, page: (Space, u64)) {
        let Some(suspect) = self.suspects.borrow_mut().remove(&page) else {
            return;
        };
        let Descriptor { at, value } = suspect.descriptor;
        self.reported.borrow_mut().insert((page.0, page.1, at));
        let (mut lines, backtrace) = suspect.blame;
        lines.insert(
            0,
            format!(
                "a {} at {} ns used what the descriptor at {at:#x} had said, {value:#018x}; it said \
                 {:#018x} by then",
                if suspect.transaction.access.write {
                    "write"
                } else {
                    "read"
                },
                suspect.used.as_ns(),
                suspect.now
            ),
        );
        lines.push(format!(
            "no invalidation of this address was completed by CMD_SYNC within {} us",
            self.limit.as_ns() / 1000
        ));
        checkers.report(&Finding {
            check: Check::Tlb,
            what: "DMA through a stale translation".to_owned(),
            stream: page.0.0,
            pasid: page.0.1,
            address: Some(suspect.transaction.address),
            output: Some(suspect.output),
            lines,
            backtrace,
        });
    }

    /// Invalidations acquit, once CMD_SYNC completes them.
    fn command(&self, checkers: &Checkers, words: &[u64; 2]) {
        let mut suspects = self.suspects.borrow_mut();
        if suspects.is_empty() {
            return;
        }
        const CMD_SYNC: u64 = 0x46;
        let opcode = words[0] & 0xff;
        if opcode == CMD_SYNC {
            suspects.retain(|_, suspect| !suspect.invalidated);
            return;
        }
        let Some((first, last)) = crate::machine::faults::invalidated(words) else {
            return;
        };
        for ((space, page), suspect) in suspects.iter_mut() {
            let address = page << 12;
            if (first..=last).contains(&(address & 0x00ff_ffff_ffff_f000)) && !suspect.invalidated {
                suspect.invalidated = true;
                let mut history = checkers.history.borrow_mut();
                let now = checkers.now();
                history.add(*space, address, now, format!("invalidated by {opcode:#x}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_a_permission_or_a_place_away_is_a_change() {
        // A page of a process, as Linux maps it: user, writable, accessed, not dirty.
        let page = 0x0060_0000_7777_0f43 | DBM;
        let same = |now, write| still_says(page, now, true, write);
        assert!(same(page & !(1 << 10), true), "the access flag");
        assert!(same(page | AP_READ_ONLY, true), "clean, but writable");
        assert!(same((page | AP_READ_ONLY) & !DBM, false), "reads go on");
        assert!(!same((page | AP_READ_ONLY) & !DBM, true), "writes do not");
        assert!(!same(page & !1, false), "invalid");
        assert!(!same(page + 0x1000, false), "elsewhere");
        assert!(!same(page & !AP_USER, false), "privileged");
    }
}

//! `--check tlb`: DMA through a translation whose table entry has changed without a completed
//! invalidation.
//!
//! Software clears an entry first and invalidates then, so a device may use the old translation in
//! between: that is no mistake. What is used in between is a suspect. An invalidation that covers it,
//! completed by CMD_SYNC within the limit, acquits it; without one it is reported. A change counts if
//! the entry no longer says where the access went, or no longer permits it; access flag and dirty
//! state do not count, since software changes those without telling.
//!
//! A TLB entry belongs to an ASID, and may be older than the PASID that has it. So a use for which its
//! PASID has never had a walk is compared with the PASID's tables, as they are in memory.
//!
//! Where a stream has stage 2, the TLB may also have had a part of what a walk needed. So each use is
//! compared with the tables of both stages.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use stallbox_smmu::spec::command::{Raw, op};
use stallbox_smmu::view::{End, Kind, View};
use stallbox_smmu::{CachedTranslation, DescriptorRead, Note, Transaction, Translation};
use stallbox_timeline::{Span, Time};
use stallbox_trace::{Check, FindingKind};

use super::changes::{Change, Changes};
use super::commands::Invalidation;
use super::context::Context;
use super::descriptor::Descriptor;
use super::report::{Finding, access, named};
use super::{CheckConfig, Checkers, Space, space};
use crate::stage1::{read64, reader};

/// An invalidation that takes longer after the change is missing. Linux needs some microseconds; a
/// preempted one some milliseconds.
const LIMIT: Span = Span::from_ms(10);
/// Pages that are followed; then the lowest gives way, and is not checked.
const PAGES_MAX: usize = 1 << 20;
/// At the end of a run, less is enough.
const LONG_ENOUGH: Span = Span::from_ms(1);

/// More than a walk reads: five levels, each of which five of stage 2 lead to, and those that lead to
/// the context descriptor.
const WALK_MAX: usize = 48;

pub(super) struct Tlb {
    /// Whether it reports; `--check dma` needs only what it knows.
    reports: bool,
    limit: Span,
    /// The tables that a walk has read for a page.
    walking: RefCell<BTreeMap<(Space, u64), Vec<Descriptor>>>,
    /// What the last walk for a page or block found, by its first 4 KiB.
    walked: RefCell<BTreeMap<(Space, u64), Walked>>,
    /// The descriptors of stage 2, as they were last read: a walk finds some of what they say in the
    /// TLB.
    second: RefCell<BTreeMap<u64, Descriptor>>,
    suspects: RefCell<BTreeMap<(Space, u64), Suspect>>,
    reported: RefCell<BTreeSet<(Space, u64, u64)>>,
}

#[derive(Clone, Debug)]
struct Walked {
    /// From the first table to the leaf.
    descriptors: Vec<Descriptor>,
    /// The size of the page or block, as a power of two of bytes.
    log2: u8,
    /// Its stream has stage 2.
    nested: bool,
}

impl Walked {
    /// Whether its leaf, or one of those of both stages, can be one of this size: a page descriptor, up
    /// to 64 KiB, or a block's.
    fn is_of(&self, log2: u8) -> bool {
        let mut leaves = self.descriptors.iter().filter(|it| it.leaf);
        leaves.any(|leaf| (leaf.value & 3 == 3) == (log2 <= 16))
    }

    /// The leaf that says where the page is, if the walk read it: that of stage 2, if there is one.
    fn leaf(&self) -> Option<&Descriptor> {
        let last = self.descriptors.last()?;
        (last.stage == 2 || !self.nested).then_some(last)
    }

    /// Its leaf, if that leads to where `output` is.
    fn leaf_to(&self, output: u64) -> Option<&Descriptor> {
        let leaf = self.leaf()?;
        let mask = 0xffff_ffff_f000 & !((1 << self.log2) - 1);
        (leaf.value & mask == output & mask).then_some(leaf)
    }

    /// Whether the access itself goes through the descriptor at `index`: what stage 2 says of the tables
    /// of stage 1 is only read.
    fn is_of_access(&self, index: usize) -> bool {
        let behind = || self.descriptors.iter().skip(index + 1);
        self.descriptors[index].stage == 1 || behind().all(|it| it.stage == 2)
    }
}

/// Why a use is not what the tables say.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// This descriptor is another one by now.
    Changed(Descriptor, u64),
    /// No walk for this address space has found it, and its tables say otherwise: this.
    Foreign(Option<u64>),
    /// The tables of both stages say otherwise, and it is not known since when.
    Otherwise(Option<u64>),
}

#[derive(Clone, Debug)]
struct Suspect {
    cause: Cause,
    used: Time,
    transaction: Transaction,
    output: u64,
    /// Of the address space, unless its context descriptor is gone.
    asid: Option<u16>,
    /// What the TLB had for it.
    cached: Option<CachedTranslation>,
    /// Who changed the descriptor.
    change: Option<Change>,
    /// What had happened to the page.
    history: Vec<(Time, String)>,
    /// An invalidation covers it, which waits for its CMD_SYNC.
    invalidated: Option<Invalidation>,
}

impl Tlb {
    pub(super) fn new(config: &CheckConfig) -> Tlb {
        Tlb {
            reports: config.tlb,
            limit: config.tlb_limit.unwrap_or(LIMIT),
            walking: RefCell::default(),
            walked: RefCell::default(),
            second: RefCell::default(),
            suspects: RefCell::default(),
            reported: RefCell::default(),
        }
    }

    pub(super) fn descriptor_read(&self, transaction: &Transaction, read: &DescriptorRead) {
        let descriptor = Descriptor::from(read);
        if descriptor.stage == 2 {
            let mut second = self.second.borrow_mut();
            if second.len() >= PAGES_MAX && !second.contains_key(&descriptor.at) {
                second.pop_first();
            }
            second.insert(descriptor.at, descriptor);
        }
        let key = (space(transaction), transaction.address);
        let mut walking = self.walking.borrow_mut();
        let read = walking.entry(key).or_default();
        // A walk that starts over reads the same again.
        if let Some(before) = read.iter_mut().find(|before| before.at == descriptor.at) {
            *before = descriptor;
        } else if read.len() < WALK_MAX {
            read.push(descriptor);
        }
    }

    pub(super) fn noted(&self, checkers: &Checkers, note: &Note) {
        let Note::Walk {
            transaction, found, ..
        } = note
        else {
            return;
        };
        let key = (space(transaction), transaction.address);
        let read = self.walking.borrow_mut().remove(&key);
        if let (true, Some(descriptors)) = (*found, read) {
            let walked = Walked {
                descriptors,
                // How large it is is known when it is used.
                log2: 12,
                nested: self.is_nested(checkers, transaction),
            };
            self.remember((key.0, key.1 >> 12), walked);
        }
    }

    fn remember(&self, key: (Space, u64), found: Walked) {
        let mut walked = self.walked.borrow_mut();
        if walked.len() >= PAGES_MAX && !walked.contains_key(&key) {
            walked.pop_first();
        }
        walked.insert(key, found);
    }

    /// The first 4 KiB of the page or block by which `transaction` was translated.
    fn page(&self, transaction: &Transaction, translation: &Translation) -> (Space, u64) {
        let log2 = translation.size_log2.clamp(12, 63);
        let space = space(transaction);
        let (page, first) = (
            transaction.address >> 12,
            transaction.address >> log2 << log2 >> 12,
        );
        if log2 > 12 {
            // A walk that has just found the block is remembered by the page it was for. So is one
            // that found that page when it was mapped by itself, which is out of date.
            let mut walked = self.walked.borrow_mut();
            if let Some(mut found) = walked.remove(&(space, page))
                && found.is_of(log2)
            {
                found.log2 = log2;
                walked.insert((space, first), found);
            }
        }
        (space, first)
    }

    /// The leaf by which an access is translated, as the last walk read it.
    pub(super) fn leaf(
        &self,
        transaction: &Transaction,
        translation: &Translation,
    ) -> Option<Descriptor> {
        let page = self.page(transaction, translation);
        let walked = self.walked.borrow();
        walked.get(&page)?.leaf().copied()
    }

    /// Whose leaf for another page says `output` too, and is still as it was.
    pub(super) fn owners(&self, checkers: &Checkers, output: u64) -> Vec<(Space, u64)> {
        let walked = self.walked.borrow();
        let owner = |(key, walked): (&(Space, u64), &Walked)| {
            // Cheap first: this looks at everything that was ever walked.
            let leaf = walked.leaf_to(output).filter(|leaf| leaf.value & 1 != 0)?;
            let now = read64(&checkers.ram, leaf.at)?;
            leaf.still_says(now, false).then_some(*key)
        };
        walked.iter().filter_map(owner).collect()
    }

    /// The descriptor that no longer says what it said when the page was last walked for, and what
    /// it says.
    pub(super) fn changed(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) -> Option<(Descriptor, u64)> {
        let page = self.page(transaction, translation);
        let walked = self.walked.borrow();
        let walked = walked.get(&page)?;
        let mut read = walked.descriptors.iter().enumerate();
        read.find_map(|(index, descriptor)| {
            let now = read64(&checkers.ram, descriptor.at)?;
            let write = transaction.access.write && walked.is_of_access(index);
            (!descriptor.still_says(now, write)).then_some((*descriptor, now))
        })
    }

    /// Whether the stream has stage 2.
    fn is_nested(&self, checkers: &Checkers, transaction: &Transaction) -> bool {
        // Cheap first: in most machines none has.
        if self.second.borrow().is_empty() {
            return false;
        }
        let Some(smmu) = checkers.smmu() else {
            return false;
        };
        let memory = reader(&checkers.ram);
        View::new(&smmu, &memory).has_stage2(transaction.stream.0)
    }

    /// An access of a stream with stage 2, of which the last walk found nothing changed: does it go where
    /// the tables of both stages say?
    fn nested(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) -> Option<Cause> {
        let space = space(transaction);
        let smmu = checkers.smmu()?;
        let memory = reader(&checkers.ram);
        let walk = View::new(&smmu, &memory).walk_of(transaction).ok()?;
        let second = self.second.borrow();
        let last = walk.steps.len().checked_sub(1)?;
        for (index, step) in walk.steps.iter().enumerate() {
            let was = second.get(&step.at).filter(|_| step.stage == 2);
            let is_of_access = index == last && walk.output().is_some();
            let write = transaction.access.write && is_of_access;
            if let Some(was) = was.filter(|was| !was.still_says(step.raw, write)) {
                return Some(Cause::Changed(*was, step.raw));
            }
        }
        drop(second);
        let (output, permits) = match walk.end {
            End::Mapped { output, rights, .. } => (Some(output), rights.permit(transaction.access)),
            _ => (None, false),
        };
        if permits && output == Some(translation.address) {
            return None;
        }
        let page = self.page(transaction, translation);
        let known = space.1.is_none() || self.walked.borrow().contains_key(&page);
        Some(match known {
            true => Cause::Otherwise(output),
            false => Cause::Foreign(output),
        })
    }

    /// An access through the TLB for which this address space has never had a walk: does it go where
    /// the tables say?
    fn foreign(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) -> Option<Cause> {
        let page = self.page(transaction, translation);
        if self.walked.borrow().contains_key(&page) {
            return None;
        }
        let context = checkers.context(page.0).filter(Context::is_valid)?;
        let walk = context.walk(&checkers.smmu()?, &checkers.ram, transaction.address)?;
        if walk.output() != Some(translation.address) {
            return Some(Cause::Foreign(walk.output()));
        }
        // A TLB entry that was found for another stream, or longer ago than is remembered.
        let read = walk.stage1().map(|step| Descriptor {
            at: step.at,
            value: step.raw,
            stage: 1,
            leaf: step.kind != Kind::Table,
        });
        let walked = Walked {
            descriptors: read.collect(),
            log2: translation.size_log2.max(12),
            nested: false,
        };
        self.remember(page, walked);
        None
    }

    /// Who else had `output` at this address, and the descriptor that said so.
    pub(super) fn earlier(
        &self,
        (space, page): (Space, u64),
        output: u64,
    ) -> Option<(Space, Descriptor)> {
        let walked = self.walked.borrow();
        walked.iter().find_map(|((other, at), walked)| {
            let candidate = *at == page && *other != space;
            let leaf = walked.leaf_to(output).filter(|_| candidate)?;
            Some((*other, *leaf))
        })
    }

    /// Why the tables say another thing than the translation that is used, if they do.
    fn cause(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) -> Option<Cause> {
        match self.changed(checkers, transaction, translation) {
            Some((descriptor, now)) => Some(Cause::Changed(descriptor, now)),
            None if self.is_nested(checkers, transaction) => {
                self.nested(checkers, transaction, translation)
            }
            None => self.foreign(checkers, transaction, translation),
        }
    }

    /// Whether the tables say another thing than the translation that is used.
    pub(super) fn disagrees(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) -> bool {
        self.cause(checkers, transaction, translation).is_some()
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
        let Some(cause) = self.cause(checkers, transaction, translation) else {
            return;
        };
        let page = (space(transaction), transaction.address >> 12);
        let at = match cause {
            Cause::Changed(descriptor, _) => descriptor.at,
            Cause::Foreign(_) | Cause::Otherwise(_) => 0,
        };
        if self.suspects.borrow().contains_key(&page)
            || self.reported.borrow().contains(&(page.0, page.1, at))
        {
            return;
        }
        let what = match cause {
            Cause::Changed(descriptor, now) => format!(
                "used through the TLB, though the {} at {:#x} has changed to {now:#018x}",
                descriptor.name(),
                descriptor.at
            ),
            Cause::Foreign(_) => "used through the TLB, without a walk".to_owned(),
            Cause::Otherwise(_) => {
                "used through the TLB, though the tables have changed".to_owned()
            }
        };
        checkers.remember(page.0, transaction.address, what);
        let change = match cause {
            Cause::Changed(was, _) => took_away(&checkers.changes.borrow(), was),
            Cause::Foreign(_) | Cause::Otherwise(_) => None,
        };
        let suspect = Suspect {
            cause,
            used: checkers.now(),
            transaction: *transaction,
            output: translation.address,
            asid: checkers.context(page.0).map(|context| context.asid()),
            cached: cached(checkers, transaction, translation),
            change,
            history: checkers.history.borrow().of(page.0, transaction.address),
            invalidated: None,
        };
        let used = suspect.used;
        self.suspects.borrow_mut().insert(page, suspect);
        checkers.later(self.limit, move |checkers| {
            if let Some(tlb) = &checkers.tlb {
                // Another use of the page, after this one was acquitted, has a limit of its own.
                let suspects = tlb.suspects.borrow();
                let is_this = suspects.get(&page).is_some_and(|it| it.used == used);
                drop(suspects);
                if is_this {
                    tlb.sentence(checkers, page);
                }
            }
        });
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

    /// The limit has passed: what has not been acquitted is reported.
    fn sentence(&self, checkers: &Checkers, page: (Space, u64)) {
        let Some(suspect) = self.suspects.borrow_mut().remove(&page) else {
            return;
        };
        let address = suspect.transaction.address;
        let (kind, what) = match suspect.cause {
            Cause::Changed(..) | Cause::Otherwise(_) => (
                FindingKind::StaleTranslation,
                "DMA through a stale translation",
            ),
            Cause::Foreign(_) => (
                FindingKind::ForeignTranslation,
                "DMA through a translation of another address space",
            ),
        };
        let mut finding =
            Finding::new((Check::Tlb, kind), what, page.0).at(address, Some(suspect.output));
        finding.history = Some(suspect.history.clone());
        let (access, used) = (access(&suspect.transaction), suspect.used.as_ns());
        let mut key = 0;
        let mut change = suspect.change.clone();
        match suspect.cause {
            Cause::Changed(was, now) => {
                let Descriptor { at, value, .. } = was;
                key = at;
                finding.line(format!(
                    "{access} of the device at {used} ns used what the {} at {at:#x} had said, \
                     {value:#018x}; it said {now:#018x} by then",
                    was.name()
                ));
                tell_change(&mut finding, was, change.as_ref());
            }
            Cause::Otherwise(output) => {
                let instead = instead(output);
                finding.line(format!(
                    "{access} of the device at {used} ns used what the tables had said; they {instead} \
                     by then"
                ));
            }
            Cause::Foreign(output) => {
                let instead = instead(output);
                finding.line(format!(
                    "{access} of the device at {used} ns used a translation that no walk for this \
                     PASID has found; its tables {instead}"
                ));
                if let Some(asid) = suspect.asid {
                    finding.line(format!(
                        "the context descriptor says ASID {asid}: an earlier user of that ASID has \
                         left it in the TLB"
                    ));
                }
                change = tell_earlier(self, checkers, &mut finding, page, suspect.output);
            }
        }
        self.reported.borrow_mut().insert((page.0, page.1, key));
        let since = change.map_or(suspect.used, |change| change.by.time);
        self.tell_invalidation(checkers, &mut finding, &suspect, since);
        checkers.report(&finding);
    }

    /// Why no invalidation has acquitted it.
    fn tell_invalidation(
        &self,
        checkers: &Checkers,
        finding: &mut Finding,
        suspect: &Suspect,
        since: Time,
    ) {
        finding.line(format!(
            "no invalidation of this address was completed by CMD_SYNC within {} us",
            self.limit.as_ns() / 1000
        ));
        let address = suspect.transaction.address;
        let withheld = match &suspect.invalidated {
            Some(it) => checkers.withheld(it.time, |words| Raw(*words).opcode() == op::SYNC),
            None => checkers.withheld(since, |words| {
                let sent = checkers
                    .smmu()
                    .and_then(|smmu| Invalidation::parse(&smmu, words));
                let cached = suspect.cached.as_ref();
                sent.is_some_and(|it| it.misses(address, cached).is_none())
            }),
        };
        let unexecuted = withheld.is_some();
        if let Some(what) = withheld {
            finding.line(what);
        }
        let near = match (&suspect.invalidated, suspect.cause) {
            (Some(it), _) => {
                let why = "covers it, but no CMD_SYNC has followed";
                Some((it.clone(), why.to_owned()))
            }
            (None, Cause::Changed(..) | Cause::Otherwise(_)) => {
                let cached = suspect.cached.as_ref();
                let near = checkers.commands.nearest(since, address, cached);
                near.map(|it| {
                    // What covers it was there before the use, which came through the TLB again.
                    let before = || "was before the access".to_owned();
                    let why = it.misses(address, cached);
                    let why = why.map_or_else(before, |miss| miss.to_string());
                    (it, why)
                })
            }
            // What the ASID's user of today invalidates is something else.
            (None, Cause::Foreign(_)) => None,
        };
        let Some((near, why)) = near else {
            if unexecuted {
                return;
            }
            finding.line("no invalidation for this address space was sent since");
            return;
        };
        let at = near.time.as_ns();
        finding.line(format!("{} at {at} ns {why}", near.name));
        finding.events.push((near.time, near.name.clone()));
        finding.trace(format!("{} written", near.name), near.by);
    }

    /// Invalidations acquit, once CMD_SYNC completes them.
    pub(super) fn invalidated(&self, checkers: &Checkers, invalidation: &Invalidation) {
        for ((space, page), suspect) in self.suspects.borrow_mut().iter_mut() {
            let address = page << 12;
            let misses = invalidation.misses(address, suspect.cached.as_ref());
            if suspect.invalidated.is_none() && misses.is_none() {
                suspect.invalidated = Some(invalidation.clone());
                let what = format!("invalidated by {}", invalidation.name);
                checkers.remember(*space, address, what);
            }
        }
    }

    /// CMD_SYNC: all invalidations so far are complete.
    pub(super) fn synced(&self) {
        let acquitted = |suspect: &Suspect| suspect.invalidated.is_some();
        self.suspects
            .borrow_mut()
            .retain(|_, suspect| !acquitted(suspect));
    }
}

/// What the tables say, in words.
fn instead(output: Option<u64>) -> String {
    match output {
        None => "do not map the address".to_owned(),
        Some(output) => format!("map the address to {output:#x}"),
    }
}

/// What the TLB has for a use; if it has forgotten it meanwhile, what it would have.
fn cached(
    checkers: &Checkers,
    transaction: &Transaction,
    translation: &Translation,
) -> Option<CachedTranslation> {
    let smmu = checkers.smmu()?;
    let expected = || smmu.expected(transaction, translation.size_log2);
    smmu.cached(transaction).or_else(expected)
}

/// The last change that took away what `was` said; else, the last of all.
pub(super) fn took_away(changes: &Changes, was: Descriptor) -> Option<Change> {
    let takes_away = |change: &&Change| {
        let before = Descriptor {
            value: change.old,
            leaf: true,
            ..was
        };
        was.leads_like(change.old) && !before.still_says(change.new, true)
    };
    let last = || changes.of(was.at).next_back();
    let change = changes.of(was.at).rev().find(takes_away).or_else(last);
    change.cloned()
}

/// Who else had the page at `output` at this address, in a report.
pub(super) fn tell_earlier(
    tlb: &Tlb,
    checkers: &Checkers,
    finding: &mut Finding,
    page: (Space, u64),
    output: u64,
) -> Option<Change> {
    let (space, leaf) = tlb.earlier(page, output)?;
    finding.line(format!("there it was mapped for {}", named(space)));
    let change = took_away(&checkers.changes.borrow(), leaf);
    tell_change(finding, leaf, change.as_ref());
    change
}

/// Who changed the descriptor `was`, in a report.
pub(super) fn tell_change(finding: &mut Finding, was: Descriptor, change: Option<&Change>) {
    let (name, at) = (was.name(), was.at);
    let Some(change) = change else {
        finding.line(format!(
            "the {name} at {at:#x} changed before it was watched, or not by a vCPU"
        ));
        return;
    };
    let (time, cpu) = (change.by.time, change.by.who.cpu);
    let what = if change.new & 1 == 0 {
        "unmapped"
    } else {
        "changed"
    };
    finding.line(format!(
        "the {name} at {at:#x} was changed at {} ns by vCPU {cpu}: {:#018x} to {:#018x} ({what})",
        time.as_ns(),
        change.old,
        change.new,
    ));
    finding.trace(what, Some(change.by.clone()));
    finding.event(&change.by, what);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(value: u64) -> Descriptor {
        Descriptor {
            at: 0,
            value,
            stage: 1,
            leaf: true,
        }
    }

    const SPACE: Space = (8, Some(1));

    fn transaction(address: u64) -> Transaction {
        Transaction {
            stream: stallbox_smmu::StreamId(SPACE.0),
            substream: SPACE.1.map(stallbox_smmu::SubstreamId),
            address,
            access: stallbox_smmu::Access::WRITE,
        }
    }

    fn translation(size_log2: u8) -> Translation {
        Translation {
            address: 0x4020_0000,
            remaining: 1,
            size_log2,
            stalls: 0,
        }
    }

    #[test]
    fn pages_that_became_a_block_are_forgotten() {
        let tlb = Tlb::new(&CheckConfig::default());
        let found = |address, log2| tlb.leaf(&transaction(address), &translation(log2));
        let walk = |page, value| {
            let walked = Walked {
                descriptors: vec![leaf(value)],
                log2: 12,
                nested: false,
            };
            tlb.remember((SPACE, page), walked);
        };
        walk(0x205, 0x4020_5f43);
        assert_eq!(found(0x20_5000, 12).unwrap().value, 0x4020_5f43);
        // They are one block by now, found by a walk for another of them.
        walk(0x207, 0x4020_0f41);
        assert_eq!(found(0x20_7000, 21).unwrap().value, 0x4020_0f41);
        assert_eq!(found(0x20_5000, 21).unwrap().value, 0x4020_0f41);
        assert_eq!(found(0x3f_f000, 21).unwrap().value, 0x4020_0f41);
        assert!(found(0x40_0000, 21).is_none());
        // And pages again.
        walk(0x200, 0x4020_0f43);
        assert_eq!(found(0x20_0000, 12).unwrap().value, 0x4020_0f43);
    }
}

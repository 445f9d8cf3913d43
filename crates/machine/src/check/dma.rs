//! `--check dma`: DMA to pages that the guest has freed, or that are another process's by now.
//!
//! A page is free when its `_refcount` is 0: that is what the kernel itself goes by. It is another's
//! when the address space that the access belongs to no longer maps it, and that of another PASID,
//! as the SMMU last walked it, does. Only accesses with a PASID are looked at: user memory is in
//! single pages or compound ones, of which the head counts.

use std::cell::RefCell;
use std::collections::BTreeSet;

use stallbox_smmu::{Transaction, Translation};
use stallbox_trace::{Check, FindingKind};

use super::changes::{By, Changes, Who};
use super::pages::{Counted, PageState, Pages, counted};
use super::report::{Finding, access, named};
use super::tlb::{Tlb, took_away};
use super::{Checkers, Space, Store, space, tlb};

/// Pages whose reference counts are watched; there are not more in any machine that makes sense.
const PAGES_MAX: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Dma {
    /// Pages of which was told.
    reported: RefCell<BTreeSet<(Space, u64, u64)>>,
    /// Pages whose reference counts are watched.
    watched: RefCell<BTreeSet<u64>>,
    /// The words with those counts.
    words: RefCell<BTreeSet<u64>>,
    /// When they became 0, and when they were not any more.
    counts: RefCell<Changes>,
}

impl Dma {
    /// Whether the word at `at` is a reference count's.
    pub(super) fn holds(&self, at: u64) -> bool {
        self.words.borrow().contains(&at)
    }

    pub(super) fn stored(&self, store: &Store, who: &Who) {
        if counted(store.old, store.new).is_some() {
            self.counts.borrow_mut().stored(store, who);
        }
    }

    pub(super) fn used(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) {
        let (Some(pages), Some(tlb)) = (checkers.pages.get(), &checkers.tlb) else {
            return;
        };
        if transaction.substream.is_none() {
            return;
        }
        let space = space(transaction);
        let output = translation.address;
        self.watch(checkers, pages, output);
        let state = pages.state(&checkers.ram, output);
        let (kind, what, lines) = match state {
            Some(PageState::Free { buddy }) => (
                FindingKind::FreedPage,
                "DMA to a page that the guest has freed",
                vec![if buddy {
                    "the page is in the buddy allocator".to_owned()
                } else {
                    "the page's reference count is 0".to_owned()
                }],
            ),
            _ => match others(tlb, checkers, transaction, translation) {
                Some(lines) => (
                    FindingKind::ForeignPage,
                    "DMA to a page of another process",
                    lines,
                ),
                None => return,
            },
        };
        let shift = pages.shift();
        let key = (space, transaction.address >> shift, output >> shift);
        if !self.reported.borrow_mut().insert(key) {
            return;
        }
        let mut finding =
            Finding::new((Check::Dma, kind), what, space).at(transaction.address, Some(output));
        finding.line(format!("{} of the device", access(transaction)));
        finding.lines.extend(lines);
        self.tell_count(checkers, pages, output, &mut finding);
        match tlb.changed(checkers, transaction, translation) {
            Some((was, _)) => {
                let change = took_away(&checkers.changes.borrow(), was);
                tlb::tell_change(&mut finding, was, change.as_ref());
            }
            None => match tlb.leaf(transaction, translation) {
                Some(leaf) => finding.line(format!(
                    "the descriptor at {:#x} still maps it: {:#018x}",
                    leaf.at, leaf.value
                )),
                None => {
                    finding.line("no walk for this PASID has found this translation");
                    let page = (space, transaction.address >> 12);
                    tlb::tell_earlier(tlb, checkers, &mut finding, page, output);
                }
            },
        }
        checkers.report(&finding);
    }

    /// From now on it is known who frees the page at `output`, and who gets it.
    fn watch(&self, checkers: &Checkers, pages: &Pages, output: u64) {
        let mut watched = self.watched.borrow_mut();
        if watched.len() >= PAGES_MAX || !watched.insert(output >> pages.shift()) {
            return;
        }
        let words = pages.count_words(&checkers.ram, output);
        if let (Some(words), Some(watch)) = (words, checkers.watch()) {
            for word in words {
                watch.watch_word(word);
                self.words.borrow_mut().insert(word);
            }
        }
    }

    /// Who freed the page last, and who got it then.
    fn tell_count(&self, checkers: &Checkers, pages: &Pages, output: u64, finding: &mut Finding) {
        let Some([own, head]) = pages.count_words(&checkers.ram, output) else {
            return;
        };
        let counts = self.counts.borrow();
        let last = |what| {
            let all = counts.of(own).chain(counts.of(head));
            let it = all.filter(|change| counted(change.old, change.new) == Some(what));
            it.map(|change| &change.by).max_by_key(|by| by.time)
        };
        let tell = |finding: &mut Finding, by: &By, what| {
            finding.trace(what, Some(by.clone()));
            finding.event(by, what);
        };
        if let Some(freed) = last(Counted::Freed) {
            tell(finding, freed, "page freed");
            if let Some(got) = last(Counted::Allocated).filter(|it| it.time > freed.time) {
                tell(finding, got, "page allocated");
            }
        }
    }
}

/// Whose page it is, if it is another's.
fn others(
    tlb: &Tlb,
    checkers: &Checkers,
    transaction: &Transaction,
    translation: &Translation,
) -> Option<Vec<String>> {
    // Most accesses go where the tables say.
    if !tlb.disagrees(checkers, transaction, translation) {
        return None;
    }
    let owners = tlb.owners(checkers, translation.address);
    if owners.is_empty() || owners.iter().any(|(owner, _)| *owner == space(transaction)) {
        return None;
    }
    let lines = owners
        .iter()
        .take(4)
        .map(|(owner, page)| format!("it is mapped at {:#x} of {}", page << 12, named(*owner)));
    Some(lines.collect())
}

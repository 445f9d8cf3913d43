//! `--check dma`: DMA to pages that the guest has freed, or that are another process's by now.
//!
//! A page is free when its `_refcount` is 0: that is what the kernel itself goes by. It is another's
//! when the address space that the access belongs to no longer maps it, and that of another PASID,
//! as the SMMU last walked it, does. Only accesses with a PASID are looked at: user memory is in
//! single pages or compound ones, of which the head counts.

use std::cell::RefCell;
use std::collections::BTreeSet;

use stallbox_smmu::{Transaction, Translation};

use super::kernel::PageState;
use super::{Check, Checkers, Finding, Space};

#[derive(Default)]
pub(super) struct Dma {
    /// Pages of which was told.
    reported: RefCell<BTreeSet<(Space, u64, u64)>>,
}

impl Dma {
    pub(super) fn used(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) {
        let Some(pasid) = transaction.substream else {
            return;
        };
        let space = (transaction.stream.0, Some(pasid.0));
        let output = translation.address;
        let key = (space, transaction.address >> 12, output >> 12);
        let Some(Ok(pages)) = checkers.pages.get() else {
            return;
        };
        let state = pages.state(&checkers.ram, output);
        let (what, mut lines) = match state {
            Some(PageState::Free { buddy }) => (
                "DMA to a page that the guest has freed",
                vec![if buddy {
                    "the page is in the buddy allocator".to_owned()
                } else {
                    "the page's reference count is 0".to_owned()
                }],
            ),
            _ => match self.others(checkers, transaction, space, output) {
                Some(lines) => ("DMA to a page of another process", lines),
                None => return,
            },
        };
        if !self.reported.borrow_mut().insert(key) {
            return;
        }
        let mut backtrace = Vec::new();
        if let Some(tlb) = &checkers.tlb {
            let changed = tlb.changed(checkers, transaction);
            let descriptor = match changed {
                Some((at, was, _)) => Some((at, Some(was))),
                None => tlb.leaf(space, transaction.address).map(|at| (at, None)),
            };
            if let Some((at, was)) = descriptor {
                let (more, frames) = tlb.blame(checkers, at, was);
                lines.extend(more);
                backtrace = frames;
            }
        }
        let access = if transaction.access.write {
            "a write"
        } else {
            "a read"
        };
        lines.insert(0, format!("{access} of the device"));
        checkers.report(&Finding {
            check: Check::Dma,
            what: what.to_owned(),
            stream: space.0,
            pasid: space.1,
            address: Some(transaction.address),
            output: Some(output),
            lines,
            backtrace,
        });
    }

    /// Whose page it is, if it is another's.
    fn others(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        space: Space,
        output: u64,
    ) -> Option<Vec<String>> {
        let tlb = checkers.tlb.as_ref()?;
        // Most accesses are through tables that have not changed.
        tlb.changed(checkers, transaction)?;
        let owners = tlb.owners(checkers, output);
        if owners.is_empty() || owners.iter().any(|(owner, _)| *owner == space) {
            return None;
        }
        let lines = owners.iter().take(4).map(|((stream, pasid), page)| {
            let pasid = pasid.map_or("no PASID".to_owned(), |pasid| format!("PASID {pasid}"));
            format!(
                "it is mapped at {:#x} of stream {stream:#x}, {pasid}",
                page << 12
            )
        });
        Some(lines.collect())
    }
}

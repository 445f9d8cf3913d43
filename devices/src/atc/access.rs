//! The accesses of a function, piece by piece: with a translation of the cache, after a translation
//! request, or after a page request.
//!
//! PCI Express Base Specification, *Address Translation Services*, *Page Request Services*.

use stallbox_timeline::Span;

use super::cache::low_mask;
use super::groups::{Verdict, Waiter};
use super::{Atc, AtcEntry, AtcNote, AtcStep, Found, Used};
use crate::dma::{AtsPort, DmaAbort, DmaAttrs, DmaFuture, DmaPort, Op, PageRequest};

/// A page request that was answered with Success although the page is still not there is repeated
/// after this, so that software that answers so for ever does not stop the clock.
const REPEAT_AFTER: Span = Span::from_us(1);

/// A translated transaction under way.
struct Using<'a> {
    atc: &'a Atc,
    id: u64,
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        self.atc.using.borrow_mut().remove(&self.id);
        self.atc.released.notify_all();
    }
}

/// How a piece of an access is to be made.
enum Way<'a> {
    Translated {
        address: u64,
        length: usize,
        _using: Using<'a>,
    },
    /// The translation said so.
    Untranslated { length: usize },
}

/// An access, as it is while it goes on.
#[derive(Clone, Copy)]
struct Piece {
    attrs: DmaAttrs,
    write: bool,
    address: u64,
    left: usize,
}

impl Atc {
    /// An access, translated if software has enabled ATS.
    async fn perform(&self, attrs: DmaAttrs, address: u64, mut op: Op<'_>) -> Result<(), DmaAbort> {
        let Some(port) = self.dma.ats().filter(|_| self.ats.enabled()) else {
            return self.dma.access(attrs, address, op).await;
        };
        let bytes = op.bytes();
        port.issue(bytes).await;
        let mut done = 0;
        while done < bytes {
            let at = address.wrapping_add(done as u64);
            let piece = Piece {
                attrs,
                write: op.is_write(),
                address: at,
                left: bytes - done,
            };
            let aborted = DmaAbort { address: at };
            done += match self.way(piece).await? {
                Way::Translated {
                    address,
                    length,
                    _using,
                } => {
                    let part = op.part(done..done + length).ok_or(aborted)?;
                    let moved = port.access_translated(attrs, address, part).await;
                    moved.map_err(|_| aborted)?;
                    length
                }
                Way::Untranslated { length } => {
                    let part = op.part(done..done + length).ok_or(aborted)?;
                    self.dma.access(attrs, at, part).await?;
                    length
                }
            };
        }
        Ok(())
    }

    /// The way for the next piece of an access, waiting for pages as long as software takes.
    async fn way(&self, piece: Piece) -> Result<Way<'_>, DmaAbort> {
        let Piece {
            attrs,
            write,
            address,
            left,
        } = piece;
        let aborted = DmaAbort { address };
        let (mut groups, mut since) = (0, self.timeline.now());
        let outcome = loop {
            if let Some(entry) = self.cached(attrs, address, write) {
                let span = self.probe.spend(AtcStep::Hit);
                if span != Span::ZERO {
                    self.timeline.sleep(span).await;
                }
                // It may have been invalidated in that time.
                if span == Span::ZERO || self.cached(attrs, address, write) == Some(entry) {
                    if groups == 0 {
                        self.count(|counters| counters.hits += 1);
                    }
                    break Ok(self.begin(attrs, &entry, address, left));
                }
                continue;
            }
            match self.ask(attrs, address, write).await {
                Err(abort) => break Err(abort),
                Ok(Found::Entry(entry)) => break Ok(self.begin(attrs, &entry, address, left)),
                Ok(Found::UntranslatedOnly(size_log2)) => {
                    let inside = address & low_mask(size_log2);
                    let remaining = (low_mask(size_log2) - inside).saturating_add(1);
                    let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(left);
                    break Ok(Way::Untranslated { length });
                }
                Ok(Found::NotPermitted) => {}
            }
            match groups {
                0 => since = self.timeline.now(),
                // Asked for, said to be there, and is not.
                _ => self.timeline.sleep(REPEAT_AFTER).await,
            }
            match self.request_pages(piece).await {
                None => break Err(aborted),
                Some(Verdict::Abort) => {
                    groups += 1;
                    break Err(aborted);
                }
                Some(Verdict::Retry) => groups += 1,
            }
        };
        if groups > 0 {
            self.probe.note(&AtcNote::Faulted {
                pasid: attrs.pasid,
                address,
                write,
                groups,
                latency: self.timeline.now().since(since),
                aborted: outcome.is_err(),
            });
        }
        outcome
    }

    fn begin(&self, attrs: DmaAttrs, entry: &AtcEntry, address: u64, left: usize) -> Way<'_> {
        let (output, remaining) = entry.output(address);
        let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(left);
        let id = self.new_id();
        let used = Used {
            pasid: attrs.pasid,
            first: entry.first,
            last: entry.last(),
        };
        self.using.borrow_mut().insert(id, used);
        Way::Translated {
            address: output,
            length,
            _using: Using { atc: self, id },
        }
    }

    /// Asks software for the page that `piece` begins in, and for those that follow as far as they
    /// go into the same group. `None` if no request may be sent.
    async fn request_pages(&self, piece: Piece) -> Option<Verdict> {
        let groups = self.groups.as_ref()?;
        let port = self.dma.ats()?;
        let attrs = piece.attrs;
        let pages = self.pages_for_group(piece).await;
        let waiter = Waiter::new(attrs.pasid);
        let now = || self.timeline.now();
        let (index, count) = groups.take(&waiter, pages.len() as u32, now).await?;
        self.count(|counters| {
            counters.page_request_groups += 1;
            counters.page_requests += u64::from(count);
        });
        for (nth, address) in (1..=count).zip(pages) {
            let request = PageRequest {
                pasid: attrs.pasid,
                address,
                read: !piece.write,
                write: piece.write,
                execute: attrs.execute && !piece.write,
                privileged: attrs.privileged,
                last: nth == count,
                index,
            };
            self.probe.note(&AtcNote::PageRequested { request });
            port.page_request(request);
        }
        Some(groups.verdict(&waiter).await)
    }

    /// The page at fault, and those after it that the access will need and cannot have.
    async fn pages_for_group(&self, piece: Piece) -> Vec<u64> {
        let unit = 1_u64 << self.ats.unit_log2();
        let first = piece.address & !(unit - 1);
        let last = piece.address.saturating_add(piece.left as u64 - 1);
        let mut pages = vec![first];
        let mut at = first;
        while pages.len() < self.config.group_pages as usize {
            match at.checked_add(unit) {
                Some(next) if next <= last => at = next,
                _ => break,
            }
            if self.cached(piece.attrs, at, piece.write).is_some() {
                continue;
            }
            match self.ask(piece.attrs, at, piece.write).await {
                Ok(Found::NotPermitted) => pages.push(at),
                Ok(_) => {}
                // Its own access will find out.
                Err(_) => break,
            }
        }
        pages
    }
}

impl DmaPort for Atc {
    fn access<'a>(&'a self, attrs: DmaAttrs, address: u64, op: Op<'a>) -> DmaFuture<'a> {
        Box::pin(self.perform(attrs, address, op))
    }

    fn ats(&self) -> Option<&dyn AtsPort> {
        self.dma.ats()
    }
}

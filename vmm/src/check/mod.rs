//! Checkers: what a guest does wrong with its SMMU, told as it happens. Off unless asked for, named
//! like sanitizers; `docs/checkers.md` is the reference.
//!
//! They listen: to what the SMMU notes, to the descriptors that its walks read, to each translation
//! that a device is about to use, and to the vCPUs' stores to the pages that hold those descriptors.
//! They change nothing in the guest.

mod dma;
mod history;
mod kernel;
mod stall;
mod symbols;
mod tlb;
mod watch;

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt::Write as _;
use std::rc::{Rc, Weak};

use anyhow::{Result, bail};
use serde::Serialize;
use stallbox_devices::GuestRam;
use stallbox_firmware::layout::RAM_BASE;
use stallbox_smmu::{Note, Points, Smmu, Transaction, Translation};
use stallbox_timeline::{Span, Time, Timeline};
use stallbox_trace::{Event, Tracer};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use history::History;
pub use kernel::{Caller, Half};
pub use symbols::Symbols;
pub use watch::{PageWatch, Store};

/// After so many reports of one checker it only counts.
const REPORTS_MAX: u32 = 20;

/// Which checkers are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckConfig {
    /// `tlb`.
    pub tlb: bool,
    /// `stall`.
    pub stall: bool,
    /// `dma`.
    pub dma: bool,
    /// `tlb`: how long an invalidation may take after the table has changed.
    pub tlb_limit: Option<Span>,
    /// `stall`: how long a stall may wait for its answer.
    pub stall_limit: Option<Span>,
}

impl CheckConfig {
    /// Adds what one `--check` says: names, separated by commas, each with an optional limit in
    /// microseconds of virtual time.
    pub fn add(&mut self, text: &str) -> Result<()> {
        for word in text.split(',') {
            let (name, limit) = match word.split_once('=') {
                Some((name, limit)) => match limit.parse() {
                    Ok(us) if (1..=3_600_000_000).contains(&us) => (name, Some(Span::from_us(us))),
                    _ => bail!(
                        "--check {word}: \"{limit}\" is no number of microseconds from 1 to \
                         3600000000"
                    ),
                },
                None => (word, None),
            };
            match name {
                "tlb" => {
                    self.tlb = true;
                    self.tlb_limit = limit.or(self.tlb_limit);
                }
                "stall" => {
                    self.stall = true;
                    self.stall_limit = limit.or(self.stall_limit);
                }
                "dma" if limit.is_none() => self.dma = true,
                "dma" => bail!("--check {word}: dma has no limit"),
                _ => bail!("--check {word}: there are tlb, stall and dma"),
            }
        }
        Ok(())
    }

    /// Whether any is on.
    pub fn any(&self) -> bool {
        self.tlb || self.stall || self.dma
    }
}

/// Whose translation.
pub(crate) type Space = (u32, Option<u32>);

/// The checkers of one machine.
pub struct Checkers {
    me: Weak<Checkers>,
    timeline: Timeline,
    tracer: Tracer,
    ram: GuestRam,
    symbols: Option<Rc<Symbols>>,
    smmu: RefCell<Option<Smmu>>,
    watch: Option<PageWatch>,
    tlb: Option<tlb::Tlb>,
    stall: Option<stall::Stalls>,
    dma: Option<dma::Dma>,
    history: RefCell<History>,
    pages: OnceCell<Result<kernel::Pages, String>>,
    counts: [Cell<u32>; 3],
}

/// Which checker reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Check {
    Tlb,
    Stall,
    Dma,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Check::Tlb => "tlb",
            Check::Stall => "stall",
            Check::Dma => "dma",
        }
    }
}

/// What a report says, before it is a block of text.
struct Finding {
    check: Check,
    /// In a few words.
    what: String,
    stream: u32,
    pasid: Option<u32>,
    address: Option<u64>,
    output: Option<u64>,
    /// Lines about how it came to be.
    lines: Vec<String>,
    /// Who is to blame, if that is known.
    backtrace: Vec<u64>,
}

impl Checkers {
    pub(crate) fn new(
        config: &CheckConfig,
        symbols: Option<Rc<Symbols>>,
        timeline: &Timeline,
        tracer: &Tracer,
        ram: &GuestRam,
    ) -> Rc<Checkers> {
        let bytes = ram.iter().map(GuestMemoryRegion::len).sum();
        Rc::new_cyclic(|me| Checkers {
            me: me.clone(),
            timeline: timeline.clone(),
            tracer: tracer.clone(),
            ram: ram.clone(),
            symbols,
            smmu: RefCell::default(),
            watch: (config.tlb || config.dma).then(|| PageWatch::new(RAM_BASE, bytes)),
            tlb: (config.tlb || config.dma).then(|| tlb::Tlb::new(config)),
            stall: config.stall.then(|| stall::Stalls::new(config)),
            dma: config.dma.then(dma::Dma::default),
            history: RefCell::default(),
            pages: OnceCell::new(),
            counts: Default::default(),
        })
    }

    /// The machine is complete. Which of the SMMU's points are of interest.
    pub(crate) fn attach(&self, smmu: &Smmu) -> Points {
        *self.smmu.borrow_mut() = Some(smmu.clone());
        if self.tlb.is_some() {
            Points::DESCRIPTOR | Points::TRANSLATED
        } else {
            Points::NONE
        }
    }

    /// The guest's kernel was loaded at `load`: its pages can be looked at, if there are symbols.
    pub fn kernel_loaded(&self, load: u64) -> Result<()> {
        if self.dma.is_none() {
            return Ok(());
        }
        let pages = match &self.symbols {
            Some(symbols) => kernel::Pages::new(symbols, load),
            None => bail!(
                "--check dma needs the kernel's symbols, to know which pages are free: give its \
                 vmlinux or System.map with --symbols"
            ),
        };
        if let Err(reason) = &pages {
            bail!("--check dma: {reason}");
        }
        // A second kernel in one machine does not happen.
        let _ = self.pages.set(pages);
        Ok(())
    }

    /// The pages whose stores are of interest.
    pub fn watch(&self) -> Option<&PageWatch> {
        self.watch.as_ref()
    }

    /// A vCPU stored to watched pages, and stands here now.
    pub fn stored(&self, caller: &Caller) {
        let Some(watch) = &self.watch else { return };
        let stores = watch.take();
        let frames = caller.frames(&self.ram);
        for store in stores {
            if let Some(tlb) = &self.tlb {
                tlb.stored(&store, caller.cpu, &frames);
            }
        }
    }

    /// Something happened in the SMMU.
    pub(crate) fn noted(&self, note: &Note) {
        if self.tlb.is_none() && self.stall.is_none() {
            return;
        }
        self.history.borrow_mut().noted(self.timeline.now(), note);
        if let Some(tlb) = &self.tlb {
            tlb.noted(self, note);
        }
        if let Some(stall) = &self.stall {
            stall.noted(self, note);
        }
    }

    /// A walk read a descriptor.
    pub(crate) fn descriptor_read(&self, transaction: &Transaction, at: u64, descriptor: u64) {
        if let (Some(tlb), Some(watch)) = (&self.tlb, &self.watch) {
            watch.watch(at);
            tlb.descriptor_read(transaction, at, descriptor);
        }
    }

    /// A device is about to use a translation.
    pub(crate) fn translated(&self, transaction: &Transaction, translation: &Translation) {
        if let Some(tlb) = &self.tlb {
            tlb.used(self, transaction, translation);
        }
        if let Some(dma) = &self.dma {
            dma.used(self, transaction, translation);
        }
    }

    /// The run is over.
    pub fn finish(&self) {
        if let Some(tlb) = &self.tlb {
            tlb.finish(self);
        }
    }

    /// Reports so far.
    pub fn reports(&self) -> u32 {
        self.counts.iter().map(Cell::get).sum()
    }

    /// How many reports were not shown.
    pub fn unshown(&self) -> u32 {
        let unshown = |count: &Cell<u32>| count.get().saturating_sub(REPORTS_MAX);
        self.counts.iter().map(unshown).sum()
    }

    /// The address as a symbol, if there are any.
    fn name(&self, address: u64) -> String {
        let name = self.symbols.as_ref().and_then(|it| it.name(address));
        name.unwrap_or_default()
    }

    /// One block on standard error, and one event in the trace.
    fn report(&self, finding: &Finding) {
        let count = &self.counts[finding.check as usize];
        count.set(count.get() + 1);
        let text = self.block(finding);
        self.tracer.emit(Event::Report {
            check: finding.check.name(),
            what: finding.what.clone(),
            stream: finding.stream,
            pasid: finding.pasid,
            address: finding.address,
            output: finding.output,
        });
        if count.get() <= REPORTS_MAX {
            eprint!("{text}");
        }
    }

    fn block(&self, finding: &Finding) -> String {
        let now = self.timeline.now().as_ns();
        let mut text = String::new();
        let name = finding.check.name();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "================================================================="
        );
        let _ = writeln!(text, "stallbox: check {name}: {}", finding.what);
        let _ = write!(text, "  at {now} ns, stream {:#x}", finding.stream);
        if let Some(pasid) = finding.pasid {
            let _ = write!(text, ", PASID {pasid}");
        }
        if let Some(address) = finding.address {
            let _ = write!(text, ", VA {address:#x}");
        }
        if let Some(output) = finding.output {
            let _ = write!(text, ", PA {output:#x}");
        }
        text.push('\n');
        for line in &finding.lines {
            let _ = writeln!(text, "  {line}");
        }
        if !finding.backtrace.is_empty() {
            let _ = writeln!(text, "  by:");
            for (index, &address) in finding.backtrace.iter().enumerate() {
                let _ = writeln!(text, "    #{index} {address:#x} {}", self.name(address));
            }
            if self.symbols.is_none() {
                let _ = writeln!(text, "    (--symbols VMLINUX names these)");
            }
        }
        let space = (finding.stream, finding.pasid);
        if let Some(address) = finding.address {
            let lines = self.history.borrow().of(space, address);
            if !lines.is_empty() {
                let _ = writeln!(text, "  this page so far:");
                for line in lines {
                    let _ = writeln!(text, "    {line}");
                }
            }
        }
        let _ = writeln!(
            text,
            "================================================================="
        );
        text
    }

    fn remember(&self, space: Space, address: u64, what: String) {
        let now = self.timeline.now();
        self.history.borrow_mut().add(space, address, now, what);
    }

    /// Calls `check` after `span`, unless the machine is gone.
    fn later(&self, span: Span, check: impl FnOnce(&Checkers) + 'static) {
        let me = self.me.clone();
        self.timeline.after(span, move || {
            if let Some(checkers) = me.upgrade() {
                check(&checkers);
            }
        });
    }

    fn now(&self) -> Time {
        self.timeline.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkers_are_named_and_have_limits() {
        let mut config = CheckConfig::default();
        config.add("tlb,stall=5000").unwrap();
        config.add("dma").unwrap();
        assert!(config.tlb && config.stall && config.dma);
        assert_eq!(config.stall_limit, Some(Span::from_us(5000)));
        for (text, word) in [
            ("stal", "there are tlb, stall and dma"),
            ("tlb=soon", "\"soon\" is no number"),
            ("stall=0", "from 1 to"),
            ("dma=5", "no limit"),
        ] {
            let error = CheckConfig::default().add(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}

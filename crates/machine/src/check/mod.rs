//! Checkers: what a guest does wrong with its SMMU, told as it happens. Off unless asked for, named
//! like sanitizers; `docs/checkers.md` is the reference.
//!
//! They listen: to what the SMMU notes, to the descriptors that its walks read, to each translation
//! that a device is about to use, and to the vCPUs' stores to the memory where all that comes from.
//! They change nothing in the guest.

mod changes;
mod commands;
mod config;
mod configuration;
mod context;
mod descriptor;
mod dma;
mod history;
mod kernel;
mod page_requests;
mod pages;
mod pasid;
mod report;
mod stall;
mod symbols;
mod tasks;
#[cfg(test)]
mod tests;
mod tlb;
mod watch;
mod withheld;

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::rc::{Rc, Weak};

use anyhow::{Result, bail};
use stallbox_devices::GuestRam;
use stallbox_firmware::layout::RAM_BASE;
use stallbox_output::remark;
use stallbox_smmu::{
    DescriptorRead, Note, OnCommand, Points, Smmu, Transaction, Translation, Verdict,
};
use stallbox_timeline::{Span, Time, Timeline};
use stallbox_trace::{Event, Hex, Tracer};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::Devices;
use crate::jobs::JobNote;
use changes::{Changes, Who};
use commands::Commands;
pub use config::CheckConfig;
use context::Context;
use history::History;
pub use kernel::Caller;
use report::Finding;
pub use symbols::{Names, SymbolSource, Symbols};
pub use watch::{PageWatch, Store};

/// After so many reports of one checker it only counts.
const REPORTS_MAX: u32 = 20;

/// Whose translation: StreamID and PASID.
pub(crate) type Space = (u32, Option<u32>);

fn space(transaction: &Transaction) -> Space {
    (
        transaction.stream.0,
        transaction.substream.map(|substream| substream.0),
    )
}

/// The checkers of one machine.
pub struct Checkers {
    me: Weak<Checkers>,
    timeline: Timeline,
    tracer: Tracer,
    ram: GuestRam,
    symbols: Option<Rc<Symbols>>,
    /// Where the guest's kernel was loaded.
    load: Cell<Option<u64>>,
    /// The machine's, once it is complete.
    devices: RefCell<Weak<Devices>>,
    /// An SMMU without a machine.
    #[cfg(test)]
    alone: RefCell<Option<Smmu>>,
    /// If any checker is on.
    watch: Option<PageWatch>,
    tlb: Option<tlb::Tlb>,
    stall: Option<stall::Stalls>,
    dma: Option<dma::Dma>,
    configuration: Option<configuration::Configuration>,
    pasids: Option<pasid::Pasids>,
    history: RefCell<History>,
    commands: Commands,
    /// Who changed translation tables and context descriptors.
    changes: RefCell<Changes>,
    pages: OnceCell<pages::Pages>,
    counts: [Cell<u32>; 5],
    kept: RefCell<Vec<Kept>>,
}

/// A report that was shown.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The checker's name.
    pub checker: &'static str,
    /// The devices' time.
    pub time_ns: u64,
    /// In a few words.
    pub title: String,
    /// What was shown.
    pub block: String,
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
            load: Cell::default(),
            devices: RefCell::default(),
            #[cfg(test)]
            alone: RefCell::default(),
            watch: config.any().then(|| PageWatch::new(RAM_BASE, bytes)),
            tlb: (config.tlb || config.dma).then(|| tlb::Tlb::new(config)),
            stall: config.stall.then(|| stall::Stalls::new(config)),
            dma: config.dma.then(dma::Dma::default),
            configuration: config
                .config
                .then(|| configuration::Configuration::new(config)),
            pasids: config.pasid.then(|| pasid::Pasids::new(symbols.as_deref())),
            history: RefCell::default(),
            commands: Commands::default(),
            changes: RefCell::default(),
            pages: OnceCell::new(),
            counts: Default::default(),
            kept: RefCell::default(),
            symbols,
        })
    }

    /// The machine is complete. Which of the SMMU's points are of interest.
    pub(crate) fn attach(&self, devices: &Rc<Devices>) -> Points {
        *self.devices.borrow_mut() = Rc::downgrade(devices);
        self.points()
    }

    fn points(&self) -> Points {
        if self.tlb.is_some() {
            Points::DESCRIPTOR | Points::TRANSLATED
        } else if self.configuration.is_some() || self.pasids.is_some() {
            Points::TRANSLATED
        } else {
            Points::NONE
        }
    }

    /// The SMMU. The machine owns it: its probe holds the checkers.
    fn smmu(&self) -> Option<Smmu> {
        #[cfg(test)]
        if let Some(smmu) = self.alone.borrow().clone() {
            return Some(smmu);
        }
        let devices = self.devices.borrow().upgrade()?;
        Some(devices.smmu().clone())
    }

    /// The guest's kernel was loaded at `load`, and has not run yet: its pages can be looked at later, if
    /// there are symbols.
    pub fn kernel_loaded(&self, load: u64) -> Result<()> {
        self.load.set(Some(load));
        if self.dma.is_none() {
            return Ok(());
        }
        let Some(symbols) = &self.symbols else {
            bail!(
                "--check dma needs the kernel's symbols, to know which pages are free: give its \
                 vmlinux or System.map with --symbols"
            );
        };
        let pages = match pages::Pages::new(symbols, load, &self.ram) {
            Ok(pages) => pages,
            Err(reason) => bail!("--check dma: {reason}"),
        };
        // A second kernel in one machine does not happen.
        let _ = self.pages.set(pages);
        Ok(())
    }

    /// Names for the kernel's addresses, if there are symbols.
    fn names(&self) -> Option<Names<'_>> {
        let symbols = self.symbols.as_deref()?;
        Some(symbols.names(self.load.get(), &self.ram))
    }

    /// The pages whose stores are of interest.
    pub fn watch(&self) -> Option<&PageWatch> {
        self.watch.as_ref()
    }

    /// A vCPU stored to watched pages, and stands here now.
    pub fn stored(&self, caller: &Caller) {
        let Some(watch) = &self.watch else { return };
        let stores = watch.take();
        let who = Who {
            cpu: caller.cpu,
            frames: caller.frames(&self.ram).into(),
            process: self.pasids.as_ref().and_then(|it| it.caller(self, caller)),
        };
        for store in stores {
            match &self.dma {
                _ if self.commands.holds(store.at) => {
                    let mut authors = self.commands.authors.borrow_mut();
                    authors.stored(&store, &who);
                }
                Some(dma) if dma.holds(store.at) => dma.stored(&store, &who),
                _ => self.changes.borrow_mut().stored(&store, &who),
            }
        }
    }

    /// Something happened in the SMMU.
    pub(crate) fn noted(&self, note: &Note) {
        if self.watch.is_none() {
            return;
        }
        self.history.borrow_mut().noted(self.timeline.now(), note);
        if let Note::Command { words } = note {
            // The first one comes from a kernel that is up, and before any device has a PASID.
            if let Some(pages) = self.pages.get() {
                pages.settle(&self.ram);
            }
            self.command(words);
        }
        if let Some(tlb) = &self.tlb {
            tlb.noted(self, note);
        }
        if let Some(stall) = &self.stall {
            stall.noted(self, note);
        }
        if let Some(pasids) = &self.pasids {
            pasids.noted(self, note);
        }
    }

    /// Something became of a job of the accelerator with this StreamID.
    pub(crate) fn job(&self, stream: u32, note: &JobNote) {
        if let Some(pasids) = &self.pasids {
            pasids.job(self, stream, note);
        }
    }

    /// The SMMU has fetched a command: what a fault plan decided about it, and by which rule.
    pub(crate) fn command_fetched(
        &self,
        words: &[u64; 2],
        rule: Option<&str>,
        verdict: &Verdict<OnCommand>,
    ) {
        if self.watch.is_some() {
            let withheld = &self.commands.withheld;
            withheld.fetched(self.now(), words, rule, verdict);
        }
    }

    /// What became of a command like `wanted` that software has sent since and the SMMU has not executed.
    fn withheld(&self, since: Time, wanted: impl Fn(&[u64; 2]) -> bool) -> Option<String> {
        let smmu = self.smmu()?;
        let withheld = &self.commands.withheld;
        withheld.tell(&smmu, &self.ram, since, wanted)
    }

    /// The SMMU is about to execute a command.
    fn command(&self, words: &[u64; 2]) {
        let (Some(smmu), Some(watch)) = (self.smmu(), &self.watch) else {
            return;
        };
        let commands = &self.commands;
        let invalidation = commands.noted(&smmu, &self.ram, watch, self.now(), words);
        if let Some(configuration) = &self.configuration {
            configuration.command(self, words);
        }
        let Some(tlb) = &self.tlb else { return };
        if let Some(invalidation) = invalidation {
            tlb.invalidated(self, &invalidation);
        } else if commands.is_sync() {
            tlb.synced();
        }
    }

    /// A walk read a descriptor.
    pub(crate) fn descriptor_read(&self, transaction: &Transaction, descriptor: &DescriptorRead) {
        if let (Some(tlb), Some(watch)) = (&self.tlb, &self.watch) {
            watch.watch(descriptor.at);
            tlb.descriptor_read(transaction, descriptor);
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
        if let Some(configuration) = &self.configuration {
            configuration.used(self, transaction, translation);
        }
        if let Some(pasids) = &self.pasids {
            pasids.used(self, transaction, translation);
        }
    }

    /// The run is ended while the guest still has things under way.
    pub fn cut_off(&self) {
        if let Some(stall) = &self.stall {
            stall.cut_off(self);
        }
    }

    /// The run is over.
    pub fn finish(&self) {
        if let Some(tlb) = &self.tlb {
            tlb.finish(self);
        }
        if let Some(configuration) = &self.configuration {
            configuration.finish(self);
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

    /// One block on standard error, and one event in the trace.
    fn report(&self, finding: &Finding) {
        let count = &self.counts[finding.check as usize];
        count.set(count.get() + 1);
        self.tracer.emit(Event::Report {
            check: finding.check,
            finding: finding.kind,
            stream: finding.space.0,
            pasid: finding.space.1,
            address: finding.address.map(Hex),
            output: finding.output.map(Hex),
        });
        if count.get() <= REPORTS_MAX {
            let block = report::block(self, finding);
            self.kept.borrow_mut().push(Kept {
                checker: finding.check.name(),
                time_ns: self.now().as_ns(),
                title: finding.what.clone(),
                block: block.clone(),
            });
            remark(block);
        }
    }

    /// The reports that were shown, in order.
    pub fn kept(&self) -> Ref<'_, [Kept]> {
        Ref::map(self.kept.borrow(), Vec::as_slice)
    }

    /// The context descriptor of an address space, as it is in memory.
    fn context(&self, space: Space) -> Option<Context> {
        Context::read(&self.smmu()?, &self.ram, space)
    }

    fn remember(&self, space: Space, address: u64, what: String) {
        let now = self.timeline.now();
        self.history.borrow_mut().add(space, address, now, what);
    }

    /// Calls `check` after `span`, unless the machine is gone. The machine's time does not stop for it.
    fn later(&self, span: Span, check: impl FnOnce(&Checkers) + 'static) {
        let me = self.me.clone();
        self.timeline.observe_at(self.now() + span, move || {
            if let Some(checkers) = me.upgrade() {
                check(&checkers);
            }
        });
    }

    fn now(&self) -> Time {
        self.timeline.now()
    }
}

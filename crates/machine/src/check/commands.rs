//! Who put the commands into the SMMU's command queue, and which invalidations were among them.
//!
//! A vCPU that publishes commands (SMMU_CMDQ_PROD) may do so for others, so what counts is the store of
//! the command itself: the queue's memory is watched, from the first command on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;

use stallbox_devices::GuestRam;
use stallbox_smmu::spec::command::{self, Raw, op};
use stallbox_smmu::view::{QueueName, View};
use stallbox_smmu::{CachedTranslation, NearMiss, Smmu};
use stallbox_timeline::Time;

use super::changes::{By, Changes};
use super::watch::PageWatch;
use super::withheld::Withheld;
use crate::stage1::{read64, reader};

/// Invalidations that are remembered.
const INVALIDATIONS_MAX: usize = 256;
/// An address of an invalidation has so many bits.
const ADDRESS: u64 = (1 << 56) - 1;

#[derive(Default)]
pub(super) struct Commands {
    queue: RefCell<Range<u64>>,
    pub authors: RefCell<Changes>,
    /// Who wrote the command that is being executed.
    current: RefCell<Option<By>>,
    invalidations: RefCell<VecDeque<Invalidation>>,
    synced: Cell<bool>,
    pub withheld: Withheld,
}

/// A CMD_TLBI.
#[derive(Clone, Debug)]
pub(super) struct Invalidation {
    pub time: Time,
    pub name: String,
    what: stallbox_smmu::Invalidation,
    pub by: Option<By>,
}

impl Invalidation {
    /// `None` for another command.
    pub(super) fn parse(smmu: &Smmu, words: &[u64; 2]) -> Option<Invalidation> {
        Some(Invalidation {
            time: Time::ZERO,
            name: command::name(Raw(*words).opcode()),
            what: smmu.invalidation(*words)?,
            by: None,
        })
    }

    /// What keeps it from covering the translation of `address`; `None` if it covers it. The SMMU
    /// decides, if it is known what its TLB had; else the addresses do.
    pub(super) fn misses(
        &self,
        address: u64,
        cached: Option<&CachedTranslation>,
    ) -> Option<NearMiss> {
        if let Some(cached) = cached {
            return self.what.misses(cached);
        }
        let (first, last) = self.what.addresses()?;
        let within = (first..=last | 0xfff).contains(&(address & ADDRESS));
        (!within).then_some(NearMiss::Addresses { first, last })
    }

    /// How far it is from covering it: something else than the addresses comes nearest.
    fn distance(&self, address: u64, cached: Option<&CachedTranslation>) -> (u8, u64) {
        let away = self.what.addresses().map_or(0, |(first, last)| {
            let address = address & ADDRESS;
            let before = first.saturating_sub(address | 0xfff);
            before.max((address & !0xfff).saturating_sub(last))
        });
        match self.misses(address, cached) {
            None => (0, 0),
            // What names all addresses, but of another, is no attempt at this one.
            Some(NearMiss::Addresses { .. }) => (2, away),
            Some(_) if self.what.addresses().is_some() && away == 0 => (1, 0),
            Some(_) => (3, away),
        }
    }
}

impl Commands {
    /// Whether the word at `at` is one of a command.
    pub(super) fn holds(&self, at: u64) -> bool {
        self.queue.borrow().contains(&at)
    }

    /// A command is about to be executed. What it invalidates, if it does.
    pub(super) fn noted(
        &self,
        smmu: &Smmu,
        ram: &GuestRam,
        watch: &PageWatch,
        now: Time,
        words: &[u64; 2],
    ) -> Option<Invalidation> {
        let memory = reader(ram);
        // The command queue is always there.
        let queue = View::new(smmu, &memory).queue(QueueName::Command)?;
        if *self.queue.borrow() != queue.memory() {
            watch.watch_always(queue.memory());
            *self.queue.borrow_mut() = queue.memory();
        }
        let (_, at) = queue.entry(0);
        // What a fault plan or the control socket makes the SMMU execute is not what lies there.
        let written = [read64(ram, at), read64(ram, at + 8)] == words.map(Some);
        let author = written.then(|| self.authors.borrow().of(at).last().map(|it| it.by.clone()));
        *self.current.borrow_mut() = author.flatten();

        self.withheld.executed(words);
        let opcode = Raw(*words).opcode();
        self.synced.set(opcode == op::SYNC);
        let invalidation = Invalidation {
            time: now,
            by: self.current.borrow().clone(),
            ..Invalidation::parse(smmu, words)?
        };
        let mut invalidations = self.invalidations.borrow_mut();
        if invalidations.len() == INVALIDATIONS_MAX {
            invalidations.pop_front();
        }
        invalidations.push_back(invalidation.clone());
        Some(invalidation)
    }

    /// Whether the command that is being executed is CMD_SYNC.
    pub(super) fn is_sync(&self) -> bool {
        self.synced.get()
    }

    /// Who wrote the command that is being executed; `None` if it was no vCPU, or not seen.
    pub(super) fn author(&self) -> Option<By> {
        self.current.borrow().clone()
    }

    /// Of the invalidations since `since` the one that comes nearest to having covered the
    /// translation of `address`: the right addresses for something else, or others for it.
    pub(super) fn nearest(
        &self,
        since: Time,
        address: u64,
        cached: Option<&CachedTranslation>,
    ) -> Option<Invalidation> {
        let invalidations = self.invalidations.borrow();
        let later = invalidations.iter().filter(|it| it.time >= since);
        later.min_by_key(|it| it.distance(address, cached)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use stallbox_smmu::{
        Config, ExternalAbort, Granule, Interrupts, Line, Memory, NoProbe, Timeline,
    };

    use super::*;

    struct Nothing;

    impl Memory for Nothing {
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), ExternalAbort> {
            Err(ExternalAbort)
        }
        fn write(&self, _: u64, _: &[u8]) -> Result<(), ExternalAbort> {
            Err(ExternalAbort)
        }
    }

    impl Interrupts for Nothing {
        fn pulse(&self, _: Line) {}
    }

    fn parse(words: [u64; 2]) -> Option<Invalidation> {
        let nothing = || Rc::new(Nothing);
        let smmu = Smmu::new(
            Config::default(),
            Timeline::new(),
            nothing(),
            nothing(),
            Rc::new(NoProbe),
        );
        Invalidation::parse(&smmu, &words)
    }

    /// `arm_smmu_cmdq_build_cmd` for CMDQ_OP_TLBI_NH_VA with range invalidation: NUM at 16:12, SCALE
    /// at 24:20, ASID at 63:48; LEAF 0, TTL at 9:8, TG at 11:10, and the address.
    fn nh_va(asid: u64, address: u64, num: u64, scale: u64, tg_ttl: u64) -> Invalidation {
        let words = [
            0x12 | num << 12 | scale << 20 | asid << 48,
            address | tg_ttl,
        ];
        parse(words).unwrap()
    }

    const TG_4K: u64 = 1 << 10;
    const TG_64K: u64 = 3 << 10;
    const TTL_3: u64 = 3 << 8;
    const TTL_2: u64 = 2 << 8;

    fn page(asid: u16, address: u64) -> CachedTranslation {
        CachedTranslation::stage1(Granule::K4, 12, 0, asid, address)
    }

    #[test]
    fn an_invalidation_says_what_it_lacks() {
        let at = 0xffff_8000_1000;
        let entry = page(7, at);
        let misses = |it: Invalidation| it.misses(at, Some(&entry)).map(|it| it.to_string());
        // Three times two pages.
        assert_eq!(misses(nh_va(7, at, 2, 1, TG_4K)), None);
        assert_eq!(misses(nh_va(7, at - 0x5000, 2, 1, TG_4K)), None);
        let says = |it, text: &str| {
            let why: String = misses(it).unwrap();
            assert!(why.contains(text), "{why}");
        };
        says(
            nh_va(7, at - 0x6000, 2, 1, TG_4K),
            "(6 pages), and not this",
        );
        says(nh_va(7, at, 2, 1, TG_64K), "for the 64 KiB granule (TG)");
        says(
            nh_va(7, at, 0, 0, TG_4K | TTL_2),
            "level 2 (TTL); this one is at level 3",
        );
        says(
            nh_va(8, at, 2, 1, TG_4K),
            "for ASID 8; this address space has ASID 7",
        );
        assert_eq!(misses(nh_va(7, at, 0, 0, TG_4K | TTL_3)), None);
        says(parse([0x12 | 5 << 32 | 7 << 48, at]).unwrap(), "VMID 5");
        says(parse([0x2a, at]).unwrap(), "another stage");
        assert_eq!(misses(parse([0x11 | 7 << 48, 0]).unwrap()), None);
        assert_eq!(misses(parse([0x30, 0]).unwrap()), None);
        assert!(parse([0x46, 0]).is_none(), "CMD_SYNC");
    }

    #[test]
    fn the_nearest_is_that_of_the_address_or_else_that_of_the_address_space() {
        let commands = Commands::default();
        let at = Time::from_ns;
        let add = |ns, it: Invalidation| {
            let it = Invalidation { time: at(ns), ..it };
            commands.invalidations.borrow_mut().push_back(it);
        };
        let one = |asid, address| nh_va(asid, address, 0, 0, 0);
        let entry = page(7, 0x5000);
        let nearest = |since| commands.nearest(at(since), 0x5000, Some(&entry));
        add(1, one(7, 0x5000));
        add(5, one(7, 0x9000));
        add(6, one(7, 0x4000));
        assert_eq!(nearest(1).unwrap().time, at(1));
        assert_eq!(nearest(2).unwrap().time, at(6), "an earlier one is none");
        add(7, one(8, 0x5000));
        assert_eq!(nearest(2).unwrap().time, at(7), "the wrong ASID");
        add(8, nh_va(7, 0, 0, 4, TG_64K));
        assert_eq!(nearest(8).unwrap().time, at(8), "the wrong granule");
        assert!(nearest(9).is_none());
    }
}

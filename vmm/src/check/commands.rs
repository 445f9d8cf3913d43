//! Who put the commands into the SMMU's command queue, and which invalidations were among them.
//!
//! A vCPU that publishes commands (SMMU_CMDQ_PROD) may do so for others, so what counts is the store of
//! the command itself: the queue's memory is watched, from the first command on.
//!
//! IHI 0070, *Commands*; the positions are those of Linux 6.12, `arm-smmu-v3.h` (`CMDQ_*`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;

use stallbox_devices::GuestRam;
use stallbox_smmu::Smmu;
use stallbox_timeline::Time;

use super::changes::{By, Changes};
use super::watch::PageWatch;
use super::withheld::Withheld;
use crate::machine::faults::invalidated;
use crate::stage1::read64;

const CMDQ_BASE: u64 = 0x90;
const CMDQ_PROD: u64 = 0x98;
const CMDQ_CONS: u64 = 0x9c;
pub(super) const CMD_SYNC: u64 = 0x46;
pub(super) const COMMAND_BYTES: u64 = 16;
/// Invalidations that are remembered.
const INVALIDATIONS_MAX: usize = 256;
const ADDRESS: u64 = (1 << 56) - 1;

/// The command queue as its registers say.
pub(super) struct Queue {
    pub start: u64,
    entries: u32,
    pub cons: u32,
    prod: u32,
}

impl Queue {
    pub fn of(smmu: &Smmu) -> Queue {
        let register = |offset: u64| {
            let mut data = [0; 4];
            smmu.read(offset, &mut data);
            u32::from_le_bytes(data)
        };
        let base = u64::from(register(CMDQ_BASE)) | u64::from(register(CMDQ_BASE + 4)) << 32;
        Queue {
            start: base & 0x000f_ffff_ffff_ffe0,
            entries: 1 << (base & 0x1f).min(19),
            cons: register(CMDQ_CONS),
            prod: register(CMDQ_PROD),
        }
    }

    fn memory(&self) -> Range<u64> {
        self.start..self.start + u64::from(self.entries) * COMMAND_BYTES
    }

    /// The place of an index, which has a wrap bit above it.
    pub fn slot(&self, index: u32) -> u64 {
        (index & (self.entries - 1)).into()
    }

    /// How many commands wait to be consumed; a queue whose indices make no sense holds no more than it can.
    pub fn pending(&self) -> u32 {
        let indices = 2 * self.entries - 1;
        (self.prod.wrapping_sub(self.cons) & indices).min(self.entries)
    }
}

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

/// A CMD_TLBI of stage 1.
#[derive(Clone, Debug)]
pub(super) struct Invalidation {
    pub time: Time,
    pub name: &'static str,
    /// Of one address space, or of all.
    pub asid: Option<u16>,
    /// Addresses, in 56 bits; `None` for all.
    pub addresses: Option<(u64, u64)>,
    pub by: Option<By>,
}

impl Invalidation {
    /// `None` for another command.
    pub fn parse(words: &[u64; 2]) -> Option<Invalidation> {
        let asid = Some((words[0] >> 48) as u16);
        let addresses = invalidated(words);
        let (name, asid, addresses) = match words[0] & 0xff {
            0x10 => ("CMD_TLBI_NH_ALL", None, None),
            0x11 => ("CMD_TLBI_NH_ASID", asid, None),
            0x12 => ("CMD_TLBI_NH_VA", asid, addresses),
            0x13 => ("CMD_TLBI_NH_VAA", None, addresses),
            0x20 => ("CMD_TLBI_EL2_ALL", None, None),
            0x21 => ("CMD_TLBI_EL2_ASID", asid, None),
            0x22 => ("CMD_TLBI_EL2_VA", asid, addresses),
            0x23 => ("CMD_TLBI_EL2_VAA", None, addresses),
            0x28 => ("CMD_TLBI_S12_VMALL", None, None),
            0x30 => ("CMD_TLBI_NSNH_ALL", None, None),
            _ => return None,
        };
        Some(Invalidation {
            time: Time::ZERO,
            name,
            asid,
            addresses,
            by: None,
        })
    }

    /// Whether it is for this address space. One of which the ASID is not known may be any.
    pub fn is_for(&self, asid: Option<u16>) -> bool {
        match (self.asid, asid) {
            (Some(named), Some(asid)) => named == asid,
            _ => true,
        }
    }

    pub fn covers(&self, address: u64) -> bool {
        let address = address & ADDRESS;
        self.addresses
            .is_none_or(|(first, last)| (first..=last).contains(&address))
    }

    /// How far its addresses are from `address`.
    fn distance(&self, address: u64) -> u64 {
        let address = address & ADDRESS;
        self.addresses.map_or(0, |(first, last)| {
            first
                .saturating_sub(address)
                .max(address.saturating_sub(last))
        })
    }
}

impl Commands {
    /// Whether the word at `at` is one of a command.
    pub fn holds(&self, at: u64) -> bool {
        self.queue.borrow().contains(&at)
    }

    /// A command is about to be executed. What it invalidates, if it does.
    pub fn noted(
        &self,
        smmu: &Smmu,
        ram: &GuestRam,
        watch: &PageWatch,
        now: Time,
        words: &[u64; 2],
    ) -> Option<Invalidation> {
        let registers = Queue::of(smmu);
        let queue = registers.memory();
        if *self.queue.borrow() != queue {
            watch.watch_always(queue.clone());
            *self.queue.borrow_mut() = queue;
        }
        let at = registers.start + registers.slot(registers.cons) * COMMAND_BYTES;
        // What a fault plan or the control socket makes the SMMU execute is not what lies there.
        let written = [read64(ram, at), read64(ram, at + 8)] == words.map(Some);
        let author = written.then(|| self.authors.borrow().of(at).last().map(|it| it.by.clone()));
        *self.current.borrow_mut() = author.flatten();

        self.withheld.executed(words);
        self.synced.set(words[0] & 0xff == CMD_SYNC);
        let invalidation = Invalidation {
            time: now,
            by: self.current.borrow().clone(),
            ..Invalidation::parse(words)?
        };
        let mut invalidations = self.invalidations.borrow_mut();
        if invalidations.len() == INVALIDATIONS_MAX {
            invalidations.pop_front();
        }
        invalidations.push_back(invalidation.clone());
        Some(invalidation)
    }

    /// Whether the command that is being executed is CMD_SYNC.
    pub fn is_sync(&self) -> bool {
        self.synced.get()
    }

    /// Who wrote the command that is being executed; `None` if it was no vCPU, or not seen.
    pub fn author(&self) -> Option<By> {
        self.current.borrow().clone()
    }

    /// Of the invalidations since `since` the one that comes nearest to having covered `address`
    /// of `asid`: the right addresses of another address space, or others of the right one.
    pub fn nearest(&self, since: Time, address: u64, asid: Option<u16>) -> Option<Invalidation> {
        let invalidations = self.invalidations.borrow();
        let later = || invalidations.iter().filter(|it| it.time >= since);
        later()
            .find(|it| it.addresses.is_some() && it.covers(address))
            .or_else(|| {
                later()
                    .filter(|it| it.is_for(asid))
                    .min_by_key(|it| it.distance(address))
            })
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `arm_smmu_cmdq_build_cmd` for CMDQ_OP_TLBI_NH_VA with range invalidation: NUM at 16:12, SCALE
    /// at 24:20, ASID at 63:48; LEAF 0, TTL at 9:8, TG at 11:10, and the address.
    fn nh_va(asid: u64, address: u64, num: u64, scale: u64) -> Invalidation {
        let words = [
            0x12 | num << 12 | scale << 20 | asid << 48,
            address | 1 << 10,
        ];
        Invalidation::parse(&words).unwrap()
    }

    #[test]
    fn an_invalidation_is_of_an_address_space_and_of_addresses() {
        // Three times two pages.
        let it = nh_va(7, 0xffff_8000_1000, 2, 1);
        assert!(it.is_for(Some(7)) && !it.is_for(Some(8)) && it.is_for(None));
        assert!(!it.covers(0xffff_8000_0fff) && it.covers(0xffff_8000_1000));
        assert!(it.covers(0xffff_8000_6fff) && !it.covers(0xffff_8000_7000));
        let all = Invalidation::parse(&[0x11 | 7 << 48, 0]).unwrap();
        assert!(all.covers(0) && !all.is_for(Some(8)));
        assert!(Invalidation::parse(&[0x30, 0]).unwrap().is_for(Some(8)));
        assert!(Invalidation::parse(&[0x46, 0]).is_none(), "CMD_SYNC");
        assert!(Invalidation::parse(&[0x2a, 0]).is_none(), "stage 2");
    }

    #[test]
    fn the_nearest_is_that_of_the_address_or_else_that_of_the_address_space() {
        let commands = Commands::default();
        let at = Time::from_ns;
        let add = |ns, it: Invalidation| {
            let it = Invalidation { time: at(ns), ..it };
            commands.invalidations.borrow_mut().push_back(it);
        };
        add(1, nh_va(7, 0x5000, 0, 0));
        add(5, nh_va(7, 0x9000, 0, 0));
        add(6, nh_va(7, 0x4000, 0, 0));
        let nearest = |since| commands.nearest(at(since), 0x5000, Some(7));
        assert_eq!(nearest(1).unwrap().time, at(1));
        assert_eq!(nearest(2).unwrap().time, at(6), "an earlier one is none");
        add(7, nh_va(8, 0x5000, 0, 0));
        let nearest = |since| commands.nearest(at(since), 0x5000, Some(7));
        assert_eq!(nearest(2).unwrap().time, at(7), "the wrong ASID");
        assert!(nearest(8).is_none());
    }
}

//! One redistributor's LPIs: what is pending, and how each is configured.
//!
//! IHI 0069, *LPIs* (5.1) and *LPI Configuration tables* (5.1.1). Configuration is read from guest
//! memory when an LPI first becomes pending and kept until it is invalidated: a guest that changes
//! a byte and forgets INV sees the old one, as it may on hardware. The pending state is kept here
//! while LPIs are enabled and exchanged with the pending table when that changes.

use std::collections::{BTreeMap, BTreeSet};

use vm_memory::{Bytes, GuestAddress};

use super::spec::{FIRST_LPI, LpiConfig, Pendbaser, Propbaser};
use crate::GuestRam;

/// LPIs of one redistributor. Everything is empty while they are not enabled.
pub(super) struct Lpis {
    ram: GuestRam,
    /// INTIDs that can exist at most.
    intids_max: u32,
    enabled: bool,
    config_table: u64,
    /// First INTID that the configuration table does not cover.
    end: u32,
    pending: BTreeSet<u32>,
    configs: BTreeMap<u32, LpiConfig>,
    /// Those pending that are enabled, most urgent first.
    ready: BTreeSet<(u8, u32)>,
    /// `ready` must be made anew from `pending`. Put off, so that a queue full of INVALL costs what
    /// one does.
    stale: bool,
}

impl Lpis {
    /// No LPIs, for INTIDs of `id_bits` bits.
    pub(super) fn new(ram: GuestRam, id_bits: u32) -> Lpis {
        Lpis {
            ram,
            intids_max: 1 << id_bits,
            enabled: false,
            config_table: 0,
            end: 0,
            pending: BTreeSet::new(),
            configs: BTreeMap::new(),
            ready: BTreeSet::new(),
            stale: false,
        }
    }

    /// Whether `GICR_CTLR.EnableLPIs` is set.
    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Starts LPIs with the tables as programmed.
    pub(super) fn enable(&mut self, propbaser: Propbaser, pendbaser: Pendbaser) {
        self.enabled = true;
        self.config_table = propbaser.address_4k() << 12;
        // Fewer than 14 bits leave no LPI; more than the distributor has count as what it has.
        self.end = (2_u64 << propbaser.id_bits()).min(u64::from(self.intids_max)) as u32;
        if !pendbaser.ptz() && self.end > FIRST_LPI {
            let mut table = vec![0; ((self.end - FIRST_LPI) / 8) as usize];
            let address = (pendbaser.address_64k() << 16) + u64::from(FIRST_LPI / 8);
            if self
                .ram
                .read_slice(&mut table, GuestAddress(address))
                .is_ok()
            {
                for (index, byte) in table.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                    let bits = (0..8).filter(|bit| byte >> bit & 1 != 0);
                    self.pending
                        .extend(bits.map(|bit| FIRST_LPI + index as u32 * 8 + bit));
                }
            }
        }
        self.stale = true;
    }

    /// Stops LPIs and leaves what is pending in the pending table.
    pub(super) fn disable(&mut self, pendbaser: Pendbaser) {
        if self.end > FIRST_LPI {
            let mut table = vec![0_u8; ((self.end - FIRST_LPI) / 8) as usize];
            for intid in &self.pending {
                let index = intid - FIRST_LPI;
                table[index as usize / 8] |= 1 << (index % 8);
            }
            let address = (pendbaser.address_64k() << 16) + u64::from(FIRST_LPI / 8);
            // A table outside memory loses the state, as writes to nowhere do.
            let _ = self.ram.write_slice(&table, GuestAddress(address));
        }
        self.enabled = false;
        self.end = 0;
        self.pending.clear();
        self.invalidate_all();
    }

    /// Makes an LPI pending. One that the tables do not cover is dropped.
    pub(super) fn set_pending(&mut self, intid: u32) {
        if (FIRST_LPI..self.end).contains(&intid) && self.pending.insert(intid) && !self.stale {
            self.make_ready(intid);
        }
    }

    /// Ends the pending state; returns whether there was one.
    pub(super) fn clear_pending(&mut self, intid: u32) -> bool {
        if let Some(config) = self.configs.get(&intid) {
            self.ready.remove(&(config.priority(), intid));
        }
        self.pending.remove(&intid)
    }

    /// Forgets the configuration of one LPI, so that it is read again.
    pub(super) fn invalidate(&mut self, intid: u32) {
        if let Some(config) = self.configs.remove(&intid) {
            self.ready.remove(&(config.priority(), intid));
        }
        if self.pending.contains(&intid) && !self.stale {
            self.make_ready(intid);
        }
    }

    /// Forgets the configuration of all LPIs.
    pub(super) fn invalidate_all(&mut self) {
        self.configs.clear();
        self.ready.clear();
        self.stale = true;
    }

    /// Takes over all that is pending at `other`. Walks the smaller set only, so that moving many
    /// back and forth costs no more than making them pending did.
    pub(super) fn take_pending(&mut self, other: &mut Lpis) {
        let mut moved = std::mem::take(&mut other.pending);
        other.ready.clear();
        if !self.enabled {
            return;
        }
        if moved.len() > self.pending.len() {
            std::mem::swap(&mut moved, &mut self.pending);
        }
        self.pending.extend(moved);
        // Their tables may be of different sizes.
        while self.pending.last().is_some_and(|intid| *intid >= self.end) {
            self.pending.pop_last();
        }
        self.ready.clear();
        self.stale = true;
    }

    /// Those that are pending, with their configuration as far as it was read: the first `max`.
    pub(super) fn in_progress(&self, max: usize) -> impl Iterator<Item = (u32, Option<LpiConfig>)> {
        let first = self.pending.iter().take(max);
        first.map(|intid| (*intid, self.configs.get(intid).copied()))
    }

    /// How many are pending.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The most urgent LPI that is pending and enabled: priority and INTID.
    pub(super) fn highest(&mut self) -> Option<(u8, u32)> {
        if std::mem::take(&mut self.stale) {
            self.make_all_ready();
        }
        self.ready.first().copied()
    }

    /// As [`Lpis::make_ready`] for each that is pending. In bulk: tens of thousands are searched for
    /// and inserted one by one for a long time.
    fn make_all_ready(&mut self) {
        let (ram, table) = (&self.ram, self.config_table);
        let known = std::mem::take(&mut self.configs);
        let config = |intid: &u32| {
            let config = known.get(intid).copied().unwrap_or_else(|| {
                let address = GuestAddress(table + u64::from(intid - FIRST_LPI));
                LpiConfig::from(ram.read_obj::<u8>(address).unwrap_or(0))
            });
            (*intid, config)
        };
        let pending: Vec<(u32, LpiConfig)> = self.pending.iter().map(config).collect();
        let enabled = pending.iter().filter(|(_, config)| config.enable());
        let ready = enabled.map(|(intid, config)| (config.priority(), *intid));
        self.ready = ready.collect();
        self.configs = pending.into_iter().collect();
        self.configs.extend(known);
    }

    fn make_ready(&mut self, intid: u32) {
        let (ram, table) = (&self.ram, self.config_table);
        let config = *self.configs.entry(intid).or_insert_with(|| {
            let address = GuestAddress(table + u64::from(intid - FIRST_LPI));
            // A table outside memory reads as zeros: not enabled.
            LpiConfig::from(ram.read_obj::<u8>(address).unwrap_or(0))
        });
        if config.enable() {
            self.ready.insert((config.priority(), intid));
        }
    }
}

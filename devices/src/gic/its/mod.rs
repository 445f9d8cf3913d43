//! The Interrupt Translation Service: from a device's message to an LPI of a CPU.
//!
//! IHI 0069, *Locality-specific Peripheral Interrupts and the ITS* (5) and *The ITS register
//! descriptions* (12.19).
//! Physical LPIs only; 17 bits of DeviceID, 16 each of EventID and collection; redistributors named
//! by processor number (`GITS_TYPER.PTA` is 0); a two-level device table is supported. A wrong command
//! is skipped (`GITS_TYPER.SEIS` is 0 and the queue never stalls) and logged.

mod command;
mod tables;

use std::cell::Cell;

use vm_memory::{Bytes, GuestAddress};

use self::command::{COMMAND_BYTES, Command, CommandError};
use self::tables::{
    CollectionEntry, DeviceEntry, ENTRY_BYTES, Table, TranslationEntry, load, store,
};
use super::access::{half, with_half};
use super::redistributor::Redistributor;
use super::spec::{self, Cbaser, FIRST_LPI, GitsTyper, INTID_BITS, TABLE_COLLECTIONS, gits};
use stallbox_timeline::Timeline;

use crate::GuestRam;

/// DeviceID bits: a PCI requester id, and as many again for devices that are not on PCI (an SMMU
/// sends messages of its own).
const DEVICE_BITS: u32 = 17;
/// EventID bits.
const EVENT_BITS: u32 = 16;
/// Collection bits; `GITS_TYPER.CIL` 0 means 16.
const COLLECTION_BITS: u32 = 16;
/// `GITS_CTLR.Enabled`.
const CTLR_ENABLED: u32 = 1;
/// `GITS_CTLR.Quiescent`.
const CTLR_QUIESCENT: u32 = 1 << 31;
/// The offset field of `GITS_CWRITER` and `GITS_CREADR`.
const QUEUE_OFFSET_MASK: u32 = 0xf_ffe0;
/// Guest mistakes that are logged before the log goes quiet.
const LOGGED_ERRORS_MAX: u32 = 16;

/// The ITS.
pub(super) struct Its {
    ram: GuestRam,
    timeline: Timeline,
    enabled: bool,
    cbaser: Cbaser,
    cwriter: u32,
    creadr: u32,
    devices: Table,
    collections: Table,
    errors: Cell<u32>,
}

/// What became of the command queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// There was nothing to do.
    Nothing,
    /// What was queued is done, and interrupts may have changed.
    All,
    /// Some of it is done: the timeline's driver is needed elsewhere.
    Some,
}

/// An event that is mapped, and where its entry is.
struct Mapped {
    entry: TranslationEntry,
    address: GuestAddress,
}

impl Its {
    /// An ITS after reset.
    pub(super) fn new(ram: GuestRam, timeline: Timeline) -> Its {
        Its {
            ram,
            timeline,
            enabled: false,
            cbaser: Cbaser::new(),
            cwriter: 0,
            creadr: 0,
            devices: Table::new(spec::TABLE_DEVICES, DEVICE_BITS),
            collections: Table::new(TABLE_COLLECTIONS, COLLECTION_BITS),
            errors: Cell::new(0),
        }
    }

    /// Reads a word of the control frame; `None` if there is no register.
    pub(super) fn read(&self, offset: u64) -> Option<u32> {
        Some(match offset {
            // Commands are done at once, so an ITS that is off has nothing under way.
            gits::CTLR => {
                if self.enabled {
                    CTLR_ENABLED
                } else {
                    CTLR_QUIESCENT
                }
            }
            gits::IIDR => spec::IIDR,
            gits::TYPER | gits::TYPER_HIGH => {
                let typer = GitsTyper::new()
                    .with_physical(true)
                    .with_itt_entry_size(ENTRY_BYTES as u8 - 1)
                    .with_id_bits(EVENT_BITS as u8 - 1)
                    .with_dev_bits(DEVICE_BITS as u8 - 1);
                half(typer.into(), offset == gits::TYPER_HIGH)
            }
            gits::CBASER | gits::CBASER_HIGH => {
                half(self.cbaser.into(), offset == gits::CBASER_HIGH)
            }
            gits::CWRITER => self.cwriter,
            gits::CREADR => self.creadr,
            gits::BASER..gits::BASER_END => {
                let register = match (offset - gits::BASER) / 8 {
                    0 => self.devices.register(),
                    1 => self.collections.register(),
                    _ => 0,
                };
                half(register, offset % 8 == 4)
            }
            spec::PIDR2_OFFSET => spec::PIDR2,
            // The upper halves are RES0. GITS_TRANSLATER is write-only.
            gits::CWRITER_HIGH | gits::CREADR_HIGH | super::ITS_TRANSLATER => 0,
            _ => return None,
        })
    }

    /// Writes a word of the control frame. Returns whether commands are to be run.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> bool {
        match offset {
            gits::CTLR => {
                self.enabled = value & CTLR_ENABLED != 0;
                true
            }
            gits::CWRITER => {
                self.cwriter = value & QUEUE_OFFSET_MASK;
                true
            }
            // Moving the queue or a table of an ITS that is on is UNPREDICTABLE: not moved.
            gits::CBASER | gits::CBASER_HIGH if !self.enabled => {
                let value = with_half(self.cbaser.into(), offset == gits::CBASER_HIGH, value);
                self.cbaser = Cbaser::from(value & spec::CBASER_MASK);
                self.creadr = 0;
                false
            }
            gits::BASER..gits::BASER_END if !self.enabled => {
                let table = match (offset - gits::BASER) / 8 {
                    0 => &mut self.devices,
                    1 => &mut self.collections,
                    _ => return false,
                };
                table.set_register(with_half(table.register(), offset % 8 == 4, value));
                false
            }
            _ => false,
        }
    }

    /// A device's write to `GITS_TRANSLATER`. Returns the CPU whose LPI became pending.
    pub(super) fn translate(
        &self,
        device: u32,
        event: u32,
        redistributors: &mut [Redistributor],
    ) -> Option<usize> {
        if !self.enabled {
            return None;
        }
        match self.interrupt(device, event, redistributors) {
            Ok(cpu) => Some(cpu),
            Err(error) => {
                self.report("message dropped", error);
                None
            }
        }
    }

    /// Does the commands that wait, or as many as there is time for. Each slot of the queue is looked
    /// at once at most.
    pub(super) fn run_queue(&mut self, redistributors: &mut [Redistributor]) -> Ran {
        let queue_bytes = (u32::from(self.cbaser.size()) + 1) << 12;
        // A write pointer past the end is UNPREDICTABLE: it waits until it is put right.
        if !self.enabled || !self.cbaser.valid() || self.cwriter >= queue_bytes {
            return Ran::Nothing;
        }
        if self.creadr == self.cwriter {
            return Ran::Nothing;
        }
        while self.creadr != self.cwriter {
            let address = (self.cbaser.address_4k() << 12) + u64::from(self.creadr);
            if let Err(error) = self.run_command(address, redistributors) {
                self.report("command skipped", error);
            }
            self.creadr = (self.creadr + COMMAND_BYTES as u32) % queue_bytes;
            if self.timeline.should_yield() && self.creadr != self.cwriter {
                return Ran::Some;
            }
        }
        Ran::All
    }

    fn run_command(
        &self,
        address: u64,
        redistributors: &mut [Redistributor],
    ) -> Result<(), CommandError> {
        let mut words = [0_u64; 4];
        for (word, at) in words.iter_mut().zip((address..).step_by(8)) {
            let read = self.ram.read_obj::<u64>(GuestAddress(at));
            *word = u64::from_le(read.map_err(|_| CommandError::Fetch(at))?);
        }
        let command = Command::parse(words).ok_or(CommandError::Unknown(words[0] as u8))?;
        log::trace!("ITS: {command:x?}");
        self.execute(command, redistributors)
    }

    fn execute(
        &self,
        command: Command,
        redistributors: &mut [Redistributor],
    ) -> Result<(), CommandError> {
        match command {
            Command::Mapd {
                device,
                event_bits,
                itt_256,
                valid,
            } => {
                let out_of_range = CommandError::DeviceOutOfRange(device);
                let address = self.devices.entry(&self.ram, device).ok_or(out_of_range)?;
                let bits = u32::from(event_bits) + 1;
                if valid && bits > EVENT_BITS {
                    return Err(CommandError::IttSizeOutOfRange(bits));
                }
                let entry = if valid {
                    let entry = DeviceEntry::new().with_event_bits(event_bits);
                    entry.with_itt_256(itt_256).with_valid(true)
                } else {
                    DeviceEntry::new()
                };
                store(&self.ram, address, entry.into());
            }
            Command::Mapc {
                collection,
                processor,
                valid,
            } => {
                let out_of_range = CommandError::CollectionOutOfRange(collection);
                let address = self
                    .collections
                    .entry(&self.ram, collection.into())
                    .ok_or(out_of_range)?;
                let entry = if valid {
                    if processor >= redistributors.len() as u64 {
                        return Err(CommandError::ProcessorOutOfRange(processor));
                    }
                    CollectionEntry::new()
                        .with_processor(processor as u32)
                        .with_valid(true)
                } else {
                    CollectionEntry::new()
                };
                store(&self.ram, address, entry.into());
            }
            Command::Mapti {
                device,
                event,
                intid,
                collection,
            } => {
                if !(FIRST_LPI..1 << INTID_BITS).contains(&intid) {
                    return Err(CommandError::IntidOutOfRange(intid));
                }
                let address = self.translation_address(device, event)?;
                let entry = TranslationEntry::new()
                    .with_intid(intid)
                    .with_collection(collection);
                store(&self.ram, address, entry.with_valid(true).into());
            }
            Command::Movi {
                device,
                event,
                collection,
            } => {
                let Mapped { entry, address } = self.mapped(device, event)?;
                let from = self.target(entry.collection(), redistributors)?;
                let to = self.target(collection, redistributors)?;
                store(&self.ram, address, entry.with_collection(collection).into());
                if redistributors[from].lpis.clear_pending(entry.intid()) {
                    redistributors[to].lpis.set_pending(entry.intid());
                }
            }
            Command::Movall { from, to } => {
                for processor in [from, to] {
                    if processor >= redistributors.len() as u64 {
                        return Err(CommandError::ProcessorOutOfRange(processor));
                    }
                }
                if let Ok([from, to]) =
                    redistributors.get_disjoint_mut([from as usize, to as usize])
                {
                    to.lpis.take_pending(&mut from.lpis);
                }
            }
            Command::Discard { device, event } => {
                let Mapped { entry, address } = self.mapped(device, event)?;
                let target = self.target(entry.collection(), redistributors);
                store(&self.ram, address, TranslationEntry::new().into());
                redistributors[target?].lpis.clear_pending(entry.intid());
            }
            Command::Inv { device, event } => {
                let Mapped { entry, .. } = self.mapped(device, event)?;
                let target = self.target(entry.collection(), redistributors)?;
                redistributors[target].lpis.invalidate(entry.intid());
            }
            Command::Invall { collection } => {
                let target = self.target(collection, redistributors)?;
                redistributors[target].lpis.invalidate_all();
            }
            Command::Sync => {}
            Command::Int { device, event } => _ = self.interrupt(device, event, redistributors)?,
            Command::Clear { device, event } => {
                let Mapped { entry, .. } = self.mapped(device, event)?;
                let target = self.target(entry.collection(), redistributors)?;
                redistributors[target].lpis.clear_pending(entry.intid());
            }
        }
        Ok(())
    }

    /// Makes the LPI of an event pending; returns at which CPU.
    fn interrupt(
        &self,
        device: u32,
        event: u32,
        redistributors: &mut [Redistributor],
    ) -> Result<usize, CommandError> {
        let Mapped { entry, .. } = self.mapped(device, event)?;
        let target = self.target(entry.collection(), redistributors)?;
        redistributors[target].lpis.set_pending(entry.intid());
        Ok(target)
    }

    /// Where the translation of an event is.
    fn translation_address(&self, device: u32, event: u32) -> Result<GuestAddress, CommandError> {
        let address = self.devices.entry(&self.ram, device);
        let address = address.ok_or(CommandError::DeviceOutOfRange(device))?;
        let entry = DeviceEntry::from(load(&self.ram, address));
        if !entry.valid() {
            return Err(CommandError::UnmappedDevice(device));
        }
        if u64::from(event) >> (u32::from(entry.event_bits()) + 1).min(EVENT_BITS) != 0 {
            return Err(CommandError::EventOutOfRange(device, event));
        }
        Ok(GuestAddress(
            (entry.itt_256() << 8) + u64::from(event) * ENTRY_BYTES,
        ))
    }

    /// The translation of an event.
    fn mapped(&self, device: u32, event: u32) -> Result<Mapped, CommandError> {
        let address = self.translation_address(device, event)?;
        let entry = TranslationEntry::from(load(&self.ram, address));
        if entry.valid() {
            Ok(Mapped { entry, address })
        } else {
            Err(CommandError::UnmappedInterrupt(device, event))
        }
    }

    /// The redistributor of a collection.
    fn target(
        &self,
        collection: u16,
        redistributors: &[Redistributor],
    ) -> Result<usize, CommandError> {
        let address = self.collections.entry(&self.ram, collection.into());
        let address = address.ok_or(CommandError::CollectionOutOfRange(collection))?;
        let entry = CollectionEntry::from(load(&self.ram, address));
        let processor = entry.processor() as usize;
        if entry.valid() && processor < redistributors.len() {
            Ok(processor)
        } else {
            Err(CommandError::UnmappedCollection(collection))
        }
    }

    fn report(&self, what: &str, error: CommandError) {
        let errors = self.errors.get();
        self.errors.set(errors.saturating_add(1));
        match errors {
            ..LOGGED_ERRORS_MAX => log::warn!("ITS: {what}: {error}"),
            LOGGED_ERRORS_MAX => log::warn!("ITS: more errors; no more will be logged"),
            _ => {}
        }
    }
}

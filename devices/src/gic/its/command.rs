//! ITS commands: 32 bytes of the queue, parsed once.
//!
//! IHI 0069, *ITS commands* (5.3). Virtual LPIs have commands of their own; this ITS has none, so
//! they are unknown.

use thiserror::Error;

/// Bytes of a command.
pub(super) const COMMAND_BYTES: u64 = 32;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Maps a device to its translation table, or unmaps it.
    Mapd {
        device: u32,
        event_bits: u8,
        itt_256: u64,
        valid: bool,
    },
    /// Maps a collection to a redistributor, or unmaps it.
    Mapc {
        collection: u16,
        processor: u64,
        valid: bool,
    },
    /// Maps an event to an LPI and a collection. MAPI is the one with both numbers the same.
    Mapti {
        device: u32,
        event: u32,
        intid: u32,
        collection: u16,
    },
    /// Moves an event, and its pending state, to another collection.
    Movi {
        device: u32,
        event: u32,
        collection: u16,
    },
    /// Moves all pending LPIs from one redistributor to another.
    Movall { from: u64, to: u64 },
    /// Unmaps an event and forgets that it is pending.
    Discard { device: u32, event: u32 },
    /// The LPI of an event has a new configuration.
    Inv { device: u32, event: u32 },
    /// All LPIs of a collection's redistributor have new configurations.
    Invall { collection: u16 },
    /// The effects of earlier commands are to be seen. They are.
    Sync,
    /// As if the device had sent the event.
    Int { device: u32, event: u32 },
    /// The event is no longer pending.
    Clear { device: u32, event: u32 },
}

impl Command {
    /// Parses a command; `None` if this ITS has no such command.
    pub(super) fn parse(words: [u64; 4]) -> Option<Command> {
        let device = (words[0] >> 32) as u32;
        let event = words[1] as u32;
        let collection = words[2] as u16;
        // RDbase: with GITS_TYPER.PTA 0 a processor number instead of an address.
        let processor = |word: u64| word >> 16 & 0x7_ffff_ffff;
        let valid = words[2] >> 63 != 0;
        Some(match words[0] & 0xff {
            0x01 => Command::Movi {
                device,
                event,
                collection,
            },
            0x03 => Command::Int { device, event },
            0x04 => Command::Clear { device, event },
            0x05 => Command::Sync,
            0x08 => Command::Mapd {
                device,
                event_bits: (words[1] & 0x1f) as u8,
                itt_256: words[2] >> 8 & 0xfff_ffff_ffff,
                valid,
            },
            0x09 => Command::Mapc {
                collection,
                processor: processor(words[2]),
                valid,
            },
            0x0a => Command::Mapti {
                device,
                event,
                intid: (words[1] >> 32) as u32,
                collection,
            },
            0x0b => Command::Mapti {
                device,
                event,
                intid: event,
                collection,
            },
            0x0c => Command::Inv { device, event },
            0x0d => Command::Invall { collection },
            0x0e => Command::Movall {
                from: processor(words[2]),
                to: processor(words[3]),
            },
            0x0f => Command::Discard { device, event },
            _ => return None,
        })
    }
}

/// Why a command had no effect, in the terms of *ITS command error encodings*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum CommandError {
    /// The opcode is not one of ours.
    #[error("unknown command {0:#x}")]
    Unknown(u8),
    /// The queue does not lie in memory.
    #[error("command queue outside memory at {0:#x}")]
    Fetch(u64),
    /// The device table has no entry for the DeviceID.
    #[error("DeviceID {0:#x} out of range")]
    DeviceOutOfRange(u32),
    /// More EventID bits than there are.
    #[error("translation table of {0} EventID bits")]
    IttSizeOutOfRange(u32),
    /// The device is not mapped.
    #[error("DeviceID {0:#x} is not mapped")]
    UnmappedDevice(u32),
    /// More than the device's EventID bits.
    #[error("EventID {1:#x} of DeviceID {0:#x} out of range")]
    EventOutOfRange(u32, u32),
    /// The INTID is not an LPI.
    #[error("INTID {0} is not an LPI")]
    IntidOutOfRange(u32),
    /// The event is not mapped to an LPI.
    #[error("EventID {1:#x} of DeviceID {0:#x} is not mapped")]
    UnmappedInterrupt(u32, u32),
    /// The collection table has no entry for the collection.
    #[error("collection {0} out of range")]
    CollectionOutOfRange(u16),
    /// The collection is not mapped to a redistributor.
    #[error("collection {0} is not mapped")]
    UnmappedCollection(u16),
    /// There is no such redistributor.
    #[error("there is no redistributor {0}")]
    ProcessorOutOfRange(u64),
}

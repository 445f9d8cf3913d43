//! A model of the Arm SMMUv3: tables, queues, TLB, stalls.
//!
//! A transaction's StreamID, SubstreamID and address go in, an outcome comes out: now with a
//! physical address, never (it is aborted), or later (it stalls until software answers). The model
//! knows no bus and no devices. It asks for four things: physical memory that may refuse
//! ([`Memory`]), somewhere to send interrupts ([`Interrupts`]), a [`Timeline`] to wait on, and a
//! [`Probe`] that is called at named points and says how long each of them takes.
//!
//! Specified by Arm IHI 0070, *Arm System Memory Management Unit Architecture, version 3*; the
//! modules name its sections by title.
//!
//! # What is advertised
//!
//! What [`Config`] makes a choice of, it can leave out; [`Config::default`] is what the stock kernel
//! is given.
//!
//! | advertised | not advertised, and refused |
//! |---|---|
//! | stage 1, stage 2, and both nested; VMSAv8-64 tables, 4/16/64 KiB granules, up to 52 bits; EL2 streams | Secure streams, VMSAv8-32 and VMSAv9-128 tables, big-endian tables |
//! | linear and 2-level stream tables and context descriptor tables | preset tables and queues |
//! | SubstreamIDs, S1DSS, 16-bit ASIDs and VMIDs, range invalidation, hierarchical attribute disable, E0PD | broadcast TLB maintenance, VMID wildcards |
//! | hardware update of access flag and dirty state | of table descriptors |
//! | stalls with tags, RESUME, STALL_TERM; termination by abort or as RAZ/WI | |
//! | ATS and PRI where asked for: translation requests, CR0.ATSCHK, ATC invalidation, the page request queue | split-stage ATS (EATS 2), DPT, PASIDTT |
//! | command and event queue, GERROR, wired interrupts and MSIs, SEV | ATOS, MPAM, VMW |
//!
//! # Reentry
//!
//! No state is borrowed while a trait of the user is called, and none across an await, so that an
//! MSI that a guest aims at the SMMU's own registers is odd but harmless.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod ats;
mod command;
mod config;
mod config_cache;
mod fault;
mod features;
mod fetch;
mod inject;
mod prefetch;
mod pri;
mod probe;
mod queue;
mod regs;
mod resolved;
mod smmu;
pub mod spec;
mod stages;
mod tlb;
mod translate;
mod verdict;
pub mod view;
mod walker;

#[cfg(any(test, feature = "test-utils"))]
pub mod fuzzing;
#[cfg(any(test, feature = "test-utils"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use ats::{
    AtsCompletion, AtsRange, Endpoints, InvalidateCompletion, InvalidateRequest, TranslationRequest,
};
pub use command::Invalidation;
pub use fault::Stall;
pub use features::{Config, ConfigError, Granules, Httu, StallModel, StallTags};
pub use inject::TlbEntry;
pub use pri::{PageRequest, PageResponse, PageResponseCode};
pub use probe::{DescriptorRead, NoProbe, Note, Probe, Response, Step};
pub use smmu::{Counters, Smmu};
pub use spec::event::EventType;
pub use tlb::{CachedTranslation, NearMiss};
pub use verdict::{
    FaultType, OnCommand, OnInterrupt, OnPageRequest, OnRecord, OnTranslation, Points, Verdict,
};
pub use walker::Granule;

#[doc(no_inline)]
pub use stallbox_timeline::Timeline;

/// Which stream a transaction belongs to: for a PCIe function, its requester ID as the root complex
/// maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Which of a stream's address spaces is meant: for PCIe, the PASID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubstreamId(pub u32);

/// What a transaction does to the memory it addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// A write; otherwise a read.
    pub write: bool,
    /// Privileged; otherwise unprivileged.
    pub privileged: bool,
    /// An instruction fetch; otherwise data. A write is always data.
    pub instruction: bool,
}

impl Access {
    /// An unprivileged data read.
    pub const READ: Access = Access {
        write: false,
        privileged: false,
        instruction: false,
    };
    /// An unprivileged data write.
    pub const WRITE: Access = Access {
        write: true,
        privileged: false,
        instruction: false,
    };
    /// An unprivileged instruction fetch.
    pub const EXECUTE: Access = Access {
        write: false,
        privileged: false,
        instruction: true,
    };

    /// The same, but privileged.
    pub const fn privileged(self) -> Access {
        Access {
            privileged: true,
            ..self
        }
    }
}

/// A request for a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Whose it is.
    pub stream: StreamId,
    /// In which of the stream's address spaces, if the device says so (SSV).
    pub substream: Option<SubstreamId>,
    /// The input address.
    pub address: u64,
    /// What is to be done there.
    pub access: Access,
}

/// The answer to a transaction that may go ahead.
///
/// It holds for the moment at which it is given. A device that lets virtual time pass before it
/// uses the address may use one that software has taken back since, as no real SMMU would let it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address of the transaction's input address.
    pub address: u64,
    /// How many bytes may be accessed from there: to the end of the page or block.
    pub remaining: u64,
    /// The size of that page or block, as a power of two of bytes. Where nothing was translated it
    /// is the smallest page's.
    pub size_log2: u8,
    /// How often the transaction stalled before it was answered.
    pub stalls: u32,
}

/// The transaction was terminated: it does not reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SMMU terminated the transaction")]
pub struct Aborted {
    /// How often the transaction stalled before.
    pub stalls: u32,
    /// To the device it looks as if it had been done: a write is ignored, a read gives zeros.
    /// Otherwise the device is told of an abort. Only with [`Config::raz_wi`].
    pub raz_wi: bool,
}

impl Aborted {
    /// With an abort, after so many stalls.
    pub const fn after(stalls: u32) -> Aborted {
        Aborted {
            stalls,
            raz_wi: false,
        }
    }
}

/// Physical memory refused an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("external abort")]
pub struct ExternalAbort;

/// Physical memory as the SMMU sees it: tables and queues, and by writes, interrupt doorbells.
pub trait Memory {
    /// Reads `data.len()` bytes at `address`.
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), ExternalAbort>;
    /// Writes `data` at `address`. Message-signalled interrupts come this way too.
    fn write(&self, address: u64, data: &[u8]) -> Result<(), ExternalAbort>;

    /// Replaces the 64-bit little-endian word at `address`, a multiple of 8, by `new` if it is
    /// `current`, and says what it was. This is how the access flag and dirty state are kept in
    /// translation tables.
    ///
    /// What is provided reads and then writes. Memory that others write at the same time, which
    /// is so wherever CPUs have threads of their own, has to do both in one.
    fn compare_exchange(&self, address: u64, current: u64, new: u64) -> Result<u64, ExternalAbort> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        let was = u64::from_le_bytes(bytes);
        if was == current {
            self.write(address, &new.to_le_bytes())?;
        }
        Ok(was)
    }
}

/// The SMMU's wired interrupts. All are edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// The event queue is no longer empty.
    EventQueue,
    /// The page request queue has something for software.
    PageRequestQueue,
    /// A CMD_SYNC that asked for an interrupt is complete.
    CommandSync,
    /// An error in GERROR became active.
    GlobalError,
}

/// Where interrupts go.
pub trait Interrupts {
    /// One edge on `line`.
    fn pulse(&self, line: Line);

    /// The event that ends a processor's WFE: a CMD_SYNC asked for it, or a command queue that was
    /// full has room.
    fn send_event(&self) {}
}

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

mod atc_invalidations;
mod ats;
mod attempt;
mod command;
mod config;
mod config_cache;
mod counters;
mod events;
mod fault;
mod features;
mod fetch;
mod frame;
mod granule;
mod inject;
mod messages;
mod output_queue;
mod pcie_rules;
mod prefetch;
mod pri;
mod probe;
mod queue;
mod regs;
mod resolved;
mod route;
mod smmu;
pub mod spec;
mod stages;
mod stalls;
mod system;
mod tlb;
mod transaction;
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

pub use command::Invalidation;
pub use counters::Counters;
pub use features::{Config, ConfigError, Granules, Httu, StallModel, StallTags};
pub use granule::Granule;
pub use inject::TlbEntry;
pub use messages::{
    AtsCompletion, AtsRange, Endpoints, InvalidateCompletion, InvalidateRequest, PageRequest,
    PageResponse, PageResponseCode, TranslationRequest,
};
pub use probe::{DescriptorRead, NoProbe, Note, Probe, Response, Step};
pub use smmu::Smmu;
pub use spec::event::{EventType, FaultType};
pub use stalls::Stall;
pub use system::{ExternalAbort, Interrupts, Line, Memory};
pub use tlb::{CachedTranslation, NearMiss};
pub use transaction::{Aborted, Access, StreamId, SubstreamId, Transaction, Translation};
pub use verdict::{
    OnCommand, OnInterrupt, OnPageRequest, OnRecord, OnTranslation, Points, Verdict,
};

#[doc(no_inline)]
pub use stallbox_timeline::Timeline;

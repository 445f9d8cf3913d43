//! What a probe may decide at the points where the model asks it.
//!
//! The model contains no injection of its own: at each point it asks, waits at a gate if it is given
//! one, and then does what it was told. It asks only where [`Smmu::watch`](crate::Smmu::watch) said
//! that somebody wants to be asked; a point that nobody watches costs one test of a bit.

use std::ops::{BitOr, BitOrAssign};

use stallbox_timeline::Gate;

use crate::messages::PageResponseCode;
use crate::spec::event::FaultType;

/// A set of points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points(u32);

impl Points {
    /// None.
    pub const NONE: Points = Points(0);
    /// An attempt at a translation begins: [`Probe::on_translation`](crate::Probe::on_translation).
    pub const TRANSLATION: Points = Points(1);
    /// An event record is ready: [`Probe::on_record`](crate::Probe::on_record).
    pub const RECORD: Points = Points(1 << 1);
    /// A command was fetched: [`Probe::on_command`](crate::Probe::on_command).
    pub const COMMAND: Points = Points(1 << 2);
    /// An interrupt is due: [`Probe::on_interrupt`](crate::Probe::on_interrupt).
    pub const INTERRUPT: Points = Points(1 << 3);
    /// A descriptor of a translation table was read:
    /// [`Probe::descriptor_read`](crate::Probe::descriptor_read).
    pub const DESCRIPTOR: Points = Points(1 << 4);
    /// A page request arrived: [`Probe::on_page_request`](crate::Probe::on_page_request).
    pub const PAGE_REQUEST: Points = Points(1 << 5);
    /// A translation is about to be used: [`Probe::translated`](crate::Probe::translated).
    pub const TRANSLATED: Points = Points(1 << 6);

    /// Whether any of `other` is among them.
    #[inline(always)]
    pub const fn has_any(self, other: Points) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all of `other` is among them.
    #[inline(always)]
    pub const fn has(self, other: Points) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Points {
    type Output = Points;

    fn bitor(self, other: Points) -> Points {
        Points(self.0 | other.0)
    }
}

impl BitOrAssign for Points {
    fn bitor_assign(&mut self, other: Points) {
        self.0 |= other.0;
    }
}

/// A decision: first wait, if there is a gate, then act.
#[derive(Clone, Debug, Default)]
pub struct Verdict<A> {
    /// What to wait for.
    pub wait: Option<Gate>,
    /// What to do then.
    pub act: A,
}

/// What becomes of an attempt at a translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTranslation {
    /// It goes its way.
    #[default]
    Go,
    /// The TLB first forgets what it has for the address, as if the entry had been evicted.
    Evict,
    /// It faults, although it may be mapped, as far as it gets to the translation tables: what the
    /// stream and the context say comes first, and says too whether it stalls.
    Fault(FaultType),
    /// It is aborted, without an event.
    Abort,
}

/// What becomes of an event record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRecord {
    /// It is written.
    #[default]
    Go,
    /// It is lost; a stall that it tells of waits on.
    Drop,
    /// It is written, and again so many times.
    Repeat(u32),
    /// It waits until so many later records have been written.
    After(u32),
    /// The queue is full: it is filled with copies of this record without its Stall bit and tag,
    /// and overflows.
    Overflow,
    /// Another record is written in its place.
    Instead([u64; 4]),
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCommand {
    /// It is executed.
    #[default]
    Go,
    /// It is consumed without effect. A CMD_SYNC gives no signal.
    Skip,
    /// Another is executed in its place.
    Instead([u64; 2]),
    /// The queue stops at it, with this code in CMDQ_CONS.ERR.
    Error(u8),
}

/// What becomes of a page request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPageRequest {
    /// It goes its way.
    #[default]
    Go,
    /// It is lost before the queue: nobody hears of it, and nobody answers.
    Lose,
    /// It finds the queue full, which is filled with copies of it that are not the last of their
    /// group, and is answered as one that overflowed.
    Overflow,
    /// It is answered so, with its PASID, and software does not hear of it.
    Answer(PageResponseCode),
}

/// What becomes of an interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInterrupt {
    /// It is sent.
    #[default]
    Go,
    /// It is lost.
    Drop,
}

//! What an attempt at a translation is: how it is made, and why a transaction may not go ahead.
//!
//! IHI 0070, *Fault models, recording and reporting*.

use std::cell::Cell;

use crate::spec::event::{self, EventType, Fault, FaultType, Place};
use crate::transaction::Transaction;

/// A translation that invalidations keep interrupting gives up being interruptible: it spends no
/// more time on its steps. Software could otherwise hold it up for ever.
pub(crate) const RESTARTS_MAX: u32 = 16;

/// The smallest page of any translation, as a power of two of bytes.
pub(crate) const PAGE_LOG2: u8 = 12;

/// Why a transaction may not go ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// Abort, and tell nobody.
    Silent(Option<EventType>),
    /// Abort, with a record of something that no fault model decides about.
    Recorded(EventType, [u64; 4]),
    /// A fault that the fault model of its stage decides about.
    Fault {
        fault: Fault,
        stalls: bool,
        records: bool,
        /// Without a stall it ends as if it had been done.
        raz_wi: bool,
    },
}

impl Refusal {
    /// A record that names the transaction only.
    pub(crate) fn identity(kind: EventType, transaction: &Transaction) -> Refusal {
        Refusal::Recorded(kind, event::identity(kind, transaction))
    }

    /// The SubstreamID leads to no context, or there may be none.
    pub(crate) fn bad_substream(transaction: &Transaction) -> Refusal {
        Refusal::Recorded(EventType::BadSubstreamId, event::bad_substream(transaction))
    }

    /// Stage 1 is off or bypassed for the stream, and the address is too large. No fault model has
    /// a say in it.
    pub(crate) fn out_of_range(transaction: &Transaction) -> Refusal {
        let fault = Fault {
            kind: FaultType::AddressSize,
            place: Place::Stage1,
            access: transaction.access,
        };
        let words = event::fault(&fault, transaction, None);
        Refusal::Recorded(EventType::AddressSize, words)
    }

    /// Whether a record is meant to be written.
    pub(crate) fn is_reported(&self) -> bool {
        match *self {
            Refusal::Silent(_) => false,
            Refusal::Recorded(..) => true,
            Refusal::Fault {
                stalls, records, ..
            } => stalls || records,
        }
    }
}

/// How one attempt is made: a byte, which is handed on in a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt(u8);

impl Attempt {
    /// The TLB is not to be trusted: the last answer was a retry.
    pub(crate) const FRESH: Attempt = Attempt(1);
    /// The TLB was asked just now, and had nothing.
    pub(crate) const MISSED: Attempt = Attempt(1 << 1);
    /// No time is spent.
    pub(crate) const AT_ONCE: Attempt = Attempt(1 << 2);
    /// It ends when configuration has been found: a prefetch.
    pub(crate) const CONFIG_ONLY: Attempt = Attempt(1 << 3);
    const FAULT_SHIFT: u32 = 4;

    /// An attempt after so many were interrupted.
    pub(crate) const fn after(restarts: u32) -> Attempt {
        Attempt(0).with(Attempt::AT_ONCE, restarts >= RESTARTS_MAX)
    }

    /// The same, but `way` or not.
    #[inline(always)]
    pub(crate) const fn with(self, way: Attempt, on: bool) -> Attempt {
        Attempt(self.0 & !way.0 | if on { way.0 } else { 0 })
    }

    #[inline(always)]
    pub(crate) const fn is(self, way: Attempt) -> bool {
        self.0 & way.0 != 0
    }

    /// The same, but by a verdict it faults, whatever the tables say.
    pub(crate) const fn faulting(self, fault: FaultType) -> Attempt {
        let number = match fault {
            FaultType::Translation => 1,
            FaultType::AddressSize => 2,
            FaultType::Access => 3,
            FaultType::Permission => 4,
        };
        Attempt(self.0 | number << Attempt::FAULT_SHIFT)
    }

    /// How it faults.
    #[inline(always)]
    pub(crate) const fn fault(self) -> Option<FaultType> {
        match self.0 >> Attempt::FAULT_SHIFT {
            0 => None,
            1 => Some(FaultType::Translation),
            2 => Some(FaultType::AddressSize),
            3 => Some(FaultType::Access),
            _ => Some(FaultType::Permission),
        }
    }
}

/// An attempt, and when it was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) attempt: Attempt,
    pub(crate) epoch: u64,
    /// The translation table descriptors that it has read.
    pub(crate) steps: &'a Cell<u32>,
}

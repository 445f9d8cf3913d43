//! The named points, and what can be matched and done at each.

use std::ops::BitOr;

macro_rules! flags {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $flag:ident = $key:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(u32);

        #[allow(non_upper_case_globals, reason = "counters for the constants below")]
        impl $name {
            flags!(@constants 0; $($(#[$inner])* $flag,)*);

            /// Each of them with its key in a plan.
            pub const ALL: &'static [(&'static str, $name)] = &[$(($key, $name::$flag),)*];

            /// Whether all of `other` is among them.
            pub const fn has(self, other: $name) -> bool {
                self.0 & other.0 == other.0
            }

            /// The keys, in order.
            pub fn keys(self) -> impl Iterator<Item = &'static str> {
                $name::ALL
                    .iter()
                    .filter(move |(_, flag)| self.has(*flag))
                    .map(|(key, _)| *key)
            }
        }

        impl BitOr for $name {
            type Output = $name;

            fn bitor(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }
        }
    };
    (@constants $n:expr; $(#[$inner:meta])* $flag:ident, $($rest:tt)*) => {
        $(#[$inner])*
        pub const $flag: Self = Self(1 << ($n));
        flags!(@constants $n + 1; $($rest)*);
    };
    (@constants $n:expr;) => {};
}

flags! {
    /// Keys of `match`.
    Matches {
        /// StreamID.
        STREAM = "stream",
        /// PASID.
        PASID = "pasid",
        /// Input address.
        ADDRESS = "address",
        /// Kind of access.
        ACCESS = "access",
        /// First attempt or retry.
        ATTEMPT = "attempt",
        /// Queue of the device.
        QUEUE = "queue",
        /// What the device's access is for.
        RING = "ring",
        /// Event record.
        EVENT = "event",
        /// Whether a stall waits for the record's answer.
        STALLED = "stalled",
        /// SMMU command.
        COMMAND = "command",
        /// Stall tag.
        STAG = "stag",
        /// The SMMU's interrupt.
        LINE = "line",
        /// Mailbox command.
        MAILBOX = "mailbox",
        /// The device's interrupt.
        VECTOR = "vector",
        /// Offset of the register in its BAR.
        REGISTER = "register",
        /// The value written.
        VALUE = "value",
        /// The marker's name.
        MARKER = "marker",
    }
}

flags! {
    /// Keys of `do` that decide about what comes by; the others are effects, and can be had at any
    /// point.
    Actions {
        /// Takes longer.
        DELAY = "delay",
        /// Waits at a gate.
        GATE = "gate",
        /// Faults although mapped.
        FAULT = "fault",
        /// Is aborted.
        ABORT = "abort",
        /// The TLB forgets it first.
        EVICT = "evict",
        /// Is lost.
        DROP = "drop",
        /// Happens several times.
        DUPLICATE = "duplicate",
        /// Is overtaken.
        OVERTAKEN_BY = "overtaken_by",
        /// The queue is full.
        OVERFLOW = "overflow",
        /// Other words.
        REPLACE = "replace",
        /// Another tag.
        STAG = "stag",
        /// Another response.
        RESPONSE = "response",
        /// Stops the command queue.
        ERROR = "error",
        /// Fails with a status.
        FAIL = "fail",
        /// Is answered at once.
        ANSWER = "answer",
    }
}

/// Where something comes by that a rule can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// The SMMU is about to attempt a translation.
    Translation,
    /// A translation was found in the TLB.
    TlbHit,
    /// A translation table is about to be read.
    WalkStep,
    /// A stream or context descriptor table is about to be read.
    ConfigFetch,
    /// A fault was found, and is about to be reported.
    FaultReport,
    /// A stall was answered with a retry, and is about to.
    ResumeToRetry,
    /// An event record is about to be written.
    Record,
    /// An SMMU command was fetched.
    Command,
    /// The SMMU is about to send an interrupt.
    Interrupt,
    /// A page request arrived at the SMMU.
    PageRequest,
    /// A page response is about to be sent to the device.
    PageResponse,
    /// An invalidation of the device's translation cache is about to be sent to it.
    AtcInvalidate,
    /// A device is about to tell that an invalidation of its translation cache is complete.
    AtcCompletion,
    /// The device is about to issue an access to memory.
    Dma,
    /// A doorbell came to a queue that was idle.
    Doorbell,
    /// A submission entry is about to be fetched.
    DescriptorFetch,
    /// A piece of a job is about to be worked on.
    Compute,
    /// A job is done, and its completion is about to be written.
    CompletionWrite,
    /// A mailbox command is about to be performed.
    Mailbox,
    /// The device is about to send an interrupt.
    Msi,
    /// The guest writes a register of the device.
    RegisterWrite,
    /// The guest rings a doorbell of the device.
    DoorbellWrite,
    /// The guest tells a marker.
    Marker,
    /// A time has come.
    Time,
}

impl Point {
    /// All, in the order of a fault's way.
    pub const ALL: [Point; 24] = [
        Point::Translation,
        Point::TlbHit,
        Point::WalkStep,
        Point::ConfigFetch,
        Point::FaultReport,
        Point::ResumeToRetry,
        Point::Record,
        Point::Command,
        Point::Interrupt,
        Point::PageRequest,
        Point::PageResponse,
        Point::AtcInvalidate,
        Point::AtcCompletion,
        Point::Dma,
        Point::Doorbell,
        Point::DescriptorFetch,
        Point::Compute,
        Point::CompletionWrite,
        Point::Mailbox,
        Point::Msi,
        Point::RegisterWrite,
        Point::DoorbellWrite,
        Point::Marker,
        Point::Time,
    ];

    /// Its name in a plan.
    pub const fn name(self) -> &'static str {
        match self {
            Point::Translation => "translation",
            Point::TlbHit => "tlb_hit",
            Point::WalkStep => "walk_step",
            Point::ConfigFetch => "config_fetch",
            Point::FaultReport => "fault_report",
            Point::ResumeToRetry => "resume_to_retry",
            Point::Record => "record",
            Point::Command => "command",
            Point::Interrupt => "interrupt",
            Point::PageRequest => "page_request",
            Point::PageResponse => "page_response",
            Point::AtcInvalidate => "atc_invalidate",
            Point::AtcCompletion => "atc_completion",
            Point::Dma => "dma",
            Point::Doorbell => "doorbell",
            Point::DescriptorFetch => "descriptor_fetch",
            Point::Compute => "compute",
            Point::CompletionWrite => "completion_write",
            Point::Mailbox => "mailbox",
            Point::Msi => "msi",
            Point::RegisterWrite => "register_write",
            Point::DoorbellWrite => "doorbell_write",
            Point::Marker => "marker",
            Point::Time => "time",
        }
    }

    /// The point of that name.
    pub fn named(name: &str) -> Option<Point> {
        Point::ALL.into_iter().find(|point| point.name() == name)
    }

    /// What a rule can match there.
    pub fn matches(self) -> Matches {
        let transaction = Matches::STREAM | Matches::PASID | Matches::ADDRESS | Matches::ACCESS;
        let device = Matches::QUEUE | Matches::RING;
        match self {
            Point::Translation => transaction | Matches::ATTEMPT | device,
            Point::TlbHit
            | Point::WalkStep
            | Point::ConfigFetch
            | Point::FaultReport
            | Point::ResumeToRetry
            | Point::PageRequest => transaction,
            Point::PageResponse => Matches::STREAM | Matches::PASID,
            Point::AtcInvalidate => Matches::STREAM | Matches::PASID | Matches::ADDRESS,
            Point::Record => transaction | Matches::EVENT | Matches::STALLED | Matches::STAG,
            Point::Command => {
                Matches::COMMAND
                    | Matches::STREAM
                    | Matches::PASID
                    | Matches::ADDRESS
                    | Matches::STAG
            }
            Point::Interrupt => Matches::LINE | Matches::STREAM,
            Point::AtcCompletion => Matches::STREAM | Matches::PASID | Matches::ADDRESS,
            Point::Dma => transaction | device,
            Point::Doorbell | Point::DescriptorFetch | Point::Compute | Point::CompletionWrite => {
                Matches::STREAM | Matches::QUEUE
            }
            Point::Mailbox => Matches::STREAM | Matches::MAILBOX | Matches::QUEUE,
            Point::Msi => Matches::STREAM | Matches::VECTOR | Matches::QUEUE,
            Point::RegisterWrite => Matches::STREAM | Matches::REGISTER | Matches::VALUE,
            Point::DoorbellWrite => {
                Matches::STREAM | Matches::QUEUE | Matches::RING | Matches::VALUE
            }
            Point::Marker => Matches::MARKER,
            Point::Time => Matches::default(),
        }
    }

    /// What a rule can decide there. Effects come on top.
    pub fn actions(self) -> Actions {
        let wait = Actions::DELAY | Actions::GATE;
        match self {
            Point::Translation => wait | Actions::FAULT | Actions::ABORT | Actions::EVICT,
            Point::TlbHit
            | Point::WalkStep
            | Point::ConfigFetch
            | Point::FaultReport
            | Point::ResumeToRetry
            | Point::PageResponse
            | Point::AtcInvalidate => Actions::DELAY,
            Point::Doorbell | Point::DescriptorFetch | Point::Compute | Point::CompletionWrite => {
                wait
            }
            Point::Record => {
                wait | Actions::DROP
                    | Actions::DUPLICATE
                    | Actions::OVERTAKEN_BY
                    | Actions::OVERFLOW
                    | Actions::REPLACE
            }
            Point::Command => {
                wait | Actions::DROP
                    | Actions::REPLACE
                    | Actions::STAG
                    | Actions::RESPONSE
                    | Actions::ERROR
            }
            Point::Interrupt | Point::Msi | Point::AtcCompletion => wait | Actions::DROP,
            Point::PageRequest => wait | Actions::DROP | Actions::OVERFLOW | Actions::ANSWER,
            Point::Dma => wait | Actions::ABORT,
            Point::Mailbox => wait | Actions::DROP | Actions::FAIL,
            Point::RegisterWrite => Actions::DROP,
            Point::DoorbellWrite => wait | Actions::DROP | Actions::DUPLICATE,
            Point::Marker | Point::Time => Actions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_its_own_name_and_place() {
        for (index, point) in Point::ALL.into_iter().enumerate() {
            assert_eq!(point as usize, index);
            assert_eq!(Point::named(point.name()), Some(point));
        }
    }

    #[test]
    fn flags_are_distinct() {
        for flags in [Matches::ALL.len(), Actions::ALL.len()] {
            assert!(flags <= 32);
        }
        for (index, (_, flag)) in Matches::ALL.iter().enumerate() {
            assert_eq!(flag.0, 1 << index);
        }
        for (index, (_, flag)) in Actions::ALL.iter().enumerate() {
            assert_eq!(flag.0, 1 << index);
        }
    }
}

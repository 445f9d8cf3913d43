//! Rules, once they are read and checked.

use stallbox_timeline::Dist;

use crate::Point;

/// The kind of a device's access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read of data.
    Read,
    /// A write.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    pub(crate) const NAMES: &'static [&'static str] = &["read", "write", "execute"];

    pub(crate) fn named(name: &str) -> Option<Access> {
        Some(match name {
            "read" => Access::Read,
            "write" => Access::Write,
            "execute" => Access::Execute,
            _ => return None,
        })
    }
}

/// Which attempts at a translation are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attempt {
    /// The first: nothing has stalled yet.
    #[default]
    First,
    /// Those after a stall.
    Retry,
    /// All.
    Any,
}

/// What a device's access to memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// The submission ring: entries are fetched and written back.
    Submission,
    /// The completion ring.
    Completion,
    /// The ring of completion events.
    Event,
    /// The ring of failures.
    AsyncEvent,
    /// A context that the mailbox names.
    Context,
    /// A job's data.
    Data,
}

impl Ring {
    pub(crate) const NAMES: &'static [&'static str] = &["sq", "cq", "eq", "aeq", "context", "data"];

    /// Its name in a plan.
    pub fn name(self) -> &'static str {
        Ring::NAMES[self as usize]
    }

    pub(crate) fn named(name: &str) -> Option<Ring> {
        Some(match name {
            "sq" => Ring::Submission,
            "cq" => Ring::Completion,
            "eq" => Ring::Event,
            "aeq" => Ring::AsyncEvent,
            "context" => Ring::Context,
            "data" => Ring::Data,
            _ => return None,
        })
    }
}

/// One of the four faults of a translation: the names in a plan are its own.
pub use stallbox_smmu::FaultType as FaultKind;

pub(crate) fn fault_named(name: &str) -> Option<FaultKind> {
    FaultKind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// What comes by at a point. What a point does not know is `None`, and a rule that asks for it does
/// not match.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The point.
    pub point: Point,
    /// StreamID; of what a device does, that device's.
    pub stream: Option<u32>,
    /// PASID; `None` for an access without one.
    pub pasid: Option<u32>,
    /// First and last input address.
    pub address: Option<(u64, u64)>,
    /// Kind of access.
    pub access: Option<Access>,
    /// How often the transaction has stalled before.
    pub stalls: u32,
    /// Queue of the device.
    pub queue: Option<u16>,
    /// What the access is for.
    pub ring: Option<Ring>,
    /// The event, command, line, mailbox command, vector or register.
    pub code: Option<u32>,
    /// The value written to a register.
    pub value: Option<u32>,
    /// Stall tag.
    pub stag: Option<u16>,
    /// Whether a stall waits for the record's answer.
    pub stalled: bool,
    /// The marker.
    pub marker: Option<&'a str>,
}

impl Subject<'_> {
    /// Something at `point` of which no more is known.
    pub const fn at(point: Point) -> Subject<'static> {
        Subject {
            point,
            stream: None,
            pasid: None,
            address: None,
            access: None,
            stalls: 0,
            queue: None,
            ring: None,
            code: None,
            value: None,
            stag: None,
            stalled: false,
            marker: None,
        }
    }
}

/// Which of what comes by is meant. An empty filter means everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// StreamID.
    pub stream: Option<u32>,
    /// PASID, or explicitly none.
    pub pasid: Option<Option<u32>>,
    /// First and last address: what overlaps is meant.
    pub address: Option<(u64, u64)>,
    /// Kind of access.
    pub access: Option<Access>,
    /// Attempts.
    pub attempt: Attempt,
    /// Queue.
    pub queue: Option<u16>,
    /// Ring.
    pub ring: Option<Ring>,
    /// Any of these codes; empty for all.
    pub codes: Vec<u32>,
    /// The value written, under a mask.
    pub value: Option<(u32, u32)>,
    /// Stall tag.
    pub stag: Option<u16>,
    /// Whether a stall waits.
    pub stalled: Option<bool>,
    /// Marker.
    pub marker: Option<String>,
}

impl Filter {
    pub(crate) const EVERYTHING: Filter = Filter {
        stream: None,
        pasid: None,
        address: None,
        access: None,
        attempt: Attempt::Any,
        queue: None,
        ring: None,
        codes: Vec::new(),
        value: None,
        stag: None,
        stalled: None,
        marker: None,
    };

    /// Whether `subject`, which is at the rule's point, is meant. What most often decides comes first.
    pub fn takes(&self, subject: &Subject<'_>) -> bool {
        if let Some((first, last)) = self.address {
            match subject.address {
                Some((from, to)) if from <= last && to >= first => {}
                _ => return false,
            }
        }
        self.pasid.is_none_or(|pasid| pasid == subject.pasid)
            && self.stream.is_none_or(|id| Some(id) == subject.stream)
            && self.access.is_none_or(|kind| Some(kind) == subject.access)
            && match self.attempt {
                Attempt::Any => true,
                Attempt::First => subject.stalls == 0,
                Attempt::Retry => subject.stalls > 0,
            }
            && self.queue.is_none_or(|queue| Some(queue) == subject.queue)
            && self.ring.is_none_or(|ring| Some(ring) == subject.ring)
            && (self.codes.is_empty()
                || subject.code.is_some_and(|code| self.codes.contains(&code)))
            && self.value.is_none_or(|(value, mask)| {
                subject
                    .value
                    .is_some_and(|written| written & mask == value & mask)
            })
            && self.stag.is_none_or(|stag| Some(stag) == subject.stag)
            && self
                .stalled
                .is_none_or(|stalled| stalled == subject.stalled)
            && self
                .marker
                .as_ref()
                .is_none_or(|name| Some(name.as_str()) == subject.marker)
    }
}

/// Which of those that match are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    /// The n-th, counted from 1; with `every`, where that begins.
    pub nth: Option<u64>,
    /// Every k-th.
    pub every: Option<u64>,
    /// So likely.
    pub probability: Option<f64>,
    /// At most so many.
    pub times: Option<u64>,
    /// Not before: nanoseconds of virtual time. At [`Point::Time`], when it fires.
    pub from_ns: Option<u64>,
    /// Not from then on.
    pub until_ns: Option<u64>,
    /// Only once the guest has told this marker.
    pub after_marker: Option<String>,
    /// Only until the guest tells this marker.
    pub before_marker: Option<String>,
    /// At [`Point::Time`]: again and again, so far apart.
    pub period_ns: Option<u64>,
    /// Only once a rule of this name has fired; at [`Point::Time`], each time that it does.
    pub after_rule: Option<After>,
    /// Only until a rule of this name fires.
    pub before_rule: Option<String>,
}

/// So long after a rule has fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The rule's name.
    pub rule: String,
    /// Nanoseconds.
    pub ns: u64,
}

/// A gate by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRef {
    /// Its name.
    pub name: String,
    /// Opens by itself once so many wait.
    pub open_at: Option<u32>,
    /// Opens by itself so long after the first came.
    pub timeout_ns: Option<u64>,
    /// Opens by itself so long after a rule has fired.
    pub after_rule: Option<After>,
}

/// Another tag for a CMD_RESUME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stag {
    /// This one.
    Fixed(u16),
    /// The one after it.
    Next,
    /// The tag of the CMD_RESUME before it: an answer to a stall that is over.
    Stale,
}

/// A response to a page request.
pub use stallbox_smmu::PageResponseCode as PageAnswer;

/// The names in a plan.
pub(crate) const PAGE_ANSWERS: [(&str, PageAnswer); 3] = [
    ("success", PageAnswer::Success),
    ("invalid", PageAnswer::InvalidRequest),
    ("failure", PageAnswer::Failure),
];

pub(crate) fn page_answer_named(name: &str) -> Option<PageAnswer> {
    let found = PAGE_ANSWERS.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, answer)| answer)
}

/// What is decided about what comes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// It goes its way.
    #[default]
    Go,
    /// It faults although mapped.
    Fault(FaultKind),
    /// It is aborted.
    Abort,
    /// The TLB forgets it first.
    Evict,
    /// It is lost.
    Drop,
    /// It is written so many times more.
    Duplicate(u32),
    /// So many others go first.
    OvertakenBy(u32),
    /// Its queue is full.
    Overflow,
    /// These words in its place: 4 of a record, 2 of a command.
    Replace(Vec<u64>),
    /// A CMD_RESUME with another tag or response.
    Resume {
        /// The tag.
        stag: Option<Stag>,
        /// Whether to retry.
        retry: Option<bool>,
    },
    /// The command queue stops with this code.
    Error(u8),
    /// It fails with this status.
    Fail(u8),
    /// A page request is answered so, and software does not hear of it.
    Answer(PageAnswer),
}

/// An entry of one of the device's event rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEvent {
    /// The device; see [`Effect::DeviceReset`].
    pub stream: Option<u32>,
    /// In the ring of failures; otherwise in that of completions.
    pub failure: bool,
    /// The queue that it names.
    pub queue: u16,
    /// Its type, for a failure.
    pub kind: u8,
    /// How often it is written.
    pub count: u32,
}

/// What a device reports, though nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// The ZIP: bits of the status registers of its queue manager and its engine.
    Status {
        /// 0x100008.
        qm: u32,
        /// 0x3010ac.
        zip: u32,
    },
    /// The test engine: a queue fails.
    Queue {
        /// Which; that of what the rule took, if not given.
        queue: Option<u16>,
        /// The number in STATUS.
        failure: u8,
    },
}

/// Accesses that no job asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// StreamID; that of what the rule took, if not given.
    pub stream: Option<u32>,
    /// PASID, or explicitly none; that of what the rule took, if not given.
    pub pasid: Option<Option<u32>>,
    /// The first address; that of what the rule took, if not given.
    pub address: Option<u64>,
    /// How far the next is.
    pub stride: u64,
    /// How many.
    pub count: u32,
    /// Writes, as far as translation is concerned; nothing is written.
    pub write: bool,
}

/// What happens elsewhere because a rule fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The SMMU writes this event record.
    WriteRecord([u64; 4]),
    /// The SMMU executes this command, which nobody queued.
    RunCommand([u64; 2]),
    /// The SMMU's TLB forgets this address, or everything.
    EvictTlb(Option<u64>),
    /// The device writes this entry.
    DeviceEvent(DeviceEvent),
    /// The device touches memory: accesses of a byte each, whose data nobody uses.
    Touch(Touch),
    /// The device sends this interrupt.
    RaiseMsi {
        /// The device; see [`Effect::DeviceReset`].
        stream: Option<u32>,
        /// Which.
        vector: u16,
    },
    /// The device reports an error.
    DeviceError {
        /// The device; see [`Effect::DeviceReset`].
        stream: Option<u32>,
        /// What is wrong.
        error: DeviceError,
    },
    /// The device is reset, as by a function level reset.
    DeviceReset {
        /// Its StreamID; that of what the rule took, if not given, or else the only one there is.
        stream: Option<u32>,
    },
    /// Opens a gate.
    Open(String),
    /// Closes a gate.
    Close(String),
    /// Switches the rules of this name on.
    Enable(String),
    /// Switches the rules of this name off.
    Disable(String),
    /// Tells a marker, as the guest can.
    Marker(String),
    /// The run stops until it is told to go on.
    Pause,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name: given, or `rule N`.
    pub name: String,
    /// The line at which it begins, counted from 1; 0 if it did not come from a file.
    pub line: usize,
    /// Whether it is switched on at the beginning.
    pub enabled: bool,
    /// Where.
    pub at: Point,
    /// What.
    pub filter: Filter,
    /// Which.
    pub when: When,
    /// How much longer it takes.
    pub delay: Option<Dist>,
    /// Where it waits.
    pub gate: Option<GateRef>,
    /// What becomes of it.
    pub act: Act,
    /// What else happens.
    pub effects: Vec<Effect>,
    /// How much later that happens.
    pub effects_after_ns: u64,
}

impl Rule {
    /// The names of the rules that it waits for.
    pub fn awaits(&self) -> impl Iterator<Item = &str> {
        let gate = self.gate.as_ref().and_then(|gate| gate.after_rule.as_ref());
        let after = self.when.after_rule.as_ref();
        let after = after.into_iter().chain(gate).map(|it| it.rule.as_str());
        after.chain(self.when.before_rule.as_deref())
    }
}

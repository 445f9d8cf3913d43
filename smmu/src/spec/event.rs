//! IHI 0070, *Event records*: the 32-byte entries of the event queue.

use crate::transaction::{Access, StreamId, SubstreamId, Transaction};

/// Size of an event record.
pub const EVENT_BYTES: u64 = 32;

/// CLASS of a fault: what was being translated when stage 2 found it, or, at stage 1, its input
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The address of a context descriptor, or of a descriptor on the way to it.
    Cd = 0b00,
    /// The address of a translation table descriptor.
    Table = 0b01,
    /// The transaction's own address.
    Input = 0b10,
}

impl Class {
    const fn bits(self) -> u64 {
        (self as u64) << 40
    }
}

const SSV: u64 = 1 << 11;
/// Stall: a transaction waits for the answer to this record.
pub(crate) const STALL: u64 = 1 << 31;
const PNU: u64 = 1 << 33;
const IND: u64 = 1 << 34;
const RNW: u64 = 1 << 35;
const S2: u64 = 1 << 39;
/// Of a permission fault on a stage 1 descriptor at stage 2: it was to be read.
const TTRNW: u64 = 1 << 44;
/// IPA is bits 55:12 of the last doubleword.
const IPA: u64 = 0x00ff_ffff_ffff_f000;
/// FetchAddr is bits 55:3 of the last doubleword.
const FETCH_ADDRESS: u64 = 0x00ff_ffff_ffff_fff8;

/// Event records by number, those that this implementation does not record included.
pub const NAMES: &[(&str, u32)] = &[
    ("F_UUT", 0x01),
    ("C_BAD_STREAMID", 0x02),
    ("F_STE_FETCH", 0x03),
    ("C_BAD_STE", 0x04),
    ("F_BAD_ATS_TREQ", 0x05),
    ("F_STREAM_DISABLED", 0x06),
    ("F_TRANSL_FORBIDDEN", 0x07),
    ("C_BAD_SUBSTREAMID", 0x08),
    ("F_CD_FETCH", 0x09),
    ("C_BAD_CD", 0x0a),
    ("F_WALK_EABT", 0x0b),
    ("F_TRANSLATION", 0x10),
    ("F_ADDR_SIZE", 0x11),
    ("F_ACCESS", 0x12),
    ("F_PERMISSION", 0x13),
    ("F_TLB_CONFLICT", 0x20),
    ("F_CFG_CONFLICT", 0x21),
    ("E_PAGE_REQUEST", 0x24),
    ("F_VMS_FETCH", 0x25),
];

/// The name of an event record, or its number.
pub fn name(number: u8) -> String {
    super::name_in(NAMES, number)
}

/// An event record as it is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record(
    /// The doublewords as they are.
    pub [u64; 4],
);

impl Record {
    /// The event's number: see [`NAMES`].
    pub const fn number(&self) -> u8 {
        self.0[0] as u8
    }
    /// StreamID.
    pub const fn sid(&self) -> u32 {
        (self.0[0] >> 32) as u32
    }
    /// SubstreamID, which counts with SSV, and in C_BAD_SUBSTREAMID.
    pub const fn ssid(&self) -> u32 {
        (self.0[0] >> 12) as u32 & 0xf_ffff
    }
    /// SSV: the transaction had a SubstreamID.
    pub const fn ssv(&self) -> bool {
        self.0[0] & SSV != 0
    }
    /// Stall: a transaction waits for the answer to this record.
    pub const fn stalls(&self) -> bool {
        self.0[1] & STALL != 0
    }
    /// STAG, which counts with Stall.
    pub const fn stag(&self) -> u16 {
        self.0[1] as u16
    }
    /// PnU: a privileged access.
    pub const fn privileged(&self) -> bool {
        self.0[1] & PNU != 0
    }
    /// Ind: an instruction fetch, if it is a read.
    pub const fn instruction(&self) -> bool {
        self.0[1] & IND != 0
    }
    /// RnW: a read.
    pub const fn read(&self) -> bool {
        self.0[1] & RNW != 0
    }
    /// S2: stage 2 is at fault.
    pub const fn stage2(&self) -> bool {
        self.0[1] & S2 != 0
    }
    /// CLASS: 0 a context descriptor, 1 a translation table descriptor, 2 the input address.
    pub const fn class(&self) -> u8 {
        (self.0[1] >> 40) as u8 & 3
    }
    /// InputAddr, of faults, and of an abort of a walk.
    pub const fn address(&self) -> u64 {
        self.0[2]
    }
    /// IPA, of faults of stage 2.
    pub const fn ipa(&self) -> u64 {
        self.0[3] & IPA
    }
    /// FetchAddr, of records of an abort.
    pub const fn fetch_address(&self) -> u64 {
        self.0[3] & FETCH_ADDRESS
    }
    /// Whether it tells of an access to an address.
    pub const fn is_of_access(&self) -> bool {
        matches!(self.number(), 0x01 | 0x0b | 0x10..=0x13 | 0x24)
    }
}

/// Codes of the events that this implementation can record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum EventType {
    /// The StreamID is outside the stream table.
    BadStreamId = 0x02,
    /// The fetch of a stream table entry, or of a descriptor on the way to it, aborted.
    SteFetch = 0x03,
    /// The stream table entry is invalid or asks for what is not there.
    BadSte = 0x04,
    /// An ATS translation request that the configuration does not permit.
    BadAtsTreq = 0x05,
    /// The stream takes no traffic of this kind (STE.S1DSS).
    StreamDisabled = 0x06,
    /// An ATS translated transaction that the configuration does not permit.
    TranslForbidden = 0x07,
    /// The SubstreamID is out of range, or given where none may be.
    BadSubstreamId = 0x08,
    /// The fetch of a context descriptor, or of a descriptor on the way to it, aborted.
    CdFetch = 0x09,
    /// The context descriptor is invalid or asks for what is not there.
    BadCd = 0x0a,
    /// The fetch of a translation table descriptor aborted.
    WalkEabt = 0x0b,
    /// Nothing is mapped at the address.
    Translation = 0x10,
    /// An address is beyond what is implemented or configured.
    AddressSize = 0x11,
    /// The access flag is clear.
    Access = 0x12,
    /// The access is not permitted.
    Permission = 0x13,
}

impl EventType {
    /// All of them, by number.
    pub const ALL: [EventType; 14] = [
        EventType::BadStreamId,
        EventType::SteFetch,
        EventType::BadSte,
        EventType::BadAtsTreq,
        EventType::StreamDisabled,
        EventType::TranslForbidden,
        EventType::BadSubstreamId,
        EventType::CdFetch,
        EventType::BadCd,
        EventType::WalkEabt,
        EventType::Translation,
        EventType::AddressSize,
        EventType::Access,
        EventType::Permission,
    ];

    /// The architecture's name: see [`NAMES`].
    pub fn name(self) -> &'static str {
        let number = self as u32;
        let found = NAMES.iter().find(|(_, it)| *it == number);
        found.expect("every event has a name").0
    }
}

/// One of the four faults that the context's fault model (A, R, S) decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultType {
    /// F_TRANSLATION: nothing is mapped.
    Translation,
    /// F_ADDR_SIZE: an address is out of range.
    AddressSize,
    /// F_ACCESS: the access flag is clear.
    Access,
    /// F_PERMISSION: the access is not permitted.
    Permission,
}

impl FaultType {
    /// All of them.
    pub const ALL: [FaultType; 4] = [
        FaultType::Translation,
        FaultType::AddressSize,
        FaultType::Access,
        FaultType::Permission,
    ];

    /// The name by which fault plans and traces know it.
    pub const fn name(self) -> &'static str {
        match self {
            FaultType::Translation => "translation",
            FaultType::AddressSize => "address_size",
            FaultType::Access => "access",
            FaultType::Permission => "permission",
        }
    }

    pub(crate) const fn event(self) -> EventType {
        match self {
            FaultType::Translation => EventType::Translation,
            FaultType::AddressSize => EventType::AddressSize,
            FaultType::Access => EventType::Access,
            FaultType::Permission => EventType::Permission,
        }
    }
}

/// Which stage a fault is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stage1,
    Stage2 {
        class: Class,
        ipa: u64,
        /// Stage 1's descriptor was to be written, not read.
        write: bool,
    },
}

impl Place {
    /// The number of the stage.
    pub(crate) const fn stage(self) -> u8 {
        match self {
            Place::Stage1 => 1,
            Place::Stage2 { .. } => 2,
        }
    }
}

/// A fault of one of the four types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultType,
    pub(crate) place: Place,
    /// The access as its stream makes it, overrides included.
    pub(crate) access: Access,
}

const fn header(kind: EventType, stream: StreamId) -> u64 {
    kind as u64 | (stream.0 as u64) << 32
}

const fn substream_value(substream: Option<SubstreamId>) -> u64 {
    match substream {
        Some(SubstreamId(value)) => ((value & 0xf_ffff) as u64) << 12,
        None => 0,
    }
}

const fn substream_field(substream: Option<SubstreamId>) -> u64 {
    match substream {
        Some(_) => SSV | substream_value(substream),
        None => 0,
    }
}

const fn attributes(access: Access) -> u64 {
    let mut word = 0;
    if access.privileged {
        word |= PNU;
    }
    if access.instruction && !access.write {
        word |= IND;
    }
    if !access.write {
        word |= RNW;
    }
    word
}

/// A fault record as it is when nothing waits for its answer: without Stall and STAG.
pub(crate) const fn without_stall(words: [u64; 4]) -> [u64; 4] {
    [words[0], words[1] & !(STALL | 0xffff), words[2], words[3]]
}

/// C_BAD_STREAMID, C_BAD_STE, C_BAD_CD: who, and no more.
pub(crate) const fn identity(kind: EventType, transaction: &Transaction) -> [u64; 4] {
    [
        header(kind, transaction.stream) | substream_field(transaction.substream),
        0,
        0,
        0,
    ]
}

/// F_STREAM_DISABLED: the record has no SubstreamID.
pub(crate) const fn stream_disabled(transaction: &Transaction) -> [u64; 4] {
    [
        header(EventType::StreamDisabled, transaction.stream),
        0,
        0,
        0,
    ]
}

/// C_BAD_SUBSTREAMID: the record has a SubstreamID and no SSV beside it.
pub(crate) const fn bad_substream(transaction: &Transaction) -> [u64; 4] {
    let ssid = substream_value(transaction.substream);
    [
        header(EventType::BadSubstreamId, transaction.stream) | ssid,
        0,
        0,
        0,
    ]
}

/// F_STE_FETCH, F_CD_FETCH: the address at which the fetch aborted.
pub(crate) const fn fetch(kind: EventType, transaction: &Transaction, at: u64) -> [u64; 4] {
    let who = header(kind, transaction.stream) | substream_field(transaction.substream);
    [who, 0, 0, at & FETCH_ADDRESS]
}

/// F_WALK_EABT on a descriptor at `at` that `place` needed.
pub(crate) const fn walk_abort(transaction: &Transaction, place: Place, at: u64) -> [u64; 4] {
    let who =
        header(EventType::WalkEabt, transaction.stream) | substream_field(transaction.substream);
    let what = match place {
        Place::Stage1 => Class::Table.bits(),
        Place::Stage2 { class, .. } => S2 | class.bits(),
    };
    let how = attributes(transaction.access) | what;
    [who, how, transaction.address, at & FETCH_ADDRESS]
}

/// F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION. `stag` is present when the transaction
/// stalls.
pub(crate) const fn fault(fault: &Fault, transaction: &Transaction, stag: Option<u16>) -> [u64; 4] {
    let who =
        header(fault.kind.event(), transaction.stream) | substream_field(transaction.substream);
    let mut how = attributes(fault.access);
    if let Some(stag) = stag {
        how |= STALL | stag as u64;
    }
    let mut last = 0;
    match fault.place {
        Place::Stage1 => how |= Class::Input.bits(),
        Place::Stage2 { class, ipa, write } => {
            how |= S2 | class.bits();
            let names_table_access =
                matches!((fault.kind, class), (FaultType::Permission, Class::Table));
            if names_table_access && !write {
                how |= TTRNW;
            }
            last = ipa & IPA;
        }
    }
    [who, how, transaction.address, last]
}

/// The stage that a record of a walk's abort or of a fault names.
pub(crate) const fn stage(words: &[u64; 4]) -> u8 {
    if Record(*words).stage2() { 2 } else { 1 }
}

/// F_BAD_ATS_TREQ: what was asked for, and for how many pages.
pub(crate) const fn bad_translation_request(transaction: &Transaction, span: u64) -> [u64; 4] {
    let access = transaction.access;
    // R is always asked for; W unless the request says No Write.
    let mut asked = 1 << 31 | span & 0xf;
    if access.write {
        asked |= 1 << 30;
    }
    if access.instruction {
        asked |= 1 << 29;
    }
    if access.privileged {
        asked |= 1 << 28;
    }
    let who =
        header(EventType::BadAtsTreq, transaction.stream) | substream_field(transaction.substream);
    [who, asked, transaction.address & !0xfff, 0]
}

/// F_TRANSL_FORBIDDEN: the record has no SubstreamID.
pub(crate) const fn translated_forbidden(transaction: &Transaction) -> [u64; 4] {
    let how = if transaction.access.write { 0 } else { RNW };
    let who = header(EventType::TranslForbidden, transaction.stream);
    [who, how, transaction.address, 0]
}

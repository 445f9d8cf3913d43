//! The events of a trace. A field's unit is the end of its name; addresses are in hex in JSON.

use serde::{Serialize, Serializer};

fn hex<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

fn maybe_hex<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => hex(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn hex_words<S: Serializer, const N: usize>(
    words: &[u64; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(words.iter().map(|word| format!("{word:#018x}")))
}

/// The four faults of a translation, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// F_TRANSLATION.
    Translation,
    /// F_ADDR_SIZE.
    AddressSize,
    /// F_ACCESS.
    Access,
    /// F_PERMISSION.
    Permission,
    /// A configuration error or an aborted fetch.
    Other,
}

/// How an ATS translation request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AtsAnswer {
    /// A translation, perhaps one that permits nothing.
    Success,
    /// ATS is off for the stream.
    UnsupportedRequest,
    /// Configuration or memory is at fault.
    CompleterAbort,
}

/// Response Code of a page request group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PageResponseKind {
    /// Success.
    Success,
    /// Invalid Request.
    InvalidRequest,
    /// Response Failure.
    Failure,
}

/// How far the invalidation of a device's translation cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AtcInvalidateStage {
    /// CMD_ATC_INV was consumed.
    Sent,
    /// The device completed it.
    Done,
    /// The device completed it after it had been given up.
    Late,
    /// It was given up.
    TimedOut,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A device's transaction had to wait for software, and has its answer: one IO page fault as
    /// the device sees it.
    DeviceFault {
        /// StreamID.
        stream: u32,
        /// PASID, if the transaction had one.
        pasid: Option<u32>,
        /// The address at fault.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// Whether it was a write.
        write: bool,
        /// How often the transaction stalled before it was answered for good.
        stalls: u32,
        /// How many page request groups it took, for a device that sends them.
        #[serde(skip_serializing_if = "is_zero")]
        page_request_groups: u32,
        /// From the request for the translation to its answer.
        latency_ns: u64,
        /// Whether the answer was an abort.
        aborted: bool,
    },
    /// The SMMU could not translate.
    SmmuFault {
        /// StreamID.
        stream: u32,
        /// SubstreamID, if the transaction had one.
        substream: Option<u32>,
        /// Input address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// Whether it was a write.
        write: bool,
        /// What kind of fault.
        kind: FaultKind,
        /// Whether the transaction waits for software.
        stalls: bool,
    },
    /// A stalled transaction got its tag.
    Stalled {
        /// StreamID.
        stream: u32,
        /// SubstreamID, if the transaction had one.
        substream: Option<u32>,
        /// Input address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// The tag.
        stag: u16,
    },
    /// A record went into the event queue.
    EventRecord {
        /// The record.
        #[serde(serialize_with = "hex_words")]
        words: [u64; 4],
    },
    /// A record was lost.
    EventDropped {
        /// The record.
        #[serde(serialize_with = "hex_words")]
        words: [u64; 4],
    },
    /// A CMD_RESUME was consumed.
    Resume {
        /// StreamID.
        stream: u32,
        /// The tag.
        stag: u16,
        /// Retry; otherwise abort.
        retry: bool,
        /// Whether a stall of that tag was waiting.
        matched: bool,
    },
    /// An ATS translation request was answered.
    AtsTranslation {
        /// StreamID.
        stream: u32,
        /// SubstreamID, if the request had one.
        substream: Option<u32>,
        /// Untranslated address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// Whether write permission was asked for.
        write: bool,
        /// What came back.
        answer: AtsAnswer,
        /// With Success: reads are permitted.
        readable: bool,
        /// With Success: writes are permitted.
        writable: bool,
        /// With Success: size of the range, as a power of two of bytes.
        size_log2: u8,
    },
    /// A page request went into the PRI queue.
    PageRequest {
        /// The entry.
        #[serde(serialize_with = "hex_words")]
        words: [u64; 2],
    },
    /// A page request did not get into the PRI queue.
    PageRequestLost {
        /// StreamID.
        stream: u32,
        /// SubstreamID, if the request had one.
        substream: Option<u32>,
        /// Untranslated address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// Page Request Group Index.
        index: u16,
        /// Last of its group.
        last: bool,
        /// The queue overflowed; otherwise it is disabled or broken.
        overflow: bool,
    },
    /// A response to a page request group was sent.
    PageResponse {
        /// StreamID.
        stream: u32,
        /// SubstreamID, if the response has one.
        substream: Option<u32>,
        /// Page Request Group Index.
        index: u16,
        /// The answer.
        code: PageResponseKind,
        /// By the SMMU itself, not by software.
        automatic: bool,
    },
    /// An invalidation of a device's translation cache went a step further.
    AtcInvalidate {
        /// StreamID.
        stream: u32,
        /// SubstreamID, if the invalidation has one.
        substream: Option<u32>,
        /// First address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// Size of the range, as a power of two of bytes.
        size_log2: u8,
        /// Of every address space.
        global: bool,
        /// Which step.
        stage: AtcInvalidateStage,
    },
    /// A device's translation cache had nothing that permits an access.
    AtcMiss {
        /// StreamID.
        stream: u32,
        /// PASID, if the access has one.
        pasid: Option<u32>,
        /// Untranslated address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// Whether write permission is asked for.
        write: bool,
    },
    /// Another command was consumed.
    Command {
        /// The command.
        #[serde(serialize_with = "hex_words")]
        words: [u64; 2],
    },
    /// A walk of translation tables ended.
    Walk {
        /// StreamID.
        stream: u32,
        /// Input address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// Descriptors read.
        steps: u32,
        /// Whether it found a translation.
        found: bool,
    },
    /// Anything else that the SMMU tells.
    Smmu {
        /// What.
        what: String,
    },
    /// A submission doorbell of an accelerator.
    Doorbell {
        /// StreamID of the accelerator.
        stream: u32,
        /// Queue number.
        queue: u16,
        /// New tail: an index into the ring, or a count that goes on (the test engine).
        tail: u32,
    },
    /// An accelerator began a job.
    JobStarted {
        /// StreamID of the accelerator.
        stream: u32,
        /// Queue number.
        queue: u16,
        /// PASID of its data, if any.
        pasid: Option<u32>,
        /// Bytes of input.
        input_bytes: u32,
    },
    /// An accelerator finished a job.
    JobDone {
        /// StreamID of the accelerator.
        stream: u32,
        /// Queue number.
        queue: u16,
        /// Status field of the completion.
        status: u8,
        /// Input bytes used.
        consumed_bytes: u32,
        /// Output bytes made.
        produced_bytes: u32,
    },
    /// Anything else that an accelerator tells.
    Device {
        /// StreamID of the accelerator.
        stream: u32,
        /// What.
        what: String,
    },
    /// A message-signalled interrupt reached the ITS.
    Msi {
        /// DeviceID: the requester ID, as the StreamID is, of a function.
        device: u32,
        /// EventID.
        event_id: u32,
    },
    /// The guest reached a point: its init, the start and the end of the command.
    Marker {
        /// Which.
        name: String,
    },
    /// A fault plan is in force.
    Plan {
        /// How many rules it has.
        rules: usize,
        /// The seed of its draws.
        seed: u64,
    },
    /// A rule of a fault plan took something that came by.
    Injection {
        /// The rule's name.
        rule: String,
        /// The point.
        at: &'static str,
        /// What becomes of it.
        act: String,
        /// How much longer it takes.
        delay_ns: u64,
        /// The gate at which it waits.
        #[serde(skip_serializing_if = "Option::is_none")]
        gate: Option<String>,
        /// StreamID.
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<u32>,
        /// PASID.
        #[serde(skip_serializing_if = "Option::is_none")]
        pasid: Option<u32>,
        /// Input address.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_hex")]
        address: Option<u64>,
        /// The device's queue.
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<u16>,
        /// The event, command, line, mailbox command, vector or register.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<u32>,
    },
    /// The guest's first access to a register that the machine does not model: it reads as zero, or as all
    /// ones where nothing answers, and ignores writes.
    Unmodelled {
        /// Which block of registers.
        block: String,
        /// StreamID of the device whose it is, if it is one's on PCIe.
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<u32>,
        /// From the start of the block.
        #[serde(serialize_with = "hex")]
        offset: u64,
        /// Whether it was a write.
        write: bool,
        /// What was read or written, the first 8 bytes of it.
        #[serde(serialize_with = "hex")]
        value: u64,
    },
    /// What a rule or a person made happen elsewhere.
    Effect {
        /// The rule's name, or `control`.
        by: String,
        /// What.
        what: String,
        /// StreamID of the device of which it is, if one is named.
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<u32>,
    },
    /// A transaction faults again and again.
    FaultLoop {
        /// StreamID.
        stream: u32,
        /// PASID, if it had one.
        pasid: Option<u32>,
        /// Input address.
        #[serde(serialize_with = "hex")]
        address: u64,
        /// How often it has stalled.
        stalls: u32,
    },
    /// A checker found something.
    Report {
        /// Which checker.
        check: &'static str,
        /// What it found.
        what: String,
        /// StreamID.
        stream: u32,
        /// PASID.
        pasid: Option<u32>,
        /// Input address.
        #[serde(serialize_with = "maybe_hex")]
        address: Option<u64>,
        /// Physical address.
        #[serde(serialize_with = "maybe_hex")]
        output: Option<u64>,
    },
    /// The guest's kernel reports a fault of its own on the console.
    KernelReport {
        /// What, as `--fail-on` calls it.
        kind: &'static str,
        /// The report's first line, without its time.
        line: String,
    },
    /// Text on the console.
    Console {
        /// One line, without its end.
        line: String,
    },
}

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Virtual time.
    pub time_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

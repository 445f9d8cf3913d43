//! The events of a trace. `docs/trace.md` is the contract.
//!
//! Each name in a line stands here in quotes. A field's unit is the end of its name. What an event of
//! its kind always has, or explicitly has not, is there or null; what only some have is left out.

use schemars::JsonSchema;
use serde::Serialize;
use stallbox_faultplan::Point;
use stallbox_smmu::{EventType, PageResponseCode, Response};

use crate::name::{Hex, Name, Word, objects};
use crate::plan::{Act, Effect};
use crate::vocabulary::{
    AtcInvalidateStage, AtsAnswer, Block, Check, FindingKind, KernelReportKind, WhyNot,
};

fn is_zero(value: &u32) -> bool {
    *value == 0
}

objects! {
    /// Something that happened.
    pub enum Event by "event" {
        /// The first line of a trace.
        "trace" = Trace {
            /// The version of the events: the one that docs/trace.md describes.
            "version" = version: u32,
        }
        /// The guest's init runs, and is about to start the command.
        "ready" = Ready {}
        /// The guest's command ended.
        "exit" = Exit {
            /// Its exit status; null if what the guest told is none.
            "status" = status: Option<u8>,
        }
        /// The guest or a plan told a marker.
        "marker" = Marker {
            /// Its name, up to 64 characters.
            "name" = name: String,
        }
        /// Text on the guest's console.
        "console" = Console {
            /// One line, without its end, up to 1024 bytes.
            "line" = line: String,
        }
        /// The guest's kernel reports a fault of its own on the console.
        "kernel_report" = KernelReport {
            /// What, as --fail-on calls it.
            "kind" = kind: KernelReportKind,
            /// The report's first line, without its time.
            "line" = line: String,
        }
        /// The guest's first access to a register that the machine does not model.
        "unmodelled" = Unmodelled {
            /// The block of registers.
            "block" = block: Block,
            /// StreamID of the function whose register it is.
            #[serde(skip_serializing_if = "Option::is_none")]
            "stream" = stream: Option<u32>,
            /// From the start of the block.
            "offset" = offset: Hex,
            /// Whether it was a write.
            "write" = write: bool,
            /// What was read or written, the first 8 bytes of it.
            "value" = value: Hex,
        }
        /// An accelerator accepted a doorbell of submissions.
        "doorbell" = Doorbell {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
            /// New tail: an index into the ring of the ZIP; of the test engine, a count that goes on.
            "tail" = tail: u32,
        }
        /// A doorbell had no effect: unknown or stopped queue, or an index that the ring cannot have.
        "doorbell_ignored" = DoorbellIgnored {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// The queue field as written.
            "queue" = queue: u16,
            /// The index field as written.
            "tail" = tail: u32,
        }
        /// A job was fetched and understood, and its execution begins.
        "job_started" = JobStarted {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
            /// PASID of its data, if any.
            "pasid" = pasid: Option<u32>,
            /// The submitter's tag.
            "tag" = tag: Hex,
            /// Bytes of input.
            "input_bytes" = input_bytes: u32,
        }
        /// A job has its result; the completion is yet to be written.
        "job_done" = JobDone {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
            /// The submitter's tag, where a queue can have several jobs at a time.
            #[serde(skip_serializing_if = "Option::is_none")]
            "tag" = tag: Option<Hex>,
            /// Status field of the completion.
            "status" = status: u8,
            /// Bytes of input used.
            "consumed_bytes" = consumed_bytes: u32,
            /// Bytes of output made.
            "produced_bytes" = produced_bytes: u32,
        }
        /// A completion is visible to the guest.
        "job_completed" = JobCompleted {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
            /// Slot of its entry in the ring of submissions, if the device tells it.
            #[serde(skip_serializing_if = "Option::is_none")]
            "slot" = slot: Option<u16>,
            /// The submitter's tag, where a queue can have several jobs at a time.
            #[serde(skip_serializing_if = "Option::is_none")]
            "tag" = tag: Option<Hex>,
        }
        /// A job or an access to a ring ended unfinished: its queue was disabled, failed or was reset.
        "job_dropped" = JobDropped {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
        }
        /// A queue of an accelerator was enabled.
        "queue_enabled" = QueueEnabled {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
            /// PASID of its rings and data, if any.
            "pasid" = pasid: Option<u32>,
        }
        /// A queue of an accelerator was disabled.
        "queue_disabled" = QueueDisabled {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
        }
        /// A queue of an accelerator stopped by itself.
        "queue_failed" = QueueFailed {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Queue number.
            "queue" = queue: u16,
            /// The code that the device gives as the reason, if it gives one.
            #[serde(skip_serializing_if = "Option::is_none")]
            "failure" = failure: Option<u8>,
        }
        /// A mailbox command was finished.
        "mailbox" = Mailbox {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// The command's number.
            "command" = command: u8,
            /// The queue that it named.
            "queue" = queue: u16,
            /// 0, or the failure that the driver sees.
            "status" = status: u8,
        }
        /// A transaction of an accelerator was terminated.
        "dma_aborted" = DmaAborted {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// The queue on whose behalf it was made; null for the function's own.
            "queue" = queue: Option<u16>,
            /// PASID, if it had one.
            "pasid" = pasid: Option<u32>,
            /// First address that was not transferred.
            "address" = address: Hex,
            /// Whether it was a write.
            "write" = write: bool,
        }
        /// An accelerator raised an interrupt, which may yet be masked in configuration space.
        "interrupt" = Interrupt {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
            /// Its vector.
            "vector" = vector: u16,
        }
        /// An accelerator was reset.
        "device_reset" = DeviceReset {
            /// StreamID of the accelerator.
            "stream" = stream: u32,
        }
        /// A message-signalled interrupt reached the ITS.
        "msi" = Msi {
            /// DeviceID: the requester ID, as the StreamID is, of a function; 65535 is the SMMU.
            "device" = device: u32,
            /// EventID.
            "event_id" = event_id: u32,
        }
        /// An access of a device had to wait for software, and has its answer: one IO page fault as the device
        /// sees it.
        "device_fault" = DeviceFault {
            /// StreamID.
            "stream" = stream: u32,
            /// PASID, if the access had one.
            "pasid" = pasid: Option<u32>,
            /// The address at fault.
            "address" = address: Hex,
            /// Whether it was a write.
            "write" = write: bool,
            /// How often it stalled before it was answered for good.
            "stalls" = stalls: u32,
            /// How many page request groups it took, for a device that sends them.
            #[serde(skip_serializing_if = "is_zero")]
            "page_request_groups" = page_request_groups: u32,
            /// From the request for the translation to its answer.
            "latency_ns" = latency_ns: u64,
            /// Whether the answer was an abort.
            "aborted" = aborted: bool,
        }
        /// A walk of translation tables ended.
        "walk" = Walk {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the transaction had one.
            "substream" = substream: Option<u32>,
            /// Input address.
            "address" = address: Hex,
            /// Descriptors read.
            "steps" = steps: u32,
            /// Whether it found a translation that permits the access.
            "found" = found: bool,
        }
        /// The SMMU could not translate.
        "smmu_fault" = SmmuFault {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the transaction had one.
            "substream" = substream: Option<u32>,
            /// Input address.
            "address" = address: Hex,
            /// Whether it was a write.
            "write" = write: bool,
            /// The architecture's name of its event record; null if there is none.
            "record" = record: Option<Name<EventType>>,
            /// The stage at fault; 0 for configuration.
            "fault_stage" = fault_stage: u8,
            /// Whether the transaction waits for software.
            "stalled" = stalled: bool,
        }
        /// A stalled transaction has to wait with its report: the event queue takes no record now, or as many
        /// stalls as can be are unanswered.
        "stall_held" = StallHeld {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the transaction had one.
            "substream" = substream: Option<u32>,
            /// Input address.
            "address" = address: Hex,
            /// Whether it is a write.
            "write" = write: bool,
        }
        /// A stalled transaction got its tag, and its record follows.
        "stalled" = Stalled {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the transaction had one.
            "substream" = substream: Option<u32>,
            /// Input address.
            "address" = address: Hex,
            /// The tag by which software answers.
            "stag" = stag: u16,
        }
        /// A record was written to the event queue.
        "event_record" = EventRecord {
            /// The record.
            "words" = words: [Word; 4],
        }
        /// A record was lost: the event queue is disabled or full, or refused the write.
        "event_dropped" = EventDropped {
            /// The record.
            "words" = words: [Word; 4],
        }
        /// A CMD_RESUME was consumed.
        "resume" = Resume {
            /// StreamID that it names.
            "stream" = stream: u32,
            /// The tag that it names.
            "stag" = stag: u16,
            /// What it asks for.
            "response" = response: Name<Response>,
            /// Whether a stall of that tag was waiting.
            "matched" = matched: bool,
        }
        /// A stalled transaction is about to be translated again.
        "stall_retried" = StallRetried {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the transaction had one.
            "substream" = substream: Option<u32>,
            /// Input address.
            "address" = address: Hex,
            /// Whether it is a write.
            "write" = write: bool,
        }
        /// The SMMU terminated a transaction.
        "terminated" = Terminated {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the transaction had one.
            "substream" = substream: Option<u32>,
            /// Input address.
            "address" = address: Hex,
            /// Whether it was a write.
            "write" = write: bool,
        }
        /// A command is about to be executed.
        "command" = Command {
            /// The command.
            "words" = words: [Word; 2],
        }
        /// The command queue stopped at a command.
        "command_error" = CommandError {
            /// CMDQ_CONS.ERR.
            "error" = error: u8,
        }
        /// Translations were invalidated in the SMMU.
        "tlb_invalidated" = TlbInvalidated {
            /// How many the TLB held.
            "entries" = entries: u64,
        }
        /// Configuration was invalidated in the SMMU.
        "config_invalidated" = ConfigInvalidated {
            /// How many structures were cached.
            "entries" = entries: u64,
        }
        /// Errors became active in SMMU_GERROR.
        "global_error" = GlobalError {
            /// Their bits.
            "bits" = bits: Hex,
        }
        /// A device's translation cache had nothing that permits an access.
        "atc_miss" = AtcMiss {
            /// StreamID.
            "stream" = stream: u32,
            /// PASID, if the access has one.
            "pasid" = pasid: Option<u32>,
            /// Untranslated address.
            "address" = address: Hex,
            /// Whether write permission is asked for.
            "write" = write: bool,
        }
        /// An ATS translation request was answered.
        "ats_translation" = AtsTranslation {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the request had one.
            "substream" = substream: Option<u32>,
            /// Untranslated address.
            "address" = address: Hex,
            /// Whether write permission was asked for.
            "write" = write: bool,
            /// What came back.
            "answer" = answer: AtsAnswer,
            /// Whether reads are permitted; false without success.
            "readable" = readable: bool,
            /// Whether writes are permitted; false without success.
            "writable" = writable: bool,
            /// Size of the range, as a power of two of bytes; 0 without success.
            "size_log2" = size_log2: u8,
        }
        /// A page request went into the PRI queue.
        "page_request" = PageRequest {
            /// The entry.
            "words" = words: [Word; 2],
        }
        /// A page request did not get into the PRI queue.
        "page_request_lost" = PageRequestLost {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the request had one.
            "substream" = substream: Option<u32>,
            /// Untranslated address.
            "address" = address: Hex,
            /// Page Request Group Index.
            "index" = index: u16,
            /// Whether it is the last of its group.
            "last" = last: bool,
            /// Whether the queue overflowed; otherwise it is disabled or broken.
            "overflow" = overflow: bool,
        }
        /// A response to a page request group was sent.
        "page_response" = PageResponse {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the response has one.
            "substream" = substream: Option<u32>,
            /// Page Request Group Index.
            "index" = index: u16,
            /// What became of the group.
            "code" = code: Name<PageResponseCode>,
            /// Whether the SMMU sent it by itself.
            "automatic" = automatic: bool,
        }
        /// A response to a page request group fits none that the device waits for, and is ignored.
        "page_response_unexpected" = PageResponseUnexpected {
            /// StreamID.
            "stream" = stream: u32,
            /// Page Request Group Index.
            "index" = index: u16,
        }
        /// An invalidation of a device's translation cache went a step further, as the SMMU sees it.
        "atc_invalidate" = AtcInvalidate {
            /// StreamID.
            "stream" = stream: u32,
            /// SubstreamID, if the invalidation has one.
            "substream" = substream: Option<u32>,
            /// First address.
            "address" = address: Hex,
            /// Size of the range, as a power of two of bytes.
            "size_log2" = size_log2: u8,
            /// Whether it is of every address space.
            "global" = global: bool,
            /// Which step.
            "stage" = stage: AtcInvalidateStage,
        }
        /// A device obeyed an invalidation; its completion is sent once no transaction uses what it named.
        "atc_invalidated" = AtcInvalidated {
            /// StreamID.
            "stream" = stream: u32,
            /// PASID, if the invalidation has one.
            "pasid" = pasid: Option<u32>,
            /// First address.
            "address" = address: Hex,
            /// Size of the range, as a power of two of bytes.
            "size_log2" = size_log2: u8,
            /// Whether it is of every address space.
            "global" = global: bool,
            /// How many translations the cache had.
            "entries" = entries: u64,
            /// How many transactions under way are waited for.
            "in_use" = in_use: u64,
        }
        /// A device's completion of an invalidation is lost: a plan wanted it so.
        "atc_completion_lost" = AtcCompletionLost {
            /// StreamID.
            "stream" = stream: u32,
            /// PASID, if the invalidation has one.
            "pasid" = pasid: Option<u32>,
            /// First address.
            "address" = address: Hex,
            /// Size of the range, as a power of two of bytes.
            "size_log2" = size_log2: u8,
            /// Whether it is of every address space.
            "global" = global: bool,
        }
        /// A fault plan is in force.
        "plan" = Plan {
            /// How many rules it has.
            "rules" = rules: u64,
            /// The seed of its draws.
            "seed" = seed: u64,
        }
        /// A rule of a fault plan took something that came by.
        "injection" = Injection {
            /// The rule's name.
            "rule" = rule: String,
            /// The point.
            "at" = at: Name<Point>,
            /// What becomes of it.
            #[serde(flatten)]
            act: Act,
            /// How much longer it takes.
            "delay_ns" = delay_ns: u64,
            /// The gate at which it waits.
            #[serde(skip_serializing_if = "Option::is_none")]
            "gate" = gate: Option<String>,
            /// StreamID.
            #[serde(skip_serializing_if = "Option::is_none")]
            "stream" = stream: Option<u32>,
            /// PASID.
            #[serde(skip_serializing_if = "Option::is_none")]
            "pasid" = pasid: Option<u32>,
            /// First input address.
            #[serde(skip_serializing_if = "Option::is_none")]
            "address" = address: Option<Hex>,
            /// The device's queue.
            #[serde(skip_serializing_if = "Option::is_none")]
            "queue" = queue: Option<u16>,
            /// The number of the event, command, line, mailbox command or vector, or the register's offset.
            #[serde(skip_serializing_if = "Option::is_none")]
            "code" = code: Option<u32>,
        }
        /// A rule or a person makes something happen.
        "effect" = Effect {
            /// The rule's name, or control.
            "by" = by: String,
            /// StreamID of the device, if it is of one.
            #[serde(skip_serializing_if = "Option::is_none")]
            "stream" = stream: Option<u32>,
            /// What.
            #[serde(flatten)]
            effect: Effect,
        }
        /// What a rule or a person wanted to happen did not, or not all of it.
        "effect_failed" = EffectFailed {
            /// The rule's name, or control.
            "by" = by: String,
            /// StreamID of the device, if one is named.
            #[serde(skip_serializing_if = "Option::is_none")]
            "stream" = stream: Option<u32>,
            /// What.
            #[serde(flatten)]
            effect: Effect,
            /// Why.
            "reason" = reason: WhyNot,
            /// For how many there was room, if it is that.
            #[serde(skip_serializing_if = "Option::is_none")]
            "taken" = taken: Option<u32>,
        }
        /// What was to happen some time after a rule is left out: too much waits for its time.
        "effect_left_out" = EffectLeftOut {
            /// The rule's name.
            "by" = by: String,
        }
        /// A transaction faults again and again.
        "fault_loop" = FaultLoop {
            /// StreamID.
            "stream" = stream: u32,
            /// PASID, if it had one.
            "pasid" = pasid: Option<u32>,
            /// Input address.
            "address" = address: Hex,
            /// How often it has stalled.
            "stalls" = stalls: u32,
        }
        /// A checker found something.
        "report" = Report {
            /// Which checker.
            "check" = check: Check,
            /// What it found.
            "finding" = finding: FindingKind,
            /// StreamID.
            "stream" = stream: u32,
            /// PASID, if there is one.
            "pasid" = pasid: Option<u32>,
            /// Input address, if it is about one.
            "address" = address: Option<Hex>,
            /// Physical address, if it is about one.
            "output" = output: Option<Hex>,
        }
    }
}

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Record {
    /// Virtual time.
    #[serde(rename = "time_ns")]
    pub time_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

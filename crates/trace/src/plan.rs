//! What rules of a fault plan decide and bring about, as events tell it. Names are those of a plan.

use stallbox_faultplan as plan;
use stallbox_faultplan::{DeviceError, FaultKind};
use stallbox_smmu::{PageResponseCode, Response};

use crate::name::{Hex, Name, Word, objects};
use crate::vocabulary::{EventRing, OtherTag};

objects! {
    /// What becomes of something.
    pub enum Act by "act" {
        /// It goes its way.
        "go" = Go {}
        /// It faults although mapped.
        "fault" = Fault {
            /// How.
            "fault" = fault: Name<FaultKind>,
        }
        /// It is aborted.
        "abort" = Abort {}
        /// The TLB forgets it first.
        "evict" = Evict {}
        /// It is lost.
        "drop" = Drop {}
        /// It happens several times.
        "duplicate" = Duplicate {
            /// How often beside the first.
            "times" = times: u32,
        }
        /// Others go first.
        "overtaken_by" = OvertakenBy {
            /// How many.
            "others" = others: u32,
        }
        /// Its queue is full.
        "overflow" = Overflow {}
        /// Other words stand in its place.
        "replace" = Replace {
            /// They: 4 of a record, 2 of a command.
            "words" = words: Vec<Word>,
        }
        /// A CMD_RESUME with another tag or response.
        "resume" = Resume {
            /// The tag, if it is a number.
            #[serde(skip_serializing_if = "Option::is_none")]
            "stag" = stag: Option<u16>,
            /// The tag, if it is another's.
            #[serde(skip_serializing_if = "Option::is_none")]
            "stag_of" = stag_of: Option<OtherTag>,
            /// The response.
            #[serde(skip_serializing_if = "Option::is_none")]
            "response" = response: Option<Name<Response>>,
        }
        /// The command queue stops.
        "error" = Error {
            /// CMDQ_CONS.ERR.
            "error" = error: u8,
        }
        /// It fails.
        "fail" = Fail {
            /// The status that the driver sees.
            "status" = status: u8,
        }
        /// A page request is answered, and software does not hear of it.
        "answer" = Answer {
            /// How.
            "answer" = answer: Name<PageResponseCode>,
        }
    }
}

impl From<&plan::Act> for Act {
    fn from(act: &plan::Act) -> Act {
        match *act {
            plan::Act::Go => Act::Go {},
            plan::Act::Fault(fault) => Act::Fault { fault: Name(fault) },
            plan::Act::Abort => Act::Abort {},
            plan::Act::Evict => Act::Evict {},
            plan::Act::Drop => Act::Drop {},
            plan::Act::Duplicate(times) => Act::Duplicate { times },
            plan::Act::OvertakenBy(others) => Act::OvertakenBy { others },
            plan::Act::Overflow => Act::Overflow {},
            plan::Act::Replace(ref words) => Act::Replace {
                words: words.iter().copied().map(Word).collect(),
            },
            plan::Act::Resume { stag, retry } => {
                let (stag, stag_of) = match stag {
                    None => (None, None),
                    Some(plan::Stag::Fixed(tag)) => (Some(tag), None),
                    Some(plan::Stag::Next) => (None, Some(OtherTag::Next)),
                    Some(plan::Stag::Stale) => (None, Some(OtherTag::Stale)),
                };
                let response = retry.map(|retry| {
                    Name(match retry {
                        true => Response::Retry,
                        false => Response::Abort,
                    })
                });
                Act::Resume {
                    stag,
                    stag_of,
                    response,
                }
            }
            plan::Act::Error(error) => Act::Error { error },
            plan::Act::Fail(status) => Act::Fail { status },
            plan::Act::Answer(answer) => Act::Answer {
                answer: Name(answer),
            },
        }
    }
}

objects! {
    /// What happens elsewhere. Whose device it is says the event's StreamID.
    pub enum Effect by "effect" {
        /// The SMMU writes an event record.
        "write_records" = WriteRecord {
            /// The record.
            "words" = words: [Word; 4],
        }
        /// The SMMU executes a command that nobody queued.
        "run_commands" = RunCommand {
            /// The command.
            "words" = words: [Word; 2],
        }
        /// The SMMU's TLB forgets.
        "evict_tlb" = EvictTlb {
            /// The address; everything, if there is none.
            #[serde(skip_serializing_if = "Option::is_none")]
            "address" = address: Option<Hex>,
        }
        /// The ZIP writes entries to a ring of events.
        "device_events" = DeviceEvents {
            /// Which.
            "ring" = ring: EventRing,
            /// The queue that they name.
            "queue" = queue: u16,
            /// Their type, for a failure.
            "type" = kind: u8,
            /// How many.
            "count" = count: u32,
        }
        /// A device touches memory.
        "touch" = Touch {
            /// PASID.
            "pasid" = pasid: Option<u32>,
            /// The first address.
            "address" = address: Hex,
            /// How far the next is.
            "stride" = stride: u64,
            /// How many.
            "count" = count: u32,
            /// Whether they are writes.
            "write" = write: bool,
        }
        /// A device sends an interrupt.
        "raise_msi" = RaiseMsi {
            /// Its vector.
            "vector" = vector: u16,
        }
        /// A device reports an error: the ZIP bits of its status registers, the test engine a failure of
        /// a queue.
        "device_error" = DeviceError {
            /// Bits of the queue manager's.
            #[serde(skip_serializing_if = "Option::is_none")]
            "qm" = qm: Option<Hex>,
            /// Bits of the engine's.
            #[serde(skip_serializing_if = "Option::is_none")]
            "zip" = zip: Option<Hex>,
            /// The queue.
            #[serde(skip_serializing_if = "Option::is_none")]
            "queue" = queue: Option<u16>,
            /// The number in its STATUS.
            #[serde(skip_serializing_if = "Option::is_none")]
            "failure" = failure: Option<u8>,
        }
        /// A device is reset.
        "device_reset" = DeviceReset {}
        /// A gate is opened.
        "open" = Open {
            /// Its name.
            "gate" = gate: String,
        }
        /// A gate is closed.
        "close" = Close {
            /// Its name.
            "gate" = gate: String,
        }
        /// Rules are switched on.
        "enable" = Enable {
            /// Their name.
            "rule" = rule: String,
        }
        /// Rules are switched off.
        "disable" = Disable {
            /// Their name.
            "rule" = rule: String,
        }
        /// A marker is told.
        "marker" = Marker {
            /// Its name.
            "name" = name: String,
        }
        /// The run stops until it is told to go on.
        "pause" = Pause {}
    }
}

impl From<&plan::Effect> for Effect {
    fn from(effect: &plan::Effect) -> Effect {
        match *effect {
            plan::Effect::WriteRecord(words) => Effect::WriteRecord {
                words: words.map(Word),
            },
            plan::Effect::RunCommand(words) => Effect::RunCommand {
                words: words.map(Word),
            },
            plan::Effect::EvictTlb(address) => Effect::EvictTlb {
                address: address.map(Hex),
            },
            plan::Effect::DeviceEvent(event) => Effect::DeviceEvents {
                ring: match event.failure {
                    true => EventRing::Aeq,
                    false => EventRing::Eq,
                },
                queue: event.queue,
                kind: event.kind,
                count: event.count,
            },
            plan::Effect::Touch(touch) => Effect::Touch {
                pasid: touch.pasid.flatten(),
                address: Hex(touch.address.unwrap_or_default()),
                stride: touch.stride,
                count: touch.count,
                write: touch.write,
            },
            plan::Effect::RaiseMsi { vector, .. } => Effect::RaiseMsi { vector },
            plan::Effect::DeviceError { error, .. } => match error {
                DeviceError::Status { qm, zip } => Effect::DeviceError {
                    qm: Some(Hex(qm.into())),
                    zip: Some(Hex(zip.into())),
                    queue: None,
                    failure: None,
                },
                DeviceError::Queue { queue, failure } => Effect::DeviceError {
                    qm: None,
                    zip: None,
                    queue: Some(queue.unwrap_or_default()),
                    failure: Some(failure),
                },
            },
            plan::Effect::DeviceReset { .. } => Effect::DeviceReset {},
            plan::Effect::Open(ref gate) => Effect::Open { gate: gate.clone() },
            plan::Effect::Close(ref gate) => Effect::Close { gate: gate.clone() },
            plan::Effect::Enable(ref rule) => Effect::Enable { rule: rule.clone() },
            plan::Effect::Disable(ref rule) => Effect::Disable { rule: rule.clone() },
            plan::Effect::Marker(ref name) => Effect::Marker { name: name.clone() },
            plan::Effect::Pause => Effect::Pause {},
        }
    }
}

//! What is in a bundle.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Chain;

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The version of Stallbox, and so of its models, that recorded it.
    pub version: String,
    /// The command line behind `stallbox`.
    pub arguments: Vec<String>,
    /// The kernel.
    pub kernel: Content,
    /// All initial RAM disks and the archives of added folders, one behind the other; none if there
    /// is none.
    pub initramfs: Option<Content>,
    /// The fault plan's text.
    pub plan: Option<String>,
    /// The latency model, as the machine writes it.
    pub latency: Value,
    /// What came from outside, in order.
    pub turns: Vec<Turn>,
    /// Hashes along the trace.
    pub chain: Chain,
    /// How it ended.
    pub end: End,
}

/// A file that the guest was booted from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Where it was.
    pub paths: Vec<String>,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// The bytes, if the bundle has them. They stand behind the rest.
    #[serde(skip)]
    pub embedded: Option<Vec<u8>>,
}

/// A place in a run of the soft engine, at which nothing is half done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Slices and jumps of time that have begun.
    pub step: u64,
    /// Instructions that all vCPUs have retired.
    pub retired: u64,
}

/// What came from outside at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Where.
    pub place: Place,
    /// The machine's time there, in nanoseconds.
    pub time_ns: u64,
    /// The devices' time, in picoseconds: later than the place alone says if a guest that waits was paused.
    pub devices_ps: u64,
    /// What, in order.
    pub inputs: Vec<Input>,
}

/// Something from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Bytes for the console.
    Keys(Vec<u8>),
    /// A request of the control socket that changes the machine, a line of JSON.
    Request(String),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Its name in the summary.
    pub outcome: String,
    /// Stallbox's exit status.
    pub status: u8,
    /// SHA-256 of the trace, in hexadecimal.
    pub trace_hash: String,
    /// Events in the trace.
    pub events: u64,
    /// The machine's time, in nanoseconds.
    pub time_ns: u64,
    /// Where it stood, if nothing was half done: the host ended it there.
    pub place: Option<Place>,
}

//! What happened in a run, as typed events, and what is made of them.
//!
//! A [`Tracer`] is handed to whatever has something to tell. Each [`Event`] gets the present
//! virtual time and goes to the running hash, to the counts and, if asked for, to a JSON Lines
//! file. Two runs are the same run when their hashes are.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod event;
mod latency;
mod tracer;

pub use event::{AtcInvalidateStage, AtsAnswer, Event, FaultKind, PageResponseKind, Record};
pub use latency::{Latencies, Quantiles};
pub use tracer::{Emitted, Observer, Summary, TraceError, Tracer};

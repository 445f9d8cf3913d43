//! What happened in a run, as typed events, and what is made of them.
//!
//! A [`Tracer`] is handed to whatever has something to tell. Each [`Event`] gets the present
//! virtual time and goes to the running hash, to the counts and, if asked for, to a JSON Lines
//! file. Two runs are the same run when their hashes are.
//!
//! The lines are a contract with a [version](VERSION), described in `docs/trace.md` and by a [schema](schema()).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod event;
mod latency;
mod name;
mod plan;
mod schema;
mod tracer;
mod vocabulary;

pub use event::{Event, Record};
pub use latency::{Latencies, Quantiles};
pub use name::{Hex, Name, Named, Word};
pub use plan::{Act, Effect};
pub use schema::schema;
pub use tracer::{Emitted, Observer, Summary, TraceError, Tracer};
pub use vocabulary::{
    AtcInvalidateStage, AtsAnswer, Block, Check, EventRing, FindingKind, KernelReportKind,
    OtherTag, WhyNot,
};

/// The version of the events. It rises when a program that reads the trace would have to change: a field, an
/// event or a value goes, or gets another name, type, unit or meaning. It does not for what is new.
pub const VERSION: u32 = 1;

//! What a guest left.

use crate::faults::Faults;

/// What a guest left.
#[derive(Debug)]
pub struct Ran {
    /// Lines of JSON, in order.
    pub results: Vec<String>,
    /// IO page faults.
    pub faults: Faults,
    /// The trace's hash, unless the host ended the guest: where is not repeated.
    pub trace_hash: Option<String>,
    /// How it ended.
    pub end: End,
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with the command's exit status.
    Status(u8),
    /// By itself, without one: what to tell.
    Died(String),
    /// The time limit was reached.
    GivenUp,
    /// The whole measurement was to end, before this guest or during it.
    Interrupted,
}

impl Ran {
    /// A guest that was not started, because the measurement is to end.
    pub fn not_started() -> Ran {
        Ran {
            results: Vec::new(),
            faults: Faults::default(),
            trace_hash: None,
            end: End::Interrupted,
        }
    }
}

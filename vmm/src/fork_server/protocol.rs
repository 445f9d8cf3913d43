//! What a fork server and whoever started it tell each other, over two pipes.
//!
//! A frame is the length of a text and of what follows it, 4 bytes each (little endian), the text, a JSON
//! object, and what follows it: a bundle.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// As long as a frame's parts may be: results and last lines of a run, and its bundle.
const BYTES_MAX: usize = 256 << 20;

/// To the fork server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Forks a child.
    Run(Birth),
    /// Does such requests as a child does, itself.
    Do {
        /// Lines of JSON.
        requests: Vec<String>,
    },
    /// Goes on to this point of the guest's time, and stands still there. No child may be under way.
    Advance {
        /// Nanoseconds.
        to_ns: u64,
    },
}

/// A child that is to be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Birth {
    /// What to call it.
    pub id: u64,
    /// Requests of the control socket that it does first, lines of JSON.
    pub requests: Vec<String>,
    /// Ends it at this point of the guest's time, and has it tell the trace up to there.
    pub until_ns: Option<u64>,
}

/// From the fork server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The machine has come to where children begin, or to where it was told to advance.
    Ready {
        /// Its time.
        time_ns: u64,
        /// SHA-256 of what it was made of, by name.
        inputs: BTreeMap<String, String>,
    },
    /// Its run ended before that.
    Missed(Box<Report>),
    /// There is no machine, for this reason.
    Failed(String),
    /// A child is gone.
    Done {
        /// Which.
        id: u64,
        /// What it leaves.
        done: Done,
    },
}

/// What a child leaves.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// How its process ended, if it was not by itself with a report.
    pub died: Option<Died>,
    /// How its run ended.
    pub report: Option<Box<Report>>,
    /// What it said on standard error, from its beginning.
    pub remarks: String,
    /// Its bundle, if one was wanted. It follows the text of the frame.
    #[serde(skip)]
    pub bundle: Vec<u8>,
}

/// How a process ended that leaves no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Died {
    /// By a signal of this number.
    Signal(i32),
    /// By itself, with this status.
    Status(i32),
    /// It did not keep its time limit, and was killed.
    Late,
}

/// A report of a checker or of the guest's kernel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// The checker's name, or the kind.
    pub kind: String,
    /// When.
    pub time_ns: u64,
    /// A checker's, in a few words.
    pub title: String,
    /// What it said.
    pub lines: Vec<String>,
}

/// What the guest wrote to its console.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Transcript {
    /// The text, or its last part.
    pub text: String,
    /// There was more before that.
    pub is_cut: bool,
}

/// How a run ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The outcome's name in a summary.
    pub outcome: String,
    /// Stallbox's exit status.
    pub status: u8,
    /// Whether a command was asked for.
    pub command: bool,
    /// Why the status is not 0.
    pub message: Option<String>,
    /// What the kernel reported, of the kinds of which the run fails.
    pub kernel_reports: Vec<Found>,
    /// What checkers reported.
    pub check_reports: Vec<Found>,
    /// What was under way in a run that did not come to an end of its own.
    pub under_way: Vec<String>,
    /// The machine's time.
    pub time_ns: u64,
    /// Events in the trace.
    pub events: u64,
    /// Its hash.
    pub trace_hash: String,
    /// What the guest's programs measured.
    pub results: Vec<String>,
    /// The console's last lines.
    pub console: Vec<String>,
    /// All of the console, if that was asked for.
    pub transcript: Transcript,
    /// The run in numbers, as in a summary.
    pub counts: serde_json::Value,
    /// How often each rule of the plan has matched, in order.
    pub matched: Vec<(String, u64)>,
    /// The trace's lines from where it began, if it was asked for.
    pub trace: Vec<String>,
    /// The trace's line of the first thing that the rule took of which to tell.
    pub injection: Option<String>,
}

/// Writes a frame.
pub(super) fn send<T: Serialize>(mut out: impl Write, text: &T, rest: &[u8]) -> io::Result<()> {
    let text = serde_json::to_vec(text)?;
    let mut frame = Vec::with_capacity(8 + text.len() + rest.len());
    for part in [text.as_slice(), rest] {
        let length = u32::try_from(part.len()).ok();
        let length = length.filter(|_| part.len() <= BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
        frame.extend(length.to_le_bytes());
    }
    frame.extend(&text);
    frame.extend(rest);
    out.write_all(&frame)?;
    out.flush()
}

/// Reads a frame; none at the end of file.
pub(super) fn receive<T: DeserializeOwned>(
    mut from: impl Read,
) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0; 8];
    match from.read_exact(&mut lengths) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = |at: usize| {
        let bytes = lengths[at..at + 4].try_into().expect("four bytes");
        let length = u32::from_le_bytes(bytes) as usize;
        let fits = (length <= BYTES_MAX).then_some(length);
        fits.ok_or_else(|| io::Error::other("a message is too long"))
    };
    let mut text = vec![0; length(0)?];
    let mut rest = vec![0; length(4)?];
    from.read_exact(&mut text)?;
    from.read_exact(&mut rest)?;
    Ok(Some((serde_json::from_slice(&text)?, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_as_they_went() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Order::Advance { to_ns: 7 }, b"rest").unwrap();
        send(&mut pipe, &Order::Advance { to_ns: 8 }, b"").unwrap();
        let mut pipe = pipe.as_slice();
        for (expected, follows) in [(7, b"rest".as_slice()), (8, b"")] {
            let (order, rest) = receive(&mut pipe).unwrap().unwrap();
            assert!(matches!(order, Order::Advance { to_ns } if to_ns == expected));
            assert_eq!(rest, follows);
        }
        assert!(receive::<Order>(&mut pipe).unwrap().is_none());
    }

    #[test]
    fn nobody_is_asked_for_memory_without_end() {
        let frame = [0xff; 8];
        let error = receive::<Order>(frame.as_slice()).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }
}

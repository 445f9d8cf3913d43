//! Where runs begin.

use std::fmt;
use std::str::FromStr;

/// Where runs begin. `start`, `ready` and `marker:NAME` to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginAt {
    /// Before the first instruction.
    Start,
    /// Where the guest tells this marker; `ready` is init's.
    Marker(String),
}

/// No place where runs could begin.
#[derive(Debug, thiserror::Error)]
#[error("write start, ready or marker:NAME")]
pub struct BeginAtError;

impl BeginAt {
    /// Where init is about to start the command.
    pub fn ready() -> BeginAt {
        BeginAt::Marker(READY.to_owned())
    }
}

const READY: &str = "ready";

impl FromStr for BeginAt {
    type Err = BeginAtError;

    fn from_str(text: &str) -> Result<BeginAt, BeginAtError> {
        match text.split_once(':') {
            None if text == "start" => Ok(BeginAt::Start),
            None if text == READY => Ok(BeginAt::ready()),
            Some(("marker", name)) if !name.is_empty() => Ok(BeginAt::Marker(name.to_owned())),
            _ => Err(BeginAtError),
        }
    }
}

impl fmt::Display for BeginAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BeginAt::Start => f.write_str("start"),
            BeginAt::Marker(name) if name == READY => f.write_str(name),
            BeginAt::Marker(name) => write!(f, "marker:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_read() {
        for text in ["start", "ready", "marker:here", "marker:a:b"] {
            assert_eq!(text.parse::<BeginAt>().unwrap().to_string(), text);
        }
        for text in ["", "there", "marker:", "Start", "ready:x"] {
            assert!(text.parse::<BeginAt>().is_err(), "{text}");
        }
    }
}

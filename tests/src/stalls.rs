//! Accounts of stalls, from a trace: each must be answered, and answered once.

use std::collections::BTreeSet;

use crate::trace::Record;

/// CMD_STALL_TERM (IHI 0070, *Commands*): opcode in bits 7:0, StreamID in 63:32 of word 0.
const STALL_TERM: u64 = 0x45;

/// What a trace says about its stalls.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// Stalls that were given a tag.
    pub reported: u64,
    /// Those ended by a RESUME or a STALL_TERM.
    pub answered: u64,
    /// Stalls behind the answers that devices got.
    pub told_to_devices: u64,
    /// StreamID and tag of those that still wait at the end.
    pub pending: BTreeSet<(u64, u64)>,
    /// RESUMEs for which nothing waited, though they were consumed as if.
    pub mismatched: u64,
}

impl Stalls {
    /// Reads a trace.
    pub fn of(trace: &[Record]) -> Stalls {
        let mut stalls = Stalls::default();
        for record in trace {
            let field = |name| {
                record
                    .number(name)
                    .unwrap_or_else(|| panic!("{} without {name}", record.event))
            };
            match record.event.as_str() {
                "stalled" => {
                    let fresh = stalls.pending.insert((field("stream"), field("stag")));
                    assert!(fresh, "a tag was given twice: {record:?}");
                    stalls.reported += 1;
                }
                "resume" if record.is("matched") => {
                    let waited = stalls.pending.remove(&(field("stream"), field("stag")));
                    stalls.answered += u64::from(waited);
                    stalls.mismatched += u64::from(!waited);
                }
                "command" => stalls.command(&record.words()),
                "device_fault" => stalls.told_to_devices += field("stalls"),
                _ => {}
            }
        }
        stalls
    }

    fn command(&mut self, words: &[u64]) {
        if words[0] & 0xff == STALL_TERM {
            let before = self.pending.len();
            self.pending.retain(|(stream, _)| *stream != words[0] >> 32);
            self.answered += (before - self.pending.len()) as u64;
        }
    }

    /// Panics unless every stall was answered, and every answer reached a device.
    #[track_caller]
    pub fn assert_all_answered(&self) {
        assert!(
            self.pending.is_empty(),
            "stalls pending at the end: {self:?}"
        );
        assert_eq!(self.mismatched, 0, "answers without a stall: {self:?}");
        assert_eq!(self.reported, self.answered, "{self:?}");
        assert_eq!(self.reported, self.told_to_devices, "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Stalls {
        let trace: Vec<Record> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        Stalls::of(&trace)
    }

    const STALLED: &str = r#"{"time_ns":1,"event":"stalled","stream":8,"stag":3}"#;
    const RESUMED: &str =
        r#"{"time_ns":2,"event":"resume","stream":8,"stag":3,"response":"retry","matched":true}"#;
    const TOLD: &str = r#"{"time_ns":3,"event":"device_fault","stalls":1}"#;

    #[test]
    fn a_stall_that_is_resumed_is_answered() {
        read(&[STALLED, RESUMED, TOLD]).assert_all_answered();
    }

    #[test]
    fn a_stall_that_is_terminated_is_answered() {
        let term = r#"{"time_ns":2,"event":"command","words":["0x0000000800000045","0x0"]}"#;
        read(&[STALLED, term, TOLD]).assert_all_answered();
        let other = r#"{"time_ns":2,"event":"command","words":["0x0000000900000045","0x0"]}"#;
        assert_eq!(read(&[STALLED, other]).pending, [(8, 3)].into());
    }

    #[test]
    fn a_stall_without_an_answer_is_pending() {
        assert_eq!(read(&[STALLED]).pending, [(8, 3)].into());
    }

    #[test]
    #[should_panic(expected = "answers without a stall")]
    fn an_answer_to_nothing_is_found() {
        read(&[RESUMED]).assert_all_answered();
    }

    #[test]
    #[should_panic(expected = "told_to_devices: 0")]
    fn an_answer_that_reached_no_device_is_found() {
        read(&[STALLED, RESUMED]).assert_all_answered();
    }
}

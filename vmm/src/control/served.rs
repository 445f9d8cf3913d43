//! One client of the control socket: what it has asked and not been answered, and what it has not taken.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::{Value, json};

/// A longer line is refused.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes that one turn reads of a client. Of one that has as much to be answered, nothing is read.
const PORTION_BYTES: usize = 64 << 10;
/// No request is done for a client that has so much to take: it is answered as fast as it reads.
const UNTAKEN_BYTES_MAX: usize = 1 << 20;
/// Bytes that one turn writes to a client.
const SENT_BYTES_MAX: usize = 1 << 20;
/// A longer answer is refused.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A client.
pub(super) struct Served {
    stream: UnixStream,
    /// What it has sent, from `input_at` on.
    input: Vec<u8>,
    input_at: usize,
    /// A request that is to be done later, before those in `input`.
    postponed: Option<String>,
    /// There is no end of line before.
    searched: usize,
    /// What it has not taken, from `output_at` on.
    output: Vec<u8>,
    output_at: usize,
    /// The last turn may have left bytes to be read.
    more_input: bool,
    /// The last turn left bytes that can be written.
    more_output: bool,
    /// It sends nothing more.
    ended: bool,
    /// It is not to be spoken to any more.
    gone: bool,
    idle_since: Instant,
}

impl Served {
    pub(super) fn new(stream: UnixStream) -> Served {
        Served {
            stream,
            input: Vec::new(),
            input_at: 0,
            postponed: None,
            searched: 0,
            output: Vec::new(),
            output_at: 0,
            more_input: false,
            more_output: false,
            ended: false,
            gone: false,
            idle_since: Instant::now(),
        }
    }

    /// When it last sent or took something.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Whether nothing is left to do for it.
    pub(super) fn is_gone(&self) -> bool {
        self.gone || self.ended && self.untaken() == 0 && !self.has_line()
    }

    /// Whether there is something to do for it that no socket will tell of.
    pub(super) fn has_more(&self) -> bool {
        self.more_output || self.may_be_answered() && (self.more_input || self.has_line())
    }

    fn untaken(&self) -> usize {
        self.output.len() - self.output_at
    }

    fn may_be_answered(&self) -> bool {
        !self.gone && self.untaken() <= UNTAKEN_BYTES_MAX
    }

    /// Reads a portion.
    pub(super) fn receive(&mut self) {
        self.more_input = false;
        let mut piece = [0; 4096];
        let mut left = PORTION_BYTES;
        while !self.ended && !self.gone {
            let unanswered = self.input.len() - self.input_at;
            if unanswered >= PORTION_BYTES && self.has_line() {
                self.more_input = true;
                return;
            }
            if unanswered > LINE_BYTES_MAX {
                return self.refuse_line();
            }
            if left == 0 {
                self.more_input = true;
                return;
            }
            match self.stream.read(&mut piece) {
                Ok(0) => self.end(),
                Ok(length) => {
                    self.input.extend_from_slice(&piece[..length]);
                    self.idle_since = Instant::now();
                    left = left.saturating_sub(length);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
    }

    /// The last line may lack its end.
    fn end(&mut self) {
        self.ended = true;
        if self.input.len() > self.input_at {
            self.input.push(b'\n');
        }
    }

    fn refuse_line(&mut self) {
        self.input.clear();
        (self.input_at, self.searched) = (0, 0);
        self.ended = true;
        let why = format!("a request has at most {} MiB", LINE_BYTES_MAX >> 20);
        self.answer(&json!({ "ok": false, "error": why }));
    }

    fn has_line(&self) -> bool {
        self.postponed.is_some() || self.input[self.searched..].contains(&b'\n')
    }

    /// The next request, if it may be answered now; empty if there is nothing in the line.
    pub(super) fn next_line(&mut self) -> Option<String> {
        if !self.may_be_answered() {
            return None;
        }
        if self.postponed.is_some() {
            return self.postponed.take();
        }
        let unsearched = &self.input[self.searched..];
        let Some(length) = unsearched.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.input.len();
            self.compact();
            return None;
        };
        let end = self.searched + length;
        let line = String::from_utf8_lossy(&self.input[self.input_at..end]);
        let line = line.trim().to_owned();
        (self.input_at, self.searched) = (end + 1, end + 1);
        if self.input_at > PORTION_BYTES {
            self.compact();
        }
        Some(line)
    }

    /// Has a request that [`Served::next_line`] gave come next again.
    pub(super) fn postpone(&mut self, line: String) {
        self.postponed = Some(line);
    }

    /// Forgets what was answered.
    fn compact(&mut self) {
        self.input.drain(..self.input_at);
        self.searched -= self.input_at;
        self.input_at = 0;
    }

    /// Puts an answer where the client can take it.
    pub(super) fn answer(&mut self, answer: &Value) {
        let mut text = answer.to_string();
        if text.len() > ANSWER_BYTES_MAX {
            let why = format!(
                "the answer has {} MiB, more than {}; ask for less, such as one entry",
                text.len() >> 20,
                ANSWER_BYTES_MAX >> 20
            );
            text = json!({ "ok": false, "time_ns": answer["time_ns"], "error": why }).to_string();
        }
        self.output.extend_from_slice(text.as_bytes());
        self.output.push(b'\n');
    }

    /// Writes a portion.
    pub(super) fn send(&mut self) {
        self.more_output = false;
        let mut left = SENT_BYTES_MAX;
        while !self.gone && self.untaken() > 0 {
            if left == 0 {
                self.more_output = true;
                break;
            }
            let portion = &self.output[self.output_at..];
            match self.stream.write(&portion[..portion.len().min(left)]) {
                Ok(length) if length > 0 => {
                    self.output_at += length;
                    self.idle_since = Instant::now();
                    left -= length;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.gone = true,
            }
        }
        if self.untaken() == 0 {
            self.output = Vec::new();
            self.output_at = 0;
        }
    }

    /// Tells it that it has to go, unless it has answers to take: half of one would be in the way.
    pub(super) fn dismiss(mut self, clients: usize) {
        if self.untaken() == 0 {
            let why = format!(
                "this connection was the idlest of {clients}, as many as are served, and another came"
            );
            self.answer(&json!({ "ok": false, "error": why }));
            self.send();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, Served) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours, Served::new(theirs))
    }

    #[test]
    fn requests_are_lines_and_the_last_may_lack_its_end() {
        let (mut ours, mut client) = pair();
        ours.write_all(b" one \n\ntw").unwrap();
        client.receive();
        assert_eq!(client.next_line().as_deref(), Some("one"));
        assert_eq!(client.next_line().as_deref(), Some(""));
        assert_eq!(client.next_line(), None);
        ours.write_all(b"o").unwrap();
        drop(ours);
        client.receive();
        assert!(!client.is_gone() && client.has_more());
        assert_eq!(client.next_line().as_deref(), Some("two"));
        assert!(client.is_gone());
    }

    #[test]
    fn who_takes_nothing_is_not_read_and_keeps_little() {
        let (mut ours, mut client) = pair();
        ours.set_nonblocking(true).unwrap();
        let answer = json!("x".repeat(1 << 16));
        let (mut asked, mut answered) = (0, 0);
        for _ in 0..200 {
            asked += ours.write(&[b'\n'; 4096]).unwrap_or(0);
            client.receive();
            while client.next_line().is_some() {
                client.answer(&answer);
                answered += 1;
            }
            client.send();
        }
        assert!(answered < 64, "{answered} answers wait");
        assert!(client.untaken() <= UNTAKEN_BYTES_MAX + (1 << 17));
        assert!(asked < 1 << 20, "{asked} requests were taken");
        assert!(!client.has_more(), "nothing to do until it reads");
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let (mut ours, mut client) = pair();
        ours.set_nonblocking(true).unwrap();
        while !client.ended {
            let _ = ours.write(&[b'x'; 1 << 16]);
            client.receive();
        }
        client.send();
        assert!(client.is_gone());
        let mut text = vec![0; 4096];
        let length = ours.read(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]);
        assert!(text.contains("at most 1 MiB"), "{text}");
    }

    #[test]
    fn an_answer_without_measure_is_refused() {
        let (_ours, mut client) = pair();
        client.answer(&json!("x".repeat(ANSWER_BYTES_MAX)));
        assert!(client.untaken() < 1000);
    }
}

//! The user's terminal: keys go to the guest's console, except those after Ctrl-A.
//!
//! Ctrl-C is 0x03 for the guest, whose own terminal makes a signal of it for whoever has it as the controlling
//! terminal. /dev/console can be nobody's (Linux, `drivers/tty/tty_io.c`, tty_open).
//!
//! Neither end is made non-blocking. O_NONBLOCK belongs to the open file and not to the descriptor
//! (open(2)), so standard output, standard error and the shell would share it with standard input.

use std::io::{IsTerminal, Stdin};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::terminal::Terminal as _;

/// Ctrl-A, as in QEMU and screen.
const ESCAPE: u8 = 1;
/// Ctrl-C, which is the guest's.
const INTERRUPT: u8 = 3;
/// So many in a row do not do what they were typed for.
const INTERRUPTS_STUCK: u32 = 3;
/// Ctrl-D: what a terminal makes of the end of its input.
const END_OF_TRANSMISSION: u8 = 4;
/// How long a guest has to see that its input has ended until it is told again, and how often at most.
///
/// A pipe that has ended says so at each read; Ctrl-D ends one read only, and none at all if a shell
/// was about to take the terminal out of canonical mode.
const END_INTERVAL: Duration = Duration::from_secs(1);
const ENDS_MAX: u32 = 10;

/// What the user did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Typed for the guest.
    Bytes(Vec<u8>),
    /// Ctrl-A X.
    Quit,
    /// Ctrl-A H.
    Help,
    /// Ctrl-C, again and again: it does not do what it is typed for. The bytes come besides.
    Stuck,
}

/// What is told then.
pub(super) const STUCK: &str =
    "stallbox: Ctrl-C goes to the guest; Ctrl-A X leaves, Ctrl-A H tells more";

/// What Ctrl-A H shows.
pub(super) const KEYS: &str = "\
stallbox: after Ctrl-A:
  X            leaves: the run ends
  H            shows this
  A or Ctrl-A  is a Ctrl-A for the guest
All other keys are the guest's, Ctrl-C, Ctrl-Z and Ctrl-D too. Ctrl-C ends nothing in a shell without a
controlling terminal, such as one that an initrd of your own starts on /dev/console: start it with
`setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'`, or busybox's `setsid cttyhack sh`.";

/// The host's standard input, if it belongs to the guest.
pub(super) struct Terminal {
    stdin: Option<Stdin>,
    /// It is a terminal, and in raw mode; otherwise a pipe or a file.
    raw: bool,
    typed: Typed,
    ended: Option<Ended>,
}

/// What was typed last.
#[derive(Default)]
struct Typed {
    escaped: bool,
    interrupts: u32,
}

/// Input that is not a terminal's has ended.
struct Ended {
    /// When to tell the guest again.
    again: Instant,
    left: u32,
}

impl Terminal {
    /// Takes the terminal, if there is one. Input that is not a terminal's goes to the guest only
    /// if it is `interactive`: a guest that runs a command must not depend on it.
    pub(super) fn open(interactive: bool) -> Result<Terminal> {
        let stdin = std::io::stdin();
        let raw = stdin.is_terminal();
        if !raw && !interactive {
            return Ok(Terminal {
                stdin: None,
                raw,
                typed: Typed::default(),
                ended: None,
            });
        }
        if raw {
            stdin
                .lock()
                .set_raw_mode()
                .context("cannot set the terminal to raw mode")?;
        }
        Ok(Terminal {
            stdin: Some(stdin),
            raw,
            typed: Typed::default(),
            ended: None,
        })
    }

    /// Whether a person is at the other end.
    pub(super) fn is_interactive(&self) -> bool {
        self.raw && self.stdin.is_some()
    }

    /// What becomes readable when something has been typed; `None` once the input has ended.
    pub(super) fn input(&self) -> Option<RawFd> {
        let stdin = self.stdin.as_ref()?;
        self.ended.is_none().then(|| stdin.as_raw_fd())
    }

    /// What has been typed since the last call.
    pub(super) fn poll(&mut self) -> Vec<Key> {
        if self.end_is_due().is_some_and(|due| due <= Instant::now()) {
            return Vec::from_iter(self.end_again());
        }
        let Some(stdin) = self.stdin.as_ref().filter(|_| self.ended.is_none()) else {
            return Vec::new();
        };
        if !is_ready(stdin) {
            return Vec::new();
        }
        let mut buffer = [0; 256];
        let length = match stdin.lock().read_raw(&mut buffer) {
            // A pipe has ended: the guest's shell is told, so that the run ends too.
            Ok(0) if !self.raw => {
                self.ended = Some(Ended {
                    again: Instant::now(),
                    left: ENDS_MAX,
                });
                return Vec::from_iter(self.end_again());
            }
            Ok(0) | Err(_) => return Vec::new(),
            Ok(length) => length,
        };
        let typed = &buffer[..length];
        if self.raw {
            self.typed.keys(typed)
        } else {
            vec![Key::Bytes(typed.to_owned())]
        }
    }

    /// When the guest is to be told again that its input has ended.
    pub(super) fn end_is_due(&self) -> Option<Instant> {
        let ended = self.ended.as_ref().filter(|ended| ended.left > 0)?;
        Some(ended.again)
    }

    /// Tells the guest again that its input has ended, if it has.
    pub(super) fn end_again(&mut self) -> Option<Key> {
        let ended = self.ended.as_mut().filter(|ended| ended.left > 0)?;
        ended.left -= 1;
        ended.again = Instant::now() + END_INTERVAL;
        Some(Key::Bytes(vec![END_OF_TRANSMISSION]))
    }

    /// Gives the terminal back for a while.
    pub(super) fn pause(&mut self) {
        if let Some(stdin) = self.stdin.as_ref().filter(|_| self.raw) {
            // Nothing can be done for a terminal that will not be set back.
            let _ = stdin.lock().set_canon_mode();
        }
    }

    /// Takes the terminal again after [`Terminal::pause`].
    pub(super) fn resume(&mut self) {
        if let Some(stdin) = self.stdin.as_ref().filter(|_| self.raw) {
            let _ = stdin.lock().set_raw_mode();
        }
    }

    /// Gives the terminal back.
    pub(super) fn close(&mut self) {
        self.pause();
        self.stdin = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Typed {
    /// Takes what is for us out of what is typed.
    fn keys(&mut self, typed: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut bytes = Vec::new();
        for &byte in typed {
            match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => self.escaped = true,
                (false, byte) => bytes.push(byte),
                (true, ESCAPE | b'a' | b'A') => bytes.push(ESCAPE),
                (true, b'x' | b'X') => keys.push(Key::Quit),
                // H, and what is no key: whoever types it wants to know.
                (true, _) => keys.push(Key::Help),
            }
            self.interrupts = if byte == INTERRUPT {
                self.interrupts + 1
            } else {
                0
            };
            if self.interrupts == INTERRUPTS_STUCK {
                self.interrupts = 0;
                keys.push(Key::Stuck);
            }
        }
        if !bytes.is_empty() {
            keys.push(Key::Bytes(bytes));
        }
        keys
    }
}

/// Whether reading would not wait, or fail at once.
fn is_ready(stdin: &Stdin) -> bool {
    let mut ends = [PollFd::new(stdin, PollFlags::IN)];
    poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_is_for_us_and_twice_for_the_guest() {
        let mut last = Typed::default();
        let mut typed = |bytes: &[u8]| last.keys(bytes);
        assert_eq!(typed(b"ls\x03\n"), [Key::Bytes(b"ls\x03\n".to_vec())]);
        assert_eq!(typed(b"\x01\x01"), [Key::Bytes(vec![1])]);
        assert_eq!(typed(b"\x01ab"), [Key::Bytes(b"\x01b".to_vec())]);
        assert_eq!(typed(b"\x01"), []);
        assert_eq!(typed(b"x"), [Key::Quit]);
        let help = [Key::Help, Key::Bytes(b"is".to_vec())];
        assert_eq!(typed(b"i\x01hs"), help);
        assert_eq!(typed(b"\x01?"), [Key::Help]);
        assert_eq!(typed(b"h"), [Key::Bytes(b"h".to_vec())]);
        assert_eq!(typed(b"\x03\x03"), [Key::Bytes(vec![3, 3])]);
        assert_eq!(typed(b"\x03"), [Key::Stuck, Key::Bytes(vec![3])]);
    }
}

//! The user's terminal: keys go to the guest's console, Ctrl-A X leaves.
//!
//! Neither end is made non-blocking. O_NONBLOCK belongs to the open file and not to the descriptor
//! (open(2)), so standard output, standard error and the shell would share it with standard input.

use std::io::{ErrorKind, IsTerminal, Stdin, Stdout, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::terminal::Terminal as _;

/// Ctrl-A, as in QEMU and screen.
const ESCAPE: u8 = 1;
/// Ctrl-D: what a terminal makes of the end of its input.
const END_OF_TRANSMISSION: u8 = 4;
/// How long a guest has to see that its input has ended until it is told again, and how often at most.
///
/// A pipe that has ended says so at each read; Ctrl-D ends one read only, and none at all if a shell
/// was about to take the terminal out of canonical mode.
const END_INTERVAL: Duration = Duration::from_secs(1);
const ENDS_MAX: u32 = 10;

/// What the user did.
pub enum Key {
    /// Typed for the guest.
    Bytes(Vec<u8>),
    /// Ctrl-A X.
    Quit,
}

/// The host's standard input, if it belongs to the guest.
pub struct Terminal {
    stdin: Option<Stdin>,
    /// It is a terminal, and in raw mode; otherwise a pipe or a file.
    raw: bool,
    escaped: bool,
    ended: Option<Ended>,
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
    pub fn open(interactive: bool) -> Result<Terminal> {
        let stdin = std::io::stdin();
        let raw = stdin.is_terminal();
        if !raw && !interactive {
            return Ok(Terminal {
                stdin: None,
                raw,
                escaped: false,
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
            escaped: false,
            ended: None,
        })
    }

    /// Whether a person is at the other end.
    pub fn is_interactive(&self) -> bool {
        self.raw && self.stdin.is_some()
    }

    /// What becomes readable when something has been typed; `None` once the input has ended.
    pub fn input(&self) -> Option<RawFd> {
        let stdin = self.stdin.as_ref()?;
        self.ended.is_none().then(|| stdin.as_raw_fd())
    }

    /// What has been typed since the last call.
    pub fn poll(&mut self) -> Option<Key> {
        if self.end_is_due().is_some_and(|due| due <= Instant::now()) {
            return self.end_again();
        }
        let stdin = self.stdin.as_ref().filter(|_| self.ended.is_none())?;
        if !is_ready(stdin, PollFlags::IN, Some(&Timespec::default())) {
            return None;
        }
        let mut buffer = [0; 256];
        let length = match stdin.lock().read_raw(&mut buffer) {
            // A pipe has ended: the guest's shell is told, so that the run ends too.
            Ok(0) if !self.raw => {
                self.ended = Some(Ended {
                    again: Instant::now(),
                    left: ENDS_MAX,
                });
                return self.end_again();
            }
            Ok(0) | Err(_) => return None,
            Ok(length) => length,
        };
        let mut bytes = Vec::new();
        for &byte in &buffer[..length] {
            match (self.escaped, byte) {
                (false, ESCAPE) if self.raw => self.escaped = true,
                (true, b'x' | b'X') => return Some(Key::Quit),
                // Ctrl-A twice is one for the guest.
                _ => {
                    self.escaped = false;
                    bytes.push(byte);
                }
            }
        }
        (!bytes.is_empty()).then_some(Key::Bytes(bytes))
    }

    /// When the guest is to be told again that its input has ended.
    pub fn end_is_due(&self) -> Option<Instant> {
        let ended = self.ended.as_ref().filter(|ended| ended.left > 0)?;
        Some(ended.again)
    }

    /// Tells the guest again that its input has ended, if it has.
    pub fn end_again(&mut self) -> Option<Key> {
        let ended = self.ended.as_mut().filter(|ended| ended.left > 0)?;
        ended.left -= 1;
        ended.again = Instant::now() + END_INTERVAL;
        Some(Key::Bytes(vec![END_OF_TRANSMISSION]))
    }

    /// Gives the terminal back for a while.
    pub fn pause(&mut self) {
        if let Some(stdin) = self.stdin.as_ref().filter(|_| self.raw) {
            // Nothing can be done for a terminal that will not be set back.
            let _ = stdin.lock().set_canon_mode();
        }
    }

    /// Takes the terminal again after [`Terminal::pause`].
    pub fn resume(&mut self) {
        if let Some(stdin) = self.stdin.as_ref().filter(|_| self.raw) {
            let _ = stdin.lock().set_raw_mode();
        }
    }

    /// Gives the terminal back.
    pub fn close(&mut self) {
        self.pause();
        self.stdin = None;
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Standard output, which somebody else may have made non-blocking: a console that is full makes the
/// guest wait and loses nothing.
pub struct Screen(pub Stdout);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.patiently(|stdout| stdout.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.patiently(Stdout::flush)
    }
}

impl Screen {
    /// Does it as soon as it can be done.
    fn patiently<T>(
        &mut self,
        mut act: impl FnMut(&mut Stdout) -> std::io::Result<T>,
    ) -> std::io::Result<T> {
        loop {
            match act(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    is_ready(&self.0, PollFlags::OUT, None);
                }
                result => return result,
            }
        }
    }
}

/// Whether reading or writing would not wait, or fail at once; asked for `patience`, or until it is so.
fn is_ready(end: impl AsFd, direction: PollFlags, patience: Option<&Timespec>) -> bool {
    let mut ends = [PollFd::new(&end, direction)];
    poll(&mut ends, patience).is_ok_and(|ready| ready > 0)
}

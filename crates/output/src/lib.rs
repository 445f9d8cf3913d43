//! Standard output and standard error of a command, without `println!` and `eprintln!`, which panic
//! where nothing can be written.
//!
//! Standard output is what the user asked for: that it cannot be written is an [`OutputError`], which
//! ends the command. A reader that has seen enough (`| head -1`) is no complaint; the command ends with
//! [`CLOSED`] and says nothing. Standard error is for remarks: [`tell!`] does what it can.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, LineWriter, Stdout, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Exit status when whoever reads the output has gone: what a shell tells of a program that SIGPIPE
/// ended, 128 and the signal's number.
pub const CLOSED: u8 = 128 + 13;

/// What the user asked for cannot be written.
#[derive(Debug)]
pub struct OutputError {
    what: String,
    source: io::Error,
}

impl OutputError {
    /// `what` names the file or stream, as in "cannot write WHAT".
    pub fn new(what: impl Into<String>, source: io::Error) -> OutputError {
        OutputError {
            what: what.into(),
            source,
        }
    }

    /// Whether whoever reads it has gone.
    pub fn is_closed(&self) -> bool {
        self.source.kind() == ErrorKind::BrokenPipe
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write {}", self.what)
    }
}

impl Error for OutputError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Whether an error is, or comes from, an output whose reader has gone.
pub fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error
            .downcast_ref::<OutputError>()
            .is_some_and(OutputError::is_closed)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Prints on standard output, to the end.
pub fn print(text: impl fmt::Display) -> Result<(), OutputError> {
    let mut screen = Screen::new(|| false);
    screen
        .write_all(text.to_string().as_bytes())
        .and_then(|()| screen.flush())
        .map_err(stdout_error)
}

/// What went wrong with standard output.
pub fn stdout_error(error: io::Error) -> OutputError {
    OutputError::new("to standard output", error)
}

/// A line on standard error, as `eprintln!` takes it. Where it cannot be written nobody can be told.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::remark(::std::format_args!("{}\n", ::std::format_args!($($text)*)))
    };
}

/// Text on standard error, as it is. Where it cannot be written nobody can be told.
pub fn remark(text: impl fmt::Display) {
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}

/// Standard output as the guest's console. One that is full, because nobody reads it or somebody has
/// stopped the terminal, makes the guest wait and loses nothing, until the run is to end.
pub struct Screen(LineWriter<Patient>);

/// Standard output, written as it takes something.
struct Patient {
    stdout: Stdout,
    /// As much as is written at once.
    piece_bytes: usize,
    /// Whether there is no more waiting.
    gives_up: Box<dyn Fn() -> bool>,
}

/// How often a writer that waits asks whether it is to give up.
const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// A pipe that takes anything takes so much at once (PIPE_BUF).
const PIECE_BYTES: usize = 4096;
/// A terminal may take less, and would hold up who writes more.
const TERMINAL_PIECE_BYTES: usize = 256;

impl Screen {
    /// Standard output of this process. Once `gives_up` says so, what would have to wait is lost.
    pub fn new(gives_up: impl Fn() -> bool + 'static) -> Screen {
        let stdout = io::stdout();
        Screen(LineWriter::new(Patient {
            piece_bytes: if stdout.is_terminal() {
                TERMINAL_PIECE_BYTES
            } else {
                PIECE_BYTES
            },
            stdout,
            gives_up: Box::new(gives_up),
        }))
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(self.piece_bytes)];
        loop {
            // A signal ends it early, and the loop comes back to it.
            let ready = poll(
                &mut [PollFd::new(&self.stdout, PollFlags::OUT)],
                Some(&WAIT),
            );
            if ready.is_ok_and(|ready| ready > 0) {
                match rustix::io::write(&self.stdout, piece) {
                    // Somebody else may have made it non-blocking.
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    written => return Ok(written?),
                }
            }
            if (self.gives_up)() {
                return Ok(bytes.len());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_what_cannot_be_written() {
        let full = OutputError::new("t.jsonl (--trace)", ErrorKind::StorageFull.into());
        assert_eq!(full.to_string(), "cannot write t.jsonl (--trace)");
        assert!(full.source().is_some());
        assert!(!is_closed(&full));
    }

    #[test]
    fn a_reader_that_has_gone_is_found_among_the_causes() {
        #[derive(Debug)]
        struct Outer(OutputError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outer")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let closed = stdout_error(ErrorKind::BrokenPipe.into());
        assert!(is_closed(&Outer(closed)));
        // A socket's is no output.
        assert!(!is_closed(&io::Error::from(ErrorKind::BrokenPipe)));
    }
}

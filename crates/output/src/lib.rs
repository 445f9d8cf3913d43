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
use std::io::{self, ErrorKind, Stdout, Write};

use rustix::event::{PollFd, PollFlags, poll};

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
    let mut screen = Screen::new();
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

/// Standard output, which somebody else may have made non-blocking: a console that is full makes the
/// guest wait and loses nothing.
pub struct Screen(Stdout);

impl Screen {
    /// Standard output of this process.
    pub fn new() -> Screen {
        Screen(io::stdout())
    }

    /// Does it as soon as it can be done.
    fn patiently<T>(&mut self, mut act: impl FnMut(&mut Stdout) -> io::Result<T>) -> io::Result<T> {
        loop {
            match act(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // A signal ends it early, and the loop comes back to it.
                    let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None);
                }
                result => return result,
            }
        }
    }
}

impl Default for Screen {
    fn default() -> Screen {
        Screen::new()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|stdout| stdout.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.patiently(Stdout::flush)
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

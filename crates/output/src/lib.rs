//! Standard output and standard error of a command, without `println!` and `eprintln!`, which panic
//! where nothing can be written.
//!
//! Standard output is what the user asked for: that it cannot be written is an [`OutputError`], which
//! ends the command. A reader that has seen enough (`| head -1`) is no complaint; the command ends with
//! [`CLOSED`] and says nothing. Standard error is for remarks: [`tell!`] does what it can.
//!
//! Who must not wait for a reader (a full pipe, a stopped terminal) writes to an [`Outlet`].

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod outlet;

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use outlet::{GRACE, LIMIT_BYTES, Outlet, drain, wait};

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

    /// Whether whoever reads it has not done so in time ([`Outlet::finish`]).
    pub fn is_unread(&self) -> bool {
        self.source.kind() == ErrorKind::TimedOut
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
    print_until(text, || false)
}

/// The same, for as long as whoever reads it takes; once `is_over`, for [`GRACE`] at most.
pub fn print_until(
    text: impl fmt::Display,
    is_over: impl FnMut() -> bool,
) -> Result<(), OutputError> {
    let mut stdout = stdout();
    stdout
        .write_all(text.to_string().as_bytes())
        .map_err(stdout_error)?;
    drain(slice::from_ref(&stdout), is_over);
    stdout.finish().map_err(stdout_error)
}

/// Standard output of this process.
pub fn stdout() -> Outlet {
    static STDOUT: OnceLock<Outlet> = OnceLock::new();
    STDOUT.get_or_init(Outlet::stdout).clone()
}

/// Standard error of this process.
fn stderr() -> Outlet {
    let mut stderr = STDERR.lock().unwrap_or_else(PoisonError::into_inner);
    stderr.get_or_insert_with(Outlet::stderr).clone()
}

static STDERR: Mutex<Option<Outlet>> = Mutex::new(None);

/// Standard error is another file from now on, in a process that was forked. What was written to the old one,
/// and not taken yet, is its parent's to write.
pub fn stderr_was_replaced() {
    *STDERR.lock().unwrap_or_else(PoisonError::into_inner) = None;
    DEFERRED.store(false, Ordering::Relaxed);
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

/// Remarks do not wait until standard error takes them.
static DEFERRED: AtomicBool = AtomicBool::new(false);

/// From here on remarks do not wait until standard error takes them: that is up to who has its
/// outlet, and to [`finish`] at the end of the process. It comes after standard output, if both are the
/// same.
pub fn defer_remarks() -> Outlet {
    let stderr = stderr();
    stderr.come_after(&stdout());
    DEFERRED.store(true, Ordering::Relaxed);
    stderr
}

/// Text on standard error, as it is. Where it cannot be written nobody can be told.
pub fn remark(text: impl fmt::Display) {
    let mut stderr = stderr();
    let is_deferred = DEFERRED.load(Ordering::Relaxed);
    if is_deferred && stderr.is_full() {
        return;
    }
    let _ = stderr.write_all(text.to_string().as_bytes());
    let _ = stderr.flush();
    if !is_deferred {
        drain(&[stderr], || false);
    }
}

/// Gives remarks that wait the rest of their time, at the end of the process.
pub fn finish() {
    drain(&[stderr()], || true);
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

//! Output that may not be taken at once, and a writer that never waits for it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Stderr, Stdout, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, open};
use rustix::io::Errno;

/// As much may wait to be taken until whoever makes it is to be held.
pub const LIMIT_BYTES: usize = 64 << 10;
/// How long the rest may take once nobody wants to wait for it any more.
pub const GRACE: Duration = Duration::from_secs(1);

/// As much is gathered before it is written.
const CHUNK_BYTES: usize = 8 << 10;
/// A pipe that takes anything takes so much at once (PIPE_BUF).
const PIECE_BYTES: usize = 4096;
/// A terminal may take less, and would hold up who writes more.
const TERMINAL_PIECE_BYTES: usize = 256;
/// How often [`drain`] asks whether it is to go on.
const INTERVAL: Duration = Duration::from_millis(10);
/// A terminal may say that it takes something, and yet not take the next byte.
const BREATH: Duration = Duration::from_millis(1);

/// A file, pipe or terminal to write to. Writing never waits: what is not taken is kept, and written by
/// [`Outlet::pump`] once it is. It takes what comes over [`LIMIT_BYTES`], too; whoever makes it is
/// to stop then. Clones are the same outlet.
#[derive(Clone)]
pub struct Outlet(Arc<Mutex<State>>);

struct State {
    target: Target,
    /// As much as is written at once after asking whether it would wait; `None` where a write never
    /// waits.
    piece_bytes: Option<usize>,
    waiting: VecDeque<u8>,
    /// Why nothing can be written any more.
    failure: Option<Errno>,
    /// Goes to the same place, and comes first.
    before: Option<Outlet>,
    /// Told when there is something to see to: too much waits, or nothing can be written.
    alarm: Option<Box<dyn Fn() + Send>>,
}

enum Target {
    File(File),
    Stdout(Stdout),
    Stderr(Stderr),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Target::File(file) => file.as_fd(),
            Target::Stdout(stdout) => stdout.as_fd(),
            Target::Stderr(stderr) => stderr.as_fd(),
        }
    }
}

impl Outlet {
    /// A file that the caller has opened, and that nobody shares: it is made non-blocking.
    pub fn to(file: File) -> io::Result<Outlet> {
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
        Ok(Outlet::new(Target::File(file), None))
    }

    pub(crate) fn stdout() -> Outlet {
        Outlet::shared(Target::Stdout(io::stdout()))
    }

    pub(crate) fn stderr() -> Outlet {
        Outlet::shared(Target::Stderr(io::stderr()))
    }

    /// What others have, too. O_NONBLOCK belongs to the open file and not to the descriptor (open(2)),
    /// so a pipe or a terminal is opened once more where that can be done.
    fn shared(target: Target) -> Outlet {
        let is_terminal = target.as_fd().is_terminal();
        let kind = fstat(&target).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind == Ok(FileType::RegularFile) {
            return Outlet::new(target, None);
        }
        if is_terminal || kind == Ok(FileType::Fifo) {
            let path = format!("/proc/self/fd/{}", target.as_fd().as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(own) = open(path, flags, Mode::empty()) {
                return Outlet::new(Target::File(own.into()), None);
            }
        }
        let piece_bytes = if is_terminal {
            TERMINAL_PIECE_BYTES
        } else {
            PIECE_BYTES
        };
        Outlet::new(target, Some(piece_bytes))
    }

    fn new(target: Target, piece_bytes: Option<usize>) -> Outlet {
        Outlet(Arc::new(Mutex::new(State {
            target,
            piece_bytes,
            waiting: VecDeque::new(),
            failure: None,
            before: None,
            alarm: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `alarm` when more than [`LIMIT_BYTES`] wait, and when nothing can be written any more.
    pub fn set_alarm(&self, alarm: impl Fn() + Send + 'static) {
        self.state().alarm = Some(Box::new(alarm));
    }

    /// What `first` has comes before what this one has, if both go to the same file, pipe or
    /// terminal.
    pub fn come_after(&self, first: &Outlet) {
        let place = |outlet: &Outlet| {
            let stat = fstat(&outlet.state().target).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        let is_same = place(first).is_some_and(|first| Some(first) == place(self));
        self.state().before = is_same.then(|| first.clone());
    }

    /// Writes what is taken now.
    pub fn pump(&self) {
        self.state().pump();
    }

    /// Whether something waits to be taken.
    pub fn is_waiting(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// Whether more than [`LIMIT_BYTES`] wait.
    pub fn is_full(&self) -> bool {
        self.state().waiting.len() > LIMIT_BYTES
    }

    /// Whether nothing can be written any more.
    pub fn has_failed(&self) -> bool {
        self.state().failure.is_some()
    }

    /// Whether all has been written: an error says why not, or how much waits in vain.
    pub fn finish(&self) -> io::Result<()> {
        let state = self.state();
        state.check()?;
        match state.waiting.len() {
            0 => Ok(()),
            bytes => Err(io::Error::new(
                ErrorKind::TimedOut,
                format!("nobody has read the last {bytes} bytes"),
            )),
        }
    }
}

impl State {
    fn check(&self) -> io::Result<()> {
        self.failure.map_or(Ok(()), |errno| Err(errno.into()))
    }

    fn sound_alarm(&self) {
        if let Some(alarm) = &self.alarm {
            alarm();
        }
    }

    fn pump(&mut self) {
        if let Some(before) = &self.before {
            before.pump();
            if before.is_waiting() {
                return;
            }
        }
        while !self.waiting.is_empty() && self.failure.is_none() {
            match self.write_piece() {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    self.failure = Some(errno);
                    self.waiting.clear();
                    self.sound_alarm();
                }
            }
        }
    }

    fn write_piece(&self) -> Result<usize, Errno> {
        let bytes = self.waiting.as_slices().0;
        let Some(piece_bytes) = self.piece_bytes else {
            return rustix::io::write(&self.target, bytes);
        };
        let mut ends = [PollFd::new(&self.target, PollFlags::OUT)];
        match poll(&mut ends, Some(&Timespec::default()))? {
            0 => Err(Errno::AGAIN),
            _ => rustix::io::write(&self.target, &bytes[..bytes.len().min(piece_bytes)]),
        }
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        state.check()?;
        state.waiting.extend(bytes);
        if state.waiting.len() >= CHUNK_BYTES {
            state.pump();
        }
        if state.waiting.len() > LIMIT_BYTES {
            state.sound_alarm();
        }
        Ok(bytes.len())
    }

    /// Writes what is taken now.
    fn flush(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.pump();
        state.check()
    }
}

/// Waits until one of `outlets` takes something, for `limit` at most.
pub fn wait(outlets: &[Outlet], limit: Duration) {
    let is_again = |&(at, outlet): &(usize, &Outlet)| {
        let is_it = |other: &Outlet| Arc::ptr_eq(&other.0, &outlet.0);
        outlets[..at].iter().any(is_it)
    };
    // Locked twice, it would be waited for for ever.
    let each = outlets.iter().enumerate().filter(|it| !is_again(it));
    let states: Vec<_> = each.map(|(_, outlet)| outlet.state()).collect();
    let waiting = states.iter().filter(|state| !state.waiting.is_empty());
    let mut ends: Vec<_> = waiting
        .map(|state| PollFd::new(&state.target, PollFlags::OUT))
        .collect();
    let limit = Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: limit.subsec_nanos().into(),
    };
    // What it ended by is of no matter: the caller looks again.
    let _ = poll(&mut ends, Some(&limit));
    sleep(BREATH);
}

/// Writes what waits at `outlets` until all of it is taken. Once `is_over` says that nobody wants to
/// wait any more, it has [`GRACE`] left. [`Outlet::finish`] tells whether all was taken.
pub fn drain(outlets: &[Outlet], mut is_over: impl FnMut() -> bool) {
    let mut end = None;
    loop {
        outlets.iter().for_each(Outlet::pump);
        if !outlets.iter().any(Outlet::is_waiting) {
            return;
        }
        let now = Instant::now();
        if end.is_some() || is_over() {
            let end = *end.get_or_insert(now + GRACE);
            if now >= end {
                return;
            }
        }
        wait(outlets, INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};
    use std::os::fd::OwnedFd;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn outlet() -> (PipeReader, Outlet) {
        let (reader, writer) = pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        (reader, Outlet::to(file).unwrap())
    }

    /// More than a pipe holds.
    fn much() -> Vec<u8> {
        (0..1 << 20).map(|n: u32| (n % 251) as u8).collect()
    }

    #[test]
    fn nothing_is_lost_and_nobody_waits() {
        let (mut reader, mut outlet) = outlet();
        let alarms = Arc::new(AtomicU32::new(0));
        let counted = alarms.clone();
        outlet.set_alarm(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let much = much();
        outlet.write_all(&much).unwrap();
        outlet.flush().unwrap();
        assert!(outlet.is_waiting() && outlet.is_full());
        assert_eq!(alarms.load(Ordering::Relaxed), 1);
        let mut read = vec![0; much.len()];
        let mut at = 0;
        while at < read.len() {
            at += reader.read(&mut read[at..]).unwrap();
            outlet.pump();
        }
        assert!(read == much);
        outlet.finish().unwrap();
    }

    #[test]
    fn what_nobody_reads_is_told_within_the_grace() {
        let (_reader, mut outlet) = outlet();
        outlet.write_all(&much()).unwrap();
        let mut asked = 0;
        // Named twice, it is one.
        drain(&[outlet.clone(), outlet.clone()], || {
            asked += 1;
            asked == 3
        });
        assert_eq!(asked, 3);
        let error = outlet.finish().unwrap_err().to_string();
        let left: usize = (1 << 20) - (64 << 10);
        assert_eq!(error, format!("nobody has read the last {left} bytes"));
    }

    #[test]
    fn a_reader_that_has_gone_is_told_at_once_and_again() {
        let (reader, mut outlet) = outlet();
        drop(reader);
        outlet.write_all(b"x").unwrap();
        let closed = |error: io::Error| error.kind() == ErrorKind::BrokenPipe;
        assert!(closed(outlet.flush().unwrap_err()));
        assert!(closed(outlet.write(b"x").unwrap_err()));
        assert!(closed(outlet.finish().unwrap_err()));
        assert!(outlet.has_failed() && !outlet.is_waiting());
    }

    /// As standard output is whose pipe cannot be opened again.
    #[test]
    fn a_shared_pipe_is_written_in_pieces_that_it_takes() {
        let (mut reader, writer) = pipe().unwrap();
        let target = Target::File(OwnedFd::from(writer).into());
        let mut outlet = Outlet::new(target, Some(PIECE_BYTES));
        let much = much();
        outlet.write_all(&much).unwrap();
        let mut read = vec![0; much.len()];
        let mut at = 0;
        while at < read.len() {
            outlet.pump();
            at += reader.read(&mut read[at..]).unwrap();
        }
        assert!(read == much);
    }

    #[test]
    fn one_comes_after_the_other_at_the_same_place() {
        let (mut reader, mut first) = outlet();
        let another = first.state().target.as_fd().try_clone_to_owned().unwrap();
        let mut second = Outlet::to(another.into()).unwrap();
        second.come_after(&first);
        first.write_all(&much()).unwrap();
        second.write_all(b"end").unwrap();
        second.flush().unwrap();
        assert!(second.is_waiting());
        let mut read = vec![0; (1 << 20) + 3];
        let mut at = 0;
        while at < read.len() {
            at += reader.read(&mut read[at..]).unwrap();
            second.pump();
        }
        assert!(read.ends_with(b"end"));

        let (_other, elsewhere) = outlet();
        second.come_after(&elsewhere);
        assert!(second.state().before.is_none());
    }
}

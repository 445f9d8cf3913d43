//! Checkpoints: a process whose machine stands still forks, and the child goes on from there.
//!
//! The soft engine is one thread, and guest RAM is private memory that the kernel copies page by page
//! as it is written, so a fork is a copy of the machine that costs milliseconds. A child never outlives its
//! parent, even one that is killed (PR_SET_PDEATHSIG), and never stays behind as a zombie.
#![allow(unsafe_code, reason = "fork(2) and _exit(2)")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, waitid,
};

use crate::confine;
use crate::engine::ticker;

/// Where [`fork`] returns.
pub enum Side {
    /// In the process that called it.
    Parent(Child),
    /// In the new one.
    Child,
}

/// A child. When this is dropped the process is killed, and gone.
#[derive(Debug)]
pub struct Child(Option<OwnedFd>);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Status(i32),
    /// By a signal of this number.
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Status(status) => write!(f, "ended with status {status}"),
            Ended::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// Copies this process, which must have no threads but the calling one and the ticker. Nothing but the
/// calling thread is in the copy; [`begin`] gives it a ticker of its own.
pub fn fork() -> io::Result<Side> {
    let parent = getpid();
    // SAFETY: the ticker, the only other thread, holds no lock but its own, and none while `hold` has it;
    // the C library keeps its own allocator in order across a fork.
    match ticker::hold(|| unsafe { libc::fork() }) {
        0 => {
            follow(parent);
            Ok(Side::Child)
        }
        pid => {
            let pid = Pid::from_raw(pid).filter(|_| pid > 0);
            let pid = pid.ok_or_else(io::Error::last_os_error)?;
            Ok(Side::Parent(Child(Some(pidfd_open(
                pid,
                PidfdFlags::empty(),
            )?))))
        }
    }
}

/// Has the kernel end this process when `parent` ends.
fn follow(parent: Pid) {
    let told = set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before it was asked for.
    if told.is_err() || getppid() != Some(parent) {
        leave(1);
    }
}

/// The child that [`fork`] has made is about to run a machine: it gets its own ticker and its own confinement.
pub fn begin() -> Result<()> {
    ticker::restart()?;
    confine::again();
    Ok(())
}

/// Ends this process at once: what was buffered before it was forked is its parent's to write.
pub fn leave(status: i32) -> ! {
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(status) }
}

impl Child {
    /// Kills it; it is not gone until it was waited for.
    pub fn kill(&self) {
        // It may have ended already.
        let _ = pidfd_send_signal(self.as_fd(), Signal::KILL);
    }

    /// Forgets it: it is the child of the process that this one was forked from.
    pub fn disown(mut self) {
        self.0 = None;
    }

    /// Waits for its end.
    pub fn wait(&self) -> io::Result<Ended> {
        loop {
            let status = match waitid(WaitId::PidFd(self.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => continue,
                status => status?,
            };
            let Some(status) = status else { continue };
            return Ok(match status.exit_status() {
                Some(status) => Ended::Status(status),
                None => Ended::Signal(status.terminating_signal().unwrap_or_default()),
            });
        }
    }
}

impl AsFd for Child {
    /// Becomes readable when it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd = self.0.as_ref();
        fd.expect("only who gives it up disowns it").as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.kill();
            // There is none to wait for if that has been done.
            let _ = self.wait();
        }
    }
}

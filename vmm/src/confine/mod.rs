//! Confinement of the host process: once everything is set up, a guest that has broken out of its
//! model finds a process that cannot open a file, start a program, reach the network or look at
//! another process.
//!
//! - [`process`]: no new privileges (Linux, `Documentation/userspace-api/no_new_privs.rst`), and Landlock
//!   without a single rule (`Documentation/userspace-api/landlock.rst`): all files, TCP, abstract
//!   sockets and signals to other processes are out of reach. What a run writes was opened before.
//! - [`thread`]: a seccomp filter (`Documentation/userspace-api/seccomp_filter.rst`) for what this kind
//!   of thread does, and nothing else. Threads inherit the filters of the one that starts them, so
//!   a thread confines itself after it has started the others.
//!
//! A system call that is not on the list ends the process with status 125 and a message that names
//! it: it is either an attack or a defect of these lists. Two kinds of calls are refused with EACCES
//! instead. Opening files, as Landlock would: the C library and panics' backtraces try it and do
//! without. And starting threads and programs, because the C library blocks signals meanwhile, and the
//! kernel would kill the process without a word.

mod calls;
mod files;
mod violation;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

pub use files::FileLock;

/// Whether [`process`] was called. One for all: the kernel's confinement is the process's, too.
static CONFINED: AtomicBool = AtomicBool::new(false);
/// Whether clients of the control socket are to be answered.
static ANSWERS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether [`thread`] was called in this thread.
    static THREAD_CONFINED: Cell<bool> = const { Cell::new(false) };
}

/// What a thread does, which decides what it may ask the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The soft engine's thread, which owns everything.
    Soft,
    /// A measurement's thread that leads the others, prints and writes.
    Lead,
    /// The thread of a process that forks children with a machine each.
    ForkServer,
    /// One of a measurement's threads that run guests with the soft engine.
    Guest,
    /// The kvm engine's thread that owns the devices.
    Devices,
    /// A vCPU of the kvm engine.
    Vcpu,
    /// The thread that asks a run to give way from time to time.
    Ticker,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Soft | Role::Lead => "main",
            Role::ForkServer => "fork server's",
            Role::Guest => "guest",
            Role::Devices => "device",
            Role::Vcpu => "vCPU",
            Role::Ticker => "ticker",
        }
    }
}

/// From now on threads that confine themselves may answer clients of a socket that listens already:
/// for the thread that owns the world.
pub fn allow_answers() {
    ANSWERS.store(true, Ordering::SeqCst);
}

/// Confines what the process can reach. To be called when every file is open and before there are
/// other threads, which would not be confined. Tells how far files are locked away.
pub fn process() -> Result<FileLock> {
    violation::handle().context("cannot handle SIGSYS")?;
    let lock = files::lock().context(CURE)?;
    CONFINED.store(true, Ordering::SeqCst);
    Ok(lock)
}

const CURE: &str = "cannot confine the process (--unconfined runs without)";

/// Confines the calling thread for good. Nothing happens unless [`process`] was called, nor if the
/// thread is confined already: one that runs several guests cannot take another filter.
pub fn thread(role: Role) -> Result<()> {
    if !CONFINED.load(Ordering::SeqCst) || THREAD_CONFINED.get() {
        return Ok(());
    }
    violation::name_thread(role.name());
    // The kernel obeys the strictest of all filters. This one comes first: it is in force while
    // the second is installed, which is the last time that seccomp(2) may be called.
    install(calls::refused(role)?, SeccompAction::Allow, REFUSE)?;
    let mut allowed = calls::allowed(role)?;
    if !matches!(role, Role::Vcpu | Role::Ticker) && ANSWERS.load(Ordering::SeqCst) {
        calls::add_answers(&mut allowed)?;
    }
    install(allowed, SeccompAction::Trap, SeccompAction::Allow)?;
    THREAD_CONFINED.set(true);
    Ok(())
}

/// This process was forked by a confined one, and is to be confined further: it makes no children.
pub fn again() {
    THREAD_CONFINED.set(false);
}

const REFUSE: SeccompAction = SeccompAction::Errno(libc::EACCES as u32);

fn install(rules: calls::Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<()> {
    let architecture = std::env::consts::ARCH
        .try_into()
        .context("there is no list of system calls for this architecture")
        .context(CURE)?;
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, listed, architecture)
        .and_then(TryInto::try_into)
        .context("a list of system calls is not well-formed")?;
    seccompiler::apply_filter(&program)
        .context("the kernel takes no seccomp filter (CONFIG_SECCOMP_FILTER)")
        .context(CURE)
}

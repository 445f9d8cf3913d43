//! Fork servers: a process boots a guest, stops it where it is told, and forks a child for each run that is
//! to go on from there.
//!
//! The command is one process, each fork server another, each run a third. The command decides what
//! runs, and writes files; fork servers and runs are confined as any run is (a fork server may fork).
//! Whoever dies takes along those it has forked.

mod protocol;
mod station;
mod transcript;

use std::fs::File;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use stallbox_bundle::Bundle;
use stallbox_sweep::BeginAt;

use crate::checkpoint::{self, Child, Side};
use crate::cli::{FilesArgs, MachineArgs};
use crate::run::bundle::Line;
pub use protocol::{Birth, Died, Done, Found, Message, Order, Report, Transcript};

/// What a fork server is to do.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The machine.
    pub machine: MachineArgs,
    /// What was recorded, if it is made of that and not of the files that the options name.
    pub recorded: Option<(Bundle, FilesArgs)>,
    /// A fault plan, if it is not in a file that the options name.
    pub plan: Option<String>,
    /// Whether children tell all of the console.
    pub transcript: bool,
    /// The command line that bundles have.
    pub arguments: Vec<String>,
    /// Where children begin.
    pub from: BeginAt,
    /// How long the way there may take, in the host's time.
    pub boot_limit: Option<Duration>,
    /// How long a child may take from there, in the host's time.
    pub run_limit: Option<Duration>,
    /// As much memory as a child may allocate beyond the guest's RAM.
    pub memory_limit: u64,
    /// Which children send a bundle.
    pub bundles: Bundles,
    /// The rule of which a child tells what it took first.
    pub rule: Option<String>,
    /// Without confinement.
    pub unconfined: bool,
}

/// How long a guest may take to where children begin, in the host's time, if nobody says otherwise.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// As much memory as a child may allocate, if nobody says otherwise.
const MEMORY_LIMIT: u64 = 512 << 20;

impl Spec {
    /// Of a machine that boots, with nothing else asked for: children begin before the first
    /// instruction. `arguments` are for bundles.
    pub fn new(machine: MachineArgs, arguments: Vec<String>) -> Spec {
        Spec {
            machine,
            recorded: None,
            plan: None,
            transcript: false,
            arguments,
            from: BeginAt::Start,
            boot_limit: Some(BOOT_LIMIT),
            run_limit: None,
            memory_limit: MEMORY_LIMIT,
            bundles: Bundles::None,
            rule: None,
            unconfined: false,
        }
    }

    /// Of the run of a bundle, with the requests that make a child this run. Its kernel and initial RAM
    /// disks may be `named`.
    pub fn recorded(bundle: Bundle, named: FilesArgs) -> Result<(Spec, Vec<String>)> {
        let line = Line::of(&bundle)?;
        let requests = line.requests(&bundle)?;
        let (from, rule) = line.sweep.unwrap_or((BeginAt::Start, None));
        let arguments = bundle.arguments.clone();
        let spec = Spec {
            recorded: Some((bundle, named)),
            from,
            rule,
            ..Spec::new(line.run.machine, arguments)
        };
        Ok((spec, requests))
    }
}

/// Which children send a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bundles {
    /// None.
    None,
    /// Those whose exit status is not 0.
    OfFailures,
    /// All.
    All,
}

/// A fork server. When this is dropped, it and its children are gone.
pub struct ForkServer {
    orders: File,
    messages: File,
    process: Child,
}

impl ForkServer {
    /// Starts one. This process must have no other threads.
    pub fn start(spec: &Spec) -> Result<ForkServer> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe");
        let (order_end, orders) = pipe()?;
        let (messages, message_end) = pipe()?;
        match checkpoint::fork().context("cannot start a process")? {
            Side::Parent(process) => Ok(ForkServer {
                orders: orders.into(),
                messages: messages.into(),
                process,
            }),
            Side::Child => {
                // Otherwise it would never see that its parent has gone.
                drop((orders, messages));
                station::serve(spec, order_end.into(), message_end.into())
            }
        }
    }

    /// Tells it to do something.
    pub fn tell(&self, order: &Order) -> io::Result<()> {
        protocol::send(&self.orders, order, &[])
    }

    /// What it tells next; none if that takes longer than `limit`. An error if it has ended.
    pub fn next(&self, limit: Duration) -> Result<Option<Message>> {
        let mut fds = [PollFd::new(&self.messages, PollFlags::IN)];
        let limit = Timespec::try_from(limit).context("a time limit")?;
        match poll(&mut fds, Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            polled => polled.context("poll")?,
        };
        let received = protocol::receive(&self.messages);
        match received.context("cannot read what the fork server tells")? {
            Some((Message::Done { id, mut done }, bundle)) => {
                done.bundle = bundle;
                Ok(Some(Message::Done { id, done }))
            }
            Some((message, _)) => Ok(Some(message)),
            None => {
                let ended = self.process.wait().context("waitid")?;
                anyhow::bail!("the fork server {ended}");
            }
        }
    }
}

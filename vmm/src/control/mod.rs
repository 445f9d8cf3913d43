//! Live control: a Unix socket on which a person, or a program, looks at a machine and interferes.
//!
//! One line of JSON asks, one line answers; `docs/inspect.md` is the reference and `stallbox inspect`
//! the client. It is input from outside, taken between slices as keys are: looking changes nothing,
//! and what changes something is in the trace.
//!
//! A turn serves a portion: whatever clients send, the guest, the keys and the time limit have their turns,
//! too. What is left makes [`Control::ready`] readable again.

mod client;
mod listen;
mod queues;
mod request;
mod served;
mod tables;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stallbox_machine::World;
use stallbox_machine::vcpu::VcpuState;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use served::Served;

pub use client::inspect;
pub(crate) use request::{only, parse_number, seed};

/// As many clients at a time. One more takes the place of the one that has been idle longest.
const CLIENTS_MAX: usize = 8;
/// Connections that one turn takes.
const ACCEPTED_MAX: usize = 4;
/// Requests that one turn does for all clients together, empty lines included.
const REQUESTS_MAX: usize = 64;
/// And for one of them.
const REQUESTS_EACH_MAX: usize = 16;
/// After so long a turn begins no further request.
const TURN: Duration = Duration::from_millis(10);

/// What becomes of requests that change the machine.
pub enum Changes<'a> {
    /// They are done, and told before.
    Now(&'a mut dyn FnMut(&str)),
    /// They wait: something in the machine is half done.
    Later,
    /// They are refused, for this reason.
    Never(&'static str),
}

/// Does again what a request has done, when a run is repeated.
pub fn repeat(line: &str, world: &World) {
    // It has its answer.
    let _ = request::answer(line, world, &Vec::new);
}

/// The socket, and who is connected.
///
/// The socket's file stays when the run is over: a confined process removes none. The next run takes
/// its place.
pub struct Control {
    listener: UnixListener,
    /// The socket's file, until the guest starts: a start that fails leaves none.
    unstarted: Option<PathBuf>,
    /// In the order in which they are served next.
    clients: Vec<Served>,
    /// Readable when there is something to serve.
    ready: Epoll,
    /// Keeps `ready` readable: the last turn has left something.
    left: EventFd,
    /// A request waits until nothing is half done.
    postponed: bool,
}

impl Control {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Result<Control> {
        let ready = Epoll::new().context("epoll")?;
        let left = EventFd::new(EFD_NONBLOCK).context("eventfd")?;
        let always = EpollEvent::new(EventSet::IN, 0);
        ready
            .ctl(ControlOperation::Add, left.as_raw_fd(), always)
            .context("epoll")?;
        let listener = listen::at(path)?;
        let unstarted = Some(path.to_owned());
        announce(&ready, &listener).context("epoll")?;
        Ok(Control {
            listener,
            unstarted,
            clients: Vec::new(),
            ready,
            left,
            postponed: false,
        })
    }

    /// The guest is about to start: from here on the socket's file stays.
    pub fn begin(&mut self) {
        self.unstarted = None;
    }

    /// Becomes readable when there is something to [`serve`](Control::serve), for an engine that
    /// sleeps until then.
    pub fn ready(&self) -> RawFd {
        self.ready.as_raw_fd()
    }

    /// Whether a request waits that was to be done [`Changes::Later`].
    pub fn has_postponed(&self) -> bool {
        self.postponed
    }

    /// Answers a portion of what has been asked. Never waits.
    pub fn serve(
        &mut self,
        world: &World,
        vcpus: &dyn Fn() -> Vec<VcpuState>,
        changes: Changes<'_>,
    ) {
        let end = Instant::now() + TURN;
        // Each edge is told once; all sockets are looked at below, whatever it was.
        let mut edges = [EpollEvent::default(); CLIENTS_MAX + 2];
        let _ = self.ready.wait(0, &mut edges);
        let _ = self.left.read();
        let waiting = self.accept();
        for client in &mut self.clients {
            client.receive();
        }
        let answered = self.answer(world, vcpus, changes, end);
        if answered {
            // What was asked may have made tasks ready.
            let _ = world.timeline.try_run_ready();
        }
        for client in &mut self.clients {
            client.send();
        }
        self.clients.retain(|client| !client.is_gone());
        if waiting || self.clients.iter().any(Served::has_more) {
            let _ = self.left.write(1);
        }
        // Whoever was first is last the next time.
        if self.clients.len() > 1 {
            self.clients.rotate_left(1);
        }
    }

    /// Takes new connections; true if there may be more.
    fn accept(&mut self) -> bool {
        for _ in 0..ACCEPTED_MAX {
            match self.listener.accept() {
                // One that cannot be set up would block the machine.
                Ok((stream, _))
                    if stream.set_nonblocking(true).is_ok()
                        && announce(&self.ready, &stream).is_ok() =>
                {
                    if self.clients.len() == CLIENTS_MAX {
                        self.dismiss_idlest();
                    }
                    self.clients.push(Served::new(stream));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // It has gone already, or the process has no descriptor left: later.
                Err(_) => return false,
            }
        }
        true
    }

    /// Makes room: nobody who connects and says nothing keeps others out.
    fn dismiss_idlest(&mut self) {
        let idle = self.clients.iter().map(Served::idle_since);
        let Some((longest, _)) = idle.enumerate().min_by_key(|(_, since)| *since) else {
            return;
        };
        self.clients.remove(longest).dismiss(CLIENTS_MAX);
    }

    /// Does requests, one of each client after the other; true if there were any.
    fn answer(
        &mut self,
        world: &World,
        vcpus: &dyn Fn() -> Vec<VcpuState>,
        mut changes: Changes<'_>,
        end: Instant,
    ) -> bool {
        self.postponed = false;
        let mut left = REQUESTS_MAX;
        let mut answered = false;
        for _ in 0..REQUESTS_EACH_MAX {
            let mut again = false;
            for client in &mut self.clients {
                if left == 0 || Instant::now() >= end {
                    return answered;
                }
                let Some(line) = client.next_line() else {
                    continue;
                };
                if request::changes(&line) {
                    match &mut changes {
                        Changes::Now(note) => note(&line),
                        Changes::Later => {
                            client.postpone(line);
                            self.postponed = true;
                            continue;
                        }
                        Changes::Never(why) => {
                            left -= 1;
                            again = true;
                            client.answer(&request::refusal(world, why));
                            continue;
                        }
                    }
                }
                left -= 1;
                again = true;
                if !line.is_empty() {
                    client.answer(&request::answer(&line, world, vcpus));
                    answered = true;
                }
            }
            if !again {
                break;
            }
        }
        answered
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(path) = self.unstarted.take() {
            // What ended the start is told.
            let _ = fs::remove_file(path);
        }
    }
}

/// Has `ready` tell of a connection, of bytes that come and of room for more. Edges, because what
/// is left alone for a good reason must not be told again and again.
fn announce(ready: &Epoll, socket: &impl AsRawFd) -> std::io::Result<()> {
    let wanted = EventSet::IN | EventSet::OUT | EventSet::EDGE_TRIGGERED;
    let event = EpollEvent::new(wanted, 0);
    ready.ctl(ControlOperation::Add, socket.as_raw_fd(), event)
}

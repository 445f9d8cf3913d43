//! Live control: a Unix socket on which a person, or a program, looks at a machine and interferes.
//!
//! One line of JSON asks, one line answers; `docs/inspect.md` is the reference and `stallbox inspect`
//! the client. It is input from outside, taken between slices as keys are: looking changes nothing,
//! and what changes something is in the trace.

mod client;
mod queues;
mod request;
mod tables;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result, bail};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::machine::World;

pub use client::inspect;
pub(crate) use request::parse_number;

/// More connections than this wait.
const CLIENTS_MAX: usize = 8;
/// A longer line is refused.
const LINE_BYTES_MAX: usize = 1 << 20;
/// A client that does not take its answers is dropped.
const UNTAKEN_BYTES_MAX: usize = 64 << 20;

/// The socket, and who is connected.
///
/// The socket's file stays when the run is over: a confined process removes none. The next run takes
/// its place.
pub struct Control {
    listener: UnixListener,
    clients: Vec<Client>,
    /// Readable when there is something to serve.
    ready: Epoll,
}

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    closed: bool,
}

impl Control {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Result<Control> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                // What a run that was killed left behind answers nobody.
                if UnixStream::connect(path).is_ok() {
                    bail!("another run listens at {} (--control)", path.display());
                }
                fs::remove_file(path)
                    .and_then(|()| UnixListener::bind(path))
                    .with_context(|| format!("cannot listen at {} (--control)", path.display()))?
            }
            other => {
                other.with_context(|| format!("cannot listen at {} (--control)", path.display()))?
            }
        };
        listener
            .set_nonblocking(true)
            .context("cannot set the control socket up")?;
        let ready = Epoll::new().context("epoll")?;
        announce(&ready, &listener).context("epoll")?;
        Ok(Control {
            listener,
            clients: Vec::new(),
            ready,
        })
    }

    /// Becomes readable when there is something to [`serve`](Control::serve), for an engine that
    /// sleeps until then.
    pub fn ready(&self) -> RawFd {
        self.ready.as_raw_fd()
    }

    /// Answers what has been asked. Never waits.
    pub fn serve(&mut self, world: &World) {
        // Each edge is told once; all sockets are looked at below, whatever it was.
        let mut edges = [EpollEvent::default(); CLIENTS_MAX + 1];
        let _ = self.ready.wait(0, &mut edges);
        while self.clients.len() < CLIENTS_MAX
            && let Ok((stream, _)) = self.listener.accept()
        {
            // One that cannot be set up would block the machine.
            if stream.set_nonblocking(true).is_ok() && announce(&self.ready, &stream).is_ok() {
                self.clients.push(Client {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    closed: false,
                });
            }
        }
        for client in &mut self.clients {
            client.serve(world);
        }
        self.clients
            .retain(|client| !client.closed || !client.output.is_empty());
    }
}

/// Has `ready` tell of a connection, of bytes that come and of room for more. Edges, because what
/// is left alone for a good reason must not be told again and again.
fn announce(ready: &Epoll, socket: &impl AsRawFd) -> std::io::Result<()> {
    let wanted = EventSet::IN | EventSet::OUT | EventSet::EDGE_TRIGGERED;
    let event = EpollEvent::new(wanted, 0);
    ready.ctl(ControlOperation::Add, socket.as_raw_fd(), event)
}

impl Client {
    fn serve(&mut self, world: &World) {
        let mut piece = [0; 4096];
        while !self.closed && self.input.len() <= LINE_BYTES_MAX {
            match self.stream.read(&mut piece) {
                Ok(0) => self.closed = true,
                Ok(length) => self.input.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.drop_now(),
            }
        }
        while let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                let answer = request::answer(line.trim(), world);
                self.output.extend_from_slice(answer.to_string().as_bytes());
                self.output.push(b'\n');
            }
        }
        if self.input.len() > LINE_BYTES_MAX || self.output.len() > UNTAKEN_BYTES_MAX {
            self.drop_now();
        }
        // What was asked may have made tasks ready.
        let _ = world.timeline.try_run_ready();
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(length) if length > 0 => {
                    self.output.drain(..length);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.drop_now(),
            }
        }
    }

    fn drop_now(&mut self) {
        self.closed = true;
        self.input.clear();
        self.output.clear();
    }
}

//! The user and the host's clock: what is outside the world.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stallbox_timeline::{Span, Time};

use super::terminal::{Key, Terminal};
use crate::control::Control;
use crate::engine::Watch;
use crate::machine::World;
use crate::outcome::Outcome;

/// The user, and the host's clock.
pub struct Outside {
    pub control: Option<Control>,
    pub terminal: Terminal,
    pub deadline: Option<Instant>,
    /// Input waits until init is ready: a UART without a reader drops what arrives.
    pub hold_input: bool,
    /// Somebody has sent a signal that ends the run.
    pub told_to_end: Arc<AtomicBool>,
    /// Ctrl-A X was typed.
    pub quit: bool,
    /// The guest idles until this point of its time and of the host's.
    pub idle: Option<(Time, Instant)>,
}

/// How often the terminal is asked for keys while the guest idles.
const KEY_INTERVAL: Duration = Duration::from_millis(5);

/// How often the control socket is looked at while the machine is paused.
const PAUSE_INTERVAL: Duration = Duration::from_millis(1);

/// A guest that would wait so long, in virtual time, may wait for the user: an hour.
const LONG: Span = Span::from_ms(3_600_000);

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

impl Outside {
    fn is_held(&self, world: &World) -> bool {
        self.hold_input && world.control.ready_ns().is_none()
    }

    /// Whether the user has left, by key or by signal.
    fn has_quit(&self) -> bool {
        self.quit || self.told_to_end.load(Ordering::Relaxed)
    }

    /// Serves the control socket.
    fn answer(&mut self, world: &World) {
        if let Some(control) = &mut self.control {
            control.serve(world);
        }
    }

    /// Passes keys on; true if there were any.
    fn type_keys(&mut self, world: &World) -> bool {
        if self.is_held(world) {
            return false;
        }
        let key = self.terminal.poll();
        self.type_key(world, key)
    }

    /// Passes a key on; true if there was one.
    fn type_key(&mut self, world: &World, key: Option<Key>) -> bool {
        match key {
            Some(Key::Quit) => self.quit = true,
            Some(Key::Bytes(bytes)) => {
                world.console_port.enqueue(&bytes);
            }
            None => return false,
        }
        true
    }
}

impl Watch for Outside {
    fn look(&mut self, world: &World) -> Option<Outcome> {
        if has_passed(self.deadline) {
            return Some(Outcome::Timeout);
        }
        if self.terminal.is_interactive() {
            self.type_keys(world);
        }
        self.answer(world);
        while world.pause.is_paused() && !self.has_quit() {
            std::thread::sleep(PAUSE_INTERVAL);
            if has_passed(self.deadline) {
                return Some(Outcome::Timeout);
            }
            // What is asked for now gets as much time as between two looks.
            world.timeline.yield_request().take();
            self.answer(world);
            self.quit |= matches!(self.terminal.poll(), Some(Key::Quit));
        }
        self.has_quit().then_some(Outcome::Quit)
    }

    /// Input that nobody types is the same in each run, so it comes at the same times.
    fn feed(&mut self, world: &World) {
        if !self.terminal.is_interactive() {
            self.type_keys(world);
        }
    }

    fn input(&self, world: &World) -> Option<RawFd> {
        (!self.is_held(world))
            .then(|| self.terminal.input())
            .flatten()
    }

    fn control(&self) -> Option<RawFd> {
        self.control.as_ref().map(Control::ready)
    }

    fn deadline(&self) -> Option<Instant> {
        let due = [self.deadline, self.terminal.end_is_due()];
        due.into_iter().flatten().min()
    }

    fn pause(&mut self) {
        self.terminal.pause();
    }

    fn resume(&mut self) {
        self.terminal.resume();
    }

    /// Somebody at a terminal wants a clock that goes with theirs, and a quiet host, while the
    /// guest waits for keys. A run without a terminal jumps.
    fn idle(&mut self, world: &World, span: Span) -> bool {
        if !self.terminal.is_interactive() {
            // It may have missed that its input has ended.
            let key = (span >= LONG).then(|| self.terminal.end_again());
            return self.type_key(world, key.flatten());
        }
        let target = world.timeline.now() + span;
        let until = match self.idle {
            Some((idle, until)) if idle == target => until,
            _ => Instant::now() + Duration::from_nanos(span.as_ns()),
        };
        self.idle = Some((target, until));
        loop {
            if self.type_keys(world) || self.has_quit() {
                return true;
            }
            let now = Instant::now();
            if now >= until {
                return false;
            }
            if world.timeline.should_yield() {
                return true;
            }
            std::thread::sleep(KEY_INTERVAL.min(until - now));
        }
    }
}

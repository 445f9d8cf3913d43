//! The user and the host's clock: what is outside the world.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stallbox_bundle::{Input, Place};
use stallbox_machine::World;
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::VcpuState;
use stallbox_output::{Outlet, tell};
use stallbox_timeline::{Span, Time};

use super::journal::Journal;
use super::terminal::{KEYS, Key, STUCK, Terminal};
use crate::control::{Changes, Control};
use crate::engine::Watch;

/// The user, and the host's clock.
pub(super) struct Outside {
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
    /// Typed while the machine stood still.
    pub kept: Vec<u8>,
    /// Where the run writes what the user asked for: it ends if that cannot be done.
    pub outlets: Vec<Outlet>,
    /// Standard error.
    pub remarks: Outlet,
    /// Whether the engine tells where the machine stands.
    pub has_places: bool,
    /// Where it stands, if nothing is half done.
    pub place: Option<Place>,
    /// What becomes of what comes from outside.
    pub journal: Journal,
}

/// How long to wait for what is written to be read until the next look.
const READ_INTERVAL: Duration = Duration::from_millis(10);

/// How often the terminal is asked for keys while the guest idles.
const KEY_INTERVAL: Duration = Duration::from_millis(5);

/// How often the control socket is looked at while the machine is paused.
const PAUSE_INTERVAL: Duration = Duration::from_millis(1);

/// As much as somebody may type ahead while the machine stands still; the rest is lost.
const KEPT_BYTES_MAX: usize = 4096;

/// A guest that would wait so long, in virtual time, may wait for the user: an hour.
const LONG: Span = Span::from_ms(3_600_000);

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

impl Outside {
    fn holds_input(&self, world: &World) -> bool {
        self.hold_input && world.control.ready_ns().is_none()
    }

    /// Whether the user has left, by key or by signal.
    fn has_quit(&self) -> bool {
        self.quit || self.told_to_end.load(Ordering::Relaxed)
    }

    /// Where the machine stands, if what comes from outside may change it now.
    fn open_place(&self, world: &World) -> Option<Place> {
        let half_done = world.timeline.is_unfinished() || world.is_unfinished();
        self.place.filter(|_| !half_done)
    }

    /// Serves the control socket.
    fn answer(&mut self, world: &World, vcpus: &dyn Fn() -> Vec<VcpuState>) {
        let place = self.open_place(world);
        let Some(control) = &mut self.control else {
            return;
        };
        if let Journal::Replay(_) = self.journal {
            let why = "a run that is repeated takes nothing from outside but what was recorded";
            return control.serve(world, vcpus, Changes::Never(why));
        }
        if self.has_places && place.is_none() {
            return control.serve(world, vcpus, Changes::Later);
        }
        let mut inputs = Vec::new();
        let mut note = |line: &str| inputs.push(Input::Request(line.to_owned()));
        control.serve(world, vcpus, Changes::Now(&mut note));
        self.journal.note(place, world, inputs);
    }

    /// Passes keys on; true if there were any.
    fn type_keys(&mut self, world: &World) -> bool {
        if self.holds_input(world) || self.journal.is_replay() {
            return false;
        }
        let kept = std::mem::take(&mut self.kept);
        let keys = self.terminal.poll();
        let typed = !kept.is_empty() || !keys.is_empty();
        if !kept.is_empty() {
            self.type_key(world, Key::Bytes(kept));
        }
        keys.into_iter().for_each(|key| self.type_key(world, key));
        typed
    }

    /// Passes a key on.
    fn type_key(&mut self, world: &World, key: Key) {
        match key {
            Key::Quit => self.quit = true,
            Key::Help => tell!("{KEYS}"),
            Key::Stuck => tell!("{STUCK}"),
            Key::Bytes(bytes) => {
                world.console_port.enqueue(&bytes);
                let inputs = vec![Input::Keys(bytes)];
                self.journal.note(self.place, world, inputs);
            }
        }
    }

    /// What is typed while the machine stands still is the guest's once it goes on. Input that nobody
    /// types waits where it is.
    fn keep_keys(&mut self) {
        if !self.terminal.is_interactive() {
            return;
        }
        for key in self.terminal.poll() {
            match key {
                Key::Quit => self.quit = true,
                Key::Help => tell!("{KEYS}"),
                Key::Stuck => tell!("{STUCK}"),
                Key::Bytes(bytes) => {
                    let room = KEPT_BYTES_MAX - self.kept.len();
                    self.kept.extend(bytes.iter().take(room));
                }
            }
        }
    }
}

impl Outside {
    fn all_outlets(&self) -> Vec<Outlet> {
        let all = self.outlets.iter().chain([&self.remarks]);
        all.cloned().collect()
    }

    /// Has `alarm` called when there is something to see to before the next look is due.
    pub(super) fn set_alarm(&self, alarm: impl Fn() + Clone + Send + 'static) {
        for outlet in self.all_outlets() {
            outlet.set_alarm(alarm.clone());
        }
    }

    /// Writes what is read now.
    fn pump(&self) {
        self.outlets.iter().for_each(Outlet::pump);
        self.remarks.pump();
    }

    /// The run has ended. What it has yet to write to `outlets` and to standard error is waited for until
    /// the user leaves or the time limit is reached; not for long if nobody `waits`.
    pub(super) fn drain(&mut self, mut outlets: Vec<Outlet>, waits: bool) {
        // The machine is done, and nothing is left to ask of it or to change.
        self.control = None;
        outlets.push(self.remarks.clone());
        stallbox_output::drain(&outlets, || {
            self.keep_keys();
            !waits || self.has_quit() || has_passed(self.deadline)
        });
    }
}

impl Watch for Outside {
    fn look(&mut self, world: &World, vcpus: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        self.pump();
        if has_passed(self.deadline) {
            return Some(Outcome::Timeout);
        }
        if world.is_unheard() || self.outlets.iter().any(Outlet::has_failed) {
            return Some(Outcome::Unheard);
        }
        if let Some(outcome) = self.journal.follow(self.place, world) {
            return Some(outcome);
        }
        let may_type = !self.has_places || self.open_place(world).is_some();
        if self.is_held() || !may_type {
            self.keep_keys();
        } else if self.terminal.is_interactive() {
            self.type_keys(world);
        }
        self.answer(world, vcpus);
        if self.journal.is_replay() && self.control.is_none() {
            // Nobody could let it go on.
            world.pause.set_paused(false);
        }
        // A machine in which something is half done comes to rest first.
        while world.pause.is_paused()
            && !self.has_quit()
            && (!self.has_places || self.open_place(world).is_some())
        {
            std::thread::sleep(PAUSE_INTERVAL);
            if has_passed(self.deadline) {
                return Some(Outcome::Timeout);
            }
            // What is asked for now gets as much time as between two looks.
            world.timeline.yield_request().take();
            self.pump();
            self.answer(world, vcpus);
            self.keep_keys();
        }
        self.has_quit().then_some(Outcome::Quit)
    }

    /// Input that nobody types is the same in each run, so it comes at the same times.
    fn feed(&mut self, world: &World) {
        if !self.terminal.is_interactive() {
            self.type_keys(world);
        }
    }

    fn stands_at(&mut self, place: Option<Place>) {
        self.place = place;
    }

    fn next_place(&self) -> Option<Place> {
        self.journal.next_place()
    }

    fn wants_place(&self) -> bool {
        !self.kept.is_empty() || self.control.as_ref().is_some_and(Control::has_postponed)
    }

    fn input(&self, world: &World) -> Option<RawFd> {
        (!self.holds_input(world))
            .then(|| self.terminal.input())
            .flatten()
    }

    fn control(&self) -> Option<RawFd> {
        self.control.as_ref().map(Control::ready)
    }

    fn is_held(&self) -> bool {
        self.remarks.is_full() || self.outlets.iter().any(Outlet::is_full)
    }

    fn wait(&mut self) {
        stallbox_output::wait(&self.all_outlets(), READ_INTERVAL);
    }

    fn deadline(&self) -> Option<Instant> {
        let is_waiting = self.remarks.is_waiting() || self.outlets.iter().any(Outlet::is_waiting);
        let pump = is_waiting.then(|| Instant::now() + READ_INTERVAL);
        let due = [self.deadline, self.terminal.end_is_due(), pump];
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
            let Some(key) = key.flatten() else {
                return false;
            };
            self.type_key(world, key);
            return true;
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

//! The device thread: owns the world, answers vCPUs, moves the timeline with the host's clock.
//!
//! Where the host has a CPU to spare it looks for the next call for a while before it sleeps, which
//! saves two wake-ups an access, and waits for near events that way, too. It sleeps until a vCPU
//! calls (eventfd), the timeline's next event is due (timerfd), the user types, or a signal comes.
//!
//! There are no ioeventfds: no register of these devices is a bare doorbell. A queue's doorbell
//! carries queue and index, and the SMMU's CMDQ_PROD and EVTQ_CONS an index, while an ioeventfd
//! drops the data, or (with a datamatch) stands for one value of it. What an ioeventfd would give, a
//! vCPU that does not wait, posted writes give for every register; see [`link`](super::link).

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use kvm_ioctls::VcpuFd;
use stallbox_machine::World;
use stallbox_machine::outcome::Outcome;
use stallbox_machine::vcpu::{Power, VcpuState};
use stallbox_timeline::{Progress, Time};
use vmm_sys_util::signal::Killable;
use vmm_sys_util::timerfd::TimerFd;

use super::clock::{self, Clock};
use super::gate::{Gate, Order};
use super::interrupts::KernelGic;
use super::link::{self, Answer, Call, End, Switchboard, WIDEST};
use super::sys::{self, Signals};
use super::vcpu::Runner;
use crate::confine;
use crate::engine::gap::Gap;
use crate::engine::ticker::Ticker;
use crate::engine::{Vcpus, Watch};
use crate::signals;

/// Calls answered before the other sources of events have their turn.
const CALLS_IN_A_ROW: usize = 256;
/// How long to look before going to sleep.
const PATIENCE_NS: u64 = link::PATIENCE.as_nanos() as u64;
/// How long to stay awake for one near event after the other, before other sources have their turn.
const EVENTS_NS: u64 = 50 * PATIENCE_NS;
/// How long to do what is due before vCPUs and other sources have their turn. Devices may have more
/// to do in a microsecond of theirs than this thread can do in one of the host's.
const DUE: Duration = Duration::from_millis(1);
/// How often input that cannot be waited for, a file, is looked at.
const FILE_INTERVAL: Duration = Duration::from_millis(5);
/// The signal that pauses the run.
const PAUSING: i32 = libc::SIGTSTP;

/// The vCPUs of a VM with the world that they see.
pub(super) struct Machine<'a> {
    world: &'a World,
    interrupts: KernelGic,
    vcpus: Vec<VcpuFd>,
    states: Vec<VcpuState>,
    longest_gap: Duration,
}

impl<'a> Machine<'a> {
    pub(super) fn new(world: &'a World, interrupts: KernelGic, vcpus: Vec<VcpuFd>) -> Machine<'a> {
        Machine {
            world,
            interrupts,
            vcpus,
            states: Vec::new(),
            longest_gap: Duration::ZERO,
        }
    }
}

impl Vcpus for Machine<'_> {
    fn run(&mut self, watch: &mut dyn Watch) -> Result<Outcome> {
        sys::handle_kicks()?;
        // Before there are threads, which inherit it.
        let signals = Signals::block(&[&signals::ending()[..], &[PAUSING]].concat())?;
        let _ticker = Ticker::start(self.world.timeline.yield_request())?;
        // Dropped after the switchboard, as in `Desk`.
        let mut crew = Crew::default();
        let patient = available_parallelism().is_ok_and(|cpus| cpus.get() > self.vcpus.len());
        let (board, lines) = link::switchboard(self.vcpus.len(), patient)?;
        for (index, (vcpu, line)) in self.vcpus.drain(..).zip(lines).enumerate() {
            let runner = Runner::new(index, line, crew.gate.clone(), (*self.world.ram).clone());
            let thread = std::thread::Builder::new()
                .name(format!("vcpu{index}"))
                .spawn(move || runner.run(vcpu))
                .with_context(|| format!("cannot start the thread of vCPU {index}"))?;
            crew.threads.push(thread);
        }
        let desk = Rc::new(RefCell::new(Desk {
            world: self.world,
            interrupts: self.interrupts.clone(),
            watch,
            board,
            crew,
            signals,
            clock: Clock::start(),
            timer: TimerFd::new().context("timerfd")?,
            armed: None,
            input: Input::None,
            patient,
            stands_still: false,
            gap: Gap::default(),
            outcome: None,
        }));
        let mut manager = EventManager::new().context("epoll")?;
        let id = manager.add_subscriber(desk.clone());
        // After the last thread was started: they would be confined as this one is.
        confine::thread(confine::Role::Devices)?;
        loop {
            let mut ops = manager.event_ops(id).context("epoll")?;
            desk.borrow_mut().work(&mut ops);
            let outcome = desk.borrow_mut().outcome.take();
            if let Some(outcome) = outcome {
                drop(manager);
                let desk = Rc::into_inner(desk).map(RefCell::into_inner);
                if let Some(desk) = desk {
                    self.longest_gap = desk.gap.longest();
                    self.states = desk.close();
                }
                return outcome;
            }
            manager.run().context("epoll")?;
        }
    }

    fn retired(&self) -> Option<u64> {
        None
    }

    fn preemptions(&self) -> Option<u64> {
        None
    }

    fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    fn states(&self) -> Vec<VcpuState> {
        self.states.clone()
    }
}

/// The vCPU threads. They end when this is dropped.
struct Crew {
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<VcpuState>>,
}

impl Default for Crew {
    fn default() -> Crew {
        Crew {
            gate: Arc::new(Gate::new()),
            threads: Vec::new(),
        }
    }
}

impl Crew {
    /// Gives an order and takes all vCPUs out of the guest, so that they hear it.
    fn order(&self, order: Order) {
        self.gate.set(order);
        for thread in &self.threads {
            // A thread that has ended needs no signal.
            let _ = thread.kill(sys::kick_signal());
        }
    }

    /// Ends all threads; gives how each vCPU then stands.
    fn join(&mut self) -> Vec<VcpuState> {
        self.order(Order::Stop);
        let ended = |(index, thread): (usize, JoinHandle<VcpuState>)| {
            // Of a thread that panicked nothing is known.
            thread.join().unwrap_or(VcpuState {
                index,
                power: Power::Unknown,
                core: None,
                interrupts: None,
            })
        };
        self.threads.drain(..).enumerate().map(ended).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.join();
    }
}

/// How the watcher's input is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    None,
    /// By epoll.
    Waiting(RawFd),
    /// By looking from time to time: a file is not for epoll.
    Looking(RawFd),
}

/// Sources of events.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Source {
    Calls,
    Timer,
    Input,
    Signals,
}

/// How far the timeline is.
struct Now {
    time: Time,
    /// Behind the host's clock, and with more to do.
    is_late: bool,
}

struct Desk<'a> {
    world: &'a World,
    interrupts: KernelGic,
    watch: &'a mut dyn Watch,
    // Dropped before the crew: vCPUs that wait for an answer hear that there is none.
    board: Switchboard,
    crew: Crew,
    signals: Signals,
    clock: Clock,
    timer: TimerFd,
    /// When the timer will ring.
    armed: Option<Instant>,
    input: Input,
    /// Whether to look for calls for a while before going to sleep.
    patient: bool,
    /// All vCPUs are stopped.
    stands_still: bool,
    gap: Gap,
    /// How the run has ended.
    outcome: Option<Result<Outcome>>,
}

impl MutEventSubscriber for Desk<'_> {
    fn init(&mut self, ops: &mut EventOps) {
        let sources = [
            (self.board.bell().as_raw_fd(), Source::Calls),
            (self.timer.as_raw_fd(), Source::Timer),
            (self.signals.as_raw_fd(), Source::Signals),
        ];
        let control = self.watch.control().map(|fd| (fd, Source::Input));
        for (fd, source) in sources.into_iter().chain(control) {
            let events = Events::with_data_raw(fd, source as u32, EventSet::IN);
            if let Err(error) = ops.add(events) {
                self.end(Err(error).context("epoll"));
            }
        }
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        match events.data() {
            data if data == Source::Calls as u32 => self.board.hush(),
            data if data == Source::Timer as u32 => {
                // It is readable, so this does not block.
                let _ = self.timer.wait();
                self.armed = None;
            }
            data if data == Source::Signals as u32 => self.take_signals(),
            _ => self.look(),
        }
    }
}

impl Desk<'_> {
    fn end(&mut self, outcome: Result<Outcome>) {
        // The first end is the cause of the others.
        self.outcome.get_or_insert(outcome);
    }

    /// Brings the timeline up to the host's clock, or as near as can be in [`DUE`].
    fn advance(&self) -> Now {
        let timeline = &self.world.timeline;
        let is_late = !clock::catch_up(timeline, self.clock.now(), DUE);
        Now {
            time: timeline.now(),
            is_late,
        }
    }

    /// Answers calls and does what is due until there is nothing to do, and for a while after that;
    /// then sees to it that the next thing wakes this thread.
    fn work(&mut self, ops: &mut EventOps) {
        self.board.wake();
        self.gap.begin();
        let mut calls = 0;
        let mut idle_since = None;
        while self.outcome.is_none() {
            if calls == CALLS_IN_A_ROW || self.world.timeline.should_yield() {
                self.board.ring();
                break;
            }
            // What the last access set going comes before the next.
            if self.world.go_on() == Progress::Interrupted {
                continue;
            }
            let mut call = self.board.next();
            let Now { time: now, is_late } = self.advance();
            if call.is_none() {
                let idle_ns = now.since(*idle_since.get_or_insert(now)).as_ns();
                let next_event = self.world.timeline.next_event();
                let is_event_near =
                    next_event.is_some_and(|event| event.since(now).as_ns() < PATIENCE_NS);
                let limit_ns = if is_event_near {
                    EVENTS_NS
                } else {
                    PATIENCE_NS
                };
                if self.patient && !is_late && idle_ns < limit_ns {
                    std::hint::spin_loop();
                    continue;
                }
                call = self.board.rest();
            }
            let Some((vcpu, call)) = call else { break };
            idle_since = None;
            calls += 1;
            self.take_call(vcpu, call);
        }
        self.settle(ops);
        self.gap.end();
    }

    /// Answers a vCPU. Tells whether it said that it stands still.
    fn take_call(&mut self, vcpu: usize, call: Call) -> bool {
        match call {
            Call::Read { address, bytes } => {
                let answer = self.read(address, bytes.into());
                self.board.answer(vcpu, answer);
            }
            Call::Write {
                address,
                data,
                bytes,
                posted,
            } => {
                let answered = self.write(address, &data[..usize::from(bytes).min(WIDEST)]);
                if !posted {
                    self.board.answer(vcpu, answered.then_some([0; WIDEST]));
                }
            }
            Call::Parked => return true,
            Call::Ended(End::PowerOff) => self.end(Ok(Outcome::PowerOff)),
            Call::Ended(End::Reset) => self.end(Ok(Outcome::Reset)),
            Call::Ended(End::Failed(why)) => self.end(Err(anyhow!("the kvm engine: {why}"))),
        }
        false
    }

    fn read(&self, address: u64, bytes: usize) -> Answer {
        let mut data = [0; WIDEST];
        pieces(address, bytes)
            .all(|(at, length)| {
                let now = self.advance().time;
                let part = &mut data[at..at + length];
                self.world
                    .read_device(now, address.wrapping_add(at as u64), part)
            })
            .then_some(data)
    }

    fn write(&self, address: u64, data: &[u8]) -> bool {
        pieces(address, data.len()).all(|(at, length)| {
            let now = self.advance().time;
            let part = &data[at..at + length];
            self.world
                .write_device(now, address.wrapping_add(at as u64), part)
        })
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            if signal == PAUSING {
                self.pause();
            } else {
                self.end(Ok(Outcome::Quit));
            }
        }
    }

    /// Stops the vCPUs and the process until SIGCONT.
    fn pause(&mut self) {
        self.stand_still(|desk| {
            desk.watch.pause();
            sys::stop_self();
            desk.watch.resume();
        });
    }

    /// Stops the vCPUs for as long as the watcher has the guest held.
    fn hold(&mut self) {
        self.stand_still(|desk| {
            while desk.outcome.is_none() && desk.watch.is_held() {
                desk.watch.wait();
                desk.take_signals();
                desk.look_once();
            }
        });
    }

    /// Does something with all vCPUs stopped. The guest's time stands still meanwhile.
    fn stand_still(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        if self.stands_still {
            meanwhile(self);
            return;
        }
        let since = Instant::now();
        self.crew.order(Order::Pause);
        if !self.hear(self.crew.threads.len()) {
            return;
        }
        self.stands_still = true;
        meanwhile(self);
        self.stands_still = false;
        if self.outcome.is_some() {
            return;
        }
        self.crew.order(Order::Restore);
        self.clock.skip(since.elapsed());
        self.armed = None;
        if self.hear(1) {
            self.crew.order(Order::Run);
        }
    }

    /// Waits until so many vCPUs say that they stand still, and answers what they ask meanwhile.
    /// False if the run has ended instead.
    fn hear(&mut self, vcpus: usize) -> bool {
        let mut left = vcpus;
        while left > 0 && self.outcome.is_none() {
            match self.board.wait() {
                Some((vcpu, call)) => left -= usize::from(self.take_call(vcpu, call)),
                None => self.end(Err(anyhow!("the kvm engine: all vCPU threads are gone"))),
            }
        }
        self.outcome.is_none()
    }

    fn look(&mut self) {
        self.watch.feed(self.world);
        self.look_once();
        if self.outcome.is_none() && self.watch.is_held() {
            self.hold();
        }
    }

    fn look_once(&mut self) {
        self.gap.end();
        // A vCPU that runs has no registers to be read.
        if let Some(outcome) = self.watch.look(self.world, &Vec::new) {
            self.end(Ok(outcome));
        }
    }

    /// Does what is due, and sees to it that the next thing wakes this thread.
    fn settle(&mut self, ops: &mut EventOps) {
        let request = self.world.timeline.yield_request();
        let is_asked = request.take();
        self.advance();
        let deadline = self.watch.deadline();
        if is_asked
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || matches!(self.input, Input::Looking(_))
            || self.world.is_unheard()
        {
            self.look();
        }
        let stop_at = self.world.pause.stop_at();
        if stop_at.is_some_and(|stop_at| self.world.timeline.now() >= stop_at) {
            self.end(Ok(Outcome::StopAt));
        }
        if let Some(failure) = self.interrupts.failure() {
            self.end(Err(anyhow!("the kvm engine: {failure}")));
        }
        if let Err(error) = self.await_input(ops).and_then(|()| self.arm(deadline)) {
            self.end(Err(error));
        }
    }

    /// Waits for the input that the watcher wants now.
    fn await_input(&mut self, ops: &mut EventOps) -> Result<()> {
        let wanted = self.watch.input(self.world);
        let current = match self.input {
            Input::None => None,
            Input::Waiting(fd) | Input::Looking(fd) => Some(fd),
        };
        if wanted == current {
            return Ok(());
        }
        let events = |fd| Events::with_data_raw(fd, Source::Input as u32, EventSet::IN);
        if let Input::Waiting(fd) = self.input {
            ops.remove(events(fd)).context("epoll")?;
        }
        self.input = match wanted {
            None => Input::None,
            Some(fd) => match ops.add(events(fd)) {
                Ok(()) => Input::Waiting(fd),
                Err(event_manager::Error::Epoll(error)) if error.errno() == libc::EPERM => {
                    Input::Looking(fd)
                }
                Err(error) => return Err(error).context("epoll"),
            },
        };
        Ok(())
    }

    /// Sets the timer for the next event, or for the time to look.
    fn arm(&mut self, deadline: Option<Instant>) -> Result<()> {
        let timeline = &self.world.timeline;
        let event = [
            timeline.next_event(),
            timeline.next_observer(),
            self.world.pause.stop_at(),
        ];
        let event = event.into_iter().flatten().min();
        let event = event.and_then(|time| self.clock.instant(time));
        let look = matches!(self.input, Input::Looking(_)).then(|| Instant::now() + FILE_INTERVAL);
        let rest = (timeline.is_unfinished() || self.world.is_unfinished()).then(Instant::now);
        let next = [event, deadline, look, rest].into_iter().flatten().min();
        let earlier = |next: Instant| self.armed.is_none_or(|armed| next < armed);
        // A timer that rings for what has been called off meanwhile costs less than to set it again.
        if let Some(next) = next
            && earlier(next)
        {
            // Zero would call it off.
            let left = next
                .saturating_duration_since(Instant::now())
                .max(Duration::from_nanos(1));
            self.timer
                .reset(left, None)
                .map_err(io::Error::from)
                .context("timerfd")?;
            self.armed = Some(next);
        }
        Ok(())
    }

    fn close(self) -> Vec<VcpuState> {
        let Desk {
            board, mut crew, ..
        } = self;
        drop(board);
        crew.join()
    }
}

/// An access as devices take it: naturally aligned as it is, another a byte at a time, as the soft
/// engine does. Gives offset and length of each piece.
fn pieces(address: u64, bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    let whole = bytes.is_power_of_two() && address.is_multiple_of(bytes as u64);
    let length = if whole { bytes } else { 1 };
    (0..bytes).step_by(length).map(move |at| (at, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unaligned_accesses_go_a_byte_at_a_time() {
        let of = |address, bytes| pieces(address, bytes).collect::<Vec<_>>();
        assert_eq!(of(0x1008, 8), [(0, 8)]);
        assert_eq!(of(0x1010, 16), [(0, 16)]);
        assert_eq!(of(0x1001, 2), [(0, 1), (1, 1)]);
        assert_eq!(of(0x1008, 16).len(), 16);
    }
}

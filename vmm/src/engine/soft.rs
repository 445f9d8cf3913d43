//! The soft engine: our own CPUs, one after the other, on virtual time.
//!
//! Each vCPU has a clock of its own: the instructions that it retired, at a fixed price. The one
//! that is furthest behind runs next, for a slice that ends with the next event of the timeline or
//! a little after the vCPU behind it; so the clocks stay within 2 microseconds of each other, and the
//! order depends on nothing but the guest. When all wait, time jumps to the next event. Orders
//! other than that one are made by moving clocks on (`schedule.rs`).
//!
//! The host looks in when it wants to ([`YieldRequest`](stallbox_timeline::YieldRequest)), in the midst of a slice or of what devices
//! do. What was interrupted is then gone on with before anything else: the same slice, the same work.

mod board;
mod bus;
mod schedule;

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use stallbox_aarch64::{Cpu, CpuConfig, Exit};
use stallbox_bundle::Place;
use stallbox_firmware::boot::EntryState;
use stallbox_machine::World;
use stallbox_machine::check::Caller;
use stallbox_machine::config::MachineConfig;
use stallbox_machine::outcome::Outcome;
use stallbox_machine::stage1::Half;
use stallbox_machine::vcpu::{self, VcpuState};
use stallbox_timeline::{Progress, Span, Time};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, VolatileSlice};

use super::gap::Gap;
use super::ticker::Ticker;
use super::{Vcpus, Watch, psci};
use crate::confine;
pub use board::Board;
use bus::{CoreBus, is_event_before};
use schedule::{Schedule, Standing, Turn};

/// How far one vCPU may run ahead of another.
const SLICE: Span = Span::from_us(2);
/// How far a vCPU moves on when it says that it has nothing to do but wait for another (WFE).
const WAIT: Span = Span::from_ns(100);

/// Steps between two turns of input that nobody types. They are a matter of the guest alone, so that
/// input from a file comes at the same time in each run.
const STEPS_PER_FEED: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Off,
    Running,
    /// In WFI.
    Waiting,
}

struct Core {
    cpu: Cpu,
    config: CpuConfig,
    /// Whether there are others to tell of TLB and cache maintenance.
    broadcasting: bool,
    power: Power,
    /// Its own present.
    now: Time,
}

impl Core {
    /// Resets the vCPU and lets it run. Reset state: EL1, interrupts masked, MMU off.
    fn switch_on(&mut self, now: Time, entry: u64, context: u64) {
        let retired = self.cpu.retired;
        self.cpu = Cpu::new(self.config);
        self.cpu.set_broadcasting(self.broadcasting);
        self.cpu.retired = retired;
        self.cpu.state.pc = entry;
        self.cpu.state.x[0] = context;
        self.power = Power::Running;
        self.now = now;
    }
}

/// vCPUs that run on the host as a program does.
pub struct Soft<'a> {
    world: &'a World,
    board: Rc<Board>,
    ram: VolatileSlice<'a>,
    cores: Vec<Core>,
    instruction: Span,
    schedule: Schedule,
    /// The vCPU that ran last: the others' exclusive monitors are clear.
    last: usize,
    /// What was interrupted.
    under_way: Option<UnderWay>,
    steps_to_feed: u32,
    /// Slices and jumps of time that have begun.
    steps: u64,
    /// Where to look next, of a run that is repeated.
    place: Option<Place>,
    gap: Gap,
}

/// A step that was interrupted.
enum UnderWay {
    /// A vCPU's turn.
    Slice(Slice),
    /// The timeline is on its way there.
    Advance(Time),
}

/// A vCPU's turn.
struct Slice {
    index: usize,
    start: Time,
    end: Time,
    /// Instructions that the vCPU had retired at its start.
    first: u64,
    /// Those that it will have at its end, if nothing ends it before.
    last: u64,
    /// The engine is to look before the next instruction.
    attention: bool,
    /// Why it is over, once it is.
    exit: Option<Exit>,
}

impl<'a> Soft<'a> {
    /// vCPUs for `world`, which was built on `board`; the first starts in `entry`, the others are
    /// off.
    ///
    /// # Panics
    /// If the world has no RAM.
    pub fn new(
        world: &'a World,
        board: Rc<Board>,
        cpus: impl ExactSizeIterator<Item = CpuConfig>,
        machine: &MachineConfig,
        entry: &EntryState,
    ) -> Soft<'a> {
        let region = world.ram.iter().next().expect("a world has RAM");
        let ram = region.as_volatile_slice().expect("RAM is mapped");
        let broadcasting = cpus.len() > 1;
        let schedule = Schedule::new(machine.schedule, cpus.len(), machine.seed);
        let mut cores: Vec<Core> = cpus
            .map(|config| Core {
                cpu: Cpu::new(config),
                config,
                broadcasting,
                power: Power::Off,
                now: Time::ZERO,
            })
            .collect();
        cores[0].switch_on(Time::ZERO, entry.pc, entry.x[0]);
        Soft {
            world,
            board,
            ram,
            cores,
            instruction: machine.latency.instruction(),
            schedule,
            last: 0,
            under_way: None,
            steps_to_feed: 0,
            steps: 0,
            place: None,
            gap: Gap::default(),
        }
    }

    /// One slice, or one jump of time, or as much of it as can be done before an interruption.
    fn step(&mut self, watch: &mut dyn Watch) -> Option<Outcome> {
        match self.under_way.take() {
            Some(UnderWay::Slice(slice)) => self.resume(slice),
            Some(UnderWay::Advance(to)) => {
                self.advance_to(to);
                None
            }
            None => self.begin(watch),
        }
    }

    /// The next slice or jump of time.
    fn begin(&mut self, watch: &mut dyn Watch) -> Option<Outcome> {
        if self.steps_to_feed == 0 {
            self.steps_to_feed = STEPS_PER_FEED;
            watch.stands_at(self.here());
            watch.feed(self.world);
        }
        self.steps_to_feed -= 1;
        let next_event = self.world.timeline.next_event();
        let Some(index) = self.behind() else {
            return self.idle(watch, next_event);
        };
        let now = self.cores[index].now;
        if now == Time::NEVER {
            return Some(Outcome::EndOfTime);
        }
        if let Some(event) = next_event
            && event <= now
        {
            self.steps += 1;
            self.advance_to(event);
            return None;
        }
        let end = next_event.unwrap_or(Time::NEVER).min(now + SLICE);
        // Rounded up: a slice is one instruction at least.
        let budget = end
            .since(now)
            .as_ps()
            .div_ceil(self.instruction.as_ps())
            .max(1);
        let turn = self.schedule.turn(&Standing {
            behind: index,
            clocks: &|cpu| {
                let core = &self.cores[cpu];
                (core.power == Power::Running).then_some(core.now)
            },
            retired: &|| self.cores.iter().map(|core| core.cpu.retired).sum(),
            slice: budget,
        });
        let budget = match turn {
            Turn::Run(instructions) => instructions,
            Turn::Stolen(span) => {
                self.steps += 1;
                self.cores[index].now += span;
                return None;
            }
        };
        let core = &mut self.cores[index];
        if self.last != index {
            // Another vCPU may have written what this one has reserved.
            core.cpu.clear_exclusive();
            self.last = index;
        }
        let first = core.cpu.retired;
        self.steps += 1;
        self.run_slice(Slice {
            index,
            start: now,
            end,
            first,
            last: first.saturating_add(budget),
            attention: false,
            exit: None,
        })
    }

    /// The vCPU that is furthest behind of those that run.
    fn behind(&self) -> Option<usize> {
        (0..self.cores.len())
            .filter(|&index| self.cores[index].power == Power::Running)
            .min_by_key(|&index| self.cores[index].now)
    }

    /// All vCPUs wait: time jumps.
    fn idle(&mut self, watch: &mut dyn Watch, next_event: Option<Time>) -> Option<Outcome> {
        let timeline = &self.world.timeline;
        let pause_at = self.world.pause.is_due_at();
        let until = [next_event, pause_at].into_iter().flatten().min();
        let span = until.unwrap_or(Time::NEVER).since(timeline.now());
        watch.stands_at(self.here());
        if watch.idle(self.world, span) {
            self.wake();
            return None;
        }
        let outcome = match (next_event, until) {
            (_, Some(Time::NEVER)) => Outcome::EndOfTime,
            (Some(event), Some(until)) if event == until => {
                self.steps += 1;
                self.advance_to(event);
                return None;
            }
            // Somebody wants to look: no step of the guest's.
            (_, Some(until)) => {
                timeline.set_now(until);
                return None;
            }
            (_, None) if self.board.timers.waits_for_never() => Outcome::EndOfTime,
            (_, None) => Outcome::Asleep,
        };
        timeline.tell_all_observers();
        Some(outcome)
    }

    fn advance_to(&mut self, to: Time) {
        match self.world.timeline.try_advance_to(to) {
            Progress::Interrupted => self.under_way = Some(UnderWay::Advance(to)),
            Progress::Done => self.wake(),
        }
    }

    /// Goes on with a slice that was interrupted.
    fn resume(&mut self, mut slice: Slice) -> Option<Outcome> {
        // What the vCPU's last access set going comes first.
        if self.world.go_on() == Progress::Interrupted {
            self.under_way = Some(UnderWay::Slice(slice));
            return None;
        }
        slice.attention |= self.board.any_signalled() || is_event_before(self.world, slice.end);
        if slice.exit.is_none() && slice.attention {
            slice.exit = Some(Exit::Attention);
        } else if slice.exit.is_none() && self.cores[slice.index].cpu.retired >= slice.last {
            slice.exit = Some(Exit::Budget);
        }
        match slice.exit {
            Some(exit) => self.end_slice(slice.index, exit),
            None => self.run_slice(slice),
        }
    }

    fn run_slice(&mut self, mut slice: Slice) -> Option<Outcome> {
        let until = self.stop_in(&slice);
        if until <= self.cores[slice.index].cpu.retired {
            self.under_way = Some(UnderWay::Slice(slice));
            return None;
        }
        let core = &mut self.cores[slice.index];
        let begun = core.cpu.retired;
        let mut bus = CoreBus {
            world: self.world,
            board: &self.board,
            ram: self.ram,
            cpu: slice.index,
            start: slice.start + self.instruction * (begun - slice.first),
            end: slice.end,
            instruction: self.instruction,
            attention: slice.attention,
            schedule: &mut self.schedule,
            attended: false,
            interrupted: false,
            request: self.world.timeline.yield_request(),
            watch: self.world.checkers.watch(),
        };
        let exit = core.cpu.run(&mut bus, until - begun);
        let retired = core.cpu.retired;
        core.now = slice.start + self.instruction * (retired - slice.first);
        slice.attention = bus.attention || bus.attended;
        if let Some(watch) = self.world.checkers.watch()
            && watch.is_pending()
        {
            let cpu = &core.cpu;
            self.world.checkers.stored(&Caller {
                cpu: slice.index,
                pc: cpu.state.pc,
                frame: cpu.state.x[29],
                link: cpu.state.x[30],
                current: (cpu.state.pstate.el == 1 && cpu.state.pstate.sp_sel)
                    .then_some(cpu.state.sp_banked[0]),
                half: Half::upper(cpu.state.sys.ttbr1, cpu.state.sys.tcr),
            });
        }
        slice.exit = match exit {
            // Not the guest's doing, so not the end of the slice.
            Exit::Attention if !slice.attention => None,
            Exit::Budget if retired < slice.last => None,
            exit => Some(exit),
        };
        match slice.exit {
            Some(exit) if !self.world.is_unfinished() => self.end_slice(slice.index, exit),
            _ => {
                self.under_way = Some(UnderWay::Slice(slice));
                None
            }
        }
    }

    /// How many instructions the vCPU may have retired until the slice ends, or the run is to be
    /// paused: that is in the midst of the slice if all others are past that time.
    fn stop_in(&self, slice: &Slice) -> u64 {
        let until = self.pause_in(slice);
        let Some(place) = self.place.filter(|place| place.step == self.steps) else {
            return until;
        };
        let others = self.retired_by_all() - self.cores[slice.index].cpu.retired;
        until.min(place.retired.saturating_sub(others))
    }

    /// [`Soft::stop_in`], but for the place at which to look.
    fn pause_in(&self, slice: &Slice) -> u64 {
        let Some(pause_at) = self.world.pause.is_due_at() else {
            return slice.last;
        };
        let is_behind = |(index, core): (usize, &Core)| {
            index != slice.index && core.power == Power::Running && core.now < pause_at
        };
        if self.cores.iter().enumerate().any(is_behind) {
            return slice.last;
        }
        let until = pause_at.since(slice.start).as_ps();
        let until = until.div_ceil(self.instruction.as_ps());
        let until = slice.first.saturating_add(until).min(slice.last);
        // A vCPU that has a turn moves on.
        until.max(self.cores[slice.index].cpu.retired + 1)
    }

    fn retired_by_all(&self) -> u64 {
        self.cores.iter().map(|core| core.cpu.retired).sum()
    }

    /// Where the machine stands, unless something is half done.
    fn here(&self) -> Option<Place> {
        let half_done = self.world.timeline.is_unfinished() || self.world.is_unfinished();
        (!half_done).then(|| Place {
            step: self.steps,
            retired: self.retired_by_all(),
        })
    }

    /// Whether it is time to look, of a run that is repeated.
    fn is_at_place(&self) -> bool {
        let Some(place) = self.place else {
            return false;
        };
        self.steps >= place.step && self.here().is_some_and(|here| here >= place)
    }

    /// Whether all of the machine has come to the time at which it is to be paused, or to end.
    fn is_at_pause(&self) -> bool {
        let pause_at = self.world.pause.is_due_at();
        pause_at.is_some_and(|pause_at| self.is_at(pause_at))
    }

    /// Whether all of the machine has come to `time`.
    fn is_at(&self, time: Time) -> bool {
        let timeline = &self.world.timeline;
        let due = match &self.under_way {
            Some(UnderWay::Advance(to)) => Some(*to),
            _ => timeline.next_event(),
        };
        let now = self
            .behind()
            .map_or(timeline.now(), |index| self.cores[index].now);
        now >= time && due.is_none_or(|due| due >= time)
    }

    fn end_slice(&mut self, index: usize, exit: Exit) -> Option<Outcome> {
        let broadcasts = self.cores[index].cpu.take_broadcasts();
        for (other, core) in self.cores.iter_mut().enumerate() {
            if other != index {
                broadcasts
                    .iter()
                    .for_each(|&broadcast| core.cpu.apply(broadcast));
            }
        }
        match exit {
            Exit::Budget | Exit::Attention => {}
            Exit::Yield => {
                self.cores[index].now += WAIT;
                self.schedule.yielded(index, self.cores[index].now);
            }
            Exit::Wfi => self.cores[index].power = Power::Waiting,
            Exit::Call => {
                if let Some(outcome) = self.call(index) {
                    return Some(outcome);
                }
            }
        }
        self.wake();
        None
    }

    /// Wakes vCPUs whose interrupt inputs ask for it; they wake now, not when they fell asleep.
    fn wake(&mut self) {
        self.board.clear_signalled();
        for (index, core) in self.cores.iter_mut().enumerate() {
            if core.power == Power::Waiting
                && (self.board.gic.irq(index) || self.board.gic.fiq(index))
            {
                core.power = Power::Running;
                core.now = core.now.max(self.world.timeline.now());
            }
        }
    }

    fn call(&mut self, index: usize) -> Option<Outcome> {
        let x = &self.cores[index].cpu.state.x;
        let result = match psci::parse([x[0], x[1], x[2], x[3]], self.cores.len()) {
            psci::Call::Return(value) => value,
            psci::Call::CpuOn(on) => {
                let now = self.cores[index].now;
                let target = &mut self.cores[on.cpu];
                if target.power == Power::Off {
                    // As firmware does on a CPU's way to its entry.
                    self.board.gic.wake(on.cpu);
                    target.switch_on(now, on.entry, on.context);
                    psci::SUCCESS
                } else {
                    psci::ALREADY_ON
                }
            }
            psci::Call::CpuOff => {
                self.cores[index].power = Power::Off;
                if self.cores.iter().all(|core| core.power == Power::Off) {
                    return Some(Outcome::PowerOff);
                }
                return None;
            }
            psci::Call::AffinityInfo(cpu) if self.cores[cpu].power == Power::Off => {
                psci::AFFINITY_OFF
            }
            psci::Call::AffinityInfo(_) => psci::AFFINITY_ON,
            psci::Call::SystemOff => return Some(Outcome::PowerOff),
            psci::Call::SystemReset => return Some(Outcome::Reset),
        };
        self.cores[index].cpu.state.x[0] = result;
        None
    }
}

impl Soft<'_> {
    /// Tells the world how far all vCPUs are.
    fn tell_present(&self) {
        let behind = self.behind().map(|index| self.cores[index].now);
        self.world.set_present(behind.unwrap_or(Time::ZERO));
    }

    fn look(&mut self, watch: &mut dyn Watch) -> Option<Outcome> {
        let timeline = &self.world.timeline;
        let was_unfinished = timeline.is_unfinished();
        self.tell_present();
        watch.stands_at(self.here());
        let outcome = watch.look(self.world, &|| self.states());
        self.place = watch.next_place();
        if let Some(seed) = self.world.take_reseeded() {
            self.schedule.reseed(seed);
        }
        if timeline.is_unfinished() && !was_unfinished && self.under_way.is_none() {
            // What was asked for set something going.
            self.under_way = Some(UnderWay::Advance(timeline.now()));
        }
        if self.under_way.is_none() && self.board.any_signalled() {
            // What was typed.
            self.wake();
        }
        outcome
    }

    fn run_until_end(&mut self, watch: &mut dyn Watch) -> Outcome {
        let request = self.world.timeline.yield_request().clone();
        loop {
            request.take();
            self.gap.end();
            if let Some(outcome) = self.look(watch) {
                return outcome;
            }
            if watch.is_held() {
                watch.wait();
                continue;
            }
            self.gap.begin();
            // A machine that is paused has nothing half done.
            while !self.world.pause.is_paused() || self.here().is_none() {
                if self.is_at_place() {
                    break;
                }
                if !self.world.pause.is_paused() && self.is_at_pause() {
                    let stop_at = self.world.pause.stop_at();
                    if stop_at.is_some_and(|stop_at| self.is_at(stop_at)) {
                        return Outcome::StopAt;
                    }
                    self.world.pause.set_paused(true);
                    break;
                }
                if let Some(outcome) = self.step(watch) {
                    return outcome;
                }
                if request.is_set() || watch.wants_place() && self.here().is_some() {
                    break;
                }
            }
        }
    }
}

impl Vcpus for Soft<'_> {
    fn run(&mut self, watch: &mut dyn Watch) -> Result<Outcome> {
        // Before this thread is confined, and no other can be started.
        let _ticker = Ticker::start(self.world.timeline.yield_request())?;
        confine::thread(confine::Role::Soft)?;
        let outcome = self.run_until_end(watch);
        self.tell_present();
        Ok(outcome)
    }

    fn retired(&self) -> Option<u64> {
        Some(self.retired_by_all())
    }

    fn preemptions(&self) -> Option<u64> {
        Some(self.schedule.preemptions())
    }

    fn longest_gap(&self) -> Duration {
        self.gap.longest()
    }

    fn states(&self) -> Vec<VcpuState> {
        let state = |(index, core): (usize, &Core)| VcpuState {
            index,
            power: match core.power {
                Power::Off => vcpu::Power::Off,
                Power::Running => vcpu::Power::Running,
                Power::Waiting => vcpu::Power::Waiting,
            },
            core: (core.power != Power::Off).then(|| registers(&core.cpu)),
            interrupts: self.board.gic.cpu_interrupts(index),
        };
        self.cores.iter().enumerate().map(state).collect()
    }
}

fn registers(cpu: &Cpu) -> vcpu::Core {
    vcpu::Core {
        pc: cpu.state.pc,
        sp: cpu.state.sp(),
        pstate: cpu.state.saved_program_status(),
        x: std::array::from_fn(|index| cpu.state.x[index]),
        ttbr0: cpu.state.sys.ttbr0,
        ttbr1: cpu.state.sys.ttbr1,
        tcr: cpu.state.sys.tcr,
    }
}

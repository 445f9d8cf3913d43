//! The Arm generic timer: a counter, and for each CPU a physical and a virtual timer.
//!
//! DDI 0487 (K.a), *The Generic Timer in AArch64 state* (D12). There is no EL2, so the virtual
//! offset is zero and both counters read the same. The counter is virtual time in ticks; a timer's
//! output is its condition, unmasked, and its next change is an event on the timeline.
//!
//! Absent: the event stream (`CNTKCTL_EL1.EVNTEN` is stored and does nothing, so WFE must not
//! depend on it), and the self-synchronized counter views of `FEAT_ECV`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use stallbox_timeline::{EventId, Time, Timeline};

use crate::gic::sysreg;
use crate::irq::IrqLine;

/// INTID of the virtual timer's PPI, as *Server Base System Architecture* and Linux's device trees
/// have it.
pub const VIRTUAL_INTID: u32 = 27;
/// INTID of the non-secure EL1 physical timer's PPI.
pub const PHYSICAL_INTID: u32 = 30;

/// `CNTKCTL_EL1`: who at EL0 may do what.
pub const CNTKCTL_EL1: u16 = sysreg(3, 0, 14, 1, 0);
/// `CNTFRQ_EL0`.
pub const CNTFRQ_EL0: u16 = sysreg(3, 3, 14, 0, 0);
/// `CNTPCT_EL0`.
pub const CNTPCT_EL0: u16 = sysreg(3, 3, 14, 0, 1);
/// `CNTVCT_EL0`.
pub const CNTVCT_EL0: u16 = sysreg(3, 3, 14, 0, 2);
/// `CNTP_TVAL_EL0`.
pub const CNTP_TVAL_EL0: u16 = sysreg(3, 3, 14, 2, 0);
/// `CNTP_CTL_EL0`.
pub const CNTP_CTL_EL0: u16 = sysreg(3, 3, 14, 2, 1);
/// `CNTP_CVAL_EL0`.
pub const CNTP_CVAL_EL0: u16 = sysreg(3, 3, 14, 2, 2);
/// `CNTV_TVAL_EL0`.
pub const CNTV_TVAL_EL0: u16 = sysreg(3, 3, 14, 3, 0);
/// `CNTV_CTL_EL0`.
pub const CNTV_CTL_EL0: u16 = sysreg(3, 3, 14, 3, 1);
/// `CNTV_CVAL_EL0`.
pub const CNTV_CVAL_EL0: u16 = sysreg(3, 3, 14, 3, 2);

/// `CNT*_CTL_EL0.ENABLE`.
const CTL_ENABLE: u64 = 1 << 0;
/// `CNT*_CTL_EL0.IMASK`.
const CTL_IMASK: u64 = 1 << 1;
/// `CNT*_CTL_EL0.ISTATUS`.
const CTL_ISTATUS: u64 = 1 << 2;
/// `CNTKCTL_EL1`: EL0PCTEN, EL0VCTEN, EVNTEN, EVNTDIR, EVNTI, EL0VTEN, EL0PTEN.
const CNTKCTL_MASK: u64 = 0x3ff;

const PS_PER_SECOND: u128 = 1_000_000_000_000;

/// Where one CPU's timers are wired to.
#[derive(Clone)]
pub struct TimerLines {
    /// The virtual timer's output.
    pub virtual_timer: Rc<dyn IrqLine>,
    /// The physical timer's output.
    pub physical_timer: Rc<dyn IrqLine>,
}

/// All CPUs' timers. Clones share them.
///
/// A write may bring the next event on the timeline forward: an engine that runs guest
/// instructions up to the next event looks again after [`Timers::sysreg_write`].
#[derive(Clone)]
pub struct Timers(Rc<Shared>);

struct Shared {
    timeline: Timeline,
    frequency_hz: u32,
    /// The last value that any CPU has read.
    last_count: Cell<u64>,
    cpus: Vec<Cpu>,
}

struct Cpu {
    cntfrq: Cell<u32>,
    cntkctl: Cell<u64>,
    virtual_timer: GenericTimer,
    physical_timer: GenericTimer,
}

/// One timer: a comparator against the counter.
struct GenericTimer {
    line: Rc<dyn IrqLine>,
    enabled: Cell<bool>,
    masked: Cell<bool>,
    compare: Cell<u64>,
    /// The event at which the condition comes true.
    event: RefCell<Option<EventId>>,
}

/// One timer among all.
#[derive(Clone, Copy)]
struct Which {
    cpu: usize,
    is_virtual: bool,
}

/// A register of a timer.
#[derive(Clone, Copy)]
enum Register {
    TimerValue,
    Control,
    CompareValue,
}

impl GenericTimer {
    fn new(line: Rc<dyn IrqLine>) -> GenericTimer {
        GenericTimer {
            line,
            enabled: Cell::new(false),
            masked: Cell::new(false),
            compare: Cell::new(0),
            event: RefCell::new(None),
        }
    }

    /// The timer condition: the counter has reached the compare value.
    fn is_due(&self, count: u64) -> bool {
        self.enabled.get() && count >= self.compare.get()
    }
}

impl Timers {
    /// Timers that count `frequency_hz` ticks a second, for as many CPUs as there are lines.
    ///
    /// # Panics
    ///
    /// If the frequency is zero.
    pub fn new(timeline: Timeline, frequency_hz: u32, lines: Vec<TimerLines>) -> Timers {
        assert!(frequency_hz != 0, "a counter that stands still is no timer");
        let cpu = |lines: TimerLines| Cpu {
            cntfrq: Cell::new(frequency_hz),
            cntkctl: Cell::new(0),
            virtual_timer: GenericTimer::new(lines.virtual_timer),
            physical_timer: GenericTimer::new(lines.physical_timer),
        };
        let cpus = lines.into_iter().map(cpu).collect();
        Timers(Rc::new(Shared {
            timeline,
            frequency_hz,
            last_count: Cell::new(0),
            cpus,
        }))
    }

    /// The counter at `now`. It never goes back: a CPU that is behind in time reads what another
    /// has seen already.
    pub fn count(&self, now: Time) -> u64 {
        self.0.count(now)
    }

    /// Whether a timer would raise its output, but at no time that can be told: it never will.
    pub fn waits_for_never(&self) -> bool {
        let timers = self.0.cpus.iter();
        let mut timers = timers.flat_map(|cpu| [&cpu.virtual_timer, &cpu.physical_timer]);
        timers.any(|timer| {
            let waits = timer.enabled.get() && !timer.masked.get();
            waits && self.0.time_of(timer.compare.get()).is_none()
        })
    }

    /// `CNTKCTL_EL1` of a CPU, for its checks of accesses from EL0.
    pub fn cntkctl(&self, cpu: usize) -> u64 {
        self.0.cpus.get(cpu).map_or(0, |cpu| cpu.cntkctl.get())
    }

    /// Reads a timer register, named by its packed encoding (see [`sysreg`]), at `now`. `None`:
    /// there is no such register here.
    pub fn sysreg_read(&self, cpu: usize, register: u16, now: Time) -> Option<u64> {
        let state = self.0.cpus.get(cpu)?;
        Some(match register {
            CNTFRQ_EL0 => state.cntfrq.get().into(),
            CNTPCT_EL0 | CNTVCT_EL0 => self.0.count(now),
            CNTKCTL_EL1 => state.cntkctl.get(),
            _ => {
                let (which, register) = decode(cpu, register)?;
                self.0.read(which, register, now)
            }
        })
    }

    /// Writes a timer register at `now`. `None`: there is no such register here, or it is
    /// read-only.
    pub fn sysreg_write(&self, cpu: usize, register: u16, value: u64, now: Time) -> Option<()> {
        let state = self.0.cpus.get(cpu)?;
        match register {
            // EL1 is the highest Exception level, which may write it. It only informs software.
            CNTFRQ_EL0 => state.cntfrq.set(value as u32),
            CNTKCTL_EL1 => state.cntkctl.set(value & CNTKCTL_MASK),
            _ => {
                let (which, register) = decode(cpu, register)?;
                Shared::write(&self.0, which, register, value, now);
            }
        }
        Some(())
    }
}

fn decode(cpu: usize, register: u16) -> Option<(Which, Register)> {
    let (is_virtual, register) = match register {
        CNTP_TVAL_EL0 => (false, Register::TimerValue),
        CNTP_CTL_EL0 => (false, Register::Control),
        CNTP_CVAL_EL0 => (false, Register::CompareValue),
        CNTV_TVAL_EL0 => (true, Register::TimerValue),
        CNTV_CTL_EL0 => (true, Register::Control),
        CNTV_CVAL_EL0 => (true, Register::CompareValue),
        _ => return None,
    };
    Some((Which { cpu, is_virtual }, register))
}

impl Shared {
    fn count(&self, now: Time) -> u64 {
        let ticks = u128::from(now.as_ps()) * u128::from(self.frequency_hz) / PS_PER_SECOND;
        let count = (ticks as u64).max(self.last_count.get());
        self.last_count.set(count);
        count
    }

    /// The first time at which the counter is `count`, if that ever comes.
    fn time_of(&self, count: u64) -> Option<Time> {
        let ps = (u128::from(count) * PS_PER_SECOND).div_ceil(self.frequency_hz.into());
        u64::try_from(ps).ok().map(Time::from_ps)
    }

    fn timer(&self, which: Which) -> &GenericTimer {
        let cpu = &self.cpus[which.cpu];
        if which.is_virtual {
            &cpu.virtual_timer
        } else {
            &cpu.physical_timer
        }
    }

    fn read(&self, which: Which, register: Register, now: Time) -> u64 {
        let timer = self.timer(which);
        match register {
            Register::TimerValue => timer.compare.get().wrapping_sub(self.count(now)) & 0xffff_ffff,
            Register::CompareValue => timer.compare.get(),
            Register::Control => {
                let bit = |set: bool, bit: u64| if set { bit } else { 0 };
                bit(timer.enabled.get(), CTL_ENABLE)
                    | bit(timer.masked.get(), CTL_IMASK)
                    | bit(timer.is_due(self.count(now)), CTL_ISTATUS)
            }
        }
    }

    fn write(self: &Rc<Self>, which: Which, register: Register, value: u64, now: Time) {
        let timer = self.timer(which);
        match register {
            Register::TimerValue => {
                let ticks = i64::from(value as u32 as i32);
                timer
                    .compare
                    .set(self.count(now).wrapping_add_signed(ticks));
            }
            Register::CompareValue => timer.compare.set(value),
            Register::Control => {
                timer.enabled.set(value & CTL_ENABLE != 0);
                timer.masked.set(value & CTL_IMASK != 0);
            }
        }
        self.update(which, now);
    }

    /// Drives the output and plans the event at which it comes true.
    fn update(self: &Rc<Self>, which: Which, now: Time) {
        let timer = self.timer(which);
        if let Some(event) = timer.event.take() {
            self.timeline.cancel(event);
        }
        let due = timer.is_due(self.count(now));
        if timer.enabled.get()
            && !timer.masked.get()
            && !due
            && let Some(deadline) = self.time_of(timer.compare.get())
        {
            let shared: Weak<Shared> = Rc::downgrade(self);
            let event = self.timeline.at(deadline, move || {
                if let Some(shared) = shared.upgrade() {
                    shared.update(which, shared.timeline.now());
                }
            });
            timer.event.replace(Some(event));
        }
        timer.line.set(due && !timer.masked.get());
    }
}

#[cfg(test)]
mod tests;

//! The counters behind debugfs (Linux: `qm_dfx_regs` in debugfs.c, `hzip_dfx_regs` in zip_main.c).
//!
//! Each counts what its name says; nothing more is documented. MODEL: a cycle is a nanosecond, a delay is
//! the time for which an entry held its core, and an entry that is refused before it gets a core is
//! counted by the first of its kind. They wrap, as counters of 32 or 64 bits do.

use std::cell::RefCell;
use std::collections::BTreeMap;

use stallbox_timeline::{Time, Timeline};

/// The two kinds of core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoreKind {
    Compress,
    Decompress,
}

/// How many cores there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CoreCounts {
    pub(super) compress: usize,
    pub(super) decompress: usize,
}

impl CoreCounts {
    pub(super) fn of(self, kind: CoreKind) -> usize {
        match kind {
            CoreKind::Compress => self.compress,
            CoreKind::Decompress => self.decompress,
        }
    }
}

/// A core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CoreName {
    pub(super) kind: CoreKind,
    pub(super) index: usize,
}

/// What the queue manager counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QmEvent {
    /// A mailbox command was taken.
    Mailbox,
    /// A doorbell came, of whatever ring.
    Doorbell,
    /// An entry of this queue was fetched.
    Fetched(u16),
    /// A completion went into this queue's ring.
    Completed(u16),
    /// An entry was handed to the engine.
    Sent,
    /// The engine had done with it.
    Finished,
    /// It was written back.
    WrittenBack,
    /// A completion could not be written.
    CompletionFailed,
    /// An ECC error of one bit, or of more, was raised.
    Ecc { many: bool },
}

/// How an entry ended at a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With a result, whatever its status.
    Done,
    /// The entry, or a list that it names, makes no sense.
    Unparsable,
    /// An access to its memory was refused.
    Refused,
}

#[derive(Default)]
struct QmCounters {
    mailbox: u32,
    doorbells: u32,
    fetched: BTreeMap<u16, u32>,
    completed: BTreeMap<u16, u32>,
    sent: u32,
    finished: u32,
    written_back: u32,
    completion_failed: u32,
    ecc: [u32; 2],
}

#[derive(Clone, Copy, Default)]
struct CoreCounters {
    got: u32,
    right: u32,
    wrong: u32,
    done: u32,
    refused: u32,
    unparsable: u32,
    consumed: u64,
    produced: u64,
    /// Delays: their sum and number, the longest, the shortest.
    delay_sum_ns: u64,
    delays: u64,
    delay_max_ns: u64,
    delay_min_ns: Option<u64>,
    /// In use, without the time since `busy_since`.
    worked_ns: u64,
    busy_since: Option<Time>,
    /// Where both stood when they were cleared.
    worked_base_ns: u64,
    idle_base_ns: u64,
}

impl CoreCounters {
    fn worked_ns(&self, now: Time) -> u64 {
        let running = self
            .busy_since
            .map_or(0, |since| now.as_ns().saturating_sub(since.as_ns()));
        self.worked_ns + running
    }

    fn idle_ns(&self, now: Time) -> u64 {
        now.as_ns().saturating_sub(self.worked_ns(now))
    }

    /// What a read at `offset` clears. Of a counter of 64 bits that is a matter of the lower half, the
    /// one that the driver reads.
    fn clear(&mut self, offset: u32, now: Time) {
        match offset {
            0x00 => self.got = 0,
            0x04 => self.right = 0,
            0x08 => self.wrong = 0,
            0x0c => self.done = 0,
            0x10 => self.worked_base_ns = self.worked_ns(now),
            0x18 => self.idle_base_ns = self.idle_ns(now),
            0x20 => self.delay_max_ns = 0,
            0x24 => self.delay_min_ns = None,
            0x28 => (self.delay_sum_ns, self.delays) = (0, 0),
            0x38 => self.consumed = 0,
            0x40 => self.produced = 0,
            0x84 => self.refused = 0,
            0x88 => self.unparsable = 0,
            _ => {}
        }
    }

    /// All zero; it stays in use if it is.
    fn reset(&mut self, now: Time) {
        let before = *self;
        *self = CoreCounters {
            worked_ns: before.worked_ns,
            busy_since: before.busy_since,
            worked_base_ns: before.worked_ns(now),
            idle_base_ns: before.idle_ns(now),
            ..CoreCounters::default()
        };
    }
}

/// All of a function's counters.
pub(super) struct Counters {
    timeline: Timeline,
    qm: RefCell<QmCounters>,
    cores: [RefCell<Vec<CoreCounters>>; 2],
}

fn bump(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}

fn saturated(ns: u64) -> u32 {
    u32::try_from(ns).unwrap_or(u32::MAX)
}

impl Counters {
    pub(super) fn new(timeline: &Timeline, counts: CoreCounts) -> Counters {
        let cores = |count| RefCell::new(vec![CoreCounters::default(); count]);
        Counters {
            timeline: timeline.clone(),
            qm: RefCell::default(),
            cores: [cores(counts.compress), cores(counts.decompress)],
        }
    }

    /// All zero. A core that is in use stays so.
    pub(super) fn reset(&self) {
        self.qm.take();
        let now = self.timeline.now();
        for cores in &self.cores {
            for core in cores.borrow_mut().iter_mut() {
                core.reset(now);
            }
        }
    }

    pub(super) fn qm(&self, event: QmEvent) {
        let mut qm = self.qm.borrow_mut();
        bump(match event {
            QmEvent::Mailbox => &mut qm.mailbox,
            QmEvent::Doorbell => &mut qm.doorbells,
            QmEvent::Fetched(queue) => qm.fetched.entry(queue).or_default(),
            QmEvent::Completed(queue) => qm.completed.entry(queue).or_default(),
            QmEvent::Sent => &mut qm.sent,
            QmEvent::Finished => &mut qm.finished,
            QmEvent::WrittenBack => &mut qm.written_back,
            QmEvent::CompletionFailed => &mut qm.completion_failed,
            QmEvent::Ecc { many } => &mut qm.ecc[usize::from(many)],
        });
    }

    fn core(&self, name: CoreName, change: impl FnOnce(&mut CoreCounters)) {
        let mut cores = self.cores[name.kind as usize].borrow_mut();
        if let Some(core) = cores.get_mut(name.index) {
            change(core);
        }
    }

    /// A core got an entry.
    pub(super) fn started(&self, name: CoreName) {
        let now = self.timeline.now();
        self.core(name, |core| {
            bump(&mut core.got);
            bump(&mut core.right);
            core.busy_since = Some(now);
        });
    }

    /// It is free again.
    pub(super) fn freed(&self, name: CoreName) {
        let now = self.timeline.now();
        self.core(name, |core| {
            core.worked_ns = core.worked_ns(now);
            let Some(since) = core.busy_since.take() else {
                return;
            };
            let delay = now.as_ns().saturating_sub(since.as_ns());
            core.delays = core.delays.saturating_add(1);
            core.delay_sum_ns = core.delay_sum_ns.saturating_add(delay);
            core.delay_max_ns = core.delay_max_ns.max(delay);
            core.delay_min_ns = Some(core.delay_min_ns.map_or(delay, |min| min.min(delay)));
        });
    }

    /// No core got the entry, because it makes no sense.
    pub(super) fn rejected(&self, kind: CoreKind) {
        self.core(CoreName { kind, index: 0 }, |core| {
            bump(&mut core.got);
            bump(&mut core.wrong);
            bump(&mut core.unparsable);
            bump(&mut core.done);
        });
    }

    /// A core's entry has its result.
    pub(super) fn ended(&self, name: CoreName, ending: Ending, consumed: u32, produced: u32) {
        self.core(name, |core| {
            bump(&mut core.done);
            core.consumed = core.consumed.wrapping_add(consumed.into());
            core.produced = core.produced.wrapping_add(produced.into());
            match ending {
                Ending::Done => {}
                Ending::Unparsable => bump(&mut core.unparsable),
                Ending::Refused => bump(&mut core.refused),
            }
        });
    }

    /// Reads a counter of the queue manager; `None` if `offset` is none. `queue` and `function` are
    /// those that software selected for it, of which only function 0 is here.
    pub(super) fn read_qm(&self, offset: u32, selected: u32, clear: bool) -> Option<u32> {
        let mut qm = self.qm.borrow_mut();
        let here = selected & 0x3f == 0;
        let queue = (selected >> 16) as u16;
        let mut none = 0;
        let counter = match offset {
            0x10_4000 => &mut qm.ecc[0],
            0x10_4008 => &mut qm.ecc[1],
            0x10_4018 if here => &mut qm.mailbox,
            0x10_4028 if here => &mut qm.doorbells,
            0x10_4038 if here => qm.fetched.get_mut(&queue).unwrap_or(&mut none),
            0x10_4048 if here => qm.completed.get_mut(&queue).unwrap_or(&mut none),
            0x10_4018 | 0x10_4028 | 0x10_4038 | 0x10_4048 => &mut none,
            0x10_4050 => &mut qm.sent,
            0x10_4058 => &mut qm.written_back,
            0x10_4060 => &mut qm.finished,
            0x10_40b4 => &mut qm.completion_failed,
            _ => return None,
        };
        let value = *counter;
        if clear {
            *counter = 0;
        }
        Some(value)
    }

    /// Reads a register of a core; 0 if it is no counter.
    pub(super) fn read_core(&self, name: CoreName, offset: u32, clear: bool) -> u32 {
        let now = self.timeline.now();
        let mut value = 0;
        self.core(name, |core| {
            let half = |long: u64| (long >> (offset % 8 * 8)) as u32;
            value = match offset {
                0x00 => core.got,
                0x04 => core.right,
                0x08 => core.wrong,
                0x0c => core.done,
                0x10 | 0x14 => half(core.worked_ns(now) - core.worked_base_ns),
                0x18 | 0x1c => half(core.idle_ns(now).saturating_sub(core.idle_base_ns)),
                0x20 => saturated(core.delay_max_ns),
                0x24 => saturated(core.delay_min_ns.unwrap_or(0)),
                0x28 => saturated(core.delay_sum_ns.checked_div(core.delays).unwrap_or(0)),
                0x38 | 0x3c => half(core.consumed),
                0x40 | 0x44 => half(core.produced),
                0x84 => core.refused,
                0x88 => core.unparsable,
                _ => 0,
            };
            if clear {
                core.clear(offset, now);
            }
        });
        value
    }
}

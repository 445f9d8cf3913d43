//! What a machine has under way: what a run that does not end by itself prints, what its summary has, and
//! what `stallbox inspect SOCKET outstanding` shows. `docs/hangs.md` is the reference.
//!
//! It is gathered from the models, which say what there is, and from the ledger (`machine::ledger`),
//! which says since when and what rules did to it. Gathering changes nothing.

mod gather;
mod text;

use serde::Serialize;

use crate::ledger::{Took, hex};
use crate::queues::QueueStates;
use crate::vcpu::{Core, Power};

/// As many of each kind are listed.
pub(crate) const SHOWN_MAX: usize = 16;

/// The first of a kind, and how many there are.
#[derive(Clone, Debug, Serialize)]
pub struct List<T> {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub shown: Vec<T>,
}

impl<T> List<T> {
    fn of(all: Vec<T>) -> List<T> {
        let count = all.len();
        let mut shown = all;
        shown.truncate(SHOWN_MAX);
        List { count, shown }
    }

    /// How many are not listed.
    pub fn rest(&self) -> usize {
        self.count - self.shown.len()
    }
}

/// What software knows of something that the SMMU tells it by a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// It is not in the queue yet.
    NotWritten,
    /// It is in the queue, and CONS is before it.
    Unread,
    /// CONS is behind it: software has taken it.
    Read,
    /// It was lost.
    Lost,
}

/// A transaction that waits for software.
#[derive(Clone, Debug, Serialize)]
pub struct Stall {
    /// The device's name.
    pub device: String,
    /// StreamID.
    pub stream: u32,
    /// PASID, if it has one.
    pub pasid: Option<u32>,
    /// The device's queue, if it is known.
    pub queue: Option<u16>,
    /// What the access is for, if that is known.
    pub purpose: Option<&'static str>,
    /// Input address.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// `read` or `write`.
    pub access: &'static str,
    /// Its tag; none while its report is held back.
    pub stag: Option<u16>,
    /// When it stalled.
    pub since_ns: Option<u64>,
    /// How long ago that is.
    pub age_ns: Option<u64>,
    /// Its event record.
    pub record: Entry,
    /// What a rule did to its record.
    pub record_taken: Option<Took>,
    /// Commands that named its tag and did not end it: what rules did to them.
    pub answers: Vec<Took>,
}

impl Stall {
    /// Whether its record or an answer to it is what a rule took here.
    fn was_taken(&self, took: &Took) -> bool {
        self.record_taken.as_ref() == Some(took) || self.answers.contains(took)
    }
}

/// A CMD_RESUME for which no stall waited.
#[derive(Clone, Debug, Serialize)]
pub struct Unasked {
    /// When.
    pub time_ns: u64,
    /// StreamID.
    pub stream: u32,
    /// The tag that it named.
    pub stag: u16,
}

/// A page request group without a response.
#[derive(Clone, Debug, Serialize)]
pub struct PageRequestGroup {
    /// The device's name.
    pub device: String,
    /// StreamID.
    pub stream: u32,
    /// PASID, if it has one.
    pub pasid: Option<u32>,
    /// Page Request Group Index.
    pub index: u16,
    /// The page of its first request.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// Requests in it so far.
    pub requests: u32,
    /// When the first arrived.
    pub since_ns: u64,
    /// How long ago that is.
    pub age_ns: u64,
    /// The entry of the last one.
    pub entry: Entry,
}

/// An invalidation that a device has not completed.
#[derive(Clone, Debug, Serialize)]
pub struct AtcInvalidation {
    /// The device's name.
    pub device: String,
    /// StreamID.
    pub stream: u32,
    /// PASID, if it is of one.
    pub pasid: Option<u32>,
    /// First address.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// Size of the range as a power of two of bytes; 64 is everything.
    pub size_log2: u8,
    /// When CMD_ATC_INV was consumed.
    pub since_ns: u64,
    /// How long ago that is.
    pub age_ns: u64,
    /// The SMMU has given it up.
    pub timed_out: bool,
}

/// A gate at which something waits.
#[derive(Clone, Debug, Serialize)]
pub struct Gate {
    /// Its name.
    pub gate: String,
    /// How many wait.
    pub waiting: usize,
}

/// What a rule holds.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// What it took, and when.
    #[serde(flatten)]
    pub took: Took,
    /// How long ago that is.
    pub age_ns: u64,
}

/// What a rule kept from its way: lost, changed, failed.
#[derive(Clone, Debug, Serialize)]
pub struct RuleLosses {
    /// The rule's name.
    pub rule: String,
    /// How much in all.
    pub count: u64,
    /// The last of it, oldest first.
    pub last: Vec<Took>,
}

/// A ring of a device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ring {
    /// Index of the first entry that its consumer has not taken.
    pub head: u32,
    /// Index behind the last entry.
    pub tail: u32,
    /// How many entries it has.
    pub entries: u32,
    /// Entries between head and tail.
    pub queued: u64,
}

/// A queue of a device.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// Its number.
    pub queue: u16,
    /// The address space of its data.
    pub pasid: Option<u32>,
    /// Submission ring.
    pub sq: Option<Ring>,
    /// Completion ring.
    pub cq: Option<Ring>,
    /// Tasks of the device that work for it.
    pub tasks: u32,
    /// Why it is not served, if it is not.
    pub stopped: Option<&'static str>,
}

/// A ring of events of a device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EventRing {
    /// The ring.
    #[serde(flatten)]
    pub ring: Ring,
    /// Events that are not in memory yet.
    pub unwritten: usize,
    /// Its interrupt is masked at the device.
    pub masked: bool,
    /// An interrupt was sent, and the driver has not rung its doorbell since.
    pub interrupted: bool,
}

/// A job that is not completed.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    /// The queue.
    pub queue: u16,
    /// The address space of its data.
    pub pasid: Option<u32>,
    /// The submitter's tag.
    pub tag: u64,
    /// Bytes of input.
    pub input_bytes: u32,
    /// When it began.
    pub since_ns: u64,
    /// How long ago that is.
    pub age_ns: u64,
    /// It has its result; its completion is not written.
    pub done: bool,
}

/// An accelerator.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Its name.
    pub device: String,
    /// StreamID.
    pub stream: u32,
    /// Queues that have a ring.
    pub queues_open: usize,
    /// Of those, the ones with something under way.
    pub queues: List<Queue>,
    /// EQ: completion events.
    pub eq: Option<EventRing>,
    /// AEQ: failures.
    pub aeq: Option<EventRing>,
    /// Jobs that are not completed.
    pub jobs: List<Job>,
    /// Accesses to memory under way.
    pub dma_in_flight: usize,
}

/// A step of a backtrace.
#[derive(Clone, Debug, Serialize)]
pub struct Frame {
    /// The address.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// `function+0x1c`, if there are symbols.
    pub symbol: Option<String>,
}

/// An address space that a device shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Space {
    /// StreamID.
    pub stream: u32,
    /// PASID.
    pub pasid: u32,
}

/// An interrupt that is pending or active.
#[derive(Clone, Debug, Serialize)]
pub struct Interrupt {
    /// Its number.
    pub intid: u32,
    /// What it is, where that is known.
    pub name: &'static str,
    /// Pending.
    pub pending: bool,
    /// Active.
    pub active: bool,
    /// Enabled; null of an LPI whose configuration has not been read.
    pub enabled: Option<bool>,
    /// Priority; lower is more urgent.
    pub priority: Option<u8>,
}

/// The interrupts of a vCPU.
#[derive(Clone, Debug, Serialize)]
pub struct Interrupts {
    /// ICC_PMR_EL1: what has no lower priority is masked.
    pub pmr: u8,
    /// ICC_RPR_EL1: the priority of what is being handled; 255 if nothing is.
    pub running_priority: u8,
    /// ICC_IGRPEN1_EL1.Enable.
    pub group1_enabled: bool,
    /// IRQ is asserted.
    pub irq: bool,
    /// SGIs, PPIs and LPIs of this vCPU, and the SPIs that are routed to it.
    pub in_progress: List<Interrupt>,
}

/// A vCPU.
#[derive(Clone, Debug, Serialize)]
pub struct Vcpu {
    /// Which.
    pub vcpu: usize,
    /// What it is doing.
    pub power: Power,
    /// Exception level.
    pub el: Option<u8>,
    /// PSTATE.DAIF, a letter for each mask that is set.
    pub daif: Option<String>,
    /// Its registers.
    pub registers: Option<Core>,
    /// Where it stands, innermost first: the kernel's by frame records, a program's PC only.
    pub backtrace: Vec<Frame>,
    /// The instruction at its PC, if that is mapped.
    pub instruction: Option<String>,
    /// The address space of TTBR0_EL1, if a device shares it.
    pub space: Option<Space>,
    /// Its interrupts, where the engine can read them.
    pub interrupts: Option<Interrupts>,
}

/// All that is under way.
#[derive(Clone, Debug, Serialize)]
pub struct Outstanding {
    /// The devices' time.
    pub time_ns: u64,
    /// Stalls, the oldest first.
    pub stalls: List<Stall>,
    /// The last CMD_RESUMEs for which no stall waited.
    pub unasked_resumes: Vec<Unasked>,
    /// Page request groups without a response.
    pub page_requests: List<PageRequestGroup>,
    /// Invalidations that devices have not completed.
    pub atc_invalidations: List<AtcInvalidation>,
    /// Gates at which something waits.
    pub gates: Vec<Gate>,
    /// What rules hold, at gates or for a delay.
    pub held: List<Held>,
    /// What rules kept from its way.
    pub lost: List<RuleLosses>,
    /// The SMMU's queues and errors.
    pub smmu: QueueStates,
    /// The command at SMMU_CMDQ_CONS.
    pub next_command: Option<String>,
    /// Accelerators.
    pub devices: Vec<Device>,
    /// vCPUs.
    pub vcpus: Vec<Vcpu>,
    /// The console's last lines.
    pub console: Vec<String>,
}

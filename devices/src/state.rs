//! What an accelerator has under way, for whoever looks at a machine that stands still. Looking
//! changes nothing.

/// A ring of entries between software and a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingState {
    /// Index of the first entry that its consumer has not taken.
    pub head: u32,
    /// Index behind the last entry that its producer has put there.
    pub tail: u32,
    /// How many entries it has.
    pub entries: u32,
    /// Entries between head and tail.
    pub queued: u64,
}

/// A queue of an accelerator that has a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Its number.
    pub number: u16,
    /// The address space of its data, if it is not the kernel's.
    pub pasid: Option<u32>,
    /// What software submits. An entry stays until its completion is written, or (the test engine) until
    /// it is fetched.
    pub submission: Option<RingState>,
    /// What the device completed.
    pub completion: Option<RingState>,
    /// Tasks of the device that work for it, those of queues that it was before included.
    pub tasks: u32,
    /// Why it is not served, if it is not.
    pub stopped: Option<&'static str>,
}

impl QueueState {
    /// Whether anything is under way: for the device, or for software that has not looked yet.
    pub fn is_busy(&self) -> bool {
        let queued = |ring: Option<RingState>| ring.is_some_and(|ring| ring.queued > 0);
        self.tasks > 0
            || self.stopped.is_some()
            || queued(self.submission)
            || queued(self.completion)
    }
}

/// A ring of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRingState {
    /// Events that are in memory and that the driver has not taken.
    pub ring: RingState,
    /// Events that are not in memory yet.
    pub unwritten: usize,
    /// Its interrupt is masked at the device.
    pub masked: bool,
    /// An interrupt was sent, and the driver has not rung its doorbell since.
    pub interrupted: bool,
}

/// What an accelerator has under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceleratorState {
    /// Queues that have a ring or a task, by number.
    pub queues: Vec<QueueState>,
    /// The ring of completion events, if the device has one.
    pub completion_events: Option<EventRingState>,
    /// The ring of failures, if the device has one.
    pub failures: Option<EventRingState>,
}

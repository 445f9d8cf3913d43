//! The queue manager: rings, doorbells, mailbox and events, the same for all of HiSilicon's
//! accelerators. What a submission entry means is its [`Engine`]'s business.
//!
//! Specified by the driver: Linux 6.12, `drivers/crypto/hisilicon/qm.c`.
//!
//! Rings and contexts are accessed with the requester id alone, also those of user queues: the
//! kernel allocates them (`hisi_qp_memory_init`) and maps them into the process. Only an engine's
//! data accesses carry a PASID.
//!
//! DEVIATION: the context cache is the only copy of a context. The arrays named by `SQC_BT` and
//! `CQC_BT` are not written back, as nothing reads them.
//!
//! DEVIATION: a doorbell that makes no sense is ignored. The hardware would report "doorbell tag
//! invalid" or "invalid VF" to the abnormal interrupt, which resets the whole device (and, without
//! ACPI, leaves it isolated); user space reaches the doorbells and must not be able to do that.

mod engine;
mod event;
mod mailbox;
mod queue;
mod ring;
pub(super) mod spec;
mod vft;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use stallbox_timeline::Notify;

use super::counters::{Counters, QmEvent};
use super::master::{DmaError, Lease, Master, Requester, Revoked};
use crate::function::{DeviceNote, Wires};
use crate::state::{AcceleratorState, QueueState};
use crate::verdict::{DeviceAct, Purpose};
use event::EventRing;
use mailbox::{Action, Command, ContextKind, Mailbox, STATUS_FAILED};
use queue::{CompletionRing, Serving, SubmissionRing};
use ring::Position;
pub(super) use spec::Doorbell;
use spec::{CONTEXT_BYTES, Context, Event, SQE_BYTES};
use vft::Vft;

/// What a submission entry is handed over with.
pub(super) struct Job {
    pub(super) queue: u16,
    /// The queue's algorithm type.
    pub(super) algorithm: u8,
    pub(super) pasid: u16,
    /// The queue context says that data carries the PASID.
    pub(super) pasid_enabled: bool,
    pub(super) lease: Lease,
}

/// A submission entry.
pub(super) type Entry = [u8; SQE_BYTES];

pub(super) type JobFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Revoked>> + 'a>>;

/// What executes entries.
pub(super) trait Engine {
    /// Executes `entry` and leaves the result in it. Whatever is wrong with the entry or its data
    /// is told there.
    fn run<'a>(&'a self, job: &'a Job, entry: &'a mut Entry) -> JobFuture<'a>;
    /// Leases were revoked: jobs that wait inside the engine are to look at theirs.
    fn recheck(&self);
}

/// What became of events that nothing in the device gave cause for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedEvents {
    /// The ring has all of them.
    Taken,
    /// It has so many, and no room for more.
    Overflow {
        /// How many.
        taken: u32,
    },
    /// The driver has set up no such ring.
    NoRing,
}

/// Which of the two event rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// EQ: completions.
    Completion,
    /// AEQ: failures.
    Async,
}

pub(super) struct Qm {
    master: Rc<Master>,
    counters: Rc<Counters>,
    interrupts: Rc<Wires>,
    engine: Rc<dyn Engine>,
    state: RefCell<State>,
    /// A serving task ended.
    progress: Notify,
    /// The mailbox knows STOP_QP and FLUSH_QM.
    stop_commands: bool,
    queue_count: u16,
}

struct State {
    /// A completion ring has one event in the EQ at most.
    coalesce: bool,
    queues: Vec<QueuePair>,
    eq: EventRing,
    aeq: EventRing,
    /// Events in the EQ that the driver has not taken, in order.
    outstanding: VecDeque<(Position, u16)>,
    /// Completion rings that wait for their last event to be taken, or for room.
    deferred: BTreeSet<u16>,
    vft: Vft,
    mailbox: Mailbox,
    /// The function's own lease.
    lease: Lease,
}

#[derive(Default)]
struct QueuePair {
    submission: Option<SubmissionRing>,
    completion: Option<CompletionRing>,
    /// The submission ring's lease.
    lease: Lease,
    /// Tasks with a transaction of this queue under way, those of revoked leases included.
    tasks: Rc<Cell<u32>>,
    /// An event of the completion ring is in the EQ; see [`ZipConfig::coalesce`](crate::hisi::ZipConfig).
    event_outstanding: bool,
}

impl State {
    fn new(queue_count: u16, coalesce: bool) -> State {
        State {
            coalesce,
            queues: (0..queue_count).map(|_| QueuePair::default()).collect(),
            eq: EventRing::new(0),
            aeq: EventRing::new(1),
            outstanding: VecDeque::new(),
            deferred: BTreeSet::new(),
            vft: Vft::new(),
            mailbox: Mailbox::default(),
            lease: Lease::default(),
        }
    }

    fn events(&mut self, kind: EventKind) -> &mut EventRing {
        match kind {
            EventKind::Completion => &mut self.eq,
            EventKind::Async => &mut self.aeq,
        }
    }

    /// A queue, if the function has it.
    fn queue(&mut self, number: u16) -> Option<&mut QueuePair> {
        if number >= self.vft.queues() {
            return None;
        }
        self.queues.get_mut(usize::from(number))
    }

    fn submission(&mut self, number: u16) -> Option<&mut SubmissionRing> {
        self.queue(number)?.submission.as_mut()
    }

    fn completion(&mut self, number: u16) -> Option<&mut CompletionRing> {
        self.queue(number)?.completion.as_mut()
    }

    /// Puts an event of completion ring `number` into the EQ, if it is armed, now or as soon as
    /// the rules permit.
    fn completion_event(&mut self, number: u16) {
        let Some(pair) = self.queues.get_mut(usize::from(number)) else {
            return;
        };
        let Some(ring) = pair.completion.as_mut().filter(|ring| ring.armed) else {
            return;
        };
        let event = Event::new().with_queue(number);
        let position = if self.coalesce && pair.event_outstanding {
            None
        } else {
            self.eq.push(event)
        };
        match position {
            Some(position) => {
                ring.armed = false;
                pair.event_outstanding = true;
                self.outstanding.push_back((position, number));
            }
            None => {
                self.deferred.insert(number);
            }
        }
    }

    /// The driver's head in the EQ moved.
    fn events_taken(&mut self) {
        let head = self.eq.head();
        while let Some(&(position, number)) = self.outstanding.front() {
            if position >= head {
                break;
            }
            self.outstanding.pop_front();
            if let Some(pair) = self.queues.get_mut(usize::from(number)) {
                pair.event_outstanding = false;
            }
        }
        for number in std::mem::take(&mut self.deferred) {
            if self.completion(number).is_some_and(|ring| ring.has_news()) {
                self.completion_event(number);
            }
        }
    }

    fn forget_events(&mut self) {
        self.outstanding.clear();
        self.deferred.clear();
        for pair in &mut self.queues {
            pair.event_outstanding = false;
        }
    }

    /// Takes a queue's contexts away.
    fn close(&mut self, number: usize) {
        let Some(pair) = self.queues.get_mut(number) else {
            return;
        };
        std::mem::take(&mut pair.lease).revoke();
        pair.submission = None;
        pair.completion = None;
    }
}

/// Why a mailbox command did not succeed.
enum CommandError {
    Failed,
    Revoked,
}

impl From<DmaError> for CommandError {
    fn from(error: DmaError) -> CommandError {
        match error {
            DmaError::Aborted(_) => CommandError::Failed,
            DmaError::Revoked => CommandError::Revoked,
        }
    }
}

impl From<Revoked> for CommandError {
    fn from(_: Revoked) -> CommandError {
        CommandError::Revoked
    }
}

impl Qm {
    pub(super) fn new(
        master: Rc<Master>,
        counters: Rc<Counters>,
        interrupts: Rc<Wires>,
        engine: Rc<dyn Engine>,
        queue_count: u16,
        coalesce: bool,
        stop_commands: bool,
    ) -> Rc<Qm> {
        Rc::new(Qm {
            master,
            counters,
            interrupts,
            engine,
            state: RefCell::new(State::new(queue_count, coalesce)),
            progress: Notify::new(),
            stop_commands,
            queue_count,
        })
    }

    /// Back to the state after power-on. Tasks end as soon as the transaction that they wait for
    /// has come back.
    pub(super) fn reset(&self) {
        {
            let mut state = self.state.borrow_mut();
            state.lease.revoke();
            state.eq.lease.revoke();
            state.aeq.lease.revoke();
            for number in 0..state.queues.len() {
                state.close(number);
            }
            *state = State::new(self.queue_count, state.coalesce);
        }
        self.leases_revoked();
    }

    fn leases_revoked(&self) {
        self.master.recheck();
        self.engine.recheck();
        self.progress.notify_all();
    }

    /// No queue has work.
    pub(super) fn is_idle(&self) -> bool {
        self.state
            .borrow()
            .queues
            .iter()
            .all(|pair| pair.tasks.get() == 0)
    }

    /// What is under way. `with_pasid` tells whether data carries the PASID of a queue whose context
    /// enables it, or does not.
    pub(super) fn state(&self, with_pasid: impl Fn(bool) -> bool) -> AcceleratorState {
        let state = self.state.borrow();
        let queue = |(number, pair): (usize, &QueuePair)| {
            let submission = pair.submission.as_ref();
            let there = submission.is_some() || pair.completion.is_some() || pair.tasks.get() > 0;
            there.then(|| QueueState {
                number: number as u16,
                pasid: submission
                    .filter(|ring| with_pasid(ring.context.pasid_enabled()))
                    .map(|ring| ring.context.pasid().into()),
                submission: submission.map(SubmissionRing::state),
                completion: pair.completion.as_ref().map(CompletionRing::state),
                tasks: pair.tasks.get(),
                stopped: match submission.map(|ring| ring.serving) {
                    None | Some(Serving::Yes) => None,
                    Some(Serving::Stopped) => Some("stopped"),
                    Some(Serving::Failed) => Some("failed"),
                },
            })
        };
        AcceleratorState {
            queues: state.queues.iter().enumerate().filter_map(queue).collect(),
            completion_events: state.eq.state(),
            failures: state.aeq.state(),
        }
    }

    pub(super) fn mailbox_read(&self, offset: usize, data: &mut [u8]) {
        self.state.borrow().mailbox.read(offset, data);
    }

    pub(super) fn mailbox_write(self: &Rc<Self>, offset: usize, data: &[u8]) {
        let mut state = self.state.borrow_mut();
        let Some(command) = state.mailbox.write(offset, data) else {
            return;
        };
        let lease = state.lease.clone();
        drop(state);
        self.counters.qm(QmEvent::Mailbox);
        let qm = self.clone();
        self.master.bus.timeline.spawn(async move {
            let verdict = qm
                .master
                .bus
                .probe
                .on_mailbox(command.number, command.queue);
            let Ok(act) = verdict.waited(&lease).await else {
                return;
            };
            let (status, answer) = match act {
                DeviceAct::Drop => return,
                DeviceAct::Fail(status) => (status, None),
                DeviceAct::Go | DeviceAct::Repeat(_) => match qm.perform(&command, &lease).await {
                    Ok(answer) => (0, answer),
                    Err(CommandError::Failed) => (STATUS_FAILED, None),
                    Err(CommandError::Revoked) => return,
                },
            };
            qm.state.borrow_mut().mailbox.finish(status, answer);
            let (command, queue) = (command.number, command.queue);
            qm.master.bus.note(DeviceNote::Mailbox {
                command,
                queue,
                status,
            });
        });
    }

    async fn perform(
        self: &Rc<Self>,
        command: &Command,
        lease: &Lease,
    ) -> Result<Option<u64>, CommandError> {
        match command.action {
            Action::Context {
                kind,
                to_memory: true,
            } => {
                let context = self.dump(kind, command.queue).ok_or(CommandError::Failed)?;
                let requester = Requester::function(lease, None, Purpose::Context);
                self.master
                    .write(&requester, command.address, &context.0)
                    .await?;
            }
            Action::Context {
                kind,
                to_memory: false,
            } => {
                let mut bytes = [0; CONTEXT_BYTES];
                let requester = Requester::function(lease, None, Purpose::Context);
                self.master
                    .read(&requester, command.address, &mut bytes)
                    .await?;
                self.install(kind, command.queue, Context(bytes))
                    .ok_or(CommandError::Failed)?;
            }
            Action::BaseTable => {}
            Action::QueryVft => return Ok(Some(self.state.borrow().vft.answer())),
            Action::StopQueue if self.stop_commands => {
                let queue = command.queue;
                self.state
                    .borrow_mut()
                    .queue(queue)
                    .ok_or(CommandError::Failed)?;
                self.stop(queue..queue + 1, lease).await?;
            }
            Action::Flush if self.stop_commands => self.stop(0..self.queue_count, lease).await?,
            Action::StopQueue | Action::Flush | Action::Unknown => {
                return Err(CommandError::Failed);
            }
        }
        Ok(None)
    }

    fn dump(&self, kind: ContextKind, number: u16) -> Option<Context> {
        let mut state = self.state.borrow_mut();
        Some(match kind {
            ContextKind::Submission => state
                .queue(number)?
                .submission
                .as_ref()
                .map_or_else(Context::default, |r| r.dump()),
            ContextKind::Completion => state
                .queue(number)?
                .completion
                .as_ref()
                .map_or_else(Context::default, |r| r.dump()),
            ContextKind::Event => state.eq.dump(),
            ContextKind::AsyncEvent => state.aeq.dump(),
        })
    }

    /// Takes a context over; `None` leaves everything as it was.
    fn install(self: &Rc<Self>, kind: ContextKind, number: u16, context: Context) -> Option<()> {
        {
            let mut state = self.state.borrow_mut();
            match kind {
                ContextKind::Submission => {
                    let ring = SubmissionRing::new(context)?;
                    state.queue(context.completion_queue())?;
                    let pair = state.queue(number)?;
                    std::mem::take(&mut pair.lease).revoke();
                    pair.submission = Some(ring);
                }
                ContextKind::Completion => {
                    let ring = CompletionRing::new(context)?;
                    let before = state.queue(number)?.completion.replace(ring);
                    if let Some(before) = before {
                        before.lease.revoke();
                    }
                }
                ContextKind::Event => {
                    state.eq.install(Some(context));
                    state.forget_events();
                }
                ContextKind::AsyncEvent => state.aeq.install(Some(context)),
            }
        }
        self.leases_revoked();
        if kind == ContextKind::Submission {
            // A context that was dumped with work left is taken up where it was.
            self.serve(number);
        }
        Some(())
    }

    /// Fetches nothing more, and waits until nothing of these queues is in flight or stalled.
    async fn stop(&self, queues: std::ops::Range<u16>, lease: &Lease) -> Result<(), Revoked> {
        let range = usize::from(queues.start)..usize::from(queues.end);
        {
            let mut state = self.state.borrow_mut();
            for pair in &mut state.queues[range.clone()] {
                if let Some(ring) = &mut pair.submission {
                    ring.serving = Serving::Stopped;
                }
            }
        }
        loop {
            lease.check()?;
            let busy = self.state.borrow().queues[range.clone()]
                .iter()
                .any(|pair| pair.tasks.get() > 0);
            if !busy {
                return Ok(());
            }
            self.progress.notified().await;
        }
    }

    /// A doorbell of a submission or completion ring. With isolated windows, `window` is the
    /// queue whose window it was written to.
    pub(super) fn doorbell(self: &Rc<Self>, window: Option<u16>, doorbell: Doorbell) {
        self.counters.qm(QmEvent::Doorbell);
        let number = doorbell.queue();
        let in_window = window.is_none_or(|window| window == number);
        let accepted = in_window
            && match doorbell.command() {
                spec::DOORBELL_SQ => self.submission_doorbell(doorbell),
                spec::DOORBELL_CQ => self.completion_doorbell(doorbell),
                _ => false,
            };
        if !accepted {
            self.master.bus.note(DeviceNote::DoorbellIgnored {
                queue: number,
                index: doorbell.index().into(),
            });
        }
    }

    fn submission_doorbell(self: &Rc<Self>, doorbell: Doorbell) -> bool {
        let number = doorbell.queue();
        let accepted = self
            .state
            .borrow_mut()
            .submission(number)
            .is_some_and(|ring| ring.doorbell(doorbell));
        if accepted {
            self.master.bus.note(DeviceNote::Doorbell {
                queue: number,
                tail: doorbell.index().into(),
            });
            self.serve(number);
        }
        accepted
    }

    fn completion_doorbell(self: &Rc<Self>, doorbell: Doorbell) -> bool {
        let number = doorbell.queue();
        {
            let mut state = self.state.borrow_mut();
            let Some(ring) = state.completion(number) else {
                return false;
            };
            if !ring.doorbell(doorbell) {
                return false;
            }
            // Armed too late to see a completion that is already there: the event comes at once.
            if ring.has_news() {
                state.completion_event(number);
            }
        }
        self.write_events(EventKind::Completion);
        true
    }

    /// A doorbell of an event ring: its interrupt may come again.
    pub(super) fn event_doorbell(self: &Rc<Self>, doorbell: Doorbell) {
        self.counters.qm(QmEvent::Doorbell);
        let kind = match doorbell.command() {
            spec::DOORBELL_EQ => EventKind::Completion,
            spec::DOORBELL_AEQ => EventKind::Async,
            _ => return,
        };
        {
            let mut state = self.state.borrow_mut();
            if !state.events(kind).doorbell(doorbell.index()) {
                drop(state);
                self.master.bus.note(DeviceNote::DoorbellIgnored {
                    queue: doorbell.queue(),
                    index: doorbell.index().into(),
                });
                return;
            }
            if kind == EventKind::Completion {
                state.events_taken();
            }
        }
        self.interrupt(kind);
        self.write_events(kind);
    }

    /// Writes events that nothing in the device gave cause for: as many as its ring has room for. Is
    /// the ring of completion events too short for them, it overflows, and the ring of failures tells the
    /// driver (`qm_aeq_thread`, QM_EQ_OVERFLOW); that one has nobody to tell.
    pub(super) fn inject_events(
        self: &Rc<Self>,
        kind: EventKind,
        queue: u16,
        code: u8,
        count: u32,
    ) -> InjectedEvents {
        let event = Event::new().with_queue(queue).with_kind(code);
        let (taken, overflows) = {
            let mut state = self.state.borrow_mut();
            let ring = state.events(kind);
            if !ring.is_there() {
                return InjectedEvents::NoRing;
            }
            let pushed = (0..count).take_while(|_| ring.push(event).is_some());
            let taken = pushed.count() as u32;
            let overflows = taken < count;
            if overflows && kind == EventKind::Completion {
                let overflow = Event::new().with_kind(spec::EVENT_EQ_OVERFLOW);
                // If that ring is full or absent, nobody hears of it.
                let _ = state.aeq.push(overflow);
            }
            (taken, overflows)
        };
        self.write_events(kind);
        if overflows && kind == EventKind::Completion {
            self.write_events(EventKind::Async);
        }
        match overflows {
            true => InjectedEvents::Overflow { taken },
            false => InjectedEvents::Taken,
        }
    }

    /// An event is in memory that no doorbell has taken.
    pub(super) fn event_pending(&self, kind: EventKind) -> bool {
        self.state.borrow_mut().events(kind).is_pending()
    }

    pub(super) fn event_masked(&self, kind: EventKind) -> bool {
        self.state.borrow_mut().events(kind).masked
    }

    pub(super) fn set_event_masked(&self, kind: EventKind, masked: bool) {
        self.state.borrow_mut().events(kind).masked = masked;
        self.interrupt(kind);
    }

    /// Whether `offset` of BAR2 is a VFT register.
    pub(super) fn owns_vft(offset: u32) -> bool {
        Vft::owns(offset)
    }

    pub(super) fn vft_read(&self, offset: u32) -> u32 {
        self.state.borrow().vft.read(offset)
    }

    pub(super) fn vft_write(&self, offset: u32, value: u32) {
        let lost = {
            let mut state = self.state.borrow_mut();
            let changed = state.vft.write(offset, value);
            let first = usize::from(state.vft.queues());
            let lost = changed && first < state.queues.len();
            if lost {
                for number in first..state.queues.len() {
                    state.close(number);
                }
            }
            lost
        };
        if lost {
            self.leases_revoked();
        }
    }

    fn interrupt(&self, kind: EventKind) {
        let due = {
            let mut state = self.state.borrow_mut();
            let ring = state.events(kind);
            ring.take_interrupt()
                .then_some((ring.vector, ring.first_queue()))
        };
        if let Some((vector, queue)) = due {
            self.interrupts.raise(vector.into(), queue);
        }
    }

    /// Writes what waits in an event ring, in order, each entry before its interrupt.
    fn write_events(self: &Rc<Self>, kind: EventKind) {
        let lease = {
            let mut state = self.state.borrow_mut();
            let ring = state.events(kind);
            if !ring.start_writing() {
                return;
            }
            ring.lease.clone()
        };
        let qm = self.clone();
        self.master.bus.timeline.spawn(async move {
            let purpose = match kind {
                EventKind::Completion => Purpose::Event,
                EventKind::Async => Purpose::AsyncEvent,
            };
            let requester = Requester::function(&lease, None, purpose);
            while lease.check().is_ok() {
                let next = qm.state.borrow_mut().events(kind).next_write();
                let Some(write) = next else { return };
                match qm
                    .master
                    .write(&requester, write.address, &write.entry)
                    .await
                {
                    Ok(()) => qm.state.borrow_mut().events(kind).wrote(),
                    Err(DmaError::Revoked) => return,
                    // Without its ring there is nowhere to report to.
                    Err(DmaError::Aborted(_)) => {
                        qm.state.borrow_mut().events(kind).install(None);
                        return;
                    }
                }
                qm.interrupt(kind);
            }
        });
    }
}

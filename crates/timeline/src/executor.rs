//! The agenda: callbacks and tasks in order of (time, sequence number).
//!
//! Whoever drives it may be needed elsewhere while there is much to do at one time. So the driver's
//! calls can be interrupted ([`YieldRequest`]): they come back between two callbacks, two polls, or
//! in the midst of one that offers itself ([`Timeline::should_yield`]), and when called again go
//! on where they were, before anything else. The order of all that is done is the same with any
//! number of interruptions.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::{Span, Time};

/// One thread's virtual clock, with what is to happen on it. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct Timeline(Rc<Inner>);

/// Names a callback that was asked for, so that it can be called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    at: Time,
    sequence: u64,
}

/// Asks those who do a timeline's work to come back to its driver soon. It may be set by any thread
/// and by signal handlers; work only reads it, and its results do not depend on it. Clones are the
/// same request.
#[derive(Clone, Debug, Default)]
pub struct YieldRequest(Arc<AtomicBool>);

impl YieldRequest {
    /// Asks.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether it was asked; from now on it is not.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// How far a driver's call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what was interrupted has to be gone on with"]
pub enum Progress {
    /// Everything is done.
    Done,
    /// A [`YieldRequest`] came first. The same call goes on with it.
    Interrupted,
}

type Callback = Box<dyn FnOnce()>;
type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Inner {
    now: Cell<Time>,
    sequence: Cell<u64>,
    events: RefCell<BTreeMap<EventId, Callback>>,
    /// What only looks on, in an agenda of its own.
    observers: RefCell<BTreeMap<EventId, Callback>>,
    /// The rest of what gave way, in order. It goes before everything else.
    unfinished: RefCell<VecDeque<Callback>>,
    /// The task that is being polled gave way.
    gave_way: Cell<bool>,
    request: YieldRequest,
    tasks: RefCell<BTreeMap<u64, Task>>,
    next_task: Cell<u64>,
    ready: Arc<Ready>,
}

/// Tasks to poll, in the order in which they were woken. `Waker` demands `Sync`; the lock is never
/// contended, since a timeline stays on one thread.
#[derive(Default)]
struct Ready(Mutex<VecDeque<u64>>);

impl Ready {
    fn push(&self, task: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(task);
    }

    fn push_first(&self, task: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_front(task);
    }

    fn pop(&self) -> Option<u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}

struct TaskWaker {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.task);
    }
}

impl PartialEq for Timeline {
    fn eq(&self, other: &Timeline) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Timeline {
    /// A timeline at [`Time::ZERO`] with nothing on it.
    pub fn new() -> Timeline {
        Timeline::default()
    }

    /// The present.
    pub fn now(&self) -> Time {
        self.0.now.get()
    }

    /// When the next callback is due. Ready tasks do not show here: they are run before control
    /// returns from [`Timeline::advance_to`] or [`Timeline::run_ready`]. Nor do observers, so that
    /// nobody's plans depend on them.
    pub fn next_event(&self) -> Option<Time> {
        self.0.events.borrow().keys().next().map(|id| id.at)
    }

    /// Calls `action` at `at`, or as soon as the clock moves if that has passed.
    pub fn at(&self, at: Time, action: impl FnOnce() + 'static) -> EventId {
        let sequence = self.0.sequence.get();
        self.0.sequence.set(sequence + 1);
        let id = EventId {
            at: at.max(self.now()),
            sequence,
        };
        self.0.events.borrow_mut().insert(id, Box::new(action));
        id
    }

    /// Calls `action` once `span` has passed.
    pub fn after(&self, span: Span, action: impl FnOnce() + 'static) -> EventId {
        self.at(self.now() + span, action)
    }

    /// Calls a callback off; false if it has run or was called off before.
    pub fn cancel(&self, id: EventId) -> bool {
        self.0.events.borrow_mut().remove(&id).is_some()
    }

    /// Starts a task. It is first polled when the clock is next moved, or by
    /// [`Timeline::run_ready`]; never inside this call.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let id = self.0.next_task.get();
        self.0.next_task.set(id + 1);
        self.0.tasks.borrow_mut().insert(id, Box::pin(task));
        self.0.ready.push(id);
    }

    /// Calls `action` once the clock has passed `at`, for somebody who only looks on: it must change
    /// nothing that others see, and comes after whatever else is due at that time. The clock does not
    /// stop for it, so it may come late.
    pub fn observe_at(&self, at: Time, action: impl FnOnce() + 'static) {
        let sequence = self.0.sequence.get();
        self.0.sequence.set(sequence + 1);
        let id = EventId { at, sequence };
        let mut observers = self.0.observers.borrow_mut();
        observers.insert(id, Box::new(action));
    }

    /// When the next observer is due.
    pub fn next_observer(&self) -> Option<Time> {
        self.0.observers.borrow().keys().next().map(|id| id.at)
    }

    /// A future that is done once `span` has passed. A zero span is done at once, but gives way if
    /// that is [asked for](YieldRequest).
    pub fn sleep(&self, span: Span) -> Sleep {
        Sleep {
            timeline: self.clone(),
            until: self.now() + span,
            event: None,
            gave_way: false,
        }
    }

    /// What interrupts [`Timeline::try_run_ready`] and [`Timeline::try_advance_to`].
    pub fn yield_request(&self) -> &YieldRequest {
        &self.0.request
    }

    /// Whether work that has no end in sight should stop here and leave its rest to
    /// [`Timeline::afterwards`]. To be asked after each piece, so that each call does one at least.
    #[inline(always)]
    pub fn should_yield(&self) -> bool {
        self.0.request.is_set()
    }

    /// Does `rest` after what gave way so far, and before anything else: the rest of work that
    /// gives way itself, or what comes after such work. At the present time, whatever happens.
    pub fn leave(&self, rest: impl FnOnce() + 'static) {
        self.0.unfinished.borrow_mut().push_back(Box::new(rest));
    }

    /// Does `action` now, or, if something gave way, after that.
    pub fn afterwards(&self, action: impl FnOnce() + 'static) {
        if self.0.unfinished.borrow().is_empty() {
            action();
        } else {
            self.leave(action);
        }
    }

    /// Whether an interruption left something to be done at the present time.
    pub fn is_unfinished(&self) -> bool {
        !self.0.ready.is_empty() || !self.0.unfinished.borrow().is_empty()
    }

    /// How many tasks have not finished.
    pub fn live_tasks(&self) -> usize {
        self.0.tasks.borrow().len()
    }

    /// Drops all callbacks and tasks, undone. For the end of what they work on: they hold devices,
    /// and devices hold the timeline, a circle that would keep all of them in memory.
    pub fn clear(&self) {
        loop {
            // Dropped outside of any borrow: what goes with them may call a callback off, or ask
            // for another.
            let (events, tasks) = (self.0.events.take(), self.0.tasks.take());
            let (observers, rest) = (self.0.observers.take(), self.0.unfinished.take());
            let is_clear = events.is_empty() && tasks.is_empty();
            if is_clear && observers.is_empty() && rest.is_empty() {
                break;
            }
        }
        while self.0.ready.pop().is_some() {}
    }

    /// Polls tasks that were woken, until none is, without moving the clock.
    pub fn run_ready(&self) {
        while self.try_run_ready() == Progress::Interrupted {}
    }

    /// As [`Timeline::run_ready`], until a [`YieldRequest`] comes. One poll is made at least.
    pub fn try_run_ready(&self) -> Progress {
        while self.run_one() {
            if self.should_yield() && self.is_unfinished() {
                return Progress::Interrupted;
            }
        }
        Progress::Done
    }

    /// Does one piece of what is to be done at the present time; false if there is nothing.
    fn run_one(&self) -> bool {
        let first = self.0.unfinished.borrow_mut().pop_front();
        if let Some(rest) = first {
            let others = self.0.unfinished.take();
            rest();
            // What it leaves itself comes before them.
            self.0.unfinished.borrow_mut().extend(others);
            return true;
        }
        let Some(id) = self.0.ready.pop() else {
            return false;
        };
        // Taken out while it runs, so that it may spawn others.
        let Some(mut task) = self.0.tasks.borrow_mut().remove(&id) else {
            return true;
        };
        let waker = Waker::from(Arc::new(TaskWaker {
            task: id,
            ready: self.0.ready.clone(),
        }));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let gave_way = self.0.gave_way.take();
        if polled.is_pending() {
            self.0.tasks.borrow_mut().insert(id, task);
            if gave_way {
                self.0.ready.push_first(id);
            }
        }
        true
    }

    /// Moves the clock to `to`, doing what falls due on the way, in order. A `to` in the past
    /// leaves the clock where it is but still does what is due now.
    pub fn advance_to(&self, to: Time) {
        while self.try_advance_to(to) == Progress::Interrupted {}
    }

    /// As [`Timeline::advance_to`], until a [`YieldRequest`] comes: then the clock stands where it
    /// came to. One callback is called at least.
    pub fn try_advance_to(&self, to: Time) -> Progress {
        let to = to.max(self.now());
        loop {
            if self.try_run_ready() == Progress::Interrupted {
                return Progress::Interrupted;
            }
            let due = {
                let mut events = self.0.events.borrow_mut();
                match events.first_entry() {
                    Some(first) if first.key().at <= to => Some(first.remove_entry()),
                    _ => None,
                }
            };
            let Some((id, action)) = due else { break };
            self.tell_observers(|at| at < id.at);
            // A slice of guest instructions may have ended past the event.
            self.0.now.set(id.at.max(self.now()));
            action();
            if self.should_yield() {
                return Progress::Interrupted;
            }
        }
        self.tell_observers(|at| at <= to);
        self.0.now.set(to);
        Progress::Done
    }

    /// Calls the observers that are due.
    fn tell_observers(&self, is_due: impl Fn(Time) -> bool) {
        loop {
            let due = {
                let mut observers = self.0.observers.borrow_mut();
                match observers.first_entry() {
                    Some(first) if is_due(first.key().at) => Some(first.remove_entry()),
                    _ => None,
                }
            };
            let Some((id, action)) = due else { return };
            self.0.now.set(id.at.max(self.now()));
            action();
        }
    }

    /// Nothing happens any more: time passes until the last observer has been called.
    pub fn tell_all_observers(&self) {
        self.tell_observers(|_| true);
    }

    /// Moves the clock without doing anything that is due: for an engine that must show a device
    /// the time *inside* a slice of guest instructions. Never moves back.
    pub fn set_now(&self, now: Time) {
        self.0.now.set(now.max(self.now()));
    }
}

/// See [`Timeline::sleep`].
pub struct Sleep {
    timeline: Timeline,
    until: Time,
    event: Option<EventId>,
    gave_way: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.timeline.now() >= self.until {
            // The event that woke us has run, or a zero sleep never had one. A task that spends no
            // time might go on for ever, and what gave way in it comes first.
            let inner = &self.timeline.0;
            if !self.gave_way && (inner.request.is_set() || !inner.unfinished.borrow().is_empty()) {
                inner.gave_way.set(true);
                self.gave_way = true;
                return Poll::Pending;
            }
            return Poll::Ready(());
        }
        if let Some(event) = self.event.take() {
            self.timeline.cancel(event);
        }
        let waker = context.waker().clone();
        let event = self.timeline.at(self.until, move || waker.wake());
        self.event = Some(event);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            self.timeline.cancel(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log = Rc<RefCell<Vec<(u64, u32)>>>;

    /// A list of (time, what), and a function that adds to it.
    fn log() -> (Log, impl Fn(&Timeline, u32) + Clone) {
        let log = Log::default();
        let writer = log.clone();
        let write = move |timeline: &Timeline, what| {
            writer.borrow_mut().push((timeline.now().as_ns(), what));
        };
        (log, write)
    }

    #[test]
    fn equal_times_keep_the_order_of_asking() {
        let timeline = Timeline::new();
        let (log, write) = log();
        for what in 0..4 {
            let (t, write) = (timeline.clone(), write.clone());
            timeline.at(Time::from_ns(5), move || write(&t, what));
        }
        timeline.advance_to(Time::from_ns(5));
        assert_eq!(*log.borrow(), [(5, 0), (5, 1), (5, 2), (5, 3)]);
    }

    #[test]
    fn tasks_and_callbacks_interleave_by_time() {
        let timeline = Timeline::new();
        let (log, write) = log();
        for (what, step) in [(1, 30), (2, 20)] {
            let (t, write) = (timeline.clone(), write.clone());
            timeline.spawn(async move {
                for _ in 0..2 {
                    t.sleep(Span::from_ns(step)).await;
                    write(&t, what);
                }
            });
        }
        timeline.advance_to(Time::from_ns(100));
        assert_eq!(*log.borrow(), [(20, 2), (30, 1), (40, 2), (60, 1)]);
        assert_eq!(timeline.live_tasks(), 0);
    }

    #[test]
    fn a_cancelled_event_does_not_run() {
        let timeline = Timeline::new();
        let (log, write) = log();
        let t = timeline.clone();
        let id = timeline.at(Time::from_ns(1), move || write(&t, 0));
        assert!(timeline.cancel(id));
        assert!(!timeline.cancel(id));
        timeline.advance_to(Time::from_ns(2));
        assert!(log.borrow().is_empty());
    }

    #[test]
    fn an_event_may_plan_another_before_the_target() {
        let timeline = Timeline::new();
        let (log, write) = log();
        let t = timeline.clone();
        timeline.at(Time::from_ns(1), move || {
            let inner = t.clone();
            t.at(Time::from_ns(2), move || write(&inner, 7));
        });
        timeline.advance_to(Time::from_ns(3));
        assert_eq!(*log.borrow(), [(2, 7)]);
    }

    /// Callbacks, tasks that wake each other, and work that leaves its rest, all at a few times.
    fn busy(timeline: &Timeline, write: &(impl Fn(&Timeline, u32) + Clone + 'static)) {
        let notify = crate::Notify::new();
        for what in 0..3 {
            let (t, write, notify) = (timeline.clone(), write.clone(), notify.clone());
            timeline.spawn(async move {
                for step in 0..4 {
                    t.sleep(Span::from_ns(u64::from(what * step % 3))).await;
                    write(&t, 10 * what + step);
                    notify.notify_all();
                    t.sleep(Span::ZERO).await;
                    write(&t, 100 + 10 * what + step);
                }
            });
        }
        let (t, log) = (timeline.clone(), write.clone());
        timeline.spawn(async move {
            for step in 0..3 {
                notify.notified().await;
                log(&t, 200 + step);
            }
        });
        for what in 0..3 {
            let (t, write) = (timeline.clone(), write.clone());
            timeline.at(Time::from_ns(2), move || {
                count(&t, &write, 300 + 10 * what, 300 + 10 * what + 5);
                let (after, log) = (t.clone(), write.clone());
                t.afterwards(move || log(&after, 400 + what));
            });
        }
    }

    /// Counts from `from` to `to`, and gives way if asked to.
    fn count(
        timeline: &Timeline,
        write: &(impl Fn(&Timeline, u32) + Clone + 'static),
        from: u32,
        to: u32,
    ) {
        for what in from..to {
            write(timeline, what);
            if timeline.should_yield() && what + 1 < to {
                let (t, write) = (timeline.clone(), write.clone());
                return timeline.leave(move || count(&t, &write, what + 1, to));
            }
        }
    }

    #[test]
    fn interruptions_do_not_change_the_order() {
        let run = |interrupted: bool| {
            let timeline = Timeline::new();
            let (log, write) = log();
            busy(&timeline, &write);
            if interrupted {
                timeline.yield_request().set();
            }
            let mut interruptions = 0;
            while timeline.try_advance_to(Time::from_ns(20)) == Progress::Interrupted {
                interruptions += 1;
            }
            assert_eq!(timeline.live_tasks(), 0);
            assert!(!timeline.is_unfinished());
            (log.take(), interruptions)
        };
        let (whole, none) = run(false);
        let (pieces, many) = run(true);
        assert_eq!(whole, pieces);
        assert_eq!(none, 0);
        assert!(many > 30, "{many}");
    }

    #[test]
    fn who_never_sleeps_can_be_interrupted() {
        let timeline = Timeline::new();
        let t = timeline.clone();
        timeline.spawn(async move {
            loop {
                t.sleep(Span::ZERO).await;
            }
        });
        timeline.yield_request().set();
        for _ in 0..3 {
            assert_eq!(timeline.try_run_ready(), Progress::Interrupted);
            assert!(timeline.is_unfinished());
        }
    }

    #[test]
    fn observers_come_last_and_stop_no_clock() {
        let timeline = Timeline::new();
        let (log, write) = log();
        for what in [1, 2] {
            let (t, write) = (timeline.clone(), write.clone());
            timeline.observe_at(Time::from_ns(5), move || write(&t, what));
        }
        assert_eq!(timeline.next_event(), None);
        assert_eq!(timeline.next_observer(), Some(Time::from_ns(5)));
        for (at, what) in [(5, 3), (6, 4)] {
            let (t, write) = (timeline.clone(), write.clone());
            timeline.at(Time::from_ns(at), move || write(&t, what));
        }
        timeline.advance_to(Time::from_ns(6));
        assert_eq!(*log.borrow(), [(5, 3), (5, 1), (5, 2), (6, 4)]);
    }

    #[test]
    fn a_cleared_timeline_holds_nothing() {
        /// Asks for more as it is dropped.
        struct Last(Timeline);
        impl Drop for Last {
            fn drop(&mut self) {
                let timeline = self.0.clone();
                self.0.after(Span::from_ns(1), move || drop(timeline));
            }
        }
        let timeline = Timeline::new();
        let (held, last) = (Rc::new(()), Last(timeline.clone()));
        let (t, of_task, of_callback) = (timeline.clone(), held.clone(), held.clone());
        timeline.spawn(async move {
            let _both = (of_task, last);
            t.sleep(Span::from_ms(1)).await;
        });
        timeline.after(Span::from_ms(2), move || drop(of_callback));
        timeline.run_ready();
        assert_eq!(Rc::strong_count(&held), 3);
        timeline.clear();
        assert_eq!(Rc::strong_count(&held), 1);
        assert_eq!((timeline.live_tasks(), timeline.next_event()), (0, None));
        assert_eq!(Rc::strong_count(&timeline.0), 1);
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing_behind() {
        let timeline = Timeline::new();
        let (t, notify) = (timeline.clone(), crate::Notify::new());
        let wait = notify.clone();
        timeline.spawn(async move {
            let mut sleep = Box::pin(t.sleep(Span::from_ms(1)));
            std::future::poll_fn(|context| {
                let _ = sleep.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
            drop(sleep);
            wait.notified().await;
        });
        timeline.run_ready();
        assert_eq!(timeline.next_event(), None);
        notify.notify_all();
        timeline.run_ready();
        assert_eq!(timeline.live_tasks(), 0);
    }
}

//! The agenda: callbacks and tasks in order of (time, sequence number).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
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

type Callback = Box<dyn FnOnce()>;
type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Inner {
    now: Cell<Time>,
    sequence: Cell<u64>,
    events: RefCell<BTreeMap<EventId, Callback>>,
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

    fn pop(&self) -> Option<u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
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
    /// returns from [`Timeline::advance_to`] or [`Timeline::run_ready`].
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

    /// A future that is done once `span` has passed. A zero span is done at once.
    pub fn sleep(&self, span: Span) -> Sleep {
        Sleep {
            timeline: self.clone(),
            until: self.now() + span,
            event: None,
        }
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
            if events.is_empty() && tasks.is_empty() {
                break;
            }
        }
        while self.0.ready.pop().is_some() {}
    }

    /// Polls tasks that were woken, until none is, without moving the clock.
    pub fn run_ready(&self) {
        while let Some(id) = self.0.ready.pop() {
            // Taken out while it runs, so that it may spawn others.
            let Some(mut task) = self.0.tasks.borrow_mut().remove(&id) else {
                continue;
            };
            let waker = Waker::from(Arc::new(TaskWaker {
                task: id,
                ready: self.0.ready.clone(),
            }));
            if task
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
            {
                self.0.tasks.borrow_mut().insert(id, task);
            }
        }
    }

    /// Moves the clock to `to`, doing what falls due on the way, in order. A `to` in the past
    /// leaves the clock where it is but still does what is due now.
    pub fn advance_to(&self, to: Time) {
        let to = to.max(self.now());
        self.run_ready();
        loop {
            let due = {
                let mut events = self.0.events.borrow_mut();
                match events.first_entry() {
                    Some(first) if first.key().at <= to => Some(first.remove_entry()),
                    _ => None,
                }
            };
            let Some((id, action)) = due else { break };
            // A slice of guest instructions may have ended past the event.
            self.0.now.set(id.at.max(self.now()));
            action();
            self.run_ready();
        }
        self.0.now.set(to);
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
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.timeline.now() >= self.until {
            // The event that woke us has run, or a zero sleep never had one.
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

//! What a queue does over time: fetch, pace, execute, complete. A task serves the submission ring
//! in order; each descriptor is a task of its own, so that they end in any order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use stallbox_timeline::Span;

use super::master::{Counters, Master, Requester};
use super::ops::{self, Work};
use super::queue::{Fetch, Queue, Rings};
use super::spec::{
    self, DESCRIPTOR_BYTES, Descriptor, FLAG_FENCE, FLAG_INTERRUPT, Failure, Status,
};
use crate::dma::Pasid;
use crate::function::{DeviceNote, DeviceStep, DmaError, Wires};
use crate::lease::Revoked;
use crate::state::{AcceleratorState, QueueState};

pub(super) struct Engine {
    master: Rc<Master>,
    interrupts: Rc<Wires>,
    queues: RefCell<Vec<Queue>>,
}

/// Why a queue's task stops before its ring is empty.
enum Stop {
    /// The queue was disabled or reset.
    Revoked,
    /// A ring cannot be used.
    Failed(Failure),
}

impl From<Revoked> for Stop {
    fn from(_: Revoked) -> Stop {
        Stop::Revoked
    }
}

impl Stop {
    /// What an error of an access to a ring means.
    fn of(error: DmaError, failure: Failure) -> Stop {
        match error {
            DmaError::Aborted(_) => Stop::Failed(failure),
            DmaError::Revoked => Stop::Revoked,
        }
    }
}

/// Counts a task of a queue for as long as it lives.
struct Task(Rc<Cell<u32>>);

impl Task {
    fn new(count: &Rc<Cell<u32>>) -> Task {
        count.set(count.get() + 1);
        Task(count.clone())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Engine {
    pub(super) fn new(master: Rc<Master>, interrupts: Rc<Wires>, queues: u16) -> Rc<Engine> {
        Rc::new(Engine {
            master,
            interrupts,
            queues: RefCell::new((0..queues).map(|_| Queue::default()).collect()),
        })
    }

    /// Looks at a queue, or changes it; `None` if there is no such queue.
    pub(super) fn queue<T>(&self, number: u16, action: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        self.queues
            .borrow_mut()
            .get_mut(usize::from(number))
            .map(action)
    }

    /// No task is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.queues
            .borrow()
            .iter()
            .all(|queue| queue.tasks.get() == 0)
    }

    /// What is under way.
    pub(super) fn state(&self) -> AcceleratorState {
        let queues = self.queues.borrow();
        let queue = |(number, queue): (usize, &Queue)| {
            let rings = queue.rings.as_ref();
            let there = rings.is_some() || queue.tasks.get() > 0 || queue.failure.is_some();
            there.then(|| QueueState {
                number: number as u16,
                pasid: rings.and_then(|rings| rings.pasid).map(|pasid| pasid.0),
                submission: rings.map(Rings::submission),
                completion: rings.map(Rings::completion),
                tasks: queue.tasks.get(),
                stopped: queue.failure.map(|_| "failed"),
            })
        };
        AcceleratorState {
            queues: queues.iter().enumerate().filter_map(queue).collect(),
            completion_events: None,
            failures: None,
        }
    }

    pub(super) fn reset(&self) {
        let used: BTreeSet<Pasid> = self
            .queues
            .borrow_mut()
            .iter_mut()
            .filter_map(Queue::reset)
            .collect();
        for pasid in used {
            self.master.stop_pasid(pasid);
        }
        self.master.bus.note(DeviceNote::Reset);
    }

    /// A queue that used `pasid` is no longer enabled. If it was the last one, what still waits for
    /// pages is given up.
    fn released(&self, pasid: Option<Pasid>) {
        let Some(pasid) = pasid else { return };
        let used = self.queues.borrow().iter().any(|queue| {
            let rings = queue.rings.as_ref();
            rings.is_some_and(|rings| rings.pasid == Some(pasid))
        });
        if !used {
            self.master.stop_pasid(pasid);
        }
    }

    /// The device asks for pages itself, and may.
    pub(super) fn may_request_pages(&self) -> bool {
        self.master.may_request_pages()
    }

    /// Page requests of the address space of a queue since it was enabled, or while it was.
    pub(super) fn page_requests(&self, it: &Queue) -> u64 {
        let Some(rings) = &it.rings else {
            return it.page_requests_at_end;
        };
        let now = self.master.page_requests(rings.pasid);
        now.saturating_sub(it.page_requests_before)
    }

    /// Takes a queue's rings away; the address space that it used.
    fn stop(&self, it: &mut Queue) -> Option<Pasid> {
        it.page_requests_at_end = self.page_requests(it);
        it.disable()
    }

    /// CONTROL.ENABLE was set. An enabled queue stays as it is.
    pub(super) fn enable(&self, queue: u16) {
        let started = self.queue(queue, |it| {
            let fresh = it.rings.is_none();
            let started = fresh && it.enable();
            if let Some(rings) = &it.rings
                && started
            {
                it.page_requests_before = self.master.page_requests(rings.pasid);
            }
            fresh.then(|| started.then(|| it.rings.as_ref().and_then(|rings| rings.pasid)))
        });
        match started.flatten() {
            Some(Some(pasid)) => self
                .master
                .bus
                .note(DeviceNote::QueueEnabled { queue, pasid }),
            Some(None) => self.report_failure(queue, Failure::BadConfiguration as u8),
            None => {}
        }
    }

    /// CONTROL.ENABLE was cleared: what is under way is called off. It also clears a failure.
    pub(super) fn disable(&self, queue: u16) {
        let pasid = self.queue(queue, |it| {
            it.failure = None;
            self.stop(it)
        });
        self.released(pasid.flatten());
        self.master.bus.note(DeviceNote::QueueDisabled { queue });
    }

    /// A submission doorbell.
    pub(super) fn submit(self: &Rc<Self>, number: u16, tail: u32) {
        self.doorbell(number, tail, true);
    }

    /// A completion doorbell.
    pub(super) fn take(self: &Rc<Self>, number: u16, head: u32) {
        self.doorbell(number, head, false);
    }

    fn doorbell(self: &Rc<Self>, number: u16, index: u32, submission: bool) {
        let accepted = self.queue(number, |queue| {
            let accepted = queue.rings.as_mut().is_some_and(|rings| {
                if submission {
                    rings.submit(index)
                } else {
                    rings.take(index)
                }
            });
            if !accepted {
                queue.counters.borrow_mut().bad_doorbells += 1;
            }
            accepted
        });
        let queue = number;
        match accepted {
            Some(true) if submission => {
                self.master
                    .bus
                    .note(DeviceNote::Doorbell { queue, tail: index });
                self.serve(number);
            }
            // The slots may be what fetching waits for.
            Some(true) => self.serve(number),
            Some(false) => self
                .master
                .bus
                .note(DeviceNote::DoorbellIgnored { queue, index }),
            None => {}
        }
    }

    /// Starts the queue's task, if there is work and none is running.
    fn serve(self: &Rc<Self>, number: u16) {
        let started = self.queue(number, |queue| {
            let rings = queue.rings.as_mut()?;
            if rings.serving || rings.next_fetch().is_none() {
                return None;
            }
            rings.serving = true;
            let requester = rings.requester(number, &queue.lease, &queue.counters);
            Some((requester, Task::new(&queue.tasks)))
        });
        let Some((requester, task)) = started.flatten() else {
            return;
        };
        let engine = self.clone();
        self.master.bus.timeline.spawn(async move {
            match engine.serve_all(&requester).await {
                Ok(()) | Err(Stop::Revoked) => {}
                Err(Stop::Failed(failure)) => engine.fail(&requester, failure),
            }
            drop(task);
        });
    }

    async fn serve_all(self: &Rc<Self>, requester: &Requester) -> Result<(), Stop> {
        self.master.spend(DeviceStep::Doorbell, requester).await?;
        while let Some(fetch) = self.next_fetch(requester)? {
            self.wait_for_turn(requester).await?;
            self.master
                .spend(DeviceStep::DescriptorFetch, requester)
                .await?;
            let mut raw = [0; DESCRIPTOR_BYTES];
            self.master
                .read_ring(requester, fetch.address, &mut raw)
                .await
                .map_err(|error| Stop::of(error, Failure::SubmissionRing))?;
            let descriptor = Descriptor::parse(&raw);
            if descriptor.flags & FLAG_FENCE != 0 {
                self.wait_until_below(requester, 1).await?;
            }
            self.start(requester, fetch, descriptor)?;
        }
        Ok(())
    }

    /// The next descriptor; without one the serving task ends.
    fn next_fetch(&self, requester: &Requester) -> Result<Option<Fetch>, Revoked> {
        requester.lease.check()?;
        let fetch = self.queue(requester.queue, |queue| {
            let rings = queue.rings.as_mut()?;
            let fetch = rings.next_fetch();
            rings.serving = fetch.is_some();
            fetch
        });
        Ok(fetch.flatten())
    }

    /// Waits until one more descriptor may be executed: for the depth, then for the interval.
    async fn wait_for_turn(&self, requester: &Requester) -> Result<(), Revoked> {
        let depth = self.rings(requester, |rings| rings.geometry.depth)?;
        self.wait_until_below(requester, depth).await?;
        let start = self.rings(requester, |rings| rings.next_start)?;
        self.master.wait_until(start, &requester.lease).await?;
        let now = self.master.bus.timeline.now();
        self.rings(requester, |rings| {
            rings.next_start = now + Span::from_ns(rings.interval_ns.into());
        })
    }

    /// Waits until fewer than `limit` descriptors are under execution.
    async fn wait_until_below(&self, requester: &Requester, limit: u32) -> Result<(), Revoked> {
        loop {
            let executing = self.rings(requester, |rings| rings.executing)?;
            if executing < limit {
                return Ok(());
            }
            let progress = self.queue(requester.queue, |queue| queue.progress.notified());
            progress.ok_or(Revoked)?.await;
        }
    }

    /// Changes the rings that `requester` works for, if they are still there.
    fn rings<T>(
        &self,
        requester: &Requester,
        action: impl FnOnce(&mut Rings) -> T,
    ) -> Result<T, Revoked> {
        requester.lease.check()?;
        let done = self.queue(requester.queue, |queue| queue.rings.as_mut().map(action));
        done.flatten().ok_or(Revoked)
    }

    /// Executes a descriptor in a task of its own.
    fn start(
        self: &Rc<Self>,
        requester: &Requester,
        fetch: Fetch,
        descriptor: Descriptor,
    ) -> Result<(), Revoked> {
        self.rings(requester, |rings| rings.fetched())?;
        let task = self.queue(requester.queue, |queue| Task::new(&queue.tasks));
        let (engine, requester) = (self.clone(), requester.clone());
        self.master.bus.timeline.spawn(async move {
            match engine.execute(&requester, fetch, &descriptor).await {
                Ok(()) => {}
                Err(Stop::Revoked) => engine.master.bus.note(DeviceNote::JobDropped {
                    queue: requester.queue,
                }),
                Err(Stop::Failed(failure)) => engine.fail(&requester, failure),
            }
            drop(task);
        });
        Ok(())
    }

    async fn execute(
        self: &Rc<Self>,
        requester: &Requester,
        fetch: Fetch,
        descriptor: &Descriptor,
    ) -> Result<(), Stop> {
        let queue = requester.queue;
        let started = self.master.bus.timeline.now();
        self.master.bus.note(DeviceNote::JobStarted {
            queue,
            pasid: requester.pasid,
            tag: descriptor.tag,
            input: ops::bytes(descriptor),
        });
        let work = Work::new(&self.master, requester);
        let outcome = work.run(descriptor).await?;
        let latency = self.master.bus.timeline.now().since(started);
        let error = !matches!(
            outcome.status,
            Status::Success | Status::Mismatch | Status::Limit
        );
        let counters: &RefCell<Counters> = &requester.counters;
        counters.borrow_mut().descriptor(latency, error);
        self.master.bus.note(DeviceNote::JobDone {
            queue,
            tag: Some(descriptor.tag),
            status: outcome.status as u8,
            consumed: work.read_bytes(),
            produced: work.written_bytes(),
        });

        self.master
            .spend(DeviceStep::CompletionWrite, requester)
            .await?;
        let place = self.rings(requester, |rings| rings.reserve())?;
        let entry = spec::completion(
            descriptor,
            &outcome,
            latency.as_ns(),
            fetch.slot,
            place.phase,
        );
        self.master
            .write_ring(requester, place.address, &entry)
            .await
            .map_err(|error| Stop::of(error, Failure::CompletionRing))?;
        self.rings(requester, |rings| {
            rings.cq_tail = rings.cq_tail.wrapping_add(1);
            rings.executing -= 1;
        })?;
        self.queue(queue, |queue| queue.progress.notify_all());
        self.master.bus.note(DeviceNote::Completed {
            queue,
            slot: None,
            tag: Some(descriptor.tag),
        });
        if descriptor.flags & FLAG_INTERRUPT != 0 {
            self.interrupts.raise(queue + 1, Some(queue));
        }
        Ok(())
    }

    /// A ring of the queue cannot be used: the queue stops, and everything that it does.
    fn fail(&self, requester: &Requester, failure: Failure) {
        if requester.lease.check().is_ok() {
            self.fail_queue(requester.queue, failure as u8);
        }
    }

    /// Stops an enabled queue with a failure of this number; false if it is not enabled.
    pub(super) fn fail_queue(&self, number: u16, failure: u8) -> bool {
        let pasid = self.queue(number, |queue| {
            queue.rings.as_ref()?;
            queue.failure = Some(failure);
            Some(self.stop(queue))
        });
        let Some(pasid) = pasid.flatten() else {
            return false;
        };
        self.released(pasid);
        self.report_failure(number, failure);
        true
    }

    fn report_failure(&self, queue: u16, failure: u8) {
        self.master.bus.note(DeviceNote::QueueFailed {
            queue,
            failure: Some(failure),
        });
        self.interrupts.raise(spec::VECTOR_FAILURE, Some(queue));
    }
}

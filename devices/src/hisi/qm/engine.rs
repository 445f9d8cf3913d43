//! What a queue does over time: fetch, execute, write back, complete, notify; one entry after the
//! other, each queue in a task of its own.

use std::cell::Cell;
use std::rc::Rc;

use super::queue::{Fetch, Serving};
use super::spec::{self, Event, SQE_BYTES};
use super::{EventKind, Job, Qm};
use crate::function::{DeviceNote, DeviceStep};
use crate::hisi::counters::QmEvent;
use crate::hisi::master::{DmaError, Lease, Requester, Revoked};
use crate::verdict::Purpose;

/// Why a queue's task stops before its ring is empty.
enum Stop {
    /// The queue was reset.
    Revoked,
    /// The rings cannot be used; the asynchronous event that tells the driver.
    Failed(u8),
}

impl From<Revoked> for Stop {
    fn from(_: Revoked) -> Stop {
        Stop::Revoked
    }
}

impl From<DmaError> for Stop {
    fn from(error: DmaError) -> Stop {
        match error {
            DmaError::Aborted(_) => Stop::Failed(spec::EVENT_CQE_ERROR),
            DmaError::Revoked => Stop::Revoked,
        }
    }
}

/// Counts a task of a queue for as long as it lives.
struct Task {
    qm: Rc<Qm>,
    count: Rc<Cell<u32>>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        self.qm.progress.notify_all();
    }
}

impl Qm {
    /// Starts the queue's task, if there is work and none is running.
    pub(super) fn serve(self: &Rc<Self>, number: u16) {
        let (lease, task) = {
            let mut state = self.state.borrow_mut();
            let Some(pair) = state.queue(number) else {
                return;
            };
            if !pair
                .submission
                .as_mut()
                .is_some_and(|ring| ring.start_serving())
            {
                return;
            }
            pair.tasks.set(pair.tasks.get() + 1);
            (
                pair.lease.clone(),
                Task {
                    qm: self.clone(),
                    count: pair.tasks.clone(),
                },
            )
        };
        self.master.bus.timeline.spawn(async move {
            let qm = task.qm.clone();
            match qm.serve_all(number, &lease).await {
                Ok(()) => {}
                Err(Stop::Revoked) => qm.master.bus.note(DeviceNote::JobDropped { queue: number }),
                Err(Stop::Failed(event)) => qm.fail(number, event),
            }
            drop(task);
        });
    }

    async fn serve_all(self: &Rc<Self>, number: u16, lease: &Lease) -> Result<(), Stop> {
        self.master
            .spend(DeviceStep::Doorbell, number, lease)
            .await?;
        loop {
            lease.check()?;
            let fetch = self
                .state
                .borrow_mut()
                .submission(number)
                .and_then(|r| r.next_fetch());
            let Some(fetch) = fetch else { return Ok(()) };
            self.serve_one(number, &fetch, lease).await?;
        }
    }

    async fn serve_one(
        self: &Rc<Self>,
        number: u16,
        fetch: &Fetch,
        lease: &Lease,
    ) -> Result<(), Stop> {
        let rings = Requester::function(lease, Some(number), Purpose::Submission);

        self.master
            .spend(DeviceStep::DescriptorFetch, number, lease)
            .await?;
        let mut entry = [0; SQE_BYTES];
        self.master.read(&rings, fetch.address, &mut entry).await?;
        self.counters.qm(QmEvent::Fetched(number));

        let job = Job {
            queue: number,
            algorithm: fetch.context.algorithm(),
            pasid: fetch.context.pasid(),
            pasid_enabled: fetch.context.pasid_enabled(),
            lease: lease.clone(),
        };
        self.counters.qm(QmEvent::Sent);
        self.engine.run(&job, &mut entry).await?;
        self.counters.qm(QmEvent::Finished);

        self.master
            .spend(DeviceStep::CompletionWrite, number, lease)
            .await?;
        // The entry first: user space polls the completion's phase and then reads the entry.
        self.master.write(&rings, fetch.address, &entry).await?;
        self.counters.qm(QmEvent::WrittenBack);
        let completions = rings.for_purpose(Purpose::Completion);
        self.complete(number, fetch, &completions).await
    }

    async fn complete(
        self: &Rc<Self>,
        number: u16,
        fetch: &Fetch,
        rings: &Requester,
    ) -> Result<(), Stop> {
        let target = fetch.context.completion_queue();
        let (place, target_lease) = {
            let mut state = self.state.borrow_mut();
            let ring = state
                .completion(target)
                .ok_or(Stop::Failed(spec::EVENT_CQE_ERROR))?;
            let place = ring
                .reserve()
                .ok_or(Stop::Failed(spec::EVENT_CQ_OVERFLOW))?;
            (place, ring.lease.clone())
        };

        let entry = spec::completion(fetch.slot, number, place.phase);
        let written = self.master.write(rings, place.address, &entry).await;
        if matches!(written, Err(DmaError::Aborted(_))) {
            self.counters.qm(QmEvent::CompletionFailed);
        }
        written?;
        self.counters.qm(QmEvent::Completed(target));

        {
            let mut state = self.state.borrow_mut();
            if target_lease.check().is_ok()
                && let Some(ring) = state.completion(target)
            {
                ring.wrote();
                state.completion_event(target);
            }
            if let Some(ring) = state.submission(number) {
                ring.completed();
            }
        }
        self.master.bus.note(DeviceNote::Completed {
            queue: number,
            slot: Some(fetch.slot),
            tag: None,
        });
        self.write_events(EventKind::Completion);
        Ok(())
    }

    /// The queue cannot go on: it stops, and the driver disables it (`qm_aeq_thread`).
    fn fail(self: &Rc<Self>, number: u16, kind: u8) {
        {
            let mut state = self.state.borrow_mut();
            if let Some(ring) = state.submission(number) {
                ring.serving = Serving::Failed;
                ring.active = false;
            }
            // If the ring of failures is itself full or absent, only the note tells.
            let _ = state
                .aeq
                .push(Event::new().with_queue(number).with_kind(kind));
        }
        self.master.bus.note(DeviceNote::QueueFailed {
            queue: number,
            failure: None,
        });
        self.write_events(EventKind::Async);
    }
}

//! The way of queues and engines to memory: the function's bus master, the AXI side that may be told to
//! stop, and who is told of accesses that were refused.

use std::cell::{Cell, OnceCell};
use std::rc::{Rc, Weak};

use stallbox_timeline::Notify;

use crate::dma::{DmaAbort, Op};
use crate::function::{BusMaster, DeviceStep};
pub(super) use crate::function::{DmaError, Requester};
pub(super) use crate::lease::{Lease, Revoked};
use crate::verdict::Purpose;

/// Who is told of accesses that were refused.
pub(super) trait Alarm {
    /// A read or a write for `purpose` was refused.
    fn refused(&self, purpose: Purpose, write: bool);
}

pub(super) struct Master {
    pub(super) bus: Rc<BusMaster>,
    alarm: OnceCell<Weak<dyn Alarm>>,
    /// AXI shutdown was asked for: nothing new is issued.
    stopped: Cell<bool>,
    resumed: Notify,
}

impl Master {
    pub(super) fn new(bus: Rc<BusMaster>) -> Master {
        Master {
            bus,
            alarm: OnceCell::new(),
            stopped: Cell::new(false),
            resumed: Notify::new(),
        }
    }

    /// Tells `alarm` of accesses that are refused; called once.
    pub(super) fn set_alarm(&self, alarm: Weak<dyn Alarm>) {
        let first = self.alarm.set(alarm).is_ok();
        debug_assert!(first, "there is an alarm already");
    }

    pub(super) fn set_stopped(&self, stopped: bool) {
        self.stopped.set(stopped);
        if !stopped {
            self.resumed.notify_all();
        }
    }

    /// Tasks that wait for the AXI side look at their leases again.
    pub(super) fn recheck(&self) {
        self.resumed.notify_all();
    }

    /// Stopped, and everything that was issued has come back.
    pub(super) fn is_quiet(&self) -> bool {
        self.stopped.get() && self.bus.is_idle()
    }

    pub(super) async fn spend(
        &self,
        step: DeviceStep,
        queue: u16,
        lease: &Lease,
    ) -> Result<(), Revoked> {
        self.bus.spend(step, queue, lease).await
    }

    /// [`Master::spend`] for a job.
    pub(super) async fn compute(
        &self,
        step: DeviceStep,
        requester: &Requester,
    ) -> Result<(), Revoked> {
        let queue = requester.queue.unwrap_or_default();
        self.spend(step, queue, &requester.lease).await
    }

    pub(super) async fn read(
        &self,
        requester: &Requester,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<(), DmaError> {
        self.access(requester, address, Op::Read(buffer)).await
    }

    pub(super) async fn write(
        &self,
        requester: &Requester,
        address: u64,
        buffer: &[u8],
    ) -> Result<(), DmaError> {
        self.access(requester, address, Op::Write(buffer)).await
    }

    async fn access(
        &self,
        requester: &Requester,
        address: u64,
        op: Op<'_>,
    ) -> Result<(), DmaError> {
        requester.lease.check()?;
        while self.stopped.get() {
            self.resumed.notified().await;
            requester.lease.check()?;
        }
        let write = op.is_write();
        let refused = |abort| self.aborted(requester, write, abort);
        let _in_flight = self.bus.issue(requester, address, &op, refused).await?;
        let result = self.bus.perform(requester, address, op).await;
        result.map_err(refused)?;
        Ok(requester.lease.check()?)
    }

    fn aborted(&self, requester: &Requester, write: bool, abort: DmaAbort) -> DmaError {
        let error = self.bus.aborted(requester, write, abort);
        if let DmaError::Aborted(_) = error
            && let Some(alarm) = self.alarm.get().and_then(Weak::upgrade)
        {
            alarm.refused(requester.purpose, write);
        }
        error
    }
}

//! The function's bus master: the one way of queues and engines to memory. It knows whether the
//! function may issue requests, whether the AXI side was told to stop, and what is in flight.

use std::cell::{Cell, OnceCell};
use std::rc::{Rc, Weak};

use stallbox_timeline::{Notify, Timeline};

use crate::dma::{DmaAbort, DmaAttrs, DmaPort, Op};
use crate::function::{DeviceNote, DeviceProbe, DeviceStep};
pub(super) use crate::lease::{Lease, Revoked};
use crate::verdict::{DeviceAct, DmaAccess, Purpose};

/// Why a transaction did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DmaError {
    /// Terminated by the memory system.
    Aborted(DmaAbort),
    /// Its task was called off.
    Revoked,
}

impl From<Revoked> for DmaError {
    fn from(_: Revoked) -> DmaError {
        DmaError::Revoked
    }
}

/// Who is told of accesses that were refused.
pub(super) trait Alarm {
    /// A read or a write for `purpose` was refused.
    fn refused(&self, purpose: Purpose, write: bool);
}

pub(super) struct Master {
    pub(super) timeline: Timeline,
    alarm: OnceCell<Weak<dyn Alarm>>,
    pub(super) probe: Rc<dyn DeviceProbe>,
    dma: Rc<dyn DmaPort>,
    /// Bus Master Enable.
    enabled: Cell<bool>,
    /// PASID Enable.
    pasid_enabled: Cell<bool>,
    /// AXI shutdown was asked for: nothing new is issued.
    stopped: Cell<bool>,
    resumed: Notify,
    in_flight: Cell<u32>,
}

/// On whose behalf, and with what attributes.
#[derive(Clone)]
pub(super) struct Requester {
    pub(super) lease: Lease,
    pub(super) queue: Option<u16>,
    pub(super) purpose: Purpose,
    pub(super) attrs: DmaAttrs,
}

impl Requester {
    /// The function itself, for `queue`'s rings or for its own structures.
    pub(super) fn function(lease: &Lease, queue: Option<u16>, purpose: Purpose) -> Requester {
        Requester {
            lease: lease.clone(),
            queue,
            purpose,
            attrs: DmaAttrs::REQUESTER,
        }
    }

    pub(super) fn for_purpose(&self, purpose: Purpose) -> Requester {
        Requester {
            purpose,
            ..self.clone()
        }
    }

    pub(super) fn with(&self, attrs: DmaAttrs) -> Requester {
        Requester {
            attrs,
            ..self.clone()
        }
    }
}

struct InFlight<'a> {
    master: &'a Master,
    access: DmaAccess,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let count = &self.master.in_flight;
        count.set(count.get() - 1);
        self.master.probe.dma_ended(&self.access);
    }
}

impl Master {
    pub(super) fn new(
        timeline: Timeline,
        probe: Rc<dyn DeviceProbe>,
        dma: Rc<dyn DmaPort>,
    ) -> Master {
        Master {
            timeline,
            alarm: OnceCell::new(),
            probe,
            dma,
            enabled: Cell::new(false),
            pasid_enabled: Cell::new(false),
            stopped: Cell::new(false),
            resumed: Notify::new(),
            in_flight: Cell::new(0),
        }
    }

    /// Tells `alarm` of accesses that are refused; called once.
    pub(super) fn set_alarm(&self, alarm: Weak<dyn Alarm>) {
        let first = self.alarm.set(alarm).is_ok();
        debug_assert!(first, "there is an alarm already");
    }

    pub(super) fn set_enabled(&self, enabled: bool) {
        self.enabled.set(enabled);
    }

    pub(super) fn set_pasid_enabled(&self, enabled: bool) {
        self.pasid_enabled.set(enabled);
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
        self.stopped.get() && self.in_flight.get() == 0
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    pub(super) fn note(&self, note: DeviceNote) {
        self.probe.note(&note);
    }

    pub(super) async fn spend(
        &self,
        step: DeviceStep,
        queue: u16,
        lease: &Lease,
    ) -> Result<(), Revoked> {
        let span = self.probe.spend(step);
        let verdict = self.probe.on_step(step, queue);
        verdict.spend(span, &self.timeline, lease).await
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
        let write = op.is_write();
        let _in_flight = self.issue(requester, address, op.bytes(), write).await?;
        let result = self.dma.access(requester.attrs, address, op).await;
        self.finish(requester, write, result)
    }

    async fn issue(
        &self,
        requester: &Requester,
        address: u64,
        bytes: usize,
        write: bool,
    ) -> Result<InFlight<'_>, DmaError> {
        requester.lease.check()?;
        while self.stopped.get() {
            self.resumed.notified().await;
            requester.lease.check()?;
        }
        // Without Bus Master Enable no request leaves the function, and without PASID Enable none
        // with a prefix; sending it without one would let it reach the kernel's address space.
        let allowed =
            self.enabled.get() && (requester.attrs.pasid.is_none() || self.pasid_enabled.get());
        if !allowed {
            return Err(self.aborted(requester, write, DmaAbort { address }));
        }
        let access = DmaAccess {
            purpose: requester.purpose,
            queue: requester.queue,
            pasid: requester.attrs.pasid,
            address,
            bytes: bytes as u64,
            write,
        };
        let verdict = self.probe.on_dma(&access);
        self.in_flight.set(self.in_flight.get() + 1);
        let in_flight = InFlight {
            master: self,
            access,
        };
        if verdict.waited(&requester.lease).await? != DeviceAct::Go {
            return Err(self.aborted(requester, write, DmaAbort { address }));
        }
        Ok(in_flight)
    }

    fn finish(
        &self,
        requester: &Requester,
        write: bool,
        result: Result<(), DmaAbort>,
    ) -> Result<(), DmaError> {
        result.map_err(|abort| self.aborted(requester, write, abort))?;
        Ok(requester.lease.check()?)
    }

    /// What an abort means for the task: nothing any more, if it was called off.
    fn aborted(&self, requester: &Requester, write: bool, abort: DmaAbort) -> DmaError {
        self.note(DeviceNote::DmaAborted {
            queue: requester.queue,
            pasid: requester.attrs.pasid,
            address: abort.address,
            write,
        });
        match requester.lease.check() {
            Ok(()) => {
                if let Some(alarm) = self.alarm.get().and_then(Weak::upgrade) {
                    alarm.refused(requester.purpose, write);
                }
                DmaError::Aborted(abort)
            }
            Err(Revoked) => DmaError::Revoked,
        }
    }
}

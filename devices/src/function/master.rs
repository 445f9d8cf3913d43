//! A function's bus master: its one way to memory. It knows whether the function may issue requests
//! and what is in flight.

use std::cell::Cell;
use std::rc::Rc;

use stallbox_timeline::Timeline;

use super::{DeviceNote, DeviceProbe, DeviceStep};
use crate::dma::{DmaAbort, DmaAttrs, DmaPort, Op, Pasid};
use crate::lease::{Lease, Revoked};
use crate::verdict::{DeviceAct, DmaAccess, Purpose};

/// Why a transaction did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DmaError {
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

/// On whose behalf, and with what attributes.
#[derive(Clone)]
pub(crate) struct Requester {
    pub(crate) lease: Lease,
    pub(crate) queue: Option<u16>,
    pub(crate) purpose: Purpose,
    pub(crate) attrs: DmaAttrs,
}

impl Requester {
    /// The function itself, for `queue`'s rings or for its own structures.
    pub(crate) fn function(lease: &Lease, queue: Option<u16>, purpose: Purpose) -> Requester {
        Requester {
            lease: lease.clone(),
            queue,
            purpose,
            attrs: DmaAttrs::REQUESTER,
        }
    }

    pub(crate) fn for_purpose(&self, purpose: Purpose) -> Requester {
        Requester {
            purpose,
            ..self.clone()
        }
    }

    pub(crate) fn with(&self, attrs: DmaAttrs) -> Requester {
        Requester {
            attrs,
            ..self.clone()
        }
    }
}

/// An access that was issued. Tells the probe when it is over.
pub(crate) struct InFlight<'a> {
    master: &'a BusMaster,
    access: DmaAccess,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let count = &self.master.in_flight;
        count.set(count.get() - 1);
        self.master.probe.dma_ended(&self.access);
    }
}

pub(crate) struct BusMaster {
    pub(crate) timeline: Timeline,
    pub(crate) probe: Rc<dyn DeviceProbe>,
    dma: Rc<dyn DmaPort>,
    /// Bus Master Enable.
    enabled: Cell<bool>,
    /// PASID Enable.
    pasid_enabled: Cell<bool>,
    /// AtomicOp Requester Enable.
    atomics_enabled: Cell<bool>,
    in_flight: Cell<u32>,
}

impl BusMaster {
    pub(crate) fn new(
        timeline: Timeline,
        probe: Rc<dyn DeviceProbe>,
        dma: Rc<dyn DmaPort>,
    ) -> BusMaster {
        BusMaster {
            timeline,
            probe,
            dma,
            enabled: Cell::new(false),
            pasid_enabled: Cell::new(false),
            atomics_enabled: Cell::new(false),
            in_flight: Cell::new(0),
        }
    }

    /// What configuration space allows from now on.
    pub(super) fn configure(&self, enabled: bool, pasid_enabled: bool, atomics_enabled: bool) {
        self.enabled.set(enabled);
        self.pasid_enabled.set(pasid_enabled);
        self.atomics_enabled.set(atomics_enabled);
    }

    pub(crate) fn atomics_enabled(&self) -> bool {
        self.atomics_enabled.get()
    }

    /// Nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    pub(crate) fn note(&self, note: DeviceNote) {
        self.probe.note(&note);
    }

    pub(crate) async fn spend(
        &self,
        step: DeviceStep,
        queue: u16,
        lease: &Lease,
    ) -> Result<(), Revoked> {
        let span = self.probe.spend(step);
        let verdict = self.probe.on_step(step, queue);
        verdict.spend(span, &self.timeline, lease).await
    }

    /// Without Bus Master Enable no request leaves the function, and without PASID Enable none with
    /// a prefix; sending it without one would let it reach the kernel's address space.
    pub(crate) fn allows(&self, pasid: Option<Pasid>) -> bool {
        self.enabled.get() && (pasid.is_none() || self.pasid_enabled.get())
    }

    /// Issues an access: it is in flight as long as the result lives. `refused` says what a refusal
    /// means for the task: [`BusMaster::aborted`], and what the device does besides.
    pub(crate) async fn issue(
        &self,
        requester: &Requester,
        address: u64,
        op: &Op<'_>,
        refused: impl FnOnce(DmaAbort) -> DmaError,
    ) -> Result<InFlight<'_>, DmaError> {
        requester.lease.check()?;
        if !self.allows(requester.attrs.pasid) {
            return Err(refused(DmaAbort { address }));
        }
        let access = DmaAccess {
            purpose: requester.purpose,
            queue: requester.queue,
            pasid: requester.attrs.pasid,
            address,
            bytes: op.bytes() as u64,
            write: op.is_write(),
        };
        let verdict = self.probe.on_dma(&access);
        self.in_flight.set(self.in_flight.get() + 1);
        let in_flight = InFlight {
            master: self,
            access,
        };
        if verdict.waited(&requester.lease).await? != DeviceAct::Go {
            return Err(refused(DmaAbort { address }));
        }
        Ok(in_flight)
    }

    /// What was issued reaches memory.
    pub(crate) async fn perform(
        &self,
        requester: &Requester,
        address: u64,
        op: Op<'_>,
    ) -> Result<(), DmaAbort> {
        self.dma.access(requester.attrs, address, op).await
    }

    /// What an abort means for the task: nothing any more, if it was called off.
    pub(crate) fn aborted(&self, requester: &Requester, write: bool, abort: DmaAbort) -> DmaError {
        self.note(DeviceNote::DmaAborted {
            queue: requester.queue,
            pasid: requester.attrs.pasid,
            address: abort.address,
            write,
        });
        match requester.lease.check() {
            Ok(()) => DmaError::Aborted(abort),
            Err(Revoked) => DmaError::Revoked,
        }
    }
}

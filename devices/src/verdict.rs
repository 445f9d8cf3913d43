//! What a probe may decide about an accelerator: the device asks, waits at a gate if it is given one,
//! and does what it was told.

use stallbox_timeline::{Gate, Span, Timeline};

use crate::dma::Pasid;
use crate::lease::{Lease, Revoked};

/// A decision: first wait, if there is a gate, then act.
#[derive(Clone, Debug, Default)]
pub struct DeviceVerdict {
    /// What to wait for.
    pub wait: Option<Gate>,
    /// What to do then.
    pub act: DeviceAct,
}

impl DeviceVerdict {
    /// Waits, on behalf of a task with this lease; what to do then.
    pub(crate) async fn waited(self, lease: &Lease) -> Result<DeviceAct, Revoked> {
        if let Some(gate) = self.wait {
            gate.passed().await;
            lease.check()?;
        }
        Ok(self.act)
    }

    /// The same for what can happen several times.
    pub(crate) fn carry_out_often(self, timeline: &Timeline, what: impl Fn() + 'static) {
        let times = match self.act {
            DeviceAct::Repeat(more) => u64::from(more) + 1,
            _ => 1,
        };
        let verdict = DeviceVerdict {
            act: match self.act {
                DeviceAct::Repeat(_) => DeviceAct::Go,
                act => act,
            },
            ..self
        };
        verdict.carry_out(timeline, move || (0..times).for_each(|_| what()));
    }

    /// Does what was asked about: at once, behind the gate, or never.
    pub(crate) fn carry_out(self, timeline: &Timeline, what: impl FnOnce() + 'static) {
        if self.act != DeviceAct::Go {
            return;
        }
        match self.wait {
            None => what(),
            Some(gate) => timeline.spawn(async move {
                gate.passed().await;
                what();
            }),
        }
    }
}

/// A decision about a step that takes time: first wait, if there is a gate; then it takes longer.
#[derive(Clone, Debug, Default)]
pub struct StepVerdict {
    /// What to wait for.
    pub wait: Option<Gate>,
    /// How much longer it takes.
    pub more: Span,
}

impl StepVerdict {
    /// Spends `span` and what the verdict adds, on behalf of a task with this lease.
    pub(crate) async fn spend(
        self,
        span: Span,
        timeline: &Timeline,
        lease: &Lease,
    ) -> Result<(), Revoked> {
        if let Some(gate) = self.wait {
            gate.passed().await;
            lease.check()?;
        }
        timeline.sleep(span + self.more).await;
        lease.check()
    }
}

/// What becomes of what comes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceAct {
    /// It goes its way.
    #[default]
    Go,
    /// An interrupt, a doorbell, a register write or the completion of an invalidation is lost; a mailbox
    /// command is never answered.
    Drop,
    /// An access to memory is aborted; a mailbox command fails, with this status.
    Fail(u8),
    /// A doorbell arrives so many times more.
    Repeat(u32),
}

/// A doorbell that the guest rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorbellWrite {
    /// Which of the device's rings it is of.
    pub ring: Purpose,
    /// The queue, if the ring is one of a queue.
    pub queue: Option<u16>,
    /// The new index: a tail of submissions, a head of the others.
    pub index: u32,
}

/// What an access to memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An entry of a submission ring.
    Submission,
    /// An entry of a completion ring.
    Completion,
    /// An entry of the ring of completion events.
    Event,
    /// An entry of the ring of failures.
    AsyncEvent,
    /// A context that a mailbox command names.
    Context,
    /// A job's data, and the lists that say where it is.
    Data,
}

/// An access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaAccess {
    /// What it is for.
    pub purpose: Purpose,
    /// The queue on whose behalf it is made; `None` for the function's own.
    pub queue: Option<u16>,
    /// Its address space.
    pub pasid: Option<Pasid>,
    /// First address.
    pub address: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Direction.
    pub write: bool,
}

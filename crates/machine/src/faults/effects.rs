//! What rules, and people, make happen.

use std::rc::Rc;

use stallbox_devices::function::InjectionError;
use stallbox_faultplan::{DeviceError, DeviceEvent, Effect, Touch};
use stallbox_smmu::{Access, Smmu, StreamId, SubstreamId, Transaction};
use stallbox_trace::{Event, Hex, WhyNot};

use super::{Faults, targets};
use crate::devices::NoAccelerator;

/// More effects at one point of virtual time are rules that feed each other.
const EFFECTS_AT_ONCE_MAX: u32 = 10_000;
/// More accesses of effects at a time would only fill the host's memory.
const TOUCHING_MAX: u32 = 1 << 17;
/// Accesses that are begun between two looks at whether the run is to give way.
const TOUCHES_IN_A_ROW: u32 = 256;

/// Why an effect could not be brought about.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Failure {
    #[error("the machine is not complete")]
    Incomplete,
    #[error("the SMMU knows no such command")]
    UnknownCommand,
    #[error("too many accesses are under way")]
    TooManyAccesses,
    #[error("there is no such rule")]
    NoRule,
    #[error("this engine does not stop")]
    CannotPause,
    #[error(transparent)]
    NoAccelerator(NoAccelerator),
    #[error(transparent)]
    Device(InjectionError),
}

impl Failure {
    /// As the trace names it.
    fn reason(self) -> WhyNot {
        match self {
            Failure::Incomplete => WhyNot::IncompleteMachine,
            Failure::UnknownCommand => WhyNot::UnknownCommand,
            Failure::TooManyAccesses => WhyNot::TooManyAccesses,
            Failure::NoRule => WhyNot::NoRule,
            Failure::CannotPause => WhyNot::CannotPause,
            Failure::NoAccelerator(NoAccelerator::Several) => WhyNot::SeveralAccelerators,
            Failure::NoAccelerator(_) => WhyNot::NoAccelerator,
            Failure::Device(InjectionError::NoVector) => WhyNot::NoVector,
            Failure::Device(InjectionError::NoRing) => WhyNot::NoRing,
            Failure::Device(InjectionError::Overflow { .. }) => WhyNot::Overflow,
            Failure::Device(InjectionError::NoQueue) => WhyNot::NoQueue,
            Failure::Device(InjectionError::Unsupported(_)) => WhyNot::Unsupported,
        }
    }

    /// For how many there was room.
    fn taken(self) -> Option<u32> {
        match self {
            Failure::Device(InjectionError::Overflow { taken }) => Some(taken),
            _ => None,
        }
    }
}

impl Faults {
    /// Does it now, and says what came of it. Both that it is asked for and that it failed are in the
    /// trace.
    pub fn perform(self: &Rc<Self>, by: &str, effect: &Effect) -> Result<String, String> {
        // Rules can feed each other, and virtual time would stand still for ever.
        let now = self.timeline.now();
        let (at, count) = self.effects_at.get();
        let count = if at == now { count + 1 } else { 1 };
        self.effects_at.set((now, count));
        if count > EFFECTS_AT_ONCE_MAX {
            return Err("too many effects at one time".to_owned());
        }
        // Traced first: what it causes follows.
        let what = describe(effect);
        self.tracer.emit(Event::Effect {
            by: by.to_owned(),
            stream: targets::stream(effect),
            effect: effect.into(),
        });
        let failed = |failure: Failure| {
            self.tracer.emit(Event::EffectFailed {
                by: by.to_owned(),
                stream: targets::stream(effect),
                effect: effect.into(),
                reason: failure.reason(),
                taken: failure.taken(),
            });
            Err(format!("{what}: {failure}"))
        };
        let Some(devices) = self.devices() else {
            return failed(Failure::Incomplete);
        };
        let smmu = devices.smmu();
        match effect {
            Effect::WriteRecord(words) => smmu.inject_event(*words),
            Effect::RunCommand(words) => {
                if !smmu.inject_command(*words) {
                    return failed(Failure::UnknownCommand);
                }
            }
            Effect::EvictTlb(address) => {
                let entries = smmu.evict(*address);
                return Ok(format!("{what}: {entries} entries"));
            }
            Effect::Touch(touch) => {
                if self.touching.get().saturating_add(touch.count) > TOUCHING_MAX {
                    return failed(Failure::TooManyAccesses);
                }
                self.touching.set(self.touching.get() + touch.count);
                self.touch(smmu, *touch, 0);
            }
            Effect::DeviceEvent(_)
            | Effect::RaiseMsi { .. }
            | Effect::DeviceError { .. }
            | Effect::DeviceReset { .. } => {
                let done = match devices.accelerator(targets::stream(effect)) {
                    Ok(it) => targets::perform(&*it, effect).map_err(Failure::Device),
                    Err(error) => Err(Failure::NoAccelerator(error)),
                };
                if let Err(failure) = done {
                    return failed(failure);
                }
            }
            Effect::Open(name) => {
                let released = self.gates.open(name);
                return Ok(format!("{what}: {released} released"));
            }
            Effect::Close(name) => self.gates.close(name),
            Effect::Enable(name) | Effect::Disable(name) => {
                let on = matches!(effect, Effect::Enable(_));
                match self.player.switch(name, on) {
                    0 => return failed(Failure::NoRule),
                    1 => {}
                    count => return Ok(format!("{what}: {count} rules")),
                }
            }
            Effect::Marker(name) => {
                self.tracer.emit(Event::Marker { name: name.clone() });
                self.marker(name);
            }
            Effect::Pause if !self.pause.is_possible() => {
                return failed(Failure::CannotPause);
            }
            Effect::Pause => self.pause.set_paused(true),
        }
        Ok(what)
    }

    /// Accesses of which nobody uses the data, from number `first` on: a task each, since each may
    /// wait for software.
    fn touch(self: &Rc<Self>, smmu: &Smmu, touch: Touch, first: u32) {
        for index in first..touch.count {
            self.touch_one(smmu, &touch, index);
            if index % TOUCHES_IN_A_ROW == 0 && self.timeline.should_yield() {
                let (faults, smmu) = (self.clone(), smmu.clone());
                return self
                    .timeline
                    .leave(move || faults.touch(&smmu, touch, index + 1));
            }
        }
    }

    fn touch_one(&self, smmu: &Smmu, touch: &Touch, index: u32) {
        let transaction = Transaction {
            stream: StreamId(touch.stream.unwrap_or_default()),
            substream: touch.pasid.flatten().map(SubstreamId),
            address: touch
                .address
                .unwrap_or_default()
                .wrapping_add(touch.stride.wrapping_mul(index.into())),
            access: if touch.write {
                Access::WRITE
            } else {
                Access::READ
            },
        };
        let (smmu, tracer, timeline) = (smmu.clone(), self.tracer.clone(), self.timeline.clone());
        let touching = self.touching.clone();
        self.timeline.spawn(async move {
            let asked = timeline.now();
            let outcome = smmu.translate(transaction).await;
            touching.set(touching.get() - 1);
            let stalls = match &outcome {
                Ok(translation) => translation.stalls,
                Err(aborted) => aborted.stalls,
            };
            if stalls > 0 {
                tracer.emit(Event::DeviceFault {
                    stream: transaction.stream.0,
                    pasid: transaction.substream.map(|substream| substream.0),
                    address: Hex(transaction.address),
                    write: transaction.access.write,
                    stalls,
                    page_request_groups: 0,
                    latency_ns: timeline.now().since(asked).as_ns(),
                    aborted: outcome.is_err(),
                });
            }
        });
    }
}

/// An effect in a few words, for people.
fn describe(effect: &Effect) -> String {
    let words = |words: &[u64]| {
        let words: Vec<String> = words.iter().map(|word| format!("{word:#x}")).collect();
        words.join(" ")
    };
    match effect {
        Effect::WriteRecord(record) => format!("write_records {}", words(record)),
        Effect::RunCommand(command) => format!("run_commands {}", words(command)),
        Effect::EvictTlb(None) => "evict_tlb all".to_owned(),
        Effect::EvictTlb(Some(address)) => format!("evict_tlb {address:#x}"),
        Effect::DeviceEvent(DeviceEvent {
            failure,
            queue,
            kind,
            count,
            ..
        }) => {
            let ring = if *failure { "aeq" } else { "eq" };
            let count = match count {
                1 => String::new(),
                count => format!(" count {count}"),
            };
            format!("device_events {ring} queue {queue} kind {kind}{count}")
        }
        Effect::Touch(touch) => format!(
            "touch {} from {:#x}",
            touch.count,
            touch.address.unwrap_or_default()
        ),
        Effect::RaiseMsi { vector, .. } => format!("raise_msi {vector}"),
        Effect::DeviceError { error, .. } => match error {
            DeviceError::Status { qm, zip } => format!("device_error qm {qm:#x} zip {zip:#x}"),
            DeviceError::Queue { queue, failure } => {
                let queue = queue.unwrap_or_default();
                format!("device_error queue {queue} failure {failure}")
            }
        },
        Effect::DeviceReset { .. } => "device_reset".to_owned(),
        Effect::Open(name) => format!("open {name}"),
        Effect::Close(name) => format!("close {name}"),
        Effect::Enable(name) => format!("enable {name}"),
        Effect::Disable(name) => format!("disable {name}"),
        Effect::Marker(name) => format!("marker {name}"),
        Effect::Pause => "pause".to_owned(),
    }
}

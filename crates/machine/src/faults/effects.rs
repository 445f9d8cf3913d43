//! What rules, and people, make happen.

use std::rc::Rc;

use stallbox_faultplan::{DeviceError, DeviceEvent, Effect, Touch};
use stallbox_smmu::{Access, Smmu, StreamId, SubstreamId, Transaction};
use stallbox_trace::Event;

use super::{Faults, targets};

/// More effects at one point of virtual time are rules that feed each other.
const EFFECTS_AT_ONCE_MAX: u32 = 10_000;
/// More accesses of effects at a time would only fill the host's memory.
const TOUCHING_MAX: u32 = 1 << 17;
/// Accesses that are begun between two looks at whether the run is to give way.
const TOUCHES_IN_A_ROW: u32 = 256;

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
            what: what.clone(),
            stream: targets::stream(effect),
        });
        let failed = |reason: &str| {
            let what = format!("{what}: {reason}");
            self.tracer.emit(Event::Effect {
                by: by.to_owned(),
                what: what.clone(),
                stream: None,
            });
            Err(what)
        };
        let Some(devices) = self.devices() else {
            return failed("the machine is not complete");
        };
        let smmu = devices.smmu();
        match effect {
            Effect::WriteRecord(words) => smmu.inject_event(*words),
            Effect::RunCommand(words) => {
                if !smmu.inject_command(*words) {
                    return failed("the SMMU knows no such command");
                }
            }
            Effect::EvictTlb(address) => {
                let entries = smmu.evict(*address);
                return Ok(format!("{what}: {entries} entries"));
            }
            Effect::Touch(touch) => {
                if self.touching.get().saturating_add(touch.count) > TOUCHING_MAX {
                    return failed("too many accesses are under way");
                }
                self.touching.set(self.touching.get() + touch.count);
                self.touch(smmu, *touch, 0);
            }
            Effect::DeviceEvent(_)
            | Effect::RaiseMsi { .. }
            | Effect::DeviceError { .. }
            | Effect::DeviceReset { .. } => {
                let accelerator = devices.accelerator(targets::stream(effect));
                let done = accelerator.and_then(|it| targets::perform(&*it, effect));
                if let Err(reason) = done {
                    return failed(&reason);
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
                    0 => return failed("there is no such rule"),
                    1 => {}
                    count => return Ok(format!("{what}: {count} rules")),
                }
            }
            Effect::Marker(name) => {
                self.tracer.emit(Event::Marker { name: name.clone() });
                self.marker(name);
            }
            Effect::Pause if !self.pause.is_possible() => {
                return failed("this engine does not stop");
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
                    address: transaction.address,
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

//! What rules, and people, make happen.

use std::rc::Rc;

use stallbox_faultplan::{DeviceEvent, Effect};
use stallbox_trace::Event;

use super::Faults;

impl Faults {
    /// Does it now, and traces what came of it.
    pub(crate) fn perform(self: &Rc<Self>, by: &str, effect: &Effect) -> String {
        // Traced first: what it causes follows.
        let what = describe(effect);
        self.tracer.emit(Event::Effect {
            by: by.to_owned(),
            what: what.clone(),
        });
        let failed = |reason: &str| format!("{what}: {reason}");
        let targets = self.targets.borrow();
        let Some(targets) = targets.as_ref() else {
            return failed("the machine is not complete");
        };
        let (smmu, zip) = (targets.smmu.clone(), targets.zip.clone());
        const NO_DEVICE: &str = "there is no accelerator";
        match effect {
            Effect::WriteRecord(words) => smmu.inject_event(*words),
            Effect::RunCommand(words) => {
                if !smmu.inject_command(*words) {
                    return failed("the SMMU knows no such command");
                }
            }
            Effect::EvictTlb(address) => {
                let entries = smmu.evict(*address);
                return format!("{what}: {entries} entries");
            }
            Effect::DeviceEvent(event) => match zip {
                Some(zip) => {
                    if !zip.inject_event(event.failure, event.queue, event.kind) {
                        return failed("the ring takes none now");
                    }
                }
                None => return failed(NO_DEVICE),
            },
            Effect::RaiseMsi(vector) => match zip {
                Some(zip) => zip.inject_interrupt(*vector),
                None => return failed(NO_DEVICE),
            },
            Effect::DeviceError { qm, zip: bits } => match zip {
                Some(zip) => zip.set_errors(*qm, *bits),
                None => return failed(NO_DEVICE),
            },
            Effect::DeviceReset => match zip {
                Some(zip) => zip.inject_reset(),
                None => return failed(NO_DEVICE),
            },
            Effect::Open(name) => {
                let released = self.gates.open(name);
                return format!("{what}: {released} released");
            }
            Effect::Marker(name) => {
                self.tracer.emit(Event::Marker { name: name.clone() });
                self.marker(name);
            }
            Effect::Pause if !self.is_pausable() => return failed("this engine does not stop"),
            Effect::Pause => self.paused.set(true),
        }
        what
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
        }) => {
            let ring = if *failure { "aeq" } else { "eq" };
            format!("device_events {ring} queue {queue} kind {kind}")
        }
        Effect::RaiseMsi(vector) => format!("raise_msi {vector}"),
        Effect::DeviceError { qm, zip } => format!("device_error qm {qm:#x} zip {zip:#x}"),
        Effect::DeviceReset => "device_reset".to_owned(),
        Effect::Open(name) => format!("open {name}"),
        Effect::Marker(name) => format!("marker {name}"),
        Effect::Pause => "pause".to_owned(),
    }
}

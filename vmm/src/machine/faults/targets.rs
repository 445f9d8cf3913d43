//! What effects act on.

use std::rc::Rc;

use stallbox_devices::hisi::Zip;
use stallbox_devices::test_engine::TestEngine;
use stallbox_faultplan::{DeviceError, DeviceEvent, Effect, Subject, Touch};
use stallbox_smmu::Smmu;

/// An accelerator of the machine.
#[derive(Clone)]
pub(crate) enum Accelerator {
    Zip(Rc<Zip>),
    TestEngine(Rc<TestEngine>),
}

impl Accelerator {
    /// Does what only accelerators can; or says why not.
    pub(super) fn perform(&self, effect: &Effect) -> Result<(), &'static str> {
        let must = |done: bool, reason| done.then_some(()).ok_or(reason);
        const NO_VECTOR: &str = "the device has no such vector";
        match (self, effect) {
            (Accelerator::Zip(zip), Effect::DeviceEvent(event)) => {
                let done = zip.inject_event(event.failure, event.queue, event.kind);
                must(done, "the ring takes none now")
            }
            (Accelerator::TestEngine(_), Effect::DeviceEvent(_)) => {
                Err("the test engine has no rings of events")
            }
            (Accelerator::Zip(zip), Effect::RaiseMsi { vector, .. }) => {
                must(zip.inject_interrupt(*vector), NO_VECTOR)
            }
            (Accelerator::TestEngine(engine), Effect::RaiseMsi { vector, .. }) => {
                must(engine.inject_interrupt(*vector), NO_VECTOR)
            }
            (Accelerator::Zip(zip), Effect::DeviceReset { .. }) => {
                zip.inject_reset();
                Ok(())
            }
            (Accelerator::TestEngine(engine), Effect::DeviceReset { .. }) => {
                engine.inject_reset();
                Ok(())
            }
            (Accelerator::Zip(zip), Effect::DeviceError { error, .. }) => match *error {
                DeviceError::Status { qm, zip: bits } => {
                    zip.set_errors(qm, bits);
                    Ok(())
                }
                DeviceError::Queue { .. } => Err("the ZIP's errors are bits: qm, zip"),
            },
            (Accelerator::TestEngine(engine), Effect::DeviceError { error, .. }) => match *error {
                DeviceError::Queue { queue, failure } => {
                    let done = engine.inject_failure(queue.unwrap_or_default(), failure);
                    must(done, "the queue is not enabled")
                }
                DeviceError::Status { .. } => {
                    Err("the test engine's errors are a queue's: queue, failure")
                }
            },
            _ => Err("this is nothing that an accelerator does"),
        }
    }
}

/// The SMMU, and the accelerators with their StreamIDs.
pub(super) struct Targets {
    pub(super) smmu: Smmu,
    pub(super) accelerators: Vec<(u32, Accelerator)>,
}

impl Targets {
    fn has(&self, stream: u32) -> bool {
        self.accelerators.iter().any(|(it, _)| *it == stream)
    }

    /// The accelerator that is meant: the only one, if none is named.
    pub(super) fn accelerator(&self, stream: Option<u32>) -> Result<Accelerator, String> {
        let mut meant = self
            .accelerators
            .iter()
            .filter(|(it, _)| stream.is_none_or(|stream| stream == *it));
        match (meant.next(), meant.next(), stream) {
            (Some((_, accelerator)), None, _) => Ok(accelerator.clone()),
            (None, _, Some(stream)) => Err(format!("no accelerator has StreamID {stream}")),
            (None, _, None) => Err("there is no accelerator".to_owned()),
            (Some(_), Some(_), _) => Err("there are two accelerators: give `stream`".to_owned()),
        }
    }

    /// The effect with what the rule took filled in.
    pub(super) fn filled_in(&self, effect: &Effect, subject: &Subject<'_>) -> Effect {
        // What is at a point of the SMMU need not be an accelerator's.
        let device = |given: Option<u32>| {
            given.or_else(|| subject.stream.filter(|stream| self.has(*stream)))
        };
        match *effect {
            Effect::Touch(touch) => Effect::Touch(Touch {
                stream: touch.stream.or(subject.stream),
                pasid: touch.pasid.or(Some(subject.pasid)),
                address: touch.address.or(subject.address.map(|(first, _)| first)),
                ..touch
            }),
            Effect::DeviceEvent(event) => Effect::DeviceEvent(DeviceEvent {
                stream: device(event.stream),
                ..event
            }),
            Effect::RaiseMsi { stream, vector } => Effect::RaiseMsi {
                stream: device(stream),
                vector,
            },
            Effect::DeviceReset { stream } => Effect::DeviceReset {
                stream: device(stream),
            },
            Effect::DeviceError { stream, error } => Effect::DeviceError {
                stream: device(stream),
                error: match error {
                    DeviceError::Queue { queue, failure } => DeviceError::Queue {
                        queue: queue.or(subject.queue),
                        failure,
                    },
                    bits => bits,
                },
            },
            ref other => other.clone(),
        }
    }
}

/// The device of which an effect is, if it is of one.
pub(super) fn stream(effect: &Effect) -> Option<u32> {
    match effect {
        Effect::Touch(touch) => touch.stream,
        Effect::DeviceEvent(event) => event.stream,
        Effect::RaiseMsi { stream, .. }
        | Effect::DeviceReset { stream }
        | Effect::DeviceError { stream, .. } => *stream,
        _ => None,
    }
}

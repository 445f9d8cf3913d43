//! What effects act on.

use stallbox_devices::hisi::InjectedEvents;
use stallbox_faultplan::{DeviceError, DeviceEvent, Effect, Subject, Touch};

use crate::{Accelerator, Devices};

/// Does what only accelerators can; or says why not.
pub(super) fn perform(accelerator: &Accelerator, effect: &Effect) -> Result<(), String> {
    let must = |done: bool, reason: &str| done.then_some(()).ok_or_else(|| reason.to_owned());
    const NO_VECTOR: &str = "the device has no such vector";
    match (accelerator, effect) {
        (Accelerator::Zip(zip), Effect::DeviceEvent(event)) => {
            let (ring, kind) = (event.failure, event.kind);
            match zip.inject_events(ring, event.queue, kind, event.count) {
                InjectedEvents::Taken => Ok(()),
                InjectedEvents::NoRing => Err("there is no such ring now".to_owned()),
                InjectedEvents::Overflow { taken } => Err(format!(
                    "the ring had room for {taken}, and overflowed: the others are lost"
                )),
            }
        }
        (Accelerator::TestEngine(_), Effect::DeviceEvent(_)) => {
            Err("the test engine has no rings of events".to_owned())
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
            DeviceError::Queue { .. } => Err("the ZIP's errors are bits: qm, zip".to_owned()),
        },
        (Accelerator::TestEngine(engine), Effect::DeviceError { error, .. }) => match *error {
            DeviceError::Queue { queue, failure } => {
                let done = engine.inject_failure(queue.unwrap_or_default(), failure);
                must(done, "the queue is not enabled")
            }
            DeviceError::Status { .. } => {
                Err("the test engine's errors are a queue's: queue, failure".to_owned())
            }
        },
        _ => Err("this is nothing that an accelerator does".to_owned()),
    }
}

/// The effect with what the rule took filled in.
pub(super) fn filled_in(devices: &Devices, effect: &Effect, subject: &Subject<'_>) -> Effect {
    // What is at a point of the SMMU need not be an accelerator's.
    let device = |given: Option<u32>| {
        given.or_else(|| {
            subject
                .stream
                .filter(|stream| devices.has_accelerator(*stream))
        })
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

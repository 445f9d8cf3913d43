//! What effects act on.

use stallbox_devices::function::{Accelerator, Injection, InjectionError};
use stallbox_faultplan::{DeviceError, DeviceEvent, Effect, Subject, Touch};

use crate::Devices;

/// Does what only accelerators can; or says why not.
pub(super) fn perform(
    accelerator: &dyn Accelerator,
    effect: &Effect,
) -> Result<(), InjectionError> {
    let what = match *effect {
        Effect::DeviceEvent(event) => Injection::Events {
            failures: event.failure,
            queue: event.queue,
            kind: event.kind,
            count: event.count,
        },
        Effect::RaiseMsi { vector, .. } => Injection::Interrupt { vector },
        Effect::DeviceReset { .. } => Injection::Reset,
        Effect::DeviceError { error, .. } => match error {
            DeviceError::Status { qm, zip } => Injection::Errors { qm, zip },
            DeviceError::Queue { queue, failure } => Injection::QueueFailure {
                queue: queue.unwrap_or_default(),
                failure,
            },
        },
        _ => {
            return Err(InjectionError::Unsupported(
                "this is nothing that an accelerator does",
            ));
        }
    };
    accelerator.inject(what)
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

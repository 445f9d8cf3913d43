//! The jobs of accelerators, whichever they are: what the record of open things and the checkers follow.

use stallbox_devices::function::DeviceNote;

/// What became of a job. Where there is no tag, a queue has one job at a time, or it does not matter
/// which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobNote {
    Started {
        queue: u16,
        tag: u64,
        pasid: Option<u32>,
        input_bytes: u32,
    },
    /// It has its result; the completion is yet to be written.
    Done { queue: u16, tag: Option<u64> },
    /// It is over, with a completion or without.
    Ended { queue: u16, tag: Option<u64> },
    /// All of the accelerator's are over.
    Reset,
}

impl JobNote {
    /// What a device's note says of a job, if it is about one.
    pub(super) fn of(note: &DeviceNote) -> Option<JobNote> {
        Some(match *note {
            DeviceNote::JobStarted {
                queue,
                pasid,
                tag,
                input,
            } => JobNote::Started {
                queue,
                tag,
                pasid: pasid.map(|pasid| pasid.0),
                input_bytes: input,
            },
            DeviceNote::JobDone { queue, tag, .. } => JobNote::Done { queue, tag },
            DeviceNote::Completed { queue, tag, .. } => JobNote::Ended { queue, tag },
            // Of a queue with several jobs, the one that found a ring unusable is the one that is
            // not dropped.
            DeviceNote::JobDropped { queue } | DeviceNote::QueueFailed { queue, .. } => {
                JobNote::Ended { queue, tag: None }
            }
            DeviceNote::Reset => JobNote::Reset,
            _ => return None,
        })
    }
}

//! Who called: a vCPU's registers, and the way it came.

use stallbox_devices::GuestRam;

use crate::stage1::{Half, read64};

/// Callers that are shown.
const FRAMES_MAX: usize = 16;

/// A vCPU's registers, as far as a backtrace needs them.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Which vCPU.
    pub cpu: usize,
    /// The next instruction.
    pub pc: u64,
    /// x29.
    pub frame: u64,
    /// x30.
    pub link: u64,
    /// SP_EL0 at EL1, where Linux has its `current` task.
    pub current: Option<u64>,
    /// The kernel's half of the address space.
    pub half: Half,
}

impl Caller {
    /// Return addresses, innermost first, by the chain of frame records (AAPCS64, *The Frame
    /// Pointer*).
    pub(crate) fn frames(&self, ram: &GuestRam) -> Vec<u64> {
        let mut frames = vec![self.pc];
        if self.link != 0 {
            frames.push(self.link);
        }
        let mut frame = self.frame;
        while frames.len() < FRAMES_MAX && frame >> 48 == 0xffff && frame.is_multiple_of(8) {
            let word = |at| read64(ram, self.half.translate(ram, at)?);
            let (Some(next), Some(link)) = (word(frame), word(frame.wrapping_add(8))) else {
                break;
            };
            if link == 0 {
                break;
            }
            if frames.last() != Some(&link) {
                frames.push(link);
            }
            // The stack grows downwards: a chain that does not go up has an end or a loop.
            if next <= frame {
                break;
            }
            frame = next;
        }
        frames
    }
}

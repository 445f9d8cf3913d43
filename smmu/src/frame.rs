//! The register frame: accesses of software, and what they set in motion.
//!
//! IHI 0070, *Memory map and registers*, *Register accesses*.

use crate::counters::bump;
use crate::regs::Effect;
use crate::smmu::Smmu;
use crate::spec::regs::{FRAME_BYTES, cr0};

impl Smmu {
    /// Reads `data.len()` bytes of the register frame at `offset`. Reads that are not of 4 or 8
    /// aligned bytes, or are outside the frame, give zeros. So do registers that are not there; the answer
    /// is where the first of them is.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Option<u64> {
        data.fill(0);
        if !access_is_legal(offset, data.len()) {
            log::debug!(
                "smmu: read of {} bytes at {offset:#x} gives zero",
                data.len()
            );
            return Some(offset);
        }
        let mut absent = None;
        for (word, at) in data.chunks_exact_mut(4).zip((offset..).step_by(4)) {
            let register = self.0.regs.read(&self.0.features, at);
            if register.is_none() {
                absent = absent.or(Some(at));
            }
            word.copy_from_slice(&register.unwrap_or(0).to_le_bytes());
        }
        absent
    }

    /// Writes `data` to the register frame at `offset`. Writes that are not of 4 or 8 aligned
    /// bytes, or are outside the frame, are ignored. So are those of registers that are not there; the answer
    /// is where the first of them is.
    pub fn write(&self, offset: u64, data: &[u8]) -> Option<u64> {
        if !access_is_legal(offset, data.len()) {
            log::debug!("smmu: write of {} bytes at {offset:#x} ignored", data.len());
            return Some(offset);
        }
        let mut absent = None;
        for (word, at) in data.chunks_exact(4).zip((offset..).step_by(4)) {
            let mut raw = [0; 4];
            raw.copy_from_slice(word);
            if self.0.regs.read(&self.0.features, at).is_none() {
                absent = absent.or(Some(at));
            }
            let value = u32::from_le_bytes(raw);
            let smmu = self.clone();
            self.0.timeline.afterwards(move || {
                let effect = smmu.0.regs.write(&smmu.0.features, at, value);
                smmu.act_on(effect);
            });
        }
        absent
    }

    /// What a register write sets in motion beside the commands comes after those.
    fn let_report_after_commands(&self) {
        let smmu = self.clone();
        let timeline = &self.0.timeline;
        timeline.afterwards(move || smmu.0.let_next_report());
    }

    fn act_on(&self, effect: Effect) {
        let inner = &self.0;
        match effect {
            Effect::None => {}
            Effect::Enables { before, after } => {
                let (cleared, set) = (before & !after, after & !before);
                if (cleared | set) & cr0::SMMUEN != 0 {
                    bump(&inner.epoch);
                }
                if cleared & cr0::SMMUEN != 0 {
                    bump(&inner.shutdowns);
                    inner.terminate_stalls(None);
                }
                if cleared & cr0::CMDQEN != 0 {
                    self.stop_commands();
                }
                if set & cr0::CMDQEN != 0 {
                    self.run_commands();
                }
                if set & cr0::EVENTQEN != 0 {
                    self.let_report_after_commands();
                }
            }
            Effect::CommandsQueued => self.run_commands(),
            Effect::EventsConsumed => inner.let_next_report(),
            Effect::ErrorsAcknowledged => {
                self.run_commands();
                self.let_report_after_commands();
            }
        }
    }
}

/// *Register accesses*: aligned 32 bits, or aligned 64 bits.
fn access_is_legal(offset: u64, length: usize) -> bool {
    (length == 4 || length == 8)
        && offset.is_multiple_of(length as u64)
        && offset <= FRAME_BYTES - length as u64
}

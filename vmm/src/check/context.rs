//! A PASID's context descriptor and tables as they are in memory, whatever the SMMU has cached.
//!
//! IHI 0070, *Context Descriptor*; field positions of Linux 6.12, `arm-smmu-v3.h` (`CTXDESC_CD_*`).

use stallbox_devices::GuestRam;
use stallbox_smmu::Smmu;

use crate::control::context_descriptor;
use crate::stage1::{Half, Walk};

const VALID: u64 = 1 << 31;

pub(super) struct Context {
    /// Where the descriptor is.
    pub at: u64,
    words: [u64; 8],
}

impl Context {
    pub fn read(smmu: &Smmu, ram: &GuestRam, stream: u32, pasid: u32) -> Option<Context> {
        let (at, words) = context_descriptor(smmu, ram, stream, pasid)?;
        Some(Context { at, words })
    }

    pub fn is_valid(&self) -> bool {
        Context::says_valid(self.words[0])
    }

    /// Whether a descriptor with this first word is valid.
    pub fn says_valid(word: u64) -> bool {
        word & VALID != 0
    }

    pub fn asid(&self) -> u16 {
        (self.words[0] >> 48) as u16
    }

    /// The walk of an address of the lower half; `None` if it has no tables.
    pub fn walk(&self, ram: &GuestRam, address: u64) -> Option<Walk> {
        let is_upper = address >> 55 & 1 != 0;
        if !self.is_valid() || is_upper {
            return None;
        }
        let half = Half::of_context(&self.words, false)?;
        // TBI0 or not: Linux gives user space a byte of tag, and none of it are bits of a table.
        Some(half.walk(ram, address & 0x00ff_ffff_ffff_ffff))
    }
}

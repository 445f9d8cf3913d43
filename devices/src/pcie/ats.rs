//! Address translation (PCI Express Base Specification, *ATS Extended Capability*).
//!
//! The register layout is that of Linux's `PCI_ATS_*` (include/uapi/linux/pci_regs.h). What the
//! function's translation cache has to know of it is shared as an [`AtsState`].

use std::cell::Cell;
use std::rc::Rc;

use super::capability::{Capability, CapabilityId, Effects, replace};

/// Extended capability id.
pub const ATS_ID: u16 = 0x0f;

const CAPABILITY_CONTROL: u16 = 0x04;
const LENGTH: u16 = 0x08;

/// Invalidate Queue Depth is 0: 32 invalidations may be outstanding, the most that there can be.
const INVALIDATE_QUEUE_DEPTH: u32 = 0;
/// Page Aligned Request: the low bits of untranslated addresses in requests are zero. Linux grants
/// PRI only with it on some IOMMUs.
const PAGE_ALIGNED_REQUEST: u32 = 1 << 5;
/// Global Invalidate Supported.
const GLOBAL_INVALIDATE: u32 = 1 << 6;
const CAPABILITY: u32 = INVALIDATE_QUEUE_DEPTH | PAGE_ALIGNED_REQUEST | GLOBAL_INVALIDATE;

const CONTROL_SHIFT: u32 = 16;
const STU: u32 = 0x1f;
const ENABLE: u32 = 1 << 15;

/// What software has set, for the function's translation cache to obey. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct AtsState(Rc<State>);

#[derive(Debug, Default)]
struct State {
    control: Cell<u32>,
    /// Counts what makes the cached translations void.
    epoch: Cell<u64>,
}

impl AtsState {
    /// Enable: the function may send translation requests, and keep what they give.
    pub fn enabled(&self) -> bool {
        self.0.control.get() & ENABLE != 0
    }

    /// Smallest Translation Unit, as a power of two of bytes: 12 to 43.
    pub fn unit_log2(&self) -> u8 {
        12 + (self.0.control.get() & STU) as u8
    }

    /// Differs from what it was if the cached translations are void: Enable was set or cleared, the
    /// unit was changed, or the function was reset.
    pub fn epoch(&self) -> u64 {
        self.0.epoch.get()
    }

    fn set(&self, control: u32) {
        if self.0.control.replace(control) != control {
            self.0.epoch.set(self.0.epoch.get() + 1);
        }
    }
}

/// The ATS capability structure.
#[derive(Debug, Default)]
pub struct Ats {
    state: AtsState,
}

impl Ats {
    /// Disabled, as after reset.
    pub fn new() -> Ats {
        Ats::default()
    }

    /// What the function's translation cache is made with.
    pub fn state(&self) -> AtsState {
        self.state.clone()
    }
}

impl Capability for Ats {
    fn id(&self) -> CapabilityId {
        CapabilityId::Extended {
            id: ATS_ID,
            version: 1,
        }
    }

    fn length(&self) -> u16 {
        LENGTH
    }

    fn read(&self, register: u16) -> u32 {
        match register {
            CAPABILITY_CONTROL => self.state.0.control.get() << CONTROL_SHIFT | CAPABILITY,
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        if register == CAPABILITY_CONTROL {
            let old = self.state.0.control.get();
            let new = replace(
                old,
                value >> CONTROL_SHIFT,
                enables >> CONTROL_SHIFT & (STU | ENABLE),
            );
            self.state.set(new);
        }
        Effects::default()
    }

    fn reset(&mut self) {
        self.state.set(0);
    }
}

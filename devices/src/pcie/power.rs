//! Power management (PCI Express Base Specification, *PCI Power Management Capability Structure*):
//! D0 and D3hot. Nothing is lost in D3hot (No_Soft_Reset), and no PME is raised.

use super::capability::{Capability, CapabilityId, Effects};

/// Capability id.
pub const POWER_ID: u8 = 0x01;

const CAPABILITIES: u16 = 0x00;
const CONTROL_STATUS: u16 = 0x04;
const LENGTH: u16 = 0x08;

const VERSION: u32 = 3 << 16;
const POWER_STATE: u32 = 0b11;
const NO_SOFT_RESET: u32 = 1 << 3;
const D0: u32 = 0b00;
const D3_HOT: u32 = 0b11;

/// The power management capability structure.
#[derive(Clone, Debug, Default)]
pub struct Power {
    state: u32,
}

impl Power {
    /// A function in D0.
    pub fn new() -> Power {
        Power::default()
    }

    /// Whether the function is on: in D3hot it answers nothing but configuration requests.
    pub fn in_d0(&self) -> bool {
        self.state == D0
    }
}

impl Capability for Power {
    fn id(&self) -> CapabilityId {
        CapabilityId::Standard(POWER_ID)
    }

    fn length(&self) -> u16 {
        LENGTH
    }

    fn read(&self, register: u16) -> u32 {
        match register {
            CAPABILITIES => VERSION,
            CONTROL_STATUS => NO_SOFT_RESET | self.state,
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        // A write of a state that is not supported completes and changes nothing.
        if register == CONTROL_STATUS
            && enables & POWER_STATE != 0
            && let state @ (D0 | D3_HOT) = value & POWER_STATE
        {
            self.state = state;
        }
        Effects::default()
    }

    fn reset(&mut self) {
        self.state = D0;
    }
}

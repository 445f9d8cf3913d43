//! Process address space ids (PCI Express Base Specification, *PASID Extended Capability
//! Structure*).

use super::capability::{Capability, CapabilityId, Effects, replace};

/// Extended capability id.
pub const PASID_ID: u16 = 0x1b;

const CAPABILITY_CONTROL: u16 = 0x04;
const LENGTH: u16 = 0x08;

const EXECUTE: u32 = 1 << 1;
const PRIVILEGED: u32 = 1 << 2;
const WIDTH_SHIFT: u32 = 8;
const CONTROL_SHIFT: u32 = 16;
const ENABLE: u32 = 1;

/// The PASID capability structure.
#[derive(Clone, Debug)]
pub struct Pasid {
    capability: u32,
    /// The control register: the same bits as the capability's, and Enable.
    control: u32,
}

impl Pasid {
    /// PASIDs of `width` bits, without execute and privileged requests.
    ///
    /// # Panics
    /// If `width` is above 20, the most that a PASID has.
    pub fn new(width: u8) -> Pasid {
        assert!(width <= 20, "a PASID has at most 20 bits");
        Pasid {
            capability: u32::from(width) << WIDTH_SHIFT,
            control: 0,
        }
    }

    /// The same, with Execute Permission Supported.
    pub fn with_execute(mut self) -> Pasid {
        self.capability |= EXECUTE;
        self
    }

    /// The same, with Privileged Mode Supported.
    pub fn with_privileged(mut self) -> Pasid {
        self.capability |= PRIVILEGED;
        self
    }

    /// PASID Enable: the function may tag its requests with a PASID.
    pub fn enabled(&self) -> bool {
        self.control & ENABLE != 0
    }

    /// Execute Permission Enable.
    pub fn execute_enabled(&self) -> bool {
        self.control & EXECUTE != 0
    }

    /// Privileged Mode Enable.
    pub fn privileged_enabled(&self) -> bool {
        self.control & PRIVILEGED != 0
    }

    /// Max PASID Width in bits.
    pub fn width(&self) -> u8 {
        (self.capability >> WIDTH_SHIFT) as u8
    }
}

impl Capability for Pasid {
    fn id(&self) -> CapabilityId {
        CapabilityId::Extended {
            id: PASID_ID,
            version: 1,
        }
    }

    fn length(&self) -> u16 {
        LENGTH
    }

    fn read(&self, register: u16) -> u32 {
        match register {
            CAPABILITY_CONTROL => self.control << CONTROL_SHIFT | self.capability,
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        if register != CAPABILITY_CONTROL {
            return Effects::default();
        }
        let writable = ENABLE | self.capability & (EXECUTE | PRIVILEGED);
        let before = self.control;
        self.control = replace(
            before,
            value >> CONTROL_SHIFT,
            enables >> CONTROL_SHIFT & writable,
        );
        Effects {
            pasid_changed: before != self.control,
            ..Effects::default()
        }
    }

    fn reset(&mut self) {
        self.control = 0;
    }
}

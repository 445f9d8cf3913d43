//! Page requests (PCI Express Base Specification, *Page Request Extended Capability*).
//!
//! The register layout is that of Linux's `PCI_PRI_*` (include/uapi/linux/pci_regs.h). The function's
//! page request interface shares its state with these registers: a [`PriState`].

use std::cell::Cell;
use std::rc::Rc;

use stallbox_timeline::Notify;

use super::capability::{Capability, CapabilityId, Effects, replace};

/// Extended capability id.
pub const PRI_ID: u16 = 0x13;

const CONTROL_STATUS: u16 = 0x04;
const CAPACITY: u16 = 0x08;
const ALLOCATION: u16 = 0x0c;
const LENGTH: u16 = 0x10;

const ENABLE: u32 = 1 << 0;
const RESET: u32 = 1 << 1;
const STATUS_SHIFT: u32 = 16;
const RESPONSE_FAILURE: u32 = 1 << 0;
const UNEXPECTED_INDEX: u32 = 1 << 1;
const STOPPED: u32 = 1 << 8;
const PASID_REQUIRED: u32 = 1 << 15;

/// What software has set and the function tells. Clones are the same.
#[derive(Clone)]
pub struct PriState(Rc<State>);

struct State {
    capacity: u32,
    pasid_required: bool,
    enabled: Cell<bool>,
    allocation: Cell<u32>,
    /// Response Failure and Unexpected Page Request Group Index.
    errors: Cell<u32>,
    /// Page requests that have not been answered.
    outstanding: Cell<u32>,
    epoch: Cell<u64>,
    changed: Notify,
}

impl PriState {
    /// The interface may send page requests: Enable is set, and no Response Failure has come since.
    pub fn may_request(&self) -> bool {
        self.0.enabled.get() && !self.failed()
    }

    /// A Response Failure has come, and software has not cleared it.
    pub fn failed(&self) -> bool {
        self.0.errors.get() & RESPONSE_FAILURE != 0
    }

    /// How many page requests may be outstanding: Outstanding Page Request Allocation, as far as
    /// there is capacity.
    pub fn limit(&self) -> u32 {
        self.0.allocation.get().min(self.0.capacity)
    }

    /// PRG Response PASID Required: responses carry the PASID of their requests.
    pub fn pasid_required(&self) -> bool {
        self.0.pasid_required
    }

    /// Differs from what it was if what is pending is void: software reset the interface, or enabled
    /// it anew, or the function was reset.
    pub fn epoch(&self) -> u64 {
        self.0.epoch.get()
    }

    /// Page requests that have not been answered.
    pub fn outstanding(&self) -> u32 {
        self.0.outstanding.get()
    }

    /// Software changed something, or requests were answered.
    pub fn changed(&self) -> &Notify {
        &self.0.changed
    }

    /// The function sent, or got answers to, page requests.
    pub fn set_outstanding(&self, requests: u32) {
        self.0.outstanding.set(requests);
        self.0.changed.notify_all();
    }

    /// The function got a Response Failure.
    pub fn set_response_failure(&self) {
        self.set_error(RESPONSE_FAILURE);
    }

    /// The function got a response to no request of its.
    pub fn set_unexpected_index(&self) {
        self.set_error(UNEXPECTED_INDEX);
    }

    fn set_error(&self, error: u32) {
        self.0.errors.set(self.0.errors.get() | error);
        self.0.changed.notify_all();
    }

    /// Clears what is pending.
    fn clear_pending(&self) {
        self.0.epoch.set(self.0.epoch.get() + 1);
        self.0.outstanding.set(0);
        self.0.changed.notify_all();
    }

    fn write_control(&self, control: u32) {
        let enable = control & ENABLE != 0;
        if enable && !self.0.enabled.get() {
            // A new start: *Page Request Control*, Enable.
            self.0.errors.set(0);
            self.clear_pending();
        }
        if !enable && control & RESET != 0 {
            self.clear_pending();
        }
        self.0.enabled.set(enable);
        self.0.changed.notify_all();
    }

    fn status(&self) -> u32 {
        let mut status = self.0.errors.get();
        // While Enable is set the bit means nothing.
        if !self.0.enabled.get() && self.0.outstanding.get() == 0 {
            status |= STOPPED;
        }
        if self.0.pasid_required {
            status |= PASID_REQUIRED;
        }
        status
    }
}

/// The Page Request capability structure.
pub struct Pri {
    state: PriState,
}

impl Pri {
    /// Disabled and stopped, as after reset. `capacity` is Outstanding Page Request Capacity;
    /// `pasid_required` is PRG Response PASID Required.
    pub fn new(capacity: u32, pasid_required: bool) -> Pri {
        Pri {
            state: PriState(Rc::new(State {
                capacity,
                pasid_required,
                enabled: Cell::new(false),
                allocation: Cell::new(0),
                errors: Cell::new(0),
                outstanding: Cell::new(0),
                epoch: Cell::new(0),
                changed: Notify::new(),
            })),
        }
    }

    /// What the function's page request interface is made with.
    pub fn state(&self) -> PriState {
        self.state.clone()
    }
}

impl Capability for Pri {
    fn id(&self) -> CapabilityId {
        CapabilityId::Extended {
            id: PRI_ID,
            version: 1,
        }
    }

    fn length(&self) -> u16 {
        LENGTH
    }

    fn read(&self, register: u16) -> u32 {
        let state = &self.state.0;
        match register {
            // Reset reads as zero.
            CONTROL_STATUS => self.state.status() << STATUS_SHIFT | u32::from(state.enabled.get()),
            CAPACITY => state.capacity,
            ALLOCATION => state.allocation.get(),
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        let state = &self.state.0;
        match register {
            CONTROL_STATUS => {
                // The status bits are cleared by writing ones.
                let cleared = value & enables >> STATUS_SHIFT << STATUS_SHIFT;
                state
                    .errors
                    .set(state.errors.get() & !(cleared >> STATUS_SHIFT));
                if enables & 0xff != 0 {
                    self.state.write_control(value);
                }
            }
            ALLOCATION => {
                let allocation = replace(state.allocation.get(), value, enables);
                state.allocation.set(allocation);
                state.changed.notify_all();
            }
            _ => {}
        }
        Effects::default()
    }

    fn reset(&mut self) {
        let state = &self.state.0;
        state.enabled.set(false);
        state.allocation.set(0);
        state.errors.set(0);
        self.state.clear_pending();
    }
}

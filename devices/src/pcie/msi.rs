//! Message Signaled Interrupts (PCI Express Base Specification, *MSI Capability and Operation*):
//! 64-bit address and per-vector masking.

use super::capability::{Capability, CapabilityId, Effects, Message, replace};

/// Capability id.
pub const MSI_ID: u8 = 0x05;

const CONTROL: u16 = 0x00;
const ADDRESS: u16 = 0x04;
const UPPER_ADDRESS: u16 = 0x08;
const DATA: u16 = 0x0c;
const MASK: u16 = 0x10;
const PENDING: u16 = 0x14;
const LENGTH: u16 = 0x18;

const ENABLE: u32 = 1 << 16;
const MULTIPLE_MESSAGE_CAPABLE_SHIFT: u32 = 17;
const MULTIPLE_MESSAGE_ENABLE_SHIFT: u32 = 20;
const MULTIPLE_MESSAGE_ENABLE: u32 = 0b111 << MULTIPLE_MESSAGE_ENABLE_SHIFT;
const IS_64_BIT: u32 = 1 << 23;
const PER_VECTOR_MASKING: u32 = 1 << 24;

/// The MSI capability structure.
#[derive(Clone, Debug)]
pub struct Msi {
    capable_log2: u32,
    /// MSI Enable and Multiple Message Enable, where they sit in register 0.
    control: u32,
    address: u64,
    data: u16,
    mask: u32,
    pending: u32,
}

impl Msi {
    /// A function that asks for `1 << vectors_log2` messages.
    ///
    /// # Panics
    /// If that is more than 32 (log2 of 5).
    pub fn new(vectors_log2: u8) -> Msi {
        assert!(vectors_log2 <= 5, "MSI has at most 32 vectors");
        let capable_log2 = vectors_log2.into();
        Msi {
            capable_log2,
            control: 0,
            address: 0,
            data: 0,
            mask: 0,
            pending: 0,
        }
    }

    /// MSI Enable.
    pub fn enabled(&self) -> bool {
        self.control & ENABLE != 0
    }

    /// How many messages software allocated (Multiple Message Enable). More than the function
    /// asked for is not allowed; it is then given what it asked for.
    pub fn allocated(&self) -> u32 {
        let log2 = (self.control & MULTIPLE_MESSAGE_ENABLE) >> MULTIPLE_MESSAGE_ENABLE_SHIFT;
        1 << log2.min(self.capable_log2)
    }

    /// Raises `vector`: the message to send now. `None` if MSI is disabled, or if the vector is
    /// masked, in which case it becomes pending.
    ///
    /// If fewer messages were allocated than asked for, the vectors share them: how is the
    /// function's choice, and here the low bits of the vector count.
    pub fn message(&mut self, vector: u8) -> Option<Message> {
        if !self.enabled() {
            return None;
        }
        let vector = u32::from(vector) & (self.allocated() - 1);
        if self.mask & 1 << vector != 0 {
            self.pending |= 1 << vector;
            return None;
        }
        Some(self.compose(vector))
    }

    /// The cause of `vector` is gone before it was unmasked.
    pub fn withdraw(&mut self, vector: u8) {
        self.pending &= !(1 << (u32::from(vector) & (self.allocated() - 1)));
    }

    /// Vectors raised while masked.
    pub fn pending(&self) -> u32 {
        self.pending
    }

    /// Pending messages that are no longer masked; they stop being pending.
    pub(super) fn take_unmasked(&mut self) -> Vec<Message> {
        if !self.enabled() {
            return Vec::new();
        }
        let ready = self.pending & !self.mask;
        self.pending &= self.mask;
        (0..32)
            .filter(|vector| ready & 1 << vector != 0)
            .map(|v| self.compose(v))
            .collect()
    }

    /// The function may change only the low bits of Message Data that its allocation covers.
    fn compose(&self, vector: u32) -> Message {
        let vector = vector & (self.allocated() - 1);
        Message {
            address: self.address,
            data: u32::from(self.data) & !(self.allocated() - 1) | vector,
        }
    }

    fn vectors(&self) -> u32 {
        u32::MAX >> (32 - (1 << self.capable_log2))
    }
}

impl Capability for Msi {
    fn id(&self) -> CapabilityId {
        CapabilityId::Standard(MSI_ID)
    }

    fn length(&self) -> u16 {
        LENGTH
    }

    fn read(&self, register: u16) -> u32 {
        match register {
            CONTROL => {
                let capable = self.capable_log2 << MULTIPLE_MESSAGE_CAPABLE_SHIFT;
                PER_VECTOR_MASKING | IS_64_BIT | capable | self.control
            }
            ADDRESS => self.address as u32,
            UPPER_ADDRESS => (self.address >> 32) as u32,
            DATA => self.data.into(),
            MASK => self.mask,
            PENDING => self.pending,
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        let (low, high) = (self.address as u32, (self.address >> 32) as u32);
        match register {
            CONTROL => {
                let writable = ENABLE | MULTIPLE_MESSAGE_ENABLE;
                self.control = replace(self.control, value, enables & writable);
            }
            ADDRESS => {
                let low = replace(low, value, enables & !3);
                self.address = u64::from(high) << 32 | u64::from(low);
            }
            UPPER_ADDRESS => {
                let high = replace(high, value, enables);
                self.address = u64::from(high) << 32 | u64::from(low);
            }
            DATA => self.data = replace(self.data.into(), value, enables & 0xffff) as u16,
            MASK => self.mask = replace(self.mask, value, enables & self.vectors()),
            _ => return Effects::default(),
        }
        Effects {
            msi_changed: true,
            ..Effects::default()
        }
    }

    fn reset(&mut self) {
        *self = Msi {
            capable_log2: self.capable_log2,
            ..Msi::new(0)
        };
    }
}

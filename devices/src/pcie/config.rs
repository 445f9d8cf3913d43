//! A function's configuration space: the type 0 header, its BARs and both capability lists (PCI
//! Express Base Specification, *PCI-Compatible Configuration Registers* and *Type 0 Configuration
//! Space Header*).
//!
//! ```
//! use stallbox_devices::pcie::bar::Bar;
//! use stallbox_devices::pcie::config::{ConfigSpace, Identity};
//! use stallbox_devices::pcie::{express::Express, msi::Msi, pasid::Pasid};
//!
//! let mut config = ConfigSpace::new(Identity {
//!     vendor: 0x19e5,
//!     device: 0xa250,
//!     revision: 0x21,
//!     class: 0x12_00_00,
//!     ..Identity::default()
//! })
//! .with_bar(2, Bar::memory64(4 << 20))
//! .with_capability(Express::integrated_endpoint())
//! .with_capability(Msi::new(2))
//! .with_capability(Pasid::new(16));
//!
//! let effects = config.write(0x04, &[0x06, 0x00]);
//! assert!(effects.bars_changed && effects.bus_master_changed);
//! assert!(config.memory_enabled() && config.bus_master());
//! ```

use std::any::Any;

use super::bar::{Bar, Bars};
use super::capability::{
    Capability, CapabilityId, Effects, Message, read_registers, replace, write_registers,
};
use super::msi::Msi;
use super::msix::MsiX;
use super::pasid::Pasid;
use super::power::Power;

/// Bytes of configuration space that a PCI Express function has.
pub const CONFIG_BYTES: u16 = 4096;

const ID: u16 = 0x00;
const COMMAND_STATUS: u16 = 0x04;
const CLASS_REVISION: u16 = 0x08;
const CACHE_LINE_AND_HEADER_TYPE: u16 = 0x0c;
const BAR_FIRST: u16 = 0x10;
const BAR_LAST: u16 = 0x24;
const SUBSYSTEM: u16 = 0x2c;
const CAPABILITIES_POINTER: u16 = 0x34;
const INTERRUPT: u16 = 0x3c;
const STANDARD_FIRST: u16 = 0x40;
const EXTENDED_FIRST: u16 = 0x100;

const MEMORY_SPACE_ENABLE: u32 = 1 << 1;
const BUS_MASTER_ENABLE: u32 = 1 << 2;
/// Memory Space, Bus Master, Parity Error Response, SERR# and Interrupt Disable. I/O Space Enable
/// is hardwired to zero, as there are no I/O BARs. The status bits that software could clear are
/// never set: no transaction of this model is poisoned or parity-checked.
const COMMAND_WRITABLE: u32 = MEMORY_SPACE_ENABLE | BUS_MASTER_ENABLE | 1 << 6 | 1 << 8 | 1 << 10;
const STATUS_CAPABILITIES_LIST: u32 = 1 << 20;
const MULTI_FUNCTION: u32 = 1 << 23;
const CACHE_LINE_SIZE: u32 = 0xff;
const INTERRUPT_LINE: u32 = 0xff;

/// The registers that say what a function is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class Code, 24 bits: base class, sub-class, programming interface.
    pub class: u32,
    /// Subsystem Vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
}

/// A type 0 function's 4 KiB of registers.
pub struct ConfigSpace {
    identity: Identity,
    multi_function: bool,
    command: u32,
    cache_line_size: u32,
    interrupt_line: u32,
    bars: Bars,
    capabilities: Vec<Placed>,
}

struct Placed {
    offset: u16,
    next: u16,
    capability: Box<dyn Capability>,
}

impl ConfigSpace {
    /// A function without BARs and capabilities.
    pub fn new(identity: Identity) -> ConfigSpace {
        ConfigSpace {
            identity,
            multi_function: false,
            command: 0,
            cache_line_size: 0,
            interrupt_line: 0,
            bars: Bars::default(),
            capabilities: Vec::new(),
        }
    }

    /// Adds a BAR.
    ///
    /// # Panics
    /// If the BAR, or for 64 bits the one after it, is taken or does not exist.
    pub fn with_bar(mut self, index: u8, bar: Bar) -> ConfigSpace {
        self.bars.add(index, bar);
        self
    }

    /// Appends a capability to its list, at the next free multiple of 4.
    ///
    /// # Panics
    /// If the list's half of configuration space is full.
    pub fn with_capability(mut self, capability: impl Capability) -> ConfigSpace {
        let extended = matches!(capability.id(), CapabilityId::Extended { .. });
        let (first, limit) = if extended {
            (EXTENDED_FIRST, CONFIG_BYTES)
        } else {
            (STANDARD_FIRST, EXTENDED_FIRST)
        };
        let mut offset = first;
        for placed in self
            .capabilities
            .iter_mut()
            .filter(|placed| placed.is_extended() == extended)
        {
            offset = (placed.offset + placed.capability.length()).next_multiple_of(4);
            if placed.next == 0 {
                placed.next = offset;
            }
        }
        assert!(
            offset + capability.length() <= limit,
            "no room for {:?}",
            capability.id()
        );
        self.capabilities.push(Placed {
            offset,
            next: 0,
            capability: Box::new(capability),
        });
        self
    }

    /// Sets the Multi-Function Device bit; for function 0 of a device that has more.
    pub fn with_multi_function(mut self) -> ConfigSpace {
        self.multi_function = true;
        self
    }

    /// Reads any number of bytes. Beyond the 4 KiB there are zeros. The answer is the first register
    /// that belongs neither to the header nor to a capability.
    pub fn read(&self, offset: u16, data: &mut [u8]) -> Option<u64> {
        read_registers(offset.into(), data, |register| {
            self.read_register(u16::try_from(register).ok()?)
        })
    }

    /// Writes any number of bytes.
    pub fn write(&mut self, offset: u16, data: &[u8]) -> Effects {
        let decoded = self.decode_state();
        let master = self.bus_master();
        let mut effects = Effects::default();
        let absent = write_registers(offset.into(), data, |register, value, enables| {
            let Ok(register) = u16::try_from(register) else {
                return false;
            };
            effects.merge(self.write_register(register, value, enables));
            self.read_register(register).is_some()
        });
        effects.absent = absent;
        effects.bars_changed |= decoded != self.decode_state();
        effects.bus_master_changed |= master != self.bus_master();
        effects.messages.extend(self.take_unmasked());
        effects
    }

    /// Function Level Reset: every register back to its reset value, except what the
    /// specification keeps (*Function Level Reset*).
    pub fn reset(&mut self) {
        self.command = 0;
        self.cache_line_size = 0;
        self.interrupt_line = 0;
        self.bars.reset();
        for placed in &mut self.capabilities {
            placed.capability.reset();
        }
    }

    /// Whether the BARs decode: Memory Space Enable, and in D0.
    pub fn memory_enabled(&self) -> bool {
        self.command & MEMORY_SPACE_ENABLE != 0 && self.in_d0()
    }

    /// Whether the function may issue memory requests, MSIs included: Bus Master Enable, and in D0.
    pub fn bus_master(&self) -> bool {
        self.command & BUS_MASTER_ENABLE != 0 && self.in_d0()
    }

    /// All BARs with their addresses, whether they decode or not.
    pub fn bars(&self) -> impl Iterator<Item = (u8, Bar, u64)> + '_ {
        self.bars.iter()
    }

    /// The BARs that decode now, as (BAR number, address, size): what
    /// [`PciFunction::decoded_bars`](super::PciFunction::decoded_bars) is to return.
    pub fn decoded_bars(&self) -> Vec<(u8, u64, u64)> {
        if !self.memory_enabled() {
            return Vec::new();
        }
        self.bars
            .iter()
            .map(|(index, bar, address)| (index, address, bar.size()))
            .collect()
    }

    /// The first capability of a type.
    pub fn capability<T: Capability>(&self) -> Option<&T> {
        self.capabilities.iter().find_map(|placed| {
            let any: &dyn Any = placed.capability.as_ref();
            any.downcast_ref()
        })
    }

    /// The first capability of a type, to change it.
    pub fn capability_mut<T: Capability>(&mut self) -> Option<&mut T> {
        self.capabilities.iter_mut().find_map(|placed| {
            let any: &mut dyn Any = placed.capability.as_mut();
            any.downcast_mut()
        })
    }

    /// Where a capability of a type starts.
    pub fn capability_offset<T: Capability>(&self) -> Option<u16> {
        self.capabilities.iter().find_map(|placed| {
            let any: &dyn Any = placed.capability.as_ref();
            any.is::<T>().then_some(placed.offset)
        })
    }

    /// The MSI capability, if there is one.
    pub fn msi(&self) -> Option<&Msi> {
        self.capability()
    }

    /// The MSI-X capability, if there is one.
    pub fn msix(&self) -> Option<&MsiX> {
        self.capability()
    }

    /// The PASID capability, if there is one.
    pub fn pasid(&self) -> Option<&Pasid> {
        self.capability()
    }

    /// The function wants to raise MSI `vector`: the message to send now, if MSI is enabled, the
    /// function is bus master and the vector is not masked. A masked vector becomes pending and
    /// comes out of a later [`ConfigSpace::write`].
    pub fn raise_msi(&mut self, vector: u8) -> Option<Message> {
        if !self.bus_master() {
            return None;
        }
        self.capability_mut::<Msi>()?.message(vector)
    }

    /// The same for MSI-X; pending vectors come out of [`ConfigSpace::write_msix`] too.
    pub fn raise_msix(&mut self, vector: u16) -> Option<Message> {
        if !self.bus_master() {
            return None;
        }
        self.capability_mut::<MsiX>()?.message(vector)
    }

    /// Reads the MSI-X table or PBA if they are what lies at `offset` of BAR `bar`.
    pub fn read_msix(&self, bar: u8, offset: u64, data: &mut [u8]) -> bool {
        self.msix()
            .is_some_and(|msix| msix.bar_read(bar, offset, data))
    }

    /// Writes the MSI-X table if it is what lies at `offset` of BAR `bar`; `None` if not.
    pub fn write_msix(&mut self, bar: u8, offset: u64, data: &[u8]) -> Option<Effects> {
        let mut effects = self
            .capability_mut::<MsiX>()?
            .bar_write(bar, offset, data)?;
        effects.messages.extend(self.take_unmasked());
        Some(effects)
    }

    fn in_d0(&self) -> bool {
        self.capability::<Power>().is_none_or(Power::in_d0)
    }

    fn decode_state(&self) -> Option<[u64; 6]> {
        self.memory_enabled().then(|| self.bars.addresses())
    }

    /// Pending messages that nothing holds back any more.
    fn take_unmasked(&mut self) -> Vec<Message> {
        if !self.bus_master() {
            return Vec::new();
        }
        let mut messages = Vec::new();
        if let Some(msi) = self.capability_mut::<Msi>() {
            messages.extend(msi.take_unmasked());
        }
        if let Some(msix) = self.capability_mut::<MsiX>() {
            messages.extend(msix.take_unmasked());
        }
        messages
    }

    fn first(&self, extended: bool) -> u16 {
        let first = self
            .capabilities
            .iter()
            .find(|placed| placed.is_extended() == extended);
        first.map_or(0, |placed| placed.offset)
    }

    /// `None` if the register is not there. Those of the header that read as zero are (*Type 0
    /// Configuration Space Header*), and the first of the extended ones, which says that there are none.
    fn read_register(&self, register: u16) -> Option<u32> {
        let id = &self.identity;
        Some(match register {
            ID => u32::from(id.device) << 16 | u32::from(id.vendor),
            COMMAND_STATUS => {
                let list = if self.first(false) != 0 {
                    STATUS_CAPABILITIES_LIST
                } else {
                    0
                };
                list | self.command
            }
            CLASS_REVISION => id.class << 8 | u32::from(id.revision),
            CACHE_LINE_AND_HEADER_TYPE => {
                let multi = if self.multi_function {
                    MULTI_FUNCTION
                } else {
                    0
                };
                multi | self.cache_line_size
            }
            BAR_FIRST..=BAR_LAST => self.bars.read(usize::from(register - BAR_FIRST) / 4),
            SUBSYSTEM => u32::from(id.subsystem) << 16 | u32::from(id.subsystem_vendor),
            CAPABILITIES_POINTER => self.first(false).into(),
            // Interrupt Pin 0: no legacy interrupt.
            INTERRUPT => self.interrupt_line,
            _ => {
                let of_capability = self
                    .capabilities
                    .iter()
                    .find_map(|placed| Some(placed.read(placed.register(register)?)));
                let zero = register < STANDARD_FIRST || register == EXTENDED_FIRST;
                return of_capability.or(zero.then_some(0));
            }
        })
    }

    fn write_register(&mut self, register: u16, value: u32, enables: u32) -> Effects {
        match register {
            COMMAND_STATUS => {
                self.command = replace(self.command, value, enables & COMMAND_WRITABLE);
            }
            CACHE_LINE_AND_HEADER_TYPE => {
                self.cache_line_size =
                    replace(self.cache_line_size, value, enables & CACHE_LINE_SIZE);
            }
            BAR_FIRST..=BAR_LAST => {
                self.bars
                    .write(usize::from(register - BAR_FIRST) / 4, value, enables);
            }
            INTERRUPT => {
                self.interrupt_line = replace(self.interrupt_line, value, enables & INTERRUPT_LINE);
            }
            _ => {
                for placed in &mut self.capabilities {
                    if let Some(register) = placed.register(register) {
                        return placed.capability.write(register, value, enables);
                    }
                }
            }
        }
        Effects::default()
    }
}

impl Placed {
    fn is_extended(&self) -> bool {
        matches!(self.capability.id(), CapabilityId::Extended { .. })
    }

    /// The capability's own name for a register of configuration space, if it is one of its.
    fn register(&self, register: u16) -> Option<u16> {
        let inner = register.checked_sub(self.offset)?;
        (inner < self.capability.length()).then_some(inner)
    }

    fn read(&self, register: u16) -> u32 {
        let value = self.capability.read(register);
        if register != 0 {
            return value;
        }
        match self.capability.id() {
            CapabilityId::Standard(id) => {
                value & 0xffff_0000 | u32::from(self.next) << 8 | u32::from(id)
            }
            CapabilityId::Extended { id, version } => {
                u32::from(self.next) << 20 | u32::from(version) << 16 | u32::from(id)
            }
        }
    }
}

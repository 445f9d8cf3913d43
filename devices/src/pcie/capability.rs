//! What every capability structure has in common (PCI Express Base Specification, *PCI Compatible
//! Capabilities* and *PCI Express Extended Capabilities*), and what a write to one can bring about.

use std::any::Any;

/// How a capability is found: by its id in one of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilityId {
    /// In the list that starts at the Capabilities Pointer (0x34).
    Standard(u8),
    /// In the list that starts at offset 0x100.
    Extended {
        /// PCI Express Extended Capability ID.
        id: u16,
        /// Capability Version.
        version: u8,
    },
}

/// One capability structure. The list itself (ids and next pointers) is
/// [`ConfigSpace`](super::config::ConfigSpace)'s; a capability has the registers.
///
/// Registers are 32 bits wide and named by their offset from the start of the structure, a
/// multiple of 4 below [`Capability::length`]. Of register 0 a standard capability owns bits 31:16,
/// an extended one nothing; the rest is overlaid.
pub trait Capability: Any {
    /// Id, and thereby the list that it goes to.
    fn id(&self) -> CapabilityId;
    /// Length in bytes, header included.
    fn length(&self) -> u16;
    /// Reads a register. Reading has no side effect.
    fn read(&self, register: u16) -> u32;
    /// Writes those bits of a register that are set in `enables` (the bytes that the access
    /// covers) with the same bits of `value`.
    fn write(&mut self, register: u16, value: u32, enables: u32) -> Effects;
    /// Function Level Reset: back to the reset values.
    fn reset(&mut self);
}

/// A message signaled interrupt on its way: the memory write that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to write.
    pub address: u64,
    /// The 32 bits to write.
    pub data: u32,
}

/// What a write to configuration space (or to an MSI-X table) means for the function. The
/// registers themselves have already changed.
#[must_use = "a function must act on FLR and send the messages"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Initiate Function Level Reset was written. The function resets itself, and its
    /// configuration space with [`ConfigSpace::reset`](super::config::ConfigSpace::reset).
    pub flr: bool,
    /// Which addresses the BARs decode has changed: moved, switched on or off.
    pub bars_changed: bool,
    /// The function may now, or may no longer, issue memory requests.
    pub bus_master_changed: bool,
    /// MSI or MSI-X enable, address, data, count or mask changed.
    pub msi_changed: bool,
    /// PASID Enable, Execute or Privileged Mode Enable changed.
    pub pasid_changed: bool,
    /// Interrupts that were pending and that this write unmasked, in order of their vectors. They
    /// are no longer pending; the function sends them.
    pub messages: Vec<Message>,
    /// The first register of the access that is not there.
    pub absent: Option<u64>,
}

impl Effects {
    /// Adds what a second write brought about.
    pub fn merge(&mut self, other: Effects) {
        self.flr |= other.flr;
        self.bars_changed |= other.bars_changed;
        self.bus_master_changed |= other.bus_master_changed;
        self.msi_changed |= other.msi_changed;
        self.pasid_changed |= other.pasid_changed;
        self.messages.extend(other.messages);
        self.absent = self.absent.or(other.absent);
    }
}

/// `old` with the bits of `mask` replaced by those of `new`.
pub(crate) fn replace(old: u32, new: u32, mask: u32) -> u32 {
    old & !mask | new & mask
}

/// Reads bytes out of 32-bit registers, whatever the width and alignment of the access. A register that is
/// not there reads as zero; the answer is the first of them.
pub(crate) fn read_registers(
    offset: u64,
    data: &mut [u8],
    mut read: impl FnMut(u64) -> Option<u32>,
) -> Option<u64> {
    let mut absent = None;
    let mut current = None;
    for (index, byte) in data.iter_mut().enumerate() {
        let at = offset + index as u64;
        let register = at & !3;
        let value = match current {
            Some((of, value)) if of == register => value,
            _ => read(register).unwrap_or_else(|| {
                absent = absent.or(Some(register));
                0
            }),
        };
        current = Some((register, value));
        *byte = value.to_le_bytes()[(at & 3) as usize];
    }
    absent
}

/// Writes bytes into 32-bit registers: for each register one call with its offset, the value and
/// the bits that the access covers. It says whether the register is there; the answer is the first that
/// is not.
pub(crate) fn write_registers(
    offset: u64,
    data: &[u8],
    mut write: impl FnMut(u64, u32, u32) -> bool,
) -> Option<u64> {
    let mut absent = None;
    let mut at = offset;
    let mut rest = data;
    while !rest.is_empty() {
        let lane = (at & 3) as usize;
        let (part, after) = rest.split_at(rest.len().min(4 - lane));
        let (mut value, mut enables) = ([0; 4], [0; 4]);
        value[lane..lane + part.len()].copy_from_slice(part);
        enables[lane..lane + part.len()].fill(0xff);
        let there = write(
            at & !3,
            u32::from_le_bytes(value),
            u32::from_le_bytes(enables),
        );
        if !there {
            absent = absent.or(Some(at & !3));
        }
        at += part.len() as u64;
        rest = after;
    }
    absent
}

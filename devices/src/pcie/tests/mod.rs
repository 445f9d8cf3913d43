//! The guest's side: offsets and masks are Linux's `include/uapi/linux/pci_regs.h`, as numbers, and
//! the walks are those of its PCI core, not this module's types.

mod config;
mod host;
mod interrupts;
mod translation;

use super::bar::Bar;
use super::capability::Effects;
use super::config::{ConfigSpace, Identity};
use super::express::Express;
use super::msi::Msi;
use super::msix::MsiX;
use super::pasid::Pasid;
use super::power::Power;

const MSIX_BAR: u8 = 4;
const MSIX_TABLE: u32 = 0x2000;
const MSIX_PBA: u32 = 0x3000;

/// A function with everything on it.
fn function() -> ConfigSpace {
    ConfigSpace::new(Identity {
        vendor: 0x19e5,
        device: 0xa250,
        revision: 0x21,
        class: 0x12_00_00,
        subsystem_vendor: 0x19e5,
        subsystem: 0x0001,
    })
    .with_bar(0, Bar::memory32(4 << 10))
    .with_bar(1, Bar::memory32(64 << 10).prefetchable())
    .with_bar(2, Bar::memory64(4 << 20))
    .with_bar(MSIX_BAR, Bar::memory64(8 << 30).prefetchable())
    .with_capability(Express::integrated_endpoint())
    .with_capability(Pasid::new(16))
    .with_capability(Msi::new(2))
    .with_capability(MsiX::new(3, MSIX_BAR, MSIX_TABLE, MSIX_PBA))
    .with_capability(Power::new())
}

fn read8(config: &ConfigSpace, offset: u16) -> u8 {
    let mut data = [0; 1];
    config.read(offset, &mut data);
    data[0]
}

fn read16(config: &ConfigSpace, offset: u16) -> u16 {
    let mut data = [0; 2];
    config.read(offset, &mut data);
    u16::from_le_bytes(data)
}

fn read32(config: &ConfigSpace, offset: u16) -> u32 {
    let mut data = [0; 4];
    config.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write16(config: &mut ConfigSpace, offset: u16, value: u16) -> Effects {
    config.write(offset, &value.to_le_bytes())
}

fn write32(config: &mut ConfigSpace, offset: u16, value: u32) -> Effects {
    config.write(offset, &value.to_le_bytes())
}

/// `__pci_find_next_cap_ttl`, started as `pci_find_capability` does.
fn find_capability(config: &ConfigSpace, id: u8) -> Option<u16> {
    if read16(config, 0x06) & 0x10 == 0 {
        return None;
    }
    let mut at = u16::from(read8(config, 0x34));
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        at &= !3;
        let entry = read16(config, at);
        if entry & 0xff == 0xff {
            return None;
        }
        if entry & 0xff == u16::from(id) {
            return Some(at);
        }
        at = entry >> 8;
    }
    panic!("the list has no end");
}

/// `pci_find_next_ext_capability`.
fn find_extended(config: &ConfigSpace, id: u16) -> Option<u16> {
    let mut at = 0x100;
    for _ in 0..(4096 - 256) / 8 {
        let header = read32(config, at);
        if header == 0 {
            return None;
        }
        if header & 0xffff == u32::from(id) {
            return Some(at);
        }
        at = (header >> 20 & 0xffc) as u16;
        if at < 0x100 {
            return None;
        }
    }
    panic!("the list has no end");
}

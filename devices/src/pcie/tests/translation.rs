//! The ATS and PRI capabilities as Linux reads and writes them (drivers/pci/ats.c), with the offsets
//! and bits of include/uapi/linux/pci_regs.h.

use crate::pcie::ats::Ats;
use crate::pcie::config::{ConfigSpace, Identity};
use crate::pcie::pasid::Pasid;
use crate::pcie::pri::Pri;

fn read16(space: &ConfigSpace, offset: u16) -> u16 {
    let mut data = [0; 2];
    space.read(offset, &mut data);
    u16::from_le_bytes(data)
}

fn read32(space: &ConfigSpace, offset: u16) -> u32 {
    let mut data = [0; 4];
    space.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write16(space: &mut ConfigSpace, offset: u16, value: u16) {
    let _ = space.write(offset, &value.to_le_bytes());
}

/// PASID at 0x100, ATS at 0x108, PRI at 0x110.
fn space() -> ConfigSpace {
    ConfigSpace::new(Identity::default())
        .with_capability(Pasid::new(16))
        .with_capability(Ats::new())
        .with_capability(Pri::new(64, true))
}

#[test]
fn headers_and_reset_values() {
    let space = space();
    // PCI_EXT_CAP_ID_ATS, version 1, next 0x110.
    assert_eq!(read32(&space, 0x108), 0x1101_000f);
    // PCI_ATS_CAP: queue depth 0 is 32; PCI_ATS_CAP_PAGE_ALIGNED; global invalidate. PCI_ATS_CTRL.
    assert_eq!(read16(&space, 0x10c), 0x0060);
    assert_eq!(read16(&space, 0x10e), 0);
    // PCI_EXT_CAP_ID_PRI, version 1, the last.
    assert_eq!(read32(&space, 0x110), 0x0001_0013);
    // PCI_PRI_CTRL; PCI_PRI_STATUS: STOPPED and PASID; MAX_REQ; ALLOC_REQ.
    assert_eq!(read16(&space, 0x114), 0);
    assert_eq!(read16(&space, 0x116), 0x8100);
    assert_eq!(read32(&space, 0x118), 64);
    assert_eq!(read32(&space, 0x11c), 0);
}

#[test]
fn ats_is_enabled_with_its_unit() {
    let mut space = space();
    let state = space.capability::<Ats>().unwrap().state();
    // pci_enable_ats(dev, 14): PCI_ATS_CTRL_ENABLE | PCI_ATS_CTRL_STU(2).
    write16(&mut space, 0x10e, 0x8002);
    assert!(state.enabled());
    assert_eq!(state.unit_log2(), 14);
    // Reserved bits do not stick, and the capability cannot be written.
    write16(&mut space, 0x10e, 0xffff);
    write16(&mut space, 0x10c, 0xffff);
    assert_eq!(read32(&space, 0x10c), 0x801f_0060);
    space.reset();
    assert!(!state.enabled());
    assert_eq!(read16(&space, 0x10e), 0);
}

#[test]
fn pri_is_enabled_as_pci_enable_pri_does() {
    let mut space = space();
    let state = space.capability::<Pri>().unwrap().state();
    assert!(!state.may_request());
    let _ = space.write(0x11c, &32_u32.to_le_bytes());
    write16(&mut space, 0x114, 1);
    assert!(state.may_request());
    assert_eq!(state.limit(), 32);
    // While enabled, STOPPED means nothing and is not shown.
    assert_eq!(read16(&space, 0x116), 0x8000);
    // The capacity is a limit whatever is allocated.
    let _ = space.write(0x11c, &u32::MAX.to_le_bytes());
    assert_eq!(state.limit(), 64);
    write16(&mut space, 0x114, 0);
    assert!(!state.may_request());
    assert_eq!(read16(&space, 0x116), 0x8100);
}

#[test]
fn status_bits_are_cleared_by_ones_and_by_enabling() {
    let mut space = space();
    let state = space.capability::<Pri>().unwrap().state();
    write16(&mut space, 0x114, 1);
    state.set_response_failure();
    state.set_unexpected_index();
    assert_eq!(read16(&space, 0x116), 0x8003);
    assert!(!state.may_request());
    write16(&mut space, 0x116, 0x0002);
    assert_eq!(read16(&space, 0x116), 0x8001);
    // Setting Enable again while it is set is no new start.
    write16(&mut space, 0x114, 1);
    assert_eq!(read16(&space, 0x116), 0x8001);
    write16(&mut space, 0x114, 0);
    write16(&mut space, 0x114, 1);
    assert_eq!(read16(&space, 0x116), 0x8000);
    assert!(state.may_request());
}

#[test]
fn a_function_without_the_need_for_pasids_says_so() {
    let space = ConfigSpace::new(Identity::default()).with_capability(Pri::new(1, false));
    assert_eq!(read16(&space, 0x106), 0x0100);
}

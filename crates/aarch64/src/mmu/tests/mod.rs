//! Tests of translation and access. Expected syndromes are written as numbers, composed by hand
//! from *ESR_EL1* and *ISS encoding for an exception from a Data Abort* in DDI 0487, not from the
//! constants of the code under test.

mod access;
mod faults;
mod hafdbs;
mod invalidation;
mod model;

use super::testing::{KERNEL_RW, Machine, RAM};
use super::walk::Access;

/// A kernel address, in TTBR1's half.
const KERNEL_VA: u64 = 0xffff_8000_1234_5000;
/// A user address, in TTBR0's half.
const USER_VA: u64 = 0x0000_aaaa_1234_5000;
/// A page of RAM behind them.
const PAGE: u64 = RAM.start + 0x10_0000;

#[test]
fn page_translates_at_each_level_of_mapping() {
    for (level, mask) in [(1, 0x3fff_ffff), (2, 0x1f_ffff), (3, 0xfff)] {
        let mut m = Machine::new();
        let kind = if level == 3 { 3 } else { 1 };
        m.map(KERNEL_VA, level, PAGE & !mask | KERNEL_RW & !3 | kind);

        let hit = m
            .cpu
            .translate(&mut m.bus, KERNEL_VA + 0x678, Access::Read, 1)
            .unwrap();

        assert_eq!(hit.pa, PAGE & !mask | (KERNEL_VA + 0x678) & mask);
        assert!(hit.ram);
    }
}

#[test]
fn mmu_off_uses_the_address_itself_and_device_type() {
    let mut m = Machine::new();
    m.cpu.state.sys.sctlr &= !1;
    m.cpu.translation_control_changed();

    let hit = m.cpu.translate(&mut m.bus, PAGE, Access::Write, 1).unwrap();
    assert_eq!((hit.pa, hit.device), (PAGE, true));
    let hit = m
        .cpu
        .translate(&mut m.bus, PAGE, Access::Execute, 1)
        .unwrap();
    assert_eq!((hit.pa, hit.device), (PAGE, false));
    let beyond = m.cpu.fetch_address(&mut m.bus, 1 << 48);
    assert_eq!(m.taken(beyond), (0x8600_0000, 1 << 48));
}

#[test]
fn top_byte_is_ignored_only_where_tcr_says() {
    let mut m = Machine::new();
    m.map(USER_VA, 3, PAGE | KERNEL_RW);
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    let tagged_user = USER_VA | 0xa5 << 56;
    let tagged_kernel = KERNEL_VA & !(0xff << 56) | 0xa5 << 56;

    let hit = m
        .cpu
        .translate(&mut m.bus, tagged_user, Access::Read, 1)
        .unwrap();
    assert_eq!(hit.pa, PAGE);
    assert_eq!(m.cpu.branch_address(tagged_user), USER_VA);
    let fault = m
        .cpu
        .translate(&mut m.bus, tagged_kernel, Access::Read, 1)
        .unwrap_err();
    assert_eq!(fault.status_code(), 0x04);
    assert_eq!(m.cpu.branch_address(tagged_kernel), tagged_kernel);
}

//! Access flag and dirty state that the MMU keeps (FEAT_HAFDBS): DDI 0487, *Hardware management of
//! the Access flag* and *Hardware management of dirty state*.

use super::super::testing::{KERNEL_RW, KERNEL_RX, Machine, TCR, USER_RW};
use super::{KERNEL_VA, PAGE, USER_VA};
use crate::mmu::AccessType::{Atomic, Normal};
use crate::{Cpu, CpuConfig, Hafdbs, Size};

/// TCR_EL1.HA and HD.
const HA: u64 = 1 << 39;
const HD: u64 = 1 << 40;
/// Bits of a descriptor.
const AF: u64 = 0x400;
const READ_ONLY: u64 = 0x80;
const DBM: u64 = 1 << 51;
/// A table that makes all below it read-only (APTable\[1\]).
const TABLE_READ_ONLY: u64 = 1 << 62;

fn machine(hafdbs: Hafdbs, bits: u64) -> Machine {
    let mut m = Machine::new();
    let config = CpuConfig {
        hafdbs,
        ..CpuConfig::default()
    };
    m.cpu.state.sys.mmfr1 = Cpu::new(config).state.sys.mmfr1;
    m.cpu.state.sys.tcr = TCR | bits;
    m.cpu.translation_control_changed();
    m
}

fn load(m: &mut Machine, va: u64) -> Option<u64> {
    m.cpu.load(&mut m.bus, va, Size::Double, Normal).ok()
}

fn store(m: &mut Machine, va: u64) -> Option<()> {
    m.cpu.store(&mut m.bus, va, Size::Double, 0, Normal).ok()
}

#[test]
fn access_flags_are_set_where_there_is_hafdbs_and_ha_asks_for_it() {
    for (hafdbs, bits, set) in [
        (Hafdbs::None, HA | HD, false),
        (Hafdbs::AccessFlag, 0, false),
        (Hafdbs::AccessFlag, HD, false),
        (Hafdbs::AccessFlag, HA, true),
        (Hafdbs::Dirty, HA, true),
    ] {
        for level in 1..4 {
            let mut m = machine(hafdbs, bits);
            let kind = if level == 3 { 3 } else { 1 };
            let clear = PAGE & !0x3fff_ffff | KERNEL_RW & !3 & !AF | kind;
            let at = m.map(KERNEL_VA, level, clear);

            assert_eq!(
                load(&mut m, KERNEL_VA).is_some(),
                set,
                "{hafdbs:?} {bits:#x}"
            );
            let word = if set { clear | AF } else { clear };
            assert_eq!(m.bus.word(at), word, "{hafdbs:?} {bits:#x}");
        }
    }
}

#[test]
fn fetches_and_atomics_set_them_too() {
    let mut m = machine(Hafdbs::AccessFlag, HA);
    let code = m.map(KERNEL_VA, 3, PAGE | KERNEL_RX & !AF);
    let data = m.map(KERNEL_VA + 0x1000, 3, (PAGE + 0x1000) | KERNEL_RW & !AF);

    assert!(m.cpu.fetch_address(&mut m.bus, KERNEL_VA).is_ok());
    let loaded = m
        .cpu
        .load(&mut m.bus, KERNEL_VA + 0x1000, Size::Double, Atomic);
    assert!(loaded.is_ok());
    assert_eq!(m.bus.word(code) & AF, AF);
    assert_eq!(m.bus.word(data) & AF, AF);
}

#[test]
fn a_clean_page_becomes_dirty_by_a_write_alone() {
    for (va, page) in [(KERNEL_VA, KERNEL_RW), (USER_VA, USER_RW)] {
        let mut m = machine(Hafdbs::Dirty, HA | HD);
        let clean = PAGE | page & !AF | READ_ONLY | DBM;
        let at = m.map(va, 3, clean);
        if va == USER_VA {
            m = m.at_el0();
        }

        assert!(load(&mut m, va).is_some());
        assert_eq!(m.bus.word(at), clean | AF);
        assert!(store(&mut m, va).is_some());
        assert_eq!(m.bus.word(at), (clean | AF) & !READ_ONLY);
        // The TLB knows: software may make it clean again, and sees no more until it invalidates.
        m.bus.set_word(at, clean | AF);
        assert!(store(&mut m, va).is_some());
        assert_eq!(m.bus.word(at), clean | AF);
    }
}

#[test]
fn without_hd_a_clean_page_is_read_only() {
    for (hafdbs, bits) in [(Hafdbs::Dirty, HA), (Hafdbs::AccessFlag, HA | HD)] {
        let mut m = machine(hafdbs, bits);
        let clean = PAGE | KERNEL_RW | READ_ONLY | DBM;
        let at = m.map(KERNEL_VA, 3, clean);

        let outcome = m.cpu.store(&mut m.bus, KERNEL_VA, Size::Double, 0, Normal);
        // EC 0x25, IL, WnR, a Permission fault of level 3.
        assert_eq!(m.taken(outcome), (0x9600_004f, KERNEL_VA));
        assert_eq!(m.bus.word(at), clean);
    }
}

#[test]
fn what_is_not_permitted_makes_nothing_dirty() {
    // Read-only without DBM; clean, below a read-only table; clean, and EL1's alone.
    let mut m = machine(Hafdbs::Dirty, HA | HD);
    let read_only = m.map(KERNEL_VA, 3, PAGE | KERNEL_RW | READ_ONLY);
    assert!(store(&mut m, KERNEL_VA).is_none());
    assert_eq!(m.bus.word(read_only), PAGE | KERNEL_RW | READ_ONLY);

    let clean = PAGE | KERNEL_RW | READ_ONLY | DBM;
    let mut m = machine(Hafdbs::Dirty, HA | HD);
    let below = m.map(KERNEL_VA, 3, clean);
    let table = m.map(KERNEL_VA, 2, 0);
    m.bus.set_word(table, below & !0xfff | TABLE_READ_ONLY | 3);
    assert!(store(&mut m, KERNEL_VA).is_none());
    assert_eq!(m.bus.word(below), clean);

    let mut m = machine(Hafdbs::Dirty, HA | HD);
    let kernels = m.map(USER_VA, 3, clean);
    m = m.at_el0();
    assert!(store(&mut m, USER_VA).is_none());
    assert_eq!(m.bus.word(kernels), clean);
}

#[test]
fn an_address_translation_instruction_says_what_an_access_would_do_and_updates_nothing() {
    let mut m = machine(Hafdbs::Dirty, HA | HD);
    let clean = PAGE | KERNEL_RW & !AF | READ_ONLY | DBM;
    let at = m.map(KERNEL_VA, 3, clean);

    for write in [false, true] {
        let done = m.cpu.address_translate(&mut m.bus, KERNEL_VA, 1, write);
        assert!(done.is_ok());
        // F is 0, and the address.
        assert_eq!(m.cpu.state.sys.par & 0x0000_ffff_ffff_f001, PAGE);
        assert_eq!(m.bus.word(at), clean);
    }
}

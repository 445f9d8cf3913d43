//! Each fault, at each level, with what ESR_EL1 and FAR_EL1 hold.

use super::super::testing::{
    DEVICE, KERNEL_DEVICE, KERNEL_RW, KERNEL_RX, MAIR, Machine, RAM, TCR, USER_RW, USER_RX,
};
use super::{KERNEL_VA, PAGE, USER_VA};
use crate::Size;
use crate::mmu::AccessType::{AcquireRelease, Atomic, Normal, Unprivileged};

/// Data abort at EL1, a read: EC 0x25, IL.
const DATA_EL1: u64 = 0x9600_0000;
/// The same from EL0: EC 0x24.
const DATA_EL0: u64 = 0x9200_0000;
/// Instruction abort at EL1, EC 0x21; from EL0, EC 0x20.
const FETCH_EL1: u64 = 0x8600_0000;
const FETCH_EL0: u64 = 0x8200_0000;
const WRITE: u64 = 0x40;

fn load(m: &mut Machine, va: u64) -> (u64, u64) {
    let outcome = m.cpu.load(&mut m.bus, va, Size::Double, Normal);
    m.taken(outcome)
}

fn store(m: &mut Machine, va: u64) -> (u64, u64) {
    let outcome = m.cpu.store(&mut m.bus, va, Size::Double, 0, Normal);
    m.taken(outcome)
}

fn fetch(m: &mut Machine, va: u64) -> (u64, u64) {
    let outcome = m.cpu.fetch_address(&mut m.bus, va);
    m.taken(outcome)
}

#[test]
fn invalid_descriptor_is_a_translation_fault_of_its_level() {
    for level in 0..4 {
        let mut m = Machine::new();
        m.map(KERNEL_VA, level, 0);
        let code = u64::from(0x04 | level);

        assert_eq!(
            load(&mut m, KERNEL_VA + 8),
            (DATA_EL1 | code, KERNEL_VA + 8)
        );
        assert_eq!(
            store(&mut m, KERNEL_VA + 8),
            (DATA_EL1 | WRITE | code, KERNEL_VA + 8)
        );
        assert_eq!(
            fetch(&mut m, KERNEL_VA + 8),
            (FETCH_EL1 | code, KERNEL_VA + 8)
        );
    }
}

#[test]
fn reserved_descriptor_is_a_translation_fault_of_its_level() {
    // A block at level 0, and "block" at level 3.
    for level in [0, 3] {
        let mut m = Machine::new();
        m.map(KERNEL_VA, level, KERNEL_RW & !2);

        let code = u64::from(0x04 | level);
        assert_eq!(load(&mut m, KERNEL_VA), (DATA_EL1 | code, KERNEL_VA));
    }
}

#[test]
fn addresses_outside_the_halves_are_level_0_translation_faults() {
    let mut m = Machine::new();

    for va in [
        0x0001_0000_0000_0000,
        0x7fff_0000_0000_0000,
        0xfffe_ffff_ffff_fff8,
    ] {
        // Bit 55 set and TBI1 clear, or bits 55 to 48 mixed.
        assert_eq!(load(&mut m, va), (DATA_EL1 | 0x04, va), "{va:#x}");
    }
}

#[test]
fn disabled_walks_are_level_0_translation_faults() {
    for (epd, va) in [(7, USER_VA), (23, KERNEL_VA)] {
        let mut m = Machine::new();
        m.map(va, 3, PAGE | KERNEL_RW);
        m.cpu.state.sys.tcr = TCR | 1 << epd;
        m.cpu.translation_control_changed();

        assert_eq!(load(&mut m, va), (DATA_EL1 | 0x04, va));
    }
}

#[test]
fn clear_access_flag_faults_at_the_level_of_the_leaf() {
    for level in 1..4 {
        let mut m = Machine::new();
        let kind = if level == 3 { 3 } else { 1 };
        m.map(
            KERNEL_VA,
            level,
            RAM.start | KERNEL_RW & !(1 << 10) & !3 | kind,
        );

        let code = u64::from(0x08 | level);
        assert_eq!(load(&mut m, KERNEL_VA), (DATA_EL1 | code, KERNEL_VA));
    }
}

#[test]
fn write_to_read_only_is_a_permission_fault_of_the_level_of_the_leaf() {
    for level in 1..4 {
        let mut m = Machine::new();
        let kind = if level == 3 { 3 } else { 1 };
        m.map(KERNEL_VA, level, RAM.start | KERNEL_RX & !3 | kind);
        let code = u64::from(0x0c | level);

        assert!(
            m.cpu
                .load(&mut m.bus, KERNEL_VA, Size::Double, Normal)
                .is_ok()
        );
        assert_eq!(
            store(&mut m, KERNEL_VA),
            (DATA_EL1 | WRITE | code, KERNEL_VA)
        );
    }
}

#[test]
fn kernel_page_faults_from_el0() {
    let mut m = Machine::new().at_el0();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RX);

    assert_eq!(load(&mut m, KERNEL_VA), (DATA_EL0 | 0x0f, KERNEL_VA));
    let mut m = m.at_el0();
    assert_eq!(
        store(&mut m, KERNEL_VA),
        (DATA_EL0 | WRITE | 0x0f, KERNEL_VA)
    );
    let mut m = m.at_el0();
    assert_eq!(fetch(&mut m, KERNEL_VA), (FETCH_EL0 | 0x0f, KERNEL_VA));
}

#[test]
fn unprivileged_access_has_the_permissions_of_el0_and_the_class_of_el1() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    m.map(USER_VA, 3, PAGE | USER_RX);

    let outcome = m
        .cpu
        .load(&mut m.bus, KERNEL_VA, Size::Double, Unprivileged);
    assert_eq!(m.taken(outcome), (DATA_EL1 | 0x0f, KERNEL_VA));
    assert!(
        m.cpu
            .load(&mut m.bus, USER_VA, Size::Double, Unprivileged)
            .is_ok()
    );
    let outcome = m
        .cpu
        .store(&mut m.bus, USER_VA, Size::Double, 1, Unprivileged);
    assert_eq!(m.taken(outcome), (DATA_EL1 | WRITE | 0x0f, USER_VA));
}

#[test]
fn el1_never_executes_what_el0_may_write() {
    let mut m = Machine::new();
    m.map(USER_VA, 3, PAGE | USER_RW & !(1 << 53));

    assert_eq!(fetch(&mut m, USER_VA), (FETCH_EL1 | 0x0f, USER_VA));
}

#[test]
fn write_implies_execute_never_where_sctlr_says() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RX & !(1 << 7));
    assert!(m.cpu.fetch_address(&mut m.bus, KERNEL_VA).is_ok());

    m.cpu.state.sys.sctlr |= 1 << 19;
    m.cpu.translation_control_changed();

    assert_eq!(fetch(&mut m, KERNEL_VA), (FETCH_EL1 | 0x0f, KERNEL_VA));
}

#[test]
fn table_attributes_restrict_what_the_leaf_grants() {
    // Bit of the table descriptor; what then fails; at EL0 or not.
    type Try = fn(&mut Machine, u64) -> (u64, u64);
    let cases: [(u32, u64, Try, bool, u64); 4] = [
        (59, KERNEL_RX, fetch, false, FETCH_EL1),
        (60, USER_RX, fetch, true, FETCH_EL0),
        (61, USER_RW, load, true, DATA_EL0),
        (62, KERNEL_RW, store, false, DATA_EL1 | WRITE),
    ];
    for (bit, leaf, attempt, el0, class) in cases {
        for level in 0..3 {
            let mut m = Machine::new();
            let va = if el0 { USER_VA } else { KERNEL_VA };
            m.map(va, 3, PAGE | leaf);
            let table = if el0 { RAM.start } else { RAM.start + 0x1000 };
            let mut slot = table + (va >> 39 & 511) * 8;
            for at in 0..level {
                let next = m.bus.word(slot) & 0x0000_ffff_ffff_f000;
                slot = next + (va >> (30 - 9 * at) & 511) * 8;
            }
            m.bus.set_word(slot, m.bus.word(slot) | 1 << bit);
            let mut m = if el0 { m.at_el0() } else { m };

            assert_eq!(
                attempt(&mut m, va),
                (class | 0x0f, va),
                "bit {bit} at level {level}"
            );
        }
    }
}

#[test]
fn address_beyond_ips_is_an_address_size_fault_of_its_level() {
    let beyond = 1 << 36;
    for level in 0..4 {
        let mut m = Machine::new();
        m.cpu.state.sys.tcr = TCR & !(7 << 32) | 1 << 32;
        m.cpu.translation_control_changed();
        let kind = if level == 0 || level == 3 { 3 } else { 1 };
        m.map(KERNEL_VA, level, beyond | KERNEL_RW & !3 | kind);

        assert_eq!(
            load(&mut m, KERNEL_VA),
            (DATA_EL1 | u64::from(level), KERNEL_VA)
        );
    }
    let mut m = Machine::new();
    m.cpu.state.sys.tcr = TCR & !(7 << 32);
    m.cpu.state.sys.ttbr1 = beyond;
    m.cpu.translation_control_changed();
    assert_eq!(load(&mut m, KERNEL_VA), (DATA_EL1, KERNEL_VA));
}

#[test]
fn abort_on_a_walk_names_the_level_and_abort_of_the_access_does_not() {
    for level in 0..4 {
        let mut m = Machine::new();
        let slot = m.map(KERNEL_VA, level, PAGE | KERNEL_RW);
        m.bus.aborts.insert(slot);

        assert_eq!(
            load(&mut m, KERNEL_VA),
            (DATA_EL1 | 0x14 | u64::from(level), KERNEL_VA)
        );
    }
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    m.bus.aborts.insert(PAGE + 8);
    assert_eq!(
        load(&mut m, KERNEL_VA + 8),
        (DATA_EL1 | 0x10, KERNEL_VA + 8)
    );
    assert_eq!(
        store(&mut m, KERNEL_VA + 8),
        (DATA_EL1 | WRITE | 0x10, KERNEL_VA + 8)
    );
    assert!(
        m.cpu
            .load(&mut m.bus, KERNEL_VA, Size::Double, Normal)
            .is_ok()
    );
}

#[test]
fn instructions_come_from_ram_only() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, DEVICE.start | KERNEL_RX);

    assert_eq!(fetch(&mut m, KERNEL_VA), (FETCH_EL1 | 0x10, KERNEL_VA));
}

#[test]
fn misaligned_pc_faults_before_anything_else() {
    let mut m = Machine::new();

    assert_eq!(fetch(&mut m, KERNEL_VA + 2), (0x8a00_0000, KERNEL_VA + 2));
}

#[test]
fn sp_alignment_is_checked_as_sctlr_says() {
    let mut m = Machine::new();
    m.cpu.state.x[usize::from(crate::registers::SP)] = 8;
    assert!(m.cpu.state.check_sp_alignment().is_ok());
    m.cpu.state.sys.sctlr |= 1 << 4;
    assert!(m.cpu.state.check_sp_alignment().is_ok());
    m.cpu.state.sys.sctlr |= 1 << 3;
    let outcome = m.cpu.state.check_sp_alignment();

    assert_eq!(m.taken(outcome).0, 0x9a00_0000);
}

#[test]
fn unaligned_access_is_refused_where_alignment_is_asked_for() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    let va = KERNEL_VA + 1;

    assert!(m.cpu.load(&mut m.bus, va, Size::Word, Normal).is_ok());
    for kind in [Atomic, AcquireRelease] {
        let outcome = m.cpu.load(&mut m.bus, va, Size::Word, kind);
        assert_eq!(m.taken(outcome), (DATA_EL1 | 0x21, va));
    }
    let outcome = m.cpu.load_quad(&mut m.bus, KERNEL_VA + 8, Atomic);
    assert_eq!(m.taken(outcome), (DATA_EL1 | 0x21, KERNEL_VA + 8));
    m.cpu.state.sys.sctlr |= 2;
    m.cpu.translation_control_changed();
    assert_eq!(store(&mut m, va), (DATA_EL1 | WRITE | 0x21, va));
    // The pair's elements are aligned, the quad is not.
    assert!(m.cpu.load_pair(&mut m.bus, KERNEL_VA + 8).is_ok());
    let outcome = m.cpu.load_quad(&mut m.bus, KERNEL_VA + 8, Normal);
    assert_eq!(m.taken(outcome), (DATA_EL1 | 0x21, KERNEL_VA + 8));
}

#[test]
fn unaligned_access_to_device_memory_is_an_alignment_fault() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_DEVICE);
    m.map(KERNEL_VA + 0x1000, 3, PAGE | KERNEL_DEVICE | 1 << 7);

    let outcome = m.cpu.load(&mut m.bus, KERNEL_VA + 2, Size::Word, Normal);
    assert_eq!(m.taken(outcome), (DATA_EL1 | 0x21, KERNEL_VA + 2));
    // Before the permission fault that an aligned store would meet.
    let va = KERNEL_VA + 0x1001;
    let outcome = m.cpu.store(&mut m.bus, va, Size::Half, 0, Normal);
    assert_eq!(m.taken(outcome), (DATA_EL1 | WRITE | 0x21, va));
    let outcome = m.cpu.zero_block(&mut m.bus, KERNEL_VA + 0x44);
    assert_eq!(
        m.taken(outcome),
        (DATA_EL1 | WRITE | 0x21, KERNEL_VA + 0x44)
    );
}

#[test]
fn atomic_access_outside_ram_is_unsupported() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, DEVICE.start | KERNEL_DEVICE);

    let outcome = m.cpu.load(&mut m.bus, KERNEL_VA, Size::Word, Atomic);
    assert_eq!(m.taken(outcome), (DATA_EL1 | 0x35, KERNEL_VA));
    let outcome = m.cpu.store_quad(&mut m.bus, KERNEL_VA, 0, Atomic);
    assert_eq!(m.taken(outcome), (DATA_EL1 | WRITE | 0x35, KERNEL_VA));
}

#[test]
fn cache_maintenance_faults_with_cm_and_wnr() {
    let mut m = Machine::new();

    let outcome = m
        .cpu
        .maintain_address(&mut m.bus, USER_VA + 4, super::Access::Read);

    assert_eq!(m.taken(outcome), (DATA_EL1 | 0x140 | 0x04, USER_VA + 4));
}

#[test]
fn address_translation_reports_in_par() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RX);
    m.map(KERNEL_VA + 0x1000, 3, DEVICE.start | KERNEL_DEVICE);
    let mut par = |va, el, write| {
        m.cpu.address_translate(&mut m.bus, va, el, write).unwrap();
        m.cpu.state.sys.par
    };

    // MAIR attribute 0 is 0xff; Inner Shareable is 3.
    assert_eq!(MAIR & 0xff, 0xff);
    assert_eq!(
        par(KERNEL_VA + 0x123, 1, false),
        0xff << 56 | PAGE | 0x800 | 3 << 7
    );
    assert_eq!(
        par(KERNEL_VA + 0x1000, 1, true),
        4 << 56 | DEVICE.start | 0x800 | 2 << 7
    );
    // F, and the fault status code from bit 1.
    assert_eq!(par(KERNEL_VA, 1, true), 0x800 | 0x0f << 1 | 1);
    assert_eq!(par(KERNEL_VA, 0, false), 0x800 | 0x0f << 1 | 1);
    assert_eq!(par(USER_VA, 1, false), 0x800 | 0x04 << 1 | 1);
}

#[test]
fn abort_on_the_walk_of_an_address_translation_is_an_exception() {
    let mut m = Machine::new();
    let slot = m.map(KERNEL_VA, 3, PAGE | KERNEL_RX);
    m.bus.aborts.insert(slot);

    let outcome = m.cpu.address_translate(&mut m.bus, KERNEL_VA, 1, false);

    assert_eq!(m.taken(outcome), (DATA_EL1 | 0x140 | 0x17, KERNEL_VA));
}

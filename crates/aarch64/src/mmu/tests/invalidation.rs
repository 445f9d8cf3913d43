//! What TLB maintenance drops, and what it must leave.

use proptest::prelude::*;

use super::super::testing::{KERNEL_RW, Machine, RAM, TCR, USER_RW};
use super::super::walk::{Access, walk};
use super::{KERNEL_VA, PAGE, USER_VA};
use crate::mmu::{Broadcast, TlbScope};

const OTHER_PAGE: u64 = PAGE + 0x20_0000;

impl Machine {
    fn pa(&mut self, va: u64) -> u64 {
        self.cpu
            .translate(&mut self.bus, va, Access::Read, 1)
            .unwrap()
            .pa
    }

    fn use_asid(&mut self, asid: u16) {
        self.cpu.state.sys.ttbr0 = RAM.start | u64::from(asid) << 48;
        self.cpu.translation_base_changed();
    }
}

/// A page in the TLB under ASID 5, whose descriptor has since been changed.
fn stale(va: u64, attributes: u64) -> Machine {
    let mut m = Machine::new();
    m.use_asid(5);
    m.map(va, 3, PAGE | attributes);
    assert_eq!(m.pa(va), PAGE);
    m.map(va, 3, OTHER_PAGE | attributes);
    m
}

#[test]
fn entries_stay_until_they_are_invalidated() {
    let mut m = stale(USER_VA, USER_RW);

    assert_eq!(m.pa(USER_VA), PAGE);
    m.cpu.invalidate_tlb(TlbScope::All);
    assert_eq!(m.pa(USER_VA), OTHER_PAGE);
}

#[test]
fn invalidation_by_address_and_asid_has_its_scope() {
    for (va, attributes, target, asid, dropped) in [
        (USER_VA, USER_RW, USER_VA, Some(5), true),
        (USER_VA, USER_RW, USER_VA, Some(6), false),
        (USER_VA, USER_RW, USER_VA, None, true),
        (USER_VA, USER_RW, USER_VA + 0x1000, Some(5), false),
        (KERNEL_VA, KERNEL_RW, KERNEL_VA, Some(6), true),
        (KERNEL_VA, KERNEL_RW, KERNEL_VA, None, true),
    ] {
        let mut m = stale(va, attributes);

        m.cpu.invalidate_tlb(TlbScope::Va { va: target, asid });

        let expected = if dropped { OTHER_PAGE } else { PAGE };
        assert_eq!(m.pa(va), expected, "{va:#x} by {target:#x}, {asid:?}");
    }
}

#[test]
fn invalidation_by_asid_spares_others_and_global_entries() {
    for (va, attributes, asid, dropped) in [
        (USER_VA, USER_RW, 5, true),
        (USER_VA, USER_RW, 6, false),
        (KERNEL_VA, KERNEL_RW, 5, false),
    ] {
        let mut m = stale(va, attributes);

        m.cpu.invalidate_tlb(TlbScope::Asid(asid));

        assert_eq!(
            m.pa(va),
            if dropped { OTHER_PAGE } else { PAGE },
            "{va:#x} by {asid}"
        );
    }
}

#[test]
fn asid_switch_drops_nothing_and_confuses_nothing() {
    let mut m = stale(USER_VA, USER_RW);

    m.use_asid(6);
    m.use_asid(5);
    assert_eq!(m.pa(USER_VA), PAGE);
    m.use_asid(6);
    assert_eq!(m.pa(USER_VA), OTHER_PAGE);
}

#[test]
fn asid_comes_from_the_register_that_tcr_names() {
    let mut m = stale(USER_VA, USER_RW);
    m.cpu.state.sys.tcr = TCR | 1 << 22;
    m.cpu.state.sys.ttbr1 |= 9 << 48;
    m.cpu.translation_control_changed();
    assert_eq!(m.cpu.mmu.regime.asid, 9);
    m.cpu.state.sys.tcr = TCR & !(1 << 36);
    m.cpu.state.sys.ttbr0 |= 0x1234 << 48;
    m.cpu.translation_control_changed();
    // 8-bit ASIDs.
    assert_eq!(m.cpu.mmu.regime.asid, 0x35);
}

#[test]
fn many_asids_do_not_run_out() {
    let mut m = stale(USER_VA, USER_RW);
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW);
    for asid in 0..5000 {
        m.use_asid(asid);
        assert_eq!(m.pa(KERNEL_VA), PAGE);
        m.map(USER_VA, 3, (RAM.start + u64::from(asid) * 0x1000) | USER_RW);
        m.cpu.invalidate_tlb(TlbScope::Asid(asid));
        assert_eq!(m.pa(USER_VA), RAM.start + u64::from(asid) * 0x1000);
    }
}

#[test]
fn one_address_in_a_block_drops_all_of_the_block() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 2, RAM.start | KERNEL_RW & !2);
    let block = KERNEL_VA & !0x1f_ffff;
    for page in 0..512 {
        assert_eq!(m.pa(block + page * 0x1000), RAM.start + page * 0x1000);
    }
    m.map(KERNEL_VA, 2, (RAM.start + 0x20_0000) | KERNEL_RW & !2);

    m.cpu.invalidate_tlb(TlbScope::Va {
        va: KERNEL_VA,
        asid: Some(0),
    });

    for page in 0..512 {
        assert_eq!(
            m.pa(block + page * 0x1000),
            RAM.start + 0x20_0000 + page * 0x1000
        );
    }
}

#[test]
fn one_address_in_a_64k_page_drops_all_of_the_page() {
    let mut m = Machine::new();
    // TG1 = 64 KiB; level 1 has bits 47 to 42, level 2 has 41 to 29, level 3 has 28 to 16.
    m.cpu.state.sys.tcr = TCR | 3 << 30;
    m.cpu.state.sys.ttbr1 = RAM.start + 0x1_0000;
    m.cpu.translation_control_changed();
    m.bus.set_word(
        RAM.start + 0x1_0000 + (KERNEL_VA >> 42 & 63) * 8,
        (RAM.start + 0x2_0000) | 3,
    );
    m.bus.set_word(
        RAM.start + 0x2_0000 + (KERNEL_VA >> 29 & 8191) * 8,
        (RAM.start + 0x3_0000) | 3,
    );
    let leaf = RAM.start + 0x3_0000 + (KERNEL_VA >> 16 & 8191) * 8;
    m.bus.set_word(leaf, PAGE | KERNEL_RW);
    let base = KERNEL_VA & !0xffff;
    for fragment in 0..16 {
        assert_eq!(m.pa(base + fragment * 0x1000), PAGE + fragment * 0x1000);
    }
    m.bus.set_word(leaf, OTHER_PAGE | KERNEL_RW);

    m.cpu.invalidate_tlb(TlbScope::Va {
        va: KERNEL_VA,
        asid: None,
    });

    for fragment in 0..16 {
        assert_eq!(
            m.pa(base + fragment * 0x1000),
            OTHER_PAGE + fragment * 0x1000
        );
    }
}

#[test]
fn tagged_copies_of_an_address_are_dropped_with_it() {
    let mut m = stale(USER_VA, USER_RW);
    m.map(USER_VA, 3, PAGE | USER_RW);
    let tagged = USER_VA | 0x7f << 56;
    assert_eq!(m.pa(tagged), PAGE);
    m.map(USER_VA, 3, OTHER_PAGE | USER_RW);

    m.cpu.invalidate_tlb(TlbScope::Va {
        va: USER_VA,
        asid: Some(5),
    });

    assert_eq!(m.pa(tagged), OTHER_PAGE);
}

#[test]
fn generation_stands_for_the_translation_of_code() {
    let mut m = Machine::new();
    m.map(KERNEL_VA, 3, PAGE | KERNEL_RW & !(1 << 53));
    m.cpu.fetch_address(&mut m.bus, KERNEL_VA).unwrap();
    let before = m.cpu.mmu_generation();

    m.cpu.invalidate_tlb(TlbScope::Va {
        va: USER_VA,
        asid: None,
    });
    assert_eq!(m.cpu.mmu_generation(), before, "no code was there");
    m.use_asid(7);
    assert_ne!(m.cpu.mmu_generation(), before);
    m.use_asid(0);
    assert_eq!(
        m.cpu.mmu_generation(),
        before,
        "back in the same address space"
    );
    m.cpu.state.set_el(0, false);
    assert_ne!(m.cpu.mmu_generation(), before);
    m.cpu.state.set_el(1, true);
    m.cpu.invalidate_tlb(TlbScope::Va {
        va: KERNEL_VA,
        asid: None,
    });
    assert_ne!(m.cpu.mmu_generation(), before);
}

#[test]
fn broadcasts_are_queued_in_order_and_bounded() {
    let mut m = Machine::new();
    m.cpu.broadcast(Broadcast::Event);
    m.cpu.broadcast(Broadcast::Tlb(TlbScope::Asid(1)));
    assert_eq!(
        m.cpu.take_broadcasts(),
        [Broadcast::Event, Broadcast::Tlb(TlbScope::Asid(1))]
    );
    assert_eq!(m.cpu.take_broadcasts(), []);

    for page in 0..10_000 {
        m.cpu.broadcast(Broadcast::Code(Some(page << 12)));
    }
    let queue = m.cpu.take_broadcasts();
    assert!(queue.len() < 300);
    assert!(queue.contains(&Broadcast::Code(None)));
    assert!(queue.contains(&Broadcast::Tlb(TlbScope::All)));
}

#[test]
fn applied_broadcast_acts_like_ones_own() {
    let mut m = stale(USER_VA, USER_RW);

    m.cpu.apply(Broadcast::Tlb(TlbScope::Va {
        va: USER_VA,
        asid: Some(5),
    }));
    m.cpu.apply(Broadcast::Event);

    assert_eq!(m.pa(USER_VA), OTHER_PAGE);
    assert!(m.cpu.state.sys.event_register);
}

/// A step of a program that keeps to the rules of TLB maintenance.
#[derive(Clone, Debug)]
enum Step {
    Access {
        page: usize,
        el: u8,
        access: usize,
    },
    /// Changes a descriptor and invalidates its address, by the ASID or for all.
    Remap {
        page: usize,
        word: u64,
        all: bool,
    },
    UseAsid(u16),
}

/// Addresses that share TLB sets, some within one 2 MiB block.
const PAGES: [u64; 6] = [
    USER_VA,
    USER_VA + 0x40_0000,
    USER_VA + 0x80_0000,
    KERNEL_VA,
    KERNEL_VA + 0x40_0000,
    KERNEL_VA + 0x40_1000,
];

fn step() -> impl Strategy<Value = Step> {
    let page = 0..PAGES.len();
    prop_oneof![
        8 => (page.clone(), 0_u8..2, 0_usize..3)
            .prop_map(|(page, el, access)| Step::Access { page, el, access }),
        3 => (page, 0_u64..64, any::<[bool; 6]>(), any::<bool>()).prop_map(|(page, n, bits, all)| {
            let [valid, el0, read_only, uxn, pxn, device] = bits;
            let word = (RAM.start + n * 0x20_0000)
                | if valid { 3 } else { 0 }
                | u64::from(el0) << 6
                | u64::from(read_only) << 7
                | 1 << 10
                | u64::from(pxn) << 53
                | u64::from(uxn) << 54
                | if device { 3 << 2 } else { 0 };
            Step::Remap { page, word, all }
        }),
        2 => (0_u16..4).prop_map(Step::UseAsid),
    ]
}

proptest! {
    #[test]
    fn maintained_tlb_agrees_with_walks(steps in prop::collection::vec(step(), 1..200)) {
        let mut m = Machine::new();
        for step in steps {
            match step {
                Step::UseAsid(asid) => m.use_asid(asid),
                Step::Remap { page, word, all } => {
                    let va = PAGES[page];
                    // The last two are in one block; so are the TLB's fragments of it.
                    let level = if page >= 4 { 2 } else { 3 };
                    let word = if level == 2 { word & !2 } else { word };
                    // TTBR0's pages are non-global, and this ASID's only in name: all share a table.
                    let global = va >> 63 != 0;
                    let word = if global { word } else { word | 1 << 11 };
                    m.map(va, level, word);
                    let asid = if all || !global { None } else { Some(m.cpu.mmu.regime.asid) };
                    m.cpu.invalidate_tlb(TlbScope::Va { va, asid });
                }
                Step::Access { page, el, access } => {
                    let access = [Access::Read, Access::Write, Access::Execute][access];
                    let va = PAGES[page] + 0x18;
                    let regime = m.cpu.mmu.regime;
                    let expected = walk(&mut m.bus, 0, &regime, va, access)
                        .ok()
                        .filter(|found| found.permits(access, el, &regime))
                        .map(|found| (found.pa, found.is_device()));
                    let actual = m.cpu.translate(&mut m.bus, va, access, el).ok();
                    prop_assert_eq!(actual.map(|hit| (hit.pa, hit.device)), expected);
                }
            }
        }
    }
}

//! The TLB against a list that is searched from one end to the other.

use proptest::prelude::*;

use crate::Access;
use crate::granule::Granule;
use crate::tlb::{Asids, Scope, Space, Tag, Tlb, Whose};
use crate::walker::{Leaf, Permissions, World};

/// What a tag is made of.
#[derive(Clone, Copy, Debug)]
struct Owner {
    space: Space,
    vmid: u16,
    asid: u16,
    aset: bool,
}

impl Owner {
    fn tag(self) -> Tag {
        match self.space {
            Space::Stage1(world) => Tag::stage1(world, self.vmid, self.asid, self.aset),
            Space::Stage2 => Tag::stage2(self.vmid),
        }
    }
}

#[derive(Clone, Debug)]
enum Action {
    Insert {
        address: u64,
        tag: Owner,
        leaf: Leaf,
    },
    Forget {
        address: u64,
        tag: Owner,
    },
    Invalidate {
        whose: Whose,
        scope: Option<Scope>,
    },
}

const SHAPES: [(Granule, i8, u8); 10] = [
    (Granule::K4, 3, 12),
    (Granule::K4, 2, 21),
    (Granule::K4, 1, 30),
    (Granule::K4, 0, 39),
    (Granule::K16, 3, 14),
    (Granule::K16, 2, 25),
    (Granule::K16, 1, 36),
    (Granule::K64, 3, 16),
    (Granule::K64, 2, 29),
    (Granule::K64, 1, 42),
];

/// Few enough to meet: both halves, pages beside each other, blocks.
fn address() -> impl Strategy<Value = u64> {
    let near = (0..32_u64, 0..3_u64).prop_map(|(page, block)| page << 12 | block << 29);
    (near, any::<bool>()).prop_map(|(low, upper)| if upper { low | 0xffff << 48 } else { low })
}

fn world() -> impl Strategy<Value = World> {
    prop_oneof![4 => Just(World::El1), 1 => Just(World::El2), 1 => Just(World::El2E2h)]
}

fn tag() -> impl Strategy<Value = Owner> {
    let stage1 = (world(), 0..2_u16, 0..3_u16, any::<bool>());
    prop_oneof![
        4 => stage1.prop_map(|(world, vmid, asid, aset)| Owner {
            space: Space::Stage1(world),
            // EL2 has neither.
            vmid: if world == World::El1 { vmid } else { 0 },
            asid: if world == World::El2 { 0 } else { asid },
            aset,
        }),
        1 => (0..2_u16).prop_map(|vmid| Owner {
            space: Space::Stage2,
            vmid,
            asid: 0,
            aset: false,
        }),
    ]
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let shape = || 0..SHAPES.len();
    (shape(), shape(), any::<bool>(), 1..0x1000_u64).prop_map(|(shape, second, global, output)| {
        let (granule, level, reach_bits) = SHAPES[shape];
        // Stage 2 may have cut it into pieces.
        let size_bits = reach_bits.min(SHAPES[second].2);
        Leaf {
            output: output << size_bits,
            size_bits,
            reach_bits,
            level,
            granule,
            permissions: Permissions::needed(Access::READ),
            accessed: true,
            global,
        }
    })
}

fn scope() -> impl Strategy<Value = Option<Scope>> {
    let granule = prop_oneof![
        Just(None),
        Just(Some(Granule::K4)),
        Just(Some(Granule::K16)),
        Just(Some(Granule::K64))
    ];
    let level = prop_oneof![Just(None), (1..4_i32).prop_map(Some)];
    let scope = (address(), 0..0x4_0000_u64, granule, level);
    prop::option::weighted(0.6, scope).prop_map(|scope| {
        let (first, length, granule, level) = scope?;
        let first = first & MASK;
        Some(Scope {
            first,
            last: first + length,
            granule,
            level,
        })
    })
}

fn whose() -> impl Strategy<Value = Whose> {
    let asids = prop_oneof![
        Just(Asids::Any),
        (0..3_u16).prop_map(Asids::Only),
        (0..3_u16).prop_map(Asids::WithGlobal)
    ];
    prop_oneof![
        1 => Just(Whose::Anyone),
        1 => Just(Whose::NotEl2),
        1 => Just(Whose::El2),
        1 => (0..2_u16).prop_map(Whose::Vmid),
        1 => (0..2_u16).prop_map(Whose::Stage2),
        4 => (world(), 0..2_u16, asids).prop_map(|(world, vmid, asids)| Whose::Stage1 {
            world,
            vmid: if world == World::El1 { vmid } else { 0 },
            asids,
        }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (address(), tag(), leaf())
            .prop_map(|(address, tag, leaf)| Action::Insert { address, tag, leaf }),
        2 => (address(), tag()).prop_map(|(address, tag)| Action::Forget { address, tag }),
        6 => (whose(), scope()).prop_map(|(whose, scope)| Action::Invalidate { whose, scope }),
    ]
}

/// An entry of the model: 56-bit first address, tag, leaf.
type Item = (u64, Owner, Leaf);

const MASK: u64 = (1 << 56) - 1;

fn hits(item: &Item, address: u64, tag: Owner) -> bool {
    let (first, owner, leaf) = item;
    let same = if leaf.global {
        owner.aset == tag.aset
    } else {
        owner.asid == tag.asid
    };
    same && owner.space == tag.space
        && owner.vmid == tag.vmid
        && (address & MASK) >> leaf.size_bits == first >> leaf.size_bits
}

/// What the model would find: the smallest leaf, not global before global.
fn find(items: &[Item], address: u64, tag: Owner) -> Option<u64> {
    let best = items.iter().filter(|item| hits(item, address, tag));
    let best = best.min_by_key(|(_, _, leaf)| (leaf.size_bits, leaf.global))?;
    Some(best.2.output | address & ((1 << best.2.size_bits) - 1))
}

fn covered(item: &Item, scope: &Scope) -> bool {
    let (first, _, leaf) = item;
    let first = first >> leaf.reach_bits << leaf.reach_bits;
    let last = first + (1 << leaf.reach_bits) - 1;
    !(last < scope.first || first > scope.last)
        && scope.granule.is_none_or(|granule| granule == leaf.granule)
        && scope
            .level
            .is_none_or(|level| level == i32::from(leaf.level))
}

fn doomed(item: &Item, whose: Whose, scope: Option<Scope>) -> bool {
    let (_, tag, leaf) = item;
    let el2 = !matches!(tag.space, Space::Stage1(World::El1) | Space::Stage2);
    let meant = match whose {
        Whose::Anyone => true,
        Whose::NotEl2 => !el2,
        Whose::El2 => el2,
        Whose::Vmid(vmid) => !el2 && tag.vmid == vmid,
        Whose::Stage2(vmid) => tag.space == Space::Stage2 && tag.vmid == vmid,
        Whose::Stage1 { world, vmid, asids } => {
            tag.space == Space::Stage1(world)
                && tag.vmid == vmid
                && match asids {
                    Asids::Any => true,
                    Asids::Only(asid) => !leaf.global && tag.asid == asid,
                    Asids::WithGlobal(asid) => leaf.global || tag.asid == asid,
                }
        }
    };
    meant && scope.is_none_or(|scope| covered(item, &scope))
}

proptest! {
    #[test]
    fn a_large_tlb_is_a_list(
        actions in prop::collection::vec(action(), 1..60),
        probes in prop::collection::vec((address(), tag()), 40),
    ) {
        // Nothing is displaced: there is more room than there are insertions.
        let mut tlb = Tlb::new(65536);
        let mut items: Vec<Item> = Vec::new();
        let mut inserted = 0_usize;
        for action in actions {
            match action {
                Action::Insert { address, tag, leaf } => {
                    let first = address & MASK & !((1 << leaf.size_bits) - 1);
                    items.retain(|item| !hits(item, address, tag));
                    items.push((first, tag, leaf));
                    tlb.insert(address, &tag.tag(), &leaf);
                    inserted += 1;
                }
                Action::Forget { address, tag } => {
                    tlb.forget(address, &tag.tag());
                    items.retain(|item| !hits(item, address, tag));
                }
                Action::Invalidate { whose, scope } => {
                    let before = items.len();
                    items.retain(|item| !doomed(item, whose, scope));
                    let dropped = tlb.invalidate(whose, scope);
                    prop_assert_eq!(dropped as usize, before - items.len());
                }
            }
        }
        prop_assume!(inserted < 64);
        for (address, tag) in probes {
            let found = tlb.lookup(address, &tag.tag()).map(|entry| entry.output(address).0);
            prop_assert_eq!(found, find(&items, address, tag), "{:#x} {:?}", address, tag);
        }
    }

    #[test]
    fn a_small_tlb_forgets_but_invents_nothing(
        actions in prop::collection::vec((address(), tag(), leaf()), 1..200),
        probes in prop::collection::vec((address(), tag()), 40),
    ) {
        let mut tlb = Tlb::new(8);
        let mut items: Vec<Item> = Vec::new();
        for (address, tag, leaf) in actions {
            tlb.insert(address, &tag.tag(), &leaf);
            prop_assert!(tlb.lookup(address, &tag.tag()).is_some());
            items.push((address & MASK & !((1 << leaf.size_bits) - 1), tag, leaf));
        }
        for (address, tag) in probes {
            if let Some(entry) = tlb.lookup(address, &tag.tag()) {
                let output = entry.output(address).0;
                let known = items.iter().any(|item| {
                    let offset = address & ((1 << item.2.size_bits) - 1);
                    hits(item, address, tag) && item.2.output | offset == output
                });
                prop_assert!(known);
            }
        }
        tlb.invalidate(Whose::Anyone, None);
        for item in &items {
            prop_assert!(tlb.lookup(item.0, &item.1.tag()).is_none());
        }
    }
}

//! The TLB against a list that is searched from one end to the other.

use proptest::prelude::*;

use crate::tlb::{Scope, Tag, Tlb};
use crate::walker::{Granule, Leaf, Permissions};

#[derive(Clone, Debug)]
enum Action {
    Insert {
        address: u64,
        tag: (u16, bool),
        leaf: Leaf,
    },
    Forget {
        address: u64,
        tag: (u16, bool),
    },
    All,
    Asid(u16),
    Addresses {
        asid: Option<u16>,
        scope: Scope,
    },
}

const SHAPES: [(Granule, u32, u32); 7] = [
    (Granule::K4, 3, 12),
    (Granule::K4, 2, 21),
    (Granule::K4, 1, 30),
    (Granule::K16, 3, 14),
    (Granule::K16, 2, 25),
    (Granule::K64, 3, 16),
    (Granule::K64, 2, 29),
];

/// Few enough to meet: both halves, pages beside each other, blocks.
fn address() -> impl Strategy<Value = u64> {
    let near = (0..32_u64, 0..3_u64).prop_map(|(page, block)| page << 12 | block << 29);
    (near, any::<bool>()).prop_map(|(low, upper)| if upper { low | 0xffff << 48 } else { low })
}

fn tag() -> impl Strategy<Value = (u16, bool)> {
    (0..3_u16, any::<bool>())
}

fn leaf() -> impl Strategy<Value = Leaf> {
    (0..SHAPES.len(), any::<bool>(), 1..0x1000_u64).prop_map(|(shape, global, output)| {
        let (granule, level, size_bits) = SHAPES[shape];
        let permissions = Permissions {
            unprivileged: true,
            read_only: false,
            uxn: true,
            pxn: true,
        };
        let output = output << size_bits;
        Leaf {
            output,
            size_bits,
            level,
            granule,
            permissions,
            accessed: true,
            global,
        }
    })
}

fn scope() -> impl Strategy<Value = Scope> {
    let granule = prop_oneof![
        Just(None),
        Just(Some(Granule::K4)),
        Just(Some(Granule::K16)),
        Just(Some(Granule::K64))
    ];
    let level = prop_oneof![Just(None), (1..4_u8).prop_map(Some)];
    (address(), 0..0x4_0000_u64, granule, level).prop_map(|(first, length, granule, level)| {
        let first = first & ((1 << 56) - 1);
        Scope {
            first,
            last: first + length,
            granule,
            level,
        }
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (address(), tag(), leaf())
            .prop_map(|(address, tag, leaf)| Action::Insert { address, tag, leaf }),
        2 => (address(), tag()).prop_map(|(address, tag)| Action::Forget { address, tag }),
        1 => Just(Action::All),
        2 => (0..3_u16).prop_map(Action::Asid),
        4 => (prop::option::of(0..3_u16), scope())
            .prop_map(|(asid, scope)| Action::Addresses { asid, scope }),
    ]
}

/// An entry of the model: 56-bit first address, tag, leaf.
type Item = (u64, Tag, Leaf);

const MASK: u64 = (1 << 56) - 1;

fn hits(item: &Item, address: u64, tag: Tag) -> bool {
    let (first, owner, leaf) = item;
    let same = if leaf.global {
        owner.aset == tag.aset
    } else {
        owner.asid == tag.asid
    };
    same && (address & MASK) >> leaf.size_bits == first >> leaf.size_bits
}

/// What the model would find: the smallest leaf, not global before global.
fn find(items: &[Item], address: u64, tag: Tag) -> Option<u64> {
    let best = items.iter().filter(|item| hits(item, address, tag));
    let best = best.min_by_key(|(_, _, leaf)| (leaf.size_bits, leaf.global))?;
    Some(best.2.output | address & ((1 << best.2.size_bits) - 1))
}

fn covered(item: &Item, scope: &Scope) -> bool {
    let (first, _, leaf) = item;
    let last = first + (1 << leaf.size_bits) - 1;
    !(last < scope.first || *first > scope.last)
        && scope.granule.is_none_or(|granule| granule == leaf.granule)
        && scope
            .level
            .is_none_or(|level| u32::from(level) == leaf.level)
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
                Action::Insert { address, tag: (asid, aset), leaf } => {
                    let tag = Tag { asid, aset };
                    let first = address & MASK & !((1 << leaf.size_bits) - 1);
                    items.retain(|item| !hits(item, address, tag));
                    items.push((first, tag, leaf));
                    tlb.insert(address, tag, &leaf);
                    inserted += 1;
                }
                Action::Forget { address, tag: (asid, aset) } => {
                    let tag = Tag { asid, aset };
                    tlb.forget(address, tag);
                    items.retain(|item| !hits(item, address, tag));
                }
                Action::All => {
                    let dropped = tlb.invalidate_all();
                    prop_assert_eq!(dropped as usize, items.len());
                    items.clear();
                }
                Action::Asid(asid) => {
                    tlb.invalidate_asid(asid);
                    items.retain(|(_, tag, leaf)| leaf.global || tag.asid != asid);
                }
                Action::Addresses { asid, scope } => {
                    tlb.invalidate_addresses(asid, scope);
                    items.retain(|item| {
                        let (_, tag, leaf) = item;
                        let whose = asid.is_none_or(|asid| leaf.global || tag.asid == asid);
                        !(whose && covered(item, &scope))
                    });
                }
            }
        }
        prop_assume!(inserted < 64);
        for (address, (asid, aset)) in probes {
            let tag = Tag { asid, aset };
            let found = tlb.lookup(address, tag).map(|entry| entry.output(address).0);
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
        for (address, (asid, aset), leaf) in actions {
            let tag = Tag { asid, aset };
            tlb.insert(address, tag, &leaf);
            prop_assert!(tlb.lookup(address, tag).is_some());
            items.push((address & MASK & !((1 << leaf.size_bits) - 1), tag, leaf));
        }
        for (address, (asid, aset)) in probes {
            let tag = Tag { asid, aset };
            if let Some(entry) = tlb.lookup(address, tag) {
                let output = entry.output(address).0;
                let known = items.iter().any(|item| {
                    let offset = address & ((1 << item.2.size_bits) - 1);
                    hits(item, address, tag) && item.2.output | offset == output
                });
                prop_assert!(known);
            }
        }
        tlb.invalidate_all();
        for item in &items {
            prop_assert!(tlb.lookup(item.0, item.1).is_none());
        }
    }
}

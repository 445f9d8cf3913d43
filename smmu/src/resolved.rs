//! What the configuration of a transaction comes to, in one place: all that has to be known to ask
//! the TLB.
//!
//! A hit would otherwise go by a stream table entry, a context descriptor and the half of the
//! address space, and decide the same each time. An answer is kept until anything that it may have
//! been made from changes in a configuration cache, so that it never says more than those do.

use crate::config::{Context, Overrides, Second, Stages};
use crate::granule::Granule;
use crate::spec::{bit, low_mask};
use crate::tlb::Tag;
use crate::transaction::{Access, StreamId, SubstreamId, Transaction};
use crate::walker::{ADDRESS_BITS, Half, Permissions};

/// How many answers are kept; a power of two.
const SLOTS: usize = 128;

/// The kinds of accesses that there are.
const KINDS: usize = 8;

/// Which of the [`KINDS`] an access is of.
#[inline(always)]
fn kind(access: Access) -> usize {
    usize::from(access.write)
        | usize::from(access.privileged) << 1
        | usize::from(access.instruction) << 2
}

/// One half of the input addresses.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// The bits that an address must not have, other than as copies of bit 55.
    beyond: u64,
    /// Whose accesses there may be a translation for.
    open_to: Permissions,
    granule: Granule,
}

impl Reach {
    const NOWHERE: Reach = Reach {
        beyond: 0,
        open_to: Permissions::NONE,
        granule: Granule::K4,
    };

    fn of(half: &Half) -> Reach {
        let counted = if half.tbi { ADDRESS_BITS } else { 64 };
        Reach {
            beyond: low_mask(counted) & !low_mask(half.tree.input_bits.into()),
            open_to: match (half.enabled, half.privileged_only) {
                (false, _) => Permissions::NONE,
                (true, true) => Permissions::ALL_PRIVILEGED,
                (true, false) => Permissions::ALL,
            },
            granule: half.tree.granule,
        }
    }
}

/// What a hit needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved {
    halves: [Reach; 2],
    /// What an access of each kind needs, as the stream overrides it.
    needs: [Permissions; KINDS],
    pub(crate) tag: Tag,
}

impl Resolved {
    /// Stage 1 of `context`, and what is behind it.
    pub(crate) fn stage1(stages: &Stages, context: &Context) -> Resolved {
        let [lower, upper] = &context.regime.halves;
        Resolved {
            halves: [Reach::of(lower), Reach::of(upper)],
            needs: needs(&stages.overrides),
            tag: stages.tag(context),
        }
    }

    /// Stage 2 alone.
    pub(crate) fn stage2(stages: &Stages, second: &Second<'_>) -> Resolved {
        let tree = &second.stage2.tree;
        let all = Reach {
            beyond: !low_mask(tree.input_bits.into()),
            open_to: Permissions::ALL,
            granule: tree.granule,
        };
        Resolved {
            halves: [all, Reach::NOWHERE],
            needs: needs(&stages.overrides),
            tag: Tag::stage2(second.vmid),
        }
    }

    /// What the transaction needs of its translation; `None` if no walk would begin for it.
    #[inline(always)]
    pub(crate) fn needs(&self, transaction: &Transaction) -> Option<Permissions> {
        let (address, needs) = (transaction.address, self.needs[kind(transaction.access)]);
        let upper = bit(address, 55);
        let half = &self.halves[usize::from(upper)];
        let spread = if upper { !address } else { address };
        (spread & half.beyond == 0 && half.open_to.include(needs)).then_some(needs)
    }
}

impl Resolved {
    /// The granule of the tables for `address`.
    pub(crate) fn granule(&self, address: u64) -> Granule {
        self.halves[usize::from(bit(address, 55))].granule
    }
}

fn needs(overrides: &Overrides) -> [Permissions; KINDS] {
    let mut needs = [Permissions::NONE; KINDS];
    for write in [false, true] {
        for privileged in [false, true] {
            for instruction in [false, true] {
                let access = Access {
                    write,
                    privileged,
                    instruction,
                };
                needs[kind(access)] = Permissions::needed(overrides.apply(access));
            }
        }
    }
    needs
}

/// An answer, and to which question.
#[derive(Clone, Copy, Debug)]
struct Slot {
    stream: StreamId,
    substream: Option<SubstreamId>,
    /// It holds as long as this is the [`ResolvedCache::generation`].
    generation: u64,
    resolved: Resolved,
}

/// The answers that were given last.
pub(crate) struct ResolvedCache {
    slots: Box<[Option<Slot>; SLOTS]>,
    generation: u64,
}

impl ResolvedCache {
    pub(crate) fn new() -> ResolvedCache {
        ResolvedCache {
            slots: Box::new([None; SLOTS]),
            generation: 0,
        }
    }

    #[inline(always)]
    fn place(transaction: &Transaction) -> usize {
        let substream = transaction.substream.map_or(0, |substream| substream.0);
        (transaction.stream.0 ^ substream) as usize % SLOTS
    }

    /// The answer for the stream and the substream of `transaction`, if it is known.
    #[inline(always)]
    pub(crate) fn get(&self, transaction: &Transaction) -> Option<&Resolved> {
        let slot = self.slots[ResolvedCache::place(transaction)].as_ref()?;
        let holds = slot.generation == self.generation
            && slot.stream == transaction.stream
            && slot.substream == transaction.substream;
        holds.then_some(&slot.resolved)
    }

    pub(crate) fn insert(&mut self, transaction: &Transaction, resolved: Resolved) {
        self.slots[ResolvedCache::place(transaction)] = Some(Slot {
            stream: transaction.stream,
            substream: transaction.substream,
            generation: self.generation,
            resolved,
        });
    }

    /// Configuration that was kept is kept no more, or other is.
    pub(crate) fn forget_all(&mut self) {
        self.generation += 1;
    }
}

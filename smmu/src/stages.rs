//! The walks of a transaction: stage 1, stage 2, and stage 1 whose tables stage 2 translates.
//!
//! IHI 0070, *Translation procedure*, *Fault and event priorities*, *Translation table access flag
//! and dirty state*.

use crate::attempt::{Asked, Attempt, Refusal};
use crate::config::{Context, Second};
use crate::counters::bump;
use crate::probe::{DescriptorRead, Note, Step};
use crate::smmu::Inner;
use crate::spec::event::{self, Class, EventType, Fault, FaultType, Place};
use crate::system::ExternalAbort;
use crate::tlb::Tag;
use crate::transaction::Transaction;
use crate::verdict::Points;
use crate::walker::{Leaf, Permissions, Stage2, Verdict, Walk, WalkFault};

/// What an intermediate address is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A context descriptor, or one on the way to it.
    Context,
    /// A descriptor of stage 1, that is to be read.
    Table,
    /// A descriptor of stage 1, that is to be written.
    Update,
    /// The transaction.
    Input,
}

impl Purpose {
    fn needs(self, transaction: &Transaction) -> Permissions {
        match self {
            Purpose::Context | Purpose::Table => Permissions::TABLE_READ,
            Purpose::Update => Permissions::TABLE_WRITE,
            Purpose::Input => Permissions::needed(transaction.access),
        }
    }

    pub(crate) fn place(self, ipa: u64) -> Place {
        let (class, write) = match self {
            Purpose::Context => (Class::Cd, false),
            Purpose::Table => (Class::Table, false),
            Purpose::Update => (Class::Table, true),
            Purpose::Input => (Class::Input, false),
        };
        Place::Stage2 { class, ipa, write }
    }
}

impl WalkFault {
    fn kind(self) -> FaultType {
        match self {
            WalkFault::Translation => FaultType::Translation,
            WalkFault::AddressSize => FaultType::AddressSize,
        }
    }
}

impl Context {
    /// *Fault configuration (A, R, S bits)* of stage 1.
    pub(crate) fn refusal(&self, kind: FaultType, transaction: &Transaction) -> Refusal {
        Refusal::Fault {
            fault: Fault {
                kind,
                place: Place::Stage1,
                access: transaction.access,
            },
            stalls: self.stalls,
            records: self.records,
            raz_wi: self.raz_wi,
        }
    }
}

impl Stage2 {
    /// *Fault configuration (A, R, S bits)* of stage 2, where A is as good as set.
    pub(crate) fn refusal(
        &self,
        kind: FaultType,
        place: Place,
        transaction: &Transaction,
    ) -> Refusal {
        Refusal::Fault {
            fault: Fault {
                kind,
                place,
                access: transaction.access,
            },
            stalls: self.stalls,
            records: self.records,
            raz_wi: false,
        }
    }
}

fn walk_abort(transaction: &Transaction, place: Place, at: u64) -> Refusal {
    let words = event::walk_abort(transaction, place, at);
    Refusal::Recorded(EventType::WalkEabt, words)
}

/// A walk of stage 1, and whose.
struct FirstWalk<'a> {
    walk: Walk,
    transaction: &'a Transaction,
    context: &'a Context,
}

impl<'a> FirstWalk<'a> {
    #[inline(always)]
    fn start(transaction: &'a Transaction, context: &'a Context) -> Result<FirstWalk<'a>, Refusal> {
        let (address, access) = (transaction.address, transaction.access);
        match context.regime.half(address, access) {
            Some(half) => Ok(FirstWalk {
                walk: Walk::start(&half.tree, half.had, address),
                transaction,
                context,
            }),
            None => Err(context.refusal(FaultType::Translation, transaction)),
        }
    }
}

/// What a descriptor of stage 1 turned out to be.
enum Taken {
    /// Another table's.
    Table,
    /// The page's, which permits the access.
    Leaf(Leaf),
    /// The page's, once it is updated.
    Update(Update),
}

/// How a descriptor is to become another.
struct Update {
    old: u64,
    new: u64,
    leaf: Leaf,
}

impl Inner {
    #[inline]
    fn read_descriptor(
        &self,
        transaction: &Transaction,
        (stage, level): (u8, i32),
        at: u64,
        asked: Asked<'_>,
    ) -> Result<u64, ExternalAbort> {
        let mut raw = [0; 8];
        self.read_memory(at, &mut raw)?;
        bump(&self.counts.walk_steps);
        asked.steps.set(asked.steps.get() + 1);
        let raw = u64::from_le_bytes(raw);
        if self.watches(Points::DESCRIPTOR) {
            let read = DescriptorRead {
                stage,
                level,
                at,
                raw,
            };
            self.probe.descriptor_read(transaction, &read);
        }
        Ok(raw)
    }

    /// Walks the tables of stage 1 that nothing translates: a leaf that permits the access.
    pub(crate) async fn walk(
        &self,
        transaction: &Transaction,
        context: &Context,
        asked: Asked<'_>,
    ) -> Result<Leaf, Refusal> {
        let result = match FirstWalk::start(transaction, context) {
            Err(refusal) => Err(refusal),
            Ok(mut walk) => loop {
                if let Some(sleep) = self.pause_in(asked.attempt, Step::WalkStep, transaction) {
                    sleep.await;
                }
                let at = walk.walk.descriptor_address();
                match self.take_descriptor(&mut walk, at, asked) {
                    Err(refusal) => break Err(refusal),
                    Ok(Taken::Table) => {}
                    Ok(Taken::Leaf(leaf)) => break Ok(leaf),
                    Ok(Taken::Update(update)) => match self.update(&walk, at, update) {
                        Ok(Some(leaf)) => break Ok(leaf),
                        Ok(None) => {}
                        Err(refusal) => break Err(refusal),
                    },
                }
            },
        };
        self.note_walk(transaction, &result, asked);
        result
    }

    /// Walks the tables of stage 1, each of whose descriptors stage 2 has to find, and then stage
    /// 2 for the page: a leaf of both that permits the access.
    pub(crate) async fn walk_both(
        &self,
        transaction: &Transaction,
        context: &Context,
        second: &Second<'_>,
        asked: Asked<'_>,
    ) -> Result<Leaf, Refusal> {
        let result = self.walk_nested(transaction, context, second, asked).await;
        self.note_walk(transaction, &result, asked);
        result
    }

    async fn walk_nested(
        &self,
        transaction: &Transaction,
        context: &Context,
        second: &Second<'_>,
        asked: Asked<'_>,
    ) -> Result<Leaf, Refusal> {
        let mut walk = FirstWalk::start(transaction, context)?;
        let leaf = loop {
            let ipa = walk.walk.descriptor_address();
            let needs = Permissions::TABLE_READ;
            let at = match self.second_cached(second, ipa, needs, asked) {
                Some(leaf) => leaf.at(ipa),
                None => {
                    let found = self.second_found(transaction, second, ipa, Purpose::Table, asked);
                    found.await?.at(ipa)
                }
            };
            if let Some(sleep) = self.pause_in(asked.attempt, Step::WalkStep, transaction) {
                sleep.await;
            }
            match self.take_descriptor(&mut walk, at, asked)? {
                Taken::Table => {}
                Taken::Leaf(leaf) => break leaf,
                Taken::Update(update) => {
                    // The place is the same, but it must be writable, and may become dirty.
                    let write = self.second(transaction, second, ipa, Purpose::Update, asked);
                    write.await?;
                    if let Some(leaf) = self.update(&walk, at, update)? {
                        break leaf;
                    }
                }
            }
        };
        let ipa = leaf.at(transaction.address);
        let needs = Permissions::needed(transaction.access);
        let next = match self.second_cached(second, ipa, needs, asked) {
            Some(next) => next,
            None => {
                let found = self.second_found(transaction, second, ipa, Purpose::Input, asked);
                found.await?
            }
        };
        Ok(leaf.then(&next, transaction.address))
    }

    /// Reads the descriptor of stage 1 that is at `at`, and takes it.
    #[inline(always)]
    fn take_descriptor(
        &self,
        walk: &mut FirstWalk<'_>,
        at: u64,
        asked: Asked<'_>,
    ) -> Result<Taken, Refusal> {
        let (transaction, context) = (walk.transaction, walk.context);
        let raw = self
            .read_descriptor(transaction, (1, walk.walk.level()), at, asked)
            .map_err(|_| walk_abort(transaction, Place::Stage1, at))?;
        let found = match walk.walk.step(raw) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Taken::Table),
            Err(fault) => return Err(context.refusal(fault.kind(), transaction)),
        };
        match context.regime.judge(&found, transaction.access) {
            Verdict::Permitted(leaf) => Ok(Taken::Leaf(leaf)),
            Verdict::Update { raw: new, leaf } => Ok(Taken::Update(Update {
                old: raw,
                new,
                leaf,
            })),
            Verdict::Access => Err(context.refusal(FaultType::Access, transaction)),
            Verdict::Permission => Err(context.refusal(FaultType::Permission, transaction)),
        }
    }

    /// Updates the descriptor of stage 1 that is at `at`; `None` if somebody else has changed it,
    /// so that it must be read again.
    fn update(
        &self,
        walk: &FirstWalk<'_>,
        at: u64,
        update: Update,
    ) -> Result<Option<Leaf>, Refusal> {
        match self.compare_exchange(at, update.old, update.new) {
            Ok(was) => Ok((was == update.old).then_some(update.leaf)),
            Err(_) => Err(walk_abort(walk.transaction, Place::Stage1, at)),
        }
    }

    fn note_walk(
        &self,
        transaction: &Transaction,
        result: &Result<Leaf, Refusal>,
        asked: Asked<'_>,
    ) {
        self.note(&Note::Walk {
            transaction: *transaction,
            steps: asked.steps.get(),
            found: result.is_ok(),
        });
    }

    /// What stage 2 makes of `ipa`, from the TLB or by a walk.
    pub(crate) async fn second(
        &self,
        transaction: &Transaction,
        second: &Second<'_>,
        ipa: u64,
        purpose: Purpose,
        asked: Asked<'_>,
    ) -> Result<Leaf, Refusal> {
        match self.second_cached(second, ipa, purpose.needs(transaction), asked) {
            Some(leaf) => Ok(leaf),
            None => {
                self.second_found(transaction, second, ipa, purpose, asked)
                    .await
            }
        }
    }

    /// What a walk of stage 2 makes of `ipa`, which the TLB does not have.
    async fn second_found(
        &self,
        transaction: &Transaction,
        second: &Second<'_>,
        ipa: u64,
        purpose: Purpose,
        asked: Asked<'_>,
    ) -> Result<Leaf, Refusal> {
        // On the heap, for transactions that have no stage 2 not to carry it with them.
        let leaf = Box::pin(self.walk_second(transaction, second, ipa, purpose, asked)).await?;
        if leaf.accessed && self.epoch.get() == asked.epoch {
            let tag = Tag::stage2(second.vmid);
            self.caches.borrow_mut().tlb.insert(ipa, &tag, &leaf);
        }
        Ok(leaf)
    }

    /// What the TLB has for `ipa`, if that gives what is needed.
    pub(crate) fn second_cached(
        &self,
        second: &Second<'_>,
        ipa: u64,
        needs: Permissions,
        asked: Asked<'_>,
    ) -> Option<Leaf> {
        if !second.stage2.covers(ipa) {
            return None;
        }
        let tag = Tag::stage2(second.vmid);
        if asked.attempt.is(Attempt::FRESH) {
            self.caches.borrow_mut().tlb.forget(ipa, &tag);
            return None;
        }
        let caches = self.caches.borrow();
        let entry = caches.tlb.lookup(ipa, &tag)?;
        entry.permissions.include(needs).then(|| entry.leaf())
    }

    /// Walks the tables of stage 2: a leaf that permits what `ipa` is wanted for.
    pub(crate) async fn walk_second(
        &self,
        transaction: &Transaction,
        second: &Second<'_>,
        ipa: u64,
        purpose: Purpose,
        asked: Asked<'_>,
    ) -> Result<Leaf, Refusal> {
        let stage2 = second.stage2;
        let place = purpose.place(ipa);
        let refusal = |kind| stage2.refusal(kind, place, transaction);
        if !stage2.covers(ipa) {
            return Err(refusal(FaultType::Translation));
        }
        let needs = purpose.needs(transaction);
        let mut walk = Walk::start(&stage2.tree, true, ipa);
        loop {
            if let Some(sleep) = self.pause_in(asked.attempt, Step::WalkStep, transaction) {
                sleep.await;
            }
            let at = walk.descriptor_address();
            let Ok(raw) = self.read_descriptor(transaction, (2, walk.level()), at, asked) else {
                return Err(walk_abort(transaction, place, at));
            };
            let found = match walk.step(raw) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(fault) => return Err(refusal(fault.kind())),
            };
            let (new, leaf) = match stage2.judge(&found, needs) {
                Verdict::Permitted(leaf) => return Ok(leaf),
                Verdict::Update { raw, leaf } => (raw, leaf),
                Verdict::Access => return Err(refusal(FaultType::Access)),
                Verdict::Permission => return Err(refusal(FaultType::Permission)),
            };
            match self.compare_exchange(at, raw, new) {
                Ok(was) if was == raw => return Ok(leaf),
                Ok(_) => {}
                Err(_) => return Err(walk_abort(transaction, place, at)),
            }
        }
    }
}

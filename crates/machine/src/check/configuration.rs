//! `--check config`: DMA by a stream table entry or a context descriptor that has changed in memory
//! without a completed CMD_CFGI.
//!
//! Software changes a structure first and invalidates then, so what the SMMU has cached may be used in
//! between. Such a use is a suspect, as for `--check tlb`: a CMD_CFGI that covers it, completed by
//! CMD_SYNC within the limit, acquits it.
//!
//! The way to these structures counts too: an implementation may cache the level 1 descriptors of both
//! tables, so one that leads elsewhere, or nowhere, is a change of its own.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use stallbox_smmu::spec::command::{Raw, op};
use stallbox_smmu::view::{Level1, Stale, Structure, View};
use stallbox_smmu::{StreamId, Transaction, Translation};
use stallbox_timeline::{Span, Time};
use stallbox_trace::{Check, FindingKind};

use super::changes::Change;
use super::report::{Finding, access};
use super::{CheckConfig, Checkers, Space, space};
use crate::stage1::reader;

/// As long as for an invalidation of translations.
const LIMIT: Span = Span::from_ms(10);
/// At the end of a run, less is enough.
const LONG_ENOUGH: Span = Span::from_ms(1);

pub(super) struct Configuration {
    limit: Span,
    suspects: RefCell<BTreeMap<(Space, u64), Suspect>>,
    reported: RefCell<BTreeSet<(Space, u64)>>,
    /// Whose structures are watched, and what led to them as the SMMU fetched them.
    watched: RefCell<BTreeMap<Space, Vec<Level1>>>,
}

#[derive(Clone, Debug)]
struct Suspect {
    stale: Stale,
    used: Time,
    transaction: Transaction,
    output: u64,
    /// A CMD_CFGI covers it, which waits for its CMD_SYNC.
    invalidated: bool,
}

impl Configuration {
    pub(super) fn new(config: &CheckConfig) -> Configuration {
        Configuration {
            limit: config.config_limit.unwrap_or(LIMIT),
            suspects: RefCell::default(),
            reported: RefCell::default(),
            watched: RefCell::default(),
        }
    }

    pub(super) fn used(
        &self,
        checkers: &Checkers,
        transaction: &Transaction,
        translation: &Translation,
    ) {
        let Some(smmu) = checkers.smmu() else { return };
        let memory = reader(&checkers.ram);
        let view = View::new(&smmu, &memory);
        let space = space(transaction);
        let level1 = view.level1(transaction);
        let mut watched = self.watched.borrow_mut();
        let fetched = watched.entry(space).or_insert_with(|| {
            checkers.watch_configuration(transaction);
            Vec::new()
        });
        for now in &level1 {
            if fetched.iter().all(|was| was.structure != now.structure) {
                fetched.push(*now);
            }
        }
        let elsewhere = fetched.iter().find(|was| {
            let now = level1.iter().find(|now| now.structure == was.structure);
            now.is_some_and(|now| (now.at, now.says) != (was.at, was.says))
        });
        let elsewhere = elsewhere.map(|was| Stale {
            at: was.at,
            structure: was.structure,
        });
        drop(watched);
        let Some(stale) = elsewhere.or_else(|| view.stale(transaction)) else {
            return;
        };
        let key = (space, stale.at);
        if self.suspects.borrow().contains_key(&key) || self.reported.borrow().contains(&key) {
            return;
        }
        let used = checkers.now();
        let suspect = Suspect {
            stale,
            used,
            transaction: *transaction,
            output: translation.address,
            invalidated: false,
        };
        self.suspects.borrow_mut().insert(key, suspect);
        checkers.later(self.limit, move |checkers| {
            if let Some(configuration) = &checkers.configuration {
                let suspects = configuration.suspects.borrow();
                let is_this = suspects.get(&key).is_some_and(|it| it.used == used);
                drop(suspects);
                if is_this {
                    configuration.sentence(checkers, key);
                }
            }
        });
    }

    /// A command is about to be executed.
    pub(super) fn command(&self, checkers: &Checkers, words: &[u64; 2]) {
        let mut suspects = self.suspects.borrow_mut();
        if Raw(*words).opcode() == op::SYNC {
            suspects.retain(|_, suspect| !suspect.invalidated);
            return;
        }
        let Some(smmu) = checkers.smmu() else { return };
        for ((space, _), suspect) in suspects.iter_mut() {
            let stream = StreamId(space.0);
            suspect.invalidated |= smmu.forgets(*words, stream, suspect.stale.structure);
        }
        // What is fetched next is what is there then.
        for (space, fetched) in self.watched.borrow_mut().iter_mut() {
            let stream = StreamId(space.0);
            fetched.retain(|it| !smmu.forgets(*words, stream, it.structure));
        }
    }

    /// The run is over.
    pub(super) fn finish(&self, checkers: &Checkers) {
        let (enough, now) = (self.limit.min(LONG_ENOUGH), checkers.now());
        let suspects = self.suspects.borrow();
        let overdue = suspects
            .iter()
            .filter(|(_, it)| now.since(it.used) >= enough);
        let overdue: Vec<_> = overdue.map(|(key, _)| *key).collect();
        drop(suspects);
        for key in overdue {
            self.sentence(checkers, key);
        }
    }

    fn sentence(&self, checkers: &Checkers, key: (Space, u64)) {
        let Some(suspect) = self.suspects.borrow_mut().remove(&key) else {
            return;
        };
        self.reported.borrow_mut().insert(key);
        let structure = suspect.stale.structure;
        let (name, command) = (structure.name(), structure.invalidation());
        let what = format!("DMA by a {name} that has changed in memory");
        let kind = match structure {
            Structure::StreamLevel1 => FindingKind::StaleStreamTable,
            Structure::Stream => FindingKind::StaleStreamEntry,
            Structure::ContextLevel1(..) => FindingKind::StaleContextTable,
            Structure::Context(_) => FindingKind::StaleContext,
        };
        let address = suspect.transaction.address;
        let mut finding =
            Finding::new((Check::Config, kind), what, key.0).at(address, Some(suspect.output));
        let through = match structure {
            Structure::StreamLevel1 | Structure::ContextLevel1(..) => "found through",
            Structure::Stream | Structure::Context(_) => "cached of",
        };
        finding.line(format!(
            "{} of the device at {} ns was translated by what the SMMU has {through} the {name} at \
             {:#x}",
            access(&suspect.transaction),
            suspect.used.as_ns(),
            key.1
        ));
        let lacks = match suspect.invalidated {
            true => "covers it, but no CMD_SYNC has followed".to_owned(),
            false => format!("of it was sent within {} us", self.limit.as_ns() / 1000),
        };
        let no = if suspect.invalidated { "a" } else { "no" };
        finding.line(format!("{no} {command} {lacks}"));
        let changes = checkers.changes.borrow();
        let before = |change: &&Change| change.by.time <= suspect.used;
        let words = (key.1..key.1 + structure.bytes()).step_by(8);
        let mut told = 0;
        for (index, at) in words.enumerate() {
            let Some(change) = changes.of(at).rev().find(before) else {
                continue;
            };
            told += 1;
            finding.line(format!(
                "its word {index} was changed at {} ns by vCPU {}: {:#018x} to {:#018x}",
                change.by.time.as_ns(),
                change.by.who.cpu,
                change.old,
                change.new
            ));
            finding.trace(format!("word {index} changed"), Some(change.by.clone()));
            finding.event(&change.by, &format!("word {index} of the {name} changed"));
        }
        if told == 0 {
            finding.line("it changed before it was watched, or not by a vCPU");
        }
        drop(changes);
        checkers.report(&finding);
    }
}

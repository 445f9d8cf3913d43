//! The SMMU's queues: their state, and what is in them that nobody has consumed, in words.

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use stallbox_faultplan::{Access, Subject};
use stallbox_smmu::spec::pri::Entry;
use stallbox_smmu::spec::{command, event, regs::gerror};
use stallbox_smmu::view::{Queue, QueueName};

use super::tables::{LISTED_MAX, Tables, hex, show_words};
use crate::machine::faults::{command_subject, record_subject};

const QUEUES: [(&str, QueueName); 3] = [
    ("command", QueueName::Command),
    ("event", QueueName::Event),
    ("page-request", QueueName::PageRequest),
];

/// An index, and the flag if it is set.
fn show_index((index, wrap): (u32, bool)) -> String {
    format!("{index:#x}{}", if wrap { " wrap" } else { "" })
}

/// A queue of the SMMU.
#[derive(Clone, Debug, Serialize)]
pub struct QueueState {
    /// Its name.
    pub queue: &'static str,
    /// In SMMU_CR0.
    pub enabled: bool,
    /// Where it is.
    pub base: String,
    /// How many entries it has.
    pub entries: u32,
    /// How many have not been consumed.
    pub queued: u32,
    /// Index, and wrap flag.
    pub prod: String,
    /// Index, and wrap flag.
    pub cons: String,
    /// An overflow is not acknowledged.
    pub overflow: bool,
}

/// The queues of the SMMU, and its errors.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStates {
    /// Those there are.
    pub queues: Vec<QueueState>,
    /// SMMU_CR0.SMMUEN.
    pub smmu_enabled: bool,
    /// SMMU_CMDQ_CONS.ERR.
    pub command_error: String,
    /// Bits of SMMU_GERROR that are not acknowledged.
    pub gerror: Vec<&'static str>,
}

fn state(name: &'static str, queue: &Queue) -> QueueState {
    QueueState {
        queue: name,
        enabled: queue.enabled,
        base: hex(queue.memory().start),
        entries: queue.entries(),
        queued: queue.queued(),
        prod: show_index(queue.prod()),
        cons: show_index(queue.cons()),
        overflow: queue.overflow,
    }
}

impl Tables<'_> {
    /// The queues there are.
    pub(super) fn queues(&self) -> QueueStates {
        self.view(|view| {
            let queues = QUEUES
                .iter()
                .filter_map(|(name, it)| Some(state(name, &view.queue(*it)?)));
            let error = match view.command_error() {
                0 => "CERROR_NONE".to_owned(),
                1 => "CERROR_ILL".to_owned(),
                2 => "CERROR_ABT".to_owned(),
                3 => "CERROR_ATC_INV_SYNC".to_owned(),
                other => format!("{other:#x}"),
            };
            let active = view.active_errors();
            let errors = gerror::NAMES.iter().filter(|(_, bit)| active & bit != 0);
            QueueStates {
                queues: queues.collect(),
                smmu_enabled: view.enabled(),
                command_error: error,
                gerror: errors.map(|(name, _)| *name).collect(),
            }
        })
    }

    /// What is next in the command queue, by name, if anything is.
    pub(super) fn next_command(&self) -> Option<String> {
        self.view(|view| {
            let queue = view.queue(QueueName::Command)?;
            if queue.queued() == 0 {
                return None;
            }
            let (_, at) = queue.entry(0);
            let raw = command::Raw(view.words(at).ok()?);
            Some(command::name(raw.opcode()))
        })
    }

    /// What is in a queue that has not been consumed, oldest first.
    pub(super) fn show_queue(&self, name: &str) -> Result<Value> {
        let Some((_, queue)) = QUEUES.iter().find(|(known, _)| *known == name) else {
            bail!("there is no queue \"{name}\": there are command, event and page-request");
        };
        self.view(|view| {
            let Some(state) = view.queue(*queue) else {
                bail!("this SMMU has no page request queue (SMMU_IDR0.PRI is 0)");
            };
            let mut listed = Vec::new();
            for turn in 0..(state.queued() as usize).min(LISTED_MAX) {
                let (index, at) = state.entry(turn as u32);
                listed.push(match queue {
                    QueueName::Event => show_record(index, &event::Record(view.words(at)?)),
                    QueueName::Command => show_command(index, &command::Raw(view.words(at)?)),
                    QueueName::PageRequest => show_page_request(index, &Entry(view.words(at)?)),
                });
            }
            Ok(Value::Array(listed))
        })
    }
}

fn show_record(index: u32, record: &event::Record) -> Value {
    let name = event::name(record.number());
    let subject = record_subject(&record.0, record.stalls());
    show_entry(index, name, &subject, &record.0)
}

fn show_command(index: u32, raw: &command::Raw) -> Value {
    let name = command::name(raw.opcode());
    show_entry(index, name, &command_subject(&raw.0), &raw.0)
}

fn show_page_request(index: u32, entry: &Entry) -> Value {
    json!({
        "index": hex(index.into()),
        "stream": entry.sid(),
        "pasid": entry.ssv().then(|| entry.ssid()),
        "address": hex(entry.address()),
        "access": match (entry.read(), entry.write()) {
            (true, true) => "read, write",
            (true, false) => "read",
            (false, true) => "write",
            // *Page request queue*: a Stop Marker has neither, and is the last.
            (false, false) if entry.last() => "none: stop marker",
            (false, false) => "none",
        },
        "prg_index": entry.index(),
        "last": entry.last(),
        "words": show_words(&entry.0),
    })
}

fn show_entry(index: u32, name: String, of: &Subject<'_>, words: &[u64]) -> Value {
    json!({
        "index": hex(index.into()),
        "name": name,
        "stream": of.stream,
        "pasid": of.pasid,
        "stag": of.stag,
        "address": of.address.map(|(first, _)| hex(first)),
        "access": of.access.map(|access| match access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "execute",
        }),
        "words": show_words(words),
    })
}

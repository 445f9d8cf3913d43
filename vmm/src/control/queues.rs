//! What is in the SMMU's queues that nobody has consumed, in words.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use stallbox_faultplan::{Access, Subject};
use stallbox_machine::faults::{command_subject, record_subject};
use stallbox_machine::queues::QUEUES;
use stallbox_smmu::spec::pri::Entry;
use stallbox_smmu::spec::{command, event};
use stallbox_smmu::view::QueueName;

use super::tables::{LISTED_MAX, Tables, hex, show_words};

impl Tables<'_> {
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

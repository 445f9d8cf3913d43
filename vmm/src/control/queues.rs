//! The SMMU's queues: their state, and what is in them that nobody has consumed, in words.
//!
//! IHI 0070, *SMMU circular queues*, *Page request queue*; positions are those of Linux 6.12,
//! `arm-smmu-v3.h` (`Q_IDX`, `Q_WRP`, `PRIQ_*`).

use anyhow::{Result, bail};
use serde_json::{Value, json};
use stallbox_faultplan::{Access, COMMANDS, EVENTS, Subject};

use super::tables::{LISTED_MAX, Tables, field, hex, show_words};
use crate::machine::faults::{command_subject, record_subject};

/// Where a queue's registers are, and what is in it.
struct Queue {
    name: &'static str,
    base: u64,
    prod: u64,
    cons: u64,
    /// In SMMU_CR0.
    enable: u32,
    entry_words: u64,
}

const COMMAND: Queue = Queue {
    name: "command",
    base: 0x90,
    prod: 0x98,
    cons: 0x9c,
    enable: 1 << 3,
    entry_words: 2,
};
const EVENT: Queue = Queue {
    name: "event",
    base: 0xa0,
    prod: 0x1_00a8,
    cons: 0x1_00ac,
    enable: 1 << 2,
    entry_words: 4,
};
const PAGE_REQUEST: Queue = Queue {
    name: "page-request",
    base: 0xc0,
    prod: 0x1_00c8,
    cons: 0x1_00cc,
    enable: 1 << 1,
    entry_words: 2,
};

const IDR0: u64 = 0x00;
const CR0: u64 = 0x20;
const GERROR: u64 = 0x60;
const GERRORN: u64 = 0x64;
const IDR0_PRI: u32 = 1 << 16;

/// Bits of SMMU_GERROR.
const ERRORS: [(u32, &str); 9] = [
    (0, "CMDQ_ERR"),
    (2, "EVENTQ_ABT_ERR"),
    (3, "PRIQ_ABT_ERR"),
    (4, "MSI_CMDQ_ABT_ERR"),
    (5, "MSI_EVENTQ_ABT_ERR"),
    (6, "MSI_PRIQ_ABT_ERR"),
    (7, "MSI_GERROR_ABT_ERR"),
    (8, "SFM_ERR"),
    (9, "CMDQP_ERR"),
];

/// A queue's indices, each with its wrap flag above it.
struct Indices {
    log2: u32,
    prod: u32,
    cons: u32,
}

impl Indices {
    fn entries(&self) -> u32 {
        1 << self.log2
    }

    fn queued(&self) -> u32 {
        let mask = (2 << self.log2) - 1;
        (self.prod & mask).wrapping_sub(self.cons & mask) & mask
    }

    /// An index, and the flag if it is set.
    fn show(&self, register: u32) -> String {
        let index = register & (self.entries() - 1);
        let wrap = register & self.entries() != 0;
        format!("{index:#x}{}", if wrap { " wrap" } else { "" })
    }
}

impl Tables<'_> {
    fn indices(&self, queue: &Queue) -> Indices {
        Indices {
            log2: field(self.register64(queue.base), 4, 0).min(19) as u32,
            prod: self.register(queue.prod),
            cons: self.register(queue.cons),
        }
    }

    fn has(&self, queue: &Queue) -> bool {
        queue.name != PAGE_REQUEST.name || self.register(IDR0) & IDR0_PRI != 0
    }

    fn show_state(&self, queue: &Queue) -> Value {
        let indices = self.indices(queue);
        json!({
            "queue": queue.name,
            "enabled": self.register(CR0) & queue.enable != 0,
            "base": hex(field(self.register64(queue.base), 51, 5) << 5),
            "entries": indices.entries(),
            "queued": indices.queued(),
            "prod": indices.show(indices.prod),
            "cons": indices.show(indices.cons),
            // OVFLG and OVACKFLG; the command queue has neither.
            "overflow": queue.name != COMMAND.name && (indices.prod ^ indices.cons) >> 31 != 0,
        })
    }

    /// The queues there are.
    pub(super) fn show_queues(&self) -> Value {
        let queues = [COMMAND, EVENT, PAGE_REQUEST];
        let there = queues.iter().filter(|queue| self.has(queue));
        let error = match self.register(COMMAND.cons) >> 24 & 0x7f {
            0 => "CERROR_NONE".to_owned(),
            1 => "CERROR_ILL".to_owned(),
            2 => "CERROR_ABT".to_owned(),
            3 => "CERROR_ATC_INV_SYNC".to_owned(),
            other => format!("{other:#x}"),
        };
        let active = self.register(GERROR) ^ self.register(GERRORN);
        let errors = ERRORS.iter().filter(|(bit, _)| active >> bit & 1 != 0);
        json!({
            "queues": there.map(|queue| self.show_state(queue)).collect::<Value>(),
            "smmu_enabled": self.register(CR0) & 1 != 0,
            "command_error": error,
            "gerror": errors.map(|(_, name)| *name).collect::<Value>(),
        })
    }

    /// What is in a queue that has not been consumed, oldest first.
    pub(super) fn show_queue(&self, name: &str) -> Result<Value> {
        let queues = [COMMAND, EVENT, PAGE_REQUEST];
        let Some(queue) = queues.iter().find(|queue| queue.name == name) else {
            bail!("there is no queue \"{name}\": there are command, event and page-request");
        };
        if !self.has(queue) {
            bail!("this SMMU has no page request queue (SMMU_IDR0.PRI is 0)");
        }
        let indices = self.indices(queue);
        let base = field(self.register64(queue.base), 51, 5) << 5;
        let mut listed = Vec::new();
        // A guest can write any index: no more than there is room for is in the queue.
        let queued = indices.queued().min(indices.entries()) as usize;
        for turn in 0..queued.min(LISTED_MAX) {
            let index = (indices.cons.wrapping_add(turn as u32)) & (indices.entries() - 1);
            let at = base + u64::from(index) * queue.entry_words * 8;
            listed.push(match queue.entry_words {
                4 => self.show_record(index, self.words(at)?),
                _ if queue.name == COMMAND.name => self.show_command(index, self.words(at)?),
                _ => self.show_page_request(index, self.words(at)?),
            });
        }
        Ok(Value::Array(listed))
    }

    fn show_record(&self, index: u32, words: [u64; 4]) -> Value {
        let stalled = words[1] & 1 << 31 != 0;
        show_entry(
            index,
            name(EVENTS, words[0]),
            &record_subject(&words, stalled),
            &words,
        )
    }

    fn show_command(&self, index: u32, words: [u64; 2]) -> Value {
        show_entry(
            index,
            name(COMMANDS, words[0]),
            &command_subject(&words),
            &words,
        )
    }

    fn show_page_request(&self, index: u32, words: [u64; 2]) -> Value {
        let bit = |n: u32| words[0] >> n & 1 != 0;
        json!({
            "index": hex(index.into()),
            "stream": field(words[0], 31, 0),
            "pasid": bit(63).then(|| field(words[0], 51, 32)),
            "address": hex(words[1] & !0xfff),
            "access": match (bit(60), bit(61)) {
                (true, true) => "read, write",
                (true, false) => "read",
                (false, true) => "write",
                // *Page request queue*: a Stop Marker has neither, and is the last.
                (false, false) if bit(62) => "none: stop marker",
                (false, false) => "none",
            },
            "prg_index": field(words[1], 8, 0),
            "last": bit(62),
            "words": show_words(&words),
        })
    }
}

fn name(names: &[(&str, u32)], word: u64) -> String {
    let number = (word & 0xff) as u32;
    let found = names.iter().find(|(_, it)| *it == number);
    found.map_or_else(|| format!("{number:#x}"), |(name, _)| (*name).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_shown_without_its_wrap_flag() {
        let indices = Indices {
            log2: 4,
            prod: 0x8000_0012,
            cons: 0x0e,
        };
        assert_eq!(indices.queued(), 4);
        assert_eq!(indices.show(indices.prod), "0x2 wrap");
        assert_eq!(indices.show(indices.cons), "0xe");
    }

    #[test]
    fn entries_have_the_architecture_s_names() {
        assert_eq!(name(EVENTS, 0x0800_0000_1810), "F_TRANSLATION");
        assert_eq!(name(COMMANDS, 0x44), "CMD_RESUME");
        assert_eq!(name(COMMANDS, 0xff), "0xff");
    }
}

//! Event records on their way to the queue, and what a verdict makes of them.
//!
//! IHI 0070, *Event queue*, *Event queue overflow*.
//!
//! **The event queue's interrupt** is raised when a record is written to an *empty* queue, and only
//! then. Software that reads records and moves CONS until it finds the queue empty loses nothing: a
//! record written before its last write of CONS makes PROD differ from that CONS, which it sees
//! when it looks again; one written after finds the queue empty, and raises the interrupt. Software
//! that leaves records in the queue gets no further interrupt until it has emptied it.

use crate::counters::bump;
use crate::probe::Note;
use crate::smmu::Inner;
use crate::spec::event::{self, Record};
use crate::transaction::StreamId;
use crate::verdict::{OnRecord, Points};

impl Inner {
    /// Writes a record, or loses it: *Event queue overflow*. Stalls see to it beforehand that
    /// there is room.
    pub(crate) fn write_event(&self, words: [u64; 4]) {
        if !self.watches(Points::RECORD) {
            return self.put_event(words);
        }
        let verdict = self.probe.on_record(&words, words[1] & event::STALL != 0);
        let Some(gate) = verdict.wait else {
            return self.obey_on_record(words, verdict.act);
        };
        let smmu = self.owned();
        self.timeline.spawn(async move {
            gate.passed().await;
            smmu.obey_on_record(words, verdict.act);
        });
    }

    fn obey_on_record(&self, words: [u64; 4], act: OnRecord) {
        match act {
            OnRecord::Go => self.put_late(words),
            OnRecord::Drop => self.drop_event(words),
            OnRecord::Repeat(more) => {
                self.put_late(words);
                // No more than makes even the largest queue overflow.
                for _ in 0..more.min(1 << 20) {
                    self.put_event(words);
                }
            }
            OnRecord::After(0) => self.put_late(words),
            OnRecord::After(others) => self.stalls.let_overtake(others, words),
            OnRecord::Overflow => {
                let filler = event::without_stall(words);
                // One more than fits.
                for _ in 0..=self.event_queue().entries() {
                    let full = self.event_queue().is_full();
                    self.put_event(filler);
                    if full {
                        break;
                    }
                }
                self.put_late(words);
            }
            OnRecord::Instead(other) => self.put_late(other),
        }
    }

    /// Writes a record that may come at a time when the queue takes none. That of a stall waits.
    fn put_late(&self, words: [u64; 4]) {
        if words[1] & event::STALL == 0 || self.event_queue().has_room() {
            self.put_event(words);
        } else {
            self.stalls.keep_late(words);
        }
    }

    /// Writes what waited for room.
    pub(crate) fn put_waiting(&self) {
        while self.event_queue().has_room() {
            let Some(words) = self.stalls.take_late() else {
                return;
            };
            self.put_event(words);
        }
    }

    /// A record was written: those that it overtook are one step nearer.
    fn overtake(&self) {
        for words in self.stalls.overtake() {
            self.put_late(words);
        }
    }

    /// Writes `words` as if the SMMU had found a reason to; no verdict is asked for.
    pub(crate) fn inject_event(&self, words: [u64; 4]) {
        self.put_event(words);
    }

    fn put_event(&self, words: [u64; 4]) {
        let queue = self.event_queue();
        if !queue.is_open() {
            return self.drop_event(words);
        }
        if queue.is_full() {
            if queue.overflow() {
                bump(&self.counts.overflows);
            }
            return self.drop_event(words);
        }
        let Ok(was_empty) = queue.push(words) else {
            return self.drop_event(words);
        };
        bump(&self.counts.events_written[usize::from(words[0] as u8)]);
        self.note(&Note::EventWritten { words });
        if was_empty {
            queue.interrupt(StreamId(Record(words).sid()));
        }
        self.overtake();
    }

    fn drop_event(&self, words: [u64; 4]) {
        bump(&self.counts.events_dropped);
        self.note(&Note::EventDropped { words });
    }
}

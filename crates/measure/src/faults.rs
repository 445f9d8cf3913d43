//! IO page faults of a run, taken from its trace while it is written.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use stallbox_smmu::EventType;
use stallbox_smmu::spec::event;
use stallbox_smmu::spec::pri::Entry;

/// A transaction of the device that had to wait for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it had its answer.
    pub answered_ns: u64,
    /// From the request for the translation to the answer.
    pub latency_ns: u64,
    /// How often it stalled: above 1, a retry found the page missing again.
    pub stalls: u32,
    /// The same for page request groups, by a device that asks for pages itself.
    pub page_request_groups: u32,
    /// Whether it was a write.
    pub write: bool,
    /// Whether the answer was an abort.
    pub aborted: bool,
}

impl Fault {
    /// How often the kernel was asked.
    pub fn times(&self) -> u32 {
        self.stalls.saturating_add(self.page_request_groups)
    }
}

/// A record of a stall, or the last page request of a group, as the SMMU wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at_ns: u64,
    /// Which fault.
    pub kind: FaultKind,
}

/// All of a run, in order of time.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// As the device saw them.
    pub device: Vec<Fault>,
    /// As the SMMU reported them.
    pub records: Vec<Record>,
    /// When the device asked for a translation.
    pub translation_requests: Vec<u64>,
    /// When the kernel's invalidations were sent to the device.
    pub invalidations: Vec<u64>,
}

/// Which of the four faults of a translation it was, or that it was a page request, which does not
/// say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// F_TRANSLATION: the page was not there.
    Translation,
    /// F_ADDR_SIZE.
    AddressSize,
    /// F_ACCESS: its access flag was clear.
    Access,
    /// F_PERMISSION: it was there, but not for writing.
    Permission,
    /// A page request.
    PageRequest,
    /// Another.
    Other,
}

impl FaultKind {
    /// By the number of an event record (IHI 0070, *Event records*).
    fn of_event(id: u8) -> FaultKind {
        const TRANSLATION: u8 = EventType::Translation as u8;
        const ADDRESS_SIZE: u8 = EventType::AddressSize as u8;
        const ACCESS: u8 = EventType::Access as u8;
        const PERMISSION: u8 = EventType::Permission as u8;
        match id {
            TRANSLATION => FaultKind::Translation,
            ADDRESS_SIZE => FaultKind::AddressSize,
            ACCESS => FaultKind::Access,
            PERMISSION => FaultKind::Permission,
            _ => FaultKind::Other,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Translation => "translation",
            FaultKind::AddressSize => "address size",
            FaultKind::Access => "access flag",
            FaultKind::Permission => "permission",
            FaultKind::PageRequest => "page request",
            FaultKind::Other => "other",
        }
    }
}

/// Takes a trace's lines as `stallbox_trace::Tracer` writes them, one a call.
#[derive(Clone, Default)]
pub struct Sink(Rc<RefCell<Faults>>);

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    DeviceFault {
        time_ns: u64,
        write: bool,
        stalls: u32,
        #[serde(default)]
        page_request_groups: u32,
        latency_ns: u64,
        aborted: bool,
    },
    EventRecord {
        time_ns: u64,
        words: [String; 4],
    },
    PageRequest {
        time_ns: u64,
        words: [String; 2],
    },
    AtsTranslation {
        time_ns: u64,
    },
    AtcInvalidate {
        time_ns: u64,
        stage: String,
    },
    #[serde(other)]
    Other,
}

impl Sink {
    /// What has been collected.
    pub fn take(&self) -> Faults {
        self.0.take()
    }

    fn line(&self, line: &[u8]) -> io::Result<()> {
        // Walks and commands are by far the most: no need to understand them.
        if !is_wanted(line) {
            return Ok(());
        }
        let mut faults = self.0.borrow_mut();
        match serde_json::from_slice(line)? {
            Line::DeviceFault {
                time_ns,
                write,
                stalls,
                page_request_groups,
                latency_ns,
                aborted,
            } => faults.device.push(Fault {
                answered_ns: time_ns,
                latency_ns,
                stalls,
                page_request_groups,
                write,
                aborted,
            }),
            Line::EventRecord { time_ns, words } => {
                let record = event::Record(decode(&words)?);
                if record.stalls() {
                    faults.records.push(Record {
                        at_ns: time_ns,
                        kind: FaultKind::of_event(record.number()),
                    });
                }
            }
            Line::PageRequest { time_ns, words } => {
                let entry = Entry(decode(&words)?);
                // A stop marker is the last of nothing, and asks for nothing.
                if entry.last() && entry.asks() {
                    faults.records.push(Record {
                        at_ns: time_ns,
                        kind: FaultKind::PageRequest,
                    });
                }
            }
            Line::AtsTranslation { time_ns } => faults.translation_requests.push(time_ns),
            Line::AtcInvalidate { time_ns, stage } => {
                if stage == "sent" {
                    faults.invalidations.push(time_ns);
                }
            }
            Line::Other => {}
        }
        Ok(())
    }
}

/// The events that [`Line`] knows, with the quote that ends each.
const WANTED: [&str; 5] = [
    "device_fault\"",
    "event_record\"",
    "page_request\"",
    "ats_translation\"",
    "atc_invalidate\"",
];

/// Whether it is the line of one of them: its name comes right after the time.
fn is_wanted(line: &[u8]) -> bool {
    let key = b"\"event\":\"";
    let at = line.windows(key.len()).position(|at| at == key);
    at.is_some_and(|at| {
        let name = &line[at + key.len()..];
        WANTED
            .iter()
            .any(|wanted| name.starts_with(wanted.as_bytes()))
    })
}

fn decode<const N: usize>(texts: &[String; N]) -> io::Result<[u64; N]> {
    let mut words = [0; N];
    for (word, text) in words.iter_mut().zip(texts) {
        let digits = text.trim_start_matches("0x");
        *word = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
    }
    Ok(words)
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stallbox_timeline::{Time, Timeline};
    use stallbox_trace::{AtcInvalidateStage, AtsAnswer, Event, Hex, Tracer, Word};

    use super::*;

    #[test]
    fn faults_and_stall_records_are_picked_from_a_trace() {
        let timeline = Timeline::new();
        let sink = Sink::default();
        let tracer = Tracer::new(timeline.clone(), Some(Box::new(sink.clone())));
        timeline.advance_to(Time::from_ns(5000));
        // F_ACCESS with the Stall bit, and C_BAD_CD without it, as Linux decodes them.
        for words in [[0x12, 0x8000_0001, 0x1000, 0], [0x0a, 0, 0, 0]] {
            tracer.emit(Event::EventRecord {
                words: words.map(Word),
            });
        }
        tracer.emit(Event::Console {
            line: "\"event\":\"device_fault\"".into(),
        });
        tracer.emit(Event::DeviceFault {
            stream: 8,
            pasid: Some(1),
            address: Hex(0x1000),
            write: true,
            stalls: 2,
            page_request_groups: 0,
            latency_ns: 4000,
            aborted: false,
        });
        tracer.finish().unwrap();
        let faults = sink.take();
        assert_eq!(
            faults.records,
            [Record {
                at_ns: 5000,
                kind: FaultKind::Access,
            }]
        );
        assert_eq!(
            faults.device,
            [Fault {
                answered_ns: 5000,
                latency_ns: 4000,
                stalls: 2,
                page_request_groups: 0,
                write: true,
                aborted: false,
            }]
        );
    }

    #[test]
    fn page_requests_and_invalidations_are_picked_from_a_trace() {
        let timeline = Timeline::new();
        let sink = Sink::default();
        let tracer = Tracer::new(timeline.clone(), Some(Box::new(sink.clone())));
        timeline.advance_to(Time::from_ns(5000));
        // PRIQ_0_SSID_V and PRIQ_0_SID with: PRIQ_0_PERM_READ; the same and PRIQ_0_PRG_LAST;
        // PRIQ_0_PRG_LAST alone, a stop marker.
        for access in [1 << 60, 1 << 60 | 1 << 62, 1 << 62] {
            let words = [1 << 63 | 1 << 32 | 0x10 | access, 0x1007];
            tracer.emit(Event::PageRequest {
                words: words.map(Word),
            });
        }
        for stage in [AtcInvalidateStage::Sent, AtcInvalidateStage::Done] {
            tracer.emit(Event::AtcInvalidate {
                stream: 0x10,
                substream: Some(1),
                address: Hex(0x1000),
                size_log2: 12,
                global: false,
                stage,
            });
        }
        tracer.emit(Event::AtsTranslation {
            stream: 0x10,
            substream: Some(1),
            address: Hex(0x1000),
            write: false,
            answer: AtsAnswer::Success,
            readable: true,
            writable: false,
            size_log2: 12,
        });
        tracer.finish().unwrap();
        let faults = sink.take();
        assert_eq!(
            faults.records,
            [Record {
                at_ns: 5000,
                kind: FaultKind::PageRequest,
            }]
        );
        assert_eq!(faults.invalidations, [5000]);
        assert_eq!(faults.translation_requests, [5000]);
    }
}

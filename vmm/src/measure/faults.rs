//! IO page faults of a run, taken from its trace while it is written.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// Bit 31 of word 1 of an event record: Stall (IHI 0070, *Event records*).
const STALL: u64 = 1 << 31;

/// A transaction of the device that had to wait for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it had its answer.
    pub answered_ns: u64,
    /// From the request for the translation to the answer.
    pub latency_ns: u64,
    /// How often it stalled: above 1, a retry found the page missing again.
    pub stalls: u32,
    /// Whether it was a write.
    pub write: bool,
    /// Whether the answer was an abort.
    pub aborted: bool,
}

/// A record of a stall, as the SMMU wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
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
    pub stalls: Vec<Stall>,
}

/// Which of the four faults of a translation it was.
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
    /// Another.
    Other,
}

impl FaultKind {
    /// By the number of an event record (IHI 0070, *Event records*).
    fn of_event(id: u8) -> FaultKind {
        match id {
            0x10 => FaultKind::Translation,
            0x11 => FaultKind::AddressSize,
            0x12 => FaultKind::Access,
            0x13 => FaultKind::Permission,
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
            FaultKind::Other => "other",
        }
    }
}

/// Takes a trace's lines as [`stallbox_trace::Tracer`] writes them, one a call.
#[derive(Clone, Default)]
pub struct Sink(Rc<RefCell<Faults>>);

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    DeviceFault {
        time_ns: u64,
        write: bool,
        stalls: u32,
        latency_ns: u64,
        aborted: bool,
    },
    EventRecord {
        time_ns: u64,
        words: [String; 4],
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
        let wanted = [b"\"device_fault\"".as_slice(), b"\"event_record\""];
        if !wanted
            .iter()
            .any(|wanted| line.windows(wanted.len()).any(|at| at == *wanted))
        {
            return Ok(());
        }
        match serde_json::from_slice(line)? {
            Line::DeviceFault {
                time_ns,
                write,
                stalls,
                latency_ns,
                aborted,
            } => self.0.borrow_mut().device.push(Fault {
                answered_ns: time_ns,
                latency_ns,
                stalls,
                write,
                aborted,
            }),
            Line::EventRecord { time_ns, words } => {
                if word(&words[1])? & STALL != 0 {
                    self.0.borrow_mut().stalls.push(Stall {
                        at_ns: time_ns,
                        kind: FaultKind::of_event(word(&words[0])? as u8),
                    });
                }
            }
            Line::Other => {}
        }
        Ok(())
    }
}

fn word(text: &str) -> io::Result<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(io::Error::other)
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
    use stallbox_trace::{Event, Tracer};

    use super::*;

    #[test]
    fn faults_and_stall_records_are_picked_from_a_trace() {
        let timeline = Timeline::new();
        let sink = Sink::default();
        let tracer = Tracer::new(timeline.clone(), Some(Box::new(sink.clone())));
        timeline.advance_to(Time::from_ns(5000));
        // F_ACCESS with the Stall bit, and C_BAD_CD without it, as Linux decodes them.
        for words in [[0x12, 0x8000_0001, 0x1000, 0], [0x0a, 0, 0, 0]] {
            tracer.emit(Event::EventRecord { words });
        }
        tracer.emit(Event::Console {
            line: "\"event\":\"device_fault\"".into(),
        });
        tracer.emit(Event::DeviceFault {
            stream: 8,
            pasid: Some(1),
            address: 0x1000,
            write: true,
            stalls: 2,
            page_request_groups: 0,
            latency_ns: 4000,
            aborted: false,
        });
        tracer.finish().unwrap();
        let faults = sink.take();
        assert_eq!(
            faults.stalls,
            [Stall {
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
                write: true,
                aborted: false,
            }]
        );
    }
}

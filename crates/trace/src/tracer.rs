//! Where events go.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

use serde::Serialize;
use sha2::{Digest, Sha256};
use stallbox_smmu::{Response, spec};
use stallbox_timeline::Timeline;

use crate::latency::Quantiles;
use crate::{Event, Latencies, Record, VERSION};

/// Takes the events of one run. Clones share it.
#[derive(Clone)]
pub struct Tracer(Rc<Inner>);

struct Inner {
    timeline: Timeline,
    state: RefCell<State>,
}

struct State {
    hash: Sha256,
    line: Vec<u8>,
    observers: Vec<Observer>,
    file: Option<Box<dyn Write>>,
    failed: Option<std::io::Error>,
    counts: Counts,
    device_faults: Latencies,
}

/// Told of each event, once it is in the hash.
pub type Observer = Box<dyn FnMut(&Emitted<'_>)>;

/// An event that was just emitted.
pub struct Emitted<'a> {
    /// Events so far, with this one.
    pub events: u64,
    /// When it happened.
    pub time_ns: u64,
    /// Its line in the trace.
    pub line: &'a [u8],
    hash: &'a Sha256,
}

impl Emitted<'_> {
    /// The trace's hash up to this event.
    pub fn hash(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

#[derive(Default)]
struct Counts {
    events: u64,
    device_faults: u64,
    smmu_stall_records: u64,
    resumes_retry: u64,
    resumes_abort: u64,
    event_records_lost: u64,
    jobs: u64,
    job_errors: u64,
}

/// A run in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// SHA-256 of the trace.
    pub trace_hash: String,
    /// Events in the trace.
    pub events: u64,
    /// Stalls as the device saw them: each is one wait of a transaction for software.
    pub device_faults: u64,
    /// Records with the Stall bit that were written to the event queue.
    pub smmu_stall_records: u64,
    /// Resumes that asked for a retry.
    pub resumes_retry: u64,
    /// Resumes that asked for an abort.
    pub resumes_abort: u64,
    /// Event records lost.
    pub event_records_lost: u64,
    /// Jobs that accelerators finished.
    pub jobs: u64,
    /// Those with a status other than done or end of stream.
    pub job_errors: u64,
    /// How long transactions waited for software.
    pub device_fault_latency_ns: Quantiles,
}

/// The trace file could not be written, for this reason.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the trace file")]
pub struct TraceError(#[from] pub std::io::Error);

/// Statuses of a job that went well: done, and end of stream.
const GOOD: [u8; 2] = [0x00, 0x13];

impl Tracer {
    /// A tracer whose times are `timeline`'s; `file` gets a JSON object a line. The first says the version.
    pub fn new(timeline: Timeline, file: Option<Box<dyn Write>>) -> Tracer {
        let state = State {
            hash: Sha256::new(),
            line: Vec::new(),
            observers: Vec::new(),
            file,
            failed: None,
            counts: Counts::default(),
            device_faults: Latencies::default(),
        };
        let tracer = Tracer(Rc::new(Inner {
            timeline,
            state: RefCell::new(state),
        }));
        tracer.emit(Event::Trace { version: VERSION });
        tracer
    }

    /// Takes an event that happens now.
    pub fn emit(&self, event: Event) {
        let mut state = self.0.state.borrow_mut();
        let state = &mut *state;
        state.count(&event);
        let record = Record {
            time_ns: self.0.timeline.now().as_ns(),
            event,
        };
        state.line.clear();
        serde_json::to_writer(&mut state.line, &record).expect("events have no map with odd keys");
        state.line.push(b'\n');
        state.hash.update(&state.line);
        for observer in &mut state.observers {
            observer(&Emitted {
                events: state.counts.events,
                time_ns: record.time_ns,
                line: &state.line,
                hash: &state.hash,
            });
        }
        if let Some(file) = &mut state.file
            && let Err(error) = file.write_all(&state.line)
        {
            // Whoever runs the guest looks at it, and tells the error in the end.
            state.failed = Some(error);
            state.file = None;
        }
    }

    /// Has `observer` told of each event from now on.
    pub fn observe(&self, observer: Observer) {
        self.0.state.borrow_mut().observers.push(observer);
    }

    /// Whether the file could not be written.
    pub fn has_failed(&self) -> bool {
        self.0.state.borrow().failed.is_some()
    }

    /// The time that an event gets now.
    pub fn now(&self) -> stallbox_timeline::Time {
        self.0.timeline.now()
    }

    /// The numbers so far.
    pub fn summary(&self) -> Summary {
        let state = self.0.state.borrow();
        let digest = state.hash.clone().finalize();
        Summary {
            trace_hash: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            events: state.counts.events,
            device_faults: state.counts.device_faults,
            smmu_stall_records: state.counts.smmu_stall_records,
            resumes_retry: state.counts.resumes_retry,
            resumes_abort: state.counts.resumes_abort,
            event_records_lost: state.counts.event_records_lost,
            jobs: state.counts.jobs,
            job_errors: state.counts.job_errors,
            device_fault_latency_ns: state.device_faults.quantiles(),
        }
    }

    /// Writes out what is buffered. An earlier failure is told here.
    pub fn finish(&self) -> Result<(), TraceError> {
        let mut state = self.0.state.borrow_mut();
        if let Some(error) = state.failed.take() {
            return Err(error.into());
        }
        match &mut state.file {
            Some(file) => Ok(file.flush()?),
            None => Ok(()),
        }
    }
}

impl State {
    fn count(&mut self, event: &Event) {
        self.counts.events += 1;
        match event {
            Event::DeviceFault {
                stalls,
                page_request_groups,
                latency_ns,
                ..
            } => {
                self.counts.device_faults += u64::from(*stalls) + u64::from(*page_request_groups);
                self.device_faults.record(*latency_ns);
            }
            Event::EventRecord { words }
                if spec::event::Record(words.map(|word| word.0)).stalls() =>
            {
                self.counts.smmu_stall_records += 1;
            }
            Event::EventDropped { .. } => self.counts.event_records_lost += 1,
            Event::Resume { response, .. } => match response.0 {
                Response::Retry => self.counts.resumes_retry += 1,
                Response::Abort | Response::RazWi => self.counts.resumes_abort += 1,
            },
            Event::JobDone { status, .. } => {
                self.counts.jobs += 1;
                self.counts.job_errors += u64::from(!GOOD.contains(status));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, Word};
    use stallbox_timeline::Time;

    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_hash_is_that_of_the_file() {
        let text = Rc::new(RefCell::new(Vec::new()));
        let timeline = Timeline::new();
        let tracer = Tracer::new(timeline.clone(), Some(Box::new(Shared(text.clone()))));
        timeline.advance_to(Time::from_ns(1500));
        tracer.emit(Event::Resume {
            stream: 8,
            stag: 3,
            response: Name(Response::Retry),
            matched: true,
        });
        tracer.finish().unwrap();
        let lines = r#"{"time_ns":0,"event":"trace","version":1}
{"time_ns":1500,"event":"resume","stream":8,"stag":3,"response":"retry","matched":true}
"#;
        assert_eq!(String::from_utf8(text.borrow().clone()).unwrap(), lines);
        // printf '%s' "$lines" | sha256sum
        assert_eq!(
            tracer.summary().trace_hash,
            "1a20148360eed0c082a1a16fa5515cf0ff10212b5239a03b0cdf3366dc6e79cc"
        );
        assert_eq!(tracer.summary().resumes_retry, 1);
    }

    #[test]
    fn only_records_with_the_stall_bit_count_as_stalls() {
        let tracer = Tracer::new(Timeline::new(), None);
        // F_TRANSLATION with STALL as Linux decodes it (EVTQ_1_STALL is bit 31 of word 1).
        tracer.emit(Event::EventRecord {
            words: [0x10, 0x8000_0001, 0x1000, 0].map(Word),
        });
        tracer.emit(Event::EventRecord {
            words: [0x0a, 0, 0, 0].map(Word),
        });
        assert_eq!(tracer.summary().smmu_stall_records, 1);
    }
}

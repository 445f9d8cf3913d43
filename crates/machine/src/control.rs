//! ttyS1: what the guest's init and programs tell Stallbox, a line each.
//!
//! `ready`: init runs and is about to start the command. `exit N`: the command's exit status.
//! `result JSON`: a measurement, for the file of `--results`. `marker NAME`: a point that fault plans
//! and the trace know by name.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use stallbox_devices::serial::ConsoleOut;
use stallbox_timeline::YieldRequest;
use stallbox_trace::{Event, Tracer};

use crate::faults::Faults;
use crate::pause::Pause;

/// A line is cut here; results are long.
const LINE_BYTES_MAX: usize = 1 << 20;
/// As many results as one run may leave.
const RESULTS_MAX: usize = 4096;

/// As long as a marker's name may be; the rest is cut off.
const MARKER_CHARS_MAX: usize = 64;

/// The receiving end of the guest's control lines.
pub struct Control {
    tracer: Tracer,
    faults: Rc<Faults>,
    pause: Rc<Pause>,
    /// Has the engine look at whether it is paused, behind the guest's very next instructions.
    request: YieldRequest,
    line: RefCell<Vec<u8>>,
    ready_ns: Cell<Option<u64>>,
    exit: Cell<Option<u8>>,
    results: RefCell<Vec<String>>,
}

impl Control {
    pub(super) fn new(
        tracer: Tracer,
        faults: Rc<Faults>,
        pause: Rc<Pause>,
        request: YieldRequest,
    ) -> Rc<Control> {
        Rc::new(Control {
            tracer,
            faults,
            pause,
            request,
            line: RefCell::default(),
            ready_ns: Cell::default(),
            exit: Cell::default(),
            results: RefCell::default(),
        })
    }

    /// When init told that it is ready.
    pub fn ready_ns(&self) -> Option<u64> {
        self.ready_ns.get()
    }

    /// The command's exit status, once told.
    pub fn exit(&self) -> Option<u8> {
        self.exit.get()
    }

    /// The results told so far.
    pub fn results(&self) -> Vec<String> {
        self.results.borrow().clone()
    }

    /// How many results there are so far.
    pub fn result_count(&self) -> usize {
        self.results.borrow().len()
    }

    fn pause_at(&self, marker: &str) {
        if self.pause.marker(marker) {
            self.request.set();
        }
    }

    fn end_line(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line == "ready" {
            self.ready_ns.set(Some(self.tracer.now().as_ns()));
            self.tracer.emit(Event::Ready {});
            self.pause_at("ready");
        } else if let Some(status) = line.strip_prefix("exit ") {
            // A status is one byte; what else a guest may write is not a status.
            let status = status.parse().ok();
            self.exit.set(status);
            self.tracer.emit(Event::Exit { status });
        } else if let Some(result) = line.strip_prefix("result ") {
            let mut results = self.results.borrow_mut();
            if results.len() < RESULTS_MAX {
                results.push(result.to_owned());
            }
        } else if let Some(name) = line.strip_prefix("marker ") {
            let name: String = name.trim().chars().take(MARKER_CHARS_MAX).collect();
            self.tracer.emit(Event::Marker { name: name.clone() });
            self.faults.marker(&name);
            self.pause_at(&name);
        } else {
            log::debug!("ttyS1: {line}");
        }
    }
}

/// The end that the serial port writes to.
pub(super) struct Port(pub(super) Rc<Control>);

impl ConsoleOut for Port {
    fn write(&self, bytes: &[u8]) {
        for &byte in bytes {
            let mut line = self.0.line.borrow_mut();
            if byte == b'\n' {
                let whole = line.split_off(0);
                drop(line);
                self.0.end_line(&whole);
            } else if line.len() < LINE_BYTES_MAX {
                line.push(byte);
            }
        }
    }
}

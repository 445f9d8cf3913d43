//! ttyS0: the guest's console.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::io::Write;
use std::rc::Rc;

use stallbox_devices::serial::ConsoleOut;
use stallbox_trace::{Event, Tracer};

use crate::kernel_reports::{KernelReports, Kind};

/// Lines kept to show when the guest dies.
const LAST_LINES: usize = 40;
/// A line is cut here, so that a guest that never ends one does not fill the host's memory.
const LINE_BYTES_MAX: usize = 1024;

/// Passes the console on, traces its lines, keeps the last of them, and finds what the kernel reports.
pub struct Console(RefCell<State>);

struct State {
    out: Option<Box<dyn Write>>,
    /// `out` could not be written; whoever has it knows why.
    failed: bool,
    tracer: Tracer,
    line: Vec<u8>,
    last: VecDeque<String>,
    reports: KernelReports,
}

impl Console {
    pub(super) fn new(out: Option<Box<dyn Write>>, tracer: Tracer) -> Rc<Console> {
        Rc::new(Console(RefCell::new(State {
            out,
            failed: false,
            tracer,
            line: Vec::new(),
            last: VecDeque::new(),
            reports: KernelReports::default(),
        })))
    }

    /// Whether the kernel has said that it panicked.
    pub fn panicked(&self) -> bool {
        let state = self.0.borrow();
        let mut counts = state.reports.counts();
        counts.any(|(kind, _)| kind == Kind::Panic)
    }

    /// What the kernel has reported of its own faults.
    pub fn reports(&self) -> Ref<'_, KernelReports> {
        Ref::map(self.0.borrow(), |state| &state.reports)
    }

    /// Whether it could not be shown any more, which ends the run.
    pub fn has_failed(&self) -> bool {
        self.0.borrow().failed
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        let state = self.0.borrow();
        let unfinished = (!state.line.is_empty()).then(|| text(&state.line));
        state.last.iter().cloned().chain(unfinished).collect()
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end_matches('\r')
        .to_owned()
}

impl State {
    fn end_line(&mut self) {
        let line = text(&self.line);
        self.line.clear();
        self.tracer.emit(Event::Console { line: line.clone() });
        let now = self.tracer.now().as_ns();
        if let Some((kind, line)) = self.reports.line(&line, now) {
            self.tracer.emit(Event::KernelReport { kind, line });
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// The end that the serial port writes to.
pub(super) struct Port(pub(super) Rc<Console>);

impl ConsoleOut for Port {
    fn write(&self, bytes: &[u8]) {
        let mut state = self.0.0.borrow_mut();
        if let Some(out) = &mut state.out
            && out.write_all(bytes).and_then(|()| out.flush()).is_err()
        {
            state.failed = true;
            state.out = None;
        }
        for &byte in bytes {
            if byte == b'\n' || state.line.len() == LINE_BYTES_MAX {
                state.end_line();
            }
            if byte != b'\n' {
                state.line.push(byte);
            }
        }
    }
}

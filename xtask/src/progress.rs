//! Progress of long steps: bars on a terminal, plain lines elsewhere. Both on standard error.

use std::cell::RefCell;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use stallbox_guest_images::Progress;
use stallbox_output::tell;

/// Without a terminal, a step says no more often than this how far it is.
const INTERVAL: Duration = Duration::from_secs(15);

/// Shows what is going on, one step after the other.
pub(crate) struct Terminal {
    what: &'static str,
    state: RefCell<State>,
}

struct State {
    /// The present step on a terminal.
    bar: Option<ProgressBar>,
    name: String,
    total: Option<u64>,
    started: Instant,
    said: Instant,
    plain: bool,
}

impl Terminal {
    /// `what` comes before the name of each step.
    pub(crate) fn new(what: &'static str) -> Terminal {
        let now = Instant::now();
        Terminal {
            what,
            state: RefCell::new(State {
                bar: None,
                name: String::new(),
                total: None,
                started: now,
                said: now,
                plain: !stderr().is_terminal(),
            }),
        }
    }

    /// The last step is over.
    pub(crate) fn finish(&self) {
        let mut state = self.state.borrow_mut();
        if state.name.is_empty() {
            return;
        }
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        let seconds = state.started.elapsed().as_secs_f64();
        tell!("{}: {} ({seconds:.1} s)", self.what, state.name);
        state.name.clear();
    }
}

impl Progress for Terminal {
    fn step(&self, name: &str, total: Option<u64>) {
        self.finish();
        let mut state = self.state.borrow_mut();
        state.name = name.to_owned();
        state.total = total;
        state.started = Instant::now();
        state.said = state.started;
        if state.plain {
            tell!("{}: {name} ...", self.what);
        } else {
            state.bar = Some(bar(format!("{}: {name}", self.what), total));
        }
    }

    fn advance(&self, done: u64) {
        let mut state = self.state.borrow_mut();
        if let Some(bar) = &state.bar {
            bar.set_position(done);
        }
        if let Some(total) = state.total.filter(|total| state.plain && *total > 0)
            && state.said.elapsed() >= INTERVAL
        {
            state.said = Instant::now();
            tell!(
                "{}: {} {} %",
                self.what,
                state.name,
                (done * 100 / total).min(100)
            );
        }
    }

    fn say(&self, line: &str) {
        let state = self.state.borrow();
        match &state.bar {
            Some(bar) => bar.suspend(|| tell!("{}: {line}", self.what)),
            None => tell!("{}: {line}", self.what),
        }
    }
}

fn bar(message: String, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            // 80 columns with the longest name of a step that has a total.
            "{spinner} {msg} [{bar:20}] {percent:>3} %, {eta} to go",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {msg}, {elapsed} so far",
        ),
    };
    let style = ProgressStyle::with_template(template).expect("constant templates are well-formed");
    let bar = bar
        .with_style(style.progress_chars("=> "))
        .with_message(message);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

impl Drop for Terminal {
    /// A step that failed must not leave its bar where the error goes.
    fn drop(&mut self) {
        if let Some(bar) = self.state.borrow_mut().bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_bars_can_be_drawn() {
        for total in [None, Some(10)] {
            let bar = bar("guest image: build".to_owned(), total);
            bar.set_position(5);
            bar.finish_and_clear();
        }
    }

    #[test]
    fn steps_follow_each_other_with_and_without_a_terminal() {
        for plain in [true, false] {
            let progress = Terminal::new("test");
            progress.state.borrow_mut().plain = plain;
            progress.step("one", None);
            progress.step("two", Some(0));
            progress.advance(3);
            progress.say("a word");
            progress.finish();
            assert!(progress.state.borrow().bar.is_none());
        }
    }
}

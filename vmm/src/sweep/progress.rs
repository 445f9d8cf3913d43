//! How far a sweep is, on standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use stallbox_output::tell;
use stallbox_sweep::Progress;

/// How often to tell, where a line cannot be written anew.
const INTERVAL: Duration = Duration::from_secs(30);

/// A line at a terminal; elsewhere a line from time to time.
pub(super) struct Bar {
    quiet: bool,
    bar: Option<ProgressBar>,
    began: Instant,
    told: Instant,
    total: u64,
}

impl Bar {
    pub(super) fn new(quiet: bool) -> Bar {
        let bar = (!quiet && stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{msg}");
            ProgressBar::new_spinner().with_style(style.expect("the template is well-formed"))
        });
        Bar {
            quiet,
            bar,
            began: Instant::now(),
            told: Instant::now(),
            total: 0,
        }
    }

    /// The guest is on its way to where runs begin.
    pub(super) fn boots(&self) {
        self.show("the guest boots");
    }

    /// The runs begin.
    pub(super) fn begin(&mut self, total: u64) {
        self.total = total;
        self.began = Instant::now();
        self.told = self.began;
    }

    /// So many have ended.
    pub(super) fn is_at(&mut self, done: usize, failures: u64, signatures: usize) {
        let progress = Progress {
            done: done as u64,
            total: self.total,
            failures,
            signatures: signatures as u64,
            elapsed: self.began.elapsed(),
        };
        if self.bar.is_some() {
            self.show(&progress.to_string());
        } else if !self.quiet && self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            tell!("stallbox: {progress}");
        }
    }

    fn show(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
            bar.tick();
        }
    }

    /// Tells something that stays.
    pub(super) fn tell(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| tell!("{text}")),
            None => tell!("{text}"),
        }
    }

    /// Nothing more is to be shown.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

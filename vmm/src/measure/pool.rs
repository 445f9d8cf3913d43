//! The guests of a measurement, some at the same time, each on one of a few threads.
//!
//! Threads are started, and confined, before the first guest: a confined process starts none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use indicatif::ProgressBar;
use stallbox_measure::{Guests, Ran, Script};

use super::guest::{self, Plan};
use crate::confine::{self, Role};
use crate::engine::ticker;

/// How often the progress bar's clock moves.
const TICK: Duration = Duration::from_millis(200);

/// What a thread tells.
enum News {
    /// It is confined, as far as it is to be.
    Ready(Result<()>),
    /// A guest has reported a cell.
    Cell,
    /// The guest with this number has ended.
    Ended(usize, Result<Ran>),
}

/// Threads that wait for guests to run. They end when it is dropped.
pub(super) struct Pool<'a> {
    guests: Sender<(usize, Arc<Script>)>,
    news: Receiver<News>,
    progress: &'a ProgressBar,
}

impl<'a> Pool<'a> {
    /// Starts as many threads, and waits until they are confined, if the process is. Then the calling
    /// thread may confine itself.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        threads: usize,
        plan: &'scope Plan,
        told_to_end: &'scope AtomicBool,
        progress: &'a ProgressBar,
    ) -> Result<Pool<'a>> {
        let (guests, waiting) = channel();
        let (tell, news) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        // Threads that are confined cannot start it.
        ticker::start()?;
        for _ in 0..threads {
            let (waiting, tell) = (waiting.clone(), tell.clone());
            thread::Builder::new()
                .spawn_scoped(scope, move || work(plan, &waiting, &tell, told_to_end))
                .context("cannot start a thread (--jobs)")?;
        }
        let pool = Pool {
            guests,
            news,
            progress,
        };
        for _ in 0..threads {
            if let News::Ready(ready) = pool.news.recv().context("a thread ended")? {
                ready?;
            }
        }
        Ok(pool)
    }
}

impl Guests for Pool<'_> {
    fn run(&self, scripts: &[Arc<Script>]) -> Vec<Result<Ran>> {
        for guest in scripts.iter().cloned().enumerate() {
            // Nobody takes it if all threads are gone, and then nobody ends it either.
            let _ = self.guests.send(guest);
        }
        let mut outcomes: Vec<Option<Result<Ran>>> = scripts.iter().map(|_| None).collect();
        while outcomes.iter().any(Option::is_none) {
            match self.news.recv_timeout(TICK) {
                Ok(News::Ready(_)) => {}
                Ok(News::Cell) => self.progress.inc(1),
                Ok(News::Ended(guest, outcome)) => outcomes[guest] = Some(outcome),
                Err(RecvTimeoutError::Timeout) => self.progress.tick(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err(anyhow!("its thread ended"))))
            .collect()
    }

    fn skip(&self, cells: usize) {
        self.progress.inc(cells as u64);
    }
}

/// A thread: confines itself, and runs guests until there are none to come.
fn work(
    plan: &Plan,
    waiting: &Mutex<Receiver<(usize, Arc<Script>)>>,
    tell: &Sender<News>,
    told_to_end: &AtomicBool,
) {
    // Nobody listens if the measurement has failed; then there is nothing to do either.
    let tell = |news| tell.send(news).is_ok();
    if !tell(News::Ready(confine::thread(Role::Guest))) {
        return;
    }
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok((number, script)) = next else { return };
        let outcome = if told_to_end.load(Ordering::Relaxed) {
            Ok(Ran::not_started())
        } else {
            let run = || {
                guest::run(plan, &script, told_to_end, &|| {
                    tell(News::Cell);
                })
            };
            // A defect of ours costs this guest's cells and not the others'.
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(anyhow!("it panicked")))
        };
        if !tell(News::Ended(number, outcome)) {
            return;
        }
    }
}

//! The host's clock, from outside the world: what makes sure that the host gets a look in, whatever the
//! guest does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use stallbox_timeline::YieldRequest;

use crate::confine;

/// How often runs give way. Time limit, signals, keys and the control socket wait no longer than this
/// and one piece of work, so it is well below the 100 ms that they are promised.
const INTERVAL: Duration = Duration::from_millis(10);

/// One thread for all runs of the process: a confined thread cannot start another.
static RUNS: Mutex<Runs> = Mutex::new(Runs {
    ticks: false,
    next: 0,
    requests: BTreeMap::new(),
});

struct Runs {
    /// The thread is there.
    ticks: bool,
    next: u64,
    requests: BTreeMap<u64, YieldRequest>,
}

fn runs() -> MutexGuard<'static, Runs> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that asks runs to give way from time to time, unless it is there. To be called
/// before the calling thread is confined.
pub(crate) fn start() -> Result<()> {
    let mut runs = self::runs();
    if !runs.ticks {
        thread::Builder::new()
            .name("ticker".to_owned())
            .spawn(tick)
            .context("cannot start the thread that keeps the host's time")?;
        runs.ticks = true;
    }
    Ok(())
}

/// Calls `fork`, while the thread holds no lock that would be locked for ever in the copy.
pub(crate) fn hold<T>(fork: impl FnOnce() -> T) -> T {
    let _runs = runs();
    fork()
}

/// Starts the thread anew, in a process that was forked without it.
pub(crate) fn restart() -> Result<()> {
    runs().ticks = false;
    start()
}

fn tick() {
    // What fails here fails for the thread that owns the world, too, which says so.
    if confine::thread(confine::Role::Ticker).is_err() {
        return;
    }
    loop {
        thread::sleep(INTERVAL);
        runs().requests.values().for_each(YieldRequest::set);
    }
}

/// Has a run asked to give way until this is dropped.
pub(super) struct Ticker(u64);

impl Ticker {
    pub(super) fn start(request: &YieldRequest) -> Result<Ticker> {
        start()?;
        let mut runs = runs();
        let id = runs.next;
        runs.next += 1;
        runs.requests.insert(id, request.clone());
        Ok(Ticker(id))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        runs().requests.remove(&self.0);
    }
}

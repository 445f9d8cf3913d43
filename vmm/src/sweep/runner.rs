//! Many runs from one place: as many at a time as there are CPUs, their ends in order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::fork_server::{Birth, Done, ForkServer, Message, Order, Report, Spec};

/// How often to look at what else there is to do.
const INTERVAL: Duration = Duration::from_millis(50);
/// A fork server that ends so often, with no run done in between, is not started again.
const STARTS_MAX: u32 = 3;

/// Runs, begun one after the other.
pub(crate) struct Runner {
    spec: Spec,
    server: Option<ForkServer>,
    /// The machine's time where runs begin, and what it was made of.
    begins: Option<(u64, BTreeMap<String, String>)>,
    /// How the run ended, if it never came there.
    missed: Option<Box<Report>>,
    /// Begun, and not done.
    running: BTreeMap<u64, Vec<String>>,
    /// Done, but not handed out yet.
    done: BTreeMap<u64, Done>,
    /// Starts without a run done.
    starts: u32,
}

impl Runner {
    /// A runner; its fork server boots meanwhile.
    pub(crate) fn new(spec: Spec) -> Result<Runner> {
        let mut runner = Runner {
            spec,
            server: None,
            begins: None,
            missed: None,
            running: BTreeMap::new(),
            done: BTreeMap::new(),
            starts: 0,
        };
        runner.start()?;
        Ok(runner)
    }

    fn start(&mut self) -> Result<()> {
        self.starts += 1;
        self.server = Some(ForkServer::start(&self.spec)?);
        Ok(())
    }

    /// The machine's time where runs begin, once it is there, and SHA-256 of what it was made of.
    pub(crate) fn begins(&self) -> Option<&(u64, BTreeMap<String, String>)> {
        self.begins.as_ref()
    }

    /// How many have begun and are not done.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Begins a run, which does these requests first. Those are numbered in ascending order.
    pub(crate) fn begin(&mut self, number: u64, requests: Vec<String>) -> Result<()> {
        self.running.insert(number, requests.clone());
        self.tell(number, requests)
    }

    fn tell(&mut self, id: u64, requests: Vec<String>) -> Result<()> {
        let server = self.server.as_ref().context("there is no fork server")?;
        // One that has gone is noticed when it is listened to.
        let _ = server.tell(&Order::Run(Birth {
            id,
            requests,
            until_ns: None,
        }));
        Ok(())
    }

    /// Waits a moment, and takes what has ended meanwhile. A run that does not come to where others begin is an
    /// error.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.listen(INTERVAL)?;
        if let Some(report) = self.missed.take() {
            bail!(
                "the guest did not come to where the runs begin (--from): {}{}",
                report
                    .message
                    .unwrap_or_else(|| "its command ended before".to_owned()),
                last_lines(&report.console)
            );
        }
        Ok(())
    }

    /// How the run ended, if it did not come to where others begin.
    pub(crate) fn missed(&mut self) -> Option<Box<Report>> {
        self.missed.take()
    }

    /// Waits for `limit` at most, and takes what has ended meanwhile.
    pub(crate) fn listen(&mut self, limit: Duration) -> Result<()> {
        let server = self.server.as_ref().context("there is no fork server")?;
        match server.next(limit) {
            Ok(None) => Ok(()),
            Ok(Some(Message::Ready { time_ns, inputs })) => {
                self.begins = Some((time_ns, inputs));
                Ok(())
            }
            Ok(Some(Message::Failed(why))) => bail!(why),
            Ok(Some(Message::Missed(report))) => {
                self.missed = Some(report);
                Ok(())
            }
            Ok(Some(Message::Done { id, done })) => {
                self.starts = 0;
                self.running.remove(&id);
                self.done.insert(id, done);
                Ok(())
            }
            Err(error) => self.restart(error),
        }
    }

    /// The fork server has gone, and its children with it: the runs that were under way begin again.
    fn restart(&mut self, error: anyhow::Error) -> Result<()> {
        if self.starts >= STARTS_MAX {
            return Err(error);
        }
        self.server = None;
        self.start()?;
        for (number, requests) in self.running.clone() {
            self.tell(number, requests)?;
        }
        Ok(())
    }

    /// Runs that are under way are not waited for any more.
    pub(crate) fn forget(&mut self) {
        self.server = None;
        self.running.clear();
    }

    /// The next run in order that is done: all with lower numbers were handed out.
    pub(crate) fn take(&mut self) -> Option<(u64, Done)> {
        let (&first, _) = self.done.first_key_value()?;
        let is_next = self
            .running
            .first_key_value()
            .is_none_or(|(&it, _)| it > first);
        is_next.then(|| self.done.pop_first()).flatten()
    }
}

fn last_lines(console: &[String]) -> String {
    let mut text = String::new();
    for line in console {
        text.push_str("\n  ");
        text.push_str(line);
    }
    if text.is_empty() {
        return text;
    }
    format!("; the console's last lines:{text}")
}

//! The run that fails, on its way: it stands still, and others go on from there.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use stallbox_sweep::{Run, Signature};

use crate::control;
use crate::fork_server::{Birth, Done, ForkServer, Message, Order, Spec};
use crate::sweep::judge::judge;

/// How often to ask whether anybody still wants to know.
const INTERVAL: Duration = Duration::from_millis(50);

/// Nobody wants to know any more.
#[derive(Debug)]
pub(super) struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it was ended")
    }
}

impl std::error::Error for Gone {}

/// A run on its way.
pub(super) struct Walk<'a> {
    server: ForkServer,
    is_over: &'a dyn Fn() -> bool,
    /// Where it stands still.
    pub at_ns: u64,
}

impl<'a> Walk<'a> {
    /// Where the run began, with what it was told there done.
    pub(super) fn begin(
        spec: &Spec,
        requests: &[String],
        is_over: &'a dyn Fn() -> bool,
    ) -> Result<Walk<'a>> {
        let mut walk = Walk {
            server: ForkServer::start(spec)?,
            is_over,
            at_ns: 0,
        };
        walk.arrive()?;
        walk.tell(&Order::Do {
            requests: requests.to_vec(),
        })?;
        Ok(walk)
    }

    fn tell(&self, order: &Order) -> Result<()> {
        self.server.tell(order).context("the fork server has gone")
    }

    fn next(&self) -> Result<Message> {
        loop {
            if (self.is_over)() {
                return Err(Gone.into());
            }
            if let Some(message) = self.server.next(INTERVAL)? {
                return Ok(message);
            }
        }
    }

    fn arrive(&mut self) -> Result<()> {
        match self.next()? {
            Message::Ready { time_ns, .. } => {
                self.at_ns = time_ns;
                Ok(())
            }
            Message::Failed(why) => Err(anyhow!(why)),
            Message::Missed(report) => bail!(
                "the run ended before: {}",
                report.message.unwrap_or(report.outcome)
            ),
            Message::Done { .. } => bail!("the fork server told of a run that nobody began"),
        }
    }

    /// Goes on to a point of the guest's time.
    pub(super) fn advance(&mut self, to_ns: u64) -> Result<()> {
        if to_ns > self.at_ns {
            self.tell(&Order::Advance { to_ns })?;
            self.arrive()?;
        }
        // All vCPUs are there, or behind it by an instruction.
        self.at_ns = to_ns;
        Ok(())
    }

    fn done(&self) -> Result<(u64, Done)> {
        match self.next()? {
            Message::Done { id, done } => Ok((id, done)),
            Message::Failed(why) => Err(anyhow!(why)),
            _ => bail!("the fork server advanced by itself"),
        }
    }

    /// How this very run goes on: to its end, or up to a point, and then with its trace.
    pub(super) fn go_on(&mut self, until_ns: Option<u64>) -> Result<(Run, Done)> {
        self.tell(&Order::Run(Birth {
            id: 0,
            requests: Vec::new(),
            until_ns,
        }))?;
        let (id, done) = self.done()?;
        Ok((judge(id, &done), done))
    }

    /// How many of so many runs with draws of their own fail in this way: those of seeds from `first` on.
    pub(super) fn others(
        &mut self,
        first: u64,
        runs: u64,
        jobs: usize,
        signature: &Signature,
    ) -> Result<u64> {
        let mut begun = 0;
        let mut ended = 0;
        let mut same = 0;
        while ended < runs {
            while begun < runs && begun - ended < jobs as u64 {
                let seed = first + begun;
                begun += 1;
                self.tell(&Order::Run(Birth {
                    id: begun,
                    requests: vec![control::seed(seed)],
                    until_ns: None,
                }))?;
            }
            let (id, done) = self.done()?;
            ended += 1;
            same += u64::from(judge(id, &done).signature.as_ref() == Some(signature));
        }
        Ok(same)
    }
}

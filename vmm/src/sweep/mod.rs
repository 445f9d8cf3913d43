//! `stallbox sweep`: many runs from one place, each with draws of its own, or with a rule at another place.

mod files;
pub(crate) mod judge;
mod merge;
mod progress;
pub(crate) mod runner;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use stallbox_machine::outcome::Outcome;
use stallbox_output::{print, tell};
use stallbox_sweep::{Begin, Header, Run, Seeds, Shard, Sweep, Varied};

use crate::cli::{RunsArgs, SweepAction, SweepArgs};
use crate::fork_server::{Bundles, Done, Spec};
use crate::{control, run, signals};
use files::Files;
use progress::Bar;
use runner::Runner;

/// Exit status if a run has failed.
const FAILED: u8 = 1;

/// Sweeps, and gives Stallbox's exit status.
pub fn sweep(args: &SweepArgs) -> Result<u8> {
    if let Some(SweepAction::Merge(args)) = &args.action {
        return merge::merge(args);
    }
    let runs = &args.runs;
    let seeds = runs.seeds.as_deref().map(str::parse::<Seeds>);
    let seeds = seeds.transpose().context("--seeds")?;
    let shard = runs.shard.as_deref().map(str::parse::<Shard>);
    let shard = shard.transpose().context("--shard")?;
    let told_to_end = signals::flag()?;
    let mut files = Files::open(&runs.files)?;
    let runner = Runner::new(Spec {
        from: runs.from.clone(),
        boot_limit: Some(runs.boot_timeout),
        run_limit: runs.timeout,
        memory_limit: runs.memory_limit,
        bundles: match runs.files.out {
            Some(_) => Bundles::OfFailures,
            None => Bundles::None,
        },
        rule: runs.place.clone(),
        unconfined: runs.unconfined,
        ..Spec::new(args.machine.clone(), run::arguments()?)
    })?;
    files.begin()?;
    let mut course = Course {
        args: runs,
        runner,
        told_to_end,
        bar: Bar::new(runs.quiet),
    };
    let Some((time_ns, inputs)) = course.boot()? else {
        return Ok(Outcome::NO_STATUS);
    };
    let varied = match (&runs.place, seeds) {
        (Some(rule), _) => match course.count_places(rule)? {
            Some(count) => Varied::Places {
                rule: rule.clone(),
                count,
            },
            None => return Ok(Outcome::NO_STATUS),
        },
        (None, seeds) => Varied::Seeds(seeds.context("--seeds is missing")?),
    };
    let begin = Begin {
        at: runs.from.to_string(),
        time_ns,
    };
    let mut header = Header::new(env!("CARGO_PKG_VERSION"), begin, varied);
    header.arguments = files::arguments(&run::arguments()?);
    header.inputs = inputs;
    header.until_failures = runs.until_failures;
    header.shard = shard;
    files.header(&header);
    let results = course.go(&header, &mut files)?;
    course.bar.finish();
    let sweep = Sweep::new(header, results);
    files.junit(&sweep);
    print(files.with_paths(&sweep).summary())?;
    files.finish()?;
    Ok(status(&sweep))
}

/// Stallbox's exit status for a sweep.
fn status(sweep: &Sweep) -> u8 {
    match sweep.runs.iter().all(Run::passed) {
        _ if !sweep.missing().is_empty() => Outcome::NO_STATUS,
        true => 0,
        false => FAILED,
    }
}

/// A sweep under way.
struct Course<'a> {
    args: &'a RunsArgs,
    runner: Runner,
    told_to_end: Arc<AtomicBool>,
    bar: Bar,
}

impl Course<'_> {
    fn is_over(&self) -> bool {
        self.told_to_end.load(Ordering::Relaxed)
    }

    /// Waits until the guest is where runs begin; none if somebody ends it before.
    fn boot(&mut self) -> Result<Option<(u64, std::collections::BTreeMap<String, String>)>> {
        self.bar.boots();
        while !self.is_over() {
            if let Some(begins) = self.runner.begins() {
                return Ok(Some(begins.clone()));
            }
            self.runner.wait()?;
        }
        Ok(None)
    }

    /// Runs with a rule that takes nothing: how often it could have.
    fn count_places(&mut self, rule: &str) -> Result<Option<u64>> {
        self.runner.begin(0, vec![control::only(rule, 0)])?;
        while !self.is_over() {
            self.runner.wait()?;
            let Some((_, done)) = self.runner.take() else {
                continue;
            };
            let run = judge::judge(0, &done);
            if let Some(signature) = run.signature {
                tell!(
                    "stallbox: the run fails without what rule \"{rule}\" does, too: {}",
                    signature.title()
                );
            }
            let report = done.report.context("the run without the rule was lost")?;
            let counts = report.matched.iter().filter(|(name, _)| name == rule);
            return Ok(Some(counts.map(|(_, count)| count).sum()));
        }
        Ok(None)
    }

    /// Runs all of them, and gives their results in order.
    fn go(&mut self, header: &Header, files: &mut Files) -> Result<Vec<Run>> {
        let numbers = header.numbers();
        let jobs = self.args.jobs.count();
        let mut left = numbers.iter().peekable();
        let mut results: Vec<Run> = Vec::new();
        let mut signatures = BTreeSet::new();
        let mut failures = 0;
        self.bar.begin(numbers.len());
        while (left.peek().is_some() || self.runner.running() > 0) && !self.is_over() {
            while self.runner.running() < jobs
                && let Some(number) = left.next()
            {
                let request = request(&header.varied, number);
                self.runner.begin(number, vec![request])?;
            }
            self.runner.wait()?;
            while let Some((number, done)) = self.runner.take() {
                let mut run = judge::judge(number, &done);
                if let Some(id) = run.signature.as_ref().map(|it| it.id().to_owned()) {
                    failures += 1;
                    if signatures.insert(id.clone()) {
                        run.bundle = files.bundle(&id, number, &done);
                        self.bar.tell(&told(header, &run, &done));
                    }
                }
                files.run(&run);
                results.push(run);
                self.bar.is_at(results.len(), failures, signatures.len());
                if self.args.until_failures.is_some_and(|max| failures >= max) {
                    return Ok(results);
                }
            }
        }
        Ok(results)
    }
}

/// A failure of a kind that there was not before.
fn told(header: &Header, run: &Run, done: &Done) -> String {
    let name = header.varied.name(run.number);
    let title = run.signature.as_ref().map(|it| it.title().to_owned());
    let mut text = format!("{name}: {}: {}", run.verdict, title.unwrap_or_default());
    if let Some(bundle) = &run.bundle {
        text.push_str(&format!(" ({bundle})"));
    }
    if done.report.is_none() {
        for line in done.remarks.lines() {
            text.push_str("\n  ");
            text.push_str(line);
        }
    }
    text
}

/// The request of the control socket that sets a run apart.
fn request(varied: &Varied, number: u64) -> String {
    match varied {
        Varied::Seeds(_) => control::seed(number),
        Varied::Places { rule, .. } => control::only(rule, number),
    }
}

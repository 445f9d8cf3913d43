//! The runs of scenarios: several machines at a time, and several runs of each.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use stallbox_suite::{Case, Group, Observed, Verdict};
use stallbox_sweep::CONSOLE_LINES;

use crate::cli::{MachineArgs, ResultsArgs};
use crate::control;
use crate::fork_server::{Bundles, Done, Found, Report, Spec};
use crate::output::OutputFolder;
use crate::sweep::judge::judge;
use crate::sweep::runner::Runner;

/// How often to look at what else there is to do.
const INTERVAL: Duration = Duration::from_millis(50);
/// A run may take so long, and a guest to where its runs begin, in the host's time.
const LIMIT: Duration = Duration::from_secs(600);

/// A group with all that it takes to run it.
pub(super) struct Planned {
    /// The scenario's file.
    pub scenario: String,
    /// What of it.
    pub group: Group,
    /// As long as a run may take.
    pub timeout: Option<Duration>,
    /// The machine, a fault plan that is in no file, and the command line for bundles; or why there is none.
    pub made: Result<(MachineArgs, Option<String>, Vec<String>), String>,
}

impl Planned {
    /// Numbers of its runs, with their seeds.
    fn runs(&self) -> VecDeque<(u64, Option<u64>)> {
        match &self.group.seeds {
            None => VecDeque::from([(0, None)]),
            Some(seeds) => seeds.iter().map(|seed| (seed, Some(seed))).collect(),
        }
    }

    fn case(&self, seed: Option<u64>, verdict: Verdict, misses: Vec<String>) -> Case {
        Case {
            scenario: self.scenario.clone(),
            name: self.group.run_name(seed),
            kernel: self.group.kernel.name.clone(),
            seed,
            verdict,
            misses,
            outcome: None,
            status: None,
            time_ns: 0,
            trace_hash: None,
            console: Vec::new(),
            bundle: None,
        }
    }

    /// What a run's end means.
    fn judge(&self, seed: Option<u64>, report: &Report) -> Case {
        let misses = self.group.expect.misses(&observed(report));
        let passed = misses.is_empty();
        let verdict = if passed {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        let last = report.console.len().saturating_sub(CONSOLE_LINES);
        let last = if passed { &[] } else { &report.console[last..] };
        Case {
            outcome: Some(report.outcome.clone()),
            status: Some(report.status),
            time_ns: report.time_ns,
            trace_hash: Some(report.trace_hash.clone()),
            console: last.to_vec(),
            ..self.case(seed, verdict, misses)
        }
    }
}

fn observed(report: &Report) -> Observed {
    let first_line = |found: &Found| {
        let title = match found.title.is_empty() {
            true => found.lines.first().cloned().unwrap_or_default(),
            false => found.title.clone(),
        };
        (found.kind.clone(), title)
    };
    Observed {
        outcome: report.outcome.clone(),
        status: report.status,
        message: report.message.clone(),
        console: report.transcript.text.clone(),
        console_cut: report.transcript.is_cut,
        reports: report.kernel_reports.iter().map(first_line).collect(),
        check_reports: report.check_reports.iter().map(first_line).collect(),
        summary: report.counts.clone(),
        matches: report.matched.clone(),
        results: report.results.clone(),
    }
}

/// A group under way.
struct Active {
    /// Its number.
    index: usize,
    runner: Runner,
    /// Runs that have not begun.
    left: VecDeque<(u64, Option<u64>)>,
}

impl Active {
    /// As many processes want a CPU.
    fn busy(&self) -> usize {
        self.runner.running().max(1)
    }

    fn is_done(&self) -> bool {
        self.left.is_empty() && self.runner.running() == 0
    }
}

/// All runs.
pub(super) struct Course<'a> {
    args: &'a ResultsArgs,
    told_to_end: Arc<AtomicBool>,
    /// Bundles.
    out: OutputFolder,
}

/// What to do with a result; results come in the order of the scenarios.
type Tell<'a> = &'a mut dyn FnMut(&Case) -> Result<()>;

impl Course<'_> {
    pub(super) fn open(args: &ResultsArgs, told_to_end: Arc<AtomicBool>) -> Result<Course<'_>> {
        Ok(Course {
            args,
            told_to_end,
            out: OutputFolder::open(args.out.as_ref())?,
        })
    }

    /// Whether somebody has ended it.
    pub(super) fn is_over(&self) -> bool {
        self.told_to_end.load(Ordering::Relaxed)
    }

    /// What could not be written is an error.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }

    /// Runs all of them, and gives their results.
    pub(super) fn go(&mut self, planned: Vec<Planned>, tell: Tell<'_>) -> Result<Vec<Case>> {
        let jobs = self.args.jobs.count();
        let mut results: Vec<Vec<Case>> = planned.iter().map(|_| Vec::new()).collect();
        let mut is_done = vec![false; planned.len()];
        let mut waiting: VecDeque<usize> = (0..planned.len()).collect();
        let mut active: Vec<Active> = Vec::new();
        let mut told = (0, 0);
        while (!waiting.is_empty() || !active.is_empty()) && !self.is_over() {
            let mut busy: usize = active.iter().map(Active::busy).sum();
            // Runs of a machine that is there come before others.
            for it in active.iter_mut().filter(|it| it.runner.begins().is_some()) {
                while !it.left.is_empty() && (busy < jobs || it.runner.running() == 0) {
                    let before = it.busy();
                    let (number, seed) = it.left.pop_front().context("there is one")?;
                    let seed = seed.map(control::seed);
                    it.runner.begin(number, Vec::from_iter(seed))?;
                    busy += it.busy() - before;
                }
            }
            while busy < jobs
                && let Some(index) = waiting.pop_front()
            {
                match self.start(&planned[index], index) {
                    Ok(it) => {
                        active.push(it);
                        busy += 1;
                    }
                    Err(why) => {
                        let runs = planned[index].runs();
                        results[index] = errors(&planned[index], runs, &why);
                        is_done[index] = true;
                    }
                }
            }
            let limit = INTERVAL / u32::try_from(active.len().max(1))?;
            for it in &mut active {
                let index = it.index;
                self.listen(it, &planned[index], limit, &mut results[index]);
                is_done[index] = it.is_done();
            }
            active.retain(|it| !it.is_done());
            advance(&mut told, &results, &is_done, tell)?;
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn start(&self, planned: &Planned, index: usize) -> Result<Active, String> {
        let (machine, plan, arguments) = planned.made.clone()?;
        let limit = planned.timeout.unwrap_or(LIMIT);
        let runner = Runner::new(Spec {
            plan,
            transcript: true,
            from: planned.group.from.clone(),
            boot_limit: Some(limit),
            run_limit: Some(limit),
            bundles: match self.args.out {
                Some(_) => Bundles::All,
                None => Bundles::None,
            },
            unconfined: self.args.unconfined,
            ..Spec::new(machine, arguments)
        });
        Ok(Active {
            index,
            runner: runner.map_err(|error| format!("{error:#}"))?,
            left: planned.runs(),
        })
    }

    /// Takes what a group has done meanwhile.
    fn listen(
        &mut self,
        it: &mut Active,
        planned: &Planned,
        limit: Duration,
        results: &mut Vec<Case>,
    ) {
        let heard = it.runner.listen(limit);
        while let Some((number, done)) = it.runner.take() {
            results.push(self.result(planned, number, &done));
        }
        if let Some(report) = it.runner.missed() {
            // All have in common what came before.
            let left = std::mem::take(&mut it.left);
            results.extend(left.iter().map(|(_, seed)| planned.judge(*seed, &report)));
        }
        if let Err(error) = heard {
            let done = results.len();
            let runs = planned.runs().into_iter().skip(done).collect();
            results.extend(errors(planned, runs, &format!("{error:#}")));
            it.left.clear();
            it.runner.forget();
        }
    }

    fn result(&mut self, planned: &Planned, number: u64, done: &Done) -> Case {
        let seed = planned.group.seeds.is_some().then_some(number);
        let Some(report) = &done.report else {
            let run = judge(number, done);
            let mut why = vec![run.message.unwrap_or_else(|| "the run was lost".to_owned())];
            why.extend(done.remarks.lines().map(str::to_owned));
            return planned.case(seed, Verdict::Error, why);
        };
        let mut case = planned.judge(seed, report);
        if case.verdict != Verdict::Passed {
            case.bundle = self.bundle(planned, &case.name, done);
        }
        case
    }

    /// Writes the bundle of a run: its path.
    fn bundle(&mut self, planned: &Planned, name: &str, done: &Done) -> Option<String> {
        if done.bundle.is_empty() {
            return None;
        }
        let stem = PathBuf::from(&planned.scenario);
        let stem = stem.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{stem}-{name}");
        let fits = |c: char| c.is_alphanumeric() || "._".contains(c);
        let name: String = name
            .chars()
            .map(|c| if fits(c) { c } else { '-' })
            .collect();
        let name = name.replace("--", "-") + ".sbx";
        let path = self.out.write(&name, &done.bundle)?;
        Some(path.display().to_string())
    }
}

/// Tells what all before it have been told.
fn advance(
    told: &mut (usize, usize),
    results: &[Vec<Case>],
    is_done: &[bool],
    tell: Tell<'_>,
) -> Result<()> {
    while told.0 < results.len() {
        for case in &results[told.0][told.1..] {
            tell(case)?;
        }
        told.1 = results[told.0].len();
        if !is_done[told.0] {
            break;
        }
        *told = (told.0 + 1, 0);
    }
    Ok(())
}

fn errors(planned: &Planned, runs: VecDeque<(u64, Option<u64>)>, why: &str) -> Vec<Case> {
    let misses = vec![why.to_owned()];
    runs.into_iter()
        .map(|(_, seed)| planned.case(seed, Verdict::Error, misses.clone()))
        .collect()
}

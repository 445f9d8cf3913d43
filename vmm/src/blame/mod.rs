//! `stallbox blame`: when a failure became inevitable.
//!
//! The run that fails is repeated, and stands still at points along its way. From each of them runs go on
//! with draws of their own. As long as some of them do not fail, nothing is decided; where all of them fail, it
//! is. The window between is looked at again, at points that are closer.

mod curve;
mod walk;

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use stallbox_machine::outcome::Outcome;
use stallbox_output::{print, tell};
use stallbox_sweep::Signature;

use crate::cli::BlameArgs;
use crate::fork_server::{Report, Spec};
use crate::output::OutputFile;
use crate::run::bundle;
use crate::signals;
use curve::{Curve, Point};
use walk::{Gone, Walk};

/// Windows that are looked at, one in the other.
const PASSES_MAX: usize = 8;

/// Blames, and gives Stallbox's exit status.
pub fn blame(args: &BlameArgs) -> Result<u8> {
    let told_to_end = signals::flag()?;
    let recorded = bundle::repeatable(&args.bundle)?;
    let named = || format!("the bundle {}", args.bundle.display());
    let recorded = Spec::recorded(recorded, args.files.clone()).with_context(named);
    let (spec, requests) = recorded?;
    let mut svg = OutputFile::open_named(args.svg.as_ref(), "--svg", || false)?;
    let blame = Blame {
        args,
        spec: Spec {
            run_limit: Some(args.timeout),
            unconfined: args.unconfined,
            ..spec
        },
        requests,
        jobs: args.jobs.count(),
        is_over: Box::new(move || told_to_end.load(Ordering::Relaxed)),
    };
    let found = match blame.find() {
        Ok(found) => found,
        Err(error) if error.is::<Gone>() => return Ok(Outcome::NO_STATUS),
        Err(error) => return Err(error),
    };
    if let Some(svg) = &mut svg {
        svg.begin()?;
        svg.fill(|out| out.write_all(found.curve.svg(found.window).as_bytes()))?;
        svg.finish()?;
    }
    print(found.text(args.runs))?;
    Ok(0)
}

struct Blame<'a> {
    args: &'a BlameArgs,
    spec: Spec,
    /// What the run was told where it began.
    requests: Vec<String>,
    jobs: usize,
    is_over: Box<dyn Fn() -> bool>,
}

/// What came out.
struct Found {
    signature: Signature,
    curve: Curve,
    /// The last point at which something else could have become of it, and the first at which not.
    window: (u64, u64),
    /// It fails whatever is drawn from the beginning on.
    is_certain: bool,
    /// The trace between, and how the vCPUs stand at its end.
    events: Vec<String>,
    standing: String,
}

impl Blame<'_> {
    fn walk(&self) -> Result<Walk<'_>> {
        Walk::begin(&self.spec, &self.requests, &*self.is_over)
    }

    fn tell(&self, text: &str) {
        if !self.args.quiet {
            tell!("{text}");
        }
    }

    fn find(&self) -> Result<Found> {
        let mut walk = self.walk()?;
        let (run, done) = walk.go_on(None)?;
        let Some(signature) = run.signature.clone() else {
            bail!(
                "{} does not fail: its run ends with status 0",
                self.args.bundle.display()
            );
        };
        let report = done.report.context("the run was lost")?;
        let end = symptom(&report);
        self.tell(&format!("it fails at {end} ns: {}", signature.title()));
        let begin = walk.at_ns;
        let mut curve = Curve::default();
        let mut window = (begin, end.max(begin));
        let mut is_certain = false;
        for _ in 0..PASSES_MAX {
            let narrower = self.pass(walk, window, &signature, &mut curve)?;
            is_certain = narrower == (begin, begin);
            let is_same = narrower == window;
            window = narrower;
            if is_certain || is_same || window.1 - window.0 <= self.args.window {
                break;
            }
            self.tell(&format!(
                "it was decided between {} and {} ns",
                window.0, window.1
            ));
            walk = self.walk()?;
        }
        let mut walk = self.walk()?;
        walk.advance(window.0)?;
        let (_, done) = walk.go_on(Some(window.1.max(window.0 + 1)))?;
        Ok(Found {
            signature,
            curve,
            window,
            is_certain,
            events: done.report.map_or_else(Vec::new, |report| report.trace),
            standing: done.remarks,
        })
    }

    /// Looks at points in the window: a narrower one.
    fn pass(
        &self,
        mut walk: Walk<'_>,
        window: (u64, u64),
        signature: &Signature,
        curve: &mut Curve,
    ) -> Result<(u64, u64)> {
        let (begin, end) = window;
        let mut open = begin;
        let mut decided = None;
        for index in 0..self.args.points {
            let at = begin + (end - begin) * index / self.args.points;
            if at < walk.at_ns || index > 0 && at == begin {
                continue;
            }
            walk.advance(at)?;
            // No two points have draws in common.
            let first = curve.points() * self.args.runs;
            let same = walk.others(first, self.args.runs, self.jobs, signature)?;
            curve.add(Point {
                at_ns: at,
                same,
                runs: self.args.runs,
            });
            self.tell(&format!(
                "{at} ns: {same} of {} fail in the same way",
                self.args.runs
            ));
            if same < self.args.runs {
                open = at;
                decided = None;
            } else if decided.is_some() {
                // Twice is enough: what is decided stays so.
                break;
            } else {
                decided = Some(at);
            }
        }
        Ok(match decided {
            Some(decided) if decided == begin => (begin, begin),
            Some(decided) => (open, decided),
            None => (open, end),
        })
    }
}

/// When a checker, the kernel or nobody noticed.
fn symptom(report: &Report) -> u64 {
    let reports = report.check_reports.iter().chain(&report.kernel_reports);
    let first = reports.map(|found| found.time_ns).min();
    first.unwrap_or(report.time_ns)
}

impl Found {
    fn text(&self, runs: u64) -> String {
        let mut text = format!("{}\n", self.signature.title());
        let (open, decided) = self.window;
        if self.is_certain {
            text += &format!(
                "whatever is drawn from {open} ns on, all of {runs} runs fail in this way: nothing that is \
                 drawn decides\n"
            );
        } else {
            text += &format!(
                "decided between {open} and {decided} ns: from {open} ns on some runs do not fail in this way, \
                 from {decided} ns on all of {runs} do\n"
            );
        }
        text +=
            "\nshare of runs that fail in this way, by where they go on with draws of their own:\n";
        text += &self.curve.to_string();
        if !self.is_certain {
            text += &format!("\nevents between {open} and {decided} ns:\n");
            for event in &self.events {
                text += &format!("  {event}\n");
            }
            text += &format!("\nat {decided} ns:\n{}", self.standing);
        }
        text
    }
}

//! `stallbox shrink`: a smaller run that fails in the same way.

mod candidate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use stallbox_bundle::Bundle;
use stallbox_machine::outcome::Outcome;
use stallbox_output::{print, tell};
use stallbox_sweep::{Run, Shrink};

use crate::cli::ShrinkArgs;
use crate::fork_server::{Bundles, Done, Spec};
use crate::output::OutputFile;
use crate::run::bundle;
use crate::signals;
use crate::sweep::judge::judge;
use crate::sweep::runner::Runner;
use candidate::Whole;

/// Shrinks, and gives Stallbox's exit status.
pub fn shrink(args: &ShrinkArgs) -> Result<u8> {
    let told_to_end = signals::flag()?;
    let bundle = bundle::repeatable(&args.bundle)?;
    let named = || format!("the bundle {}", args.bundle.display());
    let trial = Trial { args, told_to_end };
    let out = args.out.clone().unwrap_or_else(|| small(&args.bundle));
    let mut out = OutputFile::open(&out, "--out", || false)?;
    let first = trial.run(bundle.clone()).with_context(named)?;
    let Some((run, done)) = first else {
        return Ok(Outcome::NO_STATUS);
    };
    let Some(signature) = run.signature.clone() else {
        bail!(
            "{} does not fail: its run ends with status 0",
            args.bundle.display()
        );
    };
    trial.tell(&format!("it fails: {}", signature.title()));
    let report = done.report.as_ref();
    let preemptions = report.and_then(|report| report.counts["preemptions"].as_u64());
    let whole = Whole::of(bundle, preemptions.unwrap_or(0)).with_context(named)?;
    let mut shrink = Shrink::new(whole.dimensions.clone(), args.tries as usize);
    let mut smallest = None;
    while let Some(candidate) = shrink.next_candidate().cloned() {
        let (same, came) = match whole.make(&candidate).and_then(|it| trial.run(it)) {
            Ok(None) => break,
            Ok(Some((run, done))) => {
                let same = run.signature.as_ref() == Some(&signature);
                let title = run.signature.as_ref().map(|it| it.title());
                let came = match title {
                    _ if same => "it fails in the same way".to_owned(),
                    Some(title) => title.to_owned(),
                    None => "it does not fail".to_owned(),
                };
                if same {
                    smallest = Some(done.bundle);
                }
                (same, came)
            }
            Err(error) => (false, format!("{error:#}")),
        };
        shrink.tell(same, came);
        if let Some(tried) = shrink.log().last() {
            trial.tell(&tried.to_string());
        }
    }
    print(shrink.summary())?;
    match smallest {
        Some(smallest) => {
            out.begin()?;
            out.fill(|out| out.write_all(&smallest))?;
            out.finish()?;
        }
        None => tell!("stallbox: there is no smaller one, and none is written"),
    }
    Ok(if trial.is_over() {
        Outcome::NO_STATUS
    } else {
        0
    })
}

/// `bug.sbx` becomes `bug-small.sbx`.
fn small(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-small.sbx"))
}

/// Runs candidates.
struct Trial<'a> {
    args: &'a ShrinkArgs,
    told_to_end: Arc<AtomicBool>,
}

impl Trial<'_> {
    fn is_over(&self) -> bool {
        self.told_to_end.load(Ordering::Relaxed)
    }

    fn tell(&self, text: &str) {
        if !self.args.quiet {
            tell!("{text}");
        }
    }

    /// How it ends; none if somebody does not want to know any more.
    fn run(&self, bundle: Bundle) -> Result<Option<(Run, Done)>> {
        let (spec, requests) = Spec::recorded(bundle, self.args.files.clone())?;
        let mut runner = Runner::new(Spec {
            run_limit: Some(self.args.timeout),
            bundles: Bundles::OfFailures,
            unconfined: self.args.unconfined,
            ..spec
        })?;
        runner.begin(0, requests)?;
        while !self.is_over() {
            runner.wait()?;
            if let Some((number, done)) = runner.take() {
                return Ok(Some((judge(number, &done), done)));
            }
        }
        Ok(None)
    }
}

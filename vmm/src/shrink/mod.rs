//! `stallbox shrink`: a smaller run that fails in the same way.

mod candidate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stallbox_bundle::{Bundle, Input};
use stallbox_machine::outcome::Outcome;
use stallbox_output::{print, tell};
use stallbox_sweep::{Run, Shrink};

use crate::cli::ShrinkArgs;
use crate::fork_server::{Bundles, Done, From, Spec};
use crate::output::OutputFile;
use crate::run::bundle::{self, Line};
use crate::signals;
use crate::sweep::judge::judge;
use crate::sweep::runner::Runner;
use candidate::Whole;

/// How long a guest may take to where its run begins, in the host's time.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// As much as a run may allocate beside the guest's RAM.
pub(crate) const MEMORY_LIMIT: u64 = 512 << 20;

/// Shrinks, and gives Stallbox's exit status.
pub fn shrink(args: &ShrinkArgs) -> Result<u8> {
    let told_to_end = signals::flag()?;
    let bundle = bundle::repeatable(&args.bundle)?;
    let named = || format!("the bundle {}", args.bundle.display());
    let whole = Whole::of(bundle).with_context(named)?;
    let mut trial = Trial {
        args,
        told_to_end,
        from: whole.from.clone(),
        rule: whole.rule.clone(),
        requests: whole.requests.clone(),
    };
    let out = args.out.clone().unwrap_or_else(|| small(&args.bundle));
    let mut out = OutputFile::open(&out, "--out", || false)?;
    let first = trial.run(whole.bundle.clone())?;
    let Some((run, _)) = first else {
        return Ok(Outcome::NO_STATUS);
    };
    let Some(signature) = run.signature.clone() else {
        bail!(
            "{} does not fail: its run ends with status 0",
            args.bundle.display()
        );
    };
    trial.tell(&format!("it fails: {}", signature.title()));
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
    let Some(smallest) = smallest else {
        tell!("stallbox: there is no smaller one, and none is written");
        return Ok(if trial.is_over() {
            Outcome::NO_STATUS
        } else {
            0
        });
    };
    out.begin()?;
    out.fill(|out| out.write_all(&smallest))?;
    out.finish()?;
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
    from: From,
    rule: Option<String>,
    requests: Vec<String>,
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
    fn run(&mut self, bundle: Bundle) -> Result<Option<(Run, Done)>> {
        let line = Line::of(&bundle)?;
        let mut runner = Runner::new(Spec {
            machine: line.run.machine,
            arguments: bundle.arguments.clone(),
            recorded: Some((bundle, self.args.files.clone())),
            from: self.from.clone(),
            boot_limit: Some(BOOT_LIMIT),
            run_limit: Some(self.args.timeout),
            memory_limit: MEMORY_LIMIT,
            bundles: Bundles::OfFailures,
            rule: self.rule.clone(),
            unconfined: self.args.unconfined,
            plan: None,
            transcript: false,
        })?;
        runner.begin(0, self.requests.clone())?;
        while !self.is_over() {
            runner.wait()?;
            if let Some((number, done)) = runner.take() {
                return Ok(Some((judge(number, &done), done)));
            }
        }
        Ok(None)
    }
}

/// What a run was told at the place where it began.
pub(crate) fn requests(bundle: &Bundle, is_of_sweep: bool) -> Result<Vec<String>> {
    if !is_of_sweep && !bundle.turns.is_empty() {
        bail!(
            "keys were typed or `stallbox inspect` has changed something while it ran: that has its place in \
             this very run, and there is none for it in a smaller one"
        );
    }
    let last = bundle.turns.last().into_iter();
    last.flat_map(|turn| &turn.inputs)
        .map(|input| match input {
            Input::Request(line) => Ok(line.clone()),
            Input::Keys(_) => bail!("a sweep types nothing"),
        })
        .collect()
}

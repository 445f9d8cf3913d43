//! Bundles of runs: made by `--record`, repeated by `stallbox replay`, told by `stallbox bundle show`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use sha2::{Digest, Sha256};
use stallbox_bundle::{Bundle, Chain, Content, End, Input, Place};
use stallbox_machine::World;
use stallbox_machine::config::MachineConfig;
use stallbox_machine::outcome::Outcome;
use stallbox_output::{print, tell};
use stallbox_sweep::BeginAt;

use super::configure::{self, Choices};
use super::inputs::{Inputs, hex};
use super::journal::{self, Difference, Journal, Script};
use super::report::Ended;
use super::{Course, drive};
use crate::boot::Files;
use crate::cli::{Action, BundleShowArgs, Cli, FilesArgs, MachineArgs, ReplayArgs, RunArgs};
use crate::config::{EngineKind, GuestConfig};

/// What a bundle has of a run before it begins.
pub(crate) struct Recording {
    arguments: Vec<String>,
    kernel: Content,
    initramfs: Option<Content>,
    plan: Option<String>,
    latency: serde_json::Value,
}

impl Recording {
    pub(crate) fn of(
        args: &MachineArgs,
        machine: &MachineConfig,
        guest: &GuestConfig,
        files: &Files,
        arguments: Vec<String>,
        embed: bool,
    ) -> Result<Recording> {
        let plan = args.plan.as_deref().map(|path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the fault plan {} (--plan)", path.display()))
        });
        let initrds: Vec<PathBuf> = guest.initrd.iter().chain(&guest.added).cloned().collect();
        Ok(Recording {
            arguments,
            kernel: content(std::slice::from_ref(&guest.kernel), files.kernel(), embed),
            initramfs: files
                .has_initrd()
                .then(|| content(&initrds, files.archives(), embed)),
            plan: plan.transpose()?,
            latency: serde_json::to_value(machine.latency.portable())?,
        })
    }
}

impl Recording {
    /// The same with a plan that is in no file, if there is one.
    pub(crate) fn with_plan(mut self, plan: Option<String>) -> Recording {
        self.plan = plan.or(self.plan);
        self
    }

    /// Of a run of what another bundle has, by another command line.
    pub(crate) fn again(bundle: &Bundle, arguments: Vec<String>) -> Recording {
        Recording {
            arguments,
            kernel: bundle.kernel.clone(),
            initramfs: bundle.initramfs.clone(),
            plan: bundle.plan.clone(),
            latency: bundle.latency.clone(),
        }
    }

    /// SHA-256 of what decides the run beside the command line, by name.
    pub(crate) fn inputs(&self) -> BTreeMap<String, String> {
        let text = |text: &str| hex(&Sha256::digest(text.as_bytes()));
        let mut inputs = BTreeMap::from([
            ("kernel".to_owned(), self.kernel.sha256.clone()),
            ("latency".to_owned(), text(&self.latency.to_string())),
        ]);
        let initramfs = self.initramfs.as_ref();
        inputs.extend(initramfs.map(|it| ("initramfs".to_owned(), it.sha256.clone())));
        let plan = self.plan.as_deref();
        inputs.extend(plan.map(|it| ("plan".to_owned(), text(it))));
        inputs
    }
}

fn content(paths: &[PathBuf], bytes: &[u8], embed: bool) -> Content {
    Content {
        paths: paths
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        sha256: hex(&Sha256::digest(bytes)),
        bytes: bytes.len() as u64,
        embedded: embed.then(|| bytes.to_vec()),
    }
}

/// A [`Course`] while the machine runs.
pub(crate) enum Running {
    New,
    Recorded(Box<Recording>, Rc<RefCell<Chain>>),
    Repeated(Box<Bundle>, Difference),
}

/// The machine is about to run.
pub(crate) fn begin(course: Course, world: &World) -> Running {
    match course {
        Course::New => Running::New,
        Course::Recorded(recording) => {
            Running::Recorded(recording, journal::record_chain(&world.tracer))
        }
        Course::Repeated(bundle) => {
            let (chain, end) = (bundle.chain.clone(), bundle.end.clone());
            let difference = journal::follow_chain(&world.tracer, chain, end);
            Running::Repeated(bundle, difference)
        }
    }
}

impl Running {
    /// What is to become of what comes from outside.
    pub(crate) fn journal(&self) -> Journal {
        match self {
            Running::New => Journal::None,
            Running::Recorded(..) => Journal::Record(Vec::new()),
            Running::Repeated(bundle, difference) => Journal::Replay(Script::new(
                bundle.turns.clone(),
                bundle.end.clone(),
                difference.clone(),
            )),
        }
    }

    /// The bundle, of a run that is recorded.
    pub(crate) fn recorded(
        &self,
        world: &World,
        ended: &Ended,
        journal: Journal,
        place: Option<Place>,
    ) -> Option<Bundle> {
        let Running::Recorded(recording, chain) = self else {
            return None;
        };
        let turns = match journal {
            Journal::Record(turns) => turns,
            Journal::None | Journal::Replay(_) => Vec::new(),
        };
        let summary = world.tracer.summary();
        Some(Bundle {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: recording.arguments.clone(),
            kernel: recording.kernel.clone(),
            initramfs: recording.initramfs.clone(),
            plan: recording.plan.clone(),
            latency: recording.latency.clone(),
            turns,
            chain: chain.borrow().clone(),
            end: End {
                outcome: ended
                    .outcome
                    .as_ref()
                    .map_or("error", Outcome::name)
                    .to_owned(),
                status: ended.status,
                trace_hash: summary.trace_hash,
                events: summary.events,
                time_ns: world.now().as_ns(),
                place,
            },
        })
    }

    /// Tells whether a repetition was the recorded run.
    pub(crate) fn compare(&self, world: &World, ended: &Ended, shown: bool) -> Result<()> {
        let Running::Repeated(bundle, difference) = self else {
            return Ok(());
        };
        if let Some(difference) = &*difference.borrow() {
            bail!("this is not the recorded run: {difference}");
        }
        let end = &bundle.end;
        let outcome = ended.outcome.as_ref().map_or("error", Outcome::name);
        let is_cut_off = ended.is_cut_short() && outcome != end.outcome;
        let events = world.tracer.summary().events;
        if is_cut_off {
            tell!("stallbox: the repetition was ended before the recorded run's end");
            return Ok(());
        }
        if events < end.events {
            bail!(
                "this is not the recorded run: it ended ({outcome}) after {events} events, and the \
                 recording has {}",
                end.events
            );
        }
        if outcome != end.outcome && end.outcome != "unheard" {
            bail!(
                "this is not the recorded run: it ended otherwise, {outcome} instead of {}",
                end.outcome
            );
        }
        if shown {
            tell!(
                "stallbox: this is the recorded run: {} events, trace hash {}",
                end.events,
                end.trace_hash
            );
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Bundle> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the bundle {}", path.display()))?;
    stallbox_bundle::read(&bytes).with_context(|| format!("the bundle {}", path.display()))
}

/// What a bundle is a run of.
pub(crate) struct Line {
    pub run: Box<RunArgs>,
    /// Of a run of a sweep: where it began, and the rule that was tried at its places.
    pub sweep: Option<(BeginAt, Option<String>)>,
}

impl Line {
    /// The command line of a bundle.
    pub(crate) fn of(bundle: &Bundle) -> Result<Line> {
        let line = [String::from("stallbox")].into_iter();
        let cli = Cli::try_parse_from(line.chain(bundle.arguments.iter().cloned()))
            .map_err(|refusal| anyhow!("this Stallbox refuses its command line: {refusal}"))?;
        match cli.action {
            Action::Run(run) => Ok(Line { run, sweep: None }),
            // What sets it apart is in the journal.
            Action::Sweep(sweep) => Ok(Line {
                run: Box::new(RunArgs::of(sweep.machine)),
                sweep: Some((sweep.runs.from, sweep.runs.place)),
            }),
            _ => bail!("its command line is that of another command than run or sweep"),
        }
    }

    /// The requests with which a child of a fork server becomes this run.
    pub(crate) fn requests(&self, bundle: &Bundle) -> Result<Vec<String>> {
        if self.sweep.is_none() && !bundle.turns.is_empty() {
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
}

/// The options of the recorded run, with what is to be seen of its repetition.
fn options(bundle: &Bundle, args: &ReplayArgs) -> Result<RunArgs> {
    let mut run = Line::of(bundle)?.run;
    run.engine = EngineKind::Soft;
    run.record = None;
    run.embed = false;
    run.control = args.control.clone();
    run.paused = args.paused;
    run.trace = args.trace.clone();
    run.summary = args.summary.clone();
    run.results = args.results.clone();
    run.timeout = args.timeout;
    run.unconfined = args.unconfined;
    run.quiet = args.quiet;
    run.machine.check.extend(args.check.iter().cloned());
    run.machine.symbols = args.symbols.clone().or(run.machine.symbols);
    if args.files.kernel.is_some() {
        run.machine.guest.image = None;
        run.machine.guest.kernel = args.files.kernel.clone();
    }
    Ok(*run)
}

/// The bytes of a content: those in the bundle, or those of the file that the user names, or those that
/// the recorded options lead to. They must be the recorded ones.
fn resolve(
    what: &str,
    recorded: &Content,
    named: Option<&Path>,
    option: &str,
    led_to: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<(PathBuf, Vec<u8>)> {
    let place = recorded.paths.join(", ");
    let (place, bytes) = match (named, &recorded.embedded) {
        (Some(path), _) => {
            let bytes = std::fs::read(path)
                .with_context(|| format!("cannot read {} ({option})", path.display()))?;
            (path.display().to_string(), bytes)
        }
        (None, Some(bytes)) => (place, bytes.clone()),
        (None, None) => {
            let bytes = led_to().with_context(|| {
                format!(
                    "the {what} of the recorded run is missing ({place}); bring it with {option}"
                )
            })?;
            (place, bytes)
        }
    };
    let found = hex(&Sha256::digest(&bytes));
    if found != recorded.sha256 {
        bail!(
            "the {what} {place} is not that of the recorded run: its SHA-256 is {found}, and was {}; bring \
             that one with {option}",
            recorded.sha256
        );
    }
    Ok((place.into(), bytes))
}

/// A bundle that this Stallbox can repeat.
pub(crate) fn repeatable(path: &Path) -> Result<Bundle> {
    let bundle = read(path)?;
    if bundle.version != env!("CARGO_PKG_VERSION") {
        bail!(
            "the bundle {} was recorded by Stallbox {}, and this is {}: another version's machine is another \
             one",
            path.display(),
            bundle.version,
            env!("CARGO_PKG_VERSION")
        );
    }
    Ok(bundle)
}

/// What the recorded run booted: the bundle's own, or files that are `named`, or those that the options
/// lead to.
pub(crate) fn files(bundle: &Bundle, args: &MachineArgs, named: &FilesArgs) -> Result<Files> {
    let kernel = resolve(
        "kernel",
        &bundle.kernel,
        named.kernel.as_deref(),
        "--kernel",
        || Ok(std::fs::read(configure::guest(args)?.kernel)?),
    )?;
    let initramfs = bundle.initramfs.as_ref().map(|recorded| {
        resolve(
            "initial RAM disk",
            recorded,
            named.initrd.as_deref(),
            "--initrd",
            || {
                let guest = configure::guest(args)?;
                Ok(Files::read(&guest, args.guest.memory)?.archives().to_vec())
            },
        )
    });
    Files::of(kernel, initramfs.transpose()?, args.bootargs.clone())
}

/// `stallbox replay`.
pub fn replay(args: &ReplayArgs) -> Result<u8> {
    let bundle = repeatable(&args.bundle)?;
    let named = || format!("the bundle {}", args.bundle.display());
    let run = options(&bundle, args).with_context(named)?;
    let choices = Choices::recorded(&bundle).with_context(named)?;
    let machine = configure::machine(&run.machine, choices)?;
    let files = files(&bundle, &run.machine, &args.files)?;
    let inputs = run
        .summary
        .is_some()
        .then(|| Inputs::repeated(&run.machine, &bundle));
    drive(
        &run,
        &machine,
        &files,
        inputs,
        Course::Repeated(Box::new(bundle)),
    )
}

/// `stallbox bundle show`.
pub fn show(args: &BundleShowArgs) -> Result<u8> {
    let bundle = read(&args.bundle)?;
    print(describe(&bundle))?;
    Ok(0)
}

fn describe(bundle: &Bundle) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        writeln!(text, "{what:<18} {value}").expect("strings take all");
    };
    let words: Vec<String> = bundle
        .arguments
        .iter()
        .map(|word| format!("{word:?}"))
        .collect();
    line("recorded by", format!("Stallbox {}", bundle.version));
    line("arguments", words.join(" "));
    line("kernel", describe_content(&bundle.kernel));
    let initramfs = bundle.initramfs.as_ref();
    line(
        "initial RAM disks",
        initramfs.map_or("none".into(), describe_content),
    );
    let rules = bundle
        .plan
        .as_ref()
        .map(|plan| format!("{} bytes, in the bundle", plan.len()));
    line("fault plan", rules.unwrap_or("none".into()));
    line(
        "ended",
        format!(
            "{} (status {}) at {} ns",
            bundle.end.outcome, bundle.end.status, bundle.end.time_ns
        ),
    );
    line(
        "trace",
        format!(
            "{} events, hash {}",
            bundle.end.events, bundle.end.trace_hash
        ),
    );
    let interval = bundle.chain.interval();
    line(
        "chain of hashes",
        match interval {
            1 => "a link for each event".into(),
            interval => format!("a link for every {interval} events"),
        },
    );
    line(
        "from outside",
        match bundle.turns.len() {
            0 => "nothing".into(),
            1 => "once".into(),
            turns => format!("{turns} times"),
        },
    );
    for turn in &bundle.turns {
        for input in &turn.inputs {
            let what = match input {
                Input::Keys(bytes) => format!("keys {:?}", String::from_utf8_lossy(bytes)),
                Input::Request(line) => format!("request {line}"),
            };
            line("", format!("at {} ns: {what}", turn.time_ns));
        }
    }
    text
}

fn describe_content(content: &Content) -> String {
    format!(
        "{}, {} bytes, SHA-256 {}, {}",
        content.paths.join(", "),
        content.bytes,
        content.sha256,
        if content.embedded.is_some() {
            "in the bundle"
        } else {
            "not in the bundle"
        }
    )
}

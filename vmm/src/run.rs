//! `stallbox run`: boots a guest and tells how it went.

pub(crate) mod bundle;
pub(crate) mod configure;
mod inputs;
pub(crate) mod journal;
mod outside;
pub(crate) mod report;
mod terminal;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use stallbox_bundle::Bundle;
use stallbox_firmware::boot::EntryState;
use stallbox_machine::World;
use stallbox_machine::config::MachineConfig;
use stallbox_machine::outcome::Outcome;
use stallbox_output::{Outlet, tell};

use crate::boot;
use crate::cli::{MachineArgs, RunArgs};
use crate::confine;
use crate::control::Control;
use crate::engine::{self, Engine};
use crate::plan;
use crate::signals;
use bundle::Recording;
use configure::Choices;
use inputs::Inputs;
use outside::Outside;
use report::{Ended, Outputs};
use terminal::Terminal;

pub use bundle::{replay, show};

/// Runs, and gives Stallbox's exit status.
pub fn run(args: &RunArgs) -> Result<u8> {
    let machine = configure::machine(&args.machine, Choices::read(&args.machine)?)?;
    let guest = configure::guest(&args.machine)?;
    let files = boot::Files::read(&guest, machine.memory_bytes)?;
    let recording = args.record.is_some();
    let recording = recording.then(|| {
        Recording::of(
            &args.machine,
            &machine,
            &guest,
            &files,
            arguments()?,
            args.embed,
        )
    });
    let inputs = args
        .summary
        .is_some()
        .then(|| Inputs::of(&args.machine, &machine, &guest));
    let course = match recording.transpose()? {
        Some(recording) => Course::Recorded(Box::new(recording)),
        None => Course::New,
    };
    drive(args, &machine, &files, inputs.transpose()?, course)
}

/// The command line behind `stallbox`, for a bundle.
pub(crate) fn arguments() -> Result<Vec<String>> {
    let arguments = std::env::args_os().skip(1);
    let utf8 = arguments.map(|argument| {
        argument.into_string().map_err(|argument| {
            anyhow!(
                "{} is not UTF-8, as arguments in a bundle are",
                argument.to_string_lossy()
            )
        })
    });
    utf8.collect()
}

/// What is special about a run.
pub(crate) enum Course {
    /// Nothing.
    New,
    /// A bundle is made of it.
    Recorded(Box<Recording>),
    /// It is that of a bundle.
    Repeated(Box<Bundle>),
}

/// Runs what has been read.
fn drive(
    args: &RunArgs,
    machine: &MachineConfig,
    files: &boot::Files,
    inputs: Option<Inputs>,
    course: Course,
) -> Result<u8> {
    let script = args.machine.script();
    let told_to_end = signals::flag()?;
    let mut outputs = Outputs::open(args, limit(args, &told_to_end))?;
    let is_repeated = matches!(course, Course::Repeated(_));
    let terminal = Terminal::open(script.is_none() && !is_repeated)?;

    if terminal.is_interactive() && !args.quiet {
        tell!("stallbox: Ctrl-A X leaves, Ctrl-A H tells all keys");
    }

    let engine = engine::open(args.engine, machine)?;
    if !engine.is_repeatable() && !matches!(course, Course::New) {
        bail!("--record: only --engine soft repeats a run");
    }
    if !engine.is_repeatable() && args.machine.seed.is_some() {
        tell!(
            "stallbox: with --engine {}, --seed repeats the draws of latencies and of the fault plan, \
             but not when they are made; only the soft engine repeats a run",
            engine.name()
        );
    }
    let console = outputs.console.clone().map(boxed);
    let trace = outputs.trace().map(boxed);
    let (world, entry) = assemble(&*engine, &args.machine, machine, files, console, trace)?;
    let control = control(args, machine, &*engine, &world, is_repeated)?;
    let course = bundle::begin(course, &world);
    let started = Instant::now();
    let mut watch = Outside {
        control,
        // Only our own init says when it is ready. A person waits for the prompt.
        hold_input: args.machine.guest.initrd.is_none()
            && args.machine.guest.kernel.is_none()
            && !terminal.is_interactive(),
        terminal,
        deadline: args.timeout.map(|timeout| started + timeout),
        told_to_end,
        quit: false,
        idle: None,
        kept: Vec::new(),
        outlets: outputs
            .console
            .iter()
            .cloned()
            .chain(outputs.trace())
            .collect(),
        remarks: stallbox_output::defer_remarks(),
        has_places: engine.is_repeatable(),
        place: None,
        journal: course.journal(),
    };
    let request = world.timeline.yield_request().clone();
    watch.set_alarm(move || request.set());
    let mut vcpus = engine.vcpus(&world, machine, &entry)?;
    // The start has succeeded. Once the process is confined it could undo nothing.
    outputs.begin()?;
    if let Some(control) = &mut watch.control {
        control.begin();
    }
    if !args.unconfined {
        let lock = confine::process()?;
        if let Some(remark) = lock.remark().filter(|_| !args.quiet) {
            tell!("stallbox: {remark}");
        }
    }

    let (outcome, failure) = match vcpus.run(&mut watch) {
        Ok(outcome) => (Some(outcome), None),
        Err(failure) => (None, Some(failure)),
    };
    let ended = Ended::conclude(&world, &*vcpus, outcome, &args.machine, started.elapsed());
    let journal = std::mem::take(&mut watch.journal);
    if let Some(bundle) = course.recorded(&world, &ended, journal, watch.place) {
        outputs.record(&bundle);
    }
    // What there is is written, however the run ended.
    outputs.fill(&*engine, &world, &*vcpus, &ended, inputs);
    let is_unheard = outputs.has_failed();
    if failure.is_none() && !is_unheard {
        report::tell(&ended, !args.quiet, &world);
    }
    let waits = failure.is_none() && !is_unheard && !ended.is_cut_short();
    watch.drain(outputs.outlets(), waits);
    watch.terminal.close();
    if let Some(failure) = failure {
        return Err(failure);
    }
    course.compare(&world, &ended, !args.quiet)?;
    let mut status = ended.status;
    for failure in outputs.failures() {
        if !failure.is_unread() {
            return Err(failure.into());
        }
        tell!("stallbox: {:#}", anyhow::Error::new(failure));
        if status == 0 {
            status = Outcome::ERROR;
        }
    }
    Ok(status)
}

/// The world with the guest placed in it, and where that begins.
pub(crate) fn assemble(
    engine: &dyn Engine,
    args: &MachineArgs,
    machine: &MachineConfig,
    files: &boot::Files,
    console: Option<Box<dyn Write>>,
    trace: Option<Box<dyn Write>>,
) -> Result<(World, EntryState)> {
    let mut world = engine.world(machine, console, trace)?;
    world.symbols = configure::symbol_source(args, machine);
    let script = args.script();
    let entry = boot::place(&world, machine, files, &args.append, script.as_deref())?;
    world.symbols.kernel_loaded(entry.pc);
    world.checkers.kernel_loaded(entry.pc)?;
    Ok((world, entry))
}

fn boxed(outlet: Outlet) -> Box<dyn Write> {
    Box::new(outlet)
}

/// Whether the start has waited for as long as the run may take, or somebody has ended it.
fn limit(args: &RunArgs, told_to_end: &Arc<AtomicBool>) -> impl Fn() -> bool {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let told_to_end = told_to_end.clone();
    move || {
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        is_late || told_to_end.load(Ordering::Relaxed)
    }
}

/// The control socket, if one is asked for, with the world ready to be paused as far as the engine
/// can be.
fn control(
    args: &RunArgs,
    machine: &MachineConfig,
    engine: &dyn Engine,
    world: &World,
    is_repeated: bool,
) -> Result<Option<Control>> {
    let control = args.control.as_deref().map(Control::listen).transpose()?;
    if let Some(rule) = plan::pausing_rule(&machine.plan) {
        if control.is_none() && !is_repeated {
            bail!("rule \"{rule}\" pauses the run, and without --control nobody can let it go on");
        }
        if !engine.is_repeatable() {
            bail!("rule \"{rule}\" pauses the run, which only --engine soft can do");
        }
    }
    if args.paused && !engine.is_repeatable() {
        bail!("--paused: only --engine soft can be paused");
    }
    world.pause.set_paused(args.paused);
    world.pause.set_stop_at(args.machine.stop_at);
    world.pause.set_possible(engine.is_repeatable());
    if control.is_some() {
        confine::allow_answers();
    }
    Ok(control)
}

//! `stallbox run`: boots a guest and tells how it went.

mod terminal;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use stallbox_guest_images as guest_images;
use stallbox_timeline::Span;
use stallbox_trace::Summary;

use crate::boot;
use crate::check::{CheckConfig, Symbols};
use crate::cli::RunArgs;
use crate::config::{GuestConfig, MachineConfig};
use crate::confine;
use crate::control::Control;
use crate::engine::{self, Watch};
use crate::latency::LatencyModel;
use crate::machine::World;
use crate::outcome::Outcome;
use crate::plan;
use terminal::{Key, Terminal};

/// Seed of a run that names none.
const DEFAULT_SEED: u64 = 1;

/// What `--summary` writes.
#[derive(Serialize)]
struct Report {
    /// What ran the guest.
    engine: &'static str,
    /// Whether the same command gives the same trace, and so the same hash, again.
    repeatable: bool,
    #[serde(flatten)]
    trace: Summary,
    /// The devices' time at the end of the run: virtual, or the host's with the kvm engine.
    virtual_ns: u64,
    /// The devices' time at which init was ready.
    boot_ns: Option<u64>,
    /// Instructions retired by all vCPUs, where the engine counts them.
    instructions: Option<u64>,
    /// Reports of checkers.
    #[serde(skip_serializing_if = "is_zero")]
    check_reports: u32,
    /// The guest command's exit status, if it ended.
    guest_status: Option<u8>,
    /// Host time, for comparison; not part of what a run repeats.
    host_ms: u64,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Runs, and gives Stallbox's exit status.
pub fn run(args: &RunArgs) -> Result<u8> {
    let machine = machine_config(args)?;
    let guest = guest_config(args)?;
    let command = guest.command.is_some();
    // All of them now: once the process is confined, it opens no file any more.
    let output = |path: &Option<PathBuf>, option| {
        path.as_deref().map(|path| create(path, option)).transpose()
    };
    let trace = output(&args.trace, "--trace")?;
    let summary = output(&args.summary, "--summary")?;
    let results = output(&args.results, "--results")?;
    let terminal = Terminal::open(!command)?;
    let console: Option<Box<dyn Write>> = if args.quiet {
        None
    } else {
        Some(Box::new(std::io::stdout()))
    };

    let engine = engine::open(args.engine, &machine)?;
    if !engine.is_repeatable() && args.seed.is_some() {
        eprintln!(
            "stallbox: with --engine {}, --seed repeats the draws of latencies and of the fault plan, \
             but not when they are made; only the soft engine repeats a run",
            engine.name()
        );
    }
    let mut world = World::new(&machine, engine.platform(), console, trace)?;
    engine.plug(&mut world);
    let world = world;
    let entry = boot::load(&world, &machine, &guest)?;
    world.checkers.kernel_loaded(entry.pc)?;
    let started = Instant::now();
    world.faults.set_paused(args.paused);
    let control = args.control.as_deref().map(Control::listen).transpose()?;
    if let Some(rule) = plan::pausing_rule(&machine.plan) {
        if control.is_none() {
            bail!("rule \"{rule}\" pauses the run, and without --control nobody can let it go on");
        }
        if !engine.is_repeatable() {
            bail!("rule \"{rule}\" pauses the run, which only --engine soft can do");
        }
    }
    if args.paused && !engine.is_repeatable() {
        bail!("--paused: only --engine soft can be paused");
    }
    world.faults.set_pausable(engine.is_repeatable());
    if control.is_some() {
        confine::allow_answers();
    }
    let mut watch = Outside {
        control,
        // Only our own init says when it is ready. A person waits for the prompt.
        hold_input: args.initrd.is_none() && args.kernel.is_none() && !terminal.is_interactive(),
        terminal,
        deadline: args
            .timeout
            .map(|seconds| started + Duration::from_secs_f64(seconds)),
        quit: false,
    };
    let mut vcpus = engine.vcpus(&world, &machine, &entry)?;
    if !args.unconfined {
        let lock = confine::process()?;
        if let Some(remark) = lock.remark().filter(|_| !args.quiet) {
            eprintln!("stallbox: {remark}");
        }
    }
    let mut outcome = vcpus.run(&mut watch)?;
    if let Some(status) = world.control.exit() {
        outcome = Outcome::Command(status);
    } else if world.console.panicked() {
        outcome = Outcome::Panic;
    }
    watch.terminal.close();
    world.checkers.finish();

    let report = Report {
        engine: engine.name(),
        repeatable: engine.is_repeatable(),
        trace: world.tracer.summary(),
        virtual_ns: world.timeline.now().as_ns(),
        boot_ns: world.control.ready_ns(),
        instructions: vcpus.retired(),
        check_reports: world.checkers.reports(),
        guest_status: world.control.exit(),
        host_ms: started.elapsed().as_millis() as u64,
    };
    world.tracer.finish().context("--trace")?;
    if let Some(mut file) = summary {
        serde_json::to_writer_pretty(&mut file, &report).context("cannot write --summary")?;
        file.write_all(b"\n")
            .and_then(|()| file.flush())
            .context("cannot write --summary")?;
    }
    if let Some(mut file) = results {
        for result in world.control.results() {
            writeln!(file, "{result}").context("cannot write --results")?;
        }
        file.flush().context("cannot write --results")?;
    }
    let reports = world.checkers.reports();
    if reports > 0 {
        let unshown = match world.checkers.unshown() {
            0 => String::new(),
            unshown => format!(", {unshown} of them not shown"),
        };
        eprintln!("stallbox: checkers reported {reports}{unshown}");
    }
    if let Some(complaint) = outcome.complaint(command) {
        eprintln!("stallbox: {complaint}");
        if matches!(outcome, Outcome::Timeout | Outcome::Asleep) {
            vcpus
                .positions()
                .iter()
                .for_each(|position| eprintln!("  {position}"));
        }
        if args.quiet || outcome == Outcome::Panic {
            eprintln!("stallbox: the console's last lines:");
            for line in world.console.last_lines() {
                eprintln!("  {line}");
            }
        }
    }
    let status = outcome.status(command);
    Ok(if reports > 0 && status == 0 {
        Outcome::REPORTED
    } else {
        status
    })
}

fn machine_config(args: &RunArgs) -> Result<MachineConfig> {
    let mut latency = LatencyModel::built_in();
    for option in &args.latency {
        latency.apply(option)?;
    }
    let (accelerator, test_engine) = args.accelerators()?;
    Ok(MachineConfig {
        memory_bytes: args.memory,
        memory_backend: args.memory_backend,
        cpus: args.cpus,
        nodes: args.nodes,
        accelerator,
        test_engine,
        smmu_msi: args.smmu_irq == "msi",
        latency,
        seed: args.seed.unwrap_or(DEFAULT_SEED),
        plan: args
            .plan
            .as_deref()
            .map(plan::read)
            .transpose()?
            .unwrap_or_default(),
        check: check_config(args)?,
        symbols: symbols(args)?,
    })
}

fn check_config(args: &RunArgs) -> Result<CheckConfig> {
    let mut config = CheckConfig::default();
    for text in &args.check {
        config.add(text)?;
    }
    Ok(config)
}

/// The symbols that the user named; with our own kernel and a checker on, those beside it.
fn symbols(args: &RunArgs) -> Result<Option<Rc<Symbols>>> {
    let beside = || {
        if args.check.is_empty() || args.kernel.is_some() {
            return None;
        }
        let (kernel, _) = guest_files(args.image.as_deref(), None, None).ok()?;
        let map = kernel.with_file_name("System.map");
        map.exists().then_some(map)
    };
    let path = args.symbols.clone().or_else(beside);
    let symbols = path.as_deref().map(Symbols::read).transpose()?;
    Ok(symbols.map(Rc::new))
}

fn guest_config(args: &RunArgs) -> Result<GuestConfig> {
    let (kernel, initrd) = guest_files(
        args.image.as_deref(),
        args.kernel.as_deref(),
        args.initrd.as_deref(),
    )?;
    Ok(GuestConfig {
        kernel,
        initrd,
        append: args.append.clone(),
        command: args.script(),
    })
}

/// The kernel and the initial RAM disks to boot, by what the user named.
pub(crate) fn guest_files(
    image: Option<&str>,
    kernel: Option<&Path>,
    initrd: Option<&Path>,
) -> Result<(PathBuf, Vec<PathBuf>)> {
    let initrd = initrd.map(Path::to_owned);
    if let Some(kernel) = kernel {
        return Ok((kernel.to_owned(), Vec::from_iter(initrd)));
    }
    let root = guest_images::source_root();
    let image = match image {
        Some(name) => guest_images::find(&root, name).context("--image")?,
        None => match guest_images::cached(&root) {
            Some(image) => image,
            None => bail!(
                "the guest image has not been built; `cargo xtask image` builds it, or bring your \
                 own with --kernel and --initrd"
            ),
        },
    };
    let mut initrds = vec![initrd.unwrap_or(image.initrd)];
    initrds.extend(image.overlays);
    Ok((image.kernel, initrds))
}

pub(crate) fn create(path: &Path, option: &str) -> Result<Box<dyn Write>> {
    let file = File::create(path)
        .with_context(|| format!("cannot create {} ({option})", PathBuf::from(path).display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// The user, and the host's clock: both outside the world.
struct Outside {
    control: Option<Control>,
    terminal: Terminal,
    deadline: Option<Instant>,
    quit: bool,
    /// Input waits until init is ready: a UART without a reader drops what arrives.
    hold_input: bool,
}

/// How often the terminal is asked for keys while the guest idles.
const KEY_INTERVAL: Duration = Duration::from_millis(5);

/// How often the control socket is looked at while the machine is paused.
const PAUSE_INTERVAL: Duration = Duration::from_millis(1);

fn has_passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

impl Outside {
    fn is_held(&self, world: &World) -> bool {
        self.hold_input && world.control.ready_ns().is_none()
    }

    /// Passes keys on; true if there were any.
    fn type_keys(&mut self, world: &World) -> bool {
        if self.is_held(world) {
            return false;
        }
        match self.terminal.poll() {
            Some(Key::Quit) => self.quit = true,
            Some(Key::Bytes(bytes)) => {
                world.console_port.enqueue(&bytes);
                world.timeline.run_ready();
            }
            None => return false,
        }
        true
    }
}

impl Watch for Outside {
    fn look(&mut self, world: &World) -> Option<Outcome> {
        if has_passed(self.deadline) {
            return Some(Outcome::Timeout);
        }
        self.type_keys(world);
        if let Some(control) = &mut self.control {
            control.serve(world);
            while world.faults.is_paused() && !self.quit {
                std::thread::sleep(PAUSE_INTERVAL);
                if has_passed(self.deadline) {
                    return Some(Outcome::Timeout);
                }
                control.serve(world);
                if let Some(Key::Quit) = self.terminal.poll() {
                    self.quit = true;
                }
            }
        }
        self.quit.then_some(Outcome::Quit)
    }

    fn input(&self, world: &World) -> Option<RawFd> {
        (!self.is_held(world))
            .then(|| self.terminal.input())
            .flatten()
    }

    fn control(&self) -> Option<RawFd> {
        self.control.as_ref().map(Control::ready)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn pause(&mut self) {
        self.terminal.pause();
    }

    fn resume(&mut self) {
        self.terminal.resume();
    }

    /// Somebody at a terminal wants a clock that goes with theirs, and a quiet host, while the
    /// guest waits for keys. A run without a terminal jumps.
    fn idle(&mut self, world: &World, span: Span) -> bool {
        if !self.terminal.is_interactive() {
            return false;
        }
        let until = Instant::now() + Duration::from_nanos(span.as_ns());
        loop {
            if self.type_keys(world) || self.quit {
                return true;
            }
            let now = Instant::now();
            if now >= until || self.deadline.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            std::thread::sleep(KEY_INTERVAL.min(until - now));
        }
    }
}

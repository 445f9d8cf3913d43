//! The fork server's own process, and that of each child.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, Rlimit, getrlimit, setpgid, setrlimit};
use rustix::stdio::dup2_stderr;
use serde_json::json;
use stallbox_bundle::{Input, Place};
use stallbox_machine::World;
use stallbox_machine::check::Kept;
use stallbox_machine::outcome::Outcome;
use stallbox_machine::outstanding::Outstanding;
use stallbox_machine::vcpu::VcpuState;
use stallbox_sweep::BeginAt;
use stallbox_timeline::Time;

use super::protocol::{self, Birth, Died, Done, Found, Message, Order, Report};
use super::transcript::Kept as Console;
use super::{Bundles, Spec};
use crate::boot;
use crate::checkpoint::{self, Child, Ended, Side};
use crate::config::EngineKind;
use crate::confine;
use crate::control;
use crate::engine::{self, Vcpus, Watch, ticker};
use crate::plan;
use crate::run::bundle::{self, Recording, Running};
use crate::run::configure::{self, Choices};
use crate::run::journal::{self, Journal};
use crate::run::{self, Course};

/// Of what a child says on standard error, so much is told.
const REMARKS_MAX: u64 = 64 << 10;
/// As many lines of the trace are told.
const TRACE_MAX: usize = 4096;
/// A child that does not keep its own time limit is killed so much later.
const GRACE: Duration = Duration::from_secs(5);

/// Is the fork server, and is gone.
pub(super) fn serve(spec: &Spec, orders: File, messages: File) -> ! {
    // Keys that end what is in the foreground are the command's to see.
    let _ = setpgid(None, None);
    let told = match run(spec, &orders, &messages) {
        Ok(Some(missed)) => Message::Missed(Box::new(missed)),
        Ok(None) => checkpoint::leave(0),
        Err(error) => Message::Failed(format!("{error:#}")),
    };
    let sent = protocol::send(&messages, &told, &[]);
    checkpoint::leave(sent.is_err().into())
}

/// Runs the guest to where children begin, and forks them. Gives how the run ended, if it never came there.
/// A child does not return.
fn run(spec: &Spec, orders: &File, messages: &File) -> Result<Option<Report>> {
    let args = &spec.machine;
    let choices = match (&spec.recorded, &spec.plan) {
        (None, None) => Choices::read(args)?,
        (None, Some(plan)) => Choices::read(args)?.with_plan(plan)?,
        (Some((bundle, _)), _) => Choices::recorded(bundle)?,
    };
    let machine = configure::machine(args, choices)?;
    if let Some(rule) = plan::pausing_rule(&machine.plan) {
        bail!("rule \"{rule}\" pauses the run, and nobody could let it go on here");
    }
    if let Some(rule) = &spec.rule
        && !machine.plan.rules.iter().any(|it| it.name == *rule)
    {
        bail!("the plan has no rule \"{rule}\"");
    }
    let (files, recording) = match &spec.recorded {
        None => {
            let guest = configure::guest(args)?;
            let files = boot::Files::read(&guest, machine.memory_bytes)?;
            let arguments = spec.arguments.clone();
            let recording = Recording::of(args, &machine, &guest, &files, arguments, false)?;
            (files, recording.with_plan(spec.plan.clone()))
        }
        Some((recorded, named)) => (
            bundle::files(recorded, args, named)?,
            Recording::again(recorded, spec.arguments.clone()),
        ),
    };
    let engine = engine::open(EngineKind::Soft, &machine)?;
    let console = spec.transcript.then(Console::default);
    let shown = console.clone().map(|it| Box::new(it) as Box<dyn Write>);
    let (world, entry) = run::assemble(&*engine, args, &machine, &files, shown, None)?;
    world.pause.set_possible(true);
    world.pause.set_stop_at(args.stop_at);
    match &spec.from {
        BeginAt::Start => world.pause.set_paused(true),
        BeginAt::Marker(name) => world.pause.stop_at_marker(name),
    }
    let inputs = recording.inputs();
    let course = bundle::begin(Course::Recorded(Box::new(recording)), &world);
    let mut vcpus = engine.vcpus(&world, &machine, &entry)?;
    let memory = data_bytes()?.saturating_add(spec.memory_limit);
    ticker::start()?;
    if !spec.unconfined {
        confine::process()?;
        confine::thread(confine::Role::ForkServer)?;
    }
    let mut station = Station {
        spec,
        orders,
        messages,
        memory,
        deadline: spec.boot_limit.map(|limit| Instant::now() + limit),
        children: Vec::new(),
        waiting: VecDeque::new(),
        inputs,
        is_known_to_stand: false,
        child: None,
        place: None,
        journal: course.journal(),
        injection: Rc::default(),
        trace: Rc::default(),
        console,
    };
    if let Some(rule) = &spec.rule {
        // Until then it takes nothing, or it might break the way there.
        let inputs = vec![Input::Request(control::only(rule, 0))];
        journal::perform(&inputs, &world);
        let start = Place {
            step: 0,
            retired: 0,
        };
        station.journal.note(Some(start), &world, inputs);
    }
    let outcome = vcpus.run(&mut station);
    if station.child.is_none() && matches!(outcome, Ok(Outcome::Quit)) {
        return Ok(None);
    }
    let report = report(&world, &*vcpus, outcome, &mut station, &course);
    match station.child {
        None => report.map(|(report, _)| Some(report)),
        Some(child) => child.end(report),
    }
}

/// Concludes the run: how it ended, and its bundle.
fn report(
    world: &World,
    vcpus: &dyn Vcpus,
    outcome: Result<Outcome>,
    station: &mut Station<'_>,
    course: &Running,
) -> Result<(Report, Vec<u8>)> {
    let outcome = outcome?;
    let took = Duration::ZERO;
    let args = &station.spec.machine;
    let ended = run::report::Ended::conclude(world, vcpus, Some(outcome), args, took);
    if station.child.is_some() {
        // To its own standard error, which is told.
        run::report::tell(&ended, true, world);
    }
    let mut bundle = Vec::new();
    let is_wanted = match station.spec.bundles {
        Bundles::None => false,
        Bundles::OfFailures => ended.status != 0,
        Bundles::All => true,
    };
    if is_wanted {
        let journal = std::mem::take(&mut station.journal);
        if let Some(made) = course.recorded(world, &ended, journal, station.place) {
            stallbox_bundle::write(&made, &mut bundle)?;
        }
    }
    let summary = world.tracer.summary();
    let reports = world.console.reports();
    let matched = world.faults.player().counts();
    let mut counts = serde_json::to_value(&summary)?;
    counts["virtual_ns"] = world.now().as_ns().into();
    counts["instructions"] = vcpus.retired().into();
    counts["preemptions"] = vcpus.preemptions().into();
    let report = Report {
        outcome: ended
            .outcome
            .as_ref()
            .map_or("error", Outcome::name)
            .to_owned(),
        status: ended.status,
        command: ended.command,
        message: ended.message(world),
        kernel_reports: reports
            .kept()
            .iter()
            .filter(|report| args.fail_on.has(report.kind))
            .map(|report| Found {
                kind: report.kind.name().to_owned(),
                time_ns: report.time_ns,
                title: String::new(),
                lines: report.lines.clone(),
            })
            .collect(),
        check_reports: world.checkers.kept().iter().map(found).collect(),
        under_way: ended
            .outstanding
            .iter()
            .flat_map(Outstanding::kinds)
            .collect(),
        time_ns: world.now().as_ns(),
        events: summary.events,
        trace_hash: summary.trace_hash,
        results: world.control.results(),
        console: world.console.last_lines(),
        transcript: station
            .console
            .as_ref()
            .map(Console::transcript)
            .unwrap_or_default(),
        counts,
        matched: matched
            .iter()
            .map(|count| (count.rule.name.clone(), count.matched))
            .collect(),
        trace: station.trace.take(),
        injection: station.injection.borrow().clone(),
    };
    Ok((report, bundle))
}

fn found(kept: &Kept) -> Found {
    Found {
        kind: kept.checker.to_owned(),
        time_ns: kept.time_ns,
        title: kept.title.clone(),
        lines: kept.block.lines().map(str::to_owned).collect(),
    }
}

/// What this process may write to: all that RLIMIT_DATA is about (mm/mmap.c, may_expand_vm).
fn data_bytes() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("/proc/self/statm")?;
    let data = statm.split_whitespace().nth(5);
    let pages = data.and_then(|it| it.parse::<u64>().ok());
    let pages = pages.context("/proc/self/statm does not tell the data's size")?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Watches the run: first the fork server's, then, in a child, the child's.
struct Station<'a> {
    spec: &'a Spec,
    orders: &'a File,
    messages: &'a File,
    /// As much as a child may have to write to.
    memory: u64,
    deadline: Option<Instant>,
    children: Vec<Ward>,
    /// Asked for, and not begun.
    waiting: VecDeque<Birth>,
    inputs: BTreeMap<String, String>,
    /// It was told that the machine stands still here.
    is_known_to_stand: bool,
    /// This process is one.
    child: Option<Own>,
    place: Option<Place>,
    journal: Journal,
    injection: Rc<RefCell<Option<String>>>,
    trace: Rc<RefCell<Vec<String>>>,
    /// All of it, if that is to be told.
    console: Option<Console>,
}

/// A child of this process.
struct Ward {
    id: u64,
    process: Child,
    files: Own,
    /// It is killed then.
    deadline: Option<Instant>,
    /// It was.
    is_late: bool,
}

/// Where a child writes, and its parent reads.
struct Own {
    report: File,
    remarks: File,
}

impl Own {
    fn new() -> Result<Own> {
        let file = |name| memfd_create(name, MemfdFlags::CLOEXEC).context("memfd_create");
        Ok(Own {
            report: file(c"stallbox-report")?.into(),
            remarks: file(c"stallbox-remarks")?.into(),
        })
    }

    /// The child's run is over.
    fn end(mut self, report: Result<(Report, Vec<u8>)>) -> ! {
        let written = match report {
            Ok((report, bundle)) => protocol::send(&mut self.report, &report, &bundle),
            Err(error) => {
                let _ = writeln!(self.remarks, "stallbox: {error:#}");
                checkpoint::leave(Outcome::ERROR.into())
            }
        };
        checkpoint::leave(match written {
            Ok(()) => 0,
            Err(_) => Outcome::ERROR.into(),
        })
    }
}

impl Ward {
    /// What has become of it, once it has ended.
    fn gather(mut self) -> (u64, Done) {
        let ended = self.process.wait();
        let mut remarks = Vec::new();
        let _ = self.files.remarks.seek(SeekFrom::Start(0));
        let _ = (&self.files.remarks)
            .take(REMARKS_MAX)
            .read_to_end(&mut remarks);
        let mut report = None;
        if let Ok(Ended::Status(0)) = ended {
            let _ = self.files.report.seek(SeekFrom::Start(0));
            report = protocol::receive(&self.files.report).ok().flatten();
        }
        let died = match (&report, ended, self.is_late) {
            (Some(_), ..) => None,
            (None, _, true) => Some(Died::Late),
            (None, Ok(Ended::Signal(signal)), false) => Some(Died::Signal(signal)),
            (None, Ok(Ended::Status(status)), false) => Some(Died::Status(status)),
            (None, Err(_), false) => Some(Died::Status(Outcome::ERROR.into())),
        };
        let (report, bundle) = report.unzip();
        let done = Done {
            died,
            report: report.map(Box::new),
            remarks: String::from_utf8_lossy(&remarks).into_owned(),
            bundle: bundle.unwrap_or_default(),
        };
        (self.id, done)
    }
}

impl Station<'_> {
    /// Forks children until the run is to end, or this is one of them.
    fn serve(&mut self, world: &World) -> Result<Option<Outcome>> {
        if !self.is_known_to_stand {
            self.is_known_to_stand = true;
            let time_ns = world.now().as_ns();
            let inputs = self.inputs.clone();
            let ready = Message::Ready { time_ns, inputs };
            protocol::send(self.messages, &ready, &[])?;
        }
        loop {
            // What was ordered before comes first, as long as there are no more orders.
            let birth = self.waiting.pop_front();
            let is_idle = birth.is_none();
            if let Some(birth) = birth
                && self.fork(birth, world)?
            {
                return Ok(None);
            }
            if !self.wait(is_idle)? {
                continue;
            }
            let Some((order, _)) = protocol::receive(self.orders)? else {
                return Ok(Some(Outcome::Quit));
            };
            match order {
                Order::Run(birth) => self.waiting.push_back(birth),
                Order::Do { requests } => self.perform(world, requests),
                Order::Advance { to_ns } => {
                    self.is_known_to_stand = false;
                    self.deadline = self.spec.boot_limit.map(|limit| Instant::now() + limit);
                    world.pause.run_until(Time::from_ns(to_ns));
                    return Ok(None);
                }
            }
        }
    }

    /// Whether there is an order, for which it waits if it `may_wait`; tells of children that have ended.
    fn wait(&mut self, may_wait: bool) -> Result<bool> {
        let due = self
            .children
            .iter()
            .filter_map(|child| child.deadline)
            .min();
        let limit = due.map(|due| due.saturating_duration_since(Instant::now()));
        let limit = limit.map(Timespec::try_from).transpose()?;
        let limit = if may_wait {
            limit
        } else {
            Some(Timespec::default())
        };
        let mut fds = vec![PollFd::new(self.orders, PollFlags::IN)];
        let children = self.children.iter();
        fds.extend(children.map(|child| PollFd::new(&child.process, PollFlags::IN)));
        match poll(&mut fds, limit.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(false),
            polled => polled.context("poll")?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (is_asked, ended) = (ready[0], &ready[1..]);
        for index in (0..ended.len()).rev().filter(|&index| ended[index]) {
            let (id, mut done) = self.children.remove(index).gather();
            let bundle = std::mem::take(&mut done.bundle);
            protocol::send(self.messages, &Message::Done { id, done }, &bundle)?;
        }
        let now = Instant::now();
        let is_late = |child: &&mut Ward| child.deadline.is_some_and(|due| due <= now);
        for child in self.children.iter_mut().filter(is_late) {
            child.is_late = true;
            child.deadline = None;
            child.process.kill();
        }
        Ok(is_asked)
    }

    /// Forks a child; true in it.
    fn fork(&mut self, birth: Birth, world: &World) -> Result<bool> {
        let files = Own::new()?;
        match checkpoint::fork() {
            Ok(Side::Parent(process)) => {
                let limit = self.spec.run_limit;
                self.children.push(Ward {
                    id: birth.id,
                    process,
                    files,
                    deadline: limit.map(|limit| Instant::now() + limit + GRACE),
                    is_late: false,
                });
                Ok(false)
            }
            Ok(Side::Child) => {
                if let Err(error) = self.become_child(&files, world, birth) {
                    files.end(Err(error));
                }
                self.child = Some(files);
                Ok(true)
            }
            // There may be room for it once another has ended.
            Err(_) if !self.children.is_empty() => {
                self.waiting.push_front(birth);
                self.wait(true)?;
                Ok(false)
            }
            Err(error) => Err(error).context("cannot start a process"),
        }
    }

    /// This process is a child now: it belongs to itself, and does what it was made for.
    fn become_child(&mut self, files: &Own, world: &World, birth: Birth) -> Result<()> {
        for sibling in std::mem::take(&mut self.children) {
            sibling.process.disown();
        }
        dup2_stderr(files.remarks.as_fd()).context("dup2")?;
        stallbox_output::stderr_was_replaced();
        let limit = Rlimit {
            current: Some(self.memory),
            ..getrlimit(Resource::Data)
        };
        setrlimit(Resource::Data, limit).context("setrlimit")?;
        checkpoint::begin()?;
        self.deadline = self.spec.run_limit.map(|limit| Instant::now() + limit);
        if let Some(rule) = self.spec.rule.clone() {
            self.watch_rule(world, &rule);
        }
        if let Some(until_ns) = birth.until_ns {
            world.pause.set_stop_at(Some(Time::from_ns(until_ns)));
            self.watch_trace(world);
        }
        self.perform(world, birth.requests);
        world.pause.set_paused(false);
        Ok(())
    }

    fn perform(&mut self, world: &World, requests: Vec<String>) {
        let inputs: Vec<Input> = requests.into_iter().map(Input::Request).collect();
        journal::perform(&inputs, world);
        self.journal.note(self.place, world, inputs);
    }

    /// Keeps the trace's lines from here on.
    fn watch_trace(&self, world: &World) {
        let kept = self.trace.clone();
        world.tracer.observe(Box::new(move |emitted| {
            let mut kept = kept.borrow_mut();
            if kept.len() < TRACE_MAX {
                let line = String::from_utf8_lossy(emitted.line);
                kept.push(line.trim_end().to_owned());
            }
        }));
    }

    /// Keeps the first event of a rule's.
    fn watch_rule(&self, world: &World, rule: &str) {
        let kept = self.injection.clone();
        let named = format!("\"rule\":{}", json!(rule));
        world.tracer.observe(Box::new(move |emitted| {
            let mut kept = kept.borrow_mut();
            if kept.is_none() {
                let line = String::from_utf8_lossy(emitted.line);
                *kept = line.contains(&named).then(|| line.trim_end().to_owned());
            }
        }));
    }
}

impl Watch for Station<'_> {
    fn stands_at(&mut self, place: Option<Place>) {
        self.place = place;
    }

    fn look(&mut self, world: &World, _vcpus: &dyn Fn() -> Vec<VcpuState>) -> Option<Outcome> {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Some(Outcome::Timeout);
        }
        // Where something is half done, there is no place.
        if self.child.is_some() || !world.pause.is_paused() || self.place.is_none() {
            return None;
        }
        match self.serve(world) {
            Ok(outcome) => outcome,
            Err(error) => {
                // Unless whoever would be told has gone.
                let told = Message::Failed(format!("{error:#}"));
                let _ = protocol::send(self.messages, &told, &[]);
                Some(Outcome::Quit)
            }
        }
    }
}

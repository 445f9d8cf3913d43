//! Fault plans at work: between the points of the models and the rules of a plan.
//!
//! The models ask ([`stallbox_smmu::Probe`], [`stallbox_devices::hisi::DeviceProbe`],
//! [`stallbox_devices::test_engine::EngineProbe`]); here what
//! they ask about becomes a [`Subject`], the [`Player`] says which rule takes it, and that becomes a
//! verdict. What a rule makes happen elsewhere is done by a callback on the timeline, at the same
//! time but never inside the call of a model.

mod device;
mod effects;
mod smmu;
mod targets;
mod words;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use stallbox_faultplan::{Effect, Fired, Gates, Plan, Player, Point, Rule, Subject};
use stallbox_smmu::{Points, StreamId};
use stallbox_timeline::{Gate, Span, Time, Timeline};
use stallbox_trace::{Event, Tracer};

use super::{Devices, Pause};
use device::InFlight;
pub(crate) use words::{command as command_subject, record as record_subject};

/// The fault plan of one machine. A machine without a plan has one too, which does nothing until
/// somebody adds a rule.
pub struct Faults {
    player: Player,
    gates: Gates,
    timeline: Timeline,
    tracer: Tracer,
    /// The machine's, once it is complete.
    devices: RefCell<Weak<Devices>>,
    pause: Rc<Pause>,
    /// The tag of the last CMD_RESUME of each stream.
    last_resume: RefCell<BTreeMap<StreamId, u16>>,
    /// The device's accesses under way, if a rule asks what they are for.
    in_flight: RefCell<Vec<InFlight>>,
    follows_in_flight: Cell<bool>,
    fault_loop: Option<u64>,
    loops: Cell<u64>,
    /// Accesses of effects that are under way.
    touching: Rc<Cell<u32>>,
    /// The last time at which there were effects, and how many.
    effects_at: Cell<(Time, u32)>,
    /// Points that checkers want to be told of, beside the plan's.
    more_points: Cell<Points>,
}

/// A rule's decision, to be turned into a model's verdict.
struct Taken {
    rule: Rc<Rule>,
    wait: Option<Gate>,
    delay: Span,
}

impl Faults {
    pub(super) fn new(
        plan: &Plan,
        seed: u64,
        timeline: &Timeline,
        tracer: &Tracer,
        pause: &Rc<Pause>,
    ) -> Rc<Faults> {
        let faults = Rc::new(Faults {
            player: Player::new(plan, seed),
            gates: Gates::default(),
            timeline: timeline.clone(),
            tracer: tracer.clone(),
            devices: RefCell::default(),
            pause: pause.clone(),
            last_resume: RefCell::default(),
            in_flight: RefCell::default(),
            follows_in_flight: Cell::default(),
            fault_loop: plan.fault_loop,
            loops: Cell::default(),
            touching: Rc::default(),
            effects_at: Cell::default(),
            more_points: Cell::default(),
        });
        if !plan.is_empty() {
            tracer.emit(Event::Plan {
                rules: plan.rules.len(),
                seed: plan.seed.unwrap_or(seed),
            });
        }
        faults
    }

    /// The machine is complete: from now on rules take effect. `points` are those that others want
    /// the SMMU to tell of.
    pub(super) fn attach(self: &Rc<Self>, devices: &Rc<Devices>, points: Points) {
        self.more_points.set(points);
        *self.devices.borrow_mut() = Rc::downgrade(devices);
        self.rules_changed();
        for rule in self.player.timed() {
            self.plan_next(rule, None);
        }
    }

    /// The models ask only where a rule, or a checker, is interested.
    fn rules_changed(&self) {
        let mut points = self.more_points.get();
        if self.fault_loop.is_some() {
            points |= Points::TRANSLATION;
        }
        for (point, watched) in [
            (Point::Translation, Points::TRANSLATION),
            (Point::Record, Points::RECORD),
            (Point::Command, Points::COMMAND),
            (Point::Interrupt, Points::INTERRUPT),
            (Point::PageRequest, Points::PAGE_REQUEST),
        ] {
            if self.player.wants(point) {
                points |= watched;
            }
        }
        if let Some(devices) = self.devices() {
            devices.smmu().watch(points);
        }
        let counts = self.player.counts();
        let follows = counts.iter().any(|count| {
            let filter = &count.rule.filter;
            count.rule.at == Point::Translation && (filter.queue.is_some() || filter.ring.is_some())
        });
        self.follows_in_flight.set(follows);
    }

    /// Adds a rule while the machine runs; false if there are too many.
    pub fn add(self: &Rc<Self>, rule: Rule) -> bool {
        let timed = rule.at == Point::Time;
        if !self.player.add(rule) {
            return false;
        }
        self.rules_changed();
        if timed && let Some(rule) = self.player.timed().pop() {
            self.plan_next(rule, None);
        }
        true
    }

    /// The rules with their counts.
    pub fn player(&self) -> &Player {
        &self.player
    }

    /// The gates.
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// What effects act on, once the machine is complete.
    fn devices(&self) -> Option<Rc<Devices>> {
        self.devices.borrow().upgrade()
    }

    /// How many loops of faults were named.
    pub fn loops(&self) -> u64 {
        self.loops.get()
    }

    /// A rule at a time fires then, and again if it has a period.
    fn plan_next(self: &Rc<Self>, rule: Rc<Rule>, last: Option<Time>) {
        let at = match (last, rule.when.period_ns) {
            (None, _) => Time::from_ns(rule.when.from_ns.unwrap_or(0)),
            (Some(last), Some(period)) => last + Span::from_ns(period),
            (Some(_), None) => return,
        };
        let faults = Rc::downgrade(self);
        self.timeline.at(at, move || {
            let Some(faults) = faults.upgrade() else {
                return;
            };
            let now = faults.timeline.now();
            if rule.when.until_ns.is_some_and(|until| now.as_ns() >= until) {
                return;
            }
            faults.take_rule(&rule);
            faults.plan_next(rule, Some(now));
        });
    }

    /// A rule at a time is one of several at that point; only it is meant.
    fn take_rule(self: &Rc<Self>, rule: &Rc<Rule>) {
        let subject = Subject::at(Point::Time);
        if let Some(fired) = self.player.ask_rule(self.timeline.now(), rule, &subject) {
            self.take(&subject, fired);
        }
    }

    /// The guest told a marker.
    pub(super) fn marker(self: &Rc<Self>, name: &str) {
        self.player.marker(name);
        let subject = Subject {
            marker: Some(name),
            ..Subject::at(Point::Marker)
        };
        self.ask(&subject);
    }

    fn ask(self: &Rc<Self>, subject: &Subject<'_>) -> Option<Taken> {
        let fired = self.player.ask(self.timeline.now(), subject)?;
        Some(self.take(subject, fired))
    }

    fn take(self: &Rc<Self>, subject: &Subject<'_>, fired: Fired) -> Taken {
        let Fired { rule, delay } = fired;
        self.tracer.emit(Event::Injection {
            rule: rule.name.clone(),
            at: subject.point.name(),
            act: words::act(&rule.act),
            delay_ns: delay.as_ns(),
            gate: rule.gate.as_ref().map(|gate| gate.name.clone()),
            stream: subject.stream,
            pasid: subject.pasid,
            address: subject.address.map(|(first, _)| first),
            queue: subject.queue,
            code: subject.code,
        });
        let wait = rule
            .gate
            .as_ref()
            .and_then(|gate| self.gates.come(gate, &self.timeline));
        if !rule.effects.is_empty()
            && let Some(devices) = self.devices()
        {
            for effect in &rule.effects {
                self.do_soon(&rule.name, targets::filled_in(&devices, effect, subject));
            }
        }
        Taken { rule, wait, delay }
    }

    /// What to wait for: the gate, then the delay.
    fn wait(&self, taken: &Taken) -> Option<Gate> {
        let delay = taken.delay;
        match (&taken.wait, delay) {
            (None, Span::ZERO) => None,
            (Some(gate), Span::ZERO) => Some(gate.clone()),
            (None, delay) => {
                let gate = Gate::new();
                let opener = gate.clone();
                self.timeline.after(delay, move || opener.open());
                Some(gate)
            }
            (Some(first), delay) => {
                let gate = Gate::new();
                let (first, opener, timeline) =
                    (first.clone(), gate.clone(), self.timeline.clone());
                self.timeline.spawn(async move {
                    first.passed().await;
                    timeline.sleep(delay).await;
                    opener.open();
                });
                Some(gate)
            }
        }
    }

    /// Does something at the present time, after whoever is at work now.
    pub(crate) fn do_soon(self: &Rc<Self>, by: &str, effect: Effect) {
        let (faults, by) = (Rc::downgrade(self), by.to_owned());
        self.timeline.after(Span::ZERO, move || {
            if let Some(faults) = faults.upgrade() {
                // What could not be done is in the trace.
                let _ = faults.perform(&by, &effect);
            }
        });
    }

    /// The delay of a step, which has no verdict.
    fn delay(self: &Rc<Self>, subject: &Subject<'_>) -> Span {
        if !self.player.wants(subject.point) {
            return Span::ZERO;
        }
        self.ask(subject).map_or(Span::ZERO, |taken| taken.delay)
    }
}

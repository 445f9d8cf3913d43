//! Fault plans at work: between the points of the models and the rules of a plan.
//!
//! The models ask ([`stallbox_smmu::Probe`], [`stallbox_devices::function::DeviceProbe`]); here what they
//! ask about becomes a [`Subject`], the [`Player`] says which rule takes it, and that becomes a verdict. What a rule makes happen elsewhere is done by a callback on the timeline, at the same
//! time but never inside the call of a model.

mod device;
mod effects;
mod smmu;
mod targets;
pub(crate) mod words;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use stallbox_faultplan::{After, Effect, Fired, Gates, Plan, Player, Point, Rule, Subject};
use stallbox_smmu::{Points, StreamId};
use stallbox_timeline::{Gate, Span, Time, Timeline};
use stallbox_trace::{Event, Hex, Name, Tracer};

use crate::ledger::{Ledger, Took};
use crate::{Devices, Pause};
use device::InFlight;
pub use words::{command as command_subject, record as record_subject};

/// More that waits for its time after rules would only fill the host's memory.
const WAITING_MAX: u32 = 10_000;

/// The fault plan of one machine. A machine without a plan has one too, which does nothing until
/// somebody adds a rule.
pub struct Faults {
    player: Player,
    gates: Gates,
    timeline: Timeline,
    tracer: Tracer,
    ledger: Rc<Ledger>,
    /// The machine's, once it is complete.
    devices: RefCell<Weak<Devices>>,
    pause: Rc<Pause>,
    /// The tag of the last CMD_RESUME of each stream.
    last_resume: RefCell<BTreeMap<StreamId, u16>>,
    /// The devices' accesses under way.
    in_flight: RefCell<Vec<InFlight>>,
    /// A rule asks what they are for.
    follows_in_flight: Cell<bool>,
    fault_loop: Option<u64>,
    loops: Cell<u64>,
    /// Accesses of effects that are under way.
    touching: Rc<Cell<u32>>,
    /// The last time at which there were effects, and how many.
    effects_at: Cell<(Time, u32)>,
    /// Effects, rules and gates that wait for their time after a rule.
    waiting: Cell<u32>,
    /// Points that checkers want to be told of, beside the plan's.
    more_points: Cell<Points>,
}

/// A rule's decision, to be turned into a model's verdict.
struct Taken {
    rule: Rc<Rule>,
    wait: Option<Gate>,
    delay: Span,
    took: Took,
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
            ledger: Ledger::new(timeline),
            devices: RefCell::default(),
            pause: pause.clone(),
            last_resume: RefCell::default(),
            in_flight: RefCell::default(),
            follows_in_flight: Cell::default(),
            fault_loop: plan.fault_loop,
            loops: Cell::default(),
            touching: Rc::default(),
            effects_at: Cell::default(),
            waiting: Cell::default(),
            more_points: Cell::default(),
        });
        if !plan.is_empty() {
            tracer.emit(Event::Plan {
                rules: plan.rules.len() as u64,
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
            self.begin(rule);
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
            self.begin(rule);
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

    /// What is open, and what rules did to it.
    pub(crate) fn ledger(&self) -> &Rc<Ledger> {
        &self.ledger
    }

    /// How many loops of faults were named.
    pub fn loops(&self) -> u64 {
        self.loops.get()
    }

    /// A rule at a time begins; one that follows another rule waits for that.
    fn begin(self: &Rc<Self>, rule: Rc<Rule>) {
        if rule.when.after_rule.is_none() {
            self.plan_next(rule, None);
        }
    }

    /// A rule of this name fired: rules at a time that follow it, and gates that it opens.
    fn follow(self: &Rc<Self>, name: &str) {
        for rule in self.player.followers(name) {
            let follows = |after: &Option<After>| match after {
                Some(after) if after.rule == name => Some(Span::from_ns(after.ns)),
                _ => None,
            };
            if rule.at == Point::Time
                && let Some(span) = follows(&rule.when.after_rule)
            {
                let rule = rule.clone();
                self.later(name, span, move |faults| faults.take_rule(&rule));
            }
            if let Some(gate) = &rule.gate
                && let Some(span) = follows(&gate.after_rule)
            {
                let gate = gate.name.clone();
                self.later(name, span, move |faults| {
                    faults.gates.open(&gate);
                });
            }
        }
    }

    /// Does something after `span`. What a plan has waiting is bounded: more is left out, and the trace
    /// says so.
    fn later(self: &Rc<Self>, by: &str, span: Span, what: impl FnOnce(&Rc<Faults>) + 'static) {
        if self.waiting.get() >= WAITING_MAX {
            self.tracer.emit(Event::EffectLeftOut { by: by.to_owned() });
            return;
        }
        self.waiting.set(self.waiting.get() + 1);
        let faults = Rc::downgrade(self);
        self.timeline.after(span, move || {
            if let Some(faults) = faults.upgrade() {
                faults.waiting.set(faults.waiting.get() - 1);
                what(&faults);
            }
        });
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
            at: Name(subject.point),
            act: (&rule.act).into(),
            delay_ns: delay.as_ns(),
            gate: rule.gate.as_ref().map(|gate| gate.name.clone()),
            stream: subject.stream,
            pasid: subject.pasid,
            address: subject.address.map(|(first, _)| Hex(first)),
            queue: subject.queue,
            code: subject.code,
        });
        let took = self.ledger.taken(subject, &rule, delay);
        let wait = rule
            .gate
            .as_ref()
            .and_then(|gate| self.gates.come(gate, &self.timeline));
        if !rule.effects.is_empty()
            && let Some(devices) = self.devices()
        {
            let later = Span::from_ns(rule.effects_after_ns);
            for effect in &rule.effects {
                let effect = targets::filled_in(&devices, effect, subject);
                if later == Span::ZERO {
                    self.do_soon(&rule.name, effect);
                } else {
                    let by = rule.name.clone();
                    self.later(&rule.name, later, move |faults| {
                        // What could not be done is in the trace.
                        let _ = faults.perform(&by, &effect);
                    });
                }
            }
        }
        self.follow(&rule.name);
        Taken {
            rule,
            wait,
            delay,
            took,
        }
    }

    /// What to wait for: the gate, then the delay.
    fn wait(&self, taken: &Taken) -> Option<Gate> {
        let gate = self.gate(taken)?;
        self.ledger.waits_at(&taken.took, &gate);
        Some(gate)
    }

    fn gate(&self, taken: &Taken) -> Option<Gate> {
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
        self.ask(subject)
            .map_or(Span::ZERO, |taken| self.delay_of(&taken))
    }

    fn delay_of(&self, taken: &Taken) -> Span {
        if taken.delay > Span::ZERO {
            self.ledger.waits_for(&taken.took, taken.delay);
        }
        taken.delay
    }
}

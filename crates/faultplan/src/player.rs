//! A plan at work: asked about each thing that comes by, it says which rule takes it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rand_core::Rng as _;
use stallbox_timeline::{Rng, Sampler, Span, Time, seeded};

use crate::index::Index;
use crate::parse::{Plan, RULES_MAX};
use crate::point::Point;
use crate::rule::{Rule, Subject};

/// A plan with its state. Rules can be added to it, never removed; one can be switched off.
pub struct Player {
    /// What rules that are added draw from.
    seed: Cell<u64>,
    rules: RefCell<Vec<Rc<Active>>>,
    /// For each point, its rules in order.
    by_point: RefCell<[There; Point::ALL.len()]>,
    markers: RefCell<BTreeSet<String>>,
    /// By the name of a rule, those that wait for it to fire.
    followers: RefCell<BTreeMap<String, Vec<Rc<Active>>>>,
}

/// Fewer rules than this are looked at one by one, which is quicker.
const INDEXED_MIN: usize = 12;

/// The rules at one point.
#[derive(Default)]
struct There {
    rules: Vec<Rc<Active>>,
    /// Made when the first question comes after a change.
    index: OnceCell<Index>,
}

impl There {
    fn add(&mut self, rule: Rc<Active>) {
        self.rules.push(rule);
        self.index.take();
    }

    /// The first rule that takes `subject`.
    fn ask(&self, now: Time, subject: &Subject<'_>) -> Option<Fired> {
        if self.rules.len() < INDEXED_MIN {
            return self.rules.iter().find_map(|rule| rule.ask(now, subject));
        }
        let filters = || self.rules.iter().map(|active| &active.rule.filter);
        let index = self.index.get_or_init(|| Index::of(filters()));
        index.find(subject, |place| self.rules[place].ask(now, subject))
    }
}

struct Active {
    rule: Rc<Rule>,
    on: Cell<bool>,
    matched: Cell<u64>,
    /// Takes the match of this number alone.
    only: Cell<Option<u64>>,
    fired: Cell<u64>,
    /// When it fired first.
    first: Cell<Option<Time>>,
    rng: RefCell<Rng>,
    delay: Option<Sampler>,
    /// The markers that the rule waits for have, or have not, been told.
    after: Cell<bool>,
    over: Cell<bool>,
    /// From then on the rule that this one waits for has fired for long enough.
    since: Cell<Option<Time>>,
}

/// A rule took something.
#[derive(Clone, Debug)]
pub struct Fired {
    /// Which.
    pub rule: Rc<Rule>,
    /// How much longer it takes, drawn.
    pub delay: Span,
}

/// How often a rule's time came.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleCount {
    /// The rule.
    pub rule: Rc<Rule>,
    /// Whether it is switched on.
    pub on: bool,
    /// How much it matched, taken or not.
    pub matched: u64,
    /// How much it took.
    pub fired: u64,
}

impl Player {
    /// A plan at its beginning. `seed` counts if the plan has none.
    pub fn new(plan: &Plan, seed: u64) -> Player {
        let player = Player {
            seed: Cell::new(plan.seed.unwrap_or(seed)),
            rules: RefCell::default(),
            by_point: RefCell::default(),
            markers: RefCell::default(),
            followers: RefCell::default(),
        };
        for rule in &plan.rules {
            player.add(rule.clone());
        }
        player
    }

    /// Adds a rule behind the others; false if there are as many as can be.
    pub fn add(&self, rule: Rule) -> bool {
        let mut rules = self.rules.borrow_mut();
        if rules.len() >= RULES_MAX {
            return false;
        }
        let stream = stream(rules.len(), &rule);
        let active = {
            let markers = self.markers.borrow();
            let told =
                |name: &Option<String>| name.as_ref().is_some_and(|name| markers.contains(name));
            let first_fired = |name: &str| -> Option<Time> {
                let named = rules.iter().filter(|active| active.rule.name == name);
                named.filter_map(|active| active.first.get()).min()
            };
            let after = rule.when.after_rule.as_ref();
            let since = after.and_then(|it| Some(first_fired(&it.rule)? + Span::from_ns(it.ns)));
            let before = rule.when.before_rule.as_deref();
            let over = before.is_some_and(|name| first_fired(name).is_some());
            Rc::new(Active {
                on: Cell::new(rule.enabled),
                matched: Cell::new(0),
                only: Cell::default(),
                fired: Cell::new(0),
                first: Cell::default(),
                rng: RefCell::new(seeded(self.seed.get(), &stream)),
                delay: rule
                    .delay
                    .clone()
                    .map(|dist| Sampler::new(dist, self.seed.get(), &delays(&stream))),
                after: Cell::new(rule.when.after_marker.is_none() || told(&rule.when.after_marker)),
                over: Cell::new(told(&rule.when.before_marker) || over),
                since: Cell::new(since),
                rule: Rc::new(rule),
            })
        };
        let mut awaited: Vec<&str> = active.rule.awaits().collect();
        awaited.dedup();
        for name in awaited {
            let mut followers = self.followers.borrow_mut();
            followers
                .entry(name.to_owned())
                .or_default()
                .push(active.clone());
        }
        self.by_point.borrow_mut()[active.rule.at as usize].add(active.clone());
        rules.push(active);
        true
    }

    /// Whether any rule is about this point.
    pub fn wants(&self, point: Point) -> bool {
        !self.by_point.borrow()[point as usize].rules.is_empty()
    }

    /// The first rule that takes `subject`, which is what then happens. Rules behind it are not
    /// asked, and do not count it.
    pub fn ask(&self, now: Time, subject: &Subject<'_>) -> Option<Fired> {
        let fired = self.by_point.borrow()[subject.point as usize].ask(now, subject)?;
        self.tell(now, &fired.rule.name);
        Some(fired)
    }

    /// Whether this rule, and no other, takes `subject`: for a rule whose time has come.
    pub fn ask_rule(&self, now: Time, rule: &Rc<Rule>, subject: &Subject<'_>) -> Option<Fired> {
        let by_point = self.by_point.borrow();
        let mut there = by_point[subject.point as usize].rules.iter();
        let active = there.find(|active| Rc::ptr_eq(&active.rule, rule))?;
        let fired = active.ask(now, subject)?;
        drop(by_point);
        self.tell(now, &fired.rule.name);
        Some(fired)
    }

    /// A rule of this name has fired: what waits for the first time, waits no more.
    fn tell(&self, now: Time, name: &str) {
        let followers = self.followers.borrow();
        let Some(followers) = followers.get(name) else {
            return;
        };
        for active in followers {
            let when = &active.rule.when;
            if let Some(after) = when.after_rule.as_ref().filter(|it| it.rule == name)
                && active.since.get().is_none()
            {
                active.since.set(Some(now + Span::from_ns(after.ns)));
            }
            if when.before_rule.as_deref() == Some(name) {
                active.over.set(true);
            }
        }
    }

    /// The rules that wait for one of this name to fire: those at [`Point::Time`], and those whose gate it
    /// opens, are the caller's to serve.
    pub fn followers(&self, name: &str) -> Vec<Rc<Rule>> {
        let followers = self.followers.borrow();
        let followers = followers.get(name).into_iter().flatten();
        followers.map(|active| active.rule.clone()).collect()
    }

    /// The guest, a rule or a person told a marker.
    pub fn marker(&self, name: &str) {
        // A guest can tell as many as it likes; only those that some rule waits for are kept.
        let rules = self.rules.borrow();
        let mut awaited = false;
        for active in rules.iter() {
            let when = &active.rule.when;
            if when.after_marker.as_deref() == Some(name) {
                active.after.set(true);
                awaited = true;
            }
            if when.before_marker.as_deref() == Some(name) {
                active.over.set(true);
                awaited = true;
            }
        }
        if awaited {
            self.markers.borrow_mut().insert(name.to_owned());
        }
    }

    /// The rules at [`Point::Time`].
    pub fn timed(&self) -> Vec<Rc<Rule>> {
        let by_point = self.by_point.borrow();
        let timed = by_point[Point::Time as usize].rules.iter();
        timed.map(|active| active.rule.clone()).collect()
    }

    /// Switches the rules of that name on or off: how many there are.
    pub fn switch(&self, name: &str, on: bool) -> usize {
        let rules = self.rules.borrow();
        let named = rules.iter().filter(|active| active.rule.name == name);
        named.inspect(|active| active.on.set(on)).count()
    }

    /// From now on all rules draw as those of a plan at its beginning do for `seed`, whatever seed the
    /// plan has.
    pub fn reseed(&self, seed: u64) {
        self.seed.set(seed);
        for (index, active) in self.rules.borrow().iter().enumerate() {
            let stream = stream(index, &active.rule);
            *active.rng.borrow_mut() = seeded(seed, &stream);
            if let Some(delay) = &active.delay {
                delay.reseed(seed, &delays(&stream));
            }
        }
    }

    /// From now on the rules of that name count what matches from 1, and take the `nth` alone (none, if
    /// it is 0), instead of what `nth`, `every`, `times` and `probability` say: how many rules there are.
    pub fn take_only(&self, name: &str, nth: u64) -> usize {
        let rules = self.rules.borrow();
        let named = rules.iter().filter(|active| active.rule.name == name);
        let begin = |active: &&Rc<Active>| {
            active.matched.set(0);
            active.only.set(Some(nth));
        };
        named.inspect(begin).count()
    }

    /// All rules with their counts, in order.
    pub fn counts(&self) -> Vec<RuleCount> {
        let rules = self.rules.borrow();
        let count = |active: &Rc<Active>| RuleCount {
            rule: active.rule.clone(),
            on: active.on.get(),
            matched: active.matched.get(),
            fired: active.fired.get(),
        };
        rules.iter().map(count).collect()
    }
}

impl Active {
    #[inline]
    fn ask(&self, now: Time, subject: &Subject<'_>) -> Option<Fired> {
        if !self.rule.filter.takes(subject) {
            return None;
        }
        self.consider(now)
    }

    /// At [`Point::Time`] it is asked when that is so.
    fn is_long_enough_after(&self, now: Time) -> bool {
        self.rule.when.after_rule.is_none()
            || self.rule.at == Point::Time
            || self.since.get().is_some_and(|since| now >= since)
    }

    /// It matches; whether it is taken.
    fn consider(&self, now: Time) -> Option<Fired> {
        let when = &self.rule.when;
        let ns = now.as_ns();
        let in_time = self.on.get()
            && self.after.get()
            && !self.over.get()
            && self.is_long_enough_after(now)
            && when.from_ns.is_none_or(|from| ns >= from)
            && when.until_ns.is_none_or(|until| ns < until)
            && (self.only.get().is_some()
                || when.times.is_none_or(|times| self.fired.get() < times));
        if !in_time {
            return None;
        }
        let number = self.matched.get() + 1;
        self.matched.set(number);
        let due = match (self.only.get(), when.nth, when.every) {
            (Some(only), ..) => number == only,
            (None, None, None) => true,
            (None, Some(nth), None) => number == nth,
            (None, None, Some(every)) => number.is_multiple_of(every),
            (None, Some(nth), Some(every)) => number >= nth && (number - nth).is_multiple_of(every),
        };
        if !due {
            return None;
        }
        if self.only.get().is_none()
            && let Some(probability) = when.probability
            && unit(&mut self.rng.borrow_mut()) >= probability
        {
            return None;
        }
        if self.fired.get() == 0 {
            self.first.set(Some(now));
        }
        self.fired.set(self.fired.get() + 1);
        Some(Fired {
            rule: self.rule.clone(),
            delay: self.delay.as_ref().map_or(Span::ZERO, Sampler::draw),
        })
    }
}

/// A stream for each rule: one draw more in one does not shift those of another.
fn stream(index: usize, rule: &Rule) -> String {
    format!("plan {index} {}", rule.name)
}

fn delays(stream: &str) -> String {
    format!("{stream} delay")
}

/// Uniform in [0, 1), 53 bits.
fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

//! What comes from outside while a run lasts: written down where it is recorded, and done again where it
//! is repeated.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use stallbox_bundle::{Chain, End, Input, Place, Turn};
use stallbox_machine::World;
use stallbox_machine::outcome::Outcome;
use stallbox_timeline::Time;
use stallbox_trace::{Emitted, Tracer};

use crate::control;

/// What becomes of what comes from outside.
#[derive(Default)]
pub(crate) enum Journal {
    /// It is done and forgotten.
    #[default]
    None,
    /// It is written down.
    Record(Vec<Turn>),
    /// There is none but what was written down.
    Replay(Script),
}

/// A run to be repeated.
pub(crate) struct Script {
    turns: VecDeque<Turn>,
    end: End,
    difference: Difference,
}

/// Where the repetition goes another way, once it does.
pub(crate) type Difference = Rc<RefCell<Option<String>>>;

impl Script {
    /// What was recorded.
    pub(crate) fn new(turns: Vec<Turn>, end: End, difference: Difference) -> Script {
        Script {
            turns: turns.into(),
            end,
            difference,
        }
    }

    /// How the recorded run ended, if the host ended it.
    fn host_end(&self) -> Option<Outcome> {
        match self.end.outcome.as_str() {
            "timeout" => Some(Outcome::Timeout),
            "quit" | "unheard" => Some(Outcome::Quit),
            _ => None,
        }
    }

    fn follow(&mut self, place: Option<Place>, world: &World) -> Option<Outcome> {
        if self.difference.borrow().is_some() {
            return Some(Outcome::Diverged);
        }
        while let Some(turn) = self
            .turns
            .pop_front_if(|turn| place.is_some_and(|it| it >= turn.place))
        {
            let then = Time::from_ps(turn.devices_ps);
            let next = world.timeline.next_event().unwrap_or(Time::NEVER);
            world.timeline.set_now(then.min(next));
            perform(&turn.inputs, world);
            if world.timeline.is_unfinished() {
                // What it set going comes before the next turn.
                return None;
            }
        }
        let outcome = self.host_end()?;
        let is_there = match self.end.place {
            Some(end) => place.is_some_and(|place| place >= end),
            None => {
                world.now().as_ns() >= self.end.time_ns
                    && world.tracer.summary().events >= self.end.events
            }
        };
        (is_there && self.turns.is_empty()).then_some(outcome)
    }
}

/// Does what came from outside, as it was done at first.
pub(crate) fn perform(inputs: &[Input], world: &World) {
    for input in inputs {
        match input {
            Input::Keys(bytes) => world.console_port.enqueue(bytes),
            Input::Request(line) => control::repeat(line, world),
        }
    }
    if inputs.iter().any(|it| matches!(it, Input::Request(_))) {
        let _ = world.timeline.try_run_ready();
    }
}

impl Journal {
    /// Whether a run is repeated.
    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Journal::Replay(_))
    }

    /// Something came from outside.
    pub(crate) fn note(&mut self, place: Option<Place>, world: &World, inputs: Vec<Input>) {
        if let Journal::Record(turns) = self
            && let Some(place) = place
            && !inputs.is_empty()
        {
            turns.push(Turn {
                place,
                time_ns: world.now().as_ns(),
                devices_ps: world.timeline.now().as_ps(),
                inputs,
            });
        }
    }

    /// Does again what came at `place`; an outcome ends the run.
    pub(crate) fn follow(&mut self, place: Option<Place>, world: &World) -> Option<Outcome> {
        match self {
            Journal::Replay(script) => script.follow(place, world),
            Journal::None | Journal::Record(_) => None,
        }
    }

    /// Where something came, or the host ended the run.
    pub(crate) fn next_place(&self) -> Option<Place> {
        let Journal::Replay(script) = self else {
            return None;
        };
        let end = script.host_end().and(script.end.place);
        script.turns.front().map(|turn| turn.place).or(end)
    }
}

fn link(hash: [u8; 32]) -> u16 {
    u16::from_be_bytes([hash[0], hash[1]])
}

/// Makes a chain of hashes along the trace.
pub(crate) fn record_chain(tracer: &Tracer) -> Rc<RefCell<Chain>> {
    let chain = Rc::<RefCell<Chain>>::default();
    // Those that the machine's assembly has emitted are in the hash of all that follow.
    for _ in 0..tracer.summary().events {
        chain.borrow_mut().add(0);
    }
    let kept = chain.clone();
    tracer.observe(Box::new(move |emitted| {
        let mut chain = kept.borrow_mut();
        if chain.has(emitted.events) {
            chain.add(link(emitted.hash()));
        }
    }));
    chain
}

/// Holds the trace against a chain.
pub(crate) fn follow_chain(tracer: &Tracer, chain: Chain, end: End) -> Difference {
    let difference = Difference::default();
    let found = difference.clone();
    tracer.observe(Box::new(move |emitted| {
        let mut found = found.borrow_mut();
        if found.is_none() {
            *found = compare(emitted, &chain, &end);
        }
    }));
    difference
}

fn compare(emitted: &Emitted<'_>, chain: &Chain, end: &End) -> Option<String> {
    let events = emitted.events;
    let recorded = chain.link(events);
    let is_last = events == end.events;
    if recorded.is_none() && !is_last {
        return None;
    }
    let hash = emitted.hash();
    let whole: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let differs = recorded.is_some_and(|it| it != link(hash)) || is_last && whole != end.trace_hash;
    if !differs {
        return None;
    }
    let line = String::from_utf8_lossy(emitted.line);
    let line = line.trim_end();
    let first = (events - 1) / chain.interval() * chain.interval() + 1;
    Some(if first == events {
        format!("event {events} is another one than in the recording: {line}")
    } else {
        format!(
            "one of the events {first} to {events} is another one than in the recording; the last of \
             them is {line}"
        )
    })
}

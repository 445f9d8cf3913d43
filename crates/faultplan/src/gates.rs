//! Gates by name: who waits at them, and what opens them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use stallbox_timeline::{Gate, Span, Timeline};

use crate::GateRef;

/// The named gates of a run. Clones share them.
#[derive(Clone, Default)]
pub struct Gates(Rc<RefCell<BTreeMap<String, Place>>>);

#[derive(Default)]
struct Place {
    open: bool,
    waiting: Vec<Gate>,
    passed: u64,
    /// How often it was opened: a time-out is over when it was, though it may be closed again.
    opened: u64,
}

/// One gate, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateState {
    /// Its name.
    pub name: String,
    /// Whether it is open, and holds nothing any more.
    pub open: bool,
    /// How many wait.
    pub waiting: usize,
    /// How many it let through.
    pub passed: u64,
}

impl Gates {
    /// Something comes to the gate; the gate to wait at, unless it is open.
    pub fn come(&self, to: &GateRef, timeline: &Timeline) -> Option<Gate> {
        let mut places = self.0.borrow_mut();
        let place = places.entry(to.name.clone()).or_default();
        if place.open {
            place.passed += 1;
            return None;
        }
        let gate = Gate::new();
        place.waiting.push(gate.clone());
        let (first, count) = (place.waiting.len() == 1, place.waiting.len());
        let opened = place.opened;
        drop(places);
        if to.open_at.is_some_and(|limit| count >= limit as usize) {
            self.open(&to.name);
        } else if first && let Some(ns) = to.timeout_ns {
            let (gates, name) = (self.clone(), to.name.clone());
            timeline.after(Span::from_ns(ns), move || {
                if gates.opened(&name) == opened {
                    gates.open(&name);
                }
            });
        }
        Some(gate)
    }

    fn opened(&self, name: &str) -> u64 {
        self.0.borrow().get(name).map_or(0, |place| place.opened)
    }

    /// Opens a gate until it is closed, also one that nobody has come to yet: how many it lets go.
    pub fn open(&self, name: &str) -> usize {
        let waiting = {
            let mut places = self.0.borrow_mut();
            let place = places.entry(name.to_owned()).or_default();
            place.open = true;
            place.opened += 1;
            place.passed += place.waiting.len() as u64;
            std::mem::take(&mut place.waiting)
        };
        waiting.iter().for_each(Gate::open);
        waiting.len()
    }

    /// Closes a gate again: what comes from now on waits. One that nobody has come to is closed.
    pub fn close(&self, name: &str) {
        if let Some(place) = self.0.borrow_mut().get_mut(name) {
            place.open = false;
        }
    }

    /// The gates that something has come to or that were opened, by name.
    pub fn list(&self) -> Vec<GateState> {
        let places = self.0.borrow();
        places
            .iter()
            .map(|(name, place)| GateState {
                name: name.clone(),
                open: place.open,
                waiting: place.waiting.len(),
                passed: place.passed,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stallbox_timeline::Time;

    fn gate(open_at: Option<u32>, timeout_ns: Option<u64>) -> GateRef {
        GateRef {
            name: "g".into(),
            open_at,
            timeout_ns,
            after_rule: None,
        }
    }

    #[test]
    fn a_gate_opens_for_all_that_wait_and_stays_open() {
        let (gates, timeline) = (Gates::default(), Timeline::new());
        let held: Vec<Gate> = (0..3)
            .map(|_| gates.come(&gate(None, None), &timeline).unwrap())
            .collect();
        assert!(held.iter().all(|gate| !gate.is_open()));
        assert_eq!(gates.open("g"), 3);
        assert!(held.iter().all(Gate::is_open));
        assert!(gates.come(&gate(None, None), &timeline).is_none());
        assert_eq!(gates.list()[0].passed, 4);
        gates.close("g");
        assert!(gates.come(&gate(None, None), &timeline).is_some());
    }

    #[test]
    fn a_gate_opens_when_enough_have_come() {
        let (gates, timeline) = (Gates::default(), Timeline::new());
        let first = gates.come(&gate(Some(2), None), &timeline).unwrap();
        assert!(!first.is_open());
        let second = gates.come(&gate(Some(2), None), &timeline).unwrap();
        assert!(first.is_open() && second.is_open());
    }

    #[test]
    fn a_gate_that_is_closed_again_has_a_new_time_out() {
        let (gates, timeline) = (Gates::default(), Timeline::new());
        gates.come(&gate(None, Some(500)), &timeline).unwrap();
        timeline.advance_to(Time::from_ns(300));
        gates.open("g");
        gates.close("g");
        let held = gates.come(&gate(None, Some(500)), &timeline).unwrap();
        timeline.advance_to(Time::from_ns(799));
        assert!(!held.is_open());
        timeline.advance_to(Time::from_ns(800));
        assert!(held.is_open());
    }

    #[test]
    fn a_gate_opens_by_itself_in_time() {
        let (gates, timeline) = (Gates::default(), Timeline::new());
        let held = gates.come(&gate(None, Some(500)), &timeline).unwrap();
        timeline.advance_to(Time::from_ns(499));
        assert!(!held.is_open());
        timeline.advance_to(Time::from_ns(500));
        assert!(held.is_open());
    }
}

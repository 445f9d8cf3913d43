//! What a probe decides, the function does; and what it is told to do though nothing gave cause for it.

use stallbox_timeline::{Gate, Span};

use super::guest::*;
use crate::function::{DeviceNote, DeviceStep};
use crate::verdict::{DeviceAct, DeviceVerdict, DmaAccess, Purpose, StepVerdict};

const INTERRUPT: u8 = 1;

fn act(act: DeviceAct) -> DeviceVerdict {
    DeviceVerdict { wait: None, act }
}

fn wait(gate: &Gate) -> DeviceVerdict {
    DeviceVerdict {
        wait: Some(gate.clone()),
        act: DeviceAct::Go,
    }
}

/// Decides about the accesses for one purpose.
fn about(guest: &Guest, purpose: Purpose, verdict: DeviceVerdict) {
    let decide = move |access: DmaAccess| {
        if access.purpose == purpose {
            verdict.clone()
        } else {
            DeviceVerdict::default()
        }
    };
    guest.recorder.1.dma.replace(Some(Box::new(decide)));
}

#[test]
fn an_aborted_access_to_a_ring_fails_the_queue() {
    for (purpose, failure) in [(Purpose::Submission, 2), (Purpose::Completion, 3)] {
        let guest = Guest::new();
        about(&guest, purpose, act(DeviceAct::Fail(0)));
        let mut queue = guest.start(1, Setup::default());
        guest.submit(&mut queue, &[nop(1)]);
        guest.advance(Span::from_ms(1));
        assert_eq!(guest.status(1), 1 << 2 | failure << 8, "{purpose:?}");
        assert_eq!(*guest.memory.msis.borrow(), [0]);
        assert_eq!(guest.poll(&mut queue), None);
    }
}

#[test]
fn an_aborted_access_to_data_is_in_the_completion() {
    let guest = Guest::new();
    about(&guest, Purpose::Data, act(DeviceAct::Fail(0)));
    let done = guest.run_one(copy(SOURCE, DESTINATION, 64));
    assert_eq!((done.status, done.detail), (0x90, SOURCE));
}

#[test]
fn accesses_are_told_with_what_they_are_for() {
    let guest = Guest::new();
    let gate = Gate::new();
    let mut queue = guest.start(2, Setup::default());
    for (purpose, address, bytes, write) in [
        (Purpose::Submission, queue.sq, 64, false),
        (Purpose::Data, SOURCE, 8, false),
        (Purpose::Completion, queue.cq, 32, true),
    ] {
        let held = Gate::new();
        about(&guest, purpose, wait(&held));
        if purpose == Purpose::Submission {
            guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
        }
        guest.advance(Span::from_ms(1));
        let in_flight = guest.recorder.1.in_flight.borrow().clone();
        let expected = DmaAccess {
            purpose,
            queue: Some(2),
            pasid: Some(crate::dma::Pasid(PASID)),
            address,
            bytes,
            write,
        };
        assert_eq!(in_flight, [expected]);
        assert_eq!(guest.poll(&mut queue), None);
        // What comes next waits too, or it would be over before one could look.
        let next = match purpose {
            Purpose::Submission => Purpose::Data,
            _ => Purpose::Completion,
        };
        about(&guest, next, wait(&gate));
        held.open();
    }
    gate.open();
    guest.advance(Span::from_ms(1));
    assert!(guest.poll(&mut queue).is_some());
    assert!(guest.recorder.1.in_flight.borrow().is_empty());
}

const STEPS: [DeviceStep; 3] = [
    DeviceStep::Doorbell,
    DeviceStep::DescriptorFetch,
    DeviceStep::CompletionWrite,
];

#[test]
fn a_step_takes_longer_for_one_queue() {
    for step in STEPS {
        let guest = Guest::new();
        let more = StepVerdict {
            wait: None,
            more: Span::from_ms(10),
        };
        guest.recorder.1.step.replace(Some((step, 1, more)));
        let (mut slow, mut other) = (
            guest.start(1, Setup::default()),
            guest.start(2, Setup::default()),
        );
        guest.submit(&mut slow, &[nop(1)]);
        guest.submit(&mut other, &[nop(2)]);
        guest.advance(Span::from_ms(1));
        assert!(guest.poll(&mut other).is_some(), "{step:?}");
        assert_eq!(guest.poll(&mut slow), None, "{step:?}");
        guest.advance(Span::from_ms(10));
        assert!(guest.poll(&mut slow).is_some(), "{step:?}");
    }
}

#[test]
fn a_step_waits_at_a_gate_for_one_queue() {
    for step in STEPS {
        let guest = Guest::new();
        let gate = Gate::new();
        let held = StepVerdict {
            wait: Some(gate.clone()),
            more: Span::from_ms(10),
        };
        guest.recorder.1.step.replace(Some((step, 1, held)));
        let (mut held, mut other) = (
            guest.start(1, Setup::default()),
            guest.start(2, Setup::default()),
        );
        guest.submit(&mut held, &[nop(1)]);
        guest.submit(&mut other, &[nop(2)]);
        guest.advance(Span::from_ms(20));
        assert!(guest.poll(&mut other).is_some(), "{step:?}");
        assert_eq!(guest.poll(&mut held), None, "{step:?}");
        // The gate first, and then what it takes longer.
        gate.open();
        guest.advance(Span::from_ms(9));
        assert_eq!(guest.poll(&mut held), None, "{step:?}");
        guest.advance(Span::from_ms(2));
        assert!(guest.poll(&mut held).is_some(), "{step:?}");
    }
}

#[test]
fn a_queue_that_is_disabled_at_a_gate_does_not_go_on() {
    for step in STEPS {
        let guest = Guest::new();
        let gate = Gate::new();
        let held = StepVerdict {
            wait: Some(gate.clone()),
            more: Span::ZERO,
        };
        guest.recorder.1.step.replace(Some((step, 1, held)));
        let mut queue = guest.start(1, Setup::default());
        guest.submit(&mut queue, &[nop(1)]);
        guest.advance(Span::from_ms(1));
        guest.function.inject_reset();
        gate.open();
        guest.advance(Span::from_ms(1));
        assert_eq!(guest.poll(&mut queue), None, "{step:?}");
        assert!(guest.function.is_idle(), "{step:?}");
    }
}

#[test]
fn an_interrupt_is_of_the_queue_that_it_tells_of() {
    let guest = Guest::new();
    let told: std::rc::Rc<std::cell::RefCell<Vec<(u16, u16)>>> = Default::default();
    let list = told.clone();
    guest.recorder.1.msi.replace(Some(Box::new(move |it| {
        list.borrow_mut().push(it);
        act(DeviceAct::Go)
    })));
    let mut queue = guest.start(3, Setup::default());
    let tells = Descriptor {
        flags: INTERRUPT,
        ..nop(1)
    };
    guest.run(&mut queue, &[tells]);
    assert!(guest.function.inject_failure(3, 1));
    assert_eq!(*told.borrow(), [(4, 3), (0, 3)]);
}

#[test]
fn interrupts_are_lost_and_late() {
    let guest = Guest::new();
    let gate = Gate::new();
    let held = gate.clone();
    guest
        .recorder
        .1
        .msi
        .replace(Some(Box::new(move |(vector, _)| match vector {
            2 => act(DeviceAct::Drop),
            _ => wait(&held),
        })));
    for number in [1, 3] {
        let mut queue = guest.start(number, Setup::default());
        let told = Descriptor {
            flags: INTERRUPT,
            ..nop(1)
        };
        guest.run(&mut queue, &[told]);
    }
    assert!(guest.memory.msis.borrow().is_empty());
    gate.open();
    guest.advance(Span::from_ms(1));
    // Queue 3's.
    assert_eq!(*guest.memory.msis.borrow(), [4]);
}

#[test]
fn a_register_write_has_no_effect() {
    let guest = Guest::new();
    let at = block(0) as u32;
    guest
        .recorder
        .1
        .register
        .replace(Some(Box::new(move |(register, value)| {
            let lost = (register, value) == (at + 0x20, 7);
            act(if lost { DeviceAct::Drop } else { DeviceAct::Go })
        })));
    guest.write(0, block(0) + 0x20, 7);
    assert_eq!(guest.read(0, block(0) + 0x20), 0);
    guest.write(0, block(0) + 0x20, 8);
    assert_eq!(guest.read(0, block(0) + 0x20), 8);
}

#[test]
fn a_queue_fails_for_no_reason_of_its_own() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    let other = guest.start(1, Setup::default());
    guest.memory.stall(SOURCE..SOURCE + 0x1000);
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.memory.stalled.get(), 1);
    assert!(guest.function.inject_failure(0, 0x2a));
    guest.advance(Span::from_ms(1));
    // FAILED with that number, and BUSY: the access has not come back.
    assert_eq!(guest.status(0), 0x2a << 8 | 1 << 2 | 1 << 1);
    assert_eq!(*guest.memory.msis.borrow(), [0]);
    guest.memory.release();
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.status(0), 0x2a << 8 | 1 << 2);
    assert_eq!(guest.poll(&mut queue), None);
    assert_eq!(guest.status(other.number), 1);
    // It is not enabled any more; the fifth there is not.
    assert!(!guest.function.inject_failure(0, 1));
    assert!(!guest.function.inject_failure(4, 1));
}

#[test]
fn a_reset_calls_off_what_waits_at_a_gate() {
    let guest = Guest::new();
    let gate = Gate::new();
    about(&guest, Purpose::Data, wait(&gate));
    let mut queue = guest.start(0, Setup::default());
    guest.submit(&mut queue, &[copy(SOURCE, DESTINATION, 8)]);
    guest.advance(Span::from_ms(1));
    let issued = guest.memory.log.borrow().len();
    guest.function.inject_reset();
    assert_eq!(guest.status(0) & 1, 0);
    gate.open();
    guest.advance(Span::from_ms(1));
    assert!(guest.function.is_idle());
    assert_eq!(guest.memory.log.borrow().len(), issued);
    assert!(guest.recorder.0.borrow().contains(&DeviceNote::Reset));
    // Bus Master Enable is off.
    assert_eq!(guest.config32(0x04) & 4, 0);
}

#[test]
fn an_interrupt_is_sent_if_there_is_such_a_vector() {
    let guest = Guest::new();
    assert!(guest.function.inject_interrupt(4));
    assert!(!guest.function.inject_interrupt(5));
    guest.advance(Span::from_ms(1));
    assert_eq!(*guest.memory.msis.borrow(), [4]);
}

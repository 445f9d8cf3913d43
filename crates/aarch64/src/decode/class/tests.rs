//! The classes against what execution does.

use super::Class;
use crate::decode::system::SystemInsn;
use crate::decode::{Insn, decode};
use crate::exec::{Flow, lower, step};
use crate::mmu::testing::Machine;
use crate::registers::LR;

const PC: u64 = 0x40_0000;

/// Every encoding of the integer tables, the system space and the SIMD tables, with fields from a
/// walk that touches all bits.
fn words() -> impl Iterator<Item = u32> {
    let integer = crate::decode::TABLES
        .into_iter()
        .flatten()
        .map(|row| (row.mask, row.value));
    let all: Vec<_> = integer.chain(crate::decode::simd::encodings()).collect();
    all.into_iter().flat_map(|(mask, value)| {
        (0..400_u32).map(move |step| value | step.wrapping_mul(0x9e37_79b1) & !mask)
    })
}

/// At EL0 or EL1 with nothing mapped: whatever reaches for memory faults.
fn machine(el: u8) -> Machine {
    let mut machine = Machine::new();
    machine.cpu.state.set_el(el, el != 0);
    machine.cpu.state.pc = PC;
    machine
}

#[test]
fn classes_tell_what_execution_does() {
    let mut met = std::collections::BTreeMap::new();
    for el in [0, 1] {
        let mut machine = machine(el);
        for word in words() {
            let insn = decode(word);
            let (cpu, bus) = (&mut machine.cpu, &mut machine.bus);
            cpu.state.pc = PC;
            cpu.state.x[usize::from(LR)] = 1;
            cpu.leave = Default::default();
            let outcome = step(cpu, bus, &lower(&insn));
            let what = format!("{word:08x} {insn:?} at EL{el}: {outcome:?}");
            *met.entry(insn.class()).or_insert(0) += 1;
            assert!(outcome.is_ok() || insn.may_trap(), "{what}");
            let jumped = outcome == Ok(Flow::Jump);
            let returns = insn == Insn::System(SystemInsn::Eret);
            assert_eq!(
                jumped,
                insn.class() == Class::Branch || returns && el == 1,
                "{what}"
            );
            assert!(!jumped || insn.ends_block() || returns, "{what}");
            let called = cpu.state.x[usize::from(LR)] == PC + 4;
            assert!(!insn.is_call() || called, "{what}");
            assert!(!jumped || insn.is_call() || !called, "{what}");
            match insn.class() {
                Class::Undefined => assert!(outcome.is_err(), "{what}"),
                Class::DataProcessing | Class::Prefetch => {
                    assert_eq!(outcome, Ok(Flow::Next), "{what}");
                }
                Class::LoadStore => assert!(outcome.is_err(), "{what}"),
                Class::Branch | Class::Simd | Class::Atomic | Class::System => {}
            }
            if returns || outcome.is_err() || insn.class() == Class::System {
                machine = self::machine(el);
            }
        }
    }
    // Every class is met often.
    assert_eq!(met.len(), 8, "{met:?}");
    assert!(met.values().all(|&times| times > 200), "{met:?}");
}

//! Tests of the test: the runner tells what it should, and the same twice.

use crate::case::{CODE_BASE, CROSS, Case, FPSR_BITS, Outcome, READ_ONLY, Signal, State};
use crate::generate::{Focus, Generator};
use crate::runner::{BASE_CPU, LSE_CPU, Oracle};

fn run(words: &[u32], state: State) -> Outcome {
    let case = Case {
        slot: 3,
        words: words.to_vec(),
        state,
    };
    Oracle::start(BASE_CPU).run(&[case]).remove(0)
}

#[test]
fn runner_loads_and_saves_every_register() {
    let mut state = State::ZERO;
    for i in 0..32 {
        state.x[i] = 0x0101_0101_0101_0101 * (i as u64 + 1);
        state.v[i] = !(0x0123_4567_89ab_cdef_0011_2233_4455_6677 << i);
    }
    state.nzcv = 0x9000_0000;
    state.tpidr = 0x1234;
    state.fpcr = 0x07c0_0000;
    state.fpsr = FPSR_BITS;
    state.cross[17] = 5;
    state.end[127] = 6;
    let outcome = run(&[0xd503_201f], state.clone());
    assert!(outcome.signal == Signal::Breakpoint);
    assert_eq!(outcome.pc, 0x4000_0184);
    assert!(outcome.state == state);
}

#[test]
fn runner_executes_what_it_is_given() {
    let mut state = State::ZERO;
    state.x[1] = u64::MAX;
    state.x[2] = CROSS + 16;
    state.v[4] = 0x4008_0000_0000_0000; // 3.0
    let words = [
        0xb100_0420, // adds x0, x1, #1
        0xf800_8440, // str x0, [x2], #8
        0x381f_f441, // strb w1, [x2], #-1
        0x1e64_1885, // fdiv d5, d4, d4
        0x1e61_c083, // fsqrt d3, d4
        0xd51b_d041, // msr tpidr_el0, x1
    ];
    let outcome = run(&words, state);
    assert!(outcome.signal == Signal::Breakpoint);
    let s = &outcome.state;
    assert_eq!(s.x[0], 0);
    assert_eq!(s.x[2], CROSS + 23);
    assert_eq!(s.nzcv, 0x6000_0000);
    assert_eq!(s.cross[24], 0xff);
    assert_eq!(s.v[5], 0x3ff0_0000_0000_0000);
    assert_eq!(s.v[3], 0x3ffb_b67a_e858_4caa);
    // Inexact.
    assert_eq!(s.fpsr, 0x10);
    assert_eq!(s.tpidr, u64::MAX);
}

#[test]
fn runner_tells_faults_apart() {
    let mut state = State::ZERO;
    state.x[1] = READ_ONLY + 8;
    state.x[2] = CROSS + 1;
    let first = |word| run(&[0xd503_201f, word], state.clone());
    // str x0, [x1]
    let store = first(0xf900_0020);
    assert!(store.signal == Signal::Memory && store.address == READ_ONLY + 8);
    assert_eq!(store.pc, 0x4000_0184);
    // ldxr x0, [x2]
    let exclusive = first(0xc85f_7c40);
    assert!(exclusive.signal == Signal::Alignment && exclusive.address == CROSS + 1);
    // udf #0
    assert!(first(0).signal == Signal::Undefined);
    // br x3
    state.x[3] = CODE_BASE + 2;
    let branch = run(&[0xd503_201f, 0xd61f_0060], state);
    assert!(branch.signal == Signal::Alignment && branch.pc == CODE_BASE + 2);
}

#[test]
fn a_seed_gives_the_same_cases_and_outcomes() {
    for (focus, cpu) in [
        (Focus::Base, BASE_CPU),
        (Focus::Lse, LSE_CPU),
        (Focus::Wild, BASE_CPU),
    ] {
        let run = || {
            let generator = Generator::new(7);
            let cases: Vec<Case> = (0..200)
                .map(|i| generator.case(focus, i, i as u32))
                .collect();
            let outcomes = Oracle::start(cpu).run(&cases);
            (cases, outcomes)
        };
        let (first, second) = (run(), run());
        let words = |cases: &[Case]| cases.iter().map(|c| c.words.clone()).collect::<Vec<_>>();
        assert_eq!(words(&first.0), words(&second.0));
        assert!(
            first
                .0
                .iter()
                .zip(&second.0)
                .all(|(a, b)| a.state == b.state)
        );
        assert!(first.1 == second.1);
    }
}

/// Every row of the table makes instructions that the oracle knows: rows are wrong otherwise.
#[test]
fn every_table_row_is_allocated() {
    let mut rng = crate::rng::Rng::new(1, 0);
    let mut oracle = Oracle::start(BASE_CPU);
    let mut wrong = Vec::new();
    for encoding in crate::table::encodings() {
        let cases: Vec<Case> = (0..64)
            .filter_map(|_| encoding.apply(rng.next() as u32))
            .map(|word| Case {
                slot: 0,
                words: vec![word],
                state: State::ZERO,
            })
            .collect();
        assert!(
            !cases.is_empty(),
            "no choice of fields is allocated: {}",
            encoding.pattern
        );
        // One by one: they share a slot.
        for case in cases {
            if oracle.run(std::slice::from_ref(&case))[0].signal != Signal::Breakpoint {
                wrong.push(format!("{:08x} of {}", case.words[0], encoding.pattern));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "undefined for the oracle:\n{}",
        wrong.join("\n")
    );
}

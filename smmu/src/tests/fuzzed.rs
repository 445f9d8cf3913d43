//! The fuzz targets, on bytes of a seeded generator and for a bounded number of executions.
//! The binaries of `fuzz/` run the same functions for as long as one likes.

use std::collections::BTreeSet;

use crate::fuzzing::Target;

const EXECUTIONS: u64 = 1500;

/// SplitMix64: bytes without a library that may change them.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((word ^ word >> 31).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What happened in all executions: the events that were recorded, by number, and sums.
#[derive(Debug, Default)]
struct Seen {
    events: BTreeSet<u8>,
    hits: u64,
    steps: u64,
    commands: u64,
    stalls: u64,
    page_requests: u64,
    invalidations: u64,
}

fn run(target: Target) -> Seen {
    let mut seen = Seen::default();
    for seed in 0..EXECUTIONS {
        let length = 64 + (seed as usize * 37) % 1500;
        if let Some(counters) = target.run(&bytes(seed << 8 | target as u64, length)) {
            seen.events.extend(counters.events_written.keys());
            seen.hits += counters.tlb_hits;
            seen.steps += counters.walk_steps;
            seen.commands += counters.commands;
            seen.stalls += counters.stalls;
            seen.page_requests += counters.page_requests - counters.page_requests_dropped;
            seen.invalidations += counters.atc_invalidations;
        }
    }
    seen
}

/// Nonsense that reaches nothing shows nothing.
#[track_caller]
fn reached(seen: &Seen, events: &[u8]) {
    for event in events {
        assert!(seen.events.contains(event), "{event:#x} in {seen:x?}");
    }
    assert!(seen.hits > 100 && seen.steps > 1000, "{seen:x?}");
    assert!(seen.commands > EXECUTIONS / 2, "{seen:x?}");
}

#[test]
fn any_commands_are_survived() {
    let seen = run(Target::Commands);
    reached(
        &seen,
        &[0x02, 0x04, 0x06, 0x08, 0x0a, 0x10, 0x11, 0x12, 0x13],
    );
    assert!(seen.stalls > 100);
    assert!(
        seen.page_requests > 100 && seen.invalidations > 50,
        "{seen:x?}"
    );
}

#[test]
fn any_stream_table_entry_and_context_descriptor_is_survived() {
    let seen = run(Target::Configuration);
    reached(&seen, &[0x02, 0x04, 0x06, 0x08, 0x0a, 0x10, 0x11]);
}

#[test]
fn any_translation_tables_are_survived() {
    let seen = run(Target::Tables);
    reached(&seen, &[0x10, 0x11, 0x12, 0x13]);
}

#[test]
fn any_register_writes_are_survived() {
    let seen = run(Target::Registers);
    reached(&seen, &[0x02, 0x04, 0x08, 0x10]);
}

#[test]
fn few_bytes_are_survived() {
    for target in Target::ALL {
        for length in 0..100 {
            target.run(&bytes(7, length));
        }
    }
}

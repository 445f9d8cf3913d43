//! Which words are UNDEFINED: a systematic walk through the whole encoding space.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use crate::case::{CROSS, Case, Signal, State};
use crate::compare::disassemble;
use crate::known::{exclusion, in_space_of_atomics};
use crate::ours::Ours;
use crate::rng::Rng;
use crate::runner::{BASE_CPU, BATCH, LSE_CPU, Oracle};

/// Every register a pointer to memory that is there, so that most loads and stores succeed.
fn state() -> State {
    let mut state = State::ZERO;
    state.x = [CROSS + 256; 32];
    state
}

/// Keeps direct branches within the sequence's own slot: their offset becomes one word.
fn tame(word: u32) -> u32 {
    if word & 0x7c00_0000 == 0x1400_0000 {
        word & 0xfc00_0000 | 1
    } else if word & 0x7e00_0000 == 0x3600_0000 {
        word & !(0x3fff << 5) | 1 << 5
    } else if word & 0x7e00_0000 == 0x3400_0000 || word & 0xfe00_0000 == 0x5400_0000 {
        word & !(0x7_ffff << 5) | 1 << 5
    } else {
        word
    }
}

struct Disagreement {
    words: Vec<u32>,
    example: String,
}

fn compare(cpu: &str, words: &[u32]) -> BTreeMap<String, Disagreement> {
    let mut found: BTreeMap<String, Disagreement> = BTreeMap::new();
    let mut oracle = Oracle::start(cpu);
    let mut input = oracle.take_input();
    let mut ours = Ours::new();
    let make = |words: &[u32]| -> Vec<Case> {
        let case = |(i, &word): (usize, &u32)| Case {
            slot: i as u32,
            words: vec![word],
            state: state(),
        };
        words.iter().enumerate().map(case).collect()
    };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for batch in words.chunks(BATCH) {
                if input.send(&make(batch)).is_err() {
                    return;
                }
            }
        });
        for batch in words.chunks(BATCH) {
            for (case, expected) in make(batch).iter().zip(oracle.receive(batch.len())) {
                let got = ours.run(case).outcome.signal;
                let undefined = expected.signal == Signal::Undefined;
                if undefined == (got == Signal::Undefined) {
                    continue;
                }
                let word = case.words[0];
                let text = disassemble(word);
                let mnemonic = text.split_whitespace().next().unwrap_or("?");
                let key = format!("{:02x} {mnemonic} {undefined}", word >> 24);
                let entry = found.entry(key).or_insert_with(|| Disagreement {
                    words: Vec::new(),
                    example: format!(
                        "{word:08x} {text}: the oracle says {:?}, we say {got:?}",
                        expected.signal
                    ),
                });
                entry.words.push(word);
            }
        }
    });
    found
}

fn agree(cpu: &str, words: &[u32]) {
    let found = compare(cpu, words);
    let mut text = String::new();
    for disagreement in found.values() {
        let Disagreement { words, example } = disagreement;
        let some = &words[..words.len().min(8)];
        let _ = writeln!(text, "{:6} like {example}; {some:08x?}", words.len());
    }
    assert!(found.is_empty(), "of {} words:\n{text}", words.len());
}

/// Takes out what cannot be compared, and says how much that is, and why.
fn comparable(words: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut left_out: BTreeMap<&str, u64> = BTreeMap::new();
    let mut keep = |word: &u32| {
        let rule = exclusion(*word);
        if let Some(rule) = rule {
            *left_out.entry(rule.reason).or_default() += 1;
        }
        rule.is_none()
    };
    let words: Vec<u32> = words.filter(&mut keep).collect();
    let mut text = format!(
        "oracle sweep: {} words compared; not compared:\n",
        words.len()
    );
    for (reason, count) in left_out {
        let _ = writeln!(text, "  {count:6}: {reason}");
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
    words
}

/// All values of bits 31 to 21 and 15 to 10, where nearly all opcode fields are, twice; the rest
/// is random.
#[test]
fn undefined_encodings_agree() {
    let mut rng = Rng::new(crate::seed(), 1 << 40);
    let words = (0..1 << 18).map(|i: u32| {
        let random = rng.next() as u32 & 0x001f_03ff;
        tame(i >> 7 << 21 | (i & 0x3f) << 10 | random)
    });
    let (atomics, others): (Vec<u32>, Vec<u32>) = comparable(words)
        .into_iter()
        .partition(|&word| in_space_of_atomics(word));
    assert!(atomics.len() + others.len() > 200_000);
    agree(BASE_CPU, &others);
    agree(LSE_CPU, &atomics);
}

/// Every system instruction and system register there could be, with XZR.
#[test]
fn undefined_system_encodings_agree() {
    agree(
        BASE_CPU,
        &comparable((0..1 << 17).map(|i| 0xd500_001f | i << 5)),
    );
}

//! What fuzzers run: a guest that writes nonsense, made of a fuzzer's bytes.
//!
//! Each [`Target`] takes bytes and must come to an end: no panic, no hang, memory in proportion to
//! the bytes; and afterwards a driver can reset the device and use it. The workspace in `fuzz/` has
//! the libFuzzer binaries; this crate's tests run the same functions on bytes of a seeded generator.

mod gic;
mod hisi;
mod pci;
mod test_engine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};

/// What is made of a fuzzer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The accelerator: mailbox, doorbells, contexts, descriptors and their lists, registers.
    Hisi,
    /// The test engine: registers, rings, descriptors, page requests.
    TestEngine,
    /// Configuration space through ECAM, with every capability, and BARs that move.
    Pci,
    /// The interrupt controller: registers, tables in memory, ITS commands.
    Gic,
}

impl Target {
    /// All targets.
    pub const ALL: [Target; 4] = [Target::Hisi, Target::TestEngine, Target::Pci, Target::Gic];

    /// Runs the target on `data`, and tells how often what was reached. Bytes that are too few do
    /// nothing.
    ///
    /// # Panics
    ///
    /// If a device does not keep its promises.
    pub fn run(self, data: &[u8]) -> Option<Reached> {
        let bytes = &mut Unstructured::new(data);
        let reached = match self {
            Target::Hisi => hisi::run(bytes),
            Target::TestEngine => test_engine::run(bytes),
            Target::Pci => pci::run(bytes),
            Target::Gic => gic::run(bytes),
        };
        reached.ok()
    }
}

/// What came of the nonsense, by name, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached(BTreeMap<&'static str, u64>);

impl Reached {
    fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// How often `what` was reached.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds up two.
    pub fn merge(&mut self, other: &Reached) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }
}

/// Most things that are done in one execution.
const ACTS_MAX: usize = 64;

/// Does what the bytes say, one act after the other, until there are none.
fn play(bytes: &mut Unstructured<'_>, mut act: impl FnMut(&mut Unstructured<'_>) -> Result<()>) {
    for _ in 0..ACTS_MAX {
        if bytes.is_empty() || act(bytes).is_err() {
            break;
        }
    }
}

/// The little-endian bytes of a number, as wide as an access may be, or not.
fn data(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let width = *bytes.choose(&[4_usize, 4, 4, 8, 2, 1, 16])?;
    let value = match bytes.int_in_range(0..=3)? {
        0 => bytes.arbitrary::<u128>()?,
        1 => u128::from(bytes.arbitrary::<u8>()?),
        2 => 1 << bytes.int_in_range(0..=63)?,
        _ => u128::from(bytes.arbitrary::<u32>()?),
    };
    Ok(value.to_le_bytes()[..width].to_vec())
}

/// Some of the fuzzer's bytes, to be repeated over memory.
fn pattern(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let length = bytes.int_in_range(1..=257_usize)?.min(bytes.len() / 2);
    Ok(bytes.bytes(length)?.to_vec())
}

/// `length` bytes of `pattern`, again and again.
fn repeated(pattern: &[u8], length: usize) -> Vec<u8> {
    pattern.iter().copied().cycle().take(length).collect()
}

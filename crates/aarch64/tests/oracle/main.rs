//! The CPU against an oracle that nobody of this project wrote: QEMU's user mode emulation.
//!
//! Random sequences of instructions run from random states in `qemu-aarch64` and on
//! [`stallbox_aarch64::Cpu`]; registers, flags, memory and faults must come out the same. The seed
//! is printed; `ORACLE_SEED` and `ORACLE_CASES` choose others. For a longer soak:
//!
//! ```text
//! cargo test -p stallbox-aarch64 --test oracle -- --ignored soak
//! ```
//!
//! Needs the Debian packages qemu-user (7.2 of Debian 12 and 10.0 of Debian 13 give the same
//! answers, but for what [`known`] lists) and gcc-aarch64-linux-gnu.

mod case;
mod compare;
mod coverage;
mod generate;
mod known;
mod ours;
mod prepared;
mod rng;
mod runner;
mod soundness;
mod sweep;
mod table;
mod values;

use compare::campaign;
use generate::Focus;
use runner::{BASE_CPU, LSE_CPU};

/// The seed of ordinary runs: fixed, so that a change is judged by the same cases as its parent.
const SEED: u64 = 0x5741_4c4c_424f_5831;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn seed() -> u64 {
    variable("ORACLE_SEED").unwrap_or(SEED)
}

fn cases(ordinary: u64) -> u64 {
    variable("ORACLE_CASES").unwrap_or(ordinary)
}

#[test]
fn base_instructions_agree() {
    let report = campaign(Focus::Base, BASE_CPU, seed(), cases(250_000));
    report.conclude("base", seed());
}

#[test]
fn atomics_agree() {
    let report = campaign(Focus::Lse, LSE_CPU, seed(), cases(25_000));
    report.conclude("atomics", seed());
}

#[test]
fn undefined_data_processing_agrees() {
    let report = campaign(Focus::Wild, BASE_CPU, seed(), cases(60_000));
    report.conclude("wild", seed());
}

/// Much more of everything, with a seed that changes by the hour.
#[test]
#[ignore = "takes minutes; run it with --ignored"]
fn soak() {
    let hour = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs() / 3600);
    let seed = variable("ORACLE_SEED").unwrap_or(hour.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for (focus, cpu, share) in [
        (Focus::Base, BASE_CPU, 70),
        (Focus::Lse, LSE_CPU, 10),
        (Focus::Wild, BASE_CPU, 20),
    ] {
        let cases = cases(4_000_000) * share / 100;
        campaign(focus, cpu, seed, cases).conclude(&format!("soak of {focus:?}"), seed);
    }
}

//! The fuzz targets, on bytes of a seeded generator and for a bounded number of executions.

use rand_core::Rng;
use stallbox_timeline::seeded;

use super::{Reached, Target};

const EXECUTIONS: u64 = 600;

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    seeded(seed, "fuzz").fill_bytes(&mut bytes);
    bytes
}

fn run(target: Target) -> Reached {
    let mut reached = Reached::default();
    for seed in 0..EXECUTIONS {
        let length = 64 + (seed as usize * 37) % 1500;
        if let Some(once) = target.run(&bytes(seed << 8 | target as u64, length)) {
            reached.merge(&once);
        }
    }
    reached
}

/// Nonsense that reaches nothing shows nothing.
#[track_caller]
fn assert_reached(reached: &Reached, least: &[(&str, u64)]) {
    for (what, count) in least {
        assert!(reached.count(what) >= *count, "{what} of {reached:?}");
    }
}

#[test]
fn any_mailbox_command_and_descriptor_is_survived() {
    let reached = run(Target::Hisi);
    assert_reached(
        &reached,
        &[
            ("mailbox", 1000),
            ("mailbox_failed", 100),
            ("doorbell_ignored", 100),
            ("job_done", 100),
            ("job_failed", 1000),
            ("queue_failed", 5),
            ("aborted", 50),
            ("interrupt", 100),
        ],
    );
}

#[test]
fn any_descriptor_of_the_test_engine_is_survived() {
    let reached = run(Target::TestEngine);
    assert_reached(
        &reached,
        &[
            ("done", 500),
            ("refused", 500),
            ("failed", 100),
            ("dropped", 10),
            ("queue_failed", 3),
            ("page_request", 100),
            ("interrupt", 500),
        ],
    );
}

#[test]
fn any_configuration_space_access_is_survived() {
    let reached = run(Target::Pci);
    assert_reached(
        &reached,
        &[
            ("behind_a_bar", 500),
            ("bus_master", 1000),
            ("ats_enabled", 100),
            ("pri_enabled", 100),
            ("pasid_enabled", 100),
        ],
    );
}

#[test]
fn any_its_table_and_command_is_survived() {
    let reached = run(Target::Gic);
    assert_reached(&reached, &[("command", 1000), ("lpi", 500), ("irq", 1000)]);
}

#[test]
fn few_bytes_are_survived() {
    for target in Target::ALL {
        for length in 0..60 {
            target.run(&bytes(7, length));
        }
    }
}

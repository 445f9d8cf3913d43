//! Which tests there are, how each is run, and what is expected of it.

/// How a test is run.
pub(super) struct Test {
    /// Its name, as `arm/unittests.cfg` has it where it is there.
    pub name: &'static str,
    /// The program.
    pub file: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// vCPUs.
    pub cpus: u8,
    /// Whether it awaits the clock in a busy loop.
    pub waits: bool,
    /// What must come of it.
    pub expected: Expected,
}

/// What must come of a test.
pub(super) enum Expected {
    /// At least so many checks, all of which pass; none skipped.
    Passes(usize),
    /// It says that the machine lacks what it tests, and ends.
    Absent,
}

use Expected::{Absent, Passes};

const fn test(
    name: &'static str,
    file: &'static str,
    args: &'static str,
    cpus: u8,
    expected: Expected,
) -> Test {
    Test {
        name,
        file,
        args,
        cpus,
        waits: false,
        expected,
    }
}

/// The tests. Those that want a migration ask for a key and go on: what is tested of them is the rest.
pub(super) const TESTS: &[Test] = &[
    test(
        "selftest-setup",
        "selftest",
        "setup smp=2 mem=256",
        2,
        Passes(2),
    ),
    test(
        "selftest-vectors-kernel",
        "selftest",
        "vectors-kernel",
        1,
        Passes(3),
    ),
    test(
        "selftest-vectors-user",
        "selftest",
        "vectors-user",
        1,
        Passes(2),
    ),
    test("selftest-smp", "selftest", "smp", 8, Passes(1)),
    test("gicv3-ipi", "gic", "ipi", 8, Passes(3)),
    test("gicv3-active", "gic", "active", 8, Passes(1)),
    test(
        "its-introspection",
        "gic",
        "its-introspection",
        8,
        Passes(5),
    ),
    test("its-trigger", "gic", "its-trigger", 8, Passes(6)),
    test("its-migration", "gic", "its-migration", 8, Passes(2)),
    test(
        "its-pending-migration",
        "gic",
        "its-pending-migration",
        8,
        Passes(1),
    ),
    test(
        "its-migrate-unmapped-collection",
        "gic",
        "its-migrate-unmapped-collection",
        8,
        Passes(3),
    ),
    test("psci", "psci", "", 4, Passes(5)),
    test("timer", "timer", "", 1, Passes(18)),
    Test {
        waits: true,
        ..test("pl031", "pl031", "", 1, Passes(12))
    },
    test("cache", "cache", "", 1, Passes(1)),
    test("fpu-context", "fpu", "", 2, Passes(2)),
    // By default it reads a device of QEMU's; the console is one, too. It measures and checks nothing.
    test(
        "micro-bench",
        "micro-bench",
        "mmio-addr=0x9000000",
        2,
        Passes(0),
    ),
    test("pmu-cycle-counter", "pmu", "cycle-counter 0", 1, Absent),
    test("mte-sync", "mte", "sync", 1, Absent),
    test("pci-test", "pci-test", "", 1, Absent),
];

/// Tests that are not run, and why.
pub(super) const NOT_RUN: &[(&str, &str)] = &[
    ("gicv2-*", "the GIC has no GICv2 interface"),
    ("gicv3-mmio", "the checkout has none: \"NYI\""),
    (
        "debug-*",
        "the CPU has no breakpoints, watchpoints and single step",
    ),
    (
        "sieve, spinlock-test",
        "they take long and test nothing of the machine",
    ),
];

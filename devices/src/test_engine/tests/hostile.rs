//! What no driver or program would do on purpose.

use proptest::prelude::*;
use stallbox_timeline::Span;

use super::guest::*;
use crate::pcie::PciFunction;

#[track_caller]
fn refused(descriptor: Descriptor, status: u8) {
    let guest = Guest::new();
    let done = guest.run_one(descriptor);
    assert_eq!((done.status, done.result), (status, 0), "{descriptor:?}");
    let log = guest.memory.log.borrow();
    let data = log
        .iter()
        .filter(|it| it.address >= SOURCE && it.length > 4);
    assert_eq!(data.count(), 0, "it was refused after it had begun");
}

#[test]
fn memory_that_nobody_wrote_is_no_descriptor() {
    refused(Descriptor::default(), 0x80);
}

#[test]
fn opcodes_flags_and_fields_that_do_not_exist_are_refused() {
    refused(
        Descriptor {
            opcode: 9,
            ..nop(0)
        },
        0x80,
    );
    refused(
        Descriptor {
            opcode: 0xff,
            ..nop(0)
        },
        0x80,
    );
    refused(Descriptor { flags: 4, ..nop(0) }, 0x81);
    refused(
        Descriptor {
            reserved: 1,
            ..nop(0)
        },
        0x81,
    );
}

#[test]
fn lengths_beyond_the_limits_are_refused() {
    for opcode in [2, 3, 4, 5] {
        for length in [0, (64 << 20) + 1, u64::MAX] {
            let descriptor = Descriptor {
                opcode,
                ..copy(SOURCE, DESTINATION, length)
            };
            refused(descriptor, 0x82);
        }
    }
    for length in [0, 1, 3, 16] {
        refused(
            Descriptor {
                opcode: 6,
                count: 1,
                ..copy(0, DESTINATION, length)
            },
            0x82,
        );
    }
    for (length, operand) in [
        (0, 0),
        (4, 0),
        (12, 0),
        (8, 8),
        (16, 4),
        (4104, 0),
        (8, u64::MAX),
    ] {
        let node = Descriptor {
            opcode: 7,
            count: 1,
            operand,
            ..copy(SOURCE, 0, length)
        };
        refused(node, 0x82);
    }
    for (length, count) in [(0, 1), (65_537, 1), (65_536, 1025)] {
        refused(
            Descriptor {
                opcode: 8,
                count,
                ..copy(SOURCE, DESTINATION, length)
            },
            0x82,
        );
    }
    // A list of 65 MiB.
    refused(
        Descriptor {
            opcode: 7,
            count: 16_640,
            ..copy(SOURCE, 0, 4096)
        },
        0x82,
    );
}

#[test]
fn counts_beyond_the_limits_are_refused() {
    for opcode in [6, 7, 8] {
        for count in [0, (1 << 20) + 1, u32::MAX] {
            refused(
                Descriptor {
                    opcode,
                    count,
                    ..copy(SOURCE, DESTINATION, 8)
                },
                0x83,
            );
        }
    }
}

#[test]
fn addresses_that_wrap_or_are_misaligned_are_refused() {
    let last = u64::MAX - 6;
    for opcode in [2, 4, 5] {
        refused(
            Descriptor {
                opcode,
                ..copy(last, DESTINATION, 8)
            },
            0x84,
        );
    }
    for opcode in [2, 3, 4] {
        refused(
            Descriptor {
                opcode,
                ..copy(SOURCE, last, 8)
            },
            0x84,
        );
    }
    refused(
        Descriptor {
            opcode: 6,
            count: 1,
            ..copy(0, DESTINATION + 4, 8)
        },
        0x84,
    );
    refused(
        Descriptor {
            opcode: 7,
            count: 1,
            ..copy(SOURCE + 4, 0, 8)
        },
        0x84,
    );
    refused(
        Descriptor {
            opcode: 7,
            count: 1,
            ..copy(u64::MAX - 7, 0, 16)
        },
        0x84,
    );
    refused(
        Descriptor {
            opcode: 8,
            count: 1,
            ..copy(last, DESTINATION, 8)
        },
        0x84,
    );
}

#[test]
fn a_list_that_leads_nowhere_ends_with_its_address() {
    let guest = Guest::new();
    guest.place(SOURCE, &0x1234_5678_9abcu64.to_le_bytes());
    let chase = Descriptor {
        opcode: 7,
        count: 9,
        ..copy(SOURCE, 0, 8)
    };
    let done = guest.run_one(chase);
    assert_eq!((done.status, done.detail), (0x84, 0x1234_5678_9abc));
    guest.place(SOURCE, &0xdead_0000u64.to_le_bytes());
    let done = guest.run_one(chase);
    assert_eq!((done.status, done.detail), (0x90, 0xdead_0000));
}

#[test]
fn the_last_byte_of_the_address_space_can_be_asked_for() {
    let guest = Guest::new();
    let done = guest.run_one(copy(u64::MAX, DESTINATION, 1));
    assert_eq!((done.status, done.detail), (0x90, u64::MAX));
}

#[test]
fn doorbells_of_no_queue_or_width_do_nothing() {
    let guest = Guest::new();
    let mut queue = guest.start(0, Setup::default());
    guest.put(&mut queue, &nop(1));
    guest.function.bar_write(2, 0, &[1]);
    guest.function.bar_write(2, 0, &[1, 0]);
    guest.write64(2, 0, 1);
    guest.write(2, 0x9000, 1);
    guest.write(2, window(5000), 1);
    guest.write(2, window(1), 1);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue), None);
    guest.ring(&queue);
    guest.advance(Span::from_ms(1));
    assert_eq!(guest.poll(&mut queue).map(|done| done.tag), Some(1));
}

#[derive(Clone, Debug)]
enum Step {
    Config(u16, Vec<u8>),
    Bar(u8, u64, Vec<u8>),
    Read(u8, u64, usize),
    Descriptor([u64; 8]),
    Advance(u64),
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..20u64,
        Just(SOURCE),
        Just(u64::MAX - 7),
        Just(1 << 31 | u64::from(PASID)),
        Just(0x0c_04_04),
    ]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    (
        value(),
        prop_oneof![Just(1usize), Just(2), Just(4), Just(8)],
    )
        .prop_map(|(value, bytes)| value.to_le_bytes()[..bytes].to_vec())
}

/// Mostly where something is.
fn register() -> impl Strategy<Value = (u8, u64)> {
    prop_oneof![
        (0..0x20u64).prop_map(|n| (0, n)),
        (0..4u16, 0..0x40u64).prop_map(|(queue, at)| (0, block(queue) + at)),
        (0..4u16, 0..0x10u64).prop_map(|(queue, at)| (2, window(queue) + at)),
        (0..6u8, 0..0x4_0000u64),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..4096u16, data()).prop_map(|(at, data)| Step::Config(at.min(4088), data)),
        8 => (register(), data()).prop_map(|((bar, at), data)| Step::Bar(bar, at, data)),
        2 => (register(), 1..16usize).prop_map(|((bar, at), bytes)| Step::Read(bar, at, bytes)),
        4 => proptest::array::uniform8(value()).prop_map(Step::Descriptor),
        2 => (0..100_000u64).prop_map(Step::Advance),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing panics, and a reset brings the function back.
    #[test]
    fn nonsense_is_survived(steps in prop::collection::vec(step(), 1..60)) {
        let guest = Guest::new();
        let mut queue = guest.start(0, Setup::default());
        for step in steps {
            match step {
                Step::Config(at, data) => _ = guest.function.config_write(at, &data),
                Step::Bar(bar, at, data) => _ = guest.function.bar_write(bar, at, &data),
                Step::Read(bar, at, bytes) => {
                    guest.function.bar_read(bar, at, &mut vec![0; bytes]);
                }
                Step::Descriptor(words) => {
                    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    guest.put(&mut queue, &nop(0));
                    guest.place(queue.sq, &bytes);
                    guest.ring(&queue);
                }
                Step::Advance(ns) => guest.advance(Span::from_ns(ns)),
            }
        }
        guest.write(0, 0x10, 1);
        guest.advance(Span::from_ms(1000));
        prop_assert!(guest.function.is_idle());
        prop_assert_eq!(guest.timeline.live_tasks(), 0);
    }
}

//! Whatever the guest writes, wherever: no panic, nothing hangs, and the device works afterwards.

use proptest::prelude::*;
use stallbox_timeline::Span;

use super::guest::{
    COMPRESS, CONTEXT, DECOMPRESS, DESTINATION, LISTS, RAM_BYTES, SOURCE, XQC, ZLIB, noise, text,
};
use super::{Guest, Job};
use crate::hisi::Revision;
use crate::pcie::PciFunction;

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![Just(Revision::V2), Just(Revision::V3)]
}

/// Addresses that lead somewhere, nowhere, and over the end.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::sample::select(vec![SOURCE, DESTINATION, CONTEXT, LISTS]),
        1 => 0..RAM_BYTES,
        1 => RAM_BYTES - 8..RAM_BYTES + 8,
        1 => any::<u64>(),
        1 => u64::MAX - 4096..=u64::MAX,
    ]
}

fn entry() -> impl Strategy<Value = [u32; 32]> {
    let plausible = (
        any::<[u32; 32]>(),
        (0u32..6, 0u32..3, 0u32..6, any::<u8>()),
        (address(), address(), address()),
        (0u32..100_000, 0u32..100_000),
    )
        .prop_map(
            |(random, (kind, buffer, window, flags), addresses, (input, room))| {
                let mut dw = random;
                dw[9] = kind | buffer << 8 | window << 12;
                dw[7] = u32::from(flags & 0x0f) << 24 | if flags & 0x10 != 0 { 3 << 28 } else { 0 };
                dw[8] = 0;
                (dw[4], dw[14]) = (input, room);
                for (at, address) in [(18, addresses.0), (20, addresses.1), (22, addresses.2)] {
                    (dw[at], dw[at + 1]) = (address as u32, (address >> 32) as u32);
                }
                dw
            },
        );
    prop_oneof![4 => plausible, 1 => any::<[u32; 32]>()]
}

/// Registers that do something, or anything.
fn register() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![
            0x0, 0x4, 0x8, 0xc, 0x20, 0x204, 0x300, 0x304, 0x308, 0x30c, 0x1000, 0x2000, 0x3100,
            0x10_0000, 0x10_0004, 0x10_0008, 0x10_000c, 0x10_0040, 0x10_0054, 0x10_0058, 0x10_005c,
            0x10_0060, 0x10_0064, 0x10_0068, 0x10_006c, 0x30_0000, 0x30_0150, 0x30_10a0, 0x30_10a4,
            0x30_10a8, 0x30_10ac, 0x30_1128,
        ]),
        0u64..4 << 20,
    ]
}

#[derive(Clone, Debug)]
enum Act {
    Write {
        bar: u8,
        at: u64,
        width: usize,
        data: [u8; 16],
    },
    Read {
        bar: u8,
        at: u64,
        width: usize,
    },
    Config {
        at: u16,
        data: u32,
    },
    Doorbell {
        queue: u16,
        command: u8,
        tag: u16,
        index: u16,
        priority: u16,
    },
    Mailbox {
        command: u8,
        queue: u16,
        address: u64,
        read: bool,
    },
    Context([u32; 8]),
    Send {
        queue: u16,
        entry: Box<[u32; 32]>,
    },
    Advance(u64),
    Stall(u64),
    Abort(u64),
    Release,
}

fn width() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1usize, 2, 4, 8, 16])
}

fn context() -> impl Strategy<Value = [u32; 8]> {
    let plausible = (
        any::<[u32; 8]>(),
        address(),
        0u32..16,
        any::<bool>(),
        0u32..5,
        0u32..3,
    )
        .prop_map(|(mut words, base, depth, completion, queue, algorithm)| {
            (words[1], words[2]) = (base as u32, (base >> 32) as u32);
            words[3] = depth | if completion { 4 } else { 7 } << 12;
            words[4] = 0;
            words[6] = queue | algorithm << 24;
            words
        });
    prop_oneof![3 => plausible, 1 => any::<[u32; 8]>()]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (prop::sample::select(vec![2u8, 4, 0]), register(), width(), any::<[u8; 16]>())
            .prop_map(|(bar, at, width, data)| Act::Write { bar, at: at & !(width as u64 - 1), width, data }),
        1 => (prop::sample::select(vec![2u8, 4, 0]), register(), width())
            .prop_map(|(bar, at, width)| Act::Read { bar, at, width }),
        1 => (0u16..1024, any::<u32>()).prop_map(|(at, data)| Act::Config { at: at * 4, data }),
        4 => (0u16..6, 0u8..5, prop_oneof![4 => Just(0u16), 1 => any::<u16>()],
              prop_oneof![4 => 0u16..9, 1 => any::<u16>()], 0u16..3)
            .prop_map(|(queue, command, tag, index, priority)| {
                Act::Doorbell { queue, command, tag, index, priority }
            }),
        3 => (0u8..16, 0u16..6, prop_oneof![4 => Just(XQC), 1 => address()], any::<bool>())
            .prop_map(|(command, queue, address, read)| Act::Mailbox { command, queue, address, read }),
        2 => context().prop_map(Act::Context),
        4 => (0u16..4, entry()).prop_map(|(queue, entry)| Act::Send { queue, entry: Box::new(entry) }),
        2 => (0u64..200_000).prop_map(Act::Advance),
        1 => address().prop_map(Act::Stall),
        1 => address().prop_map(Act::Abort),
        1 => Just(Act::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_sequence_of_accesses(
        revision in revision(),
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let guest = Guest::new(revision);
        guest.write(SOURCE, &text(100_000, 1));
        let mut queues: Vec<_> = (0..4).map(|n| guest.start_queue(n, n & 1)).collect();
        for act in acts {
            match act {
                Act::Write { bar, at, width, data } => {
                    guest.zip.bar_write(bar, at, &data[..width]);
                }
                Act::Read { bar, at, width } => {
                    guest.zip.bar_read(bar, at, &mut vec![0; width]);
                }
                Act::Config { at, data } => {
                    guest.zip.config_write(at, &data.to_le_bytes());
                }
                Act::Doorbell { queue, command, tag, index, priority } => {
                    let value = u64::from(queue)
                        | u64::from(command) << 12
                        | u64::from(tag) << 16
                        | u64::from(index) << 32
                        | u64::from(priority) << 48;
                    let value = value.to_le_bytes();
                    guest.zip.bar_write(4, u64::from(queue) << 16 | 0x1000, &value);
                    guest.zip.bar_write(2, 0x1000, &value);
                    guest.zip.bar_write(2, 0x2000, &value);
                }
                Act::Mailbox { command, queue, address, read } => {
                    let words = Guest::mailbox_words(command, queue, address, read);
                    guest.zip.bar_write(2, 0x300, &words);
                }
                Act::Context(words) => guest.write_words(XQC, &words),
                Act::Send { queue, entry } => guest.send(&mut queues[usize::from(queue)], &entry),
                Act::Advance(ns) => guest.advance(Span::from_ns(ns)),
                Act::Stall(at) => guest.memory.stall(at..at.saturating_add(64)),
                Act::Abort(at) => guest.memory.aborts.borrow_mut().push(at..at.saturating_add(64)),
                Act::Release => guest.memory.release(),
            }
        }
        // Whatever waits for the bus master goes on when it may.
        guest.write32(0x30_0000, 0);
        guest.settle();

        // A driver can still reset it and start anew.
        guest.memory.aborts.borrow_mut().clear();
        let express = guest.find_capability(0x10);
        guest.zip.config_write(express + 8, &0x8000u16.to_le_bytes());
        guest.enable_pci();
        guest.start(1024);
        let mut queue = guest.start_queue(0, COMPRESS);
        let done = guest.run(&mut queue, &Job::new(ZLIB, 5000, 9000).entry(revision, 0));
        prop_assert_eq!(done[3] & 0xff, 0);
        guest.settle();
    }

    #[test]
    fn any_entry_is_completed(
        revision in revision(),
        entries in prop::collection::vec((any::<bool>(), entry()), 1..20),
        seed: u64,
    ) {
        let guest = Guest::new(revision);
        guest.write(SOURCE, &text(60_000, seed));
        guest.write(SOURCE + 60_000, &noise(60_000, seed));
        guest.write(LISTS, &noise(4096, seed));
        guest.write(CONTEXT, &noise(0x1_0000, seed));
        let mut compress = guest.start_queue(0, COMPRESS);
        let mut decompress = guest.start_queue(1, DECOMPRESS);
        for (direction, entry) in entries {
            let queue = if direction { &mut compress } else { &mut decompress };
            let done = guest.run(queue, &entry);
            let status = done[3] & 0xff;
            if status == 0 {
                prop_assert!(done[0] <= entry[4] && done[1] <= entry[14]);
                prop_assert!(done[0] > 0 || done[1] > 0);
            }
        }
        guest.settle();
    }

    /// A context that the device wrote, with some bytes changed.
    #[test]
    fn any_context_is_survived(
        direction in 0u16..2,
        changes in prop::collection::vec((0u64..600, any::<u8>()), 1..8),
        cut in 1usize..3000,
        seed: u64,
    ) {
        let guest = Guest::new(Revision::V3);
        let mut queue = guest.start_queue(0, direction);
        let plain = text(20_000, seed);
        let input =
            if direction == COMPRESS { plain } else { super::block::host_compress(ZLIB, &plain) };
        guest.write(SOURCE, &input);
        let cut = cut.min(input.len() - 1);
        let job = Job { context: CONTEXT, finish: false, ..Job::new(ZLIB, cut, 5000) };
        let done = guest.run(&mut queue, &job.entry(Revision::V3, 0));
        prop_assert_eq!(done[3] & 0xff, 0);
        for (at, value) in changes {
            guest.write(CONTEXT + at, &[value]);
        }
        let job = Job {
            source: SOURCE + u64::from(done[0]),
            new: false,
            total: done[30],
            checksum: done[31],
            ..job
        };
        let left = input.len() - done[0] as usize;
        let job = Job { input: left as u32, room: 30_000, ..job };
        guest.run(&mut queue, &job.entry(Revision::V3, 0));
        guest.settle();
    }
}

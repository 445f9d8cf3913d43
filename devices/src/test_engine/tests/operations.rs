//! What each operation does to memory, and what it says.

use super::guest::*;

#[test]
fn copy_moves_bytes_whatever_the_alignment() {
    let guest = Guest::new();
    let data = noise(20_000);
    for (source, destination, length) in
        [(0, 0, 20_000), (1, 4095, 9000), (4090, 7, 13), (63, 64, 1)]
    {
        guest.place(SOURCE + source, &data[..length]);
        guest.place(DESTINATION, &[0xee; 40_000]);
        let (from, to) = (SOURCE + source, DESTINATION + destination);
        let done = guest.run_one(copy(from, to, length as u64));
        assert_eq!((done.status, done.result), (0, length as u64));
        let around = guest.bytes(DESTINATION, 40_000);
        let (before, rest) = around.split_at(destination as usize);
        assert!(before.iter().all(|byte| *byte == 0xee));
        assert_eq!(rest[..length], data[..length]);
        assert!(rest[length..].iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn fill_repeats_the_pattern_from_the_destination() {
    let guest = Guest::new();
    let done = guest.run_one(Descriptor {
        opcode: 3,
        destination: DESTINATION + 3,
        length: 5003,
        operand: 0x8877_6655_4433_2211,
        ..Descriptor::default()
    });
    assert_eq!((done.status, done.result), (0, 5003));
    let bytes = guest.bytes(DESTINATION, 5007);
    assert_eq!(bytes[..3], [0; 3]);
    for (at, byte) in bytes[3..5006].iter().enumerate() {
        assert_eq!(*byte, 0x11 * (at % 8 + 1) as u8, "{at}");
    }
    assert_eq!(bytes[5006], 0);
}

#[test]
fn compare_tells_the_first_difference() {
    let guest = Guest::new();
    let data = noise(10_000);
    guest.place(SOURCE + 5, &data);
    guest.place(DESTINATION, &data);
    let compare = Descriptor {
        opcode: 4,
        ..copy(SOURCE + 5, DESTINATION, 10_000)
    };
    let equal = guest.run_one(compare);
    assert_eq!((equal.status, equal.result), (0, 10_000));
    guest.place(DESTINATION + 8765, &[!data[8765], !data[8766]]);
    let differs = guest.run_one(compare);
    assert_eq!((differs.status, differs.result), (1, 8765));
}

#[test]
fn crc_is_that_of_ethernet() {
    let guest = Guest::new();
    // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    guest.place(SOURCE, b"123456789");
    let done = guest.run_one(Descriptor {
        opcode: 5,
        source: SOURCE,
        length: 9,
        ..Descriptor::default()
    });
    assert_eq!((done.status, done.result), (0, 0xcbf4_3926));
}

fn add(destination: u64, length: u64, operand: u64) -> Descriptor {
    Descriptor {
        opcode: 6,
        count: 1,
        destination,
        length,
        operand,
        ..Descriptor::default()
    }
}

#[test]
fn atomic_add_gives_what_was_there() {
    let guest = Guest::new();
    guest.place(DESTINATION, &0xffff_ffff_0000_0001u64.to_le_bytes());
    let done = guest.run_one(add(DESTINATION, 8, 2));
    assert_eq!((done.status, done.result), (0, 0xffff_ffff_0000_0001));
    assert_eq!(
        guest.bytes(DESTINATION, 8),
        0xffff_ffff_0000_0003u64.to_le_bytes()
    );
}

#[test]
fn atomic_add_of_four_bytes_does_not_carry_into_the_next() {
    let guest = Guest::new();
    guest.place(DESTINATION, &0x5_ffff_ffffu64.to_le_bytes());
    let done = guest.run_one(add(DESTINATION, 4, 1));
    assert_eq!((done.status, done.result), (0, 0xffff_ffff));
    assert_eq!(guest.bytes(DESTINATION, 8), 0x5_0000_0000u64.to_le_bytes());
}

#[test]
fn atomic_adds_of_one_descriptor_go_a_stride_further_each() {
    let guest = Guest::new();
    let done = guest.run_one(Descriptor {
        count: 3,
        destination_stride: 4096,
        ..add(DESTINATION, 8, 7)
    });
    assert_eq!((done.status, done.result), (0, 0));
    for page in 0..4u64 {
        let expected = if page < 3 { 7u64 } else { 0 };
        let found = guest.bytes(DESTINATION + page * 4096, 8);
        assert_eq!(found, expected.to_le_bytes(), "{page}");
    }
}

#[test]
fn atomic_adds_want_their_enable_bit() {
    let guest = Guest::new();
    guest.config16(guest.capability(0x10) + 0x28, 0);
    let done = guest.run_one(add(DESTINATION, 8, 1));
    assert_eq!(done.status, 0x91);
    assert_eq!(guest.bytes(DESTINATION, 8), [0; 8]);
}

/// Nodes of 32 bytes, a page apart: a number, the pointer, two more numbers.
fn list(guest: &Guest, nodes: u64, last: u64) -> u64 {
    let mut sum = 0u64;
    for node in 0..nodes {
        let next = if node + 1 < nodes {
            SOURCE + (node + 1) * 4096
        } else {
            last
        };
        for (at, word) in [node + 1, next, 100, 1000].into_iter().enumerate() {
            guest.place(SOURCE + node * 4096 + at as u64 * 8, &word.to_le_bytes());
            sum = sum.wrapping_add(word);
        }
    }
    sum
}

fn chase(count: u32) -> Descriptor {
    Descriptor {
        opcode: 7,
        count,
        source: SOURCE,
        length: 32,
        operand: 8,
        ..Descriptor::default()
    }
}

#[test]
fn chase_visits_every_node_and_sums_it() {
    let guest = Guest::new();
    let sum = list(&guest, 10, 0);
    let done = guest.run_one(chase(1000));
    assert_eq!((done.status, done.result, done.detail), (0, 10, sum));
    // The end is also found where the count ends.
    let exact = guest.run_one(chase(10));
    assert_eq!((exact.status, exact.result), (0, 10));
}

#[test]
fn chase_of_a_circle_ends_at_its_limit() {
    let guest = Guest::new();
    list(&guest, 3, SOURCE);
    let done = guest.run_one(chase(1000));
    assert_eq!((done.status, done.result), (2, 1000));
}

#[test]
fn chase_of_an_empty_list_visits_nothing() {
    let done = Guest::new().run_one(Descriptor {
        source: 0,
        ..chase(5)
    });
    assert_eq!((done.status, done.result, done.detail), (0, 0, 0));
}

#[test]
fn strided_gathers_and_scatters() {
    let guest = Guest::new();
    let data = noise(8 * 4096);
    guest.place(SOURCE, &data);
    let gather = Descriptor {
        opcode: 8,
        count: 8,
        source_stride: 4096,
        destination_stride: 24,
        ..copy(SOURCE, DESTINATION, 24)
    };
    let done = guest.run_one(gather);
    assert_eq!((done.status, done.result), (0, 8 * 24));
    let packed: Vec<u8> = data
        .chunks(4096)
        .flat_map(|page| &page[..24])
        .copied()
        .collect();
    assert_eq!(guest.bytes(DESTINATION, 8 * 24), packed);

    // Back again, from the last element to the first.
    let back = 0x40_0000;
    let scatter = Descriptor {
        source: DESTINATION + 7 * 24,
        source_stride: (-24i64) as u64,
        destination: back + 7 * 4096,
        destination_stride: (-4096i64) as u64,
        ..gather
    };
    assert_eq!(guest.run_one(scatter).status, 0);
    for (page, bytes) in (0..8u64).zip(data.chunks(4096)) {
        assert_eq!(guest.bytes(back + page * 4096, 24), bytes[..24]);
    }
}

#[test]
fn an_abort_names_its_address() {
    let guest = Guest::new();
    let bad = DESTINATION + 3 * 4096;
    guest.memory.aborts.borrow_mut().push(bad..bad + 4096);
    guest.place(SOURCE, &[1; 5 * 4096]);
    let done = guest.run_one(copy(SOURCE, DESTINATION, 5 * 4096));
    assert_eq!((done.status, done.result, done.detail), (0x90, 0, bad));
    // What came before it is there.
    assert_eq!(guest.bytes(DESTINATION, 3 * 4096), vec![1; 3 * 4096]);
}

#[test]
fn accesses_have_the_queue_s_size_and_do_not_cross_it() {
    let guest = Guest::new();
    let mut queue = guest.start(
        1,
        Setup {
            access_log2: 8,
            ..Setup::default()
        },
    );
    guest.run(&mut queue, &[copy(SOURCE + 250, DESTINATION, 600)]);
    let log = guest.memory.log.borrow();
    let lengths = |write| {
        let data = log
            .iter()
            .filter(move |it| it.write == write && it.address >= SOURCE);
        data.filter(|it| it.address < 1 << 32)
            .map(|it| it.length)
            .collect::<Vec<_>>()
    };
    assert_eq!(lengths(false), [6, 256, 256, 82]);
    assert_eq!(lengths(true), [256, 256, 88]);
}

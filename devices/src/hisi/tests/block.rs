//! Requests that are complete in themselves, against the host's library.

use std::io::Read;

use flate2::Compression;
use flate2::read::{
    DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder,
};
use proptest::prelude::*;

use super::guest::{
    COMPRESS, CONTEXT, DECOMPRESS, DEFLATE, DESTINATION, GZIP, LISTS, SOURCE, ZLIB, noise, text,
};
use super::{Guest, Job, Queue};
use crate::hisi::Revision;

/// What software puts before the device's output (UADK: `ZLIB_HEADER`, `GZIP_HEADER`).
pub(super) fn header(kind: u32) -> &'static [u8] {
    match kind {
        ZLIB => b"\x78\x9c",
        GZIP => b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
        _ => b"",
    }
}

pub(super) fn host_decompress(kind: u32, device: &[u8]) -> Vec<u8> {
    let whole = [header(kind), device].concat();
    let mut plain = Vec::new();
    match kind {
        ZLIB => ZlibDecoder::new(&whole[..]).read_to_end(&mut plain),
        GZIP => GzDecoder::new(&whole[..]).read_to_end(&mut plain),
        _ => DeflateDecoder::new(&whole[..]).read_to_end(&mut plain),
    }
    .expect("the device's output is a valid stream");
    plain
}

/// What software hands to the device: without the header.
pub(super) fn host_compress(kind: u32, plain: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    let level = Compression::new(6);
    match kind {
        ZLIB => ZlibEncoder::new(plain, level).read_to_end(&mut whole),
        GZIP => GzEncoder::new(plain, level).read_to_end(&mut whole),
        _ => DeflateEncoder::new(plain, level).read_to_end(&mut whole),
    }
    .expect("host compression");
    whole.split_off(header(kind).len())
}

fn kinds(revision: Revision) -> Vec<u32> {
    match revision {
        Revision::V2 => vec![ZLIB, GZIP],
        Revision::V3 => vec![DEFLATE, ZLIB, GZIP],
    }
}

#[test]
fn compresses_what_the_host_decompresses() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(0, COMPRESS);
        for kind in kinds(revision) {
            for plain in [
                vec![],
                text(1, 1),
                text(5_000, 2),
                text(300_000, 3),
                noise(70_000, 4),
            ] {
                guest.write(SOURCE, &plain);
                let job = Job::new(kind, plain.len(), 400_000);
                let done = guest.run(&mut queue, &job.entry(revision, 0x77));
                assert_eq!(done[3] & 0xff, 0);
                assert_eq!(done[0] as usize, plain.len(), "consumed");
                let output = guest.bytes(DESTINATION, done[1] as usize);
                assert_eq!(host_decompress(kind, &output), plain);
            }
        }
        guest.settle();
    }
}

#[test]
fn decompresses_what_the_host_compressed_with_status_zero() {
    for revision in [Revision::V2, Revision::V3] {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(1, DECOMPRESS);
        for kind in kinds(revision) {
            for plain in [
                vec![],
                text(1, 1),
                text(5_000, 2),
                text(900_000, 3),
                noise(70_000, 4),
            ] {
                let packed = host_compress(kind, &plain);
                // Bytes beyond the stream are not the device's.
                guest.write(SOURCE, &[&packed[..], b"trailing"].concat());
                let job = Job::new(kind, packed.len() + 8, plain.len().max(1));
                let done = guest.run(&mut queue, &job.entry(revision, 1));
                assert_eq!(done[3] & 0xff, 0, "Linux takes nothing else for success");
                assert_eq!(
                    (done[0] as usize, done[1] as usize),
                    (packed.len(), plain.len())
                );
                assert_eq!(guest.bytes(DESTINATION, plain.len()), plain);
            }
        }
        guest.settle();
    }
}

/// dw9 bits 15 to 12: 4, 8, 16, 24 and 32 KiB.
#[test]
fn matches_stay_within_the_window_that_was_asked_for() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    let half = noise(6000, 7);
    guest.write(SOURCE, &[&half[..], &half].concat());
    for (window, reaches) in [(0, false), (1, true), (2, true), (3, true), (4, true)] {
        for context in [0, CONTEXT] {
            let mut produced = 0;
            // In a stream, the second half only.
            let parts: &[_] = if context == 0 {
                &[12_000]
            } else {
                &[6000, 6000]
            };
            for (index, length) in parts.iter().enumerate() {
                let job = Job {
                    context,
                    new: index == 0,
                    ..Job::new(ZLIB, *length, 20_000)
                };
                let mut entry = job.entry(Revision::V3, 0);
                entry[9] = entry[9] & 0xfff | window << 12;
                let done = guest.run(&mut queue, &entry);
                assert_eq!(done[3] & 0xff, 0);
                produced += done[1];
            }
            assert_eq!(
                produced < 7000,
                reaches,
                "window {window}: {produced} bytes"
            );
        }
    }
}

#[test]
fn everything_but_the_result_stays_as_software_wrote_it() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    let plain = text(1000, 9);
    guest.write(SOURCE, &plain);
    let mut entry = Job::new(GZIP, plain.len(), 2000).entry(Revision::V3, 0xabcd);
    for index in [2, 5, 6, 10, 11, 12, 13, 16, 17, 24, 25] {
        entry[index] = 0x5500_0000 + index as u32;
    }
    let done = guest.run(&mut queue, &entry);
    let results = [0, 1, 3, 15, 28, 29, 30, 31];
    for index in (0..32).filter(|index| !results.contains(index)) {
        assert_eq!(done[index], entry[index], "dw{index}");
    }
    let mut crc = flate2::Crc::new();
    crc.update(&plain);
    assert_eq!((done[30], (!done[31]).reverse_bits()), (1000, crc.sum()));
}

#[test]
fn errors_have_their_documented_status() {
    let guest = Guest::new(Revision::V3);
    let mut compress = guest.start_queue(0, COMPRESS);
    let mut decompress = guest.start_queue(1, DECOMPRESS);
    let plain = text(50_000, 5);
    let packed = host_compress(ZLIB, &plain);
    guest.write(SOURCE, &packed);
    let status =
        |queue: &mut Queue, job: &Job| guest.run(queue, &job.entry(Revision::V3, 0))[3] & 0xff;

    // ERR_DSTLEN_OUT, both ways; the room itself is used to the last byte and no further.
    guest.write(DESTINATION, &[0xaa; 60_000]);
    let job = Job::new(ZLIB, packed.len(), plain.len() - 1);
    assert_eq!(status(&mut decompress, &job), 0x0e);
    assert_eq!(guest.bytes(DESTINATION + 49_999, 10), [0xaa; 10]);
    assert_eq!(
        status(&mut compress, &Job::new(ZLIB, packed.len(), 100)),
        0x0e
    );
    assert_eq!(
        status(&mut compress, &Job::new(ZLIB, packed.len(), 0)),
        0x0e
    );
    assert_eq!(
        status(&mut decompress, &Job::new(ZLIB, packed.len(), plain.len())),
        0
    );

    // HZ_CRC_ERR.
    let mut wrong = packed.clone();
    *wrong.last_mut().expect("a trailer") ^= 1;
    guest.write(SOURCE, &wrong);
    assert_eq!(
        status(&mut decompress, &Job::new(ZLIB, wrong.len(), plain.len())),
        0x10
    );

    // Incomplete and invalid data: none of the values that mean success.
    let success = [0x00, 0x0d, 0x13];
    for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
        guest.write(SOURCE, &packed);
        let status = status(&mut decompress, &Job::new(ZLIB, cut, plain.len()));
        assert!(!success.contains(&status), "cut to {cut}");
    }
    guest.write(SOURCE, &[0xff; 100]);
    assert!(!success.contains(&status(&mut decompress, &Job::new(GZIP, 100, 100))));

    // Types and sizes that the device does not take.
    for kind in [0, 4, 0x40, 0x42, 0x43, 0xff] {
        let status = status(&mut compress, &Job::new(kind, 10, 1000));
        assert!(!success.contains(&status), "type {kind:#x}");
    }
    let over = (8 << 20) + 1;
    assert!(!success.contains(&status(&mut compress, &Job::new(ZLIB, over, 1000))));
    assert!(!success.contains(&status(&mut compress, &Job::new(ZLIB, 10, over))));
    guest.settle();
}

#[test]
fn raw_deflate_is_not_a_type_of_revision_2() {
    let guest = Guest::new(Revision::V2);
    let mut queue = guest.start_queue(0, COMPRESS);
    let done = guest.run(
        &mut queue,
        &Job::new(DEFLATE, 10, 1000).entry(Revision::V2, 0),
    );
    assert!(![0x00, 0x0d, 0x13].contains(&(done[3] & 0xff)));
}

#[test]
fn a_queue_of_another_algorithm_type_executes_nothing() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, 2);
    let done = guest.run(&mut queue, &Job::new(ZLIB, 10, 1000).entry(Revision::V3, 0));
    assert!(![0x00, 0x0d, 0x13].contains(&(done[3] & 0xff)));
}

/// Builds a chain as UADK does: `pieces` of memory, `per_list` entries a list. The count for the
/// chain holds the capacity, which the device must not count by.
pub(super) fn write_lists(guest: &Guest, at: u64, pieces: &[(u64, u32)], per_list: usize) {
    let stride = 64 + 32 * per_list as u64;
    let stride = stride.next_multiple_of(64);
    let lists: Vec<&[(u64, u32)]> = pieces.chunks(per_list).collect();
    for (index, list) in lists.iter().enumerate() {
        let here = at + index as u64 * stride;
        let next = if index + 1 < lists.len() {
            here + stride
        } else {
            0
        };
        let mut words = vec![0; 16 + 8 * list.len()];
        (words[0], words[1]) = (next as u32, (next >> 32) as u32);
        words[2] = 0xff | (list.len() as u32) << 16;
        words[3] = per_list as u32;
        for (entry, (address, length)) in list.iter().enumerate() {
            let words = &mut words[16 + 8 * entry..];
            (words[0], words[1]) = (*address as u32, (*address >> 32) as u32);
            words[2] = 0xdead_beef;
            words[4] = *length;
        }
        guest.write_words(here, &words);
    }
}

#[test]
fn lists_are_gathered_and_scattered_in_order() {
    let guest = Guest::new(Revision::V3);
    let mut compress = guest.start_queue(0, COMPRESS);
    let mut decompress = guest.start_queue(1, DECOMPRESS);
    let plain = text(200_000, 6);
    // Odd pieces with gaps, across pages, one of them empty.
    let mut sources = vec![(SOURCE + 0x20_0000, 0)];
    let (mut at, mut address) = (0, SOURCE + 13);
    while at < plain.len() {
        let length = (1 + at % 4099).min(plain.len() - at);
        guest.write(address, &plain[at..at + length]);
        sources.push((address, length as u32));
        at += length;
        address += length as u64 + 77;
    }
    write_lists(&guest, LISTS, &sources, 10);
    let targets: Vec<(u64, u32)> = (0..3000).map(|i| (DESTINATION + i * 200, 101)).collect();
    write_lists(&guest, LISTS + 0x8_0000, &targets, 255);
    let collect = |length: usize| {
        let mut data = Vec::new();
        for (address, piece) in &targets {
            data.extend(guest.bytes(*address, *piece as usize));
        }
        data.truncate(length);
        data
    };

    // The destination starts 10 bytes into its list: software has put a header there.
    let job = Job {
        list: true,
        source: LISTS,
        destination: LISTS + 0x8_0000,
        destination_skip: 10,
        ..Job::new(GZIP, plain.len(), 300_000)
    };
    let done = guest.run(&mut compress, &job.entry(Revision::V3, 0));
    assert_eq!((done[3] & 0xff, done[0]), (0, 200_000));
    let packed = collect(10 + done[1] as usize).split_off(10);
    assert_eq!(host_decompress(GZIP, &packed), plain);

    // And back, with a header to skip in the source.
    guest.write(SOURCE, &[header(GZIP), &packed].concat());
    write_lists(&guest, LISTS, &[(SOURCE, 4), (SOURCE + 4, 8 << 20)], 1);
    let job = Job {
        list: true,
        source: LISTS,
        destination: LISTS + 0x8_0000,
        source_skip: 10,
        ..Job::new(GZIP, packed.len(), 300_000)
    };
    let done = guest.run(&mut decompress, &job.entry(Revision::V3, 0));
    assert_eq!((done[3] & 0xff, done[1]), (0, 200_000));
    assert_eq!(collect(200_000), plain);
    guest.settle();
}

#[test]
fn bad_lists_end_in_an_error_status() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    let mut status = |lists: u64, destination: u64, input, room| {
        let job = Job {
            list: true,
            source: lists,
            destination,
            ..Job::new(ZLIB, input, room)
        };
        guest.run(&mut queue, &job.entry(Revision::V3, 0))[3] & 0xff
    };
    let bad = |status: u32| ![0x00, 0x0d, 0x0e, 0x13].contains(&status);
    write_lists(&guest, LISTS, &[(SOURCE, 100)], 1);
    let good = LISTS;
    assert_eq!(status(good, good, 100, 100), 0);
    // Unaligned; absent; too short for the input.
    assert!(bad(status(good + 32, good, 100, 100)));
    assert!(bad(status(0xffff_ffff_ffff_ffc0, good, 100, 100)));
    assert!(bad(status(good, good, 101, 100)));
    // A destination that is shorter than the room it claims.
    write_lists(&guest, LISTS + 0x1000, &[(DESTINATION, 8)], 1);
    assert_eq!(status(good, LISTS + 0x1000, 100, 10_000), 0x0e);
    // More entries than a list can have; an entry larger than 8 MiB.
    guest.write_words(LISTS + 0x2000, &[0, 0, 256 << 16, 0]);
    assert!(bad(status(LISTS + 0x2000, good, 100, 100)));
    write_lists(&guest, LISTS + 0x2000, &[(SOURCE, (8 << 20) + 1)], 1);
    assert!(bad(status(LISTS + 0x2000, good, 100, 100)));
    // A circle of empty lists.
    let this = LISTS + 0x3000;
    guest.write_words(this, &[this as u32, 0, 0, 0]);
    assert!(bad(status(this, good, 100, 100)));
    guest.settle();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trips(
        kind in 1u32..=3,
        length in 0usize..150_000,
        seed: u64,
        random: bool,
        source_offset in 0u64..5000,
        destination_offset in 0u64..5000,
    ) {
        let plain = if random { noise(length, seed) } else { text(length, seed) };
        let guest = Guest::new(Revision::V3);
        let mut compress = guest.start_queue(2, COMPRESS);
        let mut decompress = guest.start_queue(3, DECOMPRESS);
        let (source, destination) = (SOURCE + source_offset, DESTINATION + destination_offset);
        guest.write(source, &plain);
        let job = Job { source, destination, ..Job::new(kind, length, length * 2 + 64) };
        let done = guest.run(&mut compress, &job.entry(Revision::V3, 0));
        prop_assert_eq!(done[3] & 0xff, 0);
        let packed = guest.bytes(destination, done[1] as usize);
        prop_assert_eq!(&host_decompress(kind, &packed), &plain);

        let back = Job {
            source: destination,
            destination: source,
            ..Job::new(kind, packed.len(), length.max(1))
        };
        guest.write(source, &vec![0; length]);
        let done = guest.run(&mut decompress, &back.entry(Revision::V3, 0));
        prop_assert_eq!((done[3] & 0xff, done[1] as usize), (0, length));
        prop_assert_eq!(guest.bytes(source, length), plain);
    }
}

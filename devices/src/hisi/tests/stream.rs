//! Streams in several requests, as UADK's `wd_do_comp_strm` makes them: checksum, length and three
//! words travel in the entry, the rest lies in the context buffer, which the guest may move.

use proptest::prelude::*;

use super::block::{header, host_compress, host_decompress};
use super::guest::{COMPRESS, CONTEXT, DECOMPRESS, DESTINATION, GZIP, SOURCE, ZLIB, noise, text};
use super::{Guest, Job, Queue};
use crate::hisi::Revision;

/// What the device gets of the 64 KiB buffer (UADK: `RSV_OFFSET`), and where UADK's own data
/// starts (`CTX_STOREBUF_OFFSET`).
const CONTEXT_FOR_DEVICE: u64 = 64;
const CONTEXT_OF_SOFTWARE: u64 = 0x9800;

/// One side of a stream.
struct Stream {
    kind: u32,
    new: bool,
    total: u32,
    checksum: u32,
    context: u64,
}

struct Step {
    status: u32,
    consumed: usize,
    output: Vec<u8>,
    words: [u32; 32],
}

impl Stream {
    fn new(kind: u32) -> Stream {
        Stream {
            kind,
            new: true,
            total: 0,
            checksum: 0,
            context: CONTEXT,
        }
    }

    /// `wd_do_comp_strm`
    fn step(
        &mut self,
        guest: &Guest,
        queue: &mut Queue,
        input: &[u8],
        room: usize,
        finish: bool,
    ) -> Step {
        guest.write(SOURCE, input);
        let job = Job {
            context: self.context + CONTEXT_FOR_DEVICE,
            new: self.new,
            finish,
            total: self.total,
            checksum: self.checksum,
            ..Job::new(self.kind, input.len(), room)
        };
        let words = guest.run(queue, &job.entry(guest.revision, 5));
        let status = words[3] & 0xff;
        if matches!(status, 0 | 0x13) {
            self.new = false;
            (self.total, self.checksum) = (words[30], words[31]);
        }
        let output = guest.bytes(DESTINATION, words[1] as usize);
        Step {
            status,
            consumed: words[0] as usize,
            output,
            words,
        }
    }
}

#[test]
fn compression_in_parts_makes_one_stream() {
    for (revision, kind) in [
        (Revision::V2, ZLIB),
        (Revision::V2, GZIP),
        (Revision::V3, 1),
        (Revision::V3, GZIP),
    ] {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(0, COMPRESS);
        let plain = text(120_000, 11);
        let mut stream = Stream::new(kind);
        let mut packed = Vec::new();
        let parts: Vec<&[u8]> = plain.chunks(17_000).collect();
        for (index, part) in parts.iter().enumerate() {
            let last = index + 1 == parts.len();
            let step = stream.step(&guest, &mut queue, part, part.len() * 9 / 8 + 64, last);
            assert_eq!((step.status, step.consumed), (0, part.len()));
            packed.extend(step.output);
        }
        assert_eq!(host_decompress(kind, &packed), plain);
        assert_eq!(stream.total, 120_000);
        // The window carries over: parts refer to what came before.
        let whole = host_compress(kind, &plain).len();
        assert!(
            packed.len() < whole + whole / 8,
            "{} against {whole}",
            packed.len()
        );
    }
}

/// UADK ends a stream by itself if nothing is left: with an empty stored block and the trailer from
/// the words of the last entry (hisi_comp.c: `append_store_block`).
#[test]
fn software_can_end_the_stream() {
    let guest = Guest::new(Revision::V2);
    let mut queue = guest.start_queue(0, COMPRESS);
    let plain = text(10_000, 12);
    for kind in [ZLIB, GZIP] {
        let mut stream = Stream::new(kind);
        let mut packed = stream
            .step(&guest, &mut queue, &plain, 20_000, false)
            .output;
        packed.extend([0x01, 0x00, 0x00, 0xff, 0xff]);
        if kind == ZLIB {
            packed.extend(stream.checksum.to_be_bytes());
        } else {
            packed.extend((!stream.checksum).reverse_bits().to_le_bytes());
            packed.extend(stream.total.to_le_bytes());
        }
        assert_eq!(host_decompress(kind, &packed), plain);
    }
}

/// UADK gives the device no more input than fits with an eighth to spare (`max_in_data_size`), in
/// buffers of 200 bytes and more.
#[test]
fn output_fits_into_nine_eighths_of_the_input() {
    let guest = Guest::new(Revision::V2);
    let mut queue = guest.start_queue(0, COMPRESS);
    for (room, seed) in [
        (201, 1),
        (236, 2),
        (500, 3),
        (4096, 4),
        (70_000, 5),
        (1 << 20, 6),
    ] {
        let input = noise((room * 8 / 9) & !3, seed);
        for finish in [false, true] {
            let step = Stream::new(GZIP).step(&guest, &mut queue, &input, room, finish);
            assert_eq!(step.status, 0, "{} bytes into {room}", input.len());
        }
    }
}

#[test]
fn decompression_in_parts_ends_with_the_stream() {
    for (revision, kind) in [
        (Revision::V2, ZLIB),
        (Revision::V2, GZIP),
        (Revision::V3, 1),
        (Revision::V3, GZIP),
    ] {
        let guest = Guest::new(revision);
        let mut queue = guest.start_queue(0, DECOMPRESS);
        let plain = [text(90_000, 13), noise(40_000, 14)].concat();
        let packed = host_compress(kind, &plain);
        let mut stream = Stream::new(kind);
        let mut output: Vec<u8> = Vec::new();
        let mut at = 0;
        loop {
            let part = &packed[at..(at + 5000).min(packed.len())];
            let step = stream.step(&guest, &mut queue, part, 9000, false);
            at += step.consumed;
            output.extend_from_slice(&step.output);
            if step.status == 0x13 {
                assert_ne!(step.words[3] & 0x100, 0, "last block seen");
                break;
            }
            assert_eq!((step.status, step.words[3] & 0x100), (0, 0));
            assert!(step.consumed + step.output.len() > 0, "progress");
        }
        assert_eq!(
            (at, output.len(), stream.total),
            (packed.len(), plain.len(), 130_000)
        );
        assert_eq!(output, plain);
    }
}

#[test]
fn the_context_may_be_moved_between_requests() {
    let guest = Guest::new(Revision::V2);
    let mut queue = guest.start_queue(0, DECOMPRESS);
    let plain = text(60_000, 15);
    let packed = host_compress(ZLIB, &plain);
    let mut stream = Stream::new(ZLIB);
    let first = stream.step(
        &guest,
        &mut queue,
        &packed[..packed.len() / 3],
        60_000,
        false,
    );
    let moved = CONTEXT + 0x4_0000;
    let bytes = guest.bytes(CONTEXT, 0x1_0000);
    guest.write(moved, &bytes);
    guest.write(CONTEXT, &[0; 0x1_0000]);
    stream.context = moved;
    let rest = &packed[first.consumed..];
    let second = stream.step(&guest, &mut queue, rest, 60_000, false);
    assert_eq!(second.status, 0x13);
    assert_eq!([first.output, second.output].concat(), plain);
}

#[test]
fn software_keeps_its_part_of_the_context_buffer() {
    let guest = Guest::new(Revision::V2);
    let mut compress = guest.start_queue(0, COMPRESS);
    let mut decompress = guest.start_queue(1, DECOMPRESS);
    guest.write(CONTEXT, &[0x5a; 0x1_0000]);
    let plain = text(200_000, 16);
    Stream::new(ZLIB).step(&guest, &mut compress, &plain, 300_000, false);
    let packed = host_compress(ZLIB, &plain);
    Stream::new(ZLIB).step(&guest, &mut decompress, &packed, 150_000, false);
    assert_eq!(guest.bytes(CONTEXT, 64), [0x5a; 64]);
    let rest = (0x1_0000 - CONTEXT_OF_SOFTWARE) as usize;
    assert_eq!(
        guest.bytes(CONTEXT + CONTEXT_OF_SOFTWARE, rest),
        vec![0x5a; rest]
    );
}

#[test]
fn no_progress_is_never_status_zero() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, DECOMPRESS);
    let packed = host_compress(ZLIB, &text(1000, 17));
    // No input at all; no input after all there is; no room.
    let mut stream = Stream::new(ZLIB);
    assert!(!matches!(
        stream.step(&guest, &mut queue, &[], 100, false).status,
        0 | 0x13
    ));
    let cut = &packed[..packed.len() - 6];
    assert_eq!(stream.step(&guest, &mut queue, cut, 2000, false).status, 0);
    assert!(!matches!(
        stream.step(&guest, &mut queue, &[], 2000, false).status,
        0 | 0x13
    ));
    let mut stream = Stream::new(ZLIB);
    let first = stream.step(&guest, &mut queue, &packed, 10, false);
    assert_eq!(
        (first.status, first.words[15] & 0xf),
        (0, 2),
        "no room inside a block"
    );
    let rest = &packed[first.consumed..];
    assert_eq!(stream.step(&guest, &mut queue, rest, 0, false).status, 0x0e);
}

/// Output that is still to come when all input is taken: software repeats with empty input
/// (`HZ_DECOMP_NO_SPACE`).
#[test]
fn pending_output_is_announced() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, DECOMPRESS);
    let plain = vec![b'x'; 20_000];
    let packed = host_compress(1, &plain);
    let mut stream = Stream::new(1);
    let (mut at, mut output, mut announced) = (0, Vec::<u8>::new(), false);
    loop {
        let step = stream.step(
            &guest,
            &mut queue,
            &packed[at..(at + 1).min(packed.len())],
            100,
            false,
        );
        at += step.consumed;
        output.extend_from_slice(&step.output);
        if step.status == 0x13 {
            break;
        }
        assert_eq!(step.status, 0);
        announced |= step.words[15] & 0xf == 1;
        if at == packed.len() {
            assert_eq!(step.words[15] & 0xf, 1, "more to come");
        }
    }
    assert!(announced);
    assert_eq!(output, plain);
}

#[test]
fn a_wrong_trailer_of_a_stream_is_a_checksum_error() {
    let guest = Guest::new(Revision::V2);
    let mut queue = guest.start_queue(0, DECOMPRESS);
    for kind in [ZLIB, GZIP] {
        let mut packed = host_compress(kind, &text(5000, 18));
        let at = packed.len() - 5 + usize::from(kind == ZLIB);
        packed[at] ^= 0x40;
        let mut stream = Stream::new(kind);
        let first = stream.step(&guest, &mut queue, &packed[..packed.len() - 2], 6000, false);
        assert_eq!(first.status, 0);
        assert_eq!(first.words[15] & 0x8f, 0x84, "only the checksum is missing");
        let rest = &packed[first.consumed..];
        assert_eq!(
            stream.step(&guest, &mut queue, rest, 6000, false).status,
            0x10
        );
    }
}

#[test]
fn a_context_of_the_other_direction_is_refused() {
    let guest = Guest::new(Revision::V3);
    let mut compress = guest.start_queue(0, COMPRESS);
    let mut decompress = guest.start_queue(1, DECOMPRESS);
    let mut stream = Stream::new(ZLIB);
    assert_eq!(
        stream
            .step(&guest, &mut compress, &text(100, 1), 500, false)
            .status,
        0
    );
    assert!(!matches!(
        stream
            .step(&guest, &mut decompress, &[1, 2, 3], 500, false)
            .status,
        0 | 0x13
    ));
    // And one that the device never wrote.
    guest.write(CONTEXT, &[0; 0x1_0000]);
    let mut stream = Stream {
        new: false,
        ..Stream::new(ZLIB)
    };
    assert!(!matches!(
        stream
            .step(&guest, &mut compress, &text(100, 1), 500, false)
            .status,
        0 | 0x13
    ));
}

#[test]
fn a_stream_needs_a_context() {
    let guest = Guest::new(Revision::V3);
    let mut queue = guest.start_queue(0, COMPRESS);
    let mut entry = Job::new(ZLIB, 10, 100).entry(Revision::V3, 0);
    entry[7] |= 1 << 26;
    assert!(!matches!(guest.run(&mut queue, &entry)[3] & 0xff, 0 | 0x13));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cutting_gives_the_same_stream(
        kind in 1u32..=3,
        pieces in prop::collection::vec((any::<bool>(), 0usize..6000), 1..6),
        cuts in prop::collection::vec((1usize..4000, 1usize..5000), 1..12),
        seed: u64,
    ) {
        let mut plain = Vec::new();
        for (index, (random, length)) in pieces.into_iter().enumerate() {
            let seed = seed.wrapping_add(index as u64);
            plain.extend(if random { noise(length, seed) } else { text(length, seed) });
        }
        let guest = Guest::new(Revision::V3);
        let mut compress = guest.start_queue(0, COMPRESS);
        let mut decompress = guest.start_queue(1, DECOMPRESS);

        let mut stream = Stream::new(kind);
        let (mut at, mut packed) = (0, Vec::new());
        for (length, _) in cuts.iter().cycle() {
            let end = (at + length).min(plain.len());
            let last = end == plain.len();
            let step = stream.step(&guest, &mut compress, &plain[at..end], 2 * length + 64, last);
            prop_assert_eq!((step.status, step.consumed), (0, end - at));
            packed.extend(step.output);
            at = end;
            if last {
                break;
            }
        }
        prop_assert_eq!(&host_decompress(kind, &packed), &plain);

        let mut stream = Stream::new(kind);
        let (mut at, mut output) = (0, Vec::<u8>::new());
        for (length, room) in cuts.iter().cycle() {
            let part = &packed[at..(at + length).min(packed.len())];
            let step = stream.step(&guest, &mut decompress, part, *room, false);
            at += step.consumed;
            output.extend_from_slice(&step.output);
            if step.status == 0x13 {
                break;
            }
            prop_assert_eq!(step.status, 0);
            prop_assert!(step.consumed + step.output.len() > 0);
        }
        prop_assert_eq!(at, packed.len());
        prop_assert_eq!(output, plain);
        prop_assert!(header(kind).len() <= 10);
    }
}

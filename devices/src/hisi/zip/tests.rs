//! The resumable decompressor against the library.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use proptest::prelude::*;

use super::history::History;
use super::inflate::{Inflate, Invalid, RECORD_BYTES, Stop};

fn deflate(plain: &[u8], level: u32, flushes: &[usize]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::new(level), false);
    let mut packed = Vec::with_capacity(plain.len() * 2 + 4096);
    let mut at = 0;
    for flush in flushes {
        let end = (at + flush).min(plain.len());
        let status = compress.compress_vec(&plain[at..end], &mut packed, FlushCompress::Sync);
        status.expect("compress");
        at = end;
    }
    compress
        .compress_vec(&plain[at..], &mut packed, FlushCompress::Finish)
        .expect("compress");
    packed
}

/// The library's answer: output and input used, or `None`.
fn library(packed: &[u8], room: usize) -> Option<(Vec<u8>, usize)> {
    let mut inflate = Decompress::new(false);
    let mut plain = Vec::with_capacity(room);
    let status = inflate
        .decompress_vec(packed, &mut plain, FlushDecompress::Finish)
        .ok()?;
    (status == flate2::Status::StreamEnd).then_some((plain, inflate.total_in() as usize))
}

/// Decompresses in pieces, going through a record after each.
fn in_pieces(
    packed: &[u8],
    cuts: &[(usize, usize)],
    limit: usize,
) -> Result<Option<(Vec<u8>, usize)>, Invalid> {
    let mut inflate = Inflate::new();
    let mut history = History::default();
    let (mut at, mut plain) = (0, Vec::new());
    for (length, room) in cuts.iter().cycle() {
        let input = &packed[at..(at + length).min(packed.len())];
        let mut taken = 0;
        let stop = inflate.run(input, &mut taken, &mut history, *room, 0)?;
        at += taken;
        plain.extend_from_slice(history.output());
        let idle = taken == 0 && history.produced() == 0;
        history.cut();
        if stop == Stop::End {
            return Ok(Some((plain, at)));
        }
        if idle || plain.len() > limit {
            return Ok(None);
        }
        let mut record = [0; RECORD_BYTES];
        inflate.save(&mut record);
        inflate = Inflate::load(&record, history.window().len())?;
        history = History::new(history.window().to_vec());
    }
    Ok(None)
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3000),
        (any::<u8>(), 0usize..5000).prop_map(|(byte, count)| vec![byte; count]),
        prop::collection::vec(prop::sample::select(&b"abcdefgh \n"[..]), 0..8000),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn every_kind_of_block() {
    // RFC 1951, 3.2.4 to 3.2.7: stored (with an empty one before it), fixed, dynamic.
    let stored = b"\x00\x00\x00\xff\xff\x01\x03\x00\xfc\xffabc";
    assert_eq!(
        in_pieces(stored, &[(100, 100)], 1000),
        Ok(Some((b"abc".to_vec(), 13)))
    );
    let fixed = [0x4b, 0x4c, 0x4a, 0x06, 0x00];
    assert_eq!(
        in_pieces(&fixed, &[(100, 100)], 1000),
        Ok(Some((b"abc".to_vec(), 5)))
    );
    let plain: Vec<u8> = (0..40_000u32).map(|i| (i % 7 * i % 13) as u8).collect();
    let dynamic = deflate(&plain, 9, &[]);
    assert_eq!(dynamic[0] >> 1 & 3, 2);
    for cut in [1, 2, 3, 7, 100, 100_000] {
        let whole = in_pieces(&dynamic, &[(cut, 70_000)], 100_000);
        assert_eq!(whole, Ok(Some((plain.clone(), dynamic.len()))));
    }
}

#[test]
fn a_distance_beyond_the_start_is_invalid() {
    // Fixed block: length 3, distance 1, with nothing before it.
    let mut history = History::default();
    let result = Inflate::new().run(&[0x03, 0x02, 0, 0], &mut 0, &mut history, 100, 0);
    assert_eq!(result, Err(Invalid));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pieces_of_any_size_give_the_whole(
        plain in data(),
        level in 0u32..=9,
        flushes in prop::collection::vec(0usize..4000, 0..4),
        cuts in prop::collection::vec((1usize..400, 1usize..900), 1..20),
    ) {
        let packed = deflate(&plain, level, &flushes);
        let result = in_pieces(&packed, &cuts, plain.len());
        prop_assert_eq!(result, Ok(Some((plain, packed.len()))));
    }

    /// What is not a stream for the library is none here, and the other way round.
    #[test]
    fn damage_is_judged_as_by_the_library(
        plain in data(),
        level in 0u32..=9,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in prop::collection::vec((1usize..4000, 1usize..9000), 1..8),
    ) {
        let mut packed = deflate(&plain, level, &[]);
        for (at, value) in changes {
            let at = at.index(packed.len().min(400));
            packed[at] = value;
        }
        const LIMIT: usize = 200_000;
        let expected = library(&packed, LIMIT);
        let found = in_pieces(&packed, &cuts, LIMIT).unwrap_or(None);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn noise_is_judged_as_by_the_library(packed in prop::collection::vec(any::<u8>(), 0..600)) {
        const LIMIT: usize = 400_000;
        let expected = library(&packed, LIMIT);
        let found = in_pieces(&packed, &[(600, 10_000)], LIMIT).unwrap_or(None);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_record_is_survived(
        mut record in prop::collection::vec(any::<u8>(), RECORD_BYTES),
        phase in 0u8..9,
        sane: bool,
        window in 0usize..40_000,
        input in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        record[0] = phase;
        if sane {
            record[2] = 0;
            record[8..16].fill(0);
            record[16..32].copy_from_slice(&[0, 0, 30, 1, 20, 0, 19, 0, 0, 0, 9, 0, 1, 0, 0, 0]);
        }
        let record: [u8; RECORD_BYTES] = record.try_into().expect("as many bytes as a record has");
        let mut history = History::new(vec![7; window]);
        if let Ok(mut inflate) = Inflate::load(&record, history.window().len()) {
            let _ = inflate.run(&input, &mut 0, &mut history, 5000, 8);
        }
    }
}

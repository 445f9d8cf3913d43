//! A submission entry, parsed once: nothing behind this sees raw words.

use super::spec::{self, Flags, RequestWord, Status, word};
use crate::hisi::Revision;
use crate::hisi::qm::Entry;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Compress,
    Decompress,
}

/// What surrounds the deflate blocks; headers are software's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Deflate,
    /// Adler-32, big endian.
    Zlib,
    /// CRC-32 and length, little endian.
    Gzip,
}

impl Format {
    pub(super) fn trailer_bytes(self) -> usize {
        match self {
            Format::Deflate => 0,
            Format::Zlib => 4,
            Format::Gzip => 8,
        }
    }
}

/// Where data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Flat { address: u64 },
    List { address: u64, offset: u32 },
}

/// A request of a longer stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) context: u64,
    pub(super) new: bool,
    pub(super) finish: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) direction: Direction,
    pub(super) format: Format,
    pub(super) source: Place,
    pub(super) input: u32,
    pub(super) destination: Place,
    pub(super) room: u32,
    /// log2 of the history that compression may refer to.
    pub(super) window_log2: u8,
    /// `None`: a stream that is complete in itself.
    pub(super) stream: Option<Stream>,
    /// dw30 and dw31 as handed in.
    pub(super) total: u32,
    pub(super) checksum: u32,
}

pub(super) fn get(entry: &Entry, index: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&entry[4 * index..4 * index + 4]);
    u32::from_le_bytes(bytes)
}

pub(super) fn set(entry: &mut Entry, index: usize, value: u32) {
    entry[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
}

fn get_address(entry: &Entry, index: usize) -> u64 {
    u64::from(get(entry, index + 1)) << 32 | u64::from(get(entry, index))
}

/// The submitter's tag, wherever this type of entry has it.
pub(super) fn tag(entry: &Entry) -> u64 {
    match Flags::from(get(entry, word::FLAGS)).entry_type() {
        0 => get(entry, word::TAG_0).into(),
        _ => get_address(entry, word::TAG_3),
    }
}

/// Input length as written.
pub(super) fn input_length(entry: &Entry) -> u32 {
    get(entry, word::INPUT_LENGTH)
}

impl Request {
    pub(super) fn parse(
        entry: &Entry,
        algorithm: u8,
        revision: Revision,
    ) -> Result<Request, Status> {
        let flags = Flags::from(get(entry, word::FLAGS));
        let request = RequestWord::from(get(entry, word::REQUEST));

        let direction = match algorithm {
            spec::ALGORITHM_COMPRESS => Direction::Compress,
            spec::ALGORITHM_DECOMPRESS => Direction::Decompress,
            _ => return Err(Status::BadRequest),
        };
        match (flags.entry_type(), revision) {
            (0, _) | (3, Revision::V3) => {}
            _ => return Err(Status::BadRequest),
        }
        let format = match request.request_type() {
            spec::TYPE_DEFLATE if revision == Revision::V3 => Format::Deflate,
            spec::TYPE_ZLIB => Format::Zlib,
            spec::TYPE_GZIP => Format::Gzip,
            _ => return Err(Status::BadRequest),
        };
        // 4, 8, 16, 24 and 32 KiB. deflate's library knows powers of two; a smaller window is
        // always right.
        let window_log2 = match request.window() {
            0 => 12,
            1 => 13,
            2 | 3 => 14,
            4 => 15,
            _ => return Err(Status::BadRequest),
        };
        let place = |at, offset| {
            let address = get_address(entry, at);
            match request.buffer_type() {
                0 => Ok(Place::Flat { address }),
                1 => Ok(Place::List { address, offset }),
                _ => Err(Status::BadRequest),
            }
        };
        let output_offset = get(entry, word::OUTPUT_OFFSET) & 0xff_ffff;
        let source = place(word::SOURCE, flags.source_offset())?;
        let destination = place(word::DESTINATION, output_offset)?;
        let input = input_length(entry);
        let room = get(entry, word::OUTPUT_ROOM);
        if input > spec::BUFFER_BYTES_MAX || room > spec::BUFFER_BYTES_MAX {
            return Err(Status::TooLarge);
        }
        let stream = match (flags.stateful(), get_address(entry, word::CONTEXT_ADDRESS)) {
            (false, _) => None,
            (true, 0) => return Err(Status::BadRequest),
            (true, context) => Some(Stream {
                context,
                new: flags.new_stream(),
                finish: flags.finish(),
            }),
        };
        Ok(Request {
            direction,
            format,
            source,
            input,
            destination,
            room,
            window_log2,
            stream,
            total: get(entry, word::TOTAL_LENGTH),
            checksum: get(entry, word::CHECKSUM),
        })
    }

    /// Whether this is where a stream begins.
    pub(super) fn is_start(&self) -> bool {
        self.stream.is_none_or(|stream| stream.new)
    }
}

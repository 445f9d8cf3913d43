//! Inflate (RFC 1951) that can stop after any byte of input or output and go on from a record of a
//! few hundred bytes and the window. Decompression of a stream in several requests needs it: the
//! guest owns the stream's state between requests and may copy it, and no library gives its state
//! away. Requests that are complete in themselves use the library.
//!
//! Everything is decoded in steps that either happen as a whole or, for lack of input or room, not
//! at all; the bits stay in the accumulator. So there is no state in the middle of a step.

use super::history::History;

/// Lengths of literal/length and distance codes together: the fixed code has the most.
const LENGTHS_MAX: usize = FIXED_LITERALS + FIXED_DISTANCES;
const FIXED_LITERALS: usize = 288;
const FIXED_DISTANCES: usize = 32;
/// What a dynamic block may declare (RFC 1951, 3.2.7).
const DYNAMIC_LITERALS_MAX: usize = 286;
const DYNAMIC_DISTANCES_MAX: usize = 30;
const CODE_LENGTH_CODES: usize = 19;
const CODE_LENGTH_ORDER: [u8; CODE_LENGTH_CODES] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
const END_OF_BLOCK: u16 = 256;
const CODE_BITS_MAX: usize = 15;
/// Codes up to this length are found in one look-up.
const FAST_BITS: u32 = 9;
/// The accumulator never holds more, so that a byte always fits.
const BITS_MAX: u32 = 56;

/// Base and extra bits of length symbols 257 to 285 (RFC 1951, 3.2.5).
const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const LENGTH_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
/// Base and extra bits of distance symbols.
const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA: [u8; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = 416;

/// The data is not deflate, or the record is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Why [`Inflate::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// All input is taken and more is needed.
    Input,
    /// What comes next needs nothing but more room.
    Room,
    /// The last block ended. Its trailer is in [`Inflate::trailer`].
    End,
}

/// What comes next in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    BlockHeader,
    StoredLength,
    Stored,
    DynamicCounts,
    CodeLengths,
    Lengths,
    Symbols,
    Trailer,
    End,
}

const PHASES: [Phase; 9] = [
    Phase::BlockHeader,
    Phase::StoredLength,
    Phase::Stored,
    Phase::DynamicCounts,
    Phase::CodeLengths,
    Phase::Lengths,
    Phase::Symbols,
    Phase::Trailer,
    Phase::End,
];

/// A canonical Huffman code.
struct Code {
    /// By the next bits: symbol and, above it, length; 0 if the code is longer.
    fast: [u16; 1 << FAST_BITS],
    count: [u16; CODE_BITS_MAX + 1],
    symbols: [u16; FIXED_LITERALS],
}

const FAST_LENGTH_SHIFT: u32 = 9;

/// Which symbols a code is for: what may be left unused differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    CodeLengths,
    Literals,
    Distances,
}

impl Code {
    /// The rules for incomplete codes are zlib's: only a code of a single one-bit symbol (or none
    /// at all) may be, and only for literals and distances.
    fn new(lengths: &[u8], kind: Kind) -> Result<Code, Invalid> {
        let mut count = [0u16; CODE_BITS_MAX + 1];
        for &length in lengths {
            *count.get_mut(usize::from(length)).ok_or(Invalid)? += 1;
        }
        count[0] = 0;
        let longest = (1..=CODE_BITS_MAX)
            .rev()
            .find(|&bits| count[bits] != 0)
            .unwrap_or(0);
        let mut left = 1i32;
        for &used in &count[1..] {
            left = (left << 1) - i32::from(used);
            if left < 0 {
                return Err(Invalid);
            }
        }
        if left > 0 && longest > 0 && (kind == Kind::CodeLengths || longest != 1) {
            return Err(Invalid);
        }
        if longest == 0 && kind == Kind::CodeLengths {
            return Err(Invalid);
        }

        let mut offset = [0u16; CODE_BITS_MAX + 2];
        let mut next_code = [0u16; CODE_BITS_MAX + 2];
        for bits in 1..=CODE_BITS_MAX {
            offset[bits + 1] = offset[bits] + count[bits];
            next_code[bits + 1] = (next_code[bits] + count[bits]) << 1;
        }
        let mut symbols = [0; FIXED_LITERALS];
        let mut fast = [0; 1 << FAST_BITS];
        for (symbol, &length) in (0u16..).zip(lengths) {
            let bits = usize::from(length);
            if bits == 0 {
                continue;
            }
            symbols[usize::from(offset[bits])] = symbol;
            offset[bits] += 1;
            let code = next_code[bits];
            next_code[bits] += 1;
            if u32::from(length) <= FAST_BITS {
                let reversed = code.reverse_bits() >> (16 - bits);
                let mut at = usize::from(reversed);
                while at < fast.len() {
                    fast[at] = symbol | u16::from(length) << FAST_LENGTH_SHIFT;
                    at += 1 << bits;
                }
            }
        }
        Ok(Code {
            fast,
            count,
            symbols,
        })
    }
}

/// Bits read so far within a step; the step's end takes them for good.
#[derive(Clone, Copy)]
struct Cursor {
    bits: u64,
    count: u32,
}

/// A step's answer if it cannot happen.
enum Wait {
    Bits,
    Room,
    Invalid,
}

impl From<Invalid> for Wait {
    fn from(_: Invalid) -> Wait {
        Wait::Invalid
    }
}

impl Cursor {
    fn take(&mut self, count: u32) -> Result<u32, Wait> {
        if self.count < count {
            return Err(Wait::Bits);
        }
        let value = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.count -= count;
        Ok(value as u32)
    }

    fn symbol(&mut self, code: &Code) -> Result<u16, Wait> {
        let found = code.fast[(self.bits & ((1 << FAST_BITS) - 1)) as usize];
        if found != 0 {
            // Bits beyond `count` are zero, so the find may rest on bits that are not there yet.
            self.take((found >> FAST_LENGTH_SHIFT).into())?;
            return Ok(found & ((1 << FAST_LENGTH_SHIFT) - 1));
        }
        let (mut value, mut first, mut index) = (0i32, 0i32, 0i32);
        for (length, &count) in code.count.iter().enumerate().skip(1) {
            let length = length as u32;
            if self.count < length {
                return Err(Wait::Bits);
            }
            let count = i32::from(count);
            value |= (self.bits >> (length - 1) & 1) as i32;
            if value - count < first {
                self.take(length)?;
                return Ok(code.symbols[(index + (value - first)) as usize]);
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        Err(Wait::Invalid)
    }
}

/// A decompressor at some point of a stream.
pub(super) struct Inflate {
    phase: Phase,
    /// The block is the last.
    last: bool,
    bits: u64,
    bit_count: u32,
    stored_left: u16,
    /// Declared sizes of the three codes, and how many lengths have been read.
    literals: u16,
    distances: u16,
    code_lengths: u16,
    index: u16,
    code_length_lengths: [u8; CODE_LENGTH_CODES],
    lengths: [u8; LENGTHS_MAX],
    /// A match that did not fit: bytes to go, and from how far back.
    match_left: u16,
    match_distance: u16,
    trailer_bytes: u8,
    trailer: [u8; 8],
    /// Built from the lengths: of code lengths, or of literals and distances.
    first: Option<Box<Code>>,
    second: Option<Box<Code>>,
}

impl Inflate {
    pub(super) fn new() -> Inflate {
        Inflate {
            phase: Phase::BlockHeader,
            last: false,
            bits: 0,
            bit_count: 0,
            stored_left: 0,
            literals: 0,
            distances: 0,
            code_lengths: 0,
            index: 0,
            code_length_lengths: [0; CODE_LENGTH_CODES],
            lengths: [0; LENGTHS_MAX],
            match_left: 0,
            match_distance: 0,
            trailer_bytes: 0,
            trailer: [0; 8],
            first: None,
            second: None,
        }
    }

    /// The final block has begun or ended.
    pub(super) fn in_last_block(&self) -> bool {
        self.last
    }

    /// All blocks are done, and only the trailer is missing.
    pub(super) fn in_trailer(&self) -> bool {
        self.phase == Phase::Trailer
    }

    /// Bytes left of a stored block.
    pub(super) fn stored_left(&self) -> u16 {
        if self.phase == Phase::Stored {
            self.stored_left
        } else {
            0
        }
    }

    pub(super) fn trailer(&self) -> [u8; 8] {
        self.trailer
    }

    /// Decodes from `input` (of which `taken` counts what was used) and appends at most `room` bytes
    /// to `history`. After the last block it collects `trailer` bytes.
    pub(super) fn run(
        &mut self,
        input: &[u8],
        taken: &mut usize,
        history: &mut History,
        room: usize,
        trailer: usize,
    ) -> Result<Stop, Invalid> {
        let limit = history.produced() + room;
        let first = *taken;
        let stop = loop {
            if self.phase == Phase::End {
                break Stop::End;
            }
            // Far from the end of the input, take what fits; it is given back below.
            self.refill(input, taken);
            match self.step(history, limit, trailer) {
                Ok(()) => {}
                Err(Wait::Invalid) => return Err(Invalid),
                Err(Wait::Room) => break Stop::Room,
                Err(Wait::Bits) => match input.get(*taken) {
                    None => break Stop::Input,
                    Some(&byte) => {
                        // No step needs more than 48 bits.
                        if self.bit_count > BITS_MAX {
                            return Err(Invalid);
                        }
                        self.bits |= u64::from(byte) << self.bit_count;
                        self.bit_count += 8;
                        *taken += 1;
                    }
                },
            }
        };
        if stop != Stop::Input {
            // Whole bytes that no step used remain the caller's.
            let back = ((self.bit_count / 8) as usize).min(*taken - first);
            *taken -= back;
            self.bit_count -= 8 * back as u32;
            self.bits &= (1 << self.bit_count) - 1;
        }
        Ok(stop)
    }

    fn refill(&mut self, input: &[u8], taken: &mut usize) {
        let Some((bytes, _)) = input[*taken..].split_first_chunk::<8>() else {
            return;
        };
        if self.bit_count > BITS_MAX - 8 {
            return;
        }
        let whole = (BITS_MAX - self.bit_count) / 8;
        let mask = (1u64 << (8 * whole)) - 1;
        self.bits |= (u64::from_le_bytes(*bytes) & mask) << self.bit_count;
        self.bit_count += 8 * whole;
        *taken += whole as usize;
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            bits: self.bits,
            count: self.bit_count,
        }
    }

    fn commit(&mut self, cursor: Cursor) {
        self.bits = cursor.bits;
        self.bit_count = cursor.count;
    }

    fn step(&mut self, history: &mut History, limit: usize, trailer: usize) -> Result<(), Wait> {
        let mut cursor = self.cursor();
        match self.phase {
            Phase::BlockHeader => {
                self.last = cursor.take(1)? != 0;
                self.phase = match cursor.take(2)? {
                    0 => Phase::StoredLength,
                    1 => {
                        self.set_fixed()?;
                        Phase::Symbols
                    }
                    2 => Phase::DynamicCounts,
                    _ => return Err(Wait::Invalid),
                };
            }
            Phase::StoredLength => {
                cursor.take(cursor.count % 8)?;
                let length = cursor.take(16)? as u16;
                if cursor.take(16)? as u16 != !length {
                    return Err(Wait::Invalid);
                }
                self.stored_left = length;
                self.phase = Phase::Stored;
            }
            Phase::Stored if self.stored_left == 0 => self.end_block(),
            Phase::Stored => {
                let byte = cursor.take(8)? as u8;
                if history.produced() >= limit {
                    return Err(Wait::Room);
                }
                history.push(byte);
                self.stored_left -= 1;
            }
            Phase::DynamicCounts => {
                let literals = cursor.take(5)? as u16 + 257;
                let distances = cursor.take(5)? as u16 + 1;
                let code_lengths = cursor.take(4)? as u16 + 4;
                if usize::from(literals) > DYNAMIC_LITERALS_MAX
                    || usize::from(distances) > DYNAMIC_DISTANCES_MAX
                {
                    return Err(Wait::Invalid);
                }
                (self.literals, self.distances) = (literals, distances);
                self.code_lengths = code_lengths;
                self.code_length_lengths = [0; CODE_LENGTH_CODES];
                self.index = 0;
                self.phase = Phase::CodeLengths;
            }
            Phase::CodeLengths if self.index == self.code_lengths => {
                self.index = 0;
                self.phase = Phase::Lengths;
                self.build_codes()?;
            }
            Phase::CodeLengths => {
                let symbol = CODE_LENGTH_ORDER[usize::from(self.index)];
                self.code_length_lengths[usize::from(symbol)] = cursor.take(3)? as u8;
                self.index += 1;
            }
            Phase::Lengths if self.index == self.literals + self.distances => {
                self.phase = Phase::Symbols;
                self.build_codes()?;
            }
            Phase::Lengths => self.read_length(&mut cursor)?,
            Phase::Symbols => return self.symbols(history, limit),
            Phase::Trailer if usize::from(self.trailer_bytes) >= trailer => {
                self.phase = Phase::End;
            }
            Phase::Trailer => {
                // The blocks end within a byte; the trailer starts at the next.
                cursor.take(cursor.count % 8)?;
                let byte = cursor.take(8)? as u8;
                let at = usize::from(self.trailer_bytes);
                *self.trailer.get_mut(at).ok_or(Wait::Invalid)? = byte;
                self.trailer_bytes += 1;
            }
            Phase::End => {}
        }
        self.commit(cursor);
        Ok(())
    }

    fn end_block(&mut self) {
        self.phase = if self.last {
            Phase::Trailer
        } else {
            Phase::BlockHeader
        };
    }

    /// One symbol of the code-length code.
    fn read_length(&mut self, cursor: &mut Cursor) -> Result<(), Wait> {
        let code = self.first.as_ref().ok_or(Wait::Invalid)?;
        let at = usize::from(self.index);
        let (value, times) = match cursor.symbol(code)? {
            symbol @ 0..=15 => (symbol as u8, 1),
            16 => {
                let previous = at.checked_sub(1).ok_or(Wait::Invalid)?;
                (self.lengths[previous], cursor.take(2)? + 3)
            }
            17 => (0, cursor.take(3)? + 3),
            _ => (0, cursor.take(7)? + 11),
        };
        let end = at + times as usize;
        if end > usize::from(self.literals + self.distances) {
            return Err(Wait::Invalid);
        }
        self.lengths[at..end].fill(value);
        self.index = end as u16;
        Ok(())
    }

    /// As many literals and matches as input and room permit.
    fn symbols(&mut self, history: &mut History, limit: usize) -> Result<(), Wait> {
        loop {
            if self.match_left > 0 {
                let room = limit - history.produced();
                let length = usize::from(self.match_left).min(room);
                if !history.copy(self.match_distance.into(), length) {
                    return Err(Wait::Invalid);
                }
                self.match_left -= length as u16;
                if self.match_left > 0 {
                    return Err(Wait::Room);
                }
            }
            let mut cursor = self.cursor();
            let codes = (self.first.as_ref(), self.second.as_ref());
            let (Some(literals), Some(distances)) = codes else {
                return Err(Wait::Invalid);
            };
            let symbol = cursor.symbol(literals)?;
            if symbol == END_OF_BLOCK {
                self.commit(cursor);
                self.end_block();
                return Ok(());
            }
            if symbol < END_OF_BLOCK {
                if history.produced() >= limit {
                    return Err(Wait::Room);
                }
                history.push(symbol as u8);
                self.commit(cursor);
                continue;
            }
            let index = usize::from(symbol - END_OF_BLOCK - 1);
            let base = *LENGTH_BASE.get(index).ok_or(Wait::Invalid)?;
            let length = base + cursor.take(LENGTH_EXTRA[index].into())? as u16;
            let index = usize::from(cursor.symbol(distances)?);
            let base = *DISTANCE_BASE.get(index).ok_or(Wait::Invalid)?;
            let distance = base + cursor.take(DISTANCE_EXTRA[index].into())? as u16;
            if !history.reaches(distance.into()) {
                return Err(Wait::Invalid);
            }
            self.match_left = length;
            self.match_distance = distance;
            self.commit(cursor);
        }
    }

    fn set_fixed(&mut self) -> Result<(), Invalid> {
        self.literals = FIXED_LITERALS as u16;
        self.distances = FIXED_DISTANCES as u16;
        self.index = self.literals + self.distances;
        self.lengths[..144].fill(8);
        self.lengths[144..256].fill(9);
        self.lengths[256..280].fill(7);
        self.lengths[280..FIXED_LITERALS].fill(8);
        self.lengths[FIXED_LITERALS..].fill(5);
        self.first = Some(Box::new(Code::new(
            &self.lengths[..FIXED_LITERALS],
            Kind::Literals,
        )?));
        self.second = Some(Box::new(Code::new(
            &self.lengths[FIXED_LITERALS..],
            Kind::Distances,
        )?));
        Ok(())
    }

    /// The codes that the phase needs.
    fn build_codes(&mut self) -> Result<(), Invalid> {
        (self.first, self.second) = (None, None);
        match self.phase {
            Phase::Lengths => {
                let code = Code::new(&self.code_length_lengths, Kind::CodeLengths)?;
                self.first = Some(Box::new(code));
            }
            Phase::Symbols => {
                let (literals, rest) = self.lengths.split_at(self.literals.into());
                if literals[usize::from(END_OF_BLOCK)] == 0 {
                    return Err(Invalid);
                }
                let distances = &rest[..self.distances.into()];
                self.first = Some(Box::new(Code::new(literals, Kind::Literals)?));
                self.second = Some(Box::new(Code::new(distances, Kind::Distances)?));
            }
            _ => {}
        }
        Ok(())
    }

    /// The state as bytes; the window is kept apart.
    pub(super) fn save(&self, record: &mut [u8; RECORD_BYTES]) {
        record.fill(0);
        let phase = PHASES
            .iter()
            .position(|&phase| phase == self.phase)
            .unwrap_or(0);
        record[0] = phase as u8;
        record[1] = self.last.into();
        record[2] = self.bit_count as u8;
        record[3] = self.trailer_bytes;
        record[8..16].copy_from_slice(&self.bits.to_le_bytes());
        let words = [
            self.stored_left,
            self.literals,
            self.distances,
            self.code_lengths,
            self.index,
            self.match_left,
            self.match_distance,
        ];
        for (at, word) in words.into_iter().enumerate() {
            record[16 + 2 * at..18 + 2 * at].copy_from_slice(&word.to_le_bytes());
        }
        record[32..40].copy_from_slice(&self.trailer);
        record[40..40 + CODE_LENGTH_CODES].copy_from_slice(&self.code_length_lengths);
        record[64..64 + LENGTHS_MAX].copy_from_slice(&self.lengths);
    }

    /// A state from bytes that anybody may have written. What it accepts may be nonsense as a
    /// stream but cannot lead out of bounds.
    pub(super) fn load(record: &[u8; RECORD_BYTES], window: usize) -> Result<Inflate, Invalid> {
        let word = |at: usize| u16::from_le_bytes([record[16 + 2 * at], record[17 + 2 * at]]);
        let mut state = Inflate::new();
        state.phase = *PHASES.get(usize::from(record[0])).ok_or(Invalid)?;
        state.last = record[1] != 0;
        state.bit_count = record[2].into();
        state.trailer_bytes = record[3];
        let mut bits = [0; 8];
        bits.copy_from_slice(&record[8..16]);
        state.bits = u64::from_le_bytes(bits);
        state.stored_left = word(0);
        (state.literals, state.distances) = (word(1), word(2));
        (state.code_lengths, state.index) = (word(3), word(4));
        (state.match_left, state.match_distance) = (word(5), word(6));
        state.trailer.copy_from_slice(&record[32..40]);
        state
            .code_length_lengths
            .copy_from_slice(&record[40..40 + CODE_LENGTH_CODES]);
        state.lengths.copy_from_slice(&record[64..64 + LENGTHS_MAX]);

        let coded = usize::from(state.literals) + usize::from(state.distances);
        let sane = state.bit_count <= BITS_MAX
            && state.bits >> state.bit_count == 0
            && usize::from(state.trailer_bytes) <= state.trailer.len()
            && usize::from(state.literals) <= FIXED_LITERALS
            && usize::from(state.distances) <= FIXED_DISTANCES
            && usize::from(state.code_lengths) <= CODE_LENGTH_CODES
            && state.match_left <= 258
            && (state.match_left == 0 || (1..=window).contains(&usize::from(state.match_distance)));
        let index = usize::from(state.index);
        let in_phase = match state.phase {
            Phase::CodeLengths => {
                index <= usize::from(state.code_lengths) && state.literals > END_OF_BLOCK
            }
            Phase::Lengths => index <= coded && state.literals > END_OF_BLOCK,
            Phase::Symbols => state.literals > END_OF_BLOCK,
            _ => true,
        };
        if !sane || !in_phase {
            return Err(Invalid);
        }
        state.build_codes()?;
        Ok(state)
    }
}

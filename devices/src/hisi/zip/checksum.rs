//! The checksums of RFC 1950 and RFC 1952, resumable from the form in which a submission entry
//! carries them (UADK, hisi_comp.c: `append_store_block`).

use super::request::Format;

/// Adler-32's modulus.
const ADLER_BASE: u32 = 65521;
/// How many bytes can be summed before the sums must be reduced.
const ADLER_RUN: usize = 5552;

/// Eight tables: byte `i` of a group of eight is looked up in table `7 - i`.
const CRC_TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 {
                value >> 1 ^ 0xedb8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let value = tables[table - 1][byte];
            tables[table][byte] = value >> 8 ^ tables[0][(value & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
};

/// A stream's checksum and uncompressed length so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    format: Format,
    value: u32,
    /// Modulo 2^32, as the gzip trailer has it.
    total: u32,
}

impl Checksum {
    pub(super) fn new(format: Format) -> Checksum {
        let value = if format == Format::Zlib { 1 } else { 0 };
        Checksum {
            format,
            value,
            total: 0,
        }
    }

    /// Goes on from dw31 and dw30 of an entry.
    pub(super) fn resume(format: Format, word: u32, total: u32) -> Checksum {
        let value = match format {
            Format::Deflate => word,
            Format::Zlib => ((word >> 16) % ADLER_BASE) << 16 | ((word & 0xffff) % ADLER_BASE),
            Format::Gzip => (!word).reverse_bits(),
        };
        Checksum {
            format,
            value,
            total,
        }
    }

    /// dw31. For gzip it is the inverted and bit-reversed register.
    pub(super) fn word(&self) -> u32 {
        match self.format {
            Format::Deflate | Format::Zlib => self.value,
            Format::Gzip => !self.value.reverse_bits(),
        }
    }

    /// dw30.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.total = self.total.wrapping_add(data.len() as u32);
        match self.format {
            Format::Deflate => {}
            Format::Zlib => self.value = adler32(self.value, data),
            Format::Gzip => self.value = crc32(self.value, data),
        }
    }

    /// What follows the last block; its first [`Format::trailer_bytes`] bytes count.
    pub(super) fn trailer(&self) -> [u8; 8] {
        let mut trailer = [0; 8];
        match self.format {
            Format::Deflate => {}
            Format::Zlib => trailer[..4].copy_from_slice(&self.value.to_be_bytes()),
            Format::Gzip => {
                trailer[..4].copy_from_slice(&self.value.to_le_bytes());
                trailer[4..].copy_from_slice(&self.total.to_le_bytes());
            }
        }
        trailer
    }
}

fn adler32(start: u32, data: &[u8]) -> u32 {
    let (mut low, mut high) = (start & 0xffff, start >> 16);
    for run in data.chunks(ADLER_RUN) {
        for &byte in run {
            low += u32::from(byte);
            high += low;
        }
        low %= ADLER_BASE;
        high %= ADLER_BASE;
    }
    high << 16 | low
}

fn crc32(start: u32, data: &[u8]) -> u32 {
    let mut crc = !start;
    let (groups, rest) = data.as_chunks::<8>();
    for group in groups {
        let mixed = u64::from_le_bytes(*group) ^ u64::from(crc);
        crc = 0;
        for (index, byte) in mixed.to_le_bytes().into_iter().enumerate() {
            crc ^= CRC_TABLES[7 - index][usize::from(byte)];
        }
    }
    for &byte in rest {
        crc = crc >> 8 ^ CRC_TABLES[0][(crc as u8 ^ byte) as usize];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // RFC 1950 and 1952 give none; these are the usual check values.
        assert_eq!(adler32(1, b"Wikipedia"), 0x11e6_0398);
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_sum_goes_on_from_its_word() {
        let data: Vec<u8> = (0..20_000u32).map(|i| ((i * i) >> 3) as u8).collect();
        for format in [Format::Zlib, Format::Gzip] {
            let mut whole = Checksum::new(format);
            whole.update(&data);
            let mut part = Checksum::new(format);
            for piece in data.chunks(777) {
                part.update(piece);
                part = Checksum::resume(format, part.word(), part.total());
            }
            assert_eq!(part, whole);
        }
    }

    #[test]
    fn crc_agrees_with_the_library() {
        let data: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        for length in 0..64 {
            let mut library = flate2::Crc::new();
            library.update(&data[..length]);
            assert_eq!(crc32(0, &data[..length]), library.sum());
        }
    }

    #[test]
    fn gzip_word_is_inverted_and_reversed() {
        let mut sum = Checksum::new(Format::Gzip);
        sum.update(b"123456789");
        assert_eq!((!sum.word()).reverse_bits(), 0xcbf4_3926);
        assert_eq!(sum.trailer(), [0x26, 0x39, 0xf4, 0xcb, 9, 0, 0, 0]);
    }
}

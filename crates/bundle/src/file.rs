//! The file that a bundle is.
//!
//! A line of text with the format's number, the length and the SHA-256 of all that follows; then the
//! record, JSON compressed by zlib, with its length before it; then the contents that are embedded, in
//! the order of the record, each in the same way.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::record::{Bundle, Content};

/// The format's number. Another one is refused.
pub const FORMAT: u32 = 1;

const MAGIC: &str = "stallbox bundle ";
/// A record that unpacks to more is no record of ours.
const RECORD_BYTES_MAX: u64 = 256 << 20;
/// More than a machine can be booted from.
const CONTENT_BYTES_MAX: u64 = 4 << 30;

/// Why a file is no bundle that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It does not begin as one.
    #[error("it is no bundle: it does not begin with \"stallbox bundle\"")]
    Other,
    /// A newer Stallbox wrote it.
    #[error(
        "it has format {0}, and this Stallbox reads format {FORMAT}: use the Stallbox that wrote it"
    )]
    Newer(u32),
    /// Its end is missing.
    #[error("it is truncated: {missing} of {length} bytes are missing")]
    Truncated {
        /// Bytes that are not there.
        missing: u64,
        /// Bytes that there should be behind the first line.
        length: u64,
    },
    /// It has changed since it was written.
    #[error("it is damaged: its SHA-256 is {found}, and was {written} when it was written")]
    Damaged {
        /// Of what is there.
        found: String,
        /// Of what was written.
        written: String,
    },
    /// Its parts are not what the format says.
    #[error("it is damaged: {0}")]
    Malformed(String),
}

fn malformed(what: impl ToString) -> BundleError {
    BundleError::Malformed(what.to_string())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is embedded.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedded {
    kernel: bool,
    initramfs: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    record: &'a Bundle,
    embedded: Embedded,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    record: Bundle,
    embedded: Embedded,
}

/// Writes a bundle.
pub fn write(bundle: &Bundle, to: &mut dyn Write) -> io::Result<()> {
    let initramfs = bundle.initramfs.as_ref();
    let contents = [
        bundle.kernel.embedded.as_deref(),
        initramfs.and_then(|it| it.embedded.as_deref()),
    ];
    let written = Written {
        record: bundle,
        embedded: Embedded {
            kernel: contents[0].is_some(),
            initramfs: contents[1].is_some(),
        },
    };
    let mut body = Vec::new();
    put(&mut body, &serde_json::to_vec(&written)?)?;
    for content in contents.into_iter().flatten() {
        put(&mut body, content)?;
    }
    let digest = hex(&Sha256::digest(&body));
    writeln!(to, "{MAGIC}{FORMAT} {} {digest}", body.len())?;
    to.write_all(&body)
}

fn put(body: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes)?;
    let packed = packed.finish()?;
    body.extend((packed.len() as u64).to_le_bytes());
    body.extend(packed);
    Ok(())
}

/// Takes the next part of `body`, unpacked.
fn take(body: &mut &[u8], bytes_max: u64) -> Result<Vec<u8>, BundleError> {
    let (length, rest) = body
        .split_first_chunk()
        .ok_or_else(|| malformed("a part is missing"))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(malformed)?;
    if length > rest.len() {
        return Err(malformed("a part is longer than the file"));
    }
    let (packed, rest) = rest.split_at(length);
    *body = rest;
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed)
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(malformed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(malformed("a part unpacks to more than it may have"));
    }
    Ok(bytes)
}

/// Reads a bundle.
pub fn read(bytes: &[u8]) -> Result<Bundle, BundleError> {
    let rest = bytes
        .strip_prefix(MAGIC.as_bytes())
        .ok_or(BundleError::Other)?;
    let end = rest.iter().take(256).position(|&byte| byte == b'\n');
    let end = end.ok_or_else(|| malformed("its first line has no end"))?;
    let line = std::str::from_utf8(&rest[..end]).map_err(malformed)?;
    let mut words = line.split(' ');
    let format: u32 = number(words.next(), "the format's number")?;
    if format != FORMAT {
        return Err(BundleError::Newer(format));
    }
    let length: u64 = number(words.next(), "the length")?;
    let written = words.next().unwrap_or_default().to_owned();
    let mut body = &rest[end + 1..];
    let there = body.len() as u64;
    if there < length {
        let missing = length - there;
        return Err(BundleError::Truncated { missing, length });
    }
    if there > length {
        return Err(malformed("something was added to its end"));
    }
    let found = hex(&Sha256::digest(body));
    if found != written {
        return Err(BundleError::Damaged { found, written });
    }
    let record = take(&mut body, RECORD_BYTES_MAX)?;
    let Recorded {
        record: mut bundle,
        embedded,
    } = serde_json::from_slice(&record).map_err(malformed)?;
    if !bundle.chain.is_sound() {
        return Err(malformed("its chain of hashes is none"));
    }
    if embedded.kernel {
        fill(&mut bundle.kernel, &mut body)?;
    }
    if embedded.initramfs {
        let content = bundle.initramfs.as_mut();
        fill(
            content.ok_or_else(|| malformed("it has no initramfs to embed"))?,
            &mut body,
        )?;
    }
    Ok(bundle)
}

fn fill(content: &mut Content, body: &mut &[u8]) -> Result<(), BundleError> {
    let bytes = take(body, CONTENT_BYTES_MAX)?;
    if hex(&Sha256::digest(&bytes)) != content.sha256 {
        return Err(malformed("an embedded file is not the recorded one"));
    }
    content.embedded = Some(bytes);
    Ok(())
}

fn number<T: std::str::FromStr>(word: Option<&str>, what: &str) -> Result<T, BundleError> {
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| malformed(format!("{what} in its first line is none")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Chain, End, Input, Place, Turn};

    fn content(bytes: &[u8], embedded: bool) -> Content {
        Content {
            paths: vec!["/boot/file".into()],
            sha256: hex(&Sha256::digest(bytes)),
            bytes: bytes.len() as u64,
            embedded: embedded.then(|| bytes.to_vec()),
        }
    }

    fn bundle(embedded: bool) -> Bundle {
        let place = Place {
            step: 5,
            retired: 700,
        };
        Bundle {
            version: "0.1.0".into(),
            arguments: vec!["run".into(), "--".into(), "true".into()],
            kernel: content(b"a kernel", embedded),
            initramfs: Some(content(&[7; 100_000], embedded)),
            plan: None,
            latency: serde_json::json!({ "walk_step": 80.5 }),
            turns: vec![Turn {
                place,
                time_ns: 3,
                devices_ps: 3000,
                inputs: vec![Input::Keys(vec![3]), Input::Request("{}".into())],
            }],
            chain: Chain::default(),
            end: End {
                outcome: "command".into(),
                status: 0,
                trace_hash: "00".into(),
                events: 0,
                time_ns: 4,
                place: Some(place),
            },
        }
    }

    fn bytes(bundle: &Bundle) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(bundle, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        for embedded in [false, true] {
            let bundle = bundle(embedded);
            assert_eq!(read(&bytes(&bundle)).unwrap(), bundle);
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        let good = bytes(&bundle(true));
        let why = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(why(b"").contains("no bundle"));
        assert!(why(b"\x7fELF").contains("no bundle"));
        assert!(why(b"stallbox bundle 2 0 00\n").contains("format 2"));
        assert!(why(&good[..good.len() - 3]).contains("truncated: 3 of"));
        assert!(why(&good[..20]).contains("first line"));
        let mut changed = good.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(why(&changed).contains("damaged: its SHA-256"));
        let mut longer = good;
        longer.push(0);
        assert!(why(&longer).contains("damaged"));
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = bytes(&bundle(false));
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn nothing_that_is_read_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut text = b"stallbox bundle 1 ".to_vec();
            text.extend(bytes);
            let _ = read(&text);
        }
    }
}

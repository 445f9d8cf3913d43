//! What a test's script is wrapped in, so that its output can be told from the kernel's, and
//! files can come out through the console.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

const BEGIN: &str = "@@begin";
const END: &str = "@@end";
const FILE_BEGIN: &str = "@@file ";
const FILE_END: &str = "@@file-end";

/// `script`, wrapped. Its function `give FILE` hands a file of the guest to the test.
pub(crate) fn wrap(script: &str) -> String {
    format!(
        "dmesg -n 1\n\
         give() {{ echo \"{FILE_BEGIN}$1\"; gzip < \"$1\" | base64; echo {FILE_END}; }}\n\
         echo {BEGIN}\n\
         (\n{script}\n)\n\
         status=$?\n\
         printf '\\n{END}\\n'\n\
         exit $status\n"
    )
}

/// What a wrapped script left on the console.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its output.
    pub output: String,
    /// What it gave, by the names it used.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Takes the console apart. What a script that did not reach its end has said counts, too.
pub(crate) fn parse(console: &str) -> Said {
    let mut said = Said::default();
    let begin = format!("{BEGIN}\n");
    let Some(start) = console.find(&begin) else {
        return said;
    };
    let text = &console[start + begin.len()..];
    let text = text
        .split_once(&format!("\n{END}\n"))
        .map_or(text, |(text, _)| text);
    let mut file: Option<(&str, String)> = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        match &mut file {
            None => match bare.strip_prefix(FILE_BEGIN) {
                Some(name) => file = Some((name, String::new())),
                None => said.output.push_str(line),
            },
            Some((_, content)) if bare != FILE_END => content.push_str(bare),
            Some((name, content)) => {
                let packed = decode(name, content);
                said.files.insert((*name).to_owned(), unpack(name, &packed));
                file = None;
            }
        }
    }
    said
}

/// The console for people: only the names of the files that were given.
pub(crate) fn without_files(console: &str) -> String {
    let mut text = String::new();
    let mut in_file = false;
    for line in console.split_inclusive('\n') {
        match line.trim_end() {
            FILE_END => in_file = false,
            _ if in_file => {}
            bare => {
                in_file = bare.starts_with(FILE_BEGIN);
                text.push_str(line);
            }
        }
    }
    text
}

/// What `gzip` packed, so that less has to go through the console.
fn unpack(name: &str, packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .unwrap_or_else(|error| panic!("{name} came out of the guest damaged: {error}"));
    bytes
}

/// Base64 (RFC 4648, 4).
fn decode(name: &str, text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut width) = (0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!(
                "{name} came out of the guest with {:?} in it",
                char::from(digit)
            ),
        };
        bits = bits << 6 | u32::from(value);
        width += 6;
        if width >= 8 {
            width -= 8;
            bytes.push((bits >> width) as u8);
            bits &= (1 << width) - 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, 10.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode("", text), bytes.as_bytes());
        }
        assert_eq!(decode("", "+/8="), [0xfb, 0xff]);
    }

    #[test]
    fn output_and_files_are_told_apart_from_the_log() {
        let console = "[    0.1] log\n@@begin\none\n@@file /tmp/a b\n\
                       H4sIAAAAAAAAA0vLz09KLAIA\nlR/2ngYAAAA=\n@@file-end\n\
                       two\n\n@@end\n[    1.0] reboot: Power down\n";
        let said = parse(console);
        assert_eq!(said.output, "one\ntwo\n");
        assert_eq!(said.files["/tmp/a b"], b"foobar");
    }

    #[test]
    fn files_are_left_out_for_people() {
        let console = "a\n@@file x\nZm9v\n@@file-end\nb\n";
        assert_eq!(without_files(console), "a\n@@file x\nb\n");
    }

    #[test]
    fn output_without_a_last_newline_stays_so() {
        assert_eq!(parse("@@begin\nx\n@@end\n").output, "x");
        assert_eq!(parse("@@begin\n\n@@end\n").output, "");
    }

    #[test]
    fn a_script_that_was_cut_off_has_said_something() {
        assert_eq!(
            parse("@@begin\none\nKernel panic").output,
            "one\nKernel panic"
        );
        assert_eq!(parse("nothing"), Said::default());
    }
}

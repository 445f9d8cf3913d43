//! GNU objdump, as the oracle.

use std::fs;
use std::process::Command;

const PROGRAM: &str = "aarch64-linux-gnu-objdump";

/// What objdump makes of `words` at `base`, without comments and with spaces for its tabs.
pub(crate) fn disassemble(words: &[u32], base: u64) -> Vec<String> {
    let folder = tempfile::tempdir().expect("cannot make a temporary folder");
    let path = folder.path().join("words");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(&path, bytes).expect("the words can be written");
    let output = Command::new(PROGRAM)
        .args(["-D", "-z", "-b", "binary", "-m", "aarch64"])
        .args(["--no-show-raw-insn", &format!("--adjust-vma={base:#x}")])
        .arg(&path)
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "cannot start {PROGRAM} ({error}): install the Debian package \
                 binutils-aarch64-linux-gnu"
            )
        });
    assert!(
        output.status.success(),
        "{PROGRAM}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<String> = text.lines().filter_map(instruction).collect();
    assert_eq!(lines.len(), words.len(), "a line for each word");
    lines
}

/// The instruction of a line such as `ffffffc000000000:\tb.cs\t0x40  // b.hs`.
fn instruction(line: &str) -> Option<String> {
    let (address, text) = line.split_once(":\t")?;
    u64::from_str_radix(address.trim(), 16).ok()?;
    let text = text.split("//").next().unwrap_or(text);
    Some(text.trim().replace('\t', " "))
}

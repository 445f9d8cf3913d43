//! Names of the architecture's numbers.
//!
//! IHI 0070, *Commands* and *Event records*; the mailbox: Linux 6.12,
//! `include/linux/hisi_acc_qm.h`, `QM_MB_CMD_*`.

/// A name and its number.
pub(crate) type Name = (&'static str, u32);

/// SMMU commands by opcode.
pub const COMMANDS: &[Name] = stallbox_smmu::spec::command::NAMES;

/// Event records by number.
pub const EVENTS: &[Name] = stallbox_smmu::spec::event::NAMES;

/// The SMMU's interrupts.
pub const LINES: &[Name] = &[
    ("event-queue", 0),
    ("page-request-queue", 1),
    ("command-sync", 2),
    ("global-error", 3),
];

/// Commands of the queue manager's mailbox.
pub const MAILBOX_COMMANDS: &[Name] = &[
    ("SQC", 0x0),
    ("CQC", 0x1),
    ("EQC", 0x2),
    ("AEQC", 0x3),
    ("SQC_BT", 0x4),
    ("CQC_BT", 0x5),
    ("SQC_VFT", 0x6),
    ("STOP_QP", 0x8),
    ("FLUSH_QM", 0x9),
];

pub(crate) fn number(names: &[Name], name: &str) -> Option<u32> {
    let found = names
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(found.1)
}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .map(|name| (distance(word, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's, with a limit on the words' lengths: the text is the user's.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            let step = diagonal + usize::from(x != y);
            row[j + 1] = step.min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_none() {
        let known = ["translation", "record", "command"];
        assert_eq!(
            nearest("translatoin", known.into_iter()),
            Some("translation")
        );
        assert_eq!(nearest("recrod", known.into_iter()), Some("record"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
    }
}

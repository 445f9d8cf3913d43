//! Names of the architecture's numbers.
//!
//! IHI 0070, *Commands* and *Event records*; the mailbox: Linux 6.12,
//! `include/linux/hisi_acc_qm.h`, `QM_MB_CMD_*`.

/// A name and its number.
pub type Name = (&'static str, u32);

/// SMMU commands by opcode.
pub const COMMANDS: &[Name] = &[
    ("CMD_PREFETCH_CONFIG", 0x01),
    ("CMD_PREFETCH_ADDR", 0x02),
    ("CMD_CFGI_STE", 0x03),
    ("CMD_CFGI_ALL", 0x04),
    ("CMD_CFGI_STE_RANGE", 0x04),
    ("CMD_CFGI_CD", 0x05),
    ("CMD_CFGI_CD_ALL", 0x06),
    ("CMD_CFGI_VMS_PIDM", 0x07),
    ("CMD_TLBI_NH_ALL", 0x10),
    ("CMD_TLBI_NH_ASID", 0x11),
    ("CMD_TLBI_NH_VA", 0x12),
    ("CMD_TLBI_NH_VAA", 0x13),
    ("CMD_TLBI_EL3_ALL", 0x18),
    ("CMD_TLBI_EL3_VA", 0x1a),
    ("CMD_TLBI_EL2_ALL", 0x20),
    ("CMD_TLBI_EL2_ASID", 0x21),
    ("CMD_TLBI_EL2_VA", 0x22),
    ("CMD_TLBI_EL2_VAA", 0x23),
    ("CMD_TLBI_S12_VMALL", 0x28),
    ("CMD_TLBI_S2_IPA", 0x2a),
    ("CMD_TLBI_NSNH_ALL", 0x30),
    ("CMD_ATC_INV", 0x40),
    ("CMD_PRI_RESP", 0x41),
    ("CMD_RESUME", 0x44),
    ("CMD_STALL_TERM", 0x45),
    ("CMD_SYNC", 0x46),
];

/// Event records by number.
pub const EVENTS: &[Name] = &[
    ("F_UUT", 0x01),
    ("C_BAD_STREAMID", 0x02),
    ("F_STE_FETCH", 0x03),
    ("C_BAD_STE", 0x04),
    ("F_BAD_ATS_TREQ", 0x05),
    ("F_STREAM_DISABLED", 0x06),
    ("F_TRANSL_FORBIDDEN", 0x07),
    ("C_BAD_SUBSTREAMID", 0x08),
    ("F_CD_FETCH", 0x09),
    ("C_BAD_CD", 0x0a),
    ("F_WALK_EABT", 0x0b),
    ("F_TRANSLATION", 0x10),
    ("F_ADDR_SIZE", 0x11),
    ("F_ACCESS", 0x12),
    ("F_PERMISSION", 0x13),
    ("F_TLB_CONFLICT", 0x20),
    ("F_CFG_CONFLICT", 0x21),
    ("E_PAGE_REQUEST", 0x24),
    ("F_VMS_FETCH", 0x25),
];

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

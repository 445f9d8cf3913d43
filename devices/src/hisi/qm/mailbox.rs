//! The mailbox's 16 bytes (Linux 6.12, qm.c: `qm_mb_write`, `hisi_qm_wait_mb_ready`).
//!
//! arm64 writes them with one STP, which the bus may present as one access or as two; others write
//! single bytes. A command therefore starts when the last byte arrives, whatever brought it.

use super::spec::{MailboxHead, command};

pub(super) const MAILBOX_BYTES: usize = 16;

/// Which kind of context a command moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContextKind {
    Submission,
    Completion,
    Event,
    AsyncEvent,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Reads a context from memory, or writes it there.
    Context {
        kind: ContextKind,
        to_memory: bool,
    },
    /// Names the array of submission or completion contexts.
    BaseTable,
    /// Answers the function's queue range.
    QueryVft,
    StopQueue,
    Flush,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) number: u8,
    pub(super) action: Action,
    pub(super) queue: u16,
    pub(super) address: u64,
}

/// The status field of a command that failed; Linux looks only at whether it is zero.
pub(super) const STATUS_FAILED: u8 = 1;

#[derive(Default)]
pub(super) struct Mailbox {
    shown: [u8; MAILBOX_BYTES],
    arriving: [u8; MAILBOX_BYTES],
}

impl Mailbox {
    pub(super) fn read(&self, offset: usize, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.shown.get(at).copied().unwrap_or(0);
        }
    }

    fn head(&self) -> MailboxHead {
        head_of(&self.shown)
    }

    /// A write; the command that it completes, if any. While a command runs, writes are lost.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) -> Option<Command> {
        if self.head().busy() {
            return None;
        }
        let mut last = false;
        for (at, &byte) in (offset..).zip(data) {
            if let Some(target) = self.arriving.get_mut(at) {
                *target = byte;
                last |= at == MAILBOX_BYTES - 1;
            }
        }
        if !last {
            return None;
        }
        // Taken out, so that a stray write of the last byte does not repeat the command.
        let written = std::mem::take(&mut self.arriving);
        let head = head_of(&written);
        if !head.busy() {
            return None;
        }
        self.shown = written;
        self.set_head(head.with_status(0));
        let address = u64_at(&written, 4);
        Some(Command {
            number: head.command(),
            action: action(head.command(), head.read()),
            queue: head.queue(),
            address,
        })
    }

    /// The command is done.
    pub(super) fn finish(&mut self, status: u8, answer: Option<u64>) {
        let head = self.head().with_busy(false).with_status(status);
        self.set_head(head);
        if let Some(answer) = answer {
            self.shown[4..12].copy_from_slice(&answer.to_le_bytes());
        }
    }

    fn set_head(&mut self, head: MailboxHead) {
        self.shown[..4].copy_from_slice(&u32::from(head).to_le_bytes());
    }
}

fn head_of(bytes: &[u8; MAILBOX_BYTES]) -> MailboxHead {
    MailboxHead::from(u64_at(bytes, 0) as u32)
}

fn u64_at(bytes: &[u8; MAILBOX_BYTES], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn action(number: u8, to_memory: bool) -> Action {
    let context = |kind| Action::Context { kind, to_memory };
    match number {
        command::SQC => context(ContextKind::Submission),
        command::CQC => context(ContextKind::Completion),
        command::EQC => context(ContextKind::Event),
        command::AEQC => context(ContextKind::AsyncEvent),
        command::SQC_BT | command::CQC_BT => Action::BaseTable,
        command::SQC_VFT => Action::QueryVft,
        command::STOP_QP => Action::StopQueue,
        command::FLUSH_QM => Action::Flush,
        _ => Action::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `qm_mb_pre_init(mailbox, QM_MB_CMD_CQC, 0x1_2345_6780, 7, 1)`.
    const CQC_READ: [u8; 16] = [
        0x01, 0x60, 0x07, 0x00, 0x80, 0x67, 0x45, 0x23, 0x01, 0x00, 0x00, 0x00, 0, 0, 0, 0,
    ];

    fn expected() -> Option<Command> {
        let action = Action::Context {
            kind: ContextKind::Completion,
            to_memory: true,
        };
        Some(Command {
            number: 1,
            action,
            queue: 7,
            address: 0x1_2345_6780,
        })
    }

    #[test]
    fn a_command_starts_with_its_last_part_whatever_the_width() {
        for width in [1, 2, 4, 8, 16] {
            let mut mailbox = Mailbox::default();
            let mut started = None;
            for offset in (0..16).step_by(width) {
                assert_eq!(started, None, "started early with width {width}");
                started = mailbox.write(offset, &CQC_READ[offset..offset + width]);
            }
            assert_eq!(started, expected(), "width {width}");
        }
    }

    #[test]
    fn busy_shows_until_finished_and_the_answer_is_in_the_address_field() {
        let mut mailbox = Mailbox::default();
        mailbox.write(0, &CQC_READ);
        let mut word = [0; 4];
        mailbox.read(0, &mut word);
        assert_eq!(u32::from_le_bytes(word), 0x0007_6001);
        assert_eq!(
            mailbox.write(0, &CQC_READ),
            None,
            "a second command while busy"
        );

        mailbox.finish(3, Some(0x1122_3344_5566_7788));

        let mut all = [0; 16];
        mailbox.read(0, &mut all);
        assert_eq!(all[..4], 0x0007_4601u32.to_le_bytes());
        assert_eq!(all[4..12], 0x1122_3344_5566_7788u64.to_le_bytes());
    }

    #[test]
    fn the_last_byte_alone_starts_nothing() {
        let mut mailbox = Mailbox::default();
        assert_eq!(mailbox.write(0, &CQC_READ), expected());
        mailbox.finish(0, None);
        assert_eq!(mailbox.write(15, &[0]), None);
    }
}

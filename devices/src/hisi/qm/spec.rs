//! Layouts of the queue manager: doorbells, mailbox, contexts, ring entries, VFT data. HiSilicon
//! publishes no manual; names and positions are those of Linux 6.12,
//! `drivers/crypto/hisilicon/qm.c` and `qm_common.h`.

use bitfield_struct::bitfield;

use crate::verdict::{DoorbellWrite, Purpose};

/// Bytes of a submission entry (`HZIP_SQE_SIZE`).
pub(crate) const SQE_BYTES: usize = 128;
/// Bytes of a completion entry (`struct qm_cqe`).
pub(crate) const CQE_BYTES: usize = 16;
/// Bytes of an event entry (`struct qm_eqe`, `struct qm_aeqe`).
pub(crate) const EQE_BYTES: usize = 4;
/// Bytes of a context, of all four kinds.
pub(crate) const CONTEXT_BYTES: usize = 32;

/// A doorbell (`qm_db_v2`).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Doorbell {
    #[bits(12)]
    pub queue: u16,
    #[bits(4)]
    pub command: u8,
    /// `randata`: must equal w8 of the context.
    pub tag: u16,
    /// New tail of a submission ring, new head of the others.
    pub index: u16,
    /// On a completion ring, 1 asks for an event.
    pub priority: u16,
}

impl Doorbell {
    /// What it says; `None` if it is of none of the rings.
    pub fn write(self) -> Option<DoorbellWrite> {
        let (ring, of_queue) = match self.command() {
            DOORBELL_SQ => (Purpose::Submission, true),
            DOORBELL_CQ => (Purpose::Completion, true),
            DOORBELL_EQ => (Purpose::Event, false),
            DOORBELL_AEQ => (Purpose::AsyncEvent, false),
            _ => return None,
        };
        Some(DoorbellWrite {
            ring,
            queue: of_queue.then_some(self.queue()),
            index: self.index().into(),
        })
    }
}

/// `QM_DOORBELL_CMD_SQ`
pub(crate) const DOORBELL_SQ: u8 = 0;
/// `QM_DOORBELL_CMD_CQ`
pub(crate) const DOORBELL_CQ: u8 = 1;
/// `QM_DOORBELL_CMD_EQ`
pub(crate) const DOORBELL_EQ: u8 = 2;
/// `QM_DOORBELL_CMD_AEQ`
pub(crate) const DOORBELL_AEQ: u8 = 3;

/// The first 32 bits of the mailbox (`struct qm_mailbox`, `qm_mb_pre_init`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MailboxHead {
    pub command: u8,
    /// Completion by event instead of polling; Linux never asks for it.
    pub event: bool,
    #[bits(4)]
    pub status: u8,
    pub busy: bool,
    /// 1: the device answers into memory or the address field.
    pub read: bool,
    #[bits(1)]
    __: u8,
    pub queue: u16,
}

/// Mailbox commands (`QM_MB_CMD_*` in include/linux/hisi_acc_qm.h).
pub(crate) mod command {
    pub(crate) const SQC: u8 = 0x0;
    pub(crate) const CQC: u8 = 0x1;
    pub(crate) const EQC: u8 = 0x2;
    pub(crate) const AEQC: u8 = 0x3;
    pub(crate) const SQC_BT: u8 = 0x4;
    pub(crate) const CQC_BT: u8 = 0x5;
    pub(crate) const SQC_VFT: u8 = 0x6;
    pub(crate) const STOP_QP: u8 = 0x8;
    pub(crate) const FLUSH_QM: u8 = 0x9;
}

/// A context as it lies in memory. What the model does not interpret is kept, for dumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context(pub [u8; CONTEXT_BYTES]);

impl Context {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    fn set_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn set_bits(&mut self, at: usize, mask: u16, on: bool) {
        let value = self.u16(at);
        self.set_u16(at, if on { value | mask } else { value & !mask });
    }

    /// All kinds.
    pub(crate) fn head(&self) -> u16 {
        self.u16(0x00)
    }

    /// All kinds.
    pub(crate) fn tail(&self) -> u16 {
        self.u16(0x02)
    }

    /// All kinds.
    pub(crate) fn set_head(&mut self, head: u16) {
        self.set_u16(0x00, head);
    }

    /// All kinds.
    pub(crate) fn set_tail(&mut self, tail: u16) {
        self.set_u16(0x02, tail);
    }

    /// Where the ring is; all kinds.
    pub(crate) fn base(&self) -> u64 {
        u64::from(self.u32(0x08)) << 32 | u64::from(self.u32(0x04))
    }

    /// Entries of a submission or completion ring (`QM_MK_SQC_DW3_V2`).
    pub(crate) fn depth(&self) -> u32 {
        (self.u32(0x0c) & 0xfff) + 1
    }

    /// log2 of the bytes of an entry of such a ring.
    pub(crate) fn entry_log2(&self) -> u32 {
        self.u32(0x0c) >> 12 & 0xf
    }

    /// w8, the tag that doorbells of such a ring carry.
    pub(crate) fn tag(&self) -> u16 {
        self.u16(0x10)
    }

    /// PASID of a submission or completion ring's owner.
    pub(crate) fn pasid(&self) -> u16 {
        self.u16(0x14)
    }

    /// Submission ring, `QM_QC_PASID_ENABLE_SHIFT`: data carries the PASID.
    pub(crate) fn pasid_enabled(&self) -> bool {
        self.u16(0x16) & 1 << 7 != 0
    }

    /// w11 bit 6 in a dump of such a ring (`QM_SQ_TAIL_IDX`, `QM_CQ_TAIL_IDX`): toggles whenever
    /// the tail wraps.
    pub(crate) fn set_wrap(&mut self, wrap: bool) {
        self.set_bits(0x16, 1 << 6, wrap);
    }

    /// Submission ring: where its completions go.
    pub(crate) fn completion_queue(&self) -> u16 {
        self.u16(0x18)
    }

    /// Submission ring, w13: what its entries ask for; for ZIP the direction.
    pub(crate) fn algorithm(&self) -> u8 {
        (self.u16(0x1a) >> 8 & 0xf) as u8
    }

    /// Completion ring, `QM_CQ_PHASE_SHIFT`.
    pub(crate) fn phase(&self) -> bool {
        self.u16(0x18) & 1 != 0
    }

    /// Completion ring, `QM_CQ_FLAG_SHIFT` (c_flag): the next completion makes an event.
    pub(crate) fn armed(&self) -> bool {
        self.u16(0x18) & 2 != 0
    }

    /// Completion ring.
    pub(crate) fn set_phase(&mut self, phase: bool) {
        self.set_bits(0x18, 1, phase);
    }

    /// Completion ring.
    pub(crate) fn set_armed(&mut self, armed: bool) {
        self.set_bits(0x18, 2, armed);
    }

    /// Entries of an event ring.
    pub(crate) fn event_depth(&self) -> u32 {
        u32::from(self.u16(0x18)) + 1
    }

    /// Event ring, `QM_EQC_PHASE_SHIFT`.
    pub(crate) fn event_phase(&self) -> bool {
        self.u16(0x1a) & 1 != 0
    }

    /// Event ring.
    pub(crate) fn set_event_phase(&mut self, phase: bool) {
        self.set_bits(0x1a, 1, phase);
    }
}

/// A completion entry (`struct qm_cqe`).
pub(crate) fn completion(sq_head: u16, sq_number: u16, phase: bool) -> [u8; CQE_BYTES] {
    let mut entry = [0; CQE_BYTES];
    entry[0x8..0xa].copy_from_slice(&sq_head.to_le_bytes());
    entry[0xa..0xc].copy_from_slice(&sq_number.to_le_bytes());
    entry[0xe] = phase.into();
    entry
}

/// An event (`QM_EQE_*`) or asynchronous event (`QM_AEQE_*`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Event {
    pub queue: u16,
    pub phase: bool,
    /// Asynchronous events only.
    #[bits(4)]
    pub kind: u8,
    #[bits(11)]
    __: u16,
}

/// `QM_CQ_OVERFLOW`
pub(crate) const EVENT_CQ_OVERFLOW: u8 = 0;
/// The ring of completion events overflowed (`QM_EQ_OVERFLOW`).
pub(crate) const EVENT_EQ_OVERFLOW: u8 = 1;
/// `QM_CQE_ERROR`
pub(crate) const EVENT_CQE_ERROR: u8 = 2;

/// VFT data for submission queues (`qm_vft_data_cfg`).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct SqcVft {
    #[bits(28)]
    __: u32,
    /// `QM_SQC_VFT_BASE_SHIFT_V2`
    pub base: u16,
    /// `QM_SQC_VFT_VALID`
    pub valid: bool,
    /// `QM_SQC_VFT_NUM_SHIFT_V2`: number of queues less one.
    #[bits(10)]
    pub last: u16,
    #[bits(9)]
    __: u16,
}

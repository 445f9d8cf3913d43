//! Layouts, as `docs/test-engine.md` has them. Numbers in memory are little-endian.

use crate::dma::Pasid;

/// Vendor ID, "SB" in ASCII. PCI-SIG keeps no range for experiments; this number was never assigned
/// (the PCI ID Repository, 2025-06-09, has nobody there), and no kernel driver claims it.
pub const VENDOR_ID: u16 = 0x5342;
/// Device ID.
pub const DEVICE_ID: u16 = 0x7e57;
pub(super) const REVISION: u8 = 1;
/// Processing accelerator, no programming interface.
pub(super) const CLASS: u32 = 0x12_00_00;
pub(super) const PASID_WIDTH: u8 = 20;

/// BAR0: the driver's registers and the MSI-X table.
pub(super) const REGISTER_BAR: u8 = 0;
pub(super) const REGISTER_BAR_BYTES: u64 = 0x1_0000;
/// BAR2: a page for each queue, to be mapped into its process. 64 KiB, so that no kernel's page
/// holds two.
pub(super) const DOORBELL_BAR: u8 = 2;
pub(super) const DOORBELL_WINDOW_BYTES: u64 = 0x1_0000;

pub(super) const MSIX_TABLE: u32 = 0xa000;
pub(super) const MSIX_PBA: u32 = 0xc000;
/// Vector of failures. Queue n's completions have vector n + 1.
pub(super) const VECTOR_FAILURE: u16 = 0;

/// Registers of BAR0 that belong to the function.
pub(super) mod global {
    /// "SVAT" in the order of memory.
    pub(crate) const ID: u64 = 0x000;
    pub(crate) const VERSION: u64 = 0x004;
    pub(crate) const CAPABILITY: u64 = 0x008;
    pub(crate) const LIMITS: u64 = 0x00c;
    pub(crate) const CONTROL: u64 = 0x010;
    pub(crate) const STATUS: u64 = 0x014;
    pub(crate) const BYTES_MAX: u64 = 0x018;
    pub(crate) const COUNT_MAX: u64 = 0x01c;

    pub(crate) const ID_VALUE: u32 = u32::from_le_bytes(*b"SVAT");
    pub(crate) const VERSION_VALUE: u32 = 1 << 16 | 1;
    pub(crate) const CONTROL_RESET: u32 = 1;
    pub(crate) const STATUS_IDLE: u32 = 1;
}

/// Where queue n's registers are: `QUEUE_BLOCKS + n * QUEUE_BLOCK_BYTES`.
pub(super) const QUEUE_BLOCKS: u64 = 0x1000;
pub(super) const QUEUE_BLOCK_BYTES: u64 = 0x80;
pub(super) const QUEUES_MAX: u16 = 256;

/// Registers of a queue's block in BAR0.
pub(super) mod queue {
    pub(crate) const CONTROL: u64 = 0x00;
    pub(crate) const STATUS: u64 = 0x04;
    pub(crate) const PASID: u64 = 0x08;
    pub(crate) const GEOMETRY: u64 = 0x0c;
    pub(crate) const SQ_BASE: u64 = 0x10;
    pub(crate) const CQ_BASE: u64 = 0x18;
    pub(crate) const INTERVAL: u64 = 0x20;
    pub(crate) const RATE: u64 = 0x24;
    pub(crate) const SQ_TAIL: u64 = 0x28;
    pub(crate) const SQ_HEAD: u64 = 0x2c;
    pub(crate) const CQ_TAIL: u64 = 0x30;
    pub(crate) const CQ_HEAD: u64 = 0x34;

    pub(crate) const CONTROL_ENABLE: u32 = 1;
    pub(crate) const STATUS_ENABLED: u32 = 1;
    pub(crate) const STATUS_BUSY: u32 = 1 << 1;
    pub(crate) const STATUS_FAILED: u32 = 1 << 2;
    pub(crate) const STATUS_FAILURE_SHIFT: u32 = 8;
    pub(crate) const PASID_VALID: u32 = 1 << 31;
    pub(crate) const PASID_MASK: u32 = 0xf_ffff;
}

/// Registers of a queue's page in BAR2.
pub(super) mod page {
    pub(crate) const SQ_TAIL: u64 = 0x00;
    pub(crate) const CQ_HEAD: u64 = 0x04;
    pub(crate) const STATUS: u64 = 0x08;
    pub(crate) const GEOMETRY: u64 = 0x0c;
    pub(crate) const CAPABILITY: u64 = 0x10;
    /// 64-bit counters from here on, in the order of `Counters::words`.
    pub(crate) const COUNTERS: u64 = 0x40;
    /// Access latencies: how many took 2^i to 2^(i+1) nanoseconds.
    pub(crate) const HISTOGRAM: u64 = 0x100;
    pub(crate) const HISTOGRAM_END: u64 = HISTOGRAM + 8 * super::HISTOGRAM_BUCKETS as u64;
}

/// CAPABILITY: the device asks for pages itself, and for translations ahead of use.
pub(super) const CAPABILITY_PAGE_REQUESTS: u32 = 1 << 16;
pub(super) const CAPABILITY_PREFILL: u32 = 1 << 17;
/// And software has enabled it to.
pub(super) const CAPABILITY_ENABLED: u32 = 1 << 18;
/// Outstanding Page Request Capacity.
pub(super) const PAGE_REQUESTS_MAX: u32 = 512;
/// Page requests of one group: the pages of the largest access.
pub(super) const GROUP_PAGES: u32 = 1 << (ACCESS_LOG2_MAX - 12);

pub(super) const HISTOGRAM_BUCKETS: usize = 32;

/// Entries of a ring: a power of two up to this one's.
pub(super) const RING_LOG2_MAX: u32 = 12;
/// Descriptors that one queue may execute at once.
pub(super) const DEPTH_MAX: u32 = 64;
/// Bytes of one access to memory: a power of two. Above 4 KiB it is a burst of requests, the pages of
/// which are asked for in one group.
pub(super) const ACCESS_LOG2_MIN: u32 = 6;
pub(super) const ACCESS_LOG2_MAX: u32 = 14;
/// Bytes that one descriptor may read, and write.
pub(super) const BYTES_MAX: u64 = 64 << 20;
/// Elements or nodes of one descriptor.
pub(super) const COUNT_MAX: u32 = 1 << 20;
/// Bytes of an element of a strided copy.
pub(super) const ELEMENT_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a node of a linked list.
pub(super) const NODE_BYTES_MAX: u64 = 4096;
pub(super) const POINTER_BYTES: u64 = 8;

/// Why a queue failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Enabled with registers that describe nothing possible.
    BadConfiguration = 1,
    /// The submission ring could not be read.
    SubmissionRing = 2,
    /// The completion ring could not be written.
    CompletionRing = 3,
}

/// The GEOMETRY register, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) ring_log2: u32,
    pub(super) depth: u32,
    pub(super) access_log2: u32,
}

impl Geometry {
    /// `None` if it is not possible.
    pub(super) fn parse(word: u32) -> Option<Geometry> {
        let geometry = Geometry {
            ring_log2: word & 0xff,
            depth: word >> 8 & 0xff,
            access_log2: word >> 16 & 0xff,
        };
        let possible = (1..=RING_LOG2_MAX).contains(&geometry.ring_log2)
            && (1..=DEPTH_MAX).contains(&geometry.depth)
            && (ACCESS_LOG2_MIN..=ACCESS_LOG2_MAX).contains(&geometry.access_log2)
            && word >> 24 == 0;
        possible.then_some(geometry)
    }

    pub(super) fn entries(self) -> u32 {
        1 << self.ring_log2
    }
}

/// The PASID register, decoded: without the valid bit the queue uses the requester ID alone.
pub(super) fn pasid(word: u32) -> Option<Pasid> {
    (word & queue::PASID_VALID != 0).then_some(Pasid(word & queue::PASID_MASK))
}

pub(super) const DESCRIPTOR_BYTES: usize = 64;
pub(super) const COMPLETION_BYTES: usize = 32;

/// Flags of a descriptor.
pub(super) const FLAG_INTERRUPT: u8 = 1;
pub(super) const FLAG_FENCE: u8 = 1 << 1;
const FLAGS: u8 = FLAG_INTERRUPT | FLAG_FENCE;

/// What a descriptor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Nop = 0x01,
    Copy = 0x02,
    Fill = 0x03,
    Compare = 0x04,
    Crc = 0x05,
    AtomicAdd = 0x06,
    Chase = 0x07,
    Strided = 0x08,
}

impl Opcode {
    fn parse(raw: u8) -> Option<Opcode> {
        Some(match raw {
            0x01 => Opcode::Nop,
            0x02 => Opcode::Copy,
            0x03 => Opcode::Fill,
            0x04 => Opcode::Compare,
            0x05 => Opcode::Crc,
            0x06 => Opcode::AtomicAdd,
            0x07 => Opcode::Chase,
            0x08 => Opcode::Strided,
            // 0 too: memory that nobody wrote is no descriptor.
            _ => return None,
        })
    }
}

/// A completion's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success = 0x00,
    /// COMPARE found a difference.
    Mismatch = 0x01,
    /// CHASE visited as many nodes as it may before it met the end.
    Limit = 0x02,
    BadOpcode = 0x80,
    /// A flag or field that must be zero is not.
    Reserved = 0x81,
    BadLength = 0x82,
    BadCount = 0x83,
    /// Misaligned, or beyond the last address.
    BadAddress = 0x84,
    /// The memory system refused an access.
    Aborted = 0x90,
    /// Software has not enabled AtomicOps in configuration space.
    AtomicsDisabled = 0x91,
}

/// A descriptor's fields, as they are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) raw_opcode: u8,
    pub(super) flags: u8,
    pub(super) count: u32,
    pub(super) tag: u64,
    pub(super) source: u64,
    pub(super) destination: u64,
    pub(super) length: u64,
    pub(super) operand: u64,
    pub(super) source_stride: u64,
    pub(super) destination_stride: u64,
    reserved: u16,
}

impl Descriptor {
    pub(super) fn parse(bytes: &[u8; DESCRIPTOR_BYTES]) -> Descriptor {
        let long = |at: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(raw)
        };
        let head = long(0);
        Descriptor {
            raw_opcode: head as u8,
            flags: (head >> 8) as u8,
            reserved: (head >> 16) as u16,
            count: (head >> 32) as u32,
            tag: long(0x08),
            source: long(0x10),
            destination: long(0x18),
            length: long(0x20),
            operand: long(0x28),
            source_stride: long(0x30),
            destination_stride: long(0x38),
        }
    }

    /// The operation, or why there is none.
    pub(super) fn opcode(&self) -> Result<Opcode, Status> {
        let opcode = Opcode::parse(self.raw_opcode).ok_or(Status::BadOpcode)?;
        if self.flags & !FLAGS != 0 || self.reserved != 0 {
            return Err(Status::Reserved);
        }
        Ok(opcode)
    }
}

/// What a descriptor came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) result: u64,
    /// The address at fault, or CHASE's sum.
    pub(super) detail: u64,
}

impl Outcome {
    pub(super) fn success(result: u64) -> Outcome {
        Outcome {
            status: Status::Success,
            result,
            detail: 0,
        }
    }
}

/// A completion as it is in memory.
pub(super) fn completion(
    descriptor: &Descriptor,
    outcome: &Outcome,
    latency_ns: u64,
    slot: u16,
    phase: bool,
) -> [u8; COMPLETION_BYTES] {
    let latency = u32::try_from(latency_ns).unwrap_or(u32::MAX);
    let word = outcome.status as u32
        | u32::from(descriptor.raw_opcode) << 8
        | u32::from(slot) << 16
        | u32::from(phase) << 31;
    let mut bytes = [0; COMPLETION_BYTES];
    bytes[0x00..0x08].copy_from_slice(&descriptor.tag.to_le_bytes());
    bytes[0x08..0x10].copy_from_slice(&outcome.result.to_le_bytes());
    bytes[0x10..0x18].copy_from_slice(&outcome.detail.to_le_bytes());
    bytes[0x18..0x1c].copy_from_slice(&latency.to_le_bytes());
    bytes[0x1c..0x20].copy_from_slice(&word.to_le_bytes());
    bytes
}

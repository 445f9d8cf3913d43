//! Layouts of the ZIP engine: submission entry, scatter-gather list, status values. HiSilicon
//! publishes no manual; the layouts are those of Linux 6.12,
//! `drivers/crypto/hisilicon/zip/zip.h` and `sgl.c`, and of UADK, `drv/hisi_comp.c`
//! (`struct hisi_zip_sqe`) and `drv/hisi_qm_udrv.c` (`struct hisi_sgl`).

use bitfield_struct::bitfield;

/// 32-bit words of a submission entry, by index.
pub(crate) mod word {
    pub(crate) const CONSUMED: usize = 0;
    pub(crate) const PRODUCED: usize = 1;
    pub(crate) const STATUS: usize = 3;
    pub(crate) const INPUT_LENGTH: usize = 4;
    pub(crate) const FLAGS: usize = 7;
    pub(crate) const OUTPUT_OFFSET: usize = 8;
    pub(crate) const REQUEST: usize = 9;
    /// Tag of an entry of type 0.
    pub(crate) const TAG_0: usize = 13;
    pub(crate) const OUTPUT_ROOM: usize = 14;
    pub(crate) const CONTEXT_0: usize = 15;
    pub(crate) const SOURCE: usize = 18;
    pub(crate) const DESTINATION: usize = 20;
    pub(crate) const CONTEXT_ADDRESS: usize = 22;
    /// Tag of an entry of type 3, 64 bits.
    pub(crate) const TAG_3: usize = 26;
    pub(crate) const CONTEXT_1: usize = 28;
    pub(crate) const CONTEXT_2: usize = 29;
    pub(crate) const TOTAL_LENGTH: usize = 30;
    pub(crate) const CHECKSUM: usize = 31;
}

/// dw7
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Flags {
    /// `HZ_SGL_OFFSET_MASK`: where the data starts in the source list.
    #[bits(24)]
    pub source_offset: u32,
    #[bits(1)]
    __: u8,
    /// `STREAM_FLUSH_SHIFT`: the stream ends with this input.
    pub finish: bool,
    /// `STREAM_MODE_SHIFT`
    pub stateful: bool,
    /// `HZ_STREAM_POS_MASK`
    pub new_stream: bool,
    /// `HZIP_SQE_TYPE_M`
    #[bits(4)]
    pub entry_type: u8,
}

/// dw9
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct RequestWord {
    /// `HZIP_REQ_TYPE_M`
    pub request_type: u8,
    /// `HZIP_BUF_TYPE_M`
    #[bits(4)]
    pub buffer_type: u8,
    /// `WINDOW_SIZE_SHIFT`
    #[bits(4)]
    pub window: u8,
    __: u16,
}

/// Request types (UADK: `enum alg_type`).
pub(crate) const TYPE_DEFLATE: u8 = 1;
pub(crate) const TYPE_ZLIB: u8 = 2;
pub(crate) const TYPE_GZIP: u8 = 3;

/// Algorithm types of a queue (Linux: `HZIP_ALG_TYPE_COMP`, `HZIP_ALG_TYPE_DECOMP`).
pub(crate) const ALGORITHM_COMPRESS: u8 = 0;
pub(crate) const ALGORITHM_DECOMPRESS: u8 = 1;

/// The largest input and output (UADK: `HZ_MAX_SIZE`).
pub(crate) const BUFFER_BYTES_MAX: u32 = 8 << 20;

/// Bits of dw3.
pub(crate) const STATUS_MASK: u32 = 0xff;
/// `HZ_LSTBLK_MASK`
pub(crate) const STATUS_LAST_BLOCK: u32 = 1 << 8;

/// How a job ended. Software knows `Done`, `OutputTooSmall` (`ERR_DSTLEN_OUT`), `Checksum`
/// (`HZ_CRC_ERR`) and `StreamEnd` (`HZ_DECOMP_END`); it treats all else as a failure without
/// looking further. MODEL: the other numbers are this model's own, chosen from those that no
/// driver names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Done = 0x00,
    /// The entry asks for what this device does not do.
    BadRequest = 0x01,
    /// A scatter-gather list makes no sense or ends too early.
    BadList = 0x03,
    /// Input or output is larger than the device takes.
    TooLarge = 0x04,
    /// The stream context is not one that this device wrote.
    BadContext = 0x05,
    OutputTooSmall = 0x0e,
    Checksum = 0x10,
    /// The compressed data is invalid or incomplete.
    BadData = 0x11,
    StreamEnd = 0x13,
    /// An access to the job's memory was refused. No driver names it: it is what UADK printed on hardware
    /// whose SMMU refused (Linaro/uadk issue 226, "5.12 kernel has issue": `bad status(ctx_st=0x0,
    /// s=0x41, t=3)`).
    Refused = 0x41,
}

/// ctx_dw0: `HZ_CTX_ST_MASK` and its values, and `HZ_CTX_BFINAL_MASK`.
pub(crate) mod context_state {
    /// Nothing special.
    pub(crate) const NONE: u32 = 0;
    /// `HZ_DECOMP_NO_SPACE`: all input is taken but more output is to come; software repeats with
    /// empty input.
    pub(crate) const OUTPUT_PENDING: u32 = 1;
    /// `HZ_DECOMPING_NO_SPACE`: no room; input is left.
    pub(crate) const NO_ROOM: u32 = 2;
    /// `HW_DECOMP_NO_CRC`: only the trailer is missing.
    pub(crate) const TRAILER_MISSING: u32 = 4;
    /// The final block was seen.
    pub(crate) const FINAL_BLOCK: u32 = 1 << 7;
}

/// Scatter-gather list: bytes of header and entry, and the most entries of one list
/// (`HISI_ACC_SGL_SGE_NR_MAX`).
pub(crate) const SGL_HEADER_BYTES: usize = 64;
pub(crate) const SGE_BYTES: usize = 32;
pub(crate) const SGL_ENTRIES_MAX: u16 = 255;
/// Lists are aligned to this (`HISI_ACC_SGL_ALIGN_SIZE`).
pub(crate) const SGL_ALIGNMENT: u64 = 64;
/// Offsets in a list's header: the next list, and how many entries are valid here
/// (`entry_sum_in_sgl`).
pub(crate) const SGL_NEXT: usize = 0;
pub(crate) const SGL_ENTRIES: usize = 10;
/// Offsets in an entry.
pub(crate) const SGE_ADDRESS: usize = 0;
pub(crate) const SGE_LENGTH: usize = 16;

/// The device may use this much of the stream context: UADK keeps data of its own at 0x9800 of a
/// buffer of which the device gets the address of byte 64 (`CTX_STOREBUF_OFFSET`, `RSV_OFFSET`).
pub(crate) const CONTEXT_BYTES_MAX: usize = 0x97c0;

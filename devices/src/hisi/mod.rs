//! The HiSilicon ZIP accelerator: a PCIe function with a queue manager (`qm`) and a deflate
//! engine (`zip`), as Linux's `hisi_zip` driver and UADK see it.
//!
//! HiSilicon publishes no register manual, so the drivers are the specification: Linux 6.12,
//! `drivers/crypto/hisilicon/` (qm.c, zip/zip_main.c, zip/zip_crypto.c, sgl.c), and UADK,
//! `drv/hisi_qm_udrv.c` and `drv/hisi_comp.c`. Revisions 0x21 (Kunpeng 920) and 0x30 (Kunpeng 930)
//! are modelled, the physical function only.
//!
//! One job's way: a doorbell moves a submission ring's tail (`qm`); the queue's task fetches the
//! entry, the engine (`zip`) parses it, reads the source, computes, writes the destination, all
//! through the bus master (`master`) with the queue's PASID; the task writes the entry back and
//! the completion, then, if the guest asked for it, an event and its interrupt. Each access can
//! wait for a page fault, and only that queue (and the core that it holds) waits with it.
//!
//! Not here: virtual functions and their messages, quality of service, runtime power management,
//! SVA prefetch, DAE; the features are announced as absent.

mod counters;
mod errors;
mod function;
mod master;
mod qm;
mod regs;
mod spec;
mod zip;

// Fuzzers need less of it than tests do.
#[cfg(any(test, feature = "test-utils"))]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use function::Zip;
pub use qm::InjectedEvents;

/// Which of the two devices it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// 0x21: capabilities are constants of the driver, all doorbells share one page; zlib and
    /// gzip.
    V2,
    /// 0x30: capability registers, a doorbell window for each queue, PASID by queue; raw deflate
    /// too.
    V3,
}

impl Revision {
    /// The Revision ID register.
    pub fn id(self) -> u8 {
        match self {
            Revision::V2 => 0x21,
            Revision::V3 => 0x30,
        }
    }

    /// As it is named on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Revision::V2 => "0x21",
            Revision::V3 => "0x30",
        }
    }
}

/// What the device says of an access to a process's memory that was refused, beside the completion with
/// status 0x41.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmaErrors {
    /// The AXI response errors are in `HZIP_CORE_INT_SOURCE` alone, as if the firmware had taken them
    /// over (RAS): the driver hears of the completion only.
    #[default]
    Status,
    /// They are in `HZIP_CORE_INT_STATUS` too, and raise the abnormal interrupt.
    Ras,
}

/// What is configurable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZipConfig {
    /// The device.
    pub revision: Revision,
    /// Queues, at least 2 and at most 1024. With revision 0x21 Linux takes 1024 for granted; its
    /// `pf_q_num` must then not exceed this.
    pub queues: u16,
    /// Jobs that compress at the same time, 1 or 2; others wait in order. A job keeps its core while it
    /// waits for a page fault. The driver finds the registers of the cores that decompress behind
    /// those of two that compress (`HZIP_CORE_DFX_DECOMP_BASE`).
    pub compress_cores: u32,
    /// The same for decompression, 1 to 6.
    pub decompress_cores: u32,
    /// The library's compression level, 0 to 9. What the hardware achieves is not documented.
    pub level: u32,
    /// A completion ring has at most one entry in the event ring that the driver has not taken. Linux
    /// takes them in batches (`qm_get_complete_eqe_num`).
    pub coalesce: bool,
    /// Revision 0x30: announce the mailbox command that stops a queue (`QM_SUPPORT_STOP_QP`). Linux
    /// 6.12 then gives a queue only 1 ms to stop, which a page fault can exceed
    /// (`hisi_qm_wait_mb_ready`); without, it polls for 0.1 to 0.2 s (`qm_wait_qp_empty`).
    pub stop_qp: bool,
    /// Revision 0x30: announce the mailbox command that stops all queues before a reset
    /// (`QM_SUPPORT_STOP_FUNC`).
    pub flush_qm: bool,
    /// How an access that was refused is told.
    pub dma_errors: DmaErrors,
}

impl ZipConfig {
    /// At least one core of each kind.
    fn cores(&self) -> counters::CoreCounts {
        counters::CoreCounts {
            compress: self.compress_cores.max(1) as usize,
            decompress: self.decompress_cores.max(1) as usize,
        }
    }

    /// The device as sold: 1024 queues; 2 cores that compress and 6 (0x21) or 3 (0x30) that
    /// decompress (`zip_basic_cap_info`).
    pub fn new(revision: Revision) -> ZipConfig {
        ZipConfig {
            revision,
            queues: 1024,
            compress_cores: 2,
            decompress_cores: match revision {
                Revision::V2 => 6,
                Revision::V3 => 3,
            },
            level: 6,
            coalesce: true,
            stop_qp: false,
            flush_qm: false,
            dma_errors: DmaErrors::default(),
        }
    }
}

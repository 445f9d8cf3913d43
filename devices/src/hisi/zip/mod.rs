//! The ZIP engine: deflate in its three wrappings, both ways, for requests that are complete and
//! for streams.
//!
//! Specified by what software relies on: Linux 6.12, `drivers/crypto/hisilicon/zip/zip_crypto.c`,
//! and UADK, `drv/hisi_comp.c`. Software writes and skips the headers of zlib and gzip; the engine
//! makes and takes raw deflate and the trailer.
//!
//! DEVIATION: no lz77 and lz4 types (their output format is not documented), and status 0x0d
//! (output larger than input) is not given: such output is complete and gets status 0.

mod buffer;
mod checksum;
mod compress;
mod context;
mod cores;
mod decompress;
mod history;
mod inflate;
mod request;
pub(super) mod spec;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use super::counters::{CoreKind, CoreName, Counters, Ending};
use super::master::{DmaError, Master, Requester, Revoked};
use super::qm::{Engine, Entry, Job, JobFuture};
use super::regs::Registers;
use super::spec as registers;
use super::{Revision, ZipConfig};
use crate::dma::{DmaAttrs, Pasid};
use crate::function::DeviceNote;
use crate::verdict::Purpose;
use buffer::Access;
use checksum::Checksum;
use cores::Cores;
use request::{Direction, Request, get, set};
use spec::{Status, word};

/// How much of a source or destination is held at a time.
const CHUNK_BYTES: usize = 64 << 10;

pub(super) struct ZipEngine {
    master: Rc<Master>,
    registers: Rc<Registers>,
    counters: Rc<Counters>,
    revision: Revision,
    level: u32,
    compress_cores: usize,
    decompress_cores: usize,
    cores: RefCell<(Cores, Cores)>,
}

/// Why a job has no result.
enum Failure {
    Status(Status),
    Revoked,
}

impl From<DmaError> for Failure {
    fn from(error: DmaError) -> Failure {
        match error {
            DmaError::Aborted(_) => Failure::Status(Status::Refused),
            DmaError::Revoked => Failure::Revoked,
        }
    }
}

impl From<Revoked> for Failure {
    fn from(_: Revoked) -> Failure {
        Failure::Revoked
    }
}

/// A job's result.
struct Outcome {
    status: Status,
    last_block: bool,
    consumed: u32,
    produced: u32,
    /// ctx_dw0 to ctx_dw2.
    context: [u32; 3],
    checksum: Checksum,
}

impl ZipEngine {
    pub(super) fn new(
        master: Rc<Master>,
        registers: Rc<Registers>,
        counters: Rc<Counters>,
        config: &ZipConfig,
    ) -> ZipEngine {
        let cores = config.cores();
        let none = |kind| Cores::new(kind, 0, &counters);
        let engine = ZipEngine {
            master,
            registers,
            cores: RefCell::new((none(CoreKind::Compress), none(CoreKind::Decompress))),
            counters,
            revision: config.revision,
            level: config.level.min(9),
            compress_cores: cores.compress,
            decompress_cores: cores.decompress,
        };
        engine.reset();
        engine
    }

    /// All cores are free. Jobs that still hold one of before give that one back to nobody.
    pub(super) fn reset(&self) {
        let cores = |kind, count| Cores::new(kind, count, &self.counters);
        let fresh = (
            cores(CoreKind::Compress, self.compress_cores),
            cores(CoreKind::Decompress, self.decompress_cores),
        );
        let before = self.cores.replace(fresh);
        before.0.retire();
        before.1.retire();
        before.0.recheck();
        before.1.recheck();
    }

    /// Whether accesses carry the PASID of their queue; `enabled` if its context says so.
    fn carries_pasid(&self, user_register: u32, enabled: bool) -> bool {
        match self.revision {
            Revision::V2 => self.registers.ssv(user_register),
            Revision::V3 => enabled,
        }
    }

    /// The same of what jobs read.
    pub(super) fn reads_with_pasid(&self, enabled: bool) -> bool {
        self.carries_pasid(registers::DATA_READ_USER, enabled)
    }

    fn access(&self, job: &Job) -> Access {
        let with_pasid = DmaAttrs::of(Pasid(job.pasid.into()));
        let attrs = |user_register| {
            if self.carries_pasid(user_register, job.pasid_enabled) {
                with_pasid
            } else {
                DmaAttrs::REQUESTER
            }
        };
        Access {
            requester: Requester::function(&job.lease, Some(job.queue), Purpose::Data),
            read: attrs(registers::DATA_READ_USER),
            write: attrs(registers::DATA_WRITE_USER),
            list: attrs(registers::SGL_READ_USER),
        }
    }

    /// Executes an entry; `used` becomes the core that did.
    async fn execute(
        &self,
        job: &Job,
        access: &Access,
        entry: &Entry,
        used: &mut Option<CoreName>,
    ) -> Result<Outcome, Failure> {
        let request = Request::parse(entry, job.algorithm, self.revision).map_err(|status| {
            self.counters.rejected(match job.algorithm {
                spec::ALGORITHM_DECOMPRESS => CoreKind::Decompress,
                _ => CoreKind::Compress,
            });
            Failure::Status(status)
        })?;
        let cores = {
            let cores = self.cores.borrow();
            match request.direction {
                Direction::Compress => cores.0.clone(),
                Direction::Decompress => cores.1.clone(),
            }
        };
        let core = cores.acquire(&job.lease).await?;
        *used = Some(core.name());
        match request.direction {
            Direction::Compress => self.compress(access, &request).await,
            Direction::Decompress => self.decompress(access, &request).await,
        }
    }

    async fn run_job(&self, job: &Job, entry: &mut Entry) -> Result<(), Revoked> {
        let access = self.access(job);
        self.master.bus.note(DeviceNote::JobStarted {
            queue: job.queue,
            pasid: access.read.pasid,
            tag: request::tag(entry),
            input: request::input_length(entry),
        });
        let mut core = None;
        let result = self.execute(job, &access, entry, &mut core).await;
        let (status, consumed, produced) = match result {
            Ok(outcome) => {
                fill(entry, &outcome);
                (outcome.status, outcome.consumed, outcome.produced)
            }
            Err(Failure::Status(status)) => {
                fill_failure(entry, status);
                (status, 0, 0)
            }
            Err(Failure::Revoked) => return Err(Revoked),
        };
        if let Some(core) = core {
            let ending = match status {
                Status::Refused => Ending::Refused,
                Status::BadRequest | Status::BadList | Status::TooLarge => Ending::Unparsable,
                _ => Ending::Done,
            };
            self.counters.ended(core, ending, consumed, produced);
        }
        self.master.bus.note(DeviceNote::JobDone {
            queue: job.queue,
            tag: None,
            status: status as u8,
            consumed,
            produced,
        });
        Ok(())
    }
}

impl Engine for ZipEngine {
    fn run<'a>(&'a self, job: &'a Job, entry: &'a mut Entry) -> JobFuture<'a> {
        Box::pin(self.run_job(job, entry))
    }

    fn recheck(&self) {
        let cores = self.cores.borrow().clone();
        cores.0.recheck();
        cores.1.recheck();
    }
}

fn set_status(entry: &mut Entry, status: Status, last_block: bool) {
    let kept = get(entry, word::STATUS) & !(spec::STATUS_MASK | spec::STATUS_LAST_BLOCK);
    let last = if last_block {
        spec::STATUS_LAST_BLOCK
    } else {
        0
    };
    set(entry, word::STATUS, kept | last | status as u32);
}

/// The words that a result changes; software finds all others as it wrote them.
fn fill(entry: &mut Entry, outcome: &Outcome) {
    set(entry, word::CONSUMED, outcome.consumed);
    set(entry, word::PRODUCED, outcome.produced);
    set_status(entry, outcome.status, outcome.last_block);
    set(entry, word::CONTEXT_0, outcome.context[0]);
    set(entry, word::CONTEXT_1, outcome.context[1]);
    set(entry, word::CONTEXT_2, outcome.context[2]);
    set(entry, word::TOTAL_LENGTH, outcome.checksum.total());
    set(entry, word::CHECKSUM, outcome.checksum.word());
}

fn fill_failure(entry: &mut Entry, status: Status) {
    set(entry, word::CONSUMED, 0);
    set(entry, word::PRODUCED, 0);
    set_status(entry, status, false);
}

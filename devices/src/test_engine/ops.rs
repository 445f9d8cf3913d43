//! The operations. Each reads like its description in `docs/test-engine.md`: check the fields, then
//! walk memory in ascending order, never holding more than a chunk of it.

use std::cell::Cell;

use flate2::Crc;

use super::master::{Master, Requester};
use super::spec::{
    BYTES_MAX, COUNT_MAX, Descriptor, ELEMENT_BYTES_MAX, NODE_BYTES_MAX, Opcode, Outcome,
    POINTER_BYTES, Status,
};
use crate::function::DmaError;
use crate::lease::Revoked;

/// Bytes that an operation holds at a time, unless its accesses are larger.
const CHUNK_BYTES: u64 = 4096;

/// Why an operation has no result.
enum Failure {
    /// A status, and the address that goes with it.
    Status(Status, u64),
    Revoked,
}

impl From<DmaError> for Failure {
    fn from(error: DmaError) -> Failure {
        match error {
            DmaError::Aborted(abort) => Failure::Status(Status::Aborted, abort.address),
            DmaError::Revoked => Failure::Revoked,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure::Status(status, 0)
    }
}

type Result<T> = std::result::Result<T, Failure>;

/// Bytes of data that a descriptor names, as far as it makes sense.
pub(super) fn bytes(descriptor: &Descriptor) -> u32 {
    let total = match descriptor.opcode() {
        Err(_) | Ok(Opcode::Nop) => 0,
        Ok(Opcode::Copy | Opcode::Fill | Opcode::Compare | Opcode::Crc) => descriptor.length,
        Ok(Opcode::AtomicAdd | Opcode::Chase | Opcode::Strided) => {
            descriptor.length.saturating_mul(descriptor.count.into())
        }
    };
    u32::try_from(total).unwrap_or(u32::MAX)
}

/// A descriptor under execution.
pub(super) struct Work<'a> {
    master: &'a Master,
    requester: &'a Requester,
    read_bytes: Cell<u32>,
    written_bytes: Cell<u32>,
}

impl<'a> Work<'a> {
    pub(super) fn new(master: &'a Master, requester: &'a Requester) -> Work<'a> {
        Work {
            master,
            requester,
            read_bytes: Cell::new(0),
            written_bytes: Cell::new(0),
        }
    }

    fn chunk_bytes(&self) -> u64 {
        CHUNK_BYTES.max(1 << self.requester.access_log2)
    }

    pub(super) fn read_bytes(&self) -> u32 {
        self.read_bytes.get()
    }

    pub(super) fn written_bytes(&self) -> u32 {
        self.written_bytes.get()
    }

    /// Executes `descriptor`. Whatever is wrong with it or its data is told in the outcome.
    pub(super) async fn run(
        &self,
        descriptor: &Descriptor,
    ) -> std::result::Result<Outcome, Revoked> {
        match self.perform(descriptor).await {
            Ok(outcome) => Ok(outcome),
            Err(Failure::Status(status, detail)) => Ok(Outcome {
                status,
                result: 0,
                detail,
            }),
            Err(Failure::Revoked) => Err(Revoked),
        }
    }

    async fn perform(&self, d: &Descriptor) -> Result<Outcome> {
        match d.opcode()? {
            Opcode::Nop => Ok(Outcome::success(0)),
            Opcode::Copy => self.copy(d).await,
            Opcode::Fill => self.fill(d).await,
            Opcode::Compare => self.compare(d).await,
            Opcode::Crc => self.crc(d).await,
            Opcode::AtomicAdd => self.atomic_add(d).await,
            Opcode::Chase => self.chase(d).await,
            Opcode::Strided => self.strided(d).await,
        }
    }

    async fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.master.read(self.requester, address, buffer).await?;
        self.read_bytes
            .set(self.read_bytes.get() + buffer.len() as u32);
        Ok(())
    }

    /// Asks for the translations of a range ahead of its use, if the device is to do so.
    async fn prefill(&self, address: u64, length: u64, write: bool) -> Result<()> {
        let (master, requester) = (self.master, self.requester);
        Ok(master.prefill(requester, address, length, write).await?)
    }

    async fn write(&self, address: u64, buffer: &[u8]) -> Result<()> {
        self.master.write(self.requester, address, buffer).await?;
        self.written_bytes
            .set(self.written_bytes.get() + buffer.len() as u32);
        Ok(())
    }

    /// COPY: `length` bytes from source to destination; the result is `length`.
    async fn copy(&self, d: &Descriptor) -> Result<Outcome> {
        let range = Range::of(d.length)?.at(d.source)?.at(d.destination)?;
        self.prefill(d.source, d.length, false).await?;
        self.prefill(d.destination, d.length, true).await?;
        let mut chunk = vec![0; self.chunk_bytes() as usize];
        for (offset, length) in range.chunks(d.source, self.chunk_bytes()) {
            let chunk = &mut chunk[..length];
            self.read(d.source + offset, chunk).await?;
            self.write(d.destination + offset, chunk).await?;
        }
        Ok(Outcome::success(d.length))
    }

    /// FILL: `length` bytes at destination with the 8 bytes of `operand`, repeated; the result is
    /// `length`.
    async fn fill(&self, d: &Descriptor) -> Result<Outcome> {
        let range = Range::of(d.length)?.at(d.destination)?;
        self.prefill(d.destination, d.length, true).await?;
        let pattern = d.operand.to_le_bytes();
        for (offset, length) in range.chunks(d.destination, self.chunk_bytes()) {
            let phase = (offset % 8) as usize;
            let chunk: Vec<u8> = pattern
                .iter()
                .copied()
                .cycle()
                .skip(phase)
                .take(length)
                .collect();
            self.write(d.destination + offset, &chunk).await?;
        }
        Ok(Outcome::success(d.length))
    }

    /// COMPARE: `length` bytes at source and destination; the result is the offset of the first
    /// difference, or `length`.
    async fn compare(&self, d: &Descriptor) -> Result<Outcome> {
        let range = Range::of(d.length)?.at(d.source)?.at(d.destination)?;
        self.prefill(d.source, d.length, false).await?;
        self.prefill(d.destination, d.length, false).await?;
        let mut left = vec![0; self.chunk_bytes() as usize];
        let mut right = left.clone();
        for (offset, length) in range.chunks(d.source, self.chunk_bytes()) {
            let (left, right) = (&mut left[..length], &mut right[..length]);
            self.read(d.source + offset, left).await?;
            self.read(d.destination + offset, right).await?;
            if let Some(at) = left.iter().zip(right.iter()).position(|(a, b)| a != b) {
                return Ok(Outcome {
                    status: Status::Mismatch,
                    result: offset + at as u64,
                    detail: 0,
                });
            }
        }
        Ok(Outcome::success(d.length))
    }

    /// CRC: the CRC-32 of zlib and Ethernet over `length` bytes at source.
    async fn crc(&self, d: &Descriptor) -> Result<Outcome> {
        let range = Range::of(d.length)?.at(d.source)?;
        self.prefill(d.source, d.length, false).await?;
        let mut chunk = vec![0; self.chunk_bytes() as usize];
        let mut crc = Crc::new();
        for (offset, length) in range.chunks(d.source, self.chunk_bytes()) {
            let chunk = &mut chunk[..length];
            self.read(d.source + offset, chunk).await?;
            crc.update(chunk);
        }
        Ok(Outcome::success(crc.sum().into()))
    }

    /// ATOMIC ADD: FetchAdd of `operand`, `count` times, at destination and each destination
    /// stride further; `length` is 4 or 8. The result is what the last one found.
    async fn atomic_add(&self, d: &Descriptor) -> Result<Outcome> {
        if !matches!(d.length, 4 | 8) {
            return Err(Status::BadLength.into());
        }
        let count = count(d)?;
        if !self.master.bus.atomics_enabled() {
            return Err(Status::AtomicsDisabled.into());
        }
        let width = d.length as usize;
        let operand = d.operand.to_le_bytes();
        let mut before = [0; 8];
        for index in 0..count {
            let address = element(d.destination, d.destination_stride, index);
            if !address.is_multiple_of(d.length) {
                return Err(Failure::Status(Status::BadAddress, address));
            }
            self.master
                .fetch_add(
                    self.requester,
                    address,
                    &operand[..width],
                    &mut before[..width],
                )
                .await?;
            self.read_bytes.set(self.read_bytes.get() + width as u32);
            self.written_bytes
                .set(self.written_bytes.get() + width as u32);
        }
        Ok(Outcome::success(u64::from_le_bytes(before)))
    }

    /// CHASE: nodes of `length` bytes from source on; the pointer to the next is at `operand` in
    /// each, 0 in the last. The result is how many were visited, the detail the sum of all their
    /// 64-bit words. At most `count`: a list may be a circle.
    async fn chase(&self, d: &Descriptor) -> Result<Outcome> {
        let node_possible = (POINTER_BYTES..=NODE_BYTES_MAX).contains(&d.length)
            && d.length.is_multiple_of(POINTER_BYTES)
            && d.operand.is_multiple_of(POINTER_BYTES)
            && d.operand <= d.length - POINTER_BYTES;
        if !node_possible {
            return Err(Status::BadLength.into());
        }
        let count = count(d)?;
        if d.length * u64::from(count) > BYTES_MAX {
            return Err(Status::BadLength.into());
        }
        let mut node = vec![0; d.length as usize];
        let (mut address, mut sum) = (d.source, 0u64);
        for visited in 0..count {
            if address == 0 {
                return Ok(Outcome {
                    status: Status::Success,
                    result: visited.into(),
                    detail: sum,
                });
            }
            let possible = address.is_multiple_of(POINTER_BYTES)
                && address.checked_add(d.length - 1).is_some();
            if !possible {
                return Err(Failure::Status(Status::BadAddress, address));
            }
            self.read(address, &mut node).await?;
            for word in node.chunks_exact(8) {
                sum = sum.wrapping_add(long(word));
            }
            let at = d.operand as usize;
            address = long(&node[at..at + 8]);
        }
        let status = if address == 0 {
            Status::Success
        } else {
            Status::Limit
        };
        Ok(Outcome {
            status,
            result: count.into(),
            detail: sum,
        })
    }

    /// STRIDED: `count` elements of `length` bytes, each a source stride and a destination stride
    /// further. The result is the number of bytes.
    async fn strided(&self, d: &Descriptor) -> Result<Outcome> {
        if !(1..=ELEMENT_BYTES_MAX).contains(&d.length) {
            return Err(Status::BadLength.into());
        }
        let count = count(d)?;
        let total = d.length * u64::from(count);
        if total > BYTES_MAX {
            return Err(Status::BadLength.into());
        }
        let mut chunk = vec![0; self.chunk_bytes() as usize];
        for index in 0..count {
            let source = element(d.source, d.source_stride, index);
            let destination = element(d.destination, d.destination_stride, index);
            let range = Range::of(d.length)?.at(source)?.at(destination)?;
            for (offset, length) in range.chunks(source, self.chunk_bytes()) {
                let chunk = &mut chunk[..length];
                self.read(source + offset, chunk).await?;
                self.write(destination + offset, chunk).await?;
            }
        }
        Ok(Outcome::success(total))
    }
}

/// The `index`-th of elements that are `stride` (a signed number) apart.
fn element(first: u64, stride: u64, index: u32) -> u64 {
    first.wrapping_add(stride.wrapping_mul(index.into()))
}

fn count(d: &Descriptor) -> Result<u32> {
    if (1..=COUNT_MAX).contains(&d.count) {
        Ok(d.count)
    } else {
        Err(Status::BadCount.into())
    }
}

fn long(bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(bytes);
    u64::from_le_bytes(raw)
}

/// A length that was checked.
#[derive(Clone, Copy)]
struct Range(u64);

impl Range {
    fn of(length: u64) -> Result<Range> {
        if (1..=BYTES_MAX).contains(&length) {
            Ok(Range(length))
        } else {
            Err(Status::BadLength.into())
        }
    }

    /// The range does not reach beyond the last address if it begins at `address`.
    fn at(self, address: u64) -> Result<Range> {
        match address.checked_add(self.0 - 1) {
            Some(_) => Ok(self),
            None => Err(Failure::Status(Status::BadAddress, address)),
        }
    }

    /// Offsets and lengths of chunks that end where chunks of `first`'s address space do.
    fn chunks(self, first: u64, bytes: u64) -> impl Iterator<Item = (u64, usize)> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let left = self.0 - offset;
            if left == 0 {
                return None;
            }
            let length = (bytes - (first + offset) % bytes).min(left);
            let chunk = (offset, length as usize);
            offset += length;
            Some(chunk)
        })
    }
}

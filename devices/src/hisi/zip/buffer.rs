//! Sources and destinations: flat memory or chained scatter-gather lists, walked once from the
//! start. Lists and data are read as late as possible, so that each page faults when its turn
//! comes, and never more than a chunk is held.

use std::collections::VecDeque;
use std::rc::Rc;

use super::request::Place;
use super::spec::{self, Status};
use super::{CHUNK_BYTES, Failure};
use crate::dma::DmaAttrs;
use crate::hisi::master::{Master, Requester};

/// Lists in a chain. 255 entries each: enough for 8 MiB in pieces of 128 bytes. It ends a chain
/// that is a circle.
const LISTS_MAX: u32 = 256;

/// A walk over memory.
struct Walk {
    master: Rc<Master>,
    /// Reads lists.
    lists: Requester,
    segments: Segments,
}

enum Segments {
    /// The next byte's address.
    Flat(u64),
    List {
        entries: VecDeque<(u64, u32)>,
        next: u64,
        lists_left: u32,
        skip: u64,
    },
}

impl Walk {
    fn new(master: &Rc<Master>, lists: Requester, place: Place) -> Walk {
        let segments = match place {
            Place::Flat { address } => Segments::Flat(address),
            Place::List { address, offset } => Segments::List {
                entries: VecDeque::new(),
                next: address,
                lists_left: LISTS_MAX,
                skip: offset.into(),
            },
        };
        Walk {
            master: master.clone(),
            lists,
            segments,
        }
    }

    /// The next contiguous piece of at most `wanted` bytes (which is not 0); `None` at the end of
    /// the lists.
    async fn next(&mut self, wanted: usize) -> Result<Option<(u64, usize)>, Failure> {
        loop {
            match &mut self.segments {
                Segments::Flat(at) => {
                    let address = *at;
                    let after = address.checked_add(wanted as u64);
                    *at = after.ok_or(Failure::Status(Status::Refused))?;
                    return Ok(Some((address, wanted)));
                }
                Segments::List { entries, skip, .. } => {
                    while let Some((address, length)) = entries.front_mut() {
                        let skipped = (*skip).min((*length).into()) as u32;
                        *skip -= u64::from(skipped);
                        *address = address.wrapping_add(skipped.into());
                        *length -= skipped;
                        if *length == 0 {
                            entries.pop_front();
                            continue;
                        }
                        let piece = (*address, (*length as usize).min(wanted));
                        *address = address.wrapping_add(piece.1 as u64);
                        *length -= piece.1 as u32;
                        return Ok(Some(piece));
                    }
                }
            }
            if !self.load_list().await? {
                return Ok(None);
            }
        }
    }

    /// Reads the next list of the chain; false at its end.
    async fn load_list(&mut self) -> Result<bool, Failure> {
        let Segments::List {
            next, lists_left, ..
        } = &mut self.segments
        else {
            return Ok(false);
        };
        let address = *next;
        let first = *lists_left == LISTS_MAX;
        if address == 0 && !first {
            return Ok(false);
        }
        if !address.is_multiple_of(spec::SGL_ALIGNMENT) || *lists_left == 0 {
            return Err(Failure::Status(Status::BadList));
        }
        *lists_left -= 1;

        let mut header = [0; spec::SGL_HEADER_BYTES];
        self.master.read(&self.lists, address, &mut header).await?;
        let count = u16::from_le_bytes([header[spec::SGL_ENTRIES], header[spec::SGL_ENTRIES + 1]]);
        if count > spec::SGL_ENTRIES_MAX {
            return Err(Failure::Status(Status::BadList));
        }
        let mut raw = vec![0; usize::from(count) * spec::SGE_BYTES];
        if count > 0 {
            let from = address.wrapping_add(spec::SGL_HEADER_BYTES as u64);
            self.master.read(&self.lists, from, &mut raw).await?;
        }

        let Segments::List { entries, next, .. } = &mut self.segments else {
            return Ok(false);
        };
        *next = u64_at(&header, spec::SGL_NEXT);
        for entry in raw.chunks_exact(spec::SGE_BYTES) {
            let length = u64_at(entry, spec::SGE_LENGTH) as u32;
            if length > spec::BUFFER_BYTES_MAX {
                return Err(Failure::Status(Status::BadList));
            }
            entries.push_back((u64_at(entry, spec::SGE_ADDRESS), length));
        }
        Ok(true)
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

/// Attributes of a job's accesses.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) requester: Requester,
    pub(super) read: DmaAttrs,
    pub(super) write: DmaAttrs,
    pub(super) list: DmaAttrs,
}

/// The input, read in chunks.
pub(super) struct Source {
    walk: Walk,
    data: Requester,
    left: usize,
}

impl Source {
    pub(super) fn new(master: &Rc<Master>, access: &Access, place: Place, length: u32) -> Source {
        let walk = Walk::new(master, access.requester.with(access.list), place);
        Source {
            walk,
            data: access.requester.with(access.read),
            left: length as usize,
        }
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Replaces `chunk` by the next bytes: as many as a chunk has, or what is left.
    pub(super) async fn read(&mut self, chunk: &mut Vec<u8>) -> Result<(), Failure> {
        let total = self.left.min(CHUNK_BYTES);
        chunk.clear();
        chunk.resize(total, 0);
        let mut done = 0;
        while done < total {
            let piece = self.walk.next(total - done).await?;
            let (address, length) = piece.ok_or(Failure::Status(Status::BadList))?;
            let buffer = &mut chunk[done..done + length];
            self.walk.master.read(&self.data, address, buffer).await?;
            done += length;
        }
        self.left -= total;
        Ok(())
    }
}

/// The output.
pub(super) struct Sink {
    walk: Walk,
    data: Requester,
    room: usize,
    written: usize,
}

impl Sink {
    pub(super) fn new(master: &Rc<Master>, access: &Access, place: Place, room: u32) -> Sink {
        let walk = Walk::new(master, access.requester.with(access.list), place);
        let data = access.requester.with(access.write);
        Sink {
            walk,
            data,
            room: room as usize,
            written: 0,
        }
    }

    /// Bytes that still fit.
    pub(super) fn room(&self) -> usize {
        self.room - self.written
    }

    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// Writes all of `data`, or fails because it does not fit.
    pub(super) async fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        let fits = data.len().min(self.room());
        let mut done = 0;
        while done < fits {
            let piece = self.walk.next(fits - done).await?;
            let (address, length) = piece.ok_or(Failure::Status(Status::OutputTooSmall))?;
            self.walk
                .master
                .write(&self.data, address, &data[done..done + length])
                .await?;
            done += length;
            self.written += length;
        }
        if fits < data.len() {
            Err(Failure::Status(Status::OutputTooSmall))
        } else {
            Ok(())
        }
    }
}

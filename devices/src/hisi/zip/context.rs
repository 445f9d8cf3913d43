//! A stream's state between requests, in the guest's context buffer. Its form is this model's own:
//! software only copies it, and may just as well write nonsense into it.
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic number, with the direction |
//! | 4 | length of the window |
//! | 64 | the decompressor's record |
//! | 512 | the window |

use super::buffer::Access;
use super::history::WINDOW_BYTES;
use super::inflate::RECORD_BYTES;
use super::request::Direction;
use super::spec::{CONTEXT_BYTES_MAX, Status};
use super::{Failure, ZipEngine};

const MAGIC_COMPRESS: u32 = u32::from_le_bytes(*b"SBZc");
const MAGIC_DECOMPRESS: u32 = u32::from_le_bytes(*b"SBZd");
const RECORD_AT: usize = 64;
const WINDOW_AT: usize = 512;

const _: () = assert!(RECORD_AT + RECORD_BYTES <= WINDOW_AT);
const _: () = assert!(WINDOW_AT + WINDOW_BYTES <= CONTEXT_BYTES_MAX);

/// What is kept.
pub(super) struct Saved {
    pub(super) record: [u8; RECORD_BYTES],
    pub(super) window: Vec<u8>,
}

fn magic(direction: Direction) -> u32 {
    match direction {
        Direction::Compress => MAGIC_COMPRESS,
        Direction::Decompress => MAGIC_DECOMPRESS,
    }
}

impl ZipEngine {
    pub(super) async fn load_context(
        &self,
        access: &Access,
        address: u64,
        direction: Direction,
    ) -> Result<Saved, Failure> {
        let requester = access.requester.with(access.read);
        let mut head = [0; WINDOW_AT];
        self.master.read(&requester, address, &mut head).await?;
        let word = |at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = word(4) as usize;
        if word(0) != magic(direction) || length > WINDOW_BYTES {
            return Err(Failure::Status(Status::BadContext));
        }
        let mut window = vec![0; length];
        if length > 0 {
            let from = address.wrapping_add(WINDOW_AT as u64);
            self.master.read(&requester, from, &mut window).await?;
        }
        let mut record = [0; RECORD_BYTES];
        record.copy_from_slice(&head[RECORD_AT..RECORD_AT + RECORD_BYTES]);
        Ok(Saved { record, window })
    }

    pub(super) async fn save_context(
        &self,
        access: &Access,
        address: u64,
        direction: Direction,
        record: &[u8; RECORD_BYTES],
        window: &[u8],
    ) -> Result<(), Failure> {
        let mut bytes = vec![0; WINDOW_AT + window.len()];
        bytes[..4].copy_from_slice(&magic(direction).to_le_bytes());
        bytes[4..8].copy_from_slice(&(window.len() as u32).to_le_bytes());
        bytes[RECORD_AT..RECORD_AT + RECORD_BYTES].copy_from_slice(record);
        bytes[WINDOW_AT..].copy_from_slice(window);
        let requester = access.requester.with(access.write);
        self.master.write(&requester, address, &bytes).await?;
        Ok(())
    }
}

//! Decompression: by the library if the request is complete in itself, by the resumable
//! [`Inflate`] if it is part of a stream.

use flate2::{Decompress, FlushDecompress};

use super::buffer::{Access, Sink, Source};
use super::checksum::Checksum;
use super::history::History;
use super::inflate::{Inflate, RECORD_BYTES, Stop};
use super::request::{Direction, Request, Stream};
use super::spec::{Status, context_state};
use super::{CHUNK_BYTES, Failure, Outcome, ZipEngine};
use crate::function::DeviceStep;
use crate::hisi::master::Revoked;

impl ZipEngine {
    pub(super) async fn decompress(
        &self,
        access: &Access,
        request: &Request,
    ) -> Result<Outcome, Failure> {
        match request.stream {
            None => self.decompress_whole(access, request).await,
            Some(stream) => self.decompress_part(access, request, stream).await,
        }
    }

    async fn compute(
        &self,
        access: &Access,
        consumed: usize,
        produced: usize,
    ) -> Result<(), Revoked> {
        let bytes = consumed.max(produced) as u64;
        self.master
            .compute(DeviceStep::Compute { bytes }, &access.requester)
            .await
    }

    async fn decompress_whole(
        &self,
        access: &Access,
        request: &Request,
    ) -> Result<Outcome, Failure> {
        let mut inflate = Decompress::new(false);
        let mut checksum = Checksum::new(request.format);
        let mut source = Source::new(&self.master, access, request.source, request.input);
        let mut sink = Sink::new(&self.master, access, request.destination, request.room);
        let mut chunk = Vec::new();
        let mut taken = 0;
        let mut output = vec![0; CHUNK_BYTES];
        // After output that filled the buffer there may be more without further input.
        let mut drained = true;
        loop {
            if taken == chunk.len() && drained {
                if source.left() == 0 {
                    return Err(Failure::Status(Status::BadData));
                }
                source.read(&mut chunk).await?;
                taken = 0;
            }
            let before = (inflate.total_in(), inflate.total_out());
            let status = inflate
                .decompress(&chunk[taken..], &mut output, FlushDecompress::None)
                .map_err(|_| Failure::Status(Status::BadData))?;
            let used = (inflate.total_in() - before.0) as usize;
            let made = (inflate.total_out() - before.1) as usize;
            taken += used;
            drained = made < output.len();
            checksum.update(&output[..made]);
            self.compute(access, used, made).await?;
            sink.write(&output[..made]).await?;
            if status == flate2::Status::StreamEnd {
                break;
            }
            if used == 0 && made == 0 && taken < chunk.len() {
                return Err(Failure::Status(Status::BadData));
            }
        }

        let mut trailer = [0; 8];
        let trailer = &mut trailer[..request.format.trailer_bytes()];
        let mut have = 0;
        while have < trailer.len() {
            if taken == chunk.len() {
                if source.left() == 0 {
                    return Err(Failure::Status(Status::BadData));
                }
                source.read(&mut chunk).await?;
                taken = 0;
            }
            let count = (trailer.len() - have).min(chunk.len() - taken);
            trailer[have..have + count].copy_from_slice(&chunk[taken..taken + count]);
            have += count;
            taken += count;
        }
        if *trailer != checksum.trailer()[..trailer.len()] {
            return Err(Failure::Status(Status::Checksum));
        }
        let unused = source.left() + chunk.len() - taken;
        Ok(Outcome {
            // Linux's own requests take nothing but 0 for success (zip_crypto.c:
            // hisi_zip_acomp_cb); the end of the stream goes without saying.
            status: Status::Done,
            last_block: true,
            consumed: request.input - unused as u32,
            produced: sink.written() as u32,
            context: [context_state::NONE, 0, 0],
            checksum,
        })
    }

    async fn decompress_part(
        &self,
        access: &Access,
        request: &Request,
        stream: Stream,
    ) -> Result<Outcome, Failure> {
        let (mut inflate, mut history, mut checksum);
        if stream.new {
            inflate = Inflate::new();
            history = History::default();
            checksum = Checksum::new(request.format);
        } else {
            let saved = self
                .load_context(access, stream.context, Direction::Decompress)
                .await?;
            inflate = Inflate::load(&saved.record, saved.window.len())
                .map_err(|_| Failure::Status(Status::BadContext))?;
            history = History::new(saved.window);
            checksum = Checksum::resume(request.format, request.checksum, request.total);
        }
        let trailer_bytes = request.format.trailer_bytes();
        let mut source = Source::new(&self.master, access, request.source, request.input);
        let mut sink = Sink::new(&self.master, access, request.destination, request.room);
        let mut chunk = Vec::new();
        let mut taken = 0;
        let stop = loop {
            if taken == chunk.len() && source.left() > 0 {
                source.read(&mut chunk).await?;
                taken = 0;
            }
            let before = taken;
            let room = sink.room().min(CHUNK_BYTES);
            let stop = inflate
                .run(&chunk, &mut taken, &mut history, room, trailer_bytes)
                .map_err(|_| Failure::Status(Status::BadData))?;
            checksum.update(history.output());
            self.compute(access, taken - before, history.produced())
                .await?;
            sink.write(history.output()).await?;
            history.cut();
            match stop {
                Stop::End => break stop,
                Stop::Input if source.left() == 0 => break stop,
                Stop::Room if sink.room() == 0 => break stop,
                Stop::Input | Stop::Room => {}
            }
        };

        let unused = source.left() + chunk.len() - taken;
        let consumed = request.input - unused as u32;
        let idle = consumed == 0 && sink.written() == 0;
        let (status, state) = match stop {
            Stop::End
                if inflate.trailer()[..trailer_bytes] != checksum.trailer()[..trailer_bytes] =>
            {
                return Err(Failure::Status(Status::Checksum));
            }
            Stop::End => (Status::StreamEnd, context_state::NONE),
            // UADK repeats for as long as it gets status 0; without progress it would for ever.
            Stop::Room if idle => return Err(Failure::Status(Status::OutputTooSmall)),
            Stop::Input if idle => return Err(Failure::Status(Status::BadData)),
            Stop::Room if unused == 0 => (Status::Done, context_state::OUTPUT_PENDING),
            Stop::Room => (Status::Done, context_state::NO_ROOM),
            Stop::Input if inflate.in_trailer() => (Status::Done, context_state::TRAILER_MISSING),
            Stop::Input => (Status::Done, context_state::NONE),
        };
        let final_block = if inflate.in_last_block() {
            context_state::FINAL_BLOCK
        } else {
            0
        };

        let mut record = [0; RECORD_BYTES];
        inflate.save(&mut record);
        let (address, window) = (stream.context, history.window());
        self.save_context(access, address, Direction::Decompress, &record, window)
            .await?;
        Ok(Outcome {
            status,
            last_block: stop == Stop::End || inflate.in_trailer(),
            consumed,
            produced: sink.written() as u32,
            context: [
                state | final_block,
                inflate.stored_left().into(),
                window.len() as u32,
            ],
            checksum,
        })
    }
}

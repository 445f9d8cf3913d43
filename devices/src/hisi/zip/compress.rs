//! Compression. Each request of a stream is deflated by itself, with what came before as a preset
//! dictionary, and flushed to a byte boundary; so the window is all that must be kept.

use flate2::{Compress, Compression, FlushCompress};

use super::buffer::{Access, Sink, Source};
use super::checksum::Checksum;
use super::context::Saved;
use super::history::History;
use super::inflate::RECORD_BYTES;
use super::request::{Direction, Request};
use super::spec::{Status, context_state};
use super::{CHUNK_BYTES, Failure, Outcome, ZipEngine};
use crate::function::DeviceStep;

impl ZipEngine {
    pub(super) async fn compress(
        &self,
        access: &Access,
        request: &Request,
    ) -> Result<Outcome, Failure> {
        let window = match request.stream {
            Some(stream) if !stream.new => {
                let Saved { window, .. } = self
                    .load_context(access, stream.context, Direction::Compress)
                    .await?;
                window
            }
            _ => Vec::new(),
        };
        let mut checksum = if request.is_start() {
            Checksum::new(request.format)
        } else {
            Checksum::resume(request.format, request.checksum, request.total)
        };
        let finish = request.stream.is_none_or(|stream| stream.finish);
        let level = Compression::new(self.level);
        let mut deflate = Compress::new_with_window_bits(level, false, request.window_log2);
        if !window.is_empty() {
            let reach = window.len().saturating_sub(1 << request.window_log2);
            deflate
                .set_dictionary(&window[reach..])
                .map_err(|_| Failure::Status(Status::BadContext))?;
        }

        let mut source = Source::new(&self.master, access, request.source, request.input);
        let mut sink = Sink::new(&self.master, access, request.destination, request.room);
        let mut history = History::new(window);
        let mut chunk = Vec::new();
        let mut output = Vec::new();
        loop {
            source.read(&mut chunk).await?;
            checksum.update(&chunk);
            if request.stream.is_some() {
                history.extend(&chunk);
                history.cut();
            }
            let last = source.left() == 0;
            let flush = match (last, finish) {
                (false, _) => FlushCompress::None,
                (true, false) => FlushCompress::Sync,
                (true, true) => FlushCompress::Finish,
            };
            output.clear();
            deflate_all(&mut deflate, &chunk, &mut output, flush)?;
            if last && finish {
                output.extend_from_slice(&checksum.trailer()[..request.format.trailer_bytes()]);
            }
            let bytes = chunk.len().max(output.len()) as u64;
            self.master
                .compute(DeviceStep::Compute { bytes }, &access.requester)
                .await?;
            sink.write(&output).await?;
            if last {
                break;
            }
        }

        let window = history.window();
        if let Some(stream) = request.stream {
            let record = [0; RECORD_BYTES];
            self.save_context(access, stream.context, Direction::Compress, &record, window)
                .await?;
        }
        Ok(Outcome {
            status: Status::Done,
            last_block: finish,
            consumed: request.input,
            produced: sink.written() as u32,
            context: [context_state::NONE, 0, window.len() as u32],
            checksum,
        })
    }
}

/// Appends to `output` what comes of `input`. It is bounded: deflate holds back no more than a few
/// windows.
fn deflate_all(
    deflate: &mut Compress,
    input: &[u8],
    output: &mut Vec<u8>,
    flush: FlushCompress,
) -> Result<(), Failure> {
    let mut taken = 0;
    loop {
        let before = (deflate.total_in(), deflate.total_out());
        let start = output.len();
        output.resize(start + CHUNK_BYTES, 0);
        let status = deflate
            .compress(&input[taken..], &mut output[start..], flush)
            .map_err(|_| Failure::Status(Status::BadData))?;
        let used = (deflate.total_in() - before.0) as usize;
        let made = (deflate.total_out() - before.1) as usize;
        taken += used;
        output.truncate(start + made);
        // A flush is complete when it leaves room; asking again would only add to it.
        let complete = taken == input.len() && made < CHUNK_BYTES;
        if status == flate2::Status::StreamEnd || complete || (used == 0 && made == 0) {
            return Ok(());
        }
    }
}

//! Deflate through the device, beside the same library without it.

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::Lab;
use crate::emulator::{Emulator, End};
use crate::guest::INPUT_BYTES;
use crate::report::Figure;
use crate::series::{Series, pairs, time};

/// The level of the device's engine.
const LEVEL: u32 = 6;
/// Bytes of an operation, and operations.
const SIZES: [(usize, u64); 3] = [(4 << 10, 2000), (64 << 10, 300), (1 << 20, 30)];

/// Measures.
pub(crate) fn run(lab: &Lab, rounds: u32) -> Result<Vec<Figure>> {
    let Lab { programs, guest } = lab;
    let mut figures = Vec::new();
    for (bytes, operations) in SIZES {
        let host = || Ok(library(&guest.input, bytes, operations)? / operations as f64);
        let device = || {
            let command = format!("/bench/deflate epoll /bench/input {bytes} {operations}");
            programs.run(Emulator::Stallbox, guest, &command, None, |run| {
                let seconds = run.interval("deflate")?.cpu.as_secs_f64();
                Ok((seconds / operations as f64, End::ByItself))
            })
        };
        let (device, host): (Vec<f64>, Vec<f64>) = pairs(rounds, device, host)?;
        let rates = |of: &[f64], each: f64| of.iter().map(|seconds| each / seconds).collect();
        for (unit, each) in [("MB/s", bytes as f64 / 1e6), ("operations/s", 1.0)] {
            let (device, host): (Series, Series) = (rates(&device, each), rates(&host, each));
            let name = format!("compress {} KiB, by CPU time", bytes >> 10);
            figures.push(Figure::new("deflate", name, unit, &device).beside(
                "flate2 with zlib-rs",
                &host,
                &device.over(&host),
            ));
        }
    }
    Ok(figures)
}

/// Seconds of what the device does, by the library alone: a fresh compressor for each operation.
fn library(input: &[u8], bytes: usize, operations: u64) -> Result<f64> {
    let mut output = Vec::with_capacity(2 * bytes + 4096);
    let (took, result) = time(|| {
        for operation in 0..operations as usize {
            let from = operation % (INPUT_BYTES / bytes) * bytes;
            let mut deflate = Compress::new_with_window_bits(Compression::new(LEVEL), false, 15);
            output.clear();
            let status = deflate
                .compress_vec(
                    &input[from..from + bytes],
                    &mut output,
                    FlushCompress::Finish,
                )
                .context("the library does not compress")?;
            ensure!(status == Status::StreamEnd, "the library wants more room");
        }
        Ok(())
    });
    result.map(|()| took.as_secs_f64())
}

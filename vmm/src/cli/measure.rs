//! Options of `stallbox measure`.

use std::path::PathBuf;

use clap::Args;

use super::run::{Accelerator, parse_accelerator, parse_seconds, parse_size};

/// Options of `stallbox measure`.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Fewer operations in each cell: seconds instead of a minute.
    #[arg(long)]
    pub quick: bool,
    /// Only these ways of preparing memory (comma-separated; without it, all).
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Only under these activities of the kernel (comma-separated; without it, all).
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Writes everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes a line for each cell.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Writes a page with plots; it needs nothing else to be read.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// One of the images that `stallbox image list` shows. Without it, the project's stock one.
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    pub image: Option<String>,
    /// Kernel: an uncompressed arm64 Image. Without it, the project's own guest image.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk with pinbench in it. Without it, that of the project's own guest image.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// RAM: a number with K, M or G (1024 each).
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_size)]
    pub memory: u64,
    /// Accelerator: zip, zip,rev=0x21 or zip,rev=0x30.
    #[arg(long, value_name = "DEVICE", default_value = "zip,rev=0x30", value_parser = parse_accelerator)]
    pub accel: Accelerator,
    /// Latencies: a TOML file, or one part as in walk_step=fixed:80 (repeatable).
    #[arg(long, value_name = "FILE|PART=DIST")]
    pub latency: Vec<String>,
    /// Seed of every random draw.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Guests that run at the same time; without it, as many as the host has CPUs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,
    /// Gives up on a guest after so many seconds of the host's time.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_seconds)]
    pub timeout: f64,
}

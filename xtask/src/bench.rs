//! `cargo xtask bench`: the benchmarks, each beside its peer.

use anyhow::Result;
use clap::Args;

use crate::cargo::{self, cargo};
use crate::{debian, image};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Which (smmu, speed, boot, deflate, memory, replay; all if none is named), and options as
    /// `--rounds N` or `--json FILE`.
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pass_on: Vec<String>,
}

/// Sets up and runs them.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    debian::install(&debian::missing_for_benchmarks())?;
    image::ensure()?;
    cargo::run(
        cargo()
            .args(["run", "--release", "--package", "stallbox-bench", "--"])
            .args(&args.pass_on),
    )
}

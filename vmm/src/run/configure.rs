//! From the options to what is to be built: machine, guest, checkers.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use stallbox_guest_images as guest_images;

use crate::check::{CheckConfig, Symbols};
use crate::cli::RunArgs;
use crate::config::{GuestConfig, MachineConfig};
use crate::latency::LatencyModel;
use crate::plan;

/// Seed of a run that names none.
const DEFAULT_SEED: u64 = 1;

/// The machine.
pub fn machine(args: &RunArgs) -> Result<MachineConfig> {
    let mut latency = LatencyModel::built_in();
    for option in &args.latency {
        latency.apply(option)?;
    }
    let (accelerator, test_engine) = args.accelerators()?;
    Ok(MachineConfig {
        memory_bytes: args.memory,
        memory_backend: args.memory_backend,
        cpus: args.cpus,
        nodes: args.nodes,
        accelerator,
        test_engine,
        smmu_msi: args.smmu_irq == "msi",
        latency,
        seed: args.seed.unwrap_or(DEFAULT_SEED),
        plan: args
            .plan
            .as_deref()
            .map(plan::read)
            .transpose()?
            .unwrap_or_default(),
        check: check_config(args)?,
        symbols: symbols(args)?,
    })
}

fn check_config(args: &RunArgs) -> Result<CheckConfig> {
    let mut config = CheckConfig::default();
    for text in &args.check {
        config.add(text)?;
    }
    Ok(config)
}

/// The symbols that the user named; with our own kernel and a checker on, those beside it.
fn symbols(args: &RunArgs) -> Result<Option<Rc<Symbols>>> {
    let beside = || {
        if args.check.is_empty() || args.kernel.is_some() {
            return None;
        }
        let (kernel, _) = guest_files(args.image.as_deref(), None, None).ok()?;
        let map = kernel.with_file_name("System.map");
        map.exists().then_some(map)
    };
    let path = args.symbols.clone().or_else(beside);
    let symbols = path.as_deref().map(Symbols::read).transpose()?;
    Ok(symbols.map(Rc::new))
}

/// What it boots.
pub fn guest(args: &RunArgs) -> Result<GuestConfig> {
    let (kernel, initrd) = guest_files(
        args.image.as_deref(),
        args.kernel.as_deref(),
        args.initrd.as_deref(),
    )?;
    Ok(GuestConfig {
        kernel,
        initrd,
        append: args.append.clone(),
        command: args.script(),
    })
}

/// The kernel and the initial RAM disks to boot, by what the user named.
pub(crate) fn guest_files(
    image: Option<&str>,
    kernel: Option<&Path>,
    initrd: Option<&Path>,
) -> Result<(PathBuf, Vec<PathBuf>)> {
    let initrd = initrd.map(Path::to_owned);
    if let Some(kernel) = kernel {
        return Ok((kernel.to_owned(), Vec::from_iter(initrd)));
    }
    let root = guest_images::source_root();
    let image = match image {
        Some(name) => guest_images::find(&root, name).context("--image")?,
        None => match guest_images::cached(&root) {
            Some(image) => image,
            None => bail!(
                "the guest image has not been built; `cargo xtask image` builds it, or bring your \
                 own with --kernel and --initrd"
            ),
        },
    };
    let mut initrds = vec![initrd.unwrap_or(image.initrd)];
    initrds.extend(image.overlays);
    Ok((image.kernel, initrds))
}

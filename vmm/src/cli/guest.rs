//! Options that say which guest is booted, and on how much of a machine.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use stallbox_guest_images as guest_images;
use stallbox_machine::config::HardwareUpdate;

/// Options of everything that boots a guest.
#[derive(Clone, Debug, Args)]
pub struct GuestArgs {
    /// One of the images that `stallbox image list` shows. Without it, the project's stock one.
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    pub image: Option<String>,
    /// Kernel: an uncompressed arm64 Image. Without it, the project's own guest image.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk. Without it and without --kernel, that of the project's own guest image.
    /// `stallbox measure` needs pinbench in it.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Gives the guest the files of this folder, in its /, on top of image or initial RAM disk
    /// (docs/images.md; repeatable, later ones replace files of earlier ones).
    #[arg(long, value_name = "DIR")]
    pub add: Vec<PathBuf>,
    /// RAM: a number with K, M or G (1024 each).
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_size, allow_negative_numbers = true)]
    pub memory: u64,
    /// What the CPUs update in descriptors of page tables themselves, where tables ask for it
    /// (ID_AA64MMFR1_EL1.HAFDBS): dirty is the access flag, too. Only --engine soft has the choice.
    #[arg(long, value_enum, value_name = "STATE", default_value = "none")]
    pub cpu_hafdbs: HardwareUpdate,
    /// The same of the SMMU (SMMU_IDR0.HTTU).
    #[arg(long, value_enum, value_name = "STATE", default_value = "none")]
    pub smmu_httu: HardwareUpdate,
    /// Latencies: a TOML file, or one part as in walk_step=fixed:80 (repeatable).
    #[arg(long, value_name = "FILE|PART=DIST")]
    pub latency: Vec<String>,
}

impl GuestArgs {
    /// The kernel and the initial RAM disks to boot.
    pub fn files(&self) -> Result<(PathBuf, Vec<PathBuf>)> {
        if let Some(kernel) = &self.kernel {
            return Ok((kernel.clone(), Vec::from_iter(self.initrd.clone())));
        }
        let root = guest_images::source_root()?;
        let image = match &self.image {
            Some(name) => guest_images::find(&root, name).context("--image")?,
            None => match guest_images::cached(&root) {
                Some(image) => image,
                None => bail!(
                    "the guest image has not been built; `stallbox image build` builds it, or bring your \
                     own with --kernel and --initrd"
                ),
            },
        };
        let mut initrds = vec![self.initrd.clone().unwrap_or(image.initrd)];
        initrds.extend(image.overlays);
        Ok((image.kernel, initrds))
    }
}

/// A number of bytes with K, M or G.
pub(super) fn parse_bytes(text: &str) -> Result<u64> {
    let unit_at = text
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .len();
    let (digits, unit) = text.split_at(unit_at);
    let shift = match unit {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        unit => bail!("\"{unit}\" is no unit; use K, M or G"),
    };
    let number: u64 = digits
        .parse()
        .context("write a number with K, M or G, as in 512M")?;
    // What is more than 64 bits hold is more than anybody takes.
    Ok(number.saturating_mul(1 << shift))
}

fn parse_size(text: &str) -> Result<u64> {
    let bytes = parse_bytes(text)?;
    if bytes > stallbox_firmware::layout::RAM_BYTES_MAX {
        bail!("more than the memory map holds (255G)");
    }
    if bytes < 64 << 20 || bytes % (2 << 20) != 0 {
        bail!("RAM must be at least 64M and a multiple of 2M");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(parse_size("512M").unwrap(), 512 << 20);
        assert_eq!(parse_size("1G").unwrap(), 1 << 30);
        for bad in ["12", "1T", "x", "65M", "100000G", "M"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}

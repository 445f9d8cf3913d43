//! `cargo xtask image`, and the set-up that the other commands begin with.

use anyhow::{Context, Result};
use stallbox_guest_images::{self as guest_images, GuestImage};

use crate::debian;
use crate::progress::Terminal;

/// Prints where the guest image is, after building it if need be.
pub fn run() -> Result<()> {
    let image = ensure()?;
    for (what, path) in [
        ("kernel", &image.kernel),
        ("initrd", &image.initrd),
        ("vmlinux", &image.vmlinux),
        ("System.map", &image.system_map),
    ] {
        println!("{what:<11}{}", path.display());
    }
    println!("{:<11}{}", "release", image.kernel_version);
    Ok(())
}

/// The guest image. Packages are looked at only if it has to be built.
pub fn ensure() -> Result<GuestImage> {
    let root = guest_images::source_root();
    if let Some(image) = guest_images::cached(&root) {
        return Ok(image);
    }
    debian::install(&debian::missing_for_image())?;
    let progress = Terminal::new("guest image");
    let image = guest_images::ensure(&root, &progress).context("cannot build the guest image")?;
    progress.finish();
    Ok(image)
}

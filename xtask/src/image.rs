//! `cargo xtask image`, and the set-up that the other commands begin with.

use anyhow::{Context, Result};
use clap::Args;
use stallbox_guest_images::{self as guest_images, GuestImage};
use stallbox_output::print;

use crate::debian;
use crate::progress::Terminal;

/// What the tests boot besides the stock image.
const FOR_TESTS: &[&str] = &["pin", "pri", "pri-7.3", "svabugs"];

/// Options of `cargo xtask image`.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// The project's other images too; `stallbox image list` shows them.
    #[arg(long)]
    all: bool,
}

/// Prints where the guest image is, after building it if need be.
pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    if args.all {
        for name in guest_images::own_images() {
            let image = ensure_named(name)?;
            print(format_args!("{name}:\n{}", lines(&image)))?;
        }
    } else {
        print(lines(&ensure()?))?;
    }
    Ok(())
}

fn lines(image: &GuestImage) -> String {
    let files = [
        ("kernel", &image.kernel),
        ("initrd", &image.initrd),
        ("vmlinux", &image.vmlinux),
        ("System.map", &image.system_map),
    ];
    let files = files.map(|(what, path)| format!("{what:<11}{}\n", path.display()));
    format!(
        "{}{:<11}{}\n",
        files.concat(),
        "release",
        image.kernel_version
    )
}

/// The guest image.
pub(crate) fn ensure() -> Result<GuestImage> {
    ensure_named(guest_images::STOCK)
}

/// The images that the tests boot besides the stock one, with their names.
pub(crate) fn ensure_others_for_tests() -> Result<Vec<(&'static str, GuestImage)>> {
    FOR_TESTS
        .iter()
        .map(|name| Ok((*name, ensure_named(name)?)))
        .collect()
}

/// All images that the tests boot.
pub(crate) fn ensure_for_tests() -> Result<()> {
    ensure()?;
    ensure_others_for_tests().map(drop)
}

/// An image of the project's own. Packages are looked at only if it has to be built.
fn ensure_named(name: &str) -> Result<GuestImage> {
    let root = guest_images::source_root()?;
    if let Ok(image) = guest_images::find(&root, name) {
        return Ok(image);
    }
    debian::install(&debian::missing_for_image())?;
    let progress = Terminal::new("guest image");
    let image = guest_images::ensure_named(&root, name, &progress)
        .with_context(|| format!("cannot build the guest image {name}"))?;
    progress.finish();
    Ok(image)
}

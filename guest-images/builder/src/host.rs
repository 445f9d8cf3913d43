//! An arm64 host with KVM, for machines that are none: Debian's kernel and busybox, as they are.
//!
//! `cargo xtask test-kvm` boots it in QEMU and runs Stallbox in it.

use std::path::{Path, PathBuf};

use crate::cache::{Cache, Key, KeyBuilder};
use crate::error::{create_dir, read_to_string, write};
use crate::initramfs::{busybox, packaged_file};
use crate::versions::Versions;
use crate::{Error, Progress, fetch};

/// To be raised when this file changes what is kept.
const RECIPE: &str = "1";

const KERNEL: &str = "vmlinuz";
const BUSYBOX: &str = "busybox";
const PACKAGE: &str = "package";

/// What such a host is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostImage {
    /// Debian's arm64 kernel, an uncompressed Image.
    pub kernel: PathBuf,
    /// Debian's static arm64 busybox.
    pub busybox: PathBuf,
    /// The kernel's package and version, as pinned.
    pub package: String,
}

/// The host's files, fetched now (29 MB) if they are not cached.
pub fn ensure_host(root: &Path, progress: &dyn Progress) -> Result<HostImage, Error> {
    let versions = Versions::load(root)?;
    let cache = Cache::of_user()?;
    let key = key(&versions);
    if let Some(folder) = cache.find(&key) {
        return image(&folder);
    }
    let lock = cache.lock(progress)?;
    // Looked up again under the lock: another builder may have just finished.
    if let Some(folder) = cache.find(&key) {
        return image(&folder);
    }
    let kernel = fetch::package(&lock, &versions.suite, &versions.host_kernel, progress)?;
    let programs = fetch::package(&lock, &versions.suite, &versions.busybox, progress)?;
    progress.step("unpack the host's kernel", None);
    let pin = &versions.host_kernel;
    let work = lock.work_folder()?;
    let published = work.path().join("published");
    create_dir(&published)?;
    write(
        &published.join(KERNEL),
        packaged_file(&pin.package, &kernel, "./boot/vmlinuz-*")?,
    )?;
    write(&published.join(BUSYBOX), busybox(&programs)?)?;
    write(
        &published.join(PACKAGE),
        format!("{} {}\n", pin.package, pin.version),
    )?;
    image(&lock.publish(&key, &published)?)
}

fn key(versions: &Versions) -> Key {
    KeyBuilder::new("host")
        .part("recipe", RECIPE)
        .part("kernel", &versions.host_kernel.sha256)
        .part("busybox", &versions.busybox.sha256)
        .finish()
}

fn image(folder: &Path) -> Result<HostImage, Error> {
    Ok(HostImage {
        kernel: folder.join(KERNEL),
        busybox: folder.join(BUSYBOX),
        package: read_to_string(&folder.join(PACKAGE))?.trim().to_owned(),
    })
}

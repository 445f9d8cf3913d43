//! Builds the kernel Image and the initramfs that Stallbox boots.
//!
//! The guest is an unmodified Linux from Debian's source package, cross-built from the fragment
//! `kernel/6.12.config`, and an initramfs with busybox and the C programs of `programs/`. Both are
//! cached by content in the user's cache folder, outside the checkout:
//!
//! | cached thing | key: SHA-256 over |
//! |---|---|
//! | kernel | recipe number, pinned source package, fragment, cross compiler's version |
//! | initramfs | recipe number, pinned busybox package, the files of `programs/`, the version |
//! | host | recipe number, pinned kernel and busybox packages |
//!
//! [`cached`] looks and never builds; [`ensure`] builds what is missing; [`ensure_host`] is about
//! the arm64 host that the KVM engine is tested on where there is none. What a guest program and
//! `stallbox` say to each other on the control channel is described in `programs/init.c`.

#![forbid(unsafe_code)]

mod cache;
pub mod cpio;
mod error;
mod fetch;
mod host;
mod initramfs;
mod kernel;
mod packages;
mod process;
mod progress;
mod versions;

use std::env;
use std::path::{Path, PathBuf};

pub use error::Error;
pub use host::{HostImage, ensure_host};
pub use packages::{install_command, missing_packages};
pub use progress::{Progress, Silent};

use cache::Cache;
use versions::Versions;

/// A guest that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestImage {
    /// The arm64 boot `Image`, uncompressed.
    pub kernel: PathBuf,
    /// The initramfs: one uncompressed newc archive.
    pub initrd: PathBuf,
    /// The kernel as ELF with its symbols, without debug information.
    pub vmlinux: PathBuf,
    /// The kernel's symbols and addresses as text.
    pub system_map: PathBuf,
    /// What `uname -r` says in the guest.
    pub kernel_version: String,
}

impl GuestImage {
    /// Names and files of a ready image: put into one folder, they are a guest that [`cached`]
    /// finds there, on a machine that has neither the recipe nor a compiler.
    pub fn ready_files(&self) -> [(&'static str, PathBuf); 5] {
        let release = self.kernel.with_file_name(kernel::RELEASE);
        [
            (kernel::IMAGE, self.kernel.clone()),
            (kernel::VMLINUX, self.vmlinux.clone()),
            (kernel::SYSTEM_MAP, self.system_map.clone()),
            (kernel::RELEASE, release),
            (initramfs::ARCHIVE, self.initrd.clone()),
        ]
    }
}

/// The folder with the recipe: this crate's own, as it was when it was compiled, unless the
/// environment variable `STALLBOX_GUEST_IMAGES` names another, or a folder with a ready image.
pub fn source_root() -> PathBuf {
    env::var_os("STALLBOX_GUEST_IMAGES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// The guest image that belongs to the recipe in `root`, if it has been built already, or the
/// [ready one](GuestImage::ready_files) that is there instead of a recipe.
///
/// Takes milliseconds and touches no network. `None` also when something is missing that only
/// building would report: the recipe, the cross compiler, a home folder.
pub fn cached(root: &Path) -> Option<GuestImage> {
    if root.join(kernel::RELEASE).is_file() {
        return image(root, root).ok();
    }
    let cache = Cache::of_user().ok()?;
    let versions = Versions::load(root).ok()?;
    let compiler = process::compiler_version().ok()?;
    let kernel = cache.find(&kernel::key(root, &versions, &compiler).ok()?)?;
    let initramfs = cache.find(&initramfs::key(root, &versions, &compiler).ok()?)?;
    image(&kernel, &initramfs).ok()
}

/// The guest image that belongs to the recipe in `root`, built now as far as it is not cached.
///
/// A first build fetches about 150 MB, needs 2.5 GB of disk in the cache folder while it runs and
/// some minutes. Two of them at once share the work: the second waits for the first.
pub fn ensure(root: &Path, progress: &dyn Progress) -> Result<GuestImage, Error> {
    if let Some(image) = cached(root) {
        return Ok(image);
    }
    let missing = missing_packages();
    if !missing.is_empty() {
        return Err(Error::MissingPackages {
            names: missing.join(" "),
            command: install_command(&missing),
        });
    }
    let versions = Versions::load(root)?;
    let compiler = process::compiler_version()?;
    let cache = Cache::of_user()?;
    let lock = cache.lock(progress)?;

    let kernel_key = kernel::key(root, &versions, &compiler)?;
    let initramfs_key = initramfs::key(root, &versions, &compiler)?;
    // Looked up again under the lock: another builder may have just finished.
    let kernel = match cache.find(&kernel_key) {
        Some(path) => path,
        None => kernel::build(root, &versions, &lock, &kernel_key, progress)?,
    };
    let initramfs = match cache.find(&initramfs_key) {
        Some(path) => path,
        None => initramfs::build(root, &versions, &lock, &initramfs_key, progress)?,
    };
    image(&kernel, &initramfs)
}

fn image(kernel: &Path, initramfs: &Path) -> Result<GuestImage, Error> {
    let release = kernel.join(kernel::RELEASE);
    Ok(GuestImage {
        kernel: kernel.join(kernel::IMAGE),
        initrd: initramfs.join(initramfs::ARCHIVE),
        vmlinux: kernel.join(kernel::VMLINUX),
        system_map: kernel.join(kernel::SYSTEM_MAP),
        kernel_version: error::read_to_string(&release)?.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_image_is_found_without_a_recipe() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(cached(folder.path()), None);
        std::fs::write(folder.path().join("release"), "6.12.1\n").unwrap();
        let image = cached(folder.path()).unwrap();
        assert_eq!(image.kernel_version, "6.12.1");
        for (name, path) in image.ready_files() {
            assert_eq!(path, folder.path().join(name));
        }
    }
}

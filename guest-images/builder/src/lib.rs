//! Builds the kernel Image and the initramfs that Stallbox boots.
//!
//! What runs there is in the folder `guest` beside this crate; paths here are relative to it. The
//! guest is Linux from Debian's source package, cross-built from the fragment `kernel/6.12.config`,
//! and an initramfs with busybox, the C programs of `programs/` and the kernel modules of `modules/`.
//! There are several images: the unmodified `stock`, variants with patches of `patches/`, and those
//! that users define from trees, patches, modules and folders of their own.
//! All that is built is cached by content in the user's cache folder, outside the checkout:
//!
//! | cached thing | key: SHA-256 over |
//! |---|---|
//! | kernel | recipe number, pinned source package, fragments, patches, cross compiler's version |
//! | kernel of a user's tree | what was built |
//! | module | recipe number, the kernel's key, the sources in its folder |
//! | initramfs | recipe number, pinned busybox package, the files of `programs/`, the modules' keys, the compiler |
//! | added folder | its archive |
//! | recipe | its files, where there is no checkout |
//! | host | recipe number, pinned kernel and busybox packages |
//!
//! [`cached`] and [`find`] look and never build; [`ensure`] and [`build`] build what is missing;
//! [`ensure_host`] is about the arm64 host that the KVM engine is tested on where there is none.
//! What a guest program and `stallbox` say to each other on the control channel is described in
//! `programs/init.c`.

#![forbid(unsafe_code)]

mod added;
mod cache;
mod clean;
mod config;
pub mod cpio;
mod error;
mod fetch;
mod host;
mod initramfs;
mod kernel;
mod modules;
mod named;
mod packages;
mod process;
mod progress;
mod recipe;
mod source;
mod variant;
mod versions;

use std::path::{Path, PathBuf};

pub use added::archive;
pub use clean::{Clean, clean};
pub use error::Error;
pub use host::{HostImage, ensure_host};
pub use named::Definition;
pub use packages::{install_command, missing_packages};
pub use progress::{Progress, Silent};
pub use recipe::source_root;
pub use variant::STOCK;

use named::Store;

/// A guest that can be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestImage {
    /// The arm64 boot `Image`, uncompressed.
    pub kernel: PathBuf,
    /// The initramfs: one uncompressed newc archive.
    pub initrd: PathBuf,
    /// More such archives, to be put behind it.
    pub overlays: Vec<PathBuf>,
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

/// An image, built or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What to call it by.
    pub name: String,
    /// What it is made of, for people.
    pub about: String,
    /// Where it is, if it has been built as it is now.
    pub image: Option<GuestImage>,
}

/// The stock image that belongs to the recipe in `root`, if it has been built already, or the
/// [ready one](GuestImage::ready_files) that is there instead of a recipe.
///
/// Takes milliseconds and touches no network. `None` also when something is missing that only
/// building would report: the recipe, the cross compiler, a home folder.
pub fn cached(root: &Path) -> Option<GuestImage> {
    find(root, STOCK).ok()
}

/// Where the ready image of this name is, if `root` is a folder of ready images: the stock one is in
/// the folder itself, the others are in folders of their names.
fn ready(root: &Path, name: &str) -> Option<PathBuf> {
    let is_ready = root.join(kernel::RELEASE).is_file();
    is_ready.then(|| match name {
        STOCK => root.to_owned(),
        name => root.join(name),
    })
}

/// The stock image that belongs to the recipe in `root`, built now as far as it is not cached.
///
/// A first build fetches about 150 MB, needs 2.5 GB of disk in the cache folder while it runs and
/// some minutes. Two of them at once share the work: the second waits for the first.
pub fn ensure(root: &Path, progress: &dyn Progress) -> Result<GuestImage, Error> {
    ensure_named(root, STOCK, progress)
}

/// As [`ensure`], any image by its name. Of a user's image nothing is looked at that has been built
/// once: [`build`] does.
pub fn ensure_named(root: &Path, name: &str, progress: &dyn Progress) -> Result<GuestImage, Error> {
    match Store::open(root).and_then(|store| store.find(name)) {
        Ok(Some(image)) => Ok(image),
        // Without the cross compiler there is no key to look for.
        Ok(None) | Err(Error::Start { .. }) => build(root, name, progress),
        Err(error) => Err(error),
    }
}

/// An image by its name, as it has been built, or the [ready one](GuestImage::ready_files).
///
/// # Errors
///
/// If there is no such image, and if it or something that it is made of has yet to be built.
pub fn find(root: &Path, name: &str) -> Result<GuestImage, Error> {
    if let Some(folder) = ready(root, name) {
        return named::image(&folder, &folder, Vec::new());
    }
    Store::open(root)?
        .find(name)?
        .ok_or_else(|| Error::NotBuilt {
            name: name.to_owned(),
            command: format!("stallbox image build {name}"),
        })
}

/// Builds an image by its name, as far as it or something that it is made of has changed.
pub fn build(root: &Path, name: &str, progress: &dyn Progress) -> Result<GuestImage, Error> {
    let missing = missing_packages();
    if !missing.is_empty() {
        return Err(Error::MissingPackages {
            names: missing.join(" "),
            command: install_command(&missing),
        });
    }
    Store::open(root)?.build(name, progress)
}

/// Makes `definition` what `name` stands for from now on.
pub fn define(root: &Path, name: &str, definition: Definition) -> Result<(), Error> {
    Store::open(root)?.define(name, definition)
}

/// What `name` stands for, if a user has defined it.
pub fn definition(root: &Path, name: &str) -> Result<Option<Definition>, Error> {
    Store::open(root)?.definition(name)
}

/// All images: the project's own, then those of users.
pub fn list(root: &Path) -> Result<Vec<Listed>, Error> {
    let store = Store::open(root)?;
    Ok(store
        .names()
        .into_iter()
        .map(|(name, about)| Listed {
            // A broken one is listed too: what is wrong is in `about`, or comes when it is used.
            image: store.find(&name).ok().flatten(),
            name,
            about,
        })
        .collect())
}

/// The names of the project's own images, the stock one first.
pub fn own_images() -> impl Iterator<Item = &'static str> {
    variant::VARIANTS.iter().map(|variant| variant.name)
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
        assert!(find(folder.path(), "pri").is_err());
        std::fs::create_dir(folder.path().join("pri")).unwrap();
        std::fs::write(folder.path().join("pri/release"), "6.12.2\n").unwrap();
        let image = find(folder.path(), "pri").unwrap();
        assert_eq!(image.kernel_version, "6.12.2");
        assert_eq!(find(folder.path(), STOCK).unwrap().kernel_version, "6.12.1");
    }
}

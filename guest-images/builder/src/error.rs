//! What can go wrong, said so that the reader knows what to do next.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no guest image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Debian packages that the build needs are not installed.
    #[error(
        "the guest image needs Debian packages that are not installed: {names}; run: {command}"
    )]
    MissingPackages {
        /// The packages, separated by spaces.
        names: String,
        /// A command line that installs them, without `sudo`.
        command: String,
    },
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("no cache folder: set XDG_CACHE_HOME or HOME")]
    NoCacheFolder,
    /// A file or folder could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried: `read`, `create`...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `versions.toml` does not say what it must.
    #[error("{} is not understood", path.display())]
    Versions {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// No Debian mirror is configured in `/etc/apt`.
    #[error(
        "no Debian mirror is configured in /etc/apt: add one there, or name one in the \
         environment variable STALLBOX_DEBIAN_MIRROR (the URI that ends in /debian)"
    )]
    NoMirror,
    /// The keys that sign Debian's archive are not installed.
    #[error("no Debian archive keys in {folder}: install the package debian-archive-keyring")]
    NoKeyring {
        /// Where they were looked for.
        folder: &'static str,
    },
    /// The suite has no such package, or not any more.
    #[error("the mirrors have no package {package} in suite {suite}; adjust versions.toml")]
    NoPackage {
        /// The package.
        package: String,
        /// The suite.
        suite: String,
    },
    /// A package of the pinned version has other content than it had when it was pinned.
    #[error(
        "{package} {version} has SHA-256 {found}, versions.toml says {expected}: \
         do not use it before you know why"
    )]
    Checksum {
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// The pinned sum.
        expected: String,
        /// The sum of what was fetched.
        found: String,
    },
    /// A kernel option of the fragment had no effect.
    #[error(
        "the kernel did not take {option} (it has: {found}): see its dependencies in the \
         kernel's Kconfig files and adjust {fragment}"
    )]
    Config {
        /// The line of the fragment.
        option: String,
        /// The value after `make olddefconfig`.
        found: String,
        /// The fragment's file.
        fragment: String,
    },
    /// Something did not compile; what make and the compiler said has been handed on already.
    #[error("{what} did not build: {command} failed ({status})")]
    Build {
        /// The kernel, or which module.
        what: String,
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
    },
    /// A patch did not apply.
    #[error("the patch {} does not apply", path.display())]
    Patch {
        /// The patch.
        path: PathBuf,
        /// What the tool `patch` said.
        source: Box<Error>,
    },
    /// A folder is not that of a kernel.
    #[error(
        "{} is no Linux source: it lacks Makefile, Kconfig or arch/arm64/Kconfig",
        path.display()
    )]
    NoKernelSource {
        /// The folder.
        path: PathBuf,
    },
    /// A kernel tree without Git holds what an earlier build left.
    #[error(
        "{} has been built in (there is {found}), and without Git its sources cannot be told \
         from objects: run `make mrproper` there, or use a fresh checkout",
        path.display()
    )]
    NotClean {
        /// The tree.
        path: PathBuf,
        /// What an earlier build left.
        found: String,
    },
    /// There is no image of this name.
    #[error("there is no image {name}; `stallbox image list` shows those that there are")]
    NoImage {
        /// The name.
        name: String,
    },
    /// An image has not been built, or something that it is made of has changed.
    #[error("the image {name} has not been built as it is now: {command}")]
    NotBuilt {
        /// The name.
        name: String,
        /// What builds it.
        command: String,
    },
    /// A name is not fit for an image.
    #[error(
        "\"{name}\" is no name for an image: use letters, digits, '.', '-' and '_', and not the \
         name of one of the project's own"
    )]
    ImageName {
        /// The name.
        name: String,
    },
    /// An added folder holds something that a guest cannot be given.
    #[error("cannot add {}: {why}", path.display())]
    Added {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        why: String,
    },
    /// An added folder holds more than there is room for.
    #[error("the files in {} have more than {mib_max} MiB", path.display())]
    TooMuch {
        /// The folder.
        path: PathBuf,
        /// As much as there is room for.
        mib_max: u64,
    },
    /// A program that the build runs failed.
    #[error("{command} failed ({status}):\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A program that the build runs could not be started.
    #[error("cannot run {command}: is it installed?")]
    Start {
        /// The program.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// A folder is not one of a module.
    #[error(
        "{} has neither a Kbuild nor a Makefile, so it is no module: \
         `make M=` needs one with a line such as obj-m += name.o",
        path.display()
    )]
    NoModule {
        /// The folder.
        path: PathBuf,
    },
    /// A module was built and gave no .ko file.
    #[error(
        "building {} gave no .ko file: its Kbuild or Makefile has no line such as obj-m += name.o",
        path.display()
    )]
    EmptyModule {
        /// The folder.
        path: PathBuf,
    },
    /// A package does not hold the file that is wanted from it.
    #[error("{package} holds no file {file}")]
    NotInPackage {
        /// The package.
        package: String,
        /// The file or pattern.
        file: String,
    },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File {
            action,
            path,
            source,
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("read", path))
}

pub(crate) fn read_to_string(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(path, content).map_err(Error::file("write", path))
}

pub(crate) fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

//! Kernels: a source, patches, a configuration, the cross compiler.
//!
//! The Image is reproducible: build time, user, host and number are fixed (`BUILD`), the kernel
//! keeps source paths out of its objects, and there is no debug information. The same source
//! package, patches, fragments and compiler give the same bytes in any folder.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::cache::{Key, KeyBuilder, LockedCache};
use crate::config::Config;
use crate::error::{create_dir, read, read_to_string, write};
use crate::process::{self, CROSS_COMPILE, command, output};
use crate::source::{self, OBJECTS};
use crate::versions::Pin;
use crate::{Error, Progress, fetch};

/// To be raised when this file changes what is built.
const RECIPE: &str = "2";

/// Lines that make prints for a whole build with the stock fragment: the length of the progress
/// bar. Wrong by a few after a change of the fragment or of the point release, and no harm in that.
const BUILD_LINES: u64 = 1830;

/// What the kernel would otherwise take from the machine and the moment.
const BUILD: &[(&str, &str)] = &[
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
    ("KBUILD_BUILD_USER", "stallbox"),
    ("KBUILD_BUILD_HOST", "stallbox"),
    ("KBUILD_BUILD_VERSION", "1"),
];

pub(crate) const IMAGE: &str = "Image";
pub(crate) const VMLINUX: &str = "vmlinux";
pub(crate) const SYSTEM_MAP: &str = "System.map";
pub(crate) const RELEASE: &str = "release";
/// What modules are built against.
pub(crate) const BUILD_FOLDER: &str = "build";

/// What is taken from a built tree, and the names in the cache.
const PRODUCTS: &[(&str, &str)] = &[
    ("arch/arm64/boot/Image", IMAGE),
    ("vmlinux", VMLINUX),
    ("System.map", SYSTEM_MAP),
    (".config", "config"),
    ("include/config/kernel.release", RELEASE),
];

/// A stock kernel and some variants of it take a tenth of this.
const CCACHE_SIZE: &str = "1G";

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// With [`IMAGE`] and the others.
    pub folder: PathBuf,
    pub key: Key,
    /// For `make -C`.
    pub build: PathBuf,
}

impl Kernel {
    /// From a recipe's cached folder.
    pub(crate) fn cached(folder: PathBuf, key: Key) -> Kernel {
        Kernel {
            build: folder.join(BUILD_FOLDER),
            folder,
            key,
        }
    }
}

/// A kernel from a Debian package.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    pub suite: &'a str,
    pub pin: &'a Pin,
    pub fragments: Vec<PathBuf>,
    pub patches: Vec<PathBuf>,
}

impl Recipe<'_> {
    pub(crate) fn key(&self, compiler: &str) -> Result<Key, Error> {
        let mut key = KeyBuilder::new("kernel")
            .part("recipe", RECIPE)
            .part("source", &self.pin.sha256);
        for (name, files) in [("fragment", &self.fragments), ("patch", &self.patches)] {
            for file in files {
                key = key.part(name, read(file)?);
            }
        }
        Ok(key.part("compiler", compiler).finish())
    }

    pub(crate) fn build(
        &self,
        cache: &LockedCache<'_>,
        key: &Key,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        let package = fetch::package(cache, self.suite, self.pin, progress)?;
        let work = cache.work_folder()?;
        let tree = Tree::at(work.path().join("source"), cache.compilations());

        progress.step("unpack the kernel's source", None);
        source::unpack(&package, &self.pin.package, &tree.source)?;
        source::patch(&tree.source, &self.patches)?;

        progress.step("configure the kernel", None);
        tree.configure(&Config::of(&self.fragments)?, progress)?;
        tree.build(progress)?;

        let published = work.path().join("published");
        create_dir(&published)?;
        for (built, name) in PRODUCTS {
            let from = tree.objects.join(built);
            fs::rename(&from, published.join(name)).map_err(Error::file("take", &from))?;
        }
        tree.install_build(&published.join(BUILD_FOLDER))?;
        cache.publish(key, &published)
    }
}

/// Builds a user's tree, as far as it has changed since the last time. `state` is a folder that
/// lasts; nothing is written to the tree.
pub(crate) fn build_own(
    tree: &Path,
    patches: &[PathBuf],
    config: &Config,
    state: &Path,
    cache: &LockedCache<'_>,
    progress: &dyn Progress,
) -> Result<Kernel, Error> {
    progress.step("look at the kernel's source", None);
    let mirror = state.join("source");
    source::mirror(tree, patches, &mirror)?;
    let tree = Tree::at(mirror, cache.compilations());
    progress.step("configure the kernel", None);
    tree.configure(config, progress)?;
    tree.build(progress)?;

    let mut key = KeyBuilder::new("kernel-own").part("recipe", RECIPE);
    for built in PRODUCTS.iter().map(|(built, _)| *built) {
        key = key.part(built, read(&tree.objects.join(built))?);
    }
    // Modules are built against the tree itself; what they see of it is in these two.
    for built in ["Module.symvers", "include/generated/autoconf.h"] {
        key = key.part(built, read(&tree.objects.join(built))?);
    }
    let key = key.finish();
    let folder = match cache.find(&key) {
        Some(folder) => folder,
        None => {
            let work = cache.work_folder()?;
            let published = work.path().join("published");
            create_dir(&published)?;
            for (built, name) in PRODUCTS {
                let from = tree.objects.join(built);
                fs::copy(&from, published.join(name)).map_err(Error::file("copy", &from))?;
            }
            cache.publish(&key, &published)?
        }
    };
    Ok(Kernel {
        folder,
        key,
        build: tree.objects,
    })
}

/// Where [`build_own`] leaves objects.
pub(crate) fn own_objects(state: &Path) -> PathBuf {
    state.join("source").join(OBJECTS)
}

/// How make is called, for the kernel and for modules.
pub(crate) fn make(ccache: &Path) -> Command {
    let mut make = command("make");
    make.arg("ARCH=arm64")
        .arg(format!("CROSS_COMPILE={CROSS_COMPILE}"))
        .arg(format!("CC=ccache {CROSS_COMPILE}gcc"))
        .env("CCACHE_DIR", ccache)
        .env("CCACHE_MAXSIZE", CCACHE_SIZE);
    for (name, value) in BUILD {
        make.env(name, value);
    }
    make
}

/// A kernel's source with its objects.
struct Tree {
    source: PathBuf,
    objects: PathBuf,
    ccache: PathBuf,
}

impl Tree {
    fn at(source: PathBuf, ccache: PathBuf) -> Tree {
        Tree {
            objects: source.join(OBJECTS),
            source,
            ccache,
        }
    }

    fn make(&self) -> Command {
        let mut make = make(&self.ccache);
        make.current_dir(&self.source)
            .arg(format!("O={}", self.objects.display()));
        make
    }

    /// A configuration that comes out as it was leaves all objects up to date.
    fn configure(&self, config: &Config, progress: &dyn Progress) -> Result<(), Error> {
        create_dir(&self.objects)?;
        let result = self.objects.join(".config");
        if config.is_whole() {
            write(&result, config.text())?;
        } else {
            let fragment = self.objects.join("stallbox.config");
            write(&fragment, config.text())?;
            output(
                self.make()
                    .args(["-s", "allnoconfig"])
                    .env("KCONFIG_ALLCONFIG", fragment),
            )?;
        }
        output(self.make().args(["-s", "olddefconfig"]))?;
        for dropped in config.dropped(&read_to_string(&result)?) {
            let error = Error::Config {
                option: dropped.line,
                found: dropped.found,
                fragment: dropped.file.display().to_string(),
            };
            if dropped.strict {
                return Err(error);
            }
            progress.say(&format!("note: {error}"));
        }
        Ok(())
    }

    fn build(&self, progress: &dyn Progress) -> Result<(), Error> {
        progress.step("build the kernel", Some(BUILD_LINES));
        let jobs = thread::available_parallelism().map_or(1, NonZero::get);
        process::build(
            self.make()
                .arg(format!("--jobs={jobs}"))
                // Without modules of its own, `modules` only writes down what they may call.
                .args(["Image", "modules"]),
            "the kernel",
            BUILD_LINES,
            progress,
        )
    }

    /// Copies what `make M=` needs, by the kernel's own script for its packages of headers.
    fn install_build(&self, folder: &Path) -> Result<(), Error> {
        output(
            command("sh")
                .arg(self.source.join("scripts/package/install-extmod-build"))
                .arg(folder)
                .current_dir(&self.objects)
                .env("srctree", &self.source)
                .env("SRCARCH", "arm64")
                // The same name: the programs of the build are to run here, not in the guest.
                .env("CC", "cc")
                .env("HOSTCC", "cc"),
        )
        .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;
    use crate::versions::Versions;

    #[test]
    fn the_key_follows_fragments_patches_pin_and_compiler() {
        let versions = Versions::load(&recipe::checkout()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        write(&file("a"), "CONFIG_A=y\n").unwrap();
        write(&file("b"), "CONFIG_B=y\n").unwrap();
        let mut recipe = Recipe {
            suite: &versions.suite,
            pin: &versions.kernel,
            fragments: vec![file("a")],
            patches: Vec::new(),
        };
        let mut seen = vec![recipe.key("gcc 12").unwrap()];
        assert_eq!(seen[0], recipe.key("gcc 12").unwrap());
        seen.push(recipe.key("gcc 14").unwrap());
        recipe.patches.push(file("b"));
        seen.push(recipe.key("gcc 12").unwrap());
        recipe.patches.clear();
        recipe.fragments.push(file("b"));
        seen.push(recipe.key("gcc 12").unwrap());
        write(&file("b"), "CONFIG_B=n\n").unwrap();
        seen.push(recipe.key("gcc 12").unwrap());
        let mut other = versions.kernel.clone();
        other.sha256 = "0".repeat(64);
        recipe.pin = &other;
        seen.push(recipe.key("gcc 12").unwrap());
        for (n, key) in seen.iter().enumerate() {
            assert!(!seen[n + 1..].contains(key), "{n}");
        }
    }
}

//! The kernel: Debian's unmodified source, our fragment, the cross compiler.
//!
//! The Image is reproducible: build time, user, host and number are fixed (`BUILD`), the kernel
//! keeps source paths out of its objects, and there is no debug information. The same source
//! package, fragment and compiler give the same bytes in any folder.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::cache::{Key, KeyBuilder, LockedCache};
use crate::error::{create_dir, read, read_to_string};
use crate::process::{CROSS_COMPILE, command, output, pipe, stream};
use crate::versions::Versions;
use crate::{Error, Progress, fetch};

/// To be raised when this file changes what is built.
const RECIPE: &str = "1";

const FRAGMENT: &str = "kernel/6.12.config";

/// Lines that make prints for a whole build with this fragment: the length of the progress bar.
/// Wrong by a few after a change of the fragment or of the point release, and no harm in that.
const BUILD_LINES: u64 = 1720;

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

pub(crate) fn key(root: &Path, versions: &Versions, compiler: &str) -> Result<Key, Error> {
    Ok(KeyBuilder::new("kernel")
        .part("recipe", RECIPE)
        .part("source", &versions.kernel.sha256)
        .part("fragment", read(&root.join(FRAGMENT))?)
        .part("compiler", compiler)
        .finish())
}

pub(crate) fn build(
    root: &Path,
    versions: &Versions,
    cache: &LockedCache<'_>,
    key: &Key,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let package = fetch::package(cache, &versions.suite, &versions.kernel, progress)?;
    let work = cache.work_folder()?;
    let tree = Tree {
        source: work.path().join("source"),
        objects: work.path().join("objects"),
    };

    progress.step("unpack the kernel's source", None);
    unpack(&package, &versions.kernel.package, &tree.source)?;

    progress.step("configure the kernel", None);
    let fragment = root.join(FRAGMENT);
    tree.configure(&fragment)?;

    progress.step("build the kernel", Some(BUILD_LINES));
    tree.build(progress)?;

    let published = work.path().join("published");
    create_dir(&published)?;
    for (built, name) in [
        ("arch/arm64/boot/Image", IMAGE),
        ("vmlinux", VMLINUX),
        ("System.map", SYSTEM_MAP),
        (".config", "config"),
        ("include/config/kernel.release", RELEASE),
    ] {
        let from = tree.objects.join(built);
        fs::rename(&from, published.join(name)).map_err(Error::file("take", &from))?;
    }
    let path = cache.publish(key, &published)?;
    // Large, and only of use for a kernel with another fragment.
    let _ = fs::remove_file(package);
    Ok(path)
}

/// The source is a compressed archive inside the package.
fn unpack(package: &Path, name: &str, into: &Path) -> Result<(), Error> {
    create_dir(into)?;
    let archive = into.join("source.tar.xz");
    let file = fs::File::create(&archive).map_err(Error::file("create", &archive))?;
    pipe(
        command("dpkg-deb").arg("--fsys-tarfile").arg(package),
        command("tar")
            .args(["--extract", "--to-stdout"])
            .arg(format!("./usr/src/{name}.tar.xz"))
            .stdout(file),
    )?;
    output(
        command("tar")
            .args(["--extract", "--strip-components=1", "--file"])
            .arg(&archive)
            .current_dir(into),
    )?;
    fs::remove_file(&archive).map_err(Error::file("remove", &archive))
}

struct Tree {
    source: PathBuf,
    objects: PathBuf,
}

impl Tree {
    fn make(&self) -> Command {
        let mut make = command("make");
        make.current_dir(&self.source)
            .arg("ARCH=arm64")
            .arg(format!("CROSS_COMPILE={CROSS_COMPILE}"))
            .arg(format!("O={}", self.objects.display()));
        for (name, value) in BUILD {
            make.env(name, value);
        }
        make
    }

    fn configure(&self, fragment: &Path) -> Result<(), Error> {
        create_dir(&self.objects)?;
        output(
            self.make()
                .args(["-s", "allnoconfig"])
                .env("KCONFIG_ALLCONFIG", fragment),
        )?;
        output(self.make().args(["-s", "olddefconfig"]))?;
        verify(
            &read_to_string(fragment)?,
            &read_to_string(&self.objects.join(".config"))?,
        )
    }

    fn build(&self, progress: &dyn Progress) -> Result<(), Error> {
        let jobs = thread::available_parallelism().map_or(1, NonZero::get);
        let mut lines = 0;
        stream(
            self.make().arg(format!("--jobs={jobs}")).arg("Image"),
            |_line| {
                lines += 1;
                progress.advance(lines.min(BUILD_LINES));
            },
        )
    }
}

/// Each line of the fragment must be true of the configuration: Kconfig drops, without a word,
/// what has unmet dependencies or does not exist.
fn verify(fragment: &str, configuration: &str) -> Result<(), Error> {
    let value = |name: &str| {
        configuration
            .lines()
            .filter_map(|line| line.split_once('='))
            .find(|(option, _)| *option == name)
            .map(|(_, value)| value)
    };
    for line in fragment.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, wanted) = line.split_once('=').unwrap_or((line, ""));
        let found = value(name).unwrap_or("n");
        if found != wanted {
            return Err(Error::Config {
                option: line.to_owned(),
                found: format!("{name}={found}"),
                fragment: FRAGMENT.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "CONFIG_PCI=y\n# CONFIG_VT is not set\nCONFIG_NR_CPUS=8\n";

    #[test]
    fn a_configuration_with_all_that_was_asked_for_passes() {
        let fragment =
            "# a comment\n\nCONFIG_PCI=y\nCONFIG_VT=n\nCONFIG_NR_CPUS=8\nCONFIG_NONE=n\n";
        verify(fragment, CONFIGURATION).unwrap();
    }

    #[test]
    fn an_option_that_did_not_take_is_named() {
        for (line, found) in [
            ("CONFIG_UACCE=y", "CONFIG_UACCE=n"),
            ("CONFIG_NR_CPUS=16", "CONFIG_NR_CPUS=8"),
            ("CONFIG_PCI=n", "CONFIG_PCI=y"),
            ("CONFIG_PC=y", "CONFIG_PC=n"),
            ("# CONFIG_ok\nCONFIG_UACCE", "CONFIG_UACCE=n"),
        ] {
            let error = verify(line, CONFIGURATION).unwrap_err().to_string();
            assert!(
                error.contains(line.lines().last().unwrap()) && error.contains(found),
                "{error}"
            );
        }
    }

    #[test]
    fn the_key_follows_the_fragment_the_pin_and_the_compiler() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let versions = Versions::load(root).unwrap();
        let key_of =
            |root: &Path, versions: &Versions, compiler| key(root, versions, compiler).unwrap();
        let original = key_of(root, &versions, "gcc 12");
        assert_eq!(original, key_of(root, &versions, "gcc 12"));
        assert_ne!(original, key_of(root, &versions, "gcc 14"));

        let mut other_pin = versions.clone();
        other_pin.kernel.sha256 = "0".repeat(64);
        assert_ne!(original, key_of(root, &other_pin, "gcc 12"));

        let copy = tempfile::tempdir().unwrap();
        create_dir(&copy.path().join("kernel")).unwrap();
        let mut fragment = read_to_string(&root.join(FRAGMENT)).unwrap();
        let path = copy.path().join(FRAGMENT);
        fs::write(&path, &fragment).unwrap();
        assert_eq!(original, key_of(copy.path(), &versions, "gcc 12"));
        fragment.push_str("CONFIG_MORE=y\n");
        fs::write(&path, &fragment).unwrap();
        assert_ne!(original, key_of(copy.path(), &versions, "gcc 12"));
    }
}

//! The initramfs: busybox, our programs and the few nodes that the kernel wants before /dev.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{Key, KeyBuilder, LockedCache};
use crate::cpio::Archive;
use crate::error::{create_dir, read, read_to_string, write};
use crate::process::{CROSS_COMPILE, command, output, pipe};
use crate::versions::Versions;
use crate::{Error, Progress, fetch, modules};

/// To be raised when this file changes what is built.
const RECIPE: &str = "2";

/// Where modules are in the guest.
const MODULES: &str = "lib/modules";

const PROGRAMS: &str = "programs";

/// Names of busybox's applets that get a link in /bin, one a line.
const APPLETS: &str = "applets.txt";

/// Programs that /init is, when it is called by another name; `programs/main.c` has the table.
const LINKS: &[&str] = &[
    "faultbench",
    "pinbench",
    "pintest",
    "svatest",
    "zipabuse",
    "zipgone",
    "zipsva",
];

/// No paths and no build id: the same sources and compiler give the same program in any folder.
const FLAGS: &[&str] = &[
    "-std=gnu17",
    "-O2",
    "-Wall",
    "-Wextra",
    "-static",
    "-s",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
];

pub(crate) const ARCHIVE: &str = "initramfs.cpio";

pub(crate) fn key(
    root: &Path,
    versions: &Versions,
    compiler: &str,
    modules: &[&Key],
) -> Result<Key, Error> {
    let mut key = KeyBuilder::new("initramfs")
        .part("recipe", RECIPE)
        .part("links", LINKS.join(" "))
        .part("busybox", &versions.busybox.sha256)
        .part("compiler", compiler);
    for module in modules {
        key = key.part("module", module.name());
    }
    for path in files(&root.join(PROGRAMS))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        key = key.part(&name, read(&path)?);
    }
    Ok(key.finish())
}

/// The files of a folder by name: the order of the key must not be that of the disk.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(Error::file("list", folder))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| ["c", "h", "txt"].iter().any(|known| extension == *known))
        })
        .collect();
    paths.sort();
    Ok(paths)
}

pub(crate) fn build(
    root: &Path,
    versions: &Versions,
    cache: &LockedCache<'_>,
    key: &Key,
    modules: &[PathBuf],
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let package = fetch::package(cache, &versions.suite, &versions.busybox, progress)?;
    progress.step("build the initramfs", None);
    let work = cache.work_folder()?;
    let programs = root.join(PROGRAMS);
    let init = work.path().join("init");
    compile(&programs, &init, &[])?;
    let mut archive = archive(
        &busybox(&package)?,
        &read(&init)?,
        &read_to_string(&programs.join(APPLETS))?,
    );
    for folder in modules {
        for object in modules::objects(folder)? {
            let name = object.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&format!("{MODULES}/{name}"), 0o644, &read(&object)?);
        }
    }

    let published = work.path().join("published");
    create_dir(&published)?;
    write(&published.join(ARCHIVE), archive.finish())?;
    cache.publish(key, &published)
}

fn compile(programs: &Path, to: &Path, flags: &[&str]) -> Result<(), Error> {
    let sources = files(programs)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        // Relative, so that no message or object holds the folder's name.
        .filter_map(|path| path.file_name().map(ToOwned::to_owned));
    output(
        command(format!("{CROSS_COMPILE}gcc"))
            .current_dir(programs)
            .args(FLAGS)
            .args(flags)
            .arg("-o")
            .arg(to)
            .args(sources),
    )
    .map(|_| ())
}

/// The program of the package `busybox-static`.
pub(crate) fn busybox(package: &Path) -> Result<Vec<u8>, Error> {
    // In /bin before the suites that merged it into /usr/bin.
    packaged_file("busybox-static", package, "./*bin/busybox")
}

/// The file that matches `wanted` in a package's archive.
pub(crate) fn packaged_file(name: &str, package: &Path, wanted: &str) -> Result<Vec<u8>, Error> {
    let file = pipe(
        command("dpkg-deb").arg("--fsys-tarfile").arg(package),
        command("tar").args(["--extract", "--to-stdout", "--wildcards", wanted]),
    )?;
    if file.is_empty() {
        return Err(Error::NotInPackage {
            package: name.to_owned(),
            file: wanted.to_owned(),
        });
    }
    Ok(file)
}

fn archive(busybox: &[u8], init: &[u8], applets: &str) -> Archive {
    let mut archive = Archive::new();
    for folder in ["bin", "dev", "etc", "lib", MODULES, "proc", "root", "sys"] {
        archive.directory(folder, 0o755);
    }
    archive.directory("tmp", 0o1777);
    // The kernel opens these for /init before anybody has mounted /dev.
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    archive.file("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    archive.file("bin/busybox", 0o755, busybox);
    for applet in applets
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        archive.symlink(&format!("bin/{applet}"), "busybox");
    }
    archive.file("init", 0o755, init);
    for name in LINKS {
        archive.symlink(&format!("bin/{name}"), "/init");
    }
    archive
}

#[cfg(test)]
mod tests;

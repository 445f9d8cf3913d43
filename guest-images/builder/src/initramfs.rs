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
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::process::Command;

    use super::*;
    use crate::recipe;

    fn root() -> PathBuf {
        recipe::checkout()
    }

    /// The guest's programs with warnings as errors, which users with a newer compiler are spared.
    fn guest_program(folder: &Path) -> PathBuf {
        let program = folder.join("guest");
        compile(&root().join(PROGRAMS), &program, &["-Werror"]).unwrap();
        program
    }

    #[test]
    fn programs_compile_without_warnings_and_reproducibly() {
        let folder = tempfile::tempdir().unwrap();
        let first = read(&guest_program(folder.path())).unwrap();
        let elsewhere = folder.path().join("copy");
        create_dir(&elsewhere).unwrap();
        for path in files(&root().join(PROGRAMS)).unwrap() {
            fs::copy(&path, elsewhere.join(path.file_name().unwrap())).unwrap();
        }
        let second = folder.path().join("second");
        compile(&elsewhere, &second, &[]).unwrap();
        assert!(
            first == read(&second).unwrap(),
            "the folder is in the program"
        );
    }

    /// A header and its source are one part; parts include each other in one direction.
    #[test]
    fn no_programs_include_each_other_in_a_circle() {
        let stem = |name: &str| name.rsplit_once('.').unwrap().0.to_owned();
        let mut includes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in files(&root().join(PROGRAMS)).unwrap() {
            let part = stem(&path.file_name().unwrap().to_string_lossy());
            let text = read_to_string(&path).unwrap();
            let included = text
                .lines()
                .filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'))
                .map(stem)
                .filter(|other| *other != part);
            includes.entry(part.clone()).or_default().extend(included);
        }
        assert!(includes["pinbench"].contains("pinbench_loop"));
        // What includes nothing that is left goes, until nothing goes any more.
        let mut left = includes;
        loop {
            let parts: BTreeSet<String> = left.keys().cloned().collect();
            let before = left.len();
            left.retain(|_, included| !included.is_disjoint(&parts));
            if left.len() == before {
                break;
            }
        }
        assert_eq!(left, BTreeMap::new());
    }

    #[test]
    fn each_program_explains_itself_and_refuses_nonsense() {
        let folder = tempfile::tempdir().unwrap();
        let guest = guest_program(folder.path());
        let run = |arguments: &[&str]| {
            Command::new("qemu-aarch64")
                .arg(&guest)
                .args(arguments)
                .output()
        };
        if run(&["zipsva", "--help"]).is_err() {
            eprintln!("skipped: no qemu-aarch64 on this machine");
            return;
        }
        for name in LINKS {
            let help = run(&[name, "--help"]).unwrap();
            assert_eq!(help.status.code(), Some(0), "{name}");
            let text = String::from_utf8(help.stdout).unwrap();
            assert!(text.starts_with(&format!("usage: {name}")), "{text}");
            assert_eq!(run(&[name, "--nonsense"]).unwrap().status.code(), Some(2));
        }
        // Not process 1, so it must not switch anything off.
        assert_eq!(run(&["init"]).unwrap().status.code(), Some(2));
        // No such device here: an error that names it and the cure.
        let missing = run(&["faultbench", "--no-count"]).unwrap();
        assert_eq!(missing.status.code(), Some(1));
        let text = String::from_utf8(missing.stderr).unwrap();
        assert!(
            text.contains("/dev/hisi_zip-0") && text.contains("uacce_mode=1"),
            "{text}"
        );
    }

    #[test]
    fn the_key_follows_the_programs() {
        let versions = Versions::load(&root()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let programs = copy.path().join(PROGRAMS);
        create_dir(&programs).unwrap();
        for path in files(&root().join(PROGRAMS)).unwrap() {
            fs::copy(&path, programs.join(path.file_name().unwrap())).unwrap();
        }
        let of = |folder: &Path| key(folder, &versions, "gcc 12", &[]).unwrap();
        assert_eq!(of(&root()), of(copy.path()));
        // An editor's left-overs are no part of the image.
        write(&programs.join("init.c~"), "old").unwrap();
        assert_eq!(of(&root()), of(copy.path()));
        write(&programs.join("more.h"), "").unwrap();
        assert_ne!(of(&root()), of(copy.path()));
    }

    #[test]
    fn links_do_not_collide_with_applets() {
        let applets = read_to_string(&root().join(PROGRAMS).join(APPLETS)).unwrap();
        for name in LINKS {
            assert!(applets.lines().all(|applet| applet != *name), "{name}");
        }
    }
}

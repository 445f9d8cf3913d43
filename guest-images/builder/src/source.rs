//! Kernel sources: a Debian package unpacked, or a user's own tree, which is never written to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::Error;
use crate::error::{create_dir, read, read_to_string, write};
use crate::process::{command, output, pipe};

/// Objects are in this folder of the source's: then Kbuild uses relative paths only, and ccache
/// finds in one folder what was compiled in another.
pub(crate) const OBJECTS: &str = "objects";

/// Unpacks the source package's compressed archive.
pub(crate) fn unpack(package: &Path, name: &str, into: &Path) -> Result<(), Error> {
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

/// Applies patches to a tree.
pub(crate) fn patch(tree: &Path, patches: &[PathBuf]) -> Result<(), Error> {
    for path in patches {
        let file = fs::File::open(path).map_err(Error::file("read", path))?;
        output(
            command("patch")
                .args([
                    "--strip=1",
                    "--fuzz=0",
                    "--forward",
                    "--no-backup-if-mismatch",
                    "--batch",
                ])
                .arg("--directory")
                .arg(tree)
                .stdin(file),
        )
        .map_err(|error| Error::Patch {
            path: path.clone(),
            source: Box::new(error),
        })?;
    }
    Ok(())
}

/// Makes `mirror` a tree of links to the files of `tree`, with `patches` applied: a patched file
/// is a file of its own. What has not changed since the last time keeps its time, so that make
/// compiles only what has.
pub(crate) fn mirror(tree: &Path, patches: &[PathBuf], mirror: &Path) -> Result<(), Error> {
    let mut files = list(tree)?;
    // Patches are applied to copies of the files that they name.
    let staging =
        tempfile::tempdir().map_err(Error::file("create a folder in", Path::new("/tmp")))?;
    let mut patched = BTreeSet::new();
    for path in patches {
        patched.extend(touched(&read_to_string(path)?));
    }
    for name in &patched {
        let from = tree.join(name);
        if from.is_file() {
            let to = staging.path().join(name);
            create_dir(to.parent().unwrap_or(&to))?;
            fs::copy(&from, &to).map_err(Error::file("copy to", &to))?;
        }
    }
    patch(staging.path(), patches)?;
    for name in &patched {
        files.remove(name);
        let from = staging.path().join(name);
        if from.is_file() {
            files.insert(name.clone());
        }
    }

    remove_others(mirror, Path::new(""), &files)?;
    let mut folder = None;
    for name in &files {
        let to = mirror.join(name);
        let parent = to.parent().unwrap_or(mirror);
        if folder.as_deref() != Some(parent) {
            create_dir(parent)?;
            folder = Some(parent.to_owned());
        }
        if patched.contains(name) {
            let content = read(&staging.path().join(name))?;
            if to.is_symlink() || fs::read(&to).ok().as_ref() != Some(&content) {
                let _ = fs::remove_file(&to);
                write(&to, content)?;
            }
            continue;
        }
        let from = tree.join(name);
        // A relative link stays one: what it names may be patched.
        let target = match fs::read_link(&from) {
            Ok(target) if target.is_relative() => target,
            _ => from,
        };
        if fs::read_link(&to).ok().as_ref() != Some(&target) {
            let _ = fs::remove_file(&to);
            std::os::unix::fs::symlink(&target, &to).map_err(Error::file("create", &to))?;
        }
    }
    Ok(())
}

/// Removes from the folder `at` of `mirror` what is not among `files`.
fn remove_others(mirror: &Path, at: &Path, files: &BTreeSet<PathBuf>) -> Result<(), Error> {
    let folder = mirror.join(at);
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = at.join(entry.file_name());
        if name == Path::new(OBJECTS) {
            continue;
        }
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let within = files.range(name.clone()..).next();
            if within.is_some_and(|file| file.starts_with(&name)) {
                remove_others(mirror, &name, files)?;
            } else {
                fs::remove_dir_all(&path).map_err(Error::file("remove", &path))?;
            }
        } else if !files.contains(&name) {
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(())
}

/// The source files of a kernel tree, relative to it. Git knows them; without it the tree must be
/// one in which nothing was built, since objects would be taken for up to date.
fn list(tree: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    if !["Makefile", "Kconfig", "arch/arm64/Kconfig"]
        .iter()
        .all(|name| tree.join(name).is_file())
    {
        return Err(Error::NoKernelSource {
            path: tree.to_owned(),
        });
    }
    if tree.join(".git").exists() {
        let listed = output(command("git").arg("-C").arg(tree).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let text = String::from_utf8_lossy(&listed).into_owned();
        return Ok(text
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            // Not those that are deleted and not yet committed.
            .filter(|name| fs::symlink_metadata(tree.join(name)).is_ok_and(|it| !it.is_dir()))
            .collect());
    }
    // As Kbuild's own check, in the top Makefile (target outputmakefile).
    let built = [".config", "include/config", "arch/arm64/include/generated"];
    if let Some(found) = built.iter().find(|name| tree.join(name).exists()) {
        return Err(Error::NotClean {
            path: tree.to_owned(),
            found: (*found).to_owned(),
        });
    }
    let mut files = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = tree.join(&folder);
        for entry in fs::read_dir(&path).map_err(Error::file("list", &path))? {
            let entry = entry.map_err(Error::file("list", &path))?;
            let name = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(Error::file("read", &path))?;
            if kind.is_dir() {
                folders.push(name);
            } else {
                files.insert(name);
            }
        }
    }
    Ok(files)
}

/// The files that a patch names. Others than those below the tree are left to `patch` to refuse.
fn touched(patch: &str) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    for line in patch.lines() {
        let name = ["--- ", "+++ "]
            .iter()
            .find_map(|mark| line.strip_prefix(mark))
            // The first component goes, as with `patch --strip=1`.
            .and_then(|rest| rest.split('\t').next())
            .and_then(|path| path.split_once('/'))
            .map(|(_, name)| name)
            .or_else(|| {
                ["rename from ", "rename to ", "copy from ", "copy to "]
                    .iter()
                    .find_map(|mark| line.strip_prefix(mark))
            });
        let Some(name) = name.map(|name| PathBuf::from(name.trim())) else {
            continue;
        };
        let inside = name
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if inside && line != "--- /dev/null" && line != "+++ /dev/null" {
            names.insert(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        create_dir(&at.join("arch/arm64/tools")).unwrap();
        create_dir(&at.join("mm")).unwrap();
        for name in ["Makefile", "Kconfig", "arch/arm64/Kconfig", "table"] {
            write(&at.join(name), "one\n").unwrap();
        }
        write(&at.join("mm/a.c"), "a\n").unwrap();
        std::os::unix::fs::symlink("../../../table", at.join("arch/arm64/tools/table")).unwrap();
        folder
    }

    fn patch_file(folder: &Path, text: &str) -> Vec<PathBuf> {
        let path = folder.join("x.patch");
        write(&path, text).unwrap();
        vec![path]
    }

    const PATCH: &str = "Subject: x\n\n---\ndiff --git a/table b/table\n--- a/table\n+++ b/table\n\
                         @@ -1 +1,2 @@\n one\n+two\n\
                         diff --git a/mm/new.c b/mm/new.c\nnew file mode 100644\n\
                         --- /dev/null\n+++ b/mm/new.c\n@@ -0,0 +1 @@\n+new\n";

    #[test]
    fn a_mirror_is_the_patched_tree_and_the_tree_stays_as_it_is() {
        let tree = tree();
        let work = tempfile::tempdir().unwrap();
        let at = work.path().join("mirror");
        let patches = patch_file(work.path(), PATCH);
        mirror(tree.path(), &patches, &at).unwrap();
        assert_eq!(read_to_string(&at.join("table")).unwrap(), "one\ntwo\n");
        // A link to a patched file leads to the patched one.
        let through = read_to_string(&at.join("arch/arm64/tools/table")).unwrap();
        assert_eq!(through, "one\ntwo\n");
        assert_eq!(read_to_string(&at.join("mm/new.c")).unwrap(), "new\n");
        assert_eq!(read_to_string(&tree.path().join("table")).unwrap(), "one\n");
        assert!(!tree.path().join("mm/new.c").exists());
    }

    #[test]
    fn a_mirror_follows_its_tree_and_leaves_the_rest_untouched() {
        let tree = tree();
        let work = tempfile::tempdir().unwrap();
        let at = work.path().join("mirror");
        let patches = patch_file(work.path(), PATCH);
        mirror(tree.path(), &patches, &at).unwrap();
        create_dir(&at.join(OBJECTS)).unwrap();
        let inode = |name: &str| fs::symlink_metadata(at.join(name)).unwrap().ino();
        let before = (inode("table"), inode("Makefile"));

        fs::remove_file(tree.path().join("mm/a.c")).unwrap();
        create_dir(&tree.path().join("lib")).unwrap();
        write(&tree.path().join("lib/b.c"), "b\n").unwrap();
        write(&tree.path().join("Kconfig"), "changed\n").unwrap();
        mirror(tree.path(), &patches, &at).unwrap();
        assert_eq!(before, (inode("table"), inode("Makefile")));
        assert!(!at.join("mm/a.c").is_symlink());
        assert_eq!(read_to_string(&at.join("lib/b.c")).unwrap(), "b\n");
        assert_eq!(read_to_string(&at.join("Kconfig")).unwrap(), "changed\n");
        assert!(at.join(OBJECTS).is_dir());

        // Without the patch its files are the tree's own again, and new ones are gone.
        mirror(tree.path(), &[], &at).unwrap();
        assert_eq!(read_to_string(&at.join("table")).unwrap(), "one\n");
        assert!(!at.join("mm/new.c").exists());
    }

    #[test]
    fn a_patch_that_does_not_apply_is_named_with_the_reason() {
        let tree = tree();
        let work = tempfile::tempdir().unwrap();
        let patches = patch_file(work.path(), &PATCH.replace(" one", " other"));
        let error = mirror(tree.path(), &patches, &work.path().join("mirror")).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("x.patch"), "{error}");
        assert!(cause.contains("Hunk #1 FAILED"), "{cause}");
    }

    #[test]
    fn folders_that_cannot_be_built_are_refused() {
        let nothing = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        let error = mirror(nothing.path(), &[], work.path()).unwrap_err();
        assert!(matches!(error, Error::NoKernelSource { .. }), "{error}");
        let tree = tree();
        write(&tree.path().join(".config"), "").unwrap();
        let error = mirror(tree.path(), &[], work.path()).unwrap_err();
        assert!(error.to_string().contains("make mrproper"), "{error}");
    }

    #[test]
    fn names_outside_the_tree_are_not_taken_from_a_patch() {
        let patch =
            "--- a/../../etc/passwd\t2020\n+++ b/mm/x.c\t2021\n--- /dev/null\n+++ /dev/null\n";
        let names: Vec<_> = touched(patch).into_iter().collect();
        assert_eq!(names, [PathBuf::from("mm/x.c")]);
    }
}

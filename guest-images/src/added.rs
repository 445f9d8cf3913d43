//! A folder of the user's as an archive behind the initramfs, with the C library for programs that
//! want it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};

use crate::Error;
use crate::cpio::Archive;
use crate::error::read;

/// Where Debian's cross packages have the arm64 C library.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu/lib";

const LOADER: &str = "ld-linux-aarch64.so.1";

/// Where the loader looks without being told to.
const SEARCHED: &[&str] = &[
    "lib",
    "usr/lib",
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
];

/// What is to be in the guest, by path.
#[derive(Debug, Default)]
struct Content {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    Folder,
    File { executable: bool, bytes: Vec<u8> },
    Link(String),
}

/// The archive of all that is below `folder`, which becomes the guest's `/`. Libraries of the
/// cross compiler that its programs need, and that it lacks, are added in `/lib`.
pub(crate) fn archive(folder: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Content::default();
    content.take(folder, folder)?;
    content.add_libraries(folder)?;
    let mut archive = Archive::new();
    for (name, entry) in &content.entries {
        match entry {
            Entry::Folder => archive.directory(name, 0o755),
            Entry::File { executable, bytes } => {
                archive.file(name, if *executable { 0o755 } else { 0o644 }, bytes);
            }
            Entry::Link(target) => archive.symlink(name, target),
        }
    }
    Ok(archive.finish())
}

impl Content {
    fn take(&mut self, root: &Path, folder: &Path) -> Result<(), Error> {
        let refuse = |path: &Path, why: &str| Error::Added {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        for entry in fs::read_dir(folder).map_err(Error::file("list", folder))? {
            let path = entry.map_err(Error::file("list", folder))?.path();
            let name = path
                .strip_prefix(root)
                .ok()
                .and_then(Path::to_str)
                .ok_or_else(|| refuse(&path, "its name is not UTF-8"))?
                .to_owned();
            let status = fs::symlink_metadata(&path).map_err(Error::file("read", &path))?;
            if status.is_dir() {
                self.entries.insert(name, Entry::Folder);
                self.take(root, &path)?;
            } else if status.is_symlink() {
                let target = fs::read_link(&path).map_err(Error::file("read", &path))?;
                let target = target
                    .to_str()
                    .ok_or_else(|| refuse(&path, "its target is not UTF-8"))?;
                self.entries.insert(name, Entry::Link(target.to_owned()));
            } else if status.is_file() {
                if status.len() > u32::MAX.into() {
                    return Err(refuse(&path, "it has more than 4 GiB"));
                }
                let executable = status.permissions().mode() & 0o111 != 0;
                let bytes = read(&path)?;
                self.entries.insert(name, Entry::File { executable, bytes });
            } else {
                return Err(refuse(&path, "it is neither a file, a folder nor a link"));
            }
        }
        Ok(())
    }

    /// Adds the libraries that are needed and not there, and what these need in turn.
    fn add_libraries(&mut self, root: &Path) -> Result<(), Error> {
        let mut wanted: BTreeMap<String, String> = BTreeMap::new();
        for (name, entry) in &self.entries {
            if let Entry::File { bytes, .. } = entry {
                for library in needs(&root.join(name), bytes)? {
                    wanted.entry(library).or_insert_with(|| name.clone());
                }
            }
        }
        let mut seen = BTreeSet::new();
        while let Some((library, by)) = wanted.pop_first() {
            let there = SEARCHED
                .iter()
                .any(|folder| self.entries.contains_key(&format!("{folder}/{library}")));
            if there || !seen.insert(library.clone()) {
                continue;
            }
            let path = Path::new(LIBRARIES).join(&library);
            let bytes = fs::read(&path).map_err(|_| Error::Added {
                path: root.join(&by),
                why: format!(
                    "it needs the library {library}, which is neither in {} below {} nor in \
                     {LIBRARIES}; put it into the first, or link the program statically",
                    SEARCHED.join(", "),
                    root.display()
                ),
            })?;
            for next in needs(&path, &bytes)? {
                wanted.entry(next).or_insert_with(|| by.clone());
            }
            self.entries
                .entry("lib".to_owned())
                .or_insert(Entry::Folder);
            self.entries.insert(
                format!("lib/{library}"),
                Entry::File {
                    executable: true,
                    bytes,
                },
            );
        }
        Ok(())
    }
}

/// The libraries that a file needs, with the loader, if it is a program or library for arm64.
fn needs(path: &Path, bytes: &[u8]) -> Result<Vec<String>, Error> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let refuse = |why: String| Error::Added {
        path: path.to_owned(),
        why,
    };
    let header = FileHeader64::<Endianness>::parse(bytes);
    let machine = header
        .ok()
        .and_then(|header| Some(header.e_machine(header.endian().ok()?)));
    if machine != Some(EM_AARCH64) {
        return Err(refuse(
            "it is a program or library for another machine; compile it with \
             aarch64-linux-gnu-gcc"
                .to_owned(),
        ));
    }
    let broken = |error: object::read::Error| refuse(format!("it is a broken ELF file: {error}"));
    let elf = ElfFile::<FileHeader64<Endianness>>::parse(bytes).map_err(broken)?;
    let mut found = Vec::new();
    let table = elf.elf_dynamic_table().map_err(broken)?;
    for entry in table.iter() {
        if entry.tag == DT_NEEDED {
            let name = table.string(entry).map_err(broken)?;
            found.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    if !found.is_empty() && !found.iter().any(|name| name == LOADER) {
        found.push(LOADER.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{create_dir, write};
    use crate::process::{CROSS_COMPILE, command, output};

    fn compile(folder: &Path, name: &str, flags: &[&str]) {
        create_dir(&folder.join("bin")).unwrap();
        let source = folder.join("x.c");
        write(&source, "int main(void) { return 0; }\n").unwrap();
        output(
            command(format!("{CROSS_COMPILE}gcc"))
                .args(flags)
                .arg("-o")
                .arg(folder.join("bin").join(name))
                .arg(&source),
        )
        .unwrap();
        fs::remove_file(source).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut content = Content::default();
        content.take(folder, folder).unwrap();
        content.add_libraries(folder).unwrap();
        content.entries.into_keys().collect()
    }

    #[test]
    fn a_dynamic_program_brings_the_c_library() {
        let folder = tempfile::tempdir().unwrap();
        compile(folder.path(), "dynamic", &[]);
        assert_eq!(
            names(folder.path()),
            [
                "bin",
                "bin/dynamic",
                "lib",
                "lib/ld-linux-aarch64.so.1",
                "lib/libc.so.6"
            ]
        );
    }

    #[test]
    fn a_static_program_brings_nothing_and_a_library_of_ones_own_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        compile(folder.path(), "static", &["-static"]);
        assert_eq!(names(folder.path()), ["bin", "bin/static"]);
        compile(folder.path(), "dynamic", &[]);
        create_dir(&folder.path().join("usr/lib")).unwrap();
        write(&folder.path().join("usr/lib/libc.so.6"), "own").unwrap();
        assert!(!names(folder.path()).contains(&"lib/libc.so.6".to_owned()));
    }

    #[test]
    fn a_program_for_the_host_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::copy("/bin/true", folder.path().join("true")).unwrap();
        let error = archive(folder.path()).unwrap_err().to_string();
        assert!(error.contains("aarch64-linux-gnu-gcc"), "{error}");
    }

    #[test]
    fn a_library_that_is_nowhere_is_named_with_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        compile(other.path(), "libnowhere.so", &["-shared"]);
        let place = other.path().join("bin");
        compile(
            folder.path(),
            "program",
            &[
                "-Wl,--no-as-needed",
                "-L",
                place.to_str().unwrap(),
                "-lnowhere",
            ],
        );
        let error = archive(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("bin/program") && error.contains("libnowhere.so"),
            "{error}"
        );
    }
}

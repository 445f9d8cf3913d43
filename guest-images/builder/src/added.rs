//! A folder of the user's as an archive behind the initramfs, with the C library for programs that
//! want it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};

use crate::Error;
use crate::cpio::{Archive, HEADER_BYTES, Names, TRAILER};
use crate::error::read;

/// Where Debian has arm64 libraries: those of the cross compiler, and those of arm64 packages.
const LIBRARIES: &[&str] = &["/usr/aarch64-linux-gnu/lib", "/usr/lib/aarch64-linux-gnu"];

/// A file in the guest takes whole pages.
const PAGE_BYTES: u64 = 4096;

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
    /// Bytes that the entries take in the guest, so far and at most.
    bytes: u64,
    bytes_max: u64,
}

#[derive(Debug)]
enum Entry {
    Folder { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link(String),
}

/// The archive of all that is below `folder`, which becomes the guest's `/`, on top of what `below`
/// has. Owners are root, times are those of the format's beginning, modes are kept.
///
/// Libraries that its programs need, and that neither it nor `below` has, are taken from those
/// that the machine has for arm64 into `/lib`; if `below` could not be read to its end, they are taken to be there.
///
/// # Errors
///
/// If something is neither a file, a folder nor a link, or a library is nowhere; each error names
/// it. Links are kept as links and never followed. If they take more than `bytes_max` in the guest.
pub fn archive(folder: &Path, below: &Names, bytes_max: u64) -> Result<Vec<u8>, Error> {
    let mut content = Content {
        bytes_max,
        ..Content::default()
    };
    content.take(folder, folder)?;
    if below.is_complete() {
        content.add_libraries(folder, below)?;
    }
    let mut archive = Archive::new();
    for (name, entry) in &content.entries {
        match entry {
            Entry::Folder { mode } => archive.directory(name, *mode),
            Entry::File { mode, bytes } => archive.file(name, *mode, bytes),
            Entry::Link(target) => archive.symlink(name, target),
        }
    }
    Ok(archive.finish())
}

/// What `file_type` is that a guest cannot be given.
fn kind(file_type: FileType) -> &'static str {
    if file_type.is_socket() {
        "a socket"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_block_device() || file_type.is_char_device() {
        "a device node"
    } else {
        "of an unknown kind"
    }
}

impl Content {
    fn take(&mut self, root: &Path, folder: &Path) -> Result<(), Error> {
        let refuse = |path: &Path, why: &str| Error::Added {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(Error::file("list", folder))?;
        // What is refused first must not depend on the disk.
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = path
                .strip_prefix(root)
                .ok()
                .and_then(Path::to_str)
                .ok_or_else(|| refuse(&path, "its name is not UTF-8"))?
                .to_owned();
            if name == TRAILER {
                return Err(refuse(&path, "a cpio archive ends at this name"));
            }
            let status = fs::symlink_metadata(&path).map_err(Error::file("read", &path))?;
            let mode = status.permissions().mode() & 0o7777;
            if status.is_dir() {
                self.add(root, name, Entry::Folder { mode }, 0)?;
                self.take(root, &path)?;
            } else if status.is_symlink() {
                let target = fs::read_link(&path).map_err(Error::file("read", &path))?;
                let target = target
                    .to_str()
                    .ok_or_else(|| refuse(&path, "its target is not UTF-8"))?;
                let bytes = target.len() as u64;
                self.add(root, name, Entry::Link(target.to_owned()), bytes)?;
            } else if status.is_file() {
                if status.len() > u32::MAX.into() {
                    return Err(refuse(&path, "it has more than 4 GiB"));
                }
                // Before it is read: it may be larger than the host's memory.
                let length = status.len();
                self.check(root, length)?;
                let bytes = read(&path)?;
                self.add(root, name, Entry::File { mode, bytes }, length)?;
            } else {
                let why = format!(
                    "it is {}; a guest can be given files, folders and links",
                    kind(status.file_type())
                );
                return Err(refuse(&path, &why));
            }
        }
        Ok(())
    }

    /// Whether there is room for so many bytes more.
    fn check(&self, root: &Path, bytes: u64) -> Result<(), Error> {
        if self.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(Error::TooMuch {
                path: root.to_owned(),
                mib_max: self.bytes_max >> 20,
            });
        }
        Ok(())
    }

    fn add(&mut self, root: &Path, name: String, entry: Entry, bytes: u64) -> Result<(), Error> {
        // As it takes memory when it is unpacked, in pages, if that is more than packed.
        self.bytes += (HEADER_BYTES + name.len() + 1) as u64 + bytes.next_multiple_of(PAGE_BYTES);
        self.check(root, 0)?;
        self.entries.insert(name, entry);
        Ok(())
    }

    /// Adds the libraries that are needed and not there, and what these need in turn.
    fn add_libraries(&mut self, root: &Path, below: &Names) -> Result<(), Error> {
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
            let there = SEARCHED.iter().any(|folder| {
                let path = format!("{folder}/{library}");
                self.entries.contains_key(&path) || below.contains(&path)
            });
            if there || !seen.insert(library.clone()) {
                continue;
            }
            let (path, bytes) = installed(&library).ok_or_else(|| Error::Added {
                path: root.join(&by),
                why: format!(
                    "it needs the library {library}, which is neither in {} below {} nor in {}; \
                     install its arm64 package, put it into the first, or link the program statically",
                    SEARCHED.join(", "),
                    root.display(),
                    LIBRARIES.join(", ")
                ),
            })?;
            for next in needs(&path, &bytes)? {
                wanted.entry(next).or_insert_with(|| by.clone());
            }
            // A folder that the guest has keeps its mode; where /lib is a link, it stays one.
            if !below.contains("lib") && !self.entries.contains_key("lib") {
                self.add(root, "lib".to_owned(), Entry::Folder { mode: 0o755 }, 0)?;
            }
            let length = bytes.len() as u64;
            let entry = Entry::File { mode: 0o755, bytes };
            self.add(root, format!("lib/{library}"), entry, length)?;
        }
        Ok(())
    }
}

/// A library that the machine has for arm64.
fn installed(library: &str) -> Option<(PathBuf, Vec<u8>)> {
    let paths = LIBRARIES
        .iter()
        .map(|folder| Path::new(folder).join(library));
    let mut found = paths.filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)));
    found.next()
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
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, SystemTime};

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
        let mut content = Content {
            bytes_max: u64::MAX,
            ..Content::default()
        };
        content.take(folder, folder).unwrap();
        content.add_libraries(folder, &Names::default()).unwrap();
        content.entries.into_keys().collect()
    }

    fn archive(folder: &Path) -> Result<Vec<u8>, Error> {
        super::archive(folder, &Names::default(), u64::MAX)
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

    #[test]
    fn a_library_that_the_guest_has_is_not_brought() {
        let folder = tempfile::tempdir().unwrap();
        compile(folder.path(), "dynamic", &[]);
        let mut guest = Archive::new();
        guest.directory("lib", 0o755);
        for library in ["ld-linux-aarch64.so.1", "libc.so.6"] {
            guest.file(&format!("lib/{library}"), 0o755, b"the guest's");
        }
        let mut below = Names::default();
        below.read(&guest.finish());
        let names_on = |below: &Names| {
            let mut names = Names::default();
            names.read(&super::archive(folder.path(), below, u64::MAX).unwrap());
            names
        };
        assert!(!names_on(&below).contains("lib/libc.so.6"));
        assert!(names_on(&Names::default()).contains("lib/libc.so.6"));
        // What is in a compressed one is not known: it is left alone.
        let mut unknown = Names::default();
        unknown.read(b"\x1f\x8b");
        assert!(!names_on(&unknown).contains("lib/libc.so.6"));
    }

    /// Owner and time are the host's affair; the mode is what the user made it.
    #[test]
    fn modes_and_links_are_kept_and_nothing_else_of_the_host() {
        let made = |seconds: u64| {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            // In another order, too.
            let mut names = [".profile", "a/private", "suid"];
            create_dir(&path("a")).unwrap();
            if seconds > 0 {
                names.reverse();
            }
            for name in names {
                write(&path(name), name).unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
                let file = fs::File::open(path(name)).unwrap();
                file.set_modified(time).unwrap();
            }
            symlink("/nowhere/at/all", path("z")).unwrap();
            symlink("..", path("a/up")).unwrap();
            for (name, mode) in [("a", 0o700), ("a/private", 0o600), ("suid", 0o4755)] {
                fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
            }
            archive(folder.path()).unwrap()
        };
        let archive = made(0);
        assert_eq!(archive, made(1_000_000));
        let text = String::from_utf8_lossy(&archive);
        // Modes of a folder, a file, a set-user-ID file and a link, in the format's digits.
        for mode in ["000041C0", "00008180", "000089ED", "0000A1FF"] {
            assert!(text.contains(&mode.to_lowercase()), "{mode}");
        }
        assert!(text.contains("/nowhere/at/all"));
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let _socket = UnixListener::bind(folder.path().join("talk")).unwrap();
        let error = archive(folder.path()).unwrap_err().to_string();
        assert!(error.contains("talk: it is a socket"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join(TRAILER), "").unwrap();
        let error = archive(folder.path()).unwrap_err().to_string();
        assert!(error.contains(TRAILER), "{error}");
    }

    #[test]
    fn more_than_there_is_room_for_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("sparse")).unwrap();
        file.set_len(3 << 30).unwrap();
        let error = super::archive(folder.path(), &Names::default(), 64 << 20).unwrap_err();
        assert!(error.to_string().contains("more than 64 MiB"), "{error}");
    }
}

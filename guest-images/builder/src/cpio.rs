//! The newc archive format, as the kernel unpacks it into its first file system.
//!
//! Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`: 110 bytes of header in
//! ASCII digits, the name with its NUL padded to 4, the content padded to 4; several archives may
//! follow each other, compressed or not, each at a multiple of 4.

use std::collections::BTreeSet;

pub(crate) const HEADER_BYTES: usize = 110;
/// The name of the entry that ends an archive.
pub(crate) const TRAILER: &str = "TRAILER!!!";

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive being written. The same calls give the same bytes: no time, no owner, inode numbers
/// in the order of the calls.
///
/// Paths are relative, without a leading `./`; a folder must be added before what is in it.
///
/// ```
/// use stallbox_guest_images::cpio::{Archive, append};
///
/// let mut extra = Archive::new();
/// extra.directory("stallbox", 0o755);
/// extra.file("stallbox/command", 0o755, b"uname -a\n");
///
/// let mut initrd = vec![0x1f, 0x8b, 0x08]; // somebody's initramfs
/// append(&mut initrd, extra);
/// assert_eq!(&initrd[4..10], b"070701");
/// ```
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Archive {
        Archive::default()
    }

    /// Adds a folder with permissions such as `0o755`.
    pub fn directory(&mut self, path: &str, permissions: u32) {
        self.entry(path, DIRECTORY | permissions, 2, (0, 0), &[]);
    }

    /// Adds a file.
    ///
    /// # Panics
    ///
    /// If `content` has 4 GiB or more, which the format cannot say.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, REGULAR | permissions, 1, (0, 0), content);
    }

    /// Adds a symbolic link at `path`.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.entry(path, SYMLINK | 0o777, 1, (0, 0), target.as_bytes());
    }

    /// Adds the device node of a character device.
    pub fn character_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | permissions, 1, (major, minor), &[]);
    }

    /// Ends the archive. Its length is a multiple of 4, so another one may follow.
    pub fn finish(mut self) -> Vec<u8> {
        self.inodes = 0;
        self.raw_entry(TRAILER, 0, 0, 1, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, links: u32, device: (u32, u32), content: &[u8]) {
        let odd = |part: &str| matches!(part, "" | "." | "..");
        debug_assert!(!path.split('/').any(odd), "{path}");
        self.inodes += 1;
        self.raw_entry(path, self.inodes, mode, links, device, content);
    }

    fn raw_entry(
        &mut self,
        name: &str,
        inode: u32,
        mode: u32,
        links: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) {
        let size = u32::try_from(content.len()).expect("less than 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a path's length");
        let fields = [
            inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0,
        ];
        let start = self.bytes.len();
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        debug_assert_eq!(self.bytes.len() - start, HEADER_BYTES);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        pad(&mut self.bytes);
        self.bytes.extend_from_slice(content);
        pad(&mut self.bytes);
    }
}

/// Puts `archive` behind an initramfs, which may be compressed. Its files replace those of the
/// same name before it.
pub fn append(initramfs: &mut Vec<u8>, archive: Archive) {
    append_bytes(initramfs, &archive.finish());
}

/// [`append`] for an archive that is bytes already.
pub fn append_bytes(initramfs: &mut Vec<u8>, archive: &[u8]) {
    pad(initramfs);
    initramfs.extend_from_slice(archive);
}

/// The paths in archives that follow each other, as far as they can be read: a compressed one, and
/// what follows it, cannot.
///
/// ```
/// use stallbox_guest_images::cpio::{Archive, Names};
///
/// let mut archive = Archive::new();
/// archive.directory("lib", 0o755);
/// let mut names = Names::default();
/// names.read(&archive.finish());
/// assert!(names.contains("lib") && names.is_complete());
/// names.read(&[0x1f, 0x8b, 0x08]);
/// assert!(!names.is_complete());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: BTreeSet<String>,
    is_unread: bool,
}

impl Names {
    /// Reads more of them.
    pub fn read(&mut self, archives: &[u8]) {
        let mut at = 0;
        loop {
            let rest = archives.get(at..).unwrap_or_default();
            // The kernel skips zeros between archives (init/initramfs.c, unpack_to_rootfs).
            let Some(zeros) = rest.iter().position(|byte| *byte != 0) else {
                return;
            };
            at += zeros;
            match entry(&archives[at..]) {
                Some((name, bytes)) => {
                    let name = name.trim_start_matches("./").trim_start_matches('/');
                    self.names.insert(name.to_owned());
                    at = at.saturating_add(bytes);
                }
                None => {
                    self.is_unread = true;
                    return;
                }
            }
        }
    }

    /// Whether an entry has this path.
    pub fn contains(&self, path: &str) -> bool {
        self.names.contains(path)
    }

    /// Whether all of them could be read.
    pub fn is_complete(&self) -> bool {
        !self.is_unread
    }
}

/// The name of the entry that `bytes` begin with, and how long it is.
fn entry(bytes: &[u8]) -> Option<(&str, usize)> {
    let header = std::str::from_utf8(bytes.get(..HEADER_BYTES)?).ok()?;
    if !header.starts_with("070701") && !header.starts_with("070702") {
        return None;
    }
    let field = |index: usize| {
        let digits = header.get(6 + 8 * index..14 + 8 * index)?;
        usize::from_str_radix(digits, 16).ok()
    };
    let (content, name) = (field(6)?, field(11)?);
    let name_end = HEADER_BYTES.checked_add(name)?;
    let name = bytes.get(HEADER_BYTES..name_end.checked_sub(1)?)?;
    let end = name_end.checked_next_multiple_of(4)?;
    let end = end.checked_add(content)?.checked_next_multiple_of(4)?;
    Some((std::str::from_utf8(name).ok()?, end))
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn sample() -> Archive {
        let mut archive = Archive::new();
        archive.directory("bin", 0o755);
        archive.file("bin/odd", 0o755, b"12345");
        archive.file("bin/empty", 0o600, b"");
        archive.symlink("bin/link", "odd");
        archive.directory("dev", 0o755);
        archive.character_device("dev/console", 0o600, 5, 1);
        archive
    }

    #[test]
    fn the_same_calls_give_the_same_bytes() {
        assert_eq!(sample().finish(), sample().finish());
    }

    #[test]
    fn names_are_read_through_all_archives_and_no_further() {
        let mut archives = sample().finish();
        let mut more = Archive::new();
        more.file(".profile", 0o644, b"");
        archives.extend([0; 8]);
        append(&mut archives, more);
        let mut names = Names::default();
        names.read(&archives);
        assert!(names.is_complete());
        assert!(names.contains("bin/odd") && names.contains(".profile"));
        assert!(!names.contains("odd"));
        // Cut anywhere, or with any digit changed, it is an archive or it is not.
        for at in 0..archives.len() {
            Names::default().read(&archives[..at]);
            let mut damaged = archives.clone();
            damaged[at] = b'f';
            Names::default().read(&damaged);
        }
    }

    /// The cpio tool is the second opinion here too: `./` before each name, other owners and times.
    #[test]
    fn names_of_the_cpio_tools_archives_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("lib/libc.so.6"), "12345").unwrap();
        let Ok(mut cpio) = Command::new("cpio")
            .args(["--create", "--format=newc", "--quiet"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            eprintln!("skipped: no cpio on this machine");
            return;
        };
        let paths = b".\n./lib\n./lib/libc.so.6\n";
        cpio.stdin.take().unwrap().write_all(paths).unwrap();
        let archive = cpio.wait_with_output().unwrap().stdout;
        let mut names = Names::default();
        names.read(&archive);
        assert!(names.contains("lib/libc.so.6") && names.is_complete());
    }

    #[test]
    fn an_appended_archive_is_aligned() {
        let mut initramfs = vec![1, 2, 3, 4, 5];
        append(&mut initramfs, sample());
        assert_eq!(&initramfs[..8], &[1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(&initramfs[8..14], b"070701");
        assert_eq!(initramfs.len() % 4, 0);
    }

    /// The cpio tool is the second opinion. It is no part of the build, so it may be absent.
    #[test]
    fn the_cpio_tool_lists_what_was_written() {
        let Ok(mut cpio) = Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            eprintln!("skipped: no cpio on this machine");
            return;
        };
        cpio.stdin
            .take()
            .unwrap()
            .write_all(&sample().finish())
            .unwrap();
        let listed = cpio.wait_with_output().unwrap();
        assert!(listed.status.success());
        let listed = String::from_utf8(listed.stdout).unwrap();
        // Without the columns of the time.
        let rows: Vec<String> = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                "drwxr-xr-x 2 0 0 0 Jan 1 1970 bin",
                "-rwxr-xr-x 1 0 0 5 Jan 1 1970 bin/odd",
                "-rw------- 1 0 0 0 Jan 1 1970 bin/empty",
                "lrwxrwxrwx 1 0 0 3 Jan 1 1970 bin/link -> odd",
                "drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
                "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
            ]
        );
    }
}

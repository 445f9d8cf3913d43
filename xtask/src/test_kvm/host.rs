//! An arm64 host in QEMU: what it is booted from, and running one script in it.
//!
//! The processor is emulated (TCG) with EL2, so that the host's KVM works. An exit of a guest in
//! there costs some 50 microseconds; the tests that run there assert on no times.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stallbox_guest_images::HostImage;
use stallbox_guest_images::cpio::Archive;

use crate::cargo;

/// The CPU: one that arm64 servers have.
pub(super) const CPU: &str = "neoverse-n1";

const INIT: &str = include_str!("init.sh");

/// RAM: two guests of the tests at a time, of up to 2 GiB, and their files. Taken as it is used.
const MEMORY: &str = "5G";

/// One for each of the guests that run at the same time.
const CPUS: &str = "2";

/// Lines of the host's kernel log that are shown if it dies.
const LOG_LINES: usize = 40;

/// What is in the host's file system besides busybox.
#[derive(Default)]
pub(super) struct Files {
    archive: Archive,
    folders: BTreeSet<PathBuf>,
}

impl Files {
    /// Adds the file `from` of this machine at the absolute path `to`.
    pub(super) fn add(
        &mut self,
        to: impl AsRef<Path>,
        from: &Path,
        permissions: u32,
    ) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(to, &content, permissions);
        Ok(())
    }

    /// Adds a file with this content.
    fn write(&mut self, to: impl AsRef<Path>, content: &[u8], permissions: u32) {
        let path = to.as_ref();
        let path = path.strip_prefix("/").unwrap_or(path);
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.into_iter().rev().for_each(|above| self.folder(above));
        self.archive
            .file(&path.to_string_lossy(), permissions, content);
    }

    fn folder(&mut self, path: &Path) {
        if !path.as_os_str().is_empty() && self.folders.insert(path.to_owned()) {
            self.archive.directory(&path.to_string_lossy(), 0o755);
        }
    }
}

/// Boots the host and runs `script` in it by busybox's shell. Output goes to our own standard
/// output as it comes. Gives the script's exit status.
pub(super) fn run(
    image: &HostImage,
    cpu: &str,
    mut files: Files,
    script: &str,
    limit: Duration,
) -> Result<u8> {
    for folder in ["dev", "proc", "sys", "tmp"] {
        files.folder(Path::new(folder));
    }
    files.archive.character_device("dev/console", 0o600, 5, 1);
    files.add("/bin/busybox", &image.busybox, 0o755)?;
    files.write("/init", INIT.as_bytes(), 0o755);
    files.write("/run.sh", script.as_bytes(), 0o644);

    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = |name| folder.path().join(name);
    let initrd = path("initrd");
    fs::write(&initrd, files.archive.finish()).context("cannot write the host's initrd")?;
    let (log, status, output) = (path("log"), path("status"), path("output"));
    let listener = UnixListener::bind(&output).context("cannot make a socket")?;
    let printer = thread::spawn(move || -> io::Result<u64> {
        let (mut stream, _) = listener.accept()?;
        io::copy(&mut stream, &mut io::stdout())
    });

    let mut command = qemu(&image.kernel, cpu, &initrd, &log, &status, &output);
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{}`", cargo::describe(&command)))?;
    let end = Instant::now() + limit;
    let ended = loop {
        if let Some(ended) = child.try_wait().context("cannot wait for QEMU")? {
            break Some(ended);
        }
        if Instant::now() >= end {
            child.kill().context("cannot stop QEMU")?;
            child.wait().context("cannot wait for QEMU")?;
            break None;
        }
        thread::sleep(Duration::from_millis(50));
    };

    // A QEMU that did not get as far as to connect must not leave the printer waiting.
    drop(UnixStream::connect(&output));
    printer
        .join()
        .expect("the printer does not panic")
        .context("cannot print what the arm64 host says")?;

    let said = fs::read_to_string(&status).unwrap_or_default();
    if let Ok(status) = said.trim().parse() {
        return Ok(status);
    }
    let log = fs::read(&log).unwrap_or_default();
    let log = last_lines(&String::from_utf8_lossy(&log));
    match ended {
        None => bail!(
            "the arm64 host did not end within {} s; its kernel's last lines:\n{log}",
            limit.as_secs()
        ),
        Some(ended) => bail!(
            "the arm64 host ended without a status (QEMU: {ended}); its kernel's last lines:\n{log}"
        ),
    }
}

/// The emulator, with all devices named.
fn qemu(
    kernel: &Path,
    cpu: &str,
    initrd: &Path,
    log: &Path,
    status: &Path,
    output: &Path,
) -> Command {
    let mut command = Command::new("qemu-system-aarch64");
    command
        .args(["-machine", "virt,virtualization=on,gic-version=3"])
        .args(["-cpu", cpu, "-accel", "tcg,thread=multi"])
        .args(["-smp", CPUS, "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-no-reboot", "-serial"])
        .arg(format!("file:{}", log.display()))
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", "console=ttyAMA0 loglevel=4 panic=-1"])
        .args(["-device", "virtio-serial-pci"])
        .arg("-chardev")
        .arg(format!("socket,id=output,path={}", output.display()))
        .args(["-device", "virtserialport,chardev=output,name=output"])
        .arg("-chardev")
        .arg(format!("file,id=status,path={}", status.display()))
        .args(["-device", "virtserialport,chardev=status,name=status"]);
    command
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_their_files_and_once() {
        let mut files = Files::default();
        files.write("/a/b/one", b"1", 0o644);
        files.write("/a/b/two", b"2", 0o644);
        let archive = files.archive.finish();
        let text = String::from_utf8_lossy(&archive);
        let places: Vec<usize> = ["a\0", "a/b\0", "a/b/one\0", "a/b/two\0"]
            .map(|name| text.find(name).unwrap())
            .into();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(files.folders.len(), 2);
    }

    #[test]
    fn a_short_log_is_shown_whole() {
        assert_eq!(last_lines("a\nb\n"), "a\nb");
        let long: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert!(last_lines(&long).starts_with("60\n"));
    }
}

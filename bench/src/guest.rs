//! What the guest boots: a kernel, and an initramfs with this crate's programs behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use stallbox_guest_images::cpio::{self, Archive};
use stallbox_guest_images::{cached, source_root};
use tempfile::TempDir;

/// Bytes of input for the accelerator: a part of the kernel that has code.
const INPUT_FROM: usize = 1 << 20;
/// As many as [`Guest::input`] has.
pub(crate) const INPUT_BYTES: usize = 1 << 20;

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const FLAGS: [&str; 6] = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-static", "-s"];

/// A kernel and an initramfs, without a command.
pub(crate) struct Guest {
    /// An arm64 boot Image.
    pub kernel: PathBuf,
    /// What the kernel is, for people.
    pub kernel_version: String,
    /// What the accelerator compresses; in the guest, the file /bench/input.
    pub input: Vec<u8>,
    initramfs: Vec<u8>,
    folder: TempDir,
}

impl Guest {
    /// The project's guest image, which must have been built, with the programs of `guest/`.
    pub(crate) fn build() -> Result<Guest> {
        let recipe = source_root()?;
        let Some(image) = cached(&recipe) else {
            bail!("the guest image has not been built; `cargo xtask image` builds it");
        };
        let folder = tempfile::tempdir().context("cannot make a folder for the guest")?;
        let kernel = read(&image.kernel)?;
        let input = kernel.get(INPUT_FROM..INPUT_FROM + INPUT_BYTES);
        let input = input.context("the kernel is smaller than 2 MiB")?.to_vec();
        let programs = recipe.join("programs");
        let loops = compile(folder.path(), "loops", &[], &programs)?;
        let deflate = compile(folder.path(), "deflate", &["qm.c", "zip.c"], &programs)?;

        let mut archive = Archive::new();
        archive.directory("bench", 0o755);
        archive.file("bench/loops", 0o755, &loops);
        archive.file("bench/deflate", 0o755, &deflate);
        archive.file("bench/input", 0o644, &input);
        let mut initramfs = read(&image.initrd)?;
        cpio::append(&mut initramfs, archive);
        Ok(Guest {
            kernel: image.kernel,
            kernel_version: image.kernel_version,
            input,
            initramfs,
            folder,
        })
    }

    /// A place for a file of the run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An initramfs that makes the guest run `command`, by its shell.
    pub(crate) fn initrd(&self, command: &str) -> Result<PathBuf> {
        let mut archive = Archive::new();
        archive.directory("stallbox", 0o755);
        archive.file("stallbox/command", 0o755, command.as_bytes());
        let mut bytes = self.initramfs.clone();
        cpio::append(&mut bytes, archive);
        let path = self.path("initramfs.cpio");
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Compiles `guest/NAME.c` with `others` from the guest image's programs.
fn compile(to: &Path, name: &str, others: &[&str], programs: &Path) -> Result<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("guest")
        .join(format!("{name}.c"));
    let program = to.join(name);
    let mut compiler = Command::new(COMPILER);
    compiler
        .args(FLAGS)
        .arg("-I")
        .arg(programs)
        .arg("-o")
        .arg(&program)
        .arg(&source);
    compiler.args(others.iter().map(|other| programs.join(other)));
    let status = compiler
        .status()
        .with_context(|| format!("cannot run {COMPILER} (Debian: gcc-aarch64-linux-gnu)"))?;
    ensure!(
        status.success(),
        "{COMPILER} cannot compile {}",
        source.display()
    );
    read(&program)
}

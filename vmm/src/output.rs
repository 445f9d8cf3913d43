//! Files that options name, to be written.
//!
//! They are opened before the guest starts: a path that cannot be written is told at once, and a confined
//! process opens nothing. Until [`OutputFile::begin`] nothing is lost: a start that fails leaves what was
//! there before, and no file where there was none.
//!
//! Such a file may be a pipe or a terminal, which nobody need read. Writing does not wait for that.

use std::fs::{self, File, OpenOptions, create_dir_all, remove_file};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use stallbox_output::{Outlet, OutputError, tell};

/// How often a FIFO is tried that has no reader.
const READER_INTERVAL: Duration = Duration::from_millis(10);

/// A file to be written.
pub(crate) struct OutputFile {
    outlet: Outlet,
    name: String,
    file: File,
    /// There was no such file before, and the guest has not started yet.
    made: Option<PathBuf>,
}

impl OutputFile {
    /// Opens the file that an option names. Waits for the reader of a FIFO until `is_over`.
    pub(crate) fn open(
        path: &Path,
        option: &str,
        is_over: impl Fn() -> bool,
    ) -> Result<OutputFile> {
        let name = format!("{} ({option})", path.display());
        let mut made = None;
        let file = match create(path, true) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                open_existing(path, &name, is_over)?
            }
            created => {
                made = Some(path.to_owned());
                created
            }
        };
        let file = file.with_context(|| format!("cannot create {name}"))?;
        let outlet = file.try_clone().and_then(Outlet::to);
        let outlet = outlet.with_context(|| format!("cannot create {name}"))?;
        Ok(OutputFile {
            outlet,
            name,
            file,
            made,
        })
    }

    /// Opens the file of an option, if it names one.
    pub(crate) fn open_named(
        path: Option<&PathBuf>,
        option: &str,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<OutputFile>> {
        path.map(|path| OutputFile::open(path, option, is_over))
            .transpose()
    }

    /// Where it is written.
    pub(crate) fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// From here on it is written: what was in it goes.
    pub(crate) fn begin(&mut self) -> Result<(), OutputError> {
        self.made = None;
        empty(&self.file).map_err(|error| self.error(error))
    }

    /// Takes what `fill` writes, and writes what can be written at once.
    pub(crate) fn fill(
        &self,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let mut outlet = self.outlet();
        fill(&mut outlet)
            .and_then(|()| outlet.flush())
            .map_err(|error| self.error(error))
    }

    /// Takes a line of JSON Lines. That it cannot be written is told by [`OutputFile::finish`].
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        let _ = self.fill(|out| {
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b"\n")
        });
    }

    /// Whether all of it has been written.
    pub(crate) fn finish(&self) -> Result<(), OutputError> {
        self.outlet.finish().map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> OutputError {
        OutputError::new(self.name.clone(), error)
    }
}

/// The folder that `--out` names, with a file for each bundle. One that cannot be written holds up nothing.
pub(crate) struct OutputFolder {
    path: Option<PathBuf>,
    /// The first file that could not be written.
    lost: Option<anyhow::Error>,
}

impl OutputFolder {
    /// Makes the folder, if the option names one.
    pub(crate) fn open(path: Option<&PathBuf>) -> Result<OutputFolder> {
        if let Some(path) = path {
            create_dir_all(path)
                .with_context(|| format!("cannot make the folder {} (--out)", path.display()))?;
        }
        Ok(OutputFolder {
            path: path.cloned(),
            lost: None,
        })
    }

    /// Where a file of this name is or would be.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.path.as_ref().map(|path| path.join(name))
    }

    /// Writes a file; its path, if it is there now.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Option<PathBuf> {
        let path = self.path(name)?;
        let written = fs::write(&path, bytes)
            .with_context(|| format!("cannot write {} (--out)", path.display()));
        match written {
            Ok(()) => Some(path),
            Err(error) => {
                tell!("stallbox: {error:#}");
                self.lost.get_or_insert(error);
                None
            }
        }
    }

    /// What could not be written is an error.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.lost.take().map_or(Ok(()), Err)
    }
}

/// Opens it without waiting: a FIFO without a reader is ENXIO (fifo(7)).
fn create(path: &Path, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NONBLOCK);
    options.write(true).create(true).create_new(new).open(path)
}

/// Opens what is there. Waits for the reader of a FIFO until `is_over`.
fn open_existing(path: &Path, name: &str, is_over: impl Fn() -> bool) -> Result<io::Result<File>> {
    let is_fifo = path.metadata().is_ok_and(|it| it.file_type().is_fifo());
    let mut told = false;
    loop {
        match create(path, false) {
            Err(error) if is_fifo && error.raw_os_error() == Some(libc::ENXIO) => {}
            opened => return Ok(opened),
        }
        if is_over() {
            bail!("cannot write {name}: nobody has opened the FIFO to read it");
        }
        if !told {
            told = true;
            tell!("stallbox: {name} is a FIFO without a reader; waiting for one");
        }
        sleep(READER_INTERVAL);
    }
}

/// Forgets what was in the file before it was opened. A pipe or a device has no length.
fn empty(mut file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        let written = file.stream_position()?;
        file.set_len(written)?;
    }
    Ok(())
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(path) = self.made.take() {
            // Nothing is in it, and what ended the start is told.
            let _ = remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_start_that_fails_leaves_all_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::write(&old, "what was there").unwrap();
        for path in [&old, &new] {
            drop(OutputFile::open(path, "--summary", || false).unwrap());
        }
        assert_eq!(fs::read(&old).unwrap(), b"what was there");
        assert!(!new.exists());
    }

    #[test]
    fn what_is_written_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "longer than the new").unwrap();
        let mut file = OutputFile::open(&path, "--summary", || false).unwrap();
        file.begin().unwrap();
        file.fill(|out| out.write_all(b"new")).unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_bundle_that_cannot_be_written_is_told_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/out");
        let mut out = OutputFolder::open(Some(&path)).unwrap();
        assert_eq!(out.write("a", b"1"), Some(path.join("a")));
        out.finish().unwrap();
        assert_eq!(out.write("no/folder", b"1"), None);
        assert_eq!(out.write("b", b"1"), Some(path.join("b")));
        let error = out.finish().unwrap_err().to_string();
        assert!(error.ends_with("new/out/no/folder (--out)"), "{error}");
        assert_eq!(OutputFolder::open(None).unwrap().write("a", b"1"), None);
    }

    #[test]
    fn a_full_disk_is_told_with_the_files_name() {
        let mut file = OutputFile::open(Path::new("/dev/full"), "--results", || false).unwrap();
        file.begin().unwrap();
        let error = file.fill(|out| out.write_all(b"text")).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/full (--results)");
    }
}

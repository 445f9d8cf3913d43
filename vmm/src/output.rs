//! Files that options name, to be written.
//!
//! They are opened before the guest starts: a path that cannot be written is told at once, and a confined
//! process opens nothing. Until [`OutputFile::begin`] nothing is lost: a start that fails leaves what was
//! there before, and no file where there was none.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, BufWriter, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stallbox_output::OutputError;

/// A file to be written.
pub(crate) struct OutputFile {
    file: BufWriter<File>,
    start: Start,
}

/// What there is to do for a file until the guest starts, and to undo if it does not.
pub(crate) struct Start {
    name: String,
    file: File,
    /// There was no such file before.
    made: Option<PathBuf>,
}

impl OutputFile {
    /// Opens the file that an option names.
    pub(crate) fn open(path: &Path, option: &str) -> Result<OutputFile> {
        let open = |new: bool| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).create_new(new).open(path)
        };
        let (file, made) = match open(true) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (open(false), None),
            opened => (opened, Some(path.to_owned())),
        };
        let name = format!("{} ({option})", path.display());
        let file = file.with_context(|| format!("cannot create {name}"))?;
        let shared = file
            .try_clone()
            .with_context(|| format!("cannot create {name}"))?;
        Ok(OutputFile {
            file: BufWriter::new(shared),
            start: Start { name, file, made },
        })
    }

    /// The file and its start apart, for who hands the file on.
    pub(crate) fn split(self) -> (BufWriter<File>, Start) {
        (self.file, self.start)
    }

    /// From here on it is written.
    pub(crate) fn begin(&mut self) -> Result<(), OutputError> {
        self.start.begin()
    }

    /// Writes what `fill` writes, to the end.
    pub(crate) fn write(
        mut self,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        fill(&mut self.file)
            .and_then(|()| self.file.flush())
            .map_err(|error| self.start.error(error))
    }
}

impl Start {
    /// From here on it is written: what was in it goes.
    pub(crate) fn begin(&mut self) -> Result<(), OutputError> {
        self.made = None;
        empty(&self.file).map_err(|error| self.error(error))
    }

    /// What went wrong with it, with its name.
    pub(crate) fn error(&self, error: io::Error) -> OutputError {
        OutputError::new(self.name.clone(), error)
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

impl Drop for Start {
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
            drop(OutputFile::open(path, "--summary").unwrap());
        }
        assert_eq!(fs::read(&old).unwrap(), b"what was there");
        assert!(!new.exists());
    }

    #[test]
    fn what_is_written_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "longer than the new").unwrap();
        let mut file = OutputFile::open(&path, "--summary").unwrap();
        file.begin().unwrap();
        file.write(|out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_full_disk_is_told_with_the_files_name() {
        let mut file = OutputFile::open(Path::new("/dev/full"), "--results").unwrap();
        file.begin().unwrap();
        let error = file.write(|out| out.write_all(b"text")).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /dev/full (--results)");
    }
}
